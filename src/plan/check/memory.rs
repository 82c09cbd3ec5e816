//! How much memory the services may hold, as far as that is known where the plan is looked at.

use super::Service;
use crate::event::{Controller, MemoryFound};
use crate::gather::{Gather, Joined, present};
use crate::plan::{Amount, Plan, Reference};
use crate::units::show_size;

/// So many services are shown.
const MAX_SHOWN: usize = 20;

/// The container's line where it is known, and one for each service with a limit.
#[inline(never)]
pub fn lines(
    plan: &Plan,
    services: &[Service<'_>],
    found: Option<&MemoryFound>,
    hints: &mut Vec<String>,
) -> Vec<String> {
    let limits = |service: &Service<'_>| service.first.memory;
    let limited = |service: &&Service<'_>| {
        let limits = limits(service);
        limits.restart.is_some() || limits.limit.is_some()
    };
    let limited: Vec<&Service<'_>> = services.iter().filter(limited).gather();
    let guard = plan.guard;
    if limited.is_empty() && !guard.is_on() {
        return Vec::new();
    }
    let whole = found.and_then(|found| guard.reference.whole(found.limit, found.total));
    let shown = |amount: Amount| match (amount, amount.bytes(whole)) {
        (Amount::Share(_), Some(bytes)) => format!("{amount} = {}", show_size(bytes)),
        (Amount::Bytes(_) | Amount::Share(_), _) => amount.to_string(),
    };
    let mut lines = present(&mut [found.map(here)]);
    if guard.is_on() {
        let part =
            |name, share: Option<_>| share.map(|share| format!("{name} at {}", shown(Amount::Share(share))));
        let parts = present(&mut [part("warn", guard.warn), part("restart", guard.restart)]);
        lines.push(format!("the container: {}", parts.listed()));
    }
    for service in limited.iter().take(MAX_SHOWN) {
        let limits = limits(service);
        let restart = limits.restart.map(|amount| format!("restarted above {}", shown(amount)));
        let limit = limits.limit.map(|amount| match (limits.fallback, found) {
            (true, Some(MemoryFound { delegated: false, .. })) => {
                format!("restarted above {}, in place of memory_limit", shown(amount))
            }
            _ => format!("no more than {}", shown(amount)),
        });
        let parts = present(&mut [restart, limit]);
        let each = if service.instances > 1 { " each" } else { "" };
        lines.push(format!("{}{each}: {}", service.first.service, parts.listed()));
        let limit = found.and_then(|found| found.limit);
        for (name, amount) in [("max_memory_restart", limits.restart), ("memory_limit", limits.limit)] {
            let bytes = amount.and_then(|amount| amount.bytes(whole));
            if let (Some(bytes), Some(limit)) = (bytes, limit)
                && bytes >= limit
            {
                hints.push(format!(
                    "{}: {name} is {}, but the container has only {}: the kernel kills before that",
                    service.first.service,
                    show_size(bytes),
                    show_size(limit)
                ));
            }
        }
    }
    match limited.len().saturating_sub(MAX_SHOWN) {
        0 => {}
        more => lines.push(format!("and {more} more services with limits")),
    }
    let shares = [guard.warn.is_some(), guard.restart.is_some()].contains(&true)
        || limited.iter().any(|service| {
            let limits = limits(service);
            [limits.restart, limits.limit].iter().flatten().any(|amount| matches!(amount, Amount::Share(_)))
        });
    if shares && found.is_none() {
        let of = match guard.reference {
            Reference::Container => "the container's memory limit, which is not known here",
            Reference::Host => "the memory of the machine that it runs on",
        };
        hints.push(format!(
            "shares of memory are of {of}; `tinysup check --runtime` in the container says how much that is"
        ));
    }
    lines
}

#[inline(never)]
fn here(found: &MemoryFound) -> String {
    let limit = match found.limit {
        Some(limit) => format!("the limit of this container is {}", show_size(limit)),
        None => format!("this container has no limit; the machine has {}", show_size(found.total)),
    };
    let controller = match found.controller {
        Controller::None => "no controller to be seen",
        Controller::V1 => "cgroup v1",
        Controller::V2 => "cgroup v2",
    };
    let cells =
        if found.delegated { ", a cgroup for each service" } else { ", services are summed up from /proc" };
    format!("{limit} ({controller}{cells})")
}
