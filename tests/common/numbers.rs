//! Numbers by a seed, so that what a test has met can be had again (xorshift, Marsaglia 2003). The simulation has a generator of its own,
//! whose draws can be left out one by one.

#![allow(dead_code, reason = "each suite that shares this needs a part of it")]

/// The state, which is never 0.
pub struct Numbers(u64);

impl Numbers {
    /// Seeds that are near to each other lead far apart.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1))
    }

    /// 0 to `bound - 1`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }

    /// A place in a list that is so long.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub fn one<T: Clone>(&mut self, among: &[T]) -> T {
        among[self.index(among.len())].clone()
    }
}
