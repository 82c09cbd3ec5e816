//! What is done to the container, one deed after another.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::container::{Container, Inside};
use crate::fence::{Fence, Part};
use crate::rng::Rng;
use crate::{PROCESSES, launch, proc};

/// Each kind, and how often it is chosen.
const KINDS: &[(u64, Kind)] = &[
    (10, Kind::Kill),
    (4, Kind::KillMany),
    (6, Kind::Stop),
    (3, Kind::Freeze),
    (1, Kind::LongFreeze),
    (4, Kind::Signals),
    (5, Kind::Clients),
    (5, Kind::Verb),
    (3, Kind::Flood),
    (2, Kind::Forks),
    (3, Kind::Words),
    (3, Kind::Descriptors),
    (3, Kind::Processes),
    (4, Kind::Orphans),
    (3, Kind::Pause),
    (3, Kind::Crowd),
    (2, Kind::Starve),
    (2, Kind::Hunger),
    (3, Kind::Disk),
    (2, Kind::Storm),
    (3, Kind::Probes),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A signal that ends a process, to any of them.
    Kill,
    /// Half of all at once.
    KillMany,
    /// SIGSTOP to one, SIGCONT after some deeds.
    Stop,
    /// SIGSTOP to PID 1 for a moment, or for longer than it takes for time that nobody ran.
    Freeze,
    LongFreeze,
    /// A thousand signals to PID 1, of those that hurt nobody.
    Signals,
    /// Connections that say nothing, garbage, half of something, or ask and do not read.
    Clients,
    /// A service is restarted, or stopped and started.
    Verb,
    /// A service writes some megabytes.
    Flood,
    /// A service makes more processes than there may be.
    Forks,
    /// A service says a hundred things about itself.
    Words,
    /// PID 1 may open nothing more.
    Descriptors,
    /// Nobody may make a process.
    Processes,
    /// Processes from outside that leave orphans, as a `docker exec` does.
    Orphans,
    /// All of it stands still, as under `docker pause`.
    Pause,
    /// The container is full of processes.
    Crowd,
    /// There is next to no time on a processor.
    Starve,
    /// A helper of a service takes more memory than the container has.
    Hunger,
    /// A service writes more into its file than its disk holds; or somebody removes the file.
    Disk,
    /// Hundreds of requests of people who do not wait for an answer.
    Storm,
    /// A health check is killed.
    Probes,
}

impl Kind {
    /// The cgroup that it takes.
    fn needs(self) -> Option<Part> {
        match self {
            Self::Pause => Some(Part::Freezer),
            Self::Crowd => Some(Part::Pids),
            Self::Hunger => Some(Part::Memory),
            Self::Starve => Some(Part::Cpu),
            _ => None,
        }
    }
}

/// What is given back later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limit {
    Resource(libc::__rlimit_resource_t),
    Crowd,
    Time,
}

const SERVICES: &[&str] =
    &["steady.1", "steady", "leaves", "probed", "speaks", "floods", "forks", "tells", "eats", "writes"];
const ENDING: &[i32] =
    &[libc::SIGKILL, libc::SIGKILL, libc::SIGTERM, libc::SIGSEGV, libc::SIGABRT, libc::SIGHUP, libc::SIGALRM];
const HARMLESS: &[i32] = &[libc::SIGWINCH, libc::SIGURG, libc::SIGCONT, libc::SIGCHLD];

/// So many requests are a storm.
const STORM: u64 = 300;
/// How long it is looked for a health check: there are ten a second, each of which is short.
const PROBE_WITHIN: Duration = Duration::from_millis(300);

pub struct Deeds<'a> {
    container: &'a Container,
    fence: &'a Fence,
    /// What there are the means for.
    kinds: Vec<(u64, Kind)>,
    done: BTreeMap<Kind, usize>,
    /// What is undone later: who was stopped, clients that hang, limits.
    stopped: Vec<std::os::fd::OwnedFd>,
    clients: Vec<UnixStream>,
    inside: Vec<Inside>,
    limited: Option<(Limit, Instant)>,
    descriptors: u64,
}

