//! What must hold under gVisor, whose kernel is another one: it lacks calls and files that Linux has, and answers some differently.
//! Where there is no runsc, every case says loudly that it does not run; docs/reliability.md says what is different there.

#![cfg(test)]

#[path = "../common/container.rs"]
mod container;
#[path = "../common/launch.rs"]
mod launch;
#[path = "../common/proc.rs"]
mod proc;
mod sandbox;

use std::fmt::Write;

use sandbox::{Setup, possible};

const SLEEPER: &str = "[services.sleeper]\ncommand = \"sleep infinity\"\n";

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[test]
fn one_command_and_its_code() {
    if !possible() {
        return;
    }
    for (script, code) in [("exit 7", 7), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)] {
        let end = Setup::command(&["--", "sh", "-c", script]).start().finish();
        assert_eq!((end.code, &*end.text), (code, ""), "{script}");
    }
    let end = Setup::command(&["--", "/no/such"]).start().finish();
    assert_eq!(end.code, 127, "{end:?}");
    assert!(end.text.contains("\"/no/such\" does not exist"), "{end:?}");
}

#[test]
fn signals_are_passed_on() {
    if !possible() {
        return;
    }
    // But for those that a shell cannot trap, and SIGCHLD, which is for us.
    let signals: Vec<u32> = (1..32).filter(|signal| !matches!(signal, 9 | 11 | 17 | 19)).collect();
    let real_time = [34, 40, 64];
    let mut script = String::new();
    for signal in signals.iter().chain(&real_time) {
        let _ = write!(script, "trap 'echo got {signal}.' {signal}; ");
    }
    script.push_str("echo ready; while :; do sleep 0.05; done");
    let mut sandbox = Setup::command(&["--", "sh", "-c", &script]).start();
    sandbox.wait_for("ready");
    for signal in &signals {
        sandbox.signal(&signal.to_string());
        sandbox.wait_for(&format!("got {signal}."));
    }
    // runsc does not know these.
    for signal in real_time {
        assert_eq!(sandbox.shell(&format!("kill -{signal} 1")), "");
        sandbox.wait_for(&format!("got {signal}."));
    }
}

#[test]
fn services_start_restart_and_stop_in_order() {
    if !possible() {
        return;
    }
    let config = format!(
        "{SLEEPER}[services.web]\ncommand = \"trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done\"\nshell = true\ndepends_on = [\"sleeper\"]\n"
    );
    let mut sandbox = Setup::services(&config).start();
    sandbox.wait_for("web | up");
    sandbox.wait_for("all 2 services are up");
    assert!(text(&sandbox.ask(&["status"])).contains("2 services: all ready"));
    assert!(text(&sandbox.ask(&["restart", "web"])).contains("web restarted: pid "));
    sandbox.wait_for("web | bye");
    sandbox.wait_for("web | up");
    assert_eq!(text(&sandbox.ask(&["logs", "-n", "1", "web"])).matches("out up").count(), 1);
    assert!(text(&sandbox.ask(&["stop", "sleeper", "web"])).contains("sleeper stopped"));
    let told = text(&sandbox.ask(&["start", "sleeper", "web"]));
    assert!(told.contains("sleeper started: pid ") && told.contains("web started: pid "), "{told}");
    assert!(text(&sandbox.ask(&["update"])).contains("nothing has changed"));
    assert_eq!(sandbox.ask(&["health"]).status.code(), Some(0));
    assert!(text(&sandbox.ask(&["describe", "web"])).contains("no memory cgroup can be seen"));
    let end = sandbox.stop();
    assert_eq!(end.code, 0, "{end:?}");
    assert!(end.text.contains("stopping (SIGTERM): web, sleeper"), "{end:?}");
    assert!(end.text.contains("web | bye"), "{end:?}");
}

#[test]
fn a_spent_budget_ends_the_container() {
    if !possible() {
        return;
    }
    let config = format!(
        "{SLEEPER}[services.bad]\ncommand = [\"sh\", \"-c\", \"exit 17\"]\nmax_restarts = 2\nrestart_delay = \"10ms\"\n"
    );
    let end = Setup::services(&config).start().finish();
    assert_eq!(end.code, 17, "{end:?}");
    assert!(end.text.contains("CONTAINER STOPPED: bad failed 3 times"), "{end:?}");
}

#[test]
fn who_ignores_the_stop_is_killed_in_time() {
    if !possible() {
        return;
    }
    let config = "[services.deaf]\ncommand = \"trap '' TERM; echo up; while :; do sleep 0.05; done\"\nshell = true\nkill_timeout = \"300ms\"\n";
    let mut sandbox = Setup::services(config).start();
    sandbox.wait_for("deaf | up");
    let end = sandbox.stop();
    assert_eq!(end.code, 137, "{end:?}");
    assert!(end.text.contains("SIGKILL (kill_timeout)"), "{end:?}");
}

