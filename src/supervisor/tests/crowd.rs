//! Clients at any moment, in any state: whatever they ask, each gets one last answer or loses his connection, and what was stopped
//! by hand stays down until a person starts it.

use std::collections::BTreeSet;

use super::*;
use crate::control::{Request, Stream, VERSION, Verb, Wanted};
use crate::event::Sink;
use crate::numbers::Numbers;
use crate::plan::{Ready, ReadyTest};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn plan(dice: &mut Numbers) -> Vec<Instance> {
    let count = u32::try_from(2 + dice.below(4)).unwrap();
    let mut instances: Vec<Instance> = Vec::new();
    for index in 0..count {
        let mut one = instance(NAMES[index as usize]);
        one.kind = if dice.chance(20) { Kind::Oneshot } else { Kind::Daemon };
        one.restart.when = dice.one(&[RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never]);
        one.restart.max_restarts = Some(dice.one(&[0, 1, 5]));
        one.restart.delay = Duration::from_millis(dice.one(&[0, 100]));
        one.autostart = dice.chance(85);
        one.on_failure = if dice.chance(90) { OnFailure::Ignore } else { OnFailure::Exit };
        if one.kind == Kind::Daemon && dice.chance(40) {
            one.ready = Some(Ready {
                test: ReadyTest::Notified,
                shown: "\"notify\"".into(),
                timeout: Duration::from_secs(2),
                interval: Duration::from_millis(200),
            });
        }
        for on in 0..index {
            let other = &instances[on as usize];
            if dice.chance(35) && (other.autostart || !one.autostart) {
                let condition = match other.kind {
                    Kind::Oneshot => Condition::Completed,
                    Kind::Daemon | Kind::Command => dice.one(&[Condition::Started, Condition::Ready]),
                };
                one.depends_on.push(Dependency { on: InstanceId(on), condition, restart: dice.chance(30) });
            }
        }
        instances.push(one);
    }
    instances
}

