//! Whatever is decoded: messages, records, evidence, certificates, snapshots.
//!
//! `tests/complete.rs` holds this table against the source: a codec that is neither here nor in
//! [`WITHIN`] is found.

use crate::bounded;
use bytes::Bytes;
use maftia_base::wire::Wire;

/// The types whose codec nobody outside of their module can name, and the target that reaches them.
pub const WITHIN: &[(&str, &str)] = &[
    ("EqualityProof", "crypto_coin_share"),
    ("ShareProof", "crypto_rsa_share"),
    ("Subject", "evidence_against_somebody"),
    ("Node", "group_keys"),
    ("RsaKeyFile", "group_keys"),
    ("SignatureKeyFile", "group_keys"),
    ("PartyShare", "coin_proof"),
    ("Cast", "multivalued_elections"),
    ("Link", "views_justification"),
    ("Executed", "replica_snapshot"),
    ("SessionImage", "replica_snapshot"),
    ("Entry", "replica_snapshot"),
    ("NumbersImage", "replica_snapshot"),
    ("RejoinsImage", "replica_snapshot"),
    ("LivesImage", "hybrid_snapshot"),
    ("HybridImage", "hybrid_snapshot"),
    ("HostedImage", "replica_snapshot"),
    ("StateImage", "replica_snapshot"),
    ("UnderWayImage", "replica_snapshot"),
    ("Clock", "replica_snapshot"),
    ("Sum", "ledger_snapshot"),
    ("UnsignedKind", "x509_unsigned"),
    ("AccountStatus", "ca_snapshot"),
    ("Account", "ca_snapshot"),
    ("Amendment", "ca_snapshot"),
    ("Audit", "ca_snapshot"),
    ("Authorization", "ca_snapshot"),
    ("Status", "ca_snapshot"),
    ("Progress", "ca_snapshot"),
    ("Challenge", "ca_snapshot"),
    ("Certificate", "ca_snapshot"),
    ("Count", "ca_snapshot"),
    ("Crl", "ca_snapshot"),
    ("Dates", "ca_snapshot"),
    ("Draft", "ca_snapshot"),
    ("Ending", "ca_snapshot"),
    ("Job", "ca_snapshot"),
    ("Kept", "ca_snapshot"),
    ("Motion", "ca_snapshot"),
    ("Order", "ca_snapshot"),
    ("Signing", "ca_snapshot"),
    ("Spent", "ca_snapshot"),
    ("SpentNonce", "ca_snapshot"),
    ("SpentNonces", "ca_snapshot"),
    ("State", "ca_snapshot"),
    ("Upkeep", "ca_snapshot"),
    ("Voices", "ca_snapshot"),
    ("Wish", "ca_snapshot"),
    ("Work", "ca_snapshot"),
    ("Table", "ca_snapshot"),
    ("Set", "ca_snapshot"),
    ("All", "ca_settings"),
    ("External", "ca_settings"),
    ("Kind", "ca_settings"),
    ("Rules", "ca_settings"),
    ("People", "ca_settings"),
    ("Head", "altered_journal"),
    ("Mark", "altered_journal"),
    ("Frame", "altered_journal"),
    ("Blob", "activity_item"),
    ("List", "activity_item"),
];

/// What decodes encodes again to the same bytes, and no other; and decoding takes no more memory
/// than the bytes are worth.
pub fn decodes<T: Wire>(bytes: &[u8]) {
    let input = Bytes::copy_from_slice(bytes);
    let Ok(value) = bounded(bytes.len(), || T::from_wire(input)) else { return };
    assert_eq!(value.encode_size(), bytes.len(), "the size that it says it has");
    assert_eq!(value.to_wire(), bytes, "one value has one encoding");
}

