//! What is run in which machine: the cases about memory of `tests/kernel`, and those that only a machine of our own allows.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tinysup::event::{Action, Controller, Event, ExitStatus, InstanceId};
use tinysup::kernel::Kernel;
use tinysup::units::Signal;

use crate::container::LIMIT_MIB;
use crate::guest::{INIT, LOOPS};
use crate::memory::{self, Box, MIB, find, in_cell, witness};
use crate::world::{World, shell, stays_idle};
use crate::{Case, scene};

const OURS: &[Case] = &[
    ("without_the_controller_there_is_nothing_to_find", without_the_controller_there_is_nothing_to_find),
    ("hybrid_has_it_in_v1", hybrid_has_it_in_v1),
    ("who_is_where_we_are_moves_with_us", who_is_where_we_are_moves_with_us),
    ("a_container_sees_its_own_part", a_container_sees_its_own_part),
    ("why_a_cgroup_cannot_be_made_is_told", why_a_cgroup_cannot_be_made_is_told),
    ("a_squeeze_is_told", a_squeeze_is_told),
    ("a_cgroup_that_is_gone_wakes_nobody", a_cgroup_that_is_gone_wakes_nobody),
    ("the_wall_clock_jumps", the_wall_clock_jumps),
    ("a_crash_loop_while_the_wall_clock_jumps", a_crash_loop_while_the_wall_clock_jumps),
    ("a_container_of_docker", a_container_of_docker),
    ("a_container_of_docker_with_a_writable_cgroup", a_container_of_docker_with_a_writable_cgroup),
];

/// Not where all files are in memory, and not where time tells nothing.
const NOT_HERE: [&str; 2] = ["page_cache_is_not_counted", "a_hundred_processes_are_weighed_quickly"];

pub fn all() -> Vec<Case> {
    [memory::CASES, OURS].concat()
}

/// By the name of the layout.
pub fn of(layout: &str) -> Vec<&'static str> {
    let shared = memory::CASES.iter().map(|(name, _)| *name).filter(|name| !NOT_HERE.contains(name));
    match layout {
        "v2" => shared
            .chain([
                "who_is_where_we_are_moves_with_us",
                "a_container_sees_its_own_part",
                "why_a_cgroup_cannot_be_made_is_told",
                "a_squeeze_is_told",
                "a_cgroup_that_is_gone_wakes_nobody",
            ])
            .collect(),
        "v1" => shared.chain(["a_container_sees_its_own_part"]).collect(),
        "hybrid" => {
            vec!["hybrid_has_it_in_v1", "a_limit_kills_and_says_whom", "nothing_is_found_without_cgroups"]
        }
        "none" => vec![
            "without_the_controller_there_is_nothing_to_find",
            "nothing_is_found_without_cgroups",
            "services_go_before_us",
            "the_wall_clock_jumps",
            "a_crash_loop_while_the_wall_clock_jumps",
        ],
        other => panic!("no layout {other}"),
    }
}

fn without_the_controller_there_is_nothing_to_find() {
    let mut world = World::new();
    let found = find(&mut world, true);
    assert_eq!((found.controller, found.limit, found.delegated), (Controller::None, None, false));
    assert_eq!(world.run(in_cell(shell("echo runs"), None)).text(), "runs\n");
    let error = world.cannot(in_cell(shell("true"), Some(64))).to_string();
    assert_eq!(error, "cannot limit its memory by a cgroup of its own: no memory cgroup can be seen");
}

fn hybrid_has_it_in_v1() {
    let group = Box::new();
    assert_eq!(group.version, Controller::V1);
    fs::create_dir("/sys/fs/cgroup/unified/other").unwrap();
    fs::write("/sys/fs/cgroup/unified/other/cgroup.procs", "0").unwrap();
    let found = find(&mut World::new(), true);
    assert_eq!(found.controller, Controller::V1);
    assert!(found.delegated && found.text.contains("/sys/fs/cgroup/memory"), "{found:?}");
    fs::write("/sys/fs/cgroup/unified/cgroup.procs", "0").unwrap();
    fs::remove_dir("/sys/fs/cgroup/unified/other").unwrap();
}

