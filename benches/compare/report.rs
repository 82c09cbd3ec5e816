//! Figures, and how they are shown: medians, tables with ratios to tinysup, lines of JSON, and the bars. No measuring.

use std::fmt::Write;

use crate::candidates::{Candidate, Kind, OURS};

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds, shown as milliseconds.
    Milliseconds,
    /// Nanoseconds, shown as microseconds.
    Microseconds,
    /// Nanoseconds for so many bytes, shown as seconds per GiB.
    SecondsPerGibibyte,
    /// A number of events.
    Count,
    /// Bytes, shown as KiB.
    Kibibytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::SecondsPerGibibyte => "s/GiB",
            Self::Count => "",
            Self::Kibibytes => "KiB",
        }
    }

    /// What the values in JSON are.
    fn raw(self) -> &'static str {
        match self {
            Self::Milliseconds | Self::Microseconds => "ns",
            Self::SecondsPerGibibyte => "ns/GiB",
            Self::Count => "count",
            Self::Kibibytes => "bytes",
        }
    }

    /// A value in the unit that is shown.
    pub fn show(self, value: u64) -> String {
        let value = value as f64;
        match self {
            Self::Milliseconds => format!("{:.3}", value / 1e6),
            Self::Microseconds => format!("{:.1}", value / 1e3),
            Self::SecondsPerGibibyte => format!("{:.3}", value / 1e9),
            Self::Count => format!("{value:.0}"),
            Self::Kibibytes => format!("{:.0}", value / 1024.0),
        }
    }
}

/// One metric, of all who were measured.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Its name in the JSON lines.
    pub metric: String,
    title: String,
    unit: Unit,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    kind: Kind,
    place: usize,
    samples: Vec<u64>,
    note: String,
}

impl Figures {
    /// An empty table.
    pub fn new(metric: impl Into<String>, title: impl Into<String>, unit: Unit) -> Self {
        Self { metric: metric.into(), title: title.into(), unit, rows: Vec::new() }
    }

    fn row(&mut self, candidate: &Candidate) -> &mut Row {
        let is = |row: &Row| (row.name, row.kind) == (candidate.name, candidate.kind);
        let place = self.rows.iter().position(is).unwrap_or_else(|| {
            let (name, kind) = (candidate.name, candidate.kind);
            let place = candidate.place;
            self.rows.push(Row { name, kind, place, samples: Vec::new(), note: String::new() });
            self.rows.len() - 1
        });
        &mut self.rows[place]
    }

    /// Adds a value.
    pub fn add(&mut self, candidate: &Candidate, value: u64) {
        self.row(candidate).samples.push(value);
    }

    /// Says something about a candidate beside its figures; the last word counts.
    pub fn note(&mut self, candidate: &Candidate, note: impl Into<String>) {
        self.row(candidate).note = note.into();
    }

    /// Sorts for what follows: values by size, candidates as they were found.
    pub fn finish(mut self) -> Self {
        for row in &mut self.rows {
            row.samples.sort_unstable();
        }
        self.rows.sort_by_key(|row| row.place);
        self
    }

    /// One quantile of what a candidate showed.
    pub fn quantile(&self, name: &str, kind: Kind, of_hundred: usize) -> Option<u64> {
        let row = self.rows.iter().find(|row| (row.name, row.kind) == (name, kind))?;
        quantile(&row.samples, of_hundred)
    }

    /// As times tinysup's median: 2.00 is twice as much.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let (own, ours) = (quantile(&row.samples, 50)?, self.quantile(OURS, row.kind, 50)?);
        (ours > 0).then(|| own as f64 / ours as f64)
    }

    /// The table.
    pub fn table(&self) -> String {
        let many = self.rows.iter().any(|row| row.samples.len() > 1);
        let unit =
            if self.unit.name().is_empty() { String::new() } else { format!(", {}", self.unit.name()) };
        let mut lines = vec![match many {
            true => {
                ["", "", "median", "p99", "least", "most", "n", "× tinysup", ""].map(str::to_owned).to_vec()
            }
            false => ["", "", "value", "× tinysup", ""].map(str::to_owned).to_vec(),
        }];
        let mut kind = None;
        for row in &self.rows {
            let heading = if kind == Some(row.kind) { "" } else { row.kind.name() };
            kind = Some(row.kind);
            let show =
                |value: Option<u64>| value.map_or_else(|| "–".to_owned(), |value| self.unit.show(value));
            let of = |of_hundred| show(quantile(&row.samples, of_hundred));
            let ratio = self.ratio(row).map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
            let mut cells = vec![heading.to_owned(), row.name.to_owned(), of(50)];
            if many {
                cells.extend([of(99), of(0), of(100), row.samples.len().to_string()]);
            }
            cells.extend([ratio, row.note.clone()]);
            lines.push(cells);
        }
        format!("\n{}{unit}\n{}", self.title, aligned(&lines))
    }

    /// One JSON object per candidate and line.
    pub fn json(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let of = |of_hundred| number(quantile(&row.samples, of_hundred));
            let ratio = self.ratio(row).map_or_else(|| "null".to_owned(), |ratio| format!("{ratio:.4}"));
            let _ = writeln!(
                text,
                r#"{{"metric":{:?},"kind":{:?},"candidate":{:?},"unit":{:?},"n":{},"min":{},"median":{},"p99":{},"max":{},"ratio":{ratio},"note":{:?}}}"#,
                self.metric,
                row.kind.name(),
                row.name,
                self.unit.raw(),
                row.samples.len(),
                of(0),
                of(50),
                of(99),
                of(100),
                row.note,
            );
        }
        text
    }
}

