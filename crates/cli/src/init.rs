//! `maftia init` and `maftia check`.

use crate::Failure;
use crate::args::{Check, Init};
use crate::ca::{POLICY, policy};
use crate::config::{self, NewAuthority, NewGroup};
use maftia_base::PartySet;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Writes a checked `group.toml`.
pub fn init(args: &Init) -> Result<(), Failure> {
    let component = |guard| config::component_at(config::COMPONENT_SOCKET.into(), guard, None);
    let components = args.guards.iter().copied().map(component);
    let text = config::render(&NewGroup {
        name: args.name.clone(),
        servers: if args.guards.is_empty() { args.servers } else { args.guards.len() },
        host: args.host,
        base_port: args.base_port,
        key_bits: args.key_bits,
        components: components.collect(),
        ordered_by: args.ordering.into(),
        authority: args.ca.as_ref().map(|url| NewAuthority {
            url: url.clone(),
            base_port: args.acme_port,
            permitted: args.permitted.clone(),
            rules: policy::EXAMPLE.into(),
        }),
    });
    let path = args.dir.join("group.toml");
    let config = config::parse(&path, &text)?;
    if args.example {
        print!("{text}");
        return Ok(());
    }
    fs::create_dir_all(&args.dir)
        .map_err(|error| Failure::file(&args.dir, "cannot be made", &error))?;
    write_new(&path, &text)?;
    if config.ca.is_some() {
        let path = args.dir.join(POLICY);
        write_new(&path, policy::EXAMPLE)?;
        println!("{} written: what is issued to whom.", path.display());
    }
    println!(
        "{} written: {} servers, of which any {} may be taken over.",
        path.display(),
        config.servers.len(),
        config.structure.largest()
    );
    println!(
        "Edit addresses, then: maftia deal --group {} --out {}",
        path.display(),
        args.dir.display()
    );
    Ok(())
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = fs::File::create_new(path)
        .map_err(|error| Failure::file(path, "is not overwritten, or cannot be written", &error))?;
    file.write_all(text.as_bytes())
        .map_err(|error| Failure::file(path, "cannot be written", &error))
}

/// Says what a configuration means.
pub fn check(args: &Check) -> Result<(), Failure> {
    let config = config::load(&args.group)?;
    // Of a threshold there can be more sets than fit any memory.
    let sets = match config.structure.threshold_f() {
        Some(_) => None,
        None => Some(config.structure.maximal_sets()),
    };
    if args.json {
        let named: Option<Vec<Vec<&str>>> = sets.map(|sets| {
            let names = |set: PartySet| set.iter().map(|p| config.servers[p.index()].name.as_str());
            sets.into_iter().map(|set| names(set).collect()).collect()
        });
        let report = serde_json::json!({
            "name": config.name,
            "servers": config.servers.iter().map(|server| &server.name).collect::<Vec<_>>(),
            "threshold": config.structure.threshold_f(),
            "corruptible": named,
            "shares": config.sharing.leaves().len(),
        });
        println!("{report}");
        return Ok(());
    }
    println!("{}: correct. {} servers.", args.group.display(), config.servers.len());
    if let Some(f) = config.structure.threshold_f() {
        println!("Any {f} of them may be taken over at the same time.");
    }
    if let Some(sets) = sets {
        println!("Each of these sets may be taken over at the same time:");
        sets.into_iter().for_each(|set| println!("  {}", config.names(set)));
    }
    println!("Each key is shared in {} parts.", config.sharing.leaves().len());
    Ok(())
}
