//! Files of output: what is opened and what is not, rotation, full disks, and files that somebody else moves.

use std::fmt::Write;
use std::fs;
use std::ops::Add;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tinysup::event::{Action, Event, FileTrouble, LogFile};
use tinysup::line::Format;

use crate::runner::Case;
use crate::scene::{self, Scratch};
use crate::world::World;

pub const CASES: &[Case] = &[
    ("files_are_made_with_their_folders", files_are_made_with_their_folders),
    ("rotation_loses_and_tears_nothing", rotation_loses_and_tears_nothing),
    ("a_file_that_cannot_be_rotated_grows", a_file_that_cannot_be_rotated_grows),
    ("lines_that_are_lost_while_a_file_grows_are_told", lines_that_are_lost_while_a_file_grows_are_told),
    ("what_others_have_planted_is_not_written", what_others_have_planted_is_not_written),
    ("links_of_root_are_followed_on_the_way", links_of_root_are_followed_on_the_way),
    ("a_full_disk_for_files", a_full_disk_for_files),
    ("a_file_that_somebody_moves_or_empties", a_file_that_somebody_moves_or_empties),
    ("a_torn_line_is_ended", a_torn_line_is_ended),
    ("a_line_of_which_a_piece_is_written_is_not_ended", a_line_of_which_a_piece_is_written_is_not_ended),
    ("a_rotated_file_hands_down_no_rights", a_rotated_file_hands_down_no_rights),
    ("a_file_of_nobody_is_let_go", a_file_of_nobody_is_let_go),
];

fn file(path: impl Into<PathBuf>, max_size: Option<u64>) -> Rc<LogFile> {
    Rc::new(LogFile { path: path.into(), format: Format::Raw, max_size, max_files: 3, also: None })
}

fn write(world: &mut World, file: &Rc<LogFile>, text: &str) {
    world.perform(Action::WriteFile { file: Rc::clone(file), bytes: text.as_bytes().to_vec() });
}

fn troubles(world: &mut World) -> Vec<FileTrouble> {
    let told = world.events.drain(..).filter_map(|event| match event {
        Event::File { trouble, .. } => Some(trouble),
        _ => None,
    });
    told.collect()
}

fn reason(told: &[FileTrouble]) -> &str {
    match told {
        [FileTrouble::Lost { reason }] => reason,
        other => panic!("one trouble, not {other:?}"),
    }
}

