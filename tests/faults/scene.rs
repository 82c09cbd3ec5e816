//! One run of the program as PID 1 with one fault, and what must be true of it all the same.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};

use crate::container::{Container, Folder, Setup, set_mode};
use crate::witness::witness_path;
use crate::{launch, proc};

/// A call that fails.
#[derive(Clone, Debug)]
pub struct Fault {
    pub call: &'static str,
    pub error: &'static str,
    /// Which of the calls of this name, counted from the first that is ours.
    pub nth: usize,
    /// And all that come after it.
    pub lasting: bool,
}

impl Fault {
    /// As it is named on the command line: `poll=ENOMEM@3`, `poll=ENOMEM@3+`.
    pub fn name(&self) -> String {
        format!("{}={}@{}{}", self.call, self.error, self.nth, if self.lasting { "+" } else { "" })
    }
}

/// How often each call was made, before the first line of ours and in all.
pub type Calls = BTreeMap<String, (usize, usize)>;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every promise was kept.
    Kept,
    /// The container ended with this code, and it was told why.
    Ended(i32),
    /// It lives with less, which it told, and stopped when it was asked to.
    Degraded,
    /// The call was not made so often.
    NotReached,
}

/// The whole stop, as it is configured.
const SHUTDOWN: &str = "3s";
/// Within this it must be over: the stop, the strays, and what a busy machine adds.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// Until all services run, where nothing is broken for ever.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// The same where something is.
const TRIED_FOR: Duration = Duration::from_millis(1500);
/// The code of a bug.
const BROKEN: i32 = 70;
/// Its control socket.
const SOCKET: &str = "control";
/// What it may leave in /run.
const LEFT_MAX: usize = 4;
/// So long it is watched while nothing happens.
const WINDOW: Duration = Duration::from_millis(250);
/// So many such windows in a row are a spin; one may have a burst.
const WINDOWS: usize = 4;
/// Calls in such a window that are still no spin. A probe and its process are about a hundred.
const CALLS_MAX: usize = 1000;
/// CPU time in such a window.
const BUSY_MAX: Duration = Duration::from_millis(125);

/// Runs it; the calls that it made, and the outcome, or what it did wrong.
pub fn run(fault: Option<&Fault>, known: &Calls) -> (Calls, Result<Outcome, String>) {
    let setup = Setup::services(&configuration()).env("W", witness_path());
    let socket = setup.folder().path().join(SOCKET);
    let setup = setup.env("TINYSUP_SOCKET", socket);
    set_mode(setup.folder().path(), 0o777);
    // Outlives the container, with the folder of that.
    let ours = Folder::new();
    let trace = ours.path().join("trace");
    let tracer = Tracer::prepare(setup.folder().path(), &trace, fault, known);
    let door = setup.folder().path().join("door");
    // Not that of the machine, to see what is left there.
    let own_run = || launch::mount("tmpfs", "/run", "tmpfs", 0, "");
    let container = setup.before(own_run).before(move || wait_at(&door)).start();
    let mut tracer = tracer.attached();
    let outcome = judge(container, fault, &trace);
    tracer.finish();
    let text = fs::read_to_string(&trace).unwrap_or_default();
    let outcome = match (fault, outcome) {
        (None, Ok(outcome)) if outcome != Outcome::Kept => Err(format!("{outcome:?}\n{text}")),
        (_, outcome) => outcome,
    };
    let reached = fault.is_none() || text.contains("(INJECTED)");
    let outcome = if reached { outcome } else { outcome.map(|_| Outcome::NotReached) };
    (count(&text), outcome)
}

fn configuration() -> String {
    format!(
        r#"
shutdown_timeout = "{SHUTDOWN}"
[defaults]
restart_delay = "20ms"
kill_timeout = "2s"
max_restarts = 20
[services.steady]
command = "rm -f up; exec $W say steady unix up wait"
shell = true
cwd = "${{DIR}}"
user = "12345"
ready = {{ test = "unix:${{DIR}}/up", timeout = "20s" }}
healthcheck = {{ test = "http://127.0.0.1:{port}/", interval = "500ms", retries = 20 }}
[services.flaky]
command = "[ -e $DIR/crashed ] && exec $W say again wait; touch $DIR/crashed; setsid sleep 1000 & exit 7"
shell = true
env_from_file = {{ SECRET = "/etc/hostname" }}
[services.voice]
command = ["{w}", "tell", "READY=1", "say", "voice", "wait"]
ready = {{ test = "notify", timeout = "20s" }}
stop_command = "kill $MAINPID"
shell = true
[services.probed]
command = ["{w}", "say", "probed", "wait"]
healthcheck = {{ test = ["true"], interval = "500ms", retries = 20 }}
max_memory_restart = "300M"
"#,
        port = server(),
        w = witness_path().display(),
    )
}

