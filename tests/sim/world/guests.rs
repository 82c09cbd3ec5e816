//! Clients: they come at any moment, ask whatever comes to their mind or nothing, read or do not, stay or leave in the middle.

use tinysup::control::{Answer, LogLine, Request, Stream, VERSION, Verb, Wanted};
use tinysup::event::Client;

use super::*;
use crate::violation;

/// Who has not asked anything by then is dropped.
const SILENCE: Duration = Duration::from_secs(5);
/// So many requests may wait for something, or follow what comes, at once.
const OPEN_MAX: usize = 24;

/// What a run uses is looked up at most so often.
const MEASURED_EVERY: Duration = Duration::from_millis(500);

/// What a client does next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    Come,
    Ask,
    Take,
    Leave,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what has happened to him so far")]
pub struct Guest {
    reads: bool,
    /// He takes his time.
    slow: bool,
    /// The core was told what he asks.
    asked: bool,
    /// He has his last answer, or his connection was closed.
    done: bool,
    /// The core was told that he is gone.
    gone: bool,
    /// He is gone, or will be without a further word.
    leaving: bool,
    /// Something was sent to him that he has not taken.
    owed: bool,
    follows: bool,
    lines: u64,
    /// When the core was told that he is there.
    came: Option<Time>,
    /// The last line that he was sent of each stream of a run, by its tag.
    seen: BTreeMap<String, u64>,
}

impl World {
    /// Who will come, and when.
    pub(super) fn invite(&mut self) {
        if self.plan.mode != Mode::Services || !self.crowd.per_mille(500) {
            return;
        }
        self.updates = self.crowd.per_mille(700);
        self.crowded = self.crowd.per_mille(60);
        let (least, most) = if self.crowded { (40, 80) } else { (1, 25) };
        for (number, mut rng) in self.crowd.several(least, most) {
            let after = rng.spread(0, 60_000);
            self.plan_for(after, Happening::Guest(Client(number), Move::Come));
        }
        if self.updates {
            for (_, mut rng) in self.crowd.several(0, 4) {
                let after = rng.spread(0, 40_000);
                self.plan_for(after, Happening::Visit(Visitor::Signal(Signal::HUP)));
            }
        }
    }

    pub(super) fn guest(&mut self, client: Client, doing: Move) {
        match doing {
            Move::Come => {
                let mut rng = self.crowd.named(&format!("{client:?}"));
                let (reads, slow) = (rng.per_mille(850), rng.per_mille(200));
                self.guests.insert(client, Guest { reads, slow, ..Guest::default() });
                self.desk.push_back(Event::Connected { client });
                if rng.per_mille(950) {
                    let after = rng.spread(0, 2000);
                    self.plan_for(after, Happening::Guest(client, Move::Ask));
                }
                if rng.per_mille(120) {
                    let after = rng.spread(0, 10_000);
                    self.plan_for(after, Happening::Guest(client, Move::Leave));
                }
                self.count("client");
            }
            Move::Ask => {
                let here = self.guests.get(&client).is_some_and(|guest| !guest.leaving && !guest.done);
                if here {
                    let request = self.draw_request(client);
                    if let Some(guest) = self.guests.get_mut(&client) {
                        guest.follows = request.as_ref().is_ok_and(|request| request.follow);
                    }
                    self.desk.push_back(Event::Asked { client, request });
                }
            }
            Move::Take => {
                if let Some(guest) = self.guests.get_mut(&client)
                    && !guest.leaving
                    && !guest.done
                {
                    guest.owed = false;
                    self.desk.push_back(Event::Taken { client });
                }
            }
            Move::Leave => {
                if let Some(guest) = self.guests.get_mut(&client)
                    && !guest.leaving
                {
                    guest.leaving = true;
                    if !guest.done {
                        self.count("client that leaves in the middle");
                    }
                    self.desk.push_back(Event::Left { client });
                }
            }
        }
    }

