//! From the tree of a file to services and their settings: which keys there are and where they may stand. What the values mean is
//! looked at when the plan is built.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::sorted::Map;

use super::files::{self, World};
use super::interpolate::{self, Fault, Lookup, Place, Reported};
use super::keys::{self, Id, Key};
use super::problems::{Problem, Problems};
use super::source::FileId;
use super::tree::{self, Entry, Node, Value};
use super::{Config, Service, Setting};

/// So many files may be included, of so many bytes in all.
const MAX_INCLUDED: usize = 1000;
const MAX_INCLUDED_BYTES: usize = 8 * files::MAX_FILE;
/// The longest name of a service, in bytes.
const MAX_NAME: usize = 64;
/// The name under which tinysup itself speaks.
const RESERVED: &str = "tinysup";
/// What means every service on a command line.
const EVERYBODY: &str = "all";

/// Reads the main file, and what it includes.
#[inline(never)]
pub fn read(main: FileId, world: &dyn World, problems: &mut Problems, config: &mut Config) {
    let mut include = None;
    let mut top_signals = None;
    for entry in parse(main, problems, config) {
        match entry.key.as_str() {
            "services" => services(entry, problems, config),
            "defaults" => {
                if let Some(entries) = table(entry, "[defaults]", problems) {
                    config.defaults = settings(entries, "[defaults]", true, problems);
                }
            }
            "signals" => top_signals = table(entry, "[signals]", problems),
            "memory" => {
                if let Some(entries) = table(entry, "[memory]", problems) {
                    config.memory =
                        section(entries, "[memory]", keys::memory, keys::memory_suggestion, problems);
                }
            }
            "log" => {
                if let Some(entries) = table(entry, "[log]", problems) {
                    config.log = section(entries, "[log]", keys::log, keys::log_suggestion, problems);
                }
            }
            name => match keys::top(name) {
                Some(key) => {
                    let setting = Setting { key, span: entry.span, node: entry.node };
                    match key.id {
                        Id::Include => include = Some(setting),
                        Id::Control => config.control = Some(setting),
                        _ => config.shutdown_timeout = Some(setting),
                    }
                }
                None => unknown_top(&entry, problems),
            },
        }
    }
    config.routes = top_signals.unwrap_or_default();
    if let Some(setting) = include {
        for file in included(&setting, world, problems) {
            for entry in parse(file, problems, config) {
                if entry.key == "services" {
                    services(entry, problems, config);
                } else {
                    let message =
                        format_args!("an included file has only [services.NAME], not \"{}\"", entry.key);
                    problems.advise(
                        entry.span,
                        message,
                        format_args!("move it to the file that includes this one"),
                    );
                }
            }
        }
    }
    drop_doubles(config, problems);
    miss_commands(config, problems);
}

/// A service has a command, if all that was written could be read. Whoever defines one twice may have left it away in the second, and has
/// another problem.
#[inline(never)]
fn miss_commands(config: &Config, problems: &mut Problems) {
    for Service { name, span, settings } in &config.services {
        if !config.incomplete && !settings.iter().any(|setting| setting.key.id == Id::Command) {
            problems.advise(
                *span,
                format_args!("service \"{name}\" has no command"),
                format_args!("command = [\"program\", \"argument\"]"),
            );
        }
    }
}

/// Of services of one name the first stays. Looked for once all are known: there may be very many.
#[inline(never)]
fn drop_doubles(config: &mut Config, problems: &mut Problems) {
    let places = config.services.iter().enumerate().rev();
    let first: Map<Rc<str>, usize> = places.map(|(at, service)| (Rc::clone(&service.name), at)).collect();
    if first.len() == config.services.len() {
        return;
    }
    for (at, service) in config.services.iter().enumerate() {
        let one = first.get(&service.name).filter(|first| **first != at);
        let Some(one) = one.and_then(|first| config.services.get(*first)) else { continue };
        let place = problems.sources.place(one.span, Some(service.span.file));
        problems.advise(
            service.span,
            format_args!("service \"{}\" is defined twice", service.name),
            format_args!("first in {place}"),
        );
    }
    let mut at = 0..;
    config.services.retain(|service| first.get(&service.name).copied() == at.next());
}

fn parse(file: FileId, problems: &mut Problems, config: &mut Config) -> Vec<Entry> {
    let (entries, complete) = tree::parse(file, problems);
    config.incomplete |= !complete;
    entries
}

