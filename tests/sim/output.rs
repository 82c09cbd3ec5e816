//! Whether what the services wrote comes out whole: every byte once, in order, in whole lines with their origin.

use std::collections::BTreeMap;
use std::rc::Rc;

use tinysup::event::{Child, Event, Output, Role, Sink};
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
    pub plan: Rc<Plan>,
    streams: BTreeMap<(Child, Sink), Stream>,
    drained: bool,
}

impl Outputs {
    pub fn new(plan: Rc<Plan>) -> Self {
        Self { plan, streams: BTreeMap::new(), drained: false }
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
            Event::Drained => self.drained = true,
            _ => {}
        }
    }

    pub fn write(&mut self, sink: Sink, bytes: &[u8]) {
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
    pub fn check(&self) {
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
