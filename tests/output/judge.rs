//! Whether what arrived somewhere is what was written, by docs/output.md alone: each line once, whole, in its order, in its form.
//!
//! Several streams arrive at one place, mixed in any way, and where a line was cut is known of some only. So it is a search: whose next
//! line, or piece of one, can stand here? Lines bear numbers, so mostly there is one answer.

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::account::{Form, Goes, PIPE_BYTES, STREAMS, Tape};

/// A line longer than this passes in pieces,
pub const LINE_MAX: usize = 64 << 10;
/// none of which is larger: what was held, and what one read adds to it.
const PIECE_MAX: usize = 2 * LINE_MAX;
/// So much of each is kept at least.
const KEPT_LEAST: usize = 65_000;
/// How deep an object may be to be taken in.
const DEPTH_MAX: usize = 100;
/// What is shorter may be there twice, and says nothing about where somebody began to read.
const TELLING: usize = 12;
/// Of a piece of a raw line that is cut anywhere, so many bytes more than it has may be like what follows.
const ALIKE_MAX: usize = 24;

/// Something that arrives at a place.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Source<'a> {
    pub tape: &'a Tape,
    pub form: Form,
    /// Where it was silent.
    silences: Vec<usize>,
    /// Whole lines and pieces may lack.
    pub drops: bool,
    /// A file takes nothing for a while: what was to be written is lost then, a piece or the end of its line.
    pub lost: bool,
    /// Where it begins is not known.
    pub tail: bool,
    /// Its last line has not come,
    pub unfinished: bool,
    /// or what a pipe holds, which is not read while a reader of the container's output is slow.
    pub late: bool,
    /// It begins only when that one is at its end.
    after: Option<usize>,
}

/// A place, with all that arrives there.
pub struct Place<'a> {
    pub what: String,
    pub bytes: &'a [u8],
    pub sources: Vec<Source<'a>>,
    pub timestamps: bool,
    pub colored: bool,
    /// tinysup's own lines are there, too.
    pub own: Option<Form>,
}

/// How far one source is.
#[derive(Clone, Debug)]
struct State {
    /// None: not known yet.
    place: Option<usize>,
    /// A piece of this line is there.
    open: bool,
    dropped: Dropped,
}

/// How many lines lack: as it is not known how many pieces a line would have had, at least and at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dropped {
    pub least: u64,
    pub most: u64,
}

impl Dropped {
    pub fn and(self, other: Self) -> Self {
        Self { least: self.least + other.least, most: self.most + other.most }
    }
}

impl<'a> Source<'a> {
    pub fn new(tape: &'a Tape, form: Form) -> Self {
        Self {
            tape,
            form,
            silences: tape.silences(),
            drops: false,
            lost: false,
            tail: false,
            unfinished: false,
            late: false,
            after: None,
        }
    }

