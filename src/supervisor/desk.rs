//! What clients ask for: it is seen whether it can be done, it is begun, and each gets one last answer when it is done, when it
//! cannot be done any more, when his time is over, or at the end of the container.

use std::fmt::Display;
use std::path::PathBuf;

use crate::control::{
    self, Answer, Change, EventLine, LogLine, Refused, Request, VERSION, Verb, Verdict, Wanted,
};
use crate::event::{Action, Client, InstanceId, Output, Sink, Time, order, tell};
use crate::gather::{Gather, Joined, parted_at_last};
use crate::logs::{Line, Origin, Wish as ReadingWish};
use crate::notice::{ByHand, Notice};
use crate::plan::{Condition, Instance, Kind, Mode};
use crate::requests::{self, Deed, Overdue, Reading, Report, Scope, Stage, Target};
use crate::services::{Service, State};
use crate::shutdown::Reason;
use crate::sorted::{Map, Set};
use crate::suggest::did_you_mean;
use crate::units::{Signal, parse_number, show_duration};

use super::judgement::{Is, Judgement};
use super::update::Outcome;
use super::{Readiness, Supervisor, Wish};

/// So many notices are sent to a reader at once.
const EVENTS_PER_TURN: usize = 64;

/// What is in the way of a request.
pub(super) type Refusal = Box<control::Refusal>;

/// Not inlined, and in a box: what goes wrong is passed through many hands.
#[inline(never)]
pub(super) fn refusal(why: Refused, text: &dyn Display) -> Refusal {
    Box::new(control::Refusal { why, text: text.to_string() })
}

impl Supervisor {
    /// A client asks something. Says whether anything is changed by it.
    #[inline(never)]
    pub(super) fn asked(
        &mut self,
        now: Time,
        client: Client,
        request: Result<Request, String>,
        out: &mut Vec<Action>,
    ) -> bool {
        if !self.requests.may_ask(client) {
            return false;
        }
        let result = request
            .map_err(|text| refusal(Refused::Request, &text))
            .and_then(|request| self.carry_out(now, client, &request, out));
        match result {
            Ok(changed) => changed,
            Err(refusal) => {
                self.answer(now, client, Answer::Refused(*refusal), out);
                false
            }
        }
    }

