//! Stories of clients: what they ask, in which state, and what they are told.

use super::*;
use crate::control::{Change, Request, Stream, VERSION, Verb, Wanted};
use crate::event::{Output, Sink};
use crate::plan::{KillMode, RateLimit, Ready, ReadyTest, Restart, RestartWhen};

impl Story {
    /// A client that comes with a request.
    pub(super) fn ask(&mut self, number: u64, request: Request) {
        let client = Client(number);
        self.event(Event::Connected { client });
        self.event(Event::Asked { client, request: Ok(Request { v: VERSION, ..request }) });
    }

    pub(super) fn say(&mut self, name: &str, text: &str) {
        let instance = self.supervisor.plan.ids().find(|id| &*self.supervisor.name(*id) == name).unwrap();
        let run = self.supervisor.service(instance).unwrap().runs();
        let child = Child { instance, run, role: Role::Main };
        self.event(Event::Output { child, sink: Sink::Stdout, at: Wall::default(), bytes: text.into() });
    }

    /// What the clients were sent since the last time: of changes and verdicts their text, of refusals their kind.
    pub(super) fn told(&mut self) -> Vec<String> {
        let answers = std::mem::take(&mut self.answers);
        answers.iter().map(|(client, answer, last)| told(client.0, answer, *last)).collect()
    }

    #[track_caller]
    pub(super) fn tells(&mut self, lines: &[&str]) {
        let told = self.told();
        assert_eq!(told, lines, "\ntold:\n{}", told.join("\n"));
    }
}

fn told(client: u64, answer: &Answer, last: bool) -> String {
    let sign = |ok: bool| if ok { "+" } else { "-" };
    let text = match answer {
        Answer::Status(status) => {
            let row = |s: &crate::control::ServiceStatus| format!("{}{} {}", sign(s.ok), s.name, s.state);
            let rows: Vec<_> = status.services.iter().map(row).collect();
            format!("{} {}", sign(status.ok), rows.join(", "))
        }
        Answer::Describe(all) => format!("{} described", all.len()),
        Answer::Memory(memory) => {
            let row = |s: &crate::control::ServiceMemory| format!("{} {:?}", s.name, s.bytes);
            memory.services.iter().map(row).collect::<Vec<_>>().join(", ")
        }
        Answer::Changed(changes) => {
            let row = |c: &Change| format!("{}{}: {}", sign(c.ok), c.name, c.text);
            changes.iter().map(row).collect::<Vec<_>>().join(" | ")
        }
        Answer::Verdict(verdict) => format!("{} {}", sign(verdict.ok), verdict.text),
        Answer::Log(line) => {
            let stream =
                line.stream.map_or("--", |stream| if stream == Stream::Stdout { "out" } else { "err" });
            format!("{} {stream} {} {}", line.name, line.ago_ms, line.text)
                + &if line.dropped > 0 { format!(" after {} lost", line.dropped) } else { String::new() }
        }
        Answer::Event(event) => format!("{} {}", event.seq, event.kind),
        Answer::End => "end".to_owned(),
        Answer::Refused(refusal) => format!("{:?}: {}", refusal.why, refusal.text),
    };
    format!("{client}{} {text}", if last { "!" } else { "" })
}

pub(super) fn request(verb: Verb, names: &[&str]) -> Request {
    Request {
        verb,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        wait: true,
        ..Request::default()
    }
}

pub(super) fn slow(mut instance: Instance) -> Instance {
    instance.ready = Some(Ready {
        test: ReadyTest::Notified,
        shown: "\"notify\"".into(),
        timeout: Duration::from_mins(1),
        interval: Duration::from_millis(200),
    });
    instance
}

impl Story {
    pub(super) fn is_ready(&mut self, name: &str) {
        let instance = self.supervisor.plan.ids().find(|id| &*self.supervisor.name(*id) == name).unwrap();
        let run = self.supervisor.service(instance).unwrap().runs();
        let child = Child { instance, run, role: Role::Main };
        self.event(Event::Notified { child, bytes: b"READY=1".to_vec() });
    }
}

#[test]
fn status_is_measured_once_for_many() {
    let mut story = db_and_web();
    story.ask(1, request(Verb::Status, &[]));
    story.expect(&["measure 2"]);
    story.tells(&["1! + +db ready, +web ready"]);
    story.ask(2, request(Verb::Status, &["web"]));
    story.expect(&[]);
    story.tells(&["2! + +web ready"]);
    story.pass(600);
    story.ask(3, request(Verb::Status, &["all"]));
    story.expect(&["measure 2"]);
    story.exit("web", 9);
    story.told();
    story.ask(4, request(Verb::Status, &[]));
    story.tells(&["4! - +db ready, -web backoff"]);
    story.ask(5, request(Verb::Status, &["wob"]));
    story.tells(&["5! NoSuchService: there is no service \"wob\"; did you mean \"web\"?"]);
}

