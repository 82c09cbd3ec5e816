//! How a service answers when it is asked, and what it says by itself; and what the commands do that ask it. By seed.

use std::time::Duration;

use tinysup::event::{ExitStatus, Sink};
use tinysup::plan::{Instance, ReadyTest, Test};
use tinysup::units::Signal;

use crate::faults::{Act, Script, Style, Weather};
use crate::plans::READY_TEXT;
use crate::rng::Rng;

/// How a service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Good,
    /// Nobody listens.
    Refused,
    /// Takes the question and never answers.
    Silent,
    /// Answers when nobody waits any more.
    Late,
    Status(u16),
    Closed,
    NotHttp,
}

impl Script {
    /// Draws what one run of a service does about being ready and well.
    pub fn draw_manners(&mut self, rng: &mut Rng, weather: &Weather, instance: &Instance) {
        let mut ready_at = rng.micros(0, 5000);
        if let Some(ready) = &instance.ready {
            let limit = ready.timeout.saturating_sub(self.exec_after);
            let most = u64::try_from(limit.as_millis()).unwrap();
            let in_time = match rng.below(5) {
                0 | 1 => rng.micros(0, 5000),
                _ => rng.spread(0, most.min(20_000)),
            };
            let at = match rng.per_mille(weather.unready) {
                true => match rng.below(6) {
                    0 | 1 => None,
                    2 => Some(limit.saturating_sub(rng.micros(0, 2000))),
                    3 => Some(limit),
                    4 => Some(limit + rng.micros(0, 2000)),
                    _ => Some(limit + rng.spread(0, 5000)),
                },
                false => Some(in_time),
            };
            // Whoever needs longer may say so.
            if let Some(at) = at.filter(|at| *at >= limit && rng.per_mille(400)) {
                let before = limit.mul_f64(0.9);
                let more = (at.saturating_sub(before) + rng.spread(0, 3000)).as_micros();
                self.acts.push((before, Act::Notify(format!("EXTEND_TIMEOUT_USEC={more}").into_bytes())));
            }
            self.announce(rng, &ready.test, at);
            if rng.per_mille(weather.helpers) {
                // A process of its own says it, perhaps when this one is gone and another run waits to be ready.
                let mut helper = Self::helper(rng, weather, 2);
                for _ in 0..3 {
                    let after = rng.spread(0, 20_000);
                    helper.announce(rng, &ready.test, Some(after));
                }
                let style = *rng.pick(&[Style::Child, Style::Daemon]);
                self.acts.push((rng.spread(0, 500), Act::Fork(Box::new(helper), style)));
            }
            ready_at = at.unwrap_or(limit + ready.timeout);
        }
        self.manners = vec![(Duration::ZERO, bad(rng)), (ready_at, Manner::Good)];
        if rng.per_mille(weather.sick) {
            let patience = instance.healthcheck.as_ref().map_or(Duration::from_secs(1), |check| {
                (check.interval + check.test.timeout) * (check.retries + 1)
            });
            let patience = u64::try_from(patience.as_millis()).unwrap();
            let mut at = ready_at;
            for (_, mut rng) in rng.several(1, 4) {
                at += rng.spread(0, 20_000);
                self.manners.push((at, bad(&mut rng)));
                at += rng.spread(0, patience);
                self.manners.push((at, Manner::Good));
            }
            if rng.per_mille(300) {
                self.manners.push((at + rng.spread(0, 20_000), Manner::Silent));
            }
        }
        if let Some(longest) = instance.watchdog {
            let part = if rng.per_mille(weather.sick) { 1.05 } else { 0.9 };
            let every = longest.mul_f64(part * (0.2 + 0.8 * rng.below(1000) as f64 / 1000.0));
            let left = if rng.per_mille(weather.sick) { rng.between(0, 10) } else { rng.between(100, 400) };
            let from = rng.spread(0, 50).min(every);
            self.acts.push((from, Act::Pulse { every, left }));
        }
    }

    /// Does what the readiness test waits for, sometimes twice, and sometimes nearly.
    fn announce(&mut self, rng: &mut Rng, test: &ReadyTest, at: Option<Duration>) {
        let sink = *rng.pick(&[Sink::Stdout, Sink::Stderr]);
        let act = |rng: &mut Rng| match test {
            ReadyTest::Notified => {
                let messages: [&[u8]; 4] = [
                    b"READY=1",
                    b"STATUS=warm\nREADY=1\nWATCHDOG=1",
                    b"READY=1\nSTATUS=serving",
                    b"WATCHDOG_USEC=900000\nREADY=1\n",
                ];
                Some(Act::Notify(rng.pick(&messages).to_vec()))
            }
            ReadyTest::Announced => Some(Act::Announce),
            ReadyTest::Said(words) => Some(Act::text(sink, words)),
            ReadyTest::After(_) | ReadyTest::Asked(_) => None,
        };
        let Some(at) = at else { return };
        let twice = rng.per_mille(300).then(|| at + rng.spread(0, 3000));
        for at in twice.into_iter().chain([at]) {
            self.acts.extend(act(rng).map(|act| (at, act)));
        }
        if matches!(test, ReadyTest::Said(_)) && rng.per_mille(300) {
            let (nearly, rest) = READY_TEXT.split_at(rng.index(READY_TEXT.len()));
            self.acts.push((at.mul_f64(0.2), Act::text(sink, nearly)));
            // Half of it to one stream, the other half to the other.
            let other = if sink == Sink::Stdout { Sink::Stderr } else { Sink::Stdout };
            let part =
                |sink, text: &str, begins, ends| Act::SayText { sink, text: text.to_owned(), begins, ends };
            self.acts.push((at.mul_f64(0.3), part(other, "", true, false)));
            self.acts.push((at.mul_f64(0.4), part(sink, nearly, true, false)));
            self.acts.push((at.mul_f64(0.5), part(other, rest, false, true)));
            self.acts.push((at.mul_f64(0.6), part(sink, "", false, true)));
        }
    }

