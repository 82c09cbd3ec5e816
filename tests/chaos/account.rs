//! The events of the container from its first to its last, and whether each run that began has ended exactly once.

use std::collections::BTreeMap;
use std::thread::{self, JoinHandle};

use tinysup::control::Answer;

use crate::container::{Container, answers};

/// Reads them all.
pub struct Account(JoinHandle<Result<Balance, String>>);

/// What came to pass.
struct Balance {
    ends: u64,
    kinds: BTreeMap<String, u64>,
}

impl Account {
    pub fn open(container: &Container) -> Self {
        let stream = container.begin("\"verb\":\"events\",\"follow\":true");
        Self(thread::spawn(move || balance(answers(stream))))
    }

    /// Compares it, when the container has ended, with how many runs had begun; what came to pass, for people.
    pub fn close(self, runs: u64) -> String {
        let Balance { ends, kinds } =
            self.0.join().expect("no panic").unwrap_or_else(|why| panic!("the events: {why}"));
        assert_eq!(ends, runs, "ends that were told, and runs that had begun: {kinds:?}");
        format!("{runs} runs, each with its end; events: {kinds:?}")
    }
}

/// How many runs have begun so far.
pub fn runs(container: &Container) -> u64 {
    let Answer::Status(status) = container.ask_one("\"verb\":\"status\"") else { panic!("no status") };
    status.services.iter().map(|service| u64::from(service.runs)).sum()
}

fn balance(answers: impl Iterator<Item = Answer>) -> Result<Balance, String> {
    let mut balance = Balance { ends: 0, kinds: BTreeMap::new() };
    let (mut last, mut up) = (0, BTreeMap::new());
    for answer in answers {
        let event = match answer {
            Answer::Event(event) => event,
            Answer::End => break,
            other => return Err(format!("{other:?}")),
        };
        if event.seq != last + 1 {
            return Err(format!("{} comes after {last}", event.seq));
        }
        last = event.seq;
        let name = event.name.unwrap_or_default();
        match event.kind.as_str() {
            "up" => {
                if let Some(before) = up.insert(name.clone(), last) {
                    return Err(format!("{name} is up in {last}, and has not ended since {before}"));
                }
            }
            // One may have ended before it was seen that its program runs.
            "ended" | "failed" | "completed" => {
                balance.ends += 1;
                up.remove(&name);
            }
            _ => {}
        }
        *balance.kinds.entry(event.kind).or_default() += 1;
    }
    if up.is_empty() { Ok(balance) } else { Err(format!("up and never ended: {up:?}")) }
}
