//! Packs the documents of `src/texts` into one file, which `src/texts.rs` has in it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/texts/packing.rs"]
mod packing;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/texts");
    // By which scripts/build-musl links.
    for what in ["scripts/hot", "scripts/shrink", "scripts/build-musl"] {
        println!("cargo::rerun-if-changed={what}");
    }
    let mut files = Vec::new();
    for entry in fs::read_dir("src/texts")? {
        files.push(entry?.path());
    }
    files.retain(|file: &PathBuf| packing::is_document(file));
    files.sort();
    let mut all = String::new();
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).ok_or("a name that is no text")?;
        all.push(packing::BEGIN);
        all += &[name, "\n", &fs::read_to_string(&file)?].concat();
    }
    let all = all.replace("{version}", &env::var("CARGO_PKG_VERSION")?);
    let packed = packing::pack(all.as_bytes());
    if packing::unpack(&packed) != all.as_bytes() {
        return Err("the documents do not come back from the packed form".into());
    }
    let folder = env::var_os("OUT_DIR").ok_or("Cargo says no OUT_DIR")?;
    fs::write(Path::new(&folder).join("texts"), packed)?;
    Ok(())
}
