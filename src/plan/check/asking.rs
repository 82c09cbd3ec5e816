//! Hints about what is run beside a service: readiness tests, health checks and stop commands.

use super::{Service, effective_argv, list};
use crate::config::World;
use crate::event::Launch;
use crate::gather::Gather;
use crate::hints::{self, Finds};
use crate::plan::{Asks, Condition, Instance, Kind, Plan, ReadyTest, Test};
use crate::probe::{self, Target};
use crate::units::show_duration;

/// What makes one suspect of the tests of a service.
#[inline(never)]
pub fn hints(plan: &Plan, service: &Service<'_>, world: &dyn World, hints: &mut Vec<String>) {
    let instance = service.first;
    let mut hint = |text: String| hints.push(format!("{}: {text}", instance.service));
    if let Some(ready) = &instance.ready {
        match &ready.test {
            ReadyTest::Asked(_) if ready.interval >= ready.timeout => {
                let (interval, timeout) = (show_duration(ready.interval), show_duration(ready.timeout));
                hint(format!(
                    "ready is asked once only: its interval of {interval} is not shorter than its timeout of {timeout}"
                ));
            }
            ReadyTest::Said(_) => {
                let (out, err) = (!instance.launch.stdout.is_seen(), !instance.launch.stderr.is_seen());
                if out || err {
                    let (seen, unseen) = if out { ("stderr", "stdout") } else { ("stdout", "stderr") };
                    hint(format!(
                        "{} is looked for in {seen} alone: {unseen} does not pass through tinysup",
                        ready.shown
                    ));
                }
            }
            ReadyTest::Asked(_) | ReadyTest::Notified | ReadyTest::Announced | ReadyTest::After(_) => {}
        }
        let argv = effective_argv(&instance.launch);
        let words: Vec<&str> = argv.iter().map(String::as_str).gather();
        if let Some(why) = finds(&ready.test).and_then(|finds| hints::misleads(&words, finds)) {
            hint(why.to_owned());
        }
    }
    if let Some(health) = &instance.healthcheck
        && health.test.timeout > health.interval
    {
        hint(format!(
            "healthcheck: timeout ({}) is longer than interval ({}): a check that hangs delays the next ones",
            show_duration(health.test.timeout),
            show_duration(health.interval)
        ));
    }
    if let Some(launch) = &instance.stop.command {
        runs("stop_command", launch, world, &mut hint);
    }
    for asked in tests(instance) {
        match &asked.test.asks {
            Asks::Command(launch) => command(asked.key, launch, world, &mut hint),
            Asks::Target(target) if one_for_all(plan, service, asked.key, target) => hint(format!(
                "{}: all instances are asked at {}, where one answers for the others; ${{TINYSUP_INSTANCE}} tells them apart",
                asked.key, asked.shown
            )),
            Asks::Target(_) => {}
        }
    }
}

#[inline(never)]
fn finds(test: &ReadyTest) -> Option<Finds> {
    match test {
        ReadyTest::Notified => Some(Finds::Notified),
        ReadyTest::Asked(Test { asks: Asks::Target(target), .. }) => match **target {
            Target::Tcp { .. } | Target::Unix { .. } => Some(Finds::Connects),
            Target::Http { .. } | Target::File { .. } => None,
        },
        ReadyTest::Asked(Test { asks: Asks::Command(_), .. })
        | ReadyTest::Announced
        | ReadyTest::Said(_)
        | ReadyTest::After(_) => None,
    }
}

/// What is asked of an instance, and which key says so.
struct Asked<'a> {
    key: &'static str,
    test: &'a Test,
    shown: &'a str,
}

/// All that is asked of an instance; once, where it is the same.
fn tests(instance: &Instance) -> Vec<Asked<'_>> {
    let ready = instance.ready.as_ref().and_then(|ready| match &ready.test {
        ReadyTest::Asked(test) => Some(Asked { key: "ready", test, shown: &ready.shown }),
        ReadyTest::Notified | ReadyTest::Announced | ReadyTest::Said(_) | ReadyTest::After(_) => None,
    });
    let health = instance.healthcheck.as_ref();
    let health = health.map(|health| Asked { key: "healthcheck", test: &health.test, shown: &health.shown });
    let is_other = |ready: &Asked<'_>| health.as_ref().is_none_or(|health| health.shown != ready.shown);
    ready.filter(is_other).into_iter().chain(health).gather()
}

/// Whether instances share what is asked, so that none of them can be told from the others.
#[inline(never)]
fn one_for_all(plan: &Plan, service: &Service<'_>, key: &str, target: &Target) -> bool {
    let others = plan
        .instances
        .iter()
        .filter(|other| other.service == service.first.service && other.number != service.first.number);
    let mut others = others.flat_map(tests).filter(|other| other.key == key);
    service.instances > 1
        && others.any(|other| matches!(&other.test.asks, Asks::Target(theirs) if **theirs == *target))
}

fn command(key: &str, launch: &Launch, world: &dyn World, hint: &mut dyn FnMut(String)) {
    let argv = effective_argv(launch);
    let program = argv.first().map_or("", |program| hints::base_name(program));
    let is_plain = |word: &String| matches!(probe::parse(word), Ok(Target::Http { .. }));
    if matches!(program, "curl" | "wget") && argv.iter().any(is_plain) {
        hint(format!("{key}: {program} is not needed: \"http://…\" asks without starting a program"));
    }
    runs(key, launch, world, hint);
}

/// What is run beside a service, and cannot be.
#[inline(never)]
fn runs(key: &str, launch: &Launch, world: &dyn World, hint: &mut dyn FnMut(String)) {
    if let Some(obstacle) = world.obstacle(launch) {
        hint(format!("{key}: as things are here, it cannot be run: {obstacle}"));
    }
}

/// Services that others wait for, without anything that says when they are ready: known servers each with its test, the rest in
/// one line.
#[inline(never)]
pub fn without_test(services: &[Service<'_>], hints: &mut Vec<String>) {
    let mut is_awaited = vec![false; services.len()];
    for link in services.iter().flat_map(|service| &service.depends_on) {
        if let (Condition::Ready, Some(is_awaited)) = (link.condition, is_awaited.get_mut(link.on)) {
            *is_awaited = true;
        }
    }
    let mut unknown: Vec<String> = Vec::new();
    for (service, _) in services.iter().zip(is_awaited).filter(|(_, is_awaited)| *is_awaited) {
        let instance = service.first;
        if instance.ready.is_some() || instance.kind != Kind::Daemon {
            continue;
        }
        let argv = effective_argv(&instance.launch);
        match argv.first().and_then(|program| hints::readiness(program)) {
            Some(test) => hints.push(format!(
                "{}: what depends on it starts when its program runs; with ready = {test} when it can do its work",
                instance.service
            )),
            None => unknown.push(instance.service.to_string()),
        }
    }
    let test = "ready = \"tcp:8080\" or \"log:TEXT\"";
    match unknown.as_slice() {
        [] => {}
        [one] => hints.push(format!(
            "{one}: what depends on it starts when its program runs; with {test} when it can do its work"
        )),
        _ => hints.push(format!(
            "{}: what depends on them starts when their programs run; with {test} when they can do their work",
            list(&unknown)
        )),
    }
}
