//! Random plans: instances in start order, dependencies only on earlier ones, every setting drawn from a few values that
//! matter. What the processes then do is drawn in `faults.rs`.

use std::rc::Rc;
use std::time::Duration;

use tinysup::event::{InstanceId, Launch, LogFile, Mark, Output, Overflow, Secret, Sink, Surroundings};
use tinysup::line::Format;
use tinysup::plan::{
    Condition, Dependency, Guard, Instance, KillMode, Kind, Limits, Log, Manner, Mode, OnFailure, OnSuccess,
    Plan, RateLimit, Receivers, Rest, Restart, RestartWhen, Stop, in_order,
};
use tinysup::sorted::Map;
use tinysup::units::Signal;

use crate::rng::Rng;

mod asking;
mod changes;
mod memory;

use asking::Care;
pub use asking::READY_TEXT;
pub use changes::changed;

pub fn draw(rng: &mut Rng) -> Plan {
    if rng.per_mille(60) { command(rng) } else { services(rng) }
}

fn launch(rng: &mut Rng, service: &Rc<str>, number: u32, surroundings: Surroundings) -> Rc<Launch> {
    let command = surroundings == Surroundings::Command;
    let mut drawn = || if command { Output::Inherit } else { output(rng) };
    Rc::new(Launch {
        stdout: drawn(),
        stderr: drawn(),
        surroundings,
        // Of the one command whose init we are, nothing is looked for.
        mark: (!command).then(|| Mark { service: service.clone(), instance: number }),
        ..Launch::new(vec![Secret::new(&**service)], service.to_string())
    })
}

fn output(rng: &mut Rng) -> Output {
    match rng.weighted(&[(6, 0), (2, 1), (1, 2), (1, 3), (2, 4), (2, 5)]) {
        0 => Output::Prefix,
        1 => Output::Raw,
        2 => Output::Inherit,
        3 => Output::Null,
        4 => Output::Json,
        _ => Output::File(file(rng)),
    }
}

/// One of a few files, so that several streams have the same.
fn file(rng: &mut Rng) -> Rc<LogFile> {
    let format = [Format::Prefix, Format::Raw, Format::Json];
    let number = rng.index(3);
    let also = rng.pick(&[None, Some(Sink::Stdout), Some(Sink::Stderr)]).map(|sink| (sink, Format::Prefix));
    let path = format!("/log/{number}").into();
    Rc::new(LogFile { path, format: format[number], max_size: None, max_files: 1, also })
}

/// The plan of `tinysup -- COMMAND`.
fn command(rng: &mut Rng) -> Plan {
    let mut instance = main_command(launch(rng, &"main".into(), 1, Surroundings::Command));
    let kill_timeout =
        *rng.pick(&[None, None, Some(Duration::from_millis(300)), Some(Duration::from_secs(8))]);
    instance.stop.kill_timeout = kill_timeout;
    if rng.per_mille(200) {
        instance.signals.insert(Signal::TERM, Some(Signal::INT));
    }
    let second = Rest::Stop(Duration::from_secs(1));
    let manner = Manner {
        receivers: rng.weighted(&[(4, Receivers::Command), (3, Receivers::Group), (2, Receivers::Everybody)]),
        rest: rng.weighted(&[
            (5, second),
            (2, Rest::Stop(Duration::ZERO)),
            (2, Rest::Leave),
            (2, Rest::AskGroup),
        ]),
        suspend: rng.per_mille(300),
        tell_reaped: rng.per_mille(300),
        start_failure: rng.per_mille(200).then_some(125),
    };
    Plan {
        mode: Mode::Command(manner),
        order: in_order(std::slice::from_ref(&instance)),
        config: None,
        instances: vec![instance],
        shutdown_timeout: None,
        guard: Guard::default(),
        routes: Map::new(),
        log: Log { debug: rng.per_mille(500), ..Log::default() },
    }
}

/// A command given on the command line: its end, whatever it is, ends the container.
fn main_command(launch: Rc<Launch>) -> Instance {
    Instance {
        name: "main".into(),
        service: "main".into(),
        number: 1,
        kind: Kind::Command,
        autostart: true,
        launch,
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
        stop: Stop { signal: Signal::TERM, kill_timeout: None, mode: KillMode::Process, command: None },
        signals: Map::new(),
        ready: None,
        healthcheck: None,
        watchdog: None,
        memory: Limits::default(),
        log_rate_limit: None,
    }
}

