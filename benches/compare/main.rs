//! Compares tinysup with the inits and supervisors that the machine has, each as PID 1 of a PID namespace, in one interleaved
//! run. `cargo bench`; docs/benchmarks.md says what is measured and how.
//!
//!     cargo bench [-- --quick] [--out FILE] [--docs] [--only METRIC,…]
//!
//! `TINYSUP_STATIC` may name a static build that takes part as well. It shows figures, and never fails for them.

#![expect(clippy::print_stdout, reason = "it talks to people")]
#![expect(clippy::indexing_slicing, reason = "indices come from the same lists")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "figures for people; halves of words"
)]

mod board;
mod candidates;
mod container;
mod many;
mod metrics;
mod procfs;
mod report;
mod service;

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use candidates::{Candidate, Kind, MINIMAL, OURS, OURS_STATIC};
use metrics::Bench;
use report::{Bar, Figures, Unit};

type Metric = fn(&mut Bench) -> Vec<Figures>;

/// Each metric and what it is called on the command line.
const METRICS: [(&str, Metric); 11] = [
    ("stop", metrics::stop),
    ("restart", metrics::restart),
    ("idle", metrics::idle),
    ("signal", metrics::signal),
    ("relay", metrics::relay),
    ("fairness", metrics::fairness),
    ("silent", metrics::silent),
    ("start", metrics::start),
    ("many", many::many),
    ("orphans", metrics::orphans),
    ("size", metrics::size),
];

struct Options {
    quick: bool,
    out: Option<PathBuf>,
    docs: bool,
    only: Vec<String>,
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    service::play_if_asked(&arguments);
    match options(arguments.into_iter().skip(1)) {
        Ok(Some(options)) => {
            if let Err(error) = run(&options) {
                println!("cannot compare: {error}");
            }
        }
        Ok(None) => println!("a benchmark: run it with `cargo bench`"),
        Err(error) => println!("{error}; known: --quick, --out FILE, --docs, --only METRIC,…"),
    }
}

/// The kernel reads the file from the disk again when it is needed, as in a container that has just been made. What was just written, as by
/// a linker, is in memory in large pieces, and the kernel (Linux 6.18) maps such a piece as a whole where it would map 64 KiB.
fn forget_pages(file: &Path) -> io::Result<()> {
    let file = File::open(file)?;
    // What is not on the disk yet cannot be forgotten.
    file.sync_all()?;
    Ok(nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
}

/// `None` if this is no benchmark run: `cargo test --all-targets` starts benchmarks too.
fn options(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options { quick: false, out: None, docs: false, only: Vec::new() };
    let mut asked = false;
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--quick" => options.quick = true,
            "--out" => options.out = Some(arguments.next().ok_or("--out needs a file")?.into()),
            "--docs" => options.docs = true,
            "--only" => {
                let list = arguments.next().ok_or("--only needs names of metrics")?;
                options.only = list.split(',').map(str::to_owned).collect();
                let unknown = |name: &&String| !METRICS.iter().any(|(known, _)| known == name);
                if let Some(name) = options.only.iter().find(unknown) {
                    return Err(format!("unknown metric {name:?}"));
                }
            }
            other => return Err(format!("unknown argument {other:?}")),
        }
        asked = true;
    }
    Ok(asked.then_some(options))
}

fn run(options: &Options) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let static_program = env::var_os("TINYSUP_STATIC").map(PathBuf::from);
    if let Some(missing) = static_program.as_ref().filter(|program| !program.is_file()) {
        return Err(format!("TINYSUP_STATIC: {} is no file", missing.display()));
    }
    let scratch = Scratch::new().map_err(text)?;
    let minimal = many::build(&scratch.0).map_err(|error| println!("SKIPPED: {MINIMAL}: {error}")).ok();
    let (candidates, missing) = candidates::find(
        Path::new(env!("CARGO_BIN_EXE_tinysup")),
        static_program.as_deref(),
        minimal.as_deref(),
    );
    let mut bench = Bench {
        program: env::current_exe().and_then(fs::canonicalize).map_err(text)?,
        scratch: scratch.0.clone(),
        candidates,
        minimal,
        quick: options.quick,
        started: 0,
    };
    let mut out = options.out.as_ref().map(File::create).transpose().map_err(text)?;
    let mut save = |line: &str| out.as_mut().map_or(Ok(()), |out| out.write_all(line.as_bytes()));

    for name in missing {
        println!("SKIPPED: {name} is not installed here, so it does not take part");
    }
    if static_program.is_none() {
        println!("SKIPPED: no static build (TINYSUP_STATIC is not set), so it does not take part");
    }
    for file in bench.candidates.iter().flat_map(|candidate| &candidate.files) {
        if let Err(error) = forget_pages(file) {
            println!("{}: its pages stay in memory as they are: {error}", file.display());
        }
    }
    bench.try_container().map_err(|error| {
        format!("a PID namespace with its own /proc is needed, which takes root (CAP_SYS_ADMIN) and Linux 5.3: {error}")
    })?;
    let before = surroundings(&bench.candidates);
    println!("{before}");
    save(&format!("{{\"machine\":{before:?}}}\n")).map_err(text)?;

    let mut all = Vec::new();
    for (name, measure) in METRICS {
        if !options.only.is_empty() && !options.only.iter().any(|wanted| wanted == name) {
            continue;
        }
        for figures in measure(&mut bench) {
            println!("{}", figures.table());
            save(&figures.json()).map_err(text)?;
            all.push(figures);
        }
    }

    println!("Bars (p99 where there are many values)");
    let bars = bars(&all);
    for bar in &bars {
        println!("{}", bar.line());
        save(&bar.json()).map_err(text)?;
    }
    println!("\nload average at the end: {}", load());
    if options.docs {
        let words = format!("{before}; at the end: {}.", load());
        write_docs(&words, &all, &bars).map_err(|error| format!("{DOCS}: {error}"))?;
    }
    Ok(())
}

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md");

