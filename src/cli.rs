//! The command line: from words to what is wanted, by the name that the program was called by. Pure; reads no file, and of the
//! environment only what it is asked for by name.

mod ask;
mod catatonit;
mod dumb_init;
pub mod one;
mod tini;
pub mod verbs;
mod words;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::PathBuf;

pub use self::ask::Ask;
pub use self::one::{Manner, One, Receivers, Rest};
use self::words::{Word, Words};
use crate::event::{ExitCode, Sink};
use crate::gather::{Gather, Joined};
use crate::hints::base_name;
use crate::suggest::did_you_mean;
use crate::texts::{LICENCE, text};
use crate::units::{Signal, parse_duration, parse_number, parse_signed};
use crate::voice::Voice;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Run the services, and perhaps a main command beside them.
    Run {
        /// `-c`.
        config: Option<PathBuf>,
        /// `-v`, counted.
        verbosity: u8,
        /// What follows `--`; empty: only the services.
        main: Vec<OsString>,
    },
    /// Be the init of one command.
    One(Box<One>),
    /// Be an init of nothing, until it is asked to end.
    Pause {
        /// How it speaks.
        voice: Voice,
        /// How much is told.
        verbosity: u8,
    },
    /// Check a configuration and print what it means.
    Check {
        /// The file, by `-c` or as an argument.
        config: Option<PathBuf>,
        /// `--runtime`: whether it can run in this container.
        here: bool,
    },
    /// Print a commented configuration.
    Example,
    /// Ask the tinysup that runs, and show the answer.
    Ask(Box<Ask>),
    /// Show its status on the whole screen.
    Top(Box<Ask>),
    /// Print the completions for a shell.
    Completions(&'static str),
    /// Print how a verb is used.
    HelpOf(&'static verbs::Spec),
    /// Print the version.
    Version,
    /// Print how it is used.
    Help,
    /// Print this, and exit.
    Say(Said),
}

/// What is printed, where, and the code that follows.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// The text.
    pub text: String,
    /// Where it goes.
    pub sink: Sink,
    /// The code to exit with.
    pub code: ExitCode,
    /// In whose form each line of it begins; `None`: as it is.
    pub voice: Option<Voice>,
}

impl Said {
    /// What was asked for.
    fn text(text: &str) -> Self {
        Self { text: text.to_owned(), sink: Sink::Stdout, code: ExitCode::SUCCESS, voice: None }
    }

    /// What was asked for, by somebody who expects it on standard error.
    fn aside(text: &str) -> Self {
        Self { sink: Sink::Stderr, ..Self::text(text) }
    }

    /// Why nothing is done, with the code of the small inits for that.
    fn refusal(text: String, voice: Option<Voice>) -> Self {
        Self { text, sink: Sink::Stderr, code: ExitCode::FAILURE, voice }
    }
}

/// A variable of our environment, by its name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Whether this word, although it asks a running tinysup, means the program of that name: we are the first process of the container,
/// so that there is nobody to ask, and there is such a program.
pub type Programs<'a> = &'a dyn Fn(&str) -> bool;

/// The command line cannot be understood; says what is wrong and what to do instead.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(pub Box<str>);

/// Not inlined: there are thirty of them.
#[inline(never)]
fn usage(text: &dyn Display) -> UsageError {
    UsageError(text.to_string().into())
}

/// Verbs of the contract that this version does not have.
const LATER: [&str; 3] = ["reload", "scale", "convert"];

/// Words that are no verbs of the table in [`verbs`]; `tinysup help` tells of them.
const OFFLINE: [&str; 6] = ["run", "check", "example", "pause", "version", "help"];
const RUN: usize = 0;
const CHECK: usize = 1;
const EXAMPLE: usize = 2;
const PAUSE: usize = 3;
const HELP: usize = 5;

const NO_COMMAND: &str = "a command must follow \"--\"; without it the services of the configuration run";

