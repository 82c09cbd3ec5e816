//! The witness, a small program that does what it is told: `tests/fixtures/witness.rs`.

#![allow(dead_code, reason = "each suite that shares this needs a part of it")]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

/// The witness, built once for all runs of the tests with this source, unless `TINYSUP_TEST_WITNESS` names one.
pub fn witness_path() -> &'static Path {
    const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/witness.rs");
    static WITNESS: OnceLock<PathBuf> = OnceLock::new();
    WITNESS.get_or_init(|| {
        if let Some(path) = env::var_os("TINYSUP_TEST_WITNESS") {
            return path.into();
        }
        let mut hasher = DefaultHasher::new();
        fs::read(SOURCE).expect("the source of the witness").hash(&mut hasher);
        // Below /tmp, because the folder of the build may be closed to other users.
        let kept = env::temp_dir().join(format!("tinysup-witness-{:x}", hasher.finish()));
        if !kept.exists() {
            let built = kept.with_extension(std::process::id().to_string());
            let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            rustc.args([
                "--edition",
                "2024",
                "-O",
                "-C",
                "panic=abort",
                "-C",
                "target-feature=+crt-static",
                "-o",
            ]);
            let output = rustc.arg(&built).arg(SOURCE).output().expect("rustc runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            fs::rename(&built, &kept).expect("they lie side by side");
        }
        kept
    })
}

/// A name as the witness says it.
pub fn name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match NAMES.get(usize::try_from(number).expect("a signal") - 1) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIGRTMIN+{}", number - 34),
    }
}
