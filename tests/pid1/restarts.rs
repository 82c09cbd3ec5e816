//! What a crashed leader leaves behind is gone before the next run begins, is named, and adds up to nothing.

use std::time::Duration;

use crate::container::{Container, End, Folder, Setup, free_port};
use crate::services::{service, sh, witness, witness_path, words};
use crate::{proc, root};

/// Two runs of one service `a`. The first leaves something behind, with the shell's `$W` for the witness, and crashes when it has;
/// the second lists all processes that it meets and then waits for the stop.
fn two_runs(leave: &str, keys: &str) -> End {
    let script = format!(
        "if [ -e $DIR/crashed ]; then exec $W ps $AGAIN wait; fi\n{leave}\ntouch $DIR/crashed; kill -9 $$"
    );
    let keys = format!("restart_delay = 0\nmax_restarts = 1\n{keys}");
    let setup = Setup::services(&service("a", &sh(&script), &keys));
    crate::container::set_mode(setup.folder().path(), 0o777);
    let container = setup.env("W", witness_path()).start();
    container.wait_for("a | waiting");
    container.stop()
}

/// What the second run saw: PID 1 and itself.
#[track_caller]
fn nothing_met(end: &End) {
    let met: Vec<&str> = end.of("a").into_iter().filter(|line| line.starts_with("ps ")).collect();
    assert_eq!(met.len(), 2, "{end:#?}");
    assert!(met[0].starts_with("ps 1 0 ") && met[1].ends_with(" tinysup-witness"), "{end:#?}");
}

#[test]
fn a_child_in_the_group() {
    if !root() {
        return;
    }
    let end = two_runs("sleep 1000 & while ! grep -qs sleep /proc/$!/comm; do :; done", "");
    nothing_met(&end);
    end.check(
        0,
        &[
            "a is up after _ s",
            "the service is up, _ s",
            "a left \"sleep\" (pid _) behind; stopping it",
            "a: code 137, SIGKILL after _ s; restart 1/1 now",
            "stopping (SIGTERM): a",
            "stopped in _ s: a _ s",
        ],
    );
}

#[test]
fn a_daemon_in_a_session_of_its_own() {
    if !root() {
        return;
    }
    let end = two_runs("$W helper 1000s after 20ms", "");
    nothing_met(&end);
    end.code(0);
    end.says("a left \"");
    end.says("\" (pid _) behind; stopping it");
}

#[test]
fn children_of_children_everywhere() {
    if !root() {
        return;
    }
    // Three generations, each in a session of its own; the eldest dies first, the youngest has ignored SIGTERM.
    let third = "setsid sh -c \"trap '' TERM; echo third; while :; do sleep 0.05; done\" & echo second; wait";
    let leave = format!(
        "setsid sh -c '{}' & while [ ! -e $DIR/third ]; do sleep 0.01; done",
        third.replace('\'', "'\\''").replace("echo third", "touch $DIR/third")
    );
    let end = two_runs(&leave, "kill_timeout = \"200ms\"");
    nothing_met(&end);
    end.code(0);
    end.says(" behind, which did not heed SIGTERM: SIGKILL");
}

#[test]
fn a_child_of_another_user() {
    if !root() {
        return;
    }
    let end = two_runs(
        "setpriv --reuid 12345 --regid 12345 --clear-groups setsid sleep 1000 & while ! grep -qs '^Uid:.12345' /proc/$!/status || ! grep -qs sleep /proc/$!/comm; do :; done",
        "",
    );
    nothing_met(&end);
    end.code(0);
    end.says("a left \"sleep\" (pid _) behind; stopping it");
}

#[test]
fn a_child_that_ignores_the_polite_request() {
    if !root() {
        return;
    }
    let end = two_runs("$W ignore TERM child 1000s", "kill_timeout = \"150ms\"");
    nothing_met(&end);
    end.code(0);
    end.says("a left \"");
    end.says(" behind, which did not heed SIGTERM: SIGKILL");
}

#[test]
fn a_child_that_holds_the_port() {
    if !root() {
        return;
    }
    let port = free_port(30_000..31_000);
    let listen = format!("$W listen {port} 0s append $DIR/listening yes after 1000s");
    let end = two_runs(
        &format!("{listen} & while [ ! -e $DIR/listening ]; do sleep 0.01; done"),
        &format!("env = {{ AGAIN = \"listen {port} 0s\" }}"),
    );
    nothing_met(&end);
    end.code(0);
    assert!(end.of("a").contains(&&*format!("listening on {port}")), "{end:#?}");
}

#[test]
fn remains_that_leave_remains() {
    if !root() {
        return;
    }
    // Asked to end, it makes another, of which the first look could not know.
    let remains = "trap '(setsid sleep 1000 &); exit' TERM; touch $DIR/ready; while :; do sleep 0.01; done";
    let leave = format!("setsid sh -c \"{remains}\" & while [ ! -e $DIR/ready ]; do sleep 0.01; done");
    let end = two_runs(&leave, "");
    nothing_met(&end);
    end.code(0);
    end.never_says("SIGKILL:");
    assert!(end.ran < Duration::from_secs(5), "{end:#?}");
}

#[test]
fn a_stopped_child() {
    if !root() {
        return;
    }
    let end = two_runs("sleep 1000 & while ! grep -qs sleep /proc/$!/comm; do :; done; kill -STOP $!", "");
    nothing_met(&end);
    end.code(0);
    end.never_says("SIGKILL:");
    end.says("a left \"sleep\" (pid _) behind; stopping it");
}

