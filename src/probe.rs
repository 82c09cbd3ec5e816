//! What a service can be asked from outside to learn whether it does its work: how that is written, what may come of it, and
//! what counts as a good answer. Pure; who asks, and when, is decided elsewhere.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use crate::event::{ExitStatus, StartError};
use crate::gather::parted_at_last;
use crate::units::parse_number;

/// What is asked. No name is ever looked up: PID 1 has no resolver, which could block.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Target {
    /// Something accepts TCP connections at one of these addresses, tried in this order.
    Tcp {
        /// One, or for `localhost` that of each family.
        addresses: Vec<SocketAddr>,
    },
    /// Something accepts connections at this socket; a leading `@` is a name without a file (unix(7), abstract).
    Unix {
        /// Where.
        path: OsString,
    },
    /// A GET is answered with a status from 200 to 399. Redirects are an answer and are not followed.
    Http {
        /// As for `Tcp`.
        addresses: Vec<SocketAddr>,
        /// What goes into the `Host` header.
        host: String,
        /// Path and query, as sent. May hold a secret; never shown.
        path: String,
    },
    /// There is something at this path.
    File {
        /// Where.
        path: OsString,
    },
}

/// Why an attempt was no good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens at any of the addresses.
    Refused {
        /// The first of them.
        address: SocketAddr,
    },
    /// There is no such socket, or nobody listens on it.
    NoSocket {
        /// What the system said.
        reason: String,
    },
    /// There is nothing at the path.
    NoFile {
        /// What the system said.
        reason: String,
    },
    /// The system cannot ask at this moment: no route, no descriptor left, no permission.
    CannotAsk {
        /// What it said.
        reason: String,
    },
    /// No answer in time.
    Late {
        /// How long it had.
        timeout: Duration,
    },
    /// The connection was closed before there was a whole status line.
    Closed,
    /// The answer is not HTTP.
    NotHttp,
    /// An answer with a status that is not good.
    Status(u16),
    /// The command ended with another code than 0.
    Command {
        /// How.
        status: ExitStatus,
        /// The last of what it printed.
        said: String,
    },
    /// The command cannot be run.
    CommandStart(Rc<StartError>),
}

/// What the words of a test mean: `tcp:6379`, `unix:/run/x.sock`, `http://127.0.0.1:3000/health`, `file:/run/up`.
///
/// # Errors
/// A sentence that says what is wrong with them; `None` if they begin with none of these kinds.
pub fn parse(text: &str) -> Result<Target, Option<String>> {
    let told = |why: &str| Some(why.to_owned());
    if let Some(rest) = text.strip_prefix("http://") {
        return http(rest).map_err(told);
    }
    if text.starts_with("https://") {
        return Err(Some(
            "tinysup does not speak TLS; ask a plain http:// address, or run a command that does".to_owned(),
        ));
    }
    match text.split_once(':') {
        Some(("tcp", rest)) if rest.starts_with("http:") => {
            Err(told("http://… is a test itself; leave tcp: out"))
        }
        Some(("tcp", rest)) => {
            let (addresses, _) = authority(rest.strip_prefix("//").unwrap_or(rest), None).map_err(told)?;
            Ok(Target::Tcp { addresses })
        }
        Some(("unix", path)) => socket(path).map_err(Some),
        Some(("file", path)) if path.starts_with('/') => Ok(Target::File { path: path.into() }),
        Some(("file", _)) => Err(Some("a file needs its whole path: file:/run/up".to_owned())),
        _ => Err(None),
    }
}

/// sun_path of sockaddr_un has 108 bytes, one of them for the end (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

fn socket(path: &str) -> Result<Target, String> {
    let named = path.strip_prefix('@').is_some_and(|name| !name.is_empty());
    if !path.starts_with('/') && !named {
        return Err("a socket needs its whole path: unix:/run/app.sock".to_owned());
    }
    if path.len() > SOCKET_PATH_MAX {
        return Err(format!("the path of a socket has at most {SOCKET_PATH_MAX} bytes"));
    }
    Ok(Target::Unix { path: path.into() })
}

#[inline(never)]
fn http(rest: &str) -> Result<Target, &'static str> {
    const HTTP: u16 = 80;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (place, path) = rest.split_at(end);
    if place.contains('@') {
        return Err("user and password in an address are not supported; use a command");
    }
    let path = path.split('#').next().unwrap_or_default();
    if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("the path has a space or a control character; write %20 for a space");
    }
    let (addresses, host) = authority(place, Some(HTTP))?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Target::Http { addresses, host, path })
}

