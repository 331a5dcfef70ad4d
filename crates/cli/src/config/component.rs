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

/// How the socket is called at which they say how they are, in the same folder.
const STATUS_SOCKET: &str = "status.sock";

/// The component that listens there, and says beside it how it is unless that is elsewhere.
pub fn component_at(socket: PathBuf, guard: [u8; 32], status: Option<PathBuf>) -> WormholeConfig {
    let status = status.unwrap_or_else(|| socket.with_file_name(STATUS_SOCKET));
    WormholeConfig { socket, status, guard }
}

/// A server's trusted component: none in the asynchronous configuration, where none may be named,
/// so that nobody takes a group for a hybrid one that is not.
pub(super) fn check(
    source: &Source<'_>,
    entry: &Spanned<Server>,
    is_hybrid: bool,
) -> Result<Option<WormholeConfig>, ConfigError> {
    const REMEDY: &str = "configuration = \"hybrid\", or no trusted components";
    let Server { guard, component, component_status, .. } = entry.get_ref();
    if !is_hybrid {
        let problem = "the asynchronous configuration has no trusted components";
        if let Some(guard) = guard {
            return Err(source.refuse(guard, "server.guard", problem, REMEDY));
        }
        if let Some(component) = component {
            return Err(source.refuse(component, "server.component", problem, REMEDY));
        }
        if let Some(status) = component_status {
            return Err(source.refuse(status, "server.component_status", problem, REMEDY));
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
    let status = component_status.as_ref().map(|it| it.get_ref().into());
    Ok(Some(component_at(socket, guard, status)))
}