/// What to say of a command that there is not, where a verb may have been meant.
pub fn verb_instead(word: &str) -> Option<String> {
    if verbs::find(word).is_some() || OFFLINE.contains(&word) {
        return Some(format!("the verb is: tinysup {word}"));
    }
    meant(word).map(|help| format!("there is no verb \"{word}\" either; {help}"))
}

/// The question whether a verb was meant that looks like this word.
fn meant(word: &str) -> Option<Box<str>> {
    let mut known = Vec::new();
    for verb in verbs::VERBS {
        known.append(&mut verb.names());
    }
    known.extend_from_slice(&OFFLINE);
    did_you_mean(word, &known)
}

/// Whether a word asks a running tinysup.
fn asks(name: &str) -> bool {
    let online = verbs::find(name).is_some_and(|verb| match verb.does {
        verbs::Does::Ask(_) | verbs::Does::Top => true,
        verbs::Does::Completions => false,
    });
    online || (LATER.contains(&name) && name != "convert")
}

/// The variable that says what `--grace` says, under every name: Docker's `--init` passes no options.
const GRACE_VARIABLE: &str = "TINYSUP_GRACE";

/// Reads the command line, the program's name first.
///
/// # Errors
/// [`UsageError`] for what cannot be understood, or is not yet supported.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Environment<'_>,
    programs: Programs<'_>,
) -> Result<Command, UsageError> {
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_default();
    let words = Words::new(arguments);
    let mut command = match personality(base_name(&name.to_string_lossy())) {
        Voice::Tinysup => tinysup(words, environment, programs)?,
        Voice::Tini => tini::parse(words, environment),
        Voice::DumbInit => dumb_init::parse(words, environment),
        Voice::Catatonit => catatonit::parse(words, environment),
    };
    let asked = environment(GRACE_VARIABLE).filter(|value| !value.is_empty());
    if let (Command::One(one), Some(value)) = (&mut command, asked) {
        match grace(GRACE_VARIABLE, &value) {
            Ok(rest) => one.manner.rest = rest,
            Err(error) if one.voice == Voice::Tinysup => return Err(error),
            Err(UsageError(text)) => command = Command::Say(Said::refusal(text.into(), Some(one.voice))),
        }
    }
    Ok(command)
}

/// Whom the name stands for; files that are downloaded have names such as `tini-static-amd64` and `dumb-init_1.2.5_x86_64`.
fn personality(name: &str) -> Voice {
    let is = |known: &str| {
        name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
    };
    match name {
        _ if is("tini") || is("docker-init") => Voice::Tini,
        _ if is("dumb-init") => Voice::DumbInit,
        _ if is("catatonit") || is("podman-init") => Voice::Catatonit,
        _ => Voice::Tinysup,
    }
}

/// Options of ours that all names take. `None`: it is none of them.
fn common_option(name: &str, words: &mut Words, one: &mut One) -> Option<Result<(), UsageError>> {
    let mut take = || {
        match name {
            "--rewrite" => one.rewrite.push(rewriting(&words.value(name)?.to_string_lossy())?),
            "--grace" => one.manner.rest = grace(name, &words.value(name)?)?,
            "--kill-timeout" => one.kill_timeout = Some(duration(name, &words.value(name)?)?),
            "--all" => one.manner.receivers = Receivers::Everybody,
            _ => return Ok(false),
        }
        Ok(true)
    };
    match take() {
        Ok(false) => None,
        Ok(true) => Some(Ok(())),
        Err(error) => Some(Err(error)),
    }
}

fn duration(option: &str, value: &OsStr) -> Result<std::time::Duration, UsageError> {
    parse_duration(&value.to_string_lossy()).map_err(|error| usage(&format_args!("{option}: {error}")))
}

/// No grace at all: nobody is asked.
fn grace(option: &str, value: &OsStr) -> Result<Rest, UsageError> {
    let grace = duration(option, value)?;
    Ok(if grace.is_zero() { Rest::Leave } else { Rest::Stop(grace) })
}

