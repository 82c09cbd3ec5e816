//! Stories of memory: who is weighed when, who is stopped, and what the OOM killer did.

use super::*;
use crate::control::{Request, Verb};
use crate::event::Controller;
use crate::plan::{Amount, Limits, OnFailure, Reference, Share};

const M: u64 = 1 << 20;

fn limited(name: &str, megabytes: u64) -> Instance {
    let memory = Limits { restart: Some(Amount::Bytes(megabytes * M)), ..Limits::default() };
    Instance { memory, ..instance(name) }
}

fn found(limit: u64) -> MemoryFound {
    MemoryFound {
        controller: Controller::V2,
        limit: Some(limit * M),
        total: 16 << 30,
        delegated: true,
        ..MemoryFound::default()
    }
}

/// A container of 300M with its guard at 80 and 90 %.
fn guarded(instances: Vec<Instance>) -> Story {
    let guard = Guard { warn: Share::new(8000), restart: Share::new(9000), reference: Reference::Container };
    let mut story = Story::guarded(Mode::Services, instances, guard);
    story.found = found(300);
    story.event(Event::Begin);
    story.record.clear();
    story
}

impl Story {
    /// The container uses so much from now on, and the services hold this.
    fn uses(&mut self, megabytes: u64, holds: &[(&str, u64)]) {
        self.container = Some(ContainerMemory {
            working_set: megabytes * M,
            limit: Some(300 * M),
            ..ContainerMemory::default()
        });
        self.weights = holds.iter().map(|(name, megabytes)| ((*name).to_owned(), megabytes * M)).collect();
    }

    fn holds(&mut self, name: &str, megabytes: u64) {
        self.weights.insert(name.to_owned(), megabytes * M);
    }

    fn oom(&mut self, instance: Option<u32>, count: u64) {
        self.event(Event::OomKilled { instance: instance.map(InstanceId), count });
    }
}

const KILLED: ExitStatus = ExitStatus::Signal { signal: Signal::KILL, core: false };

#[test]
fn nothing_is_weighed_that_nobody_limits() {
    let mut story = db_and_web();
    assert_eq!(story.supervisor.deadline(), None);
    story.event(Event::Pressure);
    story.pass(60_000);
    story.expect(&[]);
}

#[test]
fn what_holds_too_much_is_stopped_and_restarted_within_its_budget() {
    let mut story = Story::new(vec![instance("db"), limited("web", 300)]);
    story.record.clear();
    story.holds("web", 100);
    story.pass(1_000);
    story.expect(&["weigh web"]);
    story.pass(4_999);
    story.expect(&[]);
    story.holds("web", 300);
    story.pass(1);
    story.expect(&["weigh web"]); // as much as it may
    story.holds("web", 301);
    story.pass(100);
    story.expect(&[
        "weigh web",
        "web: over its memory limit: it holds 301M and may hold 300M, most of it \"web\" (pid 102) with 1M; stopping it",
        "SIGTERM to web",
    ]);
    story.pass(3_000);
    story.expect(&[]); // nobody is weighed who is being stopped
    story.exit("web", 0);
    story.expect(&[
        "web: stopped after 9.1 s, as it held 301M of memory and may hold 300M; restart 1/10 in 0.1 s",
    ]);
    story.holds("web", 10);
    story.pass(100);
    story.expect(&["spawn web"]);
    story.pass(1_000);
    story.expect(&["weigh web"]);
}

#[test]
fn a_spent_budget_ends_the_container_with_1_and_says_memory() {
    let mut web = limited("web", 300);
    web.restart.max_restarts = Some(0);
    let mut story = Story::new(vec![web]);
    story.holds("web", 400);
    story.pass(1_000);
    story.record.clear();
    story.exit("web", 0);
    story.expect(&[
        "web: stopped after 1 s, as it held 400M of memory and may hold 300M; failed for good: max_restarts = 0",
        "stopping (web has failed for good)",
        "CONTAINER STOPPED: web failed and may not be restarted again (max_restarts = 0)\n  \
           command    web\n  \
           exits      over its memory limit: it holds 400M and may hold 300M after 1 s, at 1 s\n  \
           exit code  1 (web had to be stopped). To stay up without it: [services.web] on_failure = \"ignore\"",
        "exit 1",
    ]);
}

