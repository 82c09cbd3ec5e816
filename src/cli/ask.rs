//! What follows a verb: options and names become the request that is sent, and how its answer is shown. Pure.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::verbs::{self, Does, Opt, STATES, Spec, Takes};
use super::{Command, UsageError, Word, Words, usage};
use crate::control::{Request, Stream, VERSION, Wanted};
use crate::gather::{Gather, Joined};
use crate::suggest;
use crate::units::{Signal, parse_duration};

/// How long `wait` waits if it is not told.
const WAIT: Duration = Duration::from_secs(30);
/// How long a change may take, if it is not told.
const CHANGE: Duration = Duration::from_mins(2);

/// What others call an option of ours: docker, kubectl, tail and pm2.
const FOREIGN: &str = "\
--tail -N -> --lines
--err -> --stderr
--out -> --stdout
--watch -> --follow";

/// A question to the tinysup that runs.
#[derive(Debug, PartialEq, Eq)]
pub struct Ask {
    /// The verb, as it was written: the name of a program, perhaps, that was meant instead.
    pub word: String,
    /// What is sent.
    pub request: Request,
    /// The protocol's objects instead of text.
    pub json: bool,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
}

/// Reads what follows a verb.
pub(super) fn parse(verb: &'static Spec, word: &str, words: &mut Words) -> Result<Command, UsageError> {
    let mut ask = Box::new(Ask {
        word: word.to_owned(),
        request: Request { v: VERSION, wait: true, ..Request::default() },
        json: false,
        timeout: None,
        socket: None,
    });
    if options(&mut ask, verb, words)? {
        return Ok(Command::HelpOf(verb));
    }
    match verb.does {
        Does::Completions => shell(&ask).map(Command::Completions),
        Does::Ask(does) => {
            ask.request.verb = does;
            complete(&mut ask, verb)?;
            Ok(Command::Ask(ask))
        }
        Does::Top => {
            complete(&mut ask, verb)?;
            Ok(Command::Top(ask))
        }
    }
}

/// All options and words. Whether only help is wanted.
#[inline(never)]
fn options(ask: &mut Ask, verb: &'static Spec, words: &mut Words) -> Result<bool, UsageError> {
    while let Some(next) = words.next()? {
        let name = match next {
            Word::Plain(name) => {
                plain(ask, name)?;
                continue;
            }
            Word::Separator => {
                for name in words.all() {
                    plain(ask, name)?;
                }
                continue;
            }
            Word::Option(name) => name,
        };
        let request = &mut ask.request;
        match find(verb, &ask.word, &name)? {
            Opt::Help => return Ok(true),
            Opt::Json => ask.json = true,
            Opt::NoWait => request.wait = false,
            Opt::WithDependents => request.dependents = true,
            Opt::DryRun => request.dry_run = true,
            Opt::Group => request.group = true,
            Opt::Pss => request.pss = true,
            Opt::Follow => request.follow = true,
            Opt::Lines => request.lines = Some(number(&name, words)?),
            Opt::Since => request.since_ms = Some(milliseconds(duration(&name, words)?)),
            Opt::Stdout => one_stream(request, Stream::Stdout)?,
            Opt::Stderr => one_stream(request, Stream::Stderr)?,
            Opt::For => request.state = Some(state(&name, words)?),
            Opt::Live => request.state = Some(Wanted::Live),
            Opt::Ready => request.state = Some(Wanted::Ready),
            Opt::Timeout => ask.timeout = Some(duration(&name, words)?),
            Opt::Socket => ask.socket = Some(words.value(&name)?.into()),
        }
    }
    Ok(false)
}

/// A word that is no option.
fn plain(ask: &mut Ask, word: OsString) -> Result<(), UsageError> {
    let name = word
        .into_string()
        .map_err(|word| wrong(&ask.word, &format!("\"{}\" is not a name", word.display())))?;
    ask.request.names.push(name);
    Ok(())
}

