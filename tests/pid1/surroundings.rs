//! Containers that lack something, and the rest that is due when nothing is.

use std::fs;
use std::io;
use std::time::Duration;

use tinysup::control::Answer;

use crate::container::{Folder, Setup, tinysup};
use crate::services::{service, sh, witness, witness_path};
use crate::{launch, proc, root};

#[test]
fn without_proc() {
    if !root() {
        return;
    }
    let config = service("a", &witness("wait"), "")
        + &service(
            "b",
            &sh("echo run; [ -e $DIR/crashed ] && exec $W wait; touch $DIR/crashed; sleep 1000 & exit 3"),
            "restart_delay = 0",
        );
    let container = Setup::services(&config).env("W", witness_path()).before(no_proc).start();
    container.wait_for("a | waiting");
    container.wait_for("b | waiting");
    // What cannot be known is not told as nothing.
    let asked = container.verb(&["status", "--json", "a"]);
    assert!(asked.stdout.contains("\"state\":\"ready\""), "{asked:#?}");
    for unknown in ["cpu_ms", "memory_bytes", "processes"] {
        assert!(asked.stdout.contains(&format!("\"{unknown}\":null")), "{unknown}: {asked:#?}");
    }
    let asked = container.verb(&["memory"]);
    let cells: Vec<_> =
        asked.stdout.lines().flat_map(str::split_whitespace).filter(|cell| *cell == "-").collect();
    assert_eq!(cells.len(), 12, "{asked:#?}");
    let end = container.stop();
    end.code(0);
    end.says("b: code 3 after _ s; restart 1/10 now");
    assert!(end.waited < Duration::from_secs(5), "{end:#?}");
    // One command, and a failed start, too.
    let end = Setup::command(&["sh", "-c", "sleep 1000 & exit 6"]).before(no_proc).start().finish();
    assert_eq!((end.code, end.stderr.len()), (6, 0), "{end:#?}");
    let end = Setup::command(&["/no/such"]).before(no_proc).start().finish();
    end.code(127);
}

#[test]
fn with_the_proc_of_another_pid_namespace() {
    if !root() {
        return;
    }
    let config = service("a", &witness("wait"), "max_memory_restart = \"64K\"")
        + &service(
            "c",
            &sh("[ -e $DIR/crashed ] && exec $W wait; touch $DIR/crashed; sleep 1000 & exit 3"),
            "restart_delay = 0",
        );
    // The one below, that of the tests, whose first processes are the kernel's.
    let other = || launch::unmount("/proc");
    let container = Setup::services(&config).env("W", witness_path()).before(other).start();
    container.wait_for("all 2 services are up");
    container.wait_for("c | waiting");
    let asked = container.verb(&["status", "--json", "a"]);
    for unknown in ["cpu_ms", "memory_bytes", "processes"] {
        assert!(asked.stdout.contains(&format!("\"{unknown}\":null")), "{unknown}: {asked:#?}");
    }
    let end = container.stop();
    end.code(0);
    end.says("c: code 3 after _ s; restart 1/10 now");
    assert!(end.waited < Duration::from_secs(5), "{end:#?}");
    let end = Setup::command(&["sh", "-c", "sleep 1000 & exit 6"]).before(other).start().finish();
    assert_eq!((end.code, end.stderr.len()), (6, 0), "{end:#?}");
}

fn no_proc() -> io::Result<()> {
    launch::unmount("/proc")?;
    // The one below, where this container's was mounted over it.
    launch::unmount("/proc").or(Ok(()))
}

#[test]
fn on_a_read_only_root() {
    if !root() {
        return;
    }
    let read_only = || launch::mount("none", "/", "", libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY, "");
    let config = service("a", &sh("touch /tinysup-read-only || echo refused; exec $W wait"), "");
    let container = Setup::services(&config).env("W", witness_path()).before(read_only).start();
    container.wait_for("a | refused");
    container.wait_for("a | waiting");
    let end = container.stop();
    end.check(
        0,
        &["a is up after _ s", "the service is up, _ s", "stopping (SIGTERM): a", "stopped in _ s: a _ s"],
    );
}

