//! What goes wrong, by seed. A seed has a weather (which faults there are at all, and how often), every instance a temper
//! (how its runs usually go), and every process a script (what this one does). No seed has everything: rare
//! combinations need faults that are frequent where they are and absent elsewhere.

use std::rc::Rc;
use std::time::Duration;

use tinysup::event::{Controller, ExitStatus, Sink, Standing, StartError};
use tinysup::plan::{Instance, Kind, Mode, Plan, RestartWhen};
use tinysup::units::Signal;

use crate::manners::{Manner, message};
use crate::plans::READY_TEXT;
use crate::rng::Rng;

/// How often what goes wrong in one seed; chances in a thousand.
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
pub struct Weather {
    pub pid1: bool,
    /// Orphans do not come to us.
    pub alone: bool,
    /// What is started beside a service often cannot die for a while.
    pub sticky: bool,
    /// The number of pids there are; few, so that a released one is somebody else's at once.
    pub pids: i32,
    pub reuse_at_once: u64,
    /// A wake-up comes late by milliseconds; by seconds.
    pub late: u64,
    pub very_late: u64,
    /// `wait` returns before anything is due.
    pub early: u64,
    /// An action takes milliseconds.
    pub slow_action: u64,
    /// What could be reported is not reported yet.
    pub lazy: u64,
    pub spawn_failure: u64,
    pub exec_failure: u64,
    pub slow_exec: u64,
    /// A process that dies before its exec looks as if it had made it (the pipe that tells it is closed either way).
    pub early_death_looks_executed: bool,
    pub helpers: u64,
    pub wandering: u64,
    pub stuck: u64,
    pub frozen: u64,
    pub deaf: u64,
    pub chatty: u64,
    pub flood: bool,
    pub external_kill: u64,
    /// A run is ready late or never.
    pub unready: u64,
    /// A ready run answers badly for a while, or forgets to say that it lives.
    pub sick: u64,
    /// A process speaks through the notification socket, whatever comes to its mind.
    pub talk: u64,
    /// What was said is said again, later.
    pub echo: u64,
    /// The machine cannot ask a service at this moment.
    pub cannot_ask: u64,
    /// An answer is there as soon as it is asked for.
    pub at_once: u64,
    /// The reader of the container's output stops, or goes on.
    pub reader: u64,
    pub memory: MemoryWeather,
    /// Signals to us and orphans, at what moments.
    pub visitors: Vec<(Duration, Visitor)>,
}

/// What rules over the memory, and what services do with it.
#[derive(Debug)]
pub struct MemoryWeather {
    pub controller: Controller,
    pub limit: Option<u64>,
    pub total: u64,
    pub delegated: bool,
    pub oom_group: bool,
    /// A run leaks, or holds too much for a while.
    pub greedy: u64,
    /// The container cannot be weighed at this moment.
    pub unreadable: u64,
}

impl MemoryWeather {
    /// What happens to the memory from outside.
    fn visitors(rng: &mut Rng) -> Vec<(Rng, Visitor)> {
        let kills = if rng.per_mille(250) { rng.several(1, 6) } else { Vec::new() };
        let changes = if rng.per_mille(250) { rng.several(1, 3) } else { Vec::new() };
        let limits = [None, Some(256 << 20), Some(400 << 20), Some(1 << 30)];
        let changes = changes.into_iter().map(|(_, mut rng)| {
            let limit = *rng.pick(&limits);
            (rng, Visitor::Limit(limit))
        });
        kills.into_iter().map(|(_, rng)| (rng, Visitor::OomKill)).chain(changes).collect()
    }

