//! A start that stops short of starting: what would stand in its way as things are here. For `check`, which runs while an image
//! is built; what only the start can tell (a volume, a secret, privileges) is not looked at.

use std::rc::Rc;

use super::environment::Environment;
use super::spawn::Attempt;
use super::{call, diagnose, users, word};
use crate::event::{Launch, StartError};

/// The first thing that would make this start fail; `None` if none is seen.
#[inline(never)]
pub fn obstacle(launch: &Launch) -> Option<StartError> {
    // Secrets are mounted when the container runs.
    let launch = Launch { env_from_file: Rc::default(), ..launch.clone() };
    match attempt(launch) {
        Ok(attempt) => diagnose::obstacle(&attempt),
        Err(error) => Some(*error),
    }
}

fn attempt(launch: Launch) -> Result<Attempt, Box<StartError>> {
    let identity = users::resolve(&launch.identity)?;
    let envp = Environment::inherited().of_child(&launch, &identity, &[])?;
    if let Some(cwd) = &launch.cwd
        && let Err(errno) = call::open(cwd, libc::O_DIRECTORY)
    {
        let path = cwd.display().to_string();
        return Err(StartError::WorkingDirectory { path, reason: word(errno) }.into());
    }
    Attempt::rehearsed(&Rc::new(launch), &envp, identity.uid)
}
