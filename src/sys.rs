//! The real kernel: Linux. One thread, one poll(2), and the rooms below for what it needs. It carries out actions and
//! reports events; it never sees the plan or the machines, and decides nothing that the core could.

mod caps;
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
mod listener;
mod log;
mod panic;
mod poll;
mod print;
mod procfs;
mod rehearsal;
mod relay;
mod signals;
mod sink;
mod spawn;
mod sweep;
mod tag;
mod terminal;
mod termination;
mod usage;
mod users;

use std::time::Duration;
use std::{fmt, io};

use nix::errno::Errno;

pub use self::client::{Connection, Limit, Lost, NoConnection, in_path, unix_time_ms};
pub use self::files::Files;
pub use self::log::init_logging;
pub use self::panic::end_by_panic;
pub use self::print::{print, print_error};
pub use self::signals::asked_to_stop;
pub use self::terminal::{Happened, Screen, Size, can_draw, look};
pub use self::termination::leave as leave_last_word;

use self::children::{Children, Start};
use self::clock::Clock;
use self::control::Control;
use self::poll::{Interest, Poll, Woken};
use self::relay::Relay;
use self::signals::Signals;
use self::sink::Sinks;
use self::spawn::{Spawner, Stream};
use crate::control::Place;
use crate::event::{Action, Child, Event, Launch, Pid, Sink, Time};
use crate::kernel::Kernel;
use crate::units::reason;

/// Ended children that are reported one after another before output and timers get a turn; signals always come first.
const ENDED_PER_TURN: u32 = 64;

/// While a deadline is set, no wait is longer than this: so much of a time in which we were frozen may count, not more.
const SLICE: Duration = Duration::from_secs(1);

/// How long the last lines may take to be read.
const FINISH_AT_MOST: Duration = Duration::from_millis(400);

/// What this program inherited of signals, as sets in which bit n-1 stands for signal n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// Those that were blocked.
    pub mask: u64,
    /// Those that were ignored.
    pub ignored: u64,
}

/// Whether this is PID 1 of its PID namespace, and so the parent of every orphan.
pub fn is_pid1() -> bool {
    std::process::id() == 1
}

/// For commands that supervise nothing: signals do what they did before us. PID 1 keeps them blocked; for it the kernel would
/// only drop them.
pub fn give_signals_back(inherited: Inherited) {
    if !is_pid1() {
        signals::swap_mask(inherited.mask);
    }
}

/// What happens to descriptors above 2 that we inherited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// No child gets them: several services.
    Keep,
    /// The command gets them, as if there were no init.
    PassOn,
}

/// Why this process cannot be an init.
#[derive(Debug)]
pub struct InitError {
    what: &'static str,
    error: io::Error,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, reason(&self.error))
    }
}

impl std::error::Error for InitError {}

/// The world on Linux.
#[derive(Debug)]
pub struct Linux {
    clock: Clock,
    signals: Signals,
    spawner: Spawner,
    children: Children,
    relay: Relay,
    sinks: Sinks,
    control: Control,
    poll: Poll<Source>,
    /// Whether a child may have ended since we last looked.
    look: bool,
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
    Control(control::Source),
}