impl<'a> Deeds<'a> {
    pub fn new(container: &'a Container, fence: &'a Fence) -> Self {
        let possible = |kind: Kind| kind.needs().is_none_or(|part| fence.has(part));
        Self {
            container,
            fence,
            kinds: KINDS.iter().filter(|(_, kind)| possible(*kind)).copied().collect(),
            done: BTreeMap::new(),
            stopped: Vec::new(),
            clients: Vec::new(),
            inside: Vec::new(),
            limited: None,
            descriptors: launch::limits(libc::RLIMIT_NOFILE).0,
        }
    }

    /// One deed by chance, and a pause.
    pub fn one(&mut self, rng: &mut Rng) {
        let kind = rng.weighted(&self.kinds);
        *self.done.entry(kind).or_default() += 1;
        self.act(kind, rng);
        if rng.per_mille(300) {
            self.stopped.pop().inspect(|process| launch::kill_by(process, libc::SIGCONT));
            self.clients.truncate(rng.index(20));
            self.inside.retain(|_| rng.per_mille(700));
        }
        if self.limited.is_some_and(|(_, until)| Instant::now() > until) {
            self.lift();
        }
        pass(self.container, rng.spread(2, 150));
    }

    fn act(&mut self, kind: Kind, rng: &mut Rng) {
        let pid = self.container.pid();
        match kind {
            Kind::Kill => {
                if let Some(victim) = self.victim(rng) {
                    launch::kill_by(&victim, *rng.pick(ENDING));
                }
            }
            Kind::KillMany => {
                for process in self.container.living() {
                    if rng.per_mille(500) {
                        launch::pidfd(process.pid).inspect(|fd| launch::kill_by(fd, *rng.pick(ENDING)));
                    }
                }
            }
            Kind::Stop => {
                if let Some(victim) = self.victim(rng) {
                    launch::kill_by(&victim, libc::SIGSTOP);
                    self.stopped.push(victim);
                }
            }
            Kind::Freeze | Kind::LongFreeze => {
                let (low, high) = if kind == Kind::Freeze { (1, 300) } else { (1500, 4000) };
                self.container.freeze();
                if rng.per_mille(500) {
                    self.act(Kind::KillMany, rng);
                }
                pass(self.container, rng.millis(low, high));
                self.container.thaw();
            }
            Kind::Signals => {
                for _ in 0..1000 {
                    launch::kill(pid, *rng.pick(HARMLESS));
                }
            }
            Kind::Clients => (0..rng.below(40)).for_each(|_| self.client(rng)),
            Kind::Verb => {
                let name = rng.pick(SERVICES);
                let verb = rng.pick(&["restart", "stop", "start", "start"]);
                let wait = rng.per_mille(200);
                let request = format!(
                    "{{\"v\":1,\"verb\":\"{verb}\",\"names\":[\"{name}\"],\"wait\":{wait},\"timeout_ms\":2000}}\n"
                );
                self.say(request.as_bytes());
            }
            Kind::Flood => self.order("yes"),
            Kind::Forks => self.order("sleep 0.3"),
            Kind::Words => self.order("STATUS"),
            Kind::Descriptors => {
                let open = u64::try_from(proc::descriptors(pid).len()).expect("few");
                self.limit(libc::RLIMIT_NOFILE, open + rng.below(6), rng);
            }
            Kind::Processes => self.limit(libc::RLIMIT_NPROC, rng.below(3), rng),
            Kind::Orphans => {
                let script = "i=0; while [ $i -lt 20 ]; do (sleep 0.0$i &); i=$((i+1)); done";
                self.inside.push(self.container.exec(&["/bin/sh", "-c", script]));
            }
            Kind::Pause => {
                let frozen = self.fence.freeze();
                if rng.per_mille(500) {
                    self.act(Kind::KillMany, rng);
                }
                pass(self.container, rng.millis(1, 3000));
                drop(frozen);
            }
            Kind::Crowd => {
                self.lift();
                self.fence.crowd(Some(rng.below(4)));
                self.limited = Some((Limit::Crowd, Instant::now() + rng.millis(10, 1500)));
            }
            Kind::Starve => {
                self.lift();
                self.fence.starve(true);
                self.limited = Some((Limit::Time, Instant::now() + rng.millis(10, 3000)));
            }
            Kind::Hunger => self.order("hold 400"),
            Kind::Disk => {
                self.order("to a file");
                if rng.per_mille(300) {
                    let file = self.container.folder().path().join("logs/writes.log");
                    // It may have been moved out of the way just now.
                    let _ = fs::remove_file(format!("/proc/{pid}/root{}", file.display()));
                }
            }
            Kind::Storm => self.storm(rng),
            Kind::Probes => self.kill_probe(rng),
        }
    }

