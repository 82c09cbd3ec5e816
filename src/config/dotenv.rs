//! Files of `env_file`: lines of `NAME=value` as Compose reads them. `#` begins a comment, also after a value and a blank; `export`
//! may stand before; single quotes keep everything as it is but `\'` before another quote of the line, double quotes know `\n \r \t \\ \" \$`; quoted values may go over several
//! lines; `${VARIABLES}` are replaced outside of single quotes; a bare `NAME` passes the container's variable on.

use std::ops::Range;

use crate::gather::{parted, place_of};
use crate::sorted::{Map, last_for_first};

/// A file's variables.
#[derive(Debug, Default)]
pub struct EnvFile {
    /// In the order of the file; of a name that is set twice only the last.
    pub entries: Vec<Variable>,
    /// Where a name is in `entries`.
    pub index: Map<String, usize>,
}

/// One variable.
#[derive(Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, in which a protected `$` is `$$`; `None`: the container's, if it has one.
    pub template: Option<String>,
    /// Where the name is written.
    pub at: Range<usize>,
}

/// A line that is none.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Where.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: &'static str,
}

/// Takes a file apart.
#[inline(never)]
pub fn parse(text: &str) -> (EnvFile, Vec<Box<BadLine>>) {
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < text.len() {
        match line(text, at) {
            Ok((variable, next)) => {
                found.extend(variable);
                at = next;
            }
            Err(problem) => {
                bad.push(problem);
                at = end_of_line(text, at) + 1;
            }
        }
    }
    (EnvFile::new(found), bad)
}

impl EnvFile {
    fn new(found: Vec<Variable>) -> Self {
        let places = |found: &[Variable]| -> Map<String, usize> {
            found.iter().enumerate().map(|(at, variable)| (variable.name.clone(), at)).collect()
        };
        let last = places(&found);
        let entries = last_for_first(found, &|variable| last.get(&variable.name).copied());
        Self { index: places(&entries), entries }
    }
}

fn end_of_line(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |newline| at + newline)
}

/// Reads what begins at `at`, the start of a line. Returns where the next line begins.
#[inline(never)]
fn line(text: &str, at: usize) -> Result<(Option<Variable>, usize), Box<BadLine>> {
    let end = end_of_line(text, at);
    let whole = text.get(at..end).unwrap_or("");
    let trimmed = whole.trim_start();
    let mut start = at + (whole.len() - trimmed.len());
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok((None, end + 1));
    }
    if let Some(rest) = trimmed.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])) {
        start = end - rest.trim_start().len();
    }
    let assignment = text.get(start..end).unwrap_or("");
    let (name, value_at) = match assignment.find('=') {
        Some(equals) => (assignment.get(..equals).unwrap_or("").trim_end(), Some(start + equals + 1)),
        None => (parted(assignment, " #").map_or(assignment, |(name, _)| name).trim_end(), None),
    };
    let place = start..start + name.len();
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '$' | '#')) {
        return Err(Box::new(BadLine {
            at: start..end,
            message: "this is not a line of the form NAME=value",
        }));
    }
    let variable = |template| Some(Variable { name: name.to_owned(), template, at: place });
    let Some(value_at) = value_at else { return Ok((variable(None), end + 1)) };
    let written = text.get(value_at..end).unwrap_or("");
    let blanks = written.len() - written.trim_start_matches([' ', '\t']).len();
    let value_at = value_at + blanks;
    let (value, next) = match text.as_bytes().get(value_at).filter(|_| value_at < end) {
        Some(b'\'') => quoted(text, value_at, '\'')?,
        Some(b'"') => quoted(text, value_at, '"')?,
        _ => (unquoted(text.get(value_at..end).unwrap_or(""), blanks > 0).to_owned(), end),
    };
    let rest_end = end_of_line(text, next);
    let rest = text.get(next..rest_end).unwrap_or("").trim();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err(Box::new(BadLine {
            at: next..rest_end,
            message: "nothing but a comment may follow the closing quote",
        }));
    }
    Ok((variable(Some(value)), rest_end + 1))
}

