//! What runs say of their own accord: who is heard, what of it, and where the sockets lie.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tinysup::event::{
    Action, Child, Client, Event, ExitStatus, InstanceId, Launch, Mark, Pid, Rlimit, Role, Secret, StartError,
};
use tinysup::units::Signal;

use crate::Case;
use crate::scene::{self, STRANGER, Scratch, needs_root};
use crate::world::{self, World, conditions, helper, identity, service, shell};

pub const CASES: &[Case] = &[
    ("what_a_leader_says", what_a_leader_says),
    ("what_its_processes_say", what_its_processes_say),
    ("strangers_are_not_heard", strangers_are_not_heard),
    ("a_strangers_mark_is_not_believed", a_strangers_mark_is_not_believed),
    ("who_is_gone_is_not_heard", who_is_gone_is_not_heard),
    ("words_come_before_the_end", words_come_before_the_end),
    ("old_runs_are_not_heard", old_runs_are_not_heard),
    ("only_its_user_can_reach_a_socket", only_its_user_can_reach_a_socket),
    ("a_run_that_becomes_another_user_is_heard", a_run_that_becomes_another_user_is_heard),
    ("a_flood_of_words", a_flood_of_words),
    ("messages_of_every_size", messages_of_every_size),
    ("whoever_waits_at_a_barrier_comes_through", whoever_waits_at_a_barrier_comes_through),
    ("what_is_attached_is_closed", what_is_attached_is_closed),
    ("what_is_attached_cannot_stall_us", what_is_attached_cannot_stall_us),
    ("what_is_attached_may_hang_at_its_close", what_is_attached_may_hang_at_its_close),
    ("a_newline_through_a_pipe", a_newline_through_a_pipe),
    ("whatever_else_comes_through_a_pipe", whatever_else_comes_through_a_pipe),
    ("a_pipe_under_any_number", a_pipe_under_any_number),
    ("a_thousand_voices_leave_nothing", a_thousand_voices_leave_nothing),
    ("where_sockets_lie", where_sockets_lie),
    ("no_place_for_a_socket", no_place_for_a_socket),
    ("sockets_of_a_user_without_privilege", sockets_of_a_user_without_privilege),
    ("sockets_that_cannot_be_given_away", sockets_that_cannot_be_given_away),
    ("voices_keep_quiet", voices_keep_quiet),
];

fn speaking(mut launch: Launch) -> Launch {
    launch.speaks.notify = true;
    launch
}

fn announcing(mut launch: Launch, number: i32) -> Launch {
    launch.speaks.descriptor = Some(number);
    launch
}

/// Says something, and holds on.
fn say(message: &str) -> Launch {
    speaking(helper(&["say", message, "hold"]))
}

/// This program in a script, saying something.
fn saying(message: &str, then: &str) -> String {
    format!("{} --helper say {message} {then}", std::env::current_exe().unwrap().display())
}

/// The next message of a run.
fn word(world: &mut World, wanted: Child) -> String {
    world.until("a word", |event| match event {
        Event::Notified { child, bytes } if *child == wanted => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    })
}

