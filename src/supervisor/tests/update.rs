//! Stories of updates: what is stopped, what starts, what is left alone, and what is told of it.

use super::clients::{request, slow};
use super::*;
use crate::control::{Request, Verb};
use crate::event::{Launch, Output, Overflow, Secret, Wall};
use crate::line::Format;
use crate::plan::{Color, OnFailure, OnSuccess, RateLimit};

/// The same with another command.
fn other(mut instance: Instance) -> Instance {
    let launch = Launch { argv: vec![Secret::new("other")], ..(*instance.launch).clone() };
    instance.launch = Rc::new(launch);
    instance
}

impl Story {
    /// The configuration is written anew, and SIGHUP comes.
    fn update(&mut self, instances: Vec<Instance>) {
        self.configuration = Ok(instances);
        self.signal(Signal::HUP);
    }

    fn is_in_order(&self, names: &[&str]) {
        let order: Vec<_> = self.supervisor.plan.ids().map(|id| self.supervisor.name(id)).collect();
        assert_eq!(order.iter().map(|name| &**name).collect::<Vec<_>>(), names);
    }
}

fn web() -> Instance {
    after(instance("web"), 0, Condition::Ready)
}

#[test]
fn only_what_has_changed_is_restarted() {
    let mut story = db_and_web();
    story.update(vec![instance("db"), other(web())]);
    story.expect(&["the configuration was read again: restarting web (command)", "SIGTERM to web"]);
    story.pass(300);
    story.exit("web", 0);
    story.pass(0);
    story.expect(&["spawn web", "updated after 0.3 s"]);
    story.update(vec![instance("db"), other(web())]);
    story.expect(&["the configuration was read again: nothing has changed"]);
    // Who depends on it keeps running.
    story.update(vec![other(instance("db")), other(web())]);
    story.expect(&["the configuration was read again: restarting db (command)", "SIGTERM to db"]);
    story.exit("db", 0);
    story.pass(0);
    story.expect(&["spawn db", "updated after 0.0 s"]);
}

#[test]
fn who_is_named_is_told_in_the_order_of_starts_also_when_an_update_brings_what_comes_first() {
    let mut story = Story::new(vec![instance("web")]);
    story.update(vec![instance("db"), after(instance("web"), 0, Condition::Ready)]);
    story.is_in_order(&["db", "web"]);
    story.ask(1, request(Verb::Status, &["web", "db"]));
    story.ask(2, request(Verb::Status, &[]));
    story.tells(&["1! + +db ready, +web ready", "2! + +db ready, +web ready"]);
}

#[test]
fn what_stays_until_the_container_starts_again_is_told() {
    let mut story = db_and_web();
    story.configuration = Ok(vec![instance("db"), web()]);
    let looks = Log { format: Format::Json, color: Color::Auto, colored: [true; 2], ..Log::default() };
    story.configured = (
        Log { timestamps: true, overflow: Overflow::Drop, reopen_signal: Some(Signal::USR2), ..looks },
        true,
        true,
    );
    let mut dry = request(Verb::Update, &[]);
    dry.dry_run = true;
    let keys = "[log] format of tinysup's own lines, [log] timestamps, [log] color, [log] overflow, control, \
                the configuration, a file that was replaced where it is mounted from";
    story.ask(1, dry.clone());
    let stays = format!("{keys}: only a new start of the container can change that");
    story.tells(&[&format!("1! +: would be adjusted: what is of no single service | +: {stays}")]);
    story.expect(&[]);
    let told = format!("{keys} cannot be changed while the container runs, only by starting it again");
    story.configuration = Ok(vec![instance("db"), other(web())]);
    story.ask(4, dry);
    let rules = "would be adjusted: what is of no single service";
    story.tells(&[&format!("4! +web: would be restarted: command | +: {rules} | +: {stays}")]);
    story.configuration = Ok(vec![instance("db"), web()]);
    story.ask(2, request(Verb::Update, &[]));
    story.tells(&[&format!("2! +: adjusted: what is of no single service | +: {stays}")]);
    story.expect(&[&told, "the configuration was read again: taking on what is of no single service"]);
    story.configured = (Log { reopen_signal: None, colored: [false; 2], ..Log::default() }, false, false);
    story.ask(3, request(Verb::Update, &[]));
    story.tells(&["3! +: adjusted: what is of no single service"]);
    story.configured.0.timestamps = true;
    story.ask(6, request(Verb::Update, &[]));
    let but = "nothing has changed but what only a new start of the container can change: ";
    story.tells(&[&format!("6! +: {but}[log] timestamps")]);
    story.configuration = Ok(vec![instance("db"), other(web())]);
    story.ask(5, request(Verb::Update, &[]));
    story.tells(&[]);
    story.exit("web", 0);
    story.pass(0);
    story.tells(&["5! +web: restarted: pid 102 -> 103, up after 0.0 s | \
         +: [log] timestamps: only a new start of the container can change that"]);
}

