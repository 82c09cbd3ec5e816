//! The client's side: lines of a server that says anything, with all that is shown of them, and a person at `tinysup top` before it.
//! A line that begins with `!` is keys.

use tinysup::control::Answer;
use tinysup::view::keys::keys;
use tinysup::view::top::Top;
use tinysup::view::{self, Look};

const NOW_MS: u64 = 1_700_000_000_000;

const LOOKS: [Look; 2] =
    [Look { colour: false, width: None, utf8: true }, Look { colour: false, width: Some(40), utf8: false }];

pub fn run(bytes: &[u8]) {
    let mut top = Top::new(LOOKS[1]);
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(typed) = line.strip_prefix(b"!") {
            press(&mut top, typed);
            continue;
        }
        let Ok(answer) = Answer::parse(line) else { continue };
        assert_eq!(serde_json::from_slice::<Answer>(line).ok().as_ref(), Some(&answer), "another reader");
        let written = answer.line();
        assert_eq!(Answer::parse(&written).as_ref(), Ok(&answer));
        assert_eq!(written.iter().position(|byte| *byte == b'\n'), Some(written.len() - 1), "one line");
        for look in LOOKS {
            let text = show(&answer, look);
            assert!(!super::has_controls(&text), "{text:?}");
        }
        show(&answer, Look { colour: true, width: Some(10), utf8: true });
        match answer {
            Answer::Status(status) => top.update(status),
            Answer::Log(line) => top.logs(vec![line]),
            Answer::Refused(refusal) => top.tell(&refusal.text),
            Answer::Describe(_)
            | Answer::Changed(_)
            | Answer::Verdict(_)
            | Answer::Memory(_)
            | Answer::Event(_)
            | Answer::End => {}
        }
        draw(&top);
    }
}

fn show(answer: &Answer, look: Look) -> String {
    match answer {
        Answer::Status(status) => view::status::status(status, look),
        Answer::Describe(all) => view::describe::descriptions(all, look),
        Answer::Changed(changes) => view::changes(changes, look),
        Answer::Verdict(verdict) => view::verdict(verdict),
        Answer::Memory(memory) => view::memory::memory(memory, look),
        // What a service wrote is shown as it is.
        Answer::Log(line) => {
            view::stream::log(line, true, NOW_MS, look);
            String::new()
        }
        Answer::Event(line) => view::stream::event(line, NOW_MS, look),
        Answer::Refused(refusal) => view::line(&refusal.text),
        Answer::End => String::new(),
    }
}

fn press(top: &mut Top, typed: &[u8]) {
    let mut left = typed.to_vec();
    for key in keys(&mut left, false).into_iter().chain(keys(&mut left, true)) {
        top.key(key, 10);
        top.wanted_logs();
    }
    draw(top);
    assert!(typed.len() >= left.len());
}

fn draw(top: &Top) {
    for (columns, rows) in [(80, 8), (1, 1)] {
        let lines = top.screen(columns, rows, NOW_MS);
        assert!(lines.len() <= rows);
        assert!(lines.iter().all(|line| !super::has_controls(line) && !line.contains('\n')), "{lines:?}");
    }
}
