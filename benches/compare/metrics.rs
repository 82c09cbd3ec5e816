//! The metrics. Each starts the candidates it concerns, in turn within every repetition, so that whatever else happens on the
//! machine meets all of them; the order turns with the repetitions.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::board::{Board, RUNS_MAX, Word, now};
use crate::candidates::{Candidate, Kind, MINIMAL, NO_INIT, OURS, OURS_STATIC, PIPE};
use crate::container::{self, Container, Output};
use crate::procfs;
use crate::report::{Figures, Unit};
use crate::service::{self, Role};

/// How long services may take to be there; supervisord needs some tenths of a second on a busy machine.
const UP_AT_MOST: Duration = Duration::from_secs(15);

/// How long a stop or a reaction may take until the candidate is given up.
const REACT_AT_MOST: Duration = Duration::from_secs(10);

/// s6 and runit start a service again at once only if it ran for a second.
const STEADY: Duration = Duration::from_millis(1100);

/// What all metrics share.
#[derive(Debug)]
pub struct Bench {
    /// The bench itself, which plays the services.
    pub program: PathBuf,
    /// Where containers have their files.
    pub scratch: PathBuf,
    /// All who take part.
    pub candidates: Vec<Candidate>,
    /// The least init and service, if there is a C compiler.
    pub minimal: Option<PathBuf>,
    /// Whether little time is to be spent.
    pub quick: bool,
    /// Containers started so far.
    pub started: u64,
}

