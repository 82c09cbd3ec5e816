//! The table of our children from spawn to release, and the only place that reaps. A pid in the table cannot belong to anybody
//! else, because an ended child keeps it until it is collected; so only pids in the table are ever signalled by number.

#![expect(unsafe_code, reason = "waitid and kill with numbers that nix has no names for: real-time signals")]

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::child::{Failure, REPORT_BYTES};
use super::poll::{Interest, Poll};
use super::procfs;
use super::spawn::Attempt;
use crate::event::{Child, ExitStatus, InstanceId, Pid};
use crate::sorted::Map;
use crate::units::Signal;

/// Strangers that are collected before signals are looked for again.
const STRANGERS_PER_TURN: usize = 16;

/// All children that we made and have not released.
#[derive(Debug, Default)]
pub struct Children {
    known: Map<Pid, Known>,
    /// The number after that of the last stranger that was collected.
    neighbour: Option<Pid>,
}

#[derive(Debug)]
struct Known {
    child: Child,
    /// The user that it shall be; `None`: ours.
    uid: Option<u32>,
    /// Until it is known how the exec went.
    starting: Option<Starting>,
}

#[derive(Debug)]
struct Starting {
    report: OwnedFd,
    attempt: Attempt,
}

/// How an exec went.
#[derive(Debug)]
pub enum Start {
    /// The program runs.
    Executed(Child),
    /// A step before it failed.
    Failed(Child, Failure, Attempt),
}

impl Children {
    /// Adds a child that was just made.
    #[inline(never)]
    pub fn add(&mut self, pid: Pid, child: Child, report: OwnedFd, attempt: Attempt) {
        let uid = attempt.uid;
        self.known.insert(pid, Known { child, uid, starting: Some(Starting { report, attempt }) });
    }

    /// What this pid is to us.
    pub fn get(&self, pid: Pid) -> Option<Child> {
        self.known.get(&pid).map(|known| known.child)
    }

    /// The user that a child began as; `None`: who we are.
    pub fn user(&self, pid: Pid) -> Option<u32> {
        self.known.get(&pid)?.uid
    }

    /// Whether a process is a child that we made.
    pub fn knows(&self, pid: Pid) -> bool {
        self.known.contains_key(&pid)
    }

    /// Whether an instance has any.
    pub fn has(&self, instance: InstanceId) -> bool {
        self.known.values().any(|known| known.child.instance == instance)
    }

    /// Adds to `poll` the children whose program does not run yet.
    pub fn watch<Owner: Copy>(&self, poll: &mut Poll<Owner>, owner: impl Fn(Pid) -> Owner) {
        for (pid, known) in &self.known {
            if let Some(starting) = &known.starting {
                poll.watch(owner(*pid), starting.report.as_fd(), Interest::Read);
            }
        }
    }

    /// How the exec of a child went, once, as soon as it is known. `ended`: the child is no more.
    #[inline(never)]
    pub fn started(&mut self, pid: Pid, ended: bool) -> Option<Start> {
        let known = self.known.get_mut(&pid)?;
        let child = known.child;
        let mut bytes = [0; REPORT_BYTES];
        let read = nix::unistd::read(&known.starting.as_ref()?.report, &mut bytes);
        if let Err(Errno::EAGAIN | Errno::EINTR) = read
            && !ended
        {
            return None;
        }
        let Starting { attempt, .. } = known.starting.take()?;
        match read.ok().and_then(|count| Failure::from_bytes(bytes.get(..count)?)) {
            Some(failure) => Some(Start::Failed(child, failure, attempt)),
            // A dying process closes its files before it counts as ended.
            // A signal ended it before it came so far; its exit says which.
            None if procfs::never_executed(pid) => None,
            None => Some(Start::Executed(child)),
        }
    }

    /// Signals a child. Anybody else is left alone.
    pub fn signal(&self, pid: Pid, signal: Signal) {
        if self.is_ours(pid) {
            report(pid, signal, kill(pid.number(), signal.number()));
        }
    }

    /// Signals a child's process group, or the child alone if it has not made one yet.
    pub fn signal_group(&self, leader: Pid, signal: Signal) {
        if self.is_ours(leader) {
            let result = match kill(-leader.number(), signal.number()) {
                Err(Errno::ESRCH) => kill(leader.number(), signal.number()),
                other => other,
            };
            // One that has ended is still in its group, and nobody needs to reach it.
            let ended = || procfs::Stat::of(leader).is_some_and(|stat| stat.ended());
            match result {
                Err(Errno::EPERM) if ended() => {}
                _ => report(leader, signal, result),
            }
        }
    }

