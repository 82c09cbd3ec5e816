//! A file of assembly as rustc writes it for x86-64, in pieces that can be moved.

use std::collections::BTreeMap;
use std::ops::Range;

/// A line within a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// An instruction. A constant that is pushed and popped again, the shortest way to get one into a register, counts as one.
    Code(String),
    /// A label, or whatever else nothing is moved across.
    Fence(String),
}

/// A function, from behind its label on.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: String,
    pub lines: Vec<Line>,
}

/// A part of the file.
#[derive(Clone, Debug)]
pub enum Part {
    Text(String),
    Function(Function),
}

/// What a caller has to know of a function.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    pub kind: Kind,
    /// It finds arguments on the stack, so nothing may be between it and its caller.
    pub stack: bool,
}

/// What a function is to those that call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Function,
    /// It calls nobody and may be called in the middle of anything: a piece of functions.
    Piece {
        /// It reads or writes r11, which is nobody's where functions begin.
        r11: bool,
    },
    /// A begin of functions, called there and nowhere else.
    Begin,
}

/// Functions of the C library that find no arguments on the stack.
const WITHOUT_STACK: [&str; 6] = ["memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen"];

fn is_without_stack(name: &str) -> bool {
    WITHOUT_STACK.contains(&name)
}

/// What pieces are called, as LLVM calls its own; scripts/order goes by it.
pub const PIECE: &str = "OUTLINED_FUNCTION_";

/// A whole program.
#[derive(Debug, Default)]
pub struct Program {
    pub parts: Vec<Part>,
    pub manners: BTreeMap<String, Manners>,
    pub sizes: BTreeMap<String, usize>,
    made: usize,
}

impl Program {
    /// Reads a file. Nothing in it is lost but empty lines and comments.
    ///
    /// # Errors
    /// When it has what would not be moved along, such as tables for unwinding or for a debugger, or is not known to be part of a function.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut program = Self::default();
        let mut lines = text.lines().peekable();
        let mut section = false;
        let mut function: Option<Function> = None;
        while let Some(line) = lines.next() {
            let word = line.trim();
            if word.is_empty() || word.starts_with('#') {
                continue;
            }
            if [".cfi_", ".loc\t", ".loc ", ".intel_syntax"].iter().any(|what| word.starts_with(what)) {
                return Err(format!("cannot move what belongs to \"{word}\""));
            }
            let label = word.ends_with(':') && !line.starts_with(char::is_whitespace);
            let code = !label && !word.starts_with('.');
            if code && (function.is_none() || !line.starts_with('\t')) {
                return Err(format!("\"{word}\" stands in no function"));
            }
            if code && leads_to_a_number(word) {
                return Err(format!(
                    "\"{word}\" means the nearest of its name, which may be another one then"
                ));
            }
            if let Some(open) = function.as_mut() {
                if code {
                    let mut code = word.replace("\t\t", " ").replace('\t', " ");
                    let pushed = code.starts_with("pushq $");
                    if pushed && let Some(next) = lines.next_if(|next| next.trim().starts_with("popq\t")) {
                        code = [&code, "; ", &next.trim().replace('\t', " ")].concat();
                    }
                    open.lines.push(Line::Code(code));
                    continue;
                }
                if !word.starts_with(".Lfunc_end")
                    && !word.starts_with(".size")
                    && !word.starts_with(".section")
                {
                    open.lines.push(Line::Fence(line.to_owned()));
                    continue;
                }
                program.parts.extend(function.take().map(Part::Function));
            }
            if word.starts_with(".section") || word == ".text" {
                section = word.starts_with(".section\t.text.") || word.starts_with(".section\t\".text.");
            }
            program.parts.push(Part::Text(line.to_owned()));
            if section
                && let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(['.', '\t']))
            {
                if name.starts_with(PIECE) {
                    return Err(format!("{name}: pieces are made here, and LLVM's outliner is to be off"));
                }
                function = Some(Function { name: name.to_owned(), lines: Vec::new() });
            }
        }
        program.parts.extend(function.map(Part::Function));
        Ok(program)
    }

    /// The file again.
    pub fn write(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(line) if line.is_empty() => {}
                Part::Text(line) => text += &[line, "\n"].concat(),
                Part::Function(function) => {
                    for line in &function.lines {
                        match line {
                            Line::Code(code) => text += &["\t", code, "\n"].concat(),
                            Line::Fence(line) => text += &[line, "\n"].concat(),
                        }
                    }
                }
            }
        }
        text
    }

    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.parts
            .iter()
            .filter_map(|part| if let Part::Function(function) = part { Some(function) } else { None })
    }

    pub fn functions_mut(&mut self) -> impl Iterator<Item = &mut Function> {
        self.parts
            .iter_mut()
            .filter_map(|part| if let Part::Function(function) = part { Some(function) } else { None })
    }

    /// A name that no piece has.
    pub fn new_name(&mut self, kind: char) -> String {
        self.made += 1;
        format!("{PIECE}{kind}{}", self.made)
    }

    /// Adds a piece, in a section of its own.
    pub fn add(&mut self, name: &str, code: Vec<String>, manners: Manners) {
        self.manners.insert(name.to_owned(), manners);
        let begin = format!("\t.section\t.text.{name},\"ax\",@progbits\n\t.type\t{name},@function\n{name}:");
        self.parts.push(Part::Text(begin));
        let lines = code.into_iter().map(Line::Code).collect();
        self.parts.push(Part::Function(Function { name: name.to_owned(), lines }));
        self.parts.push(Part::Text(format!("\t.size\t{name}, .-{name}")));
    }

    /// Finds out what a caller of each function has to know. What has arguments on the stack finds them above its frame.
    pub fn learn(&mut self) {
        let mut manners = BTreeMap::new();
        let mut leads_to: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for Function { name, lines } in self.functions() {
            let codes = || lines.iter().filter_map(code);
            // Above its frame, or before it has one; or nobody knows who goes on with what it found.
            let before_frame = codes().take_while(|code| *code != FRAME).any(|code| code.contains("(%rsp"));
            let stack =
                before_frame || codes().any(|code| above_frame(code) || leads_nobody_knows_where(code));
            manners.insert(name.clone(), Manners { kind: Kind::Function, stack });
            leads_to.insert(name, codes().filter_map(goes_on_in).collect());
        }
        // Until nothing changes any more.
        while {
            let mut changed = false;
            for (name, others) in &leads_to {
                let finds =
                    |other: &&str| manners.get(*other).map_or(!is_without_stack(other), |other| other.stack);
                let stack = others.iter().any(finds);
                if let Some(own) = manners.get_mut(*name) {
                    changed |= stack && !own.stack;
                    own.stack |= stack;
                }
            }
            changed
        } {}
        self.manners = manners;
    }

    /// What a caller has to know of it; of those that are not in the file, the worst.
    pub fn manners_of(&self, name: &str) -> Manners {
        let unknown = Manners { kind: Kind::Function, stack: !is_without_stack(name) };
        self.manners.get(name).copied().unwrap_or(unknown)
    }

    /// How many bytes an instruction has, or two that count as one.
    pub fn size(&self, code: &str) -> usize {
        self.sizes.get(code).copied().unwrap_or_default()
    }

    /// A file for an assembler whose section `.sizes` has how many bytes each of these instructions has, a byte each.
    pub fn to_measure(codes: &[&str]) -> String {
        let mut text = String::new();
        for code in codes {
            text += &["1:\t", code, "\n2:\t.section .sizes\n\t.byte 2b-1b\n\t.text\n"].concat();
        }
        text
    }
}

