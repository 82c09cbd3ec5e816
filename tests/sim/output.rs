//! Whether what the services wrote comes out as it should: every line once, in order, in its form, at its time, wherever it goes; and
//! what a limit drops is counted. The judge works out line by line what each step has to write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tinysup::event::{Child, Event, InstanceId, Output, Overflow, Pid, Role, Sink, Time, Wall};
use tinysup::line::Format;
use tinysup::plan::{Plan, RateLimit};

use crate::violation;
use crate::world::World;

/// At most so much of a line may be held back, and only a line this long may be cut into pieces,
const LINE_MAX: usize = 64 * 1024;
/// unless nothing more came for so long.
const SILENCE: Duration = Duration::from_secs(1);
/// What was dropped is told so long after the first of it.
const TELL: Duration = Duration::from_secs(1);

/// What is held of a line whose end has not come.
#[derive(Debug)]
struct Held {
    text: Vec<u8>,
    begun: Wall,
    last: Time,
    /// A piece of it has passed,
    passed: bool,
    /// and not all of them were dropped: on the way to a file, and to the container.
    written: [bool; 2],
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Container(Sink),
    File(PathBuf),
}

/// Something that has to be written in this step.
#[derive(Debug)]
struct Due {
    text: Vec<u8>,
    at: Wall,
    /// It is the rest of a line.
    rest: bool,
    /// Its rest follows.
    partial: bool,
    format: Format,
}

#[derive(Debug, Default)]
struct Bucket {
    /// What can be had, as time; none: all of it.
    left: Option<Duration>,
    at: Option<Time>,
    dropped: u64,
    /// By this limit, when one was dropped last.
    by: Option<RateLimit>,
    since: Option<Time>,
}

pub struct Outputs {
    pub plan: Rc<Plan>,
    held: BTreeMap<(Child, Sink), Held>,
    due: BTreeMap<(Place, Child, Sink), VecDeque<Due>>,
    buckets: BTreeMap<InstanceId, Bucket>,
    /// The processes of the latest runs.
    pids: BTreeMap<(InstanceId, bool), (u32, Pid)>,
    /// What the world said of files, and is to be told.
    told: VecDeque<(PathBuf, tinysup::event::FileTrouble)>,
    left: bool,
    /// Where nobody reads, and services wait.
    unheard: BTreeSet<Sink>,
    /// Where nobody reads, and how many lines of whom were dropped there.
    stuck: BTreeMap<Sink, BTreeMap<InstanceId, u64>>,
    /// What was said in this step, in lines and pieces of lines, whether it passes or not.
    pub said: Vec<(InstanceId, Sink, Vec<u8>)>,
    /// What must be told of that in this step.
    unread: BTreeMap<Sink, BTreeMap<InstanceId, u64>>,
}

impl Outputs {
    pub fn new(plan: Rc<Plan>) -> Self {
        Self {
            plan,
            held: BTreeMap::new(),
            due: BTreeMap::new(),
            buckets: BTreeMap::new(),
            pids: BTreeMap::new(),
            told: VecDeque::new(),
            left: false,
            unheard: BTreeSet::new(),
            stuck: BTreeMap::new(),
            said: Vec::new(),
            unread: BTreeMap::new(),
        }
    }

    pub fn event(&mut self, world: &mut World, now: Time, event: &Event) {
        match event {
            // What a test prints is nobody's output.
            Event::Output { child: Child { role: Role::Probe(_), .. }, .. }
            | Event::OutputEnded { child: Child { role: Role::Probe(_), .. }, .. } => {}
            Event::Spawned { child: Child { role: Role::Probe(_), .. }, .. } => {}
            Event::Spawned { child, pid } => {
                self.pids.insert((child.instance, child.role == Role::Main), (child.run, *pid));
            }
            Event::Output { child, sink, at, bytes } => self.came(world, now, (*child, *sink), *at, bytes),
            Event::OutputEnded { child, sink } => self.end(world, now, (*child, *sink)),
            Event::Tick => {
                let silent = |held: &Held| !held.text.is_empty() && now >= held.last + SILENCE;
                let silent = self.held.iter().filter(|(key, held)| self.heard(**key) && silent(held));
                let keys: Vec<_> = silent.map(|(key, _)| *key).collect();
                for key in keys {
                    world.count("line without an end after a silence");
                    self.piece(world, now, key);
                }
            }
            Event::Drained => {
                for key in self.held.keys().copied().collect::<Vec<_>>() {
                    self.end(world, now, key);
                }
                self.left = true;
                self.unread = std::mem::take(&mut self.stuck);
            }
            Event::Stuck { sink } if self.plan.log.overflow == Overflow::Block => {
                world.count("services that are not read");
                self.unheard.insert(*sink);
            }
            Event::Flows { sink } if self.plan.log.overflow == Overflow::Block => {
                self.unheard.remove(sink);
                let fed: Vec<_> =
                    self.held.keys().filter(|key| self.feeds(**key) == Some(*sink)).copied().collect();
                for key in fed {
                    self.held.get_mut(&key).unwrap().last = now;
                }
            }
            Event::Stuck { sink } => _ = self.stuck.entry(*sink).or_default(),
            Event::Flows { sink } => _ = self.unread.insert(*sink, self.stuck.remove(sink).unwrap()),
            Event::File { path, trouble } => self.told.push_back((path.clone(), trouble.clone())),
            _ => {}
        }
    }

