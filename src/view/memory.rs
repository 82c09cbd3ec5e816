//! `tinysup memory`: a line for each instance, and one for the container.

use std::fmt::Write as _;

use super::{Colour, Look, NOTHING, clip, headers, printable, size, table};
use crate::control::{Holder, Memory, ServiceMemory};
use crate::gather::{Gather, Joined, least};

const PSS: usize = 2;

/// The whole text.
#[inline(never)]
pub fn memory(memory: &Memory, look: Look) -> String {
    let mut rows =
        vec![headers(&["SERVICE", "MEMORY", "PSS", "SHARE", "LIMIT", "PEAK", "PROCESSES", "MOST"])];
    let whole = memory.limit_bytes.or(memory.machine_bytes);
    for service in &memory.services {
        rows.push(row(service, whole));
    }
    if memory.services.iter().all(|service| service.pss_bytes.is_none()) {
        for row in &mut rows {
            row.remove(PSS);
        }
    }
    let text = table(&rows, &|number, _, cell| match number {
        0 => look.paint(Colour::Faint, cell),
        _ => cell.to_owned(),
    });
    let width = look.width.unwrap_or(usize::MAX);
    let lines: Vec<String> = text.lines().map(|line| clip(line, width, look)).gather();
    let text = if look.colour { text } else { lines.joined("\n") + "\n" };
    format!("{text}{}\n", clip(&container(memory), width, look))
}

#[inline(never)]
fn row(service: &ServiceMemory, whole: Option<u64>) -> Vec<String> {
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    let text = |bytes| size(bytes).to_string();
    let limit = least(service.restart_bytes, service.limit_bytes);
    vec![
        printable(&service.name),
        or_nothing(service.bytes.map(text)),
        or_nothing(service.pss_bytes.map(text)),
        or_nothing(service.bytes.zip(whole).and_then(|(bytes, whole)| share(bytes, whole))),
        or_nothing(limit.map(text)),
        or_nothing(service.peak_bytes.map(text)),
        or_nothing(service.processes.map(|processes| processes.to_string())),
        or_nothing(service.most.as_ref().map(holder)),
    ]
}

/// `"node" (pid 12) 50M`.
pub(super) fn holder(holder: &Holder) -> String {
    format!("\"{}\" (pid {}) {}", printable(&holder.name), holder.pid, size(holder.bytes))
}

/// The part of the whole: `0.3%`, `38%`.
pub(super) fn share(bytes: u64, whole: u64) -> Option<String> {
    let tenths = bytes.saturating_mul(1000).checked_div(whole)?;
    Some(if tenths < 100 { format!("{}.{}%", tenths / 10, tenths % 10) } else { format!("{}%", tenths / 10) })
}

/// `the container uses 120M of 300M (40%), at most 130M so far; cgroup v2, /sys/fs/cgroup`.
#[inline(never)]
fn container(memory: &Memory) -> String {
    let mut text = match (memory.used_bytes, memory.limit_bytes) {
        (Some(used), Some(limit)) => {
            let share = share(used, limit).map(|share| format!(" ({share})")).unwrap_or_default();
            format!("the container uses {} of {}{share}", size(used), size(limit))
        }
        (Some(used), None) => format!("the container uses {} and has no limit", size(used)),
        (None, Some(limit)) => format!("the container's limit is {}", size(limit)),
        (None, None) => {
            let sum = memory.services.iter().filter_map(|service| service.bytes).reduce(u64::saturating_add);
            sum.map_or_else(
                || "what services hold is not known".to_owned(),
                |sum| format!("the services hold {}", size(sum)),
            )
        }
    };
    if let Some(peak) = memory.peak_bytes {
        let _ = write!(text, ", at most {} so far", size(peak)); // writing to a String cannot fail
    }
    if let (None, Some(machine)) = (memory.limit_bytes, memory.machine_bytes) {
        let _ = write!(text, "; the machine has {}", size(machine));
    }
    if !memory.found.is_empty() {
        text.push_str("; ");
        text.push_str(&printable(&memory.found));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the tests of other rooms show, too.
    fn example() -> Memory {
        Memory {
            v: 1,
            found: "cgroup v2, a cgroup for each service".to_owned(),
            controller: "v2".to_owned(),
            used_bytes: Some(120 << 20),
            charged_bytes: Some(150 << 20),
            peak_bytes: Some(180 << 20),
            limit_bytes: Some(300 << 20),
            machine_bytes: Some(16 << 30),
            services: vec![
                ServiceMemory { name: "migrate".to_owned(), ..ServiceMemory::default() },
                ServiceMemory {
                    name: "api.1".to_owned(),
                    bytes: Some(58 << 20),
                    restart_bytes: Some(200 << 20),
                    limit_bytes: Some(250 << 20),
                    peak_bytes: Some(60 << 20),
                    processes: Some(2),
                    most: Some(Holder { pid: 12, name: "no\u{1b}de".to_owned(), bytes: 50 << 20 }),
                    ..ServiceMemory::default()
                },
            ],
        }
    }

    const PLAIN: Look = Look { colour: false, width: None, utf8: true };

    #[test]
    fn who_holds_how_much() {
        let mut shown = example();
        assert_eq!(
            memory(&shown, PLAIN),
            "\
SERVICE  MEMORY  SHARE  LIMIT  PEAK  PROCESSES  MOST
migrate  -       -      -      -     -          -
api.1    58M     19%    200M   60M   2          \"no de\" (pid 12) 50M
the container uses 120M of 300M (40%), at most 180M so far; cgroup v2, a cgroup for each service
"
        );
        shown.services[1].pss_bytes = Some(40 << 20);
        assert!(memory(&shown, PLAIN).starts_with("SERVICE  MEMORY  PSS  SHARE"));
        let narrow = memory(&shown, Look { width: Some(40), ..PLAIN });
        assert!(narrow.lines().all(|line| super::super::width(line) <= 40), "{narrow}");
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        for (change, told) in [
            (
                (|m| m.limit_bytes = None) as fn(&mut Memory),
                "the container uses 120M and has no limit, at most 180M so far; the machine has 16G; cgroup",
            ),
            (|m| (m.used_bytes, m.peak_bytes) = (None, None), "the container's limit is 300M; cgroup"),
            (
                |m| *m = Memory { services: std::mem::take(&mut m.services), ..Memory::default() },
                "the services hold 58M\n",
            ),
        ] {
            let mut shown = example();
            change(&mut shown);
            assert!(memory(&shown, PLAIN).lines().last().unwrap().starts_with(told.trim_end()), "{told}");
        }
        assert_eq!(share(1, 0), None);
        assert_eq!(share(3, 1000).as_deref(), Some("0.3%"));
    }
}
