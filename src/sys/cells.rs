//! A cgroup for each run that shall have one: where it can be made, making it, and removing it when nobody is in it any more.
//!
//! In cgroup v2 a group that passes a controller on may have no processes of its own, except for the root. So whoever is where we are
//! goes into a child of it first ([`cgroup::LEAF`]): we, and what `docker exec` has put there meanwhile; from then on it is put
//! where we are. In v1 there is no such rule.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::call::reason;
use super::cgroup::{self, Group};
use super::descriptors::make_directory;
use super::procfs::{self, Stat};
use super::{call, is_pid1, memory};
use crate::event::{Child, Controller, InstanceId, Launch, Pid, Role, StartError};
use crate::gather::Gather;
use crate::sorted::Map;

/// How often processes are moved out of the way before we give up: new ones may come in the meantime.
const MOVES_MAX: u32 = 16;

/// So many names are tried where another supervisor has processes in a cgroup of the first.
const NAMES_MAX: u32 = 16;

/// The most generations between us and a process that is ours.
const GENERATIONS_MAX: u32 = 64;

/// With this we try whether it works.
const TRIAL: &str = "tinysup.trial";

/// All of them.
#[derive(Debug, Default)]
pub struct Cells {
    /// Where they are made; nothing there before the first.
    base: Option<Base>,
    of: Map<InstanceId, Cell>,
    /// How many processes were killed in all there ever were.
    killed: u64,
    /// When it was last tried to remove what is over.
    tried: Option<Instant>,
    /// How often it is tried before there is a pause between two tries.
    soon: u32,
}

/// A cell that could not be removed is tried again at so many further deaths, and then no sooner than after a pause.
const SOON: u32 = 16;
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Cell {
    path: PathBuf,
    /// The count of OOM kills that was last seen.
    kills: u64,
    /// Whether no child of ours is in it any more.
    over: bool,
}

/// The way into one.
#[derive(Debug)]
pub struct Entrance {
    procs: OwnedFd,
    /// Whether who cannot go through it must not run.
    required: bool,
}

impl Entrance {
    /// Where the child writes `0`, and whether it must succeed.
    pub fn for_child(&self) -> (RawFd, bool) {
        (self.procs.as_raw_fd(), self.required)
    }
}

impl AsFd for Entrance {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.procs.as_fd()
    }
}

/// Whether cells could be made here, as far as that can be told without touching anything.
pub fn likely(group: &Group) -> io::Result<()> {
    if !group.writable {
        return Err(io::Error::from_raw_os_error(libc::EROFS));
    }
    if !group.own {
        return Err(call::refusal("the cgroup that is accounted is not ours alone"));
    }
    call::access(&group.path, libc::W_OK)?;
    if group.controller == Controller::V2 && !group.root {
        all_ours(&group.path)?;
    }
    Ok(())
}

/// Whether cells can be made here: by making one. Leaves everything as it was.
pub fn possible(group: &Group) -> io::Result<()> {
    likely(group)?;
    let base = Base::prepare(group)?;
    let trial = group.path.join(TRIAL);
    let made = cgroup::make(&trial).and_then(|()| base.set_limit(&trial, None));
    let removed = call::remove_directory(&trial);
    base.undo();
    made?;
    Ok(removed?)
}

impl Cells {
    /// They are made here from now on, or no more.
    #[inline(never)]
    pub fn set_base(&mut self, group: Option<&Group>) {
        let unchanged = matches!((&self.base, group), (Some(base), Some(group)) if base.group == *group);
        if !unchanged {
            self.leave();
            self.base = group.map(|group| Base { group: group.clone(), prepared: None });
        }
    }

    /// The way into the cell of an instance, made if it is not there; `None`: it has none.
    #[inline(never)]
    pub fn entrance(
        &mut self,
        child: Child,
        launch: &Launch,
        why_not: &str,
    ) -> Result<Option<Entrance>, Box<StartError>> {
        let main = child.role == Role::Main;
        let Some(cell) = launch.cell.or(self.of.contains_key(&child.instance).then(Default::default)) else {
            return Ok(None);
        };
        let required = main && cell.memory_max.is_some();
        let name = match &launch.mark {
            Some(mark) => format!("tinysup-{}.{}", mark.service, mark.instance),
            None => format!("tinysup-{}", child.instance.0),
        };
        let made = self.base.as_mut().ok_or_else(|| why_not.to_owned()).and_then(|base| {
            let mut open = || -> io::Result<OwnedFd> {
                let path = base.cell(&mut self.of, child.instance, &name)?;
                if main {
                    base.set_limit(&path, cell.memory_max)?;
                }
                Ok(cgroup::open_to_write(&path.join("cgroup.procs"))?.into())
            };
            open().map_err(|error| reason(&error))
        });
        match made {
            Ok(procs) => Ok(Some(Entrance { procs, required })),
            Err(reason) if required => {
                Err(StartError::Other { what: "limit its memory by a cgroup of its own".to_owned(), reason }
                    .into())
            }
            Err(reason) => {
                say!(Debug, "{name} has no cgroup of its own: {reason}");
                Ok(None)
            }
        }
    }