    fn bytes(&self) -> &'a [u8] {
        &self.tape.bytes
    }

    /// The end of the line that this is in.
    fn line_end(&self, from: usize) -> usize {
        memchr::memchr(b'\n', &self.bytes()[from..]).map_or(self.bytes().len(), |end| from + end)
    }

    fn after_line(&self, from: usize) -> usize {
        (self.line_end(from) + 1).min(self.bytes().len())
    }

    fn is_begun(&self, at: usize) -> bool {
        at > 0 && self.bytes()[at - 1] != b'\n'
    }

    /// Ends of lines whose last byte has passed need no line of their own, but where the form has to say so.
    fn settle(&self, mut state: State) -> State {
        if let Some(at) = state.place
            && matches!(self.form, Form::Prefix | Form::Kept)
            && self.is_begun(at)
            && self.bytes().get(at) == Some(&b'\n')
        {
            state.place = Some(at + 1);
            state.open = false;
        }
        state
    }

    fn is_over(&self, state: &State) -> bool {
        let open = state.open && matches!(self.form, Form::Json | Form::Raw);
        let last = memchr::memrchr(b'\n', self.bytes()).map_or(0, |end| end + 1);
        let late =
            |at: usize| self.unfinished && at >= last || self.late && at + PIPE_BYTES >= self.bytes().len();
        state.place.is_none_or(|at| at == self.bytes().len() && !open || late(at))
    }

    /// Where pieces that begin here may end, as far as that is by silence.
    fn ends(&self, from: usize) -> impl Iterator<Item = usize> {
        let line_end = self.line_end(from);
        self.silences.iter().copied().filter(move |cut| *cut > from && *cut <= line_end)
    }

    fn skipped(&self, from: usize) -> Dropped {
        let length = self.line_end(from) - from;
        let pieces = self.ends(from).count() + length / LINE_MAX;
        let least = u64::from(length > 0 || !self.is_begun(from));
        Dropped { least, most: 1 + pieces as u64 }
    }

    /// Where the next may begin, and what lacks then before it.
    fn begins(&self, state: &State) -> Vec<State> {
        let Some(from) = state.place else {
            let bytes = self.bytes();
            let lines = memchr::memchr_iter(b'\n', bytes).map(|end| end + 1).filter(|at| *at < bytes.len());
            let all = [0].into_iter().chain(lines).chain(self.silences.iter().copied());
            return all.map(|at| State { place: Some(at), open: false, dropped: state.dropped }).collect();
        };
        let mut found = vec![state.clone()];
        // The end of a line that has begun never lacks: nobody else's line may be taken for its rest.
        let ends = state.open && matches!(self.form, Form::Json | Form::Raw);
        if self.drops && (!ends || self.lost && self.form == Form::Json) {
            let mut last = state.clone();
            last.place = Some(from);
            while let Some(at) = last.place.filter(|at| *at < self.bytes().len()) {
                for cut in self.ends(at) {
                    let dropped = last.dropped.and(Dropped { least: 1, most: 1 });
                    found.push(State { place: Some(cut), open: false, dropped });
                }
                let dropped = last.dropped.and(self.skipped(at));
                last = State { place: Some(self.after_line(at)), open: false, dropped };
                found.push(last.clone());
            }
        }
        found
    }

    /// What is left is dropped, as far as it may be.
    fn rest_dropped(&self, state: &State) -> Option<Dropped> {
        if self.is_over(state) {
            return Some(state.dropped);
        }
        let last = self.begins(state).pop()?;
        (self.drops && self.is_over(&last)).then_some(last.dropped)
    }

    /// Where this source may be when a text has stood there that is the whole line or a piece of it.
    fn says(
        &self,
        begin: &State,
        text: &str,
        bytes: &[u8],
        partial: Option<bool>,
        lossy: bool,
    ) -> Vec<State> {
        let from = begin.place.expect("a place");
        let (line_end, written) = (self.line_end(from), self.bytes());
        let same = |to: usize| match lossy {
            true => String::from_utf8_lossy(&written[from..to]) == text,
            false => written[from..to] == *bytes,
        };
        let to = |at, open| self.settle(State { place: Some(at), open, dropped: begin.dropped });
        let mut found = Vec::new();
        if partial != Some(true) && line_end - from <= PIECE_MAX && same(line_end) {
            found.push(to((line_end + 1).min(written.len()), false));
        } else if self.drops && (begin.open || self.lost) && partial == Some(false) && text.is_empty() {
            // The end of a line that has begun, whose rest was dropped.
            let dropped = begin.dropped.and(self.skipped(from));
            found.push(State { place: Some((line_end + 1).min(written.len())), open: false, dropped });
        }
        if partial != Some(false) {
            found.extend(self.ends(from).filter(|cut| same(*cut)).map(|cut| to(cut, true)));
            if line_end - from >= LINE_MAX && bytes.len() >= LINE_MAX {
                let length =
                    if lossy { lossy_end(&written[from..line_end], text) } else { Some(bytes.len()) };
                let piece =
                    length.filter(|length| (LINE_MAX..=PIECE_MAX.min(line_end - from)).contains(length));
                found.extend(
                    piece.map(|length| from + length).filter(|cut| same(*cut)).map(|cut| to(cut, true)),
                );
            }
        }
        found
    }

    /// Of a very long line, or piece of one, only the last part is kept.
    fn last_part(&self, begin: &State, text: &[u8]) -> Option<State> {
        let from = begin.place.filter(|_| self.form == Form::Kept && text.len() >= KEPT_LEAST)?;
        let line_end = self.line_end(from);
        let end = memchr::memmem::find(&self.bytes()[from..line_end], text)? + from + text.len();
        let last = end == line_end || end - from >= LINE_MAX || self.silences.contains(&end);
        last.then(|| self.settle(State { place: Some(end), open: true, dropped: begin.dropped }))
    }

    /// Of a very long line the first piece is not there, and nobody knows where it was cut.
    fn later_piece(&self, state: &State, begin: &State, text: &[u8], partial: bool) -> Option<State> {
        let from = begin.place.filter(|_| (self.drops || state.place.is_none()) && text.len() >= TELLING)?;
        let line_end = self.line_end(from);
        let rest = self.bytes()[from..line_end].get(LINE_MAX..)?;
        let end = memchr::memmem::find(rest, text)? + from + LINE_MAX + text.len();
        let mut dropped = begin.dropped;
        if state.place.is_some() {
            dropped = dropped.and(Dropped { least: 1, most: (line_end - from) as u64 / LINE_MAX as u64 });
        }
        if end == line_end && !partial {
            return Some(State { place: Some((end + 1).min(self.bytes().len())), open: false, dropped });
        }
        (partial || text.len() >= LINE_MAX || self.silences.contains(&end)).then_some(State {
            place: Some(end),
            open: true,
            dropped,
        })
    }

    /// It passes in whole lines.
    pub fn is_whole(&self) -> bool {
        self.silences.is_empty()
            && self.bytes().split(|byte| *byte == b'\n').all(|line| line.len() < LINE_MAX)
    }
}

