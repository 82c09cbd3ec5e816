//! Our own lines: through `log` and a filter, which understands what env_logger does, into a buffer, from where the loop takes them to standard error. Never written
//! directly, so that a stuck reader cannot stop us. Every line begins with `tinysup | `, as a service's does with its name, or as `voice` has it.

use std::fmt::Arguments;
use std::sync::{Mutex, OnceLock, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::{clock, environment};
use crate::gather::holds;
use crate::line::json::{Members, Writer};
use crate::line::{self, Format, Own};
use crate::voice::Voice;

/// The variable that says how much is told.
const VARIABLE: &str = "TINYSUP_LOG";

/// Under which name we speak.
const OWN_NAME: &str = "tinysup";

/// What waits for the loop is at most this much; it comes by at every turn.
const BUFFER_MAX_BYTES: usize = 64 << 10;

static BUFFER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The form of our lines.
static FORM: OnceLock<(Voice, Own)> = OnceLock::new();

/// Begins to collect our lines: `TINYSUP_LOG`, a level such as `debug` or env_logger's directives, else `default`. A value that is
/// neither is told and otherwise ignored.
#[inline(never)]
pub fn init_logging(default: LevelFilter, voice: Voice, own: Own) {
    let _ = FORM.set((voice, own));
    let value = environment::variable(VARIABLE.as_bytes()).filter(|value| !value.is_empty());
    let asked = value.as_ref().and_then(|value| directives(value.to_str()?));
    let understood = asked.is_some();
    let (levels, word) = asked.unwrap_or_default();
    let filter = Filter::new(default, &levels);
    log::set_max_level(filter.most());
    let lines = Lines { filter, word: word.to_owned() };
    // An error means that it was called before.
    let _ = log::set_boxed_logger(Box::new(lines));
    if let (Some(value), false) = (&value, understood) {
        say!(
            Warn,
            "{VARIABLE}={} is not understood; write error, warn, info, debug or trace",
            value.display()
        );
    }
}

/// Text of ours in the form in which our lines are.
pub fn written(level: Level, text: &str) -> Vec<u8> {
    let (voice, own) = FORM.get().copied().unwrap_or_default();
    let mut out = Vec::new();
    match (voice, own.format) {
        (Voice::Tinysup, Format::Json) => {
            let members = Members::at(clock::wall())
                .text("service", OWN_NAME)
                .text("level", &level.as_str().to_ascii_lowercase());
            Writer::new(&members).message(&mut out, text.as_bytes());
        }
        (Voice::Tinysup, Format::Prefix | Format::Raw) => {
            let mut head = Vec::new();
            line::head(&mut head, own.style, clock::wall(), OWN_NAME);
            write_lines(&mut out, &head, text);
        }
        (Voice::Tini | Voice::DumbInit | Voice::Catatonit, _) => {
            write_lines(&mut out, voice.prefix(level, std::process::id()).as_bytes(), text);
        }
    }
    out
}

/// Takes what was logged since the last time.
pub fn take() -> Vec<u8> {
    let mut buffer = BUFFER.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *buffer)
}

/// Which lines are told: each level with the modules whose names begin so, among them those of all, whose name is empty.
struct Filter(Vec<(String, LevelFilter)>);

impl Filter {
    fn new(default: LevelFilter, levels: &Levels<'_>) -> Self {
        let mut all = vec![(String::new(), default)];
        for (target, level) in levels {
            let target = target.unwrap_or_default();
            all.retain(|(known, _)| known != target);
            all.push((target.to_owned(), *level));
        }
        Self(all)
    }

    /// The most that any module tells.
    fn most(&self) -> LevelFilter {
        self.0.iter().map(|(_, level)| *level).max().unwrap_or(LevelFilter::Off)
    }

    /// The longest name counts.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let of_it = self.0.iter().filter(|(target, _)| metadata.target().starts_with(target));
        of_it.max_by_key(|(target, _)| target.len()).is_some_and(|(_, level)| metadata.level() <= *level)
    }
}

struct Lines {
    filter: Filter,
    /// What each line must have; mostly nothing.
    word: String,
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter.enabled(record.metadata()) {
            let text = record.args().to_string();
            if self.word.is_empty() || holds(&text, &self.word) {
                keep(&written(record.level(), &text));
            }
        }
    }

    fn flush(&self) {}
}

