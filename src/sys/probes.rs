//! Attempts to learn from outside how a service is, one system call at a time in the one loop. They have no time of their own: the
//! core calls off what takes too long. What a good answer is, `probe` knows.

use std::ffi::{CString, OsStr};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;

use super::poll::{Interest, Poll};
use super::socket::{self, Address, Kind, Name};
use super::{descriptors, spawn, word};
use crate::event::{Child, Event, InstanceId, report};
use crate::probe::{self, Answer, Failure, STATUS_BYTES, Target};

/// One read is at most this large.
const READ_MAX_BYTES: usize = 4 << 10;

/// So much of an answer is taken although its beginning decides, and in so many reads, so that a server need not notice that nobody is
/// interested in the rest. Then the connection is closed.
const REST_MAX_BYTES: usize = 64 << 10;
const REST_MAX_READS: u32 = 64;

/// So often a connection may be said to be there that is not: a look at all descriptors in turn, where poll(2) does not work, says it each
/// time, and so it does of one whose connect(2) was called off.
const LOOKS_MAX: u32 = 200;

/// Interim answers (RFC 9110, section 15.2) are passed over up to this size.
const INTERIM_MAX_BYTES: usize = 16 << 10;

/// All attempts under way.
#[derive(Debug, Default)]
pub struct Probes {
    open: Vec<(Child, State)>,
    /// Looks that were called off. Their processes may hang for as long as a file system does, and there is one of an instance only.
    away: Vec<(InstanceId, OwnedFd)>,
}

/// How far an attempt is.
#[derive(Debug)]
enum State {
    /// Waits for whoever looks whether the path is there. We do not look ourselves: a file system may be dead.
    Looking { target: Rc<Target>, pipe: OwnedFd },
    /// Waits for the connection to an address.
    Connecting { target: Rc<Target>, socket: OwnedFd, refusals: Refusals, looks: u32 },
    /// Sends what is left of its request.
    Asking { socket: OwnedFd, request: Vec<u8> },
    /// Waits for the status line.
    Listening { socket: OwnedFd, head: Head },
    /// It has been answered.
    Leaving { socket: OwnedFd, bytes: usize, reads: u32 },
}

/// What comes next.
enum Step {
    /// A wait, for what the state needs.
    Wait(State),
    /// The answer, and a connection that is left open for the server's sake.
    Answered(Result<(), Failure>, Option<OwnedFd>),
    /// Nothing.
    Closed,
}

impl Probes {
    /// Begins an attempt. It may be answered at once.
    #[inline(never)]
    pub fn begin(&mut self, child: Child, target: &Rc<Target>, events: &mut Vec<Event>) {
        self.forget_answered(child.instance);
        let step = match &**target {
            Target::Tcp { .. } | Target::Http { .. } => connect(target, Refusals::default()),
            Target::Unix { path } if path.as_encoded_bytes().starts_with(b"@") => connect_unix(path),
            // Only a look: whoever opens a named pipe waits for its other end.
            Target::Unix { path } | Target::File { path } => self.look(child.instance, target, path),
        };
        self.take(child, step, events);
    }

    /// Calls an attempt off.
    #[inline(never)]
    pub fn cancel(&mut self, child: Child) {
        for (_, state) in self.open.extract_if(.., |(open, _)| *open == child) {
            if let State::Looking { pipe, .. } = state {
                self.away.push((child.instance, pipe));
            }
        }
    }

    #[inline(never)]
    fn look(&mut self, instance: InstanceId, target: &Rc<Target>, path: &OsStr) -> Step {
        let cannot = |reason: String| Step::Answered(Err(Failure::CannotAsk { reason }), None);
        // Nothing to read yet: it still looks.
        self.away.retain(|(_, pipe)| descriptors::read(pipe.as_fd(), 1) == Err(Errno::EAGAIN));
        if self.away.iter().any(|(of, _)| *of == instance) {
            return cannot(
                "an earlier look at the path has not come back; is its file system dead?".to_owned(),
            );
        }
        let Ok(path) = CString::new(path.as_encoded_bytes()) else { return cannot(word(Errno::EINVAL)) };
        match spawn::look_elsewhere(&path) {
            Ok(pipe) => Step::Wait(State::Looking { target: Rc::clone(target), pipe }),
            Err(errno) => cannot(word(errno)),
        }
    }

    /// Closes what is left of the answered attempts of an instance.
    pub fn forget_answered(&mut self, instance: InstanceId) {
        self.open
            .retain(|(child, state)| child.instance != instance || !matches!(state, State::Leaving { .. }));
    }

