//! Services that are asked how they are, and those that say it themselves: everything from the configuration to the kernel.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::container::{Container, Folder, Setup, free_port};
use crate::services::{service, sh, witness, witness_path};
use crate::{launch, proc, root};

/// A service of the witness that is ready in this way, and starts when `before` is.
fn after(before: &str, name: &str, command: &str, ready: &str) -> String {
    service(name, command, &format!("ready = {ready}\ndepends_on = [\"{before}\"]"))
}

#[test]
fn every_kind_of_readiness() {
    if !root() {
        return;
    }
    let (tcp, http) = (free_port(21000..21100), free_port(21100..21200));
    let setup = Setup::services(
        &[
            service("first", &witness("wait"), ""),
            after(
                "first",
                "tcp",
                &witness(&format!("after 50ms listen {tcp} 0ms wait")),
                &format!("\"tcp:{tcp}\""),
            ),
            after(
                "tcp",
                "http",
                &witness(&format!("after 50ms listen {http} 0ms wait")),
                &format!("\"http://localhost:{http}/health\""),
            ),
            after("http", "unix", &sh("sleep 0.05; exec $W unix $DIR/socket wait"), "\"unix:${DIR}/socket\""),
            after("unix", "file", &sh("sleep 0.05; touch $DIR/up; exec $W wait"), "\"file:${DIR}/up\""),
            after("file", "newline", &sh("sleep 0.05; echo ready >&7; exec $W wait"), "\"fd:7\""),
            after("newline", "notify", &witness("after 50ms tell READY=1 wait"), "\"notify\""),
            after("notify", "line", &witness("after 50ms say open wait"), "\"log:open\""),
            after(
                "line",
                "command",
                &sh("sleep 0.05; touch $DIR/done; exec $W wait"),
                "[\"test\", \"-e\", \"${DIR}/done\"]",
            ),
            after("command", "delay", &witness("wait"), "\"delay:50ms\""),
        ]
        .concat(),
    );
    let container = setup.env("W", witness_path()).start();
    container.wait_for("all 10 services are up");
    let end = container.stop();
    let kinds = ["tcp", "http", "unix", "file", "newline", "notify", "line", "command", "delay"];
    let ready = kinds.map(|name| format!("{name} is ready after _ s"));
    let said: Vec<String> = end.own().into_iter().filter(|line| line.contains(" is ")).collect();
    assert_eq!(said, [&["first is up after _ s".to_owned()], ready.as_slice()].concat(), "{end:#?}");
    end.code(0);
}

#[test]
fn what_is_sick_is_started_again() {
    if !root() {
        return;
    }
    let port = free_port(21200..21300);
    // The first run stops to listen when the gate opens, the second goes on.
    let script = format!(
        "[ -e $DIR/again ] && exec $W listen {port} 0ms wait; touch $DIR/again
         $W listen {port} 0ms wait & read go < $DIR/gate; kill $!; wait $!; exec $W wait"
    );
    let check = format!(
        "healthcheck = {{ test = \"http://127.0.0.1:{port}/\", interval = \"50ms\", retries = 2 }}
         restart_delay = 0"
    );
    let setup = Setup::services(&service("a", &sh(&script), &check));
    setup.folder().gate("gate");
    let container = setup.env("W", witness_path()).start();
    container.wait_for("a is ready");
    container.folder().go("gate");
    container.wait_for("health check missed, 1/2");
    container.wait_for_nth("a is ready", 2);
    let refused = format!("nobody listens on 127.0.0.1:{port}");
    let end = container.stop();
    end.code(0);
    end.says(&refused);
    end.says("; restart 1/10 now");
}

/// Whatever the image is like, a service finds a place to speak to; also where tinysup is not PID 1.
#[test]
fn a_voice_in_narrow_places() {
    if !root() {
        return;
    }
    let config = service("a", &witness("tell READY=1 wait"), "ready = \"notify\"");
    let read_only = || launch::mount("none", "/", "", libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY, "");
    let unprivileged = "user = \"12345\"";
    for setup in [
        Setup::services(&config).before(read_only),
        Setup::services(&config).not_pid1(),
        Setup::services(&service(
            "a",
            &witness("tell READY=1 wait"),
            &format!("ready = \"notify\"\n{unprivileged}"),
        )),
    ] {
        let container = setup.start();
        container.wait_for("a is ready");
        let end = container.stop();
        end.code(0);
    }
}

