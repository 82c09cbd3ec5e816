//! Memory: what is found of cgroups, what is weighed, cells, and what the OOM killer did. Each case has a cgroup of its own below ours,
//! of the version that has the memory controller here; `tests/vm` runs the same cases on machines of each kind.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tinysup::event::{
    Action, Cell, Child, ContainerMemory, Controller, Event, ExitStatus, InstanceId, Launch, Mark,
    MemoryFound, Pid, Role, StartError, Surroundings, Weight,
};
use tinysup::sys::Files;
use tinysup::units::Signal;

use crate::Case;
use crate::scene::{self, Scratch, needs_root, skip};
use crate::witness::witness_path;
use crate::world::{World, conditions, cpu_time, identity, service, shell, stays_idle};

pub const CASES: &[Case] = &[
    ("what_is_found_leaves_no_trace", what_is_found_leaves_no_trace),
    ("nothing_is_found_without_cgroups", nothing_is_found_without_cgroups),
    ("a_directory_that_only_looks_like_a_cgroup_is_none", a_directory_that_only_looks_like_a_cgroup_is_none),
    ("a_read_only_cgroup_has_no_cells", a_read_only_cgroup_has_no_cells),
    ("the_smallest_limit_counts_and_may_change", the_smallest_limit_counts_and_may_change),
    ("a_run_is_weighed_with_all_it_started", a_run_is_weighed_with_all_it_started),
    ("shared_memory_counts_once_where_that_is_known", shared_memory_counts_once_where_that_is_known),
    ("page_cache_is_not_counted", page_cache_is_not_counted),
    ("a_cell_holds_the_run_and_goes_with_it", a_cell_holds_the_run_and_goes_with_it),
    ("what_helps_a_service_is_in_its_cell", what_helps_a_service_is_in_its_cell),
    ("a_limit_kills_and_says_whom", a_limit_kills_and_says_whom),
    ("a_killed_helper_is_told_while_its_leader_lives", a_killed_helper_is_told_while_its_leader_lives),
    ("the_containers_limit_kills_and_is_told_once", the_containers_limit_kills_and_is_told_once),
    ("a_limit_that_cannot_be_set_is_a_failed_start", a_limit_that_cannot_be_set_is_a_failed_start),
    (
        "what_a_supervisor_left_is_taken_over_unless_somebody_is_in_it",
        what_a_supervisor_left_is_taken_over_unless_somebody_is_in_it,
    ),
    ("files_that_vanish_are_no_error", files_that_vanish_are_no_error),
    ("nobody_gets_our_descriptors_and_nobody_is_woken", nobody_gets_our_descriptors_and_nobody_is_woken),
    ("services_go_before_us", services_go_before_us),
    ("a_hundred_processes_are_weighed_quickly", a_hundred_processes_are_weighed_quickly),
];

pub const MIB: u64 = 1 << 20;

// ---- the scene ----

/// The version that has the memory controller here, and where it is mounted.
pub fn hierarchy() -> Option<(Controller, &'static Path)> {
    let places = [
        (Controller::V1, "/sys/fs/cgroup/memory", "memory.usage_in_bytes"),
        (Controller::V2, "/sys/fs/cgroup", "cgroup.controllers"),
    ];
    places.into_iter().map(|(version, path, file)| (version, Path::new(path), file)).find_map(
        |(version, path, file)| {
            let text = fs::read_to_string(path.join(file)).ok()?;
            (version == Controller::V1 || text.contains("memory")).then_some((version, path))
        },
    )
}

/// Our own cgroup in it.
fn own(version: Controller) -> PathBuf {
    let text = fs::read_to_string("/proc/self/cgroup").expect("a list");
    let wanted = |line: &&str| match version {
        Controller::V1 => {
            line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == "memory"))
        }
        Controller::V2 | Controller::None => line.starts_with("0::"),
    };
    let line = text.lines().find(wanted).expect("a line");
    PathBuf::from(line.splitn(3, ':').nth(2).expect("a path").trim_start_matches('/'))
}

