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
            println!("{:16} {}", server.name, line(answer));
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
    line
}
