//! What crosses the seam about memory.

use std::rc::Rc;

use super::{InstanceId, Process};

/// A cgroup of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// What it may use at most, in bytes (`memory.max`); `None`: as much as there is.
    pub memory_max: Option<u64>,
}

/// Which memory controller rules over us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controller {
    /// None that we can see.
    #[default]
    None,
    /// That of cgroup v1.
    V1,
    /// That of cgroup v2.
    V2,
}

/// What is known of the memory of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFound {
    /// Which controller.
    pub controller: Controller,
    /// The smallest limit on the way up, in bytes; `None`: there is none.
    pub limit: Option<u64>,
    /// The memory of the machine in bytes (`MemTotal`); 0: unknown.
    pub total: u64,
    /// Whether each service can have a cgroup of its own.
    pub delegated: bool,
    /// Whether the OOM killer ends all of the container at once (`memory.oom.group`).
    pub oom_group: bool,
    /// Where and what, for people.
    pub text: String,
}

/// The memory of the container at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerMemory {
    /// Usage less what the kernel can drop at once (`inactive_file`), in bytes: what the kubelet counts.
    pub working_set: u64,
    /// All that is charged, in bytes.
    pub usage: u64,
    /// The smallest limit on the way up now.
    pub limit: Option<u64>,
    /// The highest usage so far, where the kernel tells.
    pub peak: Option<u64>,
}

/// What a run holds of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Whose.
    pub instance: Option<InstanceId>,
    /// What is charged to its cgroup less `inactive_file`, else the sum of the resident sets of its processes, in bytes.
    pub bytes: u64,
    /// The sum of the proportional set sizes (proc_pid_smaps(5)), where it was asked for and could be read.
    pub pss: Option<u64>,
    /// The highest usage so far, where the kernel tells.
    pub peak: Option<u64>,
    /// How many processes it has.
    pub processes: u32,
    /// The one that holds most, and its resident set in bytes.
    pub holder: Option<Rc<(Process, u64)>>,
}
