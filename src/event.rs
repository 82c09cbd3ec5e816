//! What crosses the seam between the core and the world: events in, actions out, and the small words both are made of.
//! Both enums are closed on purpose: a new kind of event shows up everywhere it matters.

mod handing;
mod launch;
mod memory;
mod output;
mod spare;
mod time;

use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

pub use self::handing::{order, report, tell};
pub use self::launch::{
    Attributes, Conditions, Identity, Launch, Mark, Rlimit, Secret, Speaks, Stdin, Surroundings,
};
pub use self::memory::{Cell, ContainerMemory, Controller, MemoryFound, Weight};
pub use self::output::{FileTrouble, LogFile, Output, Overflow};
pub use self::spare::Spare;
pub use self::time::{Time, Wall};

use crate::control::{Answer, Request};
use crate::notice::Notice;
use crate::probe::{Failure, Target};
use crate::units::Signal;

/// A process id, greater than 0: it can be signalled without ever meaning "a group" or "everybody" (kill(2)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(i32);

impl Pid {
    /// The pid with this number; `None` for 0 and below, which kill(2) takes for something else.
    pub fn new(number: i32) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.0)
    }
}

/// A connection of a client, counted from 1; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub u64);

/// One instance of a service: its index in [`Plan::instances`](crate::plan::Plan::instances). Of the same service and number for as long
/// as the container runs, whatever is updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u32);

/// What a child process is to us: which instance, which of its runs, and in what part. No two children of a container's
/// life are the same, so a late event of an old run is never taken for one of the new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Child {
    /// The instance it works for.
    pub instance: InstanceId,
    /// The instance's run, counted from 1.
    pub run: u32,
    /// Its part in that run.
    pub role: Role,
}

/// The part a child process plays for its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The service itself.
    Main,
    /// Its `stop_command`.
    StopCommand,
    /// An attempt of its readiness test or health check, counted over the instance's life. A process only where the test is a
    /// command.
    Probe(u32),
}

/// How a process ended (wait(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal {
        /// Which one.
        signal: Signal,
        /// Whether it left a core dump.
        core: bool,
    },
}

impl ExitStatus {
    /// The code a shell would report: the own code, or 128 + the signal's number.
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal { signal, .. } => u8::try_from(128 + signal.number()).unwrap_or(u8::MAX),
        }
    }

    /// Whether the process exited with code 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "code {code}"),
            Self::Signal { signal, core } => {
                write!(f, "code {}, {signal}", self.shell_code())?;
                if *signal == Signal::SYS {
                    f.write_str(" (a system call that its seccomp profile forbids)")?;
                }
                if *core { f.write_str(", core dumped") } else { Ok(()) }
            }
        }
    }
}

/// The code tinysup itself exits with; `docs/exit-codes.md` has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCode(pub u8);

impl ExitCode {
    /// All went well.
    pub const SUCCESS: Self = Self(0);
    /// A service failed for good although its last exit code was 0.
    pub const FAILURE: Self = Self(1);
    /// The command line cannot be understood (`EX_USAGE` of sysexits.h).
    pub const USAGE: Self = Self(64);
    /// A verb found something that is not as it should be.
    pub const NOT_WELL: Self = Self(3);
    /// A verb found no tinysup to talk to (`EX_UNAVAILABLE`).
    pub const UNAVAILABLE: Self = Self(69);
    /// The configuration runs already; nothing was started (`EX_CANTCREAT`).
    pub const RUNS_ALREADY: Self = Self(73);
    /// A verb had no answer in time, or too much is going on (`EX_TEMPFAIL`).
    pub const TRY_AGAIN: Self = Self(75);
    /// A verb may not be used by this user (`EX_NOPERM`).
    pub const NO_PERMISSION: Self = Self(77);
    /// A SIGTERM came while a verb waited, as of a program that it ends.
    pub const TERMINATED: Self = Self(143);
    /// The system refused what PID 1 cannot do without (`EX_OSERR`).
    pub const SYSTEM: Self = Self(71);
    /// The configuration cannot be used; nothing was started (`EX_CONFIG`).
    pub const CONFIG: Self = Self(78);
    /// A command was found but cannot be executed.
    pub const NOT_EXECUTABLE: Self = Self(126);
    /// A command was not found.
    pub const NOT_FOUND: Self = Self(127);
    /// Asked to stop, and something had to be killed.
    pub const KILLED: Self = Self(137);
}

