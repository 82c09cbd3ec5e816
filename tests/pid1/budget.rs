//! The restart budget, and what the container's exit code is when it is spent, or when there is nothing left to do.

use std::fs;
use std::time::Duration;

use crate::container::{End, Folder, Setup, free_port};
use crate::services::{service, sh, witness, witness_path, words};
use crate::{launch, root};

fn run(config: &str) -> End {
    Setup::services(config).start().finish()
}

/// How many runs of `a` said that they run.
fn runs(end: &End) -> usize {
    end.of("a").iter().filter(|line| **line == "run").count()
}

#[test]
fn a_spent_budget_ends_the_container_with_the_code_and_the_reason() {
    if !root() {
        return;
    }
    let script = "echo run; echo no queue to work on >&2; exit 17";
    let config =
        service("a", &sh(script), "max_restarts = 4\nrestart_delay = \"20ms\"\ndepends_on = [\"b\"]")
            + &service("b", &witness("wait"), "");
    let setup = Setup::services(&config);
    let folder = Folder::new();
    let log = folder.file("log", "x".repeat(10_000));
    let container = setup
        .before(|| launch::mount("none", "/dev", "tmpfs", 0, ""))
        .before(|| launch::device("/dev/null", 1, 3))
        .before(|| fs::write("/dev/termination-log", ""))
        .before({
            let log = log.clone();
            move || launch::mount(&log.to_string_lossy(), "/dev/termination-log", "", libc::MS_BIND, "")
        })
        .start();
    let end = container.finish();
    assert_eq!(runs(&end), 5, "{end:#?}");
    end.code(17);
    // 20 + 40 + 80 + 160 ms
    assert!(end.ran >= Duration::from_millis(300), "{end:#?}");
    let own = end.own();
    let before = [
        "b is up after _ s",
        "a is up after _ s",
        "all 2 services are up, _ s",
        "a: code 17 after _ s; restart 1/4 in _ s",
        "a: code 17 after _ s; restart 2/4 in _ s",
        "a: code 17 after _ s; restart 3/4 in _ s",
        "a: code 17 after _ s; restart 4/4 in _ s",
        "a: code 17 after _ s; failed for good: all 4 restarts are spent",
        "stopping (a has failed for good): b",
    ];
    // That all are up depends on whether the first run is quick enough to be over before that is seen.
    let own: Vec<&str> = own.iter().map(String::as_str).filter(|line| !line.starts_with("all 2")).collect();
    let before: Vec<&str> = before.into_iter().filter(|line| !line.starts_with("all 2")).collect();
    assert_eq!(own[..before.len()], before, "{end:#?}");
    let obituary = &own[before.len()..];
    assert_eq!(obituary.len(), 8, "{end:#?}");
    assert_eq!(
        obituary[0],
        "CONTAINER STOPPED: a failed 5 times in _ s and may not be restarted again (max_restarts = 4)"
    );
    assert_eq!(obituary[1], format!("  command    sh -c {script:?}").replace('"', "'"), "{end:#?}");
    assert!(obituary[2].starts_with("  exits      code 17 (5 times) after "), "{end:#?}");
    assert_eq!(
        obituary[3..],
        [
            "  last words no queue to work on",
            "             run",
            "             no queue to work on",
            "  others     b stopped as asked in _ s",
            "  exit code  17 (that of a). To stay up without it: [services.a] on_failure = \"ignore\"",
        ]
    );
    // It is the last that is said, and the same is left for Kubernetes.
    let last: Vec<&str> =
        end.stderr.iter().rev().take(8).rev().filter_map(|l| l.strip_prefix("tinysup | ")).collect();
    assert_eq!(last.len(), 8, "nobody speaks after it: {end:#?}");
    assert_eq!(fs::read_to_string(log).expect("a log"), last.join("\n") + "\n");
}

