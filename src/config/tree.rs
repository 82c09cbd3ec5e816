//! A file as a tree in which every key and value knows its place and its order. Takes the tree of the `toml` crate, which also
//! finds all syntax errors and limits how deep things nest.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::hiding;
use super::likeness::likeness;
use super::problems::{Problem, Problems};
use super::source::{FileId, Sources, Span};
use super::syntax;
use crate::gather::Gather;
use crate::sorted::sort;

/// Of larger files only the first syntax error is told, in bytes: half a million of them would take 300 MB.
const MAX_RECOVERED: usize = 128 << 10;

/// A value and its place.
#[derive(Debug)]
pub struct Node {
    /// Where it is written.
    pub span: Span,
    /// What.
    pub value: Value,
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
    let (table, errors) = if text.len() <= MAX_RECOVERED {
        DeTable::parse_recoverable(&text)
    } else {
        match DeTable::parse(&text) {
            Ok(table) => (table, Vec::new()),
            Err(error) => (Spanned::new(0..0, DeTable::new()), vec![error]),
        }
    };
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
    let mut unusable = Vec::new();
    let sources = (!errors.is_empty()).then_some(&problems.sources);
    let mut entries = convert_table(&text, file, table.into_inner(), sources, &mut unusable);
    problems.sources.put_text(file, text);
    if !errors.is_empty() {
        // Nor is anything told of what may be a secret: it may stand anywhere once a bracket or a quote is missing.
        let sources = &problems.sources;
        let is_broken = |span: Span| {
            sources.is_hidden(span) || sources.line(span).is_some_and(|line| broken.contains(&line))
        };
        drop_broken(&mut entries, &is_broken);
        unusable.retain(|problem| !problem.span.is_some_and(is_broken));
    }
    for problem in syntax.into_iter().chain(unusable) {
        problems.push(problem);
    }
    (entries, errors.is_empty())
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

fn convert_table(
    text: &str,
    file: FileId,
    table: DeTable<'_>,
    sources: Option<&Sources>,
    problems: &mut Vec<Box<Problem>>,
) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            span: Span::new(file, key.span()),
            key: key.into_inner().into_owned(),
            node: convert(text, file, value, sources, problems),
        })
        .gather();
    // The toml crate sorts by name; people think in the order in which they wrote.
    sort(&mut entries, |one, other| one.span > other.span);
    entries
}

/// `sources`: of a file with syntax errors, in which what is hidden has no use, either.
fn convert(
    text: &str,
    file: FileId,
    value: Spanned<DeValue<'_>>,
    sources: Option<&Sources>,
    problems: &mut Vec<Box<Problem>>,
) -> Node {
    let range = value.span();
    let span = Span::new(file, range.clone());
    if sources.is_some_and(|sources| sources.is_hidden(span)) {
        return Node { span, value: Value::Unusable };
    }
    let mut unusable = |message: &str| {
        problems.push(Problem::at(span, message));
        Value::Unusable
    };
    let value = match value.into_inner() {
        DeValue::String(string) => {
            Value::Text(Text { offset: offset(text, range, &string), text: string.into_owned() })
        }
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) => Value::Integer { value, decimal: integer.radix() == 10 },
            Err(_) => unusable("this number is too large"),
        },
        DeValue::Float(float) => Value::Float { written: float.as_str().to_owned() },
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(_) => unusable("a date or time has no use here; a text needs quotes"),
        DeValue::Array(array) => Value::List(
            array.into_iter().map(|element| convert(text, file, element, sources, problems)).gather(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(text, file, table, sources, problems)),
    };
    Node { span, value }
}

/// Where the characters of a string stand as they are: after one quote, after three, or after three and a line end.
fn offset(text: &str, range: std::ops::Range<usize>, string: &str) -> Option<usize> {
    let written = text.get(range)?;
    [1, 3, 4, 5].into_iter().find(|skip| written.get(*skip..).is_some_and(|rest| rest.starts_with(string)))
}
