//! Jumps that reach far have five or six bytes; one to a neighbour that jumps to the same place has two.

use std::collections::BTreeMap;

use super::assembly::{Function, Line, Program};

/// How far the short jump reaches in either direction, less what is not known of the sizes in between.
pub const REACH: usize = 110;

/// What an instruction has whose size is not known: a jump within the function, short or long.
pub const UNKNOWN: usize = 4;

/// A jump that others may use.
struct Long {
    line: usize,
    begin: usize,
    mnemonic: String,
}

/// Lets far jumps to one place use one of them, as far as that is near: nothing changes the condition on the way. Where the sizes were
/// thought wrong the assembler takes the long form, and nothing is lost but the way.
pub fn share(program: &mut Program, kept: &dyn Fn(&str) -> bool) {
    let sizes = std::mem::take(&mut program.sizes);
    for (number, function) in program.functions_mut().enumerate() {
        if !kept(&function.name) {
            // First one that is before, then one that is behind and still a long one: no way leads in a circle.
            for direction in ["back", "on"] {
                share_in(function, direction == "on", &format!(".Lgo{direction}{number}"), &sizes);
            }
        }
    }
    program.sizes = sizes;
}

fn share_in(function: &mut Function, on: bool, name: &str, sizes: &BTreeMap<String, usize>) {
    let (mut begins, mut end) = (Vec::new(), 0);
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for line in &function.lines {
        begins.push(end);
        match line {
            Line::Code(code) => end += sizes.get(code).copied().unwrap_or(UNKNOWN),
            Line::Fence(line) => places.extend(line.strip_suffix(':').map(|label| (label.to_owned(), end))),
        }
    }
    let mut order: Vec<(usize, usize)> = begins.into_iter().enumerate().collect();
    if on {
        order.reverse();
    }
    let mut long: BTreeMap<String, Vec<Long>> = BTreeMap::new();
    let mut labels: BTreeMap<usize, String> = BTreeMap::new();
    for (at, begin) in order {
        let Some(Line::Code(code)) = function.lines.get_mut(at) else { continue };
        let jump = |(word, place): &(&str, &str)| word.starts_with('j') && !place.starts_with('*');
        let Some((mnemonic, place)) = code.split_once(' ').filter(jump) else { continue };
        if places.get(place).is_some_and(|place| place.abs_diff(begin) <= REACH) {
            continue;
        }
        let others = long.entry(place.to_owned()).or_default();
        let serves = |other: &&Long| ["jmp", mnemonic].contains(&other.mnemonic.as_str());
        if let Some(other) =
            others.iter().rev().find(serves).filter(|other| other.begin.abs_diff(begin) <= REACH)
        {
            let label = labels.entry(other.line).or_insert_with(|| format!("{name}_{}", other.line));
            *code = format!("{mnemonic} {label}");
        } else {
            others.push(Long { line: at, begin, mnemonic: mnemonic.to_owned() });
        }
    }
    for (line, label) in labels.into_iter().rev() {
        function.lines.insert(line, Line::Fence(format!("{label}:")));
    }
}
