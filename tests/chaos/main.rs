//! A container in which everything goes wrong that can be made to, by a seed: kills, stops and freezes, storms of signals, clients,
//! processes and lines, too few descriptors and processes, full disks, too little memory. Afterwards all is well again: every service runs, nobody is
//! left over, nothing has grown, and each run that began is accounted for.
//!
//! `TINYSUP_TEST_CHAOS=600` goes on for so many seconds instead of a minute, `TINYSUP_TEST_SEED` repeats what a seed did.
//! Left out: steps of the clock, which would be everybody's; a machine of `tests/vm` makes them.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking and tells what it does"
)]

#[path = "../common/container.rs"]
mod container;
#[path = "../common/launch.rs"]
mod launch;
#[path = "../common/proc.rs"]
mod proc;
#[path = "../common/witness.rs"]
mod witness;

mod account;
mod deeds;
mod fence;
#[path = "../sim/rng.rs"]
#[allow(dead_code, reason = "the simulator draws in more ways")]
mod rng;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use account::Account;
use container::{Container, Setup};
use fence::{Fence, Part};
use rng::Rng;
use witness::witness_path;

/// How long it goes on if nobody says otherwise.
const SECONDS: u64 = 60;
/// Until everybody runs again when it is over.
const HEALED_WITHIN: Duration = Duration::from_mins(1);
/// What PID 1 may have in anonymous memory more than at the start: what is kept of each service's output, of events and of
/// ended runs, all of which the start has little of.
const GROWTH_MAX_KIB: u64 = 3 << 10;
/// All of it is this user's, who may have so many processes.
const USER: u32 = 987_601;
const PROCESSES: u64 = 150;
/// And so many pids, where a namespace can have a number of its own.
const PIDS: &str = "400";
/// What its standard output may take.
const DISK: &str = "size=256k";
/// And what the file of a service may, which is less than it becomes with the older ones.
const LOGS: &str = "size=160k,mode=777";

