//! What tinysup does when it is broken itself: docs/decisions/broken.md.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::container::{End, Setup, until};
use crate::witness::witness_path;
use crate::{launch, proc};

pub const CASES: [(&str, fn()); 5] = [
    ("a_panic_ends_the_container_in_order", a_panic_ends_the_container_in_order),
    ("a_panic_of_a_child_asks_its_own_alone", a_panic_of_a_child_asks_its_own_alone),
    ("without_memory", without_memory),
    ("a_trap_ends_the_container_in_order", a_trap_ends_the_container_in_order),
    ("a_fault_ends_the_container_at_once", a_fault_ends_the_container_at_once),
];

/// The word that makes this test program a supervisor that panics.
pub const PANICS: &str = "--panics";

/// Says that it was asked to end, and is.
const SERVICE: &str = "trap 'touch $DIR/asked; exit' TERM; touch $DIR/up; while :; do sleep 0.05; done";

/// A supervisor, as far as this is about one: it has a child, and a bug.
#[expect(clippy::zombie_processes, reason = "nobody is left to wait")]
pub fn panic_now(program: &str) {
    tinysup::sys::end_by_panic();
    let mut child = Command::new("sh");
    child.args(["-c", SERVICE]).process_group(0).stdout(Stdio::null());
    let _child = child.spawn().expect("a shell");
    let up = Path::new(&std::env::var_os("DIR").expect("DIR")).join("up");
    assert!(until(|| up.exists()), "it starts");
    panic!("{program} is broken on purpose");
}

fn broken(setup: Setup) -> (End, bool) {
    let container = setup.start();
    let asked = container.folder().path().join("asked");
    container.until("its end, and that of its child", || proc::ended(container.pid()) && asked.exists());
    let asked = asked.exists();
    (container.finish(), asked)
}

fn this_program() -> Setup {
    let program = std::env::current_exe().expect("a file");
    // Where everybody may run it.
    Setup::program(program, &[PANICS])
}

#[track_caller]
fn told(end: &End, asked: bool, line: &str) {
    end.code(70);
    end.says(line);
    assert!(asked, "its child was not asked to end: {end:#?}");
    assert!(end.stderr.iter().all(|line| !line.contains("on purpose")), "one line of ours: {end:#?}");
}

fn a_panic_ends_the_container_in_order() {
    let (end, asked) = broken(this_program());
    told(&end, asked, "): this is a bug in tinysup; the services are asked to end, exit code 70");
}

fn a_panic_of_a_child_asks_its_own_alone() {
    let container = this_program().not_pid1().start();
    let bystander = container.beside(&["/bin/sleep", "1000"], &[]);
    let asked = container.folder().path().join("asked");
    container.until("its end", || proc::ended(container.pid()) && asked.exists());
    let sleeps = container.living().iter().any(|process| process.command.contains("sleep 1000"));
    assert!(sleeps, "the bystander lives: {:#?}", container.processes());
    let mut end = container.finish();
    drop(bystander);
    end.left.clear();
    told(&end, true, "): this is a bug in tinysup; the services are asked to end, exit code 70");
}

/// Its memory ends while a service floods its output.
fn without_memory() {
    let loud = format!("read go < $DIR/gate; {} lines 200000", witness_path().display());
    let config = format!(
        "[services.quiet]\nshell = true\ncommand = \"{SERVICE}\"\n[services.loud]\nshell = true\ncommand = \"{loud}\"\n"
    );
    let setup = Setup::services(&config);
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("all 2 services are up");
    let asked = container.folder().path().join("asked");
    let up = container.folder().path().join("up");
    container.until("the quiet one", || up.exists());
    let size = proc::number(container.pid(), "VmSize") * 1024;
    launch::limit_of(container.pid(), libc::RLIMIT_AS, size).expect("ours");
    container.folder().go("gate");
    container.until("its end", || proc::ended(container.pid()));
    let asked = asked.exists();
    let end = container.finish();
    told(&end, asked, "out of memory: the services are asked to end, exit code 70");
}

/// The instruction that the compiler puts where nothing can go.
const TRAP: [u8; 4] =
    if cfg!(target_arch = "x86_64") { [0x0f, 0x0b, 0x0f, 0x0b] } else { [0x20, 0x00, 0x20, 0xd4] };

/// A release has a trap wherever the tests' build panics.
fn a_trap_ends_the_container_in_order() {
    let config = format!("[services.a]\nshell = true\ncommand = \"{SERVICE}\"\n");
    let (end, asked) = executing(&config, &TRAP.repeat(4));
    told(&end, asked, "): this is a bug in tinysup; the services are asked to end, exit code 70");
    end.says("internal error (0x");
}

/// After a fault, as at the end of the stack, nothing of it can be relied on: the kernel ends PID 1, and with it the container, at once.
fn a_fault_ends_the_container_at_once() {
    let (end, _) = executing("[services.a]\ncommand = [\"sleep\", \"1000\"]\n", &[0; 16]);
    assert_eq!(-end.code, libc::SIGSEGV, "{end:#?}");
}

/// A tinysup whose wait returns to this, and whether its service was asked to end.
fn executing(config: &str, instructions: &[u8]) -> (End, bool) {
    let container = Setup::services(config).start();
    container.wait_for("the service is up");
    let asked = container.folder().path().join("asked");
    let up = container.folder().path().join("up");
    container.until("the service", || !config.contains("up") || up.exists());
    let pid = container.pid();
    let mut place = 0;
    container.until("it waits", || {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        let address = call.trim().rsplit_once(" 0x").map(|(_, hex)| u64::from_str_radix(hex, 16));
        place = address.and_then(Result::ok).unwrap_or_default();
        place != 0
    });
    let memory = File::options().write(true).open(format!("/proc/{pid}/mem")).expect("ours");
    // Some kernels let only who traces a process write where it may not (proc_mem.force_override, Linux 6.12).
    launch::trace(pid).expect("ours");
    memory.write_all_at(instructions, place).expect("mapped");
    launch::untrace(pid).expect("we trace it");
    container.signal(libc::SIGWINCH);
    container.until("its end", || proc::ended(pid));
    let asked = asked.exists();
    (container.finish(), asked)
}
