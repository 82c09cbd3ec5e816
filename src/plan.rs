//! What shall run, fully resolved: every default filled in, every name an id, and the order of starts. Later code asks no questions.

mod advice;
mod build;
pub mod check;
pub mod difference;
mod eval;
mod graph;
mod memory;
mod names;
mod output;
mod readiness;
mod settings;
mod values;

use std::rc::Rc;
use std::time::Duration;

pub use crate::cli::{Manner, Receivers, Rest};
use crate::event::{InstanceId, Launch, Overflow, Sink};
use crate::gather::Gather;
use crate::line::{Format, Own, Style};
use crate::probe::Target;
use crate::sorted::Map;
use crate::units::Signal;

pub use memory::{Amount, Guard, Limits, Reference, Share};

pub use build::{Loaded, Request, load, pause, single};
pub use difference::{Fresh, difference};

/// The whole plan. What is used most comes first: the supervisor has it in itself, and says why.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Plan {
    /// All instances, each at its id for as long as the container runs; also those that an update has taken out of the order.
    pub instances: Vec<Instance>,
    /// Those that shall run, every one after those it depends on.
    pub order: Rc<[InstanceId]>,
    /// What the signals that PID 1 gets mean.
    pub mode: Mode,
    /// The configuration's main file, as an absolute path; `None`: there is none.
    pub config: Option<Rc<str>>,
    /// The deadline of the whole stop; `None`: no limit.
    pub shutdown_timeout: Option<Duration>,
    /// `[memory]`: what is done when the container runs short of it.
    pub guard: Guard,
    /// `[signals]`: where a signal goes instead of to every service.
    pub routes: Map<Signal, Vec<InstanceId>>,
    /// `[log]`: what is the same for all output.
    pub log: Log,
}

/// `[log]`: what is the same for all output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The form of our own lines. Those of the services have it already where they did not say otherwise.
    pub format: Format,
    /// Whether lines with a prefix have their time.
    pub timestamps: bool,
    /// Whether names have a colour.
    pub color: Color,
    /// On which of the container's streams they do: standard output, then error. Decided when it is known where those go.
    pub colored: [bool; 2],
    /// Whether what only explains is told. Decided when it is known what the environment wants.
    pub debug: bool,
    /// What happens while nobody reads.
    pub overflow: Overflow,
    /// The signal upon which files are opened again, instead of being passed on.
    pub reopen_signal: Option<Signal>,
}

impl Log {
    /// The keys of `[log]` by which `new` differs and which stay as they were as long as the container runs: how lines look, ours too.
    #[must_use]
    pub fn staying(&self, new: &Self) -> Vec<&'static str> {
        let Self { format, timestamps, color, colored: _, debug: _, overflow, reopen_signal: _ } = *self;
        [
            ("[log] format of tinysup's own lines", format != new.format),
            ("[log] timestamps", timestamps != new.timestamps),
            ("[log] color", color != new.color),
            ("[log] overflow", overflow != new.overflow),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .gather()
    }
}

/// Whether names have a colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// None.
    #[default]
    Never,
    /// Where a person looks: on a terminal.
    Auto,
    /// Everywhere.
    Always,
}

/// `log_rate_limit`: how much of what an instance says passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many lines; not 0.
    pub lines: u32,
    /// In so long.
    pub per: Duration,
}

/// What the signals that PID 1 gets mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Several services: TERM, INT, QUIT and RTMIN+3 end the container, the others are passed on.
    Services,
    /// The init of one command: all signals are passed on, and nothing is said unless something fails.
    Command(Manner),
    /// The init of nothing: SIGTERM and SIGINT end it, the others do nothing.
    Pause,
}

