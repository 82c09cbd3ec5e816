//! What a value comes to for one instance: its variables replaced, looked up in the service's own environment first and then in
//! the container's.
//!
//! The layers, the first that has a name wins: `TINYSUP_SERVICE`, `TINYSUP_INSTANCE` and the name of `instance_env`; `env`; the files of
//! `env_file`, later ones first; the container. A variable that refers to itself means the layer below (`PATH = "/app/bin:${PATH}"`);
//! any other circle is an error.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::config::dotenv::{self, EnvFile};
use crate::config::files::{self, World};
use crate::config::interpolate::{self, Fault, Lookup, Place, Reported};
use crate::config::keys::Key;
use crate::config::source::{FileId, Span};
use crate::config::tree::{Entry, Node, Value};
use crate::config::{Problem, Problems, Setting};
use crate::event::Secret;
use crate::gather::{Gather, Joined};
use crate::sorted::{Map, last_for_first};

/// The environment variable that names the service.
pub const SERVICE: &str = "TINYSUP_SERVICE";
/// The environment variable that tells the number of the instance.
pub const INSTANCE: &str = "TINYSUP_INSTANCE";

/// How long a chain of variables that refer to each other may be.
const MAX_CHAIN: usize = 32;
/// How many bytes all values together may come to, and how many each costs besides its own.
const MAX_BYTES: usize = 128 << 20;
const BYTES_PER_VALUE: usize = 64;

/// A result whose errors have been reported.
pub type Read<T> = Result<T, Reported>;

/// Evaluates values and reports what is wrong with them.
pub struct Evaluator<'a> {
    /// The files and the container's environment.
    pub world: &'a dyn World,
    /// Where problems go.
    pub problems: &'a mut Problems,
    /// While set, what only this container's environment is to blame for is not reported: the service is not there anyway.
    pub lenient: bool,
    env_files: Map<OsString, Option<Rc<(FileId, EnvFile)>>>,
    bytes_left: usize,
}

/// A text after its variables were replaced. May be a secret. It is passed on in a box: so whether there is one is told in a register,
/// in thirty places.
pub struct Text {
    /// The bytes, none of them NUL.
    pub bytes: Vec<u8>,
    /// Whether a variable was replaced: then no message shows it.
    pub replaced: bool,
}

/// What may stand without quotes where a text is expected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scalars {
    /// Nothing.
    None,
    /// Whole numbers.
    Integers,
    /// All numbers.
    Numbers,
    /// Numbers, true and false.
    All,
}

/// The environment of a service as it is written, `[defaults]` merged in; the same for all its instances.
pub struct Environment<'a> {
    /// The service's name.
    pub service: &'a str,
    /// `instance_env`.
    pub instance_env: String,
    /// `env`.
    pub env: Vec<&'a Entry>,
    /// Where a name is in `env`.
    pub index: Map<&'a str, usize>,
    /// `env_file`.
    pub env_file: Option<&'a Setting>,
}

/// The environment as one instance sees it, evaluated as far as it was asked for.
pub struct Scope<'a> {
    written: &'a Environment<'a>,
    /// The number of the instance; `None` where a value holds for all of them.
    number: Option<u32>,
    env: Vec<State>,
    /// Opened when first needed.
    files: Option<Vec<OpenFile>>,
    stack: Vec<Position>,
}

struct OpenFile {
    file: Rc<(FileId, EnvFile)>,
    states: Vec<State>,
}

/// How far a variable is evaluated.
#[derive(Clone)]
enum State {
    Unknown,
    Known(Option<Rc<[u8]>>),
    Failed,
}

/// Where a variable is defined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Env(usize),
    File(usize, usize),
}

/// The layers from the top.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
    Env,
    Files,
    Container,
}

