//! Attempts to learn from outside how a service is, against servers of every kind.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tinysup::event::{Action, Child, Event, InstanceId, Role};
use tinysup::probe::{self, Failure, Target};

use crate::scene::{self, Scratch, needs_root};
use crate::world::{World, service};
use crate::{Case, world};

pub const CASES: &[Case] = &[
    ("probes_of_tcp", probes_of_tcp),
    ("probes_of_unix_sockets", probes_of_unix_sockets),
    ("probes_of_files", probes_of_files),
    ("an_error_without_a_name_is_one", an_error_without_a_name_is_one),
    ("a_dead_file_system_holds_up_its_own_probes_only", a_dead_file_system_holds_up_its_own_probes_only),
    ("probes_of_http", probes_of_http),
    ("a_probe_sends_one_plain_request", a_probe_sends_one_plain_request),
    ("probes_of_both_families", probes_of_both_families),
    ("a_probe_never_takes_itself_for_a_server", a_probe_never_takes_itself_for_a_server),
    ("servers_see_no_reset", servers_see_no_reset),
    ("an_answer_without_end_is_left", an_answer_without_end_is_left),
    ("what_is_left_of_a_probe_ends_with_its_run", what_is_left_of_a_probe_ends_with_its_run),
    ("probes_that_are_called_off", probes_that_are_called_off),
    ("a_probe_without_descriptors", a_probe_without_descriptors),
    ("a_thousand_probes_leave_nothing", a_thousand_probes_leave_nothing),
    ("between_probes_nothing_happens", between_probes_nothing_happens),
];

const STATUS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

fn attempt(number: u32) -> Child {
    Child { instance: InstanceId(0), run: 1, role: Role::Probe(number) }
}

