//! What becomes of the other processes when the child ends.

use crate::container::{Container, Setup};
use crate::expected::{all, ours};
use crate::programs::Program;
use crate::witness::name;
use crate::{Case, launch, proc, signals};

const TERM: &str = "TERM";
const KILLED: &str = "KILL at once";
const ALONE: &str = "left alone";
const TERM_OR_KILL: &str = "TERM or KILL at once";

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let why = "tinysup asks the rest to end and waits for it, within its grace, then kills. Under the other names things end as they did: with the child";
    vec![
        Case {
            name: "after::one_in_the_group",
            what: "the child ends, and has left a process in its group",
            expected: all(KILLED).dumb_init(TERM_OR_KILL).tinysup(TERM).as_dumb_init(TERM), why,
            observe: |program| left_to_pid1(program, "\"$W\" wait"),
        },
        Case {
            name: "after::one_in_another_session",
            what: "the same, in a session of its own",
            expected: all(KILLED).tinysup(TERM), why: "As above",
            observe: |program| left_to_pid1(program, "setsid \"$W\" wait"),
        },
        Case {
            name: "after::one_that_takes_its_time",
            what: "the same, and it takes 200 ms to end after TERM",
            expected: all("cut short").tinysup("waited for"), why: "As above",
            observe: slow,
        },
        Case {
            name: "after::one_that_ignores_term",
            what: "the same, and it ignores TERM",
            expected: all("code 7"), why: "",
            observe: |program| {
                let end = leave(program, "setsid \"$W\" ignore TERM say ready wait", false);
                end.wait_for("ready");
                end.folder().go("gate");
                format!("code {}", end.finish().code)
            },
        },
        Case {
            name: "after::one_in_the_group_not_as_pid_1",
            what: "one in the group, when the init is an ordinary process",
            expected: all(ALONE).dumb_init(TERM).as_dumb_init(TERM).tinysup(TERM), why: "As above",
            observe: |program| left_to_others(program, "\"$W\" count 1000"),
        },
        Case {
            name: "after::one_in_another_session_not_as_pid_1",
            what: "one in a session of its own, when the init is an ordinary process",
            expected: all(ALONE).tinysup(TERM), why: "As above",
            observe: |program| left_to_others(program, "setsid \"$W\" count 1000"),
        },
        Case {
            name: "after::the_code",
            what: "the code, whatever the others do",
            expected: ours("code 7").tini("code 7").dumb_init("code 7").catatonit("code 7"), why: "",
            observe: |program| {
                let container = leave(program, "(exit 3) & (sleep 1000; exit 4) & echo waiting; true", false);
                container.wait_for("waiting");
                container.folder().go("gate");
                format!("code {}", container.finish().code)
            },
        },
    ]
}

/// A child that leaves something behind, and ends with 7 when the gate opens.
fn leave(program: &Program, what: &str, beside: bool) -> Container {
    let script = format!("{what} & read go < $DIR/gate; exit 7");
    let setup = program.run(&["sh", "-c", &script]).env("W", crate::witness::witness_path());
    let setup = if beside { Setup::not_pid1(setup.env("TINI_SUBREAPER", "")) } else { setup };
    setup.folder().gate("gate");
    setup.start()
}

fn left_to_pid1(program: &Program, what: &str) -> String {
    let container = leave(program, what, false);
    container.wait_for("waiting");
    container.folder().go("gate");
    let end = container.finish();
    assert_eq!(end.code, 7, "{end:#?}");
    if end.stdout.iter().any(|line| line == "got SIGTERM") { TERM } else { KILLED }.to_owned()
}

fn slow(program: &Program) -> String {
    let container = leave(program, "\"$W\" wait after 200ms say done", false);
    container.wait_for("waiting");
    container.folder().go("gate");
    let end = container.finish();
    if end.stdout.iter().any(|line| line == "done") { "waited for" } else { "cut short" }.to_owned()
}

/// What happens to one that does not end of TERM by itself, but says what it gets.
fn left_to_others(program: &Program, what: &str) -> String {
    let container = leave(program, what, true);
    container.wait_for("waiting");
    let left = signals::witness_in(&container);
    let watched = launch::pidfd(left).expect("it runs");
    container.folder().go("gate");
    container.until("the init ends", || proc::ended(container.pid()));
    // If it lives, this comes after whatever came before.
    launch::kill_by(&watched, signals::PROBE);
    let probe = format!("got {}", name(signals::PROBE));
    container.until("it says so, or is dead", || proc::ended(left) || container.count(&probe) > 0);
    match (container.count("got SIGTERM"), proc::ended(left)) {
        (0, false) => ALONE,
        (0, true) => KILLED,
        (_, _) => TERM,
    }
    .to_owned()
}
