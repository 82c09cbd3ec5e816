//! Planted bugs: small changes to the policy, each of which the simulation must notice. `table.txt` has them as exact texts.
//!
//! `cargo test` only looks whether each text still is where it was, in a function. `scripts/mutate` plants all of them in one copy of the
//! tree: each of these functions begins to ask which bug it shall have, so that all are compiled at once. Then the simulation runs once for
//! each, and the survivors are reported.

#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const TABLE: &str = "tests/mutations/table.txt";
/// So many there are at least.
const AT_LEAST: usize = 20;
/// Seeds of the simulation that a planted bug has to show itself in.
const SEEDS: &str = "20000";
/// Which bug there is, by its number in the table from 1 on.
const PLANTED: &str = "TINYSUP_PLANTED";
/// What the copy asks which one there is. Nothing is cached: a test program has one bug from its beginning to its end.
const ASKS: &str = r#"
/// Which of the planted bugs there is.
pub fn planted() -> u32 {
    static PLANTED: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *PLANTED.get_or_init(|| std::env::var("TINYSUP_PLANTED").map_or(0, |number| number.parse().unwrap()))
}
"#;
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
    let text = fs::read_to_string(root().join(TABLE)).expect("the table");
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

/// The lines of a function that a text stands in.
struct Place {
    /// The line after its opening brace, and that of its closing one, counted from 0.
    body: Range<usize>,
    /// What there is instead of the body.
    put: Vec<String>,
}

impl Mutation {
    /// Where it stands in its file, and how that function goes with the bug in it.
    fn place(&self, text: &str) -> Result<Place, String> {
        let places: Vec<usize> = text.match_indices(&self.find).map(|(at, _)| at).collect();
        let [at] = places[..] else {
            let count = places.len();
            return Err(format!(
                "{}: \"{}\" stands there {count} times:\n{}",
                self.file, self.name, self.find
            ));
        };
        if self.find == self.put {
            return Err(format!("\"{}\" changes nothing", self.name));
        }
        let lines: Vec<&str> = text.lines().collect();
        let first = text[..at].lines().count();
        let past = first + self.find.lines().count();
        let outside = || format!("{}: \"{}\" stands in no function", self.file, self.name);
        let indent = |line: &str| line.len() - line.trim_start().len();
        let is_head = |line: &str| {
            let words = line.trim_start();
            ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn "]
                .iter()
                .any(|begin| words.starts_with(begin))
        };
        // As rustfmt writes it: the head of a function with two levels less at least, and a brace below it.
        let least = lines[first..past].iter().filter(|line| !line.is_empty()).map(|line| indent(line)).min();
        let least = least.ok_or_else(outside)?;
        let head = (0..first).rev().find(|at| is_head(lines[*at]) && indent(lines[*at]) < least);
        let head = head.ok_or_else(outside)?;
        let begin = (head..first).find(|at| lines[*at].ends_with('{')).ok_or_else(outside)? + 1;
        let brace = format!("{}}}", " ".repeat(indent(lines[head])));
        let end = (past..lines.len()).find(|at| lines[*at] == brace).ok_or_else(outside)?;
        let put = lines[begin..first]
            .iter()
            .copied()
            .chain(self.put.lines())
            .chain(lines[past..end].iter().copied());
        Ok(Place { body: begin..end, put: put.map(str::to_owned).collect() })
    }
}

/// Where the body of a function ends, and what stands in its place, by the number of the bug.
type Bodies = (usize, Vec<(usize, Vec<String>)>);

/// Plants all that concern a file, each behind its number.
fn plant(text: &str, bugs: &[(usize, &Mutation)]) -> String {
    let mut functions: BTreeMap<usize, Bodies> = BTreeMap::new();
    for (number, mutation) in bugs {
        let Place { body, put } = mutation.place(text).unwrap_or_else(|error| panic!("{error}"));
        functions.entry(body.start).or_insert((body.end, Vec::new())).1.push((*number, put));
    }
    let lines: Vec<&str> = text.lines().collect();
    let (mut planted, mut at) = (String::new(), 0);
    let mut add = |lines: &mut dyn Iterator<Item = &str>| {
        for line in lines {
            planted.push_str(line);
            planted.push('\n');
        }
    };
    for (begin, (end, bugs)) in functions {
        add(&mut lines[at..begin].iter().copied());
        add(&mut ["match crate::planted() {"].into_iter());
        for (number, body) in &bugs {
            add(&mut [&*format!("{number} => {{")].into_iter());
            add(&mut body.iter().map(|line| &**line));
            add(&mut ["}"].into_iter());
        }
        add(&mut ["_ => {"].into_iter().chain(lines[begin..end].iter().copied()).chain(["}", "}"]));
        at = end;
    }
    add(&mut lines[at..].iter().copied());
    planted
}

#[test]
fn each_planted_bug_still_has_its_place() {
    let table = table();
    assert!(table.len() >= AT_LEAST, "only {} planted bugs", table.len());
    let names: BTreeSet<&str> = table.iter().map(|mutation| mutation.name.as_str()).collect();
    assert_eq!(names.len(), table.len(), "two have the same name");
    let place = |mutation: &Mutation| {
        let text = fs::read_to_string(root().join(&mutation.file)).map_err(|error| error.to_string())?;
        mutation.place(&text)
    };
    let lost: Vec<String> = table.iter().filter_map(|mutation| place(mutation).err()).collect();
    assert!(lost.is_empty(), "tests/mutations/table.txt no longer fits:\n{}", lost.join("\n"));
}

