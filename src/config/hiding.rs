//! What of a file no excerpt shows: environment values, which may be secrets even where they are written down here. It follows from
//! the words of the text and not from the tree, which leaves out what is set twice and what could not be understood.
//!
//! A value is shown where its key is one that there is, or clearly meant to be one, and not of an environment. Where a word comes that
//! TOML does not have there, nobody knows what belongs to what any more: nothing is shown from the value on up to the next header.

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use super::builder::MAX_DEPTH;
use super::keys::{self, Id};
use super::source::{FileId, Sources};
use crate::gather::{alike, holds, parted, parted_at_last};
use crate::units::Signal;

/// For so many unknown keys it is looked for what they were meant to be: a hostile file has millions.
const MAX_GUESSES: usize = 100;

/// Of what may come next, the columns.
const COLUMNS: &[u8] = b"a\".=,[]{}#\n";
/// What is done with it after each of these. A blank: it has no place there, `-`: nothing, else see [`Reader::take`].
const ROWS: [&[u8; 11]; 11] = [
    //a".=,[]{}#\n
    b"k    H   #n", // nothing of a line
    b"k       }#-", // nothing of an entry of an inline table
    b"k          ", // a key and a dot
    b"  d=       ", // a key
    b"h -  -c    ", // a part of a header
    b"      -  #n", // a header
    b"vv   [ {   ", // what makes a value follow
    b"vv   []{ #-", // nothing of an element of an array
    b"  e      #n", // a value
    b"  e , ] }#-", // a value in brackets
    b"----------n", // what has no place there, in a line that has no secret
];
const QUOTES: [char; 2] = ['"', '\''];
const NOTHING: usize = 0;
const ENTRY: usize = 1;
const DOT: usize = 2;
const KEY: usize = 3;
const HEADER: usize = 4;
const CLOSED: usize = 5;
const EQUALS: usize = 6;
const ELEMENT: usize = 7;
const VALUE: usize = 8;
const INNER: usize = 9;
const ODD: usize = 10;
/// All is hidden.
const NONSENSE: usize = 11;

/// How far keys have led.
#[derive(Clone, Copy)]
struct Place {
    /// Whether all of them are known, and none is an environment.
    known: bool,
    /// How many there were.
    depth: u8,
    /// How many stand before a setting; 0: all are known. What stands alone has no keys of its own.
    settings: u8,
    /// Whether what is below is of an environment, wherever that may belong.
    of_environment: bool,
}

const TOP: Place = Place { known: true, depth: 0, settings: 0, of_environment: false };
const ALONE: u8 = u8::MAX;

struct Reader<'a> {
    text: &'a str,
    /// What was read last: a row.
    after: usize,
    place: Place,
    /// Where the last header has led.
    section: Place,
    /// The open brackets, whether of a table, and where they are.
    open: Vec<(bool, Place)>,
    /// Where begins what is doubtful if nonsense follows: the line so far, or its value if the key says that it is no secret.
    doubtful: usize,
    by_key: bool,
    hidden: Vec<(usize, usize)>,
    guesses: usize,
}