/// A cgroup `outer/inner` of this case, with us in the inner one.
pub struct Box {
    pub version: Controller,
    pub outer: PathBuf,
    pub inner: PathBuf,
    before: PathBuf,
}

impl Box {
    /// Ends the case as one that cannot run here where none can be made.
    pub fn new() -> Self {
        needs_root();
        let Some((version, mount)) = hierarchy() else { skip("there is no memory cgroup here") };
        let before = mount.join(own(version));
        let outer = before.join(format!("case-{}", std::process::id()));
        let inner = outer.join("inner");
        let pass_on = |path: &Path| fs::write(path.join("cgroup.subtree_control"), "+memory");
        let made = fs::create_dir(&outer)
            .and_then(|()| {
                if version == Controller::V2 {
                    pass_on(&before).and_then(|()| pass_on(&outer))
                } else {
                    Ok(())
                }
            })
            .and_then(|()| fs::create_dir(&inner))
            .and_then(|()| fs::write(inner.join("cgroup.procs"), "0"));
        if let Err(error) = made {
            let _ = fs::remove_dir(&inner);
            let _ = fs::remove_dir(&outer);
            skip(&format!("no cgroup can be made at {}: {error}", before.display()));
        }
        Self { version, outer, inner, before }
    }

    fn file(&self, v1: &str, v2: &str) -> PathBuf {
        self.inner.join(if self.version == Controller::V1 { v1 } else { v2 })
    }

    pub fn set_limit(&self, path: &Path, mib: u64) {
        let name = if self.version == Controller::V1 { "memory.limit_in_bytes" } else { "memory.max" };
        fs::write(path.join(name), (mib * MIB).to_string()).expect("a limit");
    }

    /// The cgroups below ours.
    pub fn cells(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.inner).expect("a list").flatten();
        let names = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().expect("text")).collect();
        names.sort();
        names
    }

    /// The cells alone.
    pub fn cells_of_runs(&self) -> Vec<String> {
        self.cells().into_iter().filter(|name| name != "tinysup.init").collect()
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        crate::end_what_is_left();
        let _ = fs::write(self.before.join("cgroup.procs"), "0");
        let within = self.cells().into_iter().map(|name| self.inner.join(name));
        for path in within.chain([self.inner.clone(), self.outer.clone()]) {
            let _ = fs::remove_dir(path);
        }
    }
}

// ---- the driver ----

pub fn find(world: &mut World, pressure: bool) -> MemoryFound {
    world.perform(Action::FindMemory { pressure, cells: true });
    match world.events.pop() {
        Some(Event::MemoryFound(found)) => found,
        other => panic!("not found: {other:?}"),
    }
}

fn weigh(world: &mut World, runs: &[(Child, Pid)], pss: bool) -> (Vec<Weight>, Option<ContainerMemory>) {
    world.perform(Action::Weigh { client: None, runs: runs.to_vec(), container: true, pss });
    match world.events.pop() {
        Some(Event::Weighed { client: None, runs, container }) => (runs, container),
        other => panic!("not weighed: {other:?}"),
    }
}

/// The witness with these words.
pub fn witness(words: &str) -> Launch {
    service(std::iter::once(witness_path().to_str().expect("text")).chain(words.split(' ')))
}

pub fn in_cell(launch: Launch, mib: Option<u64>) -> Launch {
    Launch { cell: Some(Cell { memory_max: mib.map(|mib| mib * MIB) }), ..launch }
}

fn identity_of_nobody(mut launch: Launch) -> Launch {
    conditions(&mut launch).identity = identity("nobody-here");
    launch
}

/// Starts it and waits until it has said that.
fn start_and_wait_for(world: &mut World, launch: Launch, wanted: &str) -> (Child, Pid) {
    let (child, pid) = world.start(launch);
    until_said(world, child, wanted);
    (child, pid)
}

