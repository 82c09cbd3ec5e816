//! The loop: feeds events to the core and its actions to the world, until the core wants to leave.

use std::collections::VecDeque;

use crate::event::{Action, Event, ExitCode};
use crate::kernel::Kernel;
use crate::supervisor::Supervisor;

/// Runs until the end and returns the code to exit with.
pub fn run<K: Kernel>(kernel: &mut K, supervisor: &mut Supervisor) -> ExitCode {
    let mut arrived = Vec::new();
    // Whoever is asked to stop before the beginning starts nothing.
    kernel.wait(Some(kernel.now()), &mut arrived);
    let mut pending: VecDeque<Event> = arrived.drain(..).chain([Event::Begin]).collect();
    let (mut actions, mut answers) = (Vec::new(), Vec::new());
    loop {
        while let Some(event) = pending.pop_front() {
            supervisor.step(kernel.now(), event, &mut actions);
            for action in actions.drain(..) {
                let leaving = if let Action::Exit(code) = action { Some(code) } else { None };
                kernel.perform(action, &mut answers);
                if let Some(code) = leaving {
                    return code;
                }
            }
            // An answer comes before all that happened meanwhile, so the core never sees an order half carried out.
            for answer in answers.drain(..).rev() {
                pending.push_front(answer);
            }
        }
        let deadline = supervisor.deadline();
        kernel.wait(deadline, &mut arrived);
        pending.extend(arrived.drain(..));
        // Last, so that what came in time counts as in time; and always, so that a flood of events stops no clock.
        if deadline.is_some_and(|deadline| kernel.now() >= deadline) {
            pending.push_back(Event::Tick);
        }
    }
}
