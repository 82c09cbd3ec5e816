//! How the child starts: as it would without an init, and what the init keeps of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::{env, io};

use crate::container::{Container, Out, Setup, set_mode};
use crate::expected::{all, ours};
use crate::programs::Program;
use crate::signals::{settle, witnesses_in};
use crate::{Case, launch, proc};

const SAME: &str = "the same";
const STAYS: &str = "where it was started";

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let why_same = "The child starts as without an init, whatever was inherited on purpose (nohup, a masked signal)";
    vec![
        Case {
            name: "start::blocked_signals",
            what: "signals that are blocked at the start",
            expected: all(SAME).dumb_init("none").catatonit("also TSTP TTIN TTOU"), why: why_same,
            observe: |program| signal_sets(program, true, "SigBlk"),
        },
        Case {
            name: "start::no_blocked_signals",
            what: "none that is blocked at the start",
            expected: all(SAME).catatonit("also TSTP TTIN TTOU"), why: "As above",
            observe: |program| signal_sets(program, false, "SigBlk"),
        },
        Case {
            name: "start::ignored_signals",
            what: "signals that are ignored at the start (nohup)",
            expected: all(SAME).dumb_init("all but HUP QUIT USR2 PIPE CHLD TTOU"), why: "As above",
            observe: |program| signal_sets(program, true, "SigIgn"),
        },
        Case {
            name: "start::no_ignored_signals",
            what: "none that is ignored at the start",
            expected: all(SAME), why: "",
            observe: |program| signal_sets(program, false, "SigIgn"),
        },
        Case {
            name: "start::arguments",
            what: "arguments: no UTF-8, empty, dashes",
            expected: all(SAME), why: "",
            observe: |program| compare(program, &["cmdline"]),
        },
        Case {
            name: "start::environment",
            what: "the environment: no UTF-8, empty values, a name that is there twice, the init's own variables, its order",
            expected: all(SAME), why: "",
            observe: |program| compare(program, &["environ"]),
        },
        Case {
            name: "start::attributes",
            what: "umask, niceness, limits, groups, timer slack, OOM score, capabilities, root",
            expected: all(SAME), why: "",
            observe: |program| compare(program, &ATTRIBUTES),
        },
        Case {
            name: "start::group_and_session",
            what: "the child's process group and session",
            expected: all("own group").dumb_init("own session").as_dumb_init("own session"),
            why: "As dumb-init under its name; a group of its own is enough for the terminal, and keeps job control of whoever is above",
            observe: group,
        },
        Case {
            name: "start::without_path",
            what: "no variable at all, and a program without a path",
            expected: all("found"), why: "",
            observe: |program| match program.run(&["sh", "-c", "exit 7"]).no_env().start().finish().code { 7 => "found".to_owned(), code => code.to_string() },
        },
        Case {
            name: "start::listen_pid",
            what: "LISTEN_PID is the init's pid (socket activation)",
            expected: all("the child's").tini("the init's").dumb_init("the init's"),
            why: "The sockets are for the child, which checks that variable",
            observe: |program| listen_pid(program, "1"),
        },
        Case {
            name: "start::listen_pid_of_another",
            what: "LISTEN_PID is somebody else's pid",
            expected: all(SAME), why: "",
            observe: |program| listen_pid(program, "999"),
        },
        Case {
            name: "start::descriptors",
            what: "descriptors 205 and 209 are open at the start: what the child has",
            expected: all("0 1 2 205 209"), why: "",
            observe: |program| descriptors(program).0,
        },
        Case {
            name: "start::descriptors_kept",
            what: "descriptors 205 and 209 are open at the start: what the init keeps of them",
            expected: ours("nothing").tini("205 209").dumb_init("205 209").catatonit("nothing"),
            why: "What an init keeps open can never be closed: a pipe's end, a file system that cannot be unmounted",
            observe: |program| descriptors(program).1,
        },
        Case {
            name: "start::directory",
            what: "the working directory of the child",
            expected: all(SAME), why: "",
            observe: |program| directories(program, false).0,
        },
        Case {
            name: "start::directory_kept",
            what: "the working directory of the init",
            expected: ours("/").tini(STAYS).dumb_init("/").catatonit(STAYS),
            why: "As above: a file system in use cannot be unmounted",
            observe: |program| directories(program, false).1,
        },
        Case {
            name: "start::directory_closed_to_us",
            what: "a working directory that this user may not enter (docker run -w -u)",
            expected: all(SAME), why: "",
            observe: |program| directories(program, true).0,
        },
        Case {
            name: "start::closed_stdin",
            what: "standard input is closed",
            expected: all("child has 1 2").tini("ends with 1"),
            why: "A closed input is no reason not to start",
            observe: |program| closed(program, [true, false, false]),
        },
        Case {
            name: "start::closed_stdout",
            what: "standard output is closed",
            expected: all("child has 0 2"), why: "",
            observe: |program| closed(program, [false, true, false]),
        },
        Case {
            name: "start::closed_stderr",
            what: "standard error is closed",
            expected: all("child has 0 1"), why: "",
            observe: |program| closed(program, [false, false, true]),
        },
        Case {
            name: "start::all_closed",
            what: "all three are closed",
            expected: all("child has none").tini("ends with 1"), why: "As above",
            observe: |program| closed(program, [true, true, true]),
        },
    ]
}