/// Hands `$apply!` all types with a codec, each with a name. The suite is that of production.
#[macro_export]
macro_rules! wire_types {
    ($apply:ident) => {
        $apply! {
            base_party: maftia_base::Party;
            base_party_set: maftia_base::PartySet;
            base_digest: maftia_base::Digest;
            base_group_id: maftia_base::GroupId;
            base_epoch: maftia_base::Epoch;
            base_service_id: maftia_base::ServiceId;
            base_reading: maftia_base::time::Reading;
            base_scope: maftia_base::Scope;
            base_statement_kind: maftia_base::StatementKind;
            base_place: maftia_base::Place;
            base_annotation: maftia_base::Annotation;
            base_statement: maftia_base::Statement;
            base_fault_kind: maftia_base::FaultKind;
            base_signed_statement: maftia_base::SignedStatement;
            base_evidence: maftia_base::Evidence;
            crypto_key_id: maftia_crypto::KeyId;
            crypto_hash_algorithm: maftia_crypto::HashAlgorithm;
            crypto_signing_input: maftia_crypto::SigningInput;
            crypto_client_key: maftia_crypto::ClientKey;
            crypto_client_signature: maftia_crypto::ClientSignature;
            crypto_ed25519_signature: maftia_crypto::Ed25519Signature;
            crypto_signed: maftia_crypto::Signed<Real>;
            crypto_coin_share: maftia_crypto::CoinShare;
            crypto_rsa_share: maftia_crypto::RsaShare;
            crypto_signed_share: maftia_crypto::SignedShare<Real, maftia_crypto::RsaShare>;
            cli_share_file: maftia::ca::ShareFile;
            crypto_ballot: maftia_crypto::Ballot<Real>;
            crypto_certificate: maftia_crypto::Certificate<Real>;
            crypto_party_keys: maftia_crypto::PartyKeys;
            crypto_group_keys: maftia_crypto::GroupKeys;
            crypto_commitment: maftia_crypto::Commitment;
            crypto_piece: maftia_crypto::Piece;
            crypto_attested: maftia_crypto::Attested<maftia_ttcb_api::Identifier>;
            crypto_certified_life: maftia_crypto::Attested<maftia_ttcb_api::BootKeys>;
            links_frame: maftia_links::Frame;
            links_packet: maftia_links::Packet<maftia_activity::Message<Real>>;
            reliable_message: maftia_agreement::broadcast::reliable::Message<u64>;
            reliable_record: maftia_agreement::broadcast::reliable::Record<u64>;
            consistent_message: maftia_agreement::broadcast::consistent::Message<Real, u64>;
            consistent_record: maftia_agreement::broadcast::consistent::Record<Real, u64>;
            coded_message: maftia_agreement::broadcast::coded::Message;
            coded_record: maftia_agreement::broadcast::coded::Record;
            dissemination_message: maftia_agreement::hybrid::dissemination::Message;
            dissemination_record: maftia_agreement::hybrid::dissemination::Record;
            coin_message: maftia_agreement::coin::Message<Real>;
            coin_record: maftia_agreement::coin::Record<Real>;
            coin_proof: maftia_agreement::coin::CoinProof<Real>;
            binary_round: maftia_agreement::binary::Round;
            binary_message: maftia_agreement::binary::Message<Real>;
            binary_record: maftia_agreement::binary::Record<Real>;
            binary_decision: maftia_agreement::binary::Decision<Real>;
            multivalued_view: maftia_agreement::multivalued::View;
            multivalued_step: maftia_agreement::multivalued::Step;
            multivalued_election: maftia_agreement::multivalued::Election<Real>;
            multivalued_elections: maftia_agreement::multivalued::Elections<Real>;
            multivalued_proof: maftia_agreement::multivalued::Proof<Real>;
            multivalued_decision: maftia_agreement::multivalued::Decision<Real>;
            multivalued_basis: maftia_agreement::multivalued::Basis<Real>;
            multivalued_choice: maftia_agreement::multivalued::Choice<Real, Heads>;
            multivalued_message: maftia_agreement::multivalued::Message<Real, Heads>;
            multivalued_record: maftia_agreement::multivalued::Record<Real, Heads>;
            hybrid_life: maftia_agreement::hybrid::Life;
            placed_decision: maftia_agreement::hybrid::placed::Decision;
            placed_message: maftia_agreement::hybrid::placed::Message<u64>;
            placed_record: maftia_agreement::hybrid::placed::Record<u64>;
            views_view: maftia_agreement::hybrid::views::View;
            views_justification: maftia_agreement::hybrid::views::Justification;
            views_decision: maftia_agreement::hybrid::views::Decision;
            views_prepare: maftia_agreement::hybrid::views::Prepare<u64>;
            views_enter: maftia_agreement::hybrid::views::Enter<u64>;
            views_message: maftia_agreement::hybrid::views::Message<u64>;
            views_record: maftia_agreement::hybrid::views::Record<u64>;
            hybrid_start: maftia_agreement::hybrid::Start;
            hybrid_proof: maftia_agreement::hybrid::Proof;
            multicast_message: maftia_agreement::hybrid::multicast::Message<u64>;
            multicast_record: maftia_agreement::hybrid::multicast::Record<u64>;
            simple_decision: maftia_agreement::hybrid::simple::Decision;
            simple_message: maftia_agreement::hybrid::simple::Message<u64>;
            simple_record: maftia_agreement::hybrid::simple::Record<u64>;
            vector_entries: maftia_agreement::hybrid::vector::Entries;
            vector_message: maftia_agreement::hybrid::vector::Message<u64>;
            vector_record: maftia_agreement::hybrid::vector::Record<u64>;
            ordered_item: maftia_agreement::hybrid::ordered::Item<u64>;
            ordered_shown: maftia_agreement::hybrid::ordered::Shown<u64>;
            ordered_message: maftia_agreement::hybrid::ordered::Message<u64>;
            ordered_record: maftia_agreement::hybrid::ordered::Record<u64>;
            checkpoint_mark: maftia_agreement::checkpoint::Mark;
            checkpoint_checkpoint: maftia_agreement::checkpoint::Checkpoint<Real>;
            checkpoint_message: maftia_agreement::checkpoint::Message<Real>;
            checkpoint_record: maftia_agreement::checkpoint::Record<Real>;
            atomic_height: maftia_agreement::atomic::Height;
            atomic_round: maftia_agreement::atomic::Round;
            atomic_items: maftia_agreement::atomic::Items;
            atomic_predecessor: maftia_agreement::atomic::Predecessor<Real>;
            atomic_batch: maftia_agreement::atomic::Batch<Real>;
            atomic_batch_vote: maftia_agreement::atomic::BatchVote<Real>;
            atomic_head: maftia_agreement::atomic::Head<Real>;
            atomic_heads: maftia_agreement::atomic::Heads<Real>;
            atomic_archive_key: maftia_agreement::atomic::ArchiveKey;
            atomic_leaders: maftia_agreement::atomic::Leaders;
            atomic_round_decision: maftia_agreement::atomic::RoundDecision<Real>;
            atomic_agree_message: maftia_agreement::atomic::AgreeMessage<Real>;
            atomic_agree_record: maftia_agreement::atomic::AgreeRecord<Real>;
            atomic_frontier: maftia_agreement::atomic::Frontier<Real>;
            atomic_decided_round: maftia_agreement::atomic::DecidedRound<Real>;
            atomic_message: maftia_agreement::atomic::Message<Real>;
            atomic_record: maftia_agreement::atomic::Record<Real>;
            epochs_message: maftia_agreement::atomic::epochs::Message<Real>;
            epochs_record: maftia_agreement::atomic::epochs::Record<Real>;
            activity_task_id: maftia_activity::TaskId;
            activity_task: maftia_activity::Task;
            activity_agreed_time: maftia_activity::AgreedTime;
            activity_nonce: maftia_activity::Nonce;
            activity_admission: maftia_activity::Admission;
            activity_held: maftia_activity::Held;
            activity_testimony: maftia_activity::Testimony;
            activity_signed_testimony: maftia_activity::SignedTestimony<Real>;
            activity_session_id: maftia_activity::SessionId;
            activity_ask: maftia_activity::Ask;
            activity_client_bundle: maftia_activity::ClientBundle;
            activity_front_end_request: maftia_activity::FrontEndRequest;
            activity_server_command: maftia_activity::ServerCommand;
            activity_item: maftia_activity::Item;
            activity_refusal: maftia_activity::Refusal;
            activity_reply_body: maftia_activity::ReplyBody;
            activity_sequenced_reply: maftia_activity::SequencedReply;
            activity_threshold_reply: maftia_activity::ThresholdReply;
            activity_reply_bundle: maftia_activity::ReplyBundle<Real>;
            activity_accusation: maftia_activity::Accusation;
            activity_manifest: maftia_activity::Manifest<Real>;
            activity_piece: maftia_activity::Piece;
            activity_value_id: maftia_activity::ValueId;
            activity_carried: maftia_activity::Carried<
                maftia_agreement::broadcast::coded::Message,
                maftia_agreement::hybrid::dissemination::Message,
            >;
            activity_values_message: maftia_activity::ValuesMessage;
            activity_values_record: maftia_activity::ValuesRecord;
            activity_transfer_message: maftia_activity::TransferMessage<Real>;
            activity_signing_message: maftia_activity::SigningMessage<Real>;
            activity_halt: maftia_activity::Halt;
            activity_message: maftia_activity::Message<Real>;
            activity_record: maftia_activity::Record<Real>;
            ca_dns_name: maftia_services::ca::DnsName;
            ca_identifier: maftia_services::ca::Identifier;
            ca_jwk: maftia_services::ca::jose::Jwk;
            ca_problem_type: maftia_services::ca::ProblemType;
            ca_acme_reply: maftia_services::ca::AcmeReply;
            ca_audit_entry: maftia_services::ca::AuditEntry;
            ca_audit_event: maftia_services::ca::AuditEvent;
            ca_answer: maftia_services::ca::CaAnswer;
            ca_query: maftia_services::ca::CaQuery;
            ca_read: maftia_services::ca::CaRead;
            ca_refusal: maftia_services::ca::CaRefusal;
            ca_request: maftia_services::ca::CaRequest;
            ca_task: maftia_services::ca::CaTask;
            ca_certificate_view: maftia_services::ca::CertificateView;
            ca_challenge_kind: maftia_services::ca::ChallengeKind;
            ca_content: maftia_services::ca::Content;
            ca_limits: maftia_services::ca::Limits;
            ca_link: maftia_services::ca::Link;
            ca_log_page: maftia_services::ca::LogPage;
            ca_nonce: maftia_services::ca::Nonce;
            ca_nonce_key: maftia_services::ca::NonceKey;
            ca_officer_command: maftia_services::ca::OfficerCommand;
            ca_pending_order: maftia_services::ca::PendingOrder;
            ca_periods: maftia_services::ca::Periods;
            ca_policy_view: maftia_services::ca::PolicyView;
            ca_proof: maftia_services::ca::Proof;
            ca_relation: maftia_services::ca::Relation;
            ca_revocation: maftia_services::ca::Revocation;
            ca_revoked_by: maftia_services::ca::RevokedBy;
            ca_standing: maftia_services::ca::Standing;
            ca_validation: maftia_services::ca::Validation;
            ca_policy_wish: maftia_services::ca::PolicyWish;
            x509_usage: maftia_services::x509::Usage;
            notary_token_body: maftia_services::notary::TokenBody;
            x509_unsigned: maftia_services::x509::Unsigned;
            x509_serial: maftia_services::x509::Serial;
            x509_reason: maftia_services::x509::Reason;
            x509_revoked: maftia_services::x509::Revoked;
            x509_certificate_status: maftia_services::x509::CertificateStatus;
            ledger_ledger: maftia_services::ledger::Ledger;
        }
    };
}