/// A process as it was seen in /proc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid at that moment.
    pub pid: Pid,
    /// The first word of its command line, or its title where it set one; at most 64 bytes, printable.
    pub name: String,
}

/// Whether orphans come to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All of the PID namespace do: we are its PID 1.
    Pid1,
    /// Those among our descendants do.
    Subreaper,
    /// They go elsewhere.
    Neither,
}

/// The container's standard output or error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sink {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// Why a process could not be started: the failed step and what was found out about its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StartError {
    /// No such program in `PATH`, or no such file.
    NotFound {
        /// The program as written.
        program: String,
        /// The `PATH` searched; `None` if the program has a slash.
        path: Option<String>,
        /// A program there with a similar name.
        similar: Option<String>,
    },
    /// The script is there but its interpreter is not.
    MissingInterpreter {
        /// The script.
        file: String,
        /// What its first line asks for.
        interpreter: String,
    },
    /// The script's first line ends in a carriage return: it has Windows line ends.
    WindowsLineEnds {
        /// The script.
        file: String,
        /// What its first line asks for, without the carriage return.
        interpreter: String,
    },
    /// The program is there but the dynamic loader it names is not.
    MissingLoader {
        /// The program.
        file: String,
        /// The loader.
        loader: String,
    },
    /// The file may not be executed.
    NotExecutable {
        /// The file.
        file: String,
        /// Its permission bits.
        mode: u32,
        /// Whether the file system is mounted noexec.
        noexec: bool,
    },
    /// The program is a directory.
    IsDirectory {
        /// The directory.
        file: String,
    },
    /// Neither a program nor a script with a `#!` line.
    NoShebang {
        /// The file.
        file: String,
    },
    /// A program for another machine.
    WrongMachine {
        /// The file.
        file: String,
    },
    /// Arguments and environment are larger than the kernel takes (E2BIG).
    TooBig {
        /// Their size in bytes.
        bytes: usize,
    },
    /// The program is being written (ETXTBSY).
    Busy {
        /// The file.
        file: String,
    },
    /// The working directory cannot be entered.
    WorkingDirectory {
        /// The directory.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// No such user.
    UnknownUser {
        /// The name.
        name: String,
        /// Whether there is an /etc/passwd at all.
        passwd: bool,
    },
    /// No such group.
    UnknownGroup {
        /// The name.
        name: String,
        /// Whether there is an /etc/group at all.
        group: bool,
    },
    /// We may not become that user.
    CannotSwitchUser {
        /// The user as written.
        user: String,
        /// Its number.
        uid: u32,
        /// Our own number.
        own_uid: u32,
        /// What the system said.
        reason: String,
    },
    /// A file of `env_from_file` cannot be read.
    EnvFile {
        /// The variable.
        variable: String,
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// fork(2) refused.
    NoProcess {
        /// What the system said, with the limit that stands in the way where it is known.
        reason: String,
    },
    /// Another step failed.
    Other {
        /// What could not be done, as a verb phrase: "set the nice value to -5".
        what: String,
        /// What the system said.
        reason: String,
    },
}

impl StartError {
    /// The code that stands for it: 127 when there is nothing to run, 126 when it cannot be run (as shells have it).
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotFound { .. }
            | Self::MissingInterpreter { .. }
            | Self::MissingLoader { .. }
            | Self::WindowsLineEnds { .. } => ExitCode::NOT_FOUND,
            Self::NotExecutable { .. }
            | Self::IsDirectory { .. }
            | Self::NoShebang { .. }
            | Self::WrongMachine { .. }
            | Self::TooBig { .. }
            | Self::Busy { .. }
            | Self::WorkingDirectory { .. }
            | Self::UnknownUser { .. }
            | Self::UnknownGroup { .. }
            | Self::CannotSwitchUser { .. }
            | Self::EnvFile { .. }
            | Self::NoProcess { .. }
            | Self::Other { .. } => ExitCode::NOT_EXECUTABLE,
        }
    }
}

