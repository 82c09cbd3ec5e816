//! An old plan against a new one: which instance is which, and what of each differs. Values are compared as they were resolved, so
//! that another spelling of the same changes nothing. Every field is named: a new one does not compile before it is decided here
//! whether a running process can take it on.

use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use super::{Asks, Guard, Healthcheck, Instance, Limits, Log, Plan, Ready, ReadyTest, Restart, Stop, Test};
use crate::event::{Attributes, Conditions, Identity, InstanceId, Launch};
use crate::sorted::Map;
use crate::units::Signal;

/// So many different instances there may have been since the container began; the ids of those that are gone stay theirs.
pub const INSTANCES_EVER_MAX: usize = 20_000;

/// A new plan with the ids of an old one.
#[derive(Debug)]
pub struct Fresh {
    /// As in [`Plan`].
    pub config: Option<Rc<str>>,
    /// All that shall run, in start order; in boxes, as each goes through some hands before it has its place.
    pub instances: Vec<(InstanceId, Box<Instance>)>,
    /// As in [`Plan`].
    pub shutdown_timeout: Option<Duration>,
    /// As in [`Plan`].
    pub guard: Guard,
    /// As in [`Plan`].
    pub routes: Map<Signal, Vec<InstanceId>>,
    /// As in [`Plan`].
    pub log: Log,
    /// Whether something differs that is of no single service and can be taken on.
    pub rules: bool,
}

/// What of an instance differs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The keys, as the configuration has them, in its order.
    pub keys: Vec<&'static str>,
    /// Whether a running process cannot take it on.
    pub anew: bool,
    /// Whether what its success means differs.
    pub success: bool,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_none(&self) -> bool {
        self.keys.is_empty()
    }

    fn adjust(&mut self, key: &'static str, same: bool) {
        if !same && self.keys.last() != Some(&key) {
            self.keys.push(key);
        }
    }

    fn anew(&mut self, key: &'static str, same: bool) {
        self.adjust(key, same);
        self.anew |= !same;
    }
}

impl Fresh {
    /// Gives the instances of `new`, whose ids are their places, the ids that they have in `known`, if they were ever in it, or the
    /// next free ones. `None`: there have been more than [`INSTANCES_EVER_MAX`].
    pub fn new(new: Plan, known: &Plan) -> Option<Self> {
        let Plan { mode: _, config, instances, order: _, shutdown_timeout, guard, mut routes, log } = new;
        let known_as =
            |(id, instance): (InstanceId, &Instance)| ((Rc::clone(&instance.service), instance.number), id);
        let ids: Map<(Rc<str>, u32), InstanceId> =
            (0_u32..).map(InstanceId).zip(&known.instances).map(known_as).collect();
        let mut next = known.instances.len();
        let mut stable: Vec<InstanceId> = Vec::with_capacity(instances.len());
        for instance in &instances {
            let id =
                ids.get(&(Rc::clone(&instance.service), instance.number)).copied().unwrap_or_else(|| {
                    next += 1;
                    InstanceId(u32::try_from(next - 1).unwrap_or(u32::MAX))
                });
            stable.push(id);
        }
        if next > INSTANCES_EVER_MAX {
            return None;
        }
        let stable_of = |id: InstanceId| stable.get(id.0 as usize).copied().unwrap_or(id);
        let mut placed = Vec::with_capacity(instances.len());
        for (mut instance, id) in instances.into_iter().zip(stable.iter().copied()) {
            for dependency in &mut instance.depends_on {
                dependency.on = stable_of(dependency.on);
            }
            placed.push((id, Box::new(instance)));
        }
        for receiver in routes.values_mut().flatten() {
            *receiver = stable_of(*receiver);
        }
        let before = (known.shutdown_timeout, known.guard, &known.routes, known.log.reopen_signal);
        let rules = before != (shutdown_timeout, guard, &routes, log.reopen_signal);
        Some(Self { config, instances: placed, shutdown_timeout, guard, routes, log, rules })
    }
}

