//! What runs tell us of their own accord: messages through the notification socket, and a newline through a pipe. Heard is only who
//! belongs to the run; what the words mean is left to the core.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::{getpgid, getsid};

use super::mailbox::{Letter, Mailbox};
use super::poll::{Interest, Poll};
use super::procfs::{self, Stat};
use super::{call, descriptors, spawn, tag, word};
use crate::event::{Child, Event, Mark, Pid, report};

/// So many messages of one run in one turn of the loop.
const MESSAGES_PER_TURN: usize = 16;

/// So many are taken from a run that has ended: more than a queue holds (net.unix.max_dgram_qlen).
const MESSAGES_AT_END: usize = 10_000;

/// One read of the pipe, and all of it until a newline must have come.
const READ_MAX_BYTES: usize = 4 << 10;
const ANNOUNCEMENT_MAX_BYTES: usize = 64 << 10;

/// So far up a sender's ancestors are looked at.
const ANCESTORS_MAX: usize = 64;

/// All runs that can say something.
#[derive(Debug, Default)]
pub struct Voices {
    open: Vec<Voice>,
}

/// How one run can say something.
#[derive(Debug)]
pub struct Voice {
    /// Which run.
    pub child: Child,
    /// Its leader, which is not released yet.
    pub leader: Pid,
    /// What its processes carry.
    pub mark: Option<Mark>,
    /// The user it began as; `None`: ours.
    pub uid: Option<u32>,
    /// Its notification socket.
    pub mailbox: Option<Mailbox>,
    /// Its readiness pipe, until that is done with.
    pub announcement: Option<Announcement>,
    /// Who still closes what was attached to its last message. Until then it is not heard, so there is one of a run, and one at its end.
    pub closer: Option<Stat>,
}

/// The end of a readiness pipe from which we read.
#[derive(Debug)]
pub struct Announcement {
    pipe: OwnedFd,
    /// So much may still come.
    left: usize,
}

impl Voices {
    /// Listens to a run.
    pub fn add(&mut self, voice: Voice) {
        if voice.mailbox.is_some() || voice.announcement.is_some() {
            self.open.push(voice);
        }
    }

    /// Adds to `poll` whatever may bring something.
    pub fn watch<Owner: Copy>(&mut self, poll: &mut Poll<Owner>, owner: impl Fn(Pid) -> Owner) {
        for voice in &mut self.open {
            // Its end is a signal, which lets us look again.
            voice.closer.take_if(|closer| !closer.lives());
            if let (Some(mailbox), None) = (&voice.mailbox, &voice.closer) {
                poll.watch(owner(voice.leader), mailbox.as_fd(), Interest::Read);
            }
            if let Some(announcement) = &voice.announcement {
                poll.watch(owner(voice.leader), announcement.pipe.as_fd(), Interest::Read);
            }
        }
    }

    /// Reports what a run has said, not more than one turn's worth.
    pub fn hear(&mut self, leader: Pid, events: &mut Vec<Event>) {
        if let Some(voice) = self.open.iter_mut().find(|voice| voice.leader == leader) {
            voice.read_mailbox(MESSAGES_PER_TURN, 1, events);
            voice.read_announcement(events);
        }
    }

    /// Reports all that a run has said until its leader ended, and listens no more.
    pub fn ended(&mut self, leader: Pid, events: &mut Vec<Event>) {
        let Some(place) = self.open.iter().position(|voice| voice.leader == leader) else { return };
        let mut voice = self.open.swap_remove(place);
        if let Some(mailbox) = &voice.mailbox {
            // Others may still hold it, and write without end.
            mailbox.shut();
        }
        voice.read_mailbox(MESSAGES_AT_END, usize::MAX, events);
        while voice.read_announcement(events) == Pipe::Open {}
    }
}

/// What a look into the readiness pipe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pipe {
    /// Something, but no newline; perhaps there is more.
    Open,
    /// Nothing.
    Empty,
    /// It is done with.
    Closed,
}

