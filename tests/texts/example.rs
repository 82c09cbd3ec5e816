//! The commented configuration that `tinysup example` prints, made from the table of keys.

use std::fmt::Write;

use tinysup::config::keys::{self, Id, Key};

/// A configuration to begin with: it runs as it is, and shows every key with its default or an example.
pub fn example() -> String {
    let mut text = String::from(
        "# A configuration of tinysup. Save it as /etc/tinysup.toml; `tinysup check` tests it.\n\
         # Lines of the form \"# key = value\" show the default, or an example where the default is nothing.\n\
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
    text.push_str("\n# [memory]                         # of the container; docs/memory.md has more\n");
    for key in keys::MEMORY {
        line(&mut text, key);
    }
    text.push_str("\n[services.web]\n");
    for key in keys::SERVICE {
        line(&mut text, key);
    }
    text
}

/// One key. What is longer than a line has its help before it.
fn line(text: &mut String, key: &Key) {
    const HELP_COLUMN: usize = 35;
    let comment = if key.id == Id::Command { "" } else { "# " };
    let setting = format!("{comment}{} = {}", key.name, key.example());
    // Writing to a String cannot fail.
    let _ = if setting.len() < HELP_COLUMN {
        writeln!(text, "{setting:HELP_COLUMN$}# {}", key.help())
    } else {
        writeln!(text, "#   {}:\n{setting}", key.help())
    };
}
