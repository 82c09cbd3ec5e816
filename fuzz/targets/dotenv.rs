//! Files of `env_file`: every variable stands where it says, and written anew in quotes the file means the same.

use std::fmt::Write;

use tinysup::config::dotenv::parse;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (file, bad) = parse(text);
    assert!(bad.iter().all(|bad| text.get(bad.at.clone()).is_some()));
    assert_eq!(file.index.len(), file.entries.len(), "each name once");
    let mut written = String::new();
    for variable in &file.entries {
        assert_eq!(text.get(variable.at.clone()), Some(variable.name.as_str()));
        assert!(!variable.name.is_empty());
        match &variable.template {
            None => writeln!(written, "{}", variable.name),
            Some(template) => writeln!(written, "{}=\"{}\"", variable.name, quoted(template)),
        }
        .expect("a string takes everything");
    }
    let (again, bad) = parse(&written);
    assert_eq!(bad, [], "{written}");
    let content = |file: &tinysup::config::dotenv::EnvFile| -> Vec<_> {
        file.entries.iter().map(|variable| (variable.name.clone(), variable.template.clone())).collect()
    };
    assert_eq!(content(&again), content(&file), "{written}");
}

fn quoted(template: &str) -> String {
    template.replace('\\', "\\\\").replace('"', "\\\"").replace("$$", "\\$")
}
