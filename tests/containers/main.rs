//! What must hold in real containers: each test runs images of `docker/` under a real dockerd and looks from outside, as
//! an operator would. Where there is no docker the tests say so loudly and pass; `TINYSUP_TEST_REQUIRE_ALL=1` forbids
//! that. The harness is in `docker.rs`; what is said in the containers comes from `tests/fixtures/witness.rs`.

#![cfg(test)]

mod docker;
mod memory;
mod readiness;

use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use docker::{Container, DEADLINE, OwnDaemon, Request, Volume, call, config, docker, file, skip};

/// What `docker stop` gives a container before it kills it.
const DOCKER_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// A stop in which nobody waits for anybody, on a busy machine.
const PROMPT: Duration = Duration::from_secs(4);
const SLOW_PAGE_BYTES: usize = 30_000;

/// One service that names the signals it gets and ends on SIGTERM.
const ONE: &str = r#"
[services.app]
command = "/witness status wait say good-bye"
"#;

// ---- the death contract ----

const CRASH_LOOP: &str = r#"
[services.keeper]
command = "/witness wait say kept"

[services.worker]
command = "/witness say run cry last-words exit 17"
depends_on = ["keeper"]
max_restarts = 3
restart_delay = "20ms"
"#;

#[test]
fn a_crash_loop_ends_the_container_with_the_services_code_and_an_obituary() {
    let Some(docker) = docker() else { return };
    let end = docker.start(&["--volume", &config(CRASH_LOOP)], "scratch", &[]).finish();
    assert_eq!(end.code, 17, "{end:#?}");
    assert_eq!(lines(&end.stdout, "worker", "run"), 1 + 3, "{end:#?}");
    assert_eq!(lines(&end.stdout, "keeper", "got SIGTERM"), 1, "{end:#?}");
    assert_eq!(lines(&end.stdout, "keeper", "kept"), 1, "{end:#?}");
    let obituary = last_block(&end.stderr);
    for wanted in ["CONTAINER STOPPED", "worker", "17", "max_restarts = 3", "last-words", "exit code"] {
        assert!(obituary.contains(wanted), "no {wanted:?} in the last block:\n{}", end.stderr);
    }
    assert!(obituary.len() <= 2048, "Kubernetes keeps 2048 bytes of a log:\n{obituary}");
}

#[test]
fn docker_restarts_a_failed_container_as_often_as_its_policy_says() {
    let Some(docker) = docker() else { return };
    let options = ["--restart", "on-failure:2", "--volume", &config(CRASH_LOOP)];
    let container = docker.start(&options, "scratch", &[]);
    container.wait_for_deaths(3);
    let end = container.finish();
    assert_eq!((end.code, container.inspect("{{.RestartCount}}").as_str()), (17, "2"));
    assert_eq!(lines(&end.stdout, "worker", "run"), 3 * (1 + 3), "{end:#?}");
}

#[test]
fn the_termination_log_tells_the_reason() {
    let Some(docker) = docker() else { return };
    let log = file("");
    let mount = format!("{}:/dev/termination-log", log.display());
    let end = docker.start(&["--volume", &mount, "--volume", &config(CRASH_LOOP)], "scratch", &[]).finish();
    assert_eq!(end.code, 17);
    let told = std::fs::read_to_string(log).unwrap();
    assert!(told.contains("worker") && told.contains("17") && told.contains("last-words"), "{told}");
    assert!(told.len() <= 4096, "{told}");
}

#[test]
fn all_done_is_success() {
    let Some(docker) = docker() else { return };
    let plan = "[services.job]\ntype = \"oneshot\"\ncommand = \"/witness say worked\"\n";
    let end = docker.start(&["--volume", &config(plan)], "scratch", &[]).finish();
    assert_eq!((end.code, lines(&end.stdout, "job", "worked")), (0, 1), "{end:#?}");
}

// ---- stopping ----

#[test]
fn docker_stop_answers_the_request_in_flight_and_keeps_the_data() {
    let Some(docker) = docker() else { return };
    let data = Volume::new();
    let options = ["--publish", "127.0.0.1::8080", "--volume", &format!("{}:/data", data.0)];
    let shop = docker.start(&options, "shop", &[]);
    shop.wait_for("Ready to accept connections");
    assert_eq!(shop.exec(&["redis-cli", "set", "fruit", "apple"]).stdout.trim(), "OK");
    let request = Request::send(&shop.address(8080), "/slow");
    let took = thread::scope(|scope| {
        let stopping = scope.spawn(|| shop.stop());
        let (status, body) = request.answer();
        assert_eq!((status.as_str(), body.len()), ("HTTP/1.1 200 OK", SLOW_PAGE_BYTES));
        stopping.join().unwrap()
    });
    let end = shop.finish();
    assert_eq!(end.code, 0, "{end:#?}");
    assert!(took < DOCKER_STOP_TIMEOUT, "{took:?}");

    shop.start_again();
    shop.wait_for_nth("Ready to accept connections", 2);
    assert_eq!(shop.exec(&["redis-cli", "get", "fruit"]).stdout.trim(), "apple");
    assert_eq!(Request::send(&shop.published(8080), "/").answer().0, "HTTP/1.1 200 OK");
    let took = shop.stop();
    assert!(took < PROMPT, "{took:?}");
    assert_eq!(shop.wait(), 0);

    let other = docker.start(&options, "shop", &[]);
    other.wait_for("Ready to accept connections");
    assert_eq!(other.exec(&["redis-cli", "get", "fruit"]).stdout.trim(), "apple");
}

