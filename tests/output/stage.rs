//! A container with the services of a scene, and all that is done to it: what they write, their ends, files that are moved, a reader that
//! stands still, people who read along.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tinysup::control::{Answer, LogLine, Stream};

use crate::account::{Form, Goes, Moment, Tape};
use crate::container::{Container, DEADLINE, Folder, Out, Setup, answers};
use crate::judge::{Dropped, Place, Source, to_container};
use crate::rng::Rng;
use crate::scene::{LogFile, Loss, Scene};
use crate::text::Text;
use crate::writer::{ASKED_TO_END, DONE, Order};
use crate::{launch, proc};

/// After this a silence has passed, and what waited for it.
const SILENCE: Duration = Duration::from_millis(1100);
/// Between two looks at something of which no event tells.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// What is kept of each instance.
const KEPT_MAX: usize = 64 << 10;
/// What that may cost for each line beside its bytes.
const KEPT_FOR_EACH: usize = 40;
const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// Reads one of the container's streams, unless it is told to stand still.
struct Reader {
    read: Arc<Mutex<Vec<u8>>>,
    still: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn new() -> (Self, OwnedFd) {
        let (mut from, to) = io::pipe().expect("a pipe");
        let read = Arc::new(Mutex::new(Vec::new()));
        let still = Arc::new((Mutex::new(false), Condvar::new()));
        let (all, gate) = (Arc::clone(&read), Arc::clone(&still));
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                drop(gate.1.wait_while(gate.0.lock().expect("no panic"), |still| *still).expect("no panic"));
                match from.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => all.lock().expect("no panic").extend_from_slice(&buffer[..count]),
                    Err(error) => panic!("{error}"),
                }
            }
        });
        (Self { read, still, thread: Some(thread) }, to.into())
    }

    fn stand(&self, still: bool) {
        *self.still.0.lock().expect("no panic") = still;
        self.still.1.notify_all();
    }

    fn bytes(&self) -> Vec<u8> {
        self.read.lock().expect("no panic").clone()
    }

    /// All there ever was.
    fn finish(&mut self) -> Vec<u8> {
        self.thread.take().expect("once").join().expect("no panic");
        self.bytes()
    }
}

/// A process that takes orders.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Writer {
    stream: UnixStream,
    service: usize,
    instance: u32,
    leader: bool,
    tapes: [usize; 2],
    closed: [bool; 2],
    asked: bool,
    gone: bool,
    waits: bool,
}

impl Writer {
    fn order(&mut self, order: &Order) {
        self.stream.write_all(&order.bytes()).expect("it takes orders");
    }

    /// The next thing it says.
    fn hear(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => None,
            Ok(_) => Some(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("a service does not answer: {error}"),
        }
    }

    /// Waits until it has done all it was told, or has ended.
    fn settle(&mut self) {
        while self.waits {
            match self.hear() {
                Some(DONE) => self.waits = false,
                Some(ASKED_TO_END) => self.asked = true,
                Some(other) => panic!("{other} is nothing it says"),
                None => (self.gone, self.waits) = (true, false),
            }
        }
    }

    fn until_asked(&mut self) {
        while !self.asked {
            match self.hear() {
                Some(ASKED_TO_END) => self.asked = true,
                other => panic!("{other:?} instead of the signal that asks it to end"),
            }
        }
    }
}

/// Somebody else who has a run's pipe, and keeps it.
struct Stranger {
    pipe: File,
    tape: usize,
}

/// A file, with what it was before somebody moved it away.
struct Written {
    file: LogFile,
    path: PathBuf,
    /// What was there before, each with the number of tapes that there were then.
    before: Vec<Part>,
}

enum Part {
    Moved(PathBuf),
    Removed(File),
    Copied(Vec<u8>),
}

pub struct Stage<'a> {
    rng: Rng,
    scene: Scene,
    text: Text,
    container: Option<Container>,
    folder: Folder,
    listener: UnixListener,
    program: String,
    readers: Vec<Reader>,
    still: bool,
    tapes: Vec<Tape>,
    writers: Vec<Writer>,
    strangers: Vec<Stranger>,
    runs: BTreeMap<(usize, u32), u32>,
    files: BTreeMap<String, Written>,
    followers: Vec<JoinHandle<Vec<LogLine>>>,
    pub story: &'a Mutex<Vec<String>>,
}

