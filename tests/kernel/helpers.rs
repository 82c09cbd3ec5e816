//! What the cases start as children: this program again, in other parts.

use std::fs::File;
use std::io::{PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::ExitCode;
use std::time::Duration;

pub fn run(arguments: &[String]) -> ExitCode {
    // Early blocked everything; a service starts with a clean mask and keeps it.
    nix::sys::signal::SigSet::empty().thread_set_mask().expect("a signal mask");
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    match arguments[0].as_str() {
        "orphans" => orphans(number(1)),
        "flood" => flood(number(1)),
        "fault" => fault(&arguments[1]),
        "wait" => wait_for_ever(),
        "say" => return say(&arguments[1], &arguments[2]),
        "say-as" => say_as(number(1), &arguments[2]),
        "say-bytes" => say_bytes(&arguments[1..]),
        "flood-with-words" => flood_with_words(number(1)),
        "barrier" => barrier(),
        "attach" => attach(&arguments[1]),
        "listen" => listen(&arguments[1..]),
        other => panic!("no helper {other}"),
    }
    ExitCode::SUCCESS
}

/// Leaves that many children behind, which end when we do.
fn orphans(count: usize) {
    let (read_end, write_end) = nix::unistd::pipe().expect("a pipe");
    let began = std::time::Instant::now();
    let mut made = 0;
    while made < count {
        // SAFETY: one thread; the child only reads and exits.
        match unsafe { libc::fork() } {
            0 => {
                drop(write_end);
                let _ = nix::unistd::read(&read_end, &mut [0]);
                // SAFETY: ends the child without running anything.
                unsafe { libc::_exit(3) }
            }
            // Others on this machine may have taken the last pids for a moment.
            -1 if began.elapsed() < Duration::from_secs(30) => std::thread::yield_now(),
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            _ => made += 1,
        }
    }
    println!("forked {count}");
}

fn flood(bytes: usize) {
    let line = [b'x'; 99].into_iter().chain([b'\n']).collect::<Vec<u8>>();
    let chunk = line.repeat(640);
    let mut out = std::io::stdout().lock();
    let mut left = bytes;
    while left > 0 {
        let part = left.min(chunk.len());
        out.write_all(&chunk[..part]).expect("a reader");
        left -= part;
    }
    out.flush().expect("a reader");
}

fn wait_for_ever() {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

fn notification_socket() -> String {
    std::env::var("NOTIFY_SOCKET").expect("a notification socket")
}

/// Says something through the notification socket, then `hold`s on, or ends with the error number, or 0.
fn say(message: &str, then: &str) -> ExitCode {
    let sent = UnixDatagram::unbound().expect("a socket").send_to(message.as_bytes(), notification_socket());
    if then == "hold" {
        wait_for_ever();
    }
    let error = sent.err().map_or(0, |error| error.raw_os_error().expect("the kernel said so"));
    ExitCode::from(u8::try_from(error).expect("a small number"))
}

/// Becomes a user, as some servers do by themselves, and says something then.
fn say_as(uid: usize, message: &str) {
    let uid = u32::try_from(uid).expect("a user's number");
    // SAFETY: plain call.
    assert_eq!(unsafe { libc::setresuid(uid, uid, uid) }, 0);
    say(message, "hold");
}

/// Says things of these lengths, which are no text.
fn say_bytes(lengths: &[String]) {
    let socket = UnixDatagram::unbound().expect("a socket");
    for length in lengths {
        let message = vec![0xff; length.parse().expect("a number")];
        socket.send_to(&message, notification_socket()).expect("a reader");
    }
    wait_for_ever();
}

fn flood_with_words(count: usize) {
    let socket = UnixDatagram::unbound().expect("a socket");
    for number in 0..count {
        socket.send_to(number.to_string().as_bytes(), notification_socket()).expect("a reader");
    }
}

/// Sends descriptors along with a message.
fn send_with(message: &str, descriptors: &[OwnedFd]) {
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.connect(notification_socket()).expect("a reader");
    send_on(&socket, message, descriptors).expect("a reader");
}

/// The same on a socket that is connected.
pub fn send_on(socket: &impl AsRawFd, message: &str, descriptors: &[OwnedFd]) -> std::io::Result<()> {
    let numbers: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let bytes = u32::try_from(size_of_val(numbers.as_slice())).expect("few");
    let mut control = vec![0_u64; 200];
    let mut part = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    // SAFETY: one part and one control message, each as long as said.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(bytes) as _;
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(bytes) as _;
        std::ptr::copy_nonoverlapping(numbers.as_ptr().cast(), libc::CMSG_DATA(first), bytes as usize);
        let sent = libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL);
        if sent < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Whether a socket can be closed to descriptors (SO_PASSRIGHTS, Linux 6.16).
pub fn can_refuse_descriptors() -> bool {
    let (one, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
    // SAFETY: an option as long as said.
    unsafe { libc::setsockopt(one.as_raw_fd(), libc::SOL_SOCKET, 83, (&raw const OFF).cast(), 4) == 0 }
}

static OFF: i32 = 0;

/// As sd_notify_barrier(3): waits until what was said before has been taken in.
fn barrier() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    send_with("READY=1", &[]);
    send_with("BARRIER=1", &[writer.into()]);
    assert_eq!(reader.read(&mut [0]).expect("its end"), 0);
    println!("through");
}

/// Attaches what takes long to close, or much of something, and holds nothing of it itself.
fn attach(what: &str) {
    match what {
        // Its end waits for a peer that reads nothing.
        "lingering" => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let mut full =
                TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
            let (_peer, _) = listener.accept().expect("a connection");
            full.set_nonblocking(true).expect("a flag");
            while full.write(&[0; 10_000]).is_ok() {}
            let linger = libc::linger { l_onoff: 1, l_linger: 1000 };
            let length = u32::try_from(size_of_val(&linger)).expect("small");
            // SAFETY: an option as long as said.
            let set = unsafe {
                let linger = (&raw const linger).cast();
                libc::setsockopt(full.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, linger, length)
            };
            assert_eq!(set, 0);
            send_with("READY=1", &[full.into()]);
            println!("sent");
            wait_for_ever();
        }
        "many" => {
            let (_reader, writer) = std::io::pipe().expect("a pipe");
            let one = || -> OwnedFd { PipeWriter::try_clone(&writer).expect("a copy").into() };
            let null = || -> OwnedFd { File::open("/dev/null").expect("it is there").into() };
            for _ in 0..20 {
                send_with("READY=1", &(0..253).map(|_| one()).collect::<Vec<_>>());
                send_with("READY=1", &(0..253).map(|_| null()).collect::<Vec<_>>());
            }
        }
        // What its file system is asked at a close it never answers.
        "hanging" => {
            let server = File::options().read(true).write(true).open("/dev/fuse").expect("fuse");
            let place = format!("{}/hanging", std::env::var("PLACE").expect("a folder"));
            File::create(&place).expect("a file");
            // SAFETY: plain call.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
            crate::scene::mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE);
            let options = format!("fd={},rootmode=100644,user_id=0,group_id=0", server.as_raw_fd());
            crate::scene::mount_with("fuse", &place, "fuse", 0, &options);
            // Another process, with whose end the file system is no more; who has a file of it open would hang in his own end first.
            // SAFETY: one thread.
            if unsafe { libc::fork() } == 0 {
                // SAFETY: plain call. However the case goes, nobody hangs for longer.
                unsafe { libc::alarm(30) };
                serve_until_open(server);
            }
            drop(server);
            let files: Vec<OwnedFd> = (0..3).map(|_| File::open(&place).expect("it opens").into()).collect();
            send_with("READY=1", &files);
            std::mem::forget(files);
            println!("sent");
            wait_for_ever();
        }
        other => panic!("no such thing as {other}"),
    }
}

