//! The verbs that ask the tinysup that runs: what is sent, how its answer is shown, and the exit code. Text is made by `view`; the
//! socket and the terminal are in `sys`.

mod already;
mod top;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::cli::Ask;
use crate::control::{Answer, Refusal, Request, Verb};
use crate::event::ExitCode;
use crate::gather::{Gather, Joined};
use crate::sys::{self, Connection, Limit, Lost, NoConnection, Printed};
use crate::units::show_duration;
use crate::view::{self, Look};

pub use self::already::runs_already;
pub use self::top::top;

/// How long an answer may take that is known at once.
const AT_ONCE: Duration = Duration::from_secs(5);
/// The same for a health check, whose caller has its own patience.
const HEALTH: Duration = Duration::from_secs(2);
/// What we wait longer than the server was told to.
const MARGIN: Duration = Duration::from_secs(5);

/// Asks, and shows the answer.
pub fn ask(ask: &Ask) -> ExitCode {
    let told = talk(ask).or_else(|failure| match *failure {
        // The container ends, and with it everybody in it.
        Failure::Lost(Lost::Dismissed) if stays(&ask.request) => Ok(ExitCode::SUCCESS),
        // It may be gone before it could say so.
        Failure::Lost(Lost::Closed) if ask.request.verb == Verb::Shutdown => Ok(ExitCode::SUCCESS),
        _ => Err(failure),
    });
    told.unwrap_or_else(|failure| {
        explain(&failure, ask);
        match ask.request.verb {
            Verb::Health => ExitCode::FAILURE, // the only other code that callers of a health check know
            _ => failure.exit_code(),
        }
    })
}

#[inline(never)]
fn talk(ask: &Ask) -> Result<ExitCode, Box<Failure>> {
    let look = sys::look();
    let request = &ask.request;
    let streams = matches!(request.verb, Verb::Logs | Verb::Events);
    let named = request.names.len() != 1;
    let mut text = String::new();
    let mut code = ExitCode::SUCCESS;
    let talked = converse(ask.socket.as_deref(), request, ask.timeout, &mut |answer, more| {
        code = worse(code, show(&answer, ask, named, look, &mut text));
        // Whole batches in one write; but what has come is shown before anything is waited for.
        if more && streams && text.len() < BATCH_BYTES {
            return Ok(());
        }
        let printed = sys::print(&text);
        text.clear();
        match printed {
            Printed::All => Ok(()),
            Printed::Unheard => Err(Lost::Unheard),
            Printed::Lost => {
                // A verdict is in the code.
                if !matches!(answer, Answer::Verdict(_)) {
                    code = worse(code, ExitCode::FAILURE);
                }
                Err(Lost::Unheard)
            }
        }
    });
    match talked {
        // Nobody reads any more, as in `logs --follow | head`. What the answer means holds all the same.
        Err(failure) if !matches!(*failure, Failure::Lost(Lost::Unheard)) => Err(failure),
        Ok(()) | Err(_) => Ok(code),
    }
}

/// So much is collected before it is written.
const BATCH_BYTES: usize = 64 << 10;

/// The first that is not success.
fn worse(code: ExitCode, other: ExitCode) -> ExitCode {
    if code == ExitCode::SUCCESS { other } else { code }
}

/// Adds the answer to the text, for programs or for people, and says what it means for the exit code.
#[inline(never)]
fn show(answer: &Answer, ask: &Ask, named: bool, look: Look, text: &mut String) -> ExitCode {
    if ask.json {
        text.push_str(&String::from_utf8_lossy(&answer.lines()));
    } else {
        text.push_str(&shown(answer, ask, named, look));
    }
    let (well, not) = match answer {
        // Of those that were named, if any were.
        Answer::Status(status) => {
            let each = status.services.iter().all(|service| service.ok);
            (each && (status.ok || !ask.request.names.is_empty()), ExitCode::NOT_WELL)
        }
        Answer::Changed(changes) => (changes.iter().all(|change| change.ok), ExitCode::FAILURE),
        Answer::Verdict(verdict) => (verdict.ok, ExitCode::FAILURE),
        Answer::Describe(_)
        | Answer::Memory(_)
        | Answer::Log(_)
        | Answer::Event(_)
        | Answer::End
        | Answer::Refused(_) => (true, ExitCode::SUCCESS),
    };
    if well { ExitCode::SUCCESS } else { not }
}

