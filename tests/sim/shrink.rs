//! Reduces a seed that fails to as little as still fails in the same way: draw after draw is taken from chance, in large pieces first, and
//! only what matters remains. Services, requests, faults and moments all come of draws, and each can be left out.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::run::{Case, History};

/// What a reduced seed is, for people: what fails, and the whole story that leads there.
pub fn reduced(case: &Case, attempts_max: u64) -> String {
    let Some(Reduced { kept, attempts, from }) = reduce(case, attempts_max) else {
        return format!("seed {}: nothing is wrong with it", case.seed);
    };
    let history = Case { trace: true, ..case.only(kept.clone()) }.run();
    let mut text = format!("seed {}: {}\n", case.seed, failure(&history).unwrap_or_default());
    let _ = writeln!(
        text,
        "{} of {from} things that came by chance matter ({attempts} attempts); this is what remains:\n{}",
        kept.len(),
        history.trace.join("\n"),
    );
    text
}

/// What is left of a seed.
pub struct Reduced {
    /// The draws that matter.
    pub kept: BTreeSet<u64>,
    pub attempts: u64,
    /// So many there were.
    pub from: usize,
}

/// `None`: it does not fail.
pub fn reduce(case: &Case, attempts_max: u64) -> Option<Reduced> {
    let first = Case { notes: true, ..case.clone() }.run();
    let shape = shape(&failure(&first)?);
    let from = first.drawn.len();
    let mut attempts = 0;
    // In the order in which they were drawn.
    let mut kept = first.drawn;
    let mut without = |kept: &[u64]| {
        attempts += 1;
        let history = case.only(kept.iter().copied().collect()).run();
        failure(&history).is_some_and(|failure| self::shape(&failure) == shape).then_some(history.drawn)
    };
    let mut piece = kept.len();
    let mut tries = 0;
    loop {
        let mut end = kept.len();
        let before = end;
        while end > 0 && tries < attempts_max {
            tries += 1;
            let begin = end.saturating_sub(piece);
            let rest: Vec<u64> = kept.iter().take(begin).chain(kept.iter().skip(end)).copied().collect();
            if let Some(drawn) = without(&rest) {
                // Much of what was kept is not even drawn any more.
                kept = drawn;
            }
            end = begin.min(kept.len());
        }
        // Again as long as that helps.
        if piece == 1 && kept.len() == before || tries >= attempts_max {
            break;
        }
        piece = (piece / 2).max(1);
    }
    Some(Reduced { kept: kept.into_iter().collect(), attempts, from })
}

fn failure(history: &History) -> Option<String> {
    history.result.as_ref().err().cloned()
}

/// What a failure has in common with others of its kind: its first words, without names and numbers.
fn shape(failure: &str) -> String {
    const WORDS: usize = 8;
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || ",':".contains(c));
    failure.split_whitespace().filter(plain).take(WORDS).collect::<Vec<_>>().join(" ")
}
