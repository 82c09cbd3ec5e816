//! `tinysup describe`: everything about an instance, a line each.

use std::fmt::{Display, Write as _};

use super::memory::{holder, share};
use super::status::{prospects, restarts};
use super::{Look, Span, colour_of, count, pad, percent, printable, size};
use crate::control::{Description, Exit, ServiceMemory};
use crate::gather::{Gather, Joined, one_by_one, present};

/// What stands left.
const KEY_COLUMNS: usize = 12;

/// What stands left, and what right.
#[derive(Default)]
struct Lines(Vec<(String, String)>);

impl Lines {
    #[inline(never)]
    fn add(&mut self, key: &str, value: &dyn Display) {
        self.0.push((key.to_owned(), value.to_string()));
    }

    /// The key stands before the first only.
    fn add_several(&mut self, mut key: &str, next: &mut dyn FnMut() -> Option<String>) {
        while let Some(value) = next() {
            self.add(key, &value);
            key = "";
        }
    }
}

/// The whole text, an empty line between two.
#[inline(never)]
pub fn descriptions(all: &[Description], look: Look) -> String {
    all.iter().map(|one| description(one, look)).gather().joined("\n")
}

#[inline(never)]
fn description(one: &Description, look: Look) -> String {
    let status = &one.status;
    let mut lines = Lines::default();
    let mut line = |key: &str, value: &dyn Display| lines.add(key, value);

    let state = look.paint(colour_of(&status.state), &printable(&status.state));
    line("state", &[vec![state], prospects(status)].concat().joined("; "));
    line(
        "kind",
        &format_args!(
            "{}, instance {} of {}",
            printable(&status.kind),
            status.instance,
            printable(&status.service)
        ),
    );
    if let (Some(pid), Some(up)) = (status.pid, status.up_ms) {
        line("pid", &format_args!("{pid}, up {}", Span(up)));
    }
    line(
        "restarts",
        &format_args!("{} of the budget, {} so far", restarts(status), count(status.runs.into(), "run")),
    );
    if let (Some(cpu), Some(up)) = (status.cpu_ms, status.up_ms) {
        line("cpu", &format_args!("{}, {} in all", percent(cpu, up), Span(cpu)));
    }
    if let Some(memory) = status.memory_bytes {
        let processes = status.processes.map_or_else(String::new, |processes| {
            format!(" in {processes} {}", if processes == 1 { "process" } else { "processes" })
        });
        let limit = status.memory_limit_bytes.map(|limit| format!(" of {}", size(limit))).unwrap_or_default();
        line("memory", &format_args!("{}{limit}{processes}", size(memory)));
    }
    if let Some(memory) =
        one.memory.as_ref().and_then(|memory| memory_line(memory, one.container_limit_bytes))
    {
        line("", &memory);
    }
    if !one.memory_found.is_empty() {
        line("found", &printable(&one.memory_found));
    }
    if let Some(says) = &status.says {
        line("says", &printable(says));
    }
    if let Some(last) = &status.last_line {
        line("last line", &printable(last));
    }
    let there = |(what, there): &(String, bool)| {
        format!("{}: {}", printable(what), if *there { "yes" } else { "no" })
    };
    lines.add_several("depends on", &mut one_by_one(one.depends_on.iter().map(there)));
    lines.add_several("needed by", &mut one_by_one(one.dependents.iter().map(|name| printable(name))));
    lines.add_several("listens on", &mut one_by_one(one.listens.iter().map(|address| printable(address))));
    lines.add_several("exits", &mut one_by_one(one.exits.iter().map(exit)));
    for (key, value) in &one.settings {
        lines.add(&printable(key), &printable(value));
    }

    let widest = lines.0.iter().map(|(key, _)| super::width(key)).max().unwrap_or(0).max(KEY_COLUMNS);
    let mut text = format!("{}\n", printable(&status.name));
    for (key, value) in lines.0 {
        let _ = writeln!(text, "  {}  {value}", pad(&key, widest)); // writing to a String cannot fail
    }
    text
}

