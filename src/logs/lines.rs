//! Lines on their way out: whole ones, or a piece of one, and how they are written in each form.

use super::copy;
use crate::event::{Pid, Sink, Spare, Wall};
use crate::line::json::{Members, Writer};
use crate::line::{self, Format, Style};
use crate::search;

/// Whole lines, or one piece of a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Lines<'a> {
    /// The beginning of the first, which came earlier. Has no line end.
    pub begun: Vec<u8>,
    /// When that came; if there is none, as the others.
    pub begun_at: Wall,
    /// The rest of the first and all others. Ends with a line end, but is empty where this is a piece.
    pub rest: &'a [u8],
    /// When that came.
    pub at: Wall,
    /// A piece of the first has passed before,
    pub continues: bool,
    /// and not all of them were dropped: on the way to a file, and to the container.
    pub written: [bool; 2],
    /// This is a piece, whose rest follows.
    pub partial: bool,
}

/// Where lines go to, where they go to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum Way {
    File,
    Container,
}

impl Way {
    /// What there is for each, the one for this.
    pub fn of<T>(self, [file, container]: &mut [T; 2]) -> &mut T {
        match self {
            Self::File => file,
            Self::Container => container,
        }
    }
}

/// Whose lines they are.
#[derive(Clone, Copy, Debug)]
pub struct Speaker<'a> {
    /// `api.2`, or `db` where there is only one.
    pub name: &'a str,
    /// The service.
    pub service: &'a str,
    /// The number of the instance.
    pub instance: u32,
    /// Which of its streams.
    pub sink: Sink,
    /// The leader of the run, where it is known.
    pub pid: Option<Pid>,
}

impl Lines<'_> {
    /// How many lines these are; a piece is one, and an end alone is none.
    pub fn count(&self) -> u64 {
        if self.partial { 1 } else { search::line_ends(self.told()) as u64 }
    }

    /// Whether nothing is left of them.
    pub fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.rest.is_empty()
    }

    /// Drops all but the first so many. A line whose beginning is written keeps its end, or the next would be taken for its rest.
    pub fn cut(&mut self, count: u64) {
        let Some(last) = count.checked_sub(1) else {
            self.begun.clear();
            let begun = self.continues && self.written.contains(&true);
            self.rest = if begun && !self.partial { b"\n" } else { b"" };
            return;
        };
        let ended = self.rest.len() - self.told().len();
        let ends = usize::try_from(last).ok().and_then(|last| search::all(b'\n', self.told()).nth(last));
        self.rest = ends.and_then(|end| self.rest.get(..=ended + end)).unwrap_or(self.rest);
    }

    /// Whether something of the first line is there already.
    pub fn has_begun(&self, to: Way) -> bool {
        let mut written = self.written;
        self.continues && *to.of(&mut written)
    }

    /// The rest, as far as there is something to say: where the first line had its last byte before, its end was written with that.
    pub fn told(&self) -> &[u8] {
        let ended = self.continues && self.begun.is_empty();
        self.rest.strip_prefix(b"\n").filter(|_| ended).unwrap_or(self.rest)
    }

    /// The lines in a form.
    pub fn written(
        &self,
        format: Format,
        style: Style,
        speaker: Speaker<'_>,
        to: Way,
        spare: &mut Spare,
    ) -> Vec<u8> {
        // A line of which nothing is there has no end there.
        let rest = if self.has_begun(to) { self.rest } else { self.told() };
        match format {
            Format::Prefix => self.prefixed(style, speaker, spare),
            Format::Json => self.json(speaker, rest),
            Format::Raw => [&self.begun, rest].concat(),
        }
    }

    #[inline(never)]
    fn prefixed(&self, style: Style, speaker: Speaker<'_>, spare: &mut Spare) -> Vec<u8> {
        let rest = self.told();
        if self.is_empty() || rest.is_empty() && !self.partial {
            return Vec::new();
        }
        let mut first = Vec::new();
        line::head(&mut first, style, self.begun_at, speaker.name);
        if self.partial {
            first.extend_from_slice(&self.begun);
            first.push(b'\n');
            return first;
        }
        let mut head = Vec::new();
        line::head(&mut head, style, self.at, speaker.name);
        let mut out = spare.filled(copy::room(&self.begun, &head, rest));
        copy::lines(&mut out, [&first, &self.begun], &head, rest);
        out
    }

    #[inline(never)]
    fn json(&self, speaker: Speaker<'_>, rest: &[u8]) -> Vec<u8> {
        if self.begun.is_empty() && rest.is_empty() {
            return Vec::new();
        }
        let members = |at| {
            let members = Members::at(at)
                .text("service", speaker.service)
                .number("instance", speaker.instance.into())
                .text("stream", line::stream(speaker.sink));
            match speaker.pid {
                Some(pid) => members.number("pid", pid.number().into()),
                None => members,
            }
        };
        let mut out = Vec::with_capacity(self.begun.len() + rest.len() * 2);
        let first = members(self.begun_at);
        let writer = Writer::new(&first);
        if self.partial {
            writer.piece(&mut out, &self.begun);
            return out;
        }
        let continues = self.continues && rest.len() == self.rest.len();
        let (end, rest) = rest.split_at(search::first(b'\n', rest).map_or(rest.len(), |end| end + 1));
        let end = end.strip_suffix(b"\n").unwrap_or(end);
        match (continues, self.begun.is_empty()) {
            // The rest of a line is no object, whatever it looks like.
            (true, true) => writer.message(&mut out, end),
            (true, false) => writer.message(&mut out, &[&self.begun, end].concat()),
            (false, true) => writer.line(&mut out, end),
            (false, false) => writer.line(&mut out, &[&self.begun, end].concat()),
        }
        if !rest.is_empty() {
            let others = members(self.at);
            let writer = Writer::new(&others);
            for line in rest.split_inclusive(|byte| *byte == b'\n') {
                writer.line(&mut out, line.strip_suffix(b"\n").unwrap_or(line));
            }
        }
        out
    }
}
