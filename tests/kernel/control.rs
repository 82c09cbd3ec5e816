//! The control socket: where it is made and where not, who may come, and what becomes of clients that are slow, many, large, broken
//! or gone.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::time::Duration;

use tinysup::control::{Answer, Change, LogLine, Place, REQUEST_MAX, Refused, Request, Verb};
use tinysup::event::{Action, Care, Child, Client, Event, InstanceId, Pid, Usage};
use tinysup::kernel::{Kernel, Until};
use tinysup::probe::Target;

use crate::Case;
use crate::helpers::{can_refuse_descriptors, send_on};
use crate::scene::{self, STRANGER, Scratch};
use crate::world::{PATIENCE, World, service, shell};

pub const CASES: &[Case] = &[
    ("a_request_gets_its_answer_and_the_connection_ends", a_request_gets_its_answer_and_the_connection_ends),
    (
        "the_socket_is_for_its_owner_alone_and_goes_with_us",
        the_socket_is_for_its_owner_alone_and_goes_with_us,
    ),
    ("strangers_are_refused_before_a_byte_is_read", strangers_are_refused_before_a_byte_is_read),
    ("nobody_brings_descriptors", nobody_brings_descriptors),
    ("ten_thousand_connections_leave_nothing", ten_thousand_connections_leave_nothing),
    ("half_a_request_harms_nobody", half_a_request_harms_nobody),
    ("a_request_of_ten_megabytes_is_refused", a_request_of_ten_megabytes_is_refused),
    ("what_is_no_request_is_refused", what_is_no_request_is_refused),
    ("a_thousand_at_once_have_their_turn", a_thousand_at_once_have_their_turn),
    ("a_client_that_leaves_is_reported_once", a_client_that_leaves_is_reported_once),
    ("a_client_that_reads_nothing_is_dropped", a_client_that_reads_nothing_is_dropped),
    ("a_slow_client_gets_everything_in_order", a_slow_client_gets_everything_in_order),
    ("a_removed_socket_is_made_again", a_removed_socket_is_made_again),
    (
        "where_much_is_removed_any_signal_is_a_reason_to_look",
        where_much_is_removed_any_signal_is_a_reason_to_look,
    ),
    ("a_stale_socket_is_replaced_and_a_live_one_is_not", a_stale_socket_is_replaced_and_a_live_one_is_not),
    ("what_is_no_socket_is_left_alone", what_is_no_socket_is_left_alone),
    ("a_socket_may_be_abstract_or_nowhere", a_socket_may_be_abstract_or_nowhere),
    ("who_asks_in_our_own_name_is_nobody", who_asks_in_our_own_name_is_nobody),
    (
        "without_descriptors_nobody_is_let_in_and_nothing_spins",
        without_descriptors_nobody_is_let_in_and_nothing_spins,
    ),
    ("no_child_gets_the_sockets", no_child_gets_the_sockets),
    ("all_processes_of_a_run_are_measured", all_processes_of_a_run_are_measured),
];

/// A world that listens on a path of its own.
struct Desk {
    world: World,
    path: String,
    _scratch: Scratch,
}

impl Desk {
    fn new() -> Self {
        let scratch = Scratch::new();
        let path = scratch.path("s.sock");
        let mut world = World::new();
        world.linux.listen(Place::At(path.clone().into()));
        Self { world, path, _scratch: scratch }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).expect("somebody listens")
    }

    fn ask(&self) -> UnixStream {
        let mut stream = self.connect();
        stream.write_all(b"{\"v\":1,\"verb\":\"status\"}\n").expect("room for a line");
        stream
    }

    fn asked(&mut self) -> (Client, Result<Request, String>) {
        self.world.until("a request", |event| match event {
            Event::Asked { client, request } => Some((*client, request.clone())),
            _ => None,
        })
    }

    fn left(&mut self, wanted: Client) {
        self.world.until("a client's end", |event| match event {
            Event::Left { client } => (*client == wanted).then_some(()),
            _ => None,
        });
    }

    fn answer(&mut self, client: Client, text: &str) {
        let change = Change { name: "web".to_owned(), text: text.to_owned(), ok: true };
        let answer = Box::new(Answer::Changed(vec![change]));
        self.world.perform(Action::Answer { client, answer, last: true });
    }

    /// Waits without expecting anything.
    fn turn(&mut self) {
        self.world.wait(Duration::from_millis(20));
    }

    /// Waits until something holds of which no event tells.
    fn until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let end = self.world.linux.now() + PATIENCE;
        while !condition() {
            assert!(self.world.linux.now() < end, "waited in vain until {what}");
            self.turn();
        }
    }

    /// That it still listens and answers.
    fn works(&mut self) {
        let mut stream = self.ask();
        let (client, request) = self.asked();
        assert_eq!(request.map(|request| request.verb), Ok(Verb::Status));
        self.answer(client, "fine");
        self.left(client);
        assert!(rest(&mut stream).contains("fine"));
    }
}