#[expect(clippy::too_many_lines, reason = "one draw for each setting")]
fn services(rng: &mut Rng) -> Plan {
    let count = rng.weighted(&[(2, 1), (3, 2), (4, 3), (3, 4), (2, 6)]);
    let (guard, limited) = memory::draw(rng);
    let mut instances: Vec<Instance> = Vec::new();
    // The instances of each service so far: all instances of a service depend on the same services.
    let mut groups: Vec<Vec<InstanceId>> = Vec::new();
    // Some plans have no tests at all.
    let (tests, restarts) = (*rng.pick(&[0, 500, 1000, 1000]), *rng.pick(&[0, 300, 1000]));
    let mut drawn = rng.several(count, count);
    if drawn.is_empty() {
        drawn.push((1, rng.fork()));
    }
    for (number, mut rng) in drawn {
        let rng = &mut rng;
        let service: Rc<str> = format!("s{}", number - 1).into();
        let copies = rng.weighted(&[(6, 1), (1, 2), (1, 3)]);
        let kind = if rng.per_mille(200) { Kind::Oneshot } else { Kind::Daemon };
        let mut depends_on: Vec<(usize, Condition, bool)> = Vec::new();
        for earlier in 0..groups.len() {
            let on = &instances[groups[earlier][0].0 as usize].service;
            let mut rng = rng.named(on);
            if rng.per_mille(350) {
                let oneshot = instances[groups[earlier][0].0 as usize].kind == Kind::Oneshot;
                let condition = match oneshot {
                    true => rng.weighted(&[
                        (5, Condition::Completed),
                        (1, Condition::Started),
                        (1, Condition::Ready),
                    ]),
                    false => rng.weighted(&[
                        (4, Condition::Started),
                        (4, Condition::Ready),
                        (1, Condition::Completed),
                    ]),
                };
                let restart = condition != Condition::Completed && rng.per_mille(restarts);
                depends_on.push((earlier, condition, restart));
            }
        }
        let autostart = !rng.per_mille(80);
        let restart = restart(rng, kind);
        let stop = stop(rng);
        let stop_command = rng.per_mille(150);
        let on_failure = if rng.per_mille(600) { OnFailure::Exit } else { OnFailure::Ignore };
        let on_success = if rng.per_mille(100) { OnSuccess::Exit } else { OnSuccess::Ignore };
        let signals = signal_table(rng);
        let tested = kind == Kind::Daemon && rng.per_mille(tests);
        let care = rng.fork();
        let memory = rng.fork();
        let log_rate_limit = rng.weighted(&[
            (9, None),
            (1, Some(RateLimit { lines: 10, per: Duration::from_secs(1) })),
            (1, Some(RateLimit { lines: 100, per: Duration::from_mins(1) })),
        ]);
        let mut ids = Vec::new();
        for number in 1..=copies {
            ids.push(InstanceId(u32::try_from(instances.len()).unwrap()));
            let main = launch(rng, &service, number, Surroundings::Service);
            let heard = [&main.stdout, &main.stderr].iter().any(|output| output.is_seen());
            let care = match main.mark.as_ref().filter(|_| tested) {
                // Drawn alike for all instances, but that each has its mark.
                Some(mark) => asking::draw(&mut care.clone(), mark, heard),
                None => Care::default(),
            };
            let limits = if limited { memory::limits(&mut memory.clone()) } else { Limits::default() };
            let cell = limits.cell(guard, None);
            let main = Rc::new(Launch { speaks: care.speaks, cell, ..(*main).clone() });
            instances.push(Instance {
                name: if copies == 1 { service.clone() } else { format!("{service}.{number}").into() },
                service: service.clone(),
                number,
                kind,
                autostart,
                launch: main.clone(),
                depends_on: depends_on
                    .iter()
                    .flat_map(|(on, condition, restart)| {
                        groups[*on].iter().map(|on| Dependency {
                            on: *on,
                            condition: *condition,
                            restart: *restart,
                        })
                    })
                    .collect(),
                restart: restart.clone(),
                on_failure,
                on_success,
                stop: Stop {
                    // It writes where the service writes.
                    command: stop_command.then(|| main.clone()),
                    ..stop.clone()
                },
                signals: signals.clone(),
                ready: care.ready,
                healthcheck: care.healthcheck,
                watchdog: care.watchdog,
                memory: limits,
                log_rate_limit,
            });
        }
        groups.push(ids);
    }
    if rng.per_mille(80) {
        let mut main = main_command(launch(rng, &"main".into(), 1, Surroundings::Command));
        let mark = Mark { service: main.service.clone(), instance: 1 };
        main.launch = Rc::new(Launch { mark: Some(mark), ..(*main.launch).clone() });
        main.stop = Stop { kill_timeout: Some(Duration::from_secs(8)), mode: KillMode::Mixed, ..main.stop };
        main.depends_on = on_all(&instances);
        instances.push(main);
    }
    let mut routes = Map::new();
    if rng.per_mille(200) {
        let signal = *rng.pick(&[Signal::USR1, Signal::USR2, Signal::new(40).unwrap()]);
        routes.insert(signal, vec![InstanceId(u32::try_from(rng.index(instances.len())).unwrap())]);
    }
    let reopen_signal =
        Some(Signal::USR1).filter(|signal| !routes.contains_key(signal) && rng.per_mille(100));
    let overflow = if rng.per_mille(500) { Overflow::Drop } else { Overflow::Block };
    Plan {
        log: Log { reopen_signal, overflow, ..Log::default() },
        mode: Mode::Services,
        order: in_order(&instances),
        config: None,
        instances,
        shutdown_timeout: rng.weighted(&[
            (8, Some(Duration::from_secs(9))),
            (3, Some(Duration::from_millis(1500))),
            (2, Some(Duration::from_mins(1))),
            (1, Some(Duration::ZERO)),
            (1, None),
        ]),
        guard,
        routes,
    }
}

