//! Stories of services that are waited for, watched and restarted together.

use super::*;
use crate::event::Launch;
use crate::plan::{Asks, Healthcheck, Ready, ReadyTest, Restart, Test};
use crate::probe::{Failure, Target};

const SECOND: Duration = Duration::from_secs(1);

fn target() -> Test {
    Test { asks: Asks::Target(Rc::new(Target::File { path: "/x".into() })), timeout: SECOND * 2 }
}

fn command() -> Test {
    Test { asks: Asks::Command(Rc::new(Launch::new(Vec::new(), "test".to_owned()))), timeout: SECOND * 2 }
}

fn ready(mut instance: Instance, test: ReadyTest) -> Instance {
    instance.ready =
        Some(Ready { test, shown: "tcp:5432".into(), timeout: SECOND * 10, interval: SECOND / 5 });
    instance
}

fn checked(mut instance: Instance, test: Test, retries: u32) -> Instance {
    instance.healthcheck = Some(Healthcheck {
        test,
        shown: "http://127.0.0.1/".into(),
        interval: SECOND * 10,
        retries,
        start_period: Duration::ZERO,
    });
    instance
}

fn with_restart(mut instance: Instance, on: u32) -> Instance {
    instance.depends_on.push(Dependency { on: InstanceId(on), condition: Condition::Ready, restart: true });
    instance
}

/// One answer after each event will do, but for those whose last dependency has come.
#[test]
fn a_hundred_that_wait_for_a_hundred_are_up_soon_also_after_one_that_is_done() {
    let migrate = Instance { kind: Kind::Oneshot, ..instance("migrate") };
    let mut instances = vec![migrate];
    instances.extend((1..=100).map(|number| instance(&format!("db{number}"))));
    for number in 1..=100 {
        let api = after(instance(&format!("api{number}")), 0, Condition::Completed);
        instances.push((1..=100).fold(api, |api, on| after(api, on, Condition::Ready)));
    }
    let mut story = Story::new(instances);
    story.exit("migrate", 0);
    assert!(story.record.last().unwrap().starts_with("all 201 services are up"), "{:?}", story.record.last());
    let asked = ASKED.replace(0);
    assert!(asked < 10 * 100 * 100, "{asked}");
}

#[test]
fn what_never_comes_is_seen_before_and_behind_what_is_waited_for_the_first_of_them() {
    let fails = |name| Instance {
        on_failure: OnFailure::Ignore,
        restart: Restart { when: RestartWhen::Never, ..instance(name).restart },
        ..ready(instance(name), ReadyTest::Notified)
    };
    let slow = ready(instance("slow"), ReadyTest::Notified);
    for order in [[0, 1], [1, 0]] {
        let web = Instance { on_failure: OnFailure::Ignore, ..instance("web") };
        let web = order.iter().fold(web, |web, on| after(web, *on, Condition::Ready));
        let mut story = Story::new(vec![fails("db"), slow.clone(), web]);
        story.record.clear();
        story.exit("db", 3);
        assert!(
            story.record.iter().any(|line| line == "web: cannot start: it needs db, which failed"),
            "{:?}",
            story.record
        );
    }
}

impl Story {
    fn of(&self, name: &str, role: Role) -> Child {
        let id = self.supervisor.plan.ids().find(|id| &*self.supervisor.name(*id) == name).unwrap();
        Child { instance: id, run: self.supervisor.service(id).unwrap().runs(), role }
    }

    fn answer(&mut self, name: &str, number: u32, result: Result<(), Failure>) {
        let child = self.of(name, Role::Probe(number));
        self.event(Event::Probed { child, result });
    }

    fn says(&mut self, name: &str, message: &str) {
        let child = self.of(name, Role::Main);
        self.event(Event::Notified { child, bytes: message.as_bytes().to_vec() });
    }

    fn writes(&mut self, name: &str, sink: Sink, text: &str) {
        let child = self.of(name, Role::Main);
        self.event(Event::Output { child, sink, at: Wall::default(), bytes: text.as_bytes().to_vec() });
    }
}

