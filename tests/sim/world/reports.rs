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

    /// All that have come, or the least one, as where nothing else is waited for.
    fn report_signals(&mut self, at_once: AtOnce, events: &mut Vec<Event>) {
        let one = self.rng.per_mille(self.weather.lazy);
        let least = self.signals.iter().enumerate().min_by_key(|(_, signal)| signal.number());
        if let Some(least) = least.map(|(place, _)| place).filter(|_| one)
            && let Some(signal) = self.signals.remove(least)
        {
            self.signals.push_front(signal);
        }
        let kept = if one { self.signals.len() - 1 } else { 0 };
        let mut in_order = true;
        while self.signals.len() > kept
            && let Some(signal) = self.signals.pop_front()
        {
            in_order = in_order && self.pass_on(signal, at_once, events);
            if !in_order {
                events.push(Event::Signal(signal));
            }
        }
    }

    /// Reports some of what there is, of each source in its order.
    pub(super) fn report(&mut self, at_once: AtOnce, events: &mut Vec<Event>) {
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
                Source::Signals => self.report_signals(at_once, events),
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
                    // The ends that it explains come later.
                    events.extend(self.told_by_kernel.drain(..));
                    let proc = &self.procs[&serial];
                    let Stage::Zombie(status) = proc.stage else { continue };
                    let pid = proc.pid();
                    if !proc.spawned {
                        self.report_strangers(&dead, events);
                        continue;
                    }
                    if let Some(child) = proc.owner {
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

    /// Some of the strangers among the dead, who are collected by that.
    fn report_strangers(&mut self, dead: &[u64], events: &mut Vec<Event>) {
        let mut strangers: Vec<u64> = dead.to_vec();
        strangers.retain(|serial| !self.procs[serial].spawned);
        self.rng.shuffle(&mut strangers);
        strangers.truncate(1 + self.rng.index(strangers.len()));
        if strangers.len() > 1 {
            self.count("several orphans at once");
        }
        let mut ended = Vec::new();
        for serial in strangers {
            let proc = &self.procs[&serial];
            if let Stage::Zombie(status) = proc.stage {
                ended.push((proc.pid(), status));
                self.bury(serial);
            }
        }
        events.push(Event::OrphansEnded { ended });
    }

    /// Passes a signal on at once if that is all there is to do about it.
    fn pass_on(&mut self, signal: Signal, at_once: AtOnce, events: &mut Vec<Event>) -> bool {
        let mut sent = Vec::new();
        let care = at_once(signal, &mut |pid, becomes| sent.push((pid, becomes)));
        if care == Care::ToDecide {
            return false;
        }
        for (pid, becomes) in &sent {
            let serial = self.spawned_serial(*pid, "a signal at once");
            self.send(serial, *becomes);
        }
        if care == Care::ToFollow {
            self.count("signal passed on at once");
            events.push(Event::PassedOn { signal, receivers: sent.len() });
        } else {
            self.count("signal passed on without a word");
        }
        self.passed_on.push((signal, care == Care::ToFollow, sent));
        true
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
