//! From the step that failed, and the system's word for it, to the cause that a person can act on. Looks at files only after a
//! failure, and never waits for one.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::sys::statfs::statfs;
use nix::sys::statvfs::FsFlags;

use super::call::{self, c_path, is_file};
use super::child::{Failure, Step};
use super::descriptors;
use super::elf::{self, Elf};
use super::spawn::Attempt;
use super::word;
use crate::event::StartError;
use crate::gather::Gather;
use crate::suggest;
use crate::units::RESOURCES;

/// The kernel looks no further for the end of a `#!` line.
const SHEBANG_MAX_BYTES: usize = 256;

/// An interpreter may itself be a script, and so on; the kernel goes as far.
const INTERPRETERS_MAX: u32 = 4;

/// So many names are compared when a program is not found.
const NAMES_COMPARED_MAX: usize = 20_000;

/// Why a child could not be started.
#[inline(never)]
pub fn diagnose(failure: Failure, attempt: &Attempt) -> StartError {
    let mut reason = word(failure.errno);
    let attributes = &attempt.launch.attributes;
    let what = match failure.step {
        Step::Session => "make a session of its own".to_owned(),
        Step::Cell => "enter the cgroup that limits its memory".to_owned(),
        Step::Stdio => format!("put descriptor {} in its place", failure.index),
        Step::Cwd => {
            let path = attempt.launch.cwd.as_ref().map(|cwd| cwd.display().to_string()).unwrap_or_default();
            return StartError::WorkingDirectory { path, reason };
        }
        Step::Rlimit => match attempt.rlimits.get(usize::from(failure.index)) {
            Some((resource, limit)) => {
                let hint =
                    if failure.errno == Errno::EPERM { " (only root may raise a hard limit)" } else { "" };
                reason.push_str(hint);
                format!("set the limit {} to {}", name_of_limit(*resource), show_limit(limit))
            }
            None => "set a resource limit".to_owned(),
        },
        Step::OomScoreAdj => format!("set oom_score_adj to {}", attributes.oom_score_adj.unwrap_or_default()),
        Step::Nice => format!("set the nice value to {}", attributes.nice.unwrap_or_default()),
        Step::Groups | Step::Gid | Step::Uid if failure.errno == Errno::EINVAL => {
            reason.push_str(
                " (one of their numbers is not mapped into the container's user namespace; on the host /etc/subuid and /etc/subgid decide)",
            );
            "become its user and groups".to_owned()
        }
        Step::Groups | Step::Gid | Step::Uid => return cannot_switch(attempt, reason),
        Step::Verify => return cannot_switch(attempt, "the system only pretended to".to_owned()),
        Step::Capabilities => "limit its capabilities".to_owned(),
        Step::NoNewPrivileges => "forbid new privileges".to_owned(),
        Step::Exec => return exec(failure, attempt),
    };
    StartError::Other { what, reason }
}

fn cannot_switch(attempt: &Attempt, reason: String) -> StartError {
    let identity = &attempt.launch.identity;
    let own_uid = nix::unistd::getuid().as_raw();
    match (&identity.user, attempt.uid) {
        (Some(user), uid) => {
            StartError::CannotSwitchUser { user: user.clone(), uid: uid.unwrap_or(own_uid), own_uid, reason }
        }
        (None, _) => StartError::Other { what: "set the groups".to_owned(), reason },
    }
}

fn name_of_limit(resource: u32) -> String {
    let name = usize::try_from(resource).ok().and_then(|resource| RESOURCES.get(resource));
    name.map_or_else(|| resource.to_string(), |name| (*name).to_owned())
}

fn show_limit(limit: &libc::rlimit) -> String {
    let show = |value: libc::rlim_t| match value {
        libc::RLIM_INFINITY => "unlimited".to_owned(),
        value => value.to_string(),
    };
    if limit.rlim_cur == limit.rlim_max {
        show(limit.rlim_cur)
    } else {
        format!("{} (hard limit {})", show(limit.rlim_cur), show(limit.rlim_max))
    }
}

