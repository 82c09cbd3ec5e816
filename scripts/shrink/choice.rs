//! What is free in a function is chosen so that it has much in common with others: which of the registers that it saves has which of its
//! values, and how far below its begin lies what it has in its frame.

use std::collections::{BTreeMap, HashMap};

use super::assembly::{Line, Part, Program, calls, code, in_frame, is_local, is_movable, is_pair, jumps_to};
use super::frames::{CALL, Free, LOWER, SAVED};
use super::moves::shorter;

/// So often all functions are gone through. Behind that next to nothing changes.
const ROUNDS: usize = 3;
/// Longer sequences are not compared.
const LONGEST: usize = 10;
/// What bytes are counted in here, as a part of a piece's bytes falls to each of its users.
const PARTS: u64 = 16;

/// The names of [`SAVED`], and of their lower halves, quarters and bytes.
const WIDTHS: [[&str; 5]; 4] = [
    SAVED,
    ["%ebx", "%r12d", "%r13d", "%r14d", "%r15d"],
    ["%bx", "%r12w", "%r13w", "%r14w", "%r15w"],
    ["%bl", "%r12b", "%r13b", "%r14b", "%r15b"],
];

/// Tells how many bytes each of these instructions has.
pub type Measure<'a> = &'a dyn Fn(&[&str]) -> Result<Vec<usize>, String>;

/// A change of all instructions of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Change {
    /// For each of [`SAVED`] the one in its place.
    registers: [usize; 5],
    /// So many bytes further down is what lies in the frame.
    down: i64,
    /// The frame's room, before and then.
    room: (usize, usize),
}

const NONE: Change = Change { registers: [0, 1, 2, 3, 4], down: 0, room: (0, 0) };

/// Chooses. `free` is by the functions' place in the program.
///
/// # Errors
/// When the instructions cannot be measured.
pub fn choose(
    program: &mut Program,
    kept: &dyn Fn(&str) -> bool,
    free: &BTreeMap<usize, Free>,
    measure: Measure<'_>,
) -> Result<(), String> {
    one_kind(program, kept, measure, &|at, codes| {
        free.get(&at).map(|free| orders(free, codes)).unwrap_or_default()
    })?;
    one_kind(program, kept, measure, &|at, codes| {
        free.get(&at).map(|free| depths(free, codes)).unwrap_or_default()
    })
}

/// All orders of the registers that a function saves.
fn orders(free: &Free, codes: &[&str]) -> Vec<Change> {
    // Registers of eight bits have names that not all can have, and of some instructions the registers are not named.
    let fixed = ["%ah", "%bh", "%ch", "%dh", "cpuid", "cmpxchg", "xlat"];
    let named = |code: &&str| {
        let leads = ["callq ", "jmp", "retq", "ud2", "syscall", "lock ", "lock;"];
        (is_movable(code) || is_local(code) || leads.iter().any(|word| code.starts_with(word)))
            && !fixed.iter().any(|what| code.contains(what))
    };
    if !codes.iter().all(named) {
        return Vec::new();
    }
    let saved = SAVED.iter().enumerate().filter(|(_, name)| free.saved.iter().any(|saved| saved == *name));
    let saved: Vec<usize> = saved.map(|(register, _)| register).collect();
    let mut found = vec![NONE];
    for (turn, register) in saved.iter().enumerate() {
        // Each order so far, with this register in the place of each before it.
        let more = found.iter().flat_map(|change| {
            saved.iter().take(turn).map(|other| {
                let mut change = *change;
                change.registers.swap(*register, *other);
                change
            })
        });
        let more: Vec<Change> = more.collect();
        found.extend(more);
    }
    found.split_off(1)
}

/// All depths.
fn depths(free: &Free, codes: &[&str]) -> Vec<Change> {
    // The sum of a frame pointer and what may be the place of anything; and where something is counted, its number may be counted from far
    // off, so what is said to be above the frame need not be.
    let counts = codes.iter().any(|code| code.contains("(%rbp,"));
    let above = || codes.iter().filter_map(|code| in_frame(code)).any(|(_, number, _)| number >= LOWER);
    if codes.iter().any(|code| code.contains(",%rbp)")) || counts && above() {
        return Vec::new();
    }
    let Some((_, before)) = free.rooms.first() else { return Vec::new() };
    let rest = free.rooms.iter().skip(1);
    rest.map(|(down, room)| Change { down: *down, room: (*before, *room), ..NONE }).collect()
}

