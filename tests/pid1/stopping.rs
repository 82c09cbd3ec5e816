//! Every way in which a container is asked to stop, and services that do not want to.

use std::fs;
use std::time::{Duration, Instant};

use crate::container::{Container, End, Setup};
use crate::services::{service, sh, witness, witness_path};
use crate::{launch, proc, root};

/// Goes on only when killed.
const STUBBORN: &str = "trap '' TERM INT; echo ready; while :; do sleep 0.02; done";

fn start(config: &str) -> Container {
    Setup::services(config).env("W", witness_path()).start()
}

/// Stops a container of one service `a` that has said that it is ready.
fn stopped(script: &str, keys: &str) -> End {
    stopped_when("ready", script, keys)
}

fn stopped_when(said: &str, script: &str, keys: &str) -> End {
    let container = start(&service("a", &sh(script), keys));
    container.wait_for(&format!("a | {said}"));
    container.stop()
}

/// A service that needs so long for its end.
fn slow(seconds: &str) -> String {
    format!(
        "trap 'echo asked; sleep {seconds}; echo bye; exit 0' TERM; echo ready; while :; do sleep 0.02; done"
    )
}

const QUICKLY: Duration = Duration::from_secs(5);

#[test]
fn a_service_that_ignores_the_signal_is_killed_in_time() {
    if !root() {
        return;
    }
    let end = stopped("exec $W ignore TERM say ready after 1000s", "kill_timeout = \"200ms\"");
    end.check(
        137,
        &[
            "a is up after _ s",
            "the service is up, _ s",
            "stopping (SIGTERM): a",
            "a: still there _ s after SIGTERM, SIGKILL (kill_timeout)",
            "stopped in _ s: a _ s; exit code 137",
        ],
    );
    assert!(end.waited >= Duration::from_millis(200) && end.waited < QUICKLY, "{end:#?}");
}

#[test]
fn the_deadline_of_the_whole_stop_cuts_every_other() {
    if !root() {
        return;
    }
    let config = "shutdown_timeout = \"300ms\"\n".to_owned()
        + &service("a", &sh(STUBBORN), "")
        + &service("b", &sh(STUBBORN), "depends_on = [\"a\"]");
    let container = start(&config);
    container.wait_for("a | ready");
    container.wait_for("b | ready");
    let end = container.stop();
    end.code(137);
    end.says("b: still there _ s after SIGTERM, SIGKILL (shutdown_timeout)");
    end.says("a: SIGKILL at once (shutdown_timeout)");
    assert!(end.waited < QUICKLY, "{end:#?}");
}

#[test]
fn a_stopped_service_is_continued_to_hear_of_its_end() {
    if !root() {
        return;
    }
    let container = start(&service("a", &witness("wait"), ""));
    container.wait_for("a | waiting");
    let service = container.process("tinysup-witness").pid;
    assert!(launch::kill(service, libc::SIGSTOP));
    container.until("it is stopped", || proc::of(service).is_some_and(|process| process.state == 'T'));
    assert!(container.count("a: code") == 0, "a stop is not an end");
    let end = container.stop();
    end.code(0);
    assert!(end.of("a").contains(&"got SIGTERM"), "{end:#?}");
    assert!(end.waited < QUICKLY);
}

#[test]
fn a_traced_service_has_not_ended() {
    if !root() {
        return;
    }
    let container = start(&service("a", &witness("wait"), ""));
    container.wait_for("a | waiting");
    let service = container.process("tinysup-witness").pid;
    launch::trace(service).expect("we are root");
    container.until("it is stopped for us", || proc::of(service).is_some_and(|process| process.state == 't'));
    container.signal(libc::SIGUSR1);
    launch::untrace(service).expect("we trace it");
    container.wait_for("a | got SIGUSR1");
    let end = container.stop();
    end.code(0);
    end.never_says("a: ");
}

#[test]
fn a_shell_that_keeps_the_signal_to_itself() {
    if !root() {
        return;
    }
    // It dies of it, and its child does not hear of it from the shell.
    let end = stopped_when("waiting", "$W wait; echo never", "");
    end.code(0);
    assert_eq!(end.of("a"), ["waiting", "got SIGTERM"], "{end:#?}");
    assert!(end.waited < QUICKLY, "{end:#?}");
    // It waits for its child before it acts on it.
    let end =
        stopped_when("waiting", "trap 'echo trap' TERM; $W wait; echo after", "kill_timeout = \"200ms\"");
    end.code(137);
    assert!(!end.of("a").contains(&"got SIGTERM"), "{end:#?}");
    assert!(end.waited < QUICKLY, "{end:#?}");
    // Unless both hear of it.
    let end = stopped_when("waiting", "trap 'echo trap' TERM; $W wait; echo after", "kill_mode = \"group\"");
    end.code(0);
    assert_eq!(end.of("a"), ["waiting", "got SIGTERM", "trap", "after"], "{end:#?}");
}