#[test]
fn a_service_that_ignores_sigterm_is_killed_before_docker_would() {
    let Some(docker) = docker() else { return };
    let plan = "[services.deaf]\ncommand = \"/witness ignore TERM say ready after 3600s\"\n";
    let container = docker.start(&["--volume", &config(plan)], "scratch", &[]);
    container.wait_for("ready");
    let took = container.stop();
    let end = container.finish();
    assert_eq!(end.code, 137, "{end:#?}");
    assert!(took < DOCKER_STOP_TIMEOUT, "{took:?}");
    assert!(end.stderr.contains("SIGKILL") && end.stderr.contains("stopped in"), "{end:#?}");
}

#[test]
fn stop_during_backoff_is_prompt_and_starts_nothing() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [services.worker]
        command = "/witness say run exit 1"
        restart_delay = "1h"
        restart_delay_max = "1h"
    "#;
    let container = docker.start(&["--volume", &config(plan)], "scratch", &[]);
    container.wait_for("restart 1/10");
    let took = container.stop();
    let end = container.finish();
    assert_eq!((end.code, lines(&end.stdout, "worker", "run")), (0, 1), "{end:#?}");
    assert!(took < PROMPT, "{took:?}");
}

#[test]
fn sigterm_right_after_the_start_is_never_lost() {
    let Some(docker) = docker() else { return };
    let mount = config(ONE);
    for round in 0..20 {
        let container = docker.start(&["--volume", &mount], "scratch", &[]);
        let start = Instant::now();
        container.signal("TERM");
        let end = container.finish();
        assert!(end.code == 0 && start.elapsed() < PROMPT, "round {round}, {:?}: {end:#?}", start.elapsed());
    }
}

#[test]
fn time_in_which_the_container_was_paused_is_nobodys_fault() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        shutdown_timeout = "4s"
        [services.slow]
        command = "/witness wait after 1500ms say drained"
        kill_timeout = "2s"
    "#;
    let container = docker.start(&["--volume", &config(plan)], "scratch", &[]);
    container.wait_for("waiting");
    container.signal("TERM");
    container.wait_for("got SIGTERM");
    container.pause();
    thread::sleep(Duration::from_secs(5)); // the fault itself: longer than both timeouts
    container.unpause();
    let end = container.finish();
    assert_eq!((end.code, lines(&end.stdout, "slow", "drained")), (0, 1), "{end:#?}");
}

#[test]
fn a_repeated_sigterm_does_not_cut_the_grace_period_short() {
    let Some(docker) = docker() else { return };
    let plan = "[services.slow]\ncommand = \"/witness wait after 1500ms say drained\"\n";
    let container = docker.start(&["--volume", &config(plan)], "scratch", &[]);
    container.wait_for("waiting");
    container.signal("TERM");
    container.wait_for("got SIGTERM");
    container.signal("TERM");
    container.signal("TERM");
    let end = container.finish();
    assert_eq!((end.code, lines(&end.stdout, "slow", "drained")), (0, 1), "{end:#?}");
}

#[test]
fn a_second_sigint_kills_at_once() {
    let Some(docker) = docker() else { return };
    let plan = "[services.deaf]\ncommand = \"/witness ignore TERM say ready after 3600s\"\n";
    let container = docker.start(&["--volume", &config(plan)], "scratch", &[]);
    container.wait_for("ready");
    let start = Instant::now();
    container.signal("INT");
    container.wait_for("stopping (SIGINT)");
    container.signal("INT");
    let end = container.finish();
    assert_eq!(end.code, 137, "{end:#?}");
    assert!(start.elapsed() < PROMPT, "{:?}: {end:#?}", start.elapsed());
}

#[test]
fn a_service_that_was_stopped_with_sigstop_is_woken_to_end() {
    let Some(docker) = docker() else { return };
    let plan = "[services.frozen]\ncommand = \"/witness say freezing die STOP\"\n";
    let container = docker.start(&["--volume", &config(plan)], "scratch", &[]);
    container.wait_for("freezing");
    let took = container.stop();
    let end = container.finish();
    assert_eq!(end.code, 0, "{end:#?}");
    assert!(took < PROMPT, "{took:?}: {end:#?}");
}

