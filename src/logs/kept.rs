//! The last output of one instance, with its times and streams, and the marks of what happened in between. Whatever was taken in
//! at once has one time and is one chunk, so that a flood costs no more than its bytes.

use std::collections::VecDeque;

use super::Origin;
use crate::event::Time;
use crate::search;

/// What is kept of each instance's last output, what is known about it included.
pub const KEPT_MAX_BYTES: usize = 64 * 1024;

/// What a chunk costs beside its bytes.
const CHUNK_BYTES: usize = size_of::<Chunk>();

/// The largest chunk.
pub const CHUNK_MAX_BYTES: usize = KEPT_MAX_BYTES - CHUNK_BYTES;

/// A place in all that an instance ever wrote, in bytes.
pub type Position = u64;

/// What is kept.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: VecDeque<u8>,
    chunks: VecDeque<Chunk>,
    /// Where the first byte that is kept stands.
    begin: Position,
}

/// Whole lines, or a piece of a very long one, that came at the same time. It ends where the next begins.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    pub at: Time,
    pub from: Position,
    pub origin: Origin,
}

impl Kept {
    /// Where the oldest byte stands.
    pub fn begin(&self) -> Position {
        self.begin
    }

    /// Where the next byte will stand.
    pub fn end(&self) -> Position {
        self.begin + self.bytes.len() as u64
    }

    /// What has to go so that so many bytes more are kept in a new chunk: all before this position. Whole lines go.
    pub fn over(&self, more: usize) -> Position {
        let mut used = self.bytes.len() + self.chunks.len() * CHUNK_BYTES + more;
        if used <= CHUNK_MAX_BYTES {
            return self.begin;
        }
        for (index, chunk) in self.chunks.iter().enumerate() {
            let to = self.chunks.get(index + 1).map_or(self.end(), |next| next.from);
            let length = usize::try_from(to - chunk.from).unwrap_or(usize::MAX);
            if used - length - CHUNK_BYTES < CHUNK_MAX_BYTES {
                // Of this one a part may stay.
                let cut = chunk.from + (used - CHUNK_MAX_BYTES) as u64;
                return self.find(cut.min(to).saturating_sub(1), to).map_or(to, |newline| newline + 1);
            }
            used -= length + CHUNK_BYTES;
        }
        self.end()
    }

    /// Forgets all before this position.
    pub fn drop_to(&mut self, position: Position) {
        let count = usize::try_from(position.saturating_sub(self.begin)).unwrap_or(usize::MAX);
        self.bytes.drain(..count.min(self.bytes.len()));
        self.begin = self.begin.max(position);
        while self.chunks.get(1).map_or(self.bytes.is_empty(), |next| next.from <= self.begin) {
            if self.chunks.pop_front().is_none() {
                return;
            }
        }
        if let Some(first) = self.chunks.front_mut() {
            first.from = self.begin;
        }
    }

    /// Adds a chunk of these parts, of which at most the last of what may be kept stays; room has been made before.
    pub fn add(&mut self, at: Time, origin: Origin, parts: [&[u8]; 2]) {
        let from = self.end();
        self.chunks.push_back(Chunk { at, from, origin });
        for part in parts {
            self.bytes.extend(part);
        }
    }

    /// Skips so many bytes that are not kept; nothing is any more.
    pub fn skip(&mut self, bytes: usize) {
        self.drop_to(self.end());
        self.begin += bytes as u64;
    }

    /// The chunk at this position, with its end.
    pub fn chunk(&self, position: Position) -> Option<(Chunk, Position)> {
        let next = self.chunks.partition_point(|chunk| chunk.from <= position);
        let chunk = self.chunks.get(next.checked_sub(1)?)?;
        let to = self.chunks.get(next).map_or(self.end(), |next| next.from);
        (position < to).then_some((*chunk, to))
    }

