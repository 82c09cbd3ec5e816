//! How the protocol's types stand in a line. Each type is a table of its fields, and one writer and one reader walk them all: readers
//! that `serde` derives are a function for each type, ten times as large together. It derives the same form for others, and for
//! the tests that hold the two against each other.

use super::{
    Answer, Change, Description, EventLine, Exit, Holder, LogLine, Memory, Refusal, Refused, Request,
    ServiceMemory, ServiceStatus, Status, Stream, Verb, Verdict, Wanted,
};
use crate::gather::{one_by_one, replaced, word};
use crate::line::json::text::{Text, string, unescaped};

/// Something read, or a sentence that says what is wrong with it: one that cannot grow, so that nothing but it fits into two registers.
pub(super) type Read<T = ()> = Result<T, Box<str>>;

/// What can stand in a field.
pub(super) trait Value {
    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);
    /// Becomes what comes next in the text.
    fn read(&mut self, text: &mut Text<'_>) -> Read;
    /// Whether it may be left out.
    fn may_lack(&self) -> bool {
        false
    }
}

/// An object with these names, and a value for each.
pub(super) trait Record {
    /// One text, with a blank between two: a list takes 16 bytes more for each.
    fn names(&self) -> &'static str;
    fn values(&self) -> Vec<&dyn Value>;
    fn values_mut(&mut self) -> Vec<&mut dyn Value>;
}

/// A word for each of some values, with a blank between two.
trait Word: Copy + PartialEq + 'static {
    const WORDS: &'static str;
    const VALUES: &'static [Self];
}

/// One type with its fields: all of them, or it does not compile.
macro_rules! record {
    ($type:ident: $($field:ident),+) => {
        impl Record for $type {
            fn names(&self) -> &'static str {
                const { concat!($(stringify!($field), " "),+).trim_ascii_end() }
            }

            fn values(&self) -> Vec<&dyn Value> {
                let Self { $($field),+ } = self;
                vec![$($field),+]
            }

            fn values_mut(&mut self) -> Vec<&mut dyn Value> {
                let Self { $($field),+ } = self;
                vec![$($field),+]
            }
        }

        impl Value for $type {
            fn write(&self, out: &mut Vec<u8>) {
                write_record(self, out);
            }

            fn read(&mut self, text: &mut Text<'_>) -> Read {
                read_record(self, text, false)
            }
        }
    };
}

record! { Request: v, verb, names, wait, dependents, dry_run, signal, group, follow, lines, since_ms, stream, state, timeout_ms, pss }
record! { Status: v, up_ms, stopping, ok, config, services }
record! { ServiceStatus:
    name, service, instance, kind, state, ok, pid, up_ms, restarts, max_restarts, resets_in_ms, next_start_ms, runs, cpu_ms,
    memory_bytes, memory_limit_bytes, processes, missed, says, last_line, waits_for, lacks, last_exit
}
record! { Exit: text, code, asked, ago_ms, up_ms, times }
record! { Description: status, settings, depends_on, dependents, listens, memory, container_limit_bytes, memory_found, exits }
record! { Memory: v, found, controller, used_bytes, charged_bytes, peak_bytes, limit_bytes, machine_bytes, services }
record! { ServiceMemory: name, bytes, pss_bytes, peak_bytes, restart_bytes, limit_bytes, processes, most }
record! { Holder: pid, name, bytes }
record! { Change: name, text, ok }
record! { Verdict: ok, text }
record! { LogLine: name, stream, ago_ms, text, dropped }
record! { EventLine: seq, ago_ms, kind, name, level, text }
record! { Refusal: why, text }

impl Word for Verb {
    const WORDS: &'static str =
        "status describe memory start stop restart signal logs events wait health update reopen shutdown";
    const VALUES: &'static [Self] = &[
        Self::Status,
        Self::Describe,
        Self::Memory,
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Signal,
        Self::Logs,
        Self::Events,
        Self::Wait,
        Self::Health,
        Self::Update,
        Self::Reopen,
        Self::Shutdown,
    ];
}