/// Reads `TERM:QUIT` or `15:3`; `:0` drops the signal. Of a number what follows the digits does not count, as with dumb-init.
fn rewriting(text: &str) -> Result<(Signal, Option<Signal>), UsageError> {
    let digits = |text: &str| {
        text.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().to_owned()
    };
    let signal = |text: &str| match digits(text) {
        number if number.is_empty() => Signal::parse(text.trim()).ok(),
        number => Signal::parse(&number).ok(),
    };
    let wrong = || {
        usage(&format_args!(
            "\"{text}\" does not rewrite a signal; write for example TERM:QUIT or 15:3, and 15:0 to drop it"
        ))
    };
    let (from, to) = text.split_once(':').ok_or_else(wrong)?;
    let from = signal(from).ok_or_else(wrong)?;
    if parse_signed(&digits(to)) == Some(0) {
        return Ok((from, None));
    }
    Ok((from, Some(signal(to).ok_or_else(wrong)?)))
}

/// A long option by its full name or a beginning that no other has, as getopt_long(3) takes them; a short one as it is.
fn long_option(name: &str, known: &[(&str, &str)]) -> Result<String, UsageError> {
    if !name.starts_with("--") {
        return Ok(name.to_owned());
    }
    let found: Vec<_> = known.iter().filter(|(long, _)| long.starts_with(name)).gather();
    match found.as_slice() {
        [(_, short)] => Ok((*short).to_owned()),
        [] => Ok(name.to_owned()),
        several => {
            if let Some((_, short)) = several.iter().find(|(long, _)| *long == name) {
                return Ok((*short).to_owned());
            }
            let names: Vec<_> = several.iter().map(|(long, _)| *long).gather();
            Err(usage(&format_args!("option {name} may be {}", names.joined(" or "))))
        }
    }
}

/// What atoi(3) makes of it, as far as it fits: not a number is 0.
fn decimal(text: &OsStr) -> u8 {
    let text = text.to_string_lossy();
    let digits = text.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    if digits.is_empty() { 0 } else { parse_number(digits).unwrap_or(u8::MAX) }
}

#[inline(never)]
fn tinysup(
    mut words: Words,
    environment: Environment<'_>,
    programs: Programs<'_>,
) -> Result<Command, UsageError> {
    let mut options = Options::default();
    while let Some(word) = words.next()? {
        match word {
            Word::Option(name) => options.take(&name, &mut words)?,
            // What is only asked about is not run.
            Word::Separator => match options.asked("") {
                Some(answer) => return Ok(answer),
                None => return options.one(words.all(), environment),
            },
            Word::Plain(word) => return verb(options, word, &mut words, environment, programs),
        }
    }
    if let Some(answer) = options.asked("") {
        return Ok(answer);
    }
    options.reject("running the services", true, true)?;
    Ok(Command::Run { config: options.config, verbosity: options.verbosity, main: Vec::new() })
}

#[inline(never)]
fn verb(
    options: Options,
    word: OsString,
    words: &mut Words,
    environment: Environment<'_>,
    programs: Programs<'_>,
) -> Result<Command, UsageError> {
    let name = word.to_str().unwrap_or_default();
    if let Some(answer) = options.asked(name) {
        return Ok(answer);
    }
    if let Some(verb) = OFFLINE.iter().position(|known| *known == name) {
        return offline(options, verb, words);
    }
    match name {
        _ if asks(name) && programs(name) => {
            let mut argv = vec![word];
            words.add_all(&mut argv);
            options.one(argv, environment)
        }
        _ if LATER.contains(&name) => Err(usage(&format_args!(
            "\"{name}\" is a verb that this version does not support yet; if you mean the program {name}: tinysup -- {name}"
        ))),
        _ => {
            if let Some(verb) = verbs::find(name) {
                if let Some(option) = options.stray(false, false) {
                    return Err(usage(&format_args!(
                        "option {option} does not go before {name}; options of a verb go after it, a command after \"--\""
                    )));
                }
                return ask::parse(verb, name, words);
            }
            let mut argv = vec![word];
            words.add_all(&mut argv);
            options.one(argv, environment)
        }
    }
}

