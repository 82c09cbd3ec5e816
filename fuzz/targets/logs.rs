//! What services write, cut into lines, against a plain reference; and somebody who reads it at leisure, who misses nothing that is
//! not counted. The bytes are records: which stream, how long, and what.

use std::collections::BTreeMap;

use tinysup::event::{Child, Client, InstanceId, Role, Sink, Spare, Time, Wall};
use tinysup::line::{Format, Style};
use tinysup::logs::{LINE_MAX, Lines, Logs, Speaker, Way, Wish};

const READER: Client = Client(1);

/// What is repeated has so many bytes altogether: enough for all that is held and kept, and no more, or it takes all the time.
const REPEATED_MAX: usize = 3 * LINE_MAX;

/// A stream and its format, which stays the same for all that an instance writes.
const STREAMS: [(u32, Sink, Format); 4] = [
    (0, Sink::Stdout, Format::Prefix),
    (0, Sink::Stderr, Format::Prefix),
    (1, Sink::Stdout, Format::Raw),
    (1, Sink::Stderr, Format::Raw),
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
            // A piece that was written as a line has its end.
            if std::mem::take(&mut self.open) && !prefix.is_empty() && self.held.is_empty() && line == b"\n" {
                continue;
            }
            out.extend_from_slice(prefix.as_bytes());
            out.append(&mut self.held);
            out.extend_from_slice(line);
        }
        self.held.extend_from_slice(rest);
        if self.held.len() >= LINE_MAX {
            out.extend_from_slice(prefix.as_bytes());
            out.append(&mut self.held);
            self.open = true;
            if !prefix.is_empty() {
                out.push(b'\n');
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
    let mut repeated = 0;
    let mut rest = bytes;
    let mut now = 0;
    while let [which, length, others @ ..] = rest {
        now += u64::from(which / 64);
        let index = usize::from(*which) % STREAMS.len();
        let (instance, sink, format) = STREAMS[index];
        let child = Child { instance: InstanceId(instance), run: 1, role: Role::Main };
        let prefix = if format == Format::Prefix { "a | " } else { "" };
        let speaker = Speaker { name: "a", service: "a", instance: 1, sink, pid: None };
        let written_as = |lines: Lines<'_>| {
            lines.written(format, Style::default(), speaker, Way::Container, &mut Spare::default())
        };
        let take_in = |logs: &mut Logs, text: &[u8]| -> Vec<u8> {
            let passed = logs.take(Time(now), Wall::default(), child, sink, text);
            passed.into_iter().flatten().map(written_as).collect::<Vec<_>>().concat()
        };
        let plain = plain.entry(index).or_default();
        let (text, others) = others.split_at(usize::from(*length).min(others.len()));
        rest = others;
        let (out, expected) = match which / 4 % 8 {
            0 => {
                let last = logs.end(Time(now), child, sink).map(written_as).unwrap_or_default();
                (last, plain.end(prefix))
            }
            1 => {
                read += take(&mut logs);
                continue;
            }
            _ if text.is_empty() => continue,
            // A long one: sixty of these are more than is kept or held.
            2 if repeated < REPEATED_MAX => {
                let long = text.repeat(60);
                repeated += long.len();
                (take_in(&mut logs, &long), plain.take(prefix, &long))
            }
            _ => (take_in(&mut logs, text), plain.take(prefix, text)),
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
