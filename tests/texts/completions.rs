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

const SIGNALS: &str = "HUP INT QUIT TERM USR1 USR2";

/// An option that is in no table of verbs.
pub struct Plain {
    /// A letter.
    short: Option<&'static str>,
    /// With its dashes.
    long: Option<&'static str>,
    /// The word for its value.
    pub value: Option<&'static str>,
    about: &'static str,
    /// Only where one command runs.
    pub of_one: bool,
    /// Only of `check`.
    of_check: bool,
}

impl Plain {
    /// After which words it may stand.
    pub fn places(&self) -> impl Iterator<Item = Option<&'static str>> {
        PLACES.iter().filter(|(_, of)| of(self)).map(|(word, _)| (*word != "-*").then_some(*word))
    }

    pub fn names(&self) -> impl Iterator<Item = String> {
        let short = self.short.map(|short| format!("-{short}"));
        short.into_iter().chain(self.long.map(str::to_owned))
    }
}

/// The options that `tinysup help` tells of, and those that everything has; for `run`, `check` and one command.
pub fn plain_options() -> Vec<Plain> {
    const VALUE_COLUMN: usize = 26;
    let plain = Plain { short: None, long: None, value: None, about: "", of_one: false, of_check: false };
    let (_, told) = include_str!("../../src/texts/help.txt").split_once("\nOptions\n").expect("options");
    let (all, of_one) = told.split_once("\nOptions for one command\n").expect("those for one command");
    let of_one = of_one.split("\n\n").next().unwrap_or_default();
    let mut found = Vec::new();
    for (text, of_one) in [(all, false), (of_one, true)] {
        for line in text.lines().filter(|line| line.starts_with("  -")) {
            let (names, about) = line.split_at(VALUE_COLUMN);
            let about = about.split([';', '(']).next().unwrap_or_default().trim_end();
            let mut option = Plain { about, of_one, ..plain };
            for word in names.split([' ', ',']).filter(|word| !word.is_empty()) {
                if word.starts_with("--") {
                    option.long = Some(word);
                } else if let Some(short) = word.strip_prefix('-') {
                    option.short = Some(short);
                } else {
                    option.value = Some(word);
                }
            }
            // What does nothing is offered to nobody.
            if about != "accepted" {
                found.push(option);
            }
        }
    }
    let runtime = Plain {
        long: Some("--runtime"),
        about: "whether all it asks for can be had in this container",
        of_check: true,
        ..plain
    };
    let help = Plain { short: Some("h"), long: Some("--help"), about: "print how it is used", ..plain };
    let version = Plain { short: Some("V"), long: Some("--version"), about: "print the version", ..help };
    found.extend([runtime, help, version]);
    found
}