/// `6379`, `127.0.0.1:6379`, `[::1]:6379`, `localhost:6379`: the addresses, and the host as it is written.
fn authority(text: &str, default: Option<u16>) -> Result<(Vec<SocketAddr>, String), &'static str> {
    let number = |port: &str| {
        let plain = port.bytes().all(|byte| byte.is_ascii_digit());
        // What it is instead may have come out of a variable, and is not shown.
        parse_number(port)
            .filter(|port| *port > 0 && plain)
            .ok_or("the port is missing, or is no number from 1 to 65535")
    };
    let (host, port) = match (text.strip_prefix('['), parted_at_last(text, b':')) {
        (Some(rest), _) => {
            let (host, rest) = rest.split_once(']').ok_or("an IPv6 address is written [::1]:8080")?;
            if !rest.is_empty() && !rest.starts_with(':') {
                return Err("an IPv6 address is written [::1]:8080");
            }
            (host, rest.strip_prefix(':'))
        }
        (None, Some((host, _))) if host.contains(':') => {
            return Err("an IPv6 address is written [::1]:8080");
        }
        (None, Some((host, port))) => (host, Some(port)),
        // Without a host it is the port; only where there is no default must it be given.
        (None, None) if default.is_none() => ("", Some(text)),
        (None, None) => (text, None),
    };
    let port = match (port, default) {
        (Some(port), _) => number(port)?,
        (None, Some(port)) => port,
        (None, None) => return Err("a port is missing: tcp:127.0.0.1:6379"),
    };
    let mut addresses = Vec::new();
    let mut add = |address: IpAddr| addresses.push(SocketAddr::new(address, port));
    match host {
        "" | "localhost" => {
            add(Ipv4Addr::LOCALHOST.into());
            add(Ipv6Addr::LOCALHOST.into());
        }
        // Whoever listens everywhere listens here.
        "0.0.0.0" | "*" => add(Ipv4Addr::LOCALHOST.into()),
        "::" => add(Ipv6Addr::LOCALHOST.into()),
        _ => add(host.parse().map_err(|_| {
            "only localhost and IP addresses can be asked: PID 1 looks no names up, which may take long; use 127.0.0.1, or a \
             command"
        })?),
    }
    let shown = if text.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let shown = if host.is_empty() { format!("localhost:{port}") } else { shown };
    Ok((addresses, shown))
}

/// What an HTTP answer has told so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Too little to know.
    More,
    /// The status of its status line.
    Status(u16),
    /// It is no HTTP.
    Garbage,
}

/// A status line is decided by its first bytes: `HTTP/1.1 200` (RFC 9112, section 4).
pub const STATUS_BYTES: usize = 12;

/// Reads the beginning of an answer. Total: any bytes give a verdict, and at most [`STATUS_BYTES`] + 1 of them matter.
pub fn answer(bytes: &[u8]) -> Answer {
    const BEGINNING: &[u8] = b"HTTP/1.";
    let known = bytes.len().min(BEGINNING.len());
    if bytes.get(..known) != BEGINNING.get(..known) {
        return Answer::Garbage;
    }
    match bytes.get(BEGINNING.len()..) {
        Some([minor, b' ', a @ b'1'..=b'9', b, c, rest @ ..])
            if [minor, b, c].iter().all(|digit| digit.is_ascii_digit())
                && matches!(rest.first(), None | Some(b' ' | b'\r' | b'\n')) =>
        {
            let digit = |byte: &u8| u16::from(byte - b'0');
            Answer::Status(digit(a) * 100 + digit(b) * 10 + digit(c))
        }
        Some(tail) if tail.len() >= STATUS_BYTES - BEGINNING.len() => Answer::Garbage,
        Some([minor, rest @ ..]) => {
            let blank = rest.first().is_none_or(|byte| *byte == b' ');
            let digits = rest.iter().skip(1).all(u8::is_ascii_digit);
            if minor.is_ascii_digit() && blank && digits { Answer::More } else { Answer::Garbage }
        }
        Some([]) | None => Answer::More,
    }
}

