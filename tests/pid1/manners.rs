//! The init of one command under the names it may be called by, and what its options make of it.

use std::time::Duration;

use crate::command::{command, silent};
use crate::container::{Container, End, Out, Setup};
use crate::services::witness_path;
use crate::terminal::Terminal;
use crate::{launch, proc, root};

const WARNING: &str = "zombie reaping won't work";

#[test]
fn a_failed_start_has_the_code_and_the_form_of_the_name() {
    if !root() {
        return;
    }
    for (name, words, code, line) in [
        ("tini", &["nosuch"][..], 127, "[FATAL tini (1)] exec nosuch failed: No such file or directory"),
        ("tini", &["/etc"], 126, "[FATAL tini (1)] exec /etc failed: Permission denied"),
        (
            "tini",
            &["-e", "127", "nosuch"],
            0,
            "[FATAL tini (1)] exec nosuch failed: No such file or directory",
        ),
        ("dumb-init", &["/no/such"], 2, "[dumb-init] /no/such: No such file or directory"),
        ("dumb-init", &["-c", "/etc"], 2, "[dumb-init] /etc: Permission denied"),
        (
            "catatonit",
            &["nosuch"],
            1,
            "ERROR (catatonit:1): failed to exec pid1: nosuch: No such file or directory",
        ),
        ("init", &["nosuch"], 127, "tinysup | nosuch: cannot start: \"nosuch\" is not in PATH"),
    ] {
        let end = command(words).called(name).start().finish();
        assert_eq!((end.code, end.stdout.len()), (code, 0), "{name} {words:?}: {end:#?}");
        assert!(end.stderr[0].starts_with(line), "{name} {words:?}: {end:#?}");
    }
}

#[test]
fn each_name_runs_its_command_in_silence() {
    if !root() {
        return;
    }
    for name in ["tini", "docker-init", "dumb-init", "catatonit", "tinysup"] {
        let words = ["--", "sh", "-c", "sleep 1000 & echo run; exit 3"];
        silent(&command(&words).called(name).start().finish(), 3, &["run"]);
    }
}

#[test]
fn where_orphans_go() {
    if !root() {
        return;
    }
    for (name, options, adopted) in [
        ("tini", &[][..], false),
        ("tini", &["-s"], true),
        ("dumb-init", &[], true),
        ("catatonit", &[], true),
        ("tinysup", &[], true),
    ] {
        let words = [options, &["sh", "-c", "(sleep 1234 &); read end < $DIR/gate"]].concat();
        let setup = command(&words).called(name).not_pid1();
        setup.folder().gate("gate");
        let container = setup.start();
        let orphan = || container.living().into_iter().find(|process| process.command == "sleep 1234");
        // Its first parent is a shell.
        let parent = || orphan().map(|orphan| orphan.parent).filter(|pid| !is_shell(*pid));
        container.until("it is an orphan", || parent().is_some());
        assert_eq!(parent() == Some(container.pid()), adopted, "{name} {options:?}");
        container.folder().go("gate");
        let end = container.finish();
        let warned = end.stderr.iter().any(|line| line.contains(WARNING));
        assert_eq!((warned, end.stderr.len()), (!adopted, usize::from(!adopted)), "{end:#?}");
    }
}

fn is_shell(pid: i32) -> bool {
    proc::of(pid).is_none_or(|process| process.command.starts_with("sh "))
}

#[test]
fn a_session_is_stopped_and_continued_as_one() {
    if !root() {
        return;
    }
    let container = command(&["WITNESS", "status", "count", "1", "wait"]).called("dumb-init").start();
    container.wait_for("session-leader true");
    container.wait_for("waiting");
    let witness = container.process("witness").pid;
    for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        container.signal(signal);
        container.until("it stops", || proc::of(witness).is_some_and(|process| process.state == 'T'));
        container.signal(libc::SIGCONT);
        container.until("it goes on", || proc::of(witness).is_some_and(|process| process.state != 'T'));
    }
    container.wait_for("got SIGCONT");
    let end = container.stop();
    end.code(0);
}