#[test]
fn what_the_process_mode_leaves_alone_is_left_alone() {
    if !root() {
        return;
    }
    let end = two_runs("sleep 1000 &", "kill_mode = \"process\"");
    end.code(0);
    let met = end.of("a").into_iter().filter(|line| line.starts_with("ps ")).count();
    assert_eq!(met, 3, "{end:#?}");
    end.never_says("behind");
}

#[test]
fn nobody_elses_processes_are_taken_for_remains() {
    if !root() {
        return;
    }
    // Another service's helper, a stranger's (as of docker exec), and one that hides its mark but not its group.
    let config = service("b", &sh("$W helper 1000s child 1000s wait"), "")
        + &service("a", &sh("read go < $DIR/gate; exit 1"), "restart_delay = 0");
    let setup = Setup::services(&config).env("W", witness_path());
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("b | waiting");
    let stranger = container.exec(&["/bin/sh", "-c", "setsid sleep 1234 & exit 0"]);
    assert_eq!(stranger.wait(), 0);
    container.until("the stranger's child is an orphan", || {
        container.living().iter().any(|p| p.command == "sleep 1234" && p.parent == container.pid())
    });
    let before = inner_pids(&container);
    container.folder().go("gate");
    container.wait_for("a: code 1 after");
    container.folder().go("gate"); // the next run reads it
    container.wait_for("restart 2/10");
    let after = inner_pids(&container);
    let kept = before.iter().filter(|pid| after.contains(pid)).count();
    assert!(kept >= before.len() - 1, "only the old run is gone: {before:?} {after:?}");
    let end = container.stop();
    end.code(0);
    end.never_says("behind");
}

fn inner_pids(container: &Container) -> Vec<i32> {
    container.living().iter().map(|process| process.inner).collect()
}

#[test]
fn a_thousand_crashes_leave_nothing() {
    if !root() {
        return;
    }
    let restarts = 1000;
    // Each leaves a helper in a session of its own, and one in its group that holds its output.
    let folder = Folder::new();
    let runs = folder.file("runs", "");
    let crash = format!("append {} run helper 1000s child 1000s exit 1", runs.display());
    let keys = format!("restart_delay = 0\nmax_restarts = {restarts}\non_failure = \"ignore\"");
    let config = service("a", &witness(&crash), &keys) + &service("steady", &witness("wait"), "");
    let container = Setup::services(&config).env("TINYSUP_LOG", "error").start();
    container.wait_for("steady | waiting");
    container.wait_for("a: code 1 after"); // the last one: at this level no other end is told
    container.until("all is quiet", || container.living().len() == 1);
    assert_eq!(container.processes().len(), 2, "no zombies either");
    assert_eq!(std::fs::read_to_string(runs).expect("runs").lines().count(), restarts + 1);
    // What a container has that never ran `a`.
    let config =
        service("a", &witness("exit 0"), "type = \"oneshot\"") + &service("steady", &witness("wait"), "");
    let other = Setup::services(&config).env("TINYSUP_LOG", "error").start();
    other.wait_for("steady | waiting");
    other.until("a is done", || other.processes().len() == 2);
    container.until("no descriptor is left over", || {
        proc::descriptors(container.pid()).len() == proc::descriptors(other.pid()).len()
    });
    container.stop().code(0);
}

#[test]
fn a_service_that_daemonizes_is_told_how_not_to() {
    if !root() {
        return;
    }
    let setup = Setup::services("");
    let program = setup.folder().program("nginx", "#!/bin/sh\n$W helper 1000s after 20ms\n");
    let name = program.to_string_lossy();
    let keys = "max_restarts = 0";
    let end =
        Setup::services(&service("a", &words(&[&name]), keys)).env("W", witness_path()).start().finish();
    end.code(1);
    end.says("a exited with code 0 but left \"");
    end.says("running: it put itself into the background. Run it in the foreground: nginx -g \"daemon off;\"; stopping it");
    end.says("a: code 0 after _ s; failed for good: max_restarts = 0");
}

#[test]
fn a_pipe_that_remains_hold_open_does_not_delay_the_restart() {
    if !root() {
        return;
    }
    // Somebody else than a process of ours holds the old run's output: nothing of the run is left, only its pipe.
    let script = "if [ -e $DIR/crashed ]; then exec $W say again wait; fi; echo pid $$; read go < $DIR/gate; touch $DIR/crashed; kill -9 $$";
    let setup = Setup::services(&service("a", &sh(script), "restart_delay = 0")).env("W", witness_path());
    setup.folder().gate("gate");
    let container = setup.start();
    let line = container.wait_for("a | pid ");
    let inner: i32 = line.trim_start_matches("a | pid ").parse().expect("a pid");
    let pipe = std::fs::File::options().write(true).open(format!("/proc/{}/fd/1", container.outer(inner)));
    let mut pipe = pipe.expect("its standard output");
    container.folder().go("gate");
    container.wait_for("a | again");
    // And what is written there still comes.
    std::io::Write::write_all(&mut pipe, b"from the grave\n").expect("it is read");
    container.wait_for("a | from the grave");
    let end = container.stop();
    end.code(0);
}

#[test]
fn a_process_that_becomes_an_orphan_during_the_run_is_the_services_too() {
    if !root() {
        return;
    }
    // It is found by its mark when the service is stopped, and gets its own grace, not that of a stray.
    let daemon = "trap \"sleep 0.2; echo bye; exit\" TERM; echo ready; while :; do sleep 0.01; done";
    let script = format!("setsid sh -c '{daemon}' & trap 'exit 0' TERM; while :; do sleep 0.01; done");
    let container = Setup::services(&service("a", &sh(&script), "")).start();
    container.wait_for("a | ready");
    let end = container.stop();
    end.code(0);
    assert!(end.of("a").contains(&"bye"), "{end:#?}");
}