/// `at most 60M so far, 19% of the container's 300M, most of it "node" (pid 12) 50M`.
#[inline(never)]
fn memory_line(memory: &ServiceMemory, container: Option<u64>) -> Option<String> {
    let peak = memory.peak_bytes.map(|peak| format!("at most {} so far", size(peak)));
    let of = memory.bytes.zip(container).and_then(|(bytes, whole)| {
        Some(format!("{} of the container's {}", share(bytes, whole)?, size(whole)))
    });
    let most = memory.most.as_ref().filter(|_| memory.processes.is_some_and(|processes| processes > 1));
    let most = most.map(|most| format!("most of it {}", holder(most)));
    let parts = present(&mut [peak, of, most]);
    (!parts.is_empty()).then(|| parts.listed())
}

fn exit(exit: &Exit) -> String {
    let times = if exit.times > 1 { format!(" ({} times)", exit.times) } else { String::new() };
    let asked = if exit.asked { ", asked for" } else { "" };
    format!("{} ago: {}{times}{asked}, after {}", Span(exit.ago_ms), printable(&exit.text), Span(exit.up_ms))
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::example;
    use super::*;
    use crate::control::{Holder, ServiceStatus};

    #[test]
    fn no_word_of_it_moves_the_cursor() {
        let odd = || "\u{1b}[2J".to_owned();
        let one = Description {
            status: ServiceStatus {
                name: odd(),
                service: odd(),
                kind: odd(),
                state: odd(),
                says: Some(odd()),
                last_line: Some(odd()),
                waits_for: vec![odd()],
                ..ServiceStatus::default()
            },
            settings: vec![(odd(), odd())],
            depends_on: vec![(odd(), true)],
            dependents: vec![odd()],
            listens: vec![odd()],
            memory: Some(ServiceMemory {
                name: odd(),
                processes: Some(2),
                most: Some(Holder { pid: 1, name: odd(), bytes: 1 }),
                ..ServiceMemory::default()
            }),
            container_limit_bytes: None,
            memory_found: odd(),
            exits: vec![Exit { text: odd(), ..Exit::default() }],
        };
        let text = descriptions(&[one], Look { colour: false, width: None, utf8: true });
        assert!(!text.contains('\u{1b}') && text.matches("[2J").count() == 15, "{text}");
    }

    #[test]
    fn everything_about_an_instance() {
        let mut status = example().services.remove(3);
        status.pid = Some(41);
        status.up_ms = Some(2_000);
        status.cpu_ms = Some(100);
        status.memory_bytes = Some(1 << 20);
        status.memory_limit_bytes = Some(2 << 20);
        status.processes = Some(1);
        status.runs = 4;
        status.says = Some("warming\u{1b}[2J up".to_owned());
        let code =
            |ago_ms| Exit { text: "code 9".to_owned(), code: 9, ago_ms, up_ms: 300, times: 1, asked: false };
        let one = Description {
            status,
            settings: vec![
                ("command".to_owned(), "node server.js".to_owned()),
                ("max_memory_restart".to_owned(), "300M".to_owned()),
            ],
            depends_on: vec![("db (ready)".to_owned(), true), ("cache (started)".to_owned(), false)],
            dependents: vec!["web".to_owned()],
            listens: vec!["0.0.0.0:8080".to_owned()],
            exits: vec![code(5_000), code(1_000)],
            memory: Some(ServiceMemory {
                bytes: Some(1 << 20),
                peak_bytes: Some(2 << 20),
                processes: Some(1),
                ..ServiceMemory::default()
            }),
            container_limit_bytes: Some(100 << 20),
            memory_found: "cgroup v2".to_owned(),
        };
        let look = Look { colour: false, width: None, utf8: true };
        assert_eq!(
            descriptions(std::slice::from_ref(&one), look),
            "\
api.2
  state               backoff; next start in 0.4s
  kind                daemon, instance 2 of api
  pid                 41, up 2s
  restarts            3/10 of the budget, 4 runs so far
  cpu                 5.0%, 0.1s in all
  memory              1M of 2M in 1 process
                      at most 2M so far, 1.0% of the container's 100M
  found               cgroup v2
  says                warming [2J up
  last line           panic: no route to db
  depends on          db (ready): yes
                      cache (started): no
  needed by           web
  listens on          0.0.0.0:8080
  exits               5s ago: code 9, after 0.3s
                      1s ago: code 9, after 0.3s
  command             node server.js
  max_memory_restart  300M
"
        );
        assert_eq!(descriptions(&[one.clone(), one], look).matches("\n\napi.2\n").count(), 1);
    }
}