/// One instance of a service. What is used most comes first, as in the supervisor.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Instance {
    /// How it is started.
    pub launch: Rc<Launch>,
    /// What it is called: `api.2`, or `db` where the service has only one.
    pub name: Rc<str>,
    /// The service's name.
    pub service: Rc<str>,
    /// The number of the instance, from 1.
    pub number: u32,
    /// Whether it runs on or is done once.
    pub kind: Kind,
    /// Whether it is started with the container.
    pub autostart: bool,
    /// What its end for good means for the container.
    pub on_failure: OnFailure,
    /// What its success means for the container.
    pub on_success: OnSuccess,
    /// What it waits for.
    pub depends_on: Vec<Dependency>,
    /// How it is stopped.
    pub stop: Stop,
    /// When it is started again.
    pub restart: Restart,
    /// `signals`: what a forwarded signal becomes; `None` drops it.
    pub signals: Map<Signal, Option<Signal>>,
    /// When it can do its work; `None`: as soon as its program runs. A oneshot has none: it is done, not ready.
    pub ready: Option<Ready>,
    /// Whether it still does its work; `None`: as long as it runs.
    pub healthcheck: Option<Healthcheck>,
    /// The longest silence between two `WATCHDOG=1` of a ready run.
    pub watchdog: Option<Duration>,
    /// How much memory it may hold.
    pub memory: Limits,
    /// How many lines pass in a time, of both streams together.
    pub log_rate_limit: Option<RateLimit>,
}

/// What an instance is waited for with.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// How it is known.
    pub test: ReadyTest,
    /// The test as the configuration writes it.
    pub shown: Rc<str>,
    /// From the start of a run until it has failed.
    pub timeout: Duration,
    /// From one attempt to the next, where there are any.
    pub interval: Duration,
}

/// How it is known that a run is ready.
#[derive(Clone, Debug, PartialEq)]
#[repr(u8)]
pub enum ReadyTest {
    /// `READY=1` comes through its notification socket.
    Notified,
    /// A newline comes through its readiness descriptor.
    Announced,
    /// Its output has this text in a line. Not empty.
    Said(Rc<str>),
    /// It has run so long.
    After(Duration),
    /// It is asked until the answer is good.
    Asked(Test),
}

/// Asking a service from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// How.
    pub asks: Asks,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// How a service is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Asks {
    /// By us.
    Target(Rc<Target>),
    /// By a command, which says so with code 0.
    Command(Rc<Launch>),
}

/// Whether a ready instance still does its work.
#[derive(Clone, Debug, PartialEq)]
pub struct Healthcheck {
    /// How it is asked.
    pub test: Test,
    /// The test as the configuration writes it.
    pub shown: Rc<str>,
    /// From one attempt to the next.
    pub interval: Duration,
    /// So many misses in a row are a failed run; at least 1.
    pub retries: u32,
    /// From the start of a run: misses do not count yet, until the first good answer.
    pub start_period: Duration,
}

/// Whether a service runs on or is done once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs on.
    Daemon,
    /// Done when it exits 0.
    Oneshot,
    /// A command of the command line: its end, whatever it is, is the container's, with its code.
    Command,
}

/// One thing an instance waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// On whom.
    pub on: InstanceId,
    /// In what state.
    pub condition: Condition,
    /// Whether it is started again when that one is.
    pub restart: bool,
}

/// The state a dependency must have reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its program runs.
    Started,
    /// It can do its work. Without a readiness test that is: its program runs.
    Ready,
    /// It has ended with success.
    Completed,
}

/// When an instance is started again.
#[derive(Clone, Debug, PartialEq)]
pub struct Restart {
    /// After which ends.
    pub when: RestartWhen,
    /// Exit codes that count as done.
    pub stop_exit_codes: Vec<u8>,
    /// Automatic restarts in a row; `None`: unlimited.
    pub max_restarts: Option<u32>,
    /// A run this long starts the count anew.
    pub min_uptime: Duration,
    /// Counts the restarts inside this sliding window instead.
    pub window: Option<Duration>,
    /// The wait before the first restart of a row.
    pub delay: Duration,
    /// The factor from one wait to the next.
    pub backoff: f64,
    /// The longest wait.
    pub delay_max: Duration,
}