    fn draw(rng: &mut Rng) -> Self {
        let controller = rng.weighted(&[(5, Controller::V2), (2, Controller::V1), (2, Controller::None)]);
        let limit =
            rng.weighted(&[(4, Some(512 << 20)), (1, Some(1 << 30)), (3, Some(200 << 20)), (1, None)]);
        Self {
            controller,
            limit: limit.filter(|_| controller != Controller::None),
            total: 2 << 30,
            delegated: controller != Controller::None && rng.per_mille(500),
            oom_group: rng.per_mille(50),
            greedy: *rng.pick(&[0, 300, 1000]),
            unreadable: sometimes(rng, 100, 300),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Visitor {
    Signal(Signal),
    /// The OOM killer takes anybody.
    OomKill,
    /// The container's memory limit is changed.
    Limit(Option<u64>),
    /// A process that comes to us as an orphan: how long it lives, and its exit code.
    Orphan(Duration, u8),
    /// A process whose parent is outside: `docker exec`, or a neighbour in a shared pid namespace.
    Outsider(Duration),
}

/// How the runs of an instance usually go.
#[derive(Clone, Copy, Debug)]
pub enum Temper {
    Steady,
    Crashing {
        code: u8,
        within: Duration,
    },
    /// Lives about as long as `min_uptime`.
    Borderline,
    Unstartable,
    Unsteady,
    Job {
        fails: u64,
    },
}

/// What a process does when asked politely.
#[derive(Clone, Copy, Debug)]
pub enum Reaction {
    /// Dies of the signal at once.
    Default,
    /// Ends by itself after a while.
    Exits(Duration, u8),
    Ignores,
}

#[derive(Clone, Debug)]
pub struct Script {
    /// From spawn to exec.
    pub exec_after: Duration,
    pub exec_error: Option<Rc<StartError>>,
    /// What it does, from its exec on.
    pub acts: Vec<(Duration, Act)>,
    /// When it ends by itself, from its exec on, and how.
    pub end: Option<(Duration, ExitStatus)>,
    /// To the signals that ask to end.
    pub polite: Reaction,
    /// To all others that a program may catch.
    pub other: Reaction,
    /// How it answers, each from that time on, counted from its exec.
    pub manners: Vec<(Duration, Manner)>,
}

#[derive(Clone, Debug)]
pub enum Act {
    Say {
        sink: Sink,
        lines: u64,
        longest: u64,
        unfinished: bool,
    },
    CloseOutput(Sink),
    /// Writes more than a read gets, in lines of one length.
    Flood(Sink),
    /// Says a text within a line, and perhaps nothing before or after it.
    SayText {
        sink: Sink,
        text: String,
        begins: bool,
        ends: bool,
    },
    /// Speaks through its notification socket.
    Notify(Vec<u8>),
    /// Says `WATCHDOG=1`, and then again so many times.
    Pulse {
        every: Duration,
        left: u64,
    },
    /// Writes a newline to its readiness descriptor.
    Announce,
    /// Holds so much memory from now on, and more each second.
    Hold {
        bytes: u64,
        per_second: u64,
    },
    Fork(Box<Script>, Style),
    /// Stops itself, as under a debugger or by SIGSTOP from outside.
    Freeze,
    /// Uninterruptible sleep.
    Stick(Duration),
}

impl Act {
    /// Says this in the middle of a line.
    pub fn text(sink: Sink, text: &str) -> Self {
        Self::SayText { sink, text: text.to_owned(), begins: true, ends: true }
    }
}

/// How a helper stands to the one that forked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Its child, in its group.
    Child,
    /// Its child, in a group of its own.
    NewGroup,
    /// Double-forked: re-parented to us, still in the group.
    Orphan,
    /// Double-forked with a session of its own.
    Daemon,
}

const POLITE: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::QUIT];

/// Whether a program takes this signal as the request to end.
pub fn asks_to_end(signal: Signal, instance: Option<&Instance>) -> bool {
    POLITE.contains(&signal) || instance.is_some_and(|instance| instance.stop.signal == signal)
}

/// `value` in some seeds, nothing in the others.
fn sometimes(rng: &mut Rng, seeds: u64, value: u64) -> u64 {
    let value = rng.between(1, value.max(1));
    if rng.per_mille(seeds) { value } else { 0 }
}

impl Weather {
    pub fn standing(&self) -> Standing {
        match (self.pid1, self.alone) {
            (true, _) => Standing::Pid1,
            (false, false) => Standing::Subreaper,
            (false, true) => Standing::Neither,
        }
    }

