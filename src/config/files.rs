//! Which files make the configuration, and their texts. The file system and the environment are behind [`World`], so that all of
//! this is testable in memory; `sys::files` is the real one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::problems::{Problem, Problems};
use super::source::{FileId, Span};
use crate::event::{Launch, MemoryFound, StartError};
use crate::gather::{Gather, Joined};
use crate::sorted::sort;
use crate::units::{EISDIR, ENOENT, is};

/// What the configuration sees of the world.
pub trait World {
    /// The first `limit` bytes of a file.
    ///
    /// # Errors
    /// What the system says, by its number; a directory is [`EISDIR`].
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;

    /// The same for one that others may write and that only they shall learn from: nothing of somebody else's is read in its place.
    ///
    /// # Errors
    /// The same.
    fn read_secret(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        self.read(path, limit)
    }

    /// The names in a directory, in any order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>>;

    /// What such an error says, without its number.
    fn reason(&self, error: &io::Error) -> String {
        error.to_string()
    }

    /// A variable of the container's environment.
    fn variable(&self, name: &OsStr) -> Option<OsString>;

    /// The path from the root. Links stay as they are: what they lead to may change while the file is meant to be the same.
    fn absolute(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    /// What would stand in the way of this start, as things are here. Only hints depend on it.
    fn obstacle(&self, launch: &Launch) -> Option<StartError>;

    /// What rules over the memory here. Asked only where a setting depends on it, and only for what is to run here.
    fn memory(&self) -> MemoryFound;
}

/// The largest file that is taken for a configuration, in bytes.
pub const MAX_FILE: usize = 1 << 20;

const ENVIRONMENT: &str = "TINYSUP_CONFIG";
const PLACES: [&str; 2] = ["/etc/tinysup.toml", "./tinysup.toml"];

/// Finds and reads the main file.
#[inline(never)]
pub fn find(file: Option<&Path>, world: &dyn World, problems: &mut Problems) -> Option<FileId> {
    let named = match file {
        Some(path) => Some((path.to_owned(), String::new())),
        None => world
            .variable(OsStr::new(ENVIRONMENT))
            .filter(|path| !path.is_empty())
            .map(|path| (PathBuf::from(path), format!(" (from ${ENVIRONMENT})"))),
    };
    if let Some((path, origin)) = named {
        return match read(&path, world, problems, None, false) {
            Ok(file) => Some(file),
            Err(error) => {
                problems.push(unreadable(&path, &error, None, &origin));
                None
            }
        };
    }
    for place in PLACES {
        match read(Path::new(place), world, problems, None, false) {
            Ok(file) => return Some(file),
            Err(Unreadable::System(error, _)) if is(&error, &[ENOENT]) => {}
            Err(error) => {
                problems.push(unreadable(Path::new(place), &error, None, ""));
                return None;
            }
        }
    }
    problems.push(
        Problem::general(format!("no configuration: looked for ${ENVIRONMENT}, {}", PLACES.listed())).help(
            "`tinysup example > tinysup.toml` makes one; `tinysup -- COMMAND` runs one command without",
        ),
    );
    None
}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum Unreadable {
    /// What the system says, and its words for that.
    System(io::Error, String),
    /// It is longer than [`MAX_FILE`].
    TooLarge,
    /// It is not text; how one can tell.
    NotText(&'static str),
    /// It is text up to an offending byte, on this line.
    NotUtf8(usize),
    /// It is a text without any byte.
    Empty,
}

/// Reads a text file and takes it in. A byte order mark is dropped, and so is what Windows has before each line end. With `included_at`, paths in it are still relative to it.
///
/// # Errors
/// Why it cannot be used.
pub fn read(
    path: &Path,
    world: &dyn World,
    problems: &mut Problems,
    name: Option<String>,
    confidential: bool,
) -> Result<FileId, Unreadable> {
    let read =
        if confidential { world.read_secret(path, MAX_FILE + 1) } else { world.read(path, MAX_FILE + 1) };
    let mut bytes = read.map_err(|error| {
        let words = world.reason(&error);
        Unreadable::System(error, words)
    })?;
    if bytes.len() > MAX_FILE {
        return Err(Unreadable::TooLarge);
    }
    if bytes.is_empty() && !confidential {
        return Err(Unreadable::Empty);
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Unreadable::NotText("it is UTF-16; save it as UTF-8"));
    }
    if bytes.contains(&0) {
        return Err(Unreadable::NotText("it contains a NUL byte"));
    }
    // Windows line ends: in a text over several lines a shell would take them for a part of its words.
    bytes.dedup_by(|next, before| {
        let line_end = [*before, *next] == *b"\r\n";
        *before = if line_end { b'\n' } else { *before };
        line_end
    });
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let lines = crate::search::line_ends(error.as_bytes().get(..valid).unwrap_or(&[]));
        Unreadable::NotUtf8(lines + 1)
    })?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    let directory = path.parent().map(Path::to_owned).unwrap_or_default();
    let name = name.unwrap_or_else(|| path.to_string_lossy().into_owned());
    Ok(problems.sources.add(name, directory, text, confidential))
}