/// How many bytes become this text, where what is not UTF-8 is replaced.
fn lossy_end(bytes: &[u8], text: &str) -> Option<usize> {
    let (mut at, mut rest) = (0, text);
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        if rest.len() <= valid.len() {
            return valid.starts_with(rest).then_some(at + rest.len());
        }
        rest = rest.strip_prefix(valid)?;
        at += valid.len();
        rest = rest.strip_prefix('\u{fffd}')?;
        at += chunk.invalid().len();
    }
    rest.is_empty().then_some(at)
}

impl<'a> Place<'a> {
    /// Runs of one stream come one after another, where nobody has held a pipe beyond its run.
    fn chain(&mut self) {
        for index in 0..self.sources.len() {
            let of = self.sources[index].tape;
            let before = (0..index).rev().find(|before| {
                let tape = self.sources[*before].tape;
                tape.name == of.name && tape.stream == of.stream && tape.orphaned.is_none()
            });
            self.sources[index].after = before;
        }
    }

    /// What lacks of each source, or what is wrong.
    pub fn judge(&mut self) -> Result<Vec<Dropped>, String> {
        self.chain();
        let begin = |source: &Source<'_>| State {
            place: (!source.tail).then_some(0),
            open: false,
            dropped: Dropped::default(),
        };
        let mut stack = vec![(0, self.sources.iter().map(begin).collect::<Vec<_>>())];
        let (mut seen, mut furthest) = (HashSet::new(), (0, stack[0].1.clone()));
        while let Some((at, states)) = stack.pop() {
            if at > furthest.0 || at == self.bytes.len() {
                furthest = (at, states.clone());
            }
            if at == self.bytes.len() {
                let each = self.sources.iter().zip(&states).map(|(source, state)| source.rest_dropped(state));
                if let Some(dropped) = each.collect::<Option<Vec<_>>>() {
                    return Ok(dropped);
                }
                continue;
            }
            let key: (usize, Vec<_>) = (at, states.iter().map(|state| (state.place, state.open)).collect());
            if !seen.insert(key) {
                continue;
            }
            if let Some(after) = self.own(at) {
                stack.push((after, states.clone()));
            }
            let mut moves = Vec::new();
            for (index, source) in self.sources.iter().enumerate() {
                let waits = |before: usize| {
                    self.sources[before].rest_dropped(&states[before]).is_none() && !source.tail
                };
                if !source.after.is_some_and(waits) {
                    let next = self.next(source, &states[index], at).into_iter();
                    moves.extend(next.map(|(state, after)| (index, state, after)));
                }
            }
            // Last is tried first: what lacks least, and what is known.
            moves.reverse();
            moves.sort_by_key(|(_, state, _)| state.place.is_some());
            for (index, state, after) in moves {
                let mut states = states.clone();
                states[index] = state;
                stack.push((after, states));
            }
        }
        Err(self.tell(furthest.0, &furthest.1))
    }

    /// A line of tinysup's own.
    fn own(&self, at: usize) -> Option<usize> {
        let line = self.line(at)?;
        let ours = match self.own? {
            Form::Json => serde_json::from_slice::<Map<String, Value>>(line)
                .is_ok_and(|object| object.get("service").is_some_and(|name| name == "tinysup")),
            _ => self.head(line, "tinysup").is_some(),
        };
        ours.then_some(at + line.len() + 1)
    }

    fn line(&self, at: usize) -> Option<&'a [u8]> {
        let rest = &self.bytes[at..];
        memchr::memchr(b'\n', rest).map(|end| &rest[..end])
    }

    /// The time of a line with a prefix, if it has one, and what follows the name.
    fn head<'l>(&self, line: &'l [u8], name: &str) -> Option<(Option<&'l [u8]>, &'l [u8])> {
        let (time, rest) = match self.timestamps {
            true => {
                let (time, rest) = line.split_at_checked(24)?;
                (Some(time), rest.strip_prefix(b" ")?)
            }
            false => (None, line),
        };
        if !self.colored {
            return Some((time, rest.strip_prefix(name.as_bytes())?.strip_prefix(b" | ")?));
        }
        let rest = rest.strip_prefix(b"\x1b[")?;
        let rest = &rest[memchr::memchr(b'm', rest)? + 1..];
        let rest = rest.strip_prefix(name.as_bytes())?.strip_prefix(b"\x1b[0m")?;
        let blanks = rest.iter().take_while(|byte| **byte == b' ').count().checked_sub(1)?;
        let names = self.sources.iter().map(|source| source.tape.name.len());
        // The longest of the names that there are, which may be one that never spoke.
        if name.len() + blanks < names.max().unwrap_or(0).max(name.len()) {
            return None;
        }
        Some((time, rest[blanks..].strip_prefix(b" | ")?))
    }

    /// Where a source and the place may be after the next of that source.
    fn next(&self, source: &Source<'a>, state: &State, at: usize) -> Vec<(State, usize)> {
        match source.form {
            Form::Raw => self.next_raw(source, state, at),
            Form::Prefix | Form::Kept => self.next_line(source, state, at),
            Form::Json => self.next_object(source, state, at),
        }
    }

    fn next_line(&self, source: &Source<'a>, state: &State, at: usize) -> Vec<(State, usize)> {
        let Some(line) = self.line(at) else { return Vec::new() };
        let after = at + line.len() + 1;
        let (time, text) = match source.form {
            Form::Kept => (None, line),
            _ => match self.head(line, &source.tape.name) {
                Some(found) => found,
                None => return Vec::new(),
            },
        };
        if state.place.is_none() && text.len() < TELLING {
            return vec![(state.clone(), after)];
        }
        let lossy = source.form == Form::Kept;
        let text_of = String::from_utf8_lossy(text);
        let mut found = Vec::new();
        for begin in source.begins(state) {
            let from = begin.place.expect("a place");
            if from == source.bytes().len() || time.is_some_and(|time| !is_time_of(time, source.tape, from)) {
                continue;
            }
            let mut said = source.says(&begin, &text_of, text, None, lossy);
            if said.is_empty() {
                said.extend(
                    source.last_part(&begin, text).or_else(|| source.later_piece(state, &begin, text, false)),
                );
            }
            let enough = !said.is_empty() && text.len() >= TELLING;
            found.extend(said.into_iter().map(|state| (state, after)));
            if enough {
                break;
            }
        }
        found
    }

    fn next_object(&self, source: &Source<'a>, state: &State, at: usize) -> Vec<(State, usize)> {
        let Some(line) = self.line(at) else { return Vec::new() };
        let after = at + line.len() + 1;
        if !is_valid(line) {
            return Vec::new();
        }
        // Numbers of a line that is taken in may be larger than this knows.
        let object = serde_json::from_slice::<Map<String, Value>>(line).unwrap_or_default();
        let tape = source.tape;
        let is = |name: &str, value: Value| {
            object.get(name) == Some(&value) || object.get(&format!("tinysup_{name}")) == Some(&value)
        };
        let mut found = Vec::new();
        for begin in source.begins(state) {
            let from = begin.place.expect("a place");
            if from == tape.bytes.len() && !begin.open {
                continue;
            }
            let line_end = source.line_end(from);
            let text = &tape.bytes[from..line_end];
            let whole = !source.is_begun(from);
            if whole && is_object(text) && taken_in(line, text, tape, from) {
                let at = Some(source.after_line(from));
                found.push((State { place: at, open: false, dropped: begin.dropped }, after));
                break;
            }
            let ours = is("service", tape.service.as_str().into())
                && is("instance", tape.instance.into())
                && is("stream", STREAMS[tape.stream].into());
            if !ours || object.contains_key("level") {
                continue;
            }
            let (Some(Value::String(message)), Some(Value::String(time))) =
                (object.get("message"), object.get("time"))
            else {
                continue;
            };
            let known = ["time", "service", "instance", "stream", "pid", "partial", "message"];
            let pid_is_right = match object.get("pid") {
                None => tape.may_lack_pid(line_end),
                Some(pid) => *pid == tape.pid,
            };
            if !pid_is_right
                || !object.keys().all(|key| known.contains(&&**key))
                || !object.get("partial").is_none_or(|partial| *partial == true)
                || !is_time_of(time.as_bytes(), tape, from.min(tape.bytes.len().saturating_sub(1)))
            {
                continue;
            }
            let partial = object.contains_key("partial");
            // An object that is whole is never a message.
            let mut said = source.says(&begin, message, message.as_bytes(), Some(partial), true);
            if said.is_empty() {
                said.extend(source.later_piece(state, &begin, message.as_bytes(), partial));
            }
            let said = said.into_iter().filter(|_| partial || !(whole && is_object(text)));
            let before = found.len();
            found.extend(said.map(|state| (state, after)));
            if found.len() > before && message.len() >= TELLING {
                break;
            }
        }
        found
    }

    fn next_raw(&self, source: &Source<'a>, state: &State, at: usize) -> Vec<(State, usize)> {
        let (written, there) = (source.bytes(), &self.bytes[at..]);
        if state.place.is_none()
            && let Some(line) = self.line(at)
            && line.len() < TELLING
        {
            return vec![(state.clone(), at + line.len() + 1)];
        }
        let mut found = Vec::new();
        for begin in source.begins(state) {
            let from = begin.place.expect("a place");
            if from == written.len() && !begin.open {
                continue;
            }
            let line_end = source.line_end(from);
            let alike =
                written[from..line_end].iter().zip(there).take_while(|(one, other)| one == other).count();
            let to = |at, open, dropped| State { place: Some(at), open, dropped };
            let before = found.len();
            if alike == line_end - from && there.get(alike) == Some(&b'\n') {
                let next = (line_end + 1).min(written.len());
                found.push((to(next, false, begin.dropped), at + alike + 1));
            }
            for cut in source.ends(from).filter(|cut| cut - from <= alike) {
                found.push((to(cut, true, begin.dropped), at + cut - from));
            }
            if alike >= LINE_MAX && found.len() == before {
                for less in (0..ALIKE_MAX).rev().filter(|less| alike - less >= LINE_MAX) {
                    found.push((to(from + alike - less, true, begin.dropped), at + alike - less));
                }
            }
            if source.drops && begin.open && there.first() == Some(&b'\n') && line_end > from {
                let dropped = begin.dropped.and(source.skipped(from));
                found.push((to((line_end + 1).min(written.len()), false, dropped), at + 1));
            }
            if found.len() == before
                && let Some(line) = self.line(at)
            {
                let later = source.later_piece(state, &begin, line, false);
                found.extend(later.map(|state| (state, at + line.len() + 1)));
            }
            if found.len() > before && alike >= TELLING {
                break;
            }
        }
        found
    }

    fn tell(&self, at: usize, states: &[State]) -> String {
        let show = |bytes: &[u8]| {
            let more = if bytes.len() > 200 { format!("… ({} bytes)", bytes.len()) } else { String::new() };
            format!("{}{more}", bytes[..bytes.len().min(200)].escape_ascii())
        };
        let mut text = format!(
            "{}: at byte {at} of {}\nbefore: {}\nthere:  {}\n",
            self.what,
            self.bytes.len(),
            show(&self.bytes[at.saturating_sub(150)..at]),
            show(&self.bytes[at..]),
        );
        for (source, state) in self.sources.iter().zip(states) {
            let tape = source.tape;
            let Some(at) = state.place else {
                let _ = writeln!(text, "{} {} run {}: not begun", tape.name, STREAMS[tape.stream], tape.run);
                continue;
            };
            if !source.is_over(state) {
                let _ = writeln!(
                    text,
                    "{} {} run {} ({:?}{}) at {at} of {}, silences {:?}: {}",
                    tape.name,
                    STREAMS[tape.stream],
                    tape.run,
                    source.form,
                    if state.open { ", in a line" } else { "" },
                    tape.bytes.len(),
                    source.ends(at).collect::<Vec<_>>(),
                    show(&tape.bytes[at..]),
                );
            }
        }
        text
    }
}

