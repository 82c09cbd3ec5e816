//! Sockets that never wait: what the standard library has only for those who do, or not at all. The rest is used from there.

#![expect(
    unsafe_code,
    reason = "socket, connect and setsockopt, for which nix wants all kinds of addresses compiled in"
)]

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

/// The room for a path in sockaddr_un, with its end (unix(7)).
const UNIX_PATH_BYTES: usize = 108;

/// The kind of a socket (socket(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SOCK_STREAM.
    Stream,
    /// SOCK_SEQPACKET.
    Packets,
    /// SOCK_DGRAM.
    Datagrams,
}

/// Where to connect to or to listen, as the kernel reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: libc::c_int,
    bytes: Vec<u8>,
}

impl Address {
    /// sockaddr_in and sockaddr_in6 (ip(7), ipv6(7)).
    pub fn internet(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => {
                Self::new(libc::AF_INET, &[&v4.port().to_be_bytes(), &v4.ip().octets(), &[0; 8]])
            }
            SocketAddr::V6(v6) => Self::new(
                libc::AF_INET6,
                &[
                    &v6.port().to_be_bytes(),
                    &v6.flowinfo().to_be_bytes(),
                    &v6.ip().octets(),
                    &v6.scope_id().to_ne_bytes(),
                ],
            ),
        }
    }

    /// sockaddr_un: a path, or with a leading `@` a name without a file. An error where it does not fit.
    pub fn unix(path: &OsStr) -> nix::Result<Self> {
        match path.as_bytes().strip_prefix(b"@") {
            Some(name) => Self::abstract_name(name),
            None => Self::file(path),
        }
    }

    /// The same for a name without a file: it is all bytes to the end of the address.
    pub fn abstract_name(name: &[u8]) -> nix::Result<Self> {
        Self::of_parts(&[&[0], name])
    }

    /// The same for a path, which ends with a zero.
    pub fn file(path: &OsStr) -> nix::Result<Self> {
        Self::of_parts(&[path.as_bytes(), &[0]])
    }

    fn of_parts(parts: &[&[u8]; 2]) -> nix::Result<Self> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > UNIX_PATH_BYTES { Err(Errno::ENAMETOOLONG) } else { Ok(Self::new(libc::AF_UNIX, parts)) }
    }

    fn new(family: libc::c_int, parts: &[&[u8]]) -> Self {
        let number = libc::sa_family_t::try_from(family).unwrap_or_default();
        Self { family, bytes: [&number.to_ne_bytes()[..], &parts.concat()].concat() }
    }

    /// Begins to connect; the socket is writable when it is known how that went.
    pub fn connect(&self, kind: Kind) -> nix::Result<OwnedFd> {
        let socket = self.socket(kind)?;
        // SAFETY: the kernel reads as many bytes as said.
        let result = unsafe { libc::connect(socket.as_raw_fd(), self.bytes.as_ptr().cast(), self.length()) };
        match Errno::result(result) {
            Ok(_) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(socket),
            Err(errno) => Err(errno),
        }
    }

    /// Listens there; so many may wait to be let in.
    pub fn listen(&self, waiting: libc::c_int) -> nix::Result<OwnedFd> {
        let socket = self.socket(Kind::Stream)?;
        // SAFETY: the kernel reads as many bytes as said.
        unsafe {
            Errno::result(libc::bind(socket.as_raw_fd(), self.bytes.as_ptr().cast(), self.length()))?;
            Errno::result(libc::listen(socket.as_raw_fd(), waiting))?;
        }
        Ok(socket)
    }

    /// A socket that never waits.
    fn socket(&self, kind: Kind) -> nix::Result<OwnedFd> {
        let kind = match kind {
            Kind::Stream => libc::SOCK_STREAM,
            Kind::Packets => libc::SOCK_SEQPACKET,
            Kind::Datagrams => libc::SOCK_DGRAM,
        };
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the new descriptor is nobody else's.
        unsafe { Ok(OwnedFd::from_raw_fd(Errno::result(libc::socket(self.family, kind | flags, 0))?)) }
    }

    fn length(&self) -> libc::socklen_t {
        libc::socklen_t::try_from(self.bytes.len()).unwrap_or_default()
    }
}

/// Lets the end of a connection be abrupt, without the goodbyes after which its port rests for a minute.
pub fn reset_on_close(socket: &impl AsRawFd) {
    // As struct linger (socket(7)): on, for no time.
    let _ = set_option(socket, libc::SO_LINGER, &[1, 0]);
}

/// Has each message tell who sent it.
pub fn pass_credentials(socket: &impl AsRawFd) -> nix::Result<()> {
    set_option(socket, libc::SO_PASSCRED, &[1])
}

fn set_option(socket: &impl AsRawFd, option: libc::c_int, value: &[libc::c_int]) -> nix::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(value)).unwrap_or_default();
    // SAFETY: the kernel reads as many bytes as said.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value.as_ptr().cast(), length)
    };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_laid_out_as_the_kernel_reads_them() {
        let of = |text: &str| Address::internet(text.parse().unwrap()).bytes;
        let v4 = of("127.0.0.1:8080");
        assert_eq!(v4.len(), size_of::<libc::sockaddr_in>());
        assert_eq!(v4[2..8], [0x1f, 0x90, 127, 0, 0, 1]);
        let v6 = of("[fe80::1%3]:80");
        assert_eq!(v6.len(), size_of::<libc::sockaddr_in6>());
        assert_eq!(
            (&v6[2..4], v6[8], v6[23], v6[24..28] == 3_u32.to_ne_bytes()),
            (&[0, 80][..], 0xfe, 1, true)
        );
    }

    #[test]
    fn paths_and_names_of_unix_sockets() {
        let of = |text: &str| Address::unix(OsStr::new(text)).map(|address| address.bytes[2..].to_vec());
        assert_eq!(of("/x"), Ok(b"/x\0".to_vec()));
        assert_eq!(of("@x"), Ok(b"\0x".to_vec()));
        assert_eq!(of(&"x".repeat(107)).unwrap().len(), 108);
        assert_eq!(of(&"x".repeat(108)), Err(Errno::ENAMETOOLONG));
    }
}
