//! Memory under a real limit: who is restarted before the kernel kills, and what is said when it was the kernel.

use crate::docker::{config, docker};

/// 10 MiB more each second against 300 MiB: asked to end at 80 %, while the kernel has no reason yet.
#[test]
fn a_fast_leak_is_stopped_before_the_kernel_kills() {
    const CONTAINER_MIB: f64 = 300.0;
    let Some(docker) = docker() else { return };
    let plan = r#"
        [services.app]
        command = "/witness say run grow 400 10 wait"
        max_memory_restart = "80%"
        max_restarts = 0
    "#;
    let limit = ["--memory", "300m", "--memory-swap", "300m"];
    let container = docker.start(&[&limit[..], &["--volume", &config(plan)]].concat(), "scratch", &[]);
    let end = container.finish();
    assert_eq!((end.code, container.inspect("{{.State.OOMKilled}}").as_str()), (1, "false"), "{end:#?}");
    let held = end
        .stderr
        .split_once("app: over its memory limit: it holds ")
        .and_then(|(_, rest)| rest.split_once('M')?.0.parse::<f64>().ok());
    assert!(held.is_some_and(|held| held > 239.0 && held < 0.9 * CONTAINER_MIB), "{held:?} {end:#?}");
    assert!(end.stderr.contains("CONTAINER STOPPED: app"), "{end:#?}");
    assert!(!end.stderr.contains("out of memory"), "{end:#?}");
}

/// Together they would be too much; the one that may go goes, and the other, which is larger, stays.
#[test]
fn the_guard_restarts_whom_it_may() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [memory]
        warn = "55%"
        restart = "75%"
        [services.keeper]
        command = "/witness hold 90 say held wait"
        oom_priority = 10
        [services.leaker]
        command = "/witness say run grow 150 20 wait"
        depends_on = ["keeper"]
        oom_priority = 1
        max_restarts = 5
    "#;
    let limit = ["--memory", "200m", "--memory-swap", "200m"];
    let container = docker.start(&[&limit[..], &["--volume", &config(plan)]].concat(), "scratch", &[]);
    container.wait_for("the container runs short of memory: it uses ");
    container.wait_for_nth("leaker | run", 2);
    container.stop();
    let end = container.finish();
    assert_eq!((end.code, container.inspect("{{.State.OOMKilled}}").as_str()), (0, "false"), "{end:#?}");
    let kept = end.stdout.lines().filter(|line| *line == "keeper | held").count();
    assert_eq!(kept, 1, "it was never restarted: {end:#?}");
    assert!(end.stderr.contains("the container ran short of memory; restart 1/5"), "{end:#?}");
}

/// Nobody asked for a check, and the kernel did what it does: the truth is told.
#[test]
fn a_kill_by_the_kernel_is_told_as_that() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [services.app]
        command = "/witness say run grow 200 100 wait"
        max_restarts = 0
    "#;
    let limit = ["--memory", "64m", "--memory-swap", "64m"];
    let container = docker.start(&[&limit[..], &["--volume", &config(plan)]].concat(), "scratch", &[]);
    let end = container.finish();
    assert_eq!(end.code, 137, "{end:#?}");
    assert!(end.stderr.contains("out of memory"), "{end:#?}");
}