/// A value without quotes: up to a comment, without blanks at its ends.
fn unquoted(written: &str, after_blank: bool) -> &str {
    let comment = if after_blank && written.starts_with('#') {
        Some(0)
    } else {
        [" #", "\t#"].into_iter().filter_map(|mark| place_of(written, mark)).min()
    };
    written.get(..comment.unwrap_or(written.len())).unwrap_or(written).trim()
}

/// A value in quotes that open at `open`, as a template, and where it ends.
fn quoted(text: &str, open: usize, quote: char) -> Result<(String, usize), Box<BadLine>> {
    let mut value = String::new();
    let mut characters = text.get(open + 1..).unwrap_or("").char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => return Ok((value, open + 1 + at + 1)),
            '$' if quote == '\'' => value.push_str("$$"),
            // The last of a line closes, whatever is before it: a folder of Windows may end so.
            '\\' if quote == '\'' && another_follows(characters.as_str()) => {
                characters.next();
                value.push(quote);
            }
            '\\' if quote == '"' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, '$')) => value.push_str("$$"),
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                Some((_, other)) => {
                    value.push('\\');
                    value.push(other);
                }
                None => break,
            },
            _ => value.push(character),
        }
    }
    Err(Box::new(BadLine { at: open..open + 1, message: "this quote is never closed" }))
}

/// Whether this is a single quote, and not the last of its line.
fn another_follows(text: &str) -> bool {
    let mut quotes = text.chars().filter(|c| matches!(c, '\'' | '\n'));
    text.starts_with('\'') && quotes.nth(1) == Some('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_compose_reads_them() {
        for (text, expected) in [
            ("A=1\nB=two words\r\n", vec![("A", Some("1")), ("B", Some("two words"))]),
            ("# comment\n\n  A = 1  # more\n", vec![("A", Some("1"))]),
            ("export A=1\nexported=2", vec![("A", Some("1")), ("exported", Some("2"))]),
            ("A=a#b\nB= # none\nC=", vec![("A", Some("a#b")), ("B", Some("")), ("C", Some(""))]),
            ("A='x ${Y} \\n # z' # c\n", vec![("A", Some("x $${Y} \\n # z"))]),
            ("A=\"x\\ny\\t\\\"\\\\\\$Z ${Y}\\q\"", vec![("A", Some("x\ny\t\"\\$$Z ${Y}\\q"))]),
            (
                "A=\"one\ntwo\"\nB='three\nfour'\nC=5",
                vec![("A", Some("one\ntwo")), ("B", Some("three\nfour")), ("C", Some("5"))],
            ),
            ("A='Let\\'s go' # it's\nB='x'", vec![("A", Some("Let's go")), ("B", Some("x"))]),
            ("A='C:\\dir\\'\nB='x'", vec![("A", Some("C:\\dir\\")), ("B", Some("x"))]),
            ("A=1\nA=2\n", vec![("A", Some("2"))]),
            ("PASSED\nOTHER # why\n", vec![("PASSED", None), ("OTHER", None)]),
            ("A=x=y", vec![("A", Some("x=y"))]),
            ("A=it's", vec![("A", Some("it's"))]),
            ("", vec![]),
        ] {
            let (file, bad) = parse(text);
            assert_eq!(bad, [], "{text:?}");
            let found: Vec<_> =
                file.entries.iter().map(|v| (v.name.as_str(), v.template.as_deref())).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn bad_lines_are_told_and_the_rest_is_read() {
        let (file, bad) = parse("A=1\nnot a name=2\n=3\nB='x' y\nC=\"open\nD=4\n");
        assert_eq!(file.entries.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["A", "D"]);
        assert_eq!(bad.iter().map(|bad| bad.at.clone()).collect::<Vec<_>>(), [4..16, 17..19, 25..27, 30..31]);
    }
}
