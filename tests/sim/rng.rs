//! Chance, by seed: the only source of it in the simulator, so that a seed is a whole history (splitmix64).
//!
//! Every draw has an address: its generator's and its place in that. A history can so be had once more with some of its draws only, and all
//! others as calm as can be: nothing goes wrong, the least number, the usual choice. `shrink.rs` lives of that.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// What is to come of the draws of one history, and what has.
#[derive(Debug, Default)]
pub struct Tape {
    /// Those that are left to chance; `None`: all.
    kept: Option<BTreeSet<u64>>,
    /// Those that did not come out calm, in their order.
    drawn: RefCell<Vec<u64>>,
}

impl Tape {
    /// Leaves nothing to chance but these draws.
    pub fn only(kept: BTreeSet<u64>) -> Self {
        Self { kept: Some(kept), drawn: RefCell::default() }
    }

    /// Each once: what is drawn alike for several is drawn again by a copy of the generator.
    pub fn take(&self) -> Vec<u64> {
        let mut known = BTreeSet::new();
        self.drawn.take().into_iter().filter(|address| known.insert(*address)).collect()
    }
}

#[derive(Clone)]
pub struct Rng {
    state: u64,
    /// The first part of the address of its draws,
    path: u64,
    /// and the second.
    place: u64,
    /// Nothing that is drawn here is left to chance.
    calm: bool,
    tape: Option<Rc<Tape>>,
}

impl Rng {
    /// With a tape it notes what is drawn, here and in all generators that come of it.
    pub fn new(seed: u64, tape: Option<Rc<Tape>>) -> Self {
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
        Self { state, path: mixed(state), place: 0, calm: false, tape }
    }

    fn next(&mut self) -> (u64, u64) {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.place += 1;
        (mixed(self.state), mixed(self.path ^ mixed(self.place)))
    }

    /// Whether the draw at this address is left to chance.
    fn is_free(&self, address: u64) -> bool {
        let kept = self.tape.as_ref().and_then(|tape| tape.kept.as_ref());
        !self.calm && kept.is_none_or(|kept| kept.contains(&address))
    }

    fn note(&self, address: u64) {
        if let Some(tape) = &self.tape {
            tape.drawn.borrow_mut().push(address);
        }
    }

    /// What chance makes of this draw, or else what is calm.
    fn draw<T: PartialEq>(&mut self, calm: T, by_chance: impl FnOnce(u64) -> T) -> T {
        let (value, address) = self.next();
        let drawn = by_chance(value);
        if drawn == calm || !self.is_free(address) {
            return calm;
        }
        self.note(address);
        drawn
    }

    fn branch(&self, state: u64, address: u64) -> Self {
        let calm = !self.is_free(address);
        if !calm {
            self.note(address);
        }
        Self { state, path: address, place: 0, calm, tape: self.tape.clone() }
    }

    /// A generator of its own, so that more draws here do not shift the draws there.
    pub fn fork(&mut self) -> Self {
        let (value, address) = self.next();
        self.branch(value, address)
    }

    /// The generator of this name, whatever else was drawn before; always the same.
    pub fn named(&self, name: &str) -> Self {
        let hash = name
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
        let address = mixed(self.path ^ mixed(hash));
        self.branch(address ^ 0x5851_F42D_4C95_7F2D, address)
    }

    /// A generator for each of so many things with their numbers, without those that are calm: each of them can be left out.
    pub fn several(&mut self, low: u64, high: u64) -> Vec<(u64, Self)> {
        let count = self.between(low, high);
        (1..=count).map(|number| (number, self.fork())).filter(|(_, one)| !one.calm).collect()
    }

    /// 0 to `bound - 1`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw(0, |value| value % bound.max(1))
    }

    /// `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True this many times in a thousand.
    pub fn per_mille(&mut self, chance: u64) -> bool {
        self.draw(chance >= 1000, |value| value % 1000 < chance)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    /// One of them, each as likely as its weight says. Calm is the first of the heaviest.
    pub fn weighted<T: Copy>(&mut self, from: &[(u64, T)]) -> T {
        let total: u64 = from.iter().map(|(weight, _)| weight).sum();
        let most = from.iter().map(|(weight, _)| *weight).max();
        let usual = from.iter().position(|(weight, _)| Some(*weight) == most).unwrap();
        let at = self.draw(usual, |value| {
            let mut left = value % total;
            let passed = |(weight, _): &&(u64, T)| match left.checked_sub(*weight) {
                Some(rest) => {
                    left = rest;
                    true
                }
                None => false,
            };
            from.iter().take_while(passed).count()
        });
        from[at].1
    }

    pub fn micros(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.between(low, high))
    }

    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        self.micros(low * 1000, high * 1000)
    }

    /// Between `low` and `high` milliseconds, short ones as likely as long ones (uniform in the logarithm, roughly).
    pub fn spread(&mut self, low: u64, high: u64) -> Duration {
        let micros = self.draw(low * 1000, |value| {
            let mut own = Self::new(value, None);
            let mut top = high;
            while top / 4 > low.max(1) && own.below(2) == 0 {
                top /= 4;
            }
            own.between(low.min(top) * 1000, top * 1000)
        });
        Duration::from_micros(micros)
    }

    /// Puts them in another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = self.draw(at as u64, |value| value % (at as u64 + 1));
            items.swap(at, usize::try_from(other).unwrap());
        }
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
