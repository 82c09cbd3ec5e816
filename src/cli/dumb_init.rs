//! The command line of dumb-init, for whoever calls us by that name.

use super::one::{One, Receivers, Rest};
use super::words::{Word, Words};
use super::{Command, Environment, Said, UsageError, common_option, long_option, rewriting, usage};
use crate::gather::Gather;
use crate::sorted::Map;
use crate::texts::text;
use crate::units::Signal;
use crate::voice::Voice;

const VERSION: &str = concat!("dumb-init v1.2.5 (tinysup ", env!("CARGO_PKG_VERSION"), ")\n");

const HELP: &str = "dumb-init.txt";

const USAGE: &str = "\
dumb-init: a command is missing: dumb-init [OPTIONS] COMMAND [ARG...]
dumb-init --help tells more.
";

const LONG: [(&str, &str); 8] = [
    ("--single-child", "-c"),
    ("--rewrite", "-r"),
    ("--verbose", "-v"),
    ("--help", "-h"),
    ("--version", "-V"),
    ("--grace", "--grace"),
    ("--kill-timeout", "--kill-timeout"),
    ("--all", "--all"),
];

/// Where the command leads a session its group is an orphan, in which these stop nobody.
const OF_THE_TERMINAL: [Signal; 3] = [Signal::TSTP, Signal::TTIN, Signal::TTOU];

/// Reads the words after the program's name.
#[inline(never)]
pub fn parse(mut words: Words, environment: Environment<'_>) -> Command {
    let mut one = One { voice: Voice::DumbInit, ..One::default() };
    Command::Say(match read(&mut words, environment, &mut one) {
        Ok(None) => return Command::One(Box::new(one)),
        Ok(Some(said)) => said,
        Err(UsageError(text)) => Said::refusal(format!("dumb-init: {text}\n"), None),
    })
}

