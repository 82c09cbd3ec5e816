//! Frames of functions: what they begin and end with.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::assembly::{
    FRAME, Function, Kind, Line, Manners, Part, Program, code, in_frame, is_local, is_movable, jumps_to,
    leads_nobody_knows_where, minds_stack,
};

/// So far below what they would be all frame pointers are: then an offset of one byte reaches 256 bytes of a frame instead of 128.
/// `src/sys/trap.rs` knows it.
pub const LOWER: i64 = 128;

/// Registers that a function must give back as they were.
pub const SAVED: [&str; 5] = ["%rbx", "%r12", "%r13", "%r14", "%r15"];

/// The bytes of a call of a piece, and of a jump to one.
pub const CALL: usize = 5;

/// What is free in a function that makes a frame.
pub struct Free {
    /// The registers that it saves, which may change places.
    pub saved: Vec<String>,
    /// So far down what lies in its frame may be moved, and the room that is needed then; first as it is.
    pub rooms: Vec<(i64, usize)>,
}

/// So far down, at most, is anything moved in a frame, and in such steps: the stack's alignment.
const DEEPEST: usize = 48;
const STEP: usize = 16;

/// A function that makes a frame, and nothing else with the stack.
struct Framed {
    saved: Vec<String>,
    /// Bytes below what is saved.
    room: usize,
    /// What is done between the frame's begin and its ends.
    body: Vec<Inner>,
}

enum Inner {
    Line(Line),
    /// The frame is taken away; then it returns, or goes on elsewhere by this instruction.
    End(String),
}

/// Gives frames a few sizes, so that many functions begin in the same words; and as they find back to what they have saved by the frame
/// pointer, they end in the same words, too. Returns what is free in them, by their place in the program.
pub fn share(program: &mut Program, kept: &dyn Fn(&str) -> bool) -> BTreeMap<usize, Free> {
    let mut found: Vec<(usize, Framed)> = Vec::new();
    for (at, part) in program.parts.iter().enumerate() {
        if let Part::Function(function) = part
            && !kept(&function.name)
            && let Some(framed) = take_apart(function)
        {
            found.push((at, framed));
        }
    }
    // Frames that save the same, by their room.
    let mut rooms: BTreeMap<Vec<String>, BTreeSet<usize>> = BTreeMap::new();
    for (_, framed) in &mut found {
        let saved = 8 * framed.saved.len();
        // Calls find the stack at a multiple of 16. Who wants no room makes none, or has pushed the right number of registers.
        if framed.room > 0 {
            framed.room = (framed.room + saved).next_multiple_of(16) - saved;
        }
        rooms.entry(framed.saved.clone()).or_default().insert(framed.room);
    }
    let rounded: BTreeMap<Vec<String>, BTreeMap<usize, usize>> =
        rooms.into_iter().map(|(saved, rooms)| (saved, round(&rooms))).collect();
    let mut free = BTreeMap::new();
    for (at, Framed { saved, room: needed, body }) in found {
        let rounded = rounded.get(&saved);
        let room = rounded.and_then(|rooms| rooms.get(&needed)).copied().unwrap_or(needed);
        // What has no place of its own in the frame has nothing to move.
        let deeper = (1..=DEEPEST / STEP).map(|step| step * STEP).filter(|_| needed > 0).filter_map(|down| {
            let enough = rounded?.values().copied().filter(|room| *room >= needed + down).min()?;
            Some((i64::try_from(down).ok()?, enough.max(room)))
        });
        let rooms = std::iter::once((0, room)).chain(deeper).collect();
        if let Some(Part::Function(function)) = program.parts.get_mut(at) {
            function.lines = whole(&saved, room, body);
        }
        free.insert(at, Free { saved, rooms });
    }
    free
}

/// Each size, and that of the few which it becomes: at most a quarter and two words more.
fn round(rooms: &BTreeSet<usize>) -> BTreeMap<usize, usize> {
    let mut rounded = BTreeMap::new();
    let mut waiting: Vec<usize> = Vec::new();
    let mut next = rooms.iter().copied().peekable();
    while let Some(room) = next.next() {
        waiting.push(room);
        // None stays none.
        let least = waiting.first().copied().unwrap_or(room);
        if room == 0 || next.peek().is_none_or(|next| *next > least + least / 4 + 16) {
            rounded.extend(waiting.drain(..).map(|smaller| (smaller, room)));
        }
    }
    rounded
}

