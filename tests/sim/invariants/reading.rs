//! What `logs` and `events` give to whoever reads: all that there is, once, in the order in which it came, as far back as he wants to
//! see, and to the last of it; what went before he could read it is counted. By docs/control.md alone.

use std::collections::BTreeSet;

use tinysup::control::{EventLine, LogLine, Request, Stream, Verb};
use tinysup::event::{Client, Output, Sink};

use super::*;

/// So much of each instance is kept, and what is known about a line takes some of it. What was read at once may go at once.
const KEPT_MAX: usize = 64 << 10;
const KEPT_LEAST: usize = 60 << 10;
const LINE_COSTS: usize = 24;
/// So many notices are kept, and so much of their text.
const EVENTS_MAX: usize = 256;
const EVENTS_TEXT_MAX: usize = 32 << 10;

/// All that ever was to be read.
#[derive(Default)]
pub(super) struct Library {
    histories: BTreeMap<InstanceId, History>,
    events: Vec<Happened>,
    readers: BTreeMap<Client, Reader>,
    followers: BTreeMap<Client, Follower>,
    /// What readers were sent in this step, in order; `None`: the end.
    sent: Vec<(Client, Option<Piece>)>,
    /// Which notice each kind belongs to.
    kinds: BTreeMap<String, String>,
}

enum Piece {
    Line(LogLine),
    Event(EventLine),
}

/// All that one instance has said, and what happened to it in between.
#[derive(Default)]
struct History {
    lines: Vec<Said>,
    /// How long all lines before each are together.
    before: Vec<usize>,
    length: usize,
}

struct Said {
    at: Time,
    /// `None`: nobody said it, it happened.
    sink: Option<Sink>,
    text: String,
}

/// A notice.
struct Happened {
    at: Time,
    level: String,
    name: Option<String>,
    text: String,
    /// Which notice it is, by its own name.
    what: String,
}

/// Who reads logs.
#[derive(Debug)]
struct Reader {
    stream: Option<Sink>,
    places: BTreeMap<InstanceId, Place>,
    /// Whose lines he goes on to read, those that come by an update, too; none: nobody's.
    follows: Option<Vec<String>>,
    /// What he is told before anything else of those whose output does not come through tinysup.
    past: BTreeMap<InstanceId, String>,
    /// He was sent something and has not taken it.
    busy: bool,
    /// When the last that he has came.
    latest: Time,
}

/// How far he is with an instance.
#[derive(Debug)]
struct Place {
    /// The next line may be any of these: how much exactly is kept is not promised.
    next: BTreeSet<usize>,
    /// Where he stops.
    until: Option<usize>,
}

/// Who reads events.
#[derive(Debug)]
struct Follower {
    /// The number of the next.
    next: usize,
    /// The last that he wants; none: he follows.
    until: Option<usize>,
    busy: bool,
}

impl History {
    fn add(&mut self, at: Time, sink: Option<Sink>, text: &[u8]) {
        self.before.push(self.length);
        self.length += text.len() + 1;
        self.lines.push(Said { at, sink, text: String::from_utf8_lossy(text).into_owned() });
    }

    /// How long this line and all after it are.
    fn from(&self, at: usize) -> usize {
        self.before.get(at).map_or(0, |before| self.length - before)
    }

    fn is_surely_kept(&self, at: usize) -> bool {
        self.from(at) + (self.lines.len() - at) * LINE_COSTS <= KEPT_LEAST
    }

    fn may_be_kept(&self, at: usize) -> bool {
        self.from(at + 1) <= KEPT_MAX
    }

    /// The numbers of those of a stream, the marks only where all is wanted.
    fn wanted(&self, from: usize, to: usize, stream: Option<Sink>) -> impl DoubleEndedIterator<Item = usize> {
        let is = move |at: &usize| stream.is_none() || self.lines[*at].sink == stream;
        (from..to.min(self.lines.len())).filter(is)
    }
}

impl Said {
    fn is(&self, line: &LogLine, now: Time) -> bool {
        let sink = line.stream.map(sink);
        let text = match self.sink {
            // Of a line that is longer than all that is kept only its end is left.
            Some(_) if self.text.len() > KEPT_LEAST => self.text.ends_with(&line.text),
            Some(_) => self.text == line.text,
            // Whose it is need not be said again.
            None => !line.text.is_empty() && self.text.ends_with(&line.text),
        };
        text && self.sink == sink && line.ago_ms == millis(now.since(self.at))
    }
}