/// An answer for people.
#[inline(never)]
fn shown(answer: &Answer, ask: &Ask, named: bool, look: Look) -> String {
    match answer {
        Answer::Status(status) => view::status::status(status, look),
        Answer::Describe(all) => view::describe::descriptions(all, look),
        Answer::Memory(memory) => view::memory::memory(memory, look),
        Answer::Changed(changes) => view::changes(changes, look),
        Answer::Verdict(verdict) => view::verdict(verdict),
        Answer::Log(line) => {
            // One name may still be several instances.
            let named = named || ask.request.names.first() != Some(&line.name);
            view::stream::log(line, named, sys::unix_time_ms(), look)
        }
        Answer::Event(line) => view::stream::event(line, sys::unix_time_ms(), look),
        Answer::End | Answer::Refused(_) => String::new(),
    }
}

/// Sends a request, and gives each answer to `take`, with whether another is here already, until the last.
#[inline(never)]
fn converse(
    socket: Option<&Path>,
    request: &Request,
    timeout: Option<Duration>,
    take: &mut dyn FnMut(Answer, bool) -> Result<(), Lost>,
) -> Result<(), Box<Failure>> {
    let patience = patience(request, timeout);
    let limit = Limit::after(Some(patience));
    let mut connection = Connection::open(socket, limit).map_err(Failure::NoConnection)?;
    let streams = matches!(request.verb, Verb::Logs | Verb::Events);
    if streams {
        connection.only_while_heard();
    }
    if stays(request) || request.wait || request.verb == Verb::Wait {
        connection.until_dismissed();
    }
    let late = |lost: Lost| if lost == Lost::Late { Failure::Late(patience) } else { Failure::Lost(lost) };
    connection.send(&request.line(), limit).map_err(late)?;
    loop {
        let limit = if streams { Limit::after((!request.follow).then_some(patience)) } else { limit };
        let line = connection.line(limit).map_err(late)?;
        let answer = Answer::parse(line).map_err(|_| Failure::Garbled)?;
        let last = match &answer {
            Answer::Refused(refusal) => return Err(Failure::Refused(refusal.clone()).into()),
            Answer::Log(_) | Answer::Event(_) => false,
            Answer::Status(_)
            | Answer::Describe(_)
            | Answer::Memory(_)
            | Answer::Changed(_)
            | Answer::Verdict(_)
            | Answer::End => true,
        };
        let more = connection.has_line();
        take(answer, more).map_err(Failure::Lost)?;
        if last {
            return Ok(());
        }
    }
}

/// Whether the end of the container is what it waits for, or an end like another.
fn stays(request: &Request) -> bool {
    request.verb == Verb::Shutdown || request.follow
}

/// How long the answer is waited for.
fn patience(request: &Request, timeout: Option<Duration>) -> Duration {
    match (request.timeout_ms, request.verb) {
        (Some(ms), _) => Duration::from_millis(ms).saturating_add(MARGIN),
        (None, Verb::Health) => timeout.unwrap_or(HEALTH),
        (None, _) => timeout.unwrap_or(AT_ONCE),
    }
}