// ---- signals ----

#[test]
fn docker_kill_reaches_the_services() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [signals]
        SIGUSR2 = ["b"]
        [services.a]
        command = "/witness wait"
        signals = { SIGWINCH = "SIGALRM" }
        [services.b]
        command = "/witness wait"
    "#;
    let container = docker.start(&["--volume", &config(plan)], "scratch", &[]);
    container.wait_for_nth("waiting", 2);
    for (sent, told, services) in [
        ("USR1", "got SIGUSR1", 2),
        ("USR2", "got SIGUSR2", 1),
        ("WINCH", "got SIG", 5),
        ("RTMIN+5", "got SIGRTMIN+5", 2),
    ] {
        container.signal(sent);
        container.wait_for_nth(told, services);
    }
    container.signal("HUP"); // is for us
    container.wait_for("the configuration was read again: nothing has changed");
    container.signal("RTMIN+3"); // an ordered stop, as podman and systemd images ask for it
    let end = container.finish();
    assert_eq!(end.code, 0, "{end:#?}");
    for (service, told, count) in [
        ("a", "got SIGUSR2", 0),
        ("b", "got SIGUSR2", 1),
        ("a", "got SIGALRM", 1),
        ("b", "got SIGWINCH", 1),
        ("a", "got SIGTERM", 1),
        ("b", "got SIGTERM", 1),
        ("a", "got SIGHUP", 0),
    ] {
        assert_eq!(lines(&end.stdout, service, told), count, "{service} {told}: {end:#?}");
    }
}

#[test]
fn one_command_gets_every_signal() {
    let Some(docker) = docker() else { return };
    let container = docker.start(&[], "scratch", &["/witness", "wait", "exit", "3"]);
    container.wait_for("waiting");
    for signal in ["HUP", "USR1", "WINCH", "RTMIN+5", "TERM"] {
        container.signal(signal);
        container.wait_for(&format!("got SIG{signal}"));
    }
    let end = container.finish();
    let told = "waiting\ngot SIGHUP\ngot SIGUSR1\ngot SIGWINCH\ngot SIGRTMIN+5\ngot SIGTERM\n";
    assert_eq!((end.code, end.stdout.as_str(), end.stderr.as_str()), (3, told, ""));
}

// ---- asking it ----

#[test]
fn dockers_own_health_follows_the_services() {
    let Some(docker) = docker() else { return };
    // The image has the command; it has no shell that could run another.
    let options = ["--health-interval", "200ms", "--health-retries", "1"];
    let container = docker.start(&options, "scratch", &[]);
    container.wait_for_health("healthy", 1);
    let stopped = container.verb(&[], &["stop", "worker"]);
    assert_eq!(stopped.code, 0, "{stopped:#?}");
    container.wait_for_health("unhealthy", 1);
    let told = container.inspect("{{range .State.Health.Log}}{{.Output}}{{end}}");
    assert!(told.contains("worker"), "{told}");
    assert_eq!(container.verb(&[], &["start", "worker"]).code, 0);
    container.wait_for_health("healthy", 2);
    assert_eq!(container.verb(&[], &["shutdown", "--no-wait"]).code, 0);
    assert_eq!(container.finish().code, 0);
}

#[test]
fn docker_exec_asks_it_in_every_kind_of_container() {
    let Some(docker) = docker() else { return };
    let mount = config("[services.app]\ncommand = \"/witness say here wait\"\n");
    let locked = ["--user", "12345", "--read-only", "--cap-drop", "ALL", "--network", "none"];
    let no_shm = ["--read-only", "--ipc", "none"]; // nowhere a file could be made: an abstract name
    let kinds: [&[&str]; 5] = [&[], &["--init"], &["--read-only"], &locked, &no_shm];
    for kind in kinds {
        let container = docker.start(&[kind, &["--volume", &mount]].concat(), "scratch", &[]);
        container.wait_for("waiting");
        let asked = container.verb(&[], &["status"]);
        assert_eq!(asked.code, 0, "{kind:?}: {asked:#?}");
        assert!(
            asked.stdout.contains("app      ready  ") && asked.stdout.contains("1 service: ready"),
            "{asked:#?}"
        );
        let logs = container.verb(&[], &["logs", "app"]);
        assert!(logs.code == 0 && logs.stdout.contains(" out here\n"), "{kind:?}: {logs:#?}");
        let restarted = container.verb(&[], &["restart", "app"]);
        assert!(
            restarted.code == 0 && restarted.stdout.starts_with("app restarted: pid "),
            "{kind:?}: {restarted:#?}"
        );
        assert_eq!(container.verb(&[], &["health", "--live"]).code, 0);
        if kind.is_empty() {
            let stranger = container.verb(&["--user", "1001"], &["status"]);
            assert!(stranger.code == 77 && stranger.stdout.is_empty(), "{stranger:#?}");
            // Without a terminal it is the status.
            let top = container.verb(&[], &["top"]);
            assert!(top.code == 0 && !top.stdout.contains('\x1b'), "{top:#?}");
            assert_eq!(container.verb(&[], &["status", "nosuch"]).code, 64);
        }
        container.stop();
        assert_eq!(container.finish().code, 0, "{kind:?}");
    }
}

