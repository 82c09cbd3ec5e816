//! A container without Docker: the real program in a PID namespace, with what it says, what runs in it, and its end. Every
//! wait has a deadline; whatever was started is gone when the test ends.

#![allow(dead_code, reason = "each suite that shares this needs a part of it")]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use tinysup::control::Answer;

use crate::launch::{self, Holder, Launch, Place, Step};
use crate::proc::{self, Process};

/// What any single wait may take; far more than it does, for a busy machine.
pub const DEADLINE: Duration = Duration::from_mins(1);
/// Between two looks at something of which no event tells.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

static SERIAL: AtomicUsize = AtomicUsize::new(0);

/// A folder of this test, gone when it ends.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let serial = SERIAL.fetch_add(1, Ordering::SeqCst);
        // Below /tmp, because the folder of the build may be closed to other users.
        let path = std::env::temp_dir().join(format!("tinysup-test-{}-{serial}", std::process::id()));
        fs::create_dir(&path).expect("a new folder");
        set_mode(&path, 0o755);
        Self(path)
    }

    /// Writes a file.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("the folder is ours");
        path
    }

    /// Writes a program.
    pub fn program(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        // A process that is just being made elsewhere would hold it open, and then nobody may execute it.
        let _quiet = launch::FORKING.write().unwrap_or_else(PoisonError::into_inner);
        let path = self.file(name, content);
        set_mode(&path, 0o755);
        path
    }

    /// Makes a named pipe: a service that reads from it waits until `go`.
    pub fn gate(&self, name: &str) {
        launch::make_fifo(&self.0.join(name)).expect("the folder is ours");
    }

    /// Lets one service go on that reads a line from the gate.
    pub fn go(&self, name: &str) {
        let path = self.0.join(name);
        let mut open = fs::File::options();
        open.write(true).custom_flags(libc::O_NONBLOCK);
        let mut gate = None;
        assert!(
            until(|| (gate = open.open(&path).ok(), gate.is_some()).1),
            "nobody waits at {}",
            path.display()
        );
        gate.expect("open").write_all(b"go\n").expect("room for a line");
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// chmod(2).
pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// A TCP port on which nobody listens.
pub fn free_port(mut among: Range<u16>) -> u16 {
    among.find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).expect("a free port")
}

/// The program: what cargo has built, or the file that `TINYSUP_TEST_BINARY` names, such as the static one of a release.
pub fn tinysup() -> OsString {
    std::env::var_os("TINYSUP_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_tinysup").into())
}

