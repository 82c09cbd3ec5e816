//! The pipes that children write their output to: who is read when, and how much. While a sink is congested, the pipes that
//! feed it are left alone and the services wait, as they would without us; what feeds none is always read. What is read goes to
//! the core as events.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::poll::{Interest, Poll};
use super::{clock, descriptors};
use crate::event::{Child, Event, InstanceId, Sink, Spare, report};
use crate::gather::Gather;
use crate::sorted::sort;

/// One read, and one `Output` event, is at most this large.
const READ_MAX_BYTES: usize = 64 << 10;

/// A turn of the loop reads until it has so much, which takes as long as it takes to copy it; then signals and ended children have theirs.
const TURN_BYTES: usize = 32 << 10;

/// And not more often than this, however little there is to read.
const READS_PER_TURN: usize = 16;

/// `drain` takes at most this much from one pipe: whoever writes faster than we read has written enough.
const DRAIN_MAX_BYTES: usize = 1 << 20;

/// So many pipes of ended runs are kept for one instance. Beyond, the oldest is closed: whoever holds it outlived several
/// leaders of its service, and descriptors are not endless.
const ENDED_PIPES_MAX: usize = 16;

/// All pipes.
#[derive(Debug, Default)]
pub struct Relay {
    pipes: Vec<Pipe>,
    /// Where the next turn begins, so that everybody gets one.
    next: usize,
}

/// One output stream of a child.
#[derive(Debug)]
struct Pipe {
    descriptor: OwnedFd,
    child: Child,
    sink: Sink,
    purpose: Purpose,
    /// The child is gone; others hold the pipe.
    ended: bool,
}

/// What becomes of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It goes on to this sink.
    Passed(Sink),
    /// It stays with us.
    Captured,
    /// Nobody wants it.
    Discarded,
}

/// Which pipe: its place in the list, valid until one is closed.
pub type Index = usize;

impl Relay {
    /// Adds a pipe.
    pub fn add(&mut self, child: Child, sink: Sink, descriptor: OwnedFd, purpose: Purpose) {
        self.pipes.push(Pipe { descriptor, child, sink, purpose, ended: false });
    }

    /// Adds to `poll` all pipes but those whose sink can take no more.
    pub fn watch<Owner: Copy>(
        &self,
        poll: &mut Poll<Owner>,
        congested: impl Fn(Sink) -> bool,
        owner: impl Fn(Index) -> Owner,
    ) {
        for (index, pipe) in self.pipes.iter().enumerate() {
            if !pipe.waits(&congested) {
                poll.watch(owner(index), pipe.descriptor.as_fd(), Interest::Read);
            }
        }
    }

    /// Reads from the pipes that are ready, in turn, not more than one turn's worth.
    pub fn read(&mut self, ready: &[Index], spare: &mut Spare, events: &mut Vec<Event>) {
        let start = ready.partition_point(|index| *index < self.next);
        let (before, after) = ready.split_at(start);
        let (mut gone, mut left) = (Vec::new(), TURN_BYTES);
        for &index in after.iter().chain(before).take(READS_PER_TURN) {
            if left == 0 {
                break;
            }
            self.next = index + 1;
            match self.pipes.get(index).map(|pipe| pipe.read(READ_MAX_BYTES, spare, events)) {
                Some(Read::Some(count)) => left = left.saturating_sub(count),
                Some(Read::End) => gone.push(index),
                Some(Read::Nothing) | None => {}
            }
        }
        self.close(gone, events);
    }

    /// Takes what a child wrote before it ended.
    pub fn child_ended(
        &mut self,
        child: Child,
        congested: impl Fn(Sink) -> bool,
        spare: &mut Spare,
        events: &mut Vec<Event>,
    ) {
        for pipe in self.pipes.iter_mut().filter(|pipe| pipe.child == child) {
            pipe.ended = true;
        }
        self.take_last(congested, spare, events);
        self.limit_ended(child.instance, events);
    }