/// An instruction that is changed.
fn changed(code: &str, change: &Change) -> String {
    let saves = !is_pair(code) && (code.starts_with("pushq %") || code.starts_with("popq %"));
    if change.registers != NONE.registers && !saves {
        return renamed(code, &change.registers);
    }
    if change.down == 0 {
        return code.to_owned();
    }
    for word in ["subq", "addq"] {
        if code == format!("{word} ${}, %rsp", change.room.0) {
            return format!("{word} ${}, %rsp", change.room.1);
        }
    }
    // Neither arguments on the stack nor where the saved registers are.
    let place = in_frame(code).filter(|(_, number, _)| *number < LOWER && !code.ends_with(", %rsp"));
    let parts =
        place.and_then(|(begin, number, bracket)| Some((code.get(..begin)?, number, code.get(bracket..)?)));
    let Some((before, number, behind)) = parts else { return code.to_owned() };
    match number - change.down {
        0 => [before, behind].concat(),
        number => [before, &number.to_string(), behind].concat(),
    }
}

fn renamed(code: &str, registers: &[usize; 5]) -> String {
    let mut new = String::new();
    let mut rest = code;
    while let Some(at) = rest.find('%') {
        let (before, name) = rest.split_at(at);
        let end = name
            .bytes()
            .skip(1)
            .position(|byte| !byte.is_ascii_alphanumeric())
            .map_or(name.len(), |end| end + 1);
        let (name, behind) = name.split_at(end);
        new += before;
        new += WIDTHS
            .iter()
            .find_map(|names| {
                let register = names.iter().position(|known| *known == name)?;
                names.get(*registers.get(register)?).copied()
            })
            .unwrap_or(name);
        rest = behind;
    }
    new + rest
}

/// An instruction by its number; `None`: nothing is moved across it.
type Token = Option<u32>;

/// All instructions that there are or may be.
#[derive(Default)]
struct Codes {
    numbers: HashMap<String, u32>,
    bytes: Vec<u64>,
}

impl Codes {
    fn token(&mut self, code: &str) -> Token {
        // What is moved where can stand there in any form.
        let short = shorter(code);
        let code = short.as_deref().unwrap_or(code);
        let moves = code == "retq" || code.starts_with("callq *") || jumps_to(code).or(calls(code)).is_some();
        if is_local(code) || !(moves || is_movable(code)) {
            return None;
        }
        if let Some(number) = self.numbers.get(code) {
            return Some(*number);
        }
        let number = u32::try_from(self.numbers.len()).ok()?;
        self.numbers.insert(code.to_owned(), number);
        Some(number)
    }

    fn measure(&mut self, measure: Measure<'_>) -> Result<(), String> {
        let mut codes: Vec<(&str, u32)> =
            self.numbers.iter().map(|(code, number)| (code.as_str(), *number)).collect();
        codes.sort_unstable_by_key(|(_, number)| *number);
        let codes: Vec<&str> = codes.into_iter().map(|(code, _)| code).collect();
        self.bytes = measure(&codes)?.into_iter().map(|bytes| bytes as u64).collect();
        Ok(())
    }
}

/// A function with all forms it may have; the first is the one it has.
struct Chooser {
    at: usize,
    forms: Vec<(Change, Vec<Token>)>,
    now: usize,
}

