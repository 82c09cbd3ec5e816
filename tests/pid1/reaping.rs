//! Orphans, deaths in heaps, and what PID 1 may have inherited.

use crate::container::{Out, Setup};
use crate::launch;
use crate::services::{service, sh, witness};
use crate::{proc, root};

#[test]
fn twenty_thousand_orphans_leave_nothing() {
    if !root() {
        return;
    }
    let config = service("steady", &witness("wait"), "")
        + &service("storm", &witness("orphans 20000 no-zombies 20s wait"), "");
    let container = Setup::services(&config).start();
    container.wait_for("storm | orphaned 20000");
    container.wait_for("storm | waiting");
    assert_eq!(container.count("storm | zombies 0"), 1);
    assert_eq!(container.processes().len(), 3, "the two services and PID 1");
    container.stop().check(
        0,
        &[
            "steady is up after _ s",
            "storm is up after _ s",
            "all 2 services are up, _ s",
            "stopping (SIGTERM): storm, steady",
            "stopped in _ s: storm _ s, steady _ s",
        ],
    );
}

#[test]
fn the_code_of_an_orphan_is_nobodys() {
    if !root() {
        return;
    }
    let orphans = "i=0; while [ $i -lt 100 ]; do (exit 99 & exit 98); i=$((i+1)); done; exec \"$0\" no-zombies 20s wait";
    let config = service(
        "a",
        &crate::services::words(&["sh", "-c", orphans, &crate::services::witness_path().to_string_lossy()]),
        "",
    );
    let container = Setup::services(&config).start();
    container.wait_for("a | zombies 0");
    container.wait_for("a | waiting");
    container.stop().check(
        0,
        &["a is up after _ s", "the service is up, _ s", "stopping (SIGTERM): a", "stopped in _ s: a _ s"],
    );
}

#[test]
fn a_run_of_microseconds_is_a_run() {
    if !root() {
        return;
    }
    let count = 100;
    let config: String =
        (0..count).map(|n| service(&format!("o{n}"), &witness(""), "type = \"oneshot\"")).collect();
    let end = Setup::services(&config).start().finish();
    end.code(0);
    let done = end.own().iter().filter(|line| line.ends_with(": code 0 after _ s; completed")).count();
    assert_eq!(done, count, "{end:#?}");
    assert_eq!(end.own().len(), count + 1, "{end:#?}");
}

#[test]
fn five_hundred_deaths_while_stopped_are_all_counted() {
    if !root() {
        return;
    }
    let count = 500;
    let keys = format!(
        "instances = {count}\nrestart = \"never\"\non_failure = \"ignore\"\nstdout = \"null\"\nstderr = \"null\""
    );
    let container = Setup::services(&service("w", &witness("wait"), &keys)).start();
    container.wait_for("the service is up");
    assert_eq!(container.end_all_unseen(libc::SIGKILL), count);
    let end = container.finish();
    end.code(137);
    let own = end.own();
    for number in 1..=count {
        let line = format!("w.{number}: code 137, SIGKILL after _ s; failed for good: restart = \"never\"");
        assert_eq!(own.iter().filter(|own| **own == line).count(), 1, "{line}: {end:#?}");
    }
}

#[test]
fn whatever_signals_were_inherited_services_and_statuses_are_sound() {
    if !root() {
        return;
    }
    let hostile = || {
        for signal in (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP, 32, 33].contains(signal)) {
            launch::ignore(signal);
        }
        launch::set_mask(u64::MAX);
        Ok(())
    };
    let config = service("a", &sh("cat /proc/self/status; exit 7"), "max_restarts = 0\ndepends_on = [\"b\"]")
        + &service("b", &witness("wait"), "");
    let end = Setup::services(&config).before(hostile).start().finish();
    end.code(7);
    let end_of_b = end.of("b");
    assert_eq!(end_of_b, ["waiting", "got SIGTERM"], "{end:#?}");
    let zero = "0000000000000000";
    for field in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
        assert!(end.of("a").contains(&&*format!("{field}:\t{zero}")), "{field}: {end:#?}");
    }
    // A stop on request, too.
    let container = Setup::services(&service("b", &witness("wait"), "")).before(hostile).start();
    container.wait_for("b | waiting");
    container.stop().code(0);
}

