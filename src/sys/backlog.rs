//! What waits for one of the container's outputs, in order: whole pieces, of which the first may be written in part. Leaves to its
//! owner how a file is written without waiting.

use std::collections::VecDeque;

use ::log::Level;

use super::log;
use crate::event::Spare;

/// How much of our own lines is kept for a reader that is stuck.
const OWN_MAX_BYTES: usize = 64 << 10;

/// What waits.
#[derive(Debug, Default)]
pub struct Backlog {
    pending: VecDeque<Piece>,
    /// How much of the first piece is written already.
    written: usize,
    /// What was written last is a part of a line whose rest is lost.
    torn: bool,
    /// How much of `pending` is our own lines,
    own: usize,
    /// and how much the services'.
    others: usize,
    /// How many of our own lines were dropped since nothing waited.
    dropped: usize,
}

#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    own: bool,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many bytes are written.
    Written(usize),
    /// Nothing more fits now.
    Full,
    /// It cannot be written, now or later.
    Lost,
}

impl Backlog {
    /// Whether anything waits.
    pub fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How much of the services' output waits, in bytes.
    pub fn others(&self) -> usize {
        self.others
    }

    /// Adds what a service wrote, which is not empty. Says whether nothing waited before, so that it can be written at once: else the file
    /// was full a moment ago, and poll says when it no longer is.
    pub fn add(&mut self, bytes: Vec<u8>) -> bool {
        self.push(Piece { bytes, own: false })
    }

    /// The same with our own lines, which are dropped and counted when too many wait already.
    pub fn add_own(&mut self, bytes: Vec<u8>) -> bool {
        if self.own + bytes.len() > OWN_MAX_BYTES {
            self.dropped += crate::search::line_ends(&bytes);
            return false;
        }
        self.push(Piece { bytes, own: true })
    }

    fn push(&mut self, piece: Piece) -> bool {
        *self.waiting(piece.own) += piece.bytes.len();
        self.pending.push_back(piece);
        self.pending.len() == 1
    }

    /// Writes as much as the file takes now.
    pub fn flush(&mut self, spare: &mut Spare, mut write: impl FnMut(&[u8]) -> Outcome) {
        while let Some(first) = self.pending.front() {
            // A line that has lost its end does not take the beginning of the next for it.
            let rest = if self.torn { b"\n" } else { first.bytes.get(self.written..).unwrap_or_default() };
            match write(rest) {
                Outcome::Written(count) if self.torn => self.torn = count == 0,
                Outcome::Written(count) if count < rest.len() => self.written += count,
                Outcome::Written(_) => self.pop(spare),
                Outcome::Lost => {
                    let last = self.written.checked_sub(1).and_then(|last| first.bytes.get(last));
                    self.torn |= last.is_some_and(|last| *last != b'\n');
                    self.pop(spare);
                }
                Outcome::Full => return,
            }
            if self.pending.is_empty() && self.dropped > 0 {
                let count = std::mem::take(&mut self.dropped);
                let text = format!("{count} lines of ours were dropped because nobody read them");
                self.push(Piece { bytes: log::written(Level::Warn, &text), own: true });
            }
        }
    }

    fn pop(&mut self, spare: &mut Spare) {
        self.written = 0;
        if let Some(piece) = self.pending.pop_front() {
            let waiting = self.waiting(piece.own);
            *waiting = waiting.saturating_sub(piece.bytes.len());
            spare.put(piece.bytes);
        }
        if self.pending.is_empty() {
            // What a stuck reader made us collect is not kept for ever.
            self.pending.shrink_to(4);
        }
    }

