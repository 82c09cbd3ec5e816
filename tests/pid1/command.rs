//! One command, with tinysup as its init: nothing of it changes, and nothing is said.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::container::{End, Setup};
use crate::services::{service, witness_path};
use crate::signals::{KEPT, WAYS, name};
use crate::terminal::Terminal;
use crate::{launch, proc, root};

/// tinysup with these words, where `WITNESS` is its path.
pub fn command(words: &[&str]) -> Setup {
    let witness = witness_path().to_string_lossy();
    let words: Vec<String> = words.iter().map(|word| word.replace("WITNESS", &witness)).collect();
    Setup::command(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

#[track_caller]
pub fn silent(end: &End, code: i32, stdout: &[&str]) {
    assert_eq!(end.stdout, stdout, "{end:#?}");
    assert_eq!((end.code, end.stderr.len()), (code, 0), "{end:#?}");
}

#[test]
fn its_code_is_ours_and_nothing_is_said() {
    if !root() {
        return;
    }
    for (script, code) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 77", 77),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("ulimit -c 0; kill -SEGV $$", 139),
        // What it leaves behind is not waited for long, and not talked about.
        ("sleep 1000 & exit 3", 3),
        ("(exit 99 &); sleep 0.05; exit 4", 4),
    ] {
        for place in [|setup: Setup| setup, Setup::not_pid1] {
            let end = place(command(&["sh", "-c", &format!("echo run; {script}")])).start().finish();
            silent(&end, code, &["run"]);
            assert!(end.left.is_empty() && end.ran < Duration::from_secs(10), "{end:#?}");
        }
    }
    let end = command(&["-e", "143", "-e", "7", "--", "sh", "-c", "kill -TERM $$"]).start().finish();
    silent(&end, 0, &[]);
    let end = command(&["-s", "-e7", "sh", "-c", "exit 8"]).start().finish();
    silent(&end, 8, &[]);
}

#[test]
fn a_verb_that_is_a_program_is_run_where_nobody_can_be_asked() {
    if !root() {
        return;
    }
    silent(&command(&["ls", "-d", "/"]).start().finish(), 0, &["/"]);
    // In a container that runs there may be somebody.
    let end = command(&["ls", "-d", "/"]).not_pid1().start().finish();
    assert!(end.code == 64 && end.stdout.is_empty(), "{end:#?}");
    let end = command(&["events"]).start().finish();
    assert!(
        end.code == 69 && end.stderr.iter().any(|line| line.contains("docker exec CONTAINER")),
        "{end:#?}"
    );
}

#[test]
fn a_slip_in_a_verb_is_seen() {
    if !root() {
        return;
    }
    for (word, hint) in [
        ("statsu", Some("tinysup: there is no verb \"statsu\" either; did you mean \"status\"?")),
        ("xyzzy", None),
        ("./statsu", None),
    ] {
        let end = command(&[word]).start().finish();
        assert!(end.code == 127 && end.stderr[0].contains(&format!("cannot start: \"{word}\"")), "{end:#?}");
        assert_eq!(end.stderr.get(1).map(String::as_str), hint, "{end:#?}");
    }
    let end = command(&["--", "status"]).start().finish();
    assert!(end.code == 127 && end.stderr[1] == "tinysup: the verb is: tinysup status", "{end:#?}");
    let end = command(&["sh", "-c", "exit 127"]).start().finish();
    silent(&end, 127, &[]);
}

#[test]
fn it_gets_every_signal_once() {
    if !root() {
        return;
    }
    for (way, first) in WAYS {
        let passed = |number: &i32| !KEPT.contains(number) && !(34..first).contains(number);
        let signals: Vec<i32> = (1..=64).filter(passed).collect();
        let words = ["WITNESS", "count", &signals.len().to_string(), "exit", "5"];
        let container = way(command(&words)).start();
        container.wait_for("waiting");
        let mut expected = vec!["waiting".to_owned()];
        for number in signals {
            container.signal(number);
            let got = format!("got {}", name(number));
            container.until("it is there", || container.lines().contains(&got));
            expected.push(got);
        }
        let end = container.finish();
        assert_eq!((end.code, end.stdout, end.stderr.len()), (5, expected, 0));
    }
    // With a signalfd also what handlers cannot tell from our own doing, and what the C library keeps for itself.
    let container = command(&["WITNESS", "count", "3", "die", "33"]).start();
    container.wait_for("waiting");
    for number in [libc::SIGPIPE, libc::SIGTTIN, libc::SIGTTOU] {
        container.signal(number);
        container.wait_for(&format!("got {}", name(number)));
    }
    container.finish().code(128 + 33);
    for number in [32, 33] {
        let container = command(&["sh", "-c", "echo ready; read forever"]).stdin(Some(open_pipe())).start();
        container.wait_for("ready");
        container.signal(number);
        container.finish().code(128 + number);
    }
}

#[test]
fn it_decides_itself_about_its_end() {
    if !root() {
        return;
    }
    let stubborn = "trap 'echo no' TERM; echo ready; while :; do sleep 0.02; done";
    let container = command(&["sh", "-c", stubborn]).start();
    container.wait_for("ready");
    container.signal(libc::SIGTERM);
    container.wait_for("no");
    container.signal(libc::SIGTERM);
    container.wait_for_nth("no", 2);
    container.signal(libc::SIGINT);
    let end = container.finish();
    assert_eq!(end.code, 130, "{end:#?}");
    // Unless a deadline was asked for, which begins with the signal.
    let container = command(&["--kill-timeout", "150ms", "sh", "-c", stubborn]).start();
    container.wait_for("ready");
    let end = container.stop();
    end.code(137);
    assert!(end.waited >= Duration::from_millis(150) && end.waited < Duration::from_secs(5), "{end:#?}");
}

#[test]
fn its_group_is_signalled_only_on_request() {
    if !root() {
        return;
    }
    let script = "trap 'echo shell' USR1; WITNESS wait & while :; do sleep 0.01; done";
    for (options, group) in [(&[][..], false), (&["-g"], true)] {
        let words = [options, &["sh", "-c", script]].concat();
        let container = command(&words).start();
        container.wait_for("waiting");
        container.signal(libc::SIGUSR1);
        container.wait_for("shell");
        if group {
            container.wait_for("got SIGUSR1");
        }
        container.signal(libc::SIGKILL);
        let end = container.finish();
        assert_eq!(end.stdout.contains(&"got SIGUSR1".to_owned()), group, "{end:#?}");
    }
}

#[test]
fn it_finds_what_it_would_find_without_an_init() {
    if !root() {
        return;
    }
    // USR2 ignored and RTMIN+1 blocked, as somebody may have wanted it.
    let mask = 1 << (libc::SIGUSR2 - 1);
    let setup = command(&["cat", "/proc/self/status"]).before(move || {
        launch::ignore(libc::SIGUSR2);
        launch::set_mask(1 << 34);
        Ok(())
    });
    let end = setup.start().finish();
    end.code(0);
    let field = |name: &str| {
        let line = end.stdout.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        u64::from_str_radix(line.expect(name), 16).expect("a mask")
    };
    assert_eq!((field("SigIgn"), field("SigBlk"), field("SigCgt")), (mask, 1 << 34, 0), "{end:#?}");
    let end =
        command(&["sh", "-c", "cat; env"]).stdin(Some(text("from outside\n"))).env("A", "b").start().finish();
    assert!(
        end.stdout.contains(&"from outside".to_owned()) && end.stdout.contains(&"A=b".to_owned()),
        "{end:#?}"
    );
    assert!(!end.stdout.iter().any(|line| line.starts_with("TINYSUP_")), "{end:#?}");
}

#[test]
fn a_terminal_is_its_own() {
    if !root() {
        return;
    }
    let mut terminal = Terminal::new(command(&["WITNESS", "status", "count", "2", "exit", "6"]));
    terminal.read_until("waiting");
    assert!(terminal.text.contains("terminal [0 1 2] foreground true"), "{}", terminal.text);
    terminal.type_in("\x03");
    terminal.read_until("got SIGINT");
    terminal.resize();
    terminal.read_until("got SIGWINCH");
    // Had a signal come twice, it would have ended before.
    let end = terminal.container.finish();
    end.code(6);
    assert_eq!(terminal.text.matches("got SIGINT").count(), 1, "{}", terminal.text);
}

#[test]
fn a_shell_at_a_terminal_is_a_shell() {
    if !root() {
        return;
    }
    let mut terminal = Terminal::new(command(&["sh", "-i"]));
    terminal.type_in("echo o''k\n");
    terminal.read_until("ok\r\n");
    // Job control: a stopped job, the shell again, the job again.
    terminal.type_in("WITNESS=1; cat\n");
    terminal.container.until("cat runs", || terminal.container.living().iter().any(|p| p.command == "cat"));
    terminal.type_in("\x1a");
    terminal.read_until("Stopped");
    terminal.type_in("kill %1; exit 7\nexit 7\n");
    let end = terminal.container.finish();
    end.code(7);
    assert!(!terminal.text.contains("tinysup | "), "{}", terminal.text);
    assert!(!terminal.text.contains("job control"), "the shell complains: {}", terminal.text);
}

/// Nobody in the container could continue what a key has stopped; without an init the kernel would not have let it.
#[test]
fn ctrl_z_does_not_end_the_conversation() {
    if !root() {
        return;
    }
    // Without a child, which would be stopped half made while the shell waits for it.
    let script = "trap 'echo continued' CONT; echo ready; while :; do read line; done";
    let config = service("other", "[\"sleep\", \"1000\"]", "");
    let beside = Setup::services(&config).arg("run").arg("--").arg("sh").arg("-c").arg(script);
    for setup in [command(&["sh", "-c", script]), beside] {
        let mut terminal = Terminal::new(setup);
        terminal.read_until("ready");
        for _ in 0..3 {
            terminal.type_in("\x1a");
            terminal.read_until("continued");
        }
        terminal.container.stop();
    }
}

/// A SIGSTOP is meant.
#[test]
fn suspended_and_continued() {
    if !root() {
        return;
    }
    let script = "echo ready; read line; echo \"read $line\"; exit 9";
    let mut terminal = Terminal::new(command(&["sh", "-c", script]));
    terminal.read_until("ready");
    let shell = terminal.container.process("sh -c").pid;
    assert!(launch::kill(shell, libc::SIGSTOP), "it is there");
    terminal.container.until("it is stopped", || proc::of(shell).is_some_and(|process| process.state == 'T'));
    terminal.container.signal(libc::SIGCONT);
    terminal.container.until("it goes on", || proc::of(shell).is_some_and(|process| process.state != 'T'));
    terminal.type_in("words\n");
    terminal.read_until("read words");
    terminal.container.finish().code(9);
}

#[test]
fn a_lost_terminal_is_told_to_the_command() {
    if !root() {
        return;
    }
    let script = "trap 'exit 5' HUP; echo ready; while :; do sleep 0.02; done";
    let mut terminal = Terminal::new(command(&["sh", "-c", script]));
    terminal.read_until("ready");
    let Terminal { container, master, .. } = terminal;
    drop(master);
    container.finish().code(5);
}

/// A pipe that nobody writes to and that never ends: its other end stays here.
fn open_pipe() -> OwnedFd {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    std::mem::forget(writer);
    reader.into()
}

/// A pipe with this in it, and nobody to write more.
fn text(text: &str) -> OwnedFd {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(text.as_bytes()).expect("room");
    reader.into()
}
