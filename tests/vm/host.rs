//! Outside: gets a kernel and a shell, packs the machine, boots it once for each layout, and reads from its serial line how it went.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::archive::Archive;
use crate::container;
use crate::guest::{DONE, INIT, LACKS, LAYOUTS, Layout, PLANS, WITNESS};
use crate::witness::witness_path;

/// For a machine that has to emulate every instruction, beside others that do so, too.
const BOOT_AT_MOST: Duration = Duration::from_mins(5);
const MEMORY_MIB: u32 = 512;
const SHELL_PACKAGE: &str = "busybox-static";

/// The processor that a machine emulates: the one that this program is compiled for.
struct Processor {
    qemu: &'static str,
    /// Of Debian, which brings `qemu`.
    package: &'static str,
    /// As Debian calls it.
    name: &'static str,
    machine: &'static [&'static str],
    console: &'static str,
}

const X86_64: Processor = Processor {
    qemu: "qemu-system-x86_64",
    package: "qemu-system-x86",
    name: "amd64",
    machine: &["-machine", "q35", "-cpu", "max"],
    console: "ttyS0",
};

/// To emulate what signs addresses as it really is takes most of the time.
const AARCH64: Processor = Processor {
    qemu: "qemu-system-aarch64",
    package: "qemu-system-arm",
    name: "arm64",
    machine: &["-machine", "virt", "-cpu", "max,pauth-impdef=on"],
    console: "ttyAMA0",
};

const PROCESSOR: Processor = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };
/// What the cases call; all are in that one program.
pub const SHELL_COMMANDS: [&str; 6] = ["sh", "cat", "grep", "true", "echo", "sleep"];
/// Names the file of another kernel.
const KERNEL: &str = "TINYSUP_TEST_KERNEL";
/// How the kernel reports the end of its PID 1: with its status as wait(2) has it.
const KERNEL_WORD: &str = "Attempted to kill init! exitcode=0x";