fn until_said(world: &mut World, child: Child, wanted: &str) {
    let mut text = String::new();
    world.until(wanted, |event| match event {
        Event::Output { child: of, bytes, .. } if *of == child => {
            text.push_str(&String::from_utf8_lossy(bytes));
            text.contains(wanted).then_some(())
        }
        _ => None,
    });
}

fn kill(world: &mut World, pid: Pid) {
    world.perform(Action::Signal { pid, signal: Signal::KILL });
    world.exit_of(pid);
}

/// All reports of kills so far, and whether the exit of `pid` came after them.
fn kills(world: &World) -> Vec<(Option<InstanceId>, u64)> {
    let killed = |event: &Event| match event {
        Event::OomKilled { instance, count } => Some((*instance, *count)),
        _ => None,
    };
    world.events.iter().filter_map(killed).collect()
}

/// The kernel adds up what each processor has counted only now and then (Linux 6.2, `percpu_counter` in `mm_struct`), so a little may be missing.
const UNCOUNTED_BYTES: u64 = MIB;

#[track_caller]
fn about(value: u64, mib: u64, more: u64) {
    assert!(
        (mib * MIB - UNCOUNTED_BYTES..(mib + more) * MIB).contains(&value),
        "{} MiB, not {mib} to {}",
        value / MIB,
        mib + more
    );
}

// ---- found ----

fn what_is_found_leaves_no_trace() {
    let group = Box::new();
    group.set_limit(&group.inner, 64);
    let mut world = World::new();
    // Where nobody wants a cgroup none is made, not even for a moment.
    let path = std::ffi::CString::new(group.inner.to_str().unwrap()).unwrap();
    // SAFETY: plain calls with a string that lives here.
    let watched = unsafe {
        let watched = libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
        assert!(libc::inotify_add_watch(watched, path.as_ptr(), libc::IN_CREATE) >= 0);
        watched
    };
    // SAFETY: there is room for as many bytes.
    let made = || unsafe { libc::read(watched, [0_u8; 4096].as_mut_ptr().cast(), 4096) } > 0;
    world.perform(Action::FindMemory { pressure: false, cells: false });
    let Some(Event::MemoryFound(likely)) = world.events.pop() else { panic!("not found") };
    assert!(likely.delegated && !made());
    assert_eq!(find(&mut world, false), likely);
    assert!(made(), "it is seen");
    let before = fs::read_to_string("/proc/self/cgroup").unwrap();
    let start = Instant::now();
    let found = find(&mut world, false);
    println!("found in {:?}: {found:?}", start.elapsed());
    assert_eq!(tinysup::config::World::memory(&Files), found, "what is likely is so");
    assert_eq!((found.controller, found.limit), (group.version, Some(64 * MIB)));
    assert!(found.delegated && !found.oom_group && found.total > 128 * MIB, "{found:?}");
    assert!(found.text.contains(group.inner.to_str().unwrap()), "{found:?}");
    assert_eq!(fs::read_to_string("/proc/self/cgroup").unwrap(), before);
    assert_eq!(group.cells(), [""; 0]);
    if group.version == Controller::V2 {
        assert_eq!(fs::read_to_string(group.inner.join("cgroup.subtree_control")).unwrap().trim(), "");
        fs::write(group.outer.join("memory.oom.group"), "1").unwrap();
        assert!(find(&mut world, false).oom_group);
    }
}

fn nothing_is_found_without_cgroups() {
    scene::own_mounts();
    let mut world = World::new();
    scene::hide("/sys/fs/cgroup");
    let found = find(&mut world, true);
    let total = found.total;
    assert!(total > 0);
    let text = "no memory cgroup can be seen".to_owned();
    assert_eq!(found, MemoryFound { total, text, ..MemoryFound::default() });
    assert_eq!(weigh(&mut world, &[], false), (vec![], None));
}

