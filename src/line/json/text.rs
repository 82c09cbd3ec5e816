//! What JSON is made of (RFC 8259): strings are written, and the pieces of a text are read one after another. What is nested needs no
//! memory.

/// How deep what is read may be nested. Others read our objects, and many give up beyond 128.
pub(crate) const DEPTH_MAX: u32 = 100;

/// Appends a string. What is not UTF-8 is replaced.
pub(crate) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut from = 0;
        for (at, byte) in valid.iter().enumerate() {
            if *byte >= b' ' && *byte != b'"' && *byte != b'\\' {
                continue;
            }
            out.extend_from_slice(valid.get(from..at).unwrap_or_default());
            from = at + 1;
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                8 => out.extend_from_slice(b"\\b"),
                12 => out.extend_from_slice(b"\\f"),
                _ => {
                    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
                    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
                }
            }
        }
        out.extend_from_slice(valid.get(from..).unwrap_or_default());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    CommaOrEnd,
}

/// A text in UTF-8, and how far it is read. What is not as it has to be is `None`.
pub(crate) struct Text<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// How many bytes of it are read.
    pub at: usize,
}

impl<'a> Text<'a> {
    /// The rest of an object or array whose first byte, `{` or `[`, has been taken. Each name of the object itself goes to `named`, with
    /// whether something in it is escaped.
    pub(crate) fn nested(&mut self, first: u8, named: &mut dyn FnMut(&'a [u8], bool)) -> Option<()> {
        // Of each level a bit: 1 is an object.
        let (mut depth, mut levels) = (1_u32, u128::from(first == b'{'));
        let mut next = if first == b'{' { Next::NameOrEnd } else { Next::ValueOrEnd };
        loop {
            self.skip_blanks();
            let byte = self.next()?;
            let in_object = levels & 1 == 1;
            next = match (next, byte) {
                (Next::NameOrEnd, b'}') | (Next::ValueOrEnd, b']') => self.close(&mut depth, &mut levels),
                (Next::CommaOrEnd, b'}') if in_object => self.close(&mut depth, &mut levels),
                (Next::CommaOrEnd, b']') if !in_object => self.close(&mut depth, &mut levels),
                (Next::CommaOrEnd, b',') if in_object => Next::Name,
                (Next::CommaOrEnd, b',') => Next::Value,
                (Next::Name | Next::NameOrEnd, b'"') => {
                    let from = self.at;
                    let escaped = self.string()?;
                    if depth == 1 {
                        named(self.bytes.get(from..self.at - 1).unwrap_or_default(), escaped);
                    }
                    self.skip_blanks();
                    self.word(b":")?;
                    Next::Value
                }
                (Next::Value | Next::ValueOrEnd, b'{' | b'[') => {
                    if depth == DEPTH_MAX {
                        return None;
                    }
                    depth += 1;
                    levels = levels << 1 | u128::from(byte == b'{');
                    if byte == b'{' { Next::NameOrEnd } else { Next::ValueOrEnd }
                }
                (Next::Value | Next::ValueOrEnd, _) => {
                    self.scalar(byte)?;
                    Next::CommaOrEnd
                }
                (Next::Name | Next::NameOrEnd | Next::CommaOrEnd, _) => return None,
            };
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Any value.
    pub(crate) fn value(&mut self) -> Option<()> {
        match self.next()? {
            first @ (b'{' | b'[') => self.nested(first, &mut |_, _| {}),
            first => self.scalar(first),
        }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Takes the next byte.
    pub(crate) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Takes the blanks that are next.
    pub(crate) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    fn close(&self, depth: &mut u32, levels: &mut u128) -> Next {
        debug_assert!(*depth > 0 && self.at > 0, "what is closed was opened");
        *depth = depth.saturating_sub(1);
        *levels >>= 1;
        Next::CommaOrEnd
    }

    /// Takes these bytes.
    pub(crate) fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    /// What is neither an object nor an array; its first byte has been taken.
    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b'"' => self.string().map(|_| ()),
            b't' => self.word(b"rue"),
            b'f' => self.word(b"alse"),
            b'n' => self.word(b"ull"),
            b'-' => {
                let first = self.next()?;
                self.number(first)
            }
            _ => self.number(first),
        }
    }

    /// A number, however large; its first digit has been taken.
    pub(crate) fn number(&mut self, first: u8) -> Option<()> {
        match first {
            b'0' => {}
            b'1'..=b'9' => _ = self.digits(),
            _ => return None,
        }
        if self.word(b".").is_some() && self.digits() == 0 {
            return None;
        }
        if self.word(b"e").or_else(|| self.word(b"E")).is_some() {
            let _ = self.word(b"+").or_else(|| self.word(b"-"));
            if self.digits() == 0 {
                return None;
            }
        }
        Some(())
    }

    fn digits(&mut self) -> usize {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - from
    }

    /// A string, whose first quote has been taken; says whether something in it is escaped.
    pub(crate) fn string(&mut self) -> Option<bool> {
        let mut escaped = false;
        loop {
            match self.next()? {
                b'"' => return Some(escaped),
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                byte if byte < b' ' => return None,
                _ => {}
            }
        }
    }

    #[inline(never)]
    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.four_digits()? {
                // Half a character is none, and many readers refuse it.
                0xd800..=0xdbff => {
                    self.word(b"\\u")?;
                    matches!(self.four_digits()?, 0xdc00..=0xdfff).then_some(())
                }
                0xdc00..=0xdfff => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

/// What a string with escapes means, which was read as one before.
pub(crate) fn unescaped(written: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(written.len());
    let mut text = Text { bytes: written, at: 0 };
    while let Some(byte) = text.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        let meant = match text.next() {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let mut unit = text.four_digits().unwrap_or_default();
                if let 0xd800..=0xdbff = unit
                    && text.word(b"\\u").is_some()
                {
                    unit = 0x1_0000 + ((unit & 0x3ff) << 10 | text.four_digits().unwrap_or_default() & 0x3ff);
                }
                char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            // A quote, a slash or a backslash.
            other => char::from(other.unwrap_or_default()),
        };
        plain.extend_from_slice(meant.encode_utf8(&mut [0; 4]).as_bytes());
    }
    plain
}
