//! Starts that fail: each is a run that failed, under the budget, told with its cause, and the others run on.

use std::fs;
use std::path::Path;

use crate::container::{Folder, Setup, set_mode};
use crate::services::{quote, service, sh, witness, words};
use crate::{launch, root};

/// Starts this beside a steady service, with one restart: what tinysup says of it both times, and the end.
#[track_caller]
fn fails(setup: impl FnOnce(&Folder), command: &str, keys: &str, message: &str, code: i32) {
    let keys = format!("{keys}\nmax_restarts = 1\nrestart_delay = 0\ndepends_on = [\"steady\"]");
    let config = service("web", command, &keys) + &service("steady", &witness("wait"), "");
    let prepared = Setup::services(&config).env("PATH", "/no/such/path:/usr/bin:/bin");
    setup(prepared.folder());
    let folder = prepared.folder().path().to_owned();
    let end = prepared
        .before(move || launch::mount("none", &folder.join("noexec").to_string_lossy(), "tmpfs", NOEXEC, "").or(Ok(())))
        .before(|| Ok(()))
        .start()
        .finish();
    let message = message.replace("DIR", "_dir_");
    let own: Vec<String> = end.own().iter().map(|line| mask_folder(line)).collect();
    end.code(code);
    let first = format!("web: cannot start: {message}; restart 1/1 now");
    let second = format!("web: cannot start: {message}; failed for good: all 1 restarts are spent");
    assert!(own.contains(&first), "{first}\nin {end:#?}");
    assert!(own.contains(&second), "{second}\nin {end:#?}");
    assert!(own.iter().any(|line| line.starts_with("  exit code  ") && line.contains(&format!("  {code} (web cannot be run)"))), "{end:#?}");
    assert!(own.contains(&"  others     steady stopped by itself in _ s".to_owned()), "{end:#?}");
    assert_eq!(end.of("steady"), ["waiting", "got SIGTERM"], "{end:#?}");
    assert!(end.of("web").is_empty(), "nothing ran: {end:#?}");
}

const NOEXEC: libc::c_ulong = libc::MS_NOEXEC;

/// `_dir_` in place of the folder of this test.
fn mask_folder(line: &str) -> String {
    let start = std::env::temp_dir().join("tinysup-pid1-").to_string_lossy().into_owned();
    let mut result = line.to_owned();
    while let Some(at) = result.find(&start) {
        let end = result[at + start.len()..].find(|c: char| !c.is_ascii_digit() && c != '-');
        result.replace_range(at..end.map_or(result.len(), |end| at + start.len() + end), "_dir_");
    }
    result
}
