//! What the hybrid configuration says of each server: where its trusted component is, and by whom
//! that is certified.

use super::ConfigError;
use super::check::Source;
use super::file::Server;
use maftia_node::wormhole::WormholeConfig;
use std::path::PathBuf;
use toml::Spanned;

/// Where components listen if the configuration does not say otherwise.
pub const COMPONENT_SOCKET: &str = "/run/maftia-ttcb/ttcb.sock";

/// A server's trusted component: none in the asynchronous configuration, where none may be named,
/// so that nobody takes a group for a hybrid one that is not.
pub(super) fn check(
    source: &Source<'_>,
    entry: &Spanned<Server>,
    is_hybrid: bool,
) -> Result<Option<WormholeConfig>, ConfigError> {
    const REMEDY: &str = "configuration = \"hybrid\", or no trusted components";
    let Server { guard, component, .. } = entry.get_ref();
    if !is_hybrid {
        let problem = "the asynchronous configuration has no trusted components";
        if let Some(guard) = guard {
            return Err(source.refuse(guard, "server.guard", problem, REMEDY));
        }
        if let Some(component) = component {
            return Err(source.refuse(component, "server.component", problem, REMEDY));
        }
        return Ok(None);
    }
    const GUARD: &str = "guard = \"...\", 64 hexadecimal digits that `maftia-ttcb keygen` printed";
    let Some(key) = guard else {
        let problem = "it has no `guard`, which the hybrid configuration needs";
        return Err(source.refuse(entry, "server.guard", problem, GUARD));
    };
    let Ok(guard) = const_hex::decode_to_array(key.get_ref()) else {
        let problem = format!("{:?} is not a key", key.get_ref());
        return Err(source.refuse(key, "server.guard", problem, GUARD));
    };
    let socket = component
        .as_ref()
        .map_or_else(|| PathBuf::from(COMPONENT_SOCKET), |it| it.get_ref().into());
    Ok(Some(WormholeConfig { socket, guard }))
}