impl<'a> Environment<'a> {
    /// Sets the variables of `env`; of those that have one name the last counts, in the place of the first.
    #[inline(never)]
    pub fn set(&mut self, entries: Vec<&'a Entry>) {
        self.env = entries;
        self.number();
        if self.env.len() > self.index.len() {
            let last = |entry: &&Entry| self.index.get(entry.key.as_str()).copied();
            self.env = last_for_first(std::mem::take(&mut self.env), &last);
            self.number();
        }
    }

    /// Makes `instance_env` known, which goes over `env`.
    pub fn set_instance_env(&mut self, name: &str) {
        name.clone_into(&mut self.instance_env);
        self.env.retain(|entry| entry.key != name);
        self.number();
    }

    /// Notes where each name is; all at once, as there may be very many.
    #[inline(never)]
    fn number(&mut self) {
        self.index = self.env.iter().enumerate().map(|(index, entry)| (entry.key.as_str(), index)).collect();
    }
}

impl<'a> Scope<'a> {
    /// The environment of the instance with this number, or of what all instances have in common.
    pub fn new(written: &'a Environment<'a>, number: Option<u32>) -> Self {
        Self {
            written,
            number,
            env: written.env.iter().map(|_| State::Unknown).gather(),
            files: None,
            stack: Vec::new(),
        }
    }

    fn files(&self) -> &[OpenFile] {
        self.files.as_deref().unwrap_or_default()
    }
}

impl<'a> Evaluator<'a> {
    /// An evaluator that has seen nothing yet.
    pub fn new(world: &'a dyn World, problems: &'a mut Problems) -> Self {
        Self { world, problems, lenient: false, env_files: Map::new(), bytes_left: MAX_BYTES }
    }

    /// Reports a problem.
    pub fn fail(&mut self, problem: Box<Problem>) -> Reported {
        self.problems.push(problem);
        Reported
    }

    /// Reports what is wrong at a place.
    pub fn wrong(&mut self, at: Span, message: fmt::Arguments<'_>) -> Reported {
        self.problems.tell(at, message);
        Reported
    }

    /// Reports what is wrong at a place, and what helps.
    pub fn wrong_with(
        &mut self,
        at: Span,
        message: fmt::Arguments<'_>,
        help: fmt::Arguments<'_>,
    ) -> Reported {
        self.problems.advise(at, message, help);
        Reported
    }

    /// A string with its variables replaced; numbers and booleans as they are written, where they are welcome.
    ///
    /// # Errors
    /// It is something else, or a variable is not set; reported.
    #[inline(never)]
    pub fn text(
        &mut self,
        scope: &mut Scope<'_>,
        key: &Key,
        node: &Node,
        scalars: Scalars,
    ) -> Read<Box<Text>> {
        self.text_of(scope, key.name, key.expected, node, scalars)
    }

    #[inline(never)]
    fn text_of(
        &mut self,
        scope: &mut Scope<'_>,
        setting: &str,
        expected: &str,
        node: &Node,
        scalars: Scalars,
    ) -> Read<Box<Text>> {
        self.charge(0, node.span)?;
        let plain = |text: String| Ok(Box::new(Text { bytes: text.into_bytes(), replaced: false }));
        match &node.value {
            Value::Text(text) => {
                let place = |range| node.place_in_text(range);
                self.expand(scope, &text.text, &place, None)
            }
            Value::Integer { value, .. } if scalars >= Scalars::Integers => plain(value.to_string()),
            Value::Float { written, .. } if scalars >= Scalars::Numbers => plain(written.clone()),
            Value::Boolean(value) if scalars >= Scalars::All => plain(value.to_string()),
            Value::Unusable => Err(Reported),
            _ => {
                let message = format_args!("{setting} must be {expected}, not {}", node.kind());
                Err(self.wrong(node.span, message))
            }
        }
    }

