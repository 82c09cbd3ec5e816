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
    let version = env::var("CARGO_PKG_VERSION")?;
    let mut documents = Vec::new();
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).ok_or("a name that is no text")?;
        documents.push((name.to_owned(), fs::read_to_string(&file)?.replace("{version}", &version)));
    }
    // Up to the one that is asked for they are unpacked, so the longest are the last.
    documents.sort_by_key(|(name, text)| (text.len(), name.clone()));
    let mut all = String::new();
    for (name, text) in &documents {
        all.push(packing::BEGIN);
        all += &[name, "\n", text].concat();
    }
    let packed = packing::pack(all.as_bytes());
    for (name, text) in documents {
        if packing::unpack(&packed, &name) != text.as_bytes() {
            return Err(format!("{name} does not come back from the packed form").into());
        }
    }
    let folder = env::var_os("OUT_DIR").ok_or("Cargo says no OUT_DIR")?;
    fs::write(Path::new(&folder).join("texts"), packed)?;
    Ok(())
}
