//! The rules of the house, checked on the source as text: who may import whom, what only `src/sys` may touch, how files begin.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layers from top to bottom; a module may import from its own family and from layers above its own.
const LAYERS: [&[&str]; 8] = [
    &[
        "gather", "sorted", "units", "notice", "voice", "line", "event", "control", "notify", "probe",
        "hints", "suggest", "texts", "newlines", "search", // Of the unit tests.
        "numbers",
    ],
    &["cli", "config", "view"],
    &["plan"],
    &["services", "reaper", "signals", "shutdown", "memory", "logs", "journal", "requests"],
    &["supervisor", "obituary"],
    &["kernel", "runtime"],
    &["sys"],
    &["commands", "client", "main", "lib"],
];
/// Layers whose modules may import each other.
const MIXED: [usize; 5] = [0, 1, 4, 5, 7];

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src is readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 15, "the sources were not found");
    found
}

/// The top-level module a file belongs to: `services` for src/services/restart.rs.
fn family(path: &Path) -> String {
    let relative = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("below src");
    let first = relative.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn layer(family: &str) -> usize {
    LAYERS
        .iter()
        .position(|names| names.contains(&family))
        .unwrap_or_else(|| panic!("{family} is in no layer; add it to the table"))
}

/// The source without its tests and comments.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn imports(code: &str) -> Vec<String> {
    let after = |marker: &'static str| {
        code.match_indices(marker).map(move |(at, _)| {
            let rest = &code[at + marker.len()..];
            rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        })
    };
    after("crate::").chain(after("tinysup::")).filter(|name| !name.is_empty()).collect()
}

#[test]
fn imports_go_down_the_table_only() {
    for (path, text) in sources() {
        let own = family(&path);
        for other in imports(&code(&text)) {
            if other == own || own == "lib" {
                continue;
            }
            let (mine, theirs) = (layer(&own), layer(&other));
            let allowed = theirs < mine || (theirs == mine && MIXED.contains(&mine));
            assert!(allowed, "{}: {own} may not import {other}", path.display());
            let hidden = own == "sys"
                && ["plan", "services", "supervisor", "shutdown", "logs"].contains(&other.as_str());
            assert!(!hidden, "{}: the mechanism sees actions, never {other}", path.display());
        }
    }
}

#[test]
fn only_sys_touches_the_system() {
    let mechanism = [
        "Instant",
        "SystemTime",
        "std::fs",
        "std::process",
        "std::net",
        "std::thread",
        "libc::",
        "nix::",
        "signal_hook",
    ];
    for (path, text) in sources() {
        if ["sys", "main"].contains(&family(&path).as_str()) {
            continue;
        }
        for word in mechanism {
            let code = code(&text);
            let whole = |at: usize| !code[..at].ends_with(char::is_alphanumeric);
            assert!(
                !code.match_indices(word).any(|(at, _)| whole(at)),
                "{}: {word} belongs into src/sys",
                path.display()
            );
        }
        assert!(
            !code(&text).contains("std::env") || family(&path) == "commands",
            "{}: std::env",
            path.display()
        );
        assert!(!code(&text).contains("unsafe"), "{}: unsafe belongs into src/sys", path.display());
    }
}

/// docs/decisions/broken.md.
#[test]
fn overflow_and_panic_are_as_decided() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("there");
    let section =
        |name: &str| manifest.split_once(name).expect("a section").1.split("\n[").next().expect("one");
    let release = section("[profile.release]");
    for line in ["overflow-checks = true", "panic = \"abort\""] {
        assert!(release.lines().any(|found| found.starts_with(line)), "[profile.release] {line}");
    }
    let lints = section("[lints.clippy]");
    for lint in ["expect_used", "indexing_slicing", "panic", "unwrap_used"] {
        assert!(lints.lines().any(|line| line.starts_with(&format!("{lint} = \"warn\""))), "{lint}");
    }
}

/// All Rust below a folder, or the one file, as one text.
fn text_below(path: &Path) -> String {
    if path.is_file() {
        return fs::read_to_string(path).expect("a source file");
    }
    let mut entries: Vec<PathBuf> =
        fs::read_dir(path).into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect();
    entries.retain(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "rs"));
    entries.iter().map(|path| text_below(path)).collect()
}

