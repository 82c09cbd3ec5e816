//! The settings of one instance with every default filled in: for each key, what its value means.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::eval::{Evaluator, Read, Scalars, Scope, check_variable};
use super::names;
use super::output::Defaults;
use super::{Condition, KillMode, Kind, OnFailure, OnSuccess, RateLimit, Restart, RestartWhen, Stop};
use crate::config::interpolate::Reported;
use crate::config::keys::{Id, Key, part};
use crate::config::source::Span;
use crate::config::tree::{Entry, Node, Value};
use crate::config::{Problem, Setting};
use crate::event::{Conditions, Launch, LogFile, Rlimit, Stdin};
use crate::gather::Gather;
use crate::sorted::Map;
use crate::suggest::answer;
use crate::units::{CAPABILITIES, RESOURCES, Signal};

use super::memory::WantedMemory;
use super::readiness::{WantedHealth, WantedReady};
use super::values::{CommandLine, all};

/// So long a service may take to stop when nothing else is said.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(8);
/// So many instances a service may have.
const MAX_INSTANCES: i64 = 1000;

/// What others call a condition of ours.
const CONDITIONS: &str = "\
service_started up running -> started
service_healthy healthy -> ready
service_completed_successfully complete done finished exited success -> completed";

/// What is no type of a service here, and is said otherwise.
const TYPES: &str = "\
notify notify-reload -> ready = \"notify\"
forking -> run it in the foreground; most programs have an option for that";

/// What all instances of a service have in common.
#[derive(Debug)]
pub struct Common {
    pub kind: Kind,
    pub enabled: bool,
    pub autostart: bool,
    pub instances: u32,
    pub instance_env: String,
    pub depends_on: Vec<Wanted>,
}

/// One dependency, by name.
#[derive(Debug)]
pub struct Wanted {
    pub service: String,
    pub condition: Condition,
    /// Where `restart = true` is written.
    pub restart: Option<Span>,
    pub span: Span,
}

/// What each instance has for itself. What goes into the plan as it is has its form already.
pub struct Own {
    pub shell: bool,
    pub command: Option<Box<CommandLine>>,
    pub stop_command: Option<Box<CommandLine>>,
    pub ready: Option<Box<WantedReady>>,
    pub healthcheck: Option<Box<WantedHealth>>,
    pub watchdog: Option<Duration>,
    pub env_from_file: Vec<(OsString, PathBuf)>,
    /// How it is started, without command, and without the conditions: they are shared when all is known of them.
    pub launch: Launch,
    pub conditions: Conditions,
    pub memory: WantedMemory,
    /// `None`: what is usual for its kind.
    pub when: Option<RestartWhen>,
    pub restart: Restart,
    /// `restart_delay_max`, if it is written.
    pub delay_max: Option<(Duration, Span)>,
    pub on_failure: OnFailure,
    pub on_success: OnSuccess,
    pub stop: Stop,
    pub signals: Map<Signal, Option<Signal>>,
    pub log_rate_limit: Option<RateLimit>,
    /// What `[log]` says for all.
    pub log: Defaults,
    /// The files of output, and where they are written.
    pub files: Vec<(Rc<LogFile>, Span)>,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            kind: Kind::Daemon,
            enabled: true,
            autostart: true,
            instances: 1,
            instance_env: super::eval::INSTANCE.to_owned(),
            depends_on: Vec::new(),
        }
    }
}

impl Own {
    /// Where nothing is said but what `[log]` says for all.
    pub fn new(log: Defaults) -> Self {
        let mut launch = Launch::new(Vec::new(), String::new());
        launch.stdout = log.output();
        launch.stderr = log.output();
        Self {
            shell: false,
            command: None,
            stop_command: None,
            ready: None,
            healthcheck: None,
            watchdog: None,
            env_from_file: Vec::new(),
            launch,
            conditions: Conditions::default(),
            memory: WantedMemory::default(),
            when: None,
            restart: Restart {
                when: RestartWhen::Always,
                stop_exit_codes: Vec::new(),
                max_restarts: Some(10),
                min_uptime: Duration::from_secs(10),
                window: None,
                delay: Duration::from_millis(100),
                backoff: 2.0,
                // It follows from the others.
                delay_max: Duration::ZERO,
            },
            delay_max: None,
            on_failure: OnFailure::Exit,
            on_success: OnSuccess::Ignore,
            stop: Stop {
                signal: Signal::TERM,
                kill_timeout: Some(KILL_TIMEOUT),
                mode: KillMode::Mixed,
                command: None,
            },
            signals: Map::new(),
            log_rate_limit: None,
            log,
            files: Vec::new(),
        }
    }
}

