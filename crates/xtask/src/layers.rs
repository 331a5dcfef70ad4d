//! Which package may depend on which: arrows point down only.

use serde_json::Value;
use std::process::Command;

/// Each package with those of ours that it may depend on, tests aside.
const LAYERS: &[(&str, &[&str])] = &[
    ("maftia-base", &[]),
    ("maftia-crypto", &["maftia-base"]),
    ("maftia-sim", &["maftia-base"]),
    ("maftia-links", &["maftia-base", "maftia-crypto"]),
    ("maftia-agreement", &["maftia-base", "maftia-crypto"]),
    ("maftia-activity", &["maftia-base", "maftia-crypto", "maftia-agreement"]),
    ("maftia-services", &["maftia-base", "maftia-crypto", "maftia-agreement", "maftia-activity"]),
    (
        "maftia-node",
        &[
            "maftia-base",
            "maftia-crypto",
            "maftia-links",
            "maftia-agreement",
            "maftia-activity",
            "maftia-services",
        ],
    ),
    (
        "maftia-hostile",
        &[
            "maftia-base",
            "maftia-crypto",
            "maftia-links",
            "maftia-agreement",
            "maftia-activity",
            "maftia-services",
            "maftia-node",
            "maftia",
        ],
    ),
    ("maftia-xtask", &[]),
];

/// The binary may use everything.
const TOP: &str = "maftia";

/// Complaints about dependencies that point up or sideways.
pub(crate) fn complaints() -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .output();
    let metadata: Value = match output {
        Ok(output) if output.status.success() => {
            serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
        }
        Ok(output) => return vec![String::from_utf8_lossy(&output.stderr).into_owned()],
        Err(error) => return vec![format!("cargo metadata: {error}")],
    };
    let empty = Vec::new();
    let packages = metadata["packages"].as_array().unwrap_or(&empty);
    packages.iter().flat_map(package_complaints).collect()
}

fn package_complaints(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    if name == TOP {
        return Vec::new();
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(known, _)| *known == name) else {
        return vec![format!("{name}: this package has no layer in xtask/src/layers.rs")];
    };
    let empty = Vec::new();
    package["dependencies"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|dependency| dependency.starts_with("maftia") && !allowed.contains(dependency))
        .map(|dependency| format!("{name}: must not depend on {dependency}"))
        .collect()
}
