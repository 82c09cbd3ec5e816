//! Every key there is, each defined once: its name, what it takes, its default, a line of help and an example. From this table come
//! the check for unknown keys, "did you mean", the words of type errors, `tinysup example` and the test that the documentation has them all.

use crate::gather::{Gather, replaced};
use crate::suggest;
use crate::texts::table;

/// One key, as far as a value of it is measured by it.
#[derive(Debug)]
pub struct Key {
    /// Which.
    pub id: Id,
    /// Its name.
    pub name: &'static str,
    /// What it takes, to follow "must be".
    pub expected: &'static str,
}

/// A key with what people are told of it, in documents alone: default, help and example, a line each.
type Told = (&'static [Key], &'static [&'static str]);

impl Key {
    /// The default: TOML where it is a value, else a word for what happens.
    pub fn default(&self) -> &'static str {
        self.line(0)
    }

    /// What it does, in a line.
    pub fn help(&self) -> &'static str {
        self.line(1)
    }

    /// An example value, in TOML.
    pub fn example(&self) -> &'static str {
        self.line(2)
    }

    fn line(&self, number: usize) -> &'static str {
        const ALL: [Told; 4] =
            [(SERVICE, SERVICE_TOLD), (TOP, TOP_TOLD), (MEMORY, MEMORY_TOLD), (LOG, LOG_TOLD)];
        let mut all = ALL.iter().flat_map(|(keys, told)| keys.iter().zip(*told));
        let told = all.find(|(key, _)| key.id == self.id).map(|(_, told)| told);
        told.and_then(|told| told.lines().nth(number)).unwrap_or_default()
    }
}

/// What a key of a service means to [`crate::plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the key of its name")]
pub enum Id {
    Command,
    Shell,
    Type,
    Enabled,
    Autostart,
    Instances,
    InstanceEnv,
    DependsOn,
    Ready,
    Healthcheck,
    Watchdog,
    Cwd,
    Env,
    EnvFile,
    EnvFromFile,
    InheritEnv,
    User,
    Group,
    Groups,
    Umask,
    Nice,
    OomScoreAdj,
    Rlimits,
    NoNewPrivileges,
    Capabilities,
    MaxMemoryRestart,
    MemoryLimit,
    MemoryLimitFallback,
    OomPriority,
    Restart,
    StopExitCodes,
    MaxRestarts,
    MinUptime,
    RestartWindow,
    RestartDelay,
    RestartBackoff,
    RestartDelayMax,
    OnFailure,
    OnSuccess,
    StopSignal,
    KillTimeout,
    KillMode,
    StopCommand,
    Signals,
    Stdin,
    Stdout,
    Stderr,
    /// A key of `[memory]`.
    MemoryWarn,
    /// A key of `[memory]`.
    MemoryRestart,
    /// A key of `[memory]`.
    MemoryReference,
    LogRateLimit,
    /// A key of `[log]`.
    LogFormat,
    /// A key of `[log]`.
    LogTimestamps,
    /// A key of `[log]`.
    LogColor,
    /// A key of `[log]`.
    LogOverflow,
    /// A key of `[log]`.
    LogMaxSize,
    /// A key of `[log]`.
    LogMaxFiles,
    /// A key of `[log]`.
    LogReopenSignal,
    /// A key of the top level.
    ShutdownTimeout,
    /// A key of the top level.
    Control,
    /// A key of the top level.
    Include,
}

impl Id {
    /// Whether `[defaults]` may set it. Not where it would make no sense for several services at once.
    pub fn in_defaults(self) -> bool {
        !matches!(self, Self::Command | Self::Enabled | Self::DependsOn | Self::StopCommand)
    }

    /// Whether all instances of a service have it in common, so that it cannot depend on `TINYSUP_INSTANCE`.
    pub fn is_common(self) -> bool {
        matches!(
            self,
            Self::Type
                | Self::Enabled
                | Self::Autostart
                | Self::Instances
                | Self::InstanceEnv
                | Self::DependsOn
        )
    }

    /// Whether only what runs on can have it. A oneshot is done; it is never ready, healthy or silent.
    pub fn is_of_daemons(self) -> bool {
        matches!(self, Self::Ready | Self::Healthcheck | Self::Watchdog)
    }

