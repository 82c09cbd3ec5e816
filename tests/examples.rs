//! Every configuration that this repository shows to people is one that tinysup takes, and the quickstart does what its
//! first lines say.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The quickstart ends by itself within some four seconds.
const DEADLINE: &str = "60";

#[test]
fn every_example_is_a_valid_configuration() {
    let folders = ["examples", "docker/notify", "docker/scratch", "docker/shop", "docker/web"];
    let shown: Vec<_> = folders.into_iter().flat_map(configurations).collect();
    assert!(shown.len() >= 8, "{shown:?}");
    for file in shown {
        let done = tinysup(&["check", "-c", file.to_str().unwrap()]);
        assert!(done.status.success(), "{}:\n{}", file.display(), String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn the_quickstart_ends_with_the_workers_code_and_says_why() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart.toml");
    let done = tinysup(&["run", "-c", file.to_str().unwrap()]);
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(17), "{out}\n{err}");
    assert_eq!(out.matches("looking for work").count(), 5, "{out}\n{err}");
    assert!(out.contains("tick"), "{out}\n{err}");
    for number in 1..=4 {
        assert!(err.contains(&format!("restart {number}/4")), "{err}");
    }
    assert!(err.contains("CONTAINER STOPPED: worker failed 5 times"), "{err}");
}

#[test]
fn in_the_example_of_readiness_each_waits_for_what_it_needs() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ready.toml");
    let done = tinysup(&["run", "-c", file.to_str().unwrap()]);
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{out}\n{err}");
    let lines: Vec<&str> = out.lines().collect();
    let expected = [
        "store | loading",
        "store | the store is open",
        "shop | selling pages",
        "visitor | the shop is open",
    ];
    assert_eq!(lines, expected, "{err}");
    for name in ["store", "pages", "shop"] {
        assert!(err.contains(&format!("{name} is ready after ")), "{err}");
    }
}

fn configurations(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect()
}

fn tinysup(arguments: &[&str]) -> Output {
    Command::new("timeout")
        .args([DEADLINE, env!("CARGO_BIN_EXE_tinysup")])
        .args(arguments)
        .env("DATABASE_URL", "postgres://localhost/example")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}