#[test]
fn the_waits_between_runs_are_as_configured() {
    if !root() {
        return;
    }
    let keys =
        "max_restarts = 4\nrestart_delay = \"50ms\"\nrestart_backoff = 3\nrestart_delay_max = \"200ms\"";
    let end = run(&service("a", &sh("date +%s%N; exit 1"), keys));
    end.code(1);
    let starts: Vec<u64> = end.of("a").iter().map(|line| line.parse().expect("nanoseconds")).collect();
    let waits: Vec<u64> = starts.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect();
    for (wait, least) in waits.iter().zip([50, 150, 200, 200]) {
        assert!(*wait >= least, "{waits:?}");
    }
    assert_eq!(waits.len(), 4);
}

#[test]
fn only_what_the_budget_allows() {
    if !root() {
        return;
    }
    let quick = "restart_delay = 0";
    // Runs that are stable, until the fourth: each stable one starts the count anew.
    let ages = "echo run; echo x >> $DIR/runs; [ $(wc -l < $DIR/runs) -lt 4 ] && sleep 1.1 && exit 5; exit 6";
    for (script, keys, expected_runs, code) in [
        ("echo run; exit 3", "max_restarts = 0", 1, 3),
        ("echo run; exit 3", "max_restarts = 1", 2, 3),
        ("echo run; exit 3", "max_restarts = 7", 8, 3),
        ("echo run; exit 0", "max_restarts = 2", 3, 1),
        ("echo run; kill -SEGV $$", "max_restarts = 1", 2, 139),
        ("echo run; kill -TERM $$", "max_restarts = 1\nstop_exit_codes = [0, 143]", 2, 143),
        ("echo run; exit 3", "restart = \"never\"", 1, 3),
        ("echo run; exit 0", "restart = \"never\"", 1, 0),
        ("echo run; exit 0", "restart = \"on-failure\"", 1, 0),
        ("echo run; exit 9", "restart = \"on-failure\"\nmax_restarts = 1", 2, 9),
        ("echo run; exit 3", "stop_exit_codes = [3]", 1, 0),
        ("echo run; exit 3", "stop_exit_codes = [3]\non_success = \"exit\"", 1, 3),
        ("echo run; exit 4", "type = \"oneshot\"\nmax_restarts = 2", 3, 4),
        ("echo run; exit 126", "max_restarts = 0", 1, 126),
        ("echo run; exit 255", "max_restarts = 0", 1, 255),
        (ages, "max_restarts = 1\nmin_uptime = \"1s\"", 4, 6),
        (
            "echo run; sleep 0.03; exit 8",
            "max_restarts = 2\nmin_uptime = \"10ms\"\nrestart_window = \"1h\"",
            3,
            8,
        ),
    ] {
        let end = run(&service("a", &sh(script), &format!("{quick}\n{keys}")));
        assert_eq!((runs(&end), end.code), (expected_runs, code), "{script}; {keys}: {end:#?}");
    }
}

#[test]
fn a_failure_that_is_ignored_leaves_the_others_alone() {
    if !root() {
        return;
    }
    let config = service("a", &sh("exit 5"), "max_restarts = 0\non_failure = \"ignore\"")
        + &service("b", &witness("wait"), "");
    let container = Setup::services(&config).start();
    container.wait_for("failed for good: max_restarts = 0");
    container.wait_for("b | waiting");
    let end = container.stop();
    end.code(0);
    end.says("stopping (SIGTERM): b");
    // But an empty container does not stay up, and says with its code that something was wrong.
    let config = service("a", &sh("exit 5"), "max_restarts = 0\non_failure = \"ignore\"")
        + &service("b", &sh("exit 0"), "type = \"oneshot\"");
    run(&config).code(5);
}

#[test]
fn success_may_end_the_container() {
    if !root() {
        return;
    }
    let config = service("job", &sh("read go < $DIR/gate"), "on_success = \"exit\"")
        + &service("b", &witness("wait"), "");
    let setup = Setup::services(&config);
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("all 2 services are up");
    container.folder().go("gate");
    container.finish().check(
        0,
        &[
            "job is up after _ s",
            "b is up after _ s",
            "all 2 services are up, _ s",
            "job: code 0 after _ s; completed",
            "stopping (job has ended): b",
            "stopped in _ s: b _ s",
        ],
    );
}