    /// A template with its variables replaced. `place` finds the bytes of a problem; `within`: the variable whose value it is.
    fn expand(
        &mut self,
        scope: &mut Scope<'_>,
        template: &str,
        place: &dyn Fn(Range<usize>) -> Span,
        within: Option<(Layer, &str)>,
    ) -> Read<Box<Text>> {
        let mut lookup = InScope { evaluator: self, scope, place, within };
        let expanded = match interpolate::expand(template, &mut lookup) {
            Ok(expanded) => expanded,
            Err(Fault::Reported) => return Err(Reported),
            Err(Fault::At(wrong)) if wrong.unset && self.lenient => return Err(Reported),
            Err(Fault::At(wrong)) => {
                let Place { at, message, help, .. } = *wrong;
                return Err(self.fail(Problem::at(place(at), message).maybe_help(help)));
            }
        };
        if expanded.bytes.contains(&0) {
            return Err(self.wrong(
                place(0..template.len()),
                format_args!("this has a NUL character, which no program can be given"),
            ));
        }
        self.charge(expanded.bytes.len(), place(0..template.len()))?;
        Ok(Box::new(Text { bytes: expanded.bytes, replaced: expanded.replaced }))
    }

    /// Takes a value of so many bytes, and what it costs to keep, off what all together may come to.
    fn charge(&mut self, bytes: usize, at: Span) -> Read<()> {
        if let Some(left) = self.bytes_left.checked_sub(bytes + BYTES_PER_VALUE) {
            self.bytes_left = left;
            return Ok(());
        }
        self.bytes_left = 0;
        Err(self.wrong(at, format_args!("the values of all instances together come to more than 128 MiB")))
    }

    /// A template that is part of a value, with its variables replaced. `place` finds the bytes of a problem.
    ///
    /// # Errors
    /// Reported.
    pub fn template(
        &mut self,
        scope: &mut Scope<'_>,
        template: &str,
        place: &dyn Fn(Range<usize>) -> Span,
    ) -> Read<Box<Text>> {
        self.expand(scope, template, place, None)
    }

    /// All variables that the instance gets over the container's, `env` over the files of `env_file`. Those that cannot be had
    /// are left out and reported.
    pub fn environment(&mut self, scope: &mut Scope<'_>) -> Vec<(OsString, Secret)> {
        let written = scope.written;
        self.open_files(scope);
        let files: Vec<_> = scope.files().iter().map(|open| Rc::clone(&open.file)).gather();
        let mut found = Vec::new();
        let mut add = |name: &str, value: &Rc<[u8]>| {
            found.push((OsString::from(name), Secret::new(OsString::from_vec(value.to_vec()))));
        };
        for (number, file) in files.iter().enumerate() {
            for (index, variable) in file.1.entries.iter().enumerate() {
                let name = variable.name.as_str();
                let later =
                    files.get(number + 1..).unwrap_or(&[]).iter().any(|file| file.1.index.contains_key(name));
                if later || written.index.contains_key(name) {
                    continue;
                }
                let at = Span::new(file.0, variable.at.clone());
                if let Ok(Some(value)) = self.position(scope, Position::File(number, index), at) {
                    add(name, &value);
                }
            }
        }
        for (index, entry) in written.env.iter().enumerate() {
            if let Ok(Some(value)) = self.position(scope, Position::Env(index), entry.node.span) {
                add(&entry.key, &value);
            }
        }
        found
    }

    #[inline(never)]
    fn lookup(&mut self, scope: &mut Scope<'_>, name: &str, from: Layer, at: Span) -> Read<Option<Rc<[u8]>>> {
        let written = scope.written;
        if name == SERVICE {
            return Ok(Some(Rc::from(written.service.as_bytes())));
        }
        if name == INSTANCE || name == written.instance_env {
            return match scope.number {
                Some(number) => Ok(Some(Rc::from(number.to_string().into_bytes()))),
                None => Err(self.wrong_with(
                    at,
                    format_args!("${{{name}}} is not known here: this holds for all instances"),
                    format_args!("it may be used in all keys that each instance has for itself"),
                )),
            };
        }
        if from == Layer::Env
            && let Some(index) = written.index.get(name)
        {
            return self.position(scope, Position::Env(*index), at);
        }
        if from != Layer::Container {
            self.open_files(scope);
            let files = scope.files().iter().enumerate();
            let found =
                files.filter_map(|(number, open)| Some((number, *open.file.1.index.get(name)?))).next_back();
            if let Some((number, index)) = found {
                return self.position(scope, Position::File(number, index), at);
            }
        }
        Ok(self.world.variable(OsStr::new(name)).map(|value| Rc::from(value.as_bytes())))
    }

