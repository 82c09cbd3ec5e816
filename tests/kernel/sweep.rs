//! What services leave behind, and who else is there.

use std::time::{Duration, Instant};

use tinysup::event::{Action, Child, Event, InstanceId, Launch, Pid, Process, Rlimit, Role, Secret};
use tinysup::units::Signal;

use crate::Case;
use crate::scene::{self, needs_root};
use crate::world::{World, conditions, helper, identity, service, shell};

pub const CASES: &[Case] = &[
    ("nothing_left_is_found_quickly", nothing_left_is_found_quickly),
    ("what_stays_in_the_group", what_stays_in_the_group),
    ("what_left_the_group_but_carries_the_mark", what_left_the_group_but_carries_the_mark),
    ("the_number_comes_before_the_variables", the_number_comes_before_the_variables),
    ("large_environments_are_few", large_environments_are_few),
    ("where_no_number_can_be_carried_the_variables_do", where_no_number_can_be_carried_the_variables_do),
    ("descendants_without_the_mark", descendants_without_the_mark),
    ("what_runs_as_another_user", what_runs_as_another_user),
    ("stopped_processes_act_on_the_signal", stopped_processes_act_on_the_signal),
    ("other_services_are_left_alone", other_services_are_left_alone),
    ("a_reused_number_means_nothing", a_reused_number_means_nothing),
    ("a_look_signals_nobody", a_look_signals_nobody),
    ("strays_are_our_descendants", strays_are_our_descendants),
    ("strays_of_pid_1_are_everybody", strays_of_pid_1_are_everybody),
    ("without_proc", without_proc),
    ("who_listens", who_listens),
    ("who_holds_very_many_files_is_not_searched", who_holds_very_many_files_is_not_searched),
    ("where_a_run_listens", where_a_run_listens),
    ("where_a_run_of_another_user_listens", where_a_run_of_another_user_listens),
    ("the_termination_log", the_termination_log),
];

/// Runs a script that leaves something behind and ends.
fn leader(world: &mut World, launch: Launch) -> (Child, Pid) {
    let (child, pid) = world.start(launch);
    world.exit_of(pid);
    (child, pid)
}