/// A new version is put where ours was, as a package manager does it.
#[test]
fn our_own_program_is_replaced() {
    if !root() {
        return;
    }
    let folder = Folder::new();
    let own = folder.program("tinysup", fs::read(tinysup()).expect("the program"));
    let config = folder.file(
        "tinysup.toml",
        service("a", &witness("wait"), "")
            + &service("b", &sh("read line < $GATE; exit 3"), "restart_delay = 0"),
    );
    folder.gate("gate");
    let setup = Setup::program(&own, &["-c"]).arg(&config).env("GATE", folder.path().join("gate"));
    let container = setup.env("TINYSUP_SOCKET", folder.path().join("socket")).start();
    container.wait_for("a | waiting");
    fs::remove_file(&own).expect("it is there");
    folder.go("gate");
    container.wait_for("b: code 3");
    folder.program("tinysup", "this is no program");
    folder.go("gate");
    container.wait_for_nth("b: code 3", 2);
    container.stop().code(0);
}

/// EMFILE, as glibc and musl say it.
const TOO_MANY: [&str; 2] = ["Too many open files", "No file descriptors available"];

#[test]
fn few_descriptors_are_enough() {
    if !root() {
        return;
    }
    let few = |setup: Setup, most| setup.before(move || launch::limit(libc::RLIMIT_NOFILE, most, most));
    let crash = "echo run; echo x >> $DIR/runs; [ $(wc -l < $DIR/runs) -lt 20 ] && exit 3; exec $W wait";
    let config = service("a", &witness("wait"), "")
        + &service("b", &sh(crash), "restart_delay = 0\nmax_restarts = 50\ndepends_on = [\"a\"]");
    let container = few(Setup::services(&config).env("W", witness_path()), 20).start();
    container.wait_for("b | waiting");
    let verdict = container.ask_one("\"verb\":\"health\"");
    assert!(matches!(&verdict, Answer::Verdict(verdict) if verdict.ok), "{verdict:?}");
    let end = container.stop();
    end.code(0);
    end.says("b: code 3 after _ s; restart 19/50 now");
    end.never_says("cannot start");

    // With more services than that allows: told, retried, and stopped all the same.
    let keys = "instances = 20\nmax_restarts = \"unlimited\"\nrestart_delay = \"20ms\"\nrestart_delay_max = \"20ms\"";
    let container = few(Setup::services(&service("w", &witness("wait"), keys)), 16).start();
    let line = container.wait_for("cannot start");
    assert!(TOO_MANY.iter().any(|words| line.contains(words)), "{line}");
    container.wait_for("w.1 | waiting");
    let end = container.stop();
    end.code(0);
    assert!(end.waited < Duration::from_secs(5), "{end:#?}");
}

#[test]
fn without_descriptors_there_is_nothing_to_be_done() {
    if !root() {
        return;
    }
    let config = service("a", &sh("echo run"), "max_restarts = 0");
    let few = || Setup::services(&config).before(|| launch::limit(libc::RLIMIT_NOFILE, 4, 4));
    let end = few().start().finish();
    end.code(126);
    end.says("PID 1 may have 4 open files, RLIMIT_NOFILE");
    // Even signals cannot be had.
    let end = few().before(|| launch::refuse(libc::SYS_signalfd4)).start().finish();
    end.code(71);
    let expected = TOO_MANY.map(|words| format!("tinysup: cannot make the pipe for signals: {words}"));
    assert!(end.stderr.len() == 1 && expected.contains(&end.stderr[0]), "{end:#?}");
    assert!(end.stdout.is_empty(), "{end:#?}");
}