fn a_directory_that_only_looks_like_a_cgroup_is_none() {
    let Some((version, mount)) = hierarchy() else { skip("there is no memory cgroup here") };
    scene::own_mounts();
    let own = mount.join(own(version));
    scene::hide(mount.to_str().unwrap());
    fs::create_dir_all(&own).unwrap();
    for (name, text) in [
        ("memory.limit_in_bytes", "1048576"),
        ("memory.usage_in_bytes", "4096"),
        ("memory.max", "1048576"),
        ("cgroup.controllers", "memory"),
        ("cgroup.procs", &std::process::id().to_string()),
    ] {
        fs::write(own.join(name), text).unwrap();
        fs::write(mount.join(name), text).unwrap();
    }
    assert_eq!(find(&mut World::new(), false).controller, Controller::None);
}

fn a_read_only_cgroup_has_no_cells() {
    let group = Box::new();
    scene::own_mounts();
    let (_, mount) = hierarchy().unwrap();
    scene::mount("none", mount.to_str().unwrap(), "", libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY);
    let mut world = World::new();
    let found = find(&mut world, false);
    assert_eq!((found.controller, found.delegated), (group.version, false));
    assert!(found.text.ends_with(", read-only"), "{found:?}");
    let outcome = world.run(in_cell(shell("cat /proc/self/cgroup"), None));
    assert!(outcome.text().contains("/inner\n"), "{}", outcome.text());
    let StartError::Other { what, reason } = world.cannot(in_cell(shell("true"), Some(64))) else { panic!() };
    assert_eq!(what, "limit its memory by a cgroup of its own");
    assert_eq!(reason, format!("{}: Read-only file system", group.inner.display()));
    scene::mount("none", mount.to_str().unwrap(), "", libc::MS_REMOUNT | libc::MS_BIND);
}

fn the_smallest_limit_counts_and_may_change() {
    let group = Box::new();
    let mut world = World::new();
    assert_eq!(find(&mut world, false).limit, None);
    let limit = |world: &mut World| weigh(world, &[], false).1.expect("a container").limit;
    group.set_limit(&group.outer, 96);
    assert_eq!(limit(&mut world), Some(96 * MIB));
    group.set_limit(&group.inner, 80);
    assert_eq!((limit(&mut world), find(&mut world, false).limit), (Some(80 * MIB), Some(80 * MIB)));
    group.set_limit(&group.outer, 72);
    assert_eq!(limit(&mut world), Some(72 * MIB));
}

// ---- weighed ----

fn a_run_is_weighed_with_all_it_started() {
    let group = Box::new();
    let mut world = World::new();
    find(&mut world, false);
    // A helper in a session of its own, whose parent is gone; the largest is a child.
    let words = "helper 3600s beside hold 24 after 3600s then hold 8 wait";
    for launch in [witness(words), in_cell(witness(words), None)] {
        let cell = launch.cell.is_some();
        let (child, pid) = start_and_wait_for(&mut world, launch, "waiting");
        world.until_processes(pid, 24 * MIB);
        let (weights, container) = weigh(&mut world, &[(child, pid)], false);
        let [weight] = weights.as_slice() else { panic!("{weights:?}") };
        assert_eq!(
            (weight.instance, weight.processes, weight.pss),
            (Some(child.instance), 3, None),
            "{weight:?}"
        );
        about(weight.bytes, 32, 8);
        let (holder, held) = weight.holder.as_deref().expect("a holder");
        assert!(holder.pid != pid && holder.name.starts_with("tinysup-witness"), "{weight:?}");
        about(*held, 24, 4);
        // Linux 5.19 or newer in cgroup v2.
        let peak_is_told = group.file("memory.max_usage_in_bytes", "memory.peak").exists();
        let peak = weight.peak.map(|peak| peak >= weight.bytes);
        assert_eq!(peak, (cell && peak_is_told).then_some(true), "{weight:?}");
        let container = container.expect("a container");
        assert!(container.usage >= 32 * MIB && container.working_set <= container.usage, "{container:?}");
        assert!(container.working_set >= 32 * MIB, "{container:?}");
        let peak = container.peak.map(|peak| peak >= container.usage);
        assert_eq!(peak, peak_is_told.then_some(true), "{container:?}");
        let usage = fs::read_to_string(group.file("memory.usage_in_bytes", "memory.current")).unwrap();
        let now: u64 = usage.trim().parse().unwrap();
        assert!(container.usage.abs_diff(now) < 2 * MIB, "{container:?}, {now}");
        world.perform(Action::SignalGroup { leader: pid, signal: Signal::KILL });
        world.exit_of(pid);
        while !world.sweep(child, pid, Some(Signal::KILL)).is_empty() {
            world.wait(Duration::from_millis(20));
        }
    }
}

