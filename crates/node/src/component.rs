//! What operators are told of a server's trusted component: whether there is a session with it, and
//! what it says of itself. Nothing in the server rests on it.
//!
//! # Bounds
//! Of what comes from the component's status socket at most [`SAID_BYTES_MAX`] are read, for at
//! most [`PATIENCE`], once in [`LOOK_EVERY`].

use crate::wormhole::{Life, WormholeConfig};
use maftia_ttcb_api::BootKeys;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// Most bytes that are read of what a component says of itself.
pub const SAID_BYTES_MAX: u64 = 32 << 10;

/// How long a component may take to say it.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is asked.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What of it is of use to whoever looks at a whole group.
const PASSED_ON: [&str; 5] = ["serving", "guard", "barriers", "peers", "clock"];

/// How a server stands with its trusted component.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ComponentStatus {
    /// Is there a session with it?
    pub connected: bool,
    /// With which life the last session was, as `maftia-ttcb status` names it.
    pub boot: String,
    /// The guard's number of that life.
    pub epoch: u64,
    /// What the component says of itself; `None` if it says nothing.
    pub said: Option<Map<String, Value>>,
}

/// Where the latest can be seen from any thread: `None` in a group without trusted components.
#[derive(Clone, Debug, Default)]
pub struct ComponentBoard(Arc<Mutex<Option<ComponentStatus>>>);

impl ComponentBoard {
    /// The latest.
    pub fn read(&self) -> Option<ComponentStatus> {
        self.lock().clone()
    }

    /// There is a session with this life.
    pub fn connected(&self, life: &Life) {
        let keys: &BootKeys = &life.boot.said;
        let mut place = self.lock();
        let status = place.get_or_insert_default();
        status.connected = true;
        (status.boot, status.epoch) = (format!("{:016x}", keys.boot().0), keys.epoch);
    }

    /// The session has ended.
    pub fn disconnected(&self) {
        self.lock().get_or_insert_default().connected = false;
    }

    fn heard(&self, said: Option<Map<String, Value>>) {
        self.lock().get_or_insert_default().said = said;
    }

    fn lock(&self) -> MutexGuard<'_, Option<ComponentStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the component how it is, again and again.
pub async fn look_at(config: WormholeConfig, board: ComponentBoard) {
    loop {
        board.heard(timeout(PATIENCE, ask(&config.status)).await.ok().flatten());
        sleep(LOOK_EVERY).await;
    }
}

async fn ask(socket: &Path) -> Option<Map<String, Value>> {
    let stream = UnixStream::connect(socket).await.ok()?;
    let mut text = Vec::new();
    stream.take(SAID_BYTES_MAX).read_to_end(&mut text).await.ok()?;
    let said: Map<String, Value> = serde_json::from_slice(&text).ok()?;
    Some(said.into_iter().filter(|(key, _)| PASSED_ON.contains(&key.as_str())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixListener;

    /// What is made of what somebody says at the socket.
    async fn heard(said: &[u8]) -> Option<Map<String, Value>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status");
        let listener = UnixListener::bind(&path).unwrap();
        let tell = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Who has heard enough hangs up.
            let _ = stream.write_all(said).await;
        };
        tokio::join!(ask(&path), tell).0
    }

    #[tokio::test]
    async fn what_is_no_status_is_not_passed_on_and_what_is_only_in_part() {
        let said = heard(br#"{"barriers":{},"clock":null,"answers":7}"#).await.unwrap();
        assert_eq!(said.keys().collect::<Vec<_>>(), ["barriers", "clock"]);
        assert_eq!(heard(b"7").await, None);
        assert_eq!(heard(&[b' '; 1 << 20]).await, None);
        assert_eq!(ask(Path::new("/nowhere")).await, None);
    }
}
