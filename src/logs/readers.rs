//! Who reads what is kept: each at his own speed, in the order of time, from where he began to where he wants to stop. Nothing is
//! read twice; what goes before he has read it is counted.

use std::cmp::Reverse;

use super::kept::{Kept, Position};
use super::{Logs, Origin};
use crate::event::{Client, InstanceId, Sink, Time};
use crate::gather::Gather;
use crate::sorted::{Map, Set};

/// About so much text is read at once,
const TURN_MAX_BYTES: usize = 32 << 10;
/// in at most so many lines.
const TURN_MAX_LINES: usize = 256;

/// What somebody wants to read.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Of whom.
    pub instances: Vec<InstanceId>,
    /// The services and instances that were named; none: he wants all.
    pub names: Vec<String>,
    /// One stream only, without the marks.
    pub stream: Option<Sink>,
    /// Nothing older.
    pub since: Option<Time>,
    /// Of each at most so many lines that are there already.
    pub lines: Option<u32>,
    /// What comes, too.
    pub follow: bool,
}

/// A line that was kept, or what happened between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Of whom.
    pub instance: InstanceId,
    /// From where.
    pub origin: Origin,
    /// When it came.
    pub at: Time,
    /// Without its end.
    pub text: Vec<u8>,
    /// So many before this one went unread.
    pub lost: u64,
}

#[derive(Debug)]
pub struct Reader {
    stream: Option<Sink>,
    places: Map<InstanceId, Place>,
    /// Of whom he reads what comes, those who are not there yet, too. None: only what was there when he began.
    follows: Option<Vec<String>>,
    /// Whether there may be something to read.
    fresh: bool,
}

/// How far somebody has read the output of one instance.
#[derive(Debug)]
struct Place {
    at: Position,
    /// Where he stops; none: never.
    until: Option<Position>,
    lost: u64,
}

impl Logs {
    /// Somebody begins to read.
    #[inline(never)]
    pub fn open(&mut self, client: Client, wish: &Wish) {
        if let Some(late) = self.late.take() {
            self.copy_late(late);
        }
        let places = wish.instances.iter().map(|instance| {
            let kept = self.kept.get(instance);
            let end = kept.map_or(0, Kept::end);
            let at = kept.map_or(0, |kept| begin(kept, wish));
            (*instance, Place { at, until: (!wish.follow).then_some(end), lost: 0 })
        });
        let follows = wish.follow.then(|| wish.names.clone());
        let reader = Reader { stream: wish.stream, places: places.collect(), follows, fresh: true };
        self.readers.insert(client, reader);
    }

    /// An update has added an instance: whoever follows all or its service reads it from now on.
    pub fn joins(&mut self, instance: InstanceId, service: &str, name: &str) {
        let at = self.kept.get(&instance).map_or(0, Kept::end);
        for reader in self.readers.values_mut() {
            let follows = reader.follows.as_ref().is_some_and(|names| {
                let is = |named: &String| named == service || named == name || named == "all";
                names.is_empty() || names.iter().any(is)
            });
            if follows && !reader.places.contains_key(&instance) {
                reader.places.insert(instance, Place { at, until: None, lost: 0 });
            }
        }
    }

    /// Nobody reads there any more.
    pub fn close(&mut self, client: Client) {
        self.readers.remove(&client);
    }

    /// The next lines, and whether there may be more at once.
    #[inline(never)]
    pub fn read(&mut self, client: Client) -> (Vec<Line>, bool) {
        let mut lines = Vec::new();
        let Some(reader) = self.readers.get_mut(&client).filter(|reader| reader.fresh) else {
            return (lines, false);
        };
        let next = |id: &InstanceId, place: &Place| {
            let kept = self.kept.get(id)?;
            let (chunk, to) =
                kept.chunk(place.at).filter(|_| place.until.is_none_or(|until| place.at < until))?;
            Some(Reverse((chunk.at, *id, to)))
        };
        // The earliest is the last.
        let mut ahead: Set<_> = reader.places.iter().filter_map(|(id, place)| next(id, place)).collect();
        let mut room = TURN_MAX_BYTES;
        while room > 0 && lines.len() < TURN_MAX_LINES {
            let Some(Reverse((at, id, to))) = ahead.pop_last() else { break };
            let (Some(place), Some(kept)) = (reader.places.get_mut(&id), self.kept.get(&id)) else {
                continue;
            };
            let Some((chunk, _)) = kept.chunk(place.at) else { continue };
            if reader.stream.is_none_or(|stream| chunk.origin == Origin::Output(stream)) {
                while place.at < to && room > 0 && lines.len() < TURN_MAX_LINES {
                    let newline = kept.find(place.at, to);
                    let text = kept.copy(place.at, newline.unwrap_or(to));
                    place.at = newline.map_or(to, |newline| newline + 1);
                    room = room.saturating_sub(text.len().max(1));
                    let lost = std::mem::take(&mut place.lost);
                    lines.push(Line { instance: id, origin: chunk.origin, at, text, lost });
                }
            } else {
                place.at = to;
            }
            ahead.extend(next(&id, place));
        }
        reader.fresh = !ahead.is_empty();
        (lines, reader.fresh)
    }

