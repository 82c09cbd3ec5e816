//! What becomes of the signals that PID 1 gets from outside.

use std::time::Duration;

use crate::container::{Container, Setup};
use crate::services::{service, sh, witness};
pub use crate::witness::name;
use crate::{launch, proc, root};

/// Never passed on: what nobody can handle, what we use ourselves, and what the C library keeps.
pub const KEPT: [i32; 8] =
    [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, libc::SIGPIPE, libc::SIGTTIN, libc::SIGTTOU, 32, 33];

/// A change to what shall be started.
type Way = fn(Setup) -> Setup;

/// Both ways on which signals come, with the first real-time signal that does: through a signalfd, and where there is none through
/// handlers, for which some C libraries leave only those from 35 on.
pub const WAYS: [(Way, i32); 2] =
    [(|setup| setup, 34), (|setup| setup.before(|| launch::refuse(libc::SYS_signalfd4)), 35)];

fn start(config: &str) -> Container {
    start_as(Setup::services(config))
}

fn start_as(setup: Setup) -> Container {
    let container = setup.start();
    container.wait_for(" is up");
    container.wait_for("waiting");
    container
}

#[test]
fn each_signal_is_passed_on_once() {
    if !root() {
        return;
    }
    let ours = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, 34 + 3];
    for (way, first) in WAYS {
        let container = start_as(way(Setup::services(&service("a", &witness("wait"), ""))));
        let mut expected = vec!["waiting".to_owned()];
        let passed =
            |number: &i32| !KEPT.contains(number) && !ours.contains(number) && !(34..first).contains(number);
        for number in (1..=64).filter(passed) {
            container.signal(number);
            let got = format!("got {}", name(number));
            container.wait_for(&got);
            expected.push(got);
        }
        let end = container.stop();
        end.code(0);
        expected.push("got SIGTERM".to_owned());
        assert_eq!(end.of("a"), expected);
    }
}

#[test]
fn some_signals_stay_with_us() {
    if !root() {
        return;
    }
    for (way, _) in WAYS {
        let container = start_as(way(Setup::services(&service("a", &witness("wait"), ""))));
        for number in KEPT.into_iter().skip(2) {
            container.signal(number);
        }
        container.signal(libc::SIGHUP);
        container.wait_for("the configuration was read again: nothing has changed");
        container.signal(libc::SIGUSR1);
        container.wait_for("got SIGUSR1");
        let end = container.stop();
        end.code(0);
        assert_eq!(end.of("a"), ["waiting", "got SIGUSR1", "got SIGTERM"]);
    }
}

#[test]
fn real_time_signals_are_all_delivered() {
    if !root() {
        return;
    }
    for (way, first) in WAYS {
        let container = start_as(way(Setup::services(&service("a", &witness("wait"), ""))));
        let signals = [first, 34 + 5, 64];
        for _ in 0..50 {
            for number in signals {
                container.signal(number);
            }
        }
        for number in signals {
            container.wait_for_nth(&format!("got {}", name(number)), 50);
        }
        container.signal(libc::SIGUSR1);
        container.wait_for("got SIGUSR1");
        for number in signals {
            let got = format!("a | got {}", name(number));
            assert_eq!(container.lines().iter().filter(|line| **line == got).count(), 50, "{got}");
        }
        container.stop().code(0);
    }
}

#[test]
fn a_service_may_have_them_rewritten() {
    if !root() {
        return;
    }
    let keys = "signals = { SIGUSR1 = \"SIGUSR2\", SIGUSR2 = \"ignore\", SIGWINCH = \"SIGHUP\" }";
    let container = start(&service("a", &witness("wait"), keys));
    for (send, got) in [(libc::SIGUSR1, "SIGUSR2"), (libc::SIGWINCH, "SIGHUP"), (libc::SIGCONT, "SIGCONT")] {
        container.signal(libc::SIGUSR2);
        container.signal(send);
        container.wait_for(&format!("got {got}"));
    }
    let end = container.stop();
    assert_eq!(end.of("a"), ["waiting", "got SIGUSR2", "got SIGHUP", "got SIGCONT", "got SIGTERM"]);
}

#[test]
fn the_table_of_signals_says_who_gets_them() {
    if !root() {
        return;
    }
    let config = "[signals]\nSIGUSR1 = [\"a\"]\nSIGHUP = [\"b\"]\nSIGQUIT = [\"b\"]\n".to_owned()
        + &service("a", &witness("wait"), "")
        + &service("b", &witness("wait"), "instances = 2\nsignals = { SIGQUIT = \"SIGURG\" }");
    let container = start(&config);
    for name in ["a", "b.1", "b.2"] {
        container.wait_for(&format!("{name} | waiting"));
    }
    for (signal, receivers) in [
        (libc::SIGUSR1, &[("a", "SIGUSR1")][..]),
        (libc::SIGHUP, &[("b.1", "SIGHUP"), ("b.2", "SIGHUP")]),
        (libc::SIGQUIT, &[("b.1", "SIGURG"), ("b.2", "SIGURG")]),
        (libc::SIGWINCH, &[("a", "SIGWINCH"), ("b.1", "SIGWINCH"), ("b.2", "SIGWINCH")]),
    ] {
        container.signal(signal);
        for (service, got) in receivers {
            container.wait_for(&format!("{service} | got {got}"));
        }
    }
    let end = container.stop();
    end.code(0);
    assert_eq!(end.of("a"), ["waiting", "got SIGUSR1", "got SIGWINCH", "got SIGTERM"]);
    for name in ["b.1", "b.2"] {
        assert_eq!(end.of(name), ["waiting", "got SIGHUP", "got SIGURG", "got SIGWINCH", "got SIGTERM"]);
    }
}

#[test]
fn a_storm_passes_without_a_trace() {
    if !root() {
        return;
    }
    let container =
        start(&(service("a", &witness("wait"), "stdout = \"null\"") + &service("b", &witness("wait"), "")));
    let memory = || proc::number(container.pid(), "VmRSS");
    container.signal(libc::SIGUSR1);
    container.wait_for("got SIGUSR1");
    let before = memory();
    for _ in 0..100_000 {
        container.signal(libc::SIGUSR1);
    }
    container.signal(libc::SIGWINCH);
    container.wait_for("b | got SIGWINCH");
    let grown = memory().saturating_sub(before);
    assert!(grown <= 1024, "{grown} kB more than before");
    assert!(proc::idle(container.pid(), Duration::from_millis(500)), "it does nothing more");
    container.stop().code(0);
}

#[test]
fn a_signal_from_before_the_first_instruction_counts() {
    if !root() {
        return;
    }
    let container = Setup::services(&service("a", &witness("wait"), ""))
        .before(|| {
            launch::set_mask(u64::MAX);
            launch::raise(libc::SIGTERM)
        })
        .start();
    let end = container.finish();
    end.code(0);
    end.says("stopping (SIGTERM)");
}

#[test]
fn from_inside_the_container_too() {
    if !root() {
        return;
    }
    let script =
        "read go < $DIR/gate; kill -KILL 1; kill -STOP 1; kill -USR1 1; kill -TERM 1; exec sleep 1000";
    let config = service("a", &witness("wait"), "")
        + &service("b", &sh(script), "depends_on = [\"a\"]\nsignals = { SIGUSR1 = \"ignore\" }");
    let setup = Setup::services(&config);
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("a | waiting");
    container.folder().go("gate");
    let end = container.finish();
    end.code(0);
    assert_eq!(end.of("a"), ["waiting", "got SIGUSR1", "got SIGTERM"], "{end:#?}");
}