    /// Adds to `poll` what the attempts wait for.
    pub fn watch<Owner: Copy>(&self, poll: &mut Poll<Owner>, owner: impl Fn(Child) -> Owner) {
        for (child, state) in &self.open {
            let (descriptor, interest) = state.waits_for();
            poll.watch(owner(*child), descriptor, interest);
        }
    }

    /// Goes on with an attempt that need wait no longer.
    #[inline(never)]
    pub fn go_on(&mut self, child: Child, events: &mut Vec<Event>) {
        if let Some(place) = self.open.iter().position(|(open, _)| *open == child) {
            let (_, state) = self.open.swap_remove(place);
            self.take(child, state.go_on(), events);
        }
    }

    fn take(&mut self, child: Child, step: Step, events: &mut Vec<Event>) {
        let state = match step {
            Step::Wait(state) => state,
            Step::Answered(result, socket) => {
                report(events, Event::Probed { child, result });
                let Some(socket) = socket else { return };
                State::Leaving { socket, bytes: REST_MAX_BYTES, reads: REST_MAX_READS }
            }
            Step::Closed => return,
        };
        self.open.push((child, state));
    }
}

impl State {
    fn waits_for(&self) -> (BorrowedFd<'_>, Interest) {
        match self {
            Self::Connecting { socket, .. } | Self::Asking { socket, .. } => {
                (socket.as_fd(), Interest::Write)
            }
            Self::Looking { pipe, .. } => (pipe.as_fd(), Interest::Read),
            Self::Listening { socket, .. } => (socket.as_fd(), Interest::Read),
            Self::Leaving { socket, .. } => (socket.as_fd(), Interest::Read),
        }
    }

    #[inline(never)]
    fn go_on(self) -> Step {
        match self {
            Self::Looking { target, pipe } => looked(target, pipe),
            Self::Connecting { target, socket, refusals, looks } => {
                connected(target, socket, refusals, looks)
            }
            Self::Asking { socket, request } => ask(socket, request),
            Self::Listening { socket, head } => listen(socket, head),
            Self::Leaving { socket, bytes, reads } => leave(socket, bytes, reads),
        }
    }
}

/// The addresses that were tried in vain.
#[derive(Clone, Debug, Default)]
struct Refusals {
    count: usize,
    /// Nobody listens at one of them.
    refused: bool,
    /// Why the first of the others could not be asked.
    reason: Option<String>,
}

impl Refusals {
    fn add(&mut self, errno: Errno) {
        self.count += 1;
        match errno {
            Errno::ECONNREFUSED => self.refused = true,
            other => self.reason = self.reason.take().or_else(|| Some(word(other))),
        }
    }

    /// That nobody listens says more than that a container has no IPv6.
    fn failure(self, addresses: &[SocketAddr]) -> Failure {
        match (addresses.first(), self.refused) {
            (Some(address), true) => Failure::Refused { address: *address },
            _ => Failure::CannotAsk { reason: self.reason.unwrap_or_default() },
        }
    }
}

/// Tries the addresses that were not tried yet.
fn connect(target: &Rc<Target>, mut refusals: Refusals) -> Step {
    let addresses = match &**target {
        Target::Tcp { addresses } | Target::Http { addresses, .. } => addresses.as_slice(),
        Target::Unix { .. } | Target::File { .. } => &[],
    };
    while let Some(address) = addresses.get(refusals.count) {
        match Address::internet(*address).connect(Kind::Stream) {
            // Inside of one machine it is mostly there at once.
            Ok(socket) => return connected(Rc::clone(target), socket, refusals, LOOKS_MAX),
            Err(errno) => refusals.add(errno),
        }
    }
    Step::Answered(Err(refusals.failure(addresses)), None)
}

fn connected(target: Rc<Target>, socket: OwnedFd, mut refusals: Refusals, looks: u32) -> Step {
    match ends(&socket) {
        Ok(None) if looks > 0 => {
            return Step::Wait(State::Connecting { target, socket, refusals, looks: looks - 1 });
        }
        Ok(None) => refusals.add(Errno::ENOTCONN),
        // Nobody listens, but the kernel gave us the very port that we ask for, and we have connected to ourselves. Whoever
        // wants to listen there must not find it taken.
        Ok(Some((here, there))) if here == there => {
            socket::reset_on_close(&socket);
            refusals.add(Errno::ECONNREFUSED);
        }
        Ok(Some(_)) => {
            return match &*target {
                Target::Http { host, path, .. } => ask(socket, request(host, path)),
                Target::Tcp { .. } | Target::Unix { .. } | Target::File { .. } => answered(Ok(()), socket),
            };
        }
        Err(errno) => refusals.add(errno),
    }
    connect(&target, refusals)
}

