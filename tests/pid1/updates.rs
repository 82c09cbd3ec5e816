//! The configuration is read again: what differs is stopped and started, and nothing else is touched.

use std::fs;

use crate::container::{Container, Setup};
use crate::services::{service, sh};
use crate::{launch, root};

const STAYS: &str = "trap 'echo bye; exit 0' TERM; echo here; while :; do sleep 0.02; done";

/// A service that says a word and stays.
fn says(name: &str, word: &str, more: &str) -> String {
    service(name, &sh(&STAYS.replace("here", word)), more)
}

fn write(container: &Container, config: &str) {
    container.folder().file("tinysup.toml", config);
}

/// The pid of an instance, as `status` has it.
fn pid(container: &Container, name: &str) -> String {
    let asked = container.verb(&["status", name]);
    let row = asked.stdout.lines().find(|line| line.starts_with(name)).expect("a row");
    row.split_whitespace().nth(2).expect("a pid").to_owned()
}

/// As with `docker run -v ./tinysup.toml:/etc/tinysup.toml`, when an editor writes another file and gives it the name.
#[test]
fn a_mounted_file_that_was_replaced_is_told() {
    if !root() {
        return;
    }
    let config = says("a", "one", "");
    let setup = Setup::services(&config);
    let host = setup.folder().file("host.toml", &config);
    let [from, to] = [host.clone(), setup.folder().path().join("tinysup.toml")]
        .map(|path| path.to_str().unwrap().to_owned());
    let container = setup.before(move || launch::mount(&from, &to, "", libc::MS_BIND, "")).start();
    container.wait_for("a | one");
    container.verb(&["update"]).check(0, &["nothing has changed"]);
    let other = container.folder().file("other.toml", says("a", "two", ""));
    fs::rename(other, host).unwrap();
    let file = "the configuration, a file that was replaced where it is mounted from";
    let but = format!("nothing has changed but what only a new start of the container can change: {file}");
    container.verb(&["update"]).check(0, &[&but]);
    container.signal(libc::SIGHUP);
    container
        .wait_for(&format!("{file} cannot be changed while the container runs, only by starting it again"));
}

#[test]
fn an_update_restarts_what_has_changed_and_nothing_else() {
    if !root() {
        return;
    }
    let config = says("db", "one", "")
        + &says("web", "two", "instances = 2\ndepends_on = [\"db\"]")
        + &says("cron", "three", "");
    let container = Setup::services(&config).start();
    for wanted in ["db | one", "web.1 | two", "web.2 | two", "cron | three"] {
        container.wait_for(wanted);
    }
    container.verb(&["update"]).check(0, &["nothing has changed"]);
    write(&container, &("[log]\ntimestamps = true\n".to_owned() + &config));
    let but = "nothing has changed but what only a new start of the container can change: [log] timestamps";
    container.verb(&["update"]).check(0, &[but]);
    container
        .wait_for("[log] timestamps cannot be changed while the container runs, only by starting it again");
    let (db, web) = (pid(&container, "db"), pid(&container, "web.1"));
    let config = says("db", "one", "max_restarts = 3")
        + &says("web", "two", "instances = 3\ndepends_on = [\"db\"]")
        + &says("mail", "four", "")
        + "# another comment\n";
    write(&container, &config);
    container.verb(&["update", "--dry-run"]).check(
        0,
        &[
            "cron would be removed",
            "db would be adjusted: max_restarts",
            "web.3 would be added",
            "mail would be added",
        ],
    );
    container.verb(&["update"]).check(
        0,
        &[
            "cron removed after _ s",
            "db adjusted: max_restarts",
            "web.3 added: pid _, up after _ s",
            "mail added: pid _, up after _ s",
        ],
    );
    for wanted in ["web.3 | two", "mail | four"] {
        container.wait_for(wanted);
    }
    assert_eq!((pid(&container, "db"), pid(&container, "web.1")), (db, web.clone()), "they were not touched");
    let status = container.verb(&["status"]);
    assert!(status.code == 0 && !status.stdout.contains("cron"), "{status:#?}");
    container.verb(&["status", "cron"]).refused(64, "no service \"cron\"");

    // One instance again, under the name that it then has; and another command.
    write(&container, &(says("db", "five", "") + &says("web", "two", "depends_on = [\"db\"]")));
    let asked = container.verb(&["update"]);
    assert!(asked.code == 0 && asked.stdout.contains("\ndb restarted: pid "), "{asked:#?}");
    assert!(asked.stdout.ends_with("\nweb adjusted: instances\n"), "{asked:#?}");
    container.wait_for("db | five");
    assert_eq!(pid(&container, "web"), web);
    let end = container.stop();
    end.code(0);
    for (name, said) in
        [("cron", &["three", "bye"][..]), ("mail", &["four", "bye"]), ("web.3", &["two", "bye"])]
    {
        assert_eq!(end.of(name), said);
    }
    assert_eq!(end.of("db"), ["one", "bye", "five", "bye"]);
}