#[test]
fn who_waits_for_a_service_starts_when_it_is_ready() {
    let db = ready(instance("db"), ReadyTest::Asked(target()));
    let mut story = Story::new(vec![db, after(instance("web"), 0, Condition::Ready)]);
    story.expect(&["spawn db", "ask db Probe(1)"]);
    story.pass(50);
    story.answer("db", 1, Err(Failure::Closed));
    story.expect(&[]);
    story.pass(149);
    story.expect(&[]);
    story.pass(1);
    story.expect(&["ask db Probe(2)"]);
    story.answer("db", 2, Ok(()));
    story.expect(&[
        "db is ready after 0.2 s",
        "spawn web",
        "web is up after 0.0 s",
        "all 2 services are up, 0.2 s",
    ]);
    assert_eq!(story.supervisor.deadline(), None, "nothing is due any more");
}

#[test]
fn who_waits_for_a_start_only_does_not_wait_for_ready() {
    let db = ready(instance("db"), ReadyTest::Notified);
    let mut story = Story::new(vec![db, after(instance("web"), 0, Condition::Started)]);
    story.expect(&["spawn db", "spawn web", "web is up after 0.0 s"]);
    story.says("db", "READY=1");
    story.expect(&["db is ready after 0.0 s", "all 2 services are up, 0.0 s"]);
    story.says("db", "READY=1");
    story.expect(&[]);
}

#[test]
fn not_ready_in_time_is_a_failed_run_that_says_what_is_there_instead() {
    let mut web = ready(instance("web"), ReadyTest::Asked(target()));
    web.restart.max_restarts = Some(0);
    let mut story = Story::new(vec![web, after(instance("nginx"), 0, Condition::Ready)]);
    story.listens = vec!["0.0.0.0:8080".to_owned()];
    story.says("web", "STATUS=loading the model");
    story.answer("web", 1, Err(Failure::Status(503)));
    story.pass(9_000);
    story.record.clear();
    // The attempt that runs then is called off.
    story.pass(1_000);
    let asked: Vec<_> = story.record.iter().filter(|line| line.contains("ask")).cloned().collect();
    story.record.retain(|line| !line.contains("ask"));
    assert_eq!(asked.last().map(|line| line.starts_with("do not ask")), Some(true), "{asked:?}");
    story.expect(&[
        "web: not ready after 10 s (ready = tcp:5432): no answer within 2 s. It listens on 0.0.0.0:8080. It says: loading the model; stopping it. nginx waits for it",
        "SIGTERM to web",
    ]);
    story.exit("web", 0);
    story.expect(&[
        "web: stopped after 10 s, as it was not ready; failed for good: max_restarts = 0",
        "stopping (web has failed for good)",
        "CONTAINER STOPPED: web failed and may not be restarted again (max_restarts = 0)\n  \
           command    web\n  \
           exits      not ready after 10 s (ready = tcp:5432): no answer within 2 s. It listens on 0.0.0.0:8080. It says: loading the model, at 10 s\n  \
           exit code  1 (web had to be stopped). To stay up without it: [services.web] on_failure = \"ignore\"",
        "exit 1",
    ]);
}

#[test]
fn a_run_that_is_gone_before_it_was_ready_has_failed_whatever_its_code() {
    let mut db = ready(instance("db"), ReadyTest::Notified);
    db.restart.when = RestartWhen::OnFailure;
    let mut story = Story::new(vec![db, after(instance("web"), 0, Condition::Ready)]);
    story.record.clear();
    story.exit("db", 0);
    story.expect(&["db: code 0 after 0.0 s, before it was ready; restart 1/10 in 0.1 s"]);
}

#[test]
fn never_ready_spends_the_budget_however_long_each_run_was() {
    let mut web = ready(instance("web"), ReadyTest::Notified);
    web.restart.max_restarts = Some(1);
    web.restart.min_uptime = SECOND;
    let mut story = Story::new(vec![web]);
    story.pass(10_000);
    story.exit("web", 0);
    story.pass(10_100);
    story.exit("web", 0);
    assert_eq!(story.record.last().map(String::as_str), Some("exit 1"), "{:?}", story.record);
}

