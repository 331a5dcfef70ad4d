//! The outside work of the certification authority: validations.
//!
//! This server only ever says yes: see [`crate::errands`], which tries again until then.

use super::Validator;
use crate::errands::{Errands, Try};
use maftia_activity::Task;
use maftia_base::ServiceId;
use maftia_base::wire::{Blob, Bytes, Wire};
use maftia_services::ca::{VALIDATED, Validation};
use std::sync::Arc;
use tracing::{debug, error, info};

/// A validation is new in its first tries, which take less than ten seconds if they fail at once.
pub const NEW_TRIES: u32 = 4;

/// Does validations.
#[derive(Clone, Debug)]
pub struct Validations(Arc<Validator>);

impl Validations {
    /// With this server's view of the outside.
    pub fn new(validator: Validator) -> Self {
        Self(Arc::new(validator))
    }
}

impl Errands for Validations {
    fn attempt(&self, service: ServiceId, task: &Task, number: u32) -> Try {
        let validation = match Validation::from_wire(Bytes::copy_from_slice(&task.what)) {
            Ok(validation) => validation,
            Err(why) => {
                error!(?service, %why, "a service wants work that is no validation");
                return Box::pin(std::future::pending());
            }
        };
        let validator = Arc::clone(&self.0);
        Box::pin(async move {
            match try_once(&validator, &validation, number).await {
                Ok(()) => Some(Blob::new(VALIDATED).expect("short")),
                Err(why) => {
                    let (subject, kind) = (&validation.identifier, validation.kind.name());
                    // The first time, and ever more rarely.
                    match (number + 1).is_power_of_two() {
                        true => info!(%subject, kind, number, %why, "not validated"),
                        false => debug!(%subject, kind, number, %why, "not validated"),
                    }
                    None
                }
            }
        })
    }
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
