//! What each command does: puts text, plan, core and kernel together, and says the exit code.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use log::{Level, LevelFilter};

use crate::cli::{self, Command, One, Said};
use crate::control::Place;
use crate::event::{ExitCode, Sink};
use crate::kernel::Kernel;
use crate::plan::{Color, Mode, Plan, Request};
use crate::supervisor::Supervisor;
use crate::sys::{self, Descriptors, Files, Inherited, Linux, Setup};
use crate::{client, config, plan, runtime};

/// Runs the program with these words of its command line, its name first.
pub fn main(inherited: Inherited, words: impl Iterator<Item = OsString>) -> ExitCode {
    let command = match cli::parse(words, &|name| env::var_os(name)) {
        Ok(command) => command,
        Err(error) => {
            sys::print_error(&format!("tinysup: {}\n`tinysup help` shows how it is used.\n", error.0));
            return ExitCode::USAGE;
        }
    };
    if !matches!(command, Command::Run { .. } | Command::One(_) | Command::Pause { .. }) {
        sys::give_signals_back(inherited);
    }
    match command {
        Command::Run { config, verbosity, main } => services(inherited, config.as_deref(), verbosity, main),
        Command::One(one) => one_command(inherited, &one),
        Command::Pause { voice, verbosity } => {
            let setup = Setup { descriptors: Descriptors::PassOn, voice, ..Setup::default() };
            supervise(inherited, setup, plan::pause(), Place::Off, verbosity)
        }
        Command::Check { config } => check(config.as_deref()),
        Command::Example => print(&config::example()),
        Command::Ask(ask) => client::ask(&ask),
        Command::Top(ask) => client::top(&ask),
        Command::Completions(shell) => print(&cli::completions::completions(shell)),
        Command::HelpOf(verb) => print(&cli::verbs::help_of(verb)),
        Command::Version => print(concat!("tinysup ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Help => print(&[cli::HELP, &cli::verbs::help()].concat()),
        Command::Say(said) => say(said),
    }
}

fn one_command(inherited: Inherited, one: &One) -> ExitCode {
    let setup = Setup {
        descriptors: Descriptors::PassOn,
        adopt: one.adopt,
        parent_death: one.parent_death,
        voice: one.voice,
        ..Setup::default()
    };
    let code = supervise(inherited, setup, plan::single(one), Place::Off, one.verbosity);
    if one.success_codes.contains(&code.0) { ExitCode::SUCCESS } else { code }
}

fn say(said: Said) -> ExitCode {
    let text = match said.voice {
        Some(voice) => format!("{}{}\n", voice.prefix(Level::Error, sys::own_pid()), said.text),
        None => said.text,
    };
    match said.sink {
        Sink::Stdout => _ = sys::print(&text),
        Sink::Stderr => sys::print_error(&text),
    }
    said.code
}

fn services(inherited: Inherited, file: Option<&Path>, verbosity: u8, main: Vec<OsString>) -> ExitCode {
    let main = Some(main).filter(|main| !main.is_empty());
    match plan::load(&Request { file, main }, &Files) {
        Ok(loaded) => supervise(inherited, Setup::default(), loaded.plan, loaded.control, verbosity),
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
fn supervise(
    inherited: Inherited,
    mut setup: Setup,
    mut plan: Plan,
    control: Place,
    verbosity: u8,
) -> ExitCode {
    plan.log.colored = sys::colored(match plan.log.color {
        Color::Never => None,
        Color::Auto => Some(false),
        Color::Always => Some(true),
    });
    setup.lines = plan.own_lines();
    // One command is silent unless something fails; services tell what happens to them.
    let quiet = match plan.mode {
        Mode::Command(_) | Mode::Pause => LevelFilter::Error,
        Mode::Services => LevelFilter::Info,
    };
    let level =
        LevelFilter::iter().nth(quiet as usize + usize::from(verbosity)).unwrap_or(LevelFilter::Trace);
    sys::init_logging(level, setup.voice, setup.lines);
    sys::end_by_panic();
    match Linux::new(inherited, setup) {
        Ok(mut kernel) => {
            kernel.listen(control);
            let mut supervisor = Supervisor::new(plan, kernel.standing(), kernel.now());
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