/// A file system of one file (fuse(4)), which answers nothing any more once that was opened three times.
fn serve_until_open(mut server: File) -> ! {
    const GETATTR: u32 = 3;
    const OPEN: u32 = 14;
    const INIT: u32 = 26;
    let mut request = vec![0; 1 << 17];
    let mut opened = 0;
    loop {
        let Ok(40..) = server.read(&mut request) else { continue };
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("four"));
        // Numbers of 32 bits, which is what all but a few zeroes are.
        let body = match word(4) {
            _ if opened == 3 => continue,
            INIT => [&[7, 31, 0, 0, 0, 65_536][..], &[0; 10]].concat(),
            GETATTR => [&[0, 0, 0, 0, 1][..], &[0; 14], &[libc::S_IFREG | 0o644, 1], &[0; 5]].concat(),
            OPEN => {
                opened += 1;
                vec![0; 4]
            }
            _ => Vec::new(),
        };
        let error = if body.is_empty() { (-libc::ENOSYS).cast_unsigned() } else { 0 };
        let length = u32::try_from(16 + 4 * body.len()).expect("small");
        let answer = [&[length, error, word(8), word(12)][..], &body].concat();
        let _ = server.write(&answer.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>());
    }
}

/// Listens, says where, and waits.
fn listen(places: &[String]) {
    let mut open: Vec<OwnedFd> = Vec::new();
    for place in places {
        let (kind, place) = place.split_once(':').expect("a kind and a place");
        match kind {
            "tcp" => {
                let listener = TcpListener::bind(place).expect("a port");
                println!("{}", listener.local_addr().expect("its address"));
                open.push(listener.into());
            }
            "unix" => open.push(UnixListener::bind(place).expect("a path").into()),
            "name" => {
                let address = SocketAddr::from_abstract_name(place).expect("a name");
                open.push(UnixListener::bind_addr(&address).expect("a name").into());
            }
            "datagrams" => open.push(UnixDatagram::bind(place).expect("a path").into()),
            other => panic!("no kind {other}"),
        }
    }
    println!("ready");
    wait_for_ever();
}

/// An init with a fault of its own.
fn fault(kind: &str) {
    // A client reads no signals.
    let _world = (kind != "sent to a client").then(crate::world::World::new);
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: none; that is the point. No core dump, though.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
        match kind {
            "segv" => std::ptr::null_mut::<u8>().write_volatile(1),
            "abort" => libc::abort(),
            // An instruction that raises another signal than the compiler's.
            #[cfg(target_arch = "x86_64")]
            "breakpoint" => std::arch::asm!("int3"),
            #[cfg(target_arch = "aarch64")]
            "undefined" => std::arch::asm!("udf #0"),
            "trap" => crate::scene::trap(),
            "sent to a client" => {
                tinysup::sys::catch_traps();
                tinysup::sys::give_signals_back(crate::early::inherited());
                libc::kill(libc::getpid(), tinysup::sys::TRAP);
            }
            "trap with a child" => {
                supervise_a_child();
                crate::scene::trap();
            }
            "panic with a child" => {
                supervise_a_child();
                panic!("planted");
            }
            other => panic!("no fault {other}"),
        }
    }
}

#[expect(clippy::zombie_processes, reason = "we are gone before it, which is the point")]
fn supervise_a_child() {
    let script = "trap 'echo the child was asked; exit' TERM; echo ready >&2; while :; do sleep 0.01; done";
    let mut child = std::process::Command::new("/bin/sh")
        .args(["-c", script])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("a shell");
    let _ = child.stderr.as_mut().expect("a pipe").read(&mut [0; 6]);
    tinysup::sys::end_by_panic();
}
