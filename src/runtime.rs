//! The loop: feeds events to the core and its actions to the world, until the core wants to leave.

use std::collections::VecDeque;

use crate::event::{Action, Event, ExitCode};
use crate::kernel::Kernel;
use crate::supervisor::{Reread, Supervisor};

/// What the core is to be told next.
enum Turn {
    Event(Event),
    /// The configuration, read anew.
    Reread,
}

/// Runs until the end and returns the code to exit with. `reread` reads the configuration again, or says what is wrong with it.
pub fn run<K: Kernel>(
    kernel: &mut K,
    supervisor: &mut Supervisor,
    reread: &mut dyn FnMut() -> Result<Reread, String>,
) -> ExitCode {
    let mut arrived = Vec::new();
    // Whoever is asked to stop before the beginning starts nothing.
    kernel.wait(Some(kernel.now()), &mut arrived);
    let mut pending: VecDeque<Turn> = arrived.drain(..).chain([Event::Begin]).map(Turn::Event).collect();
    let (mut actions, mut answers) = (Vec::new(), Vec::new());
    loop {
        while let Some(turn) = pending.pop_front() {
            match turn {
                Turn::Event(event) => supervisor.step(kernel.now(), event, &mut actions),
                Turn::Reread => {
                    let read = reread();
                    supervisor.reread(kernel.now(), read, &mut actions);
                }
            }
            let mut rereads = false;
            for action in actions.drain(..) {
                rereads |= matches!(action, Action::Reread);
                let leaving = if let Action::Exit(code) = action { Some(code) } else { None };
                kernel.perform(action, &mut answers);
                if let Some(code) = leaving {
                    return code;
                }
            }
            if rereads {
                pending.push_front(Turn::Reread);
            }
            // An answer comes before all that happened meanwhile, so the core never sees an order half carried out.
            for answer in answers.drain(..).rev() {
                pending.push_front(Turn::Event(answer));
            }
        }
        let deadline = supervisor.deadline();
        kernel.wait(deadline, &mut arrived);
        pending.extend(arrived.drain(..).map(Turn::Event));
        // Last, so that what came in time counts as in time; and always, so that a flood of events stops no clock.
        if deadline.is_some_and(|deadline| kernel.now() >= deadline) {
            pending.push_back(Turn::Event(Event::Tick));
        }
    }
}
