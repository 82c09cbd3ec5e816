//! What is expected of whom: the values of one case, and the comparison.

use crate::programs::{Manner, Program};

/// One value for each program; none: the case does not concern it. An incumbent's may name several that occur, with `OR` between them.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub tini: Option<&'static str>,
    pub dumb_init: Option<&'static str>,
    pub catatonit: Option<&'static str>,
    pub tinysup: Option<&'static str>,
    pub as_tini: Option<&'static str>,
    pub as_dumb_init: Option<&'static str>,
    pub as_catatonit: Option<&'static str>,
}

/// Between the values of a race.
pub const OR: &str = "; or ";

/// Nobody yet.
pub const NOBODY: Expected = Expected {
    tini: None,
    dumb_init: None,
    catatonit: None,
    tinysup: None,
    as_tini: None,
    as_dumb_init: None,
    as_catatonit: None,
};

/// Everybody does that.
pub const fn all(value: &'static str) -> Expected {
    ours(value).tini(value).dumb_init(value).catatonit(value)
}

/// We do that, by every name.
pub const fn ours(value: &'static str) -> Expected {
    NOBODY.tinysup(value).as_tini(value).as_dumb_init(value).as_catatonit(value)
}

/// What the programs named tini do, and nobody else is asked.
pub const fn both_tinis(value: &'static str) -> Expected {
    NOBODY.tini(value).as_tini(value)
}

/// What the programs named dumb-init do, and nobody else is asked.
pub const fn both_dumb_inits(value: &'static str) -> Expected {
    NOBODY.dumb_init(value).as_dumb_init(value)
}

/// What the programs named catatonit do, and nobody else is asked.
pub const fn both_catatonits(value: &'static str) -> Expected {
    NOBODY.catatonit(value).as_catatonit(value)
}

impl Expected {
    pub const fn tini(self, value: &'static str) -> Self {
        Self { tini: Some(value), ..self }
    }

    pub const fn dumb_init(self, value: &'static str) -> Self {
        Self { dumb_init: Some(value), ..self }
    }

    pub const fn catatonit(self, value: &'static str) -> Self {
        Self { catatonit: Some(value), ..self }
    }

    pub const fn tinysup(self, value: &'static str) -> Self {
        Self { tinysup: Some(value), ..self }
    }

    pub const fn as_tini(self, value: &'static str) -> Self {
        Self { as_tini: Some(value), ..self }
    }

    pub const fn as_dumb_init(self, value: &'static str) -> Self {
        Self { as_dumb_init: Some(value), ..self }
    }

    pub const fn as_catatonit(self, value: &'static str) -> Self {
        Self { as_catatonit: Some(value), ..self }
    }

    /// What is expected of that program.
    pub fn of(&self, program: &Program) -> Option<&'static str> {
        match (program.manner, program.ours) {
            (Manner::Tini, false) => self.tini,
            (Manner::Tini, true) => self.as_tini,
            (Manner::DumbInit, false) => self.dumb_init,
            (Manner::DumbInit, true) => self.as_dumb_init,
            (Manner::Catatonit, false) => self.catatonit,
            (Manner::Catatonit, true) => self.as_catatonit,
            (Manner::Tinysup, _) => self.tinysup,
        }
    }

    /// The incumbents' values, each with ours by the same name.
    pub fn pairs(&self) -> [(Option<&'static str>, Option<&'static str>); 3] {
        [(self.tini, self.as_tini), (self.dumb_init, self.as_dumb_init), (self.catatonit, self.as_catatonit)]
    }

    /// Whether there is anything to explain: incumbents who disagree, or we with them.
    pub fn differs(&self) -> bool {
        let values = [
            self.tini,
            self.dumb_init,
            self.catatonit,
            self.tinysup,
            self.as_tini,
            self.as_dumb_init,
            self.as_catatonit,
        ];
        let mut known = values.into_iter().flatten();
        let first = known.next();
        known.any(|value| Some(value) != first)
    }
}

/// Whether that is what was expected. Ours is exact; an incumbent may race.
pub fn meets(program: &Program, expected: &str, observed: &str) -> bool {
    expected == observed || !program.ours && expected.split(OR).any(|value| value == observed)
}
