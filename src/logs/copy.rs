//! The inner loop of the relay: whole lines into one buffer, with something before each. Where lines are short, a call of memcpy for
//! each of them and another for what stands before it costs more than the copying. So what is short is copied in chunks, a little too
//! much of it, and what is too much is written over by what follows.

use memchr::memchr;

const CHUNK_BYTES: usize = 64;

/// What is longer than this is worth a call.
const SHORT_MAX_BYTES: usize = 4 * CHUNK_BYTES;

/// How much room [`lines`] should find, so that it need not make more: for lines of 64 bytes and longer.
pub fn room(begun: &[u8], head: &[u8], lines: &[u8]) -> usize {
    begun.len() + lines.len() + (lines.len() / 64 + 2) * head.len() + SHORT_MAX_BYTES
}

/// Writes `lines`, all of which end with a newline, to `out`: `first` before the first of them, `head` before each other. What `out` held
/// is written over.
#[cfg_attr(small, optimize(speed))] // and with it all that is inlined
pub fn lines(out: &mut Vec<u8>, first: [&[u8]; 2], head: &[u8], lines: &[u8]) {
    let mut padded = head.to_vec();
    padded.resize(head.len().next_multiple_of(CHUNK_BYTES), 0);
    let mut page = Page { bytes: out, used: 0 };
    for part in first {
        page.add(part, part.len());
    }
    let mut rest = lines;
    while let Some(newline) = memchr(b'\n', rest) {
        page.add(rest, newline + 1);
        rest = rest.get(newline + 1..).unwrap_or_default();
        if !rest.is_empty() {
            page.add(&padded, head.len());
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
    /// Writes the first so many of these bytes.
    #[inline]
    fn add(&mut self, bytes: &[u8], count: usize) {
        let chunks = bytes.as_chunks::<CHUNK_BYTES>().0.get(..count.div_ceil(CHUNK_BYTES));
        let room = self.bytes.get_mut(self.used..).and_then(<[u8]>::first_chunk_mut::<SHORT_MAX_BYTES>);
        let room = room.map(|room| room.as_chunks_mut::<CHUNK_BYTES>().0);
        let (Some(chunks), Some([one, two, three, four]), ..=SHORT_MAX_BYTES) = (chunks, room, count) else {
            // Also the last of all: beyond them is nothing that could be copied with them.
            return self.add_long(bytes.get(..count).unwrap_or_default());
        };
        // Not in a loop, which the compiler takes for a call of memcpy.
        if let Some(chunk) = chunks.first() {
            *one = *chunk;
        }
        if let Some(chunk) = chunks.get(1) {
            *two = *chunk;
        }
        if let Some(chunk) = chunks.get(2) {
            *three = *chunk;
        }
        if let Some(chunk) = chunks.get(3) {
            *four = *chunk;
        }
        self.used += count;
    }

    #[inline(never)]
    fn add_long(&mut self, bytes: &[u8]) {
        let end = self.used + bytes.len();
        if self.bytes.len() < end + SHORT_MAX_BYTES {
            self.bytes.resize((end + SHORT_MAX_BYTES).max(self.bytes.len() * 2), 0);
        }
        if let Some(room) = self.bytes.get_mut(self.used..end) {
            room.copy_from_slice(bytes);
        }
        self.used = end;
    }
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
        for head in [0, 1, 4, 63, 64, 65, 128, 600].map(|length| vec![b'#'; length]) {
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
        }
    }
}
