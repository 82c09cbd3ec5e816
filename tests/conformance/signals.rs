//! Which signals reach the child, and when.

use std::fs;
use std::time::Instant;

use crate::container::{Container, DEADLINE, Setup, until};
use crate::expected::{NOBODY, all, both_dumb_inits, ours};
use crate::programs::{Manner, Program};
use crate::witness::{name, witness_path};
use crate::{Case, launch, proc, steps};

/// The highest of all: whoever takes several pending signals takes it last.
pub const PROBE: i32 = 64;

/// Cannot be passed on (KILL, STOP), or is sent by the kernel alone (CHLD), or cannot be seen by the witness; and the probe.
const NOT_SENT: [i32; 6] = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, 32, 33, PROBE];

const DELIVERED: &str = "delivered";
const LOST: &str = "lost";
const DELIVERED_OR_LOST: &str = "delivered; or lost";

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let forwarded = ours("all").as_dumb_init("all; TSTP TTIN TTOU as STOP")
        .tini("all but ILL TRAP ABRT BUS FPE SEGV TTIN TTOU SYS")
        .dumb_init("all; TSTP TTIN TTOU as STOP")
        .catatonit("all but ILL TRAP ABRT BUS FPE SEGV TSTP TTIN TTOU SYS");
    let why_forwarded = "Whoever sends a signal means it for the program: a debugger's ABRT, a ctrl-Z's TSTP. Under dumb-init's name the three stop signals are rewritten as it does, because its child is alone in its session, where the kernel drops them";
    vec![
        Case {
            name: "signals::each_from_outside",
            what: "signals 1 to 64 to PID 1, one by one, from outside of its namespace",
            expected: forwarded, why: why_forwarded,
            observe: |program| each(program, &Container::signal),
        },
        Case {
            name: "signals::each_from_inside",
            what: "the same signals from inside, as the child itself would send them",
            expected: forwarded, why: "As above",
            observe: |program| each(program, &from_inside),
        },
        Case {
            name: "signals::of_the_c_library",
            what: "32 and 33, which C libraries use among their threads, to PID 1",
            expected: ours("forwarded").tini("dropped").dumb_init("dropped").catatonit("dropped"),
            why: "As above; the library hides them from its users, the kernel does not",
            observe: of_the_c_library,
        },
        Case {
            name: "signals::real_time_are_queued",
            what: "50 of each of three real-time signals while the init does not run",
            expected: all("50 50 50"), why: "",
            observe: real_time,
        },
        Case {
            name: "signals::of_a_stopped_init",
            what: "six signals while the init does not run",
            expected: all("all"), why: "",
            observe: burst,
        },
        Case {
            name: "signals::a_storm",
            what: "10,000 USR1 as fast as they can be sent",
            expected: all("passes"), why: "",
            observe: storm,
        },
        Case {
            name: "signals::to_the_child_alone",
            what: "USR1, with a second process in the child's group",
            expected: all("child alone").dumb_init("whole group").as_dumb_init("whole group"),
            why: "As the program of the same name; tinysup's own default is that of tini and catatonit",
            observe: |program| whom(program, &[], &[]),
        },
        Case {
            name: "signals::to_the_group_on_request",
            what: "USR1 with -g (dumb-init: without -c), and a second process in the child's group",
            expected: all("whole group"), why: "",
            observe: |program| whom(program, program.group(), &[]),
        },
        Case {
            name: "signals::to_one_child_of_dumb_init",
            what: "USR1 with -c, and a second process in the child's group",
            expected: both_dumb_inits("child alone"), why: "",
            observe: |program| whom(program, &["-c"], &[]),
        },
        Case {
            name: "signals::between_fork_and_exec",
            what: "TERM when the child is at any of its system calls between fork and exec",
            expected: all(DELIVERED).dumb_init(LOST),
            why: "All signals stay blocked in the child until its last call before exec, and from its birth there is a group to signal",
            observe: |program| between_fork_and_exec(program, &[]),
        },
        Case {
            name: "signals::between_fork_and_exec_to_the_group",
            what: "TERM at any of them with -g (dumb-init: with -c)",
            expected: ours(DELIVERED).tini(LOST).dumb_init(LOST).catatonit(LOST),
            why: "As above",
            observe: |program| between_fork_and_exec(program, other_mode(program)),
        },
        Case {
            name: "signals::right_after_the_start",
            what: "TERM as soon as there is a child, in 30 tries",
            expected: ours(DELIVERED).tini(DELIVERED).dumb_init(DELIVERED_OR_LOST).catatonit(DELIVERED),
            why: "As above",
            observe: |program| right_after_the_start(program, &[]),
        },
        Case {
            name: "signals::right_after_the_start_to_the_group",
            what: "TERM as soon as there is a child, with -g (dumb-init: with -c)",
            expected: ours(DELIVERED).tini(DELIVERED_OR_LOST).dumb_init(DELIVERED_OR_LOST).catatonit(DELIVERED_OR_LOST),
            why: "As above",
            observe: |program| right_after_the_start(program, other_mode(program)),
        },
        Case {
            name: "signals::pending_at_the_start",
            what: "TERM that is blocked and pending before the init's first instruction",
            expected: all(DELIVERED).dumb_init(DELIVERED_OR_LOST),
            why: "As above",
            observe: pending,
        },
        Case {
            name: "signals::to_a_child_of_another_user",
            what: "HUP when the init may not signal its child (EPERM)",
            expected: all("nothing happens").tini("the init ends with 1").catatonit("nothing happens; or the init ends with 1"),
            why: "A signal that cannot be passed on is no reason to end the container. (catatonit also signals its child once after the fork, and ends if that child was quick to change its user)",
            observe: another_user,
        },
        Case {
            name: "signals::tstp_not_as_pid_1",
            what: "TSTP to the init, which is an ordinary process",
            expected: all("child gets it").dumb_init("child stopped, init too").as_dumb_init("child stopped, init too").catatonit("dropped"),
            why: "As dumb-init under its name; else the child decides what a TSTP means, and the init goes on",
            observe: |program| tstp(program, &[]),
        },
        Case {
            name: "signals::tstp_to_one_child_of_dumb_init",
            what: "TSTP to the init, which is an ordinary process, with -c",
            expected: both_dumb_inits("child gets it, init stopped"), why: "",
            observe: |program| tstp(program, &["-c"]),
        },
        Case {
            name: "signals::abrt_not_as_pid_1",
            what: "ABRT to the init, which is an ordinary process",
            expected: ours("child gets it").tini("the init dies").dumb_init("child gets it").catatonit("the init dies"),
            why: "An init that dies leaves its child behind without one",
            observe: abrt,
        },
        Case {
            name: "signals::rewritten",
            what: "-r 15:10, then TERM",
            expected: both_dumb_inits("USR1"), why: "",
            observe: |program| rewritten(program, &["-r", "15:10"]),
        },
        Case {
            name: "signals::rewritten_twice",
            what: "-r 15:10 --rewrite 15:12, then TERM",
            expected: both_dumb_inits("USR2"), why: "",
            observe: |program| rewritten(program, &["-r", "15:10", "--rewrite", "15:12"]),
        },
        Case {
            name: "signals::rewritten_to_nothing",
            what: "-r 15:0, then TERM",
            expected: both_dumb_inits("nothing"), why: "",
            observe: |program| rewritten(program, &["-r", "15:0"]),
        },
        Case {
            name: "signals::rewritten_stop",
            what: "-r 20:1, then TSTP",
            expected: both_dumb_inits("HUP"), why: "",
            observe: |program| rewritten_signal(program, &["-r", "20:1"], libc::SIGTSTP),
        },
        Case {
            name: "signals::parent_death",
            what: "-p SIGUSR1, then the death of its parent",
            expected: NOBODY.tini("USR1").as_tini("USR1").tinysup("USR1"), why: "",
            observe: parent_death,
        },
    ]
}

