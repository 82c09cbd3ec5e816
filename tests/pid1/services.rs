//! Services for the cases: lines of shell, and the witness, a small program that does what it is told.

use std::hash::{DefaultHasher, Hash, Hasher};
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
            _ if character.is_control() => quoted.extend(format!("\\u{:04X}", u32::from(character)).chars()),
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

/// The witness, built once for all runs of the tests with this source.
pub fn witness_path() -> &'static Path {
    static WITNESS: OnceLock<PathBuf> = OnceLock::new();
    WITNESS.get_or_init(|| {
        const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/witness.rs");
        let mut hasher = DefaultHasher::new();
        fs::read(SOURCE).expect("the source of the witness").hash(&mut hasher);
        // Below /tmp, because the folder of the build may be closed to other users.
        let kept = env::temp_dir().join(format!("tinysup-witness-{:x}", hasher.finish()));
        if !kept.exists() {
            let built = kept.with_extension(std::process::id().to_string());
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
            let output = rustc.arg(&built).arg(SOURCE).output().expect("rustc runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            fs::rename(&built, &kept).expect("they lie side by side");
        }
        kept
    })
}
