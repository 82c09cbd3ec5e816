//! What a signal that PID 1 gets means. A table, no state.

use crate::event::InstanceId;
use crate::gather::Gather;
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
    /// Send these signals to these instances, if they run.
    Forward(Vec<(InstanceId, Signal)>),
}

/// What `signal` means under `plan`. TERM and INT always end a container of services; QUIT, RTMIN+3 and HUP have their
/// meaning unless `[signals]` routes them elsewhere.
pub fn meaning(plan: &Plan, signal: Signal) -> Meaning {
    match plan.mode {
        Mode::Command(_) => forward(plan, signal, plan.ids()),
        Mode::Pause => match signal {
            Signal::TERM | Signal::INT => Meaning::Shutdown,
            _ => Meaning::Forward(Vec::new()),
        },
        Mode::Services => match (signal, plan.routes.get(&signal)) {
            (Signal::TERM | Signal::INT, _) => Meaning::Shutdown,
            _ if plan.log.reopen_signal == Some(signal) => Meaning::Reopen,
            (_, Some(receivers)) => forward(plan, signal, receivers.iter().copied()),
            (Signal::QUIT | Signal::RTMIN_3, None) => Meaning::Shutdown,
            (Signal::HUP, None) => Meaning::Update,
            // Of the terminal and of broken pipes, never meant for services; 32 and 33 are of the C library.
            (Signal::PIPE | Signal::TTIN | Signal::TTOU | Signal::LIBRARY_1 | Signal::LIBRARY_2, None) => {
                Meaning::Forward(Vec::new())
            }
            (_, None) => forward(plan, signal, plan.ids()),
        },
    }
}

/// Each receiver's own `signals` table rewrites or drops the signal.
fn forward(plan: &Plan, signal: Signal, receivers: impl Iterator<Item = InstanceId>) -> Meaning {
    let rewritten = |id: InstanceId| match plan.instance(id)?.signals.get(&signal) {
        None => Some((id, signal)),
        Some(Some(other)) => Some((id, *other)),
        Some(None) => None,
    };
    Meaning::Forward(receivers.filter_map(rewritten).gather())
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
        let to = |list: &[(u32, Signal)]| {
            Meaning::Forward(list.iter().map(|(id, s)| (InstanceId(*id), *s)).collect())
        };
        for (signal, expected) in [
            (Signal::TERM, Meaning::Shutdown),
            (Signal::INT, Meaning::Shutdown),
            (Signal::QUIT, Meaning::Shutdown),
            (Signal::RTMIN_3, Meaning::Shutdown),
            (Signal::HUP, Meaning::Update),
            (Signal::USR1, to(&[(0, Signal::USR1), (1, Signal::HUP)])),
            (Signal::USR2, to(&[(0, Signal::USR2)])),
            (Signal::WINCH, to(&[(0, Signal::WINCH)])),
            (Signal::CONT, to(&[(0, Signal::CONT), (1, Signal::CONT)])),
            (Signal::PIPE, to(&[])),
            (Signal::TTOU, Meaning::Reopen),
            (Signal::TTIN, to(&[])),
            (Signal::LIBRARY_2, to(&[])),
        ] {
            assert_eq!(meaning(&plan, signal), expected, "{signal}");
        }
        plan.mode = Mode::Pause;
        assert_eq!(meaning(&plan, Signal::INT), Meaning::Shutdown);
        assert_eq!(meaning(&plan, Signal::QUIT), to(&[]));
        plan.mode = Mode::Command(Manner::default());
        assert_eq!(meaning(&plan, Signal::USR2), to(&[(0, Signal::USR2)]));
        plan.order = [1].map(InstanceId).into();
        assert_eq!(meaning(&plan, Signal::USR1), to(&[(1, Signal::HUP)]));
        assert_eq!(meaning(&plan, Signal::USR2), to(&[]));
        plan.order = [0].map(InstanceId).into();
        assert_eq!(meaning(&plan, Signal::TERM), to(&[(0, Signal::TERM)]));
        assert_eq!(meaning(&plan, Signal::HUP), to(&[(0, Signal::HUP)]));
        assert_eq!(meaning(&plan, Signal::PIPE), to(&[(0, Signal::PIPE)]));
    }
}