/// A slip costs no more than a look at the name of each service, however many instances it has.
#[test]
fn a_mistyped_name_among_ten_thousand_is_answered_soon() {
    use crate::suggest::tests::COMPARED;
    const NAME: &str = "abcdefghabcdefghabcdefghabcdefghabcdefghabcdefgh";
    let mut instances = Vec::new();
    for number in 0..10_000 {
        let service = format!("{:03}-{NAME}", number / 50);
        let mut one = instance(&format!("{service}.{}", number % 50 + 1));
        (one.service, one.number, one.autostart) = (service.as_str().into(), number % 50 + 1, false);
        instances.push(one);
    }
    let mut story = Story::new(instances);
    let name = format!("117-{NAME}");
    for (slip, meant) in [("117-x", None), ("z.3", None), (&*format!("{name}x.7"), Some(&name))] {
        COMPARED.set(0);
        story.ask(1, request(Verb::Status, &[slip]));
        let help = meant.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
        story.tells(&[&format!("1! NoSuchService: there is no service \"{slip}\"{help}")]);
        let compared = COMPARED.get();
        assert!(compared < 200 * 60 * 60, "{compared} letters for {slip}");
    }
}

#[test]
fn what_cannot_be_understood_is_refused() {
    let mut story = db_and_web();
    let client = Client(1);
    story.event(Event::Connected { client });
    story.event(Event::Asked { client, request: Err("no JSON".to_owned()) });
    story.event(Event::Asked { client, request: Ok(request(Verb::Shutdown, &[])) });
    story.tells(&["1! Request: no JSON"]);
    story.event(Event::Connected { client: Client(2) });
    story.event(Event::Asked { client: Client(2), request: Ok(Request { v: 7, ..Request::default() }) });
    story.tells(&["2! Version: this tinysup speaks version 1 of the protocol, not 7"]);
    story.ask(3, request(Verb::Update, &[]));
    assert!(story.told()[0].starts_with("3! Configuration: "));
    story.ask(4, Request { signal: "SIGFOO".to_owned(), ..request(Verb::Signal, &[]) });
    assert!(story.told()[0].starts_with("4! Request: "));
}

#[test]
fn a_stopped_service_stays_stopped_until_it_is_started() {
    let mut story = Story::new(vec![instance("web")]);
    story.record.clear();
    story.ask(1, request(Verb::Stop, &["web"]));
    story.expect(&["stopping, as a client asks: web", "SIGTERM to web"]);
    story.tells(&[]);
    story.pass(300);
    story.exit("web", 0);
    story.tells(&["1! +web: stopped after 0.3 s"]);
    story.expect(&[]);
    // Nothing runs, but the container stays: somebody may start it again.
    story.pass(3_600_000);
    story.expect(&[]);
    story.ask(2, request(Verb::Stop, &["web"]));
    story.tells(&["2! +web: does not run (down)"]);
    story.ask(3, request(Verb::Start, &["web"]));
    story.expect(&["starting, as a client asks: web", "spawn web"]);
    story.tells(&["3! +web: started: pid 102, up after 0.0 s"]);
    story.ask(4, request(Verb::Start, &["web"]));
    story.tells(&["4! +web: runs already, pid 102"]);
    story.signal(Signal::TERM);
    story.exit("web", 0);
    assert_eq!(story.record.last().map(String::as_str), Some("exit 0"));
}

#[test]
fn a_stop_names_who_depends_on_it_or_stops_them_first() {
    let mut story = db_and_web();
    story.ask(1, request(Verb::Stop, &["db"]));
    story.tells(&[
        "1! Dependencies: web depends on db: stop it first, or all together with --with-dependents",
    ]);
    story.expect(&[]);
    story.ask(2, Request { dependents: true, ..request(Verb::Stop, &["db"]) });
    story.expect(&["stopping, as a client asks: db, web", "SIGTERM to web"]);
    story.exit("web", 0);
    story.expect(&["SIGTERM to db"]);
    story.exit("db", 0);
    story.tells(&["2! +db: stopped after 0.0 s | +web: stopped after 0.0 s"]);
    story.ask(3, request(Verb::Start, &["web"]));
    story.tells(&["3! Dependencies: web depends on db, which is down: start db first, or both at once"]);
    story.record.clear();
    story.ask(4, request(Verb::Start, &["web", "db"]));
    story.expect(&["starting, as a client asks: db, web", "spawn db", "spawn web"]);
    story.tells(&["4! +db: started: pid 103, up after 0.0 s | +web: started: pid 104, up after 0.0 s"]);
}

#[test]
fn a_start_is_refused_while_it_waits_for_what_is_down() {
    let db = Instance { autostart: false, ..instance("db") };
    let mut story = Story::new(vec![db, after(instance("api"), 0, Condition::Ready), instance("other")]);
    story.ask(1, request(Verb::Start, &["api"]));
    story.tells(&["1! Dependencies: api depends on db, which is down: start db first, or both at once"]);
    story.record.clear();
    story.ask(2, request(Verb::Start, &["db"]));
    story.expect(&[
        "starting, as a client asks: db",
        "spawn db",
        "db is up after 0.0 s",
        "spawn api",
        "api is up after 0.0 s",
        "all 2 services are up, 0.0 s",
    ]);
    // One that waits for what is on its way is only waited for.
    let mut story = Story::new(vec![slow(instance("db")), after(instance("api"), 0, Condition::Ready)]);
    story.ask(1, request(Verb::Start, &["api"]));
    story.tells(&[]);
    story.is_ready("db");
    story.tells(&["1! +api: started: pid 102, up after 0.0 s"]);
}

