//! What the kernel counted for the processes of an init: wake-ups, CPU time, memory. Only reads.

use std::fs;
use std::io;
use std::path::Path;

use crate::service::Role;

/// What was counted for an init and its helpers, without the services.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// How often one of them got the CPU: voluntary and involuntary context switches.
    pub switches: u64,
    /// CPU time, in nanoseconds.
    pub cpu: u64,
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Of that, what is shared with nobody by a file, in bytes.
    pub anonymous: u64,
    /// Resident memory, each page divided by how many processes have it, in bytes.
    pub proportional: u64,
    /// How many processes they are.
    pub processes: u64,
}

/// The processes in the PID namespace of `init` that `wanted` picks.
pub fn processes(init: i32, wanted: impl Fn(i32) -> bool) -> io::Result<Vec<i32>> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid"));
    let ours = namespace(init)?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if namespace(pid).is_ok_and(|other| other == ours) && wanted(pid) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether a process runs this program.
pub fn runs(pid: i32, program: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|other| other == program)
}

/// Whether it is a service of the bench, in this role.
pub fn plays(pid: i32, program: &Path, role: Role) -> bool {
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    runs(pid, program) && arguments.split('\0').nth(2) == Some(role.name())
}

/// Whether it is a service that the least program plays; under s6 and runit it is `./run`.
pub fn serves(pid: i32, least: &Path) -> bool {
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    runs(pid, least) && arguments.split('\0').nth(1) != Some("init")
}

/// What was counted for these processes up to now.
pub fn usage(pids: &[i32]) -> io::Result<Usage> {
    let mut usage = Usage::default();
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        usage.switches +=
            field(&status, "voluntary_ctxt_switches:") + field(&status, "nonvoluntary_ctxt_switches:");
        usage.cpu += cpu([pid])?;
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        usage.resident += field(&memory, "Rss:") << 10;
        usage.proportional += field(&memory, "Pss:") << 10;
        usage.anonymous += field(&memory, "Anonymous:") << 10;
        usage.processes += 1;
    }
    Ok(usage)
}

/// The CPU time of these processes up to now, in nanoseconds.
pub fn cpu<'a>(pids: impl IntoIterator<Item = &'a i32>) -> io::Result<u64> {
    pids.into_iter().try_fold(0, |sum, pid| {
        let schedule = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
        let time: u64 = schedule.split_whitespace().next().and_then(|time| time.parse().ok()).unwrap_or(0);
        Ok(sum + time)
    })
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
