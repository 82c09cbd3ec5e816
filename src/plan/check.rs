//! What `tinysup check` says about a plan that is valid: the order, what waits for what, how long a stop may take, and what
//! experience makes one suspect. Hints never stop anything. No environment value is shown: programs are named as the configuration writes them.

mod asking;
mod memory;
mod waits;

use std::fmt::{self, Display, Formatter, Write};
use std::rc::Rc;
use std::time::Duration;

use super::settings::KILL_TIMEOUT;
use super::{Condition, Instance, Kind, Plan, Restart, RestartWhen};
use crate::config::{World, words};
use crate::event::{Launch, Stdin};
use crate::gather::{Gather, Joined};
use crate::hints;
use crate::sorted::Map;
use crate::suggest::answer;
use crate::texts::table;
use crate::units::{Signal, show_duration};

/// How long `docker stop` waits before it kills.
const DOCKER_STOP: Duration = Duration::from_secs(10);
/// 1600 and 1000 are what PM2 has; nobody means 27 minutes.
const NOBODY_MEANS: Duration = Duration::from_secs(1000);

/// So many names of one tier, and so many hints, are shown.
const MAX_NAMES: usize = 8;
const MAX_HINTS: usize = 50;
/// So many waits are added up; more than that never matters.
const MAX_WAITS: u32 = 10_000;

/// What there is to say; [`Display`] writes it line by line.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// That it is fine, how many services, the order, the longest stop.
    pub summary: String,
    /// The slowest chain of stops, where one waits for another.
    pub stop_chain: Option<String>,
    /// What waits for what, a service a line.
    pub waits: Vec<String>,
    /// How much memory is allowed, a service a line.
    pub memory: Vec<String>,
    /// What may be wrong, each with its remedy.
    pub hints: Vec<String>,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "ok: {}", self.summary)?;
        if let Some(chain) = &self.stop_chain {
            writeln!(f, "slowest stop chain: {chain}")?;
        }
        for waits in &self.waits {
            writeln!(f, "waits: {waits}")?;
        }
        for memory in &self.memory {
            writeln!(f, "memory: {memory}")?;
        }
        for hint in self.hints.iter().take(MAX_HINTS) {
            f.write_str("hint: ")?;
            // What stands in the way of a start may be named by anything that a file can hold.
            for character in hint.chars() {
                match character.is_control() {
                    true => write!(f, "{}", character.escape_default())?,
                    false => f.write_char(character)?,
                }
            }
            f.write_char('\n')?;
        }
        match self.hints.len().saturating_sub(MAX_HINTS) {
            0 => Ok(()),
            more => writeln!(f, "and {more} more"),
        }
    }
}

/// One service of the plan: its instances stand together.
struct Service<'a> {
    first: &'a Instance,
    instances: usize,
    depends_on: Vec<Link>,
    kill_timeout: Duration,
}

/// That a service depends on another.
struct Link {
    /// The place of that one.
    on: usize,
    condition: Condition,
    restart: bool,
}

/// Looks at a plan, which is to run here or somewhere else.
#[inline(never)]
pub fn report(plan: &Plan, world: &dyn World, here: bool) -> Report {
    let services = services(plan);
    let chain = slowest_chain(&services);
    let chain_time =
        chain.iter().filter_map(|at| services.get(*at)).map(|service| service.kill_timeout).sum();
    let stop_time = plan.shutdown_timeout.map_or(chain_time, |limit| limit.min(chain_time));
    let mut hints = Vec::new();
    stop_hints(plan, &services, stop_time, &mut hints);
    for service in &services {
        service_hints(service, world, &mut hints);
        asking::hints(plan, service, world, &mut hints);
        signal_hints(plan, service.first, &mut hints);
    }
    let found = here.then(|| world.memory());
    let memory = memory::lines(plan, &services, found.as_ref(), &mut hints);
    readers(&services, &mut hints);
    asking::without_test(&services, &mut hints);
    Report {
        summary: summary(plan, &services, stop_time),
        stop_chain: (chain.len() > 1).then(|| show_chain(plan, &services, &chain, chain_time)),
        waits: waits::lines(&services),
        memory,
        hints,
    }
}

