//! Where output goes: `stdout` and `stderr` of a service, `log_rate_limit`, and `[log]`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::eval::{Evaluator, Read, Scalars, Scope};
use super::settings::Own;
use super::{Color, Log, RateLimit};
use crate::config::interpolate::Reported;
use crate::config::keys::{Id, Key, part};
use crate::config::tree::{Node, Value};
use crate::config::{Problem, Setting};
use crate::event::{LogFile, Output, Overflow, Sink};
use crate::line::Format;
use crate::units::{Signal, parse_duration, parse_size};

/// A file becomes at most so large when nothing else is said, and so many older ones stay.
const MAX_SIZE: u64 = 50 << 20;
const MAX_FILES: u32 = 5;
/// A file that begins anew with every few lines is of no use.
const SMALLEST: u64 = 4096;
/// So many older files there may be.
const FILES_MAX: i64 = 1000;

/// What is done with what does not say otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// The form of lines for the container.
    pub format: Format,
    /// How large a file becomes.
    pub max_size: Option<u64>,
    /// How many older ones stay.
    pub max_files: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { format: Format::default(), max_size: Some(MAX_SIZE), max_files: MAX_FILES }
    }
}

impl Defaults {
    /// Where output goes of which nothing is said.
    pub fn output(self) -> Output {
        match self.format {
            Format::Prefix => Output::Prefix,
            Format::Json => Output::Json,
            Format::Raw => Output::Raw,
        }
    }
}

/// The keys of the table.
const FILE: Key = part(Id::Stdout, "file", "a path");
const MAX_SIZE_PART: Key =
    part(Id::Stdout, "max_size", "a size of at least 4K such as \"10M\", or \"unlimited\"");
const MAX_FILES_PART: Key = part(Id::Stdout, "max_files", "a number from 1 to 1000");
const ALSO: Key = part(Id::Stdout, "also", "\"stdout\" or \"stderr\"");
const FORMAT: Key = part(Id::Stdout, "format", "\"prefix\", \"json\" or \"raw\"");
const PARTS: [&str; 5] = ["file", "max_size", "max_files", "also", "format"];

const FORMATS: &str = "prefix json raw";
const FORMATS_MEAN: [Format; 3] = [Format::Prefix, Format::Json, Format::Raw];

