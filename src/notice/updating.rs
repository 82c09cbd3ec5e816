//! What an update does, in a sentence.

use crate::gather::{Gather, Joined};
use std::fmt::{self, Display, Formatter};
use std::rc::Rc;

/// What an update does: instances, each with the keys that have changed, where it is about some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updating {
    /// Those that are stopped and taken out.
    pub removes: Vec<Rc<str>>,
    /// Those that are new.
    pub adds: Vec<Rc<str>>,
    /// Those that run anew.
    pub renews: Vec<(Rc<str>, String)>,
    /// Those that go on under other rules.
    pub adjusts: Vec<(Rc<str>, String)>,
    /// Whether something that is of no single instance has changed: `shutdown_timeout`, `[signals]`.
    pub rules: bool,
}

impl Display for Updating {
    #[inline(never)]
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { removes, adds, renews, adjusts, rules } = self;
        let with_keys = |all: &[(Rc<str>, String)]| {
            // One that ends already, for an update before this, may begin again as it was.
            let with = |(name, keys): &(Rc<str>, String)| match keys.as_str() {
                "" => name.to_string(),
                keys => format!("{name} ({keys})"),
            };
            all.iter().map(with).gather()
        };
        let plain = |all: &[Rc<str>]| all.iter().map(ToString::to_string).gather();
        f.write_str("the configuration was read again")?;
        let mut sign = ": ";
        for (what, names) in [
            ("removing", plain(removes)),
            ("adding", plain(adds)),
            ("restarting", with_keys(renews)),
            ("adjusting", with_keys(adjusts)),
        ] {
            if !names.is_empty() {
                write!(f, "{sign}{what} {}", names.listed())?;
                sign = "; ";
            }
        }
        match (sign, rules) {
            (": ", false) => f.write_str(": nothing has changed"),
            (sign, true) => write!(f, "{sign}taking on what is of no single service"),
            (_, false) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_where_there_are_any() {
        let renews = vec![(Rc::from("api.1"), "command, env".to_owned()), (Rc::from("api.2"), String::new())];
        let updating = Updating { renews, ..Updating::default() };
        assert_eq!(
            updating.to_string(),
            "the configuration was read again: restarting api.1 (command, env), api.2"
        );
    }
}
