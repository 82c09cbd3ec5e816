//! Services for the cases: lines of shell, and the witness, a small program that does what it is told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

/// `[services.NAME]` with that command and these further keys, one a line.
pub fn service(name: &str, command: &str, keys: &str) -> String {
    format!("[services.{name}]\ncommand = {command}\n{keys}\n")
}

/// A command that the shell runs.
pub fn sh(script: &str) -> String {
    words(&["sh", "-c", script])
}

/// A command of the witness; its words have no spaces.
pub fn witness(orders: &str) -> String {
    let program = witness_path().to_string_lossy();
    words(&[&*program].into_iter().chain(orders.split_whitespace()).collect::<Vec<_>>())
}

/// A command as an array in TOML. No variable in it is tinysup's.
pub fn words(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A string in TOML.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '$' => quoted.push_str("$$"),
            _ if character.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

/// The witness, built once.
pub fn witness_path() -> &'static Path {
    static WITNESS: OnceLock<PathBuf> = OnceLock::new();
    WITNESS.get_or_init(|| {
        // Below /tmp, because the folder of the build may be closed to other users.
        let built = env::temp_dir().join(format!("tinysup-witness-{}", std::process::id()));
        let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "panic=abort",
            "-C",
            "target-feature=+crt-static",
            "-o",
        ]);
        rustc.arg(&built).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/witness.rs"));
        let output = rustc.output().expect("rustc runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Under one name for all runs, so that none leaves one behind.
        let kept = env::temp_dir().join("tinysup-witness");
        fs::rename(&built, &kept).expect("they lie side by side");
        kept
    })
}
