//! Makes processes: prepares everything in advance, forks, and leaves the rest to `child`. Never waits for the exec, which a
//! hung file system may delay for ever; how it went comes through a pipe that the loop watches.

#![expect(unsafe_code, reason = "fork, and terminal calls on descriptors that nobody owns")]

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use nix::errno::Errno;

use super::cells::Entrance;
use super::child::{self, Script, Strings};
use super::environment::{self, DEFAULT_PATH, Environment};
use super::mailbox::{Mailbox, Post};
use super::relay::Purpose;
use super::signals::{self, SignalSet};
use super::{Inherited, call, children, descriptors, procfs, tag, terminal, trap, users, word};
use crate::event::{Child, InstanceId, Launch, Output, Pid, Sink, StartError, Stdin, Surroundings};
use crate::gather::Gather;
use crate::units::{parse_number, parse_signed};

/// RLIMIT_NOFILE, whose type is not the same in all C libraries.
const FILES_LIMIT: u32 = 7;

/// So much higher than ours is the OOM score adjustment of services: when memory runs out, what they hold counts for 2 % of the container's
/// limit more. In the smallest of containers that is more than PID 1 holds, so it is never the first to go, also among many small
/// services; and it is little enough that another container that has eaten up the machine's memory goes before ours.
const OOM_SCORE_STEP: i32 = 20;

/// The highest there is (proc_pid_oom_score_adj(5)).
const OOM_SCORE_MAX: i32 = 1000;

/// What all children have in common.
#[derive(Debug)]
pub struct Spawner {
    environment: Environment,
    /// The signal mask that we inherited.
    mask: SignalSet,
    /// The signals whose disposition is not as we inherited it, and those of them that were ignored.
    dispositions: (SignalSet, SignalSet),
    /// The signals whose disposition is not the default here, or may not be.
    set: SignalSet,
    /// Which of descriptors 0, 1 and 2 a child that inherits them finds closed, as we did.
    closed: [bool; 3],
    null: Option<OwnedFd>,
    post: Post,
    /// The open files limit that we were given; ours is higher.
    files_limit: Option<libc::rlimit>,
    /// The OOM score adjustment of services that ask for none; `None`: ours.
    oom_score_adj: Option<i32>,
    /// The terminal that we gave away, and to which group.
    given: Option<(Terminal, Pid)>,
    /// There is one command, and nothing else that needs our working directory.
    alone: bool,
}

/// A child that was made.
#[derive(Debug)]
pub struct Spawned {
    /// Its pid.
    pub pid: Pid,
    /// Where to read how the exec went.
    pub report: OwnedFd,
    /// What to read of its outputs: 1, then 2.
    pub outputs: [Stream; 2],
    /// Its notification socket, if it has one.
    pub mailbox: Option<Mailbox>,
    /// Where to read its announcement, if it may make one.
    pub announcement: Option<OwnedFd>,
    /// What to tell about it should it fail.
    pub attempt: Attempt,
}

impl Spawned {
    /// Adds the descriptors that belong to it.
    pub fn held(&self, held: &mut Vec<RawFd>) {
        held.push(self.report.as_raw_fd());
        for descriptor in self.attempt.home.iter().chain(&self.announcement) {
            held.push(descriptor.as_raw_fd());
        }
        for stream in &self.outputs {
            match stream {
                Stream::Elsewhere => {}
                Stream::Read(pipe, _) => held.push(pipe.as_raw_fd()),
            }
        }
        if let Some(mailbox) = &self.mailbox {
            held.push(mailbox.as_fd().as_raw_fd());
        }
    }
}

/// What happens to one output stream of a child.
#[derive(Debug)]
pub enum Stream {
    /// It goes past us.
    Elsewhere,
    /// We read it.
    Read(OwnedFd, Purpose),
}

/// What was tried, for the explanation of a failure.
#[derive(Debug)]
pub struct Attempt {
    /// The order.
    pub launch: Rc<Launch>,
    /// What was searched, if the program has no slash.
    pub path: Option<Vec<u8>>,
    /// The size of arguments and environment in bytes.
    pub size: usize,
    /// The user to become.
    pub uid: Option<u32>,
    /// The resource limits, in the order they are set.
    pub rlimits: Vec<(u32, libc::rlimit)>,
    /// The working directory that we have left.
    pub home: Option<OwnedFd>,
}