/// After which ends an instance is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartWhen {
    /// After every end.
    Always,
    /// After every end but success.
    OnFailure,
    /// Never.
    Never,
}

/// What the failure for good of an instance means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The container ends with its code.
    Exit,
    /// It stays failed; the others run on.
    Ignore,
}

/// What the success of an instance means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSuccess {
    /// Nothing; the others run on.
    Ignore,
    /// The container ends with its code.
    Exit,
}

/// How an instance is stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// The polite request.
    pub signal: Signal,
    /// How long it may take from the request to SIGKILL; `None`: as long as it takes.
    pub kill_timeout: Option<Duration>,
    /// Who gets the signals.
    pub mode: KillMode,
    /// Run instead of sending the signal, which follows only if this fails.
    pub command: Option<Rc<Launch>>,
}

/// Who gets the signals of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillMode {
    /// The stop signal to the leader; SIGTERM, then SIGKILL, to what it leaves behind.
    Mixed,
    /// The stop signal to the whole group; the rest as with `Mixed`.
    Group,
    /// The leader alone; what it leaves behind is nobody's business until the container ends.
    Process,
}

impl Plan {
    /// What lines with a prefix have on one of the container's streams.
    pub fn style(&self, sink: Sink) -> Style {
        let [stdout, stderr] = self.log.colored;
        let colored = match sink {
            Sink::Stdout => stdout,
            Sink::Stderr => stderr,
        };
        // Only where they are looked at.
        let names = self.instances.iter().map(|instance| instance.name.len());
        let width = if colored { names.max().unwrap_or(0).max("tinysup".len()) } else { 0 };
        Style { timestamps: self.log.timestamps, colored, width }
    }

    /// How our own lines are written.
    pub fn own_lines(&self) -> Own {
        Own { format: self.log.format, style: self.style(Sink::Stderr) }
    }

    /// The instance with this id.
    pub fn instance(&self, id: InstanceId) -> Option<&Instance> {
        self.instances.get(id.0 as usize)
    }

    /// What it depends on.
    pub fn depends_on(&self, id: InstanceId) -> &[Dependency] {
        self.instance(id).map_or(&[], |instance| &instance.depends_on)
    }

    /// The ids of all that shall run, in start order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = InstanceId> + use<> {
        let order = Rc::clone(&self.order);
        (0..order.len()).filter_map(move |at| order.get(at).copied())
    }

    /// All that shall run with their ids, in start order.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = (InstanceId, &Instance)> {
        self.order.iter().filter_map(|id| Some((*id, self.instance(*id)?)))
    }
}

/// The order of instances that stand in start order.
pub fn in_order(instances: &[Instance]) -> Rc<[InstanceId]> {
    (0_u32..).map(InstanceId).take(instances.len()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::{Mark, Secret};

    /// An instance with every default, for tests of the machines.
    pub(crate) fn instance(name: &str) -> Instance {
        let launch = Launch {
            mark: Some(Mark { service: name.into(), instance: 1 }),
            ..Launch::new(vec![Secret::new(name)], name.to_owned())
        };
        Instance {
            name: name.into(),
            service: name.into(),
            number: 1,
            kind: Kind::Daemon,
            autostart: true,
            launch: Rc::new(launch),
            depends_on: Vec::new(),
            restart: Restart {
                when: RestartWhen::Always,
                stop_exit_codes: Vec::new(),
                max_restarts: Some(10),
                min_uptime: Duration::from_secs(10),
                window: None,
                delay: Duration::from_millis(100),
                backoff: 2.0,
                delay_max: Duration::from_secs(5),
            },
            on_failure: OnFailure::Exit,
            on_success: OnSuccess::Ignore,
            stop: Stop {
                signal: Signal::TERM,
                kill_timeout: Some(Duration::from_secs(8)),
                mode: KillMode::Mixed,
                command: None,
            },
            signals: Map::new(),
            ready: None,
            healthcheck: None,
            watchdog: None,
            memory: Limits::default(),
            log_rate_limit: None,
        }
    }
}