#[test]
fn a_huge_limit_of_descriptors_costs_nothing() {
    if !root() {
        return;
    }
    let most: u64 =
        fs::read_to_string("/proc/sys/fs/nr_open").expect("a limit").trim().parse().expect("a number");
    let (_, hard) = launch::limits(libc::RLIMIT_NOFILE);
    let most = most.min(hard);
    // Without /proc there is no list of what is open.
    for proc in [true, false] {
        let mut setup =
            Setup::services(&service("a", &sh("ulimit -n; exec $W wait"), "")).env("W", witness_path());
        setup = setup.before(move || launch::limit(libc::RLIMIT_NOFILE, most, most));
        if !proc {
            setup = setup.before(no_proc);
        }
        let container = setup.start();
        container.wait_for("a | waiting");
        let end = container.stop();
        end.code(0);
        assert_eq!(end.of("a")[0], most.to_string());
        assert!(end.ran < Duration::from_secs(5), "{end:#?}");
    }
}

#[test]
fn as_an_arbitrary_user() {
    if !root() {
        return;
    }
    let config = service("a", &witness("status wait"), "") + &service("b", &witness("helper 1000s wait"), "");
    let container = Setup::services(&config).before(|| launch::become_user(12345)).start();
    container.wait_for("a | waiting");
    container.wait_for("b | waiting");
    let end = container.stop();
    end.code(0);
    assert!(end.of("a").contains(&"Uid 12345 12345 12345 12345"), "{end:#?}");
    assert!(end.waited < Duration::from_secs(5), "{end:#?}");

    let config = service("a", &witness("status"), "user = \"nobody\"\nmax_restarts = 0");
    let end = Setup::services(&config).before(|| launch::become_user(12345)).start().finish();
    end.code(126);
    end.says("a: cannot start: cannot become user \"nobody\" (65534): Operation not permitted. It needs root with CAP_SETUID and CAP_SETGID, and the container runs as uid 12345. Remove user, or run the container as 65534; failed for good: max_restarts = 0");
    assert!(end.stdout.is_empty(), "never a process with the wrong user: {end:#?}");

    // To be who one is takes no right.
    let config = service("a", &witness("status"), "user = \"12345\"\ntype = \"oneshot\"");
    let end = Setup::services(&config).before(|| launch::become_user(12345)).start().finish();
    end.code(0);
    assert!(end.of("a").contains(&"Uid 12345 12345 12345 12345"), "{end:#?}");
}

#[test]
fn where_numbers_of_users_are_missing() {
    if !root() {
        return;
    }
    // As in a rootless container whose host gives it no others.
    let config =
        service("a", &witness("status"), "user = \"nobody\"\nmax_restarts = 0\non_failure = \"ignore\"")
            + &service("b", &witness("status"), "user = \"root\"\ntype = \"oneshot\"");
    let end = Setup::services(&config).before(launch::know_one_user_only).start().finish();
    end.code(126);
    end.says("a: cannot start: cannot become its user and groups: Invalid argument (one of their numbers is not mapped into the container's user namespace; on the host /etc/subuid and /etc/subgid decide); failed for good: max_restarts = 0");
    assert!(end.of("b").contains(&"Uid 0 0 0 0"), "{end:#?}");
}

#[test]
fn a_service_that_we_may_not_signal_is_told() {
    if !root() {
        return;
    }
    let config =
        "shutdown_timeout = \"500ms\"\n".to_owned() + &service("a", &witness("wait"), "user = \"12345\"");
    let container = Setup::services(&config).before(|| launch::drop_capability(5)).start();
    container.wait_for("a | waiting");
    let end = container.stop();
    assert!(end.waited < Duration::from_secs(5), "{end:#?}");
    end.code(137);
    end.says("cannot be sent SIGTERM: it runs as another user, and the container lacks CAP_KILL");
}

#[test]
fn nothing_happens_when_nothing_is_due() {
    if !root() {
        return;
    }
    let config = service("a", &witness("wait"), "instances = 10");
    let container = Setup::services(&config).start();
    container.wait_for("the service is up");
    container.wait_for_nth("| waiting", 10);
    assert!(proc::idle(container.pid(), Duration::from_millis(300)), "it comes to rest");
    let waits = || {
        ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
            .map(|field| proc::number(container.pid(), field))
    };
    let before = waits();
    assert!(!launch::readable(launch::pidfd(container.pid()).expect("it runs"), Duration::from_secs(5)));
    assert_eq!(waits(), before, "woken for nothing");
    container.stop().code(0);
}
