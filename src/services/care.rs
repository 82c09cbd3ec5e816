//! What is found out about a program that runs: whether it is ready yet, and then whether it still does its work. One
//! attempt at a time, each with an end of its own; what an attempt finds counts only for the run and the state it was made in.

use std::rc::Rc;
use std::time::Duration;

use crate::event::{Action, Child, ExitStatus, InstanceId, Pid, Role, Sink, StartError, Time, order, tell};
use crate::gather::parted_at_last;
use crate::line::printable;
use crate::notice::{Cause, NotReady, Notice, Refused};
use crate::notify::Word;
use crate::plan::{Asks, Instance, Kind, Ready, ReadyTest, Test};
use crate::probe::Failure;
use crate::units::Signal;

use super::stopping::{Goal, Helper};
use super::{Context, Live, Service, State, kill_at, name, signal_group};

/// Whoever is asked in vain for so long is told of, or a slip in a test would show only when its timeout is over.
const TOLD_AFTER: Duration = Duration::from_secs(5);
/// So much of what a command prints is kept for the message.
const SAID_MAX: usize = 1024;
/// So much of that is told.
const SAID_SHOWN: usize = 200;

/// A program that runs and is not ready yet.
#[derive(Debug)]
pub struct Awaited {
    patience: Patience,
    /// When it is asked next, where it is asked.
    next: Option<Time>,
    /// Why the last attempt was no good.
    failure: Option<Failure>,
    /// That it takes its time has been told.
    told: bool,
    /// The end of what each stream said, as long as the text that is waited for may have begun in it.
    tails: [Vec<u8>; 2],
    /// The longest silence from ready on.
    longest: Option<Duration>,
}

/// How long it is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// A oneshot is not waited for to be ready, but to be done.
    Endless,
    Until(Time),
    /// It is over; where it listens instead has been asked, and the answer comes before anything else does.
    Over,
}

/// A program that is ready.
#[derive(Debug)]
pub struct Watched {
    /// When it is asked next, where it is asked.
    next: Option<Time>,
    /// Misses in a row that count.
    misses: u32,
    /// Misses do not count before, unless an answer was good already.
    lenient_until: Option<Time>,
    /// When it was known to be well for the last time.
    well_at: Time,
    /// When the silence will have been too long, and how long that is.
    silence: Option<(Time, Duration)>,
}

/// An attempt that has no answer yet.
#[derive(Debug)]
pub struct Attempt {
    number: u32,
    began: Time,
    /// When it has taken too long.
    late_at: Time,
    by: By,
}

/// Who asks.
#[derive(Debug)]
enum By {
    Us,
    Command {
        /// Known as soon as it was ordered.
        pid: Option<Pid>,
        /// The last of what it printed.
        said: Vec<u8>,
        /// Why it cannot run; it is about to exit.
        error: Option<Rc<StartError>>,
        /// It took too long and was killed; its end is all that is waited for.
        overdue: bool,
    },
}

impl Attempt {
    fn child(&self, run: Child) -> Child {
        Child { role: Role::Probe(self.number), ..run }
    }
}

impl Awaited {
    /// What a program that just began to run is waited for with; `None`: it is ready.
    pub fn new(context: &Context, since: Time) -> Option<Box<Self>> {
        let instance = context.instance;
        let patience = match (ready_by(instance, since), instance.kind) {
            (_, Kind::Oneshot) => Patience::Endless,
            (None, Kind::Daemon | Kind::Command) => return None,
            (Some(at), Kind::Daemon | Kind::Command) => Patience::Until(at),
        };
        let next = match instance.ready.as_ref().map(|ready| &ready.test) {
            Some(ReadyTest::Asked(_)) => Some(context.now),
            Some(ReadyTest::After(delay)) => Some(since + *delay),
            Some(ReadyTest::Notified | ReadyTest::Announced | ReadyTest::Said(_)) | None => None,
        };
        let tails = [Vec::new(), Vec::new()];
        let longest = instance.watchdog;
        Some(Box::new(Self { patience, next, failure: None, told: false, tails, longest }))
    }

    /// Whether it is waited for to be ready, and not to be done.
    pub fn to_be_ready(&self) -> bool {
        self.patience != Patience::Endless
    }

    /// What is due next by itself.
    pub fn deadline(&self, live: &Live) -> Option<Time> {
        let until = match self.patience {
            Patience::Until(at) => Some(at),
            Patience::Endless | Patience::Over => None,
        };
        Time::earlier(until, asking(live, self.next))
    }
}