#[test]
fn as_a_child_it_stops_itself_too() {
    if !root() {
        return;
    }
    for options in [&[][..], &["-c"]] {
        let words = [options, &["WITNESS", "wait"]].concat();
        let container = command(&words).called("dumb-init").not_pid1().start();
        container.wait_for("waiting");
        container.signal(libc::SIGTSTP);
        container.until("it stops", || proc::of(container.pid()).is_some_and(|process| process.state == 'T'));
        container.signal(libc::SIGCONT);
        container.wait_for("got SIGCONT");
        container.stop().code(0);
    }
}

#[test]
fn signals_are_rewritten() {
    if !root() {
        return;
    }
    for (name, options, sent, got) in [
        ("dumb-init", &["-r", "15:2", "--rewrite=10:0"][..], libc::SIGTERM, "SIGINT"),
        ("dumb-init", &["-r", "20:1", "-r", "10:0"], libc::SIGTSTP, "SIGHUP"),
        ("tinysup", &["--rewrite", "TERM:QUIT", "-r", "USR1:0"], libc::SIGTERM, "SIGQUIT"),
        ("tini", &["--rewrite", "RTMIN+5:SIGWINCH", "--rewrite", "10:0"], 34 + 5, "SIGWINCH"),
    ] {
        let words = [options, &["WITNESS", "wait"]].concat();
        let container = command(&words).called(name).start();
        container.wait_for("waiting");
        container.signal(libc::SIGUSR1);
        container.signal(sent);
        let line = container.wait_for("got ");
        assert_eq!(line, format!("got {got}"), "{name} {options:?}");
    }
}

/// A command that leaves three behind: one in its group and one in another session, which both note that they were asked to
/// end, and one that does not heed it. Who noted it.
fn left_behind(options: &[&str], change: impl Fn(Setup) -> Setup) -> (bool, bool, End) {
    let setup = change(command(&[options, &["sh", "-c", "exec sh $DIR/script"]].concat()));
    let notes = |name: &str| {
        format!("trap 'touch $DIR/{name}; exit' TERM; touch $DIR/{name}.up; while :; do sleep 0.01; done")
    };
    for (name, script) in [
        ("1", notes("group")),
        ("2", notes("session")),
        ("3", "trap '' TERM; touch $DIR/stubborn.up; while :; do sleep 0.01; done".to_owned()),
    ] {
        setup.folder().file(name, script);
    }
    let start = "sh $DIR/1 & setsid sh $DIR/2 & setsid sh $DIR/3 &\n";
    let wait = "until [ -e $DIR/group.up ] && [ -e $DIR/session.up ] && [ -e $DIR/stubborn.up ]; do sleep 0.01; done\nexit 4\n";
    setup.folder().file("script", [start, wait].concat());
    let folder = setup.folder().path().to_owned();
    let container = setup.stdout(nowhere()).stderr(nowhere()).start();
    container.until("its end", || proc::of(container.pid()).is_none_or(|process| process.state == 'Z'));
    let asked = |name: &str| folder.join(name).exists();
    let (group, session) = (asked("group"), asked("session"));
    (group, session, container.finish())
}

fn nowhere() -> Out {
    let [stdout, ..] = launch::nowhere();
    stdout.map_or(Out::Closed, Out::To)
}

#[test]
fn who_outlives_the_command_is_asked_and_then_killed() {
    if !root() {
        return;
    }
    for place in [|setup: Setup| setup, Setup::not_pid1] {
        let (group, session, end) = left_behind(&[], place);
        end.code(4);
        assert!(group && session && end.left.is_empty() && end.ran >= Duration::from_secs(1), "{end:#?}");
        let (group, session, end) =
            left_behind(&["-s", "--grace", "1s"], |setup| place(setup.called("tini")));
        end.code(4);
        assert!(group && session && end.left.is_empty(), "{end:#?}");
    }
    let (group, session, end) =
        left_behind(&[], |setup| setup.called("docker-init").env("TINYSUP_GRACE", "1s"));
    end.code(4);
    assert!(group && session, "{end:#?}");
}