/// What differs between an instance as it was and as it shall be; both with the ids of the same plan.
#[inline(never)]
pub fn difference(old: &Instance, new: &Instance) -> Difference {
    let mut found = Difference::default();
    let Instance {
        name,
        service: _, // these two say which it is
        number: _,
        kind,
        autostart,
        launch: new_launch,
        depends_on,
        restart,
        on_failure,
        on_success,
        stop,
        signals,
        ready,
        healthcheck,
        watchdog,
        memory,
        log_rate_limit,
    } = new;
    launch(&mut found, &old.launch, new_launch);
    found.anew("type", old.kind == *kind);
    let Limits { restart: most, limit, fallback, priority } = memory;
    found.adjust("max_memory_restart", old.memory.restart == *most);
    found.anew("memory_limit", old.memory.limit == *limit);
    found.adjust("memory_limit_fallback", old.memory.fallback == *fallback);
    found.adjust("oom_priority", old.memory.priority == *priority);
    found.adjust("autostart", old.autostart == *autostart);
    found.adjust("depends_on", same(&old.depends_on, depends_on));
    ready_test(&mut found, old.ready.as_ref(), ready.as_ref());
    health(&mut found, old.healthcheck.as_ref(), healthcheck.as_ref());
    found.anew("watchdog", old.watchdog == *watchdog);
    found.adjust("log_rate_limit", old.log_rate_limit == *log_rate_limit);
    restart_policy(&mut found, &old.restart, restart);
    found.adjust("on_failure", old.on_failure == *on_failure);
    found.adjust("on_success", old.on_success == *on_success);
    found.success = old.on_success != *on_success;
    stopping(&mut found, &old.stop, stop);
    found.adjust("instances", old.name == *name);
    found.adjust("signals", old.signals == *signals);
    found
}

#[inline(never)]
fn launch(found: &mut Difference, old: &Launch, new: &Launch) {
    let Launch {
        argv,
        shown,
        env_from_file,
        conditions,
        stdin,
        stdout,
        stderr,
        surroundings,
        mark,
        speaks,
        // It follows from the limits, and from what is here.
        cell: _,
    } = new;
    let Conditions { inherit_env, env, cwd, identity, attributes } = &**conditions;
    found.anew("command", (&old.argv, old.surroundings, &old.mark) == (argv, *surroundings, mark));
    // The same words, written otherwise.
    found.adjust("command", old.shown == *shown);
    found.anew("cwd", old.cwd == *cwd);
    found.anew("env", by_name(&old.env) == by_name(env));
    found.anew("inherit_env", old.inherit_env == *inherit_env);
    found.anew("env_from_file", by_name(&old.env_from_file) == by_name(env_from_file));
    let Identity { user, group, groups } = identity;
    found.anew("user", old.identity.user == *user);
    found.anew("group", old.identity.group == *group);
    let same_groups = match (&old.identity.groups, groups) {
        (Some(old), Some(new)) => same(old, new),
        (old, new) => old.is_none() && new.is_none(),
    };
    found.anew("groups", same_groups);
    let Attributes { umask, nice, oom_score_adj, rlimits, no_new_privileges, capabilities } = attributes;
    found.anew("umask", old.attributes.umask == *umask);
    found.anew("nice", old.attributes.nice == *nice);
    found.anew("oom_score_adj", old.attributes.oom_score_adj == *oom_score_adj);
    found.anew("rlimits", same(&old.attributes.rlimits, rlimits));
    found.anew("no_new_privileges", old.attributes.no_new_privileges == *no_new_privileges);
    found.anew("capabilities", old.attributes.capabilities == *capabilities);
    found.anew("stdin", old.stdin == *stdin);
    found.anew("stdout", old.stdout == *stdout);
    found.anew("stderr", old.stderr == *stderr);
    found.anew("ready", old.speaks == *speaks);
}

/// In whatever order they are written; of those with one name the last counts.
fn by_name<T>(env: &[(OsString, T)]) -> Map<&OsString, &T> {
    env.iter().map(|(name, value)| (name, value)).collect()
}

/// The same in whatever order, and however often.
fn same<T: PartialEq>(old: &[T], new: &[T]) -> bool {
    let within = |some: &[T], all: &[T]| {
        // What stands in its old place need not be looked for among thousands.
        some.iter().enumerate().all(|(at, one)| all.get(at) == Some(one) || all.contains(one))
    };
    within(old, new) && within(new, old)
}

