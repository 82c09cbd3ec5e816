//! Who listens on a TCP port, and where a service listens: the kernel's tables give the sockets, /proc gives the processes that
//! hold them.

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;

use super::children::Children;
use super::procfs::{self, Stat};
use super::{call, descriptors, sweep, tag};
use crate::event::{InstanceId, Listener, Pid};
use crate::gather::Gather;
use crate::line::printable;
use crate::units::{parse_number, show_address};

/// So many sockets, and so many open files of processes, are looked at. A service may open as many as it likes, and nobody else has a turn
/// meanwhile.
const LOOKS_MAX: usize = 20_000;
const FILES_MAX: usize = 4096;

/// So much of a table is read at once.
const PIECE_BYTES: usize = 8 << 10;

/// So many processes of one service are looked at.
const PROCESSES_MAX: usize = 1000;

/// So many addresses of one service are told.
const ADDRESSES_MAX: usize = 8;

/// The holder of a port, if there is one.
#[inline(never)]
pub fn find(port: u16) -> Option<Listener> {
    let mut found = None;
    each_tcp(&mut |socket| {
        let wanted = socket.address.port() == port;
        if wanted {
            found = Some(socket);
        }
        wanted
    });
    let Socket { address, inode } = found?;
    let mut left = FILES_MAX;
    let holder = procfs::all().into_iter().find(|pid| any_socket(*pid, &mut left, &mut |held| held == inode));
    let process = holder.and_then(Stat::of).map(|stat| stat.process(true));
    Some(Listener { address: show_address(&address), process })
}

/// Where the processes of a run listen: the leader, its descendants, and those re-parented to us that carry its number. Sorted;
/// ports before paths.
#[inline(never)]
pub fn of_run(children: &Children, leader: Pid, instance: InstanceId) -> Vec<String> {
    let mut held = Vec::new();
    let mut left = FILES_MAX;
    for pid in processes(children, leader, instance) {
        any_socket(pid, &mut left, &mut |inode| {
            held.push(inode);
            false
        });
    }
    let (mut addresses, mut paths) = (Vec::new(), Vec::new());
    if !held.is_empty() {
        each_tcp(&mut |socket| {
            if held.contains(&socket.inode) {
                keep_first(&mut addresses, socket.address);
            }
            false
        });
        any_line("/proc/net/unix", &mut |line| {
            if let Some((inode, path)) = unix(line)
                && held.contains(&inode)
            {
                keep_first(&mut paths, path);
            }
            false
        });
    }
    let mut told: Vec<String> = addresses.iter().map(show_address).gather();
    told.append(&mut paths);
    told.truncate(ADDRESSES_MAX);
    told
}

/// Keeps the least ones, sorted, each once.
fn keep_first<T: Ord>(kept: &mut Vec<T>, one: T) {
    if let Err(place) = kept.binary_search(&one) {
        kept.insert(place, one);
        kept.truncate(ADDRESSES_MAX);
    }
}

#[inline(never)]
fn processes(children: &Children, leader: Pid, instance: InstanceId) -> impl Iterator<Item = Pid> {
    let mut roots = procfs::own_children().unwrap_or_default();
    roots.retain(|pid| !children.knows(*pid));
    roots.insert(0, leader);
    let belongs = |stat: &Stat| stat.pid == leader || tag::carried(stat.pid) == Some(tag::of(instance));
    sweep::below(roots, &belongs).into_iter().map(|stat| stat.pid).take(PROCESSES_MAX)
}

/// Shows TCP sockets that listen until one is the last that is wanted.
fn each_tcp(last: &mut dyn FnMut(Socket) -> bool) {
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        if any_line(table, &mut |line| Socket::parse(line).is_some_and(&mut *last)) {
            return;
        }
    }
}

/// Whether any line of a table is wanted.
fn any_line(table: &str, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
    let Ok(table) = call::open(Path::new(table), libc::O_RDONLY) else { return false };
    let (mut bytes, mut looks) = (Vec::new(), 0);
    loop {
        // The kernel gives whole lines, and there is room for one that was cut all the same.
        bytes.reserve(PIECE_BYTES);
        let count = match descriptors::read_into(table.as_fd(), &mut bytes, PIECE_BYTES) {
            Err(Errno::EINTR) => continue,
            other => other.unwrap_or(0),
        };
        let mut rest = bytes.as_slice();
        while let Some(end) = crate::search::first(b'\n', rest).or((count == 0).then_some(rest.len())) {
            if looks == LOOKS_MAX || rest.is_empty() {
                return false;
            }
            looks += 1;
            let (line, after) = rest.split_at(end);
            if wanted(&String::from_utf8_lossy(line)) {
                return true;
            }
            rest = after.get(1..).unwrap_or_default();
        }
        let done = bytes.len() - rest.len();
        bytes.drain(..done);
    }
}

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
pub struct Socket {
    /// Where.
    pub address: SocketAddr,
    /// Its number.
    pub inode: u64,
}

