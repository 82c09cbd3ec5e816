//! From the configuration to the plan: `[defaults]` merged in, every instance evaluated, everything in start order.

use std::ffi::OsString;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::eval::{Environment, Evaluator, INSTANCE, Read, SERVICE, Scope, check_variable};
use super::graph::{self, Edge};
use super::memory::{self, Guard, Limits};
use super::names;
use super::output::Defaults;
use super::readiness;
use super::settings::{Common, KILL_TIMEOUT, Own, Wanted};
use super::values::{CommandLine, show};
use super::{
    Condition, Dependency, Instance, KillMode, Kind, Log, Mode, OnFailure, OnSuccess, Plan, Restart,
    RestartWhen, Stop, in_order,
};
use crate::cli::One;
use crate::config::interpolate::Reported;
use crate::config::keys::Id;
use crate::config::tree::{Entry, Value};
use crate::config::{self, Config, Problem, Problems, Service, Setting, World};
use crate::control::Place;
use crate::event::{Conditions, InstanceId, Launch, LogFile, Mark, Output, Secret, Stdin, Surroundings};
use crate::gather::{Gather, Joined, parted_at_last};
use crate::sorted::{Map, Set, sort};
use crate::suggest::did_you_mean;
use crate::units::Signal;

/// So many instances there may be in all.
const MAX_INSTANCES: usize = 10_000;
/// So many pairs of an instance and one that it waits for.
const MAX_DEPENDENCIES: usize = 1_000_000;
/// The deadline of the whole stop when nothing else is said: a second before `docker stop` loses patience.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(9);
/// The longest wait before a restart when nothing else is said.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// So many services of a circle are named.
const MAX_SHOWN: usize = 12;
/// The name of the command that `tinysup run -- COMMAND` adds.
const MAIN: &str = "main";

/// What to load.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// The file of `-c`; `None`: where configurations usually are.
    pub file: Option<&'a Path>,
    /// The command of `tinysup run -- COMMAND`, whose end ends the container.
    pub main: Option<Vec<OsString>>,
    /// It is for this container: what it asks for has to be possible here.
    pub here: bool,
}

/// A configuration that can be run.
#[derive(Debug)]
pub struct Loaded {
    /// What shall run.
    pub plan: Plan,
    /// The main file, as messages show it.
    pub file: String,
    /// Where clients find us.
    pub control: Place,
}

/// Finds, reads and checks the configuration, and makes the plan.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(request: &Request<'_>, world: &dyn World) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let config = config::read(request.file, world, &mut problems);
    let Some(file) = problems.sources.first().map(|source| source.name.clone()) else { return Err(problems) };
    let (mut plan, control) = build(&config, request, world, &mut problems);
    plan.config = Some(world.absolute(Path::new(&file)).to_string_lossy().into());
    if problems.is_empty() { Ok(Loaded { plan, file, control }) } else { Err(problems) }
}

/// The plan of one command: the init that stands in front of it adds nothing.
#[inline(never)]
pub fn single(one: &One) -> Plan {
    let program = one.argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    let name: Rc<str> = Rc::from(show(crate::hints::base_name(&program)));
    let surroundings = if one.session { Surroundings::Session } else { Surroundings::Command };
    let mut instance = command(name, one.argv.clone(), &program, surroundings, None);
    instance.stop.kill_timeout = one.kill_timeout;
    instance.stop.mode = KillMode::Process;
    instance.signals = one.rewrite.iter().copied().collect();
    Plan {
        mode: Mode::Command(one.manner),
        order: in_order(std::slice::from_ref(&instance)),
        config: None,
        instances: vec![instance],
        shutdown_timeout: None,
        guard: Guard::default(),
        routes: Map::new(),
        log: Log::default(),
    }
}

/// The plan of nothing at all.
pub fn pause() -> Plan {
    Plan {
        mode: Mode::Pause,
        config: None,
        instances: Vec::new(),
        order: in_order(&[]),
        shutdown_timeout: None,
        guard: Guard::default(),
        routes: Map::new(),
        log: Log::default(),
    }
}

