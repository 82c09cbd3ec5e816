//! What the core announces. Log lines, the journal and later metrics read this one stream; all wording is in `wording`.
//! No notice carries a value of an environment, except a `PATH` in which a program was not found.

mod memory;
mod updating;
mod wording;

use std::rc::Rc;
use std::time::Duration;

use crate::event::{ExitCode, ExitStatus, FileTrouble, Pid, Process, StartError};
use crate::probe::Failure;
use crate::units::Signal;
pub use updating::Updating;
pub use wording::per_word;

/// A thing worth telling.
#[derive(Clone, Debug, PartialEq)]
#[repr(u8)]
pub enum Notice {
    /// We are not PID 1; orphans come to us all the same.
    NotPid1,
    /// An instance's program runs.
    Up {
        /// Which.
        name: Rc<str>,
        /// From the order to start it.
        after: Duration,
        /// Which of its runs this is, from 1.
        run: u32,
    },
    /// An instance passed its readiness test.
    Ready {
        /// Which.
        name: Rc<str>,
        /// From the order to start it.
        after: Duration,
        /// Which of its runs this is, from 1.
        run: u32,
    },
    /// An instance has been asked for a while, and is not ready yet.
    NotYet {
        /// Which.
        name: Rc<str>,
        /// From the order to start it.
        after: Duration,
        /// Why the last answer was no good.
        failure: Failure,
    },
    /// A run has failed although its program runs; it is being stopped.
    Failing {
        /// Which.
        name: Rc<str>,
        /// How.
        cause: Cause,
        /// Who waits for it to be ready.
        waiting: Vec<Rc<str>>,
    },
    /// A health check was missed; more of them would be a failed run.
    Missed {
        /// Which.
        name: Rc<str>,
        /// How many in a row by now.
        misses: u32,
        /// How many are too many.
        of: u32,
        /// Why the answer was no good.
        failure: Failure,
    },
    /// A health check is good again.
    Well {
        /// Which.
        name: Rc<str>,
        /// How many were missed before.
        misses: u32,
    },
    /// What rules over the memory of the container.
    MemoryFound {
        /// For people.
        text: String,
    },
    /// The OOM killer would end all of the container at once.
    OomGroup,
    /// No service can have a cgroup after all; `memory_limit` restarts instead.
    NoCells,
    /// The memory limit of the container has been changed.
    MemoryLimit {
        /// What it was, in bytes; `None`: there was none.
        before: Option<u64>,
        /// What it is.
        limit: Option<u64>,
    },
    /// The container runs short of memory.
    MemoryLow {
        /// What it uses, in bytes.
        used: u64,
        /// Of how much.
        whole: u64,
    },
    /// It has enough again.
    MemoryWell {
        /// What it uses, in bytes.
        used: u64,
        /// Of how much.
        whole: u64,
    },
    /// The container runs short of memory, and nobody can be restarted.
    NoVictim {
        /// What it uses, in bytes.
        used: u64,
        /// Of how much.
        whole: u64,
    },
    /// The OOM killer ended processes that are no service's main one.
    OomKilled {
        /// Those of this instance, where that is known.
        name: Option<Rc<str>>,
        /// How many.
        count: u64,
    },
    /// An instance is stopped because one that it depends on is started again.
    RestartsWith {
        /// Which.
        name: Rc<str>,
        /// With whom.
        on: Rc<str>,
    },
    /// An instance could start again but for those it depends on, which are not there yet.
    WaitsAgain {
        /// Which.
        name: Rc<str>,
        /// For whom.
        on: Rc<str>,
    },
    /// A service said that it reads its configuration again.
    Reloading {
        /// Which.
        name: Rc<str>,
    },
    /// A service asked for what we do not do.
    Refused {
        /// Which.
        name: Rc<str>,
        /// For what.
        what: Refused,
    },
    /// Everything that shall run does, and every oneshot is done; but for those that have failed and may, or were stopped by hand.
    AllUp {
        /// How many services, done oneshots among them.
        services: usize,
        /// How many of them have failed or were stopped, with all their instances.
        failed: usize,
        /// Since the beginning.
        after: Duration,
    },
    /// A run has ended and what follows is decided.
    Ended {
        /// Which.
        name: Rc<str>,
        /// How.
        cause: Cause,
        /// How long the run was.
        uptime: Duration,
        /// What follows.
        next: Next,
    },
    /// An ended leader has left processes behind; they are being stopped.
    Leftovers {
        /// Whose.
        name: Rc<str>,
        /// Them.
        found: Vec<Process>,
        /// Set when the service seems to have put itself into the background: the usual remedy.
        daemonized: Option<&'static str>,
    },
    /// What a leader left behind did not go by itself and was sent SIGKILL.
    LeftoversKilled {
        /// Whose.
        name: Rc<str>,
        /// Them.
        found: Vec<Process>,
    },
    /// Processes that even SIGKILL has not ended; they are left alone now.
    Unkillable {
        /// Whose.
        name: Rc<str>,
        /// Them.
        found: Vec<Process>,
    },
    /// An instance cannot start any more because something it waits for cannot be had.
    DependencyFailed {
        /// Which.
        name: Rc<str>,
        /// For want of whom.
        on: Rc<str>,
        /// Because it ended with success where it had to be running.
        completed: bool,
    },
    /// The stop of the container begins.
    Stopping {
        /// Why.
        reason: StopReason,
        /// Who is running.
        names: Vec<Rc<str>>,
    },
    /// The stop takes longer than a second.
    StillStopping {
        /// Who is still alive.
        names: Vec<Rc<str>>,
        /// Until the next SIGKILL; `None`: there is none.
        remaining: Option<Duration>,
    },
    /// A service did not heed its stop signal.
    Killing {
        /// Which.
        name: Rc<str>,
        /// What it was sent; `None`: its `stop_command` was run instead, or there was no time for either.
        signal: Option<Signal>,
        /// How long ago.
        after: Duration,
        /// Why not longer.
        why: KillReason,
        /// What may help, for programs we know.
        hint: Option<&'static str>,
    },
    /// A `stop_command` did not do its work; the stop signal follows.
    StopCommandFailed {
        /// Whose.
        name: Rc<str>,
        /// Why.
        cause: Cause,
    },
    /// Processes that belong to no service are asked to end.
    Strays {
        /// They.
        found: Vec<Process>,
    },
    /// All services are down.
    Stopped {
        /// Since the stop began.
        after: Duration,
        /// How long each took.
        each: Vec<(Rc<str>, Duration)>,
        /// The code we exit with.
        code: u8,
    },
    /// Nothing runs any more and nothing will.
    AllDone {
        /// The first that has failed, if any; the code is its.
        failed: Option<Rc<str>>,
        /// The code we exit with.
        code: u8,
    },
    /// The block that tells why the container ends; several lines.
    Obituary(String),
    /// A client has asked for something that changes what runs.
    ByHand {
        /// What.
        what: ByHand,
        /// Which instances.
        names: Vec<Rc<str>>,
    },
    /// Lines of an instance were dropped because nobody read the container's output. Somebody does again, or it is the end.
    Unread {
        /// Whose.
        name: Rc<str>,
        /// How many.
        lines: u64,
    },
    /// Something about a file of output that was not so before.
    File {
        /// Where it is.
        path: String,
        /// What.
        trouble: FileTrouble,
    },
    /// The files of output were opened again.
    Reopened {
        /// How many.
        files: usize,
    },
    /// An instance said more than its limit lets pass.
    RateLimited {
        /// Which.
        name: Rc<str>,
        /// So many lines were dropped since that was told.
        lines: u64,
        /// So many pass
        most: u32,
        /// in so long.
        per: Duration,
    },
    /// The configuration was read again, and this is done about it.
    Updating(Updating),
    /// All of that is done.
    Updated {
        /// Since it was read.
        after: Duration,
        /// Who is not as it should be.
        bad: Vec<Rc<str>>,
    },
    /// The configuration was to be read again, and nothing is changed by it.
    NotUpdated {
        /// Why: what is wrong with it, perhaps in several lines.
        why: String,
    },
    /// The configuration has something else that cannot be changed while the container runs.
    Stays {
        /// The keys, at least one.
        keys: Vec<&'static str>,
    },
    /// The one command has a process; its program does not run yet.
    Spawned {
        /// Which.
        name: Rc<str>,
        /// Its process.
        pid: Pid,
        /// Whether it leads a session of its own.
        session: bool,
    },
    /// A child of the init of one command has ended.
    Reaped {
        /// Its pid.
        pid: Pid,
        /// How.
        status: ExitStatus,
        /// It was an orphan, not the command.
        adopted: bool,
        /// Somebody wants to be told of each.
        wanted: bool,
    },
    /// Orphans of the one command go elsewhere: we are not PID 1, and no subreaper.
    NotAdopting,
    /// The group of the ended command gets this signal.
    AskedGroup(Signal),
    /// A signal was passed on.
    Forwarded {
        /// Which.
        signal: Signal,
        /// To how many.
        receivers: usize,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// Its process ended.
    Exit(ExitStatus),
    /// Its process ended before it was ready, with whatever code.
    Unready(ExitStatus),
    /// It could not be started.
    Start(Rc<StartError>),
    /// It was not ready in time, and was stopped.
    NotReady(Rc<NotReady>),
    /// Its health check was missed too often, and it was stopped.
    Unhealthy {
        /// How often in a row.
        misses: u32,
        /// The last time because of this.
        failure: Failure,
    },
    /// Its watchdog fell silent, and it was stopped.
    Watchdog {
        /// For so long; `None`: it called for its end itself.
        silence: Option<Duration>,
    },
    /// It held more memory than it may, and was stopped.
    OverMemory {
        /// What it held, in bytes.
        bytes: u64,
        /// What it may.
        limit: u64,
        /// Which of its processes held most, and how much.
        holder: Option<Rc<(Process, u64)>>,
    },
    /// The container ran short of memory, and it was stopped before the kernel would choose.
    ShortMemory {
        /// What the container used, in bytes.
        used: u64,
        /// Of how much.
        whole: u64,
        /// What this run held.
        held: u64,
        /// Which of its processes held most, and how much.
        holder: Option<Rc<(Process, u64)>>,
    },
    /// The kernel's OOM killer ended its main process.
    OutOfMemory {
        /// What the run held when it was last looked at, in bytes.
        held: Option<u64>,
        /// The limit that was reached, where it is known.
        limit: Option<u64>,
        /// That is its own, and not the container's.
        own: bool,
    },
}

/// How it was when it was not ready in time. Shared, as what a cause is has to be small: it goes through many hands.
#[derive(Debug, PartialEq, Eq)]
pub struct NotReady {
    /// How long it was waited for.
    pub waited: Duration,
    /// The test as the configuration writes it.
    pub test: Rc<str>,
    /// Why the last attempt was no good, where it was asked.
    pub failure: Option<Failure>,
    /// Where its processes listened then.
    pub listens: Vec<String>,
    /// How it was, in its own words.
    pub says: Option<String>,
}

/// What a client may ask for that changes what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the verb of its name")]
pub enum ByHand {
    Start,
    Stop,
    Restart,
}

/// What a service may ask for through its notification socket in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// That another process be taken for its leader.
    MainPid,
    /// That its descriptors be kept for its next run.
    Store,
}