#[test]
fn a_signal_does_the_same_and_a_broken_file_nothing() {
    if !root() {
        return;
    }
    let container = Setup::services(&says("a", "one", "")).start();
    container.wait_for("a | one");
    let before = pid(&container, "a");
    write(&container, &(says("a", "two", "") + "[services.b]\ncomand = \"x\"\nmax_restarts = \"many\"\n"));
    container.signal(libc::SIGHUP);
    container.wait_for("not updated, nothing is changed: ");
    container.wait_for("did you mean \"command\"?");
    let asked = container.verb(&["update"]);
    asked.refused(78, "unknown key");
    assert!(asked.stderr.lines().count() > 4, "all problems with their lines: {asked:#?}");
    assert_eq!(pid(&container, "a"), before);
    fs::remove_file(container.folder().path().join("tinysup.toml")).expect("our own file");
    container.verb(&["update"]).refused(78, "there is no file");
    write(&container, &(says("a", "two", "") + &says("b", "three", "depends_on = [\"a\"]")));
    container.signal(libc::SIGHUP);
    container.wait_for("the configuration was read again: adding b; restarting a (command)");
    container.wait_for("a | two");
    container.wait_for("b | three");
    container.wait_for("updated after ");
    let end = container.stop();
    end.code(0);
    assert_eq!((end.of("a"), end.of("b")), (vec!["one", "bye", "two", "bye"], vec!["three", "bye"]));
}

/// The init of one command goes to the root; here others come after it.
#[test]
fn beside_the_command_of_the_command_line_the_working_directory_is_kept() {
    if !root() {
        return;
    }
    let setup = Setup::services("[services.a]\ncommand = [\"sh\", \"-c\", \"pwd; exec sleep 1000\"]\n");
    let folder = setup.folder().path().to_owned();
    let here = format!("a | {}", folder.display());
    let words = ["run", "-c", "tinysup.toml", "--", "sh", "-c", "echo main; exec sleep 1000"];
    let setup = words.into_iter().fold(setup, Setup::arg);
    let container = setup.before(move || std::env::set_current_dir(&folder)).start();
    container.wait_for(&here);
    container.wait_for("main");
    assert_eq!(container.verb(&["restart", "a"]).code, 0);
    container.wait_for_nth(&here, 2);
    container.verb(&["update"]).check(0, &["nothing has changed"]);
    container.stop().code(0);
}

#[test]
fn the_command_of_the_command_line_runs_on() {
    if !root() {
        return;
    }
    let setup = Setup::command(&["run", "-c"]);
    let file = setup.folder().file("tinysup.toml", says("a", "one", ""));
    let socket = setup.folder().path().join("socket");
    let script = STAYS.replace("here", "main");
    let setup = setup.arg(file).env("TINYSUP_SOCKET", socket).arg("--").arg("sh").arg("-c").arg(script);
    let container = setup.start();
    container.wait_for("a | one");
    container.wait_for("main");
    write(
        &container,
        &(says("a", "two", "") + &says("b", "three", "") + "[control]\n").replace("[control]\n", ""),
    );
    container.signal(libc::SIGHUP);
    container.wait_for(
        "the configuration was read again: adding b; restarting a (command); adjusting main (depends_on)",
    );
    container.wait_for("updated after ");
    container.wait_for("a | two");
    write(&container, &("control = false\n".to_owned() + &says("a", "two", "")));
    container.signal(libc::SIGHUP);
    container.wait_for("control cannot be changed while the container runs");
    container.wait_for("removing b; adjusting main (depends_on)");
    let end = container.stop();
    assert_eq!(end.of("a"), ["one", "bye", "two", "bye"]);
    assert!(end.stdout.contains(&"bye".to_owned()), "{end:#?}");
}

#[test]
fn what_is_stopped_by_hand_or_being_stopped_takes_on_the_new_settings() {
    if !root() {
        return;
    }
    let container = Setup::services(&(says("a", "one", "") + &says("b", "two", ""))).start();
    container.wait_for("a | one");
    container.verb(&["stop", "a"]).check(0, &["a stopped after _ s"]);
    write(&container, &(says("a", "three", "") + &says("b", "two", "")));
    container.verb(&["update"]).check(0, &["a changed; it stays down, as it was stopped by hand"]);
    container.verb(&["start", "a"]).check(0, &["a started: pid _, up after _ s"]);
    container.wait_for("a | three");
    let end = container.stop();
    end.code(0);
    assert_eq!(end.of("a"), ["one", "bye", "three", "bye"]);
}
