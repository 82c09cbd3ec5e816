//! What many services cost: the start of the last of them, the stop of all, and the memory of their supervisor. The services
//! are a program of some kilobytes in C, so that what is measured is the supervisor and the kernel, not the services.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::board::{Word, now};
use crate::candidates::Kind;
use crate::metrics::Bench;
use crate::procfs;
use crate::report::{Figures, Unit};
use crate::service::Role;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/compare/minimal.c");

/// How long a supervisor may take for hundreds of services to stop.
const STOP_AT_MOST: Duration = Duration::from_secs(20);

/// Builds the least init and service, with musl where its compiler is installed.
pub fn build(directory: &Path) -> io::Result<PathBuf> {
    let program = directory.join("minimal");
    for compiler in ["musl-gcc", "cc"] {
        let built =
            Command::new(compiler).args(["-Os", "-static", "-s", "-o"]).arg(&program).arg(SOURCE).output();
        if built.is_ok_and(|output| output.status.success()) {
            return Ok(program);
        }
    }
    Err(io::Error::other("it is C and needs musl-gcc or a cc that links statically"))
}

/// So many services, how often, in a quick run how often, and the names and titles of what is measured.
struct Round {
    services: usize,
    repetitions: [usize; 2],
    start: &'static str,
    stop: &'static str,
    memory: [&'static str; 3],
}

const ROUNDS: [Round; 4] = [
    Round {
        services: 1,
        repetitions: [20, 4],
        start: "start_1",
        stop: "stop_1",
        memory: ["resident_1", "pss_1", "anonymous_1"],
    },
    Round {
        services: 10,
        repetitions: [20, 4],
        start: "start_10",
        stop: "stop_10",
        memory: ["resident_10", "pss_10", "anonymous_10"],
    },
    Round {
        services: 100,
        repetitions: [8, 2],
        start: "start_100",
        stop: "stop_100",
        memory: ["resident_100", "pss_100", "anonymous_100"],
    },
    Round {
        services: 500,
        repetitions: [4, 0],
        start: "start_500",
        stop: "stop_500",
        memory: ["resident_500", "pss_500", "anonymous_500"],
    },
];

/// Start of the last, stop of all, memory: with 1, 10, 100 and 500 services.
pub fn many(bench: &mut Bench) -> Vec<Figures> {
    if bench.minimal.is_none() {
        println!("SKIPPED: many: there is no C compiler for its services");
        return Vec::new();
    }
    let rounds =
        ROUNDS.iter().filter(|round| bench.repetitions(round.repetitions[0], round.repetitions[1]) > 0);
    rounds.collect::<Vec<_>>().into_iter().flat_map(|round| measure(bench, round)).collect()
}

fn measure(bench: &mut Bench, round: &Round) -> Vec<Figures> {
    let services = round.services;
    let new = |metric, what: &str, unit| Figures::new(metric, format!("{what}, {services} services"), unit);
    let mut start =
        new(round.start, "Start: exec of PID 1 to the first line of the last", Unit::Milliseconds);
    let mut stop = new(round.stop, "Stop: SIGTERM to the end of PID 1", Unit::Milliseconds);
    let names = ["Resident memory", "Proportional share of memory (PSS)", "Anonymous memory"];
    let mut memory: Vec<Figures> =
        round.memory.iter().zip(names).map(|(metric, name)| new(metric, name, Unit::Kibibytes)).collect();
    let [full, quick] = round.repetitions;
    for repetition in 0..bench.repetitions(full, quick) {
        let turn = bench.turn(repetition, |candidate| candidate.kind == Kind::Services);
        for candidate in turn {
            // They take a minute for so many, and say by a tenth of it what they are like.
            if candidate.is_slow() && (services > 100 || repetition > 0) {
                continue;
            }
            let roles = vec![Role::Least; services];
            let Some(container) = bench.start(&candidate, &roles, |_| {}) else { continue };
            let board = &container.board;
            let last = (0..services).map(|run| board.get(Word::Birth(run))).max().unwrap_or(0);
            start.add(&candidate, last.saturating_sub(board.get(Word::Executed)));
            // Let it go to sleep, as it would be.
            thread::sleep(Duration::from_millis(20));
            if repetition < 4 {
                let helpers = procfs::processes(container.pid(), |pid| !bench.serves(pid));
                match helpers.and_then(|pids| procfs::usage(&pids)) {
                    Ok(usage) => {
                        for (figures, bytes) in
                            memory.iter_mut().zip([usage.resident, usage.proportional, usage.anonymous])
                        {
                            figures.add(&candidate, bytes);
                            if usage.processes > 1 {
                                figures.note(&candidate, format!("{} processes", usage.processes));
                            }
                        }
                    }
                    Err(error) => println!("  {} left out here: {error}", candidate.name),
                }
            }
            let sent = now();
            container.signal(candidate.stop_signal());
            match container.ended(STOP_AT_MOST) {
                Some(ended) => stop.add(&candidate, ended.saturating_sub(sent)),
                None => stop.note(&candidate, format!("did not stop within {} s", STOP_AT_MOST.as_secs())),
            }
        }
    }
    [start, stop].into_iter().chain(memory).map(Figures::finish).collect()
}
