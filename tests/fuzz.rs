//! The targets of `fuzz/` without its tools: all of the corpus, and then what a seed makes of it.
//!
//! `TINYSUP_FUZZ_RUNS=100000` makes up so many inputs for each target, `TINYSUP_FUZZ_FIRST=5000` begins with that seed,
//! `TINYSUP_FUZZ=units` is about that target only. `TINYSUP_FUZZ_FILE=…` gives one file, instead of the examples, to the target
//! that its folder is called after.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target that panics has found something"
)]

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use targets::{ALL, Target};

/// Inputs made up for each target.
const RUNS: u64 = 1000;
/// The longest input.
const LONGEST: usize = 4096;
/// No input takes so long, not even on a busy machine: what does goes round in circles.
const PATIENCE: Duration = Duration::from_secs(20);
/// All of the corpus, so that it stays small.
const CORPUS_MAX_BYTES: usize = 600 << 10;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder("corpus").join(target)).expect("a folder of examples for each target");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no examples for {target}");
    files.into_iter().map(|path| (path.clone(), fs::read(path).expect("an example"))).collect()
}

fn words(target: &str) -> Vec<Vec<u8>> {
    let text = fs::read(folder("words").join(target)).unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Runs a target once, and says what it was given if it does not like it.
fn run(target: &Target, from: &str, bytes: &[u8]) {
    let begin = Instant::now();
    let passes = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_ok();
    assert!(passes, "{}: {from}: \"{}\"", target.name, bytes.escape_ascii());
    let took = begin.elapsed();
    assert!(took < PATIENCE, "{}: {from} took {took:?}: \"{}\"", target.name, bytes.escape_ascii());
}

fn number(variable: &str, default: u64) -> u64 {
    let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{variable} is no number"));
    std::env::var(variable).map_or(default, number)
}

#[test]
fn each_example_passes() {
    if let Some(path) = std::env::var_os("TINYSUP_FUZZ_FILE").map(PathBuf::from) {
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        let target =
            ALL.iter().find(|target| *target.name == *folder).expect("a folder with the name of a target");
        return run(target, &path.display().to_string(), &fs::read(&path).expect("the file can be read"));
    }
    let mut total = 0;
    for target in &ALL {
        for (path, bytes) in corpus(target.name) {
            total += bytes.len();
            run(target, &path.display().to_string(), &bytes);
        }
    }
    assert!(total <= CORPUS_MAX_BYTES, "the corpus has {total} bytes; fuzz/run --minimise makes it smaller");
    for entry in fs::read_dir(folder("corpus")).expect("a corpus") {
        let name = entry.expect("an entry").file_name();
        assert!(
            ALL.iter().any(|target| *target.name == *name),
            "no target has the name of {}",
            name.display()
        );
    }
}

#[test]
fn what_a_seed_makes_of_the_examples_passes() {
    let first = number("TINYSUP_FUZZ_FIRST", 0);
    let only = std::env::var("TINYSUP_FUZZ");
    for target in
        ALL.iter().filter(|target| only.as_ref().is_ok_and(|only| only == target.name) || only.is_err())
    {
        let examples: Vec<Vec<u8>> = corpus(target.name).into_iter().map(|(_, bytes)| bytes).collect();
        let words = words(target.name);
        for seed in first..first + number("TINYSUP_FUZZ_RUNS", RUNS) {
            let bytes = made_up(&mut Chance(seed), &examples, &words);
            run(target, &format!("TINYSUP_FUZZ_FIRST={seed} TINYSUP_FUZZ_RUNS=1"), &bytes);
        }
    }
}

/// Chance by seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % bound.max(1) as u64).unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }

    /// A short part of something so long.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let from = self.below(length + 1);
        let most = (length - from).min(64);
        from..from + self.below(most + 1)
    }
}

/// An example with a few changes.
fn made_up(chance: &mut Chance, examples: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
    const EXTREMES: [&str; 8] = [
        "0",
        "-1",
        "255",
        "65536",
        "2147483648",
        "4294967295",
        "18446744073709551615",
        "99999999999999999999",
    ];
    let mut bytes = chance.pick(examples).clone();
    for _ in 0..=chance.below(4) {
        let range = chance.range(bytes.len());
        let at = range.start;
        match chance.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 if at < bytes.len() => bytes[at] = chance.byte(),
            2 => bytes.insert(at, chance.byte()),
            3 => drop(bytes.drain(range)),
            4 => {
                let copy = bytes[range].to_vec();
                let to = chance.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            5 => {
                let other = chance.pick(examples);
                let part = chance.range(other.len());
                bytes.splice(range, other[part].iter().copied());
            }
            6 if !words.is_empty() => {
                bytes.splice(at..at, chance.pick(words).iter().copied());
            }
            _ => {
                // The digits there, if there are any, become a number that is hard to calculate with.
                let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                bytes.splice(at..at + digits, chance.pick(&EXTREMES).bytes());
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}
