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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{InstanceId, Role};

    /// Else the table would grow with each restart, and what gets the number again later would count as the service's.
    #[test]
    fn who_has_been_told_of_is_nobodys() {
        let child = |instance| Child { instance: InstanceId(instance), run: 1, role: Role::Main };
        let [first, second] = [7, 8].map(|number| Pid::new(number).unwrap());
        let mut reaper = Reaper::default();
        reaper.own(first, child(0));
        reaper.own(second, child(1));
        assert_eq!(reaper.forget(first), Some(child(0)));
        assert_eq!(reaper.forget(first), None);
        assert_eq!(reaper.forget(second), Some(child(1)));
        reaper.own(first, child(2));
        assert_eq!(reaper.forget(first), Some(child(2)));
    }
}
