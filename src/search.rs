//! Where a byte lies. The search is memchr's, by the instructions that every processor of the target has: those that memchr chooses
//! itself it chooses when the program runs, and that is two copies of each search.

#[cfg(not(any(
    all(target_arch = "x86_64", target_feature = "sse2"),
    all(target_arch = "aarch64", target_feature = "neon")
)))]
use self::portable::One;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
use memchr::arch::aarch64::neon::memchr::One;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
use memchr::arch::x86_64::sse2::memchr::One;

use crate::newlines::{BLOCK_BYTES, newlines};

/// The first such byte.
#[inline(never)]
#[cfg_attr(small, optimize(speed))] // and with it all that is inlined
pub fn first(byte: u8, bytes: &[u8]) -> Option<usize> {
    One::new(byte)?.find(bytes)
}

/// The last such byte.
#[inline(never)]
#[cfg_attr(small, optimize(speed))] // and with it all that is inlined
pub fn last(byte: u8, bytes: &[u8]) -> Option<usize> {
    One::new(byte)?.rfind(bytes)
}

/// All such bytes, from the first to the last.
pub fn all(byte: u8, bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + first(byte, bytes.get(from..)?)?;
        from = at + 1;
        Some(at)
    })
}

/// How many lines end in them.
#[inline(never)]
pub fn line_ends(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    let mut count = all(b'\n', rest).count();
    for block in blocks {
        count += newlines(block).count_ones() as usize;
    }
    count
}

/// For processors that memchr knows no instructions of.
#[cfg(not(any(
    all(target_arch = "x86_64", target_feature = "sse2"),
    all(target_arch = "aarch64", target_feature = "neon")
)))]
mod portable {
    pub struct One(u8);

    impl One {
        pub fn new(byte: u8) -> Option<Self> {
            Some(Self(byte))
        }

        pub fn find(&self, bytes: &[u8]) -> Option<usize> {
            memchr::memchr(self.0, bytes)
        }

        pub fn rfind(&self, bytes: &[u8]) -> Option<usize> {
            memchr::memrchr(self.0, bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every length around the blocks that are looked at, with line ends anywhere.
    #[test]
    fn as_memchr_finds_them() {
        let mut random = crate::numbers::Numbers::new(1);
        for length in 0..400 {
            for sparse in [2, 50, 1000] {
                let bytes: Vec<u8> =
                    (0..length).map(|_| if random.below(sparse) == 0 { b'\n' } else { 0x8a }).collect();
                let places: Vec<usize> = memchr::memchr_iter(b'\n', &bytes).collect();
                assert_eq!(first(b'\n', &bytes), places.first().copied());
                assert_eq!(last(b'\n', &bytes), places.last().copied());
                assert_eq!(line_ends(&bytes), places.len());
                assert_eq!(all(b'\n', &bytes).collect::<Vec<_>>(), places);
            }
        }
    }
}