#[test]
fn children_that_outlive_their_leader_have_their_own_grace() {
    if !root() {
        return;
    }
    let child = slow("0.2");
    let end = stopped(&format!("sh -c '{}' & trap 'exit 0' TERM; wait", child.replace('\'', "'\\''")), "");
    end.code(0);
    assert_eq!(end.of("a"), ["ready", "asked", "bye"], "{end:#?}");
    let child = STUBBORN.replace('\'', "'\\''");
    let end = stopped(&format!("sh -c '{child}' & trap 'exit 0' TERM; wait"), "kill_timeout = \"200ms\"");
    end.code(137);
    end.says("a left \"");
    end.says(" behind, which did not heed SIGTERM: SIGKILL");
    assert!(end.waited < QUICKLY, "{end:#?}");
}

#[test]
fn in_process_mode_the_rest_goes_with_the_container() {
    if !root() {
        return;
    }
    let child = slow("0.1").replace('\'', "'\\''");
    let end = stopped(&format!("sh -c '{child}' & trap 'exit 0' TERM; wait"), "kill_mode = \"process\"");
    end.code(0);
    assert_eq!(end.of("a"), ["ready", "asked", "bye"], "{end:#?}");
    end.never_says("behind");
}

#[test]
fn a_stop_signal_of_its_own() {
    if !root() {
        return;
    }
    let container = start(&service("a", &witness("wait"), "stop_signal = \"SIGQUIT\""));
    container.wait_for("a | waiting");
    let end = container.stop();
    end.code(0);
    assert_eq!(end.of("a"), ["waiting", "got SIGQUIT"]);
    for request in [libc::SIGINT, libc::SIGQUIT, 34 + 3] {
        let container = start(&service("a", &witness("wait"), ""));
        container.wait_for("a | waiting");
        container.signal(request);
        let end = container.finish();
        end.code(0);
        assert_eq!(end.of("a"), ["waiting", "got SIGTERM"]);
    }
}

#[test]
fn a_stop_command_instead_of_the_signal() {
    if !root() {
        return;
    }
    let on_usr1 = "trap 'echo usr1; exit 0' USR1; trap 'echo term; exit 0' TERM; echo ready; while :; do sleep 0.02; done";
    let command = |script: &str, more: &str| format!("stop_command = {}\n{more}", sh(script));
    let end = stopped(on_usr1, &command("kill -USR1 $MAINPID", ""));
    end.check(
        0,
        &["a is up after _ s", "the service is up, _ s", "stopping (SIGTERM): a", "stopped in _ s: a _ s"],
    );
    assert_eq!(end.of("a"), ["ready", "usr1"]);

    let end = stopped(on_usr1, &command("echo sorry; exit 3", ""));
    end.code(0);
    end.says("a: stop_command ended with code 3; sending the stop signal");
    assert_eq!(end.of("a"), ["ready", "sorry", "term"], "its output is the service's");

    let end = stopped(on_usr1, "stop_command = [\"/no/such\"]");
    end.code(0);
    end.says("a: cannot run stop_command: \"/no/such\" does not exist; sending the stop signal");
    assert_eq!(end.of("a"), ["ready", "term"]);

    let end = stopped(on_usr1, &command("exec sleep 1000", "kill_timeout = \"200ms\""));
    end.code(137);
    assert!(end.waited < QUICKLY, "{end:#?}");

    let end = stopped(on_usr1, &command("exit 0", "kill_timeout = \"200ms\""));
    end.code(137);
    end.says("SIGKILL (kill_timeout)");
    assert_eq!(end.of("a"), ["ready"], "a success of the command is believed");

    // One that leaves the service down but hangs itself.
    let end = stopped(on_usr1, &command("kill -USR1 $MAINPID; exec sleep 1000", ""));
    end.code(0);
    assert!(end.waited < QUICKLY, "{end:#?}");
}

