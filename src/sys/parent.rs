//! What we tell whoever started us, by sd_notify(3): a systemd unit or a Podman container (`--sdnotify=container`) that waits for it.

use super::environment::variable;
use super::socket::{Address, Kind};
use super::word;

const VARIABLE: &str = "NOTIFY_SOCKET";

/// Says that all services are up, if somebody wants to know. Never waits.
#[inline(never)]
pub fn tell_ready() {
    let Some(place) = variable(VARIABLE.as_bytes()).filter(|place| !place.is_empty()) else { return };
    let send = || nix::unistd::write(&Address::unix(&place)?.connect(Kind::Datagrams)?, b"READY=1\n");
    if let Err(errno) = send() {
        say!(Warn, "{VARIABLE}={}: nobody can be told READY=1 there: {}", place.display(), word(errno));
    }
}