impl Linux {
    /// Makes this process an init: takes over the signals, adopts orphans, and keeps what children shall get.
    ///
    /// # Errors
    /// When the system refuses what cannot be done without.
    pub fn new(inherited: Inherited, descriptors: Descriptors) -> Result<Self, InitError> {
        if descriptors == Descriptors::Keep {
            descriptors::keep_inherited_from_children();
        }
        let signals = Signals::install()?;
        if !is_pid1()
            && let Err(errno) = caps::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0)
        {
            ::log::debug!("cannot adopt orphans: {}", word(errno));
        }
        Ok(Self {
            clock: Clock::new(),
            signals,
            spawner: Spawner::new(inherited),
            children: Children::default(),
            relay: Relay::default(),
            sinks: Sinks::new(),
            control: Control::new(),
            poll: Poll::new(),
            look: true,
            reported: 0,
        })
    }

    /// Listens to clients.
    pub fn listen(&mut self, place: Place) {
        self.control.open(place);
        self.pass_on_our_lines();
    }

    /// Ends the work: writes what still waits for a reader, for at most one second.
    pub fn finish(mut self) {
        self.control.flush(&mut Vec::new());
        self.pass_on_our_lines();
        self.sinks.finish(FINISH_AT_MOST);
    }

    /// Reports one ended child, after all that it did before. Says whether there was one.
    fn report_ended(&mut self, events: &mut Vec<Event>) -> bool {
        let Some((pid, status)) = children::ended() else {
            self.look = false;
            return false;
        };
        if let Some(child) = self.children.get(pid) {
            self.report_start(pid, true, events);
            self.relay.child_ended(child, |sink| self.sinks.congested(sink), events);
        }
        events.push(Event::Exited { pid, status });
        self.look = true; // it is still there, also if no signal told of it yet
        true
    }

    fn report_start(&mut self, pid: Pid, ended: bool, events: &mut Vec<Event>) {
        match self.children.started(pid, ended) {
            None => {}
            Some(Start::Executed(child)) => events.push(Event::Executed { child }),
            Some(Start::Failed(child, failure, attempt)) => {
                events.push(Event::ExecFailed { child, error: diagnose::diagnose(failure, &attempt) });
            }
        }
    }

    /// Waits for something to happen, and reports what did.
    fn poll(&mut self, deadline: Option<Time>, events: &mut Vec<Event>) {
        self.poll.clear();
        for descriptor in self.signals.descriptors() {
            self.poll.watch(Source::Signals, descriptor, Interest::Read);
        }
        self.sinks.watch(&mut self.poll, Source::Sink);
        self.children.watch(&mut self.poll, Source::Starting);
        self.relay.watch(&mut self.poll, |sink| self.sinks.congested(sink), Source::Pipe);
        let muted = self.control.muted();
        self.control.watch(&mut self.poll, Source::Control);

        let before = self.clock.now();
        let latest = if self.look || !events.is_empty() {
            Some(before)
        } else {
            // In slices, so that a freeze is noticed in the middle of a long wait.
            let deadline = deadline.map(|deadline| deadline.clamp(before, before + SLICE));
            // Who could not be let in is not waited for, but not forgotten either.
            deadline.or(muted.then(|| before + SLICE))
        };
        let woken = self.poll.wait(latest.map(|latest| latest.since(before)));
        self.clock.waited(before, latest);
        if woken == Woken::BySignal {
            self.look |= self.signals.read(events);
            return;
        }

        let (mut pipes, mut clients) = (Vec::new(), Vec::new());
        let ready: Vec<Source> = self.poll.ready().collect();
        for source in ready {
            match source {
                // They come first: what somebody asked for may change what an end of a child means.
                Source::Signals => self.look |= self.signals.read(events),
                Source::Sink(sink) => self.sinks.flush(sink),
                Source::Starting(pid) => self.report_start(pid, false, events),
                Source::Pipe(index) => pipes.push(index),
                Source::Control(source) => clients.push(source),
            }
        }
        self.relay.read(&pipes, events);
        for source in clients {
            self.control.ready(source, events);
        }
    }

    fn spawn(
        &mut self,
        child: Child,
        launch: &std::rc::Rc<Launch>,
        extra: &[(&'static str, String)],
        events: &mut Vec<Event>,
    ) {
        match self.spawner.spawn(child.instance, launch, extra) {
            Ok(spawned) => {
                self.children.add(spawned.pid, child, spawned.report, spawned.attempt);
                for (sink, stream) in [Sink::Stdout, Sink::Stderr].into_iter().zip(spawned.outputs) {
                    match stream {
                        Stream::Elsewhere => {}
                        Stream::Relayed(pipe) => self.relay.add(child, sink, pipe, false),
                        Stream::Discarded(pipe) => self.relay.add(child, sink, pipe, true),
                    }
                }
                events.push(Event::Spawned { child, pid: spawned.pid });
            }
            Err(error) => events.push(Event::SpawnFailed { child, error }),
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

    fn wait(&mut self, deadline: Option<Time>, events: &mut Vec<Event>) {
        let mut found = Vec::new();
        self.control.flush(&mut found);
        loop {
            if self.look && self.reported < ENDED_PER_TURN {
                self.look |= self.signals.read(&mut found);
                if self.report_ended(&mut found) {
                    self.reported += 1;
                }
                if !found.is_empty() {
                    break;
                }
            }
            self.reported = 0;
            self.poll(deadline, &mut found);
            // Also if no signal told of one. A signal for us goes first: what follows from it is not to wait for a look.
            if found.is_empty() {
                self.report_ended(&mut found);
            }
            if !found.is_empty() || deadline.is_some_and(|deadline| deadline <= self.now()) {
                break;
            }
        }
        events.append(&mut found);
        self.pass_on_our_lines();
    }

    fn perform(&mut self, action: Action, events: &mut Vec<Event>) {
        match action {
            Action::Spawn { child, launch, extra_env } => self.spawn(child, &launch, &extra_env, events),
            Action::Signal { pid, signal } => self.children.signal(pid, signal),
            Action::SignalGroup { leader, signal } => self.children.signal_group(leader, signal),
            Action::Release { pid } => {
                self.children.release(pid);
                self.look = true;
            }
            Action::Sweep { child, leader, mark, signal, spare } => {
                let found = sweep::remains(&mut self.children, child, leader, &mark, signal, &spare);
                events.push(Event::Swept { child, found });
            }
            Action::SweepStrays { signal } => events.push(Event::Strays { found: sweep::strays(signal) }),
            Action::FindListener { instance, port } => {
                events.push(Event::Listener { instance, port, listener: listener::find(port) });
            }
            Action::Answer { client, answer, last } => self.control.answer(client, &answer, last, events),
            Action::Disconnect { client } => self.control.disconnect(client),
            Action::Measure { client, runs } => {
                events.push(Event::Measured { client, usage: usage::measure(&self.children, &runs) });
            }
            Action::Probe { .. } | Action::CancelProbe { .. } => {}
            Action::FindListening { child, .. } => {
                events.push(Event::Listening { child, addresses: Vec::new() });
            }
            Action::Write { sink, bytes } => self.sinks.write(sink, bytes),
            Action::Tell(notice) => ::log::log!(notice.level(), "{notice}"),
            Action::Drain => {
                self.relay.drain(events);
                events.push(Event::Drained);
            }
            Action::TerminationLog { text } => termination::leave(&text),
            Action::Exit(_) => {} // `finish` follows
        }
        self.pass_on_our_lines();
    }
}

/// The system's word for an error number.
fn word(errno: Errno) -> String {
    reason(&io::Error::from(errno))
}