/// Who holds a network port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address and port, as `0.0.0.0:8080`.
    pub address: String,
    /// The process, where /proc lets us see it.
    pub process: Option<Process>,
}

/// What the processes of a run use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time so far, that of collected children among it.
    pub cpu: Duration,
    /// The sum of their resident sets in bytes.
    pub memory: u64,
    /// How many there are.
    pub processes: u32,
}

/// What is to be done about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// It was for nobody in particular: what it means is to be decided ([`Event::Signal`]).
    ToDecide,
    /// It is passed on to all that were called back with; something follows from it ([`Event::PassedOn`]).
    ToFollow,
    /// The same, and nothing does. It is not reported.
    Nothing,
}

/// What happened in the world.
#[derive(Debug)]
#[repr(u8)]
pub enum Event {
    /// The first event of all.
    Begin,
    /// The deadline that the core asked for has come. Carries nothing: the core knows what is due.
    Tick,
    /// A signal for us.
    Signal(Signal),
    /// A signal for us that was passed on the moment it came.
    PassedOn {
        /// What came.
        signal: Signal,
        /// To how many it went.
        receivers: usize,
    },
    /// `Action::Spawn` made a process; the program does not run yet.
    Spawned {
        /// For what.
        child: Child,
        /// The new process.
        pid: Pid,
    },
    /// `Action::Spawn` made no process.
    SpawnFailed {
        /// For what.
        child: Child,
        /// Why.
        error: Rc<StartError>,
    },
    /// The program runs: execve(2) succeeded. What it says may be reported sooner.
    Executed {
        /// What was spawned.
        child: Child,
    },
    /// Between fork and exec a step failed; the process is about to exit, and its `Exited` will follow.
    ExecFailed {
        /// What was spawned.
        child: Child,
        /// Why.
        error: Rc<StartError>,
    },
    /// A process that we made has ended. It is not collected yet: its pid, and its group's, cannot be reused until
    /// `Action::Release`. All that it wrote and that could be read has been reported before.
    Exited {
        /// Who.
        pid: Pid,
        /// How.
        status: ExitStatus,
    },
    /// Strangers that were re-parented to us have ended. Nobody signals one of those by its number, so they are collected already.
    OrphansEnded {
        /// Who, and how.
        ended: Vec<(Pid, ExitStatus)>,
    },
    /// A child wrote something.
    Output {
        /// Who.
        child: Child,
        /// To which of its two streams.
        sink: Sink,
        /// When it was read.
        at: Wall,
        /// What, at most 64 KiB.
        bytes: Vec<u8>,
    },
    /// Something about a file of output that was not so before.
    File {
        /// Where it is.
        path: PathBuf,
        /// What.
        trouble: FileTrouble,
    },
    /// What came of [`Action::Reopen`].
    Reopened {
        /// Who has asked.
        client: Option<Client>,
        /// The files, and why one cannot be opened.
        files: Vec<(PathBuf, Result<(), String>)>,
    },
    /// The reader of the container's output is stuck. With [`Overflow::Drop`] more waits for it than is to be kept: from now on nothing is
    /// to be written there, and what the services write is fetched all the same. With [`Overflow::Block`] the services that feed it
    /// are not read, so that their silence means nothing.
    Stuck {
        /// Where.
        sink: Sink,
    },
    /// The reader has taken all that waited.
    Flows {
        /// Where.
        sink: Sink,
    },
    /// Nobody can write to that stream of a child any more.
    OutputEnded {
        /// Whose.
        child: Child,
        /// Which stream.
        sink: Sink,
    },
    /// The answer to `Action::Sweep`: what was found, living; empty when nothing of it is left.
    Swept {
        /// For what child.
        child: Child,
        /// What is left of it.
        found: Vec<Process>,
    },
    /// The answer to `Action::SweepStrays`.
    Strays {
        /// Who is still there.
        found: Vec<Process>,
    },
    /// The answer to `Action::FindListener`.
    Listener {
        /// For whom it was asked.
        instance: InstanceId,
        /// The port.
        port: u16,
        /// Who holds it, if anybody.
        listener: Option<Listener>,
    },
    /// The answer to `Action::Probe`.
    Probed {
        /// Which attempt.
        child: Child,
        /// What came of it.
        result: Result<(), Failure>,
    },
    /// A run said something through its notification socket. What it said before its end is reported before its end.
    Notified {
        /// Which run, in its main role; surely one of its processes said it.
        child: Child,
        /// What, in the words of sd_notify(3); at most [`MESSAGE_MAX`](crate::notify::MESSAGE_MAX) bytes.
        bytes: Vec<u8>,
    },
    /// A run wrote a newline to its readiness descriptor.
    Announced {
        /// Which run, in its main role.
        child: Child,
    },
    /// The answer to `Action::FindListening`.
    Listening {
        /// Which run, in its main role.
        child: Child,
        /// Where its processes listen, as `0.0.0.0:8080` or `/run/x.sock`; at most a few.
        addresses: Vec<String>,
    },
    /// A client is there. It has not asked anything yet.
    Connected {
        /// Who.
        client: Client,
    },
    /// A client asks something; it does so once.
    Asked {
        /// Who.
        client: Client,
        /// What; `None`: the line is no request, as the text says.
        request: Result<Request, String>,
    },
    /// All that was sent to a client so far is on its way; the last answer is followed by `Left` instead.
    Taken {
        /// Who.
        client: Client,
    },
    /// A client is gone, by itself or because it has its last answer. Nothing is sent to it any more.
    Left {
        /// Who.
        client: Client,
    },
    /// The answer to `Action::Measure`.
    Measured {
        /// For whom.
        client: Client,
        /// What the processes of each run use, in the order in which they were asked for.
        usage: Vec<Usage>,
    },
    /// The answer to `Action::FindMemory`.
    MemoryFound(MemoryFound),
    /// The answer to `Action::Weigh`.
    Weighed {
        /// For whom.
        client: Option<Client>,
        /// What each run holds, in the order in which they were asked for.
        runs: Vec<Weight>,
        /// The container's memory, where it was asked for and can be read.
        container: Option<ContainerMemory>,
    },
    /// The kernel says that memory is short (PSI).
    Pressure,
    /// The kernel's OOM killer ended processes. Reported before the ends that it explains.
    OomKilled {
        /// Of which instance, where it has a cgroup of its own; `None`: somebody in the container.
        instance: Option<InstanceId>,
        /// How many since the last report.
        count: u64,
    },
    /// The answer to `Action::Drain`: all output there was has been reported.
    Drained,
}