#[inline(never)]
fn unknown_top(entry: &Entry, problems: &mut Problems) {
    let name = &entry.key;
    if keys::LATER_TOP.contains(&name.as_str()) {
        problems.tell(entry.span, format_args!("\"{name}\" is not yet supported"));
        return;
    }
    let is_service =
        matches!(&entry.node.value, Value::Table(inner) if inner.iter().any(|entry| entry.key == "command"));
    let help = if is_service && !["service", "program", "programs"].contains(&name.as_str()) {
        Some(format!("a service is [services.{name}]").into())
    } else if ["service", "program", "programs", "process", "processes"].contains(&name.as_str()) {
        Some("did you mean \"services\"?".into())
    } else if keys::service(name).is_some() || keys::is_later(name) {
        Some("it belongs into [services.NAME] or [defaults]".into())
    } else {
        problems.suggest(|| keys::top_suggestion(name))
    };
    let what = if matches!(entry.node.value, Value::Table(_)) { "section" } else { "key" };
    problems.push(Problem::at(entry.span, format!("unknown {what} \"{name}\"")).maybe_help(help));
}

fn table(entry: Entry, name: &str, problems: &mut Problems) -> Option<Vec<Entry>> {
    let node = entry.node;
    if let Value::Table(entries) = node.value {
        return Some(entries);
    }
    let message = format_args!("{name} must be a table, not {}", node.kind());
    let is_table = |one: &Node| matches!(one.value, Value::Table(_));
    // Written as [[…]], of which each adds one to a list.
    if matches!(&node.value, Value::List(list) if list.iter().any(is_table)) {
        let wanted = if name == "[services]" { "[services.NAME]" } else { name };
        problems.advise(node.span, message, format_args!("write {wanted}, in single brackets"));
    } else {
        problems.tell(node.span, message);
    }
    None
}

#[inline(never)]
fn services(entry: Entry, problems: &mut Problems, config: &mut Config) {
    let Some(entries) = table(entry, "[services]", problems) else { return };
    for entry in entries {
        let (name, span) = (entry.key.clone(), entry.span);
        if let Err(message) = check_name(&name) {
            problems.tell(span, format_args!("{message}"));
        }
        let place = format!("[services.{name}]");
        if !matches!(entry.node.value, Value::Table(_))
            && (keys::service(&name).is_some() || keys::is_later(&name))
        {
            let help = format_args!("a service has a name: [services.NAME] and then {name} = …");
            problems.advise(span, format_args!("\"{name}\" stands in [services], not in a service"), help);
            continue;
        }
        let Some(inner) = table(entry, &place, problems) else { continue };
        let settings = settings(inner, &place, false, problems);
        config.services.push(Service { name: Rc::from(name), span, settings });
    }
}

/// Whether a service may have this name. Dots are for instances.
///
/// # Errors
/// A sentence that says why not.
pub fn check_name(name: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("\"{name}\" cannot be the name of a service: {why}"));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match name.bytes().next() {
        _ if name == RESERVED => wrong("tinysup itself speaks under it"),
        _ if name == EVERYBODY => wrong("`tinysup stop all` and its like mean every service"),
        _ if name.len() > MAX_NAME => wrong("it is longer than 64 characters"),
        Some(first) if first.is_ascii_alphanumeric() && name.bytes().all(allowed) => Ok(()),
        _ => wrong("it has letters, digits, - and _, and begins with a letter or digit"),
    }
}

fn settings(entries: Vec<Entry>, place: &str, defaults: bool, problems: &mut Problems) -> Vec<Setting> {
    let mut settings = Vec::with_capacity(entries.len());
    for Entry { key: name, span, node } in entries {
        match keys::service(&name) {
            Some(key) if !defaults || key.id.in_defaults() => {
                settings.push(Setting { key, span, node });
            }
            Some(_) => {
                let message = format_args!("\"{name}\" has no place in {place}");
                problems.advise(span, message, format_args!("every service has its own"));
            }
            None if keys::is_later(&name) => {
                problems.tell(span, format_args!("\"{name}\" is not yet supported"));
            }
            None => {
                let help = if keys::top(&name).is_some() {
                    Some("it belongs to the top of the file, before the first [section]".into())
                } else {
                    problems.suggest(|| keys::suggestion(&name))
                };
                problems
                    .push(Problem::at(span, format!("unknown key \"{name}\" in {place}")).maybe_help(help));
            }
        }
    }
    settings
}

