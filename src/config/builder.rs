//! Builds the tree of a file while the parser of the toml crate goes through it. The parser says which words come and which of them have no
//! place there; what is set twice is found here. The rules are those of TOML 1.1, <https://toml.io/en/v1.1.0>.

use std::mem::take;

use toml_parser::decoder::{Encoding, ScalarKind};
use toml_parser::parser::{self, EventReceiver};
use toml_parser::{ErrorSink, ParseError, Raw, Source, Span as Place};

use super::problems::Problem;
use super::source::{FileId, Span};
use super::tree::{Entry, Made, Node, Text, Value};
use crate::sorted::sort;

/// How deep brackets may nest, and how many keys a header or a dotted key may have: what works on the tree calls itself for each.
pub const MAX_DEPTH: usize = 80;
/// The error for what is set twice. Its context is where it was set first.
pub const TWICE: &str = "set twice";
const TOO_DEEP: &str = "nested more than 80 deep";
/// So many errors are kept: each is told, and of its line nothing else.
const MAX_ERRORS: usize = 200;
/// The number of the table that has no header.
const ROOT: u32 = 0;

/// What a text says.
pub struct Built {
    /// What could be understood.
    pub root: Vec<Entry>,
    /// Values that have no use here.
    pub unusable: Vec<Box<Problem>>,
    /// What is not TOML.
    pub errors: Vec<ParseError>,
}

/// Builds the tree of a text.
#[inline(never)]
pub fn build(text: &str, file: FileId) -> Built {
    let tokens = Source::new(text).lex().into_vec();
    let mut errors = Vec::new();
    let mut builder = Builder {
        text,
        root: Vec::new(),
        way: Some(Vec::new()),
        header: 0,
        keys: Vec::new(),
        after_dot: false,
        open: Vec::new(),
        index: Index::new(file, tokens.len()),
        unusable: Vec::new(),
    };
    parser::parse_document(&tokens, &mut builder, &mut |error| {
        if errors.len() < MAX_ERRORS {
            errors.push(error);
        }
    });
    let Builder { mut root, unusable, .. } = builder;
    settle(&mut root);
    Built { root, unusable, errors }
}

/// Puts entries into the order in which they are written: a table may have got its header after others had led into it.
fn settle(entries: &mut Vec<Entry>) {
    sort(entries, |one, other| one.span > other.span);
    for entry in entries {
        let tables = match &mut entry.node.value {
            Value::List(tables) => tables.as_mut_slice(),
            _ => std::slice::from_mut(&mut entry.node),
        };
        for table in tables {
            if let Value::Table(inner) = &mut table.value {
                settle(inner);
            }
        }
    }
}

/// One of the keys of a header or before an equals sign.
struct Key {
    text: String,
    place: Place,
}

/// A table, and its number, by which the index has its keys.
struct Table<'t> {
    entries: &'t mut Vec<Entry>,
    number: u32,
}

/// A bracket that is not closed yet.
struct Open {
    start: usize,
    /// What it holds so far: a list or a table.
    value: Value,
    number: u32,
    /// Whose value it will be.
    keys: Vec<Key>,
}

struct Builder<'t> {
    text: &'t str,
    root: Vec<Entry>,
    /// The way from the root to the table of the last header, unless that leads nowhere: what stands under it then is left out.
    way: Option<Vec<usize>>,
    /// Where that header begins.
    header: usize,
    /// The keys read last.
    keys: Vec<Key>,
    after_dot: bool,
    open: Vec<Open>,
    index: Index,
    unusable: Vec<Box<Problem>>,
}

