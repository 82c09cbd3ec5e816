//! The real kernel: Linux. One thread, one poll(2), and the rooms below for what it needs. It carries out actions and
//! reports events; it never sees the plan or the machines, and decides nothing that the core could.

/// Tells something of the mechanism's own, as the macros of `log` do; those are a hundred bytes more in each place.
macro_rules! say {
    ($level:ident, $($words:tt)+) => {
        $crate::sys::log::say(::log::Level::$level, module_path!(), format_args!($($words)+))
    };
}

mod backlog;
mod call;
mod caps;
mod cells;
mod cgroup;
mod child;
mod children;
mod client;
mod clock;
mod control;
mod descriptors;
mod diagnose;
mod elf;
mod environment;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod listener;
mod log;
mod logfile;
mod mailbox;
mod memory;
mod panic;
mod parent;
mod poll;
mod print;
mod probes;
mod procfs;
mod rehearsal;
mod relay;
mod signals;
mod sink;
mod socket;
mod spawn;
mod sweep;
mod tag;
mod terminal;
mod termination;
mod trap;
mod usage;
mod users;
mod voices;

use std::fmt;
use std::time::Duration;

use nix::errno::Errno;

pub use self::client::{Connection, Limit, Lost, NoConnection, in_path, is_one_file, unix_time_ms};
pub use self::control::places;
pub use self::environment::variable;
pub use self::files::{Files, FilesAgain, has_name};
pub use self::log::init_logging;
pub use self::panic::{end_by_panic, end_without_memory};
pub use self::print::{Printed, print, print_error};
pub use self::signals::asked_to_stop;
pub use self::terminal::{Happened, Screen, Size, can_draw, colored, look};
pub use self::termination::leave as leave_last_word;
pub use self::trap::{SIGNAL as TRAP, catch as catch_traps};

use self::children::{Children, Start};
use self::clock::Clock;
use self::control::Control;
use self::logfile::LogFiles;
use self::memory::Memory;
use self::poll::{Interest, Poll, Woken};
use self::probes::Probes;
use self::relay::Relay;
use self::signals::{Arrival, Signals};
use self::sink::Sinks;
use self::spawn::{Spawner, Stream};
use self::voices::{Announcement, Voices};
use crate::control::Place;
use crate::event::{
    Action, Care, Child, Event, FileTrouble, InstanceId, Launch, Output, Overflow, Pid, Role, Sink, Spare,
    Standing, Time, report,
};
use crate::gather::{Gather, least};
use crate::kernel::{AtOnce, Kernel, Until};
use crate::line::Own;
use crate::notice::Notice;
use crate::units::Signal;
use crate::voice::Voice;

/// Ended children that are reported one after another before output and timers get a turn; signals always come first.
const ENDED_PER_TURN: u32 = 64;

/// After so many signals that were waited for alone, all that have come are read, and it is looked who has ended.
const ALONE_MAX: u32 = 16;

/// While a deadline measures the time of others, no wait is longer than this, or than an eighth of what is left if that is more: so much
/// of a time in which we were frozen may count, not more.
const SLICE: Duration = Duration::from_secs(1);

/// How long the last lines may take to be read.
const FINISH_AT_MOST: Duration = Duration::from_millis(400);

/// What this program inherited and had to change at once; signals as sets in which bit n-1 stands for signal n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// The blocked signals.
    pub mask: u64,
    /// Those whose disposition was changed before it was ours to look.
    pub touched: u64,
    /// Those of them that were ignored.
    pub ignored: u64,
    /// Which of descriptors 0, 1 and 2 were closed.
    pub closed: [bool; 3],
}

/// Whether this is PID 1 of its PID namespace, and so the parent of every orphan.
pub fn is_pid1() -> bool {
    std::process::id() == 1
}

/// Our own pid.
pub fn own_pid() -> u32 {
    std::process::id()
}

