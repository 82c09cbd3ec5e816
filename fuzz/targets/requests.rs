//! The server's side: requests as lines of anything, answered by a core with services that start, write, end and are stopped. Each
//! line of the input is a step: `{` begins a request of a new client, a letter what its function says, with a number after it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tinysup::control::Request;
use tinysup::event::{Action, Child, Client, Event, ExitStatus, Pid, Sink, Standing, Time, Usage, Wall};
use tinysup::plan;
use tinysup::supervisor::Supervisor;
use tinysup::units::Signal;

use super::config::Memory;

const PLAN: &[u8] = br#"
[services.db]
command = "db"
ready = "notify"
max_restarts = 2
[services.api]
command = ["api"]
instances = 2
depends_on = ["db"]
healthcheck = { test = "http://127.0.0.1:80/", interval = "5s" }
[services.job]
type = "oneshot"
command = "job"
autostart = false
[services.lonely]
command = "lonely"
on_failure = "ignore"
stop_command = "lonely-stop"
"#;

/// So many steps follow from one input at most, or something goes round in circles.
const STEPS_MAX: u32 = 100_000;
/// Longer than any deadline of the plan.
const ADVANCE_MAX_MS: u64 = 100_000;

struct Scene {
    supervisor: Supervisor,
    now: Time,
    processes: BTreeMap<Pid, Child>,
    ending: BTreeSet<Pid>,
    probes: Vec<Child>,
    clients: BTreeSet<Client>,
    last_client: u64,
    last_pid: i32,
    steps: u32,
    over: bool,
}

thread_local! {
    /// Read once: to do so takes longer than most inputs.
    static LOADED: plan::Plan = plan::load(&plan::Request::default(), &Memory::new(PLAN))
        .expect("a configuration that is right")
        .plan;
}

pub fn run(bytes: &[u8]) {
    let mut scene = Scene {
        supervisor: Supervisor::new(LOADED.with(Clone::clone), Standing::Pid1, Time::ZERO),
        now: Time::ZERO,
        processes: BTreeMap::new(),
        ending: BTreeSet::new(),
        probes: Vec::new(),
        clients: BTreeSet::new(),
        last_client: 0,
        last_pid: 100,
        steps: 0,
        over: false,
    };
    scene.event(Event::Begin);
    for line in bytes.split(|byte| *byte == b'\n') {
        if !scene.over {
            scene.line(line);
        }
    }
}

impl Scene {
    fn line(&mut self, line: &[u8]) {
        let Some((letter, rest)) = line.split_first() else { return };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = rest.split_at(digits);
        let number: u64 =
            std::str::from_utf8(number).ok().and_then(|number| number.parse().ok()).unwrap_or(0);
        let index = usize::try_from(number).unwrap_or(0);
        let process = self.processes.iter().nth(index).map(|(pid, child)| (*pid, *child));
        let client = self.clients.iter().nth(index).copied();
        match (letter, process, client) {
            (b'{', ..) => {
                self.last_client += 1;
                let client = Client(self.last_client);
                self.clients.insert(client);
                self.event(Event::Connected { client });
                if self.clients.contains(&client) {
                    let request = Request::parse(line);
                    if let Ok(request) = &request {
                        let theirs = serde_json::from_slice::<Request>(line);
                        assert_eq!(theirs.ok().as_ref(), Some(request), "another reader");
                    }
                    self.event(Event::Asked { client, request });
                }
            }
            // Time.
            (b't', ..) => self.advance(number.min(ADVANCE_MAX_MS)),
            // A process exits,
            (b'x', Some((pid, _)), _) if self.ending.insert(pid) => {
                let code = rest.first().copied().unwrap_or(0);
                self.event(Event::Exited { pid, status: ExitStatus::Code(code) });
            }
            // writes,
            (b'o', Some((_, child)), _) => {
                self.event(Event::Output {
                    child,
                    sink: Sink::Stdout,
                    bytes: [rest, b"\n"].concat(),
                    at: Wall::default(),
                });
            }
            // says something through its notification socket,
            (b'n', Some((_, child)), _) => {
                let child = Child { role: tinysup::event::Role::Main, ..child };
                let bytes = rest.split(|byte| *byte == b' ').collect::<Vec<_>>().join(&b'\n');
                self.event(Event::Notified { child, bytes });
            }
            // is found well.
            (b'p', ..) => {
                if let Some(child) = self.probes.pop() {
                    self.event(Event::Probed { child, result: Ok(()) });
                }
            }
            // A client has taken all,
            (b'k', _, Some(client)) => self.event(Event::Taken { client }),
            // is gone.
            (b'l', _, Some(client)) => {
                self.clients.remove(&client);
                self.event(Event::Left { client });
            }
            // A signal for us.
            (b's', ..) => {
                if let Some(signal) = i32::try_from(number).ok().and_then(Signal::new) {
                    self.event(Event::Signal(signal));
                }
            }
            _ => {}
        }
    }

