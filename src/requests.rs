//! The clients from their arrival until they are gone, and what each of them still waits for. Bounds and time limits are here; what
//! is answered the supervisor knows.

use std::time::Duration;

use crate::control::{Change, Request, Wanted};
use crate::event::{Client, ContainerMemory, InstanceId, Pid, Time, Usage, Weight};
use crate::gather::Gather;
use crate::sorted::Map;

/// So many requests may be open at once that wait for something or follow what comes. There are more connections than that, so
/// that a health check always finds one.
const OPEN_MAX: usize = 24;
/// A client that has not asked by then is dropped.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// A client that does not take its last answer within this time is dropped,
const LEAVE_MAX: Duration = Duration::from_secs(10);
/// and one that follows and has not taken what was sent to it.
const STALL_MAX: Duration = Duration::from_mins(1);

/// All clients.
#[derive(Debug, Default)]
pub struct Requests {
    guests: Map<Client, Guest>,
}

#[derive(Debug)]
struct Guest {
    stage: Stage,
    /// When this has lasted too long.
    until: Option<Time>,
}

/// How far a client is.
#[derive(Debug)]
pub enum Stage {
    /// It has not asked yet.
    Silent,
    /// What it asks for has to be measured first; the answer to that comes before anything else does.
    Measuring(Report),
    /// It has asked for an update; the configuration is being read, and nothing else happens before.
    Rereading,
    /// It waits until something is done.
    Doing(Vec<Target>),
    /// It waits until something is so.
    Until {
        /// For whom.
        ids: Vec<InstanceId>,
        /// Whether they were named.
        named: bool,
        /// What.
        wanted: Wanted,
    },
    /// It waits for the end of the container.
    End,
    /// It reads what the services wrote.
    Logs(Reading),
    /// It reads what happened.
    Events {
        /// How far it is.
        reading: Reading,
        /// The number of the last that it has.
        seen: u64,
    },
    /// It has its last answer.
    Leaving,
}

/// What is known about some instances before it is told.
#[derive(Debug, Default)]
pub struct Report {
    /// About whom.
    pub ids: Vec<InstanceId>,
    /// How much of it.
    pub scope: Scope,
    /// What those that run use, as far as it is known.
    pub usage: Map<InstanceId, Usage>,
    /// Where they listen.
    pub listens: Map<InstanceId, Vec<String>>,
    /// What memory they hold.
    pub weights: Map<InstanceId, Weight>,
    /// And the container, where that was asked for.
    pub container: Option<ContainerMemory>,
    /// Of whom that is still asked.
    pub asked: Vec<InstanceId>,
}

/// How much is to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// What fits into a line.
    #[default]
    AtAGlance,
    /// Everything.
    InFull,
    /// Their memory.
    Memory,
}

/// How far a client is that reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Whether it stays when there is nothing more.
    pub follow: bool,
    /// Whether it has not taken yet what it was sent.
    pub busy: bool,
}

/// What is being done about one instance.
#[derive(Debug)]
pub struct Target {
    /// Which.
    pub id: InstanceId,
    /// What.
    pub deed: Deed,
    /// How many runs it had begun before.
    pub runs: u32,
    /// Its leader before, if it had one.
    pub pid: Option<Pid>,
    /// Since when.
    pub since: Time,
    /// By an update: the keys that have changed; empty: none, or not by an update.
    pub keys: String,
    /// What came of it.
    pub result: Option<Change>,
}

impl Target {
    /// The same for somebody else, before anything came of it.
    #[must_use]
    pub fn also(&self) -> Self {
        Self { keys: self.keys.clone(), result: None, ..*self }
    }
}

/// What can be done about an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It is to run, or to be done.
    Start,
    /// It is to be down.
    Stop,
    /// It is to run anew.
    Restart,
    /// It is to be started, as it was not there before.
    Add,
    /// It is to run as it is defined now, and not as before.
    Renew,
    /// It goes on under other rules.
    Adjust,
    /// It is to be down, and to be no more.
    Remove,
}

/// What is to become of a client whose time is over.
#[derive(Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Its connection is closed.
    Drop,
    /// It is told how things are.
    Tell,
}

impl Requests {
    /// Somebody is there.
    #[inline(never)]
    pub fn connected(&mut self, now: Time, client: Client) {
        self.guests.insert(client, Guest { stage: Stage::Silent, until: Some(now + SILENCE_MAX) });
    }

    /// Somebody is gone, or is to be forgotten. Says whether it was here.
    pub fn left(&mut self, client: Client) -> bool {
        self.guests.remove(&client).is_some()
    }

    /// Whether this client may ask now: it is here, and it has not yet.
    pub fn may_ask(&self, client: Client) -> bool {
        matches!(self.stage(client), Some(Stage::Silent))
    }

    /// Whether one more request may stay open.
    pub fn room(&self) -> bool {
        let open = |guest: &&Guest| match guest.stage {
            Stage::Silent | Stage::Measuring(_) | Stage::Rereading | Stage::Leaving => false,
            Stage::Doing(_) | Stage::Until { .. } | Stage::End | Stage::Logs(_) | Stage::Events { .. } => {
                true
            }
        };
        self.guests.values().filter(open).count() < OPEN_MAX
    }