    pub fn draw(rng: &mut Rng, plan: &Plan) -> Self {
        let command = matches!(plan.mode, Mode::Command { .. });
        let mut visitors = Vec::new();
        let horizon = if rng.per_mille(70) { rng.micros(1, 1500) } else { rng.spread(1, 120_000) };
        let random_moment = |rng: &mut Rng| match rng.below(3) {
            0 => rng.micros(0, 500),
            1 => rng.spread(0, 60_000),
            _ => Duration::from_nanos(rng.below(u64::try_from(horizon.as_nanos()).unwrap())),
        };
        let ends = [Signal::TERM, Signal::TERM, Signal::TERM, Signal::INT, Signal::QUIT, Signal::RTMIN_3];
        if rng.per_mille(850) {
            let signal = *rng.pick(&ends);
            visitors.push((horizon, Visitor::Signal(signal)));
            // What comes while it stops.
            match rng.below(10) {
                9 | 8 => {
                    for (_, mut rng) in rng.several(2, 4) {
                        let after = rng.spread(0, 5000);
                        visitors.push((horizon + after, Visitor::Signal(Signal::INT)));
                    }
                }
                1 => {
                    let after = rng.spread(0, 3000);
                    visitors.push((horizon + after, Visitor::Signal(Signal::TERM)));
                }
                2 => {
                    let (after, second) = (rng.spread(0, 4000), rng.spread(0, 4000));
                    visitors.push((horizon + after, Visitor::Signal(Signal::INT)));
                    visitors.push((horizon + after + second, Visitor::Signal(Signal::INT)));
                }
                3 => {
                    for (_, mut rng) in rng.several(2, 300) {
                        let after = rng.millis(0, 1500);
                        visitors.push((horizon + after, Visitor::Signal(Signal::TERM)));
                    }
                }
                _ => {}
            }
        }
        if rng.per_mille(500) {
            let others = [1, 10, 12, 28, 34, 40, 64, 30, 23, 20, 21, 22];
            for (_, mut rng) in rng.several(1, 8) {
                let at = random_moment(&mut rng);
                let number = *rng.pick(&others);
                visitors.push((at, Visitor::Signal(Signal::new(number).unwrap())));
            }
        }
        if rng.per_mille(400) {
            for (_, mut rng) in rng.several(1, 10) {
                let at = random_moment(&mut rng);
                let lives = rng.spread(0, 60_000);
                let visitor = match rng.below(3) {
                    0 => Visitor::Outsider(lives),
                    _ => Visitor::Orphan(lives, *rng.pick(&[0, 1, 99])),
                };
                visitors.push((at, visitor));
            }
        }
        if rng.per_mille(100) {
            let at = random_moment(rng);
            for (_, mut rng) in rng.several(10, 25) {
                visitors.push((at, Visitor::Orphan(rng.spread(0, 10), 99)));
            }
        }
        visitors.extend(
            MemoryWeather::visitors(rng).into_iter().map(|(mut rng, what)| (random_moment(&mut rng), what)),
        );
        Self {
            memory: MemoryWeather::draw(rng),
            pid1: rng.per_mille(800),
            // With services that is no state to be in: what they leave behind could not be found.
            alone: command && rng.per_mille(500),
            sticky: rng.per_mille(40),
            pids: rng.weighted(&[(4, 40), (2, 60), (1, 100), (1, 14)]),
            reuse_at_once: *rng.pick(&[1000, 900, 500]),
            late: sometimes(rng, 500, 300),
            very_late: sometimes(rng, 100, 50),
            early: sometimes(rng, 200, 100),
            slow_action: sometimes(rng, 200, 100),
            lazy: sometimes(rng, 500, 500),
            spawn_failure: sometimes(rng, 150, 400),
            exec_failure: sometimes(rng, 200, 400),
            slow_exec: sometimes(rng, 300, 500),
            early_death_looks_executed: rng.per_mille(500),
            helpers: sometimes(rng, 500, 900),
            wandering: sometimes(rng, 600, 900),
            stuck: sometimes(rng, 150, 300),
            frozen: sometimes(rng, 200, 300),
            deaf: sometimes(rng, 300, 500),
            chatty: sometimes(rng, 400, 1000),
            flood: rng.per_mille(40),
            external_kill: sometimes(rng, 100, 200),
            unready: sometimes(rng, 500, 700),
            sick: sometimes(rng, 500, 900),
            talk: sometimes(rng, 400, 900),
            echo: sometimes(rng, 200, 500),
            cannot_ask: sometimes(rng, 100, 300),
            at_once: sometimes(rng, 200, 900),
            reader: sometimes(rng, 200, 50),
            visitors,
        }
    }
}

impl Temper {
    pub fn draw(rng: &mut Rng, plan: &Plan, instance: &Instance) -> Self {
        if instance.kind == Kind::Oneshot {
            return Self::Job { fails: *rng.pick(&[0, 0, 300, 1000]) };
        }
        let code = *rng.pick(&[0, 1, 1, 3, 17, 17, 99, 127, 137, 255]);
        let within = rng.spread(0, 2000);
        let command = plan.mode != Mode::Services;
        // Crash loops without a pause and without an end are bounded by the length of the simulation only.
        rng.weighted(&[
            (10, Self::Steady),
            (if command { 6 } else { 3 }, Self::Crashing { code, within }),
            (2, Self::Borderline),
            (1, Self::Unstartable),
            (3, Self::Unsteady),
            (if instance.restart.when == RestartWhen::Always { 0 } else { 3 }, Self::Job { fails: 300 }),
        ])
    }
}

impl Script {
    /// What one run of an instance does.
    pub fn main(rng: &mut Rng, weather: &Weather, temper: Temper, instance: &Instance) -> Self {
        let mut script = Self::plain(rng, weather);
        script.draw_manners(rng, weather, instance);
        script.draw_memory(rng, weather, instance);
        let signals = [9, 9, 11, 6, 15, 1, 2, 37];
        let died = |rng: &mut Rng, code: u8| match rng.below(5) {
            4 => ExitStatus::Signal {
                signal: Signal::new(*rng.pick(&signals)).unwrap(),
                core: rng.per_mille(100),
            },
            _ => ExitStatus::Code(code),
        };
        match temper {
            Temper::Steady => {
                if rng.per_mille(100) {
                    script.end = Some((rng.spread(0, 100_000), died(rng, 1)));
                }
            }
            Temper::Crashing { code, within } => {
                if rng.per_mille(200) {
                    let text = "bind: 0.0.0.0:8080: address already in use";
                    let sink = *rng.pick(&[Sink::Stderr, Sink::Stdout]);
                    script.acts.push((Duration::ZERO, Act::text(sink, text)));
                }
                let most = u64::try_from(within.as_millis()).unwrap();
                script.end = Some((rng.millis(0, most), ExitStatus::Code(code)));
            }
            Temper::Borderline => {
                let around = instance.restart.min_uptime;
                let life = match rng.below(3) {
                    0 => around.saturating_sub(rng.micros(0, 2000)),
                    1 => around + rng.micros(0, 2000),
                    _ => around.mul_f64(0.5),
                };
                script.end = Some((life.saturating_sub(script.exec_after), died(rng, 1)));
            }
            Temper::Unstartable => {
                if rng.per_mille(900) {
                    script.exec_error = Some(start_error(rng).into());
                }
            }
            Temper::Unsteady => {
                let code = *rng.pick(&[0, 0, 1, 3, 17]);
                script.end = Some((rng.spread(0, 30_000), died(rng, code)));
            }
            Temper::Job { fails } => {
                let code = if rng.per_mille(fails) { *rng.pick(&[1, 3, 17]) } else { 0 };
                script.end = Some((rng.spread(0, 3000), died_rarely(rng, code)));
            }
        }
        script
    }