    /// Whose reader can hold up a stream.
    fn feeds(&self, (child, sink): (Child, Sink)) -> Option<Sink> {
        let launch = &self.plan.instances[child.instance.0 as usize].launch;
        match if sink == Sink::Stdout { &launch.stdout } else { &launch.stderr } {
            Output::File(file) => file.also.map(|(sink, _)| sink),
            _ => Some(sink),
        }
    }

    /// Whether it is read now.
    fn heard(&self, key: (Child, Sink)) -> bool {
        self.feeds(key).is_none_or(|sink| !self.unheard.contains(&sink))
    }

    fn came(&mut self, world: &mut World, now: Time, key: (Child, Sink), at: Wall, bytes: &[u8]) {
        for byte in bytes {
            let held = self.held.entry(key).or_insert_with(|| Held {
                text: Vec::new(),
                begun: at,
                last: now,
                passed: false,
                written: [false; 2],
            });
            if held.text.is_empty() {
                held.begun = at;
            }
            held.last = now;
            if *byte == b'\n' {
                let held = self.held.remove(&key).unwrap();
                self.owe(world, now, key, &held, false);
            } else {
                held.text.push(*byte);
            }
        }
        if self.held.get(&key).is_some_and(|held| held.text.len() >= LINE_MAX) {
            world.count("line in pieces");
            self.piece(world, now, key);
        }
    }

    fn piece(&mut self, world: &mut World, now: Time, key: (Child, Sink)) {
        let held = self.held.get_mut(&key).unwrap();
        let rest = Held { text: Vec::new(), passed: true, ..*held };
        let piece = std::mem::replace(held, rest);
        let written = self.owe(world, now, key, &piece, true);
        let held = self.held.get_mut(&key).unwrap();
        held.written = [held.written[0] || written[0], held.written[1] || written[1]];
    }

    fn end(&mut self, world: &mut World, now: Time, key: (Child, Sink)) {
        if let Some(held) = self.held.remove(&key) {
            self.owe(world, now, key, &held, false);
        }
    }

    /// A line, or a piece of one, is due wherever it goes, unless a limit does not let it pass. Of a line whose beginning is there the end
    /// is due in any case. Says where something of it is written.
    fn owe(
        &mut self,
        world: &mut World,
        now: Time,
        (child, sink): (Child, Sink),
        held: &Held,
        partial: bool,
    ) -> [bool; 2] {
        let Held { text, begun: at, passed: rest, written, .. } = held;
        let (rest, at, mut text) = (*rest, *at, &text[..]);
        let way = |place: &Place| usize::from(matches!(place, Place::Container(_)));
        let ends = |place: &Place| rest && written[way(place)] && !partial;
        // What says nothing is no more than an end.
        let mut dropped = true;
        let instance = &self.plan.instances[child.instance.0 as usize];
        let launch = &instance.launch;
        // The last end of a line whose last piece has passed already is nothing.
        let says = !rest || partial || !text.is_empty();
        if says {
            self.said.push((child.instance, sink, text.to_vec()));
        }
        if let Some(limit) = instance.log_rate_limit
            && says
            && !self.buckets.entry(child.instance).or_default().takes(now, limit)
        {
            world.count("line beyond the limit");
            text = b"";
        } else if says {
            dropped = false;
        }
        let output = if sink == Sink::Stdout { &launch.stdout } else { &launch.stderr };
        let mut places = Vec::new();
        match output {
            Output::Prefix => places.push((Place::Container(sink), Format::Prefix)),
            Output::Json => places.push((Place::Container(sink), Format::Json)),
            Output::Raw => places.push((Place::Container(sink), Format::Raw)),
            // A run of before an update: as others, which come past us, and are dropped, write now.
            Output::Inherit => {
                world.count("output of before an update");
                places.push((Place::Container(sink), Format::Raw));
            }
            Output::Null => world.count("output of before an update"),
            Output::File(file) => {
                places.push((Place::File(file.path.clone()), file.format));
                places.extend(file.also.map(|(sink, format)| (Place::Container(sink), format)));
            }
            Output::Captured => {
                violation!("output of {child:?} that nobody was to see")
            }
        }
        let mut now_written = [false; 2];
        for (place, format) in places {
            let mut text = text;
            if dropped && !ends(&place) {
                continue;
            }
            if let Place::Container(sink) = &place
                && let Some(unread) = self.stuck.get_mut(sink)
            {
                if !dropped {
                    *unread.entry(child.instance).or_default() += 1;
                }
                if !ends(&place) {
                    continue;
                }
                text = b"";
            }
            now_written[way(&place)] = true;
            // The last end of a line whose pieces have ends of their own.
            if format == Format::Prefix && rest && text.is_empty() && !partial {
                continue;
            }
            let due = Due { text: text.to_vec(), at, rest, partial, format };
            self.due.entry((place, child, sink)).or_default().push_back(due);
        }
        now_written
    }

