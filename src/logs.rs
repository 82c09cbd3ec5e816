//! What the services write: cut into whole lines, marked with their origin, the last of it kept. Bytes pass unchanged;
//! nothing here waits or writes.

use std::collections::{BTreeMap, VecDeque};

use memchr::{memchr, memchr_iter, memrchr};

use crate::event::{Child, InstanceId, Output, Sink};

/// A line longer than this passes in pieces.
pub const LINE_MAX: usize = 64 * 1024;
/// What is kept of each instance's last output.
pub const KEPT_MAX: usize = 64 * 1024;

/// The output of all instances.
#[derive(Debug, Default)]
pub struct Logs {
    /// The beginnings of lines whose end has not come; no entry where there is none.
    partial: BTreeMap<(Child, Sink), Vec<u8>>,
    /// The last whole lines; nothing for those that never spoke.
    kept: BTreeMap<InstanceId, VecDeque<u8>>,
}

impl Logs {
    /// Takes what a child wrote and returns what to write now: whole lines, in the child's format.
    pub fn take(&mut self, name: &str, format: Output, child: Child, sink: Sink, bytes: &[u8]) -> Vec<u8> {
        let Some(last) = memrchr(b'\n', bytes) else {
            return self.hold(name, format, child, sink, bytes);
        };
        let (lines, rest) = bytes.split_at(last + 1);
        let begun = self.partial.remove(&(child, sink)).unwrap_or_default();
        self.keep(child.instance, &begun);
        self.keep(child.instance, lines);
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
            out.append(&mut self.hold(name, format, child, sink, rest));
        }
        out
    }

    /// The stream is at its end: a line without one gets it.
    pub fn end(&mut self, name: &str, format: Output, child: Child, sink: Sink) -> Vec<u8> {
        match self.partial.contains_key(&(child, sink)) {
            true => self.take(name, format, child, sink, b"\n"),
            false => Vec::new(),
        }
    }

    /// The streams whose last line has no end yet.
    pub fn unfinished(&self) -> Vec<(Child, Sink)> {
        self.partial.keys().copied().collect()
    }

    /// The last whole lines of an instance, oldest first, at most `count`, without line ends. Not UTF-8 is replaced.
    pub fn last_lines(&self, instance: InstanceId, count: usize) -> Vec<String> {
        let Some(kept) = self.kept.get(&instance) else { return Vec::new() };
        let bytes: Vec<u8> = kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: Vec<String> = text
            .lines()
            .rev()
            .filter(|line| !line.trim().is_empty())
            .take(count)
            .map(str::to_owned)
            .collect();
        lines.reverse();
        lines
    }

    /// Keeps the beginning of a line, and passes on a piece of it when it becomes too long.
    fn hold(&mut self, name: &str, format: Output, child: Child, sink: Sink, bytes: &[u8]) -> Vec<u8> {
        let held = self.partial.entry((child, sink)).or_default();
        held.extend_from_slice(bytes);
        if held.len() < LINE_MAX {
            return Vec::new();
        }
        // What stays is the knowledge that the line is open, so that its end is written.
        let mut piece = std::mem::take(held);
        self.keep(child.instance, &piece);
        match format {
            Output::Prefix => {
                self.partial.remove(&(child, sink));
                self.keep(child.instance, b"\n");
                let mut out = Vec::with_capacity(piece.len() + name.len() + 4);
                begin(&mut out, name);
                out.append(&mut piece);
                out.push(b'\n');
                out
            }
            Output::Raw | Output::Inherit | Output::Null | Output::Captured => piece,
        }
    }

    fn keep(&mut self, instance: InstanceId, bytes: &[u8]) {
        let bytes = bytes.get(bytes.len().saturating_sub(KEPT_MAX)..).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        let kept = self.kept.entry(instance).or_default();
        let over = (kept.len() + bytes.len()).saturating_sub(KEPT_MAX);
        kept.drain(..over);
        kept.extend(bytes);
    }
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
        String::from_utf8(logs.take("a", format, A, Sink::Stdout, bytes)).unwrap()
    }

    #[test]
    fn whole_lines_pass_with_their_origin() {
        let mut logs = Logs::default();
        assert_eq!(take(&mut logs, Output::Prefix, b"one\ntwo\nthr"), "a | one\na | two\n");
        assert_eq!(take(&mut logs, Output::Prefix, b"e"), "");
        assert_eq!(take(&mut logs, Output::Prefix, b"e\n\n"), "a | three\n".to_owned() + "a | \n");
        assert_eq!(take(&mut logs, Output::Raw, b"raw\nha"), "raw\n");
        assert_eq!(logs.end("a", Output::Raw, A, Sink::Stdout), b"ha\n");
        assert_eq!(logs.end("a", Output::Raw, A, Sink::Stdout), b"", "only once");
        assert_eq!(
            logs.last_lines(InstanceId(0), 3),
            ["three", "raw", "half"].map(|l| l.replace("half", "ha"))
        );
        assert_eq!(logs.last_lines(InstanceId(1), 3), [""; 0]);
    }

    #[test]
    fn the_streams_are_kept_apart() {
        let mut logs = Logs::default();
        assert_eq!(logs.take("a", Output::Prefix, A, Sink::Stdout, b"out "), b"");
        assert_eq!(logs.take("a", Output::Prefix, A, Sink::Stderr, b"err\n"), b"a | err\n");
        let next = Child { run: 2, ..A };
        assert_eq!(logs.take("a", Output::Prefix, next, Sink::Stdout, b"new run\n"), b"a | new run\n");
        assert_eq!(logs.unfinished(), [(A, Sink::Stdout)]);
        assert_eq!(logs.end("a", Output::Prefix, A, Sink::Stdout), b"a | out \n");
    }

    #[test]
    fn an_endless_line_passes_in_pieces_without_loss() {
        for format in [Output::Prefix, Output::Raw] {
            let (mut logs, mut out) = (Logs::default(), Vec::new());
            for _ in 0..100 {
                out.append(&mut logs.take("a", format, A, Sink::Stdout, &[b'x'; 4000]));
                assert!(logs.partial.get(&(A, Sink::Stdout)).map_or(0, Vec::len) < LINE_MAX + 4000);
            }
            out.append(&mut logs.end("a", format, A, Sink::Stdout));
            assert_eq!(memchr_iter(b'x', &out).count(), 400_000);
            let newlines = memchr_iter(b'\n', &out).count();
            assert_eq!(newlines, if format == Output::Raw { 1 } else { 6 });
        }
    }

    #[test]
    fn a_raw_line_that_ends_with_a_piece_gets_its_end() {
        let mut logs = Logs::default();
        assert_eq!(logs.take("a", Output::Raw, A, Sink::Stdout, &vec![b'x'; LINE_MAX]).len(), LINE_MAX);
        assert_eq!(logs.end("a", Output::Raw, A, Sink::Stdout), b"\n");
        assert_eq!(
            logs.take("a", Output::Prefix, A, Sink::Stdout, &vec![b'x'; LINE_MAX]).last(),
            Some(&b'\n')
        );
        assert_eq!(logs.end("a", Output::Prefix, A, Sink::Stdout), b"");
    }

    #[test]
    fn cuts_anywhere_give_the_same_result() {
        let text = b"alpha\n\nbeta gamma\n\xff\x00\nlast";
        let whole = {
            let mut logs = Logs::default();
            let mut out = logs.take("svc", Output::Prefix, A, Sink::Stdout, text);
            out.append(&mut logs.end("svc", Output::Prefix, A, Sink::Stdout));
            out
        };
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut logs = Logs::default();
                let mut out = Vec::new();
                for part in [&text[..first], &text[first..second], &text[second..]] {
                    if !part.is_empty() {
                        out.append(&mut logs.take("svc", Output::Prefix, A, Sink::Stdout, part));
                    }
                }
                out.append(&mut logs.end("svc", Output::Prefix, A, Sink::Stdout));
                assert_eq!(out, whole, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut logs = Logs::default();
        for index in 0..30_000 {
            logs.take("a", Output::Prefix, A, Sink::Stdout, format!("line {index}\n").as_bytes());
        }
        assert!(logs.kept[&InstanceId(0)].len() <= KEPT_MAX);
        assert_eq!(logs.last_lines(InstanceId(0), 1), ["line 29999"]);
    }
}
