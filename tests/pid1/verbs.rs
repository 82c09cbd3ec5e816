//! The verbs, asked inside the container as `docker exec` would.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use serde_json::Value;

use crate::container::{Asked, Container, DEADLINE, Setup};
use crate::launch::{self, Step};
use crate::services::{service, sh, witness};
use crate::{proc, root};

const STAYS: &str = "trap 'echo bye; exit 0' TERM; echo here; while :; do sleep 0.02; done";

/// A database, two that need it, a job that is done, and one that has failed for good.
fn shop() -> Container {
    let config = service("db", &sh(STAYS), "")
        + &service("web", &sh(STAYS), "instances = 2\ndepends_on = [\"db\"]")
        + &service("job", &sh("echo worked"), "type = \"oneshot\"")
        + &service(
            "bad",
            &sh("echo no queue >&2; exit 17"),
            "max_restarts = 1\nrestart_delay = 0\non_failure = \"ignore\"",
        );
    let container = Setup::services(&config).start();
    for wanted in
        ["db | here", "web.1 | here", "web.2 | here", "failed for good: its 1 restart is spent", "job"]
    {
        container.wait_for(wanted);
    }
    assert_eq!(container.verb(&["wait", "job", "--for", "completed"]).code, 0);
    container
}

fn objects(asked: &Asked) -> Vec<Value> {
    asked.stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// The state of an instance.
fn state(container: &Container, name: &str) -> String {
    let status = container.verb(&["status", "--json", name]);
    objects(&status)[0]["services"][0]["state"].as_str().expect("a state").to_owned()
}

#[test]
fn status_tells_of_each_and_its_code_of_all() {
    if !root() {
        return;
    }
    let container = shop();
    let asked = container.verb(&["status"]);
    assert_eq!((asked.code, asked.stderr.as_str()), (3, ""), "{asked:#?}");
    let cell = |name: &str, column: usize| {
        let row = asked.stdout.lines().find(|line| line.starts_with(name)).expect("a row");
        row.split_whitespace().nth(column).expect("a cell").to_owned()
    };
    for (name, state, restarts) in [
        ("db", "ready", "0/10"),
        ("web.1", "ready", "0/10"),
        ("web.2", "ready", "0/10"),
        ("job", "completed", "0/10"),
        ("bad", "failed", "1/1"),
    ] {
        assert_eq!((cell(name, 1).as_str(), cell(name, 4).as_str()), (state, restarts), "{asked:#?}");
    }
    assert!(
        asked.stdout.contains("code 17 (2 times)") && asked.stdout.contains("tinysup logs bad"),
        "{asked:#?}"
    );
    // Pids are those of the container.
    let pid: i32 = cell("db", 2).parse().expect("a pid");
    assert!(container.living().iter().any(|process| process.inner == pid), "{pid}");

    assert_eq!(container.verb(&["status", "db", "web"]).code, 0, "those are well");
    let one = &objects(&container.verb(&["ls", "--json", "web.2"]))[0];
    assert_eq!(
        (one["services"].as_array().map(Vec::len), one["services"][0]["instance"].as_u64()),
        (Some(1), Some(2))
    );
    container.verb(&["status", "webb"]).refused(64, "did you mean \"web\"?");
    container.stop().code(0);
}

#[test]
fn what_is_stopped_stays_down_and_dependents_are_named() {
    if !root() {
        return;
    }
    let container = shop();
    container.verb(&["stop", "db"]).refused(1, "web.1, web.2 depend on db");
    assert_eq!(state(&container, "db"), "ready");
    container.verb(&["stop"]).refused(64, "tinysup stop all");
    let asked = container.verb(&["stop", "db", "--with-dependents"]);
    asked.check(0, &["db stopped after _ s", "web.1 stopped after _ s", "web.2 stopped after _ s"]);
    assert_eq!(state(&container, "web.1"), "down");
    container.verb(&["start", "web.1"]).refused(1, "db");
    container.verb(&["wait", "db", "web", "--for", "stopped"]).check(0, &["all 3 are stopped"]);
    let asked = container.verb(&["start", "db", "web.1"]);
    asked.check(0, &["db started: pid _, up after _ s", "web.1 started: pid _, up after _ s"]);
    assert_eq!(state(&container, "web.2"), "down", "nobody asked for it");
    let end = container.stop();
    end.code(0);
    assert_eq!(end.of("web.2"), ["here", "bye"]);
}

#[test]
fn restart_tells_both_pids() {
    if !root() {
        return;
    }
    let container = shop();
    let before = objects(&container.verb(&["status", "--json", "web.1"]))[0]["services"][0]["pid"].as_i64();
    let asked = container.verb(&["restart", "web.1"]);
    assert_eq!(asked.code, 0, "{asked:#?}");
    assert!(
        asked.stdout.contains(&format!("web.1 restarted: pid {} -> ", before.expect("a pid"))),
        "{asked:#?}"
    );
    let asked = container.verb(&["restart", "web", "--no-wait"]);
    asked.check(0, &["web.1 restarting", "web.2 restarting"]);
    container.verb(&["wait", "web"]).check(0, &["all 2 are ready"]);
    container.stop().code(0);
}

#[test]
fn logs_are_kept_also_of_what_has_ended() {
    if !root() {
        return;
    }
    let container = shop();
    let lines = |asked: &Asked| -> Vec<String> {
        assert_eq!(asked.code, 0, "{asked:#?}");
        // Without the time.
        asked.plain().iter().map(|line| line.split_once(' ').expect("a time").1.to_owned()).collect()
    };
    assert_eq!(
        lines(&container.verb(&["logs", "bad"])),
        [
            "err no queue",
            "-- code 17 after _ s; restart 1/1 now",
            "err no queue",
            "-- code 17 after _ s; failed for good: its 1 restart is spent",
        ]
    );
    assert_eq!(lines(&container.verb(&["logs", "-n", "1", "--stderr", "bad"])), ["err no queue"]);
    assert_eq!(lines(&container.verb(&["logs", "--stdout", "bad"])), [""; 0]);
    assert_eq!(lines(&container.verb(&["logs", "--since", "0s", "db"])), [""; 0]);
    let mut both = lines(&container.verb(&["logs", "web"]));
    both.sort();
    assert_eq!(both, ["out web.1 | here", "out web.2 | here"]);
    container.stop().code(0);
}

#[test]
fn what_is_followed_comes_at_once_and_ends_with_the_container() {
    if !root() {
        return;
    }
    let lines = "read line < $DIR/gate; for i in 1 2 3; do echo line $i; done; exec sleep 1000";
    let setup = Setup::services(&service("a", &sh(lines), ""));
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("a is up");
    let mut logs = container.begin_verb(&["logs", "-f", "a"], Vec::new());
    let mut events = container.begin_verb(&["events", "-f", "--json"], Vec::new());
    let first: Value = serde_json::from_str(&events.line()).expect("an event");
    assert_eq!(first["seq"], 1, "a snapshot first");
    container.folder().go("gate");
    for number in 1..=3 {
        let line = logs.line();
        assert!(line.ends_with(&format!(" out line {number}\n")), "{line}");
    }
    container.verb(&["stop", "a"]).check(0, &["a stopped after _ s"]);
    let line = logs.line();
    assert!(line.contains("  --  code 143, SIGTERM after "), "its end: {line}");
    assert_eq!(container.verb(&["shutdown", "--no-wait"]).code, 0);
    let mut seen = 1;
    let mut kinds = Vec::new();
    loop {
        let line = events.line();
        if line.is_empty() {
            break;
        }
        let event: Value = serde_json::from_str(&line).expect("an event");
        seen += 1;
        assert_eq!(event["seq"], seen, "no gap");
        kinds.push(event["kind"].as_str().expect("a kind").to_owned());
    }
    // Who still follows may be told of as a stray after that.
    let from = kinds.iter().position(|kind| kind == "all-up").expect("all are up");
    assert!(
        kinds[from..].starts_with(&["all-up", "stop", "ended", "stopping"].map(str::to_owned)),
        "{kinds:?}"
    );
    assert_eq!(events.answer().code, 0);
    container.finish().code(0);
}

#[test]
fn waiting_ends_when_it_is_so_or_when_the_time_is_over() {
    if !root() {
        return;
    }
    let script = "read line < $DIR/gate; echo serving; exec sleep 1000";
    let setup = Setup::services(&service("slow", &sh(script), "ready = \"log:serving\""));
    setup.folder().gate("gate");
    let container = setup.start();
    container
        .until("it runs", || container.living().iter().any(|process| process.command.contains("read line")));
    let asked = container.verb(&["health", "slow"]);
    assert_eq!(asked.code, 1, "{asked:#?}");
    assert!(asked.stdout.contains("slow"), "{asked:#?}");
    assert_eq!(container.verb(&["health", "--live"]).code, 0);
    let asked = container.verb(&["wait", "slow", "--timeout", "50ms"]);
    assert_eq!(asked.code, 1, "{asked:#?}");
    let waiting = container.begin_verb(&["wait", "--for", "ready"], Vec::new());
    container.folder().go("gate");
    let asked = waiting.answer();
    assert_eq!(asked.code, 0, "{asked:#?}");
    container.verb(&["health"]).check(0, &["slow is ready"]);
    container.stop().code(0);
}

#[test]
fn signals_reach_the_service_that_was_named() {
    if !root() {
        return;
    }
    let config = service("a", &witness("wait"), "") + &service("b", &witness("wait"), "");
    let container = Setup::services(&config).start();
    container.wait_for("a | waiting");
    container.wait_for("b | waiting");
    assert_eq!(container.verb(&["signal", "usr1", "b"]).code, 0);
    container.wait_for("b | got SIGUSR1");
    container.verb(&["signal", "nosuch", "b"]).refused(64, "is not a signal");
    let end = container.stop();
    assert!(!end.of("a").contains(&"got SIGUSR1"), "{end:#?}");
}

#[test]
fn shutdown_ends_the_container_with_success() {
    if !root() {
        return;
    }
    let container = shop();
    let before = proc::descriptors(container.pid()).len();
    let waiting = container.begin_verb(&["wait", "web", "--for", "completed"], Vec::new());
    container.until("it waits", || proc::descriptors(container.pid()).len() > before);
    container.verb(&["shutdown"]).check(0, &["stopped; exit code 0"]);
    waiting.answer().check(1, &["the container is being stopped"]);
    container.finish().code(0);
}

#[test]
fn who_follows_hears_the_last_words() {
    if !root() {
        return;
    }
    let script =
        "trap 'for i in 1 2 3; do echo bye $i; done; exit 5' TERM; echo here; while :; do sleep 0.02; done";
    let container = Setup::services(&service("a", &sh(script), "")).start();
    container.wait_for("a | here");
    let mut logs = container.begin_verb(&["logs", "-f", "a"], Vec::new());
    assert!(logs.line().ends_with(" out here\n"));
    let mut events = container.begin_verb(&["events", "-f"], Vec::new());
    // What is told of the container comes first.
    assert!((0..10).any(|_| events.line().contains("a is up")));
    container.stop().code(0);
    let logs = logs.answer();
    let told: Vec<&str> =
        logs.stdout.lines().filter_map(|line| Some(line.split_once("  ")?.1.trim())).collect();
    assert_eq!(logs.code, 0);
    assert!(
        logs.stdout.contains("out bye 3\n") && logs.stdout.contains("--  code 5 after "),
        "{told:?} {logs:#?}"
    );
    let events = events.answer();
    assert!(
        events.code == 0
            && events.stdout.contains("a: code 5 after ")
            && events.stdout.contains("stopping (SIGTERM)"),
        "{events:#?}"
    );
}

#[test]
fn what_fails_for_want_of_another_says_so_wherever_it_is_asked() {
    if !root() {
        return;
    }
    let config = service("db", "[\"/no/such/program\"]", "max_restarts = 0\non_failure = \"ignore\"")
        + &service("web", &sh(STAYS), "depends_on = [\"db\"]\non_failure = \"ignore\"")
        + &service("lone", &sh(STAYS), "");
    let container = Setup::services(&config).start();
    container.wait_for("web: cannot start: it needs db, which failed");
    let status = container.verb(&["status", "web"]);
    let row = status.plain().into_iter().find(|line| line.starts_with("web ")).expect("a row");
    assert!(row.ends_with(" needs db, which failed"), "{row}");
    assert_eq!(
        objects(&container.verb(&["status", "--json", "web"]))[0]["services"][0]["lacks"],
        "needs db, which failed"
    );
    assert!(container.verb(&["describe", "web"]).stdout.contains("failed; needs db, which failed\n"));
    assert!(container.verb(&["logs", "web"]).stdout.ends_with("cannot start: it needs db, which failed\n"));
    container.verb(&["health"]).check(
        0,
        &["lone is ready; not counted: db (on_failure = \"ignore\"), web (on_failure = \"ignore\")"],
    );
    container.verb(&["health", "web"]).check(1, &["web is not ready: needs db, which failed"]);
    container.stop().code(0);
}

#[test]
fn another_user_is_refused() {
    if !root() {
        return;
    }
    let container = shop();
    let other: Step = Box::new(|| Ok(nix::unistd::setresuid(2.into(), 2.into(), 2.into())?));
    let asked = container.begin_verb(&["status"], vec![other]).answer();
    asked.refused(77, "only root and user 0 may ask");
    container.stop().code(0);
}

#[test]
fn one_that_is_not_pid_1_answers_too() {
    if !root() {
        return;
    }
    let container = Setup::services(&service("a", &sh(STAYS), "")).not_pid1().start();
    container.wait_for("a | here");
    let asked = container.verb(&["status"]);
    assert_eq!(asked.code, 0, "{asked:#?}");
    container.verb(&["shutdown"]).check(0, &["stopped; exit code 0"]);
    container.finish().code(0);
}

#[test]
fn the_init_of_one_command_has_nobody_to_ask() {
    if !root() {
        return;
    }
    let container = Setup::command(&["sh", "-c", "echo here; exec sleep 1000"]).start();
    container.wait_for("here");
    container.verb(&["status"]).refused(69, "The init of a single command has no services and no socket");
    assert_eq!(container.verb(&["health"]).code, 1);
}

#[test]
fn top_shows_what_runs_and_restarts_it() {
    if !root() {
        return;
    }
    let container = shop();
    let (master, slave) = launch::terminal().expect("a terminal");
    let mut master = File::from(master);
    let end = || Some(slave.try_clone().expect("a descriptor"));
    let steps: Vec<Step> = vec![Box::new(launch::take_terminal)];
    let top = container.run_verb(&["top"], [end(), end(), end()], steps);
    let mut seen = String::new();
    let mut shows = |master: &mut File, text: &str| {
        let since = Instant::now();
        while !seen.contains(text) {
            let left = DEADLINE.saturating_sub(since.elapsed());
            assert!(launch::readable(master.as_fd(), left), "{text:?} not in {seen}");
            let mut bytes = [0; 4096];
            let count = master.read(&mut bytes).expect("its output");
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        seen.clear();
    };
    shows(&mut master, "web.2");
    master.write_all(b"\x1b[Br").expect("keys");
    shows(&mut master, "restart web.1?  y yes  n no");
    master.write_all(b"y").expect("keys");
    container.wait_for_nth("web.1 | here", 2);
    master.write_all(b"\x03").expect("keys");
    assert_eq!(top.wait(), 0);
    container.stop().code(0);
}
