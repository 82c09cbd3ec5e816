//! What the kernel counted for the processes of an init: wake-ups, CPU time, memory. Only reads.

use std::fs;
use std::io;
use std::path::PathBuf;

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
    /// How many processes they are.
    pub processes: u64,
}

/// All processes in the PID namespace of `init` that do not run `service`.
pub fn supervising(init: i32, service: &str) -> io::Result<Vec<i32>> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid"));
    let ours = namespace(init)?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let is_service = || {
            let text = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            // The first word only: that of an init contains the service's command.
            let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_else(|_| PathBuf::new());
            text.is_empty() || executable == fs::canonicalize(service).unwrap_or_default()
        };
        if namespace(pid).is_ok_and(|other| other == ours) && !is_service() {
            found.push(pid);
        }
    }
    Ok(found)
}

/// What was counted for these processes up to now.
pub fn usage(pids: &[i32]) -> io::Result<Usage> {
    let mut usage = Usage::default();
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        usage.switches +=
            field(&status, "voluntary_ctxt_switches:") + field(&status, "nonvoluntary_ctxt_switches:");
        let schedule = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
        usage.cpu += schedule.split_whitespace().next().and_then(|time| time.parse().ok()).unwrap_or(0);
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        usage.resident += field(&memory, "Rss:") << 10;
        usage.anonymous += field(&memory, "Anonymous:") << 10;
        usage.processes += 1;
    }
    Ok(usage)
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
