//! The documents of `src/texts` that follow from tables: they say what the tables say. After a change of a table
//!
//!     TINYSUP_TEST_WRITE=1 cargo test --test texts
//!
//! writes them anew.

#![cfg(test)]

mod completions;
mod example;
#[path = "../common/generated.rs"]
mod generated;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tinysup::cli;
use tinysup::cli::verbs::{SHELLS, Spec, VERBS, options_of};
use tinysup::gather::Joined;
use tinysup::texts::packing::is_document;

/// The document of that name says this; or it is made to, where that is asked for.
#[track_caller]
fn holds(name: &str, text: &str) {
    let done = generated::whole(&format!("src/texts/{name}"), "--test texts", text);
    done.unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// The part of `tinysup help` about the verbs.
fn verbs() -> String {
    let mut text = String::new();
    for verb in &VERBS {
        let names = [&[verb.synopsis().as_str()], verb.aliases].concat().listed();
        let _ = writeln!(text, "  {names:<28}  {}", verb.about());
    }
    text
}

/// How one verb is used.
fn help_of(verb: &Spec) -> String {
    let mut text = format!("tinysup {} [OPTION...]\n\n  {}\n", verb.synopsis(), verb.about());
    if !verb.aliases.is_empty() {
        let _ = writeln!(text, "  The same as: {}", verb.aliases.listed());
    }
    text.push_str("\nOptions\n");
    for option in options_of(verb) {
        let short = option.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
        let written = format!("{short}{}{}", option.long, option.value.shown());
        let _ = writeln!(text, "  {written:<24}  {}", option.about());
    }
    let _ = write!(text, "\nFor the program {name}: tinysup -- {name}\n", name = verb.name);
    text
}

#[test]
fn the_help_has_every_verb() {
    const BEGIN: &str =
        "Verbs, to talk to the tinysup that runs (NAME is a service, or NAME.2 one instance of it):\n\n";
    const END: &str = "\n`tinysup help VERB` shows its options.";
    let done = generated::between("src/texts/help.txt", "--test texts", (BEGIN, END), &verbs());
    done.unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn the_help_of_a_verb_is_all_that_it_takes() {
    for verb in &VERBS {
        holds(&format!("help-{}.txt", verb.name), &help_of(verb));
    }
    let status = include_str!("../../src/texts/help-status.txt");
    assert_eq!(
        status,
        "tinysup status [NAME...] [OPTION...]\n\n  \
           everything at a glance; exit code 3 if something is not as it should be\n  \
           The same as: ls, ps\n\n\
         Options\n      \
               --json                one JSON object a line, as docs/control.md has them\n      \
               --timeout DURATION    wait no longer for the answer\n      \
               --socket PATH         ask the tinysup that listens there\n  \
           -h, --help                show how the verb is used\n\n\
         For the program status: tinysup -- status\n"
    );
}

#[test]
fn the_example_has_every_key() {
    holds("example.toml", &example::example());
}

#[test]
fn completions_have_every_verb_and_option() {
    for shell in SHELLS {
        let text = completions::completions(shell);
        for verb in &VERBS {
            for name in verb.names() {
                assert!(text.contains(name), "{shell}: {name}");
            }
            for option in options_of(verb) {
                let long = if shell == "fish" { option.long.trim_start_matches('-') } else { option.long };
                assert!(text.contains(long), "{shell}: {long}");
            }
        }
        holds(&format!("completions.{shell}"), &text);
    }
}

/// What the completions offer where no verb is asked for.
#[test]
fn plain_options_are_options() {
    let options = completions::plain_options();
    assert!(options.len() > 12, "the help has fewer");
    for option in options {
        let value = match option.value {
            None => None,
            Some("FILE") => Some("a.toml"),
            Some("S:R") => Some("TERM:QUIT"),
            Some("CODE") => Some("1"),
            Some("SIGNAL") => Some("TERM"),
            Some("DURATION") => Some("1s"),
            Some(other) => panic!("a value of a new kind: {other}"),
        };
        for name in option.names() {
            for place in option.places() {
                let words = ["tinysup"].into_iter().chain(place).chain([name.as_str()]).chain(value);
                // What is for one command has one behind it.
                let end = if option.of_one { &["--", "x"][..] } else { &[] };
                let words = words.chain(end.iter().copied()).map(Into::into);
                let done = cli::parse(words, &|_| None, &|_| false);
                assert!(done.is_ok(), "{name} after {place:?}: {done:?}");
            }
        }
    }
}

/// A terminal of 130 columns; the small inits' and the licence too. And none is left over.
#[test]
fn each_help_fits_a_screen_and_is_of_a_verb() {
    let mut of_verbs = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/texts")).expect("there") {
        let path = entry.expect("an entry").path();
        if is_document(&path) && path.extension().is_some_and(|extension| extension == "txt") {
            for line in fs::read_to_string(&path).expect("our own document").lines() {
                assert!(line.chars().count() <= 130, "{}: {line}", path.display());
            }
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            of_verbs += usize::from(name.starts_with("help-"));
        }
    }
    assert_eq!(of_verbs, VERBS.len(), "src/texts/help-VERB.txt without a verb");
}
