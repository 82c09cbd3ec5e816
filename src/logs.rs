//! What the services write: cut into whole lines, marked with their origin, the last of it kept for those who ask. Bytes pass
//! unchanged; nothing here waits or writes.

mod copy;
mod kept;
mod overflow;
mod readers;

use std::collections::BTreeMap;
use std::ops::Range;

use memchr::{memchr, memchr_iter, memrchr};

use crate::event::{Child, Client, InstanceId, Output, Sink, Spare, Time};
use kept::Kept;
use readers::Reader;

pub use overflow::Overflowing;
pub use readers::{Line, Wish};

/// A line longer than this passes in pieces.
pub const LINE_MAX: usize = 64 * 1024;

/// Where something that is kept comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A stream of the instance.
    Output(Sink),
    /// Nobody wrote it: it happened then.
    Mark,
}

/// The output of all instances.
#[derive(Debug, Default)]
pub struct Logs {
    /// The beginnings of lines whose end has not come; no entry where there is none.
    partial: BTreeMap<(Child, Sink), Vec<u8>>,
    /// The last whole lines; nothing for those that never spoke.
    kept: BTreeMap<InstanceId, Kept>,
    readers: BTreeMap<Client, Reader>,
    late: Option<Late>,
    /// For what is written next.
    spare: Spare,
}

/// A large piece of output that is to be kept, and is not yet copied to where that is: in a flood the next takes its place, and nobody
/// ever asks for it. There is one at most, and none while somebody reads.
#[derive(Debug)]
struct Late {
    at: Time,
    instance: InstanceId,
    origin: Origin,
    /// As it was read. Empty from when its lines are taken until we get it; nobody asks in between.
    bytes: Vec<u8>,
    /// Which part of it is to be kept: lines that begin and end there.
    lines: Range<usize>,
}

impl Late {
    fn lines(&self) -> &[u8] {
        self.bytes.get(self.lines.clone()).unwrap_or_default()
    }
}

/// What is at least this large takes the place of all that was kept of an instance before.
const LATE_LEAST_BYTES: usize = 60 * 1024;

impl Logs {
    /// Takes what a child wrote and returns what to write now: whole lines, in the child's format.
    pub fn take(
        &mut self,
        now: Time,
        name: &str,
        format: Output,
        child: Child,
        sink: Sink,
        bytes: &[u8],
    ) -> Vec<u8> {
        let Some(last) = memrchr(b'\n', bytes) else {
            return self.hold(now, name, format, child, sink, bytes);
        };
        let (lines, rest) = bytes.split_at(last + 1);
        let begun = self.partial.remove(&(child, sink)).unwrap_or_default();
        self.keep_lines(now, child.instance, Origin::Output(sink), &begun, lines);
        let mut out = match format {
            Output::Prefix => {
                let head = head(name);
                let mut out = self.spare.filled(copy::room(&begun, &head, lines));
                copy::lines(&mut out, [&head, &begun], &head, lines);
                out
            }
            Output::Raw | Output::Inherit | Output::Null | Output::Captured => {
                let mut out = begun;
                out.extend_from_slice(lines);
                out
            }
        };
        if !rest.is_empty() {
            out.append(&mut self.hold(now, name, format, child, sink, rest));
        }
        out
    }

    /// Takes the memory of what was taken last.
    pub fn done_with(&mut self, bytes: Vec<u8>) {
        match &mut self.late {
            Some(late) if late.bytes.is_empty() && late.lines.end <= bytes.len() => late.bytes = bytes,
            Some(_) | None => self.spare.put(bytes),
        }
    }

    /// The stream is at its end: a line without one gets it.
    pub fn end(&mut self, now: Time, name: &str, format: Output, child: Child, sink: Sink) -> Vec<u8> {
        match self.partial.contains_key(&(child, sink)) {
            true => self.take(now, name, format, child, sink, b"\n"),
            false => Vec::new(),
        }
    }

    /// The streams whose last line has no end yet.
    pub fn unfinished(&self) -> Vec<(Child, Sink)> {
        self.partial.keys().copied().collect()
    }

