//! The control socket: where it is, who may come, and the bytes that go both ways. What a request means the core decides; whoever
//! has said nothing for too long, or does not take his answer, it tells us to drop.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use super::clock::Clock;
use super::environment::variable;
use super::poll::{Interest, Poll};
use super::signals::OF_DIRECTORY;
use super::socket::{self, Kind};
use super::{call, descriptors, procfs, word};
use crate::control::{
    Answer, Place, REQUEST_MAX, Refused, Request, SOCKET_ABSTRACT, SOCKET_PATHS, SOCKET_VARIABLE,
};
use crate::event::{Client, Event, Time, report};
use crate::gather::{Gather, Joined};

/// So many clients at once; more wait until one of them has gone.
const CLIENTS_MAX: usize = 32;

/// So many may wait to be let in.
const WAITING_MAX: libc::c_int = 128;

/// So many are let in before others have their turn.
const ACCEPTS_PER_TURN: usize = 8;

/// Who has more than this waiting for him gets nothing more and loses his connection. A turn of lines and one long line may be six
/// times as long in JSON as they were.
const PENDING_MAX_BYTES: usize = 640 << 10;

/// So much is read at once.
const READ_BYTES: usize = 4096;

/// Descriptors that are left for what the services need to start; a quarter of them where there are few.
const RESERVED_DESCRIPTORS: u64 = 32;

/// The longest path that a socket can have (unix(7)).
const PATH_MAX_BYTES: usize = 107;

/// So often the socket is made again after somebody has removed it, within a [`WHILE`]; after that he seems to mean it.
const REMADE_MAX: u32 = 100;

/// So often its directory may wake us for the sake of other files, within a [`WHILE`]. Where that much happens it is watched no more.
const IN_VAIN_MAX: u32 = 1000;

/// What happens now and then never comes to an end, however long the container runs.
const WHILE: Duration = Duration::from_hours(1);

/// Which signal tells of a directory; fcntl(2).
const F_SETSIG: libc::c_int = 10;
/// What is to be told of it, with F_NOTIFY: that a file came, was removed, or got another name; again and again.
const DN_CREATE: libc::c_int = 0x4;
const DN_DELETE: libc::c_int = 0x8;
const DN_RENAME: libc::c_int = 0x10;
const DN_MULTISHOT: libc::c_int = 1 << 31;

/// The socket and who has come to it.
#[derive(Debug)]
pub struct Control {
    /// Where they are not known, a directory is not watched: that comes as a signal.
    senders: bool,
    place: Place,
    socket: Option<Socket>,
    guests: Vec<Guest>,
    /// How many clients there have been.
    count: u64,
    /// Descriptors from this number on are not for clients.
    highest: RawFd,
    /// Nobody can be let in for want of descriptors or memory; not tried again before the next turn.
    muted: bool,
    remade: Often,
    in_vain: Often,
}

/// How often something has happened, and since when.
#[derive(Debug)]
struct Often {
    since: Time,
    count: u32,
}

impl Often {
    const NEVER: Self = Self { since: Time::ZERO, count: 0 };

    /// Once more; how often within this [`WHILE`].
    #[inline(never)]
    fn again(&mut self, now: Time) -> u32 {
        if now.since(self.since) >= WHILE {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        self.count
    }
}

#[derive(Debug)]
struct Socket {
    listener: OwnedFd,
    /// `None`: it is abstract.
    file: Option<SocketFile>,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: Inode,
    /// Its directory, of whose changes the kernel tells us by a signal. Without it any signal is a reason to look.
    watched: Option<File>,
}

/// Device and number.
type Inode = (u64, u64);

/// Where a socket can be.
#[derive(Debug)]
enum Address {
    Path(PathBuf),
    Abstract(OsString),
}

/// A client.
#[derive(Debug)]
struct Guest {
    client: Client,
    socket: OwnedFd,
    /// What it has said of its request; `None`: all of it.
    said: Option<Said>,
    /// What it has not taken yet.
    pending: Vec<u8>,
    /// How much of that is on its way.
    sent: usize,
    /// Something was added since the last attempt to send.
    fresh: bool,
    /// It goes when it has all that.
    last: bool,
}

/// The beginning of a request: of a line that has not come to its end.
#[derive(Debug, Default)]
pub struct Said(Vec<u8>);

/// Whom a descriptor belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    Listener,
    Guest(Client),
}