    #[inline(never)]
    fn carry_out(
        &mut self,
        now: Time,
        client: Client,
        request: &Request,
        out: &mut Vec<Action>,
    ) -> Result<bool, Refusal> {
        if request.v != VERSION {
            let text = format!("this tinysup speaks version {VERSION} of the protocol, not {}", request.v);
            return Err(refusal(Refused::Version, &text));
        }
        let (ids, named) = match request.verb {
            // What these have no use for is not looked at.
            Verb::Events | Verb::Update | Verb::Reopen | Verb::Shutdown => (Vec::new(), false),
            Verb::Status
            | Verb::Describe
            | Verb::Memory
            | Verb::Start
            | Verb::Stop
            | Verb::Restart
            | Verb::Signal
            | Verb::Logs
            | Verb::Wait
            | Verb::Health => self.named(&request.names)?,
        };
        match request.verb {
            Verb::Status | Verb::Describe => {
                let in_full = request.verb == Verb::Describe;
                let scope = if in_full { Scope::InFull } else { Scope::AtAGlance };
                self.report(now, client, Report { ids, scope, ..Report::default() }, out);
            }
            Verb::Memory => {
                let report = Report { ids, scope: Scope::Memory, ..Report::default() };
                self.weigh_for(client, report, request.pss, out);
            }
            Verb::Start => return self.change(now, client, request, ByHand::Start, (ids, named), out),
            Verb::Stop => return self.change(now, client, request, ByHand::Stop, (ids, named), out),
            Verb::Restart => return self.change(now, client, request, ByHand::Restart, (ids, named), out),
            Verb::Signal => {
                let changes = self.send(&request.signal, request.group, &ids, out)?;
                self.answer(now, client, Answer::Changed(changes), out);
            }
            Verb::Logs => {
                self.room(now, out)?;
                let stream = request.stream.map(|stream| match stream {
                    control::Stream::Stdout => Sink::Stdout,
                    control::Stream::Stderr => Sink::Stderr,
                });
                let since = request.since_ms.map(|millis| now - std::time::Duration::from_millis(millis));
                let (lines, follow) = (request.lines, request.follow);
                let wish = ReadingWish {
                    instances: ids,
                    names: request.names.clone(),
                    stream,
                    since,
                    lines,
                    follow,
                };
                self.logs.open(client, &wish);
                self.requests.enter(client, Stage::Logs(Reading { follow, busy: false }), None);
                self.send_what_is_not_kept(now, client, &wish, out);
            }
            Verb::Events => {
                self.room(now, out)?;
                let newest = self.journal.newest();
                let seen = request.lines.map_or(0, |lines| newest.saturating_sub(u64::from(lines)));
                let reading = Reading { follow: request.follow, busy: false };
                self.requests.enter(client, Stage::Events { reading, seen }, None);
            }
            Verb::Health => {
                let wanted = request.state.unwrap_or(Wanted::Live);
                let Judgement { is, text } = self.judge(now, &ids, named, wanted);
                self.answer(now, client, Answer::Verdict(Verdict { ok: is == Is::So, text }), out);
            }
            Verb::Wait => {
                self.room(now, out)?;
                let wanted = request.state.unwrap_or(Wanted::Ready);
                self.requests.enter(
                    client,
                    Stage::Until { ids, named, wanted },
                    requests::until(now, request),
                );
            }
            Verb::Update => {
                self.reread_by_hand(now, client, request, out)?;
            }
            Verb::Reopen => order(out, Action::Reopen { client: Some(client) }),
            Verb::Shutdown => {
                if request.wait {
                    self.room(now, out)?;
                    self.requests.enter(client, Stage::End, requests::until(now, request));
                } else {
                    self.answer(now, client, Answer::Changed(Vec::new()), out);
                }
                if self.shutdown.is_none() {
                    self.begin_shutdown(now, Reason::Asked, out);
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The files of output were closed and opened.
    #[inline(never)]
    pub(super) fn reopened(
        &mut self,
        now: Time,
        client: Option<Client>,
        files: Vec<(PathBuf, Result<(), String>)>,
        out: &mut Vec<Action>,
    ) {
        tell(out, Notice::Reopened { files: files.len() });
        if let Some(client) = client {
            let changes = files.into_iter().map(|(path, result)| {
                let text = result.as_ref().err().map_or("opened again", String::as_str);
                change(&path.display().to_string(), result.is_ok(), &text)
            });
            self.answer(now, client, Answer::Changed(changes.gather()), out);
        }
    }

    /// The instances that these names mean, in start order, and whether any was named.
    #[inline(never)]
    fn named(&self, names: &[String]) -> Result<(Vec<InstanceId>, bool), Refusal> {
        if names.iter().all(|name| name == "all") {
            return Ok((self.plan.ids().gather(), false));
        }
        let mut ids = Set::new();
        for name in names.iter().filter(|name| *name != "all") {
            let count = ids.len();
            let mut known = self.plan.all();
            let is = |name: &str, instance: &Instance| *instance.name == *name || *instance.service == *name;
            let mut found = false;
            for (id, _) in known.by_ref().filter(|(_, instance)| is(name, instance)) {
                found = true;
                ids.insert(id);
            }
            if !found {
                debug_assert_eq!(count, ids.len());
                // Each service once: there may be thousands of instances.
                let first = self.plan.all().filter(|(_, instance)| instance.number == 1);
                let services: Vec<&str> = first.map(|(_, instance)| &*instance.service).gather();
                let is_number = |number: &str| parse_number::<u32>(number).is_some();
                let one = parted_at_last(name, b'.').filter(|(_, number)| is_number(number));
                let help = did_you_mean(one.map_or(name, |(service, _)| service), &services);
                let help = help.map(|help| format!("; {help}")).unwrap_or_default();
                return Err(refusal(
                    Refused::NoSuchService,
                    &format_args!("there is no service \"{name}\"{help}"),
                ));
            }
        }
        if names.iter().any(|name| name == "all") {
            ids.extend(self.plan.ids());
        }
        // By their ids they would stand as they came, and an update brings new ones that others depend on.
        Ok((self.plan.ids().filter(|id| ids.contains(id)).gather(), true))
    }

    /// One more request may stay open. If need be, the oldest that follows gives way: `docker exec` leaves it reading for nobody when its
    /// own client is gone.
    pub(super) fn room(&mut self, now: Time, out: &mut Vec<Action>) -> Result<(), Refusal> {
        if self.requests.room() {
            return Ok(());
        }
        let Some(oldest) = self.requests.oldest_follower() else {
            return Err(refusal(Refused::Busy, &"too many clients wait already; try again later"));
        };
        let why = refusal(Refused::Busy, &"too many clients follow, so the oldest gives way to a new one");
        self.answer(now, oldest, Answer::Refused(*why), out);
        Ok(())
    }

    /// The last answer.
    pub(super) fn answer(&mut self, now: Time, client: Client, answer: Answer, out: &mut Vec<Action>) {
        order(out, Action::Answer { client, answer: Box::new(answer), last: true });
        self.logs.close(client);
        self.requests.leave(now, client);
    }

    /// `start`, `stop` and `restart`.
    fn change(
        &mut self,
        now: Time,
        client: Client,
        request: &Request,
        what: ByHand,
        (ids, named): (Vec<InstanceId>, bool),
        out: &mut Vec<Action>,
    ) -> Result<bool, Refusal> {
        if self.shutdown.is_some() {
            let text = "the container is being stopped, and nothing else is begun";
            return Err(refusal(Refused::Stopping, &text));
        }
        if request.wait {
            self.room(now, out)?;
        }
        let kind = |id: &InstanceId| self.plan.instance(*id).map(|instance| instance.kind);
        if let (true, Some(id)) = (named, ids.iter().find(|id| kind(id) == Some(Kind::Command))) {
            let text = format!(
                "{} is the command of this container, which ends with it; `tinysup shutdown` stops both",
                self.name(*id)
            );
            return Err(refusal(Refused::State, &text));
        }
        let goes = |id: &InstanceId| what != ByHand::Stop && self.is_going_for_good(*id);
        if let (true, Some(id)) = (named, ids.iter().find(|id| goes(id))) {
            return Err(refusal(
                Refused::State,
                &format_args!("{} is being removed by an update", self.name(*id)),
            ));
        }
        let mut ids: Set<InstanceId> =
            ids.into_iter().filter(|id| kind(id) != Some(Kind::Command) && !goes(id)).collect();
        let deed = match what {
            ByHand::Start => {
                self.dependencies_are_there(&ids)?;
                Deed::Start
            }
            ByHand::Stop => {
                let dependents = self.running_dependents(&ids);
                if let (false, Some(first)) = (request.dependents, dependents.first()) {
                    let who: Vec<_> = dependents.iter().map(|(id, _)| self.name(*id)).gather();
                    let (verb, them) = if who.len() == 1 { ("depends", "it") } else { ("depend", "them") };
                    let text = format!(
                        "{} {verb} on {}: stop {them} first, or all together with --with-dependents",
                        who.listed(),
                        self.name(first.1)
                    );
                    return Err(refusal(Refused::Dependencies, &text));
                }
                ids.extend(dependents.into_iter().map(|(id, _)| id));
                Deed::Stop
            }
            ByHand::Restart => {
                if request.dependents {
                    let dependents = self.running_dependents(&ids).into_iter().map(|(id, _)| id);
                    ids.extend(dependents.filter(|id| !goes(id)));
                }
                self.dependencies_are_there(&ids)?;
                Deed::Restart
            }
        };
        let mut targets: Vec<Target> = ids.iter().map(|id| self.target(now, *id, deed)).gather();
        let mut affected = Vec::new();
        for target in targets.iter().filter(|target| target.result.is_none()) {
            affected.push(self.name(target.id));
            self.wish(target.id, what);
        }
        if !affected.is_empty() {
            tell(out, Notice::ByHand { what, names: affected });
        }
        if request.wait {
            self.requests.enter(client, Stage::Doing(targets), requests::until(now, request));
        } else {
            let text = match what {
                ByHand::Start => "starting",
                ByHand::Stop => "stopping",
                ByHand::Restart => "restarting",
            };
            for target in &mut targets {
                let name = self.name(target.id);
                target.result.get_or_insert_with(|| change(&name, true, &text));
            }
            self.changed(now, client, targets, out);
        }
        Ok(true)
    }

    pub(super) fn changed(&mut self, now: Time, client: Client, targets: Vec<Target>, out: &mut Vec<Action>) {
        let changes = targets.into_iter().filter_map(|target| target.result).gather();
        self.answer(now, client, Answer::Changed(changes), out);
    }

    /// Whether what these depend on runs, is on its way, or is among them.
    fn dependencies_are_there(&self, ids: &Set<InstanceId>) -> Result<(), Refusal> {
        for id in ids.iter() {
            let Some(instance) = self.plan.instance(*id) else { continue };
            let waiting = match self.service(*id).map(Service::state) {
                Some(State::Waiting) => true,
                Some(state) if !ended(state) => continue, // it has found them once
                Some(_) | None => false,
            };
            for dependency in instance.depends_on.iter().filter(|on| !ids.contains(&on.on)) {
                if waiting && matches!(self.dependency(*id, *dependency), Readiness::Ready) {
                    continue;
                }
                let Some(on) = self.service(dependency.on) else { continue };
                let leaving = self.wish_for(dependency.on) == Wish::Down;
                let missing = match (on.state(), dependency.condition) {
                    (State::Down, _) => "down",
                    (State::Failed { .. }, _) => "failed",
                    (State::Completed, Condition::Ready) => "completed",
                    _ if leaving => "being stopped",
                    _ => continue,
                };
                let name = self.name(dependency.on);
                let text = format!(
                    "{} depends on {name}, which is {missing}: start {name} first, or both at once",
                    instance.name
                );
                return Err(refusal(Refused::Dependencies, &text));
            }
        }
        Ok(())
    }

    /// Who runs and depends on one of these, directly or not, and on whom; those among them are left out, and those that are going to be
    /// down, for which a stop of what they need waits by itself.
    fn running_dependents(&self, ids: &Set<InstanceId>) -> Vec<(InstanceId, InstanceId)> {
        let mut found: Map<InstanceId, InstanceId> = Map::new();
        let mut open: Vec<InstanceId> = ids.iter().copied().gather();
        while let Some(on) = open.pop() {
            for id in self.dependents_of(on) {
                let runs = self.service(*id).is_some_and(|service| !service.settled())
                    && self.wish_or_update(*id) != Wish::Down;
                let needs = self.plan.instance(*id).is_some_and(|instance| {
                    let needs = |condition| condition != Condition::Completed;
                    instance.kind != Kind::Command
                        && instance.depends_on.iter().any(|d| d.on == on && needs(d.condition))
                });
                if runs && needs && !ids.contains(id) && !found.contains_key(id) {
                    found.insert(*id, on);
                    open.push(*id);
                }
            }
        }
        found.into_iter().gather()
    }

    /// What is to be done about one instance, or the result where there is nothing to do.
    #[inline(never)]
    fn target(&self, now: Time, id: InstanceId, deed: Deed) -> Target {
        let service = self.service(id);
        let pid = service.and_then(Service::leader);
        let runs = service.map_or(0, Service::runs);
        let mut target = Target { id, deed, runs, pid, since: now, keys: String::new(), result: None };
        let name = self.name(id);
        match (deed, service.map(Service::state)) {
            (Deed::Start, Some(State::Ready(..))) if self.wish_for(id) == Wish::Nothing => {
                let pid = pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
                target.result = Some(change(&name, true, &format_args!("runs already{pid}")));
            }
            // The run that has begun is the one that is waited for; if it was to be stopped, that is called off.
            (Deed::Start, Some(State::Starting(..) | State::Up(..) | State::Ready(..)))
                if self.wish_for(id) != Wish::Again =>
            {
                target.runs = runs.saturating_sub(1);
            }
            (Deed::Stop, Some(state)) if ended(state) => {
                let text = format!("does not run ({})", self.state_word(id));
                target.result = Some(change(&name, true, &text));
            }
            _ => {}
        }
        target
    }

    fn wish(&mut self, id: InstanceId, what: ByHand) {
        let index = id.0 as usize;
        let (Some(wish), Some(service)) = (self.wishes.get_mut(index), self.services.get_mut(index)) else {
            return;
        };
        *wish = match what {
            ByHand::Start => {
                service.start_by_hand();
                // One that is about to be restarted will be started by that.
                if *wish == Wish::Again { Wish::Again } else { Wish::Nothing }
            }
            ByHand::Stop => Wish::Down,
            ByHand::Restart => Wish::Again,
        };
    }

    /// Stops what is wished to be down or to run anew, those first that depend on it and are to go too.
    #[inline(never)]
    pub(super) fn advance_wishes(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.updates.idle() && self.wishes.iter().all(|wish| *wish == Wish::Nothing) {
            return;
        }
        // For each instance, whether it or one that depends on it has to go first: a oneshot in between is long done.
        let mut first_of = vec![false; self.services.len()];
        for id in self.plan.ids().rev() {
            let wish = self.wish_or_update(id);
            let is_first = |on: &InstanceId| first_of.get(on.0 as usize).copied().unwrap_or_default();
            let first = self.dependents.get(id.0 as usize).is_some_and(|list| list.iter().any(is_first));
            let in_use = self.service(id).is_some_and(|service| match service.state() {
                State::Launching { .. }
                | State::Starting(..)
                | State::Up(..)
                | State::Ready(..)
                | State::Stopping { .. } => true,
                // Nothing of these runs that others could need.
                State::Waiting
                | State::Cleaning(_)
                | State::Backoff { .. }
                | State::Down
                | State::Completed
                | State::Failed { .. } => false,
            });
            match wish {
                Wish::Nothing => {}
                Wish::Down | Wish::Again if first && in_use => {}
                Wish::Down => {
                    if !self.at_rest(id) {
                        self.with(now, id, |service, context| service.stop(context, out));
                    }
                }
                Wish::Again => {
                    if let Some(wish) = self.wishes.get_mut(id.0 as usize) {
                        *wish = Wish::Nothing;
                    }
                    self.with(now, id, |service, context| service.restart_by_hand(context, out));
                }
            }
            let leaving = self.service(id).is_some_and(Service::ending);
            let (rests, wanted) = (self.at_rest(id), self.wish_or_update(id) != Wish::Nothing);
            if let Some(place) = first_of.get_mut(id.0 as usize) {
                *place = leaving || (wanted && !rests) || (first && rests);
            }
        }
    }

    fn at_rest(&self, id: InstanceId) -> bool {
        self.service(id).is_none_or(|service| ended(service.state()))
    }

    pub(super) fn wish_for(&self, id: InstanceId) -> Wish {
        self.wishes.get(id.0 as usize).copied().unwrap_or_default()
    }

    /// `signal`.
    #[inline(never)]
    fn send(
        &mut self,
        signal: &str,
        group: bool,
        ids: &[InstanceId],
        out: &mut Vec<Action>,
    ) -> Result<Vec<Change>, Refusal> {
        let signal = Signal::parse(signal).map_err(|text| refusal(Refused::Request, &text))?;
        let (mut changes, mut killed) = (Vec::new(), Vec::new());
        for id in ids {
            // One that is being stopped, too: it may hang in that.
            let there =
                |service: &&Service| service.running() || matches!(service.state(), State::Stopping { .. });
            let leader = self.service(*id).filter(there).and_then(Service::leader);
            let (ok, text) = match leader {
                Some(leader) if group => {
                    order(out, Action::SignalGroup { leader, signal });
                    killed.extend((signal == Signal::KILL).then_some(*id));
                    (true, format!("{signal} to its process group {leader}"))
                }
                Some(pid) => {
                    order(out, Action::Signal { pid, signal });
                    killed.extend((signal == Signal::KILL).then_some(*id));
                    (true, format!("{signal} to pid {pid}"))
                }
                None => (false, format!("does not run ({})", self.state_word(*id))),
            };
            changes.push(change(&self.name(*id), ok, &text));
        }
        for id in killed {
            if let Some(service) = self.services.get_mut(id.0 as usize) {
                service.kill_sent();
            }
        }
        Ok(changes)
    }

    /// What has become of it, when it is known.
    pub(super) fn outcome(&self, now: Time, target: &Target) -> Option<Change> {
        let (service, instance) = (self.service(target.id)?, self.plan.instance(target.id)?);
        let result = |ok, text: &dyn Display| Some(change(&instance.name, ok, text));
        let took = show_duration(now.since(target.since));
        if target.deed != Deed::Stop && self.shutdown.is_some() {
            return result(false, &"not done: the container is being stopped");
        }
        match self.outcome_of_update(now, target, service, instance) {
            Outcome::Known(change) => return Some(change),
            Outcome::Open => return None,
            Outcome::Usual => {}
        }
        if target.deed == Deed::Stop {
            let last = service.history().last().filter(|last| last.over >= target.since);
            return match service.state() {
                State::Down | State::Completed | State::Failed { .. } => {
                    let killed = last.is_some_and(|last| last.killed);
                    result(
                        true,
                        &format_args!("stopped after {took}{}", if killed { ", by SIGKILL" } else { "" }),
                    )
                }
                _ if self.wish_for(target.id) != Wish::Down && self.shutdown.is_none() => {
                    result(false, &"not stopped: somebody has asked to start it")
                }
                _ => None,
            };
        }
        if self.wish_for(target.id) == Wish::Down {
            return result(false, &"not done: somebody has asked to stop it");
        }
        if service.runs() <= target.runs {
            if matches!(service.state(), State::Down) && self.wish_for(target.id) == Wish::Nothing {
                return result(false, &"not done: an update has set autostart = false before it was started");
            }
            let lacks = self.lacks(target.id).filter(|_| self.wish_for(target.id) == Wish::Nothing);
            return lacks.and_then(|lacks| result(false, &format_args!("cannot start: {lacks}")));
        }
        let verb = match (target.deed, target.pid, service.leader()) {
            (Deed::Restart | Deed::Renew, Some(before), Some(pid)) => {
                format!("restarted: pid {before} -> {pid}, ")
            }
            (Deed::Restart | Deed::Renew, Some(_), None) => "restarted: ".to_owned(),
            (Deed::Add, _, Some(pid)) => format!("added: pid {pid}, "),
            (Deed::Add, _, None) => "added: ".to_owned(),
            (_, _, Some(pid)) => format!("started: pid {pid}, "),
            (_, _, None) => "started: ".to_owned(),
        };
        match service.state() {
            State::Ready(..) => {
                let after = show_duration(service.since().map(|since| now.since(since)).unwrap_or_default());
                let word = if instance.ready.is_some() { "ready" } else { "up" };
                result(true, &format_args!("{verb}{word} after {after}"))
            }
            State::Completed => result(true, &format_args!("{verb}completed after {took}")),
            // Somebody has restarted it meanwhile: that is the run to wait for now, and no failure of the one before.
            State::Backoff { .. } if service.history().last().is_some_and(|last| last.asked) => None,
            State::Backoff { .. } | State::Failed { .. } | State::Down => {
                result(false, &format_args!("failed: {}", self.condition(now, target.id)))
            }
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Stopping { .. }
            | State::Cleaning(_) => None,
        }
    }

    /// Does what is due by now about clients.
    #[inline(never)]
    pub(super) fn tick_requests(&mut self, now: Time, out: &mut Vec<Action>) {
        for (client, overdue) in self.requests.overdue(now) {
            match overdue {
                Overdue::Drop => {
                    order(out, Action::Disconnect { client });
                    self.left(client);
                }
                Overdue::Tell => self.conclude(now, client, None, out),
            }
        }
    }

    /// A client is gone.
    pub(super) fn left(&mut self, client: Client) {
        self.requests.left(client);
        self.logs.close(client);
    }

    /// After every step: what has happened goes into the journal, and to those who wait for it.
    pub(super) fn pass_on(&mut self, now: Time, from: usize, out: &mut Vec<Action>) {
        if self.plan.mode != Mode::Services {
            return;
        }
        let mut last = None;
        for (at, action) in out.iter().enumerate().skip(from) {
            match action {
                Action::Tell(notice) => self.record(now, notice),
                // Clients inside the container are asked to end with everybody else, and then hear nothing any more.
                Action::Exit(_) | Action::SweepStrays { signal: Some(_) } => last = Some(at),
                _ => {}
            }
        }
        if self.requests.is_empty() {
            return;
        }
        let Some(at) = last else {
            for client in self.requests.clients() {
                self.serve(now, client, out);
            }
            return;
        };
        let code = self.exit_code_now();
        let mut rest = out.split_off(at);
        for client in self.requests.clients() {
            self.conclude(now, client, code, out);
        }
        out.append(&mut rest);
    }

    #[inline(never)]
    fn record(&mut self, now: Time, notice: &Notice) {
        self.journal.add(now, notice);
        if let Notice::Ended { name, .. }
        | Notice::DependencyFailed { name, .. }
        | Notice::OomKilled { name: Some(name), .. } = notice
            && let Some(id) = self.ever(name)
        {
            let text = notice.to_string();
            let text = text.strip_prefix(&**name).and_then(|text| text.strip_prefix(": ")).unwrap_or(&text);
            self.logs.mark(now, id, text);
        }
    }

    /// Who had this name: an update that has waited for its end may have taken it out since, or given it another one.
    fn ever(&self, name: &str) -> Option<InstanceId> {
        let (service, number) = name.split_once('.').unwrap_or((name, "1"));
        let is = |one: &Instance| *one.service == *service && number.parse() == Ok(one.number);
        (0..).map(InstanceId).zip(&self.plan.instances).find(|(_, one)| is(one)).map(|(id, _)| id)
    }

    /// Gives a client what there is for it.
    fn serve(&mut self, now: Time, client: Client, out: &mut Vec<Action>) {
        match self.requests.stage(client) {
            Some(Stage::Doing(_)) => {
                let mut targets = self.requests.take_targets(client);
                let mut done = true;
                for target in targets.iter_mut().filter(|target| target.result.is_none()) {
                    target.result = self.outcome(now, target);
                    done &= target.result.is_some();
                }
                if done {
                    self.changed(now, client, targets, out);
                } else if let Some(Stage::Doing(known)) = self.requests.stage_mut(client) {
                    *known = targets;
                }
            }
            Some(Stage::Until { ids, named, wanted }) => {
                let Judgement { is, text } = self.judge(now, ids, *named, *wanted);
                if is != Is::NotYet {
                    self.answer(now, client, Answer::Verdict(Verdict { ok: is == Is::So, text }), out);
                }
            }
            Some(Stage::Logs(reading)) if !reading.busy => {
                let follow = reading.follow;
                let (lines, more) = self.logs.read(client);
                self.send_lines(now, client, lines, out);
                if !more && !follow {
                    self.end_reading(now, client, out);
                }
            }
            Some(Stage::Events { reading, seen }) if !reading.busy => {
                let (follow, seen) = (reading.follow, *seen);
                self.send_events(now, client, seen, EVENTS_PER_TURN, out);
                if let Some(Stage::Events { seen, .. }) = self.requests.stage(client)
                    && !follow
                    && *seen >= self.journal.newest()
                {
                    self.end_reading(now, client, out);
                }
            }
            Some(
                Stage::Silent
                | Stage::Measuring(_)
                | Stage::Rereading
                | Stage::End
                | Stage::Logs(_)
                | Stage::Events { .. }
                | Stage::Leaving,
            )
            | None => {}
        }
    }

    /// The last answer to whoever waits, however things are: its time is over, or the container ends with this code.
    fn conclude(&mut self, now: Time, client: Client, code: Option<u8>, out: &mut Vec<Action>) {
        if code.is_some() {
            self.send_rest(now, client, out);
        }
        self.serve(now, client, out);
        match self.requests.stage(client) {
            Some(Stage::Doing(_)) => {
                let mut targets = self.requests.take_targets(client);
                for target in &mut targets {
                    if target.result.is_none() {
                        let text = match code {
                            Some(_) => "not done: the container ends".to_owned(),
                            None => format!(
                                "not done after {}: {}",
                                show_duration(now.since(target.since)),
                                self.condition(now, target.id)
                            ),
                        };
                        target.result = Some(change(&self.name(target.id), false, &text));
                    }
                }
                self.changed(now, client, targets, out);
            }
            Some(Stage::Until { ids, named, wanted }) => {
                let text = self.judge(now, ids, *named, *wanted).text;
                self.answer(now, client, Answer::Verdict(Verdict { ok: false, text }), out);
            }
            Some(Stage::End) => {
                let change = match code {
                    Some(code) => change("", true, &format_args!("stopped; exit code {code}")),
                    None => change("", false, &format_args!("still stopping: {}", self.alive().listed())),
                };
                self.answer(now, client, Answer::Changed(vec![change]), out);
            }
            Some(Stage::Logs(_) | Stage::Events { .. }) => self.end_reading(now, client, out),
            Some(Stage::Silent | Stage::Measuring(_) | Stage::Rereading | Stage::Leaving) | None => {}
        }
    }

    /// All that a reader can still get, also one that has not taken the last: there is no later.
    #[inline(never)]
    fn send_rest(&mut self, now: Time, client: Client, out: &mut Vec<Action>) {
        self.requests.taken(client);
        match self.requests.stage(client) {
            Some(Stage::Logs(_)) => {
                let lines = self.logs.read_last(client);
                self.send_lines(now, client, lines, out);
            }
            Some(Stage::Events { seen, .. }) => self.send_events(now, client, *seen, usize::MAX, out),
            Some(
                Stage::Silent
                | Stage::Measuring(_)
                | Stage::Rereading
                | Stage::Doing(_)
                | Stage::Until { .. }
                | Stage::End
                | Stage::Leaving,
            )
            | None => {}
        }
    }

    fn end_reading(&mut self, now: Time, client: Client, out: &mut Vec<Action>) {
        let unread: Vec<Line> = self
            .logs
            .unread(client)
            .into_iter()
            .map(|(instance, lost)| Line { instance, origin: Origin::Mark, at: now, text: Vec::new(), lost })
            .gather();
        self.send_lines(now, client, unread, out);
        self.answer(now, client, Answer::End, out);
    }

    /// Whose output passes us by: of them there may be nothing to read, for ever.
    #[inline(never)]
    fn send_what_is_not_kept(
        &mut self,
        now: Time,
        client: Client,
        wish: &ReadingWish,
        out: &mut Vec<Action>,
    ) {
        let mut lines = Vec::new();
        for (id, instance) in wish.instances.iter().filter_map(|id| Some((*id, self.plan.instance(*id)?))) {
            let streams = [
                ("stdout", Sink::Stdout, &instance.launch.stdout),
                ("stderr", Sink::Stderr, &instance.launch.stderr),
            ];
            let wanted =
                streams.iter().filter(|(_, sink, _)| wish.stream.is_none_or(|stream| stream == *sink));
            let past =
                |(key, _, output): &(&str, _, &Output)| Some(format!("{key} = \"{}\"", output.past_us()?));
            let past = wanted.filter_map(past).gather();
            if !past.is_empty() {
                let text = format!("not kept here: {}", past.listed()).into_bytes();
                lines.push(Line { instance: id, origin: Origin::Mark, at: now, text, lost: 0 });
            }
        }
        self.send_lines(now, client, lines, out);
    }

    fn send_lines(&mut self, now: Time, client: Client, lines: Vec<Line>, out: &mut Vec<Action>) {
        if !lines.is_empty() {
            self.requests.sent(now, client);
        }
        for line in lines {
            let answer = Answer::Log(LogLine {
                name: self.name(line.instance).to_string(),
                stream: match line.origin {
                    Origin::Output(Sink::Stdout) => Some(control::Stream::Stdout),
                    Origin::Output(Sink::Stderr) => Some(control::Stream::Stderr),
                    Origin::Mark => None,
                },
                ago_ms: millis(now.since(line.at)),
                text: String::from_utf8_lossy(&line.text).into_owned(),
                dropped: line.lost,
            });
            order(out, Action::Answer { client, answer: Box::new(answer), last: false });
        }
    }

    #[inline(never)]
    fn send_events(&mut self, now: Time, client: Client, after: u64, most: usize, out: &mut Vec<Action>) {
        let mut last = after;
        for (seq, entry) in self.journal.after(after).take(most) {
            last = seq;
            let answer = Answer::Event(EventLine {
                seq,
                ago_ms: millis(now.since(entry.at)),
                kind: entry.kind.to_owned(),
                name: entry.name.as_ref().map(ToString::to_string),
                level: entry.level.as_str().to_ascii_lowercase(),
                text: entry.text.clone(),
            });
            order(out, Action::Answer { client, answer: Box::new(answer), last: false });
        }
        if last > after {
            self.requests.sent(now, client);
        }
        if let Some(Stage::Events { seen, .. }) = self.requests.stage_mut(client) {
            *seen = last;
        }
    }
}

/// Whether nothing of it runs and nothing is on its way.
fn ended(state: &State) -> bool {
    match state {
        State::Down | State::Completed | State::Failed { .. } => true,
        State::Waiting
        | State::Launching { .. }
        | State::Starting(..)
        | State::Up(..)
        | State::Ready(..)
        | State::Stopping { .. }
        | State::Cleaning(_)
        | State::Backoff { .. } => false,
    }
}

#[inline(never)]
pub(super) fn change(name: &str, ok: bool, text: &dyn Display) -> Change {
    Change { name: name.to_owned(), text: text.to_string(), ok }
}

/// Whole milliseconds.
#[inline(never)]
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
