//! The running program as its clients see it: line by line over its socket.

use std::fs;
use std::io::Write;
use std::os::linux::fs::MetadataExt;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use tinysup::control::{Answer, Change, LogLine, Refused, ServiceStatus, Status, Stream};

use crate::container::{Container, Setup, answers};
use crate::services::{service, sh, witness};
use crate::{launch, proc, root};

/// Stays until it is asked to stop, and says what it got of its environment.
const STAYS: &str = "trap 'echo bye; exit 0' TERM; echo started; while :; do sleep 0.02; done";

fn status(container: &Container) -> Status {
    match container.ask_one("\"verb\":\"status\"") {
        Answer::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

fn service_status(container: &Container, name: &str) -> ServiceStatus {
    status(container).services.into_iter().find(|service| service.name == name).expect("it is there")
}

fn changes(answer: Answer) -> Vec<Change> {
    match answer {
        Answer::Changed(changes) => changes,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(answer: Answer, why: Refused, part: &str) {
    let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
    assert!(refusal.why == why && refusal.text.contains(part), "{refusal:?}");
}

fn lines(answers: &[Answer]) -> Vec<LogLine> {
    let line = |answer: &Answer| if let Answer::Log(line) = answer { Some(line.clone()) } else { None };
    answers.iter().filter_map(line).collect()
}

#[test]
fn services_are_shown_stopped_started_and_restarted() {
    if !root() {
        return;
    }
    for pid1 in [true, false] {
        let config = service("db", &sh(STAYS), "")
            + &service("web", &sh(STAYS), "depends_on = [\"db\"]\nenv = { PASSWORD = \"hunter2\" }");
        let setup = Setup::services(&config);
        let container = if pid1 { setup.start() } else { setup.not_pid1().start() };
        container.wait_for("all 2 services are up");
        for name in ["db", "web"] {
            container.wait_for(&format!("{name} | started")); // it is a whole process now, and has set its trap
        }
        let first = status(&container);
        assert!(first.ok && !first.stopping, "{first:?}");
        let db = first.services.iter().find(|service| service.name == "db").expect("it is there");
        assert_eq!((&*db.state, db.runs, db.kind.as_str()), ("ready", 1, "daemon"));
        assert!(db.memory_bytes > Some(100_000) && db.processes >= Some(1), "{db:?}");

        refused(
            container.ask_one("\"verb\":\"stop\",\"names\":[\"db\"],\"wait\":true"),
            Refused::Dependencies,
            "web depends on db",
        );
        refused(
            container.ask_one("\"verb\":\"stop\",\"names\":[\"wep\"]"),
            Refused::NoSuchService,
            "did you mean \"web\"?",
        );
        let stopped = changes(container.ask_one("\"verb\":\"stop\",\"names\":[\"web\"],\"wait\":true"));
        assert!(stopped[0].ok && stopped[0].text.starts_with("stopped after "), "{stopped:?}");
        let web = service_status(&container, "web");
        assert_eq!((&*web.state, web.ok, web.pid), ("down", true, None));
        let exit = web.last_exit.expect("it has ended");
        assert_eq!((exit.code, exit.asked, &*exit.text), (0, true, "code 0"));

        let started = changes(container.ask_one("\"verb\":\"start\",\"names\":[\"web\"],\"wait\":true"));
        assert!(started[0].ok && started[0].text.starts_with("started: pid "), "{started:?}");
        let before = service_status(&container, "db").pid.expect("it runs");
        let all = changes(
            container.ask_one("\"verb\":\"restart\",\"names\":[\"db\"],\"dependents\":true,\"wait\":true"),
        );
        assert_eq!(
            all.iter().map(|change| (&*change.name, change.ok)).collect::<Vec<_>>(),
            [("db", true), ("web", true)]
        );
        assert!(all[0].text.starts_with(&format!("restarted: pid {before} -> ")), "{all:?}");
        let after = service_status(&container, "db");
        assert!(after.pid != Some(before) && after.runs == 2 && after.restarts == 0, "{after:?}");

        let described = container.ask_one("\"verb\":\"describe\",\"names\":[\"web\"]");
        let text = serde_json::to_string(&described).expect("JSON");
        assert!(text.contains("PASSWORD") && !text.contains("hunter2"), "{text}");
        let Answer::Describe(described) = described else { panic!("{described:?}") };
        assert_eq!(described[0].depends_on, [("db (ready)".to_owned(), true)]);

        assert_eq!(
            container.ask_one("\"verb\":\"shutdown\",\"wait\":true"),
            Answer::Changed(vec![Change {
                name: String::new(),
                text: "stopped; exit code 0".to_owned(),
                ok: true
            }])
        );
        let end = container.finish();
        end.code(0);
        assert!(!end.stderr.iter().any(|line| line.contains("hunter2")), "{end:#?}");
        end.says("stopping (a client asks): web, db");
    }
}

#[test]
fn what_was_stopped_by_hand_keeps_the_container_up() {
    if !root() {
        return;
    }
    let container = Setup::services(&service("web", &sh(STAYS), "")).start();
    container.wait_for("the service is up");
    assert!(changes(container.ask_one("\"verb\":\"stop\",\"wait\":true"))[0].ok);
    container.until("nothing runs", || container.living().is_empty());
    assert!(proc::idle(container.pid(), std::time::Duration::from_millis(300)), "nothing is due");
    let verdict = container.ask_one("\"verb\":\"health\",\"state\":\"ready\"");
    assert_eq!(
        verdict,
        Answer::Verdict(tinysup::control::Verdict {
            ok: false,
            text: "web is not ready: stopped by hand".to_owned()
        })
    );
    let waiting = container.begin("\"verb\":\"wait\",\"names\":[\"web\"],\"state\":\"ready\"");
    assert!(changes(container.ask_one("\"verb\":\"start\""))[0].ok);
    let Some(Answer::Verdict(verdict)) = answers(waiting).last() else { panic!("no verdict") };
    assert!(verdict.ok, "{verdict:?}");
    container.stop().code(0);
}

#[test]
fn logs_are_followed_over_restarts_to_the_end_of_the_container() {
    if !root() {
        return;
    }
    let script = "echo run; read line < $DIR/gate; echo \"last $line\" >&2; exit 7";
    let setup = Setup::services(&service("web", &sh(script), "restart_delay = 0"));
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("web | run");
    let follower = answers(container.begin("\"verb\":\"logs\",\"follow\":true"));
    let mut follower = follower.filter_map(|answer| match answer {
        Answer::Log(line) => Some((line.stream, line.text, line.dropped)),
        Answer::End => None,
        other => panic!("{other:?}"),
    });
    let out = |text: &str| Some((Some(Stream::Stdout), text.to_owned(), 0));
    assert_eq!(follower.next(), out("run"));
    for _ in 0..2 {
        container.folder().go("gate");
        assert_eq!(follower.next(), Some((Some(Stream::Stderr), "last go".to_owned(), 0)));
        let (stream, text, _) = follower.next().expect("its end");
        assert!(stream.is_none() && text.starts_with("code 7 after "), "{text}");
        assert_eq!(follower.next(), out("run"));
    }
    let kept = lines(&container.ask("\"verb\":\"logs\",\"lines\":2"));
    assert!(kept[0].text.starts_with("code 7 after ") && kept[1].text == "run", "{kept:?}");
    container.signal(libc::SIGTERM);
    let rest: Vec<_> = follower.collect();
    assert_eq!(rest.len(), 1, "only its end: {rest:?}");
    container.finish().code(0);
}

#[test]
fn who_follows_a_flood_and_does_not_read_disturbs_nobody() {
    if !root() {
        return;
    }
    let config = service(
        "flood",
        &sh("while :; do echo 0123456789012345678901234567890123456789; done"),
        "stdout = \"raw\"",
    ) + &service("web", &sh(STAYS), "");
    let [_, nowhere, _] = launch::nowhere();
    let container =
        Setup::services(&config).stdout(crate::container::Out::To(nowhere.expect("open"))).start();
    container.wait_for("all 2 services are up");
    let mut stuck: Vec<UnixStream> =
        (0..24).map(|_| container.begin("\"verb\":\"logs\",\"follow\":true")).collect();
    container.until("it floods", || lines(&container.ask("\"verb\":\"health\"")).is_empty());
    for _ in 0..50 {
        assert!(!status(&container).services.is_empty());
    }
    // As many as may follow are there, and are let go one by one for those that come.
    let newcomer = container.begin("\"verb\":\"logs\",\"follow\":true");
    let mut newcomer = answers(newcomer);
    assert!(matches!(newcomer.next(), Some(Answer::Log(_))));
    let last = answers(stuck.remove(0)).last().expect("an answer");
    refused(last, Refused::Busy, "too many");
    // 24 buffers of the kernel are not ours; what we hold for each is small.
    let resident = proc::number(container.pid(), "VmRSS") / 1024;
    assert!(resident < 40, "{resident} MiB");
    drop(stuck);
    container.until("there is room again", || {
        !matches!(answers(container.begin("\"verb\":\"logs\",\"lines\":1")).next(), Some(Answer::Refused(_)))
    });
    // Who comes back to reading is told what he has missed.
    let slow = container.begin("\"verb\":\"logs\",\"follow\":true,\"names\":[\"flood\"]");
    let mut slow = answers(slow);
    container.until("lines were lost", || matches!(slow.next(), Some(Answer::Log(line)) if line.dropped > 0));
    container.stop().code(0);
}

#[test]
fn many_and_rude_clients_leave_nothing_behind() {
    if !root() {
        return;
    }
    let container = Setup::services(&service("web", &sh(STAYS), "")).start();
    container.wait_for("the service is up");
    status(&container);
    let before = proc::descriptors(container.pid()).len();
    for index in 0..10_000_u32 {
        let mut stream = container.connect();
        let line: &[u8] = match index % 5 {
            0 => b"",
            1 => b"{\"v\":1,\"verb\"",
            2 => b"nonsense\n",
            3 => b"{\"v\":1,\"verb\":\"status\"}\n",
            _ => b"{\"v\":1,\"verb\":\"logs\",\"follow\":true}\n",
        };
        let _ = stream.write_all(line); // it may have been refused already
    }
    container.until("all are gone", || proc::descriptors(container.pid()).len() == before);
    assert!(status(&container).ok);
    container.stop().code(0);
}

#[test]
fn one_command_has_no_socket() {
    if !root() {
        return;
    }
    let container = Setup::command(&["--", "sh", "-c", "echo up; exec sleep 1000"]).start();
    container.wait_for("up");
    let sockets = proc::descriptors(container.pid()).into_iter().filter(|target| target.contains("socket"));
    assert_eq!(sockets.count(), 0);
    container.signal(libc::SIGTERM);
    container.finish().code(143);
}

#[test]
fn the_socket_is_where_it_can_be() {
    if !root() {
        return;
    }
    let writable = |path: &'static str| move || launch::mount("tmpfs", path, "tmpfs", 0, "");
    let read_only = |path: &'static str| move || launch::mount("tmpfs", path, "tmpfs", libc::MS_RDONLY, "");
    let setup = || Setup::services(&service("web", &witness("wait"), "")).without("TINYSUP_SOCKET");
    let inside = |container: &Container, path: &str| format!("/proc/{}/root{path}", container.pid());
    for (setup, path) in [
        (setup().before(writable("/run")), "/run/tinysup.sock"),
        (setup().before(read_only("/run")).before(writable("/dev/shm")), "/dev/shm/tinysup.sock"),
    ] {
        let container = setup.start();
        container.wait_for("the service is up");
        assert!(UnixStream::connect(inside(&container, path)).is_ok(), "{path}");
        container.stop().code(0);
    }
    // The program and its configuration are in /tmp, so that is made read-only as it is.
    let tmp_read_only = || {
        launch::mount("/tmp", "/tmp", "", libc::MS_BIND, "")?;
        launch::mount("none", "/tmp", "", libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY, "")
    };
    let nowhere = setup().before(read_only("/run")).before(read_only("/dev/shm")).before(tmp_read_only);
    let container = nowhere.start();
    container.wait_for("the service is up");
    let namespace = fs::metadata(format!("/proc/{}/ns/mnt", container.pid())).expect("it lives").st_ino();
    let address = SocketAddr::from_abstract_name(format!("tinysup-{namespace}")).expect("a short name");
    assert!(UnixStream::connect_addr(&address).is_ok());
    let end = container.stop();
    end.code(0);
    assert!(!end.stderr.iter().any(|line| line.contains("socket")), "{end:#?}");
}

#[test]
fn without_a_socket_the_services_run_all_the_same() {
    if !root() {
        return;
    }
    let config = "control = false\n".to_owned() + &service("web", &sh(STAYS), "");
    let container = Setup::services(&config).start();
    container.wait_for("the service is up");
    let sockets = proc::descriptors(container.pid()).into_iter().filter(|target| target.contains("socket"));
    assert!(sockets.count() <= 1, "at most that of the signals");
    container.stop().code(0);

    let setup = Setup::services(&service("web", &sh(STAYS), "")).env("TINYSUP_SOCKET", "/no/such/place");
    let container = setup.start();
    container.wait_for("the service is up");
    assert_eq!(container.count("no control socket"), 1);
    container.stop().code(0);
}