    /// The last whole lines of an instance that say something, oldest first, at most `count`, without line ends. Not UTF-8 is
    /// replaced.
    pub fn last_lines(&self, instance: InstanceId, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let say = |lines: &mut Vec<String>, line: &[u8]| {
            let line = String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_owned();
            if !line.trim().is_empty() {
                lines.push(line);
            }
        };
        if let Some(late) = self.late.as_ref().filter(|late| late.instance == instance) {
            let mut rest = late.lines();
            while let (Some((_, before)), true) = (rest.split_last(), lines.len() < count) {
                let (earlier, line) = rest.split_at(memrchr(b'\n', before).map_or(0, |newline| newline + 1));
                say(&mut lines, line);
                rest = earlier;
            }
        }
        let Some(kept) = self.kept.get(&instance) else {
            lines.reverse();
            return lines;
        };
        for (chunk, to) in kept.newest_first().filter(|(chunk, _)| chunk.origin != Origin::Mark) {
            let mut end = to;
            while end > chunk.from && lines.len() < count {
                let from = kept.find_last(chunk.from, end - 1).map_or(chunk.from, |newline| newline + 1);
                say(&mut lines, &kept.copy(from, end));
                end = from;
            }
            if lines.len() == count {
                break;
            }
        }
        lines.reverse();
        lines
    }

    /// Keeps what happened to an instance, between its lines.
    pub fn mark(&mut self, now: Time, instance: InstanceId, text: &str) {
        let line = text.lines().next().unwrap_or_default();
        self.keep(now, instance, Origin::Mark, [line.as_bytes(), b"\n"]);
    }

    /// Keeps the beginning of a line, and passes on a piece of it when it becomes too long.
    fn hold(
        &mut self,
        now: Time,
        name: &str,
        format: Output,
        child: Child,
        sink: Sink,
        bytes: &[u8],
    ) -> Vec<u8> {
        let held = self.partial.entry((child, sink)).or_default();
        held.extend_from_slice(bytes);
        if held.len() < LINE_MAX {
            return Vec::new();
        }
        // What stays is the knowledge that the line is open, so that its end is written.
        let mut piece = std::mem::take(held);
        let whole = format == Output::Prefix;
        self.keep(now, child.instance, Origin::Output(sink), [&piece, if whole { b"\n" } else { b"" }]);
        match format {
            Output::Prefix => {
                self.partial.remove(&(child, sink));
                let mut out = head(name);
                out.reserve(piece.len() + 1);
                out.append(&mut piece);
                out.push(b'\n');
                out
            }
            Output::Raw | Output::Inherit | Output::Null | Output::Captured => piece,
        }
    }

    /// Keeps whole lines, the first of which may have begun in an earlier piece.
    fn keep_lines(&mut self, now: Time, instance: InstanceId, origin: Origin, begun: &[u8], lines: &[u8]) {
        let from = if begun.is_empty() { 0 } else { memchr(b'\n', lines).map_or(0, |newline| newline + 1) };
        if lines.len() - from < LATE_LEAST_BYTES || !self.readers.is_empty() {
            return self.keep(now, instance, origin, [begun, lines]);
        }
        if let Some(before) = self.late.take_if(|late| late.instance == instance) {
            self.kept.entry(instance).or_default().skip(before.lines.len());
            self.spare.put(before.bytes);
        } else if let Some(another) = self.late.take() {
            self.copy_late(another);
        }
        self.keep(now, instance, origin, [begun, lines.get(..from).unwrap_or_default()]);
        self.late = Some(Late { at: now, instance, origin, bytes: Vec::new(), lines: from..lines.len() });
    }

    fn copy_late(&mut self, late: Late) {
        self.keep(late.at, late.instance, late.origin, [b"", late.lines()]);
        self.spare.put(late.bytes);
    }

    /// Keeps whole lines, or a piece of one that is very long.
    fn keep(&mut self, now: Time, instance: InstanceId, origin: Origin, parts: [&[u8]; 2]) {
        let [first, second] = parts;
        if first.is_empty() && second.is_empty() {
            return;
        }
        if let Some(late) = self.late.take_if(|late| late.instance == instance) {
            self.copy_late(late);
        }
        let kept = self.kept.entry(instance).or_default();
        let to = kept.over(first.len() + second.len());
        if to > kept.begin() {
            for reader in self.readers.values_mut() {
                reader.goes(instance, kept, to);
            }
            kept.drop_to(to);
        }
        let (skipped, parts) = last_of(parts);
        if skipped.iter().any(|part| !part.is_empty()) {
            let bytes = skipped.iter().map(|part| part.len()).sum();
            let lines = || skipped.iter().map(|part| memchr_iter(b'\n', part).count() as u64).sum();
            for reader in self.readers.values_mut() {
                reader.skips(instance, origin, bytes, lines);
            }
            kept.skip(bytes);
        }
        kept.add(now, origin, parts);
        for reader in self.readers.values_mut() {
            reader.comes(instance);
        }
    }
}