impl<'t> Builder<'t> {
    fn raw(&self, place: Place, encoding: Option<Encoding>) -> Raw<'t> {
        let text: &'t str = self.text;
        Raw::new_unchecked(text.get(place.start()..place.end()).unwrap_or(""), encoding, place)
    }

    fn unusable(&mut self, place: Place, message: &str) -> Value {
        self.unusable.push(Problem::at(self.index.span(place), message));
        Value::Unusable
    }

    fn open(&mut self, place: Place, value: Value, error: &mut dyn ErrorSink) -> bool {
        let number = self.index.number();
        self.open.push(Open { start: place.start(), value, number, keys: take(&mut self.keys) });
        let fits = self.open.len() <= MAX_DEPTH;
        if !fits {
            error.report_error(ParseError::new(TOO_DEEP).with_unexpected(place));
        }
        fits
    }

    fn close(&mut self, place: Place, error: &mut dyn ErrorSink) {
        if let Some(Open { start, value, number, keys }) = self.open.pop() {
            self.keys = keys;
            self.take(Place::new_unchecked(start, place.end()), value, number, error);
        }
    }

    /// Takes a value, into the bracket that it stands in or the table of the last header.
    #[inline(never)]
    fn take(&mut self, place: Place, value: Value, number: u32, error: &mut dyn ErrorSink) {
        let node = Node { span: self.index.span(place), value, made: Made::Value, number };
        let mut path = take(&mut self.keys);
        let table = match self.open.last_mut() {
            Some(Open { value: Value::List(list), .. }) => return list.push(node),
            Some(Open { value: Value::Table(entries), number, .. }) => {
                Some(Table { entries, number: *number })
            }
            _ => self.way.as_ref().and_then(|way| {
                let root = Table { entries: &mut self.root, number: ROOT };
                way.iter().try_fold(root, |table, at| as_table(innermost(table.entries.get_mut(*at)?)?))
            }),
        };
        let (Some(table), Some(key)) = (table, path.pop()) else { return };
        let again = key.place;
        if let Some(mut table) = self.index.descend(table, path, Made::Dotted, &mut Vec::new(), error)
            && let (at, false) = self.index.put(&mut table, key, node)
            && let Some(first) = table.entries.get(at)
        {
            twice(again, first.span, error);
        }
    }

    /// Follows a header, which may be the first to name its table.
    #[inline(never)]
    fn enter(&mut self, end: usize, tables: bool, error: &mut dyn ErrorSink) -> Option<Vec<usize>> {
        let mut path = take(&mut self.keys);
        let key = path.pop()?;
        let again = key.place;
        let named = self.index.span(again);
        let mut way = Vec::new();
        let root = Table { entries: &mut self.root, number: ROOT };
        let mut parent = self.index.descend(root, path, Made::Implied, &mut way, error)?;
        let span = self.index.span(Place::new_unchecked(self.header, end));
        let number = self.index.number();
        let table = || Node { span, value: Value::Table(Vec::new()), made: Made::Header, number };
        let node = if tables {
            Node { span, value: Value::List(Vec::new()), made: Made::Tables, number }
        } else {
            table()
        };
        let (at, is_new) = self.index.put(&mut parent, key, node);
        way.push(at);
        let entry = parent.entries.get_mut(at)?;
        match (&mut entry.node, tables) {
            (Node { value: Value::List(list), made: Made::Tables, .. }, true) => list.push(table()),
            (node @ Node { made: Made::Implied, .. }, false) => {
                (node.span, node.made, entry.span) = (span, Made::Header, named);
            }
            _ if is_new => {}
            _ => {
                twice(again, entry.span, error);
                // What stands under a header that is repeated repeats the keys, or is told with them.
                return (!tables && matches!(entry.node.value, Value::Table(_))).then_some(way);
            }
        }
        Some(way)
    }
}

/// What a key leads to: its value, or the last of the tables that headers have begun for it.
fn innermost(entry: &mut Entry) -> Option<&mut Node> {
    match &mut entry.node {
        Node { value: Value::List(list), made: Made::Tables, .. } => list.last_mut(),
        node => Some(node),
    }
}

/// A value as a table, if it is one.
fn as_table(node: &mut Node) -> Option<Table<'_>> {
    match &mut node.value {
        Value::Table(entries) => Some(Table { entries, number: node.number }),
        _ => None,
    }
}

fn twice(again: Place, first: Span, error: &mut dyn ErrorSink) {
    let first = Place::new_unchecked(first.start as usize, first.end as usize);
    error.report_error(ParseError::new(TWICE).with_unexpected(again).with_context(first));
}

