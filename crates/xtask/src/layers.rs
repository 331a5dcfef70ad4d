//! Which package may depend on which: arrows point down only.

use serde_json::Value;
use std::process::Command;

/// Each package with those of ours that it may depend on, tests aside.
const LAYERS: &[(&str, &[&str])] = &[
    ("maftia-base", &[]),
    ("maftia-crypto", &["maftia-base", "maftia-ttcb-api"]),
    ("maftia-ttcb-api", &[]),
    ("maftia-ttcb-core", &["maftia-ttcb-api"]),
    ("maftia-guard", &["maftia-ttcb-api"]),
    ("maftia-ttcb", &["maftia-ttcb-api", "maftia-ttcb-core", "maftia-guard"]),
    ("maftia-sim", &["maftia-base", "maftia-ttcb-api", "maftia-ttcb-core"]),
    ("maftia-links", &["maftia-base", "maftia-crypto"]),
    ("maftia-agreement", &["maftia-base", "maftia-crypto", "maftia-ttcb-api"]),
    ("maftia-activity", &["maftia-base", "maftia-crypto", "maftia-agreement", "maftia-ttcb-api"]),
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
            "maftia-ttcb-api",
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
    (
        "maftia-drill",
        &[
            "maftia-base",
            "maftia-crypto",
            "maftia-links",
            "maftia-agreement",
            "maftia-activity",
            "maftia-services",
            "maftia-node",
            "maftia-ttcb-api",
            "maftia-ttcb-core",
            "maftia-sim",
        ],
    ),
    (
        "maftia-fuzz",
        &[
            "maftia-base",
            "maftia-crypto",
            "maftia-links",
            "maftia-agreement",
            "maftia-activity",
            "maftia-services",
            "maftia-node",
            "maftia-ttcb-api",
            "maftia-sim",
            "maftia-drill",
            "maftia",
        ],
    ),
    ("maftia-xtask", &[]),
];

/// Features of ours for tests and simulations only.
const TEST_FEATURES: &[&str] = &["ideal", "canary"];

/// The packages that are nothing but tests.
const TESTS: &[&str] = &["maftia-drill", "maftia-fuzz"];

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
    let mut complaints = feature_complaints(name, package);
    if name != TOP {
        complaints.extend(layer_complaints(name, package));
    }
    complaints
}

/// Cryptography that is only for simulations and tests, and code that can be broken on purpose,
/// must not get into a program.
fn feature_complaints(name: &str, package: &Value) -> Vec<String> {
    if TESTS.contains(&name) {
        return Vec::new();
    }
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .flat_map(|dependency| dependency["features"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .filter(|feature| TEST_FEATURES.contains(feature))
        .map(|feature| format!("{name}: enables `{feature}` outside of its tests"))
        .collect()
}

fn layer_complaints(name: &str, package: &Value) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dependency_that_points_up_is_found() {
        let package = json!({ "name": "maftia-links", "dependencies": [
            { "name": "maftia-base", "kind": null },
            { "name": "maftia-sim", "kind": "dev" },
            { "name": "maftia-node", "kind": null },
        ] });
        assert_eq!(package_complaints(&package), ["maftia-links: must not depend on maftia-node"]);
    }

    #[test]
    fn cryptography_for_simulations_in_a_program_is_found() {
        let package = |kind: Value| {
            json!({ "name": "maftia", "dependencies": [
                { "name": "maftia-crypto", "kind": kind, "features": ["ideal"] },
            ] })
        };
        assert_eq!(package_complaints(&package(Value::Null)).len(), 1);
        assert!(package_complaints(&package(json!("dev"))).is_empty());
    }

    #[test]
    fn canaries_in_any_program_but_the_drill_are_found() {
        let package = |name: &str| {
            json!({ "name": name, "dependencies": [
                { "name": "maftia-base", "kind": null, "features": ["canary"] },
            ] })
        };
        assert_eq!(package_complaints(&package("maftia")).len(), 1);
        assert_eq!(package_complaints(&package("maftia-hostile")).len(), 1);
        assert!(package_complaints(&package("maftia-drill")).is_empty());
    }
}