pub fn run(arguments: &[String]) -> ExitCode {
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let layouts: Vec<&Layout> = LAYOUTS.iter().filter(|layout| chosen(layout.name)).collect();
    let docker = chosen(container::NAME);
    if arguments.iter().any(|argument| argument == "--list") {
        for name in layouts.iter().map(|layout| layout.name).chain(docker.then_some(container::NAME)) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} machines", layouts.len() + usize::from(docker));
    let (mut well, mut skipped, mut failed) = (0, 0, 0);
    let mut count = |result: Option<bool>| match result {
        Some(true) => well += 1,
        Some(false) => failed += 1,
        None => skipped += 1,
    };
    let required = env::var_os("TINYSUP_TEST_REQUIRE_ALL").is_some_and(|value| value == "1");
    let skip = |what: &str, why: &str| {
        if required {
            println!("{what} must not be skipped (TINYSUP_TEST_REQUIRE_ALL=1), but {why}");
            return Some(false);
        }
        println!("\n*** SKIPPED {what}, NOT RUN: {why}");
        None
    };
    let parts = Parts::find();
    let archive = parts.as_ref().ok().map(Parts::pack);
    for layout in layouts {
        count(match (&parts, &archive) {
            (Ok(parts), Some(archive)) => match boot(parts, archive, layout) {
                Ok(well) => Some(well),
                Err(lacks) => skip(&format!("machine {}", layout.name), &lacks),
            },
            (Err(why), _) => skip(&format!("machine {}", layout.name), why),
            (Ok(_), None) => None,
        });
    }
    if docker {
        count(match (&parts, container::possible()) {
            (Ok(parts), Ok(())) => Some(container::run(&parts.shell)),
            (Err(why), _) => skip(container::NAME, why),
            (_, Err(why)) => skip(container::NAME, &why),
        });
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {well} passed; {failed} failed; {skipped} ignored\n");
    if let Some(archive) = archive {
        let _ = fs::remove_file(archive);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a machine is made of.
struct Parts {
    kernel: PathBuf,
    shell: PathBuf,
}

impl Parts {
    fn find() -> Result<Self, String> {
        if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            return Err("the machines are for x86_64 and aarch64".to_owned());
        }
        let Processor { qemu, package, name, .. } = PROCESSOR;
        let runs = Command::new(qemu).arg("--version").stdout(Stdio::null()).status();
        if !runs.is_ok_and(|status| status.success()) {
            return Err(format!("there is no {qemu}; `apt-get install {package}` brings it"));
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machine-{name}"));
        let parts = Self::download(&folder)?;
        Ok(match env::var_os(KERNEL) {
            Some(kernel) => Self { kernel: kernel.into(), ..parts },
            None => parts,
        })
    }

    /// Unless it has been done already.
    fn download(folder: &Path) -> Result<Self, String> {
        if let Some(parts) = Self::in_folder(folder) {
            return Ok(parts);
        }
        let allowed = ["TINYSUP_TEST_DOWNLOAD", "TINYSUP_TEST_REQUIRE_ALL"]
            .iter()
            .any(|name| env::var_os(name).is_some_and(|value| value == "1"));
        if !allowed {
            return Err(format!(
                "a kernel and {SHELL_PACKAGE} are not unpacked in {}; TINYSUP_TEST_DOWNLOAD=1 fetches them",
                folder.display()
            ));
        }
        fetch(folder)?;
        Self::in_folder(folder).ok_or_else(|| "the packages do not hold what they should".to_owned())
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        let boot = fs::read_dir(folder.join("boot")).ok()?.flatten().map(|entry| entry.path());
        let is_kernel = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        };
        let shell = [folder.join("bin/busybox"), folder.join("usr/bin/busybox")]
            .into_iter()
            .find(|path| path.exists())?;
        Some(Self { kernel: boot.into_iter().find(is_kernel)?, shell })
    }

    /// Packs what the machine has; this program is its init.
    fn pack(&self) -> PathBuf {
        let mut archive = Archive::default();
        for path in ["dev", "proc", "sys", "tmp", "run", "etc", "sbin", "root"] {
            archive.directory(path);
        }
        archive.device("dev/console", (5, 1));
        archive.device("dev/null", (1, 3));
        archive.program("init", &env::current_exe().expect("own path"));
        archive.program(INIT.trim_start_matches('/'), &tinysup());
        archive.program(WITNESS.trim_start_matches('/'), witness_path());
        archive.program("bin/busybox", &self.shell);
        for name in SHELL_COMMANDS {
            archive.link(&format!("bin/{name}"), "busybox");
        }
        for plan in PLANS {
            archive.file(plan.file.trim_start_matches('/'), plan.text.as_bytes());
        }
        archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
        archive.file("etc/group", b"root:x:0:\n");
        for library in libraries() {
            let name = library.file_name().expect("a name").to_string_lossy().into_owned();
            archive.program(&format!("lib/{name}"), &library);
            if name.starts_with("ld-") {
                archive.link(&format!("lib64/{name}"), &format!("/lib/{name}"));
            }
        }
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machine-{}.cpio", std::process::id()));
        fs::write(&path, archive.finish()).expect("room for the archive");
        path
    }
}

/// What cargo has built, or the file that `TINYSUP_TEST_BINARY` names.
fn tinysup() -> PathBuf {
    env::var_os("TINYSUP_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_tinysup").into(), PathBuf::from)
}

/// The libraries that this program was linked with, and the loader: `tinysup` has the same.
pub fn libraries() -> BTreeSet<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").expect("a list");
    maps.lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.contains(".so"))
        .map(PathBuf::from)
        .collect()
}