#[test]
fn leftovers_are_found_by_their_variables() {
    if !possible() {
        return;
    }
    // In a session of its own, so that no group tells; and where no limit of locks can be set, no number either.
    let config = "[services.leaver]\ncommand = \"setsid sleep 1000 & while [ $(cat /proc/$!/comm) != sleep ]; do :; done; exit 3\"\nshell = true\nrestart_delay = \"10ms\"\n";
    let mut sandbox = Setup::services(config).start();
    for _ in 0..3 {
        let line = sandbox.wait_for("leaver left \"sleep\"");
        assert!(line.ends_with("behind; stopping it"), "{line}");
    }
    assert_eq!(sandbox.stop().code, 0);
}

#[test]
fn orphans_leave_no_zombies() {
    if !possible() {
        return;
    }
    let config = format!(
        "{SLEEPER}[services.forks]\ncommand = \"for i in $(seq 300); do (: &) ; done; echo done; sleep infinity\"\nshell = true\n"
    );
    let mut sandbox = Setup::services(&config).start();
    sandbox.wait_for("forks | done");
    let zombies = "while grep -qs '^State:.Z' /proc/[0-9]*/status; do :; done; echo none";
    assert_eq!(sandbox.shell(zombies), "none\n");
    assert_eq!(sandbox.stop().code, 0);
}

#[test]
fn every_kind_of_readiness() {
    if !possible() {
        return;
    }
    let server = "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 9, LocalAddr => q(127.0.0.1:8080)); while ($c = $s->accept) { sysread $c, $b, 999; print $c qq(HTTP/1.0 200 OK\\r\\n\\r\\n) }'";
    let word = "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ENV{NOTIFY_SOCKET})->send(q(READY=1)); sleep'";
    let config = format!(
        "[services.http]\ncommand = \"{server}\"\nready = \"http://127.0.0.1:8080/\"\n\
         [services.tcp]\ncommand = \"sleep infinity\"\nready = \"tcp:8080\"\n\
         [services.says]\ncommand = \"{word}\"\nready = \"notify\"\nuser = \"nobody\"\n\
         [services.fd]\ncommand = \"echo >&3; sleep infinity\"\nshell = true\nready = \"fd:3\"\n\
         [services.log]\ncommand = \"echo listening; sleep infinity\"\nshell = true\nready = \"log:listening\"\n\
         [services.test]\ncommand = \"touch /run/there; sleep infinity\"\nshell = true\nready = [\"test\", \"-e\", \"/run/there\"]\n",
        server = server.replace('\\', "\\\\"),
    );
    let mut sandbox = Setup::services(&config).start();
    let mut missing = vec!["http", "tcp", "says", "fd", "log", "test"];
    while !missing.is_empty() {
        let line = sandbox.wait_for(" is ready after ");
        missing.retain(|name| !line.contains(&format!("| {name} is ready")));
    }
    assert_eq!(sandbox.stop().code, 0);
}

#[test]
fn another_user_may_not_ask() {
    if !possible() {
        return;
    }
    let config = format!(
        "{SLEEPER}[services.other]\ncommand = \"id -u; DIR/tinysup status; sleep infinity\"\nshell = true\nuser = \"nobody\"\n"
    );
    let mut sandbox = Setup::services(&config).start();
    sandbox.wait_for("other | 65534");
    let line = sandbox.wait_for("other | tinysup: ");
    assert!(line.contains("/run/tinysup.sock is only for root"), "{line}");
    assert_eq!(sandbox.stop().code, 0);
}

/// The kernel does not tell who is at the other end.
#[test]
fn nobody_may_ask_at_an_abstract_socket() {
    if !possible() {
        return;
    }
    let mut sandbox = Setup::services(SLEEPER).env("TINYSUP_SOCKET=@x").start();
    sandbox.wait_for("the service is up");
    let refused = sandbox.shell(&format!("TINYSUP_SOCKET=@x {} status", sandbox.path("tinysup")));
    assert!(refused.contains("it cannot be known who asks"), "{refused}");
    assert_eq!(sandbox.stop().code, 0);
}

const FLOOD: &str = "[services.flood]\ncommand = \"yes | head -c 3000000\"\nshell = true\nrestart = \"never\"\non_success = \"exit\"\n";

#[test]
fn a_flood_arrives_whole() {
    if !possible() {
        return;
    }
    let end = Setup::services(FLOOD).start().finish();
    assert_eq!((end.code, end.text.matches("flood | y\n").count()), (0, 1_500_000), "{}", end.text.len());
}

