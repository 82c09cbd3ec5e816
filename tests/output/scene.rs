//! What there is in a scene: the services, where their streams go, and how [log] is set. All of it by chance.

use std::fmt::Write as _;

use crate::account::{Form, Goes};
use crate::rng::Rng;

/// Why lines may lack. One reason in a scene, so that each is counted for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Never,
    /// By `log_rate_limit`.
    Rate,
    /// By `overflow = "drop"`.
    Overflow,
    /// A file cannot be written to.
    File,
}

#[derive(Clone, Debug)]
pub struct Scene {
    pub loss: Loss,
    pub format: Form,
    pub timestamps: bool,
    pub colored: bool,
    /// Standard output and standard error are one pipe.
    pub merged: bool,
    pub services: Vec<Service>,
    pub files: Vec<LogFile>,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub instances: u32,
    pub goes: [Goes; 2],
    /// So many lines in so many seconds.
    pub rate: Option<(u32, u32)>,
}

#[derive(Clone, Debug)]
pub struct LogFile {
    /// With the number of the instance in it.
    pub each: bool,
    pub form: Form,
    /// None: as large as it likes.
    pub max_size: Option<u64>,
    pub max_files: u32,
}

const NAMES: [&str; 6] = ["a", "api", "worker-2", "b_b", "a-name-that-is-rather-long-for-one", "web.x"];
const FORMS: [(u64, Form); 3] = [(4, Form::Prefix), (4, Form::Json), (4, Form::Raw)];
/// So many seconds a rate may be about.
const PERS: [(&str, u32); 4] = [("s", 1), ("10s", 10), ("m", 60), ("h", 3600)];

impl Scene {
    pub fn new(rng: &mut Rng) -> Self {
        let loss = rng.weighted(&[(6, Loss::Never), (2, Loss::Rate), (2, Loss::Overflow), (1, Loss::File)]);
        let count = rng.between(1, 4);
        let mut files = Vec::new();
        for _ in 0..rng.between(0, 3).max(u64::from(loss == Loss::File)) {
            let rotated = loss != Loss::File && rng.per_mille(600);
            files.push(LogFile {
                each: rng.per_mille(200),
                form: rng.weighted(&FORMS),
                max_size: rotated.then(|| rng.weighted(&[(3, 4096), (2, 5000), (2, 20_000), (1, 200_000)])),
                max_files: rng.weighted(&[(2, 1), (2, 2), (2, 5), (3, 40)]),
            });
        }
        let mut scene = Self {
            loss,
            format: rng.weighted(&FORMS),
            timestamps: rng.per_mille(300),
            colored: rng.per_mille(250),
            merged: rng.per_mille(200),
            services: Vec::new(),
            files,
        };
        let mut names = NAMES.to_vec();
        rng.shuffle(&mut names);
        names.retain(|name| !name.contains('.'));
        for name in names.into_iter().take(usize::try_from(count).expect("few")) {
            let goes = [scene.goes(rng, 0), scene.goes(rng, 1)];
            let rate = (loss == Loss::Rate && rng.per_mille(800))
                .then(|| (rng.weighted(&[(1, 1), (2, 3), (2, 20), (2, 100), (1, 5000)]), rng.pick(&PERS).1));
            scene.services.push(Service {
                name: name.to_owned(),
                instances: rng.weighted(&[(3, 1), (1, 2), (1, 3)]),
                goes,
                rate,
            });
        }
        scene
    }

    /// Where a stream may go.
    pub fn goes(&self, rng: &mut Rng, stream: usize) -> Goes {
        let to_files = if self.files.is_empty() { 0 } else { 8 };
        match rng.weighted(&[(10, 0), (to_files, 1), (1, 2)]) {
            0 => Goes::Container(if rng.per_mille(300) { self.format } else { rng.weighted(&FORMS) }),
            1 => {
                let file = rng.index(self.files.len());
                let sink = if rng.per_mille(700) { stream } else { 1 - stream };
                let also = rng.per_mille(300).then_some((sink, self.format));
                Goes::File(file, self.files[file].form, also)
            }
            _ => Goes::Nowhere,
        }
    }

    /// The file, in a folder and with a program that its services run.
    pub fn config(&self, folder: &str, program: &str, socket: &str) -> String {
        let mut text = format!(
            "shutdown_timeout = \"100s\"\n[defaults]\nmax_restarts = \"unlimited\"\nrestart_delay = 0\nkill_timeout = \"60s\"\non_failure = \"ignore\"\n\
             [log]\nformat = \"{}\"\ntimestamps = {}\ncolor = \"{}\"\noverflow = \"{}\"\nmax_size = \"unlimited\"\n",
            word(self.format),
            self.timestamps,
            if self.colored { "always" } else { "auto" },
            if self.loss == Loss::Overflow { "drop" } else { "block" },
        );
        for service in &self.services {
            let _ = write!(
                text,
                "[services.{}]\ncommand = [\"{program}\", \"{}\", \"{socket}\"]\ninstances = {}\n",
                service.name,
                crate::writer::WRITER,
                service.instances,
            );
            for (name, goes) in ["stdout", "stderr"].iter().zip(&service.goes) {
                let value = match goes {
                    Goes::Nowhere => "\"null\"".to_owned(),
                    Goes::Container(form) if *form == self.format => continue,
                    Goes::Container(form) => format!("\"{}\"", word(*form)),
                    Goes::File(file, ..) => self.file(*file, goes, folder),
                };
                let _ = writeln!(text, "{name} = {value}");
            }
            if let Some((lines, per)) = service.rate {
                let (word, _) = PERS.iter().find(|(_, seconds)| *seconds == per).expect("of these");
                let _ = writeln!(text, "log_rate_limit = \"{lines}/{word}\"");
            }
        }
        text
    }

    fn file(&self, number: usize, goes: &Goes, folder: &str) -> String {
        let file = &self.files[number];
        let variable = if file.each { ".${TINYSUP_INSTANCE}" } else { "" };
        let mut table =
            format!("{{ file = \"{folder}/logs/f{number}{variable}.log\", max_files = {}", file.max_files);
        if file.form != Form::Raw {
            let _ = write!(table, ", format = \"{}\"", word(file.form));
        }
        if let Some(size) = file.max_size {
            let _ = write!(table, ", max_size = {size}");
        }
        if let Goes::File(_, _, Some((sink, _))) = goes {
            let _ = write!(table, ", also = \"{}\"", crate::account::STREAMS[*sink]);
        }
        table + " }"
    }

    /// The name of a concrete file.
    pub fn file_name(&self, number: usize, instance: u32) -> String {
        if self.files[number].each { format!("f{number}.{instance}.log") } else { format!("f{number}.log") }
    }
}

fn word(form: Form) -> &'static str {
    match form {
        Form::Prefix => "prefix",
        Form::Json => "json",
        Form::Raw | Form::Kept => "raw",
    }
}
