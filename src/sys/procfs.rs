//! What /proc says about processes. Every answer may be missing: no /proc, hidden processes, processes that end meanwhile.

use std::fs::{self, File};
use std::io::Read;

use crate::event::Pid;

/// The kernel's flag for a process that has not executed anything since it was forked.
const PF_FORKNOEXEC: u64 = 0x40;

/// No more than this is read of one file about a process.
const FILE_MAX_BYTES: u64 = 256 << 10;

/// The fields of /proc/PID/stat that we need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its pid.
    pub pid: Pid,
    /// The program's name, at most 15 bytes.
    pub name: Vec<u8>,
    /// One letter.
    pub state: u8,
    /// Its parent; 0 for one outside of this PID namespace.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// The kernel's flags.
    pub flags: u64,
    /// How many threads it has.
    pub threads: u64,
    /// When it started, in clock ticks since boot: tells two bearers of one pid apart.
    pub start: u64,
}

impl Stat {
    /// Reads it; `None` if there is no such process or no /proc.
    pub fn of(pid: Pid) -> Option<Self> {
        Self::parse(&read(pid, "stat")?)
    }

    /// Reads the text: the name is in parentheses and may itself hold anything.
    fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let name = text.get(open + 1..close)?.to_vec();
        let pid: i32 = str::from_utf8(text.get(..open)?).ok()?.trim().parse().ok()?;
        let fields: Vec<&str> =
            str::from_utf8(text.get(close + 1..)?).ok()?.split_ascii_whitespace().collect();
        // proc_pid_stat(5) counts from 1, and the state is its third.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            pid: Pid::new(pid)?,
            name,
            state: *field(3)?.as_bytes().first()?,
            parent: field(4)?.parse().ok()?,
            group: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            flags: field(9)?.parse().ok()?,
            threads: field(20)?.parse().ok()?,
            start: field(22)?.parse().ok()?,
        })
    }

    /// Whether it has ended and only waits to be collected. A process whose first thread alone has ended looks alike,
    /// except for the threads it still has.
    pub fn ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') && self.threads <= 1
    }
}

/// Whether a process, perhaps ended, is still a copy of us. Not known: no.
pub fn never_executed(pid: Pid) -> bool {
    Stat::of(pid).is_some_and(|stat| stat.flags & PF_FORKNOEXEC != 0)
}

/// One file about a process, cut where it is very long.
pub fn read(pid: Pid, file: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/{file}")).ok()?.take(FILE_MAX_BYTES).read_to_end(&mut text).ok()?;
    Some(text)
}

/// All processes that we can see; `None` without /proc.
pub fn all() -> Option<impl Iterator<Item = Pid>> {
    let entries = fs::read_dir("/proc").ok()?;
    let pids = entries.flatten().filter_map(|entry| Pid::new(entry.file_name().to_str()?.parse().ok()?));
    let mut pids = pids.peekable();
    pids.peek()?;
    Some(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let rest = " S 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 3 0 12345 1000 200 18446744073709551615";
        for name in ["cat", "a b", "x) R 1 (", "", "(("] {
            let stat = Stat::parse(format!("42 ({name}){rest}\n").as_bytes()).unwrap();
            assert_eq!(
                stat,
                Stat {
                    pid: Pid::new(42).unwrap(),
                    name: name.into(),
                    state: b'S',
                    parent: 7,
                    group: 8,
                    session: 9,
                    flags: 0x0040_0000,
                    threads: 3,
                    start: 12345,
                }
            );
        }
        for text in ["", "42", "42 (cat", "42 cat) S 1", "0 (x) S 1 1 1", "42 (cat) S 7 8 9"] {
            assert_eq!(Stat::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn an_ended_process_has_no_living_threads() {
        let stat = |state: char, threads: u32| {
            let text = format!("42 (cat) {state} 7 8 9 0 -1 0 1 2 3 4 5 6 7 8 20 0 {threads} 0 1 1");
            Stat::parse(text.as_bytes()).unwrap().ended()
        };
        assert!(stat('Z', 1) && stat('X', 0) && !stat('S', 1) && !stat('Z', 2));
    }

    #[test]
    fn we_see_ourselves() {
        let me = Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert_eq!(Stat::of(me).unwrap().pid, me);
        assert!(all().unwrap().any(|pid| pid == me) && !never_executed(me));
    }
}