/// What follows the end of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// An automatic restart.
    Restart {
        /// Which of the allowed ones, from 1.
        number: u32,
        /// How many are allowed; `None`: unlimited.
        max: Option<u32>,
        /// The sliding window they are counted in.
        window: Option<Duration>,
        /// The wait before it.
        delay: Duration,
    },
    /// Done with success.
    Completed,
    /// Failed for good, because the budget is spent or because it may never be restarted.
    Failed {
        /// The spent budget; `None`: `restart = "never"`.
        budget: Option<u32>,
    },
    /// Down, as it was asked to be.
    Down,
    /// It starts again as soon as this one is there again, which it depends on; that costs nothing.
    With(Rc<str>),
    /// It starts again, as a client has asked; that costs nothing.
    Again,
    /// The end of the one command whose init we are; its code is ours.
    Ends,
}

/// Why the container stops.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StopReason {
    /// A signal asked for it.
    Signal(Signal),
    /// A client asked for it.
    Asked,
    /// A service failed for good.
    Failed(Rc<str>),
    /// A service with `on_success = "exit"` ended.
    Ended(Rc<str>),
    /// Nothing runs and nothing will.
    AllDone,
}

/// Why a service gets SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// Its `kill_timeout` is over.
    KillTimeout,
    /// `shutdown_timeout` is over.
    ShutdownTimeout,
    /// A second SIGINT.
    Impatience,
}

