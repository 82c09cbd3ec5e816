//! Services that are asked, by the machine or by a command, and what they say by themselves.

use tinysup::event::Launch;
use tinysup::plan::{Asks, ReadyTest, Test};
use tinysup::probe::Target;

use super::*;
use crate::manners::{Manner, near};
use crate::violation;

impl World {
    /// Takes the order to ask; the answer comes when it comes, perhaps never.
    pub(super) fn ask(&mut self, child: Child, target: &Target, events: &mut Vec<Event>) {
        let Some(test) = self.test(child, |asks| matches!(asks, Asks::Target(own) if **own == *target))
        else {
            violation!("{child:?} asks what no test of it asks: {target:?}")
        };
        if !self.open.insert(child) {
            violation!("{child:?} is ordered a second time");
        }
        let manner = self.manner(child);
        let quick = self.rng.micros(20, 3000);
        let after = near(&mut self.rng, quick, test.timeout);
        let bad = |failure| Some((after, Err(failure)));
        let answer = match manner {
            _ if self.rng.per_mille(self.weather.cannot_ask) => {
                self.count("attempt that the machine cannot make");
                bad(Failure::CannotAsk { reason: "Too many open files".to_owned() })
            }
            Manner::Good => Some((after, Ok(()))),
            Manner::Late => Some((test.timeout + self.rng.spread(0, 3000), Ok(()))),
            Manner::Silent => None,
            Manner::Refused => bad(Failure::NoSocket { reason: "Connection refused".to_owned() }),
            Manner::Status(status) => bad(Failure::Status(status)),
            Manner::Closed => bad(Failure::Closed),
            Manner::NotHttp => bad(Failure::NotHttp),
        };
        self.say(|_| format!("        {child:?} asks, will get {answer:?}"));
        match answer {
            Some((_, result)) if self.rng.per_mille(self.weather.at_once) => {
                self.count("answer at once");
                self.open.remove(&child);
                self.handed.insert(child);
                events.push(Event::Probed { child, result });
            }
            Some((after, result)) => self.plan_for(after, Happening::Answer(child, result)),
            None => {}
        }
    }

    /// Nobody wants the answer any more, and from now on none comes.
    pub(super) fn call_off(&mut self, child: Child) {
        self.answers.retain(|(asked, _)| *asked != child);
        match (self.open.remove(&child), self.handed.contains(&child)) {
            (true, _) => self.count("attempt called off"),
            // It was on its way already.
            (false, true) => self.count("attempt called off in the batch of its answer"),
            (false, false) => violation!("{child:?} is called off, but nobody asks"),
        }
    }

    /// What the command of a test does.
    pub(super) fn command(&self, rng: &mut Rng, child: Child, launch: &Launch) -> Script {
        let Some(test) = self.test(child, |asks| matches!(asks, Asks::Command(own) if **own == *launch))
        else {
            violation!("{child:?} runs what no test of it runs: {launch:?}")
        };
        let manner = self.manner(child);
        Script::probe(rng, &self.weather, manner, &test)
    }

    fn test(&self, child: Child, is: impl Fn(&Asks) -> bool) -> Option<Test> {
        let instance = self.plan.instance(child.instance)?;
        let ready = match instance.ready.as_ref().map(|ready| &ready.test) {
            Some(ReadyTest::Asked(test)) => Some(test),
            _ => None,
        };
        let health = instance.healthcheck.as_ref().map(|check| &check.test);
        ready.into_iter().chain(health).find(|test| is(&test.asks)).cloned()
    }

    /// How the run answers at this moment.
    fn manner(&self, child: Child) -> Manner {
        let run = Child { role: Role::Main, ..child };
        let leader = self.procs.values().find(|proc| proc.spawned && proc.owner == Some(run));
        let began = self.runs.get(&run).and_then(|run| run.began);
        match (leader, began) {
            (Some(leader), Some(began)) if leader.lives() => {
                if leader.frozen || leader.stuck() {
                    return Manner::Silent;
                }
                let age = self.now.since(began);
                let now = leader.script.manners.iter().rev().find(|(from, _)| *from <= age);
                now.map_or(Manner::Refused, |(_, manner)| *manner)
            }
            _ => Manner::Refused,
        }
    }

    /// A process speaks through the notification socket of its service, if it has one.
    pub(super) fn notify(&mut self, serial: u64, bytes: Vec<u8>) {
        if let Some(child) = self.speaks_for(serial)
            && self.plan.instances[child.instance.0 as usize].launch.speaks.notify
        {
            self.say(|_| format!("        #{serial} says {:?}", String::from_utf8_lossy(&bytes)));
            self.count("message");
            self.speak_for(child, Some(bytes));
        }
    }

    /// A process writes a newline to the readiness descriptor of its service, if it has one.
    pub(super) fn announce(&mut self, serial: u64) {
        if let Some(child) = self.speaks_for(serial)
            && self.plan.instances[child.instance.0 as usize].launch.speaks.descriptor.is_some()
        {
            self.say(|_| format!("        #{serial} writes a newline to its descriptor"));
            self.speak_for(child, None);
        }
    }

    /// Somebody of this run speaks, and sometimes another one says the same later, whatever has become of the run by then.
    pub(super) fn speak_for(&mut self, child: Child, bytes: Option<Vec<u8>>) {
        if self.rng.per_mille(self.weather.echo) {
            let after = self.rng.spread(0, 5000);
            self.plan_for(after, Happening::Speak(child, bytes.clone()));
        }
        let event = match bytes {
            Some(bytes) => Event::Notified { child, bytes },
            None => Event::Announced { child },
        };
        self.spoken.entry(child).or_default().push_back(event);
    }

    /// Says that it lives, and plans to do so again.
    pub(super) fn pulse(&mut self, serial: u64, index: usize, left: u64) {
        self.notify(serial, b"WATCHDOG=1".to_vec());
        let script = Rc::clone(&self.procs[&serial].script);
        if let (Some((_, Act::Pulse { every, .. })), Some(left)) =
            (script.acts.get(index), left.checked_sub(1))
        {
            self.plan_for(*every, Happening::Do(serial, Doing::Pulse(index, left)));
        }
    }

    /// The run in whose name a process speaks. What started beside the leader has no socket of its own.
    fn speaks_for(&self, serial: u64) -> Option<Child> {
        self.procs[&serial].owner.filter(|child| child.role == Role::Main)
    }
}