#[test]
fn what_a_limit_has_dropped_is_told_although_the_limit_is_gone() {
    let limit = RateLimit { lines: 1, per: Duration::from_hours(1) };
    let mut story = Story::new(vec![Instance { log_rate_limit: Some(limit), ..instance("web") }]);
    story.say("web", "one\ntwo\nthree\n");
    story.update(vec![instance("web")]);
    story.record.clear();
    story.pass(1000);
    let told = Notice::RateLimited { name: "web".into(), lines: 2, most: 1, per: limit.per }.to_string();
    story.expect(&[&told]);
}

#[test]
fn who_follows_all_or_a_service_reads_what_is_added_to_it() {
    let mut story = db_and_web();
    for (client, names) in [(1, &[][..]), (2, &["web"]), (3, &["db", "web.2"])] {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        story.ask(client, Request { follow: true, names, ..request(Verb::Logs, &[]) });
    }
    let second =
        Instance { service: "web".into(), number: 2, ..after(instance("web.2"), 0, Condition::Ready) };
    story.update(vec![instance("db"), web(), second, instance("cron")]);
    story.told();
    story.say("web.2", "two\n");
    story.say("cron", "three\n");
    let first = story.told();
    for client in 1..=3 {
        story.event(Event::Taken { client: Client(client) });
    }
    assert_eq!(
        [first, story.told()].concat(),
        ["1 web.2 out 0 two", "2 web.2 out 0 two", "1 cron out 0 three"]
    );
}

#[test]
fn an_end_stands_in_the_log_also_of_what_an_update_takes_out_or_gives_another_name() {
    let mut story = db_and_web();
    story.ask(1, Request { follow: true, ..request(Verb::Logs, &[]) });
    let db = |number| {
        let name = format!("db.{number}");
        Instance { name: name.as_str().into(), service: "db".into(), number, ..other(instance("db")) }
    };
    story.update(vec![db(1), db(2)]);
    story.exit("web", 0);
    let told = story.told();
    assert_eq!(told.last().map(String::as_str), Some("1 web -- 0 code 0 after 0.0 s; stopped"));
    story.event(Event::Taken { client: Client(1) });
    story.exit("db", 0);
    story.tells(&["1 db.1 -- 0 code 0 after 0.0 s; starts again, as asked"]);
}

#[test]
fn those_that_go_do_so_in_reverse_order_and_come_back_in_order() {
    let mut story = db_and_web();
    story.update(vec![other(slow(instance("db"))), other(web())]);
    story.expect(&[
        "the configuration was read again: restarting db (command, ready), web (command)",
        "SIGTERM to web",
    ]);
    story.exit("web", 0);
    story.expect(&["SIGTERM to db"]);
    story.exit("db", 0);
    story.pass(0);
    story.expect(&["web waits for db", "spawn db"]);
    story.pass(500);
    story.is_ready("db");
    story.expect(&["db is ready after 0.5 s", "spawn web", "updated after 0.5 s"]);
}

#[test]
fn services_come_and_go_and_come_back_at_their_old_ids() {
    let mut story = db_and_web();
    let cron = || instance("cron");
    story.update(vec![cron(), instance("db"), after(instance("web"), 1, Condition::Ready)]);
    story.expect(&[
        "the configuration was read again: adding cron",
        "spawn cron",
        "cron is up after 0.0 s",
        "updated after 0.0 s",
    ]);
    story.is_in_order(&["cron", "db", "web"]);
    assert_eq!(story.supervisor.plan.ids().collect::<Vec<_>>(), [2, 0, 1].map(InstanceId));
    story.update(vec![cron()]);
    story.expect(&["the configuration was read again: removing web, db", "SIGTERM to web"]);
    story.exit("web", 0);
    story.expect(&["SIGTERM to db"]);
    story.pass(8_000);
    story.expect(&[
        "db: still there 8 s after SIGTERM, SIGKILL (kill_timeout)",
        "SIGKILL to the group of db",
        "SIGKILL to db",
    ]);
    story.end("db", ExitStatus::Signal { signal: Signal::KILL, core: false });
    story.record.clear();
    story.is_in_order(&["cron"]);
    story.ask(1, request(Verb::Status, &["db"]));
    story.tells(&["1! NoSuchService: there is no service \"db\""]);
    story.update(vec![instance("db"), cron()]);
    story.expect(&["the configuration was read again: adding db", "spawn db", "updated after 0.0 s"]);
    assert_eq!(story.supervisor.plan.ids().collect::<Vec<_>>(), [0, 2].map(InstanceId));
    assert_eq!(story.supervisor.service(InstanceId(0)).map(Service::runs), Some(2));
}

