//! Memory as the kernel accounts for it: what the container and its runs hold, what the OOM killer did, and when memory is short.
//! Nothing is read, opened or made before it was asked for (`Action::FindMemory`); one-command mode never asks.
//!
//! The counter of OOM kills goes up before the victim gets its SIGKILL, so it is read again whenever a process that ended so is about to
//! be reported; and, where the kernel tells of changes (`memory.events` of cgroup v2), soon after it does.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::cells::{self, Cells, Entrance};
use super::cgroup::{self, Group};
use super::children::Children;
use super::poll::{Interest, Poll};
use super::procfs::{self, Stat};
use super::usage::{self, Units};
use super::{call, word};
use crate::event::{
    Child, ContainerMemory, Controller, Event, ExitStatus, InstanceId, Launch, MemoryFound, Pid, StartError,
    Time, Weight, report,
};
use crate::gather::{Gather, least};
use crate::units::{Signal, parse_number};

/// Somebody had to wait for memory for 0.1 s within 2 s. Without CAP_SYS_RESOURCE only whole multiples of 2 s are allowed, and it is told
/// at most once in that time.
const SQUEEZE: &str = "some 100000 2000000\0";

/// The counters of the container and of its cells are read one after another; so often, until nothing changed in between.
const COUNTS_MAX: u32 = 3;

/// So long after the kernel told of an OOM kill it is looked at whom it hit. To open files takes memory of the container. While the
/// victim's is not given back, nor he to be killed again, that makes the kernel kill whoever asks: us.
const SETTLED: Duration = Duration::from_millis(100);

/// The longest `memory.events` there may be.
const EVENTS_MAX_BYTES: usize = 4096;

/// The code of a shell whose command was killed.
const KILLED_CODE: u8 = 137;

/// What we know and watch.
#[derive(Debug, Default)]
pub struct Memory {
    found: Option<Found>,
    cells: Cells,
}

#[derive(Debug)]
struct Found {
    group: Option<Group>,
    /// The memory of the machine in bytes.
    total: u64,
    /// Why there are no cells.
    no_cells: String,
    /// How many processes were killed outside of cells before, or have been reported.
    kills: u64,
    /// The count that the kernel told last.
    told: u64,
    /// When it is looked at what that means.
    due: Option<Time>,
    events: Option<File>,
    pressure: Option<File>,
}

/// What is found out at once.
struct Survey {
    answer: MemoryFound,
    group: Option<Group>,
    no_cells: String,
}

impl Survey {
    fn make(cells: fn(&Group) -> io::Result<()>) -> Self {
        let group = cgroup::find();
        let mut answer = MemoryFound {
            total: machine_bytes(),
            text: "no memory cgroup can be seen".to_owned(),
            ..MemoryFound::default()
        };
        let mut no_cells = answer.text.clone();
        if let Some(group) = &group {
            match cells(group) {
                Ok(()) => answer.delegated = true,
                Err(error) => no_cells = format!("{}: {}", group.path.display(), call::reason(&error)),
            }
            answer.controller = group.controller;
            answer.limit = limit(group, answer.total);
            answer.oom_group =
                group.levels().any(|level| cgroup::number(&level.join("memory.oom.group")) == Some(1));
            let version = if group.controller == Controller::V1 { 1 } else { 2 };
            let writable = if group.writable { "" } else { ", read-only" };
            answer.text = format!("cgroup v{version} at {}{writable}", group.path.display());
        }
        Self { answer, group, no_cells }
    }
}

/// What there is, without touching anything: whether cells can be made is only likely then.
pub fn look() -> MemoryFound {
    Survey::make(cells::likely).answer
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The counters of the container.
    Events,
    /// Whether memory is short.
    Pressure,
}

