//! What processes write, and how much of it one read gets.

use tinysup::event::{FileTrouble, LogFile, Wall};

use super::*;

impl World {
    pub(super) fn speak(&mut self, serial: u64, sink: Sink, lines: u64, longest: u64, unfinished: bool) {
        let proc = &self.procs[&serial];
        let Some(child) = proc.owner else { return };
        if !proc.holds[usize::from(sink == Sink::Stderr)] {
            return;
        }
        let mut rng = self.rng.fork();
        let pipe = self.pipes.get_mut(&(child, sink)).unwrap();
        let parts = lines + u64::from(unfinished);
        for part in 0..parts {
            pipe.lines += 1;
            if rng.per_mille(150) {
                // As services do that log objects. Whatever they name there is theirs.
                let name = *rng.pick(&["level", "time", "pid", "message", "tinysup_x"]);
                let line = format!("{{\"{name}\":\"{}\"}}", tag(child, sink, pipe.lines));
                pipe.buffer.extend(line.bytes());
                if !(unfinished && part + 1 == parts) {
                    pipe.buffer.push_back(b'\n');
                }
                continue;
            }
            // No other line of the whole history begins so: it can be told in the output, whatever comes between.
            pipe.buffer.extend(tag(child, sink, pipe.lines).bytes());
            let filler = rng.below(longest + 1);
            let byte = *rng.pick(&[b'x', b' ', 0, 0xff, b'|', b'\r']);
            pipe.buffer.extend((0..filler).map(|_| byte));
            if !(unfinished && part + 1 == parts) {
                pipe.buffer.push_back(b'\n');
            }
        }
        self.count("output");
    }

    /// Two reads of so much that it is kept only when nothing else takes its place.
    pub(super) fn flood(&mut self, serial: u64, sink: Sink) {
        const LINE_BYTES: usize = 1024;
        const LINES: u64 = 64 + 61;
        let proc = &self.procs[&serial];
        let Some(child) = proc.owner.filter(|_| proc.holds[usize::from(sink == Sink::Stderr)]) else {
            return;
        };
        let pipe = self.pipes.get_mut(&(child, sink)).unwrap();
        for _ in 0..LINES {
            pipe.lines += 1;
            let tag = tag(child, sink, pipe.lines);
            pipe.buffer.extend(tag.bytes());
            pipe.buffer.extend(std::iter::repeat_n(b'x', LINE_BYTES - 1 - tag.len()));
            pipe.buffer.push_back(b'\n');
        }
        self.count("flood");
    }

    /// A line with this text in it, or a part of one.
    pub(super) fn say_text(&mut self, serial: u64, sink: Sink, text: &str, (begins, ends): (bool, bool)) {
        let proc = &self.procs[&serial];
        let Some(child) = proc.owner.filter(|_| proc.holds[usize::from(sink == Sink::Stderr)]) else {
            return;
        };
        let pipe = self.pipes.get_mut(&(child, sink)).unwrap();
        if begins {
            pipe.lines += 1;
            pipe.buffer.extend(tag(child, sink, pipe.lines).bytes());
        }
        pipe.buffer.extend(text.bytes());
        if ends {
            pipe.buffer.extend(b" 80\n");
        }
    }

    /// Now and then a disk is full, and then it is not.
    pub(super) fn write_file(&mut self, file: &LogFile, events: &mut Vec<Event>) {
        let odds = if self.lost.contains_key(&file.path) { 300 } else { 5 };
        if !self.rng.per_mille(odds) {
            return;
        }
        let trouble = if let Some(lines) = self.lost.remove(&file.path) {
            FileTrouble::Over { lines }
        } else {
            self.lost.insert(file.path.clone(), self.rng.below(9));
            FileTrouble::Lost { reason: "No space left on device".to_owned() }
        };
        self.count("trouble with a file");
        events.push(Event::File { path: file.path.clone(), trouble });
    }

    pub(super) fn let_go(&mut self, serial: u64, sink: Sink) {
        let at = usize::from(sink == Sink::Stderr);
        let proc = self.procs.get_mut(&serial).unwrap();
        if std::mem::take(&mut proc.holds[at]) {
            self.pipes.get_mut(&(proc.owner.unwrap(), sink)).unwrap().holders -= 1;
        }
    }

    /// Reads from a pipe what one read gets.
    pub(super) fn read(&mut self, child: Child, sink: Sink) -> Option<Event> {
        const READ_MAX: usize = 64 * 1024;
        let whole = self.rng.per_mille(700);
        let at = wall(self.now);
        let pipe = self.pipes.get_mut(&(child, sink))?;
        if !pipe.buffer.is_empty() {
            let most = pipe.buffer.len().min(READ_MAX);
            let take = if whole { most } else { 1 + self.rng.index(most) };
            let bytes = pipe.buffer.drain(..take).collect();
            return Some(Event::Output { child, sink, at, bytes });
        }
        if pipe.holders == 0 && !pipe.ended {
            pipe.ended = true;
            return Some(Event::OutputEnded { child, sink });
        }
        None
    }

    pub(super) fn readable(&self) -> Vec<(Child, Sink)> {
        self.pipes
            .iter()
            .filter(|(_, pipe)| !pipe.buffer.is_empty() || pipe.holders == 0 && !pipe.ended)
            .map(|(key, _)| *key)
            .collect()
    }

    pub(super) fn read_all(&mut self, events: &mut Vec<Event>) {
        for (child, sink) in self.readable() {
            while let Some(event) = self.read(child, sink) {
                events.push(event);
            }
        }
    }
}

/// The time of the wall, which here is always right.
fn wall(now: Time) -> Wall {
    Wall(1_700_000_000_000 + now.0 / 1_000_000)
}

fn tag(child: Child, sink: Sink, line: u64) -> String {
    let role = match child.role {
        Role::Main => "m".to_owned(),
        Role::StopCommand => "c".to_owned(),
        Role::Probe(number) => format!("p{number}"),
    };
    let stream = if sink == Sink::Stdout { 'o' } else { 'e' };
    format!("<{}.{}.{role}.{stream}.{line}>", child.instance.0, child.run)
}
