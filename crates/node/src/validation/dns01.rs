//! `dns-01` (RFC 8555 8.4): one of the TXT records of `_acme-challenge` below the name is the
//! digest of the key authorization.
//!
//! Aliases are followed, by this server where its resolvers do not. A record in several pieces
//! counts as one. Others beside the right one do not matter, as several accounts may be validated
//! at once, up to [`TEXTS_MAX`] of them.

use super::{Outside, Why, beginning};
use base64ct::{Base64UrlUnpadded, Encoding};

/// So many records are compared.
pub const TEXTS_MAX: usize = 256;

/// Looks once. (V2)
pub(super) async fn look(outside: &Outside, base: &str, digest: &[u8; 32]) -> Result<(), Why> {
    let expected = Base64UrlUnpadded::encode_string(digest);
    let mut texts = outside.hosts.texts(&format!("_acme-challenge.{base}")).await?;
    texts.truncate(TEXTS_MAX);
    if texts.iter().any(|text| text == expected.as_bytes()) {
        return Ok(());
    }
    let others: Vec<String> = texts.iter().take(4).map(|text| beginning(text)).collect();
    Err(Why::Found(others.join(", ")))
}
