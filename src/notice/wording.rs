//! How notices, their causes and the errors of starts read. A person sees these words and no others.
//!
//! Here `*name` is written rather than `{name}`: of a reference that stands in the text itself another reference is made, ten bytes of code in
//! each of a hundred places.

use std::fmt::{self, Display, Formatter};
use std::rc::Rc;
use std::time::Duration;

use super::memory::{self, Holder, Part};
use super::{ByHand, Cause, KillReason, Next, Notice, Refused, StopReason};
use crate::event::{ExitStatus, FileTrouble, Process, StartError};
use crate::gather::{Joined, replaced};
use crate::probe::Failure;
use crate::units::{Signal, show_address, show_duration, show_size};

impl Display for Notice {
    #[expect(clippy::too_many_lines, reason = "one entry for each notice")]
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPid1 => f.write_str("not PID 1: fine, orphans are adopted all the same"),
            Self::Up { name, after, .. } => write!(f, "{} is up after {}", *name, show_duration(*after)),
            Self::AllUp { services, failed, after } => {
                match (*services, *failed) {
                    (1, 0) => f.write_str("the service is")?,
                    (services, 0) => write!(f, "all {services} services are")?,
                    (services, failed) => write!(f, "{} of {services} services are", services - failed)?,
                }
                write!(f, " up, {}", show_duration(*after))
            }
            Self::Ended { name, cause, uptime, next } => ended(f, name, cause, *uptime, next),
            Self::Ready { name, after, .. } => write!(f, "{} is ready after {}", *name, show_duration(*after)),
            Self::NotYet { name, after, failure } => {
                write!(f, "{} is not ready yet after {}: {}", *name, show_duration(*after), *failure)
            }
            Self::Failing { name, cause, waiting } => {
                write!(f, "{}: {}{}; stopping it", *name, *cause, Holder(cause))?;
                match waiting.as_slice() {
                    [] => Ok(()),
                    [one] => write!(f, ". {} waits for it", *one),
                    several => write!(f, ". {} wait for it", several.listed()),
                }
            }
            Self::Missed { name, misses, of, failure } => {
                write!(f, "{}: health check missed, {}/{}: {}", *name, *misses, *of, *failure)
            }
            Self::Well { name, misses } => {
                write!(f, "{}: healthy again after {}", *name, count(*misses, "missed health check"))
            }
            Self::RestartsWith { name, on } => write!(f, "{} is restarted with {}", *name, *on),
            Self::WaitsAgain { name, on } => write!(f, "{} waits for {}", *name, *on),
            Self::Reloading { name } => write!(f, "{} reads its configuration again", *name),
            Self::Refused { name, what: Refused::MainPid } => write!(f, "{}: MAINPID is not followed: tinysup looks after the process that it started. Let that one stay in the foreground", *name),
            Self::Refused { name, what: Refused::Store } => {
                write!(f, "{}: FDSTORE is not supported; its descriptors end with its run", *name)
            }
            Self::MemoryFound { text } => write!(f, "memory: {}", *text),
            Self::OomGroup => f.write_str(
                "memory.oom.group is 1: when the memory runs out, the kernel ends everything in this container at once, tinysup too",
            ),
            Self::NoCells => f.write_str(
                "no cgroup can be made for a service after all: memory_limit is not enforced by the kernel, what holds more is restarted",
            ),
            Self::MemoryLimit { before, limit } => {
                let shown = |limit: &Option<u64>| limit.map_or_else(|| "none".to_owned(), |limit| show_size(limit).to_string());
                write!(f, "the container's memory limit is {} now, it was {}", shown(limit), shown(before))
            }
            Self::MemoryLow { used, whole } => {
                write!(f, "the container runs short of memory: it uses {}", Part { used: *used, whole: *whole })
            }
            Self::MemoryWell { used, whole } => {
                write!(f, "the container has memory again: it uses {}", Part { used: *used, whole: *whole })
            }
            Self::NoVictim { used, whole } => write!(
                f,
                "the container runs short of memory, it uses {}, and there is no service whose restart would help",
                Part { used: *used, whole: *whole }
            ),
            Self::OomKilled { name, count } => memory::killed(f, name.as_ref(), *count),
            Self::Leftovers { name, found, daemonized: None } => {
                write!(f, "{} left {} behind; stopping {}", *name, Processes(found), it(found))
            }
            Self::Leftovers { name, found, daemonized: Some(remedy) } => write!(f, "{} exited with code 0 but left {} running: it put itself into the background. {}; stopping {}", *name, Processes(found), *remedy, it(found)),
            Self::LeftoversKilled { name, found } => {
                write!(f, "{} left {} behind, which did not heed SIGTERM: SIGKILL", *name, Processes(found))
            }
            Self::Unkillable { name, found } => write!(f, "{}: {} cannot be ended even with SIGKILL (waiting for a disk or a network file system?); going on without", *name, Processes(found)),
            Self::DependencyFailed { name, on, completed: false } => {
                write!(f, "{}: cannot start: it needs {}, which failed", *name, *on)
            }
            Self::DependencyFailed { name, on, completed: true } => {
                write!(f, "{}: cannot start: it needs {}, which completed", *name, *on)
            }
            Self::Stopping { reason, names } => {
                write!(f, "stopping ({})", *reason)?;
                if names.is_empty() { Ok(()) } else { write!(f, ": {}", names.listed()) }
            }
            Self::StillStopping { names, remaining } => {
                write!(f, "still stopping: {}", names.listed())?;
                match remaining {
                    Some(left) => write!(f, "; SIGKILL in {}", show_duration(*left)),
                    None => Ok(()),
                }
            }
            Self::Killing { name, signal: None, after: Duration::ZERO, why, .. } => {
                write!(f, "{}: SIGKILL at once ({})", *name, *why)
            }
            Self::Killing { name, signal, after, why, hint } => {
                let asked = signal.map_or_else(|| "stop_command".to_owned(), |signal| signal.to_string());
                write!(f, "{}: still there {} after {asked}, SIGKILL ({})", *name, show_duration(*after), *why)?;
                match hint {
                    Some(hint) => write!(f, ". {}", *hint),
                    None => Ok(()),
                }
            }
            Self::StopCommandFailed { name, cause: Cause::Start(error) } => {
                write!(f, "{}: cannot run stop_command: {}; sending the stop signal", *name, *error)
            }
            Self::StopCommandFailed { name, cause } => {
                write!(f, "{}: stop_command ended with {}; sending the stop signal", *name, *cause)
            }
            Self::Strays { found } => write!(f, "asking {} to end", Processes(found)),
            Self::Stopped { after, each, code } => {
                write!(f, "stopped in {}", show_duration(*after))?;
                for (index, (name, took)) in each.iter().enumerate() {
                    write!(f, "{} {} {}", if index == 0 { ":" } else { "," }, *name, show_duration(*took))?;
                }
                if *code == 0 { Ok(()) } else { write!(f, "; exit code {code}") }
            }
            Self::AllDone { failed: None, code } => write!(f, "all is done; exit code {code}"),
            Self::AllDone { failed: Some(name), code } => {
                write!(f, "nothing runs any more; {} has failed; exit code {code}", *name)
            }
            Self::Obituary(text) => f.write_str(text),
            Self::Unread { name, lines } => write!(f, "{}: {lines} line{} dropped because nobody read the container's output ([log] overflow = \"drop\"); tinysup logs \
                 has the last of them", *name, if *lines == 1 { " was" } else { "s were" }),
            Self::Updating(updating) => updating.fmt(f),
            Self::Updated { after, bad } => {
                write!(f, "updated after {}", show_duration(*after))?;
                if bad.is_empty() { Ok(()) } else { write!(f, "; not as it should be: {}", bad.listed()) }
            }
            Self::NotUpdated { why } => write!(f, "not updated, nothing is changed: {}", *why),
            Self::Stays { keys } => {
                write!(f, "{} cannot be changed while the container runs, only by starting it again", keys.listed())
            }
            Self::File { path, trouble: FileTrouble::Lost { reason } } => {
                write!(f, "cannot write {}: {}; lines for it are lost until that works again", *path, *reason)
            }
            Self::File { path, trouble: FileTrouble::Grows { reason } } => {
                write!(f, "cannot rotate {}: {}; it grows until that works again", *path, *reason)
            }
            Self::File { path, trouble: FileTrouble::Over { lines: 0 } } => {
                write!(f, "{} is as it should be again; no line was lost", *path)
            }
            Self::File { path, trouble: FileTrouble::Over { lines } } => {
                write!(f, "{} can be written again; {} lost", *path, lines_were(*lines))
            }
            Self::File { path, trouble: FileTrouble::Never { lines } } => {
                write!(f, "{} could not be written again; {} lost", *path, lines_were(*lines))
            }
            Self::Reopened { files: 0 } => f.write_str("there are no files of output to open again"),
            Self::Reopened { files: 1 } => f.write_str("the file of output is opened again"),
            Self::Reopened { files } => write!(f, "{} files of output are opened again", *files),
            Self::RateLimited { name, lines, most, per } => write!(f, "{}: {} dropped by log_rate_limit = \"{}/{}\"; tinysup logs has the last of them", *name, lines_were(*lines), *most, per_word(*per)),
            Self::ByHand { what, names } => {
                let what = match what {
                    ByHand::Start => "starting",
                    ByHand::Stop => "stopping",
                    ByHand::Restart => "restarting",
                };
                write!(f, "{what}, as a client asks: {}", names.listed())
            }
            Self::Spawned { name, pid, .. } => write!(f, "{} is pid {}", *name, *pid),
            Self::Reaped { pid, status, adopted: true, .. } => write!(f, "reaped orphan pid {}: {}", *pid, *status),
            Self::Reaped { pid, status, adopted: false, .. } => write!(f, "reaped pid {}: {}", *pid, *status),
            Self::NotAdopting => {
                f.write_str("not PID 1, and orphans go to another process: they cannot be adopted here")
            }
            Self::AskedGroup(signal) => write!(f, "{} to what is left of the command's group", *signal),
            Self::Forwarded { signal, receivers } => write!(f, "{} passed on to {}", *signal, *receivers),
        }
    }
}

