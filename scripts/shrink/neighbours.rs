//! Which functions lie side by side. One that ends in a jump to another needs none where that one follows; and of two that end in a jump to
//! the same place one can go by the other's, where that is near. They share a section then, in which `jumps` sees them as one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Ranks;
use super::assembly::{Function, Line, PIECE, Part, Program, alone, calls, code, jumps_to};
use super::frames::CALL;
use super::jumps::{REACH, UNKNOWN};

/// A function with all that belongs to it, as a range of the program's parts.
struct Whole {
    name: String,
    parts: Range<usize>,
    /// Where its instructions are.
    at: usize,
    bytes: usize,
    /// Where it goes on at its end.
    leads: Option<String>,
    rank: Option<usize>,
}

/// Functions each of which goes on in the next one.
struct Row {
    /// By their places in a list.
    members: Vec<usize>,
    bytes: usize,
    leads: Option<String>,
    rank: Option<usize>,
    /// The rows that lie beside it.
    before: Option<usize>,
    behind: Option<usize>,
}

/// Puts them there. `hot` knows what is executed often or early. That has few pages of its own, so it stays among its like.
pub fn place(program: &mut Program, kept: &dyn Fn(&str) -> bool, hot: Ranks<'_>) {
    let ranks = with_pieces(program, hot);
    let wholes: Vec<Whole> =
        (0..program.parts.len()).filter_map(|at| whole(program, at, kept, &ranks)).collect();
    let (mut rows, places) = rows(&wholes);
    join(&mut rows, &places);
    for first in rows.iter().filter(|row| row.before.is_none()) {
        let mut all = Vec::new();
        let mut next = Some(first);
        while let Some(row) = next {
            let goes_on = row.members.len().saturating_sub(1);
            all.extend(row.members.iter().enumerate().map(|(turn, number)| (*number, turn < goes_on)));
            next = row.behind.and_then(|behind| rows.get(behind));
        }
        if all.len() > 1 {
            write(program, &wholes, &all);
        }
    }
}

/// The function whose instructions are at this part. `None`: it has no section of its own, or stays as it is.
fn whole(
    program: &Program,
    at: usize,
    kept: &dyn Fn(&str) -> bool,
    ranks: &BTreeMap<String, usize>,
) -> Option<Whole> {
    let parts = alone(&program.parts, at)?;
    let Some(Part::Function(Function { name, lines })) = program.parts.get(at) else { return None };
    let bytes =
        lines.iter().filter_map(code).map(|code| program.sizes.get(code).copied().unwrap_or(UNKNOWN)).sum();
    let leads = lines.last().and_then(code).and_then(jumps_to).map(str::to_owned);
    let rank = ranks.get(name).copied();
    (!kept(name)).then(|| Whole { name: name.clone(), parts, at, bytes, leads, rank })
}

/// The ranks of functions, and of pieces the first of those that have them.
fn with_pieces(program: &Program, hot: Ranks<'_>) -> BTreeMap<String, usize> {
    let mut ranks: BTreeMap<String, usize> = BTreeMap::new();
    loop {
        let mut changed = false;
        for function in program.functions() {
            let Some(rank) = hot(&function.name).or_else(|| ranks.get(&function.name).copied()) else {
                continue;
            };
            let leads =
                function.lines.iter().filter_map(code).filter_map(|code| calls(code).or(jumps_to(code)));
            let pieces = leads.filter(|name| name.starts_with(PIECE));
            for name in pieces.chain([function.name.as_str()]) {
                if ranks.get(name).is_none_or(|known| rank < *known) {
                    ranks.insert(name.to_owned(), rank);
                    changed = true;
                }
            }
        }
        if !changed {
            return ranks;
        }
    }
}

/// Ranks that are no further from each other lie in few pages. The others are nobody's business.
const NEAR: usize = 40;

fn are_near(one: Option<usize>, other: Option<usize>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.abs_diff(other) <= NEAR,
        (one, other) => one == other,
    }
}

