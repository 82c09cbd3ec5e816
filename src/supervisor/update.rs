//! An update: another plan takes the place of the one that runs, and only what differs is touched. A run ends by the settings that it
//! began with; its instance takes on the new ones when nothing of it is left. The newest plan wins.

use std::fmt::Display;
use std::rc::Rc;

use crate::control::{Answer, Change, Refused, Request};
use crate::event::{Action, Client, InstanceId, Time, order, tell};
use crate::gather::{Gather, Joined};
use crate::notice::{Notice, Updating};
use crate::plan::{Fresh, Instance, Kind, Mode, Plan, difference};
use crate::requests::{self, Deed, Stage, Target};
use crate::services::{Service, State};
use crate::sorted::{Map, Set};
use crate::units::show_duration;

use super::desk::{self, Refusal, refusal};
use super::{StopRecord, Supervisor, Wish};

/// So much of what is wrong with a configuration is told, in bytes.
const PROBLEMS_MAX_BYTES: usize = 4096;

/// A configuration that was read again.
#[derive(Debug)]
pub struct Reread {
    /// What shall run.
    pub plan: Plan,
    /// Whether it wants clients to be served elsewhere.
    pub other_control: bool,
    /// Whether its file is a mount that still shows what was replaced where it is mounted from.
    pub replaced: bool,
}

/// What an update is going to do about an instance when nothing of its present run is left.
#[derive(Debug)]
enum Coming {
    /// It will be no more.
    Gone,
    /// It is stopped for it, and runs anew as defined here.
    Anew(Box<Instance>),
    /// It is being stopped anyway, and goes on as defined here.
    Adjusted(Box<Instance>),
}

/// Who wants the configuration to be read again.
#[derive(Debug)]
struct Asker {
    client: Client,
    request: Request,
}

/// All that is known of updates.
#[derive(Debug)]
pub(super) struct Updates {
    /// What waits for the end of a run. Nothing while the container stops.
    coming: Map<InstanceId, Coming>,
    /// Those that updates have taken out, and of which nothing is left.
    retired: Set<InstanceId>,
    /// In what order all would stand if none ran any more as it was defined before the last update.
    wanted_order: Vec<InstanceId>,
    /// Who has asked for the configuration that is being read; `None`: nobody, or a signal.
    asker: Option<Asker>,
    /// The update that is under way.
    update: Option<Update>,
}

impl Updates {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            coming: Map::new(),
            retired: Set::new(),
            wanted_order: plan.ids().gather(),
            asker: None,
            update: None,
        }
    }

    /// Whether nothing waits for the end of a run.
    pub(super) fn idle(&self) -> bool {
        self.coming.is_empty()
    }
}

/// What is known of the present update.
#[derive(Debug)]
struct Update {
    since: Time,
    targets: Vec<Target>,
}

/// What is known of what an update wants of an instance.
#[derive(Debug)]
pub(super) enum Outcome {
    /// No more than of any start or stop.
    Usual,
    /// That is not decided yet.
    Open,
    /// It is done, or never will be.
    Known(Change),
}

impl Supervisor {
    /// The configuration is to be read again, as a signal asks.
    pub(super) fn reread_by_signal(&mut self, out: &mut Vec<Action>) {
        if self.shutdown.is_some() {
            return tell(out, Notice::NotUpdated { why: STOPPING.to_owned() });
        }
        self.updates.asker = None;
        order(out, Action::Reread);
    }

    /// The same, as a client asks.
    #[inline(never)]
    pub(super) fn reread_by_hand(
        &mut self,
        now: Time,
        client: Client,
        request: &Request,
        out: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        if self.shutdown.is_some() {
            return Err(refusal(Refused::Stopping, &STOPPING));
        }
        if request.wait {
            self.room(now, out)?;
        }
        self.requests.enter(client, Stage::Rereading, None);
        self.updates.asker = Some(Asker { client, request: request.clone() });
        order(out, Action::Reread);
        Ok(())
    }