    /// Whether `false` is what holds without it, for services that shall not have what `[defaults]` says. What has a word or a number
    /// for that has no need of it.
    pub fn may_be_false(self) -> bool {
        matches!(
            self,
            Self::Ready
                | Self::Healthcheck
                | Self::Watchdog
                | Self::MaxMemoryRestart
                | Self::MemoryLimit
                | Self::MemoryLimitFallback
                | Self::RestartWindow
        )
    }

    /// Whether the entries of a table in `[defaults]` hold beside those of the service.
    pub fn merges(self) -> bool {
        matches!(self, Self::Env | Self::EnvFromFile | Self::Rlimits | Self::Signals)
    }
}

const COMMAND: &str = "a string or an array of strings";
const BOOLEAN: &str = "true or false";
/// What a key that takes a duration must be.
pub const DURATION: &str = "a duration such as \"250ms\", \"10s\", \"5m\" or \"1h\", or a number of seconds";
const AMOUNT: &str = "a size such as \"300M\", or a share of the container's limit such as \"40%\"";
const SHARE: &str = "a share such as \"85%\"";
const OUTPUT: &str = "\"prefix\", \"json\", \"raw\", \"inherit\", \"null\", a path, or a table with a file";
const USER: &str = "a name or a number";
const READY: &str = "\"notify\", \"fd:3\", \"tcp:…\", \"unix:…\", \"http://…\", \"log:…\", \"file:…\", \"delay:…\", an array or a table";
const HEALTHCHECK: &str = "\"http://…\", \"tcp:…\", \"unix:…\", \"file:…\", an array or a table";

/// A part of a value, which is told of like a key.
pub const fn part(id: Id, name: &'static str, expected: &'static str) -> Key {
    Key { id, name, expected }
}

