//! A command written as one string, split into words as a shell splits them: blanks separate, quotes and backslashes protect.
//! Nothing else of a shell happens here: no globs, no `~`; and what only a shell can do is an error that says so. Variables are
//! replaced afterwards, inside the words, so that no value ever becomes two words; in single quotes or after a backslash a `$` is
//! plain.

use std::ops::Range;

use super::interpolate::closing;

/// One word.
#[derive(Debug, PartialEq, Eq)]
pub struct Word {
    /// The word without its quotes, as a template: a protected `$` is `$$`.
    pub template: String,
    /// Where it is written.
    pub at: Range<usize>,
    /// Whether it stands there exactly as in `template`.
    pub verbatim: bool,
}

/// Why a string is not a command. In a box, as it is passed on in many places.
#[derive(Debug, PartialEq, Eq)]
pub struct NotWords {
    /// Where.
    pub at: Range<usize>,
    /// What is wrong; begins with a verb, to follow the key's name: `command has "&&", but …`.
    pub message: String,
    /// What helps.
    pub help: &'static str,
}

/// Splits a string into words.
///
/// # Errors
/// The first thing that only a shell can do, or an open quote.
pub fn split(text: &str) -> Result<Vec<Word>, Box<NotWords>> {
    let end = text.trim_end().len();
    let text = text.get(..end).unwrap_or(text);
    let mut splitter = Splitter { text, at: 0, words: Vec::new(), open: None };
    splitter.run()?;
    Ok(splitter.words)
}

struct Splitter<'a> {
    text: &'a str,
    at: usize,
    words: Vec<Word>,
    /// The word that is being read: where it began, and what it is so far.
    open: Option<(usize, String)>,
}

impl Splitter<'_> {
    #[inline(never)]
    fn run(&mut self) -> Result<(), Box<NotWords>> {
        while let Some(character) = self.peek() {
            match character {
                '\n' if !self.words.is_empty() || self.open.is_some() => {
                    let help = "one service runs one command; shell = true runs several (needs /bin/sh)";
                    return Err(self.shell_only("a line break", help));
                }
                ' ' | '\t' | '\r' | '\n' => {
                    self.close();
                    self.skip(1);
                }
                '\'' => self.single_quoted()?,
                '"' => self.double_quoted()?,
                '\\' => self.backslash(),
                '$' => self.dollar()?,
                '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' => return Err(self.operator(character)),
                _ => self.take(character),
            }
        }
        self.close();
        Ok(())
    }

    /// Where so many bytes further is. In one place, as every sum has its check.
    #[inline(never)]
    fn after(&self, bytes: usize) -> usize {
        self.at + bytes
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.after(bytes);
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn word(&mut self) -> &mut String {
        let at = self.at;
        &mut self.open.get_or_insert_with(|| (at, String::new())).1
    }

    /// Takes one character as it is.
    fn take(&mut self, character: char) {
        self.word().push(character);
        self.skip(character.len_utf8());
    }

    /// Takes one character that means nothing here, whatever it means elsewhere.
    fn take_plain(&mut self, character: char) {
        if character == '$' {
            self.word().push('$');
        }
        self.take(character);
    }

    fn close(&mut self) {
        if let Some((start, template)) = self.open.take() {
            let verbatim = self.text.get(start..self.at) == Some(template.as_str());
            self.words.push(Word { template, at: start..self.at, verbatim });
        }
    }

    fn single_quoted(&mut self) -> Result<(), Box<NotWords>> {
        let start = self.at;
        self.word();
        self.skip(1);
        loop {
            match self.peek() {
                Some('\'') => {
                    self.skip(1);
                    return Ok(());
                }
                Some(character) => self.take_plain(character),
                None => return Err(unclosed(start, "'")),
            }
        }
    }

    #[inline(never)]
    fn double_quoted(&mut self) -> Result<(), Box<NotWords>> {
        let start = self.at;
        self.word();
        self.skip(1);
        loop {
            match self.peek() {
                Some('"') => {
                    self.skip(1);
                    return Ok(());
                }
                Some('\\') => {
                    self.skip(1);
                    match self.peek() {
                        Some('\n') => self.skip(1),
                        Some(character @ ('$' | '"' | '\\' | '`')) => self.take_plain(character),
                        _ => self.word().push('\\'),
                    }
                }
                Some('$') => self.dollar()?,
                Some('`') => return Err(self.operator('`')),
                Some(character) => self.take(character),
                None => return Err(unclosed(start, "\"")),
            }
        }
    }

    #[inline(never)]
    fn backslash(&mut self) {
        let next = self.text.get(self.after(1)..).and_then(|rest| rest.chars().next());
        if next != Some('\n') {
            self.word(); // which begins at the backslash
        }
        self.skip(1);
        match next {
            Some('\n') => self.skip(1), // a line that goes on
            Some(character) => self.take_plain(character),
            None => self.word().push('\\'),
        }
    }

    /// A `$` that may begin a variable: `${…}` is taken whole, blanks and quotes inside it too.
    fn dollar(&mut self) -> Result<(), Box<NotWords>> {
        let rest = self.text.get(self.at..).unwrap_or("");
        if rest.starts_with("$(") {
            return Err(
                self.shell_only("\"$(\"", "set shell = true (needs /bin/sh), or put it into single quotes")
            );
        }
        let end = if rest.starts_with("${") {
            closing(self.text, self.at).map_or(self.text.len(), |close| close + 1)
        } else if rest.starts_with("$$") {
            self.after(2)
        } else {
            self.after(1)
        };
        let taken = self.text.get(self.at..end).unwrap_or("").to_owned();
        self.word().push_str(&taken);
        self.at = end;
        Ok(())
    }

    #[inline(never)]
    fn operator(&self, character: char) -> Box<NotWords> {
        let rest = self.text.get(self.at..).unwrap_or("");
        let whole = ["&&", "||", "&>", ">&", ">>", "<<", ";;"]
            .into_iter()
            .find(|operator| rest.starts_with(operator));
        let redirects = matches!(character, '>' | '<');
        let help = match whole {
            None if rest == "&" => "remove it: a service stays in the foreground",
            None if character == '(' && self.text.get(..self.at).is_some_and(|text| text.ends_with('%')) => {
                "supervisord's %(ENV_NAME)s is ${NAME} here, its %(process_num)d ${TINYSUP_INSTANCE}"
            }
            _ if redirects || whole == Some("&>") => {
                "set shell = true (needs /bin/sh); the output of services is relayed without it"
            }
            _ => "set shell = true (needs /bin/sh), or put it into quotes",
        };
        // `2>` is about descriptor 2, and `>&1` goes to descriptor 1.
        let begin = match &self.open {
            Some((open, _)) if redirects && self.is_number(*open..self.at) => *open,
            _ => self.at,
        };
        let mut end = self.after(whole.map_or(1, str::len));
        while whole == Some(">&") && self.is_number(end..end + 1) {
            end += 1;
        }
        let shown = self.text.get(begin..end).unwrap_or("");
        let mut wrong = self.shell_only(&format!("\"{shown}\""), help);
        wrong.at = begin..end;
        wrong
    }

    /// Whether there are digits and nothing else.
    #[inline(never)]
    fn is_number(&self, at: Range<usize>) -> bool {
        self.text.get(at).is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
    }

    fn shell_only(&self, what: &str, help: &'static str) -> Box<NotWords> {
        let length = if what.starts_with("\"$(") { 2 } else { 1 };
        Box::new(NotWords {
            at: self.at..self.after(length),
            message: format!("has {what}, but commands are not run by a shell"),
            help,
        })
    }
}

