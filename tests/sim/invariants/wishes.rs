//! What clients and updates want: who is to be down, who begins anew and as what, and who is not touched. Which part of an instance can
//! be changed under a running process is written here a second time, from docs/control.md alone.

use std::collections::BTreeSet;

use tinysup::control::{Request, Verb};
use tinysup::notice::{ByHand, Updating};
use tinysup::plan;

use super::*;

/// What an update does about an instance when nothing of its run is left.
#[derive(Clone, Debug)]
pub(super) enum Coming {
    Gone,
    Anew(Box<Instance>),
    Adjusted(Box<Instance>),
}

/// What a person or an update wants of one instance.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what was asked for so far; the states are the core's")]
pub(super) struct Wishes {
    /// It does not run, and nobody wants it to.
    pub down: bool,
    /// It was stopped by hand.
    pub held: bool,
    /// It was restarted by hand, and that is not begun yet.
    pub again: bool,
    /// It begins again after the end that it is coming to.
    pub goes_on: bool,
    /// An update has taken it out.
    pub retired: bool,
    /// For want of whom it cannot start.
    pub lacks: Option<InstanceId>,
}

/// An update that was read and not told yet.
#[derive(Debug, Default)]
pub(super) struct Expected {
    refused: bool,
    renews: BTreeSet<Rc<str>>,
    adds: BTreeSet<Rc<str>>,
    removes: BTreeSet<Rc<str>>,
    adjusts: BTreeSet<Rc<str>>,
}

impl Judge {
    pub(super) fn asked(&mut self, client: Client, request: &Request) {
        self.step.request = Some(request.clone());
        self.client = Some(client);
        self.step.described = request.verb == Verb::Describe;
        self.step.reasons = self.reasons_against(request);
        self.wants_to_know(client, request);
        if request.verb == Verb::Update {
            self.dry_run = request.dry_run;
            self.waits_for_updates = request.wait && !request.dry_run;
        }
    }

    pub(super) fn verb(&self) -> Option<Verb> {
        self.step.request.as_ref().map(|request| request.verb)
    }

    pub(super) fn by_hand(&mut self, world: &mut World, what: ByHand, names: &[Rc<str>]) {
        let right = match what {
            ByHand::Start => Verb::Start,
            ByHand::Stop => Verb::Stop,
            ByHand::Restart => Verb::Restart,
        };
        if self.verb() != Some(right) || self.stop.is_some() {
            violation!("{what:?} of {names:?}, which nobody asked for: {:?}", self.step.request);
        }
        world.count(match what {
            ByHand::Start => "start by hand",
            ByHand::Stop => "stop by hand",
            ByHand::Restart => "restart by hand",
        });
        self.waits_by_hand(what, names);
        for name in names {
            let id = self.by_name(name);
            if self.plan_of(id).kind == Kind::Command {
                violation!("{name} is not to be touched by hand");
            }
            let wishes = &mut self.life(id).wishes;
            // One that is about to be restarted will be started by that.
            let again = what == ByHand::Restart || what == ByHand::Start && wishes.again;
            (wishes.held, wishes.again) = (what == ByHand::Stop, again);
            match what {
                ByHand::Start => self.begins(id),
                ByHand::Stop | ByHand::Restart => {}
            }
        }
    }

    /// It is wanted to run, with a fresh budget.
    fn begins(&mut self, id: InstanceId) {
        let now = self.now();
        let life = self.life(id);
        life.budget = Budget::default();
        if life.active() {
            life.wishes.goes_on |= life.is_leaving() || life.ended.is_some();
            return;
        }
        (life.completed, life.failed, life.cannot_start, life.waits) = (false, false, false, false);
        life.wishes.down = false;
        // It waits for nothing but its dependencies.
        life.decided = (life.run > 0).then(|| (now, Next::With("nobody".into())));
    }

    /// What was wished of those that do not run is so as soon as anything else may happen.
    pub(super) fn normalize(&mut self, over: bool) {
        if self.stop.is_some() {
            return;
        }
        for index in 0..self.lives.len() {
            let id = InstanceId(u32::try_from(index).unwrap());
            let life = &self.lives[index];
            if life.active() {
                // What ends already only has to be told what follows; what runs has to be asked, which is seen.
                let ends = life.is_leaving() || life.ended.is_some();
                // An end that this step was told of is judged before wishes are.
                let judged_first = !over && self.step.leader == Some(id);
                if life.wishes.again
                    && ends
                    && !judged_first
                    && (life.ended.is_some() || self.held_by(id).is_none())
                {
                    self.life(id).wishes.again = false;
                    self.begins(id);
                }
                continue;
            }
            let life = &mut self.lives[index];
            let over = life.completed || life.failed || life.cannot_start;
            if life.wishes.held && !over {
                life.wishes.down = true;
                (life.decided, life.waits) = (None, false);
            }
            if std::mem::take(&mut life.wishes.again) {
                self.begins(id);
            }
        }
    }