/// All that still comes, up to the end of the connection.
fn rest(stream: &mut UnixStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        // What it had not read is told after all that it said.
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        Ok(_) | Err(_) => String::from_utf8(bytes).unwrap(),
    }
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn a_request_gets_its_answer_and_the_connection_ends() {
    let mut desk = Desk::new();
    let mut stream = desk.connect();
    stream.write_all(b"{\"v\":1,\"verb\":\"stop\",\"na").unwrap();
    let client = desk.world.until("a client", |event| match event {
        Event::Connected { client } => Some(*client),
        _ => None,
    });
    stream.write_all(b"mes\":[\"web\"]}\nwhat follows is not looked at").unwrap();
    let (who, request) = desk.asked();
    let request = request.unwrap();
    assert_eq!((who, request.verb, &*request.names[0]), (client, Verb::Stop, "web"));
    desk.answer(client, "stopped\nit");
    desk.left(client);
    assert_eq!(
        rest(&mut stream),
        "{\"changed\":[{\"name\":\"web\",\"text\":\"stopped\\nit\",\"ok\":true}]}\n"
    );
    // A client may close its own side, and leave out the end of the line.
    let mut stream = desk.connect();
    stream.write_all(b"{\"v\":1}").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let (client, request) = desk.asked();
    assert!(request.is_ok());
    desk.turn();
    desk.answer(client, "done");
    desk.left(client);
    assert!(rest(&mut stream).contains("done"));
}