#[test]
fn who_outlives_the_command_is_left_where_that_is_the_custom() {
    if !root() {
        return;
    }
    for (name, options) in [("tinysup", &["--grace", "0"][..]), ("tini", &["-s"]), ("catatonit", &[])] {
        let (group, session, end) = left_behind(options, |setup| setup.called(name).not_pid1());
        end.code(4);
        assert_eq!((group, session), (false, false), "{name}");
        assert!(end.left.len() >= 3, "{end:#?}");
    }
    // Its group is asked, and it is gone before anybody could answer.
    let (_, session, end) = left_behind(&[], |setup| setup.called("dumb-init").not_pid1());
    end.code(4);
    assert!(!session && end.left.len() >= 2, "{end:#?}");
}

#[test]
fn every_process_gets_the_signal_on_request() {
    if !root() {
        return;
    }
    let script = "WITNESS wait & setsid WITNESS wait & wait; wait; exit 0";
    for place in [|setup: Setup| setup, Setup::not_pid1] {
        let container =
            place(command(&["--all", "sh", "-c", &format!("trap : USR1 TERM; {script}")])).start();
        container.wait_for_nth("waiting", 2);
        container.signal(libc::SIGUSR1);
        container.wait_for_nth("got SIGUSR1", 2);
        container.signal(libc::SIGTERM);
        container.wait_for_nth("got SIGTERM", 2);
        container.finish();
    }
}

#[test]
fn an_init_of_nothing_waits_and_reaps() {
    if !root() {
        return;
    }
    for (name, word) in [("catatonit", "-P"), ("tinysup", "pause")] {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let container = command(&[word]).called(name).start();
            let inside = container.exec(&["/bin/sh", "-c", "(sleep 0.01 &); exit 5"]);
            assert_eq!(inside.wait(), 5);
            container.until("nobody is left", || container.processes().len() == 1);
            container.signal(libc::SIGHUP);
            container.signal(signal);
            silent(&container.finish(), 0, &[]);
        }
    }
}

#[test]
fn nothing_is_held() {
    if !root() {
        return;
    }
    let setup = command(&["sh", "-c", "echo \"listens $LISTEN_PID $$\"; pwd; echo /proc/self/fd/*; cat"]);
    let folder = setup.folder().path().to_owned();
    let home = folder.clone();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let container = setup
        .stdin(Some(reader.into()))
        .env("LISTEN_PID", "1")
        .before(move || {
            std::env::set_current_dir(&home)?;
            launch::duplicate(0, 3)?;
            launch::duplicate(0, 50)
        })
        .start();
    container.wait_for("listens 2 2");
    container.wait_for(&folder.to_string_lossy());
    container.wait_for("/proc/self/fd/3");
    let seen = |what: &str| std::fs::read_link(format!("/proc/{}/{what}", container.pid()));
    assert_eq!(seen("cwd").expect("its directory"), std::path::Path::new("/"));
    container.until("descriptors are closed", || seen("fd/50").is_err());
    let above = || {
        let ours = std::fs::read_dir(format!("/proc/{}/fd", container.pid())).expect("its descriptors");
        let numbers = ours.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(|number: &i32| *number > 2).count()
    };
    container.until("only that for signals is left", || above() == 1);
    drop(writer);
    container.finish().code(0);
    // Somebody else's stays as it is.
    let end = command(&["sh", "-c", "echo $LISTEN_PID"]).env("LISTEN_PID", "11").start().finish();
    silent(&end, 0, &["11"]);
}