/// Whether a time is that at which this byte may have been read: not before it was written, and not after it must have been.
fn is_time_of(time: &[u8], tape: &Tape, at: usize) -> bool {
    let Some(millis) = std::str::from_utf8(time).ok().and_then(millis_of) else { return false };
    let Some(write) = tape.write_of(at) else { return false };
    let early = millis < write.begun.millis.saturating_sub(2);
    let late = tape.read.iter().any(|(to, when)| *to > at && millis > when.millis + 2);
    !early && !late
}

/// `2026-11-29T15:00:00.123Z` in milliseconds since 1970.
fn millis_of(time: &str) -> Option<u64> {
    let shape = |(byte, like): (u8, u8)| if like == b'0' { byte.is_ascii_digit() } else { byte == like };
    if time.len() != 24 || !time.bytes().zip(*b"0000-00-00T00:00:00.000Z").all(shape) {
        return None;
    }
    let number = |from: usize, to: usize| time[from..to].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let leap = |year: u64| year.is_multiple_of(if year.is_multiple_of(100) { 400 } else { 4 });
    let mut days: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += lengths.iter().take(usize::try_from(month).ok()? - 1).sum::<u64>() + day - 1;
    let seconds = days * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(seconds * 1000 + number(20, 23)?)
}

/// The names of an object's members.
struct Names(Vec<String>);