/// All in rows, and of each function its row and how far it is from the row's begin.
fn rows(wholes: &[Whole]) -> (Vec<Row>, BTreeMap<&str, (usize, usize)>) {
    let numbers: BTreeMap<&str, usize> =
        wholes.iter().enumerate().map(|(number, whole)| (whole.name.as_str(), number)).collect();
    let mut next: BTreeMap<usize, usize> = BTreeMap::new();
    let mut follow: BTreeSet<usize> = BTreeSet::new();
    for (number, before) in wholes.iter().enumerate() {
        let Some(behind) = before.leads.as_deref().and_then(|name| numbers.get(name)) else { continue };
        let near = wholes.get(*behind).is_some_and(|whole| are_near(whole.rank, before.rank));
        // Not in a circle.
        let last = std::iter::successors(Some(behind), |number| next.get(number)).last();
        if near && last != Some(&number) && follow.insert(*behind) {
            next.insert(number, *behind);
        }
    }
    let (mut rows, mut places) = (Vec::new(), BTreeMap::new());
    for first in (0..wholes.len()).filter(|number| !follow.contains(number)) {
        let members: Vec<usize> =
            std::iter::successors(Some(first), |number| next.get(number).copied()).collect();
        let (mut bytes, mut leads) = (0, None);
        for number in &members {
            let Some(whole) = wholes.get(*number) else { continue };
            places.insert(whole.name.as_str(), (rows.len(), bytes));
            bytes += whole.bytes.saturating_sub(if next.contains_key(number) { CALL } else { 0 });
            leads.clone_from(&whole.leads);
        }
        let rank = wholes.get(first).and_then(|whole| whole.rank);
        rows.push(Row { members, bytes, leads, rank, before: None, behind: None });
    }
    (rows, places)
}

/// Lets rows lie beside that which they lead to, or beside others that lead there, if that is near then. The smallest go first.
fn join(rows: &mut [Row], places: &BTreeMap<&str, (usize, usize)>) {
    let mut order: Vec<(usize, usize)> =
        rows.iter().enumerate().map(|(number, row)| (row.bytes, number)).collect();
    order.sort_unstable();
    let mut by_place: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    for (bytes, number) in &order {
        if let Some(leads) = rows.get(*number).and_then(|row| row.leads.as_ref()) {
            by_place.entry(leads.clone()).or_default().push((*bytes, *number));
        }
    }
    for (bytes, number) in order {
        let Some(leads) = rows.get(number).and_then(|row| row.leads.clone()) else { continue };
        let near = |bytes: usize| bytes <= REACH;
        let place = places.get(leads.as_str());
        let mut ways = Vec::new();
        if let Some((row, offset)) = place {
            let whole = rows.get(*row).map_or(0, |row| row.bytes);
            ways.extend(near(*offset).then_some((number, *row)));
            ways.extend(near((whole + bytes).saturating_sub(*offset)).then_some((*row, number)));
        }
        let others = || by_place.get(&leads).into_iter().flatten();
        ways.extend(others().filter(|(bytes, _)| near(*bytes)).map(|(_, other)| (number, *other)));
        ways.extend(others().filter(|_| near(bytes)).map(|(_, other)| (*other, number)));
        if let Some((left, right)) = ways.into_iter().find(|(left, right)| may_lie(rows, *left, *right)) {
            if let Some(row) = rows.get_mut(left) {
                row.behind = Some(right);
            }
            if let Some(row) = rows.get_mut(right) {
                row.before = Some(left);
            }
        }
    }
}

/// Whether one can lie behind the other.
fn may_lie(rows: &[Row], left: usize, right: usize) -> bool {
    let row = |number: usize| rows.get(number);
    let circle = std::iter::successors(Some(right), |number| row(*number)?.behind).last() == Some(left);
    let (Some(left), Some(right)) = (row(left), row(right)) else { return false };
    left.behind.is_none() && right.before.is_none() && !circle && are_near(left.rank, right.rank)
}

/// Puts these into the first one's section. Whether it goes on in the next one stands beside each.
fn write(program: &mut Program, wholes: &[Whole], all: &[(usize, bool)]) {
    let mut lines = Vec::new();
    let mut first = None;
    for (number, goes_on) in all {
        let Some(whole) = wholes.get(*number) else { continue };
        let follows = first.is_some();
        first = first.or(Some(whole.at));
        for at in whole.parts.clone() {
            match program.parts.get_mut(at) {
                // Its section stays where it was, as what comes next may go on there.
                Some(Part::Text(text)) if at < whole.at && follows => {
                    let section = if at == whole.parts.start {
                        text.lines().next().unwrap_or_default().to_owned()
                    } else {
                        String::new()
                    };
                    let rest = text.lines().skip(usize::from(at == whole.parts.start));
                    lines.extend(rest.map(|line| Line::Fence(line.to_owned())));
                    *text = section;
                }
                Some(Part::Text(_)) if at < whole.at => {}
                Some(Part::Text(text)) => lines.push(Line::Fence(std::mem::take(text))),
                Some(Part::Function(function)) => {
                    lines.append(&mut function.lines);
                    if *goes_on {
                        lines.pop();
                    }
                }
                None => {}
            }
        }
    }
    if let Some(Part::Function(function)) = first.and_then(|at| program.parts.get_mut(at)) {
        function.lines = lines;
    }
}