/// What the core wants done.
#[derive(Debug)]
#[repr(u8)]
pub enum Action {
    /// Start a process. Answered at once by `Spawned` or `SpawnFailed`, later by `Executed` or `ExecFailed`.
    Spawn {
        /// What it is to us.
        child: Child,
        /// How to start it.
        launch: Rc<Launch>,
        /// Variables only this start has.
        extra_env: Vec<(&'static str, String)>,
    },
    /// Signal one child that is not yet released.
    Signal {
        /// Whom.
        pid: Pid,
        /// With what.
        signal: Signal,
    },
    /// Signal the process group of a child that is not yet released; the child alone where it has no group yet.
    SignalGroup {
        /// The group's leader.
        leader: Pid,
        /// With what.
        signal: Signal,
    },
    /// Signal everybody but us: as PID 1 all processes there are, else our descendants.
    SignalEverybody {
        /// With what.
        signal: Signal,
    },
    /// Stop ourselves until SIGCONT; as PID 1, where that cannot be, do nothing.
    Suspend,
    /// Collect an ended process: from now on its pid may belong to somebody else.
    Release {
        /// Whom.
        pid: Pid,
    },
    /// Look for what is left of a child whose leader has ended: its group, its session, and processes re-parented to us
    /// that carry the mark, with their descendants. Each found gets `signal` and then SIGCONT, so that a stopped one
    /// acts on it. Answered at once by `Swept`.
    Sweep {
        /// Whose remains.
        child: Child,
        /// The ended leader, whose number the group bears.
        leader: Pid,
        /// What its descendants carry.
        mark: Mark,
        /// What to send.
        signal: Signal,
        /// Those that have had it and do not get it again.
        spare: Vec<Pid>,
    },
    /// Look for all other processes: as PID 1 everybody, else our own descendants. Answered at once by `Strays`.
    SweepStrays {
        /// What to send; `None`: only look.
        signal: Option<Signal>,
    },
    /// Find who listens on a TCP port. Answered at once by `Listener`.
    FindListener {
        /// For whom.
        instance: InstanceId,
        /// The port.
        port: u16,
    },
    /// Ask a service something. Answered by `Probed`, at once or later, unless it is called off before.
    Probe {
        /// Which attempt.
        child: Child,
        /// What to ask.
        target: Rc<Target>,
    },
    /// An attempt is no longer of interest, or has taken too long; nothing of it stays open.
    CancelProbe {
        /// Which.
        child: Child,
    },
    /// Find out where the processes of a run listen. Answered at once by `Listening`.
    FindListening {
        /// Which run, in its main role.
        child: Child,
        /// Its leader.
        leader: Pid,
    },
    /// Send a line of an answer. A client that does not read loses its connection once too much waits for it.
    Answer {
        /// Whom.
        client: Client,
        /// What.
        answer: Box<Answer>,
        /// It is the last: the connection is closed once it is sent.
        last: bool,
    },
    /// Close the connection of a client without another word. It is not reported as `Left`.
    Disconnect {
        /// Whose.
        client: Client,
    },
    /// Find out what the processes of some runs use. Answered at once by `Measured`.
    Measure {
        /// For whom.
        client: Client,
        /// Each run with its leader.
        runs: Vec<(Child, Pid)>,
    },
    /// Find out what rules over our memory, and go on to report `OomKilled` and, where it is wanted, `Pressure`. Answered at once by
    /// `MemoryFound`. A run whose launch has a `Cell` gets a cgroup of its own only after this.
    FindMemory {
        /// Whether somebody acts on `Pressure`.
        pressure: bool,
        /// Whether a run asks for a cgroup: then it is tried whether there can be one, which else is only likely.
        cells: bool,
    },
    /// Find out what some runs hold of memory. Answered at once by `Weighed`.
    Weigh {
        /// For whom, where somebody asked.
        client: Option<Client>,
        /// Each run with its leader.
        runs: Vec<(Child, Pid)>,
        /// The container's, too.
        container: bool,
        /// The proportional set sizes, too; that is slow.
        pss: bool,
    },
    /// Write to the container's output; whole lines. Never blocks: kept until the reader takes it.
    Write {
        /// Where.
        sink: Sink,
        /// What.
        bytes: Vec<u8>,
    },
    /// Write whole lines to a file, which is opened, or begun anew where they would make it too large. What cannot be written is lost and
    /// counted.
    WriteFile {
        /// Where.
        file: Rc<LogFile>,
        /// What.
        bytes: Vec<u8>,
    },
    /// Close and open all files of output: somebody has moved them. Answered with `Reopened`.
    Reopen {
        /// Who has asked.
        client: Option<Client>,
    },
    /// Tell what happened.
    Tell(Notice),
    /// Report all output that is still in pipes, then answer with `Drained`.
    Drain,
    /// Leave the cause of the end where Kubernetes looks for it (/dev/termination-log), if that file is there.
    TerminationLog {
        /// The text, at most 4096 bytes.
        text: String,
    },
    /// Read the configuration again. The loop does it, not the kernel, and hands the core what it was once all answers to this step
    /// are taken in.
    Reread,
    /// End: flush what can be flushed, and exit.
    Exit(ExitCode),
}