/// `None`: it does more with the stack.
fn take_apart(function: &Function) -> Option<Framed> {
    let lines = &function.lines;
    let at = |place: usize| lines.get(place).and_then(code).unwrap_or_default();
    if at(0) != "pushq %rbp" || at(1) != FRAME {
        return None;
    }
    let pushes = lines
        .iter()
        .skip(2)
        .map_while(|line| code(line)?.strip_prefix("pushq ").filter(|what| SAVED.contains(what)));
    let saved: Vec<String> = pushes.map(str::to_owned).collect();
    let mut place = 2 + saved.len();
    let room = match at(place) {
        "pushq %rax" => Some(8),
        other => other.strip_prefix("subq $").and_then(|rest| rest.strip_suffix(", %rsp")?.parse().ok()),
    };
    place += usize::from(room.is_some());
    let room = room.unwrap_or(0);
    let end = end(&saved);
    let backs = [format!("addq ${room}, %rsp"), back(&saved)];
    let gives_back = |code: &str| backs.iter().any(|back| back == code);
    let ends_at = |place: usize| end.iter().enumerate().all(|(n, pop)| at(place + n) == pop);
    let mut body = Vec::new();
    while let Some(line) = lines.get(place) {
        let mut last = place;
        if gives_back(at(place)) {
            last += 1;
        }
        if ends_at(last) {
            last += end.len();
            let leaves = Some(at(last))
                .filter(|code| *code == "retq" || (code.starts_with("jmp") && !is_local(code)))?;
            body.push(Inner::End(leaves.to_owned()));
            place = last + 1;
            continue;
        }
        if let Some(code) = code(line)
            && (minds_stack(code) || jumps_to(code).is_some() || leads_nobody_knows_where(code))
        {
            return None;
        }
        body.push(Inner::Line(line.clone()));
        place += 1;
    }
    Some(Framed { saved, room, body })
}

/// Back to where what is saved lies, whatever the room; without anything saved the frame's begin.
fn back(saved: &[String]) -> String {
    match saved.len() {
        0 => "leaq (%rbp), %rsp".to_owned(),
        count => format!("leaq -{}(%rbp), %rsp", 8 * count),
    }
}

fn begin(saved: &[String]) -> Vec<String> {
    let mut codes = vec!["pushq %rbp".to_owned(), FRAME.to_owned()];
    codes.extend(saved.iter().map(|register| format!("pushq {register}")));
    codes
}

fn end(saved: &[String]) -> Vec<String> {
    let mut codes: Vec<String> = saved.iter().rev().map(|register| format!("popq {register}")).collect();
    codes.push("popq %rbp".to_owned());
    codes
}

/// A function with a begin and ends as many have them.
fn whole(saved: &[String], room: usize, body: Vec<Inner>) -> Vec<Line> {
    let mut codes = begin(saved);
    if room > 0 {
        codes.push(format!("subq ${room}, %rsp"));
    }
    let mut lines: Vec<Line> = codes.into_iter().map(Line::Code).collect();
    for inner in body {
        match inner {
            Inner::Line(line) => lines.push(line),
            Inner::End(leaves) => {
                let mut codes = Vec::new();
                if room > 0 && saved.is_empty() {
                    codes.push(format!("addq ${room}, %rsp"));
                } else if room > 0 {
                    codes.push(back(saved));
                }
                codes.extend(end(saved));
                codes.push(leaves);
                lines.extend(codes.into_iter().map(Line::Code));
            }
        }
    }
    lines
}

/// Puts all frame pointers so much lower.
///
/// # Errors
/// When an instruction uses one in a way that is not known, or a function has something else in the register.
pub fn lower(program: &mut Program) -> Result<(), String> {
    for function in program.functions_mut() {
        let mut uses = function
            .lines
            .iter()
            .filter_map(code)
            .filter(|code| ["%rbp", "%ebp", "%bp"].iter().any(|name| code.contains(name)));
        if !matches!((uses.next(), uses.next()), (None, _) | (Some("pushq %rbp"), Some(FRAME))) {
            return Err(format!("{} uses the frame pointer's register for something else", function.name));
        }
        for at in 0..function.lines.len() {
            let Some(old) = function.lines.get(at).and_then(code) else { continue };
            let behind = || function.lines.iter().skip(at + 1).filter_map(code);
            let Some(new) = lowered(old, &behind).map_err(|error| format!("{}: {error}", function.name))?
            else {
                continue;
            };
            if let Some(line) = function.lines.get_mut(at) {
                *line = Line::Code(new);
            }
        }
    }
    Ok(())
}