    /// It is to be stopped by hand or for an update.
    pub(super) fn wanted_away(&self, id: InstanceId) -> bool {
        let wishes = &self.lives[id.0 as usize].wishes;
        wishes.held || wishes.again || self.goes(id)
    }

    pub(super) fn goes(&self, id: InstanceId) -> bool {
        matches!(self.coming.get(&id), Some(Coming::Gone | Coming::Anew(_)))
    }

    /// One that depends on it and has to go first.
    fn held_by(&self, id: InstanceId) -> Option<InstanceId> {
        let mut open = vec![id];
        let mut seen = BTreeSet::new();
        while let Some(on) = open.pop() {
            for (other, instance) in self.plan.all() {
                if other == id || !instance.depends_on.iter().any(|d| d.on == on) || !seen.insert(other) {
                    continue;
                }
                let life = &self.lives[other.0 as usize];
                let leaves = life.active() && (life.is_leaving() || life.ended.is_some());
                if leaves || life.active() && self.wanted_away(other) {
                    return Some(other);
                }
                if !life.active() && (life.completed || life.failed || life.cannot_start || life.wishes.down)
                {
                    open.push(other);
                }
            }
        }
        None
    }

    /// It is asked to end, by hand or for an update.
    pub(super) fn goes_by_wish(&mut self, world: &mut World, id: InstanceId) {
        let name = self.plan_of(id).name.clone();
        if !self.wanted_away(id) {
            violation!("{name} is asked to stop although nobody wants that");
        }
        if let Some(other) = self.held_by(id)
            && !self.dependents(other).contains(&other)
            && !self.dependents(other).contains(&id)
            && !self.dependents(id).contains(&id)
        {
            let other = &self.plan_of(other).name;
            violation!("{name} is asked to stop before {other}, which depends on it and goes, too");
        }
        let held =
            self.lives[id.0 as usize].wishes.held || matches!(self.coming.get(&id), Some(Coming::Gone));
        world.count(if self.goes(id) { "stop for an update" } else { "stop as wished" });
        let life = self.life(id);
        life.leaving = Some(Leaving::Wish);
        if !held {
            life.budget = Budget::default();
            life.wishes.goes_on = true;
            life.wishes.again = false;
        }
    }

    /// Everything that is wished and can be done is.
    pub(super) fn check_wishes(&self) {
        for (id, instance) in self.plan.all() {
            let life = &self.lives[id.0 as usize];
            let runs = life.active() && life.pid.is_some() && life.ended.is_none() && !life.is_leaving();
            if runs && self.wanted_away(id) && self.held_by(id).is_none() {
                violation!("{} is to go, nobody holds it, and it is not asked to: {life:?}", instance.name);
            }
            if !life.active() && self.coming.contains_key(&id) {
                violation!(
                    "nothing of {} is left, and it does not take on {:?}",
                    instance.name,
                    self.coming[&id]
                );
            }
        }
    }

    // ---- updates ----

    /// What the core is about to be told of the configuration.
    /// `other`: it wants clients to be served elsewhere.
    pub fn reread(&mut self, world: &mut World, now: Time, read: &Result<Plan, String>, other: bool) {
        self.step = Step { now: Some(now), delayed: world.delayed, reread: true, ..Step::default() };
        if self.dry_run {
            return;
        }
        if let Ok(plan) = read
            && self.stop.is_none()
        {
            let timestamps = plan.log.timestamps != self.plan.log.timestamps;
            self.step.stays.extend(timestamps.then_some("[log] timestamps"));
            self.step.stays.extend(other.then_some("control"));
        }
        let mut expected = Expected::default();
        match read {
            Ok(plan) if self.stop.is_none() => {
                self.take(plan, &mut expected);
                self.replan_memory(world);
            }
            Ok(_) | Err(_) => expected.refused = true,
        }
        self.expected = Some(expected);
        self.adopt(world);
    }

    /// The same plan is everybody's.
    fn adopt(&mut self, world: &mut World) {
        self.outputs.plan = self.plan.clone();
        world.redefine(self.plan.clone());
    }

