//! Whole documents that the program prints as they are: help, completions, the commented configuration, the licence. They are the
//! files of `src/texts`; those that follow from tables are written by `tests/texts`. `build.rs` packs them, as they take a fifth of
//! the place so, and here they are unpacked when one is asked for. None of them is needed while services run.

pub mod packing;

use std::sync::OnceLock;

use crate::gather::parted;

/// All of them, packed.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/texts"));

/// The licence.
pub const LICENCE: &str = "licence.txt";

/// The document of that name; empty if there is none. `{version}` in it has become the version.
#[inline(never)]
pub fn text(name: &str) -> String {
    String::from_utf8_lossy(&packing::unpack(PACKED, name)).into_owned()
}

/// The table with this heading, `# name`, of `foreign.words`: what is asked when something is wrong. They stay unpacked then.
#[inline(never)]
pub fn table(heading: &str) -> &'static str {
    static TABLES: OnceLock<String> = OnceLock::new();
    let tables = TABLES.get_or_init(|| text("foreign.words"));
    let table = parted(tables, heading).map_or("", |(_, rest)| rest);
    parted(table, "\n#").map_or(table, |(table, _)| table).trim_start()
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
            assert!(!there.contains([packing::BEGIN, packing::END]) && !there.is_empty(), "{name}");
            count += 1;
        }
        assert!(count >= 25, "{count}");
        assert_eq!(text("help"), "", "a name is a whole one");
    }
}