/// A section whose keys are for nobody else.
#[inline(never)]
fn section(
    entries: Vec<Entry>,
    place: &str,
    known: fn(&str) -> Option<&'static Key>,
    suggestion: fn(&str) -> Option<Box<str>>,
    problems: &mut Problems,
) -> Vec<Setting> {
    let mut settings = Vec::with_capacity(entries.len());
    for Entry { key: name, span, node } in entries {
        if let Some(key) = known(&name) {
            settings.push(Setting { key, span, node });
            continue;
        }
        // Those of the other section, which stand beside it, before those of services: both have a `restart`.
        let help = if keys::log(&name).is_some() {
            Some("it belongs into [log]".into())
        } else if keys::memory(&name).is_some() {
            Some("it belongs into [memory]".into())
        } else if keys::service(&name).is_some() {
            Some("it belongs into [services.NAME] or [defaults]".into())
        } else {
            problems.suggest(|| suggestion(&name))
        };
        problems.push(Problem::at(span, format!("unknown key \"{name}\" in {place}")).maybe_help(help));
    }
    settings
}

/// The files that `include` names, read, each once.
#[inline(never)]
fn included(setting: &Setting, world: &dyn World, problems: &mut Problems) -> Vec<FileId> {
    let own = problems.sources.get(setting.span.file);
    let directory = own.map(|source| source.directory.clone()).unwrap_or_default();
    // `*.toml` beside the file that says so means the others.
    let mut seen: Vec<_> = own
        .and_then(|source| Path::new(&source.name).file_name())
        .map(|name| directory.join(name))
        .into_iter()
        .collect();
    let mut found = Vec::new();
    let mut bytes = 0_usize;
    let patterns = match &setting.node.value {
        Value::Text(_) => std::slice::from_ref(&setting.node),
        Value::List(patterns) => patterns,
        _ => {
            let message =
                format_args!("include must be {}, not {}", setting.key.expected, setting.node.kind());
            problems.tell(setting.node.span, message);
            return found;
        }
    };
    for node in patterns {
        let Some(pattern) = pattern(node, world, problems) else { continue };
        let files = match files::matching(&directory, &pattern, world) {
            Ok(files) => files,
            Err(message) => {
                problems.tell(node.span, format_args!("cannot include this: {message}"));
                continue;
            }
        };
        for path in files {
            if seen.contains(&path) {
                continue;
            }
            seen.push(path.clone());
            if seen.len() > MAX_INCLUDED || bytes > MAX_INCLUDED_BYTES {
                problems.tell(node.span, format_args!("cannot include more than 1000 files or 8 MiB"));
                return found;
            }
            match files::read(&path, world, problems, None, false) {
                Ok(file) => {
                    bytes += problems.sources.get(file).map_or(0, |source| source.text.len());
                    found.push(file);
                }
                // An included file may well have nothing to say.
                Err(files::Unreadable::Empty) => {}
                Err(error) => problems.push(files::unreadable(&path, &error, Some(node.span), "")),
            }
        }
    }
    found
}

#[inline(never)]
fn pattern(node: &Node, world: &dyn World, problems: &mut Problems) -> Option<PathBuf> {
    let Value::Text(text) = &node.value else {
        problems.tell(node.span, format_args!("a path must be a string, not {}", node.kind()));
        return None;
    };
    match interpolate::expand(&text.text, &mut Container(world)) {
        Ok(expanded) => Some(Path::new(&OsString::from_vec(expanded.bytes)).to_owned()),
        Err(Fault::At(wrong)) => {
            let Place { at, message, help, .. } = *wrong;
            problems.push(Problem::at(node.place_in_text(at), message).maybe_help(help));
            None
        }
        Err(Fault::Reported) => None,
    }
}

/// The container's environment alone.
pub struct Container<'a>(pub &'a dyn World);

impl Lookup for Container<'_> {
    fn value(&mut self, name: &str, _: Range<usize>) -> Result<Option<Rc<[u8]>>, Reported> {
        Ok(self.0.variable(OsStr::new(name)).map(|value| Rc::from(value.as_bytes())))
    }
}