/// What is not the default of that program: groups for most, one child for dumb-init.
fn other_mode(program: &Program) -> &'static [&'static str] {
    match program.manner {
        Manner::DumbInit => &["-c"],
        Manner::Tini | Manner::Catatonit | Manner::Tinysup => &["-g"],
    }
}

/// The witness under that program, ready for signals, and its pid.
pub fn counting(setup: Setup) -> (Container, i32) {
    let container = setup.start();
    container.wait_for("waiting");
    let child = witness_in(&container);
    (container, child)
}

/// The pid of the only witness in there.
pub fn witness_in(container: &Container) -> i32 {
    let found = witnesses_in(container);
    assert_eq!(found.len(), 1, "one witness among {:#?}", container.processes());
    found[0]
}

/// The pids of all witnesses that live in there.
pub fn witnesses_in(container: &Container) -> Vec<i32> {
    let path = witness_path().to_string_lossy();
    let living = container.living().into_iter();
    living.filter(|process| process.command.starts_with(&*path)).map(|process| process.pid).collect()
}

const COUNT: [&str; 3] = ["WITNESS", "count", "100000"];

/// Waits until the init has nothing more to do with the signals that it got.
pub fn settle(container: &Container) {
    container.until("it has acted on its signals", || proc::settled(container.pid()));
}