#[test]
fn there_is_nobody_to_ask_where_a_single_command_runs() {
    let Some(docker) = docker() else { return };
    let container = docker.start(&[], "shop", &["sleep", "1000"]);
    let asked = container.verb(&[], &["status"]);
    assert!(
        asked.code == 69 && asked.stderr.contains("The init of a single command has no services"),
        "{asked:#?}"
    );
    // As the command of a container, which may have meant the program.
    let end = docker.run(&[], "shop", &["top"]);
    assert!(end.code == 69 && end.stderr.contains("docker exec CONTAINER tinysup top"), "{end:#?}");
}

// ---- one command ----

#[test]
fn one_command_is_run_as_if_there_were_no_init() {
    let Some(docker) = docker() else { return };
    for (options, command, code, stdout) in [
        (vec![], vec!["/bin/sh", "-c", "exit 7"], 7, ""),
        (vec![], vec!["sh", "-c", "kill -9 $$"], 137, ""),
        (vec![], vec!["--", "sh", "-c", "echo hello; exit 0"], 0, "hello\n"),
        (vec!["--init"], vec!["sh", "-c", "exit 7"], 7, ""),
        (vec!["--user", "12345", "--read-only", "--cap-drop", "ALL"], vec!["id", "-u"], 0, "12345\n"),
    ] {
        let end = docker.run(&options, "shop", &command);
        assert_eq!((end.code, end.stdout.as_str(), end.stderr.as_str()), (code, stdout, ""), "{command:?}");
    }
}

#[test]
fn a_command_that_cannot_run_gives_the_codes_of_a_shell() {
    let Some(docker) = docker() else { return };
    for (command, code) in [("nosuch", 127), ("/no/such", 127), ("/etc/passwd", 126), ("/etc", 126)] {
        let end = docker.run(&[], "shop", &[command]);
        assert_eq!((end.code, end.stdout.as_str()), (code, ""), "{command}: {end:#?}");
        assert!(end.stderr.contains(command), "{end:#?}");
    }
}

#[test]
fn one_command_gets_the_terminal() {
    let Some(docker) = docker() else { return };
    let end = docker.run(&["--tty"], "scratch", &["/witness", "status"]);
    assert_eq!(end.code, 0, "{end:#?}");
    assert!(end.stdout.contains("terminal [0 1 2] foreground true"), "{end:#?}");
}

