//! The words of a start: the command, under which conditions it runs, and how it is known again.

use std::ffi::OsString;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::rc::Rc;

use super::{Cell, Output};

/// A value that must never be printed: environment values hold secrets. It has no `Display`, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(OsString);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<OsString>) -> Self {
        Self(value.into())
    }

    /// The value, for handing it to a process.
    pub fn reveal(&self) -> &OsString {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Everything the kernel needs to start one process; made once from the plan and shared by all runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments. The program is looked up in the `PATH` of its environment if it has no slash.
    pub argv: Vec<Secret>,
    /// The command as the configuration shows it, before variables were replaced: safe to print.
    pub shown: String,
    /// Variables whose value is a file's content, read at each start without its last newline.
    pub env_from_file: Rc<[(OsString, PathBuf)]>,
    /// What is the same for a service and for what is run beside it.
    pub conditions: Rc<Conditions>,
    /// Standard input.
    pub stdin: Stdin,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// Its session, group, and what it inherits of signals and descriptors.
    pub surroundings: Surroundings,
    /// By what its descendants are recognised wherever they move; `None`: they are not looked for.
    pub mark: Option<Mark>,
    /// How it can tell us how it is.
    pub speaks: Speaks,
    /// Whether it gets a cgroup of its own where one can be made; what it starts is in it, too.
    pub cell: Option<Cell>,
}

/// Under which conditions a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Whether the container's environment is passed on (true) or the child starts with `env` alone.
    pub inherit_env: bool,
    /// Variables set over that.
    pub env: Vec<(OsString, Secret)>,
    /// The working directory; `None`: ours.
    pub cwd: Option<PathBuf>,
    /// Who it runs as.
    pub identity: Identity,
    /// Limits and attributes.
    pub attributes: Attributes,
}

impl Default for Conditions {
    fn default() -> Self {
        let (identity, attributes) = (Identity::default(), Attributes::default());
        Self { inherit_env: true, env: Vec::new(), cwd: None, identity, attributes }
    }
}

impl Launch {
    /// A service with every default: nothing but the command is its own, and its output is relayed with its name.
    pub fn new(argv: Vec<Secret>, shown: String) -> Self {
        Self {
            argv,
            shown,
            env_from_file: Rc::default(),
            conditions: Rc::default(),
            stdin: Stdin::default(),
            stdout: Output::default(),
            stderr: Output::default(),
            surroundings: Surroundings::Service,
            mark: None,
            speaks: Speaks::default(),
            cell: None,
        }
    }
}

impl Deref for Launch {
    type Target = Conditions;

    fn deref(&self) -> &Conditions {
        &self.conditions
    }
}

/// How a process can tell us how it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speaks {
    /// It has a socket of its own, whose address is in `NOTIFY_SOCKET` (sd_notify(3)).
    pub notify: bool,
    /// It has a pipe at this descriptor, from 3 on, into which it writes a newline when it is ready (as s6 has it).
    pub descriptor: Option<i32>,
}

/// The user and groups of a process, by name or number. Names are looked up at each start in /etc/passwd and /etc/group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// A user's name or number; `None`: ours.
    pub user: Option<String>,
    /// A group's name or number; `None`: the user's own group from /etc/passwd, or the number of the user.
    pub group: Option<String>,
    /// Supplementary groups; `None`: those that /etc/group gives the user, none for a number without an entry.
    pub groups: Option<Vec<String>>,
}

/// Limits and attributes of a process; `None` means inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// File mode creation mask (umask(2)).
    pub umask: Option<u32>,
    /// Nice value, -20 to 19 (setpriority(2)).
    pub nice: Option<i32>,
    /// -1000 to 1000 (proc_pid_oom_score_adj(5)).
    pub oom_score_adj: Option<i32>,
    /// Resource limits (setrlimit(2)).
    pub rlimits: Vec<Rlimit>,
    /// PR_SET_NO_NEW_PRIVS (prctl(2)).
    pub no_new_privileges: bool,
    /// The only capabilities it keeps, by number (capabilities(7)); an empty list drops all.
    pub capabilities: Option<Vec<u8>>,
}

/// One resource limit; `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// The kernel's number of the resource, such as `RLIMIT_NOFILE` = 7.
    pub resource: u32,
    /// The soft limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

/// Where a process reads from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// /dev/null.
    #[default]
    Null,
    /// The container's standard input.
    Inherit,
}

/// What a process finds around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surroundings {
    /// A session and group of its own, no signal blocked or ignored, no descriptor but 0, 1, 2.
    Service,
    /// As if there were no init: inherited signal mask and dispositions; a group of its own, which gets the terminal
    /// if we had it.
    Command,
    /// The same, but it leads a session of its own, and the terminal on its standard input is that session's.
    Session,
}

/// The variables `TINYSUP_SERVICE` and `TINYSUP_INSTANCE` in a process's environment, which its descendants inherit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The service's name.
    pub service: Rc<str>,
    /// The number of the instance, from 1.
    pub instance: u32,
}