fn target(text: &str) -> Target {
    probe::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

fn begin(world: &mut World, number: u32, target: Target) -> Child {
    let child = attempt(number);
    world.perform(Action::Probe { child, target: Rc::new(target) });
    child
}

fn result(world: &mut World, wanted: Child) -> Result<(), Failure> {
    world.until("an answer", |event| match event {
        Event::Probed { child, result } if *child == wanted => Some(result.clone()),
        _ => None,
    })
}

fn probe(world: &mut World, text: &str) -> Result<(), Failure> {
    let child = begin(world, 1, target(text));
    result(world, child)
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A server that accepts one connection and does with it what the case is about.
fn server<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (address, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

fn read_request(connection: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && connection.read(&mut byte).unwrap() == 1 {
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn probes_of_tcp() {
    let mut world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(probe(&mut world, &format!("tcp:{address}")), Ok(()));
    assert_eq!(probe(&mut world, &format!("tcp:{}", address.port())), Ok(()));
    drop(listener);
    for _ in 0..20 {
        assert_eq!(probe(&mut world, &format!("tcp:{address}")), Err(Failure::Refused { address }));
    }
    // Everybody, which TCP cannot ask.
    let unreachable = Err(Failure::CannotAsk { reason: "Network is unreachable".to_owned() });
    assert_eq!(probe(&mut world, "tcp:255.255.255.255:1"), unreachable);
}

fn probes_of_unix_sockets() {
    let scratch = Scratch::new();
    let mut world = World::new();
    let mut ask = |path: &str| probe(&mut world, &format!("unix:{path}"));
    let no_socket = |reason: &str| Err(Failure::NoSocket { reason: reason.to_owned() });
    let absent = no_socket("No such file or directory");
    let refused = no_socket("Connection refused");

    let path = scratch.path("stream");
    assert_eq!(ask(&path), absent);
    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(ask(&path), Ok(()));
    drop(listener);
    assert_eq!(ask(&path), refused, "its file is left");
    assert_eq!(ask(&format!("{path}/deeper")), no_socket("Not a directory"));
    assert_eq!(ask(&scratch.file("file", 0o644, b"")), refused);

    let path = scratch.path("datagrams");
    let datagrams = UnixDatagram::bind(&path).unwrap();
    assert_eq!(ask(&path), Ok(()));
    drop(datagrams);
    assert_eq!(ask(&path), refused);

    let path = scratch.path("packets");
    let packets = listen_for_packets(&path);
    assert_eq!(ask(&path), Ok(()));
    drop(packets);
    assert_eq!(ask(&path), refused);

    let name = format!("tinysup-case-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    assert_eq!(ask(&format!("@{name}")), refused);
    let _abstract = UnixListener::bind_addr(&address).unwrap();
    assert_eq!(ask(&format!("@{name}")), Ok(()));

    // Nobody accepts, and the queue is full.
    let path = scratch.path("full");
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: plain call.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let results: Vec<_> = (0..5).map(|_| ask(&path)).collect();
    assert_eq!(results[0], Ok(()));
    let full = results.iter().find_map(|result| result.clone().err());
    assert!(matches!(&full, Some(Failure::CannotAsk { reason }) if reason.contains("is full")), "{full:?}");
}

fn listen_for_packets(path: &str) -> OwnedFd {
    // SAFETY: an address as long as said, and a descriptor that is nobody else's.
    unsafe {
        let number = libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0);
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap();
        for (place, byte) in address.sun_path.iter_mut().zip(path.bytes()) {
            *place = libc::c_char::from_ne_bytes([byte]);
        }
        let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap();
        assert_eq!(libc::bind(number, (&raw const address).cast(), length), 0);
        assert_eq!(libc::listen(number, 5), 0);
        std::os::fd::FromRawFd::from_raw_fd(number)
    }
}

fn probes_of_files() {
    let scratch = Scratch::new();
    let mut world = World::new();
    let mut ask = |path: &str| probe(&mut world, &format!("file:{path}"));
    let absent = Err(Failure::NoFile { reason: "No such file or directory".to_owned() });
    assert_eq!(ask(&scratch.path("absent")), absent);
    let file = scratch.file("file", 0o000, b"");
    assert_eq!(ask(&file), Ok(()));
    assert_eq!(ask(&format!("{file}/x")), Err(Failure::NoFile { reason: "Not a directory".to_owned() }));
    assert_eq!(ask(&scratch.path("")), Ok(()));
    let fifo = scratch.path("fifo");
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(ask(&fifo), Ok(()));
    let link = scratch.path("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    assert_eq!(ask(&link), absent);
    let ring = scratch.path("ring");
    std::os::unix::fs::symlink(&ring, &ring).unwrap();
    assert!(matches!(ask(&ring), Err(Failure::CannotAsk { .. })));
}

/// A file system in user space may answer with any number up to 511.
fn an_error_without_a_name_is_one() {
    const NAMELESS: u32 = 200;
    let scratch = Scratch::new();
    let file = scratch.file("file", 0o644, b"");
    let mut world = World::new();
    scene::refuse(libc::SYS_newfstatat, &[], NAMELESS);
    let reason = "an error without a name".to_owned();
    assert_eq!(probe(&mut world, &format!("file:{file}")), Err(Failure::CannotAsk { reason }));
}

/// What a server does before it closes, and what comes of it.
fn probes_of_http() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
    let rows: Vec<(&str, String, Result<(), Failure>)> = vec![
        ("good", STATUS.to_owned(), Ok(())),
        ("no content", "HTTP/1.1 204 No Content\r\n\r\n".to_owned(), Ok(())),
        ("a redirect", "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n".to_owned(), Ok(())),
        ("bad", "HTTP/1.1 500 Oh No\r\n\r\n".to_owned(), Err(Failure::Status(500))),
        ("absent", "HTTP/1.0 404\r\n\r\n".to_owned(), Err(Failure::Status(404))),
        ("interim", format!("HTTP/1.1 100 Continue\r\n\r\n{early}{STATUS}"), Ok(())),
        ("interim, then bad", format!("{early}HTTP/1.1 503 x\r\n\r\n"), Err(Failure::Status(503))),
        ("interim alone", early.to_owned(), Err(Failure::Closed)),
        ("interim without end", early.repeat(1000), Err(Failure::NotHttp)),
        ("another protocol", "HTTP/1.1 101 x\r\n\r\n".to_owned(), Err(Failure::Status(101))),
        ("nothing", String::new(), Err(Failure::Closed)),
        ("half a line", "HTTP/1.1 20".to_owned(), Err(Failure::Closed)),
        ("a greeting", "SSH-2.0-OpenSSH_9.2\r\n".to_owned(), Err(Failure::NotHttp)),
        ("bytes", "\u{0}\u{1}\u{2}".repeat(10_000), Err(Failure::NotHttp)),
        ("headers of a megabyte", format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20)), Ok(())),
    ];
    let mut world = World::new();
    for (name, answer, expected) in rows {
        let (address, serving) = server(move |mut connection| {
            read_request(&mut connection);
            // It may be cut off where it sends too much.
            let _ = connection.write_all(answer.as_bytes());
        });
        assert_eq!(probe(&mut world, &format!("http://{address}/")), expected, "{name}");
        while !serving.is_finished() {
            world.wait(Duration::from_millis(1));
        }
    }
    // Without reading the request.
    let (address, _) = server(drop);
    assert_eq!(probe(&mut world, &format!("http://{address}/")), Err(Failure::Closed));
    let (address, _) = server(|mut connection| connection.write_all(STATUS.as_bytes()).unwrap());
    assert_eq!(probe(&mut world, &format!("http://{address}/")), Ok(()));
    // In pieces, each as late as can be; the answer comes with the last that matters, not with the end.
    let (address, serving) = server(|mut connection| {
        connection.set_nodelay(true).unwrap();
        read_request(&mut connection);
        for byte in b"HTTP/1.1 200" {
            connection.write_all(&[*byte]).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        connection
    });
    assert_eq!(probe(&mut world, &format!("http://{address}/")), Ok(()));
    drop(serving.join().unwrap());
    let address = nobody();
    assert_eq!(probe(&mut world, &format!("http://{address}/")), Err(Failure::Refused { address }));
}

fn a_probe_sends_one_plain_request() {
    let (address, serving) = server(|mut connection| {
        let request = read_request(&mut connection);
        // Nothing follows, and our side stays open: many take its end for a client that gave up.
        connection.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let silence = connection.read(&mut [0]).unwrap_err().kind();
        connection.write_all(STATUS.as_bytes()).unwrap();
        (request, silence)
    });
    let mut world = World::new();
    assert_eq!(probe(&mut world, &format!("http://localhost:{}/health?deep=1#x", address.port())), Ok(()));
    let (request, silence) = serving.join().unwrap();
    let expected = format!(
        "GET /health?deep=1 HTTP/1.1\r\nHost: localhost:{}\r\nUser-Agent: tinysup\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        address.port()
    );
    assert_eq!((request, silence), (expected, ErrorKind::WouldBlock));
}

fn probes_of_both_families() {
    let mut world = World::new();
    let refused = |address: SocketAddr| Err(Failure::Refused { address });
    let nobody = nobody();
    assert_eq!(probe(&mut world, &format!("tcp:{}", nobody.port())), refused(nobody));
    // As where a container has no IPv6: one cannot be asked; that nobody listens at the other says more.
    let mut ask = |addresses: [&str; 2]| {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let child = begin(&mut world, 1, Target::Tcp { addresses });
        result(&mut world, child)
    };
    let foreign = "255.255.255.255:1";
    let first = ask([foreign, &nobody.to_string()]);
    assert_eq!(first, refused(foreign.parse().unwrap()));
    assert_eq!(ask([&nobody.to_string(), foreign]), refused(nobody));
    assert!(matches!(ask([foreign, foreign]), Err(Failure::CannotAsk { .. })));
    // Only the second answers.
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let second = listener.local_addr().unwrap().to_string();
    assert_eq!(ask([&nobody.to_string(), &second]), Ok(()));
    assert_eq!(ask([foreign, &second]), Ok(()));
}

/// With one port to connect from, the kernel connects whoever asks for that port to himself.
fn a_probe_never_takes_itself_for_a_server() {
    needs_root();
    // SAFETY: one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        scene::skip("needs the right to make a network namespace");
    }
    loopback_up();
    if std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "45000 45000").is_err() {
        scene::skip("needs a /proc/sys that can be written");
    }
    let address: SocketAddr = "127.0.0.1:45000".parse().unwrap();
    let itself = TcpStream::connect(address).unwrap();
    assert_eq!(itself.peer_addr().unwrap(), itself.local_addr().unwrap());
    drop(itself);
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "45001 45001").unwrap();

    let mut world = World::new();
    let address: SocketAddr = "127.0.0.1:45001".parse().unwrap();
    for text in ["tcp:127.0.0.1:45001", "http://127.0.0.1:45001/"] {
        assert_eq!(probe(&mut world, text), Err(Failure::Refused { address }));
    }
    // And the port is free for whoever is to listen there, also if he does not insist.
    // SAFETY: an address as long as said, and a descriptor that nobody else has.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        let mut place: libc::sockaddr_in = std::mem::zeroed();
        place.sin_family = libc::sa_family_t::try_from(libc::AF_INET).unwrap();
        place.sin_port = 45001_u16.to_be();
        let length = libc::socklen_t::try_from(size_of_val(&place)).unwrap();
        assert_eq!(libc::bind(socket, (&raw const place).cast(), length), 0);
    }
}