#[test]
fn other_rules_do_not_touch_a_process() {
    let mut story = db_and_web();
    let mut db = instance("db");
    db.stop.signal = Signal::INT;
    db.restart.max_restarts = Some(0);
    db.on_failure = OnFailure::Ignore;
    story.update(vec![db, instance("web")]);
    story.expect(&[
        "the configuration was read again: adjusting db (max_restarts, on_failure, stop_signal), web (depends_on)",
        "updated after 0.0 s",
    ]);
    story.exit("db", 3);
    story.expect(&["db: code 3 after 0.0 s; failed for good: max_restarts = 0"]);
    // It gets another chance, because something of it has changed.
    let db = instance("db");
    story.update(vec![db, instance("web")]);
    story.record.remove(0);
    story.expect(&["spawn db", "updated after 0.0 s"]);
    story.exit("db", 3);
    story.expect(&["db: code 3 after 0.0 s; restart 1/10 in 0.1 s"]);
    story.pass(100);
    story.record.clear();
    story.signal(Signal::TERM);
    story.expect(&["stopping (SIGTERM): web, db", "SIGTERM to web", "SIGTERM to db"]);
}

#[test]
fn a_broken_file_changes_nothing() {
    let mut story = db_and_web();
    story.configuration = Err("x.toml:1:1: no\n    1 | no".to_owned());
    story.signal(Signal::HUP);
    story.expect(&["not updated, nothing is changed: x.toml:1:1: no\n    1 | no"]);
    story.ask(1, request(Verb::Update, &[]));
    story.tells(&["1! Configuration: x.toml:1:1: no\n    1 | no"]);
    story.record.clear();
    story.ask(2, Request { dry_run: true, ..request(Verb::Update, &[]) });
    story.expect(&[]);
    story.configuration = Err("a line\n".repeat(10_000));
    story.told();
    story.ask(3, request(Verb::Update, &[]));
    assert!(story.told()[0].len() < 4200);
}

#[test]
fn what_a_person_has_stopped_stays_down() {
    let mut story = db_and_web();
    story.ask(1, request(Verb::Stop, &["web"]));
    story.exit("web", 0);
    story.record.clear();
    story.told();
    story.configuration = Ok(vec![instance("db"), other(web())]);
    story.ask(2, request(Verb::Update, &[]));
    story.tells(&["2! +web: changed; it stays down, as it was stopped by hand"]);
    story.expect(&["the configuration was read again: restarting web (command)", "updated after 0.0 s"]);
    // One that is being stopped by hand at that moment, too.
    story.ask(3, request(Verb::Start, &["web"]));
    story.ask(4, request(Verb::Stop, &["web"]));
    story.record.clear();
    story.update(vec![instance("db"), web()]);
    story.exit("web", 0);
    story.pass(1_000);
    assert!(!story.record.iter().any(|line| line == "spawn web"), "{:?}", story.record);
    assert_eq!(
        story.supervisor.plan.instance(InstanceId(1)).map(|web| web.launch.argv.clone()),
        Some(vec![Secret::new("web")])
    );
}

#[test]
fn what_is_to_start_with_the_container_starts_unless_a_person_has_stopped_it() {
    let tool = || Instance { autostart: false, ..instance("tool") };
    let mut story = Story::new(vec![
        instance("db"),
        tool(),
        Instance { name: "held".into(), service: "held".into(), ..tool() },
    ]);
    let held = || Instance { name: "held".into(), service: "held".into(), ..instance("held") };
    story.ask(1, request(Verb::Start, &["held"]));
    story.ask(2, request(Verb::Stop, &["held"]));
    story.exit("held", 0);
    story.record.clear();
    story.update(vec![instance("db"), instance("tool"), held()]);
    story.record.retain(|line| line.starts_with("spawn"));
    story.expect(&["spawn tool"]);
}

