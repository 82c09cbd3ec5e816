//! The harness: finds docker, builds the images once, and gives each test containers that are gone when it ends. Every
//! call has a deadline. What the containers must do is in `main.rs`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// What any single wait may take; far more than it does, for a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(50);
/// The same as an argument of timeout(1), for the calls of docker. Building may fetch a whole Debian.
const CALL_DEADLINE: &str = "90";
const BUILD_DEADLINE: &str = "900";
/// Between two tries to reach a server that is about to listen: there is no event for that.
const RETRY: Duration = Duration::from_millis(20);

static SERIAL: AtomicUsize = AtomicUsize::new(0);
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// A docker with our images.
pub struct Docker {
    tag: String,
}

/// The docker of this machine, with the images built; `None`: there is none and the test is to be skipped, which is said
/// loudly, or is a failure where `TINYSUP_TEST_REQUIRE_ALL=1`.
pub fn docker() -> Option<&'static Docker> {
    static DOCKER: OnceLock<Option<Docker>> = OnceLock::new();
    let docker = DOCKER.get_or_init(|| {
        let answers = call(CALL_DEADLINE, "docker", &["info"], &[]).status.success();
        answers.then(build)
    });
    if docker.is_none() {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        skip(&test, "there is no docker here, or it does not run");
    }
    docker.as_ref()
}

