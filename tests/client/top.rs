//! `tinysup top` in a real terminal: what it shows, what its keys do, and that the terminal is what it was, however it ends.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tinysup::control::{Answer, Change, LogLine, Refusal, Refused, Request, Stream, Verb};

use crate::answers::status;
use crate::fake::{Does, Server, program, says, tinysup};
use crate::terminal::Terminal;

fn answers(request: &Request) -> Vec<Does> {
    let log = |text: &str| {
        says(Answer::Log(LogLine {
            name: request.names[0].clone(),
            stream: Some(Stream::Stdout),
            text: text.to_owned(),
            ..LogLine::default()
        }))
    };
    match request.verb {
        Verb::Status => vec![says(Answer::Status(status()))],
        Verb::Logs => vec![log("first words"), log("last words"), says(Answer::End)],
        _ => vec![says(Answer::Changed(vec![Change {
            name: request.names[0].clone(),
            text: "restarting".to_owned(),
            ok: true,
        }]))],
    }
}

fn top(socket: &Path) -> Command {
    let mut command = program(socket, &["top"]);
    command.env("TERM", "xterm");
    command
}

#[test]
fn it_shows_the_status_and_its_keys_act() {
    let server = Server::new(answers);
    let mut terminal = Terminal::start(top(server.path()), 80, 24);
    let picture = terminal.shows("db ");
    assert_eq!(picture.len(), 24, "{picture:#?}");
    assert!(picture[0].starts_with("tinysup  2 services: 1 ready, 1 failed; up 2m15s"), "{picture:#?}");
    assert!(!terminal.untouched());

    terminal.press("\x1b[B");
    terminal.shows("FATAL: no queue");
    terminal.shows("worker: code 17 (11 times), 1m ago");
    terminal.press("r");
    terminal.shows("restart worker?  y yes  n no");
    terminal.press("y");
    terminal.shows("worker restarting");
    let asked =
        std::iter::repeat_with(|| server.request()).find(|request| request.verb != Verb::Status).unwrap();
    assert_eq!((asked.verb, asked.wait), (Verb::Restart, false));
    assert_eq!(asked.names, ["worker"]);

    terminal.press("l");
    let picture = terminal.shows("out last words");
    assert!(picture[0].contains("logs of worker"), "{picture:#?}");
    terminal.press("\x1b"); // alone, it is the key
    terminal.shows("SERVICE");
    terminal.press("q");
    let (code, written) = terminal.finish();
    assert_eq!(code, Some(0), "{written}");
    assert!(written.starts_with("\x1b[?1049h") && written.contains("\x1b[?25h"), "{written:?}");
}

#[test]
fn it_fits_the_window_whatever_becomes_of_it() {
    let server = Server::new(answers);
    let mut terminal = Terminal::start(top(server.path()), 0, 0); // as Docker's are at first
    terminal.until("24 lines", |picture| picture.len() == 24);
    terminal.resize(40, 10);
    let picture = terminal.until("10 lines", |picture| picture.len() == 10);
    assert!(picture.iter().all(|line| visible(line) <= 40), "{picture:#?}");
    terminal.press("q");
    assert_eq!(terminal.finish().0, Some(0));
}

/// How many columns a line takes: what is not a sequence for the terminal.
fn visible(line: &str) -> usize {
    line.split('\x1b')
        .enumerate()
        .map(|(at, part)| {
            let text = if at == 0 { part } else { part.split_once('m').map_or("", |(_, text)| text) };
            text.chars().count()
        })
        .sum()
}

#[test]
fn the_terminal_is_what_it_was_however_it_ends() {
    type End = fn(&mut Terminal);
    let ends: [(&str, End); 5] = [
        ("ctrl-C", |terminal| terminal.press("\x03")),
        ("SIGTERM", |terminal| terminal.signal(15)),
        ("SIGINT", |terminal| terminal.signal(2)),
        ("SIGQUIT", |terminal| terminal.signal(3)),
        ("SIGHUP", |terminal| terminal.signal(1)),
    ];
    for (how, end) in ends {
        let server = Server::new(answers);
        let mut terminal = Terminal::start(top(server.path()), 80, 24);
        terminal.shows("db ");
        assert!(!terminal.untouched(), "{how}");
        end(&mut terminal);
        let (code, written) = terminal.finish();
        assert_eq!(code, Some(0), "{how}: {written}");
        assert!(written.contains("\x1b[?25h\x1b[?1049l"), "{how}: {written:?}");
    }
}