fn shell(ask: &Ask) -> Result<&'static str, UsageError> {
    if let [shell] = ask.request.names.as_slice()
        && let Some(known) = verbs::SHELLS.iter().find(|known| *known == shell)
    {
        return Ok(known);
    }
    Err(wrong(&ask.word, "completions takes a shell: bash, zsh or fish"))
}

/// Whether the words are those that the verb takes, and what follows from all that was said.
#[inline(never)]
fn complete(ask: &mut Ask, verb: &'static Spec) -> Result<(), UsageError> {
    let (word, request) = (&ask.word, &mut ask.request);
    match verb.takes {
        Takes::Nothing => {
            if let Some(more) = request.names.first() {
                return Err(wrong(word, &format!("{word} takes no \"{more}\"")));
            }
        }
        Takes::Names | Takes::NamesOrAll | Takes::Shell => {}
        Takes::SignalAndNames => {
            if request.names.is_empty() {
                return Err(wrong(
                    word,
                    "signal takes a signal and names, or \"all\": tinysup signal HUP NAME",
                ));
            }
            request.signal = request.names.remove(0);
            Signal::parse(&request.signal).map_err(|error| wrong(word, &error))?;
        }
    }
    if matches!(verb.takes, Takes::NamesOrAll | Takes::SignalAndNames) && request.names.is_empty() {
        let so_far = [word, request.signal.as_str()].joined(" ");
        let what = format!("{word} what? Name services, or \"all\": tinysup {} all", so_far.trim_end());
        return Err(wrong(word, &what));
    }
    request.wait &= verb.options.contains(&Opt::NoWait);
    let state = verb.options.contains(&Opt::For);
    if state || verb.options.contains(&Opt::Ready) {
        request.state.get_or_insert(Wanted::Ready);
    }
    if state || request.wait {
        let usual = if request.wait { CHANGE } else { WAIT };
        request.timeout_ms = Some(milliseconds(ask.timeout.unwrap_or(usual)));
    }
    Ok(())
}

#[inline(never)]
fn find(verb: &'static Spec, word: &str, name: &str) -> Result<Opt, UsageError> {
    let is = |option: &verbs::OptSpec| {
        option.long == name
            || option
                .short
                .is_some_and(|short| name.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4])))
    };
    let options = verbs::options_of(verb);
    options.iter().find(|option| is(option)).map(|option| option.opt).ok_or_else(|| {
        let known = options.iter().map(|option| option.long).gather();
        let digits = name.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        let other = suggest::answer(FOREIGN, if digits { "-N" } else { name }).unwrap_or(name);
        let meant =
            suggest::did_you_mean(other, &known).map(|question| format!(", {question}")).unwrap_or_default();
        wrong(word, &format!("{word} has no option {name}{meant}"))
    })
}

/// Many verbs are also programs, and an image's command may have been meant.
#[inline(never)]
fn wrong(verb: &str, what: &str) -> UsageError {
    usage(&format_args!("{what} (options: tinysup help {verb}; the program {verb}: tinysup -- {verb})"))
}

#[inline(never)]
fn value(option: &str, words: &mut Words) -> Result<String, UsageError> {
    Ok(words.value(option)?.to_string_lossy().into_owned())
}

#[inline(never)]
fn duration(option: &str, words: &mut Words) -> Result<Duration, UsageError> {
    let value = value(option, words)?;
    parse_duration(&value).map_err(|error| usage(&format_args!("{option}: {error}")))
}

#[inline(never)]
fn number(option: &str, words: &mut Words) -> Result<u32, UsageError> {
    let value = value(option, words)?;
    value.parse().map_err(|_| usage(&format_args!("{option}: \"{value}\" is not a number of lines")))
}

#[inline(never)]
fn state(option: &str, words: &mut Words) -> Result<Wanted, UsageError> {
    let value = value(option, words)?;
    match value.as_str() {
        "ready" => Ok(Wanted::Ready),
        "completed" => Ok(Wanted::Completed),
        "stopped" => Ok(Wanted::Stopped),
        "live" => Ok(Wanted::Live),
        _ => Err(usage(&format_args!("{option}: \"{value}\" is none of {}", STATES.listed()))),
    }
}

