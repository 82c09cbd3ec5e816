//! Signals for us, and the end of children and orphans.

use std::time::Instant;

use tinysup::event::{Event, ExitStatus};
use tinysup::units::Signal;

use crate::Case;
use crate::world::{World, helper};

pub const CASES: &[Case] =
    &[("every_signal_arrives", every_signal_arrives), ("twenty_thousand_orphans", twenty_thousand_orphans)];

fn send(signal: i32) {
    // SAFETY: to ourselves.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0, "signal {signal}");
}

fn every_signal_arrives() {
    let mut world = World::new();
    for signal in Signal::all() {
        match signal.number() {
            9 | 19 | 32 | 33 => continue,
            13 | 17 | 21 | 22 => {
                send(signal.number());
                continue;
            }
            number => send(number),
        }
        let arrived =
            world.until("a signal", |event| if let Event::Signal(s) = event { Some(*s) } else { None });
        assert_eq!(arrived, signal);
    }
}

fn twenty_thousand_orphans() {
    const COUNT: usize = 20_000;
    let mut world = World::new();
    let (_, leader) = world.start(helper(&["orphans", &COUNT.to_string()]));
    assert_eq!(world.exit_of(leader), ExitStatus::Code(0));
    let began = Instant::now();
    let mut left = COUNT;
    world.until("all orphans", |event| {
        if let Event::Exited { status, .. } = event {
            assert_eq!(*status, ExitStatus::Code(3));
            left -= 1;
        }
        (left == 0).then_some(())
    });
    println!("{COUNT} orphans in {:?}", began.elapsed());
}
