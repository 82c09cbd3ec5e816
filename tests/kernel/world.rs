//! The driver: a `Linux` with what it has reported so far, and the usual launches.

use std::collections::HashMap;
use std::ffi::OsString;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tinysup::event::{
    Action, Care, Child, Conditions, Event, ExitStatus, Identity, InstanceId, Launch, Mark, Pid, Process,
    Role, Secret, Sink, StartError,
};
use tinysup::kernel::{AtOnce, Kernel, Until};
use tinysup::sys::{Descriptors, Linux, Setup};
use tinysup::units::Signal;

use crate::early;

/// No case waits longer than this for one thing.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub linux: Linux,
    /// All that happened, oldest first.
    pub events: Vec<Event>,
    /// Signals that are passed on the moment they come: to whom, and as what.
    pub at_once: HashMap<Signal, Vec<(Pid, Signal)>>,
    /// How many of them `until` has looked at.
    seen: usize,
    runs: u32,
}

/// What became of a child.
#[derive(Debug)]
pub struct Outcome {
    pub pid: Pid,
    pub executed: bool,
    pub error: Option<StartError>,
    pub status: Option<ExitStatus>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Outcome {
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("text")
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(Descriptors::Keep)
    }

    pub fn with(descriptors: Descriptors) -> Self {
        Self::of(Setup { descriptors, ..Setup::default() })
    }

    pub fn of(setup: Setup) -> Self {
        tinysup::sys::catch_traps(); // as the program does
        let linux = Linux::new(early::inherited(), setup).expect("a kernel");
        Self { linux, events: Vec::new(), at_once: HashMap::new(), seen: 0, runs: 0 }
    }

    pub fn perform(&mut self, action: Action) {
        self.linux.perform(action, &mut self.events);
    }

    /// Waits once, and lets ended processes go as the core would.
    pub fn wait(&mut self, at_most: Duration) {
        let from = self.events.len();
        let deadline = self.linux.now() + at_most;
        let at_once: AtOnce = &|signal, send| {
            let receivers = self.at_once.get(&signal);
            receivers.into_iter().flatten().for_each(|(pid, becomes)| send(*pid, *becomes));
            receivers.map_or(Care::ToDecide, |_| Care::ToFollow)
        };
        self.linux.wait(Some(Until { at: deadline, measures: true }), at_once, &mut self.events);
        let ended: Vec<Pid> = self.events[from..]
            .iter()
            .filter_map(|event| if let Event::Exited { pid, .. } = event { Some(*pid) } else { None })
            .collect();
        assert!(ended.len() <= 1, "one at a time: {ended:?}");
        for pid in ended {
            self.perform(Action::Release { pid });
        }
    }

    /// Waits for the first event, after those looked at before, of which `wanted` makes something.
    pub fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = self.linux.now() + PATIENCE;
        loop {
            while let Some(event) = self.events.get(self.seen) {
                self.seen += 1;
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
            assert!(self.linux.now() < deadline, "waited in vain for {what}: {:?}", self.latest());
            self.wait(Duration::from_millis(200));
        }
    }

    fn latest(&self) -> &[Event] {
        &self.events[self.events.len().saturating_sub(20)..]
    }

    /// Drops the events that were looked at.
    pub fn forget(&mut self) {
        self.events.drain(..self.seen);
        self.seen = 0;
    }

    /// To be called when all events were taken away.
    pub fn forget_all(&mut self) {
        self.seen = 0;
        self.events.clear();
    }