fn names(found: &[Process]) -> Vec<&str> {
    let mut names: Vec<&str> = found.iter().map(|process| process.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// Sends the signal and waits until nothing of it is left.
fn until_gone(world: &mut World, child: Child, leader: Pid, signal: Signal) {
    let began = Instant::now();
    let mut signal = Some(signal);
    while !world.sweep(child, leader, signal).is_empty() {
        signal = None;
        assert!(began.elapsed() < Duration::from_secs(10), "still there");
        world.wait(Duration::from_millis(20));
    }
}

/// A script that goes on only when its background process is what it shall be, so that nobody looks too early.
fn leaves(command: &str, named: &str) -> Launch {
    shell(&format!("{command} & while ! grep -qs '^{named}' /proc/$!/comm; do :; done; exit 1"))
}

fn nothing_left_is_found_quickly() {
    let mut world = World::new();
    for _ in 0..50 {
        world.start(service(["/bin/sleep", "1000"]));
    }
    let (child, pid) = leader(&mut world, shell("exit 1"));
    let began = Instant::now();
    assert_eq!(world.sweep(child, pid, Some(Signal::TERM)), []);
    println!("looked for {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_millis(5));
}

fn what_stays_in_the_group() {
    let mut world = World::new();
    let mut launch = leaves("sleep 1000", "sleep");
    launch.mark = None; // it is known by its group alone
    let (child, pid) = leader(&mut world, launch);
    assert_eq!(names(&world.sweep(child, pid, None)), ["sleep"]);
    until_gone(&mut world, child, pid, Signal::TERM);
}

fn what_left_the_group_but_carries_the_mark() {
    let mut world = World::new();
    // Twice forked, in a session of its own.
    let (child, pid) = leader(&mut world, leaves("setsid sh -c 'sleep 1000 & wait'", "sh"));
    let began = Instant::now();
    while names(&world.sweep(child, pid, None)) != ["sh", "sleep"] {
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    until_gone(&mut world, child, pid, Signal::TERM);
}

/// Whose number says that it is another's is not read any further.
fn the_number_comes_before_the_variables() {
    let mut world = World::new();
    let mut launch = leaves("setsid sleep 1000", "sleep");
    let number = 1 << 62 | u64::from(std::process::id()) << 24 | 5;
    conditions(&mut launch).attributes.rlimits = vec![Rlimit { resource: 10, soft: number, hard: u64::MAX }];
    let (child, pid) = leader(&mut world, launch);
    assert_eq!(world.sweep(child, pid, None), []);
    until_gone(&mut world, Child { instance: InstanceId(5), ..child }, pid, Signal::KILL);
}

/// Of those who have no number so much is read at once, however many there are and however much they have.
fn large_environments_are_few() {
    let mut world = World::new();
    let script = "for i in 1 2 3 4 5 6 7 8; do setsid sleep 1000 & pids=\"$pids $!\"; done
         for pid in $pids; do while ! grep -qs '^sleep' /proc/$pid/comm; do :; done; done; exit 1";
    let mut launch = shell(script);
    conditions(&mut launch).attributes.rlimits = vec![
        Rlimit { resource: 10, soft: u64::MAX, hard: u64::MAX },
        Rlimit { resource: 3, soft: 64 << 20, hard: u64::MAX },
    ];
    let large = || Secret::new("x".repeat(125_000));
    conditions(&mut launch).env = (0..15).map(|name| (format!("LARGE{name}").into(), large())).collect();
    let (child, pid) = leader(&mut world, launch);
    let found = world.sweep(child, pid, None).len();
    assert!((3..=4).contains(&found), "{found} were read");
    while !world.sweep(child, pid, Some(Signal::KILL)).is_empty() {
        world.wait(Duration::from_millis(10));
    }
}

/// gVisor tells the limit of locks and lets nobody set it. Only whoever asks for such a limit himself does not start.
fn where_no_number_can_be_carried_the_variables_do() {
    const LOCKS: u32 = 10;
    // prlimit(pid, resource, new, old)
    scene::refuse(libc::SYS_prlimit64, &[(1, true, LOCKS), (2, false, 0)], libc::EPERM.unsigned_abs());
    let mut world = World::new();
    let (child, pid) = leader(&mut world, leaves("setsid sleep 1000", "sleep"));
    assert_eq!(names(&world.sweep(child, pid, None)), ["sleep"]);
    until_gone(&mut world, child, pid, Signal::TERM);
    let mut launch = service(["/bin/true"]);
    conditions(&mut launch).attributes.rlimits = vec![Rlimit { resource: LOCKS, soft: 1, hard: u64::MAX }];
    let told = world.run(launch).error.expect("it does not start").to_string();
    assert!(told.contains("cannot set the limit locks to 1"), "{told}");
}

fn descendants_without_the_mark() {
    let mut world = World::new();
    let (child, pid) =
        leader(&mut world, leaves("setsid sh -c 'env -i setsid sleep 1000 & exec sleep 2000'", "sleep"));
    let began = Instant::now();
    while names(&world.sweep(child, pid, None)) != ["sleep", "sleep"] {
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(world.sweep(child, pid, Some(Signal::KILL)).len(), 2);
    until_gone(&mut world, child, pid, Signal::KILL);
}

/// As root in a container: other users' processes may be signalled, but not looked at.
fn what_runs_as_another_user() {
    const SYS_PTRACE: u32 = 19;
    needs_root();
    scene::without_capability(SYS_PTRACE);
    let mut world = World::new();
    let mut launch = leaves("setsid sleep 1000", "sleep");
    conditions(&mut launch).identity =
        tinysup::event::Identity { group: Some("54321".into()), ..identity("12345") };
    let (child, pid) = leader(&mut world, launch);
    assert_eq!(names(&world.sweep(child, pid, None)), ["sleep"]);
    // SAFETY: only ask.
    let own =
        unsafe { (libc::setfsuid(u32::MAX), libc::setfsgid(u32::MAX), libc::prctl(libc::PR_GET_DUMPABLE)) };
    assert_eq!(own, (0, 0, 1));
    until_gone(&mut world, child, pid, Signal::TERM);
}

fn stopped_processes_act_on_the_signal() {
    let mut world = World::new();
    let (child, pid) = leader(&mut world, leaves("sh -c 'kill -STOP $$; exec sleep 1000'", "sh"));
    let found = world.sweep(child, pid, None);
    world.until_process(found[0].pid, |stat| stat.contains(") T "));
    until_gone(&mut world, child, pid, Signal::TERM);
}

fn other_services_are_left_alone() {
    let mut world = World::new();
    // Same service, same mark: a later run that lives, and what it has started.
    let (_, alive) = world.start(shell("sleep 1000 & wait"));
    let (child, pid) = leader(&mut world, leaves("sleep 1000", "sleep"));
    assert_eq!(world.sweep(child, pid, None).len(), 1);
    until_gone(&mut world, child, pid, Signal::KILL);
    let children = std::fs::read_to_string(format!("/proc/{alive}/task/{alive}/children")).unwrap();
    assert_eq!(children.split_whitespace().count(), 1);
}

/// A later leader bears the number of an earlier one: what it leaves behind is not the earlier one's.
fn a_reused_number_means_nothing() {
    let mut world = World::new();
    let mut launch = leaves("sleep 1000", "sleep");
    launch.mark = None;
    let (_, released) = leader(&mut world, launch);
    let other = Child { instance: InstanceId(7), run: 1, role: Role::Main };
    let (_, alive) = world.start(service(["/bin/sleep", "1000"]));
    assert_eq!(world.sweep(other, alive, None), []);
    assert_eq!(world.sweep(other, released, None).len(), 1); // nobody else bears it
}

fn a_look_signals_nobody() {
    let mut world = World::new();
    let (child, pid) = leader(&mut world, leaves("sleep 1000", "sleep"));
    let first = world.sweep(child, pid, None);
    for _ in 0..10 {
        world.wait(Duration::from_millis(5));
        assert_eq!(world.sweep(child, pid, None), first);
    }
}

fn strays(world: &mut World, signal: Option<Signal>) -> Vec<Process> {
    world.perform(Action::SweepStrays { signal });
    match world.events.pop() {
        Some(Event::Strays { found }) => found,
        other => panic!("{other:?}"),
    }
}

fn strays_are_our_descendants() {
    let mut world = World::new();
    assert_eq!(strays(&mut world, Some(Signal::KILL)), []);
    let mut launch = leaves("env -i setsid sh -c 'sleep 1000 & wait'", "sh");
    launch.mark = None;
    let _ = leader(&mut world, launch);
    let began = Instant::now();
    while names(&strays(&mut world, None)) != ["sh", "sleep"] {
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(strays(&mut world, Some(Signal::TERM)).len(), 2);
    while !strays(&mut world, None).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(10));
        world.wait(Duration::from_millis(20));
    }
}

fn strays_of_pid_1_are_everybody() {
    scene::as_pid_1();
    let mut world = World::new();
    assert_eq!(strays(&mut world, Some(Signal::TERM)), []);
    let _ = leader(&mut world, leaves("sh -c 'kill -STOP $$; exec sleep 1000'", "sh"));
    let (_, alive) = world.start(service(["/bin/sleep", "1000"]));
    let found = strays(&mut world, Some(Signal::TERM));
    assert_eq!(names(&found), ["sh", "sleep"]);
    assert!(found.iter().any(|process| process.pid == alive));
    let began = Instant::now();
    while !strays(&mut world, None).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(10));
        world.wait(Duration::from_millis(20));
    }
}

fn without_proc() {
    scene::as_pid_1();
    scene::hide("/proc");
    let mut world = World::new();
    assert!(world.run(service(["/bin/true"])).executed);
    let error = world.cannot(service(["/none"])).to_string();
    assert_eq!(error, "\"/none\" does not exist");

    let (child, pid) = leader(&mut world, shell("sleep 1000 & sleep 0.1; exit 1"));
    assert_eq!(world.sweep(child, pid, None).len(), 1);
    until_gone(&mut world, child, pid, Signal::TERM);

    let _ = leader(&mut world, shell("sleep 1000 & sleep 0.1; exit 1"));
    assert_eq!(strays(&mut world, None).len(), 1);
    let began = Instant::now();
    while !strays(&mut world, Some(Signal::KILL)).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(10));
        world.wait(Duration::from_millis(20));
    }
}

