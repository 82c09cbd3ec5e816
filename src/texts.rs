//! Whole documents that the program prints as they are: help, completions, the commented configuration, the licence. They are the
//! files of `src/texts`; those that follow from tables are written by `tests/texts`. `build.rs` packs them, as they take a quarter of
//! the place so, and here they are unpacked when one is asked for. None of them is needed while services run.

pub mod packing;

use packing::BEGIN;

/// All of them, packed, each after a line of [`BEGIN`] and its name.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/texts"));

/// The licence.
pub const LICENCE: &str = "licence.txt";

/// The document of that name; empty if there is none. `{version}` in it has become the version.
#[inline(never)]
pub fn text(name: &str) -> String {
    let all = packing::unpack(PACKED);
    let mut all = all.split(|byte| char::from(*byte) == BEGIN);
    let text = all.find_map(|document| document.strip_prefix(name.as_bytes())?.strip_prefix(b"\n"));
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_a_document_as_it_is() {
        let mut count = 0;
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/texts");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if !packing::is_document(&path) {
                continue;
            }
            let there = std::fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(text(name), there.replace("{version}", env!("CARGO_PKG_VERSION")), "{name}");
            assert!(!there.contains(BEGIN) && !there.is_empty(), "{name}");
            count += 1;
        }
        assert!(count >= 25, "{count}");
        assert_eq!(text("help"), "", "a name is a whole one");
    }
}
