//! Signals for us, the end of children and orphans, and time.

use std::time::{Duration, Instant};

use tinysup::event::{Action, Care, Event, ExitStatus, Pid};
use tinysup::kernel::{Kernel, Until};
use tinysup::units::Signal;

use crate::world::{
    PATIENCE, World, field, helper, nothing_more_happens, resident_kilobytes, service, shell,
    status_of_ourselves, stays_idle,
};
use crate::{Case, scene};

pub const CASES: &[Case] = &[
    ("every_signal_arrives", every_signal_arrives),
    ("signals_from_before_main_arrive", signals_from_before_main_arrive),
    ("real_time_signals_arrive_each_and_in_order", real_time_signals_arrive_each_and_in_order),
    ("a_storm_of_signals", a_storm_of_signals),
    ("no_kind_of_signal_is_lost_when_nobody_reads", no_kind_of_signal_is_lost_when_nobody_reads),
    ("a_fault_of_our_own_ends_us", a_fault_of_our_own_ends_us),
    ("a_panic_is_told_and_ends_us_with_70", a_panic_is_told_and_ends_us_with_70),
    ("a_trap_is_as_a_panic", a_trap_is_as_a_panic),
    ("signals_go_before_output_but_not_for_ever", signals_go_before_output_but_not_for_ever),
    ("signal_and_group", signal_and_group),
    ("a_signal_right_after_the_fork_is_not_lost", a_signal_right_after_the_fork_is_not_lost),
    ("ended_children_stay_until_released", ended_children_stay_until_released),
    ("five_hundred_ends_at_once", five_hundred_ends_at_once),
    ("a_stop_is_not_an_end", a_stop_is_not_an_end),
    ("a_traced_child_is_not_an_end", a_traced_child_is_not_an_end),
    ("sigchld_ignored_by_our_parent", sigchld_ignored_by_our_parent),
    ("twenty_thousand_orphans", twenty_thousand_orphans),
    ("signals_come_through_a_storm_of_orphans", signals_come_through_a_storm_of_orphans),
    ("a_child_among_orphans_waits_for_its_owner", a_child_among_orphans_waits_for_its_owner),
    ("a_signal_is_passed_on_the_moment_it_comes", a_signal_is_passed_on_the_moment_it_comes),
    ("what_is_to_be_decided_keeps_its_place", what_is_to_be_decided_keeps_its_place),
    ("a_signal_without_end_holds_up_no_other", a_signal_without_end_holds_up_no_other),
    ("signals_come_before_the_end_of_a_child", signals_come_before_the_end_of_a_child),
    ("nothing_happens_when_nothing_is_due", nothing_happens_when_nothing_is_due),
    ("deadlines_are_kept", deadlines_are_kept),
    ("frozen_time_does_not_count", frozen_time_does_not_count),
    ("a_thousand_restarts_leave_nothing", a_thousand_restarts_leave_nothing),
];

fn send(signal: i32) {
    // SAFETY: to ourselves.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0, "signal {signal}");
}

fn next_signal(world: &mut World) -> Signal {
    world.until("a signal", |event| if let Event::Signal(signal) = event { Some(*signal) } else { None })
}

fn every_signal_arrives() {
    let mut world = World::new();
    let signalfd = scene::has_signalfd();
    for round in 0..2 {
        for signal in Signal::all() {
            match signal.number() {
                9 | 19 => {}
                // What we do ourselves is nobody else's business.
                number @ (libc::SIGPIPE | libc::SIGCHLD | libc::SIGXCPU | libc::SIGXFSZ) => send(number),
                // Handlers cannot tell who sent these two, and the C library keeps those.
                number @ (libc::SIGTTIN | libc::SIGTTOU | 32 | 33) if !signalfd => send(number),
                number => {
                    send(number);
                    assert_eq!(next_signal(&mut world), signal, "round {round}");
                }
            }
        }
    }
}