#[test]
fn shares_follow_the_limit_of_the_container() {
    let memory = Limits { restart: Share::new(5000).map(Amount::Share), ..Limits::default() };
    let mut story = Story::not_begun(Mode::Services, vec![Instance { memory, ..instance("web") }]);
    story.found = found(400);
    story.event(Event::Begin);
    story.record.clear();
    let container = |limit: Option<u64>| Some(ContainerMemory { limit, ..ContainerMemory::default() });
    story.container = container(Some(400 * M));
    story.holds("web", 150);
    story.pass(1_000);
    story.expect(&["weigh web and the container"]);
    // Without a limit nobody is limited.
    story.container = container(None);
    story.holds("web", 900);
    story.pass(5_000);
    story.expect(&["weigh web and the container", "the container's memory limit is none now, it was 400M"]);
    story.container = container(Some(200 * M));
    story.pass(5_000);
    story.expect(&[
        "weigh web and the container",
        "the container's memory limit is 200M now, it was none",
        "web: over its memory limit: it holds 900M and may hold 100M, most of it \"web\" (pid 101) with 1M; stopping it",
        "SIGTERM to web",
    ]);
}

#[test]
fn a_description_has_the_limit_of_the_container_as_it_is_now() {
    let mut story = Story::not_begun(Mode::Services, vec![instance("web")]);
    story.found = found(400);
    story.event(Event::Begin);
    let mut limit = |container: Option<ContainerMemory>| {
        story.container = container;
        story.request(Request { verb: Verb::Describe, ..Request::default() });
        let Some((_, Answer::Describe(all), _)) = story.answers.pop() else { panic!() };
        all[0].container_limit_bytes
    };
    // Nothing looks at it by itself, as nothing is limited.
    assert_eq!(
        limit(Some(ContainerMemory { limit: Some(100 * M), ..ContainerMemory::default() })),
        Some(100 * M)
    );
    assert_eq!(limit(Some(ContainerMemory::default())), None);
    assert_eq!(limit(None), Some(400 * M), "it cannot be read");
}

#[test]
fn the_container_is_warned_about_once_until_it_has_recovered() {
    let mut story = guarded(vec![instance("web")]);
    story.uses(100, &[]);
    story.pass(1_000);
    story.expect(&["weigh  and the container"]);
    story.uses(250, &[]);
    story.pass(5_000);
    story.expect(&[
        "weigh  and the container",
        "the container runs short of memory: it uses 250M of 300M (83%)",
    ]);
    for used in [230, 245, 226, 250] {
        story.uses(used, &[]);
        story.pass(1_500);
        assert!(story.record.iter().all(|line| line.starts_with("weigh")), "{:?}", story.record);
        story.record.clear();
    }
    story.uses(224, &[]);
    story.pass(1_500);
    story.record.retain(|line| !line.starts_with("weigh"));
    story.expect(&["the container has memory again: it uses 224M of 300M (74%)"]);
}

#[test]
fn the_guard_stops_one_and_waits_until_that_has_helped() {
    let priority = |priority, mut instance: Instance| {
        instance.memory.priority = priority;
        instance
    };
    let mut story = guarded(vec![
        priority(1, instance("db")),
        instance("web"),
        instance("worker"),
        Instance { kind: Kind::Oneshot, ..priority(-9, instance("migrate")) },
    ]);
    story.uses(280, &[("db", 200), ("web", 30), ("worker", 50), ("migrate", 90)]);
    story.pass(1_000);
    story.expect(&[
        "weigh  and the container",
        "the container runs short of memory: it uses 280M of 300M (93%)",
        "weigh db, web, worker, migrate and the container",
        "worker: the container runs short of memory, it uses 280M of 300M (93%), and this holds 50M, most of it \"worker\" (pid 103) with 1M; stopping it",
        "SIGTERM to worker",
    ]);
    story.pass(5_000);
    story.event(Event::Pressure);
    story.expect(&[]);
    story.exit("worker", 0);
    story.expect(&[
        "worker: stopped after 6 s, as it held 50M and the container ran short of memory; restart 1/10 in 0.1 s",
    ]);
    story.uses(275, &[("db", 200), ("web", 30), ("worker", 1), ("migrate", 90)]);
    story.pass(1_999);
    story.expect(&["spawn worker"]);
    story.pass(1);
    // What holds next to nothing is left alone.
    story.expect(&[
        "weigh  and the container",
        "weigh db, web, worker, migrate and the container",
        "web: the container runs short of memory, it uses 275M of 300M (91%), and this holds 30M, most of it \"web\" (pid 102) with 1M; stopping it",
        "SIGTERM to web",
    ]);
}