fn shared_memory_counts_once_where_that_is_known() {
    let _group = Box::new();
    let mut world = World::new();
    find(&mut world, false);
    let words = "share 4 20 wait";
    let (child, pid) = start_and_wait_for(&mut world, witness(words), "waiting");
    let (weights, _) = weigh(&mut world, &[(child, pid)], true);
    about(weights[0].bytes, 80, 16);
    about(weights[0].pss.expect("a sum"), 20, 6);
    let other = Child { instance: InstanceId(1), ..child };
    let launch = Rc::new(in_cell(witness(words), None));
    world.perform(Action::Spawn { child: other, launch, extra_env: Vec::new() });
    let Some(Event::Spawned { pid: second, .. }) = world.events.last() else { panic!() };
    let second = *second;
    until_said(&mut world, other, "waiting");
    let (weights, _) = weigh(&mut world, &[(child, pid), (other, second)], true);
    about(weights[1].bytes, 20, 6);
    assert_eq!(weights[1].processes, 4);
    for pid in [pid, second] {
        world.perform(Action::SignalGroup { leader: pid, signal: Signal::KILL });
        world.exit_of(pid);
    }
}

fn page_cache_is_not_counted() {
    let _group = Box::new();
    let scratch = Scratch::new();
    let file = scratch.path("large");
    if on_memory(&file) {
        skip("files are kept in memory here");
    }
    let mut world = World::new();
    find(&mut world, false);
    let words = format!("hold 8 cache {file} 48 wait");
    let (child, pid) = start_and_wait_for(&mut world, in_cell(witness(&words), None), "waiting");
    let (weights, container) = weigh(&mut world, &[(child, pid)], false);
    about(weights[0].bytes, 8, 10);
    let container = container.expect("a container");
    assert!(container.usage >= container.working_set + 40 * MIB, "{container:?}");
    kill(&mut world, pid);
}

fn on_memory(path: &str) -> bool {
    let directory = Path::new(path).parent().unwrap();
    let magic = nix::sys::statfs::statfs(directory).unwrap().filesystem_type();
    [nix::sys::statfs::TMPFS_MAGIC.0, 0x8584_58f6].contains(&magic.0) // and ramfs
}

// ---- cells ----

fn a_cell_holds_the_run_and_goes_with_it() {
    let group = Box::new();
    let mut world = World::new();
    // Not before it is known what there is.
    let outcome = world.run(in_cell(shell("cat /proc/self/cgroup"), None));
    assert!(outcome.text().contains("/inner\n"), "{}", outcome.text());
    find(&mut world, false);
    let (_, pid) = start_and_wait_for(&mut world, in_cell(witness("helper 3600s wait"), None), "waiting");
    assert_eq!(group.cells_of_runs(), ["tinysup-web.1"]);
    kill(&mut world, pid);
    assert_eq!(group.cells_of_runs(), ["tinysup-web.1"], "its helper is in it");
    // The next run is in the same as long as somebody holds it; and it goes with the last.
    let (child, pid) = start_and_wait_for(&mut world, in_cell(witness("wait"), None), "waiting");
    assert_eq!(group.cells_of_runs(), ["tinysup-web.1"]);
    kill(&mut world, pid);
    let found = world.sweep(child, pid, Some(Signal::KILL));
    assert_eq!(found.len(), 1, "{found:?}");
    world.exit_of(found[0].pid);
    world.wait(Duration::ZERO); // which lets it go
    assert_eq!(group.cells_of_runs(), [""; 0]);
    world.linux.finish();
    assert_eq!(group.cells(), [""; 0]);
}

