//! How much memory the services of a plan may hold.

use tinysup::plan::{Amount, Guard, Limits, Reference, Share};

use crate::rng::Rng;

/// The guard, and whether services have limits at all.
pub fn draw(rng: &mut Rng) -> (Guard, bool) {
    let share = |percent: u16| Share::new(percent * 100);
    let mut guard = Guard { reference: reference(rng), ..Guard::default() };
    if rng.per_mille(400) {
        (guard.warn, guard.restart) = rng.weighted(&[
            (4, (share(80), share(90))),
            (2, (None, share(70))),
            (1, (share(50), None)),
            (1, (share(90), share(90))),
            (2, (share(5), share(10))),
        ]);
    }
    (guard, rng.per_mille(600))
}

fn reference(rng: &mut Rng) -> Reference {
    if rng.per_mille(200) { Reference::Host } else { Reference::Container }
}

/// Those of one service.
pub fn limits(rng: &mut Rng) -> Limits {
    let amount = |rng: &mut Rng| {
        rng.weighted(&[
            (3, Some(Amount::Bytes(100 << 20))),
            (1, Some(Amount::Bytes(300 << 20))),
            (1, Some(Amount::Bytes(5 << 20))),
            (2, Share::new(3000).map(Amount::Share)),
            (1, Share::new(10_000).map(Amount::Share)),
        ])
    };
    let restart = if rng.per_mille(600) { amount(rng) } else { None };
    let limit = if rng.per_mille(200) { amount(rng) } else { None };
    Limits {
        restart,
        limit,
        fallback: rng.per_mille(500),
        priority: rng.weighted(&[(3, 0), (1, -1), (1, 5)]),
    }
}
