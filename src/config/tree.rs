//! A file as a tree in which every key and value knows its place and its order.

use super::builder::{self, Built};
use super::hiding;
use super::likeness::likeness;
use super::problems::Problems;
use super::source::{FileId, Sources, Span};
use super::syntax;

/// A value and its place.
#[derive(Debug)]
pub struct Node {
    /// Where it is written.
    pub span: Span,
    /// What.
    pub value: Value,
    /// How it came about, and for tables a number: for the one who builds the tree.
    pub(super) made: Made,
    pub(super) number: u32,
}

/// How a value came about. What may be added to it follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Made {
    /// It is written as one, and complete.
    Value,
    /// By a header, `[a]`.
    Header,
    /// By headers, `[[a]]`: a list of tables.
    Tables,
    /// By a header that leads through it, as through `a` in `[a.b]`.
    Implied,
    /// By a dotted key that leads through it, as through `a` in `a.b = 1`.
    Dotted,
}

/// A value as written.
#[derive(Debug)]
#[repr(u8)]
pub enum Value {
    /// A string.
    Text(Text),
    /// An integer.
    Integer {
        /// Its value.
        value: i64,
        /// Whether it is written without `0x`, `0o` or `0b`.
        decimal: bool,
    },
    /// A number with a point or an exponent; perhaps infinite or not a number.
    Float {
        /// Its digits.
        written: String,
    },
    /// `true` or `false`.
    Boolean(bool),
    /// An array.
    List(Vec<Node>),
    /// A table, in the order in which it is written.
    Table(Vec<Entry>),
    /// Something that has no use here and has been reported.
    Unusable,
}

/// A string, and where its characters are.
#[derive(Debug)]
pub struct Text {
    /// The characters.
    pub text: String,
    /// How far from the start of its place they begin, if they stand there as they are.
    offset: Option<usize>,
}

impl Text {
    /// A string, and how it is written: after one quote, after three, or after three and a line end.
    pub(super) fn new(written: &str, text: String) -> Self {
        let begins = |skip: &usize| written.get(*skip..).is_some_and(|rest| rest.starts_with(&*text));
        Self { offset: [1, 3, 4, 5].into_iter().find(begins), text }
    }
}

/// A key of a table with its value.
#[derive(Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where it is written.
    pub span: Span,
    /// The value.
    pub node: Node,
}

impl Node {
    /// What it is, for "expected …, not …".
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a string",
            Value::Integer { .. } => "a number",
            Value::Float { .. } => "a number with a point",
            Value::Boolean(true) => "true",
            Value::Boolean(false) => "false",
            Value::List(_) => "an array",
            Value::Table(_) => "a table",
            Value::Unusable => "this",
        }
    }

    /// The place of some bytes of its text; all of it where they cannot be told apart, because of escapes.
    pub fn place_in_text(&self, range: std::ops::Range<usize>) -> Span {
        match &self.value {
            Value::Text(Text { offset: Some(offset), .. }) => {
                self.span.part(range.start + offset..range.end + offset)
            }
            _ => self.span,
        }
    }
}

/// Takes a file apart. Syntax errors are reported; what could be understood comes back all the same, but for lines with a syntax
/// error, whose other problems would only distract. The second value says whether the file has none.
pub fn parse(file: FileId, problems: &mut Problems) -> (Vec<Entry>, bool) {
    // The text is moved out and back so that problems can be added while it is borrowed.
    let text = problems.sources.take_text(file);
    let endless = hiding::hide(&text, file, &mut problems.sources);
    let Built { mut root, mut unusable, errors } = builder::build(&text, file);
    if let Some((what, service)) = likeness(&text).filter(|_| !errors.is_empty()) {
        let first = text.find(|c: char| !c.is_whitespace()).unwrap_or(0);
        let end =
            text.get(first..).and_then(|rest| rest.find('\n')).map_or(text.len(), |length| first + length);
        let name = text.bytes().take_while(|byte| !matches!(byte, b':' | b'=' | b'{')).count();
        problems.sources.hide(file, vec![(name + 1, text.len())]);
        problems.sources.put_text(file, text);
        let message = format_args!("this looks like {what}; a configuration of tinysup is TOML");
        problems.advise(Span::new(file, first..end), message, format_args!("{service}"));
        return (Vec::new(), false);
    }
    let (syntax, broken) = syntax::problems(&text, file, &errors, endless, &problems.sources);
    problems.sources.put_text(file, text);
    if !errors.is_empty() {
        // Nor is anything told of what may be a secret: it may stand anywhere once a bracket or a quote is missing.
        let sources = &problems.sources;
        let is_broken = |span: Span| {
            sources.is_hidden(span) || sources.line(span).is_some_and(|line| broken.contains(&line))
        };
        for entry in &mut root {
            drop_hidden(&mut entry.node, sources);
        }
        drop_broken(&mut root, &is_broken);
        unusable.retain(|problem| !problem.span.is_some_and(is_broken));
    }
    for problem in syntax.into_iter().chain(unusable) {
        problems.push(problem);
    }
    (root, errors.is_empty())
}

fn drop_broken(entries: &mut Vec<Entry>, is_broken: &dyn Fn(Span) -> bool) {
    entries.retain_mut(|entry| match &mut entry.node.value {
        Value::Table(inner) if !inner.is_empty() => {
            drop_broken(inner, is_broken);
            true
        }
        _ => !is_broken(entry.span),
    });
}

/// Takes out what is hidden: in a file with errors nothing of it has a use.
fn drop_hidden(node: &mut Node, sources: &Sources) {
    if sources.is_hidden(node.span) {
        node.value = Value::Unusable;
    }
    match &mut node.value {
        Value::List(list) => list.iter_mut().for_each(|node| drop_hidden(node, sources)),
        Value::Table(entries) => entries.iter_mut().for_each(|entry| drop_hidden(&mut entry.node, sources)),
        _ => {}
    }
}