struct Crowd {
    dice: Numbers,
    story: Story,
    /// Who has come, and has neither his last answer nor gone.
    here: BTreeSet<u64>,
    /// Who of them has asked.
    asked: BTreeSet<u64>,
    come: u64,
    /// Who was stopped by hand.
    held: BTreeSet<String>,
    /// All that was ordered.
    trace: Vec<String>,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        let mut dice = Numbers::new(seed);
        let story = Story::new(plan(&mut dice));
        Self {
            dice,
            story,
            here: BTreeSet::new(),
            asked: BTreeSet::new(),
            come: 0,
            held: BTreeSet::new(),
            trace: Vec::new(),
        }
    }

    fn run(mut self) -> bool {
        for _ in 0..80 {
            if self.look() {
                return self.end();
            }
            self.act();
        }
        self.story.signal(Signal::TERM);
        for _ in 0..200 {
            if self.look() {
                return self.end();
            }
            let living: Vec<String> = self.story.pids.keys().cloned().collect();
            match living.first() {
                Some(name) => self.story.exit(name, 0),
                None => self.story.pass(1_000),
            }
        }
        panic!("the container does not end: {:?}", self.story.record);
    }

    fn act(&mut self) {
        let living: Vec<String> = self.story.pids.keys().cloned().collect();
        match self.dice.below(10) {
            0..=1 if !living.is_empty() => {
                let name = self.dice.one(&living);
                let code = self.dice.one(&[0, 0, 1, 7]);
                self.story.exit(&name, code);
            }
            2 => self.story.pass(self.dice.below(3_000)),
            3 => self.notify(),
            4 => self.output(),
            5 if !self.here.is_empty() => {
                let here: Vec<u64> = self.here.iter().copied().collect();
                let client = Client(self.dice.one(&here));
                if self.dice.chance(30) {
                    self.here.remove(&client.0);
                    self.story.event(Event::Left { client });
                } else {
                    self.story.event(Event::Taken { client });
                }
            }
            6 if self.dice.chance(2) => self.story.signal(Signal::TERM),
            _ => self.ask(),
        }
    }

    fn child(&mut self) -> Option<Child> {
        let running: Vec<Child> = (0..)
            .map(InstanceId)
            .zip(&self.story.supervisor.services)
            .filter(|(_, service)| service.leader().is_some())
            .map(|(instance, service)| Child { instance, run: service.runs(), role: Role::Main })
            .collect();
        (!running.is_empty()).then(|| self.dice.one(&running))
    }

    fn notify(&mut self) {
        if let Some(child) = self.child() {
            self.story.event(Event::Notified { child, bytes: b"READY=1".to_vec() });
        }
    }

    fn output(&mut self) {
        if let Some(child) = self.child() {
            let bytes = "line\n".repeat(usize::try_from(self.dice.below(3_000)).unwrap()).into_bytes();
            self.story.event(Event::Output { child, sink: Sink::Stderr, at: Wall::default(), bytes });
        }
    }

    fn ask(&mut self) {
        self.come += 1;
        let client = Client(self.come);
        self.here.insert(self.come);
        self.story.event(Event::Connected { client });
        if self.dice.chance(5) {
            return; // he says nothing
        }
        let dice = &mut self.dice;
        let verb = dice.one(&[
            Verb::Status,
            Verb::Describe,
            Verb::Start,
            Verb::Start,
            Verb::Memory,
            Verb::Stop,
            Verb::Stop,
            Verb::Restart,
            Verb::Restart,
            Verb::Signal,
            Verb::Logs,
            Verb::Events,
            Verb::Wait,
            Verb::Wait,
            Verb::Health,
            Verb::Update,
        ]);
        let verb = if dice.chance(1) { Verb::Shutdown } else { verb };
        let names = (0..dice.below(3)).map(|_| dice.one(&NAMES).to_owned()).collect();
        let request = Request {
            v: VERSION,
            verb,
            names,
            wait: dice.chance(60),
            dependents: dice.chance(40),
            signal: "USR1".to_owned(),
            dry_run: dice.chance(30),
            group: dice.chance(50),
            follow: dice.chance(50),
            lines: dice.chance(50).then_some(3),
            since_ms: dice.chance(30).then_some(500),
            stream: dice.chance(30).then_some(Stream::Stderr),
            state: Some(dice.one(&[Wanted::Live, Wanted::Ready, Wanted::Completed, Wanted::Stopped])),
            timeout_ms: dice.chance(50).then_some(dice.below(2_000)),
            pss: dice.chance(50),
        };
        self.asked.insert(self.come);
        let request = if dice.chance(3) { Err("no request".to_owned()) } else { Ok(request) };
        self.story.event(Event::Asked { client, request });
    }

    /// Checks what has happened since the last time. Says whether it was the end.
    fn look(&mut self) -> bool {
        let mut end = false;
        for line in std::mem::take(&mut self.story.record) {
            self.trace.push(line.clone());
            assert!(!end, "after the exit: {line}");
            end |= line.starts_with("exit ");
            if let Some(names) = line.strip_prefix("stopping, as a client asks: ") {
                self.held.extend(names.split(", ").map(str::to_owned));
            }
            for start in ["starting, as a client asks: ", "restarting, as a client asks: "] {
                if let Some(names) = line.strip_prefix(start) {
                    self.held.retain(|held| !names.split(", ").any(|name| name == held));
                }
            }
            if let Some(name) = line.strip_prefix("spawn ") {
                let held = self.held.contains(name);
                assert!(!held, "{name} was stopped by hand, and starts:\n{}", self.trace.join("\n"));
            }
            if let Some(client) = line.strip_prefix("disconnect ") {
                assert!(self.here.remove(&client.parse().unwrap()), "{line}: he is not here");
            }
        }
        for (client, answer, last) in std::mem::take(&mut self.story.answers) {
            assert!(self.here.contains(&client.0), "{client:?} is told {answer:?} and is not here");
            assert!(self.asked.contains(&client.0), "{client:?} has asked nothing");
            if last {
                self.here.remove(&client.0);
            }
        }
        end
    }

    fn end(self) -> bool {
        let without: Vec<&u64> = self.here.intersection(&self.asked).collect();
        assert!(without.is_empty(), "no last answer for {without:?}");
        !self.held.is_empty()
    }
}

#[test]
fn everybody_gets_one_last_answer_and_what_was_stopped_stays_down() {
    let mut held = 0;
    for seed in 1..=3_000 {
        let crowd = std::panic::AssertUnwindSafe(|| Crowd::new(seed).run());
        match std::panic::catch_unwind(crowd) {
            Ok(some) => held += u32::from(some),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(held > 500, "only {held} of the seeds end with something that was stopped by hand");
}
