//! The program: what must happen before Rust's runtime, then everything else in the library.

#[path = "sys/early.rs"]
mod early;

fn main() -> std::process::ExitCode {
    tinysup::commands::main(early::inherited()).0.into()
}