/// How a function makes its frame.
pub const FRAME: &str = "movq %rsp, %rbp";

/// The instruction of a line.
pub fn code(line: &Line) -> Option<&str> {
    if let Line::Code(code) = line { Some(code) } else { None }
}

/// The function that is called by its name.
pub fn calls(code: &str) -> Option<&str> {
    code.strip_prefix("callq ").filter(|name| !name.starts_with('*'))
}

/// The function that is jumped to for good.
pub fn jumps_to(code: &str) -> Option<&str> {
    code.strip_prefix("jmp ").filter(|name| !name.starts_with(['*', '.']))
}

/// Whether it jumps to the nearest label of a number, or so many bytes on.
fn leads_to_a_number(code: &str) -> bool {
    let place = code.split_once(char::is_whitespace).map_or("", |(_, place)| place.trim_start());
    code.starts_with('j')
        && (place.starts_with(|character: char| character.is_ascii_digit())
            || (place.starts_with('.') && !place.starts_with(".L")))
}

/// The function that a jump leads to, also if there is a condition.
fn goes_on_in(code: &str) -> Option<&str> {
    let (mnemonic, place) = code.split_once(' ')?;
    Some(place).filter(|place| mnemonic.starts_with('j') && !place.starts_with(['*', '.']))
}

/// A jump by a register or by memory that is no table of this function's.
pub fn leads_nobody_knows_where(code: &str) -> bool {
    (code.starts_with("jmpq") || code.starts_with("jmp *")) && !code.contains(".LJTI")
}

/// Whether it is a value's way through the stack.
pub fn is_pair(code: &str) -> bool {
    let mut parts = code.split("; ");
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    first.starts_with("pushq ") && second.starts_with("popq ") && parts.next().is_none()
}

/// Whether it matters where the stack ends. Calls do not count.
pub fn minds_stack(code: &str) -> bool {
    let mnemonic = code.split(' ').next().unwrap_or_default();
    !is_pair(code)
        && (code.contains("%rsp")
            || code.contains("%esp")
            || code.contains("%spl")
            || ["push", "pop", "ret", "leave", "enter"].iter().any(|what| mnemonic.starts_with(what)))
}