/// Writes a line again and again until it is told that it works, and returns how many were lost.
fn until_it_works(world: &mut World, file: &Rc<LogFile>) -> u64 {
    let began = Instant::now();
    loop {
        write(world, file, "again\n");
        match troubles(world).as_slice() {
            [] => {}
            [FileTrouble::Over { lines }] => return *lines,
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it never works again");
        world.wait(Duration::from_millis(50));
    }
}

fn files_are_made_with_their_folders() {
    let scratch = Scratch::new();
    let path = scratch.path("a/b/out.log");
    let mut world = World::new();
    let log = file(&path, None);
    write(&mut world, &log, "one\n");
    write(&mut world, &log, "two\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    let stat = fs::metadata(&path).unwrap();
    assert_eq!(stat.mode() & 0o777, 0o666 & !umask());
    assert_eq!(troubles(&mut world), []);
}

fn umask() -> u32 {
    // SAFETY: set and set back, in a process of one thread.
    unsafe {
        let mask = libc::umask(0o022);
        libc::umask(mask);
        mask
    }
}

fn rotation_loses_and_tears_nothing() {
    const LINES: usize = 100_000;
    let scratch = Scratch::new();
    let path = scratch.path("out.log");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let mut world = World::new();
    // All of it fits into the files that stay.
    let log = Rc::new(LogFile { max_files: 100, ..(*file(&path, Some(64 << 10))).clone() });
    let (mut text, mut batch) = (String::new(), 1);
    for number in 0..LINES {
        writeln!(text, "line {number:06} {}", "x".repeat(number % 37)).unwrap();
        if number % batch == 0 || number + 1 == LINES {
            write(&mut world, &log, &std::mem::take(&mut text));
            batch = number % 500 + 1;
        }
    }
    let names: Vec<String> =
        (1..=100).rev().map(|number| format!("{path}.{number}")).chain([path.clone()]).collect();
    let found: Vec<&String> = names.iter().filter(|name| Path::new(name).exists()).collect();
    assert!(found.len() > 40, "{} files", found.len());
    let mut next = 0;
    for name in found {
        let text = fs::read_to_string(name).unwrap();
        assert!(text.len() <= 64 << 10 && text.ends_with('\n'), "{name}: {} bytes", text.len());
        assert_eq!(fs::metadata(name).unwrap().mode() & 0o777, 0o600, "the mode is handed down");
        for line in text.lines() {
            assert_eq!(line, format!("line {next:06} {}", "x".repeat(next % 37)));
            next += 1;
        }
    }
    assert_eq!((next, troubles(&mut world)), (LINES, Vec::new()));
    // Only so many stay.
    let few = file(scratch.path("few.log"), Some(4096));
    for number in 0..1000 {
        write(&mut world, &few, &format!("{number:0100}\n"));
    }
    let there = |number| Path::new(&scratch.path(&format!("few.log.{number}"))).exists();
    assert_eq!([1, 2, 3, 4].map(there), [true, true, true, false]);
}

fn a_file_that_cannot_be_rotated_grows() {
    scene::own_mounts();
    let scratch = Scratch::new();
    let (real, path) = (scratch.file("real", 0o644, b""), scratch.file("out.log", 0o644, b""));
    // As `docker run -v /host/file:/out.log`: it has a name that cannot be changed.
    scene::mount(&real, &path, "", libc::MS_BIND);
    let mut world = World::new();
    let log = file(&path, Some(4096));
    for number in 0..100 {
        write(&mut world, &log, &format!("{number:0100}\n"));
    }
    assert_eq!(fs::read_to_string(&real).unwrap().lines().count(), 100);
    assert!(matches!(troubles(&mut world).as_slice(), [FileTrouble::Grows { .. }]), "once");
}

fn lines_that_are_lost_while_a_file_grows_are_told() {
    scene::own_mounts();
    let scratch = Scratch::new();
    let disk = scratch.path("disk");
    fs::create_dir(&disk).unwrap();
    scene::mount_with("tmpfs", &disk, "tmpfs", 0, "size=16k");
    let (real, path) = (format!("{disk}/real"), scratch.file("out.log", 0o644, b""));
    fs::write(&real, "").unwrap();
    scene::mount(&real, &path, "", libc::MS_BIND);
    let mut world = World::new();
    let log = file(&path, Some(4096));
    for number in 0..100 {
        write(&mut world, &log, &format!("{number:0100}\n"));
    }
    assert!(matches!(troubles(&mut world).as_slice(), [FileTrouble::Grows { .. }]));
    write(&mut world, &log, &format!("{:099}\n", 0).repeat(100));
    assert!(reason(&troubles(&mut world)).contains("No space left"));
    fs::write(&real, "").unwrap();
    assert!(until_it_works(&mut world, &log) > 10);
}

fn what_others_have_planted_is_not_written() {
    scene::needs_root();
    let scratch = Scratch::new();
    let victim = scratch.file("victim", 0o600, b"precious\n");
    let shared = scratch.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, PermissionsExt::from_mode(0o777)).unwrap();
    let at = |name: &str| format!("{shared}/{name}");
    symlink(&victim, at("link")).unwrap();
    fs::hard_link(&victim, at("hard")).unwrap();
    nix::unistd::mkfifo(at("fifo").as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(at("theirs"), "").unwrap();
    std::os::unix::fs::chown(at("theirs"), Some(1234), None).unwrap();
    symlink(scratch.path(""), at("way")).unwrap();
    std::os::unix::fs::lchown(at("way"), Some(1234), None).unwrap();
    let mut world = World::new();
    let began = Instant::now();
    for (name, part) in [
        ("link", "symbolic link"),
        ("hard", "hard links"),
        ("fifo", "not a plain file"),
        ("theirs", "user 1234"),
        ("way/victim", "user 1234"),
    ] {
        write(&mut world, &file(at(name), None), "evil\n");
        let told = troubles(&mut world);
        assert!(reason(&told).contains(part), "{name}: {told:?}");
    }
    write(&mut world, &file("/dev/full", None), "x\n");
    assert!(reason(&troubles(&mut world)).contains("not a plain file"));
    assert!(began.elapsed() < Duration::from_secs(20), "nothing waits");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n");
}

fn links_of_root_are_followed_on_the_way() {
    scene::needs_root();
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("real")).unwrap();
    symlink("real", scratch.path("one")).unwrap();
    symlink(scratch.path("one"), scratch.path("two")).unwrap();
    symlink("round", scratch.path("round")).unwrap();
    let mut world = World::new();
    write(&mut world, &file(scratch.path("two/../two/out.log"), None), "there\n");
    assert_eq!(fs::read_to_string(scratch.path("real/out.log")).unwrap(), "there\n");
    write(&mut world, &file(scratch.path("round/out.log"), None), "nowhere\n");
    assert!(reason(&troubles(&mut world)).contains("symbolic links"));
}

fn a_full_disk_for_files() {
    scene::own_mounts();
    let scratch = Scratch::new();
    let disk = scratch.path("disk");
    fs::create_dir(&disk).unwrap();
    scene::mount_with("tmpfs", &disk, "tmpfs", 0, "size=16k");
    let mut world = World::new();
    let path = format!("{disk}/out.log");
    let log = file(&path, None);
    let lines = (0..1000).fold(String::new(), |mut lines, number| {
        writeln!(lines, "line {number:030}").unwrap();
        lines
    });
    write(&mut world, &log, &lines);
    assert!(reason(&troubles(&mut world)).contains("No space left"));
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept.ends_with('\n') && lines.starts_with(&kept), "no line is torn");
    let lost = 1000 - kept.lines().count() as u64;
    write(&mut world, &log, "lost too\n");
    assert_eq!(troubles(&mut world), [], "it is told once");
    fs::write(&path, "").unwrap();
    assert!(until_it_works(&mut world, &log) > lost);
    // Read-only, and not any more.
    let disk = scratch.path("other-disk");
    fs::create_dir(&disk).unwrap();
    scene::mount_with("tmpfs", &disk, "tmpfs", libc::MS_RDONLY, "");
    let other = file(format!("{disk}/other.log"), None);
    write(&mut world, &other, "lost\n");
    assert!(reason(&troubles(&mut world)).contains("Read-only"));
    scene::mount("none", &disk, "", libc::MS_REMOUNT);
    assert!(until_it_works(&mut world, &other) >= 1);
}

