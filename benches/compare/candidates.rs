//! Who is compared: tinysup and the inits and supervisors of the distribution and of the language registries; how each is told
//! to run the same services, as its users usually do it, and how it is asked to stop. Leaves to the metrics what is asked of them.

use std::env;
use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::service::ARGUMENTS_FILE;

/// What a candidate can do; compared are those of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is the init of one command.
    OneCommand,
    /// It runs several services, and restarts them.
    Services,
}

impl Kind {
    /// For the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneCommand => "one command",
            Self::Services => "services",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// No init: the service itself is PID 1. What it costs is what nobody can save.
    None,
    /// As little as an init can do, in C: minimal.c.
    Minimal,
    Tinysup,
    Tini,
    DumbInit,
    Catatonit,
    S6,
    Runit,
    Supervisord,
    Horust,
    Pm2,
    /// s6 with s6-log behind the service, which marks each line.
    S6Log,
    /// No supervisor: what is read from a pipe is written as it is.
    Pipe,
}

/// One init or supervisor.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name in the tables.
    pub name: &'static str,
    /// What it is compared as.
    pub kind: Kind,
    /// The files that it consists of, without interpreter and libraries.
    pub files: Vec<PathBuf>,
    /// Where it stands in the tables.
    pub place: usize,
    program: Program,
}

/// The one that all others are compared with, within its kind.
pub const OURS: &str = "tinysup";

/// The static build of it, where there is one.
pub const OURS_STATIC: &str = "tinysup (static)";

/// The name of the candidate that is no init at all.
pub const NO_INIT: &str = "(no init)";

/// The name of the candidate that is the least init there can be.
pub const MINIMAL: &str = "(minimal)";

/// The name of the candidate that only passes on what it reads: what nobody can save who reads output at all.
pub const PIPE: &str = "(plain pipe)";

/// All candidates that this machine has, and the names of those it lacks.
pub fn find(
    program: &Path,
    static_program: Option<&Path>,
    minimal: Option<&Path>,
) -> (Vec<Candidate>, Vec<&'static str>) {
    use Kind::{OneCommand, Services};
    let mut found = vec![Candidate::new(NO_INIT, OneCommand, Program::None, Vec::new())];
    for kind in [OneCommand, Services] {
        if let Some(minimal) = minimal {
            found.push(Candidate::new(MINIMAL, kind, Program::Minimal, vec![minimal.to_owned()]));
        }
        found.push(Candidate::new(OURS, kind, Program::Tinysup, vec![program.to_owned()]));
        if let Some(program) = static_program {
            found.push(Candidate::new(OURS_STATIC, kind, Program::Tinysup, vec![program.to_owned()]));
        }
    }
    let mut missing = Vec::new();
    found.push(Candidate::new(PIPE, Services, Program::Pipe, Vec::new()));
    let others: [(_, _, _, &[&str]); 9] = [
        ("tini", OneCommand, Program::Tini, &["tini"]),
        ("dumb-init", OneCommand, Program::DumbInit, &["dumb-init"]),
        ("catatonit", OneCommand, Program::Catatonit, &["catatonit"]),
        ("s6", Services, Program::S6, &["s6-svscan", "s6-supervise"]),
        ("s6-log", Services, Program::S6Log, &["s6-svscan", "s6-log"]),
        ("runit", Services, Program::Runit, &["runsvdir", "runsv"]),
        ("supervisord", Services, Program::Supervisord, &["supervisord"]),
        ("horust", Services, Program::Horust, &["horust"]),
        ("pm2-runtime", Services, Program::Pm2, &["pm2-runtime", "node"]),
    ];
    for (name, kind, program, files) in others {
        match files.iter().map(|file| which(file)).collect::<Option<Vec<_>>>() {
            Some(mut files) => {
                match program {
                    Program::Supervisord => files.extend(package_files(Path::new(PYTHON_PACKAGE))),
                    // All that npm brought with it; node is the interpreter.
                    Program::Pm2 => {
                        files.truncate(1);
                        files.extend(
                            node_modules(&files).map(|modules| package_files(&modules)).unwrap_or_default(),
                        );
                    }
                    _ => {}
                }
                found.push(Candidate::new(name, kind, program, files));
            }
            None => missing.push(name),
        }
    }
    found.sort_by_key(|candidate| candidate.kind == Services);
    for (place, candidate) in found.iter_mut().enumerate() {
        candidate.place = place;
    }
    (found, missing)
}

