//! What is written to the container's output, and what is not because nobody reads there.

use super::Supervisor;
use crate::event::{Action, InstanceId, Sink};
use crate::notice::Notice;

impl Supervisor {
    /// Writes lines of an instance, unless they are to be dropped.
    pub(super) fn write(&mut self, instance: InstanceId, sink: Sink, bytes: Vec<u8>, out: &mut Vec<Action>) {
        if !bytes.is_empty() && !self.overflowing.drops(sink, instance, &bytes) {
            out.push(Action::Write { sink, bytes });
        }
    }

    /// Somebody reads there again.
    pub(super) fn flows(&mut self, sink: Sink, out: &mut Vec<Action>) {
        for (id, lines) in self.overflowing.flows(sink) {
            out.push(Action::Tell(Notice::Unread { name: self.name(id), lines }));
        }
    }

    /// Nobody will.
    pub(super) fn tell_all_unread(&mut self, out: &mut Vec<Action>) {
        self.flows(Sink::Stdout, out);
        self.flows(Sink::Stderr, out);
    }
}