/// Says that a test is skipped, past the test runner's capture.
pub fn skip(test: &str, why: &str) {
    let required = std::env::var("TINYSUP_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "{test} must not be skipped (TINYSUP_TEST_REQUIRE_ALL=1), but {why}");
    let count = SKIPPED.fetch_add(1, Ordering::SeqCst) + 1;
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED {test}: {why} ({count} skipped so far)");
}

fn build() -> Docker {
    // One tag per checkout, so that two of them on one machine keep apart.
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut hasher = DefaultHasher::new();
    checkout.hash(&mut hasher);
    let tag = format!("test-{:x}", hasher.finish());
    let script = checkout.join("docker/build");
    let done = call(BUILD_DEADLINE, &script.to_string_lossy(), &[], &[("TAG", &tag)]);
    assert!(done.status.success(), "docker/build failed:\n{}", text(&done.stderr));
    Docker { tag }
}

impl Docker {
    /// The full name of one of our images.
    pub fn image(&self, name: &str) -> String {
        let name = if name == "tinysup" { name.to_owned() } else { format!("tinysup-{name}") };
        format!("localhost/{name}:{}", self.tag)
    }

    /// Their common tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Starts a container in the background.
    pub fn start(&self, options: &[&str], image: &str, command: &[&str]) -> Container {
        let container = Container::new();
        let done = container.create("--detach", options, &self.image(image), command);
        assert!(done.status.success(), "docker run failed: {}", text(&done.stderr));
        container
    }

    /// Runs a container to its end, as a person would at a prompt.
    pub fn run(&self, options: &[&str], image: &str, command: &[&str]) -> Finished {
        let container = Container::new();
        Finished::from(&container.create("--rm", options, &self.image(image), command))
    }
}

/// A second dockerd beside the machine's, with our program as the init that `docker run --init` gives to containers. Ends with
/// its owner.
pub struct OwnDaemon {
    process: Child,
    folder: PathBuf,
    host: String,
}

impl OwnDaemon {
    /// Starts it; `None`, which is said loudly, where there is no dockerd to start or it does not come up.
    pub fn with_our_init(docker: &Docker) -> Option<Self> {
        // Not below the target folder: a socket's path must be short.
        let folder = std::env::temp_dir().join(unique());
        std::fs::create_dir(&folder).expect("a new folder");
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let from = Container::new();
        let created = docker_call(&["create", "--name", &from.name, &docker.image("tinysup"), "x"]);
        assert!(created.status.success(), "{}", text(&created.stderr));
        // dockerd asks it for its version by the name that it is given.
        must(&["cp", &format!("{}:/sbin/tinysup", from.name), &path("docker-init")]);
        let host = format!("unix://{}", path("socket"));
        // In a network of its own: without a bridge it removes the one of the machine's docker.
        let spawned = Command::new("unshare")
            .args([
                "--net",
                "dockerd",
                "--host",
                &host,
                "--init-path",
                &path("docker-init"),
                "--data-root",
                &path("data"),
            ])
            .args(["--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).expect("a file"))
            .spawn();
        let Ok(process) = spawned else {
            let _ = std::fs::remove_dir_all(&folder);
            return None;
        };
        let daemon = Self { process, folder, host };
        let start = Instant::now();
        while !daemon.docker(&["info"]).status.success() {
            if start.elapsed() > DEADLINE {
                return None;
            }
            thread::sleep(RETRY);
        }
        Some(daemon)
    }

    /// Brings an image of the other daemon over.
    pub fn load(&self, image: &str) {
        let archive = self.folder.join("image");
        must(&["save", "--output", &archive.to_string_lossy(), image]);
        let done = self.docker(&["load", "--input", &archive.to_string_lossy()]);
        assert!(done.status.success(), "{}", text(&done.stderr));
    }

    /// Calls docker for this daemon.
    pub fn docker(&self, arguments: &[&str]) -> Output {
        call(CALL_DEADLINE, "docker", &[&["--host", &self.host], arguments].concat(), &[])
    }

    /// What docker answers, where it must.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> Finished {
        let output = self.docker(arguments);
        assert!(output.status.success(), "docker {}: {}", arguments.join(" "), text(&output.stderr));
        Finished::from(&output)
    }

    /// What the daemon itself has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).expect("its log")
    }
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        // Asked, it takes its containerd with it.
        call(CALL_DEADLINE, "kill", &[&self.process.id().to_string()], &[]);
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A container that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Finished {
    fn from(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// A container, removed on drop with its anonymous volumes.
pub struct Container {
    name: String,
}

impl Container {
    fn new() -> Self {
        Self { name: unique() }
    }

    /// One that somebody else made.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    fn create(&self, how: &str, options: &[&str], image: &str, command: &[&str]) -> Output {
        docker_call(&[&["run", how, "--name", &self.name], options, &[image], command].concat())
    }

    /// Waits until a line of its output contains `wanted`, and returns all lines up to there, both streams mixed.
    pub fn wait_for(&self, wanted: &str) -> Vec<String> {
        self.wait_for_nth(wanted, 1)
    }

    /// Waits for the nth such line.
    pub fn wait_for_nth(&self, wanted: &str, nth: usize) -> Vec<String> {
        let mut found = 0;
        let what = format!("{wanted:?} ({nth} times) in the output of {}", self.name);
        follow(&["logs", "--follow", &self.name], &what, |line| {
            found += usize::from(line.contains(wanted));
            found == nth
        })
    }

    /// Waits until it has died that many times.
    pub fn wait_for_deaths(&self, deaths: usize) {
        let mut found = 0;
        let filter = format!("container={}", self.name);
        let arguments = ["events", "--since", "1", "--filter", &filter, "--filter", "event=die"];
        follow(&arguments, &format!("{deaths} deaths of {}", self.name), |_| {
            found += 1;
            found == deaths
        });
    }

    /// Waits until Docker has found it in that state of health that many times.
    pub fn wait_for_health(&self, state: &str, times: usize) {
        let mut found = 0;
        let filter = format!("container={}", self.name);
        let arguments = ["events", "--since", "1", "--filter", &filter, "--filter", "event=health_status"];
        let told = format!("health_status: {state} ");
        follow(&arguments, &format!("{state} ({times} times) of {}", self.name), |line| {
            found += usize::from(line.contains(&told));
            found == times
        });
    }

    /// `docker kill --signal`.
    pub fn signal(&self, signal: &str) {
        must(&["kill", "--signal", signal, &self.name]);
    }

    /// `docker stop`; how long it took.
    pub fn stop(&self) -> Duration {
        let start = Instant::now();
        must(&["stop", &self.name]);
        start.elapsed()
    }

    /// `docker start`.
    pub fn start_again(&self) {
        must(&["start", &self.name]);
    }

    /// `docker pause`.
    pub fn pause(&self) {
        must(&["pause", &self.name]);
    }

    /// `docker unpause`.
    pub fn unpause(&self) {
        must(&["unpause", &self.name]);
    }

    /// Waits for its end; its exit code.
    pub fn wait(&self) -> i32 {
        must(&["wait", &self.name]).trim().parse().expect("docker wait prints a code")
    }

    /// Waits for its end; all it said, with its exit code.
    pub fn finish(&self) -> Finished {
        let code = self.wait();
        let output = docker_call(&["logs", &self.name]);
        Finished { code, ..Finished::from(&output) }
    }

    /// `docker exec`, to its end.
    pub fn exec(&self, command: &[&str]) -> Finished {
        Finished::from(&docker_call(&[&["exec", &self.name], command].concat()))
    }

    /// `docker exec tinysup`, with options of docker before it.
    pub fn verb(&self, options: &[&str], words: &[&str]) -> Finished {
        let call = [&["exec"], options, &[&self.name, "/sbin/tinysup"], words].concat();
        Finished::from(&docker_call(&call))
    }

    /// `docker exec` in the background.
    pub fn exec_detached(&self, command: &[&str]) {
        must(&[&["exec", "--detach", &self.name], command].concat());
    }

    /// `docker inspect` with a template.
    pub fn inspect(&self, template: &str) -> String {
        must(&["inspect", "--format", template, &self.name]).trim().to_owned()
    }

    /// A port of the container itself. Docker's proxy before a published one keeps what it has not passed on yet, and loses it with
    /// the container.
    pub fn address(&self, port: u16) -> String {
        format!("{}:{port}", self.inspect("{{.NetworkSettings.IPAddress}}"))
    }

    /// Where a port of the container is published on this machine.
    pub fn published(&self, port: u16) -> String {
        must(&["port", &self.name, &port.to_string()]).lines().next().expect("a published port").to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker_call(&["rm", "--force", "--volumes", &self.name]);
    }
}

/// A named volume, removed on drop; let it be older than its containers.
pub struct Volume(pub String);

impl Volume {
    /// A new one; docker makes it when a container first asks for it.
    pub fn new() -> Self {
        Self(unique())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        docker_call(&["volume", "rm", "--force", &self.0]);
    }
}

/// A file of this test, with that content; the container may write to it too.
pub fn file(content: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique());
    std::fs::write(&path, content).expect("the target folder is writable");
    path
}

/// A `--volume` that puts this configuration into a container.
pub fn config(content: &str) -> String {
    format!("{}:/etc/tinysup.toml:ro", file(content).display())
}

/// An HTTP request that has been sent.
pub struct Request(TcpStream);

impl Request {
    /// Connects, as often as it takes until a server answers, and asks for a path.
    pub fn send(address: &str, path: &str) -> Self {
        let start = Instant::now();
        loop {
            // Docker's proxy accepts before the server listens, and hangs up then: only an answer counts.
            let Ok(mut connection) = TcpStream::connect(address) else {
                panic!("{address} is not published")
            };
            connection.set_read_timeout(Some(DEADLINE)).expect("a timeout above zero");
            let asked = write!(connection, "GET {path} HTTP/1.0\r\n\r\n");
            if asked.is_ok() && connection.peek(&mut [0]).is_ok_and(|bytes| bytes > 0) {
                return Self(connection);
            }
            assert!(start.elapsed() < DEADLINE, "nothing answers at {address}");
            thread::sleep(RETRY);
        }
    }

    /// Reads to the end; the status line and the body.
    pub fn answer(mut self) -> (String, String) {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).expect("the whole answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }
}

/// A call of any program, with a deadline and its output.
pub fn call(deadline: &str, program: &str, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new("timeout")
        .args(["--kill-after=5", deadline, program])
        .args(arguments)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("timeout (of coreutils) runs")
}

fn docker_call(arguments: &[&str]) -> Output {
    call(CALL_DEADLINE, "docker", arguments, &[])
}

#[track_caller]
fn must(arguments: &[&str]) -> String {
    let output = docker_call(arguments);
    assert!(output.status.success(), "docker {}: {}", arguments.join(" "), text(&output.stderr));
    text(&output.stdout)
}

/// Follows the output of a docker command until `done` says so, and returns the lines seen.
fn follow(arguments: &[&str], what: &str, mut done: impl FnMut(&str) -> bool) -> Vec<String> {
    struct Following(Child);
    impl Drop for Following {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let child = Command::new("docker").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Following(child.expect("docker runs"));
    let (sender, lines) = mpsc::channel();
    let streams: [Box<dyn Read + Send>; 2] =
        [Box::new(child.0.stdout.take().expect("a pipe")), Box::new(child.0.stderr.take().expect("a pipe"))];
    for stream in streams {
        let sender = sender.clone();
        thread::spawn(move || {
            BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    drop(sender);
    let start = Instant::now();
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(DEADLINE.saturating_sub(start.elapsed())) {
            Ok(line) => {
                let end = done(&line);
                seen.push(line);
                if end {
                    return seen;
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no {what} in time; seen:\n{}", seen.join("\n")),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                panic!("the end came before {what}; seen:\n{}", seen.join("\n"))
            }
        }
    }
}

fn unique() -> String {
    format!("tinysup-test-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::SeqCst))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