fn what_helps_a_service_is_in_its_cell() {
    let _group = Box::new();
    let mut world = World::new();
    find(&mut world, false);
    let (child, pid) = start_and_wait_for(&mut world, in_cell(witness("wait"), Some(64)), "waiting");
    for role in [Role::StopCommand, Role::Probe(1)] {
        let helper = Child { role, ..child };
        let launch = Rc::new(shell("grep -c /tinysup-web.1$ /proc/self/cgroup"));
        world.perform(Action::Spawn { child: helper, launch, extra_env: Vec::new() });
        world.until("its word", |event| match event {
            Event::Output { child, bytes, .. } if *child == helper => {
                assert_eq!(bytes, b"1\n");
                Some(())
            }
            _ => None,
        });
    }
    kill(&mut world, pid);
}

fn a_limit_kills_and_says_whom() {
    let group = Box::new();
    let mut world = World::new();
    find(&mut world, false);
    for round in 1..=2 {
        let (child, pid) = world.start(in_cell(witness("grow 200 400"), Some(32)));
        assert_eq!(world.exit_of(pid), ExitStatus::Signal { signal: Signal::KILL, core: false });
        assert_eq!(kills(&world), [(Some(child.instance), 1)].repeat(round));
        let told = world.events.iter().position(|event| matches!(event, Event::OomKilled { .. }));
        let ended = world.events.iter().position(|event| matches!(event, Event::Exited { .. }));
        assert!(told < ended);
    }
    assert_eq!(group.cells_of_runs(), [""; 0]);
    // What it made below goes, too.
    let (_, pid) = start_and_wait_for(&mut world, in_cell(witness("wait"), None), "waiting");
    fs::create_dir_all(group.inner.join("tinysup-web.1/own/deeper")).unwrap();
    kill(&mut world, pid);
    assert_eq!(group.cells_of_runs(), [""; 0]);
    // And so does one whose run could not be made.
    world.cannot(identity_of_nobody(in_cell(shell("true"), None)));
    assert_eq!(group.cells_of_runs(), [""; 0]);
    // What is killed by somebody else is not told.
    let (_, pid) = start_and_wait_for(&mut world, in_cell(witness("wait"), Some(32)), "waiting");
    kill(&mut world, pid);
    weigh(&mut world, &[], false);
    assert_eq!(kills(&world).len(), 2);
}

fn a_killed_helper_is_told_while_its_leader_lives() {
    let group = Box::new();
    let mut world = World::new();
    find(&mut world, false);
    let (child, pid) = world.start(in_cell(witness("beside grow 200 400 then wait"), Some(32)));
    let told = |event: &Event| match event {
        Event::OomKilled { instance, count } => Some((*instance, *count)),
        _ => None,
    };
    let killed = if group.version == Controller::V2 {
        let counters = group.inner.join("memory.events");
        while !fs::read_to_string(&counters).unwrap().contains("oom_kill 1\n") {
            std::thread::yield_now();
        }
        let seen = Instant::now();
        let killed = world.until("the kernel's word", told); // without anybody asking
        // Who opens files while the victim's memory is not given back may be the next.
        assert!(seen.elapsed() >= Duration::from_millis(90), "looked at once: {:?}", seen.elapsed());
        killed
    } else {
        loop {
            world.perform(Action::Weigh {
                client: None,
                runs: vec![(child, pid)],
                container: false,
                pss: false,
            });
            if let Some(killed) = world.events.iter().find_map(told) {
                break killed;
            }
            world.wait(Duration::from_millis(100));
        }
    };
    assert_eq!(killed, (Some(child.instance), 1));
    kill(&mut world, pid);
    weigh(&mut world, &[], false);
    assert_eq!(kills(&world).len(), 1);
    // In another cell, whose count begins with nothing.
    while !group.cells_of_runs().is_empty() {
        world.wait(Duration::from_millis(20));
        weigh(&mut world, &[], false);
    }
    let (child, pid) = world.start(in_cell(witness("beside grow 200 400 then wait"), Some(32)));
    let left = group.inner.join("tinysup-web.1");
    let killed = || {
        let file = if group.version == Controller::V2 { "memory.events" } else { "memory.oom_control" };
        fs::read_to_string(left.join(file)).unwrap().contains("oom_kill 1")
    };
    while !killed() {
        std::thread::yield_now();
    }
    find(&mut world, false);
    assert_eq!(kills(&world)[1..], [(Some(child.instance), 1)], "not seen by anybody yet");
    kill(&mut world, pid);
}