    /// Collects ended strangers, `first` among them; so many that signals do not wait for long.
    ///
    /// To look who has ended, and then to collect him, is two calls for each. A crowd mostly has numbers in a row, so after two such the
    /// next one is asked for without a look: one call.
    #[inline(never)]
    pub fn collect_strangers(&mut self, first: Pid) -> Vec<(Pid, ExitStatus)> {
        let mut collected = Vec::with_capacity(STRANGERS_PER_TURN);
        let (mut next, mut seen) = (Some(first), true);
        // A neighbour may be a child of ours, and that is not to be collected here.
        while let Some(pid) = next.filter(|pid| !self.knows(*pid)) {
            let in_a_row = self.neighbour == Some(pid);
            next = None;
            if let Some(ended) = collect(pid) {
                collected.push(ended);
                self.neighbour = Pid::new(pid.number().saturating_add(1));
                if collected.len() >= STRANGERS_PER_TURN {
                    break;
                }
                next = self.neighbour.filter(|_| in_a_row);
            } else if seen {
                // It had ended, and cannot be had: no use to ask again now.
                break;
            }
            seen = next.is_none();
            next = next.or_else(|| ended().map(|(pid, _)| pid));
        }
        collected
    }

    /// Collects an ended child, if that has not been done. From now on its pid may belong to somebody else.
    pub fn release(&mut self, pid: Pid) {
        if collect(pid).is_none() {
            say!(Debug, "{pid:?} cannot be released: it has not ended");
            return;
        }
        self.known.remove(&pid);
    }

    fn is_ours(&self, pid: Pid) -> bool {
        let ours = self.knows(pid);
        debug_assert!(ours, "{pid:?} is not in the table");
        if !ours {
            say!(Error, "{pid:?} is not signalled: it is not ours");
        }
        ours
    }
}

/// A child that has ended, ours or a stranger; the same until it is collected.
pub fn ended() -> Option<(Pid, ExitStatus)> {
    wait_for(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

/// What has stopped a child of ours, once.
pub fn stopped(pid: Pid) -> Option<Signal> {
    let (code, _, signal) = wait_id(libc::P_PID, pid.number(), libc::WSTOPPED | libc::WNOHANG)?;
    stop_signal(code, signal)
}

/// By what waitid(2) tells of a stop.
fn stop_signal(code: libc::c_int, status: libc::c_int) -> Option<Signal> {
    /// gVisor tells it as an end, by this signal. The keyboard's it most likely was.
    const GVISOR: libc::c_int = 0x7f;
    match (code, status) {
        (libc::CLD_STOPPED, signal) => Signal::new(signal),
        (libc::CLD_KILLED, GVISOR) => Some(Signal::TSTP),
        _ => None,
    }
}

/// Until nobody is left: for a copy of us that has made others.
pub fn wait_for_all() {
    while wait_id(libc::P_ALL, 0, libc::WEXITED).is_some() {}
}

fn collect(pid: Pid) -> Option<(Pid, ExitStatus)> {
    wait_for(libc::P_PID, pid.number(), libc::WEXITED | libc::WNOHANG)
}

fn wait_for(kind: libc::idtype_t, id: i32, options: libc::c_int) -> Option<(Pid, ExitStatus)> {
    let (code, pid, status) = wait_id(kind, id, options)?;
    let by_signal = |core| ExitStatus::Signal { signal: Signal::new(status).unwrap_or(Signal::KILL), core };
    let status = match code {
        libc::CLD_KILLED => by_signal(false),
        libc::CLD_DUMPED => by_signal(true),
        libc::CLD_EXITED => ExitStatus::Code(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
        _ => return None, // a stop, which is told without being asked for to whoever traces a process
    };
    Some((Pid::new(pid)?, status))
}

/// waitid(2): what happened, to whom, and the code or signal.
fn wait_id(kind: libc::idtype_t, id: i32, options: libc::c_int) -> Option<(libc::c_int, i32, libc::c_int)> {
    // SAFETY: all zeroes is a siginfo_t; the kernel leaves it so when there is nobody.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: writes one siginfo_t that lives here.
        match Errno::result(unsafe { libc::waitid(kind, id.cast_unsigned(), &raw mut info, options) }) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(_) => return None, // no children
        }
    }
    // SAFETY: waitid fills these two fields.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Some((info.si_code, pid, status))
}

/// kill(2), also with real-time signals and 0.
pub fn kill(target: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: plain call; whom it may hit is the callers' care.
    Errno::result(unsafe { libc::kill(target, signal) }).map(drop)
}

fn report(pid: Pid, signal: Signal, result: Result<(), Errno>) {
    match result {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(Errno::EPERM) => say!(
            Warn,
            "{pid:?} cannot be sent {signal}: it runs as another user, and the container lacks CAP_KILL"
        ),
        Err(errno) => say!(Warn, "{pid:?} cannot be sent {signal}: {}", super::word(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_told_in_two_ways() {
        for (code, status, signal) in [
            (libc::CLD_STOPPED, 20, Some(Signal::TSTP)),
            (libc::CLD_STOPPED, 19, Signal::new(19)),
            (libc::CLD_KILLED, 127, Some(Signal::TSTP)),
            (0, 0, None),
        ] {
            assert_eq!(stop_signal(code, status), signal, "{code} {status}");
        }
    }
}
