//! What becomes of the other processes when the child ends.

use crate::container::{Container, Setup};
use crate::expected::{NOBODY, all, ours};
use crate::programs::Program;
use crate::witness::{name, witness_path};
use crate::{Case, launch, proc, signals};

const TERM: &str = "TERM";
const TERM_AND_KILL: &str = "TERM, then KILL";
const KILLED: &str = "KILL at once";
const ALONE: &str = "left alone";

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let why = "tinysup asks the rest to end and waits for it, within its grace, then kills. Under the other names all ends with the child, as it did. (dumb-init sends TERM to the group and does not wait; whether it comes before the kernel's KILL is a race)";
    vec![
        Case {
            name: "after::one_in_the_group",
            what: "the child ends, and has left a process in its group",
            expected: NOBODY.tini(KILLED).as_tini(KILLED).catatonit(KILLED).as_catatonit(KILLED).tinysup(TERM), why,
            observe: |program| left_to_pid1(program, "\"$W\" wait"),
        },
        Case {
            name: "after::one_in_another_session",
            what: "the child ends, and has left a process in a session of its own",
            expected: all(KILLED).tinysup(TERM), why: "As above",
            observe: |program| left_to_pid1(program, "setsid \"$W\" wait"),
        },
        Case {
            name: "after::one_that_takes_its_time",
            what: "the child ends, and has left a process that takes 100 ms to end after TERM",
            expected: all("cut short").tinysup("waited for"), why: "As above",
            observe: |program| slow(program, &[]),
        },
        Case {
            name: "after::one_that_takes_its_time_on_request",
            what: "a process that is left and takes 100 ms, with TINYSUP_GRACE=30s",
            expected: ours("waited for"), why: "",
            observe: |program| slow(program, &[("TINYSUP_GRACE", "30s")]),
        },
        Case {
            name: "after::one_that_takes_its_time_and_gets_none",
            what: "a process that is left and takes 100 ms, with TINYSUP_GRACE=0",
            expected: ours("cut short"), why: "",
            observe: |program| slow(program, &[("TINYSUP_GRACE", "0")]),
        },
        Case {
            name: "after::one_that_ignores_term",
            what: "the child ends, and has left a process that ignores TERM: the code",
            expected: all("code 7"), why: "",
            observe: |program| {
                let end = leave(program, "setsid \"$W\" ignore TERM say ready wait", false, &[]);
                end.wait_for("ready");
                end.folder().go("gate");
                format!("code {}", end.finish().code)
            },
        },
        Case {
            name: "after::one_in_the_group_not_as_pid_1",
            what: "the child ends, and has left a process in its group that does not end of TERM; the init is an ordinary process",
            expected: all(ALONE).dumb_init(TERM).as_dumb_init(TERM).tinysup(TERM_AND_KILL), why: "As above",
            observe: |program| left_to_others(program, "\"$W\" count 1000"),
        },
        Case {
            name: "after::one_in_another_session_not_as_pid_1",
            what: "the child ends, and has left such a process in a session of its own; the init is an ordinary process",
            expected: all(ALONE).tinysup(TERM_AND_KILL), why: "As above",
            observe: |program| left_to_others(program, "setsid \"$W\" count 1000"),
        },
        Case {
            name: "after::the_code",
            what: "the child ends, and has left processes with other codes: the code",
            expected: ours("code 7").tini("code 7").dumb_init("code 7").catatonit("code 7"), why: "",
            observe: |program| {
                let container = leave(program, "(exit 3) & (sleep 1000; exit 4) & echo waiting; true", false, &[]);
                container.wait_for("waiting");
                container.folder().go("gate");
                format!("code {}", container.finish().code)
            },
        },
    ]
}

/// A child that leaves something behind, and ends with 7 when the gate opens.
fn leave(program: &Program, what: &str, beside: bool, variables: &[(&str, &str)]) -> Container {
    let script = format!("{what} & read go < $DIR/gate; exit 7");
    let setup = program.run(&["sh", "-c", &script]).env("W", witness_path());
    let setup = variables.iter().fold(setup, |setup, (name, value)| setup.env(name, value));
    let setup = if beside { Setup::not_pid1(setup.env("TINI_SUBREAPER", "")) } else { setup };
    setup.folder().gate("gate");
    setup.start()
}

fn left_to_pid1(program: &Program, what: &str) -> String {
    let container = leave(program, what, false, &[]);
    container.wait_for("waiting");
    container.folder().go("gate");
    let end = container.finish();
    assert_eq!(end.code, 7, "{end:#?}");
    if end.stdout.iter().any(|line| line == "got SIGTERM") { TERM } else { KILLED }.to_owned()
}

fn slow(program: &Program, variables: &[(&str, &str)]) -> String {
    let container = leave(program, "\"$W\" wait after 100ms say done", false, variables);
    container.wait_for("waiting");
    container.folder().go("gate");
    let end = container.finish();
    if end.stdout.iter().any(|line| line == "done") { "waited for" } else { "cut short" }.to_owned()
}

/// What happens to one that does not end of TERM by itself, but says what it gets.
fn left_to_others(program: &Program, what: &str) -> String {
    let container = leave(program, what, true, &[]);
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
        (_, false) => TERM,
        (_, true) => TERM_AND_KILL,
    }
    .to_owned()
}
