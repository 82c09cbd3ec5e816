//! `tinysup status`: a line for each instance, and one for all.

use super::{Colour, Look, NOTHING, Span, clip, colour_of, count, headers, percent, printable, size, table};
use crate::control::{Exit, ServiceStatus, Status};
use crate::gather::{Gather, Joined, present};

const HEADERS: [&str; 8] = ["SERVICE", "STATE", "PID", "UP", "RESTARTS", "CPU", "MEMORY", "LAST EXIT"];
const STATE: usize = 1;
const LAST: usize = HEADERS.len() - 1;
/// On a narrow terminal these columns go first, in this order.
const DISPENSABLE: [usize; 5] = [5, 6, 2, 4, 3];
/// What the last column needs at least, to be of use.
const LAST_MIN_COLUMNS: usize = 16;
/// What a long name keeps.
const NAME_MIN_COLUMNS: usize = 12;
const GAP: usize = 2;

/// The states in the order in which they are counted: as it should be first.
pub(super) const STATES: [&str; 11] = [
    "ready",
    "up",
    "completed",
    "starting",
    "waiting",
    "backoff",
    "unhealthy",
    "stopping",
    "cleaning",
    "down",
    "failed",
];

/// The whole text.
#[inline(never)]
pub fn status(status: &Status, look: Look) -> String {
    let mut rows = vec![headers(&HEADERS)];
    for service in &status.services {
        rows.push(row(service));
    }
    let kept = fit(&mut rows, look);
    let text = table(&rows, &|number, at, cell| match (number.checked_sub(1), kept.get(at)) {
        (None, _) => look.paint(Colour::Faint, cell),
        (Some(_), Some(&STATE)) => look.paint(colour_of(cell), cell),
        (Some(_), _) => cell.to_owned(),
    });
    format!("{text}{}\n", clip(&summary(status), look.width.unwrap_or(usize::MAX), look))
}

/// `5 services: 3 ready, 1 backoff, 1 failed; up 2m15s, memory 68M`.
pub(super) fn summary(status: &Status) -> String {
    let services = status.services.len() as u64;
    let mut parts = Vec::new();
    for state in STATES {
        match status.services.iter().filter(|service| service.state == state).count() as u64 {
            0 => {}
            all if all == services => {
                parts.push(if all == 1 { state.to_owned() } else { format!("all {state}") });
            }
            some => parts.push(format!("{some} {state}")),
        }
    }
    let memory = status.services.iter().filter_map(|service| service.memory_bytes);
    let memory = memory.fold(0, u64::saturating_add);
    let memory = if memory > 0 { format!(", memory {}", size(memory)) } else { String::new() };
    let stopping = if status.stopping { "; the container is being stopped" } else { "" };
    let colon = if parts.is_empty() { "" } else { ": " };
    format!(
        "{}{colon}{}; up {}{memory}{stopping}",
        count(services, "service"),
        parts.listed(),
        Span(status.up_ms)
    )
}

#[inline(never)]
fn row(service: &ServiceStatus) -> Vec<String> {
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    let cpu = service.cpu_ms.zip(service.up_ms).map(|(cpu, up)| percent(cpu, up));
    vec![
        printable(&service.name),
        printable(&service.state),
        or_nothing(service.pid.map(|pid| pid.to_string())),
        or_nothing(service.up_ms.map(|ms| Span(ms).to_string())),
        restarts(service),
        or_nothing(cpu),
        or_nothing(service.memory_bytes.map(|memory| match service.memory_limit_bytes {
            Some(limit) => format!("{} / {}", size(memory), size(limit)),
            None => size(memory).to_string(),
        })),
        or_nothing(last(service)),
    ]
}

/// `3/10`, or `3` without a limit.
pub(super) fn restarts(service: &ServiceStatus) -> String {
    match service.max_restarts {
        Some(max) => format!("{}/{max}", service.restarts),
        None => service.restarts.to_string(),
    }
}

/// How its last run ended, and what that means for the next.
#[inline(never)]
fn last(service: &ServiceStatus) -> Option<String> {
    let mut parts = present(&mut [service.last_exit.as_ref().map(exit)]);
    parts.append(&mut prospects(service));
    // Of what it lacks the reason stands there.
    if service.state == "failed" && service.lacks.is_none() {
        parts.push(format!("tinysup logs {}", printable(&service.name)));
    }
    (!parts.is_empty()).then(|| parts.joined("; "))
}

