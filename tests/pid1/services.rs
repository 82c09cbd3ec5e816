//! Services for the cases: lines of shell, and the witness, a small program that does what it is told.

pub use crate::witness::witness_path;

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
