//! The configuration from bytes to plan, and the exact words of its errors.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests may fail them"
)]
#![expect(
    clippy::too_many_lines,
    clippy::format_collect,
    reason = "tables of rows, and texts of thousands of lines"
)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tinysup::cli::One;
use tinysup::config::{World, keys};
use tinysup::control::Place;
use tinysup::event::{
    Cell, InstanceId, Launch, LogFile, Mark, MemoryFound, Output, Overflow, Rlimit, Sink, Speaks, StartError,
    Stdin, Surroundings,
};
use tinysup::line::Format;
use tinysup::plan::{
    self, Amount, Asks, Color, Condition, Dependency, Guard, Instance, KillMode, Kind, Limits, Log, Manner,
    Mode, OnFailure, OnSuccess, Plan, RateLimit, ReadyTest, Receivers, Reference, Request, RestartWhen,
    Share, Test,
};
use tinysup::probe::Target;
use tinysup::sorted::Map;
use tinysup::units::{EISDIR, ENOENT, Signal};

#[path = "common/numbers.rs"]
mod numbers;

use self::numbers::Numbers;

/// Files and environment in memory.
#[derive(Default)]
struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
    variables: BTreeMap<OsString, OsString>,
    found: MemoryFound,
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
        Err(io::Error::from_raw_os_error(if is_directory { EISDIR } else { ENOENT }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let files = self.files.keys().filter(|file| file.parent() == Some(directory));
        let names: Vec<OsString> = files.filter_map(|file| file.file_name()).map(OsStr::to_owned).collect();
        if names.is_empty() { Err(io::Error::from_raw_os_error(ENOENT)) } else { Ok(names) }
    }

    fn variable(&self, name: &OsStr) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    fn obstacle(&self, launch: &Launch) -> Option<StartError> {
        let program = launch.argv[0].reveal().to_string_lossy().into_owned();
        let there = self.files.keys().any(|file| file.ends_with(&program));
        (!there).then_some(StartError::NotFound { program, path: Some("/usr/bin".to_owned()), similar: None })
    }

    fn memory(&self) -> MemoryFound {
        self.found.clone()
    }
}

fn load(world: &Memory) -> Result<Plan, String> {
    plan::load(&Request::default(), world).map(|loaded| loaded.plan).map_err(|problems| problems.to_string())
}

fn world(text: &str) -> Memory {
    Memory::default().file("/etc/tinysup.toml", text)
}

/// The plan of a configuration that is right.
fn plan_of(world: &Memory) -> Plan {
    load(world).unwrap_or_else(|problems| panic!("{problems}"))
}

fn plan(text: &str) -> Plan {
    plan_of(&world(text))
}

/// A service `a` with these lines.
fn service(lines: &str) -> String {
    format!("[services.a]\ncommand = \"run\"\n{lines}\n")
}

/// The only instance of a service with these lines.
fn instance(lines: &str) -> Instance {
    plan(&service(lines)).instances.remove(0)
}

fn problems(world: &Memory) -> String {
    match load(world) {
        Ok(plan) => panic!("no problem: {plan:?}"),
        Err(problems) => problems,
    }
}

fn argv(instance: &Instance) -> Vec<&str> {
    instance.launch.argv.iter().map(|word| word.reveal().to_str().unwrap()).collect()
}

fn env<'a>(instance: &'a Instance, name: &str) -> Option<&'a str> {
    let mut values = instance.launch.env.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
    let value = values.next();
    assert!(values.next().is_none(), "{name} is there twice");
    value.map(|value| value.reveal().to_str().unwrap())
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.instances.iter().map(|instance| &*instance.name).collect()
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
max_restarts = 10
min_uptime = "10s"
kill_timeout = "5s"
"#,
    );
    assert_eq!(names(&plan), ["db", "migrate", "api.1", "api.2"]);
    let [db, migrate, api, _] = plan.instances.as_slice() else { panic!() };
    assert_eq!(argv(db), ["postgres", "-D", "/var/lib/postgresql/data"]);
    assert_eq!(db.launch.shown, "postgres -D /var/lib/postgresql/data");
    assert_eq!(db.launch.identity.user.as_deref(), Some("postgres"));
    assert_eq!(db.stop.signal, Signal::INT);
    assert_eq!(migrate.kind, Kind::Oneshot);
    assert_eq!(migrate.restart.when, RestartWhen::OnFailure);
    assert_eq!(
        migrate.depends_on,
        [Dependency { on: InstanceId(0), condition: Condition::Ready, restart: false }]
    );
    assert_eq!(
        api.depends_on,
        [
            Dependency { on: InstanceId(0), condition: Condition::Ready, restart: false },
            Dependency { on: InstanceId(1), condition: Condition::Completed, restart: false }
        ]
    );
    assert_eq!((env(api, "PORT"), env(&plan.instances[3], "PORT")), (Some("3001"), Some("3002")));
    assert_eq!(env(&plan.instances[3], "TINYSUP_INSTANCE"), Some("2"));
    assert_eq!(env(api, "TINYSUP_SERVICE"), Some("api"));
    assert_eq!(api.launch.mark, Some(Mark { service: "api".into(), instance: 1 }));
    assert_eq!((&*api.service, api.number), ("api", 1));
    assert_eq!(plan.shutdown_timeout, Some(Duration::from_secs(9)));
    assert_eq!(plan.mode, Mode::Services);
}