#[inline(never)]
fn ready_test(found: &mut Difference, old: Option<&Ready>, new: Option<&Ready>) {
    let same = match (old, new) {
        (Some(old), Some(new)) => {
            let Ready { test, shown: _, timeout, interval } = new;
            let same = match (&old.test, test) {
                (ReadyTest::Asked(old), ReadyTest::Asked(new)) => same_test(old, new),
                (ReadyTest::Said(old), ReadyTest::Said(new)) => old == new,
                (ReadyTest::After(old), ReadyTest::After(new)) => old == new,
                (ReadyTest::Notified, ReadyTest::Notified) | (ReadyTest::Announced, ReadyTest::Announced) => {
                    true
                }
                (
                    ReadyTest::Notified
                    | ReadyTest::Announced
                    | ReadyTest::Said(_)
                    | ReadyTest::After(_)
                    | ReadyTest::Asked(_),
                    _,
                ) => false,
            };
            same && (old.timeout, old.interval) == (*timeout, *interval)
        }
        (old, new) => old.is_none() && new.is_none(),
    };
    found.anew("ready", same);
    found.adjust("ready", old.map(|old| &old.shown) == new.map(|new| &new.shown));
}

#[inline(never)]
fn health(found: &mut Difference, old: Option<&Healthcheck>, new: Option<&Healthcheck>) {
    let same = match (old, new) {
        (Some(old), Some(new)) => {
            let Healthcheck { test, shown: _, interval, retries, start_period } = new;
            same_test(&old.test, test)
                && (old.interval, old.retries, old.start_period) == (*interval, *retries, *start_period)
        }
        (old, new) => old.is_none() && new.is_none(),
    };
    found.anew("healthcheck", same);
    found.adjust("healthcheck", old.map(|old| &old.shown) == new.map(|new| &new.shown));
}

#[inline(never)]
fn same_test(old: &Test, new: &Test) -> bool {
    let Test { asks, timeout } = new;
    let same = match (&old.asks, asks) {
        (Asks::Command(old), Asks::Command(new)) => same_command(old, new),
        (Asks::Target(old), Asks::Target(new)) => old == new,
        (Asks::Command(_), Asks::Target(_)) | (Asks::Target(_), Asks::Command(_)) => false,
    };
    same && old.timeout == *timeout
}

/// What is run beside a service has all but its words from the service, whose differences are told for themselves.
fn same_command(old: &Launch, new: &Launch) -> bool {
    old.argv == new.argv
}

#[inline(never)]
fn restart_policy(found: &mut Difference, old: &Restart, new: &Restart) {
    let Restart { when, stop_exit_codes, max_restarts, min_uptime, window, delay, backoff, delay_max } = new;
    found.adjust("restart", old.when == *when);
    found.adjust("stop_exit_codes", old.stop_exit_codes == *stop_exit_codes);
    found.adjust("max_restarts", old.max_restarts == *max_restarts);
    found.adjust("min_uptime", old.min_uptime == *min_uptime);
    found.adjust("restart_window", old.window == *window);
    found.adjust("restart_delay", old.delay == *delay);
    found.adjust("restart_backoff", old.backoff.to_bits() == backoff.to_bits());
    found.adjust("restart_delay_max", old.delay_max == *delay_max);
}

