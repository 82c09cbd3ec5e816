//! How everything about memory reads.

use std::fmt::{self, Display, Formatter};
use std::rc::Rc;
use std::time::Duration;

use super::{Cause, Next};
use crate::gather::Joined;
use crate::units::{Shown, Signal, show_size};

/// `262M of 300M (87%)`.
pub(super) struct Part {
    pub used: u64,
    pub whole: u64,
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let percent = self.used.saturating_mul(100) / self.whole.max(1);
        write!(f, "{} of {} ({percent}%)", show_size(self.used), show_size(self.whole))
    }
}

/// Which process of a run holds most of its memory; nothing where that is not what it failed by.
pub(super) struct Holder<'a>(pub &'a Cause);

impl Display for Holder<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Cause::OverMemory { holder: Some(holder), .. }
            | Cause::ShortMemory { holder: Some(holder), .. } => {
                let (process, bytes) = &**holder;
                let held = show_size(*bytes);
                write!(f, ", most of it \"{}\" (pid {}) with {held}", process.name, process.pid)
            }
            Cause::OverMemory { holder: None, .. }
            | Cause::ShortMemory { holder: None, .. }
            | Cause::OutOfMemory { .. }
            | Cause::Exit(_)
            | Cause::Unready(_)
            | Cause::Start(_)
            | Cause::NotReady(_)
            | Cause::Unhealthy { .. }
            | Cause::Watchdog { .. } => Ok(()),
        }
    }
}

/// The end of a run that was stopped for its memory; why was told when it was.
pub(super) fn stopped(
    f: &mut Formatter<'_>,
    name: &str,
    uptime: Shown<Duration>,
    held: u64,
    why: &str,
    next: &Next,
) -> fmt::Result {
    write!(f, "{name}: stopped after {uptime}, as it held {} {why}; {next}", show_size(held))
}

/// `over its memory limit: it holds 301M and may hold 300M`.
pub(super) fn over(f: &mut Formatter<'_>, bytes: u64, limit: u64) -> fmt::Result {
    let (bytes, limit) = (show_size(bytes), show_size(limit));
    write!(f, "over its memory limit: it holds {bytes} and may hold {limit}")
}

/// `code 137, SIGKILL: out of memory (the container's limit is 300M, it held 280M)`.
#[inline(never)]
pub(super) fn out_of_memory(
    f: &mut Formatter<'_>,
    held: Option<u64>,
    limit: Option<u64>,
    own: bool,
) -> fmt::Result {
    write!(f, "code 137, {}: out of memory", Signal::KILL)?;
    let whose = if own { "its memory_limit" } else { "the container's limit" };
    let mut known = Vec::new();
    if let Some(limit) = limit {
        known.push(format!("{whose} is {}", show_size(limit)));
    }
    if let Some(held) = held {
        known.push(format!("it held {}", show_size(held)));
    }
    if known.is_empty() { Ok(()) } else { write!(f, " ({})", known.listed()) }
}

/// `api: out of memory: the kernel killed 2 of its processes`.
pub(super) fn killed(f: &mut Formatter<'_>, name: Option<&Rc<str>>, count: u64) -> fmt::Result {
    match (name, count) {
        (Some(name), 1) => write!(f, "{name}: out of memory: the kernel killed one of its processes"),
        (Some(name), _) => write!(f, "{name}: out of memory: the kernel killed {count} of its processes"),
        (None, 1) => f.write_str(
            "out of memory: the kernel killed one process in the container, no main process of a service",
        ),
        (None, _) => write!(
            f,
            "out of memory: the kernel killed {count} processes in the container, no main process of a service"
        ),
    }
}
