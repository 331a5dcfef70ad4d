//! Which number a guard has given out since it was opened, and for which keys. (G1)

use crate::error::GuardError;
use maftia_ttcb_api::BootKeys;

/// The boot that is being certified.
#[derive(Debug, Default)]
pub(crate) struct Life {
    epoch: Option<u64>,
    certified: Option<BootKeys>,
}

impl Life {
    /// A number was given out; nothing is certified for it yet.
    pub(crate) fn begin(&mut self, epoch: u64) {
        let previous = self.epoch.replace(epoch);
        let grew = previous.is_none_or(|previous| previous < epoch);
        assert!(grew, "a back end checks that its counter grew before it gives the number out");
        self.certified = None;
    }

    /// The number that was given out last.
    #[cfg(any(feature = "pkcs11", feature = "card"))]
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// May these keys be certified? If so they are the only ones of their number.
    pub(crate) fn admit(&mut self, keys: &BootKeys) -> Result<(), GuardError> {
        let epoch = self.epoch.ok_or(GuardError::NoEpoch)?;
        if keys.epoch != epoch {
            return Err(GuardError::WrongEpoch { asked: keys.epoch, current: epoch });
        }
        if self.certified.is_some_and(|certified| certified != *keys) {
            return Err(GuardError::EpochUsed { epoch });
        }
        self.certified = Some(*keys);
        Ok(())
    }
}
