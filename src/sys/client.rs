//! The other end of the control socket: finds a tinysup that runs, sends it a line, reads its lines. Nothing here waits without a
//! limit, and nobody else's output is waited for once nobody reads ours. Leaves what the lines mean to `client.rs`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::descriptors::{self, STDOUT};
use super::environment::variable;
use super::poll::{Interest, Poll};
use super::signals::bit;
use super::socket::{self, Address, Kind};
use super::{call, clock, control, signals};
use crate::control::{Place, SOCKET_VARIABLE};
use crate::gather::least;

/// The longest line of an answer; the status of ten thousand services is half of that.
const LINE_MAX_BYTES: usize = 16 << 20;
/// How much is read at once.
const PIECE_BYTES: usize = 64 << 10;
/// How long the last words may take to be read after a SIGTERM; SIGKILL follows a second after it.
const PARTING: Duration = Duration::from_millis(300);
/// Between two tries to connect where too many wait already.
const RETRY: Duration = Duration::from_millis(5);

/// Why there is no connection.
#[derive(Debug)]
pub enum NoConnection {
    /// Nobody listens at any of these.
    NotRunning(Vec<String>),
    /// Somebody does, but not to this user.
    Forbidden(String),
    /// Somebody does, but did not take the call in time.
    Busy(String),
    /// The system refused it.
    Failed(String, String),
}

/// Why a connection is of no use any more.
#[derive(Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing came in time.
    Late,
    /// The other side has closed it.
    Closed,
    /// A line is longer than any answer.
    TooLong,
    /// Nobody reads our own output any more.
    Unheard,
    /// A SIGTERM came, which the end of the container sends to everybody.
    Dismissed,
}

/// A point in time until which something may take.
#[derive(Clone, Copy, Debug)]
pub struct Limit(Option<Instant>);

impl Limit {
    /// So long from now; `None`: for ever.
    pub fn after(duration: Option<Duration>) -> Self {
        Self(duration.and_then(|duration| Instant::now().checked_add(duration)))
    }

    /// What is left of it.
    pub fn left(self) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(Instant::now()))
    }

    fn over(self) -> bool {
        self.left() == Some(Duration::ZERO)
    }
}

/// Whom a descriptor in the poll list belongs to, in that order.
#[derive(Clone, Copy, Debug)]
enum Source {
    Socket,
    Output,
    Signal,
}

/// A conversation with the tinysup that runs.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    received: Vec<u8>,
    /// Where the next line begins in it.
    next: usize,
    /// As far as it was looked for the end of that line.
    searched: usize,
    /// Whether it matters that somebody reads our output.
    heard: bool,
    /// Tells of a SIGTERM, where that is an end like another.
    dismissal: Option<OwnedFd>,
    /// When the end comes after it, however much is still to be read.
    dismissed: Limit,
    poll: Poll<Source>,
}