/// An instruction for a lower frame pointer; `None`: it is the same. `behind` are those that follow.
fn lowered<'a, Behind: Iterator<Item = &'a str>>(
    code: &str,
    behind: &dyn Fn() -> Behind,
) -> Result<Option<String>, String> {
    let unknown = || format!("the frame pointer is used in a way that is not known: \"{code}\"");
    if code == "leave" || code.starts_with("enter ") || ["%ebp", "%bp"].iter().any(|word| code.contains(word))
    {
        return Err(unknown());
    }
    if !code.contains("%rbp") || code == "popq %rbp" {
        return Ok(None);
    }
    if code == "pushq %rbp" && behind().next() == Some(FRAME) {
        return Ok(None);
    }
    if code == FRAME {
        return Ok(Some(format!("leaq -{LOWER}(%rsp), %rbp")));
    }
    // An address is made without touching what a condition goes by; nobody must go by this sum.
    if let Some(register) = code.strip_prefix("addq %rbp, ") {
        let minds = |code: &&str| {
            ["j", "set", "cmov", "adc", "sbb", "rc"].iter().any(|word| code.starts_with(word))
                && !code.starts_with("jmp")
        };
        let mut next =
            behind().skip_while(|code| ["mov", "lea", "push"].iter().any(|word| code.starts_with(word)));
        if next.next().as_ref().is_some_and(minds) {
            return Err(unknown());
        }
        return Ok(Some(format!("leaq {LOWER}({register},%rbp), {register}")));
    }
    let (begin, number, bracket) = in_frame(code).ok_or_else(unknown)?;
    if code.matches("%rbp").count() != 1 {
        return Err(unknown());
    }
    let number = match number + LOWER {
        0 => String::new(),
        other => other.to_string(),
    };
    let (before, behind) = (code.get(..begin).unwrap_or_default(), code.get(bracket..).unwrap_or_default());
    Ok(Some([before, &number, behind].concat()))
}

/// What functions begin with.
struct Begin {
    codes: Vec<String>,
    bytes: usize,
    /// Functions that begin so, by their place in a list.
    users: Vec<usize>,
}

/// The begins that many functions share become pieces. Such a piece takes along where it returns to, in a register that is nobody's there,
/// and returns. A function has the longest of those that there are.
pub fn begins(program: &mut Program, kept: &dyn Fn(&str) -> bool) {
    let (begins, functions) = all_begins(program, kept);
    // What a function is spared by each: the begin, but for a call.
    let spared = |id: &usize| begins.get(*id).map_or(0, |begin| begin.bytes.saturating_sub(CALL));
    let mut best: Vec<Option<usize>> = vec![None; functions.len()];
    loop {
        let gain = |(id, begin): (usize, &Begin)| {
            let has = |user: &usize| best.get(*user).copied().flatten().as_ref().map_or(0, spared);
            let more: usize = begin.users.iter().map(|user| spared(&id).saturating_sub(has(user))).sum();
            (more.saturating_sub(begin.bytes + AROUND_BEGIN), Reverse(id))
        };
        let Some((1.., Reverse(id))) = begins.iter().enumerate().map(gain).max() else { break };
        for user in begins.get(id).map(|begin| begin.users.as_slice()).unwrap_or_default() {
            if let Some(best) = best.get_mut(*user)
                && best.as_ref().is_none_or(|has| spared(has) < spared(&id))
            {
                *best = Some(id);
            }
        }
    }
    let mut names: BTreeMap<usize, (String, usize)> = BTreeMap::new();
    for (function, id) in functions.into_iter().zip(best) {
        let Some((id, begin)) = id.and_then(|id| Some((id, begins.get(id)?))) else { continue };
        let (name, count) = names.entry(id).or_insert_with(|| {
            let name = program.new_name('B');
            let mut codes = vec!["popq %r11".to_owned()];
            codes.extend(begin.codes.iter().cloned());
            codes.extend(["pushq %r11".to_owned(), "retq".to_owned()]);
            program.add(&name, codes, Manners { kind: Kind::Begin, stack: true });
            (name, begin.codes.len())
        });
        if let Some(Part::Function(function)) = program.parts.get_mut(function) {
            function.lines.splice(..*count, [Line::Code(format!("callq {name}"))]);
        }
    }
}

/// What the piece of a begin has besides it.
const AROUND_BEGIN: usize = 5;

/// All that functions begin with, and where these functions are.
fn all_begins(program: &Program, kept: &dyn Fn(&str) -> bool) -> (Vec<Begin>, Vec<usize>) {
    let mut begins: Vec<Begin> = Vec::new();
    let mut known: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
    let mut functions = Vec::new();
    for (place, part) in program.parts.iter().enumerate() {
        let Part::Function(function) = part else { continue };
        if kept(&function.name) {
            continue;
        }
        let (mut codes, mut bytes) = (Vec::new(), 0);
        let movable = function
            .lines
            .iter()
            .map_while(code)
            .take_while(|code| is_movable(code) && !code.contains("%r11"));
        for code in movable.take(LONGEST) {
            codes.push(code);
            bytes += program.size(code);
            let id = *known.entry(codes.clone()).or_insert_with(|| {
                let codes = codes.iter().map(|code| (*code).to_owned()).collect();
                begins.push(Begin { codes, bytes, users: Vec::new() });
                begins.len() - 1
            });
            if let Some(begin) = begins.get_mut(id) {
                begin.users.push(functions.len());
            }
        }
        functions.push(place);
    }
    drop(known);
    begins.retain(|begin| begin.users.len() > 1);
    (begins, functions)
}

/// Longer ones are not looked at.
const LONGEST: usize = 40;