impl Spawner {
    /// Keeps what children get, and raises our own limit of open files.
    pub fn new(inherited: Inherited, dispositions: (SignalSet, SignalSet)) -> Self {
        Self {
            // Asked once, as each start would have sixty calls more.
            set: dispositions.0 | signals::ignored_now() | signals::bit(trap::SIGNAL),
            closed: [false; 3],
            null: descriptors::null().ok().filter(|null| null.as_raw_fd() > 2),
            files_limit: raise_files_limit(),
            oom_score_adj: raised_oom_score(),
            alone: false,
            ..Self::of_one(inherited, dispositions)
        }
    }

    /// The same for one command, which gets what we have.
    #[inline(never)]
    pub fn of_one(inherited: Inherited, dispositions: (SignalSet, SignalSet)) -> Self {
        Self {
            environment: Environment::inherited(),
            mask: inherited.mask,
            dispositions,
            set: SignalSet::MAX,
            closed: inherited.closed,
            null: None,
            post: Post::default(),
            files_limit: None,
            oom_score_adj: None,
            given: None,
            alone: true,
        }
    }

    /// Adds the descriptors that are in use.
    pub fn held(&self, held: &mut Vec<RawFd>) {
        if let Some(null) = &self.null {
            held.push(null.as_raw_fd());
        }
        if let Some((terminal, _)) = &self.given {
            held.push(terminal.descriptor());
        }
        self.post.held(held);
    }

    /// The end: the directories of the sockets go.
    pub fn leave(&mut self) {
        self.post = Post::default();
    }

    /// To whom the terminal was given.
    pub fn has_terminal(&self) -> Option<Pid> {
        self.given.as_ref().map(|(_, group)| *group)
    }

    /// A child has ended: if the terminal is still its group's, it is ours again.
    pub fn take_terminal_back(&mut self, pid: Pid) {
        if let Some((terminal, _)) = self.given.take_if(|(_, group)| *group == pid) {
            // SIGTTOU is blocked or ignored, so this is not refused to the background.
            if terminal::foreground(terminal.descriptor()) == pid.number() {
                // SAFETY: plain call.
                terminal::set_foreground(terminal.descriptor(), unsafe { libc::getpgrp() });
            }
        }
    }

