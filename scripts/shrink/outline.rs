//! What functions have in common becomes a function of its own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::assembly::{Kind, Line, Manners, Part, Program, calls, is_movable, jumps_to, minds_stack};
use super::frames::CALL;

/// Longer ones are not looked for; there are next to none.
const LONGEST: usize = 64;

/// What an instruction is to a sequence that is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Plain,
    /// Calls a piece that calls nobody.
    Piece,
    Call {
        /// Who is called may find arguments on the stack.
        stack: bool,
    },
    /// Returns, or goes on in another function.
    End,
}

#[derive(Clone, Debug)]
struct Instruction {
    code: String,
    bytes: usize,
    role: Role,
    minds_stack: bool,
    r11: bool,
}

/// How a sequence is put elsewhere, and how it is reached there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// It ends a function: by a jump.
    End,
    /// It calls nobody: by a call.
    Piece,
    /// Its last call becomes a jump, so who is called finds the stack as before.
    Thunk,
    /// It calls others in between, for whom it moves the stack on to a multiple of 16.
    Frame,
}

/// A sequence that is there several times. What saves most is the greatest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Bytes that are saved, as far as is known.
    saved: usize,
    length: usize,
    /// The places of it, as a range of the sorted suffixes.
    from: Reverse<usize>,
    to: usize,
}

/// A place of the program: a number for each instruction, the same for the same; what nothing is moved across has one of its own.
type Token = u32;

/// Instructions have the numbers below.
const FENCES: Token = Token::MAX / 2;

/// Goes through the program once. Whether that saved anything.
pub fn round(program: &mut Program, kept: &dyn Fn(&str) -> bool) -> bool {
    let (instructions, tokens, places) = tokens(program, kept);
    let first = |at: usize, length: usize| tokens.get(at..tokens.len().min(at + length)).unwrap_or_default();
    let suffix = |at: usize| first(at, LONGEST);
    let mut order: Vec<usize> =
        (0..tokens.len()).filter(|at| tokens.get(*at).is_some_and(|token| *token < FENCES)).collect();
    order.sort_unstable_by(|a, b| suffix(*a).cmp(suffix(*b)).then(a.cmp(b)));
    let mut heap = candidates(&instructions, &order, &first);
    let mut taken = vec![false; tokens.len()];
    let mut replaced: BTreeMap<usize, (usize, String)> = BTreeMap::new();
    while let Some(candidate) = heap.pop() {
        let Candidate { saved: expected, length, from: Reverse(from), to } = candidate;
        let free = |at: &usize| taken.get(*at..at + length).is_some_and(|taken| !taken.contains(&true));
        let mut starts: Vec<usize> =
            order.get(from..to).unwrap_or_default().iter().copied().filter(free).collect();
        starts.sort_unstable();
        let mut end = 0;
        starts.retain(|start| {
            let apart = *start >= end;
            end = if apart { start + length } else { end };
            apart
        });
        let Some(sequence) = starts.first().map(|start| resolve(&instructions, first(*start, length))) else {
            continue;
        };
        let Some((way, saved)) = worth(&sequence, starts.len()) else { continue };
        if saved < expected {
            heap.push(Candidate { saved, ..candidate });
            continue;
        }
        let name = put_elsewhere(program, way, &sequence);
        for start in starts {
            taken.iter_mut().skip(start).take(length).for_each(|taken| *taken = true);
            let word = if way == Way::End { "jmp" } else { "callq" };
            replaced.insert(start, (length, format!("{word} {name}")));
        }
    }
    replace(program, &places, &replaced);
    !replaced.is_empty()
}

/// The instructions that there are, all places of the program by their number, and where in the program they are: part and line.
fn tokens(
    program: &Program,
    kept: &dyn Fn(&str) -> bool,
) -> (Vec<Instruction>, Vec<Token>, Vec<(usize, usize)>) {
    let mut instructions: Vec<Instruction> = Vec::new();
    let mut numbers: BTreeMap<&str, Option<Token>> = BTreeMap::new();
    let (mut tokens, mut places) = (Vec::new(), Vec::new());
    let mut fence = Token::MAX;
    for (at, part) in program.parts.iter().enumerate() {
        let Part::Function(function) = part else { continue };
        let kept = kept(&function.name);
        for (line_at, line) in function.lines.iter().enumerate() {
            let known = match line {
                Line::Code(code) if !kept => *numbers.entry(code).or_insert_with(|| {
                    let number = Token::try_from(instructions.len()).ok()?;
                    instructions.push(instruction(program, code)?);
                    Some(number)
                }),
                Line::Code(_) | Line::Fence(_) => None,
            };
            fence -= u32::from(known.is_none());
            tokens.push(known.unwrap_or(fence));
            places.push((at, line_at));
        }
        fence -= 1;
        tokens.push(fence);
        places.push((at, function.lines.len()));
    }
    (instructions, tokens, places)
}

/// `None`: it stays where it is.
fn instruction(program: &Program, code: &str) -> Option<Instruction> {
    let mut r11 = code.contains("%r11");
    let role = if code == "retq" || jumps_to(code).is_some() {
        Role::End
    } else if let Some(name) = calls(code) {
        let Manners { kind, stack } = program.manners_of(name);
        match kind {
            Kind::Begin => return None,
            Kind::Piece { r11: uses } => {
                r11 |= uses;
                Role::Piece
            }
            Kind::Function => Role::Call { stack },
        }
    } else if code.starts_with("callq *") && !r11 {
        Role::Call { stack: true }
    } else if is_movable(code) {
        Role::Plain
    } else {
        return None;
    };
    let bytes = program.size(code);
    (bytes > 0).then(|| Instruction {
        code: code.to_owned(),
        bytes,
        role,
        minds_stack: minds_stack(code),
        r11,
    })
}

