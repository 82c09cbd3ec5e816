//! How the services of a plan are known to be ready and well.

use std::rc::Rc;
use std::time::Duration;

use tinysup::event::{Launch, Mark, Output, Secret, Speaks};
use tinysup::plan::{Asks, Healthcheck, Ready, ReadyTest, Test};
use tinysup::probe::Target;

use crate::rng::Rng;

/// What a service says when it is ready, where its output is waited for.
pub const READY_TEXT: &str = "listening on";

#[derive(Default)]
pub struct Care {
    pub ready: Option<Ready>,
    pub healthcheck: Option<Healthcheck>,
    pub watchdog: Option<Duration>,
    pub speaks: Speaks,
}

/// `heard`: whether what it writes passes through the core.
pub fn draw(rng: &mut Rng, mark: &Mark, heard: bool) -> Care {
    let healthcheck = rng.per_mille(450).then(|| healthcheck(rng, mark));
    let ready = match &healthcheck {
        Some(check) if rng.per_mille(300) => Some(as_healthy(rng, check)),
        _ => rng.per_mille(700).then(|| ready(rng, mark, heard)),
    };
    let watchdog = rng.per_mille(250).then(|| {
        rng.weighted(&[
            (1, Duration::from_millis(20)),
            (3, Duration::from_millis(300)),
            (4, Duration::from_secs(2)),
            (2, Duration::from_secs(20)),
        ])
    });
    let test = ready.as_ref().map(|ready| &ready.test);
    let notify = watchdog.is_some() || matches!(test, Some(ReadyTest::Notified)) || rng.per_mille(100);
    let descriptor = matches!(test, Some(ReadyTest::Announced)).then_some(3);
    Care { ready, healthcheck, watchdog, speaks: Speaks { notify, descriptor } }
}

/// Without a readiness test of its own, a service is ready when its health check is good.
fn as_healthy(rng: &mut Rng, check: &Healthcheck) -> Ready {
    Ready {
        test: ReadyTest::Asked(check.test.clone()),
        shown: check.shown.clone(),
        timeout: ready_timeout(rng),
        interval: ready_interval(rng),
    }
}

fn ready(rng: &mut Rng, mark: &Mark, heard: bool) -> Ready {
    let mut timeout = ready_timeout(rng);
    let test = match rng.below(10) {
        0 | 1 => ReadyTest::Notified,
        2 | 8 | 9 => ReadyTest::Announced,
        3 if heard => ReadyTest::Said(READY_TEXT.into()),
        4 => {
            let delay = rng.weighted(&[(2, 1), (3, 50), (3, 1_000), (1, 10_000)]);
            let delay = Duration::from_millis(delay);
            timeout = timeout.max(delay + Duration::from_millis(1));
            ReadyTest::After(delay)
        }
        _ => ReadyTest::Asked(Test { asks: asks(rng, mark, "ready"), timeout: attempt_timeout(rng) }),
    };
    Ready { test, shown: "ready?".into(), timeout, interval: ready_interval(rng) }
}

fn ready_timeout(rng: &mut Rng) -> Duration {
    rng.weighted(&[
        (1, Duration::from_millis(5)),
        (3, Duration::from_millis(300)),
        (4, Duration::from_secs(2)),
        (4, Duration::from_secs(10)),
        (2, Duration::from_mins(1)),
    ])
}

fn ready_interval(rng: &mut Rng) -> Duration {
    rng.weighted(&[
        (1, Duration::from_millis(10)),
        (5, Duration::from_millis(200)),
        (3, Duration::from_secs(1)),
        (1, Duration::from_secs(5)),
    ])
}

fn attempt_timeout(rng: &mut Rng) -> Duration {
    rng.weighted(&[
        (1, Duration::from_millis(3)),
        (3, Duration::from_millis(100)),
        (4, Duration::from_secs(1)),
        (2, Duration::from_secs(5)),
    ])
}

fn healthcheck(rng: &mut Rng, mark: &Mark) -> Healthcheck {
    Healthcheck {
        test: Test { asks: asks(rng, mark, "well"), timeout: attempt_timeout(rng) },
        shown: "well?".into(),
        interval: rng.weighted(&[
            (1, Duration::from_millis(20)),
            (3, Duration::from_millis(300)),
            (4, Duration::from_secs(2)),
            (3, Duration::from_secs(10)),
            (1, Duration::from_secs(30)),
        ]),
        retries: rng.weighted(&[(3, 1), (3, 2), (4, 3), (1, 10)]),
        start_period: rng.weighted(&[
            (4, Duration::ZERO),
            (2, Duration::from_millis(500)),
            (2, Duration::from_secs(5)),
            (1, Duration::from_mins(1)),
        ]),
    }
}

/// `what` makes the tests of one service different.
fn asks(rng: &mut Rng, mark: &Mark, what: &str) -> Asks {
    if rng.per_mille(550) {
        return Asks::Target(Rc::new(Target::Unix { path: format!("/run/{what}").into() }));
    }
    Asks::Command(Rc::new(Launch {
        stdout: Output::Captured,
        stderr: Output::Captured,
        mark: Some(mark.clone()),
        ..Launch::new(vec![Secret::new(what)], what.to_owned())
    }))
}
