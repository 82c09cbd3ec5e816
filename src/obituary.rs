//! The last block a failed container prints, and leaves in its termination log: what failed, how, and what to do.
//! At most [`LENGTH_MAX`] bytes with the line prefixes, because that is what Kubernetes keeps of a log.

use std::fmt::Write;
use std::time::Duration;

use crate::event::{Listener, Time};
use crate::gather::{Gather, Joined, holds};
use crate::notice::Cause;
use crate::plan::{Instance, Kind, RestartWhen};
use crate::services::Ended;
use crate::units::{parse_number, show_duration};
use crate::view;

/// The longest obituary, in bytes, prefixes included.
pub const LENGTH_MAX: usize = 2048;
/// Output lines of the failed service that are repeated.
pub const LAST_WORDS: usize = 3;
const LINE_PREFIX: usize = "tinysup | ".len();

/// What is known about the end.
pub struct Obituary<'a> {
    /// Who failed.
    pub instance: &'a Instance,
    /// Its last runs, oldest first.
    pub exits: Vec<&'a Ended>,
    /// How many runs it had, without those that were no failure of its own.
    pub runs: u32,
    /// When the container began.
    pub began: Time,
    /// The dependency it could not start without, if that is the cause.
    pub missing: Option<&'a str>,
    /// Its last output.
    pub last_words: Vec<String>,
    /// The port it could not have, and who has it.
    pub port: Option<(u16, &'a Listener)>,
    /// What became of the other services.
    pub others: Vec<Other<'a>>,
    /// What the container exits with.
    pub code: u8,
}

/// What became of another service when the container stopped.
pub struct Other<'a> {
    /// Which.
    pub name: &'a str,
    /// How long its stop took; `None`: it is still there.
    pub took: Option<Duration>,
    /// Whether it had to be killed.
    pub killed: bool,
}

/// The text, in lines without prefix.
#[inline(never)]
pub fn text(obituary: &Obituary) -> String {
    let mut lines = vec![headline(obituary), command(obituary.instance)];
    if !obituary.exits.is_empty() {
        lines.push(format!("  exits      {}", clip(&exits(obituary), 500)));
    }
    if let Some(remedy) = obituary.exits.last().and_then(|last| last.remedy) {
        lines.push(format!("  cause      it put itself into the background. {remedy}"));
    } else if is_done_each_time(obituary) {
        lines.push(
            "  cause      it ended with code 0 each time. If it is done then: type = \"oneshot\"".to_owned(),
        );
    }
    for (index, line) in obituary.last_words.iter().enumerate() {
        lines.push(format!(
            "  {} {}",
            if index == 0 { "last words" } else { "          " },
            clip(&view::line(line), 180)
        ));
    }
    if let Some((port, holder)) = &obituary.port {
        lines.push(format!("  port       {}", self::port(*port, holder)));
    }
    if !obituary.others.is_empty() {
        lines.push(format!("  others     {}", clip(&others(&obituary.others), 300)));
    }
    let advice = match obituary.instance.kind {
        Kind::Daemon | Kind::Oneshot => {
            format!(
                ". To stay up without it: [services.{}] on_failure = \"ignore\"",
                obituary.instance.service
            )
        }
        Kind::Command => String::new(), // nobody wrote down a service that could be changed
    };
    // What is to be done comes last, and is what must not be cut.
    let last = format!("\n  exit code  {}{advice}", code(obituary));
    let room = LENGTH_MAX.saturating_sub(LINE_PREFIX * (lines.len() + 1) + last.len() + 1);
    clip(&lines.joined("\n"), room) + &last
}

#[inline(never)]
fn headline(obituary: &Obituary) -> String {
    let name = &obituary.instance.name;
    if let Some(missing) = obituary.missing {
        return format!("CONTAINER STOPPED: {name} cannot start without {missing}");
    }
    let times = match obituary.runs {
        0 | 1 => "failed".to_owned(),
        2 => "failed twice".to_owned(),
        runs => format!("failed {runs} times"),
    };
    let span = match (obituary.exits.first(), obituary.exits.last()) {
        (Some(first), Some(last))
            if obituary.exits.len() > 1 && obituary.exits.len() == obituary.runs as usize =>
        {
            format!(" in {}", show_duration(last.at.since(first.at - first.uptime)))
        }
        _ => String::new(),
    };
    let policy = &obituary.instance.restart;
    let limit = match (policy.when, policy.max_restarts, policy.window) {
        (RestartWhen::Never, ..) => "restart = \"never\"".to_owned(),
        (_, max, window) => {
            let max = max.map_or_else(|| "unlimited".to_owned(), |max| max.to_string());
            let window = window.map(|window| format!(" within restart_window = {}", show_duration(window)));
            format!("max_restarts = {max}{}", window.unwrap_or_default())
        }
    };
    format!("CONTAINER STOPPED: {name} {times}{span} and may not be restarted again ({limit})")
}

