//! `tinysup top`: what is on the screen, as a function of what is known, and what a key means. Knows no terminal and no socket.

use super::keys::Key;
use super::spark::{CELLS, Course};
use super::status::{exit, prospects, restarts, summary};
use super::{Look, NOTHING, clip, colour_of, pad, percent, plain, printable, size, stream};
use crate::control::{LogLine, Request, ServiceStatus, Status, VERSION, Verb};
use crate::gather::{Joined, present, resize};

/// Log lines that can be scrolled through.
const LOG_LINES: u32 = 500;
/// What a long name keeps, or a third of the terminal.
const NAME_MAX_COLUMNS: usize = 20;
/// Lines above and below the list: the summary, the headers; two about the chosen service, the keys.
const FRAME_ROWS: usize = 5;
/// With fewer lines for services than this, the two about the chosen one are left out.
const LIST_MIN_ROWS: usize = 4;

const REVERSE: &str = "\x1b[7m";
const NORMAL: &str = "\x1b[0m";

/// What is known, and what is looked at.
#[derive(Debug)]
pub struct Top {
    look: Look,
    status: Status,
    seen: Vec<Seen>,
    chosen: usize,
    mode: Mode,
    /// What the last request led to.
    note: String,
}

/// What the numbers of an instance were, to tell their course.
#[derive(Debug, Default)]
struct Seen {
    name: String,
    pid: Option<i32>,
    up_ms: u64,
    cpu_ms: u64,
    /// In the last second, as it is shown.
    cpu: String,
    memory: Course,
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    List,
    /// Asks whether that is meant.
    Sure(Verb, String),
    Logs {
        name: String,
        lines: Vec<LogLine>,
        /// How many lines the end is below the screen.
        back: usize,
    },
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// Another picture at most.
    Nothing,
    /// Something that the picture needs first.
    Fresh,
    /// This request.
    Do(Request),
    /// The end.
    Quit,
}

impl Top {
    /// Nothing is known yet.
    pub fn new(look: Look) -> Self {
        Self {
            look,
            status: Status::default(),
            seen: Vec::new(),
            chosen: 0,
            mode: Mode::List,
            note: String::new(),
        }
    }

    /// Takes a new status; one a second makes the courses right.
    pub fn update(&mut self, status: Status) {
        let chosen = self.chosen().map(|service| service.name.clone());
        let mut before = std::mem::take(&mut self.seen);
        for service in &status.services {
            let known = before.iter().position(|seen| seen.name == service.name);
            let mut seen = known.map(|at| before.swap_remove(at)).unwrap_or_default();
            seen.name.clone_from(&service.name);
            seen.sample(service);
            self.seen.push(seen);
        }
        let at = status.services.iter().position(|service| Some(&service.name) == chosen.as_ref());
        self.chosen = at.unwrap_or(self.chosen).min(status.services.len().saturating_sub(1));
        self.status = status;
    }

    /// The log lines that the picture needs.
    pub fn wanted_logs(&self) -> Option<Request> {
        match &self.mode {
            Mode::Logs { name, .. } => {
                Some(Request { lines: Some(LOG_LINES), names: vec![name.clone()], ..request(Verb::Logs) })
            }
            Mode::List | Mode::Sure(..) => None,
        }
    }

    /// Takes them.
    pub fn logs(&mut self, new: Vec<LogLine>) {
        if let Mode::Logs { lines, back, .. } = &mut self.mode {
            *lines = new;
            *back = (*back).min(lines.len().saturating_sub(1));
        }
    }

    /// What a request has led to, to be shown.
    pub fn tell(&mut self, note: &str) {
        self.note = printable(note.trim_end());
    }

