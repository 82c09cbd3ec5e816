//! The completions in the shells that they are for.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use tinysup::control::{Answer, ServiceStatus};

use crate::answers::status;
use crate::fake::{Server, tinysup, unused_path};
use crate::skip;

/// Runs a script in a shell; `None`: it is not here, which was said.
fn run(shell: &str, options: &[&str], script: &str, env: &[(&str, &str)]) -> Option<Output> {
    let spawned = Command::new(shell)
        .args(options)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            skip(&format!("there is no {shell} here ({error})"));
            return None;
        }
    };
    // All of it fits into a pipe, or the shell reads as it comes.
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("the shell reads");
    Some(child.wait_with_output().expect("its output"))
}

fn completions(shell: &str) -> String {
    let said = tinysup(&unused_path(), &["completions", shell]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    said.stdout
}

#[test]
fn shells_can_read_them() {
    for (shell, options) in
        [("bash", &["--norc", "-n"][..]), ("zsh", &["-f", "-n"]), ("fish", &["--no-config", "-n"])]
    {
        let Some(done) = run(shell, options, &completions(shell), &[]) else { continue };
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && told.is_empty(), "{shell}: {told}");
    }
}

/// What a shell offers after these words, with a server that has `db`, `worker`, and `pool` with two instances.
fn offered(shell: &str, options: &[&str], script: &str) -> Option<Vec<String>> {
    let mut status = status();
    for number in 1..=2 {
        let instance = ServiceStatus {
            name: format!("pool.{number}"),
            service: "pool".to_owned(),
            instance: number,
            ..status.services[0].clone()
        };
        status.services.push(instance);
    }
    let server = Server::that_says(vec![Answer::Status(status)]);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_tinysup")).parent().expect("a folder");
    let path = format!("{}:/usr/bin:/bin", program.display());
    let env = [("PATH", path.as_str()), ("TINYSUP_SOCKET", server.path().to_str().expect("UTF-8"))];
    let done = run(shell, options, script, &env)?;
    assert!(done.stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&done.stderr));
    Some(String::from_utf8_lossy(&done.stdout).split_whitespace().map(str::to_owned).collect())
}

#[test]
fn bash_offers_verbs_options_and_services() {
    for (words, expected) in [
        ("tinysup rest", &["restart"][..]),
        ("tinysup restart w", &["worker"]),
        (
            "tinysup restart ",
            &[
                "--no-wait",
                "--with-dependents",
                "--json",
                "--timeout",
                "--socket",
                "-h",
                "--help",
                "all",
                "db",
                "worker",
                "pool",
                "pool.1",
                "pool.2",
            ],
        ),
        ("tinysup logs --fo", &["--follow"]),
        ("tinysup wait db --for re", &["ready"]),
        ("tinysup completions f", &["fish"]),
        ("tinysup help des", &["describe"]),
        ("tinysup shutdown d", &[]),
        ("tinysup stop pool", &["pool", "pool.1", "pool.2"]),
        ("tinysup check --", &["--config", "--help", "--runtime", "--version"]),
        ("tinysup check build.r", &["build.rs"]),
        ("tinysup run -", &["-c", "--config", "-v", "--verbose", "-h", "--help", "-V", "--version", "--"]),
        ("tinysup run -c build.r", &["build.rs"]),
        ("tinysup run -- -", &[]),
        ("tinysup --re", &["--rewrite"]),
        ("tinysup -g --s", &["--session"]),
        ("tinysup -p US", &["USR1", "USR2"]),
        ("tinysup --grace ", &[]),
        // Options before the verb, with values and without.
        ("tinysup --socket /x st", &["status", "start", "stop"]),
        ("tinysup --socket /x --json restart w", &["worker"]),
        ("tinysup --socket build.r", &["build.rs"]),
        ("tinysup --socket=/x sto", &["stop"]),
        ("tinysup -c f ch", &["check"]),
        ("tinysup -c f -v r", &["run"]),
        ("tinysup -c f check --r", &["--runtime"]),
        ("tinysup -c f run -- -", &[]),
        ("tinysup -c f stat", &[]),
        ("tinysup --help sto", &["stop"]),
        ("tinysup -g -p HUP st", &[]),
        ("tinysup -- st", &[]),
        ("tinysup -g cat build.r", &["build.rs"]),
    ] {
        // An empty word at the end is one, too.
        let array = words.split(' ').map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let script = format!(
            "{}\ncompgen() {{ [ \"$1\" = -c ] || builtin compgen \"$@\"; }}\nCOMP_WORDS=({array})\nCOMP_CWORD={}\n_tinysup\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            completions("bash"),
            words.split(' ').count() - 1
        );
        let Some(found) = offered("bash", &["--norc"], &script) else { return };
        let mut found: Vec<&str> = found.iter().map(String::as_str).collect();
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{words}");
    }
}

/// What fish and zsh offer alike, sorted.
const ALIKE: [(&str, &[&str]); 15] = [
    ("tinysup rest", &["restart"]),
    ("tinysup restart w", &["worker"]),
    ("tinysup logs --fo", &["--follow"]),
    ("tinysup stop pool", &["pool", "pool.1", "pool.2"]),
    ("tinysup check --r", &["--runtime"]),
    ("tinysup --re", &["--rewrite"]),
    ("tinysup -g --s", &["--session"]),
    // Options before the verb, with values and without.
    ("tinysup --socket /x st", &["start", "status", "stop"]),
    ("tinysup --socket /x --json restart w", &["worker"]),
    ("tinysup --socket=/x sto", &["stop"]),
    ("tinysup -c f ch", &["check"]),
    ("tinysup -c f check --r", &["--runtime"]),
    ("tinysup -c f stat", &[]),
    ("tinysup --help sto", &["stop"]),
    ("tinysup -g -p HUP st", &[]),
];

#[test]
fn fish_offers_verbs_options_and_services() {
    let own: [(&str, &[&str]); 2] = [
        ("tinysup wait db --for re", &["ready"]),
        ("tinysup run --", &["--config", "--help", "--verbose", "--version"]),
    ];
    for (words, expected) in own.into_iter().chain(ALIKE) {
        // Only the offers, without what they mean.
        let script =
            format!("{}\ncomplete -C '{words}' | string replace -r '\\t.*' ''\n", completions("fish"));
        let Some(mut found) = offered("fish", &["--no-config"], &script) else { return };
        found.sort_unstable();
        assert_eq!(found, expected, "{words}");
    }
}

/// What zsh would be told to offer; without a terminal its own functions for that do nothing, so these stand in their place.
const ZSH: &str = r"
compdef() { }
_command_names() { }
offer() { local one; for one; do [[ $one != $PREFIX* ]] || print -r -- $one; done }
compadd() { offer ${(P)2} }
_describe() { offer ${${(P)2}%%:*} }
_arguments() {
    [[ $PREFIX != -* ]] || offer ${${(M)@:#-[^S]*}%%\[*}
    [[ $PREFIX = -* || ${@[-1]} != *_tinysup_names ]] || _tinysup_names
}
";

#[test]
fn zsh_offers_verbs_options_and_services() {
    for (words, expected) in ALIKE.into_iter().chain([("tinysup -- st", &[][..])]) {
        let count = words.split(' ').count();
        let word = words.split(' ').next_back().unwrap_or_default();
        let script = format!(
            "{ZSH}{}\nwords=({words})\nCURRENT={count}\nPREFIX={word}\n_tinysup\n",
            completions("zsh")
        );
        let Some(mut found) = offered("zsh", &["-f"], &script) else { return };
        found.sort_unstable();
        assert_eq!(found, expected, "{words}");
    }
}
