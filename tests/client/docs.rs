//! `docs/control.md` against the types, and the manual against the tables of the verbs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde::de::DeserializeOwned;
use tinysup::cli::verbs::{EVERYWHERE, OPTIONS, OptSpec, VERBS, options_of};
use tinysup::control::{
    Answer, Change, Description, EventLine, Exit, Holder, LogLine, Memory, Refusal, Refused, Request,
    ServiceMemory, ServiceStatus, Status, Stream, Verb, Verdict, Wanted,
};

use crate::{generated, skip};

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    std::fs::read_to_string(path).expect("the document")
}

/// The first column of the tables in the section of that type, and the text of the section.
fn section(control: &str, name: &str) -> (BTreeSet<String>, String) {
    let heading = format!("\n### `{name}`\n");
    let (_, section) = control.split_once(&heading).unwrap_or_else(|| panic!("no section about {name}"));
    let section = section.split("\n### ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    (rows.map(|(field, _)| field.to_owned()).collect(), section.to_owned())
}

/// All fields of a type: every one is in each object that is sent.
fn fields(object: &impl serde::Serialize) -> BTreeSet<String> {
    let value = serde_json::to_value(object).expect("JSON");
    value.as_object().expect("an object").keys().cloned().collect()
}

/// All words of an enumeration, as its own complaint about another word lists them.
fn words<T: DeserializeOwned>() -> BTreeSet<String> {
    let Err(error) = serde_json::from_str::<T>("{\"no-such-word\":0}")
        .or_else(|_| serde_json::from_str("\"no-such-word\""))
    else {
        panic!("that is no word")
    };
    let error = error.to_string();
    let (_, list) = error.split_once("expected ").expect("a list");
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_field_of_the_protocol_is_documented_and_no_other() {
    let control = document("control.md");
    let refusal = Refusal { why: Refused::Busy, text: String::new() };
    for (name, fields) in [
        ("Request", fields(&Request::default())),
        ("Answer", words::<Answer>()),
        ("Status", fields(&Status::default())),
        ("ServiceStatus", fields(&ServiceStatus::default())),
        ("Exit", fields(&Exit::default())),
        ("Description", fields(&Description::default())),
        ("Memory", fields(&Memory::default())),
        ("ServiceMemory", fields(&ServiceMemory::default())),
        ("Holder", fields(&Holder::default())),
        ("Change", fields(&Change::default())),
        ("Verdict", fields(&Verdict::default())),
        ("LogLine", fields(&LogLine::default())),
        ("EventLine", fields(&EventLine::default())),
        ("Refusal", fields(&refusal).into_iter().chain(words::<Refused>()).collect()),
    ] {
        assert_eq!(section(&control, name).0, fields, "{name}");
    }
    for (name, words) in [
        ("Request", words::<Verb>()),
        ("Request", words::<Wanted>()),
        ("Request", words::<Stream>()),
        ("LogLine", words::<Stream>()),
    ] {
        let (_, text) = section(&control, name);
        for word in &words {
            assert!(text.contains(&format!("`{word}`")), "{name}: {word}");
        }
        assert!(words.len() > 1, "{words:?}");
    }
}

#[test]
fn every_refusal_is_documented_with_its_code() {
    let (_, text) = section(&document("control.md"), "Refusal");
    for word in words::<Refused>() {
        let why: Refused = serde_json::from_str(&format!("\"{word}\"")).unwrap();
        let row = text.lines().find(|line| line.starts_with(&format!("| `{word}` |"))).unwrap();
        assert!(row.ends_with(&format!("| {} |", why.exit_code().0)), "{row}");
    }
}

#[test]
fn every_verb_is_documented() {
    let control = document("control.md");
    for verb in &VERBS {
        let row = control.lines().find(|line| {
            line.strip_prefix("| `")
                .and_then(|line| line.strip_prefix(verb.name))
                .is_some_and(|rest| rest.starts_with([' ', '`']))
        });
        let row = row.unwrap_or_else(|| panic!("no row about {}", verb.name));
        for alias in verb.aliases {
            assert!(row.contains(&format!("`{alias}`")), "{alias}: {row}");
        }
    }
}

// ---- the manual ----

/// What stands in the manual about the verbs.
fn manual() -> String {
    let mut text = String::new();
    for verb in &VERBS {
        let synopsis = verb.synopsis();
        let arguments = synopsis.strip_prefix(verb.name).unwrap_or_default();
        let _ = write!(text, ".TP\n.BR {} \"{arguments}\"\n{}.\n", verb.name, sentence(verb.about()));
        if !verb.aliases.is_empty() {
            let _ = writeln!(text, "The same as\n.BR {} .", verb.aliases.join(" \", \" "));
        }
        let own: Vec<&OptSpec> =
            options_of(verb).into_iter().filter(|option| verb.options.contains(&option.opt)).collect();
        for option in own {
            text.push_str(&described(option));
        }
    }
    text.push_str(".SS Options of every verb that asks\n");
    for option in OPTIONS.iter().filter(|option| EVERYWHERE.contains(&option.opt)) {
        text.push_str(&described(option).replace(".RS\n", "").replace(".RE\n", ""));
    }
    text
}

fn described(option: &OptSpec) -> String {
    let dashes = |text: &str| text.replace('-', "\\-");
    let short = option.short.map(|short| format!("\\-{short}, ")).unwrap_or_default();
    format!(
        ".RS\n.TP\n.B {short}{}{}\n{}.\n.RE\n",
        dashes(option.long),
        option.value.shown(),
        sentence(option.about())
    )
}

fn sentence(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}

const BEGIN: &str =
    ".\\\" The verbs: written from the tables by `TINYSUP_TEST_WRITE=1 cargo test --test client manual`.\n";
const END: &str = ".\\\" End of the verbs.\n";

#[test]
fn the_manual_has_every_verb_and_option() {
    let done = generated::between("docs/tinysup.1", "--test client manual", (BEGIN, END), &manual());
    done.unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn manual_readers_find_nothing_to_complain_about() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tinysup.1");
    let mut read = 0;
    for command in [&["groff", "-man", "-ww", "-z", "-Tutf8"][..], &["mandoc", "-T", "lint", "-W", "warning"]]
    {
        match Command::new(command[0]).args(&command[1..]).arg(&page).output() {
            Ok(done) => {
                let told = [done.stdout, done.stderr].concat();
                assert!(
                    done.status.success() && told.is_empty(),
                    "{command:?}: {}",
                    String::from_utf8_lossy(&told)
                );
                read += 1;
            }
            Err(error) => skip(&format!("there is no {} here ({error})", command[0])),
        }
    }
    assert!(read > 0 || std::env::var_os("TINYSUP_TEST_REQUIRE_ALL").is_none());
}
