//! Before services are started: whether a tinysup runs that has started them. Who types `docker exec CONTAINER tinysup` may not know that
//! this is the ENTRYPOINT's command, and two databases on the same files are worse than an error.

use std::path::Path;
use std::time::Duration;

use crate::control::{Answer, Place, Request, VERSION};
use crate::sys::{self, Connection, Limit, Lost};

/// How long such an answer may take. A tinysup that is frozen gives none.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why nothing is started: at one of the sockets that would be ours somebody answers that it runs this configuration, or does not
/// say which it runs. A second tinysup with another configuration, or with a socket of its own, is as good as the first.
pub fn runs_already(place: &Place, config: &str, command: bool) -> Option<String> {
    sys::places(place).iter().find_map(|place| look_at(place, config, command))
}

#[inline(never)]
fn look_at(place: &Path, config: &str, command: bool) -> Option<String> {
    let limit = Limit::after(Some(PATIENCE));
    let mut connection = Connection::open(Some(place), limit).ok()?;
    let pid = connection.neighbour()?;
    let request = Request { v: VERSION, ..Request::default() }.line(); // `status`
    let answer = connection.send(&request, limit).and_then(|()| connection.line(limit));
    let what = match answer.map(Answer::parse) {
        Ok(Ok(Answer::Status(status))) => {
            let theirs = status.config?;
            if theirs != config && !sys::is_one_file(Path::new(&theirs), Path::new(config)) {
                return None;
            }
            format!("{config} runs already: by tinysup, pid {pid}, which listens at {}", place.display())
        }
        // Too busy, not for this user, or silent: it may be the same, and what is not known is not started twice.
        Ok(Ok(Answer::Refused(_))) | Err(Lost::Late) => format!(
            "at {} listens pid {pid}, which does not say whether it runs {config} already",
            place.display()
        ),
        Ok(_) | Err(Lost::Closed | Lost::TooLong | Lost::Unheard | Lost::Dismissed) => return None, // whoever that is, it is no tinysup
    };
    let command = if command { "`tinysup -- COMMAND` runs the command alone, " } else { "" };
    Some(format!(
        "{what}. Nothing was started. `tinysup status` shows its services, `tinysup start NAME` starts one, `tinysup update` reads the \
         configuration again, {command}and with another TINYSUP_SOCKET a second tinysup runs beside it"
    ))
}