fn who_listens() {
    // Where nobody else's files are looked at first.
    scene::as_pid_1();
    let instance = InstanceId(3);
    let mut world = World::new();
    let mut ask = |port| {
        world.perform(Action::FindListener { instance, port });
        match world.events.pop() {
            Some(Event::Listener { instance: of, port: asked, listener }) => {
                assert_eq!((of, asked), (instance, port));
                listener
            }
            other => panic!("{other:?}"),
        }
    };
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(socket) = std::net::TcpListener::bind(address) else { continue };
        let address = socket.local_addr().unwrap();
        let found = ask(address.port()).unwrap();
        assert_eq!(found.address, address.to_string());
        assert_eq!(found.process.unwrap().pid.number(), std::process::id().cast_signed());
        drop(socket);
        assert_eq!(ask(address.port()), None);
    }
}

/// A look at each takes a microsecond or two, in which nobody else has a turn.
fn who_holds_very_many_files_is_not_searched() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let mut world = World::new();
    let null = std::fs::File::open("/dev/null").unwrap();
    let Ok(_held) = (0..5_000).map(|_| null.try_clone()).collect::<Result<Vec<_>, _>>() else {
        scene::skip("needs 5,000 open files");
    };
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (instance, port) = (InstanceId(3), socket.local_addr().unwrap().port());
    world.perform(Action::FindListener { instance, port });
    let Some(Event::Listener { listener: Some(found), .. }) = world.events.pop() else { panic!("not found") };
    assert_eq!(found.process, None);
}

fn listening(world: &mut World, child: Child, leader: Pid) -> Vec<String> {
    world.perform(Action::FindListening { child, leader });
    match world.events.pop() {
        Some(Event::Listening { child: of, addresses }) if of == child => addresses,
        other => panic!("{other:?}"),
    }
}

