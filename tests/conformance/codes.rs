//! What code the container ends with.

use std::fs;

use crate::Case;
use crate::container::{Setup, set_mode};
use crate::expected::{Expected, all, both_tinis, ours};
use crate::programs::Program;

const CODE_127: Expected =
    ours("127").tini("127").dumb_init("2").as_dumb_init("2").catatonit("1").as_catatonit("1");
const CODE_126: Expected = CODE_127.tinysup("126").tini("126").as_tini("126");

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let why_127 = "As the program of the same name; tinysup's own codes are tini's, and the shell's";
    vec![
        Case {
            name: "codes::of_an_exit",
            what: "a child that exits with 0 to 255",
            expected: all("the same"), why: "",
            observe: exits,
        },
        Case {
            name: "codes::of_an_exit_under_pid_1",
            what: "some of these codes with the init as PID 1",
            expected: all("the same"), why: "",
            observe: exits_under_pid1,
        },
        Case {
            name: "codes::of_a_signal",
            what: "a child that dies of any of the 56 signals that end it",
            expected: all("128+n"), why: "",
            observe: deaths,
        },
        Case {
            name: "codes::not_found",
            what: "a program that is not in PATH",
            expected: CODE_127, why: why_127,
            observe: |program| code(program.run(&["no-such-program"])),
        },
        Case {
            name: "codes::no_such_file",
            what: "a path that does not exist",
            expected: CODE_127, why: "As above",
            observe: |program| code(program.run(&["/no/such/program"])),
        },
        Case {
            name: "codes::no_interpreter",
            what: "a script whose interpreter does not exist",
            expected: CODE_127, why: "As above",
            observe: |program| code(file(program, 0o755, "#!/no/such/interpreter\n")),
        },
        Case {
            name: "codes::not_executable",
            what: "a file without the right to execute it",
            expected: CODE_126, why: "As above",
            observe: |program| code(file(program, 0o644, "#!/bin/sh\n")),
        },
        Case {
            name: "codes::a_directory",
            what: "a directory instead of a program",
            expected: CODE_126, why: "As above",
            observe: |program| code(program.run(&["/usr"])),
        },
        Case {
            name: "codes::below_a_file",
            what: "a path through something that is no directory (ENOTDIR)",
            expected: CODE_127.tini("1"),
            why: "As above; nothing is found there, as dash has it",
            observe: |program| code(program.run(&["/etc/passwd/program"])),
        },
        Case {
            name: "codes::not_executable_in_the_path",
            what: "two files of the wanted name in PATH, and the first may not be executed",
            expected: all("7"), why: "",
            observe: |program| code(two_in_the_path(program)),
        },
        Case {
            name: "codes::the_message",
            what: "what is said of a program that is not found",
            expected: ours("tinysup | no-such-program: cannot start: \"no-such-program\" is not in PATH (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)")
                .as_tini("[FATAL tini (_)] exec no-such-program failed: No such file or directory")
                .as_catatonit("ERROR (catatonit:_): failed to exec pid1: no-such-program: No such file or directory")
                .tini("[FATAL tini (_)] exec no-such-program failed: No such file or directory")
                .dumb_init("[dumb-init] no-such-program: No such file or directory")
                .as_dumb_init("[dumb-init] no-such-program: No such file or directory")
                .catatonit("ERROR (catatonit:_): failed to exec pid1: No such file or directory"),
            why: "As the program of the same name, for scripts that look for it, but never without the name of what was not found",
            observe: |program| program.run(&["no-such-program"]).start().finish().stderr.iter().map(|line| masked(line)).collect::<Vec<_>>().join("\\n"),
        },
        Case {
            name: "codes::without_a_hash_bang",
            what: "an executable script that does not begin with #! (ENOEXEC)",
            expected: all("7"), why: "",
            observe: |program| code(file(program, 0o755, "exit 7\n")),
        },
        Case {
            name: "codes::remapped",
            what: "-e 143 -e 7, and a child that dies of TERM",
            expected: both_tinis("0").tinysup("0"), why: "",
            observe: |program| code(program.with(&["-e", "143", "-e", "7"], &["sh", "-c", "kill $$"])),
        },
        Case {
            name: "codes::not_remapped",
            what: "-e 143 -e 7, and a child that exits with 8",
            expected: both_tinis("8").tinysup("8"), why: "",
            observe: |program| code(program.with(&["-e143", "-e", "7"], &["sh", "-c", "exit 8"])),
        },
        Case {
            name: "codes::remapped_failure",
            what: "-e 127, and a program that is not found",
            expected: both_tinis("0").tinysup("0"), why: "",
            observe: |program| code(program.with(&["-e", "127"], &["no-such-program"])),
        },
    ]
}