#[test]
fn what_fails_while_its_stop_by_hand_waits_does_not_end_the_container() {
    let mut db = instance("db");
    (db.stop.mode, db.restart.max_restarts) = (KillMode::Process, Some(0));
    let mut story = Story::new(vec![db, after(instance("web"), 0, Condition::Ready)]);
    story.record.clear();
    story.ask(1, Request { dependents: true, ..request(Verb::Stop, &["db"]) });
    story.expect(&["stopping, as a client asks: db, web", "SIGTERM to web"]);
    story.exit("db", 1);
    story.exit("web", 0);
    story.tells(&["1! +db: stopped after 0.0 s | +web: stopped after 0.0 s"]);
    story.expect(&["db: code 1 after 0.0 s; failed for good: max_restarts = 0"]);
    story.record.clear();
    story.ask(2, request(Verb::Start, &["db"]));
    story.expect(&["starting, as a client asks: db", "spawn db"]);
}

#[test]
fn a_restart_tells_both_pids_and_costs_nothing() {
    let mut story = Story::new(vec![slow(instance("api"))]);
    story.is_ready("api");
    story.record.clear();
    story.ask(1, request(Verb::Restart, &["api"]));
    story.expect(&["restarting, as a client asks: api", "SIGTERM to api"]);
    story.end("api", ExitStatus::Signal { signal: Signal::TERM, core: false });
    story.pass(900);
    story.expect(&["spawn api"]);
    story.tells(&[]);
    story.is_ready("api");
    story.tells(&["1! +api: restarted: pid 101 -> 102, ready after 0.9 s"]);
    // A fresh budget.
    story.exit("api", 1);
    assert!(story.record.last().unwrap().contains("restart 1/10"), "{:?}", story.record);
    story.ask(2, request(Verb::Restart, &["api"]));
    story.told();
    story.is_ready("api");
    story.exit("api", 1);
    assert!(story.record.last().unwrap().contains("restart 1/10"), "{:?}", story.record);
}

#[test]
fn a_restart_that_another_one_overtakes_is_done_when_that_is() {
    let killed = ExitStatus::Signal { signal: Signal::TERM, core: false };
    let mut story = Story::new(vec![slow(instance("api"))]);
    story.is_ready("api");
    story.ask(1, request(Verb::Restart, &["api"]));
    story.end("api", killed);
    story.pass(200);
    story.ask(2, request(Verb::Restart, &["api"]));
    story.ask(3, request(Verb::Start, &["api"]));
    story.end("api", killed);
    story.tells(&[]);
    story.pass(500);
    story.is_ready("api");
    story.tells(&[
        "1! +api: restarted: pid 101 -> 103, ready after 0.5 s",
        "2! +api: restarted: pid 102 -> 103, ready after 0.5 s",
        "3! +api: started: pid 103, ready after 0.5 s",
    ]);
}

#[test]
fn a_restart_that_is_overtaken_is_told_what_comes_of_it() {
    let overtaken = || {
        let mut story = Story::new(vec![slow(instance("api"))]);
        story.is_ready("api");
        story.ask(1, Request { timeout_ms: Some(5_000), ..request(Verb::Restart, &["api"]) });
        story.exit("api", 0);
        story.pass(200);
        story.ask(2, Request { wait: false, ..request(Verb::Restart, &["api"]) });
        story.tells(&["2! +api: restarting"]);
        story
    };
    let mut stopped = overtaken();
    stopped.ask(3, request(Verb::Stop, &["api"]));
    stopped.tells(&["1! -api: not done: somebody has asked to stop it"]);
    let mut ends = overtaken();
    ends.exit("api", 0);
    ends.signal(Signal::TERM);
    ends.tells(&["1! -api: not done: the container is being stopped"]);
    let mut fails = overtaken();
    fails.exit("api", 0);
    fails.pass(200);
    fails.exit("api", 3);
    fails.tells(&["1! -api: failed: code 3 before it was ready; next start in 0.1 s"]);
    let mut late = overtaken();
    late.exit("api", 0);
    late.pass(4_800);
    late.tells(&["1! -api: not done after 5 s: runs for 4.8 s, not ready yet"]);
    // What fails by itself has failed, whatever is asked for while that is seen to.
    let mut fails_first = Story::new(vec![slow(instance("api"))]);
    fails_first.is_ready("api");
    fails_first.ask(1, request(Verb::Restart, &["api"]));
    fails_first.exit("api", 0);
    fails_first.pass(200);
    fails_first.exit("api", 3);
    fails_first.ask(2, request(Verb::Restart, &["api"]));
    fails_first.tells(&["1! -api: failed: code 3 before it was ready; next start in 0.1 s"]);
}

