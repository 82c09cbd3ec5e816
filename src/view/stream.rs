//! `tinysup logs` and `tinysup events`: a line each, with the time in UTC, which is the clock of this machine less the age.

use super::{Colour, Look, count, printable};
use crate::control::{EventLine, LogLine, Stream};
use crate::line::civil;

const DAY_MS: u64 = 86_400_000;

/// A line of a log, and before it how many are missing. `now_ms` is the time since 1970; a `named` line says whose it is.
pub fn log(line: &LogLine, named: bool, now_ms: u64, look: Look) -> String {
    let time = look.paint(Colour::Faint, &time(now_ms.saturating_sub(line.ago_ms), now_ms));
    let name = if named { format!("{} | ", printable(&line.name)) } else { String::new() };
    let note = |text: &str| format!("{time}  --  {name}{}\n", look.paint(Colour::Yellow, text));
    let dropped = match line.dropped {
        0 => String::new(),
        some => note(&format!("{} dropped: they came faster than they were read", count(some, "line"))),
    };
    let said = match line.stream {
        // As it is: its colours are part of it, as in `docker logs`.
        Some(stream) => format!("{time} {} {name}{}\n", mark(stream, look), line.text),
        None if line.text.is_empty() => String::new(),
        None => note(&printable(&line.text)),
    };
    dropped + &said
}

fn mark(stream: Stream, look: Look) -> String {
    match stream {
        Stream::Stdout => "out".to_owned(),
        Stream::Stderr => look.paint(Colour::Red, "err"),
    }
}

/// A line about something that happened.
#[inline(never)]
pub fn event(line: &EventLine, now_ms: u64, look: Look) -> String {
    let colour = match line.level.as_str() {
        "error" => Some(Colour::Red),
        "warn" => Some(Colour::Yellow),
        _ => None,
    };
    let said = printable(&line.text);
    let said = colour.map_or_else(|| said.clone(), |colour| look.paint(colour, &said));
    let time = look.paint(Colour::Faint, &time(now_ms.saturating_sub(line.ago_ms), now_ms));
    format!("{time} #{:<4} {said}\n", line.seq)
}

/// `21:56:19.1`, and the date before it if it is not today's; both in UTC.
fn time(at_ms: u64, now_ms: u64) -> String {
    let tenths = at_ms % DAY_MS / 100;
    let clock =
        format!("{:02}:{:02}:{:02}.{}", tenths / 36_000, tenths / 600 % 60, tenths / 10 % 60, tenths % 10);
    if at_ms / DAY_MS == now_ms / DAY_MS { clock } else { format!("{} {clock}", date(at_ms / DAY_MS)) }
}

fn date(day: u64) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Look = Look { colour: false, width: None, utf8: true };
    /// 2026-11-21 21:56:20.000.
    const NOW: u64 = 1_795_298_180_000;

    fn line(stream: Option<Stream>, ago_ms: u64, text: &str) -> LogLine {
        LogLine { name: "worker".to_owned(), stream, ago_ms, text: text.to_owned(), dropped: 0 }
    }

    #[test]
    fn log_lines_have_their_time_and_their_stream() {
        let lines = [
            line(Some(Stream::Stdout), 900, "worker: connecting to queue"),
            line(Some(Stream::Stderr), 600, "worker: \u{1b}[31mFATAL\u{1b}[0m bad configuration"),
            LogLine { dropped: 3, ..line(None, 550, "exited with code 17\u{7} after 0.3 s") },
            LogLine { dropped: 1, ..line(None, 0, "") },
        ];
        let shown: String = lines.iter().map(|line| log(line, false, NOW, PLAIN)).collect();
        assert_eq!(
            shown,
            "\
21:56:19.1 out worker: connecting to queue
21:56:19.4 err worker: \u{1b}[31mFATAL\u{1b}[0m bad configuration
21:56:19.4  --  3 lines dropped: they came faster than they were read
21:56:19.4  --  exited with code 17  after 0.3 s
21:56:20.0  --  1 line dropped: they came faster than they were read
"
        );
        assert_eq!(log(&lines[0], true, NOW, PLAIN), "21:56:19.1 out worker | worker: connecting to queue\n");
    }

    #[test]
    fn another_day_is_told() {
        let old = line(Some(Stream::Stdout), DAY_MS, "old");
        assert_eq!(log(&old, false, NOW, PLAIN), "2026-11-20 21:56:20.0 out old\n");
        let ancient = line(Some(Stream::Stdout), u64::MAX, "ancient");
        assert_eq!(log(&ancient, false, NOW, PLAIN), "1970-01-01 00:00:00.0 out ancient\n");
        for (day, shown) in [
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_513, "2026-03-01"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(day), shown);
        }
    }

    #[test]
    fn events_have_their_number() {
        let event_line = EventLine {
            seq: 12,
            ago_ms: 900,
            kind: "ready".to_owned(),
            name: Some("worker".to_owned()),
            level: "error".to_owned(),
            text: "worker is ready\u{1b}".to_owned(),
        };
        assert_eq!(event(&event_line, NOW, PLAIN), "21:56:19.1 #12   worker is ready \n");
        let coloured = event(&event_line, NOW, Look { colour: true, ..PLAIN });
        assert!(coloured.contains("\u{1b}[31mworker is ready \u{1b}[0m"), "{coloured:?}");
    }
}