    pub fn write(&mut self, world: &mut World, sink: Sink, bytes: &[u8]) {
        self.written(world, &Place::Container(sink), bytes);
    }

    pub fn write_file(&mut self, world: &mut World, path: &std::path::Path, bytes: &[u8]) {
        world.count("line for a file");
        self.written(world, &Place::File(path.to_owned()), bytes);
    }

    fn written(&mut self, world: &mut World, place: &Place, bytes: &[u8]) {
        if bytes.is_empty() {
            violation!("an empty write");
        }
        let streams = self.due.iter_mut().filter(|((to, ..), due)| to == place && !due.is_empty());
        for ((_, child, sink), due) in streams {
            let instance = &self.plan.instances[child.instance.0 as usize];
            let pid = self.pids.get(&(child.instance, child.role == Role::Main));
            let pid = pid.filter(|(run, _)| *run == child.run).map(|(_, pid)| *pid);
            let who = Who {
                name: &instance.name,
                service: &instance.service,
                number: instance.number,
                sink: *sink,
                pid,
            };
            let (mut rest, mut done) = (bytes, 0);
            while let Some(one) = due.get(done).filter(|_| !rest.is_empty()) {
                match one.pays(&who, rest) {
                    Ok(length) => rest = &rest[length..],
                    Err(_) => break,
                }
                done += 1;
            }
            if rest.is_empty() {
                for one in due.drain(..done) {
                    if one.format == Format::Json {
                        world.count(if one.partial { "piece as an object" } else { "line as an object" });
                    }
                }
                return;
            }
        }
        violation!(
            "wrote to {place:?} what nobody wrote, or not as it was: {}\n{:?}",
            shown(bytes),
            self.due
        );
    }

    /// It is told that so many lines were dropped because nobody read.
    pub fn unread_told(&mut self, world: &mut World, instance: InstanceId, lines: u64) {
        world.count("unread lines told");
        let mut owed = self.unread.values_mut();
        if !owed.any(|owed| owed.get(&instance) == Some(&lines) && owed.remove(&instance).is_some()) {
            violation!("{lines} lines of {instance:?} are said to be unread: {:?}", self.unread);
        }
    }

    /// After every step.
    pub fn check(&self) {
        if let Some(owed) = self.unread.values().find(|owed| !owed.is_empty()) {
            violation!("it is not told what was dropped while nobody read: {owed:?}");
        }
        if let Some((key, due)) = self.due.iter().find(|(_, due)| !due.is_empty()) {
            violation!("lines of {key:?} are held back: {due:?}");
        }
        if let Some((path, trouble)) = self.told.front() {
            violation!("{trouble:?} of {} is not told", path.display());
        }
    }

    /// When something of it is due by itself.
    pub fn dues(&self) -> impl Iterator<Item = (Time, &'static str)> {
        let open = self.held.iter().filter(|(key, held)| !held.text.is_empty() && self.heard(**key));
        let held = open.map(|(_, held)| (held.last + SILENCE, "beginning of a line"));
        held.chain(self.buckets.values().filter_map(|b| Some((b.since? + TELL, "number of dropped lines"))))
    }

    pub fn file_told(&mut self, path: &str, trouble: &tinysup::event::FileTrouble) {
        let right = self.told.pop_front();
        if !right.as_ref().is_some_and(|(at, what)| at.display().to_string() == path && what == trouble) {
            violation!("{trouble:?} of {path} is told, it is {right:?}");
        }
    }

