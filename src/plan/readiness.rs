//! `ready`, `healthcheck` and `watchdog`: how it is known that an instance can do its work, and that it still does. First each as it is
//! written, and then, when the rest of the instance is known, as the plan has it.

use std::rc::Rc;
use std::time::Duration;

use super::advice::advice;
use super::eval::{Evaluator, Read, Scope};
use super::settings::Own;
use super::values::{CommandLine, show};
use super::{Asks, Healthcheck, Ready, ReadyTest, Test};
use crate::config::Problem;
use crate::config::interpolate::Reported;
use crate::config::keys::{DURATION, Id, Key, part};
use crate::config::source::Span;
use crate::config::tree::{Entry, Node, Value};
use crate::event::{Launch, Output, Speaks};
use crate::gather::{alike, parted, replaced};
use crate::probe::{self, Target};
use crate::suggest::answer;
use crate::texts::table;
use crate::units::{parse_duration, parse_signed};

/// So long a run may take until it is ready when nothing else is said.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// From one attempt to the next when nothing else is said. A command costs a process.
const READY_INTERVAL: Duration = Duration::from_millis(200);
const READY_COMMAND_INTERVAL: Duration = Duration::from_secs(1);
/// So long one attempt of a readiness test may take.
const READY_ATTEMPT: Duration = Duration::from_secs(5);
/// What a health check has when nothing else is said.
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
const HEALTH_RETRIES: u32 = 3;
const MAX_RETRIES: i64 = 1000;
/// Nothing is asked more often.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// The descriptors on which a newline may be awaited. 0, 1 and 2 have their use.
const DESCRIPTORS: std::ops::RangeInclusive<i32> = 3..=255;
/// The longest text that is looked for in an output, in bytes.
const MAX_SAID: usize = 200;

/// The kinds of tests, and those of them that can be asked again and again.
const KINDS: [&str; 8] = ["notify", "fd", "tcp", "unix", "http", "log", "file", "delay"];
const ASKED: [&str; 4] = ["tcp", "unix", "http", "file"];

/// The keys of the tables.
const READY_TEST: Key = part(
    Id::Ready,
    "test",
    "\"notify\", \"fd:3\", \"tcp:…\", \"unix:…\", \"http://…\", \"log:…\", \"file:…\", \"delay:…\" or an array",
);
const HEALTH_TEST: Key =
    part(Id::Healthcheck, "test", "\"http://…\", \"tcp:…\", \"unix:…\", \"file:…\" or an array");
const TIMEOUT: Key = part(Id::Ready, "timeout", DURATION);
const INTERVAL: Key = part(Id::Ready, "interval", DURATION);
const START_PERIOD: Key = part(Id::Healthcheck, "start_period", DURATION);
const RETRIES: Key = part(Id::Healthcheck, "retries", "a number from 1 to 1000");

/// `ready` as it is written.
pub struct WantedReady {
    test: Box<Written>,
    timeout: Option<Duration>,
    interval: Option<Duration>,
}

/// `healthcheck` as it is written.
pub struct WantedHealth {
    ask: Ask,
    shown: Rc<str>,
    interval: Duration,
    timeout: Duration,
    retries: u32,
    start_period: Duration,
}

/// A test, and as it may be shown. In a box, as a text is.
struct Written {
    means: Means,
    shown: Rc<str>,
    span: Span,
}

/// What a test means.
enum Means {
    Notified,
    Announced(i32),
    Said(Rc<str>),
    After(Duration),
    Asked(Ask),
}

/// Who is asked, and how.
enum Ask {
    Target(Rc<Target>),
    Command(Box<CommandLine>),
}