/// One of [`OFFLINE`], by its number.
#[inline(never)]
fn offline(mut options: Options, verb: usize, words: &mut Words) -> Result<Command, UsageError> {
    let (mut rest, mut here) = (Vec::new(), false);
    if let Some(answer) = follow(&mut options, verb, words, &mut rest, &mut here)? {
        return Ok(answer);
    }
    let Options { config, verbosity, .. } = options;
    Ok(match verb {
        RUN => Command::Run { config, verbosity, main: rest },
        CHECK => Command::Check { config: rest.pop().map(PathBuf::from).or(config), here },
        PAUSE => Command::Pause { voice: Voice::Tinysup, verbosity },
        EXAMPLE => Command::Example,
        HELP => match rest.first() {
            Some(word) => return about(&word.to_string_lossy()),
            None => Command::Help,
        },
        _ => Command::Version,
    })
}

/// What follows it. Help and the like are given at once, and nothing is started.
#[inline(never)]
fn follow(
    options: &mut Options,
    verb: usize,
    words: &mut Words,
    rest: &mut Vec<OsString>,
    here: &mut bool,
) -> Result<Option<Command>, UsageError> {
    let name = OFFLINE.get(verb).copied().unwrap_or_default();
    while let Some(word) = words.next()? {
        match word {
            Word::Option(option) if verb == CHECK && option == "--runtime" => *here = true,
            Word::Option(option) => {
                options.take(&option, words)?;
                let answer = options.asked(name);
                if answer.is_some() {
                    return Ok(answer);
                }
            }
            Word::Separator if verb == RUN => {
                words.add_all(rest);
                if rest.is_empty() {
                    return Err(usage(&NO_COMMAND));
                }
            }
            Word::Separator => return Err(usage(&format_args!("{name} takes no \"--\""))),
            Word::Plain(word) if matches!(verb, CHECK | HELP) && rest.is_empty() => rest.push(word),
            Word::Plain(word) => {
                let word = word.to_string_lossy();
                let meant = match verb {
                    RUN if word.ends_with(".toml") => "; a configuration goes after -c: tinysup run -c FILE",
                    RUN => "; a command goes after \"--\": tinysup run -- COMMAND",
                    CHECK => "; it takes one file: tinysup check [FILE]",
                    _ => "",
                };
                return Err(usage(&format_args!("{name} takes no \"{word}\"{meant}")));
            }
        }
    }
    if verb == CHECK && options.config.is_some() && !rest.is_empty() {
        return Err(usage(&"check takes one file: tinysup check [FILE]"));
    }
    options.reject(name, matches!(verb, RUN | CHECK), true).map(|()| None)
}

/// `tinysup help WORD`.
fn about(word: &str) -> Result<Command, UsageError> {
    if verbs::find(word).is_some() || OFFLINE.contains(&word) {
        return Ok(help_of(word));
    }
    let help = meant(word).map(|help| format!("; {help}")).unwrap_or_default();
    Err(usage(&format_args!("there is no verb \"{word}\"{help}")))
}

/// How a verb is used; of those that ask nobody the help for all of them tells.
fn help_of(word: &str) -> Command {
    verbs::find(word).map_or(Command::Help, Command::HelpOf)
}

#[derive(Default)]
struct Options {
    config: Option<PathBuf>,
    one: One,
    verbosity: u8,
    version: bool,
    help: bool,
    licence: bool,
    /// The first option seen that only makes sense with a command.
    for_one: Option<&'static str>,
}