impl Voice {
    /// Not more than so many messages, and not after so many descriptors that have to be closed elsewhere.
    fn read_mailbox(&mut self, at_most: usize, descriptors_max: usize, events: &mut Vec<Event>) {
        let Some(mailbox) =
            self.mailbox.as_ref().filter(|_| at_most > MESSAGES_PER_TURN || self.closer.is_none())
        else {
            return;
        };
        let mut attached = Vec::new();
        for letter in std::iter::from_fn(|| mailbox.receive()).take(at_most) {
            let Letter { sender, uid, bytes, mut descriptors } = letter;
            match bytes {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) if self.is_heard(sender, uid) => {
                    report(events, Event::Notified { child: self.child, bytes });
                }
                Some(_) => {
                    let Child { instance, run, .. } = self.child;
                    say!(
                        Debug,
                        "pid {sender} is not heard: it is not one of instance {}, run {run}",
                        instance.0
                    );
                }
                None => say!(Debug, "pid {sender} is not heard: its message is too long"),
            }
            // A pipe is closed at once, for whoever waits for that (sd_notify_barrier(3)).
            if !descriptors.iter().all(is_pipe) {
                attached.append(&mut descriptors);
            }
            if attached.len() >= descriptors_max {
                break;
            }
        }
        if attached.is_empty() {
            return;
        }
        match spawn::close_elsewhere(attached) {
            Ok(pid) => self.closer = Stat::of(pid),
            Err(errno) => say!(Debug, "what was attached to a message is closed here: {}", word(errno)),
        }
    }

    /// Whether a sender is one of the run's processes. One that is gone already cannot be told from any other, so it is not heard,
    /// unless it still waits to be collected.
    fn is_heard(&self, sender: i32, uid: u32) -> bool {
        let Some(sender) = Pid::new(sender) else { return false };
        let leader = self.leader;
        // As long as the leader is not released, its number stands for nobody else, and so does its session's and its group's.
        let number = |found: nix::Result<nix::unistd::Pid>| found.map(nix::unistd::Pid::as_raw);
        let of = Some(nix::unistd::Pid::from_raw(sender.number()));
        sender == leader
            || number(getsid(of)) == Ok(leader.number())
            || number(getpgid(of)) == Ok(leader.number())
            || descends(sender, leader)
            // Which anybody may set.
            || (tag::counts(uid, self.uid)
                && self.mark.as_ref().is_some_and(|mark| {
                    tag::either(sender, self.child.instance, mark, &Cell::new(procfs::FILE_MAX_BYTES))
                }))
    }

    fn read_announcement(&mut self, events: &mut Vec<Event>) -> Pipe {
        let Some(announcement) = &mut self.announcement else { return Pipe::Closed };
        match descriptors::read(announcement.pipe.as_fd(), READ_MAX_BYTES.min(announcement.left)) {
            Err(Errno::EAGAIN) => return Pipe::Empty,
            Err(Errno::EINTR) => return Pipe::Open,
            Ok(bytes) if bytes.contains(&b'\n') => report(events, Event::Announced { child: self.child }),
            Ok(bytes) if !bytes.is_empty() && bytes.len() < announcement.left => {
                announcement.left -= bytes.len();
                return Pipe::Open;
            }
            Ok(_) | Err(_) => {}
        }
        self.announcement = None;
        Pipe::Closed
    }
}

impl Announcement {
    /// Waits for a newline.
    pub fn new(pipe: OwnedFd) -> Self {
        Self { pipe, left: ANNOUNCEMENT_MAX_BYTES }
    }
}

fn descends(pid: Pid, ancestor: Pid) -> bool {
    let parent = |pid: &Pid| Pid::new(Stat::of(*pid)?.parent);
    std::iter::successors(Some(pid), parent).take(ANCESTORS_MAX).any(|pid| pid == ancestor)
}

/// Whether it is a pipe, by a call that only pipes know: what a file is, its file system may be asked, and that need not answer. To close
/// a pipe takes no time; a socket or a file may, such as a connection that lingers, or a large file that is not linked any more.
fn is_pipe(descriptor: &OwnedFd) -> bool {
    call::fcntl(descriptor.as_raw_fd(), libc::F_GETPIPE_SZ, 0).is_ok()
}