#[test]
fn docker_gives_it_to_containers_as_its_own_init() {
    let Some(docker) = docker() else { return };
    let Some(daemon) = OwnDaemon::with_our_init(docker) else {
        return skip("docker_gives_it_to_containers_as_its_own_init", "a second dockerd cannot be started");
    };
    let version = daemon.must(&["info"]);
    assert!(
        version.stdout.contains("docker-init") && !daemon.log().contains("failed to parse"),
        "{version:#?}"
    );
    let image = docker.image("witness");
    daemon.load(&image);
    let run = |options: &[&str], words: &[&str]| {
        let head = ["run", "--rm", "--init", "--network", "none", "--entrypoint", "/witness"];
        let done = daemon.docker(&[&head, options, &[image.as_str()], words].concat());
        (
            done.status.code(),
            String::from_utf8_lossy(&done.stdout).into_owned(),
            String::from_utf8_lossy(&done.stderr).into_owned(),
        )
    };
    // It is PID 1, the program its child, and nothing else is said.
    let (code, stdout, stderr) = run(&[], &["ps", "exit", "7"]);
    assert_eq!((code, stderr.as_str()), (Some(7), ""), "{stdout}");
    assert!(stdout.contains("docker-init") && stdout.lines().count() == 2, "{stdout}");
    let (code, stdout, stderr) = run(&["--tty"], &["status"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.contains("ppid 1 leader true") && stdout.contains("foreground true"), "{stdout}");
    // Signals, orphans, and the variables that are all that can be given to it.
    let name = "tinysup-own-init";
    let words = ["orphans", "100", "no-zombies", "20s", "wait", "exit", "3"];
    let head = ["run", "--detach", "--init", "--network", "none", "--name", name, "--entrypoint", "/witness"];
    daemon.must(&[&head, &["--env", "TINI_KILL_PROCESS_GROUP=1", &image][..], &words].concat());
    let told = |wanted: &str| {
        let start = Instant::now();
        while !daemon.must(&["logs", name]).stdout.contains(wanted) {
            assert!(start.elapsed() < DEADLINE, "{wanted}: {:#?}", daemon.must(&["logs", name]));
            thread::sleep(Duration::from_millis(20));
        }
    };
    told("waiting");
    for signal in ["USR1", "RTMIN+5"] {
        daemon.must(&["kill", "--signal", signal, name]);
        told(&format!("got SIG{signal}"));
    }
    daemon.must(&["stop", name]);
    assert_eq!(daemon.must(&["wait", name]).stdout.trim(), "3");
}

#[test]
fn a_main_command_beside_the_services_ends_the_container_with_its_code() {
    let Some(docker) = docker() else { return };
    let command = ["run", "--", "/witness", "say", "here", "exit", "5"];
    let end = docker.run(&["--volume", &config(ONE)], "scratch", &command);
    assert_eq!(end.code, 5, "{end:#?}");
    assert!(end.stdout.contains("here\n") && end.stderr.contains("app is up"), "{end:#?}");
    assert!(!end.stderr.contains("CONTAINER STOPPED"), "nothing has failed: {end:#?}");
}

// ---- the container's surroundings ----

#[test]
fn it_runs_in_every_kind_of_locked_down_container() {
    let Some(docker) = docker() else { return };
    let mount = config(ONE);
    let seccomp = [seccomp(1), seccomp(38)];
    let kinds: [&[&str]; 9] = [
        &["--init"],
        &["--read-only"],
        &["--user", "12345"],
        &["--cap-drop", "ALL"],
        &["--security-opt", "no-new-privileges"],
        &["--network", "none", "--ipc", "none", "--memory", "64m"],
        &["--ulimit", "nofile=20"],
        &["--security-opt", &seccomp[0]],
        &["--security-opt", &seccomp[1]],
    ];
    let all = kinds[..7].concat();
    for kind in kinds.into_iter().chain([all.as_slice()]) {
        let container = docker.start(&[&["--volume", mount.as_str()], kind].concat(), "scratch", &[]);
        container.wait_for("waiting");
        container.signal("USR1");
        container.wait_for("got SIGUSR1");
        let took = container.stop();
        let end = container.finish();
        assert_eq!((end.code, lines(&end.stdout, "app", "good-bye")), (0, 1), "{kind:?}: {end:#?}");
        assert!(took < PROMPT, "{kind:?}: {took:?}");
        assert_eq!(end.stderr.contains("not PID 1"), kind.contains(&"--init"), "{kind:?}: {end:#?}");
        assert!(end.stdout.contains("fds [0, 1, 2]\n"), "{kind:?}: {end:#?}");
        assert!(!kind.contains(&"--user") || end.stdout.contains("Uid 12345 "), "{kind:?}: {end:#?}");
    }
}

#[test]
fn numeric_users_need_no_passwd_file() {
    let Some(docker) = docker() else { return };
    let container = docker.start(&["--publish", "127.0.0.1::8080"], "scratch", &[]);
    let seen = container.wait_for("worker | waiting").join("\n");
    for wanted in ["Uid 1002 1002 1002 1002", "Gid 1003 1003 1003 1003", "CapEff 0000000000000000"] {
        assert!(seen.contains(wanted), "{wanted}:\n{seen}");
    }
    assert!(seen.lines().any(|line| line.trim_end().ends_with("| Groups")), "{seen}");
    assert_eq!(
        Request::send(&container.published(8080), "/").answer(),
        ("HTTP/1.0 200 OK".into(), "ok\n".into())
    );
    container.stop();
    let end = container.finish();
    assert_eq!((end.code, lines(&end.stdout, "web", "drained")), (0, 1), "{end:#?}");
    assert_eq!(lines(&end.stdout, "prepare", "prepared"), 1, "{end:#?}");
}

#[test]
fn a_user_switch_that_is_not_allowed_is_a_failed_start_and_no_root_process() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [services.web]
        command = "/witness say started"
        user = "1001"
        max_restarts = 1
        restart_delay = 0
    "#;
    let mount = config(plan);
    for kind in [["--user", "12345"], ["--cap-drop", "ALL"]] {
        let end = docker.start(&[&kind[..], &["--volume", &mount]].concat(), "scratch", &[]).finish();
        assert!(end.code != 0 && lines(&end.stdout, "web", "started") == 0, "{kind:?}: {end:#?}");
        assert!(
            end.stderr.contains("1001") && last_block(&end.stderr).contains("CONTAINER STOPPED"),
            "{end:#?}"
        );
    }
}