/// Words, or beginnings of words, after which options stand, and which those are.
type Places = [(&'static str, fn(&Plain) -> bool); 3];
const PLACES: &Places = &[
    ("-*", |option| !option.of_check),
    ("run", |option| !option.of_one && !option.of_check),
    ("check", for_check),
];

/// There is nothing more to tell.
fn for_check(option: &Plain) -> bool {
    !option.of_one && option.short != Some("v")
}

/// Those of one place, for bash.
fn plain_words(of: impl Fn(&Plain) -> bool) -> String {
    plain_options().iter().filter(|option| of(option)).flat_map(Plain::names).gather().joined(" ")
}

/// Options that may stand before the first word that is none, whether a value follows, and which words may come after them.
type Before = (Vec<String>, bool, After);

/// Which of the first words may come after an option; of those that may come after the ones before it.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// It is of `run` and `check`.
    RunAndCheck,
    /// It is of one command.
    Command,
    /// It is of the verbs. It has to go after them, as they say then; but one of them was meant.
    Verbs,
}

/// What may stand before the first word, by what may come after it.
fn before() -> Vec<Before> {
    let mut found: Vec<Before> = Vec::new();
    let mut add = |name: String, value: bool, after: After| {
        if found.iter().any(|(names, ..)| names.contains(&name)) {
            return; // the first to have it
        }
        match found.iter_mut().find(|(_, with, of)| (*with, *of) == (value, after)) {
            Some((names, ..)) => names.push(name),
            None => found.push((vec![name], value, after)),
        }
    };
    // `--help VERB` is the help of the verb.
    let asks = |option: &Plain| ["print the version", "print how it is used"].contains(&option.about);
    for option in plain_options().iter().filter(|option| !option.of_check && !asks(option)) {
        let after = if option.of_one { After::Command } else { After::RunAndCheck };
        option.names().for_each(|name| add(name, option.value.is_some(), after));
    }
    for option in VERBS.iter().flat_map(options_of).filter(|option| option.value != Value::None) {
        let short = option.short.map(|short| format!("-{short}"));
        short.into_iter().chain([option.long.to_owned()]).for_each(|name| add(name, true, After::Verbs));
    }
    // All others.
    add("-*".to_owned(), false, After::Verbs);
    found
}

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
         \x20   local line lines names=' '\n\
         \x20   mapfile -t lines < <(tinysup status 2>/dev/null)\n\
         \x20   [ ${#lines[@]} -gt 2 ] || return\n\
         \x20   for line in \"${lines[@]:1:${#lines[@]}-2}\"; do\n\
         \x20       line=${line%% *}\n\
         \x20       [[ $names == *\" ${line%.*} \"* ]] || names+=\"${line%.*} \"\n\
         \x20       [ \"$line\" = \"${line%.*}\" ] || names+=\"$line \"\n\
         \x20   done\n\
         \x20   echo \"$names\"\n\
         }\n\
         _tinysup() {\n\
         \x20   local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=\n\
         \x20   COMPREPLY=()\n",
    );
    let with_value = |wanted: fn(&str) -> bool| {
        let options = plain_options().into_iter().filter(|option| option.value.is_some_and(wanted));
        options.flat_map(|option| option.names().collect::<Vec<_>>()).gather().joined(" | ")
    };
    let _ = writeln!(
        text,
        "    case $before in\n    --socket | {}) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n    \
         --for) COMPREPLY=($(compgen -W '{}' -- \"$word\")); return ;;\n    \
         {}) COMPREPLY=($(compgen -W '{SIGNALS}' -- \"$word\")); return ;;\n    \
         --timeout | --since | -n | --lines | {}) return ;;\n    esac",
        with_value(|value| value == "FILE"),
        STATES.joined(" "),
        with_value(|value| value == "SIGNAL"),
        with_value(|value| !["FILE", "SIGNAL"].contains(&value)),
    );
    let first: Vec<&str> = first_words().into_iter().map(|(name, _)| name).gather();
    let _ = write!(
        text,
        "    local at=1 commands=1 first='{}'\n    \
         while [ \"$at\" -lt \"$COMP_CWORD\" ]; do\n        \
         case ${{COMP_WORDS[at]}} in\n        \
         --) break ;;\n",
        first.joined(" ")
    );
    for (names, value, after) in before() {
        let does = match after {
            After::RunAndCheck => "first=${first:+run check}",
            After::Command => "first=",
            // The others come last.
            After::Verbs => "first=${first%% run *} commands=",
        };
        let _ =
            writeln!(text, "        {}) {does}; ((at += {})) ;;", names.joined(" | "), 1 + u8::from(value));
    }
    let _ = writeln!(
        text,
        "        *) break ;;\n        \
         esac\n    \
         done\n    \
         if [ \"$at\" -ge \"$COMP_CWORD\" ]; then\n        \
         case $word in\n        \
         -*) COMPREPLY=($(compgen -W '{}' -- \"$word\")) ;;\n        \
         *) COMPREPLY=($(compgen -W \"$first\" -- \"$word\") ${{commands:+$(compgen -c -- \"$word\")}}) ;;\n        \
         esac\n        \
         return\n    \
         fi\n    \
         case ${{COMP_WORDS[at]}} in\n    \
         --) COMPREPLY=($(compgen -c -- \"$word\")); return ;;",
        plain_words(|option| !option.of_check),
    );
    for verb in &VERBS {
        let arguments = match verb.takes {
            Takes::Nothing => String::new(),
            Takes::Names => " $(_tinysup_names)".to_owned(),
            Takes::NamesOrAll => " all $(_tinysup_names)".to_owned(),
            Takes::SignalAndNames => format!(" {SIGNALS} all $(_tinysup_names)"),
            Takes::Shell => format!(" {}", SHELLS.joined(" ")),
        };
        let _ =
            writeln!(text, "    {}) words=\"{}{arguments}\" ;;", verb.names().joined(" | "), options(verb));
    }
    let run = plain_words(|option| !option.of_one && !option.of_check);
    let check = plain_words(for_check);
    let verbs = VERBS.iter().map(|verb| verb.name).gather().joined(" ");
    let _ = write!(
        text,
        "    run) if [[ ${{COMP_WORDS[*]:at+1:COMP_CWORD-at-1}} =~ (^| )--($| ) ]]; then COMPREPLY=($(compgen -c -- \"$word\")); return; fi\n        \
         words=\"{run} --\" ;;\n    \
         check) words=\"{check}\" COMPREPLY=($(compgen -f -- \"$word\")) ;;\n    \
         help) words=\"{verbs}\" ;;\n    \
         *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n    \
         esac\n    COMPREPLY+=($(compgen -W \"$words\" -- \"$word\"))\n}}\ncomplete -F _tinysup tinysup\n",
    );
    text
}

fn zsh() -> String {
    let mut text = String::from(
        "#compdef tinysup\n\
         # zsh completion for tinysup: source <(tinysup completions zsh)\n\
         _tinysup_names() {\n\
         \x20   local -aU names\n\
         \x20   names=(${${(f)\"$(tinysup status 2>/dev/null)\"}[2,-2]%% *})\n\
         \x20   names+=(${names%.*})\n\
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
        "    )\n    local at=2 commands=1 verb\n    local -a first=($verbs)\n    \
         while (( at < CURRENT )); do\n        \
         case $words[at] in\n        \
         --) break ;;\n",
    );
    for (names, value, after) in before() {
        let does = match after {
            After::RunAndCheck => "first=(${(M)first:#(run|check):*})".to_owned(),
            After::Command => "first=()".to_owned(),
            After::Verbs => {
                let others = OFFLINE.iter().map(|(name, _)| *name).gather().joined("|");
                format!("first=(${{first:#({others}):*}}); commands=0")
            }
        };
        let _ =
            writeln!(text, "        {}) {does}; (( at += {} )) ;;", names.joined("|"), 1 + u8::from(value));
    }
    text.push_str(
        "        *) break ;;\n        \
         esac\n    \
         done\n    \
         if (( at == CURRENT )) && [[ $PREFIX != -* ]]; then\n        \
         _describe verb first\n        (( commands )) && _command_names\n        return\n    \
         fi\n    \
         verb=$words[at]\n    \
         if (( at < CURRENT )) && (( ${verbs[(I)$verb:*]} )); then\n        \
         shift $((at - 1)) words\n        \
         (( CURRENT -= at - 1 ))\n    \
         else\n        \
         verb=$words[2]\n    \
         fi\n    case $verb in\n",
    );
    for (pattern, of) in PLACES {
        let _ = write!(text, "    {pattern})\n        _arguments -S");
        for option in plain_options().iter().filter(|option| of(option)) {
            let value = match option.value {
                None => String::new(),
                Some("FILE") => ":file:_files".to_owned(),
                Some("SIGNAL") => format!(":signal:({SIGNALS})"),
                Some(word) => format!(":{}: ", quoted(word)),
            };
            for name in option.names() {
                let _ = write!(text, " \\\n            '{name}[{}]{value}'", quoted(option.about));
            }
        }
        let rest = if *pattern == "check" { "'*:file:_files'" } else { "'*::command:_normal'" };
        let _ = writeln!(text, " \\\n            {rest}\n        ;;");
    }
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
        "    esac\n}\n\
         if [ \"$funcstack[1]\" = _tinysup ]; then _tinysup \"$@\"; else compdef _tinysup tinysup; fi\n",
    );
    text
}