    /// What a key means now, with so many lines on the screen.
    #[inline(never)]
    pub fn key(&mut self, key: Key, rows: usize) -> Wish {
        self.note.clear();
        let page = rows.saturating_sub(2).max(1);
        let last = self.status.services.len().saturating_sub(1);
        match (&mut self.mode, key) {
            (_, Key::Interrupt) | (Mode::List, Key::Char('q')) => return Wish::Quit,
            (Mode::List, Key::Up | Key::Char('k')) => self.chosen = self.chosen.saturating_sub(1),
            (Mode::List, Key::Down | Key::Char('j')) => self.chosen = (self.chosen + 1).min(last),
            (Mode::List, Key::PageUp) => self.chosen = self.chosen.saturating_sub(page),
            (Mode::List, Key::PageDown) => self.chosen = (self.chosen + page).min(last),
            (Mode::List, Key::Home) => self.chosen = 0,
            (Mode::List, Key::End) => self.chosen = last,
            (Mode::List, Key::Enter | Key::Char('l')) => {
                if let Some(name) = self.chosen_name() {
                    self.mode = Mode::Logs { name, lines: Vec::new(), back: 0 };
                    return Wish::Fresh;
                }
            }
            (Mode::List, Key::Char('r')) => self.ask(Verb::Restart),
            (Mode::List, Key::Char('s')) => self.ask(self.stop_or_start()),
            (Mode::List, Key::Escape | Key::Char(_)) => {}
            (Mode::Sure(verb, name), Key::Char('y' | 'Y') | Key::Enter) => {
                let request = Request { names: vec![std::mem::take(name)], ..request(*verb) };
                self.mode = Mode::List;
                return Wish::Do(request);
            }
            (Mode::Sure(..), _) => self.mode = Mode::List,
            (Mode::Logs { .. }, Key::Escape | Key::Enter | Key::Char('q' | 'l')) => self.mode = Mode::List,
            (Mode::Logs { lines, back, .. }, key) => {
                let most = lines.len().saturating_sub(page);
                *back = match key {
                    Key::Up | Key::Char('k') => *back + 1,
                    Key::PageUp => *back + page,
                    Key::Home => most,
                    Key::Down | Key::Char('j') => back.saturating_sub(1),
                    Key::PageDown => back.saturating_sub(page),
                    Key::End => 0,
                    Key::Enter | Key::Escape | Key::Interrupt | Key::Char(_) => *back,
                }
                .min(most);
            }
        }
        Wish::Nothing
    }

    /// The picture: at most so many lines of at most so many columns. `now_ms` is the time since 1970.
    #[inline(never)]
    pub fn screen(&self, columns: usize, rows: usize, now_ms: u64) -> Vec<String> {
        let mut lines = match &self.mode {
            Mode::List | Mode::Sure(..) => self.list(columns, rows),
            Mode::Logs { name, lines, back } => self.log_lines(name, lines, *back, columns, rows, now_ms),
        };
        let keys = clip(&self.keys(), columns, self.look);
        resize(&mut lines, rows.saturating_sub(1));
        lines.push(self.bar(&keys, columns));
        lines.truncate(rows);
        lines
    }

    #[inline(never)]
    fn list(&self, columns: usize, rows: usize) -> Vec<String> {
        let cut = |line: &str| clip(line, columns, self.look);
        let services = &self.status.services;
        let detailed = rows >= FRAME_ROWS + LIST_MIN_ROWS;
        let room = rows.saturating_sub(if detailed { FRAME_ROWS } else { FRAME_ROWS - 2 });
        let first = (self.chosen + 1).saturating_sub(room);
        let names = services.iter().map(|service| super::width(&service.name)).max().unwrap_or(0);
        let names = names.clamp("SERVICE".len(), NAME_MAX_COLUMNS.max(columns / 3));

        let memory = pad("MEMORY", 7 + CELLS);
        let headers = format!(" {}  STATE      CPU   {memory}  RESTARTS  LAST LINE", pad("SERVICE", names));
        let mut lines =
            vec![cut(&format!("tinysup  {}", summary(&self.status))), self.bar(&cut(&headers), columns)];
        for (number, service) in services.iter().enumerate().skip(first).take(room) {
            lines.push(self.row(service, number == self.chosen, names, columns));
        }
        if let (true, Some(service)) = (detailed, self.chosen()) {
            resize(&mut lines, rows.saturating_sub(3));
            let mut parts = present(&mut [service.last_exit.as_ref().map(exit)]);
            parts.append(&mut prospects(service));
            if let Some(says) = &service.says {
                parts.push(printable(says));
            }
            let pid = service.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
            let what = if parts.is_empty() { service.state.clone() } else { parts.joined("; ") };
            lines.push(cut(&format!("{}{pid}: {}", printable(&service.name), printable(&what))));
            lines.push(cut(&service.last_line.as_deref().map(plain).unwrap_or_default()));
        }
        lines
    }

    /// A name without its middle, where it has too many columns: its end tells the instances apart.
    fn shortened(&self, name: &str, columns: usize) -> String {
        let end = name.get(name.len().saturating_sub(columns / 2)..);
        let end = end.filter(|_| super::width(name) > columns).unwrap_or_default();
        clip(name, columns - super::width(end), self.look) + end
    }

