//! What the init of one command is asked to be: the same value whatever the name and the options were that said so.

use std::ffi::OsString;
use std::time::Duration;

use crate::units::Signal;
use crate::voice::Voice;

/// What processes of nobody get between SIGTERM and SIGKILL when the command has ended.
pub const GRACE: Duration = Duration::from_secs(1);

/// The init of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct One {
    /// How it behaves.
    pub manner: Manner,
    /// How it speaks.
    pub voice: Voice,
    /// How much is told: 0 errors, 1 warnings, 2 news, 3 everything.
    pub verbosity: u8,
    /// The command leads a session of its own, which gets the terminal, instead of a process group only.
    pub session: bool,
    /// Orphans among the descendants are adopted where this is not PID 1.
    pub adopt: bool,
    /// The signal to get when the parent dies.
    pub parent_death: Option<Signal>,
    /// What a signal becomes on its way to the command; `None` drops it. Later entries win.
    pub rewrite: Vec<(Signal, Option<Signal>)>,
    /// Codes that become 0.
    pub success_codes: Vec<u8>,
    /// SIGKILL that long after a forwarded SIGTERM; `None`: never.
    pub kill_timeout: Option<Duration>,
    /// The command.
    pub argv: Vec<OsString>,
}

/// How the init of one command behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Who gets the signals.
    pub receivers: Receivers,
    /// What becomes of the others when the command has ended.
    pub rest: Rest,
    /// A stop signal of the terminal stops the init too, until SIGCONT.
    pub suspend: bool,
    /// Each reaped orphan is told.
    pub tell_reaped: bool,
    /// The code of a command that cannot be started, whatever the reason; `None`: 126 or 127.
    pub start_failure: Option<u8>,
}

/// Who gets the signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receivers {
    /// The command alone.
    Command,
    /// Its process group.
    Group,
    /// Every process: as PID 1 all there are, else all descendants.
    Everybody,
}

/// What becomes of the processes that outlive the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// They are left to the kernel, or to the next reaper.
    Leave,
    /// The command's group gets SIGTERM, and is left.
    AskGroup,
    /// All get SIGTERM, and SIGKILL when that time is over.
    Stop(Duration),
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            receivers: Receivers::Command,
            rest: Rest::Stop(GRACE),
            suspend: false,
            tell_reaped: false,
            start_failure: None,
        }
    }
}

impl Default for One {
    fn default() -> Self {
        Self {
            manner: Manner::default(),
            voice: Voice::Tinysup,
            verbosity: 0,
            session: false,
            adopt: true,
            parent_death: None,
            rewrite: Vec::new(),
            success_codes: Vec::new(),
            kill_timeout: None,
            argv: Vec::new(),
        }
    }
}
