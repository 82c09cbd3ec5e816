//! The files of a machine, as the kernel takes them: an archive of the kind "newc" (cpio(5)), unpacked into memory at the start.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Both parts of an entry begin at multiples of this.
const ALIGNMENT: usize = 4;

#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: usize,
}

impl Archive {
    pub fn directory(&mut self, path: &str) {
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]);
        for parent in parents.map(str::to_owned).collect::<Vec<_>>() {
            if self.directories.insert(parent.clone()) {
                self.entry(&parent, DIRECTORY, (0, 0), &[]);
            }
        }
    }

    /// A file of this machine.
    pub fn program(&mut self, path: &str, from: &Path) {
        let content = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        self.file(path, &content);
    }

    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.parent(path);
        self.entry(path, PROGRAM, (0, 0), content);
    }

    pub fn link(&mut self, path: &str, to: &str) {
        self.parent(path);
        self.entry(path, LINK, (0, 0), to.as_bytes());
    }

    pub fn device(&mut self, path: &str, number: (u32, u32)) {
        self.parent(path);
        self.entry(path, CHARACTER_DEVICE, number, &[]);
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        let length = u32::try_from(content.len()).expect("a small file");
        let name_length = u32::try_from(name.len() + 1).expect("a short name");
        let number = u32::try_from(self.entries).expect("few");
        // Inode, mode, owner, group, links, time, size, where it lies, which device it is, length of the name, checksum.
        let fields = [number, mode, 0, 0, 1, 0, length, 0, 0, major, minor, name_length, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}
