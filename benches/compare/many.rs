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

/// So many services; how often, and how often in a quick run.
const ROUNDS: [(usize, usize, usize); 4] = [(1, 20, 4), (10, 20, 4), (100, 8, 2), (500, 4, 0)];

/// Start of the last, stop of all, memory: with 1, 10, 100 and 500 services.
pub fn many(bench: &mut Bench) -> Vec<Figures> {
    if bench.minimal.is_none() {
        println!("SKIPPED: many: there is no C compiler for its services");
        return Vec::new();
    }
    ROUNDS
        .iter()
        .flat_map(|&(services, full, quick)| measure(bench, services, bench.repetitions(full, quick)))
        .collect()
}

fn measure(bench: &mut Bench, services: usize, repetitions: usize) -> Vec<Figures> {
    if repetitions == 0 {
        return Vec::new();
    }
    let new = |metric: &str, what: &str, unit| {
        Figures::new(format!("{metric}_{services}"), format!("{what}, {services} services"), unit)
    };
    let mut start = new("start", "Start: exec of PID 1 to the first line of the last", Unit::Milliseconds);
    let mut stop = new("stop", "Stop: SIGTERM to the end of PID 1", Unit::Milliseconds);
    let mut memory = [
        new("resident", "Resident memory", Unit::Kibibytes),
        new("pss", "Proportional share of memory (PSS)", Unit::Kibibytes),
        new("anonymous", "Anonymous memory", Unit::Kibibytes),
    ];
    for repetition in 0..repetitions {
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
