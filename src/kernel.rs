//! The world, as the core sees it: three methods. `sys` implements them on Linux, the simulator in virtual time.

use crate::event::{Action, Care, Event, Pid, Time};
use crate::units::Signal;

/// Until when it is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// Until then at the latest.
    pub at: Time,
    /// Whether somebody else's time is measured by it, as a timeout does: time in which nobody ran must not count. It takes waking up
    /// now and then to notice that; what is only planned, such as the next health check, may come early after a freeze.
    pub measures: bool,
}

/// Whom a signal is for, asked as soon as it is there: calls back with each receiver and what it is to get. Those are sent it before
/// anything else is looked at. We slept, so each line of code between its arrival and that comes from memory; and often the receiver runs
/// on our CPU as soon as we sleep again, not sooner. So whoever answers this looks up and does nothing.
pub type AtOnce<'a> = &'a dyn Fn(Signal, &mut dyn FnMut(Pid, Signal)) -> Care;

/// The only clock, the only place that blocks, the only place that acts.
pub trait Kernel {
    /// The present moment on the monotonic clock.
    fn now(&self) -> Time;

    /// Waits until something happens or `until` is there, and adds what happened to `events`. Adds nothing when only the
    /// deadline came. `None` waits as long as it takes.
    ///
    /// Signals are passed on as `at_once` has it. Behind one that is to be decided they are all reported as `Signal`, to keep their order.
    ///
    /// Of ended children that the core made it reports one at a time and the same again until that one is released, so that the core
    /// can act on each while its pid is still reserved.
    fn wait(&mut self, until: Option<Until>, at_once: AtOnce, events: &mut Vec<Event>);

    /// Carries out one action and adds its immediate answers to `events`. Nothing that goes wrong is lost: it comes back as
    /// an event, or concerns only what is already gone.
    fn perform(&mut self, action: Action, events: &mut Vec<Event>);
}