    fn waiting(&mut self, own: bool) -> &mut usize {
        if own { &mut self.own } else { &mut self.others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that takes what a generator of numbers says: of a hundred writes so many fail for good.
    struct Script {
        random: u64,
        fail: u64,
        text: Vec<u8>,
    }

    impl Script {
        fn below(&mut self, limit: usize) -> usize {
            self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            usize::try_from(self.random >> 33).unwrap() % limit
        }

        fn write(&mut self, bytes: &[u8]) -> Outcome {
            let (kind, part) = (self.below(100), 1 + self.below(bytes.len()));
            let count = match kind {
                _ if kind < usize::try_from(self.fail).unwrap() => return Outcome::Lost,
                0..50 => part,
                50..60 => 0, // interrupted
                60..80 => return Outcome::Full,
                _ => bytes.len(),
            };
            self.text.extend_from_slice(&bytes[..count]);
            Outcome::Written(count)
        }
    }

    /// Writes pieces of some lines each, all of them different, and returns them and what came of it.
    fn written(seed: u64, fail: u64) -> (String, String) {
        let mut script = Script { random: seed, fail, text: Vec::new() };
        let (mut backlog, mut spare, mut all) = (Backlog::default(), Spare::default(), String::new());
        for piece in 0..50 {
            let lines = 1 + script.below(4);
            let lines = (0..lines).map(|line| format!("{piece}.{line} {}\n", "x".repeat(script.below(40))));
            let text = lines.collect::<Vec<_>>().concat();
            all.push_str(&text);
            if backlog.add(text.into_bytes()) {
                backlog.flush(&mut spare, |bytes| script.write(bytes));
            }
        }
        while backlog.waits() {
            backlog.flush(&mut spare, |bytes| script.write(bytes));
        }
        assert_eq!((backlog.own, backlog.others, backlog.written), (0, 0, 0));
        (all, String::from_utf8(script.text).unwrap())
    }

    #[test]
    fn short_interrupted_and_refused_writes_lose_nothing() {
        for seed in 0..500 {
            let (all, text) = written(seed, 0);
            assert_eq!(text, all, "seed {seed}");
        }
    }

    /// What is there are lines in their order; those that an error hit lack their end, and take nobody else's.
    #[test]
    fn writes_that_fail_tear_no_other_line() {
        let mut torn = 0;
        for seed in 0..500 {
            let (all, text) = written(seed, 10);
            let mut whole = all.lines();
            for line in text.lines() {
                let of = whole.find(|whole| whole.starts_with(line) && !line.is_empty());
                let Some(of) = of else { panic!("seed {seed}: {line:?} in\n{text}") };
                torn += usize::from(of != line);
            }
        }
        assert!(torn > 100, "{torn}");
    }

    #[test]
    fn every_length_of_a_short_write() {
        let text = b"one\ntwo two\nthree\n";
        for first in 1..=text.len() {
            for then in [Outcome::Full, Outcome::Written(0), Outcome::Lost] {
                let (mut backlog, mut spare, mut out, mut calls) =
                    (Backlog::default(), Spare::default(), Vec::new(), 0);
                let mut write = |bytes: &[u8]| {
                    calls += 1;
                    let outcome = match calls {
                        1 => Outcome::Written(first.min(bytes.len())),
                        2 => then,
                        _ => Outcome::Written(bytes.len()),
                    };
                    if let Outcome::Written(count) = outcome {
                        out.extend_from_slice(&bytes[..count]);
                    }
                    outcome
                };
                assert!(backlog.add(text.to_vec()));
                backlog.flush(&mut spare, &mut write);
                backlog.add(b"four\n".to_vec());
                backlog.flush(&mut spare, &mut write);
                backlog.flush(&mut spare, &mut write);
                let end: &[u8] = if text[first - 1] == b'\n' { b"four\n" } else { b"\nfour\n" };
                let expected = match then {
                    // Of the whole text the first write left nothing to lose, so the second piece is what is lost.
                    Outcome::Lost if first == text.len() => text.to_vec(),
                    Outcome::Lost => [&text[..first], end].concat(),
                    Outcome::Full | Outcome::Written(_) => [&text[..], b"four\n"].concat(),
                };
                assert_eq!(String::from_utf8(out), String::from_utf8(expected), "{first} {then:?}");
            }
        }
    }

    #[test]
    fn of_our_own_lines_only_so_many_wait() {
        let (mut backlog, mut spare) = (Backlog::default(), Spare::default());
        for _ in 0..100 {
            backlog.add_own(b"x".repeat(999).into_iter().chain([b'\n']).collect());
        }
        let mut text = Vec::new();
        backlog.flush(&mut spare, |bytes| {
            text.extend_from_slice(bytes);
            Outcome::Written(bytes.len())
        });
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count(), 65 + 1);
        assert!(text.ends_with("tinysup | 35 lines of ours were dropped because nobody read them\n"));
    }
}
