//! Orphans, and deaths that come in heaps.

use std::time::Duration;

use crate::container::{DEADLINE, Setup};
use crate::expected::{NOBODY, all, both_tinis, ours};
use crate::programs::{Manner, Program};
use crate::signals::settle;
use crate::{Case, launch, proc};

const ADOPTS: &str = "adopts";
const DOES_NOT: &str = "does not";

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "reaping::orphans",
            what: "3,000 orphans that end at once",
            expected: all("no zombie; code 7"), why: "",
            observe: |program| orphans(&program.run(&["WITNESS", "orphans", "3000", "no-zombies", "50s", "exit", "7"]).start().finish()),
        },
        Case {
            name: "reaping::the_code_of_an_orphan",
            what: "orphans that exit with 99, and a child that exits with 4",
            expected: all("code 4"), why: "",
            observe: |program| {
                let script = "i=0; while [ $i -lt 50 ]; do (exit 99 & exit 98); i=$((i+1)); done; exec \"$0\" no-zombies 50s exit 4";
                format!("code {}", program.run(&["sh", "-c", script, "WITNESS"]).start().finish().code)
            },
        },
        Case {
            name: "reaping::all_at_once",
            what: "the child and 20 orphans die while the init does not run: one SIGCHLD for all",
            expected: all("code 137"), why: "",
            observe: all_at_once,
        },
        Case {
            name: "reaping::sigchld_ignored",
            what: "SIGCHLD is ignored when the init starts",
            expected: all("code 5").tini("never ends").catatonit("never ends; or code 1"),
            why: "The disposition is inherited, and then the kernel collects the children itself; so it is set to its default first",
            observe: sigchld_ignored,
        },
        Case {
            name: "reaping::not_as_pid_1",
            what: "an orphan, when the init is an ordinary process",
            expected: all(ADOPTS).tini(DOES_NOT).as_tini(DOES_NOT).dumb_init(DOES_NOT),
            why: "Under tini's name without -s, as tini, which warns of it. Else as catatonit: dumb-init leaves zombies to whoever is above",
            observe: |program| adopts(program.run(&ORPHAN)),
        },
        Case {
            name: "reaping::not_as_pid_1_with_an_option",
            what: "an orphan, when the init is an ordinary process with -s",
            expected: both_tinis(ADOPTS).tinysup(ADOPTS), why: "",
            observe: |program| adopts(program.with(&["-s"], &ORPHAN)),
        },
        Case {
            name: "reaping::not_as_pid_1_with_a_variable",
            what: "an orphan, when the init is an ordinary process with an empty TINI_SUBREAPER",
            expected: NOBODY.tini(ADOPTS).as_tini(ADOPTS), why: "",
            observe: |program| adopts(program.run(&ORPHAN).env("TINI_SUBREAPER", "")),
        },
        Case {
            name: "reaping::told_of_orphans",
            what: "-w, and an orphan that ends",
            expected: both_tinis("[WARN  tini (_)] Reaped zombie process with pid=_").tinysup("tinysup | reaped orphan pid _: code _"),
            why: "tinysup's own form of its own lines",
            observe: told,
        },
        Case {
            name: "reaping::a_stopped_child",
            what: "a child that stops itself, then CONT to the init",
            expected: ours("goes on; code 5").tini("goes on; code 5").dumb_init("goes on; code 5").catatonit("goes on; code 5"), why: "",
            observe: stopped_child,
        },
    ]
}

const ORPHAN: [&str; 4] = ["WITNESS", "helper", "1000s", "wait"];

fn orphans(end: &crate::container::End) -> String {
    let zombies = end.stdout.iter().find_map(|line| line.strip_prefix("zombies "));
    format!("{}; code {}", if zombies == Some("0") { "no zombie" } else { "zombies" }, end.code)
}

fn all_at_once(program: &Program) -> String {
    let script = "i=0; while [ $i -lt 20 ]; do (sleep 1000 &); i=$((i+1)); done; echo ready; sleep 1000";
    let container = program.run(&["sh", "-c", script]).start();
    container.wait_for("ready");
    container.until("they run", || {
        container.living().iter().filter(|process| process.command == "sleep 1000").count() == 21
    });
    container.end_all_unseen(libc::SIGKILL);
    format!("code {}", container.finish().code)
}

fn sigchld_ignored(program: &Program) -> String {
    const PATIENCE_WITH_A_KNOWN_HANG: Duration = Duration::from_secs(1);
    let setup = program.run(&["sh", "-c", "echo gone; exit 5"]);
    let container = setup
        .before(|| {
            launch::ignore(libc::SIGCHLD);
            Ok(())
        })
        .start();
    container.wait_for("gone");
    container.until("the child is gone", || container.living().is_empty());
    let hangs = !program.ours && matches!(program.manner, Manner::Tini | Manner::Catatonit);
    let patience = if hangs { PATIENCE_WITH_A_KNOWN_HANG } else { DEADLINE };
    let pidfd = launch::pidfd(container.pid()).expect("ours to collect");
    if launch::readable(&pidfd, patience) {
        format!("code {}", container.finish().code)
    } else {
        "never ends".to_owned()
    }
}

fn adopts(setup: Setup) -> String {
    let container = setup.not_pid1().start();
    container.wait_for("waiting");
    container.wait_for("helper pid");
    let witness = container.living().into_iter().filter(|process| process.command.contains("helper"));
    let parents: Vec<i32> = witness.map(|process| process.parent).collect();
    assert_eq!(parents.len(), 2, "the witness and its orphan among {:#?}", container.processes());
    if parents.iter().all(|parent| *parent == container.pid()) { ADOPTS } else { DOES_NOT }.to_owned()
}

fn told(program: &Program) -> String {
    let container = program.with(&["-w"], &["WITNESS", "orphans", "1", "no-zombies", "50s", "wait"]).start();
    container.wait_for("waiting");
    container.until("the orphan is gone", || container.processes().len() == 2);
    settle(&container);
    let end = container.stop();
    end.stderr.iter().map(|line| without_numbers(line)).collect::<Vec<_>>().join("\\n")
}

/// A line with `_` in place of each number.
fn without_numbers(line: &str) -> String {
    let mut result = String::new();
    for character in line.chars() {
        match character {
            '0'..='9' if result.ends_with('_') => {}
            '0'..='9' => result.push('_'),
            _ => result.push(character),
        }
    }
    result
}

fn stopped_child(program: &Program) -> String {
    let container = program.run(&["sh", "-c", "echo ready; kill -STOP $$; exit 5"]).start();
    container.wait_for("ready");
    let child = container.process("kill -STOP").pid;
    container.until("it is stopped", || proc::of(child).is_some_and(|process| process.state == 'T'));
    settle(&container);
    container.signal(libc::SIGCONT);
    format!("goes on; code {}", container.finish().code)
}
