//! What the cases start as children: this program again, in other parts.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

pub fn run(arguments: &[String]) -> ExitCode {
    // Early blocked everything; a service starts with a clean mask and keeps it.
    nix::sys::signal::SigSet::empty().thread_set_mask().expect("a signal mask");
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    match arguments[0].as_str() {
        "orphans" => orphans(number(1)),
        "flood" => flood(number(1)),
        "fault" => fault(&arguments[1]),
        "wait" => wait_for_ever(),
        other => panic!("no helper {other}"),
    }
    ExitCode::SUCCESS
}

/// Leaves that many children behind, which end when we do.
fn orphans(count: usize) {
    let (read_end, write_end) = nix::unistd::pipe().expect("a pipe");
    let began = std::time::Instant::now();
    let mut made = 0;
    while made < count {
        // SAFETY: one thread; the child only reads and exits.
        match unsafe { libc::fork() } {
            0 => {
                drop(write_end);
                let _ = nix::unistd::read(&read_end, &mut [0]);
                // SAFETY: ends the child without running anything.
                unsafe { libc::_exit(3) }
            }
            // Others on this machine may have taken the last pids for a moment.
            -1 if began.elapsed() < Duration::from_secs(30) => std::thread::yield_now(),
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            _ => made += 1,
        }
    }
    println!("forked {count}");
}

fn flood(bytes: usize) {
    let line = [b'x'; 99].into_iter().chain([b'\n']).collect::<Vec<u8>>();
    let chunk = line.repeat(640);
    let mut out = std::io::stdout().lock();
    let mut left = bytes;
    while left > 0 {
        let part = left.min(chunk.len());
        out.write_all(&chunk[..part]).expect("a reader");
        left -= part;
    }
    out.flush().expect("a reader");
}

fn wait_for_ever() {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// An init with a fault of its own.
fn fault(kind: &str) {
    let _world = crate::world::World::new();
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: none; that is the point. No core dump, though.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
        match kind {
            "segv" => std::ptr::null_mut::<u8>().write_volatile(1),
            "abort" => libc::abort(),
            "trap" => std::arch::asm!("int3"),
            "illegal" => std::arch::asm!("ud2"),
            "panic" => panic_with_a_child(),
            other => panic!("no fault {other}"),
        }
    }
}

#[expect(clippy::zombie_processes, reason = "we are gone before it, which is the point")]
fn panic_with_a_child() {
    let script = "trap 'echo the child was asked; exit' TERM; echo ready >&2; while :; do sleep 0.01; done";
    let mut child = std::process::Command::new("/bin/sh")
        .args(["-c", script])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("a shell");
    let _ = child.stderr.as_mut().expect("a pipe").read(&mut [0; 6]);
    tinysup::sys::end_by_panic();
    panic!("planted");
}
