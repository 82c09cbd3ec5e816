//! The last words: what is left in the termination log, what the last block on stderr says of the ends that led there and of the
//! others, and when each of them was down. By README.md, docs/exit-codes.md and the example of a last block.

use tinysup::units::show_duration;

use super::status::ENDS_MAX;
use super::*;

/// What Kubernetes reads of a termination log, and what it keeps of a log.
const TERMINATION_LOG_MAX: usize = 4096;
const OBITUARY_MAX: usize = 2048;

/// What one had to do with the stop.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// It was asked to end, and that took so long of the stop, or so; empty: that is not known.
    Went { took: Vec<Duration>, killed: bool },
    /// Even SIGKILL has not ended it.
    Stays,
    /// It ended before its turn came, and need not be told.
    Early,
}

impl Judge {
    /// Why the container ends is left for the orchestrator, just before it is told, if a failure is why.
    pub(super) fn termination_log(&mut self, text: &str) {
        let failed = matches!(&self.stop, Some(Stop { reason: StopReason::Failed(_), .. }));
        if !failed || self.log_left.is_some() || text.len() > TERMINATION_LOG_MAX {
            violation!("the termination log gets {text:?}; before that {:?}", self.log_left);
        }
        self.log_left = Some(text.to_owned());
    }

    pub(super) fn last_words(&mut self, world: &mut World, notice: &Notice) {
        let Some(Stop { reason, since, .. }) = &self.stop else {
            violation!("{notice:?}, and nothing stops")
        };
        let (reason, since) = (reason.clone(), *since);
        if self.stopped_told {
            violation!("the end is told twice");
        }
        self.stopped_told = true;
        match (notice, &reason) {
            (Notice::Obituary(text), StopReason::Failed(name)) => {
                self.obituary(self.by_name(name), text);
                world.count("last block");
                let code = text.split("exit code  ").nth(1).map(|rest| {
                    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
                });
                self.code_told = code.flatten();
            }
            (Notice::AllDone { failed, code }, StopReason::AllDone) => {
                let first = self.plan.all().find(|(id, _)| {
                    let life = &self.lives[id.0 as usize];
                    life.failed || life.cannot_start
                });
                let first = first.map(|(_, instance)| &instance.name);
                if failed.as_ref() != first {
                    violation!("{notice:?}; the first that has failed is {first:?}");
                }
                self.code_told = Some(*code);
            }
            (
                Notice::Stopped { after, each, code },
                StopReason::Signal(_) | StopReason::Asked | StopReason::Ended(_),
            ) => {
                if *after != self.now().since(since) {
                    violation!("{notice:?}; it began at {since:?}");
                }
                for (name, took) in each {
                    let part = self.part(self.by_name(name));
                    let right = match &part {
                        Some(Part::Went { took: right, .. }) => right.is_empty() || right.contains(took),
                        Some(Part::Early) => true,
                        Some(Part::Stays) | None => false,
                    };
                    if !right {
                        violation!("{name} is said to have taken {took:?} to stop; it is {part:?}");
                    }
                }
                let told = |name: &Rc<str>| each.iter().filter(|(one, _)| one == name).count();
                for (id, instance) in self.plan.all() {
                    let part = self.part(id);
                    let least = usize::from(matches!(part, Some(Part::Went { .. })));
                    if !(least..=1).contains(&told(&instance.name)) {
                        violation!("{notice:?} does not tell of {}: {part:?}", instance.name);
                    }
                }
                self.code_told = Some(*code);
            }
            _ => violation!("the wrong last words after {reason:?}: {notice:?}"),
        }
    }

    /// What an instance had to do with the stop; `None`: nothing of it was there.
    fn part(&self, id: InstanceId) -> Option<Part> {
        let (life, since) = (&self.lives[id.0 as usize], self.stop.as_ref()?.since);
        if life.active() {
            return Some(Part::Stays);
        }
        let over = life.over.filter(|over| *over >= since)?;
        let (killed, asked) = (life.killed.is_some(), life.asked.filter(|_| life.asked_before_end));
        // Who was being started when the stop began is asked before its turn, as soon as it is there.
        let turn = asked.filter(|_| life.asked_as_spawned).map(|_| since);
        let took = asked.map(|asked| asked.max(since)).into_iter().chain(turn);
        let took: Vec<Duration> = took.map(|from| over.since(from)).collect();
        // Who had failed before, or whose remains went by themselves, was asked only if its turn came.
        let by_us = killed
            || turn.is_some()
            || asked.is_some_and(|asked| asked >= since)
            || matches!(life.leaving, Some(Leaving::With(_) | Leaving::Wish));
        Some(if over > since && by_us { Part::Went { took, killed } } else { Part::Early })
    }

