//! What was written: each stream of each run with its bytes, the calls that wrote them, and when those were.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// After so long a silence the beginning of a line may pass alone. Less than that by what the clocks of two processes may differ.
const SILENCE: Duration = Duration::from_millis(950);

/// So much a pipe holds.
pub const PIPE_BYTES: usize = 64 << 10;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Prefix,
    Json,
    Raw,
    /// As `tinysup logs` shows them.
    Kept,
}

/// Standard output or standard error.
pub const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Where a stream goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Goes {
    Nowhere,
    Container(Form),
    /// To the file of this number, and to one of the container's streams.
    File(usize, Form, Option<(usize, Form)>),
}

#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub at: Instant,
    pub millis: u64,
}

impl Moment {
    pub fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
        Self { at: Instant::now(), millis: u64::try_from(wall.as_millis()).expect("not that late") }
    }
}

/// A call of write(2).
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// The bytes up to here are written with it.
    pub to: usize,
    pub begun: Moment,
    /// None: nobody has said so yet.
    pub done: Option<Moment>,
}

/// One stream of one run.
#[derive(Clone, Debug)]
pub struct Tape {
    pub service: String,
    pub instance: u32,
    /// As lines are marked with it.
    pub name: String,
    pub run: u32,
    pub stream: usize,
    /// Of the leader, as it sees itself.
    pub pid: i32,
    pub goes: Goes,
    pub bytes: Vec<u8>,
    pub writes: Vec<Write>,
    /// From here on the leader was gone.
    pub orphaned: Option<usize>,
    /// The leader is gone.
    pub over: bool,
    /// All before that had been read then.
    pub read: Vec<(usize, Moment)>,
}

impl Tape {
    pub fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.writes.push(Write { to: self.bytes.len(), begun: Moment::now(), done: None });
    }

    pub fn done(&mut self) {
        let now = Moment::now();
        for write in self.writes.iter_mut().rev().take_while(|write| write.done.is_none()) {
            write.done = Some(now);
        }
    }

    /// Where the beginning of a line may have passed alone, for nothing came for a second after it.
    pub fn silences(&self) -> Vec<usize> {
        let now = Moment::now();
        let after = |index: usize| self.writes.get(index + 1).map_or(now, |next| next.done.unwrap_or(now));
        let silent = |(index, write): &(usize, &Write)| {
            let within = self.bytes.get(write.to - 1).is_some_and(|last| *last != b'\n');
            within && after(*index).at - write.begun.at >= SILENCE
        };
        self.writes.iter().enumerate().filter(silent).map(|(_, write)| write.to).collect()
    }

    /// The call that wrote this byte.
    pub fn write_of(&self, at: usize) -> Option<&Write> {
        self.writes.get(self.writes.partition_point(|write| write.to <= at))
    }

    /// Whether a line that ends there may have been read when there was another leader: what the pipe held at the end of this one.
    pub fn may_lack_pid(&self, end: usize) -> bool {
        self.orphaned.is_some_and(|gone| end >= gone) || self.over && end + PIPE_BYTES >= self.bytes.len()
    }

    pub fn is_in_line(&self) -> bool {
        self.bytes.last().is_some_and(|last| *last != b'\n')
    }
}