    /// Who has followed the longest; clients are numbered as they come.
    pub fn oldest_follower(&self) -> Option<Client> {
        let follows = |guest: &Guest| match guest.stage {
            Stage::Logs(reading) | Stage::Events { reading, .. } => reading.follow,
            Stage::Silent
            | Stage::Measuring(_)
            | Stage::Rereading
            | Stage::Doing(_)
            | Stage::Until { .. }
            | Stage::End
            | Stage::Leaving => false,
        };
        self.guests.iter().find(|(_, guest)| follows(guest)).map(|(client, _)| *client)
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.guests.is_empty()
    }

    /// A client is here from now on, until then at most.
    pub fn enter(&mut self, client: Client, stage: Stage, until: Option<Time>) {
        if let Some(guest) = self.guests.get_mut(&client) {
            *guest = Guest { stage, until };
        }
    }

    /// It has its last answer.
    pub fn leave(&mut self, now: Time, client: Client) {
        self.enter(client, Stage::Leaving, Some(now + LEAVE_MAX));
    }

    /// How far a client is.
    pub fn stage(&self, client: Client) -> Option<&Stage> {
        self.guests.get(&client).map(|guest| &guest.stage)
    }

    /// How far a client is, to be changed.
    pub fn stage_mut(&mut self, client: Client) -> Option<&mut Stage> {
        self.guests.get_mut(&client).map(|guest| &mut guest.stage)
    }

    /// What is being done for a client, to be changed and given back, or told: it is its stage as long as it is done.
    #[inline(never)]
    pub fn take_targets(&mut self, client: Client) -> Vec<Target> {
        match self.stage_mut(client) {
            Some(Stage::Doing(targets)) => std::mem::take(targets),
            _ => Vec::new(),
        }
    }

    /// Everybody who is here.
    pub fn clients(&self) -> Vec<Client> {
        self.guests.keys().copied().gather()
    }

    /// A client that reads was sent something.
    pub fn sent(&mut self, now: Time, client: Client) {
        if let Some(guest) = self.guests.get_mut(&client)
            && let Stage::Logs(reading) | Stage::Events { reading, .. } = &mut guest.stage
        {
            reading.busy = true;
            guest.until = Some(now + STALL_MAX);
        }
    }

    /// A client has taken what it was sent.
    pub fn taken(&mut self, client: Client) {
        if let Some(guest) = self.guests.get_mut(&client)
            && let Stage::Logs(reading) | Stage::Events { reading, .. } = &mut guest.stage
        {
            reading.busy = false;
            guest.until = None;
        }
    }

    /// When somebody's time is over.
    pub fn deadline(&self) -> Option<Time> {
        self.guests.values().filter_map(|guest| guest.until).min()
    }

    /// Whose time is over.
    pub fn overdue(&self, now: Time) -> Vec<(Client, Overdue)> {
        let due = |guest: &Guest| guest.until.is_some_and(|until| now >= until);
        let what = |guest: &Guest| match guest.stage {
            Stage::Doing(_) | Stage::Until { .. } | Stage::End => Overdue::Tell,
            Stage::Silent
            | Stage::Measuring(_)
            | Stage::Rereading
            | Stage::Logs(_)
            | Stage::Events { .. }
            | Stage::Leaving => Overdue::Drop,
        };
        self.guests
            .iter()
            .filter(|(_, guest)| due(guest))
            .map(|(client, guest)| (*client, what(guest)))
            .gather()
    }
}

/// When the patience of a request is over.
pub fn until(now: Time, request: &Request) -> Option<Time> {
    request.timeout_ms.map(|millis| now + Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Client = Client(1);

    fn with(stage: Stage) -> Requests {
        let mut requests = Requests::default();
        requests.connected(Time::ZERO, A);
        requests.enter(A, stage, None);
        requests
    }

    #[test]
    fn who_says_nothing_or_takes_nothing_is_dropped() {
        let mut requests = Requests::default();
        requests.connected(Time::ZERO, A);
        assert!(requests.may_ask(A) && !requests.may_ask(Client(2)));
        assert_eq!(requests.deadline(), Some(Time::ZERO + SILENCE_MAX));
        assert_eq!(requests.overdue(Time::ZERO), []);
        assert_eq!(requests.overdue(Time::ZERO + SILENCE_MAX), [(A, Overdue::Drop)]);
        requests.leave(Time::ZERO, A);
        assert!(!requests.may_ask(A));
        assert_eq!(requests.overdue(Time::ZERO + LEAVE_MAX), [(A, Overdue::Drop)]);
        assert!(requests.left(A) && !requests.left(A) && requests.is_empty());
        assert_eq!(requests.deadline(), None);
    }

    #[test]
    fn who_follows_may_be_slow_but_not_for_ever() {
        let mut requests = with(Stage::Logs(Reading { follow: true, busy: false }));
        assert_eq!(requests.deadline(), None);
        requests.sent(Time::ZERO, A);
        assert_eq!(requests.overdue(Time::ZERO + STALL_MAX), [(A, Overdue::Drop)]);
        requests.taken(A);
        assert_eq!(requests.deadline(), None);
    }

    #[test]
    fn what_waits_is_bounded_and_told_how_things_are() {
        let mut requests = with(Stage::End);
        requests.enter(A, Stage::End, Some(Time(7)));
        assert_eq!(requests.overdue(Time(7)), [(A, Overdue::Tell)]);
        for number in 2..=OPEN_MAX as u64 {
            assert!(requests.room());
            requests.connected(Time::ZERO, Client(number));
            requests.enter(Client(number), Stage::End, None);
        }
        assert!(!requests.room());
        requests.leave(Time::ZERO, A);
        assert!(requests.room());
    }
}
