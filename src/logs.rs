//! What the services write: cut into whole lines, marked with their origin, the last of it kept for those who ask. Bytes pass
//! unchanged; nothing here waits or writes.

mod copy;
mod kept;
mod lines;
mod overflow;
mod rate;
mod readers;

use std::ops::Range;
use std::time::Duration;

use crate::event::{Child, Client, InstanceId, Sink, Spare, Time, Wall};
use crate::gather::Gather;
use crate::plan::RateLimit;
use crate::search;
use crate::sorted::Map;
use kept::Kept;
use rate::Bucket;
use readers::Reader;

pub use lines::{Lines, Speaker, Way};
pub use overflow::Overflowing;
pub use readers::{Line, Wish};

/// A line longer than this passes in pieces.
pub const LINE_MAX: usize = 64 * 1024;

/// After so long a silence the beginning of a line passes without its end: it may be a question that waits for an answer.
pub const SILENCE: Duration = Duration::from_secs(1);

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
    /// The lines whose end has not come; no entry where there is none.
    open: Map<(Child, Sink), Open>,
    /// The last whole lines; nothing for those that never spoke.
    kept: Map<InstanceId, Kept>,
    readers: Map<Client, Reader>,
    /// Those that have a limit and have spoken.
    buckets: Map<InstanceId, Bucket>,
    /// Where those who write are not read for now.
    stuck: Vec<Sink>,
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

/// A line whose end has not come.
#[derive(Debug)]
struct Open {
    /// What is held of it.
    bytes: Vec<u8>,
    /// When the first of these came.
    begun: Wall,
    /// When the last of them came.
    last: Time,
    /// A piece of it has passed,
    passed: bool,
    /// and not all of them were dropped: on the way to a file, and to the container.
    written: [bool; 2],
    /// The container's stream that it goes to, where it does.
    to: Option<Sink>,
}

impl Open {
    /// When what is held passes without its end.
    fn deadline(&self) -> Option<Time> {
        (!self.bytes.is_empty()).then(|| self.last + SILENCE)
    }

    /// Whether it is read now.
    fn heard(&self, stuck: &[Sink]) -> bool {
        self.to.is_none_or(|sink| !stuck.contains(&sink))
    }

    /// What is held, as a piece.
    fn piece(&mut self) -> Lines<'static> {
        Lines {
            begun: std::mem::take(&mut self.bytes),
            begun_at: self.begun,
            rest: b"",
            at: self.begun,
            continues: std::mem::replace(&mut self.passed, true),
            written: self.written,
            partial: true,
        }
    }
}

