//! Whole stories of the core, told as the actions it orders. The simulator looks for what nobody thought of; these show what is meant.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::*;
use crate::control::Answer;
use crate::event::{Client, ContainerMemory, MemoryFound, Role, StartError, Wall, Weight};
use crate::plan::tests::instance;
use crate::plan::{Condition, Dependency, Guard, Instance, KillMode, Kind, Log, RestartWhen};

/// A world in which everything works at once, and a record of what was ordered.
struct Story {
    supervisor: Supervisor,
    now: Time,
    pids: BTreeMap<String, Pid>,
    next_pid: i32,
    /// What the next sweep of an instance finds.
    remains: BTreeMap<String, Vec<Process>>,
    /// What every look at strays finds.
    strays: Vec<Process>,
    record: Vec<String>,
    /// No program comes so far as to run.
    slow_exec: bool,
    /// What clients were sent.
    answers: Vec<(Client, Answer, bool)>,
    /// Where everybody listens.
    listens: Vec<String>,
    /// What rules over the memory, and what of it everybody holds.
    found: MemoryFound,
    weights: BTreeMap<String, u64>,
    container: Option<ContainerMemory>,
    /// What the configuration says when it is read again.
    configuration: Result<Vec<Instance>, String>,
    /// And its `[log]`, whether its `control` is another one, and whether its file was replaced below a mount.
    configured: (Log, bool, bool),
}

impl Story {
    fn new(instances: Vec<Instance>) -> Self {
        Self::with_mode(Mode::Services, instances)
    }

    fn with_mode(mode: Mode, instances: Vec<Instance>) -> Self {
        let mut story = Self::not_begun(mode, instances);
        story.event(Event::Begin);
        story
    }

    fn not_begun(mode: Mode, instances: Vec<Instance>) -> Self {
        Self::guarded(mode, instances, Guard::default())
    }

    fn guarded(mode: Mode, instances: Vec<Instance>, guard: Guard) -> Self {
        let shutdown_timeout = (mode == Mode::Services).then_some(Duration::from_secs(9));
        let order = crate::plan::in_order(&instances);
        let (routes, log) = (Map::new(), Log::default());
        let plan = Plan { mode, config: None, instances, order, shutdown_timeout, guard, routes, log };
        let supervisor = Supervisor::new(plan, Standing::Pid1, Time::ZERO);
        Self {
            supervisor,
            now: Time::ZERO,
            pids: BTreeMap::new(),
            next_pid: 100,
            remains: BTreeMap::new(),
            strays: Vec::new(),
            record: Vec::new(),
            slow_exec: false,
            answers: Vec::new(),
            listens: Vec::new(),
            found: MemoryFound::default(),
            weights: BTreeMap::new(),
            container: None,
            configuration: Err("nothing was written".to_owned()),
            configured: Default::default(),
        }
    }

