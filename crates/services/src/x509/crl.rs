//! Revocation lists.

use super::encoding::{extension, sha256_with_rsa, time};
use super::unsigned::UnsignedKind;
use super::{CertificateError, Issuer, REVOKED_MAX, Serial, Unsigned};
use der::asn1::Uint;
use maftia_base::wire::{wire_enum, wire_struct};
use std::collections::BTreeMap;
use x509_cert::Version;
use x509_cert::crl::{RevokedCert, TbsCertList};
use x509_cert::ext::pkix::{CrlNumber, CrlReason};

/// Why the certificate of a host was revoked: those reasons of RFC 5280 that fit one, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// None was given.
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// The host now belongs to somebody else.
    AffiliationChanged,
    /// There is a new one.
    Superseded,
    /// The host is no more.
    CessationOfOperation,
    /// The authority no longer stands by it.
    PrivilegeWithdrawn,
}

wire_enum!(Reason {
    0 => Unspecified,
    1 => KeyCompromise,
    3 => AffiliationChanged,
    4 => Superseded,
    5 => CessationOfOperation,
    9 => PrivilegeWithdrawn,
});

impl Reason {
    /// From its number in RFC 5280; `None` for a reason that authorities, attribute certificates or
    /// revocations for a while have.
    pub fn from_code(code: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Unspecified,
            1 => Self::KeyCompromise,
            3 => Self::AffiliationChanged,
            4 => Self::Superseded,
            5 => Self::CessationOfOperation,
            9 => Self::PrivilegeWithdrawn,
            _ => return None,
        })
    }

    /// As lists and responses say it: not at all if there is none.
    pub(super) fn stated(self) -> Option<CrlReason> {
        match self {
            Self::Unspecified => None,
            Self::KeyCompromise => Some(CrlReason::KeyCompromise),
            Self::AffiliationChanged => Some(CrlReason::AffiliationChanged),
            Self::Superseded => Some(CrlReason::Superseded),
            Self::CessationOfOperation => Some(CrlReason::CessationOfOperation),
            Self::PrivilegeWithdrawn => Some(CrlReason::PrivilegeWithdrawn),
        }
    }
}

/// A certificate that is not to be believed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revoked {
    /// Its number.
    pub serial: Serial,
    /// Since when: seconds since 1970-01-01 UTC.
    pub at: u64,
    /// Why.
    pub reason: Reason,
}

wire_struct!(Revoked { serial, at, reason });

impl Issuer {
    /// The full list of what is revoked, in the order of serial numbers. `number` grows from list
    /// to list. Of several entries with one serial number the earliest stands.
    pub fn crl(
        &self,
        number: u64,
        this_update: u64,
        next_update: u64,
        revoked: &[Revoked],
    ) -> Result<Unsigned, CertificateError> {
        let mut entries = BTreeMap::new();
        for entry in revoked {
            let earliest = entries.entry(entry.serial).or_insert(*entry);
            *earliest = (*earliest).min(*entry);
        }
        if entries.len() > REVOKED_MAX {
            return Err(CertificateError::Revoked);
        }
        if this_update >= next_update {
            return Err(CertificateError::Validity);
        }
        let entries: Vec<_> = entries.into_values().map(listed).collect::<Result<_, _>>()?;
        let list = TbsCertList {
            version: Version::V2,
            signature: sha256_with_rsa(),
            issuer: self.name.clone(),
            this_update: time(this_update)?,
            next_update: Some(time(next_update)?),
            // An empty list is not written.
            revoked_certificates: (!entries.is_empty()).then_some(entries),
            crl_extensions: Some(vec![
                extension(false, &self.authority_key_identifier()?)?,
                extension(false, &CrlNumber(Uint::new(&number.to_be_bytes())?))?,
            ]),
        };
        Ok(Unsigned::new(UnsignedKind::RevocationList, &list)?)
    }
}

fn listed(revoked: Revoked) -> Result<RevokedCert, CertificateError> {
    let reason = revoked.reason.stated().map(|reason| extension(false, &reason)).transpose()?;
    Ok(RevokedCert {
        serial_number: revoked.serial.number(),
        revocation_date: time(revoked.at)?,
        crl_entry_extensions: reason.map(|reason| vec![reason]),
    })
}
