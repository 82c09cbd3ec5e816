//! The verbs that talk to the running tinysup, and their options, each defined once: reading the command line, the help, the
//! completions and the manual follow from these tables.

use crate::control;
use crate::gather::{Gather, Joined};

/// A verb.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// Other names, for those who come from elsewhere.
    pub aliases: &'static [&'static str],
    /// What it does.
    pub does: Does,
    /// What follows it, apart from options.
    pub takes: Takes,
    /// Its own options; those of [`EVERYWHERE`] it has, too.
    pub options: &'static [Opt],
}

/// What a verb does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Asks once, and shows the answer.
    Ask(control::Verb),
    /// Asks again and again, and shows it on the whole screen.
    Top,
    /// Prints a shell's completions; asks nobody.
    Completions,
}

/// What follows a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// Services or instances; none: all.
    Names,
    /// Services or instances, or `all`: without a word would be a slip with consequences.
    NamesOrAll,
    /// A signal, then as above.
    SignalAndNames,
    /// One of [`SHELLS`].
    Shell,
}

/// An option of a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt {
    /// The protocol's objects instead of text.
    Json,
    /// Not until it is done.
    NoWait,
    /// Those that depend on it, too.
    WithDependents,
    /// Shared memory in parts.
    Pss,
    /// Nothing is done.
    DryRun,
    /// The process group.
    Group,
    /// What comes, too.
    Follow,
    /// So many.
    Lines,
    /// Nothing older.
    Since,
    /// One stream.
    Stdout,
    /// The other.
    Stderr,
    /// What is waited for.
    For,
    /// Alive is enough.
    Live,
    /// It shall work.
    Ready,
    /// No longer than this.
    Timeout,
    /// Where to ask.
    Socket,
    /// How the verb is used.
    Help,
}

/// How an option is written.
#[derive(Debug)]
pub struct OptSpec {
    /// Which.
    pub opt: Opt,
    /// `-f`.
    pub short: Option<char>,
    /// `--follow`.
    pub long: &'static str,
    /// Its value.
    pub value: Value,
}

/// The value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// It has none.
    None,
    /// Any text; the word stands for it.
    Text(&'static str),
    /// A path of a file.
    Path,
    /// One of these.
    OneOf(&'static [&'static str]),
}

impl Value {
    /// As the help shows it: empty, or with a blank before it.
    pub fn shown(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Text(word) => format!(" {word}"),
            Self::Path => " PATH".to_owned(),
            Self::OneOf(words) => format!(" {}", words.joined("|")),
        }
    }
}

/// Shells whose completions can be printed.
pub const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// What `wait --for` takes.
pub const STATES: [&str; 4] = ["ready", "completed", "stopped", "live"];

/// Options of every verb that asks.
pub const EVERYWHERE: [Opt; 4] = [Opt::Json, Opt::Timeout, Opt::Socket, Opt::Help];