impl Connection {
    /// Connects to the one at `socket`, or wherever one listens.
    ///
    /// # Errors
    /// [`NoConnection`] says where it was looked and what was in the way.
    pub fn open(socket: Option<&Path>, limit: Limit) -> Result<Self, NoConnection> {
        let places = places(socket);
        let (mut looked, mut stranger) = (Vec::new(), None);
        for place in &places {
            match try_connect(place, limit) {
                // Where everybody may listen, what somebody says is no answer of ours.
                Ok((_, uid)) if !is_trusted(uid) => {
                    let why = format!("user {uid} listens there, not root, nor you, nor the user of PID 1");
                    stranger = stranger.or(Some(NoConnection::Failed(shown(place), why)));
                }
                Ok((socket, _)) => {
                    return Ok(Self {
                        socket,
                        received: Vec::new(),
                        next: 0,
                        searched: 0,
                        heard: false,
                        dismissal: None,
                        dismissed: Limit::after(None),
                        poll: Poll::new(),
                    });
                }
                // What is not there, was left by somebody who is gone, or belongs to another container.
                Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::ENOTDIR | Errno::ESRCH) => {
                    looked.push(shown(place));
                }
                Err(Errno::EACCES | Errno::EPERM) => return Err(NoConnection::Forbidden(shown(place))),
                Err(Errno::EAGAIN) => return Err(NoConnection::Busy(shown(place))),
                Err(errno) => {
                    return Err(NoConnection::Failed(shown(place), super::word(errno)));
                }
            }
        }
        Err(stranger.unwrap_or(NoConnection::NotRunning(looked)))
    }

    /// Who listens there, if that is a process of our own PID namespace and sees the same files as we do: not that of another container.
    pub fn neighbour(&self) -> Option<i32> {
        let pid = socket::peer(&self.socket).ok()?.0;
        let mounts = |process: &str| {
            call::status(Path::new(&format!("/proc/{process}/ns/mnt"))).map(|file| file.st_ino)
        };
        // One that we may not look at is asked all the same.
        let theirs = mounts(&pid.to_string()).ok();
        (pid != 0 && theirs.is_none_or(|theirs| mounts("self").is_ok_and(|ours| ours == theirs)))
            .then_some(pid)
    }

    /// From now on, the end of whoever reads our standard output ends the wait for a line.
    pub fn only_while_heard(&mut self) {
        self.heard = true;
    }

    /// For those who stay until the end of the container, which sends SIGTERM to all: from now on that ends the wait for a line, but not
    /// before what there is has been read.
    pub fn until_dismissed(&mut self) {
        let wanted = bit(libc::SIGTERM);
        if let Ok(descriptor) = signals::signalfd(wanted) {
            signals::swap_mask(wanted);
            self.dismissal = Some(descriptor);
        }
    }

    /// Sends a line, whose end is part of it. One that is not taken any more is no error: there may be an answer all the same.
    ///
    /// # Errors
    /// [`Lost`], when it is not taken in time.
    pub fn send(&mut self, line: &[u8], limit: Limit) -> Result<(), Lost> {
        let mut rest = line;
        while !rest.is_empty() {
            match socket::send(self.socket.as_fd(), rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait(Interest::Write, limit)?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Waits for the next line; without its end.
    ///
    /// # Errors
    /// [`Lost`], when there is none in time, or none any more.
    pub fn line(&mut self, limit: Limit) -> Result<&[u8], Lost> {
        loop {
            if let Some(end) = self.end_of_line() {
                let line = self.received.get(self.next..end).unwrap_or_default();
                (self.next, self.searched) = (end + 1, end + 1);
                return Ok(line);
            }
            self.received.drain(..self.next);
            (self.next, self.searched) = (0, self.received.len());
            if self.received.len() > LINE_MAX_BYTES {
                return Err(Lost::TooLong);
            }
            match descriptors::read(self.socket.as_fd(), PIECE_BYTES) {
                Ok(bytes) if bytes.is_empty() => return Err(Lost::Closed),
                Ok(bytes) => self.received.extend_from_slice(&bytes),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait(Interest::Read, limit)?,
                Err(_) => return Err(Lost::Closed),
            }
        }
    }

    /// Whether a line is here already.
    pub fn has_line(&mut self) -> bool {
        self.end_of_line().is_some()
    }

    fn end_of_line(&mut self) -> Option<usize> {
        let found =
            crate::search::first(b'\n', self.received.get(self.searched..)?).map(|at| self.searched + at);
        self.searched = found.unwrap_or(self.received.len());
        found
    }

    fn wait(&mut self, interest: Interest, limit: Limit) -> Result<(), Lost> {
        if self.dismissed.over() {
            return Err(Lost::Dismissed);
        }
        if limit.over() {
            return Err(Lost::Late);
        }
        self.poll.clear();
        self.poll.watch(Source::Socket, self.socket.as_fd(), interest);
        if self.heard {
            self.poll.watch(Source::Output, STDOUT, Interest::End);
        }
        if let Some(descriptor) = &self.dismissal {
            self.poll.watch(Source::Signal, descriptor.as_fd(), Interest::Read);
        }
        let dismissed = self.dismissed.left();
        self.poll.wait(least(limit.left(), dismissed));
        match self.poll.ready().next() {
            Some(Source::Socket) => Ok(()),
            // Nothing more has come.
            None if dismissed.is_some() => Err(Lost::Dismissed),
            None => Ok(()),
            Some(Source::Output) => Err(Lost::Unheard),
            Some(Source::Signal) => {
                // Whoever ends the container has sent what there was for us before; a slow socket may still hold it back.
                (self.dismissal, self.dismissed) = (None, Limit::after(Some(PARTING)));
                Ok(())
            }
        }
    }
}

/// Milliseconds since 1970.
pub fn unix_time_ms() -> u64 {
    clock::wall().0
}

/// Whether the shell would find a program of that name.
pub fn in_path(program: &str) -> bool {
    let path = variable(b"PATH").unwrap_or_default();
    path.as_bytes().split(|byte| *byte == b':').any(|folder| {
        call::status(&Path::new(OsStr::from_bytes(folder)).join(program))
            .is_ok_and(|file| call::is_file(&file) && file.st_mode & 0o111 != 0)
    })
}

/// Whether both paths lead to one file that can be read again.
pub fn is_one_file(one: &Path, other: &Path) -> bool {
    let file = |path| call::status(path).ok().filter(call::is_file).map(|file| call::identity(&file));
    file(one).is_some_and(|found| file(other) == Some(found))
}

/// Where one may listen. What begins with `@` is an abstract name.
#[inline(never)]
fn places(socket: Option<&Path>) -> Vec<PathBuf> {
    let variable = variable(SOCKET_VARIABLE.as_bytes()).filter(|value| !value.is_empty());
    let named = socket.map(Path::to_path_buf).or_else(|| variable.map(PathBuf::from));
    named.map_or_else(|| control::places(&Place::Usual), |place| vec![place])
}

fn shown(place: &Path) -> String {
    place.display().to_string()
}

/// Whether whoever listens may be a tinysup that is asked: root's, our own user's, or PID 1.
fn is_trusted(uid: u32) -> bool {
    call::is_user_of_ours(uid) || call::status(Path::new("/proc/1")).is_ok_and(|first| first.st_uid == uid)
}

/// A connection, and the user who listens there.
#[inline(never)]
fn try_connect(place: &Path, limit: Limit) -> nix::Result<(OwnedFd, u32)> {
    let address = Address::unix(place.as_os_str())?;
    let socket = loop {
        match address.connect(Kind::Stream) {
            // Too many wait already, and no event tells when there is room.
            Err(Errno::EAGAIN) if !limit.over() => {
                Poll::<()>::new().wait(Some(RETRY));
            }
            other => break other?,
        }
    };
    // Somebody in another PID namespace has no pid here: a folder that two containers share.
    match socket::peer(&socket)? {
        (0, _) => Err(Errno::ESRCH),
        (_, uid) => Ok((socket, uid)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tinysup-client-{}-{name}", std::process::id()));
            let _ = fs::remove_file(&path);
            Self(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn soon() -> Limit {
        Limit::after(Some(Duration::from_mins(1)))
    }

    #[test]
    fn nobody_there_is_told_with_the_place() {
        let place = Place::new("nobody");
        let told = |path: &Path| match Connection::open(Some(path), soon()) {
            Err(NoConnection::NotRunning(looked)) => looked,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&place.0), [place.0.display().to_string()]);
        drop(UnixListener::bind(&place.0).unwrap());
        assert_eq!(told(&place.0).len(), 1, "left by somebody who is gone");
        assert_eq!(told(Path::new("@tinysup-no-such-name")), ["@tinysup-no-such-name"]);
        let long = PathBuf::from("/".to_owned() + &"x".repeat(200));
        assert!(matches!(Connection::open(Some(&long), soon()), Err(NoConnection::Failed(..))));
    }

    #[test]
    fn lines_come_whole_in_whatever_pieces() {
        let place = Place::new("lines");
        let listener = UnixListener::bind(&place.0).unwrap();
        let mut connection = Connection::open(Some(&place.0), soon()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        connection.send(b"hello\n", soon()).unwrap();
        let mut heard = [0; 6];
        server.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello\n");
        let long = "x".repeat(3 * PIECE_BYTES);
        let sender = std::thread::spawn(move || {
            for piece in ["on", "e\ntwo\n\nth", "ree\n", &long, "\nrest"] {
                server.write_all(piece.as_bytes()).unwrap();
            }
        });
        for expected in ["one", "two", "", "three"] {
            assert_eq!(connection.line(soon()).unwrap(), expected.as_bytes());
        }
        assert_eq!(connection.line(soon()).unwrap().len(), 3 * PIECE_BYTES);
        sender.join().unwrap();
        assert_eq!(connection.line(soon()), Err(Lost::Closed), "half a line is none");
    }

    #[test]
    fn silence_ends_with_the_limit() {
        let place = Place::new("silence");
        let listener = UnixListener::bind(&place.0).unwrap();
        let mut connection = Connection::open(Some(&place.0), soon()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        assert_eq!(connection.line(Limit::after(Some(Duration::from_millis(20)))), Err(Lost::Late));
    }

    #[test]
    fn a_server_that_never_reads_ends_with_the_limit() {
        let place = Place::new("deaf");
        let listener = UnixListener::bind(&place.0).unwrap();
        let mut connection = Connection::open(Some(&place.0), soon()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        let much = vec![b'x'; 8 << 20];
        assert_eq!(connection.send(&much, Limit::after(Some(Duration::from_millis(20)))), Err(Lost::Late));
    }

    #[test]
    fn an_answer_is_read_although_the_request_was_not_taken() {
        let place = Place::new("refused");
        let listener = UnixListener::bind(&place.0).unwrap();
        let mut connection = Connection::open(Some(&place.0), soon()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"no\n").unwrap();
        drop(server);
        connection.send(b"hello\n", soon()).unwrap();
        assert_eq!(connection.line(soon()).unwrap(), b"no");
    }
}