/// Reads the words. `None`: they ask for a command to be run.
#[inline(never)]
fn read(words: &mut Words, environment: Environment<'_>, one: &mut One) -> Result<Option<Said>, UsageError> {
    let is = |name: &str, value: &str| environment(name).is_some_and(|found| found == value);
    one.session = !is("DUMB_INIT_SETSID", "0");
    one.manner.suspend = true;
    one.manner.rest = Rest::AskGroup;
    one.manner.start_failure = Some(2);
    let mut verbose = is("DUMB_INIT_DEBUG", "1");
    let mut rewrite = Map::new();
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
            "-c" => one.session = false,
            "-v" => verbose = true,
            "-h" => return Ok(Some(Said::aside(&text(HELP)))),
            "-V" => return Ok(Some(Said::aside(VERSION))),
            "-r" => {
                let value = words.value("-r")?;
                let (from, to) = rewriting(&value.to_string_lossy())?;
                rewrite.insert(from, to);
            }
            _ => match common_option(&name, words, one) {
                Some(result) => result?,
                None => {
                    return Err(usage(&format_args!("unknown option {name}; dumb-init --help shows all")));
                }
            },
        }
    }
    words.add_all(&mut one.argv);
    if one.argv.is_empty() {
        return Ok(Some(Said::refusal(USAGE.to_owned(), None)));
    }
    one.verbosity = if verbose { 3 } else { 0 };
    if one.session {
        for signal in OF_THE_TERMINAL {
            rewrite.get_or_insert_with(signal, || Some(Signal::STOP));
        }
    }
    one.rewrite = rewrite.into_iter().gather();
    let manner = &mut one.manner;
    match (one.session, manner.receivers, manner.rest) {
        (true, Receivers::Command, _) => manner.receivers = Receivers::Group,
        (false, _, Rest::AskGroup) => manner.rest = Rest::Leave,
        _ => {}
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use super::*;

    const SESSION: [(Signal, Option<Signal>); 3] = [
        (Signal::TSTP, Some(Signal::STOP)),
        (Signal::TTIN, Some(Signal::STOP)),
        (Signal::TTOU, Some(Signal::STOP)),
    ];

    fn parse(words: &[&str], environment: &[(&str, &str)]) -> Command {
        super::super::tests::parse_as("dumb-init", words, environment).unwrap()
    }

    fn expected(session: bool, change: impl FnOnce(&mut One)) -> Command {
        let mut one =
            One { voice: Voice::DumbInit, session, argv: vec![OsString::from("a")], ..One::default() };
        one.manner.suspend = true;
        one.manner.start_failure = Some(2);
        if session {
            (one.manner.receivers, one.manner.rest) = (Receivers::Group, Rest::AskGroup);
            one.rewrite = SESSION.to_vec();
        } else {
            one.manner.rest = Rest::Leave;
        }
        change(&mut one);
        Command::One(Box::new(one))
    }

    #[test]
    fn the_words_mean_what_they_mean_to_dumb_init() {
        let single = |words: &[&str], change: fn(&mut One)| {
            assert_eq!(parse(&[&["-c"], words].concat(), &[]), expected(false, change), "{words:?}");
        };
        single(&["a"], |_| {});
        single(&["-v", "--", "a"], |o| o.verbosity = 3);
        single(&["-r", "15:2", "a"], |o| o.rewrite = vec![(Signal::TERM, Some(Signal::INT))]);
        single(&["-r15:2", "-r", "15:0", "a"], |o| o.rewrite = vec![(Signal::TERM, None)]);
        single(&["--rewrite", "15:2xyz", "a"], |o| o.rewrite = vec![(Signal::TERM, Some(Signal::INT))]);
        single(&["--rew=TERM:QUIT", "a"], |o| o.rewrite = vec![(Signal::TERM, Some(Signal::QUIT))]);
        single(&["--grace=0", "a"], |o| o.manner.rest = Rest::Leave);
        single(&["--grace=3s", "a"], |o| o.manner.rest = Rest::Stop(Duration::from_secs(3)));
        single(&["--grace=1s", "a"], |o| o.manner.rest = Rest::Stop(Duration::from_secs(1)));
        let second = expected(true, |o| o.manner.rest = Rest::Stop(Duration::from_secs(1)));
        assert_eq!(parse(&["--grace=1s", "a"], &[]), second);
        for words in [&["a"][..], &["--", "a"]] {
            assert_eq!(parse(words, &[]), expected(true, |_| {}), "{words:?}");
        }
        for words in [&["--sing", "a"][..], &["--single-child", "a"], &["-c", "a"]] {
            assert_eq!(parse(words, &[]), expected(false, |_| {}), "{words:?}");
        }
        let rewritten = parse(&["-r", "20:1", "a"], &[]);
        assert_eq!(rewritten, expected(true, |o| o.rewrite[0] = (Signal::TSTP, Some(Signal::HUP))));
    }

    #[test]
    fn variables_are_options_too() {
        assert_eq!(parse(&["a"], &[("DUMB_INIT_SETSID", "0")]), expected(false, |_| {}));
        assert_eq!(parse(&["a"], &[("DUMB_INIT_SETSID", "")]), expected(true, |_| {}));
        assert_eq!(parse(&["a"], &[("DUMB_INIT_DEBUG", "1")]), expected(true, |o| o.verbosity = 3));
        assert_eq!(parse(&["a"], &[("DUMB_INIT_DEBUG", "0")]), expected(true, |_| {}));
        assert_eq!(parse(&["a"], &[("TINI_KILL_PROCESS_GROUP", "")]), expected(true, |_| {}));
    }

    #[test]
    fn what_is_said() {
        for (words, start, code) in [
            (&["-V"][..], "dumb-init v1.2.5", 0),
            (&["--vers"], "dumb-init v1.2.5", 0),
            (&["-h"], "dumb-init v1.2.5", 0),
            (&[], "dumb-init: a command is missing", 1),
            (&["-c"], "dumb-init: a command is missing", 1),
            (&["-x", "a"], "dumb-init: unknown option -x", 1),
            (&["--ver", "a"], "dumb-init: option --ver may be --verbose or --version", 1),
            (&["-r", "99:1", "a"], "dumb-init: \"99:1\"", 1),
            (&["-r", "15", "a"], "dumb-init: \"15\"", 1),
        ] {
            match parse(words, &[]) {
                Command::Say(said) => {
                    assert!(said.text.starts_with(start) && said.code.0 == code, "{words:?}: {said:?}");
                    assert_eq!(said.sink, crate::event::Sink::Stderr, "{words:?}");
                }
                other => panic!("{words:?}: {other:?}"),
            }
        }
    }
}
