//! The outside work of the certification authority: validations, and its operator's wishes.
//!
//! This server only ever says yes: see [`crate::errands`], which tries again until then.

use super::Validator;
use crate::errands::{ErrandResult, Errands, Try};
use maftia_activity::Task;
use maftia_base::wire::{Blob, Bytes, Wire};
use maftia_base::{Digest, ServiceId};
use maftia_services::ca::{CaTask, POLICY_BYTES_MAX, VALIDATED, Validation, policy_digest};
use std::sync::Arc;
use tracing::{debug, error, info, warn};

/// A validation is new in its first tries, which take less than ten seconds if they fail at once.
pub const NEW_TRIES: u32 = 4;

/// Does validations, and says which policy this server's operator has written.
#[derive(Clone, Debug)]
pub struct Validations {
    validator: Arc<Validator>,
    policy: Blob<POLICY_BYTES_MAX>,
}

impl Validations {
    /// With this server's view of the outside, and this policy.
    pub fn new(validator: Validator, policy: Blob<POLICY_BYTES_MAX>) -> Self {
        Self { validator: Arc::new(validator), policy }
    }

    /// What this server would rather have than the policy that is so named.
    fn rather(&self, present: Digest) -> Try {
        let own = policy_digest(&self.policy);
        if own == present {
            info!(policy = %own, "the group goes by the policy that this server has");
            return Box::pin(std::future::pending());
        }
        warn!(
            %present, %own,
            "this server's ca.toml or certificates are not those that the group goes by; they are \
             once enough servers have the same"
        );
        Box::pin(std::future::ready(Blob::new(self.policy.bytes().clone())))
    }
}

impl Errands for Validations {
    fn attempt(&self, service: ServiceId, task: &Task, number: u32) -> Try {
        match CaTask::from_wire(Bytes::copy_from_slice(&task.what)) {
            Ok(CaTask::Validation(validation)) => {
                let validator = Arc::clone(&self.validator);
                Box::pin(async move { validated(&validator, &validation, number).await })
            }
            Ok(CaTask::Policy { digest }) => self.rather(digest),
            Err(why) => {
                error!(?service, %why, "a service wants work that is not known");
                Box::pin(std::future::pending())
            }
        }
    }
}

async fn validated(
    validator: &Validator,
    validation: &Validation,
    number: u32,
) -> Option<ErrandResult> {
    let Err(why) = try_once(validator, validation, number).await else {
        return Some(Blob::new(VALIDATED).expect("short"));
    };
    let (subject, kind) = (&validation.identifier, validation.kind.name());
    // The first time, and ever more rarely.
    match (number + 1).is_power_of_two() {
        true => info!(%subject, kind, number, %why, "not validated"),
        false => debug!(%subject, kind, number, %why, "not validated"),
    }
    None
}

async fn try_once(
    validator: &Validator,
    validation: &Validation,
    number: u32,
) -> Result<(), super::Why> {
    let Validation { kind, identifier, token, key_authorization, .. } = validation;
    let text = |bytes| {
        let text = std::str::from_utf8(bytes);
        text.map_err(|_| super::Why::Unsuitable("the challenge is no text"))
    };
    let (token, key_authorization) = (text(&token[..])?, text(&key_authorization[..])?);
    let is_new = number < NEW_TRIES;
    validator.validate(is_new, *kind, identifier, token, key_authorization).await?;
    info!(subject = %identifier, kind = kind.name(), number, "validated");
    Ok(())
}
