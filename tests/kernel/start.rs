//! Starting processes: what they find, and why they may not start.

use std::os::fd::AsRawFd;

use tinysup::event::{ExitStatus, Output};
use tinysup::units::Signal;

use crate::Case;
use crate::world::{World, service, shell};

pub const CASES: &[Case] = &[
    ("exec_and_exit_code", exec_and_exit_code),
    ("death_by_signal", death_by_signal),
    ("children_get_three_descriptors", children_get_three_descriptors),
    ("clean_signals", clean_signals),
];

fn exec_and_exit_code() {
    let mut world = World::new();
    let outcome = world.run(shell("echo out; echo err >&2; exit 7"));
    assert!(outcome.executed && outcome.error.is_none());
    assert_eq!(outcome.status, Some(ExitStatus::Code(7)));
    assert_eq!((outcome.stdout.as_slice(), outcome.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
}

fn death_by_signal() {
    let mut world = World::new();
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11), ("37", 37), ("64", 64)] {
        let outcome = world.run(shell(&format!("ulimit -c 0; kill -{name} $$")));
        let signal = Signal::new(number).unwrap();
        assert_eq!(outcome.status, Some(ExitStatus::Signal { signal, core: false }), "{name}");
    }
}

fn children_get_three_descriptors() {
    // Inherited, and open across exec: not for services.
    let stray = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: clears a flag of our own descriptor.
    unsafe { libc::fcntl(stray.as_raw_fd(), libc::F_SETFD, 0) };
    let mut world = World::new();
    let mut launch = service(["/bin/ls", "/proc/self/fd"]);
    assert_eq!(world.run(launch.clone()).text(), "0\n1\n2\n3\n"); // 3 is the directory that ls reads
    launch.stderr = Output::Null;
    assert_eq!(world.run(launch).text(), "0\n1\n2\n3\n");
}

fn clean_signals() {
    let mut world = World::new();
    let status = world.run(service(["/bin/cat", "/proc/self/status"])).text();
    for field in ["SigBlk", "SigIgn", "SigCgt", "SigPnd"] {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
}
