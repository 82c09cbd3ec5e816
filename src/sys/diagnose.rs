//! From the step that failed to the cause that a person can act on.

use super::child::{Failure, Step};
use super::spawn::Attempt;
use crate::event::StartError;

/// Why a child could not be started.
pub fn diagnose(failure: Failure, attempt: &Attempt) -> StartError {
    let reason = failure.errno.desc().to_owned();
    let _ = attempt;
    match failure.step {
        Step::Exec => StartError::Other { what: "execute".into(), reason },
        _ => StartError::Other { what: format!("{:?}", failure.step), reason },
    }
}
