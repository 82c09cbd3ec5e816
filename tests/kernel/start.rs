//! Starting processes: what they find.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::path::Path;

use tinysup::config::World as _;
use tinysup::event::{Event, ExitStatus, Output, Secret, StartError, Stdin, Surroundings};
use tinysup::kernel::Kernel;
use tinysup::sys::{Descriptors, Files, FilesAgain};
use tinysup::units::Signal;

use crate::scene::{STRANGER, needs_root};
use crate::world::{World, conditions, field, helper, service, shell};
use crate::{Case, early, scene};

pub const CASES: &[Case] = &[
    ("exec_and_exit_code", exec_and_exit_code),
    ("death_by_signal", death_by_signal),
    ("children_get_three_descriptors", children_get_three_descriptors),
    ("a_command_inherits_descriptors", a_command_inherits_descriptors),
    ("own_session_and_group", own_session_and_group),
    ("a_command_gets_a_group_only", a_command_gets_a_group_only),
    ("a_command_gets_the_terminal", a_command_gets_the_terminal),
    ("a_background_command_takes_no_terminal", a_background_command_takes_no_terminal),
    ("environment", environment),
    ("what_our_parent_tells_us_is_not_for_services", what_our_parent_tells_us_is_not_for_services),
    ("variables_from_files", variables_from_files),
    ("what_others_have_planted_is_no_secret", what_others_have_planted_is_no_secret),
    ("program_is_searched_in_its_own_path", program_is_searched_in_its_own_path),
    ("an_empty_path_element_is_not_here", an_empty_path_element_is_not_here),
    ("a_command_without_shebang_runs_in_a_shell", a_command_without_shebang_runs_in_a_shell),
    ("stdin_null_and_inherit", stdin_null_and_inherit),
    ("without_dev_null", without_dev_null),
    ("standard_descriptors_closed", standard_descriptors_closed),
    ("a_hanging_exec_does_not_hang_us", a_hanging_exec_does_not_hang_us),
    ("killed_before_exec", killed_before_exec),
];

pub const ABOUT_SIGNALS: &[Case] = &[
    ("services_start_with_clean_signals", services_start_with_clean_signals),
    ("a_command_inherits_signals", a_command_inherits_signals),
];

fn exec_and_exit_code() {
    let mut world = World::new();
    let outcome = world.run(shell("echo out; echo err >&2; exit 7"));
    assert!(outcome.executed && outcome.error.is_none());
    assert_eq!(outcome.status, Some(ExitStatus::Code(7)));
    assert_eq!((outcome.stdout.as_slice(), outcome.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
}

fn death_by_signal() {
    let mut world = World::new();
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11), ("37", 37), ("64", 64)] {
        let outcome = world.run(shell(&format!("ulimit -c 0; kill -{name} $$")));
        let signal = Signal::new(number).unwrap();
        assert_eq!(outcome.status, Some(ExitStatus::Signal { signal, core: false }), "{name}");
    }
}

/// A descriptor that is open across exec.
fn stray() -> std::fs::File {
    let stray = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: clears a flag of our own descriptor.
    unsafe { libc::fcntl(stray.as_raw_fd(), libc::F_SETFD, 0) };
    stray
}

fn children_get_three_descriptors() {
    let _stray = stray();
    let mut world = World::new();
    let mut launch = service(["/bin/ls", "/proc/self/fd"]);
    assert_eq!(world.run(launch.clone()).text(), "0\n1\n2\n3\n"); // 3 is the directory that ls reads
    launch.stderr = Output::Null;
    assert_eq!(world.run(launch).text(), "0\n1\n2\n3\n");
}

fn a_command_inherits_descriptors() {
    let stray = stray();
    let open: Vec<i32> = (0..1024)
        // SAFETY: only asks.
        .filter(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } == 0)
        .collect();
    assert!(open.contains(&stray.as_raw_fd()));
    let mut world = World::with(Descriptors::PassOn);
    let mut launch = service(["/bin/ls", "/proc/self/fd"]);
    launch.surroundings = Surroundings::Command;
    let text = world.run(launch).text();
    let mut numbers: Vec<i32> = text.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers.len(), open.len() + 1, "{numbers:?}"); // and the directory that ls reads
    assert!(open.iter().all(|number| numbers.contains(number)), "{numbers:?}");
    // And we let go of it.
    let number = std::os::fd::IntoRawFd::into_raw_fd(stray);
    // SAFETY: only asks.
    assert_eq!(unsafe { libc::fcntl(number, libc::F_GETFD) }, -1);
}

