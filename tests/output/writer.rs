//! What the services run: this program again, which does what it is told over a socket, one order after another. So the test knows which
//! bytes it wrote, with which calls, and when it had.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::{env, process, thread};

use nix::sys::signal::{self, SigSet, Signal};

/// The first word of its command line.
pub const WRITER: &str = "--writer";

/// An order.
#[derive(Clone, Debug)]
pub enum Order {
    /// One write(2), or more where it does not take all.
    Out(Vec<u8>),
    Err(Vec<u8>),
    /// Say that all before this is done.
    Ack,
    /// Make a child that takes orders, too.
    Fork,
    CloseOut,
    CloseErr,
    Exit(u8),
    /// SIGKILL to itself.
    Die,
}

/// What it says, each a byte.
pub const DONE: u8 = b'a';
pub const ASKED_TO_END: u8 = b't';

impl Order {
    pub fn bytes(&self) -> Vec<u8> {
        let (letter, body): (u8, &[u8]) = match self {
            Self::Out(bytes) => (b'o', bytes),
            Self::Err(bytes) => (b'e', bytes),
            Self::Ack => (b'a', b""),
            Self::Fork => (b'f', b""),
            Self::CloseOut => (b'1', b""),
            Self::CloseErr => (b'2', b""),
            Self::Exit(code) => (b'x', std::slice::from_ref(code)),
            Self::Die => (b'k', b""),
        };
        let length = u32::try_from(body.len()).expect("short").to_le_bytes();
        [&[letter][..], &length, body].concat()
    }
}

/// Takes orders until there are no more.
pub fn run(socket: &str, child: bool) -> ExitCode {
    let term = SigSet::from(Signal::SIGTERM);
    term.thread_block().expect("a known signal");
    let mut stream = UnixStream::connect(socket).expect("the test listens");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let hello = format!(
        "{} {} {} {}\n",
        variable("TINYSUP_SERVICE"),
        variable("TINYSUP_INSTANCE"),
        process::id(),
        u8::from(child)
    );
    stream.write_all(hello.as_bytes()).expect("room");
    let report = stream.try_clone().expect("a descriptor");
    thread::spawn(move || {
        while term.wait().is_ok() {
            let _ = (&report).write_all(&[ASKED_TO_END]);
        }
    });
    // Orders are taken while one is carried out: a write may wait for long.
    let (sender, orders) = mpsc::channel();
    let mut from = stream.try_clone().expect("a descriptor");
    thread::spawn(move || {
        while let Some(order) = next(&mut from) {
            let _ = sender.send(order);
        }
    });
    let socket = socket.to_owned();
    for (letter, body) in orders {
        match letter {
            b'o' => write(io::stdout(), &body),
            b'e' => write(io::stderr(), &body),
            b'a' => stream.write_all(&[DONE]).expect("room"),
            b'f' => {
                let program = env::current_exe().expect("a path");
                drop(Command::new(program).args([WRITER, &socket, "child"]).spawn().expect("a process"));
            }
            b'1' => nix::unistd::close(1).expect("open"),
            b'2' => nix::unistd::close(2).expect("open"),
            b'k' => signal::raise(Signal::SIGKILL).expect("a known signal"),
            _ => process::exit(i32::from(body[0])),
        }
    }
    ExitCode::SUCCESS
}

fn next(from: &mut UnixStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head).ok()?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let mut body = vec![0; usize::try_from(length).expect("small")];
    from.read_exact(&mut body).ok()?;
    Some((head[0], body))
}

fn write(to: impl std::os::fd::AsFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match nix::unistd::write(&to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => panic!("a write of the service fails: {errno}"),
        }
    }
}
