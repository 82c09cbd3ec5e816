//! What is dropped while nobody reads the container's output, and how much of it was whose. What is kept for `logs` is kept all the
//! same.

use crate::event::{InstanceId, Sink};
use crate::sorted::Map;

/// The sinks that are stuck, with the number of lines that each instance has lost there since.
#[derive(Debug, Default)]
pub struct Overflowing(Map<Sink, Map<InstanceId, u64>>);

impl Overflowing {
    /// From now on nothing passes there.
    pub fn stuck(&mut self, sink: Sink) {
        self.0.get_or_default(sink);
    }

    /// Whether lines do not pass. Then, and only then, they are counted: all output comes by here.
    pub fn drops(&mut self, sink: Sink, instance: InstanceId, count: impl FnOnce() -> u64) -> bool {
        let Some(dropped) = self.0.get_mut(&sink) else { return false };
        let lines = count();
        if lines > 0 {
            *dropped.get_or_default(instance) += lines;
        }
        true
    }

    /// It passes again: what has been dropped meanwhile.
    pub fn flows(&mut self, sink: Sink) -> impl Iterator<Item = (InstanceId, u64)> + use<> {
        self.0.remove(&sink).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_pass_is_counted_for_each() {
        let (a, b) = (InstanceId(0), InstanceId(1));
        let mut overflowing = Overflowing::default();
        assert!(!overflowing.drops(Sink::Stdout, a, || panic!("what passes is not counted")));
        overflowing.stuck(Sink::Stdout);
        overflowing.stuck(Sink::Stdout);
        assert!(overflowing.drops(Sink::Stdout, b, || 2));
        assert!(overflowing.drops(Sink::Stdout, a, || 1));
        assert!(overflowing.drops(Sink::Stdout, InstanceId(2), || 0), "the end of a line alone");
        assert!(overflowing.drops(Sink::Stdout, b, || 1));
        assert!(!overflowing.drops(Sink::Stderr, a, || 1));
        assert_eq!(overflowing.flows(Sink::Stderr).count(), 0);
        assert_eq!(overflowing.flows(Sink::Stdout).collect::<Vec<_>>(), [(a, 1), (b, 3)]);
        assert_eq!(overflowing.flows(Sink::Stdout).count(), 0, "only once");
        assert!(!overflowing.drops(Sink::Stdout, a, || 1));
    }
}
