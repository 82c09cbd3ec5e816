//! Holds a program's child at a chosen system call between fork and exec, as a debugger does, so that what comes at exactly
//! that moment is a case and not a race.

#![expect(unsafe_code, reason = "ptrace")]

use std::io;
use std::os::fd::OwnedFd;
use std::ptr;

use crate::container::{Container, Setup};
use crate::launch;

const SYSTEM_CALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// A child that does not run.
pub struct Held {
    pid: i32,
    pidfd: OwnedFd,
}

/// Starts it and holds its first child when that begins with its `call`th system call (0: before its first instruction).
/// `None`: the child made fewer before its exec succeeded. This thread must be the one that lets the child go.
pub fn hold(setup: Setup, call: usize) -> (Container, Option<Held>) {
    let container = setup.before(|| request(libc::PTRACE_TRACEME, 0, 0)).start();
    let program = container.pid();
    assert_eq!(next_stop(program), Some(Stop::Signal(libc::SIGTRAP)), "the exec of the program");
    let events = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACESYSGOOD;
    request(libc::PTRACE_SETOPTIONS, program, events.into()).expect("options");
    request(libc::PTRACE_CONT, program, 0).expect("it goes on");
    let pid = match next_stop(program) {
        Some(Stop::Event(libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE)) => {
            message(program)
        }
        other => panic!("the program has no child yet, and {other:?}"),
    };
    let held = Held { pid, pidfd: launch::pidfd(pid).expect("it waits for us") };
    assert_eq!(next_stop(pid), Some(Stop::Signal(libc::SIGSTOP)), "a new child is stopped");
    request(libc::PTRACE_DETACH, program, 0).expect("the program goes on alone");
    let mut begins = false;
    let mut calls = 0;
    while calls < call {
        request(libc::PTRACE_SYSCALL, pid, 0).expect("it goes on");
        match next_stop(pid) {
            Some(Stop::Signal(SYSTEM_CALL_STOP)) => begins = !begins,
            Some(Stop::Event(libc::PTRACE_EVENT_EXEC)) => {
                held.let_go();
                return (container, None);
            }
            other => panic!("a child that was nobody's target: {other:?}"),
        }
        calls += usize::from(begins);
    }
    (container, Some(held))
}

impl Held {
    /// It runs on alone.
    pub fn let_go(self) {
        request(libc::PTRACE_DETACH, self.pid, 0).expect("it is still there");
        std::mem::forget(self);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A case has failed. As long as we trace it, nobody else can collect it.
        launch::kill_by(&self.pidfd, libc::SIGKILL);
        while next_stop(self.pid).is_some() {}
        let _ = launch::wait(self.pid);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Event(i32),
    Signal(i32),
}

/// Waits for a process that we trace; none: it ended, and is still to be collected by whoever waits for its end.
fn next_stop(pid: i32) -> Option<Stop> {
    let id = libc::id_t::try_from(pid).expect("a pid");
    let flags = libc::WEXITED | libc::WSTOPPED | libc::__WALL;
    // SAFETY: an all-zero siginfo is a valid one; the call writes it.
    let (result, info) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        (libc::waitid(libc::P_PID, id, &raw mut info, flags | libc::WNOWAIT), info)
    };
    if result == -1 || matches!(info.si_code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED) {
        return None;
    }
    let mut status = 0;
    // SAFETY: writes one int that lives here.
    launch::check(unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) }).expect("it is stopped");
    let event = status >> 16;
    Some(if event == 0 { Stop::Signal(libc::WSTOPSIG(status)) } else { Stop::Event(event) })
}

fn message(pid: i32) -> i32 {
    let mut message: libc::c_ulong = 0;
    // SAFETY: writes one word that lives here.
    let result = unsafe {
        libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, ptr::null_mut::<libc::c_void>(), &raw mut message)
    };
    assert_eq!(result, 0, "the pid of the child");
    i32::try_from(message).expect("a pid")
}

fn request(what: libc::c_uint, pid: i32, data: i64) -> io::Result<()> {
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: none of the requests made here touches memory of ours.
    if unsafe { libc::ptrace(what, pid, none, data) } == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
