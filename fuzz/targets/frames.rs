//! The first line of a client, in whatever pieces it comes. The first byte says how long the pieces are at most, the second how often
//! the rest is repeated, so that there may be more than a request can have.

use tinysup::control::{REQUEST_MAX, Request};
use tinysup::sys::fuzzing::Said;

/// A piece is as long as what is read at once, at most.
const PIECE_MAX: usize = 4096;

pub fn run(bytes: &[u8]) {
    let [most, times, text @ ..] = bytes else { return };
    // Few are long: those take a thousand times as long.
    let times = if *times < 250 { 1 } else { (REQUEST_MAX + PIECE_MAX) / text.len().max(64) };
    let said = text.repeat(times);
    let most = 1 + usize::from(*most) * usize::from(*most) % PIECE_MAX;

    let mut client = Said::default();
    let mut rest = &said[..];
    let mut found = None;
    while found.is_none() && !rest.is_empty() {
        let (piece, others) = rest.split_at(most.min(rest.len()));
        found = client.take(piece);
        rest = others;
    }
    let taken = said.len() - rest.len();
    let ended = found.is_none();
    let found = if ended { client.end() } else { found };

    let end = said.iter().position(|byte| *byte == b'\n');
    let line = &said[..end.unwrap_or(said.len())];
    match found {
        None => assert!(said.is_empty(), "whoever says something is answered"),
        Some(Err(why)) if line.len() >= REQUEST_MAX => {
            assert!(why.contains("at most"), "{why}");
            assert!(taken <= REQUEST_MAX + PIECE_MAX, "{taken} bytes are held");
        }
        Some(found) => {
            assert_eq!(found, Request::parse(line));
            assert!(ended == end.is_none() && taken < line.len() + 1 + most, "nobody waits for more");
        }
    }
}