    /// What there is to read where nobody will come for more: the last turns of it. What is before those goes unread, and is counted.
    #[inline(never)]
    pub fn read_last(&mut self, client: Client) -> Vec<Line> {
        let mut missed: Map<InstanceId, u64> = Map::new();
        let (mut lines, mut more) = self.read(client);
        while more {
            let (mut next, another) = self.read(client);
            if another {
                for line in lines.drain(..) {
                    *missed.get_or_default(line.instance) += line.lost + 1;
                }
            }
            lines.append(&mut next);
            more = another;
        }
        for line in &mut lines {
            line.lost += missed.remove(&line.instance).unwrap_or_default();
        }
        for (id, count) in missed {
            if let Some(place) = self.readers.get_mut(&client).and_then(|reader| reader.places.get_mut(&id)) {
                place.lost += count;
            }
        }
        lines
    }

    /// How many lines of whom went before they could be read, where nothing that came after was there to tell it.
    pub fn unread(&mut self, client: Client) -> Vec<(InstanceId, u64)> {
        let places = self.readers.get_mut(&client).into_iter().flat_map(|reader| reader.places.iter_mut());
        places
            .map(|(id, place)| (*id, std::mem::take(&mut place.lost)))
            .filter(|(_, lost)| *lost > 0)
            .gather()
    }
}

impl Reader {
    /// All before `to` of an instance goes.
    pub fn goes(&mut self, instance: InstanceId, kept: &Kept, to: Position) {
        if let Some(place) = self.places.get_mut(&instance) {
            let to = place.until.map_or(to, |until| until.min(to));
            while let Some((chunk, end)) = kept.chunk(place.at).filter(|_| place.at < to) {
                let end = end.min(to);
                if self.stream.is_none_or(|stream| chunk.origin == Origin::Output(stream)) {
                    place.lost += kept.count(place.at, end);
                }
                place.at = end;
            }
        }
    }

    /// So many bytes and lines of an instance come and go at once.
    pub fn skips(&mut self, instance: InstanceId, origin: Origin, bytes: usize, lines: impl Fn() -> u64) {
        if let Some(place) = self.places.get_mut(&instance)
            && place.until.is_none()
        {
            if self.stream.is_none_or(|stream| origin == Origin::Output(stream)) {
                place.lost += lines();
            }
            place.at += bytes as u64;
        }
    }

    /// Something of an instance has come.
    pub fn comes(&mut self, instance: InstanceId) {
        self.fresh |= self.places.contains_key(&instance);
    }
}

/// Where somebody begins to read.
#[inline(never)]
fn begin(kept: &Kept, wish: &Wish) -> Position {
    let mut at = kept.end();
    let mut left = wish.lines.map_or(u64::MAX, u64::from);
    for (chunk, to) in kept.newest_first() {
        if left == 0 || wish.since.is_some_and(|since| chunk.at < since) {
            break;
        }
        if wish.stream.is_some_and(|stream| chunk.origin != Origin::Output(stream)) {
            continue;
        }
        if wish.lines.is_none() {
            at = chunk.from;
            continue;
        }
        // From its end, line by line; a piece of a long line has none.
        let mut end = to;
        while end > chunk.from && left > 0 {
            end = kept.find_last(chunk.from, end - 1).map_or(chunk.from, |newline| newline + 1);
            left -= 1;
        }
        at = end;
    }
    at
}
