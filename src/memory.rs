//! Who is weighed when, what follows from what it holds, and whom the kernel's OOM killer ended. Knows nothing of processes, or
//! of where the figures come from: who runs it is told, and what is to be done it returns.
//!
//! A run is looked at sooner the nearer it is to its limit and the faster it grows; see [`pace`]. One reading above the limit
//! suffices. The container's guard looks at the whole in the same way, stops one service, and waits until that has helped.

use std::cmp::Reverse;
use std::time::Duration;

use crate::event::{ContainerMemory, Controller, InstanceId, MemoryFound, Time, Weight};
use crate::gather::Gather;
use crate::notice::{Cause, Notice};
use crate::plan::{Amount, Guard, Limits, Plan, Share};
use crate::sorted::Map;

/// Nobody is looked at less often,
pub const LOOK_MAX: Duration = Duration::from_secs(5);
/// or more often than this.
pub const LOOK_MIN: Duration = Duration::from_millis(100);
/// A run is looked at for the first time this long after its program began to run, if not sooner.
pub const FIRST_LOOK: Duration = Duration::from_secs(1);
/// A leak that has not been seen yet may be this fast, in bytes per second.
const UNSEEN_PER_SECOND: u64 = 32 << 20;
/// The kernel may say as often as it likes that memory is short; it is looked no more often because of that.
pub const PRESSURE_EVERY: Duration = Duration::from_millis(500);
/// So long after the stop of a victim it is looked whether that has helped.
pub const RELIEF: Duration = Duration::from_secs(2);
/// The warning comes again only after so much less of the whole was in use: five points, in hundredths of a percent.
const HYSTERESIS: u16 = 500;
/// Who holds less than this part of the whole is no victim: its end would help nobody.
const LEAST_VICTIM_PART: u64 = 100;
/// An OOM kill that no end of a main process has explained by then was somebody else's.
pub const CLAIM_WITHIN: Duration = Duration::from_secs(2);
/// So many reports of the OOM killer wait for an end that they explain.
const REPORTS_MAX: usize = 256;

/// All that is known about memory.
#[derive(Debug)]
pub struct Memory {
    limits: Vec<Limits>,
    config: Guard,
    found: MemoryFound,
    /// The container's limit now.
    limit: Option<u64>,
    /// Those whose program runs, each with the number of its run.
    running: Map<InstanceId, u32>,
    /// Those among them that have a limit.
    watched: Map<InstanceId, Pace>,
    guard: Option<Watch>,
    /// When the kernel's word of pressure was last followed.
    pressed: Option<Time>,
    reports: Vec<Report>,
}

/// What is to be weighed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whom.
    pub runs: Vec<InstanceId>,
    /// The container, too.
    pub container: bool,
}

/// What follows from a reading.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Its run has failed.
    Stop(InstanceId, Cause),
    /// All that could be stopped are to be weighed.
    WeighAll,
    /// This is to be told.
    Tell(Notice),
}

/// One that may be restarted when the container runs short of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub id: InstanceId,
    /// It runs on; else it is done once.
    pub daemon: bool,
    /// Its budget is spent, so that its restart would be its end.
    pub spent: bool,
}

/// When something is looked at.
#[derive(Debug)]
struct Pace {
    due: Option<Time>,
    every: Duration,
    last: Option<(Time, u64)>,
    /// How fast it grew, in bytes per second.
    growth: u64,
}

/// The guard of the container.
#[derive(Debug)]
struct Watch {
    pace: Pace,
    warned: bool,
    /// That nobody can be stopped was told.
    helpless: bool,
    /// All that could be stopped are being weighed.
    choosing: bool,
    relief: Relief,
}

/// What has been done lately about the container's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relief {
    Nothing,
    /// This run is being stopped.
    Stopping(InstanceId, u32),
    /// It was stopped; what that has helped is seen then.
    Until(Time),
}