impl Control {
    /// No socket yet. `senders`: it is known of each signal whether the kernel or somebody else sent it.
    pub fn new(senders: bool) -> Self {
        Self {
            senders,
            place: Place::Off,
            socket: None,
            guests: Vec::new(),
            count: 0,
            highest: RawFd::MAX,
            muted: false,
            remade: Often::NEVER,
            in_vain: Often::NEVER,
        }
    }

    /// Listens where it can. Where it cannot, that is told; for the services it makes no difference.
    pub fn open(&mut self, place: Place) {
        let addresses = addresses(&place);
        self.place = place;
        if addresses.is_empty() {
            return;
        }
        let soft = call::limit(libc::RLIMIT_NOFILE as _).map_or(u64::MAX, |(soft, _)| soft);
        self.highest = RawFd::try_from(soft - RESERVED_DESCRIPTORS.min(soft / 4)).unwrap_or(RawFd::MAX);
        let mut obstacles = Vec::new();
        for address in addresses {
            match address.bind(self.senders) {
                Ok(socket) => {
                    say!(Debug, "the control socket is {address}");
                    for obstacle in obstacles.iter().filter(|obstacle: &&Obstacle| obstacle.taken) {
                        say!(Warn, "{}; here it is {address}: set {SOCKET_VARIABLE} for both", obstacle.text);
                    }
                    self.socket = Some(socket);
                    return;
                }
                Err(obstacle) => obstacles.push(obstacle),
            }
        }
        let texts: Vec<&str> = obstacles.iter().map(|obstacle| &*obstacle.text).gather();
        say!(
            Warn,
            "no control socket, so tinysup cannot be asked anything: {}. {SOCKET_VARIABLE} names another place",
            texts.joined("; ")
        );
    }

    /// The end: the file of the socket goes.
    pub fn leave(&mut self) {
        self.socket = None;
    }

    /// Whether somebody waits who could not be let in, although nothing more may happen.
    pub fn muted(&self) -> bool {
        self.muted
    }

    /// Adds to `poll` what is listened to.
    pub fn watch<Owner: Copy>(&mut self, poll: &mut Poll<Owner>, owner: impl Fn(Source) -> Owner) {
        let Some(socket) = &self.socket else { return };
        if self.guests.len() < CLIENTS_MAX && !std::mem::take(&mut self.muted) {
            poll.watch(owner(Source::Listener), socket.listener.as_fd(), Interest::Read);
        }
        for guest in &self.guests {
            let interest = match (&guest.said, guest.pending.is_empty()) {
                (Some(_), _) => Interest::Read,
                (None, false) => Interest::Write,
                (None, true) => Interest::End,
            };
            poll.watch(owner(Source::Guest(guest.client)), guest.socket.as_fd(), interest);
        }
    }

    /// Something has happened there.
    #[inline(never)]
    pub fn ready(&mut self, source: Source, events: &mut Vec<Event>) {
        match source {
            Source::Listener => self.accept(events),
            Source::Guest(client) => {
                let Some(index) = self.guests.iter().position(|guest| guest.client == client) else { return };
                let stays = self.guests.get_mut(index).is_some_and(|guest| match &guest.said {
                    Some(_) => guest.read(events),
                    // Without anything to send it can only be the end.
                    None => !guest.pending.is_empty() && guest.send(events),
                });
                if !stays {
                    self.remove(index, events);
                }
            }
        }
    }

    /// A line for a client. It is on its way with the next `flush`.
    #[inline(never)]
    pub fn answer(&mut self, client: Client, answer: &Answer, last: bool, events: &mut Vec<Event>) {
        let Some(index) = self.guests.iter().position(|guest| guest.client == client) else { return };
        if let Some(guest) =
            self.guests.get_mut(index).filter(|g| g.pending.len() - g.sent <= PENDING_MAX_BYTES)
        {
            guest.pending.append(&mut answer.line());
            (guest.fresh, guest.last) = (true, last);
        } else {
            self.remove(index, events);
        }
    }

