//! Machines of our own: a Debian kernel under QEMU whose first process is this program, once for each way in which cgroups can be
//! mounted. There it runs the cases about memory of `tests/kernel`, and some more, and in the end is `tinysup` as the kernel's PID 1.
//! What it takes is one package of Debian with the kernel and one with a shell, which are unpacked and not installed, and QEMU, which
//! needs no privilege and no KVM. Beside them, a container of Docker with a limit.
//!
//! Where something of that is missing, that is said loudly. `TINYSUP_TEST_DOWNLOAD=1` lets apt-get fetch the two packages.
//! `TINYSUP_TEST_KERNEL` names another kernel; the machines have the processor that this program is compiled for.

#![expect(unsafe_code, reason = "system calls that the cases are about")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells what it does"
)]
#![allow(dead_code, reason = "what is shared with the other suites is not all needed here")]

mod archive;
mod cases;
mod container;
#[path = "../../src/sys/early.rs"]
mod early;
mod guest;
mod host;
#[path = "../kernel/memory.rs"]
mod memory;
#[path = "../kernel/runner.rs"]
mod runner;
#[path = "../kernel/scene.rs"]
mod scene;
#[path = "../common/witness.rs"]
mod witness;
#[path = "../kernel/world.rs"]
mod world;

use std::env;
use std::process::ExitCode;

use runner::{Case, SKIPPED, end_what_is_left};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--case") => {
            let (_, case) =
                cases::all().into_iter().find(|(name, _)| *name == arguments[1]).expect("a known case");
            case();
            ExitCode::SUCCESS
        }
        _ if guest::is_one() => guest::run(),
        _ => host::run(&arguments),
    }
}
