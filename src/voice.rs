//! How lines of ours begin and what a few of them say under each name that the program may be called by. People and scripts
//! around tini, dumb-init and catatonit look for their forms; all other words are those of `notice`.

use log::Level;

use crate::event::{ExitStatus, StartError};
use crate::notice::{Cause, Next, Notice};

/// A form of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    /// `tinysup | `.
    #[default]
    Tinysup,
    /// `[WARN  tini (7)] `.
    Tini,
    /// `[dumb-init] `.
    DumbInit,
    /// `ERROR (catatonit:7): `.
    Catatonit,
}

impl Voice {
    /// What stands before each line.
    pub fn prefix(self, level: Level, pid: u32) -> String {
        match self {
            Self::Tinysup => "tinysup | ".to_owned(),
            Self::Tini => {
                let level = match level {
                    Level::Error => "FATAL",
                    Level::Warn => "WARN ",
                    Level::Info => "INFO ",
                    Level::Debug => "DEBUG",
                    Level::Trace => "TRACE",
                };
                format!("[{level} tini ({pid})] ")
            }
            Self::DumbInit => "[dumb-init] ".to_owned(),
            Self::Catatonit => format!("{level} (catatonit:{pid}): "),
        }
    }

    /// What is said of a notice.
    #[inline(never)]
    pub fn words(self, notice: &Notice) -> String {
        let own = match self {
            Self::Tinysup => None,
            Self::Tini => tini(notice),
            Self::DumbInit => dumb_init(notice),
            Self::Catatonit => catatonit(notice),
        };
        own.unwrap_or_else(|| notice.to_string())
    }
}

fn tini(notice: &Notice) -> Option<String> {
    match notice {
        Notice::Reaped { pid, adopted: true, .. } => Some(format!("Reaped zombie process with pid={pid}")),
        Notice::Reaped { pid, adopted: false, .. } => Some(format!("Received SIGCHLD: pid {pid} has ended")),
        Notice::NotAdopting => Some(
            "not PID 1 and no child subreaper: orphans go to another process, so zombie reaping won't work here. \
             The option -s, or TINI_SUBREAPER in the environment, makes it one"
                .to_owned(),
        ),
        _ => cannot_start(notice, &|name, why| format!("exec {name} failed: {why}")),
    }
}

#[inline(never)]
fn dumb_init(notice: &Notice) -> Option<String> {
    match notice {
        Notice::Spawned { pid, session, .. } => {
            let mode = if *session { "\nsetsid complete." } else { "" };
            Some(format!("Child spawned with PID {pid}.{mode}"))
        }
        Notice::Forwarded { signal, receivers: 0 } => Some(format!(
            "Received signal {0}.\nNot forwarding signal {0} to children (ignored).",
            signal.number()
        )),
        Notice::Forwarded { signal, .. } => {
            Some(format!("Received signal {0}.\nForwarded signal {0} to children.", signal.number()))
        }
        Notice::Reaped { pid, status: ExitStatus::Code(code), .. } => {
            Some(format!("Received signal 17.\nA child with PID {pid} exited with exit status {code}."))
        }
        Notice::Reaped { pid, status: ExitStatus::Signal { signal, .. }, .. } => Some(format!(
            "Received signal 17.\nA child with PID {pid} was terminated by signal {}.",
            signal.number()
        )),
        Notice::AskedGroup(signal) => Some(format!("Forwarded signal {} to children.", signal.number())),
        Notice::Ended { cause: Cause::Exit(status), next: Next::Ends, .. } => {
            Some(format!("Child exited with status {}. Goodbye.", status.shell_code()))
        }
        _ => cannot_start(notice, &|name, why| format!("{name}: {why}")),
    }
}

fn catatonit(notice: &Notice) -> Option<String> {
    cannot_start(notice, &|name, why| format!("failed to exec pid1: {name}: {why}"))
}