    #[inline(never)]
    fn row(&self, service: &ServiceStatus, chosen: bool, names: usize, columns: usize) -> String {
        let seen = self.seen.iter().find(|seen| seen.name == service.name);
        let cpu = seen.map_or(NOTHING, |seen| &seen.cpu);
        let course = seen.map_or_else(String::new, |seen| seen.memory.draw(self.look.utf8));
        let memory = service.memory_bytes.map_or_else(|| NOTHING.to_owned(), |bytes| size(bytes).to_string());
        let name = pad(&self.shortened(&printable(&service.name), names), names);
        let state = pad(&printable(&service.state), 9);
        let mark = if chosen { '>' } else { ' ' };
        let before = format!("{mark}{name}  ");
        let after = format!(
            "  {}  {}{}  {}  {}",
            pad(cpu, 4),
            pad(&memory, 7),
            pad(&course, CELLS),
            pad(&restarts(service), 8),
            service.last_line.as_deref().map(plain).unwrap_or_default()
        );
        // Measured without colours, which take no columns.
        let whole = clip(&format!("{before}{state}{after}"), columns, self.look);
        match whole.strip_prefix(&before).and_then(|rest| rest.strip_prefix(&state)) {
            _ if chosen => self.bar(whole.trim_end(), columns),
            Some(rest) => {
                format!("{before}{}{}", self.look.paint(colour_of(&service.state), &state), rest.trim_end())
            }
            None => whole,
        }
    }

    #[inline(never)]
    fn log_lines(
        &self,
        name: &str,
        lines: &[LogLine],
        back: usize,
        columns: usize,
        rows: usize,
        now_ms: u64,
    ) -> Vec<String> {
        let room = rows.saturating_sub(2);
        let end = lines.len() - back.min(lines.len());
        let shown = lines.get(end.saturating_sub(room)..end).unwrap_or_default();
        let plain_look = Look { colour: false, ..self.look };
        let mut texts =
            vec![self.bar(&clip(&format!("logs of {}", printable(name)), columns, self.look), columns)];
        for line in shown {
            let text = stream::log(line, false, now_ms, plain_look);
            for line in text.lines() {
                texts.push(clip(&plain(line), columns, self.look));
            }
        }
        // A line with a note takes two.
        if texts.len() > room + 1 {
            texts.drain(1..texts.len() - room);
        }
        texts
    }

    fn keys(&self) -> String {
        match &self.mode {
            Mode::Sure(verb, name) => format!("{} {}?  y yes  n no", word(*verb), printable(name)),
            Mode::List | Mode::Logs { .. } if !self.note.is_empty() => self.note.clone(),
            Mode::List => {
                format!("up/down choose  r restart  s {}  l logs  q quit", word(self.stop_or_start()))
            }
            Mode::Logs { back: 0, .. } => "up/down scroll  q back".to_owned(),
            Mode::Logs { back, .. } => format!("up/down scroll  q back  ({back} lines below)"),
        }
    }

    /// A line that stands out.
    fn bar(&self, text: &str, columns: usize) -> String {
        if self.look.colour { format!("{REVERSE}{}{NORMAL}", pad(text, columns)) } else { text.to_owned() }
    }

    fn chosen(&self) -> Option<&ServiceStatus> {
        self.status.services.get(self.chosen)
    }

    fn chosen_name(&self) -> Option<String> {
        self.chosen().map(|service| service.name.clone())
    }

    fn stop_or_start(&self) -> Verb {
        match self.chosen().map(|service| service.state.as_str()) {
            Some("down" | "completed" | "failed") => Verb::Start,
            Some(_) | None => Verb::Stop,
        }
    }

    fn ask(&mut self, verb: Verb) {
        if let Some(name) = self.chosen_name() {
            self.mode = Mode::Sure(verb, name);
        }
    }
}

impl Seen {
    #[inline(never)]
    fn sample(&mut self, service: &ServiceStatus) {
        let (up_ms, cpu_ms) = (service.up_ms.unwrap_or(0), service.cpu_ms.unwrap_or(0));
        let same_run = self.pid.is_some() && self.pid == service.pid && up_ms > self.up_ms;
        self.cpu = match service.cpu_ms {
            None => NOTHING.to_owned(),
            Some(_) if same_run => percent(cpu_ms.saturating_sub(self.cpu_ms), up_ms - self.up_ms),
            Some(_) => percent(cpu_ms, up_ms),
        };
        (self.pid, self.up_ms, self.cpu_ms) = (service.pid, up_ms, cpu_ms);
        self.memory.add(service.memory_bytes.unwrap_or(0));
    }
}