/// A command given on the command line: never restarted, its end is the end, and the terminal is its own. With a mark, what it leaves
/// behind is known by that.
fn command(
    name: Rc<str>,
    argv: Vec<OsString>,
    program: &str,
    surroundings: Surroundings,
    mark: Option<Mark>,
) -> Instance {
    let mut conditions = Conditions::default();
    if mark.is_some() {
        conditions.env = vec![(SERVICE.into(), Secret::new(&*name)), (INSTANCE.into(), Secret::new("1"))];
    }
    let launch = Launch {
        stdin: Stdin::Inherit,
        stdout: Output::Inherit,
        stderr: Output::Inherit,
        surroundings,
        conditions: Rc::new(conditions),
        mark,
        // Arguments on a command line may be secrets; nobody wrote them down to be shown.
        ..Launch::new(argv.into_iter().map(Secret::new).gather(), show(program))
    };
    Instance {
        service: Rc::clone(&name),
        name,
        number: 1,
        kind: Kind::Command,
        autostart: true,
        launch: Rc::new(launch),
        depends_on: Vec::new(),
        restart: Restart {
            when: RestartWhen::Never,
            stop_exit_codes: Vec::new(),
            max_restarts: Some(0),
            min_uptime: Duration::ZERO,
            window: None,
            delay: Duration::ZERO,
            backoff: 1.0,
            delay_max: Duration::ZERO,
        },
        on_failure: OnFailure::Exit,
        on_success: OnSuccess::Exit,
        stop: Stop {
            signal: Signal::TERM,
            kill_timeout: Some(KILL_TIMEOUT),
            mode: KillMode::Mixed,
            command: None,
        },
        signals: Map::new(),
        ready: None,
        healthcheck: None,
        watchdog: None,
        memory: Limits::default(),
        log_rate_limit: None,
    }
}

/// Makes the plan. Where `problems` is not empty afterwards the plan is not to be used.
fn build(
    config: &Config,
    request: &Request<'_>,
    world: &dyn World,
    problems: &mut Problems,
) -> (Plan, Place) {
    let here = request.here.then(|| memory::Here::new(world));
    let builder = Builder {
        config,
        evaluator: Evaluator::new(world, problems),
        instances: 0,
        here,
        guard: Guard::default(),
        log: Defaults::default(),
        files: Map::new(),
    };
    builder.build(request.main.as_deref())
}

struct Builder<'a> {
    config: &'a Config,
    evaluator: Evaluator<'a>,
    instances: usize,
    /// What is here, where that matters.
    here: Option<memory::Here<'a>>,
    guard: Guard,
    /// What `[log]` says for all.
    log: Defaults,
    /// The files of output so far.
    files: Map<OsString, Rc<LogFile>>,
}

/// A service whose instances can be put in order.
struct Built {
    name: Rc<str>,
    instances: Vec<Instance>,
    depends_on: Vec<Wanted>,
}

impl<'a> Builder<'a> {
    #[inline(never)]
    fn build(mut self, main: Option<&[OsString]>) -> (Plan, Place) {
        let config = self.config;
        let nobody = self.environment("", &[]);
        let mut scope = Scope::new(&nobody, None);
        self.guard = memory::guard(&mut self.evaluator, &mut scope, &config.memory, self.here.as_ref());
        let (log, defaults) = self.evaluator.log(&mut scope, &config.log);
        self.log = defaults;
        self.check_defaults();
        let mut ready: Vec<Built> = Vec::new();
        let mut disabled: Vec<&str> = Vec::new();
        for service in &config.services {
            match self.service(service) {
                Some(service) => ready.push(service),
                None => disabled.push(&service.name),
            }
        }
        // All at once, as there may be very many.
        let disabled = disabled.into_iter().collect();
        self.check_any(ready.is_empty() && main.is_none());
        let (mut instances, places) = self.in_order(ready, &disabled);
        if let Some(argv) = main {
            self.add_main(argv, &mut instances);
        }
        let shutdown_timeout = config
            .shutdown_timeout
            .as_ref()
            .and_then(|setting| self.evaluator.duration(&mut scope, setting.key, &setting.node).ok())
            .unwrap_or(SHUTDOWN_TIMEOUT);
        let control = config
            .control
            .as_ref()
            .and_then(|setting| self.evaluator.place(&mut scope, setting.key, &setting.node).ok())
            .unwrap_or_default();
        let routes = self.routes(&mut scope, &places, &disabled, log.reopen_signal);
        let plan = Plan {
            mode: Mode::Services,
            config: None,
            order: in_order(&instances),
            instances,
            shutdown_timeout: Some(shutdown_timeout),
            guard: self.guard,
            routes,
            log,
        };
        (plan, control)
    }

