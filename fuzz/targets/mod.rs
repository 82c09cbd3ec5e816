//! What is fuzzed: one function of bytes for each parser of something that comes from outside. It panics where a promise is broken,
//! and returns whatever the bytes are. `fuzz/src/main.rs` gives them bytes that libFuzzer makes up, `tests/fuzz.rs` those of the
//! corpus and of a seed.
//!
//! A new target is a file here, a row in [`ALL`], and a folder of examples in `fuzz/corpus`; a list of words worth inserting in
//! `fuzz/words` helps where there are any.

mod answers;
mod cgroup;
mod cli;
mod config;
mod dotenv;
mod frames;
mod http;
mod interpolation;
mod json;
mod logs;
mod notify;
mod proc;
mod requests;
mod units;
mod users;
mod words;

/// A parser and what must hold of it.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Does it once.
    pub run: fn(&[u8]),
}

/// All of them.
pub const ALL: [Target; 16] = [
    Target { name: "answers", run: answers::run },
    Target { name: "cgroup", run: cgroup::run },
    Target { name: "cli", run: cli::run },
    Target { name: "config", run: config::run },
    Target { name: "dotenv", run: dotenv::run },
    Target { name: "frames", run: frames::run },
    Target { name: "http", run: http::run },
    Target { name: "interpolation", run: interpolation::run },
    Target { name: "json", run: json::run },
    Target { name: "logs", run: logs::run },
    Target { name: "notify", run: notify::run },
    Target { name: "proc", run: proc::run },
    Target { name: "requests", run: requests::run },
    Target { name: "units", run: units::run },
    Target { name: "users", run: users::run },
    Target { name: "words", run: words::run },
];

/// What a terminal could take for an order.
fn has_controls(text: &str) -> bool {
    text.chars().any(|character| character.is_control() && character != '\n')
}
