//! Syntax errors in our own words, and the lines that they make unusable.

use toml_parser::{Expected, ParseError};

use crate::gather::{Gather, Joined, holds};
use crate::sorted::Set;

use super::builder::TWICE;
use super::problems::Problem;
use super::source::{FileId, Sources, Span};

/// How the message of a syntax error begins, other than that something is set twice.
const NOT_TOML: &str = "not valid TOML";

/// The syntax errors as problems, without those that only follow from others, and the lines of which nothing else is to be said.
/// `endless`: where a text of several lines begins that has no end.
#[inline(never)]
pub fn problems(
    text: &str,
    file: FileId,
    errors: &[ParseError],
    endless: Option<usize>,
    sources: &Sources,
) -> (Vec<Box<Problem>>, Set<usize>) {
    let found: Vec<Box<Problem>> =
        errors.iter().map(|error| problem(text, file, error, endless, sources)).gather();
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
    error: &ParseError,
    endless: Option<usize>,
    sources: &Sources,
) -> Box<Problem> {
    let range = error.unexpected().map_or(0..0, |place| place.start()..place.end());
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
    let message = error.description();
    if message == TWICE {
        let first =
            error.context().and_then(|first| sources.line(Span::new(file, first.start()..first.end())));
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
    let expected = error.expected().unwrap_or_default().iter().map(|expected| match *expected {
        Expected::Literal("\n") => "newline".to_owned(),
        Expected::Literal(letters) => format!("`{letters}`"),
        Expected::Description(words) => words.to_owned(),
        _ => String::new(),
    });
    let expected = expected.gather().joined(", ");
    let between = if expected.is_empty() { "" } else { ", expected " };
    let escaped = holds(message, "escaped") || holds(message, "unicode value");
    Problem::at(span, format!("{NOT_TOML}: {message}{between}{expected}"))
        .maybe_help(escaped.then(|| "a backslash is written \\\\, or the text in '…'".into()))
}