    /// What a `stop_command` does.
    pub fn stop_command(rng: &mut Rng, weather: &Weather) -> Self {
        let mut script = Self::plain(rng, weather);
        let code = u8::from(rng.per_mille(300));
        script.end = rng.per_mille(900).then(|| (rng.spread(0, 5000), ExitStatus::Code(code)));
        if weather.sticky && rng.per_mille(700) {
            script.acts.push((rng.spread(0, 20), Act::Stick(rng.spread(5000, 60_000))));
        }
        script
    }

    /// A process that comes from outside.
    pub fn visitor(rng: &mut Rng, weather: &Weather, lives: Duration, code: u8) -> Self {
        let mut script = Self::plain(rng, weather);
        script.exec_error = None;
        script.acts.clear();
        script.end = Some((lives, ExitStatus::Code(code)));
        script
    }

    fn plain(rng: &mut Rng, weather: &Weather) -> Self {
        let mut script = Self::bare(rng, weather);
        script.draw_acts(rng, weather, 0);
        if rng.per_mille(weather.external_kill) {
            let status = ExitStatus::Signal { signal: Signal::KILL, core: false };
            script.end = Some((rng.spread(0, 20_000), status));
        }
        script
    }

    /// One that does nothing but start and be asked to end.
    pub fn bare(rng: &mut Rng, weather: &Weather) -> Self {
        Self {
            exec_after: match rng.per_mille(weather.slow_exec) {
                true => rng.spread(0, 3000),
                false => rng.micros(0, 800),
            },
            exec_error: rng.per_mille(weather.exec_failure).then(|| start_error(rng).into()),
            acts: Vec::new(),
            end: None,
            polite: polite(rng, weather),
            other: if rng.per_mille(700) { Reaction::Ignores } else { Reaction::Default },
            manners: Vec::new(),
        }
    }

