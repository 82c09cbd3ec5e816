//! The inner loop of the relay: whole lines into one buffer, with something before each. Where lines are short, a search for the end of
//! each, a call of memcpy for each, and another for what stands before it, cost more than the copying. So the text goes in blocks,
//! whatever lines there are: each is copied as it is, a line end in it says where the head goes, and what follows it is copied once
//! more, behind that. Always a whole block, a little too much of it, and what is too much is written over by what follows.

use crate::newlines::{BLOCK_BYTES, newlines};
use crate::search;

/// A head that is not longer than this is copied as a part of a block.
const SHORT_HEAD_BYTES: usize = 16;

/// So much goes through a register: the least that each x86_64 and aarch64 has.
const PIECE_BYTES: usize = 16;

const _: () = assert!(BLOCK_BYTES == 4 * PIECE_BYTES, "`copy` copies four pieces");

/// How much room [`lines`] should find, so that it need not make more: for lines of 64 bytes and longer.
pub fn room(begun: &[u8], head: &[u8], lines: &[u8]) -> usize {
    // A line or two take no block, and what is queued for a stuck reader is counted without the room that it has.
    let block = if goes_in_blocks(head, lines) { room_of_block(head) } else { 0 };
    begun.len() + lines.len() + (lines.len() / 64 + 2) * head.len() + block
}

/// Whether there is a block that [`lines`] copies whole.
fn goes_in_blocks(head: &[u8], lines: &[u8]) -> bool {
    head.len() < BLOCK_BYTES && lines.len() >= 2 * BLOCK_BYTES
}

/// How much room a block takes at most, if each byte of it is a line end, and what is copied too much.
fn room_of_block(head: &[u8]) -> usize {
    BLOCK_BYTES * (head.len() + 1) + 2 * BLOCK_BYTES
}

/// Writes `lines`, all of which end with a newline, to `out`: `first` before the first of them, `head` before each other. What `out` held
/// is written over.
#[cfg_attr(small, optimize(speed))] // and with it all that is inlined
pub fn lines(out: &mut Vec<u8>, first: [&[u8]; 2], head: &[u8], lines: &[u8]) {
    let mut page = Page { bytes: out, used: 0 };
    for part in first {
        page.add(part);
    }
    let room_of_block = room_of_block(head);
    let mut rest = lines;
    let mut padded = [0; BLOCK_BYTES];
    if let Some(room) = padded.get_mut(..head.len()).filter(|room| room.len() < BLOCK_BYTES) {
        room.copy_from_slice(head);
        // While another block follows, so that there is a whole one behind each line end.
        while let Some(two) = rest.first_chunk() {
            page.reserve(room_of_block);
            page.add_block(two, &padded, head.len());
            rest = rest.get(BLOCK_BYTES..).unwrap_or_default();
        }
    }
    while let Some(newline) = search::first(b'\n', rest) {
        let (line, others) = rest.split_at(newline + 1);
        page.add(line);
        rest = others;
        if !rest.is_empty() {
            page.add(head);
        }
    }
    debug_assert!(rest.is_empty() && !lines.is_empty(), "only whole lines come here");
    page.bytes.truncate(page.used);
}

/// What is written, and as much more as is there to be written on.
struct Page<'a> {
    bytes: &'a mut Vec<u8>,
    used: usize,
}

