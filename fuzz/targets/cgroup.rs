//! What the kernel, or lxcfs and others in its place, says of cgroups: the list of mounts, memberships, limits, counters, processes. The
//! first byte says which; a NUL stands between two texts.

use std::os::unix::ffi::OsStrExt;

use tinysup::event::Controller;
use tinysup::sys::fuzzing::{Candidate, candidates, field, limit, numbers, one_number, pss};

/// Counters that are looked for (`memory.stat`, `memory.events`, `memory.oom_control`, /proc/vmstat).
const NAMES: [&str; 5] =
    ["oom_kill", "inactive_file", "total_inactive_file", "hierarchical_memory_limit", "oom_kill_disable"];

pub fn run(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let (first, second) = match bytes.iter().position(|byte| *byte == 0) {
        Some(nul) => (&bytes[..nul], &bytes[nul + 1..]),
        None => (bytes, &b""[..]),
    };
    let text = String::from_utf8_lossy(bytes);
    match kind % 4 {
        0 => mounts(first, second),
        1 => counters(&text),
        2 => amounts(&text),
        _ => {
            let plain: Vec<i32> = text
                .split('\n')
                .map(|line| line.strip_suffix('\r').unwrap_or(line))
                .filter_map(integer)
                .collect();
            assert_eq!(numbers(&text), plain);
        }
    }
}

fn mounts(mounts: &[u8], memberships: &[u8]) {
    let found = candidates(mounts, memberships);
    for candidate in &found {
        // Nothing outside of what is mounted is taken for ours.
        let Candidate { controller, point, below, .. } = candidate;
        assert_ne!(*controller, Controller::None);
        if let Some(below) = below {
            assert!(below.is_relative() && point.join(below).starts_with(point));
            assert!(!below.as_os_str().as_bytes().split(|byte| *byte == b'/').any(|part| part == b".."));
        }
    }
    assert!(found.is_sorted_by_key(|candidate| candidate.controller != Controller::V1), "{found:?}");
    // Each line says the same alone; of two of a kind, the later comes first.
    let mut alone: Vec<Candidate> = mounts
        .split(|byte| *byte == b'\n')
        .rev()
        .flat_map(|line| {
            let found = candidates(line, memberships);
            assert!(found.len() <= 1);
            if let (Some(candidate), Some(plain)) = (found.first(), plainly(line)) {
                let Candidate { controller, point, writable, .. } = candidate;
                assert_eq!((*controller, point.as_os_str().as_bytes(), *writable), plain);
            }
            found
        })
        .collect();
    alone.sort_by_key(|candidate| candidate.controller != Controller::V1);
    assert_eq!(alone, found);
}

/// A line with nothing in its place that is escaped, read by what stands around the ` - `.
fn plainly(line: &[u8]) -> Option<(Controller, &[u8], bool)> {
    let text = std::str::from_utf8(line).ok().filter(|text| !text.contains('\\'))?;
    let (mount, system) = text.split_once(" - ")?;
    let point = mount.split(' ').nth(4)?;
    let mut system = system.split(' ');
    let controller = if system.next()? == "cgroup2" { Controller::V2 } else { Controller::V1 };
    let options = [mount.split(' ').nth(5)?, system.nth(1).unwrap_or_default()];
    let read_only = options.iter().any(|options| options.split(',').any(|option| option == "ro"));
    Some((controller, point.as_bytes(), !read_only))
}

fn counters(text: &str) {
    for name in NAMES {
        let rows = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let mut values = rows.filter_map(|row| row.split_once(' ')).filter(|(found, _)| *found == name);
        assert_eq!(field(text, name), values.find_map(|(_, value)| natural(value.trim())), "{name}");
    }
    if let Some(bytes) = pss(text) {
        assert!(bytes == u64::MAX || bytes % 1024 == 0);
        assert!(text.contains("Pss:") && text.contains("kB"));
    }
}

fn amounts(text: &str) {
    let number = natural(text.trim());
    assert_eq!(one_number(text), number);
    for total in [0, 1, 1 << 20, 8 << 30, u64::MAX] {
        let most = if total == 0 { 1 << 62 } else { total };
        assert_eq!(limit(text, total), number.filter(|number| *number < most), "{text} of {total}");
    }
}

/// A number without a sign, or with a plus, as far as it can be held.
fn natural(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let significant = digits.trim_start_matches('0');
    let value = || significant.bytes().fold(0_u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    if plain && significant.len() <= 20 { u64::try_from(value()).ok() } else { None }
}

fn integer(text: &str) -> Option<i32> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, Some(digits).filter(|digits| !digits.starts_with('+'))?),
        None => (1, text),
    };
    i32::try_from(sign * i64::try_from(natural(digits)?).ok()?).ok()
}
