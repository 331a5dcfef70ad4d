//! No codec is forgotten: whatever the source gives an encoding has a target.

use maftia_fuzz::decoders::WITHIN;
use maftia_fuzz::wire_types;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

macro_rules! types {
    ($($name:ident: $type:ty;)*) => {
        const TYPES: &[(&str, &str)] = &[$((stringify!($name), stringify!($type))),*];
    };
}

wire_types!(types);

/// Packages whose codecs are no input of a server.
const TESTS: [&str; 4] = ["drill", "fuzz", "sim", "xtask"];

/// What the types of the suite for simulations begin with.
const IDEAL: &str = "Ideal";

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The type that a line of source gives a codec: `wire_struct!(<S: Suite> Vote<S> { .. })`,
/// `impl Read for Vote`.
fn codec(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if line.starts_with("//") {
        return None;
    }
    let call = line.split_once("wire_struct!(").or_else(|| line.split_once("wire_enum!("));
    let of_macro = call.filter(|(before, _)| !before.contains("macro_rules"));
    let of_impl = line.starts_with("impl").then(|| line.split_once(" Read for ")).flatten();
    let rest = of_macro.or(of_impl)?.1;
    let rest = match rest.strip_prefix('<') {
        Some(generics) => generics.split_once("> ")?.1,
        None => rest,
    };
    let end = rest.find(|character: char| !character.is_alphanumeric() && character != '_')?;
    (end > 0).then(|| &rest[..end])
}

#[test]
fn every_codec_in_the_source_has_a_target() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut missing = BTreeSet::new();
    let mut found = 0;
    for package in fs::read_dir(&crates).expect("readable").flatten() {
        let name = package.file_name().to_string_lossy().into_owned();
        if TESTS.contains(&name.as_str()) || !package.path().join("src").is_dir() {
            continue;
        }
        let library = match name.as_str() {
            "cli" => "maftia::".to_owned(),
            name => format!("maftia_{name}::"),
        };
        let mut files = Vec::new();
        sources(&package.path().join("src"), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).expect("readable");
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for named in text.lines().filter_map(codec) {
                if named.starts_with(IDEAL) {
                    continue;
                }
                found += 1;
                // Types of one name in several packages are told apart by their library's name.
                let is_it = |(_, known): &(&str, &str)| {
                    let known = known.split('<').next().unwrap_or_default().replace(' ', "");
                    known.ends_with(&format!("::{named}")) && known.starts_with(&library)
                };
                let within = WITHIN.iter().any(|(known, _)| *known == named);
                if !within && !TYPES.iter().any(is_it) {
                    missing.insert(format!("{named} of {}", file.display()));
                }
            }
        }
    }
    assert!(found > 100, "codecs are found at all: {found}");
    assert!(missing.is_empty(), "without a target: {missing:#?}");
}

#[test]
fn a_target_that_is_said_to_reach_a_codec_exists() {
    let inputs = include_str!("inputs.rs");
    for (codec, target) in WITHIN {
        let is_known =
            TYPES.iter().any(|(name, _)| name == target) || inputs.contains(&format!(" {target}("));
        assert!(is_known, "`{target}`, which is to reach {codec}");
    }
}

#[test]
fn the_codecs_of_a_line_are_found() {
    assert_eq!(codec("wire_struct!(Mark { end, link });"), Some("Mark"));
    assert_eq!(codec("wire_enum!(<S: Suite, V: Value> Message<S, V> {"), Some("Message"));
    assert_eq!(codec("wire::wire_struct!(PartySet { 0 });"), Some("PartySet"));
    assert_eq!(codec("impl<const MAX: usize> Read for Blob<MAX> {"), Some("Blob"));
    assert_eq!(codec("    Buf, wire_enum, wire_struct,"), None);
    assert_eq!(codec("/// `wire_enum!(Message { 0 => Init(value) })`,"), None);
}
