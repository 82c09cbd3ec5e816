//! What docs/security.md promises and no other test shows: seen from inside of a service, and by one that means harm.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use crate::container::{Container, Setup, set_mode, tinysup};
use crate::services::{service, sh, witness, witness_path, words};
use crate::{launch, root};

/// A user without rights.
const SOMEBODY: &str = "12345";
/// No capability, as /proc shows it.
const NONE: &str = "0000000000000000";
/// What must be told nowhere.
const CANARY: &str = "c4n4ry";
/// Starts in a folder where somebody plants files.
const ROUNDS: usize = 10;

#[test]
fn no_child_of_any_kind_gets_a_descriptor() {
    if !root() {
        return;
    }
    let look = |name: &str, then: &str| {
        let look = format!("$W status > $DIR/{name}.part; mv $DIR/{name}.part $DIR/{name}{then}");
        words(&["sh", "-c", &look])
    };
    let keys = [
        format!("ready = {{ test = {}, timeout = \"50s\" }}", look("ready", "")),
        format!("healthcheck = {{ test = {}, interval = \"50ms\" }}", look("healthcheck", "")),
        format!("stop_command = {}", look("stop_command", "; kill $MAINPID")),
        "kill_timeout = \"5s\"".to_owned(),
    ];
    let main =
        format!("$W status > $DIR/part; mv $DIR/part $DIR/service; exec {} wait", witness_path().display());
    let config = service("a", &sh(&main), &keys.join("\n"))
        + &service("voice", &witness("tell READY=1 wait"), "ready = \"notify\"");
    let setup = Setup::services(&config).env("W", witness_path());
    let runtime = setup.folder().file("of-the-runtime", "secret");
    let container = setup
        // What a careless runtime leaves open.
        .before(move || {
            let file = File::open(&runtime)?;
            [7, 9, 100].into_iter().try_for_each(|number| launch::duplicate(file.as_raw_fd(), number))
        })
        .start();
    container.wait_for("all 2 services are up");
    // With clients of every kind.
    let _clients =
        (container.connect(), container.begin("\"verb\":\"logs\",\"follow\":true"), container.begin("\"v"));
    let seen = |container: &Container, name: &str| {
        let path = container.folder().path().join(name);
        container.until(name, || path.exists());
        let text = fs::read_to_string(path).expect("what it saw");
        assert!(text.contains("\nfds [0, 1, 2]\n"), "{name}: {text}");
        let variables = text.lines().find(|line| line.starts_with("env ")).expect("its environment");
        for ours in ["NOTIFY_SOCKET", "WATCHDOG", "LISTEN_", "TINYSUP_SOCKET="] {
            assert!(!variables.contains(ours), "{name}: {variables}");
        }
    };
    for name in ["service", "ready", "healthcheck"] {
        seen(&container, name);
    }
    // Anew, beside the clients.
    fs::remove_file(container.folder().path().join("healthcheck")).expect("it was there");
    seen(&container, "healthcheck");
    let folder = container.folder().path().to_owned();
    let stop = folder.join("stop_command");
    container.signal(libc::SIGTERM);
    container.until("the stop command", || stop.exists());
    seen(&container, "stop_command");
    container.finish().code(0);
}