/// For commands that supervise nothing: signals do what they did before us. PID 1 keeps them blocked; for it the kernel would
/// only drop them.
pub fn give_signals_back(inherited: Inherited) {
    if !is_pid1() {
        trap::read(false);
        signals::swap_mask(inherited.mask);
    }
}

/// What happens to descriptors above 2 that we inherited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// No child gets them: several services.
    Keep,
    /// The command gets them, as if there were no init, and we let go of them.
    PassOn,
}

/// What kind of init this process becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// What happens to descriptors that we inherited.
    pub descriptors: Descriptors,
    /// Whether orphans are adopted where we are not PID 1.
    pub adopt: bool,
    /// The signal to get when our parent dies.
    pub parent_death: Option<Signal>,
    /// How our own lines begin and what they say.
    pub voice: Voice,
    /// What happens while nobody reads the container's output.
    pub overflow: Overflow,
    /// How they are written.
    pub lines: Own,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            descriptors: Descriptors::Keep,
            adopt: true,
            parent_death: None,
            voice: Voice::Tinysup,
            overflow: Overflow::default(),
            lines: Own::default(),
        }
    }
}

/// Why this process cannot be an init.
#[derive(Debug)]
pub struct InitError {
    what: &'static str,
    errno: Errno,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, word(self.errno))
    }
}

impl std::error::Error for InitError {}

/// The world on Linux.
#[derive(Debug)]
pub struct Linux {
    setup: Setup,
    clock: Clock,
    signals: Signals,
    /// Gone before the spawner: its sockets lie in a directory of that one.
    voices: Voices,
    spawner: Spawner,
    children: Children,
    relay: Relay,
    probes: Probes,
    sinks: Sinks,
    /// From what is written to what is read.
    spare: Spare,
    files: LogFiles,
    control: Control,
    memory: Memory,
    poll: Poll<Source>,
    /// Whether a child may have ended since we last looked.
    look: bool,
    /// The last turn was for signals alone.
    hurried: bool,
    /// How many signals in a row were waited for alone.
    alone: u32,
    /// Ended children reported since the last poll.
    reported: u32,
}

/// Whom a descriptor in the poll list belongs to.
#[derive(Clone, Copy, Debug)]
enum Source {
    Signals,
    Sink(Sink),
    Starting(Pid),
    Pipe(relay::Index),
    Probe(Child),
    Voice(Pid),
    Control(control::Source),
    Memory(memory::Source),
}

