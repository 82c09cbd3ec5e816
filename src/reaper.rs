//! Who our children are, from spawn until we let them go. Decides whose end an exit is; the owner is known from the
//! start, never guessed, so a stranger's status is never taken for a service's.

use crate::event::{Child, Pid};
use crate::sorted::Map;

/// The table of our living and not yet released children.
#[derive(Debug, Default)]
pub struct Reaper {
    owners: Map<Pid, Child>,
}

impl Reaper {
    /// Remembers a new child.
    pub fn own(&mut self, pid: Pid, child: Child) {
        self.owners.insert(pid, child);
    }

    /// Forgets a child that has ended and says whose it was. The pid is still reserved:
    /// whoever calls this orders the release next.
    pub fn forget(&mut self, pid: Pid) -> Option<Child> {
        self.owners.remove(&pid)
    }
}
