//! Who listens on a TCP port: the kernel's tables give the socket, /proc gives the process that holds it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::procfs::{self, Stat};
use crate::event::{Listener, Pid, Process};

/// So many sockets, and so many open files of processes, are looked at.
const LOOKS_MAX: usize = 200_000;

/// The holder of a port, if there is one.
pub fn find(port: u16) -> Option<Listener> {
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let lines = BufReader::new(File::open(table).ok()?).lines().map_while(Result::ok).take(LOOKS_MAX);
        lines.filter_map(|line| Socket::parse(&line)).find(|socket| socket.address.port() == port)
    })?;
    Some(Listener { address: socket.address.to_string(), process: holder(socket.inode) })
}

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    address: SocketAddr,
    inode: u64,
}

impl Socket {
    /// Reads one line of a table; `None` for the heading and for connections.
    fn parse(line: &str) -> Option<Self> {
        const LISTENS: &str = "0A";
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        if *fields.get(3)? != LISTENS {
            return None;
        }
        let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
        let address = match address.len() {
            8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
            32 => {
                let bytes: Vec<u8> = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
                IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
            }
            _ => return None,
        };
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(Self { address: SocketAddr::new(address, port), inode: fields.get(9)?.parse().ok()? })
    }
}

fn holder(inode: u64) -> Option<Process> {
    let wanted = format!("socket:[{inode}]");
    let mut left = LOOKS_MAX;
    let mut holds = |pid: Pid| {
        let mut look = || {
            let mut files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
            Some(files.any(|file| {
                left = left.saturating_sub(1);
                left > 0 && fs::read_link(file.path()).is_ok_and(|target| target == Path::new(&wanted))
            }))
        };
        // Root may open the folder of another user's process, and then sees nothing in it.
        look() == Some(true) || procfs::as_owner_of(pid, look).flatten() == Some(true)
    };
    let pid = procfs::all().find(|pid| holds(*pid))?;
    Stat::of(pid).map(|stat| stat.process(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let tail =
            "00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0";
        for (line, expected) in [
            (format!("0: 0100007F:1F90 00000000:0000 0A {tail}"), Some(("127.0.0.1:8080", 4711))),
            (format!("1: 00000000:0050 00000000:0000 0A {tail}"), Some(("0.0.0.0:80", 4711))),
            (
                format!("2: 00000000000000000000000001000000:1538 {:032}:0000 0A {tail}", 0),
                Some(("[::1]:5432", 4711)),
            ),
            (format!("3: 0100007F:1F90 0100007F:9999 01 {tail}"), None),
            (
                "sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode"
                    .into(),
                None,
            ),
            (String::new(), None),
            (format!("4: 0100:1F90 00000000:0000 0A {tail}"), None),
            (format!("5: \u{e9}100007F:1F90 00000000:0000 0A {tail}"), None),
        ] {
            let expected =
                expected.map(|(address, inode)| Socket { address: address.parse().unwrap(), inode });
            assert_eq!(Socket::parse(&line), expected, "{line}");
        }
    }

    #[test]
    fn our_own_port_is_ours() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let found = find(address.port()).unwrap();
        assert_eq!(found.address, address.to_string());
        assert_eq!(found.process.unwrap().pid.number(), procfs::own_pid());
    }
}
