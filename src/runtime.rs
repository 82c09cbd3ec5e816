//! The loop: feeds events to the core and its actions to the world, until the core wants to leave.

use crate::event::{Action, Care, Event, ExitCode};
use crate::kernel::{AtOnce, Kernel, Until};
use crate::supervisor::{Reread, Supervisor};

/// What the core is to be told next.
enum Turn {
    Event(Event),
    /// The configuration, read anew.
    Reread,
}

/// Runs until the end and returns the code to exit with. `reread` reads the configuration again, or says what is wrong with it.
#[inline(never)]
pub fn run<K: Kernel>(
    kernel: &mut K,
    supervisor: &mut Supervisor,
    reread: &mut dyn FnMut() -> Result<Reread, String>,
) -> ExitCode {
    // The next is the last.
    let mut pending: Vec<Turn> = Vec::new();
    let (mut arrived, mut actions, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    // Whoever is asked to stop before the beginning starts nothing.
    kernel.wait(Some(Until { at: kernel.now(), measures: false }), &|_, _| Care::ToDecide, &mut arrived);
    arrived.push(Event::Begin);
    loop {
        put_before(&mut pending, &mut arrived);
        while let Some(turn) = pending.pop() {
            match turn {
                Turn::Event(event) => supervisor.step(kernel.now(), event, &mut actions),
                Turn::Reread => {
                    let read = reread();
                    supervisor.reread(kernel.now(), read, &mut actions);
                }
            }
            let mut rereads = false;
            actions.reverse();
            while let Some(action) = actions.pop() {
                rereads |= matches!(action, Action::Reread);
                let leaving = if let Action::Exit(code) = action { Some(code) } else { None };
                kernel.perform(action, &mut answers);
                if let Some(code) = leaving {
                    return code;
                }
            }
            if rereads {
                pending.push(Turn::Reread);
            }
            // An answer comes before all that happened meanwhile, so the core never sees an order half carried out.
            put_before(&mut pending, &mut answers);
        }
        let deadline = supervisor.deadline();
        let measures = supervisor.measures();
        let at_once: AtOnce = &|signal, send| supervisor.pass_on_at_once(signal, send);
        kernel.wait(deadline.map(|at| Until { at, measures }), at_once, &mut arrived);
        // Last, so that what came in time counts as in time; and always, so that a flood of events stops no clock.
        if deadline.is_some_and(|deadline| kernel.now() >= deadline) {
            arrived.push(Event::Tick);
        }
    }
}

/// These come before what waits already, in their order.
fn put_before(pending: &mut Vec<Turn>, events: &mut Vec<Event>) {
    while let Some(event) = events.pop() {
        pending.push(Turn::Event(event));
    }
}
