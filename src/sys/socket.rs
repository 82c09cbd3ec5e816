//! Sockets that never wait: what the standard library has only for those who do, or not at all.

#![expect(
    unsafe_code,
    reason = "socket, connect and setsockopt, for which nix wants all kinds of addresses compiled in"
)]

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use super::call;

/// The room for a path in sockaddr_un, with its end (unix(7)).
const UNIX_PATH_BYTES: usize = 108;

/// Whether descriptors may be sent to a socket; Linux 6.16.
const SO_PASSRIGHTS: libc::c_int = 83;

/// The largest address that is asked for, sockaddr_in6.
const NAME_BYTES: usize = 28;

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
        let socket = self.bind(Kind::Stream)?;
        // SAFETY: plain call.
        Errno::result(unsafe { libc::listen(socket.as_raw_fd(), waiting) })?;
        Ok(socket)
    }

    /// A socket with this address.
    pub fn bind(&self, kind: Kind) -> nix::Result<OwnedFd> {
        let socket = self.socket(kind)?;
        // SAFETY: the kernel reads as many bytes as said.
        Errno::result(unsafe { libc::bind(socket.as_raw_fd(), self.bytes.as_ptr().cast(), self.length()) })?;
        Ok(socket)
    }

    /// A socket that never waits.
    fn socket(&self, kind: Kind) -> nix::Result<OwnedFd> {
        let connected = kind != Kind::Datagrams;
        let kind = match kind {
            Kind::Stream => libc::SOCK_STREAM,
            Kind::Packets => libc::SOCK_SEQPACKET,
            Kind::Datagrams => libc::SOCK_DGRAM,
        };
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: plain call.
        let socket = call::owned(unsafe { libc::syscall(libc::SYS_socket, self.family, kind | flags, 0) })?;
        if connected && self.family == libc::AF_UNIX {
            // Nobody attaches what it may take long to close. Who is let in here has it from here. Older kernels cannot.
            let _ = set_option(&socket, SO_PASSRIGHTS, &[0]);
        }
        Ok(socket)
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

/// A socket's address, as the kernel writes it.
pub type Name = [u8; NAME_BYTES];

/// Its own address or the other end's, by the number of the call for it.
pub fn name(socket: &OwnedFd, call: libc::c_long) -> nix::Result<Name> {
    let (mut name, mut length) = ([0; NAME_BYTES], libc::socklen_t::try_from(NAME_BYTES).unwrap_or_default());
    // SAFETY: the kernel writes no more than there is room for.
    call::number(unsafe { libc::syscall(call, socket.as_raw_fd(), name.as_mut_ptr(), &raw mut length) })?;
    Ok(name)
}

/// What a connection failed with since this was asked last.
pub fn take_error(socket: &OwnedFd) -> nix::Result<()> {
    match option(socket, libc::SO_ERROR)? {
        [0, _, _] => Ok(()),
        [errno, _, _] => Err(Errno::from_raw(errno)),
    }
}

/// Whose process is at the other end: its pid, 0 if it has none in our namespace, and its user.
pub fn peer(socket: &OwnedFd) -> nix::Result<(i32, u32)> {
    // As struct ucred (unix(7)).
    let [pid, uid, _] = option(socket, libc::SO_PEERCRED)?;
    Ok((pid, uid.cast_unsigned()))
}

/// An option of up to three numbers.
#[inline(never)]
fn option(socket: &OwnedFd, option: libc::c_int) -> nix::Result<[libc::c_int; 3]> {
    let mut value = [0; 3];
    let mut length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: the kernel writes no more than there is room for.
    call::number(unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            value.as_mut_ptr(),
            &raw mut length,
        )
    })?;
    Ok(value)
}

/// Sends what fits without waiting, and says how much.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: as many bytes as said.
    let result = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    Errno::result(result).map(|count| usize::try_from(count).unwrap_or(0))
}

/// The next who connects to a socket that listens; it never waits, nor does what comes of it.
pub fn accept(listener: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let (nothing, flags) = (std::ptr::null::<u8>(), libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    // SAFETY: nobody asks for the address.
    call::owned(unsafe { libc::syscall(libc::SYS_accept4, listener.as_raw_fd(), nothing, nothing, flags) })
}

/// Ends one direction of it, or both (shutdown(2)). An error means that the other side has closed already.
pub fn shut(socket: BorrowedFd<'_>, how: libc::c_int) {
    // SAFETY: plain call.
    unsafe { libc::shutdown(socket.as_raw_fd(), how) };
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