fn stopped(pid: i32) -> bool {
    proc::of(pid).is_some_and(|process| process.state == 'T')
}

/// Sends the last signal of all and waits for it; whatever was to come before has come then. Whether the child, or it, had been
/// stopped and had to be continued for that.
fn probe(container: &Container, child: i32, nth: usize) -> bool {
    let got = format!("got {}", name(PROBE));
    container.signal(PROBE);
    container.until("the child gets it, or is stopped", || {
        stopped(child) || stopped(container.pid()) || container.count(&got) >= nth
    });
    let stopped = stopped(child) || stopped(container.pid());
    if stopped {
        container.signal(libc::SIGCONT);
    }
    container.wait_for_nth(&got, nth);
    stopped
}

fn short(signal: i32) -> String {
    name(signal).trim_start_matches("SIG").to_owned()
}

fn each(program: &Program, send: &dyn Fn(&Container, i32)) -> String {
    let (container, child) = counting(program.run(&COUNT));
    let (mut missing, mut stopping) = (Vec::new(), Vec::new());
    for (nth, signal) in (1..=64).filter(|signal| !NOT_SENT.contains(signal)).enumerate() {
        let got = format!("got {}", name(signal));
        send(&container, signal);
        settle(&container);
        let was_stopped = probe(&container, child, nth + 1);
        match (container.lines().contains(&got), was_stopped) {
            (true, _) => {}
            (false, true) => stopping.push(short(signal)),
            (false, false) => missing.push(short(signal)),
        }
    }
    let but = if missing.is_empty() { String::new() } else { format!(" but {}", missing.join(" ")) };
    let stops = if stopping.is_empty() { String::new() } else { format!("; {} as STOP", stopping.join(" ")) };
    format!("all{but}{stops}")
}

/// The library that the witness is built with hides them from it; a sleep dies of them.
fn of_the_c_library(program: &Program) -> String {
    let forwarded = [32, 33].map(|signal| {
        let container = program.run(&SLEEP).start();
        wait_for_exec(&container, &SLEEP.join(" "));
        container.signal(signal);
        settle(&container);
        launch::kill(container.pid(), libc::SIGPROF);
        match container.finish().code {
            code if code == 128 + signal => true,
            code if code == 128 + libc::SIGPROF => false,
            other => panic!("a sleep that ends with {other}"),
        }
    });
    match forwarded {
        [true, true] => "forwarded",
        [false, false] => "dropped",
        _ => "one of them",
    }
    .to_owned()
}

fn from_inside(container: &Container, signal: i32) {
    let sent = container.exec(&["/bin/sh", "-c", &format!("kill -{signal} 1")]).wait();
    assert_eq!(sent, 0, "kill(1)");
}

/// Waits until the child has taken all that is pending for it, and then until we have read what it said of that.
fn drain(container: &Container, child: i32) {
    settle(container);
    container.until("the child takes its signals", || proc::settled(child));
    container.signal(libc::SIGIO);
    container.wait_for("got SIGIO");
}

