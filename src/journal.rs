//! The last notices, each with its number and its time, for those who ask what has happened. Bounded; the oldest go first.

use std::rc::Rc;

use crate::event::Time;
use crate::notice::Notice;

/// So many notices are kept,
const ENTRIES_MAX: usize = 256;
/// with so much text in all.
const TEXT_MAX_BYTES: usize = 32 << 10;

/// What has happened.
#[derive(Debug, Default)]
pub struct Journal {
    entries: Vec<Entry>,
    /// How many there have been; the number of the newest.
    count: u64,
    text_bytes: usize,
}

/// One notice.
#[derive(Debug)]
pub struct Entry {
    /// When.
    pub at: Time,
    /// How important it is.
    pub level: log::Level,
    /// What kind of thing.
    pub kind: &'static str,
    /// About which instance.
    pub name: Option<Rc<str>>,
    /// For people.
    pub text: String,
}

impl Journal {
    /// Adds a notice.
    #[inline(never)]
    pub fn add(&mut self, now: Time, notice: &Notice) {
        let text = notice.to_string();
        self.count += 1;
        self.text_bytes += text.len();
        let name = notice.name().cloned();
        self.entries.push(Entry { at: now, level: notice.level(), kind: notice.kind(), name, text });
        while self.entries.len() > ENTRIES_MAX || (self.text_bytes > TEXT_MAX_BYTES && self.entries.len() > 1)
        {
            self.text_bytes -= self.entries.remove(0).text.len();
        }
    }

    /// The number of the newest; 0: nothing has happened.
    pub fn newest(&self) -> u64 {
        self.count
    }

    /// Those after number `seen`, oldest first, with their numbers. If some of them are gone, the numbers show it.
    pub fn after(&self, seen: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let first = self.count - self.entries.len() as u64 + 1;
        let skip = usize::try_from((seen + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        (first..).zip(&self.entries).skip(skip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Signal;

    fn numbers(journal: &Journal, seen: u64) -> Vec<u64> {
        journal.after(seen).map(|(number, _)| number).collect()
    }

    #[test]
    fn numbers_have_no_gap_and_the_oldest_go_first() {
        let mut journal = Journal::default();
        assert_eq!((journal.newest(), numbers(&journal, 0)), (0, vec![]));
        for index in 0..1000 {
            journal.add(Time(index), &Notice::Forwarded { signal: Signal::HUP, receivers: 1 });
        }
        assert_eq!(journal.newest(), 1000);
        assert_eq!(numbers(&journal, 0), (745..=1000).collect::<Vec<_>>());
        assert_eq!(numbers(&journal, 998), [999, 1000]);
        assert_eq!((numbers(&journal, 1000), numbers(&journal, 2000)), (vec![], vec![]));
    }

    #[test]
    fn long_texts_are_bounded_too() {
        let mut journal = Journal::default();
        for _ in 0..100 {
            journal.add(Time::ZERO, &Notice::Obituary("x".repeat(2000)));
        }
        assert!(journal.text_bytes <= TEXT_MAX_BYTES && numbers(&journal, 0).len() == 16);
        journal.add(Time::ZERO, &Notice::Obituary("x".repeat(TEXT_MAX_BYTES + 1)));
        assert_eq!(numbers(&journal, 0), [101], "the newest is always there");
    }
}