#[inline(never)]
fn ended(f: &mut Formatter<'_>, name: &Rc<str>, cause: &Cause, uptime: Duration, next: &Next) -> fmt::Result {
    let uptime = show_duration(uptime);
    match (cause, next) {
        (Cause::Start(error), Next::Ends) => write!(f, "{}: cannot start: {}", *name, *error),
        (Cause::Start(error), _) => write!(f, "{}: cannot start: {}; {}", *name, *error, *next),
        (Cause::Exit(_), _) => write!(f, "{}: {} after {uptime}; {}", *name, *cause, *next),
        (Cause::Unready(status), _) => {
            write!(f, "{}: {} after {uptime}, before it was ready; {}", *name, WithMeaning(*status), *next)
        }
        // Why has been told when it was stopped.
        (Cause::NotReady(_), _) => {
            write!(f, "{}: stopped after {uptime}, as it was not ready; {}", *name, *next)
        }
        (Cause::Unhealthy { .. }, _) => {
            write!(f, "{}: stopped after {uptime}, as it was unhealthy; {}", *name, *next)
        }
        (Cause::Watchdog { .. }, _) => {
            write!(f, "{}: stopped after {uptime} by its watchdog; {}", *name, *next)
        }
        (Cause::OverMemory { bytes, limit, .. }, _) => {
            let why = format!("of memory and may hold {}", show_size(*limit));
            memory::stopped(f, name, uptime, *bytes, &why, next)
        }
        (Cause::ShortMemory { held, .. }, _) => {
            memory::stopped(f, name, uptime, *held, "and the container ran short of memory", next)
        }
        (Cause::OutOfMemory { .. }, _) => write!(f, "{}: {} after {uptime}; {}", *name, *cause, *next),
    }
}

