//! The command line: from words to what is wanted. Pure; reads no file and no environment.

mod ask;
pub mod completions;
pub mod verbs;

pub use ask::Ask;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::units::parse_duration;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
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
    One(One),
    /// Check a configuration and print what it means.
    Check {
        /// The file, by `-c` or as an argument.
        config: Option<PathBuf>,
    },
    /// Print a commented configuration.
    Example,
    /// Ask the tinysup that runs, and show the answer.
    Ask(Ask),
    /// Show its status on the whole screen.
    Top(Ask),
    /// Print the completions for a shell.
    Completions(&'static str),
    /// Print how a verb is used.
    HelpOf(&'static verbs::Spec),
    /// Print the version.
    Version,
    /// Print how it is used.
    Help,
}

/// The init of one command.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct One {
    /// `-g`: signals go to the command's process group.
    pub group: bool,
    /// `-v`, counted.
    pub verbosity: u8,
    /// `-e`: codes that become 0.
    pub success_codes: Vec<u8>,
    /// `--kill-timeout`: SIGKILL that long after a forwarded SIGTERM; `None`: never.
    pub kill_timeout: Option<Duration>,
    /// The command.
    pub argv: Vec<OsString>,
}

/// The command line cannot be understood; says what is wrong and what to do instead.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(pub String);

/// Verbs of the contract that this version does not have.
const LATER: [&str; 3] = ["reload", "scale", "convert"];

/// The text of `tinysup help`.
pub const HELP: &str = "\
tinysup, a container-native init and supervisor

  tinysup                               run the services of the configuration
  tinysup [-gv] [--] COMMAND [ARG...]   be the init of one command
  tinysup run [-c FILE] [-v] [-- COMMAND [ARG...]]
                                        run the services, and COMMAND as the main one: its end ends the container
  tinysup check [FILE]                  check the configuration; print the start order, the stop time, hints
  tinysup example                       print a commented configuration
  tinysup version, tinysup help

The configuration is -c FILE, else $TINYSUP_CONFIG, else /etc/tinysup.toml, else ./tinysup.toml.
A word after -- is always a command, also if it is one of those above.

Options
  -c, --config FILE       the configuration
  -v, --verbose           tell more (twice: everything); TINYSUP_LOG=error|warn|info|debug does the same
  -g                      one command: signals go to its whole process group
  -e CODE                 one command: this exit code becomes 0 (repeatable)
  --kill-timeout DURATION one command: SIGKILL that long after a SIGTERM was passed on (default: never)
  -s                      accepted; orphans are always adopted

Exit codes: 0 stopped as asked, or all done; N that of a service that failed for good; 137 something had to be killed;
64 usage, 78 configuration, 126 and 127 the command cannot be run or was not found.
";

/// Reads the arguments after the program's name.
///
/// # Errors
/// [`UsageError`] for what cannot be understood, or is not yet supported.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut words =
        Words { rest: arguments.into_iter().collect::<Vec<_>>().into_iter(), cluster: Vec::new() };
    let mut options = Options::default();
    while let Some(word) = words.next()? {
        match word {
            Word::Option(name) => options.take(&name, &mut words)?,
            Word::Separator => return options.one(words.all()),
            Word::Plain(word) => return verb(options, word, words),
        }
    }
    match options.only_about_run()? {
        Some(command) => Ok(command),
        None => Ok(Command::Run { config: options.config, verbosity: options.verbosity, main: Vec::new() }),
    }
}

