//! `${VARIABLES}` in values, in the forms of Compose: `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?message}`,
//! `${NAME?message}`, `${NAME:+instead}`, `${NAME+instead}` and `$$` for one `$`. What is inserted is never looked at again. `$NAME`
//! without braces is an error, because some readers would replace it and others not; a `$` before anything else is itself.

use std::ops::Range;
use std::rc::Rc;

/// Whoever knows the values.
pub trait Lookup {
    /// The value of a variable that is written at `at`; `None` if it is not set.
    ///
    /// # Errors
    /// It cannot be had, and that has been reported.
    fn value(&mut self, name: &str, at: Range<usize>) -> Result<Option<Rc<[u8]>>, Reported>;

    /// Whether the text may be a secret: then a message has no part of it but names and messages of `${…}`.
    fn is_secret(&self) -> bool {
        false
    }
}

/// Something is wrong and has been reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported;

/// A text with its variables replaced. May hold secrets.
pub struct Expanded {
    /// The bytes; variables need not be UTF-8.
    pub bytes: Vec<u8>,
    /// Whether a variable was replaced: then the text is never shown.
    pub replaced: bool,
}

/// Why variables cannot be replaced.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something is wrong in the text.
    At(Box<Place>),
    /// It has been reported.
    Reported,
}

/// What is wrong, at these bytes of the text.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub at: Range<usize>,
    /// What.
    pub message: String,
    /// What helps.
    pub help: Option<Box<str>>,
    /// Whether it is only that a variable is not set.
    pub unset: bool,
}

/// The longest text after replacing, in bytes: Linux takes no argument and no variable that is longer.
pub const MAX_TEXT: usize = 128 * 1024 - 1;
/// How deep defaults may hold variables with defaults.
const MAX_DEPTH: usize = 8;

/// Replaces the variables in `template`.
///
/// # Errors
/// The first thing that is wrong.
pub fn expand(template: &str, lookup: &mut dyn Lookup) -> Result<Expanded, Fault> {
    let mut into = Expanded { bytes: Vec::with_capacity(template.len()), replaced: false };
    expand_part(template, 0..template.len(), lookup, &mut into, 0)?;
    Ok(into)
}

/// Whether a text has nothing to replace.
pub fn is_plain(text: &str) -> bool {
    !text.contains('$')
}

/// Where the `}` is that closes the `${` at `open`, with what is nested between.
pub fn closing(text: &str, open: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = open;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'$', Some(b'$')) => at += 1,
            (b'$', Some(b'{')) => {
                depth += 1;
                at += 1;
            }
            (b'}', _) => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Replaces the variables in a range of `template`; places are those of the whole.
fn expand_part(
    template: &str,
    range: Range<usize>,
    lookup: &mut dyn Lookup,
    into: &mut Expanded,
    depth: usize,
) -> Result<(), Fault> {
    let part = template.get(..range.end).unwrap_or(template);
    let mut at = range.start;
    while let Some(rest) = part.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(dollar) = rest.find('$') else {
            return append(into, rest.as_bytes(), at..range.end);
        };
        append(into, rest.get(..dollar).unwrap_or("").as_bytes(), range.clone())?;
        at += dollar;
        match part.as_bytes().get(at + 1) {
            Some(b'$') => {
                append(into, b"$", at..at + 2)?;
                at += 2;
            }
            Some(b'{') => {
                let Some(close) = closing(part, at) else {
                    return Err(fault(at..range.end, "\"${\" is never closed", "\"$$\" gives a plain \"$\""));
                };
                variable(part, at..close + 1, lookup, into, depth)?;
                at = close + 1;
            }
            Some(next) if next.is_ascii_alphabetic() || *next == b'_' => {
                let name = name_at(part, at + 1);
                let end = at + 1 + name.len();
                let name = if lookup.is_secret() { "NAME" } else { name };
                return Err(fault(
                    at..end,
                    format!("\"${name}\" is neither a variable nor plain text here"),
                    format!("${{{name}}} is replaced by the variable, $${name} gives ${name}"),
                ));
            }
            _ => {
                append(into, b"$", at..at + 1)?;
                at += 1;
            }
        }
    }
    Ok(())
}

/// Replaces the one `${…}` at `whole`.
#[inline(never)]
fn variable(
    text: &str,
    whole: Range<usize>,
    lookup: &mut dyn Lookup,
    into: &mut Expanded,
    depth: usize,
) -> Result<(), Fault> {
    let name = name_at(text, whole.start + 2);
    let after_name = whole.start + 2 + name.len();
    let rest = text.get(after_name..whole.end - 1).unwrap_or("");
    let (operator, skip) = match rest.as_bytes() {
        [] => (None, 0),
        [b':', operator @ (b'-' | b'?' | b'+'), ..] => (Some((*operator, true)), 2),
        [operator @ (b'-' | b'?' | b'+'), ..] => (Some((*operator, false)), 1),
        _ => (Some((0, false)), 0),
    };
    if name.is_empty() || operator == Some((0, false)) {
        return Err(fault(
            whole,
            "not a variable",
            "write ${NAME}, ${NAME:-default} or ${NAME:?message}; \"$$\" gives a plain \"$\"",
        ));
    }
    if depth >= MAX_DEPTH {
        return Err(fault(whole, "variables are nested too deep", "give the inner ones names in env"));
    }
    let value = lookup.value(name, whole.clone()).map_err(|Reported| Fault::Reported)?;
    into.replaced = true;
    let word = after_name + skip..whole.end - 1;
    let Some((operator, empty_counts_as_unset)) = operator else {
        return match value {
            Some(value) => append(into, &value, whole),
            None => Err(unset(name, whole, None)),
        };
    };
    let value = value.filter(|value| !(empty_counts_as_unset && value.is_empty()));
    match (operator, value) {
        (b'-', None) | (b'+', Some(_)) => expand_part(text, word, lookup, into, depth + 1),
        (b'+', None) => Ok(()),
        (_, Some(value)) => append(into, &value, whole),
        (_, None) => Err(unset(name, whole, text.get(word))),
    }
}

