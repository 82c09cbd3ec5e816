//! `tinysup top`: asks once a second, draws, and does what the keys say, until that is to end.

use std::path::Path;
use std::time::Duration;

use super::{Failure, ask, converse, explain};
use crate::cli::Ask;
use crate::control::{Answer, LogLine, Request, Status};
use crate::event::ExitCode;
use crate::gather::replaced;
use crate::sys::{self, Happened, Limit, NoConnection, Screen};
use crate::view::keys::keys;
use crate::view::top::{Top, Wish};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// How long an answer may take, while keys wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// The rest of a key's sequence comes within this, or it was an Escape.
const SEQUENCE: Duration = Duration::from_millis(50);

/// Until a key or a signal ends it. Without a terminal it is `status`.
#[inline(never)]
pub fn top(asked: &Ask) -> ExitCode {
    if !sys::can_draw() {
        return ask(asked);
    }
    // Before the screen is ours, so that a failure is told in the usual way.
    match status(asked) {
        Err(failure) => {
            explain(&failure, asked);
            failure.exit_code()
        }
        Ok(first) => match Screen::open() {
            Ok(screen) => match run(asked, screen, first) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => {
                    explain(&failure, asked);
                    failure.exit_code()
                }
            },
            Err(_) => ask(asked),
        },
    }
}

#[inline(never)]
fn run(asked: &Ask, mut screen: Screen, first: Status) -> Result<(), Box<Failure>> {
    let mut top = Top::new(sys::look());
    top.update(first);
    let mut due = Limit::after(Some(PERIOD));
    let mut bytes = Vec::new();
    loop {
        let size = screen.size();
        screen.draw(&top.screen(size.columns, size.rows, sys::unix_time_ms()));
        let until_due = due.left().unwrap_or_default();
        let at_most = if bytes.is_empty() { until_due } else { until_due.min(SEQUENCE) };
        let pressed = match screen.wait(at_most) {
            Happened::Ended => return Ok(()),
            Happened::Resized => Vec::new(),
            Happened::Nothing => keys(&mut bytes, true),
            Happened::Keys(more) => {
                bytes.extend_from_slice(&more);
                keys(&mut bytes, false)
            }
        };
        for key in pressed {
            match top.key(key, size.rows) {
                Wish::Quit => return Ok(()),
                Wish::Nothing => {}
                Wish::Fresh => logs(asked, &mut top)?,
                Wish::Do(request) => {
                    act(asked, &mut top, &request)?;
                    refresh(asked, &mut top)?;
                }
            }
        }
        if due.left() == Some(Duration::ZERO) {
            due = Limit::after(Some(PERIOD));
            refresh(asked, &mut top)?;
            logs(asked, &mut top)?;
        }
    }
}

#[inline(never)]
fn refresh(asked: &Ask, top: &mut Top) -> Result<(), Box<Failure>> {
    match status(asked) {
        Ok(status) => top.update(status),
        Err(failure) => tell(top, failure)?,
    }
    Ok(())
}

#[inline(never)]
fn logs(asked: &Ask, top: &mut Top) -> Result<(), Box<Failure>> {
    let Some(request) = top.wanted_logs() else { return Ok(()) };
    let mut lines: Vec<LogLine> = Vec::new();
    let answered = exchange(asked.socket.as_deref(), &request, &mut |answer| {
        if let Answer::Log(line) = answer {
            lines.push(line);
        }
    });
    match answered {
        Ok(()) => top.logs(lines),
        Err(failure) => tell(top, failure)?,
    }
    Ok(())
}

#[inline(never)]
fn act(asked: &Ask, top: &mut Top, request: &Request) -> Result<(), Box<Failure>> {
    let mut told = String::new();
    let answered = exchange(asked.socket.as_deref(), request, &mut |answer| {
        if let Answer::Changed(changes) = answer {
            told = crate::view::changes(&changes, crate::view::Look::default());
        }
    });
    match answered {
        Ok(()) => top.tell(&replaced(&told, '\n', " ")),
        Err(failure) => tell(top, failure)?,
    }
    Ok(())
}

#[inline(never)]
fn status(asked: &Ask) -> Result<Status, Box<Failure>> {
    let mut found = None;
    exchange(asked.socket.as_deref(), &asked.request, &mut |answer| {
        if let Answer::Status(status) = answer {
            found = Some(status);
        }
    })?;
    found.ok_or_else(|| Failure::Garbled.into())
}

fn exchange(
    socket: Option<&Path>,
    request: &Request,
    take: &mut dyn FnMut(Answer),
) -> Result<(), Box<Failure>> {
    converse(socket, request, Some(PATIENCE), &mut |answer, _| {
        take(answer);
        Ok(())
    })
}

/// What may be better in a second is told on the screen; the rest ends it.
#[inline(never)]
fn tell(top: &mut Top, failure: Box<Failure>) -> Result<(), Box<Failure>> {
    match *failure {
        Failure::Refused(_) | Failure::Late(_) | Failure::NoConnection(NoConnection::Busy(_)) => {
            top.tell(&failure.to_string());
            Ok(())
        }
        Failure::NoConnection(_) | Failure::Lost(_) | Failure::Garbled => Err(failure),
    }
}