    /// The answer to [`Action::Reread`]: the configuration, or what is wrong with it.
    #[inline(never)]
    pub fn reread(&mut self, now: Time, read: Result<Reread, String>, out: &mut Vec<Action>) {
        let from = out.len();
        let asker = self.updates.asker.take();
        match (self.take_plan(now, read, asker.as_ref(), out), asker) {
            (Ok((targets, stays)), Some(Asker { client, request })) => {
                self.begin_waiting(now, client, &request, targets, &stays, out);
            }
            (Err(refusal), Some(Asker { client, .. })) => {
                self.answer(now, client, Answer::Refused(*refusal), out);
            }
            (Ok(_) | Err(_), None) => {}
        }
        self.settle(now, out);
        self.pass_on(now, from, out);
    }

    #[inline(never)]
    fn take_plan(
        &mut self,
        now: Time,
        read: Result<Reread, String>,
        asker: Option<&Asker>,
        out: &mut Vec<Action>,
    ) -> Result<(Vec<Target>, Vec<&'static str>), Refusal> {
        let mut stays = Vec::new();
        let only_told = asker.is_some_and(|asker| asker.request.dry_run);
        let fresh = match read {
            // It may have begun in the very step that ordered the reading.
            _ if self.shutdown.is_some() || self.plan.mode != Mode::Services => {
                Err(refusal(Refused::Stopping, &STOPPING))
            }
            Ok(read) if read.plan.mode == Mode::Services => {
                stays = self.plan.log.staying(&read.plan.log);
                if read.other_control {
                    stays.push("control");
                }
                if read.replaced {
                    stays.push(REPLACED);
                }
                if !stays.is_empty() && !only_told {
                    tell(out, Notice::Stays { keys: stays.clone() });
                }
                Fresh::new(read.plan, &self.plan).ok_or_else(|| refusal(Refused::Configuration, &TOO_MANY))
            }
            Ok(_) => Err(refusal(Refused::Configuration, &NOT_SERVICES)),
            Err(text) => Err(refusal(Refused::Configuration, &bounded(text))),
        };
        match fresh {
            Ok(fresh) => {
                let rules = fresh.rules;
                let mut targets =
                    if only_told { self.differences(now, &fresh) } else { self.apply(now, fresh, out) };
                if rules {
                    let what = if only_told { "would be adjusted" } else { "adjusted" };
                    let told = desk::change("", true, &with_keys(what, "what is of no single service"));
                    let target = self.update_target(now, InstanceId(0), Deed::Adjust, String::new());
                    targets.push(Target { result: Some(told), ..target });
                }
                Ok((targets, stays))
            }
            Err(refusal) => {
                if !only_told {
                    tell(out, Notice::NotUpdated { why: refusal.text.clone() });
                }
                Err(refusal)
            }
        }
    }

    #[inline(never)]
    fn begin_waiting(
        &mut self,
        now: Time,
        client: Client,
        request: &Request,
        mut targets: Vec<Target>,
        stays: &[&str],
        out: &mut Vec<Action>,
    ) {
        let Some(mut told) = targets.first().map(Target::also) else {
            let mut text = "nothing has changed".to_owned();
            if !stays.is_empty() {
                text = text + " but what only a new start of the container can change: " + &stays.listed();
            }
            let nothing = desk::change("", true, &text);
            return self.answer(now, client, Answer::Changed(vec![nothing]), out);
        };
        if !stays.is_empty() {
            let text = format!("{}: only a new start of the container can change that", stays.listed());
            // Of no instance, and done.
            told.result = Some(desk::change("", true, &text));
            targets.push(told);
        }
        if request.wait && !request.dry_run {
            return self.requests.enter(client, Stage::Doing(targets), requests::until(now, request));
        }
        for target in &mut targets {
            let what = match target.deed {
                Deed::Add | Deed::Start => "starting",
                Deed::Renew | Deed::Restart => "restarting",
                Deed::Remove | Deed::Stop => "removing",
                Deed::Adjust => "adjusted",
            };
            let (name, text) = (self.name(target.id), with_keys(what, &target.keys));
            target.result.get_or_insert_with(|| desk::change(&name, true, &text));
        }
        let changes = targets.into_iter().filter_map(|target| target.result).gather();
        self.answer(now, client, Answer::Changed(changes), out);
    }

