//! A server's answer to a probe, in whatever pieces it comes; and what a configuration may ask of one.

use tinysup::probe::{self, Answer, Target};
use tinysup::sys::fuzzing::Head;

pub fn run(bytes: &[u8]) {
    let whole = Head::default().take(bytes);
    // Cut into pieces, whose lengths the bytes themselves say, it is the same: once it is decided, nobody reads on.
    for most in [1, 7, 200] {
        let mut head = Head::default();
        let (mut rest, mut decided) = (bytes, Answer::More);
        while decided == Answer::More && !rest.is_empty() {
            let length = 1 + usize::from(rest[0]) % most;
            let (piece, others) = rest.split_at(length.min(rest.len()));
            decided = head.take(piece);
            rest = others;
        }
        // What follows right after a status is looked at only where it comes with it.
        assert!(
            decided == whole || whole == Answer::Garbage,
            "{decided:?} in pieces of {most}, {whole:?} at once"
        );
    }
    match whole {
        Answer::Status(status) => assert!((100..1000).contains(&status)),
        Answer::More | Answer::Garbage => {}
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(target) = probe::parse(text) {
        match &target {
            Target::Tcp { addresses } => assert!(!addresses.is_empty()),
            Target::Http { addresses, host, path } => {
                assert!(!addresses.is_empty() && path.starts_with('/'));
                // One request, and nothing smuggled into it.
                assert!(
                    ![host, path]
                        .iter()
                        .any(|part| part.contains(|c: char| c.is_whitespace() || c.is_control()))
                );
                assert_eq!(probe::parse(&format!("http://{host}{path}")).as_ref(), Ok(&target));
            }
            Target::Unix { path } => assert!(path.len() <= 107),
            Target::File { path } => assert!(path.to_string_lossy().starts_with('/')),
        }
    }
}
