//! What the simulation has met: each kind of event and request in each state that an instance can be in, and at each part of the container's
//! life; each kind of order and notice. What it never meets is named here, with the reason: what is neither met nor named fails the test.

use std::collections::BTreeMap;
use std::fmt::Write;

use tinysup::control::{Request, Verb};
use tinysup::event::{Action, Child, Event, InstanceId, Role};
use tinysup::notice::Notice;
use tinysup::plan::Plan;
use tinysup::services::State;
use tinysup::supervisor::Supervisor;

use crate::world::World;

/// The kinds of an enum: a function that names them, and all their names. A variant that is not listed does not compile.
macro_rules! kinds {
    ($function:ident, $all:ident, $of:ident: $($kind:ident)*) => {
        const $all: &[&str] = &[$(stringify!($kind)),*];
        fn $function(one: &$of) -> &'static str {
            match one { $($of::$kind { .. } => stringify!($kind)),* }
        }
    };
}

kinds!(state, STATES, State:
    Waiting Launching Starting Up Ready Stopping Cleaning Backoff Down Completed Failed);
kinds!(event_kind, EVENTS, Event:
    Begin Tick Signal PassedOn Spawned SpawnFailed Executed ExecFailed Exited OrphansEnded Output File Reopened Stuck Flows OutputEnded Swept Strays Listener
    Probed Notified Announced Listening Connected Asked Taken Left Measured MemoryFound Weighed Pressure OomKilled Drained);
kinds!(verb, VERBS, Verb:
    Status Describe Memory Start Stop Restart Signal Logs Events Wait Health Update Reopen Shutdown);
kinds!(action_kind, ACTIONS, Action:
    Spawn Signal SignalGroup SignalEverybody Suspend Release Sweep SweepStrays FindListener Probe CancelProbe FindListening Answer
    Disconnect Measure FindMemory Weigh Write WriteFile Reopen Tell Drain TerminationLog Reread Exit);
kinds!(notice_kind, NOTICES, Notice:
    NotPid1 Up Ready NotYet Failing Missed Well MemoryFound OomGroup NoCells MemoryLimit MemoryLow MemoryWell NoVictim OomKilled
    RestartsWith WaitsAgain Reloading Refused AllUp Ended Leftovers LeftoversKilled Unkillable DependencyFailed Stopping StillStopping
    Killing StopCommandFailed Strays Stopped AllDone Obituary ByHand Unread File Reopened RateLimited Updating Updated NotUpdated
    Stays Spawned Reaped NotAdopting AskedGroup Forwarded);

/// The parts of the container's life.
const PARTS: &[&str] = &["it runs", "it stops", "strays", "it leaves"];
/// By what a pair is known that is no event in a state.
const NOTHING: &str = "";
const ORDER: &str = "order";
const NOTICE: &str = "notice";
const REQUEST: &str = "request";
const READ: &str = "read again";

/// For whom something is, where that makes a difference. `later`: it comes when another run has begun.
fn detail(role: Role, later: bool) -> &'static str {
    match (role, later) {
        (Role::Main, false) => "main",
        (Role::Main, true) => "main, later",
        (Role::StopCommand, false) => "stop_command",
        (Role::StopCommand, true) => "stop_command, later",
        (Role::Probe(_), false) => "test",
        (Role::Probe(_), true) => "test, later",
    }
}

/// What there is of an event.
fn details(kind: &str) -> &'static [&'static str] {
    match kind {
        "Spawned" | "SpawnFailed" => &["main", "stop_command", "test"],
        "Executed" | "ExecFailed" | "Exited" | "Output" | "OutputEnded" => {
            &["main", "main, later", "stop_command", "stop_command, later", "test", "test, later"]
        }
        "Swept" | "Notified" | "Announced" | "Listening" => &["main", "main, later"],
        "Probed" => &["test", "test, later"],
        _ => &[NOTHING],
    }
}