/// Finds the keys of all tables. Looking through the table would take too long: a file may have a hundred thousand.
struct Index {
    file: FileId,
    /// How many tables there are besides the root.
    tables: u32,
    /// By the hashes of the keys, or in the next one that is free: the place that a key has in its table, from 1.
    slots: Vec<u32>,
}

impl Index {
    /// For what has so many words. For each there are two keys at most: one that is missing before it, and itself.
    fn new(file: FileId, words: usize) -> Self {
        Self { file, tables: ROOT, slots: vec![0; (4 * words).next_power_of_two()] }
    }

    fn span(&self, place: Place) -> Span {
        span(self.file, place)
    }

    /// A number for a new table.
    fn number(&mut self) -> u32 {
        self.tables += 1;
        self.tables
    }

    /// Puts a value into a table, unless its key has one. Returns where the key is there, and whether it is new.
    #[inline(never)]
    fn put(&mut self, table: &mut Table<'_>, key: Key, node: Node) -> (usize, bool) {
        let last = self.slots.len() - 1;
        let mut slot = hash(table.number, &key.text) as usize;
        while let Some(found) = self.slots.get_mut(slot & last) {
            let Some(at) = (*found as usize).checked_sub(1) else {
                table.entries.push(Entry { key: key.text, span: span(self.file, key.place), node });
                let count = table.entries.len();
                *found = u32::try_from(count).unwrap_or(0);
                return (count - 1, true);
            };
            // Of another table it may be, but if the key is in this place here, it is found all the same.
            if table.entries.get(at).is_some_and(|there| there.key == key.text) {
                return (at, false);
            }
            slot += 1;
        }
        (0, false)
    }

    /// The table that keys lead to from another, with those that are missing on the way made so.
    #[inline(never)]
    fn descend<'t>(
        &mut self,
        mut table: Table<'t>,
        path: Vec<Key>,
        made: Made,
        way: &mut Vec<usize>,
        error: &mut dyn ErrorSink,
    ) -> Option<Table<'t>> {
        if let Some(key) = path.get(MAX_DEPTH) {
            error.report_error(ParseError::new(TOO_DEEP).with_unexpected(key.place));
            return None;
        }
        for key in path {
            let again = key.place;
            let node =
                Node { span: self.span(again), value: Value::Table(Vec::new()), made, number: self.number() };
            let (at, _) = self.put(&mut table, key, node);
            way.push(at);
            let entry = table.entries.get_mut(at)?;
            let first = entry.span;
            let node = innermost(entry)?;
            match (node.made, made) {
                (Made::Implied, _) => node.made = made,
                (Made::Dotted, _) | (Made::Header, Made::Implied) => {}
                _ => {
                    twice(again, first, error);
                    return None;
                }
            }
            table = as_table(node)?;
        }
        Some(table)
    }
}