fn request(verb: Verb) -> Request {
    Request { v: VERSION, verb, ..Request::default() }
}

fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Restart => "restart",
        Verb::Start => "start",
        _ => "stop",
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::example;
    use super::*;
    use crate::control::Stream;

    const LOOK: Look = Look { colour: false, width: None, utf8: true };
    const NOW: u64 = 1_795_298_180_000;

    fn top() -> Top {
        let mut top = Top::new(LOOK);
        top.update(example());
        let mut later = example();
        for service in &mut later.services {
            service.up_ms = service.up_ms.map(|up| up + 1_000);
            service.cpu_ms = service.cpu_ms.map(|cpu| cpu + 250);
            service.memory_bytes = service.memory_bytes.map(|memory| memory + (1 << 20));
        }
        top.update(later);
        top
    }

    fn screen(top: &Top, columns: usize, rows: usize) -> String {
        let lines = top.screen(columns, rows, NOW);
        assert!(lines.len() <= rows, "{lines:#?}");
        for line in &lines {
            assert!(super::super::width(line) <= columns, "{line:?}");
        }
        lines.join("\n") + "\n"
    }

    #[test]
    fn the_picture_at_80_by_24() {
        let mut top = top();
        top.key(Key::Down, 24);
        top.key(Key::Down, 24);
        top.key(Key::Down, 24);
        let mut expected = "\
tinysup  5 services: 2 ready, 1 completed, 1 backoff, 1 failed; up 2m15s, memor…
 SERVICE  STATE      CPU   MEMORY               RESTARTS  LAST LINE
 migrate  completed  -     -                 ▁  0/10
 db       ready      25%   11M               █  0/10
 api.1    ready      25%   59M               █  0/10      GET /health 200
>api.2    backoff    -     -                 ▁  3/10      panic: no route to db
 worker   failed     -     -                 ▁  10/10     FATAL bad configurati…
"
        .to_owned();
        expected.push_str(&"\n".repeat(14));
        expected.push_str(
            "\
api.2: code 9, 1s ago; next start in 0.4s
panic: no route to db
up/down choose  r restart  s stop  l logs  q quit
",
        );
        assert_eq!(screen(&top, 80, 24), expected);
    }

    #[test]
    fn a_long_name_has_a_third_of_the_window_and_keeps_its_end() {
        let mut status = example();
        status.services[0].name = "a-name-that-is-much-longer-than-twenty.7".to_owned();
        let mut top = Top::new(LOOK);
        top.update(status);
        assert!(screen(&top, 120, 24).contains("a-name-that-is-much-longer-than-twenty.7  completed"));
        assert!(screen(&top, 80, 24).contains("a-name-that-…than-twenty.7  completed"));
    }

    #[test]
    fn a_small_window_shows_what_fits_and_always_the_chosen_one() {
        let mut top = top();
        top.key(Key::End, 6);
        assert_eq!(
            screen(&top, 30, 6),
            "\
tinysup  5 services: 2 ready,…
 SERVICE  STATE      CPU   ME…
 api.1    ready      25%   59…
 api.2    backoff    -     - …
>worker   failed     -     - …
up/down choose  r restart  s …
"
        );
        for (columns, rows) in [(0, 0), (1, 1), (5, 3), (80, 2), (3, 50), (300, 200)] {
            screen(&top, columns, rows);
        }
    }

    #[test]
    fn colours_take_no_columns() {
        let mut top = top();
        let plain_picture = top.screen(60, 12, NOW);
        top.look.colour = true;
        let coloured = top.screen(60, 12, NOW);
        assert!(coloured.iter().any(|line| line.contains("\x1b[31mfailed   \x1b[0m")), "{coloured:#?}");
        for (line, expected) in coloured.iter().zip(&plain_picture) {
            assert_eq!(plain(line).trim_end(), expected.trim_end());
        }
    }

    #[test]
    fn what_is_done_is_asked_first() {
        let mut top = top();
        assert_eq!(top.key(Key::Char('r'), 24), Wish::Nothing);
        assert!(screen(&top, 80, 24).ends_with("\nrestart migrate?  y yes  n no\n"));
        assert_eq!(top.key(Key::Char('n'), 24), Wish::Nothing);
        top.key(Key::Char('j'), 24);
        top.key(Key::Char('r'), 24);
        let expected = Request { names: vec!["db".to_owned()], ..request(Verb::Restart) };
        assert_eq!(top.key(Key::Char('y'), 24), Wish::Do(expected));
        top.tell("db restarted\n");
        assert!(screen(&top, 80, 24).ends_with("\ndb restarted\n"));
        top.key(Key::Char('s'), 24);
        let expected = Request { names: vec!["db".to_owned()], ..request(Verb::Stop) };
        assert_eq!(top.key(Key::Enter, 24), Wish::Do(expected));
        top.key(Key::End, 24);
        assert!(screen(&top, 80, 24).ends_with("s start  l logs  q quit\n"));
        top.key(Key::Char('s'), 24);
        let expected = Request { names: vec!["worker".to_owned()], ..request(Verb::Start) };
        assert_eq!(top.key(Key::Char('y'), 24), Wish::Do(expected));
        assert_eq!(top.key(Key::Char('q'), 24), Wish::Quit);
    }

    #[test]
    fn no_name_moves_the_cursor_when_it_is_asked_about() {
        let mut top = Top::new(LOOK);
        let mut status = example();
        status.services.truncate(1);
        status.services[0].name = "a\u{1b}[2J".to_owned();
        top.update(status);
        top.key(Key::Char('r'), 24);
        assert!(
            screen(&top, 80, 24).ends_with("\nrestart a [2J?  y yes  n no\n"),
            "{}",
            screen(&top, 80, 24)
        );
    }

    #[test]
    fn ctrl_c_always_quits() {
        for keys in [&[][..], &[Key::Char('r')], &[Key::Char('l')]] {
            let mut top = top();
            for key in keys {
                top.key(*key, 24);
            }
            assert_eq!(top.key(Key::Interrupt, 24), Wish::Quit, "{keys:?}");
        }
    }

    #[test]
    fn logs_are_scrolled_through() {
        let mut top = top();
        assert_eq!(top.wanted_logs(), None);
        assert_eq!(top.key(Key::Enter, 6), Wish::Fresh);
        let wanted = top.wanted_logs().unwrap();
        assert_eq!(
            (wanted.verb, wanted.names, wanted.lines),
            (Verb::Logs, vec!["migrate".to_owned()], Some(500))
        );
        let line = |number: u64| LogLine {
            name: "migrate".to_owned(),
            stream: (number != 6).then_some(Stream::Stdout),
            ago_ms: (6 - number) * 100,
            text: format!("\x1b[31mline {number}\x1b[0m\t"),
            dropped: 0,
        };
        top.logs((0..=6).map(line).collect());
        assert_eq!(
            screen(&top, 40, 6),
            "\
logs of migrate
21:56:19.7 out line 3 \n\
21:56:19.8 out line 4 \n\
21:56:19.9 out line 5 \n\
21:56:20.0  --   [31mline 6 [0m \n\
up/down scroll  q back
"
        );
        top.key(Key::PageUp, 6);
        assert!(screen(&top, 40, 6).ends_with("line 3 \nup/down scroll  q back  (3 lines below)\n"));
        top.key(Key::Down, 6);
        assert!(screen(&top, 40, 6).contains("(2 lines below)"));
        top.key(Key::Home, 6);
        assert!(screen(&top, 40, 6).contains("out line 0"), "{}", screen(&top, 40, 6));
        top.logs(Vec::new());
        screen(&top, 40, 6);
        assert_eq!(top.key(Key::Escape, 6), Wish::Nothing);
        assert_eq!(top.wanted_logs(), None);
    }

    #[test]
    fn the_chosen_one_stays_chosen_when_others_come_and_go() {
        let mut top = top();
        top.key(Key::Down, 24);
        let mut fewer = example();
        fewer.services.remove(0);
        top.update(fewer);
        assert_eq!(top.chosen_name().as_deref(), Some("db"));
        top.update(Status::default());
        assert_eq!(top.chosen_name(), None);
        for key in [Key::Down, Key::End, Key::Char('r'), Key::Char('s'), Key::Enter, Key::PageDown] {
            assert_eq!(top.key(key, 24), Wish::Nothing);
        }
        screen(&top, 80, 24);
    }

    #[test]
    fn a_new_run_is_not_compared_with_the_last() {
        let mut top = top();
        let mut restarted = example();
        restarted.services[1].pid = Some(99);
        restarted.services[1].up_ms = Some(1_000);
        restarted.services[1].cpu_ms = Some(100);
        top.update(restarted);
        assert_eq!(top.seen[1].cpu, "10%");
    }
}