impl Word for Stream {
    const WORDS: &'static str = "stdout stderr";
    const VALUES: &'static [Self] = &[Self::Stdout, Self::Stderr];
}

impl Word for Wanted {
    const WORDS: &'static str = "live ready completed stopped";
    const VALUES: &'static [Self] = &[Self::Live, Self::Ready, Self::Completed, Self::Stopped];
}

impl Word for Refused {
    const WORDS: &'static str =
        "request version no-such-service forbidden stopping dependencies state configuration busy";
    const VALUES: &'static [Self] = &[
        Self::Request,
        Self::Version,
        Self::NoSuchService,
        Self::Forbidden,
        Self::Stopping,
        Self::Dependencies,
        Self::State,
        Self::Configuration,
        Self::Busy,
    ];
}

/// An answer is an object with one name, that of its kind; the last has no value and is the name alone.
impl Value for Answer {
    fn write(&self, out: &mut Vec<u8>) {
        let (kind, value): (&str, &dyn Value) = match self {
            Self::Status(status) => ("status", status),
            Self::Describe(all) => ("describe", all),
            Self::Memory(memory) => ("memory", &**memory),
            Self::Changed(changes) => ("changed", changes),
            Self::Verdict(verdict) => ("verdict", verdict),
            Self::Log(line) => ("log", line),
            Self::Event(line) => ("event", line),
            Self::End => return string(out, b"end"),
            Self::Refused(refusal) => ("refused", refusal),
        };
        write_members(kind, &[value], out);
    }

    fn read(&mut self, text: &mut Text<'_>) -> Read {
        if text.peek() == Some(b'"') {
            return match text.word(b"\"end\"") {
                Some(()) => {
                    *self = Self::End;
                    Ok(())
                }
                None => wrong("another kind of answer was expected"),
            };
        }
        let mut complete = false;
        members(text, &mut |kind, text| {
            if complete {
                return wrong("an answer has one kind");
            }
            complete = true;
            *self = match kind {
                "status" => Self::Status(fresh()),
                "describe" => Self::Describe(fresh()),
                "memory" => Self::Memory(fresh()),
                "changed" => Self::Changed(fresh()),
                "verdict" => Self::Verdict(fresh()),
                "log" => Self::Log(fresh()),
                "event" => Self::Event(fresh()),
                "refused" => Self::Refused(fresh()),
                _ => return wrong("another kind of answer was expected"),
            };
            let value: &mut dyn Value = match self {
                Self::Status(status) => status,
                Self::Describe(all) => all,
                Self::Memory(memory) => &mut **memory,
                Self::Changed(changes) => changes,
                Self::Verdict(verdict) => verdict,
                Self::Log(line) => line,
                Self::Event(line) => line,
                Self::End => return Ok(()),
                Self::Refused(refusal) => refusal,
            };
            value.read(text)
        })?;
        if complete { Ok(()) } else { wrong("an answer has a kind") }
    }
}

/// A line of its own, with its end.
pub(super) fn line(value: &dyn Value) -> Vec<u8> {
    let mut line = Vec::new();
    add_line(value, &mut line);
    line
}

/// Adds a line, with its end.
pub(super) fn add_line(value: &dyn Value, out: &mut Vec<u8>) {
    value.write(out);
    out.push(b'\n');
}