impl Memory {
    /// Finds out what there is, and watches it from now on. What was killed before is reported first, if it was watched already.
    #[inline(never)]
    pub fn find(&mut self, pressure: bool, cells: bool, events: &mut Vec<Event>) -> MemoryFound {
        self.count_kills(events);
        let Survey { answer, group, no_cells } =
            Survey::make(if cells { cells::possible } else { cells::likely });
        self.cells.set_base(group.as_ref().filter(|_| answer.delegated));
        let mut found = Found {
            events: group
                .as_ref()
                .and_then(|group| call::open(&group.path.join("memory.events"), libc::O_RDONLY).ok()),
            pressure: if pressure { watch_pressure(group.as_ref()) } else { None },
            group,
            total: answer.total,
            no_cells,
            kills: 0,
            told: 0,
            due: None,
        };
        // The first read takes memory, too.
        if let Some(file) = &found.events {
            let _ = file.read_at(&mut [0], 0);
        }
        found.kills = self.kills_elsewhere(&found);
        self.found = Some(found);
        answer
    }

    /// Adds the descriptors that are in use.
    pub fn held(&self, held: &mut Vec<RawFd>) {
        let Some(found) = &self.found else { return };
        for file in [&found.events, &found.pressure].into_iter().flatten() {
            held.push(file.as_raw_fd());
        }
    }

    /// Adds to `poll` what the kernel tells about.
    pub fn watch<Owner: Copy>(&self, poll: &mut Poll<Owner>, owner: impl Fn(Source) -> Owner) {
        let Some(found) = &self.found else { return };
        for (source, file) in [(Source::Events, &found.events), (Source::Pressure, &found.pressure)] {
            if let Some(file) = file {
                poll.watch(owner(source), file.as_fd(), Interest::News);
            }
        }
    }

    /// The kernel has told something.
    #[inline(never)]
    pub fn ready(&mut self, source: Source, now: Time, events: &mut Vec<Event>) {
        let Some(found) = &mut self.found else { return };
        let file = match source {
            Source::Events => &mut found.events,
            Source::Pressure => &mut found.pressure,
        };
        // To be read even where that tells nothing: it is how the kernel learns that we know. Of a cgroup that is gone there is
        // news without end, and nothing to be read.
        let mut text = [0; EVENTS_MAX_BYTES];
        let Some(Ok(length)) = file.as_ref().map(|file| file.read_at(&mut text, 0)) else {
            *file = None;
            return;
        };
        match source {
            Source::Pressure => report(events, Event::Pressure),
            Source::Events => {
                // At the limit it changes often, and mostly for other reasons.
                let text = text.get(..length).and_then(|text| str::from_utf8(text).ok());
                let killed = text.and_then(|text| cgroup::field(text, "oom_kill")).unwrap_or(0);
                if killed != found.told {
                    found.told = killed;
                    found.due = Some(now + SETTLED);
                }
            }
        }
    }

    /// Looks whom the OOM killer hit, if that is due; says when it will be.
    pub fn look(&mut self, now: Time, events: &mut Vec<Event>) -> Option<Time> {
        let due = &mut self.found.as_mut()?.due;
        if due.take_if(|due| *due <= now).is_some() {
            self.count_kills(events);
            return None;
        }
        *due
    }

    /// A process ended in this way, which is about to be reported.
    pub fn ended(&mut self, status: ExitStatus, events: &mut Vec<Event>) {
        let killed = match status {
            ExitStatus::Signal { signal, .. } => signal == Signal::KILL,
            ExitStatus::Code(code) => code == KILLED_CODE,
        };
        if killed {
            self.count_kills(events);
        }
    }

    /// Reports what was killed and has not been reported.
    fn count_kills(&mut self, events: &mut Vec<Event>) {
        let Some(found) = &self.found else { return };
        let mut elsewhere = self.kills_elsewhere(found);
        for _ in 0..COUNTS_MAX {
            let killed = self.cells.count_kills();
            if killed.is_empty() {
                break;
            }
            for (instance, count) in killed {
                report(events, Event::OomKilled { instance: Some(instance), count });
            }
            elsewhere = self.kills_elsewhere(found);
        }
        let Some(found) = &mut self.found else { return };
        let count = elsewhere.saturating_sub(found.kills);
        if count > 0 {
            found.kills = elsewhere;
            report(events, Event::OomKilled { instance: None, count });
        }
    }

    /// How many were killed so far in the container but not in its cells.
    fn kills_elsewhere(&self, found: &Found) -> u64 {
        let Some(group) = &found.group else { return 0 };
        if group.root {
            // That of the machine, which is ours alone then; there is no other.
            let all =
                cgroup::read(Path::new("/proc/vmstat")).and_then(|text| cgroup::field(&text, "oom_kill"));
            return all.unwrap_or(0).saturating_sub(self.cells.killed());
        }
        let all = kills_in(group.controller, &group.path).unwrap_or(found.kills);
        match group.controller {
            // With those of the groups below it.
            Controller::V2 => all.saturating_sub(self.cells.killed()),
            Controller::V1 | Controller::None => all,
        }
    }

