//! `${VARIABLES}` in values, against a plain interpreter of the same rules.

use std::ops::Range;
use std::rc::Rc;

use tinysup::config::interpolate::{Fault, Lookup, Reported, expand};

struct Table;

impl Lookup for Table {
    fn value(&mut self, name: &str, _: Range<usize>) -> Result<Option<Rc<[u8]>>, Reported> {
        if name == "X" { Err(Reported) } else { Ok(value(name).map(Rc::from)) }
    }
}

fn value(name: &str) -> Option<&'static [u8]> {
    match name {
        "A" => Some(b"1 ${B} $$"),
        "E" => Some(b""),
        "B" => Some(b"\xff"),
        _ => None,
    }
}

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let found = expand(text, &mut Table);
    if let Err(Fault::At(wrong)) = &found {
        assert!(text.get(wrong.at.clone()).is_some());
    }
    let expected = tokens(text).and_then(|tokens| evaluate(&tokens, 0));
    assert_eq!(found.ok().map(|found| found.bytes), expected);
}

/// A piece of a template.
enum Token<'a> {
    Text(&'a [u8]),
    /// `$NAME`, which is an error once it is reached.
    Bare,
    /// `${…}`: what stands in it before the first thing that is more than text, and all of it as tokens.
    Variable(&'a str, Vec<Self>),
}

/// Takes a template apart; `None` if a brace is not closed where that matters, which is everywhere at the outermost level.
fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut at = 0;
    let tokens = level(text, &mut at, false)?;
    Some(tokens)
}

fn level<'a>(text: &'a str, at: &mut usize, nested: bool) -> Option<Vec<Token<'a>>> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    loop {
        match (bytes.get(*at), bytes.get(*at + 1)) {
            (None, _) if nested => return None,
            (None, _) => return Some(tokens),
            (Some(b'}'), _) if nested => {
                *at += 1;
                return Some(tokens);
            }
            (Some(b'$'), Some(b'$')) => {
                tokens.push(Token::Text(b"$"));
                *at += 2;
            }
            (Some(b'$'), Some(b'{')) => {
                *at += 2;
                let from = *at;
                let inner = level(text, at, true);
                match inner {
                    Some(inner) => tokens.push(Token::Variable(&text[from..*at - 1], inner)),
                    // What stands before it may be an error first; both are errors.
                    None => return None,
                }
            }
            (Some(b'$'), Some(next)) if next.is_ascii_alphabetic() || *next == b'_' => {
                tokens.push(Token::Bare);
                *at += 1;
            }
            (Some(_), _) => {
                tokens.push(Token::Text(&bytes[*at..=*at]));
                *at += 1;
            }
        }
    }
}

fn evaluate(tokens: &[Token<'_>], depth: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for token in tokens {
        match token {
            Token::Text(bytes) => out.extend_from_slice(bytes),
            Token::Bare => return None,
            Token::Variable(text, inner) => out.extend(variable(text, inner, depth)?),
        }
    }
    (out.len() < 128 * 1024).then_some(out)
}

fn variable(text: &str, inner: &[Token<'_>], depth: usize) -> Option<Vec<u8>> {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let (name, rest) = text.split_at(length);
    if depth >= 8 || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || name == "X" {
        return None;
    }
    let value = value(name);
    let operator = rest.trim_start_matches(':').chars().next();
    let colons = rest.bytes().take_while(|byte| *byte == b':').count();
    if rest.is_empty() {
        return value.map(<[u8]>::to_vec);
    }
    // Name and operator are single bytes, and each of those is a token.
    let word = inner.get(length + colons + 1..).unwrap_or_default();
    let value = value.filter(|value| colons == 0 || !value.is_empty());
    match (operator.filter(|_| colons < 2)?, value) {
        ('-' | '?', Some(value)) => Some(value.to_vec()),
        ('-', None) | ('+', Some(_)) => evaluate(word, depth + 1),
        ('+', None) => Some(Vec::new()),
        _ => None,
    }
}
