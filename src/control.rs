//! The protocol between `tinysup VERB` and the tinysup that runs: one JSON object a line, both ways. The same types write and read
//! it. Documented in `docs/control.md`; a field is added, never renamed, as long as [`VERSION`] stays.

mod wire;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use self::wire::Value;
use crate::event::ExitCode;

/// The version of the protocol. A server refuses another with [`Refused::Version`].
pub const VERSION: u32 = 1;
/// The longest request, line end included.
pub const REQUEST_MAX: usize = 64 << 10;
/// Where the socket is if this variable names it: a path, or an abstract name after `@`. Then it is nowhere else.
pub const SOCKET_VARIABLE: &str = "TINYSUP_SOCKET";
/// Else it is the first of these that can be made.
pub const SOCKET_PATHS: [&str; 3] = ["/run/tinysup.sock", "/dev/shm/tinysup.sock", "/tmp/tinysup.sock"];
/// Else it is abstract, this and the number of the mount namespace: containers that share a network share abstract names, and
/// must not meet.
pub const SOCKET_ABSTRACT: &str = "tinysup-";

/// Where a server listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// Where clients look for it.
    #[default]
    Usual,
    /// There, unless [`SOCKET_VARIABLE`] names another place.
    At(PathBuf),
    /// Nowhere.
    Off,
}

/// What a client asks. Fields that a verb has no use for are not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own, as on the command line")]
pub struct Request {
    /// [`VERSION`].
    pub v: u32,
    /// What to do.
    pub verb: Verb,
    /// Services, or instances as `api.2`; empty, or `all`: all of them.
    pub names: Vec<String>,
    /// `start`, `stop`, `restart`, `update`, `shutdown`: answer when it is done, not when it has begun.
    pub wait: bool,
    /// `stop`, `restart`: those that depend on it, too.
    pub dependents: bool,
    /// `update`: only tell what would change.
    pub dry_run: bool,
    /// `signal`: which, by any name that the configuration takes.
    pub signal: String,
    /// `signal`: to the whole process group.
    pub group: bool,
    /// `logs`, `events`: go on with what comes.
    pub follow: bool,
    /// `logs`, `events`: at most so many of what there is.
    pub lines: Option<u32>,
    /// `logs`: nothing older than so many milliseconds.
    pub since_ms: Option<u64>,
    /// `logs`: one stream only.
    pub stream: Option<Stream>,
    /// `health`: what is asked; `wait`: what is waited for.
    pub state: Option<Wanted>,
    /// `wait`: for at most so many milliseconds.
    pub timeout_ms: Option<u64>,
    /// `memory`: the proportional set sizes, too; they take longer.
    pub pss: bool,
}

/// What a client wants done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is the verb of its name")]
pub enum Verb {
    #[default]
    Status,
    Describe,
    Memory,
    Start,
    Stop,
    Restart,
    Signal,
    Logs,
    Events,
    Wait,
    Health,
    Update,
    Reopen,
    Shutdown,
}

/// A stream of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is the stream of its name")]
pub enum Stream {
    #[default]
    Stdout,
    Stderr,
}

/// What `health` asks for and `wait` waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// Nothing has failed for good, and nothing is unhealthy.
    #[default]
    Live,
    /// Each daemon is ready, each oneshot done.
    Ready,
    /// Each has ended with success.
    Completed,
    /// Nothing of it runs, and nothing is due.
    Stopped,
}

/// One line of an answer. `logs` and `events` give many and then `end`; every other verb gives exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Answer {
    /// To `status`.
    Status(Status),
    /// To `describe`.
    Describe(Vec<Description>),
    /// To `memory`.
    Memory(Box<Memory>),
    /// To `start`, `stop`, `restart`, `signal`, `update`, `reopen` (of each file), `shutdown`.
    Changed(Vec<Change>),
    /// To `health` and `wait`.
    Verdict(Verdict),
    /// One of `logs`.
    Log(LogLine),
    /// One of `events`.
    Event(EventLine),
    /// After the last of `logs` or `events`.
    End,
    /// To anything that cannot be done; nothing has been.
    Refused(Refusal),
}

/// Everything at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`].
    pub v: u32,
    /// Since when it runs, in milliseconds.
    pub up_ms: u64,
    /// Whether the container is being stopped.
    pub stopping: bool,
    /// Whether all is as it should be: the exit code of `tinysup status` is 3 where it is not.
    pub ok: bool,
    /// The main file of its configuration, from the root.
    pub config: Option<String>,
    /// The instances that were asked for, in start order.
    pub services: Vec<ServiceStatus>,
}