fn main() -> ExitCode {
    if env::args().any(|word| word == "--list") {
        println!("chaos: test");
        return ExitCode::SUCCESS;
    }
    // As the usual test runner does it: words that are in the name of the one to run.
    let mut filters = env::args().skip(1).filter(|word| !word.starts_with('-')).peekable();
    if filters.peek().is_some() && !filters.any(|filter| "chaos".contains(&filter)) {
        return ExitCode::SUCCESS;
    }
    if let Err(why) = container::possible() {
        let required = env::var("TINYSUP_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
        println!("*** SKIPPED chaos: {why}");
        return if required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let number = |name: &str| env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seconds = number("TINYSUP_TEST_CHAOS").unwrap_or(SECONDS);
    let seed = number("TINYSUP_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("chaos for {seconds} s, TINYSUP_TEST_SEED={seed}");
    run(&mut Rng::new(seed), Duration::from_secs(seconds));
    ExitCode::SUCCESS
}

/// With a guard of memory where there is a limit.
fn configuration(limited: bool) -> String {
    let witness = witness_path().display();
    let many = |name: &str, instances: u32, command: &str, keys: &str| {
        format!(
            "[services.{name}]\ninstances = {instances}\nshell = true\ncommand = '''{command}'''\n{keys}\n"
        )
    };
    [
        "shutdown_timeout = \"8s\"\n[defaults]\nmax_restarts = \"unlimited\"\nrestart_delay = \"20ms\"\nrestart_delay_max = \"200ms\"\nkill_timeout = \"2s\"\n".to_owned(),
        if limited { "[memory]\nwarn = \"60%\"\nrestart = \"95%\"\n".to_owned() } else { String::new() },
        many("steady", 2, &format!("exec {witness} wait"), ""),
        // A helper that leaves its session, and one that stays.
        many("leaves", 2, "setsid sleep 1000 & sleep 1000 & wait", ""),
        many(
            "probed",
            1,
            &format!("exec {witness} wait"),
            "healthcheck = { test = [\"sh\", \"-c\", \"sleep 0.01 & echo well\"], interval = \"100ms\", timeout = \"10s\", retries = 1000 }",
        ),
        many("speaks", 1, &format!("exec {witness} tell READY=1 wait"), "ready = { test = \"notify\", timeout = \"5s\" }"),
        // Each does what it is here for on USR1.
        many("floods", 1, "trap 'yes \"a line of some length, again and again\" | head -c 3000000' USR1; while :; do sleep 1000 & wait $!; kill $!; done", ""),
        many("forks", 1, "trap 'i=0; while [ $i -lt 200 ]; do sleep 0.3 & i=$((i+1)); done' USR1; while :; do sleep 1000 & wait $!; kill $!; done", ""),
        many("tells", 1, &format!("trap 'i=0; while [ $i -lt 100 ]; do {witness} tell STATUS=$i; i=$((i+1)); done' USR1; {witness} tell READY=1; while :; do sleep 1000 & wait $!; kill $!; done"), "ready = { test = \"notify\", timeout = \"5s\" }"),
        many("eats", 1, &format!("trap '{witness} hold 400' USR1; while :; do sleep 1000 & wait $!; kill $!; done"), ""),
        many("writes", 1, "trap 'yes \"what goes to a file\" | head -c 300000' USR1; while :; do sleep 1000 & wait $!; kill $!; done", "stdout = { file = \"${DIR}/logs/writes.log\", max_size = \"64K\", max_files = 2 }"),
    ]
    .concat()
}

/// How long it stands still while it is stopped.
const PAUSE: Duration = Duration::from_secs(2);
/// How many leaders there are when all run.
const LEADERS: usize = 11;

fn run(rng: &mut Rng, how_long: Duration) {
    // Before the container, so that it goes after it.
    let fence = Fence::new();
    if !fence.lacks().is_empty() {
        println!("*** WITHOUT what takes a cgroup of {}: none can be made here", fence.lacks().join(", "));
    }
    let setup = Setup::services(&configuration(fence.has(Part::Memory)));
    let disk = setup.folder().path().join("disk");
    let logs = setup.folder().path().join("logs");
    for folder in [&disk, &logs] {
        std::fs::create_dir(folder).expect("the folder is ours");
    }
    let [disk, logs] = [disk, logs].map(|path| path.to_string_lossy().into_owned());
    let container = setup
        .before(fence.entrance())
        .before(move || {
            launch::mount("tmpfs", &logs, "tmpfs", 0, LOGS)?;
            launch::mount("tmpfs", &disk, "tmpfs", 0, DISK)?;
            let full = std::fs::File::create(format!("{disk}/out"))?;
            launch::duplicate(std::os::fd::AsRawFd::as_raw_fd(&full), 1)
        })
        .before(few_pids)
        .before(|| launch::limit(libc::RLIMIT_NPROC, PROCESSES, 1000))
        .before(|| launch::become_user(USER))
        .start();
    let account = Account::open(&container);
    healed(&container);
    let before = Measures::of(&container);

    let (start, mut deeds) = (Instant::now(), deeds::Deeds::new(&container, &fence));
    while start.elapsed() < how_long {
        deeds.one(rng);
    }
    deeds.make_good();
    println!("done: {}\nbounds: {}", deeds.summary(), fence.summary());

    healed(&container);
    container.until("no zombies", || !container.processes().iter().any(|process| process.state == 'Z'));
    container.until("nobody left over", || leftovers(&container).is_empty());
    container.until("no more descriptors", || proc::descriptors(container.pid()).len() <= before.descriptors);
    let after = Measures::of(&container);
    println!("before {before:?}, after {after:?}");
    assert!(after.anonymous_kib <= before.anonymous_kib + GROWTH_MAX_KIB, "{before:?}, then {after:?}");
    let runs = account::runs(&container);
    container.signal(libc::SIGTERM);
    if fence.has(Part::Freezer) {
        // A pause in the middle of the stop. It may be over already.
        let pidfd = launch::pidfd(container.pid()).expect("nobody has collected it");
        let frozen = fence.freeze();
        launch::readable(pidfd, PAUSE);
        drop(frozen);
    }
    let end = container.finish();
    assert!([0, 137].contains(&end.code), "{end:#?}");
    println!("{}", account.close(runs));
}

/// Lets there be few pids, so that each is somebody else's soon.
fn few_pids() -> std::io::Result<()> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let numbers = release.split(['.', '-']).map_while(|part| part.parse().ok());
    // Before that it is a number of the machine.
    if numbers.collect::<Vec<u32>>() >= vec![6, 14] {
        std::fs::write("/proc/sys/kernel/pid_max", PIDS)?;
    }
    Ok(())
}

/// All services run, and say so.
fn healed(container: &Container) {
    let start = Instant::now();
    let mut last = Vec::new();
    while start.elapsed() < HEALED_WITHIN {
        last = container.ask("\"verb\":\"wait\",\"state\":\"ready\",\"timeout_ms\":5000");
        let well = matches!(&last[..], [tinysup::control::Answer::Verdict(verdict)] if verdict.ok);
        if well {
            return;
        }
    }
    panic!("not all run again: {last:#?}\n{:#?}\n{:#?}", container.lines(), container.processes());
}

/// Who is there and belongs to no service that runs: children of PID 1 beyond the leaders.
fn leftovers(container: &Container) -> Vec<proc::Process> {
    let mut found: Vec<proc::Process> =
        container.living().into_iter().filter(|process| process.parent == container.pid()).collect();
    // A health check may be under way, and the helper that left its session is still its leader's child.
    found.retain(|process| !process.command.contains("echo well"));
    if found.len() <= LEADERS { Vec::new() } else { found }
}

#[derive(Debug)]
struct Measures {
    descriptors: usize,
    anonymous_kib: u64,
}

impl Measures {
    fn of(container: &Container) -> Self {
        // Between two health checks, which come ten times a second.
        let looks = (0..30).map(|_| {
            deeds::pass(container, Duration::from_millis(10));
            proc::descriptors(container.pid()).len()
        });
        Self {
            descriptors: looks.min().expect("some"),
            anonymous_kib: proc::number(container.pid(), "RssAnon"),
        }
    }
}