    /// Waits until /proc says so of a process.
    pub fn until_process(&self, pid: Pid, wanted: impl Fn(&str) -> bool) {
        let deadline = self.linux.now() + PATIENCE;
        while !std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| wanted(&stat)) {
            assert!(self.linux.now() < deadline, "waited in vain for {pid:?}");
            std::thread::yield_now();
        }
    }

    /// Waits until a child of this process holds so much.
    pub fn until_processes(&self, parent: Pid, bytes: u64) {
        let deadline = self.linux.now() + PATIENCE;
        // SAFETY: plain call.
        let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a size");
        let holds = |pid: &str| {
            let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
            let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
            pages.is_some_and(|pages| pages * page >= bytes)
        };
        let children = || std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        while !children().is_ok_and(|list| list.split_whitespace().any(holds)) {
            assert!(self.linux.now() < deadline, "waited in vain for {bytes} bytes");
            std::thread::yield_now();
        }
    }

    pub fn new_child(&mut self) -> Child {
        self.runs += 1;
        Child { instance: InstanceId(0), run: self.runs, role: Role::Main }
    }

    pub fn spawn(&mut self, launch: Launch) -> (Child, Pid) {
        let child = self.new_child();
        self.perform(Action::Spawn { child, launch: Rc::new(launch), extra_env: Vec::new() });
        match self.events.last() {
            Some(Event::Spawned { child: of, pid }) if *of == child => (child, *pid),
            other => panic!("not spawned: {other:?}"),
        }
    }

    /// Spawns and waits for the exec.
    pub fn start(&mut self, launch: Launch) -> (Child, Pid) {
        let (child, pid) = self.spawn(launch);
        self.until("the exec", |event| match event {
            Event::Executed { child: of } if *of == child => Some(()),
            Event::ExecFailed { error, .. } => panic!("exec failed: {error}"),
            _ => None,
        });
        (child, pid)
    }

    /// Spawns and waits for the end.
    pub fn run(&mut self, launch: Launch) -> Outcome {
        let mut open = usize::from(launch.stdout.is_seen()) + usize::from(launch.stderr.is_seen());
        let from = self.events.len();
        let (child, pid) = self.spawn(launch);
        let mut ended = None;
        self.until("its end", |event| {
            match event {
                Event::Exited { pid: of, status } if *of == pid => ended = Some(*status),
                Event::OutputEnded { child: of, .. } if *of == child => open -= 1,
                _ => {}
            }
            (ended.is_some() && open == 0).then_some(())
        });
        let mut outcome = Outcome {
            pid,
            executed: false,
            error: None,
            status: ended,
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        for event in &self.events[from..] {
            match event {
                Event::Executed { child: of } if *of == child => outcome.executed = true,
                Event::ExecFailed { child: of, error } if *of == child => {
                    outcome.error = Some(StartError::clone(error));
                }
                Event::Output { child: of, sink, bytes, .. } if *of == child => match sink {
                    Sink::Stdout => outcome.stdout.extend(bytes),
                    Sink::Stderr => outcome.stderr.extend(bytes),
                },
                _ => {}
            }
        }
        outcome
    }

    /// Tries to start something that cannot be.
    pub fn cannot(&mut self, launch: Launch) -> StartError {
        let child = self.new_child();
        self.perform(Action::Spawn { child, launch: Rc::new(launch), extra_env: Vec::new() });
        self.until("a failure", |event| match event {
            Event::SpawnFailed { child: of, error } | Event::ExecFailed { child: of, error }
                if *of == child =>
            {
                Some(StartError::clone(error))
            }
            Event::Executed { .. } => panic!("it runs"),
            _ => None,
        })
    }

    pub fn exit_of(&mut self, wanted: Pid) -> ExitStatus {
        self.until("an exit", |event| match event {
            Event::Exited { pid, status } if *pid == wanted => Some(*status),
            Event::OrphansEnded { ended } => {
                ended.iter().find(|(pid, _)| *pid == wanted).map(|(_, status)| *status)
            }
            _ => None,
        })
    }

    /// Without a signal everybody is spared.
    pub fn sweep(&mut self, child: Child, leader: Pid, signal: Option<Signal>) -> Vec<Process> {
        let everybody = || {
            let names =
                std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
            names.filter_map(|name| Pid::new(name.to_str()?.parse().ok()?)).collect()
        };
        let spare = if signal.is_some() { Vec::new() } else { everybody() };
        let signal = signal.unwrap_or(Signal::CONT);
        self.perform(Action::Sweep { child, leader, mark: mark(), signal, spare });
        match self.events.pop() {
            Some(Event::Swept { child: of, found }) if of == child => found,
            other => panic!("not swept: {other:?}"),
        }
    }
}

pub fn mark() -> Mark {
    Mark { service: Rc::from("web"), instance: 1 }
}

/// A service whose output comes to us.
pub fn service<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> Launch {
    Launch {
        mark: Some(mark()),
        ..Launch::new(argv.into_iter().map(Secret::new).collect(), "as configured".to_owned())
    }
}

/// A service that is a shell script.
pub fn shell(script: &str) -> Launch {
    service(["/bin/sh", "-c", script])
}

/// A service that is one of our helpers.
pub fn helper(arguments: &[&str]) -> Launch {
    let own = std::env::current_exe().expect("own path").into_os_string();
    let rest = ["--helper"].iter().chain(arguments).map(OsString::from);
    service(std::iter::once(own).chain(rest))
}

pub fn identity(user: &str) -> Identity {
    Identity { user: Some(user.to_owned()), ..Identity::default() }
}

/// The conditions of a start, to be changed; those of others stay as they are.
pub fn conditions(launch: &mut Launch) -> &mut Conditions {
    Rc::make_mut(&mut launch.conditions)
}

/// A field of /proc/PID/status.
pub fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

pub fn status_of_ourselves() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap()
}

/// Without what lies in files: where little of the program was in memory before, each step brings more of its code in.
pub fn resident_kilobytes() -> u64 {
    field(&status_of_ourselves(), "RssAnon").split(' ').next().unwrap().parse().unwrap()
}

/// How often we waited, and how long we worked.
fn usage() -> (i64, Duration) {
    // SAFETY: all zeroes is an rusage; the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let micros =
        |time: libc::timeval| Duration::from_micros((time.tv_sec * 1_000_000 + time.tv_usec).unsigned_abs());
    (usage.ru_nvcsw, micros(usage.ru_utime) + micros(usage.ru_stime))
}

/// The CPU time that we have used.
pub fn cpu_time() -> Duration {
    usage().1
}

/// Whatever is under way, we sleep. A loop that spins never waits, so its work is looked at too.
pub fn stays_idle(world: &mut World) {
    nothing_more_happens(world);
    let before = usage();
    world.wait(Duration::from_secs(1));
    let after = usage();
    let (woken, worked) = (after.0 - before.0, after.1.saturating_sub(before.1));
    assert!(woken <= 1 && worked < Duration::from_millis(200), "woke up {woken} times, worked {worked:?}");
}

pub fn nothing_more_happens(world: &mut World) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let from = world.events.len();
        world.wait(Duration::from_millis(50));
        if world.events.len() == from {
            return;
        }
        assert!(Instant::now() < deadline, "it goes on: {:?}", &world.events[from..]);
    }
}