    fn draw_request(&self, client: Client) -> Result<Request, String> {
        let rng = &mut self.crowd.named(&format!("request of {client:?}"));
        if rng.per_mille(30) {
            return Err("nonsense".to_owned());
        }
        let verb = rng.weighted(&[
            (2, Verb::Status),
            (2, Verb::Describe),
            (5, Verb::Start),
            (6, Verb::Stop),
            (5, Verb::Restart),
            (2, Verb::Signal),
            (4, Verb::Logs),
            (2, Verb::Events),
            (3, Verb::Wait),
            (2, Verb::Health),
            (1, Verb::Memory),
            (1, Verb::Reopen),
            (if self.updates { 8 } else { 1 }, Verb::Update),
        ]);
        let verb = if rng.per_mille(15) { Verb::Shutdown } else { verb };
        // Where there are many, most want to see what happens, or all wait for the same.
        let patient = self.crowded && self.crowd.named("patient").per_mille(500);
        let verb = match self.crowded && (patient || rng.per_mille(800)) {
            true if patient => Verb::Wait,
            true => *rng.pick(&[Verb::Logs, Verb::Events]),
            false => verb,
        };
        let mut known: Vec<String> =
            self.plan.all().flat_map(|(_, i)| [i.name.to_string(), i.service.to_string()]).collect();
        known.push("all".to_owned());
        let mut names = Vec::new();
        for (_, mut rng) in rng.several(0, 2) {
            names.push(if rng.per_mille(40) { "nobody".to_owned() } else { rng.pick(&known).clone() });
        }
        // What does not start by itself is started and stopped by somebody, before and after an update that may change that.
        let idle =
            self.plan.all().find(|(_, instance)| !instance.autostart).map(|(_, one)| one.service.to_string());
        let (verb, names) = match idle.filter(|_| self.updates && rng.per_mille(500)) {
            Some(service) => (*rng.pick(&[Verb::Start, Verb::Stop, Verb::Update]), vec![service]),
            None => (verb, names),
        };
        Ok(Request {
            v: if rng.per_mille(10) { 9 } else { VERSION },
            verb,
            names,
            wait: rng.per_mille(600),
            dependents: rng.per_mille(600),
            dry_run: rng.per_mille(150),
            signal: (*rng.pick(&["USR1", "WINCH", "TERM", "HUP", "KILL", "NOSUCH"])).to_owned(),
            group: rng.per_mille(300),
            follow: rng.per_mille(if self.crowded { 950 } else { 500 }),
            lines: rng.per_mille(500).then(|| *rng.pick(&[0, 1, 3, 3, 100])),
            since_ms: rng.per_mille(300).then(|| *rng.pick(&[1, 500, 500, 20_000])),
            stream: rng.per_mille(300).then_some(Stream::Stderr),
            state: Some(
                match *rng.pick(&[Wanted::Live, Wanted::Ready, Wanted::Completed, Wanted::Stopped]) {
                    Wanted::Live | Wanted::Ready if patient => Wanted::Stopped,
                    other => other,
                },
            ),
            pss: rng.per_mille(300),
            timeout_ms: rng.per_mille(if patient { 100 } else { 500 }).then(|| rng.below(20_000)),
        })
    }

    /// What the core is told of a client is so from now on.
    pub fn told(&mut self, event: &Event) {
        let (client, asked, gone) = match event {
            Event::Connected { client } => (client, false, false),
            Event::Asked { client, .. } => (client, true, false),
            Event::Left { client } => (client, false, true),
            _ => return,
        };
        let now = self.now;
        if let Some(guest) = self.guests.get_mut(client) {
            guest.came.get_or_insert(now);
            guest.asked |= asked;
            guest.gone |= gone;
        }
    }

    pub(super) fn answer(&mut self, client: Client, answer: &Answer, last: bool) {
        let Some(guest) = self.guests.get_mut(&client) else { violation!("{client:?} is nobody") };
        if !guest.asked || guest.done || guest.gone {
            violation!("{client:?} is told {answer:?}, but {guest:?}");
        }
        let streams = matches!(answer, Answer::Log(_) | Answer::Event(_));
        if streams == last {
            violation!("{answer:?} as an answer that is the last: {last}");
        }
        guest.done = last;
        guest.lines += u64::from(streams);
        if let Answer::Log(line) = answer {
            guest.reads_on(line);
        }
        if guest.reads && !guest.leaving {
            if last {
                let after = self.crowd.micros(0, 3000);
                self.plan_for(after, Happening::Guest(client, Move::Leave));
            } else if !guest.owed {
                guest.owed = true;
                let after = self.crowd.spread(0, if guest.slow { 30_000 } else { 300 });
                self.plan_for(after, Happening::Guest(client, Move::Take));
            }
        }
        self.count(match answer {
            Answer::Refused(_) => "refusal",
            Answer::Log(_) | Answer::Event(_) => "line of an answer",
            Answer::End => "end of a stream",
            Answer::Changed(_) => "answer to a change",
            Answer::Verdict(_) => "verdict",
            Answer::Status(_) | Answer::Describe(_) | Answer::Memory(_) => "answer about how things are",
        });
    }