/// Why a file cannot be used, as a problem. `at`: the setting that names it.
pub fn unreadable(path: &Path, error: &Unreadable, at: Option<Span>, origin: &str) -> Box<Problem> {
    let path = path.to_string_lossy();
    let problem = |message: String| Problem::new(at, message);
    match error {
        Unreadable::System(error, _) if is(error, &[ENOENT]) => {
            problem(format!("there is no file \"{path}\"{origin}"))
        }
        Unreadable::System(error, _) if is(error, &[EISDIR]) => {
            problem(format!("{path} is a directory, not a file{origin}"))
                .help("docker run -v makes one where the file on the host does not exist")
        }
        Unreadable::System(_, words) => problem(format!("cannot read {path}{origin}: {words}")),
        Unreadable::TooLarge => problem(format!("{path} is larger than 1 MiB{origin}: not a configuration")),
        Unreadable::NotText(why) => problem(format!("{path} is not a text file{origin}: {why}")),
        Unreadable::NotUtf8(line) => problem(format!("{path}:{line}: not valid UTF-8{origin}")),
        Unreadable::Empty => problem(format!("{path} is empty{origin}"))
            .help("`tinysup example` prints a configuration to begin with"),
    }
}

/// The files that a pattern of `include` names: `*` in its last part stands for any characters, not at the start of hidden names.
/// Sorted by their bytes. A pattern without `*` is a name.
///
/// # Errors
/// A sentence that says what is wrong with the pattern or the directory.
#[inline(never)]
pub fn matching(directory: &Path, pattern: &Path, world: &dyn World) -> Result<Vec<PathBuf>, String> {
    let full = directory.join(pattern);
    let (Some(last), parent) = (full.file_name(), full.parent().unwrap_or(Path::new(""))) else {
        return Err("it names no file".to_owned());
    };
    if parent.as_os_str().as_encoded_bytes().contains(&b'*') {
        return Err("a * may stand only in the last part of a path".to_owned());
    }
    if !last.as_encoded_bytes().contains(&b'*') {
        return Ok(vec![full]);
    }
    let listed = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let mut names = match world.list(listed) {
        Ok(names) => names,
        // Nothing to include is fine: conf.d may come with a volume.
        Err(error) if is(&error, &[ENOENT]) => Vec::new(),
        Err(error) => {
            return Err(format!("cannot read the directory {}: {}", listed.display(), world.reason(&error)));
        }
    };
    names.retain(|name| {
        let name = name.as_encoded_bytes();
        (!name.starts_with(b".") || last.as_encoded_bytes().starts_with(b"."))
            && glob(last.as_encoded_bytes(), name)
    });
    sort(&mut names, |one, other| one > other);
    Ok(names.into_iter().map(|name| parent.join(name)).gather())
}

/// Whether `name` has the form of `pattern`, in time linear in their product at most.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let (Some(first), Some(last)) = (parts.next(), parts.next_back()) else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    for part in parts.filter(|part| !part.is_empty()) {
        match rest.windows(part.len()).position(|window| window == part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or(&[]),
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml~", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "ac", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
            ("**", "xx", true),
            ("a", "a", true),
            ("a", "b", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