    fn event(&mut self, event: Event) {
        let mut pending = VecDeque::from([event]);
        let mut rereads = false;
        loop {
            let mut actions = Vec::new();
            if let Some(event) = pending.pop_front() {
                self.supervisor.step(self.now, event, &mut actions);
            } else if std::mem::take(&mut rereads) {
                let read = self.configuration.clone().map(|instances| Reread {
                    plan: Plan {
                        guard: Guard::default(),
                        mode: Mode::Services,
                        config: None,
                        order: crate::plan::in_order(&instances),
                        instances,
                        shutdown_timeout: Some(Duration::from_secs(9)),
                        log: self.configured.0,
                        routes: Map::new(),
                    },
                    other_control: self.configured.1,
                    replaced: self.configured.2,
                });
                self.supervisor.reread(self.now, read, &mut actions);
            } else {
                return;
            }
            for action in actions {
                rereads |= matches!(action, Action::Reread);
                pending.extend(self.perform(action));
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one answer for each action")]
    fn perform(&mut self, action: Action) -> Vec<Event> {
        let who = |id: InstanceId| self.supervisor.name(id).to_string();
        let by_pid =
            |pid: Pid| self.pids.iter().find(|(_, p)| **p == pid).map_or("?", |(name, _)| name).to_owned();
        let (line, answers) = match action {
            Action::Spawn { child, .. } => {
                let name = who(child.instance)
                    + match child.role {
                        Role::Main => "",
                        Role::StopCommand => "'s stop_command",
                        Role::Probe(_) => "'s test",
                    };
                self.next_pid += 1;
                let pid = Pid::new(self.next_pid).unwrap();
                self.pids.insert(name.clone(), pid);
                (
                    format!("spawn {name}"),
                    if self.slow_exec {
                        vec![Event::Spawned { child, pid }]
                    } else {
                        vec![Event::Spawned { child, pid }, Event::Executed { child }]
                    },
                )
            }
            Action::Signal { signal: Signal::CONT, .. }
            | Action::SignalGroup { signal: Signal::CONT, .. } => return Vec::new(),
            Action::Signal { pid, signal } => (format!("{signal} to {}", by_pid(pid)), Vec::new()),
            Action::SignalGroup { leader, signal } => {
                (format!("{signal} to the group of {}", by_pid(leader)), Vec::new())
            }
            Action::SignalEverybody { signal } => (format!("{signal} to everybody"), Vec::new()),
            Action::Suspend => ("suspend".to_owned(), Vec::new()),
            Action::Reopen { client } => {
                let files = vec![("/log/a".into(), Ok(())), ("/log/b".into(), Err("full".to_owned()))];
                ("reopen".to_owned(), vec![Event::Reopened { client, files }])
            }
            Action::WriteFile { .. }
            | Action::Release { .. }
            | Action::Write { .. }
            | Action::TerminationLog { .. } => {
                return Vec::new();
            }
            Action::Sweep { child, signal, spare, .. } => {
                let found = self.remains.remove(&who(child.instance)).unwrap_or_default();
                let anybody = found.iter().any(|process| !spare.contains(&process.pid));
                let line = if anybody {
                    format!("{signal} to the remains of {}", who(child.instance))
                } else {
                    String::new()
                };
                (line, vec![Event::Swept { child, found }])
            }
            Action::SweepStrays { signal } => {
                let line = signal.filter(|_| !self.strays.is_empty()).map(|s| format!("{s} to strays"));
                (line.unwrap_or_default(), vec![Event::Strays { found: self.strays.clone() }])
            }
            Action::FindListener { instance, port } => {
                (format!("find {port}"), vec![Event::Listener { instance, port, listener: None }])
            }
            Action::Answer { client, answer, last } => {
                self.answers.push((client, *answer, last));
                return if last { vec![Event::Left { client }] } else { Vec::new() };
            }
            Action::Disconnect { client } => (format!("disconnect {}", client.0), Vec::new()),
            Action::FindMemory { .. } => (String::new(), vec![Event::MemoryFound(self.found.clone())]),
            Action::Weigh { client, runs, container, .. } => {
                let names: Vec<String> = runs.iter().map(|(child, _)| who(child.instance)).collect();
                let weight = |(name, (child, pid)): (&String, &(Child, Pid))| Weight {
                    instance: Some(child.instance),
                    bytes: self.weights.get(name).copied().unwrap_or_default(),
                    processes: 1,
                    holder: Some(Rc::new((Process { pid: *pid, name: name.clone() }, 1 << 20))),
                    ..Weight::default()
                };
                let weights = names.iter().zip(&runs).map(weight).collect();
                let whole = if container { " and the container" } else { "" };
                let container = self.container.filter(|_| container);
                let line = if client.is_none() {
                    format!("weigh {}{whole}", names.join(", "))
                } else {
                    String::new()
                };
                (line, vec![Event::Weighed { client, runs: weights, container }])
            }
            Action::Measure { client, runs } => {
                let used = |index| Usage { cpu: Duration::from_millis(10), memory: 4096, processes: index };
                (
                    format!("measure {}", runs.len()),
                    vec![Event::Measured { client, usage: (1..).map(used).take(runs.len()).collect() }],
                )
            }
            Action::Probe { child, .. } => {
                (format!("ask {} {:?}", who(child.instance), child.role), Vec::new())
            }
            Action::CancelProbe { child } => {
                (format!("do not ask {} {:?}", who(child.instance), child.role), Vec::new())
            }
            Action::FindListening { child, .. } => {
                (String::new(), vec![Event::Listening { child, addresses: self.listens.clone() }])
            }
            Action::Tell(notice) if notice.level() <= log::Level::Info => (notice.to_string(), Vec::new()),
            Action::Tell(_) => return Vec::new(),
            Action::Drain => (String::new(), vec![Event::Drained]),
            Action::Reread => return Vec::new(),
            Action::Exit(code) => (format!("exit {}", code.0), Vec::new()),
        };
        if !line.is_empty() {
            self.record.push(line);
        }
        answers
    }

    fn exit(&mut self, name: &str, code: u8) {
        self.end(name, ExitStatus::Code(code));
    }

    fn end(&mut self, name: &str, status: ExitStatus) {
        let pid = *self.pids.get(name).unwrap_or_else(|| panic!("{name} does not run"));
        self.event(Event::Exited { pid, status });
        if self.pids.get(name) == Some(&pid) {
            self.pids.remove(name); // no new run has its place
        }
    }

    fn signal(&mut self, signal: Signal) {
        self.event(Event::Signal(signal));
    }

    /// Lets time pass; every deadline on the way is kept.
    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        let over = |story: &Self| story.record.last().is_some_and(|line| line.starts_with("exit "));
        while let Some(deadline) = self.supervisor.deadline().filter(|deadline| *deadline <= end)
            && !over(self)
        {
            self.now = deadline.max(self.now);
            self.event(Event::Tick);
            if self.record.last().is_some_and(|line| line.starts_with("exit ")) {
                return; // there is nobody any more
            }
        }
        self.now = end;
    }

    /// Compares what was ordered since the last comparison.
    #[track_caller]
    fn expect(&mut self, lines: &[&str]) {
        let record = std::mem::take(&mut self.record);
        assert_eq!(record, lines, "\nordered:\n{}", record.join("\n"));
    }
}

thread_local! {
    /// How often it was asked whether a dependency is there.
    pub(super) static ASKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn after(mut instance: Instance, on: u32, condition: Condition) -> Instance {
    instance.depends_on.push(Dependency { on: InstanceId(on), condition, restart: false });
    instance
}

fn db_and_web() -> Story {
    let mut story = Story::new(vec![instance("db"), after(instance("web"), 0, Condition::Ready)]);
    story.expect(&[
        "spawn db",
        "db is up after 0.0 s",
        "spawn web",
        "web is up after 0.0 s",
        "all 2 services are up, 0.0 s",
    ]);
    story
}

#[test]
fn a_stop_goes_in_the_reverse_order_and_waits_for_each() {
    let mut story = db_and_web();
    story.signal(Signal::TERM);
    story.expect(&["stopping (SIGTERM): web, db", "SIGTERM to web"]);
    story.pass(300);
    story.signal(Signal::TERM);
    story.expect(&[]);
    story.exit("web", 0);
    story.expect(&["SIGTERM to db"]);
    story.pass(200);
    story.end("db", ExitStatus::Signal { signal: Signal::TERM, core: false });
    story.expect(&["stopped in 0.5 s: web 0.3 s, db 0.2 s", "exit 0"]);
}

#[test]
fn a_stop_waits_also_for_those_that_depend_through_a_oneshot_that_is_done() {
    let migrate = Instance { kind: Kind::Oneshot, ..instance("migrate") };
    let mut story = Story::new(vec![
        instance("db"),
        after(migrate, 0, Condition::Ready),
        after(instance("web"), 1, Condition::Completed),
    ]);
    story.exit("migrate", 0);
    story.record.clear();
    story.signal(Signal::TERM);
    story.expect(&["stopping (SIGTERM): web, db", "SIGTERM to web"]);
    story.exit("web", 0);
    story.expect(&["SIGTERM to db"]);
}

#[test]
fn who_has_got_sigkill_is_not_told_to_get_it_again() {
    let mut web = instance("web");
    web.stop.kill_timeout = Some(Duration::from_secs(2));
    let mut story = Story::new(vec![web]);
    story.signal(Signal::TERM);
    story.pass(1_999);
    story.record.clear();
    story.pass(1);
    story.expect(&[
        "web: still there 2 s after SIGTERM, SIGKILL (kill_timeout)",
        "SIGKILL to the group of web",
        "SIGKILL to web",
        "still stopping: web",
    ]);
}

/// What is known of a server says what SIGTERM does to it, and nothing about a signal that was chosen, or a command.
#[test]
fn a_better_signal_is_named_where_sigterm_was_the_wrong_one() {
    for (signal, hint) in [
        (
            Signal::TERM,
            ". On SIGTERM nginx drops the requests it is answering; stop_signal = \"SIGQUIT\" lets it finish them",
        ),
        (Signal::QUIT, ""),
    ] {
        let mut nginx = instance("web");
        Rc::make_mut(&mut nginx.launch).shown = "/usr/sbin/nginx -g \"daemon off;\"".into();
        nginx.stop.signal = signal;
        let mut story = Story::new(vec![nginx]);
        story.signal(Signal::TERM);
        story.pass(8_000);
        let told = format!("web: still there 8 s after {signal}, SIGKILL (kill_timeout){hint}");
        assert!(story.record.contains(&told), "{:#?}", story.record);
    }
}

#[test]
fn what_ignores_the_stop_signal_is_killed_in_time() {
    let mut story = db_and_web();
    story.signal(Signal::TERM);
    story.pass(1_000);
    story.expect(&[
        "stopping (SIGTERM): web, db",
        "SIGTERM to web",
        "still stopping: db, web; SIGKILL in 7 s",
    ]);
    story.pass(6_999);
    story.record.clear();
    story.pass(1);
    story.expect(&[
        "web: still there 8 s after SIGTERM, SIGKILL (kill_timeout)",
        "SIGKILL to the group of web",
        "SIGKILL to web",
        "still stopping: db, web; SIGKILL in 1 s",
    ]);
    story.end("web", ExitStatus::Signal { signal: Signal::KILL, core: false });
    story.expect(&["SIGTERM to db"]);
    story.pass(1_000);
    story.expect(&[
        "db: still there 1 s after SIGTERM, SIGKILL (shutdown_timeout)",
        "SIGKILL to the group of db",
        "SIGKILL to db",
    ]);
    story.end("db", ExitStatus::Signal { signal: Signal::KILL, core: false });
    story.expect(&["stopped in 9 s: web 8 s, db 1 s; exit code 137", "exit 137"]);
}

#[test]
fn a_second_sigint_kills_at_once() {
    let mut story = db_and_web();
    story.signal(Signal::INT);
    story.expect(&["stopping (SIGINT): web, db", "SIGTERM to web"]);
    story.signal(Signal::TERM);
    story.expect(&[]);
    story.signal(Signal::INT);
    story.expect(&[
        "db: SIGKILL at once (second SIGINT)",
        "SIGKILL to the group of db",
        "SIGKILL to db",
        "web: still there 0.0 s after SIGTERM, SIGKILL (second SIGINT)",
        "SIGKILL to the group of web",
        "SIGKILL to web",
    ]);
    for name in ["db", "web"] {
        story.end(name, ExitStatus::Signal { signal: Signal::KILL, core: false });
    }
    story.expect(&["stopped in 0.0 s: web 0.0 s, db 0.0 s; exit code 137", "exit 137"]);
}

#[test]
fn a_spent_budget_ends_the_container_with_the_services_code() {
    let mut worker = instance("worker");
    worker.restart.max_restarts = Some(1);
    let mut story = Story::new(vec![instance("db"), worker]);
    story.record.clear();
    story.pass(300);
    story.exit("worker", 17);
    story.expect(&["worker: code 17 after 0.3 s; restart 1/1 in 0.1 s"]);
    story.pass(100);
    story.expect(&["spawn worker"]);
    story.pass(300);
    story.exit("worker", 17);
    story.expect(&[
        "worker: code 17 after 0.3 s; failed for good: its 1 restart is spent",
        "stopping (worker has failed for good): db",
        "SIGTERM to db",
    ]);
    story.signal(Signal::TERM);
    story.exit("db", 0);
    story.expect(&[
        "CONTAINER STOPPED: worker failed twice in 0.7 s and may not be restarted again (max_restarts = 1)\n  \
           command    worker\n  \
           exits      code 17 (2 times) after 0.3 s each, at 0.3 s, 0.7 s\n  \
           others     db stopped as asked in 0.0 s\n  \
           exit code  17 (that of worker). To stay up without it: [services.worker] on_failure = \"ignore\"",
        "exit 17",
    ]);
}

#[test]
fn remains_are_stopped_before_the_restart() {
    let mut story = Story::new(vec![instance("web")]);
    story.record.clear();
    let helper = Process { pid: Pid::new(7).unwrap(), name: "sleep".to_owned() };
    story.remains.insert("web".to_owned(), vec![helper.clone()]);
    story.exit("web", 1);
    story.expect(&["SIGTERM to the remains of web", "web left \"sleep\" (pid 7) behind; stopping it"]);
    story.remains.insert("web".to_owned(), vec![helper.clone()]);
    story.pass(1_000);
    story.expect(&[]);
    story.event(Event::OrphansEnded { ended: vec![(helper.pid, ExitStatus::Code(99))] });
    story.expect(&["web: code 1 after 0.0 s; restart 1/10 in 0.1 s"]);
}

#[test]
fn remains_that_do_not_heed_are_killed_and_then_left_alone() {
    let mut story = Story::new(vec![instance("web")]);
    story.record.clear();
    let helper = Process { pid: Pid::new(7).unwrap(), name: "sleep".to_owned() };
    story.exit_with_remains("web", &helper, 14);
    story.expect(&["SIGTERM to the remains of web", "web left \"sleep\" (pid 7) behind; stopping it"]);
    story.pass_with_remains("web", &helper, 8_000);
    story.expect(&[
        "SIGKILL to the remains of web",
        "web left \"sleep\" (pid 7) behind, which did not heed SIGTERM: SIGKILL",
    ]);
    story.pass_with_remains("web", &helper, 5_000);
    let last = story.record.split_off(story.record.len().saturating_sub(2));
    assert!(last[0].contains("cannot be ended even with SIGKILL"), "{last:?}");
    assert!(last[1].starts_with("web: code 14 after 0.0 s; restart 1/10"), "{last:?}");
}

impl Story {
    fn exit_with_remains(&mut self, name: &str, helper: &Process, code: u8) {
        self.remains.insert(name.to_owned(), vec![helper.clone()]);
        self.exit(name, code);
    }

    /// As `pass`, with every sweep finding the helper still alive.
    fn pass_with_remains(&mut self, name: &str, helper: &Process, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.remains.insert(name.to_owned(), vec![helper.clone()]);
            let next = self.supervisor.deadline().unwrap_or(end).min(end);
            self.pass(u64::try_from(next.since(self.now).as_millis()).unwrap());
        }
    }
}

#[test]
fn oneshots_come_before_what_waits_for_them_and_end_a_container_of_oneshots() {
    let oneshot = |name| Instance { kind: Kind::Oneshot, ..instance(name) };
    let mut story = Story::new(vec![oneshot("migrate"), after(oneshot("seed"), 0, Condition::Completed)]);
    story.expect(&["spawn migrate"]);
    story.exit("migrate", 0);
    story.expect(&["migrate: code 0 after 0.0 s; completed", "spawn seed"]);
    story.exit("seed", 0);
    story.expect(&["seed: code 0 after 0.0 s; completed", "all is done; exit code 0", "exit 0"]);
}

#[test]
fn a_failed_dependency_fails_what_waits_for_it() {
    let mut migrate = Instance { kind: Kind::Oneshot, on_failure: OnFailure::Ignore, ..instance("migrate") };
    migrate.restart.max_restarts = Some(0);
    let mut story = Story::new(vec![migrate, after(instance("api"), 0, Condition::Completed)]);
    story.exit("migrate", 3);
    let headline =
        story.record.iter().find(|line| line.starts_with("CONTAINER")).cloned().unwrap_or_default();
    assert!(headline.starts_with("CONTAINER STOPPED: api cannot start without migrate"), "{headline}");
    assert!(story.record.contains(&"api: cannot start: it needs migrate, which failed".to_owned()));
    assert_eq!(story.record.last().map(String::as_str), Some("exit 1"));
}

#[test]
fn all_are_up_but_those_that_may_fail() {
    for (fails, expected) in
        [(false, "all 3 services are up, 0.0 s"), (true, "2 of 3 services are up, 0.0 s")]
    {
        let mut extra = Instance { on_failure: OnFailure::Ignore, ..instance("extra") };
        extra.restart.max_restarts = Some(0);
        let slow = Instance { kind: Kind::Oneshot, ..instance("slow") };
        let mut story = Story::new(vec![instance("web"), extra, slow]);
        if fails {
            story.exit("extra", 3);
        }
        story.exit("slow", 0);
        assert_eq!(story.record.last().map(String::as_str), Some(expected));
    }
}

/// One of its instances is there.
#[test]
fn a_service_has_failed_when_all_its_instances_have() {
    let one = |name: &str| {
        let mut one = Instance { on_failure: OnFailure::Ignore, service: Rc::from("web"), ..instance(name) };
        one.restart.max_restarts = Some(0);
        one
    };
    let slow = Instance { kind: Kind::Oneshot, ..instance("slow") };
    let mut story = Story::new(vec![one("web.1"), one("web.2"), slow]);
    story.exit("web.1", 3);
    story.exit("slow", 0);
    assert_eq!(story.record.last().map(String::as_str), Some("all 2 services are up, 0.0 s"));
}

#[test]
fn the_main_command_is_kept_by_none_that_the_container_goes_on_without() {
    let mut extra = Instance { on_failure: OnFailure::Ignore, ..instance("extra") };
    extra.restart.max_restarts = Some(0);
    let mut done = instance("done");
    done.restart.when = RestartWhen::OnFailure;
    let slow = Instance { kind: Kind::Oneshot, ..instance("slow") };
    let main = Instance { kind: Kind::Command, ..instance("main") };
    let main = after(after(main, 0, Condition::Ready), 1, Condition::Ready);
    let mut story = Story::new(vec![extra, done, slow, after(main, 2, Condition::Completed)]);
    story.exit("extra", 3);
    story.exit("done", 0);
    story.record.clear();
    story.exit("slow", 0);
    assert!(story.record.contains(&"spawn main".to_owned()), "{:?}", story.record);
}

#[test]
fn a_failed_start_is_a_run_that_failed() {
    let mut story = Story::new(Vec::new());
    story.expect(&["all is done; exit code 0", "exit 0"]);
    let mut web = instance("web");
    web.restart.when = RestartWhen::Never;
    let mut story = Story::new(vec![web]);
    story.record.clear();
    let child = Child { instance: InstanceId(0), run: 1, role: Role::Main };
    // As it really comes: the failure first, then the exit of the process that failed.
    let Supervisor { plan, services, .. } = &mut story.supervisor;
    let instance = &plan.instances[0];
    let context = Context { now: Time::ZERO, instance, limit: None, stopping: false };
    services[0] = Service::new(InstanceId(0), true);
    services[0].start(&context, &mut Vec::new());
    story.event(Event::Spawned { child, pid: Pid::new(50).unwrap() });
    story.event(Event::ExecFailed { child, error: StartError::IsDirectory { file: "/app".into() }.into() });
    story.event(Event::Exited { pid: Pid::new(50).unwrap(), status: ExitStatus::Code(127) });
    assert_eq!(
        story.record[0],
        "web: cannot start: /app is a directory; failed for good: restart = \"never\""
    );
    assert_eq!(story.record.last().map(String::as_str), Some("exit 126"));
}

#[test]
fn one_command_gets_all_signals_and_its_code_is_ours() {
    let mut bash = instance("bash");
    bash.kind = Kind::Command;
    bash.stop.kill_timeout = None;
    let mut story = Story::with_mode(Mode::Command(Manner::default()), vec![bash]);
    story.signal(Signal::HUP);
    story.signal(Signal::TERM);
    story.signal(Signal::RTMIN_3);
    story.pass(60_000);
    story.exit("bash", 3);
    let signals: Vec<_> = story.record.iter().filter(|line| line.starts_with("SIG")).cloned().collect();
    assert_eq!(signals, ["SIGHUP to bash", "SIGTERM to bash", "SIGRTMIN+3 to bash"]);
    assert_eq!(story.record.last().map(String::as_str), Some("exit 3"));
    assert!(!story.record.iter().any(|line| line.contains("CONTAINER")));
}

#[test]
fn a_service_that_ends_during_the_stop_is_not_started_again() {
    let mut story = db_and_web();
    story.signal(Signal::TERM);
    story.exit("db", 1);
    story.expect(&["stopping (SIGTERM): web, db", "SIGTERM to web", "db: code 1 after 0.0 s; stopped"]);
    story.pass(5_500);
    story.exit("web", 0);
    assert!(!story.record.iter().any(|line| line.starts_with("spawn")), "{:?}", story.record);
    assert_eq!(story.record.last().map(String::as_str), Some("exit 0"));
}

#[test]
fn who_is_asked_to_stop_before_the_beginning_starts_nothing() {
    let mut story = Story::not_begun(Mode::Services, vec![instance("web")]);
    story.signal(Signal::TERM);
    story.expect(&["stopping (SIGTERM)", "stopped in 0.0 s", "exit 0"]);
}

#[test]
fn one_command_gets_what_came_before_it_was_there() {
    let bash = Instance { kind: Kind::Command, ..instance("bash") };
    let mut story = Story::not_begun(Mode::Command(Manner::default()), vec![bash]);
    story.signal(Signal::HUP);
    story.signal(Signal::TERM);
    story.expect(&[]);
    story.event(Event::Begin);
    story.expect(&["spawn bash", "SIGHUP to bash", "SIGTERM to bash"]);
}

#[test]
fn a_signal_before_the_exec_is_an_end_like_any_other() {
    let mut story = Story::not_begun(
        Mode::Command(Manner::default()),
        vec![Instance { kind: Kind::Command, ..instance("bash") }],
    );
    story.slow_exec = true;
    story.event(Event::Begin);
    story.end("bash", ExitStatus::Signal { signal: Signal::TERM, core: false });
    story.expect(&[
        "spawn bash",
        "bash: code 143, SIGTERM after 0.0 s; its code is passed on",
        "stopping (bash has ended)",
        "exit 143",
    ]);
}

#[test]
fn remains_that_are_born_during_a_sweep_are_asked_too_and_nobody_twice() {
    let mut story = Story::new(vec![instance("web")]);
    story.record.clear();
    let process = |pid| Process { pid: Pid::new(pid).unwrap(), name: "sleep".to_owned() };
    story.exit_with_remains("web", &process(7), 1);
    story.expect(&["SIGTERM to the remains of web", "web left \"sleep\" (pid 7) behind; stopping it"]);
    story.remains.insert("web".to_owned(), vec![process(7), process(8)]);
    story.pass(1_000);
    story.expect(&["SIGTERM to the remains of web"]);
    story.remains.insert("web".to_owned(), vec![process(7), process(8)]);
    story.pass(1_000);
    story.expect(&[]);
}

/// The init of one command that does it so, from the beginning, without what is said.
fn one_command(manner: Manner, signals: &[(Signal, Option<Signal>)]) -> Story {
    let mut bash = Instance { kind: Kind::Command, ..instance("bash") };
    bash.stop.kill_timeout = None;
    bash.stop.mode = KillMode::Process;
    bash.signals = signals.iter().copied().collect();
    let mut story = Story::not_begun(Mode::Command(manner), vec![bash]);
    story.event(Event::Begin);
    story.record.clear();
    story
}

#[test]
fn one_command_is_signalled_as_its_manner_says() {
    let rewritten =
        [(Signal::TERM, Some(Signal::QUIT)), (Signal::HUP, None), (Signal::TSTP, Some(Signal::STOP))];
    for (receivers, suspend, signals, expected) in [
        (Receivers::Command, false, &[][..], &["SIGTERM to bash", "SIGHUP to bash", "SIGTSTP to bash"][..]),
        (
            Receivers::Group,
            true,
            &[],
            &[
                "SIGTERM to the group of bash",
                "SIGHUP to the group of bash",
                "SIGTSTP to the group of bash",
                "suspend",
            ],
        ),
        (Receivers::Everybody, false, &rewritten, &["SIGQUIT to everybody", "SIGSTOP to everybody"]),
        (
            Receivers::Group,
            true,
            &rewritten,
            &["SIGQUIT to the group of bash", "SIGSTOP to the group of bash", "suspend"],
        ),
    ] {
        let mut story = one_command(Manner { receivers, suspend, ..Manner::default() }, signals);
        for signal in [Signal::TERM, Signal::HUP, Signal::TSTP] {
            story.signal(signal);
        }
        let done: Vec<_> =
            story.record.iter().filter(|line| line.contains(" to ") || *line == "suspend").collect();
        assert_eq!(done, expected, "{receivers:?} {suspend} {signals:?}");
    }
}

/// What is done about a signal the moment it comes, and who gets what.
fn at_once(story: &Story, signal: Signal) -> (Care, Vec<(i32, Signal)>) {
    let mut sent = Vec::new();
    let care =
        story.supervisor.pass_on_at_once(signal, &mut |pid, becomes| sent.push((pid.number(), becomes)));
    (care, sent)
}

#[test]
fn the_word_for_a_forbidden_system_call_is_explained() {
    let shown = |number, core| ExitStatus::Signal { signal: Signal::new(number).unwrap(), core }.to_string();
    assert_eq!(
        shown(31, true),
        "code 159, SIGSYS (a system call that its seccomp profile forbids), core dumped"
    );
    assert_eq!(shown(11, false), "code 139, SIGSEGV");
}

#[test]
fn one_commands_signals_are_passed_on_at_once_and_followed_where_something_follows() {
    let table = [(Signal::USR1, Some(Signal::HUP)), (Signal::USR2, None)];
    let story = one_command(Manner::default(), &table);
    let pid = story.pids["bash"].number();
    for (signal, care, becomes) in [
        (Signal::INT, Care::Nothing, Some(Signal::INT)),
        (Signal::USR1, Care::Nothing, Some(Signal::HUP)),
        (Signal::USR2, Care::Nothing, None),
        (Signal::TERM, Care::ToFollow, Some(Signal::TERM)),
        (Signal::TSTP, Care::ToFollow, Some(Signal::TSTP)),
    ] {
        let expected = becomes.map(|becomes| (pid, becomes)).into_iter().collect();
        assert_eq!(at_once(&story, signal), (care, expected), "{signal}");
    }
    let mut told = story;
    told.supervisor.plan.log.debug = true;
    assert_eq!(at_once(&told, Signal::INT), (Care::ToFollow, vec![(pid, Signal::INT)]));
    for receivers in [Receivers::Group, Receivers::Everybody] {
        let story = one_command(Manner { receivers, ..Manner::default() }, &[]);
        assert_eq!(at_once(&story, Signal::INT), (Care::ToDecide, vec![]), "{receivers:?}");
    }
    let bash = Instance { kind: Kind::Command, ..instance("bash") };
    let early = Story::not_begun(Mode::Command(Manner::default()), vec![bash]);
    assert_eq!(at_once(&early, Signal::INT), (Care::ToDecide, vec![]));
}

#[test]
fn services_that_run_get_at_once_what_is_only_passed_on() {
    let mut story = db_and_web();
    let [db, web] = ["db", "web"].map(|name| story.pids[name].number());
    let both = vec![(db, Signal::USR1), (web, Signal::USR1)];
    assert_eq!(at_once(&story, Signal::USR1), (Care::ToFollow, both));
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        assert_eq!(at_once(&story, signal), (Care::ToDecide, vec![]), "{signal}");
    }
    story.signal(Signal::TERM);
    assert_eq!(at_once(&story, Signal::USR1), (Care::ToFollow, vec![(db, Signal::USR1)]), "web is to end");
}

#[test]
fn what_outlives_one_command_is_treated_as_its_manner_says() {
    let stop = Rest::Stop(Duration::from_secs(3));
    let drop = [(Signal::TERM, None)];
    for (rest, signals, expected) in [
        (Rest::Leave, &[][..], &["exit 4"][..]),
        (Rest::AskGroup, &[], &["SIGTERM to the group of bash", "exit 4"]),
        (Rest::AskGroup, &drop, &["exit 4"]),
        (stop, &[], &["SIGTERM to strays", "SIGKILL to strays", "exit 4"]),
    ] {
        let mut story = one_command(Manner { rest, ..Manner::default() }, signals);
        story.strays = vec![Process { pid: Pid::new(90).unwrap(), name: "x".to_owned() }];
        story.exit("bash", 4);
        if rest == stop {
            story.pass(2_900);
            assert!(!story.record.iter().any(|line| line.contains("SIGKILL")), "{:?}", story.record);
            story.pass(500);
        }
        let mut done: Vec<_> =
            story.record.iter().filter(|line| line.contains(" to ") || line.starts_with("exit")).collect();
        done.dedup();
        assert_eq!(done, expected, "{rest:?} {signals:?}");
    }
}

#[test]
fn a_command_that_cannot_be_started_has_the_code_of_its_manner() {
    for (start_failure, expected) in [(None, "exit 127"), (Some(2), "exit 2")] {
        let manner = Manner { start_failure, ..Manner::default() };
        let bash = Instance { kind: Kind::Command, ..instance("bash") };
        let mut story = Story::not_begun(Mode::Command(manner), vec![bash]);
        story.slow_exec = true;
        story.event(Event::Begin);
        let child = Child { instance: InstanceId(0), run: 1, role: Role::Main };
        let error = StartError::NotFound { program: "bash".to_owned(), path: None, similar: None }.into();
        story.event(Event::ExecFailed { child, error });
        story.exit("bash", 127);
        assert_eq!(story.record.last().map(String::as_str), Some(expected));
    }
}

#[test]
fn real_time_signals_that_come_early_are_kept_each() {
    let bash = Instance { kind: Kind::Command, ..instance("bash") };
    let mut story = Story::not_begun(Mode::Command(Manner::default()), vec![bash]);
    for signal in [Signal::RTMIN_3, Signal::HUP, Signal::RTMIN_3, Signal::HUP] {
        story.signal(signal);
    }
    story.event(Event::Begin);
    story.expect(&["spawn bash", "SIGRTMIN+3 to bash", "SIGHUP to bash", "SIGRTMIN+3 to bash"]);
}

#[test]
fn an_init_of_nothing_ends_when_it_is_asked_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut story = Story::not_begun(Mode::Pause, Vec::new());
        story.strays = vec![Process { pid: Pid::new(90).unwrap(), name: "x".to_owned() }];
        story.event(Event::Begin);
        story.signal(Signal::HUP);
        story.pass(60_000);
        story.expect(&[]);
        story.signal(signal);
        assert_eq!(story.record.last().map(String::as_str), Some("exit 0"));
        assert!(!story.record.iter().any(|line| line.contains("strays")), "{:?}", story.record);
    }
}

mod clients;
mod crowd;
mod memory;
mod readiness;
mod update;