/// What is met, with its detail, and where.
type Pair = (&'static str, &'static str, &'static str);

/// How often what was met.
pub struct Coverage {
    met: BTreeMap<Pair, u64>,
    part: &'static str,
}

impl Default for Coverage {
    fn default() -> Self {
        Self { met: BTreeMap::new(), part: PARTS[0] }
    }
}

impl Coverage {
    fn meet(&mut self, pair: Pair) {
        *self.met.entry(pair).or_default() += 1;
    }

    pub fn add(&mut self, other: Self) {
        for (pair, count) in other.met {
            *self.met.entry(pair).or_default() += count;
        }
    }

    /// The core is about to be told.
    pub fn event(&mut self, world: &World, core: &Supervisor, event: &Event) {
        let kind = event_kind(event);
        self.meet((kind, NOTHING, self.part));
        let of = |child: &Child| {
            let later = core.service(child.instance).is_some_and(|service| service.runs() != child.run);
            Some((child.instance, detail(child.role, later)))
        };
        let whose = match event {
            Event::Spawned { child, .. }
            | Event::SpawnFailed { child, .. }
            | Event::Executed { child }
            | Event::ExecFailed { child, .. }
            | Event::Output { child, .. }
            | Event::OutputEnded { child, .. }
            | Event::Swept { child, .. }
            | Event::Probed { child, .. }
            | Event::Notified { child, .. }
            | Event::Announced { child }
            | Event::Listening { child, .. } => of(child),
            Event::Listener { instance, .. } | Event::OomKilled { instance: Some(instance), .. } => {
                Some((*instance, NOTHING))
            }
            Event::Exited { pid, .. } => {
                world.leader(*pid).and_then(|proc| proc.owner).and_then(|child| of(&child))
            }
            Event::Asked { request: Ok(request), .. } => return self.request(&world.plan, core, request),
            Event::Begin
            | Event::Tick
            | Event::Signal(_)
            | Event::PassedOn { .. }
            | Event::OrphansEnded { .. }
            | Event::File { .. }
            | Event::Reopened { .. }
            | Event::Stuck { .. }
            | Event::Flows { .. }
            | Event::Strays { .. }
            | Event::Connected { .. }
            | Event::Asked { request: Err(_), .. }
            | Event::Taken { .. }
            | Event::Left { .. }
            | Event::Measured { .. }
            | Event::MemoryFound(_)
            | Event::Weighed { .. }
            | Event::Pressure
            | Event::OomKilled { instance: None, .. }
            | Event::Drained => None,
        };
        if let Some((id, detail)) = whose {
            return self.in_state(core, id, kind, detail);
        }
        for id in world.plan.ids() {
            self.in_state(core, id, kind, NOTHING);
        }
    }

    fn in_state(&mut self, core: &Supervisor, id: InstanceId, kind: &'static str, detail: &'static str) {
        if let Some(service) = core.service(id) {
            self.meet((kind, detail, state(service.state())));
        }
    }

    fn request(&mut self, plan: &Plan, core: &Supervisor, request: &Request) {
        for (id, instance) in plan.all() {
            let named = |name: &String| [&*instance.name, &*instance.service, "all"].contains(&&**name);
            if request.names.is_empty() || request.names.iter().any(named) {
                self.in_state(core, id, REQUEST, verb(&request.verb));
            }
        }
    }

    /// The configuration was read again.
    pub fn reread(&mut self, world: &World, core: &Supervisor, good: bool) {
        for id in world.plan.ids() {
            self.in_state(core, id, READ, if good { "good" } else { "bad" });
        }
    }

    pub fn action(&mut self, action: &Action) {
        self.meet((ORDER, action_kind(action), NOTHING));
        match action {
            Action::Tell(notice) => {
                self.meet((NOTICE, notice_kind(notice), NOTHING));
                if matches!(notice, Notice::Stopping { .. }) {
                    self.part = PARTS[1];
                }
            }
            Action::SweepStrays { .. } => self.part = PARTS[2],
            Action::Drain => self.part = PARTS[3],
            _ => {}
        }
    }

    /// How many pairs were met, of how many, and what is wrong: what was not met and is not named, and what was met although it is
    /// said that it cannot be. And what was not met although it can be.
    pub fn judge(&self) -> (usize, usize, String, String) {
        let (mut met, mut wrong, mut rare) = (0, String::new(), String::new());
        let all = all();
        for pair in &all {
            let (what, detail, place) = pair;
            match (self.met.get(pair), Unmet::of(*pair)) {
                (Some(count), Some(Never(why))) => {
                    writeln!(wrong, "met {count} times although \"{why}\": {what} ({detail}) in {place}")
                        .unwrap();
                }
                (Some(_), None | Some(Met | Rare(_))) => met += 1,
                (None, Some(Never(_))) => {}
                (None, Some(Rare(why))) => {
                    writeln!(rare, "not met: {what} ({detail}) in {place}: {why}").unwrap();
                }
                (None, None | Some(Met)) => {
                    writeln!(wrong, "never met: {what} ({detail}) in {place}").unwrap();
                }
            }
        }
        for pair in self.met.keys().filter(|pair| !all.contains(pair)) {
            writeln!(wrong, "met, but it is in no list: {pair:?}").unwrap();
        }
        (met, all.len(), wrong, rare)
    }

    /// The kinds that were met nowhere at all although that is not said of them.
    pub fn missing(&self) -> Vec<(&'static str, &'static str)> {
        let all = all();
        let mut kinds: Vec<(&str, &str)> = all.iter().map(|(what, detail, _)| (*what, *detail)).collect();
        kinds.dedup();
        let of = |pair: &Pair, kind: (&str, &str)| (pair.0, pair.1) == kind;
        let said = |kind| {
            all.iter()
                .filter(|pair| of(pair, kind))
                .all(|pair| matches!(Unmet::of(*pair), Some(Never(_) | Rare(_))))
        };
        kinds.retain(|kind| !self.met.keys().any(|pair| of(pair, *kind)) && !said(*kind));
        kinds
    }
}

/// All there could be.
fn all() -> Vec<Pair> {
    let mut all = Vec::new();
    for kind in EVENTS {
        all.extend(PARTS.iter().map(|part| (*kind, NOTHING, *part)));
        for detail in details(kind) {
            all.extend(STATES.iter().map(|state| (*kind, *detail, *state)));
        }
    }
    for verb in VERBS {
        all.extend(STATES.iter().map(|state| (REQUEST, *verb, *state)));
    }
    for read in ["good", "bad"] {
        all.extend(STATES.iter().map(|state| (READ, read, *state)));
    }
    all.extend(ACTIONS.iter().map(|kind| (ORDER, *kind, NOTHING)));
    all.extend(NOTICES.iter().map(|kind| (NOTICE, *kind, NOTHING)));
    all
}

/// What is not met, and why.
struct Unmet {
    /// Empty: all.
    what: &'static [&'static str],
    /// Empty: all.
    details: &'static [&'static str],
    places: &'static [&'static str],
    why: Why,
}