/// A service without a cell, or a shell of `docker exec`, before there are cells.
fn who_is_where_we_are_moves_with_us() {
    let group = Box::new();
    let mut world = World::new();
    assert!(find(&mut world, false).delegated);
    let (_, first) = world.start(witness("wait"));
    let place = |pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap().trim().to_owned();
    assert!(place(first).ends_with("/inner"));
    let (_, second) = world.start(in_cell(witness("wait"), Some(32)));
    assert!(place(first).ends_with("/inner/tinysup.init"), "{}", place(first));
    assert!(place(second).ends_with("/inner/tinysup-web.1"), "{}", place(second));
    // A supervisor that is started where the one before it ended sees the same.
    let again = find(&mut world, false);
    assert!(again.delegated && again.text.ends_with("/inner"), "{again:?}");
    assert!(place(second).ends_with("/inner/tinysup-web.1"));
    for pid in [first, second] {
        world.perform(Action::Signal { pid, signal: Signal::KILL });
        world.exit_of(pid);
    }
    world.linux.finish();
    assert_eq!(group.cells(), [""; 0]);
    assert!(place(tinysup_pid()).ends_with("/inner"));
}

fn tinysup_pid() -> tinysup::event::Pid {
    tinysup::event::Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap()
}

/// PID 1 of namespaces of its own, with its part of the hierarchy mounted as runc does.
fn a_container_sees_its_own_part() {
    const INNER: &str = "CASE_INNER";
    let (version, mount) = memory::hierarchy().unwrap();
    if std::process::id() != 1 {
        let group = Box::new();
        group.set_limit(&group.outer, 128); // not to be seen from inside
        group.set_limit(&group.inner, 64);
        // SAFETY: one thread.
        unsafe {
            assert_eq!(libc::unshare(libc::CLONE_NEWCGROUP), 0);
            std::env::set_var(INNER, &group.inner);
        }
        // Whoever waits for the container is not in it.
        fs::write(mount.join("cgroup.procs"), "0").unwrap();
        std::mem::forget(group); // this process ends in the next line, and soon the machine
    }
    scene::as_pid_1();
    fs::write(Path::new(&std::env::var(INNER).unwrap()).join("cgroup.procs"), "0").unwrap();
    scene::hide("/sys/fs/cgroup");
    let (kind, options) = if version == Controller::V1 { ("cgroup", "memory") } else { ("cgroup2", "") };
    fs::create_dir_all(mount).unwrap();
    scene::mount_with(kind, mount.to_str().unwrap(), kind, 0, options);
    let mut world = World::new();
    let found = find(&mut world, false);
    assert_eq!(
        (found.controller, found.limit, found.delegated),
        (version, Some(64 * MIB), true),
        "{found:?}"
    );
    let (child, pid) = world.start(in_cell(witness("grow 200 400"), Some(32)));
    assert_eq!(world.exit_of(pid), ExitStatus::Signal { signal: Signal::KILL, core: false });
    assert!(world.events.iter().any(
        |event| matches!(event, Event::OomKilled { instance, count: 1 } if *instance == Some(child.instance))
    ));
}

/// One below ours is where we go ourselves.
fn why_a_cgroup_cannot_be_made_is_told() {
    let group = Box::new();
    fs::write(group.inner.join("cgroup.max.descendants"), "1").unwrap();
    let mut world = World::new();
    find(&mut world, false);
    let error = world.cannot(in_cell(shell("true"), Some(64))).to_string();
    let place = group.inner.display();
    assert_eq!(
        error,
        format!("cannot limit its memory by a cgroup of its own: {place}: Resource temporarily unavailable")
    );
    assert_eq!(group.cells(), [""; 0]);
    fs::write(group.inner.join("cgroup.max.descendants"), "max").unwrap();
    find(&mut world, false);
    assert_eq!(world.run(in_cell(shell("echo runs"), Some(64))).text(), "runs\n");
}

