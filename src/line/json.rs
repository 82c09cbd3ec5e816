//! Lines as JSON objects: what we know of a line, then the line. A line that is an object itself is taken in: its members pass byte
//! for byte, and where they have a name of ours, ours gets another. Whatever comes in, valid JSON goes out.

pub(crate) mod text;

use crate::event::Wall;

use self::text::{Text, is_blank, string, unescaped};

/// What stands before the name of a member of ours that the line has itself.
const OTHER: &str = "tinysup_";

/// What is said of a line besides the line: members in their order.
#[derive(Debug, Default)]
pub struct Members(Vec<(&'static str, Vec<u8>)>);

impl Members {
    /// Begins with the time.
    pub fn at(at: Wall) -> Self {
        let mut value = vec![b'"'];
        super::time(&mut value, at);
        value.push(b'"');
        Self(vec![("time", value)])
    }

    /// Adds a text.
    #[must_use]
    pub fn text(mut self, name: &'static str, text: &str) -> Self {
        let mut value = Vec::with_capacity(text.len() + 2);
        string(&mut value, text.as_bytes());
        self.0.push((name, value));
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, name: &'static str, number: i64) -> Self {
        self.0.push((name, number.to_string().into_bytes()));
        self
    }

    /// The beginning of an object, before the line.
    fn head(&self) -> Vec<u8> {
        let mut head = vec![b'{'];
        for (name, value) in &self.0 {
            member(&mut head, "", name, value);
        }
        head
    }

    /// The same beside an object that has some names itself.
    fn head_beside(&self, taken: u64) -> Vec<u8> {
        let mut head = vec![b'{'];
        for (index, (name, value)) in self.0.iter().enumerate() {
            match (taken & own_bit(index) != 0, taken & other_bit(index) != 0) {
                (false, _) => member(&mut head, "", name, value),
                (true, false) => member(&mut head, OTHER, name, value),
                // It has both: then it has been here before.
                (true, true) => {}
            }
        }
        head
    }
}

fn own_bit(index: usize) -> u64 {
    1 << (2 * index).min(62)
}

fn other_bit(index: usize) -> u64 {
    own_bit(index) << 1
}

fn member(out: &mut Vec<u8>, before: &str, name: &str, value: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
    out.push(b',');
}

/// Writes many lines with the same members.
#[derive(Debug)]
pub struct Writer<'a> {
    members: &'a Members,
    head: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer for lines of which this is said.
    pub fn new(members: &'a Members) -> Self {
        Self { head: members.head(), members }
    }

    /// Appends a whole line, which is given without its end.
    pub fn line(&self, out: &mut Vec<u8>, line: &[u8]) {
        let Some(object) = Object::read(line, self.members) else { return self.message(out, line) };
        match object.taken {
            0 => out.extend_from_slice(&self.head),
            taken => out.extend_from_slice(&self.members.head_beside(taken)),
        }
        if object.members.is_empty() && out.last() == Some(&b',') {
            out.pop();
        }
        out.extend_from_slice(object.members);
        out.extend_from_slice(b"}\n");
    }

    /// Appends a text, whatever it is.
    pub fn message(&self, out: &mut Vec<u8>, text: &[u8]) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"\"message\":");
        string(out, text);
        out.extend_from_slice(b"}\n");
    }

    /// Appends a piece of a line whose rest follows.
    pub fn piece(&self, out: &mut Vec<u8>, text: &[u8]) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"\"partial\":true,\"message\":");
        string(out, text);
        out.extend_from_slice(b"}\n");
    }
}

/// A line that is a JSON object.
struct Object<'a> {
    /// What stands between its braces, without blanks around it.
    members: &'a [u8],
    /// Which names of ours it has, and which that those get then: two bits for each.
    taken: u64,
}

impl<'a> Object<'a> {
    /// Reads a line as RFC 8259 has it; `None` if it is anything but one object. What is nested too deep is text, too.
    fn read(line: &'a [u8], ours: &Members) -> Option<Self> {
        let start = line.iter().position(|byte| !is_blank(*byte))?;
        // Most lines are text.
        if line.get(start) != Some(&b'{') || std::str::from_utf8(line).is_err() {
            return None;
        }
        let mut text = Text { bytes: line, at: start + 1 };
        let mut taken = 0;
        text.nested(b'{', &mut |name, escaped| {
            taken |= if escaped { ours.bits_of(&unescaped(name)) } else { ours.bits_of(name) };
        })?;
        let members = line.get(start + 1..text.at - 1).unwrap_or_default();
        text.skip_blanks();
        (text.at == line.len()).then(|| Self { members: members.trim_ascii(), taken })
    }
}

