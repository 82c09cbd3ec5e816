//! "Did you mean": the known name nearest to what was written.

use crate::gather::Gather;

/// The candidate nearest to `written`, if it is near enough to have been meant: at most one edit in four letters, where an edit
/// inserts, removes, replaces a letter or swaps two neighbours. Case and `-` for `_` do not count. The first of equals wins.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_of(written, &mut candidates.into_iter())
}

/// One function for all kinds of lists: there are many.
fn nearest_of<'a>(written: &str, candidates: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    /// No name is longer; the comparison takes the square of it.
    const LONGEST: usize = 64;
    let written = normal(written);
    if written.is_empty() || written.len() > LONGEST {
        return None;
    }
    candidates
        .filter_map(|candidate| {
            let other = normal(candidate);
            let far = (written.len().max(other.len()) / 4).max(1);
            let near_in_length = written.len().abs_diff(other.len()) <= far && other.len() <= LONGEST;
            let distance = near_in_length
                .then(|| distance(&written, &other))
                .filter(|distance| *distance <= far && *distance < written.len())?;
            Some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// [`nearest`] as a question for people.
pub fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    question(nearest(written, candidates))
}

fn question(name: Option<&str>) -> Option<String> {
    name.map(|name| format!("did you mean \"{name}\"?"))
}

fn normal(name: &str) -> Vec<char> {
    name.chars().map(|letter| if letter == '-' { '_' } else { letter.to_ascii_lowercase() }).gather()
}

/// The number of edits between two words, row by row.
#[inline(never)]
fn distance(one: &[char], other: &[char]) -> usize {
    let get = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=other.len()).gather();
    for (i, a) in one.iter().enumerate() {
        let mut row = Vec::with_capacity(previous.len());
        row.push(i + 1);
        for (j, b) in other.iter().enumerate() {
            let mut best = (get(&previous, j) + usize::from(a != b))
                .min(get(&previous, j + 1) + 1)
                .min(get(&row, j) + 1);
            let swapped = i > 0 && j > 0 && one.get(i - 1) == Some(b) && other.get(j - 1) == Some(a);
            if swapped {
                best = best.min(get(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
    }
    get(&previous, other.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["ready", "restart", "env", "env_file", "cwd", "kill_timeout"];
        for (written, expected) in [
            ("redy", Some("ready")),
            ("raedy", Some("ready")),
            ("Restart", Some("restart")),
            ("kill-timeout", Some("kill_timeout")),
            ("killtimeout", Some("kill_timeout")),
            ("evn", Some("env")),
            ("cw", Some("cwd")),
            ("zzz", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, known), expected, "{written}");
        }
    }

    #[test]
    fn absurd_lengths_cost_nothing() {
        assert_eq!(nearest(&"a".repeat(1_000_000), ["aaa"]), None);
    }
}