    /// Makes a process.
    #[inline(never)]
    pub fn spawn(
        &mut self,
        child: Child,
        launch: &Rc<Launch>,
        extra: &[(&'static str, String)],
        cell: Option<&Entrance>,
    ) -> Result<Spawned, Box<StartError>> {
        let identity = users::resolve(&launch.identity)?;
        let mailbox = launch.speaks.notify.then(|| self.post.open(child, identity.uid)).transpose()?;
        let mut extra = extra.to_vec();
        if let Some(mailbox) = &mailbox {
            extra.push(("NOTIFY_SOCKET", mailbox.path().display().to_string()));
        }
        let envp = self.environment.of_child(launch, &identity, &extra)?;
        let argv = arguments(launch)?;
        let attempt = Attempt::new(launch, &argv, &envp, identity.uid);

        let (report, mut report_end) = pipe(None)?;
        let stdio = self.stdio(launch, identity.uid)?;
        let announcement = launch.speaks.descriptor.map(|_| pipe(identity.uid)).transpose()?;
        let (announcement, mut announcement_end) = announcement.unzip();
        if let Some(number) = launch.speaks.descriptor {
            // That number is where the child expects its own end; nothing that it needs until exec may stand there.
            for descriptor in std::iter::once(&mut report_end).chain(&mut announcement_end) {
                if descriptor.as_raw_fd() == number {
                    *descriptor = call::duplicate(descriptor).map_err(no_process)?;
                }
            }
        }
        let terminal = match launch.surroundings {
            Surroundings::Service => None,
            Surroundings::Command => Terminal::ours(self.given.as_ref().map(|(_, group)| *group)),
            Surroundings::Session => Terminal::controlling(),
        };
        if let (Surroundings::Session, Some(terminal)) = (launch.surroundings, &terminal) {
            signals::leave_terminal(terminal.descriptor());
        }
        // Services that start later begin where we are, and so do paths of their files and of the configuration.
        let home = if self.alone { Home::leave() } else { Home::Stay };

        let (mask, dispositions) = match launch.surroundings {
            Surroundings::Service => (0, (self.set, 0)),
            Surroundings::Command | Surroundings::Session => (self.mask, self.dispositions),
        };
        let mut script = Script {
            report: report_end.as_raw_fd(),
            cell: cell.map(Entrance::for_child),
            surroundings: launch.surroundings,
            terminal: terminal.as_ref().map(Terminal::descriptor),
            stdio: stdio.sources(),
            closed: self.closed,
            home: home.descriptor(),
            announcement: announcement_end.as_ref().map(AsRawFd::as_raw_fd).zip(launch.speaks.descriptor),
            cwd: launch
                .cwd
                .as_deref()
                .map(|cwd| string(cwd.as_os_str(), "the working directory"))
                .transpose()?,
            rlimits: self.rlimits(child.instance, launch),
            oom_score_adj: self.oom_score_adj(launch),
            nice: launch.attributes.nice,
            switch: identity.switch(),
            capabilities: launch.attributes.capabilities.as_ref().map(|numbers| {
                numbers.iter().filter(|number| **number < 64).fold(0, |set, number| set | 1 << number)
            }),
            no_new_privileges: launch.attributes.no_new_privileges,
            umask: launch.attributes.umask,
            mask,
            dispositions,
            shell: match launch.surroundings {
                Surroundings::Service => false,
                Surroundings::Command | Surroundings::Session => true,
            },
            listen_pid: match launch.surroundings {
                Surroundings::Service => None,
                Surroundings::Command | Surroundings::Session => own_listen_pid(&envp),
            },
            candidates: attempt.candidates(),
            argv,
            envp,
        };
        let pid = fork(&mut script).map_err(no_process)?;
        if launch.surroundings == Surroundings::Command {
            // The child does the same; whoever is first, the group is there before anybody signals it.
            // SAFETY: plain call; an error means that the child was quicker.
            unsafe { libc::setpgid(pid.number(), pid.number()) };
            if let Some(terminal) = terminal {
                self.given = Some((terminal, pid));
            }
        }
        let home = home.left();
        Ok(Spawned {
            pid,
            report,
            outputs: [stdio.stdout.stream, stdio.stderr.stream],
            mailbox,
            announcement,
            attempt: Attempt { rlimits: script.rlimits, home, ..attempt },
        })
    }

    fn oom_score_adj(&self, launch: &Launch) -> Option<(String, bool)> {
        match (launch.attributes.oom_score_adj, launch.surroundings) {
            (Some(score), _) => Some((score.to_string(), true)),
            (None, Surroundings::Service) => Some((self.oom_score_adj?.to_string(), false)),
            (None, Surroundings::Command | Surroundings::Session) => None,
        }
    }

    #[inline(never)]
    fn rlimits(&self, instance: InstanceId, launch: &Launch) -> Vec<(u32, libc::rlimit)> {
        let mut limits = Vec::new();
        if let Some(limit) = self.files_limit {
            limits.push((FILES_LIMIT, limit));
        }
        if let (Some(_), Some(limit)) = (&launch.mark, tag::limit(instance)) {
            limits.push((tag::RESOURCE, limit));
        }
        for limit in &launch.attributes.rlimits {
            let of = |value: u64| libc::rlim_t::try_from(value).unwrap_or(libc::RLIM_INFINITY);
            limits
                .push((limit.resource, libc::rlimit { rlim_cur: of(limit.soft), rlim_max: of(limit.hard) }));
        }
        limits
    }

    #[inline(never)]
    fn stdio(&self, launch: &Launch, uid: Option<u32>) -> Result<Stdio, Box<StartError>> {
        let stdin = match (launch.stdin, &self.null) {
            (Stdin::Inherit, _) => Source::number(0),
            (Stdin::Null, Some(null)) => Source::number(null.as_raw_fd()),
            // Without a writer it is at its end at once, as /dev/null is.
            (Stdin::Null, None) => Source::owned(descriptors::pipe().map_err(no_process)?.0),
        };
        Ok(Stdio {
            stdin,
            stdout: self.output(1, &launch.stdout, uid)?,
            stderr: self.output(2, &launch.stderr, uid)?,
        })
    }

    fn output(
        &self,
        number: RawFd,
        output: &Output,
        uid: Option<u32>,
    ) -> Result<StdioOutput, Box<StartError>> {
        let past_us = |source| Ok(StdioOutput { source, stream: Stream::Elsewhere });
        let purpose = match (output, &self.null) {
            (Output::Inherit, _) => return past_us(Source::number(number)),
            (Output::Null, Some(null)) => return past_us(Source::number(null.as_raw_fd())),
            (Output::Null, None) => Purpose::Discarded,
            (Output::Captured | Output::Prefix | Output::Json | Output::Raw | Output::File(_), _) => {
                let own = if number == 1 { Sink::Stdout } else { Sink::Stderr };
                output.to_container(own).map_or(Purpose::Captured, |(sink, _)| Purpose::Passed(sink))
            }
        };
        let (read_end, write_end) = pipe(uid)?;
        Ok(StdioOutput { source: Source::owned(write_end), stream: Stream::Read(read_end, purpose) })
    }
}

/// A pipe from which we read without waiting, and into which a child of this user writes.
fn pipe(uid: Option<u32>) -> Result<(OwnedFd, OwnedFd), Box<StartError>> {
    let (read_end, write_end) = descriptors::pipe().map_err(no_process)?;
    descriptors::set_nonblocking(&read_end).map_err(no_process)?;
    if let Some(uid) = uid {
        // So that it can open /dev/stdout again. Where we may not, it cannot either, as without us.
        let _ = call::give(write_end.as_fd(), uid, call::NOBODY_ELSE);
    }
    Ok((read_end, write_end))
}

struct Stdio {
    stdin: Source,
    stdout: StdioOutput,
    stderr: StdioOutput,
}

impl Stdio {
    fn sources(&self) -> [RawFd; 3] {
        [self.stdin.number, self.stdout.source.number, self.stderr.source.number]
    }
}

struct StdioOutput {
    source: Source,
    stream: Stream,
}

/// A descriptor that the child copies. Ours is closed when the child has it.
struct Source {
    number: RawFd,
    _owned: Option<OwnedFd>,
}

impl Source {
    fn number(number: RawFd) -> Self {
        Self { number, _owned: None }
    }

    fn owned(descriptor: OwnedFd) -> Self {
        Self { number: descriptor.as_raw_fd(), _owned: Some(descriptor) }
    }
}

/// The one way to make a process. Signals are blocked in the child until it has put them in order itself.
fn fork(script: &mut Script) -> nix::Result<Pid> {
    // SAFETY: the child runs nothing but `child::run`, which keeps to what is allowed after fork and never returns.
    signals::all_blocked(|| match unsafe { call::fork(0) }? {
        0 => child::run(script),
        number => Pid::new(number).ok_or(Errno::ECHILD),
    })
}

/// Closes descriptors where it may take its time: in a process of its own, which is collected as any stranger is, when all are closed. It
/// has our descriptors, not copies of them, for each close of a file may hang, not only the last. The number of one is free as soon as
/// its close begins; so that none waits for another, whoever is made next would have it, there is a process for each.
#[inline(never)]
pub fn close_elsewhere(descriptors: Vec<OwnedFd>) -> nix::Result<Pid> {
    let closer = signals::all_blocked(|| {
        // SAFETY: the children make plain calls on what was there before and never return. Each number is closed once: it is nobody's
        // here any more.
        match unsafe { call::fork(libc::CLONE_FILES) }? {
            0 => unsafe {
                for descriptor in &descriptors {
                    match call::fork(libc::CLONE_FILES) {
                        Ok(1..) => {}
                        // Without another process it has to be this one.
                        other => {
                            libc::close(descriptor.as_raw_fd());
                            if other.is_ok() {
                                libc::_exit(0);
                            }
                        }
                    }
                }
                children::wait_for_all();
                libc::_exit(0)
            },
            number => Pid::new(number).ok_or(Errno::ECHILD),
        }
    })?;
    for descriptor in descriptors {
        let _ = descriptor.into_raw_fd();
    }
    Ok(closer)
}

/// Looks whether something is at a path, in a process of its own, which is collected as any stranger is: on a network file system whose
/// server is gone that may take for ever. The number of the error, or 0, comes through the pipe.
pub fn look_elsewhere(path: &CStr) -> nix::Result<OwnedFd> {
    let (read_end, write_end) = descriptors::pipe()?;
    descriptors::set_nonblocking(&read_end)?;
    // SAFETY: as in `close_elsewhere`.
    signals::all_blocked(|| unsafe {
        match call::fork(0)? {
            0 => {
                descriptors::close_others(&[write_end.as_raw_fd()]);
                let found = call::status_at(libc::AT_FDCWD, path, 0);
                // The file system may have errors that nix has no names for.
                let number = found.map_or_else(|_| Errno::last_raw(), |_| 0).to_ne_bytes();
                libc::write(write_end.as_raw_fd(), number.as_ptr().cast(), number.len());
                libc::_exit(0)
            }
            _ => Ok(read_end),
        }
    })
}

/// Our working directory, which must not keep a file system busy that the command does not use any more.
enum Home {
    /// We keep it.
    Stay,
    /// We have left it; the child goes back through the descriptor.
    Left(OwnedFd),
    /// We may not come back to it, so we leave only when the child is there.
    LeaveLate,
}

impl Home {
    /// Goes to the root before there is a child, who could otherwise see us elsewhere.
    #[inline(never)]
    fn leave() -> Self {
        match call::open_at(libc::AT_FDCWD, c".", libc::O_PATH | libc::O_DIRECTORY, 0) {
            Ok(descriptor) if nix::unistd::chdir(c"/").is_ok() => Self::Left(descriptor),
            Ok(_) => Self::Stay,
            Err(_) => Self::LeaveLate,
        }
    }

    fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Left(descriptor) => Some(descriptor.as_raw_fd()),
            Self::Stay | Self::LeaveLate => None,
        }
    }