    /// What an update would do, without doing it.
    #[inline(never)]
    fn differences(&self, now: Time, fresh: &Fresh) -> Vec<Target> {
        let stays: Set<InstanceId> = fresh.instances.iter().map(|(id, _)| *id).collect();
        let goes = |id: &InstanceId| {
            !stays.contains(id) && !matches!(self.updates.coming.get(id), Some(Coming::Gone))
        };
        let gone = self.plan.ids().rev().filter(goes);
        let mut targets: Vec<Target> = gone
            .map(|id| {
                let change = desk::change(&self.name(id), true, &"would be removed");
                Target { result: Some(change), ..self.update_target(now, id, Deed::Remove, String::new()) }
            })
            .gather();
        for (id, new) in &fresh.instances {
            let old = self.plan.instance(*id).filter(|_| !self.retired(*id));
            let (deed, what, keys) = match old.map(|old| self.verdict(*id, old, new)) {
                None => (Deed::Add, "would be added", String::new()),
                Some(None) => continue,
                Some(Some((Deed::Renew, keys))) => (Deed::Renew, "would be restarted", keys),
                Some(Some((deed, keys))) => (deed, "would be adjusted", keys),
            };
            let change = desk::change(&new.name, true, &with_keys(what, &keys));
            targets.push(Target { result: Some(change), ..self.update_target(now, *id, deed, keys) });
        }
        targets
    }

    /// What is to be done about an instance that was there before, and the keys that have changed.
    fn verdict(&self, id: InstanceId, old: &Instance, new: &Instance) -> Option<(Deed, String)> {
        let found = difference(old, new);
        // It has been told to end, and cannot be told to stay.
        let ends = self.service(id).is_some_and(Service::ending)
            && matches!(self.updates.coming.get(&id), Some(Coming::Gone | Coming::Anew(_)));
        let keys = found.keys.listed();
        match () {
            // The command of the command line is the same, whatever is updated.
            () if new.kind != Kind::Command && (found.anew || ends) => Some((Deed::Renew, keys)),
            () if found.is_none() => None,
            () => Some((Deed::Adjust, keys)),
        }
    }

    #[inline(never)]
    fn update_target(&self, now: Time, id: InstanceId, deed: Deed, keys: String) -> Target {
        let service = self.service(id);
        let pid = service.and_then(Service::leader);
        Target { id, deed, runs: service.map_or(0, Service::runs), pid, since: now, keys, result: None }
    }

