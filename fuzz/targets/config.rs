//! The whole way from files to a plan, over files in memory. A line `### PATH` begins another file than /etc/tinysup.toml, so that
//! includes and env files are among what is made up.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use tinysup::config::World;
use tinysup::event::{Launch, MemoryFound, StartError};
use tinysup::line::is_unprintable;
use tinysup::plan::{self, Request};
use tinysup::units::{EISDIR, ENOENT};

/// The value of `${SECRET}`, which no message may show, but as part of the name of a file or a program that was looked for: whoever does
/// not see that cannot help.
const SECRET: &str = "hunter2-hunter2";

/// Files of which the first is /etc/tinysup.toml.
pub struct Memory<'a> {
    files: BTreeMap<PathBuf, &'a [u8]>,
    /// Which were looked for.
    wanted: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> Memory<'a> {
    pub fn new(mut bytes: &'a [u8]) -> Self {
        const MARK: &[u8] = b"\n### ";
        let mut files = BTreeMap::new();
        let mut path = PathBuf::from("/etc/tinysup.toml");
        loop {
            let mark = bytes.windows(MARK.len()).position(|window| window == MARK);
            // The line end before the mark belongs to the file.
            let (text, rest) = bytes.split_at(mark.map_or(bytes.len(), |at| at + 1));
            files.insert(path, text);
            let Some(rest) = rest.get(MARK.len() - 1..) else {
                return Self { files, wanted: RefCell::default() };
            };
            let name = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            path = Path::new("/etc").join(&*String::from_utf8_lossy(name));
            bytes = rest.get(name.len() + 1..).unwrap_or_default();
        }
    }
}

impl World for Memory<'_> {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        self.wanted.borrow_mut().insert(path.to_owned());
        match self.files.get(path) {
            Some(bytes) => Ok(bytes[..bytes.len().min(limit)].to_vec()),
            None if self.files.keys().any(|file| file.starts_with(path)) => {
                Err(io::Error::from_raw_os_error(EISDIR))
            }
            None => Err(io::Error::from_raw_os_error(ENOENT)),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        self.wanted.borrow_mut().insert(directory.to_owned());
        let files = self.files.keys().filter(|file| file.parent() == Some(directory));
        let names: Vec<OsString> = files.filter_map(|file| file.file_name()).map(OsStr::to_owned).collect();
        if names.is_empty() { Err(io::Error::from_raw_os_error(ENOENT)) } else { Ok(names) }
    }

    fn variable(&self, name: &OsStr) -> Option<OsString> {
        match name.to_str()? {
            "SECRET" => Some(SECRET.into()),
            "NUMBER" => Some("3".into()),
            "NO" => Some("false".into()),
            "EMPTY" => Some(OsString::new()),
            "TEXT" => Some("a \"b\"\n[services.x]".into()),
            _ => None,
        }
    }

    fn memory(&self) -> MemoryFound {
        // With a limit, as most containers have, or without, by what is written.
        let limit = self.files.values().map(|file| file.len() as u64).sum::<u64>();
        MemoryFound { limit: (limit % 2 == 0).then_some(limit << 20), ..MemoryFound::default() }
    }

    fn obstacle(&self, launch: &Launch) -> Option<StartError> {
        let program = launch.argv.first()?.reveal().to_string_lossy().into_owned();
        let missing = program.len() % 2 == 0;
        if missing {
            self.wanted.borrow_mut().insert(program.clone().into());
        }
        missing.then_some(StartError::NotFound { program, path: None, similar: None })
    }
}

/// A name as messages show it: on one line.
fn as_told(name: &str) -> String {
    let mut told = String::new();
    for character in name.chars() {
        if is_unprintable(character) { told.extend(character.escape_default()) } else { told.push(character) }
    }
    told
}

pub fn run(bytes: &[u8]) {
    let world = Memory::new(bytes);
    let main = bytes.len().is_multiple_of(8).then(|| vec!["main".into()]);
    let here = bytes.len().is_multiple_of(3);
    let request = Request { file: None, main, here };
    let mut told = match plan::load(&request, &world) {
        Ok(loaded) => {
            for (index, instance) in loaded.plan.instances.iter().enumerate() {
                assert!(!instance.name.is_empty() && !instance.launch.argv.is_empty());
                let earlier = |dependency: &plan::Dependency| (dependency.on.0 as usize) < index;
                assert!(instance.depends_on.iter().all(earlier), "every one after those it depends on");
            }
            plan::check::report(&loaded.plan, &world, here).to_string()
        }
        Err(problems) => {
            let told = problems.to_string();
            assert!(!told.is_empty(), "what is refused is refused with a reason");
            told
        }
    };
    for path in world.wanted.borrow().iter().rev() {
        let path = path.to_string_lossy();
        if !path.contains(SECRET) {
            continue; // it may be a part of the secret
        }
        told = told.replace(&*path, "").replace(&as_told(&path), "");
    }
    let written = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    assert!(written || !told.contains(SECRET), "{told}");
}