impl Bench {
    pub fn repetitions(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// All candidates that `wanted` picks, in another order for each repetition. The slow ones only now and then.
    pub fn turn(&self, repetition: usize, wanted: impl Fn(&Candidate) -> bool) -> Vec<Candidate> {
        self.turn_of_all(repetition, |candidate| !candidate.only_relays() && wanted(candidate))
    }

    /// The same with those that take part for their relay alone.
    fn turn_of_all(&self, repetition: usize, wanted: impl Fn(&Candidate) -> bool) -> Vec<Candidate> {
        let mut turn: Vec<Candidate> = self.candidates.iter().filter(|one| wanted(one)).cloned().collect();
        let places = turn.len().max(1);
        turn.rotate_left(repetition % places);
        let seldom = if self.quick { 8 } else { 4 };
        turn.retain(|candidate| !candidate.is_slow() || repetition.is_multiple_of(seldom));
        turn
    }

    /// Starts a candidate with these services and waits until they are there. `None`, and a line that says why, if that fails.
    pub fn start(
        &mut self,
        candidate: &Candidate,
        roles: &[Role],
        prepare: impl Fn(&Board),
    ) -> Option<Container> {
        let container = self.launch(candidate, roles, prepare)?;
        let all = container.board.reaches(Word::Ready, candidate.limit(roles.len()) as u64, UP_AT_MOST);
        if !all {
            let log = fs::read_to_string(container.log()).unwrap_or_default();
            let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            println!("  {} left out here: its services did not come up ({last})", candidate.name);
        }
        all.then_some(container)
    }

    /// The same for services that never say that they are there.
    fn launch(
        &mut self,
        candidate: &Candidate,
        roles: &[Role],
        prepare: impl Fn(&Board),
    ) -> Option<Container> {
        let result = self.try_launch(candidate, roles, prepare);
        result.map_err(|error| println!("  {} left out here: {error}", candidate.name)).ok()
    }

    fn try_launch(
        &mut self,
        candidate: &Candidate,
        roles: &[Role],
        prepare: impl Fn(&Board),
    ) -> io::Result<Container> {
        self.started += 1;
        let directory = self.scratch.join(self.started.to_string());
        let configuration = directory.join("configuration");
        fs::create_dir_all(&configuration)?;
        let board = Board::create(&directory.join("board"))?;
        prepare(&board);
        let services: Vec<Vec<String>> = roles
            .iter()
            .take(candidate.limit(roles.len()))
            .map(|role| match (role, &self.minimal) {
                (Role::Least, Some(minimal)) => Role::Least.command(minimal, board.path()),
                _ => role.command(&self.program, board.path()),
            })
            .collect();
        let command = candidate.prepare(&configuration, &services)?;
        // Nobody keeps a flood.
        let output = if roles.contains(&Role::Speak) {
            Output::Heard
        } else if roles.contains(&Role::Flood) || roles.contains(&Role::Piped) {
            Output::Nowhere
        } else {
            Output::Log
        };
        Container::start(&command, board, output, directory)
    }

    /// Whether a process in a container is a service rather than the init or a helper of it.
    pub fn serves(&self, pid: i32) -> bool {
        let least = self.minimal.as_deref().is_some_and(|least| procfs::serves(pid, least));
        least || procfs::runs(pid, &self.program)
    }

    /// Looks whether containers can be made here at all.
    pub fn try_container(&mut self) -> Result<(), String> {
        let candidate = self.candidates.iter().find(|one| one.name == NO_INIT).cloned();
        let candidate = candidate.ok_or("nobody takes part")?;
        self.try_launch(&candidate, &[Role::Wait], |_| {}).map(drop).map_err(|error| error.to_string())
    }
}

/// From the exec of the init to the first instruction of its only service.
pub fn start(bench: &mut Bench) -> Vec<Figures> {
    let mut figures = Figures::new(
        "start",
        "Start: exec of PID 1 to the first line of its one service",
        Unit::Milliseconds,
    );
    for repetition in 0..bench.repetitions(40, 8) {
        for candidate in bench.turn(repetition, |_| true) {
            if let Some(container) = bench.start(&candidate, &[Role::Wait], |_| {}) {
                let board = &container.board;
                figures.add(&candidate, board.get(Word::Birth(0)).saturating_sub(board.get(Word::Executed)));
            }
        }
    }
    vec![figures.finish()]
}

/// From SIGTERM to the end of PID 1, with three services that end at once; one where there can be only one.
pub fn stop(bench: &mut Bench) -> Vec<Figures> {
    const SERVICES: usize = 3;
    let mut figures = Figures::new(
        "stop",
        "Stop: SIGTERM to the end of PID 1, with three cooperative services (one command: one)",
        Unit::Milliseconds,
    );
    let mut starts = Figures::new(
        "start_three",
        "Start of three: exec of PID 1 to the first line of the last service",
        Unit::Milliseconds,
    );
    let mut asked = vec![(0, 0); bench.candidates.len()];
    for repetition in 0..bench.repetitions(40, 8) {
        for candidate in bench.turn(repetition, |_| true) {
            let Some(container) = bench.start(&candidate, &[Role::Wait; SERVICES], |_| {}) else { continue };
            let board = &container.board;
            let services = candidate.limit(SERVICES);
            let last = (0..services).map(|run| board.get(Word::Birth(run))).max().unwrap_or(0);
            if candidate.kind == Kind::Services {
                starts.add(&candidate, last.saturating_sub(board.get(Word::Executed)));
            }
            // Let it go to sleep, as it would be.
            thread::sleep(Duration::from_millis(5));
            let sent = now();
            container.signal(candidate.stop_signal());
            let Some(ended) = container.ended(REACT_AT_MOST) else {
                figures.note(&candidate, "did not stop");
                continue;
            };
            figures.add(&candidate, ended.saturating_sub(sent));
            let (goodbyes, all) = &mut asked[candidate.place];
            *goodbyes += board.get(Word::Goodbyes);
            *all += services as u64;
            if goodbyes < all {
                figures.note(&candidate, format!("only {goodbyes} of {all} services ended by themselves"));
            }
        }
    }
    vec![figures.finish(), starts.finish()]
}

/// From the crash of a service to the first instruction of its next run, without a delay: of one that ran for a while, and of
/// one that crashes at once.
pub fn restart(bench: &mut Bench) -> Vec<Figures> {
    let steady = restart_steady(bench);
    let [hot, cpu] = restart_hot(bench);
    vec![steady.finish(), hot.finish(), cpu.finish()]
}

fn restart_steady(bench: &mut Bench) -> Figures {
    let mut figures = Figures::new(
        "restart_steady",
        "Restart: crash of a service that ran for 1.1 s, to the first line of its next run",
        Unit::Milliseconds,
    );
    let mut running = Vec::new();
    for candidate in bench.turn(0, |candidate| candidate.kind == Kind::Services) {
        let prepare = |board: &Board| {
            let _ = make_fifo(&service::trigger(board.path()));
        };
        if let Some(container) = bench.start(&candidate, &[Role::CrashWhenAsked], prepare) {
            // Both ways, so that opening does not wait for the service.
            let trigger = service::trigger(container.board.path());
            match OpenOptions::new().read(true).write(true).open(trigger) {
                Ok(trigger) => running.push((candidate, container, trigger)),
                Err(error) => println!("  {} left out here: {error}", candidate.name),
            }
        }
    }
    for round in 0..bench.repetitions(16, 3) {
        thread::sleep(STEADY);
        let places = running.len().max(1);
        running.rotate_left(1 % places);
        for (candidate, container, trigger) in &mut running {
            if candidate.is_slow() && !round.is_multiple_of(4) {
                continue;
            }
            let board = &container.board;
            let runs = board.get(Word::Ready);
            let last = usize::try_from(runs).unwrap_or(0).saturating_sub(1);
            if trigger.write_all(b"!").is_ok() && board.reaches(Word::Ready, runs + 1, REACT_AT_MOST) {
                let (death, birth) = (board.get(Word::Death(last)), board.get(Word::Birth(last + 1)));
                figures.add(candidate, birth.saturating_sub(death));
            } else {
                figures.note(candidate, "did not restart in time");
            }
        }
    }
    figures
}

fn make_fifo(path: &Path) -> io::Result<()> {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).map_err(io::Error::from)
}