fn code(setup: Setup) -> String {
    setup.start().finish().code.to_string()
}

/// Many runs in one container; each that is wrong prints a word.
fn wrong(program: &Program, script: &str) -> String {
    let end = program.script(script).start().finish();
    assert_eq!(end.code, 0, "the script: {end:#?}");
    end.stdout.join(" ")
}

fn exits(program: &Program) -> String {
    let script = "n=0; while [ $n -le 255 ]; do \"$INIT\" -- \"$W\" exit $n; c=$?; [ $c = $n ] || echo $n:$c; n=$((n+1)); done; exit 0";
    let wrong = wrong(program, script);
    if wrong.is_empty() { "the same".to_owned() } else { wrong }
}

fn exits_under_pid1(program: &Program) -> String {
    let wrong: Vec<String> = [0, 1, 2, 126, 127, 128, 143, 255]
        .into_iter()
        .map(|code| (code, program.run(&["WITNESS", "exit", &code.to_string()]).start().finish().code))
        .filter(|(code, got)| code != got)
        .map(|(code, got)| format!("{code}:{got}"))
        .collect();
    if wrong.is_empty() { "the same".to_owned() } else { wrong.join(" ") }
}

fn deaths(program: &Program) -> String {
    // All but those that are ignored by default (CHLD CONT URG WINCH) or stop (STOP TSTP TTIN TTOU).
    let script = "ulimit -c 0; for n in $(seq 1 64); do case $n in 17|18|19|20|21|22|23|28) continue;; esac; \"$INIT\" -- \"$W\" die $n; c=$?; [ $c = $((128+n)) ] || echo $n:$c; done 2>/dev/null; exit 0";
    let wrong = wrong(program, script);
    if wrong.is_empty() { "128+n".to_owned() } else { wrong }
}

fn file(program: &Program, mode: u32, content: &str) -> Setup {
    let setup = program.words(&["--"]);
    let path = setup.folder().program("file", content);
    set_mode(&path, mode);
    setup.arg(path)
}

fn two_in_the_path(program: &Program) -> Setup {
    let setup = program.run(&["twice"]);
    let folder = setup.folder().path().to_owned();
    for (name, mode, code) in [("first", 0o644, 6), ("second", 0o755, 7)] {
        fs::create_dir(folder.join(name)).expect("the folder is ours");
        let path = setup.folder().program(&format!("{name}/twice"), format!("#!/bin/sh\nexit {code}\n"));
        set_mode(&path, mode);
    }
    setup.env("PATH", format!("{0}/first:{0}/second:/usr/bin:/bin", folder.display()))
}

/// A line with `_` in place of a pid.
pub fn masked(line: &str) -> String {
    let mut masked = line.to_owned();
    for open in ["tini (", "catatonit:"] {
        if let Some(at) = masked.find(open).map(|at| at + open.len()) {
            let digits = masked[at..].chars().take_while(char::is_ascii_digit).count();
            masked.replace_range(at..at + digits, if digits > 0 { "_" } else { "" });
        }
    }
    masked
}