/// A report of the OOM killer.
#[derive(Debug)]
struct Report {
    instance: Option<InstanceId>,
    left: u64,
    until: Time,
}

/// How long until the next look at something that holds so many bytes of its limit and grew by so many per second: half of the time
/// that it needs at this speed, or what a fast leak would need that has not begun yet.
pub fn pace(bytes: u64, limit: u64, growth: u64) -> Duration {
    let room = u128::from(limit.saturating_sub(bytes));
    let speed = u128::from(growth.saturating_mul(2).max(UNSEEN_PER_SECOND));
    let nanos = u64::try_from(room * 1_000_000_000 / speed).unwrap_or(u64::MAX);
    Duration::from_nanos(nanos).clamp(LOOK_MIN, LOOK_MAX)
}

/// What each instance may hold, by its id.
fn limits(plan: &Plan) -> Vec<Limits> {
    plan.instances.iter().map(|instance| instance.memory).gather()
}

impl Pace {
    fn new(now: Time, limit: Option<u64>) -> Self {
        let every = limit.map_or(LOOK_MAX, |limit| pace(0, limit, 0)).min(FIRST_LOOK);
        Self { due: Some(now + every), every, last: None, growth: 0 }
    }

    fn read(&mut self, now: Time, bytes: u64, limit: Option<u64>) {
        if let Some((at, before)) = self.last {
            let nanos = now.since(at).max(Duration::from_millis(1)).as_nanos();
            let grown = u128::from(bytes.saturating_sub(before)) * 1_000_000_000 / nanos;
            // What pauses may go on.
            self.growth = u64::try_from(grown).unwrap_or(u64::MAX).max(self.growth / 2);
        }
        self.last = Some((now, bytes));
        self.every = limit.map_or(LOOK_MAX, |limit| pace(bytes, limit, self.growth));
        self.due = Some(now + self.every);
    }

    fn is_due(&self, now: Time) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// Whether it is looked at along with others: three quarters of its time are over.
    fn goes_along(&self, now: Time) -> bool {
        self.due.is_some_and(|due| now >= due - self.every / 4)
    }

    /// It is being looked at.
    fn asked(&mut self, now: Time) {
        self.due = Some(now + self.every);
    }
}

impl Memory {
    /// What the plan says.
    pub fn new(plan: &Plan) -> Self {
        Self {
            limits: limits(plan),
            config: plan.guard,
            found: MemoryFound::default(),
            limit: None,
            running: Map::new(),
            watched: Map::new(),
            guard: None,
            pressed: None,
            reports: Vec::new(),
        }
    }

    /// Whether anything is done because of memory.
    pub fn is_on(&self) -> bool {
        self.config.is_on() || self.limits.iter().any(Limits::watched)
    }

    /// What rules over the memory is known.
    #[inline(never)]
    pub fn found(&mut self, now: Time, found: &MemoryFound) -> Vec<Notice> {
        let text = Some(found.text.clone()).filter(|text| !text.is_empty());
        let mut notices: Vec<Notice> = text.map(|text| Notice::MemoryFound { text }).into_iter().gather();
        if found.oom_group {
            notices.push(Notice::OomGroup);
        }
        self.limit = found.limit;
        self.found = found.clone();
        if self.do_without_cells() {
            notices.push(Notice::NoCells);
        }
        self.begin_to_guard(now);
        notices
    }

    /// The configuration was accepted because a cgroup could be made. Where none can be all the same, what holds more is restarted.
    fn do_without_cells(&mut self) -> bool {
        let without = |limits: &Limits| limits.limit.is_some() && !limits.fallback && !self.found.delegated;
        let any = self.limits.iter().any(without);
        if any {
            for limits in &mut self.limits {
                limits.fallback = true;
            }
        }
        any
    }

    fn begin_to_guard(&mut self, now: Time) {
        let pace = Pace::new(now, self.guarded());
        let relief = Relief::Nothing;
        let watch = Watch { pace, warned: false, helpless: false, choosing: false, relief };
        self.guard = self.config.is_on().then_some(watch);
    }

