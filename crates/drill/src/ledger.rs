//! Failing seeds, kept and run for ever: `seeds.txt` beside the sources.
//!
//! One token a line, then `#` and what it once broke. A token of a canary's name in front,
//! `canary NAME TOKEN`, must go on failing while that canary sings.

/// The ledger as it was when this was built.
pub const LEDGER: &str = include_str!("../seeds.txt");

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// While this canary sings, it fails; without one, it must not fail.
    pub canary: Option<&'a str>,
    /// The run.
    pub token: &'a str,
    /// What it once broke.
    pub about: &'a str,
}

/// All lines of a ledger; an error names the first that is none.
pub fn entries(text: &str) -> Result<Vec<Entry<'_>>, String> {
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (what, about) = line.split_once('#').unwrap_or((line, ""));
        let words: Vec<&str> = what.split_whitespace().collect();
        match words[..] {
            [] => {}
            [token] => entries.push(Entry { canary: None, token, about: about.trim() }),
            ["canary", name, token] => {
                entries.push(Entry { canary: Some(name), token, about: about.trim() });
            }
            _ => return Err(format!("line {}: `{line}` is no entry", number + 1)),
        }
        if !words.is_empty() && about.trim().is_empty() {
            return Err(format!("line {}: what did it break?", number + 1));
        }
    }
    Ok(entries)
}