fn the_containers_limit_kills_and_is_told_once() {
    let group = Box::new();
    let mut world = World::new();
    find(&mut world, false);
    group.set_limit(&group.inner, 64);
    let (_, pid) = world.start(witness("grow 200 400"));
    assert_eq!(world.exit_of(pid), ExitStatus::Signal { signal: Signal::KILL, core: false });
    assert_eq!(kills(&world), [(None, 1)]);
    // In a cell it is told as that of the cell, and not a second time.
    let (child, pid) = world.start(in_cell(witness("grow 200 400"), None));
    world.exit_of(pid);
    weigh(&mut world, &[], false);
    assert_eq!(kills(&world), [(None, 1), (Some(child.instance), 1)]);
    // Nothing is lost or told again when it is asked once more what there is.
    find(&mut world, false);
    weigh(&mut world, &[], false);
    assert_eq!(kills(&world).len(), 2);
}

fn a_limit_that_cannot_be_set_is_a_failed_start() {
    let group = Box::new();
    let mut world = World::new();
    let reason = |world: &mut World| match world.cannot(in_cell(shell("true"), Some(32))) {
        StartError::Other { what, reason } if what == "limit its memory by a cgroup of its own" => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&mut world), "it was not tried");
    find(&mut world, false);
    // Somebody has forbidden more of them since.
    if group.version == Controller::V2 {
        fs::write(group.inner.join("cgroup.max.descendants"), "0").unwrap();
        assert_eq!(reason(&mut world), "Resource temporarily unavailable");
        let outcome = world.run(in_cell(shell("echo runs"), None));
        assert_eq!(outcome.text(), "runs\n");
    }
}

fn what_a_supervisor_left_is_taken_over_unless_somebody_is_in_it() {
    let group = Box::new();
    let mut world = World::new();
    find(&mut world, false);
    let (_, first) = start_and_wait_for(&mut world, in_cell(witness("wait"), Some(48)), "waiting");
    let left = group.inner.join("tinysup-web.1");
    kill(&mut world, first);
    assert!(!left.exists());
    fs::create_dir(&left).unwrap();
    let (_, second) = start_and_wait_for(&mut world, in_cell(witness("wait"), None), "waiting");
    assert_eq!(group.cells_of_runs(), ["tinysup-web.1"]);
    kill(&mut world, second);
    fs::create_dir(&left).unwrap();
    let (_, stranger) = start_and_wait_for(&mut world, Launch { mark: None, ..witness("wait") }, "waiting");
    fs::write(left.join("cgroup.procs"), stranger.to_string()).unwrap();
    let (_, third) = start_and_wait_for(&mut world, in_cell(witness("wait"), None), "waiting");
    assert_eq!(group.cells_of_runs(), ["tinysup-web.1", "tinysup-web.1-2"]);
    kill(&mut world, third);
    kill(&mut world, stranger);
    assert_eq!(group.cells_of_runs(), ["tinysup-web.1"], "it is not ours");
}

// ---- around ----