#[test]
fn a_start_that_an_update_makes_void_is_told() {
    let job = Instance { autostart: false, ..after(instance("job"), 0, Condition::Ready) };
    let mut story = Story::new(vec![slow(instance("db")), job.clone()]);
    story.ask(1, request(Verb::Start, &["job"]));
    let job = Instance { autostart: true, ..job };
    let update = |story: &mut Story, job: &Instance| {
        story.configuration = Ok(vec![slow(instance("db")), job.clone()]);
        story.signal(Signal::HUP);
    };
    update(&mut story, &job);
    story.tells(&[]);
    update(&mut story, &Instance { autostart: false, ..job });
    story.tells(&["1! -job: not done: an update has set autostart = false before it was started"]);
}

#[test]
fn a_start_does_not_call_off_a_restart() {
    let mut story = Story::new(vec![instance("db"), after(instance("web"), 0, Condition::Ready)]);
    story.record.clear();
    story.ask(1, Request { dependents: true, ..request(Verb::Restart, &["db"]) });
    story.ask(2, request(Verb::Start, &["db"]));
    story.expect(&[
        "restarting, as a client asks: db, web",
        "SIGTERM to web",
        "starting, as a client asks: db",
    ]);
    story.exit("web", 0);
    story.expect(&["SIGTERM to db"]);
    story.exit("db", 0);
    story.pass(1);
    story.tells(&[
        "2! +db: started: pid 103, up after 0.0 s",
        "1! +db: restarted: pid 101 -> 103, up after 0.0 s | +web: restarted: pid 102 -> 104, up after 0.0 s",
    ]);
}

#[test]
fn a_restart_with_dependents_starts_them_only_when_all_are_down() {
    let mut story = Story::new(vec![
        instance("db"),
        after(instance("api"), 0, Condition::Ready),
        after(instance("web"), 0, Condition::Ready),
    ]);
    story.record.clear();
    story.ask(1, Request { dependents: true, ..request(Verb::Restart, &["db"]) });
    story.expect(&["restarting, as a client asks: db, api, web", "SIGTERM to web", "SIGTERM to api"]);
    story.exit("api", 0);
    story.pass(50);
    story.expect(&["api waits for db"]);
    story.exit("web", 0);
    story.expect(&["SIGTERM to db"]);
    story.pass(50);
    story.expect(&["web waits for db"]);
    story.exit("db", 0);
    story.pass(1);
    story.expect(&["spawn db", "spawn api", "spawn web"]);
    assert_eq!(story.told().len(), 1);
}

#[test]
fn a_start_that_fails_is_told_at_once() {
    let mut story = Story::new(vec![Instance { autostart: false, ..instance("job") }, instance("web")]);
    story.slow_exec = true;
    story.ask(1, request(Verb::Start, &["job"]));
    story.exit("job", 3);
    story.tells(&["1! -job: failed: code 3; next start in 0.1 s"]);
    story.ask(2, request(Verb::Restart, &["job"]));
    story.ask(3, request(Verb::Stop, &["job"]));
    story.exit("job", 3);
    story.tells(&["2! -job: not done: somebody has asked to stop it", "3! +job: stopped after 0.0 s"]);
}

#[test]
fn whoever_waits_is_told_at_the_end_of_his_time_and_of_the_container() {
    let mut story = Story::new(vec![slow(instance("api")), instance("db")]);
    let wait = |wanted, names: &[&str], timeout_ms| Request {
        state: Some(wanted),
        timeout_ms,
        ..request(Verb::Wait, names)
    };
    story.ask(1, wait(Wanted::Ready, &["api"], Some(1_000)));
    story.ask(2, wait(Wanted::Ready, &["db"], None));
    story.tells(&["2! + db is ready"]);
    story.pass(1_000);
    story.tells(&["1! - api is not ready: runs for 1 s, not ready yet"]);
    story.ask(3, wait(Wanted::Ready, &[], None));
    story.ask(4, wait(Wanted::Stopped, &["api"], None));
    story.ask(5, request(Verb::Restart, &["api"]));
    story.ask(6, request(Verb::Shutdown, &[]));
    story
        .tells(&["3! - the container is being stopped", "5! -api: not done: the container is being stopped"]);
    story.ask(7, request(Verb::Stop, &["db"]));
    story.tells(&["7! Stopping: the container is being stopped, and nothing else is begun"]);
    story.exit("api", 0);
    story.tells(&["4! + api is stopped"]);
    story.exit("db", 0);
    story.tells(&["6! +: stopped; exit code 0"]);
    assert_eq!(story.record.last().map(String::as_str), Some("exit 0"));
}

#[test]
fn what_is_done_is_done_although_that_ends_the_container() {
    let oneshot = |name| Instance { kind: Kind::Oneshot, ..instance(name) };
    let mut story = Story::new(vec![oneshot("migrate"), oneshot("seed")]);
    let wait = |wanted, names: &[&str]| Request { state: Some(wanted), ..request(Verb::Wait, names) };
    story.ask(1, wait(Wanted::Completed, &["migrate", "seed"]));
    story.ask(2, wait(Wanted::Ready, &["seed"]));
    story.exit("migrate", 0);
    story.tells(&[]);
    story.exit("seed", 0);
    story.tells(&["1! + all 2 are completed", "2! + seed is ready"]);
}