/// Its functions: where in a command line we are.
fn fish_functions() -> String {
    let mut text = String::from(
        "# fish completion for tinysup: tinysup completions fish | source\n\
         function __tinysup_names\n\
         \x20   set -l lines (tinysup status 2>/dev/null)\n\
         \x20   test (count $lines) -gt 2; or return\n\
         \x20   set -l names (string replace -r ' .*' '' -- $lines[2..-2])\n\
         \x20   string replace -r '\\..*' '' -- $names\n\
         \x20   string match '*.*' -- $names\n\
         end\n\
         function __tinysup_word\n\
         \x20   set -l value\n\
         \x20   set -l words (commandline -opc)\n\
         \x20   for word in $words[2..-1]\n\
         \x20       if test -n \"$value\"\n\
         \x20           set value\n\
         \x20           continue\n\
         \x20       end\n\
         \x20       switch $word\n\
         \x20           case --\n\
         \x20               echo --\n\
         \x20               return\n",
    );
    let with_value =
        before().into_iter().filter(|(_, value, _)| *value).flat_map(|(names, ..)| names).gather();
    let _ = writeln!(text, "            case {}\n                set value 1", with_value.joined(" "));
    text.push_str(
        "            case '-*'\n\
         \x20           case '*'\n\
         \x20               echo $word\n\
         \x20               return\n\
         \x20       end\n\
         \x20   end\n\
         \x20   return 1\n\
         end\n\
         function __tinysup_one\n\
         \x20   not __tinysup_word >/dev/null\n\
         end\n\
         function __tinysup_verb\n\
         \x20   set -l word (__tinysup_word); and contains -- $word $argv\n\
         end\n\
         function __tinysup_first\n\
         \x20   not __tinysup_word >/dev/null; or return\n\
         \x20   set -l words (commandline -opc)\n\
         \x20   for word in $words[2..-1]\n\
         \x20       switch $word\n",
    );
    for (after, does) in [
        (After::RunAndCheck, "test $argv[1] = run; or return"),
        (After::Command, "return 1"),
        (After::Verbs, "test $argv[1] = ask; or return"),
    ] {
        let names = before().into_iter().filter(|(_, _, of)| *of == after).flat_map(|(names, ..)| names);
        let names = names.gather().joined(" ").replace("-*", "'-*'");
        let _ = writeln!(text, "            case {names}\n                {does}");
    }
    text.push_str(
        "        end\n\
         \x20   end\n\
         end\n\
         complete -c tinysup -f\n",
    );
    text
}

