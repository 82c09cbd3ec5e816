//! Command lines and variables: what each name understands, and what it says for itself.

use crate::Case;
use crate::container::Setup;
use crate::expected::{NOBODY, both_catatonits, both_dumb_inits, both_tinis, ours};
use crate::programs::Program;
use crate::signals::{settle, whom};

const USAGE: &str = "usage on stderr, code 1";

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let why_stdout = "Only the child writes to its standard output";
    let why_64 = "64 is tinysup's own code for a wrong command line";
    vec![
        Case {
            name: "options::version",
            what: "--version",
            expected: NOBODY.tini("tini version 0.19.0").as_tini("tini version 0.19.0 (tinysup VERSION)")
                .dumb_init("stderr: dumb-init v1.2.5").as_dumb_init("stderr: dumb-init v1.2.5 (tinysup VERSION)")
                .catatonit("tini version 0.1.7_catatonit").as_catatonit("tini version 0.2.1_catatonit (tinysup VERSION)")
                .tinysup("tinysup VERSION"),
            why: "dockerd takes the version from what follows \"tini version\", scripts from what follows \"dumb-init v\"; the true name comes after",
            observe: |program| text(program.words(&["--version"])),
        },
        Case {
            name: "options::short_version",
            what: "-V",
            expected: NOBODY.dumb_init("stderr: dumb-init v1.2.5").as_dumb_init("stderr: dumb-init v1.2.5 (tinysup VERSION)")
                .catatonit("tini version 0.1.7_catatonit").as_catatonit("tini version 0.2.1_catatonit (tinysup VERSION)")
                .tinysup("tinysup VERSION"),
            why: "As above",
            observe: |program| text(program.words(&["-V"])),
        },
        Case {
            name: "options::version_and_more",
            what: "--version with a program",
            expected: both_tinis(USAGE), why: "",
            observe: |program| answer(program.words(&["--version", "true"])),
        },
        Case {
            name: "options::help",
            what: "-h",
            expected: both_tinis("text on stdout, code 0").tinysup("text on stdout, code 0")
                .dumb_init("text on stderr, code 0").as_dumb_init("text on stderr, code 0")
                .catatonit("text on stderr, code 0").as_catatonit("text on stderr, code 0"),
            why: "As the program of the same name",
            observe: |program| answer(program.words(&["-h"])),
        },
        Case {
            name: "options::licence_of_tini",
            what: "-l",
            expected: both_tinis("text on stdout, code 0").tinysup("text on stdout, code 0"), why: "",
            observe: |program| answer(program.words(&["-l"])),
        },
        Case {
            name: "options::licence_of_catatonit",
            what: "-L",
            expected: both_catatonits("text on stdout, code 0"), why: "",
            observe: |program| answer(program.words(&["-L"])),
        },
        Case {
            name: "options::no_program",
            what: "no word at all",
            expected: both_tinis(USAGE).dumb_init(USAGE).as_dumb_init(USAGE).catatonit(USAGE).as_catatonit(USAGE), why: "",
            observe: |program| answer(program.words(&[])),
        },
        Case {
            name: "options::separator_alone",
            what: "-- and nothing after it",
            expected: both_tinis(USAGE).dumb_init(USAGE).as_dumb_init(USAGE).catatonit(USAGE).as_catatonit(USAGE).tinysup("usage on stderr, code 64"),
            why: why_64,
            observe: |program| answer(program.words(&["--"])),
        },
        Case {
            name: "options::unknown",
            what: "an option that nobody knows",
            expected: both_tinis(USAGE).dumb_init(USAGE).as_dumb_init(USAGE).catatonit(USAGE).as_catatonit(USAGE).tinysup("usage on stderr, code 64"),
            why: why_64,
            observe: |program| answer(program.words(&["-Z", "true"])),
        },
        Case {
            name: "options::without_separator",
            what: "a command with an option of its own, and no -- before it",
            expected: ours("it runs").tini(USAGE).dumb_init("it runs").catatonit(USAGE),
            why: "Options end at the first word that is none: nobody means the init with them",
            observe: |program| match program.words(&["sh", "-c", "exit 7"]).start().finish() { end if end.code == 7 => "it runs".to_owned(), _ => answer(program.words(&["sh", "-c", "exit 7"])) },
        },
        Case {
            name: "options::code_out_of_range",
            what: "-e 256",
            expected: both_tinis(USAGE).tinysup("usage on stderr, code 64"), why: why_64,
            observe: |program| answer(program.with(&["-e", "256"], &["true"])),
        },
        Case {
            name: "options::parent_death_by_number",
            what: "-p 15",
            expected: NOBODY.tini(USAGE).as_tini("silent, code 0").tinysup("silent, code 0"),
            why: "A number is clear enough",
            observe: |program| answer(program.with(&["-p", "15"], &["true"])),
        },
        Case {
            name: "options::parent_death_by_nonsense",
            what: "-p NOSIGNAL",
            expected: both_tinis(USAGE).tinysup("usage on stderr, code 64"), why: why_64,
            observe: |program| answer(program.with(&["-p", "NOSIGNAL"], &["true"])),
        },
        Case {
            name: "options::verbose_tini",
            what: "-vvv",
            expected: NOBODY.tini("text on stdout, code 0").as_tini("text on stderr, code 0").tinysup("text on stderr, code 0"),
            why: why_stdout,
            observe: |program| answer(program.with(&["-vvv"], &["true"])),
        },
        Case {
            name: "options::verbosity_variable",
            what: "TINI_VERBOSITY=3",
            expected: NOBODY.tini("text on stdout, code 0").as_tini("text on stderr, code 0"),
            why: why_stdout,
            observe: |program| answer(program.run(&["true"]).env("TINI_VERBOSITY", "3")),
        },
        Case {
            name: "options::verbosity_variable_wins",
            what: "-vvv with TINI_VERBOSITY=0",
            expected: both_tinis("silent, code 0"), why: "",
            observe: |program| answer(program.with(&["-vvv"], &["true"]).env("TINI_VERBOSITY", "0")),
        },
        Case {
            name: "options::warning_switched_off",
            what: "TINI_VERBOSITY=0 where tini warns that it is not PID 1",
            expected: both_tinis("silent, code 0"), why: "",
            observe: |program| answer(program.run(&["true"]).not_pid1().env("TINI_VERBOSITY", "0")),
        },
        Case {
            name: "options::group_variable",
            what: "an empty TINI_KILL_PROCESS_GROUP, then USR1",
            expected: both_tinis("whole group"), why: "",
            observe: |program| whom(program, &[], &[("TINI_KILL_PROCESS_GROUP", "")]),
        },
        Case {
            name: "options::session_variable",
            what: "DUMB_INIT_SETSID=0, then USR1",
            expected: both_dumb_inits("child alone"), why: "",
            observe: |program| whom(program, &[], &[("DUMB_INIT_SETSID", "0")]),
        },
        Case {
            name: "options::session_variable_with_another_value",
            what: "DUMB_INIT_SETSID=no, then USR1",
            expected: both_dumb_inits("whole group"), why: "",
            observe: |program| whom(program, &[], &[("DUMB_INIT_SETSID", "no")]),
        },
        Case {
            name: "options::abbreviated",
            what: "--sing, then USR1",
            expected: both_dumb_inits("child alone"), why: "",
            observe: |program| whom(program, &["--sing"], &[]),
        },
        Case {
            name: "options::verbose_dumb_init",
            what: "-v",
            expected: both_dumb_inits("[dumb-init] on stderr, code 0"), why: "",
            observe: |program| debug(program.with(&["-v"], &["true"])),
        },
        Case {
            name: "options::debug_variable",
            what: "DUMB_INIT_DEBUG=1",
            expected: both_dumb_inits("[dumb-init] on stderr, code 0"), why: "",
            observe: |program| debug(program.run(&["true"]).env("DUMB_INIT_DEBUG", "1")),
        },
        Case {
            name: "options::debug_variable_with_another_value",
            what: "DUMB_INIT_DEBUG=yes",
            expected: both_dumb_inits("silent, code 0"), why: "",
            observe: |program| answer(program.run(&["true"]).env("DUMB_INIT_DEBUG", "yes")),
        },
        Case {
            name: "options::rewrite_of_nonsense",
            what: "-r 99:1",
            expected: both_dumb_inits(USAGE), why: "",
            observe: |program| answer(program.with(&["-r", "99:1"], &["true"])),
        },
        Case {
            name: "options::rewrite_with_a_tail",
            what: "-r 15:10x, then TERM",
            expected: both_dumb_inits("USR1"), why: "",
            observe: |program| crate::signals::rewritten(program, &["-r", "15:10x"]),
        },
        Case {
            name: "options::pause_and_term",
            what: "-P, then USR1, HUP and TERM",
            expected: both_catatonits("silent, code 0"), why: "",
            observe: |program| pause(program, libc::SIGTERM),
        },
        Case {
            name: "options::pause_and_interrupt",
            what: "-P, then USR1, HUP and INT",
            expected: both_catatonits("silent, code 0"), why: "",
            observe: |program| pause(program, libc::SIGINT),
        },
        Case {
            name: "options::reserved_variable",
            what: "an empty CATATONIT_LOG",
            expected: both_catatonits(USAGE), why: "",
            observe: |program| answer(program.run(&["true"]).env("CATATONIT_LOG", "")),
        },
    ]
}

