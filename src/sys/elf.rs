//! The little of an ELF file that explains why it does not start: for which machine it is and which loader it asks for. Total on
//! any bytes, and never reads more than a few kilobytes.

/// What was found in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// The machine's number.
    pub machine: u16,
    /// The loader, if the program asks for one.
    pub loader: Option<Vec<u8>>,
}

/// The number of the machine we run on; `None` where we have not looked it up.
pub const OWN_MACHINE: Option<u16> = if cfg!(target_arch = "x86_64") {
    Some(62)
} else if cfg!(target_arch = "aarch64") {
    Some(183)
} else if cfg!(target_arch = "x86") {
    Some(3)
} else if cfg!(target_arch = "arm") {
    Some(40)
} else if cfg!(target_arch = "riscv64") {
    Some(243)
} else {
    None
};

const PROGRAM_HEADERS_MAX: u16 = 128;
const LOADER_MAX_BYTES: u64 = 4096;
const PT_INTERP: u64 = 3;

/// Where the fields of the two kinds of files are.
struct Layout {
    word: usize,
    header_size: usize,
    table: usize,
    entry_size: usize,
    entry_count: usize,
    segment_offset: u64,
    segment_size: u64,
}

const ELF32: Layout = Layout {
    word: 4,
    header_size: 52,
    table: 28,
    entry_size: 42,
    entry_count: 44,
    segment_offset: 4,
    segment_size: 16,
};
const ELF64: Layout = Layout {
    word: 8,
    header_size: 64,
    table: 32,
    entry_size: 54,
    entry_count: 56,
    segment_offset: 8,
    segment_size: 32,
};

impl Elf {
    /// Reads the headers through `read_at`, which gives so many bytes from an offset, or none. `None`: not an ELF file.
    pub fn parse(read_at: impl Fn(u64, usize) -> Option<Vec<u8>>) -> Option<Self> {
        let identity = read_at(0, 20)?;
        if !identity.starts_with(b"\x7fELF") {
            return None;
        }
        let big = *identity.get(5)? == 2;
        let layout = if *identity.get(4)? == 2 { &ELF64 } else { &ELF32 };
        let machine = u16::try_from(number(&identity, 18, 2, big)?).ok()?;
        let loader = || {
            let header = read_at(0, layout.header_size)?;
            let table = number(&header, layout.table, layout.word, big)?;
            let size = number(&header, layout.entry_size, 2, big)?;
            let count = number(&header, layout.entry_count, 2, big)?.min(PROGRAM_HEADERS_MAX.into());
            (0..count).find_map(|index| {
                let entry = table.checked_add(index * size)?;
                let field = |offset: u64, bytes: usize| {
                    number(&read_at(entry.checked_add(offset)?, bytes)?, 0, bytes, big)
                };
                if field(0, 4)? != PT_INTERP {
                    return None;
                }
                let at = field(layout.segment_offset, layout.word)?;
                let length = field(layout.segment_size, layout.word)?.min(LOADER_MAX_BYTES);
                let mut text = read_at(at, usize::try_from(length).ok()?)?;
                text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
                Some(text)
            })
        };
        Some(Self { machine, loader: loader() })
    }
}

fn number(bytes: &[u8], at: usize, size: usize, big: bool) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    let digit = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(if big { bytes.iter().fold(0, digit) } else { bytes.iter().rev().fold(0, digit) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Option<Elf> {
        Elf::parse(|offset, length| {
            let at = usize::try_from(offset).ok()?;
            bytes.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)
        })
    }

    /// A file with two segments, of which the second names a loader.
    fn made(wide: bool, big: bool, machine: u16, loader: &[u8]) -> Vec<u8> {
        let layout = if wide { &ELF64 } else { &ELF32 };
        let entry = if wide { 56 } else { 32 };
        let mut bytes = vec![0; layout.header_size + 2 * entry];
        let mut put = |at: usize, size: usize, value: u64| {
            for index in 0..size {
                let shift = 8 * if big { size - 1 - index } else { index };
                bytes[at + index] = u8::try_from(value >> shift & 0xff).unwrap();
            }
        };
        put(18, 2, machine.into());
        put(layout.table, layout.word, layout.header_size as u64);
        put(layout.entry_size, 2, entry as u64);
        put(layout.entry_count, 2, 2);
        let second = layout.header_size + entry;
        put(layout.header_size, 4, 1);
        put(second, 4, PT_INTERP);
        put(second + usize::try_from(layout.segment_offset).unwrap(), layout.word, (second + entry) as u64);
        put(second + usize::try_from(layout.segment_size).unwrap(), layout.word, loader.len() as u64);
        bytes[..6].copy_from_slice(&[
            0x7f,
            b'E',
            b'L',
            b'F',
            if wide { 2 } else { 1 },
            if big { 2 } else { 1 },
        ]);
        bytes.extend_from_slice(loader);
        bytes
    }

    #[test]
    fn loaders_are_found_in_all_four_kinds() {
        for (wide, big) in [(true, false), (true, true), (false, false), (false, true)] {
            assert_eq!(
                parse(&made(wide, big, 183, b"/lib/ld.so\0")),
                Some(Elf { machine: 183, loader: Some(b"/lib/ld.so".to_vec()) }),
                "{wide} {big}"
            );
        }
    }

    #[test]
    fn any_prefix_and_any_changed_byte_is_survived() {
        let whole = made(true, false, 62, b"/lib/ld.so\0");
        for length in 0..whole.len() {
            let _ = parse(&whole[..length]);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = parse(&bytes);
            }
        }
        assert_eq!(parse(b"#!/bin/sh\n with more than twenty bytes"), None);
    }

    #[test]
    fn we_are_for_this_machine() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(parse(&own).map(|elf| elf.machine), OWN_MACHINE);
    }
}