fn one_kind(
    program: &mut Program,
    kept: &dyn Fn(&str) -> bool,
    measure: Measure<'_>,
    changes: &dyn Fn(usize, &[&str]) -> Vec<Change>,
) -> Result<(), String> {
    let mut codes = Codes::default();
    let mut known: HashMap<(&str, Change), Token> = HashMap::new();
    let mut functions = Vec::new();
    for (at, part) in program.parts.iter().enumerate() {
        let Part::Function(function) = part else { continue };
        if kept(&function.name) {
            continue;
        }
        let all: Vec<&str> = function.lines.iter().filter_map(code).collect();
        let mut forms = Vec::new();
        for change in std::iter::once(NONE).chain(changes(at, &all)) {
            let tokens = function.lines.iter().map(|line| {
                let code = code(line)?;
                *known.entry((code, change)).or_insert_with(|| codes.token(&changed(code, &change)))
            });
            forms.push((change, tokens.collect()));
        }
        functions.push(Chooser { at, forms, now: 0 });
    }
    drop(known);
    codes.measure(measure)?;
    let mut counts = Counts::default();
    for function in &functions {
        counts.add(function.tokens());
    }
    functions.retain(|function| function.forms.len() > 1);
    for _ in 0..ROUNDS {
        for function in &mut functions {
            counts.take(function.tokens());
            let costs = function.forms.iter().map(|(_, tokens)| counts.cost(tokens, &codes.bytes));
            // Of the same cost, what it has.
            let now = function.now;
            let best = costs.enumerate().min_by_key(|(form, cost)| (*cost, *form != now, *form));
            function.now = best.map_or(now, |(form, _)| form);
            counts.add(function.tokens());
        }
    }
    for function in functions {
        let Some((change, _)) = function.forms.get(function.now) else { continue };
        if let Some(Part::Function(function)) = program.parts.get_mut(function.at) {
            for line in &mut function.lines {
                if let Line::Code(code) = line {
                    *code = changed(code, change);
                }
            }
        }
    }
    Ok(())
}

impl Chooser {
    fn tokens(&self) -> &[Token] {
        self.forms.get(self.now).map(|(_, tokens)| tokens.as_slice()).unwrap_or_default()
    }
}

/// How often each sequence is there, by a number made of it.
#[derive(Default)]
struct Counts(HashMap<u64, u64, std::hash::BuildHasherDefault<Itself>>);

impl Counts {
    fn add(&mut self, tokens: &[Token]) {
        each(tokens, |number| *self.0.entry(number).or_default() += 1);
    }

    fn take(&mut self, tokens: &[Token]) {
        each(tokens, |number| {
            if let Some(count) = self.0.get_mut(&number) {
                *count -= 1;
            }
        });
    }

    /// What a function takes, about, in [`PARTS`] of a byte, when what others have, too, is put elsewhere.
    fn cost(&self, tokens: &[Token], sizes: &[u64]) -> u64 {
        let mut costs = vec![0; tokens.len() + 1];
        for at in (0..tokens.len()).rev() {
            let behind = |length: usize| costs.get(at + length).copied().unwrap_or_default();
            let mut bytes = 0;
            let mut number = 0;
            let mut least = behind(1);
            for (before, token) in tokens.iter().skip(at).map_while(|token| *token).take(LONGEST).enumerate()
            {
                bytes += sizes.get(token as usize).copied().unwrap_or_default();
                number = mixed(number, token);
                let others = self.0.get(&number).copied().unwrap_or_default();
                let whole = bytes * PARTS;
                let shared = CALL as u64 * PARTS + (bytes + 1) * PARTS / (others + 1);
                if before == 0 {
                    least = whole + behind(1);
                }
                if others == 0 {
                    break;
                }
                least = least.min(whole.min(shared) + behind(before + 1));
            }
            if let Some(cost) = costs.get_mut(at) {
                *cost = least;
            }
        }
        costs.first().copied().unwrap_or_default()
    }
}

/// The numbers of all sequences.
fn each(tokens: &[Token], mut act: impl FnMut(u64)) {
    for at in 0..tokens.len() {
        let mut number = 0;
        for token in tokens.iter().skip(at).map_while(|token| *token).take(LONGEST) {
            number = mixed(number, token);
            act(number);
        }
    }
}

fn mixed(number: u64, token: u32) -> u64 {
    (number ^ (u64::from(token) + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// For numbers that are mixed already.
#[derive(Default)]
struct Itself(u64);

impl std::hash::Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mixed(self.0, u32::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
