//! Texts in less place: each bit is guessed from what came after the same letters before, and only how far the guess is off is kept
//! (arithmetic coding of a logistic mix of contexts: Mahoney 2005, "Adaptive Weighing of Context Models for Lossless Data Compression").
//! For the build and the program, so it needs nothing of either.

use std::path::Path;

/// The extensions of documents.
const DOCUMENTS: [&str; 6] = ["txt", "toml", "bash", "zsh", "fish", "words"];

/// Whether it is one of the documents. An editor has files of its own beside them.
pub fn is_document(file: &Path) -> bool {
    let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = file.extension().and_then(|extension| extension.to_str());
    !hidden && extension.is_some_and(|extension| DOCUMENTS.contains(&extension))
}

/// What begins each document of those that are packed together, before the line with its name; it stands in none.
pub const BEGIN: char = '\u{1}';
/// What ends them all; it stands in none, either.
pub const END: char = '\0';
/// Nothing is unpacked beyond so many bytes, whatever it is.
const MOST: usize = 1 << 20;

/// A guess goes by no letter before, by one, and so on up to so many but one. And where so many stood before, it goes by what came there.
const ORDERS: usize = 5;
/// For so long it counts how long that has been right.
const LONGEST: usize = 31;
/// There are so many contexts of each order; those with the same hash are one.
const CONTEXTS: u32 = 1 << 15;
/// How much a context learns from a bit.
const RATE: f32 = 0.5;

/// What has been learnt from the text so far.
struct Model {
    text: Vec<u8>,
    /// How much each context, by order and hash, is for a 1. The guess for a bit is their sum, in logits. Behind them stand those for what
    /// came when the letters were alike, by for how long they have been, and by the bit that came.
    weights: Vec<f32>,
    /// Where the text went on, by the hash of the letters before.
    places: Vec<usize>,
    /// Where it goes on that is alike, and for how many letters that has been right.
    alike: (usize, usize),
}

impl Model {
    fn new() -> Self {
        Self {
            text: Vec::with_capacity(1 << 16),
            weights: vec![0.0; index(ORDERS + 1, 0)],
            places: vec![0; index(1, 0)],
            alike: (0, 0),
        }
    }

    /// The next letter. `coder` is told how likely a 1 is, in 65,536ths, and says whether it is one.
    fn next(&mut self, coder: &mut dyn FnMut(u32) -> bool) -> u8 {
        let mut hashes = [0; ORDERS];
        let mut hash = 0;
        for (slot, letter) in hashes.iter_mut().zip(self.text.iter().rev().chain(&[0; ORDERS])) {
            *slot = hash;
            hash = mixed(hash + u32::from(*letter) + 1);
        }
        let last = self.text.last();
        let said = |(place, long): (usize, usize)| self.text.get(place).filter(|_| long > 0);
        self.alike = match self.places.get_mut(index(0, hash)) {
            _ if last.is_some() && last == said(self.alike) => {
                (self.alike.0 + 1, LONGEST.min(self.alike.1 + 1))
            }
            Some(place) => (*place, usize::from(*place > 0)),
            None => (0, 0),
        };
        if let Some(place) = self.places.get_mut(index(0, hash)) {
            *place = self.text.len();
        }
        let said = said(self.alike).map_or(0, |letter| u32::from(*letter) | 256);
        let mut bits = 1;
        for left in (0..8).rev() {
            let mut contexts = [usize::MAX; ORDERS + 1];
            for (order, (context, hash)) in contexts.iter_mut().zip(hashes).enumerate() {
                *context = index(order, mixed(hash ^ bits));
            }
            if let (Some(context), true) = (contexts.last_mut(), said >> (left + 1) == bits) {
                *context = index(ORDERS, (said >> left & 1) << 5) + self.alike.1;
            }
            let guess = likely(contexts.iter().filter_map(|context| self.weights.get(*context)).sum());
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is between 0 and 1"
            )]
            let bit = coder((guess * 65_536.0) as u32);
            let off = f32::from(u8::from(bit)) - guess;
            for context in contexts {
                if let Some(weight) = self.weights.get_mut(context) {
                    *weight += off * RATE;
                }
            }
            bits = bits << 1 | u32::from(bit);
        }
        let [letter, ..] = bits.to_le_bytes();
        self.text.push(letter);
        letter
    }
}

fn index(order: usize, hash: u32) -> usize {
    order * CONTEXTS as usize + (hash % CONTEXTS) as usize
}

fn mixed(hash: u32) -> u32 {
    let hash = hash.wrapping_mul(0x9E37_79B1);
    hash ^ hash >> 15
}