/// The fields of a service that setpriv(1) and the kernel show.
fn identity(keys: &str) -> Vec<String> {
    let config =
        service("a", &sh("setpriv --dump; cat /proc/self/status"), &format!("type = \"oneshot\"\n{keys}"));
    let setup = Setup::services(&config);
    let end = setup.before(launch::be_peculiar).before(launch::inherit_capabilities).start().finish();
    end.code(0);
    end.of("a").iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[track_caller]
fn has(identity: &[String], lines: &[&str]) {
    for line in lines {
        assert!(identity.iter().any(|found| found == line), "{line:?} in {identity:#?}");
    }
}

#[test]
fn nothing_of_root_is_left_after_a_change_of_user() {
    if !root() {
        return;
    }
    // As its parent is in groups 7 and 8, it would be, too, and so it would inherit capabilities.
    let user = format!("user = \"{SOMEBODY}\"");
    let plain = identity(&user);
    has(
        &plain,
        &[
            "uid: 12345",
            "euid: 12345",
            "gid: 12345",
            "egid: 12345",
            "Supplementary groups: [none]",
            "Inheritable capabilities: [none]",
            "Ambient capabilities: [none]",
            "Securebits: [none]",
            "Uid: 12345 12345 12345 12345",
            "Gid: 12345 12345 12345 12345",
            &format!("CapInh: {NONE}"),
            &format!("CapPrm: {NONE}"),
            &format!("CapEff: {NONE}"),
            &format!("CapAmb: {NONE}"),
        ],
    );
    let confined = identity(&format!("{user}\ncapabilities = []\nno_new_privileges = true"));
    has(
        &confined,
        &[&format!("CapBnd: {NONE}"), &format!("CapEff: {NONE}"), "NoNewPrivs: 1", "Securebits: [none]"],
    );
}

#[test]
fn what_was_given_up_cannot_be_had_again() {
    if !root() {
        return;
    }
    let attempts = "for id in --reuid --regid; do setpriv $id 0 true 2>/dev/null && echo back by $id; done
         setpriv --groups 0 true 2>/dev/null && echo back by a group
         cat /proc/1/environ /proc/1/maps /proc/1/fd/0 2>/dev/null | head -c 1 | grep -q . && echo it reads PID 1
         kill -TERM 1 2>/dev/null && echo it signals PID 1
         echo tried";
    let config = service("a", &sh(attempts), &format!("type = \"oneshot\"\nuser = \"{SOMEBODY}\""));
    let end = Setup::services(&config).start().finish();
    end.code(0);
    assert_eq!(end.of("a"), ["tried"], "{end:#?}");
}

#[test]
fn a_change_of_user_that_is_refused_runs_nothing() {
    if !root() {
        return;
    }
    for call in [libc::SYS_setgroups, libc::SYS_setresgid, libc::SYS_setresuid] {
        let keys = format!("user = \"{SOMEBODY}\"\nmax_restarts = 0");
        let setup = Setup::services(&service("a", &sh("echo it runs"), &keys));
        // In groups that it must leave.
        let setup = setup.before(launch::be_peculiar);
        let end = setup.before(move || launch::refuse(call)).start().finish();
        end.code(126);
        assert!(end.of("a").is_empty(), "{end:#?}");
        end.says("a: cannot start: ");
    }
}

#[test]
fn no_value_of_the_environment_is_told() {
    if !root() {
        return;
    }
    let of = |place: &str| format!("{CANARY}-{place}");
    let keys = format!(
        "env = {{ OWN = \"{}\", COPY = \"x${{OUTER}}\" }}\nenv_file = \"dotenv\"\nenv_from_file = {{ SECRET = \"secret\" }}\nrestart = \"never\"\non_failure = \"ignore\"",
        of("own")
    );
    let fails = words(&["sh", "-c", "exit 3", "${OUTER}", "${OWN}"]).replace("$$", "$");
    // The path of a program is told, for without it nobody could help; its arguments are not.
    let missing = "[\"/no/such/program\", \"${OUTER}\", \"${OWN}\"]";
    let config = service("steady", &witness("wait"), &keys)
        + &service("fails", &fails, &keys)
        + &service("missing", missing, &keys)
        + &service(
            "probed",
            &witness("wait"),
            &format!(
                "{keys}\nhealthcheck = {{ test = [\"false\", \"${{OUTER}}\"], interval = \"50ms\", retries = 2 }}"
            ),
        );
    let setup = Setup::services(&config).env("OUTER", of("outer")).env("TINYSUP_LOG", "trace");
    setup.folder().file("dotenv", format!("DOTENV={}\n", of("dotenv")));
    setup.folder().file("secret", of("file"));
    let container = setup.start();
    container.wait_for("probed is not ready yet");
    let mut told = String::new();
    // A configuration that is refused: in its answer, its log and its event.
    let spelt = of("spelt");
    let refused = format!(
        "{config}environment = {{ KEY = \"{spelt}\" }}\nenv = {{ KEY = \"{spelt}\" }}\n[services.probed.Env]\nKEY = \"{spelt}\"\nOTHER = \"a$b\"\n"
    );
    container.folder().file("tinysup.toml", refused);
    let asked = container.verb(&["update"]);
    asked.refused(78, "\"env\" is set twice");
    told += &asked.stderr;
    for fields in ["status", "describe", "logs", "events", "health"] {
        for answer in container.ask(&format!("\"verb\":\"{fields}\"")) {
            told += &serde_json::to_string(&answer).expect("an answer");
        }
    }
    for verb in ["status", "describe", "events", "logs"] {
        let asked = container.verb(&[verb]);
        told += &asked.stdout;
        told += &asked.stderr;
    }
    let end = container.stop();
    told += &end.stderr.join("\n");
    assert!(told.contains("steady") && told.contains("OUTER"), "names are told: {told}");
    assert!(!told.contains(CANARY), "{}", &told[told.find(CANARY).expect("there").saturating_sub(500)..]);
}

#[test]
fn a_file_that_is_planted_at_the_sockets_path_is_not_touched() {
    if !root() {
        return;
    }
    let setup = Setup::services(&service("a", &sh("exit 0"), "type = \"oneshot\""));
    let folder = setup.folder().path().to_owned();
    let place = folder.join("place");
    fs::create_dir(&place).expect("the folder is ours");
    set_mode(&place, 0o1777);
    let victim = setup.folder().file("victim", "precious");
    let before = fs::metadata(&victim).expect("there");
    // In the same folder as the socket, as fast as it can, with both names that the socket has.
    let attack = format!(
        "while :; do ln -s {victim} socket; ln -s {victim} .tinysup-1; rm -f socket .tinysup-1; done 2>/dev/null",
        victim = victim.display()
    );
    let arena = Setup::command(&["sh", "-c", &attack]);
    let here = place.clone();
    let attacker = arena
        .before(move || std::env::set_current_dir(&here))
        .before(|| launch::become_user(SOMEBODY.parse().expect("a number")))
        .start();
    for _ in 0..ROUNDS {
        let config = folder.join("tinysup.toml");
        let one = Setup::command(&["run", "-c"]).arg(config).env("TINYSUP_SOCKET", place.join("socket"));
        one.start().finish().code(0);
    }
    attacker.signal(libc::SIGKILL);
    let after = fs::metadata(&victim).expect("still there");
    assert_eq!(fs::read_to_string(&victim).expect("ours"), "precious");
    assert_eq!(
        (after.ino(), after.permissions().mode(), after.uid(), after.mtime()),
        (before.ino(), before.permissions().mode(), before.uid(), before.mtime()),
        "it is what it was"
    );
}

/// Where everybody may listen, somebody else may; here a tinysup of his own, which says what one says that is well.
#[test]
fn only_a_tinysup_of_ours_is_believed() {
    if !root() {
        return;
    }
    let config = service("theirs", &words(&["$T", "-c", "$DIR/theirs.toml"]).replace("$$", "$"), "")
        + &format!("user = \"{SOMEBODY}\"\nenv = {{ TINYSUP_SOCKET = \"${{DIR}}/place/socket\" }}\n");
    let setup = Setup::services(&config.replace("$T", "${T}").replace("$DIR/", "${DIR}/"));
    setup.folder().file("theirs.toml", service("a", &sh("exec sleep 1000"), ""));
    let folder = setup.folder().path().to_owned();
    fs::create_dir(folder.join("place")).expect("the folder is ours");
    set_mode(&folder.join("place"), 0o1777);
    let copy = setup.folder().program("tinysup", fs::read(tinysup()).expect("the program"));
    let container = setup.env("T", copy).start();
    let socket = folder.join("place/socket");
    container.until("their socket", || socket.exists());
    let socket = socket.display().to_string();
    for verb in ["health", "status"] {
        let asked = container.verb(&[verb, "--socket", &socket]);
        assert!(asked.code != 0 && asked.stdout.is_empty(), "{asked:#?}");
        assert!(asked.stderr.contains(&socket) && asked.stderr.contains(SOMEBODY), "{asked:#?}");
    }
    // He himself may.
    let somebody = || launch::become_user(SOMEBODY.parse().expect("a number"));
    let asked = container.begin_verb(&["health", "--socket", &socket], vec![Box::new(somebody)]).answer();
    assert_eq!(asked.code, 0, "{asked:#?}");
    container.stop().code(0);
}

/// A service of another user whose processes claim to be another service's, do not go when they are asked to, and come without end.
#[test]
fn who_takes_the_mark_of_another_hurts_himself_alone() {
    if !root() {
        return;
    }
    let keys = "restart_delay = \"20ms\"\nkill_timeout = \"500ms\"\nmax_restarts = \"unlimited\"";
    let hostile = "one='trap \"\" TERM HUP INT; echo $$ > /dev/null; sleep 1000'
         while :; do (TINYSUP_SERVICE=good TINYSUP_INSTANCE=1 prlimit --locks=unlimited setsid sh -c \"$one\" &); sleep 0.05; done";
    let hostile_keys = format!("user = \"{SOMEBODY}\"\nrlimits = {{ nproc = 200 }}\n{keys}");
    let config = "shutdown_timeout = \"5s\"\n".to_owned()
        + &service("good", &witness("say good wait"), keys)
        + &service("bystander", &witness("say bystander wait"), keys)
        + &service("bad", &sh(hostile), &hostile_keys);
    let container = Setup::services(&config).start();
    container.wait_for("all 3 services are up");
    let pid_of = |part: &str| {
        let found = container.living().into_iter().find(|process| process.command.contains(part));
        found.map(|process| process.pid)
    };
    container.until("some of them", || {
        container.living().iter().filter(|process| process.command.contains("sleep 1000")).count() > 5
    });
    let bystander = pid_of("say bystander").expect("it runs");
    for _ in 0..2 {
        let before = pid_of("say good").expect("it runs");
        assert!(launch::kill(before, libc::SIGKILL));
        container.until("the good one again", || pid_of("say good").is_some_and(|now| now != before));
    }
    assert_eq!(pid_of("say bystander"), Some(bystander), "nobody else is touched");
    container.signal(libc::SIGTERM);
    let end = container.finish_within(Duration::from_secs(40));
    assert!([0, 137].contains(&end.code), "{end:#?}");
}
