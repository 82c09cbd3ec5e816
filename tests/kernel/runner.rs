//! Runs cases in a process of its own each, and tells how they went as cargo's own harness does.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

/// A case by name. It fails by panicking.
pub type Case = (&'static str, fn());

/// A case that takes longer than this has failed.
const CASE_AT_MOST: Duration = Duration::from_mins(1);

/// The code of a case that cannot run here.
pub const SKIPPED: i32 = 77;

/// Runs those of the cases that the arguments name, or all.
pub fn run_all(cases: Vec<String>, arguments: &[String]) -> ExitCode {
    // Early blocked everything; nobody here takes it over.
    nix::sys::signal::SigSet::empty().thread_set_mask().expect("a signal mask");
    // SAFETY: plain call.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let (chosen, others): (Vec<_>, Vec<_>) = cases.into_iter().partition(|name| chosen(name));
    if arguments.iter().any(|argument| argument == "--list") {
        for name in chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }

    println!("\nrunning {} tests", chosen.len());
    let started = Instant::now();
    let (mut passed, mut skipped, mut failed) = (0, 0, Vec::new());
    for name in chosen {
        let (code, text) = run_case(&name);
        match code {
            Some(0) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Some(SKIPPED) if env::var_os("TINYSUP_TEST_REQUIRE_ALL").is_none_or(|value| value != "1") => {
                skipped += 1;
                println!("test {name} ... ignored, NOT RUN: {}", text.trim());
            }
            _ => {
                println!("test {name} ... FAILED");
                failed.push((name, text));
            }
        }
    }
    for (name, text) in &failed {
        println!("\n---- {name} ----\n{text}");
    }
    println!(
        "\ntest result: {}. {passed} passed; {} failed; {skipped} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        failed.len(),
        others.len(),
        started.elapsed().as_secs_f64()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends what a case left behind: we adopt it.
pub fn end_what_is_left() {
    let own = std::process::id();
    loop {
        let list = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
        let pids: Vec<i32> = list.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            // SAFETY: our own children.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, std::ptr::null_mut(), 0);
            }
        }
    }
}

/// Runs a case in a process of its own; its code (`None`: a signal or the end of patience) and what it said.
fn run_case(name: &str) -> (Option<i32>, String) {
    let transcript = env::temp_dir().join(format!("tinysup-kernel-{}-{name}", std::process::id()));
    let file = std::fs::File::create(&transcript).expect("a file for what the case says");
    let mut child = Command::new(env::current_exe().expect("own path"))
        .args(["--case", name])
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a copy"))
        .stderr(file)
        .spawn()
        .expect("a process for the case");
    let started = Instant::now();
    let status = loop {
        match child.try_wait().expect("its status") {
            Some(status) => break Some(status),
            None if started.elapsed() > CASE_AT_MOST => {
                child.kill().expect("its end");
                child.wait().expect("its status");
                break None;
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    end_what_is_left();
    let mut text = String::from_utf8_lossy(&std::fs::read(&transcript).expect("what it said")).into_owned();
    let _ = std::fs::remove_file(&transcript);
    let end = match status {
        Some(status) if status.code().is_none() => format!("\nended by {status}"),
        Some(_) => String::new(),
        None => format!("\nnot done after {CASE_AT_MOST:?}"),
    };
    text.push_str(&end);
    (status.and_then(|status| status.code()), text)
}