/// The addresses that so many listening helpers have printed.
fn printed(world: &mut World, wanted: Child, helpers: usize) -> Vec<String> {
    let mut text = String::new();
    world.until("what it listens on", |event| match event {
        Event::Output { child, bytes, .. } if *child == wanted => {
            text.push_str(std::str::from_utf8(bytes).unwrap());
            (text.matches("ready\n").count() == helpers).then_some(())
        }
        _ => None,
    });
    text.lines().filter(|line| *line != "ready").map(str::to_owned).collect()
}

fn where_a_run_listens() {
    let scratch = scene::Scratch::new();
    let (stream, datagrams) = (scratch.path("a b"), scratch.path("datagrams"));
    let exe = std::env::current_exe().unwrap();
    let listen = |places: &str| format!("{} --helper listen {places}", exe.display());
    let mut world = World::new();
    let (child, leader) = world.start(shell(&format!(
        "{} & (setsid sh -c '{} &' &) ; exec {}",
        listen("tcp:127.0.0.1:0 tcp:127.0.0.1:0"),
        listen(&format!(
            "tcp:0.0.0.0:0 datagrams:{datagrams} name:tinysup-{leader}",
            leader = std::process::id()
        )),
        listen(&format!("'unix:{stream}'")),
    )));
    let mut expected = printed(&mut world, child, 3);
    assert_eq!(expected.len(), 3);
    expected.sort_by_key(|address| address.parse::<std::net::SocketAddr>().unwrap());
    expected.extend([stream, datagrams, format!("@tinysup-{}", std::process::id())]);
    expected[3..].sort();
    // Another service, and who is connected only.
    let other = world.new_child();
    let other = Child { instance: InstanceId(1), ..other };
    world.perform(Action::Spawn {
        child: other,
        launch: std::rc::Rc::new(helper(&["listen", "tcp:127.0.0.1:0"])),
        extra_env: Vec::new(),
    });
    let Some(Event::Spawned { pid, .. }) = world.events.last() else { panic!("not spawned") };
    let pid = *pid;
    let others = printed(&mut world, other, 1);
    let _connection = std::net::TcpStream::connect(&expected[0]).unwrap();
    assert_eq!(listening(&mut world, child, leader), expected);
    assert_eq!(listening(&mut world, other, pid), others);
    // What a run has left behind belongs to its instance until it is gone.
    world.perform(Action::Signal { pid: leader, signal: Signal::KILL });
    world.exit_of(leader);
    expected.remove(3); // the leader's own
    assert_eq!(listening(&mut world, child, leader), expected);
    until_gone(&mut world, child, leader, Signal::KILL);
    assert_eq!(listening(&mut world, child, leader), Vec::<String>::new());
    // Nobody reads a hundred.
    let (child, leader) = world.start(shell(&format!("exec {}", listen(&"tcp:127.0.0.1:0 ".repeat(20)))));
    assert_eq!(printed(&mut world, child, 1).len(), 20);
    assert_eq!(listening(&mut world, child, leader).len(), 8);
}

/// As root in a container, which may not look at what others have open.
fn where_a_run_of_another_user_listens() {
    const SYS_PTRACE: u32 = 19;
    needs_root();
    scene::without_capability(SYS_PTRACE);
    let mut world = World::new();
    let mut launch = service(["/proc/self/exe", "--helper", "listen", "tcp:127.0.0.1:0"]);
    conditions(&mut launch).identity = identity("12345");
    let (child, leader) = world.start(launch);
    let expected = printed(&mut world, child, 1);
    assert_eq!(listening(&mut world, child, leader), expected);
}

const PATH: &str = "/dev/termination-log";

fn the_termination_log() {
    scene::own_mounts();
    scene::hide("/dev");
    let mut world = World::new();
    let mut leave = |text: &str| world.perform(Action::TerminationLog { text: text.to_owned() });
    leave("nobody asked for it");
    assert!(!std::path::Path::new(PATH).exists());
    std::fs::write(PATH, "something older and longer").unwrap();
    leave("worker failed\n");
    assert_eq!(std::fs::read_to_string(PATH).unwrap(), "worker failed\n");
    leave(&"\u{e9}".repeat(4000));
    assert_eq!(std::fs::read_to_string(PATH).unwrap(), "\u{e9}".repeat(2048));

    std::fs::remove_file(PATH).unwrap();
    std::fs::write("/dev/elsewhere", "untouched").unwrap();
    std::os::unix::fs::symlink("/dev/elsewhere", PATH).unwrap();
    leave("through a link");
    assert_eq!(std::fs::read_to_string("/dev/elsewhere").unwrap(), "untouched");
    std::fs::remove_file(PATH).unwrap();
    nix::unistd::mkfifo(PATH, nix::sys::stat::Mode::S_IRWXU).unwrap();
    leave("into a pipe that nobody reads");
}