/// The only line that is said, with the name of the stream if it is not standard output; our own version as `VERSION`.
fn text(setup: Setup) -> String {
    let end = setup.start().finish();
    let line = match (&end.stdout[..], &end.stderr[..]) {
        ([line], []) => line.clone(),
        ([], [line]) => format!("stderr: {line}"),
        _ => return format!("{end:#?}"),
    };
    let line = line.replace(concat!("tinysup ", env!("CARGO_PKG_VERSION")), "tinysup VERSION");
    if end.code == 0 { line } else { format!("{line}, code {}", end.code) }
}

/// Where something is said, and the code.
fn answer(setup: Setup) -> String {
    let end = setup.start().finish();
    let said = match (end.stdout.is_empty(), end.stderr.is_empty()) {
        (true, true) => "silent",
        (false, true) => "text on stdout",
        (true, false) if end.code != 0 => "usage on stderr",
        (true, false) => "text on stderr",
        (false, false) => "text on both",
    };
    format!("{said}, code {}", end.code)
}

/// The same, where each line must begin as dumb-init's do.
fn debug(setup: Setup) -> String {
    let end = setup.start().finish();
    let own = !end.stderr.is_empty() && end.stdout.is_empty();
    let form = end.stderr.first().is_some_and(|line| line.starts_with("[dumb-init] "));
    if own && form { format!("[dumb-init] on stderr, code {}", end.code) } else { format!("{end:#?}") }
}

fn pause(program: &Program, signal: i32) -> String {
    let container = program.words(&["-P"]).start();
    // It has taken its signals over when one that would end it does not.
    container.until("it waits", || crate::proc::blocks(container.pid(), libc::SIGTERM));
    for other in [libc::SIGUSR1, libc::SIGHUP] {
        container.signal(other);
        settle(&container);
    }
    container.signal(signal);
    let end = container.finish();
    let said = if end.stdout.is_empty() && end.stderr.is_empty() { "silent" } else { "text" };
    format!("{said}, code {}", end.code)
}