/// Tells something; `place` is the module, by which `TINYSUP_LOG` may choose.
#[inline(never)]
pub fn say(level: Level, place: &'static str, words: Arguments<'_>) {
    if level <= log::max_level() {
        log::logger().log(&Record::builder().args(words).level(level).target(place).build());
    }
}

fn keep(lines: &[u8]) {
    let mut buffer = BUFFER.lock().unwrap_or_else(PoisonError::into_inner);
    if buffer.len() + lines.len() <= BUFFER_MAX_BYTES {
        buffer.extend_from_slice(lines);
    }
}

/// Names from outside may hold anything; only line ends are let through to a terminal.
fn write_lines(out: &mut Vec<u8>, prefix: &[u8], text: &str) {
    for line in text.lines() {
        out.extend_from_slice(prefix);
        for character in line.chars() {
            if character.is_control() {
                out.extend(character.escape_default().map(|escaped| escaped as u8));
            } else {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        out.push(b'\n');
    }
}

/// Levels, each for the modules whose names begin so, or for all.
type Levels<'a> = Vec<(Option<&'a str>, LevelFilter)>;

/// What env_logger's directives mean, `level,module=level/word`: the levels, and the word that lines must have; `None` if they are none.
/// env_logger itself would complain to standard error, and end us if that is closed.
pub fn directives(text: &str) -> Option<(Levels<'_>, &str)> {
    let text = text.trim();
    let (parts, word) = text.split_once('/').unwrap_or((text, ""));
    let mut levels = Vec::new();
    for part in parts.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (target, level) = match part.split_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, part),
        };
        if !target.is_none_or(is_target) {
            return None;
        }
        levels.push((target, level.parse().ok()?));
    }
    (!levels.is_empty()).then_some((levels, word))
}

fn is_target(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_those_of_env_logger() {
        use LevelFilter::{Debug, Error, Info, Off, Trace, Warn};

        for (text, levels, word) in [
            ("debug", &[(None, Debug)][..], ""),
            ("INFO", &[(None, Info)], ""),
            ("off", &[(None, Off)], ""),
            ("tinysup=trace", &[(Some("tinysup"), Trace)], ""),
            ("warn,tinysup::sys=debug", &[(None, Warn), (Some("tinysup::sys"), Debug)], ""),
            (" error ", &[(None, Error)], ""),
            (",info, warn/a word", &[(None, Info), (None, Warn)], "a word"),
        ] {
            assert_eq!(directives(text), Some((levels.to_vec(), word)), "{text}");
        }
        for text in ["", ",", "loud", "1", "a=b=c", "tinysup=", "=debug", "[x]=info", "tinysup"] {
            assert_eq!(directives(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_told_is_what_env_logger_would_tell() {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        for default in [LevelFilter::Info, LevelFilter::Off] {
            for text in [
                "",
                "debug",
                "off",
                "tinysup=trace",
                "warn,tinysup::sys=debug",
                "tinysup::sys=off,debug",
                "tinysup::sys=warn,tinysup=debug",
                "info,error",
                "tinysup=warn,tinysup=trace",
                "other=trace",
                "tinysup::sy=debug",
                "error,tinysup::sys::spawn=info,tinysup::sys=off",
            ] {
                let ours = Filter::new(default, &directives(text).unwrap_or_default().0);
                let theirs = env_logger::Builder::new().filter_level(default).parse_filters(text).build();
                for target in ["tinysup", "tinysup::sys", "tinysup::sys::spawn", "tinysup::runtime", "nix"] {
                    for level in levels {
                        let metadata = Metadata::builder().level(level).target(target).build();
                        assert_eq!(
                            ours.enabled(&metadata),
                            theirs.enabled(&metadata),
                            "{default} {text:?} {target} {level}"
                        );
                    }
                }
                assert_eq!(ours.most(), theirs.filter(), "{default} {text:?}");
            }
        }
    }

    #[test]
    fn each_line_has_our_name_and_no_control_characters() {
        for (text, expected) in [
            ("one", "tinysup | one\n"),
            ("one\ntwo\n", "tinysup | one\ntinysup | two\n"),
            ("a\x1b[31mb\u{9b}c\rd", "tinysup | a\\u{1b}[31mb\\u{9b}c\\rd\n"),
            ("grün", "tinysup | grün\n"),
        ] {
            let mut out = Vec::new();
            write_lines(&mut out, b"tinysup | ", text);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