    fn advance(&mut self, ms: u64) {
        let to = Time(self.now.0 + ms * 1_000_000);
        while let Some(deadline) = self.supervisor.deadline().filter(|deadline| *deadline <= to && !self.over)
        {
            self.now = self.now.max(deadline);
            self.event(Event::Tick);
        }
        self.now = self.now.max(to);
    }

    fn event(&mut self, event: Event) {
        let mut pending = VecDeque::from([event]);
        while let Some(event) = pending.pop_front().filter(|_| !self.over) {
            self.steps += 1;
            assert!(self.steps < STEPS_MAX, "no end of it");
            let mut actions = Vec::new();
            self.supervisor.step(self.now, event, &mut actions);
            for action in actions {
                self.perform(action, &mut pending);
            }
        }
    }

    fn perform(&mut self, action: Action, pending: &mut VecDeque<Event>) {
        match action {
            Action::Spawn { child, .. } => {
                self.last_pid += 1;
                let pid = Pid::new(self.last_pid).expect("a positive number");
                self.processes.insert(pid, child);
                pending.extend([Event::Spawned { child, pid }, Event::Executed { child }]);
            }
            Action::Signal { pid, signal } | Action::SignalGroup { leader: pid, signal } => {
                assert!(self.processes.contains_key(&pid), "a signal for whom there is");
                if [Signal::TERM, Signal::KILL].contains(&signal) && self.ending.insert(pid) {
                    pending
                        .push_back(Event::Exited { pid, status: ExitStatus::Signal { signal, core: false } });
                }
            }
            Action::Release { pid } => {
                assert!(self.ending.remove(&pid) && self.processes.remove(&pid).is_some());
            }
            Action::Sweep { child, .. } => pending.push_back(Event::Swept { child, found: Vec::new() }),
            Action::SweepStrays { .. } => pending.push_back(Event::Strays { found: Vec::new() }),
            Action::FindListener { instance, port } => {
                pending.push_back(Event::Listener { instance, port, listener: None });
            }
            Action::FindListening { child, .. } => {
                pending.push_back(Event::Listening { child, addresses: vec!["127.0.0.1:80".to_owned()] });
            }
            Action::Probe { child, .. } => self.probes.push(child),
            Action::CancelProbe { child } => self.probes.retain(|probe| *probe != child),
            Action::Measure { client, runs } => {
                pending.push_back(Event::Measured { client, usage: vec![Usage::default(); runs.len()] });
            }
            Action::Answer { client, answer, last } => {
                assert!(self.clients.contains(&client), "an answer for whom there is");
                assert!(answer.line().len() > 2);
                if last {
                    self.clients.remove(&client);
                    pending.push_back(Event::Left { client });
                }
            }
            Action::Disconnect { client } => assert!(self.clients.remove(&client)),
            Action::Drain => pending.push_back(Event::Drained),
            Action::Exit(_) => self.over = true,
            Action::TerminationLog { text } => assert!(text.len() <= 4096),
            // What nobody here answers.
            _ => {}
        }
    }
}