    /// Whether a running process cannot take on what differs; `None`: nothing does.
    fn compare(old: &Instance, new: &Instance) -> Option<bool> {
        // What follows from the limits and from the machine is no difference of its own.
        let launch = |launch: &Launch| Launch { cell: None, ..launch.clone() };
        let stop = |stop: &plan::Stop| plan::Stop {
            command: stop.command.as_deref().map(launch).map(Rc::new),
            ..stop.clone()
        };
        let anew = (&old.ready, &old.healthcheck, old.watchdog, old.kind, old.memory.limit)
            != (&new.ready, &new.healthcheck, new.watchdog, new.kind, new.memory.limit)
            || launch(&old.launch) != launch(&new.launch);
        let adjusted = (&old.restart, &old.signals, &old.depends_on, &old.name)
            != (&new.restart, &new.signals, &new.depends_on, &new.name)
            || stop(&old.stop) != stop(&new.stop)
            || (old.autostart, old.on_failure, old.on_success, old.memory)
                != (new.autostart, new.on_failure, new.on_success, new.memory);
        (anew || adjusted).then_some(anew)
    }

    fn take(&mut self, new: &Plan, expected: &mut Expected) {
        let mut plan = (*self.plan).clone();
        let mut ids: Vec<InstanceId> = Vec::new();
        let mut next = plan.instances.len();
        for instance in &new.instances {
            let same = |old: &Instance| (&old.service, old.number) == (&instance.service, instance.number);
            let at = plan.instances.iter().position(same).unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            ids.push(InstanceId(u32::try_from(at).unwrap()));
        }
        let translate = |id: InstanceId| ids[id.0 as usize];
        let gone: Vec<InstanceId> = plan.ids().filter(|id| !ids.contains(id)).collect();
        (plan.shutdown_timeout, plan.guard) = (new.shutdown_timeout, new.guard);
        plan.routes = new
            .routes
            .iter()
            .map(|(signal, to)| (*signal, to.iter().map(|id| translate(*id)).collect()))
            .collect();
        plan.order = ids.iter().chain(&gone).copied().collect();
        self.plan = Rc::new(plan);
        for id in &gone {
            if !matches!(self.coming.insert(*id, Coming::Gone), Some(Coming::Gone)) {
                expected.removes.insert(self.plan_of(*id).name.clone());
            }
            self.life(*id).wishes.again = false;
        }
        let mut begins: BTreeSet<InstanceId> = BTreeSet::new();
        for (instance, id) in new.instances.iter().zip(&ids) {
            let mut instance = instance.clone();
            for dependency in &mut instance.depends_on {
                dependency.on = translate(dependency.on);
            }
            self.take_instance(*id, instance, &mut begins, expected);
        }
        for id in gone {
            if !self.lives[id.0 as usize].active() {
                self.take_on(id);
            }
        }
    }

    fn take_instance(
        &mut self,
        id: InstanceId,
        new: Instance,
        begins: &mut BTreeSet<InstanceId>,
        expected: &mut Expected,
    ) {
        let name = new.name.clone();
        if self.lives.len() == id.0 as usize {
            self.lives.push(Life {
                wishes: Wishes { down: !new.autostart, ..Wishes::default() },
                ..Life::default()
            });
            self.define(id, new);
            self.is_followed(id);
            begins.insert(id);
            expected.adds.insert(name);
            return;
        }
        if self.lives[id.0 as usize].wishes.retired {
            let down = !new.autostart;
            let now = self.now();
            let life = self.life(id);
            life.wishes = Wishes { down, ..Wishes::default() };
            life.decided = (life.run > 0 && !down).then(|| (now, Next::With("nobody".into())));
            self.define(id, new);
            self.is_followed(id);
            begins.insert(id);
            expected.adds.insert(name);
            return;
        }
        let life = &self.lives[id.0 as usize];
        let ends = life.active() && (life.is_leaving() || life.ended.is_some());
        let known = self.coming.remove(&id);
        let was_to_go = matches!(known, Some(Coming::Gone | Coming::Anew(_)));
        match Self::compare(self.plan_of(id), &new) {
            different if different == Some(true) || ends && was_to_go => {
                expected.renews.insert(name);
                begins.insert(id);
                let life = self.life(id);
                life.wishes.again = false;
                life.wishes.goes_on |= ends && !life.wishes.held;
                life.forgiven = true;
                let active = life.active();
                self.coming.insert(id, Coming::Anew(Box::new(new)));
                if !active {
                    self.take_on(id);
                }
            }
            None => {
                if self.lives[id.0 as usize].cannot_start
                    && self.lives[id.0 as usize].wishes.lacks.is_some_and(|on| begins.contains(&on))
                {
                    self.begins(id);
                    begins.insert(id);
                    expected.renews.insert(name);
                }
            }
            Some(_) => {
                expected.adjusts.insert(name);
                if ends {
                    self.coming.insert(id, Coming::Adjusted(Box::new(new)));
                } else if self.place(id, new, false) {
                    begins.insert(id);
                }
            }
        }
    }

    fn define(&mut self, id: InstanceId, new: Instance) -> Option<Instance> {
        let plan = Rc::make_mut(&mut self.plan);
        if let Some(place) = plan.instances.get_mut(id.0 as usize) {
            return Some(std::mem::replace(place, new));
        }
        plan.instances.push(new);
        None
    }