    /// The way into the cell of a child that is about to be made.
    #[inline(never)]
    pub fn entrance(&mut self, child: Child, launch: &Launch) -> Result<Option<Entrance>, Box<StartError>> {
        let why_not = self.found.as_ref().map_or("it was not tried", |found| &found.no_cells);
        self.cells.entrance(child, launch, why_not)
    }

    /// A process is collected: the last child of that instance, or one that we did not make.
    pub fn released(&mut self, instance: Option<InstanceId>, events: &mut Vec<Event>) {
        if self.cells.over(instance) {
            self.count_kills(events);
            self.cells.remove_empty();
        }
    }

    /// The end.
    pub fn leave(&mut self) {
        self.cells.leave();
        self.found = None;
    }

    /// What some runs hold, and the container.
    #[inline(never)]
    pub fn weigh(
        &mut self,
        children: &Children,
        runs: &[(Child, Pid)],
        container: bool,
        pss: bool,
        events: &mut Vec<Event>,
    ) -> (Vec<Weight>, Option<ContainerMemory>) {
        self.count_kills(events);
        self.cells.remove_empty(); // those in which somebody was still when they should have gone
        let processes = usage::of_runs(children, runs);
        let units = Units::new();
        let weigh = |((child, leader), processes): (&(Child, Pid), Vec<Stat>)| {
            let held = |stat: &Stat| units.resident(stat);
            let cell = self.cells.holding(child.instance, *leader);
            let charged = cell.zip(self.group()).and_then(|(path, group)| Charge::of(group.controller, path));
            let largest = processes.iter().max_by_key(|stat| held(stat));
            let resident = processes.iter().map(held).fold(0, u64::saturating_add);
            Weight {
                instance: Some(child.instance),
                bytes: charged.map_or(resident, Charge::working_set),
                pss: if pss { sum_of_pss(&processes) } else { None },
                peak: charged.and_then(|charge| charge.peak),
                processes: u32::try_from(processes.len()).unwrap_or(u32::MAX),
                holder: largest.map(|stat| Rc::new((stat.process(true), held(stat)))),
            }
        };
        let weights = runs.iter().zip(processes).map(weigh).gather();
        (weights, if container { self.container() } else { None })
    }

    fn group(&self) -> Option<&Group> {
        self.found.as_ref()?.group.as_ref()
    }

    #[inline(never)]
    fn container(&self) -> Option<ContainerMemory> {
        let found = self.found.as_ref()?;
        let group = found.group.as_ref()?;
        let charge = Charge::of(group.controller, &group.path)?;
        Some(ContainerMemory {
            working_set: charge.working_set(),
            usage: charge.usage,
            limit: limit(group, found.total),
            peak: charge.peak,
        })
    }
}

/// What is charged to a cgroup, in bytes.
#[derive(Clone, Copy, Debug)]
struct Charge {
    usage: u64,
    inactive_file: u64,
    peak: Option<u64>,
}

impl Charge {
    fn of(controller: Controller, path: &Path) -> Option<Self> {
        let (usage, inactive_file, peak) = match controller {
            Controller::V1 => ("memory.usage_in_bytes", "total_inactive_file", "memory.max_usage_in_bytes"),
            Controller::V2 => ("memory.current", "inactive_file", "memory.peak"),
            Controller::None => return None,
        };
        Some(Self {
            usage: cgroup::number(&path.join(usage))?,
            inactive_file: cgroup::field(&cgroup::read(&path.join("memory.stat"))?, inactive_file)?,
            peak: cgroup::number(&path.join(peak)),
        })
    }

    /// As the kubelet counts it.
    fn working_set(self) -> u64 {
        self.usage.saturating_sub(self.inactive_file)
    }
}