/// The lines of an answer, up to the end of the connection.
pub fn answers(stream: UnixStream) -> impl Iterator<Item = Answer> {
    let lines = BufReader::new(stream).lines().map(|line| line.expect("an answer in time"));
    lines.map(|line| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
}

/// The abstract name of the control socket.
fn address(folder: &Folder) -> String {
    folder.path().file_name().expect("a name").to_string_lossy().into_owned()
}

/// Where an output of the program goes.
pub enum Out {
    /// To this test, which reads it.
    Read,
    /// To this test, which reads it only after `read_on`.
    Stuck,
    /// There.
    To(OwnedFd),
    /// Nowhere: the descriptor is closed.
    Closed,
}

/// Whether containers of this kind can be made here; else why not.
pub fn possible() -> Result<(), String> {
    let output = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What shall be started, and how.
pub struct Setup {
    folder: Folder,
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    place: Kind,
    stdin: Option<OwnedFd>,
    stdout: Out,
    stderr: Out,
    steps: Vec<Step>,
}

enum Kind {
    Pid1,
    Child,
}

impl Setup {
    /// The services of this configuration.
    pub fn services(config: &str) -> Self {
        let setup = Self::command(&[]);
        let file = setup.folder.file("tinysup.toml", config);
        // They all share one /run; in a container it would be its own.
        let socket = format!("@{}", address(&setup.folder));
        setup.arg("-c").arg(file).env("TINYSUP_SOCKET", socket)
    }

    /// One command, with the options of tinysup before it.
    pub fn command(words: &[&str]) -> Self {
        Self::program(tinysup(), words)
    }

    /// Any program, with these words.
    pub fn program(program: impl Into<OsString>, words: &[&str]) -> Self {
        let [stdin, ..] = launch::nowhere();
        let folder = Folder::new();
        Self {
            env: vec![
                ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
                ("DIR".into(), folder.path().into()),
            ],
            folder,
            argv: [program.into()].into_iter().chain(words.iter().map(OsString::from)).collect(),
            place: Kind::Pid1,
            stdin,
            stdout: Out::Read,
            stderr: Out::Read,
            steps: Vec::new(),
        }
    }

    /// Called by this name.
    pub fn called(mut self, name: &str) -> Self {
        let link = self.folder.path().join(name);
        std::os::unix::fs::symlink(&self.argv[0], &link).expect("the folder is ours");
        self.argv[0] = link.into();
        self
    }

    /// As an ordinary child in a PID namespace that somebody else holds.
    pub fn not_pid1(mut self) -> Self {
        self.place = Kind::Child;
        self
    }

    /// Without a variable of its environment.
    pub fn without(mut self, name: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self
    }

    /// One more argument.
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.argv.push(word.as_ref().to_owned());
        self
    }

    /// One variable of its environment, which else has only `PATH` and the folder as `DIR`.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// No variable at all.
    pub fn no_env(mut self) -> Self {
        self.env.clear();
        self
    }

    /// Done in the new process before it becomes the program.
    pub fn before(mut self, step: impl Fn() -> io::Result<()> + 'static) -> Self {
        self.steps.push(Box::new(step));
        self
    }

    pub fn stdin(mut self, descriptor: Option<OwnedFd>) -> Self {
        self.stdin = descriptor;
        self
    }

    pub fn stdout(mut self, out: Out) -> Self {
        self.stdout = out;
        self
    }

    pub fn stderr(mut self, out: Out) -> Self {
        self.stderr = out;
        self
    }

    /// The folder that lives as long as the container.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Starts it.
    pub fn start(self) -> Container {
        let (mut sources, gate) = (Vec::new(), Arc::new(Gate::default()));
        let mut wire = |out, stream| match out {
            Out::Read | Out::Stuck => {
                let (reader, writer) = io::pipe().expect("a pipe");
                sources.push((stream, reader, matches!(out, Out::Stuck)));
                Some(writer.into())
            }
            Out::To(descriptor) => Some(descriptor),
            Out::Closed => None,
        };
        let stdio = [self.stdin, wire(self.stdout, Stream::Out), wire(self.stderr, Stream::Err)];
        let holder = match self.place {
            Kind::Pid1 => None,
            Kind::Child => Some(Holder::new()),
        };
        let place = holder.as_ref().map_or(Place::Pid1, |holder| Place::Beside(holder.pid()));
        let order = Launch { argv: self.argv, env: self.env, place, stdio, steps: self.steps };
        let started = Instant::now();
        let pid = launch::launch(&order);
        drop(order); // with our copies of the ends that it writes to
        let said = Arc::new(Said::new(sources.iter().map(|(stream, ..)| *stream)));
        for (stream, reader, stuck) in sources {
            let (said, gate) = (Arc::clone(&said), Arc::clone(&gate));
            thread::spawn(move || {
                if stuck {
                    gate.wait();
                }
                said.read(stream, reader);
            });
        }
        let ended = launch::pidfd(pid).expect("our child");
        Container { pid, ended, code: None, said, gate, started, folder: self.folder, holder }
    }
}

/// The program, running.
pub struct Container {
    pid: i32,
    ended: OwnedFd,
    code: Option<i32>,
    said: Arc<Said>,
    gate: Arc<Gate>,
    started: Instant,
    folder: Folder,
    holder: Option<Holder>,
}

impl Container {
    /// The program's pid, as it is seen from here.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A connection to its control socket.
    pub fn connect(&self) -> UnixStream {
        let address = SocketAddr::from_abstract_name(address(&self.folder)).expect("a short name");
        let mut stream = None;
        self.until("its control socket", || {
            stream = UnixStream::connect_addr(&address).ok();
            stream.is_some()
        });
        let stream = stream.expect("connected");
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        stream
    }

    /// The same if there is one at once and room for it.
    pub fn try_connect(&self) -> Option<UnixStream> {
        let name = UnixAddr::new_abstract(address(&self.folder).as_bytes()).expect("a short name");
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
        socket::connect(socket.as_raw_fd(), &name).ok()?;
        Some(socket.into())
    }

    /// Asks something: the fields of a request but its version. All lines of the answer, of which the last is the last.
    #[track_caller]
    pub fn ask(&self, fields: &str) -> Vec<Answer> {
        answers(self.begin(fields)).collect()
    }

    /// The same where the answer is one line.
    #[track_caller]
    pub fn ask_one(&self, fields: &str) -> Answer {
        let mut answers = self.ask(fields);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    /// Asks, and leaves the answer to others.
    pub fn begin(&self, fields: &str) -> UnixStream {
        let mut stream = self.connect();
        stream.write_all(format!("{{\"v\":1,{fields}}}\n").as_bytes()).expect("room for a line");
        stream
    }

    /// Sends it a signal from outside.
    pub fn signal(&self, signal: i32) {
        assert!(launch::kill(self.pid, signal), "it is still there");
    }

    /// Waits for a line that contains `wanted`, on either stream, and returns it.
    pub fn wait_for(&self, wanted: &str) -> String {
        self.wait_for_nth(wanted, 1)
    }

    /// Waits for the nth such line.
    pub fn wait_for_nth(&self, wanted: &str, nth: usize) -> String {
        let mut found = None;
        self.said.wait(&format!("{wanted:?} ({nth} times)"), |lines| {
            found = lines.iter().filter(|line| line.text.contains(wanted)).nth(nth - 1).cloned();
            found.is_some()
        });
        found.expect("found").text
    }

    /// All lines of both streams so far.
    pub fn lines(&self) -> Vec<String> {
        self.said.lock().lines.iter().map(|line| line.text.clone()).collect()
    }

    /// How many lines so far contain that.
    pub fn count(&self, part: &str) -> usize {
        self.said.lock().lines.iter().filter(|line| line.text.contains(part)).count()
    }

    /// Lets the readers of stuck outputs go on.
    pub fn read_on(&self) {
        self.gate.open();
    }

    /// Everything that lives in its PID namespace, itself and zombies too.
    pub fn processes(&self) -> Vec<Process> {
        proc::in_namespace_of(self.holder.as_ref().map_or(self.pid, Holder::pid))
    }

    /// Its descendants that are not zombies.
    pub fn living(&self) -> Vec<Process> {
        let first = [self.pid, self.holder.as_ref().map_or(self.pid, Holder::pid)];
        self.processes()
            .into_iter()
            .filter(|process| process.state != 'Z' && !first.contains(&process.pid))
            .collect()
    }

    /// The pid out here of the one that is `inner` in there.
    pub fn outer(&self, inner: i32) -> i32 {
        let processes = self.processes();
        let found = processes.iter().find(|process| process.inner == inner);
        found.unwrap_or_else(|| panic!("no pid {inner} among {processes:#?}")).pid
    }

    /// The only process whose command line contains that.
    pub fn process(&self, part: &str) -> Process {
        let found: Vec<Process> = self.living().into_iter().filter(|p| p.command.contains(part)).collect();
        assert_eq!(found.len(), 1, "{part:?} among {:#?}", self.processes());
        found.into_iter().next().expect("one")
    }

    /// Waits until a condition holds of which no event tells.
    #[track_caller]
    pub fn until(&self, what: &str, condition: impl FnMut() -> bool) {
        let met = until(condition);
        assert!(met, "{what}: not within {DEADLINE:?}\n{}\n{:#?}", self.said.transcript(), self.processes());
    }

    /// Starts a program inside, as `docker exec` does; its output is thrown away.
    pub fn exec(&self, argv: &[&str]) -> Inside {
        self.exec_with(argv, Vec::new())
    }

    /// The same after some steps.
    pub fn exec_with(&self, argv: &[&str], steps: Vec<Step>) -> Inside {
        let argv = argv.iter().map(OsString::from).collect();
        let env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        let order = Launch { argv, env, place: Place::Inside(self.pid), stdio: launch::nowhere(), steps };
        Inside::new(launch::launch(&order))
    }

    /// Runs a verb inside, as `docker exec CONTAINER tinysup …` does.
    pub fn verb(&self, words: &[&str]) -> Asked {
        self.begin_verb(words, Vec::new()).answer()
    }

    /// Begins that, after some steps.
    pub fn begin_verb(&self, words: &[&str], steps: Vec<Step>) -> Asking {
        let [stdin, ..] = launch::nowhere();
        let [(stdout, out), (stderr, err)] = [(); 2].map(|()| io::pipe().expect("a pipe"));
        let inside = self.run_verb(words, [stdin, Some(out.into()), Some(err.into())], steps);
        Asking { inside, stdout: BufReader::new(stdout), stderr }
    }

    /// Starts a verb with these descriptors.
    pub fn run_verb(&self, words: &[&str], stdio: [Option<OwnedFd>; 3], steps: Vec<Step>) -> Inside {
        let argv = [tinysup()].into_iter().chain(words.iter().map(OsString::from)).collect();
        let socket = format!("@{}", address(&self.folder));
        let env = vec![("TINYSUP_SOCKET".into(), socket.into()), ("TERM".into(), "xterm".into())];
        Inside::new(launch::launch(&Launch { argv, env, place: Place::Inside(self.pid), stdio, steps }))
    }

    /// Starts a program that is not its descendant, in the same PID namespace, where it is not PID 1.
    pub fn beside(&self, argv: &[&str], env: &[(&str, &str)]) -> Inside {
        let holder = self.holder.as_ref().expect("not PID 1").pid();
        let argv = argv.iter().map(OsString::from).collect();
        let env = env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let (place, stdio) = (Place::Beside(holder), launch::nowhere());
        Inside::new(launch::launch(&Launch { argv, env, place, stdio, steps: Vec::new() }))
    }

    /// SIGSTOP from outside; returns when it does not run any more.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        self.until("it stops", || proc::of(self.pid).is_some_and(|process| process.state == 'T'));
    }

    /// Ends all other processes while it does not run, so that it finds them all dead at once; how many there were.
    pub fn end_all_unseen(&self, signal: i32) -> usize {
        self.freeze();
        let living = self.living();
        let watched: Vec<_> =
            living.iter().map(|process| launch::pidfd(process.pid).expect("it lives")).collect();
        for process in &watched {
            launch::kill_by(process, signal);
        }
        for process in &watched {
            assert!(launch::readable(process, DEADLINE), "it ends");
        }
        self.thaw();
        watched.len()
    }

    /// Lets it run again.
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    /// SIGTERM, and its end.
    pub fn stop(self) -> End {
        self.signal(libc::SIGTERM);
        self.finish()
    }

    /// Waits for its end.
    pub fn finish(self) -> End {
        self.finish_within(DEADLINE)
    }

    /// Waits for its end, which must come within that time.
    #[track_caller]
    pub fn finish_within(mut self, at_most: Duration) -> End {
        let since = Instant::now();
        let in_time = launch::readable(self.ended.as_fd(), at_most);
        let waited = since.elapsed();
        assert!(
            in_time,
            "still there after {at_most:?}\n{}\n{:#?}",
            self.said.transcript(),
            self.processes()
        );
        let code = launch::wait(self.pid);
        self.code = Some(code);
        let left = if self.holder.is_some() { self.living() } else { Vec::new() };
        drop(self.holder.take()); // whoever is left holds the pipes
        self.gate.open();
        self.said.wait_for_end();
        let said = self.said.lock();
        let of = |stream| said.lines.iter().filter(|l| l.stream == stream).map(|l| l.text.clone()).collect();
        let ran = self.started.elapsed();
        End { code, stdout: of(Stream::Out), stderr: of(Stream::Err), ran, waited, left }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.code.is_none() {
            launch::kill(self.pid, libc::SIGKILL);
            let _ = launch::wait(self.pid);
        }
        self.gate.open();
    }
}

/// A process that was started inside a container.
pub struct Inside {
    pidfd: OwnedFd,
    code: Receiver<i32>,
}

impl Inside {
    /// PID 1 of its namespace cannot end before somebody has collected it, so that is done as soon as it can be.
    fn new(pid: i32) -> Self {
        let pidfd = launch::pidfd(pid).expect("our child");
        let (sender, code) = mpsc::channel();
        thread::spawn(move || sender.send(launch::wait(pid)));
        Self { pidfd, code }
    }

    /// Waits for its end: its code, or minus the signal.
    pub fn wait(&self) -> i32 {
        self.code.recv_timeout(DEADLINE).expect("it ends")
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        launch::kill_by(&self.pidfd, libc::SIGKILL);
    }
}

/// A verb that was not answered yet.
pub struct Asking {
    inside: Inside,
    stdout: BufReader<io::PipeReader>,
    stderr: io::PipeReader,
}

impl Asking {
    /// Waits for the next line of what it prints.
    pub fn line(&mut self) -> String {
        assert!(
            !self.stdout.buffer().is_empty() || launch::readable(self.stdout.get_ref(), DEADLINE),
            "a line in time"
        );
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        line
    }

    /// Waits for its end.
    pub fn answer(mut self) -> Asked {
        let code = self.inside.wait();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).expect("text");
        self.stderr.read_to_string(&mut stderr).expect("text");
        Asked { code, stdout, stderr }
    }
}

