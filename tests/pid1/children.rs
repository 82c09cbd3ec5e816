//! What a service finds when its program begins, seen from inside of it.

use std::collections::BTreeMap;

use crate::container::{End, Out, Setup, free_port, set_mode};
use crate::services::{quote, service, sh, witness};
use crate::{launch, root};

/// Runs one service to its end; code 0.
fn look(command: &str, keys: &str) -> End {
    look_in(command, keys, |setup| setup)
}

fn look_in(command: &str, keys: &str, change: impl FnOnce(Setup) -> Setup) -> End {
    let end = change(Setup::services(&oneshot(command, keys))).start().finish();
    end.code(0);
    end
}

fn oneshot(command: &str, keys: &str) -> String {
    service("look", command, &format!("type = \"oneshot\"\n{keys}"))
}

/// The fields of /proc/self/status of a service with these keys.
fn status(keys: &str) -> BTreeMap<String, String> {
    let end = look(&sh("exec cat /proc/self/status"), keys);
    let fields = end.of("look").into_iter().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

#[track_caller]
fn check(status: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (field, value) in expected {
        assert_eq!(status.get(*field).map(String::as_str), Some(*value), "{field} of {status:#?}");
    }
}

const NONE: &str = "0000000000000000";

#[test]
fn signals_session_and_descriptors_are_clean() {
    if !root() {
        return;
    }
    let fields = ["SigBlk", "SigIgn", "SigCgt"].map(|field| (field, NONE));
    check(&status(""), &fields);
    let end = look(&witness("status"), "");
    let lines = end.of("look");
    assert!(lines[0].ends_with(" ppid 1 leader true session-leader true"), "{end:#?}");
    assert!(lines[1].ends_with(" terminal [] foreground false"), "{end:#?}");
    assert!(lines.contains(&"fds [0, 1, 2]"), "{end:#?}");
}

#[test]
fn standard_descriptors_are_as_configured() {
    if !root() {
        return;
    }
    // What the shell itself has, whatever ls has.
    let list = sh("seen=$(ls -l /proc/$$/fd); echo \"$seen\" > $DIR/part; mv $DIR/part $DIR/seen");
    for (keys, expected) in [
        ("", ["/dev/null", "pipe:", "pipe:"]),
        ("stdin = \"inherit\"", ["/dev/zero", "pipe:", "pipe:"]),
        ("stdout = \"inherit\"", ["/dev/null", "/dev/full", "pipe:"]),
        ("stderr = \"inherit\"", ["/dev/null", "pipe:", "/dev/random"]),
        ("stdout = \"null\"\nstderr = \"null\"", ["/dev/null", "/dev/null", "/dev/null"]),
        ("stdout = \"raw\"\nstderr = \"raw\"", ["/dev/null", "pipe:", "pipe:"]),
    ] {
        let open =
            |path: &str| std::fs::File::options().read(true).write(true).open(path).expect(path).into();
        let setup = Setup::services(&oneshot(&list, keys))
            .stdin(Some(open("/dev/zero")))
            .stdout(Out::To(open("/dev/full")))
            .stderr(Out::To(open("/dev/random")));
        let seen = setup.folder().path().join("seen");
        let container = setup.start();
        container.until("it has looked", || seen.exists());
        let listing = std::fs::read_to_string(&seen).expect("a listing");
        container.finish().code(0);
        let targets: Vec<&str> = listing.lines().filter_map(|l| Some(l.split_once(" -> ")?.1)).collect();
        assert!(targets.len() >= 3, "{keys}: {listing}"); // and what the shell reads the list from
        for (target, expected) in targets.iter().zip(expected) {
            assert!(target.starts_with(expected), "{keys}: {listing}");
        }
    }
}

#[test]
fn each_output_format_is_what_it_says() {
    if !root() {
        return;
    }
    let say = sh("echo out; echo err >&2");
    for (format, out, err) in [
        ("prefix", vec!["look | out"], vec!["look | err"]),
        ("raw", vec!["out"], vec!["err"]),
        ("inherit", vec!["out"], vec!["err"]),
        ("null", vec![], vec![]),
    ] {
        let end = look(&say, &format!("stdout = \"{format}\"\nstderr = \"{format}\""));
        assert_eq!(end.stdout, out, "{format}");
        let errors: Vec<_> = end.stderr.iter().filter(|line| !line.starts_with("tinysup | ")).collect();
        assert_eq!(errors, err, "{format}");
    }
}

#[test]
fn users_and_groups_by_name_and_number() {
    if !root() {
        return;
    }
    let same = |id: &str| [id; 4].join(" ");
    for (keys, uid, gid, groups) in [
        ("", "0", "0", None),
        ("user = \"nobody\"", "65534", "65534", Some("65534")),
        ("user = 12345", "12345", "12345", Some("")),
        ("user = \"12345:54321\"", "12345", "54321", Some("")),
        ("user = \"12345\"\ngroup = \"54321\"\ngroups = [\"7\", \"8\"]", "12345", "54321", Some("7 8")),
        ("user = \"nobody:daemon\"\ngroups = []", "65534", "1", Some("")),
        ("group = \"daemon\"", "0", "1", None),
    ] {
        let status = status(keys);
        check(&status, &[("Uid", &same(uid)), ("Gid", &same(gid))]);
        // Some systems list a process's own group among the others, which gives it nothing.
        if let Some(groups) = groups {
            assert!(status["Groups"] == groups || status["Groups"].is_empty(), "{keys}: {status:#?}");
        }
        if uid != "0" {
            check(&status, &[("CapEff", NONE), ("CapPrm", NONE), ("CapAmb", NONE)]);
        }
    }
}

#[test]
fn the_users_home_and_name_are_in_the_environment() {
    if !root() {
        return;
    }
    let show = sh("echo $HOME $USER $LOGNAME");
    for (keys, expected) in [
        ("user = \"daemon\"", "/usr/sbin daemon daemon"),
        ("user = \"12345\"", "/ 12345 12345"),
        ("user = \"1\"", "/usr/sbin daemon daemon"),
        ("user = \"daemon\"\nenv = { HOME = \"/h\", USER = \"u\" }", "/h u daemon"),
        ("", "/inherited root root"),
    ] {
        let end = look_in(&show, keys, |setup| {
            setup.env("HOME", "/inherited").env("USER", "root").env("LOGNAME", "root")
        });
        assert_eq!(end.of("look"), [expected], "{keys}");
    }
}

#[test]
fn a_number_needs_no_passwd_and_a_name_says_so() {
    if !root() {
        return;
    }
    let bare = |setup: Setup| setup.before(|| launch::mount("none", "/etc", "tmpfs", 0, ""));
    let end = look_in(&witness("status env HOME env USER"), "user = 12345", bare);
    let lines = end.of("look");
    assert!(lines.contains(&"Uid 12345 12345 12345 12345"), "{end:#?}");
    assert!(lines.contains(&"Gid 12345 12345 12345 12345") && lines.contains(&"Groups "), "{end:#?}");
    assert!(lines.contains(&"HOME=/") && lines.contains(&"USER=12345"), "{end:#?}");

    for (keys, message) in [
        ("user = \"app\"", "no user \"app\": this image has no /etc/passwd. Use a number: user = \"1000\""),
        ("group = \"app\"", "no group \"app\": this image has no /etc/group. Use a number: group = \"1000\""),
    ] {
        let config = oneshot(&witness("status"), &format!("{keys}\nmax_restarts = 0"));
        let end = bare(Setup::services(&config)).start().finish();
        end.code(126);
        end.says(&format!("look: cannot start: {message}; failed for good: max_restarts = 0"));
        assert!(end.stdout.is_empty(), "never a process with the wrong user: {end:#?}");
    }
}

#[test]
fn limits_and_attributes_are_set() {
    if !root() {
        return;
    }
    let keys = "umask = \"027\"\nnice = 5\noom_score_adj = 321\nrlimits = { nofile = 123, core = { soft = 0, hard = 4096 } }\nno_new_privileges = true";
    let show = "umask; cat /proc/self/oom_score_adj; cut -d' ' -f19 /proc/self/stat; ulimit -Sn; ulimit -Hn; ulimit -Hc; grep NoNewPrivs /proc/self/status";
    let end = look(&sh(show), keys);
    assert_eq!(end.of("look"), ["0027", "321", "5", "123", "123", "8", "NoNewPrivs:\t1"]);
    // Without the keys: as inherited. Our own limit of open files is higher than what services get.
    let inherited = |setup: Setup| setup.before(|| launch::limit(libc::RLIMIT_NOFILE, 77, 4000));
    let end = look_in(&sh("umask; ulimit -Sn; ulimit -Hn; grep NoNewPrivs /proc/self/status"), "", inherited);
    assert_eq!(end.of("look")[1..], ["77", "4000", "NoNewPrivs:\t0"]);
}

#[test]
fn capabilities_are_only_those_that_are_kept() {
    if !root() {
        return;
    }
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    let all = |value: &'static str| sets.map(|set| (set, value));
    check(&status("capabilities = []"), &all(NONE));
    check(&status("capabilities = []\nuser = \"nobody\""), &all(NONE));
    let bind = "0000000000000400";
    check(&status("capabilities = [\"NET_BIND_SERVICE\"]\nuser = \"12345\""), &all(bind));
    check(&status("capabilities = [\"CAP_NET_BIND_SERVICE\"]\nno_new_privileges = true"), &all(bind));
    // What it is for: somebody else than root on a low port.
    let keys = "capabilities = [\"net_bind_service\"]\nuser = \"12345\"";
    let port = free_port(512..1024);
    let end = look(&witness(&format!("listen {port} 0s exit 0")), keys);
    assert_eq!(end.of("look"), [format!("listening on {port}")]);
}

#[test]
fn the_environment_is_what_was_asked_for() {
    if !root() {
        return;
    }
    let show = sh("exec env");
    let sorted = |end: &End| {
        let mut lines: Vec<String> = end.of("look").iter().map(|line| (*line).to_owned()).collect();
        let scenery = ["PWD=", "DIR=", "TINYSUP_SOCKET="]; // of the test
        lines.retain(|line| !scenery.iter().any(|name| line.starts_with(name)));
        lines.sort();
        lines
    };
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let secret = |setup: Setup| {
        setup.folder().file("secret", "two\nlines\n");
        setup.env("OUTER", "o").env("BOTH", "outer").env("TINYSUP_SERVICE", "stale")
    };
    let keys = "env = { BOTH = \"own\", PORT = \"300${TINYSUP_INSTANCE}\", COPY = \"${OUTER}\" }";
    let mut expected = vec![path, "OUTER=o", "BOTH=own", "PORT=3001", "COPY=o"];
    expected.extend(["TINYSUP_INSTANCE=1", "TINYSUP_SERVICE=look"]);
    expected.sort_unstable();
    assert_eq!(sorted(&look_in(&show, keys, secret)), expected);

    let keys = "inherit_env = false\nenv = { A = \"a\" }\nenv_from_file = { SECRET = \"secret\" }";
    let end = look_in(&crate::services::words(&["/usr/bin/env"]), keys, secret);
    assert_eq!(sorted(&end), ["A=a", "SECRET=two", "TINYSUP_INSTANCE=1", "TINYSUP_SERVICE=look", "lines"]);

    // A file that is not there is a failed start, and its later content is read at the next one.
    let keys = "type = \"oneshot\"\nenv_from_file = { SECRET = \"late\" }\nmax_restarts = \"unlimited\"\nrestart_delay = \"10ms\"\nrestart_delay_max = \"10ms\"";
    let container = Setup::services(&service("look", &sh("echo $SECRET"), keys)).start();
    let line = container.wait_for("cannot start");
    assert!(line.contains("/late for SECRET: No such file or directory; restart 1 in 0.0 s"), "{line}");
    container.folder().file("late.part", "now");
    let late = container.folder().path().join("late");
    std::fs::rename(container.folder().path().join("late.part"), late).expect("they lie side by side");
    let end = container.finish();
    end.code(0);
    assert_eq!(end.of("look"), ["now"]);
}

#[test]
fn instances_know_their_number() {
    if !root() {
        return;
    }
    let keys = "instances = 3\ninstance_env = \"WORKER\"\nenv = { PORT = \"300${TINYSUP_INSTANCE}\" }";
    let show = sh("echo $TINYSUP_SERVICE $TINYSUP_INSTANCE $WORKER $PORT");
    let end = look(&show, keys);
    for number in 1..=3 {
        let name = format!("look.{number}");
        assert_eq!(end.of(&name), [format!("look {number} {number} 300{number}")], "{end:#?}");
        end.says(&format!("{name}: code 0 after _ s; completed"));
    }
}

#[test]
fn another_user_may_open_its_standard_output_again() {
    if !root() {
        return;
    }
    let end = look(
        &sh("echo one > /dev/stdout; echo two > /dev/stderr; echo three > /proc/self/fd/1"),
        "user = \"12345\"",
    );
    assert_eq!(end.of("look"), ["one", "three"]);
    assert!(end.stderr.contains(&"look | two".to_owned()), "{end:#?}");
}

#[test]
fn the_working_directory_is_as_configured() {
    if !root() {
        return;
    }
    let closed = |setup: Setup| {
        let path = setup.folder().path().join("closed");
        std::fs::create_dir(&path).expect("the folder is ours");
        std::os::unix::fs::chown(&path, Some(12345), Some(12345)).expect("we are root");
        set_mode(&path, 0o700);
        setup
    };
    let keys = format!("cwd = {}", quote("/usr/bin"));
    assert_eq!(look(&sh("pwd"), &keys).of("look"), ["/usr/bin"]);
    // Relative to the file, and closed to everybody but the user to be.
    let end = look_in(&sh("cd -P .; pwd"), "cwd = \"closed\"\nuser = \"12345\"\ncapabilities = []", closed);
    assert!(end.of("look")[0].ends_with("/closed"), "{end:#?}");
}