/// Why there is no answer. In a box, as it is passed on by many.
#[derive(Debug)]
#[repr(u8)]
enum Failure {
    NoConnection(NoConnection),
    /// Nothing came for so long.
    Late(Duration),
    Lost(Lost),
    /// What came is no answer.
    Garbled,
    Refused(Refusal),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoConnection(NoConnection::Forbidden(_)) => ExitCode::NO_PERMISSION,
            Self::NoConnection(NoConnection::Busy(_)) | Self::Late(_) => ExitCode::TRY_AGAIN,
            Self::NoConnection(NoConnection::NotRunning(_) | NoConnection::Failed(..))
            | Self::Lost(Lost::Late | Lost::Closed | Lost::TooLong | Lost::Unheard)
            | Self::Garbled => ExitCode::UNAVAILABLE,
            Self::Lost(Lost::Dismissed) => ExitCode::TERMINATED,
            Self::Refused(refusal) => refusal.why.exit_code(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnection(NoConnection::NotRunning(looked)) => write!(
                f,
                "no tinysup runs here that can be asked: nobody listens at {}. The init of a single command has no services and no socket",
                looked.listed()
            ),
            Self::NoConnection(NoConnection::Forbidden(place)) => {
                write!(f, "{place} is only for root and for the user that tinysup runs as; docker exec has --user for that")
            }
            Self::NoConnection(NoConnection::Busy(place)) => {
                write!(f, "the tinysup at {place} takes no call: it is stopped, or too many ask at once. Try again")
            }
            Self::NoConnection(NoConnection::Failed(place, why)) => write!(f, "cannot connect to {place}: {why}"),
            Self::Late(patience) => write!(
                f,
                "no answer within {}; what was asked for may still happen. tinysup status shows it, --timeout waits longer",
                show_duration(*patience)
            ),
            Self::Lost(Lost::TooLong) | Self::Garbled => {
                f.write_str("the answer cannot be understood: another version runs. tinysup version tells that of this program")
            }
            Self::Lost(Lost::Dismissed) => f.write_str(
                "SIGTERM before the answer came; what was asked for may still happen. tinysup status shows it",
            ),
            Self::Lost(Lost::Closed | Lost::Unheard | Lost::Late) => {
                f.write_str("tinysup hung up before the answer was complete: it has ended, or this reader was too slow")
            }
            // What is wrong with a configuration has its lines.
            Self::Refused(refusal) => {
                f.write_str(&refusal.text.lines().map(view::line).gather().joined("\n"))
            }
        }
    }
}

#[inline(never)]
fn explain(failure: &Failure, ask: &Ask) {
    let nobody = matches!(failure, Failure::NoConnection(NoConnection::NotRunning(_)));
    let word = &ask.word;
    let elsewhere = if nobody && sys::is_pid1() {
        format!("In a container that runs: docker exec CONTAINER tinysup {word}\n")
    } else {
        String::new()
    };
    let program = if nobody && sys::in_path(word) {
        format!("The program {word}: tinysup -- {word}\n")
    } else {
        String::new()
    };
    sys::print_error(&format!("tinysup: {failure}\n{elsewhere}{program}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Refused;

    #[test]
    fn every_failure_has_its_code_and_its_remedy() {
        let place = || "/run/tinysup.sock".to_owned();
        for (failure, code, part) in [
            (
                Failure::NoConnection(NoConnection::NotRunning(vec![place(), "@x".to_owned()])),
                69,
                "at /run/tinysup.sock, @x.",
            ),
            (Failure::NoConnection(NoConnection::Forbidden(place())), 77, "--user"),
            (Failure::NoConnection(NoConnection::Busy(place())), 75, "Try again"),
            (
                Failure::NoConnection(NoConnection::Failed(place(), "odd".to_owned())),
                69,
                "/run/tinysup.sock: odd",
            ),
            (Failure::Late(Duration::from_secs(5)), 75, "within 5 s"),
            (Failure::Lost(Lost::Closed), 69, "hung up"),
            (Failure::Lost(Lost::Dismissed), 143, "SIGTERM"),
            (Failure::Garbled, 69, "another version"),
            (
                Failure::Refused(Refusal {
                    why: Refused::NoSuchService,
                    text: "no \u{1b}service".to_owned(),
                }),
                64,
                "no  service",
            ),
            (Failure::Refused(Refusal { why: Refused::Busy, text: String::new() }), 75, ""),
        ] {
            assert_eq!(failure.exit_code().0, code, "{failure}");
            assert!(failure.to_string().contains(part), "{failure}");
        }
    }

    #[test]
    fn we_wait_a_little_longer_than_the_server_was_told_to() {
        let of = |verb, timeout_ms| Request { verb, timeout_ms, ..Request::default() };
        for (request, timeout, patience) in [
            (of(Verb::Status, None), None, AT_ONCE),
            (of(Verb::Status, None), Some(MARGIN * 3), MARGIN * 3),
            (of(Verb::Health, None), None, HEALTH),
            (of(Verb::Wait, Some(1_000)), Some(Duration::from_secs(1)), Duration::from_secs(1) + MARGIN),
            (of(Verb::Wait, Some(u64::MAX)), None, Duration::from_millis(u64::MAX) + MARGIN),
        ] {
            assert_eq!(super::patience(&request, timeout), patience, "{request:?}");
        }
    }
}
