//! What a file is that is no TOML: the configuration of another program, given to us in the hope that we read it. One message says so
//! instead of a syntax error for each line.

use crate::gather::holds;

/// What a text looks like, and how its first service would be written here. Only asked where the text is no TOML.
#[inline(never)]
pub fn likeness(text: &str) -> Option<(&'static str, String)> {
    let lines = || text.lines().map(str::trim_end).filter(|line| !line.trim_start().is_empty());
    let significant = || lines().filter(|line| !line.trim_start().starts_with(['#', ';']));
    let first = significant().next()?;
    if significant().any(|line| line.starts_with("[program:") || line == "[supervisord]") {
        let name = significant().find_map(|line| line.strip_prefix("[program:")?.strip_suffix(']'));
        let command =
            significant().find_map(|line| line.strip_prefix("command")?.trim_start().strip_prefix('='));
        return Some(("a configuration of supervisord (INI)", service(name, command)));
    }
    if significant().any(|line| line == "[Service]" || line == "[Unit]") {
        let command = significant().find_map(|line| line.strip_prefix("ExecStart="));
        return Some(("a unit of systemd", service(None, command)));
    }
    if first.starts_with('{') || holds(first, "module.exports") || first.starts_with("export default") {
        return Some(("JSON or JavaScript, such as an ecosystem file of PM2", service(None, None)));
    }
    if let Some(at) = lines().position(|line| line == "services:") {
        let inner = || lines().skip(at + 1).map(str::trim_start).filter(|line| !line.starts_with('#'));
        let name = inner().next().and_then(|line| line.strip_suffix(':'));
        let command = inner().find_map(|line| line.strip_prefix("command:"));
        // A list of words is an array already.
        let command = command.filter(|command| !command.trim_start().starts_with('['));
        return Some(("a Compose file (YAML)", service(name, command)));
    }
    let (name, rest) = first.split_once(':')?;
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match rest.trim() {
        _ if !is_name => None,
        "" => Some(("YAML", service(None, None))),
        command if significant().all(|line| line.contains(':')) && rest.starts_with(' ') => {
            Some(("a Procfile", service(Some(name), Some(command))))
        }
        _ => None,
    }
}

/// Its two lines, with what could be found of it. A command that would not fit, that TOML would read differently, or that sets a variable,
/// whose value may be a secret, is left out.
fn service(name: Option<&str>, command: Option<&str>) -> String {
    const LONGEST: usize = 80;
    let plain = |c: char| c.is_control() || c == '"' || c == '\\';
    let name = name.map(str::trim).filter(|name| super::schema::check_name(name).is_ok()).unwrap_or("NAME");
    let sets = |word: &str| !word.starts_with('-') && holds(word, "=");
    let command = command.map(str::trim).filter(|text| {
        !text.is_empty() && text.len() <= LONGEST && !text.contains(plain) && !text.split(' ').any(sets)
    });
    format!("[services.{name}], and below it command = \"{}\"", command.unwrap_or("program argument"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_others_are_known() {
        for (text, what, service) in [
            (
                "# shop\nversion: \"3\"\nservices:\n  # the shop\n  web:\n    image: shop\n    command: node server.js\n",
                "Compose",
                "[services.web], and below it command = \"node server.js\"",
            ),
            (
                "services:\n  web:\n    command: [\"a\"]\n",
                "Compose",
                "[services.web], and below it command = \"program argument\"",
            ),
            (
                "[supervisord]\nnodaemon=true\n\n; the shop\n[program:web]\ncommand = /bin/web --port 80\n",
                "supervisord",
                "[services.web], and below it command = \"/bin/web --port 80\"",
            ),
            (
                "[Unit]\nDescription=Shop\n[Service]\nExecStart=/bin/web\n",
                "systemd",
                "[services.NAME], and below it command = \"/bin/web\"",
            ),
            (
                "web: node server.js\nworker: node worker.js\n",
                "Procfile",
                "[services.web], and below it command = \"node server.js\"",
            ),
            ("web: echo \"a\"\n", "Procfile", "[services.web], and below it command = \"program argument\""),
            ("{ \"apps\": [] }", "PM2", "[services.NAME], and below it command = \"program argument\""),
            (
                "module.exports = {\n  apps: []\n}\n",
                "PM2",
                "[services.NAME], and below it command = \"program argument\"",
            ),
            ("web:\n  command: x\n", "YAML", "[services.NAME], and below it command = \"program argument\""),
        ] {
            let (found, shown) = likeness(text).unwrap_or_else(|| panic!("{text}"));
            assert!(found.contains(what) && shown == service, "{text}: {found}, {shown}");
        }
        for text in [
            "",
            "\n# x\n",
            "[services.a]\ncommand = nginx\n",
            "a = http://x\n",
            "http://x: y\n",
            "[services.a\n",
        ] {
            assert_eq!(likeness(text), None, "{text}");
        }
    }
}
