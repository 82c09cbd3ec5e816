//! Who is examined: the inits of the distribution, and this program under each of its names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::container::{self, Folder, Setup};
use crate::witness::witness_path;

/// Whose command line a program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Tini,
    DumbInit,
    Catatonit,
    Tinysup,
}

/// A program under one of its names.
#[derive(Debug)]
pub struct Program {
    /// As the tables have it.
    pub name: &'static str,
    pub manner: Manner,
    /// Whether it is this program, and not the one whose name it bears.
    pub ours: bool,
    path: PathBuf,
}

/// An incumbent, and the version that the table has recorded.
struct Incumbent {
    name: &'static str,
    manner: Manner,
    version: &'static str,
}

const INCUMBENTS: [Incumbent; 4] = [
    Incumbent { name: "tini", manner: Manner::Tini, version: "0.19.0" },
    Incumbent { name: "tini-static", manner: Manner::Tini, version: "0.19.0" },
    Incumbent { name: "dumb-init", manner: Manner::DumbInit, version: "1.2.5" },
    Incumbent { name: "catatonit", manner: Manner::Catatonit, version: "0.1.7" },
];

/// Our names: for the tables, and for the file.
const OURS: [(&str, &str, Manner); 5] = [
    ("tinysup", "tinysup", Manner::Tinysup),
    ("tinysup-as-tini", "tini", Manner::Tini),
    ("tinysup-as-docker-init", "docker-init", Manner::Tini),
    ("tinysup-as-dumb-init", "dumb-init", Manner::DumbInit),
    ("tinysup-as-catatonit", "catatonit", Manner::Catatonit),
];

/// All programs that this machine has, and why others are not examined.
pub struct Found {
    pub programs: Vec<Program>,
    pub missing: Vec<String>,
    _folder: Folder,
}

/// Looks for the incumbents, and puts this program beside its other names.
pub fn find() -> Found {
    let (mut programs, mut missing) = (Vec::new(), Vec::new());
    for Incumbent { name, manner, version } in INCUMBENTS {
        match installed(name, version) {
            Ok(path) => programs.push(Program { name, manner, ours: false, path }),
            Err(why) => missing.push(why),
        }
    }
    let folder = Folder::new();
    // A copy, because the folder of the build may be closed to other users; nobody forks yet, so nobody keeps it open.
    let original = folder.program("tinysup", fs::read(container::tinysup()).expect("the program"));
    for (name, file, manner) in OURS {
        let path = folder.path().join(file);
        if path != original {
            symlink("tinysup", &path).expect("the folder is ours");
        }
        programs.push(Program { name, manner, ours: true, path });
    }
    Found { programs, missing, _folder: folder }
}

fn installed(name: &str, version: &str) -> Result<PathBuf, String> {
    let folders = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    let path = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    let path = path.ok_or_else(|| format!("{name} is not installed"))?;
    let output = Command::new(&path).arg("--version").output().map_err(|error| format!("{name}: {error}"))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
    if said.contains(version) {
        Ok(path)
    } else {
        Err(format!("{name} {version} is what the table has recorded, and here is \"{said}\""))
    }
}

impl Program {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As the init of a command.
    pub fn run(&self, command: &[&str]) -> Setup {
        self.with(&[], command)
    }

    /// The same, with options of its own.
    pub fn with(&self, options: &[&str], command: &[&str]) -> Setup {
        self.words(&[options, &["--"], command].concat())
    }

    /// With exactly these words, where `WITNESS` is its path.
    pub fn words(&self, words: &[&str]) -> Setup {
        let witness = witness_path().to_string_lossy();
        let words: Vec<String> = words.iter().map(|word| word.replace("WITNESS", &witness)).collect();
        Setup::program(&self.path, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A script that finds it as `$INIT` and the witness as `$W`, so that one container has many of its runs.
    pub fn script(&self, script: &str) -> Setup {
        Setup::program("/bin/sh", &["-c", script])
            .env("INIT", &self.path)
            .env("W", witness_path())
            .env("TINI_SUBREAPER", OsStr::new(""))
    }

    /// What makes it signal the whole group of its child.
    pub fn group(&self) -> &'static [&'static str] {
        match self.manner {
            Manner::Tini | Manner::Catatonit | Manner::Tinysup => &["-g"],
            Manner::DumbInit => &[],
        }
    }
}