/// As `docker start` after a `docker kill`: what the first left in /run is no obstacle, and does not add up.
#[test]
fn the_voice_of_a_container_that_is_started_again() {
    if !root() {
        return;
    }
    let run = Folder::new();
    let start = || {
        let source = run.path().to_str().expect("text").to_owned();
        let setup = Setup::services(&service("a", &witness("tell READY=1 wait"), "ready = \"notify\""));
        setup.before(move || launch::mount(&source, "/run", "", libc::MS_BIND, "")).start()
    };
    let left = || {
        let mut names: Vec<_> =
            fs::read_dir(run.path()).expect("ours").flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    let killed = |container: Container| {
        container.wait_for("a is ready");
        assert_eq!(left(), ["tinysup-notify-0"]);
        container.signal(libc::SIGKILL);
        container.finish().code(-libc::SIGKILL);
        assert_eq!(left(), ["tinysup-notify-0"]);
    };
    for _ in 0..3 {
        killed(start());
    }
    // Both at once, as where several containers share it.
    let (one, other) = (start(), start());
    one.wait_for("a is ready");
    other.wait_for("a is ready");
    assert_eq!(left(), ["tinysup-notify-0", "tinysup-notify-1"]);
    one.stop().code(0);
    other.stop().code(0);
    assert!(left().is_empty());
}

#[test]
fn a_thousand_checks_leave_no_descriptor() {
    if !root() {
        return;
    }
    let port = free_port(21300..21400);
    let check = |test: &str| format!("healthcheck = {{ test = {test}, interval = \"10ms\" }}");
    let setup = Setup::services(
        &[
            service(
                "server",
                &witness(&format!("listen {port} 0ms wait")),
                &check(&format!("\"tcp:{port}\"")),
            ),
            service("http", &sh("exec $W wait"), &check(&format!("\"http://127.0.0.1:{port}/\""))),
            service("command", &sh("exec $W wait"), &check("[\"sh\", \"-c\", \"echo fine\"]")),
        ]
        .concat(),
    );
    let container = setup.env("W", witness_path()).start();
    container.wait_for("all 3 services are up");
    let open = || fs::read_dir(format!("/proc/{}/fd", container.pid())).expect("it runs").count();
    container.wait_for_nth("server | request", 300);
    let few = open();
    container.wait_for_nth("server | request", 1000);
    // An attempt of each may be under way: a connection, and what a command is started with.
    container.until("no more descriptors than before", || open() <= few + 8);
    let end = container.stop();
    end.code(0);
    end.never_says("missed");
    assert!(end.waited < Duration::from_secs(5), "{end:#?}");
}

#[test]
fn nothing_wakes_us_between_two_health_checks() {
    if !root() {
        return;
    }
    let config = service("a", &witness("wait"), "healthcheck = { test = \"file:/\", interval = \"10s\" }");
    let container = Setup::services(&config).start();
    container.wait_for("the service is up");
    assert!(proc::idle(container.pid(), Duration::from_secs(4)), "nothing is due in between");
    container.stop().code(0);
}

/// A systemd unit with `Type=notify`, or Podman with `--sdnotify=container`.
#[test]
fn whoever_started_us_is_told_when_all_are_up() {
    if !root() {
        return;
    }
    let folder = Folder::new();
    let place = folder.path().join("notify");
    let socket = UnixDatagram::bind(&place).expect("the folder is ours");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    let config = service("a", &sh("read line < $GATE; exec $W wait"), "ready = \"log:waiting\"")
        + &service("b", &witness("wait"), "");
    folder.gate("gate");
    let setup = Setup::services(&config).env("W", witness_path()).env("GATE", folder.path().join("gate"));
    let container = setup.env("NOTIFY_SOCKET", &place).start();
    container.wait_for("b | waiting");
    let mut words = [0; 64];
    socket.set_nonblocking(true).expect("a flag");
    assert!(socket.recv(&mut words).is_err(), "one is not ready");
    socket.set_nonblocking(false).expect("a flag");
    folder.go("gate");
    let length = socket.recv(&mut words).expect("a word in time");
    assert_eq!(words[..length].escape_ascii().to_string(), "READY=1\\n");
    container.wait_for("all 2 services are up");
    container.stop().code(0);

    // Nobody there any more.
    drop(socket);
    let container = Setup::services(&service("b", &witness("wait"), "")).env("NOTIFY_SOCKET", &place).start();
    container.wait_for("the service is up");
    container.wait_for("nobody can be told READY=1 there: Connection refused");
    container.stop().code(0);
}
