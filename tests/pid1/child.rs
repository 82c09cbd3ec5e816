//! Not as PID 1: an ordinary child that adopts the orphans among its descendants and touches nobody else.

use crate::container::{Setup, tinysup};
use crate::services::{service, sh, witness, witness_path, words};
use crate::{launch, root};

const NOT_PID1: &str = "not PID 1: fine, orphans are adopted all the same";

#[test]
fn orphans_are_adopted_all_the_same() {
    if !root() {
        return;
    }
    let config = service("a", &witness("orphans 2000 no-zombies 20s wait"), "");
    let container = Setup::services(&config).not_pid1().start();
    container.wait_for("a | waiting");
    assert_eq!(container.processes().len(), 3, "PID 1, tinysup and the service");
    let end = container.stop();
    end.check(
        0,
        &[
            NOT_PID1,
            "a is up after _ s",
            "the service is up, _ s",
            "stopping (SIGTERM): a",
            "stopped in _ s: a _ s",
        ],
    );
    assert!(end.left.is_empty(), "{end:#?}");
}

/// As gVisor does, which does not know the call for it.
#[test]
fn where_orphans_cannot_be_adopted_that_is_told() {
    if !root() {
        return;
    }
    let setup = Setup::services(&service("a", &witness("wait"), "")).not_pid1();
    let container = setup.before(|| launch::refuse(libc::SYS_prctl)).start();
    container.wait_for("a | waiting");
    let end = container.stop();
    end.check(
        0,
        &[
            "not PID 1, and orphans go to another process: they cannot be adopted here",
            "a is up after _ s",
            "the service is up, _ s",
            "stopping (SIGTERM): a",
            "stopped in _ s: a _ s",
        ],
    );
}

#[test]
fn what_a_crash_left_behind_is_found_and_bystanders_are_not() {
    if !root() {
        return;
    }
    let script = "if [ -e $DIR/crashed ]; then exec $W wait; fi; touch $DIR/crashed; exec $W helper 1000s child 1000s exit 3";
    let container = Setup::services(&service("a", &sh(script), "restart_delay = 0"))
        .env("W", witness_path())
        .not_pid1()
        .start();
    // It even looks as if it were of that service, but it is no descendant.
    let mark = [("TINYSUP_SERVICE", "a"), ("TINYSUP_INSTANCE", "1")];
    let bystander = container.beside(&["/bin/sleep", "1234"], &mark);
    container.wait_for("a | waiting");
    container.until("only the new run is there", || container.living().len() == 2);
    let end = container.stop();
    end.code(0);
    end.says(" behind; stopping them");
    let left: Vec<&str> = end.left.iter().map(|process| process.command.as_str()).collect();
    assert_eq!(left, ["/bin/sleep 1234"], "the bystander is unharmed, and nobody else is left");
    drop(bystander);
}

#[test]
fn strays_of_ours_go_and_others_stay() {
    if !root() {
        return;
    }
    // A descendant without a mark: nothing of a service, but of ours.
    let script = "setsid env -u TINYSUP_SERVICE -u TINYSUP_INSTANCE sleep 1000 & exec $W wait";
    let container =
        Setup::services(&service("a", &sh(script), "")).env("W", witness_path()).not_pid1().start();
    let _bystander = container.beside(&["/bin/sleep", "1234"], &[]);
    container.wait_for("a | waiting");
    container.until("the stray runs", || container.living().iter().any(|p| p.command == "sleep 1000"));
    let end = container.stop();
    end.code(0);
    let left: Vec<&str> = end.left.iter().map(|process| process.command.as_str()).collect();
    assert_eq!(left, ["/bin/sleep 1234"], "{end:#?}");
}

#[test]
fn one_within_the_other() {
    if !root() {
        return;
    }
    let tinysup = &*tinysup().to_string_lossy().into_owned();
    let inner = service("x", &witness("wait"), "") + &service("y", &witness("helper 1000s wait"), "");
    let setup = Setup::services(&service(
        "inner",
        &sh(&format!("exec {tinysup} -c $DIR/inner.toml")),
        "stderr = \"raw\"",
    ));
    setup.folder().file("inner.toml", inner);
    let container = setup.start();
    container.wait_for("x | waiting");
    container.wait_for("y | waiting");
    container.signal(libc::SIGUSR1);
    container.wait_for("x | got SIGUSR1");
    container.wait_for("y | got SIGUSR1");
    let end = container.stop();
    end.code(0);
    for line in ["x | got SIGTERM", "y | got SIGTERM"] {
        assert!(end.of("inner").contains(&line), "{end:#?}");
    }
    // And as the init of one command, twice.
    let end = Setup::command(&["--", tinysup, "--", tinysup, "-g", "sh", "-c", "sleep 1000 & exit 5"])
        .start()
        .finish();
    assert_eq!((end.code, end.stdout.len(), end.stderr.len()), (5, 0, 0), "{end:#?}");
}

#[test]
fn no_signal_goes_to_everybody() {
    if !root() {
        return;
    }
    // The end of a failed container, as a child: the one place where PID 1 would sweep all others.
    let config =
        service("a", &sh("trap '' TERM; echo ready; read go < $DIR/gate; exit 3"), "max_restarts = 0")
            + &service("b", &words(&["sleep", "1000"]), "");
    let setup = Setup::services(&config).not_pid1();
    setup.folder().gate("gate");
    let container = setup.start();
    let bystander = container.beside(&["/bin/sleep", "1234"], &[]);
    container.wait_for("a | ready");
    container.folder().go("gate");
    let end = container.finish();
    end.code(3);
    assert_eq!(end.left.len(), 1, "{end:#?}");
    launch::kill(end.left[0].pid, libc::SIGCONT);
    drop(bystander);
}