#[inline(never)]
fn services(plan: &Plan) -> Vec<Service<'_>> {
    let mut services: Vec<Service<'_>> = Vec::new();
    let mut places: Map<Rc<str>, usize> = Map::new();
    for instance in &plan.instances {
        let kill_timeout = instance.stop.kill_timeout.unwrap_or(Duration::ZERO);
        if let Some(service) = places.get(&instance.service).and_then(|at| services.get_mut(*at)) {
            service.instances += 1;
            service.kill_timeout = service.kill_timeout.max(kill_timeout);
            continue;
        }
        let links = instance.depends_on.iter().filter_map(|dependency| {
            let on = *places.get(&plan.instance(dependency.on)?.service)?;
            Some(Link { on, condition: dependency.condition, restart: dependency.restart })
        });
        let mut depends_on: Vec<Link> = links.gather();
        depends_on.dedup_by_key(|link| link.on);
        places.insert(Rc::clone(&instance.service), services.len());
        services.push(Service { first: instance, instances: 1, depends_on, kill_timeout });
    }
    services
}

#[inline(never)]
fn summary(plan: &Plan, services: &[Service<'_>], stop_time: Duration) -> String {
    let mut parts = vec![match (services.len(), plan.instances.len()) {
        (1, 1) => "1 service".to_owned(),
        (1, instances) => format!("1 service ({instances} instances)"),
        (services, instances) if services == instances => format!("{services} services"),
        (services, instances) => format!("{services} services ({instances} instances)"),
    }];
    let mut tier_of: Vec<usize> = Vec::with_capacity(services.len());
    let mut tiers: Vec<Vec<String>> = Vec::new();
    let mut by_hand: Vec<String> = Vec::new();
    for service in services {
        let tier = service
            .depends_on
            .iter()
            .filter_map(|link| tier_of.get(link.on))
            .max()
            .map_or(0, |tier| tier + 1);
        tier_of.push(tier);
        if !service.first.autostart {
            by_hand.push(service.first.service.to_string());
            continue;
        }
        while tiers.len() <= tier {
            tiers.push(Vec::new());
        }
        if let Some(tier) = tiers.get_mut(tier) {
            tier.push(match service.instances {
                1 => service.first.service.to_string(),
                count => format!("{} (x{count})", service.first.service),
            });
        }
    }
    if services.len() > 1 {
        let tiers: Vec<String> = tiers.iter().filter(|tier| !tier.is_empty()).map(|tier| list(tier)).gather();
        parts.push(format!("start order {}", arrows(&tiers)));
    }
    if !by_hand.is_empty() {
        parts.push(format!("not started by itself: {}", list(&by_hand)));
    }
    parts.push(format!("stop takes at most {} (docker stop allows 10 s)", show_duration(stop_time)));
    parts.listed()
}

/// What comes one after the other.
fn arrows(links: &[String]) -> String {
    match links {
        [first, .., last] if links.len() > MAX_NAMES => {
            format!("{first} -> {} more -> {last}", links.len() - 2)
        }
        _ => links.joined(" -> "),
    }
}

fn list(names: &[String]) -> String {
    let text = names.iter().take(MAX_NAMES).map(String::as_str).gather().listed();
    match names.len().saturating_sub(MAX_NAMES) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// The chain of services of which each has to be down before the next may be stopped, and that may take longest.
/// Oneshots are done by then, but for one that runs when the stop begins, which is the first then, and those on whose start alone the one
/// before them waited.
#[inline(never)]
fn slowest_chain(services: &[Service<'_>]) -> Vec<usize> {
    let is_daemon = |service: &Service<'_>| service.first.kind == Kind::Daemon;
    // Of what comes after each: how long it takes, which is the next, and whether that still runs.
    let mut totals: Vec<(Duration, Option<(usize, bool)>)> = Vec::with_capacity(services.len());
    for service in services {
        let next = service
            .depends_on
            .iter()
            .filter_map(|link| {
                let (on, (after, _)) = (services.get(link.on)?, totals.get(link.on)?);
                let runs = is_daemon(on) || link.condition == Condition::Started;
                let own = if runs { on.kill_timeout } else { Duration::ZERO };
                Some((after.saturating_add(own), link.on, runs))
            })
            .max_by_key(|(total, on, _)| (*total, std::cmp::Reverse(*on)));
        totals.push(next.map_or((Duration::ZERO, None), |(total, on, runs)| (total, Some((on, runs)))));
    }
    // Of equals the daemon, which runs for longer.
    let longest = services.iter().zip(&totals).enumerate().max_by_key(|(at, (service, (total, _)))| {
        (total.saturating_add(service.kill_timeout), is_daemon(service), std::cmp::Reverse(*at))
    });
    let mut at = longest.map(|(at, _)| (at, true));
    let mut chain = Vec::new();
    while let Some((here, runs)) = at {
        if runs {
            chain.push(here);
        }
        at = totals.get(here).and_then(|(_, next)| *next);
    }
    chain
}

#[inline(never)]
fn show_chain(plan: &Plan, services: &[Service<'_>], chain: &[usize], total: Duration) -> String {
    let links: Vec<String> = chain
        .iter()
        .filter_map(|at| services.get(*at))
        .map(|service| format!("{} {}", service.first.service, show_duration(service.kill_timeout)))
        .gather();
    let text = arrows(&links);
    let total_shown = show_duration(total);
    match plan.shutdown_timeout {
        Some(limit) if limit < total => {
            format!("{text} = {total_shown}, cut to {} by shutdown_timeout", show_duration(limit))
        }
        Some(_) | None => format!("{text} = {total_shown}"),
    }
}

#[inline(never)]
fn stop_hints(plan: &Plan, services: &[Service<'_>], stop_time: Duration, hints: &mut Vec<String>) {
    let seconds = stop_time.as_secs() + 1;
    if stop_time == DOCKER_STOP {
        hints.push(format!(
            "a stop may take 10 s, and that is when docker stop kills: shutdown_timeout = \"9s\" leaves time for the last words, docker \
             stop -t {seconds} too"
        ));
    } else if stop_time > DOCKER_STOP {
        hints.push(format!(
            "a stop may take {}, but docker stop kills after 10 s: use docker stop -t {seconds}, in Compose \
             stop_grace_period: {seconds}s, in Kubernetes terminationGracePeriodSeconds: {seconds}",
            show_duration(stop_time)
        ));
    }
    for service in services {
        let Some(limit) = plan.shutdown_timeout.filter(|limit| *limit < service.kill_timeout) else {
            continue;
        };
        if service.kill_timeout != KILL_TIMEOUT {
            let unit = if service.kill_timeout < NOBODY_MEANS {
                ""
            } else {
                " (a number without a unit is seconds)"
            };
            hints.push(format!(
                "{}: kill_timeout is {}{unit}, but the whole stop may take only {}; shutdown_timeout = \"{}s\" would allow it",
                service.first.service,
                show_duration(service.kill_timeout),
                show_duration(limit),
                service.kill_timeout.as_secs() + 1
            ));
        }
    }
}

#[inline(never)]
fn service_hints(service: &Service<'_>, world: &dyn World, hints: &mut Vec<String>) {
    let instance = service.first;
    let mut hint = |text: String| hints.push(format!("{}: {text}", instance.service));
    let argv = effective_argv(&instance.launch);
    let words: Vec<&str> = argv.iter().map(String::as_str).gather();
    let program = words.first().copied().unwrap_or("");
    if hints::leaves(&words)
        && let Some(remedy) = hints::foreground(program)
    {
        hint(format!(
            "{} puts itself into the background, as far as one can see. {remedy}",
            hints::base_name(program)
        ));
    }
    if let Some(why) = hints::stop_signal(program)
        && instance.stop.signal == Signal::TERM
        && instance.stop.command.is_none()
    {
        hint(why.to_owned());
    }
    if let Some(why) = answer(table("# needless"), hints::base_name(program)) {
        hint(why.to_owned());
    } else if let Some(obstacle) = world.obstacle(&instance.launch) {
        hint(format!("as things are here, it cannot start: {obstacle}"));
    }
    restart_hints(instance, &mut hint);
}

/// Signals that mean something to tinysup reach services only where `[signals]` sends them.
#[inline(never)]
fn signal_hints(plan: &Plan, instance: &Instance, hints: &mut Vec<String>) {
    for (signal, meaning) in [
        (Signal::HUP, "is reserved for re-reading the configuration"),
        (Signal::QUIT, "ends the container"),
        (Signal::RTMIN_3, "ends the container"),
    ] {
        if instance.signals.contains_key(&signal) && !plan.routes.contains_key(&signal) {
            let service = &instance.service;
            hints.push(format!(
                "{service}: signals has {signal}, which {meaning} and never gets here; [signals] {signal} = [\"{service}\"] sends it"
            ));
        }
    }
}

#[inline(never)]
fn restart_hints(instance: &Instance, hint: &mut dyn FnMut(String)) {
    let restart = &instance.restart;
    let (Some(max), true) = (restart.max_restarts, restart.when != RestartWhen::Never) else { return };
    match restart.window {
        Some(window) => {
            let window_shown = show_duration(window);
            // A run that ends at once, and one that is never ready.
            let never_ready = instance.ready.as_ref().map(|ready| ready.timeout);
            if is_longer(restart, max, Duration::ZERO, window) {
                hint(format!(
                    "the waits between {max} restarts are longer than restart_window = {window_shown}: the budget can never be spent"
                ));
            } else if let Some(timeout) = never_ready.filter(|run| is_longer(restart, max, *run, window)) {
                hint(format!(
                    "{max} restarts of a run that is not ready for {} take longer than restart_window = {window_shown}: were it never \
                     ready, it would be restarted for ever",
                    show_duration(timeout)
                ));
            }
        }
        None if restart.min_uptime.is_zero() => {
            hint(
                "with min_uptime = 0 every run counts as a good one: the budget can never be spent"
                    .to_owned(),
            );
        }
        None if restart.min_uptime >= NOBODY_MEANS => hint(format!(
            "min_uptime is {} (a number without a unit is seconds): only a run as long as that starts the count of restarts anew",
            show_duration(restart.min_uptime)
        )),
        None => {}
    }
}

/// Whether so many restarts take longer than `window` where each run takes `run`.
fn is_longer(restart: &Restart, max: u32, run: Duration, window: Duration) -> bool {
    let (run, longest) = (run.as_secs_f64(), restart.delay_max.as_secs_f64());
    let mut delay = restart.delay.as_secs_f64();
    let mut total = 0.0;
    for _ in 0..max.min(MAX_WAITS) {
        total += run + delay.min(longest);
        delay *= restart.backoff;
        if total > window.as_secs_f64() {
            return true;
        }
    }
    false
}

/// Only one program can read a terminal or a pipe.
#[inline(never)]
fn readers(services: &[Service<'_>], hints: &mut Vec<String>) {
    let names: Vec<String> = services
        .iter()
        .filter(|service| service.first.launch.stdin == Stdin::Inherit)
        .map(|service| service.first.service.to_string())
        .gather();
    if names.len() > 1 {
        hints.push(format!(
            "{} all have stdin = \"inherit\": each line of input goes to any one of them",
            list(&names)
        ));
    }
}

/// The words of a command, also of a plain one inside `sh -c`.
fn effective_argv(launch: &Launch) -> Vec<String> {
    let argv: Vec<String> =
        launch.argv.iter().map(|word| word.reveal().to_string_lossy().into_owned()).gather();
    let [shell, flag, text] = argv.as_slice() else { return argv };
    if !matches!(hints::base_name(shell), "sh" | "bash" | "ash" | "dash") || flag != "-c" {
        return argv;
    }
    match words::split(text) {
        Ok(words) => words.into_iter().map(|word| word.template).skip_while(|word| word == "exec").gather(),
        Err(_) => argv,
    }
}