const SLEEP: &str = "/bin/sleep 1000";

/// Waits until a process of that command line runs, and says its pid.
fn running(container: &Container, command: &str) -> i32 {
    let mut found = None;
    container.until("the child runs", || {
        let mut processes = container.processes().into_iter();
        found = processes.find(|process| process.command == command).map(|process| process.pid);
        found.is_some()
    });
    found.expect("found")
}

fn sleeping(setup: Setup) -> (Container, i32) {
    let container = setup.start();
    let child = running(&container, SLEEP);
    settle(&container);
    (container, child)
}

/// Waits for a witness that says nothing; none: all has ended. It is static, so no loader has files open by then.
fn waiting(container: &Container) -> Option<i32> {
    let mut child = None;
    container.until("the child waits, or nothing runs", || {
        child = witnesses_in(container).into_iter().find(|pid| proc::settled(*pid));
        child.is_some() || proc::ended(container.pid())
    });
    child
}

fn set(pid: i32, field: &str) -> u64 {
    let status = proc::status(pid).expect("it runs");
    let (_, value) = status.iter().find(|(name, _)| name == field).expect("a known field");
    u64::from_str_radix(value, 16).expect("a mask")
}

fn names(set: u64) -> String {
    let bits = (1..=64).filter(|signal| set & 1 << (signal - 1) != 0);
    bits.map(|signal| crate::witness::name(signal).trim_start_matches("SIG").to_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Compares one set of signals with what was there at the start.
fn signal_sets(program: &Program, peculiar: bool, field: &str) -> String {
    const BLOCKED: u64 = 1 << (libc::SIGUSR1 - 1) | 1 << (libc::SIGPIPE - 1) | 1 << 34;
    const IGNORED: [i32; 7] =
        [libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE, libc::SIGCHLD, libc::SIGTTOU, libc::SIGUSR2, 40];
    // With SIGCHLD ignored, some never end; that is another case.
    let ignored: Vec<i32> =
        IGNORED.into_iter().filter(|signal| field == "SigIgn" || *signal != libc::SIGCHLD).collect();
    let mut setup = program.run(&["/bin/sleep", "1000"]);
    let mut expected = 0;
    if peculiar {
        expected =
            if field == "SigBlk" { BLOCKED } else { ignored.iter().fold(0, |set, n| set | 1 << (n - 1)) };
        setup = setup.before(move || {
            for signal in &ignored {
                launch::ignore(*signal);
            }
            launch::set_mask(BLOCKED);
            Ok(())
        });
    }
    let (_container, child) = sleeping(setup);
    let observed = set(child, field);
    let (more, less) = (observed & !expected, expected & !observed);
    match (more, less) {
        (0, 0) => SAME.to_owned(),
        (0, _) if observed == 0 => "none".to_owned(),
        (0, _) => format!("all but {}", names(less)),
        (_, 0) => format!("also {}", names(more)),
        (..) => format!("also {}, all but {}", names(more), names(less)),
    }
}

const ATTRIBUTES: [&str; 13] = [
    "limits",
    "oom_score_adj",
    "timerslack_ns",
    "coredump_filter",
    "root",
    "nice",
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "CapEff",
    "CapBnd",
    "NoNewPrivs",
];

/// What a child has under a program and without one; the names of what differs.
fn compare(program: &Program, wanted: &[&str]) -> String {
    let odd = OsStr::from_bytes(b"\xff\xfe\x01");
    let peculiar = |setup: Setup| {
        setup
            .arg("1000")
            .env("DIR", "/the/same/for/both")
            .env("ODD", odd)
            .env("EMPTY", "")
            .env("A=TWICE", "first")
            .env("A=TWICE=", "second")
            .env("TINI_VERBOSITY", "0")
            .env("TINI_KILL_PROCESS_GROUP", "")
            .env("DUMB_INIT_SETSID", "0")
            .env("TINYSUP_LOG", "error")
            .before(launch::be_peculiar)
    };
    let words: [&OsStr; 5] = [odd, "".as_ref(), "-v".as_ref(), "--".as_ref(), "-".as_ref()];
    let script = "while :; do sleep 1000; done";
    let with_words = |setup: Setup| words.iter().fold(setup, Setup::arg);
    let under = with_words(program.run(&["/bin/sh", "-c", script]));
    let alone = with_words(Setup::program("/bin/sh", &["-c", script]));
    let mut facts = Vec::new();
    for setup in [under, alone] {
        let container = peculiar(setup).start();
        // The shell has started its loop, and so is what it will be.
        running(&container, "sleep 1000");
        let shell = container.processes().into_iter().find(|process| process.command.starts_with("/bin/sh"));
        facts.push(known(shell.expect("the shell").pid));
    }
    let differ: Vec<&str> =
        wanted.iter().filter(|name| facts[0].get(**name) != facts[1].get(**name)).copied().collect();
    assert!(wanted.iter().all(|name| facts[1].contains_key(*name)), "unknown: {wanted:?}");
    if differ.is_empty() { SAME.to_owned() } else { format!("other {}", differ.join(" ")) }
}

fn known(pid: i32) -> BTreeMap<String, Vec<u8>> {
    let mut facts: BTreeMap<String, Vec<u8>> = proc::status(pid)
        .expect("it runs")
        .into_iter()
        .map(|(name, value)| (name, value.into_bytes()))
        .collect();
    for file in ["limits", "oom_score_adj", "timerslack_ns", "coredump_filter", "cmdline", "environ"] {
        let content = fs::read(format!("/proc/{pid}/{file}")).expect("it runs");
        facts.insert(file.to_owned(), content);
    }
    let root = fs::read_link(format!("/proc/{pid}/root")).expect("it runs");
    facts.insert("root".to_owned(), root.into_os_string().into_encoded_bytes());
    facts.insert("nice".to_owned(), proc::nice(pid).to_string().into_bytes());
    facts
}

fn group(program: &Program) -> String {
    let end = program.run(&["WITNESS", "status"]).start().finish();
    let line = end.stdout.first().cloned().unwrap_or_default();
    let word = |name: &str| line.contains(&format!(" {name} true"));
    match (word("leader"), word("session-leader")) {
        (_, true) => "own session",
        (true, false) => "own group",
        (false, false) => "the init's",
    }
    .to_owned()
}

fn listen_pid(program: &Program, pid: &str) -> String {
    let setup = program.run(&["WITNESS", "env", "LISTEN_PID", "status"]);
    let end = setup.env("LISTEN_PID", pid).env("LISTEN_FDS", "1").start().finish();
    let own = end.stdout.get(1).and_then(|line| line.split(' ').nth(1)).expect("its pid");
    let told = end.stdout[0].strip_prefix("LISTEN_PID=").expect("the variable");
    if told == own {
        "the child's".to_owned()
    } else if told == pid && pid == "1" {
        "the init's".to_owned()
    } else if told == pid {
        SAME.to_owned()
    } else {
        told.to_owned()
    }
}

/// What the child has, and what the init keeps.
fn descriptors(program: &Program) -> (String, String) {
    let setup = program.run(&["WITNESS", "wait"]);
    let mark = setup.folder().file("mark", "");
    let path = mark.to_string_lossy().into_owned();
    let setup = setup.before(move || {
        let file = File::open(&mark)?;
        // Numbers that nothing of this test has, or the copy would change nothing.
        for number in [205, 209] {
            launch::duplicate(file.as_raw_fd(), number)?;
        }
        Ok(())
    });
    let container = setup.start();
    let child = waiting(&container).expect("it runs");
    settle(&container);
    let numbers = |pid, part: &str| {
        let open = proc::descriptors(pid);
        let wanted = open.iter().filter(|line| line.contains(part));
        wanted.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let kept = numbers(container.pid(), &path);
    (numbers(child, ""), if kept.is_empty() { "nothing".to_owned() } else { kept })
}

/// Where the child works, and where the init.
fn directories(program: &Program, closed: bool) -> (String, String) {
    let setup = program.run(&["/bin/sleep", "1000"]);
    let place = setup.folder().path().join("place");
    fs::create_dir(&place).expect("the folder is ours");
    set_mode(&place, if closed { 0o700 } else { 0o755 });
    let there = place.clone();
    let setup = setup.before(move || {
        env::set_current_dir(&there)?;
        if closed { launch::become_user(12345) } else { io::Result::Ok(()) }
    });
    let (container, child) = sleeping(setup);
    let of = |pid, there: &str| {
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).expect("it runs");
        if cwd == place { there.to_owned() } else { cwd.display().to_string() }
    };
    (of(child, SAME), of(container.pid(), STAYS))
}

fn closed(program: &Program, which: [bool; 3]) -> String {
    let mut setup = program.run(&["WITNESS", "wait"]);
    if which[0] {
        setup = setup.stdin(None);
    }
    if which[1] {
        setup = setup.stdout(Out::Closed);
    }
    if which[2] {
        setup = setup.stderr(Out::Closed);
    }
    let container = setup.start();
    let Some(child) = waiting(&container) else { return format!("ends with {}", container.finish().code) };
    let open = proc::descriptors(child);
    let numbers: Vec<&str> = open.iter().filter_map(|line| line.split(' ').next()).collect();
    format!("child has {}", if numbers.is_empty() { "none".to_owned() } else { numbers.join(" ") })
}