/// Keys, each with its default, help and example, which are in a table of their own, as the program has them in its documents alone.
macro_rules! keys {
    ($(#[$about:meta])* $keys:ident, $told:ident:
     $(($id:expr, $name:literal, $expected:expr, $default:literal, $help:literal, $example:literal),)+) => {
        $(#[$about])*
        pub static $keys: &[Key] = &[$(part($id, $name, $expected)),+];
        static $told: &[&str] = &[$(concat!($default, "\n", $help, "\n", $example)),+];
    };
}

keys! {
    /// The keys of `[services.NAME]`, in the order in which `tinysup example` and the documentation show them.
    SERVICE, SERVICE_TOLD:
        (Id::Command, "command", COMMAND, "required", "what to run: an array, or a string that is split into words; no shell", "[\"./server\", \"--port\", \"8000\"]"),
        (Id::Shell, "shell", BOOLEAN, "false", "run command and stop_command, where they are strings, with /bin/sh -c", "false"),
        (Id::Type, "type", "\"daemon\" or \"oneshot\"", "\"daemon\"", "\"oneshot\": done when it exits with 0", "\"daemon\""),
        (Id::Enabled, "enabled", BOOLEAN, "true", "false: as if it were not written here", "\"${ENABLE_WEB:-true}\""),
        (Id::Autostart, "autostart", BOOLEAN, "true", "false: there, but not started with the container", "true"),
        (Id::DependsOn, "depends_on", "an array of services, or a table such as { db = \"ready\" }", "[]", "start after these, stop before them; \"started\", \"ready\" or \"completed\"", "[]"),
        (Id::Ready, "ready", READY, "its program runs", "when it can do its work; what depends on it waits until then", "\"tcp:8000\""),
        (Id::Healthcheck, "healthcheck", HEALTHCHECK, "none", "whether it still does its work; if not, it is restarted", "{ test = \"http://127.0.0.1:8000/health\", interval = \"30s\", timeout = \"5s\", retries = 3 }"),
        (Id::Watchdog, "watchdog", DURATION, "none", "the longest silence between two WATCHDOG=1 (sd_notify); then it is restarted", "\"30s\""),
        (Id::Instances, "instances", "a number from 1 to 1000", "1", "how many of it run: NAME.1, NAME.2, …", "1"),
        (Id::InstanceEnv, "instance_env", "the name of a variable", "\"TINYSUP_INSTANCE\"", "one more variable that tells an instance its number", "\"TINYSUP_INSTANCE\""),
        (Id::Cwd, "cwd", "a path", "inherited", "working directory, relative to this file", "\"/\""),
        (Id::Env, "env", "a table of variables", "{}", "environment variables", "{ LOG_LEVEL = \"${LOG_LEVEL:-info}\" }"),
        (Id::EnvFile, "env_file", "a path or an array of paths", "[]", "files of NAME=value lines, as Compose reads them; env goes over them", "[]"),
        (Id::EnvFromFile, "env_from_file", "a table of paths", "{}", "variables whose value is the content of a file, read at each start", "{ DB_PASSWORD = \"/run/secrets/db\" }"),
        (Id::InheritEnv, "inherit_env", BOOLEAN, "true", "pass the container's environment on", "true"),
        (Id::User, "user", USER, "inherited", "run as this user, or \"user:group\"; a number needs no /etc/passwd", "\"1000\""),
        (Id::Group, "group", USER, "the user's", "run as this group", "\"1000\""),
        (Id::Groups, "groups", "an array of names or numbers", "the user's", "supplementary groups", "[\"1000\"]"),
        (Id::Umask, "umask", "an octal string such as \"022\"", "inherited", "file mode creation mask", "\"022\""),
        (Id::Nice, "nice", "a number from -20 to 19", "inherited", "priority: 19 is the most yielding", "0"),
        (Id::OomScoreAdj, "oom_score_adj", "a number from -1000 to 1000", "tinysup's + 20", "1000: the first to go when memory runs out", "0"),
        (Id::Rlimits, "rlimits", "a table such as { nofile = 65536 }", "{}", "resource limits: a number, \"unlimited\", or { soft = …, hard = … }", "{ core = 0 }"),
        (Id::NoNewPrivileges, "no_new_privileges", BOOLEAN, "false", "nothing it runs gains rights by set-user-ID or file capabilities", "false"),
        (Id::Capabilities, "capabilities", "an array of capabilities such as \"NET_BIND_SERVICE\"", "inherited", "keep only these; [] drops all", "[\"NET_BIND_SERVICE\"]"),
        (Id::MaxMemoryRestart, "max_memory_restart", AMOUNT, "none", "restarted when it holds more, with all that it started; costs one unit of the budget", "\"300M\""),
        (Id::MemoryLimit, "memory_limit", AMOUNT, "none", "the kernel gives it no more; needs a cgroup of its own", "\"500M\""),
        (Id::MemoryLimitFallback, "memory_limit_fallback", "\"restart\"", "none", "where it cannot have a cgroup: restart it above memory_limit, instead of refusing to start", "\"restart\""),
        (Id::OomPriority, "oom_priority", "a number from -1000 to 1000", "0", "the lowest is restarted first when the container runs short of memory", "0"),
        (Id::Restart, "restart", "\"always\", \"on-failure\" or \"never\"", "\"always\"; of a oneshot \"on-failure\"", "after which ends it is started again", "\"always\""),
        (Id::MaxRestarts, "max_restarts", "a number from 0 to 4294967295, or \"unlimited\"", "10", "restarts in a row before it has failed for good", "10"),
        (Id::MinUptime, "min_uptime", DURATION, "\"10s\"", "a run this long starts the count anew", "\"10s\""),
        (Id::RestartWindow, "restart_window", DURATION, "none", "count all restarts within this time instead, however long the runs were", "\"1h\""),
        (Id::RestartDelay, "restart_delay", DURATION, "\"100ms\"", "the wait before the first restart", "\"100ms\""),
        (Id::RestartBackoff, "restart_backoff", "a number from 1 to 1000", "2.0", "each further wait is this many times longer …", "2.0"),
        (Id::RestartDelayMax, "restart_delay_max", DURATION, "\"5s\"", "… but no longer than this", "\"5s\""),
        (Id::StopExitCodes, "stop_exit_codes", "an array of numbers from 0 to 255", "[]", "exit codes that mean: done, not to be restarted", "[]"),
        (Id::OnFailure, "on_failure", "\"exit\" or \"ignore\"", "\"exit\"", "when it has failed for good: end the container with its code, or go on", "\"exit\""),
        (Id::OnSuccess, "on_success", "\"ignore\" or \"exit\"", "\"ignore\"", "when it has ended with success: go on, or end the container", "\"ignore\""),
        (Id::StopSignal, "stop_signal", "a signal such as \"SIGTERM\"", "\"SIGTERM\"", "what asks it to stop; nginx and php-fpm \"SIGQUIT\", postgres \"SIGINT\"", "\"SIGTERM\""),
        (Id::KillTimeout, "kill_timeout", DURATION, "\"8s\"", "from the stop signal to SIGKILL", "\"8s\""),
        (Id::KillMode, "kill_mode", "\"mixed\", \"group\" or \"process\"", "\"mixed\"", "who gets the stop signal: its main process (\"group\": all), then what is left", "\"mixed\""),
        (Id::StopCommand, "stop_command", COMMAND, "none", "run to stop it, instead of the signal", "[\"./stop\"]"),
        (Id::Signals, "signals", "a table such as { SIGHUP = \"SIGUSR1\", SIGUSR2 = \"ignore\" }", "{}", "what signals to the container become for it", "{ SIGUSR2 = \"ignore\" }"),
        (Id::Stdin, "stdin", "\"null\" or \"inherit\"", "\"null\"", "\"inherit\": the container's standard input", "\"null\""),
        (Id::Stdout, "stdout", OUTPUT, "\"prefix\"", "\"prefix\": NAME | line; \"json\"; \"raw\": the line; a file; \"inherit\": not through tinysup", "{ file = \"/var/log/web.log\", max_size = \"50M\", max_files = 5, also = \"stdout\" }"),
        (Id::Stderr, "stderr", OUTPUT, "\"prefix\"", "the same for standard error", "\"prefix\""),
        (Id::LogRateLimit, "log_rate_limit", "a rate such as \"1000/s\" or \"60/m\", or \"unlimited\"", "none", "how many of its lines pass; the others are dropped, and counted", "\"1000/s\""),
}

keys! {
    /// The keys before the first section that hold a value of their own.
    TOP, TOP_TOLD:
        (Id::ShutdownTimeout, "shutdown_timeout", DURATION, "\"9s\"", "the whole stop; docker stop kills after 10 s", "\"9s\""),
        (Id::Control, "control", "a path, or false", "a usual place", "the socket that `tinysup status` and its like talk to, or none", "\"/run/tinysup.sock\""),
        (Id::Include, "include", "a path or an array of paths", "[]", "more files with [services.NAME]; * may stand in the last part of a path", "[\"conf.d/*.toml\"]"),
}

keys! {
    /// The keys of `[memory]`.
    MEMORY, MEMORY_TOLD:
        (Id::MemoryWarn, "warn", SHARE, "none", "say so when the container uses more of its memory", "\"85%\""),
        (Id::MemoryRestart, "restart", SHARE, "none", "restart a service when the container uses more, before the kernel kills one", "\"95%\""),
        (Id::MemoryReference, "reference", "\"container\" or \"host\"", "\"container\"", "what shares are of: the limit of the container, or the memory of the machine", "\"container\""),
}

keys! {
    /// The keys of `[log]`.
    LOG, LOG_TOLD:
        (Id::LogFormat, "format", "\"prefix\", \"json\" or \"raw\"", "\"prefix\"", "the form of lines where a service does not say otherwise, and of tinysup's own", "\"json\""),
        (Id::LogTimestamps, "timestamps", BOOLEAN, "false", "the time before the name; docker logs -t has it without this", "false"),
        (Id::LogColor, "color", "\"never\", \"auto\" or \"always\"", "\"never\"", "names in colour: \"auto\" on a terminal; never where NO_COLOR is set", "\"auto\""),
        (Id::LogOverflow, "overflow", "\"block\" or \"drop\"", "\"block\"", "while nobody reads: services wait, or lines are dropped and counted", "\"block\""),
        (Id::LogMaxSize, "max_size", "a size of at least 4K such as \"10M\", or \"unlimited\"", "\"50M\"", "a file is renamed to FILE.1 before it becomes larger", "\"50M\""),
        (Id::LogMaxFiles, "max_files", "a number from 1 to 1000", "5", "so many older files stay, FILE.1 being the newest", "5"),
        (Id::LogReopenSignal, "reopen_signal", "a signal such as \"SIGUSR1\"", "none", "opens files again, as `tinysup reopen` does, and is not passed on", "\"SIGUSR1\""),
}

/// The sections.
pub const SECTIONS: [&str; 5] = ["defaults", "log", "memory", "signals", "services"];

/// Keys of services that a later version will know. They are refused, never ignored.
pub const LATER: [&str; 8] = [
    "hold_timeout",
    "reload_signal",
    "listen",
    "watch",
    "watch_ignore",
    "watch_delay",
    "cron_restart",
    "timezone",
];

/// Sections and keys of the top level that a later version will know.
pub const LATER_TOP: [&str; 1] = ["http"];

/// What only Docker can do.
const DOCKERS: &str = "ports expose image build volumes networks container_name hostname";

/// The key of a service with this name.
pub fn service(name: &str) -> Option<&'static Key> {
    find(SERVICE, name)
}

/// The key of `[log]` with this name.
pub fn log(name: &str) -> Option<&'static Key> {
    find(LOG, name)
}

