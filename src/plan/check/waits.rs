//! What waits for what, and how it is known that the wait is over.

use super::{MAX_NAMES, Service, list};
use crate::gather::{Gather, resize};
use crate::plan::{Condition, Ready, ReadyTest};
use crate::units::show_duration;

/// So many services that wait are shown.
const MAX_WAITING: usize = 20;
/// The longest name that others are aligned with, and so much of a test is shown.
const MAX_NAME: usize = 24;
const MAX_TEST: usize = 60;

/// One line for each service that waits, in start order. How a service is known to be ready is said where it is named first.
#[inline(never)]
pub fn lines(services: &[Service<'_>]) -> Vec<String> {
    let waiting: Vec<&Service<'_>> =
        services.iter().filter(|service| !service.depends_on.is_empty()).gather();
    let shown = waiting.get(..MAX_WAITING).unwrap_or(&waiting);
    let width =
        shown.iter().map(|service| service.first.service.len().min(MAX_NAME)).max().unwrap_or_default();
    let mut known = vec![false; services.len()];
    let mut lines: Vec<String> = Vec::new();
    for service in shown {
        let mut names = Vec::new();
        for link in service.depends_on.iter().take(MAX_NAMES) {
            let (Some(on), Some(known)) = (services.get(link.on), known.get_mut(link.on)) else { continue };
            let mut how = condition(link.condition, on, *known);
            *known |= link.condition == Condition::Ready;
            if link.restart {
                how.push_str("; restarted with it");
            }
            names.push(format!("{} ({how})", on.first.service));
        }
        // The rest only counts.
        resize(&mut names, service.depends_on.len());
        lines.push(format!("{:width$} for {}", service.first.service, list(&names)));
    }
    match waiting.len() - shown.len() {
        0 => {}
        more => lines.push(format!("and {more} more services for others")),
    }
    lines
}

fn condition(condition: Condition, on: &Service<'_>, known: bool) -> String {
    match (condition, &on.first.ready) {
        (Condition::Started, _) => "started".to_owned(),
        (Condition::Completed, _) => "completed".to_owned(),
        (Condition::Ready, None) => "its program runs".to_owned(),
        (Condition::Ready, Some(_)) if known => "ready".to_owned(),
        (Condition::Ready, Some(ready)) => match ready.test {
            ReadyTest::After(_) => format!("ready: {}", test(ready)),
            ReadyTest::Notified | ReadyTest::Announced | ReadyTest::Said(_) | ReadyTest::Asked(_) => {
                format!("ready: {}, at most {}", test(ready), show_duration(ready.timeout))
            }
        },
    }
}

fn test(ready: &Ready) -> String {
    let mut shown: String = ready.shown.chars().take(MAX_TEST).collect();
    if shown.len() < ready.shown.len() {
        shown.push('…');
    }
    shown
}