/// All sequences that there are several times, with what they would save.
fn candidates<'a>(
    instructions: &[Instruction],
    order: &[usize],
    first: &dyn Fn(usize, usize) -> &'a [Token],
) -> BinaryHeap<Candidate> {
    let alike = |a: usize, b: usize| {
        first(a, LONGEST).iter().zip(first(b, LONGEST)).take_while(|(a, b)| a == b && **a < FENCES).count()
    };
    let mut found = BinaryHeap::new();
    // Ranges of suffixes that begin alike, within each other: how far they are, and where the range begins.
    let mut open: Vec<(usize, usize)> = Vec::new();
    for at in 1..=order.len() {
        let common = match (order.get(at - 1), order.get(at)) {
            (Some(before), Some(this)) => alike(*before, *this),
            _ => 0,
        };
        let mut begin = at - 1;
        while let Some((length, from)) = open.pop_if(|(length, _)| *length > common) {
            begin = from;
            let outer = open.last().map_or(common, |(length, _)| common.max(*length));
            let Some(start) = order.get(from) else { continue };
            for length in outer + 1..=length {
                let sequence = resolve(instructions, first(*start, length));
                if let Some((_, saved)) = worth(&sequence, at - from) {
                    found.push(Candidate { saved, length, from: Reverse(from), to: at });
                }
            }
        }
        if open.last().is_none_or(|(length, _)| *length < common) && common > 0 {
            open.push((common, begin));
        }
    }
    found
}

fn resolve<'a>(instructions: &'a [Instruction], tokens: &[Token]) -> Vec<&'a Instruction> {
    tokens.iter().filter_map(|token| instructions.get(*token as usize)).collect()
}

/// How a sequence can be put elsewhere, and how many bytes that saves when it is there so many times; `None`: not at all.
fn worth(sequence: &[&Instruction], times: usize) -> Option<(Way, usize)> {
    let bytes: usize = sequence.iter().map(|instruction| instruction.bytes).sum();
    let (way, more) = way(sequence)?;
    let saved = (bytes * times).checked_sub(CALL * times + bytes + more)?;
    (saved > 0).then_some((way, saved))
}

/// How a sequence can be put elsewhere, and how many bytes it then has more.
fn way(sequence: &[&Instruction]) -> Option<(Way, usize)> {
    let (last, before) = sequence.split_last()?;
    if before.iter().any(|instruction| instruction.role == Role::End) {
        return None;
    }
    if last.role == Role::End {
        return Some((Way::End, 0));
    }
    // Where it is called the stack ends a word further.
    if sequence.iter().any(|instruction| instruction.minds_stack) {
        return None;
    }
    let called = before.iter().rposition(|instruction| matches!(instruction.role, Role::Call { .. }));
    let Some(called) = called else {
        return Some(match last.role {
            Role::Call { .. } => (Way::Thunk, 0),
            Role::Piece => (Way::Piece, 0),
            Role::Plain | Role::End => (Way::Piece, 1),
        });
    };
    if before.iter().any(|instruction| instruction.role == Role::Call { stack: true }) {
        return None;
    }
    match last.role {
        Role::Call { .. } => Some((Way::Frame, 3)),
        // What was in r11 is lost with a call; what is put there behind it is not to be.
        _ if sequence.iter().skip(called).any(|instruction| instruction.r11) => None,
        Role::Piece => Some((Way::Frame, 3)),
        Role::Plain | Role::End => Some((Way::Frame, 4)),
    }
}

/// Adds the piece and returns its name.
fn put_elsewhere(program: &mut Program, way: Way, sequence: &[&Instruction]) -> String {
    let mut codes: Vec<String> = sequence.iter().map(|instruction| instruction.code.clone()).collect();
    let last = sequence.last().map_or(Role::Plain, |instruction| instruction.role);
    let ending = match (way, last) {
        (Way::End, _) => None,
        (_, Role::Call { .. } | Role::Piece) => codes.pop().map(|code| match code.strip_prefix("callq *") {
            Some(place) => format!("jmpq *{place}"),
            None => code.replacen("callq", "jmp", 1),
        }),
        (_, Role::Plain | Role::End) => Some("retq".to_owned()),
    };
    if way == Way::Frame {
        // Any register would do to move the stack on; r11 is free where a function ends or calls another.
        codes.insert(0, "pushq %rax".to_owned());
        codes.push("popq %r11".to_owned());
    }
    codes.extend(ending);
    let letter = match way {
        Way::End => 'E',
        Way::Piece => 'P',
        Way::Thunk => 'T',
        Way::Frame => 'F',
    };
    let name = program.new_name(letter);
    let stack = matches!(last, Role::Call { stack: true });
    let r11 = sequence.iter().any(|instruction| instruction.r11);
    for (code, bytes) in [("pushq %rax", 1), ("popq %r11", 2), ("retq", 1)] {
        program.sizes.insert(code.to_owned(), bytes);
    }
    for word in ["callq", "jmp"] {
        program.sizes.insert(format!("{word} {name}"), CALL);
    }
    let kind = if way == Way::Piece { Kind::Piece { r11 } } else { Kind::Function };
    program.add(&name, codes, Manners { kind, stack });
    name
}

/// Puts the calls and jumps there where the sequences were.
fn replace(program: &mut Program, places: &[(usize, usize)], replaced: &BTreeMap<usize, (usize, String)>) {
    // From behind, so that what is before keeps its place.
    for (start, (length, code)) in replaced.iter().rev() {
        if let Some((part, line)) = places.get(*start)
            && let Some(Part::Function(function)) = program.parts.get_mut(*part)
        {
            function.lines.splice(*line..line + length, [Line::Code(code.clone())]);
        }
    }
}
