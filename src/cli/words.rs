//! The words of a command line, one by one. Options end at the first word that is none: what follows it is somebody else's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::{UsageError, usage};
use crate::gather::Gather;

/// One word of a command line, as it is understood.
pub enum Word {
    /// `-x` or `--long`, with the dashes.
    Option(String),
    /// `--`.
    Separator,
    /// Anything else.
    Plain(OsString),
}

/// The arguments, taken one by one: `-gv` is `-g -v`, `--config=FILE` and `-cFILE` carry their value.
pub struct Words {
    rest: std::vec::IntoIter<OsString>,
    /// What is left of a cluster of short options, or the value of a long one.
    cluster: Vec<u8>,
}

impl Words {
    /// From the words after the program's name.
    pub fn new(words: impl IntoIterator<Item = OsString>) -> Self {
        Self { rest: words.into_iter().gather().into_iter(), cluster: Vec::new() }
    }

    /// Whether there is this one word and nothing else.
    pub fn is_only(&self, word: &str) -> bool {
        self.cluster.is_empty() && self.rest.as_slice() == [word]
    }

    /// The next word; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Word>, UsageError> {
        if let Some((first, others)) = self.cluster.split_first() {
            let option = format!("-{}", char::from(*first));
            if *first == b'=' || !first.is_ascii_graphic() {
                return Err(usage(&format_args!(
                    "unexpected value \"{}\"",
                    String::from_utf8_lossy(&self.cluster)
                )));
            }
            self.cluster = others.to_vec();
            return Ok(Some(Word::Option(option)));
        }
        let Some(word) = self.rest.next() else { return Ok(None) };
        let bytes = word.as_bytes();
        match bytes {
            b"--" => Ok(Some(Word::Separator)),
            [b'-', b'-', ..] => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let (name, value) =
                    text.split_once('=').map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
                self.cluster = value.map(|value| format!("={value}").into_bytes()).unwrap_or_default();
                Ok(Some(Word::Option(name.to_owned())))
            }
            [b'-', cluster @ ..] if !cluster.is_empty() => {
                self.cluster = cluster.to_vec();
                self.next()
            }
            _ => Ok(Some(Word::Plain(word))),
        }
    }

    /// The value of an option: attached to it, or the next word.
    pub fn value(&mut self, option: &str) -> Result<OsString, UsageError> {
        let attached = std::mem::take(&mut self.cluster);
        let attached = attached.strip_prefix(b"=").unwrap_or(&attached);
        if !attached.is_empty() {
            return Ok(OsStr::from_bytes(attached).to_owned());
        }
        self.rest.next().ok_or_else(|| usage(&format_args!("option {option} needs a value")))
    }

    /// All words that are left, whatever they look like.
    pub fn all(&mut self) -> Vec<OsString> {
        let mut all = Vec::new();
        self.add_all(&mut all);
        all
    }

    /// [`Self::all`], behind others.
    #[inline(never)]
    pub fn add_all(&mut self, words: &mut Vec<OsString>) {
        self.rest.by_ref().add_to(words);
    }
}