fn signals_from_before_main_arrive() {
    let status = status_of_ourselves();
    assert_eq!(field(&status, "SigBlk"), "fffffffffffbfeff"); // all but KILL and STOP
    for signal in [libc::SIGTERM, libc::SIGUSR1, tinysup::sys::TRAP, 40, 40] {
        send(signal);
    }
    let mut world = World::new();
    let mut arrived: Vec<i32> = (0..5).map(|_| next_signal(&mut world).number()).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, [tinysup::sys::TRAP, libc::SIGUSR1, libc::SIGTERM, 40, 40]);
    let blocked = field(&status_of_ourselves(), "SigBlk");
    if scene::has_signalfd() {
        // Nor that of traps, again after somebody's has been read.
        let expected = 0xffff_ffff_fffb_feff_u64 & !(1 << (tinysup::sys::TRAP - 1));
        assert_eq!(blocked, format!("{expected:016x}"));
    } else {
        assert_eq!(blocked, "0000000180000000"); // only what the C library keeps for itself
    }
}

fn real_time_signals_arrive_each_and_in_order() {
    let mut world = World::new();
    let order: Vec<i32> = (0..2000).map(|index| 34 + index * 7 % 31).collect();
    for signal in &order {
        send(*signal);
    }
    let arrived: Vec<i32> = order.iter().map(|_| next_signal(&mut world).number()).collect();
    let mut expected = order;
    if scene::has_signalfd() {
        expected.sort_unstable(); // the kernel gives out the lowest number first
    }
    assert_eq!(arrived, expected);
}

fn a_storm_of_signals() {
    let mut world = World::new();
    // SAFETY: the child only signals us and leaves.
    unsafe {
        let us = libc::getpid();
        if libc::fork() == 0 {
            for round in 0..50_000 {
                libc::kill(us, libc::SIGUSR1);
                libc::kill(us, libc::SIGWINCH);
                if round % 1000 == 0 {
                    libc::kill(us, libc::SIGRTMIN() + 1);
                }
            }
            // Of what is pending the highest number comes last.
            libc::kill(us, 64);
            libc::_exit(0);
        }
    }
    let before = resident_kilobytes();
    let (mut real_time, mut last) = (0, false);
    // Without signalfd those that did not fit into the pipe may come after it.
    while !last || real_time < 50 {
        match next_signal(&mut world) {
            signal if signal.number() == 64 => last = true,
            signal if signal.number() > 33 => real_time += 1,
            _ => {}
        }
        world.forget();
    }
    assert_eq!(real_time, 50);
    assert!(resident_kilobytes() < before + 1024, "{before} kB, then {}", resident_kilobytes());
    nothing_more_happens(&mut world);
}

fn no_kind_of_signal_is_lost_when_nobody_reads() {
    let mut world = World::new();
    for _ in 0..70_000 {
        send(libc::SIGUSR1);
    }
    let late = [libc::SIGHUP, libc::SIGTERM, libc::SIGWINCH, 40, 64];
    for signal in late {
        send(signal);
    }
    let mut arrived = std::collections::BTreeSet::new();
    let mut count = 0;
    while arrived.len() < late.len() + 1 {
        arrived.insert(next_signal(&mut world).number());
        count += 1;
        assert!(count <= 70_010);
    }
    // A child's end is seen although its signal had no room.
    assert!(world.run(service(["/bin/true"])).executed);
}

fn a_panic_is_told_and_ends_us_with_70() {
    let outcome = World::new().run(helper(&["fault", "panic with a child"]));
    assert_eq!(outcome.status, Some(ExitStatus::Code(70)));
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("internal error ("), "{outcome:?}");
    assert!(outcome.text().contains("the child was asked"), "{outcome:?}");
}