#[test]
fn stops_go_in_reverse_order_and_each_waits() {
    if !root() {
        return;
    }
    let config = service("a", &sh(&slow("0.05")), "")
        + &service("b", &sh(&slow("0.05")), "depends_on = [\"a\"]")
        + &service("c", &sh(&slow("0.5")), "depends_on = [\"b\"]")
        + &service("d", &sh(&slow("0.5")), "depends_on = [\"b\"]");
    let container = start(&config);
    for name in ["a", "b", "c", "d"] {
        container.wait_for(&format!("{name} | ready"));
    }
    let end = container.stop();
    end.code(0);
    let lines = end.stdout.iter().filter(|line| !line.ends_with("ready"));
    let order: Vec<&str> = lines.map(String::as_str).collect();
    let at = |line: &str| order.iter().position(|known| *known == line).expect(line);
    assert!(at("b | asked") > at("c | bye") && at("b | asked") > at("d | bye"), "{order:?}");
    assert!(at("a | asked") > at("b | bye"), "{order:?}");
    assert!(at("c | asked") < at("d | bye") && at("d | asked") < at("c | bye"), "at once: {order:?}");
}

#[test]
fn each_second_it_is_told_who_is_still_there() {
    if !root() {
        return;
    }
    let config = service("a", &sh(&slow("2.5")), "") + &service("b", &witness("wait"), "");
    let container = start(&config);
    container.wait_for("a | ready");
    container.wait_for("b | waiting");
    let end = container.stop();
    end.code(0);
    let own = end.own();
    let told: Vec<_> = own.iter().filter(|line| line.starts_with("still stopping")).collect();
    assert_eq!(told, ["still stopping: a; SIGKILL in _ s"; 2], "{end:#?}");
}

#[test]
fn a_second_ctrl_c_is_impatience_and_many_sigterms_are_not() {
    if !root() {
        return;
    }
    let container = start(&service("a", &sh(&slow("1000")), ""));
    container.wait_for("a | ready");
    container.signal(libc::SIGINT);
    container.wait_for("a | asked");
    container.signal(libc::SIGINT);
    let end = container.finish();
    end.code(137);
    end.says("a: still there _ s after SIGTERM, SIGKILL (second SIGINT)");
    assert!(end.waited < QUICKLY, "{end:#?}");

    let container = start(&service("a", &sh(&slow("0.5")), ""));
    container.wait_for("a | ready");
    container.signal(libc::SIGINT);
    for _ in 0..300 {
        container.signal(libc::SIGTERM);
    }
    container.wait_for("a | asked");
    for _ in 0..300 {
        container.signal(libc::SIGTERM);
    }
    let end = container.finish();
    end.code(0);
    assert_eq!(end.of("a"), ["ready", "asked", "bye"], "asked once, and not cut short: {end:#?}");
}

#[test]
fn a_stop_may_come_at_any_moment_of_the_start() {
    if !root() {
        return;
    }
    let config = service("a", &witness("wait"), "")
        + &service("b", &witness("exit 0"), "type = \"oneshot\"\ndepends_on = [\"a\"]")
        + &service("c", &witness("wait"), "depends_on = { b = \"completed\" }");
    witness_path();
    let mut random = Random::new();
    for turn in 0..100 {
        let delay = random.below(Duration::from_millis(3));
        let mut setup = Setup::services(&config);
        // A signal that comes for PID 1 before anybody has blocked or handled it is dropped by the kernel. So either it is
        // blocked from the beginning, or we wait until our program has done that.
        if turn % 2 == 0 {
            setup = setup.before(|| {
                launch::set_mask(u64::MAX);
                Ok(())
            });
        }
        let container = setup.start();
        if turn % 2 == 1 {
            container.until("it has begun", || {
                let status = proc::status(container.pid()).expect("it runs");
                let some = |field: &str| {
                    status.iter().any(|(name, v)| name == field && !v.trim_matches('0').is_empty())
                };
                some("SigBlk") || some("SigCgt")
            });
        }
        pass(delay);
        let end = container.stop();
        assert_eq!(end.code, 0, "turn {turn}, after {delay:?}: {end:#?}");
        assert!(end.waited < QUICKLY, "turn {turn}, after {delay:?}: {end:#?}");
    }
}

#[test]
fn a_stop_may_come_at_any_moment_of_a_crash_loop() {
    if !root() {
        return;
    }
    let crash = "helper 1000s child 1000s exit 1";
    let keys = "restart_delay = 0\nmax_restarts = \"unlimited\"";
    let config = service("a", &witness(crash), keys) + &service("b", &witness(crash), keys);
    let mut random = Random::new();
    for turn in 0..50 {
        let delay = random.below(Duration::from_millis(30));
        let container = Setup::services(&config).start();
        container.wait_for("restart 1 now");
        pass(delay);
        let end = container.stop();
        assert_eq!(end.code, 0, "turn {turn}, after {delay:?}: {end:#?}");
        assert!(end.waited < QUICKLY, "turn {turn}, after {delay:?}: {end:#?}");
    }
}