    pub fn helper(rng: &mut Rng, weather: &Weather, depth: u32) -> Self {
        let mut script = Self {
            exec_after: Duration::ZERO,
            exec_error: None,
            acts: Vec::new(),
            end: rng.per_mille(500).then(|| {
                let code = *rng.pick(&[0, 0, 1, 99]);
                (rng.spread(0, 60_000), ExitStatus::Code(code))
            }),
            polite: polite(rng, weather),
            other: Reaction::Ignores,
            manners: Vec::new(),
        };
        script.draw_acts(rng, weather, depth);
        script
    }

    /// What a run holds of memory: quiet, leaking, for a moment too much, or exactly what it may.
    fn draw_memory(&mut self, rng: &mut Rng, weather: &Weather, instance: &Instance) {
        const M: u64 = 1 << 20;
        let whole = weather.memory.limit.or(Some(weather.memory.total));
        let limits = [instance.memory.restart, instance.memory.limit];
        let own = limits.iter().flatten().filter_map(|amount| amount.bytes(whole)).min();
        let may = own.unwrap_or(150 * M);
        let quiet = may / 100 * rng.between(1, 70);
        self.acts.push((rng.spread(0, 500), Act::Hold { bytes: quiet, per_second: 0 }));
        if !rng.per_mille(weather.memory.greedy) {
            return;
        }
        let at = rng.spread(0, 30_000);
        let then = at + rng.spread(50, 10_000);
        let hold = |bytes, per_second| Act::Hold { bytes, per_second };
        match rng.below(6) {
            0 | 1 => self.acts.push((at, hold(quiet, M * rng.between(1, 20)))),
            2 => self.acts.push((at, hold(quiet, M * *rng.pick(&[50, 100, 400])))),
            3 => {
                self.acts.push((at, hold(may + may / 10, 0)));
                self.acts.push((then, hold(quiet, 0)));
            }
            4 => self.acts.push((at, hold(may + rng.below(3) - 1, 0))),
            _ => {
                self.acts.push((at, hold(quiet, 10 * M)));
                self.acts.push((then, hold(may / 2, 0)));
            }
        }
    }

