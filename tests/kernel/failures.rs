//! Every reason why a program cannot be started, told by its right name.

use tinysup::event::{Launch, Secret, StartError};

use crate::Case;
use crate::scene::{self, Scratch};
use crate::world::{World, conditions, identity, service};

pub const CASES: &[Case] = &[
    ("not_found", not_found),
    ("similar_names", similar_names),
    ("scripts_without_their_interpreter", scripts_without_their_interpreter),
    ("missing_loader", missing_loader),
    ("not_executable", not_executable),
    ("not_executable_for_that_user", not_executable_for_that_user),
    ("noexec_mount", noexec_mount),
    ("neither_program_nor_script", neither_program_nor_script),
    ("busy_and_too_big", busy_and_too_big),
    ("no_descriptors_left", no_descriptors_left),
    ("no_processes_left", no_processes_left),
    ("odd_arguments", odd_arguments),
];

fn launch(program: &str) -> Launch {
    service([program])
}

fn not_found() {
    let mut world = World::new();
    for program in ["/none/at/all", "./none", "/etc/passwd/none"] {
        let expected = StartError::NotFound { program: program.into(), path: None, similar: None };
        assert_eq!(world.cannot(launch(program)), expected);
    }
    assert_eq!(
        world.cannot(launch("")),
        StartError::NotFound { program: String::new(), path: None, similar: None }
    );
}

fn similar_names() {
    let scratch = Scratch::new();
    scratch.file("gunicorn", 0o755, b"");
    scratch.file("python3", 0o755, b"");
    let path = scratch.path("");
    let directory = path.trim_end_matches('/');
    let mut world = World::new();
    for (program, similar) in [
        ("gunicron", Some("gunicorn")),
        ("python", Some("python3")),
        ("unicorn", Some("gunicorn")),
        ("redis", None),
    ] {
        let mut launch = launch(program);
        conditions(&mut launch).env = vec![("PATH".into(), Secret::new(directory))];
        let expected = StartError::NotFound {
            program: program.into(),
            path: Some(directory.into()),
            similar: similar.map(|similar| format!("{similar} ({directory})")),
        };
        assert_eq!(world.cannot(launch), expected);
    }
}

fn scripts_without_their_interpreter() {
    let scratch = Scratch::new();
    let mut world = World::new();
    for (content, interpreter) in [
        ("#!/none/python\n", "/none/python"),
        ("#! /none/python -u\n", "/none/python"),
        ("#!/none/end", "/none/end"),
    ] {
        let file = scratch.file("script", 0o755, content.as_bytes());
        let expected = StartError::MissingInterpreter { file: file.clone(), interpreter: interpreter.into() };
        assert_eq!(world.cannot(launch(&file)), expected);
    }
    let file = scratch.file("windows", 0o755, b"#!/bin/sh\r\necho\r\n");
    let expected = StartError::WindowsLineEnds { file: file.clone(), interpreter: "/bin/sh".into() };
    assert_eq!(world.cannot(launch(&file)), expected);

    // Found in PATH, it is this script that lacks something, not the program that is not found.
    let mut by_name = launch("windows");
    conditions(&mut by_name).env =
        vec![("PATH".into(), Secret::new(format!("/none:{}", scratch.path("").trim_end_matches('/'))))];
    assert_eq!(world.cannot(by_name), expected);

    let inner = scratch.file("inner", 0o755, b"#!/none/inner\n");
    let outer = scratch.file("outer", 0o755, format!("#!{inner}\n").as_bytes());
    let expected = StartError::MissingInterpreter { file: inner, interpreter: "/none/inner".into() };
    assert_eq!(world.cannot(launch(&outer)), expected);
}

/// A program of this machine with its loader's name replaced by one that is not there.
fn missing_loader() {
    let scratch = Scratch::new();
    let mut bytes = std::fs::read("/bin/cat").unwrap();
    let marker = b"/lib64/ld-linux";
    let Some(at) = bytes.windows(marker.len()).position(|window| window == marker) else {
        scene::skip("needs a dynamically linked x86-64 cat");
    };
    bytes[at..at + 6].copy_from_slice(b"/lib99");
    let file = scratch.file("program", 0o755, &bytes);
    let mut world = World::new();
    match world.cannot(launch(&file)) {
        StartError::MissingLoader { file: named, loader } => {
            assert_eq!(named, file);
            assert!(loader.starts_with("/lib99/ld-linux"), "{loader}");
        }
        other => panic!("{other:?}"),
    }
}

fn not_executable() {
    let scratch = Scratch::new();
    let mut world = World::new();
    let file = scratch.file("plain", 0o640, b"#!/bin/sh\n");
    assert_eq!(world.cannot(launch(&file)), StartError::NotExecutable { file, mode: 0o640, noexec: false });
    let directory = scratch.path("");
    assert_eq!(world.cannot(launch(&directory)), StartError::IsDirectory { file: directory });
    let interpreter = scratch.file("interpreter", 0o644, b"");
    let script = scratch.file("script", 0o755, format!("#!{interpreter}\n").as_bytes());
    assert_eq!(
        world.cannot(launch(&script)),
        StartError::NotExecutable { file: interpreter, mode: 0o644, noexec: false }
    );
}