/// Our end and theirs; `None` as long as there is no connection.
fn ends(socket: &OwnedFd) -> nix::Result<Option<(Name, Name)>> {
    socket::take_error(socket)?;
    match socket::name(socket, libc::SYS_getpeername) {
        Ok(there) => Ok(Some((socket::name(socket, libc::SYS_getsockname)?, there))),
        Err(Errno::ENOTCONN) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn request(host: &str, path: &str) -> Vec<u8> {
    let headers = "User-Agent: tinysup\r\nAccept: */*\r\nConnection: close\r\n";
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").into_bytes()
}

fn ask(socket: OwnedFd, mut request: Vec<u8>) -> Step {
    match socket::send(socket.as_fd(), &request) {
        Ok(count) if count < request.len() => {
            request.drain(..count);
            Step::Wait(State::Asking { socket, request })
        }
        Err(Errno::EAGAIN | Errno::EINTR) => Step::Wait(State::Asking { socket, request }),
        // After an error too: a server may answer without reading, and close.
        Ok(_) | Err(_) => Step::Wait(State::Listening { socket, head: Head::default() }),
    }
}

#[inline(never)]
fn listen(socket: OwnedFd, mut head: Head) -> Step {
    let mut bytes = [0; READ_MAX_BYTES];
    let answer = match nix::unistd::read(&socket, &mut bytes) {
        Ok(0) => return Step::Answered(Err(Failure::Closed), None),
        Ok(count) => head.take(bytes.get(..count).unwrap_or_default()),
        Err(Errno::EAGAIN | Errno::EINTR) => Answer::More,
        Err(_) => return Step::Answered(Err(Failure::Closed), None),
    };
    match answer {
        Answer::More => Step::Wait(State::Listening { socket, head }),
        Answer::Garbage => answered(Err(Failure::NotHttp), socket),
        Answer::Status(status) if probe::is_good(status) => Step::Answered(Ok(()), Some(socket)),
        Answer::Status(status) => Step::Answered(Err(Failure::Status(status)), Some(socket)),
    }
}

/// The verdict on a server that need not hear more of us. It is told so, and may close first: else what it sends meanwhile would be
/// answered with a reset, which many log. One that answers a request takes this for a client that gave up.
fn answered(result: Result<(), Failure>, socket: OwnedFd) -> Step {
    socket::shut(socket.as_fd(), libc::SHUT_WR);
    Step::Answered(result, Some(socket))
}

fn leave(socket: OwnedFd, bytes: usize, reads: u32) -> Step {
    let mut piece = [0; READ_MAX_BYTES];
    match nix::unistd::read(&socket, &mut piece) {
        Ok(count) if count > 0 && count < bytes && reads > 1 => {
            Step::Wait(State::Leaving { socket, bytes: bytes - count, reads: reads - 1 })
        }
        Err(Errno::EAGAIN | Errno::EINTR) => Step::Wait(State::Leaving { socket, bytes, reads }),
        Ok(_) | Err(_) => Step::Closed,
    }
}

/// Somebody has looked: what is there can be asked.
#[inline(never)]
fn looked(target: Rc<Target>, pipe: OwnedFd) -> Step {
    let number = match descriptors::read(pipe.as_fd(), size_of::<i32>()).as_deref() {
        Ok(&[a, b, c, d]) => i32::from_ne_bytes([a, b, c, d]),
        Err(Errno::EAGAIN | Errno::EINTR) => return Step::Wait(State::Looking { target, pipe }),
        Ok(_) | Err(_) => libc::EIO, // somebody has killed it
    };
    let result = if number == 0 { Ok(()) } else { Err(Errno::from_raw(number)) };
    match (&*target, result) {
        (Target::Unix { path }, Ok(())) => connect_unix(path),
        (Target::Unix { .. }, Err(errno)) => Step::Answered(Err(no_socket(errno)), None),
        (Target::File { .. } | Target::Tcp { .. } | Target::Http { .. }, result) => {
            Step::Answered(result.map_err(no_file), None)
        }
    }
}

fn connect_unix(path: &OsStr) -> Step {
    let address = match Address::unix(path) {
        Ok(address) => address,
        Err(errno) => return Step::Answered(Err(no_socket(errno)), None),
    };
    for kind in [Kind::Stream, Kind::Packets, Kind::Datagrams] {
        match (address.connect(kind), kind) {
            (Err(Errno::EPROTOTYPE), Kind::Stream | Kind::Packets) => {}
            (Err(errno), _) => return Step::Answered(Err(no_socket(errno)), None),
            (Ok(_), Kind::Datagrams) => break,
            (Ok(socket), Kind::Stream | Kind::Packets) => return answered(Ok(()), socket),
        }
    }
    Step::Answered(Ok(()), None)
}

fn no_socket(errno: Errno) -> Failure {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ECONNREFUSED => Failure::NoSocket { reason: word(errno) },
        // There is no waiting for room, as there is with TCP.
        Errno::EAGAIN => Failure::CannotAsk {
            reason: "it accepts no connections, and its queue of them is full".to_owned(),
        },
        _ => Failure::CannotAsk { reason: word(errno) },
    }
}

fn no_file(errno: Errno) -> Failure {
    let reason = word(errno);
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => Failure::NoFile { reason },
        _ => Failure::CannotAsk { reason },
    }
}