fn loopback_up() {
    // SAFETY: an ifreq that lives here, with a name that has an end.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
            *place = libc::c_char::from_ne_bytes([*byte]);
        }
        request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).unwrap();
        assert_eq!(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request), 0);
    }
}

/// What a server reads and writes after we know enough ends as with any client that has all it wanted.
fn servers_see_no_reset() {
    let mut world = World::new();
    for _ in 0..50 {
        // One that speaks first, and speaks again.
        let (address, serving) = server(|mut connection| {
            for _ in 0..3 {
                connection.write_all(b"220 here I am\r\n")?;
                thread::yield_now();
            }
            connection.read(&mut [0])
        });
        assert_eq!(probe(&mut world, &format!("tcp:{address}")), Ok(()));
        while !serving.is_finished() {
            world.wait(Duration::from_millis(1));
        }
        assert_eq!(serving.join().unwrap().unwrap(), 0, "a greeting");
        // One whose body comes in pieces after its head.
        let (address, serving) = server(|mut connection| {
            read_request(&mut connection);
            connection.write_all(STATUS.as_bytes())?;
            for _ in 0..10 {
                thread::yield_now();
                connection.write_all(&[b'x'; 1000])?;
            }
            connection.shutdown(std::net::Shutdown::Write)?;
            connection.read(&mut [0])
        });
        assert_eq!(probe(&mut world, &format!("http://{address}/")), Ok(()));
        while !serving.is_finished() {
            world.wait(Duration::from_millis(1));
        }
        assert_eq!(serving.join().unwrap().unwrap(), 0, "a body");
    }
}