#[test]
fn a_service_that_we_may_not_signal_does_not_hold_up_the_stop() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        shutdown_timeout = "2s"
        [services.foreign]
        command = "/witness wait"
        user = "1001"
    "#;
    let options =
        ["--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID", "--volume", &config(plan)];
    let container = docker.start(&options, "scratch", &[]);
    container.wait_for("waiting");
    let took = container.stop();
    let end = container.finish();
    assert!(took < DOCKER_STOP_TIMEOUT && end.stderr.contains("stopped in"), "{took:?} {end:#?}");
    assert_eq!(end.code, 137, "{end:#?}");
}

#[test]
fn the_pids_limit_makes_a_failed_start_and_not_a_hang() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [services.first]
        command = "/witness wait say kept"
        [services.second]
        command = "/witness say started"
        depends_on = ["first"]
        max_restarts = 2
        restart_delay = "50ms"
    "#;
    // One for tinysup, one for the first service.
    let end = docker.start(&["--pids-limit", "2", "--volume", &config(plan)], "scratch", &[]).finish();
    assert!(end.code != 0, "{end:#?}");
    assert_eq!(lines(&end.stdout, "first", "kept"), 1, "{end:#?}");
    assert_eq!(lines(&end.stdout, "second", "started"), 0, "{end:#?}");
    assert!(end.stderr.contains("cannot make a process"), "{end:#?}");
    assert!(last_block(&end.stderr).contains("second failed 3 times"), "{end:#?}");
}

#[test]
fn a_wrong_configuration_is_told_with_its_place_and_starts_nothing() {
    let Some(docker) = docker() else { return };
    let plan = "[services.web]\ncommand = \"/witness say started\"\nmax_restart = 3\ndepends_on = [\"reddis\"]\n\n\
                [services.redis]\ncommand = \"/witness wait\"\n";
    let end = docker.run(&["--volume", &config(plan)], "scratch", &[]);
    assert_eq!((end.code, end.stdout.as_str()), (78, ""), "{end:#?}");
    for wanted in ["/etc/tinysup.toml:3:1", "\"max_restarts\"", "/etc/tinysup.toml:4:", "\"redis\"", "^^^"] {
        assert!(end.stderr.contains(wanted), "no {wanted:?}:\n{}", end.stderr);
    }
    let end = docker.run(&["--env", "TINYSUP_CONFIG=/etc"], "scratch", &[]);
    assert!(end.code == 78 && end.stderr.contains("directory"), "{end:#?}");
    let end = docker.run(&["--env", "TINYSUP_CONFIG=/no/such.toml"], "scratch", &[]);
    assert!(end.code == 78 && end.stderr.contains("/no/such.toml"), "{end:#?}");
    let end = docker.run(&[], "tinysup", &[]);
    assert!(end.code == 78 && end.stderr.contains("/etc/tinysup.toml"), "{end:#?}");
}

// ---- orphans and leftovers ----

#[test]
fn orphans_leave_no_zombie() {
    let Some(docker) = docker() else { return };
    for kind in ["--init", "--env=PLAIN=1"] {
        let container = docker.start(&[kind, "--volume", &config(ONE)], "scratch", &[]);
        container.wait_for("waiting");
        // Within the service's container, from a process that comes from outside.
        let storm =
            container.exec(&["/witness", "orphans", "10000", "orphans", "10000", "no-zombies", "30s"]);
        assert_eq!(storm.code, 0, "{storm:#?}");
        container.stop();
        let end = container.finish();
        assert_eq!(end.code, 0, "{end:#?}");
        assert!(end.stderr.lines().count() < 20, "a line per orphan? {end:#?}");
    }
}

#[test]
fn what_a_crashed_service_left_behind_is_gone_before_the_next_start() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [services.keeper]
        command = "/witness wait"
        [services.leaky]
        command = "/witness child 3600s helper 3600s after 200ms ps exit 3"
        max_restarts = 4
        restart_delay = 0
        on_failure = "ignore"
    "#;
    let container = docker.start(&["--volume", &config(plan)], "scratch", &[]);
    container.wait_for("failed for good");
    // The last run's too: then there are PID 1, the keeper, and who looks.
    let start = Instant::now();
    loop {
        let seen = container.exec(&["/witness", "ps"]).stdout;
        if seen.lines().count() == 3 {
            break;
        }
        assert!(start.elapsed() < PROMPT, "{seen}");
    }
    container.stop();
    let end = container.finish();
    assert_eq!(end.code, 0, "{end:#?}");
    // No run ever saw more than PID 1, the keeper, itself, its child and its helper.
    let seen = end.stdout.lines().filter(|line| line.contains("| ps ")).count();
    assert!(seen <= 5 * 5, "{seen} {end:#?}");
    assert!(end.stderr.contains("left"), "{end:#?}");
}

