//! What the core announces. Log lines, the journal and later metrics read this one stream; all wording is here.
//! No notice carries a value of an
//! environment, except a `PATH` in which a program was not found.

use std::fmt::{self, Display, Formatter};
use std::rc::Rc;
use std::time::Duration;

use crate::event::{ExitCode, ExitStatus, FileTrouble, Pid, Process, StartError};
use crate::probe::Failure;
use crate::units::{Signal, show_duration};

/// A thing worth telling.
#[derive(Clone, Debug, PartialEq)]
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
    /// Everything that shall run does, and every oneshot is done.
    AllUp {
        /// How many services, done oneshots among them.
        services: usize,
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
    /// A signal that we heed only in a later version.
    SignalNotSupported(Signal),
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
pub enum Cause {
    /// Its process ended.
    Exit(ExitStatus),
    /// Its process ended before it was ready, with whatever code.
    Unready(ExitStatus),
    /// It could not be started.
    Start(StartError),
    /// It was not ready in time, and was stopped.
    NotReady {
        /// How long it was waited for.
        waited: Duration,
        /// The test as the configuration writes it.
        test: Rc<str>,
        /// Why the last attempt was no good, where it was asked.
        failure: Option<Failure>,
        /// Where its processes listened then.
        listens: Vec<String>,
        /// How it was, in its own words.
        says: Option<String>,
    },
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
            | Self::Obituary(_) => Error,
            Self::Ended { next: Next::Restart { .. }, .. }
            | Self::Failing { .. }
            | Self::Missed { .. }
            | Self::Refused { .. }
            | Self::Leftovers { .. }
            | Self::LeftoversKilled { .. }
            | Self::Killing { .. }
            | Self::StopCommandFailed { .. }
            | Self::NotAdopting
            | Self::RateLimited { .. }
            | Self::File { .. }
            | Self::Reaped { wanted: true, .. }
            | Self::SignalNotSupported(_) => Warn,
            Self::Up { run: 1, .. }
            | Self::Ready { .. }
            | Self::NotYet { .. }
            | Self::Well { .. }
            | Self::RestartsWith { .. }
            | Self::WaitsAgain { .. }
            | Self::Reloading { .. }
            | Self::AllUp { .. }
            | Self::Ended { next: Next::Completed | Next::Down | Next::Ends, .. }
            | Self::Stopping { .. }
            | Self::StillStopping { .. }
            | Self::Stopped { .. }
            | Self::AllDone { .. }
            | Self::ByHand { .. }
            | Self::Reopened { .. }
            | Self::NotPid1 => Info,
            Self::Up { .. }
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
            Self::File { .. } => "file",
            Self::Reopened { .. } => "reopened",
            Self::RateLimited { .. } => "rate-limited",
            Self::SignalNotSupported(_) => "not-supported",
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
            | Self::RateLimited { name, .. }
            | Self::StopCommandFailed { name, .. } => Some(name),
            Self::NotPid1
            | Self::NotAdopting
            | Self::Reaped { .. }
            | Self::AskedGroup(_)
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
            | Self::SignalNotSupported(_)
            | Self::Forwarded { .. } => None,
        }
    }
}

