//! What takes fewer bytes by way of the stack: a value from register to register, where a push and a pop have a byte each and the move has
//! three, and a small constant to memory.

use super::assembly::{Line, Program};

/// Registers that no prefix names.
const SHORT: [&str; 6] = ["%rax", "%rbx", "%rcx", "%rdx", "%rsi", "%rdi"];

/// The same by the stack, if that is shorter. It needs that nothing is below the stack's end (no red zone), and changes no flags.
pub fn shorter(code: &str) -> Option<String> {
    let (what, place) = code.strip_prefix("movq ")?.split_once(", ")?;
    let between = SHORT.contains(&what) && SHORT.contains(&place);
    // The address of a place by the stack's end would be another one behind the push.
    let small = || what.strip_prefix('$').is_some_and(|number| number.parse::<i8>().is_ok());
    let in_memory = || !place.starts_with('%') && !place.contains("sp)") && !place.contains("sp,");
    (between || small() && in_memory()).then(|| format!("pushq {what}; popq {place}"))
}

/// Writes it so everywhere.
pub fn shorten(program: &mut Program, kept: &dyn Fn(&str) -> bool) {
    for function in program.functions_mut().filter(|function| !kept(&function.name)) {
        for line in &mut function.lines {
            if let Line::Code(code) = line
                && let Some(short) = shorter(code)
            {
                *code = short;
            }
        }
    }
}