fn files_that_vanish_are_no_error() {
    let group = Box::new();
    scene::own_mounts();
    let mut world = World::new();
    find(&mut world, true);
    let (child, pid) = start_and_wait_for(&mut world, in_cell(witness("hold 8 wait"), None), "waiting");
    let (_, mount) = hierarchy().unwrap();
    assert!(weigh(&mut world, &[(child, pid)], false).1.is_some());
    scene::hide(mount.to_str().unwrap());
    let (weights, container) = weigh(&mut world, &[(child, pid)], true);
    assert_eq!(container, None);
    about(weights[0].bytes, 8, 6);
    kill(&mut world, pid);
    let outcome = world.run(in_cell(shell("echo runs"), None));
    assert_eq!(outcome.text(), "runs\n");
    assert_eq!(find(&mut world, false).controller, Controller::None);
    stays_idle(&mut world);
    // SAFETY: plain call.
    unsafe {
        libc::umount2(std::ffi::CString::new(mount.to_str().unwrap()).unwrap().as_ptr(), libc::MNT_DETACH)
    };
    drop(group);
}

fn nobody_gets_our_descriptors_and_nobody_is_woken() {
    let _group = Box::new();
    let mut world = World::new();
    find(&mut world, true);
    let (_, pid) = start_and_wait_for(&mut world, in_cell(witness("wait"), Some(64)), "waiting");
    let mut open: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    stays_idle(&mut world);
    kill(&mut world, pid);
}

fn services_go_before_us() {
    let score = "cat /proc/self/oom_score_adj";
    let own = || fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse::<i32>().unwrap();
    for (inherited, expected) in [(None, own() + 20), (Some(936), 956), (Some(990), 1000), (Some(1000), 1000)]
    {
        if let Some(inherited) = inherited {
            fs::write("/proc/self/oom_score_adj", inherited.to_string()).unwrap();
        }
        let before = own();
        let mut world = World::new();
        assert_eq!(world.run(shell(score)).text().trim(), expected.to_string());
        let mut launch = shell(score);
        conditions(&mut launch).attributes.oom_score_adj = Some(1000);
        assert_eq!(world.run(launch).text().trim(), "1000");
        // One command is as if there were no init.
        let launch = Launch { surroundings: Surroundings::Command, ..shell(score) };
        assert_eq!(world.run(launch).text().trim(), before.to_string());
        assert_eq!(own(), before);
    }
}

fn a_hundred_processes_are_weighed_quickly() {
    const ROUNDS: u32 = 20;
    let _group = Box::new();
    for cells in [false, true] {
        let mut world = World::new();
        find(&mut world, false);
        let mut runs = Vec::new();
        for number in 0..10 {
            let child = Child { instance: InstanceId(number), run: 1, role: Role::Main };
            let mark = Mark { service: Rc::from("web"), instance: number + 1 };
            let cell = cells.then(Cell::default);
            let launch = Rc::new(Launch { mark: Some(mark), cell, ..witness("forks 9 wait") });
            world.perform(Action::Spawn { child, launch, extra_env: Vec::new() });
            let Some(Event::Spawned { pid, .. }) = world.events.last() else { panic!() };
            runs.push((child, *pid));
            until_said(&mut world, child, "waiting");
        }
        let before = cpu_time();
        for _ in 0..ROUNDS {
            let (weights, container) = weigh(&mut world, &runs, false);
            assert!(weights.iter().all(|weight| weight.processes == 10), "{weights:?}");
            assert!(container.is_some());
        }
        let took = cpu_time().saturating_sub(before) / ROUNDS;
        println!("100 processes weighed in {took:?} of CPU, cells: {cells}");
        // A thousandth of a core, looked at every five seconds; ten times as much, for a machine that is slow or emulated.
        assert!(took < Duration::from_millis(50), "{took:?}");
        for (_, pid) in runs {
            world.perform(Action::SignalGroup { leader: pid, signal: Signal::KILL });
            world.exit_of(pid);
        }
        world.linux.finish();
    }
}
