//! The relay of output, and what happens when nobody reads.

use crate::Case;
use crate::world::{World, helper};

pub const CASES: &[Case] = &[("output_arrives_whole", output_arrives_whole)];

fn output_arrives_whole() {
    let mut world = World::new();
    let outcome = world.run(helper(&["flood", "10000000"]));
    assert_eq!(outcome.stdout.len(), 10_000_000);
    assert!(outcome.stdout.chunks(100).all(|line| line[..99] == [b'x'; 99] && line[99] == b'\n'));
}
