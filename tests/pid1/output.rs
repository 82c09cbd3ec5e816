//! What services write, under all that readers, files and services do to it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use crate::container::{DEADLINE, Folder, Out, Setup};
use crate::services::{service, sh, witness};
use crate::{launch, proc, root};

const QUICKLY: Duration = Duration::from_secs(6);
/// One that says on its standard error that it got a signal.
const HEARS: &str = "trap 'echo heard >&2' USR1; echo ready >&2; while :; do sleep 0.02; done";
/// A service that never stops writing.
const FLOOD: &str = "echo ready >&2; while :; do echo 0123456789012345678901234567890123456789; done";

#[test]
fn two_writers_of_fifty_thousand_lines_each() {
    if !root() {
        return;
    }
    let count = 50_000;
    let writer = witness(&format!("lines {count}"));
    let config = service("a", &writer, "type = \"oneshot\"") + &service("b", &writer, "type = \"oneshot\"");
    let end = Setup::services(&config).start().finish();
    end.code(0);
    let expected: Vec<String> = (1..=count).map(|number| format!("line {number}")).collect();
    for name in ["a", "b"] {
        same(&end.of(name), &expected);
    }
    assert_eq!(end.stdout.len(), 2 * count);
}

/// The services write in blocks that end anywhere. In the middle the reader does nothing for a long while: nothing is lost by it, and
/// nobody but the two waits.
#[test]
fn two_writers_in_blocks_and_a_reader_that_pauses() {
    const COUNT: usize = 100_000;
    /// This pause is what the test is about.
    const PAUSE: Duration = Duration::from_secs(20);
    if !root() {
        return;
    }
    let writer = witness(&format!("blocks {COUNT}"));
    let once = "type = \"oneshot\"";
    let config = service("a", &writer, once) + &service("b", &writer, once) + &service("c", &sh(HEARS), "");
    let config = config + "[signals]\nSIGUSR1 = [\"c\"]\n";
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let container = Setup::services(&config).stdout(Out::To(writer.into())).start();
    let (mut read, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    let mut more = |read: &mut Vec<u8>| {
        assert!(launch::readable(&reader, DEADLINE), "nothing more after {} bytes", read.len());
        let count = io::Read::read(&mut reader, &mut buffer).expect("it is there");
        read.extend_from_slice(&buffer[..count]);
    };
    while read.len() < 1_000_000 {
        more(&mut read);
    }
    let paused = std::time::Instant::now();
    container.wait_for("c | ready");
    let mut signals = 0;
    while paused.elapsed() < PAUSE {
        signals += 1;
        container.signal(libc::SIGUSR1);
        container.wait_for_nth("c | heard", signals);
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(proc::idle(container.pid(), Duration::from_millis(200)), "we wait, too");
    let memory = proc::number(container.pid(), "VmRSS");
    assert!(memory < 20_000, "{memory} kB");
    // To search each time in what has been read would take hours on a slow machine.
    let all: usize = (1..=COUNT).map(|number| 2 * format!("a | line {number}\n").len()).sum();
    while read.len() < all {
        more(&mut read);
    }
    container.stop().code(0);
    let text = String::from_utf8(read).expect("text");
    let expected: Vec<String> = (1..=COUNT).map(|number| format!("line {number}")).collect();
    for name in ["a | ", "b | "] {
        same(&text.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>(), &expected);
    }
    assert_eq!(text.lines().count(), 2 * COUNT, "and no torn line besides");
}

#[test]
fn nothing_is_lost_at_the_stop_while_somebody_reads() {
    if !root() {
        return;
    }
    // Each counts what it writes, says it last of all, and leaves at once.
    let script = "trap 'stop=1' TERM; echo ready >&2; i=0; \
                  while [ -z \"$stop\" ]; do i=$((i+1)); echo \"line $i\"; done; echo \"written $i\"";
    let names = ["a", "b", "c", "d"];
    let config: String = names.iter().map(|name| service(name, &sh(script), "")).collect();
    let container = Setup::services(&config).start();
    for name in names {
        container.wait_for(&format!("{name} | ready"));
    }
    let end = container.stop();
    end.code(0);
    for name in names {
        let lines = end.of(name);
        let (last, lines) = lines.split_last().expect("lines");
        let written: usize =
            last.strip_prefix("written ").and_then(|count| count.parse().ok()).expect("its last word");
        same(lines, &(1..=written).map(|number| format!("line {number}")).collect::<Vec<_>>());
    }
}

#[test]
fn last_words_are_heard() {
    if !root() {
        return;
    }
    let count = 100;
    let script = "echo one; echo two >&2; printf 'half a line'; printf 'half an error' >&2; kill -9 $$";
    let keys = format!("instances = {count}\nrestart = \"never\"\non_failure = \"ignore\"");
    let end = Setup::services(&service("a", &sh(script), &keys)).start().finish();
    end.code(137);
    for number in 1..=count {
        let name = format!("a.{number}");
        assert_eq!(end.of(&name), ["one", "half a line"], "{end:#?}");
        let errors = end.stderr.iter().filter_map(|line| line.strip_prefix(&format!("{name} | ")));
        assert_eq!(errors.collect::<Vec<_>>(), ["two", "half an error"], "{end:#?}");
    }
}

#[test]
fn half_a_line_of_one_run_is_no_beginning_of_the_next() {
    if !root() {
        return;
    }
    let end =
        Setup::services(&service("a", &sh("printf half; exit 1"), "max_restarts = 3\nrestart_delay = 0"))
            .start()
            .finish();
    assert_eq!(end.of("a"), ["half"; 4], "{end:#?}");
}

#[test]
fn a_reader_that_is_stuck_holds_up_nobody_but_the_writers() {
    if !root() {
        return;
    }
    let config = service("flood", &sh(FLOOD), "") + &service("b", &sh(HEARS), "");
    let container = Setup::services(&config).stdout(Out::Stuck).start();
    container.wait_for("flood | ready");
    container.wait_for("b | ready");
    // Its reader is stuck for good when the writer does not get on.
    let flood = container.process("while :; do echo").pid;
    container.until("the writer waits", || {
        proc::of(flood).is_some_and(|p| p.state == 'S') && proc::idle(flood, Duration::from_millis(50))
    });
    assert!(proc::idle(container.pid(), Duration::from_millis(200)), "we wait, too");
    container.signal(libc::SIGUSR1);
    container.wait_for("b | heard");
    let memory = proc::number(container.pid(), "VmRSS");
    assert!(memory < 20_000, "{memory} kB");
    let end = container.stop();
    end.code(0);
    assert!(end.waited < QUICKLY, "{end:#?}");
    let torn = end.of("flood").into_iter().filter(|line| line.len() != 40).count();
    assert!(torn <= 1, "whole lines, but perhaps the last");
}

#[test]
fn a_reader_that_comes_late_gets_everything() {
    if !root() {
        return;
    }
    let config = service("a", &witness("cry ready lines 20000"), "type = \"oneshot\"");
    for nonblocking in [false, true] {
        let mut setup = Setup::services(&config).stdout(Out::Stuck);
        if nonblocking {
            // As another process that shares it may have done.
            setup = setup.before(|| launch::set_nonblocking(1));
        }
        let container = setup.start();
        container.wait_for("a | ready");
        let writer = container.process("lines 20000").pid;
        container.until("the writer waits", || proc::idle(writer, Duration::from_millis(50)));
        container.read_on();
        let end = container.finish();
        end.code(0);
        let expected: Vec<String> = (1..=20_000).map(|number| format!("line {number}")).collect();
        same(&end.of("a"), &expected);
    }
}

#[test]
fn a_flood_drowns_neither_signals_nor_others() {
    if !root() {
        return;
    }
    let config = service("flood", &sh(FLOOD), "") + &service("b", &sh(HEARS), "");
    let null = File::options().write(true).open("/dev/null").expect("/dev/null");
    let container = Setup::services(&config).stdout(Out::To(null.into())).start();
    container.wait_for("flood | ready");
    container.wait_for("b | ready");
    for turn in 1..=20 {
        container.signal(libc::SIGUSR1);
        container.wait_for_nth("b | heard", turn);
    }
    let end = container.stop();
    end.code(0);
    assert!(end.waited < QUICKLY, "{end:#?}");
}

#[test]
fn nobody_reads_any_more() {
    if !root() {
        return;
    }
    let gone = || {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        Out::To(writer.into())
    };
    let config = service("flood", &sh(FLOOD.replace("echo ready >&2", "touch $DIR/ready").as_str()), "")
        + &service("quiet", &witness("wait"), "");
    let container = Setup::services(&config).stdout(gone()).stderr(gone()).start();
    let ready = container.folder().path().join("ready");
    container.until("it floods", || ready.exists());
    let end = container.stop();
    end.code(0);
    assert!(end.waited < QUICKLY, "{end:#?}");

    // And without a flood it is idle: no spin over a closed pipe.
    let container = Setup::services(&service("quiet", &witness("say one cry two wait"), ""))
        .stdout(gone())
        .stderr(gone())
        .start();
    container.until("it runs", || container.living().iter().any(|p| p.command.contains("witness")));
    assert!(proc::idle(container.pid(), Duration::from_millis(300)));
    container.stop().code(0);
}

#[test]
fn no_room_on_the_device() {
    if !root() {
        return;
    }
    // A file system of 64 KiB, and a device that is always full.
    for device in [false, true] {
        let write =
            "head -c 300000 /dev/zero | tr '\\0' '\\n' | tee /dev/stderr; touch $DIR/done; exec sleep 1000";
        let setup = Setup::services(&service("a", &sh(write), ""));
        let full = setup.folder().path().join("full");
        fs::create_dir(&full).expect("the folder is ours");
        let done = setup.folder().path().join("done");
        let setup = setup.before(move || {
            let (out, err) = if device {
                (
                    File::options().write(true).open("/dev/full")?,
                    File::options().write(true).open("/dev/full")?,
                )
            } else {
                launch::mount("none", &full.to_string_lossy(), "tmpfs", 0, "size=64k")?;
                (File::create(full.join("out"))?, File::create(full.join("err"))?)
            };
            launch::duplicate(out.as_raw_fd(), 1)?;
            launch::duplicate(err.as_raw_fd(), 2)
        });
        let container = setup.start();
        container.until("the service has written all", || done.exists());
        assert!(proc::idle(container.pid(), Duration::from_millis(200)), "no spin");
        let end = container.stop();
        end.code(0);
    }
}

#[test]
fn lines_lost_to_a_file_that_never_works_again_are_told_at_the_end() {
    if !root() {
        return;
    }
    for (code, end) in [(0, "all is done"), (3, "CONTAINER STOPPED")] {
        // A folder stands in its place.
        let keys = "type = \"oneshot\"\nmax_restarts = 0\nstdout = \"./there\"";
        let setup = Setup::services(&service("a", &sh(&format!("echo one; echo two; exit {code}")), keys));
        fs::create_dir(setup.folder().path().join("there")).expect("the folder is ours");
        let ended = setup.start().finish();
        ended.code(code);
        let own = ended.own();
        let at = |text: &str| {
            own.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{ended:#?}"))
        };
        assert!(at("could not be written again; 2 lines were lost") < at(end), "{ended:#?}");
    }
}

#[test]
fn a_line_of_ten_megabytes() {
    if !root() {
        return;
    }
    let length = 10_000_000;
    let script = format!("head -c {length} /dev/zero | tr '\\0' x; echo; echo next");
    for format in ["prefix", "raw"] {
        let end = Setup::services(&service(
            "a",
            &sh(&script),
            &format!("type = \"oneshot\"\nstdout = \"{format}\""),
        ))
        .start()
        .finish();
        end.code(0);
        let lines: Vec<&str> = match format {
            "raw" => end.stdout.iter().map(String::as_str).collect(),
            _ => end.of("a"),
        };
        let (next, pieces) = lines.split_last().expect("lines");
        assert_eq!(*next, "next");
        assert!(
            pieces.iter().all(|piece| piece.bytes().all(|byte| byte == b'x')),
            "no other byte in between"
        );
        assert_eq!(pieces.iter().map(|piece| piece.len()).sum::<usize>(), length);
        assert!(format == "prefix" || pieces.len() == 1);
        assert!(pieces.iter().all(|piece| format == "raw" || piece.len() <= 2 * 64 * 1024));
    }
}

#[test]
fn every_byte_passes() {
    if !root() {
        return;
    }
    let bytes: Vec<u8> = (0..=255).chain([b'\n']).chain(*b"\x1b[31m\xff\xfe\0\r\n").collect();
    let setup = Setup::services(&service("a", &sh("cat $DIR/bytes"), "type = \"oneshot\""));
    setup.folder().file("bytes", &bytes);
    let folder = Folder::new();
    let path = folder.file("out", "");
    let out = File::options().append(true).open(&path).expect("it is ours");
    setup.stdout(Out::To(out.into())).start().finish().code(0);
    let mut expected = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        expected.extend_from_slice(b"a | ");
        expected.extend_from_slice(line);
    }
    assert_eq!(fs::read(path).expect("a file"), expected);
}

#[test]
fn sockets_terminals_and_one_pipe_for_both() {
    if !root() {
        return;
    }
    let config = service("a", &sh("echo out; echo err >&2; exit 3"), "max_restarts = 0");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket");
    let copy = theirs.try_clone().expect("a copy");
    let end =
        Setup::services(&config).stdout(Out::To(theirs.into())).stderr(Out::To(copy.into())).start().finish();
    end.code(3);
    let said = read_all(ours.into());
    assert!(
        said.contains("a | out\n") && said.contains("a | err\n") && said.contains("tinysup |   exit code  3"),
        "{said}"
    );

    let (master, slave) = launch::terminal().expect("a terminal");
    let copy = slave.try_clone().expect("a copy");
    let container = Setup::services(&config).stdout(Out::To(slave)).stderr(Out::To(copy)).start();
    container.finish().code(3);
    let said = read_all(master);
    assert!(
        said.contains("a | out\r\n")
            && said.contains("a | err\r\n")
            && said.contains("tinysup |   exit code  3"),
        "{said}"
    );

    let (reader, writer) = io::pipe().expect("a pipe");
    let copy = writer.try_clone().expect("a copy");
    let container =
        Setup::services(&config).stdout(Out::To(writer.into())).stderr(Out::To(copy.into())).start();
    container.finish().code(3);
    let said = read_all(reader.into());
    let at = |part: &str| said.find(part).unwrap_or_else(|| panic!("{part:?} in {said}"));
    assert!(
        at("a | out\n") < at("tinysup | a: code 3") && at("a | err\n") < at("tinysup | a: code 3"),
        "{said}"
    );
}

#[test]
fn a_limit_of_file_sizes_hits_no_service() {
    if !root() {
        return;
    }
    let setup = Setup::services(&service(
        "a",
        &sh("head -c 100000 /dev/zero | tr '\\0' '\\n'; touch $DIR/done; exec sleep 1000"),
        "",
    ));
    let path = setup.folder().file("out", "");
    let out = File::options().append(true).open(path).expect("it is ours");
    let done = setup.folder().path().join("done");
    let container =
        setup.stdout(Out::To(out.into())).before(|| launch::limit(libc::RLIMIT_FSIZE, 4096, 4096)).start();
    container.until("it has written", || done.exists());
    container.wait_for("the service is up");
    assert!(proc::idle(container.pid(), Duration::from_millis(100)));
    let end = container.stop();
    end.code(0);
    end.never_says("SIGXFSZ");
}

/// Checks that nothing was lost, torn or put into another order; shows where.
#[track_caller]
fn same(found: &[&str], expected: &[String]) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if let Some(at) = differs {
        let until = (at + 5).min(found.len()).min(expected.len());
        panic!("line {at}: {:?} where {:?} were expected", &found[at..until], &expected[at..until]);
    }
    assert_eq!(found.len(), expected.len(), "the end is missing");
}

/// All that there is to read, until the end or until nothing comes any more.
fn read_all(from: OwnedFd) -> String {
    let mut from = File::from(from);
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while launch::readable(&from, DEADLINE) {
        match io::Read::read(&mut from, &mut buffer) {
            Ok(count) if count > 0 => bytes.write_all(&buffer[..count]).expect("memory"),
            Ok(_) | Err(_) => break, // a terminal without programs says EIO
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
