//! What a terminal sends when keys are pressed.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Return.
    Enter,
    /// Escape alone.
    Escape,
    /// Ctrl-C.
    Interrupt,
    /// A letter or another printable character of ASCII.
    Char(char),
}

/// Takes the keys out of what has come. What may be the beginning of a longer sequence stays there, unless nothing more came for
/// `a_while`: then an Escape was just that key.
pub fn keys(bytes: &mut Vec<u8>, a_while: bool) -> Vec<Key> {
    let mut found = Vec::new();
    let mut rest: &[u8] = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = match *first {
            0x1b => match escape(after) {
                Sequence::Whole(key, after) => {
                    found.extend(key);
                    after
                }
                Sequence::Begun if a_while => {
                    found.push(Key::Escape);
                    if after.len() > 1 { &[] } else { after.strip_prefix(b"[").unwrap_or(after) }
                }
                Sequence::Begun => break,
            },
            3 => {
                found.push(Key::Interrupt);
                after
            }
            b'\r' | b'\n' => {
                found.push(Key::Enter);
                after
            }
            byte @ 0x20..0x7f => {
                found.push(Key::Char(char::from(byte)));
                after
            }
            _ => after,
        };
    }
    *bytes = rest.to_vec();
    found
}

enum Sequence<'a> {
    /// A key, if it is one we know, and what comes after it.
    Whole(Option<Key>, &'a [u8]),
    /// More may come.
    Begun,
}

/// What follows an Escape: `[A`, `[5~`, `OA`, or nothing of that.
#[inline(never)]
fn escape(after: &[u8]) -> Sequence<'_> {
    match after {
        [] | [b'[' | b'O'] => Sequence::Begun,
        [b'O', key, rest @ ..] => Sequence::Whole(cursor(*key), rest),
        [b'[', rest @ ..] => match rest.iter().position(|byte| (0x40..0x7f).contains(byte)) {
            None => Sequence::Begun,
            Some(at) => {
                let (parameters, end) = rest.split_at(at);
                let (last, after) = end.split_first().unwrap_or((&0, &[]));
                let key = match (parameters, last) {
                    (b"5", b'~') => Some(Key::PageUp),
                    (b"6", b'~') => Some(Key::PageDown),
                    (b"1" | b"7", b'~') => Some(Key::Home),
                    (b"4" | b"8", b'~') => Some(Key::End),
                    _ => cursor(*last),
                };
                Sequence::Whole(key, after)
            }
        },
        _ => Sequence::Whole(Some(Key::Escape), after),
    }
}

fn cursor(last: u8) -> Option<Key> {
    match last {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'H' => Some(Key::Home),
        b'F' => Some(Key::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_what_terminals_send() {
        for (sent, expected, left) in [
            (&b"q"[..], &[Key::Char('q')][..], &b""[..]),
            (b"\x1b[A\x1b[B\x1bOA", &[Key::Up, Key::Down, Key::Up], b""),
            (b"\x1b[5~\x1b[6~\x1b[1~\x1b[F", &[Key::PageUp, Key::PageDown, Key::Home, Key::End], b""),
            (b"\x1b[1;5A\x1b[?1;2c", &[Key::Up], b""),
            (b"\r\x03\x00\xc3\xa4", &[Key::Enter, Key::Interrupt], b""),
            (b"\x1bq", &[Key::Escape, Key::Char('q')], b""),
            (b"\x1b\x1b[A", &[Key::Escape, Key::Up], b""),
            (b"a\x1b", &[Key::Char('a')], b"\x1b"),
            (b"a\x1b[", &[Key::Char('a')], b"\x1b["),
            (b"\x1b[1;", &[], b"\x1b[1;"),
        ] {
            let mut bytes = sent.to_vec();
            assert_eq!(keys(&mut bytes, false), expected, "{sent:?}");
            assert_eq!(bytes, left, "{sent:?}");
        }
    }

    #[test]
    fn an_escape_after_which_nothing_came_is_the_key() {
        for sent in [&b"\x1b"[..], b"\x1b[", b"\x1bO", b"\x1b[1;"] {
            let mut bytes = sent.to_vec();
            assert_eq!(keys(&mut bytes, true).first(), Some(&Key::Escape), "{sent:?}");
            assert!(bytes.is_empty(), "{sent:?}: {bytes:?}");
        }
    }

    #[test]
    fn any_bytes_are_read_to_the_end_in_any_pieces() {
        let mut bytes = Vec::new();
        for round in 0..2_000_u32 {
            bytes.push(u8::try_from(round.wrapping_mul(2_654_435_761) >> 24).unwrap());
            keys(&mut bytes, round % 7 == 0);
            assert!(bytes.len() < 2_000);
        }
        keys(&mut bytes, true);
        assert!(bytes.is_empty(), "{bytes:?}");
    }
}
