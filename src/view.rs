//! What a person sees of the protocol's answers: text from objects, without a clock, a terminal or an environment of its own. The
//! rooms below have one kind of answer each; here are the words they share. Nothing that a service says moves the cursor of a
//! terminal, except in its log lines, which are shown as they are.

pub mod describe;
pub mod keys;
pub mod memory;
pub mod spark;
pub mod status;
pub mod stream;
pub mod top;

use std::fmt::{self, Display, Formatter};

use crate::control::{Change, Verdict};
use crate::gather::Gather;
use crate::line;
use crate::units::show_size as size;

/// What the text is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// A terminal that shows colours, and a person who did not forbid them.
    pub colour: bool,
    /// The terminal's width; none: no terminal, and nothing is cut.
    pub width: Option<usize>,
    /// Whether it shows more than ASCII.
    pub utf8: bool,
}

/// The mark for what is not known or does not apply.
const NOTHING: &str = "-";

/// A colour of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    Green,
    Yellow,
    Red,
    Faint,
}

impl Look {
    fn paint(self, colour: Colour, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
            Colour::Faint => 2,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn ellipsis(self) -> &'static str {
        if self.utf8 { "…" } else { "~" }
    }
}

/// The colour of a state.
fn colour_of(state: &str) -> Colour {
    match state {
        "up" | "ready" | "completed" => Colour::Green,
        "unhealthy" | "failed" => Colour::Red,
        "down" => Colour::Faint,
        _ => Colour::Yellow,
    }
}

/// A time as short as it can be told: `0.4s`, `7s`, `2m14s`, `3h5m`, `4d`.
#[derive(Clone, Copy)]
struct Span(u64);

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        let seconds = ms / 1000;
        let (whole, unit, rest, smaller) = match seconds {
            0 => return write!(f, "0.{}s", ms / 100),
            1..60 => (seconds, "s", 0, ""),
            60..3600 => (seconds / 60, "m", seconds % 60, "s"),
            3600..86_400 => (seconds / 3600, "h", seconds % 3600 / 60, "m"),
            _ => (seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
        };
        if rest == 0 { write!(f, "{whole}{unit}") } else { write!(f, "{whole}{unit}{rest}{smaller}") }
    }
}

/// The share of one processor: `0.3%`, `38%`.
fn percent(cpu_ms: u64, of_ms: u64) -> String {
    if of_ms == 0 {
        return NOTHING.to_owned();
    }
    let tenths = cpu_ms.saturating_mul(1000) / of_ms;
    if tenths < 100 { format!("{}.{}%", tenths / 10, tenths % 10) } else { format!("{}%", tenths / 10) }
}

/// Without what could move a terminal's cursor.
fn printable(text: &str) -> String {
    line::printable(text, ' ', usize::MAX)
}

/// What a service wrote, without what it meant for a terminal: sequences are left out, and other control characters are blanks.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\x1b' && characters.next_if_eq(&'[').is_some() {
            let _ = characters.by_ref().find(|c| ('\x40'..'\x7f').contains(c));
        } else {
            plain.push(if line::is_unprintable(c) { ' ' } else { c });
        }
    }
    plain
}

/// How many columns of a terminal a character takes. Coarse: the wide scripts, and what is drawn over the character before it.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0..0x20 | 0x7f..0xa0 => 0,
        0x300..0x370 | 0x200b..0x2010 | 0x202a..0x202f | 0x20d0..0x2100 | 0xfe00..0xfe10 | 0xfeff => 0,
        0x1100..0x1160
        | 0x2e80..0x303f
        | 0x3041..0xa4d0
        | 0xac00..0xd7a4
        | 0xf900..0xfb00
        | 0xfe30..0xfe70
        | 0xff01..0xff61
        | 0xffe0..0xffe7
        | 0x1f300..0x1f650
        | 0x1f680..0x1f700
        | 0x1f900..0x1fa00
        | 0x1fa70..0x1fb00
        | 0x2_0000..0x4_0000 => 2,
        _ => 1,
    }
}

/// How many columns a text takes.
fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// At most so many columns of it; where something is missing, the last is the mark for that.
fn clip(text: &str, at_most: usize, look: Look) -> String {
    if width(text) <= at_most {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut room = at_most.saturating_sub(1);
    for c in text.chars() {
        let Some(left) = room.checked_sub(columns(c)) else { break };
        room = left;
        clipped.push(c);
    }
    if at_most > 0 {
        clipped.push_str(look.ellipsis());
    }
    clipped
}

/// The text with blanks behind it, up to so many columns.
fn pad(text: &str, columns: usize) -> String {
    let mut padded = text.to_owned();
    blank(&mut padded, columns.saturating_sub(width(text)));
    padded
}

/// Adds so many blanks.
#[inline(never)]
fn blank(text: &mut String, count: usize) {
    for _ in 0..count {
        text.push(' ');
    }
}

/// The row that names the columns.
fn headers(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).gather()
}

