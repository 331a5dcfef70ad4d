//! `maftia status`: how every server of a group is, in its own words.

use crate::args::Status;
use crate::{Failure, config, process};
use serde_json::{Value, json};

/// Asks every server; fails if fewer than a quorum answer.
pub fn run(args: &Status) -> Result<(), Failure> {
    let config = config::load(&args.group)?;
    let mut answers = Vec::new();
    for server in &config.servers {
        let answer = process::get(server.http, "/status")
            .and_then(|body| {
                serde_json::from_str::<Value>(&body)
                    .map_err(|error| Failure::because(format!("{}: {error}", server.name)))
            })
            .map_err(|failure| failure.to_string());
        answers.push((server, answer));
    }
    if args.json {
        let servers: Vec<Value> = answers
            .iter()
            .map(|(server, answer)| match answer {
                Ok(status) => json!({ "name": server.name, "status": status }),
                Err(why) => json!({ "name": server.name, "unreachable": why }),
            })
            .collect();
        println!("{}", json!({ "group": config.name, "servers": servers }));
    } else {
        for (server, answer) in &answers {
            println!("{:16} {}", server.name, printable(&line(answer)));
        }
    }
    let up = answers.iter().enumerate().filter(|(_, (_, answer))| answer.is_ok());
    let up = up.map(|(index, _)| maftia_base::Party::new(index)).collect();
    if config.structure.is_quorum(up) {
        return Ok(());
    }
    Err(Failure::because("fewer servers answer than the group needs to go on"))
}

fn line(answer: &Result<Value, String>) -> String {
    let status = match answer {
        Ok(status) => status,
        Err(why) => return format!("does not answer: {why}"),
    };
    let number = |key: &str| status[key].as_u64().unwrap_or(0);
    let standing = status["standing"].as_str().unwrap_or("?");
    let chunks = match status["chunks"].as_array().map(Vec::as_slice) {
        Some([here, all]) => format!(" ({here} of {all} chunks)"),
        _ => String::new(),
    };
    let mut line = format!(
        "{standing}{chunks}, position {}, epoch {}, round {}, checkpoint {}, {} clients, \
         {} waiting",
        status["progress"]["position"].as_u64().unwrap_or(0),
        status["progress"]["epoch"].as_u64().unwrap_or(0),
        number("round"),
        status["progress"]["certified"].as_u64().unwrap_or(0),
        number("clients"),
        number("waiting"),
    );
    for trouble in status["troubles"].as_array().into_iter().flatten() {
        line += &format!("; {}", trouble.as_str().unwrap_or_default());
    }
    for entry in status["convicted"].as_array().into_iter().flatten() {
        line += &format!("; holds evidence against server {}: {}", entry[0], entry[1]);
    }
    for entry in status["suspected"].as_array().into_iter().flatten() {
        line += &format!("; suspects server {}: {} ({} times)", entry[0], entry[1], entry[2]);
    }
    if status["component"].is_object() {
        line += &format!("; {}", wormhole(&status["component"]));
    }
    line
}

/// How a server stands with its trusted component.
fn wormhole(component: &Value) -> String {
    let life = component["boot"].as_str().filter(|boot| !boot.is_empty());
    let mut text = match (component["connected"].as_bool(), life) {
        (Some(true), Some(boot)) => format!("wormhole connected, life {boot}"),
        (_, Some(boot)) => format!("WORMHOLE NOT CONNECTED, last life {boot}"),
        _ => "WORMHOLE NOT CONNECTED".into(),
    };
    text += &format!(" (boot {} of its guard)", component["epoch"].as_u64().unwrap_or(0));
    let said = &component["said"];
    if !said.is_object() {
        return text + ", whose component does not say how it is";
    }
    let barriers = said["barriers"].as_object();
    let missing: Vec<String> = barriers.into_iter().flatten().filter_map(missing).collect();
    text += &match (barriers, missing.as_slice()) {
        (None, _) => ", barriers unknown".into(),
        (Some(all), []) => format!(", all {} barriers hold", all.len()),
        (Some(_), missing) => format!(", barriers missing: {}", missing.join(", ")),
    };
    match said["clock"]["bound_ns"].as_u64() {
        Some(bound) => text + &format!(", clock within {} us", bound.div_ceil(1_000)),
        None => text + ", clock not synchronised",
    }
}

/// A barrier that does not hold; in brackets if the configuration accepts that by name.
fn missing((name, barrier): (&String, &Value)) -> Option<String> {
    match (barrier["state"].as_str(), barrier["accepted"].as_bool()) {
        (Some("held"), _) => None,
        (_, Some(true)) => Some(format!("({name})")),
        _ => Some(name.to_uppercase()),
    }
}

/// What a server says is shown to people as it is, but for what would move their cursor.
fn printable(line: &str) -> String {
    line.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(component: Value) -> String {
        line(&Ok(json!({ "standing": "member", "component": component })))
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_accepted_is_in_brackets() {
        let barrier = |state: &str, accepted: bool| json!({ "state": state, "accepted": accepted });
        let mut component = json!({
            "connected": true, "boot": "00ab", "epoch": 7,
            "said": {
                "barriers": {
                    "memory": barrier("held", false),
                    "processor": barrier("missing", true),
                    "tracing": barrier("untested", false),
                },
                "clock": { "bound_ns": 12_001 },
            },
        });
        let line = said(component.clone());
        let wanted = "; wormhole connected, life 00ab (boot 7 of its guard), barriers missing: \
                      (processor), TRACING, clock within 13 us";
        assert!(line.ends_with(wanted), "{line}");
        component["said"]["barriers"] = json!({ "memory": barrier("held", true) });
        component["said"]["clock"] = Value::Null;
        component["connected"] = json!(false);
        let line = said(component);
        assert!(line.contains("WORMHOLE NOT CONNECTED, last life 00ab"), "{line}");
        assert!(line.ends_with("all 1 barriers hold, clock not synchronised"), "{line}");
    }

    #[test]
    fn a_liar_can_say_anything_and_break_nothing() {
        for component in [
            json!({}),
            json!({ "connected": 7, "boot": [], "epoch": -1, "said": "x" }),
            json!({ "said": { "barriers": { "\u{1b}[2J": 3 }, "clock": [] } }),
            json!({ "said": { "barriers": [], "clock": { "bound_ns": u64::MAX } } }),
        ] {
            let shown = printable(&said(component));
            assert!(shown.contains("WORMHOLE NOT CONNECTED"), "{shown}");
            assert!(!shown.contains('\u{1b}'));
        }
        assert!(!line(&Ok(json!({ "component": null }))).to_lowercase().contains("wormhole"));
    }
}