impl EventReceiver for Builder<'_> {
    fn std_table_open(&mut self, place: Place, _: &mut dyn ErrorSink) {
        (self.header, self.way) = (place.start(), None);
    }

    fn array_table_open(&mut self, place: Place, error: &mut dyn ErrorSink) {
        self.std_table_open(place, error);
    }

    fn std_table_close(&mut self, place: Place, error: &mut dyn ErrorSink) {
        self.way = self.enter(place.end(), false, error);
    }

    fn array_table_close(&mut self, place: Place, error: &mut dyn ErrorSink) {
        self.way = self.enter(place.end(), true, error);
    }

    fn inline_table_open(&mut self, place: Place, error: &mut dyn ErrorSink) -> bool {
        self.open(place, Value::Table(Vec::new()), error)
    }

    fn inline_table_close(&mut self, place: Place, error: &mut dyn ErrorSink) {
        self.close(place, error);
    }

    fn array_open(&mut self, place: Place, error: &mut dyn ErrorSink) -> bool {
        self.open(place, Value::List(Vec::new()), error)
    }

    fn array_close(&mut self, place: Place, error: &mut dyn ErrorSink) {
        self.close(place, error);
    }

    fn simple_key(&mut self, place: Place, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        if !take(&mut self.after_dot) {
            self.keys.clear();
        }
        let mut text = String::new();
        self.raw(place, encoding).decode_key(&mut text, error);
        self.keys.push(Key { text, place });
    }

    fn key_sep(&mut self, _: Place, _: &mut dyn ErrorSink) {
        self.after_dot = true;
    }

    fn scalar(&mut self, place: Place, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        let raw = self.raw(place, encoding);
        let mut text = String::new();
        let value = match raw.decode_scalar(&mut text, error) {
            ScalarKind::String => Value::Text(Text::new(raw.as_str(), text)),
            ScalarKind::Boolean(value) => Value::Boolean(value),
            ScalarKind::Float => Value::Float { written: text },
            ScalarKind::Integer(radix) => match i64::from_str_radix(&text, radix.value()) {
                Ok(value) => Value::Integer { value, decimal: radix.value() == 10 },
                Err(_) => self.unusable(place, "this number is too large"),
            },
            ScalarKind::DateTime => {
                self.unusable(place, "a date or time has no use here; a text needs quotes")
            }
        };
        self.take(place, value, ROOT, error);
    }

    fn comment(&mut self, place: Place, error: &mut dyn ErrorSink) {
        self.raw(place, None).decode_comment(error);
    }

    fn newline(&mut self, place: Place, error: &mut dyn ErrorSink) {
        self.raw(place, None).decode_newline(error);
    }
}

fn span(file: FileId, place: Place) -> Span {
    Span::new(file, place.start()..place.end())
}

/// FNV-1a of a table's number and a key.
fn hash(table: u32, key: &str) -> u32 {
    key.bytes().fold(0x811c_9dc5 ^ table, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619))
}

#[cfg(test)]
mod tests {
    use toml::Spanned;
    use toml::de::{DeTable, DeValue};

    use super::super::source::Sources;
    use super::*;
    use crate::numbers::Numbers;

    /// Where and what is wrong, in order; what is set twice as "twice", and as "through tables" where a dotted key adds to one of `[[several]]`.
    type Errors = Vec<(usize, String)>;

    fn ours(text: &str) -> (String, Errors) {
        let file = Sources::default().add(String::new(), "".into(), text.to_owned(), false);
        let built = build(text, file);
        let error = |error: &ParseError| {
            let line = |place: Place| text[..place.start()].rfind('\n').map_or(text, |end| &text[end + 1..]);
            let tables = error.context().is_some_and(|first| line(first).starts_with("[["));
            let header = error.unexpected().is_some_and(|again| line(again).starts_with('['));
            let what = match error.description() {
                TWICE if tables && !header => "through tables",
                TWICE => "twice",
                other => other,
            };
            (error.unexpected().map_or(0, |place| place.start()), what.to_owned())
        };
        let mut errors: Errors = built.errors.iter().map(error).collect();
        errors.sort();
        let mut tree = String::new();
        our_table(&built.root, &mut tree);
        (tree, errors)
    }

    fn our_table(entries: &[Entry], out: &mut String) {
        for Entry { key, span, node } in entries {
            out.extend([format!("{key:?}@{} = ", span.start)]);
            our_value(node, out);
        }
    }

    fn our_value(node: &Node, out: &mut String) {
        out.extend([format!("{}..{} ", node.span.start, node.span.end)]);
        match &node.value {
            Value::Text(text) => out.extend([format!("{:?}\n", text.text)]),
            Value::Integer { value, .. } => out.extend([format!("{value}\n")]),
            Value::Float { written } => out.extend([format!("{written}\n")]),
            Value::Boolean(value) => out.extend([format!("{value}\n")]),
            Value::List(list) => {
                out.push_str("[\n");
                for node in list {
                    our_value(node, out);
                }
                out.push_str("]\n");
            }
            Value::Table(entries) => {
                out.push_str("{\n");
                our_table(entries, out);
                out.push_str("}\n");
            }
            Value::Unusable => out.push_str("unusable\n"),
        }
    }

