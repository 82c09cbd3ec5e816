//! The mark that no program overwrites. Descendants of a service are known by the variables in their environment, but nginx,
//! php-fpm, sshd and many others write their title over exactly the memory that /proc/PID/environ shows. So every child of a
//! service also carries a number in a place that nobody uses: the soft limit of file locks (RLIMIT_LOCKS), which Linux has not
//! enforced since 2.4.25 (getrlimit(2)), which fork and exec pass on, and which everybody may read in /proc/PID/limits.

use std::cell::Cell;

use super::{call, environment, procfs};
use crate::event::{InstanceId, Mark, Pid};
use crate::units::parse_number;

/// RLIMIT_LOCKS, whose type is not the same in all C libraries.
pub const RESOURCE: u32 = 10;

/// Far above any limit that somebody may have set on purpose.
const BASE: u64 = 1 << 62;

/// The place of our pid in the number: tinysup may run below tinysup, and each knows its own.
const PID_SHIFT: u32 = 24;

/// The number that children of an instance carry.
pub fn of(instance: InstanceId) -> u64 {
    let own = u64::from(procfs::own_pid().unsigned_abs());
    BASE | own << PID_SHIFT | u64::from(instance.0)
}

/// The limit to give a child so that it carries its number; `None` where the container does not let us.
pub fn limit(instance: InstanceId) -> Option<libc::rlimit> {
    let (_, hard) = call::limit(libc::RLIMIT_LOCKS as _)?;
    let soft = libc::rlim_t::try_from(of(instance)).ok()?;
    (hard == libc::RLIM_INFINITY).then_some(libc::rlimit { rlim_cur: soft, rlim_max: hard })
}

/// Whether that is what a limit is for.
pub fn is(resource: u32, limit: &libc::rlimit) -> bool {
    resource == RESOURCE && limit.rlim_cur.leading_zeros() == BASE.leading_zeros()
}

/// The number that a process carries, ours or another.
pub fn carried(pid: Pid) -> Option<u64> {
    soft_locks(&procfs::read(pid, "limits")?)
}

/// Whether a mark alone says that a process of this user belongs to a run that began as `run`, or as who we are: anybody can set one.
pub fn counts(uid: u32, run: Option<u32>) -> bool {
    call::is_user_of_ours(uid) || run == Some(uid)
}

/// The real user of a process. The owner of its folder in /proc is root's for any that does not want to be looked at.
pub fn user(pid: Pid) -> Option<u32> {
    let status = procfs::read(pid, "status")?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    parse_number(line.split_ascii_whitespace().next()?)
}

/// Whether a process carries the number of this instance or, where it has none of ours, the variables. Of those no more is read than is
/// `left`: of a crowd they may be gigabytes.
pub fn either(pid: Pid, instance: InstanceId, mark: &Mark, left: &Cell<usize>) -> bool {
    let wanted = of(instance);
    match carried(pid) {
        Some(number) if number >> PID_SHIFT == wanted >> PID_SHIFT => number == wanted,
        _ if left.get() == 0 => false,
        _ => {
            let environ = procfs::read_private(pid, "environ", left.get().min(procfs::FILE_MAX_BYTES));
            let environ = environ.unwrap_or_default();
            left.set(left.get().saturating_sub(environ.len()));
            environment::carries(&environ, mark)
        }
    }
}

/// The soft limit in the line of /proc/PID/limits (proc_pid_limits(5)): `Max file locks   SOFT   HARD   locks`.
pub fn soft_locks(limits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(limits).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    parse_number(line.split_ascii_whitespace().next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_read_from_what_the_kernel_prints() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max pending signals       96155                96155                signals   \n\
                      Max file locks            4611686018444165123  unlimited            locks     \n";
        assert_eq!(soft_locks(limits.as_bytes()), Some(4_611_686_018_444_165_123));
        assert_eq!(
            soft_locks(b"Max file locks            unlimited            unlimited            locks\n"),
            None
        );
        assert_eq!(soft_locks(b""), None);
    }

    #[test]
    fn instances_carry_different_numbers() {
        assert_ne!(of(InstanceId(0)), of(InstanceId(1)));
        assert!(of(InstanceId(9_999)) < 1 << 63, "a number the kernel takes for a limit");
    }
}
