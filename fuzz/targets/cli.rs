//! Command lines under every name: the first byte says which name, the second which variables are set; then the words, with NUL
//! between.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use tinysup::cli::{self, Command};
use tinysup::plan;
use tinysup::units::MAX_DURATION;

const NAMES: [&str; 8] = [
    "tinysup",
    "/sbin/tini",
    "docker-init",
    "dumb-init",
    "catatonit",
    "podman-init",
    "tini-static-amd64",
    "",
];

pub fn run(bytes: &[u8]) {
    let [name, variables, words @ ..] = bytes else { return };
    let words: Vec<OsString> =
        words.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect();
    let name = NAMES[usize::from(*name) % NAMES.len()];
    let environment = |variable: &str| {
        let bit = variable.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % 8;
        // Their values come from the words.
        (variables & 1 << bit != 0).then(|| words.last().cloned().unwrap_or_default())
    };
    let programs = |word: &str| word.len() % 2 == usize::from(variables % 2);
    let parse = || {
        let all = [OsString::from(name)].into_iter().chain(words.iter().cloned());
        cli::parse(all, &environment, &programs)
    };
    let command = parse();
    assert_eq!(command, parse(), "the same words mean the same");
    match command {
        Ok(Command::One(one)) => {
            assert!(!one.argv.is_empty() && words.ends_with(&one.argv), "a command is the last of the words");
            assert!(one.kill_timeout.is_none_or(|timeout| timeout <= MAX_DURATION));
            assert_eq!(plan::single(&one).instances.len(), 1);
        }
        Ok(Command::Run { main, .. }) => assert!(words.ends_with(&main)),
        Ok(Command::Say(said)) => assert!(!said.text.is_empty()),
        Err(error) => assert!(!error.0.is_empty()),
        Ok(_) => {}
    }
}