fn verb(options: Options, word: OsString, mut words: Words) -> Result<Command, UsageError> {
    let name = word.to_str().unwrap_or_default();
    match name {
        "run" => {
            let mut options = options;
            let mut main = Vec::new();
            while let Some(word) = words.next()? {
                match word {
                    Word::Option(name) => options.take(&name, &mut words)?,
                    Word::Separator => {
                        main = words.all();
                        if main.is_empty() {
                            return Err(UsageError(
                                "a command must follow \"run --\"; without \"--\" only the services run"
                                    .to_owned(),
                            ));
                        }
                    }
                    Word::Plain(word) => {
                        let word = word.to_string_lossy();
                        return Err(UsageError(format!(
                            "unexpected \"{word}\" after run; a command goes after \"--\": tinysup run -- {word}"
                        )));
                    }
                }
            }
            options.reject_one("run")?;
            Ok(Command::Run { config: options.config, verbosity: options.verbosity, main })
        }
        "check" => {
            let mut options = options;
            while let Some(word) = words.next()? {
                match word {
                    Word::Option(name) => options.take(&name, &mut words)?,
                    Word::Plain(file) if options.config.is_none() => options.config = Some(file.into()),
                    Word::Plain(_) | Word::Separator => {
                        return Err(UsageError("check takes one file: tinysup check [FILE]".to_owned()));
                    }
                }
            }
            options.reject_one("check")?;
            Ok(Command::Check { config: options.config })
        }
        "example" => Ok(Command::Example),
        "version" => Ok(Command::Version),
        "help" => match words.all().first().and_then(|word| verbs::find(word.to_str()?)) {
            Some(verb) => Ok(Command::HelpOf(verb)),
            None => Ok(Command::Help),
        },
        _ if LATER.contains(&name) => Err(UsageError(format!(
            "\"{name}\" is a verb that this version does not support yet; if you mean the program {name}: tinysup -- {name}"
        ))),
        _ => {
            if let Some(verb) = verbs::find(name) {
                options.nothing_before_a_verb()?;
                return ask::parse(verb, name, words);
            }
            let mut argv = vec![word];
            argv.extend(words.all());
            options.one(argv)
        }
    }
}

#[derive(Default)]
struct Options {
    config: Option<PathBuf>,
    one: One,
    verbosity: u8,
    version: bool,
    help: bool,
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
            "-g" => {
                self.one.group = true;
                self.for_one.get_or_insert("-g");
            }
            "-e" => {
                let code = words.value(name)?;
                let code = code.to_str().and_then(|code| code.parse().ok());
                self.one
                    .success_codes
                    .push(code.ok_or_else(|| UsageError("-e takes an exit code from 0 to 255".to_owned()))?);
                self.for_one.get_or_insert("-e");
            }
            "--kill-timeout" => {
                let value = words.value(name)?;
                let timeout = parse_duration(&value.to_string_lossy())
                    .map_err(|error| UsageError(format!("--kill-timeout: {error}")))?;
                self.one.kill_timeout = Some(timeout);
                self.for_one.get_or_insert("--kill-timeout");
            }
            "-p" | "-w" | "-l" => return Err(UsageError(format!("option {name} is not yet supported"))),
            _ => {
                return Err(UsageError(format!(
                    "unknown option {name}; options of a command go after it or after \"--\""
                )));
            }
        }
        Ok(())
    }

    fn one(self, argv: Vec<OsString>) -> Result<Command, UsageError> {
        if argv.is_empty() {
            return Err(UsageError(
                "a command must follow \"--\"; without it the services of the configuration run".to_owned(),
            ));
        }
        if self.config.is_some() {
            return Err(UsageError(
                "-c does not go with one command; for services beside it: tinysup run -c FILE -- COMMAND"
                    .to_owned(),
            ));
        }
        Ok(Command::One(One { argv, verbosity: self.verbosity, ..self.one }))
    }

    /// Without a command and without a verb: version, help, or options that miss their command.
    fn only_about_run(&self) -> Result<Option<Command>, UsageError> {
        if self.version {
            return Ok(Some(Command::Version));
        }
        if self.help {
            return Ok(Some(Command::Help));
        }
        self.reject_one("running the services").map(|()| None)
    }

    fn nothing_before_a_verb(&self) -> Result<(), UsageError> {
        if self.for_one.is_some() || self.config.is_some() || self.verbosity > 0 || self.version || self.help
        {
            return Err(UsageError(
                "options of a verb go after it, and it has no others; a command goes after \"--\"".to_owned(),
            ));
        }
        Ok(())
    }

    fn reject_one(&self, what: &str) -> Result<(), UsageError> {
        match self.for_one {
            Some(option) => {
                Err(UsageError(format!("option {option} is for one command and does not go with {what}")))
            }
            None => Ok(()),
        }
    }
}

enum Word {
    /// `-x` or `--long`, with the dashes.
    Option(String),
    /// `--`.
    Separator,
    /// Anything else.
    Plain(OsString),
}

/// The arguments, taken one by one: `-gv` is `-g -v`, `--config=FILE` and `-cFILE` carry their value.
struct Words {
    rest: std::vec::IntoIter<OsString>,
    /// What is left of a cluster of short options, or the value of a long one.
    cluster: Vec<u8>,
}