/// A table, and in one beside it what each row of it is for: the program has that in its documents alone ([`crate::texts`]).
macro_rules! told {
    ($(#[$about:meta])* $table:ident: [$row:ty; $count:literal], $told:ident: $($value:expr => $for:literal,)+) => {
        $(#[$about])*
        pub const $table: [$row; $count] = [$($value),+];
        const $told: [&str; $count] = [$($for),+];
    };
}

told! {
    /// The options, in the order in which they are shown.
    OPTIONS: [OptSpec; 17], OPTIONS_TOLD:
    OptSpec { opt: Opt::Follow, short: Some('f'), long: "--follow", value: Value::None } => "go on with what comes",
    OptSpec { opt: Opt::Lines, short: Some('n'), long: "--lines", value: Value::Text("N") } => "at most the last N of each",
    OptSpec { opt: Opt::Since, short: None, long: "--since", value: Value::Text("DURATION") } => "nothing older, such as 1m",
    OptSpec { opt: Opt::Stdout, short: None, long: "--stdout", value: Value::None } => "standard output only",
    OptSpec { opt: Opt::Stderr, short: None, long: "--stderr", value: Value::None } => "standard error only",
    OptSpec { opt: Opt::For, short: None, long: "--for", value: Value::OneOf(&STATES) } => "what to wait for (default: ready)",
    OptSpec { opt: Opt::Live, short: None, long: "--live", value: Value::None } => "only whether something has failed for good or is unhealthy",
    OptSpec { opt: Opt::Ready, short: None, long: "--ready", value: Value::None } => "whether all are ready or done (the default)",
    OptSpec { opt: Opt::NoWait, short: None, long: "--no-wait", value: Value::None } => "answer when it has begun, not when it is done",
    OptSpec { opt: Opt::WithDependents, short: None, long: "--with-dependents", value: Value::None } => "those that depend on it, too",
    OptSpec { opt: Opt::DryRun, short: None, long: "--dry-run", value: Value::None } => "only tell what would change",
    OptSpec { opt: Opt::Group, short: Some('g'), long: "--group", value: Value::None } => "to the whole process group",
    OptSpec { opt: Opt::Pss, short: None, long: "--pss", value: Value::None } => "shared memory counted in parts, too; takes longer",
    OptSpec { opt: Opt::Json, short: None, long: "--json", value: Value::None } => "one JSON object a line, as docs/control.md has them",
    OptSpec { opt: Opt::Timeout, short: None, long: "--timeout", value: Value::Text("DURATION") } => "wait no longer for the answer",
    OptSpec { opt: Opt::Socket, short: None, long: "--socket", value: Value::Path } => "ask the tinysup that listens there",
    OptSpec { opt: Opt::Help, short: Some('h'), long: "--help", value: Value::None } => "show how the verb is used",
}

told! {
    /// The verbs, in the order in which they are shown.
    VERBS: [Spec; 16], VERBS_TOLD:
    Spec { name: "status", aliases: &["ls", "ps"], does: Does::Ask(control::Verb::Status), takes: Takes::Names, options: &[] }
        => "everything at a glance; exit code 3 if something is not as it should be",
    Spec { name: "describe", aliases: &["show"], does: Does::Ask(control::Verb::Describe), takes: Takes::Names, options: &[] }
        => "everything about a service",
    Spec { name: "logs", aliases: &[], does: Does::Ask(control::Verb::Logs), takes: Takes::Names,
        options: &[Opt::Follow, Opt::Lines, Opt::Since, Opt::Stdout, Opt::Stderr] }
        => "the last output, also of what has ended, with its ends in between",
    Spec { name: "memory", aliases: &["mem"], does: Does::Ask(control::Verb::Memory), takes: Takes::Names, options: &[Opt::Pss] }
        => "who holds how much memory, and the container",
    Spec { name: "top", aliases: &["monit"], does: Does::Top, takes: Takes::Names, options: &[] }
        => "the status once a second, on the whole screen, with keys to act",
    Spec { name: "start", aliases: &[], does: Does::Ask(control::Verb::Start), takes: Takes::Names, options: &[Opt::NoWait] }
        => "start what is down, with a fresh restart budget",
    Spec { name: "stop", aliases: &[], does: Does::Ask(control::Verb::Stop), takes: Takes::NamesOrAll,
        options: &[Opt::NoWait, Opt::WithDependents] }
        => "stop it until it is started again",
    Spec { name: "restart", aliases: &[], does: Does::Ask(control::Verb::Restart), takes: Takes::NamesOrAll,
        options: &[Opt::NoWait, Opt::WithDependents] }
        => "stop it and start it again, with a fresh restart budget",
    Spec { name: "signal", aliases: &[], does: Does::Ask(control::Verb::Signal), takes: Takes::SignalAndNames,
        options: &[Opt::Group] }
        => "send a signal to a service",
    Spec { name: "health", aliases: &[], does: Does::Ask(control::Verb::Health), takes: Takes::Names,
        options: &[Opt::Live, Opt::Ready] }
        => "exit code 0 or 1, and why in a line: for HEALTHCHECK and exec probes",
    Spec { name: "wait", aliases: &[], does: Does::Ask(control::Verb::Wait), takes: Takes::Names, options: &[Opt::For] }
        => "wait until it is ready, completed, stopped or live; 30 s if not told otherwise",
    Spec { name: "events", aliases: &[], does: Does::Ask(control::Verb::Events), takes: Takes::Nothing,
        options: &[Opt::Follow, Opt::Lines] }
        => "what has happened, numbered",
    Spec { name: "update", aliases: &[], does: Does::Ask(control::Verb::Update), takes: Takes::Nothing,
        options: &[Opt::NoWait, Opt::DryRun] }
        => "read the configuration again, and restart only what has changed; a broken one changes nothing",
    Spec { name: "reopen", aliases: &[], does: Does::Ask(control::Verb::Reopen), takes: Takes::Nothing, options: &[] }
        => "close the files of output and open them again, for those who move them",
    Spec { name: "shutdown", aliases: &[], does: Does::Ask(control::Verb::Shutdown), takes: Takes::Nothing, options: &[Opt::NoWait] }
        => "stop everything in order, and end the container",
    Spec { name: "completions", aliases: &[], does: Does::Completions, takes: Takes::Shell, options: &[] }
        => "print the completions for a shell",
}

/// The verb of that name.
pub fn find(name: &str) -> Option<&'static Spec> {
    const ALL: &[Spec] = &VERBS;
    ALL.iter().find(|verb| verb.name == name || verb.aliases.contains(&name))
}

/// How an option is written and what it is for.
#[inline(never)]
pub fn options_of(verb: &Spec) -> Vec<&'static OptSpec> {
    const ALL: &[OptSpec] = &OPTIONS;
    ALL.iter().filter(|option| verb.has(option.opt)).gather()
}