/// A copy of the tree with all bugs in it, kept from run to run so that dependencies are compiled once.
fn copy(table: &[Mutation]) -> PathBuf {
    let tree = root().join("target/mutations/tree");
    let _ = fs::remove_dir_all(&tree);
    copy_into(root(), &tree);
    trim(&tree);
    let files: BTreeSet<&str> = table.iter().map(|mutation| mutation.file.as_str()).collect();
    for file in files {
        let text = fs::read_to_string(root().join(file)).expect("a file of the tree");
        let bugs: Vec<(usize, &Mutation)> =
            (1..).zip(table).filter(|(_, mutation)| mutation.file == file).collect();
        fs::write(tree.join(file), plant(&text, &bugs)).expect("the copy can be written");
        age(&tree.join(file), &[&root().join(file), &root().join(TABLE)]);
    }
    tree
}

/// Makes a file as old as the youngest of those that it comes from, so that cargo sees what has not changed.
fn age(file: &Path, from: &[&Path]) {
    let time =
        |from: &&Path| fs::metadata(from).and_then(|file| file.modified()).expect("a file with a time");
    let time = from.iter().map(time).max().expect("a file");
    fs::File::options().write(true).open(file).and_then(|file| file.set_modified(time)).expect("its time");
}

/// Leaves away what the simulation does not need: half of the time is that of the compiler.
fn trim(tree: &Path) {
    const GONE: [&str; 3] = ["sys", "client", "commands"];
    let edit = |file: &str, edit: &dyn Fn(&str) -> String| {
        let text = fs::read_to_string(tree.join(file)).expect("a file of the copy");
        fs::write(tree.join(file), edit(&text)).expect("the copy can be written");
        age(&tree.join(file), &[&root().join(file)]);
    };
    fs::remove_file(tree.join("src/main.rs")).expect("the program's own file");
    edit("src/lib.rs", &|text| {
        let gone = |line: &&str| GONE.iter().any(|name| *line == format!("pub mod {name};"));
        let kept: String = text.lines().filter(|line| !gone(line)).flat_map(|line| [line, "\n"]).collect();
        kept + ASKS
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
        fs::copy(from, to).expect("a file can be copied");
        age(to, &[from]);
    }
}

/// A test program and which of its tests, run with one bug, or without any. Returns what it says where it does not pass.
fn fails(tree: &Path, number: usize, program: &[&str], tests: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--offline"])
        .args(program)
        .args(["--", "--nocapture"])
        .args(tests)
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", root().join("target/mutations"))
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("TINYSUP_SIM_SEEDS", SEEDS)
        .env("TINYSUP_SIM_FIRST_ONLY", "1")
        .env(PLANTED, number.to_string())
        .output()
        .expect("cargo runs");
    let said = [output.stdout, output.stderr].concat();
    (!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
}

/// Who notices a bug, and how; `None`: nobody.
fn noticed_by(tree: &Path, number: usize) -> Option<(&'static str, String)> {
    let simulation = || fails(tree, number, &["--test", "sim"], &["every_seed"]);
    let units = || fails(tree, number, &["--lib"], &UNIT_TESTS);
    let by_simulation = simulation().map(|how| ("the simulation", how));
    by_simulation.or_else(|| units().map(|how| ("unit tests only", how)))
}

/// The line of a test's output that says what is wrong.
fn reason(said: &str) -> &str {
    let all = format!("in {SEEDS} seeds");
    let tells = |line: &&str| line.starts_with("seed ") || line.starts_with(&all);
    said.lines()
        .find(tells)
        .or_else(|| said.lines().find(|line| line.contains("panicked")))
        .unwrap_or_default()
}

#[test]
#[ignore = "by hand, with scripts/mutate: it compiles the core with all bugs, and runs the simulation for each"]
fn each_planted_bug_is_noticed() {
    let only = std::env::var("TINYSUP_MUTATION").unwrap_or_default();
    let only: Vec<&str> = only.lines().collect();
    let table = table();
    for word in &only {
        assert!(
            table.iter().any(|mutation| mutation.name.contains(word)),
            "no planted bug has \"{word}\" in its name"
        );
    }
    let tree = copy(&table);
    if let Some((who, how)) = noticed_by(&tree, 0) {
        panic!("{who}: the tests do not pass without any bug:\n{how}");
    }
    let mut survivors = Vec::new();
    let wanted =
        |mutation: &Mutation| only.is_empty() || only.iter().any(|word| mutation.name.contains(word));
    for (number, mutation) in (1..).zip(&table).filter(|(_, mutation)| wanted(mutation)) {
        let begin = Instant::now();
        let noticed = noticed_by(&tree, number);
        let who = noticed.as_ref().map_or("SURVIVED", |(who, _)| *who);
        println!("{who:16} {} ({} s)", mutation.name, begin.elapsed().as_secs());
        if let Some((_, how)) = &noticed {
            println!("                 {}", reason(how).chars().take(200).collect::<String>());
        }
        if who != "the simulation" {
            survivors.push(mutation.name.as_str());
        }
    }
    assert!(survivors.is_empty(), "the simulation did not notice: {}", survivors.join("; "));
}