    /// All chunks with their ends, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = (Chunk, Position)> {
        let mut end = self.end();
        self.chunks.iter().rev().map(move |chunk| (*chunk, std::mem::replace(&mut end, chunk.from)))
    }

    /// The first newline between two positions.
    pub fn find(&self, from: Position, to: Position) -> Option<Position> {
        let [first, second] = self.slices(from, to);
        let at = search::first(b'\n', first).or_else(|| Some(first.len() + search::first(b'\n', second)?))?;
        Some(from.max(self.begin) + at as u64)
    }

    /// The last newline between two positions.
    pub fn find_last(&self, from: Position, to: Position) -> Option<Position> {
        let [first, second] = self.slices(from, to);
        let at =
            search::last(b'\n', second).map(|at| first.len() + at).or_else(|| search::last(b'\n', first))?;
        Some(from.max(self.begin) + at as u64)
    }

    /// How many lines end between two positions.
    pub fn count(&self, from: Position, to: Position) -> u64 {
        self.slices(from, to).map(|slice| search::line_ends(slice) as u64).iter().sum()
    }

    /// The bytes between two positions.
    pub fn copy(&self, from: Position, to: Position) -> Vec<u8> {
        self.slices(from, to).concat()
    }

    fn slices(&self, from: Position, to: Position) -> [&[u8]; 2] {
        let index = |position: Position| {
            usize::try_from(position.saturating_sub(self.begin)).unwrap_or(usize::MAX).min(self.bytes.len())
        };
        let (from, to) = (index(from), index(to));
        let (first, second) = self.bytes.as_slices();
        let cut = |slice: &'_ [u8], offset: usize| {
            (from.saturating_sub(offset).min(slice.len()), to.saturating_sub(offset).min(slice.len()))
        };
        let ((a, b), (c, d)) = (cut(first, 0), cut(second, first.len()));
        [first.get(a..b).unwrap_or_default(), second.get(c..d).unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Sink;

    const OUT: Origin = Origin::Output(Sink::Stdout);

    fn push(kept: &mut Kept, at: u64, text: &[u8]) {
        kept.drop_to(kept.over(text.len()));
        kept.add(Time(at), OUT, [text, b""]);
    }

    #[test]
    fn only_whole_lines_go_and_the_rest_is_as_it_was() {
        for length in [1, 2, 7, 60, 1000, 30_000] {
            let (mut kept, mut model) = (Kept::default(), Vec::<u8>::new());
            for index in 0..20_000.min(3_000_000 / length) {
                let mut line = vec![b'a' + u8::try_from(index % 26).unwrap(); length];
                line[length - 1] = b'\n';
                push(&mut kept, index as u64, &line);
                model.extend_from_slice(&line);
                let used = kept.bytes.len() + kept.chunks.len() * CHUNK_BYTES;
                assert!(used <= KEPT_MAX_BYTES, "{used} bytes");
                assert_eq!(kept.end(), model.len() as u64);
            }
            assert!(
                kept.bytes.len() + kept.chunks.len() * CHUNK_BYTES
                    > KEPT_MAX_BYTES - 2 * length - 2 * CHUNK_BYTES
            );
            assert_eq!(kept.copy(0, u64::MAX), model[model.len() - kept.bytes.len()..]);
            assert!(kept.begin() == 0 || model[usize::try_from(kept.begin()).unwrap() - 1] == b'\n');
            assert_eq!(kept.count(0, u64::MAX), (kept.bytes.len() / length) as u64);
        }
    }

    #[test]
    fn a_large_chunk_gives_way_line_by_line() {
        let mut kept = Kept::default();
        let lines: Vec<u8> = (0..6000).flat_map(|index| format!("line {index:04}\n").into_bytes()).collect();
        push(&mut kept, 1, &lines);
        push(&mut kept, 2, &[b"x".repeat(20_000), b"\n".to_vec()].concat());
        let (first, to) = kept.chunk(kept.begin()).unwrap();
        assert_eq!((first.at, first.from), (Time(1), kept.begin()));
        assert!(kept.copy(first.from, to).starts_with(b"line "));
        assert_eq!(kept.chunk(to).map(|(chunk, to)| (chunk.at, to)), Some((Time(2), kept.end())));
        assert_eq!(kept.chunk(kept.end()).map(|(chunk, _)| chunk.at), None);
        assert_eq!(kept.find_last(first.from, to), Some(to - 1));
        assert_eq!(kept.newest_first().map(|(chunk, _)| chunk.at.0).collect::<Vec<_>>(), [2, 1]);
    }
}