    fn theirs(text: &str) -> (String, Errors) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let error = |error: &toml::de::Error| {
            let message = error.message();
            let twice = message == "duplicate key" || message.starts_with("cannot extend value");
            let what = if twice { "twice" } else { message.split(", expected").next().unwrap() };
            (error.span().map_or(0, |range| range.start), what.to_owned())
        };
        let mut errors: Errors = errors.iter().map(error).collect();
        // No date has a use here, so nobody asks whether it is one.
        errors.retain(|(_, what)| !what.starts_with("invalid date") && !what.starts_with("invalid time"));
        errors.sort();
        let mut tree = String::new();
        their_table(table.get_ref(), &mut tree);
        (tree, errors)
    }

    fn their_table(table: &DeTable<'_>, out: &mut String) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            out.extend([format!("{:?}@{} = ", key.get_ref(), key.span().start)]);
            their_value(value, out);
        }
    }

    fn their_value(value: &Spanned<DeValue<'_>>, out: &mut String) {
        out.extend([format!("{}..{} ", value.span().start, value.span().end)]);
        match value.get_ref() {
            DeValue::String(text) => out.extend([format!("{text:?}\n")]),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(value) => out.extend([format!("{value}\n")]),
                Err(_) => out.push_str("unusable\n"),
            },
            DeValue::Float(float) => out.extend([format!("{}\n", float.as_str())]),
            DeValue::Boolean(value) => out.extend([format!("{value}\n")]),
            DeValue::Datetime(_) => out.push_str("unusable\n"),
            DeValue::Array(array) => {
                out.push_str("[\n");
                for value in array {
                    their_value(value, out);
                }
                out.push_str("]\n");
            }
            DeValue::Table(table) => {
                out.push_str("{\n");
                their_table(table, out);
                out.push_str("}\n");
            }
        }
    }

    /// A valid text has the same tree, and any other the same first error. Of what follows from that one each says something else: the toml
    /// crate goes on in another table after a header that leads nowhere, follows one that has no end, and stops where a key has no value. And
    /// it lets a dotted key add to the last of several tables, which TOML forbids.
    #[test]
    fn trees_are_those_of_the_toml_crate() {
        const WORDS: [&str; 37] = [
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "a",
            "b",
            "\"c\"",
            "'d e'",
            ".",
            "= ",
            ",",
            "\n",
            "\n[",
            "]\n",
            " ",
            "1",
            "-7",
            "0x1F",
            "1_000",
            "1.5",
            "inf",
            "true",
            "\"text\"",
            "'raw'",
            "\"\\u0041\\n\"",
            "\"\"\"\nlong\n\"\"\"",
            "'''\nx'''",
            "1979-05-27",
            "# note",
            "\r\n",
            "\\",
            "\u{1}",
            "99999999999999999999",
            "a = ",
            "a.b",
        ];
        const LINES: [&str; 16] = [
            "a = 1\n",
            "b = {a = 1}\n",
            "b = {a.b = 1, a.c = 2}\n",
            "c = [1, {b = 2}, []]\n",
            "[a]\n",
            "[a.b]\n",
            "[a.b.c]\n",
            "[b]\n",
            "[[a]]\n",
            "[[a.b]]\n",
            "[[c]]\n",
            "a.b = 2\n",
            "a.b.c = 3\n",
            "a.c = 4\n",
            "b = []\n",
            "b.a = 'x'\n",
        ];
        let seed = std::env::var("TINYSUP_FUZZ_SEED").map_or(1, |seed| seed.parse::<u64>().unwrap());
        let rounds = std::env::var("TINYSUP_FUZZ_ROUNDS").map_or(20_000, |rounds| rounds.parse().unwrap());
        let mut numbers = Numbers::new(seed);
        let mut valid = 0;
        for round in 0..rounds {
            let few = numbers.index(4);
            let text: String = (0..=numbers.index(10))
                .map(|_| if numbers.index(4) < few { numbers.one(&LINES) } else { numbers.one(&WORDS) })
                .collect();
            let (our_tree, our_errors) = ours(&text);
            let (their_tree, their_errors) = theirs(&text);
            // Of a dotted key each blames another part.
            let first = |errors: &Errors| {
                errors.first().map(|(at, what)| (text[..*at].matches('\n').count(), what.clone()))
            };
            let told = || format!("seed {seed}, round {round}:\n{text}\n");
            if !our_errors.iter().any(|(_, what)| what.starts_with("unclosed") || what == "through tables") {
                assert_eq!(first(&our_errors), first(&their_errors), "{}", told());
            }
            for error in their_errors.iter().filter(|(_, what)| what != "twice") {
                assert!(our_errors.contains(error), "{error:?} of {}", told());
            }
            if our_errors.is_empty() {
                valid += 1;
                assert_eq!(our_tree, their_tree, "{}", told());
            }
        }
        assert!(valid * 20 > rounds, "{valid} of {rounds} are valid, so little is compared");
    }

    /// Where something is set twice the first place is known, whatever it is.
    #[test]
    fn who_was_first_is_known() {
        for (text, again, first) in [
            ("a = 1\na = 2\n", 6, 0),
            ("a = { b = 1, b = 2 }\n", 13, 6),
            ("[a]\n[b]\n[a]\n", 9, 1),
            ("[a.b]\n[a]\n[a]\n", 11, 7),
            ("[[a]]\n[a]\n", 7, 2),
            ("a = []\n[[a]]\n", 9, 0),
            ("a = 1\na.b = 2\n", 6, 0),
            ("a.b = 1\na = 2\n", 8, 0),
            ("a = {}\n[a.b]\n", 8, 0),
            ("[a.b]\n[a]\nb.c = 1\n", 10, 3),
            ("[a.b.c]\n[a]\nb.d = 1\n[a.b]\n", 23, 3),
        ] {
            let file = Sources::default().add(String::new(), "".into(), text.to_owned(), false);
            let errors = build(text, file).errors;
            let [error] = errors.as_slice() else { panic!("{text}: {errors:?}") };
            let place = |place: Option<Place>| place.map(|place| place.start());
            assert_eq!((error.description(), place(error.unexpected())), (TWICE, Some(again)), "{text}");
            assert_eq!(place(error.context()), Some(first), "{text}");
        }
    }

    /// What stands under it belongs to no table, so it repeats nothing.
    #[test]
    fn a_header_without_end_is_one_error() {
        for text in ["[a]\nx = 1\n[b\nx = 2\n", "x = 1\n[[b]\nx = 2\n", "[a]\nx = 1\n[]x\nx = 2\n"] {
            let errors = ours(text).1;
            assert!(errors.iter().all(|(_, what)| what != "twice"), "{text}: {errors:?}");
        }
    }

    #[test]
    fn nothing_nests_deeper_than_what_follows_can_bear() {
        let brackets = |depth: usize| format!("a = {}{}", "[".repeat(depth), "]".repeat(depth));
        let dotted = |depth: usize| format!("{}a = 1", "a.".repeat(depth));
        let header = |depth: usize| format!("[{}a]", "a.".repeat(depth));
        for text in [&brackets as &dyn Fn(usize) -> String, &dotted, &header] {
            assert_eq!(ours(&text(MAX_DEPTH)).1, []);
            let errors = ours(&text(MAX_DEPTH + 1)).1;
            assert_eq!(errors.iter().map(|(_, what)| what.as_str()).collect::<Vec<_>>(), [TOO_DEEP]);
        }
    }

    /// A hundred thousand keys, headers or errors in one file take no time that grows with their square.
    #[test]
    fn a_file_of_many_small_things_is_read_at_once() {
        for (one, entries, errors) in
            [("a# = 1\n", 100_000, 0), ("[a#]\n", 100_000, 0), ("a = #\n", 1, MAX_ERRORS)]
        {
            let text: String = (0..100_000).map(|number| one.replace('#', &number.to_string())).collect();
            let file = Sources::default().add(String::new(), "".into(), text.clone(), false);
            let started = std::time::Instant::now();
            let built = build(&text, file);
            assert_eq!((built.root.len(), built.errors.len()), (entries, errors));
            assert!(started.elapsed().as_secs() < 20, "{one}");
        }
    }
}