    /// The value of one variable, evaluated when it is first asked for.
    fn position(&mut self, scope: &mut Scope<'_>, position: Position, at: Span) -> Read<Option<Rc<[u8]>>> {
        match scope.state(position) {
            Some(State::Known(value)) => return Ok(value.clone()),
            Some(State::Failed) | None => return Err(Reported),
            Some(State::Unknown) => {}
        }
        if let Some(start) = scope.stack.iter().position(|open| *open == position) {
            let names: Vec<String> =
                scope.stack.iter().skip(start).chain([&position]).map(|one| scope.name(*one)).gather();
            return Err(self.wrong_with(
                at,
                format_args!("variables refer to each other in a circle: {}", names.joined(" -> ")),
                format_args!("a variable may refer to itself, which means the container's"),
            ));
        }
        if scope.stack.len() >= MAX_CHAIN {
            return Err(
                self.wrong(at, format_args!("more than {MAX_CHAIN} variables refer to each other in a row"))
            );
        }
        scope.stack.push(position);
        let value = self.evaluate(scope, position);
        scope.stack.pop();
        let state = match &value {
            Ok(value) => State::Known(value.clone()),
            Err(Reported) => State::Failed,
        };
        if let Some(slot) = scope.state(position) {
            *slot = state;
        }
        value
    }

    #[inline(never)]
    fn evaluate(&mut self, scope: &mut Scope<'_>, position: Position) -> Read<Option<Rc<[u8]>>> {
        match position {
            Position::Env(index) => {
                let Some(entry) = scope.written.env.get(index).copied() else { return Err(Reported) };
                if let Value::Text(text) = &entry.node.value {
                    let place = |range| entry.node.place_in_text(range);
                    let text = self.expand(scope, &text.text, &place, Some((Layer::Env, &entry.key)))?;
                    Ok(Some(Rc::from(text.bytes)))
                } else {
                    let what = format!("the variable {}", entry.key);
                    let text = self.text_of(
                        scope,
                        &what,
                        "a string, a number, true or false",
                        &entry.node,
                        Scalars::All,
                    )?;
                    Ok(Some(Rc::from(text.bytes)))
                }
            }
            Position::File(number, index) => {
                let Some(file) = scope.files().get(number).map(|open| Rc::clone(&open.file)) else {
                    return Err(Reported);
                };
                let Some(variable) = file.1.entries.get(index) else { return Err(Reported) };
                let Some(template) = &variable.template else {
                    return Ok(self
                        .world
                        .variable(OsStr::new(&variable.name))
                        .map(|value| Rc::from(value.as_bytes())));
                };
                let at = Span::new(file.0, variable.at.clone());
                let text = self.expand(scope, template, &|_| at, Some((Layer::Files, &variable.name)))?;
                Ok(Some(Rc::from(text.bytes)))
            }
        }
    }

    /// Reads the files of `env_file`, once per scope. Their paths see everything but what is in them.
    fn open_files(&mut self, scope: &mut Scope<'_>) {
        if scope.files.is_some() {
            return;
        }
        scope.files = Some(Vec::new());
        let Some(setting) = scope.written.env_file else { return };
        let nodes = match &setting.node.value {
            Value::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(&setting.node),
        };
        let mut open = Vec::new();
        for node in nodes {
            // For what all instances have in common, a file that only an instance can name is no file.
            if scope.number.is_none()
                && matches!(&node.value, Value::Text(text) if !interpolate::is_plain(&text.text))
            {
                continue;
            }
            let Ok(path) = self.text(scope, setting.key, node, Scalars::None) else {
                continue;
            };
            let path = self.relative(node.span.file, Path::new(OsStr::from_bytes(&path.bytes)));
            if let Some(file) = self.env_file(&path, node.span) {
                let states = vec![State::Unknown; file.1.entries.len()];
                open.push(OpenFile { file, states });
            }
        }
        scope.files = Some(open);
    }