    /// Takes a new plan on, as far as it can be done at once, and remembers the rest.
    #[inline(never)]
    fn apply(&mut self, now: Time, fresh: Fresh, out: &mut Vec<Action>) -> Vec<Target> {
        let Fresh { config, instances, shutdown_timeout, guard, routes, log, rules } = fresh;
        self.plan.config = config;
        (self.plan.shutdown_timeout, self.plan.guard, self.plan.routes) = (shutdown_timeout, guard, routes);
        // The rest of it is how lines look, ours too, and stays as long as the container runs.
        self.plan.log.reopen_signal = log.reopen_signal;
        let stays: Set<InstanceId> = instances.iter().map(|(id, _)| *id).collect();
        let mut gone: Vec<InstanceId> = self.plan.ids().filter(|id| !stays.contains(id)).gather();
        let mut order: Vec<InstanceId> = instances.iter().map(|(id, _)| *id).gather();
        let mut targets = Vec::new();
        let mut updating = Updating { rules, ..Updating::default() };
        for id in gone.iter().rev() {
            let known = self.updates.coming.insert(*id, Coming::Gone);
            self.forget_restart(*id);
            if !matches!(known, Some(Coming::Gone)) {
                updating.removes.push(self.name(*id));
            }
            targets.push(self.update_target(now, *id, Deed::Remove, String::new()));
        }
        let mut begins: Set<InstanceId> = Set::new();
        for (id, new) in instances {
            let name = Rc::clone(&new.name);
            let verdict = match self.plan.instance(id).filter(|_| !self.retired(id)) {
                Some(old) => self.verdict(id, old, &new),
                None => Some((Deed::Add, String::new())),
            };
            self.updates.coming.remove(&id);
            let Some((deed, keys)) = verdict else {
                // Nothing of it has changed, but what it could not be had for is going to be there.
                let on = self.service(id).and_then(Service::failed_without);
                if on.is_some_and(|on| begins.contains(&on)) {
                    targets.push(self.update_target(now, id, Deed::Start, String::new()));
                    if let Some(service) = self.services.get_mut(id.0 as usize) {
                        service.start_by_hand();
                    }
                    begins.insert(id);
                    updating.renews.push((name, "what it depends on".to_owned()));
                }
                continue;
            };
            targets.push(self.update_target(now, id, deed, keys.clone()));
            match deed {
                Deed::Add => {
                    updating.adds.push(name);
                    begins.insert(id);
                    self.place_new(id, new);
                }
                Deed::Renew => {
                    updating.renews.push((name, keys));
                    begins.insert(id);
                    self.forget_restart(id);
                    // What ends already is told that it begins again after that.
                    if self.wish_for(id) != Wish::Down
                        && let Some(service) = self.services.get_mut(id.0 as usize)
                    {
                        service.go_on_after_end();
                    }
                    self.updates.coming.insert(id, Coming::Anew(new));
                }
                Deed::Adjust | Deed::Start | Deed::Stop | Deed::Restart | Deed::Remove => {
                    updating.adjusts.push((name, keys));
                    if self.service(id).is_some_and(Service::ending) {
                        self.updates.coming.insert(id, Coming::Adjusted(new));
                    } else if self.place(now, id, new, false) {
                        begins.insert(id);
                    }
                }
            }
        }
        // Those that go stand behind; `rewire` puts them where they belong.
        order.append(&mut gone);
        self.updates.wanted_order = order;
        self.rewire();
        tell(out, Notice::Updating(updating));
        self.replan_memory(now);
        let also = |targets: &[Target]| targets.iter().map(Target::also).gather();
        self.updates.update = (!targets.is_empty()).then(|| Update { since: now, targets: also(&targets) });
        targets
    }

    /// A person's wish that it be restarted is fulfilled by what an update does.
    fn forget_restart(&mut self, id: InstanceId) {
        if let Some(wish @ Wish::Again) = self.wishes.get_mut(id.0 as usize) {
            *wish = Wish::Nothing;
        }
    }

    /// An instance that was not there, or not any more.
    #[inline(never)]
    fn place_new(&mut self, id: InstanceId, new: Box<Instance>) {
        let autostart = new.autostart;
        self.updates.retired.remove(&id);
        self.logs.joins(id, &new.service, &new.name);
        if let (Some(place), Some(service)) =
            (self.plan.instances.get_mut(id.0 as usize), self.services.get_mut(id.0 as usize))
        {
            *place = *new;
            service.revive(autostart);
        } else {
            self.plan.instances.push(*new);
            self.services.push(Service::new(id, autostart));
            self.wishes.push(Wish::Nothing);
            self.stops.push(None::<StopRecord>);
        }
    }

    /// Nothing of an instance runs, or what runs can take it on: from now on this is how it is defined. Says whether it begins to run
    /// by that.
    fn place(&mut self, now: Time, id: InstanceId, new: Box<Instance>, anew: bool) -> bool {
        let held = self.wish_for(id) == Wish::Down;
        let (Some(place), Some(service)) =
            (self.plan.instances.get_mut(id.0 as usize), self.services.get_mut(id.0 as usize))
        else {
            return false;
        };
        let old = std::mem::replace(place, *new);
        service.redefined(now, (&old, place), anew, held)
    }