/// The same moments in each run of the tests.
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        limit.mul_f64(f64::from(u32::try_from(self.0 >> 32).expect("32 bits")) / f64::from(u32::MAX))
    }
}

/// Lets so much time pass, to the microsecond.
fn pass(delay: Duration) {
    let since = Instant::now();
    while since.elapsed() < delay {}
}

#[test]
fn a_stop_while_others_are_awaited_starts_nothing() {
    if !root() {
        return;
    }
    let config = service("migrate", &witness("wait"), "type = \"oneshot\"")
        + &service("api", &sh("echo api"), "depends_on = { migrate = \"completed\" }");
    let container = start(&config);
    container.wait_for("migrate | waiting");
    let end = container.stop();
    end.check(0, &["stopping (SIGTERM): migrate", "stopped in _ s: migrate _ s"]);
    assert_eq!(end.stdout, ["migrate | waiting", "migrate | got SIGTERM"], "{end:#?}");
}

#[test]
fn strays_are_asked_and_have_a_grace() {
    if !root() {
        return;
    }
    let container = start(&service("a", &witness("wait"), ""));
    container.wait_for("a | waiting");
    let folder = container.folder().path().to_string_lossy().into_owned();
    // As of docker exec; and one whose parent is gone.
    let stray = |name: &str| {
        format!(
            "trap 'sleep 0.1; echo bye > {folder}/{name}; exit' TERM; touch {folder}/{name}; while :; do sleep 0.02; done"
        )
    };
    let _executed = container.exec(&["/bin/sh", "-c", &stray("one")]);
    let orphan = format!("setsid sh -c \"{}\" & exit 0", stray("two"));
    let parent = container.exec(&["/bin/sh", "-c", &orphan]);
    assert_eq!(parent.wait(), 0);
    let file = |name: &str| fs::read_to_string(container.folder().path().join(name)).ok();
    container.until("both are ready", || file("one").is_some() && file("two").is_some());
    container.signal(libc::SIGTERM);
    container.until("both had time to say something", || {
        file("one").as_deref() == Some("bye\n") && file("two").as_deref() == Some("bye\n")
    });
    let end = container.finish();
    end.code(0);
    assert!(end.waited < QUICKLY, "{end:#?}");
}

#[test]
fn a_stray_that_ignores_everything_is_killed_and_changes_no_code() {
    if !root() {
        return;
    }
    let container = start(&service("a", &witness("wait"), ""));
    container.wait_for("a | waiting");
    let ready = container.folder().path().join("ready");
    let script = format!("trap '' TERM; touch {}; while :; do sleep 0.02; done", ready.display());
    let stray = container.exec(&["/bin/sh", "-c", &script]);
    container.until("it is ready", || ready.exists());
    container.signal(libc::SIGTERM);
    assert_eq!(stray.wait(), -libc::SIGKILL);
    let end = container.finish();
    end.code(0);
    assert!(end.waited < QUICKLY, "{end:#?}");
}

#[test]
fn time_in_which_we_did_not_run_kills_nobody() {
    if !root() {
        return;
    }
    let script =
        "trap 'echo asked; read go < $DIR/gate; exit 0' TERM; echo ready; while :; do sleep 0.02; done";
    let setup = Setup::services(&service("a", &sh(script), "kill_timeout = \"1s\""));
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("a | ready");
    container.signal(libc::SIGTERM);
    container.wait_for("a | asked");
    container.freeze();
    // Long past the time in which the service has to end: this is what is measured, not a wait for something.
    let nobody_dies = Duration::from_millis(2500);
    assert!(!launch::readable(launch::pidfd(container.pid()).expect("it runs"), nobody_dies));
    container.thaw();
    container.folder().go("gate");
    let end = container.finish();
    end.code(0);
    end.never_says("SIGKILL (");
}

#[test]
fn the_first_reason_stands() {
    if !root() {
        return;
    }
    let config = service("a", &sh("read go < $DIR/gate; exit 7"), "max_restarts = 0")
        + &service("b", &sh(&slow("0.2")), "");
    let setup = Setup::services(&config);
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("b | ready");
    container.folder().go("gate");
    container.wait_for("b | asked");
    let end = container.stop();
    end.code(7);
    end.says("CONTAINER STOPPED: a failed");
}
