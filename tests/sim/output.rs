//! Whether what the services wrote comes out whole: every byte once, in order, in whole lines with their origin.

use std::collections::BTreeMap;
use std::rc::Rc;

use tinysup::event::{Child, Event, InstanceId, Output, Role, Sink};
use tinysup::plan::Plan;

use crate::violation;

/// At most so much of a line may be held back, and only a line this long may be cut into pieces.
const LINE_MAX: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Stream {
    /// What was reported to the core and not yet written by it.
    owed: Vec<u8>,
    /// A line was begun in the output and not ended there.
    open: bool,
    /// Nothing more will come, so a line without an end may be ended.
    ended: bool,
}

pub struct Outputs {
    plan: Rc<Plan>,
    streams: BTreeMap<(Child, Sink), Stream>,
    drained: bool,
    /// Where nobody reads, and how many lines of whom were dropped there.
    stuck: BTreeMap<Sink, BTreeMap<InstanceId, u64>>,
    /// What must be told of that in this step.
    told: BTreeMap<Sink, BTreeMap<InstanceId, u64>>,
}

impl Outputs {
    pub fn new(plan: Rc<Plan>) -> Self {
        Self { plan, streams: BTreeMap::new(), drained: false, stuck: BTreeMap::new(), told: BTreeMap::new() }
    }

    pub fn event(&mut self, event: &Event) {
        match event {
            // What a test prints is nobody's output.
            Event::Output { child: Child { role: Role::Probe(_), .. }, .. }
            | Event::OutputEnded { child: Child { role: Role::Probe(_), .. }, .. } => {}
            Event::Output { child, sink, bytes } => {
                let stream = self.streams.entry((*child, *sink)).or_default();
                stream.owed.extend_from_slice(bytes);
            }
            Event::OutputEnded { child, sink } => {
                self.streams.entry((*child, *sink)).or_default().ended = true;
            }
            Event::Stuck { sink } => _ = self.stuck.entry(*sink).or_default(),
            Event::Flows { sink } => _ = self.told.insert(*sink, self.stuck.remove(sink).unwrap()),
            Event::Drained => self.drained = true,
            _ => {}
        }
    }

    /// Drops what the core must drop where nobody reads.
    fn drop(&mut self) {
        for ((child, sink), stream) in &mut self.streams {
            let Some(dropped) = self.stuck.get_mut(sink) else { continue };
            let mut lines = 0;
            if let Some(last) = stream.owed.iter().rposition(|byte| *byte == b'\n') {
                lines += stream.owed.drain(..=last).filter(|byte| *byte == b'\n').count();
                stream.open = false;
            }
            let launch = &self.plan.instances[child.instance.0 as usize].launch;
            let format = if *sink == Sink::Stdout { launch.stdout } else { launch.stderr };
            if stream.owed.len() >= LINE_MAX {
                lines += 1;
                stream.owed.clear();
                stream.open = format == Output::Raw;
            }
            if (stream.ended || self.drained) && (stream.open || !stream.owed.is_empty()) {
                lines += 1;
                stream.owed.clear();
                stream.open = false;
            }
            if lines > 0 {
                *dropped.entry(child.instance).or_default() += lines as u64;
            }
        }
    }

    /// It is told that so many lines were dropped.
    pub fn unread(&mut self, instance: InstanceId, lines: u64) {
        self.drop();
        let at_the_end = self.stuck.values_mut().filter(|_| self.drained);
        let mut owed = self.told.values_mut().chain(at_the_end);
        if !owed.any(|owed| owed.get(&instance) == Some(&lines) && owed.remove(&instance).is_some()) {
            violation!(
                "{lines} lines of {instance:?} are said to be dropped: {:?} {:?}",
                self.told,
                self.stuck
            );
        }
    }

    pub fn write(&mut self, sink: Sink, bytes: &[u8]) {
        if self.stuck.contains_key(&sink) {
            violation!("wrote to {sink:?}, which is stuck: {}", shown(bytes));
        }
        for ((child, to), stream) in &mut self.streams {
            let may_end = stream.ended || self.drained;
            let instance = &self.plan.instances[child.instance.0 as usize];
            let format = if sink == Sink::Stdout { instance.launch.stdout } else { instance.launch.stderr };
            let raw = format == Output::Raw;
            if *to == sink && (!stream.owed.is_empty() || stream.open) {
                let paid = if raw {
                    raw_lines(stream, bytes, may_end)
                } else {
                    lines(stream, &instance.name, bytes, may_end)
                };
                if let Some(paid) = paid {
                    stream.owed.drain(..paid);
                    stream.open = raw && bytes.last() != Some(&b'\n');
                    return;
                }
            }
        }
        violation!("wrote to {sink:?} what nobody wrote, or not as it was: {}", shown(bytes));
    }

    /// After every step.
    pub fn check(&mut self) {
        self.drop();
        if let Some(owed) = std::mem::take(&mut self.told).into_values().find(|owed| !owed.is_empty()) {
            violation!("it is not told what was dropped while nobody read: {owed:?}");
        }
        for (key, stream) in &self.streams {
            if stream.owed.contains(&b'\n') {
                violation!("a whole line of {key:?} is held back: {}", shown(&stream.owed));
            }
            if stream.owed.len() >= LINE_MAX {
                violation!("{} bytes of {key:?} are held back", stream.owed.len());
            }
            if stream.ended && (stream.open || !stream.owed.is_empty()) {
                violation!("{key:?} has ended, and its last line has not: {}", shown(&stream.owed));
            }
        }
    }

    pub fn at_exit(&self) {
        if let Some(owed) = self.stuck.values().find(|owed| !owed.is_empty()) {
            violation!("it exits and does not tell what was dropped: {owed:?}");
        }
        for (key, stream) in &self.streams {
            if stream.open || !stream.owed.is_empty() {
                violation!("output of {key:?} is lost or its last line not ended: {}", shown(&stream.owed));
            }
        }
    }
}

/// How many of the owed bytes these lines with the name before each pay; `None`: they are not this stream's.
fn lines(stream: &Stream, name: &str, bytes: &[u8], may_end: bool) -> Option<usize> {
    let mut paid = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n")?;
        let line = line.strip_prefix(name.as_bytes())?.strip_prefix(b" | ")?;
        let rest = stream.owed.get(paid..)?.strip_prefix(line)?;
        paid += match rest.first() {
            Some(b'\n') => line.len() + 1,
            Some(_) if line.len() >= LINE_MAX => line.len(),
            None if line.len() >= LINE_MAX || may_end => line.len(),
            Some(_) | None => return None,
        };
    }
    Some(paid)
}

fn raw_lines(stream: &Stream, bytes: &[u8], may_end: bool) -> Option<usize> {
    if stream.owed.starts_with(bytes) && (bytes.ends_with(b"\n") || bytes.len() >= LINE_MAX) {
        return Some(bytes.len());
    }
    (may_end && bytes.strip_suffix(b"\n")? == stream.owed).then_some(stream.owed.len())
}

fn shown(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).escape_debug().to_string();
    format!("\"{start}\" ({} bytes)", bytes.len())
}