/// The smallest limit on the way up, as far as it can be seen; v1 tells it also of what cannot.
#[inline(never)]
fn limit(group: &Group, total: u64) -> Option<u64> {
    let file = match group.controller {
        Controller::V1 => "memory.limit_in_bytes",
        Controller::V2 => "memory.max",
        Controller::None => return None,
    };
    let mut seen = None;
    for level in group.levels() {
        seen = least(seen, cgroup::read(&level.join(file)).and_then(|text| cgroup::limit(&text, total)));
    }
    let told = || cgroup::field(&cgroup::read(&group.path.join("memory.stat"))?, "hierarchical_memory_limit");
    let told = if group.controller == Controller::V1 { told() } else { None };
    least(seen, told.and_then(|told| cgroup::limit(&told.to_string(), total)))
}

/// How many processes of a cgroup the OOM killer has ended so far; v2 counts those of the groups below it, too.
pub fn kills_in(controller: Controller, path: &Path) -> Option<u64> {
    let file = match controller {
        Controller::V1 => "memory.oom_control",
        Controller::V2 => "memory.events",
        Controller::None => return None,
    };
    cgroup::field(&cgroup::read(&path.join(file))?, "oom_kill")
}

/// What each process holds alone, and its share of the rest (proc_pid_smaps(5)); `None` if that is not told of one of them.
#[inline(never)]
fn sum_of_pss(processes: &[Stat]) -> Option<u64> {
    let mut sum: u64 = 0;
    for stat in processes {
        let text = procfs::read_private(stat.pid, "smaps_rollup", procfs::FILE_MAX_BYTES);
        match text.as_deref().and_then(|text| pss(str::from_utf8(text).ok()?)) {
            Some(bytes) => sum = sum.saturating_add(bytes),
            None if Stat::of(stat.pid).is_some_and(|now| !now.ended()) => return None,
            None => {} // it is gone
        }
    }
    Some(sum)
}

/// The sum in a text of smaps_rollup, in bytes.
pub fn pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(parse_number::<u64>(line.trim().strip_suffix("kB")?.trim())?.saturating_mul(1024))
}

/// The memory of the machine, in bytes. Not from /proc/meminfo, which lxcfs replaces by the limit of the container.
#[expect(unsafe_code, reason = "sysinfo, which nix has under another feature")]
fn machine_bytes() -> u64 {
    // SAFETY: all zeroes is a sysinfo; the call fills it.
    let info = unsafe {
        let mut info: libc::sysinfo = std::mem::zeroed();
        if libc::sysinfo(&raw mut info) != 0 {
            return 0;
        }
        info
    };
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
}

/// Asks to be told when memory is short (PSI): in our cgroup, else on the machine.
#[inline(never)]
fn watch_pressure(group: Option<&Group>) -> Option<File> {
    let own = group
        .filter(|group| group.controller == Controller::V2)
        .map(|group| group.path.join("memory.pressure"));
    own.into_iter().chain([PathBuf::from("/proc/pressure/memory")]).find_map(|path| {
        let open = || {
            let file = call::open(&path, libc::O_RDWR | libc::O_NONBLOCK)?;
            call::write_all(file.as_fd(), SQUEEZE.as_bytes())?;
            Ok(file)
        };
        open().inspect_err(|errno| say!(Debug, "cannot watch {}: {}", path.display(), word(*errno))).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pss_is_in_kilobytes() {
        let text = "55d0-7ffd ---p 00000000 00:00 0   [rollup]\nRss:    1200 kB\nPss:     345 kB\nPss_Anon:  12 kB\n";
        assert_eq!(pss(text), Some(345 << 10));
        for text in ["", "Rss: 1 kB\n", "Pss: x kB\n", "Pss: 5\n"] {
            assert_eq!(pss(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_is_read_before_it_is_asked_for() {
        let mut memory = Memory::default();
        let (mut poll, mut events) = (Poll::new(), Vec::new());
        memory.watch(&mut poll, |source| source);
        memory.ready(Source::Events, Time::ZERO, &mut events);
        assert_eq!(memory.look(Time::ZERO, &mut events), None);
        memory.ended(ExitStatus::Code(KILLED_CODE), &mut events);
        let mut held = Vec::new();
        memory.held(&mut held);
        assert_eq!((held.len(), events.len(), memory.container().is_some()), (0, 0, false));
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(machine_bytes() > 16 << 20);
    }
}