/// Whoever allocates beyond `memory.high` is made to wait for the reclaim.
fn a_squeeze_is_told() {
    let group = Box::new();
    let mut world = World::new();
    find(&mut world, true);
    let (_, calm) = world.start(witness("hold 8 wait"));
    world.wait(Duration::from_secs(3));
    assert!(!world.events.iter().any(|event| matches!(event, Event::Pressure)), "{:?}", world.events);
    fs::write(group.inner.join("memory.high"), (24 * MIB).to_string()).unwrap();
    let (_, pid) = world.start(witness("grow 64 100 wait"));
    world.until("pressure", |event| matches!(event, Event::Pressure).then_some(()));
    fs::write(group.inner.join("memory.high"), "max").unwrap();
    for pid in [calm, pid] {
        world.perform(Action::Signal { pid, signal: Signal::KILL });
        world.exit_of(pid);
    }
}

/// Of its files the kernel says without end that there is something new.
fn a_cgroup_that_is_gone_wakes_nobody() {
    let group = Box::new();
    let mut world = World::new();
    find(&mut world, true);
    assert!(fs::read_dir("/proc/self/fd").unwrap().flatten().any(|entry| {
        fs::read_link(entry.path()).is_ok_and(|path| path.ends_with("inner/memory.pressure"))
    }));
    fs::write(group.outer.parent().unwrap().join("cgroup.procs"), "0").unwrap();
    fs::remove_dir(&group.inner).unwrap();
    stays_idle(&mut world);
    assert!(!world.events.iter().any(|event| matches!(event, Event::Pressure | Event::OomKilled { .. })));
    assert_eq!(world.run(shell("echo runs")).text(), "runs\n");
    fs::create_dir(&group.inner).unwrap();
}

/// Sets it so much later or earlier.
fn step(seconds: i64) {
    // SAFETY: writes a time that lives here, then reads it.
    unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        assert_eq!(libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now), 0);
        now.tv_sec += seconds;
        assert_eq!(libc::clock_settime(libc::CLOCK_REALTIME, &raw const now), 0);
    }
}

const TEN_YEARS: i64 = 10 * 365 * 86_400;

/// Only what is told follows it.
fn the_wall_clock_jumps() {
    const WAIT: Duration = Duration::from_millis(300);
    step(2 * TEN_YEARS); // the machine may have begun in 1970
    let mut world = World::new();
    let (_, steady) = world.start(witness("wait"));
    let real = Instant::now();
    let begin = world.linux.now();
    for jump in [TEN_YEARS, -2 * TEN_YEARS, TEN_YEARS] {
        let until = world.linux.now() + WAIT;
        step(jump);
        while world.linux.now() < until {
            world.wait(WAIT);
        }
        let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let (_, pid) = world.start(shell("echo what is the time"));
        let told = world.until("output", |event| match event {
            Event::Output { bytes, at, .. } if bytes.starts_with(b"what") => Some(u128::from(at.0)),
            _ => None,
        });
        assert!(wall().abs_diff(told) < 60_000, "told at {told}, and it is {}", wall());
        world.exit_of(pid);
    }
    let passed = world.linux.now().since(begin);
    let real = real.elapsed();
    assert!(passed >= 3 * WAIT && passed <= real, "{passed:?} of {real:?}");
    assert!(real.saturating_sub(passed) < Duration::from_secs(1), "{passed:?} of {real:?}");
    world.perform(Action::Signal { pid: steady, signal: Signal::KILL });
    world.exit_of(steady);
}

