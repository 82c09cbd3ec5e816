//! What a service says through its notification socket, in the words of sd_notify(3): newline-separated assignments in one
//! datagram. Total: what is not understood is left out, and nothing here is believed without a check of who said it.

use std::time::Duration;

use crate::gather::Gather;
use crate::line;
use crate::units::parse_number;

/// A datagram longer than this is not read to its end, and then counts as nothing.
pub const MESSAGE_MAX: usize = 4096;
/// So much of a status text is kept.
pub const STATUS_MAX: usize = 200;

/// One assignment of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// `READY=1`: it can do its work; after `RELOADING=1`: again.
    Ready,
    /// `RELOADING=1`: it reads its configuration again; `READY=1` follows.
    Reloading,
    /// `STOPPING=1`: it is about to end by itself.
    Stopping,
    /// `STATUS=…`: how it is, in its own words; printable, at most [`STATUS_MAX`] bytes.
    Status(String),
    /// `WATCHDOG=1`: it lives.
    Alive,
    /// `WATCHDOG=trigger`: it found itself sick.
    Sick,
    /// `WATCHDOG_USEC=…`: the longest silence from now on; zero: none is too long.
    Watchdog(Duration),
    /// `EXTEND_TIMEOUT_USEC=…`: what it is at takes so long from now.
    Extend(Duration),
    /// `MAINPID=…`: another process shall be taken for the service.
    MainPid(i32),
    /// `FDSTORE=1`: descriptors to keep for the next run.
    Store,
}

/// The assignments of a message, in their order. `BARRIER=1` needs no word: its descriptor is closed when the message has
/// been taken in, like every other.
#[inline(never)]
pub fn parse(message: &[u8]) -> Vec<Word> {
    message.split(|byte| *byte == b'\n').filter_map(word).gather()
}

/// An assignment, and what it means.
type Plain = (&'static [u8], fn() -> Word);

/// Those that mean one thing only.
const PLAIN: [Plain; 6] = [
    (b"READY=1", || Word::Ready),
    (b"RELOADING=1", || Word::Reloading),
    (b"STOPPING=1", || Word::Stopping),
    (b"WATCHDOG=1", || Word::Alive),
    (b"WATCHDOG=trigger", || Word::Sick),
    (b"FDSTORE=1", || Word::Store),
];

fn word(line: &[u8]) -> Option<Word> {
    if let Some((_, word)) = PLAIN.iter().find(|(plain, _)| *plain == line) {
        return Some(word());
    }
    if let Some(text) = line.strip_prefix(b"STATUS=") {
        return Some(Word::Status(printable(text)));
    }
    if let Some(value) = line.strip_prefix(b"WATCHDOG_USEC=") {
        return Some(Word::Watchdog(microseconds(value)?));
    }
    if let Some(value) = line.strip_prefix(b"EXTEND_TIMEOUT_USEC=") {
        return Some(Word::Extend(microseconds(value)?));
    }
    let pid = number(line.strip_prefix(b"MAINPID=")?)?;
    Some(Word::MainPid(i32::try_from(pid).ok()?))
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits).and_then(parse_number)
}

fn microseconds(value: &[u8]) -> Option<Duration> {
    number(value).map(Duration::from_micros)
}

fn printable(text: &[u8]) -> String {
    let mut kept = line::printable(&String::from_utf8_lossy(text), ' ', STATUS_MAX);
    while kept.len() > STATUS_MAX {
        kept.pop();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_line_by_line() {
        let seconds = Duration::from_secs;
        for (message, expected) in [
            ("READY=1", vec![Word::Ready]),
            (
                "READY=1\nSTATUS=Processing \u{1b}requests…\nMAINPID=4711",
                vec![Word::Ready, Word::Status("Processing  requests…".to_owned()), Word::MainPid(4711)],
            ),
            ("RELOADING=1\nMONOTONIC_USEC=12\n", vec![Word::Reloading]),
            ("STOPPING=1\n\nFDSTORE=1\nFDNAME=x", vec![Word::Stopping, Word::Store]),
            ("WATCHDOG=1", vec![Word::Alive]),
            ("WATCHDOG=trigger", vec![Word::Sick]),
            ("WATCHDOG_USEC=20000000", vec![Word::Watchdog(seconds(20))]),
            ("EXTEND_TIMEOUT_USEC=5000000", vec![Word::Extend(seconds(5))]),
            ("STATUS=a=b", vec![Word::Status("a=b".to_owned())]),
            ("BARRIER=1", vec![]),
            ("", vec![]),
            ("READY=0\nREADY\n=1\nready=1\nREADY=1 ", vec![]),
            ("MAINPID=-1\nMAINPID=99999999999\nWATCHDOG_USEC=+1\nWATCHDOG_USEC=\n", vec![]),
            ("EXTEND_TIMEOUT_USEC=99999999999999999999999", vec![]),
        ] {
            assert_eq!(parse(message.as_bytes()), expected, "{message:?}");
        }
        assert_eq!(parse(b"STATUS=\xff\x00\nREADY=1"), [Word::Status("\u{fffd} ".to_owned()), Word::Ready]);
    }

    #[test]
    fn a_status_is_bounded() {
        let message = format!("STATUS={}", "ä".repeat(MESSAGE_MAX));
        assert_eq!(parse(message.as_bytes()), [Word::Status("ä".repeat(STATUS_MAX / 2))]);
    }
}
