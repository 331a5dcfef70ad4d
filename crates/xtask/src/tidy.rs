//! The house rules that a program can check.

use crate::layers;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Lines of a file, without its tests.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function.
const FUNCTION_LINES_MAX: usize = 70;
/// Columns of a line.
const COLUMNS_MAX: usize = 100;

/// Packages without clock, disk, network, threads or unordered maps.
const PURE: &[&str] = &[
    "base",
    "crypto",
    "ttcb-api",
    "ttcb-core",
    "agreement",
    "links",
    "membership",
    "activity",
    "services",
];

const BANNED_IN_PURE: &[&str] = &[
    "std::net",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "tokio",
    "async fn",
    "thread_rng",
    "OsRng",
    "SysRng",
    "rand::rng",
    "rand::random",
    "getrandom",
    // Paths are written out, so that this list finds them.
    "use std::{",
];

const BANNED_ANYWHERE: &[&str] = &["todo!(", "unimplemented!(", "dbg!(", "#[ignore"];

/// Checks everything; prints each complaint on a line.
pub(crate) fn run() -> ExitCode {
    let mut complaints = layers::complaints();
    let mut files = Vec::new();
    collect(Path::new("crates"), &mut files);
    for file in &files {
        complaints.extend(file_complaints(file));
    }
    for complaint in &complaints {
        eprintln!("tidy: {complaint}");
    }
    eprintln!("tidy: {} files, {} complaints", files.len(), complaints.len());
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn is_test(path: &Path) -> bool {
    let folder = path.iter().any(|part| part == "tests" || part == "benches");
    folder || path.file_stem().is_some_and(|stem| stem == "tests")
}

fn file_complaints(path: &Path) -> Vec<String> {
    let shown = path.display();
    let Ok(text) = fs::read_to_string(path) else {
        return vec![format!("{shown}: cannot be read")];
    };
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.chars().count() > COLUMNS_MAX {
            complaints.push(format!("{shown}:{}: over {COLUMNS_MAX} columns", number + 1));
        }
    }
    let code = match text.find("\n#[cfg(test)]\nmod tests {") {
        Some(tests) => &text[..tests],
        None => text.as_str(),
    };
    if !is_test(path) {
        let lines = code.lines().count();
        if lines > FILE_LINES_MAX {
            complaints.push(format!("{shown}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
        complaints.extend(long_functions(path, &text));
        complaints.extend(banned(path, code));
    }
    complaints
}

fn banned(path: &Path, code: &str) -> Vec<String> {
    let shown = path.display();
    let package = path.iter().nth(1).and_then(|part| part.to_str()).unwrap_or_default();
    // The rules are not broken by the file that states them.
    if package == "xtask" {
        return Vec::new();
    }
    let pure: &[&str] = if PURE.contains(&package) { BANNED_IN_PURE } else { &[] };
    let mut complaints = Vec::new();
    for (number, line) in code.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for word in BANNED_ANYWHERE.iter().chain(pure) {
            if line.contains(word) {
                complaints.push(format!("{shown}:{}: `{word}` is banned here", number + 1));
            }
        }
    }
    complaints
}

fn long_functions(path: &Path, text: &str) -> Vec<String> {
    struct Functions(Vec<(String, usize, usize)>);
    impl Functions {
        fn add(&mut self, name: &syn::Ident, block: &syn::Block) {
            let span = block.span();
            let lines = 1 + span.end().line - span.start().line;
            self.0.push((name.to_string(), span.start().line, lines));
        }
    }
    impl<'a> Visit<'a> for Functions {
        fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
            self.add(&item.sig.ident, &item.block);
            visit::visit_item_fn(self, item);
        }
        fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
            self.add(&item.sig.ident, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
        fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
            if item.ident != "tests" {
                visit::visit_item_mod(self, item);
            }
        }
    }
    let shown = path.display();
    let Ok(file) = syn::parse_file(text) else {
        return vec![format!("{shown}: does not parse")];
    };
    let mut functions = Functions(Vec::new());
    functions.visit_file(&file);
    functions
        .0
        .into_iter()
        .filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX)
        .map(|(name, line, lines)| {
            format!("{shown}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_rules_hold() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        std::env::set_current_dir(root).expect("the workspace's root");
        assert_eq!(run(), ExitCode::SUCCESS, "see the complaints above");
    }

    #[test]
    fn a_clock_in_a_pure_package_is_found() {
        let code = "use std::time::SystemTime;\n// SystemTime in a comment is fine\n";
        assert_eq!(banned(Path::new("crates/agreement/src/lib.rs"), code).len(), 1);
        assert!(banned(Path::new("crates/node/src/lib.rs"), code).is_empty());
    }

    #[test]
    fn a_function_that_does_not_fit_a_screen_is_found() {
        let body = "    let _ = 0;\n".repeat(FUNCTION_LINES_MAX);
        let text = format!("fn long() {{\n{body}}}\nfn short() {{}}\n");
        assert_eq!(long_functions(Path::new("crates/base/src/lib.rs"), &text).len(), 1);
    }
}
