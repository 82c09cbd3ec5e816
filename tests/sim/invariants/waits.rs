//! Every wait has an end, and nothing wakes the core for nothing: its deadline is the time at which the first thing is due.

use super::*;

impl Judge {
    /// When something is due, for each thing: the earliest and the latest moment that would be right.
    fn dues(&self) -> Vec<(Time, Time, &'static str)> {
        let mut dues = Vec::new();
        for (id, instance) in self.plan.all() {
            let life = &self.lives[id.0 as usize];
            if let Some(due) = life.restart_due() {
                dues.push((due - NEARLY, due + NEARLY, "restart"));
            }
            if let Some(due) = self.exec_due(id).filter(|_| !life.care.over) {
                dues.push((due, due, "exec"));
            }
            if let Some(due) =
                life.kill_due(instance).filter(|_| life.active() && life.killed_any().is_none())
            {
                dues.push((due, due, "SIGKILL"));
            }
            if !self.cared_for(id) {
                continue;
            }
            let care = &life.care;
            match (&care.attempt, care.next) {
                (Some(attempt), _) => dues.push((attempt.late_at, attempt.late_at, "end of an attempt")),
                (None, Some((from, to))) if !care.over && care.killed.is_empty() => {
                    dues.push((from, to, "attempt"));
                }
                (None, Some(_) | None) => {}
            }
            if care.ready.is_none() {
                dues.extend(care.limit.filter(|_| !care.over).map(|limit| (limit, limit, "ready")));
                dues.extend(self.delay_ends(id).map(|at| (at, at, "delay")));
            } else {
                dues.extend(care.silence.map(|(at, _)| (at, at, "silence")));
            }
        }
        dues.extend(self.memory_dues());
        dues.extend(self.outputs.dues().map(|(at, what)| (at, at, what)));
        dues
    }

    pub(super) fn check_deadline(&self, world: &World, now: Time, deadline: Option<Time>) {
        let dues = self.dues();
        let latest = dues.iter().min_by_key(|(_, latest, _)| *latest);
        if let Some((_, at, what)) = latest
            && deadline.is_none_or(|deadline| deadline > *at)
        {
            violation!("{what} is due at {at:?}, but the deadline is {deadline:?}, now {now:?}");
        }
        // What ends is looked at from time to time.
        let ends = |life: &Life| life.active() && (life.ended.is_some() || life.asked.is_some());
        if self.lives.iter().any(ends) || world.has_guests() {
            return;
        }
        let earliest = dues.iter().map(|(earliest, ..)| *earliest).min();
        if let Some(deadline) = deadline
            && earliest.is_none_or(|earliest| deadline < earliest)
        {
            violation!("the deadline is {deadline:?}, but nothing is due before {earliest:?}: {dues:?}");
        }
    }
}