#[test]
fn a_dependency_that_has_failed_is_not_said_to_be_there() {
    let optional = Instance { on_failure: OnFailure::Ignore, ..instance("db") };
    let never = Restart { when: RestartWhen::Never, ..optional.restart.clone() };
    let db = Instance { restart: never, ..optional };
    let mut story = Story::new(vec![db, after(instance("web"), 0, Condition::Ready)]);
    let there = |story: &mut Story, client| {
        story.ask(client, request(Verb::Describe, &["web"]));
        let Some((_, Answer::Describe(all), _)) = story.answers.pop() else { panic!("{:?}", story.answers) };
        all[0].depends_on.clone()
    };
    assert_eq!(there(&mut story, 1), [("db (ready)".to_owned(), true)]);
    story.exit("db", 1);
    // Yet web runs on, and would be started again without it.
    assert_eq!(there(&mut story, 2), [("db (ready)".to_owned(), false)]);
}

#[test]
fn what_was_being_stopped_before_is_among_those_that_the_stop_tells_of() {
    let mut story = db_and_web();
    story.ask(1, Request { wait: false, ..request(Verb::Restart, &["db"]) });
    story.pass(100);
    story.signal(Signal::TERM);
    story.pass(200);
    // Before web, which depends on it, and so before its turn.
    story.exit("db", 0);
    story.pass(100);
    story.exit("web", 0);
    story.pass(0);
    let told = story.record.iter().find(|line| line.starts_with("stopped in")).map(String::as_str);
    assert_eq!(told, Some("stopped in 0.3 s: web 0.3 s, db 0.2 s"));
}

#[test]
fn what_was_being_stopped_before_counts_from_the_beginning_of_the_stop_when_its_turn_comes_too() {
    let mut story = db_and_web();
    story.ask(1, Request { wait: false, ..request(Verb::Restart, &["db"]) });
    story.pass(100);
    story.signal(Signal::TERM);
    story.pass(100);
    story.exit("web", 0);
    story.pass(200);
    story.exit("db", 0);
    story.pass(0);
    let told = story.record.iter().find(|line| line.starts_with("stopped in")).map(String::as_str);
    assert_eq!(told, Some("stopped in 0.3 s: web 0.1 s, db 0.3 s"));
}

#[test]
fn health_says_who_and_why() {
    let optional = Instance { on_failure: OnFailure::Ignore, ..instance("extra") };
    let mut story = Story::new(vec![slow(instance("api")), optional]);
    let health = |wanted, names: &[&str]| Request { state: Some(wanted), ..request(Verb::Health, names) };
    story.ask(1, health(Wanted::Ready, &[]));
    story.ask(2, health(Wanted::Live, &[]));
    story.is_ready("api");
    story.ask(3, health(Wanted::Ready, &[]));
    story.exit("extra", 1);
    story.ask(4, health(Wanted::Ready, &[]));
    story.ask(5, health(Wanted::Ready, &["extra"]));
    story.tells(&[
        "1! - api is not ready: runs for 0.0 s, not ready yet; not counted: extra (on_failure = \"ignore\")",
        "2! + api is alive; not counted: extra (on_failure = \"ignore\")",
        "3! + api is ready; not counted: extra (on_failure = \"ignore\")",
        "4! + api is ready; not counted: extra (on_failure = \"ignore\")",
        "5! - extra is not ready: code 1; next start in 0.1 s",
    ]);
}

#[test]
fn logs_come_in_order_with_the_ends_between_and_nothing_twice() {
    let mut story = Story::new(vec![instance("db"), instance("web")]);
    story.say("db", "one\ntw");
    story.pass(10);
    story.say("web", "three\n");
    story.say("db", "o\n");
    story.exit("web", 9);
    story.ask(1, request(Verb::Logs, &[]));
    let web = "web -- 0 code 9 after 0.0 s; restart 1/10 in 0.1 s";
    story.tells(&["1 db out 10 one", "1 db out 0 two", "1 web out 0 three", &format!("1 {web}"), "1! end"]);
    story.ask(2, Request { follow: true, lines: Some(1), ..request(Verb::Logs, &[]) });
    story.tells(&["2 db out 0 two", &format!("2 {web}")]);
    story.say("db", "four\n");
    story.tells(&[]);
    story.event(Event::Taken { client: Client(2) });
    story.tells(&["2 db out 0 four"]);
    story.event(Event::Taken { client: Client(2) });
    story.tells(&[]);
    story.say("db", "five\n");
    story.tells(&["2 db out 0 five"]);
    // Who does not read loses lines, and is told how many.
    for _ in 0..1000 {
        story.say("db", &("x".repeat(999) + "\n"));
    }
    story.event(Event::Taken { client: Client(2) });
    let lost = story.told();
    let kept = 65536 / (1000 + 24);
    assert!(lost[0].ends_with(&format!("x after {} lost", 1000 - kept)), "{}", &lost[0][1000..]);
    assert_eq!(lost.len(), 33, "a turn");
    story.event(Event::Left { client: Client(2) });
    story.say("db", "six\n");
    story.tells(&[]);
    let since = Request { since_ms: Some(5), stream: Some(Stream::Stdout), ..request(Verb::Logs, &["web"]) };
    story.pass(5);
    story.ask(3, since.clone());
    story.pass(1);
    story.ask(4, since);
    story.tells(&["3 web out 5 three", "3! end", "4! end"]);
}