fn an_answer_without_end_is_left() {
    let mut world = World::new();
    let before = open_descriptors();
    // As fast as it can: a bound in bytes.
    let (address, serving) = server(|mut connection| {
        read_request(&mut connection);
        connection.write_all(STATUS.as_bytes()).unwrap();
        while connection.write_all(&[b'x'; 1000]).is_ok() {}
    });
    assert_eq!(probe(&mut world, &format!("http://{address}/")), Ok(()));
    while !serving.is_finished() {
        world.wait(Duration::from_millis(10));
    }
    // Byte by byte: a bound in looks.
    let (address, serving) = server(|mut connection| {
        connection.set_nodelay(true).unwrap();
        read_request(&mut connection);
        connection.write_all(STATUS.as_bytes()).unwrap();
        let mut written = 0;
        while connection.write_all(b"x").is_ok() {
            written += 1;
            thread::sleep(Duration::from_millis(1));
        }
        written
    });
    assert_eq!(probe(&mut world, &format!("http://{address}/")), Ok(()));
    while !serving.is_finished() {
        world.wait(Duration::from_millis(10));
    }
    assert!(serving.join().unwrap() >= 60, "it was heard for a while");
    assert_eq!(open_descriptors(), before);
}

/// A server that keeps the connection open, although it was asked not to.
fn keeps_open() -> (SocketAddr, JoinHandle<TcpStream>) {
    server(|mut connection| {
        read_request(&mut connection);
        connection.write_all(STATUS.as_bytes()).unwrap();
        connection
    })
}