impl Watched {
    fn new(context: &Context, id: InstanceId, since: Time, longest: Option<Duration>) -> Box<Self> {
        let check = context.instance.healthcheck.as_ref();
        Box::new(Self {
            next: check.map(|check| context.now + spread(check.interval, id)),
            misses: 0,
            lenient_until: check.map(|check| since + check.start_period),
            well_at: context.now,
            silence: longest.map(|longest| (context.now + longest, longest)),
        })
    }

    /// Misses in a row that count.
    pub fn misses(&self) -> u32 {
        self.misses
    }

    /// What is due next by itself.
    pub fn deadline(&self, live: &Live) -> Option<Time> {
        Time::earlier(asking(live, self.next), self.silence.map(|(at, _)| at))
    }

    /// Whether the run must not be silent for too long.
    pub fn measures(&self) -> bool {
        self.silence.is_some()
    }
}

/// When the present attempt has taken too long, or the `next` one is due. None begins while one that was called off has not ended.
fn asking(live: &Live, next: Option<Time>) -> Option<Time> {
    match &live.attempt {
        Some(attempt) => Some(attempt.late_at),
        None => next.filter(|_| live.helpers.is_empty()),
    }
}

/// When a run that began `since` has to be ready; `None`: it is not waited for with a test.
pub(super) fn ready_by(instance: &Instance, since: Time) -> Option<Time> {
    match instance.kind {
        Kind::Oneshot => None,
        Kind::Daemon | Kind::Command => instance.ready.as_ref().map(|ready| since + ready.timeout),
    }
}

/// A part of the interval, another for each instance, so that not all are asked at the same moment.
fn spread(interval: Duration, id: InstanceId) -> Duration {
    // Multiples of the golden ratio never come close to each other (Knuth, The Art of Computer Programming 3, 6.4).
    const GOLDEN: u32 = 2_654_435_769;
    interval.mul_f64(f64::from(id.0.wrapping_mul(GOLDEN)) / f64::from(u32::MAX))
}

impl Service {
    /// Its program runs: it is ready at once, or waited for from now on.
    #[inline(never)]
    pub(super) fn begin_to_run(&mut self, context: &Context, live: Box<Live>, out: &mut Vec<Action>) {
        if let Some(awaited) = Awaited::new(context, live.since) {
            self.state = State::Up(live, awaited);
        } else {
            if context.instance.kind == Kind::Daemon {
                let (after, run) = (context.now.since(live.since), self.runs);
                tell(out, Notice::Up { name: name(context), after, run });
            }
            let watched = Watched::new(context, self.id, live.since, context.instance.watchdog);
            self.state = State::Ready(live, watched);
        }
        if context.stopping {
            self.rest(out);
        } else if matches!(self.state, State::Up(..)) {
            self.care(context, out);
        }
    }

