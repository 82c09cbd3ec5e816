//! What the processes of runs use: one look at /proc for all of them. As PID 1 we see every process and who its parent is; else the
//! lists of children lead from a leader to its descendants.

#![expect(unsafe_code, reason = "a question that nix does not have")]

use std::time::Duration;

use super::children::Children;
use super::procfs::{self, Stat};
use super::{is_pid1, tag};
use crate::event::{Child, Pid, Usage};
use crate::gather::Gather;
use crate::sorted::Map;

/// So many processes are looked at; of a container with more, not all are counted.
const PROCESSES_MAX: usize = 4096;

/// Measures each of these runs.
#[inline(never)]
pub fn measure(children: &Children, runs: &[(Child, Pid)]) -> Vec<Usage> {
    let unit = Units::new();
    let mut usage = Vec::new();
    for processes in of_runs(children, runs) {
        let mut sum = Usage::default();
        for stat in &processes {
            unit.add(&mut sum, stat);
        }
        usage.push(sum);
    }
    usage
}

/// The living processes of each of these runs, the leader first.
pub fn of_runs(children: &Children, runs: &[(Child, Pid)]) -> Vec<Vec<Stat>> {
    let families = Families::new();
    let mut left = PROCESSES_MAX;
    let own = procfs::own_pid();
    // What was re-parented to us and has its mark or session is of the run, too.
    let strangers: Vec<(Stat, Option<(u64, u32)>)> = families
        .children(own)
        .into_iter()
        .filter(|pid| !children.knows(*pid))
        .take(PROCESSES_MAX)
        .filter_map(|pid| {
            Some((families.stat(pid)?, tag::carried(pid).and_then(|found| Some((found, tag::user(pid)?)))))
        })
        .gather();
    let of_run = |(child, leader): &(Child, Pid)| {
        let (tag, number, user) = (tag::of(child.instance), leader.number(), children.user(*leader));
        // The last is looked at first.
        let mut open = Vec::new();
        for (stat, carried) in &strangers {
            let has_mark = |(found, uid)| found == tag && tag::counts(uid, user);
            if carried.is_some_and(has_mark) || stat.session == number || stat.group == number {
                open.push(stat.pid);
            }
        }
        open.push(*leader);
        let mut found = Vec::new();
        while let (Some(pid), Some(fewer)) = (open.pop(), left.checked_sub(1)) {
            left = fewer;
            let Some(stat) = families.stat(pid) else { continue };
            found.push(stat);
            open.append(&mut families.children(pid.number()));
        }
        found
    };
    runs.iter().map(of_run).gather()
}

/// Who is whose child.
enum Families {
    /// All processes, each with its place among the children of its parent.
    Read { stats: Map<Pid, Stat>, children: Map<i32, Vec<Pid>> },
    /// The kernel's lists are asked.
    Lists,
}

impl Families {
    #[inline(never)]
    fn new() -> Self {
        if !is_pid1() && procfs::has_lists_of_children() {
            return Self::Lists;
        }
        let mut children: Map<i32, Vec<Pid>> = Map::new();
        let all = procfs::all().into_iter().take(PROCESSES_MAX);
        let stats: Map<Pid, Stat> = all.filter_map(|pid| Some((pid, Stat::of(pid)?))).collect();
        for stat in stats.values() {
            children.get_or_default(stat.parent).push(stat.pid);
        }
        Self::Read { stats, children }
    }

    fn stat(&self, pid: Pid) -> Option<Stat> {
        match self {
            Self::Read { stats, .. } => stats.get(&pid).cloned(),
            Self::Lists => Stat::of(pid),
        }
        .filter(|stat| !stat.ended())
    }

    fn children(&self, pid: i32) -> Vec<Pid> {
        match self {
            Self::Read { children, .. } => children.get(&pid).cloned().unwrap_or_default(),
            Self::Lists if pid == procfs::own_pid() => procfs::own_children().unwrap_or_default(),
            Self::Lists => Pid::new(pid).map(procfs::children_of).unwrap_or_default(),
        }
    }
}

/// In what /proc counts.
pub struct Units {
    tick: Duration,
    page_bytes: u64,
}

impl Units {
    /// Asks for them.
    pub fn new() -> Self {
        // SAFETY: what the kernel gave us at our start, 0 for what it did not.
        let of = |number| u32::try_from(unsafe { libc::getauxval(number) }).ok().filter(|value| *value > 0);
        Self {
            tick: Duration::from_secs(1) / of(libc::AT_CLKTCK).unwrap_or(100),
            page_bytes: u64::from(of(libc::AT_PAGESZ).unwrap_or(4096)),
        }
    }

    /// What of a process is in memory, in bytes.
    pub fn resident(&self, stat: &Stat) -> u64 {
        stat.pages.saturating_mul(self.page_bytes)
    }

    fn add(&self, usage: &mut Usage, stat: &Stat) {
        usage.cpu += self.tick * u32::try_from(stat.ticks).unwrap_or(u32::MAX);
        usage.memory = usage.memory.saturating_add(self.resident(stat));
        usage.processes += 1;
    }
}
