//! What /proc says, of which names, command lines and paths are anybody's bytes; programs that do not start; `TINYSUP_LOG`. The first
//! byte says which.

use tinysup::event::Mark;
use tinysup::sys::fuzzing::{Elf, Socket, Stat, carries, directives, pids, show_name, soft_locks, unix};

pub fn run(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match kind % 8 {
        0 => stat(bytes),
        1 => {
            if let Some(name) = show_name(bytes) {
                assert!(
                    !name.is_empty()
                        && name.len() <= 64
                        && !super::has_controls(&name)
                        && !name.contains('\n')
                );
            }
        }
        2 => assert!(pids(&text).iter().all(|pid| pid.number() > 0)),
        3 => {
            if let Some(number) = soft_locks(bytes) {
                assert!(text.contains(&number.to_string()) || text.contains('+') || text.contains('0'));
            }
        }
        4 => {
            let mark = Mark { service: "api".into(), instance: 2 };
            let expected = [&b"TINYSUP_SERVICE=api"[..], b"TINYSUP_INSTANCE=2"]
                .iter()
                .all(|wanted| bytes.split(|byte| *byte == 0).any(|string| string == *wanted));
            assert_eq!(carries(bytes, &mark), expected);
        }
        5 => {
            if let Some(socket) = Socket::parse(&text) {
                assert!(text.contains(" 0A") || text.split_ascii_whitespace().nth(3) == Some("0A"));
                assert!(!socket.address.to_string().is_empty());
            }
            if let Some((_, path)) = unix(&text) {
                assert!(!super::has_controls(&path) && !path.contains('\n'));
            }
        }
        6 => elf(bytes),
        _ => _ = directives(&text),
    }
}

/// The name is between the outermost parentheses, whatever it holds.
fn stat(bytes: &[u8]) {
    if let Some(stat) = Stat::parse(bytes) {
        assert!(stat.pid.number() > 0);
        let (pid, name) = (stat.pid.number(), String::from_utf8_lossy(&stat.name));
        let written = format!(
            "{pid} ({name}) {} {} {} {} 0 -1 {} 0 0 0 0 {} 0 0 0 20 0 {} 0 {} 0 {}\n",
            char::from(stat.state),
            stat.parent,
            stat.group,
            stat.session,
            stat.flags,
            stat.ticks,
            stat.threads,
            stat.start,
            stat.pages,
        );
        if stat.state.is_ascii_graphic() && stat.state != b')' && std::str::from_utf8(&stat.name).is_ok() {
            assert_eq!(Stat::parse(written.as_bytes()), Some(stat));
        }
    }
}

fn elf(bytes: &[u8]) {
    let reads = std::cell::Cell::new(0);
    let elf = Elf::parse(|offset, length| {
        reads.set(reads.get() + 1);
        assert!(reads.get() < 1000 && length <= 4096, "a few kilobytes at most");
        let at = usize::try_from(offset).ok()?;
        bytes.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)
    });
    assert!(elf.is_none_or(
        |elf| bytes.starts_with(b"\x7fELF") && elf.loader.is_none_or(|loader| !loader.contains(&0))
    ));
}