#[inline(never)]
fn one_stream(request: &mut Request, stream: Stream) -> Result<(), UsageError> {
    match request.stream.replace(stream) {
        Some(other) if other != stream => {
            Err(usage(&"--stdout and --stderr are both shown if neither is given"))
        }
        Some(_) | None => Ok(()),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::control::Verb;

    fn parse(words: &[&str]) -> Result<Command, UsageError> {
        let words = ["tinysup"].iter().chain(words).map(OsString::from);
        crate::cli::parse(words, &|_| None, &|_| false)
    }

    fn ask(words: &[&str]) -> Result<Ask, String> {
        match parse(words) {
            Ok(Command::Ask(ask)) => Ok(*ask),
            Ok(other) => panic!("{words:?}: {other:?}"),
            Err(error) => Err(error.0.into()),
        }
    }

    fn request(verb: Verb, change: impl FnOnce(&mut Request)) -> Request {
        let mut request = Request { v: VERSION, verb, ..Request::default() };
        change(&mut request);
        request
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn verbs_become_requests() {
        let rows: [(&[&str], Request); 22] = [
            (&["memory"], request(Verb::Memory, |_| {})),
            (&["mem", "--pss", "db"], request(Verb::Memory, |r| (r.pss, r.names) = (true, names(&["db"])))),
            (&["status"], request(Verb::Status, |_| {})),
            (&["ps", "db", "api.2"], request(Verb::Status, |r| r.names = names(&["db", "api.2"]))),
            (&["show", "--", "-db"], request(Verb::Describe, |r| r.names = names(&["-db"]))),
            (&["start"], request(Verb::Start, |r| (r.wait, r.timeout_ms) = (true, Some(120_000)))),
            (&["start", "--no-wait", "db"], request(Verb::Start, |r| r.names = names(&["db"]))),
            (
                &["stop", "all", "--timeout=1m"],
                request(Verb::Stop, |r| {
                    (r.wait, r.timeout_ms, r.names) = (true, Some(60_000), names(&["all"]));
                }),
            ),
            (
                &["restart", "db", "--with-dependents", "--no-wait"],
                request(Verb::Restart, |r| (r.dependents, r.names) = (true, names(&["db"]))),
            ),
            (
                &["signal", "-g", "hup", "api"],
                request(Verb::Signal, |r| {
                    (r.group, r.signal, r.names) = (true, "hup".to_owned(), names(&["api"]));
                }),
            ),
            (&["logs"], request(Verb::Logs, |_| {})),
            (
                &["logs", "-fn20", "api"],
                request(Verb::Logs, |r| (r.follow, r.lines, r.names) = (true, Some(20), names(&["api"]))),
            ),
            (
                &["logs", "--since=1m", "--stderr"],
                request(Verb::Logs, |r| (r.since_ms, r.stream) = (Some(60_000), Some(Stream::Stderr))),
            ),
            (&["logs", "--lines", "0"], request(Verb::Logs, |r| r.lines = Some(0))),
            (&["events", "-f"], request(Verb::Events, |r| r.follow = true)),
            (
                &["wait", "db"],
                request(Verb::Wait, |r| {
                    (r.state, r.timeout_ms, r.names) = (Some(Wanted::Ready), Some(30_000), names(&["db"]));
                }),
            ),
            (
                &["wait", "--for", "stopped", "--timeout", "5s"],
                request(Verb::Wait, |r| (r.state, r.timeout_ms) = (Some(Wanted::Stopped), Some(5_000))),
            ),
            (
                &["wait", "--for=completed"],
                request(Verb::Wait, |r| (r.state, r.timeout_ms) = (Some(Wanted::Completed), Some(30_000))),
            ),
            (&["health"], request(Verb::Health, |r| r.state = Some(Wanted::Ready))),
            (&["health", "--live"], request(Verb::Health, |r| r.state = Some(Wanted::Live))),
            (
                &["health", "--ready", "db"],
                request(Verb::Health, |r| (r.state, r.names) = (Some(Wanted::Ready), names(&["db"]))),
            ),
            (&["shutdown", "--no-wait"], request(Verb::Shutdown, |_| {})),
        ];
        for (words, expected) in rows {
            assert_eq!(ask(words).map(|ask| ask.request), Ok(expected), "{words:?}");
        }
    }

    #[test]
    fn how_it_is_asked_and_shown() {
        let asked = ask(&["ls", "--json", "--socket", "/s", "--timeout", "2s"]).unwrap();
        assert_eq!(
            asked,
            Ask {
                word: "ls".to_owned(),
                request: request(Verb::Status, |_| {}),
                json: true,
                timeout: Some(Duration::from_secs(2)),
                socket: Some("/s".into()),
            }
        );
    }

    #[test]
    fn verbs_that_ask_nobody_or_often() {
        let parse = |words: &[&str]| parse(words).unwrap();
        assert_eq!(parse(&["completions", "fish"]), Command::Completions("fish"));
        assert!(
            matches!(parse(&["monit"]), Command::Top(ask) if ask.request == request(Verb::Status, |_| {}))
        );
        assert_eq!(parse(&["stop", "--help"]), Command::HelpOf(verbs::find("stop").unwrap()));
        assert_eq!(parse(&["help", "stop"]), Command::HelpOf(verbs::find("stop").unwrap()));
        assert!(matches!(parse(&["--", "stop"]), Command::One(one) if one.argv == ["stop"]));
    }

    #[test]
    fn slips_are_told_with_the_remedy() {
        for (words, part) in [
            (&["stop"][..], "stop what? Name services, or \"all\": tinysup stop all"),
            (&["restart", "--no-wait"], "tinysup restart all"),
            (&["signal"], "tinysup signal HUP NAME"),
            (&["signal", "HUP"], "tinysup signal HUP all"),
            (&["signal", "api", "HUP"], "\"api\" is not a signal"),
            (&["ps", "-ef"], "ps has no option -e (options: tinysup help ps; the program ps: tinysup -- ps)"),
            (&["logs", "--folow"], "did you mean \"--follow\"?"),
            (&["logs", "--tail", "5"], "logs has no option --tail, did you mean \"--lines\"?"),
            (&["logs", "-50"], "logs has no option -5, did you mean \"--lines\"?"),
            (&["stop", "--tail", "5"], "stop has no option --tail (options"),
            (&["status", "--jsn"], "did you mean \"--json\"?"),
            (&["logs", "-n", "x"], "-n: \"x\" is not a number of lines"),
            (&["logs", "-n"], "needs a value"),
            (&["logs", "--since", "soon"], "--since: \"soon\" is not a duration"),
            (&["logs", "--stdout", "--stderr"], "both"),
            (&["wait", "--for", "better"], "ready, completed, stopped, live"),
            (&["shutdown", "now"], "takes no \"now\""),
            (&["completions"], "bash, zsh or fish"),
            (&["completions", "tcsh"], "bash, zsh or fish"),
            (&["completions", "bash", "zsh"], "bash, zsh or fish"),
            (&["top", "--json"], "top has no option --json"),
            (&["-v", "status"], "options of a verb go after it, a command after"),
            (&["-c", "f", "status"], "options of a verb go after it, a command after"),
            (&["-g", "status"], "options of a verb go after it, a command after"),
            (&["--json", "status"], "unknown option --json"),
            (&["status", "--json=x"], "unexpected value"),
        ] {
            let error = ask(words).expect_err(&words.join(" "));
            assert!(error.contains(part), "{words:?}: {error}");
        }
        let odd = OsStr::from_bytes(b"\xff").to_owned();
        assert!(crate::cli::parse(["tinysup".into(), "status".into(), odd], &|_| None, &|_| false).is_err());
    }
}