    /// Takes what there is in the pipes of ended children, before it is said that one of those who hold them has ended, too; except where
    /// the reader of the sink is stuck: that is taken when there is room.
    #[inline(never)]
    pub fn take_last(
        &mut self,
        congested: impl Fn(Sink) -> bool,
        spare: &mut Spare,
        events: &mut Vec<Event>,
    ) {
        let mut gone = Vec::new();
        for (index, pipe) in (0..).zip(&self.pipes).filter(|(_, pipe)| pipe.ended && !pipe.waits(&congested))
        {
            // Not until it is empty: others may hold it and write without end. But its end, if that is there: a line without one
            // still goes where this run's lines go.
            let mut left = descriptors::readable_bytes(pipe.descriptor.as_fd());
            loop {
                match pipe.read(left.clamp(1, READ_MAX_BYTES), spare, events) {
                    Read::Some(count) if left > 0 => left = left.saturating_sub(count),
                    Read::End => break gone.push(index),
                    Read::Some(_) | Read::Nothing => break,
                }
            }
        }
        self.close(gone, events);
    }

    /// Reads everything from everybody.
    #[inline(never)]
    pub fn drain(&mut self, spare: &mut Spare, events: &mut Vec<Event>) {
        let mut gone = Vec::new();
        for (index, pipe) in self.pipes.iter().enumerate() {
            let mut left = DRAIN_MAX_BYTES;
            while left > 0 {
                match pipe.read(left.min(READ_MAX_BYTES), spare, events) {
                    Read::Some(count) => left -= count,
                    Read::Nothing => break,
                    Read::End => {
                        gone.push(index);
                        break;
                    }
                }
            }
        }
        self.close(gone, events);
    }

    fn limit_ended(&mut self, instance: InstanceId, events: &mut Vec<Event>) {
        let ended: Vec<Index> = (0..)
            .zip(&self.pipes)
            .filter(|(_, pipe)| pipe.ended && pipe.child.instance == instance)
            .map(|(index, _)| index)
            .gather();
        let excess = ended.len().saturating_sub(ENDED_PIPES_MAX);
        self.close(ended.into_iter().take(excess).gather(), events);
    }

    /// Closes pipes; `gone` is in ascending order or nearly so.
    fn close(&mut self, mut gone: Vec<Index>, events: &mut Vec<Event>) {
        sort(&mut gone, |one, other| one > other);
        for index in gone.into_iter().rev().filter(|index| *index < self.pipes.len()).gather() {
            let pipe = self.pipes.remove(index);
            if index < self.next {
                self.next -= 1;
            }
            if pipe.purpose != Purpose::Discarded {
                report(events, Event::OutputEnded { child: pipe.child, sink: pipe.sink });
            }
        }
    }
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Some(usize),
    Nothing,
    End,
}

impl Pipe {
    /// Whether it is left alone until its sink can take more.
    fn waits(&self, congested: impl Fn(Sink) -> bool) -> bool {
        match self.purpose {
            Purpose::Passed(sink) => congested(sink),
            Purpose::Captured | Purpose::Discarded => false,
        }
    }

    fn read(&self, at_most: usize, spare: &mut Spare, events: &mut Vec<Event>) -> Read {
        let mut bytes = spare.empty(READ_MAX_BYTES);
        let read = match descriptors::read_into(self.descriptor.as_fd(), &mut bytes, at_most) {
            Ok(0) => Read::End,
            Ok(count) => Read::Some(count),
            Err(Errno::EAGAIN | Errno::EINTR) => Read::Nothing,
            Err(_) => Read::End,
        };
        if !bytes.is_empty() && self.purpose != Purpose::Discarded {
            // What is small gets memory of its own: there may be many of those, and few of the large.
            let (bytes, rest) =
                if bytes.len() < Spare::LEAST_BYTES { (bytes.clone(), bytes) } else { (bytes, Vec::new()) };
            spare.put(rest);
            report(events, Event::Output { child: self.child, sink: self.sink, at: clock::wall(), bytes });
        } else {
            spare.put(bytes);
        }
        read
    }
}