fn real_time(program: &Program) -> String {
    let (container, child) = counting(program.run(&COUNT));
    let signals = [34, 40, 64];
    container.freeze();
    for _ in 0..50 {
        for signal in signals {
            container.signal(signal);
        }
    }
    container.thaw();
    drain(&container, child);
    let count = |signal: i32| {
        let got = format!("got {}", name(signal));
        container.lines().iter().filter(|line| **line == got).count().to_string()
    };
    signals.map(count).join(" ")
}

fn burst(program: &Program) -> String {
    let (container, child) = counting(program.run(&COUNT));
    let signals =
        [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH, libc::SIGPWR, libc::SIGRTMIN() + 7];
    container.freeze();
    for signal in signals {
        container.signal(signal);
    }
    container.thaw();
    drain(&container, child);
    let lines = container.lines();
    let missing: Vec<String> = signals
        .into_iter()
        .filter(|signal| !lines.contains(&format!("got {}", name(*signal))))
        .map(short)
        .collect();
    if missing.is_empty() { "all".to_owned() } else { format!("all but {}", missing.join(" ")) }
}

fn storm(program: &Program) -> String {
    let (container, child) = counting(program.run(&COUNT));
    for _ in 0..10_000 {
        container.signal(libc::SIGUSR1);
    }
    settle(&container);
    probe(&container, child, 1);
    if container.count("got SIGUSR1") > 0 { "passes" } else { "is lost" }.to_owned()
}

/// Who gets USR1: the child, a shell, or the witness in its group, too.
pub fn whom(program: &Program, options: &[&str], variables: &[(&str, &str)]) -> String {
    let script = "trap 'echo shell' USR1; WITNESS count 100 & while :; do sleep 0.01; done";
    let setup = program.with(options, &["sh", "-c", script]);
    let setup = variables.iter().fold(setup, |setup, (name, value)| setup.env(name, value));
    let (container, other) = counting(setup);
    container.signal(libc::SIGUSR1);
    container.wait_for("shell");
    launch::kill(other, PROBE);
    container.wait_for(&format!("got {}", name(PROBE)));
    if container.count("got SIGUSR1") == 0 { "child alone" } else { "whole group" }.to_owned()
}

const SLEEP: [&str; 2] = ["/bin/sleep", "1000"];

/// Waits for the exec of the child, or for the end of all.
fn wait_for_exec(container: &Container, command: &str) {
    container.until("the child runs", || {
        proc::ended(container.pid()) || container.living().iter().any(|process| process.command == command)
    });
}

/// A sleep was sent TERM. It dies of a second signal now, and of the first if that had come.
fn was_it_delivered(container: Container) -> &'static str {
    const TERM: i32 = 128 + libc::SIGTERM;
    const PROF: i32 = 128 + libc::SIGPROF;
    wait_for_exec(&container, &SLEEP.join(" "));
    settle(&container);
    launch::kill(container.pid(), libc::SIGPROF);
    match container.finish().code {
        TERM => DELIVERED,
        PROF => LOST,
        other => panic!("a sleep that ends with {other}"),
    }
}

fn between_fork_and_exec(program: &Program, options: &[&str]) -> String {
    /// More calls than this are not made, or are not looked at one by one.
    const CALLS: usize = 200;
    for call in 0..CALLS {
        let (container, held) = steps::hold(program.with(options, &SLEEP), call);
        let Some(held) = held else { return DELIVERED.to_owned() };
        container.signal(libc::SIGTERM);
        settle(&container);
        held.let_go();
        if was_it_delivered(container) == LOST {
            return LOST.to_owned();
        }
    }
    panic!("a child that makes {CALLS} system calls before its exec");
}

fn right_after_the_start(program: &Program, options: &[&str]) -> String {
    const TRIES: usize = 30;
    for _ in 0..TRIES {
        let container = program.with(options, &SLEEP).start();
        let children = format!("/proc/{0}/task/{0}/children", container.pid());
        let started = Instant::now();
        while fs::read_to_string(&children).is_ok_and(|list| list.is_empty()) {
            assert!(started.elapsed() < DEADLINE && !proc::ended(container.pid()), "no child");
        }
        container.signal(libc::SIGTERM);
        settle(&container);
        if was_it_delivered(container) == LOST {
            return LOST.to_owned();
        }
    }
    DELIVERED.to_owned()
}

