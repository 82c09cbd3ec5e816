//! Values of the kinds that keys take: each either what it has to be, or a problem that says what was expected. A value into which a
//! variable was put is never shown.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::eval::{Evaluator, Read, Scalars, Scope, Text};
use crate::config::interpolate::Reported;
use crate::config::keys::Key;
use crate::config::tree::{Entry, Node, Value};
use crate::config::words::{self, Word};
use crate::config::{Problem, interpolate};
use crate::control::Place;
use crate::event::{Launch, Secret, Speaks, Stdin};
use crate::gather::{Gather, Joined, holds, replaced};
use crate::suggest::{answer, did_you_mean};
use crate::units::{self, Signal, parse_decimal};

/// What others call one of our words: the restart policies of Docker and supervisord, and systemd.
const WORDS: &str = "\
unless-stopped -> always
no -> never
unexpected on-abnormal on-abort -> on-failure
simple exec idle longrun -> daemon
control-group -> group";

impl Evaluator<'_> {
    /// Reports that a value is not what its key takes. `text`: the value, after replacing.
    pub fn mismatch(&mut self, key: &Key, node: &Node, text: Option<&Text>) -> Reported {
        self.mismatch_with(key, node, text, None)
    }

    /// [`Self::mismatch`], and what helps.
    #[inline(never)]
    pub fn mismatch_with(
        &mut self,
        key: &Key,
        node: &Node,
        text: Option<&Text>,
        help: Option<Box<str>>,
    ) -> Reported {
        self.fail(mismatched(key, node, text).maybe_help(help))
    }

    /// "Did you mean" for one of some names.
    #[inline(never)]
    pub fn similar(&mut self, written: &str, names: &[&str]) -> Option<Box<str>> {
        self.problems.suggest(|| did_you_mean(written, names))
    }

    /// "Did you mean" for signals.
    pub fn similar_signal(&mut self, written: &str) -> Option<Box<str>> {
        let names: Vec<String> = Signal::all().map(|signal| signal.to_string()).gather();
        let mut known: Vec<&str> = Vec::new();
        for name in &names {
            known.push(name);
        }
        for name in &names {
            known.push(name.strip_prefix("SIG").unwrap_or(name));
        }
        self.similar(written, &known)
    }

    /// Any string, in UTF-8.
    ///
    /// # Errors
    /// Reported.
    pub fn string(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Box<Text>> {
        self.in_utf8(scope, key, node, Scalars::None)
    }

    #[inline(never)]
    fn in_utf8(
        &mut self,
        scope: &mut Scope<'_>,
        key: &Key,
        node: &Node,
        scalars: Scalars,
    ) -> Read<Box<Text>> {
        let text = self.text(scope, key, node, scalars)?;
        if text.show().is_some() { Ok(text) } else { Err(self.mismatch(key, node, Some(&*text))) }
    }

    /// true or false.
    ///
    /// # Errors
    /// Reported.
    pub fn boolean(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<bool> {
        if let Value::Integer { .. } | Value::Float { .. } = node.value {
            return Err(self.mismatch(key, node, None));
        }
        let text = self.text(scope, key, node, Scalars::All)?;
        flag(&text).ok_or_else(|| self.mismatch(key, node, Some(&*text)))
    }

    /// A duration, or a number of seconds.
    ///
    /// # Errors
    /// Reported.
    pub fn duration(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Duration> {
        let text = self.text(scope, key, node, Scalars::Numbers)?;
        match text.show().map(units::parse_duration) {
            Some(Ok(duration)) => Ok(duration),
            Some(Err(why)) if holds(&why, "ten years") => {
                Err(self.mismatch_with(key, node, Some(&*text), Some("ten years are the longest".into())))
            }
            _ => Err(self.mismatch(key, node, Some(&*text))),
        }
    }

    /// A whole number in a range.
    ///
    /// # Errors
    /// Reported.
    pub fn whole(
        &mut self,
        scope: &mut Scope<'_>,
        key: &Key,
        node: &Node,
        least: i64,
        most: i64,
    ) -> Read<i64> {
        let text = self.text(scope, key, node, Scalars::Integers)?;
        match text
            .show()
            .and_then(|text| text.trim().parse().ok())
            .filter(|number| (least..=most).contains(number))
        {
            Some(number) => Ok(number),
            None => Err(self.mismatch(key, node, Some(&*text))),
        }
    }

    /// A number in a range.
    ///
    /// # Errors
    /// Reported.
    #[inline(never)]
    pub fn number(
        &mut self,
        scope: &mut Scope<'_>,
        key: &Key,
        node: &Node,
        range: std::ops::RangeInclusive<f64>,
    ) -> Read<f64> {
        let text = self.text(scope, key, node, Scalars::Numbers)?;
        match text.show().and_then(|text| parse_decimal(text.trim())).filter(|number| range.contains(number))
        {
            Some(number) => Ok(number),
            None => Err(self.mismatch(key, node, Some(&*text))),
        }
    }

    /// One of some words, which are one text with a blank between two, and what each means.
    ///
    /// # Errors
    /// Reported.
    pub fn choice<T: Copy>(
        &mut self,
        scope: &mut Scope<'_>,
        key: &Key,
        node: &Node,
        words: &str,
        meanings: &[T],
    ) -> Read<T> {
        let index = self.word_of(scope, key, node, words)?;
        meanings.get(index).copied().ok_or(Reported)
    }

    /// Which of some words. One function for all that can be chosen.
    #[inline(never)]
    fn word_of(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node, words: &str) -> Read<usize> {
        let names = &words.split(' ').gather();
        let text = self.text(scope, key, node, Scalars::None)?;
        let written = text.word();
        if let Some(index) = names.iter().position(|name| *name == written) {
            return Ok(index);
        }
        let foreign = answer(WORDS, written).filter(|ours| names.contains(ours));
        let help = foreign.map(|ours| format!("here it is called \"{ours}\"").into());
        let help = help.or_else(|| self.similar(written, names)).filter(|_| !text.replaced);
        Err(self.mismatch_with(key, node, Some(&*text), help))
    }

    /// A path, relative to the file it is written in.
    ///
    /// # Errors
    /// Reported.
    pub fn path(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<PathBuf> {
        let text = self.text(scope, key, node, Scalars::None)?;
        self.path_of(key, node, &text)
    }

    fn path_of(&mut self, key: &Key, node: &Node, text: &Text) -> Read<PathBuf> {
        if text.bytes.is_empty() {
            return Err(self.mismatch(key, node, Some(text)));
        }
        Ok(self.relative(node.span.file, Path::new(std::ffi::OsStr::from_bytes(&text.bytes))))
    }

    /// Where the control socket is: a path, or false for nowhere.
    ///
    /// # Errors
    /// Reported.
    #[inline(never)]
    pub fn place(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Place> {
        let place = |usual| Ok(if usual { Place::Usual } else { Place::Off });
        if let Value::Boolean(usual) = node.value {
            return place(usual);
        }
        let text = self.text(scope, key, node, Scalars::None)?;
        if let Some(usual) = flag(&text) {
            return place(usual);
        }
        let path = self.path_of(key, node, &text)?;
        if path.file_name().is_none() {
            return Err(self.mismatch(key, node, None));
        }
        Ok(Place::At(path))
    }

    /// The elements of an array.
    ///
    /// # Errors
    /// Reported.
    pub fn list<'n>(&mut self, key: &Key, node: &'n Node) -> Read<&'n [Node]> {
        match &node.value {
            Value::List(nodes) => Ok(nodes),
            Value::Unusable => Err(Reported),
            _ => Err(self.mismatch(key, node, None)),
        }
    }

    /// The entries of a table.
    ///
    /// # Errors
    /// Reported.
    pub fn table<'n>(&mut self, key: &Key, node: &'n Node) -> Read<&'n [Entry]> {
        match &node.value {
            Value::Table(entries) => Ok(entries),
            Value::Unusable => Err(Reported),
            _ => Err(self.mismatch(key, node, None)),
        }
    }

    /// A user or group: a name or a number.
    ///
    /// # Errors
    /// Reported.
    pub fn account(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Box<Text>> {
        self.in_utf8(scope, key, node, Scalars::Integers)
    }

    /// A signal.
    ///
    /// # Errors
    /// Reported.
    pub fn signal(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Signal> {
        let text = self.text(scope, key, node, Scalars::Integers)?;
        if let Some(Ok(signal)) = text.show().map(Signal::parse) {
            Ok(signal)
        } else {
            let help =
                text.show().filter(|_| !text.replaced).and_then(|written| self.similar_signal(written));
            Err(self.mismatch_with(key, node, Some(&*text), help))
        }
    }

    /// A command: the words of an array, or of a string split as a shell splits it; with `shell`, a string for /bin/sh.
    ///
    /// # Errors
    /// Reported.
    pub fn command(
        &mut self,
        scope: &mut Scope<'_>,
        key: &Key,
        node: &Node,
        shell: bool,
    ) -> Read<Box<CommandLine>> {
        match &node.value {
            Value::Text(text) if shell => {
                if text.text.trim().is_empty() {
                    return Err(self.wrong(node.span, format_args!("{} is empty", key.name)));
                }
                if text.text.contains('\0') || text.text.len() > interpolate::MAX_TEXT {
                    let message = format_args!("{} has a NUL character or is longer than 128 KiB", key.name);
                    return Err(self.wrong(node.span, message));
                }
                // The shell replaces variables itself, from the same environment: a value put into its text would be code.
                let argv = ["/bin/sh", "-c", &text.text].iter().map(|word| Secret::new(*word)).gather();
                Ok(Box::new(CommandLine { argv, shown: show(&text.text) }))
            }
            Value::Text(text) => {
                let words = match words::split(&text.text) {
                    Ok(words) => words,
                    Err(wrong) => {
                        let message = format!("{} {}", key.name, wrong.message);
                        return Err(
                            self.fail(Problem::at(node.place_in_text(wrong.at), message).help(wrong.help))
                        );
                    }
                };
                let argv = all(words.iter().map(|word| self.word(scope, node, word)))?;
                self.command_line(key, node, argv, &text.text)
            }
            Value::List(nodes) => {
                let argv = all(nodes.iter().map(|node| self.argument(scope, key, node)))?;
                let written: Vec<String> = nodes
                    .iter()
                    .map(|node| match &node.value {
                        Value::Text(text) => quote(&text.text),
                        Value::Integer { value, .. } => value.to_string(),
                        Value::Float { written, .. } => written.clone(),
                        Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Unusable => {
                            "?".to_owned()
                        }
                    })
                    .gather();
                self.command_line(key, node, argv, &written.joined(" "))
            }
            Value::Unusable => Err(Reported),
            _ => Err(self.mismatch(key, node, None)),
        }
    }

    fn command_line(
        &mut self,
        key: &Key,
        node: &Node,
        argv: Vec<Secret>,
        written: &str,
    ) -> Read<Box<CommandLine>> {
        let Some(program) = argv.first() else {
            return Err(self.wrong(node.span, format_args!("{} is empty", key.name)));
        };
        if program.reveal().is_empty() {
            return Err(self.wrong(node.span, format_args!("the program of {} is an empty string", key.name)));
        }
        if let (Value::Text(_), Some((name, _))) = (&node.value, assignment(written)) {
            let message = format_args!("{} begins with a variable, but is not run by a shell", key.name);
            return Err(self.wrong_with(
                node.span,
                message,
                format_args!("env = {{ {name} = \"…\" }}, or shell = true"),
            ));
        }
        Ok(Box::new(CommandLine { argv, shown: show(written) }))
    }

    fn word(&mut self, scope: &mut Scope<'_>, node: &Node, word: &Word) -> Read<Secret> {
        let place = |range: std::ops::Range<usize>| {
            let range = if word.verbatim {
                word.at.start + range.start..word.at.start + range.end
            } else {
                word.at.clone()
            };
            node.place_in_text(range)
        };
        Ok(secret(self.template(scope, &word.template, &place)?))
    }

    fn argument(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Secret> {
        if let Value::Boolean(_) = node.value {
            return Err(self.mismatch_with(key, node, None, Some("put it into quotes".into())));
        }
        Ok(secret(self.text(scope, key, node, Scalars::Numbers)?))
    }
}

fn secret(text: Box<Text>) -> Secret {
    Secret::new(OsString::from_vec(text.bytes))
}

/// All of them, or none: but each is read, so that all that is wrong is reported.
pub fn all<T>(items: impl Iterator<Item = Read<T>>) -> Read<Vec<T>> {
    let mut list = Vec::new();
    let mut complete = true;
    for item in items {
        match item {
            Ok(item) => list.push(item),
            Err(Reported) => complete = false,
        }
    }
    if complete { Ok(list) } else { Err(Reported) }
}

fn mismatched(key: &Key, node: &Node, text: Option<&Text>) -> Box<Problem> {
    let found = match text {
        Some(text) if text.replaced => "what it is once its variables are replaced".to_owned(),
        Some(text) => match (&node.value, text.show()) {
            (Value::Text(_), Some(shown)) => format!("\"{shown}\""),
            (_, Some(shown)) => shown.to_owned(),
            (_, None) => "this".to_owned(),
        },
        None => node.kind().to_owned(),
    };
    Problem::at(node.span, format!("{} must be {}, not {found}", key.name, key.expected))
}

/// A command, ready to run, and as it may be shown.
pub struct CommandLine {
    /// Program and arguments.
    pub argv: Vec<Secret>,
    /// As it is written, on one line.
    pub shown: String,
}

impl CommandLine {
    /// As a command that is run beside a service: in all as that, but it reads nothing and is not asked how it is.
    #[inline(never)]
    pub fn beside(self, service: &Launch) -> Launch {
        let mut launch = service.clone();
        launch.argv = self.argv;
        launch.shown = self.shown;
        launch.stdin = Stdin::Null;
        launch.speaks = Speaks::default();
        launch
    }
}

impl Text {
    /// The text, if it is UTF-8. To be looked at; to be printed only where no variable was replaced.
    #[inline(never)]
    pub fn show(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// [`Self::show`]; nothing where it is not UTF-8.
    pub fn word(&self) -> &str {
        self.show().unwrap_or_default()
    }
}

/// One line of at most 200 characters, without control characters.
pub fn show(written: &str) -> String {
    const LONGEST: usize = 200;
    let mut shown = String::new();
    for (count, character) in written.trim().chars().enumerate() {
        if count == LONGEST {
            shown.push('…');
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// What a word says that stands for true or false.
#[inline(never)]
fn flag(text: &Text) -> Option<bool> {
    match text.show()?.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A word as one would write it for a shell.
pub fn quote(word: &str) -> String {
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || !c.is_ascii() || "-_./:=@%+,${}".chars().any(|other| other == c)
    };
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", replaced(word, '\'', "'\\''"))
    }
}

/// `NAME=value` at the start of a command, which means something to a shell alone.
fn assignment(written: &str) -> Option<(&str, &str)> {
    let (name, rest) = written.trim_start().split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, rest))
}
