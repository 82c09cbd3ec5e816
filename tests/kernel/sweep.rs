//! What services leave behind.

use crate::Case;

pub const CASES: &[Case] = &[];