    /// An update has changed the plan. Who is watched begins anew where the limit is another.
    #[inline(never)]
    pub fn replan(&mut self, now: Time, plan: &Plan) {
        let before = std::mem::replace(&mut self.limits, limits(plan));
        self.do_without_cells();
        let limits = &self.limits;
        self.watched.retain(|id, _| before.get(id.0 as usize) == limits.get(id.0 as usize));
        if self.config != plan.guard {
            self.config = plan.guard;
            self.begin_to_guard(now);
        }
    }

    /// What was found.
    pub fn what(&self) -> &MemoryFound {
        &self.found
    }

    /// The container's limit now.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Above so many bytes the run of this instance is stopped.
    pub fn threshold(&self, id: InstanceId) -> Option<u64> {
        self.limits(id).threshold(self.whole(), self.found.delegated)
    }

    /// The kernel gives this instance no more, where it can be told so.
    pub fn ceiling(&self, id: InstanceId) -> Option<u64> {
        self.limits(id).limit.filter(|_| self.found.delegated)?.bytes(self.whole())
    }

    /// What it held when it was last looked at.
    pub fn held(&self, id: InstanceId) -> Option<u64> {
        self.watched.get(&id)?.last.map(|(_, bytes)| bytes)
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Option<Time> {
        let mut least = self.guard.as_ref().and_then(|guard| guard.pace.due);
        for pace in self.watched.values() {
            least = Time::earlier(least, pace.due);
        }
        for report in &self.reports {
            least = Time::earlier(least, Some(report.until));
        }
        least
    }

    /// Whose program runs now, and in which run.
    #[inline(never)]
    pub fn running(&mut self, now: Time, running: Map<InstanceId, u32>) {
        self.watched.retain(|id, _| running.get(id).is_some_and(|run| self.running.get(id) == Some(run)));
        for id in running.keys() {
            if self.limits(*id).watched() && !self.watched.contains_key(id) {
                self.watched.insert(*id, Pace::new(now, self.threshold(*id)));
            }
        }
        self.running = running;
    }

    /// The container is being stopped: nobody is looked at any more.
    pub fn rest(&mut self) {
        self.running.clear();
        self.watched.clear();
        self.guard = None;
    }

    /// The run whose stop is waited for.
    pub fn waits_for(&self) -> Option<(InstanceId, u32)> {
        match self.guard.as_ref()?.relief {
            Relief::Stopping(id, run) => Some((id, run)),
            Relief::Nothing | Relief::Until(_) => None,
        }
    }

    /// That stop is over.
    pub fn relieved(&mut self, now: Time) {
        if let Some(guard) = &mut self.guard {
            guard.relief = Relief::Until(now + RELIEF);
            guard.pace.due = Some(now + RELIEF);
        }
    }

    /// The kernel says that memory is short: all are looked at now, or when it was long enough ago.
    pub fn pressure(&mut self, now: Time) {
        let at = self.pressed.map_or(now, |last| now.max(last + PRESSURE_EVERY));
        let paces = self.watched.values_mut().chain(self.guard.as_mut().map(|guard| &mut guard.pace));
        let mut any = false;
        for pace in paces {
            if let Some(due) = &mut pace.due {
                *due = (*due).min(at);
                any = true;
            }
        }
        if any {
            self.pressed = Some(at);
        }
    }

    /// Who is to be weighed now, if anybody.
    #[inline(never)]
    pub fn due(&mut self, now: Time) -> Option<Look> {
        let paces = self.watched.values().chain(self.guard.as_ref().map(|guard| &guard.pace));
        if !paces.into_iter().any(|pace| pace.is_due(now)) {
            return None;
        }
        let mut look = Look { container: self.has_shares(), ..Look::default() };
        for (id, pace) in self.watched.iter_mut() {
            if pace.goes_along(now) {
                pace.asked(now);
                look.runs.push(*id);
            }
        }
        if let Some(guard) = self.guard.as_mut().filter(|guard| guard.pace.goes_along(now)) {
            guard.pace.asked(now);
            look.container = true;
            // Without a controller the sum of all is what is known.
            if self.found.controller == Controller::None {
                look.runs = self.running.keys().copied().gather();
            }
        }
        Some(look)
    }

    /// The container's limit is another one by now, perhaps. Says so.
    pub fn measured(&mut self, container: ContainerMemory) -> Option<Notice> {
        let (before, limit) = (self.limit, container.limit);
        self.limit = limit;
        (before != limit).then_some(Notice::MemoryLimit { before, limit })
    }

    /// What the runs and the container hold now. `candidates`: who may be stopped where that is necessary.
    #[inline(never)]
    pub fn weighed(
        &mut self,
        now: Time,
        weights: &[Weight],
        container: Option<ContainerMemory>,
        candidates: &[Candidate],
    ) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for weight in weights {
            let Some(id) = weight.instance else { continue };
            let threshold = self.threshold(id);
            let Some(pace) = self.watched.get_mut(&id) else { continue };
            pace.read(now, weight.bytes, threshold);
            if let Some(limit) = threshold.filter(|limit| weight.bytes > *limit) {
                let cause = Cause::OverMemory { bytes: weight.bytes, limit, holder: weight.holder.clone() };
                verdicts.push(Verdict::Stop(id, cause));
                let run = self.running.get(&id).copied().unwrap_or_default();
                if let Some(guard) = &mut self.guard {
                    guard.relief = Relief::Stopping(id, run);
                }
            }
        }
        let blind = self.found.controller == Controller::None;
        let used = match container {
            Some(container) => Some(container.working_set),
            // All were asked for.
            None if blind
                && self.running.keys().all(|id| weights.iter().any(|w| w.instance == Some(*id))) =>
            {
                Some(weights.iter().map(|weight| weight.bytes).fold(0, u64::saturating_add))
            }
            None => None,
        };
        if let (Some(used), Some(whole)) = (used, self.whole()) {
            self.guard(now, used, whole, weights, candidates, &mut verdicts);
        }
        verdicts
    }