/// One instance at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// `api.2`, or `db` where there is only one.
    pub name: String,
    /// The service.
    pub service: String,
    /// The number of the instance, from 1.
    pub instance: u32,
    /// `daemon`, `oneshot` or `command`.
    pub kind: String,
    /// `waiting`, `starting`, `up`, `ready`, `unhealthy`, `stopping`, `cleaning`, `backoff`, `down`, `completed` or `failed`.
    pub state: String,
    /// Whether that is as it should be.
    pub ok: bool,
    /// Its leader.
    pub pid: Option<i32>,
    /// How long the present run has lasted.
    pub up_ms: Option<u64>,
    /// Restarts that count against the budget now.
    pub restarts: u32,
    /// The budget; none: unlimited.
    pub max_restarts: Option<u32>,
    /// When the count starts anew if it runs on.
    pub resets_in_ms: Option<u64>,
    /// When it is started again.
    pub next_start_ms: Option<u64>,
    /// Runs begun so far.
    pub runs: u32,
    /// CPU time of its processes so far, of the present run, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Memory of its processes: the sum of their resident sets.
    pub memory_bytes: Option<u64>,
    /// Above so much of it is restarted, or gets no more.
    pub memory_limit_bytes: Option<u64>,
    /// How many processes it has.
    pub processes: Option<u32>,
    /// Health checks missed in a row; none without a health check.
    pub missed: Option<u32>,
    /// How it is, in its own words (`STATUS=` of sd_notify).
    pub says: Option<String>,
    /// Its last line of output, at most 200 characters, without control characters.
    pub last_line: Option<String>,
    /// For whom it waits.
    pub waits_for: Vec<String>,
    /// Why it has failed although no run of its own says so: `needs db, which failed`.
    pub lacks: Option<String>,
    /// How its last run ended.
    pub last_exit: Option<Exit>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// For people: `code 9`, `unhealthy: …`.
    pub text: String,
    /// The code that stands for it, 128+n after signal n.
    pub code: u8,
    /// Whether a person or the container's stop asked for it.
    pub asked: bool,
    /// How long ago.
    pub ago_ms: u64,
    /// How long the run was.
    pub up_ms: u64,
    /// How many runs in a row ended alike, as far as is remembered.
    pub times: u32,
}

/// Everything about one instance. Environment values are in none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// What `status` says.
    pub status: ServiceStatus,
    /// Settings, in the order in which they are shown: the key, and its value for people.
    pub settings: Vec<(String, String)>,
    /// What it depends on, and whether that is there: `db (ready): yes`.
    pub depends_on: Vec<(String, bool)>,
    /// Who depends on it.
    pub dependents: Vec<String>,
    /// Where its processes listen; looked up for the first 16 instances of an answer.
    pub listens: Vec<String>,
    /// How much memory it holds.
    pub memory: Option<ServiceMemory>,
    /// The container's memory limit.
    pub container_limit_bytes: Option<u64>,
    /// What rules over its memory, for people.
    pub memory_found: String,
    /// Its last ends, oldest first.
    pub exits: Vec<Exit>,
}

/// Who holds how much memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// [`VERSION`].
    pub v: u32,
    /// What rules over it, for people.
    pub found: String,
    /// `v2`, `v1` or `none`.
    pub controller: String,
    /// What the container uses, without what the kernel can drop at once.
    pub used_bytes: Option<u64>,
    /// All that is charged to it, files that the kernel keeps among it.
    pub charged_bytes: Option<u64>,
    /// The most that was charged to it so far.
    pub peak_bytes: Option<u64>,
    /// Its limit; none: it has none.
    pub limit_bytes: Option<u64>,
    /// The memory of the machine.
    pub machine_bytes: Option<u64>,
    /// The instances that were asked for, in start order.
    pub services: Vec<ServiceMemory>,
}

/// How much memory an instance holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceMemory {
    /// `api.2`, or `db` where there is only one.
    pub name: String,
    /// What is charged to its cgroup where it has one, without what the kernel can drop at once; else the sum of the resident sets of
    /// its processes. None: it does not run.
    pub bytes: Option<u64>,
    /// The same with shared memory counted in parts, where it was asked for.
    pub pss_bytes: Option<u64>,
    /// The most it held so far, where the kernel tells.
    pub peak_bytes: Option<u64>,
    /// Above this it is restarted.
    pub restart_bytes: Option<u64>,
    /// The kernel gives it no more than this.
    pub limit_bytes: Option<u64>,
    /// How many processes it has.
    pub processes: Option<u32>,
    /// The process that holds most.
    pub most: Option<Holder>,
}

