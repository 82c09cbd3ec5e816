//! Texts in less place: what stood before is told by how far back and how long (Ziv and Lempel 1977, "A Universal Algorithm for
//! Sequential Data Compression"). For the build and the program, so it needs nothing of either.
//!
//! | first byte | then | means |
//! |---|---|---|
//! | `0xxxxxxx` | | this byte |
//! | `10lllddd` | `dddddddd` | l + 3 bytes that stood d + 1 before |
//! | `11llllll` | `dddddddd dddddddd` | l + 4 bytes that stood d + 1 before, l not being 63 |
//! | `11111111` | `xxxxxxxx` | that byte |

use std::path::Path;

/// The extensions of documents.
const DOCUMENTS: [&str; 5] = ["txt", "toml", "bash", "zsh", "fish"];

/// Whether it is one of the documents. An editor has files of its own beside them.
pub fn is_document(file: &Path) -> bool {
    let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = file.extension().and_then(|extension| extension.to_str());
    !hidden && extension.is_some_and(|extension| DOCUMENTS.contains(&extension))
}

/// What begins each document of those that are packed together, before the line with its name; it stands in none.
pub const BEGIN: char = '\u{1}';

/// A way to tell of what stood before.
struct Form {
    /// Bytes that it takes.
    cost: u32,
    /// The fewest bytes that it tells of.
    shortest: usize,
    /// The most.
    longest: usize,
    /// How far back at most.
    farthest: usize,
}

const NEAR: Form = Form { cost: 2, shortest: 3, longest: 10, farthest: 1 << 11 };
const FAR: Form = Form { cost: 3, shortest: 4, longest: 66, farthest: 1 << 16 };

/// What comes next: a byte, or so many that stood so far before.
#[derive(Clone, Copy)]
enum Step {
    Byte,
    Near(usize, usize),
    Far(usize, usize),
}

/// Packs a text as small as these forms allow. It takes seconds for a megabyte of the same.
pub fn pack(text: &[u8]) -> Vec<u8> {
    // From the end: the least that the rest takes from each place on, and its first step.
    let mut rest = vec![(0, Step::Byte); text.len() + 1];
    let matches = matches(text);
    for (at, (near, far)) in matches.iter().enumerate().rev() {
        let after = |length: usize| rest.get(at + length).map_or(0, |(cost, _)| *cost);
        let literal = 1 + u32::from(text.get(at).is_some_and(|byte| *byte >= 0x80));
        let mut best = (literal + after(1), Step::Byte);
        for length in NEAR.shortest..=near.0 {
            let cost = NEAR.cost + after(length);
            if cost < best.0 {
                best = (cost, Step::Near(length, near.1));
            }
        }
        for length in FAR.shortest..=far.0 {
            let cost = FAR.cost + after(length);
            if cost < best.0 {
                best = (cost, Step::Far(length, far.1));
            }
        }
        if let Some(place) = rest.get_mut(at) {
            *place = best;
        }
    }
    let mut packed = Vec::new();
    let mut at = 0;
    while let (Some((_, step)), Some(byte)) = (rest.get(at), text.get(at)) {
        at += match *step {
            Step::Byte => {
                if *byte >= 0x80 {
                    packed.push(0xFF);
                }
                packed.push(*byte);
                1
            }
            Step::Near(length, back) => {
                let [high, low] = number(back - 1);
                packed.extend([0x80 | number(length - NEAR.shortest)[1] << 3 | high, low]);
                length
            }
            Step::Far(length, back) => {
                let [high, low] = number(back - 1);
                packed.extend([0xC0 | number(length - FAR.shortest)[1], high, low]);
                length
            }
        };
    }
    packed
}

/// Of a number below 65,536 its two bytes.
fn number(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes()
}

/// For each place the longest that stood before, by either form: how long, and how far back; 0 if nothing did.
fn matches(text: &[u8]) -> Vec<((usize, usize), (usize, usize))> {
    let mut found = Vec::new();
    // The places before at which three bytes stood, by these.
    let mut places = std::collections::BTreeMap::<&[u8], Vec<usize>>::new();
    for at in 0..text.len() {
        let (mut near, mut far) = ((0, 0), (0, 0));
        let rest = text.get(at..).unwrap_or_default();
        if let Some(begin) = rest.get(..NEAR.shortest) {
            let before = places.entry(begin).or_default();
            for place in before.iter().rev() {
                let back = at - place;
                if back > FAR.farthest || far.0 == FAR.longest {
                    break;
                }
                let there = text.get(*place..).unwrap_or_default();
                let length = rest.iter().zip(there).take(FAR.longest).take_while(|(a, b)| a == b).count();
                if length > near.0 && back <= NEAR.farthest {
                    near = (length.min(NEAR.longest), back);
                }
                if length > far.0 {
                    far = (length, back);
                }
            }
            before.push(at);
        }
        found.push((near, far));
    }
    found
}

/// The text again. Of what [`pack`] has not made, whatever can be made of it.
pub fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    let mut bytes = packed.iter().copied();
    while let Some(first) = bytes.next() {
        let mut next = || bytes.next().unwrap_or_default();
        let (length, back) = match first {
            0..0x80 => {
                text.push(first);
                continue;
            }
            0x80..0xC0 => ((first >> 3 & 7) + 3, [first & 7, next()]),
            0xC0..0xFF => ((first & 0x3F) + 4, [next(), next()]),
            0xFF => {
                text.push(next());
                continue;
            }
        };
        for _ in 0..length {
            let place = text.len().checked_sub(usize::from(u16::from_be_bytes(back)) + 1);
            let Some(byte) = place.and_then(|place| text.get(place)).copied() else { break };
            text.push(byte);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editors_files_are_no_documents() {
        for (file, expected) in [
            ("src/texts/help.txt", true),
            ("completions.bash", true),
            ("example.toml", true),
            ("packing.rs", false),
            (".help.txt.swp", false),
            (".#help.txt", false),
            ("help.txt~", false),
            ("#help.txt#", false),
            ("4913", false),
            ("README.md", false),
            (".txt", false),
        ] {
            assert_eq!(is_document(Path::new(file)), expected, "{file}");
        }
    }

    #[test]
    fn what_is_packed_comes_back() {
        let runs = "a".repeat(1000);
        // Further back than either form reaches, and just as far.
        let numbers =
            (0..40_000).flat_map(|number: u16| number.to_be_bytes().map(|byte| char::from(byte & 0x7F)));
        let numbers: String = numbers.chain("the end".chars()).collect();
        for text in ["", "a", "…", "aaaa", "abcabcabcd", "status status\nstatus", &runs, &numbers] {
            let packed = pack(text.as_bytes());
            assert_eq!(unpack(&packed), text.as_bytes(), "{text:.40}");
        }
        assert_eq!(pack(runs.as_bytes()).len(), 1 + 15 * 3 + 2, "15 of 66 and one of 9");
        let every: Vec<u8> = (0..=255).chain(0..=255).collect();
        assert_eq!(unpack(&pack(&every)), every);
    }

    #[test]
    fn anything_can_be_unpacked() {
        assert_eq!(unpack(&[0x80, 0]), b"", "nothing stood before");
        assert_eq!(unpack(&[b'a', 0xFE, 0, 0]), [b'a'; 67], "the longest");
        assert_eq!(unpack(&[b'a', 0x80]), b"aaaa", "cut");
        assert_eq!(unpack(&[b'a', 0xFF]), b"a\0");
    }
}