    /// The child has it now. What is left of it is for looking at what could not be executed.
    fn left(self) -> Option<OwnedFd> {
        match self {
            Self::Stay => None,
            Self::Left(descriptor) => Some(descriptor),
            Self::LeaveLate => {
                let _ = nix::unistd::chdir(c"/"); // then we stay
                None
            }
        }
    }
}

/// The number from 1 of `LISTEN_PID` in an environment where it means us: whoever gave us sockets means the command.
#[inline(never)]
fn own_listen_pid(envp: &Strings) -> Option<usize> {
    let mut values = envp.iter().map(|string| string.to_bytes().strip_prefix(child::LISTEN_PID));
    let (at, value) = (1..).zip(&mut values).find_map(|(at, value)| Some((at, value?)))?;
    (value == std::process::id().to_string().as_bytes()).then_some(at)
}

/// A terminal whose foreground is ours to give away.
#[derive(Debug)]
enum Terminal {
    Stdin,
    Controlling(OwnedFd),
}

impl Terminal {
    #[inline(never)]
    fn ours(given: Option<Pid>) -> Option<Self> {
        let foreground = |descriptor| {
            let group = terminal::foreground(descriptor);
            // SAFETY: only asks.
            let own = unsafe { libc::getpgrp() };
            group != -1 && (group == own || given.is_some_and(|given| given.number() == group))
        };
        if foreground(0) {
            return Some(Self::Stdin);
        }
        Self::controlling().filter(|terminal| foreground(terminal.descriptor()))
    }