/// Rows with columns that begin below each other, two blanks between. `paint` colours a cell after it has been measured; the last
/// column is not filled up.
fn table(rows: &[Vec<String>], paint: &dyn Fn(usize, usize, &str) -> String) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            match widths.get_mut(at) {
                Some(known) => *known = (*known).max(width(cell)),
                None => widths.push(width(cell)),
            }
        }
    }
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (at, (cell, columns)) in row.iter().zip(&widths).enumerate() {
            text.push_str(&paint(number, at, cell));
            if at + 1 < row.len() {
                let blanks = columns - width(cell) + 2;
                blank(&mut text, blanks);
            }
        }
        text.push('\n');
    }
    text
}

/// `1 line`, `2 lines`.
fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A text of the other side, fit for a line of ours.
pub fn line(text: &str) -> String {
    printable(text)
}

/// Whether what was asked for is so, and why.
pub fn verdict(verdict: &Verdict) -> String {
    format!("{}\n", printable(&verdict.text))
}

/// What changes have been made, a line each.
pub fn changes(changes: &[Change], look: Look) -> String {
    let line = |change: &Change| {
        let text = printable(&change.text);
        let text = if change.ok { text } else { look.paint(Colour::Red, &text) };
        if change.name.is_empty() {
            format!("{text}\n")
        } else {
            format!("{} {text}\n", printable(&change.name))
        }
    };
    changes.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub const PLAIN: Look = Look { colour: false, width: None, utf8: true };

    #[test]
    fn times_are_short() {
        for (ms, shown) in [
            (0, "0.0s"),
            (999, "0.9s"),
            (1_000, "1s"),
            (59_999, "59s"),
            (134_000, "2m14s"),
            (60_000, "1m"),
            (3_600_000, "1h"),
            (11_100_000, "3h5m"),
            (352_800_000, "4d2h"),
        ] {
            assert_eq!(Span(ms).to_string(), shown);
        }
        assert!(Span(u64::MAX).to_string().contains('d'));
    }

    #[test]
    fn sizes_and_shares_are_short() {
        for (bytes, shown) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1K"),
            (10_276_044, "9.8M"),
            (60_817_408, "58M"),
            (1_288_490_188, "1.2G"),
            ((1 << 20) - 1, "1M"),
            (1 << 30, "1G"),
        ] {
            assert_eq!(size(bytes).to_string(), shown);
        }
        assert!(size(u64::MAX).to_string().ends_with('P'));
        for (cpu, of, shown) in
            [(0, 10, "0.0%"), (3, 1_000, "0.3%"), (380, 1_000, "38%"), (4_000, 1_000, "400%"), (1, 0, "-")]
        {
            assert_eq!(percent(cpu, of), shown);
        }
    }

    #[test]
    fn nothing_is_too_wide_to_be_filled_up() {
        assert_eq!(pad("a", 3), "a  ");
        assert_eq!(pad("", 70_000).len(), 70_000, "more than the width of a format may be");
    }

    #[test]
    fn what_is_cut_says_so_and_never_takes_more_than_its_columns() {
        for (text, at_most, shown) in [
            ("worker", 6, "worker"),
            ("worker", 5, "work…"),
            ("worker", 1, "…"),
            ("worker", 0, ""),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("e\u{301}te\u{301}", 3, "e\u{301}te\u{301}"),
        ] {
            assert_eq!(clip(text, at_most, PLAIN), shown, "{text} {at_most}");
            assert!(width(&clip(text, at_most, PLAIN)) <= at_most);
        }
        assert_eq!(clip("worker", 5, Look::default()), "work~");
        assert_eq!(pad("日", 4), "日  ");
    }

    #[test]
    fn what_a_service_wrote_moves_no_cursor() {
        for (written, shown) in [
            ("\u{1b}[1;31mFATAL\u{1b}[0m bad", "FATAL bad"),
            ("a\tb\rc\u{1b}]0;title\u{7}", "a b c ]0;title "),
            ("cut \u{1b}[1;3", "cut "),
            ("grün", "grün"),
        ] {
            assert_eq!(plain(written), shown);
        }
    }

    #[test]
    fn changes_are_a_line_each() {
        let change = |name: &str, text: &str, ok| Change { name: name.to_owned(), text: text.to_owned(), ok };
        let all = [
            change("api.1", "restarted: pid 13 -> 41, ready after 0.9 s", true),
            change("", "no\u{1b}[2J change", false),
        ];
        assert_eq!(changes(&all, PLAIN), "api.1 restarted: pid 13 -> 41, ready after 0.9 s\nno [2J change\n");
    }
}
