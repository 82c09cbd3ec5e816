//! Starts that fail: each is a run that failed, under the budget, told with its cause, and the others run on.

use std::fs;
use std::path::Path;

use crate::container::{End, Folder, Setup, set_mode};
use crate::services::{service, sh, witness, words};
use crate::{launch, root};

/// Starts this beside a steady service, with one restart, and checks all that is said. `DIR` is the folder of the test.
#[track_caller]
fn fails(prepare: impl FnOnce(&Folder), command: &[&str], keys: &str, message: &str, code: i32) -> End {
    let folder = Folder::new();
    prepare(&folder);
    let here = |text: &str| text.replace("DIR", &folder.path().to_string_lossy());
    let command: Vec<String> = command.iter().map(|word| here(word)).collect();
    let command = words(&command.iter().map(String::as_str).collect::<Vec<_>>());
    let keys = format!("{}\nmax_restarts = 1\nrestart_delay = 0\ndepends_on = [\"steady\"]", here(keys));
    let config = service("web", &command, &keys) + &service("steady", &witness("wait"), "");
    let noexec = folder.path().join("noexec");
    let end = Setup::services(&config)
        .env("PATH", here("/no/such/path:DIR/bin:/usr/bin:/bin"))
        .before(move || match noexec.exists() {
            true => remount_noexec(&noexec),
            false => Ok(()),
        })
        .start()
        .finish();
    let message = here(message);
    end.code(code);
    let failed = [
        "steady is up after _ s".to_owned(),
        format!("web: cannot start: {message}; restart 1/1 now"),
        format!("web: cannot start: {message}; failed for good: its 1 restart is spent"),
        "stopping (web has failed for good): steady".to_owned(),
        "CONTAINER STOPPED: web failed twice in _ s and may not be restarted again (max_restarts = 1)"
            .to_owned(),
    ];
    assert_eq!(end.own()[..failed.len()], failed, "{end:#?}");
    end.says("  others     steady stopped as asked in _ s");
    end.says(&format!("  exit code  {code} (web cannot be run). To stay up without it: [services.web] on_failure = \"ignore\""));
    assert!(end.of("web").is_empty(), "nothing ran: {end:#?}");
    end
}

fn remount_noexec(path: &Path) -> std::io::Result<()> {
    let path = path.to_string_lossy();
    launch::mount(&path, &path, "", libc::MS_BIND, "")?;
    launch::mount("none", &path, "", libc::MS_REMOUNT | libc::MS_BIND | libc::MS_NOEXEC, "")
}

fn nothing(_: &Folder) {}

/// A script with that first line.
fn script(first: &'static str) -> impl Fn(&Folder) {
    move |folder| {
        folder.program("run", format!("{first}\necho it runs\n"));
    }
}

/// A real program with some bytes changed; `what` is looked for, and replaced.
fn changed_program(change: impl FnOnce(&mut Vec<u8>)) -> impl FnOnce(&Folder) {
    |folder| {
        let mut bytes = fs::read("/bin/true").expect("a program");
        change(&mut bytes);
        folder.program("run", bytes);
    }
}

#[test]
fn not_found() {
    if !root() {
        return;
    }
    let gunicorn = |folder: &Folder| {
        fs::create_dir(folder.path().join("bin")).expect("the folder is ours");
        folder.program("bin/gunicorn", "#!/bin/sh\n");
    };
    let path = "/no/such/path:DIR/bin:/usr/bin:/bin";
    let similar = format!("\"gunicron\" is not in PATH ({path}). Similar: gunicorn (DIR/bin)");
    fails(gunicorn, &["gunicron"], "", &similar, 127);
    let alone = format!("\"qqqqqqqqqqqq\" is not in PATH ({path})");
    fails(nothing, &["qqqqqqqqqqqq"], "", &alone, 127);
    fails(nothing, &["DIR/run"], "", "\"DIR/run\" does not exist", 127);
}

#[test]
fn there_but_not_executable() {
    if !root() {
        return;
    }
    let closed = |folder: &Folder| set_mode(&folder.program("run", "#!/bin/sh\n"), 0o644);
    fails(
        closed,
        &["DIR/run"],
        "",
        "DIR/run is not executable (mode 0644). Dockerfile: RUN chmod +x DIR/run",
        126,
    );
    fails(nothing, &["/usr/bin"], "", "/usr/bin is a directory", 126);
    let noexec = |folder: &Folder| {
        fs::create_dir(folder.path().join("noexec")).expect("the folder is ours");
        folder.program("noexec/run", "#!/bin/sh\n");
    };
    fails(noexec, &["DIR/noexec/run"], "", "DIR/noexec/run is on a file system mounted noexec", 126);
    let private = |folder: &Folder| set_mode(&folder.program("run", "#!/bin/sh\n"), 0o700);
    let message = "cannot execute DIR/run: Permission denied for user 12345 (mode 0700, owner 0:0)";
    fails(private, &["DIR/run"], "user = \"12345\"", message, 126);
}

#[test]
fn there_but_something_it_needs_is_not() {
    if !root() {
        return;
    }
    let message = "DIR/run is there, but its first line asks for \"/bin/sh\\r\": the file has Windows line ends. Fix: sed -i 's/\\r$//' DIR/run";
    fails(script("#!/bin/sh\r"), &["DIR/run"], "", message, 127);
    let message = "DIR/run is there, but its first line asks for \"/no/such/interpreter\", which this image does not have";
    fails(script("#!/no/such/interpreter -x"), &["DIR/run"], "", message, 127);
    let message = "DIR/run is neither a program nor a script with a \"#!\" line. Fix: make \"#!/bin/sh\" its first line";
    fails(script(""), &["DIR/run"], "", message, 126);
    // As execvp(3) has it, and so as it is without an init: one command may be such a script.
    let setup = Setup::command(&[]);
    let script = setup.folder().program("run", "echo it runs\n");
    let end = setup.arg(script).start().finish();
    assert_eq!((end.code, end.stdout), (0, vec!["it runs".to_owned()]));
}

