//! What a leader left behind is named, once: when it is found, unless somebody had asked the service to stop, and when it gets SIGKILL. By
//! docs/states.md.

use tinysup::event::Process;

use super::*;

/// An exit with code 0 this soon looks as if the service had put itself into the background.
const BACKGROUND_WITHIN: Duration = Duration::from_secs(5);

/// What a look has found.
#[derive(Debug)]
pub(super) struct Left {
    id: InstanceId,
    found: Vec<Process>,
    killed: bool,
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Must,
    May,
    Not,
    Was,
}

impl Judge {
    /// The core is about to be told what a look at the remains of a run has found.
    pub(super) fn finds_left(&mut self, child: Child, found: &[Process]) {
        let (id, stopping) = (child.instance, self.stop.is_some());
        let wanted_away = self.wanted_away(id);
        let life = self.life(id);
        if found.is_empty() || child.run != life.run || !life.active() {
            return;
        }
        let killed = life.sweeps_to_kill.is_some();
        let told = match life.left_told {
            [_, true] => Told::Not,
            _ if killed => Told::Must,
            [true, _] => Told::Not,
            _ if life.asked_before_end => Told::Not,
            // Who goes anyway may be asked after its leader has ended.
            _ if stopping || wanted_away || life.wishes.goes_on => Told::May,
            _ => Told::Must,
        };
        life.left_told[usize::from(killed)] = true;
        self.step.left = Some(Left { id, found: found.to_vec(), killed, told });
    }

    pub(super) fn left_told(&mut self, id: InstanceId, killed: bool, found: &[Process]) {
        let name = self.plan_of(id).name.clone();
        match &mut self.step.left {
            Some(left)
                if (left.id, left.killed, &*left.found) == (id, killed, found)
                    && matches!(left.told, Told::Must | Told::May) =>
            {
                left.told = Told::Was;
            }
            left => {
                violation!("of {name} is told {found:?}, killed {killed}; it is {left:?}")
            }
        }
    }

    /// Who puts itself into the background is told how not to.
    pub(super) fn background(&self, world: &mut World, id: InstanceId, told: bool) {
        let (life, kind) = (&self.lives[id.0 as usize], self.plan_of(id).kind);
        let run = &world.runs[&Child { instance: id, run: life.run, role: Role::Main }];
        let clean = run.exec_error.is_none() && run.died.is_some_and(|(_, status)| status.success());
        let own = clean && life.leaving.is_none() && life.out_of_memory.is_none();
        let soon = life.ended.zip(life.ordered).is_some_and(|(to, from)| to.since(from) < BACKGROUND_WITHIN);
        if told != (own && soon && kind == Kind::Daemon) {
            violation!("{} is told to stay in the foreground: {told}; {run:?}", self.plan_of(id).name);
        }
        if told {
            world.count("service that puts itself into the background");
        }
    }

    pub(super) fn check_left_told(&self) {
        if let Some(left) = self.step.left.as_ref().filter(|left| left.told == Told::Must) {
            violation!("what {} has left is not told: {left:?}", self.plan_of(left.id).name);
        }
    }
}
