//! What is sent, what is printed and the exit code, verb by verb; and what is said when there is no answer.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tinysup::control::{
    Answer, Change, Description, EventLine, Exit, LogLine, Refusal, Refused, ServiceStatus, Status, Stream,
    Verb, Verdict, Wanted,
};

use crate::fake::{Does, Running, Server, program, says, tinysup, unused_path};
use crate::skip;

pub fn status() -> Status {
    let ready = ServiceStatus {
        name: "db".to_owned(),
        service: "db".to_owned(),
        instance: 1,
        kind: "daemon".to_owned(),
        state: "ready".to_owned(),
        ok: true,
        pid: Some(7),
        up_ms: Some(134_000),
        max_restarts: Some(10),
        cpu_ms: Some(402),
        memory_bytes: Some(10 << 20),
        ..ServiceStatus::default()
    };
    let failed = ServiceStatus {
        name: "worker".to_owned(),
        service: "worker".to_owned(),
        state: "failed".to_owned(),
        ok: false,
        pid: None,
        up_ms: None,
        cpu_ms: None,
        memory_bytes: None,
        restarts: 10,
        last_exit: Some(Exit {
            text: "code 17".to_owned(),
            code: 17,
            ago_ms: 60_000,
            times: 11,
            ..Exit::default()
        }),
        last_line: Some("FATAL: no queue".to_owned()),
        ..ready.clone()
    };
    Status {
        v: 1,
        up_ms: 135_000,
        stopping: false,
        ok: false,
        config: Some("/etc/tinysup.toml".to_owned()),
        services: vec![ready, failed],
    }
}

const TABLE: &str = "\
SERVICE  STATE   PID  UP     RESTARTS  CPU   MEMORY  LAST EXIT
db       ready   7    2m14s  0/10      0.3%  10M     -
worker   failed  -    -      10/10     -     -       code 17 (11 times), 1m ago; tinysup logs worker
2 services: 1 ready, 1 failed; up 2m15s, memory 10M
";

#[test]
fn status_is_a_table_and_its_code_says_whether_all_is_well() {
    let server = Server::that_says(vec![Answer::Status(status())]);
    let said = tinysup(server.path(), &["status"]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (3, TABLE, ""));
    assert_eq!(server.request().verb, Verb::Status);

    let mut well = status();
    well.ok = true;
    well.services.pop();
    let server = Server::that_says(vec![Answer::Status(well.clone())]);
    assert_eq!(tinysup(server.path(), &["ls", "--json"]).code, 0);

    // Those that were named are well, whatever the others are.
    well.ok = false;
    let server = Server::that_says(vec![Answer::Status(well)]);
    assert_eq!(tinysup(server.path(), &["ps", "db"]).code, 0);
    assert_eq!(server.request().names, ["db"]);
    assert_eq!(tinysup(server.path(), &["ps"]).code, 3);
}

#[test]
fn json_is_the_protocols_objects_a_line_each() {
    let change = |name: &str| Change { name: name.to_owned(), text: "started".to_owned(), ok: true };
    let line = LogLine {
        name: "db".to_owned(),
        stream: Some(Stream::Stderr),
        text: "x".to_owned(),
        ..LogLine::default()
    };
    let event = EventLine { seq: 1, text: "db is ready".to_owned(), ..EventLine::default() };
    let verdict = Verdict { ok: true, text: "all ready".to_owned() };
    let description = Description { status: status().services.remove(0), ..Description::default() };
    let json = |object: &dyn erased::Json| object.json() + "\n";
    for (words, answers, expected) in [
        (&["status"][..], vec![Answer::Status(status())], json(&status())),
        (
            &["start"],
            vec![Answer::Changed(vec![change("a"), change("b")])],
            json(&change("a")) + &json(&change("b")),
        ),
        (
            &["logs"],
            vec![Answer::Log(line.clone()), Answer::Log(line.clone()), Answer::End],
            json(&line).repeat(2),
        ),
        (&["events"], vec![Answer::Event(event.clone()), Answer::End], json(&event)),
        (&["health"], vec![Answer::Verdict(verdict.clone())], json(&verdict)),
        (&["describe"], vec![Answer::Describe(vec![description.clone(); 2])], json(&description).repeat(2)),
    ] {
        let server = Server::that_says(answers);
        let said = tinysup(server.path(), &[words, &["--json"]].concat());
        assert_eq!(said.stdout, expected, "{words:?}: {}", said.stderr);
    }
}