    fn is_ready(&mut self, context: &Context, out: &mut Vec<Action>) {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Up(mut live, awaited) if awaited.to_be_ready() => {
                self.call_off(&mut live, out);
                let (after, run) = (context.now.since(live.since), self.runs);
                tell(out, Notice::Ready { name: name(context), after, run });
                let watched = Watched::new(context, self.id, live.since, awaited.longest);
                self.state = State::Ready(live, watched);
            }
            other => self.state = other,
        }
    }

    /// The container stops: from now on nobody asks how it is. Whatever came of it, it would be stopped before its turn.
    pub fn rest(&mut self, out: &mut Vec<Action>) {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Starting(live, _) => self.state = State::Starting(live, None),
            State::Up(mut live, mut awaited) => {
                self.call_off(&mut live, out);
                (awaited.patience, awaited.next) = (Patience::Endless, None);
                self.state = State::Up(live, awaited);
            }
            State::Ready(mut live, mut watched) => {
                self.call_off(&mut live, out);
                (watched.next, watched.silence) = (None, None);
                self.state = State::Ready(live, watched);
            }
            other @ (State::Waiting
            | State::Launching { .. }
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. }) => self.state = other,
        }
    }

    /// Does what is due by now about a program that runs.
    pub(super) fn care(&mut self, context: &Context, out: &mut Vec<Action>) {
        let now = context.now;
        if self
            .running_live()
            .and_then(|live| live.attempt.as_ref())
            .is_some_and(|attempt| now >= attempt.late_at)
        {
            self.late(context, out);
        }
        let run = self.main_child();
        match &mut self.state {
            State::Starting(live, until) => {
                if until.is_some_and(|at| now >= at) {
                    *until = None;
                    order(out, Action::FindListening { child: run, leader: live.pid });
                }
            }
            State::Up(live, awaited) => match (&context.instance.ready, awaited.patience) {
                (Some(Ready { test: ReadyTest::After(_), .. }), _)
                    if awaited.next.is_some_and(|at| now >= at) =>
                {
                    self.is_ready(context, out);
                }
                (_, Patience::Until(at)) if now >= at => {
                    awaited.patience = Patience::Over;
                    order(out, Action::FindListening { child: run, leader: live.pid });
                }
                (Some(Ready { test: ReadyTest::Asked(test), .. }), _)
                    if live.attempt.is_none() && asking(live, awaited.next).is_some_and(|at| now >= at) =>
                {
                    self.ask(context, test, out);
                }
                (Some(_) | None, _) => {}
            },
            State::Ready(live, watched) => {
                if let Some((_, longest)) = watched.silence.filter(|(at, _)| now >= *at) {
                    let well = (watched.well_at).since(live.since);
                    return self.fail(
                        context,
                        Cause::Watchdog { silence: Some(longest) },
                        well,
                        Vec::new(),
                        out,
                    );
                }
                if let Some(check) = &context.instance.healthcheck
                    && live.attempt.is_none()
                    && asking(live, watched.next).is_some_and(|at| now >= at)
                {
                    self.ask(context, &check.test, out);
                }
            }
            State::Waiting
            | State::Launching { .. }
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    /// Begins an attempt.
    fn ask(&mut self, context: &Context, test: &Test, out: &mut Vec<Action>) {
        self.probes = self.probes.wrapping_add(1);
        let (number, run) = (self.probes, self.main_child());
        let Some(live) = self.running_live() else { return };
        let child = Child { role: Role::Probe(number), ..run };
        let by = match &test.asks {
            Asks::Target(target) => {
                order(out, Action::Probe { child, target: Rc::clone(target) });
                By::Us
            }
            Asks::Command(launch) => {
                let extra_env = vec![("MAINPID", live.pid.to_string())];
                order(out, Action::Spawn { child, launch: Rc::clone(launch), extra_env });
                By::Command { pid: None, said: Vec::new(), error: None, overdue: false }
            }
        };
        live.attempt = Some(Attempt { number, began: context.now, late_at: context.now + test.timeout, by });
    }

    /// The present attempt has taken too long: a miss. A command is killed, and its end waited for before the next.
    fn late(&mut self, context: &Context, out: &mut Vec<Action>) {
        let (run, interval) = (self.main_child(), interval(context.instance, &self.state));
        let Some(live) = self.running_live() else { return };
        let Some(attempt) = &mut live.attempt else { return };
        let timeout = attempt.late_at.since(attempt.began);
        match &mut attempt.by {
            By::Us => {
                order(out, Action::CancelProbe { child: attempt.child(run) });
                let began = attempt.began;
                live.attempt = None;
                self.next_after(context, began);
            }
            By::Command { pid, overdue, .. } => {
                if let (Some(pid), false) = (*pid, *overdue) {
                    order(out, Action::SignalGroup { leader: pid, signal: Signal::KILL });
                }
                *overdue = true;
                // Should even SIGKILL not end it, nobody knows whether the service is well.
                attempt.late_at = context.now + interval;
            }
        }
        self.missed(context, Failure::Late { timeout }, out);
    }

    /// The answer to an attempt by us.
    #[inline(never)]
    pub fn probed(
        &mut self,
        context: &Context,
        number: u32,
        result: Result<(), Failure>,
        out: &mut Vec<Action>,
    ) {
        let Some(live) = self.running_live() else { return };
        if live.attempt.as_ref().is_some_and(|attempt| attempt.number == number)
            && let Some(attempt) = live.attempt.take()
        {
            self.next_after(context, attempt.began);
            match result {
                Ok(()) => self.answered(context, out),
                Err(failure) => self.missed(context, failure, out),
            }
        }
    }

    /// The process of a command is there.
    pub(super) fn probe_spawned(&mut self, number: u32, spawned: Pid, out: &mut Vec<Action>) {
        if let Some(By::Command { pid, .. }) = self.command(number) {
            *pid = Some(spawned);
        } else if let Some(live) = self.live() {
            // The very step that ordered it called it off again.
            signal_group(spawned, Signal::KILL, out);
            live.helpers.push(Helper::Test(spawned));
        }
    }

    /// A command cannot be run; its process, if there is one, is about to exit.
    pub(super) fn probe_failed(
        &mut self,
        context: &Context,
        number: u32,
        why: Rc<StartError>,
        out: &mut Vec<Action>,
    ) {
        match self.command(number) {
            Some(By::Command { pid: Some(_), error, .. }) => *error = Some(why),
            Some(By::Command { pid: None, .. }) => {
                self.probed(context, number, Err(Failure::CommandStart(why)), out);
            }
            Some(By::Us) | None => {}
        }
    }

    /// A command printed something.
    pub fn probe_said(&mut self, number: u32, bytes: &[u8]) {
        if let Some(By::Command { said, .. }) = self.command(number) {
            said.extend_from_slice(bytes);
            let over = said.len().saturating_sub(SAID_MAX);
            said.drain(..over);
        }
    }

    /// A command has ended and is not released yet, so its group is surely its own: what it forked goes with it.
    #[inline(never)]
    pub(super) fn probe_exited(
        &mut self,
        context: &Context,
        number: u32,
        leader: Pid,
        status: ExitStatus,
        out: &mut Vec<Action>,
    ) {
        order(out, Action::SignalGroup { leader, signal: Signal::KILL });
        let result = match self.command(number) {
            Some(By::Command { overdue: true, .. }) => None,
            Some(By::Command { error: Some(error), .. }) => Some(Err(Failure::CommandStart(error.clone()))),
            Some(By::Command { said, .. }) if !status.success() => {
                Some(Err(Failure::Command { status, said: last_line(said) }))
            }
            Some(By::Command { .. } | By::Us) => Some(Ok(())),
            None => return self.helper_exited(context, leader, out),
        };
        match (result, self.running_live()) {
            (Some(result), _) => self.probed(context, number, result, out),
            (None, Some(live)) => {
                let began = live.attempt.take().map_or(context.now, |attempt| attempt.began);
                self.next_after(context, began);
            }
            (None, None) => {}
        }
    }

    fn command(&mut self, number: u32) -> Option<&mut By> {
        let attempt = self.running_live()?.attempt.as_mut()?;
        (attempt.number == number).then_some(&mut attempt.by)
    }

    /// A good answer.
    fn answered(&mut self, context: &Context, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Up(..) => self.is_ready(context, out),
            State::Ready(_, watched) => {
                if watched.misses > 0 {
                    tell(out, Notice::Well { name: name(context), misses: watched.misses });
                }
                watched.misses = 0;
                watched.lenient_until = None;
                watched.well_at = context.now;
            }
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    /// No good answer.
    fn missed(&mut self, context: &Context, failure: Failure, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Up(live, awaited) => {
                let after = context.now.since(live.since);
                if after >= TOLD_AFTER && !awaited.told {
                    awaited.told = true;
                    let (name, failure) = (name(context), failure.clone());
                    tell(out, Notice::NotYet { name, after, failure });
                }
                awaited.failure = Some(failure);
            }
            State::Ready(live, watched) => {
                let Some(check) = &context.instance.healthcheck else { return };
                if watched.lenient_until.is_some_and(|until| context.now < until) {
                    return;
                }
                watched.misses = watched.misses.saturating_add(1);
                let (misses, of) = (watched.misses, check.retries);
                if misses < of {
                    tell(out, Notice::Missed { name: name(context), misses, of, failure });
                } else {
                    let well = watched.well_at.since(live.since);
                    self.fail(context, Cause::Unhealthy { misses, failure }, well, Vec::new(), out);
                }
            }
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    /// When it is asked next: an interval after the last attempt began.
    fn next_after(&mut self, context: &Context, began: Time) {
        let at = (began + interval(context.instance, &self.state)).max(context.now);
        match &mut self.state {
            State::Up(_, awaited) => awaited.next = Some(at),
            State::Ready(_, watched) => watched.next = Some(at),
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    /// The run has failed although its program still runs: it is asked to end, and judged when nothing of it is left.
    fn fail(
        &mut self,
        context: &Context,
        cause: Cause,
        well: Duration,
        waiting: Vec<Rc<str>>,
        out: &mut Vec<Action>,
    ) {
        let abort = matches!(cause, Cause::Watchdog { .. });
        tell(out, Notice::Failing { name: name(context), cause: cause.clone(), waiting });
        if let Some(mut live) = self.take_running() {
            live.failed = Some((cause, well));
            if abort {
                self.abort(context, live, out);
            } else {
                self.ask_to_stop(context, live, Goal::Judge, out);
            }
        }
    }

    /// It holds too much memory: its run has failed.
    pub fn holds_too_much(&mut self, context: &Context, cause: Cause, out: &mut Vec<Action>) {
        let well = match &self.state {
            // What was never ready is no stable run.
            State::Up(_, awaited) if awaited.to_be_ready() => Duration::ZERO,
            State::Up(live, _) | State::Ready(live, _) => context.now.since(live.since),
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => return,
        };
        if !context.stopping {
            self.fail(context, cause, well, Vec::new(), out);
        }
    }

    /// Where a run listens that was not ready in time, and who waits for it.
    #[inline(never)]
    pub fn listening(
        &mut self,
        context: &Context,
        run: u32,
        addresses: Vec<String>,
        waiting: Vec<Rc<str>>,
        out: &mut Vec<Action>,
    ) {
        // Clients may ask, too, at any moment.
        if run != self.runs || context.stopping {
            return;
        }
        let Some(ready) = &context.instance.ready else { return };
        let (live, failure) = match &mut self.state {
            State::Up(live, awaited) if awaited.patience == Patience::Over => (live, awaited.failure.take()),
            State::Starting(live, None) if live.error.is_none() => (live, None),
            State::Starting(..)
            | State::Up(..)
            | State::Waiting
            | State::Launching { .. }
            | State::Ready(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => return,
        };
        let how = NotReady {
            waited: context.now.since(live.since),
            test: Rc::clone(&ready.shown),
            failure,
            listens: addresses,
            says: live.says.clone(),
        };
        self.fail(context, Cause::NotReady(Rc::new(how)), Duration::ZERO, waiting, out);
    }

    /// A newline came through its readiness descriptor.
    pub fn announced(&mut self, context: &Context, run: u32, out: &mut Vec<Action>) {
        if run == self.runs && matches!(ready_test(context.instance), Some(ReadyTest::Announced)) {
            self.executed(context, Role::Main, out); // what speaks runs, even if that is reported later
            self.is_ready(context, out);
        }
    }

    /// It wrote this to a stream. Says whether it is ready by that, or known to run.
    #[inline(never)]
    pub fn said(
        &mut self,
        context: &Context,
        run: u32,
        sink: Sink,
        bytes: &[u8],
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(ReadyTest::Said(text)) = ready_test(context.instance) else { return false };
        if run != self.runs {
            return false;
        }
        let news = matches!(self.state, State::Starting(..));
        self.executed(context, Role::Main, out);
        let State::Up(_, awaited) = &mut self.state else { return news };
        let [stdout, stderr] = &mut awaited.tails;
        let tail = match sink {
            Sink::Stdout => stdout,
            Sink::Stderr => stderr,
        };
        let found = if tail.is_empty() {
            contains(bytes, text.as_bytes())
        } else {
            // Only so much of the new as a text that began in the old can need, and then the new by itself.
            let begun = text.len().saturating_sub(1).min(bytes.len());
            let seam = [tail.as_slice(), bytes.get(..begun).unwrap_or_default()].concat();
            contains(&seam, text.as_bytes()) || contains(bytes, text.as_bytes())
        };
        if found {
            self.is_ready(context, out);
            return true;
        }
        let keep = text.len().saturating_sub(1);
        tail.extend_from_slice(bytes.get(bytes.len().saturating_sub(keep)..).unwrap_or_default());
        let over = tail.len().saturating_sub(keep);
        tail.drain(..over);
        news
    }

    /// It told us how it is.
    #[inline(never)]
    pub fn notified(&mut self, context: &Context, run: u32, words: Vec<Word>, out: &mut Vec<Action>) {
        if run != self.runs {
            return; // an earlier run said it
        }
        self.executed(context, Role::Main, out);
        for word in words {
            self.word(context, word, out);
        }
    }

    #[inline(never)]
    fn word(&mut self, context: &Context, word: Word, out: &mut Vec<Action>) {
        let now = context.now;
        match word {
            Word::Ready => {
                if matches!(ready_test(context.instance), Some(ReadyTest::Notified)) {
                    self.is_ready(context, out);
                }
            }
            Word::Reloading => {
                if matches!(self.state, State::Ready(..)) {
                    tell(out, Notice::Reloading { name: name(context) });
                }
            }
            Word::Status(text) => {
                if let Some(live) = self.live() {
                    live.says = Some(text).filter(|text| !text.is_empty());
                }
            }
            Word::Alive => {
                if let State::Ready(_, watched) = &mut self.state
                    && let Some((at, longest)) = &mut watched.silence
                {
                    // Never sooner than before: it may have said that it is stopping.
                    *at = (*at).max(now + *longest);
                    watched.well_at = now;
                }
            }
            Word::Sick => {
                if let State::Ready(live, watched) = &self.state
                    && watched.silence.is_some()
                {
                    let well = watched.well_at.since(live.since);
                    self.fail(context, Cause::Watchdog { silence: None }, well, Vec::new(), out);
                }
            }
            Word::Watchdog(longest) => {
                // Only what the plan watches, so that nobody can be surprised by a restart.
                if context.instance.watchdog.is_some() && !context.stopping {
                    self.watch(now, Some(longest).filter(|longest| !longest.is_zero()));
                }
            }
            Word::Stopping => {
                // It goes by itself. Should it still be there after the time a stop may take, it is looked after again.
                match std::mem::replace(&mut self.state, State::Down) {
                    State::Ready(mut live, mut watched) => {
                        self.call_off(&mut live, out);
                        let until = kill_at(context);
                        watched.next = watched.next.zip(until).map(|(at, until)| at.max(until));
                        watched.silence =
                            watched.silence.zip(until).map(|((at, longest), until)| (at.max(until), longest));
                        self.state = State::Ready(live, watched);
                    }
                    other => self.state = other,
                }
            }
            Word::Extend(more) => self.extend(context, now + more),
            Word::MainPid(pid) => {
                if self.leader().is_some_and(|leader| leader.number() != pid) {
                    self.refuse(context, Refused::MainPid, out);
                }
            }
            Word::Store => self.refuse(context, Refused::Store, out),
        }
    }

    /// So long it may be silent from now on, or from ready on.
    fn watch(&mut self, now: Time, longest: Option<Duration>) {
        match &mut self.state {
            State::Up(_, awaited) => awaited.longest = longest,
            State::Ready(_, watched) => watched.silence = longest.map(|longest| (now + longest, longest)),
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    /// What it is at may take until then.
    fn extend(&mut self, context: &Context, until: Time) {
        match &mut self.state {
            State::Up(_, awaited) => {
                if let Patience::Until(at) = &mut awaited.patience {
                    *at = (*at).max(until);
                }
            }
            State::Stopping { stop, .. } => stop.extend(context, until),
            State::Ready(..)
            | State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    /// What we do not do for it is said once a run.
    fn refuse(&mut self, context: &Context, what: Refused, out: &mut Vec<Action>) {
        if let Some(live) = self.live()
            && !live.refused.contains(&what)
        {
            live.refused.push(what);
            tell(out, Notice::Refused { name: name(context), what });
        }
    }

    /// Nobody wants an answer any more. A command that runs is killed; that it ends is still waited for.
    pub(super) fn call_off(&self, live: &mut Live, out: &mut Vec<Action>) {
        let run = self.main_child();
        match live.attempt.take() {
            Some(Attempt { by: By::Us, number, .. }) => {
                order(out, Action::CancelProbe { child: Child { role: Role::Probe(number), ..run } });
            }
            Some(Attempt { by: By::Command { pid: Some(pid), .. }, .. }) => {
                signal_group(pid, Signal::KILL, out);
                live.helpers.push(Helper::Test(pid));
            }
            // It was ordered in this very step, and its process is killed when it is there.
            Some(Attempt { by: By::Command { pid: None, .. }, .. }) | None => {}
        }
    }

    fn running_live(&mut self) -> Option<&mut Live> {
        match &mut self.state {
            State::Up(live, _) | State::Ready(live, _) => Some(live),
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => None,
        }
    }
}

fn ready_test(instance: &Instance) -> Option<&ReadyTest> {
    instance.ready.as_ref().map(|ready| &ready.test)
}

/// From one attempt to the next, in this state.
fn interval(instance: &Instance, state: &State) -> Duration {
    let ready = matches!(state, State::Ready(..));
    let asked = if ready { instance.healthcheck.as_ref().map(|check| check.interval) } else { None };
    asked.or(instance.ready.as_ref().map(|ready| ready.interval)).unwrap_or_default()
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    let Some(first) = text.first() else { return false };
    crate::search::all(*first, bytes).any(|at| bytes.get(at..).is_some_and(|rest| rest.starts_with(text)))
}

/// The last line that says something, printable and short.
fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let text = text.trim_end();
    let line = parted_at_last(text, b'\n').map_or(text, |(_, last)| last);
    printable(line.trim(), ' ', SAID_SHOWN)
}
