//! A configuration as somebody writes it anew: services come, go and come back, and some of their settings change.

use tinysup::plan::{Asks, ReadyTest, Share};

use super::*;

/// A service with its instances, and what it depends on by name.
struct Group {
    service: Rc<str>,
    copies: Vec<Instance>,
    on: Vec<(Rc<str>, Condition, bool)>,
}

/// The plan with some changes. `version` makes what is new different from all before.
pub fn changed(rng: &mut Rng, plan: &Plan, version: u64) -> Plan {
    let mut groups = groups(plan);
    let main =
        groups.iter().position(|group| group.copies[0].kind == Kind::Command).map(|at| groups.remove(at));
    if groups.len() > 1 && rng.per_mille(350) {
        let gone = groups.remove(rng.index(groups.len())).service;
        for group in &mut groups {
            group.on.retain(|(on, ..)| *on != gone);
        }
    }
    let (adjusts, renews) = (*rng.pick(&[0, 200, 500]), *rng.pick(&[0, 200, 500]));
    for at in 0..groups.len() {
        if rng.per_mille(adjusts) {
            adjust(rng, &mut groups, at);
        }
        // Also of those that somebody has started and stopped by hand meanwhile.
        if !groups[at].copies[0].autostart && rng.per_mille(400) {
            groups[at].copies.iter_mut().for_each(|copy| copy.autostart = true);
        }
        if rng.per_mille(renews) {
            renew(rng, &mut groups[at], version);
        }
        if rng.per_mille(if groups[at].copies.len() > 1 { 200 } else { 60 }) {
            scale(rng, &mut groups[at]);
        }
        if rng.per_mille(40) {
            rename(&mut groups, at, version);
        }
    }
    let guard = guard(rng, plan.guard);
    for copy in groups.iter_mut().flat_map(|group| &mut group.copies) {
        let cell = copy.memory.cell(guard, None);
        copy.launch = Rc::new(Launch { cell, ..(*copy.launch).clone() });
        if copy.stop.command.is_some() {
            copy.stop.command = Some(copy.launch.clone());
        }
    }
    if rng.per_mille(400) {
        add(rng, &mut groups, version);
    }
    let shutdown_timeout =
        if rng.per_mille(100) { Some(Duration::from_secs(4)) } else { plan.shutdown_timeout };
    // Nobody looks at it, and it stays as it was.
    let log = Log { timestamps: rng.per_mille(100), ..plan.log };
    Plan { guard, log, ..rebuild(groups, main, plan, shutdown_timeout) }
}

/// Another one now and then, or the first, or none any more.
fn guard(rng: &mut Rng, guard: Guard) -> Guard {
    if !rng.per_mille(150) {
        return guard;
    }
    let share = |percent: u16| Share::new(percent * 100);
    let (warn, restart) =
        *rng.pick(&[(None, None), (share(60), None), (share(60), share(70)), (None, share(10))]);
    Guard { warn, restart, ..guard }
}

fn groups(plan: &Plan) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (_, instance) in plan.all() {
        if let Some(group) = groups.iter_mut().find(|group| group.service == instance.service) {
            group.copies.push(instance.clone());
            continue;
        }
        let mut on: Vec<(Rc<str>, Condition, bool)> = Vec::new();
        for dependency in &instance.depends_on {
            let service = &plan.instances[dependency.on.0 as usize].service;
            if on.iter().all(|(known, ..)| known != service) {
                on.push((service.clone(), dependency.condition, dependency.restart));
            }
        }
        groups.push(Group { service: instance.service.clone(), copies: vec![instance.clone()], on });
    }
    groups
}

/// Something that a running process can take on.
fn adjust(rng: &mut Rng, groups: &mut [Group], at: usize) {
    let kind = groups[at].copies[0].kind;
    let (restart, drawn, signals) = (restart(rng, kind), stop(rng), signal_table(rng));
    let stop_command = rng.per_mille(300);
    let what = rng.weighted(&[(2, 0), (1, 1), (1, 2), (1, 3), (1, 4), (4, 5), (2, 6), (2, 7)]);
    let memory = memory::limits(rng);
    let earlier: Vec<Rc<str>> = groups[..at].iter().map(|group| group.service.clone()).collect();
    let group = &mut groups[at];
    if what == 6 {
        match group.on.pop() {
            Some(_) if rng.per_mille(500) => {}
            _ if earlier.is_empty() => {}
            _ => {
                let on = rng.pick(&earlier).clone();
                group.on.retain(|(known, ..)| *known != on);
                group.on.push((on, Condition::Started, rng.per_mille(300)));
            }
        }
    }
    for copy in &mut group.copies {
        match what {
            0 => copy.restart = restart.clone(),
            1 => (copy.stop.signal, copy.stop.kill_timeout) = (drawn.signal, drawn.kill_timeout),
            2 => copy.stop.command = stop_command.then(|| copy.launch.clone()),
            3 => copy.signals = signals.clone(),
            4 => copy.on_failure = OnFailure::Ignore,
            5 => copy.autostart = !copy.autostart,
            7 => copy.memory = memory,
            _ => {}
        }
    }
}