#[inline(never)]
fn command(instance: &Instance) -> String {
    let launch = &instance.launch;
    let mut aside = Vec::new();
    if let Some(user) = &launch.identity.user {
        aside.push(format!("user {user}"));
    }
    if let Some(cwd) = &launch.cwd {
        aside.push(format!("cwd {}", cwd.display()));
    }
    let aside = aside.listed();
    let aside = if aside.is_empty() { aside } else { format!("   ({})", clip(&aside, 120)) };
    format!("  command    {}{aside}", clip(&view::line(&launch.shown), 200))
}

/// Whether it looks like a task that nobody said was one.
fn is_done_each_time(obituary: &Obituary) -> bool {
    let instance = obituary.instance;
    instance.kind == Kind::Daemon
        && instance.restart.when == RestartWhen::Always
        && !obituary.exits.is_empty()
        && obituary.exits.iter().all(|ended| ended.cause.success())
}

/// Ends that are alike are told together: `code 17 (5 times) after 0.3 s each, at 0.3 s, 0.7 s, 1.4 s`.
#[inline(never)]
fn exits(obituary: &Obituary) -> String {
    // As they are told: a tenth of a second more or less makes no difference.
    let mut groups: Vec<(String, Vec<&Ended>)> = Vec::new();
    for ended in &obituary.exits {
        let cause = ended.cause.to_string();
        match groups.last_mut() {
            Some((told, alike)) if *told == cause => alike.push(ended),
            _ => groups.push((cause, vec![ended])),
        }
    }
    let mut text = String::new();
    for (cause, alike) in groups {
        let separator = if text.is_empty() { "" } else { "; " };
        let uptimes: Vec<String> = alike.iter().map(|ended| show_duration(ended.uptime).to_string()).gather();
        let times: Vec<String> =
            alike.iter().map(|ended| show_duration(ended.at.since(obituary.began)).to_string()).gather();
        let _ = write!(text, "{separator}{cause}"); // writing to a String cannot fail
        if alike.len() > 1 {
            let _ = write!(text, " ({} times)", alike.len());
        }
        // One that was not ready in time has said how long that was.
        let has_said =
            matches!(alike.first(), Some(Ended { cause: Cause::Start(_) | Cause::NotReady(_), .. }));
        if let (false, Some(first)) = (has_said, uptimes.first()) {
            let same = uptimes.iter().all(|uptime| uptime == first);
            let each = if same && alike.len() > 1 { " each" } else { "" };
            let shown = if same { first.clone() } else { uptimes.listed() };
            let _ = write!(text, " after {shown}{each}");
        }
        let _ = write!(text, ", at {}", times.listed());
    }
    text
}

fn port(port: u16, Listener { address, process }: &Listener) -> String {
    match process {
        Some(process) => {
            format!(
                "{port} is held by \"{}\" (pid {}), which listens on {address}",
                view::line(&process.name),
                process.pid
            )
        }
        None => {
            format!("{port} is held by a process that cannot be seen from here, which listens on {address}")
        }
    }
}

#[inline(never)]
fn others(others: &[Other]) -> String {
    let one = |other: &Other| match (other.took, other.killed) {
        (Some(took), false) => format!("{} stopped as asked in {}", other.name, show_duration(took)),
        (Some(took), true) => format!("{} had to be killed after {}", other.name, show_duration(took)),
        (None, _) => format!("{} could not be ended", other.name),
    };
    others.iter().map(one).gather().listed()
}