impl OptSpec {
    /// What it is for.
    pub fn about(&self) -> &'static str {
        let mut all = OPTIONS.iter().zip(OPTIONS_TOLD);
        all.find(|(option, _)| option.opt == self.opt).map(|(_, told)| told).unwrap_or_default()
    }
}

impl Spec {
    /// What it is for, in a line.
    pub fn about(&self) -> &'static str {
        let mut all = VERBS.iter().zip(VERBS_TOLD);
        all.find(|(verb, _)| verb.name == self.name).map(|(_, told)| told).unwrap_or_default()
    }

    /// Its name, and what else it is called.
    #[inline(never)]
    pub fn names(&self) -> Vec<&'static str> {
        [&[self.name], self.aliases].concat()
    }

    /// Whether it takes this option.
    pub fn has(&self, option: Opt) -> bool {
        let everywhere = match self.does {
            Does::Ask(_) => EVERYWHERE.contains(&option),
            Does::Top => EVERYWHERE.contains(&option) && option != Opt::Json,
            Does::Completions => option == Opt::Help,
        };
        everywhere || self.options.contains(&option)
    }

    /// `stop NAME...|all`, without options.
    pub fn synopsis(&self) -> String {
        let arguments = match self.takes {
            Takes::Nothing => return self.name.to_owned(),
            Takes::Names => "[NAME...]",
            Takes::NamesOrAll => "NAME...|all",
            Takes::SignalAndNames => "SIGNAL NAME...|all",
            Takes::Shell => "bash|zsh|fish",
        };
        format!("{} {arguments}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_one_verb_and_each_option_one_way_to_write_it() {
        let names: Vec<&str> = VERBS.iter().flat_map(|verb| [&[verb.name], verb.aliases].concat()).collect();
        for name in &names {
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
            assert!(find(name).is_some());
        }
        assert_eq!(find("monit").map(|verb| verb.name), Some("top"));
        assert_eq!(find("bash"), None);
        for option in &OPTIONS {
            let alike = |other: &&OptSpec| {
                other.opt == option.opt
                    || other.long == option.long
                    || (other.short.is_some() && other.short == option.short)
            };
            assert_eq!(OPTIONS.iter().filter(alike).count(), 1, "{}", option.long);
            assert!(VERBS.iter().any(|verb| verb.has(option.opt)), "{} belongs to no verb", option.long);
        }
    }
}