    fn draw_acts(&mut self, rng: &mut Rng, weather: &Weather, depth: u32) {
        const DEEPEST: u32 = 2;
        if rng.per_mille(weather.chatty) {
            for (_, mut rng) in rng.several(1, 5) {
                let longest = rng.weighted(&[(60, 5), (40, 120), (10, 5000), (1, 140_000)]);
                let sink = *rng.pick(&[Sink::Stdout, Sink::Stderr]);
                let (lines, unfinished) = (rng.between(0, 4), rng.per_mille(300));
                let at = rng.spread(0, 20_000);
                if rng.per_mille(40) {
                    self.acts.push((at + Duration::from_millis(1), Act::Flood(sink)));
                }
                let say = Act::Say { sink, lines, longest, unfinished };
                self.acts.push((at, say));
            }
        }
        if weather.flood && depth == 0 {
            for at in 0..2000 {
                let say = Act::Say { sink: Sink::Stdout, lines: 1, longest: 10, unfinished: false };
                self.acts.push((Duration::from_millis(1) * at, say));
            }
        }
        if rng.per_mille(weather.talk) {
            for (_, mut rng) in rng.several(1, 4) {
                self.acts.push((rng.spread(0, 20_000), Act::Notify(message(&mut rng))));
            }
            if rng.per_mille(300) {
                self.acts.push((rng.spread(0, 20_000), Act::Announce));
                let sink = *rng.pick(&[Sink::Stdout, Sink::Stderr]);
                self.acts.push((rng.spread(0, 20_000), Act::text(sink, READY_TEXT)));
            }
        }
        if depth > 0 && rng.per_mille(300) {
            let (bytes, per_second) = (rng.between(1, 40) << 20, *rng.pick(&[0, 0, 5 << 20]));
            self.acts.push((rng.spread(0, 10_000), Act::Hold { bytes, per_second }));
        }
        if rng.per_mille(30) {
            self.acts
                .push((rng.spread(0, 20_000), Act::CloseOutput(*rng.pick(&[Sink::Stdout, Sink::Stderr]))));
        }
        if depth < DEEPEST && rng.per_mille(weather.helpers) {
            for (_, mut rng) in rng.several(1, 3) {
                let style = match rng.per_mille(weather.wandering) {
                    true => *rng.pick(&[Style::NewGroup, Style::Orphan, Style::Daemon]),
                    false => Style::Child,
                };
                let helper = Self::helper(&mut rng, weather, depth + 1);
                self.acts.push((rng.spread(0, 5000), Act::Fork(Box::new(helper), style)));
            }
        }
        if rng.per_mille(weather.frozen) {
            self.acts.push((rng.spread(0, 20_000), Act::Freeze));
        }
        if rng.per_mille(weather.stuck) {
            let lasts = rng.weighted(&[(3, 1_000), (3, 20_000), (1, 3_600_000)]);
            self.acts.push((rng.spread(0, 20_000), Act::Stick(rng.spread(0, lasts))));
        }
    }
}

fn died_rarely(rng: &mut Rng, code: u8) -> ExitStatus {
    match rng.per_mille(50) {
        true => ExitStatus::Signal { signal: Signal::KILL, core: false },
        false => ExitStatus::Code(code),
    }
}

fn polite(rng: &mut Rng, weather: &Weather) -> Reaction {
    if rng.per_mille(weather.deaf) {
        return match rng.below(3) {
            0 => Reaction::Exits(rng.spread(0, 30_000), 0),
            _ => Reaction::Ignores,
        };
    }
    match rng.below(10) {
        0..4 => Reaction::Default,
        4..8 => Reaction::Exits(rng.spread(0, 50), 0),
        8 => Reaction::Exits(rng.spread(0, 2000), 0),
        _ => Reaction::Exits(rng.spread(0, 100), *rng.pick(&[1, 17, 143])),
    }
}

pub fn start_error(rng: &mut Rng) -> StartError {
    let file = || "/x".to_owned();
    match rng.below(4) {
        0 => StartError::NotFound { program: file(), path: None, similar: None },
        1 => StartError::NotExecutable { file: file(), mode: 0o644, noexec: false },
        2 => StartError::MissingInterpreter { file: file(), interpreter: file() },
        _ => StartError::WorkingDirectory { path: file(), reason: "No such file or directory".to_owned() },
    }
}