#[inline(never)]
fn stopping(found: &mut Difference, old: &Stop, new: &Stop) {
    let Stop { signal, kill_timeout, mode, command } = new;
    found.adjust("stop_signal", old.signal == *signal);
    found.adjust("kill_timeout", old.kill_timeout == *kill_timeout);
    found.adjust("kill_mode", old.mode == *mode);
    let same = match (&old.command, command) {
        (Some(old), Some(new)) => same_command(old, new),
        (old, new) => old.is_none() && new.is_none(),
    };
    found.adjust("stop_command", same);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Cell, Mark, Output, Rlimit, Secret, Speaks, Stdin, Surroundings};
    use crate::plan::tests::instance;
    use crate::plan::{
        Amount, Condition, Dependency, KillMode, Kind, Mode, OnFailure, OnSuccess, RestartWhen, in_order,
    };
    use crate::probe::Target;

    /// What differs when `change` is made, and whether it is started anew by that.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Instance), keys: &[&str], anew: bool) {
        let (old, mut new) = (full(), full());
        change(&mut new);
        let found = difference(&old, &new);
        assert_eq!((&*found.keys, found.anew), (keys, anew));
    }

    /// One that has everything.
    fn full() -> Instance {
        let with = |env: &[(&str, &str)]| {
            let env = env.iter().map(|(name, value)| ((*name).into(), Secret::new(*value))).collect();
            Rc::new(Conditions { env, ..Conditions::default() })
        };
        let command = |word: &str| {
            Rc::new(Launch {
                conditions: with(&[("A", "1")]),
                ..Launch::new(vec![Secret::new(word)], word.into())
            })
        };
        let mut full = instance("a");
        full.launch =
            Rc::new(Launch { conditions: with(&[("A", "1"), ("B", "2")]), ..(*full.launch).clone() });
        full.stop.command = Some(command("stop"));
        let test = Test { asks: Asks::Command(command("test")), timeout: Duration::from_secs(1) };
        full.ready = Some(Ready {
            test: ReadyTest::Asked(test.clone()),
            shown: "test".into(),
            timeout: Duration::from_mins(1),
            interval: Duration::from_millis(200),
        });
        full.healthcheck = Some(Healthcheck {
            test,
            shown: "test".into(),
            interval: Duration::from_secs(10),
            retries: 3,
            start_period: Duration::ZERO,
        });
        full
    }

    fn of_launch(instance: &mut Instance) -> &mut Launch {
        Rc::make_mut(&mut instance.launch)
    }

    fn of_conditions(instance: &mut Instance) -> &mut Conditions {
        Rc::make_mut(&mut of_launch(instance).conditions)
    }

    #[test]
    fn what_a_running_process_can_take_on_does_not_restart_it() {
        check(|_| {}, &[], false);
        check(|i| i.autostart = false, &["autostart"], false);
        let on = Dependency { on: InstanceId(7), condition: Condition::Ready, restart: true };
        check(|i| i.depends_on.push(on), &["depends_on"], false);
        check(|i| i.restart.when = RestartWhen::Never, &["restart"], false);
        check(|i| i.restart.stop_exit_codes = vec![3], &["stop_exit_codes"], false);
        check(|i| i.restart.max_restarts = None, &["max_restarts"], false);
        check(|i| i.restart.min_uptime = Duration::ZERO, &["min_uptime"], false);
        check(|i| i.restart.window = Some(Duration::ZERO), &["restart_window"], false);
        check(|i| i.restart.delay = Duration::ZERO, &["restart_delay"], false);
        check(|i| i.restart.backoff = 1.0, &["restart_backoff"], false);
        check(|i| i.restart.delay_max = Duration::ZERO, &["restart_delay_max"], false);
        check(|i| i.on_failure = OnFailure::Ignore, &["on_failure"], false);
        check(|i| i.on_success = OnSuccess::Exit, &["on_success"], false);
        check(|i| i.stop.signal = Signal::INT, &["stop_signal"], false);
        check(|i| i.stop.kill_timeout = None, &["kill_timeout"], false);
        check(|i| i.stop.mode = KillMode::Group, &["kill_mode"], false);
        check(|i| i.stop.command = None, &["stop_command"], false);
        check(|i| i.signals = Map::from([(Signal::HUP, None)]), &["signals"], false);
        check(|i| i.name = "a.1".into(), &["instances"], false);
        let most = Some(Amount::Bytes(1 << 30));
        check(|i| i.memory.restart = most, &["max_memory_restart"], false);
        check(|i| i.memory.fallback = true, &["memory_limit_fallback"], false);
        check(|i| i.memory.priority = 1, &["oom_priority"], false);
        check(|i| of_launch(i).cell = Some(Cell::default()), &[], false);
        check(|i| of_launch(i).shown = "${A}".to_owned(), &["command"], false);
        check(|i| of_conditions(i).env.reverse(), &[], false);
        check(
            |i| {
                if let Some(ready) = &mut i.ready {
                    ready.shown = "other".into();
                }
            },
            &["ready"],
            false,
        );
    }

    #[test]
    fn another_order_changes_nothing() {
        let on = |id, condition| Dependency { on: InstanceId(id), condition, restart: false };
        let limit = |resource| Rlimit { resource, soft: 1, hard: 2 };
        let mut old = full();
        old.depends_on = vec![on(1, Condition::Ready), on(2, Condition::Started)];
        of_launch(&mut old).env_from_file = [("C".into(), "/c".into()), ("D".into(), "/d".into())].into();
        let conditions = of_conditions(&mut old);
        conditions.identity.groups = Some(vec!["adm".to_owned(), "daemon".to_owned()]);
        conditions.attributes.rlimits = vec![limit(6), limit(7)];
        let mut new = old.clone();
        new.depends_on.reverse();
        Rc::make_mut(&mut of_launch(&mut new).env_from_file).reverse();
        let conditions = of_conditions(&mut new);
        conditions.identity.groups.as_mut().unwrap().reverse();
        conditions.attributes.rlimits.reverse();
        assert_eq!(difference(&old, &new), Difference::default());
        new.depends_on[0].condition = Condition::Ready;
        of_conditions(&mut new).attributes.rlimits[0].hard = 3;
        assert_eq!(difference(&old, &new).keys, ["rlimits", "depends_on"]);
    }

    #[test]
    fn what_it_cannot_take_on_starts_it_anew() {
        check(|i| of_launch(i).argv.push(Secret::new("x")), &["command"], true);
        check(|i| of_conditions(i).cwd = Some("/".into()), &["cwd"], true);
        check(|i| of_conditions(i).env = vec![("A".into(), Secret::new("1"))], &["env"], true);
        check(|i| of_conditions(i).inherit_env = false, &["inherit_env"], true);
        check(|i| of_launch(i).env_from_file = [("C".into(), "/c".into())].into(), &["env_from_file"], true);
        check(|i| of_conditions(i).identity.user = Some("app".to_owned()), &["user"], true);
        check(|i| of_conditions(i).identity.group = Some("app".to_owned()), &["group"], true);
        check(|i| of_conditions(i).identity.groups = Some(Vec::new()), &["groups"], true);
        check(|i| of_conditions(i).attributes.umask = Some(0o22), &["umask"], true);
        check(|i| of_conditions(i).attributes.nice = Some(1), &["nice"], true);
        check(|i| of_conditions(i).attributes.oom_score_adj = Some(1), &["oom_score_adj"], true);
        let limit = Rlimit { resource: 7, soft: 1, hard: 1 };
        check(|i| of_conditions(i).attributes.rlimits = vec![limit], &["rlimits"], true);
        check(|i| of_conditions(i).attributes.no_new_privileges = true, &["no_new_privileges"], true);
        check(|i| of_conditions(i).attributes.capabilities = Some(Vec::new()), &["capabilities"], true);
        check(|i| of_launch(i).stdin = Stdin::Inherit, &["stdin"], true);
        check(|i| of_launch(i).stdout = Output::Raw, &["stdout"], true);
        check(|i| of_launch(i).stderr = Output::Null, &["stderr"], true);
        check(|i| of_launch(i).surroundings = Surroundings::Command, &["command"], true);
        check(|i| of_launch(i).mark = Some(Mark { service: "b".into(), instance: 1 }), &["command"], true);
        check(|i| of_launch(i).speaks = Speaks { notify: true, descriptor: None }, &["ready"], true);
        let most = Some(Amount::Bytes(1 << 30));
        check(|i| i.memory.limit = most, &["memory_limit"], true);
        check(|i| i.kind = Kind::Oneshot, &["type"], true);
        check(|i| i.ready = None, &["ready"], true);
        check(|i| i.healthcheck = None, &["healthcheck"], true);
        check(|i| i.watchdog = Some(Duration::ZERO), &["watchdog"], true);
        let other = Asks::Target(Rc::new(Target::Unix { path: "/x".into() }));
        check(
            |i| {
                if let Some(check) = &mut i.healthcheck {
                    check.test.asks = other;
                    check.shown = "x".into();
                }
            },
            &["healthcheck"],
            true,
        );
    }

    #[test]
    fn ids_stay_with_the_service_and_the_number() {
        let plan = |names: &[(&str, u32)]| {
            let one = |(service, number): &(&str, u32)| Instance { number: *number, ..instance(service) };
            let mut instances: Vec<Instance> = names.iter().map(one).collect();
            if let [first, .., last] = instances.as_mut_slice() {
                let on = Dependency { on: InstanceId(0), condition: Condition::Ready, restart: false };
                last.depends_on.push(on);
                first.on_failure = OnFailure::Ignore;
            }
            Plan {
                guard: Guard::default(),
                mode: Mode::Services,
                config: None,
                order: in_order(&instances),
                routes: Map::from([(Signal::USR1, vec![InstanceId(0)])]),
                instances,
                shutdown_timeout: None,
                log: Log::default(),
            }
        };
        let known = plan(&[("db", 1), ("api", 1), ("api", 2), ("gone", 1)]);
        let fresh =
            Fresh::new(plan(&[("new", 1), ("gone", 1), ("api", 1), ("api", 3), ("db", 1)]), &known).unwrap();
        let ids: Vec<u32> = fresh.instances.iter().map(|(id, _)| id.0).collect();
        assert_eq!(ids, [4, 3, 1, 5, 0]);
        let (_, last) = fresh.instances.last().unwrap();
        assert_eq!(last.depends_on[0].on, InstanceId(4));
        assert_eq!(fresh.routes.get(&Signal::USR1), Some(&vec![InstanceId(4)]));
    }
}