/// Hides what may be a secret. Returns where a text of several lines begins that has no end.
#[inline(never)]
pub fn hide(text: &str, file: FileId, sources: &mut Sources) -> Option<usize> {
    let mut reader = Reader {
        text,
        after: NOTHING,
        place: TOP,
        section: TOP,
        open: Vec::new(),
        doubtful: 0,
        by_key: false,
        hidden: Vec::new(),
        guesses: 0,
    };
    let mut first = true;
    for token in Source::new(text).lex() {
        let (start, end) = (token.span().start(), token.span().end());
        let word = text.get(start..end).unwrap_or("");
        let (column, quotes) = match token.kind() {
            TokenKind::Whitespace if reader.after != NONSENSE => continue,
            TokenKind::BasicString | TokenKind::LiteralString => (b'a', 1),
            TokenKind::MlBasicString | TokenKind::MlLiteralString => (b'"', 3),
            TokenKind::Atom => (b'a', 0),
            // The end of the file ends its last line, too.
            TokenKind::Newline | TokenKind::Eof => (b'\n', 0),
            _ => (word.as_bytes().first().copied().unwrap_or(b' '), 0),
        };
        let ends = word.len() >= 2 * quotes && word.ends_with(word.get(..quotes).unwrap_or(""));
        if quotes == 3 && !ends {
            // It has taken the quotes of others, so none of the words before it are sure. But one key that there is, and nothing else
            // in the line, is no secret wherever it stands.
            let key = reader.after == EQUALS
                && reader.open.is_empty()
                && reader.place.depth == reader.section.depth.saturating_add(1)
                && reader.place.is_shown();
            let line = text.get(..start).and_then(|before| parted_at_last(before, b'\n'));
            let from = if key { line.map_or(0, |(before, _)| before.len()) } else { start };
            sources.hide_all_but(file, from..start + quotes);
            return Some(start);
        }
        reader.take(if ends { column } else { b' ' }, word, start, first);
        first = column == b'\n' || first && matches!(column, b' ' | b'\t');
    }
    sources.hide(file, reader.hidden);
    None
}

