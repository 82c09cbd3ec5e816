//! Inside: the kernel's first process. Mounts what a machine has, with cgroups in one of four ways, runs the cases, each in a process
//! of its own, and becomes `tinysup`, whose end the kernel reports.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::{cases, runner, scene};

/// What it becomes at the end.
pub const INIT: &str = "/sbin/tinysup";
pub const WITNESS: &str = "/bin/tinysup-witness";

/// A configuration with which it ends.
pub struct Plan {
    pub file: &'static str,
    pub text: &'static str,
    /// With this code.
    pub code: u32,
    /// Not without having said this.
    pub words: &'static str,
}

pub const PLANS: [&Plan; 3] = [&FAILS, &IS_KILLED, &LOOPS];

const FAILS: Plan = Plan {
    file: "/etc/fails.toml",
    text: r#"
[services.keeper]
command = "/bin/tinysup-witness helper 3600s wait say kept"

[services.worker]
command = "/bin/tinysup-witness say run exit 17"
depends_on = { keeper = "started" }
max_restarts = 2
restart_delay = "20ms"
"#,
    code: 17,
    words: "keeper | kept",
};

const IS_KILLED: Plan = Plan {
    file: "/etc/is-killed.toml",
    text: r#"
[services.keeper]
command = "/bin/tinysup-witness helper 3600s wait say kept"

[services.hog]
command = "/bin/tinysup-witness grow 200 400"
memory_limit = "32M"
depends_on = { keeper = "started" }
max_restarts = 1
restart_delay = "20ms"
"#,
    code: 137,
    words: "out of memory",
};

/// For a case.
pub const LOOPS: Plan = Plan {
    file: "/etc/loops.toml",
    text: r#"
control = false

[services.worker]
command = "/bin/tinysup-witness say run exit 17"
max_restarts = 5
restart_delay = "200ms"
restart_backoff = 1.0
"#,
    code: 17,
    words: "worker | run",
};

/// Said when all cases were run.
pub const DONE: &str = "machine: all cases were run";
/// Said instead where the kernel cannot mount cgroups in this way.
pub const LACKS: &str = "machine: this kernel lacks ";

/// A way to mount cgroups.
pub struct Layout {
    pub name: &'static str,
    /// For the kernel.
    pub parameters: &'static str,
    /// What is mounted where, of which type, with which options.
    mounts: &'static [(&'static str, &'static str, &'static str)],
    pub plan: &'static Plan,
}

const ROOT: &str = "/sys/fs/cgroup";
const V1: (&str, &str, &str) = ("/sys/fs/cgroup/memory", "cgroup", "memory");
const PIDS: (&str, &str, &str) = ("/sys/fs/cgroup/pids", "cgroup", "pids");

pub const LAYOUTS: [Layout; 4] = [
    Layout { name: "v2", parameters: "", mounts: &[(ROOT, "cgroup2", "")], plan: &IS_KILLED },
    Layout { name: "v1", parameters: "", mounts: &[(ROOT, "tmpfs", "mode=755"), V1, PIDS], plan: &IS_KILLED },
    Layout {
        name: "hybrid",
        parameters: "",
        mounts: &[(ROOT, "tmpfs", "mode=755"), V1, ("/sys/fs/cgroup/unified", "cgroup2", "")],
        plan: &IS_KILLED,
    },
    Layout {
        name: "none",
        parameters: "cgroup_disable=memory",
        mounts: &[(ROOT, "cgroup2", "")],
        plan: &FAILS,
    },
];

impl Layout {
    /// Which cases are run there.
    pub fn cases(&self) -> Vec<&'static str> {
        cases::of(self.name)
    }
}

/// Whether this is such a machine, and this process its first.
pub fn is_one() -> bool {
    std::process::id() == 1 && !Path::new("/proc/self").exists()
}

pub fn run() -> ExitCode {
    for (kind, path) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp"), ("tmpfs", "/run")]
    {
        scene::mount(kind, path, kind, 0);
    }
    let line = fs::read_to_string("/proc/cmdline").expect("a command line");
    let wanted =
        line.split_whitespace().find_map(|word| word.strip_prefix("tinysup.layout=")).expect("a layout");
    let layout = LAYOUTS.iter().find(|layout| layout.name == wanted).expect("a known layout");
    for (path, kind, options) in layout.mounts {
        fs::create_dir_all(path).expect("a directory to mount on");
        if let Err(error) = scene::try_mount(kind, path, kind, 0, options) {
            println!("{LACKS}{kind} with {options:?}: {error}");
            return ExitCode::FAILURE;
        }
        // As systemd does it before anybody makes a cgroup, after which Linux 5.10 and older refuse it.
        let all_below = Path::new(path).join("memory.use_hierarchy");
        if all_below.exists() {
            fs::write(all_below, "1").expect("the root");
        }
    }
    // SAFETY: one thread.
    unsafe {
        std::env::set_var("PATH", "/bin:/sbin");
        std::env::set_var("TINYSUP_TEST_WITNESS", WITNESS);
        std::env::set_var("TINYSUP_TEST_REQUIRE_ALL", "1");
    }
    let cases = layout.cases().into_iter().map(str::to_owned).collect();
    runner::run_all(cases, &[]);
    cases::as_the_kernels_pid_1(layout.name);
    println!("{DONE}");
    let error = Command::new(INIT).args(["-c", layout.plan.file]).exec();
    panic!("{INIT}: {error}");
}
