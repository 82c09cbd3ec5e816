//! The configuration from bytes to plan, and the exact words of its errors.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests may fail them"
)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use tinysup::config::World;
use tinysup::plan::{self, Plan, Request};

/// Files and environment in memory.
#[derive(Default)]
struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
    variables: BTreeMap<OsString, OsString>,
}

impl Memory {
    fn file(mut self, path: &str, text: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.into(), text.as_ref().to_vec());
        self
    }

    fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

impl World for Memory {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        if let Some(bytes) = self.files.get(path) {
            return Ok(bytes[..bytes.len().min(limit)].to_vec());
        }
        let is_directory = self.files.keys().any(|file| file.starts_with(path));
        Err(if is_directory { io::ErrorKind::IsADirectory } else { io::ErrorKind::NotFound }.into())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let files = self.files.keys().filter(|file| file.parent() == Some(directory));
        let names: Vec<OsString> = files.filter_map(|file| file.file_name()).map(OsStr::to_owned).collect();
        if names.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(names) }
    }

    fn variable(&self, name: &OsStr) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    fn is_executable(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }
}

fn load(world: &Memory) -> Result<Plan, String> {
    plan::load(&Request::default(), world).map(|loaded| loaded.plan).map_err(|problems| problems.to_string())
}

fn world(text: &str) -> Memory {
    Memory::default().file("/etc/tinysup.toml", text)
}

/// The plan of a configuration that is right.
fn plan(text: &str) -> Plan {
    load(&world(text)).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

#[test]
fn a_usual_configuration_becomes_a_plan_in_start_order() {
    let plan = plan(
        r#"
shutdown_timeout = "9s"

[services.migrate]
type = "oneshot"
command = ["./migrate", "up"]
depends_on = { db = "ready" }

[services.db]
command = "postgres -D /var/lib/postgresql/data"
user = "postgres"
stop_signal = "SIGINT"

[services.api]
command = ["node", "server.js"]
instances = 2
env = { PORT = "300${TINYSUP_INSTANCE}" }
depends_on = { db = "ready", migrate = "completed" }
"#,
    );
    let names: Vec<&str> = plan.instances.iter().map(|instance| &*instance.name).collect();
    assert_eq!(names, ["db", "migrate", "api.1", "api.2"]);
}
