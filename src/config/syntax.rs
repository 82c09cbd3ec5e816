//! Syntax errors of the `toml` crate in our own words, and the lines that they make unusable.

use crate::gather::{Gather, holds, parted_at_last};
use crate::sorted::Set;

use super::problems::Problem;
use super::source::{FileId, Sources, Span};

/// How the message of a syntax error begins, other than that something is set twice.
const NOT_TOML: &str = "not valid TOML";
/// So many syntax errors of a file are looked at; each names a line, which takes a walk through the text.
const MAX_ERRORS: usize = 200;

/// The syntax errors as problems, without those that only follow from others, and the lines of which nothing else is to be said.
/// `endless`: where a text of several lines begins that has no end.
#[inline(never)]
pub fn problems(
    text: &str,
    file: FileId,
    errors: &[toml::de::Error],
    endless: Option<usize>,
    sources: &Sources,
) -> (Vec<Box<Problem>>, Set<usize>) {
    let found: Vec<Box<Problem>> =
        errors.iter().take(MAX_ERRORS).map(|error| problem(text, file, error, endless, sources)).gather();
    let line = |problem: &Problem| problem.span.and_then(|span| sources.line(span));
    let is_unreadable = |problem: &Problem| problem.message.starts_with(NOT_TOML);
    let mut broken: Set<usize> = found.iter().filter_map(|found| line(found)).collect();
    let unreadable: Set<usize> =
        found.iter().filter(|found| is_unreadable(found)).filter_map(|found| line(found)).collect();
    // Nobody knows to which table the lines after an unreadable header belong; those after a repeated one belong to the table
    // that was there before, and repeat its keys.
    let mut repeated = Set::new();
    let (mut after_unreadable, mut after_repeated) = (false, false);
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with('[') {
            after_unreadable = unreadable.contains(&number);
            after_repeated = broken.contains(&number) && !after_unreadable;
        } else if after_unreadable {
            broken.insert(number);
        } else if after_repeated {
            repeated.insert(number);
        }
    }
    let follows = |problem: &Problem| {
        !is_unreadable(problem) && line(problem).is_some_and(|line| repeated.contains(&line))
    };
    (found.into_iter().filter(|problem| !follows(problem)).gather(), broken)
}

#[inline(never)]
fn problem(
    text: &str,
    file: FileId,
    error: &toml::de::Error,
    endless: Option<usize>,
    sources: &Sources,
) -> Box<Problem> {
    let range = error.span().unwrap_or(0..0);
    if let Some(start) = endless.filter(|start| *start < range.end) {
        // What is wrong within it is all the same one problem.
        return Problem::at(
            Span::new(file, start..start + 3),
            format!("{NOT_TOML}: a text of several lines has no end"),
        )
        .help("it begins here, and must end with the same three quotes");
    }
    let span = Span::new(file, range.clone());
    let written = text.get(range.clone()).unwrap_or("");
    let message = error.message();
    if message == "duplicate key" {
        let first = first_place(text, range.start, written);
        let written = if sources.is_hidden(span) { "…" } else { written };
        return Problem::at(span, format!("\"{written}\" is set twice"))
            .maybe_help(first.map(|line| format!("first on line {line}").into()));
    }
    let is_bare_word = holds(message, "invalid")
        && written.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '.' | '$'));
    if holds(message, "must be quoted") || is_bare_word {
        return if written.is_empty() {
            Problem::at(span, format!("{NOT_TOML}: a value is missing"))
        } else {
            Problem::at(span, format!("{NOT_TOML}: a text must stand in quotes")).help("\"…\"")
        };
    }
    Problem::at(span, format!("{NOT_TOML}: {message}"))
}

/// The line on which what is set again at `again` was set before: the last such key in the same table, or the same header.
#[inline(never)]
fn first_place(text: &str, again: usize, key: &str) -> Option<usize> {
    let line_start = parted_at_last(text.get(..again)?, b'\n').map_or(0, |(before, _)| before.len() + 1);
    let line = text.get(line_start..)?.lines().next()?.trim();
    let mut found = None;
    for (index, other) in text.get(..line_start)?.lines().enumerate() {
        let other = other.trim();
        if line.starts_with('[') {
            if other == line {
                return Some(index + 1);
            }
        } else if other.starts_with('[') {
            found = None;
        } else if other.split_once('=').is_some_and(|(name, _)| name.trim() == key) {
            found = found.or(Some(index + 1));
        }
    }
    found
}
