//! What cannot be done, and why: a refusal for each of these reasons, by docs/control.md and docs/states.md alone, and none without
//! one. Where there are several, any of them may be told.

use tinysup::control::{Refusal, Refused, Request, VERSION, Verb};
use tinysup::event::Client;
use tinysup::plan::Dependency;

use super::runs::Chance;
use super::wishes::Coming;
use super::*;

/// So many may wait or follow.
const OPEN_MAX: usize = 24;

/// Why a request is to be refused.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    /// Each of these is one; if there is any, it is refused.
    sure: Vec<Refused>,
    /// These may be told, too: it is not said which of two things that are so counts.
    perhaps: Vec<Refused>,
    /// Who is in the way: all of them are named,
    in_the_way: Vec<Rc<str>>,
    /// or one of these, who are not there.
    not_there: Vec<Rc<str>>,
    /// Who follows and has to go, as there are too many. The world counts how many there are.
    gives_way: Option<Client>,
}

impl Judge {
    /// Why a request cannot be done.
    pub(super) fn reasons_against(&self, request: &Request) -> Reasons {
        let mut reasons = Reasons::default();
        if request.v != VERSION {
            reasons.sure.push(Refused::Version);
            return reasons;
        }
        let names = match request.verb {
            Verb::Events | Verb::Update | Verb::Reopen | Verb::Shutdown => &[][..],
            _ => &request.names,
        };
        let ids = self.meant(request);
        if ids.is_empty() && names.iter().any(|name| name != "all") {
            reasons.sure.push(Refused::NoSuchService);
            return reasons;
        }
        let changes = matches!(request.verb, Verb::Start | Verb::Stop | Verb::Restart | Verb::Update);
        if changes && self.stop.is_some() {
            reasons.sure.push(Refused::Stopping);
        }
        let stays = match request.verb {
            Verb::Logs | Verb::Events | Verb::Wait => true,
            Verb::Shutdown => request.wait,
            _ => changes && request.wait,
        };
        if stays && self.open_requests() >= OPEN_MAX {
            reasons.gives_way = self.library.oldest_follower();
            if reasons.gives_way.is_none() {
                reasons.sure.push(Refused::Busy);
            }
        }
        match request.verb {
            Verb::Signal if Signal::parse(&request.signal).is_err() => reasons.sure.push(Refused::Request),
            Verb::Start | Verb::Stop | Verb::Restart => self.add_reasons(request, &ids, &mut reasons),
            _ => {}
        }
        reasons
    }

    fn add_reasons(&self, request: &Request, ids: &[InstanceId], reasons: &mut Reasons) {
        let named = request.names.iter().any(|name| name != "all");
        let all = request.names.iter().any(|name| name == "all");
        let command = |id: &InstanceId| self.plan_of(*id).kind == Kind::Command;
        // What goes for good does not come back.
        let goes =
            |id: &InstanceId| request.verb != Verb::Stop && matches!(self.coming.get(id), Some(Coming::Gone));
        if named && ids.iter().any(|id| command(id) || goes(id)) {
            // It may not be among those that were named besides all.
            if all { &mut reasons.perhaps } else { &mut reasons.sure }.push(Refused::State);
        }
        let mut ids: Vec<InstanceId> = ids.iter().copied().filter(|id| !command(id) && !goes(id)).collect();
        if request.verb != Verb::Start && request.dependents {
            while let Some(more) = self.who_needs(&ids).into_iter().find(|id| !goes(id)) {
                ids.push(more);
            }
        }
        if request.verb == Verb::Stop {
            let needed = self.who_needs(&ids).into_iter().map(|id| self.plan_of(id).name.clone());
            reasons.in_the_way.extend(needed);
            if !reasons.in_the_way.is_empty() {
                reasons.sure.push(Refused::Dependencies);
            }
            return;
        }
        for id in &ids {
            let state = self.state(*id).0;
            let waits = state == "waiting";
            if !waits && !matches!(state, "down" | "completed" | "failed") {
                continue;
            }
            for on in &self.plan_of(*id).depends_on {
                // With it, it starts.
                let with = ids.contains(&on.on);
                if with || waits && matches!(self.chance_by(*id, *on), Chance::Now) {
                    continue;
                }
                let life = &self.lives[on.on.0 as usize];
                let lacks = match self.state(on.on).0 {
                    "down" | "failed" => true,
                    "completed" => on.condition == Condition::Ready,
                    _ => life.wishes.held,
                };
                if lacks {
                    reasons.sure.push(Refused::Dependencies);
                    reasons.not_there.push(self.plan_of(on.on).name.clone());
                }
            }
        }
    }