impl<'de> Visitor<'de> for Names {
    type Value = Vec<String>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Vec<String>, A::Error> {
        while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            self.0.push(name);
        }
        Ok(self.0)
    }
}

fn names(text: &[u8]) -> Option<Vec<String>> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let names = reader.deserialize_map(Names(Vec::new())).ok()?;
    reader.end().ok().map(|()| names)
}

/// Whether it is an object as JSON has it.
fn is_valid(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok() && names(text).is_some()
}

/// Whether a line is one object that is taken in.
fn is_object(text: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(text) else { return false };
    if !line.trim_start().starts_with('{') || names(text).is_none() {
        return false;
    }
    let (mut depth, mut deepest, mut in_text, mut bytes) = (0_usize, 0, false, text.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_text => drop(bytes.next()),
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth -= 1,
            _ => {}
        }
    }
    // Pairs of surrogates come together; of those the generator makes each half is written so.
    let lower = line.to_ascii_lowercase();
    let halves = |begin: &str| lower.matches(begin).count();
    deepest <= DEPTH_MAX && halves("\\ud83d") == halves("\\ude00") && halves("\\ud800") == 0
}

/// Whether a line is what becomes of an object.
fn taken_in(line: &[u8], object: &[u8], tape: &Tape, from: usize) -> bool {
    let (Ok(line), Some(names), Ok(object)) =
        (std::str::from_utf8(line), names(object), std::str::from_utf8(object))
    else {
        return false;
    };
    let inner = object.trim_matches([' ', '\t', '\r', '\n']);
    let inner = inner[1..inner.len() - 1].trim_matches([' ', '\t', '\r', '\n']);
    let begin = ["{\"time\":\"", "{\"tinysup_time\":\""].iter().find_map(|begin| line.strip_prefix(begin));
    let time = begin.and_then(|rest| rest.get(..24));
    if time.is_some_and(|time| !is_time_of(time.as_bytes(), tape, from)) {
        return false;
    }
    let with = |pid: Option<i32>| {
        let ours = [
            ("time", time.map(|time| format!("\"{time}\""))),
            ("service", Some(format!("\"{}\"", tape.service))),
            ("instance", Some(tape.instance.to_string())),
            ("stream", Some(format!("\"{}\"", STREAMS[tape.stream]))),
            ("pid", pid.map(|pid| pid.to_string())),
        ];
        let mut members = Vec::new();
        for (name, value) in ours {
            let other = format!("tinysup_{name}");
            let has = |name: &str| names.iter().any(|own| own == name);
            let name = match (has(name), has(&other)) {
                (false, _) => name.to_owned(),
                (true, false) => other,
                (true, true) => continue,
            };
            let Some(value) = value else { continue };
            members.push(format!("\"{name}\":{value}"));
        }
        if !inner.is_empty() {
            members.push(inner.to_owned());
        }
        format!("{{{}}}", members.join(","))
    };
    line == with(Some(tape.pid)) || tape.may_lack_pid(from + object.len()) && line == with(None)
}

/// All that arrives at one of the container's streams.
pub fn to_container(tapes: &[Tape], streams: &[usize]) -> Vec<(usize, Form)> {
    let form = |tape: &Tape| match &tape.goes {
        Goes::Container(form) if streams.contains(&tape.stream) => Some(*form),
        Goes::File(_, _, Some((sink, form))) if streams.contains(sink) => Some(*form),
        _ => None,
    };
    tapes.iter().enumerate().filter_map(|(index, tape)| Some((index, form(tape)?))).collect()
}
