//! Beside the machines, a container of Docker with a memory limit, whose first process is this program: what dockerd sets up and says
//! itself is the measure there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::host::{self, SHELL_COMMANDS};
use crate::memory::{self, MIB};

/// What any wait for it may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// Docker rounds to this share of what it says.
const ROUNDED: u64 = MIB;
/// The program in it, and the case that it is.
const PROGRAM: &str = "/case";
const CASE: &str = "a_container_of_docker";
const WRITABLE_CASE: &str = "a_container_of_docker_with_a_writable_cgroup";

pub const LIMIT_MIB: u64 = 64;
pub const RAISED_MIB: u64 = 96;

pub const NAME: &str = "docker";

/// Whether Docker is there.
pub fn possible() -> Result<(), String> {
    let mut info = Command::new("docker");
    info.args(["info", "--format", "{{.Architecture}}"]).stderr(Stdio::null());
    match info.output() {
        Ok(output) if output.status.success() => {
            let of = String::from_utf8_lossy(&output.stdout);
            if of.trim() == env::consts::ARCH { Ok(()) } else { Err(format!("docker is for {}", of.trim())) }
        }
        _ => Err("there is no docker, or it does not run".to_owned()),
    }
}

/// Whether all was right in it.
pub fn run(shell: &Path) -> bool {
    println!("\ncontainer {NAME}");
    let started = Instant::now();
    let image = Image::new(shell);
    let result = std::panic::catch_unwind(|| {
        let mut container = Container::start(&image, &[], CASE);
        // What it found and weighed, then what docker says of the same.
        let weighed = container.number("weighed ");
        let said =
            memory_of(&docker(&["stats", "--no-stream", "--format", "{{.MemUsage}}", &container.name]));
        assert!(said.0.abs_diff(weighed) < 3 * MIB, "{weighed} bytes are {said:?} for docker");
        assert_eq!(said.1, LIMIT_MIB * MIB);
        let raised = format!("{RAISED_MIB}m");
        docker(&["update", "--memory", &raised, "--memory-swap", &raised, &container.name]);
        assert_eq!(container.number("limit "), RAISED_MIB * MIB);
        assert_eq!(container.number("killed "), 1);
        assert!(container.process.wait().expect("its end").success());
        // The whole hierarchy of the machine, in which it has to find its own part.
        let (_, mount) = memory::hierarchy().expect("whoever has docker has cgroups");
        let volume = format!("{0}:{0}", mount.display());
        let options = ["--cgroupns", "host", "--volume", &volume];
        let mut container = Container::start(&image, &options, WRITABLE_CASE);
        assert_eq!(container.number("killed "), 1);
        assert!(container.process.wait().expect("its end").success());
    });
    println!(
        "container {NAME}: {}, {:.1} s",
        if result.is_ok() { "ok" } else { "FAILED" },
        started.elapsed().as_secs_f64()
    );
    result.is_ok()
}

/// `12.5MiB / 64MiB` in bytes, as far as it is said.
fn memory_of(text: &str) -> (u64, u64) {
    let bytes = |text: &str| {
        let at = text.find(|c: char| c.is_alphabetic()).expect("a unit");
        let (number, unit) = text.split_at(at);
        let unit = match unit {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            other => panic!("{other}"),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few MiB")]
        let bytes = (number.parse::<f64>().expect("a number") * unit) as u64;
        bytes
    };
    let (used, limit) = text.trim().split_once(" / ").expect("two");
    (bytes(used), bytes(limit).next_multiple_of(ROUNDED))
}

fn docker(arguments: &[&str]) -> String {
    host::output(Command::new("timeout").args(["90", "docker"]).args(arguments))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// An image of nothing but what the case needs; gone with its owner.
struct Image(String);

impl Image {
    fn new(shell: &Path) -> Self {
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("container-{}", std::process::id()));
        let put = |to: &str, from: &Path| {
            let to = folder.join(to);
            fs::create_dir_all(to.parent().expect("a folder")).expect("ours");
            fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        };
        put(&PROGRAM[1..], &env::current_exe().expect("own path"));
        put(&crate::guest::WITNESS[1..], crate::witness::witness_path());
        for name in SHELL_COMMANDS {
            put(&format!("bin/{name}"), shell);
        }
        for library in host::libraries() {
            let name = library.file_name().expect("a name").to_string_lossy().into_owned();
            put(&format!("lib/{name}"), &library);
            if name.starts_with("ld-") {
                put(&format!("lib64/{name}"), &library);
            }
        }
        fs::create_dir_all(folder.join("tmp")).expect("ours");
        let tag = format!("localhost/tinysup-memory:{}", std::process::id());
        let imported = host::output(
            Command::new("sh")
                .arg("-c")
                .arg(format!("tar -C '{}' -c . | docker import - {tag}", folder.display())),
        );
        let _ = fs::remove_dir_all(&folder);
        imported.unwrap_or_else(|error| panic!("{error}"));
        Self(tag)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = host::output(Command::new("docker").args(["rmi", "--force", &self.0]));
    }
}

struct Container {
    name: String,
    process: Child,
    lines: Receiver<String>,
}

impl Container {
    fn start(image: &Image, options: &[&str], case: &str) -> Self {
        let name = format!("tinysup-memory-{}", std::process::id());
        let limit = format!("{LIMIT_MIB}m");
        let mut process = Command::new("docker")
            .args([
                "run",
                "--rm",
                "--name",
                &name,
                "--memory",
                &limit,
                "--memory-swap",
                &limit,
                "--network",
                "none",
            ])
            .args(["--env", "PATH=/bin", "--env", &format!("TINYSUP_TEST_WITNESS={}", crate::guest::WITNESS)])
            .args(options)
            .args([&image.0, PROGRAM, "--case", case])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("docker");
        let (sender, lines) = mpsc::channel();
        let out = process.stdout.take().expect("a pipe");
        thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { name, process, lines }
    }

    /// The number after these words, as soon as it says so.
    fn number(&mut self, words: &str) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|error| panic!("no {words:?}: {error}"));
            println!("  {line}");
            if let Some(number) = line.strip_prefix(words) {
                return number.parse().expect("a number");
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = host::output(Command::new("docker").args(["rm", "--force", &self.name]));
        let _ = self.process.wait();
    }
}