/// `suite::test` in docs/reliability.md and docs/security.md.
#[test]
fn tests_that_documents_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut suites = std::collections::BTreeMap::new();
    let (mut named, mut missing) = (0, Vec::new());
    for document in ["docs/reliability.md", "docs/security.md"] {
        let text = fs::read_to_string(root.join(document)).expect("the document");
        let quoted = text.split('`').skip(1).step_by(2);
        for (suite, name) in
            quoted.filter_map(|word| word.split_once("::")).filter(|(suite, _)| !suite.is_empty())
        {
            let source = suites.entry(suite.to_owned()).or_insert_with(|| match suite {
                "unit" => text_below(&root.join("src")),
                _ if root.join("tests").join(suite).is_dir() => text_below(&root.join("tests").join(suite)),
                _ => text_below(&root.join("tests").join(suite).with_extension("rs")),
            });
            // A case by its function, where it has one; else what is called so.
            let function =
                name.contains('_') && name.chars().all(|c| c.is_lowercase() || c == '_' || c.is_numeric());
            let forms = match function {
                true => vec![format!("fn {name}("), format!("\"{name}\"")],
                false => vec![format!("{name},"), format!("{name};"), format!("{name}:")],
            };
            let there = forms.iter().any(|form| source.contains(form.as_str()));
            if !there && !name.is_empty() {
                missing.push(format!("{document}: {suite}::{name}"));
            }
            named += 1;
        }
    }
    assert!(missing.is_empty(), "named and not there: {missing:#?}");
    assert!(named > 100, "the names were not found: {named}");
}

/// docs/security.md says what each is trusted with, and which are there when it is built.
#[test]
fn each_dependency_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/security.md")).expect("there");
    let tree = |edges: &str| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--offline", "--prefix=none", "--format={p}", "--edges", edges])
            .args(["--target", "x86_64-unknown-linux-gnu", "--manifest-path"])
            .arg(root.join("Cargo.toml"))
            .output()
            .expect("cargo");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        let crates = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            // What follows a plus is a remark.
            let version = version.split('+').next().unwrap_or(version);
            (name != "tinysup").then(|| (name.to_owned(), version.to_owned()))
        });
        crates.collect::<BTreeSet<_>>()
    };
    let documented: BTreeSet<(String, String)> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(name, rest)| Some((name.to_owned(), rest.split_once(" | ")?.0.to_owned())))
        .filter(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    let all = tree("normal,build");
    let in_program = tree("normal,no-proc-macro");
    assert_eq!(documented, in_program, "the table of crates in docs/security.md is of others");
    let (_, rest) = document.split_once("At build time alone: ").expect("the others");
    let at_build: BTreeSet<String> = rest
        .split(".\n")
        .next()
        .unwrap_or_default()
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let names = |crates: &BTreeSet<(String, String)>| {
        crates.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(at_build, &names(&all) - &names(&in_program), "those that are there at build time");
}

#[test]
fn only_one_place_reaps() {
    for (path, text) in sources() {
        let reaps = ["waitid(", "waitpid(", "wait4(", ".wait_with_output", "Command::new"]
            .iter()
            .any(|call| code(&text).contains(call));
        assert!(
            !reaps || path.ends_with("sys/children.rs"),
            "{}: only src/sys/children.rs may wait for children",
            path.display()
        );
    }
}

#[test]
fn files_say_what_they_own_and_stay_readable() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{}: begin with //! and what the file owns", path.display());
        assert!(text.lines().count() <= 900, "{}: too long to read in a sitting", path.display());
        for (number, line) in text.lines().enumerate() {
            let silenced = line.contains("#[allow(") || line.contains("#![allow(");
            assert!(!silenced, "{}:{}: use #[expect(..., reason)]", path.display(), number + 1);
        }
    }
}

#[test]
fn no_trace_of_the_machine_it_was_written_on() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let traces = [["/wo", "rk/"].concat(), ["/ro", "ot/."].concat()];
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() && !["target", ".git"].contains(&name.as_str()) {
                folders.push(path);
            } else if name != ".git"
                && let Ok(text) = fs::read_to_string(&path)
            {
                for trace in &traces {
                    assert!(!text.contains(trace), "{}: contains {trace}", path.display());
                }
            }
        }
    }
}