impl Options {
    fn take(&mut self, name: &str, words: &mut Words) -> Result<(), UsageError> {
        match name {
            "-c" | "--config" => self.config = Some(words.value(name)?.into()),
            "-v" | "--verbose" => self.verbosity = self.verbosity.saturating_add(1),
            "-V" | "--version" => self.version = true,
            "-h" | "--help" => self.help = true,
            "-s" => {}
            "-l" | "--licence" => self.licence = true,
            "-g" => {
                self.one.manner.receivers = Receivers::Group;
                self.for_one.get_or_insert("-g");
            }
            "-w" => {
                self.one.manner.tell_reaped = true;
                self.for_one.get_or_insert("-w");
            }
            "-p" => {
                let value = words.value(name)?;
                let signal = Signal::parse(&value.to_string_lossy());
                self.one.parent_death = Some(signal.map_err(|error| usage(&format_args!("-p: {error}")))?);
                self.for_one.get_or_insert("-p");
            }
            "--session" => {
                self.one.session = true;
                self.for_one.get_or_insert("--session");
            }
            "-e" => {
                let code = words.value(name)?;
                let code = code.to_str().and_then(parse_number);
                self.one
                    .success_codes
                    .push(code.ok_or_else(|| usage(&"-e takes an exit code from 0 to 255"))?);
                self.for_one.get_or_insert("-e");
            }
            "-r" => return self.take("--rewrite", words),
            _ => match common_option(name, words, &mut self.one) {
                Some(result) => {
                    result?;
                    self.for_one.get_or_insert(match name {
                        "--rewrite" => "--rewrite",
                        "--grace" => "--grace",
                        "--all" => "--all",
                        _ => "--kill-timeout",
                    });
                }
                None => {
                    return Err(usage(&format_args!(
                        "unknown option {name}; options of a verb go after it, those of a command after it or after \"--\""
                    )));
                }
            },
        }
        Ok(())
    }

    fn one(self, argv: Vec<OsString>, environment: Environment<'_>) -> Result<Command, UsageError> {
        if argv.is_empty() {
            return Err(usage(&NO_COMMAND));
        }
        if self.config.is_some() {
            return Err(usage(
                &"-c does not go with one command; for services beside it: tinysup run -c FILE -- COMMAND",
            ));
        }
        // With -w it is wanted to be seen.
        let verbosity = self.verbosity.max(u8::from(self.one.manner.tell_reaped));
        let mut one = Box::new(One { verbosity, argv, ..self.one });
        tini::variables(&mut one, environment);
        Ok(Command::One(one))
    }

    /// Version, help or licence, if they are asked for. `verb`: the word that they were asked of.
    #[inline(never)]
    fn asked(&self, verb: &str) -> Option<Command> {
        if self.version {
            Some(Command::Version)
        } else if self.help {
            Some(help_of(verb))
        } else if self.licence {
            Some(Command::Say(Said::text(&text(LICENCE))))
        } else {
            None
        }
    }

