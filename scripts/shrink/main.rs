//! Makes a program smaller: reads the assembly of all of it as rustc writes it for x86-64, and writes the same in fewer bytes.
//!
//!     shrink [--keep WORD]... [--hot FILE] IN OUT OBJCOPY ASSEMBLER...
//!
//! `--keep` names functions that stay as they are, by a part of their name. The file of `--hot` lists sections of functions that are executed
//! often or early, which stay together; others may come to lie wherever that spares a jump. ASSEMBLER makes an object of a file (`cc -c`), of
//! which OBJCOPY takes a section out: how long each instruction is.
//!
//! The compiler's own outliner for x86-64 moves nothing that calls, returns or minds the stack; that is a fifth of all instructions. Here
//! is what it leaves: how functions begin and end (`frames`), and what they have in common with calls in it (`outline`), which is more when
//! what is free in them is chosen for it (`choice`); besides, texts that are a part of others (`constants`), functions that are the same
//! (`fold`), tables of jumps (`tables`), long jumps (`jumps`), those to a function that could lie behind (`neighbours`), and what is shorter
//! by way of the stack (`moves`).
//!
//! It relies on what scripts/build-musl compiles with: nothing unwinds, there is no red zone, all functions have frame pointers, all is at
//! fixed addresses. And on what holds for all code: r11 is nobody's where a function begins, where it returns and where it calls
//! another, and in a register that it saves a function finds nothing that is meant for it (System V ABI for x86-64, 3.2.1). Assembly
//! by hand must keep to that, too, where it calls somebody. What it does not know is left alone or refused, never guessed.

#![expect(clippy::print_stderr, reason = "it talks to whoever builds")]

mod assembly;
mod choice;
mod constants;
mod fold;
mod frames;
mod jumps;
mod moves;
mod neighbours;
mod outline;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

use assembly::{Program, code, is_local};

/// The place of a function among those that are executed often or early.
pub type Ranks<'a> = &'a dyn Fn(&str) -> Option<usize>;

fn main() -> ExitCode {
    match run(env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shrink: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> Result<(), String> {
    let mut arguments = arguments.into_iter();
    let mut keep = Vec::new();
    let mut hot = BTreeMap::new();
    let usage = || "usage: shrink [--keep WORD]... [--hot FILE] IN OUT OBJCOPY ASSEMBLER...".to_owned();
    let input = loop {
        match arguments.next().ok_or_else(usage)?.as_str() {
            "--keep" => keep.push(arguments.next().ok_or_else(usage)?),
            "--hot" => {
                let sections = read(&arguments.next().ok_or_else(usage)?)?;
                let names = sections.lines().filter_map(|line| line.strip_prefix(".text."));
                hot.extend(names.enumerate().map(|(rank, name)| (name.to_owned(), rank)));
            }
            input => break input.to_owned(),
        }
    };
    let output = arguments.next().ok_or_else(usage)?;
    let tools: Vec<String> = arguments.collect();
    let measure = |text: &str| measured(&tools, &output, text);
    let kept = |name: &str| keep.iter().any(|word| name.contains(word.as_str()));
    let text = read(&input)?;
    let names = || text.lines().filter(|line| line.ends_with(':'));
    if let Some(word) = keep.iter().find(|word| !names().any(|name| name.contains(word.as_str()))) {
        return Err(format!("--keep {word}: there is no such function in {input}"));
    }
    let text = shrunk(&text, &kept, &|name| hot.get(name).copied(), &measure)?;
    fs::write(&output, text).map_err(|error| format!("{output}: {error}"))
}

fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))
}

/// The bytes of section `.sizes` of what the assembler makes of a text.
pub fn measured(tools: &[String], beside: &str, text: &str) -> Result<Vec<u8>, String> {
    let (source, object, bytes) =
        (format!("{beside}.sizes.s"), format!("{beside}.sizes.o"), format!("{beside}.sizes"));
    let told = |error: io::Error| format!("{beside}: {error}");
    fs::write(&source, text).map_err(told)?;
    let [objcopy, program, options @ ..] = tools else {
        return Err("objcopy and the assembler are not named".to_owned());
    };
    let mut assemble = Command::new(program);
    assemble.args(options).args(["-o", &object, &source]);
    let mut extract = Command::new(objcopy);
    extract.args(["-O", "binary", "-j", ".sizes", "--set-section-flags", ".sizes=alloc", &object, &bytes]);
    for command in [&mut assemble, &mut extract] {
        let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
        if !status.success() {
            return Err(format!("{command:?}: {status}"));
        }
    }
    let found = fs::read(&bytes).map_err(told)?;
    for file in [source, object, bytes] {
        fs::remove_file(file).map_err(told)?;
    }
    Ok(found)
}

/// The same program in fewer bytes.
///
/// # Errors
/// When it is not what this was made for, or cannot be measured.
pub fn shrunk(
    text: &str,
    kept: &dyn Fn(&str) -> bool,
    hot: Ranks<'_>,
    measure: &dyn Fn(&str) -> Result<Vec<u8>, String>,
) -> Result<String, String> {
    let mut program = Program::read(text)?;
    program.learn();
    constants::share(&mut program);
    let free = frames::share(&mut program, kept);
    tables::halve(&mut program, kept);
    frames::lower(&mut program)?;
    let bytes_of = |codes: &[&str]| {
        let bytes = measure(&Program::to_measure(codes))?;
        if bytes.len() == codes.len() {
            Ok(bytes.into_iter().map(usize::from).collect())
        } else {
            Err(format!("{} instructions were measured instead of {}", bytes.len(), codes.len()))
        }
    };
    choice::choose(&mut program, kept, &free, &bytes_of)?;
    moves::shorten(&mut program, kept);
    fold::same(&mut program, kept, hot);
    let codes: BTreeSet<&str> = program
        .functions()
        .flat_map(|function| &function.lines)
        .filter_map(code)
        .filter(|code| !is_local(code))
        .collect();
    let codes: Vec<String> = codes.into_iter().map(str::to_owned).collect();
    let bytes = bytes_of(&codes.iter().map(String::as_str).collect::<Vec<&str>>())?;
    program.sizes = codes.into_iter().zip(bytes).collect();
    frames::begins(&mut program, kept);
    while outline::round(&mut program, kept) {}
    neighbours::place(&mut program, kept, hot);
    jumps::share(&mut program, kept);
    Ok(program.write())
}