    /// That of our session, which need not be on a standard descriptor.
    fn controlling() -> Option<Self> {
        let terminal = call::open(std::path::Path::new("/dev/tty"), libc::O_RDWR).ok()?;
        Some(Self::Controlling(terminal.into()))
    }

    fn descriptor(&self) -> RawFd {
        match self {
            Self::Stdin => 0,
            Self::Controlling(terminal) => terminal.as_raw_fd(),
        }
    }
}

fn arguments(launch: &Launch) -> Result<Strings, Box<StartError>> {
    let mut argv = Strings::with_capacity(launch.argv.len());
    for argument in &launch.argv {
        argv.own(string(argument.reveal(), "an argument")?);
    }
    if argv.iter().next().is_none_or(CStr::is_empty) {
        return Err(StartError::NotFound { program: String::new(), path: None, similar: None }.into());
    }
    Ok(argv)
}

fn string(text: &OsStr, what: &str) -> Result<CString, Box<StartError>> {
    Ok(CString::new(text.as_bytes()).map_err(|_| StartError::Other {
        what: format!("pass {what} on"),
        reason: "it has a NUL byte".to_owned(),
    })?)
}

fn raise_files_limit() -> Option<libc::rlimit> {
    let (soft, hard) = call::limit(libc::RLIMIT_NOFILE as _)?;
    if soft == hard {
        return None;
    }
    let raised = child::set_limit(libc::RLIMIT_NOFILE as _, &libc::rlimit { rlim_cur: hard, rlim_max: hard });
    (raised == 0).then_some(libc::rlimit { rlim_cur: soft, rlim_max: hard })
}