impl Linux {
    /// Makes this process an init: takes over the signals, adopts orphans, and keeps what children shall get.
    ///
    /// # Errors
    /// When the system refuses what cannot be done without.
    #[inline(never)]
    pub fn new(inherited: Inherited, setup: Setup) -> Result<Self, InitError> {
        if setup.descriptors == Descriptors::Keep {
            descriptors::keep_inherited_from_children();
        }
        let signals = Signals::install(inherited)?;
        if let Some(signal) = setup.parent_death {
            let number = libc::c_ulong::from(signal.number().unsigned_abs());
            caps::prctl(libc::PR_SET_PDEATHSIG, number, 0)
                .map_err(|errno| InitError { what: "ask for a signal at the parent's death", errno })?;
        }
        if setup.adopt
            && !is_pid1()
            && let Err(errno) = caps::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0)
        {
            say!(Debug, "cannot adopt orphans: {}", word(errno));
        }
        let (spawner, sinks) = match setup.descriptors {
            Descriptors::Keep => {
                (Spawner::new(inherited, signals.dispositions()), Sinks::new(setup.overflow))
            }
            Descriptors::PassOn => {
                (Spawner::of_one(inherited, signals.dispositions()), Sinks::later(setup.overflow))
            }
        };
        Ok(Self {
            setup,
            clock: Clock::new(),
            control: Control::new(signals.have_senders()),
            signals,
            spawner,
            children: Children::default(),
            relay: Relay::default(),
            probes: Probes::default(),
            voices: Voices::default(),
            sinks,
            spare: Spare::default(),
            files: LogFiles::default(),
            memory: Memory::default(),
            poll: Poll::new(),
            look: true,
            hurried: false,
            alone: 0,
            reported: 0,
        })
    }

    /// Listens to clients.
    #[inline(never)]
    pub fn listen(&mut self, place: Place) {
        self.control.open(place);
        self.pass_on_our_lines();
    }

    /// Whether orphans come to us; we may be a subreaper without having asked for it, and not be one although we have.
    pub fn standing() -> Standing {
        match is_pid1() {
            true => Standing::Pid1,
            false if caps::is_subreaper() => Standing::Subreaper,
            false => Standing::Neither,
        }
    }

    /// Ends the work: writes what still waits for a reader, for at most [`FINISH_AT_MOST`]. Only what lies outside this process is put
    /// away; to take apart the rest, which goes with us, would be two kilobytes of code.
    #[inline(never)]
    pub fn finish(mut self) {
        self.control.flush(&mut Vec::new());
        self.pass_on_our_lines();
        self.sinks.finish(FINISH_AT_MOST);
        // With PID 1 the container ends, and its cgroup with all below it.
        if !is_pid1() {
            self.memory.leave();
        }
        self.voices = Voices::default();
        self.spawner.leave();
        self.control.leave();
        std::mem::forget(self);
    }

    /// Reports one ended child, after all that it did before, or some strangers, collected. Says how many.
    fn report_ended(&mut self, events: &mut Vec<Event>) -> u32 {
        let Some((pid, status)) = children::ended() else {
            self.look = false;
            self.keep_going();
            return 0;
        };
        self.look = true; // it is still there, also if no signal told of it yet
        let Some(child) = self.children.get(pid) else { return self.report_strangers(pid, events) };
        self.report_start(pid, true, events);
        let congested = |sink| self.sinks.congested(sink);
        self.relay.child_ended(child, congested, &mut self.spare, events);
        self.voices.ended(pid, events);
        if child.role == Role::Main {
            self.probes.forget_answered(child.instance);
        }
        self.memory.ended(status, events);
        report(events, Event::Exited { pid, status });
        1
    }

    /// Whoever has the terminal is continued when a key has stopped it: nobody else here could, and without an init the kernel would
    /// have dropped that signal.
    fn keep_going(&self) {
        if let Some(pid) = self.spawner.has_terminal().filter(|_| is_pid1())
            && children::stopped(pid) == Some(Signal::TSTP)
        {
            self.children.signal_group(pid, Signal::CONT);
        }
    }

    /// Collects some strangers, the first of whom has ended.
    #[inline(never)]
    fn report_strangers(&mut self, first: Pid, events: &mut Vec<Event>) -> u32 {
        let ended = self.children.collect_strangers(first);
        // Some of them may be remains, whose last words come before their end, too.
        self.relay.take_last(|sink| self.sinks.congested(sink), &mut self.spare, events);
        for (_, status) in &ended {
            self.memory.ended(*status, events);
        }
        self.memory.released(None, events);
        let count = u32::try_from(ended.len()).unwrap_or(u32::MAX);
        if count > 0 {
            report(events, Event::OrphansEnded { ended });
        }
        count.max(1)
    }

    fn report_start(&mut self, pid: Pid, ended: bool, events: &mut Vec<Event>) {
        match self.children.started(pid, ended) {
            None => {}
            Some(Start::Executed(child)) => report(events, Event::Executed { child }),
            Some(Start::Failed(child, failure, attempt)) => {
                report(
                    events,
                    Event::ExecFailed { child, error: diagnose::diagnose(failure, &attempt).into() },
                );
            }
        }
    }

    /// Passes on what signals can be passed on at once, and reports those that are more than that.
    fn read_signals(&mut self, arrived: Option<Arrival>, at_once: AtOnce, events: &mut Vec<Event>) {
        let children = &self.children;
        let mut care = Care::Nothing;
        let news = self.signals.read(arrived, &mut |signal| {
            let mut receivers = 0;
            // What is to be decided keeps its place before those that came after it.
            if care != Care::ToDecide {
                care = at_once(signal, &mut |pid, becomes| {
                    children.signal(pid, becomes);
                    receivers += 1;
                });
            }
            match care {
                Care::ToDecide => report(events, Event::Signal(signal)),
                Care::ToFollow => report(events, Event::PassedOn { signal, receivers }),
                Care::Nothing => {}
            }
        });
        self.look |= news.child;
        self.control.look_after_file(news.directory, &self.clock, events);
    }

    /// Waits for something to happen, and reports what did. Says whether there was nothing but signals, or they were let go first.
    #[inline(never)]
    fn poll(&mut self, until: Option<Until>, at_once: AtOnce, events: &mut Vec<Event>) -> bool {
        self.poll.clear();
        self.poll.watch(Source::Signals, self.signals.descriptor(), Interest::Read);
        self.sinks.watch(&mut self.poll, Source::Sink);
        self.children.watch(&mut self.poll, Source::Starting);
        self.relay.watch(&mut self.poll, |sink| self.sinks.congested(sink), Source::Pipe);
        self.probes.watch(&mut self.poll, Source::Probe);
        self.voices.watch(&mut self.poll, Source::Voice);
        self.memory.watch(&mut self.poll, Source::Memory);
        let muted = self.control.muted();
        self.control.watch(&mut self.poll, Source::Control);

        let before = self.clock.now();
        let due = self.memory.look(before, events);
        let latest = if self.look || !events.is_empty() {
            Some(before)
        } else {
            let deadline = until.map(|Until { at, measures }| {
                // In slices, so that a freeze is noticed in the middle of a long wait.
                let slice = if measures { SLICE.max(at.since(before) / 8) } else { Duration::MAX };
                at.clamp(before, before + slice)
            });
            // Who could not be let in is not waited for, but not forgotten either.
            least(deadline.or(muted.then(|| before + SLICE)), due)
        };
        let timeout = latest.map(|latest| latest.since(before));
        let known = events.len();
        // They come first: what somebody asked for may change what an end of a child means. And what is passed on waits for nothing that
        // could be done after it.
        let alone = if self.poll.is_for_one() { self.signals.wait(timeout) } else { Err(()) };
        if let Ok(arrived) = alone {
            if arrived.is_some() {
                self.read_signals(arrived, at_once, events);
            }
            // It was the one with the least number. What an end of a child means may depend on the others; and if it comes without end,
            // the others would never be taken.
            self.alone = if arrived.is_some() { self.alone.saturating_add(1) } else { 0 };
            if self.look || self.alone >= ALONE_MAX {
                self.alone = 0;
                self.look = true;
                self.read_signals(None, at_once, events);
            }
            self.clock.waited(before, latest);
            return arrived.is_some();
        }
        let woken = self.poll.wait(timeout);
        if woken == Woken::BySignal || self.poll.is_first_ready() {
            self.read_signals(None, at_once, events);
        }
        self.clock.waited(before, latest);
        if woken == Woken::BySignal {
            self.sinks.report(events);
            return true;
        }

        // It does not even wait for output to be read; but signals without end leave every second turn to the others.
        let hurry = events.len() > known && !self.hurried;
        let (mut pipes, mut clients) = (Vec::new(), Vec::new());
        let ready: Vec<Source> = self.poll.ready().gather();
        for source in ready {
            match source {
                Source::Signals => {} // they were first
                Source::Sink(sink) => self.sinks.flush(sink, &mut self.spare),
                Source::Starting(pid) => self.report_start(pid, false, events),
                Source::Pipe(index) => pipes.push(index),
                Source::Probe(child) => self.probes.go_on(child, events),
                Source::Voice(pid) => {
                    // Whoever speaks runs, also if that was not seen yet.
                    self.report_start(pid, false, events);
                    self.voices.hear(pid, events);
                }
                Source::Control(source) => clients.push(source),
                Source::Memory(source) => self.memory.ready(source, self.clock.now(), events),
            }
        }
        self.hurried = hurry;
        self.sinks.report(events);
        if hurry {
            return true;
        }
        self.relay.read(&pipes, &mut self.spare, events);
        for source in clients {
            self.control.ready(source, events);
        }
        false
    }

    #[inline(never)]
    fn spawn(
        &mut self,
        child: Child,
        launch: &std::rc::Rc<Launch>,
        extra: &[(&'static str, String)],
        events: &mut Vec<Event>,
    ) {
        let spawned = self
            .memory
            .entrance(child, launch)
            .and_then(|entrance| self.spawner.spawn(child, launch, extra, entrance.as_ref()));
        match spawned {
            Ok(spawned) => {
                if self.setup.descriptors == Descriptors::PassOn {
                    // The one command has them now.
                    let mut ours = Vec::new();
                    self.spawner.held(&mut ours);
                    self.sinks.held(&mut ours);
                    spawned.held(&mut ours);
                    self.signals.held(&mut ours);
                    self.memory.held(&mut ours);
                    descriptors::close_others(&ours);
                }
                self.voices.add(voices::Voice {
                    child,
                    leader: spawned.pid,
                    mark: launch.mark.clone(),
                    uid: spawned.attempt.uid,
                    mailbox: spawned.mailbox,
                    announcement: spawned.announcement.map(Announcement::new),
                    closer: None,
                });
                self.children.add(spawned.pid, child, spawned.report, spawned.attempt);
                for (sink, stream) in [Sink::Stdout, Sink::Stderr].into_iter().zip(spawned.outputs) {
                    match stream {
                        Stream::Elsewhere => {}
                        Stream::Read(pipe, purpose) => self.relay.add(child, sink, pipe, purpose),
                    }
                }
                for output in [&launch.stdout, &launch.stderr] {
                    if let Output::File(file) = output {
                        self.files.prepare(file, events);
                    }
                }
                report(events, Event::Spawned { child, pid: spawned.pid });
            }
            Err(error) => {
                self.memory.released(self.without_children(child.instance), events);
                report(events, Event::SpawnFailed { child, error: error.into() });
            }
        }
    }

    /// The instance, if it has no child.
    fn without_children(&self, instance: InstanceId) -> Option<InstanceId> {
        Some(instance).filter(|instance| !self.children.has(*instance))
    }

    fn tell(&self, notice: &Notice) {
        let level = notice.level();
        if level <= ::log::max_level() {
            let words = self.setup.voice.words(notice);
            log::say(level, module_path!(), format_args!("{words}"));
        }
    }

    fn pass_on_our_lines(&mut self) {
        let lines = log::take();
        if !lines.is_empty() {
            self.sinks.tell(lines);
        }
    }
}

impl Kernel for Linux {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn wait(&mut self, until: Option<Until>, at_once: AtOnce, events: &mut Vec<Event>) {
        let mut found = Vec::new();
        self.control.flush(&mut found);
        self.sinks.report(&mut found);
        loop {
            if self.look && self.reported < ENDED_PER_TURN {
                self.read_signals(None, at_once, &mut found);
                self.reported += self.report_ended(&mut found);
                if !found.is_empty() {
                    break;
                }
            }
            self.reported = 0;
            let signal = self.poll(until, at_once, &mut found);
            // Also if no signal told of one. A signal for us goes first: what follows from it is not to wait for a look.
            if found.is_empty() && (self.look || !signal) {
                self.report_ended(&mut found);
            }
            if !found.is_empty() || until.is_some_and(|until| until.at <= self.now()) {
                break;
            }
            self.pass_on_our_lines();
        }
        events.append(&mut found);
        self.pass_on_our_lines();
    }

    fn perform(&mut self, action: Action, events: &mut Vec<Event>) {
        match action {
            Action::Spawn { child, launch, extra_env } => self.spawn(child, &launch, &extra_env, events),
            Action::Signal { pid, signal } => self.children.signal(pid, signal),
            Action::SignalGroup { leader, signal } => self.children.signal_group(leader, signal),
            Action::SignalEverybody { signal } => sweep::signal_others(signal),
            Action::Suspend => suspend(),
            Action::Release { pid } => {
                self.spawner.take_terminal_back(pid);
                let instance = self.children.get(pid).map(|child| child.instance);
                self.children.release(pid);
                let over = instance.and_then(|instance| self.without_children(instance));
                self.memory.released(over, events);
                self.look = true;
            }
            Action::Sweep { child, leader, mark, signal, spare } => {
                let found = sweep::remains(&mut self.children, child, leader, &mark, signal, &spare);
                report(events, Event::Swept { child, found });
            }
            Action::SweepStrays { signal } => {
                // Some of them are clients.
                self.control.flush(events);
                report(events, Event::Strays { found: sweep::strays(signal) });
            }
            Action::FindListener { instance, port } => {
                report(events, Event::Listener { instance, port, listener: listener::find(port) });
            }
            Action::Answer { client, answer, last } => self.control.answer(client, &answer, last, events),
            Action::Disconnect { client } => self.control.disconnect(client),
            Action::Measure { client, runs } => {
                report(events, Event::Measured { client, usage: usage::measure(&self.children, &runs) });
            }
            Action::FindMemory { pressure, cells } => {
                let found = self.memory.find(pressure, cells, events);
                report(events, Event::MemoryFound(found));
            }
            Action::Weigh { client, runs, container, pss } => {
                let (runs, container) = self.memory.weigh(&self.children, &runs, container, pss, events);
                report(events, Event::Weighed { client, runs, container });
            }
            Action::Probe { child, target } => self.probes.begin(child, &target, events),
            Action::CancelProbe { child } => self.probes.cancel(child),
            Action::FindListening { child, leader } => {
                let addresses = listener::of_run(&self.children, leader, child.instance);
                report(events, Event::Listening { child, addresses });
            }
            Action::Write { sink, bytes } => self.sinks.write(sink, bytes, &mut self.spare),
            Action::WriteFile { file, bytes } => self.files.write(&file, &bytes, events),
            Action::Reopen { client } => {
                let files = self.files.reopen(events);
                report(events, Event::Reopened { client, files });
            }
            Action::Tell(notice) => {
                if matches!(notice, Notice::AllUp { .. }) {
                    parent::tell_ready();
                }
                if matches!(notice, Notice::Obituary(_) | Notice::Stopped { .. } | Notice::AllDone { .. }) {
                    // They come after all that is written: a file that has not worked again will not any more.
                    for (path, lines) in self.files.lost() {
                        let (path, trouble) = (path.display().to_string(), FileTrouble::Never { lines });
                        self.tell(&Notice::File { path, trouble });
                    }
                }
                self.tell(&notice);
            }
            Action::Drain => {
                self.relay.drain(&mut self.spare, events);
                report(events, Event::Drained);
            }
            Action::TerminationLog { text } => termination::leave(&text),
            Action::Reread | Action::Exit(_) => {} // of the loop; after the second `finish` follows
        }
        self.pass_on_our_lines();
    }
}

/// Stops us until SIGCONT. As PID 1 the kernel spares us that.
#[expect(unsafe_code, reason = "kill with our own pid")]
fn suspend() {
    // SAFETY: plain call on ourselves.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
}

/// The system's word for an error number.
fn word(errno: Errno) -> String {
    match errno {
        // A file system may have errors of its own; the number is lost, and 0 would be told as a success.
        Errno::UnknownErrno => "an error without a name".to_owned(),
        errno => call::word(errno as i32),
    }
}
