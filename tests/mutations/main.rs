//! Planted bugs: small changes to the policy, each of which the simulation must notice. `table.txt` has them as exact texts.
//!
//! `cargo test` only looks whether each text still is where it was. `scripts/mutate` plants them one by one in a copy of the tree and
//! reports the survivors: that compiles the core once for each.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "it is the report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

/// So many there are at least.
const AT_LEAST: usize = 20;
/// Seeds of the simulation that a planted bug has to show itself in.
const SEEDS: &str = "2000";
/// The unit tests that a bug may also be noticed by: those of the machines and of the core.
const UNIT_TESTS: [&str; 10] = [
    "services::",
    "supervisor::",
    "shutdown::",
    "signals::",
    "reaper::",
    "logs::",
    "journal::",
    "requests::",
    "obituary::",
    "notify::",
];

/// One planted bug.
struct Mutation {
    /// What goes wrong by it.
    name: String,
    /// In which file.
    file: String,
    find: String,
    put: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A bug is `* NAME`, `@ FILE`, lines `-` to find and lines `+` to put instead, which may be none. What does not begin so is a comment.
fn table() -> Vec<Mutation> {
    let text = fs::read_to_string(root().join("tests/mutations/table.txt")).expect("the table");
    let mut table: Vec<Mutation> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("* ") {
            let (file, find, put) = (String::new(), String::new(), String::new());
            table.push(Mutation { name: name.to_owned(), file, find, put });
        }
        let Some(last) = table.last_mut() else { continue };
        match line.split_at_checked(1) {
            Some(("@", file)) => file.trim().clone_into(&mut last.file),
            Some(("-", text)) => last.find = format!("{}{text}\n", last.find),
            Some(("+", text)) => last.put = format!("{}{text}\n", last.put),
            _ => {}
        }
    }
    table
}

impl Mutation {
    /// The text of its file below `tree`, and with the bug in it.
    fn plant(&self, tree: &Path) -> Result<(String, String), String> {
        let text =
            fs::read_to_string(tree.join(&self.file)).map_err(|error| format!("{}: {error}", self.file))?;
        match text.matches(&self.find).count() {
            1 => {
                let planted = text.replacen(&self.find, &self.put, 1);
                Ok((text, planted))
            }
            count => {
                Err(format!("{}: \"{}\" stands there {count} times:\n{}", self.file, self.name, self.find))
            }
        }
    }
}

#[test]
fn each_planted_bug_still_has_its_place() {
    let table = table();
    assert!(table.len() >= AT_LEAST, "only {} planted bugs", table.len());
    let names: BTreeSet<&str> = table.iter().map(|mutation| mutation.name.as_str()).collect();
    assert_eq!(names.len(), table.len(), "two have the same name");
    let lost: Vec<String> = table
        .iter()
        .filter_map(|mutation| match mutation.plant(root()) {
            Ok((text, planted)) if text == planted => Some(format!("\"{}\" changes nothing", mutation.name)),
            Ok(_) => None,
            Err(error) => Some(error),
        })
        .collect();
    assert!(lost.is_empty(), "tests/mutations/table.txt no longer fits:\n{}", lost.join("\n"));
}

/// A copy of the tree, kept from run to run so that dependencies are compiled once.
fn copy() -> PathBuf {
    let tree = root().join("target/mutations/tree");
    let _ = fs::remove_dir_all(&tree);
    copy_into(root(), &tree);
    trim(&tree);
    tree
}

/// Leaves away what the simulation does not need: half of the time is that of the compiler.
fn trim(tree: &Path) {
    const GONE: [&str; 3] = ["sys", "client", "commands"];
    let edit = |file: &str, edit: &dyn Fn(&str) -> String| {
        let text = fs::read_to_string(tree.join(file)).expect("a file of the copy");
        fs::write(tree.join(file), edit(&text)).expect("the copy can be written");
    };
    fs::remove_file(tree.join("src/main.rs")).expect("the program's own file");
    edit("src/lib.rs", &|text| {
        let gone = |line: &&str| GONE.iter().any(|name| *line == format!("pub mod {name};"));
        text.lines().filter(|line| !gone(line)).flat_map(|line| [line, "\n"]).collect()
    });
    // All other targets.
    edit("Cargo.toml", &|text| {
        let kept = |part: &&str| !part.starts_with('[') || part.starts_with("[package]");
        text.split("\n[").filter(kept).collect::<Vec<_>>().join("\n[")
    });
}

fn copy_into(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).expect("a folder can be made");
        for entry in fs::read_dir(from).expect("readable") {
            let name = entry.expect("an entry").file_name();
            if name != "target" && name != ".git" && name != "corpus" {
                copy_into(&from.join(&name), &to.join(&name));
            }
        }
    } else {
        // With its time, so that cargo sees what has not changed.
        let time = fs::metadata(from).and_then(|file| file.modified()).expect("a file with a time");
        fs::copy(from, to).expect("a file can be copied");
        fs::File::options().write(true).open(to).and_then(|file| file.set_modified(time)).expect("its time");
    }
}

fn cargo(tree: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", root().join("target/mutations"))
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        // Most are noticed at once, so what counts is how long it takes to compile.
        .env("CARGO_PROFILE_TEST_OPT_LEVEL", "0")
        .env("TINYSUP_SIM_SEEDS", SEEDS)
        .env("TINYSUP_SIM_FIRST_ONLY", "1")
        .output()
        .expect("cargo runs")
}

/// Whether a test program does not pass. What cannot be compiled is no bug that a test could notice.
fn fails(tree: &Path, program: &[&str], tests: &[&str]) -> bool {
    let compiled = cargo(tree, &[&["test", "--offline", "--no-run"], program].concat());
    assert!(compiled.status.success(), "cannot be compiled:\n{}", String::from_utf8_lossy(&compiled.stderr));
    let output = cargo(tree, &[&["test", "--offline"], program, &["--"], tests].concat());
    if !output.status.success() && std::env::var_os("TINYSUP_MUTATION_SHOW").is_some() {
        println!("{}", String::from_utf8_lossy(&output.stdout));
    }
    !output.status.success()
}

/// Who notices what is planted; `None`: nobody.
fn noticed_by(tree: &Path) -> Option<&'static str> {
    if fails(tree, &["--test", "sim"], &[]) {
        return Some("the simulation");
    }
    fails(tree, &["--lib"], &UNIT_TESTS).then_some("unit tests only")
}

#[test]
#[ignore = "by hand, with scripts/mutate: it compiles the core for each bug"]
fn each_planted_bug_is_noticed() {
    let only = std::env::var("TINYSUP_MUTATION").unwrap_or_default();
    let tree = copy();
    if only.is_empty() {
        assert_eq!(noticed_by(&tree), None, "the tests fail without any bug");
    }
    let (table, mut survivors) = (table(), Vec::new());
    for mutation in table.iter().filter(|mutation| mutation.name.contains(&only)) {
        let begin = Instant::now();
        let (text, planted) = mutation.plant(&tree).unwrap_or_else(|error| panic!("{error}"));
        fs::write(tree.join(&mutation.file), planted).expect("the bug can be planted");
        let noticed = noticed_by(&tree);
        fs::write(tree.join(&mutation.file), text).expect("the bug can be taken out");
        println!("{:16} {} ({} s)", noticed.unwrap_or("SURVIVED"), mutation.name, begin.elapsed().as_secs());
        if noticed != Some("the simulation") {
            survivors.push(mutation.name.as_str());
        }
    }
    assert!(survivors.is_empty(), "the simulation did not notice: {}", survivors.join("; "));
}