    /// Closes a connection.
    pub fn disconnect(&mut self, client: Client) {
        self.guests.retain(|guest| guest.client != client);
    }

    /// Sends what was added.
    pub fn flush(&mut self, events: &mut Vec<Event>) {
        let mut index = 0;
        while let Some(guest) = self.guests.get_mut(index) {
            if guest.fresh && !guest.send(events) {
                self.remove(index, events);
            } else {
                index += 1;
            }
        }
    }

    fn remove(&mut self, index: usize, events: &mut Vec<Event>) {
        let client = self.guests.remove(index).client;
        report(events, Event::Left { client });
    }

    #[inline(never)]
    fn accept(&mut self, events: &mut Vec<Event>) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(socket) = self.socket.as_ref().filter(|_| self.guests.len() < CLIENTS_MAX) else {
                return;
            };
            let stranger = match socket::accept(socket.listener.as_fd()) {
                Ok(stranger) => stranger,
                Err(Errno::EINTR | Errno::ECONNABORTED) => continue,
                Err(Errno::EAGAIN) => return,
                Err(errno) => {
                    say!(Debug, "cannot accept a client: {}", word(errno));
                    self.muted = true;
                    return;
                }
            };
            if let Err(answer) = admit(&stranger, socket.file.is_none(), self.highest) {
                let _ = socket::send(stranger.as_fd(), &answer.line()); // he may be gone already
                continue;
            }
            self.count += 1;
            let client = Client(self.count);
            report(events, Event::Connected { client });
            let mut guest = Guest {
                client,
                socket: stranger,
                said: Some(Said::default()),
                pending: Vec::new(),
                sent: 0,
                fresh: false,
                last: false,
            };
            // Usually it has asked already.
            if guest.read(events) {
                self.guests.push(guest);
            } else {
                report(events, Event::Left { client });
            }
        }
    }

    /// A signal has come; `told`: the one that tells of changes in the socket's directory. Makes a socket that somebody has removed anew.
    #[inline(never)]
    pub fn look_after_file(&mut self, told: bool, clock: &Clock, events: &mut Vec<Event>) {
        let Some(file) = self.socket.as_mut().and_then(|socket| socket.file.as_mut()) else { return };
        if !told && file.watched.is_some() {
            return;
        }
        if inode(&file.path) == Some(file.inode) {
            if told && self.in_vain.again(clock.now()) > IN_VAIN_MAX {
                file.watched = None;
            }
            return;
        }
        say!(Info, "somebody has removed {}", file.path.display());
        // Who came before that is let in.
        self.accept(events);
        self.socket = None;
        if self.remade.again(clock.now()) <= REMADE_MAX {
            self.open(self.place.clone());
        } else {
            say!(Warn, "no control socket any more: it was removed {REMADE_MAX} times within an hour");
        }
    }
}

/// Who may stay: root, and the user we are. Says why not, before a byte of him was read. `open`: no mode of a file keeps others out.
#[inline(never)]
fn admit(stranger: &OwnedFd, open: bool, highest: RawFd) -> Result<(), Answer> {
    let own = nix::unistd::geteuid().as_raw();
    let peer = match socket::peer(stranger) {
        // Whom gVisor tells is always who asks it.
        Ok((pid, _)) if open && pid == procfs::own_pid() => Err(Errno::ENOSYS),
        peer => peer,
    };
    match peer {
        Ok((_, uid)) if !call::is_user_of_ours(uid) => {
            let text = format!("only root and user {own} may ask this tinysup, not user {uid}");
            Err(Answer::refused(Refused::Forbidden, text))
        }
        Err(errno) => {
            let text = format!("it cannot be known who asks: {}", word(errno));
            Err(Answer::refused(Refused::Forbidden, text))
        }
        Ok(_) if stranger.as_raw_fd() >= highest => {
            Err(Answer::refused(Refused::Busy, "too many files are open; the services come first"))
        }
        Ok(_) => Ok(()),
    }
}

