//! What is written to the container's output, and what is not because nobody reads there.

use super::Supervisor;
use crate::event::{Action, Overflow, Sink, Time, tell};
use crate::notice::Notice;

impl Supervisor {
    /// Nobody reads there.
    #[inline(never)]
    pub(super) fn stuck(&mut self, sink: Sink) {
        match self.plan.log.overflow {
            Overflow::Block => self.logs.stuck(sink),
            Overflow::Drop => self.overflowing.stuck(sink),
        }
    }

    /// Somebody reads there again.
    pub(super) fn flows(&mut self, now: Time, sink: Sink, out: &mut Vec<Action>) {
        self.logs.flows(now, sink);
        self.tell_unread(sink, out);
    }

    fn tell_unread(&mut self, sink: Sink, out: &mut Vec<Action>) {
        for (id, lines) in self.overflowing.flows(sink) {
            tell(out, Notice::Unread { name: self.name(id), lines });
        }
    }

    /// Nobody will.
    pub(super) fn tell_all_unread(&mut self, out: &mut Vec<Action>) {
        self.tell_unread(Sink::Stdout, out);
        self.tell_unread(Sink::Stderr, out);
    }
}
