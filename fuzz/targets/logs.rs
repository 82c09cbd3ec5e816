//! What services write, cut into lines, against a plain reference; and somebody who reads it at leisure, who misses nothing that is
//! not counted. The bytes are records: which stream, how long, and what.

use std::collections::BTreeMap;

use tinysup::event::{Child, Client, InstanceId, Output, Role, Sink, Time};
use tinysup::logs::{LINE_MAX, Logs, Wish};

const READER: Client = Client(1);

/// A stream and its format, which stays the same for all that an instance writes.
const STREAMS: [(u32, Sink, Output); 4] = [
    (0, Sink::Stdout, Output::Prefix),
    (0, Sink::Stderr, Output::Prefix),
    (1, Sink::Stdout, Output::Raw),
    (1, Sink::Stderr, Output::Raw),
];

/// What a stream is, plainly.
#[derive(Default)]
struct Plain {
    held: Vec<u8>,
    /// Whether a piece of a long line has been passed on, and its end is due.
    open: bool,
}

impl Plain {
    fn take(&mut self, prefix: &str, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (lines, rest) = bytes.split_at(whole);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            out.extend_from_slice(prefix.as_bytes());
            out.append(&mut self.held);
            out.extend_from_slice(line);
            self.open = false;
        }
        self.held.extend_from_slice(rest);
        if self.held.len() >= LINE_MAX {
            out.extend_from_slice(prefix.as_bytes());
            out.append(&mut self.held);
            match prefix.is_empty() {
                true => self.open = true,
                false => out.push(b'\n'),
            }
        }
        out
    }

    fn end(&mut self, prefix: &str) -> Vec<u8> {
        if self.held.is_empty() && !self.open { Vec::new() } else { self.take(prefix, b"\n") }
    }
}

pub fn run(bytes: &[u8]) {
    let mut logs = Logs::default();
    let mut plain: BTreeMap<usize, Plain> = BTreeMap::new();
    let wish = Wish { instances: vec![InstanceId(0), InstanceId(1)], follow: true, ..Wish::default() };
    logs.open(READER, &wish);
    let (mut written, mut read) = (0_u64, 0_u64);
    // Pieces of long lines are read as lines of their own.
    let mut pieces = false;
    let mut rest = bytes;
    let mut now = 0;
    while let [which, length, others @ ..] = rest {
        now += u64::from(which / 64);
        let index = usize::from(*which) % STREAMS.len();
        let (instance, sink, format) = STREAMS[index];
        let child = Child { instance: InstanceId(instance), run: 1, role: Role::Main };
        let prefix = if format == Output::Prefix { "a | " } else { "" };
        let plain = plain.entry(index).or_default();
        let (text, others) = others.split_at(usize::from(*length).min(others.len()));
        rest = others;
        let (out, expected) = match which / 4 % 8 {
            0 => (logs.end(Time(now), "a", format, child, sink), plain.end(prefix)),
            1 => {
                read += take(&mut logs);
                continue;
            }
            _ if text.is_empty() => continue,
            // A long one: sixty of these are more than is kept or held.
            2 => {
                let long = text.repeat(60);
                (logs.take(Time(now), "a", format, child, sink, &long), plain.take(prefix, &long))
            }
            _ => (logs.take(Time(now), "a", format, child, sink, text), plain.take(prefix, text)),
        };
        assert!(
            out == expected,
            "{:?} is not {:?}",
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&expected)
        );
        written += out.split(|byte| *byte == b'\n').count() as u64 - 1;
        pieces |= plain.open || out.len() >= LINE_MAX;
    }
    while let more @ 1.. = take(&mut logs) {
        read += more;
    }
    if !pieces {
        assert_eq!(read, written, "each line is read or counted");
    }
    for instance in [0, 1] {
        assert!(logs.last_lines(InstanceId(instance), 5).len() <= 5);
    }
}

/// How many lines there are for the reader, with those that he is told he has missed.
fn take(logs: &mut Logs) -> u64 {
    let (lines, _) = logs.read(READER);
    let missed: u64 = logs.unread(READER).iter().map(|(_, lost)| lost).sum();
    lines.iter().map(|line| 1 + line.lost).sum::<u64>() + missed
}