impl Evaluator<'_> {
    /// `ready`: a test, or a table with one.
    ///
    /// # Errors
    /// Reported.
    #[inline(never)]
    pub fn ready(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Box<WantedReady>> {
        let Value::Table(entries) = &node.value else {
            let test = self.test(scope, key, node)?;
            return Ok(Box::new(WantedReady { test, timeout: None, interval: None }));
        };
        let (mut test, mut timeout, mut interval) = (None, Ok(None), Ok(None));
        let mut known = Ok(());
        for entry in entries {
            match entry.key.as_str() {
                "test" => test = Some(self.test(scope, &READY_TEST, &entry.node)),
                "timeout" => {
                    let time = self.longer_than_0(scope, &TIMEOUT, &entry.node);
                    timeout = time.map(|time| Some((time, entry.node.span)));
                }
                "interval" => {
                    interval = self.interval(scope, &entry.node).map(|time| Some((time, entry.span)));
                }
                _ => known = self.unknown_part(key, entry, &["test", "timeout", "interval"]),
            }
        }
        let Some(test) = test else {
            known?;
            let help = format_args!("ready = {{ test = \"tcp:8080\", timeout = \"60s\" }}");
            return Err(self.wrong_with(node.span, format_args!("ready has no test"), help));
        };
        let (test, timeout, interval) = (test?, timeout?, interval?);
        known?;
        let is_asked = matches!(test.means, Means::Asked(_));
        match (&test.means, timeout, interval) {
            (_, _, Some((_, span))) if !is_asked => {
                let problem = Problem::at(span, format!("interval has no use with \"{}\"", test.shown));
                Err(self.fail(problem.help("nothing is asked; leave it out")))
            }
            (Means::After(delay), Some((timeout, span)), _) if timeout <= *delay => {
                let message = format_args!("it could never be ready: timeout is not longer than the delay");
                Err(self.wrong_with(span, message, format_args!("with a delay, leave timeout out")))
            }
            _ => Ok(Box::new(WantedReady {
                test,
                timeout: timeout.map(|(time, _)| time),
                interval: interval.map(|(time, _)| time),
            })),
        }
    }

    /// `healthcheck`: a test that can be asked again and again, or a table with one.
    ///
    /// # Errors
    /// Reported.
    #[inline(never)]
    pub fn healthcheck(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Box<WantedHealth>> {
        let with = |(ask, shown)| {
            Box::new(WantedHealth {
                ask,
                shown,
                interval: HEALTH_INTERVAL,
                timeout: HEALTH_TIMEOUT,
                retries: HEALTH_RETRIES,
                start_period: Duration::ZERO,
            })
        };
        let Value::Table(entries) = &node.value else { return self.health_test(scope, key, node).map(with) };
        let mut test = None;
        let (mut interval, mut timeout, mut retries, mut start_period) =
            (Ok(None), Ok(None), Ok(None), Ok(None));
        let mut known = Ok(());
        for entry in entries {
            let node = &entry.node;
            match entry.key.as_str() {
                "test" => test = Some(self.health_test(scope, &HEALTH_TEST, node)),
                "interval" => interval = self.interval(scope, node).map(Some),
                "timeout" => timeout = self.longer_than_0(scope, &TIMEOUT, node).map(Some),
                "retries" => retries = self.whole(scope, &RETRIES, node, 1, MAX_RETRIES).map(Some),
                "start_period" => start_period = self.duration(scope, &START_PERIOD, node).map(Some),
                "disable" => {
                    let problem = Problem::at(entry.span, "a health check is not switched off here");
                    known = Err(self.fail(problem.help("healthcheck = false, or leave it out")));
                }
                "start_interval" => {
                    let problem = Problem::at(entry.span, "start_interval belongs to ready");
                    let help =
                        "ready = { test = …, interval = \"200ms\" }; healthcheck begins when it is ready";
                    known = Err(self.fail(problem.help(help)));
                }
                _ => {
                    let names = ["test", "interval", "timeout", "retries", "start_period"];
                    known = self.unknown_part(key, entry, &names);
                }
            }
        }
        let Some(test) = test else {
            known?;
            let help = format_args!("healthcheck = {{ test = \"http://127.0.0.1:8080/health\" }}");
            return Err(self.wrong_with(node.span, format_args!("healthcheck has no test"), help));
        };
        let mut wanted = with(test?);
        let retries = retries?.and_then(|retries| u32::try_from(retries).ok());
        known?;
        wanted.interval = interval?.unwrap_or(wanted.interval);
        wanted.timeout = timeout?.unwrap_or(wanted.timeout);
        wanted.retries = retries.unwrap_or(wanted.retries);
        wanted.start_period = start_period?.unwrap_or(wanted.start_period);
        Ok(wanted)
    }

    /// `watchdog`, and every other time that must be longer than 0.
    ///
    /// # Errors
    /// Reported.
    pub fn longer_than_0(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Duration> {
        let time = self.duration(scope, key, node)?;
        if time.is_zero() {
            return Err(self.wrong(node.span, format_args!("{} must be longer than 0", key.name)));
        }
        Ok(time)
    }

    fn interval(&mut self, scope: &mut Scope<'_>, node: &Node) -> Read<Duration> {
        let interval = self.duration(scope, &INTERVAL, node)?;
        if interval < SHORTEST_INTERVAL {
            return Err(self.wrong(node.span, format_args!("interval must be at least \"10ms\"")));
        }
        Ok(interval)
    }

    fn unknown_part(&mut self, key: &Key, entry: &Entry, names: &[&str]) -> Read<()> {
        let written = entry.key.as_str();
        let plain = replaced(&written.to_ascii_lowercase(), '-', "_");
        let ours = answer(table("# readiness"), &plain);
        let help = match ours {
            Some(ours) if names.contains(&ours) => Some(format!("here it is called \"{ours}\"").into()),
            // Of the others some are parts of healthcheck alone.
            _ if ["retries", "start_period"].contains(&ours.unwrap_or(written)) => {
                Some("until its timeout it is asked as often as needed".into())
            }
            _ => self.similar(written, names),
        };
        let message = format!("unknown key \"{written}\" in {}", key.name);
        Err(self.fail(Problem::at(entry.span, message).maybe_help(help)))
    }

    fn health_test(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<(Ask, Rc<str>)> {
        let Written { means, shown, span } = *self.test(scope, key, node)?;
        let (why, help) = match means {
            Means::Asked(ask) => return Ok((ask, shown)),
            Means::Notified => (
                "a service is ready once; this says nothing about later",
                "watchdog = \"30s\" expects WATCHDOG=1 that often; ready = \"notify\" may stand beside it",
            ),
            Means::Announced(_) => ("a service is ready once; this says nothing about later", ONCE),
            Means::Said(_) => ("a line is written once; this says nothing about later", ONCE),
            Means::After(_) => ("a delay passes once; this says nothing about later", ONCE),
        };
        Err(self.wrong_with(span, format_args!("{why}"), format_args!("{help}")))
    }

    /// A test by itself.
    fn test(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Box<Written>> {
        let kinds: &[&str] = if key.id == Id::Healthcheck { &ASKED } else { &KINDS };
        let help = match &node.value {
            Value::List(nodes) => {
                self.check_docker_words(key, nodes)?;
                let command = self.command(scope, key, node, false)?;
                let shown = Rc::from(command.shown.as_str());
                let means = Means::Asked(Ask::Command(command));
                return Ok(Box::new(Written { means, shown, span: node.span }));
            }
            Value::Text(written) => {
                let text = self.string(scope, key, node)?;
                let help = match means(text.word().trim()) {
                    Ok(means) => {
                        let shown = Rc::from(show(&written.text));
                        return Ok(Box::new(Written { means, shown, span: node.span }));
                    }
                    Err(Some(wrong)) => {
                        let (message, help) = match parted(&wrong, "; ") {
                            Some((message, help)) => (message, Some(help.into())),
                            None => (wrong.as_str(), None),
                        };
                        return Err(self.fail(Problem::at(node.span, message).maybe_help(help)));
                    }
                    Err(None) if key.id == Id::Healthcheck && alike(&written.text, "none") => {
                        Some("healthcheck = false, or leave it out".into())
                    }
                    Err(None) => self.problems.suggest(|| advice(&written.text, kinds)),
                };
                return Err(self.mismatch_with(key, node, Some(&*text), help));
            }
            Value::Integer { value, .. } => self.problems.suggest(|| advice(&value.to_string(), kinds)),
            Value::Float { .. } | Value::Boolean(_) | Value::Table(_) => None,
            Value::Unusable => return Err(Reported),
        };
        Err(self.mismatch_with(key, node, None, help))
    }

    /// The first word of a health check that was written for Docker.
    #[inline(never)]
    fn check_docker_words(&mut self, key: &Key, nodes: &[Node]) -> Read<()> {
        let Some((first, Value::Text(text))) = nodes.first().map(|first| (first.span, &first.value)) else {
            return Ok(());
        };
        let help = match text.text.as_str() {
            "CMD" => "leave it out",
            "CMD-SHELL" => "[\"/bin/sh\", \"-c\", \"…\"]",
            "NONE" if key.id == Id::Healthcheck => "healthcheck = false, or leave it out",
            _ => return Ok(()),
        };
        Err(self.wrong_with(
            first,
            format_args!("\"{}\" is a word of Docker, not a program", text.text),
            format_args!("{help}"),
        ))
    }

    /// A text can only be found in an output that comes by.
    #[inline(never)]
    pub fn check_heard(&mut self, own: &Own) {
        if let Some(wanted) = &own.ready
            && let Written { means: Means::Said(_), shown, span } = &*wanted.test
            && !own.launch.stdout.is_seen()
            && !own.launch.stderr.is_seen()
        {
            let message = format_args!(
                "\"{shown}\" would never be seen: neither stdout nor stderr passes through tinysup"
            );
            self.problems.advise(
                *span,
                message,
                format_args!("stdout = \"prefix\", \"json\", \"raw\" or a file, or another test"),
            );
        }
    }
}

/// What helps instead of a test that comes true once.
const ONCE: &str = "test with http, tcp, unix, file or an array; ready may stand beside it";

/// What the words of a test mean.
///
/// # Errors
/// A sentence that says what is wrong with them, and after a semicolon what helps; `None` if they are of no kind. It holds nothing
/// of them: they may be a secret.
#[inline(never)]
fn means(text: &str) -> Result<Means, Option<String>> {
    let wrong = |why: &str| Err(Some(why.to_owned()));
    match text.split_once(':') {
        None if text == "notify" => Ok(Means::Notified),
        Some(("fd", number)) => match parse_signed(number) {
            Some(number) if DESCRIPTORS.contains(&number) => Ok(Means::Announced(number)),
            Some(0..=2) => wrong("descriptors 0, 1 and 2 are the standard ones; fd:3"),
            _ => wrong("a descriptor is a number from 3 to 255; fd:3"),
        },
        Some(("log", said)) => match said.trim() {
            "" => wrong("a text to look for is missing; log:listening on"),
            said if said.len() > MAX_SAID => wrong("the text to look for has at most 200 bytes"),
            said if said.contains(char::is_control) => {
                wrong("the text to look for has a line break or another control character")
            }
            said => Ok(Means::Said(said.into())),
        },
        Some(("delay", delay)) => match parse_duration(delay) {
            Ok(delay) if delay.is_zero() => wrong("a delay must be longer than 0"),
            Ok(delay) => Ok(Means::After(delay)),
            Err(_) => wrong("a delay needs a duration; delay:2s"),
        },
        _ => probe::parse(text).map(|target| Means::Asked(Ask::Target(Rc::new(target)))),
    }
}

/// How the service itself speaks to us.
#[inline(never)]
pub fn speaks(own: &Own) -> Speaks {
    let means = own.ready.as_ref().map(|ready| &ready.test.means);
    Speaks {
        notify: own.watchdog.is_some() || matches!(means, Some(Means::Notified)),
        descriptor: match means {
            Some(Means::Announced(number)) => Some(*number),
            Some(Means::Notified | Means::Said(_) | Means::After(_) | Means::Asked(_)) | None => None,
        },
    }
}

impl WantedHealth {
    /// With the commands that are run as the service is.
    #[inline(never)]
    pub fn resolve(self, service: &Launch) -> Healthcheck {
        Healthcheck {
            test: Test { asks: self.ask.resolve(service), timeout: self.timeout },
            shown: self.shown,
            interval: self.interval,
            retries: self.retries,
            start_period: self.start_period,
        }
    }
}

impl WantedReady {
    /// With the commands that are run as the service is, and every default.
    #[inline(never)]
    pub fn resolve(self, service: &Launch) -> Ready {
        let WantedReady { test, timeout, interval } = self;
        let Written { means, shown, .. } = *test;
        let usual = timeout.unwrap_or(READY_TIMEOUT);
        let (test, timeout) = match means {
            Means::Notified => (ReadyTest::Notified, usual),
            Means::Announced(_) => (ReadyTest::Announced, usual),
            Means::Said(text) => (ReadyTest::Said(text), usual),
            // It cannot come too late.
            Means::After(delay) => {
                (ReadyTest::After(delay), timeout.unwrap_or(delay.saturating_add(READY_TIMEOUT)))
            }
            Means::Asked(ask) => {
                let test = Test { asks: ask.resolve(service), timeout: READY_ATTEMPT.min(usual) };
                (ReadyTest::Asked(test), usual)
            }
        };
        let interval = interval.unwrap_or_else(|| match &test {
            ReadyTest::Asked(test) => usual_interval(&test.asks),
            ReadyTest::Notified | ReadyTest::Announced | ReadyTest::Said(_) | ReadyTest::After(_) => {
                READY_INTERVAL
            }
        });
        Ready { test, shown, timeout, interval }
    }
}

impl Ask {
    #[inline(never)]
    fn resolve(self, service: &Launch) -> Asks {
        match self {
            Self::Target(target) => Asks::Target(target),
            Self::Command(command) => {
                let mut launch = command.beside(service);
                launch.stdout = Output::Captured;
                launch.stderr = Output::Captured;
                Asks::Command(Rc::new(launch))
            }
        }
    }
}

/// A service with a health check, and without a readiness test, is ready when it is healthy for the first time.
#[inline(never)]
pub fn ready_when_healthy(health: &Healthcheck) -> Ready {
    let grace = health.start_period.saturating_add(health.interval.saturating_mul(health.retries));
    let timeout = grace.max(READY_TIMEOUT);
    let test = Test { timeout: health.test.timeout.min(timeout), ..health.test.clone() };
    Ready {
        interval: usual_interval(&test.asks).min(health.interval),
        test: ReadyTest::Asked(test),
        shown: Rc::clone(&health.shown),
        timeout,
    }
}

fn usual_interval(asks: &Asks) -> Duration {
    match asks {
        Asks::Target(_) => READY_INTERVAL,
        Asks::Command(_) => READY_COMMAND_INTERVAL,
    }
}
