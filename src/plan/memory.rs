//! How much memory a configuration allows: sizes, shares of the container's limit, and whether both can be had here.

use std::cell::OnceCell;
use std::fmt::{self, Display, Formatter};

use super::eval::{Evaluator, Read, Scalars, Scope};
use crate::config::interpolate::Reported;
use crate::config::keys::{Id, Key};
use crate::config::source::Span;
use crate::config::tree::Node;
use crate::config::{Problem, Setting, World};
use crate::event::{Cell, MemoryFound};
use crate::gather::least;
use crate::units::{parse_decimal, parse_size, show_decimal, show_size};

/// No process is smaller than this, in bytes; whoever writes less has forgotten the unit.
const LEAST_BYTES: u64 = 64 << 10;

/// How much memory something may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// A share of the whole.
    Share(Share),
}

/// A part of a whole, in hundredths of a percent; more than 0 and at most 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

/// What shares are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reference {
    /// The limit of the container.
    #[default]
    Container,
    /// The memory of the machine.
    Host,
}

/// How much memory an instance may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `max_memory_restart`: above it is restarted.
    pub restart: Option<Amount>,
    /// `memory_limit`: the kernel gives it no more.
    pub limit: Option<Amount>,
    /// `memory_limit_fallback`: where the kernel cannot be told, it is restarted above `limit`.
    pub fallback: bool,
    /// `oom_priority`: the lowest goes first.
    pub priority: i32,
}

/// What is done when the container runs short of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Above it is told.
    pub warn: Option<Share>,
    /// Above a service is restarted.
    pub restart: Option<Share>,
    /// What shares are of, those of the services, too.
    pub reference: Reference,
}

impl Share {
    /// So many hundredths of a percent.
    pub fn new(hundredths: u16) -> Option<Self> {
        (1..=10_000).contains(&hundredths).then_some(Self(hundredths))
    }

    /// So much of this.
    pub fn of(self, whole: u64) -> u64 {
        let (share, parts) = (u64::from(self.0), 10_000);
        whole / parts * share + whole % parts * share / parts
    }

    /// Reads `85%` or `82.5%`.
    pub fn parse(text: &str) -> Option<Self> {
        let hundredths = parse_decimal(text.strip_suffix('%')?.trim_end())? * 100.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10,000 fits")]
        if (0.0..=10_000.0).contains(&hundredths) { Self::new(hundredths.round() as u16) } else { None }
    }
}

impl Amount {
    /// In bytes, where the whole that a share is of is known.
    pub fn bytes(self, whole: Option<u64>) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Share(share) => Some(share.of(whole?)),
        }
    }
}

impl Reference {
    /// What shares are of, in bytes.
    pub fn whole(self, limit: Option<u64>, total: u64) -> Option<u64> {
        match self {
            Self::Container => limit,
            Self::Host => Some(total).filter(|total| *total > 0),
        }
    }

    fn found(self, found: &MemoryFound) -> Option<u64> {
        self.whole(found.limit, found.total)
    }
}

impl Display for Share {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", show_decimal(f64::from(self.0) / 100.0))
    }
}

impl Display for Amount {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => show_size(*bytes).fmt(f),
            Self::Share(share) => share.fmt(f),
        }
    }
}

impl Guard {
    /// Whether it does anything.
    pub fn is_on(self) -> bool {
        self.warn.is_some() || self.restart.is_some()
    }
}

impl Limits {
    /// Above so many bytes it is restarted, where shares are of `whole` and the kernel can or cannot be told of `memory_limit`.
    pub fn threshold(&self, whole: Option<u64>, delegated: bool) -> Option<u64> {
        let instead = self.limit.filter(|_| self.fallback && !delegated);
        let bytes = |amount: Option<Amount>| amount.and_then(|amount| amount.bytes(whole));
        least(bytes(self.restart), bytes(instead))
    }

    /// Whether it is restarted above some amount.
    pub fn watched(&self) -> bool {
        self.restart.is_some() || (self.limit.is_some() && self.fallback)
    }

    /// Whether it asks for a cgroup of its own.
    pub fn wants_cell(&self, guard: Guard) -> bool {
        self.restart.is_some() || self.limit.is_some() || guard.restart.is_some()
    }

    /// The cgroup that it asks for, where shares are of `whole`.
    pub fn cell(&self, guard: Guard, whole: Option<u64>) -> Option<Cell> {
        self.wants_cell(guard).then(|| Cell { memory_max: self.limit.and_then(|limit| limit.bytes(whole)) })
    }
}