impl Words {
    fn next(&mut self) -> Result<Option<Word>, UsageError> {
        if let Some((first, others)) = self.cluster.split_first() {
            let option = format!("-{}", char::from(*first));
            if *first == b'=' || !first.is_ascii_graphic() {
                return Err(UsageError(format!(
                    "unexpected value \"{}\"",
                    String::from_utf8_lossy(&self.cluster)
                )));
            }
            self.cluster = others.to_vec();
            return Ok(Some(Word::Option(option)));
        }
        let Some(word) = self.rest.next() else { return Ok(None) };
        let bytes = word.as_bytes();
        match bytes {
            b"--" => Ok(Some(Word::Separator)),
            [b'-', b'-', ..] => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let (name, value) =
                    text.split_once('=').map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
                self.cluster = value.map(|value| format!("={value}").into_bytes()).unwrap_or_default();
                Ok(Some(Word::Option(name.to_owned())))
            }
            [b'-', cluster @ ..] if !cluster.is_empty() => {
                self.cluster = cluster.to_vec();
                self.next()
            }
            _ => Ok(Some(Word::Plain(word))),
        }
    }

    fn value(&mut self, option: &str) -> Result<OsString, UsageError> {
        let attached = std::mem::take(&mut self.cluster);
        let attached = attached.strip_prefix(b"=").unwrap_or(&attached);
        if !attached.is_empty() {
            return Ok(OsStr::from_bytes(attached).to_owned());
        }
        self.rest.next().ok_or_else(|| UsageError(format!("option {option} needs a value")))
    }

    fn all(&mut self) -> Vec<OsString> {
        self.rest.by_ref().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Command, String> {
        super::parse(words.iter().map(OsString::from)).map_err(|error| error.0)
    }

    fn one(change: impl FnOnce(&mut One), argv: &[&str]) -> Command {
        let mut one = One { argv: argv.iter().map(OsString::from).collect(), ..One::default() };
        change(&mut one);
        Command::One(one)
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
        let rows: [(&[&str], Command); 20] = [
            (&[], run(None, 0, &[])),
            (&["-c", "f"], run(Some("f"), 0, &[])),
            (&["-vcf"], run(Some("f"), 1, &[])),
            (&["--config=f", "run"], run(Some("f"), 0, &[])),
            (&["run", "-c", "f", "--", "a", "-x", "--"], run(Some("f"), 0, &["a", "-x", "--"])),
            (&["bash"], one(|_| {}, &["bash"])),
            (&["bash", "-c", "x"], one(|_| {}, &["bash", "-c", "x"])),
            (&["--", "status"], one(|_| {}, &["status"])),
            (&["-gv", "--", "a"], one(|o| (o.group, o.verbosity) = (true, 1), &["a"])),
            (&["-s", "-e", "143", "-e0", "a"], one(|o| o.success_codes = vec![143, 0], &["a"])),
            (&["--kill-timeout=5s", "a"], one(|o| o.kill_timeout = kill_timeout, &["a"])),
            (&["-"], one(|_| {}, &["-"])),
            (&["check"], Command::Check { config: None }),
            (&["check", "f"], Command::Check { config: Some("f".into()) }),
            (&["check", "-c", "f"], Command::Check { config: Some("f".into()) }),
            (&["--version"], Command::Version),
            (&["version"], Command::Version),
            (&["-h"], Command::Help),
            (&["help"], Command::Help),
            (&["example"], Command::Example),
        ];
        for (words, expected) in rows {
            assert_eq!(parse(words), Ok(expected), "{words:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_with_advice() {
        for (words, part) in [
            (&["--"][..], "a command must follow"),
            (&["run", "--"], "a command must follow"),
            (&["run", "bash"], "tinysup run -- bash"),
            (&["-c"], "needs a value"),
            (&["-c", "f", "bash"], "tinysup run -c FILE"),
            (&["-x", "bash"], "unknown option -x"),
            (&["--foo"], "unknown option --foo"),
            (&["-g"], "option -g is for one command"),
            (&["-g", "run"], "option -g is for one command"),
            (&["-e", "256", "a"], "0 to 255"),
            (&["--kill-timeout", "soon", "a"], "not a duration"),
            (&["reload"], "tinysup -- reload"),
            (&["-p", "SIGTERM", "a"], "not yet supported"),
            (&["check", "a", "b"], "one file"),
            (&["--verbose=3"], "unexpected value"),
            (&["-v=3"], "unexpected value"),
        ] {
            let error = parse(words).expect_err(&words.join(" "));
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }

    #[test]
    fn arguments_that_are_no_utf8_pass_unchanged() {
        let odd = OsStr::from_bytes(b"\xff\xfe").to_owned();
        let Ok(Command::One(one)) = super::parse(["a".into(), odd.clone()]) else { panic!() };
        assert_eq!(one.argv.last(), Some(&odd));
    }
}
