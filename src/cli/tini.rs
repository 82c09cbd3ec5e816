//! The command line of tini, for whoever calls us by that name, or by docker-init: `dockerd --init-path` runs it so.
//!
//! Unlike tini's, options end at the first word that is none, so a command's own options need no `--`.

use super::one::{One, Receivers, Rest};
use super::words::{Word, Words};
use super::{Command, Environment, Said, UsageError, common_option, decimal, usage};
use crate::texts::{LICENCE, text};
use crate::units::{Signal, parse_number};
use crate::voice::Voice;

/// dockerd and others take the version from what follows `tini version`.
const VERSION: &str = concat!("tini version 0.19.0 (tinysup ", env!("CARGO_PKG_VERSION"), ")\n");

const HELP: &str = "tini.txt";

/// Reads the words after the program's name.
#[inline(never)]
pub fn parse(mut words: Words, environment: Environment<'_>) -> Command {
    let mut one = one();
    Command::Say(match read(&mut words, environment, &mut one) {
        Ok(None) => return Command::One(Box::new(one)),
        Ok(Some(said)) => said,
        Err(Wrong::Usage) => Said::refusal(text(HELP), None),
        Err(Wrong::Option(problem)) => Said::refusal(format!("tini: {problem}\n\n{}", text(HELP)), None),
        Err(Wrong::Fatal(text)) => Said::refusal(text.into(), Some(Voice::Tini)),
    })
}

enum Wrong {
    Usage,
    Option(Box<str>),
    Fatal(Box<str>),
}

/// Reads the words. `None`: they ask for a command to be run.
#[inline(never)]
fn read(words: &mut Words, environment: Environment<'_>, one: &mut One) -> Result<Option<Said>, Wrong> {
    // A word that cannot be understood is answered with how it is used.
    let option = |error: UsageError| Wrong::Option(error.0);
    if words.is_only("--version") {
        return Ok(Some(Said::text(VERSION)));
    }
    loop {
        let name = match words.next().map_err(option)? {
            Some(Word::Option(name)) => name,
            Some(Word::Separator) | None => break,
            Some(Word::Plain(program)) => {
                one.argv.push(program);
                break;
            }
        };
        match name.as_str() {
            "-s" => one.adopt = true,
            "-g" => one.manner.receivers = Receivers::Group,
            "-w" => one.manner.tell_reaped = true,
            "-v" => one.verbosity = one.verbosity.saturating_add(1),
            "-h" => return Ok(Some(Said::text(&text(HELP)))),
            "-l" => return Ok(Some(Said::text(&text(LICENCE)))),
            "-p" => {
                let value = words.value("-p").map_err(option)?;
                let value = value.to_string_lossy();
                let signal = Signal::parse(&value);
                one.parent_death = Some(signal.map_err(|_| {
                    Wrong::Fatal(usage(&format_args!("Not a valid option for -p: {value}")).0)
                })?);
            }
            "-e" => {
                let value = words.value("-e").map_err(option)?;
                let code = value.to_str().and_then(parse_number);
                one.success_codes.push(code.ok_or_else(|| {
                    Wrong::Fatal(usage(&format_args!("Not a valid option for -e: {}", value.display())).0)
                })?);
            }
            _ => match common_option(&name, words, one) {
                Some(result) => result.map_err(|error| Wrong::Fatal(error.0))?,
                None => return Err(Wrong::Option(usage(&format_args!("unknown option {name}")).0)),
            },
        }
    }
    words.add_all(&mut one.argv);
    if one.argv.is_empty() {
        return Err(Wrong::Usage);
    }
    variables(one, environment);
    Ok(None)
}

/// What tini does without an option.
fn one() -> One {
    let mut one = One { voice: Voice::Tini, verbosity: 1, adopt: false, ..One::default() };
    one.manner.rest = Rest::Leave;
    one
}

