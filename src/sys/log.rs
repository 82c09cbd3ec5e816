//! Our own lines: through `log` and env_logger's filter into a buffer, from where the loop takes them to standard error. Never written
//! directly, so that a stuck reader cannot stop us. Every line begins with `tinysup | `, as a service's does with its name, or as `voice` has it.

use std::fmt::Arguments;
use std::sync::{Mutex, OnceLock, PoisonError};

use env_logger::{Builder, Logger};
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::{clock, environment};
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
    let mut builder = Builder::new();
    builder.filter_level(default);
    let value = environment::variable(VARIABLE.as_bytes()).filter(|value| !value.is_empty());
    let filters =
        value.as_ref().and_then(|value| value.to_str()).map(str::trim).filter(|text| are_directives(text));
    if let Some(filters) = filters {
        builder.parse_filters(filters);
    }
    let lines = Lines(builder.build());
    log::set_max_level(lines.0.filter());
    // An error means that it was called before.
    let _ = log::set_boxed_logger(Box::new(lines));
    if let (Some(value), None) = (&value, filters) {
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

/// env_logger decides what is told, and writes nothing itself.
struct Lines(Logger);

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.0.matches(record) {
            keep(&written(record.level(), &record.args().to_string()));
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

/// env_logger would complain to standard error itself, and end us if that is closed; so only what it understands gets there.
#[inline(never)]
pub fn are_directives(text: &str) -> bool {
    let text = text.split('/').next().unwrap_or_default();
    let mut parts = text.split(',').map(str::trim).filter(|part| !part.is_empty()).peekable();
    parts.peek().is_some()
        && parts.all(|part| match part.split_once('=') {
            Some((target, level)) => is_target(target) && level.parse::<LevelFilter>().is_ok(),
            None => part.parse::<LevelFilter>().is_ok(),
        })
}

fn is_target(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_env_logger_understands_gets_there() {
        for text in
            ["debug", "INFO", "off", "tinysup=trace", "warn,tinysup::sys=debug", " error ", "info/word"]
        {
            assert!(are_directives(text), "{text}");
        }
        for text in ["", ",", "loud", "1", "a=b=c", "tinysup=", "=debug", "[x]=info", "tinysup"] {
            assert!(!are_directives(text), "{text}");
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