fn restart(rng: &mut Rng, kind: Kind) -> Restart {
    let when = match kind {
        Kind::Daemon | Kind::Command => {
            rng.weighted(&[(6, RestartWhen::Always), (3, RestartWhen::OnFailure), (1, RestartWhen::Never)])
        }
        Kind::Oneshot => rng.weighted(&[(4, RestartWhen::OnFailure), (1, RestartWhen::Never)]),
    };
    Restart {
        when,
        stop_exit_codes: rng.pick(&[vec![], vec![], vec![], vec![3], vec![0], vec![17, 0]]).clone(),
        max_restarts: rng.weighted(&[
            (1, Some(0)),
            (2, Some(1)),
            (3, Some(3)),
            (4, Some(10)),
            (1, Some(u32::MAX)),
            (1, None),
        ]),
        min_uptime: rng.weighted(&[
            (1, Duration::ZERO),
            (2, Duration::from_millis(50)),
            (3, Duration::from_secs(1)),
            (4, Duration::from_secs(10)),
        ]),
        window: rng.weighted(&[
            (6, None),
            (1, Some(Duration::from_secs(5))),
            (1, Some(Duration::from_mins(1))),
        ]),
        delay: rng.weighted(&[
            (2, Duration::ZERO),
            (2, Duration::from_millis(10)),
            (4, Duration::from_millis(100)),
            (1, Duration::from_secs(5)),
        ]),
        backoff: rng.weighted(&[(2, 1.0), (1, 1.5), (4, 2.0), (1, 10.0), (1, 1e9)]),
        delay_max: rng.weighted(&[
            (1, Duration::from_millis(300)),
            (4, Duration::from_secs(5)),
            (1, Duration::from_hours(1)),
        ]),
    }
}

fn stop(rng: &mut Rng) -> Stop {
    Stop {
        signal: rng.weighted(&[
            (8, Signal::TERM),
            (2, Signal::INT),
            (2, Signal::QUIT),
            (1, Signal::USR1),
            (1, Signal::KILL),
            (1, Signal::RTMIN_3),
        ]),
        kill_timeout: rng.weighted(&[
            (5, Some(Duration::from_secs(8))),
            (3, Some(Duration::from_millis(500))),
            (1, Some(Duration::from_secs(20))),
            (1, Some(Duration::ZERO)),
            (1, None),
        ]),
        mode: rng.weighted(&[(6, KillMode::Mixed), (3, KillMode::Group), (2, KillMode::Process)]),
        command: None,
    }
}

fn signal_table(rng: &mut Rng) -> Map<Signal, Option<Signal>> {
    let mut table = Map::new();
    if rng.per_mille(150) {
        table.insert(Signal::USR1, Some(Signal::USR2));
    }
    if rng.per_mille(150) {
        table.insert(Signal::USR2, None);
    }
    if rng.per_mille(50) {
        table.insert(Signal::WINCH, Some(Signal::TERM));
    }
    table
}

/// The main command comes after everything that is started with the container.
fn on_all(instances: &[Instance]) -> Vec<Dependency> {
    instances
        .iter()
        .zip(0..)
        .filter(|(instance, _)| instance.autostart)
        .map(|(instance, id)| Dependency {
            on: InstanceId(id),
            condition: if instance.kind == Kind::Oneshot { Condition::Completed } else { Condition::Ready },
            restart: false,
        })
        .collect()
}
