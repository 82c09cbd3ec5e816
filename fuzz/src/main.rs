//! All targets in one libFuzzer program; `TINYSUP_FUZZ` names the one to run.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../targets/mod.rs"]
mod targets;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("TINYSUP_FUZZ").unwrap_or_default();
        let names: Vec<_> = targets::ALL.iter().map(|target| target.name).collect();
        let target = targets::ALL.into_iter().find(|target| target.name == name);
        let target = target.unwrap_or_else(|| panic!("TINYSUP_FUZZ is none of {}", names.join(", ")));
        let _ = TARGET.set(target);
    },
    |bytes: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.run)(bytes);
        }
    }
);