#[test]
fn what_is_asked_for_by_hand_means_the_same_before_anything_has_begun() {
    let job = || Instance { autostart: false, ..instance("job") };
    for verb in [Verb::Start, Verb::Restart] {
        // Whoever has said last whether it is to start is heard.
        let mut void = Story::not_begun(Mode::Services, vec![instance("db"), instance("job")]);
        void.ask(1, request(verb, &["job"]));
        void.update(vec![instance("db"), job()]);
        void.tells(&["1! -job: not done: an update has set autostart = false before it was started"]);
        void.event(Event::Begin);
        void.record.retain(|line| line.starts_with("spawn"));
        void.expect(&["spawn db"]);
        // An update that says nothing new about that does not undo it.
        let mut stays = Story::not_begun(Mode::Services, vec![instance("db"), job()]);
        stays.ask(1, request(verb, &["job"]));
        stays.update(vec![instance("db"), other(job())]);
        stays.tells(&[]);
        stays.event(Event::Begin);
        stays.tells(&["1! +job: started: pid 102, up after 0.0 s"]);
    }
    let mut stopped = Story::not_begun(Mode::Services, vec![instance("db"), instance("job")]);
    stopped.ask(1, request(Verb::Stop, &["job"]));
    stopped.tells(&["1! +job: stopped after 0.0 s"]);
    stopped.event(Event::Begin);
    stopped.record.retain(|line| line.starts_with("spawn"));
    stopped.expect(&["spawn db"]);
}

#[test]
fn what_is_done_runs_again_only_if_it_has_changed() {
    let migrate = || Instance { kind: Kind::Oneshot, ..instance("migrate") };
    let mut story = Story::new(vec![migrate(), after(instance("web"), 0, Condition::Completed)]);
    story.exit("migrate", 0);
    story.record.clear();
    let web = || after(instance("web"), 0, Condition::Completed);
    story.update(vec![migrate(), other(web())]);
    story.expect(&["the configuration was read again: restarting web (command)", "SIGTERM to web"]);
    story.exit("web", 0);
    story.pass(0);
    story.expect(&["spawn web", "updated after 0.0 s"]);
    story.update(vec![Instance { on_success: OnSuccess::Ignore, ..other(migrate()) }, other(web())]);
    story.expect(&["the configuration was read again: restarting migrate (command)", "spawn migrate"]);
    story.exit("migrate", 0);
    story.expect(&["migrate: code 0 after 0.0 s; completed", "updated after 0.0 s"]);
}

#[test]
fn the_newest_update_wins() {
    let mut story = db_and_web();
    story.configuration = Ok(vec![instance("db"), other(web())]);
    story.ask(1, request(Verb::Update, &[]));
    story.record.clear();
    // It cannot be told to stay any more, and starts again as it was.
    story.configuration = Ok(vec![instance("db"), web()]);
    story.ask(2, request(Verb::Update, &[]));
    story.exit("web", 0);
    story.pass(0);
    story.tells(&[
        "1! +web: restarted: pid 102 -> 103, up after 0.0 s",
        "2! +web: restarted: pid 102 -> 103, up after 0.0 s",
    ]);
    // One that waits for its turn can.
    story.update(vec![other(instance("db")), other(web())]);
    story.record.clear();
    story.update(vec![instance("db"), other(web())]);
    story.exit("web", 0);
    story.pass(0);
    story.expect(&[
        "the configuration was read again: restarting web (command)",
        "spawn web",
        "updated after 0.0 s",
    ]);
    story.configuration = Ok(vec![instance("db")]);
    story.ask(3, request(Verb::Update, &[]));
    story.configuration = Ok(vec![instance("db"), other(web())]);
    story.ask(4, request(Verb::Update, &[]));
    story.tells(&["3! -web: not removed: a later update has it again"]);
    story.exit("web", 0);
    story.pass(0);
    story.tells(&["4! +web: restarted: pid 104 -> 105, up after 0.0 s"]);
}