enum Why {
    /// It is met all the same; the rows below do not count.
    Met,
    /// It cannot be.
    Never(&'static str),
    /// It can be, but so much has to come together that it may be missing.
    Rare(&'static str),
}
use Why::{Met, Never, Rare};

impl Unmet {
    fn of(pair: Pair) -> Option<&'static Why> {
        let (what, detail, place) = pair;
        let any = |list: &[&str], one| list.is_empty() || list.contains(&one);
        let row = UNMET
            .iter()
            .find(|row| any(row.what, what) && any(row.details, detail) && row.places.contains(&place));
        row.map(|row| &row.why)
    }
}

const fn row(
    what: &'static [&'static str],
    details: &'static [&'static str],
    places: &'static [&'static str],
    why: Why,
) -> Unmet {
    Unmet { what, details, places, why }
}

const LATER: &[&str] = &["main, later", "stop_command, later", "test, later"];
const HELD_UP: Why = Rare("a run is over only when that is, unless SIGKILL does not end it");
const AT_ONCE: Why = Never("the answer to an order comes before anything else");
const AFTER_ALL: Why =
    Never("the end of a leader is told after all else of it, and its run is not over before");
const LAST: Why = Never("of the last output nothing but that is told, and then it is over");
const FROM_START: Why = Never("nothing has been started before");
const ALL_DOWN: Why = Never("the services are down, or one of them cannot be");