fn a_file_that_somebody_moves_or_empties() {
    let scratch = Scratch::new();
    let path = scratch.path("logs/out.log");
    let mut world = World::new();
    let log = file(&path, None);
    write(&mut world, &log, "one\n");
    // Moved: what is said in the next second may still go there, and then not.
    fs::rename(&path, format!("{path}.old")).unwrap();
    world.perform(Action::Reopen { client: None });
    match world.events.pop() {
        Some(Event::Reopened { client: None, files }) => assert_eq!(files, [(PathBuf::from(&path), Ok(()))]),
        other => panic!("{other:?}"),
    }
    write(&mut world, &log, "two\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    // Emptied, as copytruncate does.
    fs::write(&path, "").unwrap();
    write(&mut world, &log, "three\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    // Removed with its folder: nothing goes into a file without a name.
    fs::remove_dir_all(scratch.path("logs")).unwrap();
    write(&mut world, &log, "four\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
    // Moved, and nobody says so.
    fs::rename(&path, format!("{path}.old")).unwrap();
    let began = Instant::now();
    while !Path::new(&path).exists() {
        write(&mut world, &log, "five\n");
        assert!(began.elapsed() < Duration::from_secs(30), "it is not noticed");
        world.wait(Duration::from_millis(50));
    }
    assert_eq!(troubles(&mut world), []);
}

/// Its rest is still to come, whoever has the files opened again meanwhile.
fn a_line_of_which_a_piece_is_written_is_not_ended() {
    let scratch = Scratch::new();
    let path = scratch.path("out.log");
    let mut world = World::new();
    let log = file(&path, None);
    for text in ["a piece", " and another", " and the rest\n"] {
        write(&mut world, &log, text);
        world.perform(Action::Reopen { client: None });
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "a piece and another and the rest\n");
}

fn a_torn_line_is_ended() {
    let scratch = Scratch::new();
    let path = scratch.file("out.log", 0o644, b"whole\nbegun");
    let mut world = World::new();
    write(&mut world, &file(&path, None), "next\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nbegun\nnext\n");
}

fn a_rotated_file_hands_down_no_rights() {
    let scratch = Scratch::new();
    let path = scratch.path("out.log");
    let mut world = World::new();
    let log = file(&path, Some(4096));
    write(&mut world, &log, "one\n");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o6755)).unwrap();
    write(&mut world, &log, &"x".repeat(4095).add("\n"));
    assert!(fs::metadata(format!("{path}.1")).is_ok(), "it was rotated");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);
}

fn a_file_of_nobody_is_let_go() {
    let scratch = Scratch::new();
    let (path, other) = (scratch.path("out.log"), scratch.path("other.log"));
    let mut world = World::new();
    let (gone, stays) = (file(&path, None), file(&other, None));
    write(&mut world, &gone, "one\n");
    write(&mut world, &stays, "one\n");
    drop(gone); // as by an update
    fs::remove_file(&path).unwrap();
    world.perform(Action::Reopen { client: None });
    match world.events.pop() {
        Some(Event::Reopened { files, .. }) => assert_eq!(files, [(PathBuf::from(&other), Ok(()))]),
        other => panic!("{other:?}"),
    }
    assert!(fs::metadata(&path).is_err(), "it is not made again");
    write(&mut world, &stays, "two\n");
}