impl Notice {
    /// How important it is. One-command mode tells errors only.
    pub fn level(&self) -> log::Level {
        use log::Level::{Debug, Error, Info, Warn};
        match self {
            // An end that was asked for is news only where it was not a clean one.
            Self::Ended {
                next: Next::Down,
                cause: Cause::Exit(ExitStatus::Code(0) | ExitStatus::Signal { .. }),
                ..
            } => Debug,
            Self::Ended { next: Next::With(_) | Next::Again, .. } => Debug,
            Self::Ended { next: Next::Failed { .. }, .. }
            | Self::Ended { cause: Cause::Start(_), .. }
            | Self::DependencyFailed { .. }
            | Self::Unkillable { .. }
            | Self::NotUpdated { .. }
            | Self::Obituary(_) => Error,
            Self::Ended { next: Next::Restart { .. }, .. }
            | Self::OomGroup
            | Self::NoCells
            | Self::MemoryLow { .. }
            | Self::NoVictim { .. }
            | Self::OomKilled { .. }
            | Self::Failing { .. }
            | Self::Missed { .. }
            | Self::Refused { .. }
            | Self::Leftovers { .. }
            | Self::LeftoversKilled { .. }
            | Self::Killing { .. }
            | Self::StopCommandFailed { .. }
            | Self::Unread { .. }
            | Self::NotAdopting
            | Self::RateLimited { .. }
            | Self::File { .. }
            | Self::Reaped { wanted: true, .. }
            | Self::Stays { .. } => Warn,
            Self::Updated { bad, .. } if !bad.is_empty() => Warn,
            Self::Up { run: 1, .. }
            | Self::Ready { .. }
            | Self::NotYet { .. }
            | Self::Well { .. }
            | Self::RestartsWith { .. }
            | Self::WaitsAgain { .. }
            | Self::Reloading { .. }
            | Self::MemoryLimit { .. }
            | Self::MemoryWell { .. }
            | Self::AllUp { .. }
            | Self::Ended { next: Next::Completed | Next::Down | Next::Ends, .. }
            | Self::Stopping { .. }
            | Self::StillStopping { .. }
            | Self::Stopped { .. }
            | Self::AllDone { .. }
            | Self::ByHand { .. }
            | Self::Reopened { .. }
            | Self::Updating(_)
            | Self::Updated { .. }
            | Self::NotPid1 => Info,
            Self::Up { .. }
            | Self::MemoryFound { .. }
            | Self::Spawned { .. }
            | Self::Strays { .. }
            | Self::Reaped { wanted: false, .. }
            | Self::AskedGroup(_)
            | Self::Forwarded { .. } => Debug,
        }
    }