    /// An option that was given although it has no place; whether `-c` and `-v` have one.
    fn stray(&self, config: bool, verbose: bool) -> Option<&'static str> {
        match self.for_one {
            None if self.config.is_some() && !config => Some("-c"),
            None if self.verbosity > 0 && !verbose => Some("-v"),
            option => option,
        }
    }

    fn reject(&self, what: &str, config: bool, verbose: bool) -> Result<(), UsageError> {
        let Some(option) = self.stray(config, verbose) else { return Ok(()) };
        let why = if self.for_one.is_some() { "is for one command and " } else { "" };
        Err(usage(&format_args!("option {option} {why}does not go with {what}")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::time::Duration;

    use super::*;

    /// What is wanted of a program called `name`, with these variables.
    pub(super) fn parse_as(
        name: &str,
        words: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Command, String> {
        let environment = |wanted: &str| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| OsString::from(value))
        };
        let arguments = std::iter::once(name).chain(words.iter().copied()).map(OsString::from);
        super::parse(arguments, &environment, &|_| false).map_err(|error| error.0.into())
    }

    fn parse(words: &[&str]) -> Result<Command, String> {
        parse_as("tinysup", words, &[])
    }

    fn one(change: impl FnOnce(&mut One), argv: &[&str]) -> Command {
        let mut one = One { argv: argv.iter().map(OsString::from).collect(), ..One::default() };
        change(&mut one);
        Command::One(Box::new(one))
    }

    fn run(config: Option<&str>, verbosity: u8, main: &[&str]) -> Command {
        Command::Run {
            config: config.map(PathBuf::from),
            verbosity,
            main: main.iter().map(OsString::from).collect(),
        }
    }

    #[test]
    fn the_words_mean_what_the_help_says() {
        let kill_timeout = Some(Duration::from_secs(5));
        let grace = |seconds| Rest::Stop(Duration::from_secs(seconds));
        let rows: [(&[&str], Command); 37] = [
            (&[], run(None, 0, &[])),
            (&["-c", "f"], run(Some("f"), 0, &[])),
            (&["-vcf"], run(Some("f"), 1, &[])),
            (&["--config=f", "run"], run(Some("f"), 0, &[])),
            (&["run", "-c", "f", "--", "a", "-x", "--"], run(Some("f"), 0, &["a", "-x", "--"])),
            (&["bash"], one(|_| {}, &["bash"])),
            (&["bash", "-c", "x"], one(|_| {}, &["bash", "-c", "x"])),
            (&["--", "status"], one(|_| {}, &["status"])),
            (&["-gv", "--", "a"], one(|o| (o.manner.receivers, o.verbosity) = (Receivers::Group, 1), &["a"])),
            (&["-w", "a"], one(|o| (o.manner.tell_reaped, o.verbosity) = (true, 1), &["a"])),
            (&["-wvv", "a"], one(|o| (o.manner.tell_reaped, o.verbosity) = (true, 2), &["a"])),
            (&["-pTERM", "a"], one(|o| o.parent_death = Some(Signal::TERM), &["a"])),
            (&["--all", "a"], one(|o| o.manner.receivers = Receivers::Everybody, &["a"])),
            (&["-r", "15:TSTP", "a"], one(|o| o.rewrite = vec![(Signal::TERM, Some(Signal::TSTP))], &["a"])),
            (
                &["--rewrite=SIGRTMIN+1:0", "a"],
                one(|o| o.rewrite = vec![(Signal::new(35).unwrap(), None)], &["a"]),
            ),
            (&["--grace", "5s", "a"], one(|o| o.manner.rest = grace(5), &["a"])),
            (&["--grace=0", "a"], one(|o| o.manner.rest = Rest::Leave, &["a"])),
            (&["--session", "a"], one(|o| o.session = true, &["a"])),
            (&["pause"], Command::Pause { voice: Voice::Tinysup, verbosity: 0 }),
            (&["-s", "-e", "143", "-e0", "a"], one(|o| o.success_codes = vec![143, 0], &["a"])),
            (&["--kill-timeout=5s", "a"], one(|o| o.kill_timeout = kill_timeout, &["a"])),
            (&["-"], one(|_| {}, &["-"])),
            (&["check"], Command::Check { config: None, here: false }),
            (&["check", "f"], Command::Check { config: Some("f".into()), here: false }),
            (&["check", "-c", "f"], Command::Check { config: Some("f".into()), here: false }),
            (&["check", "--runtime", "f"], Command::Check { config: Some("f".into()), here: true }),
            (&["--version"], Command::Version),
            (&["run", "--help"], Command::Help),
            (&["run", "-V"], Command::Version),
            (&["check", "-h", "f"], Command::Help),
            (&["version"], Command::Version),
            (&["-h"], Command::Help),
            (&["help"], Command::Help),
            (&["pause", "-v"], Command::Pause { voice: Voice::Tinysup, verbosity: 1 }),
            (&["-v", "pause"], Command::Pause { voice: Voice::Tinysup, verbosity: 1 }),
            (&["run", "--", "a", "--help"], run(None, 0, &["a", "--help"])),
            (&["example"], Command::Example),
        ];
        for (words, expected) in rows {
            assert_eq!(parse(words), Ok(expected), "{words:?}");
        }
    }

    /// Who only wants to know starts nothing.
    #[test]
    fn what_is_asked_about_is_not_run() {
        let of = |name| Command::HelpOf(verbs::find(name).unwrap());
        let licence = || Command::Say(Said::text(&text(LICENCE)));
        for (words, expected) in [
            (&["run", "--help"][..], Command::Help),
            (&["run", "-h", "-c", "f"], Command::Help),
            (&["run", "-hc", "f", "--", "a"], Command::Help),
            (&["run", "-c", "f", "--version"], Command::Version),
            (&["run", "-l", "-c", "f"], licence()),
            (&["check", "--help", "f"], Command::Help),
            (&["check", "f", "-V"], Command::Version),
            (&["pause", "-h"], Command::Help),
            (&["pause", "--version"], Command::Version),
            (&["example", "-h"], Command::Help),
            (&["version", "-h"], Command::Help),
            (&["help", "--help"], Command::Help),
            (&["help", "run"], Command::Help),
            (&["-h", "true"], Command::Help),
            (&["-h", "--", "true"], Command::Help),
            (&["-V", "true"], Command::Version),
            (&["-l", "true"], licence()),
            (&["-h", "run"], Command::Help),
            (&["--help", "check"], Command::Help),
            (&["--help", "stop"], of("stop")),
            (&["--help", "ps", "aux"], of("status")),
            (&["-g", "--help", "logs"], of("logs")),
            (&["-V", "status"], Command::Version),
        ] {
            assert_eq!(parse(words), Ok(expected), "{words:?}");
        }
        // What is somebody else's is not looked at.
        assert_eq!(parse(&["true", "-h"]), Ok(one(|_| {}, &["true", "-h"])));
        assert_eq!(parse(&["--", "-h"]), Ok(one(|_| {}, &["-h"])));
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_with_advice() {
        for (words, part) in [
            (&["--"][..], "a command must follow"),
            (&["run", "--"], "a command must follow"),
            (&["run", "bash"], "run takes no \"bash\"; a command goes after \"--\""),
            (&["run", "x.toml"], "goes after -c: tinysup run -c"),
            (&["-c"], "needs a value"),
            (&["-c", "f", "bash"], "tinysup run -c FILE"),
            (&["-x", "bash"], "unknown option -x"),
            (&["--foo"], "unknown option --foo"),
            (&["-g"], "option -g is for one command"),
            (&["-g", "run"], "option -g is for one command"),
            (&["-e", "256", "a"], "0 to 255"),
            (&["--kill-timeout", "soon", "a"], "not a duration"),
            (&["reload"], "tinysup -- reload"),
            (&["help", "statsu"], "there is no verb \"statsu\"; did you mean \"status\"?"),
            (&["help", "xyzzy"], "there is no verb \"xyzzy\""),
            (&["-p", "SIGFOO", "a"], "-p: \"SIGFOO\" is not a signal"),
            (&["-r", "15", "a"], "does not rewrite a signal"),
            (&["-r", "0:1", "a"], "does not rewrite a signal"),
            (&["-r", "15:65", "a"], "does not rewrite a signal"),
            (&["--all"], "option --all is for one command"),
            (&["-g", "pause"], "option -g is for one command"),
            (&["check", "a", "b"], "one file"),
            (&["check", "--", "a"], "check takes no \"--\""),
            (&["check", "-c", "f", "g"], "check takes one file"),
            (&["check", "f", "-c", "g"], "check takes one file"),
            (&["-c", "f", "help", "stop"], "option -c does not go with help"),
            (&["-g", "check"], "option -g is for one command and does not go with check"),
            (&["pause", "junk"], "pause takes no \"junk\""),
            (&["pause", "--", "a"], "pause takes no \"--\""),
            (&["pause", "-x"], "unknown option -x"),
            (&["-c", "f", "pause"], "option -c does not go with pause"),
            (&["example", "f"], "example takes no \"f\""),
            (&["example", "-c", "f"], "option -c does not go with example"),
            (&["version", "x"], "version takes no \"x\""),
            (&["-g", "version"], "option -g is for one command and does not go with version"),
            (&["-c", "f", "help"], "option -c does not go with help"),
            (&["help", "stop", "start"], "help takes no \"start\""),
            (&["help", "--foo"], "unknown option --foo"),
            (&["-c", "f", "status"], "option -c does not go before status"),
            (&["--verbose=3"], "unexpected value"),
            (&["-v=3"], "unexpected value"),
        ] {
            let error = parse(words).expect_err(&words.join(" "));
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }

    #[test]
    fn where_nobody_can_be_asked_a_verb_that_is_a_program_is_the_program() {
        let parse = |words: &[&str]| {
            let words = std::iter::once(&"tinysup").chain(words).map(OsString::from);
            super::parse(words, &|_| None, &|name| ["top", "ps", "check", "run", "reload"].contains(&name))
        };
        for (words, expected) in [
            (&["top", "-b", "--", "x"][..], one(|_| {}, &["top", "-b", "--", "x"])),
            (&["-v", "ps", "aux"], one(|one| one.verbosity = 1, &["ps", "aux"])),
            (&["reload"], one(|_| {}, &["reload"])),
            // These ask nobody.
            (&["run"], run(None, 0, &[])),
            (&["check"], Command::Check { config: None, here: false }),
        ] {
            assert_eq!(parse(words), Ok(expected), "{words:?}");
        }
        // No such program.
        assert!(matches!(parse(&["ls"]), Ok(Command::Ask(_))));
    }

    #[test]
    fn arguments_that_are_no_utf8_pass_unchanged() {
        let odd = OsStr::from_bytes(b"\xff\xfe").to_owned();
        let Ok(Command::One(one)) =
            super::parse(["tinysup".into(), "a".into(), odd.clone()], &|_| None, &|_| false)
        else {
            panic!()
        };
        assert_eq!(one.argv.last(), Some(&odd));
    }

    #[test]
    fn the_name_decides() {
        for (name, voice) in [
            ("tinysup", Voice::Tinysup),
            ("/sbin/init", Voice::Tinysup),
            ("", Voice::Tinysup),
            ("tini", Voice::Tini),
            ("/usr/bin/tini-static", Voice::Tini),
            ("/sbin/docker-init", Voice::Tini),
            ("tini-muslc-amd64", Voice::Tini),
            ("tinier", Voice::Tinysup),
            ("/usr/local/bin/dumb-init", Voice::DumbInit),
            ("dumb-init_1.2.5_x86_64", Voice::DumbInit),
            ("catatonit.x86_64", Voice::Catatonit),
            ("/run/podman-init", Voice::Catatonit),
        ] {
            let Ok(Command::One(one)) = parse_as(name, &["--", "status"], &[]) else { panic!("{name}") };
            assert_eq!((one.voice, one.argv), (voice, vec![OsString::from("status")]), "{name}");
        }
    }

    #[test]
    fn variables_are_options_too() {
        for (variable, change) in [
            (("TINI_SUBREAPER", ""), (|_| {}) as fn(&mut One)),
            (("TINI_KILL_PROCESS_GROUP", ""), |o| o.manner.receivers = Receivers::Group),
            (("TINI_VERBOSITY", "2"), |o| o.verbosity = 2),
            (("TINYSUP_GRACE", "0"), |o| o.manner.rest = Rest::Leave),
            (("TINYSUP_GRACE", ""), |_| {}),
        ] {
            assert_eq!(parse_as("tinysup", &["a"], &[variable]), Ok(one(change, &["a"])), "{variable:?}");
        }
        let soon = [("TINYSUP_GRACE", "soon")];
        assert!(parse_as("tinysup", &["a"], &soon).unwrap_err().starts_with("TINYSUP_GRACE: "));
        // As all that is wrong under their names.
        for (name, voice) in
            [("tini", Voice::Tini), ("dumb-init", Voice::DumbInit), ("catatonit", Voice::Catatonit)]
        {
            let Ok(Command::Say(said)) = parse_as(name, &["a"], &soon) else { panic!("{name}") };
            assert!(said.text.starts_with("TINYSUP_GRACE: "), "{said:?}");
            assert_eq!((said.code, said.voice), (ExitCode::FAILURE, Some(voice)));
        }
        // Services have their own settings.
        assert_eq!(parse_as("tinysup", &[], &[("TINYSUP_GRACE", "soon")]), Ok(run(None, 0, &[])));
    }

    #[test]
    fn the_licence_is_ours() {
        let licence = text(LICENCE);
        let (_, mit) = licence.split_once("MIT License").unwrap();
        assert!(include_str!("../LICENSE").contains(mit.trim()));
    }
}