/// Any object as JSON.
mod erased {
    pub trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("JSON")
        }
    }
}

#[test]
fn changes_tell_what_became_of_each() {
    let change = |name: &str, text: &str, ok| Change { name: name.to_owned(), text: text.to_owned(), ok };
    let server = Server::that_says(vec![Answer::Changed(vec![
        change("api.1", "restarted: pid 13 -> 41, ready after 0.9 s", true),
        change("api.2", "not ready after 60 s", false),
    ])]);
    let said = tinysup(server.path(), &["restart", "api", "--with-dependents"]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (1, "api.1 restarted: pid 13 -> 41, ready after 0.9 s\napi.2 not ready after 60 s\n")
    );
    let request = server.request();
    assert_eq!((request.verb, request.wait, request.dependents), (Verb::Restart, true, true));
    let server = Server::that_says(vec![Answer::Changed(vec![change("db", "stopped in 0.1 s", true)])]);
    assert_eq!(tinysup(server.path(), &["stop", "db", "--no-wait"]).code, 0);
    assert!(!server.request().wait);
}

#[test]
fn health_is_0_or_1_and_a_line() {
    for (ok, code) in [(true, 0), (false, 1)] {
        let server =
            Server::that_says(vec![Answer::Verdict(Verdict { ok, text: "worker: failed".to_owned() })]);
        let said = tinysup(server.path(), &["health"]);
        assert_eq!((said.code, said.stdout.as_str()), (code, "worker: failed\n"));
        assert_eq!(server.request().state, Some(Wanted::Ready));
    }
    // Callers of a health check know no other codes; 2 is even reserved.
    let said = tinysup(&unused_path(), &["health"]);
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    assert!(said.stderr.contains("nobody listens"), "{said:?}");
    let refusal = Refusal { why: Refused::NoSuchService, text: "no service \"x\"".to_owned() };
    let server = Server::that_says(vec![Answer::Refused(refusal)]);
    assert_eq!(tinysup(server.path(), &["health", "x"]).code, 1);
    let server = Server::new(|_| vec![Does::Holds]);
    let said = tinysup(server.path(), &["health", "--timeout", "50ms"]);
    assert!(said.code == 1 && said.stderr.contains("no answer within"), "{said:?}");
}

#[test]
fn logs_have_names_unless_there_is_only_one() {
    let line = |name: &str, text: &str| {
        Answer::Log(LogLine {
            name: name.to_owned(),
            stream: Some(Stream::Stdout),
            text: text.to_owned(),
            ..LogLine::default()
        })
    };
    for (words, names, expected) in [
        (&["logs", "db"][..], ["db", "db"], ["one", "two"]),
        (&["logs"], ["db", "web"], ["db | one", "web | two"]),
        (&["logs", "api"], ["api.1", "api.2"], ["api.1 | one", "api.2 | two"]),
    ] {
        let server = Server::that_says(vec![line(names[0], "one"), line(names[1], "two"), Answer::End]);
        let said = tinysup(server.path(), words);
        let shown: Vec<&str> = said.stdout.lines().map(|line| line.split_once(" out ").unwrap().1).collect();
        assert_eq!((shown.as_slice(), said.code), (&expected[..], 0), "{said:?}");
    }
}

#[test]
fn what_is_followed_is_shown_as_it_comes() {
    let line = LogLine { name: "db".to_owned(), text: "here".to_owned(), ..LogLine::default() };
    let server = Server::new(move |_| vec![says(Answer::Log(line.clone())), Does::Holds]);
    let mut client = Running::new(program(server.path(), &["logs", "-f", "db"]));
    let mut shown = String::new();
    let mut stdout = BufReader::new(client.child().stdout.take().unwrap());
    stdout.read_line(&mut shown).unwrap();
    assert!(shown.ends_with("  --  here\n"), "{shown}");
    assert!(server.request().follow);
    // Whoever reads goes; no line has to come for that to be noticed.
    drop(stdout);
    server.client_gone();
    let said = client.finish();
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
}