#[test]
fn a_client_is_told_each_change() {
    let mut story = db_and_web();
    story.configuration =
        Ok(vec![instance("db"), instance("new"), Instance { autostart: false, ..instance("tool") }]);
    let mut dry = request(Verb::Update, &[]);
    dry.dry_run = true;
    story.ask(1, dry);
    story.tells(&["1! +web: would be removed | +new: would be added | +tool: would be added"]);
    story.expect(&[]);
    story.ask(2, request(Verb::Update, &[]));
    story.told();
    story.pass(300);
    story.exit("web", 0);
    story.tells(&["2! +web: removed after 0.3 s | +new: added: pid 103, up after 0.0 s | +tool: added; not started (autostart = false)"]);
    story.ask(3, request(Verb::Update, &[]));
    story.tells(&["3! +: nothing has changed"]);
    story.configuration = Ok(vec![other(slow(instance("db")))]);
    story.ask(4, Request { timeout_ms: Some(400), ..request(Verb::Update, &[]) });
    story.pass(500);
    story.tells(&[
        "4! +tool: removed | -new: not done after 0.4 s: stopping | -db: not done after 0.4 s: stopping",
    ]);
}

#[test]
fn during_the_stop_nothing_is_updated() {
    let mut story = db_and_web();
    story.update(vec![other(instance("db")), other(web())]);
    story.signal(Signal::TERM);
    story.record.clear();
    story.signal(Signal::HUP);
    story.expect(&[
        "not updated, nothing is changed: the container is being stopped, and nothing else is begun",
    ]);
    story.ask(1, request(Verb::Update, &[]));
    story.tells(&["1! Stopping: the container is being stopped, and nothing else is begun"]);
    story.exit("web", 0);
    story.expect(&["SIGTERM to db"]);
    story.exit("db", 0);
    assert_eq!(story.record.last().map(String::as_str), Some("exit 0"));
}

#[test]
fn what_could_not_be_had_gets_another_chance() {
    let db = Instance { on_failure: OnFailure::Ignore, ..instance("db") };
    let db = Instance { restart: crate::plan::Restart { max_restarts: Some(0), ..db.restart.clone() }, ..db };
    let web = || Instance { on_failure: OnFailure::Ignore, ..web() };
    let mut story = Story::new(vec![slow(db.clone()), web(), instance("stays")]);
    story.exit("db", 1);
    assert_eq!(story.record.last().map(String::as_str), Some("1 of 3 services are up, 0.0 s"));
    story.record.clear();
    story.update(vec![other(slow(db)), web(), instance("stays")]);
    story.expect(&[
        "the configuration was read again: restarting db (command), web (what it depends on)",
        "spawn db",
    ]);
    story.is_ready("db");
    story.expect(&["db is ready after 0.0 s", "spawn web", "web is up after 0.0 s", "updated after 0.0 s"]);
}

#[test]
fn the_container_does_not_end_in_the_middle() {
    let mut story = Story::new(vec![instance("a")]);
    story.record.clear();
    story.update(vec![instance("b"), after(instance("c"), 0, Condition::Ready)]);
    story.exit("a", 0);
    story.pass(0);
    story.update(vec![other(instance("b"))]);
    story.exit("c", 0);
    story.exit("b", 0);
    story.pass(0);
    assert!(!story.record.iter().any(|line| line.starts_with("exit")), "{:?}", story.record);
    story.is_in_order(&["b"]);
}

#[test]
fn what_an_earlier_run_still_writes_goes_where_output_goes_now() {
    for (output, expected) in [
        (Output::Prefix, Some("a | late\n")),
        (Output::Raw, Some("late\n")),
        (Output::Inherit, Some("late\n")),
        (Output::Null, None),
    ] {
        let mut story = Story::new(vec![instance("a")]);
        let mut new = other(instance("a"));
        new.launch = Rc::new(Launch { stdout: output.clone(), ..(*new.launch).clone() });
        story.update(vec![new]);
        story.exit("a", 0);
        let child = Child { instance: InstanceId(0), run: 1, role: Role::Main };
        let event = Event::Output { child, sink: Sink::Stdout, at: Wall::default(), bytes: "late\n".into() };
        let (now, mut actions) = (story.now, Vec::new());
        story.supervisor.step(now, event, &mut actions);
        let written = actions.iter().find_map(|action| match action {
            Action::Write { bytes, .. } => Some(String::from_utf8_lossy(bytes)),
            _ => None,
        });
        assert_eq!(written.as_deref(), expected, "{output:?}");
    }
}
