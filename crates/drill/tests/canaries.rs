//! The registry of canaries and the code name the same ones, each in its place.

use maftia_drill::canary::REGISTRY;
use maftia_drill::course::course;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Names of canaries in the code of all packages, each with its file.
fn planted() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for package in fs::read_dir(root.join("crates")).expect("a folder").flatten() {
        sources(&package.path().join("src"), &mut files);
    }
    let mut planted = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a file");
        let place = file.strip_prefix(&root).expect("below the root").display().to_string();
        for part in text.split("canary!(").skip(1) {
            let Some(rest) = part.trim_start().strip_prefix('"') else { continue };
            let (name, rest) = rest.split_once('"').expect("a name ends");
            // The macro's own documentation has one argument and words.
            if rest.starts_with(", wrong") {
                continue;
            }
            let before = planted.insert(name.to_owned(), place.clone());
            assert!(before.is_none(), "{name} is planted twice");
        }
    }
    planted
}

#[test]
fn every_canary_in_the_code_is_in_the_registry_and_the_other_way_round() {
    let planted = planted();
    let registered: BTreeMap<String, String> =
        REGISTRY.iter().map(|canary| (canary.name.into(), canary.place.into())).collect();
    assert_eq!(registered.len(), REGISTRY.len(), "names are unique");
    assert_eq!(planted, registered);
    assert!(REGISTRY.len() >= 35);
}

#[test]
fn every_canary_is_hunted_for_in_courses_that_exist() {
    for canary in REGISTRY {
        assert!(!canary.courses.is_empty() && !canary.broken.is_empty(), "{}", canary.name);
        canary.courses.iter().for_each(|name| assert!(course(name).is_some(), "{name}"));
    }
}
