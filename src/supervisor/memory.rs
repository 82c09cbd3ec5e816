//! Memory: what is ordered so that it is known, and what follows from it for the services.

use std::rc::Rc;

use crate::event::{
    Action, Cell, Child, Client, ContainerMemory, ExitStatus, InstanceId, Launch, MemoryFound, Pid, Role,
    Time, Weight, order, tell,
};
use crate::gather::Gather;
use crate::memory::{Candidate, Look, Memory, Verdict};
use crate::notice::Notice;
use crate::plan::{Kind, RestartWhen};
use crate::services::Service;
use crate::sorted::Map;
use crate::units::Signal;

use super::Supervisor;

impl Supervisor {
    /// What rules over the memory is known, and so what each service may hold: now they may start.
    #[inline(never)]
    pub(super) fn memory_found(&mut self, now: Time, found: &MemoryFound, out: &mut Vec<Action>) {
        self.begun = true;
        for notice in self.memory.found(now, found) {
            tell(out, notice);
        }
        self.put_ceilings();
    }

    /// The OOM killer ended processes; perhaps the end of a main process will explain it.
    pub(super) fn oom_killed(&mut self, now: Time, instance: Option<InstanceId>, count: u64) {
        self.memory.oom_killed(now, instance, count);
    }

    /// The end of a main process by a SIGKILL that was not ours is that of the OOM killer, where that was reported.
    #[inline(never)]
    pub(super) fn explain_end(&mut self, now: Time, child: Child, status: ExitStatus) {
        let killed = matches!(status, ExitStatus::Signal { signal: Signal::KILL, .. });
        let by_others = self.service(child.instance).is_some_and(Service::may_be_killed_by_others);
        if killed
            && by_others
            && child.role == Role::Main
            && let Some(cause) = self.memory.claim(child.instance)
        {
            self.with(now, child.instance, |service, _| service.killed_for_memory(cause));
        }
    }

    /// Tells of OOM kills that no end has explained by now; without a time, of all.
    pub(super) fn tell_of_kills(&mut self, now: Option<Time>, out: &mut Vec<Action>) {
        for (instance, count) in self.memory.unclaimed(now) {
            let name = instance.map(|id| self.name(id));
            tell(out, Notice::OomKilled { name, count });
        }
    }

    /// Weighs those whose turn it is.
    pub(super) fn look_at_memory(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.shutdown.is_none()
            && let Some(Look { runs, container }) = self.memory.due(now)
        {
            let runs = self.runs_of(&runs);
            order(out, Action::Weigh { client: None, runs, container, pss: false });
        }
    }

    /// The runs of these instances that have a leader.
    pub(super) fn runs_of(&self, ids: &[InstanceId]) -> Vec<(Child, Pid)> {
        let run = |id: &InstanceId| {
            let service = self.service(*id)?;
            Some((Child { instance: *id, run: service.runs(), role: Role::Main }, service.leader()?))
        };
        ids.iter().filter_map(run).gather()
    }

    /// What was weighed.
    #[inline(never)]
    pub(super) fn weighed(
        &mut self,
        now: Time,
        client: Option<Client>,
        runs: Vec<Weight>,
        container: Option<ContainerMemory>,
        out: &mut Vec<Action>,
    ) {
        if let Some(client) = client {
            return self.weighed_for(now, client, runs, container, out);
        }
        if let Some(notice) = container.and_then(|container| self.memory.measured(container)) {
            tell(out, notice);
            self.put_ceilings();
        }
        let candidates = self.candidates(now);
        for verdict in self.memory.weighed(now, &runs, container, &candidates) {
            match verdict {
                Verdict::Stop(id, cause) => {
                    self.with(now, id, |service, context| service.holds_too_much(context, cause, out));
                }
                Verdict::WeighAll => {
                    let ids: Vec<InstanceId> = candidates.iter().map(|one| one.id).gather();
                    let runs = self.runs_of(&ids);
                    order(out, Action::Weigh { client: None, runs, container: true, pss: false });
                }
                Verdict::Tell(notice) => tell(out, notice),
            }
        }
    }

    /// Who could be restarted to free memory: what may be started again, and is not the container's command.
    #[inline(never)]
    fn candidates(&self, now: Time) -> Vec<Candidate> {
        let candidate = |id: InstanceId| {
            let (instance, service) = (self.plan.instance(id)?, self.service(id)?);
            let daemon = match instance.kind {
                Kind::Daemon => true,
                Kind::Oneshot => false,
                Kind::Command => return None,
            };
            let again = instance.restart.when != RestartWhen::Never;
            let (used, _) = service.restarts(now, instance);
            let spent = instance.restart.max_restarts.is_some_and(|max| used >= max);
            (service.running() && again).then_some(Candidate { id, daemon, spent })
        };
        self.plan.ids().filter_map(candidate).gather()
    }

    /// Keeps the memory's machine informed of who runs, after every event that may have changed it.
    #[inline(never)]
    pub(super) fn settle_memory(&mut self, now: Time) {
        if !self.memory.is_on() {
            return;
        }
        if self.shutdown.is_some() {
            return self.memory.rest();
        }
        let running: Map<InstanceId, u32> = self
            .plan
            .ids()
            .filter_map(|id| Some((id, self.service(id)?)))
            .filter(|(_, service)| service.running())
            .map(|(id, service)| (id, service.runs()))
            .collect();
        self.memory.running(now, running);
        if let Some((id, run)) = self.memory.waits_for()
            && self.service(id).is_none_or(|service| service.runs() != run || service.vacant())
        {
            self.memory.relieved(now);
        }
    }

    /// An update has changed what services may hold, or the guard.
    pub(super) fn replan_memory(&mut self, now: Time) {
        if !self.begun {
            // Nothing is known of the machine yet, and nobody may conclude that it has no cgroups.
            self.memory = Memory::new(&self.plan);
            return;
        }
        self.memory.replan(now, &self.plan);
        self.put_ceilings();
    }

    /// Who gets a cgroup of its own, and what the kernel is to be told of its limit, from its next start on. A guard that an update brings
    /// concerns those, too, of which nothing else has changed.
    fn put_ceilings(&mut self) {
        let guard = self.plan.guard;
        for id in self.plan.ids() {
            let memory_max = self.memory.ceiling(id);
            let Some(instance) = self.plan.instances.get_mut(id.0 as usize) else { continue };
            let cell = match instance.kind {
                Kind::Daemon | Kind::Oneshot if instance.memory.wants_cell(guard) => {
                    Some(Cell { memory_max })
                }
                Kind::Daemon | Kind::Oneshot | Kind::Command => None,
            };
            if instance.launch.cell != cell {
                let launch: &mut Launch = Rc::make_mut(&mut instance.launch);
                launch.cell = cell;
            }
        }
    }
}