/// Cuts off what is more than can be kept, at the end of a line where there is one.
fn last_of([first, second]: [&[u8]; 2]) -> ([&[u8]; 2], [&[u8]; 2]) {
    let over = (first.len() + second.len()).saturating_sub(kept::CHUNK_MAX_BYTES);
    if over == 0 {
        return ([b"", b""], [first, second]);
    }
    // The first is the beginning of a line, whose end is in the second.
    let cut = over.saturating_sub(first.len());
    let rest = second.get(cut.saturating_sub(1)..).unwrap_or_default();
    let line_end = memchr(b'\n', rest).map(|newline| cut.saturating_sub(1) + newline + 1);
    // A line that is too long by itself keeps its last part.
    let (gone, stays) = second.split_at(line_end.filter(|at| *at < second.len()).unwrap_or(cut));
    ([first, gone], [b"", stays])
}

/// What stands before each line.
fn head(name: &str) -> Vec<u8> {
    [name.as_bytes(), b" | "].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Role;

    const A: Child = Child { instance: InstanceId(0), run: 1, role: Role::Main };

    fn take(logs: &mut Logs, format: Output, bytes: &[u8]) -> String {
        String::from_utf8(logs.take(Time::ZERO, "a", format, A, Sink::Stdout, bytes)).unwrap()
    }

    #[test]
    fn whole_lines_pass_with_their_origin() {
        let mut logs = Logs::default();
        assert_eq!(take(&mut logs, Output::Prefix, b"one\ntwo\nthr"), "a | one\na | two\n");
        assert_eq!(take(&mut logs, Output::Prefix, b"e"), "");
        assert_eq!(take(&mut logs, Output::Prefix, b"e\n\n"), "a | three\n".to_owned() + "a | \n");
        assert_eq!(take(&mut logs, Output::Raw, b"raw\nha"), "raw\n");
        assert_eq!(logs.end(Time::ZERO, "a", Output::Raw, A, Sink::Stdout), b"ha\n");
        assert_eq!(logs.end(Time::ZERO, "a", Output::Raw, A, Sink::Stdout), b"", "only once");
        assert_eq!(
            logs.last_lines(InstanceId(0), 3),
            ["three", "raw", "half"].map(|l| l.replace("half", "ha"))
        );
        assert_eq!(logs.last_lines(InstanceId(1), 3), [""; 0]);
    }

    #[test]
    fn the_streams_are_kept_apart() {
        let mut logs = Logs::default();
        assert_eq!(logs.take(Time::ZERO, "a", Output::Prefix, A, Sink::Stdout, b"out "), b"");
        assert_eq!(logs.take(Time::ZERO, "a", Output::Prefix, A, Sink::Stderr, b"err\n"), b"a | err\n");
        let next = Child { run: 2, ..A };
        assert_eq!(
            logs.take(Time::ZERO, "a", Output::Prefix, next, Sink::Stdout, b"new run\n"),
            b"a | new run\n"
        );
        assert_eq!(logs.unfinished(), [(A, Sink::Stdout)]);
        assert_eq!(logs.end(Time::ZERO, "a", Output::Prefix, A, Sink::Stdout), b"a | out \n");
    }

    #[test]
    fn an_endless_line_passes_in_pieces_without_loss() {
        for format in [Output::Prefix, Output::Raw] {
            let (mut logs, mut out) = (Logs::default(), Vec::new());
            for _ in 0..100 {
                out.append(&mut logs.take(Time::ZERO, "a", format, A, Sink::Stdout, &[b'x'; 4000]));
                assert!(logs.partial.get(&(A, Sink::Stdout)).map_or(0, Vec::len) < LINE_MAX + 4000);
            }
            out.append(&mut logs.end(Time::ZERO, "a", format, A, Sink::Stdout));
            assert_eq!(memchr_iter(b'x', &out).count(), 400_000);
            let newlines = memchr_iter(b'\n', &out).count();
            assert_eq!(newlines, if format == Output::Raw { 1 } else { 6 });
        }
    }

    #[test]
    fn a_raw_line_that_ends_with_a_piece_gets_its_end() {
        let mut logs = Logs::default();
        assert_eq!(
            logs.take(Time::ZERO, "a", Output::Raw, A, Sink::Stdout, &vec![b'x'; LINE_MAX]).len(),
            LINE_MAX
        );
        assert_eq!(logs.end(Time::ZERO, "a", Output::Raw, A, Sink::Stdout), b"\n");
        assert_eq!(
            logs.take(Time::ZERO, "a", Output::Prefix, A, Sink::Stdout, &vec![b'x'; LINE_MAX]).last(),
            Some(&b'\n')
        );
        assert_eq!(logs.end(Time::ZERO, "a", Output::Prefix, A, Sink::Stdout), b"");
    }

    #[test]
    fn cuts_anywhere_give_the_same_result() {
        let text = b"alpha\n\nbeta gamma\n\xff\x00\nlast";
        let whole = {
            let mut logs = Logs::default();
            let mut out = logs.take(Time::ZERO, "svc", Output::Prefix, A, Sink::Stdout, text);
            out.append(&mut logs.end(Time::ZERO, "svc", Output::Prefix, A, Sink::Stdout));
            out
        };
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut logs = Logs::default();
                let mut out = Vec::new();
                for part in [&text[..first], &text[first..second], &text[second..]] {
                    if !part.is_empty() {
                        out.append(&mut logs.take(Time::ZERO, "svc", Output::Prefix, A, Sink::Stdout, part));
                    }
                }
                out.append(&mut logs.end(Time::ZERO, "svc", Output::Prefix, A, Sink::Stdout));
                assert_eq!(out, whole, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut logs = Logs::default();
        for index in 0..30_000 {
            logs.take(Time::ZERO, "a", Output::Prefix, A, Sink::Stdout, format!("line {index}\n").as_bytes());
        }
        assert_eq!(logs.last_lines(InstanceId(0), 1), ["line 29999"]);
    }

    /// A flood comes in large pieces that are cut anywhere. What is kept of it is the same for whoever asks, and whenever.
    #[test]
    fn of_a_flood_the_last_is_kept() {
        let b = Child { instance: InstanceId(1), ..A };
        let text: Vec<u8> = (0..40_000).flat_map(|index| format!("line {index}\n").into_bytes()).collect();
        let last =
            |logs: &Logs, id| (logs.last_lines(InstanceId(id), 4), logs.last_lines(InstanceId(id), 9999));
        let between = b"between\n".repeat(8000);
        for piece in [30_000, 61_500, 64_000, 65_536] {
            let (mut logs, mut fed) = (Logs::default(), 0);
            for (index, bytes) in text.chunks(piece).enumerate() {
                let out = take(&mut logs, Output::Prefix, bytes);
                logs.done_with(bytes.to_vec());
                fed += out.lines().count();
                assert!(out.lines().all(|line| line.starts_with("a | line ")), "{piece}");
                if index % 3 == 2 {
                    logs.take(Time::ZERO, "b", Output::Prefix, b, Sink::Stdout, &between);
                    logs.done_with(between.clone());
                }
                let (few, many) = last(&logs, 0);
                let lines = |count: usize| (fed - count..fed).map(|index| format!("line {index}"));
                assert_eq!(few, lines(4).collect::<Vec<_>>(), "{piece}");
                assert_eq!(many, lines(many.len()).collect::<Vec<_>>(), "{piece}: without a hole");
                assert!(index < 2 || many.len() >= 5000, "{piece}: {} lines", many.len());
            }
            // Whoever begins to read finds the same.
            let before = last(&logs, 0);
            logs.open(Client(1), &Wish { instances: vec![A.instance, b.instance], ..Wish::default() });
            assert_eq!(last(&logs, 0), before);
            assert!(logs.late.is_none());
            logs.mark(Time::ZERO, A.instance, "happened");
            assert_eq!(last(&logs, 0).0, before.0);
        }
    }
}