fn unclosed(at: usize, quote: &str) -> Box<NotWords> {
    Box::new(NotWords {
        at: at..at + 1,
        message: format!("has a {quote} that is never closed"),
        help: "close it, or put a backslash before it",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        for (text, expected) in [
            ("a b  c", vec!["a", "b", "c"]),
            ("  a\t b \n", vec!["a", "b"]),
            ("a 'b c' \"d e\"", vec!["a", "b c", "d e"]),
            ("a'b'\"c\"d", vec!["abcd"]),
            ("a '' \"\"", vec!["a", "", ""]),
            (r"a\ b \'x\'", vec!["a b", "'x'"]),
            (r#""a\"b\\c\d""#, vec![r#"a"b\c\d"#]),
            (r"'a\b'", vec![r"a\b"]),
            ("a \\\n b", vec!["a", "b"]),
            ("nginx -g \"daemon off;\"", vec!["nginx", "-g", "daemon off;"]),
            ("a '|&;<>()`' \"|&;<>()\"", vec!["a", "|&;<>()`", "|&;<>()"]),
            ("x ${A:-b c} \"${D:-'e f'}\"", vec!["x", "${A:-b c}", "${D:-'e f'}"]),
            ("x '${A}' \\$B \"\\${C}\" $$D", vec!["x", "$${A}", "$$B", "$${C}", "$$D"]),
            ("* ~ # !", vec!["*", "~", "#", "!"]),
            ("", vec![]),
            ("日本 'é ü'", vec!["日本", "é ü"]),
            ("${A", vec!["${A"]),
        ] {
            let words =
                split(text).map(|words| words.into_iter().map(|word| word.template).collect::<Vec<_>>());
            assert_eq!(words, Ok(expected.into_iter().map(str::to_owned).collect()), "{text}");
        }
    }

    #[test]
    fn what_only_a_shell_can_do_is_told() {
        for (text, place, part) in [
            ("cd /a && b", 6..8, "has \"&&\""),
            ("a | b", 2..3, "has \"|\""),
            ("a; b", 1..2, "has \";\""),
            ("a > b", 2..3, "has \">\""),
            ("a &", 2..3, "has \"&\""),
            ("a 2>&1", 2..6, "has \"2>&1\""),
            ("a >&2 b", 2..5, "has \">&2\""),
            ("a 2>/dev/null", 2..4, "has \"2>\""),
            ("a2>b", 2..3, "has \">\""),
            ("a '2'>b", 5..6, "has \">\""),
            ("a &> b", 2..4, "has \"&>\""),
            ("a 0<b", 2..4, "has \"0<\""),
            ("a `b`", 2..3, "has \"`\""),
            ("a \"`b`\"", 3..4, "has \"`\""),
            ("a $(b)", 2..4, "has \"$(\""),
            ("a \"$(b)\"", 3..5, "has \"$(\""),
            ("a\nb", 1..2, "a line break"),
            ("a 'b", 2..3, "never closed"),
            ("a \"b", 2..3, "never closed"),
            ("a http://x/?b=1&c=2", 15..16, "has \"&\""),
        ] {
            let problem = split(text).unwrap_err();
            assert_eq!(problem.at, place, "{text}");
            assert!(problem.message.contains(part), "{text}: {}", problem.message);
        }
        assert_eq!(split("server &").unwrap_err().help, "remove it: a service stays in the foreground");
    }

    #[test]
    fn places_are_those_of_the_words() {
        let words = split("ab 'c' ${D} e\\ f").unwrap();
        let places: Vec<_> = words.iter().map(|word| (word.at.clone(), word.verbatim)).collect();
        assert_eq!(places, [(0..2, true), (3..6, false), (7..11, true), (12..16, false)]);
        // A backslash that protects nothing is there, too.
        let words = split("a \\").unwrap();
        assert_eq!((words[1].template.as_str(), words[1].at.clone()), ("\\", 2..3));
    }
}