    /// The directory of an instance's cell, if this process is in it.
    pub fn holding(&self, instance: InstanceId, leader: Pid) -> Option<&Path> {
        let path = self.of.get(&instance)?.path.as_path();
        cgroup::processes(path)?.contains(&leader.number()).then_some(path)
    }

    /// Reads how many were killed in each, and says where it is more than before.
    pub fn count_kills(&mut self) -> Vec<(InstanceId, u64)> {
        let Some(base) = &self.base else { return Vec::new() };
        let count = |(instance, cell): (&InstanceId, &mut Cell)| {
            let now = memory::kills_in(base.group.controller, &cell.path)?;
            let new = now.saturating_sub(cell.kills);
            cell.kills = now;
            (new > 0).then_some((*instance, new))
        };
        let new: Vec<_> = self.of.iter_mut().filter_map(count).gather();
        self.killed += new.iter().map(|(_, count)| count).sum::<u64>();
        new
    }

    /// How many were killed in all of them so far.
    pub fn killed(&self) -> u64 {
        self.killed
    }

    /// A process is gone; no child of this instance is left. Whether it is time to remove something: what could not be removed is
    /// tried again at the next few deaths, which may be of those that were in it, but not at each of a thousand.
    pub fn over(&mut self, instance: Option<InstanceId>) -> bool {
        let known = instance.and_then(|instance| self.of.get_mut(&instance));
        let news = known.is_some_and(|cell| !std::mem::replace(&mut cell.over, true));
        if news {
            self.soon = SOON;
        }
        let due = self.soon > 0 || self.tried.is_none_or(|at| at.elapsed() >= AGAIN);
        let now = due && self.of.values().any(|cell| cell.over);
        if now {
            self.soon = self.soon.saturating_sub(1);
            self.tried = Some(Instant::now());
        }
        now
    }

    /// Removes those that are over. One in which somebody is stays until it is tried again.
    pub fn remove_empty(&mut self) {
        self.of.retain(|_, cell| !cell.over || cgroup::remove(&cell.path).is_err());
    }

    /// The end: all that can be removed is, and we go back to where we were.
    pub fn leave(&mut self) {
        for (_, cell) in std::mem::take(&mut self.of) {
            let _ = cgroup::remove(&cell.path); // somebody is in it still
        }
        if let Some(base) = self.base.take() {
            base.undo();
        }
    }
}

/// Where cells are made.
#[derive(Debug)]
struct Base {
    group: Group,
    /// What was changed for it; `None`: nothing was done yet.
    prepared: Option<Prepared>,
}

/// What there was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prepared {
    /// Nothing.
    Found,
    /// The controller is passed on.
    PassedOn,
    /// And all processes were moved out of the way for it.
    Moved,
}

impl Base {
    /// Gets a group ready for cells.
    fn prepare(group: &Group) -> io::Result<Self> {
        let mut base = Self { group: group.clone(), prepared: None };
        base.get_ready()?;
        Ok(base)
    }

    fn get_ready(&mut self) -> io::Result<()> {
        if self.prepared.is_none() {
            self.prepared = Some(match self.group.controller {
                Controller::V1 => self.get_ready_v1()?,
                Controller::V2 => self.get_ready_v2()?,
                Controller::None => return Err(call::refusal("there is no memory controller")),
            });
        }
        Ok(())
    }

    /// A limit that holds although that of the container is reached, and the other way round.
    fn get_ready_v1(&self) -> io::Result<Prepared> {
        let file = self.group.path.join("memory.use_hierarchy");
        if cgroup::number(&file) != Some(1) {
            cgroup::write(&file, "1\n")?;
        }
        Ok(Prepared::Found)
    }