impl Evaluator<'_> {
    /// `[log]`. What is wrong is reported, and the default stays.
    pub fn log(&mut self, scope: &mut Scope<'_>, settings: &[Setting]) -> (Log, Defaults) {
        let (mut log, mut defaults) = (Log::default(), Defaults::default());
        for setting in settings {
            let _: Read<()> = self.read_log(scope, setting, &mut log, &mut defaults);
        }
        log.format = defaults.format;
        (log, defaults)
    }

    #[inline(never)]
    fn read_log(
        &mut self,
        scope: &mut Scope<'_>,
        setting: &Setting,
        log: &mut Log,
        defaults: &mut Defaults,
    ) -> Read<()> {
        let (key, node) = (setting.key, &setting.node);
        match key.id {
            Id::LogFormat => defaults.format = self.choice(scope, key, node, FORMATS, &FORMATS_MEAN)?,
            Id::LogTimestamps => log.timestamps = self.boolean(scope, key, node)?,
            Id::LogColor => {
                let meanings = &[Color::Never, Color::Auto, Color::Always];
                log.color = self.choice(scope, key, node, "never auto always", meanings)?;
            }
            Id::LogOverflow => {
                let meanings = &[Overflow::Block, Overflow::Drop];
                log.overflow = self.choice(scope, key, node, "block drop", meanings)?;
            }
            Id::LogMaxSize => defaults.max_size = self.max_size(scope, key, node)?,
            Id::LogMaxFiles => defaults.max_files = self.max_files(scope, key, node)?,
            Id::LogReopenSignal => {
                let signal = self.signal(scope, key, node)?;
                let passed_on = !matches!(
                    signal,
                    Signal::KILL
                        | Signal::STOP
                        | Signal::CHLD
                        | Signal::PIPE
                        | Signal::TERM
                        | Signal::INT
                        | Signal::QUIT
                        | Signal::HUP
                        | Signal::RTMIN_3
                );
                if !passed_on {
                    let problem = Problem::at(node.span, format!("{signal} has another meaning for tinysup"));
                    return Err(self.fail(problem.help("SIGUSR1, SIGUSR2 or a real-time signal has none")));
                }
                log.reopen_signal = Some(signal);
            }
            // The keys of services and of the top level.
            _ => {}
        }
        Ok(())
    }

    fn max_size(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Option<u64>> {
        let text = self.text(scope, key, node, Scalars::Numbers)?;
        if text.show() == Some("unlimited") {
            return Ok(None);
        }
        match text.show().and_then(|text| parse_size(text).ok()).filter(|size| *size >= SMALLEST) {
            Some(size) => Ok(Some(size)),
            None => Err(self.mismatch(key, node, Some(&*text))),
        }
    }

    fn max_files(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<u32> {
        let number = self.whole(scope, key, node, 1, FILES_MAX)?;
        u32::try_from(number).map_err(|_| Reported)
    }

    /// `log_rate_limit`.
    ///
    /// # Errors
    /// Reported.
    #[inline(never)]
    pub fn rate_limit(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Option<RateLimit>> {
        let text = self.text(scope, key, node, Scalars::Integers)?;
        if text.show() == Some("unlimited") {
            return Ok(None);
        }
        match text.show().and_then(parse_rate) {
            Some(limit) => Ok(Some(limit)),
            None => Err(self.mismatch(key, node, Some(&*text))),
        }
    }

    /// `stdout` and `stderr`: a word, a path, or a table about a file.
    ///
    /// # Errors
    /// Reported.
    pub fn output(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node, own: &mut Own) -> Read<Output> {
        if let Value::Table(entries) = &node.value {
            let mut file = None;
            let (mut format, mut also) = (Ok(Format::Raw), Ok(None));
            let (mut max_size, mut max_files) = (Ok(own.log.max_size), Ok(own.log.max_files));
            let mut known = Ok(());
            for entry in entries {
                let node = &entry.node;
                match entry.key.as_str() {
                    "file" => file = Some(self.file(scope, &FILE, node)),
                    "format" => format = self.choice(scope, &FORMAT, node, FORMATS, &FORMATS_MEAN),
                    "max_size" => max_size = self.max_size(scope, &MAX_SIZE_PART, node),
                    "max_files" => max_files = self.max_files(scope, &MAX_FILES_PART, node),
                    "also" => {
                        let sink =
                            self.choice(scope, &ALSO, node, "stdout stderr", &[Sink::Stdout, Sink::Stderr]);
                        also = sink.map(|sink| Some((sink, own.log.format)));
                    }
                    name => {
                        let help = self.similar(name, &PARTS);
                        let message = format!("unknown key \"{name}\" in {}", key.name);
                        known = Err(self.fail(Problem::at(entry.span, message).maybe_help(help)));
                    }
                }
            }
            let Some(path) = file else {
                known?;
                let help = format_args!("{} = {{ file = \"/var/log/app.log\" }}", key.name);
                return Err(self.wrong_with(node.span, format_args!("{} has no file", key.name), help));
            };
            let (path, format, also) = (path?, format?, also?);
            let (max_size, max_files) = (max_size?, max_files?);
            known?;
            let file = Rc::new(LogFile { path, format, max_size, max_files, also });
            own.files.push((Rc::clone(&file), node.span));
            return Ok(Output::File(file));
        }
        let text = self.text(scope, key, node, Scalars::None)?;
        if text.bytes.contains(&b'/') {
            let path = self.file(scope, key, node)?;
            let (max_size, max_files) = (own.log.max_size, own.log.max_files);
            let file = Rc::new(LogFile { path, format: Format::Raw, max_size, max_files, also: None });
            own.files.push((Rc::clone(&file), node.span));
            return Ok(Output::File(file));
        }
        let words = &["prefix", "json", "raw", "inherit", "null"];
        Ok(match text.show() {
            Some("prefix") => Output::Prefix,
            Some("json") => Output::Json,
            Some("raw") => Output::Raw,
            Some("inherit") => Output::Inherit,
            Some("null") => Output::Null,
            written => {
                let written = written.filter(|_| !text.replaced).unwrap_or_default();
                let help = match written {
                    "stdout" | "stderr" => Some("leave it out: it goes there by itself".into()),
                    _ if written.contains('.') => {
                        Some(format!("a file in this folder is \"./{written}\"").into())
                    }
                    _ => self.similar(written, words),
                };
                return Err(self.mismatch_with(key, node, Some(&*text), help));
            }
        })
    }

    /// The path of a file for output.
    fn file(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<std::path::PathBuf> {
        let path = self.path(scope, key, node)?;
        let is = |paths: &[&str]| paths.iter().any(|other| path == Path::new(other));
        let problem = |message: &str, help: &str| Err(Problem::at(node.span, message).help(help));
        let checked = if is(&["/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2"])
            || ["/proc/self/fd", "/proc/1/fd", "/proc/thread-self/fd"].iter().any(|fd| path.starts_with(fd))
        {
            problem(
                "output goes to the container's by itself, and stays whole lines then",
                "\"prefix\", \"json\" or \"raw\", or leave it out",
            )
        } else if is(&["/dev/null"]) {
            problem("/dev/null is no file", "\"null\"")
        } else if path.as_os_str().as_bytes().ends_with(b"/") || path.file_name().is_none() {
            problem("this is a folder, not a file", "add the name of the file")
        } else {
            Ok(())
        };
        match checked {
            // One spelling for each.
            Ok(()) => Ok(path.components().collect()),
            Err(problem) => Err(self.fail(problem)),
        }
    }
}

/// `1000/s`, `60/m`, `500/10s`; a number alone is each second.
#[inline(never)]
fn parse_rate(text: &str) -> Option<RateLimit> {
    let (lines, per) = text.split_once('/').unwrap_or((text, "s"));
    let lines = lines.trim().parse::<u32>().ok().filter(|lines| *lines > 0)?;
    let per = match per.trim() {
        "s" | "sec" | "second" => Duration::from_secs(1),
        "m" | "min" | "minute" => Duration::from_mins(1),
        "h" | "hour" => Duration::from_hours(1),
        other => parse_duration(other).ok().filter(|per| *per >= Duration::from_millis(1))?,
    };
    Some(RateLimit { lines, per })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        let seconds = Duration::from_secs;
        for (text, expected) in [
            ("1000/s", Some((1000, seconds(1)))),
            ("1000", Some((1000, seconds(1)))),
            (" 60 / m ", Some((60, seconds(60)))),
            ("5/min", Some((5, seconds(60)))),
            ("1/hour", Some((1, seconds(3600)))),
            ("500/10s", Some((500, seconds(10)))),
            ("0/s", None),
            ("-1/s", None),
            ("1.5/s", None),
            ("/s", None),
            ("1/", None),
            ("1/0s", None),
            ("1/fortnight", None),
            ("many", None),
        ] {
            let read = parse_rate(text).map(|limit| (limit.lines, limit.per));
            assert_eq!(read, expected, "{text}");
        }
    }
}