    fn storm(&self, rng: &mut Rng) {
        for _ in 0..STORM {
            let verb = rng.pick(&["status", "describe", "logs", "memory", "events"]);
            let request = format!("{{\"v\":1,\"verb\":\"{verb}\"}}\n");
            if let Some(mut client) = self.container.try_connect() {
                let _ = client.write_all(request.as_bytes());
            }
        }
    }

    fn kill_probe(&self, rng: &mut Rng) {
        let pid = self.container.pid();
        let probe = || {
            let living = self.container.living();
            living.into_iter().find(|process| process.parent == pid && process.command.contains("echo well"))
        };
        let start = Instant::now();
        let mut found = probe();
        while found.is_none() && start.elapsed() < PROBE_WITHIN {
            found = probe();
        }
        let victim = found.and_then(|process| launch::pidfd(process.pid));
        victim.inspect(|victim| launch::kill_by(victim, *rng.pick(ENDING)));
    }

    /// USR1 to the service that has this in its command line.
    fn order(&self, part: &str) {
        let found = self.container.living().into_iter().find(|process| process.command.contains(part));
        found.and_then(|process| launch::pidfd(process.pid)).inspect(|fd| launch::kill_by(fd, libc::SIGUSR1));
    }

    fn victim(&self, rng: &mut Rng) -> Option<std::os::fd::OwnedFd> {
        let living = self.container.living();
        (!living.is_empty()).then(|| rng.pick(&living).pid).and_then(launch::pidfd)
    }

    fn limit(&mut self, what: libc::__rlimit_resource_t, soft: u64, rng: &mut Rng) {
        self.lift();
        if launch::limit_of(self.container.pid(), what, soft).is_ok() {
            self.limited = Some((Limit::Resource(what), Instant::now() + rng.millis(10, 1500)));
        }
    }

    fn lift(&mut self) {
        match self.limited.take() {
            Some((Limit::Resource(what), _)) => {
                let usual = if what == libc::RLIMIT_NPROC { PROCESSES } else { self.descriptors };
                launch::limit_of(self.container.pid(), what, usual).expect("PID 1 is there");
            }
            Some((Limit::Crowd, _)) => self.fence.crowd(None),
            Some((Limit::Time, _)) => self.fence.starve(false),
            None => {}
        }
    }

    fn client(&mut self, rng: &mut Rng) {
        let says: &[u8] = match rng.below(6) {
            0 => b"",
            1 => b"\x00\xff\xfe garbage {{{{ \n",
            2 => b"{\"v\":1,\"verb\":\"sta",
            3 => b"{\"v\":1,\"verb\":\"status\"}\n",
            4 => b"{\"v\":1,\"verb\":\"logs\",\"follow\":true}\n",
            _ => b"{\"v\":1,\"verb\":\"describe\"}\n",
        };
        self.say(says);
    }

    fn say(&mut self, bytes: &[u8]) {
        if let Some(mut client) = self.container.try_connect() {
            let _ = client.write_all(bytes);
            self.clients.push(client);
        }
    }

    /// Undoes what can be undone, and starts what was stopped.
    pub fn make_good(&mut self) {
        self.lift();
        self.stopped.drain(..).for_each(|process| launch::kill_by(&process, libc::SIGCONT));
        self.clients.clear();
        self.inside.clear();
        self.container.ask("\"verb\":\"start\",\"wait\":true,\"timeout_ms\":30000");
    }

    pub fn summary(&self) -> String {
        self.done.iter().fold(String::new(), |mut text, (kind, count)| {
            let _ = write!(text, "{kind:?} {count}, ");
            text
        })
    }
}

/// Lets time pass in which PID 1 must not end.
pub fn pass(container: &Container, how_long: Duration) {
    let pidfd = launch::pidfd(container.pid()).expect("PID 1 is there");
    assert!(!launch::readable(pidfd, how_long), "PID 1 has ended: {:#?}", container.lines());
}
