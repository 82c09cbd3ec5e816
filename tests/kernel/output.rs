//! The relay of output, and what happens when nobody reads.

use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tinysup::event::{Action, Child, Event, ExitStatus, Output, Overflow, Sink};
use tinysup::notice::Notice;
use tinysup::sys::Setup;
use tinysup::units::Signal;

use crate::world::{World, helper, service, shell};
use crate::{Case, scene};

pub const CASES: &[Case] = &[
    ("output_arrives_whole", output_arrives_whole),
    ("last_words_come_before_the_end", last_words_come_before_the_end),
    ("what_remains_say_comes_before_their_end", what_remains_say_comes_before_their_end),
    ("a_pipe_held_by_others_does_not_delay_the_end", a_pipe_held_by_others_does_not_delay_the_end),
    ("pipes_of_ended_runs_are_few", pipes_of_ended_runs_are_few),
    ("drain_reads_everything", drain_reads_everything),
    ("a_flood_does_not_starve_others", a_flood_does_not_starve_others),
    ("everybody_has_a_turn", everybody_has_a_turn),
    ("what_overflows_is_dropped", what_overflows_is_dropped),
    ("a_stuck_reader_of_a_fifo", a_stuck_reader_of_a_fifo),
    ("a_stuck_reader_of_a_pipe", a_stuck_reader_of_a_pipe),
    ("a_stuck_reader_of_a_socket", a_stuck_reader_of_a_socket),
    ("a_stuck_reader_of_a_terminal", a_stuck_reader_of_a_terminal),
    (
        "a_stuck_reader_of_a_pipe_that_cannot_be_opened_again",
        a_stuck_reader_of_a_pipe_that_cannot_be_opened_again,
    ),
    ("a_stuck_reader_without_proc", a_stuck_reader_without_proc),
    ("the_end_does_not_wait_long_for_a_stuck_reader", the_end_does_not_wait_long_for_a_stuck_reader),
    ("a_stuck_stderr_leaves_stdout_alone", a_stuck_stderr_leaves_stdout_alone),
    ("captured_output_waits_for_no_reader", captured_output_waits_for_no_reader),
    ("a_reader_that_went_away", a_reader_that_went_away),
    ("a_full_disk", a_full_disk),
    ("a_file_keeps_its_place", a_file_keeps_its_place),
    ("the_order_between_both_streams", the_order_between_both_streams),
    ("flags_of_the_shared_description_stay", flags_of_the_shared_description_stay),
    ("our_own_lines", our_own_lines),
    ("our_own_lines_when_nobody_reads", our_own_lines_when_nobody_reads),
    ("a_bad_log_level_is_told", a_bad_log_level_is_told),
];

fn output_arrives_whole() {
    let mut world = World::new();
    let outcome = world.run(helper(&["flood", "10000000"]));
    assert_eq!(outcome.stdout.len(), 10_000_000);
    assert!(outcome.stdout.chunks(100).all(is_line));
}

fn is_line(line: &[u8]) -> bool {
    line.len() == 100 && line[..99] == [b'x'; 99] && line[99] == b'\n'
}

fn last_words_come_before_the_end() {
    let mut world = World::new();
    for _ in 0..50 {
        let (child, pid) = world.spawn(shell("echo one; echo two >&2; exit 1"));
        world.exit_of(pid);
        // And the ends of both streams: a last line without an end is one of this run, too.
        assert_eq!(said_before(&mut world, child, |event| matches!(event, Event::Exited { .. })), (8, 2));
    }
}

fn what_remains_say_comes_before_their_end() {
    let mut world = World::new();
    for _ in 0..50 {
        let (child, pid) = world.spawn(shell("(echo more) & exit 1"));
        world.exit_of(pid);
        let ended = |event: &Event| matches!(event, Event::OrphansEnded { .. });
        world.until("the end of what it left", |event| ended(event).then_some(()));
        assert_eq!(said_before(&mut world, child, ended), (5, 2));
    }
}