impl Reader<'_> {
    /// Takes a word that begins at `start`, and is the `first` of its line or not.
    #[inline(never)]
    fn take(&mut self, column: u8, word: &str, start: usize, first: bool) {
        let end = start + word.len();
        let number = COLUMNS.iter().position(|known| *known == column);
        let step = match ROWS.get(self.after) {
            None if column == b'[' && first => b'H',
            None => return self.hide(start, end),
            Some(row) => number.and_then(|number| row.get(number)).copied().unwrap_or(b' '),
        };
        let table = self.open.last().map(|(table, _)| *table);
        self.after = match step {
            b'-' => return,
            b'#' => {
                // A setting that is commented out is one all the same.
                if !self.place.known || holds(word, "=") {
                    self.hide(start, end);
                }
                return;
            }
            b'n' => {
                self.place = self.section;
                self.begin(end, false);
                NOTHING
            }
            b'H' => {
                self.place = TOP;
                self.begin(start, false);
                HEADER
            }
            // A quote within a word is the end of a text that has begun somewhere else.
            b'h' | b'k' if !holds(word, "=") && (word.starts_with(QUOTES) || !word.contains(QUOTES)) => {
                self.enter(word);
                if step == b'h' { HEADER } else { KEY }
            }
            b'c' => {
                self.section = self.place;
                CLOSED
            }
            b'd' => DOT,
            // Of a number.
            b'e' => EQUALS,
            b'=' => {
                if table.is_none() && self.place.is_shown() {
                    self.begin(end, true);
                }
                EQUALS
            }
            b'v' => {
                // A text of several lines may have begun with a quote too many, and then has others in it.
                if column == b'"' || !self.place.is_shown() && !is_reference(word) {
                    self.hide(start, end);
                }
                if table.is_some() { INNER } else { VALUE }
            }
            b'[' | b'{' if self.open.len() < MAX_DEPTH => {
                self.open.push((step == b'{', self.place));
                if step == b'{' { ENTRY } else { ELEMENT }
            }
            b',' => {
                self.place = self.open.last().map_or(TOP, |(_, place)| *place);
                if table == Some(true) { ENTRY } else { ELEMENT }
            }
            b']' | b'}' if table == Some(step == b'}') => {
                self.place = self.open.pop().map_or(TOP, |(_, place)| place);
                if self.open.is_empty() { VALUE } else { INNER }
            }
            _ => {
                let newline = column == b'\n';
                if self.after == KEY && table.is_none() && self.place.settings != 0 && self.place.is_shown() {
                    // As in `user: "app"`: the key is one of those that there are.
                    self.begin(start, true);
                }
                self.open.clear();
                if self.after == HEADER && newline && self.place.known {
                    // One that there is, without its last bracket. What follows may be anybody's.
                    self.after = NONSENSE;
                } else {
                    self.doubt(if newline { start } else { end });
                }
                if newline {
                    self.take(column, word, start, first);
                }
                return;
            }
        };
    }

    fn begin(&mut self, at: usize, by_key: bool) {
        (self.doubtful, self.by_key) = (at, by_key);
    }

    /// Hides what is doubtful up to there. Behind a key that says so there are only secrets in lines with another key: with a `=` that is
    /// not within an option of a command, or a `:` as others write it.
    fn doubt(&mut self, end: usize) {
        let mut start = self.doubtful;
        if self.by_key {
            let (mut option, mut before) = (false, b' ');
            let bytes = self.text.as_bytes().get(start..).unwrap_or(&[]);
            let mut line = bytes.iter().zip(start..).take_while(|(byte, at)| **byte != b'\n' || *at < end);
            let line_or_key = |(byte, at): (&u8, usize)| {
                let apart = |byte: u8| {
                    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'\'' | b',' | b'[' | b'{')
                };
                let key = *byte == b'=' && !option || before == b':' && apart(*byte);
                if *byte == b'\n' {
                    start = at;
                }
                if apart(before) {
                    option = *byte == b'-';
                }
                before = *byte;
                key
            };
            if !line.any(line_or_key) {
                self.after = ODD;
                return;
            }
        }
        self.after = NONSENSE;
        self.hide(start, end);
    }

    #[inline(never)]
    fn hide(&mut self, start: usize, end: usize) {
        while self.hidden.pop_if(|(hidden, _)| *hidden >= start).is_some() {}
        self.hidden.push((start, end));
    }

    fn enter(&mut self, word: &str) {
        let key = bare(word);
        let Place { depth, settings, of_environment, .. } = self.place;
        let known = if of_environment {
            false
        } else if depth == 0 {
            self.place.settings = match key {
                "services" => 2,
                "defaults" => 1,
                "signals" | "memory" | "log" => 0,
                _ => ALONE,
            };
            self.place.settings != ALONE || self.is_known(key)
        } else if depth == settings {
            let id = keys::service(key).map(|key| key.id);
            self.place.of_environment = matches!(id, Some(Id::EnvFile | Id::EnvFromFile | Id::InheritEnv));
            self.is_known(key)
        } else {
            settings != ALONE && (depth < settings || !is_variable(key))
        };
        self.place.known &= known;
        self.place.depth = depth.saturating_add(1);
    }

    /// Whether there is a key of this name, or was meant to be.
    fn is_known(&mut self, key: &str) -> bool {
        if let Some(key) = keys::service(key).or_else(|| keys::top(key)) {
            return key.id != Id::Env;
        }
        self.guesses += 1;
        let meant = if is_variable(key) || self.guesses > MAX_GUESSES {
            None
        } else {
            keys::suggestion(key).or_else(|| keys::top_suggestion(key))
        };
        meant.is_some_and(|meant| !holds(&meant, "\"env\""))
    }
}

impl Place {
    fn is_shown(self) -> bool {
        self.known && (self.settings == ALONE || self.depth > self.settings)
    }
}

/// A word without its quotes.
#[inline(never)]
fn bare(word: &str) -> &str {
    word.trim_matches(QUOTES)
}

/// Whether this is probably the name of a variable, or of a table of them, where no setting is called so.
#[inline(never)]
fn is_variable(key: &str) -> bool {
    let capitals = !key.bytes().any(|byte| byte.is_ascii_lowercase());
    alike(key.get(..3).unwrap_or(""), "env") || capitals && Signal::parse(key).is_err()
}

/// Whether a value is `${NAME}` or `${NAME:?message}` and nothing else: what is wrong with it could not be understood otherwise. A
/// default may be a secret.
fn is_reference(word: &str) -> bool {
    let text = bare(word);
    let Some(inner) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else { return false };
    let name = parted(inner, ":?").or_else(|| inner.split_once('?')).map_or(inner, |(name, _)| name);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
