//! What clients are told of what they asked for: no failure that was none, no success that is not there, and nobody waits for what
//! is known.

use tinysup::control::{Answer, Change};
use tinysup::event::Client;
use tinysup::notice::{ByHand, Updating};

use super::wishes::Coming;
use super::*;

/// What a client waits for.
pub(super) type Waits = Vec<Target>;

/// What it wants of one instance.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what was seen so far; the states are the core's")]
pub(super) struct Target {
    id: InstanceId,
    wants: Wants,
    /// The last run that is not the one that is waited for.
    run: u32,
    /// A later one failed by itself, or it cannot be started,
    failed: bool,
    /// and does not just wait for another one since then, or because somebody had it restarted.
    surely: bool,
    /// A later one was there.
    there: bool,
    /// It was to be down meanwhile, or is not to be any more.
    called_off: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Down,
    Anew,
    /// Anew, as an update defines it.
    Renewed,
    /// As an update defines it, or no more.
    Defined,
}

impl Judge {
    /// What the client of this step, if it waits, has asked for.
    pub(super) fn waits_by_hand(&mut self, what: ByHand, names: &[Rc<str>]) {
        let stays = self.step.request.as_ref().is_some_and(|request| request.wait);
        let Some(client) = self.client.filter(|_| stays) else { return };
        let wants = if what == ByHand::Stop { Wants::Down } else { Wants::Anew };
        let targets = names.iter().map(|name| self.waits_for(name, wants));
        let mut targets: Waits = targets.collect();
        for target in &mut targets {
            let life = &self.lives[target.id.0 as usize];
            let goes_on = life.active() && life.ended.is_none() && !life.is_leaving() && !life.wishes.again;
            // The run that has begun will do.
            target.run -= u32::from(what == ByHand::Start && goes_on && life.pid.is_some());
        }
        self.waiting.insert(client, targets);
    }

    /// The same of who has asked for this update.
    pub(super) fn waits_for_update(&mut self, told: &Updating) {
        let Some(client) = self.client.filter(|_| self.waits_for_updates) else { return };
        let anew = told.adds.iter().chain(told.renews.iter().map(|(name, _)| name));
        let rest = told.removes.iter().chain(told.adjusts.iter().map(|(name, _)| name));
        let targets = anew.map(|name| self.waits_for(name, Wants::Renewed));
        let mut targets: Waits =
            targets.chain(rest.map(|name| self.waits_for(name, Wants::Defined))).collect();
        // Also for those that an earlier one takes out, of which this one says no more.
        let goes = |id: &InstanceId| matches!(self.coming.get(id), Some(Coming::Gone));
        targets.extend(
            self.plan.ids().filter(goes).map(|id| self.waits_for(&self.plan_of(id).name, Wants::Defined)),
        );
        self.waiting.insert(client, targets);
    }

    fn waits_for(&self, name: &str, wants: Wants) -> Target {
        // An update may give it another name when its run is over.
        let coming = |id: &InstanceId| match self.coming.get(id) {
            Some(Coming::Anew(new) | Coming::Adjusted(new)) => *new.name == *name,
            Some(Coming::Gone) | None => false,
        };
        let mut all = (0..).map(InstanceId).zip(&self.plan.instances);
        // One that is gone already is in no order any more.
        let known = self.plan.ids().find(|id| coming(id) || *self.plan_of(*id).name == *name);
        let known = known.or_else(|| all.find(|(_, one)| *one.name == *name).map(|(id, _)| id));
        let Some(id) = known else { violation!("{name} is not in the plan") };
        let run = self.lives[id.0 as usize].run;
        Target { id, wants, run, failed: false, surely: false, there: false, called_off: false }
    }

    /// A run is over, or there will be none: that is a failure unless somebody wanted it.
    pub(super) fn fails_for_who_waits(&mut self, id: InstanceId) {
        let life = &self.lives[id.0 as usize];
        let own = !matches!(life.leaving, Some(Leaving::With(_) | Leaving::Wish));
        for target in self.waiting.values_mut().flatten().filter(|target| target.id == id) {
            target.failed |= life.cannot_start || own && life.run > target.run;
        }
    }

    /// What has come about since the last look.
    pub(super) fn look_for_who_waits(&mut self) {
        for target in self.waiting.values_mut().flatten() {
            let (life, instance) =
                (&self.lives[target.id.0 as usize], &self.plan.instances[target.id.0 as usize]);
            target.there |= life.run > target.run && (life.completed || arrived(life, instance));
            let restarts = matches!(life.decided, Some((_, Next::Restart { .. })));
            let stays = life.failed || life.cannot_start || restarts && life.restart_due().is_some();
            target.surely |= target.failed && !life.active() && stays;
            target.called_off |= match target.wants {
                Wants::Down => !life.wishes.held,
                Wants::Anew => life.wishes.held,
                Wants::Renewed => life.wishes.held && !self.coming.contains_key(&target.id),
                Wants::Defined => false,
            };
        }
    }