#[inline(never)]
fn exec(failure: Failure, attempt: &Attempt) -> StartError {
    let candidates = attempt.candidates();
    let candidate =
        |index: u16| candidates.get(usize::from(index)).map(|path| Program::new(path.as_bytes(), attempt));
    let existing = || (0..).map_while(candidate).find(|program| program.status().is_some());
    let tried = candidate(failure.index);
    match (failure.errno, tried) {
        (Errno::ENOENT | Errno::ENOTDIR, _) => match existing() {
            // What it needs is not there, although it is itself.
            Some(program) => program
                .missing(INTERPRETERS_MAX)
                .unwrap_or_else(|| program.cannot_execute(word(Errno::ENOENT))),
            None => not_found(attempt),
        },
        (Errno::E2BIG, _) => StartError::TooBig { bytes: attempt.size },
        (Errno::EACCES, Some(program)) => program.may_not(INTERPRETERS_MAX, attempt),
        (Errno::ENOEXEC, Some(program)) => program.no_program(),
        (Errno::ETXTBSY, Some(program)) => StartError::Busy { file: program.shown },
        (Errno::EPERM, Some(program)) => program.cannot_execute(
            "Operation not permitted (it may have file capabilities that the container does not)".to_owned(),
        ),
        (errno, Some(program)) => program.cannot_execute(word(errno)),
        (_, None) => not_found(attempt), // PATH has no element
    }
}

/// Whether it lies on a file system mounted noexec.
fn forbids_exec(path: &Path) -> bool {
    let system = c_path(path).and_then(|path| statfs(path.as_c_str()));
    system.is_ok_and(|system| system.flags().contains(FsFlags::ST_NOEXEC))
}

/// What would stand in the way of the exec, as far as a look can tell.
#[inline(never)]
pub fn obstacle(attempt: &Attempt) -> Option<StartError> {
    let candidates = attempt.candidates();
    let mut programs = candidates.iter().map(|path| Program::new(path.as_bytes(), attempt));
    let Some(program) = programs.find(|program| program.status().is_some()) else {
        return Some(not_found(attempt));
    };
    let noexec = forbids_exec(&program.path);
    let executable = program.status().is_some_and(|file| is_file(&file) && file.st_mode & 0o111 != 0);
    if noexec || !executable {
        return Some(program.may_not(INTERPRETERS_MAX, attempt));
    }
    let foreign = program.elf().is_some_and(|elf| elf::OWN_MACHINE.is_some_and(|own| own != elf.machine));
    // A file that may not be read tells nothing.
    let unknown = program.open().is_some() && program.elf().is_none() && program.interpreter().is_none();
    if foreign || unknown { Some(program.no_program()) } else { program.missing(INTERPRETERS_MAX) }
}

fn not_found(attempt: &Attempt) -> StartError {
    let program = attempt.launch.argv.first().map(|program| program.reveal().as_os_str()).unwrap_or_default();
    let path = attempt.path.as_ref();
    StartError::NotFound {
        program: program.display().to_string(),
        path: path.map(|path| OsStr::from_bytes(path).display().to_string()),
        similar: path.and_then(|_| similar(program, attempt)),
    }
}

/// A file that was to be executed.
struct Program {
    /// As a person knows it.
    shown: String,
    /// Where it is, seen from here.
    path: PathBuf,
}

impl Program {
    fn new(path: &[u8], attempt: &Attempt) -> Self {
        let path = OsStr::from_bytes(path);
        Self { shown: path.display().to_string(), path: attempt.seen_from_here(path) }
    }

    fn status(&self) -> Option<FileStat> {
        call::status(&self.path).ok()
    }

    fn cannot_execute(self, reason: String) -> StartError {
        StartError::Other { what: format!("execute {}", self.shown), reason }
    }

    /// What it needs and what is not there: its interpreter, that one's interpreter, or its loader.
    #[inline(never)]
    fn missing(&self, depth: u32) -> Option<StartError> {
        let shown = |bytes: &[u8]| OsStr::from_bytes(bytes).display().to_string();
        let file = self.shown.clone();
        if let Some(interpreter) = self.interpreter() {
            if let Some(interpreter) = interpreter.strip_suffix(b"\r") {
                return Some(StartError::WindowsLineEnds { file, interpreter: shown(interpreter) });
            }
            let next = Self::named(interpreter);
            return match next.status() {
                Some(_) if depth > 0 => next.missing(depth - 1),
                Some(_) => None,
                None => Some(StartError::MissingInterpreter { file, interpreter: next.shown }),
            };
        }
        let loader = self.elf()?.loader.map(Self::named)?;
        loader.status().is_none().then_some(StartError::MissingLoader { file, loader: loader.shown })
    }