/// What comes: `next start in 0.4s`, `waits for db`, `resets in 6s`.
pub(super) fn prospects(service: &ServiceStatus) -> Vec<String> {
    let next = service.next_start_ms.map(|ms| format!("next start in {}", Span(ms)));
    let waits = (!service.waits_for.is_empty())
        .then(|| format!("waits for {}", printable(&service.waits_for.listed())));
    let lacks = service.lacks.as_deref().map(printable);
    let missed = service.missed.filter(|missed| *missed > 0);
    let missed = missed.map(|missed| format!("{} missed", count(missed.into(), "health check")));
    let resets = service.resets_in_ms.filter(|_| service.restarts > 0);
    let resets = resets.map(|ms| format!("resets in {}", Span(ms)));
    present(&mut [next, waits, lacks, missed, resets])
}

/// `code 17 (11 times), 1m ago`.
pub(super) fn exit(exit: &Exit) -> String {
    let times = if exit.times > 1 { format!(" ({} times)", exit.times) } else { String::new() };
    let asked = if exit.asked { ", asked for" } else { "" };
    format!("{}{times}{asked}, {} ago", printable(&exit.text), Span(exit.ago_ms))
}

/// Takes from the rows what a terminal has no room for; the numbers of the columns that are left.
#[inline(never)]
fn fit(rows: &mut [Vec<String>], look: Look) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..HEADERS.len()).gather();
    let Some(columns) = look.width else { return kept };
    let widest = |rows: &[Vec<String>], at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| super::width(cell)).max().unwrap_or(0)
    };
    let before_last = |rows: &[Vec<String>], kept: &[usize]| -> usize {
        kept.iter()
            .enumerate()
            .filter(|(_, column)| **column != LAST)
            .map(|(at, _)| widest(rows, at) + GAP)
            .sum()
    };
    let wanted = widest(rows, LAST).min(LAST_MIN_COLUMNS);
    // Names first, for they say the least; then whole columns, the least needed first.
    let name = widest(rows, 0);
    let over = (before_last(rows, &kept) + wanted).saturating_sub(columns);
    let name = name.min(name.saturating_sub(over).max(NAME_MIN_COLUMNS));
    for row in rows.iter_mut() {
        if let Some(cell) = row.first_mut() {
            *cell = clip(cell, name, look);
        }
    }
    for column in DISPENSABLE {
        if before_last(rows, &kept) + wanted <= columns {
            break;
        }
        if let Some(at) = kept.iter().position(|kept| *kept == column) {
            kept.remove(at);
            for row in rows.iter_mut() {
                row.remove(at);
            }
        }
    }
    let room = columns.saturating_sub(before_last(rows, &kept));
    for row in rows.iter_mut() {
        if let Some(cell) = row.last_mut() {
            *cell = clip(cell, room, look);
        }
    }
    kept
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What `docs` and the tests of other rooms show, too.
    pub fn example() -> Status {
        let service = |name: &str, state: &str| ServiceStatus {
            name: name.to_owned(),
            service: name.split('.').next().unwrap_or_default().to_owned(),
            instance: name.split('.').nth(1).map_or(1, |number| number.parse().unwrap()),
            kind: "daemon".to_owned(),
            state: state.to_owned(),
            ok: true,
            max_restarts: Some(10),
            runs: 1,
            ..ServiceStatus::default()
        };
        let running = |name: &str, pid, up_ms, cpu_ms, memory_bytes| ServiceStatus {
            pid: Some(pid),
            up_ms: Some(up_ms),
            cpu_ms: Some(cpu_ms),
            memory_bytes: Some(memory_bytes),
            processes: Some(2),
            ..service(name, "ready")
        };
        let exit = |text: &str, code, times, ago_ms| {
            Some(Exit { text: text.to_owned(), code, asked: false, ago_ms, up_ms: 300, times })
        };
        Status {
            v: 1,
            up_ms: 135_000,
            stopping: false,
            ok: false,
            config: Some("/etc/tinysup.toml".to_owned()),
            services: vec![
                ServiceStatus {
                    kind: "oneshot".to_owned(),
                    last_exit: exit("code 0", 0, 1, 134_000),
                    ..service("migrate", "completed")
                },
                running("db", 7, 134_000, 402, 10_276_044),
                ServiceStatus {
                    last_line: Some("GET /health 200".to_owned()),
                    ..running("api.1", 12, 133_000, 1_600, 60_817_408)
                },
                ServiceStatus {
                    ok: false,
                    restarts: 3,
                    next_start_ms: Some(400),
                    last_exit: exit("code 9", 9, 1, 1_000),
                    last_line: Some("panic: no route to db".to_owned()),
                    ..service("api.2", "backoff")
                },
                ServiceStatus {
                    ok: false,
                    restarts: 10,
                    last_exit: exit("code 17", 17, 11, 60_000),
                    last_line: Some("FATAL bad configuration in WORKER_QUEUE".to_owned()),
                    ..service("worker", "failed")
                },
            ],
        }
    }

    const PLAIN: Look = Look { colour: false, width: None, utf8: true };

    #[test]
    fn no_sum_of_memory_is_too_large() {
        let mut status = example();
        for service in &mut status.services {
            service.memory_bytes = Some(u64::MAX);
        }
        assert!(summary(&status).ends_with("memory 16383P"), "{}", summary(&status));
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_cut_without_a_terminal() {
        assert_eq!(
            status(&example(), PLAIN),
            "\
SERVICE  STATE      PID  UP     RESTARTS  CPU   MEMORY  LAST EXIT
migrate  completed  -    -      0/10      -     -       code 0, 2m14s ago
db       ready      7    2m14s  0/10      0.3%  9.8M    -
api.1    ready      12   2m13s  0/10      1.2%  58M     -
api.2    backoff    -    -      3/10      -     -       code 9, 1s ago; next start in 0.4s
worker   failed     -    -      10/10     -     -       code 17 (11 times), 1m ago; tinysup logs worker
5 services: 2 ready, 1 completed, 1 backoff, 1 failed; up 2m15s, memory 68M
"
        );
    }

    #[test]
    fn a_terminal_of_80_columns_cuts_the_last_column_only() {
        let look = Look { width: Some(80), ..PLAIN };
        let text = status(&example(), look);
        assert!(text.lines().all(|line| super::super::width(line) <= 80), "{text}");
        assert!(
            text.contains(
                "worker   failed     -    -      10/10     -     -       code 17 (11 times), 1m …\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn long_names_are_cut_and_then_columns_go() {
        let mut long = example();
        for service in &mut long.services {
            service.name.insert_str(0, "a-very-long-name-of-a-service-that-somebody-chose-");
        }
        for columns in [100, 80, 60, 40, 30] {
            let text = status(&long, Look { width: Some(columns), ..PLAIN });
            assert!(text.lines().all(|line| super::super::width(line) <= columns), "{columns}:\n{text}");
            assert!(text.contains("STATE") && text.contains("backoff") && text.contains("  LAST"), "{text}");
        }
        let text = status(&long, Look { width: Some(56), ..PLAIN });
        assert_eq!(text.lines().next(), Some("SERVICE       STATE      UP     LAST EXIT"), "{text}");
        assert!(text.contains("\na-very-long…  backoff    -      code 9, 1s ago; next st…\n"), "{text}");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let coloured = status(&example(), Look { colour: true, ..PLAIN });
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once('\x1b') {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_eq!(plain, status(&example(), PLAIN));
        for painted in ["\x1b[31mfailed\x1b[0m", "\x1b[32mready\x1b[0m", "\x1b[33mbackoff\x1b[0m"] {
            assert!(coloured.contains(painted), "{coloured:?}");
        }
    }

    #[test]
    fn what_comes_is_told() {
        for (change, told) in [
            (
                ServiceStatus {
                    waits_for: vec!["db".to_owned(), "redis".to_owned()],
                    ..ServiceStatus::default()
                },
                "waits for db, redis",
            ),
            (ServiceStatus { missed: Some(2), ..ServiceStatus::default() }, "2 health checks missed"),
            (ServiceStatus { missed: Some(0), ..ServiceStatus::default() }, ""),
            (
                ServiceStatus { restarts: 3, resets_in_ms: Some(6_000), ..ServiceStatus::default() },
                "resets in 6s",
            ),
            (ServiceStatus { resets_in_ms: Some(6_000), ..ServiceStatus::default() }, ""),
            (
                ServiceStatus {
                    last_exit: Some(Exit { text: "SIG\u{7}TERM".to_owned(), asked: true, ..Exit::default() }),
                    ..ServiceStatus::default()
                },
                "SIG TERM, asked for, 0.0s ago",
            ),
        ] {
            assert_eq!(last(&change).unwrap_or_default(), told);
        }
    }

    #[test]
    fn what_it_may_hold_stands_beside_what_it_holds() {
        let mut one = example();
        one.services.truncate(3);
        one.services[2].memory_limit_bytes = Some(300 << 20);
        let text = status(&one, PLAIN);
        assert!(text.contains("CPU   MEMORY      LAST EXIT\n"), "{text}");
        assert!(text.contains("1.2%  58M / 300M  -\n"), "{text}");
    }

    #[test]
    fn the_summary_counts() {
        let mut one = example();
        one.services.truncate(1);
        one.stopping = true;
        assert_eq!(summary(&one), "1 service: completed; up 2m15s; the container is being stopped");
        let mut ready = example();
        ready.services.retain(|service| service.state == "ready");
        assert_eq!(summary(&ready), "2 services: all ready; up 2m15s, memory 68M");
        assert_eq!(summary(&Status::default()), "0 services; up 0.0s");
    }
}