fn pending(program: &Program) -> String {
    let setup = program.run(&["WITNESS", "count", "1"]).before(|| {
        launch::set_mask(1 << (libc::SIGTERM - 1));
        launch::raise(libc::SIGTERM)
    });
    let container = setup.start();
    // Where the mask is not passed on, it may also die of TERM before it blocks any.
    let ended = || proc::ended(container.pid());
    container.until("it waits, or is dead", || ended() || container.count("waiting") > 0);
    settle(&container);
    launch::kill(container.pid(), libc::SIGPROF);
    let end = container.finish();
    let first = end.stdout.iter().find(|line| line.starts_with("got "));
    let died = end.code == 128 + libc::SIGTERM;
    if died || first.is_some_and(|line| line == "got SIGTERM") { DELIVERED } else { LOST }.to_owned()
}

fn another_user(program: &Program) -> String {
    const CAP_KILL: u64 = 5;
    let command = ["setpriv", "--reuid", "12345", "--clear-groups", "WITNESS", "wait"];
    let container = program.run(&command).before(|| launch::drop_capability(CAP_KILL)).start();
    let ended = || proc::ended(container.pid());
    container.until("the child waits", || ended() || container.count("waiting") > 0);
    let child = witnesses_in(&container);
    launch::kill(container.pid(), libc::SIGHUP);
    settle(&container);
    for child in child {
        launch::kill(child, libc::SIGTERM);
    }
    match container.finish().code {
        0 => "nothing happens".to_owned(),
        code => format!("the init ends with {code}"),
    }
}

fn tstp(program: &Program, options: &[&str]) -> String {
    let (container, child) = counting(program.with(options, &COUNT).not_pid1().env("TINI_SUBREAPER", ""));
    container.signal(libc::SIGTSTP);
    settle(&container);
    let init_stopped = stopped(container.pid());
    if init_stopped {
        container.until("the child gets it, too", || stopped(child) || container.count("got SIGTSTP") > 0);
    }
    let child_stopped = stopped(child) || probe(&container, child, 1) && !init_stopped;
    let got = container.count("got SIGTSTP") > 0;
    match (got, child_stopped, init_stopped) {
        (true, _, false) => "child gets it",
        (true, _, true) => "child gets it, init stopped",
        (false, true, true) => "child stopped, init too",
        (false, true, false) => "child stopped",
        (false, false, true) => "init stopped",
        (false, false, false) => "dropped",
    }
    .to_owned()
}

fn abrt(program: &Program) -> String {
    let setup = program.run(&COUNT).not_pid1().env("TINI_SUBREAPER", "");
    let (container, _) = counting(setup.before(|| launch::limit(libc::RLIMIT_CORE, 0, 0)));
    container.signal(libc::SIGABRT);
    let ended = || proc::ended(container.pid());
    assert!(until(|| ended() || container.count("got SIGABRT") > 0), "nothing comes of ABRT");
    if ended() { "the init dies" } else { "child gets it" }.to_owned()
}

pub fn rewritten(program: &Program, options: &[&str]) -> String {
    rewritten_signal(program, options, libc::SIGTERM)
}

fn rewritten_signal(program: &Program, options: &[&str], signal: i32) -> String {
    let (container, child) = counting(program.with(options, &COUNT));
    container.signal(signal);
    settle(&container);
    probe(&container, child, 1);
    let got =
        container.lines().into_iter().find(|line| line.starts_with("got SIG") && !line.ends_with("+30"));
    got.map_or("nothing".to_owned(), |line| line.trim_start_matches("got SIG").to_owned())
}

fn parent_death(program: &Program) -> String {
    // The shell is PID 1's child and the parent of the init; it waits at a gate, and its end is that of a parent.
    let script = "\"$INIT\" -s -p SIGUSR1 -- \"$W\" count 100000 & read go < $DIR/gate; exit 0";
    let setup = Setup::program("/bin/sh", &["-c", "sh -c \"$SCRIPT\"; sleep 1000"])
        .env("SCRIPT", script)
        .env("INIT", program.path())
        .env("W", witness_path());
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("waiting");
    container.folder().go("gate");
    container.wait_for("got ").trim_start_matches("got SIG").to_owned()
}