/// Docker's `--init` passes no options, only the environment. Of the first two the presence counts.
pub fn variables(one: &mut One, environment: Environment<'_>) {
    if environment("TINI_SUBREAPER").is_some() {
        one.adopt = true;
    }
    if environment("TINI_KILL_PROCESS_GROUP").is_some() && one.manner.receivers == Receivers::Command {
        one.manner.receivers = Receivers::Group;
    }
    if let Some(level) = environment("TINI_VERBOSITY") {
        one.verbosity = decimal(&level);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use super::*;

    fn parse(words: &[&str], environment: &[(&str, &str)]) -> Command {
        super::super::tests::parse_as("/sbin/tini", words, environment).unwrap()
    }

    fn expected(change: impl FnOnce(&mut One), argv: &[&str]) -> Command {
        let mut expected = One { argv: argv.iter().map(OsString::from).collect(), ..one() };
        change(&mut expected);
        Command::One(Box::new(expected))
    }

    #[test]
    fn the_words_mean_what_they_mean_to_tini() {
        for (words, change, argv) in [
            (&["a"][..], (|_| {}) as fn(&mut One), &["a"][..]),
            (&["--", "a", "-x"], |_| {}, &["a", "-x"]),
            (&["--", "--", "a"], |_| {}, &["--", "a"]),
            (&["sh", "-c", "x"], |_| {}, &["sh", "-c", "x"]),
            (&["-s", "--", "a"], |o| o.adopt = true, &["a"]),
            (&["-g", "a"], |o| o.manner.receivers = Receivers::Group, &["a"]),
            (&["-w", "a"], |o| o.manner.tell_reaped = true, &["a"]),
            (&["-vvv", "a"], |o| o.verbosity = 4, &["a"]),
            (&["-pSIGKILL", "a"], |o| o.parent_death = Some(Signal::KILL), &["a"]),
            (&["-p", "SIGTERM", "a"], |o| o.parent_death = Some(Signal::TERM), &["a"]),
            (&["-e", "143", "-e0", "a"], |o| o.success_codes = vec![143, 0], &["a"]),
            (&["--grace", "2s", "a"], |o| o.manner.rest = Rest::Stop(Duration::from_secs(2)), &["a"]),
            (&["--all", "a"], |o| o.manner.receivers = Receivers::Everybody, &["a"]),
        ] {
            assert_eq!(parse(words, &[]), expected(change, argv), "{words:?}");
        }
    }

    #[test]
    fn variables_are_options_too() {
        for (variable, change) in [
            (("TINI_SUBREAPER", ""), (|o| o.adopt = true) as fn(&mut One)),
            (("TINI_KILL_PROCESS_GROUP", ""), |o| o.manner.receivers = Receivers::Group),
            (("TINI_VERBOSITY", "3"), |o| o.verbosity = 3),
            (("TINI_VERBOSITY", "loud"), |o| o.verbosity = 0),
            (("TINYSUP_GRACE", "5s"), |o| o.manner.rest = Rest::Stop(Duration::from_secs(5))),
            (("DUMB_INIT_SETSID", "0"), |_| {}),
        ] {
            assert_eq!(parse(&["a"], &[variable]), expected(change, &["a"]), "{variable:?}");
        }
        let level = parse(&["-vvv", "a"], &[("TINI_VERBOSITY", "1")]);
        assert_eq!(level, expected(|o| o.verbosity = 1, &["a"]));
    }

    #[test]
    fn what_is_said() {
        let said = |words: &[&str]| match parse(words, &[]) {
            Command::Say(said) => said,
            other => panic!("{words:?}: {other:?}"),
        };
        for (words, start) in [
            (&["--version"][..], "tini version 0.19.0 (tinysup "),
            (&["-h"], "tinysup "),
            (&["-l"], "tinysup is licensed"),
        ] {
            let said = said(words);
            assert!(said.text.starts_with(start) && said.code.0 == 0, "{words:?}: {said:?}");
        }
        for (words, part, voice) in [
            (&[][..], "more verbose", None),
            (&["--"], "valid init process", None),
            (&["-x", "a"], "tini: unknown option -x\n\ntinysup ", None),
            (&["-x", "a"], "tini [-sgwv]", None),
            (&["--foo=1", "a"], "tini: unknown option --foo\n", None),
            (&["--version", "foo"], "tini: unknown option --version\n", None),
            (&["-p"], "tini: option -p needs a value\n", None),
            (&["-p", "SIGFOO", "a"], "Not a valid option for -p: SIGFOO", Some(Voice::Tini)),
            (&["-e", "256", "a"], "Not a valid option for -e: 256", Some(Voice::Tini)),
            (&["--grace", "soon", "a"], "not a duration", Some(Voice::Tini)),
        ] {
            let said = said(words);
            assert!(said.text.contains(part) && said.code.0 == 1, "{words:?}: {said:?}");
            assert_eq!(said.voice, voice, "{words:?}");
        }
    }
}