fn not_executable_for_that_user() {
    scene::needs_root();
    let scratch = Scratch::new();
    let mut world = World::new();
    let file = scratch.file("mine", 0o700, b"#!/bin/sh\n");
    let mut launch = launch(&file);
    conditions(&mut launch).identity = identity("12345");
    let expected = format!("cannot execute {file}: Permission denied for user 12345 (mode 0700, owner 0:0)");
    assert_eq!(world.cannot(launch.clone()).to_string(), expected);
}

fn noexec_mount() {
    scene::own_mounts();
    let scratch = Scratch::new();
    scene::mount("tmpfs", &scratch.path(""), "tmpfs", libc::MS_NOEXEC);
    let file = scratch.file("script", 0o755, b"#!/bin/sh\n");
    let mut world = World::new();
    assert_eq!(world.cannot(launch(&file)), StartError::NotExecutable { file, mode: 0o755, noexec: true });
    let path = scratch.path("");
    let path = std::ffi::CString::new(path).unwrap();
    // SAFETY: a string with its end.
    unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
}

fn neither_program_nor_script() {
    let scratch = Scratch::new();
    let mut world = World::new();
    for content in ["", "echo hello\n", "#!\n"] {
        let file = scratch.file("text", 0o755, content.as_bytes());
        assert_eq!(world.cannot(launch(&file)), StartError::NoShebang { file });
    }
    let mut foreign = std::fs::read("/proc/self/exe").unwrap();
    foreign.truncate(4096);
    foreign[18] = if foreign[18] == 183 { 62 } else { 183 };
    let file = scratch.file("foreign", 0o755, &foreign);
    assert_eq!(world.cannot(launch(&file)), StartError::WrongMachine { file });
}

fn busy_and_too_big() {
    let scratch = Scratch::new();
    let mut world = World::new();
    let file = scratch.file("busy", 0o755, &std::fs::read("/bin/true").unwrap());
    let writer = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    assert_eq!(world.cannot(launch(&file)), StartError::Busy { file: file.clone() });
    // Until it has ended, the child that failed has the file open for writing, too.
    world.until("its end", |event| matches!(event, tinysup::event::Event::Exited { .. }).then_some(()));
    drop(writer);
    assert!(world.run(launch(&file)).executed);

    let mut big = launch("/bin/true");
    big.argv.extend((0..40).map(|_| Secret::new("x".repeat(120_000))));
    match world.cannot(big) {
        StartError::TooBig { bytes } => assert!(bytes > 4_800_000, "{bytes}"),
        other => panic!("{other:?}"),
    }
}

fn no_descriptors_left() {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_NOFILE, 24, 24).unwrap();
    let mut world = World::new();
    let mut children = Vec::new();
    let error = loop {
        let child = world.new_child();
        let launch = std::rc::Rc::new(service(["/bin/sleep", "1000"]));
        world.perform(tinysup::event::Action::Spawn { child, launch, extra_env: Vec::new() });
        match world.events.pop() {
            Some(tinysup::event::Event::Spawned { pid, .. }) => children.push(pid),
            Some(tinysup::event::Event::SpawnFailed { error, .. }) => break error,
            other => panic!("{other:?}"),
        }
    };
    let StartError::NoProcess { reason } = &*error else { panic!("{error:?}") };
    assert!(
        reason.starts_with("Too many open files (PID 1 may have ") && reason.ends_with("RLIMIT_NOFILE)"),
        "{reason}"
    );
    assert!(children.len() >= 3);
    for pid in children {
        world.perform(tinysup::event::Action::Signal { pid, signal: tinysup::units::Signal::KILL });
        world.exit_of(pid);
    }
    assert!(world.run(service(["/bin/true"])).executed, "it works again");
}

fn no_processes_left() {
    use nix::sys::resource::{Resource, setrlimit};
    scene::as_stranger();
    setrlimit(Resource::RLIMIT_NPROC, 0, 0).unwrap();
    let mut world = World::new();
    match world.cannot(service(["/bin/true"])) {
        StartError::NoProcess { reason } => {
            assert!(reason.starts_with("Resource temporarily unavailable ("), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

fn odd_arguments() {
    let mut world = World::new();
    assert_eq!(world.run(service(["/bin/echo", "a b", "", "\u{e9}*"])).text(), "a b  \u{e9}*\n");
    let error = world.cannot(service(["/bin/echo", "a\0b"])).to_string();
    assert_eq!(error, "cannot pass an argument on: it has a NUL byte");
}