    fn get_ready_v2(&self) -> io::Result<Prepared> {
        let passed_on = self.group.path.join("cgroup.subtree_control");
        let has = cgroup::read(&passed_on).unwrap_or_default();
        if has.split_whitespace().any(|word| word == "memory") {
            return Ok(Prepared::Found);
        }
        let pass_on = || cgroup::write(&passed_on, "+memory\n");
        if self.group.root {
            return pass_on().map(|()| Prepared::PassedOn);
        }
        let leaf = self.group.path.join(cgroup::LEAF);
        cgroup::make(&leaf)?;
        let mut result = Err(io::Error::from_raw_os_error(libc::EBUSY));
        for _ in 0..MOVES_MAX {
            result = move_all(&self.group.path, &leaf).and_then(|()| pass_on());
            if result.as_ref().map_err(io::Error::raw_os_error) != Err(Some(libc::EBUSY)) {
                break;
            }
        }
        if result.is_err() {
            let _ = move_all(&leaf, &self.group.path);
            let _ = call::remove_directory(&leaf);
        }
        result.map(|()| Prepared::Moved)
    }

    /// Puts everything back.
    fn undo(self) {
        let path = &self.group.path;
        let take_back = || cgroup::write(&path.join("cgroup.subtree_control"), "-memory\n");
        let leaf = path.join(cgroup::LEAF);
        let undone = match self.prepared {
            None | Some(Prepared::Found) => Ok(()),
            Some(Prepared::PassedOn) => take_back(),
            Some(Prepared::Moved) => take_back()
                .and_then(|()| move_all(&leaf, path))
                .and_then(|()| Ok(call::remove_directory(&leaf)?)),
        };
        if let Err(error) = undone {
            say!(Debug, "{} stays as it is: {}", path.display(), reason(&error));
        }
    }

    fn set_limit(&self, path: &Path, limit: Option<u64>) -> io::Result<()> {
        let (file, none) = match self.group.controller {
            Controller::V1 => ("memory.limit_in_bytes", "-1"),
            Controller::V2 | Controller::None => ("memory.max", "max"),
        };
        cgroup::write(&path.join(file), &limit.map_or_else(|| none.to_owned(), |limit| limit.to_string()))
    }

    /// The directory of a cell, which is made if it is not there.
    #[inline(never)]
    fn cell(
        &mut self,
        of: &mut Map<InstanceId, Cell>,
        instance: InstanceId,
        name: &str,
    ) -> io::Result<PathBuf> {
        self.get_ready()?;
        if let Some(cell) = of.get_mut(&instance)
            && cgroup::is_there(&cell.path)
        {
            cell.over = false;
            return Ok(cell.path.clone());
        }
        let path = self.make(name)?;
        let kills = memory::kills_in(self.group.controller, &path).unwrap_or(0);
        of.insert(instance, Cell { path: path.clone(), kills, over: false });
        Ok(path)
    }

    /// One that an earlier supervisor left is taken over, unless somebody is in it.
    #[inline(never)]
    fn make(&self, name: &str) -> io::Result<PathBuf> {
        // Where nobody expects more than a name, none has a slash; the kernel takes up to 255 bytes.
        let name: String = name.chars().map(|c| if c == '/' { '_' } else { c }).collect();
        let mut number = 1;
        loop {
            let name = if number == 1 { name.clone() } else { format!("{name}-{number}") };
            let path = self.group.path.join(name);
            let new = make_directory(&path, 0o777)?;
            if new || cgroup::processes(&path).is_some_and(|processes| processes.is_empty()) {
                return Ok(path);
            }
            if number == NAMES_MAX {
                return Err(Errno::EEXIST.into());
            }
            number += 1;
        }
    }
}

/// Moves all processes from one cgroup to another. Where we are not PID 1, there may be some that are not ours to move.
fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    let entrance = to.join("cgroup.procs");
    for number in all_ours(from)? {
        match cgroup::write(&entrance, &number.to_string()) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The processes of a cgroup, if all are ours.
fn all_ours(path: &Path) -> io::Result<Vec<i32>> {
    let processes = cgroup::processes(path).unwrap_or_default();
    if processes.iter().all(|number| Pid::new(*number).is_some_and(is_ours)) {
        Ok(processes)
    } else {
        Err(call::refusal("processes that are not ours are in our cgroup"))
    }
}

/// Whether a process is one that we may move: any in our PID namespace if we are its first, else we and our descendants.
fn is_ours(pid: Pid) -> bool {
    let own = procfs::own_pid();
    let mut number = pid.number();
    for _ in 0..GENERATIONS_MAX {
        match Pid::new(number) {
            _ if is_pid1() || number == own => return true,
            None => return false,
            Some(pid) => match Stat::of(pid) {
                Some(stat) => number = stat.parent,
                None => return true, // gone
            },
        }
    }
    false
}