    fn obituary(&self, id: InstanceId, text: &str) {
        if self.log_left.as_deref() != Some(&*format!("{text}\n")) {
            violation!("the termination log has {:?}, but it is told {text:?}", self.log_left);
        }
        if text.len() + text.lines().count() * "tinysup | ".len() > OBITUARY_MAX {
            violation!("an obituary of {} bytes", text.len());
        }
        let (instance, life) = (self.plan_of(id), &self.lives[id.0 as usize]);
        let name = &instance.name;
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let ends = self.ends.get(&id).map(Vec::as_slice).unwrap_or_default();
        let runs = ends.iter().filter(|end| end.judged).count();
        let right = match (life.wishes.lacks.filter(|_| life.cannot_start), runs) {
            (Some(on), _) => {
                format!("CONTAINER STOPPED: {name} cannot start without {}", self.plan_of(on).name)
            }
            (None, 0 | 1) => format!("CONTAINER STOPPED: {name} failed and may not be"),
            (None, 2) => format!("CONTAINER STOPPED: {name} failed twice"),
            (None, runs) => format!("CONTAINER STOPPED: {name} failed {runs} times"),
        };
        if !head.starts_with(&right) {
            violation!("the last block begins with {head:?}; right is {right:?}: {ends:?}");
        }
        let row = |key: &str| lines.clone().find_map(|line| line.strip_prefix(&format!("  {key:<11}")));
        self.exits_told(ends, row("exits").unwrap_or_default());
        self.others_told(id, row("others").unwrap_or_default());
    }

    /// Each end that nobody had asked for, with its cause, those alike together, oldest first.
    fn exits_told(&self, ends: &[End], told: &str) {
        let mut alike: Vec<(String, Vec<&End>)> = Vec::new();
        for end in ends[ends.len().saturating_sub(ENDS_MAX)..].iter().filter(|end| end.asked != Some(true)) {
            // Whether it had been asked nobody can say.
            if end.asked.is_none() {
                return;
            }
            match alike.last_mut() {
                Some((cause, ends)) if *cause == end.cause.to_string() => ends.push(end),
                _ => alike.push((end.cause.to_string(), vec![end])),
            }
        }
        let mut rest = told;
        for (cause, ends) in alike {
            let times = if ends.len() > 1 { format!(" ({} times)", ends.len()) } else { String::new() };
            let at = ends.iter().map(|end| show_duration(end.at.since(self.began)).to_string());
            let at = format!(", at {}", at.collect::<Vec<_>>().join(", "));
            let begins = rest.strip_prefix(&format!("{cause}{times}"));
            let ends = begins.and_then(|rest| rest.find(&at).map(|from| &rest[from + at.len()..]));
            rest = match ends {
                Some(rest) => rest.strip_prefix("; ").unwrap_or(rest),
                None if told.ends_with('…') => return,
                None => violation!("the ends are told as {told:?}; {cause}{times}{at} is not in {rest:?}"),
            };
        }
        if !rest.is_empty() {
            violation!("the ends are told as {told:?}; {rest:?} is too much");
        }
    }

    /// What became of the others.
    fn others_told(&self, failed: InstanceId, told: &str) {
        for (id, instance) in self.plan.all().filter(|(id, _)| *id != failed) {
            let (name, part) = (&instance.name, self.part(id));
            let at = |began: &str| {
                let find = format!("{name} {began}");
                told.split(", ").find_map(|one| one.strip_prefix(&*find))
            };
            let (went, was_killed) = (at("stopped as asked in "), at("had to be killed after "));
            let stays = at("could not be ended");
            let wrong = match &part {
                None => went.or(was_killed).or(stays).is_some(),
                Some(Part::Early) => stays.is_some(),
                Some(Part::Stays) => stays.is_none(),
                Some(Part::Went { took, killed }) => {
                    let told = if *killed { was_killed } else { went };
                    let is = |took: &Duration| told == Some(&*show_duration(*took).to_string());
                    let right = took.is_empty() || took.iter().any(is);
                    stays.is_some() || told.is_none() || !right
                }
            };
            if wrong && !told.ends_with('…') {
                violation!("the others are told as {told:?}, but {name}: {part:?}");
            }
        }
    }

    /// A container that ends by a failure has left the reason.
    pub(super) fn check_reason_left(&self) {
        let failed = matches!(&self.stop, Some(Stop { reason: StopReason::Failed(_), .. }));
        if failed && !self.command_mode() && !(self.log_left.is_some() && self.stopped_told) {
            violation!("it ends by a failure, and the reason is left nowhere");
        }
    }
}