/// A process and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: i32,
    /// What it is called.
    pub name: String,
    /// Its resident set.
    pub bytes: u64,
}

/// What a request has changed for one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub name: String,
    /// For people: `restarted: pid 13 -> 41, ready after 0.9 s`.
    pub text: String,
    /// Whether it went as it was asked.
    pub ok: bool,
}

/// Whether what was asked for is so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it is.
    pub ok: bool,
    /// Why, in a line.
    pub text: String,
}

/// A line of a service's output, or something that happened to it between two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Of which instance.
    pub name: String,
    /// Which stream; none: it is not output but an event, such as an end.
    pub stream: Option<Stream>,
    /// How old, in milliseconds.
    pub ago_ms: u64,
    /// Without its line end; what is not UTF-8 is replaced.
    pub text: String,
    /// So many lines before this one were dropped, because the reader was too slow.
    pub dropped: u64,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// Counted from 1 without a gap since tinysup began.
    pub seq: u64,
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
    /// What kind of thing, such as `ready`, `ended`, `stopping`.
    pub kind: String,
    /// Which instance, where it is about one.
    pub name: Option<String>,
    /// `error`, `warn`, `info` or `debug`.
    pub level: String,
    /// For people.
    pub text: String,
}

/// Why a request is not carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind of reason.
    pub why: Refused,
    /// What is in the way, and what to do.
    pub text: String,
}

/// The kinds of reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// The request cannot be understood.
    #[default]
    Request,
    /// Another version of the protocol.
    Version,
    /// There is no service of that name.
    NoSuchService,
    /// Only root and the user tinysup runs as may ask.
    Forbidden,
    /// The container is being stopped, and nothing else is begun.
    Stopping,
    /// Others depend on it, or it depends on what is not there.
    Dependencies,
    /// It is in a state in which that makes no sense.
    State,
    /// There is no configuration that could be read again, or it is wrong.
    Configuration,
    /// Too much is going on at once.
    Busy,
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// A sentence that says why it is no request.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let mut request = Self::default();
        wire::whole(line, &mut |text| wire::read_record(&mut request, text, true))
            .map_err(|why| format!("this is no request: {why}"))?;
        Ok(request)
    }

    /// The line, with its end.
    pub fn line(&self) -> Vec<u8> {
        wire::line(self)
    }
}

impl Answer {
    /// Reads a line.
    ///
    /// # Errors
    /// A sentence that says why it is no answer.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let mut answer = Self::End;
        wire::whole(line, &mut |text| answer.read(text))?;
        Ok(answer)
    }

    /// The line, with its end.
    pub fn line(&self) -> Vec<u8> {
        wire::line(self)
    }

    /// What it says, as lines of JSON for other programs: one for each thing it is about.
    pub fn lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        match self {
            Self::Status(status) => wire::add_line(status, &mut lines),
            Self::Describe(all) => all.iter().for_each(|one| wire::add_line(one, &mut lines)),
            Self::Memory(memory) => wire::add_line(&**memory, &mut lines),
            Self::Changed(changes) => changes.iter().for_each(|change| wire::add_line(change, &mut lines)),
            Self::Verdict(verdict) => wire::add_line(verdict, &mut lines),
            Self::Log(line) => wire::add_line(line, &mut lines),
            Self::Event(line) => wire::add_line(line, &mut lines),
            Self::End | Self::Refused(_) => {}
        }
        lines
    }

    /// A refusal.
    pub fn refused(why: Refused, text: impl Into<String>) -> Self {
        Self::Refused(Refusal { why, text: text.into() })
    }
}

impl Refused {
    /// What `tinysup VERB` exits with.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Request | Self::Version | Self::NoSuchService => ExitCode::USAGE,
            Self::Forbidden => ExitCode::NO_PERMISSION,
            Self::Configuration => ExitCode::CONFIG,
            Self::Stopping | Self::Dependencies | Self::State => ExitCode::FAILURE,
            Self::Busy => ExitCode::TRY_AGAIN,
        }
    }
}