/// The first row that fits counts.
const UNMET: &[Unmet] = &[
    row(&["Spawned", "SpawnFailed"], &["main"], &["Launching"], Met),
    row(&["Weighed"], &[], &["Launching"], Met),
    row(
        &["File"],
        &[],
        &["Launching"],
        Rare("a file has to have trouble when another service writes in that step"),
    ),
    row(&["Measured"], &[], &["strays"], Rare("a client has to ask while SIGKILL does not end something")),
    row(
        &["Announced"],
        &["main, later"],
        &["Cleaning"],
        Rare("a helper of an earlier run has to write just then"),
    ),
    row(&[], &[], &["Launching"], AT_ONCE),
    // The parts of the container's life.
    row(&["Drained", "OutputEnded"], &[], &["it leaves"], Met),
    row(
        &["Output"],
        &[],
        &["it leaves"],
        Rare("it has to be written between the last look at the pipes and the last kill"),
    ),
    row(
        &["Swept"],
        &[],
        &["it leaves"],
        Rare("who does not die has to be looked after in the very turn in which he is given up"),
    ),
    row(&[], &[], &["it leaves"], LAST),
    row(&["Begin", "MemoryFound"], &[], &["it stops"], FROM_START),
    row(&["Drained"], &[], &["it runs", "it stops", "strays"], LAST),
    row(&["Strays"], &[], &["it runs", "it stops"], ALL_DOWN),
    row(&["Spawned", "SpawnFailed", "Measured"], &[], &["strays"], ALL_DOWN),
    row(
        &["Listening", "Probed"],
        &[],
        &["strays"],
        Rare("it comes with the end of the last run, or is of one that cannot be ended"),
    ),
    row(
        &["ExecFailed"],
        &[],
        &["strays"],
        Never("who has not executed anything yet dies of SIGKILL at once"),
    ),
    row(
        &["Executed"],
        &[],
        &["strays"],
        Rare("it is a test, which SIGKILL does not end from that moment on"),
    ),
    row(&["Listener"], &[], &["it runs"], Never("it is asked for as the first thing of a stop")),
    // The states of instances.
    row(
        &["Begin", "MemoryFound"],
        &[],
        &["Starting", "Up", "Ready", "Stopping", "Cleaning", "Backoff", "Completed", "Failed"],
        FROM_START,
    ),
    row(&["Strays", "Drained"], &[], &["Waiting", "Starting", "Up", "Ready", "Backoff"], ALL_DOWN),
    row(
        &["Listener"],
        &[],
        &["Waiting", "Starting", "Up", "Ready", "Stopping", "Cleaning", "Backoff", "Down", "Completed"],
        Never("it is asked for one that has failed for good, and answered at once"),
    ),
    row(
        &["Spawned", "SpawnFailed"],
        &["main"],
        &[
            "Waiting",
            "Starting",
            "Up",
            "Ready",
            "Stopping",
            "Cleaning",
            "Backoff",
            "Down",
            "Completed",
            "Failed",
        ],
        AT_ONCE,
    ),
    row(
        &["Spawned", "SpawnFailed"],
        &["stop_command"],
        &["Waiting", "Starting", "Up", "Ready", "Cleaning", "Backoff", "Down", "Completed", "Failed"],
        AT_ONCE,
    ),
    row(
        &["Spawned", "SpawnFailed"],
        &["test"],
        &["Stopping"],
        Rare("the stop has to begin in the step that ordered it"),
    ),
    row(&["File"], &[], &["Cleaning", "strays"], Rare("few files have trouble just then")),
    row(&["Pressure"], &[], &["strays"], Rare("little is left then that could press")),
    row(
        &["Spawned", "SpawnFailed"],
        &["test"],
        &["Waiting", "Starting", "Stopping", "Cleaning", "Backoff", "Down", "Completed", "Failed"],
        AT_ONCE,
    ),
    row(
        &["Swept"],
        &["main"],
        &["Waiting", "Starting", "Up", "Ready", "Stopping", "Backoff", "Down", "Completed", "Failed"],
        AT_ONCE,
    ),
    row(
        &["Listening"],
        &["main"],
        &["Waiting", "Cleaning", "Backoff", "Down", "Completed", "Failed"],
        AT_ONCE,
    ),
    row(
        &["Executed", "ExecFailed", "Exited"],
        &["main"],
        &["Waiting", "Cleaning", "Backoff", "Down", "Completed", "Failed"],
        AFTER_ALL,
    ),
    row(&["ExecFailed"], &["main"], &["Up", "Ready"], Never("nothing of it can be seen to run")),
    row(&["Executed", "ExecFailed", "Exited", "Swept", "Listening"], &["main, later"], STATES, AFTER_ALL),
    row(
        &["Executed", "ExecFailed"],
        &["stop_command"],
        &["Waiting", "Starting", "Up", "Ready", "Backoff", "Down", "Completed", "Failed"],
        Never("it is executed for a stop that is not over before it has ended"),
    ),
    row(&["ExecFailed"], &["stop_command"], &["Cleaning"], Rare("the leader has to end in that moment")),
    row(
        &["Executed", "ExecFailed"],
        &["test"],
        &["Waiting", "Starting", "Backoff", "Completed", "Failed"],
        Never("it is executed for a run that is up, and that is not over before it has ended"),
    ),
    row(
        &["ExecFailed"],
        &["test"],
        &["Stopping", "Down"],
        Rare("the run has to be told to end in that moment"),
    ),
    row(
        &["Executed", "ExecFailed"],
        LATER,
        STATES,
        Never("of a run that is over nothing is executed any more"),
    ),
    row(
        &["Exited", "Output", "OutputEnded"],
        &["stop_command"],
        &["Starting", "Up", "Ready"],
        Never("a run that has had one does not go on"),
    ),
    row(
        &["Exited", "Output", "OutputEnded"],
        &["stop_command"],
        &["Completed"],
        Never("what was told to end is not said to be done"),
    ),
    row(
        &["Exited", "Output", "OutputEnded", "Probed"],
        &["test"],
        &["Starting"],
        Never("no run is asked before it is up"),
    ),
    row(
        &["Exited", "Output", "OutputEnded"],
        &["stop_command", "test"],
        &["Waiting", "Backoff", "Completed", "Failed"],
        HELD_UP,
    ),
    row(&["Exited", "Output", "OutputEnded"], &["stop_command, later", "test, later"], STATES, HELD_UP),
    row(
        &["Probed"],
        &["test"],
        &["Waiting"],
        Rare("the answer has to come with the end of the run that it is about"),
    ),
    row(
        &["Probed"],
        &["test, later"],
        STATES,
        Rare("the answer has to come with the end of the run that it is about, and the next begin by that"),
    ),
];