#[test]
fn real_servers_that_put_themselves_into_the_background_are_told_and_stopped() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [services.nginx]
        command = "nginx"
        max_restarts = 1
        on_failure = "ignore"
        [services.redis]
        command = "redis-server --daemonize yes"
        max_restarts = 1
        on_failure = "ignore"
        [services.keeper]
        command = "sleep 3600"
    "#;
    let container = docker.start(&["--volume", &config(plan)], "shop", &[]);
    container.wait_for_nth("failed for good", 2);
    container.stop();
    let end = container.finish();
    assert_eq!(end.code, 0, "{end:#?}");
    for remedy in ["daemon off;", "--daemonize no"] {
        assert_eq!(end.stderr.matches(remedy).count(), 2, "{remedy}: {end:#?}");
    }
    // Each run found its port free: the one before was gone.
    assert!(!end.stderr.contains("in use") && !end.stdout.contains("in use"), "{end:#?}");
}

// ---- output, as docker has it ----

/// Written in blocks that end in the middle of lines, by two at once.
#[test]
fn docker_logs_have_every_line_once_and_in_order() {
    const COUNT: usize = 100_000;
    let Some(docker) = docker() else { return };
    let one = |name: &str| {
        format!("[services.{name}]\ntype = \"oneshot\"\ncommand = \"/witness blocks {COUNT}\"\n")
    };
    let plan = one("a") + &one("b");
    let end = docker.start(&["--volume", &config(&plan)], "scratch", &[]).finish();
    assert_eq!(end.code, 0, "{}", end.stderr);
    for name in ["a | ", "b | "] {
        let mut numbers =
            end.stdout.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("line "));
        for number in 1..=COUNT {
            let found = numbers.next();
            assert!(found == Some(&number.to_string()), "{name}{found:?} where line {number} should be");
        }
        assert_eq!(numbers.next(), None);
    }
    assert_eq!(end.stdout.lines().count(), 2 * COUNT, "and none is torn");
}

#[test]
fn every_line_of_dockers_log_is_an_object_where_that_is_wanted() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [log]
        format = "json"
        [services.app]
        command = ["/witness", "say", "plain \"words\"", "say", "{\"level\":\"warn\",\"service\":\"mine\"}", "exit", "3"]
        max_restarts = 0
    "#;
    let end = docker.start(&["--volume", &config(plan)], "scratch", &[]).finish();
    assert_eq!(end.code, 3, "{end:#?}");
    let objects = |text: &str| -> Vec<serde_json::Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    };
    let said = objects(&end.stdout);
    assert_eq!((said.len(), &said[0]["message"]), (2, &"plain \"words\"".into()), "{said:#?}");
    assert_eq!(
        (&said[0]["service"], &said[0]["stream"], &said[0]["instance"]),
        (&"app".into(), &"stdout".into(), &1.into())
    );
    // Its own field stays what it is.
    assert_eq!(
        (&said[1]["service"], &said[1]["tinysup_service"]),
        (&"mine".into(), &"app".into()),
        "{said:#?}"
    );
    let ours = objects(&end.stderr);
    assert!(ours.iter().all(|line| line["service"] == "tinysup"), "{ours:#?}");
    let last = ours.last().and_then(|line| line["message"].as_str()).unwrap_or_default();
    assert!(last.starts_with("CONTAINER STOPPED: app"), "{last}");
}

#[test]
fn what_is_written_past_us_reaches_dockers_log_too() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [services.web]
        command = ["sh", "-c", "echo to stdout > /dev/stdout; echo to stderr > /dev/stderr; exec sleep 3600"]
        user = "www-data"
    "#;
    let container = docker.start(&["--volume", &config(plan)], "shop", &[]);
    container.wait_for("web | to stdout");
    container.wait_for("web | to stderr");
    // As cron jobs and people do.
    let done = container.exec(&["sh", "-c", "echo from outside > /proc/1/fd/1; echo error > /proc/1/fd/2"]);
    assert_eq!(done.code, 0, "{done:#?}");
    container.wait_for("from outside");
    container.stop();
    let end = container.finish();
    assert!(end.stdout.lines().any(|line| line == "from outside"), "{end:#?}");
    assert!(end.stderr.lines().any(|line| line == "error"), "{end:#?}");
}

#[test]
fn nginx_opens_standard_output_as_its_own_user() {
    let Some(docker) = docker() else { return };
    let container = docker.start(&["--publish", "127.0.0.1::8080"], "shop", &[]);
    container.wait_for("all 2 services are up");
    let (status, _) = Request::send(&container.published(8080), "/").answer();
    assert!(status.contains("200"), "{status}");
    let seen = container.wait_for("GET / HTTP/1.0");
    assert!(
        seen.iter().any(|line| line.starts_with("nginx | ") && line.contains("GET / HTTP/1.0")),
        "{seen:#?}"
    );
    container.stop();
    assert_eq!(container.finish().code, 0);
}