#[inline(never)]
fn code(obituary: &Obituary) -> String {
    let name = &obituary.instance.name;
    match obituary.exits.last() {
        // How its last run ended says nothing of why it could not start again.
        _ if obituary.missing.is_some() => obituary.code.to_string(),
        Some(Ended { cause: Cause::Exit(status) | Cause::Unready(status), .. }) if status.success() => {
            format!("{}, because the last code of {name} was 0", obituary.code)
        }
        Some(Ended { cause: Cause::Exit(status) | Cause::Unready(status), .. }) => match status {
            crate::event::ExitStatus::Code(_) => format!("{} (that of {name})", obituary.code),
            crate::event::ExitStatus::Signal { signal, .. } => {
                format!("{} (128 + {}, {name}'s {signal})", obituary.code, signal.number())
            }
        },
        Some(Ended { cause: Cause::OutOfMemory { .. }, .. }) => {
            format!("{} ({name} was killed: out of memory)", obituary.code)
        }
        Some(Ended {
            cause:
                Cause::NotReady(_)
                | Cause::Unhealthy { .. }
                | Cause::Watchdog { .. }
                | Cause::OverMemory { .. }
                | Cause::ShortMemory { .. },
            ..
        }) => {
            format!("{} ({name} had to be stopped)", obituary.code)
        }
        Some(Ended { cause: Cause::Start(_), .. }) => format!("{} ({name} cannot be run)", obituary.code),
        None => obituary.code.to_string(),
    }
}

/// The port that the last lines of output say is taken, as the usual runtimes word it. Python and some others do not name it;
/// then it is the last number of the command that could be one.
#[inline(never)]
pub fn port_in_use(last_lines: &[String], command: &str) -> Option<u16> {
    let line =
        last_lines.iter().rev().map(|line| line.to_ascii_lowercase()).find(|line| says_in_use(line))?;
    let introduced = |before: &str| [":", "port ", "port=", "', "].iter().any(|end| before.ends_with(end));
    let blank = |before: &str| before.ends_with([' ', ':', '=', '"', '\'']);
    last_port(&line, &introduced).or_else(|| last_port(command, &blank))
}

fn says_in_use(line: &str) -> bool {
    let taken = [
        "address already in use",
        "eaddrinuse",
        "address in use",
        "connection in use",
        "port is already allocated",
    ];
    taken.iter().any(|words| holds(line, words)) || (holds(line, "port") && holds(line, "in use"))
}

/// The last number that could be a port, stands alone, and comes after what `introduced` accepts:
/// ":::3000", "*:6379:", "port 8080", "('0.0.0.0', 8000)".
fn last_port(text: &str, introduced: &dyn Fn(&str) -> bool) -> Option<u16> {
    let mut found = None;
    for (at, _) in text.match_indices(|c: char| c.is_ascii_digit()) {
        let (before, rest) = text.split_at(at);
        if before.ends_with(|c: char| c.is_ascii_digit()) {
            continue; // within a number
        }
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let after = rest.get(digits.len()..).unwrap_or_default();
        let ends = !after.starts_with(|c: char| c == '.' || c.is_ascii_alphabetic());
        if let (true, true, Some(port @ 1..)) = (introduced(before), ends, parse_number(&digits)) {
            found = Some(port);
        }
    }
    found
}

