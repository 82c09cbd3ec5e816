//! What each command does: puts text, plan, core and kernel together, and says the exit code.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use log::LevelFilter;

use crate::cli::{self, Command, One};
use crate::control::Place;
use crate::event::ExitCode;
use crate::kernel::Kernel;
use crate::plan::{Mode, Plan, Request};
use crate::supervisor::Supervisor;
use crate::sys::{self, Descriptors, Files, Inherited, Linux};
use crate::{client, config, plan, runtime};

/// Runs the program with the arguments of this process.
pub fn main(inherited: Inherited) -> ExitCode {
    let command = match cli::parse(env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            sys::print_error(&format!("tinysup: {}\n`tinysup help` shows how it is used.\n", error.0));
            return ExitCode::USAGE;
        }
    };
    if !matches!(command, Command::Run { .. } | Command::One(_)) {
        sys::give_signals_back(inherited);
    }
    match command {
        Command::Run { config, verbosity, main } => services(inherited, config.as_deref(), verbosity, main),
        Command::One(one) => one_command(inherited, one),
        Command::Check { config } => check(config.as_deref()),
        Command::Example => print(&config::example()),
        Command::Ask(ask) => client::ask(&ask),
        Command::Top(ask) => client::top(&ask),
        Command::Completions(shell) => print(&cli::completions::completions(shell)),
        Command::HelpOf(verb) => print(&cli::verbs::help_of(verb)),
        Command::Version => print(concat!("tinysup ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Help => print(&[cli::HELP, &cli::verbs::help()].concat()),
    }
}

fn one_command(inherited: Inherited, one: One) -> ExitCode {
    let plan = plan::single(one.argv, one.group, one.kill_timeout);
    let code = supervise(inherited, plan, Place::Off, one.verbosity);
    if one.success_codes.contains(&code.0) { ExitCode::SUCCESS } else { code }
}

fn services(inherited: Inherited, file: Option<&Path>, verbosity: u8, main: Vec<OsString>) -> ExitCode {
    let main = Some(main).filter(|main| !main.is_empty());
    match plan::load(&Request { file, main }, &Files) {
        Ok(loaded) => supervise(inherited, loaded.plan, loaded.control, verbosity),
        Err(_) if sys::asked_to_stop() => ExitCode::SUCCESS,
        Err(problems) => {
            sys::leave_last_word(&problems.to_string());
            refuse(&problems)
        }
    }
}

fn check(file: Option<&Path>) -> ExitCode {
    match plan::load(&Request { file, main: None }, &Files) {
        Ok(loaded) => print(&plan::check::report(&loaded.plan, &Files).to_string()),
        Err(problems) => refuse(&problems),
    }
}

fn refuse(problems: &config::Problems) -> ExitCode {
    sys::print_error(&problems.to_string());
    ExitCode::CONFIG
}

fn print(text: &str) -> ExitCode {
    sys::print(text);
    ExitCode::SUCCESS
}

/// Runs a plan to its end.
fn supervise(inherited: Inherited, plan: Plan, control: Place, verbosity: u8) -> ExitCode {
    // One command is silent unless something fails; services tell what happens to them.
    let (quiet, descriptors) = match plan.mode {
        Mode::Command { .. } => (LevelFilter::Error, Descriptors::PassOn),
        Mode::Services => (LevelFilter::Info, Descriptors::Keep),
    };
    let level =
        LevelFilter::iter().nth(quiet as usize + usize::from(verbosity)).unwrap_or(LevelFilter::Trace);
    sys::init_logging(level);
    sys::end_by_panic();
    match Linux::new(inherited, descriptors) {
        Ok(mut kernel) => {
            kernel.listen(control);
            let mut supervisor = Supervisor::new(plan, sys::is_pid1(), kernel.now());
            let code = runtime::run(&mut kernel, &mut supervisor);
            kernel.finish();
            code
        }
        Err(error) => {
            sys::print_error(&format!("tinysup: {error}\n"));
            ExitCode::SYSTEM
        }
    }
}