#[test]
fn programs_of_another_world() {
    if !root() {
        return;
    }
    let no_loader = changed_program(|bytes| {
        let at = bytes.windows(4).position(|window| window == b"/ld-").expect("it is linked dynamically");
        bytes[at + 1..at + 3].copy_from_slice(b"xx");
    });
    let end = {
        let folder = Folder::new();
        no_loader(&folder);
        let program = folder.path().join("run").to_string_lossy().into_owned();
        Setup::services(&service("web", &words(&[&program]), "max_restarts = 0")).start().finish()
    };
    end.code(127);
    end.says("/run is there, but needs /lib");
    end.says("which this image does not have (a glibc program in a musl or scratch image?); failed for good: max_restarts = 0");
    // The machine's number, at byte 18 of an ELF file; no machine has this one.
    let foreign = changed_program(|bytes| bytes[18..20].copy_from_slice(&[0xfe, 0x7f]));
    let message = "DIR/run is a program for another kind of machine; build the image for this platform";
    fails(foreign, &["DIR/run"], "", message, 126);
}

#[test]
fn user_directory_and_file_of_a_secret() {
    if !root() {
        return;
    }
    let message = "no user \"nosuch\" in /etc/passwd. A number needs no entry there: user = \"1000\"";
    fails(nothing, &["true"], "user = \"nosuch\"", message, 126);
    let message = "no group \"nosuch\" in /etc/group. A number needs no entry there: group = \"1000\"";
    fails(nothing, &["true"], "group = \"nosuch\"", message, 126);
    let message = "cannot change to cwd = \"/no/such\": No such file or directory";
    fails(nothing, &["true"], "cwd = \"/no/such\"", message, 126);
    let message = "cannot read DIR/none for SECRET: No such file or directory";
    fails(nothing, &["true"], "env_from_file = { SECRET = \"DIR/none\" }", message, 126);
}

#[test]
fn arguments_that_are_too_much_for_the_kernel() {
    if !root() {
        return;
    }
    let long = "x".repeat(100_000);
    // The kernel takes a quarter of the stack's limit, here 256 KiB.
    let command = ["true", &long, &long, &long];
    let end = {
        let config = service("web", &words(&command), "max_restarts = 0\nrlimits = { stack = 1048576 }");
        Setup::services(&config).start().finish()
    };
    end.code(126);
    end.says("web: cannot start: arguments and environment are 300");
    end.says(" bytes, more than the kernel takes; failed for good: max_restarts = 0");
    assert!(end.stderr.iter().all(|line| line.len() < 500), "the argument is not repeated");
}

#[test]
fn a_program_that_is_being_written_is_tried_again() {
    if !root() {
        return;
    }
    let keys = "type = \"oneshot\"\nmax_restarts = \"unlimited\"\nrestart_delay = \"5ms\"\nrestart_delay_max = \"5ms\"";
    let folder = Folder::new();
    let program = folder.program("run", fs::read("/bin/true").expect("a program"));
    let writing = fs::File::options().append(true).open(&program).expect("it is ours");
    let name = program.to_string_lossy();
    let container = Setup::services(&service("web", &words(&[&name]), keys)).start();
    container
        .wait_for(&format!("web: cannot start: {name} is being written at this moment; restart 1 in 0.0 s"));
    drop(writing);
    let end = container.finish();
    end.code(0);
    end.says("web: code 0 after _ s; done");
}

/// The limit is one of a user and counts wherever it has processes, so this one has no others.
const LIMITED_USER: u32 = 987_654;

#[test]
fn no_more_processes() {
    if !root() {
        return;
    }
    let keys = "depends_on = [\"first\"]\nmax_restarts = \"unlimited\"\nrestart_delay = \"5ms\"\nrestart_delay_max = \"5ms\"";
    let config = service("first", &sh("read go < $DIR/gate"), "restart = \"never\"\nstop_exit_codes = [0]")
        + &service("second", &witness("say second wait"), keys);
    let setup = Setup::services(&config);
    setup.folder().gate("gate");
    let container = setup
        .before(|| launch::limit(libc::RLIMIT_NPROC, 2, 2))
        .before(|| launch::become_user(LIMITED_USER))
        .start();
    let line = container.wait_for("second: cannot start");
    assert!(line.contains("cannot make a process: Resource temporarily unavailable ("), "{line}");
    container.folder().go("gate");
    container.wait_for("second | second");
    container.stop().code(0);
}

#[test]
fn a_failed_start_of_the_one_command_is_told() {
    if !root() {
        return;
    }
    for (command, message, code) in [
        ("qqqqqqqqqqqq", "qqqqqqqqqqqq: cannot start: \"qqqqqqqqqqqq\" is not in PATH (", 127),
        ("/no/such", "cannot start: \"/no/such\" does not exist", 127),
        ("/usr/bin", "cannot start: /usr/bin is a directory", 126),
        ("/etc/passwd", "cannot start: /etc/passwd is not executable (mode 0644)", 126),
    ] {
        let end = Setup::command(&["--", command]).start().finish();
        end.code(code);
        assert_eq!(end.stderr.len(), 1, "one line: {end:#?}");
        end.says(message);
    }
}
