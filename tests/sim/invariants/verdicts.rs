//! What `health` and `wait` say: whether it is so, in the very step in which it is, and no later than their time is over. By
//! docs/control.md alone.

use tinysup::control::{Request, VERSION, Verb, Verdict, Wanted};
use tinysup::event::Client;

use super::*;

/// What a client wants to know.
#[derive(Debug)]
pub(super) struct Question {
    ids: Vec<InstanceId>,
    /// Names were given, other than "all".
    named: bool,
    wanted: Wanted,
    /// An answer is due at once.
    at_once: bool,
    until: Option<Time>,
}

/// How far it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    So,
    NotYet,
    /// And will not be, unless a person does something.
    Never,
}

impl Judge {
    /// Whom a request is about, in start order: a service, an instance of it, or all.
    pub(super) fn meant(&self, request: &Request) -> Vec<InstanceId> {
        let is = |id: &InstanceId, one: &String| {
            let Instance { name, service, .. } = self.plan_of(*id);
            one == "all" || **name == **one || **service == **one
        };
        let names = &request.names;
        // Where one is unknown, nothing is done.
        if names.iter().any(|one| one != "all" && !self.plan.ids().any(|id| is(&id, one))) {
            return Vec::new();
        }
        let meant = |id: &InstanceId| names.is_empty() || names.iter().any(|one| is(id, one));
        self.plan.ids().filter(meant).collect()
    }

    /// A client has asked.
    pub(super) fn wants_to_know(&mut self, client: Client, request: &Request) {
        let named = !request.names.iter().all(|name| name == "all");
        let ids = self.meant(request);
        if request.v != VERSION {
            return;
        }
        match request.verb {
            Verb::Health | Verb::Wait => {
                let until = request.timeout_ms.map(|millis| self.now() + Duration::from_millis(millis));
                let at_once = request.verb == Verb::Health;
                let wanted = request.state.unwrap();
                self.questions.insert(client, Question { ids, named, wanted, at_once, until });
            }
            Verb::Status | Verb::Describe | Verb::Memory => drop(self.looks.insert(client, ids)),
            Verb::Logs | Verb::Events => self.begins_to_read(client, request, &ids),
            Verb::Shutdown if request.wait => {
                let until = request.timeout_ms.map(|millis| self.now() + Duration::from_millis(millis));
                self.enders.insert(client, until);
            }
            _ => {}
        }
    }

    /// The container is being stopped. That all is done is not announced before the end.
    fn ends(&self) -> bool {
        self.stop.is_some() || self.begun && self.all_done()
    }

    /// Nothing of it is there and nothing is due, because of its end or because somebody wanted that.
    pub(super) fn is_down(&self, id: InstanceId) -> bool {
        let life = &self.lives[id.0 as usize];
        let over = life.completed || life.failed || life.cannot_start;
        !life.active() && !over && (life.wishes.down || self.ends())
    }

    /// How it is, and with whom it is not so.
    fn is_so(&self, question: &Question) -> (Is, Vec<InstanceId>, usize) {
        let Question { ids, named, wanted, .. } = question;
        let (mut bad, mut hopeless, mut counted) = (Vec::new(), Vec::new(), 0);
        let ends = self.ends();
        for id in ids {
            let (life, instance) = (&self.lives[id.0 as usize], self.plan_of(*id));
            let gone = life.wishes.retired;
            let aside =
                gone || instance.on_failure == OnFailure::Ignore || !instance.autostart && self.is_down(*id);
            if !named && *wanted != Wanted::Stopped && aside {
                continue;
            }
            counted += 1;
            let failed = life.failed || life.cannot_start;
            let sick =
                life.active() && life.ended.is_none() && matches!(life.leaving, Some(Leaving::Failed(..)));
            let so = |so: bool| if so { Is::So } else { Is::NotYet };
            let is = match wanted {
                Wanted::Stopped => so(self.is_down(*id) || !life.active() && (failed || life.completed)),
                _ if gone => Is::Never,
                Wanted::Live => so(!failed && !sick),
                Wanted::Ready | Wanted::Completed if failed => Is::Never,
                Wanted::Completed => so(life.completed),
                // A daemon that is done is not there for who asks for it.
                Wanted::Ready if life.completed && *named && instance.kind != Kind::Oneshot => Is::Never,
                Wanted::Ready => so(life.completed || life.ready() && !ends),
            };
            bad.extend((is == Is::NotYet).then_some(*id));
            hopeless.extend((is == Is::Never).then_some(*id));
        }
        // Only what is done stays so.
        let lacks = !bad.is_empty() || !hopeless.is_empty() || counted == 0;
        let too_late = ends && lacks && matches!(wanted, Wanted::Ready | Wanted::Completed);
        match () {
            () if too_late => (Is::Never, Vec::new(), counted),
            () if !hopeless.is_empty() => (Is::Never, hopeless, counted),
            () if !bad.is_empty() => (Is::NotYet, bad, counted),
            () => (Is::So, bad, counted),
        }
    }

    pub(super) fn verdict(&mut self, world: &mut World, client: Client, verdict: &Verdict) {
        let Some(question) = self.questions.remove(&client) else {
            violation!("{client:?} is told {verdict:?}, and has asked nothing");
        };
        let (is, whom, counted) = self.is_so(&question);
        let in_time = question.until.is_some_and(|until| self.step.tick && self.now() >= until);
        if is == Is::NotYet && !question.at_once && !in_time {
            self.step.dismissed = Some(client);
        }
        let state = match question.wanted {
            Wanted::Live => "alive",
            Wanted::Ready => "ready",
            Wanted::Completed => "completed",
            Wanted::Stopped => "stopped",
        };
        let name = |id: &InstanceId| self.plan_of(*id).name.clone();
        let begins: Vec<String> = match is {
            Is::So if counted == 0 => vec!["nothing counts".to_owned()],
            Is::So if counted == 1 => {
                question.ids.iter().map(|id| format!("{} is {state}", name(id))).collect()
            }
            Is::So => vec![format!("all {counted} are {state}")],
            Is::Never if whom.is_empty() => vec!["the container is being stopped".to_owned()],
            Is::NotYet | Is::Never => {
                whom.iter().map(|id| format!("{} is not {state}: ", name(id))).collect()
            }
        };
        if verdict.ok != (is == Is::So) || !begins.iter().any(|begin| verdict.text.starts_with(begin)) {
            violation!("{client:?} is told {verdict:?} to {question:?}; it is {is:?}: {begins:?}");
        }
        world.count(match is {
            Is::So if question.at_once => "health that is good",
            Is::NotYet | Is::Never if question.at_once => "health that is not good",
            Is::So => "wait that came true",
            Is::NotYet => "wait that was in vain",
            Is::Never => "wait that cannot come true",
        });
    }

    /// Nobody waits for what is known, nor longer than he wants to.
    pub(super) fn check_questions(&self) {
        let now = self.now();
        if let Some(client) = self.step.dismissed.filter(|_| !self.step.is_end) {
            violation!("{client:?} is told that it is not so, and his time is not over");
        }
        // What somebody wants before anything has begun is done when it has.
        for (client, question) in self.questions.iter().filter(|_| self.begun) {
            let (is, ..) = self.is_so(question);
            let late = self.step.tick && question.until.is_some_and(|until| now >= until);
            if is != Is::NotYet || late || question.at_once || self.step.is_end {
                violation!("{client:?} has no answer to {question:?}, and it is {is:?} at {now:?}");
            }
        }
    }
}