fn restart_hot(bench: &mut Bench) -> [Figures; 2] {
    const CRASHES: usize = 100;
    // s6 and runit come to one or two crashes in this time.
    let at_most = Duration::from_millis(if bench.quick { 300 } else { 2500 });
    let mut figures = Figures::new(
        "restart_hot",
        "Restart, hot: crash of a service that ended at once, to the first line of its next run",
        Unit::Milliseconds,
    );
    let mut cpu = Figures::new(
        "restart_cpu",
        "Restart, hot: CPU time of the supervisor for each restart",
        Unit::Microseconds,
    );
    let floor = bench.candidates.iter().find(|one| one.name == NO_INIT).cloned();
    for repetition in 0..bench.repetitions(4, 1) {
        if let Some(floor) = &floor {
            let made = spawn_loop(bench, CRASHES, |value| figures.add(floor, value));
            figures.note(
                floor,
                made.map_or_else(|error| error.to_string(), |()| "posix_spawn and wait in a loop".into()),
            );
        }
        for candidate in bench.turn(repetition * 8, |candidate| candidate.kind == Kind::Services) {
            // Until it is given up, it is not ready; so it is not waited for at the start.
            let prepare = |board: &Board| board.set(Word::CrashesWanted, CRASHES as u64);
            let Some(container) = bench.launch(&candidate, &[Role::CrashAtOnce], prepare) else { continue };
            let board = &container.board;
            board.reaches(Word::Births, 2, UP_AT_MOST);
            let look = || {
                let helpers = procfs::processes(container.pid(), |pid| !bench.serves(pid))?;
                Ok((board.get(Word::Births), procfs::cpu(&helpers)?))
            };
            let before: io::Result<_> = look();
            board.reaches(Word::Ready, 1, at_most);
            if let (Ok((first, before)), Ok((last, after))) = (before, look()) {
                // s6 and runit wait a second each time; nothing can be said of one or two.
                if last >= first + 20 {
                    cpu.add(&candidate, after.saturating_sub(before) / (last - first));
                }
            }
            let births = usize::try_from(board.get(Word::Births)).unwrap_or(0).min(RUNS_MAX);
            for run in 1..births {
                let (death, birth) = (board.get(Word::Death(run - 1)), board.get(Word::Birth(run)));
                if birth > death {
                    figures.add(&candidate, birth - death);
                }
            }
        }
    }
    [figures, cpu]
}

/// What the kernel alone takes for a new process.
fn spawn_loop(bench: &mut Bench, runs: usize, mut add: impl FnMut(u64)) -> io::Result<()> {
    let path = bench.scratch.join("floor");
    let board = Board::create(&path)?;
    board.set(Word::CrashesWanted, u64::MAX);
    let command = Role::CrashAtOnce.command(&bench.program, &path);
    for run in 0..runs {
        Command::new(&bench.program).args(command.iter().skip(1)).status()?;
        if run > 0 {
            add(board.get(Word::Birth(run)).saturating_sub(board.get(Word::Death(run - 1))));
        }
    }
    Ok(())
}