/// Reads a whole line.
pub(super) fn whole(line: &[u8], read: &mut dyn FnMut(&mut Text<'_>) -> Read) -> Read {
    if std::str::from_utf8(line).is_err() {
        return wrong("it is not UTF-8");
    }
    let mut text = Text { bytes: line, at: 0 };
    text.skip_blanks();
    let result = read(&mut text).and_then(|()| {
        text.skip_blanks();
        if text.at == line.len() { Ok(()) } else { wrong("it goes on behind its end") }
    });
    result.map_err(|why| format!("{why} at column {}", text.at).into())
}

/// Reads an object. A request must not ask for what is not known here, and takes the usual for what it does not say. An answer may
/// say more than is known here, and no less.
pub(super) fn read_record(record: &mut dyn Record, text: &mut Text<'_>, asks: bool) -> Read {
    let names = record.names();
    let mut values = record.values_mut();
    let mut seen = 0_u64;
    members(text, &mut |name, text| {
        let known = names.split(' ').position(|known| known == name);
        match known.and_then(|index| Some((1 << index, values.get_mut(index)?))) {
            Some((bit, _)) if seen & bit != 0 => Err(format!("duplicate field `{name}`").into()),
            Some((bit, value)) => {
                seen |= bit;
                value.read(text)
            }
            None if asks => Err(unknown("field", name, names)),
            None => syntax(text.value()),
        }
    })?;
    for (index, (name, value)) in names.split(' ').zip(&values).enumerate() {
        if seen & 1 << index == 0 && !asks && !value.may_lack() {
            return Err(format!("missing field `{name}`").into());
        }
    }
    Ok(())
}

fn write_record(record: &dyn Record, out: &mut Vec<u8>) {
    write_members(record.names(), &record.values(), out);
}

fn write_members(names: &str, values: &[&dyn Value], out: &mut Vec<u8>) {
    let mut between = b'{';
    for (name, value) in names.split(' ').zip(values) {
        out.push(between);
        string(out, name.as_bytes());
        out.push(b':');
        value.write(out);
        between = b',';
    }
    out.push(b'}');
}

fn wrong(why: &str) -> Read {
    Err(why.into())
}

/// What the reader of JSON says of something, with a sentence.
fn syntax<T>(read: Option<T>) -> Read<T> {
    read.ok_or_else(|| "this is not JSON".into())
}

fn unknown(what: &str, name: &str, known: &str) -> Box<str> {
    format!("unknown {what} `{name}`, expected one of `{}`", replaced(known, ' ', "`, `")).into()
}

/// One with nothing in it, which is a lot to write for some. What is read is read into where it stays: a result is moved on each way out.
#[inline(never)]
fn fresh<T: Default>() -> T {
    T::default()
}

/// Takes the string that comes next.
fn read_string(text: &mut Text<'_>) -> Read<String> {
    if text.word(b"\"").is_none() {
        return Err("a string was expected".into());
    }
    let from = text.at;
    let escaped = syntax(text.string())?;
    let written = text.bytes.get(from..text.at - 1).unwrap_or_default();
    let plain = if escaped { unescaped(written) } else { written.to_vec() };
    syntax(String::from_utf8(plain).ok())
}

/// Takes the word that comes next: which of these it is.
#[inline(never)]
fn read_word(text: &mut Text<'_>, words: &str, number: &mut usize) -> Read {
    let written = read_string(text)?;
    match words.split(' ').position(|word| word == written) {
        Some(known) => *number = known,
        None => return Err(unknown("variant", &written, words)),
    }
    Ok(())
}

#[inline(never)]
fn write_word(words: &str, number: usize, out: &mut Vec<u8>) {
    string(out, word(words, number).unwrap_or_default().as_bytes());
}

/// Takes the object that comes next, member by member.
fn members(text: &mut Text<'_>, each: &mut dyn FnMut(&str, &mut Text<'_>) -> Read) -> Read {
    sequence(text, *b"{}", &mut |text| {
        let name = read_string(text)?;
        text.skip_blanks();
        syntax(text.word(b":"))?;
        text.skip_blanks();
        each(&name, text)
    })
}

/// Takes what stands between two brackets, separated by commas.
fn sequence(
    text: &mut Text<'_>,
    [open, close]: [u8; 2],
    each: &mut dyn FnMut(&mut Text<'_>) -> Read,
) -> Read {
    if text.word(&[open]).is_none() {
        return wrong(if open == b'{' { "an object was expected" } else { "an array was expected" });
    }
    text.skip_blanks();
    if text.word(&[close]).is_some() {
        return Ok(());
    }
    loop {
        text.skip_blanks();
        each(text)?;
        text.skip_blanks();
        match text.next() {
            Some(b',') => {}
            Some(byte) if byte == close => return Ok(()),
            _ => return syntax(None),
        }
    }
}

#[inline(never)]
fn write_list<'a>(next: &mut dyn FnMut() -> Option<&'a dyn Value>, out: &mut Vec<u8>) {
    let mut between = b'[';
    while let Some(value) = next() {
        out.push(between);
        value.write(out);
        between = b',';
    }
    if between == b'[' {
        out.push(between);
    }
    out.push(b']');
}