    /// Nothing of its run is left.
    pub(super) fn run_is_over(&mut self, world: &mut World, id: InstanceId) {
        if self.coming.contains_key(&id) && self.stop.is_none() {
            self.take_on(id);
            self.replan_memory(world);
            self.adopt(world);
        }
    }

    fn take_on(&mut self, id: InstanceId) {
        match self.coming.remove(&id) {
            Some(Coming::Gone) => {
                let process = only_leader(self.plan_of(id));
                self.ends.remove(&id);
                let life = self.life(id);
                *life = Life {
                    // What such a one left behind is nobody's business, whatever it is when it comes back.
                    unkillable: life.unkillable || process,
                    run: life.run,
                    told: life.told,
                    asked_by: life.asked_by,
                    ever_up: life.ever_up,
                    wishes: Wishes { down: true, retired: true, ..Wishes::default() },
                    ..Life::default()
                };
                let plan = Rc::make_mut(&mut self.plan);
                plan.order = plan.order.iter().copied().filter(|one| *one != id).collect();
            }
            Some(Coming::Anew(new)) => {
                self.place(id, *new, true);
            }
            Some(Coming::Adjusted(new)) => {
                self.place(id, *new, false);
            }
            None => {}
        }
    }

    /// From now on it is defined so. Says whether it begins to run by that.
    fn place(&mut self, id: InstanceId, new: Instance, anew: bool) -> bool {
        let now = self.now();
        let (autostart, restart, on_success) = (new.autostart, new.restart.clone(), new.on_success);
        let mode = new.stop.mode;
        let old = self.define(id, new).unwrap();
        let life = self.life(id);
        // Another chance is one with a fresh budget.
        if anew || old.restart != restart || !life.active() && (life.failed || life.cannot_start) {
            life.budget = Budget::default();
        }
        // What such a one left behind is nobody's business, whatever it is now.
        life.unkillable |= only_leader(&old) && old.stop.mode != mode;
        if life.active() {
            return false;
        }
        let runs = autostart && !life.wishes.held;
        let failed = life.failed || life.cannot_start;
        if life.restart_due().is_some() {
            if anew {
                life.decided = Some((now, Next::Again));
            }
            return anew;
        }
        let done = life.completed && (anew || old.on_success != on_success);
        let starts = life.wishes.down && !old.autostart && runs;
        if failed || done || starts {
            if runs {
                self.begins(id);
                return true;
            }
            (life.completed, life.failed, life.cannot_start, life.decided) = (false, false, false, None);
            life.wishes.down = true;
        } else if !life.completed && old.autostart && !autostart && life.run == 0 {
            life.wishes.down = true;
        }
        false
    }

    pub(super) fn updating(&mut self, world: &mut World, told: &Updating) {
        let Some(expected) = self.expected.take() else { violation!("{told:?}, which nobody asked for") };
        let set = |names: &[Rc<str>]| names.iter().cloned().collect::<BTreeSet<_>>();
        let keyed =
            |names: &[(Rc<str>, String)]| names.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
        let same = set(&told.removes) == expected.removes
            && set(&told.adds) == expected.adds
            && keyed(&told.renews) == expected.renews
            && keyed(&told.adjusts) == expected.adjusts;
        if expected.refused || !same {
            violation!("{told:?}; right is {expected:?}");
        }
        self.waits_for_update(told);
        world.count("update");
        for (names, what) in [
            (expected.removes.len(), "removed service"),
            (expected.adds.len(), "added service"),
            (expected.renews.len(), "service that runs anew"),
            (expected.adjusts.len(), "adjusted service"),
        ] {
            if names > 0 {
                world.count(what);
            }
        }
        if !self.coming.is_empty() {
            world.count("update that waits for the end of runs");
        }
    }

    pub(super) fn updated(&mut self, world: &mut World) {
        if !self.coming.is_empty() || self.stop.is_some() {
            violation!("updated, but not yet: {:?}", self.coming);
        }
        for (id, life) in (0..).map(InstanceId).zip(&self.lives) {
            if life.wishes.retired
                && world.living_of(id).any(|proc| !proc.stuck() && !only_leader(self.plan_of(id)))
                && !life.unkillable
            {
                violation!("updated, but something of {} lives", self.plan_of(id).name);
            }
        }
        world.count("update that is done");
    }

    pub(super) fn not_updated(&mut self, world: &mut World) {
        let expected = self.expected.take().is_some_and(|expected| expected.refused);
        let by_signal = self.step.signal == Some(Signal::HUP) && self.stop.is_some();
        if !expected && !by_signal {
            violation!("not updated, for no reason");
        }
        world.count("update that is refused");
    }
}