#[test]
fn processes_of_docker_exec_do_not_hold_up_the_stop() {
    let Some(docker) = docker() else { return };
    let container = docker.start(&["--volume", &config(ONE)], "scratch", &[]);
    container.wait_for("waiting");
    container.exec_detached(&["/witness", "wait"]);
    assert_eq!(container.exec(&["/witness", "helper", "3600s"]).code, 0);
    let took = container.stop();
    let end = container.finish();
    assert_eq!(end.code, 0, "{end:#?}");
    assert!(took < PROMPT, "{took:?} {end:#?}");
}

#[test]
fn in_a_shared_pid_namespace_only_its_own_processes_are_signalled() {
    let Some(docker) = docker() else { return };
    let first = docker.start(&["--entrypoint", "/witness"], "scratch", &["wait"]);
    first.wait_for("waiting");
    let namespace = format!("container:{}", first.inspect("{{.Name}}").trim_start_matches('/'));
    let plan = "[services.leaky]\ncommand = \"/witness helper 3600s wait\"\n";
    let options = ["--pid", &namespace, "--volume", &config(plan)];
    let second = docker.start(&options, "scratch", &[]);
    second.wait_for("waiting");
    second.stop();
    let end = second.finish();
    assert_eq!(end.code, 0, "{end:#?}");
    let seen = first.exec(&["/witness", "ps"]).stdout;
    assert_eq!(seen.lines().count(), 2, "the first container's process and the one that looks:\n{seen}");
    first.signal("USR1");
    assert_eq!(first.wait_for("got SIGUSR1"), ["waiting", "got SIGUSR1"]);
}

// ---- compose ----

#[test]
fn compose_runs_two_images_side_by_side() {
    let Some(docker) = docker() else { return };
    let Some(compose) = Compose::find(docker.tag()) else {
        return skip("compose_runs_two_images_side_by_side", "there is no docker compose");
    };
    compose.must(&["up", "--detach"]);
    let shop = compose.container("shop");
    let jobs = compose.container("jobs");
    shop.wait_for("Ready to accept connections");
    jobs.wait_for("waiting");
    assert_eq!(Request::send(&shop.published(8080), "/").answer().0, "HTTP/1.1 200 OK");
    compose.must(&["stop"]);
    assert_eq!((shop.wait(), jobs.wait()), (0, 0));
}

/// A project of docker/compose.yaml, gone on drop.
struct Compose {
    words: &'static [&'static str],
    tag: String,
}

impl Compose {
    fn find(tag: &str) -> Option<Self> {
        let kinds: [&'static [&'static str]; 2] = [&["docker", "compose"], &["docker-compose"]];
        let compose = kinds.map(|words| Self { words, tag: tag.to_owned() });
        compose.into_iter().find(|compose| compose.call(&["version"]).status.success())
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/compose.yaml");
        let fixed = ["--file", file, "--project-name", &self.tag];
        let (program, words) = self.words.split_first().unwrap();
        call("120", program, &[words, &fixed, arguments].concat(), &[("TAG", &self.tag)])
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn container(&self, service: &str) -> Container {
        Container::named(self.must(&["ps", "-q", service]).trim())
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        self.call(&["down", "--volumes"]);
    }
}

/// A `--security-opt` under which newer system calls fail with this number, as on old kernels (ENOSYS) and under strict
/// profiles (EPERM).
fn seccomp(errno: u8) -> String {
    let names = [
        "clone3",
        "close_range",
        "epoll_pwait2",
        "faccessat2",
        "memfd_create",
        "openat2",
        "pidfd_getfd",
        "pidfd_open",
        "pidfd_send_signal",
        "process_madvise",
        "signalfd",
        "signalfd4",
    ];
    let profile = format!(
        r#"{{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {{ "names": {names:?}, "action": "SCMP_ACT_ERRNO", "errnoRet": {errno} }} ] }}"#
    );
    format!("seccomp={}", file(&profile).display())
}

// ---- reading the output ----

/// How many lines `name | text` there are.
fn lines(output: &str, service: &str, text: &str) -> usize {
    let is_it = |line: &&str| {
        line.split_once(" | ").is_some_and(|(name, rest)| name.trim() == service && rest == text)
    };
    output.lines().filter(is_it).count()
}

/// The last lines of tinysup's own, from the headline of the obituary on; empty where something else comes after.
fn last_block(stderr: &str) -> &str {
    let start = stderr.rfind("tinysup | CONTAINER STOPPED").unwrap_or(stderr.len());
    let block = &stderr[start..];
    if block.lines().all(|line| line.starts_with("tinysup |")) { block } else { "" }
}
