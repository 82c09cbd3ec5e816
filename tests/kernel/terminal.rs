//! A terminal that is ours as a whole, and a bug while it is.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic;

use tinysup::sys::Screen;

use crate::Case;

pub const CASES: &[Case] = &[
    ("a_panic_gives_the_terminal_back", a_panic_gives_the_terminal_back),
    ("a_trap_gives_the_terminal_back", a_trap_gives_the_terminal_back),
];

/// A terminal as our standard input and output; both of its ends.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: writes two numbers that live here; the descriptors are new and ours.
    let (master, slave) = unsafe {
        let made = libc::openpty(&raw mut master, &raw mut slave, none, std::ptr::null(), std::ptr::null());
        assert_eq!(made, 0, "{}", io::Error::last_os_error());
        (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
    };
    for standard in [0, 1] {
        // SAFETY: the standard descriptors belong to the case.
        unsafe { libc::dup2(slave.as_raw_fd(), standard) };
    }
    (master, slave)
}

fn a_panic_gives_the_terminal_back() {
    let (_master, slave) = terminal();
    let before = local_modes(&slave);
    let mut screen = Screen::open().expect("a terminal");
    screen.draw(&["drawn".to_owned()]);
    assert_ne!(local_modes(&slave), before, "every key comes at once");
    let panicked = panic::catch_unwind(|| panic!("a bug"));
    assert!(panicked.is_err());
    assert_eq!(local_modes(&slave), before, "while the screen still exists");
    drop(screen);
    assert_eq!(local_modes(&slave), before);
}

/// A program that ends where it must not be says so on a terminal that is as it was.
fn a_trap_gives_the_terminal_back() {
    let (_master, slave) = terminal();
    let before = local_modes(&slave);
    // SAFETY: the case has one thread; the child ends in here.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            tinysup::sys::catch_traps();
            let screen = Screen::open();
            if screen.is_ok() && local_modes(&slave) != before {
                crate::scene::trap();
            }
            libc::_exit(1);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 70), "{status:x}");
    }
    assert_eq!(local_modes(&slave), before);
}

fn local_modes(terminal: &OwnedFd) -> libc::tcflag_t {
    let mut found = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the call fills the structure, or says that it did not.
    unsafe {
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), found.as_mut_ptr()), 0);
        found.assume_init().c_lflag
    }
}
