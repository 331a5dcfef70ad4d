//! What is answered without changing anything.
//!
//! # Promise
//! - *From the state alone*: two servers in the same state answer the same.
//! - *Nothing new*: whatever matters in such an answer is signed by the group (OCSP responses, the
//!   revocation list), or may be late without harm (renewal information).

use super::Authority;
use super::officers::officers_of;
use super::wire::{CaAnswer, CaQuery, CaRead, CaRefusal, CertificateView};
use crate::x509::Serial;

impl Authority {
    /// Answers what one server answers alone.
    pub(super) fn answer_read(&self, query: &CaRead) -> CaAnswer {
        match query {
            CaRead::Ocsp { serial } => match self.state.certificates.get(serial) {
                None => CaAnswer::Refused(CaRefusal::Unknown),
                Some(certificate) => match &certificate.ocsp {
                    None => CaAnswer::Refused(CaRefusal::NotYet),
                    Some(response) => CaAnswer::Ocsp(response.clone()),
                },
            },
            CaRead::Crl => match &self.state.crl.list {
                None => CaAnswer::Refused(CaRefusal::NotYet),
                Some(list) => CaAnswer::Crl(list.clone()),
            },
            CaRead::RenewalInfo { certificate } => CaAnswer::Acme(self.renewal_info(certificate)),
            CaRead::Order { order } => match self.state.orders.get(order) {
                None => CaAnswer::Refused(CaRefusal::Unknown),
                Some(found) => CaAnswer::Acme(self.order_reply(*order, found)),
            },
            CaRead::Query(query) => self.answer(*query),
        }
    }

    /// Answers what can be ordered as well.
    pub(super) fn answer(&self, query: CaQuery) -> CaAnswer {
        match query {
            CaQuery::Log { from } => CaAnswer::Log(self.state.audit.page(from)),
            CaQuery::Inspect { serial } => match self.inspect(serial) {
                None => CaAnswer::Refused(CaRefusal::Unknown),
                Some(view) => CaAnswer::Certificate(view),
            },
            CaQuery::Policy => CaAnswer::Policy(self.policy_view()),
            CaQuery::Pending { from } => CaAnswer::Pending(self.pending(from)),
        }
    }

    fn inspect(&self, serial: Serial) -> Option<CertificateView> {
        let certificate = self.state.certificates.get(&serial)?;
        Some(CertificateView {
            certificate: certificate.der.clone(),
            account: certificate.account,
            order: certificate.order,
            proofs: certificate.proofs.clone(),
            approvals: officers_of(certificate.approvals),
            issued: certificate.issued,
            entry: certificate.entry,
            revocation: certificate.revocation,
        })
    }
}
