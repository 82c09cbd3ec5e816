//! Memory that goes in a circle: from what comes in to what goes out, and back.

/// The memory of a large piece of output that is done with, for the next: what comes in as an event and goes out as an action uses
/// the same few buffers over and over. New memory for each costs as much as the copying, where the allocator takes it from the kernel
/// and gives it back every time.
#[derive(Debug, Default)]
pub struct Spare([Vec<u8>; 2]);

impl Spare {
    /// What is smaller costs little to allocate,
    pub const LEAST_BYTES: usize = 8 << 10;
    /// and what is larger is not kept.
    pub const MOST_BYTES: usize = 256 << 10;

    /// Keeps this memory unless there is better.
    pub fn put(&mut self, bytes: Vec<u8>) {
        let smaller = self.0.iter_mut().min_by_key(|held| held.capacity());
        if let Some(smaller) = smaller
            && (Self::LEAST_BYTES..=Self::MOST_BYTES).contains(&bytes.capacity())
            && bytes.capacity() > smaller.capacity()
        {
            *smaller = bytes;
        }
    }

    /// An empty vector with room for so many bytes.
    pub fn empty(&mut self, room: usize) -> Vec<u8> {
        let mut bytes = self.take(room).unwrap_or_else(|| Vec::with_capacity(room));
        bytes.clear();
        bytes
    }

    /// So many bytes of no meaning, for writing over; most of them need not be cleared first.
    #[cfg_attr(small, optimize(speed))]
    pub fn filled(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = self.take(length).unwrap_or_default();
        bytes.resize(length, 0);
        bytes
    }

    fn take(&mut self, room: usize) -> Option<Vec<u8>> {
        let large = self.0.iter_mut().filter(|_| room >= Self::LEAST_BYTES);
        large.into_iter().find(|held| held.capacity() >= room).map(std::mem::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_memory_comes_back() {
        let mut spare = Spare::default();
        let (mut first, second) = (spare.empty(70_000), spare.empty(70_000));
        first.extend_from_slice(&[1; 100]);
        let places = [first.as_ptr(), second.as_ptr()];
        spare.put(first);
        spare.put(second);
        spare.put(Vec::with_capacity(20_000));
        let filled = spare.filled(65_000);
        assert!(filled.len() == 65_000 && places.contains(&filled.as_ptr()));
        let empty = spare.empty(65_000);
        assert!(empty.is_empty() && places.contains(&empty.as_ptr()) && empty.as_ptr() != filled.as_ptr());
        assert!(!places.contains(&spare.empty(65_000).as_ptr()));
    }

    #[test]
    fn neither_small_nor_very_large_memory_is_kept() {
        let mut spare = Spare::default();
        for size in [100, Spare::LEAST_BYTES - 1, Spare::MOST_BYTES + 1] {
            spare.put(Vec::with_capacity(size));
        }
        assert!(spare.0.iter().all(|held| held.capacity() == 0));
    }
}