/// What a verb printed.
#[derive(Debug)]
pub struct Asked {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Asked {
    /// What it printed, with `_` for durations and pids, and blanks as one.
    pub fn plain(&self) -> Vec<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        self.stdout.lines().map(|line| plain(&words(line))).collect()
    }

    /// Checks the code and what was printed, with `_` for durations and pids.
    #[track_caller]
    pub fn check(&self, code: i32, lines: &[&str]) {
        assert_eq!(
            (self.code, self.plain()),
            (code, lines.iter().map(|line| (*line).to_owned()).collect()),
            "{self:#?}"
        );
    }

    /// Checks the code, and that only an error was printed, which contains this.
    #[track_caller]
    pub fn refused(&self, code: i32, part: &str) {
        assert!(
            self.code == code && self.stdout.is_empty() && self.stderr.contains(part),
            "{code}, {part:?}: {self:#?}"
        );
    }
}

/// How it ended.
#[derive(Debug)]
pub struct End {
    /// The exit code, or minus the signal.
    pub code: i32,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
    /// From its start to now.
    pub ran: Duration,
    /// From the call to now.
    pub waited: Duration,
    /// Who outlived it, where it was not PID 1.
    pub left: Vec<Process>,
}

impl End {
    /// What tinysup said of itself, without its name and with `_` for durations and pids.
    pub fn own(&self) -> Vec<String> {
        self.stderr.iter().filter_map(|line| Some(plain(line.strip_prefix("tinysup | ")?))).collect()
    }