/// An integer as one is written in JSON, of those that a type has: from so far below 0 to so much. What is read is put where it goes: a
/// result is moved on each way out.
#[inline(never)]
fn read_integer(text: &mut Text<'_>, below: u64, most: u64, bits: &mut u64) -> Read {
    let negative = text.word(b"-").is_some();
    let from = text.at;
    let number = text.next().filter(u8::is_ascii_digit).and_then(|first| text.number(first));
    let digits = text.bytes.get(from..text.at).and_then(|digits| std::str::from_utf8(digits).ok());
    match number.and(digits).and_then(|digits| digits.parse::<u64>().ok()) {
        Some(0) if negative => wrong("a whole number was expected"),
        Some(number) if number > if negative { below } else { most } => wrong("this number is too large"),
        Some(number) => {
            *bits = if negative { number.wrapping_neg() } else { number };
            Ok(())
        }
        None => wrong("a whole number was expected"),
    }
}

fn write_integer(number: i128, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    let magnitude = u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX);
    out.extend_from_slice(magnitude.to_string().as_bytes());
}

macro_rules! integers {
    ($($type:ty: $below:expr, $most:expr, $of:expr;)+) => {$(
        impl Value for $type {
            fn write(&self, out: &mut Vec<u8>) {
                write_integer(i128::from(*self), out);
            }

            fn read(&mut self, text: &mut Text<'_>) -> Read {
                let mut bits = 0;
                let read = read_integer(text, $below, $most, &mut bits);
                *self = $of(bits);
                read
            }
        }
    )+};
}

integers! {
    u8: 0, u64::from(u8::MAX), |bits| (bits & 0xff) as u8;
    u32: 0, u64::from(u32::MAX), |bits| (bits & 0xffff_ffff) as u32;
    u64: 0, u64::MAX, std::convert::identity;
    i32: 1 << 31, (1 << 31) - 1, |bits: u64| ((bits & 0xffff_ffff) as u32).cast_signed();
}

impl Value for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }

    fn read(&mut self, text: &mut Text<'_>) -> Read {
        *self = text.word(b"true").is_some();
        if *self || text.word(b"false").is_some() { Ok(()) } else { wrong("true or false was expected") }
    }
}

impl Value for String {
    fn write(&self, out: &mut Vec<u8>) {
        string(out, self.as_bytes());
    }

    fn read(&mut self, text: &mut Text<'_>) -> Read {
        *self = read_string(text)?;
        Ok(())
    }
}

impl<T: Word> Value for T {
    fn write(&self, out: &mut Vec<u8>) {
        let number = Self::VALUES.iter().position(|value| value == self).unwrap_or(usize::MAX);
        write_word(Self::WORDS, number, out);
    }

    fn read(&mut self, text: &mut Text<'_>) -> Read {
        let mut number = usize::MAX;
        let read = read_word(text, Self::WORDS, &mut number);
        if let Some(value) = Self::VALUES.get(number) {
            *self = *value;
        }
        read
    }
}

impl<T: Value + Default> Value for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => out.extend_from_slice(b"null"),
        }
    }

    fn read(&mut self, text: &mut Text<'_>) -> Read {
        match text.word(b"null") {
            Some(()) => {
                *self = None;
                Ok(())
            }
            None => self.insert(fresh()).read(text),
        }
    }

    fn may_lack(&self) -> bool {
        true
    }
}