#[test]
fn all_ways_to_be_ready() {
    let begin = |test| {
        let mut story = Story::new(vec![ready(instance("x"), test)]);
        story.expect(&["spawn x"]);
        story
    };
    let done = ["x is ready after 0.0 s", "the service is up, 0.0 s"];

    let mut story = begin(ReadyTest::Announced);
    story.says("x", "READY=1");
    story.expect(&[]);
    let child = story.of("x", Role::Main);
    story.event(Event::Announced { child });
    story.expect(&done);

    let mut story = begin(ReadyTest::Notified);
    story.event(Event::Announced { child });
    story.expect(&[]);
    story.event(Event::Notified { child: Child { run: 0, ..child }, bytes: b"READY=1".to_vec() });
    story.expect(&[]);
    story.says("x", "READY=1");
    story.expect(&done);

    let mut story = begin(ReadyTest::After(SECOND));
    story.pass(999);
    story.expect(&[]);
    story.pass(1);
    story.expect(&["x is ready after 1 s", "the service is up, 1 s"]);

    // Cut anywhere, and each stream for itself.
    for cut in 1..="listening on".len() {
        let mut story = begin(ReadyTest::Said("listening on".into()));
        let (before, rest) = "listening on".split_at(cut);
        story.writes("x", Sink::Stdout, &format!("now {before}"));
        if cut < "listening on".len() {
            story.writes("x", Sink::Stderr, rest);
            story.expect(&[]);
            story.writes("x", Sink::Stdout, &format!("{rest} 80\n"));
        }
        story.expect(&done);
    }
    let mut story = begin(ReadyTest::Said("up".into()));
    for byte in ["u", "q", "p", "u", "u", "p"] {
        story.expect(&[]);
        story.writes("x", Sink::Stdout, byte);
    }
    story.expect(&done);
}

#[test]
fn misses_in_a_row_are_a_failed_run() {
    let api = checked(instance("api"), target(), 3);
    let mut story = Story::new(vec![api]);
    story.pass(0);
    story.expect(&["spawn api", "api is up after 0.0 s", "the service is up, 0.0 s", "ask api Probe(1)"]);
    story.answer("api", 1, Err(Failure::Status(500)));
    story.pass(10_000);
    story.answer("api", 2, Ok(()));
    story.pass(10_000);
    story.expect(&[
        "api: health check missed, 1/3: HTTP status 500",
        "ask api Probe(2)",
        "api: healthy again after 1 missed health check",
        "ask api Probe(3)",
    ]);
    story.answer("api", 3, Err(Failure::Closed));
    story.pass(10_000);
    story.answer("api", 4, Err(Failure::NotHttp));
    story.pass(10_000);
    story.record.clear();
    story.pass(2_000);
    story.expect(&[
        "do not ask api Probe(5)",
        "api: unhealthy: 3 missed health checks, the last: no answer within 2 s; stopping it",
        "SIGTERM to api",
    ]);
    // What was asked of this run says nothing of the next.
    story.exit("api", 0);
    story.pass(100);
    story.record.clear();
    story.answer("api", 5, Err(Failure::Closed));
    story.expect(&[]);
}

#[test]
fn an_unhealthy_run_counts_as_long_as_it_was_known_to_be_well() {
    for (good, expected) in [(0, "restart 2/10"), (2, "restart 1/10")] {
        let mut story = Story::new(vec![checked(instance("api"), target(), 1)]);
        story.pass(0);
        story.answer("api", 1, Ok(()));
        story.exit("api", 1);
        story.pass(100);
        story.pass(0);
        for number in 2..2 + good {
            story.answer("api", number, Ok(()));
            story.pass(10_000);
        }
        story.answer("api", 2 + good, Err(Failure::Closed));
        story.record.clear();
        story.exit("api", 0);
        assert!(story.record[0].contains(expected), "{good} good answers: {:?}", story.record);
    }
}