    /// What a command does that asks a service of this manner.
    pub fn probe(rng: &mut Rng, weather: &Weather, manner: Manner, test: &Test) -> Self {
        let mut script = Self::bare(rng, weather);
        let quick = rng.micros(0, 3000);
        let left = test.timeout.saturating_sub(script.exec_after);
        let code = *rng.pick(&[1, 1, 7]);
        let bad = match rng.below(8) {
            1 => ExitStatus::Signal { signal: *rng.pick(&[Signal::SEGV, Signal::KILL]), core: false },
            _ => ExitStatus::Code(code),
        };
        script.end = match manner {
            Manner::Good => Some((near(rng, quick, left), ExitStatus::Code(0))),
            Manner::Refused | Manner::Status(_) | Manner::Closed | Manner::NotHttp => {
                Some((near(rng, quick, left), bad))
            }
            Manner::Silent => None,
            Manner::Late => Some((left + rng.spread(0, 3000), ExitStatus::Code(0))),
        };
        let life = script.end.map_or(test.timeout, |(at, _)| at);
        let within = |rng: &mut Rng| life.mul_f64(rng.below(1000) as f64 / 1000.0);
        if rng.per_mille(500) {
            for (_, mut rng) in rng.several(1, 3) {
                let say = Act::Say {
                    sink: *rng.pick(&[Sink::Stdout, Sink::Stderr]),
                    lines: rng.between(0, 3),
                    longest: rng.weighted(&[(5, 5), (5, 300), (1, 5000)]),
                    unfinished: rng.per_mille(300),
                };
                script.acts.push((within(&mut rng), say));
            }
        }
        if rng.per_mille(weather.helpers) {
            let style = match rng.per_mille(weather.wandering) {
                true => *rng.pick(&[Style::NewGroup, Style::Orphan, Style::Daemon]),
                false => Style::Child,
            };
            let helper = Self::helper(rng, weather, 1);
            script.acts.push((within(rng), Act::Fork(Box::new(helper), style)));
        }
        if rng.per_mille(weather.frozen / 2) {
            script.acts.push((within(rng), Act::Freeze));
        }
        if weather.sticky && rng.per_mille(300) {
            script.acts.push((rng.spread(0, 5), Act::Stick(rng.spread(5000, 60_000))));
        }
        if rng.per_mille(weather.stuck) {
            let lasts = rng.weighted(&[(5, 1_000), (3, 10_000), (1, 3_600_000)]);
            let lasts = rng.spread(0, lasts);
            script.acts.push((within(rng), Act::Stick(lasts)));
        }
        script
    }
}

/// How long a good or a bad answer takes, other than usually `quick`: about as long as it may.
pub fn near(rng: &mut Rng, quick: Duration, timeout: Duration) -> Duration {
    match rng.below(20) {
        1 => timeout.saturating_sub(rng.micros(0, 1000)),
        2 => timeout,
        3 => timeout + rng.micros(0, 1000),
        4 => timeout.mul_f64(0.7),
        _ => quick,
    }
}

fn bad(rng: &mut Rng) -> Manner {
    match rng.below(12) {
        0..4 => Manner::Refused,
        4..6 => Manner::Silent,
        6 => Manner::Late,
        7 | 8 => Manner::Status(*rng.pick(&[500, 503, 404])),
        9 => Manner::Closed,
        10 => Manner::NotHttp,
        _ => Manner::Refused,
    }
}

/// What a process says through the notification socket of its service.
pub fn message(rng: &mut Rng) -> Vec<u8> {
    let micros = rng.spread(0, 20_000).as_micros();
    let text = match rng.below(24) {
        0..3 => "READY=1".to_owned(),
        3 | 4 => format!("STATUS=busy {micros}"),
        5 => "STATUS=".to_owned(),
        6 => "RELOADING=1\nMONOTONIC_USEC=12345".to_owned(),
        7 => "STOPPING=1".to_owned(),
        8..11 => "WATCHDOG=1".to_owned(),
        11 => "WATCHDOG=trigger".to_owned(),
        12 => format!("WATCHDOG_USEC={micros}"),
        13 => "WATCHDOG_USEC=0".to_owned(),
        14 | 15 => format!("EXTEND_TIMEOUT_USEC={micros}"),
        16 => format!("MAINPID={}", rng.between(2, 15)),
        17 => "FDSTORE=1\nFDNAME=x".to_owned(),
        18 => "STATUS=so\nSTOPPING=1\nWATCHDOG=1\nEXTEND_TIMEOUT_USEC=2000000".to_owned(),
        19 => "BARRIER=1".to_owned(),
        20 => "READY=0\nWATCHDOG=2\nready=1\nEXTEND_TIMEOUT_USEC=-1\nMAINPID=x\n\n=".to_owned(),
        21 => "WATCHDOG=trigger\nREADY=1\nMAINPID=1\nFDSTORE=1".to_owned(),
        _ => return (0..rng.below(40)).map(|_| u8::try_from(rng.below(256)).unwrap()).collect(),
    };
    text.into_bytes()
}