impl Display for Notice {
    #[expect(clippy::too_many_lines, reason = "one entry for each notice")]
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPid1 => f.write_str("not PID 1: fine, orphans are adopted all the same"),
            Self::Up { name, after, .. } => write!(f, "{name} is up after {}", show_duration(*after)),
            Self::AllUp { services: 1, after } => write!(f, "the service is up, {}", show_duration(*after)),
            Self::AllUp { services, after } => {
                write!(f, "all {services} services are up, {}", show_duration(*after))
            }
            Self::Ended { name, cause, uptime, next } => ended(f, name, cause, *uptime, next),
            Self::Ready { name, after, .. } => write!(f, "{name} is ready after {}", show_duration(*after)),
            Self::NotYet { name, after, failure } => {
                write!(f, "{name} is not ready yet after {}: {failure}", show_duration(*after))
            }
            Self::Failing { name, cause, waiting } => {
                write!(f, "{name}: {cause}; stopping it")?;
                match waiting.as_slice() {
                    [] => Ok(()),
                    [one] => write!(f, ". {one} waits for it"),
                    several => write!(f, ". {} wait for it", several.join(", ")),
                }
            }
            Self::Missed { name, misses, of, failure } => {
                write!(f, "{name}: health check missed, {misses}/{of}: {failure}")
            }
            Self::Well { name, misses } => {
                write!(f, "{name}: healthy again after {}", count(*misses, "missed health check"))
            }
            Self::RestartsWith { name, on } => write!(f, "{name} is restarted with {on}"),
            Self::WaitsAgain { name, on } => write!(f, "{name} waits for {on}"),
            Self::Reloading { name } => write!(f, "{name} reads its configuration again"),
            Self::Refused { name, what: Refused::MainPid } => write!(
                f,
                "{name}: MAINPID is not followed: tinysup looks after the process that it started. Let that one stay in the foreground"
            ),
            Self::Refused { name, what: Refused::Store } => {
                write!(f, "{name}: FDSTORE is not supported; its descriptors end with its run")
            }
            Self::Leftovers { name, found, daemonized: None } => {
                write!(f, "{name} left {} behind; stopping {}", Processes(found), it(found))
            }
            Self::Leftovers { name, found, daemonized: Some(remedy) } => write!(
                f,
                "{name} exited with code 0 but left {} running: it put itself into the background. {remedy}; stopping {}",
                Processes(found),
                it(found)
            ),
            Self::LeftoversKilled { name, found } => {
                write!(f, "{name} left {} behind, which did not heed SIGTERM: SIGKILL", Processes(found))
            }
            Self::Unkillable { name, found } => write!(
                f,
                "{name}: {} cannot be ended even with SIGKILL (waiting for a disk or a network file system?); going on without",
                Processes(found)
            ),
            Self::DependencyFailed { name, on, completed: false } => {
                write!(f, "{name}: cannot start: it depends on {on}, which has failed")
            }
            Self::DependencyFailed { name, on, completed: true } => {
                write!(f, "{name}: cannot start: it depends on {on}, which has already ended")
            }
            Self::Stopping { reason, names } => {
                write!(f, "stopping ({reason})")?;
                if names.is_empty() { Ok(()) } else { write!(f, ": {}", names.join(", ")) }
            }
            Self::StillStopping { names, remaining } => {
                write!(f, "still stopping: {}", names.join(", "))?;
                match remaining {
                    Some(left) => write!(f, "; SIGKILL in {}", show_duration(*left)),
                    None => Ok(()),
                }
            }
            Self::Killing { name, signal: None, after: Duration::ZERO, why, .. } => {
                write!(f, "{name}: SIGKILL at once ({why})")
            }
            Self::Killing { name, signal, after, why, hint } => {
                let asked = signal.map_or_else(|| "stop_command".to_owned(), |signal| signal.to_string());
                write!(f, "{name}: still there {} after {asked}, SIGKILL ({why})", show_duration(*after))?;
                match hint {
                    Some(hint) => write!(f, ". {hint}"),
                    None => Ok(()),
                }
            }
            Self::StopCommandFailed { name, cause: Cause::Start(error) } => {
                write!(f, "{name}: cannot run stop_command: {error}; sending the stop signal")
            }
            Self::StopCommandFailed { name, cause } => {
                write!(f, "{name}: stop_command ended with {cause}; sending the stop signal")
            }
            Self::Strays { found } => write!(f, "asking {} to end", Processes(found)),
            Self::Stopped { after, each, code } => {
                write!(f, "stopped in {}", show_duration(*after))?;
                for (index, (name, took)) in each.iter().enumerate() {
                    write!(f, "{} {name} {}", if index == 0 { ":" } else { "," }, show_duration(*took))?;
                }
                if *code == 0 { Ok(()) } else { write!(f, "; exit code {code}") }
            }
            Self::AllDone { failed: None, code } => write!(f, "all is done; exit code {code}"),
            Self::AllDone { failed: Some(name), code } => {
                write!(f, "nothing runs any more; {name} has failed; exit code {code}")
            }
            Self::Obituary(text) => f.write_str(text),
            Self::File { path, trouble: FileTrouble::Lost { reason } } => {
                write!(f, "cannot write {path}: {reason}; lines for it are lost until that works again")
            }
            Self::File { path, trouble: FileTrouble::Grows { reason } } => {
                write!(f, "cannot rotate {path}: {reason}; it grows until that works again")
            }
            Self::File { path, trouble: FileTrouble::Over { lines: 0 } } => {
                write!(f, "{path} is as it should be again; no line was lost")
            }
            Self::File { path, trouble: FileTrouble::Over { lines } } => {
                write!(f, "{path} can be written again; {} lost", lines_were(*lines))
            }
            Self::Reopened { files: 0 } => f.write_str("there are no files of output to open again"),
            Self::Reopened { files: 1 } => f.write_str("the file of output is opened again"),
            Self::Reopened { files } => write!(f, "{files} files of output are opened again"),
            Self::RateLimited { name, lines, most, per } => write!(
                f,
                "{name}: {} dropped by log_rate_limit = \"{most}/{}\"; tinysup logs has the last of them",
                lines_were(*lines),
                per_word(*per)
            ),
            Self::SignalNotSupported(signal) => {
                write!(
                    f,
                    "{signal}: re-reading the configuration is not yet supported; restart the container instead"
                )
            }
            Self::ByHand { what, names } => {
                let what = match what {
                    ByHand::Start => "starting",
                    ByHand::Stop => "stopping",
                    ByHand::Restart => "restarting",
                };
                write!(f, "{what}, as a client asks: {}", names.join(", "))
            }
            Self::Spawned { name, pid, .. } => write!(f, "{name} is pid {pid}"),
            Self::Reaped { pid, status, adopted: true, .. } => write!(f, "reaped orphan pid {pid}: {status}"),
            Self::Reaped { pid, status, adopted: false, .. } => write!(f, "reaped pid {pid}: {status}"),
            Self::NotAdopting => {
                f.write_str("not PID 1 and no child subreaper: orphans go to another process; -s adopts them")
            }
            Self::AskedGroup(signal) => write!(f, "{signal} to what is left of the command's group"),
            Self::Forwarded { signal, receivers } => write!(f, "{signal} passed on to {receivers}"),
        }
    }
}