fn the_socket_is_for_its_owner_alone_and_goes_with_us() {
    let desk = Desk::new();
    let metadata = fs::symlink_metadata(&desk.path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let directory = std::path::Path::new(&desk.path).parent().unwrap();
    assert_eq!(fs::read_dir(directory).unwrap().count(), 1, "nothing else is left there");
    let path = desk.path.clone();
    desk.world.linux.finish();
    assert!(!fs::exists(&path).unwrap());

    // Not if somebody else has taken the name.
    let desk = Desk::new();
    fs::remove_file(&desk.path).unwrap();
    let other = UnixListener::bind(&desk.path).unwrap();
    let path = desk.path.clone();
    desk.world.linux.finish();
    assert!(fs::exists(&path).unwrap());
    drop(other);
}

fn strangers_are_refused_before_a_byte_is_read() {
    scene::needs_root();
    let mut desk = Desk::new();
    let as_user = |uid: u32| {
        // SAFETY: plain call; it is taken back.
        assert_eq!(unsafe { libc::seteuid(uid) }, 0);
    };
    as_user(STRANGER);
    let closed = UnixStream::connect(&desk.path).map_err(|error| error.kind());
    as_user(0);
    assert_eq!(closed.err(), Some(ErrorKind::PermissionDenied), "the mode keeps them out");
    fs::set_permissions(&desk.path, PermissionsExt::from_mode(0o777)).unwrap();
    as_user(STRANGER);
    let mut stream = desk.ask();
    as_user(0);
    desk.turn();
    assert!(!desk.world.events.iter().any(|event| matches!(event, Event::Connected { .. })));
    let answer: Answer = serde_json::from_str(&rest(&mut stream)).unwrap();
    let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
    assert_eq!(refusal.why, Refused::Forbidden);
    assert!(refusal.text.contains("not user 12345"), "{}", refusal.text);
    desk.works();
}

/// To close one of theirs may take as long as they like.
fn nobody_brings_descriptors() {
    if !can_refuse_descriptors() {
        println!("this kernel has nothing against it");
        return;
    }
    let mut desk = Desk::new();
    let brings = |stream: &UnixStream| {
        let file = fs::File::open("/dev/null").unwrap();
        send_on(stream, "x", &[file.into()]).map_err(|error| error.kind())
    };
    let stream = desk.connect();
    assert_eq!(brings(&stream), Err(ErrorKind::PermissionDenied), "before it is let in");
    desk.turn();
    assert_eq!(brings(&stream), Err(ErrorKind::PermissionDenied));
    drop(stream);
    desk.turn();
    desk.works();
    // Nor whom we connect to.
    let scratch = Scratch::new();
    let listener = UnixListener::bind(scratch.path("asked")).unwrap();
    let target = Target::Unix { path: scratch.path("asked").into() };
    let child = desk.world.new_child();
    desk.world.perform(Action::Probe { child, target: Rc::new(target) });
    desk.world.until("an answer", |event| matches!(event, Event::Probed { .. }).then_some(()));
    assert_eq!(brings(&listener.accept().unwrap().0), Err(ErrorKind::PermissionDenied));
}

fn ten_thousand_connections_leave_nothing() {
    let mut desk = Desk::new();
    desk.works();
    desk.world.forget_all();
    let before = open_descriptors();
    let (mut came, mut went) = (0, 0);
    for index in 0..10_000_u32 {
        let mut stream = desk.connect();
        if index % 3 == 1 {
            stream.write_all(b"{\"v\":1").unwrap();
        }
        drop(stream);
        desk.world.wait(Duration::ZERO);
        for event in &desk.world.events {
            match event {
                Event::Connected { .. } => came += 1,
                Event::Left { .. } => went += 1,
                _ => {}
            }
        }
        desk.world.forget_all();
    }
    while went < 10_000 {
        desk.turn();
        went += desk.world.events.iter().filter(|event| matches!(event, Event::Left { .. })).count();
        came += desk.world.events.iter().filter(|event| matches!(event, Event::Connected { .. })).count();
        desk.world.forget_all();
    }
    assert_eq!((came, went, open_descriptors()), (10_000, 10_000, before));
    desk.works();
}

fn half_a_request_harms_nobody() {
    let mut desk = Desk::new();
    let mut stream = desk.connect();
    stream.write_all(b"{\"v\":1,\"verb\":").unwrap();
    let client = desk.world.until("a client", |event| match event {
        Event::Connected { client } => Some(*client),
        _ => None,
    });
    desk.works();
    desk.world.perform(Action::Disconnect { client });
    assert_eq!(rest(&mut stream), "");
    desk.answer(client, "to nobody");
    desk.turn();
    assert!(
        !desk.world.events.iter().any(|event| matches!(event, Event::Left { client: of } if *of == client))
    );
}

fn a_request_of_ten_megabytes_is_refused() {
    let mut desk = Desk::new();
    let mut stream = desk.connect();
    stream.set_nonblocking(true).unwrap();
    let piece = vec![b'x'; 1 << 20];
    let mut written = 0;
    let mut end = None;
    while written < 10 << 20 && end.is_none() {
        match stream.write(&piece) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                desk.turn();
                let asked = desk.world.events.iter().find_map(|event| match event {
                    Event::Asked { client, request: Err(text) } => Some((*client, text.clone())),
                    _ => None,
                });
                if let Some((client, text)) = asked {
                    assert!(text.contains("64 KiB"), "{text}");
                    desk.world.forget_all();
                    desk.answer(client, "too much");
                    desk.left(client);
                }
            }
            Err(error) => end = Some(error.kind()),
        }
    }
    assert_eq!(end, Some(ErrorKind::BrokenPipe));
    assert!(written < REQUEST_MAX + (1 << 20), "{written} bytes were taken");
    stream.set_nonblocking(false).unwrap();
    assert!(rest(&mut stream).contains("too much"));
    desk.works();
}

fn what_is_no_request_is_refused() {
    let mut desk = Desk::new();
    let long = [&b"{\"signal\":\""[..], &b"x".repeat(REQUEST_MAX - 20)].concat();
    let deep = b"[".repeat(60_000);
    for line in [
        &b""[..],
        b"nonsense",
        b"{}{}",
        b"null",
        b"{\"verb\":\"exec\"}",
        b"{\"verb\":7}",
        b"{\"v\":-1}",
        b"{\"v\":99999999999}",
        b"{\"path\":\"/etc/passwd\"}",
        b"{\"names\":\"web\"}",
        b"\xff\xfe\x00",
        b"{\"names\":[\"\xff\"]}",
        &long,
        &deep,
    ] {
        let mut stream = desk.connect();
        stream.write_all(&[line, b"\n"].concat()).unwrap();
        let (client, request) = desk.asked();
        assert!(request.is_err(), "{:?}", String::from_utf8_lossy(line));
        desk.answer(client, "no");
        desk.left(client);
        assert!(rest(&mut stream).contains("no"));
    }
    desk.works();
}