/// The machine that the plan is for, looked at when it matters.
pub struct Here<'a> {
    world: &'a dyn World,
    found: OnceCell<MemoryFound>,
}

impl<'a> Here<'a> {
    /// This one.
    pub fn new(world: &'a dyn World) -> Self {
        Self { world, found: OnceCell::new() }
    }

    fn found(&self) -> &MemoryFound {
        self.found.get_or_init(|| self.world.memory())
    }

    /// What shares are of.
    pub fn whole(&self, reference: Reference) -> Option<u64> {
        reference.found(self.found())
    }
}

/// What is written about the memory of a service.
#[derive(Debug, Default)]
pub struct WantedMemory {
    pub restart: Option<(Amount, Span)>,
    pub limit: Option<(Amount, Span)>,
    pub fallback: bool,
    pub priority: i32,
}

impl WantedMemory {
    /// Checks that it makes sense, and that it can be had here.
    #[inline(never)]
    pub fn resolve(
        &self,
        evaluator: &mut Evaluator<'_>,
        reference: Reference,
        here: Option<&Here<'_>>,
    ) -> Limits {
        let limits = Limits {
            restart: self.restart.map(|(amount, _)| amount),
            limit: self.limit.map(|(amount, _)| amount),
            fallback: self.fallback,
            priority: self.priority,
        };
        let mut whole = None;
        if let Some(here) = here
            && (limits.restart.is_some() || limits.limit.is_some())
        {
            whole = reference.found(here.found());
            for (name, wanted) in [("max_memory_restart", self.restart), ("memory_limit", self.limit)] {
                if let (Some((Amount::Share(share), span)), None) = (wanted, whole) {
                    evaluator.problems.push(no_whole(span, &format!("{name} = \"{share}\""), reference));
                }
            }
            if let (Some((_, span)), false, false) = (self.limit, self.fallback, here.found().delegated) {
                let message = format_args!(
                    "memory_limit cannot be had here: it needs a cgroup for the service, and none can be made ({})",
                    found(here.found())
                );
                evaluator.problems.advise(span, message, format_args!("memory_limit_fallback = \"restart\" restarts the service above it instead; docs/cgroups.md says what a cgroup needs"));
            }
        }
        if let (Some((restart, span)), Some((limit, _))) = (self.restart, self.limit) {
            let above = match (restart, limit) {
                (Amount::Share(restart), Amount::Share(limit)) => restart > limit,
                (Amount::Bytes(_) | Amount::Share(_), _) => restart
                    .bytes(whole)
                    .zip(limit.bytes(whole))
                    .is_some_and(|(restart, limit)| restart > limit),
            };
            if above {
                evaluator.problems.advise(
                    span,
                    format_args!("max_memory_restart must not be above memory_limit"),
                    format_args!("the kernel would be first: it kills at memory_limit, without asking"),
                );
            }
        }
        limits
    }
}

/// Reads `[memory]`.
#[inline(never)]
pub fn guard(
    evaluator: &mut Evaluator<'_>,
    scope: &mut Scope<'_>,
    settings: &[Setting],
    here: Option<&Here<'_>>,
) -> Guard {
    let mut guard = Guard::default();
    let mut spans = Vec::new();
    for Setting { key, node, .. } in settings {
        match key.id {
            Id::MemoryWarn => guard.warn = evaluator.share(scope, key, node).ok(),
            Id::MemoryRestart => guard.restart = evaluator.share(scope, key, node).ok(),
            _ => {
                let meanings = &[Reference::Container, Reference::Host];
                let chosen = evaluator.choice(scope, key, node, "container host", meanings);
                guard.reference = chosen.unwrap_or_default();
                continue;
            }
        }
        spans.push((key.name, node.span));
    }
    if let (Some(warn), Some(restart)) = (guard.warn, guard.restart)
        && restart < warn
        && let Some((_, span)) = spans.iter().find(|(name, _)| *name == "restart")
    {
        evaluator.problems.advise(
            *span,
            format_args!("restart = \"{restart}\" must not be below warn = \"{warn}\""),
            format_args!("the warning comes first"),
        );
    }
    if let Some(here) = here.filter(|_| guard.is_on())
        && guard.reference.found(here.found()).is_none()
    {
        for (name, span) in spans {
            let share = if name == "warn" { guard.warn } else { guard.restart };
            if let Some(share) = share {
                evaluator.problems.push(no_whole(span, &format!("{name} = \"{share}\""), guard.reference));
            }
        }
    }
    guard
}