#[test]
fn whom_the_guard_cannot_help_with_it_leaves_alone() {
    let never = |mut instance: Instance| {
        instance.restart.when = RestartWhen::Never;
        instance
    };
    let mut story =
        guarded(vec![never(instance("db")), Instance { kind: Kind::Oneshot, ..never(instance("job")) }]);
    story.uses(290, &[("db", 200), ("job", 50)]);
    story.pass(1_000);
    story.expect(&[
        "weigh  and the container",
        "the container runs short of memory: it uses 290M of 300M (96%)",
        "the container runs short of memory, it uses 290M of 300M (96%), and there is no service whose restart would help",
    ]);
    story.pass(5_000);
    story.expect(&["weigh  and the container"]);
    // A oneshot goes only where nothing else runs, and one whose budget is spent goes last.
    let mut spent = instance("web");
    spent.restart.max_restarts = Some(0);
    spent.on_failure = OnFailure::Ignore;
    spent.memory.priority = -5;
    let mut story =
        guarded(vec![spent, instance("worker"), Instance { kind: Kind::Oneshot, ..instance("job") }]);
    story.uses(290, &[("web", 200), ("worker", 40), ("job", 50)]);
    story.pass(1_000);
    assert!(story.record.last().unwrap().ends_with("SIGTERM to worker"), "{:?}", story.record);
    let mut story = guarded(vec![never(instance("db")), Instance { kind: Kind::Oneshot, ..instance("job") }]);
    story.uses(290, &[("db", 200), ("job", 50)]);
    story.pass(1_000);
    assert!(story.record.last().unwrap().ends_with("SIGTERM to job"), "{:?}", story.record);
}

#[test]
fn the_kernels_word_of_pressure_is_followed_at_most_twice_a_second() {
    let mut story = Story::new(vec![limited("web", 300)]);
    story.record.clear();
    story.holds("web", 10);
    story.pass(100);
    story.event(Event::Pressure);
    story.expect(&["weigh web"]);
    for _ in 0..9 {
        story.pass(50);
        story.event(Event::Pressure);
    }
    story.expect(&[]);
    story.pass(49);
    story.expect(&[]);
    story.pass(1);
    story.expect(&["weigh web"]);
}

#[test]
fn an_oom_kill_explains_an_end_by_a_sigkill_that_was_not_ours() {
    let mut story = Story::not_begun(Mode::Services, vec![instance("db"), instance("web")]);
    story.found = found(300);
    story.event(Event::Begin);
    story.record.clear();
    story.oom(None, 1);
    story.end("web", KILLED);
    story.expect(&[
        "web: code 137, SIGKILL: out of memory (the container's limit is 300M) after 0.0 s; restart 1/10 in 0.1 s",
    ]);
    story.pass(5_000);
    story.record.clear();
    // Nobody reported anything, or it was another signal.
    story.end("web", KILLED);
    story.expect(&["web: code 137, SIGKILL after 4.9 s; restart 2/10 in 0.2 s"]);
    story.pass(200);
    story.oom(Some(1), 1);
    story.record.clear();
    story.end("web", ExitStatus::Code(137));
    story.pass(1_999);
    assert!(!story.record.iter().any(|line| line.contains("kernel")), "{:?}", story.record);
    story.record.clear();
    story.pass(1);
    story.expect(&["web: out of memory: the kernel killed one of its processes"]);
    story.oom(None, 3);
    story.end("db", KILLED);
    story.pass(2_000);
    story.record.retain(|line| line.contains("out of memory"));
    story.expect(&[
        "db: code 137, SIGKILL: out of memory (the container's limit is 300M) after 7.2 s; restart 1/10 in 0.1 s",
        "out of memory: the kernel killed 2 processes in the container, no main process of a service",
    ]);
}

#[test]
fn what_we_killed_was_not_the_kernel() {
    let mut story = Story::new(vec![instance("web")]);
    story.oom(None, 1);
    story.ask_signal("KILL");
    story.record.clear();
    story.end("web", KILLED);
    story.expect(&["web: code 137, SIGKILL after 0.0 s; restart 1/10 in 0.1 s"]);
    story.signal(Signal::TERM);
    story.record.retain(|line| line.contains("out of memory") || line.starts_with("exit"));
    // What was not told yet is told at the end.
    story.expect(&[
        "out of memory: the kernel killed one process in the container, no main process of a service",
        "exit 0",
    ]);
}

#[test]
fn what_is_killed_while_it_is_stopped_for_its_memory_was_killed() {
    let mut web = limited("web", 300);
    web.restart.max_restarts = Some(0);
    let mut story = Story::not_begun(Mode::Services, vec![web]);
    story.found = found(310);
    story.event(Event::Begin);
    story.holds("web", 301);
    story.pass(1_000);
    story.record.clear();
    story.oom(Some(0), 1);
    story.end("web", KILLED);
    assert!(story.record[0].starts_with("web: code 137, SIGKILL: out of memory"), "{:?}", story.record);
    assert_eq!(story.record.last().unwrap(), "exit 137");
}

