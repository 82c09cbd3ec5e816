//! The program's memory, which is this test's own too: pieces of any size, from several threads, hold what was written to them.

#![allow(unsafe_code, reason = "the allocator's own interface")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::sync::{Mutex, PoisonError};
use std::{fs, thread};

#[path = "../src/sys/allocator.rs"]
mod allocator;
#[path = "common/numbers.rs"]
mod numbers;

use self::numbers::Numbers;

/// Held by each test: nobody else's pieces come in between.
static ALONE: Mutex<()> = Mutex::new(());

/// A piece, and the byte that it is full of.
struct Piece {
    memory: *mut u8,
    layout: Layout,
    byte: u8,
}

impl Piece {
    fn new(layout: Layout, byte: u8, zeroed: bool) -> Self {
        // SAFETY: no layout here is of nothing.
        let memory = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
        let piece = Self { memory, layout, byte: if zeroed { 0 } else { byte } };
        if zeroed {
            piece.check(layout.size());
        }
        Self { byte, ..piece }.filled()
    }

    fn filled(self) -> Self {
        assert!(
            self.memory.addr().is_multiple_of(self.layout.align()),
            "{:?} at {:?}",
            self.layout,
            self.memory
        );
        // SAFETY: it is so large, and ours.
        unsafe { self.memory.write_bytes(self.byte, self.layout.size()) };
        self
    }

    fn check(&self, bytes: usize) {
        // SAFETY: it is so large, ours, and was written to or is zeros.
        let held = unsafe { std::slice::from_raw_parts(self.memory, bytes) };
        assert!(
            held.iter().all(|byte| *byte == self.byte),
            "{:?} does not hold what was written",
            self.layout
        );
    }

    fn resized(mut self, bytes: usize) -> Self {
        self.check(self.layout.size());
        let kept = bytes.min(self.layout.size());
        // SAFETY: it came from there with this layout.
        self.memory = unsafe { realloc(self.memory, self.layout, bytes) };
        self.layout = Layout::from_size_align(bytes, self.layout.align()).expect("small");
        self.check(kept);
        self.filled()
    }

    fn free(self) {
        self.check(self.layout.size());
        // SAFETY: it came from there with this layout, and nobody uses it any more.
        unsafe { dealloc(self.memory, self.layout) };
    }
}

fn bytes(numbers: &mut Numbers) -> usize {
    let most = numbers.one(&[16, 130, 1500, 40_000, 300_000]);
    1 + numbers.index(most)
}

/// Takes, resizes and gives back pieces at random, and gives all back at the end.
fn work(seed: u64) {
    let mut numbers = Numbers::new(seed);
    let mut pieces: Vec<Piece> = Vec::new();
    for _ in 0..4000 {
        let byte = u8::try_from(numbers.below(256)).expect("less");
        match numbers.below(8) {
            0..4 => {
                let align = 1 << numbers.below(8);
                let layout = Layout::from_size_align(bytes(&mut numbers), align).expect("small");
                pieces.push(Piece::new(layout, byte, numbers.below(4) == 0));
            }
            4 | 5 if !pieces.is_empty() => {
                let piece = pieces.swap_remove(numbers.index(pieces.len()));
                pieces.push(piece.resized(bytes(&mut numbers)));
            }
            _ if !pieces.is_empty() => pieces.swap_remove(numbers.index(pieces.len())).free(),
            _ => {}
        }
        // Not ever more: what lives is bounded, as in the program.
        if pieces.len() > 300 {
            pieces.drain(..100).for_each(Piece::free);
        }
    }
    pieces.into_iter().for_each(Piece::free);
}

#[test]
fn what_is_written_to_a_piece_stays_there() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for seed in 1..5 {
            scope.spawn(move || work(seed));
        }
    });
}

#[test]
fn a_piece_that_came_back_is_given_again() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for bytes in [1, 16, 17, 64, 65, 500, 4096, 32 << 10] {
        let layout = Layout::from_size_align(bytes, 8).expect("small");
        let first = Piece::new(layout, 1, false);
        let place = first.memory;
        first.free();
        let second = Piece::new(layout, 2, false);
        assert_eq!(second.memory, place, "{bytes} bytes");
        second.free();
    }
}

/// Pieces are never put together again, so it must be shown that what is cut is not cut for ever: work of one kind needs its most soon,
/// and then no more, but for a size that has its most later than others (639 rounds take 1.7 times what 7 take).
#[test]
fn long_work_takes_no_more_than_short() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let anonymous = || {
        let status = fs::read_to_string("/proc/self/status").expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5");
        line.trim_end_matches("kB").trim().parse::<i64>().expect("a number")
    };
    (1..16).for_each(work);
    let short = anonymous();
    (16..40).for_each(work);
    let long = anonymous();
    assert!(long < short + short / 4, "{short} kB after 15 rounds, {long} after 39");
}