#[test]
fn it_goes_with_its_terminal() {
    let server = Server::new(answers);
    let mut terminal = Terminal::start(top(server.path()), 80, 24);
    terminal.shows("db ");
    assert_eq!(terminal.hang_up(), Some(0));
}

#[test]
fn a_lost_connection_ends_it_with_a_reason_below_the_old_screen() {
    let lost = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&lost);
    let server =
        Server::new(move |request| if told.load(Ordering::SeqCst) { Vec::new() } else { answers(request) });
    let mut terminal = Terminal::start(top(server.path()), 80, 24);
    terminal.shows("db ");
    lost.store(true, Ordering::SeqCst);
    terminal.waits_for_text("hung up");
    let (code, written) = terminal.finish();
    assert_eq!(code, Some(69), "{written}");
    assert!(
        written.rsplit_once("\x1b[?1049l").unwrap().1.starts_with("tinysup: tinysup hung up"),
        "{written:?}"
    );
}

#[test]
fn what_is_busy_for_a_moment_is_asked_again() {
    let busy = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&busy);
    let server = Server::new(move |request| {
        if told.load(Ordering::SeqCst) {
            let text = "32 clients are served already".to_owned();
            vec![says(Answer::Refused(Refusal { why: Refused::Busy, text }))]
        } else {
            answers(request)
        }
    });
    let mut terminal = Terminal::start(top(server.path()), 80, 24);
    terminal.shows("db ");
    busy.store(true, Ordering::SeqCst);
    terminal.shows("32 clients are served already");
    busy.store(false, Ordering::SeqCst);
    terminal.press("j");
    terminal.shows("q quit");
    terminal.press("q");
    assert_eq!(terminal.finish().0, Some(0));
}

#[test]
fn without_a_terminal_it_is_status() {
    let server = Server::new(answers);
    let said = tinysup(server.path(), &["top"]);
    assert_eq!((said.code, said.stdout.lines().count()), (3, 4), "{said:?}");
    let mut command = top(server.path());
    command.env("TERM", "dumb");
    let mut terminal = Terminal::start(command, 80, 24);
    terminal.waits_for_text("2 services: 1 ready, 1 failed");
    let (code, written) = terminal.finish();
    assert!(code == Some(3) && !written.contains('\x1b'), "{written:?}");
}

#[test]
fn colours_are_for_terminals_whose_owner_wants_them() {
    for (variables, coloured) in [
        (&[("TERM", "xterm")][..], true),
        (&[("TERM", "xterm"), ("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
    ] {
        let server = Server::new(answers);
        let mut command = program(server.path(), &["status"]);
        command.envs(variables.iter().copied());
        let mut terminal = Terminal::start(command, 40, 24);
        terminal.waits_for_text("2 services");
        let (code, written) = terminal.finish();
        assert_eq!(
            (code, written.contains("\x1b[31mfailed\x1b[0m")),
            (Some(3), coloured),
            "{variables:?}: {written:?}"
        );
        assert!(written.lines().all(|line| visible(line.trim_end()) <= 40), "{written:?}");
    }
}

#[test]
fn a_terminal_without_utf8_gets_none() {
    for (variables, utf8) in [
        (&[("LANG", "C")][..], false),
        (&[("LANG", "en_US.UTF-8")], true),
        (&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")], false),
        (&[], true),
    ] {
        let server = Server::new(answers);
        let mut command = top(server.path());
        command.envs(variables.iter().copied());
        let mut terminal = Terminal::start(command, 80, 24);
        terminal.shows("worker");
        terminal.press("q");
        let (_, written) = terminal.finish();
        assert_eq!(written.contains('▁'), utf8, "{variables:?}: {written:?}");
        assert_eq!(written.is_ascii(), !utf8, "{variables:?}: {written:?}");
    }
}