fn fish() -> String {
    let mut text = fish_functions();
    for (name, about) in first_words() {
        let of = match name {
            "run" | "check" => "run",
            _ if OFFLINE.iter().any(|(other, _)| *other == name) => "else",
            _ => "ask",
        };
        let _ =
            writeln!(text, "complete -c tinysup -n '__tinysup_first {of}' -a {name} -d '{}'", quoted(about));
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
    for (pattern, of) in PLACES {
        let condition = if *pattern == "-*" { "__tinysup_one" } else { &format!("__tinysup_verb {pattern}") };
        for option in plain_options().iter().filter(|option| of(option)) {
            let short = option.short.map(|short| format!(" -s {short}")).unwrap_or_default();
            let long = option.long.map(|long| format!(" -l {}", &long[2..])).unwrap_or_default();
            let value = match option.value {
                None => String::new(),
                Some("FILE") => " -r -F".to_owned(),
                Some("SIGNAL") => format!(" -x -a '{SIGNALS}'"),
                Some(_) => " -x".to_owned(),
            };
            let about = quoted(option.about);
            let _ = writeln!(text, "complete -c tinysup -n '{condition}'{short}{long}{value} -d '{about}'");
        }
    }
    text.push_str("complete -c tinysup -n '__tinysup_verb run check' -F\n");
    text
}

/// Within single quotes, and where zsh gives colons and brackets a meaning.
fn quoted(text: &str) -> String {
    text.replace('\'', "").replace(':', " -").replace('[', "(").replace(']', ")")
}