/// Puts the tables of this run between the two marks in the document.
fn write_docs(words: &str, all: &[Figures], bars: &[Bar]) -> io::Result<()> {
    const MARKS: [&str; 2] = ["<!-- what cargo bench measured -->\n", "<!-- the end of it -->\n"];
    let document = fs::read_to_string(DOCS)?;
    let parts = document
        .split_once(MARKS[0])
        .and_then(|(before, rest)| Some((before, rest.split_once(MARKS[1])?.1)))
        .ok_or_else(|| io::Error::other("the marks are not in it"))?;
    let tables = [Kind::OneCommand, Kind::Services].map(|kind| report::markdown(all, kind)).join("\n");
    let bars: String = bars.iter().map(Bar::markdown).collect();
    let new = format!(
        "{}{}\n{words}\n\n{tables}\n| promise (p99 where there are many values) | at most | figure | |\n|---|---:|---:|---|\n{bars}\n{}{}",
        parts.0, MARKS[0], MARKS[1], parts.1
    );
    fs::write(DOCS, new)
}

/// What the project promises.
fn bars(all: &[Figures]) -> Vec<Bar> {
    use Kind::{OneCommand, Services};
    use Unit::{Count, Kibibytes, Microseconds, Milliseconds, SecondsPerGibibyte};
    let rows: [(_, _, _, _, _, _); 15] = [
        ("stop of three cooperative services", "stop", OURS, Services, 50_000_000, Milliseconds),
        ("crash to next exec, after a while", "restart_steady", OURS, Services, 5_000_000, Milliseconds),
        ("crash to next exec, at once", "restart_hot", OURS, Services, 5_000_000, Milliseconds),
        ("wake-ups while idle, one command", "idle_wakeups", OURS, OneCommand, 0, Count),
        ("wake-ups while idle, ten services", "idle_wakeups", OURS, Services, 0, Count),
        ("signal in to out, one command", "signal", OURS, OneCommand, 100_000, Microseconds),
        ("signal in to out, services", "signal", OURS, Services, 100_000, Microseconds),
        ("signal in to out, in a flood of lines", "signal_flood", OURS, Services, 100_000, Microseconds),
        ("relay of lines, time", "relay_time", OURS, Services, 1_073_741_824, SecondsPerGibibyte),
        ("relay of lines, CPU", "relay_cpu", OURS, Services, 300_000_000, SecondsPerGibibyte),
        (
            "relay of lines, CPU, static build",
            "relay_cpu",
            OURS_STATIC,
            Services,
            600_000_000,
            SecondsPerGibibyte,
        ),
        (
            "signal in to out, flood, static build",
            "signal_flood",
            OURS_STATIC,
            Services,
            100_000,
            Microseconds,
        ),
        ("static build: size", "size", OURS_STATIC, Services, 708_080, Kibibytes),
        ("static build: anonymous memory", "memory_anonymous", OURS_STATIC, Services, 300_000, Kibibytes),
        ("static build: resident memory", "memory_resident", OURS_STATIC, Services, 1_000_000, Kibibytes),
    ];
    let bar = |(what, metric, name, kind, at_most, unit)| {
        let figures = all.iter().find(|figures| figures.metric == metric);
        let of = |of_hundred| figures.and_then(|figures| figures.quantile(name, kind, of_hundred));
        Bar { what, figure: of(99), median: of(50), at_most, unit }
    };
    rows.into_iter().map(bar).collect()
}

/// The machine and who takes part, in words.
fn surroundings(candidates: &[Candidate]) -> String {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let packages = ["tini", "dumb-init", "catatonit", "s6", "runit", "supervisor"];
    let versions = said("dpkg-query", &[&["-W", "-f", "${Package} ${Version}, "], &packages[..]].concat());
    let names: Vec<&str> = candidates.iter().map(|candidate| candidate.name).collect();
    let known = if versions.is_empty() { names.join(", ") } else { versions };
    format!(
        "{}, {cpus} CPUs, Linux {}, load average at the beginning: {}\ntinysup {}, {}",
        said("date", &["-u", "+%Y-%m-%d"]),
        file("/proc/sys/kernel/osrelease"),
        load(),
        env!("CARGO_PKG_VERSION"),
        known.trim_end_matches([',', ' ']),
    )
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// A directory in memory where there is one, as /run is; removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        const NAME: &str = "tinysup-bench-";
        let shared = Path::new("/dev/shm");
        let parent = if fs::metadata(shared).is_ok() { shared.to_owned() } else { env::temp_dir() };
        for entry in fs::read_dir(&parent)?.flatten() {
            // What a run that was killed left there.
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(NAME));
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let path = parent.join(format!("{NAME}{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