    #[inline(never)]
    fn guard(
        &mut self,
        now: Time,
        used: u64,
        whole: u64,
        weights: &[Weight],
        candidates: &[Candidate],
        verdicts: &mut Vec<Verdict>,
    ) {
        let guarded = self.guarded();
        let (warn, restart) = (self.config.warn, self.config.restart);
        let victim = self.victim(weights, candidates, whole);
        let Some(guard) = &mut self.guard else { return };
        guard.pace.read(now, used, guarded);
        if let Some(warn) = warn.or(restart) {
            let again =
                warn.of(whole).saturating_sub(Share::new(HYSTERESIS).map_or(0, |part| part.of(whole)));
            if used > warn.of(whole) && !guard.warned {
                guard.warned = true;
                verdicts.push(Verdict::Tell(Notice::MemoryLow { used, whole }));
            } else if used < again && guard.warned {
                (guard.warned, guard.helpless) = (false, false);
                verdicts.push(Verdict::Tell(Notice::MemoryWell { used, whole }));
            }
        }
        let choosing = std::mem::take(&mut guard.choosing);
        match guard.relief {
            // What that helps is seen when it is over.
            Relief::Stopping(..) => return guard.pace.due = None,
            Relief::Until(at) if now < at => return guard.pace.due = Some(at),
            Relief::Until(_) | Relief::Nothing => guard.relief = Relief::Nothing,
        }
        if restart.is_none_or(|restart| used <= restart.of(whole)) {
            return;
        }
        let all = candidates.iter().all(|one| weights.iter().any(|weight| weight.instance == Some(one.id)));
        match victim {
            _ if !all && !choosing => {
                guard.choosing = true;
                verdicts.push(Verdict::WeighAll);
            }
            Some((id, weight)) => {
                let (held, holder) = (weight.bytes, weight.holder.clone());
                let run = self.running.get(&id).copied().unwrap_or_default();
                guard.relief = Relief::Stopping(id, run);
                guard.pace.due = None;
                verdicts.push(Verdict::Stop(id, Cause::ShortMemory { used, whole, held, holder }));
            }
            None => {
                guard.pace.due = Some(now + LOOK_MAX);
                if !std::mem::replace(&mut guard.helpless, true) {
                    verdicts.push(Verdict::Tell(Notice::NoVictim { used, whole }));
                }
            }
        }
    }