#[test]
fn a_stuck_reader_holds_up_nobody() {
    if !possible() {
        return;
    }
    let config = format!("{FLOOD}{SLEEPER}");
    let sandbox = Setup::services(&config).stuck().start();
    sandbox.is_there();
    let ready = format!("until {} health; do :; done", sandbox.path("tinysup"));
    let told = sandbox.shell(&ready);
    assert!(told.contains("all 2 are ready"), "{told}");
    assert!(text(&sandbox.ask(&["restart", "sleeper"])).contains("sleeper restarted"));
    sandbox.read_on();
    let end = sandbox.finish();
    assert_eq!((end.code, end.text.matches("flood | y\n").count()), (0, 1_500_000), "{}", end.text.len());
}

/// A pipe of gVisor's own, which is not ours to open again: room for a byte is no room for a page there.
#[test]
fn a_stuck_pipe_of_another_user_holds_up_nobody() {
    if !possible() {
        return;
    }
    let script = "mkfifo /run/gate; setpriv --reuid=65534 --regid=65534 --clear-groups \"$0\" \"$@\" 2>&1 | (read line < /run/gate; cat)";
    let config = format!("{FLOOD}{SLEEPER}");
    let sandbox = Setup::services(&config).env("TINYSUP_SOCKET=/run/s").by_shell(script).start();
    sandbox.is_there();
    let path = sandbox.path("tinysup");
    let ask = |words: &str| sandbox.shell(&format!("TINYSUP_SOCKET=/run/s {path} {words}"));
    assert!(
        sandbox
            .shell(&format!("until TINYSUP_SOCKET=/run/s {path} health; do :; done"))
            .contains("all 2 are ready")
    );
    assert!(ask("restart sleeper").contains("sleeper restarted"));
    sandbox.shell("echo > /run/gate");
    let end = sandbox.finish();
    assert_eq!(end.text.matches("flood | y\n").count(), 1_500_000, "{}", end.text.len());
}

#[test]
fn files_are_rotated() {
    if !possible() {
        return;
    }
    let config = "[services.seq]\ncommand = \"seq 30000\"\nstdout = { file = \"/run/logs/seq\", max_size = \"64K\", max_files = 2 }\nrestart = \"never\"\n[services.after]\ncommand = \"tail -n 1 /run/logs/seq; cat /run/logs/seq.1 | wc -c; sleep infinity\"\nshell = true\ndepends_on = { seq = \"completed\" }\n";
    let mut sandbox = Setup::services(config).start();
    sandbox.wait_for("after | 30000");
    sandbox.wait_for("after | 65532");
    assert_eq!(sandbox.stop().code, 0);
}

#[test]
fn a_leak_is_restarted() {
    if !possible() {
        return;
    }
    let config = "[services.leak]\ncommand = [\"perl\", \"-e\", \"for (1..12) { $$x .= 'x' x 5_000_000; select undef, undef, undef, 0.1 } sleep\"]\nmax_memory_restart = \"40M\"\n";
    let mut sandbox = Setup::services(config).start();
    sandbox.wait_for("leak: over its memory limit");
    sandbox.wait_for("restart 1/");
    assert!(text(&sandbox.ask(&["memory"])).contains("no memory cgroup can be seen"));
    assert_eq!(sandbox.stop().code, 0);
}

#[test]
fn without_proc() {
    if !possible() {
        return;
    }
    let config = format!(
        "{SLEEPER}[services.a]\ncommand = \"echo up; sleep 1000 & exit 3\"\nshell = true\nrestart_delay = \"10ms\"\n"
    );
    let mut sandbox = Setup::services(&config).without_proc().start();
    sandbox.wait_for("a | up");
    sandbox.wait_for("restart 1/");
    sandbox.wait_for("a | up");
    assert_eq!(sandbox.stop().code, 0);
}

/// By the clock of ticks that gVisor has: none in two seconds.
#[test]
fn nothing_spins() {
    if !possible() {
        return;
    }
    let mut sandbox =
        Setup::services(&format!("{SLEEPER}healthcheck = {{ test = [\"true\"], interval = \"1h\" }}\n"))
            .start();
    sandbox.wait_for("the service is up");
    let ticks = "read a < /proc/1/stat; sleep 2; read b < /proc/1/stat; set -- $a; a=$((${14} + ${15})); set -- $b; echo used $((${14} + ${15} - a))";
    assert_eq!(sandbox.shell(ticks), "used 0\n");
    assert_eq!(sandbox.stop().code, 0);
}