/// Whether it speaks of a place within a function: it stays where it is.
pub fn is_local(code: &str) -> bool {
    [".LBB", ".LJTI", ".Ltmp", ".Lfunc"].iter().any(|label| code.contains(label))
}

/// Instructions that may be moved, by how they begin. They do what their operands say and nothing to the stack.
const PLAIN: [&str; 56] = [
    "adc", "add", "and", "bs", "bt", "cltq", "cmov", "cmp", "cqto", "cvt", "dec", "div", "idiv", "imul",
    "inc", "lea", "max", "min", "mov", "mul", "neg", "not", "or", "pand", "pause", "pcmp", "pmov", "popcnt",
    "por", "pshuf", "punpck", "pxor", "rep;", "rol", "ror", "sar", "sbb", "set", "shl", "shr", "sub", "test",
    "ucomi", "unpck", "xadd", "xchg", "xor", "cltd", "cwtl", "padd", "psub", "sqrt", "psll", "psrl", "round",
    "comi",
];

/// Whether it may be moved: what nobody knows stays.
pub fn is_plain(code: &str) -> bool {
    is_pair(code)
        || (code != "leave"
            && PLAIN.iter().any(|begin| code.starts_with(begin))
            && !is_local(code)
            && !code.contains("%fs:"))
}

/// Whether it may be moved to where the stack ends at the same place.
pub fn is_movable(code: &str) -> bool {
    is_plain(code) || ["pushq ", "popq "].iter().any(|begin| code.starts_with(begin))
}

/// The operand that is a place in the frame: where the number before the bracket begins, the number, and the bracket. `None`: the register
/// is something else there, or multiplied.
pub fn in_frame(code: &str) -> Option<(usize, i64, usize)> {
    let register = code.find("%rbp")?;
    let bracket = code.get(..register)?.rfind('(')?;
    let inside = code.get(bracket + 1..)?.split(')').next()?;
    let known = matches!(
        inside.split(',').collect::<Vec<_>>()[..],
        ["%rbp"] | ["%rbp", _] | ["%rbp", _, _] | [_, "%rbp"]
    );
    let before = code.get(..bracket)?;
    let begin = before.rfind([' ', '*', ',']).map_or(0, |at| at + 1);
    let number = before.get(begin..)?;
    let number = if number.is_empty() { 0 } else { number.parse().ok()? };
    known.then_some((begin, number, bracket))
}

fn above_frame(code: &str) -> bool {
    in_frame(code).is_some_and(|(_, number, _)| number > 8)
}

/// The parts of a function that has a section of its own, with nothing else in it, and ends where it returns, goes on elsewhere or never comes
/// back; the function's instructions are at this part.
pub fn alone(parts: &[Part], at: usize) -> Option<Range<usize>> {
    let Some(Part::Function(Function { name, lines })) = parts.get(at) else { return None };
    let text =
        |at: usize| if let Some(Part::Text(text)) = parts.get(at) { Some(text.as_str()) } else { None };
    let sections = ["", "\""].map(|quote| format!("\t.section\t{quote}.text.{name}{quote},\"ax\",@progbits"));
    let label = format!("{name}:");
    // Those that are made here have all of it in one part.
    let mut before = Vec::new();
    let mut from = at;
    while !before.first().is_some_and(|line| sections.iter().any(|section| section == line)) {
        from = from.checked_sub(1)?;
        let more = text(from)?.lines().filter(|line| !line.is_empty());
        before.splice(0..0, more);
        if before.len() > ALONE_LINES {
            return None;
        }
    }
    let known = |line: &&str| {
        [".type\t", ".globl\t", ".hidden\t"].iter().any(|word| line.trim_start().starts_with(word))
    };
    let (last, rest) = before.split_last()?;
    let mut to = at + 1;
    while text(to)?.starts_with(".Lfunc_end") {
        to += 1;
    }
    let next = (to + 1..).map_while(text).find(|line| !line.is_empty());
    let apart = next.is_none_or(|line| line.starts_with("\t.section") || line == "\t.text");
    let mut codes = lines.iter().rev();
    let ends = codes.next().and_then(code).is_some_and(ends_a_function);
    // A prefix would belong to what comes next.
    let whole = codes
        .next()
        .is_none_or(|line| code(line).is_some() || matches!(line, Line::Fence(line) if line.ends_with(':')));
    (*last == label
        && rest.iter().skip(1).all(known)
        && text(to)?.starts_with("\t.size\t")
        && apart
        && ends
        && whole)
        .then_some(from..to + 1)
}

/// A function has fewer lines before its instructions.
const ALONE_LINES: usize = 8;

/// Whether nothing comes behind it. A call that is the last one does not come back.
fn ends_a_function(code: &str) -> bool {
    ["retq", "ud2"].contains(&code) || code.starts_with("jmp") || code.starts_with("callq ")
}
