//! A second tinysup in a container where one runs already: started by mistake it must do nothing, on purpose it must work.

use crate::container::{Container, Setup, tinysup};
use crate::root;
use crate::services::{service, sh};

/// Counts its starts in the folder, by a file each, and stays.
const COUNTS: &str = "echo started; : > $DIR/start.$$; exec sleep 1000";

fn begin() -> (Container, String) {
    let container = Setup::services(&service("db", &sh(COUNTS), "")).start();
    container.wait_for("db | started");
    let config = container.folder().path().join("tinysup.toml").to_string_lossy().into_owned();
    (container, config)
}

fn starts(container: &Container) -> usize {
    let names = std::fs::read_dir(container.folder().path()).expect("the folder is ours");
    names.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("start.")).count()
}

#[test]
fn the_same_configuration_is_not_started_again() {
    if !root() {
        return;
    }
    let (container, config) = begin();
    let link = container.folder().path().join("link.toml").to_string_lossy().into_owned();
    std::os::unix::fs::symlink(&config, &link).expect("the folder is ours");
    for words in
        [&["run", "-c", &config][..], &["-c", &config], &["-c", &link], &["run", "-c", &config, "--", "id"]]
    {
        let asked = container.verb(words);
        asked.refused(73, "runs already: by tinysup, pid 1, which listens at @");
        for part in ["Nothing was started", "tinysup status", "tinysup start", "tinysup update"] {
            assert!(asked.stderr.contains(part), "{part}: {asked:#?}");
        }
        assert_eq!(asked.stderr.contains("`tinysup -- COMMAND`"), words.contains(&"id"), "{asked:#?}");
    }
    // Whoever does not answer may be the same one.
    container.freeze();
    container.verb(&["-c", &config]).refused(73, "pid 1, which does not say whether it runs ");
    container.thaw();
    assert_eq!(starts(&container), 1);
    container.stop().code(0);
}

#[test]
fn another_configuration_or_socket_or_container_is_started() {
    if !root() {
        return;
    }
    let (container, config) = begin();
    let text = std::fs::read_to_string(&config).expect("the folder is ours");
    let other = container.folder().file("other.toml", text).to_string_lossy().into_owned();
    let socket = format!("@{}", container.folder().path().display());
    let name = container.folder().path().file_name().expect("a name").display();
    let first = format!("TINYSUP_SOCKET=@{name}");
    let dir = format!("DIR={}", container.folder().path().display());
    let program = tinysup().to_string_lossy().into_owned();
    for (count, words) in [
        (2, vec!["env", &dir, &first, &program, "-c", &other]),
        (3, vec!["env", &dir, &format!("TINYSUP_SOCKET={socket}"), &program, "-c", &config]),
        // Its own files, as a container that shares the PID namespace and the network has them.
        (4, vec!["unshare", "--mount", "env", &dir, &first, &program, "-c", &config]),
    ] {
        let second = container.exec(&[&["/usr/bin/env"], words.as_slice()].concat());
        container.until("it starts its service", || starts(&container) == count);
        drop(second);
    }
    container.stop();
}