    /// What kind of thing it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotPid1 => "not-pid1",
            Self::NotAdopting => "not-adopting",
            Self::Spawned { .. } => "spawned",
            Self::Reaped { .. } => "reaped",
            Self::AskedGroup(_) => "asked-group",
            Self::Up { .. } => "up",
            Self::Ready { .. } => "ready",
            Self::NotYet { .. } => "not-yet",
            Self::Failing { .. } => "failing",
            Self::Missed { .. } => "missed",
            Self::Well { .. } => "well",
            Self::RestartsWith { .. } => "restarts-with",
            Self::WaitsAgain { .. } => "waits",
            Self::Reloading { .. } => "reloading",
            Self::Refused { .. } => "refused",
            Self::MemoryFound { .. } => "memory-found",
            Self::OomGroup => "oom-group",
            Self::NoCells => "no-cells",
            Self::MemoryLimit { .. } => "memory-limit",
            Self::MemoryLow { .. } => "memory-low",
            Self::MemoryWell { .. } => "memory-well",
            Self::NoVictim { .. } => "no-victim",
            Self::OomKilled { .. } => "oom-killed",
            Self::AllUp { .. } => "all-up",
            Self::Ended { next: Next::Failed { .. }, .. } => "failed",
            Self::Ended { next: Next::Completed, .. } => "completed",
            Self::Ended { .. } => "ended",
            Self::Leftovers { .. } => "leftovers",
            Self::LeftoversKilled { .. } => "leftovers-killed",
            Self::Unkillable { .. } => "unkillable",
            Self::DependencyFailed { .. } => "dependency-failed",
            Self::Stopping { .. } => "stopping",
            Self::StillStopping { .. } => "still-stopping",
            Self::Killing { .. } => "killing",
            Self::StopCommandFailed { .. } => "stop-command-failed",
            Self::Strays { .. } => "strays",
            Self::Stopped { .. } => "stopped",
            Self::AllDone { .. } => "all-done",
            Self::Obituary(_) => "obituary",
            Self::ByHand { what: ByHand::Start, .. } => "start",
            Self::ByHand { what: ByHand::Stop, .. } => "stop",
            Self::ByHand { what: ByHand::Restart, .. } => "restart",
            Self::Unread { .. } => "unread",
            Self::File { .. } => "file",
            Self::Reopened { .. } => "reopened",
            Self::RateLimited { .. } => "rate-limited",
            Self::Updating(_) => "updating",
            Self::Updated { .. } => "updated",
            Self::NotUpdated { .. } => "not-updated",
            Self::Stays { .. } => "stays",
            Self::Forwarded { .. } => "forwarded",
        }
    }

    /// The instance that it is about, where it is about one.
    pub fn name(&self) -> Option<&Rc<str>> {
        match self {
            Self::Up { name, .. }
            | Self::Ready { name, .. }
            | Self::NotYet { name, .. }
            | Self::Failing { name, .. }
            | Self::Missed { name, .. }
            | Self::Well { name, .. }
            | Self::RestartsWith { name, .. }
            | Self::WaitsAgain { name, .. }
            | Self::Reloading { name }
            | Self::Refused { name, .. }
            | Self::Ended { name, .. }
            | Self::Leftovers { name, .. }
            | Self::LeftoversKilled { name, .. }
            | Self::Unkillable { name, .. }
            | Self::DependencyFailed { name, .. }
            | Self::Killing { name, .. }
            | Self::Spawned { name, .. }
            | Self::Unread { name, .. }
            | Self::OomKilled { name: Some(name), .. }
            | Self::RateLimited { name, .. }
            | Self::StopCommandFailed { name, .. } => Some(name),
            Self::NotPid1
            | Self::NotAdopting
            | Self::Reaped { .. }
            | Self::AskedGroup(_)
            | Self::MemoryFound { .. }
            | Self::OomGroup
            | Self::NoCells
            | Self::MemoryLimit { .. }
            | Self::MemoryLow { .. }
            | Self::MemoryWell { .. }
            | Self::NoVictim { .. }
            | Self::OomKilled { name: None, .. }
            | Self::AllUp { .. }
            | Self::Stopping { .. }
            | Self::StillStopping { .. }
            | Self::Strays { .. }
            | Self::Stopped { .. }
            | Self::AllDone { .. }
            | Self::Obituary(_)
            | Self::ByHand { .. }
            | Self::File { .. }
            | Self::Reopened { .. }
            | Self::Updating(_)
            | Self::Updated { .. }
            | Self::NotUpdated { .. }
            | Self::Stays { .. }
            | Self::Forwarded { .. } => None,
        }
    }
}

impl Cause {
    /// The code that stands for it when the container ends with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exit(status) | Self::Unready(status) => status.shell_code(),
            Self::Start(error) => error.exit_code().0,
            // How it ended after it was asked to is no message of its own.
            Self::NotReady(_)
            | Self::Unhealthy { .. }
            | Self::Watchdog { .. }
            | Self::OverMemory { .. }
            | Self::ShortMemory { .. } => ExitCode::FAILURE.0,
            Self::OutOfMemory { .. } => ExitCode::KILLED.0,
        }
    }

    /// Whether it is the plain exit code 0.
    pub fn success(&self) -> bool {
        matches!(self, Self::Exit(status) if status.success())
    }
}
