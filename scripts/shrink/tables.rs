//! Tables of jumps: all addresses are below 4 GiB, so four bytes are enough for each.

use std::collections::BTreeMap;

use super::assembly::{Line, Part, Program, code};

/// Halves the tables. The address goes through a register that the function has no other use for; one that has another keeps its table.
pub fn halve(program: &mut Program, kept: &dyn Fn(&str) -> bool) {
    // How often each table is spoken of.
    let mut spoken: BTreeMap<String, usize> = BTreeMap::new();
    for line in program.functions().flat_map(|function| &function.lines).filter_map(code) {
        if let Some((_, rest)) = line.split_once(".LJTI") {
            let number: String =
                rest.chars().take_while(|sign| sign.is_ascii_digit() || *sign == '_').collect();
            *spoken.entry(format!(".LJTI{number}")).or_default() += 1;
        }
    }
    let mut halved: Vec<String> = Vec::new();
    for function in program.functions_mut() {
        if kept(&function.name) || function.lines.iter().filter_map(code).any(|code| code.contains("%r11")) {
            continue;
        }
        let mut at = 0;
        while let Some(line) = function.lines.get(at) {
            let jump = code(line)
                .and_then(|code| code.strip_prefix("jmpq *")?.strip_suffix(",8)")?.split_once("(,%"));
            if let Some((table, register)) = jump.filter(|(table, _)| spoken.get(*table) == Some(&1)) {
                let load = format!("movl {table}(,%{register},4), %r11d");
                halved.push(table.to_owned());
                function.lines.splice(at..=at, [Line::Code(load), Line::Code("jmpq *%r11".to_owned())]);
                at += 1;
            }
            at += 1;
        }
    }
    let mut within = false;
    for part in &mut program.parts {
        let Part::Text(line) = part else { continue };
        if let Some(label) = line.strip_suffix(':') {
            within = halved.iter().any(|table| table == label);
        } else if within {
            *line = line.replacen("\t.quad\t", "\t.long\t", 1);
        }
    }
}