    /// `[signals]`: who gets which of the signals that the container gets.
    #[inline(never)]
    fn routes(
        &mut self,
        scope: &mut Scope<'_>,
        places: &Places,
        disabled: &Set<&str>,
        reopen_signal: Option<Signal>,
    ) -> Map<Signal, Vec<InstanceId>> {
        let config = self.config;
        let mut routes = Map::new();
        for entry in &config.routes {
            if let Ok((signal, ids)) = self.route(scope, entry, places, disabled)
                && routes.insert(signal, ids).is_some()
            {
                self.evaluator.problems.tell(entry.span, format_args!("{signal} is set twice"));
            }
        }
        if let Some(entry) =
            config.routes.iter().find(|entry| Signal::parse(&entry.key).ok() == reopen_signal)
            && let Some(signal) = reopen_signal
        {
            let message =
                format_args!("{signal} opens files again (reopen_signal in [log]) and is not passed on");
            self.evaluator.problems.tell(entry.span, message);
        }
        routes
    }

    /// Where there is nothing to run, it is a mistake.
    #[inline(never)]
    fn check_any(&mut self, none: bool) {
        let config = self.config;
        if config.services.is_empty() && !config.incomplete && self.evaluator.problems.is_empty() {
            self.evaluator.problems.push(
                Problem::general("the configuration has no services")
                    .help("[services.web] and under it command = [\"program\", \"argument\"]; `tinysup example` shows more"),
            );
        } else if none && !config.services.is_empty() {
            self.evaluator
                .problems
                .push(Problem::general("no service is left to run: all have enabled = false"));
        }
    }

    /// `[defaults]` by themselves, so that a mistake there is told even if no service uses the value.
    fn check_defaults(&mut self) {
        let settings: Vec<&Setting> = self.config.defaults.iter().gather();
        let environment = self.environment("NAME", &[]);
        self.check_only(&settings, &environment);
    }

    /// Looks for mistakes in settings that nothing will be made of.
    fn check_only(&mut self, settings: &[&Setting], environment: &Environment<'a>) {
        self.evaluator.lenient = true;
        let mut scope = Scope::new(environment, Some(1));
        let (mut common, mut own) = (Common::default(), Own::new(self.log));
        for setting in settings {
            self.evaluator.common(&mut scope, setting, &mut common);
            self.evaluator.own(&mut scope, setting, &mut own);
        }
        self.evaluator.environment(&mut scope);
        self.evaluator.lenient = false;
    }

    /// A service with its instances; `None` if it is disabled.
    #[inline(never)]
    fn service(&mut self, service: &'a Service) -> Option<Built> {
        let mut settings = merged(self.config, service);
        let mut environment = self.environment(&service.name, &service.settings);
        let mut common = Common::default();
        let mut scope = Scope::new(&environment, None);
        for setting in settings.iter().filter(|setting| setting.key.id.is_common()) {
            self.evaluator.common(&mut scope, setting, &mut common);
        }
        environment.set_instance_env(&common.instance_env);
        if !common.enabled {
            self.check_only(&settings, &environment);
            return None;
        }
        self.check_shell(service);
        if common.kind == Kind::Oneshot {
            self.check_oneshot(service);
            settings.retain(|setting| !setting.key.id.is_of_daemons());
        }
        self.instances += common.instances as usize;
        let mut instances = Vec::new();
        if self.instances > MAX_INSTANCES {
            let message = format_args!("more than {MAX_INSTANCES} instances in all");
            self.evaluator.problems.tell(service.span, message);
        } else {
            for number in 1..=common.instances {
                let known = self.evaluator.problems.count();
                instances.extend(self.instance(service, &settings, &environment, &common, number));
                if self.evaluator.problems.count() > known {
                    break; // the others would say the same
                }
            }
        }
        Some(Built { name: Rc::clone(&service.name), instances, depends_on: common.depends_on })
    }