    /// Checks the code, and what tinysup said of itself: exactly this, where services come up at the same time in any order.
    #[track_caller]
    pub fn check(&self, code: i32, own: &[&str]) {
        let mut expected: Vec<String> = own.iter().map(|line| (*line).to_owned()).collect();
        let mut said = self.own();
        for lines in [&mut expected, &mut said] {
            lines.chunk_by_mut(|a, b| is_up(a) && is_up(b)).for_each(<[String]>::sort);
        }
        assert_eq!(said, expected, "{self:#?}");
        assert_eq!(self.code, code, "{self:#?}");
    }

    /// Checks the code alone.
    #[track_caller]
    pub fn code(&self, code: i32) {
        assert_eq!(self.code, code, "{self:#?}");
    }

    /// Checks that tinysup said a line that contains this, with `_` for durations and pids.
    #[track_caller]
    pub fn says(&self, part: &str) {
        assert!(self.own().iter().any(|line| line.contains(part)), "{part:?} in {self:#?}");
    }

    /// Checks that tinysup said no such line.
    #[track_caller]
    pub fn never_says(&self, part: &str) {
        assert!(!self.own().iter().any(|line| line.contains(part)), "{part:?} in {self:#?}");
    }

    /// The lines of one service's standard output, without its name.
    pub fn of(&self, service: &str) -> Vec<&str> {
        let prefix = format!("{service} | ");
        self.stdout.iter().filter_map(|line| line.strip_prefix(&*prefix)).collect()
    }
}

