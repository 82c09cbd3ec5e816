//! Whether services are as somebody wants them to be, for `health` and `wait`.

use crate::control::Wanted;
use crate::event::{InstanceId, Time};
use crate::gather::Joined;
use crate::plan::{Kind, OnFailure};
use crate::services::State;

use super::Supervisor;

/// Whether what is asked for is so.
pub(super) struct Judgement {
    pub is: Is,
    /// Why.
    pub text: String,
}

/// How far it is so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    So,
    NotYet,
    /// It is not, and will not be, unless a person does something.
    Never,
}

impl Supervisor {
    /// Whether all of these are as it is wanted.
    pub(super) fn judge(&self, now: Time, ids: &[InstanceId], named: bool, wanted: Wanted) -> Judgement {
        let mut bad: Vec<InstanceId> = Vec::new();
        let mut never = None;
        let (mut counted, mut aside): (Vec<InstanceId>, Vec<String>) = (Vec::new(), Vec::new());
        for id in ids {
            let (Some(instance), Some(service)) = (self.plan.instance(*id), self.service(*id)) else {
                continue;
            };
            let why = if wanted == Wanted::Stopped || named {
                None
            } else if self.retired(*id) {
                continue;
            } else if instance.on_failure == OnFailure::Ignore {
                Some("on_failure = \"ignore\"")
            } else {
                Some("autostart = false")
                    .filter(|_| !instance.autostart && matches!(service.state(), State::Down))
            };
            if let Some(why) = why {
                aside.push(format!("{} ({why})", instance.name));
                continue;
            }
            counted.push(*id);
            let (ok, hopeless) = match (wanted, service.state()) {
                (Wanted::Live | Wanted::Ready | Wanted::Completed, _) if self.retired(*id) => (false, true),
                (Wanted::Live, State::Failed { .. }) => (false, false),
                (Wanted::Live, _) => (service.failing().is_none(), false),
                (Wanted::Ready, State::Ready(..)) => (self.shutdown.is_none(), false),
                (Wanted::Ready, State::Completed) => {
                    let done = instance.kind == Kind::Oneshot || !named;
                    (done, !done)
                }
                (Wanted::Completed, State::Completed) => (true, false),
                (Wanted::Ready | Wanted::Completed, State::Failed { .. }) => (false, true),
                (Wanted::Stopped, State::Down | State::Completed | State::Failed { .. }) => (true, false),
                (Wanted::Ready | Wanted::Completed | Wanted::Stopped, _) => (false, false),
            };
            if !ok {
                bad.push(*id);
            }
            if hopeless {
                never.get_or_insert(*id);
            }
        }
        // What is done stays so, and may be why the container ends.
        let lacks = !bad.is_empty() || counted.is_empty();
        if self.shutdown.is_some() && lacks && matches!(wanted, Wanted::Ready | Wanted::Completed) {
            return Judgement { is: Is::Never, text: "the container is being stopped".to_owned() };
        }
        let word = match wanted {
            Wanted::Live => "alive",
            Wanted::Ready => "ready",
            Wanted::Completed => "completed",
            Wanted::Stopped => "stopped",
        };
        let aside =
            if aside.is_empty() { String::new() } else { format!("; not counted: {}", aside.listed()) };
        let Some(first) = never.or(bad.first().copied()) else {
            let text = match counted.as_slice() {
                [] => format!("nothing counts{aside}"),
                [one] => format!("{} is {word}{aside}", self.name(*one)),
                several => format!("all {} are {word}{aside}", several.len()),
            };
            return Judgement { is: Is::So, text };
        };
        let mut text = format!("{} is not {word}: {}", self.name(first), self.condition(now, first));
        if bad.len() > 1 {
            text = format!("{text}; and {} more", bad.len() - 1);
        }
        text.push_str(&aside);
        Judgement { is: if never.is_some() { Is::Never } else { Is::NotYet }, text }
    }
}
