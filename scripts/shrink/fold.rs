//! Functions that are the same are there once. A linker does so, too, but later: what they have in common would have become pieces by then,
//! for users that are one.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Ranks;
use super::assembly::{Function, Line, Part, Program, alone};

/// Folds them, into that which is executed first, if one is. Their addresses are the same then, as with the linker.
pub fn same(program: &mut Program, kept: &dyn Fn(&str) -> bool, hot: Ranks<'_>) {
    let mut aliases = aliases(program);
    // Until those that are called are known to be the same, too.
    loop {
        let mut alike: BTreeMap<Vec<String>, Vec<(Range<usize>, String)>> = BTreeMap::new();
        for (at, part) in program.parts.iter().enumerate() {
            let Part::Function(function) = part else { continue };
            if !kept(&function.name)
                && !aliases.contains_key(&function.name)
                && let Some(parts) = alone(&program.parts, at)
                && let Some(lines) = plain(function, &aliases)
            {
                alike.entry(lines).or_default().push((parts, function.name.clone()));
            }
        }
        alike.retain(|_, functions| functions.len() > 1);
        if alike.is_empty() {
            return;
        }
        for functions in alike.into_values() {
            let first = functions
                .iter()
                .min_by_key(|(parts, name)| (hot(name).unwrap_or(usize::MAX), parts.start))
                .cloned();
            let Some((_, first)) = first else { continue };
            for (parts, name) in functions.into_iter().filter(|(_, name)| *name != first) {
                put_in_place_of(program, parts, &name, &first);
                aliases.insert(name, first.clone());
            }
        }
    }
}

/// What stands for what already.
fn aliases(program: &Program) -> BTreeMap<String, String> {
    let texts =
        program.parts.iter().filter_map(|part| if let Part::Text(line) = part { Some(line) } else { None });
    let sets = texts.filter_map(|line| line.trim().strip_prefix(".set\t")?.split_once(", "));
    sets.map(|(name, other)| (name.to_owned(), other.strip_suffix("+0").unwrap_or(other).to_owned()))
        .collect()
}

/// Its lines without what is its own in them. `None`: something else leads into it, such as a table of jumps.
fn plain(function: &Function, aliases: &BTreeMap<String, String>) -> Option<Vec<String>> {
    function.lines.iter().map(|line| plain_line(line, aliases)).collect()
}

fn plain_line(line: &Line, aliases: &BTreeMap<String, String>) -> Option<String> {
    let (Line::Code(text) | Line::Fence(text)) = line;
    let mut plain = String::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let is_name = |character: char| character.is_ascii_alphanumeric() || "._".contains(character);
        let end = rest.find(|character| !is_name(character)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let more = behind.find(is_name).unwrap_or(behind.len());
        let (between, behind) = behind.split_at(more);
        if let Some(local) = name.strip_prefix(".LBB") {
            plain += ".LBB";
            plain += local.split_once('_')?.1;
        } else if [".LJTI", ".Ltmp", ".Lfunc"].iter().any(|begin| name.starts_with(begin)) {
            return None;
        } else {
            let mut name = name;
            while let Some(other) = aliases.get(name) {
                name = other;
            }
            plain += name;
        }
        plain += between;
        rest = behind;
    }
    Some(plain)
}

/// The name stands for the first from now on; its section is empty.
fn put_in_place_of(program: &mut Program, parts: Range<usize>, name: &str, first: &str) {
    let label = format!("{name}:");
    for part in program.parts.get_mut(parts).unwrap_or_default() {
        match part {
            Part::Text(line) if *line == label => *line = format!("\t.set\t{name}, {first}"),
            Part::Text(line) if line.starts_with(".Lfunc_end") || line.trim().starts_with(".size\t") => {
                line.clear();
            }
            Part::Function(function) => function.lines.clear(),
            Part::Text(_) => {}
        }
    }
}