fn is_up(line: &str) -> bool {
    line.ends_with(" is up after _ s")
}

/// A line with `_` in place of each duration in seconds and each pid.
pub fn plain(line: &str) -> String {
    let mut result = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        result.push_str(before);
        let end = from.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        let number = number.trim_end_matches('.');
        let after_number = &from[number.len()..];
        let unit =
            after_number.strip_prefix(" s").is_some_and(|tail| !tail.starts_with(char::is_alphanumeric));
        let word = before.chars().next_back().is_some_and(char::is_alphanumeric);
        let masked = !word && (unit || before.ends_with("pid "));
        result.push_str(if masked { "_" } else { number });
        rest = if number.len() == end { after } else { after_number };
    }
    result + rest
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

#[derive(Clone)]
struct Line {
    stream: Stream,
    text: String,
}

/// What was said so far.
struct Said {
    heard: Mutex<Heard>,
    more: Condvar,
}

struct Heard {
    lines: Vec<Line>,
    /// The streams that have not ended.
    open: Vec<Stream>,
}

impl Said {
    fn new(open: impl Iterator<Item = Stream>) -> Self {
        Self { heard: Mutex::new(Heard { lines: Vec::new(), open: open.collect() }), more: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, stream: Stream, from: impl Read) {
        let mut from = BufReader::with_capacity(1 << 16, from);
        let mut bytes = Vec::new();
        while matches!(from.read_until(b'\n', &mut bytes), Ok(count) if count > 0) {
            let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let text = String::from_utf8_lossy(line).into_owned();
            self.lock().lines.push(Line { stream, text });
            self.more.notify_all();
            bytes.clear();
        }
        self.lock().open.retain(|open| *open != stream);
        self.more.notify_all();
    }

    fn wait(&self, what: &str, mut met: impl FnMut(&[Line]) -> bool) {
        let start = Instant::now();
        let mut heard = self.lock();
        while !met(&heard.lines) {
            let left = DEADLINE.saturating_sub(start.elapsed());
            let over = left.is_zero() || heard.open.is_empty();
            if over {
                drop(heard);
                panic!("waited {:?} in vain for {what}\n{}", start.elapsed(), self.transcript());
            }
            heard = self.more.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_for_end(&self) {
        let start = Instant::now();
        let mut heard = self.lock();
        while !heard.open.is_empty() {
            let left = DEADLINE.saturating_sub(start.elapsed());
            assert!(!left.is_zero(), "somebody still holds its output");
            heard = self.more.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn transcript(&self) -> String {
        const LAST: usize = 100;
        let heard = self.lock();
        let skipped = heard.lines.len().saturating_sub(LAST);
        let lines = heard.lines.iter().skip(skipped).map(|line| format!("{:?} {}\n", line.stream, line.text));
        format!("--- it said ({skipped} lines before) ---\n{}---", lines.collect::<String>())
    }
}

/// Opens once.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            open = self.opened.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Looks again and again, at most until the deadline.
pub fn until(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > DEADLINE {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
}

#[test]
fn durations_and_pids_are_masked() {
    for (line, expected) in [
        ("a is up after 0.0 s", "a is up after _ s"),
        ("worker: code 17 after 0.3 s; restart 1/4 in 12 s", "worker: code 17 after _ s; restart 1/4 in _ s"),
        ("\"sleep\" (pid 7), \"x\" (pid 12)", "\"sleep\" (pid _), \"x\" (pid _)"),
        ("all 3 services are up, 2.6 s", "all 3 services are up, _ s"),
        ("a.1 and a2 s. 5.", "a.1 and a2 s. 5."),
    ] {
        assert_eq!(plain(line), expected);
    }
}