/// With where it was: an address of this program's code, and those of its callers where it keeps frame pointers.
fn a_trap_is_as_a_panic() {
    for (fault, begin, end) in [
        ("trap", "tinysup: internal error (0x", "): this is a bug in tinysup\n"),
        (
            "trap with a child",
            "tinysup | internal error (0x",
            "; the services are asked to end, exit code 70\n",
        ),
    ] {
        let outcome = World::new().run(helper(&["fault", fault]));
        assert_eq!(outcome.status, Some(ExitStatus::Code(70)), "{outcome:?}");
        let told = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(told.starts_with(begin) && told.ends_with(end) && told.lines().count() == 1, "{told}");
        let addresses = told.split(['(', ')']).nth(1).expect("parentheses").split(' ');
        let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x").expect(text), 16).expect(text);
        assert!(addresses.map(number).all(|address| address > 0), "{told}");
        assert_eq!(outcome.text().contains("the child was asked"), fault.ends_with("child"), "{outcome:?}");
    }
}

fn a_fault_of_our_own_ends_us() {
    let mut world = World::new();
    for (fault, signal) in [
        ("segv", 11),
        ("abort", 6),
        if cfg!(target_arch = "x86_64") {
            ("breakpoint", libc::SIGTRAP)
        } else {
            ("undefined", libc::SIGILL)
        },
        ("sent to a client", tinysup::sys::TRAP), // no fault, and nothing else that would handle it
    ] {
        let outcome = world.run(helper(&["fault", fault]));
        let expected = Signal::new(signal).unwrap();
        match outcome.status {
            Some(ExitStatus::Signal { signal, .. }) => assert_eq!(signal, expected, "{fault}"),
            other => panic!("{fault}: {other:?}"),
        }
    }
}

fn signals_go_before_output_but_not_for_ever() {
    let mut world = World::new();
    let (_, pid) = world.start(shell("kill -STOP $$; echo said; exec sleep 100"));
    world.until_process(pid, |stat| stat.contains(") T "));
    world.perform(Action::Signal { pid, signal: Signal::CONT });
    world.until_process(pid, |stat| stat.contains("(sleep)"));
    let mut turn = || {
        send(libc::SIGUSR1);
        world.wait(Duration::ZERO);
        world.events.iter().any(|event| matches!(event, Event::Output { .. }))
    };
    assert!(!turn(), "output before a signal");
    // The end of the pause is a signal, too, for which children are looked after once.
    assert!((0..3).any(|_| turn()), "signals alone");
}

