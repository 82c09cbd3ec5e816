//! The parsers of this floor as functions of their text, for `fuzz/` alone: what the kernel, files of the container and servers say.
//! Nothing of the program uses this, so nothing of it is in the program.

pub use super::cgroup::{Candidate, candidates, field, limit, numbers, one_number};
pub use super::control::Said;
pub use super::elf::Elf;
pub use super::environment::carries;
pub use super::listener::{Socket, unix};
pub use super::log::directives;
pub use super::memory::pss;
pub use super::probes::Head;
pub use super::procfs::{Stat, pids, show_name};
pub use super::tag::soft_locks;
pub use super::users::{Files, Resolved};