fn sink(stream: Stream) -> Sink {
    if stream == Stream::Stdout { Sink::Stdout } else { Sink::Stderr }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

impl Judge {
    /// Somebody begins to read, if he is not refused.
    pub(super) fn begins_to_read(&mut self, client: Client, request: &Request, ids: &[InstanceId]) {
        let now = self.now();
        let library = &mut self.library;
        if request.verb == Verb::Events {
            let newest = library.events.len();
            let first = request.lines.map_or(0, |lines| newest.saturating_sub(lines as usize));
            let until = (!request.follow).then_some(newest);
            library.followers.insert(client, Follower { next: first + 1, until, busy: false });
            return;
        }
        let stream = request.stream.map(sink);
        let since = request.since_ms.map(|ms| Time(now.0.saturating_sub(ms * 1_000_000)));
        let places = ids.iter().map(|id| {
            let history = library.histories.entry(*id).or_default();
            let end = history.lines.len();
            let old = |line: &Said| since.is_some_and(|since| line.at < since);
            let mut begin = history.lines.partition_point(old);
            if let Some(lines) = request.lines {
                let newest = history.wanted(begin, end, stream).rev().take(lines as usize);
                begin = if lines == 0 { end } else { newest.last().unwrap_or(begin) };
            }
            let unsure = |at: &usize| history.may_be_kept(*at) && !history.is_surely_kept(*at);
            let mut next: BTreeSet<usize> = (begin..end).filter(unsure).collect();
            let sure = (begin..end).find(|at| history.is_surely_kept(*at));
            next.insert(sure.unwrap_or(end));
            (*id, Place { next, until: (!request.follow).then_some(end) })
        });
        let places = places.collect();
        let follows = request.follow.then(|| request.names.clone());
        let past = |id: &InstanceId| Some((*id, not_kept(&self.plan.instances[id.0 as usize], stream)?));
        let past = ids.iter().filter_map(past).collect();
        library
            .readers
            .insert(client, Reader { stream, places, follows, past, busy: false, latest: Time::ZERO });
    }

    /// An update has added it: who follows its service, or all, reads it from now on.
    pub(super) fn is_followed(&mut self, id: InstanceId) {
        let instance = &self.plan.instances[id.0 as usize];
        let end = self.library.histories.get(&id).map_or(0, |history| history.lines.len());
        for reader in self.library.readers.values_mut() {
            let is = |name: &String| *name == *instance.service || *name == *instance.name || name == "all";
            let follows =
                reader.follows.as_ref().is_some_and(|names| names.is_empty() || names.iter().any(is));
            if follows {
                reader.places.entry(id).or_insert(Place { next: BTreeSet::from([end]), until: None });
            }
        }
    }

    /// What an instance said last, that says something; in each way that is right, where it may be forgotten.
    pub(super) fn last_lines(&self, id: InstanceId) -> Vec<Option<String>> {
        let Some(history) = self.library.histories.get(&id) else { return vec![None] };
        let mut ways = Vec::new();
        for (at, said) in history.lines.iter().enumerate().rev() {
            if !history.may_be_kept(at) {
                break;
            }
            if said.sink.is_none() || said.text.trim().is_empty() {
                continue;
            }
            ways.push(Some(said.text.clone()));
            if history.is_surely_kept(at) {
                return ways;
            }
        }
        ways.push(None);
        ways
    }

    /// He has taken what he was sent.
    pub(super) fn has_taken(&mut self, client: Client) {
        if let Some(reader) = self.library.readers.get_mut(&client) {
            reader.busy = false;
        }
        if let Some(follower) = self.library.followers.get_mut(&client) {
            follower.busy = false;
        }
    }

    /// Lines, or pieces of one, have come.
    pub(super) fn keeps(&mut self) {
        let now = self.now();
        for (id, sink, text) in self.outputs.said.drain(..) {
            self.library.histories.entry(id).or_default().add(now, Some(sink), &text);
        }
    }

    /// Whatever is told is an event, and some of it stands in the log of its service.
    pub(super) fn is_event(&mut self, notice: &Notice) {
        let (now, text) = (self.now(), notice.to_string());
        let whole = format!("{notice:?}");
        let what = whole.split([' ', '(']).next().unwrap_or_default().to_owned();
        let name = whole.strip_prefix(&what).and_then(|rest| rest.strip_prefix(" { name: "));
        let name = name.map(|rest| rest.strip_prefix("Some(").unwrap_or(rest));
        let name =
            name.and_then(|rest| rest.strip_prefix('"')?.split_once('"')).map(|(name, _)| name.to_owned());
        if let (
            Notice::Ended { .. } | Notice::DependencyFailed { .. } | Notice::OomKilled { .. },
            Some(name),
        ) = (notice, &name)
        {
            let id = self.ever(name);
            let line = text.lines().next().unwrap_or_default();
            self.library.histories.entry(id).or_default().add(now, None, line.as_bytes());
        }
        let level = format!("{:?}", notice.level()).to_lowercase();
        self.library.events.push(Happened { at: now, level, name, text, what });
    }

    pub(super) fn is_sent_line(&mut self, client: Client, line: &LogLine) {
        self.library.sent.push((client, Some(Piece::Line(line.clone()))));
    }

    pub(super) fn is_sent_event(&mut self, client: Client, line: &EventLine) {
        self.library.sent.push((client, Some(Piece::Event(line.clone()))));
    }

    pub(super) fn is_sent_end(&mut self, client: Client) {
        self.library.sent.push((client, None));
    }

    pub(super) fn reads_no_more(&mut self, client: Client) {
        self.library.readers.remove(&client);
        self.library.followers.remove(&client);
    }

    /// What readers were sent in this step is what was there for them, and all of it.
    pub(super) fn check_readers(&mut self, world: &mut World) {
        for (client, piece) in std::mem::take(&mut self.library.sent) {
            match piece {
                Some(Piece::Line(line)) => self.reads_line(world, client, &line),
                Some(Piece::Event(line)) => self.reads_event(world, client, &line),
                None => self.has_read_all(world, client),
            }
        }
        for (client, reader) in &self.library.readers {
            if !reader.past.is_empty() {
                violation!("{client:?} is not told that {:?}", reader.past);
            }
        }
        for (client, reader) in self.library.readers.iter().filter(|(_, reader)| !reader.busy) {
            if let Some((id, place)) = self.library.unread(reader, false) {
                violation!("{client:?} is not given the lines of {id:?} from {place:?} on");
            }
            if reader.follows.is_none() {
                violation!("{client:?} has all that he wanted, and is not told so");
            }
        }
        let newest = self.library.events.len();
        for (client, follower) in self.library.followers.iter().filter(|(_, follower)| !follower.busy) {
            if follower.next <= newest || follower.until.is_some() {
                violation!("{client:?} is not given all there is: {follower:?} of {newest}");
            }
        }
    }

    fn reads_line(&mut self, world: &mut World, client: Client, line: &LogLine) {
        let (id, now, ends) = (self.ever(&line.name), self.now(), self.step.is_end);
        if *self.plan.instances[id.0 as usize].name != *line.name {
            violation!("{client:?} is told of {}, which has another name", line.name);
        }
        let Some(reader) = self.library.readers.get_mut(&client) else {
            violation!("{client:?} does not read, and is told {line:?}");
        };
        reader.busy = true;
        if let Some(past) = reader.past.remove(&id) {
            let told = (line.stream, line.ago_ms, line.dropped, &line.text);
            if told != (None, 0, 0, &past) {
                violation!("{client:?} is to be told first that {past:?}, and is told {line:?}");
            }
            return world.count("log that is not kept");
        }
        let (stream, latest) = (reader.stream, reader.latest);
        let Some(place) = reader.places.get_mut(&id) else {
            violation!("{client:?} does not read {}, and is told {line:?}", line.name);
        };
        let history = self.library.histories.entry(id).or_default();
        // It only says how many were lost.
        let bare = line.stream.is_none() && line.text.is_empty();
        let mut times = Vec::new();
        let step = |from: &usize| {
            let mut wanted = history.wanted(*from, place.until.unwrap_or(usize::MAX), stream);
            let mut at = *from;
            for _ in 0..line.dropped {
                at = wanted.next().filter(|at| ends || !history.is_surely_kept(*at))? + 1;
            }
            if bare {
                return Some(at);
            }
            let at = wanted.next()?;
            let said = &history.lines[at];
            let right = said.is(line, now) && said.at >= latest;
            times.extend(right.then_some(said.at));
            right.then_some(at + 1)
        };
        let next: BTreeSet<usize> = place.next.iter().filter_map(step).collect();
        if next.is_empty() || bare && line.dropped == 0 {
            let expected =
                place.next.iter().flat_map(|from| history.wanted(*from, usize::MAX, stream).take(2));
            let expected: Vec<_> = expected
                .map(|at| {
                    let Said { at: time, sink, text } = &history.lines[at];
                    (at, *time, *sink, text.chars().take(60).collect::<String>())
                })
                .collect();
            violation!(
                "{client:?} is told {line:?}, latest {latest:?}; expected is {expected:?} of {} {:?}",
                history.lines.len(),
                place.until
            );
        }
        place.next = next;
        reader.latest = times.into_iter().min().unwrap_or(latest);
        if line.dropped > 0 {
            world.count(if ends {
                "lines that a reader misses at the end"
            } else {
                "lines that a reader was too slow for"
            });
        }
        world.count(match (line.stream, reader.follows.is_some()) {
            (None, _) if bare => "lines that went unread at last",
            (None, _) => "end in a log",
            (Some(_), true) => "line that is followed",
            (Some(_), false) => "line that is read",
        });
    }

    fn reads_event(&mut self, world: &mut World, client: Client, line: &EventLine) {
        let Library { events, followers, kinds, .. } = &mut self.library;
        let Some(follower) = followers.get_mut(&client) else {
            violation!("{client:?} reads no events, and is told {line:?}");
        };
        follower.busy = true;
        let number = usize::try_from(line.seq).unwrap();
        let Some(event) = number.checked_sub(1).and_then(|at| events.get(at)) else {
            violation!("{client:?} is told {line:?}, and only {} have happened", events.len());
        };
        let ago = millis(self.step.now.unwrap().since(event.at));
        let right = (&event.name, &event.text, &event.level, ago);
        if right != (&line.name, &line.text, &line.level, line.ago_ms) || line.kind.is_empty() {
            violation!("{client:?} is told {line:?}; it is {right:?}");
        }
        let what = kinds.entry(line.kind.clone()).or_insert_with(|| event.what.clone());
        if *what != event.what {
            violation!("{} is a kind of {what}, and of {}", line.kind, event.what);
        }
        // What was left out is gone.
        if number != follower.next {
            let last = number - 1;
            let text: usize = events[last.saturating_sub(1)..].iter().map(|event| event.text.len()).sum();
            let gone = events.len() - last >= EVENTS_MAX || text > EVENTS_TEXT_MAX;
            if number < follower.next || !gone {
                violation!("{client:?} is told event {number}, and expects {}", follower.next);
            }
            world.count("events that are gone before somebody reads them");
        }
        follower.next = number + 1;
        world.count(if follower.until.is_some() { "event that is read" } else { "event that is followed" });
    }

    /// He is told that this was the last.
    fn has_read_all(&mut self, world: &mut World, client: Client) {
        let ends = self.step.is_end;
        if let Some(reader) = self.library.readers.remove(&client) {
            if let Some((id, place)) = self.library.unread(&reader, true) {
                violation!("{client:?} is told that this is all, but nothing of {id:?} from {place:?} on");
            }
            if reader.follows.is_some() != ends && reader.follows.is_some() {
                violation!("{client:?} follows, and is told that this is all");
            }
            world.count(if ends {
                "log that is read to the end of the container"
            } else {
                "log that is read"
            });
        } else if let Some(follower) = self.library.followers.remove(&client) {
            let last = follower.until.filter(|_| !ends).unwrap_or(self.library.events.len());
            if follower.next <= last || follower.until.is_none() && !ends {
                violation!("{client:?} is told that this is all, at {follower:?} of {last}");
            }
            world.count(if ends { "events to the end of the container" } else { "events that are read" });
        } else {
            violation!("{client:?} reads nothing, and is told that this is all");
        }
    }
}

/// What is said to who reads of output that does not come through tinysup.
fn not_kept(instance: &Instance, stream: Option<Sink>) -> Option<String> {
    let launch = &instance.launch;
    let word = |key, output: &Output| match output {
        Output::Inherit => Some(format!("{key} = \"inherit\"")),
        Output::Null => Some(format!("{key} = \"null\"")),
        _ => None,
    };
    let stdout = word("stdout", &launch.stdout).filter(|_| stream != Some(Sink::Stderr));
    let stderr = word("stderr", &launch.stderr).filter(|_| stream != Some(Sink::Stdout));
    let both = stdout.into_iter().chain(stderr).collect::<Vec<_>>().join(", ");
    (!both.is_empty()).then(|| format!("not kept here: {both}"))
}

impl Library {
    pub(super) fn oldest_follower(&self) -> Option<Client> {
        let readers = self.readers.iter().filter(|(_, reader)| reader.follows.is_some()).map(|(who, _)| who);
        let followers = self.followers.iter().filter(|(_, one)| one.until.is_none()).map(|(who, _)| who);
        readers.chain(followers).min().copied()
    }

    pub(super) fn count_readers(&self) -> usize {
        self.readers.len() + self.followers.len()
    }

    /// Of whom there is more to read, and from where. At the end what is gone must have been counted; before it that is said with what
    /// comes next.
    fn unread<'a>(&self, reader: &'a Reader, ends: bool) -> Option<(InstanceId, &'a Place)> {
        let has = |(id, place): &(&InstanceId, &Place)| {
            let Some(history) = self.histories.get(id) else { return false };
            let last = history.wanted(0, place.until.unwrap_or(usize::MAX), reader.stream).next_back();
            let last = last.filter(|last| ends || history.is_surely_kept(*last));
            last.is_some_and(|last| place.next.iter().all(|next| *next <= last))
        };
        reader.places.iter().find(has).map(|(id, place)| (*id, place))
    }
}