fn signal_and_group() {
    let mut world = World::new();
    let (child, leader) = world.start(shell("trap '' TERM; sleep 1000; echo the other ended; exit 3"));
    world.until_process(leader, |stat| stat.contains("(sh)"));
    let line = || std::fs::read_to_string(format!("/proc/{leader}/task/{leader}/children")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while line().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    world.perform(Action::Signal { pid: leader, signal: Signal::TERM });
    let _ = child;
    // The sleep inherits that TERM is ignored, so it takes another one.
    world.perform(Action::SignalGroup { leader, signal: Signal::HUP });
    let status = world.exit_of(leader);
    assert_eq!(status, ExitStatus::Signal { signal: Signal::HUP, core: false });
}

fn a_signal_right_after_the_fork_is_not_lost() {
    let mut world = World::new();
    for round in 0..200 {
        let (_, leader) = world.spawn(service(["/bin/sleep", "1000"]));
        if round % 2 == 0 {
            world.perform(Action::Signal { pid: leader, signal: Signal::TERM });
        } else {
            world.perform(Action::SignalGroup { leader, signal: Signal::TERM });
        }
        assert_eq!(world.exit_of(leader), ExitStatus::Signal { signal: Signal::TERM, core: false });
    }
}

fn ended_children_stay_until_released() {
    let mut world = World::new();
    let (_, pid) = world.spawn(shell("exit 9")); // and no wait of the world's, which would let it go
    for _ in 0..5 {
        let mut events = Vec::new();
        while !events.iter().any(|event| matches!(event, Event::Exited { .. })) {
            let deadline = world.linux.now() + Duration::from_secs(5);
            world.linux.wait(
                Some(Until { at: deadline, measures: true }),
                &|_, _| Care::ToDecide,
                &mut events,
            );
        }
        assert!(
            matches!(events.last(), Some(Event::Exited { pid: of, status: ExitStatus::Code(9) }) if *of == pid)
        );
        world.perform(Action::Signal { pid, signal: Signal::TERM }); // reaches nobody else
    }
    world.perform(Action::Release { pid });
    nothing_more_happens(&mut world);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

fn five_hundred_ends_at_once() {
    let (read_end, write_end) = std::io::pipe().unwrap();
    scene::replace(0, &read_end);
    let mut world = World::new();
    let pids: Vec<Pid> = (0..500)
        .map(|index| {
            let mut launch = service(["/bin/sh", "-c", &format!("read x; exit {}", index % 200)]);
            launch.stdout = tinysup::event::Output::Null;
            launch.stderr = tinysup::event::Output::Null;
            launch.stdin = tinysup::event::Stdin::Inherit;
            world.start(launch).1
        })
        .collect();
    drop(write_end);
    let statuses: std::collections::BTreeMap<Pid, ExitStatus> = pids
        .iter()
        .map(|_| {
            world.until("an end", |event| match event {
                Event::Exited { pid, status } => Some((*pid, *status)),
                _ => None,
            })
        })
        .collect();
    for (index, pid) in pids.iter().enumerate() {
        assert_eq!(statuses[pid], ExitStatus::Code(u8::try_from(index % 200).unwrap()));
    }
}

fn a_stop_is_not_an_end() {
    let mut world = World::new();
    let (_, pid) = world.start(service(["/bin/sleep", "1000"]));
    for signal in [Signal::STOP, Signal::CONT, Signal::STOP] {
        world.perform(Action::Signal { pid, signal });
        nothing_more_happens(&mut world);
    }
    world.perform(Action::Signal { pid, signal: Signal::KILL });
    assert_eq!(world.exit_of(pid), ExitStatus::Signal { signal: Signal::KILL, core: false });
}

fn a_traced_child_is_not_an_end() {
    let mut world = World::new();
    let (_, pid) = world.start(service(["/bin/sleep", "1000"]));
    let (read_end, write_end) = std::io::pipe().unwrap();
    // SAFETY: the tracer is a process of its own that only traces and says whether it may.
    unsafe {
        if libc::fork() == 0 {
            let result = libc::ptrace(libc::PTRACE_ATTACH, pid.number(), 0, 0);
            libc::write(
                std::os::fd::AsRawFd::as_raw_fd(&write_end),
                [u8::from(result == 0)].as_ptr().cast(),
                1,
            );
            // The end of each of its sleeps may be a signal about the child.
            for _ in 0..20 {
                libc::usleep(100_000);
            }
            libc::_exit(0);
        }
    }
    let mut may = [0];
    std::io::Read::read_exact(&mut &read_end, &mut may).unwrap();
    if may == [0] {
        scene::skip("needs the right to trace");
    }
    world.until_process(pid, |stat| stat.contains(") t "));
    nothing_more_happens(&mut world);
    world.perform(Action::Signal { pid, signal: Signal::KILL });
    assert_eq!(world.exit_of(pid), ExitStatus::Signal { signal: Signal::KILL, core: false });
}

fn sigchld_ignored_by_our_parent() {
    scene::again(|| {
        // SAFETY: ignoring runs no code.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    });
    let mut world = World::new();
    assert_eq!(world.run(shell("exit 6")).status, Some(ExitStatus::Code(6)));
}

fn twenty_thousand_orphans() {
    const COUNT: usize = 20_000;
    let mut world = World::new();
    let (_, leader) = world.start(helper(&["orphans", &COUNT.to_string()]));
    assert_eq!(world.exit_of(leader), ExitStatus::Code(0));
    let began = Instant::now();
    let mut left = COUNT;
    world.until("all orphans", |event| {
        if let Event::OrphansEnded { ended } = event {
            assert!(ended.iter().all(|(_, status)| *status == ExitStatus::Code(3)), "{ended:?}");
            left -= ended.len();
        }
        (left == 0).then_some(())
    });
    println!("{COUNT} orphans in {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10));
}

fn signals_come_through_a_storm_of_orphans() {
    let mut world = World::new();
    let (_, leader) = world.start(helper(&["orphans", "3000"]));
    world.exit_of(leader);
    send(libc::SIGUSR1);
    let mut ends = 0;
    world.until("the signal", |event| match event {
        Event::Signal(Signal::USR1) => Some(()),
        Event::OrphansEnded { ended } => {
            ends += ended.len();
            None
        }
        _ => None,
    });
    assert!(ends <= 32, "{ends} orphans came first");
}

fn a_child_among_orphans_waits_for_its_owner() {
    const COUNT: usize = 2000;
    let mut world = World::new();
    let (_, before) = world.start(service(["/bin/sleep", "1000"]));
    let (_, leader) = world.start(helper(&["orphans", &COUNT.to_string()]));
    world.until_process(leader, |stat| stat.contains(") Z "));
    let (_, behind) = world.spawn(service(["/bin/sleep", "1000"]));
    let ours = [before, leader, behind];
    for pid in [before, behind] {
        world.perform(Action::Signal { pid, signal: Signal::KILL });
    }
    // Without a word of the core the first of them stays where it is, whoever is collected meanwhile.
    let (mut ended, mut orphans) = (Vec::new(), 0);
    while ended.len() < ours.len() || orphans < COUNT {
        let from = world.events.len();
        let deadline = world.linux.now() + PATIENCE;
        let until = Some(Until { at: deadline, measures: true });
        world.linux.wait(until, &|_, _| Care::ToDecide, &mut world.events);
        assert!(world.linux.now() < deadline, "{ended:?} and {orphans} orphans have ended");
        for event in world.events.split_off(from) {
            match event {
                Event::OrphansEnded { ended } => {
                    assert!(ended.iter().all(|(pid, _)| !ours.contains(pid)), "{ended:?}");
                    orphans += ended.len();
                }
                Event::Exited { pid, .. } => {
                    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid:?} is collected");
                    world.perform(Action::Release { pid });
                    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
                    ended.push(pid);
                }
                _ => {}
            }
        }
    }
    assert_eq!(orphans, COUNT);
    assert!(ours.iter().all(|pid| ended.contains(pid)), "{ended:?}");
}

fn a_signal_is_passed_on_the_moment_it_comes() {
    let mut world = World::new();
    let (_, first) = world.start(shell("trap 'echo usr2' USR2; echo set; while :; do sleep 0.01; done"));
    world.until("the trap", |event| matches!(event, Event::Output { .. }).then_some(()));
    world.at_once.insert(Signal::USR1, vec![(first, Signal::USR2)]);
    world.at_once.insert(Signal::WINCH, Vec::new());
    // As long as something of a child is waited for, and when nothing is.
    for _ in 0..2 {
        send(libc::SIGWINCH);
        world.until("the signal", |event| match event {
            Event::PassedOn { signal: Signal::WINCH, receivers: 0 } => Some(()),
            Event::Signal(_) => panic!("{event:?}"),
            _ => None,
        });
    }
    send(libc::SIGUSR1);
    world.until("the signal", |event| match event {
        Event::PassedOn { signal: Signal::USR1, receivers: 1 } => Some(()),
        Event::Signal(_) => panic!("{event:?}"),
        _ => None,
    });
    world.until("its arrival", |event| match event {
        Event::Output { bytes, .. } if bytes.starts_with(b"usr2") => Some(()),
        _ => None,
    });
    world.perform(Action::Signal { pid: first, signal: Signal::KILL });
    world.exit_of(first);
}

fn what_is_to_be_decided_keeps_its_place() {
    let mut world = World::new();
    for signal in [Signal::HUP, Signal::USR2] {
        world.at_once.insert(signal, Vec::new());
    }
    let come = |world: &mut World| {
        // They are given out in the order of their numbers.
        for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
            send(signal.number());
        }
        let mut seen = Vec::new();
        world.until("all three", |event| {
            match event {
                Event::PassedOn { signal, .. } => seen.push((*signal, true)),
                Event::Signal(signal) => seen.push((*signal, false)),
                _ => {}
            }
            (seen.len() == 3).then_some(())
        });
        seen
    };
    // Where they come one by one, each is decided about before the next is taken.
    assert_eq!(come(&mut world)[..2], [(Signal::HUP, true), (Signal::USR1, false)]);
    // All at once, where there is more to wait for.
    world.start(service(["/bin/sleep", "1000"]));
    assert_eq!(come(&mut world), [(Signal::HUP, true), (Signal::USR1, false), (Signal::USR2, false)]);
}

/// The kernel gives out the least number first.
fn a_signal_without_end_holds_up_no_other() {
    let mut world = World::new();
    world.at_once.insert(Signal::HUP, Vec::new());
    world.wait(Duration::ZERO); // the first time it is looked who has ended, and all signals are read
    send(libc::SIGTERM);
    let came = (0..40).any(|_| {
        send(libc::SIGHUP);
        world.wait(Duration::from_secs(20));
        world.events.iter().any(|event| matches!(event, Event::Signal(Signal::TERM)))
    });
    assert!(came, "only SIGHUP: {:?}", world.events);
}

/// The least number is that of SIGCHLD, and what the end of a child means may depend on the others.
fn signals_come_before_the_end_of_a_child() {
    let mut world = World::new();
    world.wait(Duration::ZERO);
    // SAFETY: the case has one thread, and the child does nothing.
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        child
    };
    world.until_process(Pid::new(child).expect("a number"), |stat| stat.contains(") Z "));
    send(34 + 3);
    world.wait(Duration::from_secs(20));
    assert!(matches!(world.events[..], [Event::Signal(Signal::RTMIN_3), ..]), "{:?}", world.events);
}

fn nothing_happens_when_nothing_is_due() {
    let mut world = World::new();
    for _ in 0..10 {
        world.start(service(["/bin/sleep", "1000"]));
    }
    stays_idle(&mut world);
}

fn deadlines_are_kept() {
    let mut world = World::new();
    for milliseconds in [0, 1, 7, 50] {
        let wanted = Duration::from_millis(milliseconds);
        let before = world.linux.now();
        world.wait(wanted);
        let took = world.linux.now().since(before);
        assert!(took >= wanted && took < wanted + Duration::from_millis(300), "{took:?} for {wanted:?}");
    }
    let mut events = Vec::new();
    world.linux.wait(
        Some(Until { at: tinysup::event::Time::ZERO, measures: false }),
        &|_, _| Care::ToDecide,
        &mut events,
    );
    assert!(events.is_empty());
}

fn frozen_time_does_not_count() {
    let mut world = World::new();
    // SAFETY: the child stops us for a while and leaves.
    unsafe {
        let us = libc::getpid();
        if libc::fork() == 0 {
            libc::usleep(100_000);
            libc::kill(us, libc::SIGSTOP);
            libc::usleep(2_500_000);
            libc::kill(us, libc::SIGCONT);
            libc::_exit(0);
        }
    }
    let before = world.linux.now();
    let real = Instant::now();
    let mut continued = false;
    while !continued || real.elapsed() < Duration::from_millis(2_500) {
        let from = world.events.len();
        world.wait(Duration::from_millis(300));
        continued |= world.events[from..].iter().any(|event| matches!(event, Event::Signal(Signal::CONT)));
    }
    let counted = world.linux.now().since(before);
    let real = real.elapsed();
    assert!(real > Duration::from_millis(2_500), "{real:?}");
    assert!(counted + Duration::from_millis(1_800) < real, "{counted:?} counted of {real:?}");
}

fn a_thousand_restarts_leave_nothing() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut world = World::new();
    world.run(service(["/bin/true"]));
    let before = (open(), resident_kilobytes());
    for _ in 0..1000 {
        world.run(service(["/bin/true"]));
        world.forget();
    }
    assert_eq!(open(), before.0);
    assert!(resident_kilobytes() < before.1 + 512, "{} kB, then {}", before.1, resident_kilobytes());
    let children =
        std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id())).unwrap();
    assert_eq!(children, "");
}