fn what_is_left_of_a_probe_ends_with_its_run() {
    let mut world = World::new();
    let (main, pid) = world.start(service(["/bin/sleep", "1000"]));
    let before = open_descriptors();
    let mut connections = Vec::new();
    // One at a time: the next attempt ends what is left of the one before.
    for number in 1..=3 {
        let (address, serving) = keeps_open();
        let child = begin(&mut world, number, target(&format!("http://{address}/")));
        assert_eq!(result(&mut world, child), Ok(()));
        connections.push(serving.join().unwrap());
        assert_eq!(open_descriptors(), before + connections.len() + 1);
    }
    // A call that comes late ends it too.
    world.perform(Action::CancelProbe { child: attempt(3) });
    assert_eq!(open_descriptors(), before + 3);
    let (address, serving) = keeps_open();
    let child = begin(&mut world, 4, target(&format!("http://{address}/")));
    assert_eq!(result(&mut world, child), Ok(()));
    connections.push(serving.join().unwrap());
    assert_eq!(open_descriptors(), before + 5);
    assert_eq!(main.instance, child.instance);
    world.perform(Action::Signal { pid, signal: tinysup::units::Signal::KILL });
    world.exit_of(pid);
    connections.clear();
    assert!(open_descriptors() < before, "its pipes are gone, and the connection");
}

fn probes_that_are_called_off() {
    let mut world = World::new();
    let before = open_descriptors();
    // It accepts and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let child = begin(&mut world, 1, target(&format!("http://{silent}/")));
    let (mut accepted, _) = listener.accept().unwrap();
    assert_eq!(before + 3, open_descriptors());
    world.wait(Duration::from_millis(100));
    assert!(read_request(&mut accepted).starts_with("GET / "));
    world.perform(Action::CancelProbe { child });
    assert_eq!(before + 2, open_descriptors());
    assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
    drop(accepted);
    // An answer that is there already when it is called off.
    let child = begin(&mut world, 2, target(&format!("http://{silent}/")));
    let (mut accepted, _) = listener.accept().unwrap();
    world.wait(Duration::from_millis(20));
    accepted.write_all(STATUS.as_bytes()).unwrap();
    world.perform(Action::CancelProbe { child });
    // Connections that do not come about.
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: plain call.
    assert_eq!(unsafe { libc::listen(full.as_raw_fd(), 0) }, 0);
    let address = full.local_addr().unwrap();
    let waiting: Vec<Child> =
        (3..10).map(|number| begin(&mut world, number, target(&format!("tcp:{address}")))).collect();
    let deadline = Instant::now() + Duration::from_millis(100);
    while Instant::now() < deadline {
        world.wait(Duration::from_millis(50));
    }
    let answered = |world: &World, child: Child| {
        world.events.iter().any(|event| matches!(event, Event::Probed { child: of, .. } if *of == child))
    };
    let hanging: Vec<Child> = waiting.iter().copied().filter(|child| !answered(&world, *child)).collect();
    assert!(!hanging.is_empty(), "all were taken");
    for child in waiting {
        world.perform(Action::CancelProbe { child });
    }
    // Nobody is called off twice, or who never was.
    world.perform(Action::CancelProbe { child: attempt(1) });
    drop((listener, full, accepted));
    world.wait(Duration::from_millis(50));
    for child in hanging.into_iter().chain((1..3).map(attempt)) {
        assert!(!answered(&world, child), "{child:?}");
    }
    assert_eq!(before, open_descriptors());
}

fn a_probe_without_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let mut world = World::new();
    let scratch = Scratch::new();
    let path = scratch.path("stream");
    let _listener = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    let targets = [format!("tcp:{address}"), format!("http://{address}/"), format!("unix:{path}")];
    let results: Vec<_> = targets.iter().map(|target| probe(&mut world, target)).collect();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let expected = Err(Failure::CannotAsk { reason: "Too many open files".to_owned() });
    assert_eq!(results, [expected.clone(), expected.clone(), expected]);
    assert_eq!(probe(&mut world, &targets[0]), Ok(()));
}