    pub fn drops_told(&mut self, world: &mut World, now: Time, id: InstanceId, lines: u64, limit: RateLimit) {
        world.count("dropped lines told");
        let bucket = self.buckets.entry(id).or_default();
        let due = bucket.since.take().is_some_and(|since| self.left || now >= since + TELL);
        let dropped = std::mem::take(&mut bucket.dropped);
        if !due || lines != dropped || lines == 0 || Some(limit) != bucket.by {
            violation!(
                "{lines} lines of {id:?} are said to be dropped; it is {dropped}, and it is time: {due}"
            );
        }
    }

    pub fn at_exit(&self) {
        self.check();
        if let Some((key, held)) = self.held.iter().next() {
            violation!("output of {key:?} is lost or its last line not ended: {}", shown(&held.text));
        }
        if let Some((id, bucket)) = self.buckets.iter().find(|(_, bucket)| bucket.dropped > 0) {
            violation!("nobody is told that {} lines of {id:?} were dropped", bucket.dropped);
        }
    }
}

impl Bucket {
    /// Whether one more line passes.
    fn takes(&mut self, now: Time, limit: RateLimit) -> bool {
        let since = self.at.map_or(limit.per, |at| now.since(at));
        let left = (self.left.unwrap_or_default() + since).min(limit.per);
        self.at = Some(now);
        let price = limit.per / limit.lines;
        let passes = left >= price;
        self.left = Some(if passes { left.saturating_sub(price) } else { left });
        if !passes {
            self.dropped += 1;
            self.by = Some(limit);
            self.since.get_or_insert(now);
        }
        passes
    }
}

struct Who<'a> {
    name: &'a str,
    service: &'a str,
    number: u32,
    sink: Sink,
    pid: Option<Pid>,
}

impl Due {
    /// How many of these bytes are this line as it has to be written.
    fn pays(&self, who: &Who<'_>, bytes: &[u8]) -> Result<usize, String> {
        let expected = match self.format {
            Format::Prefix => [who.name.as_bytes(), b" | ", &self.text, b"\n"].concat(),
            Format::Raw if self.partial => self.text.clone(),
            Format::Raw => [&*self.text, b"\n"].concat(),
            Format::Json => return self.object(who, bytes),
        };
        if bytes.starts_with(&expected) { Ok(expected.len()) } else { Err(shown(&expected)) }
    }

    fn object(&self, who: &Who<'_>, bytes: &[u8]) -> Result<usize, String> {
        let line = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let Ok(Value::Object(mut got)) = serde_json::from_slice(line) else {
            violation!("this is no JSON object: {}", shown(bytes));
        };
        let mut take = |name: &str| got.remove(name);
        let own = match serde_json::from_slice(&self.text) {
            Ok(Value::Object(own)) if !self.rest && !self.partial => own,
            _ => {
                let text = Value::from(String::from_utf8_lossy(&self.text));
                let partial = take("partial");
                if take("message") != Some(text) || partial != self.partial.then_some(Value::Bool(true)) {
                    return Err("another message".to_owned());
                }
                serde_json::Map::new()
            }
        };
        for (name, value) in &own {
            if take(name) != Some(value.clone()) {
                return Err(format!("{name} is not as it was"));
            }
        }
        let pid = who.pid.map(|pid| Value::from(pid.number()));
        let stream = if who.sink == Sink::Stdout { "stdout" } else { "stderr" };
        for (name, value) in [
            ("service", Some(Value::from(who.service))),
            ("instance", Some(Value::from(who.number))),
            ("stream", Some(Value::from(stream))),
            ("pid", pid),
        ] {
            let name = if own.contains_key(name) { format!("tinysup_{name}") } else { name.to_owned() };
            if take(&name) != value {
                return Err(format!("wrong {name}"));
            }
        }
        let time = if own.contains_key("time") { "tinysup_time" } else { "time" };
        let time = take(time);
        if time.as_ref().and_then(Value::as_str).and_then(millis) != Some(self.at.0) {
            violation!("{time:?} is not {:?}", self.at);
        }
        if got.is_empty() { Ok(line.len()) } else { Err(format!("something nobody said: {got:?}")) }
    }
}

/// The milliseconds since 1970 of a time such as 2023-11-14T22:13:20.000Z, counted year by year.
fn millis(text: &str) -> Option<u64> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let of_month = |month: u64| match month {
        2 => 28 + u64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let days: u64 = (1970..year).map(|year| 365 + u64::from(leap(year))).sum::<u64>()
        + (1..month).map(of_month).sum::<u64>()
        + day
        - 1;
    let seconds = ((days * 24 + part(11, 13)?) * 60 + part(14, 16)?) * 60 + part(17, 19)?;
    (text.len() == 24 && text.ends_with('Z')).then_some(seconds * 1000 + part(20, 23)?)
}

fn shown(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).escape_debug().to_string();
    format!("\"{start}\" ({} bytes)", bytes.len())
}
