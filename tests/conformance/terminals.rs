//! At a terminal, as `docker run -it` gives one: who is in the foreground, what the keys do, and how the terminal is left.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::container::{Out, Setup};
use crate::expected::{all, both_dumb_inits};
use crate::programs::Program;
use crate::signals::{PROBE, settle, witness_in};
use crate::terminal::Terminal;
use crate::witness::{name, witness_path};
use crate::{Case, launch, proc};

const ONCE: &str = "once";
const TWICE: &str = "twice";

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let why_once = "One key is one signal: the init is not in the foreground with its child";
    vec![
        Case {
            name: "terminals::foreground",
            what: "who has the terminal",
            expected: all("the child"), why: "",
            observe: foreground,
        },
        Case {
            name: "terminals::interrupt",
            what: "how often the child gets INT for one ctrl-C",
            expected: all(ONCE), why: "",
            observe: |program| key(program, &[], "\x03", libc::SIGINT),
        },
        Case {
            name: "terminals::interrupt_of_one_child",
            what: "how often it gets INT for one ctrl-C, with -c",
            expected: both_dumb_inits(ONCE).dumb_init(TWICE), why: why_once,
            observe: |program| key(program, &["-c"], "\x03", libc::SIGINT),
        },
        Case {
            name: "terminals::quit",
            what: "how often it gets QUIT for one ctrl-\\",
            expected: all(ONCE), why: "",
            observe: |program| key(program, &[], "\x1c", libc::SIGQUIT),
        },
        Case {
            name: "terminals::suspend_handled",
            what: "how often it gets TSTP for one ctrl-Z, which it handles",
            expected: all(ONCE), why: "",
            observe: |program| key(program, &[], "\x1a", libc::SIGTSTP),
        },
        Case {
            name: "terminals::window_size",
            what: "how often it gets WINCH for one change of the window's size",
            expected: all(ONCE), why: "",
            observe: |program| key(program, &[], "", libc::SIGWINCH),
        },
        Case {
            name: "terminals::window_size_of_one_child",
            what: "how often it gets WINCH for one change of the window's size, with -c",
            expected: both_dumb_inits(ONCE).dumb_init(TWICE), why: "As above",
            observe: |program| key(program, &["-c"], "", libc::SIGWINCH),
        },
        Case {
            name: "terminals::suspend",
            what: "ctrl-Z for a child that does not handle it",
            expected: all("nothing").tini("stops it"),
            why: "Nobody in the container could continue it. As PID 1 without an init it would not be stopped either",
            observe: suspend,
        },
        Case {
            name: "terminals::a_shell",
            what: "an interactive shell: ctrl-Z for its job, fg, its end",
            expected: all("job control").catatonit("ctrl-Z does nothing"),
            why: "catatonit starts its child with TSTP, TTIN and TTOU blocked",
            observe: shell,
        },
        Case {
            name: "terminals::started_in_the_background",
            what: "who has the terminal if a shell with job control starts the init in the background",
            expected: all("the shell").tini("the child").catatonit("the child"),
            why: "Who is in the background has no claim to the terminal",
            observe: background,
        },
        Case {
            name: "terminals::given_back",
            what: "who has the terminal after the end, if a shell without job control starts the init",
            expected: all("the shell").tini("nobody").catatonit("nobody"),
            why: "What was taken is given back",
            observe: given_back,
        },
        Case {
            name: "terminals::modes",
            what: "the modes of the terminal that the child has changed",
            expected: all("as the child left them"), why: "",
            observe: modes,
        },
        Case {
            name: "terminals::hangup",
            what: "how often the child gets HUP when the terminal goes away",
            expected: all(ONCE), why: "",
            observe: hangup,
        },
        Case {
            name: "terminals::of_the_output_only",
            what: "who has the terminal if standard input is something else",
            expected: all("the child").tini("the init").dumb_init("the init"),
            why: "The controlling terminal counts, not what standard input is",
            observe: output_only,
        },
    ]
}

const COUNT: [&str; 3] = ["WITNESS", "count", "100000"];

/// The witness at a terminal, ready for signals, and its pid.
fn counting(setup: Setup) -> (Terminal, i32) {
    let mut terminal = Terminal::new(setup);
    terminal.read_until("waiting");
    let child = witness_in(&terminal.container);
    (terminal, child)
}

/// Whose process group that is.
fn owner(terminal: &Terminal, child: i32) -> String {
    match launch::foreground(&terminal.master) {
        group if group == child => "the child",
        group if group == terminal.container.pid() => "the init",
        group if group > 0 && proc::of(group).is_some() => "somebody",
        _ => "nobody",
    }
    .to_owned()
}

fn foreground(program: &Program) -> String {
    let (terminal, child) = counting(program.run(&COUNT));
    owner(&terminal, child)
}

/// Presses a key while the init does not run, so that what it sends, too, comes after what the terminal sent.
fn key(program: &Program, options: &[&str], key: &str, signal: i32) -> String {
    let (mut terminal, _) = counting(program.with(options, &COUNT));
    settle(&terminal.container);
    terminal.container.freeze();
    if signal == libc::SIGWINCH {
        terminal.resize();
    } else {
        terminal.type_in(key);
    }
    let got = format!("got {}", name(signal));
    terminal.read_until(&got);
    terminal.container.thaw();
    settle(&terminal.container);
    terminal.container.signal(PROBE);
    terminal.read_until(&format!("got {}", name(PROBE)));
    match terminal.text.matches(&got).count() {
        1 => ONCE.to_owned(),
        2 => TWICE.to_owned(),
        many => format!("{many} times"),
    }
}

