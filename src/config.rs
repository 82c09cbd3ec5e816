//! What the user wrote: the files found, read and taken apart, every key known and every problem with its place. Values stay as
//! written, with their `${VARIABLES}`; [`crate::plan`] says what they mean, once for every instance.
//!
//! The way of a file: bytes ([`files`]) → a tree in which everything knows its place ([`tree`]) → services and their settings
//! ([`schema`], against the one table of [`keys`]). Problems are collected, never thrown: all are shown at once.

mod builder;
pub mod dotenv;
pub mod files;
mod hiding;
pub mod interpolate;
pub mod keys;
mod likeness;
pub mod problems;
pub mod schema;
pub mod source;
mod syntax;
pub mod tree;
pub mod words;

use std::path::Path;
use std::rc::Rc;

pub use files::World;
pub use problems::{Problem, Problems};

use keys::Key;
use source::Span;
use tree::{Entry, Node};

/// All files of a configuration, checked for syntax and known keys.
#[derive(Debug, Default)]
pub struct Config {
    /// The services of all files, in the order in which they are written.
    pub services: Vec<Service>,
    /// `[defaults]`.
    pub defaults: Vec<Setting>,
    /// `shutdown_timeout`.
    pub shutdown_timeout: Option<Setting>,
    /// `control`.
    pub control: Option<Setting>,
    /// `[memory]`.
    pub memory: Vec<Setting>,
    /// `[log]`.
    pub log: Vec<Setting>,
    /// `[signals]`: where signals go.
    pub routes: Vec<Entry>,
    /// Whether a file could not be taken apart completely: what seems to be missing may be there.
    pub incomplete: bool,
}

/// One `[services.NAME]`.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: Rc<str>,
    /// Where that is written.
    pub span: Span,
    /// What is set.
    pub settings: Vec<Setting>,
}

/// One key with its value, as written.
#[derive(Debug)]
pub struct Setting {
    /// The key.
    pub key: &'static Key,
    /// Where it is written.
    pub span: Span,
    /// The value.
    pub node: Node,
}

/// Finds the configuration (`file`, else `$TINYSUP_CONFIG`, else `/etc/tinysup.toml`, else `./tinysup.toml`) and reads it with all
/// that it includes. Problems are added to `problems`, which keeps the text of the files to show them.
pub fn read(file: Option<&Path>, world: &dyn World, problems: &mut Problems) -> Config {
    let mut config = Config::default();
    if let Some(main) = files::find(file, world, problems) {
        schema::read(main, world, problems, &mut config);
    }
    config
}
