//! What the services write: cut into whole lines, marked with their origin, the last of it kept for those who ask. Bytes pass
//! unchanged; nothing here waits or writes.

mod kept;
mod readers;

use std::collections::BTreeMap;

use memchr::{memchr, memchr_iter, memrchr};

use crate::event::{Child, Client, InstanceId, Output, Sink, Time};
use kept::Kept;
use readers::Reader;

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
}

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
        self.keep(now, child.instance, Origin::Output(sink), [&begun, lines]);
        let mut out = match format {
            Output::Prefix => {
                let mut out =
                    Vec::with_capacity(begun.len() + lines.len() + (lines.len() / 64 + 1) * (name.len() + 3));
                begin(&mut out, name);
                out.extend_from_slice(&begun);
                prefix_lines(&mut out, name, lines);
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
        let Some(kept) = self.kept.get(&instance) else { return lines };
        for (chunk, to) in kept.newest_first().filter(|(chunk, _)| chunk.origin != Origin::Mark) {
            let mut end = to;
            while end > chunk.from && lines.len() < count {
                let from = kept.find_last(chunk.from, end - 1).map_or(chunk.from, |newline| newline + 1);
                let line =
                    String::from_utf8_lossy(&kept.copy(from, end)).trim_end_matches(['\n', '\r']).to_owned();
                if !line.trim().is_empty() {
                    lines.push(line);
                }
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
                let mut out = Vec::with_capacity(piece.len() + name.len() + 4);
                begin(&mut out, name);
                out.append(&mut piece);
                out.push(b'\n');
                out
            }
            Output::Raw | Output::Inherit | Output::Null | Output::Captured => piece,
        }
    }

    /// Keeps whole lines, or a piece of one that is very long.
    fn keep(&mut self, now: Time, instance: InstanceId, origin: Origin, parts: [&[u8]; 2]) {
        let [first, second] = parts;
        if first.is_empty() && second.is_empty() {
            return;
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

fn begin(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b" | ");
}

/// Appends `lines`, which end with a newline; the first has its prefix already.
fn prefix_lines(out: &mut Vec<u8>, name: &str, lines: &[u8]) {
    let mut from = 0;
    for end in memchr_iter(b'\n', lines) {
        if from > 0 {
            begin(out, name);
        }
        out.extend_from_slice(lines.get(from..=end).unwrap_or_default());
        from = end + 1;
    }
    debug_assert!(from == lines.len() && memchr(b'\n', lines).is_some(), "only whole lines come here");
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
}