    /// Takes on what waited for the end of a run, where that is over.
    #[inline(never)]
    pub(super) fn advance_update(&mut self, now: Time) {
        let over: Vec<InstanceId> = self
            .updates
            .coming
            .keys()
            .copied()
            .filter(|id| self.service(*id).is_none_or(Service::vacant))
            .gather();
        for id in &over {
            match self.updates.coming.remove(id) {
                Some(Coming::Gone) => {
                    self.updates.retired.insert(*id);
                    self.updates.wanted_order.retain(|one| one != id);
                    if let Some(wish) = self.wishes.get_mut(id.0 as usize) {
                        *wish = Wish::Nothing;
                    }
                    if let Some(service) = self.services.get_mut(id.0 as usize) {
                        service.retire();
                    }
                    self.usage.remove(id);
                }
                Some(Coming::Anew(new)) => {
                    self.place(now, *id, new, true);
                }
                Some(Coming::Adjusted(new)) => {
                    self.place(now, *id, new, false);
                }
                None => {}
            }
        }
        if !over.is_empty() {
            self.rewire();
            self.replan_memory(now);
        }
    }

    /// Tells that the present update is done, when it is.
    #[inline(never)]
    pub(super) fn tell_when_updated(&mut self, now: Time, out: &mut Vec<Action>) {
        let Some(Update { since, mut targets }) = self.updates.update.take() else { return };
        for target in targets.iter_mut().filter(|target| target.result.is_none()) {
            target.result = self.outcome(now, target);
        }
        if targets.iter().all(|target| target.result.is_some()) {
            let bad = |target: &&Target| target.result.as_ref().is_some_and(|change| !change.ok);
            let bad = targets.iter().filter(bad).map(|target| self.name(target.id)).gather();
            tell(out, Notice::Updated { after: now.since(since), bad });
        } else {
            self.updates.update = Some(Update { since, targets });
        }
    }

    /// What has become of it where that is not what becomes of any start or stop.
    #[inline(never)]
    pub(super) fn outcome_of_update(
        &self,
        now: Time,
        target: &Target,
        service: &Service,
        instance: &Instance,
    ) -> Outcome {
        let id = target.id;
        let result = |ok, text: &dyn Display| Outcome::Known(desk::change(&instance.name, ok, text));
        let waits = self.updates.coming.contains_key(&id);
        match target.deed {
            Deed::Remove if self.retired(id) => {
                let over = service.leader().is_none() && target.pid.is_some();
                let after = if over {
                    format!(" after {}", show_duration(now.since(target.since)))
                } else {
                    String::new()
                };
                result(true, &format_args!("removed{after}"))
            }
            Deed::Remove if self.is_going_for_good(id) => Outcome::Open,
            Deed::Remove => result(false, &"not removed: a later update has it again"),
            Deed::Adjust if waits => Outcome::Open,
            Deed::Stop => Outcome::Usual,
            _ if self.retired(id) || self.is_going_for_good(id) => {
                result(false, &"not done: an update has removed it")
            }
            Deed::Adjust => result(true, &format_args!("adjusted: {}", target.keys)),
            Deed::Renew if waits => Outcome::Open,
            Deed::Add | Deed::Renew => {
                let word = if target.deed == Deed::Add { "added" } else { "changed" };
                match service.state() {
                    State::Down if self.wish_for(id) == Wish::Down => {
                        result(true, &format_args!("{word}; it stays down, as it was stopped by hand"))
                    }
                    State::Down if !instance.autostart => {
                        result(true, &format_args!("{word}; not started (autostart = false)"))
                    }
                    State::Down
                    | State::Waiting
                    | State::Launching { .. }
                    | State::Starting(..)
                    | State::Up(..)
                    | State::Ready(..)
                    | State::Stopping { .. }
                    | State::Cleaning(_)
                    | State::Backoff { .. }
                    | State::Completed
                    | State::Failed { .. } => Outcome::Usual,
                }
            }
            Deed::Start | Deed::Restart => Outcome::Usual,
        }
    }

