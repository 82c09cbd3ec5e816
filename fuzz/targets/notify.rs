//! What a service says through its notification socket: bounded, printable, and each line for itself.

use tinysup::notify::{self, STATUS_MAX, Word};

pub fn run(bytes: &[u8]) {
    let words = notify::parse(bytes);
    for word in &words {
        match word {
            Word::Status(status) => {
                assert!(status.len() <= STATUS_MAX && !super::has_controls(status) && !status.contains('\n'));
            }
            Word::MainPid(pid) => assert!(*pid >= 0),
            Word::Ready | Word::Reloading | Word::Stopping | Word::Alive | Word::Sick | Word::Store => {}
            Word::Watchdog(_) | Word::Extend(_) => {}
        }
    }
    if let Some(newline) = bytes.iter().position(|byte| *byte == b'\n') {
        let (first, rest) = bytes.split_at(newline);
        let parts = [notify::parse(first), notify::parse(&rest[1..])].concat();
        assert_eq!(parts, words, "lines do not know each other");
    }
}
