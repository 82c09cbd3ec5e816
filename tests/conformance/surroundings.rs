//! What nobody sees when all is well: silence, sleep, and places that lack something.

use std::time::Duration;

use crate::container::{End, Out, Setup};
use crate::expected::{all, both_tinis, ours};
use crate::programs::Program;
use crate::signals::settle;
use crate::{Case, launch, proc};

const SILENT: &str = "silent";

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "surroundings::silence",
            what: "what is said as PID 1 when a child exits with 0 or 3, or dies, or gets signals",
            expected: all(SILENT), why: "",
            observe: silence,
        },
        Case {
            name: "surroundings::silence_not_as_pid_1",
            what: "what is said when the init is an ordinary process",
            expected: all(SILENT).tini("warns").as_tini("warns"),
            why: "As tini under its name: without -s it adopts nobody, and says so. Else there is nothing to warn of",
            observe: |program| said(&program.run(&["true"]).not_pid1().start().finish()),
        },
        Case {
            name: "surroundings::silence_as_a_subreaper",
            what: "what is said when the init is an ordinary process with -s",
            expected: both_tinis(SILENT).tinysup(SILENT), why: "",
            observe: |program| said(&program.with(&["-s"], &["true"]).not_pid1().start().finish()),
        },
        Case {
            name: "surroundings::sleep",
            what: "how often the init wakes up in 2.5 s when nothing happens",
            expected: ours("never").tini("again and again").dumb_init("never").catatonit("never"),
            why: "tini looks for zombies once a second",
            observe: sleep,
        },
        Case {
            name: "surroundings::threads",
            what: "how many threads the init has",
            expected: all("1"), why: "",
            observe: |program| {
                let container = program.run(&["WITNESS", "wait"]).start();
                container.wait_for("waiting");
                proc::number(container.pid(), "Threads").to_string()
            },
        },
        Case {
            name: "surroundings::without_proc",
            what: "there is no /proc",
            expected: all("code 6"), why: "",
            observe: |program| code(program.run(&["sh", "-c", "exit 6"]).before(no_proc)),
        },
        Case {
            name: "surroundings::any_user",
            what: "as a user without a name or rights",
            expected: all("code 6"), why: "",
            observe: |program| code(program.run(&["sh", "-c", "exit 6"]).before(|| launch::become_user(12345))),
        },
        Case {
            name: "surroundings::few_descriptors",
            what: "at most 8 open descriptors",
            expected: all("code 6"), why: "",
            observe: |program| code(program.run(&["sh", "-c", "exit 6"]).before(|| launch::limit(libc::RLIMIT_NOFILE, 8, 8))),
        },
        Case {
            name: "surroundings::within_itself",
            what: "the init as the child of itself, twice",
            expected: all("code 5"), why: "",
            observe: |program| {
                let path = program.path().to_string_lossy();
                code(program.run(&[&path, "--", &path, "--", "sh", "-c", "exit 5"]).env("TINI_SUBREAPER", ""))
            },
        },
        Case {
            name: "surroundings::version_to_nobody",
            what: "--version, with standard output and error closed",
            expected: all("code 0"), why: "",
            observe: |program| code(program.words(&["--version"]).stdout(Out::Closed).stderr(Out::Closed)),
        },
    ]
}

fn code(setup: Setup) -> String {
    format!("code {}", setup.start().finish().code)
}

fn no_proc() -> std::io::Result<()> {
    launch::unmount("/proc")?;
    // The one below, where this container's was mounted over it.
    launch::unmount("/proc").or(Ok(()))
}

fn said(end: &End) -> String {
    match (end.stdout.is_empty(), end.stderr.is_empty()) {
        (true, true) => SILENT.to_owned(),
        (true, false) => "warns".to_owned(),
        (false, _) => format!("{:?}", end.stdout),
    }
}

fn silence(program: &Program) -> String {
    let dies = ["sh", "-c", "ulimit -c 0; kill -SEGV $$"];
    for command in [&["true"][..], &["sh", "-c", "exit 3"], &dies, &["WITNESS", "orphans", "5"]] {
        let mut end = program.run(command).start().finish();
        end.stdout.retain(|line| !line.starts_with("orphaned"));
        if said(&end) != SILENT {
            return format!("{command:?}: {}", said(&end));
        }
    }
    let container = program.run(&["/bin/sleep", "1000"]).start();
    container.until("it runs", || container.living().iter().any(|p| p.command == "/bin/sleep 1000"));
    for signal in [libc::SIGWINCH, libc::SIGCONT, libc::SIGURG, libc::SIGTERM] {
        container.signal(signal);
        settle(&container);
    }
    said(&container.finish())
}

fn sleep(program: &Program) -> String {
    /// Longer than two of the seconds in which tini sleeps.
    const WATCHED: Duration = Duration::from_millis(2500);
    let container = program.run(&["WITNESS", "wait"]).start();
    container.wait_for("waiting");
    settle(&container);
    let idle = proc::idle(container.pid(), Duration::from_millis(200));
    assert!(idle, "it does not come to rest");
    let wakes = || proc::number(container.pid(), "voluntary_ctxt_switches");
    let before = wakes();
    let pidfd = launch::pidfd(container.pid()).expect("it runs");
    assert!(!launch::readable(&pidfd, WATCHED), "it ends");
    match wakes() - before {
        0 => "never",
        _ => "again and again",
    }
    .to_owned()
}
