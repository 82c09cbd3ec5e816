//! Where lines end, 64 bytes at a time. A search that begins anew behind each line end costs more than the copying of short lines, and
//! cannot begin before the one before is over. Touches no system: it lies here for what it takes to call the processor by name, and the
//! core sees it as one of its own.

#![cfg_attr(
    all(target_arch = "x86_64", target_feature = "sse2"),
    expect(unsafe_code, reason = "vector instructions, in which the compiler wants to be believed")
)]

/// How many bytes are looked at at once.
pub const BLOCK_BYTES: usize = 64;

/// Which of these bytes are line ends: bit n stands for byte n.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[inline]
pub fn newlines(block: &[u8; BLOCK_BYTES]) -> u64 {
    // SAFETY: only compiled where every processor that this is for has SSE2.
    unsafe { by_sixteen(block) }
}

/// Which of these bytes are line ends: bit n stands for byte n.
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
#[inline]
pub fn newlines(block: &[u8; BLOCK_BYTES]) -> u64 {
    one_by_one(block)
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[target_feature(enable = "sse2")]
#[inline]
fn by_sixteen(block: &[u8; BLOCK_BYTES]) -> u64 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let newline = _mm_set1_epi8(0x0a);
    let bits = |bytes: &[u8; 16]| {
        let [low, high] = bytes.as_chunks().0 else { return 0 };
        let bytes = _mm_set_epi64x(i64::from_le_bytes(*high), i64::from_le_bytes(*low));
        u64::from(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, newline)).cast_unsigned())
    };
    // Not in a loop, which would not be unrolled where size counts.
    let [one, two, three, four] = block.as_chunks().0 else { return 0 };
    bits(one) | bits(two) << 16 | bits(three) << 32 | bits(four) << 48
}

#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "sse2"))))]
fn one_by_one(block: &[u8; BLOCK_BYTES]) -> u64 {
    memchr::memchr_iter(b'\n', block).fold(0, |bits, at| bits | 1 << at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_end_is_a_bit_and_nothing_else_is() {
        let mut random = 1_u64;
        let mut next = || {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            random >> 33
        };
        for byte in 0..=u8::MAX {
            assert_eq!(newlines(&[byte; BLOCK_BYTES]), if byte == b'\n' { u64::MAX } else { 0 }, "{byte}");
        }
        for at in 0..BLOCK_BYTES {
            // Its neighbours differ by one bit, or by one.
            for other in [0, 0x0b, 0x09, 0x08, 0x8a, 0x1a, 0xff] {
                let mut block = [other; BLOCK_BYTES];
                block[at] = b'\n';
                assert_eq!(newlines(&block), 1 << at, "{at} {other}");
            }
        }
        for _ in 0..10_000 {
            let block =
                [(); BLOCK_BYTES].map(|()| if next() % 8 == 0 { b'\n' } else { next().to_le_bytes()[0] });
            assert_eq!(newlines(&block), one_by_one(&block));
        }
    }
}