/// The key of the top level with this name.
pub fn top(name: &str) -> Option<&'static Key> {
    find(TOP, name)
}

/// The key of `[memory]` with this name.
pub fn memory(name: &str) -> Option<&'static Key> {
    find(MEMORY, name)
}

#[inline(never)]
fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// Whether a later version will know this key of a service.
pub fn is_later(name: &str) -> bool {
    LATER.contains(&name)
}

/// What an unknown key of a service was probably meant to be.
#[inline(never)]
pub fn suggestion(name: &str) -> Option<Box<str>> {
    let plain = replaced(&name.to_ascii_lowercase(), '-', "_");
    if let Some(ours) = suggest::answer(table("# keys"), &plain) {
        return Some(format!("here it is called \"{ours}\"").into());
    }
    if let Some(instead) = suggest::answer(table("# parts"), &plain) {
        return Some(format!("write {instead}").into());
    }
    if suggest::answer(DOCKERS, &plain).is_some() {
        return Some("that is Docker's work: docker run or the Compose file has it".into());
    }
    did_you_mean(name, SERVICE, &[&LATER])
}

/// What an unknown key of `[memory]` was probably meant to be.
pub fn memory_suggestion(name: &str) -> Option<Box<str>> {
    if matches!(name, "limit" | "max" | "high") {
        return Some("the container's limit is set from outside: docker run --memory 512M".into());
    }
    did_you_mean(name, MEMORY, &[])
}