impl Said {
    /// Takes what came next; what is asked, as soon as that is decided. What follows the line is not looked at.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Result<Request, String>> {
        let from = self.0.len();
        self.0.extend_from_slice(bytes);
        match crate::search::first(b'\n', bytes) {
            Some(at) => Some(self.request(from + at)),
            None => (self.0.len() > REQUEST_MAX).then(|| self.request(self.0.len())),
        }
    }

    /// Nothing more comes: what there is of a line is the whole of it, if there is anything.
    pub fn end(&self) -> Option<Result<Request, String>> {
        (!self.0.is_empty()).then(|| self.request(self.0.len()))
    }

    fn request(&self, length: usize) -> Result<Request, String> {
        match self.0.get(..length) {
            Some(line) if line.len() < REQUEST_MAX => Request::parse(line),
            Some(_) | None => Err(format!("a request has at most {} KiB", REQUEST_MAX >> 10)),
        }
    }
}

impl Guest {
    /// Reads its request. Says whether it is still there.
    fn read(&mut self, events: &mut Vec<Event>) -> bool {
        let Some(said) = &mut self.said else { return true };
        let request = loop {
            let request = match descriptors::read(self.socket.as_fd(), READ_BYTES) {
                Ok(bytes) if bytes.is_empty() => match said.end() {
                    Some(request) => break request,
                    None => return false,
                },
                Ok(bytes) => said.take(&bytes),
                Err(Errno::EAGAIN) => return true,
                Err(Errno::EINTR) => None,
                Err(_) => return false,
            };
            if let Some(request) = request {
                break request;
            }
        };
        self.said = None;
        report(events, Event::Asked { client: self.client, request });
        true
    }

    /// Sends what it takes now. Says whether it is still there.
    fn send(&mut self, events: &mut Vec<Event>) -> bool {
        self.fresh = false;
        while let Some(rest) = self.pending.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match socket::send(self.socket.as_fd(), rest) {
                Ok(count) => self.sent += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.pending.drain(..self.sent);
                    self.sent = 0;
                    return true;
                }
                Err(_) => return false,
            }
        }
        (self.pending, self.sent) = (Vec::new(), 0);
        if !self.last {
            report(events, Event::Taken { client: self.client });
        }
        !self.last
    }
}

/// Why there is no socket at an address.
struct Obstacle {
    text: String,
    /// Somebody else listens there.
    taken: bool,
}

/// Where it is tried, in this order, as clients name it.
pub fn places(place: &Place) -> Vec<PathBuf> {
    addresses(place).iter().map(|address| address.to_string().into()).gather()
}

/// Where it is tried, in this order.
fn addresses(place: &Place) -> Vec<Address> {
    let named = variable(SOCKET_VARIABLE.as_bytes()).filter(|value| !value.is_empty());
    match (place, named) {
        (Place::Off, _) => Vec::new(),
        (Place::At(_) | Place::Usual, Some(value)) => match value.as_bytes().strip_prefix(b"@") {
            Some(name) => vec![Address::Abstract(OsStr::from_bytes(name).to_owned())],
            None => vec![Address::Path(value.into())],
        },
        (Place::At(path), None) => vec![Address::Path(path.clone())],
        (Place::Usual, None) => {
            let namespace = call::status(Path::new("/proc/self/ns/mnt")).map_or(0, |status| status.st_ino);
            let last = Address::Abstract(format!("{SOCKET_ABSTRACT}{namespace}").into());
            let mut addresses: Vec<_> = SOCKET_PATHS.iter().map(|path| Address::Path(path.into())).gather();
            addresses.push(last);
            addresses
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", name.display()),
        }
    }
}