fn ended(f: &mut Formatter<'_>, name: &str, cause: &Cause, uptime: Duration, next: &Next) -> fmt::Result {
    let uptime = show_duration(uptime);
    match (cause, next) {
        (Cause::Start(error), Next::Ends) => write!(f, "{name}: cannot start: {error}"),
        (Cause::Start(error), _) => write!(f, "{name}: cannot start: {error}; {next}"),
        (Cause::Exit(_), _) => write!(f, "{name}: {cause} after {uptime}; {next}"),
        (Cause::Unready(status), _) => {
            write!(f, "{name}: {} after {uptime}, before it was ready; {next}", WithMeaning(*status))
        }
        // Why has been told when it was stopped.
        (Cause::NotReady { .. }, _) => {
            write!(f, "{name}: stopped after {uptime}, as it was not ready; {next}")
        }
        (Cause::Unhealthy { .. }, _) => {
            write!(f, "{name}: stopped after {uptime}, as it was unhealthy; {next}")
        }
        (Cause::Watchdog { .. }, _) => write!(f, "{name}: stopped after {uptime} by its watchdog; {next}"),
    }
}

impl Display for Next {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart { number, max, window, delay } => {
                match max {
                    Some(max) => write!(f, "restart {number}/{max}")?,
                    None => write!(f, "restart {number}")?,
                }
                if let Some(window) = window {
                    write!(f, " within {}", show_duration(*window))?;
                }
                if delay.is_zero() { f.write_str(" now") } else { write!(f, " in {}", show_duration(*delay)) }
            }
            Self::Completed => f.write_str("done"),
            Self::Failed { budget: Some(0) } => f.write_str("failed for good: max_restarts = 0"),
            Self::Failed { budget: Some(1) } => f.write_str("failed for good: its 1 restart is spent"),
            Self::Failed { budget: Some(max) } => write!(f, "failed for good: all {max} restarts are spent"),
            Self::Failed { budget: None } => f.write_str("failed for good: restart = \"never\""),
            Self::Down => f.write_str("stopped"),
            Self::With(on) => write!(f, "starts again with {on}"),
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
            Self::Failed(name) => write!(f, "{name} has failed for good"),
            Self::Ended(name) => write!(f, "{name} has ended"),
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
            Self::Start(error) => write!(f, "cannot start: {error}"),
            Self::NotReady { waited, test, failure, listens, says } => {
                write!(f, "not ready after {} (ready = {test})", show_duration(*waited))?;
                if let Some(failure) = failure {
                    write!(f, ": {failure}")?;
                }
                if !listens.is_empty() {
                    write!(f, ". It listens on {}", listens.join(", "))?;
                }
                match says {
                    Some(text) => write!(f, ". It says: {text}"),
                    None => Ok(()),
                }
            }
            Self::Unhealthy { misses, failure } => {
                write!(f, "unhealthy: {}, the last: {failure}", count(*misses, "missed health check"))
            }
            Self::Watchdog { silence: Some(longest) } => {
                write!(f, "no WATCHDOG=1 for {}: SIGABRT", show_duration(*longest))
            }
            Self::Watchdog { silence: None } => {
                f.write_str("it called for its end (WATCHDOG=trigger): SIGABRT")
            }
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { address } => write!(f, "nobody listens on {address}"),
            Self::NoSocket { reason } => write!(f, "no such socket is open: {reason}"),
            Self::NoFile { reason } => write!(f, "the file is not there: {reason}"),
            Self::CannotAsk { reason } => write!(f, "cannot ask: {reason}"),
            Self::Late { timeout } => write!(f, "no answer within {}", show_duration(*timeout)),
            Self::Closed => f.write_str("the connection was closed without an answer"),
            Self::NotHttp => f.write_str("the answer is not HTTP"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Command { status, said } if said.is_empty() => write!(f, "{}", WithMeaning(*status)),
            Self::Command { status, said } => write!(f, "{}: {said}", WithMeaning(*status)),
            Self::CommandStart(error) => write!(f, "cannot run the test: {error}"),
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
            Self::NotReady { .. } | Self::Unhealthy { .. } | Self::Watchdog { .. } => ExitCode::FAILURE.0,
        }
    }

    /// Whether it is the plain exit code 0.
    pub fn success(&self) -> bool {
        matches!(self, Self::Exit(status) if status.success())
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
fn per_word(per: Duration) -> String {
    match per.as_secs() {
        1 if per.subsec_nanos() == 0 => "s".to_owned(),
        60 if per.subsec_nanos() == 0 => "m".to_owned(),
        3600 if per.subsec_nanos() == 0 => "h".to_owned(),
        _ => show_duration(per).replace(' ', ""),
    }
}

fn it(found: &[Process]) -> &'static str {
    if found.len() == 1 { "it" } else { "them" }
}