#[test]
fn a_group_kill_and_a_lost_cgroup_are_warned_about_at_the_start() {
    let memory = Limits { limit: Some(Amount::Bytes(300 * M)), ..Limits::default() };
    let mut story = Story::not_begun(Mode::Services, vec![Instance { memory, ..instance("web") }]);
    story.found = MemoryFound { oom_group: true, delegated: false, ..found(300) };
    story.event(Event::Begin);
    story.record.retain(|line| line.contains("memory"));
    story.expect(&[
        "memory.oom.group is 1: when the memory runs out, the kernel ends everything in this container at once, tinysup too",
        "no cgroup can be made for a service after all: memory_limit is not enforced by the kernel, what holds more is restarted",
    ]);
}

#[test]
fn an_update_before_the_beginning_concludes_nothing_of_the_machine() {
    let limited = Instance {
        memory: Limits { limit: Some(Amount::Bytes(100 * M)), ..Limits::default() },
        ..instance("web")
    };
    let mut story = Story::not_begun(Mode::Services, vec![limited.clone()]);
    story.found = MemoryFound { delegated: false, ..found(300) };
    story.configuration = Ok(vec![limited]);
    story.signal(Signal::HUP);
    story.record.clear();
    story.event(Event::Begin);
    let warned = story.record.iter().any(|line| *line == Notice::NoCells.to_string());
    assert!(warned, "{:?}", story.record);
}

#[test]
fn an_update_changes_what_a_running_service_may_hold() {
    let mut story = Story::new(vec![limited("web", 300), instance("db")]);
    story.holds("web", 200);
    story.holds("db", 200);
    story.pass(1_000);
    story.record.clear();
    story.configuration = Ok(vec![limited("web", 100), limited("db", 300)]);
    story.signal(Signal::HUP);
    story.expect(&[
        "the configuration was read again: adjusting web (max_memory_restart), db (max_memory_restart)",
        "updated after 0.0 s",
    ]);
    story.pass(1_000);
    story.expect(&[
        "weigh web, db",
        "web: over its memory limit: it holds 200M and may hold 100M, most of it \"web\" (pid 101) with 1M; stopping it",
        "SIGTERM to web",
    ]);
    story.exit("web", 0);
    story.configuration = Ok(vec![instance("web"), instance("db")]);
    story.signal(Signal::HUP);
    story.record.clear();
    story.pass(60_000);
    story.expect(&["spawn web"]); // and nobody is weighed any more
}

#[test]
fn a_guard_that_comes_with_an_update_gives_cgroups_to_those_that_stay() {
    let mut story = Story::new(vec![instance("web"), limited("db", 300)]);
    story.found = found(300);
    story.event(Event::Begin);
    let cells = |story: &Story| -> Vec<bool> {
        story.supervisor.plan.instances.iter().map(|instance| instance.launch.cell.is_some()).collect()
    };
    assert_eq!(cells(&story), [false, true]);
    for (restart, expected) in [(Share::new(9000), [true, true]), (None, [false, true])] {
        let mut plan = story.supervisor.plan.clone();
        plan.guard = Guard { restart, ..Guard::default() };
        let (now, mut actions) = (story.now, Vec::new());
        story.supervisor.reread(
            now,
            Ok(Reread { plan, other_control: false, replaced: false }),
            &mut actions,
        );
        assert_eq!(cells(&story), expected, "{restart:?}: {actions:?}");
    }
}

#[test]
fn clients_are_told_who_holds_what() {
    let mut story = Story::new(vec![limited("db", 300), instance("web")]);
    story.holds("db", 7);
    story.pass(100);
    story.ask_memory();
    story.exit("web", 1);
    story.ask_memory();
    let told: Vec<String> = story
        .answers
        .iter()
        .map(|(_, answer, _)| match answer {
            Answer::Memory(memory) => memory
                .services
                .iter()
                .map(|one| format!("{} {:?} {:?}", one.name, one.bytes, one.restart_bytes))
                .collect::<Vec<_>>()
                .join(", "),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            "db Some(7340032) Some(314572800), web Some(0) None",
            "db Some(7340032) Some(314572800), web None None"
        ]
    );
}

impl Story {
    fn request(&mut self, request: Request) {
        let client = Client(90 + self.answers.len() as u64);
        self.event(Event::Connected { client });
        self.event(Event::Asked { client, request: Ok(Request { v: 1, ..request }) });
    }

    fn ask_memory(&mut self) {
        self.request(Request { verb: Verb::Memory, ..Request::default() });
    }

    fn ask_signal(&mut self, signal: &str) {
        self.request(Request { verb: Verb::Signal, signal: signal.to_owned(), ..Request::default() });
    }
}