fn services_start_with_clean_signals() {
    let clean = scene::again(|| {
        for signal in [libc::SIGUSR1, libc::SIGPIPE, libc::SIGCHLD, 40] {
            // SAFETY: ignoring runs no code.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    });
    assert!(clean);
    let mut world = World::new();
    let status = world.run(service(["/bin/cat", "/proc/self/status"])).text();
    for name in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
        assert_eq!(field(&status, name), "0000000000000000", "{name}");
    }
}

fn a_command_inherits_signals() {
    const BLOCKED: u64 = 1 << (libc::SIGUSR2 - 1) | 1 << (33 - 1) | 1 << (50 - 1);
    const IGNORED: u64 =
        1 << (libc::SIGUSR1 - 1) | 1 << (libc::SIGPIPE - 1) | 1 << (libc::SIGCHLD - 1) | 1 << (40 - 1);
    scene::again(|| {
        for signal in (1..=64).filter(|signal| IGNORED & 1 << (signal - 1) != 0) {
            // SAFETY: ignoring runs no code.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        let blocked = BLOCKED;
        // SAFETY: reads one u64.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const blocked, 0, 8) };
    });
    let ignored = field(&std::fs::read_to_string("/proc/self/status").unwrap(), "SigIgn");
    // Whoever started us with posix_spawn may have left these two ignored.
    let own = u64::from_str_radix(&ignored, 16).unwrap() & (1 << 31 | 1 << 32);
    assert_eq!(early::inherited().mask, BLOCKED);
    let mut world = World::new();
    let mut launch = service(["/bin/cat", "/proc/self/status"]);
    launch.surroundings = Surroundings::Command;
    let outcome = world.run(launch);
    assert_eq!(outcome.status, Some(ExitStatus::Code(0)));
    assert_eq!(field(&outcome.text(), "SigBlk"), format!("{BLOCKED:016x}"));
    assert_eq!(field(&outcome.text(), "SigIgn"), format!("{:016x}", IGNORED | own));
}

/// Group, session, the terminal's foreground group.
fn places(stat: &str) -> [i32; 3] {
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    [fields[2], fields[3], fields[5]].map(|field| field.parse().unwrap())
}

fn own_session_and_group() {
    let mut world = World::new();
    let outcome = world.run(service(["/bin/cat", "/proc/self/stat"]));
    let pid = outcome.pid.number();
    assert_eq!(places(&outcome.text()), [pid, pid, -1]);
}

fn a_command_gets_a_group_only() {
    let mut world = World::new();
    let mut launch = service(["/bin/cat", "/proc/self/stat"]);
    launch.surroundings = Surroundings::Command;
    let outcome = world.run(launch);
    // SAFETY: only asks.
    let session = unsafe { libc::getsid(0) };
    assert_eq!(places(&outcome.text())[..2], [outcome.pid.number(), session]);
}

/// Makes a new terminal ours: we lead its session and stand in its foreground.
fn open_terminal() -> std::fs::File {
    use std::fs::OpenOptions;
    // SAFETY: plain calls on descriptors that live here; a case is not yet a session's leader, for its parent's group is its own.
    unsafe {
        libc::setsid();
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(master >= 0 && libc::grantpt(master) == 0 && libc::unlockpt(master) == 0);
        let mut name = [0; 64];
        assert_eq!(libc::ptsname_r(master, name.as_mut_ptr(), name.len()), 0);
        let name = std::ffi::CStr::from_ptr(name.as_ptr()).to_str().unwrap();
        // Opened by a session leader without a terminal, it becomes the session's.
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        scene::replace(0, &slave);
        assert_eq!(libc::tcgetpgrp(0), libc::getpgrp());
        std::os::fd::FromRawFd::from_raw_fd(master)
    }
}

fn command_on_terminal() -> tinysup::event::Launch {
    let mut launch = service(["/bin/cat", "/proc/self/stat"]);
    launch.surroundings = Surroundings::Command;
    launch.stdin = Stdin::Inherit;
    launch
}

fn a_command_gets_the_terminal() {
    let _master = open_terminal();
    let mut world = World::new();
    for stdin in [Stdin::Inherit, Stdin::Null] {
        let mut launch = command_on_terminal();
        launch.stdin = stdin;
        let outcome = world.run(launch);
        let [group, session, foreground] = places(&outcome.text());
        assert_eq!((group, foreground), (outcome.pid.number(), outcome.pid.number()), "{stdin:?}");
        // SAFETY: only asks.
        assert_eq!(session, unsafe { libc::getsid(0) });
    }
}

fn a_background_command_takes_no_terminal() {
    let _master = open_terminal();
    // A group of its own stands in front.
    // SAFETY: plain calls; the child only sleeps.
    let front = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::sleep(30);
            libc::_exit(0);
        }
        libc::setpgid(child, child);
        assert_eq!(libc::tcsetpgrp(0, child), 0);
        child
    };
    let mut world = World::new();
    let outcome = world.run(command_on_terminal());
    assert_eq!(places(&outcome.text())[2], front);
    // SAFETY: our own child.
    unsafe { libc::kill(front, libc::SIGKILL) };
}

fn environment() {
    scene::again(|| {
        // SAFETY: one thread.
        unsafe {
            std::env::set_var("INHERITED", "yes");
            std::env::set_var("OVER", "old");
        }
    });
    let mut world = World::new();
    let mut launch = service(["/usr/bin/env"]);
    conditions(&mut launch).env =
        vec![("OVER".into(), Secret::new("new")), ("ODD".into(), Secret::new("a=b\tc"))];
    let text = world.run(launch.clone()).text();
    let has = |text: &str, line: &str| text.lines().filter(|other| *other == line).count() == 1;
    for line in ["INHERITED=yes", "OVER=new", "ODD=a=b\tc", "TINYSUP_SERVICE=web", "TINYSUP_INSTANCE=1"] {
        assert!(has(&text, line), "{line}: {text}");
    }
    assert!(!text.contains("OVER=old"));

    conditions(&mut launch).inherit_env = false;
    let text = world.run(launch).text();
    assert_eq!(text.lines().count(), 4, "{text}");
}

/// Sockets and descriptors that a service does not get are not named to it; a command, which is all there is, finds all.
fn what_our_parent_tells_us_is_not_for_services() {
    const NAMES: [&str; 6] =
        ["LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];
    scene::again(|| {
        for name in NAMES {
            // SAFETY: one thread.
            unsafe { std::env::set_var(name, "our parent's") };
        }
    });
    let mut world = World::new();
    let mut launch = shell("env | grep -E '^(LISTEN|NOTIFY|WATCHDOG)' | cut -d= -f1 | sort");
    assert_eq!(world.run(launch.clone()).text(), "");
    // What the configuration says is the service's own.
    conditions(&mut launch).env = vec![("LISTEN_FDS".into(), Secret::new("0"))];
    assert_eq!(world.run(launch.clone()).text(), "LISTEN_FDS\n");
    conditions(&mut launch).env.clear();
    launch.surroundings = Surroundings::Command;
    assert_eq!(world.run(launch).text().lines().collect::<Vec<_>>(), NAMES);
}

fn variables_from_files() {
    let scratch = scene::Scratch::new();
    let mut world = World::new();
    let mut launch = shell("printf %s \"$SECRET\"");
    for (content, expected) in [("one\n", "one"), ("two\n\n", "two\n"), ("three", "three"), ("", "")] {
        launch.env_from_file =
            [("SECRET".into(), scratch.file("secret", 0o600, content.as_bytes()).into())].into();
        assert_eq!(world.run(launch.clone()).text(), expected);
    }
    let fifo = scratch.path("fifo");
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRUSR).unwrap();
    for (path, reason) in [
        (scratch.path("absent"), "No such file or directory"),
        (scratch.path(""), "Is a directory"),
        (fifo, "it is not a file"),
        (scratch.file("zero", 0o600, b"a\0b"), "it has a NUL byte, which no variable can hold"),
        (scratch.file("large", 0o600, &vec![b'x'; (128 << 10) + 1]), "it is larger than 128 KiB"),
    ] {
        launch.env_from_file = [("SECRET".into(), path.clone().into())].into();
        let expected = StartError::EnvFile { variable: "SECRET".into(), path, reason: reason.into() };
        assert_eq!(world.cannot(launch.clone()), expected);
    }
}

/// Whoever owns the folder of a secret could have root's files read in its place.
fn what_others_have_planted_is_no_secret() {
    use std::os::unix::fs::{chown, lchown, symlink};
    needs_root();
    let scratch = scene::Scratch::new();
    let folder = |name: &str| {
        std::fs::create_dir(scratch.path(name)).unwrap();
        scratch.path(name)
    };
    let precious = scratch.file("precious", 0o600, b"precious");
    let theirs = folder("theirs");
    chown(&theirs, Some(STRANGER), None).unwrap();
    symlink(&precious, format!("{theirs}/link")).unwrap();
    lchown(format!("{theirs}/link"), Some(STRANGER), None).unwrap();
    symlink(scratch.path(""), format!("{theirs}/folder")).unwrap();
    lchown(format!("{theirs}/folder"), Some(STRANGER), None).unwrap();
    std::fs::hard_link(&precious, format!("{theirs}/name")).unwrap();
    std::fs::write(format!("{theirs}/own"), "own").unwrap();
    chown(format!("{theirs}/own"), Some(STRANGER), None).unwrap();
    symlink("own", format!("{theirs}/to_own")).unwrap();
    lchown(format!("{theirs}/to_own"), Some(STRANGER), None).unwrap();
    // As Kubernetes mounts it.
    let mounted = folder("mounted");
    std::fs::set_permissions(&mounted, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    folder("mounted/..2024");
    std::fs::write(format!("{mounted}/..2024/token"), "token").unwrap();
    symlink("..2024", format!("{mounted}/..data")).unwrap();
    symlink("..data/token", format!("{mounted}/token")).unwrap();
    symlink("mounted/../mounted/token", scratch.path("relative")).unwrap();

    let mut world = World::new();
    let mut launch = shell("printf %s \"$SECRET\"");
    let link = "a symbolic link of user 12345 on the way there is not followed";
    for (path, expected) in [
        (format!("{theirs}/own"), Ok("own")),
        (format!("{theirs}/to_own"), Ok("own")),
        (format!("{mounted}/token"), Ok("token")),
        (scratch.path("relative"), Ok("token")),
        (format!("{theirs}/link"), Err(link)),
        (format!("{theirs}/folder/precious"), Err(link)),
        (
            format!("{theirs}/name"),
            Err("it has more than one name (hard links), and others may write to its folder"),
        ),
    ] {
        launch.env_from_file = [("SECRET".into(), path.clone().into())].into();
        let env_file = Files.read_secret(Path::new(&path), 100);
        match expected {
            Ok(secret) => {
                assert_eq!(world.run(launch.clone()).text(), secret);
                assert_eq!(env_file.unwrap(), secret.as_bytes());
            }
            Err(reason) => {
                let expected = StartError::EnvFile {
                    variable: "SECRET".into(),
                    path: path.clone(),
                    reason: reason.into(),
                };
                assert_eq!(world.cannot(launch.clone()), expected);
                assert_eq!(env_file.unwrap_err().to_string(), reason);
                assert_eq!(FilesAgain.read_secret(Path::new(&path), 100).unwrap_err().to_string(), reason);
            }
        }
    }
}

fn program_is_searched_in_its_own_path() {
    let scratch = scene::Scratch::new();
    scratch.file("here", 0o755, b"#!/bin/sh\necho found\n");
    let (none, first) = (scratch.path("none"), scratch.path("first"));
    std::fs::create_dir(&first).unwrap();
    std::fs::write(format!("{first}/here"), "not executable").unwrap();
    let mut world = World::new();
    let mut launch = service(["here"]);
    // A directory that is not there, one with a file that may not be executed, and then the right one.
    conditions(&mut launch).env =
        vec![("PATH".into(), Secret::new(format!("{none}:{first}:{}", scratch.path(""))))];
    assert_eq!(world.run(launch.clone()).text(), "found\n");
    conditions(&mut launch).env = vec![("PATH".into(), Secret::new(format!("{first}:{none}")))];
    let file = format!("{first}/here");
    assert_eq!(world.cannot(launch), StartError::NotExecutable { file, mode: 0o644, noexec: false });

    let mut launch = service(["cat", "/dev/null"]);
    conditions(&mut launch).inherit_env = false; // then the usual directories
    assert!(world.run(launch).executed);
}

fn an_empty_path_element_is_not_here() {
    let scratch = scene::Scratch::new();
    scratch.file("here", 0o755, b"#!/bin/sh\necho found\n");
    let mut world = World::new();
    let mut launch = service(["here"]);
    conditions(&mut launch).cwd = Some(scratch.path("").into());
    for path in [":", "/none:", ""] {
        conditions(&mut launch).env = vec![("PATH".into(), Secret::new(path))];
        let expected =
            StartError::NotFound { program: "here".into(), path: Some(path.into()), similar: None };
        assert_eq!(world.cannot(launch.clone()), expected);
    }
    launch.argv = vec![Secret::new("./here")];
    assert_eq!(world.run(launch).text(), "found\n");
}

fn a_command_without_shebang_runs_in_a_shell() {
    let scratch = scene::Scratch::new();
    let file = scratch.file("script", 0o755, b"echo $0 $1 $#\n");
    let mut world = World::new();
    let mut launch = service([file.as_str(), "a b", "c"]);
    assert_eq!(world.cannot(launch.clone()), StartError::NoShebang { file: file.clone() });
    launch.surroundings = Surroundings::Command;
    assert_eq!(world.run(launch).text(), format!("{file} a b 2\n"));
}

fn stdin_null_and_inherit() {
    let scratch = scene::Scratch::new();
    let file = scratch.file("input", 0o644, b"from outside\n");
    scene::replace(0, &std::fs::File::open(file).unwrap());
    let mut world = World::new();
    let mut launch = service(["/bin/cat"]);
    assert_eq!(world.run(launch.clone()).text(), "");
    launch.stdin = Stdin::Inherit;
    assert_eq!(world.run(launch).text(), "from outside\n");
}

fn without_dev_null() {
    scene::own_mounts();
    scene::hide("/dev");
    let mut world = World::new();
    let mut launch = shell(
        "cat; echo out; echo err >&2; head -c 200000 /proc/self/maps >&2; yes 2>/dev/null | head -c 300000; exit 5",
    );
    launch.stdout = Output::Null;
    let outcome = world.run(launch);
    assert_eq!(outcome.status, Some(ExitStatus::Code(5)));
    assert!(outcome.stdout.is_empty() && outcome.stderr.starts_with(b"err\n"));
}

/// Without the work before main, Rust's runtime would end us, or our files would get the numbers.
fn standard_descriptors_closed() {
    let report = scene::Scratch::new();
    let file = report.path("report");
    if std::env::var_os("CASE_AGAIN").is_none() {
        std::mem::forget(report);
        // SAFETY: one thread.
        unsafe { std::env::set_var("CASE_REPORT", &file) };
    }
    scene::again(|| {
        for number in 0..3 {
            // SAFETY: the standard descriptors belong to the case.
            unsafe { libc::close(number) };
        }
    });
    let file = std::env::var("CASE_REPORT").unwrap();
    std::panic::set_hook(Box::new(move |info| std::fs::write(&file, info.to_string()).unwrap()));
    let mut world = World::new();
    let outcome = world.run(service(["/bin/ls", "/proc/self/fd"]));
    assert_eq!(outcome.text(), "0\n1\n2\n3\n");
    let mut launch = shell("echo lost; echo lost >&2; exit 4");
    (launch.stdout, launch.stderr, launch.stdin) = (Output::Inherit, Output::Inherit, Stdin::Inherit);
    assert_eq!(world.run(launch).status, Some(ExitStatus::Code(4)));
}

/// The program lies on a FIFO-like file system that answers nobody: here, a script whose interpreter cannot be read yet.
fn a_hanging_exec_does_not_hang_us() {
    let mut world = World::new();
    // Stopped before it comes to its exec, the child hangs as it would on a dead file server.
    let (child, pid) = world.spawn(helper(&["wait"]));
    // SAFETY: our own child.
    unsafe { libc::kill(pid.number(), libc::SIGSTOP) };
    let before = world.linux.now();
    world.wait(std::time::Duration::from_millis(50));
    let after = world.linux.now();
    assert!(after.since(before) < std::time::Duration::from_secs(1));
    let _ = child;
    world.perform(tinysup::event::Action::Signal { pid, signal: Signal::KILL });
    assert_eq!(world.exit_of(pid), ExitStatus::Signal { signal: Signal::KILL, core: false });
}

fn killed_before_exec() {
    let mut world = World::new();
    let mut before = 0;
    for _ in 0..50 {
        let (child, pid) = world.spawn(service(["/bin/sleep", "1000"].map(OsString::from)));
        // SAFETY: our own child.
        unsafe { libc::kill(pid.number(), libc::SIGKILL) };
        let executed = world.until("how it started", |event| match event {
            Event::Executed { child: of } if *of == child => Some(true),
            Event::ExecFailed { child: of, error } if *of == child => panic!("nothing failed: {error}"),
            // Neither: the end that follows says all.
            Event::Exited { pid: of, status } if *of == pid => {
                assert_eq!(*status, ExitStatus::Signal { signal: Signal::KILL, core: false });
                Some(false)
            }
            _ => None,
        });
        before += usize::from(!executed);
        if executed {
            assert_eq!(world.exit_of(pid), ExitStatus::Signal { signal: Signal::KILL, core: false });
        }
    }
    assert!(before > 0, "never killed in time; the case shows nothing");
}
