//! Finds what a service left behind and who else is there, and signals it. Nobody is signalled who was not just seen, and never a
//! child that we made and have not released: those have their own orders.

#![expect(unsafe_code, reason = "signals through pidfds")]

use std::cell::Cell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::children::{self, Children};
use super::procfs::{self, Stat};
use super::tag;
use crate::event::{Child, Mark, Pid, Process};
use crate::gather::Gather;
use crate::sorted::{Map, Set};
use crate::units::Signal;

/// So many command lines are read for their names.
const NAMES_MAX: usize = 32;

/// So much is read of the environments of those who have no number: the usual ones of two thousand, the largest of four.
const ENVIRONMENTS_MAX_BYTES: usize = 8 << 20;

/// Without /proc, the pids that are tried when one is wanted to name.
const PIDS_TRIED: i32 = 32_768;

/// What is left of a child whose leader has ended: processes of its group or session, those that carry its mark, and all their
/// descendants. They hang below us since the leader's end, beside the children that we know, so nobody else is looked at.
#[inline(never)]
pub fn remains(
    children: &mut Children,
    child: Child,
    leader: Pid,
    mark: &Mark,
    signal: Signal,
    spare: &[Pid],
) -> Vec<Process> {
    // Not yet released, the number is still the leader's.
    let reserved = children.get(leader) == Some(child);
    let Some(ours) = procfs::own_children() else {
        // An ended leader counts as a member of its group as long as it is there, and would hide that it was the last. So it is
        // collected here; while anybody else is in the group, its number still goes to no new process.
        if reserved {
            children.release(leader);
        }
        let reused = children.knows(leader);
        let signal = spare.is_empty().then_some(signal);
        return if reused { Vec::new() } else { group_without_proc(leader, signal) };
    };
    let strangers: Vec<Pid> = ours
        .into_iter()
        .filter(|pid| !children.knows(*pid) && Stat::of(*pid).is_some_and(|stat| !stat.ended()))
        .gather();
    if strangers.is_empty() {
        return Vec::new();
    }
    // As long as anybody is in the leader's group the kernel gives its number to no new process.
    let reused = !reserved && Stat::of(leader).is_some_and(|stat| !stat.ended());
    let left = Cell::new(ENVIRONMENTS_MAX_BYTES);
    let belongs = |stat: &Stat| {
        let number = leader.number();
        (!reused && (stat.group == number || stat.session == number))
            || tag::either(stat.pid, child.instance, mark, &left)
    };
    let found = below(strangers, &belongs);
    signal_all(found.iter().filter(|stat| !spare.contains(&stat.pid)), Some(signal));
    processes(&found)
}

/// Everybody else: as PID 1 all processes there are, else our own descendants.
#[inline(never)]
pub fn strays(signal: Option<Signal>) -> Vec<Process> {
    let everywhere = procfs::own_pid() == 1;
    // Most often there is nobody, and one call says so.
    if everywhere && children::kill(-1, 0) == Err(Errno::ESRCH) {
        return Vec::new();
    }
    if !procfs::available() {
        return if everywhere { everybody_without_proc(signal) } else { Vec::new() };
    }
    let found: Vec<Stat> = if everywhere {
        let others = procfs::all().into_iter().filter(|pid| pid.number() != 1).filter_map(Stat::of);
        others.filter(|stat| !stat.kernel_thread() && !stat.ended()).gather()
    } else {
        below(procfs::own_children().unwrap_or_default(), &|_| true)
    };
    if everywhere {
        signal_everybody(signal);
    } else {
        signal_all(found.iter(), signal);
    }
    processes(&found)
}

/// Signals everybody but us: as PID 1 all processes there are, else our own descendants.
#[inline(never)]
pub fn signal_others(signal: Signal) {
    if procfs::own_pid() == 1 {
        let _ = children::kill(-1, signal.number()); // nobody there is fine
        return;
    }
    for stat in below(procfs::own_children().unwrap_or_default(), &|_| true) {
        if let Err(errno) = signal_seen(&stat, [Some(signal), None]) {
            say!(Debug, "{:?} cannot be signalled: {}", stat.pid, super::word(errno));
        }
    }
}

/// As they are told; nobody reads the names of thousands.
fn processes(found: &[Stat]) -> Vec<Process> {
    found.iter().enumerate().map(|(index, stat)| stat.process(index < NAMES_MAX)).gather()
}