#[test]
fn all_problems_of_all_files_are_shown_at_once_with_their_places() {
    let world = Memory::default()
        .file(
            "/etc/tinysup.toml",
            "include = [\"conf.d/*.toml\"]\nshutdown_timout = 5\n\n[defaults]\nuser = true\n\n[services.web]\n\
             command = \"cd /app && gunicorn app:app\"\nredy = \"tcp:8000\"\nenv = { TOKEN = \"very secret\", URL = \"${URL}\" }\n",
        )
        .file("/etc/conf.d/20-web.toml", "[services.web]\nuser = \"again\"\n")
        .file("/etc/conf.d/10-worker.toml", "[services.worker]\r\ncommand = \"./worker\"\r\ndepends_on = [\"wbe\"]\r\nwatch = []\r\n");
    assert_eq!(
        problems(&world),
        "\
tinysup: /etc/tinysup.toml:2:1: unknown key \"shutdown_timout\"
    1 | include = [\"conf.d/*.toml\"]
    2 | shutdown_timout = 5
      | ^^^^^^^^^^^^^^^ did you mean \"shutdown_timeout\"?
tinysup: /etc/tinysup.toml:5:8: user must be a name or a number, not true
    4 | [defaults]
    5 | user = true
      |        ^^^^
tinysup: /etc/tinysup.toml:8:20: command has \"&&\", but commands are not run by a shell
    7 | [services.web]
    8 | command = \"cd /app && gunicorn app:app\"
      |                    ^^ set shell = true (needs /bin/sh), or put it into quotes
tinysup: /etc/tinysup.toml:9:1: unknown key \"redy\" in [services.web]
    8 | command = \"cd /app && gunicorn app:app\"
    9 | redy = \"tcp:8000\"
      | ^^^^ did you mean \"ready\"?
tinysup: /etc/tinysup.toml:10:39: ${URL} is not set
    9 | redy = \"tcp:8000\"
   10 | env = { TOKEN = *************, URL = \"${URL}\" }
      |                                       ^^^^^^ docker run -e URL=…, or ${URL:-default}, or env_file; in a build ARG URL=any
tinysup: /etc/conf.d/10-worker.toml:3:15: there is no service \"wbe\"
    2 | command = \"./worker\"
    3 | depends_on = [\"wbe\"]
      |               ^^^^^ did you mean \"web\"?
tinysup: /etc/conf.d/10-worker.toml:4:1: \"watch\" is not yet supported
    3 | depends_on = [\"wbe\"]
    4 | watch = []
      | ^^^^^
tinysup: /etc/conf.d/20-web.toml:1:11: service \"web\" is defined twice
    1 | [services.web]
      |           ^^^ first in /etc/tinysup.toml:7:11
8 errors, nothing was started. `tinysup check` tests a file; `tinysup example` shows all keys.
"
    );
}

#[test]
fn syntax_errors_are_all_shown_and_their_lines_tell_nothing_else() {
    for (text, expected) in [
        ("[services.a]\ncommand = nginx\n", "2:11: not valid TOML: a text must stand in quotes"),
        (
            "# x\nservices:\n  web:\n    command: run it\n",
            "1:1: this looks like a Compose file (YAML); a configuration of tinysup is TOML\n    1 | # x\n      | ^^^ [services.web], and below it command = \"run it\"",
        ),
        ("[services.a]\ncommand =\n", "2:10: not valid TOML: a value is missing"),
        (
            "[services.a]\ncommand = \"C:\\path\"\n",
            "2:15: not valid TOML: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\\`, `\"`, `x`, `u`, `U`\n    \
             1 | [services.a]\n    2 | command = \"C:\\path\"\n      |               ^ a backslash is written \\\\, or the text in '…'",
        ),
        (
            "[services.a]\ncommand = \"C:\\Users\"\n",
            "2:16: not valid TOML: too few unicode value digits, expected unicode hexadecimal value\n    \
             1 | [services.a]\n    2 | command = \"C:\\Users\"\n      |                ^ a backslash is written \\\\, or the text in '…'",
        ),
        ("[services.a\nuser = 1\nx = 1\n", "1:12: not valid TOML: unclosed table, expected `]`"),
        ("[services.a]\ncommand = 'x'\ncommand = 'y'\n", "3:1: \"command\" is set twice"),
        ("[services.a]\ncommand = 'x'\n[services.a]\ncommand = 'y'\n", "3:11: \"a\" is set twice"),
        ("[services.a]\ncommand = 'x'\nenv = {A=1, A=2}\n", "3:13: \"A\" is set twice"),
    ] {
        let problems = problems(&world(text));
        assert!(problems.starts_with(&format!("tinysup: /etc/tinysup.toml:{expected}\n")), "{problems}");
        assert!(problems.contains("\n1 error, "), "{problems}");
    }
    let found = problems(&world("[services.a]\ncommand = 'x'\nuser = 'b'\ncommand = 'y'\n"));
    assert!(found.contains("    4 | command = 'y'\n      | ^^^^^^^ first on line 2\n"), "{found}");
}

/// What is wrong with one service: lines, then the place and the whole message.
#[test]
#[rustfmt::skip]
fn every_bad_value_says_what_was_expected() {
    for (lines, expected) in [
        // Types.
        ("enabled = 1", "3:11: enabled must be true or false, not a number"),
        ("enabled = \"maybe\"", "3:11: enabled must be true or false, not \"maybe\""),
        ("autostart = []", "3:13: autostart must be true or false, not an array"),
        ("type = \"one-shot\"", "3:8: type must be \"daemon\" or \"oneshot\", not \"one-shot\"\n    2 | command = \"run\"\n    3 | type = \"one-shot\"\n      |        ^^^^^^^^^^ did you mean \"oneshot\"?"),
        ("restart = \"alway\"", "3:11: restart must be \"always\", \"on-failure\" or \"never\", not \"alway\"\n    2 | command = \"run\"\n    3 | restart = \"alway\"\n      |           ^^^^^^^ did you mean \"always\"?"),
        ("kill_timeout = \"10x\"", "3:16: kill_timeout must be a duration such as \"250ms\", \"10s\", \"5m\" or \"1h\", or a number of seconds, not \"10x\""),
        ("kill_timeout = -1", "3:16: kill_timeout must be a duration such as \"250ms\", \"10s\", \"5m\" or \"1h\", or a number of seconds, not -1"),
        ("kill_timeout = inf", "3:16: kill_timeout must be a duration such as \"250ms\", \"10s\", \"5m\" or \"1h\", or a number of seconds, not inf"),
        ("kill_timeout = nan", "3:16: kill_timeout must be a duration such as \"250ms\", \"10s\", \"5m\" or \"1h\", or a number of seconds, not nan"),
        ("kill_timeout = \"999999999999h\"", "3:16: kill_timeout must be a duration such as \"250ms\", \"10s\", \"5m\" or \"1h\", or a number of seconds, not \"999999999999h\"\n    2 | command = \"run\"\n    3 | kill_timeout = \"999999999999h\"\n      |                ^^^^^^^^^^^^^^^ ten years are the longest"),
        ("kill_timeout = 99999999999999999999", "3:16: this number is too large"),
        ("kill_timeout = 1979-05-27", "3:16: a date or time has no use here; a text needs quotes"),
        ("instances = 0", "3:13: instances must be a number from 1 to 1000, not 0\n    2 | command = \"run\"\n    3 | instances = 0\n      |             ^ enabled = false leaves it out"),
        ("instances = 1001", "3:13: instances must be a number from 1 to 1000, not 1001"),
        ("instances = 1.5", "3:13: instances must be a number from 1 to 1000, not a number with a point"),
        ("instances = \"many\"", "3:13: instances must be a number from 1 to 1000, not \"many\""),
        ("instances = \"max\"", "3:13: instances = \"max\" is not yet supported"),
        ("instance_env = \"A=B\"", "3:16: instance_env must be the name of a variable, not \"A=B\""),
        ("max_restarts = -1", "3:16: max_restarts must be a number from 0 to 4294967295, or \"unlimited\", not -1"),
        ("max_restarts = 4294967296", "3:16: max_restarts must be a number from 0 to 4294967295, or \"unlimited\", not 4294967296"),
        ("max_restarts = \"unlimted\"", "3:16: max_restarts must be a number from 0 to 4294967295, or \"unlimited\", not \"unlimted\""),
        ("restart_backoff = 0.5", "3:19: restart_backoff must be a number from 1 to 1000, not 0.5"),
        ("restart_backoff = nan", "3:19: restart_backoff must be a number from 1 to 1000, not nan"),
        ("restart_backoff = 1e9", "3:19: restart_backoff must be a number from 1 to 1000, not 1e9"),
        ("restart_window = 0", "3:18: restart_window must be longer than 0"),
        ("restart_delay = 9\nrestart_delay_max = 8", "4:21: restart_delay_max must not be shorter than restart_delay"),
        ("stop_exit_codes = [0, 256]", "3:23: stop_exit_codes must be an array of numbers from 0 to 255, not 256"),
        ("stop_exit_codes = 0", "3:19: stop_exit_codes must be an array of numbers from 0 to 255, not a number"),
        ("on_failure = \"hold\"", "3:14: on_failure = \"hold\" is not yet supported"),
        ("on_failure = \"restart\"", "3:14: on_failure must be \"exit\" or \"ignore\", not \"restart\""),
        ("stop_signal = \"SIGTREM\"", "3:15: stop_signal must be a signal such as \"SIGTERM\", not \"SIGTREM\"\n    2 | command = \"run\"\n    3 | stop_signal = \"SIGTREM\"\n      |               ^^^^^^^^^ did you mean \"SIGTERM\"?"),
        ("stop_signal = 65", "3:15: stop_signal must be a signal such as \"SIGTERM\", not 65"),
        ("stop_signal = \"SIGSTOP\"", "3:15: SIGSTOP ends no program"),
        ("kill_mode = \"all\"", "3:13: kill_mode must be \"mixed\", \"group\" or \"process\", not \"all\""),
        ("signals = { SIGKILL = \"SIGUSR1\" }", "3:13: SIGKILL is never passed on: it cannot be caught by anybody"),
        ("signals = { CHLD = \"SIGUSR1\" }", "3:13: SIGCHLD is never passed on: it is about tinysup itself"),
        ("signals = { TERM = \"QUIT\" }", "3:13: SIGTERM is never passed on: it ends the container\n    2 | command = \"run\"\n    3 | signals = { TERM = \"QUIT\" }\n      |             ^^^^ stop_signal says what a service gets then"),
        ("signals = { SIGUSR3 = \"SIGUSR1\" }", "3:13: \"SIGUSR3\" is not a signal\n    2 | command = \"run\"\n    3 | signals = { SIGUSR3 = ********* }\n      |             ^^^^^^^ did you mean \"SIGUSR1\"?"),
        ("signals = { HUP = \"x\" }", "3:19: what a signal becomes must be another signal or \"ignore\", not \"x\""),
        ("signals = { HUP = \"USR1\", SIGHUP = \"USR2\" }", "3:27: SIGHUP is set twice"),
        ("stdin = \"tty\"", "3:9: stdin must be \"null\" or \"inherit\", not \"tty\""),
        ("stdout = \"jsn\"", "3:10: stdout must be \"prefix\", \"json\", \"raw\", \"inherit\", \"null\", a path, or a table with a file, not \"jsn\""),
        ("stdout = \"out.log\"", "3:10: stdout must be \"prefix\", \"json\", \"raw\", \"inherit\", \"null\", a path, or a table with a file, not \"out.log\""),
        ("stdout = \"/dev/stdout\"", "3:10: output goes to the container's by itself, and stays whole lines then"),
        ("stderr = \"/proc/self/fd/2\"", "3:10: output goes to the container's by itself, and stays whole lines then"),
        ("stderr = \"/dev/null\"", "3:10: /dev/null is no file"),
        ("stdout = \"/var/log/\"", "3:10: this is a folder, not a file"),
        ("stdout = {}", "3:10: stdout has no file"),
        ("stdout = { file = \"/a/b\", max_size = \"1K\" }", "3:38: max_size must be a size of at least 4K such as \"10M\", or \"unlimited\", not \"1K\""),
        ("stdout = { file = \"/a/b\", max_files = 0 }", "3:39: max_files must be a number from 1 to 1000, not 0"),
        ("stdout = { file = \"/a/b\", also = \"out\" }", "3:34: also must be \"stdout\" or \"stderr\", not \"out\""),
        ("stdout = { file = \"/a/b\", maxsize = 1 }", "3:27: unknown key \"maxsize\" in stdout"),
        ("stdout = { file = \"/a/b\", format = \"null\" }", "3:36: format must be \"prefix\", \"json\" or \"raw\", not \"null\""),
        ("stdout = \"/a/b\"\nstderr = { file = \"/a/b\", format = \"json\" }", "4:10: this file has another format, max_size or max_files elsewhere"),
        ("stdout = \"/a/b\"\nstderr = { file = \"//a/./b\", format = \"json\" }", "4:10: this file has another format, max_size or max_files elsewhere"),
        ("log_rate_limit = \"often\"", "3:18: log_rate_limit must be a rate such as \"1000/s\" or \"60/m\", or \"unlimited\", not \"often\""),
        ("stdout = \"prefixed\"", "3:10: stdout must be \"prefix\", \"json\", \"raw\", \"inherit\", \"null\", a path, or a table with a file, not \"prefixed\"\n    2 | command = \"run\"\n    3 | stdout = \"prefixed\"\n      |          ^^^^^^^^^^ did you mean \"prefix\"?"),
        ("user = \"\"", "3:8: user must be a name or a number, not \"\""),
        ("user = \"a b\"", "3:8: user must be a name or a number, not \"a b\""),
        ("user = -1", "3:8: user must be a name or a number, not -1"),
        ("user = 4294967295", "3:8: user must be a name or a number, not 4294967295"),
        ("user = \"a:\"", "3:8: user must be a name or a number, not \"a:\""),
        ("groups = \"adm\"", "3:10: groups must be an array of names or numbers, not a string"),
        ("umask = 22", "3:9: umask must be an octal string such as \"022\", not a number\n    2 | command = \"run\"\n    3 | umask = 22\n      |         ^^ umask = \"022\""),
        ("umask = \"089\"", "3:9: umask must be an octal string such as \"022\", not \"089\""),
        ("umask = \"1777\"", "3:9: umask must be an octal string such as \"022\", not \"1777\""),
        ("nice = 20", "3:8: nice must be a number from -20 to 19, not 20"),
        ("oom_score_adj = 1001", "3:17: oom_score_adj must be a number from -1000 to 1000, not 1001"),
        ("rlimits = { nofiles = 1 }", "3:13: there is no resource limit \"nofiles\"\n    2 | command = \"run\"\n    3 | rlimits = { nofiles = 1 }\n      |             ^^^^^^^ did you mean \"nofile\"?"),
        ("rlimits = { nofile = -1 }", "3:22: a limit must be a number, a size such as \"64M\", or \"unlimited\", not -1"),
        ("rlimits = { nofile = { soft = 2, hard = 1 } }", "3:22: the soft limit must not be above the hard one"),
        ("rlimits = { nofile = { soft = 2 } }", "3:22: this needs both soft and hard"),
        ("rlimits = { nofile = { sfot = 2 } }", "3:24: unknown key \"sfot\" in rlimits"),
        ("capabilities = [\"NET_BIND_SERVICES\"]", "3:17: there is no capability \"NET_BIND_SERVICES\"\n    2 | command = \"run\"\n    3 | capabilities = [\"NET_BIND_SERVICES\"]\n      |                 ^^^^^^^^^^^^^^^^^^^ did you mean \"NET_BIND_SERVICE\"?"),
        ("capabilities = \"ALL\"", "3:16: capabilities must be an array of capabilities such as \"NET_BIND_SERVICE\", not a string"),
        ("cwd = \"\"", "3:7: cwd must be a path, not \"\""),
        ("cwd = \"a\\u0000b\"", "3:7: this has a NUL character, which no program can be given"),
        ("env = [\"A=hunter2\"]", "3:7: env must be a table of variables, not an array\n    2 | command = \"run\"\n    3 | env = [***********]\n      |       ^^^^^^^^^^^^^ env = { NAME = \"value\" }"),
        ("type = \"simple\"", "3:8: type must be \"daemon\" or \"oneshot\", not \"simple\"\n    2 | command = \"run\"\n    3 | type = \"simple\"\n      |        ^^^^^^^^ here it is called \"daemon\""),
        ("type = \"longrun\"", "3:8: type must be \"daemon\" or \"oneshot\", not \"longrun\"\n    2 | command = \"run\"\n    3 | type = \"longrun\"\n      |        ^^^^^^^^^ here it is called \"daemon\""),
        ("type = \"forking\"", "3:8: type must be \"daemon\" or \"oneshot\", not \"forking\"\n    2 | command = \"run\"\n    3 | type = \"forking\"\n      |        ^^^^^^^^^ run it in the foreground; most programs have an option for that"),
        ("kill_mode = \"control-group\"", "3:13: kill_mode must be \"mixed\", \"group\" or \"process\", not \"control-group\"\n    2 | command = \"run\"\n    3 | kill_mode = \"control-group\"\n      |             ^^^^^^^^^^^^^^^ here it is called \"group\""),
        ("env = { A = [] }", "3:13: the variable A must be a string, a number, true or false, not an array"),
        ("env = { \"A=B\" = 1 }", "3:9: this cannot be the name of a variable"),
        ("env = { TINYSUP_SERVICE = \"x\" }", "3:9: TINYSUP_SERVICE is set by tinysup itself, which knows its processes by it"),
        ("env_file = \".env\"", "3:12: there is no file \"/etc/.env\""),
        ("env_file = 1", "3:12: env_file must be a path or an array of paths, not a number"),
        ("env_from_file = { A = 1 }", "3:23: env_from_file must be a table of paths, not a number"),
        ("shell = true\nstop_command = [\"x\"]", ""),
        ("stop_command = \"\"", "3:16: stop_command is empty"),
        ("stop_command = []", "3:16: stop_command is empty"),
        ("stop_command = [\"\"]", "3:16: the program of stop_command is an empty string"),
        ("stop_command = [\"a\", true]", "3:22: stop_command must be a string or an array of strings, not true"),
        ("stop_command = \"A=1 run\"", "3:16: stop_command begins with a variable, but is not run by a shell"),
        ("stop_command = \"a $HOME\"", "3:19: \"$HOME\" is neither a variable nor plain text here"),
        ("depends_on = \"db\"", "3:14: depends_on must be an array of services, or a table such as { db = \"ready\" }, not a string"),
        ("depends_on = [\"a\"]", "3:15: \"a\" depends on itself"),
        ("depends_on = [\"b\"]", "3:15: there is no service \"b\""),
        ("depends_on = [\"a.1\"]", "3:15: \"a\" cannot depend on one instance, \"a.1\""),
        ("depends_on = { b = \"redy\" }", "3:20: a condition must be \"started\", \"ready\" or \"completed\", not \"redy\""),
        ("depends_on = { b = \"service_healthy\" }", "3:20: a condition must be \"started\", \"ready\" or \"completed\", not \"service_healthy\"\n    2 | command = \"run\"\n    3 | depends_on = { b = \"service_healthy\" }\n      |                    ^^^^^^^^^^^^^^^^^ here it is called \"ready\""),
        ("depends_on = { b = { when = \"ready\" } }", "3:22: unknown key \"when\" in depends_on"),
        // Keys.
        ("kill_timout = 1", "3:1: unknown key \"kill_timout\" in [services.a]\n    2 | command = \"run\"\n    3 | kill_timout = 1\n      | ^^^^^^^^^^^ did you mean \"kill_timeout\"?"),
        ("exp_backoff_restart_delay = 100", "3:1: unknown key \"exp_backoff_restart_delay\" in [services.a]\n    2 | command = \"run\"\n    3 | exp_backoff_restart_delay = 100\n      | ^^^^^^^^^^^^^^^^^^^^^^^^^ here it is called \"restart_delay\""),
        ("down-signal = 15", "3:1: unknown key \"down-signal\" in [services.a]\n    2 | command = \"run\"\n    3 | down-signal = 15\n      | ^^^^^^^^^^^ here it is called \"stop_signal\""),
        ("environment = {}", "3:1: unknown key \"environment\" in [services.a]\n    2 | command = \"run\"\n    3 | environment = {}\n      | ^^^^^^^^^^^ here it is called \"env\""),
        ("shutdown_timeout = 1", "3:1: unknown key \"shutdown_timeout\" in [services.a]\n    2 | command = \"run\"\n    3 | shutdown_timeout = 1\n      | ^^^^^^^^^^^^^^^^ it belongs to the top of the file, before the first [section]"),
        ("watch = []", "3:1: \"watch\" is not yet supported"),
        // Memory.
        ("max_memory_restart = true", "3:22: max_memory_restart must be a size such as \"300M\", or a share of the container's limit such as \"40%\", not true"),
        ("max_memory_restart = 1.5", "3:22: max_memory_restart must be a size such as \"300M\", or a share of the container's limit such as \"40%\", not a number with a point"),
        ("max_memory_restart = \"lots\"", "3:22: max_memory_restart must be a size such as \"300M\", or a share of the container's limit such as \"40%\", not \"lots\""),
        ("max_memory_restart = 300", "3:22: max_memory_restart must be at least 64K\n    2 | command = \"run\"\n    3 | max_memory_restart = 300\n      |                      ^^^ a bare number is bytes; \"300M\" is in MiB"),
        ("memory_limit = 0", "3:16: memory_limit must be at least 64K"),
        ("max_memory_restart = \"0%\"", "3:22: max_memory_restart must be a size such as \"300M\", or a share of the container's limit such as \"40%\", not \"0%\"\n    2 | command = \"run\"\n    3 | max_memory_restart = \"0%\"\n      |                      ^^^^ a share is more than 0% and at most 100%"),
        ("memory_limit = \"101%\"", "3:16: memory_limit must be a size such as \"300M\", or a share of the container's limit such as \"40%\", not \"101%\""),
        ("max_memory_restart = \"300M\"\nmemory_limit = \"200M\"", "3:22: max_memory_restart must not be above memory_limit\n    2 | command = \"run\"\n    3 | max_memory_restart = \"300M\"\n      |                      ^^^^^^ the kernel would be first: it kills at memory_limit, without asking"),
        ("max_memory_restart = \"60%\"\nmemory_limit = \"50%\"", "3:22: max_memory_restart must not be above memory_limit"),
        ("memory_limit_fallback = \"kill\"", "3:25: memory_limit_fallback must be \"restart\", not \"kill\""),
        ("oom_priority = 1001", "3:16: oom_priority must be a number from -1000 to 1000, not 1001"),
        ("mem_limit = \"1G\"", "3:1: unknown key \"mem_limit\" in [services.a]\n    2 | command = \"run\"\n    3 | mem_limit = \"1G\"\n      | ^^^^^^^^^ here it is called \"memory_limit\""),
        // Other places.
        ("[services.\"a.b\"]\ncommand = \"x\"", "3:11: \"a.b\" cannot be the name of a service: it has letters, digits, - and _, and begins with a letter or digit"),
        ("[services.tinysup]\ncommand = \"x\"", "3:11: \"tinysup\" cannot be the name of a service: tinysup itself speaks under it"),
        ("[services.all]\ncommand = \"x\"", "3:11: \"all\" cannot be the name of a service: `tinysup stop all` and its like mean every service"),
        ("[[services.b]]\ncommand = \"x\"", "3:1: [services.b] must be a table, not an array\n    2 | command = \"run\"\n    3 | [[services.b]]\n      | ^^^^^^^^^^^^^^ write [services.b], in single brackets"),
        ("[services.b]\nuser = 1", "3:11: service \"b\" has no command"),
        ("[services]\nuser = 1", "4:1: \"user\" stands in [services], not in a service"),
        ("[web]\ncommand = \"x\"", "3:2: unknown section \"web\"\n    2 | command = \"run\"\n    3 | [web]\n      |  ^^^ a service is [services.web]"),
        ("[program.web]\ncommand = \"x\"", "3:2: unknown section \"program\"\n    2 | command = \"run\"\n    3 | [program.web]\n      |  ^^^^^^^ did you mean \"services\"?"),
        ("[memory]\nwarn = 85", "4:8: warn must be a share such as \"85%\", not 85\n    3 | [memory]\n    4 | warn = 85\n      |        ^^ warn = \"85%\""),
        ("[memory]\nwarn = \"300M\"", "4:8: warn must be a share such as \"85%\", not \"300M\""),
        ("[memory]\nwarn = \"95%\"\nrestart = \"85%\"", "5:11: restart = \"85%\" must not be below warn = \"95%\"\n    4 | warn = \"95%\"\n    5 | restart = \"85%\"\n      |           ^^^^^ the warning comes first"),
        ("[memory]\nreference = \"machine\"", "4:13: reference must be \"container\" or \"host\", not \"machine\""),
        ("[memory]\nrestrat = \"85%\"", "4:1: unknown key \"restrat\" in [memory]\n    3 | [memory]\n    4 | restrat = \"85%\"\n      | ^^^^^^^ did you mean \"restart\"?"),
        ("[memory]\nlimit = \"1G\"", "4:1: unknown key \"limit\" in [memory]\n    3 | [memory]\n    4 | limit = \"1G\"\n      | ^^^^^ the container's limit is set from outside: docker run --memory 512M"),
        ("[memory]\nmax_memory_restart = \"1G\"", "4:1: unknown key \"max_memory_restart\" in [memory]"),
        ("[memory]\nformat = \"json\"", "4:1: unknown key \"format\" in [memory]\n    3 | [memory]\n    4 | format = \"json\"\n      | ^^^^^^ it belongs into [log]"),
        ("[defaults]\ncommand = \"x\"", "4:1: \"command\" has no place in [defaults]"),
        ("[defaults]\nkill_timeout = \"x\"\n[services.b]\ncommand = \"x\"", "4:16: kill_timeout must be a duration such as \"250ms\", \"10s\", \"5m\" or \"1h\", or a number of seconds, not \"x\""),
        ("[signals]\nUSR1 = [\"b\"]", "4:9: there is no service \"b\""),
        ("[signals]\nUSR1 = [\"a.2\"]", "4:9: there is no instance \"a.2\""),
        ("[signals]\nUSR1 = 1", "4:8: where a signal goes must be an array of services, not a number"),
        ("[signals]\nKILL = [\"a\"]", "4:1: SIGKILL is never passed on: it cannot be caught by anybody"),
        ("[services.b]\ncommand = \"x\"\nenabled = false\n[services.c]\ncommand = \"x\"\ndepends_on = [\"b\"]", "8:15: \"c\" depends on \"b\", which has enabled = false"),
        ("[services.b]\ncommand = \"x\"\nautostart = false\n[services.c]\ncommand = \"x\"\ndepends_on = [\"b\"]", "8:15: \"c\" would wait for ever: \"b\" has autostart = false"),
        ("depends_on = { b = \"completed\" }\n[services.b]\ncommand = \"x\"", "3:16: \"a\" would wait for ever: \"b\" is started again after every end"),
        ("depends_on = [\"b\"]\n[services.b]\ncommand = \"x\"\ndepends_on = [\"c\"]\n[services.c]\ncommand = \"x\"\ndepends_on = [\"a\"]", "3:15: depends_on makes a circle: a -> b -> c -> a"),
    ] {
        let text = service(lines);
        if expected.is_empty() {
            plan(&text);
            continue;
        }
        let problems = problems(&world(&text));
        let expected = format!("tinysup: /etc/tinysup.toml:{expected}\n");
        assert!(problems.starts_with(&expected), "{lines}\nfound:\n{problems}\nexpected:\n{expected}");
        assert!(problems.contains("\n1 error, "), "{lines}\n{problems}");
    }
}

/// How a service is asked.
fn asked(test: &Test) -> String {
    let asks = match &test.asks {
        Asks::Target(target) => match &**target {
            Target::Tcp { addresses } => format!("tcp {addresses:?}"),
            Target::Http { addresses, host, path } => format!("http {addresses:?} {host} {path}"),
            Target::Unix { path } => format!("unix {}", path.display()),
            Target::File { path } => format!("file {}", path.display()),
        },
        Asks::Command(launch) => {
            let words: Vec<_> = launch.argv.iter().map(|word| word.reveal().to_str().unwrap()).collect();
            format!("run {words:?}")
        }
    };
    format!("{asks}, {:?} each", test.timeout)
}

/// How it is known that an instance is ready: the test, as it is shown, the time it has, and how often it is asked.
fn ready(instance: &Instance) -> String {
    let Some(ready) = &instance.ready else { return "its program runs".to_owned() };
    let test = match &ready.test {
        ReadyTest::Notified => "notified".to_owned(),
        ReadyTest::Announced => format!("announced on {:?}", instance.launch.speaks.descriptor),
        ReadyTest::Said(text) => format!("said {text:?}"),
        ReadyTest::After(delay) => format!("after {delay:?}"),
        ReadyTest::Asked(test) => asked(test),
    };
    format!("{test} | {} | {:?} | {:?}", ready.shown, ready.timeout, ready.interval)
}

fn health(instance: &Instance) -> String {
    let Some(health) = &instance.healthcheck else { return "none".to_owned() };
    let (interval, retries, start) = (health.interval, health.retries, health.start_period);
    format!("{} | {} | {interval:?} x{retries} after {start:?}", asked(&health.test), health.shown)
}

#[test]
#[rustfmt::skip]
fn readiness_is_read_in_every_form() {
    for (lines, expected) in [
        ("", "its program runs"),
        ("ready = \"notify\"", "notified | notify | 60s | 200ms"),
        ("ready = \" notify\\n\"", "notified | notify | 60s | 200ms"),
        ("ready = \"fd:3\"", "announced on Some(3) | fd:3 | 60s | 200ms"),
        ("ready = \"fd:255\"", "announced on Some(255) | fd:255 | 60s | 200ms"),
        ("ready = \"log: listening: on \"", "said \"listening: on\" | log: listening: on | 60s | 200ms"),
        ("ready = \"log:x\"\nstdout = \"null\"", "said \"x\" | log:x | 60s | 200ms"),
        ("ready = \"delay:2s\"", "after 2s | delay:2s | 62s | 200ms"),
        ("ready = { test = \"delay:0.5\", timeout = 1 }", "after 500ms | delay:0.5 | 1s | 200ms"),
        ("ready = \"tcp:6379\"", "tcp [127.0.0.1:6379, [::1]:6379], 5s each | tcp:6379 | 60s | 200ms"),
        ("ready = \"tcp:127.0.0.1:${PORT}\"", "tcp [127.0.0.1:3001], 5s each | tcp:127.0.0.1:${PORT} | 60s | 200ms"),
        ("ready = \"${TEST}\"", "tcp [127.0.0.2:80], 5s each | ${TEST} | 60s | 200ms"),
        ("ready = \"unix:/run/a.sock\"", "unix /run/a.sock, 5s each | unix:/run/a.sock | 60s | 200ms"),
        ("ready = \"file:/run/up.${TINYSUP_INSTANCE}\"", "file /run/up.1, 5s each | file:/run/up.${TINYSUP_INSTANCE} | 60s | 200ms"),
        ("ready = \"http://localhost:${PORT}/up?a=b\"",
            "http [127.0.0.1:3001, [::1]:3001] localhost:3001 /up?a=b, 5s each | http://localhost:${PORT}/up?a=b | 60s | 200ms"),
        ("ready = [\"pg_isready\", \"-p\", \"${PORT}\", 1]", "run [\"pg_isready\", \"-p\", \"3001\", \"1\"], 5s each | pg_isready -p ${PORT} 1 | 60s | 1s"),
        ("ready = { test = \"tcp:[::1]:1\", timeout = \"2s\", interval = \"10ms\" }", "tcp [[::1]:1], 2s each | tcp:[::1]:1 | 2s | 10ms"),
        ("ready = { test = [\"x\"], timeout = \"2m\", interval = \"${TIME}\" }", "run [\"x\"], 5s each | x | 120s | 3s"),
        ("[services.a.ready]\ntest = \"tcp:[::1]:1\"", "tcp [[::1]:1], 5s each | tcp:[::1]:1 | 60s | 200ms"),
        // A health check tells readiness, too, and takes its time.
        ("healthcheck = \"tcp:[::1]:1\"", "tcp [[::1]:1], 5s each | tcp:[::1]:1 | 90s | 200ms"),
        ("healthcheck = [\"x\"]", "run [\"x\"], 5s each | x | 90s | 1s"),
        ("healthcheck = { test = \"tcp:[::1]:1\", timeout = \"2m\", interval = \"100ms\" }", "tcp [[::1]:1], 60s each | tcp:[::1]:1 | 60s | 100ms"),
        ("healthcheck = { test = [\"x\"], timeout = 2, interval = 10, retries = 4, start_period = \"3m\" }", "run [\"x\"], 2s each | x | 220s | 1s"),
        ("healthcheck = \"tcp:1\"\nready = \"fd:4\"", "announced on Some(4) | fd:4 | 60s | 200ms"),
        ("watchdog = 5", "its program runs"),
    ] {
        let world = world(&service(lines)).variable("PORT", "3001").variable("TEST", " tcp:127.0.0.2:80 ").variable("TIME", "3s");
        assert_eq!(ready(&plan_of(&world).instances[0]), expected, "{lines}");
    }
}

#[test]
fn health_checks_have_the_words_and_the_defaults_of_compose() {
    for (lines, expected) in [
        ("", "none"),
        ("ready = \"tcp:[::1]:1\"", "none"),
        ("healthcheck = \"tcp:[::1]:1\"", "tcp [[::1]:1], 5s each | tcp:[::1]:1 | 30s x3 after 0ns"),
        ("healthcheck = [\"a\", \"b c\"]", "run [\"a\", \"b c\"], 5s each | a 'b c' | 30s x3 after 0ns"),
        (
            "healthcheck = { test = \"unix:@x\", interval = \"10s\", timeout = \"20s\", retries = 1, start_period = \"1m\" }",
            "unix @x, 20s each | unix:@x | 10s x1 after 60s",
        ),
        (
            "[services.a.healthcheck]\ntest = \"file:/run/up\"\nretries = 1000",
            "file /run/up, 5s each | file:/run/up | 30s x1000 after 0ns",
        ),
    ] {
        assert_eq!(health(&instance(lines)), expected, "{lines}");
    }
}

/// Only the service speaks; what it is asked with runs as the service does, and is not heard by anybody else.
#[test]
fn tests_run_as_the_service_runs() {
    let a = instance(
        "user = \"app\"\ncwd = \"data\"\nenv = { PORT = 3000 }\nnice = 5\nstdin = \"inherit\"\nstop_command = \"stop\"\nwatchdog = \"30s\"\n\
         ready = { test = [\"up\", \"${PORT}\"], timeout = 1 }\nhealthcheck = [\"well\"]",
    );
    assert_eq!(a.watchdog, Some(Duration::from_secs(30)));
    assert_eq!(a.launch.speaks, Speaks { notify: true, descriptor: None });
    assert_eq!(a.stop.command.as_deref().unwrap().speaks, Speaks::default());
    let ReadyTest::Asked(ready) = &a.ready.as_ref().unwrap().test else { panic!() };
    for test in [ready, &a.healthcheck.as_ref().unwrap().test] {
        let Asks::Command(command) = &test.asks else { panic!() };
        let as_service = Launch {
            argv: command.argv.clone(),
            shown: command.shown.clone(),
            stdin: Stdin::Null,
            stdout: Output::Captured,
            stderr: Output::Captured,
            speaks: Speaks::default(),
            ..(*a.launch).clone()
        };
        assert_eq!(**command, as_service);
    }
    for (line, notify, descriptor) in [
        ("ready = \"notify\"", true, None),
        ("ready = \"fd:7\"", false, Some(7)),
        ("ready = \"fd:7\"\nwatchdog = 1", true, Some(7)),
        ("ready = \"tcp:80\"", false, None),
        ("ready = \"log:up\"", false, None),
    ] {
        assert_eq!(instance(line).launch.speaks, Speaks { notify, descriptor }, "{line}");
    }
}

#[test]
fn tests_of_defaults_are_for_each_daemon() {
    let plan = plan(
        "[defaults]\nhealthcheck = \"http://127.0.0.1:${PORT}/\"\nwatchdog = 9\nready = { test = \"notify\", timeout = \"5m\" }\nenv = { PORT = 80 }\n\
         [services.init]\ntype = \"oneshot\"\ncommand = \"x\"\n[services.a]\ncommand = \"x\"\ninstances = 2\nenv = { PORT = \"300${TINYSUP_INSTANCE}\" }\n\
         [services.b]\ncommand = \"x\"\nready = \"tcp:[::1]:${PORT}\"\n",
    );
    let [init, _, a2, b] = plan.instances.as_slice() else { panic!() };
    assert_eq!(
        (ready(init), health(init), init.watchdog),
        ("its program runs".to_owned(), "none".to_owned(), None)
    );
    assert_eq!(init.launch.speaks, Speaks::default());
    assert_eq!(ready(a2), "notified | notify | 300s | 200ms");
    let expected =
        "http [127.0.0.1:3002] 127.0.0.1:3002 /, 5s each | http://127.0.0.1:${PORT}/ | 30s x3 after 0ns";
    assert_eq!((health(a2).as_str(), a2.watchdog), (expected, Some(Duration::from_secs(9))));
    assert_eq!(ready(b), "tcp [[::1]:80], 5s each | tcp:[::1]:${PORT} | 60s | 200ms");
}

#[test]
fn a_dependency_may_be_restarted_with() {
    let plan = plan(
        "[services.db]\ncommand = \"x\"\ninstances = 2\n[services.a]\ncommand = \"x\"\ndepends_on = { db = { restart = true } }\n\
         [services.b]\ncommand = \"x\"\ndepends_on = { db = { condition = \"started\", restart = \"${AGAIN:-yes}\" }, a = { restart = false } }\n",
    );
    let on = |on, condition, restart| Dependency { on: InstanceId(on), condition, restart };
    let (ready, started) = (Condition::Ready, Condition::Started);
    assert_eq!(plan.instances[2].depends_on, [on(0, ready, true), on(1, ready, true)]);
    assert_eq!(
        plan.instances[3].depends_on,
        [on(0, started, true), on(1, started, true), on(2, ready, false)]
    );
}

/// What is wrong with the first of these lines of a service: the part that is marked, the message, what helps.
#[test]
#[rustfmt::skip]
fn every_bad_test_says_what_helps() {
    const READY: &str = "\"notify\", \"fd:3\", \"tcp:…\", \"unix:…\", \"http://…\", \"log:…\", \"file:…\", \"delay:…\", an array or a table";
    const HEALTH: &str = "\"http://…\", \"tcp:…\", \"unix:…\", \"file:…\", an array or a table";
    const DURATION: &str = "a duration such as \"250ms\", \"10s\", \"5m\" or \"1h\", or a number of seconds";
    const LEAVE_OUT: &str = "healthcheck = false, or leave it out";
    const ONCE: &str = "test with http, tcp, unix, file or an array; ready may stand beside it";
    for (lines, marked, message, help) in [
        // Kinds that there are not.
        ("ready = 5432", "5432", "ready must be READY, not a number", "did you mean \"tcp:5432\"?"),
        ("ready = true", "true", "ready must be READY, not true", ""),
        ("ready = \"redis:6379\"", "\"redis:6379\"", "ready must be READY, not \"redis:6379\"", "did you mean \"tcp:127.0.0.1:6379\"?"),
        ("ready = \"tpc:6379\"", "\"tpc:6379\"", "ready must be READY, not \"tpc:6379\"", "did you mean \"tcp:6379\"?"),
        ("ready = \"notfy\"", "\"notfy\"", "ready must be READY, not \"notfy\"", "did you mean \"notify\"?"),
        ("ready = \"fd\"", "\"fd\"", "ready must be READY, not \"fd\"", "did you mean \"fd:3\"?"),
        ("ready = \"pg_isready -q\"", "\"pg_isready -q\"", "ready must be READY, not \"pg_isready -q\"", "a command is an array: [\"pg_isready\", \"-q\"]"),
        ("ready = \"x || exit 2\"", "\"x || exit 2\"", "ready must be READY, not \"x || exit 2\"", "a command is an array: [\"/bin/sh\", \"-c\", \"x || exit 2\"]"),
        ("healthcheck = \"none\"", "\"none\"", "healthcheck must be HEALTH, not \"none\"", LEAVE_OUT),
        ("healthcheck = 8080", "8080", "healthcheck must be HEALTH, not a number", "did you mean \"tcp:8080\"?"),
        ("healthcheck = \"/run/x\"", "\"/run/x\"", "healthcheck must be HEALTH, not \"/run/x\"", "\"unix:/run/x\" asks a socket, \"file:/run/x\" looks for a file"),
        ("healthcheck = \"curl -f http://localhost:${PORT}/up || exit 1\"", "\"curl -f http://localhost:${PORT}/up || exit 1\"",
            "healthcheck must be HEALTH, not what it is once its variables are replaced",
            "\"http://localhost:${PORT}/up\" asks without a program; a command is an array: [\"curl\", \"-f\", \"http://localhost:${PORT}/up\"]"),
        // Addresses.
        ("ready = \"tcp:db:5432\"", "\"tcp:db:5432\"", "only localhost and IP addresses can be asked: PID 1 looks no names up, which may take long", "use 127.0.0.1, or a command"),
        ("ready = \"tcp:http://127.0.0.1:80/\"", "\"tcp:http://127.0.0.1:80/\"", "http://… is a test itself", "leave tcp: out"),
        ("ready = \"tcp:0\"", "\"tcp:0\"", "the port is missing, or is no number from 1 to 65535", ""),
        ("ready = \"tcp:127.0.0.1\"", "\"tcp:127.0.0.1\"", "the port is missing, or is no number from 1 to 65535", ""),
        ("ready = \"unix:run/x.sock\"", "\"unix:run/x.sock\"", "a socket needs its whole path: unix:/run/app.sock", ""),
        ("ready = \"file:up\"", "\"file:up\"", "a file needs its whole path: file:/run/up", ""),
        ("ready = \"https://127.0.0.1/\"", "\"https://127.0.0.1/\"", "tinysup does not speak TLS", "ask a plain http:// address, or run a command that does"),
        ("healthcheck = { test = \"http://127.0.0.1/a b\" }", "\"http://127.0.0.1/a b\"", "the path has a space or a control character", "write %20 for a space"),
        // What is written down, said, or passes.
        ("ready = \"fd:2\"", "\"fd:2\"", "descriptors 0, 1 and 2 are the standard ones", "fd:3"),
        ("ready = \"fd:256\"", "\"fd:256\"", "a descriptor is a number from 3 to 255", "fd:3"),
        ("ready = \"log: \"", "\"log: \"", "a text to look for is missing", "log:listening on"),
        ("ready = \"log:a\\nb\"", "\"log:a\\nb\"", "the text to look for has a line break or another control character", ""),
        ("ready = \"log:up\"\nstdout = \"null\"\nstderr = \"inherit\"", "\"log:up\"", "\"log:up\" would never be seen: neither stdout nor stderr passes through tinysup", "stdout = \"prefix\", \"json\", \"raw\" or a file, or another test"),
        ("ready = \"delay:0\"", "\"delay:0\"", "a delay must be longer than 0", ""),
        ("ready = \"delay:soon\"", "\"delay:soon\"", "a delay needs a duration", "delay:2s"),
        // Commands.
        ("ready = []", "[]", "ready is empty", ""),
        ("ready = [\"\"]", "[\"\"]", "the program of ready is an empty string", ""),
        ("ready = [\"CMD\", \"pg_isready\"]", "\"CMD\"", "\"CMD\" is a word of Docker, not a program", "leave it out"),
        ("ready = [\"CMD-SHELL\", \"pg_isready\"]", "\"CMD-SHELL\"", "\"CMD-SHELL\" is a word of Docker, not a program", "[\"/bin/sh\", \"-c\", \"…\"]"),
        ("healthcheck = { test = [\"NONE\"] }", "\"NONE\"", "\"NONE\" is a word of Docker, not a program", LEAVE_OUT),
        ("healthcheck = [\"a\", \"$HOME\"]", "$HOME", "\"$HOME\" is neither a variable nor plain text here", "${HOME} is replaced by the variable, $$HOME gives $HOME"),
        // The table of ready.
        ("ready = {}", "{}", "ready has no test", "ready = { test = \"tcp:8080\", timeout = \"60s\" }"),
        ("ready = { tcp = 80 }", "tcp", "unknown key \"tcp\" in ready", "here it is called \"test\""),
        ("ready = { test = { tcp = 80 } }", "{ tcp = 80 }", "test must be \"notify\", \"fd:3\", \"tcp:…\", \"unix:…\", \"http://…\", \"log:…\", \"file:…\", \"delay:…\" or an array, not a table", ""),
        ("ready = { test = \"tcp:80\", timout = 1 }", "timout", "unknown key \"timout\" in ready", "did you mean \"timeout\"?"),
        ("ready = { test = \"tcp:80\", retries = 3 }", "retries", "unknown key \"retries\" in ready", "until its timeout it is asked as often as needed"),
        ("ready = { test = \"tcp:1\", timeout = 0 }", "0", "timeout must be longer than 0", ""),
        ("ready = { test = \"tcp:80\", timeout = \"x\" }", "\"x\"", "timeout must be DURATION, not \"x\"", ""),
        ("ready = { test = \"tcp:80\", initialDelaySeconds = 3 }", "initialDelaySeconds", "unknown key \"initialDelaySeconds\" in ready", "until its timeout it is asked as often as needed"),
        ("ready = { test = \"tcp:80\", failureThreshold = 3 }", "failureThreshold", "unknown key \"failureThreshold\" in ready", "until its timeout it is asked as often as needed"),
        ("ready = { test = \"tcp:80\", interval = \"9ms\" }", "\"9ms\"", "interval must be at least \"10ms\"", ""),
        ("ready = { test = \"notify\", interval = 1 }", "interval", "interval has no use with \"notify\"", "nothing is asked; leave it out"),
        ("ready = { test = \"delay:2s\", timeout = \"2s\" }", "\"2s\"", "it could never be ready: timeout is not longer than the delay", "with a delay, leave timeout out"),
        // The table of healthcheck.
        ("healthcheck = {}", "{}", "healthcheck has no test", "healthcheck = { test = \"http://127.0.0.1:8080/health\" }"),
        ("healthcheck = { httpGet = 1 }", "httpGet", "unknown key \"httpGet\" in healthcheck", "here it is called \"test\""),
        ("healthcheck = { test = \"tcp:80\", periodSeconds = 9 }", "periodSeconds", "unknown key \"periodSeconds\" in healthcheck", "here it is called \"interval\""),
        ("healthcheck = { test = \"tcp:80\", failureThreshold = 9 }", "failureThreshold", "unknown key \"failureThreshold\" in healthcheck", "here it is called \"retries\""),
        ("healthcheck = { test = \"tcp:80\", start_perod = 9 }", "start_perod", "unknown key \"start_perod\" in healthcheck", "did you mean \"start_period\"?"),
        ("healthcheck = { disable = true }", "disable", "a health check is not switched off here", LEAVE_OUT),
        ("healthcheck = { test = \"tcp:80\", start_interval = 1 }", "start_interval", "start_interval belongs to ready", "ready = { test = …, interval = \"200ms\" }; healthcheck begins when it is ready"),
        ("healthcheck = { test = \"tcp:1\", retries = 0 }", "0", "retries must be a number from 1 to 1000, not 0", ""),
        ("healthcheck = { test = \"tcp:80\", retries = 1001 }", "1001", "retries must be a number from 1 to 1000, not 1001", ""),
        ("healthcheck = { test = \"tcp:1\", interval = 0 }", "0", "interval must be at least \"10ms\"", ""),
        ("healthcheck = { test = \"tcp:1\", timeout = 0 }", "0", "timeout must be longer than 0", ""),
        ("healthcheck = { test = \"tcp:80\", start_period = -1 }", "-1", "start_period must be DURATION, not -1", ""),
        // What cannot be asked again.
        ("healthcheck = \"notify\"", "\"notify\"", "a service is ready once; this says nothing about later", "watchdog = \"30s\" expects WATCHDOG=1 that often; ready = \"notify\" may stand beside it"),
        ("healthcheck = \"fd:3\"", "\"fd:3\"", "a service is ready once; this says nothing about later", ONCE),
        ("healthcheck = { test = \"log:up\" }", "\"log:up\"", "a line is written once; this says nothing about later", ONCE),
        ("healthcheck = \"delay:2s\"", "\"delay:2s\"", "a delay passes once; this says nothing about later", ONCE),
        // The watchdog; oneshots.
        ("watchdog = 0", "0", "watchdog must be longer than 0", ""),
        ("watchdog = \"x\"", "\"x\"", "watchdog must be DURATION, not \"x\"", ""),
        ("ready = \"tcp:80\"\ntype = \"oneshot\"", "ready", "a oneshot has no ready: it is done when it exits with 0", "leave it out; depends_on = { a = \"completed\" } waits for it"),
        ("healthcheck = \"tcp:80\"\ntype = \"oneshot\"", "healthcheck", "a oneshot has no healthcheck: it is done when it exits with 0", "leave it out; depends_on = { a = \"completed\" } waits for it"),
        ("watchdog = 30\ntype = \"oneshot\"", "watchdog", "a oneshot has no watchdog: it is done when it exits with 0", "leave it out; depends_on = { a = \"completed\" } waits for it"),
        // The words of others.
        ("type = \"notify\"", "\"notify\"", "type must be \"daemon\" or \"oneshot\", not \"notify\"", "ready = \"notify\""),
        ("livenessProbe = {}", "livenessProbe", "unknown key \"livenessProbe\" in [services.a]", "here it is called \"healthcheck\""),
        ("readiness_probe = {}", "readiness_probe", "unknown key \"readiness_probe\" in [services.a]", "here it is called \"ready\""),
        ("health-check = {}", "health-check", "unknown key \"health-check\" in [services.a]", "here it is called \"healthcheck\""),
        ("WatchdogSec = 30", "WatchdogSec", "unknown key \"WatchdogSec\" in [services.a]", "here it is called \"watchdog\""),
        ("wait_ready = true", "wait_ready", "unknown key \"wait_ready\" in [services.a]", "write ready = \"notify\", \"fd:3\" or \"log:TEXT\""),
        ("listen_timeout = 3000", "listen_timeout", "unknown key \"listen_timeout\" in [services.a]", "write ready = { test = …, timeout = \"60s\" }"),
        ("restart = \"unless-stopped\"", "\"unless-stopped\"", "restart must be \"always\", \"on-failure\" or \"never\", not \"unless-stopped\"", "here it is called \"always\""),
        ("restart = \"no\"", "\"no\"", "restart must be \"always\", \"on-failure\" or \"never\", not \"no\"", "here it is called \"never\""),
        ("stopasgroup = true", "stopasgroup", "unknown key \"stopasgroup\" in [services.a]", "here it is called \"kill_mode\""),
        ("timeout-kill = 5000", "timeout-kill", "unknown key \"timeout-kill\" in [services.a]", "here it is called \"kill_timeout\""),
        ("cap_drop = [\"ALL\"]", "cap_drop", "unknown key \"cap_drop\" in [services.a]", "here it is called \"capabilities\""),
        ("RestartSec = 3", "RestartSec", "unknown key \"RestartSec\" in [services.a]", "here it is called \"restart_delay\""),
        ("merge_logs = true", "merge_logs", "unknown key \"merge_logs\" in [services.a]", "write stderr = \"prefix\", as it is anyway: both streams go to the log of the container"),
        ("stdout_logfile = \"/dev/stdout\"", "stdout_logfile", "unknown key \"stdout_logfile\" in [services.a]", "here it is called \"stdout\""),
        ("exec_mode = \"cluster\"", "exec_mode", "unknown key \"exec_mode\" in [services.a]", "write instances = 2 for two processes; there is no cluster mode"),
        ("ports = [\"80:80\"]", "ports", "unknown key \"ports\" in [services.a]", "that is Docker's work: docker run or the Compose file has it"),
        ("retries = 3", "retries", "unknown key \"retries\" in [services.a]", "write healthcheck = { test = …, interval = \"30s\", timeout = \"5s\", retries = 3, start_period = \"0s\" }"),
        // Dependencies.
        ("depends_on = { b = { condition = \"ready\", restart = 1 } }\n[services.b]\ncommand = \"x\"", "1", "restart must be true or false, not a number", ""),
        ("depends_on = { b = { condition = \"completed\", restart = true } }\n[services.b]\ncommand = \"x\"\ntype = \"oneshot\"", "restart", "restart has no use here: what is completed is not started again", "leave it out"),
        ("depends_on = { b = { restart = true } }\n[services.b]\ncommand = \"x\"\ntype = \"oneshot\"", "restart", "restart has no use here: what is completed is not started again", "leave it out"),
        ("depends_on = { b = { condition = \"ready\", required = false } }\n[services.b]\ncommand = \"x\"", "required", "unknown key \"required\" in depends_on", "every dependency is; leave it out"),
        ("depends_on = { b = { condition = { condition = \"ready\" } } }\n[services.b]\ncommand = \"x\"", "{ condition = \"ready\" }", "a condition must be \"started\", \"ready\" or \"completed\", not a table", ""),
    ] {
        let message = message.replace("READY", READY).replace("HEALTH", HEALTH).replace("DURATION", DURATION);
        let line = lines.lines().next().unwrap();
        let at = line.find(marked).unwrap_or_else(|| panic!("{line} has no {marked}"));
        let help = if help.is_empty() { String::new() } else { format!(" {help}") };
        let expected = format!(
            "tinysup: /etc/tinysup.toml:3:{}: {message}\n    2 | command = \"run\"\n    3 | {line}\n      | {}{}{help}\n1 error, ",
            at + 1,
            " ".repeat(at),
            "^".repeat(marked.chars().count())
        );
        let problems = problems(&world(&service(lines)).variable("PORT", "80"));
        assert!(problems.starts_with(&expected), "{lines}\nfound:\n{problems}\nexpected:\n{expected}");
    }
}

#[test]
fn commands_are_arrays_or_strings_or_for_a_shell() {
    for (line, expected, shown) in [
        (r#"command = ["a", "b c", ""]"#, vec!["a", "b c", ""], "a 'b c' ''"),
        (r#"command = ["a", 1, 2.50]"#, vec!["a", "1", "2.50"], "a 1 2.50"),
        (
            r#"command = "nginx -g 'daemon off;'""#,
            vec!["nginx", "-g", "daemon off;"],
            "nginx -g 'daemon off;'",
        ),
        (
            r#"command = "a ${V} b${V}""#,
            vec!["a", "x 'y' && $(z) ${V}", "bx 'y' && $(z) ${V}"],
            "a ${V} b${V}",
        ),
        (r#"command = ["a", "${V}"]"#, vec!["a", "x 'y' && $(z) ${V}"], "a ${V}"),
        (r#"command = "a ${EMPTY} ${NO:-b c}""#, vec!["a", "", "b c"], "a ${EMPTY} ${NO:-b c}"),
        (r#"command = "a '${V}' $$V \\$V""#, vec!["a", "${V}", "$V", "$V"], "a '${V}' $$V \\$V"),
        ("command = \"\"\"\na \\\n  b\n\"\"\"", vec!["a", "b"], "a b"),
        (
            "shell = true\ncommand = \"cd /x && echo ${V} $$\"",
            vec!["/bin/sh", "-c", "cd /x && echo ${V} $$"],
            "cd /x && echo ${V} $$",
        ),
        ("command = \"a && b\"\nshell = true", vec!["/bin/sh", "-c", "a && b"], "a && b"),
        (
            "shell = \"${YES}\"\ncommand = \"a; b\nc\""
                .replace('\n', "\\n")
                .replacen("\\n", "\n", 1)
                .as_str(),
            vec!["/bin/sh", "-c", "a; b\nc"],
            "a; b\\nc",
        ),
    ] {
        let world = world(&format!("[services.s]\n{line}\n"))
            .variable("V", "x 'y' && $(z) ${V}")
            .variable("EMPTY", "")
            .variable("YES", "yes");
        let plan = plan_of(&world);
        assert_eq!(argv(&plan.instances[0]), expected, "{line}");
        assert_eq!(plan.instances[0].launch.shown, shown, "{line}");
    }
}

#[test]
fn values_mean_what_they_say() {
    let i = instance(
        r#"
shell = false
type = "oneshot"
autostart = false
cwd = "data"
env_from_file = { DB = "/run/secrets/db", KEY = "key" }
inherit_env = false
user = "app"
group = 33
groups = ["adm", 44]
umask = "027"
nice = -5
oom_score_adj = 500
rlimits = { nofile = 65536, core = 0, memlock = "64M", stack = { soft = "8M", hard = "unlimited" } }
no_new_privileges = true
capabilities = ["CAP_NET_BIND_SERVICE", "chown", "CHOWN"]
restart = "never"
stop_exit_codes = [143, 0, 143]
max_restarts = "unlimited"
min_uptime = 3
restart_window = "1h"
restart_delay = 0
restart_backoff = 1
restart_delay_max = "1m"
on_failure = "ignore"
on_success = "exit"
stop_signal = "RTMIN+3"
kill_timeout = 2.5
kill_mode = "group"
stop_command = "stop it"
signals = { SIGHUP = "SIGUSR1", SIGUSR2 = "ignore", "12" = "ignore" }
stdin = "inherit"
stdout = "raw"
stderr = "null"
"#
        .replace(", \"12\" = \"ignore\"", "")
        .as_str(),
    );
    assert_eq!((i.kind, i.autostart), (Kind::Oneshot, false));
    let launch = &*i.launch;
    assert_eq!(launch.cwd.as_deref(), Some(Path::new("/etc/data")));
    assert_eq!(
        *launch.env_from_file,
        [("DB".into(), PathBuf::from("/run/secrets/db")), ("KEY".into(), PathBuf::from("/etc/key"))]
    );
    assert!(!launch.inherit_env);
    assert_eq!(launch.identity.user.as_deref(), Some("app"));
    assert_eq!(launch.identity.group.as_deref(), Some("33"));
    assert_eq!(launch.identity.groups.as_deref(), Some(["adm".to_owned(), "44".to_owned()].as_slice()));
    let attributes = &launch.attributes;
    assert_eq!(
        (attributes.umask, attributes.nice, attributes.oom_score_adj),
        (Some(0o27), Some(-5), Some(500))
    );
    assert_eq!(
        attributes.rlimits,
        [
            Rlimit { resource: 7, soft: 65536, hard: 65536 },
            Rlimit { resource: 4, soft: 0, hard: 0 },
            Rlimit { resource: 8, soft: 64 << 20, hard: 64 << 20 },
            Rlimit { resource: 3, soft: 8 << 20, hard: u64::MAX },
        ]
    );
    assert!(attributes.no_new_privileges);
    assert_eq!(attributes.capabilities.as_deref(), Some([0, 10].as_slice()));
    assert_eq!(
        i.restart,
        plan::Restart {
            when: RestartWhen::Never,
            stop_exit_codes: vec![0, 143],
            max_restarts: None,
            min_uptime: Duration::from_secs(3),
            window: Some(Duration::new(3600, 0)),
            delay: Duration::ZERO,
            backoff: 1.0,
            delay_max: Duration::new(60, 0),
        }
    );
    assert_eq!((i.on_failure, i.on_success), (OnFailure::Ignore, OnSuccess::Exit));
    assert_eq!((i.stop.signal, i.stop.kill_timeout), (Signal::RTMIN_3, Some(Duration::from_millis(2500))));
    assert_eq!(i.stop.mode, KillMode::Group);
    let stop = i.stop.command.as_deref().unwrap();
    assert_eq!((stop.argv.len(), stop.shown.as_str(), stop.stdin), (2, "stop it", Stdin::Null));
    assert_eq!(stop.identity, launch.identity);
    assert_eq!(
        i.signals.into_iter().collect::<Vec<_>>(),
        [(Signal::HUP, Some(Signal::USR1)), (Signal::USR2, None)]
    );
    assert_eq!((launch.stdin, &launch.stdout, &launch.stderr), (Stdin::Inherit, &Output::Raw, &Output::Null));

    let i =
        instance("user = \"33:44\"\numask = 0o22\nrestart_delay = \"7s\"\ngroups = []\ncapabilities = []");
    assert_eq!(
        (i.launch.identity.user.as_deref(), i.launch.identity.group.as_deref()),
        (Some("33"), Some("44"))
    );
    for (defaults, own, expected) in [
        ("group = 'd'", "user = 'u:g'", Some("g")),
        ("group = 'd'", "user = 'u'", Some("d")),
        ("user = 'v:d'", "group = 'g'\nuser = 'u'", Some("g")),
        ("user = 'v:d'", "group = 'g'", Some("g")),
        ("user = 'v:d'", "user = 'u'", None),
        ("group = 'd'\nuser = 'v:w'", "", Some("d")),
        ("", "group = 'g'\nuser = 'u:h'", Some("g")),
    ] {
        let plan = plan(&format!("[defaults]\n{defaults}\n[services.a]\ncommand = 'x'\n{own}\n"));
        assert_eq!(plan.instances[0].launch.identity.group.as_deref(), expected, "{defaults} {own}");
    }
    assert_eq!(i.launch.identity.groups, Some(vec![]));
    assert_eq!(i.launch.attributes.capabilities, Some(vec![]));
    assert_eq!(i.launch.attributes.umask, Some(0o22));
    assert_eq!(i.restart.delay_max, Duration::from_secs(7), "the cap does not cut what was asked for");
}

#[test]
fn variables_stand_for_every_kind_of_value() {
    let text = "[services.a]\ncommand = \"run\"\ninstances = \"${N:-2}\"\nenabled = \"${ON:-true}\"\nmax_restarts = \"${R}\"\n\
                kill_timeout = \"${T}\"\nstop_signal = \"${S}\"\nuser = \"${U}\"\nrestart_backoff = \"${B}\"\nnice = \"${I}\"\n\
                stdout = \"${O}\"\ncwd = \"${C}/x\"\nstop_exit_codes = [\"${E}\"]\ndepends_on = [\"${D}\"]\nno_new_privileges = \"${P}\"\n\
                [services.db]\ncommand = \"x\"\nenabled = \"${CRON:-true}\"\n[services.cron]\ncommand = \"${UNSET}\"\nenabled = \"${CRON:-off}\"\n";
    let mut world = world(text);
    for (name, value) in [
        ("R", "unlimited"),
        ("T", "1m"),
        ("S", "QUIT"),
        ("U", "1000"),
        ("B", "1.5"),
        ("I", "-3"),
        ("O", "raw"),
        ("C", "/data"),
        ("E", "3"),
        ("D", "db"),
        ("P", "1"),
    ] {
        world = world.variable(name, value);
    }
    let plan = plan_of(&world);
    assert_eq!(names(&plan), ["db", "a.1", "a.2"]);
    let a = &plan.instances[1];
    assert_eq!(a.restart.max_restarts, None);
    assert_eq!(a.stop.kill_timeout, Some(Duration::new(60, 0)));
    assert_eq!(a.stop.signal, Signal::QUIT);
    assert_eq!((a.launch.identity.user.as_deref(), a.launch.attributes.nice), (Some("1000"), Some(-3)));
    assert_eq!(a.launch.cwd.as_deref(), Some(Path::new("/data/x")));
    assert_eq!(a.restart.stop_exit_codes, [3]);
}

#[test]
fn no_message_shows_the_value_of_a_variable() {
    let keys = [
        "instances",
        "enabled",
        "autostart",
        "max_restarts",
        "kill_timeout",
        "stop_signal",
        "user",
        "group",
        "restart_backoff",
        "nice",
        "oom_score_adj",
        "umask",
        "type",
        "restart",
        "on_failure",
        "kill_mode",
        "stdin",
        "stdout",
        "restart_window",
        "instance_env",
        "inherit_env",
        "no_new_privileges",
        "shell",
        "ready",
        "healthcheck",
        "watchdog",
    ];
    for key in keys {
        let text = format!("[services.a]\ncommand = \"x\"\n{key} = \"${{SECRET}}\"\n");
        let problems = problems(&world(&text).variable("SECRET", "hunter2 =x"));
        assert!(!problems.contains("hunter2"), "{problems}");
        assert!(problems.contains("once its variables are replaced"), "{problems}");
    }
    for line in [
        "capabilities = [\"${SECRET}\"]",
        "groups = [\"${SECRET}\"]",
        "rlimits = { nofile = \"${SECRET}\" }",
        "stop_exit_codes = [\"${SECRET}\"]",
        "signals = { HUP = \"${SECRET}\" }",
        "depends_on = { a = \"${SECRET}\" }",
        "depends_on = { a = { restart = \"${SECRET}\" } }",
        "ready = \"tcp:${SECRET}\"",
        "ready = \"unix:${SECRET}\"",
        "ready = \"file:${SECRET}\"",
        "ready = \"http://${SECRET}/\"",
        "ready = \"http://127.0.0.1/${SECRET}\"",
        "ready = \"fd:${SECRET}\"",
        "ready = \"delay:${SECRET}\"",
        "ready = \"log:${SECRET}\"\nstdout = \"null\"\nstderr = \"null\"",
        "ready = { test = \"log:${SECRET}\", interval = 1 }",
        "ready = { test = \"tcp:80\", timeout = \"${SECRET}\" }",
        "ready = { test = \"tcp:80\", interval = \"${SECRET}\" }",
        "healthcheck = { test = \"${SECRET}\" }",
        "healthcheck = { test = \"log:${SECRET}\" }",
        "healthcheck = { test = \"tcp:80\", retries = \"${SECRET}\" }",
        "healthcheck = { test = \"tcp:80\", start_period = \"${SECRET}\" }",
        "[signals]\nUSR1 = [\"${SECRET}\"]",
    ] {
        let text = format!("[services.a]\ncommand = \"x\"\n{line}\n");
        let problems = problems(&world(&text).variable("SECRET", "hunter2 =x"));
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn the_own_environment_comes_first() {
    let text = "[defaults]\nenv = { LEVEL = \"info\", REGION = \"eu\" }\nenv_file = \"base.env\"\n\
                [services.a]\ncommand = [\"x\", \"${PORT}\", \"${FROM_FILE}\", \"${OUTER}\"]\ninstances = 2\ninstance_env = \"NODE_APP_INSTANCE\"\n\
                env_file = [\"one.env\", \"two.env\"]\n\
                env = { PORT = \"80${N}\", N = \"${NODE_APP_INSTANCE}\", PATH = \"/app:${PATH}\", LEVEL = \"debug\", NUMBER = 3000, FLOAT = 1.10, FLAG = true }\n";
    let world = world(text)
        .file("/etc/one.env", "FROM_FILE=one\nBOTH=one\nPORT=1\nUSES=${BOTH}-${OUTER}-$$x\nLITERAL='${NO}'\nPASSED\nNOT_PASSED\nOUTER=${OUTER}!\n")
        .file("/etc/two.env", "\u{feff}BOTH=two # comment\n")
        .file("/etc/base.env", "NEVER=1\n")
        .variable("PORT", "outside")
        .variable("PATH", "/bin")
        .variable("OUTER", "o")
        .variable("PASSED", "p");
    let plan = plan_of(&world);
    let a = &plan.instances[1];
    assert_eq!(argv(a), ["x", "802", "one", "o!"]);
    for (name, value) in [
        ("PORT", Some("802")),
        ("PATH", Some("/app:/bin")),
        ("LEVEL", Some("debug")),
        ("REGION", Some("eu")),
        ("BOTH", Some("two")),
        ("USES", Some("two-o!-$x")),
        ("LITERAL", Some("${NO}")),
        ("PASSED", Some("p")),
        ("NOT_PASSED", None),
        ("NEVER", None),
        ("NUMBER", Some("3000")),
        ("FLOAT", Some("1.10")),
        ("FLAG", Some("true")),
        ("NODE_APP_INSTANCE", Some("2")),
        ("TINYSUP_INSTANCE", Some("2")),
        ("TINYSUP_SERVICE", Some("a")),
    ] {
        assert_eq!(env(a, name), value, "{name}");
    }
    // What a service says otherwise stays in the place that [defaults] gave it.
    let names: Vec<&str> = a.launch.env.iter().filter_map(|(name, _)| name.to_str()).collect();
    let place = |wanted: &str| names.iter().position(|name| *name == wanted);
    assert!(place("LEVEL") < place("REGION") && place("REGION") < place("PORT"), "{names:?}");
}

#[test]
fn variables_in_a_circle_end() {
    let text = service("env = { A = \"${B}\", B = \"${C:-x}\", C = \"${A}\" }");
    let problems = problems(&world(&text));
    assert_eq!(
        problems,
        "tinysup: /etc/tinysup.toml:3:41: variables refer to each other in a circle: A -> B -> C -> A\n    2 | command = \"run\"\n    \
         3 | env = { A = \"${B}\", B = *********, C = \"${A}\" }\n      |                                         ^^^^ a variable may refer to itself, which means the container's\n\
         1 error, nothing was started. `tinysup check` tests a file; `tinysup example` shows all keys.\n"
    );
    // Doubling at every step would come to 2^40 bytes, and a chain has an end.
    let doubling: Vec<String> =
        (0..40).map(|n| format!("V{n} = \"${{V{}}}${{V{}}}\"", n + 1, n + 1)).collect();
    let text = service(&format!("env = {{ {}, V40 = \"xx\" }}", doubling.join(", ")));
    assert!(load(&world(&text)).is_err());
    let many: Vec<String> = (0..20_000).map(|n| format!("V{n} = \"${{V{}}}\"", n + 1)).collect();
    let text = service(&format!("env = {{ {}, V20000 = \"xx\" }}", many.join(", ")));
    assert!(load(&world(&text)).is_err_and(|problems| problems.contains("in a row")));
}

#[test]
fn what_all_instances_share_cannot_depend_on_one() {
    let problems = problems(&world(&service("instances = \"${TINYSUP_INSTANCE}\"")));
    assert!(
        problems.contains("3:14: ${TINYSUP_INSTANCE} is not known here: this holds for all instances"),
        "{problems}"
    );
    let world = world(&service("instances = \"${WORKERS}\"\nenv = { WORKERS = 2, X = \"${TINYSUP_INSTANCE}\" }\nenv_file = \"${TINYSUP_INSTANCE}.env\""))
        .file("/etc/1.env", "Y=one").file("/etc/2.env", "Y=two");
    let plan = plan_of(&world);
    assert_eq!((env(&plan.instances[0], "Y"), env(&plan.instances[1], "Y")), (Some("one"), Some("two")));
}

#[test]
fn bytes_that_are_not_utf8_pass_unharmed_or_are_told() {
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let plan = plan_of(
        &world("[services.a]\ncommand = [\"x\", \"${ODD}\"]\nenv = { E = \"${ODD}\" }\ncwd = \"/${ODD}\"\n")
            .variable("ODD", odd.clone()),
    );
    let a = &plan.instances[0];
    assert_eq!(a.launch.argv[1].reveal(), &odd);
    assert!(a.launch.env.iter().any(|(name, value)| name == "E" && value.reveal() == &odd));
    assert!(a.launch.cwd.as_ref().unwrap().as_os_str().as_bytes().ends_with(b"/a\xff"));
    let problems =
        problems(&world("[services.a]\ncommand = \"x\"\nuser = \"${ODD}\"\n").variable("ODD", odd));
    assert!(problems.contains("user must be a name or a number"), "{problems}");
}

#[test]
fn problems_in_files_of_variables_name_their_line_and_show_nothing_of_it() {
    let world = world(&service("env_file = \".env\""))
        .file("/etc/.env", "A=1\nPASSWORD geheim\nB=pa$word\nC=\"x\nTINYSUP_SERVICE=1\n");
    assert_eq!(
        problems(&world),
        "tinysup: /etc/.env:2:1: this is not a line of the form NAME=value
tinysup: /etc/.env:3:1: \"$NAME\" is neither a variable nor plain text here
      | ${NAME} is replaced by the variable, $$NAME gives $NAME
tinysup: /etc/.env:4:3: this quote is never closed
tinysup: /etc/.env:5:1: TINYSUP_SERVICE is set by tinysup itself, which knows its processes by it
4 errors, nothing was started. `tinysup check` tests a file; `tinysup example` shows all keys.
"
    );
}

#[test]
fn the_file_is_found_where_it_should_be() {
    let good = "[services.a]\ncommand = \"a\"\n";
    let at = |path: &str| Memory::default().file(path, good);
    let name = |world: &Memory, file: Option<&str>| {
        let request = Request { file: file.map(Path::new), main: None, here: false };
        plan::load(&request, world)
            .map(|loaded| loaded.file)
            .map_err(|problems| problems.to_string().lines().next().unwrap().to_owned())
    };
    assert_eq!(
        name(&at("/etc/tinysup.toml").file("./tinysup.toml", ""), None).as_deref(),
        Ok("/etc/tinysup.toml")
    );
    assert_eq!(name(&at("./tinysup.toml"), None).as_deref(), Ok("./tinysup.toml"));
    assert_eq!(name(&at("/x.toml").variable("TINYSUP_CONFIG", "/x.toml"), None).as_deref(), Ok("/x.toml"));
    assert_eq!(
        name(&at("/etc/tinysup.toml").variable("TINYSUP_CONFIG", ""), None).as_deref(),
        Ok("/etc/tinysup.toml")
    );
    assert_eq!(
        name(&at("/y.toml").variable("TINYSUP_CONFIG", "/x.toml"), Some("/y.toml")).as_deref(),
        Ok("/y.toml")
    );
    let error = |world: &Memory, file: Option<&str>| name(world, file).unwrap_err();
    assert_eq!(
        error(&Memory::default(), None),
        "tinysup: no configuration: looked for $TINYSUP_CONFIG, /etc/tinysup.toml, ./tinysup.toml"
    );
    assert_eq!(error(&Memory::default(), Some("/x")), "tinysup: there is no file \"/x\"");
    assert_eq!(
        error(&Memory::default().variable("TINYSUP_CONFIG", "/x"), None),
        "tinysup: there is no file \"/x\" (from $TINYSUP_CONFIG)"
    );
    assert_eq!(
        problems(&at("/etc/tinysup.toml/x")),
        "tinysup: /etc/tinysup.toml is a directory, not a file\n         docker run -v makes one where the file on the host does not exist\n\
         1 error, nothing was started. `tinysup check` tests a file; `tinysup example` shows all keys.\n"
    );
}

#[test]
fn files_that_are_no_text_are_told_apart() {
    let first_line = |bytes: &[u8]| {
        problems(&Memory::default().file("/etc/tinysup.toml", bytes)).lines().next().unwrap().to_owned()
    };
    for (bytes, expected) in [
        (b"".as_slice(), "/etc/tinysup.toml is empty"),
        (b"# nothing\n", "the configuration has no services"),
        (b"a\0b", "/etc/tinysup.toml is not a text file: it contains a NUL byte"),
        (b"\xff\xfea\0", "/etc/tinysup.toml is not a text file: it is UTF-16; save it as UTF-8"),
        (b"# ok\n# \xe4\n", "/etc/tinysup.toml:2: not valid UTF-8"),
        (vec![b'#'; (1 << 20) + 1].as_slice(), "/etc/tinysup.toml is larger than 1 MiB: not a configuration"),
        (b"[services]\n", "the configuration has no services"),
        (b"[services.a]\ncommand='x'\nenabled=false", "no service is left to run: all have enabled = false"),
    ] {
        assert_eq!(first_line(bytes), format!("tinysup: {expected}"));
    }
    for text in [
        "\u{feff}[services.a]\ncommand = 'x'\n",
        "[services.a]\r\ncommand = 'x'\r\n",
        "[services.a]\ncommand = 'x'",
    ] {
        assert_eq!(names(&plan(text)), ["a"]);
    }
}

#[test]
fn the_socket_is_at_a_path_or_nowhere() {
    for (value, expected) in [
        ("false", Place::Off),
        ("true", Place::Usual),
        ("\"off\"", Place::Off),
        ("\"${C}\"", Place::Off),
        ("\"Yes\"", Place::Usual),
        ("\"/run/no/off\"", Place::At("/run/no/off".into())),
        ("\"off.sock\"", Place::At("/etc/off.sock".into())),
    ] {
        let text = format!("control = {value}\n[services.a]\ncommand = 'x'\n");
        let files = world(&text).variable("C", "no");
        let request = Request { file: None, main: None, here: false };
        assert_eq!(plan::load(&request, &files).unwrap().control, expected, "{value}");
    }
}

/// A shell takes a carriage return for a part of the word before it.
#[test]
fn windows_line_ends_do_not_get_into_texts_over_several_lines() {
    let text = "[services.a]\r\nshell = true\r\ncommand = \"\"\"\r\nif true; then\r\n  x\r\nfi\"\"\"\r\nenv_file = 'e'\r\nenv.E = \"\\r\\n\"\r\n";
    let world = world(text).file("/etc/e", "A=\"one\r\ntwo\r\"\r\nB='\r\n'\r\n");
    let plan = plan_of(&world);
    let a = &plan.instances[0];
    assert_eq!(argv(a), ["/bin/sh", "-c", "if true; then\n  x\nfi"]);
    for (name, value) in [("A", "one\ntwo\r"), ("B", "\n"), ("E", "\r\n")] {
        assert_eq!(env(a, name), Some(value));
    }
}

#[test]
fn more_files_are_included_in_their_order() {
    let one = |name: &str| format!("[services.{name}]\ncommand = \"{name}\"\ncwd = \"here\"\n");
    let files = Memory::default()
        .file("/app/tinysup.toml", format!("include = [\"conf.d/*.toml\", \"${{EXTRA:-extra.toml}}\", \"conf.d/*.toml\", \"./conf.d//*.toml\", \"no/*.toml\"]\n{}", one("main")))
        .file("/app/conf.d/20.toml", one("b"))
        .file("/app/conf.d/10.toml", one("c"))
        .file("/app/conf.d/.hidden.toml", one("h"))
        .file("/app/conf.d/30.toml", "")
        .file("/app/conf.d/readme", "no toml")
        .file("/app/extra.toml", one("a"));
    let request = Request { file: Some(Path::new("/app/tinysup.toml")), main: None, here: false };
    let plan = plan::load(&request, &files).unwrap().plan;
    assert_eq!(names(&plan), ["main", "c", "b", "a"]);
    // A pattern that matches the file itself, too, means the others.
    let beside =
        Memory::default().file("/app/extra.toml", one("a")).file("/app/tinysup.toml", "include = \"*.toml\"");
    assert_eq!(names(&plan::load(&request, &beside).unwrap().plan), ["a"]);
    assert_eq!(plan.instances[1].launch.cwd.as_deref(), Some(Path::new("/app/conf.d/here")));

    for (line, expected) in [
        (
            "include = [\"*/x.toml\"]",
            "1:12: cannot include this: a * may stand only in the last part of a path",
        ),
        ("include = \"missing.toml\"", "1:11: there is no file \"/etc/missing.toml\""),
        ("include = 1", "1:11: include must be a path or an array of paths, not a number"),
        ("include = [\"${NO}\"]", "1:13: ${NO} is not set"),
        ("include = \"bad.toml\"", ""),
    ] {
        let world = world(&format!("{line}\n[services.a]\ncommand = 'x'\n"))
            .file("/etc/bad.toml", "include = 'x'\n[defaults]\nuser = 1\n");
        let problems = problems(&world);
        if expected.is_empty() {
            assert!(
                problems.starts_with(
                    "tinysup: /etc/bad.toml:1:1: an included file has only [services.NAME], not \"include\"\n"
                ),
                "{problems}"
            );
            assert!(
                problems.contains(
                    "/etc/bad.toml:2:2: an included file has only [services.NAME], not \"defaults\""
                ),
                "{problems}"
            );
        } else {
            assert!(problems.starts_with(&format!("tinysup: /etc/tinysup.toml:{expected}\n")), "{problems}");
        }
    }
}

#[test]
fn defaults_hold_where_a_service_says_nothing() {
    let plan = plan(
        "[defaults]\nkill_timeout = 1\nuser = \"app\"\nrlimits = { nofile = 5, core = 0 }\nsignals = { HUP = \"ignore\" }\nshell = true\n\
         groups = [\"x\"]\n[services.a]\ncommand = \"a | b\"\n[services.b]\ncommand = [\"b\"]\nkill_timeout = 2\nrlimits = { nofile = 6 }\n\
         signals = { HUP = \"USR1\", USR2 = \"ignore\" }\ngroups = []\n",
    );
    let [a, b] = plan.instances.as_slice() else { panic!() };
    assert_eq!(
        (a.stop.kill_timeout, b.stop.kill_timeout),
        (Some(Duration::from_secs(1)), Some(Duration::from_secs(2)))
    );
    assert_eq!(b.launch.identity.user.as_deref(), Some("app"));
    assert_eq!(
        b.launch.attributes.rlimits,
        [Rlimit { resource: 4, soft: 0, hard: 0 }, Rlimit { resource: 7, soft: 6, hard: 6 }]
    );
    assert_eq!(b.signals, Map::from([(Signal::HUP, Some(Signal::USR1)), (Signal::USR2, None)]));
    assert_eq!(
        (a.launch.identity.groups.as_ref().unwrap().len(), b.launch.identity.groups.as_ref().unwrap().len()),
        (1, 0)
    );
    assert_eq!((argv(a), argv(b)), (vec!["/bin/sh", "-c", "a | b"], vec!["b"]));
}

#[test]
fn a_service_need_not_have_what_the_defaults_say() {
    let keys = [
        ("ready", "\"tcp:80\""),
        ("healthcheck", "\"tcp:80\""),
        ("watchdog", "5"),
        ("max_memory_restart", "\"1G\""),
        ("memory_limit", "\"1G\""),
        ("memory_limit_fallback", "\"restart\""),
        ("restart_window", "\"1h\""),
    ];
    let all: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let none: String = keys.iter().map(|(key, _)| format!("{key} = false\n")).collect();
    let with = plan(&format!(
        "[defaults]\n{all}[services.a]\ncommand = \"x\"\n{none}[services.b]\ncommand = \"x\"\n"
    ));
    let without = plan("[services.a]\ncommand = \"x\"\n");
    assert_eq!(format!("{:?}", with.instances[0]), format!("{:?}", without.instances[0]));
    let b = &with.instances[1];
    assert!(b.healthcheck.is_some() && b.memory.limit.is_some() && b.restart.window.is_some());
}

#[test]
fn signals_are_routed_to_instances() {
    let plan = plan(
        "[signals]\nSIGUSR1 = [\"web\", \"api.2\"]\nUSR2 = \"gone\"\nHUP = []\n[services.api]\ncommand = \"x\"\ninstances = 3\ndepends_on = [\"web\"]\n\
         [services.web]\ncommand = \"x\"\n[services.gone]\ncommand = \"x\"\nenabled = false\n",
    );
    assert_eq!(
        plan.routes,
        Map::from([
            (Signal::USR1, vec![InstanceId(0), InstanceId(2)]),
            (Signal::USR2, vec![]),
            (Signal::HUP, vec![])
        ])
    );
}

fn group() -> One {
    let manner = Manner { receivers: Receivers::Group, ..Manner::default() };
    One { manner, ..One::default() }
}

#[test]
fn one_command_is_a_plan_too() {
    let plan = plan::single(&One { argv: vec!["/usr/bin/env".into(), "--token=hunter2".into()], ..group() });
    let [only] = plan.instances.as_slice() else { panic!() };
    assert_eq!((&*only.name, only.launch.shown.as_str()), ("env", "/usr/bin/env"));
    assert_eq!(plan.mode, Mode::Command(group().manner));
    assert_eq!(
        (plan.shutdown_timeout, only.stop.kill_timeout, only.stop.mode),
        (None, None, KillMode::Process)
    );
    assert_eq!(
        (only.on_failure, only.on_success, only.restart.when),
        (OnFailure::Exit, OnSuccess::Exit, RestartWhen::Never)
    );
    assert_eq!(
        (only.launch.surroundings, only.launch.stdin, &only.launch.stdout),
        (Surroundings::Command, Stdin::Inherit, &Output::Inherit)
    );
    assert_eq!((only.launch.mark.clone(), only.launch.env.len()), (None, 0));
    let limited = plan::single(&One { kill_timeout: Some(Duration::from_secs(3)), ..group() });
    assert_eq!(limited.shutdown_timeout, None, "its stop begins when it has ended");
    assert_eq!(limited.instances[0].stop.kill_timeout, Some(Duration::from_secs(3)));
}

#[test]
fn a_command_beside_services_waits_for_them() {
    let main = || Some(vec!["bash".into(), "-l".into()]);
    let text = "[services.init]\ntype = \"oneshot\"\ncommand = \"x\"\n[services.db]\ncommand = \"x\"\n[services.later]\ncommand = \"x\"\nautostart = false\n";
    let plan = plan::load(&Request { main: main(), ..Request::default() }, &world(text)).unwrap().plan;
    let main_instance = plan.instances.last().unwrap();
    assert_eq!(&*main_instance.name, "main");
    assert_eq!(
        main_instance.depends_on,
        [
            Dependency { on: InstanceId(0), condition: Condition::Completed, restart: false },
            Dependency { on: InstanceId(1), condition: Condition::Ready, restart: false }
        ]
    );
    assert_eq!(main_instance.launch.mark, Some(Mark { service: "main".into(), instance: 1 }));
    assert_eq!(env(main_instance, "TINYSUP_SERVICE"), Some("main"));
    assert_eq!((main_instance.on_success, main_instance.on_failure), (OnSuccess::Exit, OnFailure::Exit));
    assert_eq!(plan.mode, Mode::Services);
    let disabled = world("[services.a]\ncommand = 'x'\nenabled = false\n");
    assert_eq!(
        names(&plan::load(&Request { main: main(), ..Request::default() }, &disabled).unwrap().plan),
        ["main"]
    );
    let taken = plan::load(
        &Request { main: main(), ..Request::default() },
        &world("[services.main]\ncommand = 'x'\n"),
    )
    .unwrap_err()
    .to_string();
    assert!(taken.contains("1:11: \"main\" is the name of the command on the command line"), "{taken}");
}

#[test]
fn check_reports_order_stop_chain_and_hints() {
    let text = "[services.nginx]\ncommand = \"nginx\"\ndepends_on = [\"php\"]\nkill_timeout = \"12s\"\n[services.php]\ncommand = \"php-fpm -F\"\n\
                depends_on = [\"redis\", \"migrate\"]\ninstances = 2\nstop_signal = \"SIGQUIT\"\n[services.redis]\ncommand = \"/usr/bin/redis-server --daemonize yes\"\n\
                [services.migrate]\ntype = \"oneshot\"\ncommand = \"sh -c 'exec pg_ctl start'\"\nrestart = \"always\"\n[services.later]\ncommand = \"gunicron\"\nautostart = false\n";
    let text = text.replace(
        "depends_on = [\"redis\", \"migrate\"]",
        "depends_on = { redis = \"ready\", migrate = \"started\" }",
    );
    let mut world = world(&text).variable("PATH", "/bin:/sbin");
    for program in ["/bin/nginx", "/sbin/php-fpm", "/usr/bin/redis-server", "/bin/sh"] {
        world = world.file(program, "");
    }
    let plan = plan_of(&world);
    assert_eq!(
        plan::check::report(&plan, &world, false).to_string(),
        "ok: 5 services (6 instances), start order redis, migrate -> php (x2) -> nginx, not started by itself: later, stop takes at most 9 s (docker stop allows 10 s)
slowest stop chain: nginx 12 s -> php 8 s -> redis 8 s = 28 s, cut to 9 s by shutdown_timeout
waits: php   for redis (its program runs), migrate (started)
waits: nginx for php (its program runs)
hint: nginx: kill_timeout is 12 s, but the whole stop may take only 9 s; shutdown_timeout = \"13s\" would allow it
hint: redis: redis-server puts itself into the background, as far as one can see. Run it in the foreground: --daemonize no, which goes over the daemonize yes of its configuration
hint: migrate: pg_ctl puts itself into the background, as far as one can see. Run it in the foreground: postgres -D DIRECTORY, without pg_ctl
hint: migrate: On SIGTERM postgres waits until its clients have gone; stop_signal = \"SIGINT\" does not
hint: nginx: nginx puts itself into the background, as far as one can see. Run it in the foreground: nginx -g \"daemon off;\"
hint: nginx: On SIGTERM nginx drops the requests it is answering; stop_signal = \"SIGQUIT\" lets it finish them
hint: later: as things are here, it cannot start: \"gunicron\" is not in PATH (/usr/bin)
hint: redis: what depends on it starts when its program runs; with ready = \"tcp:6379\" when it can do its work
hint: php: what depends on it starts when its program runs; with ready = \"tcp:9000\" when it can do its work
"
    );
    let one = world_of_one(
        "shutdown_timeout = 30\n[services.a]\ncommand = \"/bin/sh\"\nkill_timeout = 20\nrestart_window = \"10s\"\nsignals = { HUP = \"USR1\", USR1 = \"HUP\" }\n",
    );
    assert_eq!(
        plan::check::report(&plan_of(&one), &one, false).to_string(),
        "ok: 1 service, stop takes at most 20 s (docker stop allows 10 s)
hint: a stop may take 20 s, but docker stop kills after 10 s: use docker stop -t 21, in Compose stop_grace_period: 21s, in Kubernetes terminationGracePeriodSeconds: 21
hint: a: the waits between 10 restarts are longer than restart_window = 10 s: the budget can never be spent
hint: a: signals has SIGHUP, which is reserved for re-reading the configuration and never gets here; [signals] SIGHUP = [\"a\"] sends it
"
    );
}

#[test]
fn a_stop_that_takes_as_long_as_docker_waits_is_told() {
    for (timeout, part) in
        [("9.5s", ""), ("10s", "shutdown_timeout = \"9s\" leaves time"), ("11s", "docker stop -t 12")]
    {
        let text = format!(
            "shutdown_timeout = \"{timeout}\"\n[services.a]\ncommand = \"/bin/sh\"\nkill_timeout = 20\n"
        );
        let remarks = remarks(&text);
        assert_eq!(remarks.contains("a stop may take"), !part.is_empty(), "{remarks}");
        assert!(remarks.contains(part), "{remarks}");
    }
}

/// One that runs when the stop begins takes its time, too; where what waited for its end runs, it is done.
#[test]
fn a_stop_while_a_oneshot_runs_is_counted() {
    let oneshot = "command = \"/bin/sh\"\ntype = \"oneshot\"\n";
    for (text, time, chain) in [
        (format!("[services.a]\n{oneshot}kill_timeout = \"3s\"\n"), "3 s", ""),
        (
            format!(
                "[services.a]\n{oneshot}kill_timeout = \"3s\"\n[services.b]\n{oneshot}kill_timeout = \"2s\"\n\
                  depends_on = [\"a\"]\n[services.c]\ncommand = \"/bin/sh\"\ndepends_on = [\"b\"]\nkill_timeout = \"1s\"\n"
            ),
            "3 s",
            "",
        ),
        (
            format!(
                "[services.a]\ncommand = \"/bin/sh\"\nkill_timeout = \"1s\"\n[services.b]\n{oneshot}depends_on = [\"a\"]\n\
                  kill_timeout = \"3s\"\n[services.c]\ncommand = \"/bin/sh\"\ndepends_on = [\"b\"]\nkill_timeout = \"3s\"\n"
            ),
            "4 s",
            "c 3 s -> a 1 s = 4 s",
        ),
        // It may run as long as what waited for its start alone.
        (
            format!(
                "[services.a]\ncommand = \"/bin/sh\"\nkill_timeout = \"1s\"\n[services.b]\n{oneshot}depends_on = [\"a\"]\n\
                  kill_timeout = \"3s\"\n[services.c]\ncommand = \"/bin/sh\"\ndepends_on = {{ b = \"started\" }}\nkill_timeout = \"2s\"\n"
            ),
            "6 s",
            "c 2 s -> b 3 s -> a 1 s = 6 s",
        ),
    ] {
        let world = world_of_one(&text);
        let report = plan::check::report(&plan_of(&world), &world, false);
        assert!(report.summary.contains(&format!("stop takes at most {time} ")), "{}", report.summary);
        assert_eq!(report.stop_chain.unwrap_or_default(), chain, "{text}");
    }
}

/// What `check` says of a configuration whose only program is /bin/sh, but for its first line.
fn remarks(text: &str) -> String {
    let world = world_of_one(text);
    let report = plan::check::report(&plan_of(&world), &world, false).to_string();
    report.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn check_tells_what_waits_for_what() {
    let text = "[services.db]\ncommand = \"/bin/sh\"\nready = \"tcp:127.0.0.1:${PORT:-5432}\"\n\
                [services.migrate]\ntype = \"oneshot\"\ncommand = \"/bin/sh\"\ndepends_on = { db = \"ready\", cache = \"started\" }\n\
                [services.cache]\ncommand = \"/bin/sh\"\nready = { test = \"delay:2s\" }\n\
                [services.api]\ncommand = \"/bin/sh\"\ninstances = 2\nhealthcheck = [\"/bin/sh\", \"-c\", \"up ${TINYSUP_INSTANCE}\"]\n\
                depends_on = { db = { restart = true }, migrate = \"completed\", cache = \"ready\" }\n\
                [services.nginx]\ncommand = \"/bin/sh\"\ndepends_on = { api = \"ready\", cache = \"ready\", db = \"started\" }\n\
                [services.log]\ncommand = \"/bin/sh\"\ndepends_on = [\"nginx\"]\n";
    assert_eq!(
        remarks(text),
        "slowest stop chain: log 8 s -> nginx 8 s -> api 8 s -> db 8 s = 32 s, cut to 9 s by shutdown_timeout
waits: migrate for db (ready: tcp:127.0.0.1:${PORT:-5432}, at most 60 s), cache (started)
waits: api     for db (ready; restarted with it), migrate (completed), cache (ready: delay:2s)
waits: nginx   for api (ready: /bin/sh -c 'up ${TINYSUP_INSTANCE}', at most 90 s), cache (ready), db (started)
waits: log     for nginx (its program runs)
hint: nginx: what depends on it starts when its program runs; with ready = \"tcp:8080\" or \"log:TEXT\" when it can do its work
"
    );
    // Many services, and many that one waits for, are counted.
    let long = format!("[\"/bin/sh\", \"{}\"]", "x".repeat(100));
    let others: String = (0..30)
        .map(|n| {
            let on = (0..n).map(|n| format!(", \"s{n}\"")).collect::<String>();
            format!("[services.s{n}]\ncommand = \"/bin/sh\"\ndepends_on = [\"base\"{on}]\n")
        })
        .collect();
    let remarks = remarks(&format!("[services.base]\ncommand = \"/bin/sh\"\nready = {long}\n{others}"));
    let waits: Vec<&str> = remarks.lines().filter(|line| line.starts_with("waits: ")).collect();
    assert_eq!(waits.len(), 21);
    assert_eq!(waits[0], format!("waits: s0  for base (ready: /bin/sh {}…, at most 60 s)", "x".repeat(52)));
    assert!(
        waits[19].starts_with("waits: s19 for base (ready), s0 (its program runs), ")
            && waits[19].ends_with("s6 (its program runs) and 12 more")
    );
    assert_eq!(waits[20], "waits: and 10 more services for others");
    assert!(
        remarks.ends_with(
            "hint: s0, s1, s2, s3, s4, s5, s6, s7 and 21 more: what depends on them starts when their programs run; \
             with ready = \"tcp:8080\" or \"log:TEXT\" when they can do their work\n"
        ),
        "{remarks}"
    );
}

#[test]
fn milliseconds_of_others_are_noticed() {
    let world = world_of_one("[services.a]\ncommand = \"/bin/sh\"\nkill_timeout = 1600\nmin_uptime = 1000\n");
    assert_eq!(
        plan::check::report(&plan_of(&world), &world, false).to_string(),
        "ok: 1 service, stop takes at most 9 s (docker stop allows 10 s)
hint: a: kill_timeout is 26 m 40 s (a number without a unit is seconds), but the whole stop may take only 9 s; shutdown_timeout = \"1601s\" would allow it
hint: a: min_uptime is 16 m 40 s (a number without a unit is seconds): only a run as long as that starts the count of restarts anew
"
    );
}

#[test]
fn variables_of_supervisord_are_noticed() {
    let world = world_of_one("[services.a]\ncommand = \"app -p %(ENV_PORT)s\"\n");
    assert_eq!(
        problems(&world),
        "\
tinysup: /etc/tinysup.toml:2:20: command has \"(\", but commands are not run by a shell
    1 | [services.a]
    2 | command = \"app -p %(ENV_PORT)s\"
      |                    ^ supervisord's %(ENV_NAME)s is ${NAME} here, its %(process_num)d ${TINYSUP_INSTANCE}
1 error, nothing was started. `tinysup check` tests a file; `tinysup example` shows all keys.
"
    );
}

#[test]
fn check_has_hints_for_tests() {
    for (lines, expected) in [
        ("ready = \"tcp:80\"", ""),
        ("healthcheck = { test = \"tcp:80\", interval = 5, timeout = 5 }", ""),
        (
            "healthcheck = { test = \"tcp:80\", interval = 5, timeout = 6 }",
            "a: healthcheck: timeout (6 s) is longer than interval (5 s): a check that hangs delays the next ones",
        ),
        (
            "ready = { test = \"tcp:80\", interval = 5, timeout = 5 }",
            "a: ready is asked once only: its interval of 5 s is not shorter than its timeout of 5 s",
        ),
        ("ready = \"log:up\"\nstderr = \"raw\"", ""),
        (
            "ready = \"log:up\"\nstdout = \"inherit\"",
            "a: log:up is looked for in stderr alone: stdout does not pass through tinysup",
        ),
        (
            "ready = [\"pg_isready\"]",
            "a: ready: as things are here, it cannot be run: \"pg_isready\" is not in PATH (/usr/bin)",
        ),
        (
            "stop_command = [\"rabbitmqctl\", \"stop\"]",
            "a: stop_command: as things are here, it cannot be run: \"rabbitmqctl\" is not in PATH (/usr/bin)",
        ),
        (
            "ready = [\"/bin/sh\", \"-c\", \"curl -f http://localhost/\"]\nhealthcheck = \"tcp:80\"",
            "a: ready: curl is not needed: \"http://…\" asks without starting a program",
        ),
        (
            "instances = 3\nhealthcheck = \"http://127.0.0.1:8080/${NO:-up}\"",
            "a: healthcheck: all instances are asked at http://127.0.0.1:8080/${NO:-up}, where one answers for the others; \
             ${TINYSUP_INSTANCE} tells them apart",
        ),
        ("instances = 3\nhealthcheck = \"http://127.0.0.1:808${TINYSUP_INSTANCE}/\"", ""),
        (
            "restart_window = \"5m\"\nready = \"tcp:80\"",
            "a: 10 restarts of a run that is not ready for 60 s take longer than restart_window = 5 m: were it never ready, it would \
             be restarted for ever",
        ),
        ("restart_window = \"1h\"\nready = \"tcp:80\"", ""),
        (
            "ready = [\"a\\u001b[31m\"]",
            "a: ready: as things are here, it cannot be run: \"a\\u{1b}[31m\" is not in PATH (/usr/bin)",
        ),
    ] {
        let expected = if expected.is_empty() { String::new() } else { format!("hint: {expected}\n") };
        assert_eq!(remarks(&format!("[services.a]\ncommand = \"/bin/sh\"\n{lines}\n")), expected, "{lines}");
    }
}

#[test]
fn check_knows_which_servers_a_test_misleads_about() {
    for (command, ready, told) in [
        ("postgres -D /data", "tcp:5432", true),
        ("postgres -D /data", "unix:/run/postgresql/.s.PGSQL.5432", true),
        ("postgres -D /data", "notify", false),
        ("redis-server", "notify", true),
        ("redis-server --supervised systemd", "notify", false),
    ] {
        let text = format!("[services.a]\ncommand = \"{command}\"\nready = \"{ready}\"\n");
        let remarks = remarks(&text);
        assert_eq!(remarks.contains("speaks sd_notify"), told, "{command}, {ready}: {remarks}");
    }
}

fn world_of_one(text: &str) -> Memory {
    world(text).file("/bin/sh", "")
}

/// The setting or section of a line of the example that begins with this.
fn commented<'a>(line: &'a str, comment: &str) -> Option<&'a str> {
    let is_key = |key: &str| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    line.strip_prefix(comment)
        .filter(|rest| rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)))
}

#[test]
fn the_example_runs_as_it_is_and_with_every_line_uncommented() {
    let example = tinysup::texts::text("example.toml");
    assert_eq!(names(&plan(&example)), ["web"]);
    // Of a key that has both a default and an example the latter.
    let next = example.lines().skip(1).chain([""]);
    let uncommented: String = example
        .lines()
        .zip(next)
        .map(|(line, next)| {
            let default = commented(line, "# ").filter(|default| {
                let key = default.split_once(" = ").map_or(*default, |(key, _)| key);
                commented(next, "## ").is_none_or(|next| next.split_once(" = ").unwrap().0 != key)
            });
            format!("{}\n", commented(line, "## ").or(default).unwrap_or(line))
        })
        .collect();
    assert!(uncommented.matches("\n[").count() >= 3 && uncommented.contains("\nstderr = "), "{uncommented}");
    assert_eq!(names(&plan(&uncommented)), ["web"]);
    for key in keys::SERVICE.iter().chain(keys::TOP).chain(keys::LOG).chain(keys::MEMORY) {
        let name = key.name;
        assert!(uncommented.contains(&format!("\n{name} = {}", key.example())), "{name}");
    }
}

#[test]
fn each_line_of_the_example_is_the_default_or_else_an_example() {
    let example = tinysup::texts::text("example.toml");
    let (mut defaults, mut examples) = (0, 0);
    let shown = |text: &str| format!("{:?}", plan_of(&world_of_one(text)));
    let before = shown(&example);
    for line in example.lines() {
        let with = |setting: &str| example.replace(&format!("\n{line}\n"), &format!("\n{setting}\n"));
        if let Some(setting) = commented(line, "# ").filter(|line| !line.starts_with('[')) {
            assert_eq!(shown(&with(setting)), before, "{line}");
            defaults += 1;
        } else if let Some(setting) = commented(line, "## ") {
            let (key, _) = setting.split_once(" = ").unwrap();
            // These make no difference by themselves, or to the plan.
            let also = ["enabled", "memory_limit_fallback", "include", "control"];
            assert!(shown(&with(setting)) != before || also.contains(&key), "{line}");
            examples += 1;
        }
    }
    assert!(defaults > 30 && examples > 20, "{defaults} {examples}");
}

#[test]
fn stated_defaults_are_the_defaults() {
    let without = format!("{:?}", plan(&service("")));
    let mut tested = 0;
    for key in keys::SERVICE {
        let (name, default) = (key.name, key.default());
        if default.contains(' ') || ["none", "inherited", "required"].contains(&default) {
            continue;
        }
        assert_eq!(format!("{:?}", plan(&service(&format!("{name} = {default}")))), without, "{name}");
        tested += 1;
    }
    assert!(tested > 20);
    assert_eq!(
        format!(
            "{:?}",
            plan(&format!(
                "shutdown_timeout = {}\n{}",
                keys::TOP.iter().find(|key| key.name == "shutdown_timeout").unwrap().default(),
                service("")
            ))
        ),
        without
    );
}

/// What is said of this configuration where that memory was found.
fn here(text: &str, memory: MemoryFound) -> Result<Plan, String> {
    let world = Memory { found: memory, ..world(text) };
    let request = Request { here: true, ..Request::default() };
    plan::load(&request, &world).map(|loaded| loaded.plan).map_err(|problems| problems.to_string())
}

fn limited(megabytes: u64, delegated: bool) -> MemoryFound {
    let limit = (megabytes > 0).then_some(megabytes << 20);
    MemoryFound { limit, total: 16 << 30, delegated, text: "cgroup v1".to_owned(), ..MemoryFound::default() }
}

#[test]
fn amounts_of_memory_are_read() {
    let share = |hundredths| Amount::Share(Share::new(hundredths).unwrap());
    for (written, amount) in [
        ("\"300M\"", Amount::Bytes(300 << 20)),
        ("\"1.5G\"", Amount::Bytes(3 << 29)),
        ("\"200MB\"", Amount::Bytes(200 << 20)),
        ("314572800", Amount::Bytes(300 << 20)),
        ("\"40%\"", share(4000)),
        ("\"${SHARE:-12.5}%\"", share(1250)),
    ] {
        let limits = instance(&format!("max_memory_restart = {written}")).memory;
        assert_eq!(limits.restart, Some(amount), "{written}");
    }
    let all = instance("memory_limit = \"500M\"\nmemory_limit_fallback = \"restart\"\noom_priority = -7");
    let limits =
        Limits { restart: None, limit: Some(Amount::Bytes(500 << 20)), fallback: true, priority: -7 };
    assert_eq!(all.memory, limits);
    assert_eq!(all.launch.cell, Some(Cell { memory_max: Some(500 << 20) }));
    assert_eq!(instance("").launch.cell, None);
    let guarded =
        plan(&format!("[memory]\nwarn = \"85%\"\nrestart = \"95%\"\nreference = \"host\"\n{}", service("")));
    let (warn, restart) = (Share::new(8500), Share::new(9500));
    assert_eq!(guarded.guard, Guard { warn, restart, reference: Reference::Host });
    assert_eq!(guarded.instances[0].launch.cell, Some(Cell { memory_max: None }));
    assert_eq!(plan(&service("")).guard, Guard::default());
}

#[test]
fn what_asks_for_a_share_needs_a_limit_to_take_it_from() {
    let shares = service("max_memory_restart = \"40%\"\nmemory_limit = \"60%\"");
    let guarded = format!("[memory]\nwarn = \"85%\"\n{}", service(""));
    assert_eq!(
        here(&shares, limited(0, true)).unwrap_err(),
        "tinysup: /etc/tinysup.toml:3:22: max_memory_restart = \"40%\": the container has no memory limit to take a share of
    2 | command = \"run\"
    3 | max_memory_restart = \"40%\"
      |                      ^^^^^ docker run --memory 512M (in Compose mem_limit: 512M) sets one; or a size; or [memory] reference = \"host\", for shares of the machine's memory
tinysup: /etc/tinysup.toml:4:16: memory_limit = \"60%\": the container has no memory limit to take a share of
    3 | max_memory_restart = \"40%\"
    4 | memory_limit = \"60%\"
      |                ^^^^^ docker run --memory 512M (in Compose mem_limit: 512M) sets one; or a size; or [memory] reference = \"host\", for shares of the machine's memory
2 errors, nothing was started. `tinysup check` tests a file; `tinysup example` shows all keys.
"
    );
    assert!(
        here(&guarded, limited(0, true))
            .unwrap_err()
            .contains(":2:8: warn = \"85%\": the container has no memory limit")
    );
    let host = |text: &str| text.replace("[memory]", "[memory]\nreference = \"host\"");
    assert!(here(&host(&guarded), limited(0, true)).is_ok());
    assert!(
        here(&host(&guarded), MemoryFound::default())
            .unwrap_err()
            .contains("how much memory the machine has is not known")
    );
    let plan = here(&shares, limited(500, true)).unwrap();
    assert_eq!(plan.instances[0].launch.cell, Some(Cell { memory_max: Some(300 << 20) }));
    assert!(here(&guarded, limited(500, false)).is_ok());
    // A limit by the size and one by the share can only be compared where the whole is known.
    let mixed = service("max_memory_restart = \"350M\"\nmemory_limit = \"60%\"");
    assert!(load(&world(&mixed)).is_ok());
    assert!(here(&mixed, limited(500, true)).unwrap_err().contains("must not be above memory_limit"));
}

#[test]
fn what_the_kernel_cannot_be_told_is_refused_unless_a_restart_will_do() {
    let limit = service("memory_limit = \"500M\"");
    assert_eq!(
        here(&limit, limited(0, false)).unwrap_err(),
        "tinysup: /etc/tinysup.toml:3:16: memory_limit cannot be had here: it needs a cgroup for the service, and none can be made (cgroup v1)
    2 | command = \"run\"
    3 | memory_limit = \"500M\"
      |                ^^^^^^ memory_limit_fallback = \"restart\" restarts the service above it instead; docs/cgroups.md says what a cgroup needs
1 error, nothing was started. `tinysup check` tests a file; `tinysup example` shows all keys.
"
    );
    assert!(load(&world(&limit)).is_ok() && here(&limit, limited(0, true)).is_ok());
    assert!(here(&format!("{limit}memory_limit_fallback = \"restart\"\n"), limited(0, false)).is_ok());
    assert!(here(&service("max_memory_restart = \"500M\""), limited(0, false)).is_ok());
}

#[test]
fn check_says_how_much_memory_is_meant() {
    let text = "[memory]\nwarn = \"85%\"\nrestart = \"95%\"\n[services.a]\ncommand = \"/bin/sh\"\nmax_memory_restart = \"40%\"\ninstances = 2\n\
                [services.b]\ncommand = \"/bin/sh\"\nmax_memory_restart = \"1G\"\nmemory_limit = \"2G\"\nmemory_limit_fallback = \"restart\"\n";
    assert_eq!(
        remarks(text),
        "memory: the container: warn at 85%, restart at 95%
memory: a each: restarted above 40%
memory: b: restarted above 1G, no more than 2G
hint: shares of memory are of the container's memory limit, which is not known here; `tinysup check --runtime` in the container says how much that is
"
    );
    let world = Memory { found: limited(500, false), ..world_of_one(text) };
    let report = plan::check::report(&plan_of(&world), &world, true).to_string();
    assert_eq!(
        report.split_once('\n').unwrap().1,
        "memory: the limit of this container is 500M (no controller to be seen, services are summed up from /proc)
memory: the container: warn at 85% = 425M, restart at 95% = 475M
memory: a each: restarted above 40% = 200M
memory: b: restarted above 1G, restarted above 2G, in place of memory_limit
hint: b: max_memory_restart is 1G, but the container has only 500M: the kernel kills before that
hint: b: memory_limit is 2G, but the container has only 500M: the kernel kills before that
"
    );
    assert!(
        !remarks(&service("command = 1").replace("command = 1\n", "").replace("run", "/bin/sh"))
            .contains("memory")
    );
    let memmon =
        remarks("[services.b]\ncommand = \"/bin/sh\"\n[services.a]\ncommand = \"memmon -a 200MB\"\n");
    assert!(memmon.contains("hint: a: this speaks to supervisord; here max_memory_restart"), "{memmon}");
}

#[test]
fn every_mistyped_key_is_an_error() {
    let seed = std::env::var("TINYSUP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut random = Numbers::new(seed);
    for key in keys::SERVICE {
        for _ in 0..8 {
            let mut name: Vec<u8> = key.name.bytes().collect();
            let at = random.index(name.len());
            let letter = b"abcdefghijklmnopqrstuvwxyz_"[random.index(27)];
            match random.index(3) {
                0 => drop(name.remove(at)),
                1 => name.insert(at, letter),
                _ => name[at] = letter,
            }
            let name = String::from_utf8(name).unwrap();
            if name.is_empty() || keys::service(&name).is_some() || keys::is_later(&name) {
                continue;
            }
            let problems = problems(&world(&service(&format!("{name} = {}", key.example()))));
            assert!(problems.contains(&format!("unknown key \"{name}\"")), "{problems}");
            assert!(
                problems.contains("did you mean \"") || problems.contains("here it is called \""),
                "{problems}"
            );
        }
    }
}

#[test]
fn every_key_is_in_the_documentation() {
    let documentation = include_str!("../docs/configuration.md");
    for key in keys::SERVICE.iter().chain(keys::LOG).chain(keys::TOP).chain(keys::MEMORY) {
        let cell = |text: &str| text.replace('|', "\\|");
        let default = key.default();
        let is_value = default.contains(['"', '[', '{'])
            || default.parse::<f64>().is_ok()
            || default.parse::<bool>().is_ok();
        let default = if is_value { format!("`{default}`") } else { default.to_owned() };
        let (name, expected) = (key.name, cell(key.expected));
        let line = format!("| `{name}` | {expected} | {} | {} |", cell(&default), cell(key.help()));
        assert!(documentation.contains(&line), "docs/configuration.md lacks this row:\n{line}");
    }
    let examples: Vec<&str> = documentation.split("```toml\n").skip(1).collect();
    let [first, from_compose] = examples.as_slice() else { panic!("{} examples", examples.len()) };
    let text = |example: &str| example.split_once("```").unwrap().0.to_owned();
    assert_eq!(names(&plan(&text(first))), ["db", "migrate", "api.1", "api.2"]);
    let others = "[services.db]\ncommand = \"x\"\n[services.migrate]\ncommand = \"x\"\ntype = \"oneshot\"\n";
    assert_eq!(names(&plan(&(text(from_compose) + others))), ["db", "migrate", "api"]);
    for name in keys::LATER.iter().chain(&keys::LATER_TOP) {
        assert!(documentation.contains(&format!("`{name}`")), "docs/configuration.md does not name {name}");
    }
}

#[test]
fn later_keys_are_refused_with_their_place() {
    for key in keys::LATER {
        let problems = problems(&world(&service(&format!("{key} = 1"))));
        assert!(
            problems
                .starts_with(&format!("tinysup: /etc/tinysup.toml:3:1: \"{key}\" is not yet supported\n")),
            "{problems}"
        );
    }
    for key in keys::LATER_TOP {
        let problems = problems(&world(&format!("{key} = 1\n{}", service(""))));
        assert!(
            problems
                .starts_with(&format!("tinysup: /etc/tinysup.toml:1:1: \"{key}\" is not yet supported\n")),
            "{problems}"
        );
    }
}

#[test]
fn there_may_be_ten_thousand_instances_and_not_one_more() {
    let services: String = (0..10_000)
        .map(|n| {
            format!(
                "[services.s{n}]\ncommand = \"x ${{TINYSUP_SERVICE}}\"\n{}",
                if n > 0 { format!("depends_on=[\"s{}\"]\n", n - 1) } else { String::new() }
            )
        })
        .collect();
    let first = plan(&services);
    assert_eq!(first.instances.len(), 10_000);
    assert_eq!(argv(&first.instances[9_999]), ["x", "s9999"]);
    let problems = problems(&world(&format!("{services}[services.last]\ncommand = \"x\"\n")));
    assert!(problems.contains("more than 10000 instances in all"), "{problems}");
    // All of it in one circle: named, but not with ten thousand names.
    let circle = services.replacen("\"x ${TINYSUP_SERVICE}\"\n", "\"x\"\ndepends_on=[\"s9999\"]\n", 1);
    let problems = self::problems(&world(&circle));
    assert!(
        problems.contains("depends_on makes a circle: s0 -> s9999 -> ") && problems.len() < 1000,
        "{problems}"
    );
    // A million pairs are enough.
    let wide: String = (0..10)
        .map(|n| {
            format!(
                "[services.w{n}]\ncommand = \"x\"\ninstances = 1000\ndepends_on = [{}]\n",
                (0..n).map(|m| format!("\"w{m}\"")).collect::<Vec<_>>().join(",")
            )
        })
        .collect();
    assert!(self::problems(&world(&wide)).contains("1,000,000 pairs"));
}

fn many_that_depend_on_nobody() -> String {
    let services: String = (0..8_000).map(|n| format!("[services.s{n}]\ncommand = 'x'\n")).collect();
    let names: Vec<String> = (0..60_000).map(|n| format!("'z{n}'")).collect();
    format!("{services}depends_on = [{}]\n", names.join(", "))
}

#[test]
fn hostile_files_end_in_bounded_time() {
    let mebibyte = 1 << 20;
    for text in [
        "[".repeat(20_000),
        format!("a = {}", "[".repeat(20_000)),
        format!("a = {}", "{a=".repeat(20_000)),
        format!("[{}]", "a.".repeat(20_000)),
        "a.".repeat(mebibyte / 2),
        "=\n".repeat(mebibyte / 2),
        "\"".repeat(mebibyte),
        "a=1\n".repeat(mebibyte / 4),
        "[a]\n".repeat(mebibyte / 4),
        "[[a]]\n".repeat(mebibyte / 6),
        "\n".repeat(mebibyte),
        (0..60_000).map(|n| format!("k{n}={n}\n")).collect(),
        (0..30_000).map(|n| format!("[s{n}]\nk={n}\n")).collect(),
        format!("[services.a]\ncommand = \"{}\"\n", "${X:-".repeat(100_000)),
        format!("[services.a]\ncommand = \"{}\"\n", "a ".repeat(400_000)),
        format!("[services.a]\n{} = 1\n", "k".repeat(900_000)),
        format!("[services.{}]\ncommand = 'x'\n", "k".repeat(900_000)),
        many_that_depend_on_nobody(),
        (0..20_000).rev().map(|n| format!("[services.s{n:05}]\ncommand = 'x'\nenabled = false\n")).collect(),
        format!("{}[services.a.env_from_file]\n{}", service(""), {
            (0..80_000).rev().map(|n| format!("V{n:05} = 'x'\n")).collect::<String>()
        }),
    ] {
        let head: String = text.chars().take(20).collect();
        let problems = load(&world(&text)).err().unwrap_or_default();
        assert!(problems.len() < 200_000, "{head}: {} bytes of problems", problems.len());
    }
}

const SEEDED: &str = "shutdown_timeout = \"9s\"\ninclude = \"more.toml\"\n[defaults]\nenv = { A = \"${B:-x}\" }\nenv_file = [\".env\"]\n\
    rlimits = { nofile = { soft = 1, hard = 2 } }\n[signals]\nSIGUSR1 = [\"web\", \"api.2\"]\n[services.web]\ncommand = \"nginx -g 'daemon off;' ${A}\"\n\
    depends_on = { api = \"started\" }\nsignals = { HUP = \"USR1\", USR2 = \"ignore\" }\ncapabilities = [\"CHOWN\"]\nuser = \"a:b\"\numask = \"022\"\n\
    stop_command = [\"a\", \"b\"]\n[services.api]\ncommand = [\"node\", \"${PORT:?no port}\"]\ninstances = \"${N:-2}\"\nenv.PORT = 300\n\
    restart_backoff = 1.5\nstop_exit_codes = [0]\nready = { test = \"http://localhost:${PORT:-80}/up?x=1\", timeout = \"9s\", interval = \"1s\" }\n\
    healthcheck = { test = [\"curl\", \"${PORT}\"], interval = 5, timeout = \"2s\", retries = 3, start_period = 1 }\nwatchdog = \"30s\"\n\
    [services.db]\ncommand = \"db\"\nready = \"log:listening on\"\nhealthcheck = \"tcp:[::1]:5432\"\n[services.app]\ncommand = \"app\"\n\
    ready = \"fd:3\"\ndepends_on = { db = { condition = \"ready\", restart = true } }\n";

/// Spellings that end in a problem, in each of which `geheim` is, or was meant to be, the value of a variable.
#[test]
fn no_excerpt_shows_a_value_of_an_environment() {
    let services = [
        // Under another name.
        "environment = { PASSWORD = \"geheim\" }",
        "Env = { PASSWORD = \"geheim\" }",
        "ENV = { PASSWORD = \"geheim\" }",
        "evn = { PASSWORD = \"geheim\" }",
        "vars = { PASSWORD = 'geheim' }",
        "enviroment = { PASSWORD = \"geheim\" }",
        "variables = { PASSWORD = \"geheim\" }",
        "environment = [\"PASSWORD=geheim\"]",
        "env = [\"PASSWORD=geheim\"]",
        "env = \"PASSWORD=geheim\"",
        "env = { PASSWORD = \"geheim\", \"A=B\" = 1 }",
        "env = { PASSWORD = \"\"\"\nx\ngeheim\n\"\"\" }\nx = 1",
        "\"env\" = { \"PASSWORD\" = \"geheim\", A = [] }",
        "\"environment\".PASSWORD = \"geheim\"",
        "'env'.A = \"geheim\"\nodd = 1",
        "env.A = \"geheim\" # geheim\nodd = 1",
        "[services.web.environment]\nPASSWORD = \"geheim\"\nOTHER = \"geheim\"",
        "[services.web.environment]\n# geheim\nPASSWORD = \"geheim\"\n[services.web.odd]",
        "[services.web.Env]\nPASSWORD = \"geheim\"\n[services.web.odd]\nx = 1",
        "DB_PASSWORD = \"geheim\"",
        "password = \"geheim\"",
        "healthcheck = { test = \"tcp:80\", env = { PASSWORD = \"geheim\" } }",
        "healthcheck = { test = \"tcp:80\", Environment.PASSWORD = \"geheim\" }",
        "[services.web.healthcheck]\ntest = \"tcp:80\"\n#[services.web.env]\nPASSWORD = \"geheim\"",
        "# env = { PASSWORD = \"geheim\" }\nodd = 1",
        // Twice.
        "env = { A = \"x\", A = \"geheim\" }",
        "env = { PASSWORD = \"x\" }\nenv = { PASSWORD = \"geheim\" }",
        "env = { PASSWORD = \"x\" }\nenv.PASSWORD = \"geheim\"",
        "env = { PASSWORD = \"x\" }\nenv = { PASSWORD = \"\"\"geheim\ngeheim\"\"\", B = { C = [\"geheim\"] } }",
        "env = { PASSWORD = \"x\" }\n[services.web.env]\nPASSWORD = \"geheim\"",
        "env.P = \"x\"\nenv.P.x = \"geheim\"",
        "env.P = \"x\"\nenv.P = \"geheim\"",
        "[services.web.env]\nP = \"x\"\nP = \"geheim\"\nP = '''\ngeheim'''",
        "[services.web.env]\nP = \"x\"\n[services.web.env]\nQ = \"geheim\"\nP = \"geheim\"",
        "environment = { P = 1 }\nenvironment = { P = \"geheim\" }",
        // In a list.
        "command = [{ env = { PASSWORD = \"geheim\" } }]",
        "env = [{ PASSWORD = \"geheim\" }]",
        "healthcheck = [[{ env = { PASSWORD = \"geheim\" } }]]",
        "[[services.web]]\ncommand = \"x\"\nenv = { PASSWORD = \"geheim\" }",
        // No TOML.
        "env = { PASSWORD = geheim }",
        "env = { PASSWORD = \"geheim }",
        "env = { PASSWORD = geheim\" }",
        "env = { PASSWORD = 'geheim\" }",
        "env = { PASSWORD = \"geheim\"",
        "env = { PASSWORD: \"geheim\" }",
        "env = { PASSWORD \"geheim\" }",
        "env = { PASSWORD = \"a\"geheim\" }",
        "env = { \"PASSWORD=geheim\" }",
        "env { PASSWORD = \"geheim\" }",
        "env: { PASSWORD: geheim }",
        "env:\n  - PASSWORD=geheim\n  - geheim",
        "env = {\nPASSWORD = \"geheim\"\nOTHER = \"geheim\"\n",
        "env = \nPASSWORD = \"geheim\"",
        "env.PASSWORD = \"\"\"\ngeheim\n",
        "env.PASSWORD = \"\"\ngeheim\n\"\"\"",
        "env.PASSWORD = \"\"\ngeheim==\n\"\"\"",
        "env.PASSWORD = \"x\ngeheim\ngeheim=\"",
        "env.PASSWORD = \"\"\"x\"\"\n\ngeheim = \"geheim\"\n[services.db]\ngeheim = '''geheim'''",
        "command = \"\"\"x\"\nenv.PASSWORD = \"geheim\"",
        "user = \"\"\"x\"\nenv.PASSWORD = \"geheim\"\nenv.KEY = \"\"\"\n-----BEGIN\ngeheim\n-----END\"\"\"",
        "env.PASSWORD = \"\"\nuser = \"geheim\"\numask = \"geheim\"\n\"\"\"",
        "command = [\"a\", \"b\"\nenv = { PASSWORD = \"geheim\" }",
        "command = [\"a\", \"b\",\nenv = { PASSWORD = \"geheim\" }",
        "user = \"x\" env = { PASSWORD = \"geheim\" }",
        "user = \"xenv = { PASSWORD = \"geheim\" }",
        "user = xenv = { PASSWORD = \"geheim\" }",
        "user = 'x, env = { PASSWORD = \"geheim\" }, b = 'y'",
        "[services.web.env\nPASSWORD = \"geheim\"",
        "user =\n[services.web.env]\nuser = \"geheim\"\n[services.web.env]\nuser = \"geheim\"",
        "user = [\n[services.web.env]\nuser = \"geheim\"\nuser = \"geheim\"",
        "services.web.env]\nPASSWORD = \"geheim\"",
        "[services.web env]\nPASSWORD = \"geheim\"",
        "[services.web.env]\nPASSWORD geheim\nPASSWORD: geheim\nPASSWORD=geheim\nexport PASSWORD = \"geheim\"",
        "[services.web.env]\nPASSWORD = \"-----BEGIN\ngeheim\ngeheim==\n-----END\"\nuser = \"geheim\"",
        // What is wrong is in the value itself.
        "env = { PASSWORD = \"a$geheim\" }",
        "env = { PASSWORD = \"a${A:-geheim}${\" }",
        "env = { PASSWORD = \"geheim${A-}}\", B = \"${geh-$eim}\" }",
        "env = { PASSWORD = \"geheim\\u0000\" }",
        "env = { PASSWORD = \"geheim\\q\" }",
        "env_file = \".env\"",
        "env_from_file = { PASSWORD = [\"geheim\"] }",
        // Not even a value, or somebody else's way to write one.
        "[services.web.env]\nPASSWORD:geheim",
        "[services.web.env]\nPASSWORD\"geheim\"",
        "[services.web.env]\n\"PASSWORD:geheim\"",
        "[services.web.env]\n-----BEGIN-geheim-----",
        "env.PASSWORD.geheim",
        "PASSWORD =\n[\"geheim\"\n]",
        "[services.web.env]\nPASSWORD =\n[ geheim\n",
        "[services.web.env]\nM = '''\nM = '''\ngeheim'odd = 1",
        "[services.web.env]\ngeheim'''=1",
        "env = { \"PASSWORD:geheim\"",
        "healthcheck = { test: \"tcp:80\", env: { password: \"geheim\" } }",
        "user = \"app\", env: { PASSWORD: \"geheim\" }",
        "user: \"app\", env: { PASSWORD: \"geheim\" }",
        "user: \"app\" PASSWORD=geheim",
        "ready = [\n{ env: \"geheim\" },\n]",
        "command = node -a PASSWORD=geheim",
        // Of an environment, too.
        "env_file = { password = \"geheim\" }",
        "[services.web.env_file]\npassword = geheim",
        "[services.web.env_from_file]\ndb_password = geheim",
        "inherit_env = { password = \"geheim\" }",
    ];
    let files = [
        "env = { PASSWORD = \"geheim\" }",
        "[env]\nPASSWORD = \"geheim\"\nx = 1",
        "[defaults]\nenvironment = { PASSWORD = \"geheim\" }",
        "[servces.web.env]\nPASSWORD = \"geheim\"\n[servces.web]\nPASSWORD = \"geheim\"\nodd = 1",
        "[web]\ncommand = \"x\"\nPASSWORD = \"geheim\"\nenv.A = \"geheim\"\n[x]",
        "[services.env]\nPASSWORD = \"geheim\"",
        "[services]\nPASSWORD = \"geheim\"",
        "services = { web = { command = \"x\", env = { PASSWORD = \"geheim\" }, odd = 1 } }",
        "services = { web = { command = \"x, env = { PASSWORD = 'geheim' } } }",
        "services = { web = { command = \"x, env = { PASSWORD = 'geheim' }, user = \"y\" } }",
        "services = [{ web = { env = { PASSWORD = \"geheim\" } } }]",
        "[services]\nweb = [ { command = \"x\", env = { PASSWORD = \"geheim\" } } ]",
        "[log]\nPASSWORD = \"geheim\"",
        "[signals]\nPASSWORD = \"geheim\"",
        "[signals]\nHUP.env = { PASSWORD = \"geheim\" }",
        "{ \"apps\": [{ \"env\": { \"PASSWORD\": \"geheim\" } }] }",
        "module.exports = { apps: [{ env: { PASSWORD: \"geheim\" } }] }",
        "web: DATABASE_URL=postgres://u:geheim@db bundle exec x",
        "[Service]\nExecStart=/usr/bin/env PASS=geheim x",
    ];
    let services = services.iter().map(|lines| format!("[services.web]\ncommand = \"x\"\n{lines}\n"));
    let mut starred = 0;
    for text in services.chain(files.map(str::to_owned)) {
        // Each line is told of once as its own, and once as the one before the last.
        for text in [
            text.trim_end().to_owned(),
            text.clone(),
            format!("{text}odd = \"é\n"),
            format!("{text}\n[services.z]\nodd.x = 1\n"),
        ] {
            let world = world(&text)
                .file("/etc/.env", "A=a$geheim\nB=\"geheim\nC='geheim' geheim\nPASSWORD geheim\n");
            let problems = problems(&world);
            assert!(!problems.contains("geheim"), "{text}\n{problems}");
            starred += usize::from(problems.contains("****"));
        }
    }
    assert!(starred > 150, "what is hidden was never to be shown: {starred}");
}

/// What is hidden in a broken file is not more than it has to be.
#[test]
fn what_is_no_secret_is_shown() {
    for (text, line) in [
        ("[services.web]\ncommand = nginx\n", "    2 | command = nginx\n"),
        ("[services.web]\ncomand = [\"nginx\", 1.5]\n", "    2 | comand = [\"nginx\", 1.5]\n"),
        (
            "[services.web]\ncommand = \"x\"\nredy = { test = \"tcp:80\" }\n",
            "    3 | redy = { test = \"tcp:80\" }\n",
        ),
        (
            "[services.web]\ncommand = \"x\"\nenv = { A = 1, B = \"${C}\" }\n",
            "    3 | env = { A = *, B = \"${C}\" }\n",
        ),
        (
            "[services.web]\ncommand = \"x\"\nenv = { A = \"1\", A = '${C:?x}' }\n",
            "    3 | env = { A = ***, A = '${C:?x}' }\n",
        ),
        ("[services.web]\ncommand = \"x\"\n[services.web.env]\nA = geheim\n", "    4 | A = ******\n"),
        (
            "[services.web]\ncommand = \"x\"\nenvironment = { A = \"1\" } # why\n",
            "    3 | environment = { A = *** } *****\n",
        ),
        (
            "[services.web]\ncommand = [\"x\" \"y\"]\n# z\n[services.db]\nuser = true\n",
            "    4 | [services.db]\n    5 | user = true\n",
        ),
        (
            "[services.web]\ncommand = [ # one\n  \"x\",\n] # two\nuser = true # three\n",
            "    4 | ] # two\n    5 | user = true # three\n",
        ),
        ("[services.envoy]\ncommand = \"x\"\nuser = true\n", "    3 | user = true\n"),
        // The likeliest slips.
        ("[services.web]\ncommand: \"node\"\n", "    2 | command: \"node\"\n"),
        ("[services.web]\ncommand = \"x\"\nrestart always\n", "    3 | restart always\n"),
        ("[services.web]\ncommand = node --port=80\nuser = true\n", "    2 | command = node --port=80\n"),
        ("[services.web]\ncommand = \"node --port=80\n", "    2 | command = \"node --port=80\n"),
        ("[services.web\ncommand = \"x\"\n", "    1 | [services.web\n"),
        (
            "[services.web]\ncommand = \"x\"\nhealthcheck = {\n  test = \"tcp:80\", # port\n  retries = -1,\n}\n",
            "    4 |   test = \"tcp:80\", # port\n    5 |   retries = -1,\n",
        ),
        (
            "[services.web]\ncommand = \"x\"\n[[services.web.odd]]\nuser = 1\n[services.web.rlimits]\ncore = -1\n",
            "    6 | core = -1\n",
        ),
        // Where a text has no end, it may have taken the quotes of others: but a key of ours is no secret.
        (
            "[services.web]\ncommand = \"\"\"\nnode\n[services.db]\ncommand = 'x'\n",
            ":2:11: not valid TOML: a text of several lines has no end\n    2 | command = \"\"\"\n      |           ^^^ it begins here",
        ),
        (
            "shutdown_timeout = '''geheim",
            ":1:20: not valid TOML: a text of several lines has no end\n    1 | shutdown_timeout = '''******\n",
        ),
        (
            "[services.web]\nenv.user = \"\"\"\n\\q",
            ":2:12: not valid TOML: a text of several lines has no end\n    2 | ***********\"\"\"\n",
        ),
        ("[services.web.env]\nuser = '''\n", "    2 | *******'''\n"),
        ("[services.web]\ncommand.geheim = '''\n", "    2 | *****************'''\n"),
        ("[services.web]\ncommand = ['''\n", "    2 | ***********'''\n"),
        ("shutdown_timeout = \"\"\"\nx\"\"\"\n[signals]\nHUP = 1\n", "    3 | [signals]\n    4 | HUP = 1\n"),
    ] {
        let problems = problems(&world(text));
        assert!(problems.contains(line), "{line}{problems}");
    }
}

/// One or two slips in a configuration with secrets show none of them.
#[test]
fn slips_show_no_secret() {
    const SECRETIVE: &str = "shutdown_timeout = \"9s\"\n# Ours.\n[defaults]\nenv = { A = \"${B:-x geheim}\", KEY = 'geheim' }\n[signals]\nUSR1 = [\"web\"]\n\
        [services.web]\ncommand = \"nginx -g 'daemon off;' ${A}\"\nuser = \"1000\"\nenv = { PASSWORD = \"geheim\", TOKEN = \"${T:?no token}\" } # ours\n\
        stdout = { file = \"/a\", max_size = \"1M\" }\n[services.api]\ncommand = [\n  \"node\", # js\n  \"server.js\",\n]\nenv.PORT = 300\nenv.PASSWORD = \"geheim\"\nenv.KEY = \"\"\"\n\
        -----BEGIN\ngeheim\ngeheim==\n-----END\"\"\"\nstop_exit_codes = [0]\n[services.db.env]\nPASSWORD = 'geheim'\n\"K\" = \"geheim\"\nM = '''\ngeheim'''\n[services.db]\n\
        command = \"db\"\nhealthcheck = { test = \"tcp:80\", interval = \"5s\" }\n";
    let inserted = [
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "\r\n",
        "#",
        " ",
        "$",
        "${",
        "\\",
        "x",
        "é",
        "[x]",
        "env",
        "odd = 1\n",
    ];
    let seed = std::env::var("TINYSUP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut random = Numbers::new(seed);
    let mut refused = 0;
    let rounds = std::env::var("TINYSUP_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4000);
    for round in 0..rounds {
        let mut text: Vec<char> = SECRETIVE.chars().collect();
        for _ in 0..=random.index(2) {
            let at = random.index(text.len());
            let word = inserted[random.index(inserted.len())];
            match random.index(4) {
                0 => drop(text.remove(at)),
                1 => drop(text.splice(at..=at, word.chars())),
                2 => drop(text.splice(at..at, word.chars())),
                _ => {
                    // A line twice.
                    let start = text[..at].iter().rposition(|c| *c == '\n').map_or(0, |newline| newline + 1);
                    let end = text[at..].iter().position(|c| *c == '\n').map_or(text.len(), |n| at + n + 1);
                    let copy = text[start..end].to_vec();
                    text.splice(end..end, copy);
                }
            }
        }
        let text: String = text.into_iter().collect();
        let text = if random.index(4) == 0 { text.trim_end().to_owned() } else { text };
        if let Err(problems) = load(&world(&text)) {
            assert!(!problems.contains("geheim"), "seed {seed} round {round}\n{text}\n{problems}");
            refused += 1;
        }
    }
    assert!(refused > rounds / 2, "{refused}");
}

/// Changed configurations end in a plan or in problems, never in a panic.
#[test]
fn mutated_configurations_never_panic() {
    let tokens = [
        "\"",
        "'",
        "\"\"\"",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "#",
        "${",
        "}",
        "$$",
        "$A",
        "${A:-",
        "\\",
        "\u{0}",
        "\u{feff}",
        "é",
        "日本",
        "\u{1b}[2J",
        "\r",
        "\t",
        "0x",
        "1e999",
        "-0",
        "nan",
        "inf",
        "true",
        "1979-05-27",
        "services",
        "[services.web]",
        "depends_on",
        "99999999999999999999",
        "\"max\"",
        "web",
        "api.0",
        "main",
        "-1",
        "4294967296",
        "&&",
        "|",
        "notify",
        "delay:2s",
        "unix:@x",
        "redis:6379",
        "CMD",
        "\\u0000",
        "\\ud800",
    ];
    let seed: u64 = std::env::var("TINYSUP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let rounds = std::env::var("TINYSUP_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4000);
    let mut random = Numbers::new(seed);
    let (mut good, mut bad) = (0, 0);
    for round in 0..rounds {
        let mut bytes = SEEDED.as_bytes().to_vec();
        for _ in 0..=random.index(4) {
            let at = random.index(bytes.len());
            match random.index(6) {
                0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                1 => drop(bytes.remove(at)),
                2 => drop(bytes.splice(at..at, tokens[random.index(tokens.len())].bytes())),
                3 => {
                    let end = (at + random.index(40)).min(bytes.len());
                    bytes.drain(at..end);
                }
                4 => {
                    let end = (at + random.index(60)).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    let to = random.index(bytes.len());
                    bytes.splice(to..to, copy);
                }
                _ => bytes.truncate(at.max(1)),
            }
            if bytes.is_empty() {
                bytes.push(b'\n');
            }
        }
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let Ok(result) = std::panic::catch_unwind(|| {
            let world = Memory::default()
                .file("/etc/tinysup.toml", &bytes)
                .file("/etc/more.toml", "[services.more]\ncommand = 'x'\n")
                .file("/etc/.env", "C=${B:-1}\n");
            load(&world).map(|plan| (plan::check::report(&plan, &world, false).to_string(), plan))
        }) else {
            panic!("seed {seed} round {round} panicked:\n{shown}")
        };
        match result {
            Ok((report, plan)) => {
                good += 1;
                assert!(
                    !report.contains(['\u{1b}', '\u{0}', '\r']),
                    "seed {seed} round {round}\n{report}\n{shown}"
                );
                for (instance, id) in plan.instances.iter().zip(0_u32..) {
                    assert!(
                        instance.depends_on.iter().all(|dependency| dependency.on.0 < id),
                        "seed {seed} round {round}\n{shown}"
                    );
                }
            }
            Err(problems) => {
                bad += 1;
                assert!(problems.contains("nothing was started"), "seed {seed} round {round}");
                assert!(
                    !problems.contains(['\u{1b}', '\u{0}', '\r']),
                    "seed {seed} round {round}\n{problems}"
                );
            }
        }
    }
    assert!(good > 0 && bad > good, "{good} plans, {bad} refused");
}

#[test]
fn output_goes_where_it_is_written() {
    let plan = plan(
        "[log]\nformat = \"json\"\ntimestamps = true\ncolor = \"auto\"\noverflow = \"drop\"\nmax_size = \"unlimited\"\nmax_files = 9\nreopen_signal = \"USR1\"\n\
         [defaults]\nlog_rate_limit = \"60/m\"\n\
         [services.a]\ncommand = \"x\"\nstderr = \"/log/${TINYSUP_SERVICE}.${TINYSUP_INSTANCE}\"\n\
         [services.b]\ncommand = \"x\"\nlog_rate_limit = \"unlimited\"\nstdout = \"${UNSET:-raw}\"\n\
         stderr = { file = \"logs/b\", format = \"prefix\", max_size = \"1M\", also = \"stdout\" }\nstop_command = \"y\"\n",
    );
    let expected = Log {
        format: Format::Json,
        timestamps: true,
        color: Color::Auto,
        debug: false,
        colored: [false; 2],
        overflow: Overflow::Drop,
        reopen_signal: Some(Signal::USR1),
    };
    assert_eq!(plan.log, expected);
    let [a, b] = plan.instances.as_slice() else { panic!("two") };
    let file = |path: &str, format, max_size, max_files, also| {
        Output::File(Rc::new(LogFile { path: path.into(), format, max_size, max_files, also }))
    };
    assert_eq!(a.launch.stdout, Output::Json);
    assert_eq!(a.launch.stderr, file("/log/a.1", Format::Raw, None, 9, None));
    assert_eq!(a.log_rate_limit, Some(RateLimit { lines: 60, per: Duration::from_mins(1) }));
    assert_eq!((&b.launch.stdout, b.log_rate_limit), (&Output::Raw, None));
    let also = Some((Sink::Stdout, Format::Json));
    assert_eq!(b.launch.stderr, file("/etc/logs/b", Format::Prefix, Some(1 << 20), 9, also));
    assert_eq!(b.stop.command.as_ref().unwrap().stderr, b.launch.stderr);
}

#[test]
fn what_is_wrong_in_the_section_about_output_is_told() {
    for (line, expected) in [
        ("format = \"xml\"", "2:10: format must be \"prefix\", \"json\" or \"raw\", not \"xml\""),
        ("formt = \"json\"", "2:1: unknown key \"formt\" in [log]"),
        ("stdout = \"json\"", "2:1: unknown key \"stdout\" in [log]"),
        (
            "warn = \"85%\"",
            "2:1: unknown key \"warn\" in [log]\n    1 | [log]\n    2 | warn = \"85%\"\n      | ^^^^ it belongs into [memory]",
        ),
        (
            "restart = \"95%\"",
            "2:1: unknown key \"restart\" in [log]\n    1 | [log]\n    2 | restart = \"95%\"\n      | ^^^^^^^ it belongs into [memory]",
        ),
        ("color = true", "2:9: color must be \"never\", \"auto\" or \"always\", not true"),
        ("reopen_signal = \"HUP\"", "2:17: SIGHUP has another meaning for tinysup"),
        (
            "reopen_signal = \"USR1\"\n[signals]\nUSR1 = \"a\"",
            "4:1: SIGUSR1 opens files again (reopen_signal in [log]) and is not passed on",
        ),
    ] {
        let problems = problems(&world(&format!("[log]\n{line}\n[services.a]\ncommand = \"x\"\n")));
        assert!(problems.starts_with(&format!("tinysup: /etc/tinysup.toml:{expected}\n")), "{problems}");
    }
}
