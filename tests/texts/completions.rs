//! Completions for bash, zsh and fish, made from the tables of the verbs. Names of services come from `tinysup status`, which takes
//! some milliseconds and says nothing where none runs.

use std::fmt::Write as _;

use tinysup::cli::verbs::{SHELLS, STATES, Spec, Takes, VERBS, Value, options_of};
use tinysup::gather::{Gather, Joined};

/// The verbs that ask nobody and so are in no table of options.
const OFFLINE: [(&str, &str); 6] = [
    ("run", "run the services, and perhaps a command beside them"),
    ("check", "check a configuration"),
    ("pause", "be an init of nothing"),
    ("example", "print a commented configuration"),
    ("version", "print the version"),
    ("help", "print how it is used"),
];

/// The completions for one of [`SHELLS`], to be sourced by it.
pub fn completions(shell: &str) -> String {
    match shell {
        "bash" => bash(),
        "zsh" => zsh(),
        _ => fish(),
    }
}

/// Every word that may come first.
fn first_words() -> Vec<(&'static str, &'static str)> {
    let mut words = Vec::new();
    for verb in &VERBS {
        for name in verb.names() {
            words.push((name, verb.about()));
        }
    }
    words.extend_from_slice(&OFFLINE);
    words
}

fn options(verb: &Spec) -> String {
    let mut words = Vec::new();
    for option in options_of(verb) {
        if let Some(short) = option.short {
            words.push(format!("-{short}"));
        }
        words.push(option.long.to_owned());
    }
    words.joined(" ")
}

fn bash() -> String {
    let mut text = String::from(
        "# bash completion for tinysup: source <(tinysup completions bash)\n\
         _tinysup_names() {\n\
         \x20   local line names=()\n\
         \x20   while IFS= read -r line; do names+=(\"${line%% *}\"); done < <(tinysup status 2>/dev/null)\n\
         \x20   [ ${#names[@]} -gt 2 ] && printf '%s\\n' \"${names[@]:1:${#names[@]}-2}\"\n\
         }\n\
         _tinysup() {\n\
         \x20   local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=\n\
         \x20   COMPREPLY=()\n\
         \x20   if [ \"$COMP_CWORD\" = 1 ]; then\n",
    );
    let first: Vec<&str> = first_words().into_iter().map(|(name, _)| name).gather();
    let _ = writeln!(
        text,
        "        COMPREPLY=($(compgen -W '{}' -- \"$word\") $(compgen -c -- \"$word\"))\n        return\n    fi",
        first.joined(" ")
    );
    let _ = writeln!(
        text,
        "    case $before in\n    --socket) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n    \
         --for) COMPREPLY=($(compgen -W '{}' -- \"$word\")); return ;;\n    \
         --timeout | --since | -n | --lines) return ;;\n    esac\n    case ${{COMP_WORDS[1]}} in",
        STATES.joined(" ")
    );
    for verb in &VERBS {
        let arguments = match verb.takes {
            Takes::Nothing => String::new(),
            Takes::Names => " $(_tinysup_names)".to_owned(),
            Takes::NamesOrAll => " all $(_tinysup_names)".to_owned(),
            Takes::SignalAndNames => " HUP INT QUIT TERM USR1 USR2 all $(_tinysup_names)".to_owned(),
            Takes::Shell => format!(" {}", SHELLS.joined(" ")),
        };
        let _ =
            writeln!(text, "    {}) words=\"{}{arguments}\" ;;", verb.names().joined(" | "), options(verb));
    }
    text.push_str(
        "    run | check) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n    \
         help) words=\"",
    );
    text.push_str(&VERBS.iter().map(|verb| verb.name).gather().joined(" "));
    text.push_str(
        "\" ;;\n    esac\n    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}\ncomplete -F _tinysup tinysup\n",
    );
    text
}