impl Logs {
    /// Takes what a child wrote and returns what passes now: whole lines, and then a piece of one that is too long.
    pub fn take<'a>(
        &mut self,
        now: Time,
        at: Wall,
        child: Child,
        sink: Sink,
        bytes: &'a [u8],
    ) -> [Option<Lines<'a>>; 2] {
        let (lines, rest) = bytes.split_at(search::last(b'\n', bytes).map_or(0, |last| last + 1));
        let whole = (!lines.is_empty()).then(|| {
            let (begun, begun_at, continues, written) = match self.open.remove(&(child, sink)) {
                Some(open) => (open.bytes, open.begun, open.passed, open.written),
                None => (Vec::new(), at, false, [false; 2]),
            };
            let begun_at = if begun.is_empty() { at } else { begun_at };
            let lines = Lines { begun, begun_at, rest: lines, at, continues, written, partial: false };
            self.keep_lines(now, child.instance, sink, &lines);
            lines
        });
        let piece = if rest.is_empty() { None } else { self.hold(now, at, child, sink, rest) };
        [whole, piece]
    }

    /// Memory for what is written next.
    pub fn spare(&mut self) -> &mut Spare {
        &mut self.spare
    }

    /// Takes the memory of what was taken last.
    pub fn done_with(&mut self, bytes: Vec<u8>) {
        match &mut self.late {
            Some(late) if late.bytes.is_empty() && late.lines.end <= bytes.len() => late.bytes = bytes,
            Some(_) | None => self.spare.put(bytes),
        }
    }

    /// The stream is at its end: a line without one gets it.
    pub fn end(&mut self, now: Time, child: Child, sink: Sink) -> Option<Lines<'static>> {
        let Open { bytes: begun, begun: at, passed: continues, written, .. } =
            self.open.remove(&(child, sink))?;
        let lines = Lines { begun, begun_at: at, rest: b"\n", at, continues, written, partial: false };
        self.keep_lines(now, child.instance, sink, &lines);
        Some(lines)
    }

    /// The streams whose last line has no end yet.
    pub fn unfinished(&self) -> Vec<(Child, Sink)> {
        self.open.keys().copied().gather()
    }

    /// When something passes although its end has not come, or it is to be told what was dropped.
    pub fn deadline(&self) -> Option<Time> {
        let mut least = None;
        for open in self.open.values().filter(|open| open.heard(&self.stuck)) {
            least = Time::earlier(least, open.deadline());
        }
        for bucket in self.buckets.values() {
            least = Time::earlier(least, bucket.deadline());
        }
        least
    }

    /// The beginnings of lines after which there was silence for too long.
    #[inline(never)]
    pub fn silent(&mut self, now: Time) -> Vec<(Child, Sink, Lines<'static>)> {
        let stuck = &self.stuck;
        let due = |open: &Open| open.heard(stuck) && open.deadline().is_some_and(|at| now >= at);
        let pieces: Vec<_> = self
            .open
            .iter_mut()
            .filter(|(_, open)| due(open))
            .map(|((child, sink), open)| (*child, *sink, open.piece()))
            .gather();
        for (child, sink, piece) in &pieces {
            self.keep_lines(now, child.instance, *sink, piece);
        }
        pieces
    }

    /// Where the open line of a stream goes, if that is not the container's stream of the same kind.
    pub fn goes_to(&mut self, child: Child, sink: Sink, to: Option<Sink>) {
        if let Some(open) = self.open.get_mut(&(child, sink)) {
            open.to = to;
        }
    }

    /// Remembers of a piece, of which nothing is left if it was dropped, whether its line has begun where it goes.
    pub fn wrote(&mut self, child: Child, sink: Sink, lines: &Lines<'_>, to: Way) {
        if lines.partial
            && let Some(open) = self.open.get_mut(&(child, sink))
        {
            *to.of(&mut open.written) = !lines.is_empty() || lines.has_begun(to);
        }
    }

    /// Those who write there are not read for now: what they say next may wait already.
    pub fn stuck(&mut self, sink: Sink) {
        if !self.stuck.contains(&sink) {
            self.stuck.push(sink);
        }
    }

    /// They are read again, and their silence begins anew.
    pub fn flows(&mut self, now: Time, sink: Sink) {
        let Some(at) = self.stuck.iter().position(|stuck| *stuck == sink) else { return };
        self.stuck.remove(at);
        for open in self.open.values_mut().filter(|open| open.to == Some(sink)) {
            open.last = now;
        }
    }

    /// Cuts off what an instance says beyond its limit. It is kept all the same.
    #[inline(never)]
    pub fn limit(&mut self, now: Time, instance: InstanceId, limit: RateLimit, lines: &mut Lines<'_>) {
        let bucket = self.buckets.get_or_insert_with(instance, || Bucket::new(now, limit));
        lines.cut(bucket.pass(now, limit, lines.count()));
    }

    /// Who had how many lines dropped, and by which limit, where it is time to tell that, or all there is to tell.
    pub fn dropped(&mut self, now: Time, all: bool) -> Vec<(InstanceId, (u64, RateLimit))> {
        let due = |bucket: &Bucket| bucket.deadline().is_some_and(|at| all || now >= at);
        self.buckets
            .iter_mut()
            .filter(|(_, bucket)| due(bucket))
            .map(|(instance, bucket)| (*instance, bucket.told()))
            .gather()
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
                let (earlier, line) =
                    rest.split_at(search::last(b'\n', before).map_or(0, |newline| newline + 1));
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
        at: Wall,
        child: Child,
        sink: Sink,
        bytes: &[u8],
    ) -> Option<Lines<'static>> {
        let open = self.open.get_or_insert_with((child, sink), || Open {
            bytes: Vec::new(),
            begun: at,
            last: now,
            passed: false,
            written: [true; 2],
            to: Some(sink),
        });
        if open.bytes.is_empty() {
            open.begun = at;
        }
        open.last = now;
        open.bytes.extend_from_slice(bytes);
        if open.bytes.len() < LINE_MAX {
            return None;
        }
        let piece = open.piece();
        self.keep_lines(now, child.instance, sink, &piece);
        Some(piece)
    }

    /// Keeps whole lines, the first of which may have begun in an earlier piece.
    fn keep_lines(&mut self, now: Time, instance: InstanceId, sink: Sink, lines: &Lines<'_>) {
        // A piece is a line of its own, and what is not there needs none.
        let rest = if lines.partial { b"\n" } else { lines.told() };
        let (origin, begun, skipped) =
            (Origin::Output(sink), &lines.begun[..], lines.rest.len().saturating_sub(rest.len()));
        let lines = rest;
        let from =
            if begun.is_empty() { 0 } else { search::first(b'\n', lines).map_or(0, |newline| newline + 1) };
        if lines.len() - from < LATE_LEAST_BYTES || !self.readers.is_empty() {
            return self.keep(now, instance, origin, [begun, lines]);
        }
        if let Some(before) = self.late.take_if(|late| late.instance == instance) {
            self.kept.get_or_default(instance).skip(before.lines.len());
            self.spare.put(before.bytes);
        } else if let Some(another) = self.late.take() {
            self.copy_late(another);
        }
        self.keep(now, instance, origin, [begun, lines.get(..from).unwrap_or_default()]);
        self.late = Some(Late {
            at: now,
            instance,
            origin,
            bytes: Vec::new(),
            lines: skipped + from..skipped + lines.len(),
        });
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
        let kept = self.kept.get_or_default(instance);
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
            let lines = || skipped.iter().map(|part| search::line_ends(part) as u64).sum();
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
    let line_end = search::first(b'\n', rest).map(|newline| cut.saturating_sub(1) + newline + 1);
    // A line that is too long by itself keeps its last part.
    let (begun, cut) = match line_end.filter(|at| *at < second.len()) {
        Some(line_end) => (first.len(), line_end),
        None => (over.min(first.len()), cut),
    };
    let ((first_gone, first), (second_gone, second)) = (first.split_at(begun), second.split_at(cut));
    ([first_gone, second_gone], [first, second])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Pid, Role};
    use crate::line::{Format, Style};
    use crate::numbers::Numbers;

    const A: Child = Child { instance: InstanceId(0), run: 1, role: Role::Main };
    const FORMATS: [Format; 3] = [Format::Prefix, Format::Json, Format::Raw];

    fn written(lines: &Lines<'_>, format: Format, sink: Sink) -> Vec<u8> {
        let pid = Pid::new(7);
        let speaker = Speaker { name: "a", service: "a", instance: 1, sink, pid };
        lines.written(format, Style::default(), speaker, Way::Container, &mut Spare::default())
    }

    fn take_at(logs: &mut Logs, now: Time, at: u64, format: Format, bytes: &[u8]) -> Vec<u8> {
        let lines = logs.take(now, Wall(at), A, Sink::Stdout, bytes);
        lines.into_iter().flatten().flat_map(|lines| written(&lines, format, Sink::Stdout)).collect()
    }

    fn take(logs: &mut Logs, format: Format, bytes: &[u8]) -> String {
        String::from_utf8(take_at(logs, Time::ZERO, 0, format, bytes)).unwrap()
    }

    fn end(logs: &mut Logs, format: Format) -> Vec<u8> {
        let lines = logs.end(Time::ZERO, A, Sink::Stdout);
        lines.map(|lines| written(&lines, format, Sink::Stdout)).unwrap_or_default()
    }

    fn silent(logs: &mut Logs, now: Time, format: Format) -> Vec<u8> {
        logs.silent(now).into_iter().flat_map(|(_, sink, lines)| written(&lines, format, sink)).collect()
    }

    #[test]
    fn whole_lines_pass_with_their_origin() {
        let mut logs = Logs::default();
        assert_eq!(take(&mut logs, Format::Prefix, b"one\ntwo\nthr"), "a | one\na | two\n");
        assert_eq!(take(&mut logs, Format::Prefix, b"e"), "");
        assert_eq!(take(&mut logs, Format::Prefix, b"e\n\n"), "a | three\n".to_owned() + "a | \n");
        assert_eq!(take(&mut logs, Format::Raw, b"raw\nha"), "raw\n");
        assert_eq!(end(&mut logs, Format::Raw), b"ha\n");
        assert_eq!(end(&mut logs, Format::Raw), b"", "only once");
        assert_eq!(logs.last_lines(InstanceId(0), 3), ["three", "raw", "ha"]);
        assert_eq!(logs.last_lines(InstanceId(1), 3), [""; 0]);
    }

    #[test]
    fn the_streams_are_kept_apart() {
        let mut logs = Logs::default();
        let mut say = |child, sink, bytes: &[u8]| {
            let lines = logs.take(Time::ZERO, Wall(0), child, sink, bytes);
            lines
                .into_iter()
                .flatten()
                .flat_map(|lines| written(&lines, Format::Prefix, sink))
                .collect::<Vec<_>>()
        };
        let next = Child { run: 2, ..A };
        assert_eq!(say(A, Sink::Stdout, b"out "), b"");
        assert_eq!(say(A, Sink::Stderr, b"err\n"), b"a | err\n");
        assert_eq!(say(next, Sink::Stdout, b"new run\n"), b"a | new run\n");
        assert_eq!(logs.unfinished(), [(A, Sink::Stdout)]);
        assert_eq!(end(&mut logs, Format::Prefix), b"a | out \n");
    }

    #[test]
    fn objects_have_the_time_at_which_their_line_began() {
        let mut logs = Logs::default();
        assert_eq!(take_at(&mut logs, Time::ZERO, 1000, Format::Json, b"one"), b"");
        let out = take_at(&mut logs, Time::ZERO, 2000, Format::Json, b" more\n{\"a\":1}\n");
        let head = |second| {
            format!(
                "{{\"time\":\"1970-01-01T00:00:0{second}.000Z\",\"service\":\"a\",\"instance\":1,\"stream\":\"stdout\",\"pid\":7,"
            )
        };
        let expected = format!("{}\"message\":\"one more\"}}\n{}\"a\":1}}\n", head(1), head(2));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn what_has_no_end_passes_after_a_silence() {
        let later = |millis| Time::ZERO + Duration::from_millis(millis);
        for (format, question, answer, rest) in [
            (Format::Prefix, &b"a | Name: \n"[..], &b"a | Bob\n"[..], &b""[..]),
            (Format::Raw, b"Name: ", b"Bob\n", b"\n"),
        ] {
            let mut logs = Logs::default();
            assert_eq!(logs.deadline(), None);
            assert_eq!(take_at(&mut logs, later(0), 0, format, b"Na"), b"");
            assert_eq!(take_at(&mut logs, later(900), 0, format, b"me: "), b"");
            assert_eq!(logs.deadline(), Some(later(1900)));
            assert_eq!(silent(&mut logs, later(1899), format), b"");
            assert_eq!(silent(&mut logs, later(1900), format), question);
            // Nothing is held, so there is nothing to wake up for.
            assert_eq!((logs.deadline(), silent(&mut logs, later(9000), format)), (None, Vec::new()));
            assert_eq!(take_at(&mut logs, later(9000), 0, format, b"Bob\n"), answer);
            // A line whose end comes alone is no line more.
            assert_eq!(take_at(&mut logs, later(9000), 0, format, b"Sure? "), b"");
            assert!(!silent(&mut logs, later(10_000), format).is_empty());
            assert_eq!(take_at(&mut logs, later(10_000), 0, format, b"\n"), rest);
            assert_eq!(logs.last_lines(InstanceId(0), 9), ["Name: ", "Bob", "Sure? "]);
            assert!(logs.unfinished().is_empty());
        }
        let mut logs = Logs::default();
        take_at(&mut logs, later(0), 0, Format::Json, b"{\"a\":");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let piece = text(silent(&mut logs, later(1000), Format::Json));
        assert!(piece.ends_with("\"pid\":7,\"partial\":true,\"message\":\"{\\\"a\\\":\"}\n"), "{piece}");
        let last = text(take_at(&mut logs, later(1000), 0, Format::Json, b"{}\n"));
        assert!(last.ends_with("\"pid\":7,\"message\":\"{}\"}\n"), "a rest is no object: {last}");
    }

    #[test]
    fn who_is_not_read_is_not_silent() {
        let later = |millis| Time::ZERO + Duration::from_millis(millis);
        let mut logs = Logs::default();
        assert_eq!(take_at(&mut logs, later(0), 0, Format::Prefix, b"half of"), b"");
        logs.stuck(Sink::Stdout);
        assert_eq!((logs.deadline(), silent(&mut logs, later(30_000), Format::Prefix)), (None, Vec::new()));
        logs.flows(later(30_000), Sink::Stdout);
        assert_eq!(logs.deadline(), Some(later(31_000)));
        logs.stuck(Sink::Stderr); // that is another
        assert_eq!(logs.deadline(), Some(later(31_000)));
        // It goes where that one goes, or into a file, which nobody reads.
        logs.goes_to(A, Sink::Stdout, Some(Sink::Stderr));
        assert_eq!(logs.deadline(), None);
        logs.goes_to(A, Sink::Stdout, None);
        assert_eq!(logs.deadline(), Some(later(31_000)));
        assert_eq!(
            take_at(&mut logs, later(30_100), 0, Format::Prefix, b" a line\n"),
            b"a | half of a line\n"
        );
    }

    #[test]
    fn an_endless_line_passes_in_pieces_without_loss() {
        for format in FORMATS {
            let (mut logs, mut out) = (Logs::default(), Vec::new());
            for _ in 0..100 {
                out.append(&mut take_at(&mut logs, Time::ZERO, 0, format, &[b'X'; 4000]));
                assert!(logs.open.get(&(A, Sink::Stdout)).map_or(0, |open| open.bytes.len()) < LINE_MAX);
            }
            out.append(&mut end(&mut logs, format));
            assert_eq!(search::all(b'X', &out).count(), 400_000);
            let newlines = search::line_ends(&out);
            assert_eq!(newlines, if format == Format::Raw { 1 } else { 6 });
            let marked = String::from_utf8(out).unwrap().matches("\"partial\":true").count();
            assert_eq!(marked, if format == Format::Json { 5 } else { 0 });
        }
    }

    #[test]
    fn a_line_that_ends_with_a_piece_gets_its_end_once() {
        for (format, after) in [(Format::Raw, &b"\n"[..]), (Format::Prefix, b"")] {
            for stream_ends in [false, true] {
                let mut logs = Logs::default();
                assert!(take(&mut logs, format, &"x".repeat(LINE_MAX).into_bytes()).len() >= LINE_MAX);
                let out = match stream_ends {
                    true => end(&mut logs, format),
                    false => take_at(&mut logs, Time::ZERO, 0, format, b"\n"),
                };
                assert_eq!(out, after);
                assert!(logs.unfinished().is_empty());
            }
        }
    }

    #[test]
    fn what_a_limit_drops_is_kept() {
        let limit = RateLimit { lines: 3, per: Duration::from_secs(1) };
        let mut logs = Logs::default();
        for (at, text, passes, dropped) in [
            (0, "1\n2\n", "1\n2\n", 0),
            (0, "3\n4\n5\n", "3\n", 2),
            (10, "6\n", "", 3),
            (500, "7\n8\n", "7\n", 4),
        ] {
            let now = Time::ZERO + Duration::from_millis(at);
            let [Some(mut lines), None] = logs.take(now, Wall(0), A, Sink::Stdout, text.as_bytes()) else {
                panic!("whole lines")
            };
            logs.limit(now, A.instance, limit, &mut lines);
            assert_eq!(String::from_utf8(written(&lines, Format::Raw, Sink::Stdout)).unwrap(), passes);
            assert!(passes.is_empty() == lines.is_empty());
            assert_eq!(written(&lines, Format::Json, Sink::Stdout).is_empty(), passes.is_empty());
            assert_eq!(logs.deadline(), (dropped > 0).then(|| Time::ZERO + Duration::from_secs(1)));
        }
        assert_eq!(logs.dropped(Time::ZERO + Duration::from_millis(999), false), []);
        assert_eq!(logs.dropped(Time::ZERO + Duration::from_secs(1), false), [(A.instance, (4, limit))]);
        assert_eq!(logs.dropped(Time::ZERO, true), []);
        assert_eq!(logs.last_lines(A.instance, 9).concat(), "12345678");
    }

    /// What comes out of a whole history, worked out in the plainest way.
    fn reference(format: Format, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            match format {
                Format::Prefix => out.extend_from_slice(&[b"a | ", line, b"\n"].concat()),
                Format::Raw => out.extend_from_slice(&[line, b"\n"].concat()),
                Format::Json => {
                    let object =
                        serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|v| v.is_object());
                    assert!(!object, "the texts here are none");
                    let text = serde_json::to_string(&String::from_utf8_lossy(line)).unwrap();
                    out.extend_from_slice(
                        b"{\"time\":\"1970-01-01T00:00:00.000Z\",\"service\":\"a\",\"instance\":1,",
                    );
                    out.extend_from_slice(b"\"stream\":\"stdout\",\"pid\":7,\"message\":");
                    out.extend_from_slice(text.as_bytes());
                    out.extend_from_slice(b"}\n");
                }
            }
        }
        out
    }

    #[test]
    fn cuts_anywhere_give_the_same_result() {
        let text = b"alpha\n\nbeta gamma\n\xff\x00\nlast";
        for format in FORMATS {
            let whole = reference(format, text);
            for first in 0..text.len() {
                for second in first..text.len() {
                    let mut logs = Logs::default();
                    let mut out = Vec::new();
                    for part in [&text[..first], &text[first..second], &text[second..]] {
                        out.append(&mut take_at(&mut logs, Time::ZERO, 0, format, part));
                    }
                    out.append(&mut end(&mut logs, format));
                    assert_eq!(out, whole, "{format:?} cut at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn random_cuts_of_random_text_give_what_the_plainest_way_gives() {
        let seed = std::env::var("TINYSUP_FUZZ_SEED").map_or(1, |seed| seed.parse::<u64>().unwrap());
        let rounds = std::env::var("TINYSUP_FUZZ_ROUNDS").map_or(3000, |rounds| rounds.parse().unwrap());
        let mut numbers = Numbers::new(seed);
        let mut below = |bound: usize| numbers.index(bound);
        for round in 0..rounds {
            let length = below(400);
            let often = 1 + below(20);
            let text: Vec<u8> = (0..length)
                .map(|_| match below(often + 1) {
                    0 => b'\n',
                    _ => u8::try_from(below(256)).unwrap(),
                })
                .collect();
            let format = FORMATS[below(3)];
            let (mut logs, mut out, mut from) = (Logs::default(), Vec::new(), 0);
            while from < text.len() {
                let to = (from + 1 + below(50)).min(text.len());
                out.append(&mut take_at(&mut logs, Time::ZERO, 0, format, &text[from..to]));
                from = to;
            }
            out.append(&mut end(&mut logs, format));
            let told = || format!("seed {seed}, round {round}, {format:?}: {}", text.escape_ascii());
            assert!(out == reference(format, &text), "{}", told());
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut logs = Logs::default();
        for index in 0..30_000 {
            take(&mut logs, Format::Prefix, format!("line {index}\n").as_bytes());
        }
        assert_eq!(logs.last_lines(InstanceId(0), 1), ["line 29999"]);
    }

    /// Of what is longer than all that is kept, the last part is.
    #[test]
    fn of_a_very_long_line_the_last_part_is_kept() {
        for length in [65_511, 65_512, 70_000, 131_071] {
            let line: Vec<u8> = (0..length).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
            // In one read, in pieces, and as a beginning with the rest.
            for cut in [0, 100, 65_000, 65_536] {
                let cut = cut.min(length);
                let mut logs = Logs::default();
                let take = |logs: &mut Logs, bytes: &[u8]| drop(take(logs, Format::Prefix, bytes));
                take(&mut logs, b"before\n");
                take(&mut logs, &line[..cut]);
                take(&mut logs, &line[cut..]);
                take(&mut logs, b"\n");
                let kept = logs.last_lines(A.instance, 9).concat();
                let expected = String::from_utf8(line.clone()).unwrap();
                assert!(expected.ends_with(kept.strip_prefix("before").unwrap_or(&kept)), "{length}, {cut}");
                assert!(kept.len() >= 65_500 || cut == 65_536, "{length}, {cut}: {} bytes", kept.len());
            }
        }
    }

    /// Of a line in pieces, the end passes where the beginning has, whatever is dropped: what comes next is no part of it.
    #[test]
    fn a_line_that_has_begun_is_ended_though_its_rest_is_dropped() {
        let minute = RateLimit { lines: 2, per: Duration::from_mins(1) };
        let huge = b"x".repeat(LINE_MAX);
        for (format, expected) in [
            (Format::Raw, format!("one\n{}\nnext\n", "x".repeat(LINE_MAX))),
            (Format::Prefix, format!("a | one\na | {}\na | next\n", "x".repeat(LINE_MAX))),
        ] {
            // The rest of the line and another; its end and another; one more piece of it that is dropped, too.
            for (pieces, rest, count) in [
                (&[&huge[..]][..], &b"rest\nsecond\n"[..], 2),
                (&[&huge], b"\nrest\n", 1),
                (&[&huge, &huge], b"\nrest\n", 2),
            ] {
                let mut logs = Logs::default();
                let mut out = Vec::new();
                let mut now = Time::ZERO;
                for bytes in [&[&b"one\n"[..]], pieces, &[rest, b"next\n"]].concat() {
                    for mut lines in logs.take(now, Wall(0), A, Sink::Stdout, bytes).into_iter().flatten() {
                        logs.limit(now, A.instance, minute, &mut lines);
                        logs.wrote(A, Sink::Stdout, &lines, Way::Container);
                        out.extend(written(&lines, format, Sink::Stdout));
                    }
                    if bytes == rest {
                        now = now + minute.per;
                    }
                }
                assert_eq!(String::from_utf8(out).unwrap(), expected, "{}", rest.escape_ascii());
                assert_eq!(logs.dropped(now, true).iter().map(|(_, (count, _))| count).sum::<u64>(), count);
            }
        }
    }

    /// And where nothing of it was written, nothing of it is ended.
    #[test]
    fn a_line_whose_beginning_was_dropped_has_no_end_either() {
        let minute = RateLimit { lines: 1, per: Duration::from_mins(1) };
        for format in FORMATS {
            let (mut logs, mut out) = (Logs::default(), Vec::new());
            let huge = b"x".repeat(LINE_MAX);
            for (now, bytes) in [(0, &b"one\n"[..]), (0, &huge), (60, b"\nnext\n")] {
                let now = Time::ZERO + Duration::from_secs(now);
                for mut lines in logs.take(now, Wall(0), A, Sink::Stdout, bytes).into_iter().flatten() {
                    logs.limit(now, A.instance, minute, &mut lines);
                    logs.wrote(A, Sink::Stdout, &lines, Way::Container);
                    out.extend(written(&lines, format, Sink::Stdout));
                }
            }
            let (one, two) = out.split_at(out.iter().position(|byte| *byte == b'\n').unwrap() + 1);
            assert_eq!(search::line_ends(&out), 2, "{}", out.escape_ascii());
            assert!(one.windows(3).any(|part| part == b"one") && two.windows(4).any(|part| part == b"next"));
        }
    }

    /// A flood comes in large pieces that are cut anywhere. What is kept of it is the same for whoever asks, and whenever.
    #[test]
    fn of_a_flood_the_last_is_kept() {
        let b = Child { instance: InstanceId(1), ..A };
        let text: Vec<u8> = (0..40_000).flat_map(|index| format!("line {index}\n").into_bytes()).collect();
        let last = |logs: &Logs| (logs.last_lines(A.instance, 4), logs.last_lines(A.instance, 9999));
        let between = b"between\n".repeat(8000);
        for piece in [30_000, 61_500, 64_000, 65_536] {
            let (mut logs, mut fed) = (Logs::default(), 0);
            for (index, bytes) in text.chunks(piece).enumerate() {
                let out = take(&mut logs, Format::Prefix, bytes);
                logs.done_with(bytes.to_vec());
                fed += out.lines().count();
                assert!(out.lines().all(|line| line.starts_with("a | line ")), "{piece}");
                if index % 3 == 2 {
                    logs.take(Time::ZERO, Wall(0), b, Sink::Stdout, &between);
                    logs.done_with(between.clone());
                }
                let (few, many) = last(&logs);
                let lines = |count: usize| (fed - count..fed).map(|index| format!("line {index}"));
                assert_eq!(few, lines(4).collect::<Vec<_>>(), "{piece}");
                assert_eq!(many, lines(many.len()).collect::<Vec<_>>(), "{piece}: without a hole");
                assert!(index < 2 || many.len() >= 5000, "{piece}: {} lines", many.len());
            }
            // Whoever begins to read finds the same.
            let before = last(&logs);
            logs.open(Client(1), &Wish { instances: vec![A.instance, b.instance], ..Wish::default() });
            assert_eq!(last(&logs), before);
            assert!(logs.late.is_none());
            logs.mark(Time::ZERO, A.instance, "happened");
            assert_eq!(last(&logs).0, before.0);
        }
    }
}