/// The name that begins at `at`; perhaps empty.
fn name_at(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or("");
    let begins = rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    if begins { rest.get(..end).unwrap_or("") } else { "" }
}

fn append(into: &mut Expanded, bytes: &[u8], at: Range<usize>) -> Result<(), Fault> {
    if into.bytes.len() + bytes.len() > MAX_TEXT {
        return Err(fault(
            at,
            "this becomes longer than 128 KiB, which Linux does not take",
            "pass it as a file",
        ));
    }
    into.bytes.extend_from_slice(bytes);
    Ok(())
}

fn unset(name: &str, at: Range<usize>, message: Option<&str>) -> Fault {
    let (message, help) = match message {
        Some(text) if !text.is_empty() => (format!("${{{name}}} is not set: {text}"), None),
        _ => (
            format!("${{{name}}} is not set"),
            Some(
                format!(
                    "docker run -e {name}=…, or ${{{name}:-default}}, or env_file; in a build ARG {name}=any"
                )
                .into(),
            ),
        ),
    };
    Fault::At(Box::new(Place { at, message, help, unset: true }))
}

fn fault(at: Range<usize>, message: impl Into<String>, help: impl Into<Box<str>>) -> Fault {
    Fault::At(Box::new(Place { at, message: message.into(), help: Some(help.into()), unset: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Table;

    impl Lookup for Table {
        fn value(&mut self, name: &str, _: Range<usize>) -> Result<Option<Rc<[u8]>>, Reported> {
            match name {
                "A" => Ok(Some(Rc::from(b"1 ${B} \"x\"".as_slice()))),
                "EMPTY" => Ok(Some(Rc::from(b"".as_slice()))),
                "BYTES" => Ok(Some(Rc::from(b"\xff".as_slice()))),
                "BROKEN" => Err(Reported),
                _ => Ok(None),
            }
        }
    }

    #[test]
    fn variables_are_replaced_once() {
        for (template, expected) in [
            ("plain", "plain"),
            ("${A}", "1 ${B} \"x\""),
            ("<${A}>", "<1 ${B} \"x\">"),
            ("$$A $${A}", "$A ${A}"),
            ("${X:-d}", "d"),
            ("${X-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${X:-}", ""),
            ("${X:-${Y:-deep}}", "deep"),
            ("${X:-a$$b}", "a$b"),
            ("${X:-${A}}", "1 ${B} \"x\""),
            ("${A:+yes}${X:+no}${EMPTY:+no}${EMPTY+set}", "yesset"),
            ("${A:?needed}", "1 ${B} \"x\""),
            ("${X:-{}}", "{}"),
            ("5$ $1 $? $(x) $", "5$ $1 $? $(x) $"),
            ("é${X:-ü}ß", "éüß"),
        ] {
            let found = expand(template, &mut Table).map(|found| String::from_utf8(found.bytes).unwrap());
            assert_eq!(found.as_deref(), Ok(expected), "{template}");
        }
        assert_eq!(expand("${BYTES}", &mut Table).map(|found| found.bytes), Ok(vec![0xff]));
    }

    #[test]
    fn what_cannot_be_replaced_is_told_with_its_place() {
        for (template, place, part) in [
            ("ab ${X}", 3..7, "${X} is not set"),
            ("${X:?say why}", 0..13, "${X} is not set: say why"),
            ("${EMPTY:?}", 0..10, "${EMPTY} is not set"),
            ("x $HOME y", 2..7, "\"$HOME\" is neither"),
            ("${", 0..2, "never closed"),
            ("${A", 0..3, "never closed"),
            ("${}", 0..3, "not a variable"),
            ("${1}", 0..4, "not a variable"),
            ("${A//b/c}", 0..9, "not a variable"),
            ("${A:0:3}", 0..8, "not a variable"),
            ("${a b}", 0..6, "not a variable"),
            ("${X:-${Y}}", 5..9, "${Y} is not set"),
        ] {
            match expand(template, &mut Table).map(|found| found.bytes) {
                Err(Fault::At(wrong)) => {
                    let Place { at, message, .. } = *wrong;
                    assert_eq!(at, place, "{template}");
                    assert!(message.contains(part), "{template}: {message}");
                }
                other => panic!("{template}: {other:?}"),
            }
        }
        assert!(matches!(expand("${BROKEN:-x}", &mut Table), Err(Fault::Reported)));
    }

    #[test]
    fn nesting_and_length_are_bounded() {
        let deep = format!("{}x{}", "${X:-".repeat(1000), "}".repeat(1000));
        assert!(
            matches!(expand(&deep, &mut Table), Err(Fault::At(wrong)) if wrong.message.contains("too deep"))
        );
        let open = "${X:-".repeat(100_000);
        assert!(
            matches!(expand(&open, &mut Table), Err(Fault::At(wrong)) if wrong.message.contains("never closed"))
        );
        let long = "a".repeat(MAX_TEXT + 1);
        assert!(
            matches!(expand(&long, &mut Table), Err(Fault::At(wrong)) if wrong.message.contains("128 KiB"))
        );
    }
}
