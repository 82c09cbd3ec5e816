//! The command line of catatonit, for whoever calls us by that name, or by podman-init.
//!
//! Unlike catatonit's, options end at the first word that is none, so a command's own options need no `--`.

use super::one::{One, Receivers, Rest};
use super::words::{Word, Words};
use super::{Command, Environment, Said, UsageError, common_option, long_option, usage};
use crate::texts::{LICENCE, text};
use crate::voice::Voice;

/// In tini's form, as catatonit has it: dockerd takes the version from there.
const VERSION: &str = concat!("tini version 0.2.1_catatonit (tinysup ", env!("CARGO_PKG_VERSION"), ")\n");

const HELP: &str = "catatonit.txt";

const LONG: [(&str, &str); 5] = [
    ("--version", "-V"),
    ("--rewrite", "--rewrite"),
    ("--grace", "--grace"),
    ("--kill-timeout", "--kill-timeout"),
    ("--all", "--all"),
];

/// Reads the words after the program's name.
#[inline(never)]
pub fn parse(mut words: Words, environment: Environment<'_>) -> Command {
    let mut one = One { voice: Voice::Catatonit, ..One::default() };
    one.manner.rest = Rest::Leave;
    one.manner.start_failure = Some(1);
    Command::Say(match read(&mut words, environment, &mut one) {
        Ok(None) if one.argv.is_empty() => {
            return Command::Pause { voice: one.voice, verbosity: one.verbosity };
        }
        Ok(None) => return Command::One(Box::new(one)),
        Ok(Some(said)) => said,
        Err(UsageError(text)) => Said::refusal(text.into(), Some(Voice::Catatonit)),
    })
}

/// Reads the words. `None`: they ask for a command to be run, or for nothing to be, where there is none.
#[inline(never)]
fn read(words: &mut Words, environment: Environment<'_>, one: &mut One) -> Result<Option<Said>, UsageError> {
    let mut pause = false;
    while let Some(word) = words.next()? {
        let name = match word {
            Word::Option(name) => long_option(&name, &LONG)?,
            Word::Separator => break,
            Word::Plain(program) => {
                one.argv.push(program);
                break;
            }
        };
        match name.as_str() {
            "-g" => one.manner.receivers = Receivers::Group,
            "-P" => pause = true,
            "-V" => return Ok(Some(Said::text(VERSION))),
            "-L" => return Ok(Some(Said::text(&text(LICENCE)))),
            "-h" => return Ok(Some(Said::aside(&text(HELP)))),
            _ => match common_option(&name, words, one) {
                Some(result) => result?,
                None => return Err(usage(&format_args!("unknown option {name}; catatonit -h shows all"))),
            },
        }
    }
    if environment("CATATONIT_LOG").is_some() {
        return Err(usage(&"CATATONIT_LOG is reserved; unset it, CATATONIT_DEBUG tells what happens"));
    }
    if environment("CATATONIT_DEBUG").is_some() {
        one.verbosity = 3;
    }
    if pause {
        one.argv.clear();
        return Ok(None);
    }
    words.add_all(&mut one.argv);
    if one.argv.is_empty() {
        return Err(usage(&"missing program name: catatonit [-g] [--] COMMAND [ARG...]"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn parse(words: &[&str], environment: &[(&str, &str)]) -> Command {
        super::super::tests::parse_as("/usr/libexec/podman/catatonit", words, environment).unwrap()
    }

    fn expected(change: impl FnOnce(&mut One)) -> Command {
        let mut one = One { voice: Voice::Catatonit, argv: vec![OsString::from("a")], ..One::default() };
        one.manner.rest = Rest::Leave;
        one.manner.start_failure = Some(1);
        change(&mut one);
        Command::One(Box::new(one))
    }

    #[test]
    fn the_words_mean_what_they_mean_to_catatonit() {
        let pause = |verbosity| Command::Pause { voice: Voice::Catatonit, verbosity };
        for (words, variables, command) in [
            (&["a"][..], &[][..], expected(|_| {})),
            (&["--", "a"], &[], expected(|_| {})),
            (&["-g", "--", "a"], &[], expected(|o| o.manner.receivers = Receivers::Group)),
            (&["a"], &[("CATATONIT_DEBUG", "")], expected(|o| o.verbosity = 3)),
            (&["-P"], &[], pause(0)),
            (&["-P", "a"], &[("CATATONIT_DEBUG", "1")], pause(3)),
        ] {
            assert_eq!(parse(words, variables), command, "{words:?}");
        }
    }

    #[test]
    fn what_is_said() {
        for (words, variables, part, code) in [
            (&["-V"][..], &[][..], "tini version 0.2.1_catatonit", 0),
            (&["--vers"], &[], "tini version 0.2.1_catatonit", 0),
            (&["-L"], &[], "MIT License", 0),
            (&["-h"], &[], "catatonit -P", 0),
            (&[], &[], "missing program name", 1),
            (&["-x", "a"], &[], "unknown option -x", 1),
            (&["a"], &[("CATATONIT_LOG", "")], "CATATONIT_LOG is reserved", 1),
        ] {
            match parse(words, variables) {
                Command::Say(said) => {
                    assert!(said.text.contains(part) && said.code.0 == code, "{words:?}: {said:?}");
                }
                other => panic!("{words:?}: {other:?}"),
            }
        }
    }
}
