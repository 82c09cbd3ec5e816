//! Names of the kernel and their numbers.

use crate::config::keys::{Id, Key, part};
use crate::units::{CAPABILITIES, RESOURCES};

/// What the value of an entry of `signals` must be.
pub const FORWARDED_AS: Key = part(Id::Signals, "what a signal becomes", "another signal or \"ignore\"");

/// What the value of an entry of the top level's `[signals]` must be.
pub const ROUTE: Key = part(Id::Signals, "where a signal goes", "an array of services");

/// The number of a resource limit: `nofile` is 7.
pub fn resource(name: &str) -> Option<u32> {
    RESOURCES.iter().position(|known| *known == name).and_then(|number| u32::try_from(number).ok())
}

/// The number of a capability, with or without `CAP_`, in any case.
pub fn capability(name: &str) -> Option<u8> {
    let bare = bare_capability(name);
    CAPABILITIES.iter().position(|known| *known == bare).and_then(|number| u8::try_from(number).ok())
}

/// The name of a capability without `CAP_`, in capitals.
pub fn bare_capability(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        for (name, number) in
            [("CHOWN", 0), ("cap_net_bind_service", 10), ("CAP_SYS_ADMIN", 21), ("checkpoint_restore", 40)]
        {
            assert_eq!(capability(name), Some(number), "{name}");
        }
        assert_eq!((capability("ALL"), capability("")), (None, None));
        for (name, number) in [("cpu", 0), ("nofile", 7), ("as", 9), ("rttime", 15)] {
            assert_eq!(resource(name), Some(number), "{name}");
        }
    }
}