/// What has been read of an answer.
#[derive(Debug, Default)]
pub struct Head {
    /// The beginning of a status line.
    line: Vec<u8>,
    interim: Option<Interim>,
    /// How much interim answers have taken.
    passed_over: usize,
}

/// Inside of an interim answer, which ends with an empty line.
#[derive(Clone, Copy, Debug)]
struct Interim {
    /// Whether the present line is empty so far.
    empty: bool,
}

impl Head {
    /// Takes what has come, and says what is known by now.
    pub fn take(&mut self, mut bytes: &[u8]) -> Answer {
        loop {
            if let Some(interim) = &mut self.interim {
                let Some(end) = bytes.iter().position(|byte| interim.ends_with(*byte)) else {
                    self.passed_over += bytes.len();
                    return self.more();
                };
                self.passed_over += end + 1;
                bytes = bytes.get(end + 1..).unwrap_or_default();
                self.interim = None;
                self.line.clear();
            }
            let wanted = (STATUS_BYTES + 1).saturating_sub(self.line.len()).min(bytes.len());
            let (beginning, rest) = bytes.split_at(wanted);
            self.line.extend_from_slice(beginning);
            bytes = rest;
            match probe::answer(&self.line) {
                // Another protocol was not asked for, so 101 is an answer like any other.
                Answer::Status(100 | 102..=199) => {
                    self.interim = Some(Interim { empty: self.line.ends_with(b"\n") });
                    self.passed_over += self.line.len();
                }
                Answer::More => return self.more(),
                decided @ (Answer::Garbage | Answer::Status(_)) => return decided,
            }
        }
    }

    fn more(&self) -> Answer {
        if self.passed_over > INTERIM_MAX_BYTES { Answer::Garbage } else { Answer::More }
    }
}

impl Interim {
    fn ends_with(&mut self, byte: u8) -> bool {
        match byte {
            b'\n' if self.empty => return true,
            b'\n' => self.empty = true,
            b'\r' => {}
            _ => self.empty = false,
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_answers_are_passed_over() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n".to_owned(), Answer::Status(200)),
            (format!("{early}HTTP/1.1 503 x\r\n"), Answer::Status(503)),
            (format!("HTTP/1.1 100\r\n\r\n{early}{early}HTTP/1.0 204\r\n"), Answer::Status(204)),
            ("HTTP/1.1 100\n\nHTTP/1.1 200\n".to_owned(), Answer::Status(200)),
            ("HTTP/1.1 101 Switching Protocols\r\n".to_owned(), Answer::Status(101)),
            (early.to_owned(), Answer::More),
            (format!("{early}SSH-2.0"), Answer::Garbage),
            (early.repeat(500), Answer::Garbage),
            (format!("HTTP/1.1 100 {}", "x".repeat(20_000)), Answer::Garbage),
        ] {
            assert_eq!(Head::default().take(answer.as_bytes()), expected, "{answer:.60}");
            // Byte by byte it is the same.
            let mut head = Head::default();
            let last = answer.bytes().map(|byte| head.take(&[byte])).find(|answer| *answer != Answer::More);
            assert_eq!(last.unwrap_or(Answer::More), expected, "{answer:.60}");
        }
    }
}