/// What an unknown key of `[log]` was probably meant to be.
pub fn log_suggestion(name: &str) -> Option<Box<str>> {
    did_you_mean(name, LOG, &[])
}

/// What an unknown name of the top level was probably meant to be.
pub fn top_suggestion(name: &str) -> Option<Box<str>> {
    did_you_mean(name, TOP, &[&SECTIONS, &LATER_TOP])
}

#[inline(never)]
fn did_you_mean(name: &str, keys: &[Key], more: &[&[&'static str]]) -> Option<Box<str>> {
    let mut known = keys.iter().map(|key| key.name).gather();
    for more in more {
        known.extend_from_slice(more);
    }
    suggest::did_you_mean(name, &known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_is_defined_once() {
        let mut names = BTreeSet::new();
        for name in SERVICE.iter().chain(TOP).map(|key| key.name).chain(LATER).chain(LATER_TOP) {
            assert!(names.insert(name), "{name} twice");
        }
        let all = || SERVICE.iter().chain(LOG).chain(TOP).chain(MEMORY);
        let ids: BTreeSet<Id> = all().map(|key| key.id).collect();
        assert_eq!(ids.len(), all().count());
        assert_eq!(ids.last(), Some(&Id::Include), "an Id without a key");
        for line in table("# keys").lines().chain(table("# parts").lines()) {
            let (foreign, instead) = line.split_once(" -> ").unwrap();
            let key = instead.split(' ').next().and_then(service);
            for foreign in foreign.split(' ') {
                assert!(names.insert(foreign) && key.is_some(), "{foreign} -> {instead}");
            }
        }
    }

    #[test]
    fn one_wrong_letter_is_set_right() {
        for key in SERVICE {
            for index in 0..key.name.len() {
                let mut changed = [key.name.to_owned(), key.name.to_owned(), key.name.to_owned()];
                changed[0].remove(index);
                changed[1].insert(index, 'q');
                changed[2].replace_range(index..=index, "q");
                for wrong in changed {
                    if wrong.is_empty() || service(&wrong).is_some() || is_later(&wrong) {
                        continue;
                    }
                    let help = suggestion(&wrong).unwrap_or_default();
                    let near = ["group", "groups", "env", "stdin", "stdout", "stderr"];
                    let expected = help.contains(&format!("\"{}\"", key.name));
                    assert!(expected || near.iter().any(|other| help.contains(other)), "{wrong}: {help}");
                }
            }
        }
    }
}
