//! The front end of the notary: RFC 3161 in, RFC 3161 out.

use crate::http::FrontEnd;
use bytes::Bytes;
use maftia_activity::FrontEndReply;
use maftia_base::ServiceId;
use maftia_services::NOTARY;
use maftia_services::notary::{Profile, QUERY_MEDIA_TYPE, REPLY_MEDIA_TYPE, Rejection};
use tracing::error;

/// Serves time stamps.
#[derive(Clone, Debug)]
pub struct NotaryFrontEnd {
    profile: Profile,
}

impl NotaryFrontEnd {
    /// The front end of the notary that all servers of the group run with `profile`.
    pub fn new(profile: Profile) -> Self {
        Self { profile }
    }
}

impl FrontEnd for NotaryFrontEnd {
    fn request_type(&self) -> &'static str {
        QUERY_MEDIA_TYPE
    }

    fn reply_type(&self) -> &'static str {
        REPLY_MEDIA_TYPE
    }

    fn request(&self, body: Bytes) -> Result<(ServiceId, Bytes), Vec<u8>> {
        match self.profile.screen(&body) {
            Ok(()) => Ok((NOTARY, body)),
            Err(rejection) => Err(rejection.response()),
        }
    }

    fn too_long(&self) -> Vec<u8> {
        Rejection::BadDataFormat.response()
    }

    fn reply(&self, reply: FrontEndReply) -> Vec<u8> {
        match reply {
            FrontEndReply::Plain(body) => body.to_vec(),
            FrontEndReply::Signed { body, signature, .. } => {
                self.profile.respond(body, &signature).unwrap_or_else(|error| {
                    error!(%error, "a token that the group signed cannot be encoded");
                    Rejection::SystemFailure.response()
                })
            }
            FrontEndReply::Refused(_) => Rejection::SystemFailure.response(),
        }
    }
}