#[test]
fn a_command_beside_the_services_decides_the_end() {
    if !root() {
        return;
    }
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137)] {
        let setup = Setup::services(&service("b", &witness("wait"), ""));
        setup.folder().gate("gate");
        let script = format!("read go < $DIR/gate; {script}");
        let container = setup.arg("run").arg("--").arg("sh").arg("-c").arg(script).start();
        container.wait_for("b | waiting");
        container.folder().go("gate");
        let end = container.finish();
        end.code(code);
        assert_eq!(end.of("b"), ["waiting", "got SIGTERM"], "{end:#?}");
    }
}

#[test]
fn oneshots_and_dependencies_in_order() {
    if !root() {
        return;
    }
    let config = service(
        "c",
        &sh("echo c >> $DIR/order; exec sleep 1000"),
        "depends_on = { b = \"completed\", a = \"started\" }",
    ) + &service(
        "b",
        &sh("echo b >> $DIR/order"),
        "type = \"oneshot\"\ndepends_on = { a = \"completed\" }",
    ) + &service("a", &sh("echo a >> $DIR/order"), "type = \"oneshot\"");
    let container = Setup::services(&config).start();
    container.wait_for("all 3 services are up");
    let order = container.folder().path().join("order");
    container.until("c has run", || fs::read_to_string(&order).is_ok_and(|order| order == "a\nb\nc\n"));
    container.stop().check(
        0,
        &[
            "a: code 0 after _ s; completed",
            "b: code 0 after _ s; completed",
            "c is up after _ s",
            "all 3 services are up, _ s",
            "stopping (SIGTERM): c",
            "stopped in _ s: c _ s",
        ],
    );
}

#[test]
fn what_cannot_start_for_want_of_another_has_failed() {
    if !root() {
        return;
    }
    let migrate = |keys: &str| {
        service("migrate", &sh("exit 4"), &format!("type = \"oneshot\"\nmax_restarts = 0\n{keys}"))
            + &service("api", &sh("echo api"), "depends_on = { migrate = \"completed\" }")
            + &service("web", &sh("echo web"), "depends_on = { api = \"started\" }")
    };
    let end = run(&migrate(""));
    end.code(4);
    end.says("migrate: code 4 after _ s; failed for good: max_restarts = 0");
    assert!(end.stdout.is_empty(), "{end:#?}");
    let end = run(&migrate("on_failure = \"ignore\""));
    end.code(1);
    end.says("api: cannot start: it needs migrate, which failed");
    end.says("CONTAINER STOPPED: api cannot start without migrate");
    assert!(end.stdout.is_empty(), "{end:#?}");
}

#[test]
fn a_stop_during_backoff_starts_nothing() {
    if !root() {
        return;
    }
    let keys = "max_restarts = \"unlimited\"\nrestart_delay = \"1h\"\nrestart_delay_max = \"1h\"";
    let container = Setup::services(&service("a", &sh("echo run; exit 3"), keys)).start();
    container.wait_for("restart 1 in 60 m");
    let end = container.stop();
    end.code(0);
    assert_eq!(runs(&end), 1);
    assert!(end.waited < Duration::from_secs(5), "{end:#?}");
}

#[test]
fn services_that_fail_while_they_are_stopped_are_told_and_change_nothing() {
    if !root() {
        return;
    }
    let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    let container = Setup::services(&service("a", &sh(script), "")).start();
    container.wait_for("a | ready");
    let end = container.stop();
    end.code(0);
    end.says("a: code 3 after _ s; stopped");
}

#[test]
fn all_at_once_is_one_end() {
    if !root() {
        return;
    }
    let config: String = ["a", "b", "c", "d"]
        .iter()
        .map(|name| service(name, &witness("wait"), "restart = \"never\""))
        .collect();
    let container = Setup::services(&config).start();
    container.wait_for_nth("| waiting", 4);
    assert_eq!(container.end_all_unseen(libc::SIGTERM), 4);
    let end = container.finish();
    end.code(0);
    let last = "all is done; exit code 0";
    assert_eq!(end.own().iter().filter(|line| line.as_str() == last).count(), 1, "{end:#?}");
}

