//! What a service says of itself, in its output and through its notification socket, and what follows from that.

use tinysup::event::Sink;
use tinysup::notice::Refused;
use tinysup::plan::ReadyTest;

use super::care::Owed;
use super::*;

impl Judge {
    pub(super) fn said(&mut self, world: &mut World, child: Child, sink: Sink, bytes: &[u8]) {
        let Some(ReadyTest::Said(text)) = self.ready_test(child.instance).cloned() else { return };
        self.executed(world, child);
        let cared_for = self.cared_for(child.instance);
        let current = self.is_current(child);
        let care = &mut self.life(child.instance).care;
        if !current || !cared_for || care.ready.is_some() {
            return;
        }
        let stream = &mut care.streams[usize::from(sink == Sink::Stderr)];
        let old = stream.len();
        stream.extend_from_slice(bytes);
        let from = old.saturating_sub(text.len());
        if let Some(at) = stream[from..].windows(text.len()).position(|part| part == text.as_bytes()) {
            if from + at < old {
                world.count("awaited text in two pieces");
            }
            self.becomes_ready(world, child.instance);
        }
    }

    /// One line of a message, by sd_notify(3) and the table in docs/states.md.
    pub(super) fn word(&mut self, world: &mut World, id: InstanceId, said: &[u8]) {
        let now = self.now();
        let plan = self.plan.clone();
        let instance = &plan.instances[id.0 as usize];
        let Some((key, value)) = std::str::from_utf8(said).ok().and_then(|said| said.split_once('=')) else {
            return;
        };
        let number = value.parse::<u64>().ok().filter(|_| !value.starts_with('+'));
        let cared_for = self.cared_for(id);
        let announces = matches!(self.ready_test(id), Some(ReadyTest::Notified));
        let life = self.life(id);
        let (leader, ready) = (life.pid, life.care.ready.is_some());
        let stays = life.running();
        match (key, value) {
            ("READY", "1") if announces => self.becomes_ready(world, id),
            ("RELOADING", "1") if ready && stays => self.owe(id, Owed::Reloading),
            ("STATUS", text) => life.care.says = Some(text.to_owned()).filter(|text| !text.is_empty()),
            ("WATCHDOG", "1") if cared_for => {
                if let Some((at, longest)) = &mut life.care.silence {
                    // Never sooner than it was allowed to be silent before.
                    *at = (*at).max(now + *longest);
                    life.care.well_at = Some(now);
                }
            }
            ("WATCHDOG", "trigger") if cared_for && life.care.silence.is_some() => {
                world.count("service that calls for its end");
                self.doom(id, Owed::Sick);
            }
            ("WATCHDOG_USEC", _) => {
                if let (Some(micros), true, Some(_)) = (number, cared_for, instance.watchdog) {
                    let longest = Some(Duration::from_micros(micros)).filter(|longest| !longest.is_zero());
                    life.care.longest = longest;
                    if ready {
                        life.care.silence = longest.map(|longest| (now + longest, longest));
                    }
                }
            }
            ("EXTEND_TIMEOUT_USEC", _) => {
                let Some(micros) = number else { return };
                let until = now + Duration::from_micros(micros);
                if cared_for && !ready {
                    if let Some(limit) = life.care.limit.as_mut().filter(|_| !life.care.over) {
                        *limit = (*limit).max(until);
                        world.count("longer until ready");
                    }
                } else if life.is_leaving() && life.killed.is_none() {
                    life.extended = Some(life.extended.map_or(until, |extended| extended.max(until)));
                    world.count("longer until SIGKILL");
                }
            }
            ("STOPPING", "1") if cared_for && ready => {
                let grace = instance.stop.kill_timeout.map(|timeout| now + timeout);
                if let Some(attempt) = &mut life.care.attempt {
                    attempt.unwanted = true;
                }
                life.care.spread = None;
                // With an attempt under way it would have been asked an interval after that began.
                let next = instance.healthcheck.as_ref().map(|_| life.care.next.unwrap_or((now, now)));
                life.care.next = next.zip(grace).map(|((from, to), grace)| (from.max(grace), to.max(grace)));
                life.care.silence =
                    life.care.silence.zip(grace).map(|((at, longest), grace)| (at.max(grace), longest));
                world.count("service that stops by itself");
            }
            ("MAINPID", _) => {
                let pid = number.and_then(|number| i32::try_from(number).ok());
                if pid.is_some() && pid != leader.map(Pid::number) {
                    self.refuse(id, Refused::MainPid);
                }
            }
            ("FDSTORE", "1") => self.refuse(id, Refused::Store),
            _ => {}
        }
    }

    fn refuse(&mut self, id: InstanceId, what: Refused) {
        let refused = &mut self.life(id).care.refused;
        if !refused.contains(&what) {
            refused.push(what);
            self.owe(id, Owed::Refused(what));
        }
    }
}