    #[inline(never)]
    fn env_file(&mut self, path: &Path, at: Span) -> Option<Rc<(FileId, EnvFile)>> {
        if let Some(known) = self.env_files.get(path.as_os_str()) {
            return known.clone();
        }
        let read = files::read(path, self.world, self.problems, None, true);
        let file = match read {
            Ok(id) => self.parse_env_file(id, at),
            Err(files::Unreadable::System(..)) if self.lenient => return None,
            Err(error) => {
                self.problems.push(files::unreadable(path, &error, Some(at), ""));
                None
            }
        };
        self.env_files.insert(path.as_os_str().to_owned(), file.clone());
        file
    }

    #[inline(never)]
    fn parse_env_file(&mut self, id: FileId, at: Span) -> Option<Rc<(FileId, EnvFile)>> {
        let text = self.problems.sources.get(id).map(|source| source.text.clone())?;
        self.charge(text.len(), at).ok()?;
        let (file, bad) = dotenv::parse(&text);
        for bad in bad {
            self.problems.push(Problem::at(Span::new(id, bad.at), bad.message));
        }
        for variable in &file.entries {
            if let Err(message) = check_variable(&variable.name) {
                self.problems.tell(Span::new(id, variable.at.clone()), format_args!("{message}"));
            }
        }
        Some(Rc::new((id, file)))
    }

    /// A path of a file, relative to the directory of that file.
    pub fn relative(&self, file: FileId, path: &Path) -> PathBuf {
        match self.problems.sources.get(file) {
            Some(source) => source.directory.join(path),
            None => path.to_owned(),
        }
    }
}

/// Whether a service may set this variable.
///
/// # Errors
/// A sentence that says why not.
pub fn check_variable(name: &str) -> Result<(), String> {
    if name == SERVICE || name == INSTANCE {
        return Err(format!("{name} is set by tinysup itself, which knows its processes by it"));
    }
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("this cannot be the name of a variable".to_owned());
    }
    Ok(())
}

/// Looks variables up on behalf of a value; `within` is the variable whose value it is.
struct InScope<'x, 'a, 'b> {
    evaluator: &'x mut Evaluator<'a>,
    scope: &'x mut Scope<'b>,
    place: &'x dyn Fn(Range<usize>) -> Span,
    within: Option<(Layer, &'x str)>,
}

impl Lookup for InScope<'_, '_, '_> {
    fn value(&mut self, name: &str, at: Range<usize>) -> Read<Option<Rc<[u8]>>> {
        let from = match self.within {
            None => Layer::Env,
            Some((Layer::Env, own)) if own == name => Layer::Files,
            Some((Layer::Files, own)) if own == name => Layer::Container,
            Some((layer, _)) => layer,
        };
        self.evaluator.lookup(self.scope, name, from, (self.place)(at))
    }

    fn is_secret(&self) -> bool {
        self.within.is_some()
    }
}

impl Scope<'_> {
    fn state(&mut self, position: Position) -> Option<&mut State> {
        match position {
            Position::Env(index) => self.env.get_mut(index),
            Position::File(number, index) => self.files.as_mut()?.get_mut(number)?.states.get_mut(index),
        }
    }

    fn name(&self, position: Position) -> String {
        let name = match position {
            Position::Env(index) => self.written.env.get(index).map(|entry| entry.key.as_str()),
            Position::File(number, index) => self
                .files
                .as_ref()
                .and_then(|files| files.get(number))
                .and_then(|open| open.file.1.entries.get(index))
                .map(|variable| variable.name.as_str()),
        };
        name.unwrap_or("?").to_owned()
    }
}
