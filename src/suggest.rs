//! "Did you mean": the known name nearest to what was written, and what others call it.

use crate::gather::{Gather, parted};

/// The candidate nearest to `written`, if it is near enough to have been meant: at most one edit in four letters, where an edit
/// inserts, removes, replaces a letter or swaps two neighbours. Case and `-` for `_` do not count. The first of equals wins.
#[inline(never)]
pub fn nearest<'a>(written: &str, candidates: &[&'a str]) -> Option<&'a str> {
    /// No name is longer; the comparison takes the square of it.
    const LONGEST: usize = 64;
    let written = normal(written);
    if written.is_empty() || written.len() > LONGEST {
        return None;
    }
    let (mut best, mut nearer) = (None, written.len() - 1);
    for candidate in candidates {
        let other = normal(candidate);
        let far = (written.len().max(other.len()) / 4).max(1).min(nearer);
        if written.len().abs_diff(other.len()) <= far && other.len() <= LONGEST {
            let distance = distance(&written, &other, far);
            if distance <= far {
                best = Some(*candidate);
                let Some(less) = distance.checked_sub(1) else { break };
                nearer = less;
            }
        }
    }
    best
}

/// What a table answers to a word: lines of the form `word word -> answer`. One text; in pairs each word would take 32 bytes more.
pub fn answer(table: &'static str, word: &str) -> Option<&'static str> {
    line_of(table, word).map(|(_, answer)| answer)
}

/// [`answer`], and the number of its line, from 0. Without an arrow the answer is empty.
#[inline(never)]
pub fn line_of(table: &'static str, word: &str) -> Option<(usize, &'static str)> {
    for (number, line) in table.lines().enumerate() {
        let (words, answer) = parted(line, " -> ").unwrap_or((line, ""));
        if words.split(' ').any(|known| known == word) {
            return Some((number, answer));
        }
    }
    None
}

/// [`nearest`] as a question for people.
pub fn did_you_mean(written: &str, candidates: &[&str]) -> Option<Box<str>> {
    nearest(written, candidates).map(|name| format!("did you mean \"{name}\"?").into())
}

fn normal(name: &str) -> Vec<char> {
    name.chars().map(|letter| if letter == '-' { '_' } else { letter.to_ascii_lowercase() }).gather()
}

/// The number of edits between two words, row by row, if that is no more than `most`: of many names nearly all are told apart soon.
#[inline(never)]
fn distance(one: &[char], other: &[char], most: usize) -> usize {
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
        #[cfg(test)]
        tests::COMPARED.set(tests::COMPARED.get() + other.len());
        if row.iter().all(|distance| *distance > most) {
            return usize::MAX;
        }
        before = std::mem::replace(&mut previous, row);
    }
    get(&previous, other.len())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How many pairs of letters were compared.
        pub static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["ready", "restart", "env", "env_file", "cwd", "kill_timeout"];
        for (written, expected) in [
            ("redy", Some("ready")),
            ("raedy", Some("ready")),
            ("x_file", None),
            ("enx_file", Some("env_file")),
            ("Restart", Some("restart")),
            ("kill-timeout", Some("kill_timeout")),
            ("killtimeout", Some("kill_timeout")),
            ("evn", Some("env")),
            ("cw", Some("cwd")),
            ("zzz", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, &known), expected, "{written}");
        }
    }

    #[test]
    fn a_table_answers_to_each_of_its_words_and_to_nothing_else() {
        let table = "a b -> x y\nc -> z\nd";
        for (word, expected) in [
            ("a", Some((0, "x y"))),
            ("b", Some((0, "x y"))),
            ("c", Some((1, "z"))),
            ("d", Some((2, ""))),
            ("x", None),
            ("->", None),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(line_of(table, word), expected, "{word}");
            assert_eq!(answer(table, word), expected.map(|(_, answer)| answer));
        }
    }

    #[test]
    fn absurd_lengths_cost_nothing() {
        assert_eq!(nearest(&"a".repeat(1_000_000), &["aaa"]), None);
    }
}
