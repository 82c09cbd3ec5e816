//! What the services write: lines of all lengths and kinds, most of them with a number, and where their calls cut them.

use crate::rng::Rng;

/// Numbers and makes lines.
pub struct Text {
    last: u64,
    /// Every line has a number, so that each that lacks is known.
    pub numbered: bool,
}

/// Lengths that buffers and limits have.
const EDGES: [usize; 8] = [63, 64, 128, 512, 4095, 4096, 32_768, 65_535];

/// Objects, and what is nearly one. `N` becomes the number.
const OBJECTS: [&str; 18] = [
    r#"{"n":N}"#,
    "{}",
    r#" { "n" : N , "msg" : "x\ty" } "#,
    r#"{"n":N,"time":"never","pid":1}"#,
    r#"{"n":N,"tinysup_pid":4,"pid":5,"message":"mine"}"#,
    r#"{"n":N,"stream":null,"service":[1,{"service":2}],"instance":{}}"#,
    r#"{"n":N,"big":123456789012345678901234567890.10e500,"b":1,"b":2}"#,
    r#"{"n":N,"s":"\ud83d\ude00 \u0000"}"#,
    r#"{"n":N,"s":"\ud800"}"#,
    r#"{"n":N,"partial":true,"level":"error"}"#,
    r#"{"n":N,"t\u0069me":1}"#,
    r#"{"n":N} x"#,
    r#"{"n":N,}"#,
    r#"{"n":0N}"#,
    r#"["N"]"#,
    r#"{"n":N,"a":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}"#,
    "{\"n\":N}\r",
    "{\"n\":N,\"é\":\"日本\"}",
];

#[derive(Clone, Copy)]
enum Kind {
    Empty,
    Short,
    Plain,
    Edge,
    Huge,
    Object,
    Bytes,
    Words,
    Deep,
}

impl Text {
    pub fn new(numbered: bool) -> Self {
        Self { last: 0, numbered }
    }

    /// A line with nothing but its number, without its end.
    pub fn number(&mut self) -> Vec<u8> {
        self.last += 1;
        format!("<{:06}> some text ", self.last).into_bytes()
    }

    /// A line without its end, most often with a number.
    pub fn line(&mut self, rng: &mut Rng, large: bool) -> Vec<u8> {
        self.last += 1;
        let number = format!("<{:06}>", self.last);
        let odd = if self.numbered { 0 } else { 6 };
        let huge = if large { 2 } else { 0 };
        let kind = rng.weighted(&[
            (30, Kind::Plain),
            (odd, Kind::Empty),
            (odd, Kind::Short),
            (6, Kind::Edge),
            (huge, Kind::Huge),
            (if self.numbered { 0 } else { 12 }, Kind::Object),
            (8, Kind::Bytes),
            (8, Kind::Words),
            (1, Kind::Deep),
        ]);
        let rest = |rng: &mut Rng, length: usize, alphabet: &[u8]| {
            let mut own = rng.fork();
            (0..length).map(|_| *own.pick(alphabet)).collect::<Vec<u8>>()
        };
        let letters: &[u8] = b"abcdefghij klmno|=:0123456789\t";
        let mut line = number.clone().into_bytes();
        line.extend_from_slice(b" some text ");
        match kind {
            Kind::Empty => return Vec::new(),
            Kind::Short => {
                let length = rng.index(7);
                return rest(rng, length, b"ab\r");
            }
            Kind::Plain => {
                let most = 1 << rng.between(1, 9);
                let length = rng.index(most);
                line.extend(rest(rng, length, letters));
            }
            Kind::Edge => {
                let most = if large { EDGES.len() } else { EDGES.len() - 2 };
                let edge = EDGES[rng.index(most)] + rng.index(4) - 1;
                let length = edge.saturating_sub(line.len());
                line.extend(rest(rng, length, letters));
            }
            Kind::Huge => {
                let length = rng.index(300_000);
                line.extend(rest(rng, length, b"abcdefghij"));
            }
            Kind::Object => {
                return rng.pick(&OBJECTS).replace('N', &(1_000_000 + self.last).to_string()).into_bytes();
            }
            Kind::Bytes => {
                let length = rng.index(100);
                let all: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
                line.extend(rest(rng, length, &all));
            }
            Kind::Words => {
                let words = ["grün", "日本", "😀", "\u{0}", "\u{1b}[31m", "\r", "e\u{301}", "\"", "\\"];
                let large = if large { 12 } else { 0 };
                let count = rng.weighted(&[(12, 20), (1, 20_000 * usize::from(large > 0))]);
                let mut own = rng.fork();
                for _ in 0..count {
                    line.extend_from_slice(own.pick(&words).as_bytes());
                }
            }
            Kind::Deep => {
                let depth = *rng.pick(&[98_usize, 150]);
                return [
                    &b"{\"n\":\""[..],
                    number.as_bytes(),
                    b"\",\"a\":",
                    &b"[".repeat(depth),
                    &b"]".repeat(depth),
                    b"}",
                ]
                .concat();
            }
        }
        line
    }

    /// Some lines, the last of which may lack its end, cut into calls.
    pub fn calls(&mut self, rng: &mut Rng, lines: u64, large: bool, open: bool) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for _ in 0..lines {
            all.extend(self.line(rng, large));
            all.push(b'\n');
        }
        if open {
            all.extend(self.line(rng, large));
        }
        let mut calls = Vec::new();
        let whole = rng.per_mille(500);
        while !all.is_empty() {
            let most = 1 << rng.between(1, 17);
            let length = if whole || calls.len() > 200 { all.len() } else { 1 + rng.index(most) };
            let rest = all.split_off(length.min(all.len()));
            calls.push(std::mem::replace(&mut all, rest));
        }
        calls
    }
}