#[test]
fn who_reads_of_output_that_passes_us_by_is_told_so() {
    let of = |name, stdout, stderr| {
        let mut instance = instance(name);
        let launch = Rc::get_mut(&mut instance.launch).unwrap();
        (launch.stdout, launch.stderr) = (stdout, stderr);
        instance
    };
    let plan = vec![of("db", Output::Raw, Output::Null), of("web", Output::Inherit, Output::Inherit)];
    let mut story = Story::new(plan);
    story.say("db", "one\n");
    story.ask(1, Request { follow: true, ..request(Verb::Logs, &[]) });
    let web = "web -- 0 not kept here: stdout = \"inherit\", stderr = \"inherit\"";
    story.tells(&["1 db -- 0 not kept here: stderr = \"null\"", &format!("1 {web}")]);
    story.event(Event::Taken { client: Client(1) });
    story.tells(&["1 db out 0 one"]);
    let stdout = |names| Request { stream: Some(Stream::Stdout), ..request(Verb::Logs, names) };
    story.ask(2, stdout(&["web"]));
    story.tells(&["2 web -- 0 not kept here: stdout = \"inherit\""]);
    story.event(Event::Taken { client: Client(2) });
    story.tells(&["2! end"]);
    story.ask(3, stdout(&["db"]));
    story.tells(&["3 db out 0 one", "3! end"]);
}

#[test]
fn events_follow_without_a_gap() {
    let mut story = Story::new(vec![instance("web")]);
    story.ask(1, Request { follow: true, ..request(Verb::Events, &[]) });
    story.tells(&["1 1 up", "1 2 all-up"]);
    story.exit("web", 1);
    story.event(Event::Taken { client: Client(1) });
    story.tells(&["1 3 ended"]);
    story.ask(2, Request { lines: Some(1), ..request(Verb::Events, &[]) });
    story.tells(&["2 3 ended", "2! end"]);
    story.event(Event::Taken { client: Client(1) });
    story.signal(Signal::TERM);
    assert_eq!(story.told().last().map(String::as_str), Some("1! end"));
    assert_eq!(story.record.last().map(String::as_str), Some("exit 0"));
}

#[test]
fn at_the_end_who_is_behind_gets_the_last_of_it_and_is_told_what_he_misses() {
    let mut story = Story::new(vec![instance("db"), instance("web")]);
    story.ask(1, Request { follow: true, ..request(Verb::Logs, &[]) });
    story.ask(2, Request { follow: true, ..request(Verb::Events, &[]) });
    story.say("db", "first\n");
    story.say("db", "second\n");
    for number in 0..1000 {
        story.say("web", &format!("line {number}\n"));
    }
    for _ in 0..100 {
        story.signal(Signal::USR1);
    }
    story.told();
    // Nobody has taken what he was sent so far.
    story.signal(Signal::TERM);
    for name in ["web", "db"] {
        story.pass(10);
        story.exit(name, 0);
    }
    let (mut lines, mut lost, mut events) = (Vec::new(), 0, Vec::new());
    for (client, answer, last) in std::mem::take(&mut story.answers) {
        match answer {
            Answer::Log(line) => {
                lost += line.dropped;
                lines.extend((!line.text.is_empty()).then_some(line.text));
            }
            Answer::Event(event) => events.push(event.seq),
            answer => assert_eq!((answer, last), (Answer::End, true), "{client:?}"),
        }
    }
    let end = ["line 999", "code 0 after 0.0 s; stopped", "code 0 after 0.0 s; stopped"];
    assert!(lines.ends_with(&end.map(str::to_owned)), "{:?}", lines.last());
    assert_eq!((lines.len() as u64 + lost, lost > 0), (1 + 1000 + 2, true), "the first has come before");
    // The summary comes after everybody has been asked to end.
    assert_eq!(events, (4..story.supervisor.journal.newest()).collect::<Vec<_>>());
}