#[test]
fn standard_descriptors_may_be_closed_at_start() {
    if !root() {
        return;
    }
    for closed in [&[0][..], &[1], &[2], &[0, 1, 2]] {
        let look =
            "cd $DIR; echo out; echo err >&2; ls -l /proc/self/fd > part; mv part seen; exec sleep 1000";
        let mut setup = Setup::services(&service("a", &sh(look), ""));
        let seen = setup.folder().path().join("seen");
        if closed.contains(&0) {
            setup = setup.stdin(None);
        }
        if closed.contains(&1) {
            setup = setup.stdout(Out::Closed);
        }
        if closed.contains(&2) {
            setup = setup.stderr(Out::Closed);
        }
        let container = setup.start();
        container.until("the service has looked", || seen.exists());
        let listing = std::fs::read_to_string(&seen).expect("a listing");
        let targets: Vec<&str> =
            listing.lines().filter_map(|l| l.split_once(" -> ").map(|(_, t)| t)).collect();
        assert!(targets.len() == 4 && targets[0] == "/dev/null", "{closed:?}: {listing}");
        assert!(targets[2].starts_with("pipe:"), "{closed:?}: {listing}");
        assert!(targets[1].ends_with("/part"), "{closed:?}: {listing}");
        let own = proc::descriptors(container.pid());
        for number in closed {
            assert!(own.contains(&format!("{number} /dev/null")), "{closed:?}: {own:#?}");
        }
        let end = container.stop();
        end.code(0);
        assert_eq!(end.stdout.contains(&"a | out".to_owned()), !closed.contains(&1), "{closed:?}: {end:#?}");
        assert_eq!(end.stderr.contains(&"a | err".to_owned()), !closed.contains(&2), "{closed:?}: {end:#?}");
    }
}

/// Nor is there a /dev/null to put into their place. Then what is written is lost, and nobody waits for a reader.
#[test]
fn closed_at_start_without_dev_null_nobody_waits_for_a_reader() {
    if !root() {
        return;
    }
    let write = "i=0; while [ $i -lt 3000 ]; do echo 'a line of fifty bytes, two hundred thousand in all'; echo $i >&2; i=$((i+1)); done; cd $DIR; mv part seen; exec sleep 1000";
    let setup = Setup::services(&service("a", &sh(write), ""));
    let seen = setup.folder().path().join("seen");
    setup.folder().file("part", "");
    let setup = setup.stdin(None).stdout(Out::Closed).stderr(Out::Closed);
    let container = setup.before(|| launch::mount("tmpfs", "/dev", "tmpfs", 0, "")).start();
    container.until("all is written", || seen.exists());
    container.stop().code(0);
}

#[test]
fn inherited_descriptors_go_to_the_one_command_and_to_no_service() {
    if !root() {
        return;
    }
    let more = || {
        for number in [3, 7, 100, 900] {
            launch::duplicate(0, number)?;
        }
        Ok(())
    };
    let list = "echo /proc/self/fd/*";
    let end = Setup::services(&service("a", &sh(list), "type = \"oneshot\"")).before(more).start().finish();
    end.code(0);
    // The shell has opened the folder itself.
    assert_eq!(end.of("a"), ["/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3"]);
    let end = Setup::command(&["sh", "-c", list]).before(more).start().finish();
    end.code(0);
    let listed =
        "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/100 /proc/self/fd/2 /proc/self/fd/3 /proc/self/fd/4";
    assert_eq!(end.stdout, [format!("{listed} /proc/self/fd/7 /proc/self/fd/900")]);
}

#[test]
fn a_service_that_kills_everybody_does_not_kill_us() {
    if !root() {
        return;
    }
    let killer = "read go < $DIR/gate; kill -9 -1; kill -9 0";
    let config = service("killer", &sh(killer), "restart = \"never\"\non_failure = \"ignore\"")
        + &service("other", &witness("wait"), "restart_delay = 0");
    let setup = Setup::services(&config);
    setup.folder().gate("gate");
    let container = setup.start();
    container.wait_for("all 2 services are up");
    container.wait_for("other | waiting");
    container.folder().go("gate");
    container.wait_for_nth("other | waiting", 2);
    container.wait_for("killer: code 137, SIGKILL");
    let end = container.stop();
    end.code(0);
    end.says("other: code 137, SIGKILL after _ s; restart 1/10 now");
}
