//! Services that hold too much memory, and what is said of it.

use serde_json::Value;

use crate::container::Setup;
use crate::root;
use crate::services::{service, sh};

/// A shell that holds so many bytes in a variable.
fn hold(bytes: u32) -> String {
    format!("x=$(head -c {bytes} /dev/zero | tr '\\0' x)")
}

#[test]
fn a_leak_is_restarted_in_peace_and_counted() {
    if !root() {
        return;
    }
    let script = format!(
        "if [ -e $DIR/again ]; then echo again; while :; do sleep 0.02; done; fi; touch $DIR/again
         trap 'echo bye; exit 0' TERM; {}; y=; while :; do y=$y$x; sleep 0.05; done",
        hold(1_000_000)
    );
    let keys = "max_memory_restart = \"24M\"\nmax_restarts = 1\nrestart_delay = 0";
    let container = Setup::services(&service("a", &sh(&script), keys)).start();
    container.wait_for("a | again");
    let asked = container.verb(&["status"]);
    assert!(asked.stdout.contains(" / 24M "), "{asked:#?}");
    let events = container.verb(&["events"]);
    assert!(events.stdout.contains("over its memory limit: it holds "), "{events:#?}");
    let end = container.stop();
    end.code(0);
    assert_eq!(end.of("a").first(), Some(&"bye"), "{end:#?}");
    end.says("a: over its memory limit: it holds ");
    end.says(" and may hold 24M");
    end.says("restart 1/1 now");
}

#[test]
fn what_a_service_started_counts_wherever_it_went() {
    if !root() {
        return;
    }
    let helper = format!("{}; sleep 1000", hold(60_000_000));
    let script = format!(
        "if [ -e $DIR/began ]; then echo again; while :; do sleep 0.02; done; fi; touch $DIR/began
         (setsid sh -c \"{}\" &); while :; do sleep 0.02; done",
        helper.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$")
    );
    let keys = "max_memory_restart = \"40M\"\nmax_restarts = 1\nrestart_delay = 0";
    let container = Setup::services(&service("a", &sh(&script), keys)).start();
    container.wait_for("a: over its memory limit: it holds ");
    container.wait_for("a | again");
    // The helper went with the run that it belonged to.
    let asked = container.verb(&["memory", "--json"]);
    let memory: Value = serde_json::from_str(&asked.stdout).expect("an object");
    let held = memory["services"][0]["bytes"].as_u64().expect("a number");
    assert!(held > 0 && held < 40 << 20, "{asked:#?}");
    assert_eq!(memory["services"][0]["restart_bytes"].as_u64(), Some(40 << 20), "{asked:#?}");
    container.stop().code(0);
}

#[test]
fn a_service_that_leaks_again_and_again_ends_the_container() {
    if !root() {
        return;
    }
    let script = format!("{}; trap 'exit 0' TERM; while :; do sleep 0.02; done", hold(30_000_000));
    let keys = "max_memory_restart = \"16M\"\nmax_restarts = 1\nrestart_delay = 0";
    let end = Setup::services(&service("a", &sh(&script), keys)).start().finish();
    end.code(1);
    end.says("CONTAINER STOPPED: a failed twice");
    end.says("over its memory limit");
}

#[test]
fn who_holds_what_is_shown() {
    if !root() {
        return;
    }
    let script = format!("{}; echo here; while :; do sleep 0.02; done", hold(20_000_000));
    let container = Setup::services(&service("big", &sh(&script), "kill_timeout = 0")).start();
    container.wait_for("big | here");
    let asked = container.verb(&["memory", "--pss"]);
    assert_eq!((asked.code, asked.stderr.as_str()), (0, ""), "{asked:#?}");
    let row = asked.stdout.lines().find(|line| line.starts_with("big ")).expect("a row");
    let held = row.split_whitespace().nth(1).expect("a cell");
    let megabytes: u32 = held.trim_end_matches('M').parse().unwrap_or_else(|_| panic!("{asked:#?}"));
    assert!((19..200).contains(&megabytes), "{asked:#?}");
    container.stop();
}