#[test]
fn a_flood_that_nobody_reads_ends_too() {
    let line = LogLine { name: "db".to_owned(), text: "x".repeat(1000), ..LogLine::default() };
    let server = Server::new(move |_| {
        (0..20_000).map(|_| says(Answer::Log(line.clone()))).chain([Does::Holds]).collect()
    });
    let mut client = Running::new(program(server.path(), &["logs", "-f"]));
    drop(client.child().stdout.take());
    assert_eq!(client.finish().code, 0);
    server.client_gone();
}

/// What an answer means holds whoever hears it; and what is lost is told, not taken for said.
#[test]
fn an_answer_that_cannot_be_written_keeps_its_meaning() {
    const LOST: &str = "tinysup: cannot write to standard output: No space left on device\n";
    let line = LogLine { name: "db".to_owned(), text: "here".to_owned(), ..LogLine::default() };
    let mut well = status();
    well.ok = true;
    well.services.pop();
    for (words, answer, [full, unread]) in [
        (&["status"][..], Answer::Status(status()), [3, 3]),
        (&["status"], Answer::Status(well), [1, 0]),
        (&["logs"], Answer::Log(line), [1, 0]),
        // A health check does not fail for want of a disk, and does not succeed for it either.
        (&["health"], Answer::Verdict(Verdict { ok: true, text: String::new() }), [0, 0]),
        (&["health"], Answer::Verdict(Verdict { ok: false, text: String::new() }), [1, 1]),
    ] {
        let server = Server::that_says(vec![answer, Answer::End]);
        let mut command = program(server.path(), words);
        command.stdout(File::options().write(true).open("/dev/full").unwrap());
        let said = Running::new(command).finish();
        assert_eq!((said.code, said.stderr.as_str()), (full, LOST), "{words:?}");

        // The signal that would end it is ignored, as below many programs.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let asks =
            [&["-c", "trap '' PIPE; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_tinysup")], words].concat();
        let mut command = Command::new("/bin/sh");
        command.args(asks).env("TINYSUP_SOCKET", server.path()).stdout(writer).stderr(Stdio::piped());
        let said = Running::new(command).finish();
        assert_eq!((said.code, said.stderr.as_str()), (unread, ""), "{words:?}");
    }
    for words in [&["example"][..], &["completions", "bash"], &["help"], &["version"], &["help", "logs"]] {
        let mut command = program(&unused_path(), words);
        command.stdout(File::options().write(true).open("/dev/full").unwrap());
        let said = Running::new(command).finish();
        assert_eq!((said.code, said.stderr.as_str()), (1, LOST), "{words:?}");
    }
}

#[test]
fn a_stream_without_its_end_was_cut_off() {
    let line = LogLine { name: "db".to_owned(), text: "here".to_owned(), ..LogLine::default() };
    for verb in ["logs", "events"] {
        let line = line.clone();
        let server = Server::new(move |_| vec![says(Answer::Log(line.clone()))]);
        let said = tinysup(server.path(), &[verb, "-f"]);
        assert!(
            said.code == 69 && said.stderr.contains("hung up") && said.stdout.contains("here"),
            "{said:?}"
        );
    }
}

#[test]
fn every_refusal_has_its_code_and_its_reason() {
    for (why, code) in [
        (Refused::Request, 64),
        (Refused::Version, 64),
        (Refused::NoSuchService, 64),
        (Refused::Forbidden, 77),
        (Refused::Stopping, 1),
        (Refused::Dependencies, 1),
        (Refused::State, 1),
        (Refused::Configuration, 78),
        (Refused::Busy, 75),
    ] {
        let refusal = Refusal { why, text: "web depends on db; --with-dependents".to_owned() };
        let server = Server::that_says(vec![Answer::Refused(refusal)]);
        let said = tinysup(server.path(), &["stop", "db"]);
        assert_eq!((said.code, said.stdout.as_str()), (code, ""), "{why:?}");
        assert_eq!(said.stderr, "tinysup: web depends on db; --with-dependents\n");
    }
}

