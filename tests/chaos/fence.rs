//! Cgroups around the container, as a runtime makes them: one that stops all of it (`docker pause`), and bounds for its processes, its
//! memory and its share of the processors. Of either version, where there is one and it may be used; what there is not, the deeds do without.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use crate::container::DEADLINE;

/// What the container may hold; its services need a tenth of that when nothing is wrong.
const MEMORY_BYTES: &str = "201326592";

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// So often it is tried to stop everything, and so often looked whether it has.
const FREEZES_MAX: u32 = 50;
const LOOKS_PER_FREEZE: u32 = 100;

/// What a cgroup can do for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Freezer,
    Pids,
    Memory,
    Cpu,
}

const PARTS: [Part; 4] = [Part::Freezer, Part::Pids, Part::Memory, Part::Cpu];

impl Part {
    /// As version 1 calls the controller.
    fn name(self) -> &'static str {
        match self {
            Self::Freezer => "freezer",
            Self::Pids => "pids",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
        }
    }
}

/// The cgroups that could be made. Gone when this is, which must be after the container.
pub struct Fence {
    parts: Vec<(Part, PathBuf)>,
    second: bool,
    /// So often it was in vain to stop everything.
    vain: Cell<u32>,
}

/// Everything stands still as long as this is there.
pub struct Frozen<'a>(&'a Fence);

impl Fence {
    /// Makes what can be made.
    pub fn new() -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("tinysup-chaos-{}", process::id());
        let second = root.join("cgroup.controllers").exists();
        let passed_on = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
        let mut parts = Vec::new();
        for part in PARTS {
            let path = if second { root.join(&name) } else { root.join(part.name()).join(&name) };
            let there = match (second, part) {
                (true, Part::Freezer) => true,
                (true, Part::Pids | Part::Memory | Part::Cpu) => {
                    passed_on.split_whitespace().any(|word| word == part.name())
                }
                (false, _) => root.join(part.name()).join("cgroup.procs").exists(),
            };
            if there && (path.exists() || fs::create_dir(&path).is_ok()) {
                parts.push((part, path));
            }
        }
        let fence = Self { parts, second, vain: Cell::new(0) };
        if fence.has(Part::Memory) {
            let file = if second { "memory.max" } else { "memory.limit_in_bytes" };
            fence.write(Part::Memory, file, MEMORY_BYTES);
        }
        fence
    }

    /// Whether that could be made.
    pub fn has(&self, part: Part) -> bool {
        self.parts.iter().any(|(there, _)| *there == part)
    }

    /// What could not.
    pub fn lacks(&self) -> Vec<&'static str> {
        PARTS.iter().filter(|part| !self.has(**part)).map(|part| part.name()).collect()
    }

    /// Puts the process that does this inside, with all that it will make.
    pub fn entrance(&self) -> impl Fn() -> io::Result<()> + 'static {
        let paths: Vec<PathBuf> = self.parts.iter().map(|(_, path)| path.join("cgroup.procs")).collect();
        move || paths.iter().try_for_each(|path| fs::write(path, "0"))
    }

    /// Stops everything at once, PID 1 too. Version 1 sometimes stays half way when somebody forks or is killed at that moment, and a
    /// runtime tries again then, too; `None`: it was in vain.
    pub fn freeze(&self) -> Option<Frozen<'_>> {
        let (file, word) = if self.second { ("cgroup.freeze", "1") } else { ("freezer.state", "FROZEN") };
        let (told, wanted) =
            if self.second { ("cgroup.events", "frozen 1") } else { ("freezer.state", "FROZEN") };
        for _ in 0..FREEZES_MAX {
            let frozen = Frozen(self);
            for _ in 0..LOOKS_PER_FREEZE {
                self.write(Part::Freezer, file, word);
                if self.read(Part::Freezer, told).contains(wanted) {
                    return Some(frozen);
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            drop(frozen);
            std::thread::sleep(LOOK_AGAIN);
        }
        self.vain.set(self.vain.get() + 1);
        None
    }

    /// Lets there be so many more than there are; `None`: as many as they like.
    pub fn crowd(&self, more: Option<u64>) {
        let most = more.map_or("max".to_owned(), |more| {
            let now: u64 = self.read(Part::Pids, "pids.current").trim().parse().expect("a number");
            (now + more).to_string()
        });
        self.write(Part::Pids, "pids.max", &most);
    }

    /// Leaves it two hundredths of one processor, or gives it all of them again.
    pub fn starve(&self, starve: bool) {
        let (file, words) =
            if self.second { ("cpu.max", ["max", "2000"]) } else { ("cpu.cfs_quota_us", ["-1", "2000"]) };
        self.write(Part::Cpu, file, words[usize::from(starve)]);
    }

    /// How often a bound was met, for people.
    pub fn summary(&self) -> String {
        let count = |part, file, name: &str| {
            let text = if self.has(part) { self.read(part, file) } else { String::new() };
            let line =
                text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok());
            line.unwrap_or(0)
        };
        let kills = if self.second { "memory.events" } else { "memory.oom_control" };
        format!(
            "{} killed for want of memory, {} processes too many, {} pauses that were in vain",
            count(Part::Memory, kills, "oom_kill"),
            count(Part::Pids, "pids.events", "max"),
            self.vain.get(),
        )
    }

    fn path(&self, part: Part) -> &Path {
        let found = self.parts.iter().find(|(there, _)| *there == part);
        found.map(|(_, path)| path).expect("asked for only where it is")
    }

    fn write(&self, part: Part, file: &str, text: &str) {
        let path = self.path(part).join(file);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    fn read(&self, part: Part, file: &str) -> String {
        fs::read_to_string(self.path(part).join(file)).expect("a file of a cgroup")
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let Fence { second, .. } = self.0;
        let (file, word) = if *second { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        let _ = fs::write(self.0.path(Part::Freezer).join(file), word);
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        let start = Instant::now();
        // The last of its processes may be on their way out.
        self.parts.retain(|(_, path)| path.exists());
        while start.elapsed() < DEADLINE
            && self.parts.iter().any(|(_, path)| path.exists() && fs::remove_dir(path).is_err())
        {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}