fn a_thousand_at_once_have_their_turn() {
    let mut desk = Desk::new();
    let before = open_descriptors();
    let (mut streams, mut here, mut most, mut answered) = (Vec::new(), 0_usize, 0, 0);
    let mut asking = Vec::new();
    while answered < 1000 {
        // As many as fit into the queue of the socket; the others would wait in connect.
        while streams.len() < 1000 && streams.len() - answered < 100 {
            streams.push(desk.ask());
        }
        desk.turn();
        for event in std::mem::take(&mut desk.world.events) {
            match event {
                Event::Connected { .. } => here += 1,
                Event::Left { .. } => (here, answered) = (here - 1, answered + 1),
                Event::Asked { client, .. } => asking.push(client),
                _ => {}
            }
        }
        desk.world.forget_all();
        most = most.max(here);
        // Nobody is answered before it is full.
        if asking.len() >= 32 || streams.len() == 1000 {
            for client in asking.drain(..) {
                desk.answer(client, "at last");
            }
        }
    }
    assert_eq!(most, 32);
    for stream in &mut streams {
        assert!(rest(stream).contains("at last"));
    }
    drop(streams);
    assert_eq!(open_descriptors(), before);
}

fn a_client_that_leaves_is_reported_once() {
    let mut desk = Desk::new();
    let stream = desk.ask();
    let (client, _) = desk.asked();
    let line = Answer::Log(LogLine { text: "x".repeat(60_000), ..LogLine::default() });
    // It waits in our buffer when he goes.
    for _ in 0..8 {
        desk.world.perform(Action::Answer { client, answer: Box::new(line.clone()), last: false });
        desk.turn();
    }
    drop(stream);
    desk.left(client);
    desk.answer(client, "to nobody");
    desk.works();
    let times =
        desk.world.events.iter().filter(|event| matches!(event, Event::Left { client: of } if *of == client));
    assert_eq!(times.count(), 1);
}

fn a_client_that_reads_nothing_is_dropped() {
    let mut desk = Desk::new();
    let stream = desk.ask();
    let (client, _) = desk.asked();
    let line = Answer::Log(LogLine { text: "x".repeat(60_000), ..LogLine::default() });
    let mut sent = 0;
    while !desk.world.events.iter().any(|event| matches!(event, Event::Left { client: of } if *of == client))
    {
        sent += 60_000;
        assert!(sent < 4 << 20, "{sent} bytes wait for a client that reads nothing");
        desk.world.perform(Action::Answer { client, answer: Box::new(line.clone()), last: false });
        desk.world.wait(Duration::ZERO);
    }
    drop(stream);
    desk.works();
}