#[test]
fn nobody_there_is_69_and_tells_where_it_was_looked() {
    let place = unused_path();
    let said = tinysup(&place, &["status"]);
    assert_eq!((said.code, said.stdout.as_str()), (69, ""));
    assert!(said.stderr.contains(&format!("nobody listens at {}.", place.display())), "{said:?}");
    // Left by one that is gone.
    drop(UnixListener::bind(&place).unwrap());
    assert_eq!(tinysup(&place, &["status"]).code, 69);
    std::fs::remove_file(&place).unwrap();
    // The option goes over the variable.
    let server = Server::that_says(vec![Answer::Status(Status { ok: true, ..Status::default() })]);
    let said = tinysup(&place, &["status", "--socket", server.path().to_str().unwrap()]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_program_that_may_have_been_meant_is_named() {
    let place = unused_path();
    let mut command = program(&place, &["ps"]);
    command.env("PATH", "/bin:/usr/bin");
    let said = Running::new(command).finish();
    assert_eq!(said.code, 69);
    assert!(said.stderr.ends_with("\nThe program ps: tinysup -- ps\n"), "{said:?}");
    let said = tinysup(&place, &["ps"]);
    assert!(!said.stderr.contains("tinysup -- ps"), "it is not in PATH: {said:?}");
}

#[test]
fn an_abstract_name_is_found() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let name = format!("tinysup-fake-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let client = Running::new(program(Path::new(&format!("@{name}")), &["status"]));
    let (connection, _) = listener.accept().unwrap();
    let mut line = String::new();
    BufReader::new(&connection).read_line(&mut line).unwrap();
    assert!(line.contains("\"verb\":\"status\""), "{line}");
    drop(connection);
    assert_eq!(client.finish().code, 69);
}

#[test]
fn another_user_is_told_what_is_in_the_way() {
    let server = Server::that_says(vec![Answer::Status(Status::default())]);
    std::fs::set_permissions(server.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    // The folder of the build may be closed to other users.
    let copy = unused_path();
    std::fs::copy(env!("CARGO_BIN_EXE_tinysup"), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.arg("status").env_clear().env("TINYSUP_SOCKET", server.path()).uid(65_534);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // A process that was just made elsewhere may hold the copy open, until it executes its own program.
    let output = loop {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => break output,
        }
    };
    std::fs::remove_file(copy).unwrap();
    match output {
        Err(error) => skip(&format!("it takes root to be another user ({error})")),
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(77), "{told}");
            assert!(told.contains("only for root") && told.contains("--user"), "{told}");
        }
    }
}

#[test]
fn no_answer_and_no_sense_are_told() {
    for (step, code, part) in [
        (|| Does::Holds, 75, "no answer within"),
        (|| Does::Sends(b"hello\n"), 69, "another version"),
        (|| Does::Sends(b"{\"new\":1}\n"), 69, "another version"),
        (|| Does::Sends(b"{\"status\":"), 69, "hung up"),
        (|| Does::Sends(b""), 69, "hung up"),
    ] as [(fn() -> Does, i32, &str); 5]
    {
        let server = Server::new(move |_| vec![step()]);
        let said = tinysup(server.path(), &["status", "--timeout", "100ms"]);
        assert_eq!((said.code, said.stdout.as_str()), (code, ""), "{said:?}");
        assert!(said.stderr.contains(part), "{said:?}");
    }
}

/// As by `timeout 60 tinysup wait`: nobody hung up but the one who asked.
#[test]
fn who_is_ended_while_it_waits_says_so() {
    for words in [&["wait", "--for", "ready"][..], &["restart", "all"], &["update"]] {
        let server = Server::new(|_| vec![Does::Holds]);
        let mut client = Running::new(program(server.path(), words));
        server.request();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(client.child().id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
        let said = client.finish();
        assert_eq!((said.code, said.stdout.as_str()), (143, ""), "{words:?}: {said:?}");
        assert_eq!(
            said.stderr,
            "tinysup: SIGTERM before the answer came; what was asked for may still happen. tinysup status shows it\n"
        );
    }
}

#[test]
fn a_shutdown_that_takes_its_messenger_along_is_none_the_less_one() {
    let server = Server::new(|_| Vec::new());
    assert_eq!(tinysup(server.path(), &["shutdown"]).code, 0);
}

#[test]
fn what_a_newer_server_adds_is_no_harm() {
    let server = Server::new(|_| {
        vec![Does::Sends(b"{\"verdict\":{\"ok\":true,\"text\":\"well\",\"colour\":\"blue\"}}\n")]
    });
    let said = tinysup(server.path(), &["wait", "db", "--for", "ready"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "well\n"));
    let request = server.request();
    assert_eq!((request.state, request.timeout_ms), (Some(Wanted::Ready), Some(30_000)));
}
