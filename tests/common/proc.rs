//! What /proc says about processes, seen from outside of their namespace.

#![allow(dead_code, reason = "each suite that shares this needs a part of it")]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::container::DEADLINE;
use crate::launch;

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its pid out here.
    pub pid: i32,
    /// Its pid in the innermost namespace.
    pub inner: i32,
    /// Its parent out here.
    pub parent: i32,
    /// One letter.
    pub state: char,
    /// Its command line; the kernel's name for it where there is none.
    pub command: String,
}

/// All processes in the PID namespace of this one, itself and zombies too.
pub fn in_namespace_of(pid: i32) -> Vec<Process> {
    let Some(wanted) = namespace(pid) else { return Vec::new() };
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| namespace(*pid).as_ref() == Some(&wanted)).filter_map(of).collect()
}

fn namespace(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// One process.
pub fn of(pid: i32) -> Option<Process> {
    let status = status(pid)?;
    let field = |name: &str| Some(status.iter().find(|(known, _)| known == name)?.1.as_str());
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ");
    Some(Process {
        pid,
        inner: field("NSpid")?.rsplit(char::is_whitespace).next()?.parse().ok()?,
        parent: field("PPid")?.parse().ok()?,
        state: field("State")?.chars().next()?,
        command: if line.is_empty() { format!("({})", field("Name")?) } else { line },
    })
}

/// Whether a process blocks or catches that signal, or waits for signals, which are let in so long.
pub fn blocks(pid: i32, signal: i32) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    if call.split(' ').next() == Some(&libc::SYS_rt_sigtimedwait.to_string()) {
        return true;
    }
    let status = status(pid).unwrap_or_default();
    let sets = status.iter().filter(|(name, _)| name == "SigBlk" || name == "SigCgt");
    let mut masks = sets.map(|(_, value)| u64::from_str_radix(value, 16).expect("a mask"));
    masks.any(|mask| mask & 1 << (signal - 1) != 0)
}

/// Whether a process has ended, collected or not.
pub fn ended(pid: i32) -> bool {
    of(pid).is_none_or(|process| process.state == 'Z')
}

/// The lines of /proc/PID/status.
pub fn status(pid: i32) -> Option<Vec<(String, String)>> {
    let text = fs::read(format!("/proc/{pid}/status")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    Some(
        text.lines()
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.to_owned(), v.trim().to_owned()))
            .collect(),
    )
}

/// A number in /proc/PID/status.
pub fn number(pid: i32, field: &str) -> u64 {
    let status = status(pid).expect("it runs");
    let (_, value) = status.iter().find(|(name, _)| name == field).expect("a known field");
    value.split_whitespace().next().expect("a value").parse().expect("a number")
}

/// Whether a process has nothing to do with its signals: it sleeps and none waits for it, or it is stopped, or gone.
pub fn settled(pid: i32) -> bool {
    let Some(status) = status(pid) else { return true };
    let field = |name: &str| status.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
    let none = |set: &str| set.bytes().all(|digit| digit == b'0');
    let sleeps = field("State").starts_with('S') && none(field("ShdPnd")) && none(field("SigPnd"));
    sleeps || field("State").starts_with(['T', 'Z'])
}

/// Whether a process comes to rest, and then is not even woken for so long.
pub fn idle(pid: i32, how_long: Duration) -> bool {
    let waits = || number(pid, "voluntary_ctxt_switches");
    let pidfd = launch::pidfd(pid).expect("it runs");
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        let before = (waits(), ticks(pid));
        assert!(!launch::readable(&pidfd, how_long), "it ended");
        if (waits(), ticks(pid)) == before {
            return true;
        }
    }
    false
}

/// The CPU time it has used, in clock ticks.
pub fn ticks(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = text.rsplit_once(") ").expect("a name");
    fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// Its niceness.
pub fn nice(pid: i32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = text.rsplit_once(") ").expect("a name");
    fields.split(' ').nth(16).expect("a field").parse().expect("a number")
}

/// What its open descriptors lead to, sorted.
pub fn descriptors(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
    let mut found: Vec<String> = entries
        .map(|entry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            format!("{} {}", entry.file_name().display(), target.display())
        })
        .collect();
    found.sort();
    found
}