fn zsh() -> String {
    let mut text = String::from(
        "#compdef tinysup\n\
         # zsh completion for tinysup: source <(tinysup completions zsh)\n\
         _tinysup_names() {\n\
         \x20   local -a names\n\
         \x20   names=(${${(f)\"$(tinysup status 2>/dev/null)\"}[2,-2]%% *})\n\
         \x20   compadd -a names\n\
         }\n\
         _tinysup() {\n\
         \x20   local -a verbs\n\
         \x20   verbs=(\n",
    );
    for (name, about) in first_words() {
        let _ = writeln!(text, "        '{name}:{}'", quoted(about));
    }
    text.push_str(
        "    )\n    if (( CURRENT == 2 )); then\n        _describe verb verbs\n        _command_names\n        return\n    fi\n    \
         local verb=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $verb in\n",
    );
    for verb in &VERBS {
        let _ = write!(text, "    {})\n        _arguments", verb.names().joined("|"));
        for option in options_of(verb) {
            let value = match option.value {
                Value::None => String::new(),
                Value::Text(word) => format!(":{word}: "),
                Value::Path => ":path:_files".to_owned(),
                Value::OneOf(words) => format!(":value:({})", words.joined(" ")),
            };
            let about = quoted(option.about());
            if let Some(short) = option.short {
                let _ = write!(text, " \\\n            '-{short}[{about}]{value}'");
            }
            let _ = write!(text, " \\\n            '{}[{about}]{value}'", option.long);
        }
        let arguments = match verb.takes {
            Takes::Nothing => String::new(),
            Takes::Names | Takes::NamesOrAll => " \\\n            '*:name:_tinysup_names'".to_owned(),
            Takes::SignalAndNames => {
                " \\\n            '1:signal:(HUP INT QUIT TERM USR1 USR2)' \\\n            '*:name:_tinysup_names'".to_owned()
            }
            Takes::Shell => format!(" \\\n            '1:shell:({})'", SHELLS.joined(" ")),
        };
        let _ = writeln!(text, "{arguments}\n        ;;");
    }
    text.push_str(
        "    run|check) _files ;;\n    esac\n}\n\
         if [ \"$funcstack[1]\" = _tinysup ]; then _tinysup \"$@\"; else compdef _tinysup tinysup; fi\n",
    );
    text
}

fn fish() -> String {
    let mut text = String::from(
        "# fish completion for tinysup: tinysup completions fish | source\n\
         function __tinysup_names\n\
         \x20   set -l lines (tinysup status 2>/dev/null)\n\
         \x20   test (count $lines) -gt 2; and string replace -r ' .*' '' -- $lines[2..-2]\n\
         end\n\
         function __tinysup_verb\n\
         \x20   set -l words (commandline -opc)\n\
         \x20   test (count $words) -gt 1; and contains -- $words[2] $argv\n\
         end\n\
         complete -c tinysup -f\n",
    );
    for (name, about) in first_words() {
        let _ = writeln!(
            text,
            "complete -c tinysup -n 'test (count (commandline -opc)) -eq 1' -a {name} -d '{}'",
            quoted(about)
        );
    }
    for verb in &VERBS {
        let condition = format!("complete -c tinysup -n '__tinysup_verb {}'", verb.names().joined(" "));
        for option in options_of(verb) {
            let short = option.short.map(|short| format!(" -s {short}")).unwrap_or_default();
            let value = match option.value {
                Value::None => String::new(),
                Value::Text(_) => " -x".to_owned(),
                Value::Path => " -r -F".to_owned(),
                Value::OneOf(words) => format!(" -x -a '{}'", words.joined(" ")),
            };
            let long = option.long.trim_start_matches('-');
            let _ = writeln!(text, "{condition}{short} -l {long}{value} -d '{}'", quoted(option.about()));
        }
        let arguments = match verb.takes {
            Takes::Nothing => continue,
            Takes::Names => "(__tinysup_names)".to_owned(),
            Takes::NamesOrAll => "all (__tinysup_names)".to_owned(),
            Takes::SignalAndNames => "HUP INT QUIT TERM USR1 USR2 all (__tinysup_names)".to_owned(),
            Takes::Shell => SHELLS.joined(" "),
        };
        let _ = writeln!(text, "{condition} -a '{arguments}'");
    }
    text.push_str("complete -c tinysup -n '__tinysup_verb run check' -F\n");
    text
}

/// Within single quotes, and where zsh gives colons and brackets a meaning.
fn quoted(text: &str) -> String {
    text.replace('\'', "").replace(':', " -").replace('[', "(").replace(']', ")")
}
