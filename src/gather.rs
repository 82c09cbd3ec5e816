//! Lists from iterators, texts from lists, and a text in a text, in little code.

/// What an iterator gives, one by one.
pub trait Gather: Iterator + Sized {
    /// All of it as a list. `collect` makes room for what the iterator says that will come, which is more code than this in each place,
    /// three times as much on average; here lists are short, or made once.
    fn gather(self) -> Vec<Self::Item> {
        let mut list = Vec::new();
        self.add_to(&mut list);
        list
    }

    /// All of it behind what is in a list already; as `extend`, which is twice the code.
    fn add_to(self, list: &mut Vec<Self::Item>) {
        for one in self {
            add(list, one);
        }
    }
}

/// Not inlined: most things are of one of a few sizes, and for each of these there is one function.
#[inline(never)]
fn add<T>(list: &mut Vec<T>, one: T) {
    list.push(one);
}

impl<I: Iterator> Gather for I {}

/// Texts one behind the other. `join` and `concat` of the standard library are half a kilobyte for each type of text and length of what
/// comes between.
pub trait Joined {
    /// All of them, with this between each two.
    fn joined(&self, between: &str) -> String;

    /// As a person lists them: `one, two, three`.
    fn listed(&self) -> String {
        self.joined(", ")
    }
}

impl<T: AsRef<str>> Joined for [T] {
    #[inline(never)]
    fn joined(&self, between: &str) -> String {
        let mut text = String::new();
        for (index, part) in self.iter().enumerate() {
            if index > 0 {
                text.push_str(between);
            }
            text.push_str(part.as_ref());
        }
        text
    }
}

/// What an iterator gives, to be asked for through a pointer. A `dyn Iterator` comes with all that an iterator can be asked for.
pub fn one_by_one<I: Iterator>(mut values: I) -> impl FnMut() -> Option<I::Item> {
    move || values.next()
}

/// Whether a text has this in it, which is not empty.
pub fn holds(text: &str, part: &str) -> bool {
    place_of(text, part).is_some()
}

/// Where a text has this in it first, which is not empty. `find` of the standard library is more than a kilobyte, for longer texts than
/// any here.
#[inline(never)]
pub fn place_of(text: &str, part: &str) -> Option<usize> {
    text.as_bytes().windows(part.len().max(1)).position(|bytes| bytes == part.as_bytes())
}

/// What stands before and behind the first of these, which is not empty: `split_once`, as above.
pub fn parted<'a>(text: &'a str, between: &str) -> Option<(&'a str, &'a str)> {
    let at = place_of(text, between)?;
    Some((text.get(..at)?, text.get(at + between.len()..)?))
}

/// What stands before and behind the last of these, which is one of ASCII: `rsplit_once`, which is half a kilobyte.
pub fn parted_at_last(text: &str, between: u8) -> Option<(&str, &str)> {
    let at = crate::search::last(between, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// One of the words in a text, from 0.
#[inline(never)]
pub fn word(words: &str, number: usize) -> Option<&str> {
    let mut words = words.split(' ');
    for _ in 0..number {
        words.next()?;
    }
    words.next()
}

/// Whether two texts are the same but for the case of letters of ASCII.
#[inline(never)]
pub fn alike(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).all(|(one, other)| one.eq_ignore_ascii_case(&other))
}

/// A text with one character replaced.
#[inline(never)]
pub fn replaced(text: &str, from: char, to: &str) -> String {
    let mut new = String::new();
    for character in text.chars() {
        if character == from {
            new.push_str(to);
        } else {
            new.push(character);
        }
    }
    new
}

/// The lesser of two that may be there; iterators over them are a hundred bytes in each place.
pub fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// So many texts, with empty ones at the end or without the last of them: `resize`, of which there is one then.
#[inline(never)]
pub fn resize(texts: &mut Vec<String>, count: usize) {
    texts.truncate(count);
    while texts.len() < count {
        add(texts, String::new());
    }
}

/// Those of some texts that are there.
#[inline(never)]
pub fn present(texts: &mut [Option<String>]) -> Vec<String> {
    let mut list = Vec::new();
    for text in texts {
        if let Some(text) = text.take() {
            list.push(text);
        }
    }
    list
}
