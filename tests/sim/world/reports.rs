//! What the core is told: some of what there is, of each source in its order, one ended child at a time.

use super::*;

impl World {
    pub(super) fn dead(&self) -> Vec<u64> {
        self.procs.values().filter(|p| !p.lives() && p.parent == Parent::Us).map(|p| p.serial).collect()
    }

    pub(super) fn something_to_report(&self) -> bool {
        !self.signals.is_empty()
            || !self.desk.is_empty()
            || !self.told_by_kernel.is_empty()
            || !self.answers.is_empty()
            || self.news.values().chain(self.spoken.values()).any(|news| !news.is_empty())
            || self.pipes.values().any(|pipe| !pipe.buffer.is_empty() || pipe.holders == 0 && !pipe.ended)
            || self.procs.values().any(|p| !p.lives() && p.parent == Parent::Us)
    }

    /// Reports some of what there is, of each source in its order.
    pub(super) fn report(&mut self, events: &mut Vec<Event>) {
        #[derive(Clone, Copy)]
        enum Source {
            Signals,
            Memory,
            News(Child),
            Spoken(Child),
            Answers,
            Desk,
            Pipe(Child, Sink),
            Dead(u64),
        }
        let mut sources: Vec<Source> = Vec::new();
        if !self.signals.is_empty() {
            sources.push(Source::Signals);
        }
        if !self.told_by_kernel.is_empty() {
            sources.push(Source::Memory);
        }
        sources
            .extend(self.news.iter().filter(|(_, n)| !n.is_empty()).map(|(child, _)| Source::News(*child)));
        sources.extend(
            self.spoken.iter().filter(|(_, n)| !n.is_empty()).map(|(child, _)| Source::Spoken(*child)),
        );
        if !self.answers.is_empty() {
            sources.push(Source::Answers);
        }
        if !self.desk.is_empty() {
            sources.push(Source::Desk);
        }
        sources.extend(self.readable().into_iter().map(|(child, sink)| Source::Pipe(child, sink)));
        let dead = self.dead();
        if !dead.is_empty() {
            sources.push(Source::Dead(*self.rng.pick(&dead)));
        }
        if dead.len() > 8 {
            self.count("burst of exits");
        }
        self.rng.shuffle(&mut sources);
        let kept = 1 + self.rng.index(sources.len());
        if self.rng.per_mille(self.weather.lazy) {
            sources.truncate(kept);
        }
        for source in sources {
            match source {
                Source::Signals => {
                    let kept = if self.rng.per_mille(self.weather.lazy) { self.signals.len() - 1 } else { 0 };
                    while self.signals.len() > kept {
                        events.extend(self.signals.pop_front().map(Event::Signal));
                    }
                }
                Source::Memory => events.extend(self.told_by_kernel.drain(..)),
                Source::News(child) => self.report_news(child, events),
                Source::Spoken(child) => {
                    let most = self.spoken[&child].len();
                    let kept = if self.rng.per_mille(self.weather.lazy) { self.rng.index(most) } else { 0 };
                    self.report_spoken(child, kept, events);
                }
                Source::Answers => {
                    while let Some((child, result)) = self.answers.pop_front() {
                        self.open.remove(&child);
                        self.handed.insert(child);
                        events.push(Event::Probed { child, result });
                    }
                }
                Source::Desk => {
                    while let Some(event) = self.desk.pop_front() {
                        events.push(event);
                    }
                }
                Source::Pipe(child, sink) => events.extend(self.read(child, sink)),
                Source::Dead(serial) => {
                    let proc = &self.procs[&serial];
                    let Stage::Zombie(status) = proc.stage else { continue };
                    let pid = proc.pid();
                    // The ends that it explains come later.
                    events.extend(self.told_by_kernel.drain(..));
                    let proc = &self.procs[&serial];
                    if let Some(child) = proc.owner.filter(|_| proc.spawned) {
                        self.report_news(child, events);
                        // What it said before its end is reported before its end.
                        self.report_spoken(child, 0, events);
                        for sink in [Sink::Stdout, Sink::Stderr] {
                            while self.pipes.get(&(child, sink)).is_some_and(|pipe| !pipe.buffer.is_empty()) {
                                events.extend(self.read(child, sink));
                            }
                        }
                        self.runs.get_mut(&child).unwrap().reported = Some(self.now);
                    }
                    self.reported = Some(pid);
                    events.push(Event::Exited { pid, status });
                }
            }
        }
    }

    /// Reports what a run said but for the last few messages.
    fn report_spoken(&mut self, child: Child, kept: usize, events: &mut Vec<Event>) {
        if let Some(spoken) = self.spoken.get_mut(&child) {
            events.extend(spoken.drain(..spoken.len().saturating_sub(kept)));
        }
    }

    pub(super) fn report_news(&mut self, child: Child, events: &mut Vec<Event>) {
        for event in self.news.get_mut(&child).map(std::mem::take).unwrap_or_default() {
            let run = self.runs.get_mut(&child).unwrap();
            match &event {
                Event::ExecFailed { error, .. } => run.exec_error = Some(error.clone()),
                _ => run.executed = Some(self.now),
            }
            events.push(event);
        }
    }
}