impl<'a> Stage<'a> {
    pub fn new(mut rng: Rng, story: &'a Mutex<Vec<String>>) -> Self {
        let scene = Scene::new(&mut rng);
        let folder = Folder::new();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).expect("the folder is ours");
        let program = std::env::current_exe().expect("a path").to_string_lossy().into_owned();
        let (first, out) = Reader::new();
        let mut readers = vec![first];
        let err = if scene.merged {
            out.try_clone().expect("a descriptor")
        } else {
            let (second, err) = Reader::new();
            readers.push(second);
            err
        };
        let config = scene.config(&folder.path().to_string_lossy(), &program, &socket.to_string_lossy());
        story.lock().expect("no panic").push(config.clone());
        let container = Setup::services(&config).stdout(Out::To(out)).stderr(Out::To(err)).start();
        let text = Text::new(scene.loss != Loss::Never);
        let mut stage = Self {
            rng,
            scene,
            text,
            container: Some(container),
            folder,
            listener,
            program,
            readers,
            still: false,
            tapes: Vec::new(),
            writers: Vec::new(),
            strangers: Vec::new(),
            runs: BTreeMap::new(),
            files: BTreeMap::new(),
            followers: Vec::new(),
            story,
        };
        let count: u32 = stage.scene.services.iter().map(|service| service.instances).sum();
        for _ in 0..count {
            stage.arrival();
        }
        // They come in any order, and what is drawn for each is the same.
        stage.writers.sort_by_key(|writer| (writer.service, writer.instance));
        stage
    }

    fn note(&self, text: String) {
        self.story.lock().expect("no panic").push(text);
    }

    fn container(&self) -> &Container {
        self.container.as_ref().expect("it runs")
    }

    /// A process of a service that has begun.
    fn arrival(&mut self) {
        assert!(launch::readable(&self.listener, DEADLINE), "nobody began");
        let (stream, _) = self.listener.accept().expect("somebody");
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        let mut hello = String::new();
        BufReader::with_capacity(1, &stream).read_line(&mut hello).expect("it says who it is");
        let words: Vec<&str> = hello.split_whitespace().collect();
        let [service, instance, pid, child] = words[..] else { panic!("{hello:?}") };
        let index = self.scene.services.iter().position(|known| known.name == service).expect("a service");
        let instance: u32 = instance.parse().expect("a number");
        let tapes = if child == "1" {
            let leader = self
                .writers
                .iter()
                .find(|writer| writer.leader && (writer.service, writer.instance) == (index, instance));
            leader.expect("its parent").tapes
        } else {
            self.begin_run(index, instance, pid.parse().expect("a number"))
        };
        self.note(format!(
            "{service}.{instance} {} is pid {pid}",
            if child == "1" { "child" } else { "leader" }
        ));
        self.writers.push(Writer {
            stream,
            service: index,
            instance,
            leader: child != "1",
            tapes,
            closed: [false; 2],
            asked: false,
            gone: false,
            waits: false,
        });
    }

    fn begin_run(&mut self, index: usize, number: u32, pid: i32) -> [usize; 2] {
        let run = self.runs.entry((index, number)).or_default();
        *run += 1;
        let (run, service) = (*run, self.scene.services[index].clone());
        let name =
            if service.instances == 1 { service.name.clone() } else { format!("{}.{number}", service.name) };
        for (stream, goes) in service.goes.iter().enumerate() {
            if let Goes::File(file, ..) = goes {
                let file_name = self.scene.file_name(*file, number);
                let path = self.folder.path().join("logs").join(&file_name);
                let file = self.scene.files[*file].clone();
                self.files.entry(file_name).or_insert(Written { file, path, before: Vec::new() });
            }
            self.tapes.push(Tape {
                service: service.name.clone(),
                instance: number,
                name: name.clone(),
                run,
                stream,
                pid,
                goes: goes.clone(),
                bytes: Vec::new(),
                writes: Vec::new(),
                orphaned: None,
                over: false,
                read: Vec::new(),
            });
        }
        [self.tapes.len() - 2, self.tapes.len() - 1]
    }

    /// Has somebody write something on either stream, in one go.
    fn say(&mut self, who: usize, lines: u64, large: bool, open: u64) {
        let mut calls = Vec::new();
        for stream in 0..2 {
            if !self.writers[who].closed[stream] && self.rng.per_mille(700) {
                let count = self.rng.between(0, lines);
                let open = self.rng.per_mille(open);
                let made = self.text.calls(&mut self.rng, count, large, open);
                calls.push((stream, made));
            }
        }
        // Mixed, each in its order.
        let mut queues: Vec<(usize, std::vec::IntoIter<Vec<u8>>)> =
            calls.into_iter().map(|(stream, calls)| (stream, calls.into_iter())).collect();
        while !queues.is_empty() {
            let at = self.rng.index(queues.len());
            match queues[at].1.next() {
                Some(bytes) => self.write(who, queues[at].0, bytes),
                None => drop(queues.remove(at)),
            }
        }
        let writer = &mut self.writers[who];
        writer.order(&Order::Ack);
        writer.waits = true;
    }

    fn write(&mut self, who: usize, stream: usize, bytes: Vec<u8>) {
        let writer = &mut self.writers[who];
        let tape = &mut self.tapes[writer.tapes[stream]];
        tape.write(&bytes);
        writer.order(&if stream == 0 { Order::Out(bytes) } else { Order::Err(bytes) });
    }

    fn settle(&mut self, who: usize) {
        self.writers[who].settle();
        for tape in self.writers[who].tapes {
            self.tapes[tape].done();
        }
    }

    fn settle_all(&mut self) {
        for who in 0..self.writers.len() {
            self.settle(who);
        }
    }

    /// One deed by chance.
    pub fn deed(&mut self) {
        self.go_on();
        let (files, strict) = (!self.files.is_empty(), self.scene.loss == Loss::Never);
        let when = |weight: u64, condition: bool| if condition { weight } else { 0 };
        let kind = self.rng.weighted(&[
            (20, 0),
            (3, 1),
            (6, 2),
            (4, 3),
            (3, 4),
            (3, 5),
            (4, 6),
            (2, 7),
            (when(6, files), 8),
            (when(3, strict) + when(8, self.scene.loss == Loss::Overflow), 9),
            (3, 10),
            (when(20, self.files.values().any(|written| written.file.max_size.is_some())), 12),
            (when(10, files && self.scene.loss == Loss::File), 11),
        ]);
        match kind {
            0 => self.volley(),
            1 => self.silence(),
            2 => self.crash(),
            3 => self.fork(),
            4 => self.stranger(),
            5 => self.update(),
            6 => self.logs(),
            7 => self.follow(),
            8 => self.touch_file(),
            9 => self.stall(),
            10 => self.flood(),
            12 => self.fill(),
            _ => self.break_file(),
        }
    }

    /// Whom two processes share a pipe with is not asked at the same time: nobody would know the order.
    fn speakers(&mut self) -> Vec<usize> {
        let mut chosen: Vec<usize> = Vec::new();
        let mut all: Vec<usize> = (0..self.writers.len()).collect();
        self.rng.shuffle(&mut all);
        for who in all {
            if chosen.iter().all(|other| self.writers[*other].tapes != self.writers[who].tapes)
                && self.rng.per_mille(700)
            {
                chosen.push(who);
            }
        }
        chosen
    }

    fn volley(&mut self) {
        self.note("volley".to_owned());
        if self.rng.per_mille(300) {
            self.at_rest();
        }
        let lines = self.rng.weighted(&[(3, 1), (3, 8), (1, 40)]);
        let open = if self.rng.per_mille(300) { 500 } else { 50 };
        for who in self.speakers() {
            self.say(who, lines, lines < 40, open);
        }
        self.settle_all();
        for at in 0..self.strangers.len() {
            if self.rng.per_mille(500) {
                let calls = self.text.calls(&mut self.rng, 2, false, false);
                for bytes in calls {
                    self.strange(at, &bytes);
                }
            }
        }
    }

    fn flood(&mut self) {
        let lines = self.rng.between(100, 3000);
        self.note(format!("flood of {lines}"));
        for who in self.speakers() {
            self.say(who, lines, false, 100);
        }
        self.settle_all();
    }

    /// Lines that just fill a file, or do not fit by a byte, and one more.
    fn fill(&mut self) {
        for _ in 0..4 {
            self.settle_all();
            self.at_rest();
            let fits = |writer: &Writer, stream: usize| {
                let tape = &self.tapes[writer.tapes[stream]];
                let Goes::File(file, form, _) = tape.goes else { return None };
                let head = match form {
                    Form::Raw => 0,
                    Form::Prefix if !self.scene.timestamps => tape.name.len() + 3,
                    _ => return None,
                };
                let path = &self.files[&self.scene.file_name(file, tape.instance)].path;
                let size = fs::metadata(path).map_or(0, |file| file.len());
                let room = usize::try_from(self.scene.files[file].max_size?.checked_sub(size)?).ok()?;
                (!writer.closed[stream] && !tape.is_in_line()).then(|| room.checked_sub(head))?
            };
            let streams = self.writers.iter().enumerate().flat_map(|(who, writer)| {
                [0, 1].map(|stream| Some((who, stream, fits(writer, stream).filter(|room| *room > 40)?)))
            });
            let Some((who, stream, room)) = streams.flatten().next() else { return };
            let length = room + self.rng.index(3) - 2;
            self.note(format!("a line of {length} bytes where {room} have room"));
            let mut line = self.text.number();
            line.extend((line.len()..length).map(|_| *self.rng.pick(b"abcdefghijklmnop")));
            line.push(b'\n');
            self.write(who, stream, line);
            let next = [self.text.number(), b"\n".to_vec()].concat();
            self.write(who, stream, next);
            self.writers[who].order(&Order::Ack);
            self.writers[who].waits = true;
        }
        self.settle_all();
    }

    /// Nobody says anything for more than a second, and what has begun comes.
    fn silence(&mut self) {
        self.settle_all();
        let open = self.tapes.iter().filter(|tape| tape.is_in_line()).count();
        self.note(format!("silence, {open} lines have begun"));
        if open == 0 {
            return;
        }
        let since = Instant::now();
        let looked_for: Vec<(usize, Vec<u8>)> =
            (0..self.tapes.len()).filter_map(|tape| Some((tape, self.beginning(tape)?))).collect();
        while since.elapsed() < SILENCE || !looked_for.iter().all(|(tape, text)| self.has_come(*tape, text)) {
            assert!(
                since.elapsed() < DEADLINE,
                "the beginning of a line does not come after a second of silence"
            );
            self.wait_a_little();
        }
    }

    fn wait_a_little(&self) {
        let gone =
            launch::pidfd(self.container().pid()).is_none_or(|pidfd| launch::readable(pidfd, LOOK_AGAIN));
        assert!(!gone, "it ended");
    }

    /// The beginning of a line that should be seen somewhere.
    fn beginning(&self, tape: usize) -> Option<Vec<u8>> {
        let tape = &self.tapes[tape];
        let seen = match tape.goes {
            Goes::Container(form) => matches!(form, Form::Prefix | Form::Raw),
            // Where it is not renamed meanwhile.
            Goes::File(file, form, None) => {
                matches!(form, Form::Prefix | Form::Raw) && self.scene.files[file].max_size.is_none()
            }
            _ => false,
        };
        let line = tape.bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        (seen && self.scene.loss == Loss::Never && line.len() > 20)
            .then(|| line[line.len().saturating_sub(40)..].to_vec())
    }

    fn has_come(&self, tape: usize, text: &[u8]) -> bool {
        let tape = &self.tapes[tape];
        let bytes = match tape.goes {
            Goes::File(file, ..) => {
                let name = self.scene.file_name(file, tape.instance);
                let written = &self.files[&name];
                written
                    .before
                    .iter()
                    .map(Part::bytes)
                    .chain([fs::read(&written.path).unwrap_or_default()])
                    .collect::<Vec<_>>()
                    .concat()
            }
            _ => self.readers[tape.stream.min(self.readers.len() - 1)].bytes(),
        };
        memchr::memmem::find(&bytes, text).is_some()
    }

    fn crash(&mut self) {
        self.settle_all();
        let who = self.any_leader();
        self.crash_of(who);
    }

    fn any_leader(&mut self) -> usize {
        let leaders: Vec<usize> = (0..self.writers.len()).filter(|who| self.writers[*who].leader).collect();
        *self.rng.pick(&leaders)
    }

    fn crash_of(&mut self, who: usize) {
        if self.rng.per_mille(600) {
            self.say(who, 5, true, 600);
        }
        let order =
            if self.rng.per_mille(500) { Order::Die } else { Order::Exit(u8::from(self.rng.per_mille(500))) };
        self.note(format!(
            "{}.{} ends: {order:?}",
            self.scene.services[self.writers[who].service].name, self.writers[who].instance
        ));
        self.end(who, &order);
        self.arrival();
    }

    /// Ends a leader, and what it leaves behind.
    fn end(&mut self, who: usize, order: &Order) {
        let tapes = self.writers[who].tapes;
        self.writers[who].order(order);
        self.writers[who].waits = true;
        while !self.writers[who].gone {
            self.writers[who].waits = true;
            self.settle(who);
        }
        self.writers.remove(who);
        for tape in tapes {
            self.tapes[tape].over = true;
            let held = self.writers.iter().any(|writer| writer.tapes == tapes)
                || self.strangers.iter().any(|stranger| stranger.tape == tape);
            if held {
                self.tapes[tape].orphaned = Some(self.tapes[tape].bytes.len());
            }
        }
        while let Some(child) = self.writers.iter().position(|writer| writer.tapes == tapes) {
            self.writers[child].until_asked();
            if self.rng.per_mille(700) {
                self.say(child, 4, false, 500);
            }
            self.dismiss(child);
        }
    }

    /// Has a child end.
    fn dismiss(&mut self, child: usize) {
        self.writers[child].order(&Order::Exit(0));
        while !self.writers[child].gone {
            self.writers[child].waits = true;
            self.settle(child);
        }
        self.writers.remove(child);
    }

    fn fork(&mut self) {
        self.settle_all();
        let who = self.any_leader();
        if self.writers[who].closed != [false; 2] {
            return;
        }
        self.writers[who].order(&Order::Fork);
        self.arrival();
        if self.rng.per_mille(300) {
            let stream = self.rng.index(2);
            self.note(format!("its parent closes {stream}"));
            self.writers[who].closed[stream] = true;
            self.writers[who].order(&if stream == 0 { Order::CloseOut } else { Order::CloseErr });
        }
    }

    /// Somebody opens a service's pipe once more, and will keep it.
    fn stranger(&mut self) {
        if self.strangers.len() > 3 {
            return;
        }
        self.settle_all();
        let who = self.any_leader();
        let (writer, stream) = (&self.writers[who], self.rng.index(2));
        let tape = writer.tapes[stream];
        if writer.closed[stream] || self.tapes[tape].goes == Goes::Nowhere {
            return;
        }
        let pid = self.container().outer(self.tapes[tape].pid);
        let pipe = File::options()
            .write(true)
            .open(format!("/proc/{pid}/fd/{}", stream + 1))
            .expect("it can be opened");
        self.note(format!("somebody holds {stream} of {}", self.tapes[tape].name));
        self.strangers.push(Stranger { pipe, tape });
        if self.rng.per_mille(600) {
            self.crash_of(who);
            let calls = self.text.calls(&mut self.rng, 3, false, false);
            for bytes in calls {
                self.strange(self.strangers.len() - 1, &bytes);
            }
        }
    }

    fn strange(&mut self, at: usize, bytes: &[u8]) {
        let Stranger { pipe, tape } = &mut self.strangers[at];
        self.tapes[*tape].write(bytes);
        pipe.write_all(bytes).expect("somebody reads");
        self.tapes[*tape].done();
    }

    /// Another configuration, in which streams go elsewhere.
    fn update(&mut self) {
        self.settle_all();
        // What is still to come of an earlier run goes where its service's lines go then.
        self.finish_strangers();
        while let Some(child) = self.writers.iter().position(|writer| !writer.leader) {
            self.dismiss(child);
        }
        let mut changed = Vec::new();
        for index in 0..self.scene.services.len() {
            if self.rng.per_mille(500) {
                let goes = [self.scene.goes(&mut self.rng, 0), self.scene.goes(&mut self.rng, 1)];
                if goes != self.scene.services[index].goes {
                    changed.push(index);
                    self.scene.services[index].goes = goes;
                }
            }
        }
        let [folder, socket] = [self.folder.path().to_path_buf(), self.folder.path().join("socket")]
            .map(|path| path.to_string_lossy().into_owned());
        let config = self.scene.config(&folder, &self.program, &socket);
        self.note(format!("update of {changed:?}\n{config}"));
        self.container().folder().file("tinysup.toml", config);
        let asking = self.container().begin("\"verb\":\"update\",\"wait\":true");
        let mut arrivals = 0;
        while let Some(who) = self
            .writers
            .iter()
            .position(|writer| writer.leader && changed.contains(&writer.service) && !writer.asked)
        {
            self.writers[who].until_asked();
            if self.rng.per_mille(700) {
                self.say(who, 4, false, 500);
            }
            self.end(who, &Order::Exit(0));
            arrivals += 1;
            // The others come back when they like; they are told from those that still are to end by that.
            self.early_arrivals(&mut arrivals);
        }
        while arrivals > 0 {
            self.arrival();
            self.settled_in();
            arrivals -= 1;
        }
        for writer in &mut self.writers {
            assert!(!writer.asked || writer.leader, "a child is asked to end");
            writer.asked = false;
        }
        let told: Vec<Answer> = answers(asking).collect();
        assert!(
            matches!(&told[..], [Answer::Changed(each)] if each.iter().all(|change| change.ok)),
            "{told:?}"
        );
    }

    fn early_arrivals(&mut self, arrivals: &mut u32) {
        while launch::readable(&self.listener, Duration::ZERO) {
            self.arrival();
            self.settled_in();
            *arrivals -= 1;
        }
    }

    /// The one that has come last is not one that is to end.
    fn settled_in(&mut self) {
        self.writers.last_mut().expect("it came").asked = true;
    }

    fn finish_strangers(&mut self) {
        for at in 0..self.strangers.len() {
            if self.tapes[self.strangers[at].tape].is_in_line() {
                self.strange(at, b" its end\n");
            }
        }
        self.strangers.clear();
        self.at_rest();
    }

    /// It has read all there is.
    fn at_rest(&mut self) {
        if self.still {
            return;
        }
        let pid = self.container().pid();
        assert!(proc::idle(pid, Duration::from_millis(20)), "it comes to rest");
        // It may also have wanted to, and had no turn.
        if proc::settled(pid) && self.writers.iter().all(|writer| !writer.waits) {
            let now = Moment::now();
            for tape in &mut self.tapes {
                tape.read.push((tape.bytes.len(), now));
            }
        }
    }

    fn touch_file(&mut self) {
        let names: Vec<String> = self
            .files
            .iter()
            .filter(|(_, written)| written.file.max_size.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        if names.is_empty() {
            return;
        }
        let name = self.rng.pick(&names).clone();
        let kind = self.rng.below(4);
        self.settle_all();
        if kind == 2 {
            self.at_rest();
        }
        let number = self.files.values().map(|written| written.before.len()).sum::<usize>();
        let aside = self.folder.path().join(format!("aside.{number}"));
        let written = self.files.get_mut(&name).expect("known");
        let what = match kind {
            0 => fs::rename(&written.path, &aside).map(|()| written.before.push(Part::Moved(aside))),
            1 => File::open(&written.path).and_then(|file| {
                fs::remove_file(&written.path).map(|()| written.before.push(Part::Removed(file)))
            }),
            2 => fs::read(&written.path).and_then(|bytes| {
                written.before.push(Part::Copied(bytes));
                File::options().write(true).open(&written.path)?.set_len(0)
            }),
            _ => Ok(()),
        };
        self.note(format!(
            "{name} is {}: {what:?}",
            ["moved", "removed", "copied and emptied", "left"][usize::try_from(kind).expect("few")]
        ));
        if kind == 3 || self.rng.per_mille(300) {
            self.note("reopen".to_owned());
            let told = self.container().ask_one("\"verb\":\"reopen\"");
            assert!(
                matches!(&told, Answer::Changed(each) if each.iter().all(|change| change.ok)),
                "{told:?}"
            );
        }
    }

    /// For a while nothing can be written to a file.
    fn break_file(&mut self) {
        self.settle_all();
        self.at_rest();
        let used: Vec<(usize, String)> = self
            .writers
            .iter()
            .enumerate()
            .filter(|(_, writer)| writer.leader && writer.closed == [false; 2])
            .flat_map(|(who, writer)| {
                let to = |tape: &usize| match self.tapes[*tape].goes {
                    Goes::File(file, ..) => Some((who, self.scene.file_name(file, writer.instance))),
                    _ => None,
                };
                writer.tapes.iter().filter_map(to).collect::<Vec<_>>()
            })
            .collect();
        if used.is_empty() {
            return;
        }
        let (who, name) = self.rng.pick(&used).clone();
        let path = self.files[&name].path.clone();
        let by_limit = self.rng.per_mille(600);
        self.note(format!("{name} cannot be written to ({})", if by_limit { "a limit" } else { "a folder" }));
        let pid = self.container().pid();
        if by_limit {
            let room = self.rng.below(2000);
            let size = fs::metadata(&path).map_or(0, |file| file.len());
            launch::limit_of(pid, libc::RLIMIT_FSIZE, size + room).expect("it runs");
        } else {
            let number = self.files.values().map(|written| written.before.len()).sum::<usize>();
            let aside = self.folder.path().join(format!("aside.{number}"));
            if fs::rename(&path, &aside).is_err() {
                return;
            }
            self.files.get_mut(&name).expect("known").before.push(Part::Moved(aside));
            fs::create_dir(&path).expect("the folder is ours");
        }
        for _ in 0..self.rng.between(1, 4) {
            self.volley();
        }
        self.at_rest();
        if by_limit {
            launch::limit_of(pid, libc::RLIMIT_FSIZE, libc::RLIM_INFINITY).expect("it runs");
        } else {
            fs::remove_dir(&path).expect("nobody has put anything there");
        }
        // Until it is found out.
        let (since, before) = (Instant::now(), fs::metadata(&path).map_or(0, |file| file.len()));
        while fs::metadata(&path).map_or(0, |file| file.len()) <= before {
            assert!(since.elapsed() < DEADLINE, "{name} is not tried again");
            self.say(who, 2, false, 0);
            self.settle(who);
            self.wait_a_little();
        }
    }

    /// The readers of the container's output stand still, and go on.
    fn stall(&mut self) {
        self.settle_all();
        self.note("the readers stand still".to_owned());
        self.set_still(true);
        let drops = self.scene.loss == Loss::Overflow;
        for _ in 0..self.rng.between(1, 3) {
            let lines = if drops { self.rng.between(100, 6000) } else { self.rng.between(10, 3000) };
            for who in self.speakers() {
                let tapes = self.writers[who].tapes;
                if !self.writers.iter().any(|writer| writer.waits && writer.tapes == tapes) {
                    self.say(who, lines, false, 200);
                }
            }
            if drops {
                self.settle_all();
            }
            if self.rng.per_mille(200) {
                // For longer than a silence, too.
                let since = Instant::now();
                while since.elapsed() < SILENCE {
                    self.wait_a_little();
                }
            }
        }
        if self.rng.per_mille(800) {
            self.go_on();
        }
    }

    fn set_still(&mut self, still: bool) {
        self.still = still;
        for reader in &self.readers {
            reader.stand(still);
        }
    }

    fn go_on(&mut self) {
        if self.still {
            self.note("the readers go on".to_owned());
            self.set_still(false);
        }
        self.settle_all();
    }

    /// Somebody reads along to the end.
    fn follow(&mut self) {
        if self.followers.len() > 2 {
            return;
        }
        self.note("somebody follows".to_owned());
        let stream = self.container().begin("\"verb\":\"logs\",\"follow\":true");
        self.followers.push(thread::spawn(move || {
            let lines = answers(stream).filter_map(|answer| match answer {
                Answer::Log(line) => Some(line),
                Answer::End => None,
                other => panic!("{other:?}"),
            });
            lines.collect()
        }));
    }

    /// What is kept is the last of what was written.
    fn logs(&mut self) {
        self.settle_all();
        self.note("logs".to_owned());
        let since = Instant::now();
        loop {
            let all = self.ask_logs("");
            match self.kept(&all) {
                Ok(()) => break,
                Err(why) => assert!(since.elapsed() < DEADLINE / 4, "logs: {why}"),
            }
            self.wait_a_little();
        }
        self.at_rest();
        let (all, count) = (self.ask_logs(""), self.rng.between(0, 30));
        let some = self.ask_logs(&format!(",\"lines\":{count}"));
        let names: Vec<String> = self.tapes.iter().map(|tape| tape.name.clone()).collect();
        for name in names {
            let of = |lines: &[LogLine]| {
                lines
                    .iter()
                    .filter(|line| line.name == name)
                    .map(|line| (line.stream, line.text.clone()))
                    .collect::<Vec<_>>()
            };
            let (all, some) = (of(&all), of(&some));
            let wanted = all.len().saturating_sub(usize::try_from(count).expect("few"));
            assert_eq!(some, all[wanted..], "the last {count} of {name}");
        }
    }

    fn ask_logs(&self, more: &str) -> Vec<LogLine> {
        let answers = self.container().ask(&format!("\"verb\":\"logs\"{more}"));
        let lines = answers.into_iter().filter_map(|answer| match answer {
            // That some of it is not kept is told besides the lines that were asked for.
            Answer::Log(line) => {
                Some(line).filter(|line| line.stream.is_some() || !line.text.starts_with("not kept here: "))
            }
            Answer::End => None,
            other => panic!("{other:?}"),
        });
        lines.collect()
    }

    fn kept(&self, all: &[LogLine]) -> Result<(), String> {
        let mut names: Vec<&str> = self.tapes.iter().map(|tape| &*tape.name).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (mut shown, mut lines, mut written, mut odd) = (0, 0, 0, false);
            for (stream, of) in STREAMS.into_iter().enumerate() {
                let there: Vec<&LogLine> =
                    all.iter().filter(|line| line.name == name && line.stream == Some(of)).collect();
                shown += there.iter().map(|line| line.text.len() + 1).sum::<usize>();
                lines += there.len();
                let lost: u64 = there.iter().map(|line| line.dropped).sum();
                if lost > 0 {
                    return Err(format!("{name}: {lost} lines lack for one who reads at once"));
                }
                let (bytes, place) = self.kept_of(name, stream, &there);
                let mut place = Place { bytes: &bytes, ..place };
                for source in &mut place.sources {
                    source.tail = true;
                    source.unfinished = true;
                    written += source.tape.bytes.len();
                    odd |= source
                        .tape
                        .bytes
                        .split(|byte| *byte == b'\n')
                        .any(|line| line.len() > 4000 || std::str::from_utf8(line).is_err());
                }
                place.judge()?;
            }
            let marks = all.iter().filter(|line| line.name == name && line.stream.is_none()).count();
            let least =
                written.min(KEPT_MAX).saturating_sub(KEPT_FOR_EACH * (lines + 1) + 160 * marks + 12_000);
            if !odd && !(least..=KEPT_MAX).contains(&shown) {
                return Err(format!("{name}: {shown} bytes in {lines} lines of {written}"));
            }
        }
        Ok(())
    }

    /// Lines of somebody who reads, as a place.
    fn kept_of<'t>(&'t self, name: &str, stream: usize, lines: &[&LogLine]) -> (Vec<u8>, Place<'t>) {
        let bytes: Vec<u8> = lines.iter().flat_map(|line| [line.text.as_bytes(), b"\n"].concat()).collect();
        let of = |tape: &&Tape| tape.name == name && tape.stream == stream && tape.goes != Goes::Nowhere;
        let sources = self.tapes.iter().filter(of).map(|tape| Source::new(tape, Form::Kept)).collect();
        let place = Place {
            what: format!("logs of {name}, {stream}"),
            bytes: b"",
            sources,
            timestamps: false,
            colored: false,
            own: None,
        };
        (bytes, place)
    }

    /// The end, with last words; and the judgement.
    pub fn finish(mut self) {
        if self.rng.per_mille(300) && self.still {
            self.note("the stop begins while they stand still".to_owned());
        } else {
            self.go_on();
        }
        if self.rng.per_mille(500) {
            self.settle_if_read();
            self.volley_if_read();
        }
        self.note("stop".to_owned());
        self.container().signal(libc::SIGTERM);
        // Whoever still writes is not heard before that is taken.
        self.go_on();
        while let Some(who) = self.writers.iter().position(|writer| writer.leader) {
            self.writers[who].until_asked();
            if self.rng.per_mille(700) {
                self.say(who, 4, true, 500);
            }
            self.end(who, &Order::Exit(0));
        }
        let end = self.container.take().expect("it runs").finish();
        assert_eq!(end.code, 0, "{end:?}");
        let read: Vec<Vec<u8>> = self.readers.iter_mut().map(Reader::finish).collect();
        let said = String::from_utf8_lossy(read.last().expect("one")).into_owned();
        for tape in &mut self.tapes {
            tape.done();
        }
        let mut lost: BTreeMap<String, [Dropped; 2]> = BTreeMap::new();
        for (index, bytes) in read.iter().enumerate() {
            let streams: &[usize] = if self.scene.merged { &[0, 1] } else { &[index][..] };
            let mut sources = Vec::new();
            for (tape, form) in to_container(&self.tapes, streams) {
                let mut source = Source::new(&self.tapes[tape], form);
                source.drops = matches!(self.scene.loss, Loss::Overflow) || self.rate_of(tape).is_some();
                sources.push(source);
            }
            let own = (self.scene.merged || index == 1).then_some(self.scene.format);
            let mut place = Place {
                what: format!(
                    "the container's {}",
                    if self.scene.merged { "output" } else { crate::account::STREAMS[index] }
                ),
                bytes,
                sources,
                timestamps: self.scene.timestamps,
                colored: self.scene.colored,
                own,
            };
            let dropped = place.judge().unwrap_or_else(|why| panic!("{why}"));
            for (source, dropped) in place.sources.iter().zip(dropped) {
                let sum = &mut lost.entry(source.tape.name.clone()).or_default()[0];
                *sum = sum.and(dropped);
            }
        }
        for (name, written) in &self.files {
            self.judge_file(name, written, &said, &mut lost);
        }
        self.judge_counts(&said, &lost);
        self.judge_followers();
    }

    fn settle_if_read(&mut self) {
        if !self.still {
            self.settle_all();
        }
    }

    fn volley_if_read(&mut self) {
        if !self.still {
            self.volley();
        }
    }

    fn rate_of(&self, tape: usize) -> Option<(u32, u32)> {
        let tape = &self.tapes[tape];
        self.scene.services.iter().find(|service| service.name == tape.service).expect("a service").rate
    }

    fn judge_file(
        &self,
        name: &str,
        written: &Written,
        said: &str,
        lost: &mut BTreeMap<String, [Dropped; 2]>,
    ) {
        let older = |number: u32| written.path.with_file_name(format!("{name}.{number}"));
        let most = written.file.max_files;
        let count = (1..=most + 1).take_while(|number| older(*number).exists()).count();
        let count = u32::try_from(count).expect("few");
        assert!(count <= most, "{name}: {count} older files, and {most} may stay");
        let folder = written.path.parent().expect("a folder");
        for entry in fs::read_dir(folder).expect("it is there").flatten() {
            let there = entry.file_name().to_string_lossy().into_owned();
            let number = there.strip_prefix(&format!("{name}.")).and_then(|rest| rest.parse().ok());
            let known =
                there == name || number.is_some_and(|number: u32| number <= count) || !there.contains(name);
            assert!(known, "{there} lies beside {name}, which has {count} older ones");
        }
        let mut parts: Vec<Vec<u8>> = written.before.iter().map(Part::bytes).collect();
        let numbered: Vec<Vec<u8>> =
            (1..=count).rev().map(|number| fs::read(older(number)).expect("it is there")).collect();
        parts.extend(numbered);
        parts.push(fs::read(&written.path).unwrap_or_default());
        let mut sources = Vec::new();
        for (index, tape) in self.tapes.iter().enumerate() {
            if let Goes::File(file, form, _) = tape.goes
                && self.scene.file_name(file, tape.instance) == *name
            {
                let mut source = Source::new(tape, form);
                source.lost = self.scene.loss == Loss::File;
                source.drops = source.lost || self.rate_of(index).is_some();
                source.tail = count == most;
                sources.push(source);
            }
        }
        if let Some(max) = written.file.max_size {
            let whole = sources.iter().all(Source::is_whole);
            for (index, part) in parts.iter().enumerate() {
                let size = part.len() as u64;
                let one = memchr::memchr(b'\n', part).is_none_or(|end| end + 1 == part.len());
                assert!(
                    size <= max || one || !whole,
                    "{name}: {size} bytes in part {index} of {}, and {max} may be",
                    parts.len()
                );
                let first =
                    |part: &[u8]| memchr::memchr(b'\n', part).map_or(part.len(), |end| end + 1) as u64;
                let ended = part.last().is_none_or(|last| *last == b'\n');
                assert!(ended || index + 1 == parts.len(), "{name}: part {index} ends within a line");
                if let Some(next) = parts.get(index + 1).filter(|_| whole) {
                    assert!(
                        size + first(next) > max,
                        "{name}: part {index} of {} has {size} bytes, and {} more would have fitted into {max}",
                        parts.len(),
                        first(next)
                    );
                }
            }
        }
        // Where a line was cut whose beginning is not there any more, nobody knows.
        if count == most && sources.iter().any(|source| source.form == Form::Raw && !source.is_whole()) {
            return;
        }
        let bytes = parts.concat();
        let mut place = Place {
            what: name.to_owned(),
            bytes: &bytes,
            sources,
            timestamps: self.scene.timestamps,
            colored: false,
            own: None,
        };
        let dropped = place.judge().unwrap_or_else(|why| panic!("{why}"));
        let mut all = Dropped::default();
        for (source, dropped) in place.sources.iter().zip(dropped) {
            all = all.and(dropped);
            if !matches!(source.tape.goes, Goes::File(_, _, Some(_))) && !source.tail {
                let sum = &mut lost.entry(source.tape.name.clone()).or_default()[1];
                *sum = sum.and(dropped);
            }
        }
        if self.scene.loss == Loss::File {
            let path = written.path.to_string_lossy().into_owned();
            let told = counted(said, &format!("{path} can be written again; "));
            // It is told when it works again.
            let well = said.matches(&format!("cannot write {path}: ")).count()
                == said.matches(&format!("{path} can be written again; ")).count()
                    + said.matches(&format!("{path} is as it should be again; ")).count();
            let right = told <= all.most && (told >= all.least || !well);
            assert!(right, "{name}: told of {told} lines, and {all:?} lack; it works: {well}");
        }
    }

    /// Of each instance as many lines were told of as lack.
    fn judge_counts(&self, said: &str, lost: &BTreeMap<String, [Dropped; 2]>) {
        for (name, [container, files]) in lost {
            let all = match self.scene.loss {
                Loss::Rate => container.and(*files),
                Loss::Overflow => *container,
                Loss::Never | Loss::File => continue,
            };
            let told: u64 = ["dropped by log_rate_limit", "dropped because nobody read"]
                .iter()
                .map(|why| {
                    said.match_indices(why).map(|(at, _)| count_before(&said[..at], name)).sum::<u64>()
                })
                .sum();
            let rotated = self.tapes.iter().any(|tape| {
                tape.name == *name
                    && matches!(tape.goes, Goes::File(file, ..) if self.scene.files[file].max_size.is_some())
            });
            assert!(
                rotated && told >= all.least || (all.least..=all.most).contains(&told),
                "{name}: told of {told} lines, and {all:?} lack"
            );
        }
    }

    fn judge_followers(&mut self) {
        for follower in std::mem::take(&mut self.followers) {
            let lines = follower.join().expect("no panic");
            let held: Vec<i32> =
                self.strangers.iter().map(|stranger| self.tapes[stranger.tape].pid).collect();
            let mut names: Vec<&str> = self.tapes.iter().map(|tape| &*tape.name).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let lost: u64 = lines.iter().filter(|line| line.name == name).map(|line| line.dropped).sum();
                let mut least = 0;
                for (stream, of) in STREAMS.into_iter().enumerate() {
                    let there: Vec<&LogLine> =
                        lines.iter().filter(|line| line.name == name && line.stream == Some(of)).collect();
                    let (bytes, place) = self.kept_of(name, stream, &there);
                    let mut place = Place { bytes: &bytes, ..place };
                    for source in &mut place.sources {
                        source.tail = true;
                        source.drops = lost > 0;
                        // Who still holds a pipe may have more to say than they wait for.
                        source.unfinished = held.contains(&source.tape.pid);
                        source.late = !matches!(source.tape.goes, Goes::File(_, _, None));
                    }
                    let dropped = place.judge().unwrap_or_else(|why| panic!("who follows: {why}"));
                    least += dropped.iter().map(|dropped| dropped.least).sum::<u64>();
                }
                assert!(least <= lost, "who follows {name}: {least} lines lack, and {lost} were told");
            }
        }
    }
}

impl Part {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Moved(path) => fs::read(path).expect("it is there"),
            Self::Removed(file) => {
                let mut bytes =
                    vec![0; usize::try_from(file.metadata().expect("open").len()).expect("small")];
                file.read_exact_at(&mut bytes, 0).expect("it is that long");
                bytes
            }
            Self::Copied(bytes) => bytes.clone(),
        }
    }
}

/// The numbers that stand behind a text, together.
fn counted(said: &str, before: &str) -> u64 {
    let number = |(at, _): (usize, &str)| {
        let rest = &said[at + before.len()..];
        rest.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    said.match_indices(before).map(number).sum()
}

/// `NAME: 17 lines were ` at the end of a text.
fn count_before(text: &str, name: &str) -> u64 {
    let line = text.rsplit(['\n', '"']).next().unwrap_or_default();
    let words: Vec<&str> = line.rsplit(' ').collect();
    let [_, _, _, number, who, ..] = words[..] else { return 0 };
    if who == format!("{name}:") { number.parse().unwrap_or(0) } else { 0 }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.stand(false);
        }
    }
}