/// Where Debian has what the program supervisord consists of.
const PYTHON_PACKAGE: &str = "/usr/lib/python3/dist-packages/supervisor";

/// Where the modules lie that a script belongs to.
fn node_modules(files: &[PathBuf]) -> Option<PathBuf> {
    let script = fs::canonicalize(files.first()?).ok()?;
    script.ancestors().find(|above| above.ends_with("node_modules")).map(Path::to_owned)
}

/// All files below a directory, without what Python derives from them; none where there is no such directory.
fn package_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.ends_with("__pycache__") {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            files.extend(package_files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn which(name: &str) -> Option<PathBuf> {
    let directories = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin", "/command"];
    let path = env::var_os("PATH").unwrap_or_default();
    let all = env::split_paths(&path).chain(directories.iter().map(PathBuf::from));
    all.map(|directory| directory.join(name)).find(|path| path.is_file())
}

impl Candidate {
    fn new(name: &'static str, kind: Kind, program: Program, files: Vec<PathBuf>) -> Self {
        Self { name, kind, files, place: 0, program }
    }

    /// Whether a signal to it, other than those it acts on itself, reaches the services.
    pub fn passes_signals_on(&self) -> bool {
        match self.program {
            Program::None
            | Program::Minimal
            | Program::Tinysup
            | Program::Tini
            | Program::DumbInit
            | Program::Catatonit => true,
            Program::S6
            | Program::Runit
            | Program::Supervisord
            | Program::Horust
            | Program::Pm2
            | Program::S6Log
            | Program::Pipe => false,
        }
    }

    /// Whether the output of services goes through it rather than past it.
    pub fn relays_output(&self) -> bool {
        let relays = matches!(self.program, Program::Tinysup | Program::Supervisord | Program::Pm2);
        self.kind == Kind::Services && (relays || self.only_relays())
    }

    /// Whether it is one of ours.
    pub fn is_ours(&self) -> bool {
        self.program == Program::Tinysup
    }

    /// Whether it takes part for its relay alone.
    pub fn only_relays(&self) -> bool {
        matches!(self.program, Program::S6Log | Program::Pipe)
    }

    /// Whether it takes long to start or to stop; it is asked less often.
    pub fn is_slow(&self) -> bool {
        matches!(self.program, Program::Supervisord | Program::Horust | Program::Pm2)
    }

    /// What asks it to stop its services and to end.
    pub fn stop_signal(&self) -> i32 {
        // On SIGTERM runsvdir leaves its services alone, and as PID 1 takes them with it.
        if self.program == Program::Runit { libc::SIGHUP } else { libc::SIGTERM }
    }

    /// Of so many services it can run this many.
    pub fn limit(&self, services: usize) -> usize {
        match self.kind {
            Kind::OneCommand => services.min(1),
            Kind::Services => services,
        }
    }

    /// Writes its configuration for these services into an empty directory; returns the command to execute.
    pub fn prepare(&self, directory: &Path, services: &[Vec<String>]) -> io::Result<Vec<String>> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let program = self.files.first().map(|file| path(file)).unwrap_or_default();
        let configuration = directory.join("configuration");
        let one = |before: &[&str]| {
            let before = before.iter().map(|word| (*word).to_owned());
            before.chain(services.first().into_iter().flatten().cloned()).collect()
        };
        Ok(match (self.program, self.kind) {
            (Program::None, _) => one(&[]),
            (Program::DumbInit, _) => one(&[&program]),
            (Program::Minimal, _) => {
                let all =
                    services.iter().flat_map(|service| ["--".to_owned()].into_iter().chain(service.clone()));
                [program, "init".to_owned()].into_iter().chain(all).collect()
            }
            (Program::Tinysup, Kind::OneCommand) | (Program::Tini | Program::Catatonit, _) => {
                one(&[&program, "--"])
            }
            (Program::Tinysup, Kind::Services) => {
                fs::write(&configuration, toml(services))?;
                vec![program, "run".to_owned(), "-c".to_owned(), path(&configuration)]
            }
            (Program::S6, _) => {
                directories(directory, services)?;
                vec![program, path(directory)]
            }
            (Program::S6Log, _) => {
                directories(directory, services)?;
                for number in 0..services.len() {
                    logger(&directory.join(format!("s{number}/log")), &format!("s{number} |"))?;
                }
                vec![program, path(directory)]
            }
            // The service knows what to do.
            (Program::Pipe, _) => services.first().into_iter().flatten().cloned().collect(),
            (Program::Runit, _) => {
                directories(directory, services)?;
                vec![program, "-P".to_owned(), path(directory)]
            }
            (Program::Horust, _) => {
                for (number, command) in services.iter().enumerate() {
                    fs::write(directory.join(format!("s{number}.toml")), horust(command))?;
                }
                vec![program, "--services-path".to_owned(), path(directory)]
            }
            (Program::Pm2, _) => {
                let configuration = configuration.with_extension("json");
                fs::write(&configuration, json(services))?;
                let home = format!("PM2_HOME={}", path(&directory.join("home")));
                let words = ["/usr/bin/env", &home, &program, "start", &path(&configuration), "--raw"];
                words.map(str::to_owned).to_vec()
            }
            (Program::Supervisord, _) => {
                fs::write(&configuration, ini(&directory.join("pid"), services))?;
                vec![program, "-c".to_owned(), path(&configuration)]
            }
        })
    }
}

fn toml(services: &[Vec<String>]) -> String {
    let mut text = "[defaults]\nrestart_delay = 0\nmax_restarts = \"unlimited\"\n".to_owned();
    for (number, command) in services.iter().enumerate() {
        let _ = writeln!(text, "[services.s{number}]\ncommand = {command:?}");
    }
    text
}

fn ini(pid_file: &Path, services: &[Vec<String>]) -> String {
    let mut text = format!(
        "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={}\n",
        pid_file.display()
    );
    for (number, command) in services.iter().enumerate() {
        let _ = write!(
            text,
            "[program:s{number}]\ncommand={}\nautorestart=true\nstartsecs=0\nstartretries=1000000\n\
             stdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0\nredirect_stderr=true\n",
            command.join(" ")
        );
    }
    text
}

/// As many attempts as it takes: its limit is none.
fn horust(command: &[String]) -> String {
    format!(
        "command = {:?}\nstdout = \"STDOUT\"\nstderr = \"STDERR\"\n\
         [restart]\nstrategy = \"always\"\nbackoff = \"0s\"\nattempts = 1000000\n",
        command.join(" ")
    )
}

fn json(services: &[Vec<String>]) -> String {
    let app = |(number, command): (usize, &Vec<String>)| {
        let (program, arguments) = command.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        format!(
            r#"{{"name":"s{number}","script":{program:?},"args":{arguments:?},"interpreter":"none","max_restarts":1000000}}"#
        )
    };
    let apps: Vec<String> = services.iter().enumerate().map(app).collect();
    format!(r#"{{"apps":[{}]}}"#, apps.join(","))
}

/// A logger, which passes lines on to standard output. The shell is gone before anything is measured.
fn logger(directory: &Path, prefix: &str) -> io::Result<()> {
    fs::create_dir(directory)?;
    let run = directory.join("run");
    fs::write(&run, format!("#!/bin/sh\nexec s6-log 'p{prefix}' 1\n"))?;
    fs::set_permissions(run, fs::Permissions::from_mode(0o755))
}

const LONG_AGO: SystemTime = SystemTime::UNIX_EPOCH;

/// One directory per service. Its `run` is the service itself, which finds its arguments beside it: a script would charge s6
/// and runit with the start of a shell.
fn directories(directory: &Path, services: &[Vec<String>]) -> io::Result<()> {
    for (number, command) in services.iter().enumerate() {
        let directory = directory.join(format!("s{number}"));
        fs::create_dir(&directory)?;
        if let Some(program) = command.first() {
            symlink(program, directory.join("run"))?;
        }
        fs::write(directory.join(ARGUMENTS_FILE), command.join("\n"))?;
        File::open(&directory)?.set_modified(LONG_AGO)?;
    }
    // As in an image: runsvdir waits a second where something was changed just now.
    File::open(directory)?.set_modified(LONG_AGO)
}
