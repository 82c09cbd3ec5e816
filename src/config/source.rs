//! The texts that problems are shown in, and places in them.

use std::ops::Range;
use std::path::PathBuf;

use crate::gather::Gather;

/// A place: some bytes of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Which file.
    pub file: FileId,
    /// Where it begins, in bytes.
    pub start: u32,
    /// Where it ends.
    pub end: u32,
}

/// A file: its index in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u32);

/// All files that were read, in that order.
#[derive(Debug, Default)]
pub struct Sources(Vec<Source>);

/// One file.
#[derive(Debug)]
pub struct Source {
    /// Its path, as problems show it.
    pub name: String,
    /// The directory that paths in it are relative to.
    pub directory: PathBuf,
    /// Its text.
    pub text: String,
    /// Whether it may hold nothing but secrets, so that no line of it is shown, but for a part that is not hidden.
    pub confidential: bool,
    /// Where lines end.
    newlines: Vec<u32>,
    /// Parts that are not shown, from and to, in order: [`super::hiding`].
    hidden: Vec<(usize, usize)>,
}

impl Span {
    /// The place `range` in a file.
    pub fn new(file: FileId, range: Range<usize>) -> Self {
        let start = u32::try_from(range.start).unwrap_or(u32::MAX);
        Self { file, start, end: u32::try_from(range.end).unwrap_or(u32::MAX).max(start) }
    }

    /// A part of this place.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        let shift =
            |by: usize| self.start.saturating_add(u32::try_from(by).unwrap_or(u32::MAX)).min(self.end);
        Self { file: self.file, start: shift(range.start), end: shift(range.end) }
    }
}

impl Sources {
    /// Takes a file in.
    pub fn add(&mut self, name: String, directory: PathBuf, text: String, confidential: bool) -> FileId {
        let newlines =
            crate::search::all(b'\n', text.as_bytes()).filter_map(|at| u32::try_from(at).ok()).gather();
        let hidden = if confidential { vec![(0, usize::MAX)] } else { Vec::new() };
        self.0.push(Source { name, directory, text, confidential, newlines, hidden });
        FileId(u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX))
    }

    /// The main file, which is read first.
    pub fn first(&self) -> Option<&Source> {
        self.0.first()
    }

    /// The file with this id.
    pub fn get(&self, file: FileId) -> Option<&Source> {
        self.0.get(file.0 as usize)
    }

    /// Lends a file's text, to be given back with [`Sources::put_text`].
    pub(super) fn take_text(&mut self, file: FileId) -> String {
        self.0.get_mut(file.0 as usize).map(|source| std::mem::take(&mut source.text)).unwrap_or_default()
    }

    /// Gives a file's text back.
    pub(super) fn put_text(&mut self, file: FileId, text: String) {
        if let Some(source) = self.0.get_mut(file.0 as usize) {
            source.text = text;
        }
    }

    /// Keeps these parts of a file, which are in order, out of every message.
    pub fn hide(&mut self, file: FileId, hidden: Vec<(usize, usize)>) {
        if let Some(source) = self.0.get_mut(file.0 as usize) {
            source.hidden = hidden;
        }
    }

    /// Keeps all of a file but this out of every message, and shows no line but that of this.
    pub fn hide_all_but(&mut self, file: FileId, shown: Range<usize>) {
        if let Some(source) = self.0.get_mut(file.0 as usize) {
            source.confidential = true;
            source.hidden = vec![(0, shown.start), (shown.end, usize::MAX)];
        }
    }

    /// Whether what is written there is kept out of messages.
    pub fn is_hidden(&self, span: Span) -> bool {
        self.get(span.file).is_some_and(|source| source.is_hidden(span.start as usize))
    }

    /// The line that a place begins in, from 1.
    pub fn line(&self, span: Span) -> Option<usize> {
        self.get(span.file).map(|source| source.line(span.start))
    }

    /// `file:line:column`, or `line 4` for a place in the file `seen_from`.
    pub fn place(&self, span: Span, seen_from: Option<FileId>) -> String {
        let Some(source) = self.get(span.file) else { return String::new() };
        let (line, column) = source.position(span.start);
        if seen_from == Some(span.file) {
            format!("line {line}")
        } else {
            format!("{}:{line}:{column}", source.name)
        }
    }
}

impl Source {
    /// Line and column of a byte, both from 1, columns in characters.
    pub fn position(&self, at: u32) -> (usize, usize) {
        let at = self.boundary(at);
        let line = self.line(u32::try_from(at).unwrap_or(u32::MAX));
        (line, self.text.get(self.line_start(line)..at).unwrap_or("").chars().count() + 1)
    }

    /// The line that a byte is in, from 1; a line end is in the line that it ends.
    pub fn line(&self, at: u32) -> usize {
        self.newlines.partition_point(|newline| *newline < at) + 1
    }

    /// Where a line begins.
    pub fn line_start(&self, line: usize) -> usize {
        let before = line.checked_sub(2).and_then(|index| self.newlines.get(index));
        before.map_or(0, |newline| *newline as usize + 1)
    }

    /// The byte at or before `at` where a character begins. The end of a file counts to its last line.
    pub fn boundary(&self, at: u32) -> usize {
        let mut at = (at as usize).min(self.text.len());
        if at == self.text.len() && self.text.ends_with('\n') {
            at = self.text.trim_end_matches(['\n', '\r']).len();
        }
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// Whether the byte at `at` must not be shown.
    pub fn is_hidden(&self, at: usize) -> bool {
        let before = self.hidden.partition_point(|(start, _)| *start <= at);
        let last = before.checked_sub(1).and_then(|last| self.hidden.get(last));
        last.is_some_and(|(_, end)| at < *end)
    }
}