    /// `env` and `env_file` of a service over those of `[defaults]`.
    #[inline(never)]
    fn environment(&mut self, service: &'a str, settings: &'a [Setting]) -> Environment<'a> {
        let mut environment = Environment {
            service,
            instance_env: INSTANCE.to_owned(),
            env: Vec::new(),
            index: Map::new(),
            env_file: None,
        };
        let mut set: Vec<&Entry> = Vec::new();
        for setting in self.config.defaults.iter().chain(settings) {
            match setting.key.id {
                Id::EnvFile => environment.env_file = Some(setting),
                Id::Env => {
                    let (key, node) = (setting.key, &setting.node);
                    if let Value::List(_) = node.value {
                        let help = "env = { NAME = \"value\" }".into();
                        self.evaluator.mismatch_with(key, node, None, Some(help));
                        continue;
                    }
                    let Ok(entries) = self.evaluator.table(key, node) else { continue };
                    for entry in entries {
                        match check_variable(&entry.key) {
                            Ok(()) => set.push(entry),
                            Err(message) => {
                                self.evaluator.problems.tell(entry.span, format_args!("{message}"));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        environment.set(set);
        environment
    }

    /// `shell = true` beside commands that are arrays does nothing; that is surely a mistake.
    #[inline(never)]
    fn check_shell(&mut self, service: &Service) {
        let find = |id| service.settings.iter().find(|setting| setting.key.id == id);
        let is_string = |id| {
            find(id).is_some_and(|setting| matches!(setting.node.value, Value::Text(_) | Value::Unusable))
        };
        if let Some(shell) = find(Id::Shell)
            && matches!(shell.node.value, Value::Boolean(true))
            && !is_string(Id::Command)
            && !is_string(Id::StopCommand)
        {
            self.evaluator.problems.advise(
                shell.span,
                format_args!("shell = true needs the command as one string"),
                format_args!("command = \"…\", or leave shell out"),
            );
        }
    }

    /// What only a daemon can have is a mistake in a oneshot. From `[defaults]` it is meant for the others.
    #[inline(never)]
    fn check_oneshot(&mut self, service: &Service) {
        for setting in service.settings.iter().filter(|setting| setting.key.id.is_of_daemons()) {
            let message =
                format_args!("a oneshot has no {}: it is done when it exits with 0", setting.key.name);
            self.evaluator.problems.advise(
                setting.span,
                message,
                format_args!(
                    "leave it out; depends_on = {{ {} = \"completed\" }} waits for it",
                    service.name
                ),
            );
        }
    }

    #[inline(never)]
    fn instance(
        &mut self,
        service: &'a Service,
        settings: &[&'a Setting],
        environment: &Environment<'a>,
        common: &Common,
        number: u32,
    ) -> Option<Instance> {
        let mut scope = Scope::new(environment, Some(number));
        let mut own = Own::new(self.log);
        for setting in settings {
            self.evaluator.own(&mut scope, setting, &mut own);
        }
        own.restart.delay_max = self.delay_max(&own);
        self.evaluator.check_heard(&own);
        let memory = own.memory.resolve(&mut self.evaluator, self.guard.reference, self.here.as_ref());
        let whole = memory.limit.and(self.here.as_ref()).and_then(|here| here.whole(self.guard.reference));
        self.check_files(&own);
        let speaks = readiness::speaks(&own);
        let mut env = self.evaluator.environment(&mut scope);
        let mut set = |name: &str, value: &str| env.push((name.into(), Secret::new(value)));
        set(SERVICE, &service.name);
        let shown_number = number.to_string();
        set(INSTANCE, &shown_number);
        if common.instance_env != INSTANCE {
            set(&common.instance_env, &shown_number);
        }
        let CommandLine { argv, shown } = *own.command?;
        let mut launch = own.launch;
        launch.argv = argv;
        launch.shown = shown;
        launch.conditions = Rc::new(Conditions { env, ..own.conditions });
        launch.env_from_file = Map::ordered(own.env_from_file).into_iter().gather().into();
        launch.mark = Some(Mark { service: Rc::clone(&service.name), instance: number });
        launch.speaks = speaks;
        let healthcheck = own.healthcheck.map(|wanted| wanted.resolve(&launch));
        let ready = match own.ready {
            Some(wanted) => Some(wanted.resolve(&launch)),
            None => healthcheck.as_ref().map(readiness::ready_when_healthy),
        };
        own.stop.command = own.stop_command.map(|command| Rc::new(command.beside(&launch)));
        launch.cell = memory.cell(self.guard, whole);
        let name = match common.instances {
            1 => Rc::clone(&service.name),
            _ => Rc::from(format!("{}.{number}", service.name)),
        };
        let usual = match common.kind {
            Kind::Daemon | Kind::Command => RestartWhen::Always,
            Kind::Oneshot => RestartWhen::OnFailure,
        };
        own.restart.when = own.when.unwrap_or(usual);
        Some(Instance {
            name,
            service: Rc::clone(&service.name),
            number,
            kind: common.kind,
            autostart: common.autostart,
            launch: Rc::new(launch),
            depends_on: Vec::new(),
            restart: own.restart,
            on_failure: own.on_failure,
            on_success: own.on_success,
            stop: own.stop,
            signals: own.signals,
            ready,
            healthcheck,
            watchdog: own.watchdog,
            memory,
            log_rate_limit: own.log_rate_limit,
        })
    }

    /// A file is rotated in one way, and its lines have one form, however many write to it.
    #[inline(never)]
    fn check_files(&mut self, own: &Own) {
        for (file, span) in &own.files {
            let known = self.files.get_or_insert_with(file.path.clone().into_os_string(), || Rc::clone(file));
            let alike = LogFile { also: known.also, ..(**file).clone() } == **known;
            if !alike {
                let message = format_args!("this file has another format, max_size or max_files elsewhere");
                let help =
                    format_args!("they must be the same wherever it is named; [log] sets them for all files");
                self.evaluator.problems.advise(*span, message, help);
            }
        }
    }

    /// The cap never cuts a `restart_delay` that was asked for, unless it was set itself: then the two contradict each other.
    #[inline(never)]
    fn delay_max(&mut self, own: &Own) -> Duration {
        match own.delay_max {
            None => DELAY_MAX.max(own.restart.delay),
            Some((longest, span)) => {
                if longest < own.restart.delay {
                    self.evaluator.problems.advise(
                        span,
                        format_args!("restart_delay_max must not be shorter than restart_delay"),
                        format_args!("the first wait is restart_delay already"),
                    );
                }
                longest
            }
        }
    }

    /// Puts the instances in start order and ties them together. The second value says where the instances of each service are.
    #[inline(never)]
    fn in_order(&mut self, mut ready: Vec<Built>, disabled: &Set<&str>) -> (Vec<Instance>, Places) {
        let index: Map<Rc<str>, usize> =
            ready.iter().enumerate().map(|(at, service)| (Rc::clone(&service.name), at)).collect();
        let mut edges: Vec<Vec<Edge>> = Vec::with_capacity(ready.len());
        for service in &ready {
            edges.push(self.edges(service, &ready, &index, disabled));
        }
        let (order, circles) = graph::sort(&edges);
        let name = |at: usize| ready.get(at).map_or("?", |service| &*service.name);
        for circle in circles {
            let message = match circle.members.as_slice() {
                [one] => format!("\"{}\" depends on itself", name(*one)),
                members => {
                    let mut names: Vec<&str> = members.iter().take(MAX_SHOWN).map(|at| name(*at)).gather();
                    if members.len() > MAX_SHOWN {
                        names.push("…");
                    }
                    if let Some(first) = members.first() {
                        names.push(name(*first));
                    }
                    format!("depends_on makes a circle: {}", names.joined(" -> "))
                }
            };
            self.evaluator.problems.tell(circle.span, format_args!("{message}"));
        }
        let mut places = vec![(0_u32, 0_u32); ready.len()];
        let mut instances: Vec<Instance> = Vec::new();
        let mut pairs = 0_usize;
        for at in order {
            let (Some(service), Some(edges)) = (ready.get_mut(at), edges.get(at)) else { continue };
            let start = u32::try_from(instances.len()).unwrap_or(u32::MAX);
            for instance in &mut service.instances {
                for edge in edges {
                    let Some((from, to)) = places.get(edge.on).copied() else { continue };
                    pairs += (to - from) as usize;
                    if pairs > MAX_DEPENDENCIES {
                        let message =
                            format_args!("more than 1,000,000 pairs of instances that wait for each other");
                        self.evaluator.problems.tell(edge.span, message);
                        break;
                    }
                    for on in from..to {
                        instance.depends_on.push(Dependency {
                            on: InstanceId(on),
                            condition: edge.condition,
                            restart: edge.restart,
                        });
                    }
                }
            }
            instances.append(&mut service.instances);
            let end = u32::try_from(instances.len()).unwrap_or(u32::MAX);
            if let Some(place) = places.get_mut(at) {
                *place = (start, end);
            }
        }
        (instances, Places { index, instances: places })
    }

    /// What a service depends on, as far as it is there and can ever come true.
    #[inline(never)]
    fn edges(
        &mut self,
        service: &Built,
        ready: &[Built],
        index: &Map<Rc<str>, usize>,
        disabled: &Set<&str>,
    ) -> Vec<Edge> {
        let mut edges: Vec<Edge> = Vec::new();
        let autostart = service.instances.first().is_none_or(|instance| instance.autostart);
        for wanted in &service.depends_on {
            let (name, own) = (&wanted.service, &service.name);
            let Some((on, first)) =
                index.get(name.as_str()).and_then(|at| Some((*at, ready.get(*at)?.instances.first())))
            else {
                self.missing(wanted, own, index, disabled);
                continue;
            };
            let mut condition = wanted.condition;
            if let Some(first) = first {
                if condition == Condition::Ready && first.kind == Kind::Oneshot {
                    condition = Condition::Completed;
                }
                let never_completes = first.kind == Kind::Daemon
                    && first.restart.when == RestartWhen::Always
                    && first.restart.stop_exit_codes.is_empty()
                    && first.on_success == OnSuccess::Ignore;
                if condition == Condition::Completed && never_completes {
                    let message = format_args!(
                        "\"{own}\" would wait for ever: \"{name}\" is started again after every end"
                    );
                    let help = format_args!(
                        "wait for \"ready\", or give it type = \"oneshot\" or restart = \"on-failure\""
                    );
                    self.evaluator.problems.advise(wanted.span, message, help);
                }
                if autostart && !first.autostart {
                    let message =
                        format_args!("\"{own}\" would wait for ever: \"{name}\" has autostart = false");
                    let help = format_args!("autostart = false for \"{own}\" too, or for neither");
                    self.evaluator.problems.advise(wanted.span, message, help);
                }
            }
            if let (Condition::Completed, Some(span)) = (condition, wanted.restart) {
                let message = format_args!("restart has no use here: what is completed is not started again");
                self.evaluator.problems.advise(span, message, format_args!("leave it out"));
            }
            let edge = Edge { on, condition, restart: wanted.restart.is_some(), span: wanted.span };
            match edges.iter_mut().find(|edge| edge.on == on) {
                Some(earlier) => *earlier = edge,
                None => edges.push(edge),
            }
        }
        edges
    }

    #[inline(never)]
    fn missing(&mut self, wanted: &Wanted, own: &str, index: &Map<Rc<str>, usize>, disabled: &Set<&str>) {
        if self.config.incomplete {
            return;
        }
        let name = &wanted.service;
        let problem = if disabled.contains(name.as_str()) {
            Problem::at(wanted.span, format!("\"{own}\" depends on \"{name}\", which has enabled = false"))
                .help("enable it, or disable both with the same variable")
        } else if parted_at_last(name, b'.').is_some_and(|(service, _)| index.contains_key(service)) {
            Problem::at(wanted.span, format!("\"{own}\" cannot depend on one instance, \"{name}\""))
                .help("a dependency is on all instances of a service")
        } else {
            let help = self.evaluator.problems.suggest(|| {
                let mut known = index.keys().map(|known| &**known).gather();
                disabled.iter().copied().add_to(&mut known);
                did_you_mean(name, &known)
            });
            Problem::at(wanted.span, format!("there is no service \"{name}\"")).maybe_help(help)
        };
        self.evaluator.problems.push(problem);
    }

    /// The command of `tinysup run -- COMMAND`, after everything that starts with the container. It may use the terminal, as if
    /// there were no init, but carries a mark, so that what it leaves behind is found.
    #[inline(never)]
    fn add_main(&mut self, argv: &[OsString], instances: &mut Vec<Instance>) {
        if let Some(service) = self.config.services.iter().find(|service| &*service.name == MAIN) {
            let message = format_args!(
                "\"main\" is the name of the command on the command line; no service may have it then"
            );
            self.evaluator.problems.advise(
                service.span,
                message,
                format_args!("call the service something else"),
            );
            return;
        }
        let depends_on = instances
            .iter()
            .zip(0_u32..)
            .filter(|(instance, _)| instance.autostart)
            .map(|(instance, id)| {
                let condition = match instance.kind {
                    Kind::Oneshot => Condition::Completed,
                    Kind::Daemon | Kind::Command => Condition::Ready,
                };
                Dependency { on: InstanceId(id), condition, restart: false }
            })
            .gather();
        let program = argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
        let name: Rc<str> = Rc::from(MAIN);
        let mark = Mark { service: Rc::clone(&name), instance: 1 };
        let mut instance = command(name, argv.to_vec(), &program, Surroundings::Command, Some(mark));
        instance.depends_on = depends_on;
        instances.push(instance);
    }

    /// One line of `[signals]`.
    #[inline(never)]
    fn route(
        &mut self,
        scope: &mut Scope<'_>,
        entry: &Entry,
        places: &Places,
        disabled: &Set<&str>,
    ) -> Read<(Signal, Vec<InstanceId>)> {
        let signal = self.evaluator.forwarded(entry)?;
        let key = &names::ROUTE;
        let nodes = match &entry.node.value {
            Value::Text(_) => std::slice::from_ref(&entry.node),
            _ => self.evaluator.list(key, &entry.node)?,
        };
        let mut ids = Set::new();
        let mut complete = true;
        for node in nodes {
            let text = self.evaluator.string(scope, key, node)?;
            let name = text.word();
            let (service, number) = match name.split_once('.') {
                Some((service, number)) => (service, number.parse::<u32>().ok().or(Some(0))),
                None => (name, None),
            };
            match (places.get(service), number) {
                (Some((from, to)), None) => {
                    for id in from..to {
                        ids.insert(InstanceId(id));
                    }
                }
                (Some((from, to)), Some(number)) if number >= 1 && number <= to - from => {
                    ids.insert(InstanceId(from + number - 1));
                }
                (None, _) if disabled.contains(service) || self.config.incomplete => {}
                _ => {
                    let help = self.evaluator.problems.suggest(|| {
                        let known = places.index.keys().map(|known| &**known).gather();
                        did_you_mean(service, &known).filter(|_| !text.replaced)
                    });
                    let what = if places.index.contains_key(service) { "instance" } else { "service" };
                    let message = if text.replaced {
                        format!("there is no such {what}")
                    } else {
                        format!("there is no {what} \"{name}\"")
                    };
                    self.evaluator
                        .problems
                        .push(Problem::at(node.span, message).maybe_help(help.filter(|_| what == "service")));
                    complete = false;
                }
            }
        }
        if complete { Ok((signal, ids.into_iter().gather())) } else { Err(Reported) }
    }
}

/// Where the instances of each service are.
struct Places {
    /// Which service a name means.
    index: Map<Rc<str>, usize>,
    /// By service: from the first to behind the last.
    instances: Vec<(u32, u32)>,
}

impl Places {
    fn get(&self, service: &str) -> Option<(u32, u32)> {
        self.instances.get(*self.index.get(service)?).copied()
    }
}

/// The settings of a service over those of `[defaults]`, in an order in which each can be read: `shell` before the commands, `group`
/// after the `user` that may name one, too. Tables that merge come twice, the service's last.
#[inline(never)]
fn merged<'a>(config: &'a Config, service: &'a Service) -> Vec<&'a Setting> {
    let overridden = |default: &Setting| {
        !default.key.id.merges() && service.settings.iter().any(|setting| setting.key.id == default.key.id)
    };
    let mut settings: Vec<&Setting> = Vec::new();
    for (all, own) in [(&config.defaults, false), (&service.settings, true)] {
        for is_group in [false, true] {
            let chosen = |setting: &&Setting| {
                (setting.key.id == Id::Group) == is_group && (own || !overridden(setting))
            };
            all.iter().filter(chosen).add_to(&mut settings);
        }
    }
    sort(&mut settings, |one, other| one.key.id != Id::Shell && other.key.id == Id::Shell);
    settings
}