    /// The container stops: what runs does so as it was defined when it began.
    pub(super) fn drop_update(&mut self) {
        self.updates.coming.clear();
        self.updates.update = None;
    }

    /// An update has taken it out, and nothing of it is left.
    pub(super) fn retired(&self, id: InstanceId) -> bool {
        self.updates.retired.contains(&id)
    }

    /// It is to be stopped for an update.
    pub(super) fn goes(&self, id: InstanceId) -> bool {
        match self.updates.coming.get(&id) {
            Some(Coming::Gone | Coming::Anew(_)) => true,
            Some(Coming::Adjusted(_)) | None => false,
        }
    }

    /// It will be no more.
    pub(super) fn is_going_for_good(&self, id: InstanceId) -> bool {
        matches!(self.updates.coming.get(&id), Some(Coming::Gone))
    }

    /// What a person, or else an update, wants of it.
    pub(super) fn wish_or_update(&self, id: InstanceId) -> Wish {
        match self.wish_for(id) {
            _ if self.is_going_for_good(id) => Wish::Down,
            Wish::Nothing if self.goes(id) => Wish::Again,
            wish => wish,
        }
    }

    /// Who depends on whom, and the order of starts, as things are now. While an update is under way old definitions stand beside
    /// new ones and may depend on each other in a circle; then any order of those is right.
    pub(super) fn rewire(&mut self) {
        let count = self.plan.instances.len();
        let mut dependents: Vec<Vec<InstanceId>> = vec![Vec::new(); count];
        for id in &self.updates.wanted_order {
            for on in self.plan.depends_on(*id) {
                if let Some(list) = dependents.get_mut(on.on.0 as usize) {
                    list.push(*id);
                }
            }
        }
        self.dependents = dependents;
        // Each after those it depends on: depth first, without recursion, for there may be thousands in a chain.
        let mut seen = vec![true; count];
        for id in &self.updates.wanted_order {
            if let Some(seen) = seen.get_mut(id.0 as usize) {
                *seen = false;
            }
        }
        let mut order = Vec::with_capacity(self.updates.wanted_order.len());
        let mut path: Vec<(InstanceId, usize)> = Vec::new();
        let first_time = |seen: &mut Vec<bool>, id: InstanceId| {
            seen.get_mut(id.0 as usize).is_some_and(|seen| !std::mem::replace(seen, true))
        };
        for start in &self.updates.wanted_order {
            if first_time(&mut seen, *start) {
                path.push((*start, 0));
            }
            while let Some((id, next)) = path.last_mut() {
                let on = self.plan.instance(*id).and_then(|instance| instance.depends_on.get(*next));
                *next += 1;
                let Some(dependency) = on else {
                    order.push(*id);
                    path.pop();
                    continue;
                };
                if first_time(&mut seen, dependency.on) {
                    path.push((dependency.on, 0));
                }
            }
        }
        self.plan.order = order.into();
    }
}

const STOPPING: &str = "the container is being stopped, and nothing else is begun";
const TOO_MANY: &str =
    "there have been too many different services since the container began; start it again";
const REPLACED: &str = "the configuration, a file that was replaced where it is mounted from";
const NOT_SERVICES: &str = "it is no configuration of services";

fn with_keys(what: &str, keys: &str) -> String {
    if keys.is_empty() { what.to_owned() } else { format!("{what}: {keys}") }
}

/// Whole lines of it.
fn bounded(mut text: String) -> String {
    if let Some(start) = text.as_bytes().get(..PROBLEMS_MAX_BYTES) {
        let whole = crate::search::last(b'\n', start);
        let end = whole.or_else(|| (0..PROBLEMS_MAX_BYTES).rev().find(|at| text.is_char_boundary(*at)));
        text.truncate(end.unwrap_or(0));
        text.push_str("\n… `tinysup check` shows all");
    }
    text
}