    /// Others that need one of these, run, be it that they are just between two runs, and are not about to go.
    fn who_needs(&self, ids: &[InstanceId]) -> Vec<InstanceId> {
        let needs = |(id, instance): &(InstanceId, &Instance)| {
            let life = &self.lives[id.0 as usize];
            let goes = life.wishes.held || matches!(self.coming.get(id), Some(Coming::Gone));
            let on = |on: &Dependency| ids.contains(&on.on) && on.condition != Condition::Completed;
            let needs = instance.kind != Kind::Command && instance.depends_on.iter().any(on);
            needs && !ids.contains(id) && (life.active() || self.state(*id).0 == "backoff") && !goes
        };
        self.plan.all().filter(needs).map(|(id, _)| id).collect()
    }

    /// Whose requests are open: who waits for something, or reads.
    fn open_requests(&self) -> usize {
        self.waiting.len() + self.questions.len() + self.enders.len() + self.library.count_readers()
    }

    pub(super) fn refused(&mut self, world: &mut World, client: Client, refusal: &Refusal) {
        if self.step.reasons.gives_way.take_if(|follower| *follower == client).is_some() {
            if refusal.why != Refused::Busy {
                violation!("{client:?} has to give way, and is told {refusal:?}");
            }
            world.count("follower that gives way");
            return self.client_is_gone(client);
        }
        let reasons = std::mem::take(&mut self.step.reasons);
        let right = reasons.sure.contains(&refusal.why)
            || reasons.perhaps.contains(&refusal.why)
            // Of a configuration that was to be read it is known later, and it may be too late then.
            || self.step.reread && matches!(refusal.why, Refused::Configuration | Refused::Stopping);
        let says = |name: &Rc<str>| refusal.text.contains(&**name);
        let named = match refusal.why {
            Refused::Dependencies if reasons.in_the_way.is_empty() => reasons.not_there.iter().any(says),
            Refused::Dependencies => reasons.in_the_way.iter().all(says),
            _ => !refusal.text.is_empty(),
        };
        if !right || !self.step.sent.is_empty() || !named {
            violation!("{refusal:?} to {:?}, {reasons:?}, sent {:?}", self.step.request, self.step.sent);
        }
        world.count(match refusal.why {
            Refused::Request => "refused as a request",
            Refused::Version => "refused for its version",
            Refused::NoSuchService => "refused for a name",
            Refused::Forbidden => violation!("nobody is forbidden to ask here"),
            Refused::Stopping => "refused while the container stops",
            Refused::Dependencies => "refused for dependencies",
            Refused::State => "refused for a state",
            Refused::Configuration => "refused for the configuration",
            Refused::Busy => "refused as there are many",
        });
        self.client_is_gone(client);
    }

    /// What cannot be done is refused at once.
    pub(super) fn check_refused(&self) {
        if !self.step.reasons.sure.is_empty() {
            violation!("{:?} is not refused: {:?}", self.step.request, self.step.reasons);
        }
    }
}

impl Reasons {
    /// It could not even be read.
    pub(super) fn not_read() -> Self {
        Self { sure: vec![Refused::Request], ..Self::default() }
    }
}
