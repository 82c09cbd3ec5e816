//! A container under gVisor: what runsc runs of a bundle, with this machine's own files as its root, which it may read only, and
//! with a /run of its own. Every wait has a deadline, and whatever was started is gone when the test ends.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use std::{env, fs, io, thread};

use serde_json::json;

use crate::container::{DEADLINE, Folder, tinysup};

/// What Docker gives a container.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Whether runsc is there and runs anything; else it says so.
pub fn possible() -> bool {
    static POSSIBLE: OnceLock<Result<(), String>> = OnceLock::new();
    let tried = POSSIBLE.get_or_init(|| {
        let end = Setup::program(&["/bin/true"]).try_start().map_err(|error| error.to_string())?.finish();
        if end.code == 0 { Ok(()) } else { Err(format!("runsc says: {}", end.text.trim())) }
    });
    let Err(why) = tried else { return true };
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let required = env::var("TINYSUP_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "{test} must not be skipped (TINYSUP_TEST_REQUIRE_ALL=1), but {why}");
    let _ = writeln!(io::stderr(), "\n*** SKIPPED {test}: it takes root and gVisor's runsc ({why})");
    false
}

/// What shall be started, and how.
pub struct Setup {
    folder: Folder,
    argv: Vec<String>,
    env: Vec<String>,
    proc: bool,
    read: bool,
}

impl Setup {
    /// The services of this configuration. `DIR` in it is the folder of the test, which holds a copy of the program.
    pub fn services(config: &str) -> Self {
        let setup = Self::command(&[]);
        let config = config.replace("DIR", &setup.folder.path().display().to_string());
        let file = setup.folder.file("tinysup.toml", config).display().to_string();
        Self { argv: [setup.argv, vec!["run".to_owned(), "-c".to_owned(), file]].concat(), ..setup }
    }

    /// The program with these words.
    pub fn command(words: &[&str]) -> Self {
        let setup = Self::program(words);
        let copy = setup.folder.program("tinysup", fs::read(tinysup()).expect("the program"));
        Self { argv: [vec![copy.display().to_string()], setup.argv].concat(), ..setup }
    }

    /// Any program.
    fn program(words: &[&str]) -> Self {
        let folder = Folder::new();
        let env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
        Self { folder, argv: words.iter().map(ToString::to_string).collect(), env, proc: true, read: true }
    }

    /// The program becomes one that a shell starts by this script, in which it is `"$0" "$@"`.
    pub fn by_shell(mut self, script: &str) -> Self {
        self.argv.splice(0..0, ["/bin/sh", "-c", script].map(str::to_owned));
        self
    }

    pub fn env(mut self, variable: &str) -> Self {
        self.env.push(variable.to_owned());
        self
    }

    pub fn without_proc(mut self) -> Self {
        self.proc = false;
        self
    }

    /// Nobody reads what it says before `read_on`.
    pub fn stuck(mut self) -> Self {
        self.read = false;
        self
    }

    pub fn start(self) -> Sandbox {
        self.try_start().expect("runsc")
    }

    fn try_start(self) -> io::Result<Sandbox> {
        let mount = |kind: &str, place: &str, options: &[&str]| json!({"type": kind, "source": kind, "destination": place, "options": options});
        let mut mounts = vec![
            mount("tmpfs", "/dev", &["nosuid"]),
            mount("devpts", "/dev/pts", &[]),
            mount("tmpfs", "/run", &["nosuid", "mode=1777"]),
        ];
        if self.proc {
            mounts.push(mount("proc", "/proc", &[]));
        }
        let kinds = ["pid", "ipc", "uts", "mount", "network"];
        let sets = ["bounding", "effective", "permitted"];
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": self.argv,
                "env": self.env,
                "cwd": "/",
                "capabilities": sets.map(|set| (set.to_owned(), json!(CAPABILITIES))).into_iter().collect::<serde_json::Map<_, _>>(),
            },
            "root": {"path": "/", "readonly": true},
            "mounts": mounts,
            "linux": {"namespaces": kinds.map(|kind| json!({"type": kind})).to_vec()},
        });
        self.folder.file("config.json", config.to_string());
        let name = self.folder.path().file_name().expect("a name").to_string_lossy().into_owned();
        let mut run = runsc(&self.folder);
        run.args(["run", "--bundle"]).arg(self.folder.path()).arg(&name);
        let (out, out_end) = io::pipe()?;
        let (err, err_end) = io::pipe()?;
        run.stdin(Stdio::null()).stdout(out_end).stderr(err_end);
        let child = run.spawn()?;
        drop(run); // with our copies of the ends that it writes to
        let (sender, lines) = mpsc::channel();
        let gate = Arc::new((Mutex::new(self.read), Condvar::new()));
        for reader in [out, err] {
            let (gate, sender) = (Arc::clone(&gate), sender.clone());
            thread::spawn(move || {
                let open = gate.0.lock().unwrap_or_else(PoisonError::into_inner);
                drop(gate.1.wait_while(open, |open| !*open));
                for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                    let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        Ok(Sandbox { folder: self.folder, name, child, lines, said: Vec::new(), gate })
    }
}

/// What all calls have in common. Their own places for what runsc keeps let tests run beside each other, and beside Docker.
fn runsc(folder: &Folder) -> Command {
    let mut command = Command::new("runsc");
    command.arg("--root").arg(folder.path().join("state")).args(["--network=none", "--ignore-cgroups"]);
    command
}

/// A container, running.
pub struct Sandbox {
    folder: Folder,
    name: String,
    child: Child,
    lines: Receiver<String>,
    /// What it said, without the lines that were waited for.
    said: Vec<String>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

/// What has become of it.
#[derive(Debug)]
pub struct End {
    pub code: i32,
    /// What it said, without the lines that were waited for.
    pub text: String,
}

impl Sandbox {
    /// Waits for a line with this in it, which is not found a second time.
    pub fn wait_for(&mut self, wanted: &str) -> String {
        if let Some(at) = self.said.iter().position(|line| line.contains(wanted)) {
            return self.said.remove(at);
        }
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(wanted) => return line,
                Ok(line) => self.said.push(line),
                Err(error) => {
                    panic!("waited in vain for {wanted:?} ({error}); it said:\n{}", self.said.join("\n"))
                }
            }
        }
    }

    /// Waits until something runs in it, where no line tells.
    pub fn is_there(&self) {
        let end = Instant::now() + DEADLINE;
        while !self.exec(&["true"]).status.success() {
            assert!(Instant::now() < end, "it does not begin");
        }
    }

    /// Lets whoever reads what it says begin.
    pub fn read_on(&self) {
        *self.gate.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.gate.1.notify_all();
    }

    /// A verb, asked from inside.
    pub fn ask(&self, words: &[&str]) -> Output {
        self.exec(&[&[&*self.path("tinysup")], words].concat())
    }

    /// A script, run inside: what it prints.
    pub fn shell(&self, script: &str) -> String {
        let output = self.exec(&["/bin/sh", "-c", script]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn exec(&self, words: &[&str]) -> Output {
        // Else what runs there would outlive the one who asks.
        let patience = DEADLINE.as_secs().to_string();
        let mut exec = runsc(&self.folder);
        exec.args(["exec", &self.name, "timeout", "-s", "KILL", &patience]).args(words).stdin(Stdio::null());
        exec.output().expect("runsc")
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        path.display().to_string()
    }

    /// A signal for its PID 1, by a name or number that runsc knows.
    pub fn signal(&self, signal: &str) {
        let output = runsc(&self.folder).args(["kill", &self.name, signal]).output().expect("runsc");
        assert!(output.status.success(), "{output:?}");
    }

    /// Waits for its end.
    pub fn finish(mut self) -> End {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not end; it said:\n{}", self.said.join("\n"))
                }
            }
        }
        let code = self.child.wait().expect("a child of ours").code().expect("it ends by itself");
        let text = self.said.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        End { code, text }
    }

    /// Asks it to stop, as a runtime does, and waits for its end.
    pub fn stop(self) -> End {
        self.signal("TERM");
        self.finish()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = runsc(&self.folder).args(["delete", "--force", &self.name]).output();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
