//! The forms in which a line is written, ours as those of the services: with its origin before it, as a JSON object, or as it is.
//! `docs/output.md` has the rules.

pub mod json;

use crate::event::{Sink, Wall};

/// So many characters of a text, with this one in place of each that is not to be seen.
#[inline(never)]
pub fn printable(text: &str, mark: char, most: usize) -> String {
    text.chars().take(most).map(|c| if is_unprintable(c) { mark } else { c }).collect()
}

/// Characters that move the cursor, change the terminal or hide what is written: controls, and marks of direction and width.
#[inline(never)]
pub fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A form of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `name | line`.
    #[default]
    Prefix,
    /// One JSON object for each line.
    Json,
    /// The line as it is.
    Raw,
}

/// What lines with a prefix have besides the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// The time before the name.
    pub timestamps: bool,
    /// Each name in a colour of its own, and all of them equally wide.
    pub colored: bool,
    /// The length of the longest name, in characters.
    pub width: usize,
}

/// How our own lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// In which form. `Raw` is as `Prefix`: nobody else says whose lines these are.
    pub format: Format,
    /// What else they have.
    pub style: Style,
}

impl Format {
    /// As the configuration writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Json => "json",
            Self::Raw => "raw",
        }
    }
}

/// As JSON writes a stream.
pub fn stream(sink: Sink) -> &'static str {
    match sink {
        Sink::Stdout => "stdout",
        Sink::Stderr => "stderr",
    }
}

/// Colours that can be read on black and on white; red is for what is wrong, and nobody's name.
const COLORS: [&str; 10] = ["36", "33", "32", "35", "34", "96", "93", "92", "95", "94"];

/// Appends what stands before a line: `name | `, with its time and in its colour where the style has them.
pub fn head(out: &mut Vec<u8>, style: Style, at: Wall, name: &str) {
    if style.timestamps {
        time(out, at);
        out.push(b' ');
    }
    if style.colored {
        // The same name has the same colour for ever: it follows from its letters (FNV-1a).
        let hash = name
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
        let color = COLORS.get(hash as usize % COLORS.len()).copied().unwrap_or("0");
        out.extend_from_slice(b"\x1b[");
        out.extend_from_slice(color.as_bytes());
        out.push(b'm');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\x1b[0m");
        out.resize(out.len() + style.width.saturating_sub(name.len()), b' ');
    } else {
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(b" | ");
}

/// Appends a time as RFC 3339 has it: UTC, with milliseconds.
pub fn time(out: &mut Vec<u8>, at: Wall) {
    // The year 9999 is the last that the form knows.
    let Wall(millis) = at.min(Wall(253_402_300_799_999));
    let (days, millis) = (millis / 86_400_000, millis % 86_400_000);
    let (year, month, day) = civil(days);
    let parts = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (millis / 3_600_000, 2, b':'),
        (millis / 60_000 % 60, 2, b':'),
        (millis / 1000 % 60, 2, b'.'),
        (millis % 1000, 3, b'Z'),
    ];
    for (number, digits, end) in parts {
        decimal(out, number, digits);
        out.push(end);
    }
}

/// Appends a number, with zeroes before it up to so many digits.
fn decimal(out: &mut Vec<u8>, number: u64, digits: u32) {
    for place in (0..digits).rev() {
        let digit = number / 10_u64.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

/// The date of a day since 1970-01-01: year, month, day. Years are counted from March, so that the day that some of them have more is
/// the last.
#[inline(never)]
pub fn civil(days: u64) -> (u64, u64, u64) {
    const IN_400_YEARS: u64 = 146_097;
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days / IN_400_YEARS, days % IN_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_the_text_around_is_not_printed() {
        let text = "a\u{202e}b\u{2066}c\u{2028}d\x1b[31me\u{feff}f";
        assert_eq!(printable(text, '?', 100), "a?b?c?d?[31me?f");
        assert_eq!(printable("größer 日本", '?', 4), "größ");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_001, "2024-02-29T00:00:00.001Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (4_107_456_000_000, "2100-02-28T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let mut out = Vec::new();
            time(&mut out, Wall(millis));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        // Every day follows the one before.
        let mut last = civil(0);
        for day in 1..100_000 {
            let (year, month, of_month) = civil(day);
            let next = of_month == last.2 + 1 && (year, month) == (last.0, last.1)
                || of_month == 1 && (year, month) == (last.0, last.1 + 1) && last.2 >= 28
                || (month, of_month) == (1, 1) && (last.1, last.2) == (12, 31) && year == last.0 + 1;
            assert!(next, "{:?} after {last:?}", (year, month, of_month));
            last = (year, month, of_month);
        }
    }

    #[test]
    fn heads_are_as_they_are_asked_for() {
        let style = |timestamps, colored| Style { timestamps, colored, width: 7 };
        for (style, name, expected) in [
            (style(false, false), "api.1", "api.1 | "),
            (style(true, false), "api.1", "1970-01-01T00:00:00.000Z api.1 | "),
            (style(false, true), "api.1", "\x1b[95mapi.1\x1b[0m   | "),
            (style(false, true), "much-longer", "\x1b[95mmuch-longer\x1b[0m | "),
        ] {
            let mut out = Vec::new();
            head(&mut out, style, Wall(0), name);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
