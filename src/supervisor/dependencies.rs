//! Whether what an instance depends on is there, on its way, or never will be.

use std::rc::Rc;

use crate::event::InstanceId;
use crate::gather::Gather;
use crate::plan::{Condition, Dependency, Kind, OnFailure};
use crate::services::{Service, State};

use super::{Supervisor, Wish};

impl Supervisor {
    /// Whether what an instance depends on allows it to start. What comes up last stands last, and is asked first: with a million pairs
    /// one answer after each event has to do. Then those only matter that may never be there, if there are `any_over`.
    pub(super) fn readiness(&self, id: InstanceId, any_over: bool) -> Readiness {
        let mut readiness = Readiness::Ready;
        for dependency in self.plan.depends_on(id).iter().rev() {
            let open = matches!(readiness, Readiness::Ready);
            if open || self.service(dependency.on).is_some_and(is_over) {
                match self.dependency(id, *dependency) {
                    wait @ Readiness::Wait { .. } if open => readiness = wait,
                    Readiness::Ready | Readiness::Wait { .. } => {}
                    never @ Readiness::Never { .. } => readiness = never,
                }
            }
            if !any_over && !matches!(readiness, Readiness::Ready) {
                break;
            }
        }
        readiness
    }

    /// Whether this dependency of an instance allows it to start. One that ran before is not kept from running again by what was
    /// there once and has ended for good since, only by what is on its way.
    pub(super) fn dependency(&self, id: InstanceId, dependency: Dependency) -> Readiness {
        #[cfg(test)]
        super::tests::ASKED.set(super::tests::ASKED.get() + 1);
        let ran = self.service(id).is_some_and(|service| service.runs() > 0);
        let on = dependency.on;
        let Some(service) = self.service(on) else { return Readiness::Ready };
        // It is about to be stopped and started anew.
        if self.wish_for(on) == Wish::Again || self.goes(on) {
            return Readiness::Wait { on };
        }
        if self.is_there(dependency) {
            return Readiness::Ready;
        }
        match service.state() {
            State::Completed | State::Failed { .. } | State::Down
                if (ran && !dependency.restart) || self.is_settled_for_main(id, on) =>
            {
                Readiness::Ready
            }
            State::Failed { .. } => Readiness::Never { on, completed: false },
            // Where it had to be ready.
            State::Completed => Readiness::Never { on, completed: true },
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Ready(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down => Readiness::Wait { on },
        }
    }

    /// The main command comes after all others, but needs none of them by name: it is not kept by one that is done, or that the container
    /// goes on without.
    fn is_settled_for_main(&self, id: InstanceId, on: InstanceId) -> bool {
        self.plan.instance(id).is_some_and(|main| main.kind == Kind::Command)
            && (matches!(self.service(on).map(Service::state), Some(State::Completed))
                || self.goes_without(on))
    }

    /// The container goes on without it: somebody has stopped it, also where it then failed before its turn came, or it has failed and may.
    pub(super) fn goes_without(&self, id: InstanceId) -> bool {
        let stopped = self.wish_for(id) == Wish::Down;
        match self.service(id).map(Service::state) {
            Some(State::Failed { .. }) => {
                stopped || self.plan.instance(id).is_some_and(|one| one.on_failure == OnFailure::Ignore)
            }
            Some(State::Down) => stopped,
            _ => false,
        }
    }

    /// Whether what is depended on is as it has to be now.
    pub(super) fn is_there(&self, dependency: Dependency) -> bool {
        let state = self.service(dependency.on).map(Service::state);
        match dependency.condition {
            // It ran and is done: it has been started.
            Condition::Started => matches!(state, Some(State::Up(..) | State::Ready(..) | State::Completed)),
            Condition::Ready => matches!(state, Some(State::Ready(..))),
            Condition::Completed => matches!(state, Some(State::Completed)),
        }
    }

    /// One that this instance is to be restarted with and that is about to start again, if this one runs or is about to.
    pub(super) fn restarts_with(&self, id: InstanceId) -> Option<Rc<str>> {
        let again = |on: InstanceId| self.service(on).is_some_and(comes_again);
        let dependencies = &self.plan.instance(id)?.depends_on;
        dependencies
            .iter()
            .find(|dependency| dependency.restart && again(dependency.on))
            .map(|d| self.name(d.on))
    }

    /// Who waits for this instance before it may start.
    #[inline(never)]
    pub(super) fn waiting_for(&self, on: InstanceId) -> Vec<Rc<str>> {
        let waits = |id: &&InstanceId| {
            let waiting = matches!(self.service(**id).map(Service::state), Some(State::Waiting));
            let mut dependencies = self.plan.depends_on(**id).iter();
            waiting
                && dependencies
                    .any(|d| d.on == on && matches!(self.dependency(**id, *d), Readiness::Wait { .. }))
        };
        self.dependents_of(on).iter().filter(waits).map(|id| self.name(*id)).gather()
    }

    /// Who depends on it.
    pub(super) fn dependents_of(&self, id: InstanceId) -> &[InstanceId] {
        self.dependents.get(id.0 as usize).map_or(&[], Vec::as_slice)
    }
}

/// It has ended for good.
pub(super) fn is_over(service: &Service) -> bool {
    matches!(service.state(), State::Completed | State::Failed { .. })
}

/// It ran, and is about to start again.
pub(super) fn comes_again(service: &Service) -> bool {
    match service.state() {
        State::Backoff { .. } => true,
        State::Waiting => service.runs() > 0,
        State::Launching { .. }
        | State::Starting(..)
        | State::Up(..)
        | State::Ready(..)
        | State::Stopping { .. }
        | State::Cleaning(_)
        | State::Down
        | State::Completed
        | State::Failed { .. } => false,
    }
}

/// Whether an instance may start.
pub(super) enum Readiness {
    Ready,
    /// For this one, among others.
    Wait {
        on: InstanceId,
    },
    Never {
        on: InstanceId,
        completed: bool,
    },
}