/// What a supervisor does while nothing happens, and what it weighs, with ten services (one command: one). All at once, as
/// they do not disturb each other by doing nothing.
pub fn idle(bench: &mut Bench) -> Vec<Figures> {
    const SERVICES: usize = 10;
    let window = Duration::from_secs(if bench.quick { 5 } else { 20 });
    let during =
        |what: &str| format!("{what} in {} s of idleness, ten services (one command: one)", window.as_secs());
    let mut switches = Figures::new("idle_wakeups", during("Wake-ups"), Unit::Count);
    let mut cpu = Figures::new("idle_cpu", during("CPU time"), Unit::Microseconds);
    let mut resident =
        Figures::new("memory_resident", "Resident memory, ten services (one command: one)", Unit::Kibibytes);
    let mut anonymous = Figures::new(
        "memory_anonymous",
        "Anonymous memory, ten services (one command: one)",
        Unit::Kibibytes,
    );

    let mut running = Vec::new();
    for candidate in bench.turn(0, |candidate| candidate.name != NO_INIT) {
        if let Some(container) = bench.start(&candidate, &[Role::Wait; SERVICES], |_| {}) {
            running.push((candidate, container));
        }
    }
    thread::sleep(Duration::from_secs(2)); // what belongs to the start is over
    let look = |container: &Container| {
        let pids = procfs::processes(container.pid(), |pid| !bench.serves(pid))?;
        Ok((procfs::usage(&pids)?, pids))
    };
    let before: Vec<io::Result<_>> = running.iter().map(|(_, container)| look(container)).collect();
    thread::sleep(window);
    for ((candidate, _), before) in running.iter().zip(before) {
        let after = before.and_then(|(before, pids)| Ok((before, procfs::usage(&pids)?)));
        match after {
            Ok((before, after)) => {
                switches.add(candidate, after.switches.saturating_sub(before.switches));
                cpu.add(candidate, after.cpu.saturating_sub(before.cpu));
                resident.add(candidate, after.resident);
                anonymous.add(candidate, after.anonymous);
                if after.processes > 1 {
                    for figures in [&mut switches, &mut cpu, &mut resident, &mut anonymous] {
                        figures.note(candidate, format!("{} processes", after.processes));
                    }
                }
            }
            Err(error) => println!("  {} left out here: {error}", candidate.name),
        }
    }
    vec![switches.finish(), cpu.finish(), resident.finish(), anonymous.finish()]
}

/// From a signal to PID 1 to its arrival in the service, which waits for it.
pub fn signal(bench: &mut Bench) -> Vec<Figures> {
    let calm =
        Figures::new("signal", "Signal: SIGUSR1 to PID 1, to its arrival in the service", Unit::Microseconds);
    let flooded = Figures::new(
        "signal_flood",
        "Signal under load: the same, while another service writes lines without end",
        Unit::Microseconds,
    );
    let all = |candidate: &Candidate| candidate.passes_signals_on();
    let many = |candidate: &Candidate| all(candidate) && candidate.kind == Kind::Services;
    let repetitions = bench.repetitions(5000, 1000);
    let calm = signals(bench, calm, &[Role::Wait], repetitions, all).finish();
    // One after the other: several floods at once would wait for the CPUs, and the signals for them.
    let turn = bench.turn(0, many);
    let flooded = turn.iter().fold(flooded, |figures, one| {
        let this = |candidate: &Candidate| candidate.place == one.place;
        signals(bench, figures, &[Role::Wait, Role::Flood], repetitions / 5, this)
    });
    vec![calm, flooded.finish()]
}

