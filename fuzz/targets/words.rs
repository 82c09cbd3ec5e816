//! A command split into words: each word stands where it says, and quoting the words gives them again.

use tinysup::config::words::split;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let words = match split(text) {
        Ok(words) => words,
        Err(problem) => {
            assert!(
                problem.at.start < problem.at.end && text.get(problem.at.clone()).is_some(),
                "{:?}",
                problem.at
            );
            return;
        }
    };
    let mut end = 0;
    for word in &words {
        assert!(word.at.start >= end && word.at.end > word.at.start);
        end = word.at.end;
        let written = text.get(word.at.clone()).expect("a place in the text");
        assert!(!word.verbatim || written == word.template);
    }
    // A single $ may be a variable, which quotes would protect.
    let plain = |template: &str| !template.replace("$$", "").contains('$');
    if words.iter().all(|word| plain(&word.template)) {
        let quoted: Vec<String> = words
            .iter()
            .map(|word| format!("'{}'", word.template.replace("$$", "$").replace('\'', "'\\''")))
            .collect();
        let again = split(&quoted.join(" ")).expect("quoted words");
        assert!(again.iter().map(|word| &word.template).eq(words.iter().map(|word| &word.template)));
    }
}