/// At most `max` bytes, with an ellipsis where something is missing.
fn clip(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::event::{Conditions, ExitStatus, Pid, Process};
    use crate::notice::NotReady;
    use crate::plan::tests::instance;

    fn ended(at: u64, cause: Cause) -> Ended {
        let at = Time(at * 1_000_000);
        Ended {
            at,
            cause,
            uptime: Duration::from_millis(300),
            well: Duration::from_millis(300),
            over: at,
            killed: false,
            asked: false,
            remedy: None,
        }
    }

    #[test]
    fn the_obituary_tells_who_how_and_what_to_do() {
        let mut worker = instance("worker");
        worker.restart.max_restarts = Some(2);
        let exits = [300, 700, 1_200].map(|at| ended(at, Cause::Exit(ExitStatus::Code(17))));
        let holder = Listener {
            address: "0.0.0.0:8080".to_owned(),
            process: Some(Process { pid: Pid::new(7).unwrap(), name: "nginx".to_owned() }),
        };
        let text = text(&Obituary {
            instance: &worker,
            exits: exits.iter().collect(),
            runs: 3,
            began: Time::ZERO,
            missing: None,
            last_words: vec!["FATAL\u{1b}[31m bad configuration".to_owned()],
            port: Some((8080, &holder)),
            others: vec![
                Other { name: "redis", took: Some(Duration::from_millis(100)), killed: false },
                Other { name: "web", took: Some(Duration::from_secs(8)), killed: true },
            ],
            code: 17,
        });
        assert_eq!(
            text,
            "CONTAINER STOPPED: worker failed 3 times in 1.2 s and may not be restarted again (max_restarts = 2)\n  \
               command    worker\n  \
               exits      code 17 (3 times) after 0.3 s each, at 0.3 s, 0.7 s, 1.2 s\n  \
               last words FATAL [31m bad configuration\n  \
               port       8080 is held by \"nginx\" (pid 7), which listens on 0.0.0.0:8080\n  \
               others     redis stopped as asked in 0.1 s, web had to be killed after 8 s\n  \
               exit code  17 (that of worker). To stay up without it: [services.worker] on_failure = \"ignore\""
        );
    }

    #[test]
    fn how_it_ended_is_told_with_what_may_help() {
        let not_ready = Cause::NotReady(Rc::new(NotReady {
            waited: Duration::from_secs(2),
            test: "tcp:80".into(),
            failure: None,
            listens: vec!["0.0.0.0:8080".to_owned()],
            says: None,
        }));
        for (cause, expected) in [
            (
                Cause::Exit(ExitStatus::Code(0)),
                "exits      code 0 (2 times) after 0.3 s each, at 0.3 s, 0.7 s\n  \
                 cause      it ended with code 0 each time. If it is done then: type = \"oneshot\"",
            ),
            (
                not_ready,
                "exits      not ready after 2 s (ready = tcp:80). It listens on 0.0.0.0:8080 (2 times), at 0.3 s, 0.7 s",
            ),
        ] {
            let exits = [300, 700].map(|at| ended(at, cause.clone()));
            let text = text(&Obituary {
                instance: &instance("web"),
                exits: exits.iter().collect(),
                runs: 2,
                began: Time::ZERO,
                missing: None,
                last_words: Vec::new(),
                port: None,
                others: Vec::new(),
                code: 1,
            });
            assert!(text.contains(&format!("\n  command    web\n  {expected}\n  exit code")), "{text}");
        }
    }

    #[test]
    fn it_never_grows_over_what_kubernetes_keeps() {
        let mut worker = instance(&"n".repeat(64));
        let launch = Rc::get_mut(&mut worker.launch).unwrap();
        launch.shown = "ä".repeat(5_000);
        let conditions = Conditions { cwd: Some("d".repeat(1_000).into()), ..Conditions::default() };
        launch.conditions = Rc::new(conditions);
        let holder = Listener {
            address: "[2001:db8:1111:2222:3333:4444:5555:6666]:8080".to_owned(),
            process: Some(Process { pid: Pid::new(4_000_000).unwrap(), name: "n".repeat(15) }),
        };
        let exits: Vec<Ended> =
            (0..12_u8).map(|n| ended(u64::from(n) * 1_000, Cause::Exit(ExitStatus::Code(n)))).collect();
        let text = text(&Obituary {
            instance: &worker,
            exits: exits.iter().collect(),
            runs: 4_000_000,
            began: Time::ZERO,
            missing: None,
            last_words: vec!["€".repeat(70_000); LAST_WORDS],
            port: Some((8080, &holder)),
            others: (0..1_000).map(|_| Other { name: "other", took: None, killed: true }).collect(),
            code: 255,
        });
        let printed = text.len() + text.lines().count() * LINE_PREFIX;
        assert!(printed < LENGTH_MAX, "{printed}");
        assert!(text.ends_with("on_failure = \"ignore\""), "the advice is not cut: {text}");
    }

    #[test]
    fn ports_are_found_in_what_servers_say() {
        for (line, port) in [
            ("Error: listen EADDRINUSE: address already in use :::3000", Some(3000)),
            ("nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)", Some(80)),
            (
                "# Warning: Could not create server TCP listening socket *:6379: bind: Address already in use",
                Some(6379),
            ),
            ("[ERROR] Connection in use: ('0.0.0.0', 8000)", Some(8000)),
            ("Web server failed to start. Port 8080 was already in use.", Some(8080)),
            ("listen: address already in use: “port 3000”", Some(3000)),
            ("could not bind IPv4 address \"127.0.0.1\": Address already in use", None),
            ("listening on :3000", None),
            ("the disk is in use: 99%", None),
            ("address already in use :99999", None),
            ("", None),
        ] {
            assert_eq!(port_in_use(&[line.to_owned()], "serve"), port, "{line}");
        }
        let python = ["OSError: [Errno 98] Address already in use".to_owned(), "bye".to_owned()];
        assert_eq!(port_in_use(&python, "python3 -m http.server 18999 --bind 127.0.0.1"), Some(18999));
        assert_eq!(port_in_use(&python, "python3 app.py"), None);
    }
}