#[test]
fn wrong_usage_and_wrong_configuration_start_nothing() {
    if !root() {
        return;
    }
    let end = Setup::command(&["--no-such-option", "true"]).start().finish();
    end.code(64);
    assert!(end.stderr[0].contains("unknown option --no-such-option"), "{end:#?}");
    let config = service("a", &sh("echo run"), "restrat = \"never\"")
        + &service("b", &sh("echo run"), "depends_on = [\"c\"]");
    let end = run(&config);
    end.code(78);
    let text = end.stderr.join("\n");
    assert!(text.contains("did you mean \"restart\"?") && text.contains("\"c\""), "{end:#?}");
    assert!(end.stdout.is_empty(), "{end:#?}");
    let setup = Setup::command(&["-c"]);
    let folder = setup.folder().path().to_owned();
    setup.arg(folder).start().finish().code(78);
    Setup::command(&["-c", "/no/such/file"]).start().finish().code(78);
}

/// Who only wants to know starts nothing, and gets an answer at once.
#[test]
fn what_is_asked_about_is_not_run() {
    if !root() {
        return;
    }
    for words in [
        &["run", "--help"][..],
        &["run", "-h", "--", "echo", "run"],
        &["pause", "-h"],
        &["check", "--help", "/no/such/file"],
        &["-h", "echo", "run"],
        &["--help", "run"],
        &["help", "--help"],
    ] {
        let end = Setup::command(words).start().finish();
        end.code(0);
        assert!(end.stdout[0].starts_with("tinysup, a container-native init"), "{words:?} {end:#?}");
        assert!(end.stderr.is_empty(), "{words:?} {end:#?}");
    }
    let end = Setup::command(&["--help", "stop"]).start().finish();
    end.code(0);
    assert!(end.stdout[0].starts_with("tinysup stop"), "{end:#?}");
    for (words, part) in [
        (&["pause", "junk"][..], "pause takes no \"junk\""),
        (&["-c", "/no/such/file", "pause"], "option -c does not go with pause"),
        (&["-g", "example"], "option -g is for one command and does not go with example"),
    ] {
        let end = Setup::command(words).start().finish();
        end.code(64);
        assert!(end.stderr[0].contains(part) && end.stdout.is_empty(), "{words:?} {end:#?}");
    }
}

#[test]
fn who_holds_the_port_is_told() {
    if !root() {
        return;
    }
    let port = free_port(20_000..30_000);
    let listen = format!("listen {port} 0s wait");
    let config = service("first", &witness(&listen), "")
        + &service("second", &sh(&format!("read go < $DIR/gate; exec $W {listen}")), "max_restarts = 0");
    let setup = Setup::services(&config).env("W", witness_path());
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("first | listening");
    container.folder().go("gate");
    let end = container.finish();
    end.code(99);
    end.says(&format!(
        "  last words witness: cannot listen on port {port}: Address already in use (os error 98)"
    ));
    let lines = end.own();
    let line = lines.iter().find(|line| line.starts_with("  port       ")).expect("a line about the port");
    assert!(line.starts_with(&format!("  port       {port} is held by \"")), "{end:#?}");
    assert!(line.ends_with(&format!("\" (pid _), which listens on 0.0.0.0:{port}")), "{end:#?}");
}

#[test]
fn an_array_of_words_is_shown_as_it_was_written() {
    if !root() {
        return;
    }
    // What variables hold is never shown, wherever a command is.
    let config = service("a", "[\"sh\", \"-c\", \"exit 3\", \"${SECRET}\"]", "max_restarts = 0")
        + &service("b", &words(&["true"]), "type = \"oneshot\"");
    let end = Setup::services(&config).env("SECRET", "hunter2").start().finish();
    end.code(3);
    assert!(!end.stderr.join("\n").contains("hunter2"), "{end:#?}");
    end.says("${SECRET}");
}