    pub(super) fn disconnect(&mut self, client: Client) {
        let Some(guest) = self.guests.get_mut(&client) else { violation!("{client:?} is nobody") };
        if guest.gone || guest.reads && guest.asked && !guest.leaving && !guest.done && !guest.owed {
            violation!("{client:?} is dropped for no reason: {guest:?}");
        }
        (guest.done, guest.leaving, guest.gone) = (true, true, true);
        self.desk.retain(|event| {
            !matches!(event, Event::Asked { client: who, .. } | Event::Taken { client: who } | Event::Left { client: who } if *who == client)
        });
        self.count("client that is dropped");
    }

    pub(super) fn measure(&mut self, client: Client, runs: &[(Child, Pid)], events: &mut Vec<Event>) {
        if self.guests.get(&client).is_none_or(|guest| guest.gone || guest.done) {
            violation!("nobody wants to know what is used: {client:?}");
        }
        let usage = runs.iter().map(|(child, _)| {
            let used = self.usage(*child);
            let before = self.measured.insert(*child, (self.now, used));
            if let Some((at, _)) = before.filter(|(at, _)| self.now.since(*at) < MEASURED_EVERY) {
                violation!("{child:?} is measured again, and was at {at:?}");
            }
            used
        });
        let usage = usage.collect();
        events.push(Event::Measured { client, usage });
    }

    /// Where a run listens, which changes from moment to moment.
    pub(super) fn find_listening(&mut self, child: Child, events: &mut Vec<Event>) {
        let count = self.rng.below(3);
        let addresses: Vec<String> =
            (0..count).map(|_| format!("0.0.0.0:{}", self.rng.below(9999))).collect();
        self.listens.insert(child, addresses.clone());
        events.push(Event::Listening { child, addresses });
    }

    /// Who says nothing does not stay, and no more are served at once than there is room for. `now`: when the step began; what was
    /// ordered in it has taken time since.
    pub fn check_manners(&mut self, now: Time, tick: bool) {
        let here = || self.guests.iter().filter(|(_, guest)| !guest.gone && !guest.done);
        let silent = |guest: &Guest| !guest.asked && guest.came.is_some_and(|at| now >= at + SILENCE);
        if let Some((client, guest)) = here().find(|(_, guest)| tick && silent(guest)) {
            violation!("{client:?} has asked nothing for too long, and stays: {guest:?}");
        }
        let open = here().filter(|(_, guest)| guest.asked).count();
        if open > OPEN_MAX {
            violation!("{open} requests are open at once");
        }
        if open == OPEN_MAX {
            self.count("no room for one more request");
        }
    }

    /// At the end everybody who asked has his answer.
    pub fn check_guests(&self) {
        for (client, guest) in &self.guests {
            if guest.asked && !guest.done && !guest.gone {
                violation!("{client:?} has no last answer: {guest:?}");
            }
        }
    }

    /// Whether anybody comes at all.
    pub fn is_visited(&self) -> bool {
        self.agenda.values().any(|happening| matches!(happening, Happening::Guest(..)))
    }

    /// Whether somebody is here, whose time may be over at any moment.
    pub fn has_guests(&self) -> bool {
        self.guests.values().any(|guest| !guest.gone)
    }
}

impl Guest {
    /// Of what was kept of a stream nothing is left out without a word.
    fn reads_on(&mut self, line: &LogLine) {
        // Of a line that is longer than all that is kept only its end may be left.
        if line.dropped > 0 || !line.text.contains('<') {
            self.seen.clear();
        }
        for tag in line.text.split('<').skip(1) {
            let Some((of, number)) = tag.split_once('>').and_then(|(tag, _)| tag.rsplit_once('.')) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else { continue };
            let last = self.seen.insert(of.to_owned(), number);
            if last.is_some_and(|last| number != last + 1) {
                violation!(
                    "after line {last:?} of {of} comes {number}, and nothing is said to be dropped: {line:?}"
                );
            }
        }
    }
}