impl Evaluator<'_> {
    /// Reads a key that all instances have in common. What is wrong is reported, and the default stays.
    pub fn common(&mut self, scope: &mut Scope<'_>, setting: &Setting, common: &mut Common) {
        // Each arm returns early on what was reported already.
        let _: Read<()> = self.read_common(scope, setting, common);
    }

    #[inline(never)]
    fn read_common(&mut self, scope: &mut Scope<'_>, setting: &Setting, common: &mut Common) -> Read<()> {
        let (key, node) = (setting.key, &setting.node);
        match key.id {
            Id::Type => {
                let text = self.string(scope, key, node)?;
                if let Some(instead) = answer(TYPES, text.word()) {
                    return Err(self.mismatch_with(key, node, Some(&*text), Some(instead.into())));
                }
                common.kind =
                    self.choice(scope, key, node, "daemon oneshot", &[Kind::Daemon, Kind::Oneshot])?;
            }
            Id::Enabled => common.enabled = self.boolean(scope, key, node)?,
            Id::Autostart => common.autostart = self.boolean(scope, key, node)?,
            Id::Instances => {
                if matches!(&node.value, Value::Text(text) if text.text == "max") {
                    return Err(self.later(node, "instances = \"max\""));
                }
                if matches!(node.value, Value::Integer { value: 0, .. }) {
                    let message = format_args!("{} must be {}, not 0", key.name, key.expected);
                    return Err(self.wrong_with(
                        node.span,
                        message,
                        format_args!("enabled = false leaves it out"),
                    ));
                }
                let number = self.whole(scope, key, node, 1, MAX_INSTANCES)?;
                common.instances = u32::try_from(number).map_err(|_| Reported)?;
            }
            Id::InstanceEnv => {
                let text = self.string(scope, key, node)?;
                let name = text.word();
                let service = name == super::eval::SERVICE;
                if service || name.is_empty() || name.contains('=') {
                    return Err(self.mismatch(key, node, Some(&*text)));
                }
                name.clone_into(&mut common.instance_env);
            }
            Id::DependsOn => common.depends_on = self.depends_on(scope, key, node)?,
            _ => {}
        }
        Ok(())
    }

    /// Reads a key that each instance has for itself. What is wrong is reported, and the default stays.
    pub fn own(&mut self, scope: &mut Scope<'_>, setting: &Setting, own: &mut Own) {
        if !(setting.key.id.may_be_false() && matches!(setting.node.value, Value::Boolean(false))) {
            let _: Read<()> = self.read_own(scope, setting, own);
        }
    }

    #[expect(clippy::too_many_lines, reason = "one line for each key")]
    #[inline(never)]
    fn read_own(&mut self, scope: &mut Scope<'_>, setting: &Setting, own: &mut Own) -> Read<()> {
        let (key, node, conditions) = (setting.key, &setting.node, &mut own.conditions);
        match key.id {
            Id::Command => own.command = Some(self.command(scope, key, node, own.shell)?),
            Id::StopCommand => own.stop_command = Some(self.command(scope, key, node, own.shell)?),
            Id::Shell => own.shell = self.boolean(scope, key, node)?,
            Id::Ready => own.ready = Some(self.ready(scope, key, node)?),
            Id::Healthcheck => own.healthcheck = Some(self.healthcheck(scope, key, node)?),
            Id::Watchdog => own.watchdog = Some(self.longer_than_0(scope, key, node)?),
            Id::Cwd => conditions.cwd = Some(self.path(scope, key, node)?),
            Id::EnvFromFile => self.env_from_file(scope, key, node, &mut own.env_from_file)?,
            Id::InheritEnv => conditions.inherit_env = self.boolean(scope, key, node)?,
            Id::User => {
                let text = self.account(scope, key, node)?;
                let (user, group) = match text.word().split_once(':') {
                    Some((user, group)) => (user, Some(group)),
                    None => (text.word(), None),
                };
                if !is_account(user) || !group.is_none_or(is_account) {
                    return Err(self.mismatch(key, node, Some(&*text)));
                }
                conditions.identity.user = Some(user.to_owned());
                if let Some(group) = group {
                    conditions.identity.group = Some(group.to_owned());
                }
            }
            Id::Group => conditions.identity.group = Some(self.one_account(scope, key, node)?),
            Id::Groups => {
                let nodes = self.list(key, node)?;
                conditions.identity.groups =
                    Some(all(nodes.iter().map(|node| self.one_account(scope, key, node)))?);
            }
            Id::Umask => conditions.attributes.umask = Some(self.umask(scope, key, node)?),
            Id::Nice => {
                let nice = self.whole(scope, key, node, -20, 19)?;
                conditions.attributes.nice = i32::try_from(nice).ok();
            }
            Id::OomScoreAdj => {
                let number = self.whole(scope, key, node, -1000, 1000)?;
                conditions.attributes.oom_score_adj = i32::try_from(number).ok();
            }
            Id::Rlimits => self.rlimits(scope, key, node, &mut conditions.attributes.rlimits)?,
            Id::NoNewPrivileges => {
                conditions.attributes.no_new_privileges = self.boolean(scope, key, node)?;
            }
            Id::Capabilities => {
                conditions.attributes.capabilities = Some(self.capabilities(scope, key, node)?);
            }
            Id::MaxMemoryRestart => own.memory.restart = Some((self.amount(scope, key, node)?, node.span)),
            Id::MemoryLimit => own.memory.limit = Some((self.amount(scope, key, node)?, node.span)),
            Id::MemoryLimitFallback => {
                own.memory.fallback = self.choice(scope, key, node, "restart", &[true])?;
            }
            Id::OomPriority => {
                let number = self.whole(scope, key, node, -1000, 1000)?;
                own.memory.priority = i32::try_from(number).unwrap_or_default();
            }
            Id::Restart => {
                let meanings = &[RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never];
                own.when = Some(self.choice(scope, key, node, "always on-failure never", meanings)?);
            }
            Id::StopExitCodes => {
                let nodes = self.list(key, node)?;
                let codes: Vec<u8> = all(nodes.iter().map(|node| {
                    let code = self.whole(scope, key, node, 0, 255)?;
                    u8::try_from(code).map_err(|_| Reported)
                }))?;
                // Another order is no other policy, and begins no other budget.
                own.restart.stop_exit_codes = (0..=255).filter(|code| codes.contains(code)).gather();
            }
            Id::MaxRestarts => own.restart.max_restarts = self.max_restarts(scope, key, node)?,
            Id::MinUptime => own.restart.min_uptime = self.duration(scope, key, node)?,
            Id::RestartWindow => own.restart.window = Some(self.longer_than_0(scope, key, node)?),
            Id::RestartDelay => own.restart.delay = self.duration(scope, key, node)?,
            Id::RestartBackoff => own.restart.backoff = self.number(scope, key, node, 1.0..=1000.0)?,
            Id::RestartDelayMax => own.delay_max = Some((self.duration(scope, key, node)?, node.span)),
            Id::OnFailure => {
                if matches!(&node.value, Value::Text(text) if text.text == "hold") {
                    return Err(self.later(node, "on_failure = \"hold\""));
                }
                let meanings = &[OnFailure::Exit, OnFailure::Ignore];
                own.on_failure = self.choice(scope, key, node, "exit ignore", meanings)?;
            }
            Id::OnSuccess => {
                let meanings = &[OnSuccess::Ignore, OnSuccess::Exit];
                own.on_success = self.choice(scope, key, node, "ignore exit", meanings)?;
            }
            Id::StopSignal => {
                own.stop.signal = self.signal(scope, key, node)?;
                if matches!(own.stop.signal, Signal::STOP | Signal::CONT | Signal::CHLD) {
                    return Err(self.wrong(node.span, format_args!("{} ends no program", own.stop.signal)));
                }
            }
            Id::KillTimeout => own.stop.kill_timeout = Some(self.duration(scope, key, node)?),
            Id::KillMode => {
                let meanings = &[KillMode::Mixed, KillMode::Group, KillMode::Process];
                own.stop.mode = self.choice(scope, key, node, "mixed group process", meanings)?;
            }
            Id::Signals => self.signals(scope, key, node, &mut own.signals)?,
            Id::Stdin => {
                own.launch.stdin =
                    self.choice(scope, key, node, "null inherit", &[Stdin::Null, Stdin::Inherit])?;
            }
            Id::Stdout => own.launch.stdout = self.output(scope, key, node, own)?,
            Id::Stderr => own.launch.stderr = self.output(scope, key, node, own)?,
            Id::LogRateLimit => own.log_rate_limit = self.rate_limit(scope, key, node)?,
            // Read before, or when the environment is made.
            Id::Type
            | Id::Enabled
            | Id::Autostart
            | Id::Instances
            | Id::InstanceEnv
            | Id::DependsOn
            | Id::Env
            | Id::EnvFile
            | Id::MemoryWarn
            | Id::MemoryRestart
            | Id::MemoryReference
            | Id::ShutdownTimeout
            | Id::Control
            | Id::LogFormat
            | Id::LogTimestamps
            | Id::LogColor
            | Id::LogOverflow
            | Id::LogMaxSize
            | Id::LogMaxFiles
            | Id::LogReopenSignal
            | Id::Include => {}
        }
        Ok(())
    }

    fn later(&mut self, node: &Node, what: &str) -> Reported {
        self.wrong(node.span, format_args!("{what} is not yet supported"))
    }

    #[inline(never)]
    fn depends_on(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Vec<Wanted>> {
        let mut wanted: Vec<Wanted> = Vec::new();
        match &node.value {
            Value::List(nodes) => {
                for node in nodes {
                    let Ok(service) = self.string(scope, key, node) else { continue };
                    wanted.push(Wanted {
                        service: service.word().to_owned(),
                        condition: Condition::Ready,
                        restart: None,
                        span: node.span,
                    });
                }
            }
            Value::Table(entries) => {
                wanted.extend(entries.iter().filter_map(|entry| self.dependency(scope, entry).ok()));
            }
            Value::Unusable => return Err(Reported),
            _ => return Err(self.mismatch_with(key, node, None, Some("depends_on = [\"db\"]".into()))),
        }
        Ok(wanted)
    }

    /// `db = "ready"` or `db = { condition = "ready", restart = true }`.
    #[inline(never)]
    fn dependency(&mut self, scope: &mut Scope<'_>, entry: &Entry) -> Read<Wanted> {
        const RESTART: Key = part(Id::DependsOn, "restart", "true or false");
        let (mut condition, mut restart) = (Ok(Condition::Ready), Ok(None));
        let mut known = Ok(());
        match &entry.node.value {
            Value::Table(parts) => {
                for part in parts {
                    match part.key.as_str() {
                        "condition" => condition = self.condition(scope, &part.node),
                        "restart" => {
                            let again = self.boolean(scope, &RESTART, &part.node);
                            restart = again.map(|again| again.then_some(part.span));
                        }
                        name => {
                            let help = match name {
                                "required" => Some("every dependency is; leave it out".into()),
                                _ => self.similar(name, &["condition", "restart"]),
                            };
                            let message = format!("unknown key \"{name}\" in depends_on");
                            known = Err(self.fail(Problem::at(part.span, message).maybe_help(help)));
                        }
                    }
                }
            }
            _ => condition = self.condition(scope, &entry.node),
        }
        let (condition, restart) = (condition?, restart?);
        known?;
        Ok(Wanted { service: entry.key.clone(), condition, restart, span: entry.span })
    }

    fn condition(&mut self, scope: &mut Scope<'_>, node: &Node) -> Read<Condition> {
        const CONDITION: Key = part(Id::DependsOn, "a condition", "\"started\", \"ready\" or \"completed\"");
        let meanings = &[Condition::Started, Condition::Ready, Condition::Completed];
        if let Value::Text(written) = &node.value
            && let Some(ours) = answer(CONDITIONS, &written.text)
        {
            let text = self.string(scope, &CONDITION, node)?;
            let help = format!("here it is called \"{ours}\"");
            return Err(self.mismatch_with(&CONDITION, node, Some(&*text), Some(help.into())));
        }
        self.choice(scope, &CONDITION, node, "started ready completed", meanings)
    }

    #[inline(never)]
    fn env_from_file(
        &mut self,
        scope: &mut Scope<'_>,
        key: &Key,
        node: &Node,
        into: &mut Vec<(OsString, PathBuf)>,
    ) -> Read<()> {
        for entry in self.table(key, node)? {
            if let Err(message) = check_variable(&entry.key) {
                self.problems.tell(entry.span, format_args!("{message}"));
                continue;
            }
            let Ok(path) = self.path(scope, key, &entry.node) else { continue };
            into.push((entry.key.clone().into(), path));
        }
        Ok(())
    }

    fn one_account(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<String> {
        let text = self.account(scope, key, node)?;
        let name = text.word();
        if is_account(name) { Ok(name.to_owned()) } else { Err(self.mismatch(key, node, Some(&*text))) }
    }

    #[inline(never)]
    fn umask(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<u32> {
        let number = match node.value {
            Value::Integer { value, decimal: false } | Value::Integer { value: value @ 0, .. } => {
                u32::try_from(value).ok()
            }
            // 22 is not 022; which one was meant cannot be known.
            Value::Integer { value, .. } => {
                let help = format!("umask = \"{value:03}\"");
                return Err(self.mismatch_with(key, node, None, Some(help.into())));
            }
            _ => {
                let text = self.text(scope, key, node, Scalars::None)?;
                let digits = text.show().map_or("", |text| text.strip_prefix("0o").unwrap_or(text));
                let octal = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
                let number = u32::from_str_radix(digits, 8).ok().filter(|mask| octal && *mask <= 0o777);
                return number.map_or_else(|| Err(self.mismatch(key, node, Some(&*text))), Ok);
            }
        };
        number.filter(|mask| *mask <= 0o777).map_or_else(|| Err(self.mismatch(key, node, None)), Ok)
    }

    #[inline(never)]
    fn rlimits(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node, into: &mut Vec<Rlimit>) -> Read<()> {
        for entry in self.table(key, node)? {
            let Some(resource) = names::resource(&entry.key) else {
                let help = self.similar(&entry.key, &RESOURCES);
                let message = format!("there is no resource limit \"{}\"", entry.key);
                self.problems.push(Problem::at(entry.span, message).maybe_help(help));
                continue;
            };
            if entry.key == "locks" {
                let message =
                    format_args!("\"locks\" cannot be set: tinysup marks the processes of a service with it");
                self.problems.advise(
                    entry.span,
                    message,
                    format_args!("Linux does not enforce it; leave it out"),
                );
                continue;
            }
            let limit = match &entry.node.value {
                Value::Table(inner) => self.soft_and_hard(scope, key, entry, inner),
                _ => self.limit(scope, entry).map(|limit| (limit, limit)),
            };
            let Ok((soft, hard)) = limit else { continue };
            if soft > hard {
                let message = format_args!("the soft limit must not be above the hard one");
                self.problems.tell(entry.node.span, message);
                continue;
            }
            into.retain(|earlier| earlier.resource != resource);
            into.push(Rlimit { resource, soft, hard });
        }
        Ok(())
    }

    #[inline(never)]
    fn soft_and_hard(
        &mut self,
        scope: &mut Scope<'_>,
        key: &Key,
        entry: &Entry,
        inner: &[Entry],
    ) -> Read<(u64, u64)> {
        let (mut soft, mut hard) = (None, None);
        for one in inner {
            let limit = self.limit(scope, one)?;
            match one.key.as_str() {
                "soft" => soft = Some(limit),
                "hard" => hard = Some(limit),
                name => {
                    let help = self.similar(name, &["soft", "hard"]);
                    let message = format!("unknown key \"{name}\" in {}", key.name);
                    return Err(self.fail(Problem::at(one.span, message).maybe_help(help)));
                }
            }
        }
        match (soft, hard) {
            (Some(soft), Some(hard)) => Ok((soft, hard)),
            _ => Err(self.wrong(entry.node.span, format_args!("this needs both soft and hard"))),
        }
    }

    fn limit(&mut self, scope: &mut Scope<'_>, entry: &Entry) -> Read<u64> {
        const LIMIT: Key = part(Id::Rlimits, "a limit", "a number, a size such as \"64M\", or \"unlimited\"");
        let node = &entry.node;
        let text = self.text(scope, &LIMIT, node, Scalars::Integers)?;
        let written = text.word();
        if matches!(written, "unlimited" | "infinity") {
            return Ok(u64::MAX);
        }
        let number = written.parse().ok().or_else(|| crate::units::parse_size(written).ok());
        number.map_or_else(|| Err(self.mismatch(&LIMIT, node, Some(&*text))), Ok)
    }

    #[inline(never)]
    fn capabilities(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Vec<u8>> {
        let mut kept = 0_u64;
        for node in self.list(key, node)? {
            let Ok(text) = self.string(scope, key, node) else { continue };
            let name = text.word();
            match names::capability(name) {
                Some(number) => kept |= 1 << number,
                None if text.replaced => return Err(self.mismatch(key, node, Some(&*text))),
                None => {
                    let bare = names::bare_capability(name);
                    let help = self.similar(&bare, &CAPABILITIES);
                    let message = format!("there is no capability \"{name}\"");
                    self.problems.push(Problem::at(node.span, message).maybe_help(help));
                }
            }
        }
        Ok((0..64).filter(|number| kept >> number & 1 == 1).gather())
    }

    #[inline(never)]
    fn max_restarts(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Option<u32>> {
        let text = self.text(scope, key, node, Scalars::Integers)?;
        match text.show().map(str::trim) {
            Some("unlimited") => Ok(None),
            Some("-1") => {
                Err(self.mismatch_with(key, node, Some(&*text), Some("max_restarts = \"unlimited\"".into())))
            }
            written => {
                if let Some(number) = written.and_then(|written| written.parse().ok()) {
                    Ok(Some(number))
                } else {
                    let help = written
                        .filter(|_| !text.replaced)
                        .and_then(|word| self.similar(word, &["unlimited"]));
                    Err(self.mismatch_with(key, node, Some(&*text), help))
                }
            }
        }
    }

    #[inline(never)]
    fn signals(
        &mut self,
        scope: &mut Scope<'_>,
        key: &Key,
        node: &Node,
        into: &mut Map<Signal, Option<Signal>>,
    ) -> Read<()> {
        let mut here: Vec<Signal> = Vec::new();
        for entry in self.table(key, node)? {
            let Ok(signal) = self.forwarded(entry) else { continue };
            if here.contains(&signal) {
                self.problems.tell(entry.span, format_args!("{signal} is set twice"));
                continue;
            }
            here.push(signal);
            if matches!(&entry.node.value, Value::Text(text) if text.text == "ignore") {
                into.insert(signal, None);
            } else if let Ok(becomes) = self.signal(scope, &names::FORWARDED_AS, &entry.node) {
                into.insert(signal, Some(becomes));
            }
        }
        Ok(())
    }

    /// The name of a signal that is passed on, as a key of a table.
    ///
    /// # Errors
    /// There is no such signal or it is never passed on; reported.
    pub fn forwarded(&mut self, entry: &Entry) -> Read<Signal> {
        let Ok(signal) = Signal::parse(&entry.key) else {
            let message = format!("\"{}\" is not a signal", entry.key);
            let help = self.similar_signal(&entry.key);
            return Err(self.fail(Problem::at(entry.span, message).maybe_help(help)));
        };
        let (why, help) = match signal {
            Signal::KILL | Signal::STOP => ("cannot be caught by anybody", None),
            Signal::CHLD | Signal::PIPE | Signal::TTIN | Signal::TTOU => ("is about tinysup itself", None),
            Signal::TERM | Signal::INT => {
                ("ends the container", Some("stop_signal says what a service gets then"))
            }
            _ => return Ok(signal),
        };
        let problem = Problem::at(entry.span, format!("{signal} is never passed on: it {why}"));
        Err(self.fail(problem.maybe_help(help.map(Into::into))))
    }
}

/// Whether this can be a user's or a group's name or number. A number must fit; the highest one means "no change" to the kernel.
fn is_account(name: &str) -> bool {
    let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    if digits {
        return name.parse::<u32>().is_ok_and(|number| number != u32::MAX);
    }
    !name.is_empty()
        && name.len() <= 256
        && !name.starts_with(['-', '+'])
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '/' | ','))
}