/// Whether a status is a good answer: 200 to 399.
pub fn is_good(status: u16) -> bool {
    (200..400).contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(addresses: &[&str]) -> Target {
        Target::Tcp { addresses: addresses.iter().map(|address| address.parse().unwrap()).collect() }
    }

    fn http(addresses: &[&str], host: &str, path: &str) -> Target {
        let Target::Tcp { addresses } = tcp(addresses) else { unreachable!() };
        Target::Http { addresses, host: host.to_owned(), path: path.to_owned() }
    }

    #[test]
    fn targets_are_read() {
        for (text, expected) in [
            ("tcp:6379", tcp(&["127.0.0.1:6379", "[::1]:6379"])),
            ("tcp::6379", tcp(&["127.0.0.1:6379", "[::1]:6379"])),
            ("tcp://127.0.0.1:6379", tcp(&["127.0.0.1:6379"])),
            ("tcp:localhost:1", tcp(&["127.0.0.1:1", "[::1]:1"])),
            ("tcp:0.0.0.0:80", tcp(&["127.0.0.1:80"])),
            ("tcp:[::]:80", tcp(&["[::1]:80"])),
            ("tcp:[fe80::1]:65535", tcp(&["[fe80::1]:65535"])),
            ("unix:/run/x.sock", Target::Unix { path: "/run/x.sock".into() }),
            ("unix:@name", Target::Unix { path: "@name".into() }),
            ("file:/run/up", Target::File { path: "/run/up".into() }),
            ("http://127.0.0.1:3000/health", http(&["127.0.0.1:3000"], "127.0.0.1:3000", "/health")),
            ("http://localhost?deep=1#x", http(&["127.0.0.1:80", "[::1]:80"], "localhost:80", "/?deep=1")),
            ("http://[::1]:8080", http(&["[::1]:8080"], "[::1]:8080", "/")),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_a_reason() {
        for (text, part) in [
            ("tcp:", "the port is missing, or"),
            ("tcp:0", "the port is missing, or"),
            ("tcp:+80", "the port is missing, or"),
            ("tcp:65536", "the port is missing, or"),
            ("tcp:127.0.0.1", "the port is missing, or"),
            ("tcp:db:5432", "only localhost and IP addresses"),
            ("tcp:::1:80", "[::1]:8080"),
            ("tcp:[::1]", "a port is missing"),
            ("tcp:[::1", "[::1]:8080"),
            ("http://[::1]8080/", "[::1]:8080"),
            ("unix:run/x", "whole path"),
            ("unix:@", "whole path"),
            ("file:up", "whole path"),
            ("https://127.0.0.1/", "TLS"),
            ("http://example.com/", "only localhost"),
            ("http://me@127.0.0.1/", "user and password"),
            ("http://127.0.0.1/a b", "%20"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.as_deref().is_some_and(|error| error.contains(part)), "{text}: {error:?}");
        }
        for text in ["", "notify", "curl localhost", "TCP:80", "fd:3"] {
            assert_eq!(parse(text), Err(None), "{text}");
        }
        let long = format!("unix:/{}", "x".repeat(SOCKET_PATH_MAX));
        assert!(parse(&long).unwrap_err().unwrap().contains("107 bytes"));
    }

    #[test]
    fn a_status_line_is_read_as_it_comes() {
        for (bytes, expected) in [
            ("HTTP/1.1 200 OK\r\n", Answer::Status(200)),
            ("HTTP/1.0 204", Answer::Status(204)),
            ("HTTP/1.1 503\r\n", Answer::Status(503)),
            ("HTTP/1.1 099 x", Answer::Garbage),
            ("HTTP/1.1 2000", Answer::Garbage),
            ("HTTP/2 200 OK", Answer::Garbage),
            ("SSH-2.0-x", Answer::Garbage),
            ("HTTP/1.1200 O", Answer::Garbage),
            ("HTTP/1.1 20x ", Answer::Garbage),
            ("HTTP/1.x", Answer::Garbage),
        ] {
            assert_eq!(answer(bytes.as_bytes()), expected, "{bytes:?}");
        }
        let line = b"HTTP/1.1 200 OK\r\n";
        for end in 0..line.len() {
            let expected = if end < STATUS_BYTES { Answer::More } else { Answer::Status(200) };
            assert_eq!(answer(&line[..end]), expected, "{end} bytes");
        }
        assert!(is_good(200) && is_good(399) && !is_good(199) && !is_good(400));
    }
}