/// Who is seen stopped so often in a row stays so.
const LOOKS: u32 = 200;

fn suspend(program: &Program) -> String {
    let script = "echo rea''dy; read line; echo \"re''ad $line\"; exit 9";
    let mut terminal = Terminal::new(program.run(&["sh", "-c", script]));
    terminal.read_until("ready");
    let shell = terminal.container.process("sh -c").pid;
    terminal.type_in("\x1awords\n");
    // A stopped one does not read on. One that is only stopped for a moment does.
    let mut looks = 0;
    terminal.container.until("it stays stopped, or ends", || {
        let stopped = proc::of(shell).is_some_and(|process| process.state == 'T');
        looks = if stopped { looks + 1 } else { 0 };
        looks == LOOKS || proc::ended(shell)
    });
    let stopped = looks == LOOKS;
    if stopped {
        terminal.container.signal(libc::SIGCONT);
    }
    let code = terminal.container.finish().code;
    match (stopped, code) {
        (true, 9) => "stops it".to_owned(),
        (false, 9) => "nothing".to_owned(),
        other => format!("{other:?}"),
    }
}

fn shell(program: &Program) -> String {
    let mut terminal = Terminal::new(program.run(&["bash", "--norc", "--noprofile", "--noediting", "-i"]));
    terminal.type_in("echo o''k\n");
    terminal.read_until("ok\r\n");
    if terminal.text.contains("job control") {
        return "none, and the shell complains".to_owned();
    }
    terminal.type_in("cat\n");
    terminal.container.until("cat runs", || terminal.container.living().iter().any(|p| p.command == "cat"));
    let cat = terminal.container.process("cat").pid;
    terminal.container.until("cat has the terminal", || launch::foreground(&terminal.master) == cat);
    terminal.type_in("\x1awords\n");
    // The terminal shows the words once, and cat, if it is not stopped, once more.
    terminal.read_until_any(&["Stopped", "words\r\nwords"]);
    if !terminal.text.contains("Stopped") {
        return "ctrl-Z does nothing".to_owned();
    }
    terminal.type_in("fg\n");
    terminal.container.until("cat has it again", || launch::foreground(&terminal.master) == cat);
    terminal.type_in("\x04");
    terminal.container.until("cat ends", || proc::ended(cat));
    terminal.type_in("exit 7\n");
    match terminal.container.finish().code {
        7 => "job control".to_owned(),
        code => format!("code {code}"),
    }
}

/// A shell as PID 1 at the terminal, which finds the program as `$INIT`.
fn under_a_shell(program: &Program, options: &[&str], script: &str) -> Terminal {
    let setup = Setup::program("/bin/sh", &[options, &["-c", script]].concat());
    Terminal::new(setup.env("INIT", program.path()).env("W", witness_path()).env("TINI_SUBREAPER", ""))
}

fn background(program: &Program) -> String {
    let script = "\"$INIT\" -- \"$W\" count 1000 & wait";
    let mut terminal = under_a_shell(program, &["-m"], script);
    terminal.read_until("waiting");
    let child = witness_in(&terminal.container);
    match owner(&terminal, child).as_str() {
        "the init" => "the shell".to_owned(), // it is PID 1 here
        other => other.to_owned(),
    }
}

fn given_back(program: &Program) -> String {
    let mut terminal = under_a_shell(program, &[], "\"$INIT\" -- true; echo do''ne; sleep 1000");
    terminal.read_until("done");
    match owner(&terminal, 0).as_str() {
        "the init" => "the shell".to_owned(), // it is PID 1 here
        other => other.to_owned(),
    }
}

fn modes(program: &Program) -> String {
    let script = "\"$INIT\" -- stty -echo -icanon; stty -a; echo do''ne";
    let mut terminal = under_a_shell(program, &[], script);
    terminal.read_until("done");
    let kept = terminal.text.contains("-icanon") && terminal.text.contains("-echo ");
    if kept { "as the child left them" } else { "as before" }.to_owned()
}

fn hangup(program: &Program) -> String {
    let (container, master) = with_terminal_on(program.run(&COUNT), [true, false]);
    container.wait_for("waiting");
    drop(master);
    container.wait_for("got SIGHUP");
    settle(&container);
    container.signal(PROBE);
    container.wait_for(&format!("got {}", name(PROBE)));
    match container.count("got SIGHUP") {
        1 => ONCE.to_owned(),
        2 => TWICE.to_owned(),
        many => format!("{many} times"),
    }
}

fn output_only(program: &Program) -> String {
    let (container, master) = with_terminal_on(program.run(&COUNT), [false, true]);
    let mut terminal = Terminal { container, master: master.into(), text: String::new() };
    terminal.read_until("waiting");
    let child = witness_in(&terminal.container);
    owner(&terminal, child)
}

/// A terminal that is that of the session, and is standard input, or output, or both.
fn with_terminal_on(setup: Setup, which: [bool; 2]) -> (crate::container::Container, OwnedFd) {
    let (master, slave) = launch::terminal().expect("a terminal");
    let copy = || slave.try_clone().expect("a copy");
    let setup = if which[0] { setup.stdin(Some(copy())) } else { setup };
    let setup = if which[1] { setup.stdout(Out::To(copy())) } else { setup };
    let side = copy();
    let container = setup.before(move || launch::take_that_terminal(side.as_raw_fd())).start();
    (container, master)
}