fn signals(
    bench: &mut Bench,
    mut figures: Figures,
    roles: &[Role],
    repetitions: usize,
    wanted: impl Fn(&Candidate) -> bool,
) -> Figures {
    let mut running = Vec::new();
    for candidate in bench.turn(0, wanted) {
        if let Some(container) = bench.start(&candidate, roles, |_| {}) {
            running.push((candidate, container));
        }
    }
    let mut targets: Vec<(&Candidate, &Board, i32)> = Vec::new();
    for (candidate, container) in &running {
        targets.push((candidate, &container.board, container.pid()));
    }
    // Among several services nobody can be PID 1 without an init; but one can be signalled past it.
    let no_init = bench.candidates.iter().find(|one| one.name == NO_INIT);
    if let (Some(no_init), Some((_, container)), true) = (no_init, running.first(), roles.len() > 1) {
        let services =
            procfs::processes(container.pid(), |pid| procfs::plays(pid, &bench.program, Role::Wait));
        for pid in services.unwrap_or_default() {
            targets.push((no_init, &container.board, pid));
            figures.note(no_init, "sent to the service itself");
        }
    }
    for _ in 0..repetitions {
        let places = targets.len().max(1);
        targets.rotate_left(1 % places);
        for (candidate, board, pid) in &targets {
            thread::sleep(PAUSE);
            let seen = board.get(Word::Arrivals);
            let sent = now();
            container::signal(*pid, libc::SIGUSR1);
            if board.sleep_while(Word::Arrivals, seen, REACT_AT_MOST) {
                figures.add(candidate, board.get(Word::Arrival).saturating_sub(sent));
            } else {
                figures.note(candidate, "lost a signal");
            }
        }
    }
    figures
}

/// Lines of 100 bytes from one service through the supervisor to /dev/null: time and CPU time per GiB. tinysup and s6-log mark each
/// line with its origin, supervisord and the plain pipe pass them on as they are.
pub fn relay(bench: &mut Bench) -> Vec<Figures> {
    let window = Duration::from_millis(if bench.quick { 500 } else { 1500 });
    let of = |what: &str| format!("Relay of lines of 100 bytes, {what}");
    let mut time = Figures::new("relay_time", of("time"), Unit::SecondsPerGibibyte);
    let mut cpu = Figures::new("relay_cpu", of("CPU time of the relay"), Unit::SecondsPerGibibyte);
    for repetition in 0..bench.repetitions(5, 1) {
        for candidate in bench.turn_of_all(repetition * 8, Candidate::relays_output) {
            let role = if candidate.name == PIPE { Role::Piped } else { Role::Flood };
            let Some(container) = bench.start(&candidate, &[role], |_| {}) else { continue };
            thread::sleep(Duration::from_millis(100));
            let helpers = procfs::processes(container.pid(), |pid| !bench.serves(pid));
            let pids = helpers.unwrap_or_default().into_iter().chain([container.pid()]);
            let pids: BTreeSet<i32> = pids.collect();
            let look = || {
                let used = procfs::cpu(&pids)?;
                Ok((now(), used, container.board.get(Word::Written)))
            };
            let before: io::Result<_> = look();
            thread::sleep(window);
            let both = before.and_then(|before| Ok((before, look()?)));
            let Ok(((began, idle, nothing), (ended, used, written))) = both else { continue };
            let per_gibibyte = |nanoseconds: u64| {
                let bytes = u128::from(written.saturating_sub(nothing).max(1));
                u64::try_from((u128::from(nanoseconds) << 30) / bytes).unwrap_or(u64::MAX)
            };
            time.add(&candidate, per_gibibyte(ended - began));
            cpu.add(&candidate, per_gibibyte(used.saturating_sub(idle)));
        }
    }
    vec![time.finish(), cpu.finish()]
}

/// From the write of a line by a service that is quiet otherwise, to its arrival at the other end, while others write lines without end.
pub fn fairness(bench: &mut Bench) -> Vec<Figures> {
    let title = |floods: &str| format!("A line of a quiet service, {floods}, from its write to its reader");
    let calm = Figures::new("line", title("alone"), Unit::Microseconds);
    let one = Figures::new("line_flood", title("while another floods"), Unit::Microseconds);
    let three = Figures::new("line_floods", title("while three others flood"), Unit::Microseconds);
    let repetitions = bench.repetitions(1000, 200);
    let roles = [Role::Speak, Role::Flood, Role::Flood, Role::Flood];
    [(calm, 1), (one, 2), (three, 4)]
        .map(|(figures, services)| lines(bench, figures, &roles[..services], repetitions).finish())
        .into()
}