impl Socket {
    /// Reads one line of a table; `None` for the heading and for connections.
    pub fn parse(line: &str) -> Option<Self> {
        const LISTENS: &str = "0A";
        let fields: Vec<&str> = line.split_ascii_whitespace().gather();
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
        let port = u16::try_from(u32::from_str_radix(port, 16).ok()?).ok()?;
        Some(Self { address: SocketAddr::new(address, port), inode: parse_number(fields.get(9)?)? })
    }
}

/// Reads one line of /proc/net/unix: the inode and the path of a socket that can be connected to by it. `None` for the heading,
/// for connections, and for what has no path.
#[inline(never)]
pub fn unix(line: &str) -> Option<(u64, String)> {
    const ACCEPTS: u32 = 1 << 16;
    const DATAGRAM: &str = "0002";
    let mut fields = [""; 7];
    let mut rest = line;
    for field in &mut fields {
        (*field, rest) = rest.trim_start().split_once(' ')?;
    }
    let [_, _, _, flags, kind, _, inode] = fields;
    let accepts = u32::from_str_radix(flags, 16).ok()? & ACCEPTS != 0;
    (accepts || kind == DATAGRAM).then_some((parse_number(inode)?, printable(rest, '?', usize::MAX)))
}

/// Whether any of the sockets that a process has open, told by their inodes, is wanted.
fn any_socket(pid: Pid, left: &mut usize, wanted: &mut dyn FnMut(u64) -> bool) -> bool {
    let mut look = || {
        let open = procfs::numbers(&format!("/proc/{pid}/fd"), *left).ok()?;
        *left = left.saturating_sub(open.len());
        Some(open.into_iter().any(|number| {
            target_of(pid, number).is_some_and(|target| socket_inode(&target).is_some_and(&mut *wanted))
        }))
    };
    // Root may open the folder of another user's process, and then sees nothing in it.
    look() == Some(true) || procfs::as_owner_of(pid, look).flatten() == Some(true)
}

fn target_of(pid: Pid, number: i32) -> Option<Vec<u8>> {
    call::target(libc::AT_FDCWD, &CString::new(format!("/proc/{pid}/fd/{number}")).ok()?).ok()
}

/// What a descriptor in /proc leads to: `socket:[4711]`.
fn socket_inode(target: &[u8]) -> Option<u64> {
    parse_number(str::from_utf8(target).ok()?.strip_prefix("socket:[")?.strip_suffix(']')?)
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
    fn paths_are_read() {
        for (line, expected) in [
            (
                "0000000000000000: 00000002 00000000 00010000 0001 01  7331 /run/x.sock",
                Some((7331, "/run/x.sock")),
            ),
            ("0000000000000000: 00000002 00000000 00010000 0005 01 123456 @a b ", Some((123_456, "@a b "))),
            ("0000000000000000: 00000002 00000000 00000000 0002 01  7320 /dev/log", Some((7320, "/dev/log"))),
            ("0000000000000000: 00000002 00000000 00010000 0001 01  7331 /a\tb", Some((7331, "/a?b"))),
            ("0000000000000000: 00000003 00000000 00000000 0001 03  8315 /run/x.sock", None),
            ("0000000000000000: 00000002 00000000 00010000 0001 01  7349", None),
            ("Num       RefCount Protocol Flags    Type St Inode Path", None),
            ("", None),
        ] {
            let expected = expected.map(|(inode, path)| (inode, path.to_owned()));
            assert_eq!(unix(line), expected, "{line}");
        }
    }

    #[test]
    fn our_own_port_is_ours() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let found = find(address.port()).unwrap();
        assert_eq!(found.address, address.to_string());
        // Unless others, who came before us, have very many files.
        assert!(found.process.is_none_or(|holder| holder.pid.number() == procfs::own_pid()));
    }
}