/// Above ours, which may be high already: Kubernetes gives up to 1000, by what was requested.
fn raised_oom_score() -> Option<i32> {
    let own: i32 = parse_signed(procfs::text("/proc/self/oom_score_adj")?.trim())?;
    Some(own.saturating_add(OOM_SCORE_STEP).min(OOM_SCORE_MAX)).filter(|raised| *raised > own)
}

/// fork(2) or a pipe was refused: with the limit that is in the way, where it can be told.
#[expect(clippy::unnecessary_box_returns, reason = "as all that may fail at a start hands it on")]
fn no_process(errno: Errno) -> Box<StartError> {
    let reason = word(errno);
    let limit = || match (reached_pids_limit(), call::limit(libc::RLIMIT_NPROC as _)) {
        (Some(limit), _) => {
            Some(format!("the container may have {limit} processes and threads, its pids limit"))
        }
        (None, Some((libc::RLIM_INFINITY, _)) | None) => None,
        (None, Some((soft, _))) => {
            Some(format!("the user may have {soft} processes and threads, RLIMIT_NPROC"))
        }
    };
    let files = || {
        Some(format!("PID 1 may have {} open files, RLIMIT_NOFILE", call::limit(libc::RLIMIT_NOFILE as _)?.0))
    };
    let limit = match errno {
        Errno::EAGAIN => limit(),
        Errno::EMFILE => files(),
        _ => None,
    };
    Box::new(StartError::NoProcess {
        reason: match limit {
            Some(limit) => format!("{reason} ({limit})"),
            None => reason,
        },
    })
}

/// The limit of processes of the cgroup, if it is used up.
fn reached_pids_limit() -> Option<u64> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"].iter().find_map(|directory| {
        let read = |file: &str| parse_number::<u64>(procfs::text(&format!("{directory}/{file}"))?.trim());
        let limit = read("pids.max")?;
        (read("pids.current")? >= limit).then_some(limit)
    })
}

impl Attempt {
    #[inline(never)]
    fn new(launch: &Rc<Launch>, argv: &Strings, envp: &Strings, uid: Option<u32>) -> Self {
        let path = match argv.iter().next() {
            Some(program) if program.to_bytes().contains(&b'/') => None,
            _ => Some(environment::value(envp, b"PATH").unwrap_or(DEFAULT_PATH).to_vec()),
        };
        Self {
            launch: Rc::clone(launch),
            path,
            size: argv.size() + envp.size(),
            uid,
            rlimits: Vec::new(),
            home: None,
        }
    }

    /// What would be tried.
    pub fn rehearsed(launch: &Rc<Launch>, envp: &Strings, uid: Option<u32>) -> Result<Self, Box<StartError>> {
        Ok(Self::new(launch, &arguments(launch)?, envp, uid))
    }

    /// The files to try, in turn.
    #[inline(never)]
    pub fn candidates(&self) -> Vec<CString> {
        let program = self.launch.argv.first().map(|program| program.reveal().as_bytes()).unwrap_or_default();
        let Some(path) = &self.path else { return CString::new(program).into_iter().gather() };
        path.split(|byte| *byte == b':')
            // An empty element once meant the working directory; nobody wants a program from there by accident.
            .filter(|directory| !directory.is_empty())
            .filter_map(|directory| CString::new([directory, b"/", program].concat()).ok())
            .gather()
    }

    /// Where a path of the child leads, seen from here.
    pub fn seen_from_here(&self, path: &OsStr) -> std::path::PathBuf {
        match (&self.launch.cwd, &self.home) {
            (Some(cwd), _) => cwd.join(path),
            (None, Some(home)) => {
                std::path::Path::new(&format!("/proc/self/fd/{}", home.as_raw_fd())).join(path)
            }
            (None, None) => path.into(),
        }
    }
}
