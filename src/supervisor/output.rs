//! What the services wrote, on its way: as whole lines to where each stream goes, in its form, as far as its limit lets it pass.

use std::rc::Rc;

use crate::event::{Action, Child, Launch, Output, Pid, Role, Sink, Time, Wall, order, tell};
use crate::line::Style;
use crate::logs::{Lines, Speaker, Way};
use crate::notice::Notice;

use super::Supervisor;

impl Supervisor {
    /// Passes on what a child wrote. Returns whether that changes more than what is written.
    #[inline(never)]
    pub(super) fn output(
        &mut self,
        now: Time,
        child: Child,
        sink: Sink,
        at: Wall,
        bytes: &[u8],
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(instance) = self.plan.instance(child.instance) else { return false };
        if let Role::Probe(number) = child.role {
            self.with(now, child.instance, |service, _| service.probe_said(number, bytes));
            return false;
        }
        let waited_for = child.role == Role::Main && instance.ready.is_some();
        for lines in self.logs.take(now, at, child, sink, bytes).into_iter().flatten() {
            self.pass_lines(now, child, sink, lines, out);
        }
        if let Some(to) = self.plan.instance(child.instance).map(|instance| output(&instance.launch, sink))
            && let Output::File(_) = to
        {
            let to = to.to_container(sink).map(|(sink, _)| sink);
            self.logs.goes_to(child, sink, to);
        }
        // After the line, so that the news comes after its reason.
        let mut news = false;
        if waited_for {
            self.with(now, child.instance, |service, context| {
                news = service.said(context, child.run, sink, bytes, out);
            });
        }
        news
    }

    pub(super) fn output_ended(&mut self, now: Time, child: Child, sink: Sink, out: &mut Vec<Action>) {
        if let Some(lines) = self.logs.end(now, child, sink) {
            self.pass_lines(now, child, sink, lines, out);
        }
    }

    /// Writes lines where those of the stream go, as far as their limit lets them pass.
    pub(super) fn pass_lines(
        &mut self,
        now: Time,
        child: Child,
        sink: Sink,
        mut lines: Lines<'_>,
        out: &mut Vec<Action>,
    ) {
        let Some(instance) = self.plan.instance(child.instance) else { return };
        if let Some(limit) = instance.log_rate_limit {
            self.logs.limit(now, child.instance, limit, &mut lines);
        }
        let pid = self.pids.get(&(child.instance, child.role == Role::Main));
        let speaker = Speaker {
            name: &instance.name,
            service: &instance.service,
            instance: instance.number,
            sink,
            pid: pid.filter(|(run, _)| *run == child.run).map(|(_, pid)| *pid),
        };
        let (from, output) = (sink, output(&instance.launch, sink));
        if let Output::File(file) = output {
            let style = Style { timestamps: self.plan.log.timestamps, ..Style::default() };
            let bytes = lines.written(file.format, style, speaker, Way::File, self.logs.spare());
            if !bytes.is_empty() {
                order(out, Action::WriteFile { file: Rc::clone(file), bytes });
            }
            self.logs.wrote(child, from, &lines, Way::File);
        }
        if let Some((sink, format)) = output.to_container(sink) {
            let [stdout, stderr] = self.styles;
            let style = match sink {
                Sink::Stdout => stdout,
                Sink::Stderr => stderr,
            };
            if !lines.is_empty() && self.overflowing.drops(sink, child.instance, || lines.count()) {
                lines.cut(0);
            }
            let bytes = lines.written(format, style, speaker, Way::Container, self.logs.spare());
            if !bytes.is_empty() {
                order(out, Action::Write { sink, bytes });
            }
            self.logs.wrote(child, from, &lines, Way::Container);
        }
    }

    /// Remembers whose lines these will be: they say it as JSON, be it only after an update.
    #[inline(never)]
    pub(super) fn note_pid(&mut self, child: Child, pid: Pid) {
        let main = match child.role {
            Role::Main => true,
            Role::StopCommand => false,
            Role::Probe(_) => return,
        };
        self.pids.insert((child.instance, main), (child.run, pid));
    }

    /// Tells how many lines were more than a limit lets pass.
    pub(super) fn tell_dropped(&mut self, now: Time, all: bool, out: &mut Vec<Action>) {
        for (id, (lines, limit)) in self.logs.dropped(now, all) {
            let name = self.name(id);
            tell(out, Notice::RateLimited { name, lines, most: limit.lines, per: limit.per });
        }
    }
}

#[inline(never)]
fn output(launch: &Launch, sink: Sink) -> &Output {
    match sink {
        Sink::Stdout => &launch.stdout,
        Sink::Stderr => &launch.stderr,
    }
}
