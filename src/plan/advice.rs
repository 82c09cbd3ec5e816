//! What was probably meant by something that is no test: a command in one string, a host with a port, a mistyped kind, a word of
//! Docker. Pure. Looks at a value as it is written, before variables were replaced, so that what it says is safe to show.

use std::fmt::Write;

use crate::config::words;
use crate::gather::{Gather, Joined, alike};
use crate::probe::{self, Target};
use crate::suggest::{answer, nearest};

/// What other programs call a kind of test, and what it is called here.
const FOREIGN: &str = "\
sd_notify systemd -> notify
port tcpsocket -> tcp
socket sock -> unix
httpget -> http
output stdout stderr -> log
exists path -> file
sleep -> delay";
/// What comes after a kind, where it is missing.
const EXAMPLES: &str = "\
fd -> 3
tcp -> 8080
unix -> /run/app.sock
http -> //127.0.0.1:8080/
log -> listening on
file -> /run/up
delay -> 2s";
/// A longer command is not written out again.
const LONGEST: usize = 160;

/// What may have been meant by a string of these kinds of tests; `None` where there is nothing to go by.
pub fn advice(written: &str, kinds: &[&str]) -> Option<Box<str>> {
    let text = written.trim();
    let (prefix, rest) = text.split_once(':').unwrap_or((text, ""));
    if text.is_empty() || text.starts_with("${") {
        return None;
    }
    let foreign = answer(FOREIGN, &prefix.to_ascii_lowercase());
    let kind = foreign.or_else(|| nearest(prefix, kinds));
    if kind.is_none() && text.contains(char::is_whitespace) {
        return Some(command(text).into());
    }
    if is_port(text) {
        return Some(meant(&format!("tcp:{text}")).into());
    }
    if text.starts_with('/') {
        return Some(format!("\"unix:{text}\" asks a socket, \"file:{text}\" looks for a file").into());
    }
    let (port, path) = rest.split_once('/').map_or((rest, None), |(port, path)| (port, Some(path)));
    // A host may be called db, which is near fd.
    let is_host = is_port(port) && kind.is_none_or(|kind| kind == "fd" && !alike(prefix, kind));
    match (kind, path) {
        (_, None) if is_host => Some(meant(&format!("tcp:{}:{port}", asked_host(prefix))).into()),
        (_, Some(path)) if is_host => {
            Some(meant(&format!("http://{}:{port}/{path}", asked_host(prefix))).into())
        }
        (Some("notify"), _) => Some(meant("notify").into()),
        (Some(kind), _) if kinds.contains(&kind) => {
            let example = answer(EXAMPLES, kind).unwrap_or_default();
            Some(
                meant(&format!("{kind}:{}", if rest.is_empty() || kind == prefix { example } else { rest }))
                    .into(),
            )
        }
        // A program's name alone.
        (None, _) if rest.is_empty() => Some(command(text).into()),
        (Some(_) | None, _) => None,
    }
}