#[test]
fn who_has_followed_the_longest_gives_way_when_there_are_too_many() {
    let mut story = Story::new(vec![instance("db"), instance("web")]);
    story.ask(1, request(Verb::Wait, &["db"]));
    story.tells(&["1! + db is ready"]);
    let stays = Request { wait: true, ..request(Verb::Stop, &["db"]) };
    story.ask(2, stays.clone());
    for number in 3..=25 {
        let verb = if number % 2 == 0 { Verb::Logs } else { Verb::Events };
        story.ask(number, Request { follow: true, ..request(verb, &[]) });
    }
    story.told();
    let gone = |number: u64| {
        format!("{number}! Busy: too many clients follow, so the oldest gives way to a new one")
    };
    story.ask(26, Request { follow: true, ..request(Verb::Logs, &["web"]) });
    story.tells(&[&gone(3)]);
    for number in 27..=49 {
        story.ask(number, stays.clone());
        story.tells(&[&gone(if number == 49 { 26 } else { number - 23 })]);
    }
    // Who waits gives way to nobody.
    story.ask(50, stays);
    story.tells(&["50! Busy: too many clients wait already; try again later"]);
    story.exit("db", 0);
    assert_eq!(story.told().len(), 24);
}

#[test]
fn who_says_nothing_is_dropped_and_the_others_are_not() {
    let mut story = Story::new(vec![instance("web")]);
    story.event(Event::Connected { client: Client(1) });
    story.ask(2, Request { follow: true, ..request(Verb::Logs, &[]) });
    story.record.clear();
    story.pass(60_000);
    story.expect(&["disconnect 1"]);
    story.say("web", "line\n");
    story.pass(60_000);
    story.expect(&["disconnect 2"]);
    assert_eq!(story.supervisor.deadline(), None, "nothing is due any more");
}

#[test]
fn environment_values_are_in_no_answer() {
    let mut web = instance("web");
    let launch = Rc::get_mut(&mut web.launch).unwrap();
    Rc::make_mut(&mut launch.conditions).env =
        vec![("PASSWORD".into(), crate::event::Secret::new("hunter2"))];
    let mut story = Story::new(vec![web]);
    for (number, verb) in (1..).zip([Verb::Status, Verb::Describe, Verb::Events, Verb::Logs, Verb::Health]) {
        story.ask(number, request(verb, &[]));
    }
    let lines: String =
        story.answers.iter().map(|(_, answer, _)| String::from_utf8(answer.line()).unwrap()).collect();
    assert!(lines.contains("PASSWORD") && !lines.contains("hunter2"), "{lines}");
}

#[test]
fn a_description_has_all_that_decides_what_becomes_of_a_service() {
    let mut web = Instance { autostart: false, ..instance("web") };
    web.restart.stop_exit_codes = vec![3, 17];
    web.log_rate_limit = Some(RateLimit { lines: 1, per: Duration::from_secs(1) });
    web.signals = [(Signal::HUP, Some(Signal::USR1)), (Signal::USR2, None)].into_iter().collect();
    let mut story = Story::new(vec![instance("db"), web]);
    story.ask(1, request(Verb::Describe, &[]));
    let Some((_, Answer::Describe(all), _)) = story.answers.pop() else { panic!() };
    let rows = |at: usize| {
        let keys = ["autostart", "stop_exit_codes", "signals", "log_rate_limit"];
        let rows = all[at].settings.iter().filter(|(key, _)| keys.contains(&&**key));
        rows.map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>()
    };
    assert_eq!(rows(0), [""; 0], "only what is not as usual");
    assert_eq!(
        rows(1),
        [
            "autostart: false",
            "stop_exit_codes: 3, 17",
            "signals: SIGHUP = SIGUSR1, SIGUSR2 = ignore",
            "log_rate_limit: 1/s"
        ]
    );
}

#[test]
fn what_is_restarted_together_may_need_one_that_is_just_being_stopped() {
    let mut story = db_and_web();
    story.ask(1, request(Verb::Stop, &["web"]));
    story.exit("web", 0);
    story.ask(2, request(Verb::Stop, &["db"]));
    story.told();
    story.ask(3, request(Verb::Restart, &["web"]));
    story.tells(&[
        "3! Dependencies: web depends on db, which is being stopped: start db first, or both at once",
    ]);
    story.ask(4, request(Verb::Restart, &[]));
    story.exit("db", 0);
    story.pass(0);
    story.tells(&[
        "2! -db: not stopped: somebody has asked to start it",
        "4! +db: restarted: pid 101 -> 103, up after 0.0 s | +web: started: pid 104, up after 0.0 s",
    ]);
}

#[test]
fn a_restart_of_one_that_waits_for_one_that_is_down_is_refused() {
    let db = Instance { autostart: false, ..instance("db") };
    let mut story = Story::new(vec![db, after(instance("web"), 0, Condition::Ready), instance("log")]);
    story.ask(1, request(Verb::Restart, &["web"]));
    story.tells(&["1! Dependencies: web depends on db, which is down: start db first, or both at once"]);
}

#[test]
fn those_that_are_being_stopped_already_are_in_nobodys_way() {
    let mut story = db_and_web();
    story.ask(1, Request { wait: false, ..request(Verb::Stop, &["web"]) });
    story.ask(2, Request { wait: false, ..request(Verb::Stop, &["db"]) });
    story.tells(&["1! +web: stopping", "2! +db: stopping"]);
    story.expect(&["stopping, as a client asks: web", "SIGTERM to web", "stopping, as a client asks: db"]);
    story.exit("web", 0);
    story.expect(&["SIGTERM to db"]);
}