/// All messages there were.
fn words(world: &World) -> Vec<(Child, String)> {
    let of = |event: &Event| match event {
        Event::Notified { child, bytes } => Some((*child, String::from_utf8_lossy(bytes).into_owned())),
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

/// The address in the environment of a run.
fn address(pid: Pid) -> String {
    let deadline = Instant::now() + world::PATIENCE;
    loop {
        // In the middle of an exec there is none to see.
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let mut strings = environ.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        match strings.find_map(|string| Some(string.strip_prefix("NOTIFY_SOCKET=")?.to_owned())) {
            Some(address) => return address,
            None => assert!(Instant::now() < deadline, "it has none"),
        }
        std::thread::yield_now();
    }
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn end(world: &mut World, pid: Pid) {
    world.perform(Action::Signal { pid, signal: Signal::KILL });
    world.exit_of(pid);
}

fn what_a_leader_says() {
    let mut world = World::new();
    for _ in 0..20 {
        let (child, _) = world.spawn(say("READY=1\nSTATUS=all is well"));
        let mut executed = false;
        world.until("a word", |event| match event {
            Event::Executed { child: of } if *of == child => {
                executed = true;
                None
            }
            Event::Notified { child: of, bytes } if *of == child => {
                assert!(executed, "it says something before it runs");
                assert_eq!(bytes, b"READY=1\nSTATUS=all is well");
                Some(())
            }
            _ => None,
        });
    }
    // Who has no socket finds no address, also if we have one.
    assert_eq!(world.run(shell("echo ${NOTIFY_SOCKET-none}")).text(), "none\n");
}

fn what_its_processes_say() {
    let mut world = World::new();
    let without_variables = format!("env -i NOTIFY_SOCKET=$NOTIFY_SOCKET {}", saying("x", "hold"));
    let rows = [
        ("a child", false, saying("x", "hold")),
        ("in a session of its own", false, format!("setsid {}", saying("x", "hold"))),
        ("re-parented to us", true, format!("(setsid sh -c '{} &' &)", saying("x", "hold"))),
        ("without its variables", true, format!("(setsid sh -c '{without_variables} &' &)")),
        ("ended, and not collected by its parent", false, saying("x", "end")),
    ];
    for (name, marked, command) in rows {
        println!("{name}");
        let mut launch = speaking(shell(&format!("{command} & exec sleep 1000")));
        launch.mark = launch.mark.filter(|_| marked);
        let (child, pid) = world.start(launch);
        assert_eq!(word(&mut world, child), "x", "{name}");
        end(&mut world, pid);
        while !world.sweep(child, pid, Some(Signal::KILL)).is_empty() {
            world.wait(Duration::from_millis(10));
        }
        world.forget();
    }
}

fn strangers_are_not_heard() {
    let mut world = World::new();
    let (child, pid) = world.start(say("1"));
    let address = address(pid);
    assert_eq!(word(&mut world, child), "1");
    // Ourselves, and another service; both are of the same user.
    UnixDatagram::unbound().unwrap().send_to(b"2", &address).unwrap();
    let other = Child { instance: InstanceId(1), run: 1, role: Role::Main };
    let mut launch = helper(&["say", "3", "hold"]);
    launch.mark = Some(Mark { service: Rc::from("other"), instance: 1 });
    conditions(&mut launch).env = vec![("NOTIFY_SOCKET".into(), Secret::new(address))];
    world.perform(Action::Spawn { child: other, launch: Rc::new(launch), extra_env: Vec::new() });
    world::nothing_more_happens(&mut world);
    while world.events.iter().all(|event| !matches!(event, Event::Executed { child } if *child == other)) {
        world.wait(Duration::from_millis(10));
    }
    world::nothing_more_happens(&mut world);
    // A sign that all that was said before has been read.
    let (_, pid) = world.start(shell("exit 0"));
    world.exit_of(pid);
    assert_eq!(words(&world), [(child, "1".to_owned())]);
}

/// Anybody can set a number, and a variable.
fn a_strangers_mark_is_not_believed() {
    needs_root();
    let mut world = World::new();
    let (child, pid) = world.start(say("1"));
    let address = address(pid);
    assert_eq!(word(&mut world, child), "1");
    let number = 1 << 62 | u64::from(std::process::id()) << 24;
    let by_its = |name| {
        let mut launch = service([ITSELF, "--helper", "say", name, "hold"]);
        launch.mark = (name == "variables").then(world::mark);
        conditions(&mut launch).identity = identity("12345");
        conditions(&mut launch).env = vec![("NOTIFY_SOCKET".into(), Secret::new(address.clone()))];
        if name == "number" {
            let limit = Rlimit { resource: 10, soft: number, hard: u64::MAX };
            conditions(&mut launch).attributes.rlimits = vec![limit];
        }
        launch
    };
    for name in ["number", "variables"] {
        println!("{name}");
        let other = Child { instance: InstanceId(1), ..world.new_child() };
        world.perform(Action::Spawn { child: other, launch: Rc::new(by_its(name)), extra_env: Vec::new() });
        let Some(Event::Spawned { pid: stranger, .. }) = world.events.last() else { panic!("not spawned") };
        let stranger = *stranger;
        world.until_process(stranger, |stat| stat.contains(") S "));
        world::nothing_more_happens(&mut world);
        assert_eq!(words(&world), [(child, "1".to_owned())]);
        end(&mut world, stranger);
    }
    // Nor do they hold the run's memory, when they have come to us.
    let mut launch = shell("setsid sleep 1000 >/dev/null 2>&1 & echo $!");
    launch.mark = None;
    conditions(&mut launch).identity = identity("12345");
    conditions(&mut launch).attributes.rlimits = vec![Rlimit { resource: 10, soft: number, hard: u64::MAX }];
    let orphan = Pid::new(world.run(launch).text().trim().parse().unwrap()).unwrap();
    world.until_process(orphan, |stat| stat.contains("(sleep) S "));
    world.perform(Action::Measure { client: Client(1), runs: vec![(child, pid)] });
    let Some(Event::Measured { usage, .. }) = world.events.pop() else { panic!("not measured") };
    assert_eq!(usage[0].processes, 1);
}

fn who_is_gone_is_not_heard() {
    let scratch = Scratch::new();
    let done = scratch.path("done");
    let mut world = World::new();
    let script = format!("{}; >{done}; exec {}", saying("gone", "end"), saying("here", "hold"));
    let (child, _) = world.spawn(speaking(shell(&script)));
    // Nobody looks until the first is surely gone.
    let deadline = Instant::now() + world::PATIENCE;
    while !Path::new(&done).exists() {
        assert!(Instant::now() < deadline, "it did not come so far");
        std::thread::yield_now();
    }
    assert_eq!(word(&mut world, child), "here");
    assert_eq!(words(&world).len(), 1);
}

fn words_come_before_the_end() {
    let mut world = World::new();
    for _ in 0..50 {
        let (child, pid) = world.spawn(announcing(speaking(helper(&["say", "STOPPING=1", "end"])), 3));
        world.until_process(pid, |stat| stat.contains(") Z "));
        assert_eq!(world.exit_of(pid), ExitStatus::Code(0));
        assert_eq!(words(&world), [(child, "STOPPING=1".to_owned())]);
        let (child, pid) = world.spawn(announcing(shell("echo >&3"), 3));
        world.until_process(pid, |stat| stat.contains(") Z "));
        world.exit_of(pid);
        assert_eq!(announcements(&world), [child]);
        world.forget_all();
    }
}

/// What a run leaves behind speaks into the void, and nothing of it is taken for the next run's.
fn old_runs_are_not_heard() {
    let scratch = Scratch::new();
    let (gate, told) = (scratch.path("gate"), scratch.path("told"));
    nix::unistd::mkfifo(gate.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut world = World::new();
    let script = format!("(read go <{gate}; {}; echo $? >{told}) & exit 1", saying("old", "end"));
    let (old, leader) = world.start(speaking(shell(&script)));
    world.exit_of(leader);
    let (new, _) = world.start(say("new"));
    assert_eq!(word(&mut world, new), "new");
    fs::write(&gate, "go\n").unwrap();
    let deadline = Instant::now() + world::PATIENCE;
    let code = loop {
        assert!(Instant::now() < deadline, "it did not come so far");
        world.wait(Duration::from_millis(10));
        match fs::read_to_string(&told) {
            Ok(code) if code.ends_with('\n') => break code,
            Ok(_) | Err(_) => {}
        }
    };
    assert_eq!(code.trim(), libc::ENOENT.to_string());
    world::nothing_more_happens(&mut world);
    assert_eq!(words(&world), [(new, "new".to_owned())]);
    assert_ne!(old, new);
}

/// This program, for users who may not enter the directory it lies in.
const ITSELF: &str = "/proc/self/exe";

fn only_its_user_can_reach_a_socket() {
    needs_root();
    let mut world = World::new();
    let users = [("12345", STRANGER), ("0", 0), ("54321", 54321)];
    for (user, uid) in users {
        let mut launch = speaking(service([ITSELF, "--helper", "say", "mine", "hold"]));
        conditions(&mut launch).identity = identity(user);
        let (child, pid) = world.start(launch);
        assert_eq!(word(&mut world, child), "mine");
        let address = address(pid);
        let found = fs::metadata(&address).unwrap();
        // Root may become somebody else, and still have to say something.
        let mode = if uid == 0 { 0o666 } else { 0o600 };
        assert_eq!((found.mode() & 0o7777, found.uid()), (mode, uid));
        let directory = fs::metadata(Path::new(&address).parent().unwrap()).unwrap();
        assert_eq!((directory.mode() & 0o7777, directory.uid()), (0o711, 0));
        for (other, other_uid) in users {
            let mut launch = service([ITSELF, "--helper", "say", "theirs", "end"]);
            conditions(&mut launch).identity = identity(other);
            conditions(&mut launch).env = vec![("NOTIFY_SOCKET".into(), Secret::new(address.as_str()))];
            // What arrives is not heard where it is no word of the run's.
            let expected = if [uid, other_uid].contains(&0) || other_uid == uid { 0 } else { libc::EACCES };
            launch.mark = Some(Mark { service: Rc::from("other"), instance: 1 });
            let other = Child { instance: InstanceId(1), run: other_uid, role: Role::Main };
            world.perform(Action::Spawn { child: other, launch: Rc::new(launch), extra_env: Vec::new() });
            let Some(Event::Spawned { pid, .. }) = world.events.last() else { panic!("not spawned") };
            let pid = *pid;
            assert_eq!(
                world.exit_of(pid),
                ExitStatus::Code(u8::try_from(expected).unwrap()),
                "{uid} {other_uid}"
            );
        }
        world::nothing_more_happens(&mut world);
        assert_eq!(words(&world), [(child, "mine".to_owned())]);
        end(&mut world, pid);
        world.forget_all();
    }
}

fn a_run_that_becomes_another_user_is_heard() {
    needs_root();
    let mut world = World::new();
    let (child, _) = world.start(speaking(helper(&["say-as", &STRANGER.to_string(), "READY=1"])));
    assert_eq!(word(&mut world, child), "READY=1");
}

fn a_flood_of_words() {
    const COUNT: usize = 10_000;
    let mut world = World::new();
    let (child, pid) = world.start(speaking(helper(&["flood-with-words", &COUNT.to_string()])));
    let mut ended = false;
    while !ended {
        let from = world.events.len();
        world.wait(world::PATIENCE);
        let turn =
            world.events[from..].iter().filter(|event| matches!(event, Event::Notified { .. })).count();
        ended = world.events[from..]
            .iter()
            .any(|event| matches!(event, Event::Exited { pid: of, .. } if *of == pid));
        assert!(turn <= 16 || ended, "{turn} in one turn");
    }
    let expected: Vec<_> = (0..COUNT).map(|number| (child, number.to_string())).collect();
    assert!(words(&world) == expected, "some are missing, or not in their order");
    world.forget_all();
    // Others and signals are not starved.
    world.start(speaking(helper(&["flood-with-words", &usize::MAX.to_string()])));
    assert_eq!(world.run(shell("echo here")).text(), "here\n");
    // SAFETY: to ourselves.
    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
    world.until("a signal", |event| matches!(event, Event::Signal(Signal::TERM)).then_some(()));
}

fn messages_of_every_size() {
    let mut world = World::new();
    let (child, _) = world.start(speaking(helper(&["say-bytes", "0", "1", "4096", "4097", "100000", "7"])));
    let mut heard = Vec::new();
    world.until("the last", |event| match event {
        Event::Notified { child: of, bytes } if *of == child => {
            assert!(bytes.iter().all(|byte| *byte == 0xff));
            heard.push(bytes.len());
            (bytes.len() == 7).then_some(())
        }
        _ => None,
    });
    assert_eq!(heard, [1, 4096, 7]);
}

fn whoever_waits_at_a_barrier_comes_through() {
    let mut world = World::new();
    for _ in 0..20 {
        let outcome = world.run(speaking(helper(&["barrier"])));
        assert_eq!((outcome.status, outcome.text()), (Some(ExitStatus::Code(0)), "through\n".to_owned()));
        let said: Vec<String> = words(&world).into_iter().map(|(_, word)| word).collect();
        assert_eq!(said, ["READY=1", "BARRIER=1"]);
        world.forget_all();
    }
}

fn what_is_attached_is_closed() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let mut world = World::new();
    world.run(speaking(shell("true"))); // the place of the sockets stays open
    let before = open_descriptors();
    assert_eq!(world.run(speaking(helper(&["attach", "many"]))).status, Some(ExitStatus::Code(0)));
    assert_eq!(words(&world).len(), 40);
    until_open(&mut world, before);
    // Where there is not room for all of them.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    world.forget_all();
    let mut launch = speaking(helper(&["attach", "many"]));
    conditions(&mut launch).attributes.rlimits = vec![Rlimit { resource: 7, soft: 1000, hard: 1000 }];
    let (_, pid) = world.start(launch);
    setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(before).unwrap() + 50, hard).unwrap();
    assert_eq!(world.exit_of(pid), ExitStatus::Code(0));
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    assert_eq!(words(&world).len(), 40);
    until_open(&mut world, before);
}

/// Until no more is open than before; somebody else closes it.
fn until_open(world: &mut World, before: usize) {
    let deadline = Instant::now() + world::PATIENCE;
    while open_descriptors() != before {
        assert!(Instant::now() < deadline, "{} are open, not {before}", open_descriptors());
        world.wait(Duration::from_millis(10));
    }
}

/// A connection that lingers would be closed by its last holder only after minutes.
fn what_is_attached_cannot_stall_us() {
    let mut world = World::new();
    world.run(speaking(shell("true")));
    let before = open_descriptors();
    let (child, pid) = world.start(speaking(helper(&["attach", "lingering"])));
    assert_eq!(word(&mut world, child), "READY=1");
    end(&mut world, pid);
    world::nothing_more_happens(&mut world);
    assert_eq!(open_descriptors(), before);
}

/// A file of a file system of the sender's own, which is asked at each close, also if others have it open still, or whenever somebody
/// asks what it is.
fn what_is_attached_may_hang_at_its_close() {
    needs_root();
    if fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        scene::skip("needs /dev/fuse");
    }
    let scratch = Scratch::new();
    let mut world = World::new();
    world.run(speaking(shell("true")));
    let before = open_descriptors();
    let mut launch = speaking(helper(&["attach", "hanging"]));
    conditions(&mut launch).env = vec![("PLACE".into(), Secret::new(scratch.path("")))];
    let (child, pid) = world.start(launch);
    assert_eq!(word(&mut world, child), "READY=1");
    world::nothing_more_happens(&mut world);
    // But for what the run itself takes, and neither we nor whoever is started next has any of it.
    assert_eq!(world.run(shell("echo here")).text(), "here\n");
    let own = fs::read_dir("/proc/self/fd").unwrap();
    let hanging = own.filter(|entry| {
        let target = fs::read_link(entry.as_ref().unwrap().path()).unwrap_or_default();
        target.to_string_lossy().contains("hanging")
    });
    assert_eq!(hanging.count(), 0);
    world.perform(Action::SignalGroup { leader: pid, signal: Signal::KILL });
    world.exit_of(pid);
    until_open(&mut world, before);
}

/// The runs that announced themselves.
fn announcements(world: &World) -> Vec<Child> {
    let of = |event: &Event| if let Event::Announced { child } = event { Some(*child) } else { None };
    world.events.iter().filter_map(of).collect()
}

fn announced(world: &mut World, wanted: Child) {
    world.until("its announcement", |event| {
        matches!(event, Event::Announced { child } if *child == wanted).then_some(())
    });
}

fn a_newline_through_a_pipe() {
    let mut world = World::new();
    let before = open_descriptors();
    for script in ["echo >&3", "echo ready >&3", "printf 'a\\nb\\n' >&3", "printf 12345 >&3; echo >&3"] {
        let (child, pid) = world.start(announcing(shell(&format!("{script}; exec sleep 1000")), 3));
        announced(&mut world, child);
        end(&mut world, pid);
        world::nothing_more_happens(&mut world);
        assert_eq!(announcements(&world), [child], "{script}");
        world.forget_all();
    }
    assert_eq!(open_descriptors(), before);
    // Opened once more, by whoever it is.
    if nix::unistd::geteuid().is_root() {
        let mut launch = announcing(shell("echo >/proc/self/fd/3; exec sleep 1000"), 3);
        conditions(&mut launch).identity = identity("12345");
        let (child, _) = world.start(launch);
        announced(&mut world, child);
    }
}

fn whatever_else_comes_through_a_pipe() {
    let mut world = World::new();
    let before = open_descriptors();
    for script in ["true", "exec 3>&-; sleep 0.05", "printf ready >&3", "head -c 200000 /dev/zero >&3; true"]
    {
        let outcome = world.run(announcing(shell(script), 3));
        assert_eq!(outcome.status, Some(ExitStatus::Code(0)), "{script}");
        assert_eq!((announcements(&world), open_descriptors()), (Vec::new(), before), "{script}");
        world.forget_all();
    }
    // It is as good as closed once it has served.
    let (child, pid) = world.start(announcing(shell("echo >&3; exec sleep 1000"), 3));
    announced(&mut world, child);
    assert_eq!(open_descriptors(), before + 2, "its two outputs are open");
    end(&mut world, pid);
}

/// Also where that number is one of our own at that moment.
fn a_pipe_under_any_number() {
    let mut world = World::new();
    for number in 3..30 {
        let script = format!("echo >&{number}; ls /proc/self/fd; exec sleep 1000");
        // A shell does not know numbers of two digits.
        let mut launch = announcing(service(["/bin/bash", "-c", &script]), number);
        launch.speaks.notify = true;
        let (child, pid) = world.start(launch.clone());
        announced(&mut world, child);
        let mut text = String::new();
        world.until("its descriptors", |event| match event {
            Event::Output { child: of, bytes, .. } if *of == child => {
                text.push_str(&String::from_utf8_lossy(bytes));
                (text.lines().count() == 5).then_some(())
            }
            _ => None,
        });
        let mut open: Vec<i32> = text.lines().map(|line| line.parse().unwrap()).collect();
        open.sort_unstable();
        // The listing holds one itself.
        let listing = if number == 3 { 4 } else { 3 };
        let mut expected = vec![0, 1, 2, number, listing];
        expected.sort_unstable();
        assert_eq!(open, expected);
        end(&mut world, pid);
        world::nothing_more_happens(&mut world);
        // And what goes wrong is still reported.
        launch.argv = service(["/none"]).argv;
        assert_eq!(world.cannot(launch).to_string(), "\"/none\" does not exist");
        world::nothing_more_happens(&mut world);
    }
    let mut launch = announcing(shell("true"), 1_000_000_000);
    launch.speaks.notify = true;
    let error = world.cannot(launch).to_string();
    assert!(error.starts_with("cannot put descriptor "), "{error}");
}

fn a_thousand_voices_leave_nothing() {
    let mut world = World::new();
    world.run(announcing(speaking(shell("echo >&3")), 3));
    let before = (open_descriptors(), world::resident_kilobytes());
    for _ in 0..1000 {
        world.run(announcing(speaking(shell("echo >&3")), 3));
        world.forget();
    }
    let after = (open_descriptors(), world::resident_kilobytes());
    assert_eq!(after.0, before.0);
    assert!(after.1 < before.1 + 512, "{} kB, then {}", before.1, after.1);
    let (_, pid) = world.start(say("x"));
    let place = Path::new(&address(pid)).parent().unwrap().to_owned();
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    end(&mut world, pid);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    world.linux.finish();
    assert!(!place.exists());
}

/// Where the socket of a new run lies.
fn place(world: &mut World) -> String {
    // Not through a shell: while a process becomes another program, its environment cannot be seen.
    let (child, pid) = world.start(speaking(service(["sleep", "1000"])));
    let address = address(pid);
    assert!(fs::metadata(&address).unwrap().file_type().is_socket());
    end(world, pid);
    let (place, name) = address.rsplit_once('/').unwrap();
    assert_eq!(name, format!("0.{}", child.run));
    place.to_owned()
}

fn where_sockets_lie() {
    scene::own_mounts();
    ["/run", "/tmp", "/dev/shm"].into_iter().for_each(scene::hide);
    let mut world = World::new();
    assert_eq!(place(&mut world), "/run/tinysup-notify-0");
    // It is ours, so a second one goes elsewhere.
    let mut neighbour = World::new();
    assert_eq!(place(&mut neighbour), "/run/tinysup-notify-1");
    drop(neighbour);
    // Somebody clears it away.
    fs::remove_dir("/run/tinysup-notify-0").unwrap();
    assert_eq!(place(&mut world), "/run/tinysup-notify-0");
    drop(world);
    assert!(!Path::new("/run/tinysup-notify-0").exists());

    // What an end without goodbye has left: one of ours, with sockets in it, and nothing of somebody else's.
    let left = "/run/tinysup-notify-0";
    fs::create_dir(left).unwrap();
    drop(UnixDatagram::bind(format!("{left}/0.1")).unwrap());
    fs::write(format!("{left}/file"), "kept").unwrap();
    assert_eq!(place(&mut World::new()), left);
    assert_eq!(fs::read_to_string(format!("{left}/file")).unwrap(), "kept");
    fs::remove_file(format!("{left}/file")).unwrap();

    // What others put there is left alone.
    fs::set_permissions(left, Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink("/tmp", "/run/tinysup-notify-1").unwrap();
    fs::write("/run/tinysup-notify-2", "").unwrap();
    fs::create_dir("/run/tinysup-notify-3").unwrap();
    std::os::unix::fs::chown("/run/tinysup-notify-3", Some(STRANGER), None).unwrap();
    assert_eq!(place(&mut World::new()), "/run/tinysup-notify-4");

    // The next best, as long as nobody else may replace what is in it.
    fs::set_permissions("/run", Permissions::from_mode(0o777)).unwrap();
    assert_eq!(place(&mut World::new()), "/dev/shm/tinysup-notify-0");
    // Its owner may, whatever its mode.
    for mode in [0o755, 0o1777] {
        fs::set_permissions("/run", Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown("/run", Some(STRANGER), None).unwrap();
        assert_eq!(place(&mut World::new()), "/dev/shm/tinysup-notify-0");
    }
    scene::mount("none", "/dev/shm", "", libc::MS_REMOUNT | libc::MS_RDONLY);
    fs::set_permissions("/tmp", Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(place(&mut World::new()), "/tmp/tinysup-notify-0");
}

fn no_place_for_a_socket() {
    scene::own_mounts();
    ["/run", "/tmp", "/dev/shm"].into_iter().for_each(scene::hide);
    let mut world = World::new();
    for base in ["/run", "/tmp"] {
        scene::mount("none", base, "", libc::MS_REMOUNT | libc::MS_RDONLY);
    }
    fs::set_permissions("/dev/shm", Permissions::from_mode(0o777)).unwrap();
    let before = open_descriptors();
    let expected = StartError::Other {
        what: "make a socket for its notifications".to_owned(),
        reason: "/run: Read-only file system, /dev/shm: others may replace what is in it, \
                 /tmp: Read-only file system; a tmpfs at /run would do"
            .to_owned(),
    };
    assert_eq!(world.cannot(speaking(shell("true"))), expected);
    assert_eq!(open_descriptors(), before);
    assert!(world.run(shell("true")).executed, "others can be started");
}

fn sockets_of_a_user_without_privilege() {
    scene::as_stranger();
    let mut world = World::new();
    let mut launch = speaking(service([ITSELF, "--helper", "say", "x", "hold"]));
    for user in [None, Some("12345")] {
        conditions(&mut launch).identity = user.map(identity).unwrap_or_default();
        let (child, pid) = world.start(launch.clone());
        assert_eq!(word(&mut world, child), "x");
        assert_eq!(fs::metadata(address(pid)).unwrap().uid(), STRANGER);
        end(&mut world, pid);
    }
}

/// A container that may switch users but not give files away.
fn sockets_that_cannot_be_given_away() {
    const CHOWN: u32 = 0;
    needs_root();
    scene::without_capability(CHOWN);
    let mut world = World::new();
    let mut launch = speaking(service([ITSELF, "--helper", "say", "x", "hold"]));
    conditions(&mut launch).identity = identity("12345");
    let (child, pid) = world.start(launch);
    assert_eq!(word(&mut world, child), "x");
    assert_eq!(fs::metadata(address(pid)).unwrap().mode() & 0o7777, 0o666);
}

fn voices_keep_quiet() {
    let mut world = World::new();
    for number in 0..20 {
        // One pipe that is done with, and one that is still open.
        let script = if number % 2 == 0 { "echo >&3; exec sleep 1000" } else { "exec sleep 1000" };
        world.start(announcing(speaking(shell(script)), 3));
    }
    world::stays_idle(&mut world);
}