#[test]
fn a_closed_standard_input_stays_closed() {
    if !root() {
        return;
    }
    for name in ["tinysup", "tini", "dumb-init", "catatonit"] {
        let end = command(&["sh", "-c", "[ -e /proc/$$/fd/0 ] && echo open; exit 4"])
            .called(name)
            .stdin(None)
            .start();
        silent(&end.finish(), 4, &[]);
    }
}

#[test]
fn the_death_of_the_parent_is_a_signal() {
    if !root() {
        return;
    }
    // A parent that makes it and ends when it is told to.
    let script = "($TINYSUP -p USR1 -- $W count 1 append $DIR/told yes & read go < $DIR/gate)
                  until [ -e $DIR/told ]; do :; done";
    let setup =
        command(&["sh", "-c", script]).env("TINYSUP", crate::container::tinysup()).env("W", witness_path());
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("waiting");
    container.folder().go("gate");
    container.wait_for("got SIGUSR1");
    container.finish().code(0);
}

#[test]
fn each_reaped_orphan_is_told_on_request() {
    if !root() {
        return;
    }
    for (name, line) in
        [("tini", "Reaped zombie process with pid="), ("tinysup", "tinysup | reaped orphan pid ")]
    {
        // It ends as an orphan; as long as it is not collected, there is somebody to signal.
        let script = "(sh -c 'read go < $DIR/gate' & echo $! > $DIR/pid); echo go > $DIR/gate
                      while kill -0 $(cat $DIR/pid) 2>/dev/null; do :; done; exit 2";
        let setup = command(&["-w", "sh", "-c", script]).called(name);
        setup.folder().gate("gate");
        let end = setup.start().finish();
        end.code(2);
        assert!(!end.stderr.is_empty(), "{end:#?}");
        assert!(end.stderr.iter().all(|said| said.contains(line)), "{end:#?}");
    }
}

#[test]
fn a_session_has_the_terminal() {
    if !root() {
        return;
    }
    let words = ["WITNESS", "status", "count", "1", "exit", "6"];
    let mut terminal = Terminal::new(command(&words).called("dumb-init"));
    terminal.read_until("waiting");
    assert!(terminal.text.contains("session-leader true"), "{}", terminal.text);
    assert!(terminal.text.contains("foreground true"), "{}", terminal.text);
    terminal.type_in("\x03");
    terminal.read_until("got SIG");
    let end = terminal.container.finish();
    end.code(6);
    assert!(terminal.text.contains("got SIGINT"), "no signal of the hand-over: {}", terminal.text);
}

#[test]
fn a_key_is_one_signal_under_every_name() {
    if !root() {
        return;
    }
    for (name, options) in
        [("dumb-init", &["-c"][..]), ("tini", &["-g"]), ("catatonit", &[]), ("tinysup", &["-g"])]
    {
        let words = [options, &["WITNESS", "count", "2", "exit", "6"]].concat();
        let mut terminal = Terminal::new(command(&words).called(name));
        terminal.read_until("waiting");
        terminal.type_in("\x03");
        terminal.read_until("got SIGINT");
        terminal.type_in("\x1c");
        terminal.read_until("got SIGQUIT");
        terminal.container.finish().code(6);
        assert_eq!(terminal.text.matches("got ").count(), 2, "{name}: {}", terminal.text);
    }
}

#[test]
fn job_control_works_under_every_name() {
    if !root() {
        return;
    }
    for name in ["dumb-init", "tini", "catatonit", "tinysup"] {
        let mut terminal = Terminal::new(command(&["sh", "-i"]).called(name));
        terminal.type_in("cat\n");
        terminal.container.until("cat runs", || cat(&terminal.container).is_some());
        terminal.type_in("\x1a");
        terminal.read_until("Stopped");
        terminal.type_in("kill %1; exit 7\nexit 7\n");
        terminal.container.finish().code(7);
        assert!(!terminal.text.contains("job control"), "{name}: {}", terminal.text);
    }
}

fn cat(container: &Container) -> Option<i32> {
    container.living().into_iter().find(|process| process.command == "cat").map(|process| process.pid)
}