impl Display for StartError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { program, path: None, .. } if program == "/bin/sh" => {
                f.write_str("this image has no /bin/sh; give the command without shell = true, as an array")
            }
            Self::NotFound { program, path: None, .. } => write!(f, "\"{program}\" does not exist"),
            Self::NotFound { program, path: Some(_), .. } if SHELL_WORDS.contains(&program.as_str()) => {
                write!(f, "\"{program}\" is a word of the shell and no program; set shell = true")
            }
            Self::NotFound { program, path: Some(_), .. } if program.contains(' ') => {
                let words: Vec<String> =
                    program.split_whitespace().map(|word| format!("\"{word}\"")).collect();
                write!(
                    f,
                    "there is no program \"{program}\". In an array each word stands alone: [{}]",
                    words.join(", ")
                )
            }
            Self::NotFound { program, path: Some(path), similar } => {
                write!(f, "\"{program}\" is not in PATH ({path})")?;
                match similar {
                    Some(similar) => write!(f, ". Similar: {similar}"),
                    None => Ok(()),
                }
            }
            Self::MissingInterpreter { file, interpreter } => write!(
                f,
                "{file} is there, but its first line asks for \"{interpreter}\", which this image does not have"
            ),
            Self::WindowsLineEnds { file, interpreter } => write!(
                f,
                "{file} is there, but its first line asks for \"{interpreter}\\r\": the file has Windows line ends. Fix: sed -i 's/\\r$//' {file}"
            ),
            Self::MissingLoader { file, loader } => write!(
                f,
                "{file} is there, but needs {loader}, which this image does not have (a glibc program in a musl or scratch image?)"
            ),
            Self::NotExecutable { file, noexec: true, .. } => {
                write!(f, "{file} is on a file system mounted noexec")
            }
            Self::NotExecutable { file, mode, noexec: false } => {
                write!(f, "{file} is not executable (mode {mode:04o}). Dockerfile: RUN chmod +x {file}")
            }
            Self::IsDirectory { file } => write!(f, "{file} is a directory"),
            Self::NoShebang { file } => {
                write!(
                    f,
                    "{file} is neither a program nor a script with a \"#!\" line. Fix: make \"#!/bin/sh\" its first line"
                )
            }
            Self::WrongMachine { file } => {
                write!(
                    f,
                    "{file} is a program for another kind of machine; build the image for this platform"
                )
            }
            Self::TooBig { bytes } => {
                write!(f, "arguments and environment are {bytes} bytes, more than the kernel takes")
            }
            Self::Busy { file } => write!(f, "{file} is being written at this moment"),
            Self::WorkingDirectory { path, reason } => {
                write!(f, "cannot change to cwd = \"{path}\": {reason}")
            }
            Self::UnknownUser { name, passwd: true } => {
                write!(f, "no user \"{name}\" in /etc/passwd. A number needs no entry there: user = \"1000\"")
            }
            Self::UnknownUser { name, passwd: false } => {
                write!(f, "no user \"{name}\": this image has no /etc/passwd. Use a number: user = \"1000\"")
            }
            Self::UnknownGroup { name, group: true } => {
                write!(
                    f,
                    "no group \"{name}\" in /etc/group. A number needs no entry there: group = \"1000\""
                )
            }
            Self::UnknownGroup { name, group: false } => {
                write!(f, "no group \"{name}\": this image has no /etc/group. Use a number: group = \"1000\"")
            }
            Self::CannotSwitchUser { user, uid, own_uid, reason } => write!(
                f,
                "cannot become user \"{user}\" ({uid}): {reason}. It needs root with CAP_SETUID and CAP_SETGID, and the container runs as uid {own_uid}. Remove user, or run the container as {uid}"
            ),
            Self::EnvFile { variable, path, reason } => {
                write!(f, "cannot read {path} for {variable}: {reason}")
            }
            Self::NoProcess { reason } => write!(f, "cannot make a process: {reason}"),
            Self::Other { what, reason } => write!(f, "cannot {what}: {reason}"),
        }
    }
}
