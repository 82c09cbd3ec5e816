//! Problems with the configuration, collected and shown all at once: where, what, the line, a caret, and what helps.

use std::fmt::{self, Display, Formatter, Write};

use crate::gather::{Gather, Joined, parted_at_last};
use crate::line::is_unprintable;
use crate::sorted::Map;

use super::source::{Source, Sources, Span};

/// One thing that is wrong. It goes from hand to hand in a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` when it has no place in a file.
    pub span: Option<Span>,
    /// What, as a sentence without a full stop. Never an environment value.
    pub message: String,
    /// What helps, shown after the caret.
    pub help: Option<Box<str>>,
}

/// Everything that is wrong, and the files to show it in. [`Display`] renders it for people.
#[derive(Debug, Default)]
pub struct Problems {
    /// The files.
    pub sources: Sources,
    /// By place and message, with what helps.
    found: Map<(Option<Span>, String), Option<Box<str>>>,
    uncounted: usize,
    suggested: usize,
}

/// So many different problems are kept; a file that has more is not a configuration.
const KEPT: usize = 1000;
/// So many are shown.
const SHOWN: usize = 50;
/// So many suggestions are looked for.
const MAX_SUGGESTED: usize = 200;
/// The columns shown before the caret, and the columns of a whole line.
const BEFORE: usize = 80;
const COLUMNS: usize = 160;

impl Problem {
    /// A problem at a place.
    pub fn at(span: Span, message: impl Into<String>) -> Box<Self> {
        Self::new(Some(span), message.into())
    }

    /// A problem of no place.
    pub fn general(message: impl Into<String>) -> Box<Self> {
        Self::new(None, message.into())
    }

    /// A problem, perhaps at a place. A call is shorter than what it does, and there are two hundred.
    #[inline(never)]
    pub fn new(span: Option<Span>, message: String) -> Box<Self> {
        Box::new(Self { span, message, help: None })
    }

    /// With what helps.
    #[must_use]
    pub fn help(self: Box<Self>, help: impl Into<Box<str>>) -> Box<Self> {
        self.maybe_help(Some(help.into()))
    }

    /// With what helps, if something is known.
    #[must_use]
    #[inline(never)]
    pub fn maybe_help(mut self: Box<Self>, help: Option<Box<str>>) -> Box<Self> {
        self.help = help;
        self
    }
}

impl Problems {
    /// Adds one; the same problem at the same place counts once, however many instances have it.
    #[inline(never)]
    pub fn push(&mut self, problem: Box<Problem>) {
        let Problem { span, message, help } = *problem;
        let key = (span, message);
        if self.found.len() < KEPT {
            self.found.get_or_insert_with(key, || help);
        } else if !self.found.contains_key(&key) {
            self.uncounted = self.uncounted.saturating_add(1);
        }
    }

    /// Adds one. Texts come in pieces and are put together here: there are a hundred callers.
    #[inline(never)]
    pub fn tell(&mut self, at: Span, message: fmt::Arguments<'_>) {
        self.push(Problem::at(at, fmt::format(message)));
    }

    /// Adds one with what helps.
    #[inline(never)]
    pub fn advise(&mut self, at: Span, message: fmt::Arguments<'_>, help: fmt::Arguments<'_>) {
        self.push(Problem::at(at, fmt::format(message)).help(fmt::format(help)));
    }

    /// A suggestion, unless there were many already: a hostile file could ask for millions.
    pub fn suggest(&mut self, suggestion: impl FnOnce() -> Option<Box<str>>) -> Option<Box<str>> {
        self.suggested = self.suggested.saturating_add(1);
        if self.suggested <= MAX_SUGGESTED { suggestion() } else { None }
    }

    /// How many are known.
    pub fn count(&self) -> usize {
        self.found.len() + self.uncounted
    }