#[test]
fn an_answer_to_an_earlier_attempt_says_nothing_of_the_present_one() {
    let mut api = checked(instance("api"), target(), 1);
    api.healthcheck.as_mut().unwrap().interval = SECOND;
    api.healthcheck.as_mut().unwrap().start_period = SECOND * 60;
    let mut story = Story::new(vec![api]);
    story.pass(2_000);
    story.record.clear();
    story.answer("api", 1, Ok(()));
    // The second attempt still runs, and the first good answer would have ended the start period.
    story.pass(2_000);
    story.expect(&["do not ask api Probe(2)", "ask api Probe(3)"]);
}

#[test]
fn in_the_start_period_misses_do_not_count() {
    let mut api = checked(instance("api"), target(), 1);
    api.healthcheck.as_mut().unwrap().start_period = SECOND * 15;
    let mut story = Story::new(vec![api]);
    story.pass(0);
    story.answer("api", 1, Err(Failure::Closed));
    story.pass(10_000);
    story.answer("api", 2, Err(Failure::Closed));
    story.pass(10_000);
    story.record.clear();
    story.answer("api", 3, Err(Failure::Closed));
    story.expect(&[
        "api: unhealthy: 1 missed health check, the last: the connection was closed without an answer; stopping it",
        "SIGTERM to api",
    ]);
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_all_it_forked_and_never_doubled() {
    let mut story = Story::new(vec![checked(instance("api"), command(), 2)]);
    story.pass(0);
    story.record.clear();
    story.pass(2_000);
    story.expect(&[
        "SIGKILL to the group of api's test",
        "api: health check missed, 1/2: no answer within 2 s",
    ]);
    story.end("api's test", ExitStatus::Signal { signal: Signal::KILL, core: false });
    story.expect(&["SIGKILL to the group of api's test"]);
    story.pass(8_000);
    story.expect(&["spawn api's test"]);
    let child = story.of("api", Role::Probe(2));
    story.event(Event::Output {
        child,
        sink: Sink::Stderr,
        at: Wall::default(),
        bytes: b"a\nno \x1bdatabase\n\n".to_vec(),
    });
    story.exit("api's test", 1);
    story.expect(&[
        "SIGKILL to the group of api's test",
        "api: unhealthy: 2 missed health checks, the last: code 1: no  database; stopping it",
        "SIGTERM to api",
    ]);
}

#[test]
fn a_run_is_not_over_before_its_test_is() {
    let mut story = Story::new(vec![checked(instance("api"), command(), 2)]);
    story.pass(0);
    story.record.clear();
    story.exit("api", 1);
    story.expect(&["SIGKILL to the group of api's test"]);
    story.exit("api's test", 0);
    story.expect(&["SIGKILL to the group of api's test", "api: code 1 after 0.0 s; restart 1/10 in 0.1 s"]);
}

#[test]
fn a_watchdog_that_falls_silent_aborts_the_run() {
    let mut story = Story::new(vec![Instance { watchdog: Some(SECOND * 3), ..instance("api") }]);
    story.record.clear();
    for _ in 0..5 {
        story.pass(2_900);
        story.says("api", "WATCHDOG=1");
    }
    story.expect(&[]);
    story.pass(3_000);
    story.expect(&["api: no WATCHDOG=1 for 3 s: SIGABRT; stopping it", "SIGABRT to api"]);
    story.end("api", ExitStatus::Signal { signal: Signal::ABRT, core: true });
    story.expect(&["api: stopped after 18 s by its watchdog; restart 1/10 in 0.1 s"]);
    story.pass(100);
    story.record.clear();
    story.says("api", "WATCHDOG=trigger");
    story.expect(&["api: it called for its end (WATCHDOG=trigger): SIGABRT; stopping it", "SIGABRT to api"]);
}

#[test]
fn what_is_said_through_the_socket() {
    let mut api = ready(instance("api"), ReadyTest::Notified);
    api.watchdog = Some(SECOND * 3);
    let mut story = Story::new(vec![checked(api, target(), 1)]);
    story.record.clear();
    story.pass(9_000);
    story.says("api", "EXTEND_TIMEOUT_USEC=20000000");
    story.pass(19_000);
    story.expect(&[]);
    story.says("api", "READY=1\nMAINPID=1\nFDSTORE=1");
    story.pass(0);
    story.says("api", "MAINPID=1\nRELOADING=1");
    story.expect(&[
        "api is ready after 28 s",
        "api: MAINPID is not followed: tinysup looks after the process that it started. Let that one stay in the foreground",
        "api: FDSTORE is not supported; its descriptors end with its run",
        "the service is up, 28 s",
        "ask api Probe(1)",
        "api reads its configuration again",
    ]);
    // It is about to go by itself, and is left alone for as long as a stop may take.
    story.says("api", "STOPPING=1");
    story.expect(&["do not ask api Probe(1)"]);
    story.pass(7_999);
    story.expect(&[]);
    story.pass(1);
    story.expect(&["api: no WATCHDOG=1 for 3 s: SIGABRT; stopping it", "SIGABRT to api"]);
}

#[test]
fn a_restart_waits_for_what_is_on_its_way() {
    let db = ready(instance("db"), ReadyTest::Notified);
    let mut story = Story::new(vec![db, after(instance("web"), 0, Condition::Ready)]);
    story.says("db", "READY=1");
    story.exit("db", 1);
    story.exit("web", 1);
    story.record.clear();
    story.pass(100);
    story.expect(&["web waits for db", "spawn db"]);
    story.pass(500);
    story.says("db", "READY=1");
    story.expect(&["db is ready after 0.5 s", "spawn web"]);
    // A dependency that has failed for good does not keep down who has run with it.
    let mut db = instance("db");
    (db.on_failure, db.restart.max_restarts) = (OnFailure::Ignore, Some(0));
    let mut story = Story::new(vec![db, after(instance("web"), 0, Condition::Ready)]);
    story.exit("db", 1);
    story.exit("web", 1);
    story.record.clear();
    story.pass(100);
    story.expect(&["spawn web"]);
}

#[test]
fn with_restart_it_goes_down_and_up_with_what_it_depends_on() {
    let db = ready(instance("db"), ReadyTest::Notified);
    let mut story = Story::new(vec![db, with_restart(instance("api"), 0), with_restart(instance("web"), 1)]);
    story.says("db", "READY=1");
    story.record.clear();
    story.exit("db", 1);
    story.expect(&[
        "db: code 1 after 0.0 s; restart 1/10 in 0.1 s",
        "api is restarted with db",
        "SIGTERM to api",
    ]);
    story.exit("api", 143);
    story.expect(&["web is restarted with api", "SIGTERM to web"]);
    story.pass(100);
    story.expect(&["spawn db"]);
    story.exit("web", 0);
    story.says("db", "READY=1");
    story.expect(&["db is ready after 0.0 s", "spawn api", "spawn web"]);
    // It cost nothing.
    story.exit("api", 1);
    assert!(story.record[0].contains("restart 1/10"), "{:?}", story.record);
}

#[test]
fn a_restart_with_a_dependency_is_no_failure_in_the_obituary() {
    let restarted = || {
        let mut db = ready(instance("db"), ReadyTest::Notified);
        db.restart.max_restarts = Some(1);
        db.on_failure = OnFailure::Ignore;
        let mut web = after(instance("web"), 0, Condition::Ready);
        web.depends_on[0].restart = true;
        web.restart.max_restarts = Some(0);
        let mut story = Story::new(vec![db, web]);
        story.says("db", "READY=1");
        story.exit("db", 1);
        story.exit("web", 143);
        story.pass(100);
        story
    };
    let told = |story: Story, wanted: &[&str]| {
        let told = story.record.join("\n");
        assert!(wanted.iter().all(|wanted| told.contains(wanted)) && !told.contains("143"), "{told}");
    };

    let mut story = restarted();
    story.says("db", "READY=1");
    story.exit("web", 17);
    story.exit("db", 0);
    told(story, &["STOPPED: web failed and may not be restarted again (max_restarts = 0)", "exit 17"]);

    let mut story = restarted();
    story.exit("db", 9);
    told(story, &["STOPPED: web cannot start without db", "exit 1"]);
}

#[test]
fn a_stop_does_not_wait_for_tests() {
    let db = ready(instance("db"), ReadyTest::Asked(command()));
    let mut story = Story::new(vec![db, after(instance("web"), 0, Condition::Ready)]);
    story.record.clear();
    story.signal(Signal::TERM);
    story.expect(&["stopping (SIGTERM): db", "SIGKILL to the group of db's test", "SIGTERM to db"]);
    story.exit("db's test", 0);
    story.exit("db", 0);
    assert_eq!(story.record.last().map(String::as_str), Some("exit 0"), "{:?}", story.record);
}

#[test]
fn a_start_that_hangs_is_not_ready_in_time_either() {
    let db = ready(instance("db"), ReadyTest::Notified);
    let mut story = Story::not_begun(Mode::Services, vec![db, after(instance("web"), 0, Condition::Ready)]);
    story.slow_exec = true;
    story.event(Event::Begin);
    story.pass(9_999);
    story.expect(&["spawn db"]);
    story.pass(1);
    story.expect(&[
        "db: not ready after 10 s (ready = tcp:5432); stopping it. web waits for it",
        "SIGTERM to db",
    ]);
    story.end("db", ExitStatus::Signal { signal: Signal::TERM, core: false });
    story.expect(&["db: stopped after 10 s, as it was not ready; restart 1/10 in 0.1 s"]);
}

#[test]
fn what_speaks_runs_also_if_that_is_reported_later() {
    for test in [ReadyTest::Notified, ReadyTest::Said("listening".into()), ReadyTest::Announced] {
        let mut story = Story::not_begun(Mode::Services, vec![ready(instance("x"), test.clone())]);
        story.slow_exec = true;
        story.event(Event::Begin);
        story.record.clear();
        let child = story.of("x", Role::Main);
        match test {
            ReadyTest::Notified => story.says("x", "READY=1"),
            ReadyTest::Said(_) => story.writes("x", Sink::Stdout, "listening\n"),
            _ => story.event(Event::Announced { child }),
        }
        story.expect(&["x is ready after 0.0 s", "the service is up, 0.0 s"]);
        story.event(Event::Executed { child });
        story.expect(&[]);
    }
}

#[test]
fn who_is_restarted_with_another_is_stopped_before_that_one_comes_back() {
    let db = ready(instance("db"), ReadyTest::Notified);
    let plan = vec![db, with_restart(instance("api"), 0), with_restart(instance("web"), 1)];
    let mut story = Story::new(plan);
    story.says("db", "READY=1");
    story.exit("db", 1);
    story.pass(100);
    story.says("db", "READY=1");
    story.record.clear();
    // All that the api waits for is there already.
    story.exit("api", 0);
    story.expect(&["web is restarted with api", "SIGTERM to web", "spawn api"]);
    story.exit("web", 0);
    story.expect(&["spawn web"]);
}

#[test]
fn who_is_in_backoff_waits_for_the_one_it_is_restarted_with() {
    let mut web = with_restart(instance("web"), 0);
    web.restart.delay = SECOND * 3;
    let mut story = Story::new(vec![instance("db"), web]);
    story.exit("web", 1);
    story.record.clear();
    story.exit("db", 1);
    story.expect(&["db: code 1 after 0.0 s; restart 1/10 in 0.1 s", "web waits for db"]);
    story.pass(100);
    story.expect(&["spawn db", "spawn web"]);
}

#[test]
fn who_cannot_start_again_for_want_of_another_says_so() {
    let mut db = instance("db");
    (db.on_failure, db.restart.max_restarts) = (OnFailure::Ignore, Some(0));
    let mut story = Story::new(vec![db, with_restart(instance("web"), 0), instance("other")]);
    story.exit("db", 1);
    story.exit("web", 17);
    story.record.clear();
    story.pass(100);
    story.exit("other", 0);
    story.expect(&[
        "web: cannot start: it needs db, which failed",
        "stopping (web has failed for good): other",
        "SIGTERM to other",
        "CONTAINER STOPPED: web cannot start without db\n  \
           command    web\n  \
           exits      code 17 after 0.0 s, at 0.0 s\n  \
           others     other stopped as asked in 0.0 s\n  \
           exit code  1. To stay up without it: [services.web] on_failure = \"ignore\"",
        "exit 1",
    ]);
}

#[test]
fn only_who_needs_it_ready_is_said_to_wait() {
    let db = ready(instance("db"), ReadyTest::Notified);
    let cache = ready(instance("cache"), ReadyTest::Notified);
    let web = after(after(instance("web"), 0, Condition::Started), 1, Condition::Ready);
    let mut story = Story::new(vec![db, cache, web]);
    story.pass(9_000);
    story.says("cache", "EXTEND_TIMEOUT_USEC=9000000");
    story.record.clear();
    story.pass(1_000);
    story.expect(&["db: not ready after 10 s (ready = tcp:5432); stopping it", "SIGTERM to db"]);
}

#[test]
fn nobody_is_asked_while_the_container_stops() {
    let mut db = checked(instance("db"), target(), 1);
    db.watchdog = Some(SECOND);
    let mut story = Story::new(vec![db, after(instance("web"), 0, Condition::Ready)]);
    story.pass(0);
    story.record.clear();
    story.signal(Signal::TERM);
    story.expect(&["stopping (SIGTERM): web, db", "do not ask db Probe(1)", "SIGTERM to web"]);
    story.says("db", "WATCHDOG_USEC=100");
    story.pass(900);
    // It would be stopped before web, which needs it to the end.
    story.says("db", "WATCHDOG=trigger");
    story.expect(&[]);
    story.exit("web", 0);
    story.expect(&["SIGTERM to db"]);
}

#[test]
fn a_test_that_is_ordered_in_the_step_in_which_the_stop_begins_is_killed() {
    let mut db = instance("db");
    (db.on_failure, db.restart.max_restarts) = (OnFailure::Ignore, Some(0));
    let api = checked(instance("api"), command(), 3);
    let mut story = Story::new(vec![api, db, with_restart(instance("web"), 1)]);
    story.pass(0);
    story.exit("api's test", 0);
    story.exit("db", 1);
    story.pass(9_900);
    story.exit("web", 1);
    story.record.clear();
    story.pass(100);
    story.expect(&[
        "spawn api's test",
        "web: cannot start: it needs db, which failed",
        "stopping (web has failed for good): api",
        "SIGTERM to api",
        "SIGKILL to the group of api's test",
    ]);
}

#[test]
fn a_test_that_cannot_die_holds_up_a_restart_but_not_the_stop() {
    let mut story = Story::new(vec![checked(instance("api"), command(), 2)]);
    story.pass(0);
    story.exit("api", 1);
    story.record.clear();
    story.pass(5_000);
    story.expect(&[]);
    story.signal(Signal::TERM);
    story.pass(0);
    story.expect(&[
        "stopping (SIGTERM): api",
        "api: code 1 after 0.0 s; stopped",
        "stopped in 0.0 s: api 0.0 s",
        "exit 0",
    ]);
    let mut story = Story::new(vec![checked(instance("api"), command(), 2)]);
    story.pass(0);
    story.record.clear();
    story.signal(Signal::TERM);
    story.exit("api", 0);
    story.expect(&[
        "stopping (SIGTERM): api",
        "SIGKILL to the group of api's test",
        "SIGTERM to api",
        "stopped in 0.0 s: api 0.0 s",
        "exit 0",
    ]);
}

#[test]
fn a_service_that_stops_by_itself_is_left_alone_whatever_it_still_says() {
    let api = Instance { watchdog: Some(SECOND), ..instance("api") };
    let mut story = Story::new(vec![checked(api, command(), 1)]);
    story.pass(0);
    story.record.clear();
    story.says("api", "STOPPING=1");
    story.expect(&["SIGKILL to the group of api's test"]);
    story.says("api", "WATCHDOG=1");
    story.pass(7_999);
    story.expect(&[]);
    story.says("api", "WATCHDOG=1");
    // The command of the last attempt has not ended; there are never two.
    story.pass(900);
    story.expect(&[]);
    story.exit("api's test", 0);
    story.pass(0);
    story.expect(&["SIGKILL to the group of api's test", "spawn api's test"]);
    // A service that may take as long as it likes to stop is never asked again.
    let mut api = Instance { watchdog: Some(SECOND), ..instance("api") };
    api.stop.kill_timeout = None;
    let mut story = Story::new(vec![checked(api, target(), 1)]);
    story.says("api", "STOPPING=1");
    assert_eq!(story.supervisor.deadline(), None);
}

#[test]
fn only_the_time_of_others_is_measured() {
    let mut story = Story::new(vec![checked(instance("api"), target(), 3)]);
    let is = |story: &Story| (story.supervisor.deadline().is_some(), story.supervisor.measures());
    assert_eq!(is(&story), (true, false), "the first look is planned");
    story.pass(0);
    assert_eq!(is(&story), (true, true), "an answer is waited for");
    story.answer("api", 1, Ok(()));
    assert_eq!(is(&story), (true, false), "the next look is planned");
    story.exit("api", 1);
    assert_eq!(is(&story), (true, false), "in backoff");
    story.pass(100);
    story.signal(Signal::TERM);
    assert_eq!(is(&story), (true, true), "a stop");
    let mut story = Story::new(vec![Instance { watchdog: Some(SECOND), ..instance("api") }]);
    assert_eq!(is(&story), (true, true), "a watchdog");
    story.says("api", "WATCHDOG_USEC=0");
    assert_eq!(is(&story), (false, false));
}

#[test]
fn the_longest_silence_may_be_told_before_it_counts() {
    for (message, silence) in [("WATCHDOG_USEC=5000000", 5_000), ("STATUS=x", 1_000)] {
        let api = ready(instance("api"), ReadyTest::Notified);
        let mut story = Story::new(vec![Instance { watchdog: Some(SECOND), ..api }]);
        story.says("api", message);
        story.pass(2_000);
        story.says("api", "READY=1");
        story.record.clear();
        story.pass(silence - 1);
        story.expect(&[]);
        story.pass(1);
        assert!(story.record[0].contains("no WATCHDOG=1"), "{:?}", story.record);
    }
    let api = ready(instance("api"), ReadyTest::Notified);
    let mut story = Story::new(vec![Instance { watchdog: Some(SECOND), ..api }]);
    story.says("api", "WATCHDOG_USEC=0\nREADY=1");
    assert_eq!(story.supervisor.deadline(), None, "none is too long");
}

#[test]
fn a_stable_run_counts_as_one_though_its_restart_is_free() {
    let mut story = Story::new(vec![instance("db"), with_restart(instance("web"), 0)]);
    story.exit("web", 1);
    story.pass(100);
    story.exit("web", 1);
    story.pass(200 + 10_000);
    story.exit("db", 1);
    story.exit("web", 0);
    story.pass(100);
    story.record.clear();
    story.exit("web", 1);
    assert!(story.record[0].contains("restart 1/10"), "{:?}", story.record);
}

#[test]
fn the_late_end_of_an_earlier_stop_command_is_not_that_of_the_present_one() {
    let mut api = checked(instance("api"), target(), 1);
    api.stop.command = Some(Rc::new(Launch::new(Vec::new(), "stop".to_owned())));
    let mut story = Story::new(vec![api]);
    story.pass(0);
    story.answer("api", 1, Err(Failure::Closed));
    let stuck = story.pids["api's stop_command"];
    // It outlives the leader, SIGTERM, SIGKILL, and the time after which it is given up.
    story.exit("api", 0);
    story.pass(8_000 + 5_000 + 100);
    story.pass(0);
    story.answer("api", 2, Err(Failure::Closed));
    story.record.clear();
    story.event(Event::Exited { pid: stuck, status: ExitStatus::Code(1) });
    story.expect(&[]);
    story.exit("api's stop_command", 1);
    story.expect(&["api: stop_command ended with code 1; sending the stop signal", "SIGTERM to api"]);
}

#[test]
fn who_is_asked_in_vain_for_a_while_is_told_of_once() {
    let mut story = Story::new(vec![ready(instance("web"), ReadyTest::Asked(target()))]);
    for number in 1..=26 {
        story.pass(200);
        story.answer("web", number, Err(Failure::Status(503)));
    }
    story.record.retain(|line| !line.contains("ask"));
    story.expect(&["spawn web", "web is not ready yet after 5 s: HTTP status 503"]);
}
