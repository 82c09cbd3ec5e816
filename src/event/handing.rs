//! Handing on what crosses the seam. There are a hundred places that do, and an action is large: to write it where it belongs in each
//! of them would be much code. So it is done here, and not inlined.

use super::{Action, Event};
use crate::notice::Notice;

/// Orders something.
#[inline(never)]
pub fn order(out: &mut Vec<Action>, action: Action) {
    out.push(action);
}

/// Orders that something is told.
#[inline(never)]
pub fn tell(out: &mut Vec<Action>, notice: Notice) {
    out.push(Action::Tell(notice));
}

/// Reports something.
#[inline(never)]
pub fn report(events: &mut Vec<Event>, event: Event) {
    events.push(event);
}