/// Five waits of 0.2 s take a second, and not ten years more or less.
fn a_crash_loop_while_the_wall_clock_jumps() {
    step(2 * TEN_YEARS);
    let start = Instant::now();
    let mut tinysup = Command::new(INIT).args(["-c", LOOPS.file]).spawn().unwrap();
    let code = loop {
        for jump in [TEN_YEARS, -2 * TEN_YEARS, TEN_YEARS] {
            step(jump);
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(status) = tinysup.try_wait().unwrap() {
            break status.code();
        }
        assert!(start.elapsed() < Duration::from_mins(2), "no end of it");
    };
    assert_eq!(code, Some(i32::try_from(LOOPS.code).unwrap()));
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

/// Inside of the container that `container` makes, which looks at what is said here.
fn a_container_of_docker() {
    let mut world = World::new();
    let found = find(&mut world, false);
    println!("{found:?}");
    assert_eq!((found.limit, found.delegated), (Some(LIMIT_MIB * MIB), false));
    assert!(found.controller != Controller::None && found.text.ends_with(", read-only"), "{found:?}");
    let (child, pid) = world.start(witness("hold 16 wait"));
    world.until("16 MiB", |event| {
        matches!(event, Event::Output { bytes, .. } if bytes.starts_with(b"holds")).then_some(())
    });
    let container = |world: &mut World| {
        world.perform(Action::Weigh { client: None, runs: vec![(child, pid)], container: true, pss: false });
        match world.events.pop() {
            Some(Event::Weighed { container: Some(container), runs, .. }) => (container, runs),
            other => panic!("not weighed: {other:?}"),
        }
    };
    let (weighed, runs) = container(&mut world);
    assert!(runs[0].bytes >= 16 * MIB && weighed.working_set >= 16 * MIB, "{weighed:?}, {runs:?}");
    println!("weighed {}", weighed.working_set);
    let limit = loop {
        match container(&mut world).0.limit {
            Some(limit) if limit != LIMIT_MIB * MIB => break limit,
            _ => world.wait(Duration::from_millis(100)),
        }
    };
    println!("limit {limit}");
    let (_, hog) = world.start(witness("grow 200 200"));
    assert_eq!(world.exit_of(hog), ExitStatus::Signal { signal: Signal::KILL, core: false });
    // Told before the end, which was the last that happened.
    println!("killed {}", killed(&world, None));
}

fn a_container_of_docker_with_a_writable_cgroup() {
    let mut world = World::new();
    let found = find(&mut world, false);
    println!("{found:?}");
    assert_eq!((found.limit, found.delegated), (Some(LIMIT_MIB * MIB), true));
    let (child, pid) = world.start(in_cell(witness("grow 200 200"), Some(24)));
    assert_eq!(world.exit_of(pid), ExitStatus::Signal { signal: Signal::KILL, core: false });
    println!("killed {}", killed(&world, Some(child.instance)));
}

/// How many of this instance, or of none.
fn killed(world: &World, of: Option<InstanceId>) -> u64 {
    let count = |event: &Event| match event {
        Event::OomKilled { instance, count } if *instance == of => Some(*count),
        _ => None,
    };
    world.events.iter().filter_map(count).sum()
}

/// At the root of all cgroups, which is not accounted like the others.
pub fn as_the_kernels_pid_1(layout: &str) {
    let mut world = World::new();
    let found = find(&mut world, true);
    println!("machine: {found:?}");
    let expected = match layout {
        "v2" => Controller::V2,
        "v1" | "hybrid" => Controller::V1,
        _ => Controller::None,
    };
    assert_eq!(
        (found.controller, found.limit, found.delegated),
        (expected, None, expected != Controller::None)
    );
    if found.delegated {
        let (child, pid) = world.start(in_cell(witness("grow 200 400"), Some(32)));
        world.exit_of(pid);
        assert_eq!((killed(&world, Some(child.instance)), killed(&world, None)), (1, 0));
    }
    world.linux.finish();
}