impl<T: Value + Default> Value for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        write_list(&mut one_by_one(self.iter().map(|value| value as &dyn Value)), out);
    }

    fn read(&mut self, text: &mut Text<'_>) -> Read {
        sequence(text, *b"[]", &mut |text| {
            self.push(fresh());
            self.last_mut().map_or(Ok(()), |value| value.read(text))
        })
    }
}

impl<T: Value> Value for (String, T) {
    fn write(&self, out: &mut Vec<u8>) {
        write_list(&mut one_by_one([&self.0 as &dyn Value, &self.1].into_iter()), out);
    }

    fn read(&mut self, text: &mut Text<'_>) -> Read {
        let mut parts = [&mut self.0 as &mut dyn Value, &mut self.1].into_iter();
        sequence(text, *b"[]", &mut |text| match parts.next() {
            Some(part) => part.read(text),
            None => wrong("two values were expected"),
        })?;
        if parts.next().is_some() { wrong("two values were expected") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit() -> Exit {
        Exit { text: "code 9".to_owned(), code: 9, asked: true, ago_ms: 1, up_ms: u64::MAX, times: 3 }
    }

    fn service() -> ServiceStatus {
        ServiceStatus {
            name: "api.2".to_owned(),
            instance: 2,
            ok: true,
            pid: Some(-7),
            up_ms: Some(0),
            says: Some("\u{8}\u{c}\n\r\t\"\\/ \u{1f} ü 日本 😀".to_owned()),
            waits_for: vec!["db".to_owned(), String::new()],
            last_exit: Some(exit()),
            ..ServiceStatus::default()
        }
    }

    fn memory() -> ServiceMemory {
        let most = Some(Holder { pid: 1, name: "api".to_owned(), bytes: 5 });
        ServiceMemory { name: "api".to_owned(), bytes: Some(1), most, ..ServiceMemory::default() }
    }

    /// One of each kind, and each field of another value than the usual somewhere.
    fn answers() -> Vec<Answer> {
        let description = Description {
            status: service(),
            settings: vec![("user".to_owned(), "app".to_owned())],
            depends_on: vec![("db (ready)".to_owned(), true), ("job".to_owned(), false)],
            memory: Some(memory()),
            exits: vec![exit(), Exit::default()],
            ..Description::default()
        };
        let change = Change { name: "api".to_owned(), text: "stopped".to_owned(), ok: true };
        let line = LogLine { stream: Some(Stream::Stderr), ago_ms: 7, dropped: 1, ..LogLine::default() };
        let mut all = vec![
            Answer::Status(Status { v: 1, config: Some("a".to_owned()), ..Status::default() }),
            Answer::Status(Status {
                services: vec![service(), ServiceStatus::default()],
                ..Status::default()
            }),
            Answer::Describe(vec![description, Description::default()]),
            Answer::Describe(Vec::new()),
            Answer::Memory(Box::new(Memory { services: vec![memory()], ..Memory::default() })),
            Answer::Changed(vec![change, Change::default()]),
            Answer::Verdict(Verdict { ok: true, text: "all is well".to_owned() }),
            Answer::Log(line),
            Answer::Event(EventLine { seq: 1, kind: "ready".to_owned(), ..EventLine::default() }),
            Answer::End,
        ];
        all.extend(
            Refused::VALUES
                .iter()
                .zip(Refused::WORDS.split(' '))
                .map(|(why, word)| Answer::refused(*why, word)),
        );
        all
    }

    #[test]
    fn what_is_written_is_what_serde_writes_and_both_read_it() {
        for answer in answers() {
            let line = answer.line();
            assert_eq!(line.strip_suffix(b"\n").unwrap(), serde_json::to_vec(&answer).unwrap());
            assert_eq!(Answer::parse(&line), Ok(answer.clone()));
            assert_eq!(serde_json::from_slice::<Answer>(&line).unwrap(), answer);
        }
        let usual = Request::default();
        let unusual = Request {
            v: 1,
            names: vec!["a".to_owned()],
            wait: true,
            signal: "HUP".to_owned(),
            lines: Some(0),
            stream: Some(Stream::Stdout),
            ..Request::default()
        };
        let verbs = Verb::VALUES.iter().map(|verb| Request { verb: *verb, ..Request::default() });
        let states = Wanted::VALUES.iter().map(|state| Request { state: Some(*state), ..Request::default() });
        for request in [usual, unusual].into_iter().chain(verbs).chain(states) {
            let line = request.line();
            assert_eq!(line.strip_suffix(b"\n").unwrap(), serde_json::to_vec(&request).unwrap());
            assert_eq!(Request::parse(&line), Ok(request));
        }
    }

    #[test]
    fn a_request_may_be_short_but_says_nothing_unknown() {
        for text in [
            "{}",
            " { \"verb\" : \"stop\" , \"names\" : [ \"a\" , \"b\" ] } \r",
            r#"{"verb":"st\u006fp","since_ms":null}"#,
        ] {
            assert_eq!(
                Request::parse(text.as_bytes()).unwrap(),
                serde_json::from_str(text).unwrap(),
                "{text}"
            );
        }
        for (text, why) in [
            ("", "an object was expected at column 0"),
            ("7", "an object was expected at column 0"),
            ("{", "a string was expected at column 1"),
            ("{}}", "it goes on behind its end at column 2"),
            (r#"{"v":1"#, "this is not JSON at column 6"),
            (r#"{"v" 1}"#, "this is not JSON at column 5"),
            (r#"{"v":1,}"#, "a string was expected at column 7"),
            (r#"{"v":1,"v":1}"#, "duplicate field `v` at column 11"),
            (r#"{"v":-1}"#, "this number is too large at column 7"),
            (r#"{"v":4294967296}"#, "this number is too large at column 15"),
            (r#"{"since_ms":18446744073709551616}"#, "a whole number was expected at column 32"),
            (r#"{"v":1.0}"#, "a whole number was expected at column 8"),
            (r#"{"v":01}"#, "this is not JSON at column 7"),
            (r#"{"v":"1"}"#, "a whole number was expected at column 6"),
            (r#"{"wait":1}"#, "true or false was expected at column 8"),
            (r#"{"names":"a"}"#, "an array was expected at column 9"),
            (r#"{"names":["a" "b"]}"#, "this is not JSON at column 15"),
            (r#"{"signal":"\ud800"}"#, "this is not JSON at column 17"),
            (
                r#"{"verb":"dance"}"#,
                "unknown variant `dance`, expected one of `status`, `describe`, `memory`",
            ),
            (r#"{"name":"a"}"#, "unknown field `name`, expected one of `v`, `verb`, `names`"),
        ] {
            let told = Request::parse(text.as_bytes()).unwrap_err();
            assert!(told.starts_with(&format!("this is no request: {why}")), "{text}: {told}");
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
        assert!(Request::parse(b"{\"signal\":\"\xff\"}").is_err());
    }

    #[test]
    fn an_answer_may_say_more_but_not_less() {
        let more = br#"{"verdict":{"text":"\u00fc\/\ud83d\ude00","later":[{"a":[1e9,null]},"x"],"ok":true}}"#;
        assert_eq!(Answer::parse(more), Ok(Answer::Verdict(Verdict { ok: true, text: "ü/😀".to_owned() })));
        let none = br#"{"log":{"name":"a","ago_ms":1,"text":"","dropped":0}}"#;
        assert_eq!(
            Answer::parse(none),
            Ok(Answer::Log(LogLine { name: "a".to_owned(), ago_ms: 1, ..LogLine::default() }))
        );
        for text in [
            r#"{"verdict":{"ok":true}}"#,
            r#"{"verdict":{"ok":true,"text":null}}"#,
            r#"{"dance":{}}"#,
            "{}",
            r#"{"verdict":{"ok":true,"text":""},"verdict":{"ok":true,"text":""}}"#,
            r#""start""#,
            r#"{"describe":[{}]}"#,
            r#"{"memory":null}"#,
        ] {
            assert!(
                Answer::parse(text.as_bytes()).is_err() && serde_json::from_str::<Answer>(text).is_err(),
                "{text}"
            );
        }
    }
}