fn meant(test: &str) -> String {
    format!("did you mean {}?", quoted(test))
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The host that can be asked where this one is written: names are not looked up, and a service runs beside us.
fn asked_host(host: &str) -> &str {
    match probe::parse(&format!("tcp:{host}:1")) {
        Ok(_) => host,
        Err(_) => "127.0.0.1",
    }
}

/// A command as an array, and where it only asks an address, that tinysup can do so itself.
fn command(text: &str) -> String {
    let mut text = text;
    for docker in ["CMD-SHELL ", "CMD "] {
        text = text.strip_prefix(docker).map_or(text, str::trim_start);
    }
    // Docker's health checks end with it, since only 0 and 1 mean something there.
    let plain = text.strip_suffix("|| exit 1").map_or(text, str::trim_end);
    let is_plain = |word: &str| matches!(probe::parse(word), Ok(Target::Http { .. })) || is_local_url(word);
    let address =
        plain.split_whitespace().map(|word| word.trim_matches(['"', '\''])).find(|word| is_plain(word));
    let array = match words::split(plain) {
        Ok(words) => array(&words.iter().map(|word| word.template.as_str()).gather()),
        Err(_) => array(&["/bin/sh", "-c", text]),
    };
    let array =
        if array == "[]" || array.len() > LONGEST { "[\"program\", \"argument\"]".to_owned() } else { array };
    match address {
        Some(address) if matches!(plain.split_whitespace().next(), Some("curl" | "wget")) => {
            format!("{} asks without a program; a command is an array: {array}", quoted(address))
        }
        Some(_) | None => format!("a command is an array: {array}"),
    }
}

/// An address on this machine whose port is perhaps a variable.
fn is_local_url(word: &str) -> bool {
    word.starts_with("http://localhost") || word.starts_with("http://127.")
}

/// An array of strings in TOML.
fn array(words: &[&str]) -> String {
    format!("[{}]", words.iter().map(|word| quoted(word)).gather().listed())
}

/// A string in TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 8] = ["notify", "fd", "tcp", "unix", "http", "log", "file", "delay"];

    #[test]
    fn what_was_meant_is_found() {
        for (written, expected) in [
            ("notfy", Some("did you mean \"notify\"?")),
            ("sd_notify", Some("did you mean \"notify\"?")),
            ("tpc:80", Some("did you mean \"tcp:80\"?")),
            ("TCP:80", Some("did you mean \"tcp:80\"?")),
            ("port:80", Some("did you mean \"tcp:80\"?")),
            ("6379", Some("did you mean \"tcp:6379\"?")),
            ("redis:6379", Some("did you mean \"tcp:127.0.0.1:6379\"?")),
            ("db:5432", Some("did you mean \"tcp:127.0.0.1:5432\"?")),
            ("127.0.0.2:80", Some("did you mean \"tcp:127.0.0.2:80\"?")),
            ("localhost:8080/health", Some("did you mean \"http://localhost:8080/health\"?")),
            ("web:8080/health", Some("did you mean \"http://127.0.0.1:8080/health\"?")),
            ("htp://127.0.0.1/x", Some("did you mean \"http://127.0.0.1/x\"?")),
            ("socket:/run/x.sock", Some("did you mean \"unix:/run/x.sock\"?")),
            ("logs:listening on", Some("did you mean \"log:listening on\"?")),
            (
                "/run/x.sock",
                Some("\"unix:/run/x.sock\" asks a socket, \"file:/run/x.sock\" looks for a file"),
            ),
            ("fd", Some("did you mean \"fd:3\"?")),
            ("tcp", Some("did you mean \"tcp:8080\"?")),
            ("http:8080", Some("did you mean \"http://127.0.0.1:8080/\"?")),
            ("pg_isready", Some("a command is an array: [\"pg_isready\"]")),
            ("pg_isready -U 'a b'", Some("a command is an array: [\"pg_isready\", \"-U\", \"a b\"]")),
            ("a | b \"c\"", Some("a command is an array: [\"/bin/sh\", \"-c\", \"a | b \\\"c\\\"\"]")),
            (
                "curl -f http://localhost:${PORT}/health || exit 1",
                Some(
                    "\"http://localhost:${PORT}/health\" asks without a program; a command is an array: \
                     [\"curl\", \"-f\", \"http://localhost:${PORT}/health\"]",
                ),
            ),
            (
                "CMD wget -q \"http://127.0.0.1/\"",
                Some(
                    "\"http://127.0.0.1/\" asks without a program; a command is an array: \
                     [\"wget\", \"-q\", \"http://127.0.0.1/\"]",
                ),
            ),
            ("${TEST}", None),
            ("", None),
            ("ftp://x/", None),
            ("什么", Some("a command is an array: [\"什么\"]")),
        ] {
            assert_eq!(advice(written, &ALL).as_deref(), expected, "{written}");
        }
        assert_eq!(advice("log:x", &["http", "tcp"]), None);
        let long = format!("x {}", "y".repeat(LONGEST));
        assert_eq!(
            advice(&long, &ALL).as_deref(),
            Some("a command is an array: [\"program\", \"argument\"]")
        );
    }
}