/// What runs when all do, by their command lines.
const SERVICES: [&str; 4] = ["say steady unix", "say again", "say voice", "say probed"];

/// A server for the probes of all runs.
fn server() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _ = client.set_read_timeout(Some(Duration::from_secs(1)));
                let _ = client.read(&mut [0; 512]);
                let _ =
                    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            }
        });
        port
    })
}

/// In the new process: tells who it is and waits until it is traced.
fn wait_at(door: &Path) -> std::io::Result<()> {
    let mut door = UnixStream::connect(door)?;
    door.read_exact(&mut [0])
}

/// strace, from outside and on PID 1 alone.
struct Tracer {
    attaching: Option<JoinHandle<Child>>,
    strace: Option<Child>,
}

impl Tracer {
    fn prepare(folder: &Path, trace: &Path, fault: Option<&Fault>, known: &Calls) -> Self {
        let listener = UnixListener::bind(folder.join("door")).expect("the folder is ours");
        set_mode(&folder.join("door"), 0o777);
        let mut strace = Command::new("strace");
        strace.args(["-e", "trace=all", "-o"]).arg(trace).stderr(Stdio::piped());
        if let Some(Fault { call, error, nth, lasting }) = fault {
            let nth = nth + known.get(*call).map_or(0, |(before, _)| *before);
            let plus = if *lasting { "+" } else { "" };
            strace.args(["-e", &format!("inject={call}:error={error}:when={nth}{plus}")]);
        }
        let attaching = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody at the door");
            let pid = getsockopt(&stream, sockopt::PeerCredentials).expect("who it is").pid();
            let mut strace = strace.args(["-p", &pid.to_string()]).spawn().expect("strace");
            let mut line = String::new();
            let mut said = BufReader::new(strace.stderr.take().expect("piped"));
            said.read_line(&mut line).expect("text");
            assert!(line.contains("attached"), "strace: {line}");
            stream.write_all(b"!").expect("it waits");
            // Drained to its end, so that it never waits for us.
            thread::spawn(move || said.read_to_string(&mut String::new()));
            strace
        });
        Self { attaching: Some(attaching), strace: None }
    }

    fn attached(mut self) -> Self {
        self.strace = self.attaching.take().map(|thread| thread.join().expect("strace is attached"));
        self
    }

    /// Waits for its end, which is that of the traced.
    fn finish(&mut self) {
        if let Some(mut strace) = self.strace.take() {
            let _ = strace.wait();
        }
    }
}

/// How often each call was made, from the text of a trace. Ours begin with the blocking of all signals.
fn count(trace: &str) -> Calls {
    let mut calls = Calls::new();
    let mut ours = false;
    let mut executed = false;
    for line in trace.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        executed |= name == "execve";
        ours |= executed && name == "rt_sigprocmask";
        let entry = calls.entry(name.to_owned()).or_default();
        entry.0 += usize::from(!ours);
        entry.1 += 1;
    }
    calls
}