/// How many bytes and ends of streams of a child come before such an event.
fn said_before(world: &mut World, child: Child, event: impl Fn(&Event) -> bool) -> (usize, usize) {
    let before = world.events.drain(..).take_while(|before| !event(before));
    let said = before.fold((0, 0), |(bytes, ends), event| match event {
        Event::Output { child: of, bytes: more, .. } if of == child => (bytes + more.len(), ends),
        Event::OutputEnded { child: of, .. } if of == child => (bytes, ends + 1),
        _ => (bytes, ends),
    });
    world.forget_all();
    said
}

fn a_pipe_held_by_others_does_not_delay_the_end() {
    let mut world = World::new();
    let began = Instant::now();
    let (child, pid) =
        world.start(shell("setsid sh -c 'while sleep 0.01; do echo more; done' & echo last; exit 2"));
    assert_eq!(world.exit_of(pid), ExitStatus::Code(2));
    assert!(began.elapsed() < Duration::from_secs(5));
    let more = world.until("output of the other", |event| match event {
        Event::Output { child: of, bytes, .. } if *of == child => Some(bytes.clone()),
        _ => None,
    });
    assert_eq!(more, b"more\n");
    while !world.sweep(child, pid, Some(Signal::KILL)).is_empty() {
        world.wait(Duration::from_millis(10));
    }
    for _ in 0..2 {
        world
            .until("the end of its output", |event| matches!(event, Event::OutputEnded { .. }).then_some(()));
    }
}

fn pipes_of_ended_runs_are_few() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut world = World::new();
    let before = open();
    for _ in 0..40 {
        let (_, pid) = world.start(shell("sleep 1000 & exit 1"));
        world.exit_of(pid);
    }
    assert!(open() <= before + 16, "{} more", open() - before);
}

fn drain_reads_everything() {
    let mut world = World::new();
    let mut all = 0;
    let (child, _) =
        world.spawn(shell("head -c 60000 /dev/zero; head -c 3000 /dev/zero >&2; exec sleep 1000"));
    let began = Instant::now();
    while all < 63_000 {
        assert!(began.elapsed() < Duration::from_secs(30));
        world.events.clear();
        world.perform(Action::Drain);
        assert!(matches!(world.events.last(), Some(Event::Drained)));
        all += world
            .events
            .iter()
            .map(|event| match event {
                Event::Output { child: of, bytes, .. } if *of == child => bytes.len(),
                _ => 0,
            })
            .sum::<usize>();
    }
    assert_eq!(all, 63_000);
}