impl Page<'_> {
    /// Writes the first of these blocks, with so much of the head behind each line end. There is room.
    #[inline]
    fn add_block(&mut self, two: &[u8; 2 * BLOCK_BYTES], head: &[u8; BLOCK_BYTES], length: usize) {
        let Some(block) = two.first_chunk() else { return };
        if let Some(room) = self.room() {
            copy(room, block);
        }
        let mut newlines = newlines(block);
        let mut done = 0;
        while newlines != 0 {
            // The bounds are said in a way that needs no look; nothing here wraps.
            let end = (newlines.trailing_zeros() as usize % BLOCK_BYTES) + 1;
            newlines &= newlines.wrapping_sub(1);
            self.used = self.used.wrapping_add(end.wrapping_sub(done));
            done = end;
            let length = length % BLOCK_BYTES;
            let next = two.get(end..).and_then(<[u8]>::first_chunk::<BLOCK_BYTES>);
            if let (Some(next), Some(room)) = (next, self.room::<{ 2 * BLOCK_BYTES }>()) {
                if length > SHORT_HEAD_BYTES {
                    if let Some(room) = room.first_chunk_mut() {
                        copy(room, head);
                    }
                } else if let (Some(room), Some(head)) =
                    (room.first_chunk_mut::<SHORT_HEAD_BYTES>(), head.first_chunk())
                {
                    *room = *head;
                }
                if let Some(room) = room.get_mut(length..).and_then(<[u8]>::first_chunk_mut) {
                    copy(room, next);
                }
            }
            self.used = self.used.wrapping_add(length);
        }
        self.used = self.used.wrapping_add(BLOCK_BYTES.wrapping_sub(done));
    }

    #[inline]
    fn room<const COUNT: usize>(&mut self) -> Option<&mut [u8; COUNT]> {
        self.bytes.split_at_mut_checked(self.used)?.1.first_chunk_mut()
    }

    #[inline(never)]
    fn add(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let end = self.used + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.used..end) {
            room.copy_from_slice(bytes);
        }
        self.used = end;
    }

    #[inline]
    fn reserve(&mut self, more: usize) {
        let least = self.used.wrapping_add(more);
        if self.bytes.len() < least {
            self.grow(least);
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, least: usize) {
        self.bytes.resize(least.max(self.bytes.len() * 2), 0);
    }
}

/// Copies a block, a register at a time. As one assignment it is an instruction that begins slowly, where what is rarely copied is to take
/// little code (scripts/build-musl); and a loop is taken for one assignment.
#[inline]
fn copy(to: &mut [u8; BLOCK_BYTES], from: &[u8; BLOCK_BYTES]) {
    let ([to_1, to_2, to_3, to_4], [from_1, from_2, from_3, from_4]) =
        (to.as_chunks_mut::<PIECE_BYTES>().0, from.as_chunks::<PIECE_BYTES>().0)
    else {
        return;
    };
    (*to_1, *to_2) = (*from_1, *from_2);
    (*to_3, *to_4) = (*from_3, *from_4);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lengths_of_lines_and_heads() {
        let check = |first: [&[u8]; 2], head: &[u8], text: &[u8]| {
            // As one would write it without a thought of time.
            let mut plain = first.concat();
            for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
                plain.extend_from_slice(if index > 0 { head } else { b"" });
                plain.extend_from_slice(line);
            }
            for room in [0, plain.len(), plain.len() + 5000] {
                let mut out = vec![b'?'; room];
                lines(&mut out, first, head, text);
                assert!(out == plain, "{room} {} {}", head.len(), text.len());
            }
        };
        for head in [0, 1, 4, 16, 17, 63, 64, 65, 128, 600].map(|length| vec![b'#'; length]) {
            for length in (0..140).chain([254, 255, 256, 257, 600, 5000]) {
                // NUL and other bytes are like any.
                let line: Vec<u8> = (0..length).map(|index| [0, b'a', 0xff, b'\r'][index % 4]).collect();
                for count in 1..5 {
                    check([&head, &line], &head, &[&line[..], b"\n"].concat().repeat(count));
                }
            }
            let growing: Vec<u8> =
                (0..600).flat_map(|length| [&vec![b'x'; length][..], b"\n"].concat()).collect();
            check([&head, b""], &head, &growing);
            check([&head, b""], &head, &b"\n".repeat(1000));
        }
    }

    #[test]
    fn a_short_line_takes_little_room() {
        // What waits for a stuck reader is such a piece for each line of a slow writer.
        for head in [0, 5, 63, 64, 600].map(|length| vec![b'#'; length]) {
            assert!(room(b"", &head, b"x\n") <= 2 + 2 * head.len(), "{}", head.len());
        }
    }
}