/// The failed exec in the form that is looked for, and below it what we know beyond the system's word.
#[inline(never)]
fn cannot_start(notice: &Notice, form: &dyn Fn(&str, &str) -> String) -> Option<String> {
    let Notice::Ended { name, cause: Cause::Start(error), next: Next::Ends, .. } = notice else {
        return None;
    };
    let (program, known) = match &**error {
        StartError::NotFound { program, similar, .. } => (program.as_str(), similar.is_none()),
        StartError::MissingInterpreter { file, .. }
        | StartError::WindowsLineEnds { file, .. }
        | StartError::MissingLoader { file, .. }
        | StartError::NotExecutable { file, .. }
        | StartError::IsDirectory { file }
        | StartError::NoShebang { file }
        | StartError::WrongMachine { file }
        | StartError::Busy { file } => (file.as_str(), false),
        _ => (&**name, false),
    };
    let line = form(program, system_word(error));
    Some(if known { line } else { format!("{line}\n{error}") })
}

/// What strerror(3) says of it.
fn system_word(error: &StartError) -> &str {
    match error {
        StartError::NotFound { .. }
        | StartError::MissingInterpreter { .. }
        | StartError::WindowsLineEnds { .. }
        | StartError::MissingLoader { .. } => "No such file or directory",
        StartError::NotExecutable { .. } | StartError::IsDirectory { .. } => "Permission denied",
        StartError::NoShebang { .. } | StartError::WrongMachine { .. } => "Exec format error",
        StartError::TooBig { .. } => "Argument list too long",
        StartError::Busy { .. } => "Text file busy",
        StartError::WorkingDirectory { reason, .. }
        | StartError::CannotSwitchUser { reason, .. }
        | StartError::EnvFile { reason, .. }
        | StartError::NoProcess { reason }
        | StartError::Other { reason, .. } => reason,
        StartError::UnknownUser { .. } | StartError::UnknownGroup { .. } => "Invalid argument",
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::event::Pid;
    use crate::units::Signal;

    #[test]
    fn each_name_has_its_form() {
        for (voice, level, expected) in [
            (Voice::Tinysup, Level::Error, "tinysup | "),
            (Voice::Tini, Level::Error, "[FATAL tini (7)] "),
            (Voice::Tini, Level::Warn, "[WARN  tini (7)] "),
            (Voice::DumbInit, Level::Debug, "[dumb-init] "),
            (Voice::Catatonit, Level::Error, "ERROR (catatonit:7): "),
        ] {
            assert_eq!(voice.prefix(level, 7), expected);
        }
    }

    #[test]
    fn what_is_looked_for_is_said() {
        let pid = Pid::new(9).unwrap();
        let exited = Notice::Reaped { pid, status: ExitStatus::Code(3), adopted: true, wanted: true };
        let not_found = |similar: Option<&str>| Notice::Ended {
            name: "x".into(),
            cause: Cause::Start(Rc::new(StartError::NotFound {
                program: "x".to_owned(),
                path: Some("/bin".to_owned()),
                similar: similar.map(str::to_owned),
            })),
            uptime: Duration::ZERO,
            next: Next::Ends,
        };
        for (voice, notice, expected) in [
            (Voice::Tini, &exited, "Reaped zombie process with pid=9"),
            (Voice::DumbInit, &exited, "Received signal 17.\nA child with PID 9 exited with exit status 3."),
            (Voice::Tini, &not_found(None), "exec x failed: No such file or directory"),
            (Voice::DumbInit, &not_found(None), "x: No such file or directory"),
            (
                Voice::DumbInit,
                &not_found(Some("/bin/xx")),
                "x: No such file or directory\n\"x\" is not in PATH (/bin). Similar: /bin/xx",
            ),
            (Voice::Catatonit, &not_found(None), "failed to exec pid1: x: No such file or directory"),
            (
                Voice::DumbInit,
                &Notice::Forwarded { signal: Signal::TERM, receivers: 1 },
                "Received signal 15.\nForwarded signal 15 to children.",
            ),
            (Voice::Tinysup, &not_found(None), "x: cannot start: \"x\" is not in PATH (/bin)"),
        ] {
            assert_eq!(voice.words(notice), expected);
        }
    }
}
