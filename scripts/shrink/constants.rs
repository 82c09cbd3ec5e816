//! Constants that are a part of others, and tables that are the same, are there once. A linker puts together at most texts that are the same.

use std::collections::BTreeMap;

use super::assembly::{Part, Program};

/// A constant without a place of its own: nobody compares where it is, and it may lie anywhere.
struct Constant {
    /// Its lines, from that of its section on.
    from: usize,
    to: usize,
    label: String,
    bytes: Vec<u8>,
    /// The linker may put its section together with others, so nothing else is to lie in it.
    merged: bool,
}

/// Puts them there, and their names to places within the others.
pub fn share(program: &mut Program) {
    share_texts(program);
    share_tables(program);
}

/// Tables with addresses in them, which may begin where a word does.
fn share_tables(program: &mut Program) {
    let mut known: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for from in 0..program.parts.len() {
        let Some((label, lines, to)) = table(&program.parts, from) else { continue };
        let Some(first) = known.get(&lines) else {
            known.insert(lines, label);
            continue;
        };
        let alias = format!("\t.set\t{label}, {first}");
        put_in_place_of(program, from, to, alias);
    }
}

/// Writes a line in the place of a constant. The line of its section stays, as others may follow that have none of their own.
fn put_in_place_of(program: &mut Program, from: usize, to: usize, line: String) {
    let mut lines = std::iter::once(line);
    for part in program.parts.get_mut(from + 1..to).unwrap_or_default() {
        *part = Part::Text(lines.next().unwrap_or_default());
    }
}

/// The label of the constant whose section begins at this line, all that it consists of, and where it ends.
fn table(parts: &[Part], from: usize) -> Option<(String, Vec<String>, usize)> {
    let line = |at: usize| if let Some(Part::Text(line)) = parts.get(at) { Some(line.trim()) } else { None };
    line(from)?.strip_prefix(".section\t.rodata")?;
    let mut lines = Vec::new();
    let mut to = from + 1;
    if let Some(align) = line(to).filter(|line| line.starts_with(".p2align")) {
        lines.push(align.to_owned());
        to += 1;
    }
    let label =
        line(to)?.strip_suffix(':').filter(|label| NAMELESS.iter().any(|begin| label.starts_with(begin)))?;
    to += 1;
    while let Some(line) = line(to).filter(|line| !line.starts_with(".size")) {
        if !line.starts_with(['.']) || line.ends_with(':') || line.starts_with(".section") {
            return None;
        }
        lines.push(line.to_owned());
        to += 1;
    }
    line(to)?; // its size
    Some((label.to_owned(), lines, to + 1))
}

/// What labels of constants begin with that have no name in the sources: nobody compares where they are.
const NAMELESS: [&str; 2] = [".Lanon.", ".Lswitch.table."];

fn share_texts(program: &mut Program) {
    let mut constants: Vec<Constant> =
        (0..program.parts.len()).filter_map(|at| constant(&program.parts, at)).collect();
    // The longest first; it has no other to be a part of.
    constants.sort_by(|a, b| b.bytes.len().cmp(&a.bytes.len()).then(a.from.cmp(&b.from)));
    // Those that stay, in a row, and where each begins there.
    let mut all: Vec<u8> = Vec::new();
    let mut begins: BTreeMap<usize, usize> = BTreeMap::new();
    for (number, constant) in constants.iter().enumerate() {
        let found =
            all.windows(constant.bytes.len()).position(|bytes| bytes == constant.bytes).and_then(|at| {
                let (begin, holder) = begins.range(..=at).next_back()?;
                let holder = constants.get(*holder)?;
                // Not half in one and half in the next.
                (at + constant.bytes.len() <= begin + holder.bytes.len())
                    .then(|| (holder.label.as_str(), at - begin))
            });
        if let Some((holder, offset)) = found {
            let alias = format!("\t.set\t{}, {holder}+{offset}", constant.label);
            put_in_place_of(program, constant.from, constant.to, alias);
        } else if !constant.merged {
            begins.insert(all.len(), number);
            all.extend(&constant.bytes);
        }
    }
}

/// The constant whose section begins at this line, if it is one that may lie anywhere: of text alone, without an alignment and addresses.
fn constant(parts: &[Part], from: usize) -> Option<Constant> {
    let (label, lines, to) = table(parts, from).filter(|(label, ..)| label.starts_with(".Lanon."))?;
    let mut bytes = Vec::new();
    for line in &lines {
        let (text, end) = line
            .strip_prefix(".ascii\t")
            .map(|text| (text, None))
            .or(line.strip_prefix(".asciz\t").map(|text| (text, Some(0))))?;
        bytes.extend(unescaped(text)?);
        bytes.extend(end);
    }
    let Some(Part::Text(section)) = parts.get(from) else { return None };
    let merged = !section.ends_with(",\"a\",@progbits");
    (!bytes.is_empty()).then_some(Constant { from, to, label, bytes, merged })
}

/// What stands for these bytes between quotes.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.strip_prefix('"')?.strip_suffix('"')?.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            same @ (b'"' | b'\\') => same,
            first @ b'0'..=b'7' => {
                let mut number = u32::from(first - b'0');
                for _ in 0..2 {
                    if let Some(digit) = rest.next_if(|digit| (b'0'..=b'7').contains(digit)) {
                        number = number * 8 + u32::from(digit - b'0');
                    }
                }
                u8::try_from(number).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}