impl Display for Next {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart { number, max, window, delay } => {
                match max {
                    Some(max) => write!(f, "restart {number}/{}", *max)?,
                    None => write!(f, "restart {number}")?,
                }
                if let Some(window) = window {
                    write!(f, " within {}", show_duration(*window))?;
                }
                if delay.is_zero() { f.write_str(" now") } else { write!(f, " in {}", show_duration(*delay)) }
            }
            Self::Completed => f.write_str("completed"),
            Self::Failed { budget: Some(0) } => f.write_str("failed for good: max_restarts = 0"),
            Self::Failed { budget: Some(1) } => f.write_str("failed for good: its 1 restart is spent"),
            Self::Failed { budget: Some(max) } => {
                write!(f, "failed for good: all {} restarts are spent", *max)
            }
            Self::Failed { budget: None } => f.write_str("failed for good: restart = \"never\""),
            Self::Down => f.write_str("stopped"),
            Self::With(on) => write!(f, "starts again with {}", *on),
            Self::Again => f.write_str("starts again, as asked"),
            Self::Ends => f.write_str("its code is passed on"),
        }
    }
}

impl Display for StopReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => signal.fmt(f),
            Self::Asked => f.write_str("a client asks"),
            Self::Failed(name) => write!(f, "{} has failed for good", *name),
            Self::Ended(name) => write!(f, "{} has ended", *name),
            Self::AllDone => f.write_str("all is done"),
        }
    }
}