fn lines(bench: &mut Bench, mut figures: Figures, roles: &[Role], repetitions: usize) -> Figures {
    // One after the other: together they would wait for the CPUs, not for each other.
    for candidate in bench.turn(0, |candidate| candidate.kind == Kind::Services && candidate.is_ours()) {
        let Some(mut container) = bench.start(&candidate, roles, |_| {}) else { continue };
        let speaks = |pid| procfs::plays(pid, &bench.program, Role::Speak);
        let speaker = procfs::processes(container.pid(), speaks).unwrap_or_default();
        let (&[speaker], Some(errors)) = (&speaker[..], container.errors.take()) else { continue };
        let mut errors = io::BufReader::new(errors);
        for _ in 0..repetitions {
            thread::sleep(PAUSE);
            container::signal(speaker, libc::SIGUSR1);
            let mut line = String::new();
            // What the supervisor has to say comes in between.
            while !line.ends_with("word\n") {
                line.clear();
                if errors.read_line(&mut line).unwrap_or(0) == 0 {
                    figures.note(&candidate, "lost a line");
                    return figures;
                }
            }
            figures.add(&candidate, now().saturating_sub(container.board.get(Word::Spoken)));
        }
    }
    figures
}

/// What services cost that say nothing: the anonymous memory of the supervisor with a hundred of them, and with one.
pub fn silent(bench: &mut Bench) -> Vec<Figures> {
    let of = |count: usize| format!("Anonymous memory with {count} silent services");
    let tables = [("memory_silent_1", 1_usize), ("memory_silent_100", 100)];
    let measure = |(metric, count)| {
        let mut figures = Figures::new(metric, of(count), Unit::Kibibytes);
        for candidate in bench.turn(0, |candidate| candidate.kind == Kind::Services && candidate.is_ours()) {
            let roles = vec![Role::Wait; count];
            let Some(container) = bench.start(&candidate, &roles, |_| {}) else { continue };
            match procfs::usage(&[container.pid()]) {
                Ok(usage) => figures.add(&candidate, usage.anonymous),
                Err(error) => println!("  {} left out here: {error}", candidate.name),
            }
        }
        figures.finish()
    };
    tables.map(measure).into()
}

/// So long everybody gets to go to sleep again before the next signal.
const PAUSE: Duration = Duration::from_micros(200);

/// So long it may take to make so many.
const MADE_AT_MOST: Duration = Duration::from_mins(1);

/// From the moment twenty thousand dead children become orphans until none is left.
pub fn orphans(bench: &mut Bench) -> Vec<Figures> {
    let at_most = Duration::from_secs(if bench.quick { 3 } else { 15 });
    // Who leaves them once is not asked again.
    let mut leave_them: Vec<&str> = Vec::new();
    let mut figures = Figures::new("orphans", "Reaping of 20,000 orphans at once", Unit::Milliseconds);
    for repetition in 0..bench.repetitions(11, 1) {
        for candidate in bench
            .turn(repetition, |candidate| candidate.name != NO_INIT && !leave_them.contains(&candidate.name))
        {
            let Some(container) = bench.launch(&candidate, &[Role::Orphans], |_| {}) else { continue };
            let board = &container.board;
            // On a busy machine they are not quick to make, which is not the init's affair.
            if !board.reaches(Word::Orphaned, 1, MADE_AT_MOST) {
                figures.note(&candidate, format!("not all made after {} s", MADE_AT_MOST.as_secs()));
            } else if board.reaches(Word::Ready, 1, at_most) {
                figures.add(&candidate, board.get(Word::Collected).saturating_sub(board.get(Word::Orphaned)));
            } else {
                leave_them.push(candidate.name);
                figures.note(&candidate, format!("not all gone after {} s", at_most.as_secs()));
            }
        }
    }
    vec![figures.finish()]
}

/// What must be copied into an image, without interpreter and libraries.
pub fn size(bench: &mut Bench) -> Vec<Figures> {
    let mut figures = Figures::new("size", "Size of its own files", Unit::Kibibytes);
    for candidate in bench.candidates.iter().filter(|candidate| !candidate.only_relays()) {
        let sizes: Option<u64> =
            candidate.files.iter().map(|file| Some(fs::metadata(file).ok()?.len())).sum();
        if let (Some(bytes), false) = (sizes, candidate.files.is_empty()) {
            figures.add(candidate, bytes);
            figures.note(candidate, note_on_size(candidate));
        }
    }
    vec![figures.finish()]
}

fn note_on_size(candidate: &Candidate) -> &'static str {
    match candidate.name {
        "supervisord" => "plus Python",
        "pm2-runtime" => "plus node",
        OURS_STATIC | MINIMAL => "no libraries needed",
        OURS => "plus the C library",
        _ => "plus the C library and its own, where it has some",
    }
}