/// Something that it cannot take on.
fn renew(rng: &mut Rng, group: &mut Group, version: u64) {
    let tests = group.copies[0].kind == Kind::Daemon && rng.per_mille(400);
    let care = rng.fork();
    // What earlier runs have left may still write, also where nothing is to come through us any more.
    let other = [Output::Inherit, Output::Null, Output::Prefix, Output::Json];
    let outputs = rng.per_mille(500).then(|| (rng.pick(&other).clone(), rng.pick(&other).clone()));
    for copy in &mut group.copies {
        let mut launch = (*copy.launch).clone();
        if tests && let Some(mark) = &launch.mark {
            let heard = [&launch.stdout, &launch.stderr].into_iter().any(Output::is_seen);
            let care = asking::draw(&mut care.clone(), mark, heard);
            launch.speaks = care.speaks;
            (copy.ready, copy.healthcheck, copy.watchdog) = (care.ready, care.healthcheck, care.watchdog);
        } else if let (Some((stdout, stderr)), None) = (&outputs, &copy.ready) {
            (launch.stdout, launch.stderr) = (stdout.clone(), stderr.clone());
        } else {
            launch.argv = vec![Secret::new(format!("{}-{version}", group.service))];
        }
        copy.launch = Rc::new(launch);
        if copy.stop.command.is_some() {
            copy.stop.command = Some(copy.launch.clone());
        }
    }
}

/// One more, or one less.
fn scale(rng: &mut Rng, group: &mut Group) {
    if group.copies.len() > 1 && rng.per_mille(500) {
        group.copies.pop();
    } else if let Some(last) = group.copies.last() {
        let next = Instance { number: last.number + 1, ..last.clone() };
        group.copies.push(next);
    }
    name(group);
}

/// The same services under another name.
fn rename(groups: &mut [Group], at: usize, version: u64) {
    let (old, new): (Rc<str>, Rc<str>) = (groups[at].service.clone(), format!("r{version}{at}").into());
    groups[at].service = new.clone();
    name(&mut groups[at]);
    for (on, ..) in groups.iter_mut().flat_map(|group| &mut group.on).filter(|(on, ..)| *on == old) {
        *on = new.clone();
    }
}

/// Gives all instances their names, and marks what is started for them.
fn name(group: &mut Group) {
    let single = group.copies.len() == 1;
    for copy in &mut group.copies {
        let service = group.service.clone();
        copy.name = if single { service.clone() } else { format!("{service}.{}", copy.number).into() };
        let mark = Mark { service: service.clone(), instance: copy.number };
        copy.service = service;
        let marked = |launch: &Rc<Launch>| Rc::new(Launch { mark: Some(mark.clone()), ..(**launch).clone() });
        copy.launch = marked(&copy.launch);
        if copy.stop.command.is_some() {
            copy.stop.command = Some(copy.launch.clone());
        }
        let ready = copy.ready.as_mut().map(|ready| &mut ready.test);
        let ready = ready.and_then(|test| if let ReadyTest::Asked(test) = test { Some(test) } else { None });
        let health = copy.healthcheck.as_mut().map(|check| &mut check.test);
        for test in ready.into_iter().chain(health) {
            if let Asks::Command(launch) = &mut test.asks {
                *launch = marked(launch);
            }
        }
    }
}

/// A service that was never there, or once was.
fn add(rng: &mut Rng, groups: &mut Vec<Group>, version: u64) {
    let other = services(&mut rng.fork());
    let Some(mut new) = self::groups(&other).into_iter().find(|group| {
        group.copies[0].kind != Kind::Command
            && group.copies.len() == 1
            && group.copies[0].stop.command.is_none()
    }) else {
        return;
    };
    let service: Rc<str> =
        if rng.per_mille(500) { new.service.clone() } else { format!("u{version}").into() };
    if groups.iter().any(|group| group.service == service) {
        return;
    }
    let copy = &mut new.copies[0];
    if copy.ready.is_some() || copy.healthcheck.is_some() || copy.stop.mode == KillMode::Process {
        return;
    }
    let mark = Mark { service: service.clone(), instance: 1 };
    copy.launch = Rc::new(Launch { mark: Some(mark), cell: None, ..(*copy.launch).clone() });
    copy.memory = Limits::default();
    (copy.name, copy.service) = (service.clone(), service.clone());
    new.service = service;
    new.on = match rng.per_mille(400) && !groups.is_empty() {
        true => {
            vec![(groups[rng.index(groups.len())].service.clone(), Condition::Started, rng.per_mille(300))]
        }
        false => Vec::new(),
    };
    groups.push(new);
}

fn rebuild(groups: Vec<Group>, main: Option<Group>, old: &Plan, shutdown_timeout: Option<Duration>) -> Plan {
    let mut instances: Vec<Instance> = Vec::new();
    for group in groups {
        let mut depends_on = Vec::new();
        for (service, condition, restart) in &group.on {
            for (instance, id) in instances.iter().zip(0..) {
                if instance.service == *service {
                    depends_on.push(Dependency {
                        on: InstanceId(id),
                        condition: *condition,
                        restart: *restart,
                    });
                }
            }
        }
        instances
            .extend(group.copies.into_iter().map(|copy| Instance { depends_on: depends_on.clone(), ..copy }));
    }
    if let Some(mut main) = main {
        main.copies[0].depends_on = on_all(&instances);
        instances.append(&mut main.copies);
    }
    Plan {
        mode: Mode::Services,
        config: None,
        guard: old.guard,
        order: in_order(&instances),
        instances,
        shutdown_timeout,
        routes: if old.routes.is_empty() {
            Map::new()
        } else {
            Map::from([(Signal::USR1, vec![InstanceId(0)])])
        },
        log: old.log,
    }
}
