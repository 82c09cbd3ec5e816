//! The looks at what is left, and the collecting of the dead.

use super::*;
use crate::violation;

impl World {
    pub(super) fn sweep(&mut self, child: Child, leader: Pid, signal: Signal, spare: &[Pid]) -> Vec<Process> {
        let number = leader.number();
        let direct = |proc: &Proc| {
            // By the group's number alone a stranger could be hit once the leader is released and the number is
            // somebody else's: the kernel must look at the mark too.
            let ours = proc.owner.is_some_and(|owner| owner.instance == child.instance);
            ours && !proc.spawned
                && (proc.group == number || proc.session == number || proc.parent == Parent::Us)
        };
        if self
            .procs
            .values()
            .any(|p| p.group == number && p.owner.is_none_or(|o| o.instance != child.instance))
        {
            self.count("sweep of a number that is somebody else's by now");
        }
        let mut found: Vec<u64> =
            self.procs.values().filter(|proc| direct(proc)).map(|proc| proc.serial).collect();
        let mut at = 0;
        while let Some(parent) = found.get(at).copied() {
            let below =
                self.procs.values().filter(|proc| proc.parent == Parent::Process(parent)).map(|p| p.serial);
            let below: Vec<u64> = below.filter(|serial| !found.contains(serial)).collect();
            found.extend(below);
            at += 1;
        }
        found.retain(|serial| self.procs[serial].lives());
        let fresh: Vec<u64> =
            found.iter().copied().filter(|serial| !spare.contains(&self.procs[serial].pid())).collect();
        let all = self.hit(&found, None, false);
        self.hit(&fresh, Some(signal), true);
        all
    }

    pub(super) fn hit(&mut self, found: &[u64], signal: Option<Signal>, cont: bool) -> Vec<Process> {
        let seen = found.iter().map(|serial| {
            let proc = &self.procs[serial];
            Process { pid: proc.pid(), name: format!("#{serial}") }
        });
        let seen = seen.collect();
        if let Some(signal) = signal {
            for serial in found {
                self.send(*serial, signal);
                if cont {
                    self.send(*serial, Signal::CONT);
                }
            }
        }
        seen
    }

    pub(super) fn spawned_serial(&self, pid: Pid, what: &str) -> u64 {
        match self.leader(pid) {
            Some(proc) => proc.serial,
            None => violation!("{what} for {pid:?}, which is no unreleased child of ours"),
        }
    }

    pub(super) fn release(&mut self, pid: Pid) {
        if self.reported.take() != Some(pid) {
            violation!("release of {pid:?}, whose end was not reported");
        }
        let found = self.procs.values().find(|p| p.pid == pid.number() && !p.lives()).map(|p| p.serial);
        let serial = found.unwrap();
        if let (Some(child), true) = (self.procs[&serial].owner, self.procs[&serial].spawned) {
            self.runs.get_mut(&child).unwrap().released = true;
        }
        self.bury(serial);
    }
}
