//! What the processes of runs use: one look at /proc for all of them. As PID 1 we see every process and who its parent is; else the
//! lists of children lead from a leader to its descendants.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::children::Children;
use super::procfs::{self, Stat};
use super::{is_pid1, tag};
use crate::event::{Child, Pid, Usage};

/// So many processes are looked at; of a container with more, not all are counted.
const PROCESSES_MAX: usize = 4096;

/// Measures each of these runs.
pub fn measure(children: &Children, runs: &[(Child, Pid)]) -> Vec<Usage> {
    let families = Families::new();
    let unit = Units::new();
    let mut left = PROCESSES_MAX;
    let own = procfs::own_pid();
    let strangers: Vec<Pid> =
        families.children(own).into_iter().filter(|pid| !children.knows(*pid)).take(PROCESSES_MAX).collect();
    runs.iter()
        .map(|(child, leader)| {
            let mut usage = Usage::default();
            // What was re-parented to us and carries its mark is of the run, too.
            let adopted = strangers.iter().copied().filter(|pid| tag::carries(*pid, child.instance));
            let mut open: Vec<Pid> = [*leader].into_iter().chain(adopted).collect();
            while let (Some(pid), Some(fewer)) = (open.pop(), left.checked_sub(1)) {
                left = fewer;
                let Some(stat) = families.stat(pid) else { continue };
                unit.add(&mut usage, &stat);
                open.extend(families.children(pid.number()));
            }
            usage
        })
        .collect()
}

/// Who is whose child.
enum Families {
    /// All processes, each with its place among the children of its parent.
    Read { stats: BTreeMap<Pid, Stat>, children: BTreeMap<i32, Vec<Pid>> },
    /// The kernel's lists are asked.
    Lists,
}

impl Families {
    fn new() -> Self {
        if !is_pid1() && procfs::has_lists_of_children() {
            return Self::Lists;
        }
        let mut children: BTreeMap<i32, Vec<Pid>> = BTreeMap::new();
        let stats: BTreeMap<Pid, Stat> =
            procfs::all().take(PROCESSES_MAX).filter_map(|pid| Some((pid, Stat::of(pid)?))).collect();
        for stat in stats.values() {
            children.entry(stat.parent).or_default().push(stat.pid);
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
            Self::Lists if pid == procfs::own_pid() => procfs::own_children(),
            Self::Lists => Pid::new(pid).map(procfs::children_of).unwrap_or_default(),
        }
    }
}

/// In what /proc counts.
struct Units {
    tick: Duration,
    page_bytes: u64,
}

impl Units {
    fn new() -> Self {
        let of = |variable| sysconf(variable).ok().flatten().and_then(|value| u32::try_from(value).ok());
        Self {
            tick: Duration::from_secs(1) / of(SysconfVar::CLK_TCK).filter(|ticks| *ticks > 0).unwrap_or(100),
            page_bytes: u64::from(of(SysconfVar::PAGE_SIZE).unwrap_or(4096)),
        }
    }

    fn add(&self, usage: &mut Usage, stat: &Stat) {
        usage.cpu += self.tick * u32::try_from(stat.ticks).unwrap_or(u32::MAX);
        usage.memory = usage.memory.saturating_add(stat.pages.saturating_mul(self.page_bytes));
        usage.processes += 1;
    }
}