impl Display for KillReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillTimeout => "kill_timeout",
            Self::ShutdownTimeout => "shutdown_timeout",
            Self::Impatience => "second SIGINT",
        })
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => WithMeaning(*status).fmt(f),
            Self::Unready(status) => write!(f, "{} before it was ready", WithMeaning(*status)),
            Self::Start(error) => write!(f, "cannot start: {}", *error),
            Self::NotReady(how) => {
                write!(f, "not ready after {} (ready = {})", show_duration(how.waited), how.test)?;
                if let Some(failure) = &how.failure {
                    write!(f, ": {}", *failure)?;
                }
                if !how.listens.is_empty() {
                    write!(f, ". It listens on {}", how.listens.listed())?;
                }
                match &how.says {
                    Some(text) => write!(f, ". It says: {}", *text),
                    None => Ok(()),
                }
            }
            Self::Unhealthy { misses, failure } => {
                write!(f, "unhealthy: {}, the last: {}", count(*misses, "missed health check"), *failure)
            }
            Self::Watchdog { silence: Some(longest) } => {
                write!(f, "no WATCHDOG=1 for {}: SIGABRT", show_duration(*longest))
            }
            Self::Watchdog { silence: None } => {
                f.write_str("it called for its end (WATCHDOG=trigger): SIGABRT")
            }
            Self::OverMemory { bytes, limit, .. } => memory::over(f, *bytes, *limit),
            Self::ShortMemory { used, whole, held, .. } => write!(
                f,
                "the container runs short of memory, it uses {}, and this holds {}",
                Part { used: *used, whole: *whole },
                show_size(*held)
            ),
            Self::OutOfMemory { held, limit, own } => memory::out_of_memory(f, *held, *limit, *own),
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { address } => write!(f, "nobody listens on {}", show_address(address)),
            Self::NoSocket { reason } => write!(f, "no such socket is open: {}", *reason),
            Self::NoFile { reason } => write!(f, "the file is not there: {}", *reason),
            Self::CannotAsk { reason } => write!(f, "cannot ask: {}", *reason),
            Self::Late { timeout } => write!(f, "no answer within {}", show_duration(*timeout)),
            Self::Closed => f.write_str("the connection was closed without an answer"),
            Self::NotHttp => f.write_str("the answer is not HTTP"),
            Self::Status(status) => write!(f, "HTTP status {}", *status),
            Self::Command { status, said } if said.is_empty() => write!(f, "{}", WithMeaning(*status)),
            Self::Command { status, said } => write!(f, "{}: {}", WithMeaning(*status), *said),
            Self::CommandStart(error) => write!(f, "cannot run the test: {}", *error),
        }
    }
}

/// An exit status with what its code means, where it has a meaning beyond the program's own.
struct WithMeaning(ExitStatus);

impl Display for WithMeaning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        match self.0 {
            ExitStatus::Signal { signal: Signal::SEGV, .. } => f.write_str(": invalid memory access"),
            ExitStatus::Signal { signal: Signal::ABRT, .. } => f.write_str(": aborted itself"),
            ExitStatus::Code(126) => f.write_str(" (a shell could not execute a command)"),
            ExitStatus::Code(127) => f.write_str(" (a shell did not find a command)"),
            ExitStatus::Code(code @ 129..=192) => match Signal::new(i32::from(code) - 128) {
                Some(signal) => write!(f, " (as after {signal})"),
                None => Ok(()),
            },
            ExitStatus::Code(_) | ExitStatus::Signal { .. } => Ok(()),
        }
    }
}

/// `"sleep" (pid 7)`, with at most five named.
struct Processes<'a>(&'a [Process]);

impl Display for Processes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (index, process) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}\"{}\" (pid {})", if index == 0 { "" } else { ", " }, process.name, process.pid)?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What people take for programs.
const SHELL_WORDS: [&str; 14] = [
    "cd", "exec", "export", "source", ".", "set", "ulimit", "umask", "trap", "if", "for", "while", "until",
    "eval",
];

/// `1 miss`, `2 misses`: with an s where it is not one.
fn count(number: u32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn lines_were(lines: u64) -> String {
    match lines {
        1 => "1 line was".to_owned(),
        _ => format!("{lines} lines were"),
    }
}

/// As the configuration writes it.
pub fn per_word(per: Duration) -> String {
    match per.as_secs() {
        1 if per.subsec_nanos() == 0 => "s".to_owned(),
        60 if per.subsec_nanos() == 0 => "m".to_owned(),
        3600 if per.subsec_nanos() == 0 => "h".to_owned(),
        _ => replaced(&show_duration(per).to_string(), ' ', ""),
    }
}

fn it(found: &[Process]) -> &'static str {
    if found.len() == 1 { "it" } else { "them" }
}