    /// It is there but may not be executed.
    fn may_not(self, depth: u32, attempt: &Attempt) -> StartError {
        let Some(status) = self.status() else {
            return self.cannot_execute(word(Errno::EACCES));
        };
        let mode = status.st_mode & 0o7777;
        if call::kind(&status) == libc::S_IFDIR {
            return StartError::IsDirectory { file: self.shown };
        }
        if !is_file(&status) {
            return self.cannot_execute("it is not a file".to_owned());
        }
        if forbids_exec(&self.path) {
            return StartError::NotExecutable { file: self.shown, mode, noexec: true };
        }
        if mode & 0o111 == 0 {
            return StartError::NotExecutable { file: self.shown, mode, noexec: false };
        }
        if mode & 0o111 == 0o111 {
            // Everybody may execute it, so it is what it needs.
            let interpreter = self.interpreter().or_else(|| self.elf()?.loader);
            if let Some(next) = interpreter.map(Self::named)
                && depth > 0
                && next.status().is_some_and(|status| status.st_mode & 0o111 != 0o111 || !is_file(&status))
            {
                return next.may_not(depth - 1, attempt);
            }
            return self
                .cannot_execute("Permission denied (a directory above it is closed to the user)".to_owned());
        }
        let uid = attempt.uid.unwrap_or_else(|| nix::unistd::getuid().as_raw());
        let reason = format!(
            "Permission denied for user {uid} (mode {mode:04o}, owner {}:{})",
            status.st_uid, status.st_gid
        );
        self.cannot_execute(reason)
    }

    /// It may be executed, but the kernel does not know how.
    fn no_program(self) -> StartError {
        match self.elf() {
            Some(elf) if elf::OWN_MACHINE.is_some_and(|own| own != elf.machine) => {
                StartError::WrongMachine { file: self.shown }
            }
            Some(_) => self.cannot_execute("it is damaged, or not a program but a library".to_owned()),
            None => StartError::NoShebang { file: self.shown },
        }
    }

    fn named(path: Vec<u8>) -> Self {
        let path = PathBuf::from(OsString::from_vec(path));
        Self { shown: path.display().to_string(), path }
    }

    /// The first word of its `#!` line.
    fn interpreter(&self) -> Option<Vec<u8>> {
        let mut start = [0; SHEBANG_MAX_BYTES];
        let length = self.open()?.read_at(&mut start, 0).ok()?;
        let line = start.get(..length)?.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.next().map(<[u8]>::to_vec)
    }

    fn elf(&self) -> Option<Elf> {
        let file = self.open()?;
        Elf::parse(|offset, length| {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset).ok()?;
            Some(bytes)
        })
    }

    /// Opened for a look.
    fn open(&self) -> Option<File> {
        descriptors::open_file(&self.path).ok()
    }
}

/// A program whose name is nearly that, as `gunicorn (/usr/local/bin)`, or begins with it, as `nodejs (/usr/bin)` for `node`.
#[inline(never)]
fn similar(program: &OsStr, attempt: &Attempt) -> Option<String> {
    /// What was looked for the last time and where, and what was found. A look takes milliseconds, and a thousand instances may fail
    /// at once.
    static LAST: Mutex<(Vec<u8>, Option<String>)> = Mutex::new((Vec::new(), None));
    let path = attempt.path.as_deref().unwrap_or_default();
    let cwd = attempt.launch.cwd.as_ref().map_or(&[][..], |cwd| cwd.as_os_str().as_bytes());
    let wanted = [program.as_bytes(), b":", path, b":", cwd].concat();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.0 != wanted {
        *last = (wanted, look_for(program, attempt));
    }
    last.1.clone()
}

fn look_for(program: &OsStr, attempt: &Attempt) -> Option<String> {
    let wanted = program.to_str()?;
    let mut programs: Vec<(String, PathBuf)> = Vec::new();
    for path in attempt.candidates() {
        let Some(directory) = Path::new(OsStr::from_bytes(path.as_bytes())).parent() else { continue };
        let directory = attempt.seen_from_here(directory.as_os_str());
        let room = NAMES_COMPARED_MAX.saturating_sub(programs.len());
        for name in call::names(&directory, room).unwrap_or_default() {
            if let Ok(name) = name.into_string() {
                programs.push((name, directory.clone()));
            }
        }
    }
    let near = suggest::nearest(wanted, &programs.iter().map(|(name, _)| name.as_str()).gather());
    let found =
        programs.iter().find(|(name, _)| near.map_or_else(|| name.starts_with(wanted), |near| name == near));
    found.map(|(name, directory)| format!("{name} ({})", directory.display()))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::event::{Launch, Secret};
    use crate::suggest::tests::COMPARED;

    #[test]
    fn a_thousand_instances_of_a_missing_program_look_for_a_similar_one_once() {
        let launch = Rc::new(Launch::new(vec![Secret::new("shh")], "shh".into()));
        let path = Some(b"/nowhere:/bin".to_vec());
        let attempt = Attempt { launch, path, size: 0, uid: None, rlimits: Vec::new(), home: None };
        let look = || {
            COMPARED.set(0);
            let similar = similar(OsStr::new("shh"), &attempt);
            (similar.is_some(), COMPARED.get() > 0)
        };
        assert_eq!([look(), look()], [(true, true), (true, false)]);
    }
}