#[test]
fn a_signal_reaches_one_that_hangs_in_its_stop() {
    let mut story = db_and_web();
    story.ask(1, Request { wait: false, ..request(Verb::Stop, &["web"]) });
    story.record.clear();
    story.ask(2, Request { signal: "KILL".to_owned(), ..request(Verb::Signal, &["web"]) });
    story.expect(&["SIGKILL to web"]);
    story.exit("web", 0);
    story.told();
    story.ask(3, Request { signal: "KILL".to_owned(), ..request(Verb::Signal, &["web"]) });
    story.tells(&["3! -web: does not run (down)"]);
}

#[test]
fn names_are_not_looked_at_where_nothing_is_done_about_names() {
    let mut story = Story::new(vec![instance("web")]);
    story.ask(1, Request { lines: Some(1), ..request(Verb::Events, &["nobody"]) });
    story.ask(2, request(Verb::Logs, &["nobody"]));
    story.tells(&["1 2 all-up", "1! end", "2! NoSuchService: there is no service \"nobody\""]);
}

#[test]
fn the_command_of_the_container_is_not_stopped_by_hand() {
    let main = Instance { kind: Kind::Command, ..instance("main") };
    let mut story = Story::new(vec![instance("db"), main]);
    story.ask(1, request(Verb::Restart, &["main"]));
    assert!(story.told()[0].starts_with("1! State: main is the command of this container"));
    story.ask(2, Request { wait: false, ..request(Verb::Restart, &[]) });
    story.tells(&["2! +db: restarting"]);
}

#[test]
fn what_is_being_removed_is_not_restarted_with_what_it_depends_on() {
    let mut story = db_and_web();
    story.configuration = Ok(vec![instance("db")]);
    story.signal(Signal::HUP);
    story.record.clear();
    story.ask(1, Request { dependents: true, ..request(Verb::Restart, &["db"]) });
    // It goes first all the same.
    story.expect(&["restarting, as a client asks: db"]);
    story.exit("web", 0);
    story.exit("db", 0);
    story.pass(0);
    story.tells(&["1! +db: restarted: pid 101 -> 103, up after 0.0 s"]);
}

#[test]
fn a_start_calls_off_a_stop_that_still_waits_for_dependents() {
    let mut story = db_and_web();
    story.ask(1, Request { dependents: true, ..request(Verb::Stop, &["db"]) });
    story.told();
    story.ask(2, request(Verb::Start, &["db"]));
    let told = story.told();
    assert!(told.iter().any(|line| line.starts_with("2! +db: ")), "{told:?}");
    story.record.clear();
    story.exit("web", 0);
    story.pass(10_000);
    assert!(!story.record.iter().any(|line| line.contains("to db")), "{:?}", story.record);
}

#[test]
fn whoever_asks_where_it_listens_decides_nothing() {
    let mut story = Story::not_begun(Mode::Services, vec![slow(instance("api"))]);
    story.slow_exec = true;
    story.event(Event::Begin);
    let child = Child { instance: InstanceId(0), run: 1, role: Role::Main };
    story.event(Event::ExecFailed { child, error: StartError::IsDirectory { file: "/app".into() }.into() });
    story.record.clear();
    story.ask(1, request(Verb::Describe, &["api"]));
    story.exit("api", 126);
    let end = "api: cannot start: /app is a directory; restart 1/10 in 0.1 s";
    assert_eq!(story.record, ["measure 1", end]);
}

#[test]
fn all_are_up_but_what_was_stopped_by_hand() {
    let slow = Instance { kind: Kind::Oneshot, ..instance("slow") };
    let mut story = Story::new(vec![instance("web"), instance("extra"), slow]);
    story.ask(1, request(Verb::Stop, &["extra"]));
    story.exit("extra", 0);
    story.exit("slow", 0);
    assert_eq!(story.record.last().map(String::as_str), Some("2 of 3 services are up, 0.0 s"));
}

/// Its dependent had to be down first, and it did not wait for that. Nothing is looked for that it left behind, so it has failed at once.
#[test]
fn the_main_command_is_not_kept_by_what_failed_after_it_was_told_to_stop() {
    let mut db = instance("db");
    db.restart.max_restarts = Some(0);
    db.stop.mode = KillMode::Process;
    let app = after(instance("app"), 0, Condition::Ready);
    let slow = Instance { kind: Kind::Oneshot, ..instance("slow") };
    let main = Instance { kind: Kind::Command, ..instance("main") };
    let main = after(after(main, 0, Condition::Ready), 1, Condition::Ready);
    let mut story = Story::new(vec![db, app, slow, after(main, 2, Condition::Completed)]);
    story.ask(1, Request { dependents: true, ..request(Verb::Stop, &["db"]) });
    story.exit("db", 3);
    story.exit("app", 0);
    story.exit("slow", 0);
    assert!(story.record.contains(&"spawn main".to_owned()), "{:?}", story.record);
}
