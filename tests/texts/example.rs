//! The commented configuration that `tinysup example` prints, made from the table of keys. What it says of its lines tests/config.rs tries.

use std::fmt::Write;

use tinysup::config::keys::{self, Id, Key};

/// A configuration to begin with: it runs as it is, and shows every key with its default, an example, or both.
pub fn example() -> String {
    let mut text = String::from(
        "# A configuration of tinysup. Save it as /etc/tinysup.toml; `tinysup check` tests it.\n\
         # \"# key = value\" shows the default: without the # nothing changes. \"## key = value\" is an example of something else.\n\
         # Values may use ${VAR}, ${VAR:-default} and ${VAR:?message}; $$ is a plain $.\n\n",
    );
    for key in keys::TOP {
        line(&mut text, key);
    }
    text.push_str(
        "\n# [defaults]                       # keys for all services, where they do not say otherwise\n\
         # [signals]                        # SIGUSR1 = [\"web\"]: to these alone; otherwise signals go to all\n\n\
         [log]\n",
    );
    for key in keys::LOG {
        line(&mut text, key);
    }
    text.push_str("\n[memory]                           # of the container; docs/memory.md has more\n");
    for key in keys::MEMORY {
        line(&mut text, key);
    }
    text.push_str("\n[services.web]\n");
    for key in keys::SERVICE {
        line(&mut text, key);
    }
    text
}

/// One key: its default where that is a value, and an example where that shows more.
fn line(text: &mut String, key: &Key) {
    if key.id == Id::Command {
        return setting(text, "", key, key.example(), Some(key.help()));
    }
    let default = key.default().split(';').next().unwrap_or_default();
    let is_value = toml::de::DeTable::parse(&format!("it = {default}")).is_ok();
    if default == key.example() {
        setting(text, "# ", key, default, Some(key.help()));
    } else if is_value && !["[]", "{}"].contains(&default) {
        setting(text, "# ", key, default, Some(key.help()));
        setting(text, "## ", key, key.example(), None);
    } else {
        setting(text, "## ", key, key.example(), Some(key.help()));
    }
}

/// What is longer than a line has its help before it.
fn setting(text: &mut String, comment: &str, key: &Key, value: &str, help: Option<&str>) {
    const HELP_COLUMN: usize = 35;
    let setting = format!("{comment}{} = {value}", key.name);
    // Writing to a String cannot fail.
    let _ = match help {
        None => writeln!(text, "{setting}"),
        Some(help) if setting.len() < HELP_COLUMN => writeln!(text, "{setting:HELP_COLUMN$}# {help}"),
        Some(help) => writeln!(text, "#   {help}:\n{setting}"),
    };
}