impl Display for StartError {
    #[expect(clippy::too_many_lines, reason = "one sentence for each error")]
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { program, path: None, .. } if program == "/bin/sh" => {
                f.write_str("this image has no /bin/sh; give the command without shell = true, as an array")
            }
            Self::NotFound { program, path: None, .. } => write!(f, "\"{}\" does not exist", *program),
            Self::NotFound { program, path: Some(_), .. } if SHELL_WORDS.contains(&program.as_str()) => {
                write!(
                    f,
                    "\"{}\" is a word of the shell and no program; set shell = true, or run it by sh -c",
                    *program
                )
            }
            Self::NotFound { program, path: Some(_), .. } if program.contains(' ') => {
                let words: Vec<String> =
                    program.split_whitespace().map(|word| format!("\"{word}\"")).collect();
                write!(
                    f,
                    "there is no program \"{}\". In an array each word stands alone: [{}]",
                    *program,
                    words.listed()
                )
            }
            Self::NotFound { program, path: Some(path), similar } => {
                write!(f, "\"{}\" is not in PATH ({})", *program, *path)?;
                match similar {
                    Some(similar) => write!(f, ". Similar: {}", *similar),
                    None => Ok(()),
                }
            }
            Self::MissingInterpreter { file, interpreter } => write!(
                f,
                "{} is there, but its first line asks for \"{}\", which this image does not have",
                *file, *interpreter
            ),
            Self::WindowsLineEnds { file, interpreter } => write!(
                f,
                "{} is there, but its first line asks for \"{}\\r\": the file has Windows line ends. Fix: sed -i 's/\\r$//' {}",
                *file, *interpreter, *file
            ),
            Self::MissingLoader { file, loader } => write!(
                f,
                "{} is there, but needs {}, which this image does not have (a glibc program in a musl or scratch image?)",
                *file, *loader
            ),
            Self::NotExecutable { file, noexec: true, .. } => {
                write!(f, "{} is on a file system mounted noexec", *file)
            }
            Self::NotExecutable { file, mode, noexec: false } => {
                write!(
                    f,
                    "{} is not executable (mode {:04o}). Dockerfile: RUN chmod +x {}",
                    *file, *mode, *file
                )
            }
            Self::IsDirectory { file } => write!(f, "{} is a directory", *file),
            Self::NoShebang { file } => {
                write!(
                    f,
                    "{} is neither a program nor a script with a \"#!\" line. Fix: make \"#!/bin/sh\" its first line",
                    *file
                )
            }
            Self::WrongMachine { file } => {
                write!(
                    f,
                    "{} is a program for another kind of machine; build the image for this platform",
                    *file
                )
            }
            Self::TooBig { bytes } => {
                write!(f, "arguments and environment are {} bytes, more than the kernel takes", *bytes)
            }
            Self::Busy { file } => write!(f, "{} is being written at this moment", *file),
            Self::WorkingDirectory { path, reason } => {
                write!(f, "cannot change to cwd = \"{}\": {}", *path, *reason)
            }
            Self::UnknownUser { name, passwd: true } => {
                write!(
                    f,
                    "no user \"{}\" in /etc/passwd. A number needs no entry there: user = \"1000\"",
                    *name
                )
            }
            Self::UnknownUser { name, passwd: false } => {
                write!(
                    f,
                    "no user \"{}\": this image has no /etc/passwd. Use a number: user = \"1000\"",
                    *name
                )
            }
            Self::UnknownGroup { name, group: true } => {
                write!(
                    f,
                    "no group \"{}\" in /etc/group. A number needs no entry there: group = \"1000\"",
                    *name
                )
            }
            Self::UnknownGroup { name, group: false } => {
                write!(
                    f,
                    "no group \"{}\": this image has no /etc/group. Use a number: group = \"1000\"",
                    *name
                )
            }
            Self::CannotSwitchUser { user, uid, own_uid, reason } => write!(
                f,
                "cannot become user \"{}\" ({}): {}. It needs root with CAP_SETUID and CAP_SETGID, and the container runs as uid {}. Remove user, or run the container as {}",
                *user, *uid, *reason, *own_uid, *uid
            ),
            Self::EnvFile { variable, path, reason } => {
                write!(f, "cannot read {} for {}: {}", *path, *variable, *reason)
            }
            Self::NoProcess { reason } => write!(f, "cannot make a process: {}", *reason),
            Self::Other { what, reason } => write!(f, "cannot {what}: {}", *reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a command line there is no `shell` to be set.
    #[test]
    fn words_of_the_shell_have_a_remedy_in_a_configuration_and_on_a_command_line() {
        let path = Some("/bin".to_owned());
        let error = StartError::NotFound { program: "exec".to_owned(), path, similar: None };
        assert_eq!(
            error.to_string(),
            "\"exec\" is a word of the shell and no program; set shell = true, or run it by sh -c"
        );
    }
}