/// How likely something with this logit is: 1 / (1 + e^-x), with e^y as (1 + y/256)^256.
fn likely(logit: f32) -> f32 {
    let mut power = 1.0 - logit.clamp(-9.0, 9.0) / 256.0;
    for _ in 0..8 {
        power *= power;
    }
    1.0 / (1.0 + power)
}

/// The bounds between which there is the number that the packed bytes are.
struct Bounds(u32, u32);

impl Bounds {
    /// The number up to which a bit is 1 that is so likely.
    fn parting(&self, likely: u32) -> u32 {
        self.0 + ((self.1 - self.0) >> 16) * likely
    }

    /// Goes on with the part of this bit; each byte in which both bounds agree is done with.
    fn part(&mut self, parting: u32, bit: bool, done: &mut dyn FnMut(u8)) {
        if bit {
            self.1 = parting;
        } else {
            self.0 = parting + 1;
        }
        while (self.0 ^ self.1) >> 24 == 0 {
            let [byte, ..] = self.0.to_be_bytes();
            done(byte);
            (self.0, self.1) = (self.0 << 8, self.1 << 8 | 0xFF);
        }
    }
}

/// Packs documents, each with [`BEGIN`] and a line with its name before it.
pub fn pack(text: &[u8]) -> Vec<u8> {
    let mut model = Model::new();
    let mut bounds = Bounds(0, u32::MAX);
    let mut packed = Vec::new();
    for letter in text.iter().copied().chain([END as u8]) {
        let mut rest = letter;
        model.next(&mut |likely| {
            let bit = rest & 0x80 != 0;
            rest <<= 1;
            bounds.part(bounds.parting(likely), bit, &mut |byte| packed.push(byte));
            bit
        });
    }
    packed.extend(bounds.1.to_be_bytes());
    packed
}

/// The document of that name; empty if there is none. Of what [`pack`] has not made, whatever can be made of it.
pub fn unpack(packed: &[u8], name: &str) -> Vec<u8> {
    let mut model = Model::new();
    let mut bounds = Bounds(0, u32::MAX);
    let mut packed = packed.iter();
    let mut number = 0_u32;
    let mut take =
        |number: &mut u32| *number = *number << 8 | u32::from(packed.next().copied().unwrap_or_default());
    (0..4).for_each(|_| take(&mut number));
    let mut begin = 0;
    while model.text.len() < MOST {
        let letter = model.next(&mut |likely| {
            let parting = bounds.parting(likely);
            let bit = number <= parting;
            bounds.part(parting, bit, &mut |_| take(&mut number));
            bit
        });
        if letter == BEGIN as u8 || letter == END as u8 {
            let document = model.text.get(begin..model.text.len() - 1).unwrap_or_default();
            if let Some(text) =
                document.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"\n"))
            {
                return text.to_vec();
            }
            begin = model.text.len();
        }
        if letter == END as u8 {
            break;
        }
    }
    Vec::new()
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
        let numbers = (0..40_000)
            .flat_map(|number: u16| number.to_be_bytes().map(|byte| char::from(byte & 0x3F | 0x40)));
        let numbers: String = numbers.chain("the end".chars()).collect();
        let texts = ["", "a", "…", "aaaa", "abcabcabcd", "status status\nstatus", &runs, &numbers, "ÿÿÿ"];
        let mut all = String::new();
        for (number, text) in texts.iter().enumerate() {
            all.extend([format!("{BEGIN}{number}\n{text}")]);
        }
        let packed = pack(all.as_bytes());
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(unpack(&packed, &number.to_string()), text.as_bytes(), "{text:.40}");
        }
        for absent in ["", "9", "a", "0\n"] {
            assert_eq!(unpack(&packed, absent), b"", "{absent}");
        }
        let packed = pack(format!("{BEGIN}a\n{}", "status ".repeat(1000)).as_bytes());
        assert!(packed.len() < 60, "{}", packed.len());
    }

    #[test]
    fn anything_can_be_unpacked() {
        let packed = pack(format!("{BEGIN}a\nsome text").as_bytes());
        for length in 0..packed.len() {
            unpack(&packed[..length], "a");
            let mut other = packed.clone();
            other[length] ^= 0x55;
            unpack(&other, "a");
        }
    }

    /// The build has one processor, the program that unpacks another.
    #[test]
    fn guesses_are_the_same_everywhere() {
        for (logit, expected) in
            [(0.0, 0x3f00_0000), (1.0, 0x3f3b_3fe2), (-9.0, 0x3917_043e), (100.0, 0x3f7f_f920)]
        {
            assert_eq!(likely(logit).to_bits(), expected, "{logit}");
        }
    }
}