/// Unpacks the two packages, the first of which only names the newest kernel.
fn fetch(folder: &Path) -> Result<(), String> {
    let packages = folder.with_extension("packages");
    let unpacked = folder.with_extension("new");
    for path in [&packages, &unpacked] {
        let _ = fs::remove_dir_all(path);
        fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let download = || -> Result<(), String> {
        let name = PROCESSOR.name;
        let package = format!("linux-image-cloud-{name}:{name}");
        let depends = output(Command::new("apt-cache").args(["depends", &package]))?;
        let wanted = |line: &&str| line.starts_with("linux-image-");
        let kernel = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).find(wanted);
        let kernel = kernel.ok_or_else(|| format!("apt-cache does not know {package}"))?;
        let names = ["download", "-qq", kernel, &format!("{SHELL_PACKAGE}:{name}")];
        output(Command::new("apt-get").args(names).current_dir(&packages)).map(drop)
    };
    // Its lists may be missing, or older than the archive.
    download()
        .or_else(|_| output(Command::new("apt-get").args(["update", "-qq"])).and_then(|_| download()))?;
    for entry in fs::read_dir(&packages).expect("just made").flatten() {
        output(Command::new("dpkg-deb").arg("--extract").arg(entry.path()).arg(&unpacked))?;
    }
    fs::remove_dir_all(&packages).expect("ours");
    let _ = fs::remove_dir_all(folder);
    fs::rename(&unpacked, folder).map_err(|error| error.to_string())
}

pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command:?}: {told}"))
    }
}

/// Whether all went well there; an error is what the kernel lacks for it. What it said is passed on; the case's own words only if not.
fn boot(parts: &Parts, archive: &Path, layout: &Layout) -> Result<bool, String> {
    println!("\nmachine {}", layout.name);
    let mut qemu = Command::new(PROCESSOR.qemu)
        .args(PROCESSOR.machine)
        .args(["-accel", "tcg", "-smp", "1"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .args(["-m", &MEMORY_MIB.to_string()])
        .arg("-kernel")
        .arg(&parts.kernel)
        .arg("-initrd")
        .arg(archive)
        .args([
            "-append",
            &format!(
                "console={} quiet panic=-1 psi=1 tinysup.layout={} {}",
                PROCESSOR.console, layout.name, layout.parameters
            ),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("it was there just now");
    let started = Instant::now();
    let (sender, lines) = mpsc::channel();
    let serial = qemu.stdout.take().expect("a pipe");
    thread::spawn(move || {
        for line in BufReader::new(serial).split(b'\n').map_while(Result::ok) {
            let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    });
    let (mut passed, mut failed, mut done, mut code, mut said) = (0, 0, false, None, Vec::new());
    let mut lacks = None;
    while let Some(line) =
        BOOT_AT_MOST.checked_sub(started.elapsed()).and_then(|left| lines.recv_timeout(left).ok())
    {
        if line.starts_with("test ") && line.contains(" ... ") {
            println!("{line}");
            passed += u32::from(line.ends_with("... ok"));
            failed += u32::from(!line.ends_with("... ok"));
        }
        done |= line == DONE;
        lacks = lacks.or_else(|| line.strip_prefix(LACKS).map(|what| format!("its kernel lacks {what}")));
        if let Some((_, status)) = line.split_once(KERNEL_WORD) {
            code = u32::from_str_radix(status.trim(), 16).ok();
        }
        // What follows the end is the kernel's own distress.
        if code.is_none() {
            said.push(line);
        }
    }
    let _ = qemu.kill();
    let _ = qemu.wait();
    if let Some(lacks) = lacks {
        return Err(lacks);
    }
    let plan = layout.plan;
    let ended = code == Some(plan.code << 8) && said.iter().any(|line| line.contains(plan.words));
    let well = done && ended && failed == 0 && usize::try_from(passed) == Ok(layout.cases().len());
    if !well {
        println!("---- what machine {} said ----\n{}\n----", layout.name, said.join("\n"));
        println!(
            "all cases run: {done}; end of PID 1: {code:x?}, not {:x} and {:?}",
            plan.code << 8,
            plan.words
        );
    }
    println!(
        "machine {}: {passed} passed; {failed} failed; {:.1} s",
        layout.name,
        started.elapsed().as_secs_f64()
    );
    Ok(well)
}