/// Those of `roots` and their descendants that live and belong. Whose ancestor belongs, belongs. Costs by them, not by the number
/// of processes in the container.
pub fn below(roots: Vec<Pid>, belongs: &dyn Fn(&Stat) -> bool) -> Vec<Stat> {
    let families = Families::new();
    let mut found = Vec::new();
    // Nobody twice: a pid that moved while we read cannot lead in a circle.
    let mut seen: Set<Pid> = roots.iter().copied().collect();
    let mut open: Vec<(Pid, bool)> = roots.into_iter().map(|pid| (pid, false)).gather();
    while let Some((pid, inherited)) = open.pop() {
        // The children of one that has ended are ours by now.
        let Some(stat) = Stat::of(pid).filter(|stat| !stat.ended()) else { continue };
        let member = inherited || belongs(&stat);
        for child in families.children(pid) {
            if seen.insert(child) {
                open.push((child, member));
            }
        }
        if member {
            found.push(stat);
        }
    }
    found
}

/// Who is whose child.
enum Families {
    /// The kernel has lists.
    Lists,
    /// It has none; all processes were read.
    Read(Map<i32, Vec<Pid>>),
}

impl Families {
    fn new() -> Self {
        if procfs::has_lists_of_children() {
            return Self::Lists;
        }
        let mut families: Map<i32, Vec<Pid>> = Map::new();
        for stat in procfs::all().into_iter().filter_map(Stat::of) {
            families.get_or_default(stat.parent).push(stat.pid);
        }
        Self::Read(families)
    }

    fn children(&self, pid: Pid) -> Vec<Pid> {
        match self {
            Self::Lists => procfs::children_of(pid),
            Self::Read(families) => families.get(&pid.number()).cloned().unwrap_or_default(),
        }
    }
}

fn signal_all<'a>(found: impl Iterator<Item = &'a Stat>, signal: Option<Signal>) {
    for stat in found {
        if let Err(errno) = signal_seen(stat, with_continue(signal)) {
            say!(Debug, "{:?} cannot be signalled: {}", stat.pid, super::word(errno));
        }
    }
}

/// A stopped process acts on a signal only once it continues; SIGKILL needs no help.
fn with_continue(signal: Option<Signal>) -> [Option<Signal>; 2] {
    let after = signal.filter(|signal| !matches!(*signal, Signal::KILL | Signal::CONT)).map(|_| Signal::CONT);
    [signal, after]
}

/// Signals a process only if it is still the one that was seen. It is not our child, perhaps, so its pid may be reused any time.
#[inline(never)]
fn signal_seen(seen: &Stat, signals: [Option<Signal>; 2]) -> Result<(), Errno> {
    let same = || Stat::of(seen.pid).is_some_and(|now| now.start == seen.start);
    if signals == [None, None] {
        return Ok(());
    }
    let pidfd = match open_pidfd(seen.pid) {
        Err(Errno::ESRCH) => return Ok(()),
        opened => opened.ok(),
    };
    if !same() {
        return Ok(());
    }
    for signal in signals {
        let Some(signal) = signal else { continue };
        let through = pidfd.as_ref().map(|pidfd| send_through(pidfd, signal));
        match through {
            Some(Ok(()) | Err(Errno::ESRCH)) => {}
            // An older kernel, or a filter that does not know the calls: then as quickly as can be.
            Some(Err(_)) | None => children::kill(seen.pid.number(), signal.number())?,
        }
    }
    Ok(())
}

fn open_pidfd(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: plain call; the new descriptor, which closes on exec, is nobody else's.
    unsafe {
        let number = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid.number(), 0))?;
        Ok(OwnedFd::from_raw_fd(i32::try_from(number).map_err(|_| Errno::EMFILE)?))
    }
}

fn send_through(pidfd: &OwnedFd, signal: Signal) -> Result<(), Errno> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without an info the call takes nothing from memory.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal.number(), no_info, 0) };
    Errno::result(result).map(drop)
}

/// The group alone.
fn group_without_proc(leader: Pid, signal: Option<Signal>) -> Vec<Process> {
    if send_all(-leader.number(), signal) { vec![unnamed(leader)] } else { Vec::new() }
}

fn everybody_without_proc(signal: Option<Signal>) -> Vec<Process> {
    if !send_all(-1, signal) {
        return Vec::new();
    }
    let somebody = (2..PIDS_TRIED).find(|pid| children::kill(*pid, 0).is_ok()).unwrap_or(PIDS_TRIED);
    Pid::new(somebody).map(unnamed).into_iter().gather()
}

fn unnamed(pid: Pid) -> Process {
    Process { pid, name: "unknown".to_owned() }
}

fn signal_everybody(signal: Option<Signal>) {
    for signal in with_continue(signal) {
        let Some(signal) = signal else { continue };
        let _ = children::kill(-1, signal.number()); // nobody there is fine
    }
}

/// Whether there is anybody, after signalling all of them.
fn send_all(target: i32, signal: Option<Signal>) -> bool {
    let there = children::kill(target, 0) != Err(Errno::ESRCH);
    for signal in with_continue(signal) {
        let Some(signal) = signal else { continue };
        let _ = children::kill(target, signal.number());
    }
    there
}