impl Members {
    /// The bits of a name that is one of ours.
    fn bits_of(&self, name: &[u8]) -> u64 {
        let (name, other) = match name.strip_prefix(OTHER.as_bytes()) {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        match self.0.iter().position(|(ours, _)| ours.as_bytes() == name) {
            Some(index) if other => other_bit(index),
            Some(index) => own_bit(index),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::text::DEPTH_MAX;
    use super::*;
    use crate::numbers::Numbers;

    fn members() -> Members {
        Members::at(Wall(0)).text("service", "a\"b").number("pid", 7)
    }

    fn line(text: impl AsRef<[u8]>) -> String {
        let (members, mut out) = (members(), Vec::new());
        Writer::new(&members).line(&mut out, text.as_ref());
        String::from_utf8(out).unwrap()
    }

    const HEAD: &str = r#"{"time":"1970-01-01T00:00:00.000Z","service":"a\"b","pid":7"#;

    #[test]
    fn a_text_becomes_a_message() {
        for (text, expected) in [
            (&b"plain"[..], r#""plain""#),
            (b"", r#""""#),
            (b"quote \" backslash \\ slash /", r#""quote \" backslash \\ slash /""#),
            (b"\0\x01\x1f\t\r\n\x08\x7f", "\"\\u0000\\u0001\\u001f\\t\\r\\n\\b\x7f\""),
            ("grün 日本".as_bytes(), "\"grün 日本\""),
            (b"\xff\xfe a \xe2\x82", "\"\u{fffd}\u{fffd} a \u{fffd}\""),
            (b"\xed\xa0\x80", "\"\u{fffd}\u{fffd}\u{fffd}\""),
            // None of these is an object.
            (b"[1]", r#""[1]""#),
            (b"{\"a\":1} b", r#""{\"a\":1} b""#),
            (b"{\"a\":1}{}", r#""{\"a\":1}{}""#),
            (b"{\"a\":\xff}", "\"{\\\"a\\\":\u{fffd}}\""),
            (b"{\"a\":\"\\ud800\"}", r#""{\"a\":\"\\ud800\"}""#),
            (b"{'a':1}", r#""{'a':1}""#),
            (b"{", r#""{""#),
        ] {
            assert_eq!(line(text), format!("{HEAD},\"message\":{expected}}}\n"), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn an_object_keeps_every_byte_of_its_members() {
        for (text, expected) in [
            ("{}", ""),
            (" { } \r", ""),
            (r#"{"level":"info","msg":"x"}"#, r#","level":"info","msg":"x""#),
            (r#"{ "n" : 1e999 , "m":-0.00 }"#, r#","n" : 1e999 , "m":-0.00"#),
            (r#"{"a":1,"a":2}"#, r#","a":1,"a":2"#),
            (r#"{"a":{"time":1,"pid":[{}]}}"#, r#","a":{"time":1,"pid":[{}]}"#),
            (r#"{"message":"x","partial":1}"#, r#","message":"x","partial":1"#),
            (r#"{"s":"\ud83d\ude00\u0000"}"#, r#","s":"\ud83d\ude00\u0000""#),
        ] {
            assert_eq!(line(text), format!("{HEAD}{expected}}}\n"), "{text}");
        }
    }

    #[test]
    fn a_name_of_ours_that_the_line_has_gives_way() {
        let time = "\"1970-01-01T00:00:00.000Z\"";
        for (text, expected) in [
            (r#"{"pid":1}"#, format!(r#"{{"time":{time},"service":"a\"b","tinysup_pid":7,"pid":1}}"#)),
            (
                r#"{"time":5,"x":0}"#,
                format!(r#"{{"tinysup_time":{time},"service":"a\"b","pid":7,"time":5,"x":0}}"#),
            ),
            (
                r#"{"t\u0069me":5}"#,
                format!(r#"{{"tinysup_time":{time},"service":"a\"b","pid":7,"t\u0069me":5}}"#),
            ),
            (
                r#"{"tinysup_pid":2,"pid":1}"#,
                format!(r#"{{"time":{time},"service":"a\"b","tinysup_pid":2,"pid":1}}"#),
            ),
            (
                r#"{"tinysup_pid":2}"#,
                format!(r#"{{"time":{time},"service":"a\"b","pid":7,"tinysup_pid":2}}"#),
            ),
            (
                r#"{"pid":1,"service":2,"time":3}"#,
                format!(
                    r#"{{"tinysup_time":{time},"tinysup_service":"a\"b","tinysup_pid":7,"pid":1,"service":2,"time":3}}"#
                ),
            ),
        ] {
            assert_eq!(line(text), format!("{expected}\n"), "{text}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_text() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        let deepest = DEPTH_MAX as usize;
        assert!(line(nested(deepest)).contains("\"a\":[[["));
        assert!(line(nested(deepest + 1)).contains("\"message\":\"{\\\"a"));
        let endless = "{\"a\":".repeat(20_000);
        assert!(line(&endless).contains("\"message\":"));
    }

    #[test]
    fn pieces_are_marked() {
        let (members, mut out) = (members(), Vec::new());
        Writer::new(&members).piece(&mut out, b"{\"a\":1}");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{HEAD},\"partial\":true,\"message\":\"{{\\\"a\\\":1}}\"}}\n")
        );
    }

    /// What another reader makes of it. That one gives numbers up that are too large for it.
    fn read(text: &[u8]) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// Pieces of JSON, right and wrong, put together at random: what we take for an object, another reader takes for one too, and what goes out
    /// he can always read.
    #[test]
    fn another_reader_is_of_the_same_opinion() {
        const PARTS: &[&[u8]] = &[
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"\"",
            b"\\",
            b"\\u",
            b"d83d",
            b"\\ude00",
            b"\\n",
            b"\"a\"",
            b"\"time\"",
            b"\"pid\":",
            b"\"a\":1",
            b"\"b\":{}",
            b"\"c\":[]",
            b",\"d\":\"\"",
            b"1",
            b"-",
            b"0",
            b".",
            b"5",
            b"e",
            b"E+3",
            b"true",
            b"false",
            b"null",
            b"tru",
            b" ",
            b"\t",
            b"\r",
            b"\0",
            b"\x1f",
            b"\xff",
            b"\xc3",
            "ü".as_bytes(),
            b"x",
        ];
        let seed = std::env::var("TINYSUP_FUZZ_SEED").map_or(1, |seed| seed.parse().unwrap());
        let rounds = std::env::var("TINYSUP_FUZZ_ROUNDS").map_or(200_000, |rounds| rounds.parse().unwrap());
        let (mut dice, mut objects, mut known) = (Numbers::new(seed), 0, 0);
        for round in 0..rounds {
            let mut text = Vec::new();
            if dice.below(4) > 0 {
                text.push(b'{');
            }
            for _ in 0..dice.below(9) {
                if dice.below(30) == 0 {
                    text.push(u8::try_from(dice.below(256)).unwrap());
                }
                text.extend_from_slice(PARTS[dice.index(PARTS.len())]);
            }
            if dice.below(4) > 0 {
                text.push(b'}');
            }
            let told = || format!("seed {seed}, round {round}: {}", text.escape_ascii());
            let ours = Object::read(&text, &members()).is_some();
            let theirs = match read(&text) {
                Ok(value) => value.is_object(),
                Err(error) if error.to_string().contains("number out of range") => continue,
                Err(_) => false,
            };
            assert_eq!(ours, theirs, "{}", told());
            objects += u32::from(ours);
            let out = line(&text);
            assert_eq!(out.matches('\n').count(), 1, "{}", told());
            let value = read(out.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}: {out}", told()));
            let Value::Object(out) = value else { panic!("{}", told()) };
            if let (true, Ok(Value::Object(was))) = (ours, read(&text)) {
                known += was.len();
                for (name, value) in was {
                    assert_eq!(out.get(&name), Some(&value), "{}", told());
                }
            } else {
                assert_eq!(out["message"], String::from_utf8_lossy(&text).as_ref(), "{}", told());
            }
            for (name, there) in [("time", "1970"), ("service", "a\"b"), ("pid", "7")] {
                let is =
                    |name: &str| out.get(name).is_some_and(|v| v.to_string().contains(there) || v == there);
                assert!(is(name) || is(&format!("tinysup_{name}")), "{} lost: {}", name, told());
            }
        }
        assert!(objects > 1000 && known > 1000, "{objects} objects, {known} members: this proves little");
    }
}