fn judge(container: Container, fault: Option<&Fault>, trace: &Path) -> Result<Outcome, String> {
    let lasting = fault.is_some_and(|fault| fault.lasting);
    let patience = if lasting { TRIED_FOR } else { UP_WITHIN };
    let pid = container.pid();
    let ended = || proc::ended(pid);
    let mut complaints = Vec::new();

    let up = until(patience, || ended() || running(&container).iter().all(Option::is_some));
    let all = running(&container);
    if !up && !lasting {
        complaints.push(format!("not all run: {all:?}"));
    }
    let crash = all.into_iter().nth(1).flatten();
    if let Some(victim) = crash.filter(|_| !ended()) {
        launch::kill(victim, libc::SIGKILL);
        let again = || running(&container)[1].is_some_and(|pid| pid != victim);
        if !until(patience, || ended() || again()) && !lasting {
            complaints.push("a service died and was not started again".to_owned());
        }
    }
    if !ended() {
        let asked = ask(&container, lasting);
        complaints.extend(asked.err().filter(|_| !lasting && !ended()));
    }
    let all_run = until(patience, || ended() || running(&container).iter().all(Option::is_some));
    if !all_run && !lasting {
        complaints.push(format!("not all run at the end: {:?}", running(&container)));
    }
    if !ended() {
        complaints.extend(spins(pid, trace));
        let left = fs::read_dir(format!("/proc/{pid}/root/run")).map_or(0, Iterator::count);
        if left > LEFT_MAX {
            complaints.push(format!("it leaves {left} entries in /run"));
        }
    }
    let early = ended();
    if !early {
        container.signal(libc::SIGTERM);
    }
    if !until(STOPPED_WITHIN, ended) {
        complaints.push(format!("it does not stop: {:#?}", container.processes()));
        return Err(format!("{}\n{}", complaints.join("\n"), container.lines().join("\n")));
    }
    let end = container.finish();
    let told = end.stderr.iter().any(|line| line.starts_with("tinysup | ") || line.starts_with("tinysup: "));
    let mute = fault.is_some_and(|fault| fault.call == "write");
    // Who is not looked after any more must be told of, and not only that all is well or over.
    let usual = [" is up after ", " is ready after ", " services are up", "stopping ", "stopped in "];
    let explained = end.own().iter().any(|line| !usual.iter().any(|part| line.contains(part)));
    if !early && !all_run && !explained && !mute {
        complaints.push("somebody does not run, and it does not say why".to_owned());
    }
    if end.code < 0 {
        complaints.push(format!("it was ended by signal {}", -end.code));
    }
    if end.code == BROKEN {
        complaints.push("it is broken".to_owned());
    }
    if !told && !mute {
        complaints.push("it said nothing".to_owned());
    }
    if early && end.code == 0 {
        complaints.push("it ended by itself with success".to_owned());
    }
    if let [_, ..] = complaints.as_slice() {
        return Err(format!("{}\n{end:#?}", complaints.join("\n")));
    }
    Ok(match (early || end.code != 0, all_run) {
        (true, _) => Outcome::Ended(end.code),
        (false, true) => Outcome::Kept,
        (false, false) => Outcome::Degraded,
    })
}

/// The pids out here of those that run.
fn running(container: &Container) -> [Option<i32>; 4] {
    let living = container.living();
    SERVICES.map(|part| {
        living.iter().find(|p| p.command.contains(part) && !p.command.contains("exec ")).map(|p| p.pid)
    })
}

/// A client: one of a few attempts must be answered.
fn ask(container: &Container, lasting: bool) -> Result<(), String> {
    const ATTEMPTS: usize = 6;
    let attempts = if lasting { 1 } else { ATTEMPTS };
    let mut why = String::new();
    for _ in 0..attempts {
        match attempt(container) {
            Ok(()) => return Ok(()),
            Err(error) => why = error,
        }
        // That it cannot be asked may have been told.
        if container.count("no control socket") > 0 || proc::ended(container.pid()) {
            return Ok(());
        }
    }
    Err(format!("it cannot be asked: {why}"))
}

fn attempt(container: &Container) -> Result<(), String> {
    let mut answers = String::new();
    let limit = Duration::from_secs(3);
    let socket = container.folder().path().join(SOCKET);
    let mut stream = UnixStream::connect(socket).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(limit)).expect("not zero");
    stream.write_all(b"{\"v\":1,\"verb\":\"status\"}\n").map_err(|error| error.to_string())?;
    stream.read_to_string(&mut answers).map_err(|error| error.to_string())?;
    if answers.contains("steady") { Ok(()) } else { Err(format!("it answered {answers:?}")) }
}

/// What it does while nothing happens, if that is too much and does not end.
fn spins(pid: i32, trace: &Path) -> Option<String> {
    (0..WINDOWS).map(|_| busy(pid, trace)).take_while(Option::is_some).nth(WINDOWS - 1)?
}

/// What it does in one window, if that is too much.
fn busy(pid: i32, trace: &Path) -> Option<String> {
    let lines = || File::open(trace).map_or(0, |file| BufReader::new(file).split(b'\n').count());
    let pidfd = launch::pidfd(pid)?;
    let (before, used) = (lines(), cpu(pid));
    let since = Instant::now();
    launch::readable(&pidfd, WINDOW);
    let (calls, used) = (lines() - before, cpu(pid).saturating_sub(used));
    // A window that was longer than it should be allows more.
    let longer = u32::try_from(since.elapsed().as_millis() / WINDOW.as_millis()).unwrap_or(1).max(1);
    let too_much = calls > CALLS_MAX * longer as usize || used > BUSY_MAX * longer;
    too_much.then(|| format!("it spins: {calls} calls and {used:?} of CPU in {:?}", since.elapsed()))
}

/// The CPU time of a process, exactly.
fn cpu(pid: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0))
}

fn until(at_most: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > at_most {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
