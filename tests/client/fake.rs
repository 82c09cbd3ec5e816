//! A server that says what a test wants, and the program that asks it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use tinysup::control::{Answer, Request};

use crate::DEADLINE;

static SERIAL: AtomicUsize = AtomicUsize::new(0);

/// What is done on a connection, one after another; then it is closed.
pub enum Does {
    /// This line.
    Says(Box<Answer>),
    /// These bytes.
    Sends(&'static [u8]),
    /// Nothing until the client is gone.
    Holds,
}

/// An answer as a step.
pub fn says(answer: Answer) -> Does {
    Does::Says(Box::new(answer))
}

/// A socket, and who answers there.
pub struct Server {
    path: PathBuf,
    requests: Receiver<Request>,
    gone: Receiver<()>,
}

impl Server {
    /// For each request, `answers` says what is done.
    pub fn new(answers: impl Fn(&Request) -> Vec<Does> + Send + 'static) -> Self {
        let path = unused_path();
        let listener = UnixListener::bind(&path).expect("a socket");
        let (asked, requests) = mpsc::channel();
        let (left, gone) = mpsc::channel();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let connection = connection.expect("a connection");
                connection.set_read_timeout(Some(DEADLINE)).expect("a timeout above zero");
                if !serve(&connection, &answers, &asked, &left) {
                    return;
                }
            }
        });
        Self { path, requests, gone }
    }

    /// One that says the same to everybody.
    pub fn that_says(answers: Vec<Answer>) -> Self {
        Self::new(move |_| answers.iter().cloned().map(says).collect())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next request that came.
    pub fn request(&self) -> Request {
        self.requests.recv_timeout(DEADLINE).expect("a request")
    }

    /// Waits until a client that was held has closed its connection.
    pub fn client_gone(&self) {
        self.gone.recv_timeout(DEADLINE).expect("the client goes");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the thread, which ends at a connection without a request.
        drop(UnixStream::connect(&self.path));
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(
    connection: &UnixStream,
    answers: &impl Fn(&Request) -> Vec<Does>,
    asked: &Sender<Request>,
    left: &Sender<()>,
) -> bool {
    let (mut reader, mut writer) = (BufReader::new(connection), connection);
    let mut line = String::new();
    if reader.read_line(&mut line).expect("a line in time") == 0 {
        return false;
    }
    let request: Request = serde_json::from_str(&line).expect("a request");
    let steps = answers(&request);
    let _ = asked.send(request);
    for step in steps {
        // The client may be gone, or hang up on purpose.
        let _ = match step {
            Does::Says(answer) => {
                writer.write_all((serde_json::to_string(&answer).expect("JSON") + "\n").as_bytes())
            }
            Does::Sends(bytes) => writer.write_all(bytes),
            Does::Holds => {
                assert_eq!(reader.read_line(&mut line).expect("its end in time"), 0, "one request only");
                let _ = left.send(());
                Ok(())
            }
        };
    }
    true
}

/// A path of which nobody knows.
pub fn unused_path() -> PathBuf {
    let serial = SERIAL.fetch_add(1, Ordering::SeqCst);
    std::env::temp_dir().join(format!("tinysup-fake-{}-{serial}", std::process::id()))
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The program with these words, and nothing of our environment.
pub fn program(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tinysup"));
    command.args(words).env_clear().env("TINYSUP_SOCKET", socket);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub fn tinysup(socket: &Path, words: &[&str]) -> Said {
    let child = Running::new(program(socket, words));
    child.finish()
}

/// A program that is gone when the test ends.
pub struct Running(Option<Child>);

impl Running {
    pub fn new(mut command: Command) -> Self {
        Self(Some(command.spawn().expect("the program runs")))
    }

    pub fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("still ours")
    }

    /// Waits for its end, which must come in time.
    pub fn finish(mut self) -> Said {
        let child = self.0.take().expect("still ours");
        let pid = child.id();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(DEADLINE) else {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            panic!("it does not end");
        };
        let output = output.expect("its output");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