    /// All of them without the last line, which tells of a start, as lines for a message of its own.
    pub fn listed(&self) -> String {
        let text = self.to_string();
        let (problems, _) = parted_at_last(text.trim_end(), b'\n').unwrap_or_default();
        let lines = problems.lines().map(|line| line.strip_prefix("tinysup: ").unwrap_or(line));
        lines.gather().joined("\n")
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

impl Display for Problems {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for ((span, message), help) in self.found.iter().take(SHOWN) {
            f.write_str("tinysup: ")?;
            if let Some((span, source)) =
                span.and_then(|span| self.sources.get(span.file).map(|source| (span, source)))
            {
                writeln!(f, "{}: {}", self.sources.place(span, None), Printable(message))?;
                excerpt(f, source, span, help.as_deref())?;
            } else {
                writeln!(f, "{}", Printable(message))?;
                if let Some(help) = help {
                    writeln!(f, "         {}", Printable(help))?;
                }
            }
        }
        let count = self.count();
        if count > SHOWN {
            writeln!(f, "tinysup: and {} more", count - SHOWN)?;
        }
        let errors = if count == 1 { "error" } else { "errors" };
        writeln!(
            f,
            "{count} {errors}, nothing was started. `tinysup check` tests a file; `tinysup example` shows all keys."
        )
    }
}

/// The line before, the line, and a caret under the place.
#[inline(never)]
fn excerpt(f: &mut Formatter<'_>, source: &Source, span: Span, help: Option<&str>) -> fmt::Result {
    let start = source.boundary(span.start);
    if source.confidential && source.is_hidden(start) {
        return match help {
            Some(help) => writeln!(f, "      | {}", Printable(help)),
            None => Ok(()),
        };
    }
    let number = source.position(span.start).0;
    let line_start = source.line_start(number);
    if number > 1 && !source.confidential {
        let mut shown = String::new();
        cells(source, source.line_start(number - 1), COLUMNS, &mut shown);
        if !shown.trim().is_empty() {
            writeln!(f, "{:>5} | {}", number - 1, shown.trim_end())?;
        }
    }
    let mut line = String::new();
    let mut caret = 0;
    let mut from = start;
    for (at, character) in source.text.get(line_start..start).unwrap_or("").char_indices().rev() {
        let width = cell(character, source.is_hidden(line_start + at)).1;
        if caret + width > BEFORE {
            line.push('…');
            break;
        }
        caret += width;
        from = line_start + at;
    }
    if !line.is_empty() {
        caret += 1;
    }
    let end = cells(source, from, COLUMNS, &mut line);
    let underlined: usize = source
        .text
        .get(start..end.min(span.end as usize).max(start))
        .unwrap_or("")
        .char_indices()
        .map(|(at, character)| cell(character, source.is_hidden(start + at)).1)
        .sum();
    writeln!(f, "{number:>5} | {}", line.trim_end())?;
    write!(f, "      | {:caret$}{}", "", "^".repeat(underlined.max(1)))?;
    match help {
        Some(help) => writeln!(f, " {}", Printable(help)),
        None => writeln!(f),
    }
}

/// Shows a line from the byte `from` on, at most `columns` wide. Returns the byte up to which it is shown.
fn cells(source: &Source, from: usize, columns: usize, into: &mut String) -> usize {
    let mut used = 0;
    let rest = source.text.get(from..).unwrap_or("");
    for (at, character) in rest.char_indices() {
        if character == '\n'
            || (character == '\r' && rest.get(at + 1..).is_none_or(|next| next.starts_with('\n')))
        {
            return from + at;
        }
        let (shown, width) = cell(character, source.is_hidden(from + at));
        if used + width > columns {
            into.push('…');
            return from + at;
        }
        used += width;
        match shown {
            Cell::Itself => into.push(character),
            Cell::Instead(text) => into.push_str(text),
            // Writing to a String cannot fail.
            Cell::Escaped => drop(write!(into, "\\u{{{:x}}}", u32::from(character))),
        }
    }
    source.text.len()
}

/// How a character is shown in the line of a file.
enum Cell {
    Itself,
    Instead(&'static str),
    Escaped,
}

/// How a character is shown, and how many columns that takes.
fn cell(character: char, hidden: bool) -> (Cell, usize) {
    match character {
        _ if hidden => (Cell::Instead("*"), 1),
        '\t' => (Cell::Instead("    "), 4),
        _ if is_unprintable(character) => {
            let digits = (32 - u32::from(character).leading_zeros()).div_ceil(4).max(1) as usize;
            (Cell::Escaped, digits + 4)
        }
        _ => (Cell::Itself, width(character)),
    }
}

/// The columns of a printable character: 0 for marks put over others, 2 for East Asian wide ones and most emoji.
fn width(character: char) -> usize {
    match u32::from(character) {
        0x0300..=0x036f | 0x1ab0..=0x1aff | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// A text of one line without control characters, of at most 500 characters: names in messages come from files.
struct Printable<'a>(&'a str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 500;
        for (count, character) in self.0.chars().enumerate() {
            if count == LONGEST {
                return f.write_str("…");
            }
            if is_unprintable(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn shown(text: &str, range: std::ops::Range<usize>) -> String {
        let mut problems = Problems::default();
        let file = problems.sources.add("f".to_owned(), PathBuf::new(), text.to_owned(), false);
        problems.push(Problem::at(Span::new(file, range), "odd"));
        problems
            .to_string()
            .lines()
            .take_while(|line| !line.starts_with("1 error"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        for (text, range, expected) in [
            ("ab = 1", 0..2, "tinysup: f:1:1: odd\n    1 | ab = 1\n      | ^^"),
            ("x\n\tab = 1\n", 3..5, "tinysup: f:2:2: odd\n    1 | x\n    2 |     ab = 1\n      |     ^^"),
            ("日本 = é1", 9..11, "tinysup: f:1:6: odd\n    1 | 日本 = é1\n      |        ^"),
            (
                "a\u{1b}[31m = 1",
                8..9,
                "tinysup: f:1:9: odd\n    1 | a\\u{1b}[31m = 1\n      |              ^",
            ),
            ("a = 1\r\nb = 2\r\n", 7..8, "tinysup: f:2:1: odd\n    1 | a = 1\n    2 | b = 2\n      | ^"),
            ("a =\n", 3..3, "tinysup: f:1:4: odd\n    1 | a =\n      |    ^"),
            ("a =\n", 4..4, "tinysup: f:1:4: odd\n    1 | a =\n      |    ^"),
            ("", 0..0, "tinysup: f:1:1: odd\n    1 | \n      | ^"),
            ("a = '''\nb\n'''", 4..13, "tinysup: f:1:5: odd\n    1 | a = '''\n      |     ^^^"),
        ] {
            assert_eq!(shown(text, range), expected, "{text:?}");
        }
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let shown = shown(&text, 500..501);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], format!("    1 | …{}X{}…", "a".repeat(80), "b".repeat(79)));
        assert_eq!(lines[2], format!("      | {}^", " ".repeat(81)));
    }

    #[test]
    fn hidden_parts_and_hidden_files_are_not_shown() {
        let mut problems = Problems::default();
        let text = "env = { A = \"geheim\", B = x }";
        let file = problems.sources.add("f".to_owned(), PathBuf::new(), text.to_owned(), false);
        problems.sources.hide(file, vec![(12, 20)]);
        problems.push(Problem::at(Span::new(file, 26..27), "odd"));
        let secret = problems.sources.add(".env".to_owned(), PathBuf::new(), "A=geheim\n".to_owned(), true);
        problems.push(Problem::at(Span::new(secret, 2..8), "odd too").help("do"));
        assert_eq!(
            problems.to_string(),
            "tinysup: f:1:27: odd\n    1 | env = { A = ********, B = x }\n      |                           ^\n\
             tinysup: .env:1:3: odd too\n      | do\n\
             2 errors, nothing was started. `tinysup check` tests a file; `tinysup example` shows all keys.\n"
        );
    }

    #[test]
    fn many_problems_are_counted_and_few_shown() {
        let mut problems = Problems::default();
        for number in 0..2000 {
            problems.push(Problem::general(format!("no {number:04}")));
            problems.push(Problem::general(format!("no {number:04}")));
        }
        let shown = problems.to_string();
        assert_eq!(shown.lines().count(), 52);
        assert!(shown.contains("tinysup: and 2950 more\n3000 errors,"), "{shown}");
    }
}
