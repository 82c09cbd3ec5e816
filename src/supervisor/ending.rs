//! The very end: the code that the container ends with, and the last words about it.

use crate::event::{Action, ExitCode, InstanceId, Time, order, tell};
use crate::gather::Gather;
use crate::notice::{Cause, Notice};
use crate::obituary::{self, Obituary, Other};
use crate::plan::Mode;
use crate::services::{Service, State};
use crate::shutdown::Reason;
use crate::sorted::sort;

use super::{StopRecord, Supervisor};

impl Supervisor {
    /// All is over and all output is out: tell how it ended, last of all, and go.
    #[inline(never)]
    pub(super) fn leave(&mut self, now: Time, out: &mut Vec<Action>) {
        let Some(shutdown) = &self.shutdown else { return };
        let (since, reason) = (shutdown.since(), shutdown.reason());
        for (child, sink) in self.logs.unfinished() {
            self.output_ended(now, child, sink, out);
        }
        self.tell_all_unread(out);
        self.tell_dropped(now, true, out);
        self.tell_of_kills(None, out);
        let Some(code) = self.exit_code_now() else { return };
        match reason {
            _ if self.plan.mode != Mode::Services => {}
            Reason::Failed(id) => {
                if let Some(text) = self.obituary(id, since, code) {
                    let mut log = text.clone();
                    log.push('\n');
                    order(out, Action::TerminationLog { text: log });
                    tell(out, Notice::Obituary(text));
                }
            }
            Reason::Signal(_) | Reason::Asked | Reason::Ended(_) | Reason::AllDone => {
                let took = |(id, record): (InstanceId, &StopRecord)| {
                    Some((self.name(id), record.down?.since(record.asked)))
                };
                let each = self.stopped().into_iter().filter_map(took).gather();
                let after = now.since(since);
                tell(
                    out,
                    match reason {
                        Reason::AllDone => {
                            Notice::AllDone { failed: self.first_failed().map(|id| self.name(id)), code }
                        }
                        Reason::Signal(_) | Reason::Asked | Reason::Ended(_) | Reason::Failed(_) => {
                            Notice::Stopped { after, each, code }
                        }
                    },
                );
            }
        }
        order(out, Action::Exit(ExitCode(code)));
    }

    /// Those that took part in the stop, in the order in which they were asked.
    fn stopped(&self) -> Vec<(InstanceId, &StopRecord)> {
        let taken = |id: InstanceId| Some((id, self.stops.get(id.0 as usize)?.as_ref()?));
        let mut stopped: Vec<_> = self.plan.ids().rev().filter_map(taken).gather();
        sort(&mut stopped, |(_, one), (_, other)| one.asked > other.asked);
        stopped
    }

    fn exit_code(&self, reason: Reason, killed: bool) -> u8 {
        let start_failure = match self.plan.mode {
            Mode::Command(manner) => manner.start_failure,
            Mode::Services | Mode::Pause => None,
        };
        let last = |id: InstanceId| {
            // How its last run ended is not why one failed that could not start again.
            let service = self.service(id).filter(|service| service.failed_without().is_none())?;
            let cause = &service.history().last()?.cause;
            let given = start_failure.filter(|_| matches!(cause, Cause::Start(_)));
            Some(given.unwrap_or_else(|| cause.exit_code()))
        };
        let failure = |code: Option<u8>| code.filter(|code| *code != 0).unwrap_or(ExitCode::FAILURE.0);
        match reason {
            Reason::Signal(_) | Reason::Asked if killed => ExitCode::KILLED.0,
            Reason::Signal(_) | Reason::Asked => ExitCode::SUCCESS.0,
            Reason::Failed(id) => failure(last(id)),
            Reason::Ended(id) => last(id).unwrap_or(0),
            Reason::AllDone => self.first_failed().map_or(0, |id| failure(last(id))),
        }
    }

    /// The code that the container ends with, as far as is known: once the services are down, strays change nothing about it.
    pub(super) fn exit_code_now(&self) -> Option<u8> {
        let stop = self.shutdown.as_ref()?;
        let killed = self.services.iter().any(|service| service.killed_since(stop.since()));
        Some(self.exit_code(stop.reason(), killed))
    }

    /// The first failed instance in start order.
    fn first_failed(&self) -> Option<InstanceId> {
        self.plan.ids().find(|id| matches!(self.service(*id).map(Service::state), Some(State::Failed { .. })))
    }

    #[inline(never)]
    fn obituary(&self, id: InstanceId, since: Time, code: u8) -> Option<String> {
        let (instance, service) = (self.plan.instance(id)?, self.service(id)?);
        let missing = service.failed_without().and_then(|on| self.plan.instance(on)).map(|on| &*on.name);
        let other = |(id, record): (InstanceId, &StopRecord)| {
            let name = &self.plan.instance(id)?.name;
            let killed = self.service(id)?.killed_since(since);
            Some(Other { name, took: record.down.map(|down| down.since(record.asked)), killed })
        };
        Some(obituary::text(&Obituary {
            instance,
            exits: service.history().iter().filter(|ended| !ended.asked).gather(),
            runs: service.judged(),
            began: self.began,
            missing,
            last_words: self.logs.last_lines(id, obituary::LAST_WORDS),
            port: self.port.as_ref().map(|(port, listener)| (*port, listener)),
            others: self.stopped().into_iter().filter_map(other).gather(),
            code,
        }))
    }
}