/// All metrics of one kind of candidates as a table in Markdown: a line for each metric, a column for each candidate, medians,
/// and p99 where there are several values. Whatever was noted follows.
pub fn markdown(all: &[Figures], kind: Kind) -> String {
    let mut names: Vec<(usize, &str)> = Vec::new();
    for row in all.iter().flat_map(|figures| &figures.rows).filter(|row| row.kind == kind) {
        if !names.contains(&(row.place, row.name)) {
            names.push((row.place, row.name));
        }
    }
    names.sort_unstable();
    let mut text = format!("| {} |", kind.name());
    for (_, name) in &names {
        let _ = write!(text, " {name} |");
    }
    let _ = write!(text, "\n|---|{}", "---:|".repeat(names.len()));
    let mut notes: Vec<String> = Vec::new();
    for figures in all {
        let row = |name: &str| figures.rows.iter().find(|row| (row.name, row.kind) == (name, kind));
        if !names.iter().any(|(_, name)| row(name).is_some()) {
            continue;
        }
        let unit =
            if figures.unit.name().is_empty() { String::new() } else { format!(", {}", figures.unit.name()) };
        let _ = write!(text, "\n| {}{unit} |", figures.title);
        for (_, name) in &names {
            let Some(row) = row(name) else {
                text += " – |";
                continue;
            };
            let show = |of_hundred| {
                quantile(&row.samples, of_hundred)
                    .map_or_else(|| "–".to_owned(), |value| figures.unit.show(value))
            };
            let _ = match row.samples.len() {
                0 | 1 => write!(text, " {} |", show(50)),
                _ => write!(text, " {} ({}) |", show(50), show(99)),
            };
            if !row.note.is_empty() {
                notes.push(format!("{name}, {}: {}", figures.metric, row.note));
            }
        }
    }
    text.push('\n');
    for note in notes {
        let _ = write!(text, "\n- {note}");
    }
    if text.ends_with('\n') { text } else { text + "\n" }
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

/// The nearest rank in sorted values: with fewer than a hundred of them, p99 is the greatest.
fn quantile(sorted: &[u64], of_hundred: usize) -> Option<u64> {
    let rank = (sorted.len() * of_hundred).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Columns as wide as they need; the first two and the last are text, the others numbers.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let is_text = column < 2 || column + 1 == columns;
            let _ = if is_text { write!(row, "  {cell:<width$}") } else { write!(row, "  {cell:>width$}") };
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}

/// A promise, and what was measured.
#[derive(Debug)]
pub struct Bar {
    /// What is promised.
    pub what: &'static str,
    /// The p99 where there are many values, or the only one; if it could be measured.
    pub figure: Option<u64>,
    /// The median.
    pub median: Option<u64>,
    /// Up to this it is kept.
    pub at_most: u64,
    /// Of both.
    pub unit: Unit,
}

impl Bar {
    /// For people.
    pub fn line(&self) -> String {
        let show = |value| format!("{} {}", self.unit.show(value), self.unit.name()).trim_end().to_owned();
        let limit = show(self.at_most);
        match self.figure {
            None => format!("  not measured  {} (at most {limit})", self.what),
            Some(figure) => {
                let verdict = if figure <= self.at_most { "met" } else { "NOT MET" };
                let median = match self.median {
                    Some(median) if median != figure => format!(", median {}", show(median)),
                    _ => String::new(),
                };
                format!("  {verdict:<12}  {}: {}{median} (at most {limit})", self.what, show(figure))
            }
        }
    }

    /// For docs/benchmarks.md.
    pub fn markdown(&self) -> String {
        let show = |value| format!("{} {}", self.unit.show(value), self.unit.name()).trim_end().to_owned();
        let figure = self.figure.map_or_else(|| "–".to_owned(), show);
        let verdict = match self.figure {
            None => "not measured",
            Some(figure) if figure <= self.at_most => "met",
            Some(_) => "**not met**",
        };
        format!("| {} | {} | {figure} | {verdict} |\n", self.what, show(self.at_most))
    }

    /// For machines.
    pub fn json(&self) -> String {
        format!(
            "{{\"bar\":{:?},\"unit\":{:?},\"figure\":{},\"median\":{},\"at_most\":{},\"met\":{}}}\n",
            self.what,
            self.unit.raw(),
            number(self.figure),
            number(self.median),
            self.at_most,
            self.figure.map_or_else(|| "null".to_owned(), |figure| (figure <= self.at_most).to_string()),
        )
    }
}