fn a_slow_client_gets_everything_in_order() {
    let mut desk = Desk::new();
    let mut stream = desk.ask();
    let (client, _) = desk.asked();
    let mut got = Vec::new();
    stream.set_nonblocking(true).unwrap();
    for number in 0..50_u64 {
        let text = "x".repeat(50_000);
        let line = Answer::Log(LogLine { text, dropped: number, ..LogLine::default() });
        desk.world.perform(Action::Answer { client, answer: Box::new(line), last: number == 49 });
        if number == 49 {
            break;
        }
        // He reads a little at a time, until all of it is on its way.
        let mut piece = vec![0; 7000];
        loop {
            desk.turn();
            let taken = desk.world.events.iter().any(|event| matches!(event, Event::Taken { .. }));
            if let Ok(count) = stream.read(&mut piece) {
                got.extend_from_slice(&piece[..count]);
            }
            if taken {
                break;
            }
        }
        desk.world.forget_all();
    }
    stream.set_nonblocking(false).unwrap();
    desk.left(client);
    got.extend(rest(&mut stream).into_bytes());
    let numbers: Vec<u64> = String::from_utf8(got)
        .unwrap()
        .lines()
        .map(|line| match serde_json::from_str(line).unwrap() {
            Answer::Log(line) => line.dropped,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
}

fn a_removed_socket_is_made_again() {
    let mut desk = Desk::new();
    let path = desk.path.clone();
    for _ in 0..3 {
        fs::remove_file(&path).unwrap();
        desk.until("it is there again", || fs::exists(&path).unwrap());
        desk.works();
    }
    let away = path.clone() + ".away";
    fs::rename(&path, away).unwrap();
    desk.until("it is there again", || fs::exists(&path).unwrap());
    desk.works();
    // The same signals that somebody sends are passed on, and swallow nothing.
    for number in [libc::SIGIO, 64] {
        fs::remove_file(&path).unwrap();
        // SAFETY: plain call.
        assert_eq!(unsafe { libc::raise(number) }, 0);
        let it =
            |event: &Event| matches!(event, Event::Signal(signal) if signal.number() == number).then_some(());
        desk.world.until("the signal", it);
        desk.until("it is there again", || fs::exists(&path).unwrap());
        desk.works();
    }
    // A touch is no removal.
    let number = fs::metadata(&path).unwrap().st_ino();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    desk.works();
    assert_eq!(fs::metadata(&path).unwrap().st_ino(), number);
}

fn where_much_is_removed_any_signal_is_a_reason_to_look() {
    let mut desk = Desk::new();
    let (path, other) = (desk.path.clone(), desk.path.clone() + ".other");
    let remove = |path: &str| fs::remove_file(path).unwrap();
    for _ in 0..1_100 {
        fs::write(&other, "").unwrap();
        remove(&other);
        desk.world.wait(Duration::ZERO);
    }
    desk.works();
    remove(&path);
    // If that were told, it would be before what comes now.
    for _ in 0..10 {
        desk.world.wait(Duration::ZERO);
    }
    assert!(!fs::exists(&path).unwrap());
    nix::sys::signal::raise(nix::sys::signal::SIGWINCH).unwrap();
    desk.world.until("a signal", |event| matches!(event, Event::Signal(_)).then_some(()));
    desk.works();
}

fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let scratch = Scratch::new();
    let path = scratch.path("s.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(fs::exists(&path).unwrap(), "stale");
    let mut world = World::new();
    world.linux.listen(Place::At(path.clone().into()));
    let mut desk = Desk { world, path: path.clone(), _scratch: scratch };
    desk.works();
    let number = fs::metadata(&path).unwrap().st_ino();
    let mut second = World::new();
    second.linux.listen(Place::At(path.clone().into()));
    second.linux.finish();
    assert_eq!(fs::metadata(&path).unwrap().st_ino(), number);
    desk.works();
}

fn what_is_no_socket_is_left_alone() {
    let scratch = Scratch::new();
    let victim = scratch.file("victim", 0o644, b"precious");
    let (link, dangling, file, directory) =
        (scratch.path("link"), scratch.path("dangling"), scratch.path("file"), scratch.path("directory"));
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    std::os::unix::fs::symlink(scratch.path("nothing"), &dangling).unwrap();
    fs::write(&file, "content").unwrap();
    fs::create_dir(&directory).unwrap();
    let long = scratch.path(&"x".repeat(100));
    let nowhere = scratch.path("no/such/place");
    for path in [&link, &dangling, &file, &directory, &long, &nowhere] {
        let mut world = World::new();
        world.linux.listen(Place::At(path.into()));
        world.wait(Duration::ZERO);
        assert!(UnixStream::connect(path).is_err(), "{path}");
        world.linux.finish();
    }
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert!(
        fs::symlink_metadata(&link).unwrap().is_symlink()
            && fs::symlink_metadata(&dangling).unwrap().is_symlink()
    );
    assert!(!fs::exists(scratch.path("nothing")).unwrap());
    assert_eq!(fs::read(&file).unwrap(), b"content");
    assert!(fs::metadata(&directory).unwrap().is_dir());
}

fn a_socket_may_be_abstract_or_nowhere() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("tinysup-case-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    // SAFETY: one thread.
    unsafe { std::env::set_var("TINYSUP_SOCKET", format!("@{name}")) };
    let scratch = Scratch::new();
    let path = scratch.path("s.sock");
    let mut world = World::new();
    world.linux.listen(Place::Off);
    assert!(UnixStream::connect_addr(&address).is_err());
    world.linux.listen(Place::At(path.clone().into()));
    assert!(UnixStream::connect_addr(&address).is_ok());
    assert!(!fs::exists(&path).unwrap(), "the variable goes over the configuration");
    let mut second = World::new();
    second.linux.listen(Place::Usual);
    world.linux.finish();
    assert!(UnixStream::connect_addr(&address).is_err(), "the second has no socket");
}

/// gVisor says so of everybody. This process, which is on both sides here, is the one of whom Linux does. A mode keeps others out of a
/// file, as the other cases have it.
fn who_asks_in_our_own_name_is_nobody() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("tinysup-case-{}", std::process::id());
    // SAFETY: one thread.
    unsafe { std::env::set_var("TINYSUP_SOCKET", format!("@{name}")) };
    let mut world = World::new();
    world.linux.listen(Place::Usual);
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let mut stream = UnixStream::connect_addr(&address).unwrap();
    world.wait(Duration::from_millis(20));
    assert!(world.events.is_empty(), "{:?}", world.events);
    let answer: Answer = serde_json::from_str(&rest(&mut stream)).unwrap();
    let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
    assert_eq!(refusal.why, Refused::Forbidden);
    assert!(refusal.text.starts_with("it cannot be known who asks"), "{}", refusal.text);
}

fn without_descriptors_nobody_is_let_in_and_nothing_spins() {
    let limit = |soft: u64| {
        let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    };
    let cpu = || {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
        let time = |value: nix::sys::time::TimeVal| {
            Duration::from_micros(u64::try_from(value.tv_sec() * 1_000_000 + value.tv_usec()).unwrap())
        };
        time(usage.user_time()) + time(usage.system_time())
    };
    let mut desk = Desk::new();
    desk.works();
    desk.world.forget_all();
    let mut waiting = desk.ask();
    let lowest_free = std::os::fd::AsRawFd::as_raw_fd(&fs::File::open("/dev/null").unwrap());
    limit(u64::try_from(lowest_free).unwrap());
    let (before, end) = (cpu(), desk.world.linux.now() + Duration::from_secs(2));
    while desk.world.linux.now() < end {
        desk.world.linux.wait(
            Some(Until { at: end, measures: false }),
            &|_, _| Care::ToDecide,
            &mut desk.world.events,
        );
        assert!(desk.world.events.is_empty(), "{:?}", desk.world.events);
    }
    let used = cpu().saturating_sub(before);
    assert!(used < Duration::from_millis(500), "{used:?} of two seconds");
    limit(1000);
    let (client, _) = desk.asked();
    desk.answer(client, "late");
    desk.left(client);
    assert!(rest(&mut waiting).contains("late"));

    // What is left near the limit is kept for the services.
    limit(u64::try_from(open_descriptors()).unwrap() + 50);
    desk.world.linux.listen(Place::At((desk.path.clone() + "2").into()));
    desk.path += "2";
    let _held: Vec<_> = (0..40).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    let mut stream = desk.ask();
    desk.turn();
    assert!(rest(&mut stream).contains("\"busy\""));
}

fn no_child_gets_the_sockets() {
    let mut desk = Desk::new();
    let _stream = desk.ask();
    assert!(desk.asked().1.is_ok());
    let outcome = desk.world.run(service(["/bin/ls", "/proc/self/fd"]));
    assert_eq!(outcome.text().split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

fn all_processes_of_a_run_are_measured() {
    let mut world = World::new();
    let script = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo burnt; exec sleep 1000' & sleep 1000 & wait";
    let (child, pid) = world.start(shell(script));
    world.until("its child's work", |event| match event {
        Event::Output { bytes, .. } => (bytes == b"burnt\n").then_some(()),
        _ => None,
    });
    let mut measure = |runs: Vec<(Child, Pid)>| {
        world.perform(Action::Measure { client: Client(1), runs });
        match world.events.pop() {
            Some(Event::Measured { client: Client(1), usage }) => usage,
            other => panic!("{other:?}"),
        }
    };
    let other = Child { instance: InstanceId(7), ..child };
    let usage = measure(vec![(child, pid), (other, Pid::new(i32::MAX).unwrap())]);
    assert_eq!(usage[0].processes, 3, "{usage:?}");
    assert!(usage[0].memory > 100_000 && usage[0].cpu > Duration::from_millis(20), "{usage:?}");
    assert_eq!(usage[1], Usage::default());
    assert_eq!(measure(Vec::new()), []);
}
