//! What a signal that PID 1 gets means. A table, no state.

use crate::event::InstanceId;
use crate::plan::{Mode, Plan};
use crate::units::Signal;

/// What to do about a signal.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// End the container.
    Shutdown,
    /// Re-read the configuration.
    Update,
    /// Open the files of output again.
    Reopen,
    /// Pass it on to its [`receivers`], if they run.
    Forward,
}

/// What `signal` means under `plan`. TERM and INT always end a container of services; QUIT, RTMIN+3 and HUP have their
/// meaning unless `[signals]` routes them elsewhere.
pub fn meaning(plan: &Plan, signal: Signal) -> Meaning {
    match plan.mode {
        Mode::Command(_) => Meaning::Forward,
        Mode::Pause => match signal {
            Signal::TERM | Signal::INT => Meaning::Shutdown,
            _ => Meaning::Forward,
        },
        Mode::Services => match (signal, plan.routes.get(&signal)) {
            (Signal::TERM | Signal::INT, _) => Meaning::Shutdown,
            _ if plan.log.reopen_signal == Some(signal) => Meaning::Reopen,
            (_, Some(_)) => Meaning::Forward,
            (Signal::QUIT | Signal::RTMIN_3, None) => Meaning::Shutdown,
            (Signal::HUP, None) => Meaning::Update,
            (_, None) => Meaning::Forward,
        },
    }
}

/// Who gets a signal that is passed on, and as what: each receiver's own `signals` table rewrites or drops it.
pub fn receivers(plan: &Plan, signal: Signal, each: &mut dyn FnMut(InstanceId, Signal)) {
    let ids = match plan.mode {
        Mode::Pause => return,
        Mode::Command(_) => &*plan.order,
        Mode::Services => match (signal, plan.routes.get(&signal)) {
            (_, Some(routed)) => routed.as_slice(),
            // Of the terminal and of broken pipes, never meant for services; 32 and 33 are of the C library.
            (Signal::PIPE | Signal::TTIN | Signal::TTOU | Signal::LIBRARY_1 | Signal::LIBRARY_2, None) => {
                return;
            }
            (_, None) => &plan.order,
        },
    };
    for id in ids {
        let Some(instance) = plan.instance(*id) else { continue };
        match instance.signals.get(&signal) {
            None => each(*id, signal),
            Some(Some(other)) => each(*id, *other),
            Some(None) => {}
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::plan::tests::instance;
    use crate::plan::{Log, Manner};
    use crate::sorted::Map;

    #[test]
    fn signals_mean_what_the_documentation_says() {
        let (nginx, mut api) = (instance("nginx"), instance("api"));
        api.signals = Map::from([(Signal::USR1, Some(Signal::HUP)), (Signal::USR2, None)]);
        let mut plan = Plan {
            guard: crate::plan::Guard::default(),
            mode: Mode::Services,
            order: [0, 1].map(InstanceId).into(),
            config: None,
            instances: vec![nginx, api],
            shutdown_timeout: None,
            routes: Map::from([(Signal::WINCH, vec![InstanceId(0)]), (Signal::TERM, vec![InstanceId(0)])]),
            log: Log { reopen_signal: Some(Signal::TTOU), ..Log::default() },
        };
        // What it means, and who gets it where it is passed on.
        let read = |plan: &Plan, signal: Signal| {
            let mut list = Vec::new();
            let meaning = meaning(plan, signal);
            if meaning == Meaning::Forward {
                receivers(plan, signal, &mut |id, sent| list.push((id.0, sent)));
            }
            (meaning, list)
        };
        let to = |list: &[(u32, Signal)]| (Meaning::Forward, list.to_vec());
        let alone = |meaning: Meaning| (meaning, Vec::new());
        for (signal, expected) in [
            (Signal::TERM, alone(Meaning::Shutdown)),
            (Signal::INT, alone(Meaning::Shutdown)),
            (Signal::QUIT, alone(Meaning::Shutdown)),
            (Signal::RTMIN_3, alone(Meaning::Shutdown)),
            (Signal::HUP, alone(Meaning::Update)),
            (Signal::USR1, to(&[(0, Signal::USR1), (1, Signal::HUP)])),
            (Signal::USR2, to(&[(0, Signal::USR2)])),
            (Signal::WINCH, to(&[(0, Signal::WINCH)])),
            (Signal::CONT, to(&[(0, Signal::CONT), (1, Signal::CONT)])),
            (Signal::PIPE, to(&[])),
            (Signal::TTOU, alone(Meaning::Reopen)),
            (Signal::TTIN, to(&[])),
            (Signal::LIBRARY_2, to(&[])),
        ] {
            assert_eq!(read(&plan, signal), expected, "{signal}");
        }
        plan.mode = Mode::Pause;
        assert_eq!(read(&plan, Signal::INT), alone(Meaning::Shutdown));
        assert_eq!(read(&plan, Signal::QUIT), to(&[]));
        plan.mode = Mode::Command(Manner::default());
        assert_eq!(read(&plan, Signal::USR2), to(&[(0, Signal::USR2)]));
        plan.order = [1].map(InstanceId).into();
        assert_eq!(read(&plan, Signal::USR1), to(&[(1, Signal::HUP)]));
        assert_eq!(read(&plan, Signal::USR2), to(&[]));
        plan.order = [0].map(InstanceId).into();
        assert_eq!(read(&plan, Signal::TERM), to(&[(0, Signal::TERM)]));
        assert_eq!(read(&plan, Signal::HUP), to(&[(0, Signal::HUP)]));
        assert_eq!(read(&plan, Signal::PIPE), to(&[(0, Signal::PIPE)]));
    }
}
