//! What each command does: puts text, plan, core and kernel together, and says the exit code.

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::path::Path;

use log::{Level, LevelFilter};

use crate::cli::{self, Command, One, Said};
use crate::control::Place;
use crate::event::{ExitCode, Sink};
use crate::kernel::Kernel;
use crate::plan::{Color, Loaded, Mode, Plan, Request};
use crate::supervisor::{Reread, Supervisor};
use crate::sys::{self, Descriptors, Files, FilesAgain, Inherited, Linux, Printed, Setup};
use crate::texts::text;
use crate::voice::Voice;
use crate::{client, config, plan, runtime};

/// Runs the program with these words of its command line, its name first.
pub fn main(inherited: Inherited, words: impl Iterator<Item = OsString>) -> ExitCode {
    sys::catch_traps();
    let programs = |name: &str| sys::is_pid1() && sys::in_path(name);
    let command = match cli::parse(words, &|name| sys::variable(name.as_bytes()), &programs) {
        Ok(command) => command,
        Err(error) => {
            sys::print_error(&format!("tinysup: {}\n`tinysup help` shows how it is used.\n", error.0));
            return ExitCode::USAGE;
        }
    };
    if !matches!(command, Command::Run { .. } | Command::One(_) | Command::Pause { .. }) {
        sys::give_signals_back(inherited);
    }
    // The process ends with it, so it is not taken apart.
    match &*ManuallyDrop::new(command) {
        Command::Run { config, verbosity, main } => {
            services(inherited, config.as_deref(), *verbosity, main.clone())
        }
        Command::One(one) => one_command(inherited, one),
        Command::Pause { voice, verbosity } => {
            let setup = Setup { descriptors: Descriptors::PassOn, voice: *voice, ..Setup::default() };
            supervise(inherited, setup, plan::pause(), Place::Off, *verbosity, &mut unchangeable)
        }
        Command::Check { config, here } => check(config.as_deref(), *here),
        Command::Example => print(&text("example.toml")),
        Command::Ask(ask) => client::ask(ask),
        Command::Top(ask) => client::top(ask),
        Command::Completions(shell) => print(&text(&format!("completions.{shell}"))),
        Command::HelpOf(verb) => print(&text(&format!("help-{}.txt", verb.name))),
        Command::Version => print(concat!("tinysup ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Help => print(&text("help.txt")),
        Command::Say(said) => say(said),
    }
}

#[inline(never)]
fn one_command(inherited: Inherited, one: &One) -> ExitCode {
    let setup = Setup {
        descriptors: Descriptors::PassOn,
        adopt: one.adopt,
        parent_death: one.parent_death,
        voice: one.voice,
        ..Setup::default()
    };
    let code = supervise(inherited, setup, plan::single(one), Place::Off, one.verbosity, &mut unchangeable);
    if code == ExitCode::NOT_FOUND && one.voice == Voice::Tinysup {
        hint_at_verb(one);
    }
    if one.success_codes.contains(&code.0) { ExitCode::SUCCESS } else { code }
}

/// A verb with a slip in it, or after `--`, is taken for a command that does not exist.
fn hint_at_verb(one: &One) {
    let word = one.argv.first().and_then(|word| word.to_str()).unwrap_or_default();
    if let Some(help) = cli::verb_instead(word).filter(|_| !sys::in_path(word)) {
        sys::print_error(&format!("tinysup: {help}\n"));
    }
}

#[inline(never)]
fn say(said: &Said) -> ExitCode {
    let text = match said.voice {
        Some(voice) => format!("{}{}\n", voice.prefix(Level::Error, sys::own_pid()), said.text),
        None => said.text.clone(),
    };
    match said.sink {
        Sink::Stdout => _ = sys::print(&text),
        Sink::Stderr => sys::print_error(&text),
    }
    said.code
}

#[inline(never)]
fn services(inherited: Inherited, file: Option<&Path>, verbosity: u8, main: Vec<OsString>) -> ExitCode {
    let main = Some(main).filter(|main| !main.is_empty());
    let command = main.is_some();
    let request = Request { file, main, here: true };
    match plan::load(&request, &Files) {
        Ok(loaded) if let Some(why) = runs_already(&loaded, command) => {
            sys::print_error(&format!("tinysup: {why}\n"));
            ExitCode::RUNS_ALREADY
        }
        Ok(Loaded { plan, control, file: _ }) => {
            let place = control.clone();
            // Some file systems count no names.
            let named = has_name(&plan);
            let mut reread = || match plan::load(&request, &FilesAgain) {
                Ok(Loaded { plan, control, file: _ }) => {
                    let replaced = named && !has_name(&plan);
                    Ok(Reread { plan, other_control: control != place, replaced })
                }
                Err(problems) => Err(problems.listed()),
            };
            supervise(inherited, Setup::default(), plan, control, verbosity, &mut reread)
        }
        Err(_) if sys::asked_to_stop() => ExitCode::SUCCESS,
        Err(problems) => {
            sys::leave_last_word(&problems.to_string());
            refuse(&problems)
        }
    }
}

/// Whether the configuration is a file that has a name anywhere. One that is mounted by itself has none when an editor has replaced it.
fn has_name(plan: &Plan) -> bool {
    plan.config.as_deref().is_some_and(|file| sys::has_name(Path::new(file)))
}

/// PID 1 is the first; it asks nobody.
fn runs_already(loaded: &Loaded, command: bool) -> Option<String> {
    let config = loaded.plan.config.as_deref().filter(|_| !sys::is_pid1())?;
    client::runs_already(&loaded.control, config, command)
}

#[inline(never)]
fn check(file: Option<&Path>, here: bool) -> ExitCode {
    match plan::load(&Request { file, main: None, here }, &Files) {
        Ok(loaded) => print(&plan::check::report(&loaded.plan, &Files, here).to_string()),
        Err(problems) => refuse(&problems),
    }
}

fn refuse(problems: &config::Problems) -> ExitCode {
    sys::print_error(&problems.to_string());
    ExitCode::CONFIG
}

#[inline(never)]
fn print(text: &str) -> ExitCode {
    match sys::print(text) {
        Printed::All | Printed::Unheard => ExitCode::SUCCESS,
        Printed::Lost => ExitCode::FAILURE,
    }
}

/// There is no configuration that could be read again.
fn unchangeable() -> Result<Reread, String> {
    Err("it was started without a configuration".to_owned())
}

/// On which of the container's streams names have a colour.
fn colored(plan: &Plan) -> [bool; 2] {
    sys::colored(match plan.log.color {
        Color::Never => None,
        Color::Auto => Some(false),
        Color::Always => Some(true),
    })
}

/// Runs a plan to its end.
fn supervise(
    inherited: Inherited,
    mut setup: Setup,
    mut plan: Plan,
    control: Place,
    verbosity: u8,
    reread: &mut dyn FnMut() -> Result<Reread, String>,
) -> ExitCode {
    plan.log.colored = colored(&plan);
    setup.lines = plan.own_lines();
    setup.overflow = plan.log.overflow;
    // One command is silent unless something fails; services tell what happens to them.
    let quiet = match plan.mode {
        Mode::Command(_) | Mode::Pause => LevelFilter::Error,
        Mode::Services => LevelFilter::Info,
    };
    let level =
        LevelFilter::iter().nth(quiet as usize + usize::from(verbosity)).unwrap_or(LevelFilter::Trace);
    sys::init_logging(level, setup.voice, setup.lines);
    plan.log.debug = log::max_level() >= LevelFilter::Debug;
    sys::end_by_panic();
    match Linux::new(inherited, setup) {
        Ok(mut kernel) => {
            kernel.listen(control);
            let mut supervisor = Supervisor::new(plan, Linux::standing(), kernel.now());
            let code = runtime::run(&mut kernel, &mut supervisor, reread);
            std::mem::forget(supervisor); // as `finish` does
            kernel.finish();
            code
        }
        Err(error) => {
            sys::print_error(&format!("tinysup: {error}\n"));
            ExitCode::SYSTEM
        }
    }
}
