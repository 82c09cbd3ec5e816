//! Lines as JSON objects, with a reader that others wrote as the judge: whatever a service writes, one line of valid JSON comes out,
//! which says what we know of it once, and nothing of the line is lost or changed. The first byte says how the stream is cut into
//! pieces.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use tinysup::event::{Child, InstanceId, Role, Sink, Spare, Time, Wall};
use tinysup::line::json::{Members, Writer};
use tinysup::line::{Format, Style};
use tinysup::logs::{Lines, Logs, Speaker, Way};

/// Deeper lines are text.
const DEPTH_MAX: usize = 100;

const CHILD: Child = Child { instance: InstanceId(0), run: 1, role: Role::Main };

/// The names of an object's members in their order, whatever their values are: numbers that are too large for anybody, too.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn members() -> Members {
    Members::at(Wall(0)).text("service", "a\"b").number("instance", 1).text("stream", "stdout")
}

fn ours() -> [(&'static str, Value); 4] {
    [
        ("time", json!("1970-01-01T00:00:00.000Z")),
        ("service", json!("a\"b")),
        ("instance", json!(1)),
        ("stream", json!("stdout")),
    ]
}

pub fn run(bytes: &[u8]) {
    let Some((most, text)) = bytes.split_first() else { return };
    let members = members();
    let writer = Writer::new(&members);
    let mut all = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let from = all.len();
        writer.line(&mut all, line);
        check(line, &all[from..]);
    }
    for piece in [false, true] {
        let mut out = Vec::new();
        if piece {
            writer.piece(&mut out, text);
        } else {
            writer.message(&mut out, text);
        }
        let mut expected = object();
        expected.insert("message".into(), String::from_utf8_lossy(text).into());
        if piece {
            expected.insert("partial".into(), true.into());
        }
        assert_eq!(one_line(&out), Some(expected));
    }
    assert!(stream(text, usize::from(*most)) == all, "cut into pieces, it is the same");
}

fn object() -> Map<String, Value> {
    ours().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A line of output, if all of its numbers are some that a double can hold.
fn one_line(out: &[u8]) -> Option<Map<String, Value>> {
    assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1), "one line");
    serde_json::from_slice(out).ok()
}

fn check(line: &[u8], out: &[u8]) {
    let names = serde_json::from_slice::<Names>(out)
        .unwrap_or_else(|error| panic!("{error}: {}", out.escape_ascii()));
    let found = one_line(out);
    let mut as_text = object();
    as_text.insert("message".into(), String::from_utf8_lossy(line).into());
    let object = serde_json::from_slice::<Map<String, Value>>(line).ok();
    if found.as_ref() == Some(&as_text) {
        let deep = object.is_some_and(|object| depth(&Value::Object(object)) > DEPTH_MAX);
        assert!(deep || serde_json::from_slice::<Map<String, Value>>(line).is_err(), "an object is taken in");
        assert_eq!(names.0.len(), 5);
        return;
    }
    // All of it is there, byte for byte, after what is ours.
    let open = line.iter().position(|byte| *byte == b'{').expect("an object begins");
    let close = line.iter().rposition(|byte| *byte == b'}').expect("and ends");
    let inner = line[open + 1..close].trim_ascii();
    let head =
        out.strip_suffix(b"}\n").and_then(|out| out.strip_suffix(inner)).expect("nothing is lost or changed");
    let head = [head.strip_suffix(b",").unwrap_or(head), b"}"].concat();
    let head: Map<String, Value> = serde_json::from_slice(&head).expect("what is ours");
    let theirs = serde_json::from_slice::<Names>(line).expect("what is taken in is an object").0;
    let mut expected = Map::new();
    for (name, value) in ours() {
        let other = format!("tinysup_{name}");
        let has = |name: &str| theirs.iter().any(|there| there == name);
        match (has(name), has(&other)) {
            (false, _) => _ = expected.insert(name.into(), value),
            (true, false) => _ = expected.insert(other, value),
            (true, true) => {}
        }
    }
    assert_eq!(head, expected, "{}", line.escape_ascii());
    assert_eq!(names.0.len(), expected.len() + theirs.len(), "each once");
}

fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(values) => values.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + below.unwrap_or(0)
}

/// What comes of it when it is read in pieces.
fn stream(text: &[u8], most: usize) -> Vec<u8> {
    let mut logs = Logs::default();
    let speaker = Speaker { name: "a", service: "a\"b", instance: 1, sink: Sink::Stdout, pid: None };
    let mut out = Vec::new();
    let mut add = |lines: Lines<'_>| {
        let mut spare = Spare::default();
        out.append(&mut lines.written(Format::Json, Style::default(), speaker, Way::Container, &mut spare));
    };
    for piece in text.chunks(1 + most) {
        logs.take(Time::ZERO, Wall(0), CHILD, Sink::Stdout, piece).into_iter().flatten().for_each(&mut add);
    }
    logs.end(Time::ZERO, CHILD, Sink::Stdout).into_iter().for_each(add);
    out
}