/// A file system whose server never answers, as NFS without its server.
fn a_dead_file_system_holds_up_its_own_probes_only() {
    needs_root();
    let scratch = Scratch::new();
    let dead = scratch.path("dead");
    std::fs::create_dir(&dead).unwrap();
    let Ok(server) = std::fs::File::options().read(true).write(true).open("/dev/fuse") else {
        scene::skip("needs /dev/fuse");
    };
    let [kind, place] = ["fuse", &dead].map(|text| std::ffi::CString::new(text).unwrap());
    let options =
        std::ffi::CString::new(format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd()));
    let options = options.unwrap();
    // SAFETY: plain calls with strings that live here, before there is a second thread.
    let mounted = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) == 0
            && libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) == 0
    };
    if !mounted {
        scene::skip("needs the right to mount");
    }
    let mut world = World::new();
    let before = Instant::now();
    for (number, kind) in [(1, "file"), (2, "unix")] {
        let child = Child { instance: InstanceId(number), ..attempt(1) };
        let text = format!("{kind}:{dead}/up");
        world.perform(Action::Probe { child, target: Rc::new(target(&text)) });
        world.wait(Duration::from_millis(50));
        // Others are asked all the same.
        assert_eq!(probe(&mut world, "file:/"), Ok(()));
        world.perform(Action::CancelProbe { child });
        // The look that hangs is not followed by another.
        for again in 2..5 {
            let child = Child { instance: InstanceId(number), ..attempt(again) };
            world.perform(Action::Probe { child, target: Rc::new(target(&text)) });
            let Err(Failure::CannotAsk { reason }) = result(&mut world, child) else { panic!("it is dead") };
            assert!(reason.contains("has not come back"), "{reason}");
        }
    }
    assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
    // With its server's end it is an error like another, and who looked comes back.
    drop(server);
    let child = Child { instance: InstanceId(1), ..attempt(9) };
    let deadline = Instant::now() + world::PATIENCE;
    loop {
        world.perform(Action::Probe { child, target: Rc::new(target(&format!("file:{dead}/up"))) });
        let Err(Failure::CannotAsk { reason }) = result(&mut world, child) else { panic!("it is dead") };
        if !reason.contains("has not come back") {
            break;
        }
        assert!(Instant::now() < deadline, "who looked does not come back");
        world.wait(Duration::from_millis(10));
    }
}

fn a_thousand_probes_leave_nothing() {
    let scratch = Scratch::new();
    let mut world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            // The first byte says whether somebody asks.
            if connection.read(&mut [0]).is_ok_and(|count| count == 1) {
                let _ = connection.read(&mut [0; 1000]);
                let _ = connection.write_all(STATUS.as_bytes());
            }
        }
    });
    let path = scratch.path("stream");
    let unix = UnixListener::bind(&path).unwrap();
    thread::spawn(move || unix.incoming().for_each(drop));
    let before = (open_descriptors(), world::resident_kilobytes());
    let nobody = nobody();
    let texts = [
        format!("tcp:{address}"),
        format!("http://{address}/"),
        format!("unix:{path}"),
        format!("tcp:{nobody}"),
        format!("file:{path}"),
    ];
    for number in 0..1000 {
        let text = &texts[number as usize % texts.len()];
        let child = begin(&mut world, number, target(text));
        assert_eq!(result(&mut world, child).is_ok(), !text.contains(&nobody.to_string()), "{text}");
        world.forget();
    }
    let deadline = Instant::now() + world::PATIENCE;
    while open_descriptors() > before.0 {
        assert!(Instant::now() < deadline, "{} descriptors, then {}", before.0, open_descriptors());
        world.wait(Duration::from_millis(10));
    }
    let after = world::resident_kilobytes();
    assert!(after < before.1 + 512, "{} kB, then {after}", before.1);
}

fn between_probes_nothing_happens() {
    let mut world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // One answered, and closed by both; one that waits for an answer; one answered by a server that does not close.
    assert_eq!(probe(&mut world, &format!("tcp:{address}")), Ok(()));
    drop(listener.accept().unwrap());
    begin(&mut world, 2, target(&format!("http://{address}/")));
    let _silent = listener.accept().unwrap();
    let (address, serving) = keeps_open();
    let child = begin(&mut world, 3, target(&format!("http://{address}/")));
    assert_eq!(result(&mut world, child), Ok(()));
    let _open = serving.join().unwrap();
    world::stays_idle(&mut world);
}