    /// Who is to go: a daemon where one runs, first those whose restart is allowed, then the lowest priority, then the largest.
    #[inline(never)]
    fn victim<'a>(
        &self,
        weights: &'a [Weight],
        candidates: &[Candidate],
        whole: u64,
    ) -> Option<(InstanceId, &'a Weight)> {
        let daemons = candidates.iter().any(|one| one.daemon);
        candidates
            .iter()
            .filter(|one| one.daemon == daemons)
            .filter_map(|one| Some((one, weights.iter().find(|weight| weight.instance == Some(one.id))?)))
            .filter(|(_, weight)| weight.bytes > 0 && weight.bytes >= whole / LEAST_VICTIM_PART)
            .min_by_key(|(one, weight)| {
                (one.spent, self.limits(one.id).priority, Reverse(weight.bytes), one.id)
            })
            .map(|(one, weight)| (one.id, weight))
    }

    /// The OOM killer ended processes.
    #[inline(never)]
    pub fn oom_killed(&mut self, now: Time, instance: Option<InstanceId>, count: u64) {
        let full = self.reports.len() >= REPORTS_MAX;
        match self.reports.last_mut().filter(|last| full || last.instance == instance) {
            Some(last) => {
                last.left = last.left.saturating_add(count);
                last.until = now + CLAIM_WITHIN;
            }
            None => self.reports.push(Report { instance, left: count, until: now + CLAIM_WITHIN }),
        }
    }

    /// The main process of this instance was killed, and not by us: whether the OOM killer did it, that of its own cgroup first.
    #[inline(never)]
    pub fn claim(&mut self, id: InstanceId) -> Option<Cause> {
        let own = self.reports.iter().position(|one| one.instance == Some(id) && one.left > 0);
        let anybody = || self.reports.iter().position(|one| one.instance.is_none() && one.left > 0);
        let at = own.or_else(anybody)?;
        let report = self.reports.get_mut(at)?;
        report.left -= 1;
        let used_up = report.left == 0;
        let own = report.instance.is_some();
        if used_up {
            self.reports.remove(at);
        }
        let limit = if own { self.ceiling(id) } else { self.limit };
        Some(Cause::OutOfMemory { held: self.held(id), limit, own })
    }

    /// OOM kills that no end has explained by now, or at the end of the container.
    #[inline(never)]
    pub fn unclaimed(&mut self, now: Option<Time>) -> Vec<(Option<InstanceId>, u64)> {
        let mut told = Vec::new();
        while let Some(report) = self.reports.first()
            && now.is_none_or(|now| now >= report.until)
        {
            told.push((report.instance, report.left));
            self.reports.remove(0);
        }
        told
    }

    fn limits(&self, id: InstanceId) -> Limits {
        self.limits.get(id.0 as usize).copied().unwrap_or_default()
    }

    /// What shares are of.
    fn whole(&self) -> Option<u64> {
        self.config.reference.whole(self.limit, self.found.total)
    }

    /// Above so many bytes the guard acts, or speaks where it only does that.
    fn guarded(&self) -> Option<u64> {
        Some(self.config.restart.or(self.config.warn)?.of(self.whole()?))
    }

    fn has_shares(&self) -> bool {
        let share = |amount: &Amount| matches!(amount, Amount::Share(_));
        self.limits.iter().any(|limits| [limits.restart, limits.limit].iter().flatten().any(share))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A leak of so many MiB a second that begins right after a look at something that holds 20 MiB: what it holds when it is found
    /// out, and how often it was looked at until then. `limit`: what it may hold, in MiB.
    fn leak(per_second: u64, limit: u64) -> (u64, u32) {
        let limit = limit * MIB;
        let mut pace = Pace::new(Time::ZERO, Some(limit));
        let mut now = Time::ZERO;
        // At rest for a while.
        for _ in 0..3 {
            now = pace.due.unwrap();
            pace.read(now, 20 * MIB, Some(limit));
        }
        let begin = now;
        for looks in 1.. {
            now = pace.due.unwrap();
            let micros = u64::try_from(now.since(begin).as_micros()).unwrap();
            let held = 20 * MIB + per_second * MIB * micros / 1_000_000;
            pace.read(now, held, Some(limit));
            if held > limit {
                return (held, looks);
            }
        }
        unreachable!()
    }

    /// What docs/memory.md has of it.
    fn table() -> String {
        let mut text = String::from(
            "| the container | a leak of 1 MiB/s | 10 MiB/s | 30 MiB/s | 100 MiB/s |\n|---|---|---|---|---|\n",
        );
        for container in [300, 64] {
            let cell = |per_second| {
                let (held, looks) = leak(per_second, container * 8 / 10);
                match (container * MIB).checked_sub(held).filter(|spare| *spare > 0) {
                    Some(spare) => format!("{}% to spare, {looks} looks", spare * 100 / (container * MIB)),
                    None => "the kernel is first".to_owned(),
                }
            };
            let cells = [1, 10, 30, 100].map(cell).join(" | ");
            let _ = writeln!(text, "| {container} MiB | {cells} |"); // writing to a String cannot fail
        }
        text
    }

    #[test]
    fn a_leak_is_found_out_in_time() {
        println!("{}", table());
        let document = include_str!("../docs/memory.md");
        assert!(document.contains(&table()), "docs/memory.md lacks this:\n{}", table());
        for container in [300, 64] {
            for per_second in [1, 10, 30] {
                let (held, _) = leak(per_second, container * 8 / 10);
                assert!(held <= container * MIB * 9 / 10, "{per_second} MiB/s of {container} MiB: {held}");
            }
        }
    }

    #[test]
    fn the_nearer_and_the_faster_the_sooner() {
        for (held, limit, growth, millis) in [
            (0, 1000, 0, 5_000),
            (160, 320, 0, 5_000),
            (192, 320, 0, 4_000),
            (288, 320, 0, 1_000),
            (319, 320, 0, 100),
            (320, 320, 0, 100),
            (400, 320, 0, 100),
            (288, 320, 16, 1_000),
            (288, 320, 32, 500),
            (0, 320, 1000, 160),
            (0, 320, 100_000, 100),
        ] {
            let pace = pace(held * MIB, limit * MIB, growth * MIB);
            assert_eq!(pace, Duration::from_millis(millis), "{held} of {limit}, {growth}/s");
        }
        assert_eq!(pace(0, u64::MAX, 0), LOOK_MAX);
        assert_eq!(pace(0, u64::MAX, u64::MAX), Duration::from_secs(1), "no overflow");
    }

    #[test]
    fn growth_is_remembered_for_a_while() {
        let mut pace = Pace::new(Time::ZERO, Some(1000 * MIB));
        let mut growth = Vec::new();
        for (second, held) in [(1, 10), (2, 50), (3, 50), (4, 50), (5, 20), (6, 30)] {
            pace.read(Time::ZERO + Duration::from_secs(second), held * MIB, Some(1000 * MIB));
            growth.push(pace.growth / MIB);
        }
        assert_eq!(growth, [0, 40, 20, 10, 5, 10]);
    }
}