/// There is nothing to take a share of.
fn no_whole(span: Span, setting: &str, reference: Reference) -> Box<Problem> {
    let (what, help) = match reference {
        Reference::Container => (
            "the container has no memory limit to take a share of",
            "docker run --memory 512M (in Compose mem_limit: 512M) sets one; or a size; or [memory] reference = \"host\", for shares of the machine's memory",
        ),
        Reference::Host => ("how much memory the machine has is not known", "write a size, such as \"300M\""),
    };
    Problem::at(span, format!("{setting}: {what}")).help(help)
}

fn found(found: &MemoryFound) -> &str {
    if found.text.is_empty() { "no memory controller is to be seen" } else { &found.text }
}

impl Evaluator<'_> {
    /// A size, or a share.
    ///
    /// # Errors
    /// Reported.
    pub fn amount(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Amount> {
        let text = self.text(scope, key, node, Scalars::Integers)?;
        let written = text.word().trim();
        if written.ends_with('%') {
            return self.share(scope, key, node).map(Amount::Share);
        }
        match parse_size(written) {
            Ok(bytes) if bytes >= LEAST_BYTES => Ok(Amount::Bytes(bytes)),
            Ok(bytes) => {
                let (least, unit) = (show_size(LEAST_BYTES), bytes.clamp(1, 99_999));
                let problem = Problem::at(node.span, format!("{} must be at least {least}", key.name));
                let help = format!("a bare number is bytes; \"{unit}M\" is in MiB").into();
                Err(self.fail(problem.maybe_help(Some(help).filter(|_| !text.replaced && bytes > 0))))
            }
            Err(_) => Err(self.mismatch(key, node, Some(&*text))),
        }
    }

    /// A share.
    fn share(&mut self, scope: &mut Scope<'_>, key: &Key, node: &Node) -> Read<Share> {
        let text = self.text(scope, key, node, Scalars::Numbers)?;
        let written = text.word().trim();
        let share = Share::parse(written);
        let help = match written.strip_suffix('%').map(|number| parse_decimal(number.trim())) {
            Some(Some(_)) => Some("a share is more than 0% and at most 100%".into()),
            None if !text.replaced && !written.is_empty() => {
                Share::parse(&format!("{written}%")).map(|share| format!("{} = \"{share}\"", key.name).into())
            }
            Some(None) | None => None,
        };
        share
            .map_or_else(|| Err(self.mismatch_with(key, node, Some(&*text), help)), Ok)
            .map_err(|Reported| Reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_to_a_hundredth_of_a_percent() {
        for (text, of, bytes) in [
            ("100%", u64::MAX, u64::MAX),
            ("40%", 500, 200),
            ("82.5%", 1000, 825),
            ("0.01%", 1 << 30, 107_374),
            ("50 %", 9, 4),
        ] {
            assert_eq!(Share::parse(text).map(|share| share.of(of)), Some(bytes), "{text}");
        }
        for text in ["0%", "0.004%", "100.1%", "-1%", "nan%", "%", "85", "85%%", ""] {
            assert_eq!(Share::parse(text), None, "{text}");
        }
        assert_eq!(Share::parse("82.50%").map(|share| share.to_string()), Some("82.5%".to_owned()));
    }

    #[test]
    fn the_lower_of_two_limits_counts() {
        let share = |percent: u16| Amount::Share(Share::new(percent * 100).unwrap());
        let limits = |restart, limit, fallback| Limits { restart, limit, fallback, priority: 0 };
        let size = |bytes| Some(Amount::Bytes(bytes));
        for (limits, whole, delegated, threshold) in [
            (limits(size(300), None, false), None, false, Some(300)),
            (limits(Some(share(40)), None, false), Some(500), false, Some(200)),
            (limits(Some(share(40)), None, false), None, false, None),
            (limits(size(300), size(500), false), None, false, Some(300)),
            (limits(None, size(500), false), None, false, None),
            (limits(None, size(500), true), None, false, Some(500)),
            (limits(None, size(500), true), None, true, None),
            (limits(size(600), Some(share(50)), true), Some(1000), false, Some(500)),
        ] {
            assert_eq!(limits.threshold(whole, delegated), threshold, "{limits:?} of {whole:?}");
        }
    }
}
