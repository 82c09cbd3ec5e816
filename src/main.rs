//! The program: what must happen before anything else, then everything in the library.

#![cfg_attr(not(test), no_main)]
#![cfg(not(test))]

#[path = "sys/allocator.rs"]
mod allocator;
#[path = "sys/early.rs"]
mod early;
#[path = "sys/entry.rs"]
mod entry;

fn run(words: impl Iterator<Item = std::ffi::OsString>) -> u8 {
    tinysup::commands::main(early::inherited(), words).0
}