impl Address {
    #[inline(never)]
    fn bind(&self, watching: bool) -> Result<Socket, Obstacle> {
        let told = |text: String| Obstacle { text: format!("{self}: {text}"), taken: false };
        match self {
            Self::Path(path) => {
                look_at(path).map_err(|(text, taken)| Obstacle { text: format!("{self} {text}"), taken })?;
                let file = |listener: OwnedFd| -> Result<Socket, String> {
                    let watched = watching.then(|| watch(directory(path))).flatten();
                    let inode = inode(path).ok_or("it is gone again")?;
                    let path = path.clone();
                    Ok(Socket { listener, file: Some(SocketFile { path, inode, watched }) })
                };
                bind_path(path).and_then(file).map_err(told)
            }
            Self::Abstract(name) => {
                match socket::Address::abstract_name(name.as_bytes())
                    .and_then(|address| address.listen(WAITING_MAX))
                {
                    Ok(listener) => Ok(Socket { listener, file: None }),
                    Err(Errno::EADDRINUSE) => {
                        Err(Obstacle { text: format!("another tinysup listens on {self}"), taken: true })
                    }
                    Err(errno) => Err(told(word(errno))),
                }
            }
        }
    }
}

/// Whether nothing is in the way at a path but, perhaps, a socket on which nobody listens any more.
#[inline(never)]
fn look_at(path: &Path) -> Result<(), (String, bool)> {
    match call::status_of_link(path) {
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err((format!("cannot be looked at: {}", word(errno)), false)),
        Ok(status) if call::kind(&status) != libc::S_IFSOCK => {
            Err(("is there already, and is no socket".to_owned(), false))
        }
        Ok(_) => {
            match socket::Address::file(path.as_os_str()).and_then(|address| address.connect(Kind::Stream)) {
                Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(()),
                Ok(_) | Err(Errno::EAGAIN) => Err(("belongs to another tinysup".to_owned(), true)),
                Err(errno) => Err((format!("belongs to somebody else: {}", word(errno)), false)),
            }
        }
    }
}

/// Binds under another name and renames, so that whoever sees the path sees a socket that is for its owner alone, and on which
/// somebody listens.
#[inline(never)]
fn bind_path(path: &Path) -> Result<OwnedFd, String> {
    let temporary = directory(path).join(format!(".tinysup-{}", std::process::id()));
    for name in [path, &temporary] {
        let length = name.as_os_str().len();
        if length > PATH_MAX_BYTES {
            return Err(format!("a socket's path has at most {PATH_MAX_BYTES} bytes, and this has {length}"));
        }
    }
    let address = socket::Address::file(temporary.as_os_str()).map_err(word)?;
    let _ = call::remove_file(&temporary); // of one that had our number before
    let before = call::umask(0o177);
    let listener = address.listen(WAITING_MAX);
    call::umask(before);
    let listener = listener.map_err(word)?;
    call::rename(&temporary, path).map_err(|errno| {
        let _ = call::remove_file(&temporary);
        word(errno)
    })?;
    Ok(listener)
}

fn inode(path: &Path) -> Option<Inode> {
    call::status_of_link(path).ok().map(|status| call::identity(&status))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// From now on a signal tells of what happens in a directory, as long as the file is open. inotify could watch the socket alone, but the
/// end of a process that used it waits in the kernel, for ten milliseconds and more, until nobody can be looking at the watch any more.
fn watch(directory: &Path) -> Option<File> {
    let file = call::open(directory, libc::O_RDONLY).ok()?;
    let what = DN_CREATE | DN_DELETE | DN_RENAME | DN_MULTISHOT;
    call::fcntl(file.as_raw_fd(), F_SETSIG, OF_DIRECTORY).ok()?;
    call::fcntl(file.as_raw_fd(), libc::F_NOTIFY, what).ok()?;
    Some(file)
}

/// Nobody can ask any more; the name is free for others.
impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|file| inode(&file.path) == Some(file.inode)) {
            let _ = call::remove_file(&file.path); // it may be gone, or we may not
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_now_and_then_never_adds_up() {
        let minutes = |minutes: u64| Time::ZERO + Duration::from_mins(minutes);
        let mut often = Often::NEVER;
        for (minute, expected) in [(0, 1), (0, 2), (59, 3), (60, 1), (61, 2), (119, 3), (120, 1), (999, 1)] {
            assert_eq!(often.again(minutes(minute)), expected, "in minute {minute}");
        }
        // Every four seconds, for a year.
        let mut most = 0;
        for number in 0..365 * 24 * 3600 / 4 {
            most = most.max(often.again(minutes(2000) + Duration::from_secs(number * 4)));
        }
        assert!(most < IN_VAIN_MAX, "{most}");
    }
}