    pub(super) fn answer(&mut self, world: &mut World, client: Client, answer: &Answer) {
        match answer {
            Answer::Changed(changes) if self.enders.contains_key(&client) => {
                self.tells_of_the_end(world, client, changes);
            }
            Answer::Changed(changes) if !self.step.files.is_empty() => {
                if *changes != self.step.files {
                    violation!("{client:?} is told {changes:?}, and it is {:?}", self.step.files);
                }
            }
            Answer::Changed(changes) => self.tells_who_waits(world, client, changes),
            Answer::Verdict(verdict) => self.verdict(world, client, verdict),
            Answer::Status(status) => self.status(world, client, status),
            Answer::Describe(descriptions) => self.descriptions(world, client, descriptions),
            Answer::Refused(refusal) => self.refused(world, client, refusal),
            Answer::Log(line) => self.is_sent_line(client, line),
            Answer::Event(line) => self.is_sent_event(client, line),
            Answer::End => self.is_sent_end(client),
            Answer::Memory(memory) => self.memory_answer(world, client, memory),
        }
    }

    /// Who waits for the end is told with which code it comes, or, when his time is over, that it does not yet.
    fn tells_of_the_end(&mut self, world: &mut World, client: Client, changes: &[Change]) {
        let until = self.enders.remove(&client).flatten();
        let [Change { name, text, ok }] = changes else {
            violation!("{client:?} waits for the end, and is told {changes:?}");
        };
        let code = text.strip_prefix("stopped; exit code ").and_then(|code| code.parse::<u8>().ok());
        let late = self.step.tick && until.is_some_and(|until| self.now() >= until);
        let right = *ok || late && text.starts_with("still stopping");
        if !name.is_empty() || *ok != code.is_some() || !right {
            violation!("{client:?} waits for the end until {until:?}, and is told {changes:?}");
        }
        self.promised = self.promised.or(code);
        world.count(if *ok { "end that a client has waited for" } else { "end that a client did not see" });
    }

    fn tells_who_waits(&mut self, world: &mut World, client: Client, changes: &[Change]) {
        self.look_for_who_waits();
        let Some(targets) = self.waiting.remove(&client) else { return };
        for Change { name, text, ok } in changes {
            let known = |target: &&Target| *self.plan_of(target.id).name == **name;
            let Some(target) = targets.iter().find(known) else { continue };
            let life = &self.lives[target.id.0 as usize];
            let failed = text.starts_with("failed: ") || text.starts_with("cannot start: ");
            let there = ["started: ", "restarted: ", "added: "].iter().any(|word| text.starts_with(word));
            if failed && !target.failed {
                violation!("{client:?} is told \"{name} {text}\", but {target:?}: {life:?}");
            }
            if there && !target.there || *ok != (there || !failed && !text.starts_with("not ")) {
                violation!("{client:?} is told {ok} \"{name} {text}\", but {target:?}: {life:?}");
            }
            if failed {
                world.count("change that failed");
            }
            if there && life.run > target.run + 1 && !target.failed {
                world.count("change that another one overtook");
            }
        }
    }

    /// Nobody waits for what is known.
    pub(super) fn check_who_waits(&self) {
        for (client, targets) in &self.waiting {
            if targets.iter().all(|target| self.is_known(target)) {
                violation!("{client:?} waits for nothing: {targets:?}, {:?}", self.lives);
            }
        }
    }

    /// What has become of it: nothing follows by itself.
    fn is_known(&self, target: &Target) -> bool {
        let (life, instance) = (&self.lives[target.id.0 as usize], self.plan_of(target.id));
        let over = life.completed || life.failed || life.cannot_start || life.wishes.down;
        let rests = !life.active() && over && !life.wishes.again;
        let waits = self.coming.contains_key(&target.id);
        let stays = arrived(life, instance) && !self.wanted_away(target.id);
        match target.wants {
            Wants::Down => target.called_off || rests,
            Wants::Renewed | Wants::Defined if waits => false,
            Wants::Defined => true,
            Wants::Anew | Wants::Renewed => {
                target.called_off || target.surely || target.there || rests || stays && !waits
            }
        }
    }

    /// It does not wait any more.
    pub(super) fn client_is_gone(&mut self, client: Client) {
        self.waiting.remove(&client);
        self.questions.remove(&client);
        self.looks.remove(&client);
        self.reads_no_more(client);
        self.enders.remove(&client);
    }
}