fn a_flood_does_not_starve_others() {
    let mut world = World::new();
    for _ in 0..3 {
        world.start(service(["/usr/bin/yes"]));
    }
    let (child, pid) =
        world.start(shell("for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; done; sleep 0.1; exit 0"));
    let began = Instant::now();
    let mut heard = 0;
    world.until("its end", |event| match event {
        Event::Output { child: of, bytes, .. } if *of == child => {
            heard += bytes.len();
            None
        }
        Event::Exited { pid: of, .. } if *of == pid => Some(()),
        _ => None,
    });
    assert_eq!(heard, 21);
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// Whose pipes are full at the same time are read one after the other, and nobody twice before all.
fn everybody_has_a_turn() {
    const FLOODS: usize = 5;
    let mut world = World::new();
    let all: Vec<_> = (0..FLOODS).map(|_| world.spawn(service(["/usr/bin/yes"]))).collect();
    let full = |stat: &str| stat.contains("(yes) S");
    for (_, pid) in &all {
        world.until_process(*pid, full);
    }
    let mut turns = Vec::new();
    while turns.len() < FLOODS {
        world.wait(Duration::from_secs(1));
        let events = world.events.drain(..);
        turns.extend(events.filter_map(|event| match event {
            Event::Output { child, bytes, .. } if bytes.len() > 10_000 => Some(child.run),
            _ => None,
        }));
        world.forget_all();
    }
    turns.truncate(FLOODS);
    turns.sort_unstable();
    turns.dedup();
    assert_eq!(turns.len(), FLOODS, "{turns:?}");
}

/// Where it is wanted so, a service goes on although nobody reads: what is too much is fetched, for the core to drop, until the reader has
/// taken what was kept for it.
fn what_overflows_is_dropped() {
    const ALL: usize = 20_000_000;
    let mut reader = stdout_into_pipe();
    let mut world = World::of(Setup { overflow: Overflow::Drop, ..Setup::default() });
    let (child, pid) = world.start(helper(&["flood", &ALL.to_string()]));
    let (mut fetched, mut written, mut stuck, mut ended) = (0, 0, false, false);
    let began = Instant::now();
    while !ended {
        assert!(began.elapsed() < Duration::from_secs(30), "{fetched} fetched");
        for event in world.events.drain(..).collect::<Vec<_>>() {
            match event {
                Event::Output { child: of, sink, bytes, .. } if of == child => {
                    fetched += bytes.len();
                    if !stuck {
                        written += bytes.len();
                        world.perform(Action::Write { sink, bytes });
                    }
                }
                Event::Stuck { sink } => {
                    assert!(sink == Sink::Stdout && !stuck);
                    stuck = true;
                }
                Event::Flows { .. } => panic!("nobody reads"),
                Event::Exited { pid: of, .. } if of == pid => ended = true,
                _ => {}
            }
        }
        world.forget_all();
        if !ended {
            world.wait(Duration::from_millis(200));
        }
    }
    assert_eq!(fetched, ALL);
    assert!(stuck && written < 600_000, "{written} kept");
    let reading = std::thread::spawn(move || {
        let mut read = vec![0; written];
        reader.read_exact(&mut read).unwrap();
        assert!(read.chunks(100).all(is_line));
    });
    world.until("the reader to have all", |event| {
        matches!(event, Event::Flows { sink: Sink::Stdout }).then_some(())
    });
    reading.join().unwrap();
}

fn a_stuck_reader_of_a_fifo() {
    let scratch = scene::Scratch::new();
    let path = scratch.path("fifo");
    nix::unistd::mkfifo(path.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let both = File::options().read(true).write(true).open(&path).unwrap();
    let reader = File::open(&path).unwrap();
    scene::replace(1, &both);
    drop(both);
    stuck(World::new(), reader);
}

/// Where the container's standard output ends in a case.
trait Reader: Read + AsRawFd {}
impl<T: Read + AsRawFd> Reader for T {}

/// A service writes a megabyte to a sink that nobody reads: no more than a little is fetched from it, a signal comes through, and
/// when somebody reads at last, nothing is missing.
fn stuck(mut world: World, mut reader: impl Reader) {
    const ALL: usize = 1_000_000;
    let (child, pid) = world.start(helper(&["flood", &ALL.to_string()]));
    let mut fetched = 0;
    let mut ended = false;
    // As the core does: every output becomes a write.
    let mut pass_on = |world: &mut World, at_most: Duration| {
        world.wait(at_most);
        let events: Vec<Event> = world.events.drain(..).collect();
        world.forget_all();
        let quiet = events.is_empty();
        let mut signals = Vec::new();
        for event in events {
            match event {
                Event::Output { child: of, sink, bytes, .. } if of == child => {
                    fetched += bytes.len();
                    world.perform(Action::Write { sink, bytes });
                }
                Event::Signal(signal) => signals.push(signal),
                Event::Exited { pid: of, .. } if of == pid => ended = true,
                _ => {}
            }
        }
        (quiet, signals, fetched, ended)
    };
    while !pass_on(&mut world, Duration::from_millis(200)).0 {}
    let (_, _, fetched, _) = pass_on(&mut world, Duration::ZERO);
    assert!(fetched > 0 && fetched < 600_000, "{fetched} fetched although nobody reads");

    // SAFETY: to ourselves.
    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
    assert_eq!(pass_on(&mut world, Duration::from_secs(5)).1, [Signal::TERM]);
    // Nobody spins meanwhile.
    let before = std::time::SystemTime::now();
    assert!(pass_on(&mut world, Duration::from_millis(100)).0);
    assert!(before.elapsed().unwrap() >= Duration::from_millis(100));

    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    // SAFETY: the descriptor is open as long as its owner.
    let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(reader.as_raw_fd()) };
    nix::fcntl::fcntl(descriptor, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    let mut read = Vec::new();
    let began = Instant::now();
    let mut buffer = vec![0; 1 << 16];
    while read.len() < ALL {
        assert!(began.elapsed() < Duration::from_secs(20), "{} of {ALL} bytes", read.len());
        match reader.read(&mut buffer) {
            Ok(count) => read.extend(&buffer[..count]),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        pass_on(&mut world, Duration::from_millis(1));
    }
    assert!(read.chunks(100).all(is_line));
}

/// Standard output becomes a pipe; the end to read from.
fn stdout_into_pipe() -> PipeReader {
    let (reader, writer) = std::io::pipe().unwrap();
    scene::replace(1, &writer);
    reader
}

fn stderr_into_pipe() -> PipeReader {
    let (reader, writer) = std::io::pipe().unwrap();
    scene::replace(2, &writer);
    reader
}

fn a_stuck_reader_of_a_pipe() {
    let reader = stdout_into_pipe();
    stuck(World::new(), reader);
}

fn a_stuck_reader_of_a_socket() {
    let (reader, writer) = UnixStream::pair().unwrap();
    scene::replace(1, &writer);
    drop(writer);
    stuck(World::new(), reader);
}

fn a_stuck_reader_of_a_terminal() {
    // SAFETY: plain calls on descriptors that live here.
    let master = unsafe {
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(master >= 0 && libc::grantpt(master) == 0 && libc::unlockpt(master) == 0);
        let mut name = [0; 64];
        assert_eq!(libc::ptsname_r(master, name.as_mut_ptr(), name.len()), 0);
        let slave = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        let mut modes: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(slave, &raw mut modes), 0);
        libc::cfmakeraw(&raw mut modes);
        assert_eq!(libc::tcsetattr(slave, libc::TCSANOW, &raw const modes), 0);
        scene::replace(1, &slave);
        <File as std::os::fd::FromRawFd>::from_raw_fd(master)
    };
    stuck(World::new(), master);
}

/// Somebody else's pipe, as for a container with a user of its own.
fn a_stuck_reader_of_a_pipe_that_cannot_be_opened_again() {
    let reader = stdout_into_pipe();
    scene::become_stranger();
    assert!(std::fs::OpenOptions::new().write(true).open("/proc/self/fd/1").is_err());
    let mut world = World::new();
    // The helper cannot be executed by everybody, perhaps, but a shell can.
    let _ = world.run(shell("exit 0"));
    stuck_with_shell(world, reader);
}

/// The same in short, without a helper.
fn stuck_with_shell(mut world: World, mut reader: impl Reader) {
    let (child, _) = world.start(service(["/usr/bin/yes"]));
    let mut fetched = 0;
    loop {
        world.wait(Duration::from_millis(200));
        let events: Vec<Event> = world.events.drain(..).collect();
        world.forget_all();
        if events.is_empty() {
            break;
        }
        for event in events {
            if let Event::Output { child: of, sink, bytes, .. } = event
                && of == child
            {
                fetched += bytes.len();
                world.perform(Action::Write { sink, bytes });
            }
        }
        assert!(fetched < 600_000, "{fetched} fetched although nobody reads");
    }
    let mut buffer = vec![0; 10_000];
    reader.read_exact(&mut buffer).unwrap();
    world.wait(Duration::from_millis(200));
    assert!(world.events.is_empty() || fetched > 0);
    // SAFETY: to ourselves.
    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
    world.until("the signal", |event| matches!(event, Event::Signal(Signal::TERM)).then_some(()));
}

fn a_stuck_reader_without_proc() {
    scene::as_pid_1();
    scene::hide("/proc");
    let reader = stdout_into_pipe();
    stuck_with_shell(World::new(), reader);
}

fn the_end_does_not_wait_long_for_a_stuck_reader() {
    let mut reader = stdout_into_pipe();
    let mut world = World::new();
    world.perform(Action::Write { sink: Sink::Stdout, bytes: vec![b'x'; 200_000] });
    let began = Instant::now();
    world.linux.finish();
    assert!(began.elapsed() >= Duration::from_millis(400) && began.elapsed() < Duration::from_secs(2));
    // And not at all for one that reads.
    let mut buffer = vec![0; 65_536];
    reader.read_exact(&mut buffer).unwrap();
    let mut world = World::new();
    world.perform(Action::Write { sink: Sink::Stdout, bytes: b"last".to_vec() });
    let began = Instant::now();
    world.linux.finish();
    assert!(began.elapsed() < Duration::from_millis(500));
}

fn a_stuck_stderr_leaves_stdout_alone() {
    let mut out = stdout_into_pipe();
    let err = stderr_into_pipe();
    let mut world = World::new();
    world.perform(Action::Write { sink: Sink::Stderr, bytes: vec![b'e'; 100_000] });
    let mut launch = shell("echo out; exit 0");
    launch.stderr = Output::Null; // of a stuck one not even the end is seen
    let outcome = world.run(launch);
    assert_eq!(outcome.text(), "out\n");
    world.perform(Action::Write { sink: Sink::Stdout, bytes: outcome.stdout });
    let mut line = [0; 4];
    out.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"out\n");
    drop(err);
}

/// The test of a service is answered although nobody reads what the services write.
fn captured_output_waits_for_no_reader() {
    let (out, err) = (stdout_into_pipe(), stderr_into_pipe());
    let mut world = World::new();
    for sink in [Sink::Stdout, Sink::Stderr] {
        world.perform(Action::Write { sink, bytes: vec![b'x'; 200_000] });
    }
    let mut launch = shell("head -c 300000 /dev/zero; echo sick >&2; exit 1");
    (launch.stdout, launch.stderr) = (Output::Captured, Output::Captured);
    let outcome = world.run(launch);
    assert_eq!(outcome.status, Some(ExitStatus::Code(1)));
    assert_eq!((outcome.stdout.len(), outcome.stderr.as_slice()), (300_000, &b"sick\n"[..]));
    drop((out, err));
}

fn a_reader_that_went_away() {
    drop(stdout_into_pipe());
    let mut world = World::new();
    let (child, pid) = world.start(helper(&["flood", "1000000"]));
    let mut fetched = 0;
    let began = Instant::now();
    loop {
        world.wait(Duration::from_millis(100));
        let mut ended = false;
        for event in world.events.drain(..).collect::<Vec<_>>() {
            match event {
                Event::Output { child: of, sink, bytes, .. } if of == child => {
                    fetched += bytes.len();
                    world.perform(Action::Write { sink, bytes });
                }
                Event::Exited { pid: of, status } if of == pid => {
                    assert_eq!(status, ExitStatus::Code(0));
                    ended = true;
                }
                _ => {}
            }
        }
        world.forget_all();
        if ended {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(fetched, 1_000_000);
}

fn a_full_disk() {
    scene::replace(1, &std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let mut world = World::new();
    for _ in 0..100 {
        world.perform(Action::Write { sink: Sink::Stdout, bytes: vec![b'x'; 10_000] });
    }
    assert_eq!(world.run(shell("exit 3")).status, Some(ExitStatus::Code(3)));
    let began = Instant::now();
    world.linux.finish();
    assert!(began.elapsed() < Duration::from_millis(500), "nothing waits");
}

fn a_file_keeps_its_place() {
    let scratch = scene::Scratch::new();
    let path = scratch.file("log", 0o644, b"");
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all(b"before\n").unwrap();
    scene::replace(1, &file);
    scene::replace(2, &file);
    let mut world = World::new();
    world.perform(Action::Write { sink: Sink::Stdout, bytes: b"out\n".to_vec() });
    world.perform(Action::Write { sink: Sink::Stderr, bytes: b"err\n".to_vec() });
    let mut launch = shell("echo child");
    launch.stdout = Output::Inherit;
    world.run(launch);
    world.perform(Action::Write { sink: Sink::Stdout, bytes: b"after\n".to_vec() });
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nout\nerr\nchild\nafter\n");
}

fn the_order_between_both_streams() {
    let mut reader = stdout_into_pipe();
    // SAFETY: the standard descriptors belong to the case.
    unsafe { libc::dup2(1, 2) };
    let mut world = World::new();
    let mut expected: Vec<u8> = Vec::new();
    for round in 0..20_000 {
        let bytes = format!("{round}\n").into_bytes();
        expected.extend(&bytes);
        let sink = if round % 3 == 0 { Sink::Stderr } else { Sink::Stdout };
        world.perform(Action::Write { sink, bytes });
    }
    let reading = std::thread::spawn(move || {
        let mut read = vec![0; expected.len()];
        reader.read_exact(&mut read).unwrap();
        assert!(read == expected);
    });
    while !reading.is_finished() {
        world.wait(Duration::from_millis(5));
    }
    reading.join().unwrap();
}

fn flags_of_the_shared_description_stay() {
    let _reader = stdout_into_pipe();
    // SAFETY: only asks.
    let flags = |number| unsafe { libc::fcntl(number, libc::F_GETFL) };
    let before = [0, 1, 2].map(flags);
    let mut world = World::new();
    world.perform(Action::Write { sink: Sink::Stdout, bytes: vec![b'x'; 100_000] });
    world.wait(Duration::from_millis(5));
    assert_eq!([0, 1, 2].map(flags), before);
    // Ours never waits; the child's does, as every program expects.
    let mut launch = shell("for fd in 1 2; do grep flags /proc/$$/fdinfo/$fd >&2; done");
    launch.stdout = Output::Null;
    let text = String::from_utf8(world.run(launch).stderr).unwrap();
    for line in text.lines() {
        let flags = i32::from_str_radix(line.split_whitespace().last().unwrap(), 8).unwrap();
        assert_eq!(flags & libc::O_NONBLOCK, 0, "{text}");
    }
    assert_eq!(text.lines().count(), 2);
    drop(world);
    assert_eq!([0, 1, 2].map(flags), before);
}

fn read_available(reader: &PipeReader) -> String {
    // SAFETY: our own pipe.
    unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count) = (&*reader).read(&mut buffer) {
        text.extend(&buffer[..count]);
    }
    String::from_utf8(text).unwrap()
}

fn our_own_lines() {
    let reader = stderr_into_pipe();
    tinysup::sys::init_logging(
        log::LevelFilter::Info,
        tinysup::voice::Voice::Tinysup,
        tinysup::line::Own::default(),
    );
    let mut world = World::new();
    world.perform(Action::Tell(Notice::Obituary("one\ntwo \u{1b}[31m".to_owned())));
    world.perform(Action::Tell(Notice::Forwarded { signal: Signal::HUP, receivers: 1 })); // of no interest at this level
    assert_eq!(read_available(&reader), "tinysup | one\ntinysup | two \\u{1b}[31m\n");
}

fn our_own_lines_when_nobody_reads() {
    let reader = stderr_into_pipe();
    tinysup::sys::init_logging(
        log::LevelFilter::Info,
        tinysup::voice::Voice::Tinysup,
        tinysup::line::Own::default(),
    );
    let mut world = World::new();
    let line = "x".repeat(988); // 1000 bytes with our name and the line's end
    for _ in 0..300 {
        world.perform(Action::Tell(Notice::Obituary(line.clone())));
    }
    let mut text = String::new();
    let began = Instant::now();
    while !text.contains("dropped") {
        text.push_str(&read_available(&reader));
        world.wait(Duration::from_millis(5));
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    let kept = text.lines().filter(|line| line.ends_with('x')).count();
    let told = format!("tinysup | {} lines of ours were dropped because nobody read them", 300 - kept);
    assert!(kept >= 128 && text.lines().any(|line| line == told), "{kept} kept: {:?}", text.lines().last());
}

fn a_bad_log_level_is_told() {
    scene::again(|| {
        // SAFETY: one thread.
        unsafe { std::env::set_var("TINYSUP_LOG", "loud") };
    });
    let reader = stderr_into_pipe();
    tinysup::sys::init_logging(
        log::LevelFilter::Info,
        tinysup::voice::Voice::Tinysup,
        tinysup::line::Own::default(),
    );
    let mut world = World::new();
    world.perform(Action::Tell(Notice::NotPid1));
    let text = read_available(&reader);
    assert!(text.starts_with(
        "tinysup | TINYSUP_LOG=loud is not understood; write error, warn, info, debug or trace\n"
    ));
    assert!(text.contains("not PID 1"));
}
