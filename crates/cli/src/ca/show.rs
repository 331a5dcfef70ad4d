//! The authority's records, for people and for programs.

use crate::Failure;
use crate::config::GroupConfig;
use maftia_base::{Digest, Party, PartySet};
use maftia_services::ca::{
    AuditEntry, AuditEvent, CertificateView, Identifier, OfficerCommand, PendingOrder, PolicyView,
    PolicyWish, Proof, Revocation, RevokedBy,
};
use maftia_services::x509::{Reason, Serial, to_pem};
use openssl::asn1::Asn1Time;
use serde_json::{Value, json};

/// One entry of the log, on a line.
pub(super) fn entry(config: &GroupConfig, entry: &AuditEntry) -> String {
    format!("{:6} {} {}", entry.number, time(entry.at), event(config, &entry.event))
}

/// The same for a program.
pub(super) fn entry_json(config: &GroupConfig, entry: &AuditEntry) -> Value {
    let (kind, about) = event_json(config, &entry.event);
    let text = event(config, &entry.event);
    json!({ "number": entry.number, "at": entry.at, "event": kind, "about": about, "text": text })
}

fn event_json(config: &GroupConfig, event: &AuditEvent) -> (&'static str, Value) {
    let hex = |bytes: &[u8]| const_hex::encode(bytes);
    match event {
        AuditEvent::AccountCreated { account, thumbprint, front_end, binding } => {
            let binding = binding.as_ref().map(|binding| String::from_utf8_lossy(binding));
            let front_end = name(config, *front_end);
            let thumbprint = hex(thumbprint);
            let about = json!({ "account": account, "thumbprint": thumbprint,
                "front_end": front_end, "binding": binding });
            ("account-created", about)
        }
        AuditEvent::AccountKeyChanged { account, thumbprint } => {
            let about = json!({ "account": account, "thumbprint": hex(thumbprint) });
            ("account-key-changed", about)
        }
        AuditEvent::AccountDeactivated { account } => {
            ("account-deactivated", json!({ "account": account }))
        }
        AuditEvent::OrderCreated { order, account, names, digest } => {
            let digest = digest.to_string();
            let about =
                json!({ "order": order, "account": account, "names": names, "digest": digest });
            ("order-created", about)
        }
        AuditEvent::VoteCast { authorization, kind, party } => {
            let about = json!({ "authorization": authorization, "challenge": kind.name(),
                "server": name(config, *party) });
            ("vote-cast", about)
        }
        AuditEvent::Validated {
            authorization,
            account,
            identifier: subject,
            kind,
            voters: who,
        } => {
            let about = json!({ "authorization": authorization, "account": account,
                "identifier": identifier(subject), "challenge": kind.name(),
                "voters": voters(config, *who) });
            ("validated", about)
        }
        AuditEvent::AuthorizationDeactivated { authorization } => {
            ("authorization-deactivated", json!({ "authorization": authorization }))
        }
        AuditEvent::OfficerSpoke { officer, command: said, is_done } => {
            let about = json!({ "officer": officer, "said": command(*said), "done": is_done });
            ("officer-spoke", about)
        }
        AuditEvent::Issued { serial, order, account, sha256 } => {
            let about = json!({ "serial": serial.to_string(), "order": order,
                "account": account, "sha256": hex(sha256) });
            ("issued", about)
        }
        AuditEvent::PolicyChanged { digest, voters: who } => {
            let about = json!({ "digest": digest.to_string(), "voters": voters(config, *who) });
            ("policy-changed", about)
        }
        AuditEvent::Revoked { serial, reason: why, by } => {
            let about = json!({ "serial": serial.to_string(), "reason": reason(*why),
                "by": revoked_by(*by) });
            ("revoked", about)
        }
    }
}

fn event(config: &GroupConfig, event: &AuditEvent) -> String {
    let hex = |bytes: &[u8]| const_hex::encode(bytes);
    match event {
        AuditEvent::AccountCreated { account, thumbprint, front_end, binding } => {
            let binding = binding.as_ref().map_or(String::new(), |binding| {
                format!(", bound to {:?}", String::from_utf8_lossy(binding))
            });
            let front_end = name(config, *front_end);
            format!("account {account} by key {}, through {front_end}{binding}", hex(thumbprint))
        }
        AuditEvent::AccountKeyChanged { account, thumbprint } => {
            format!("account {account} has key {}", hex(thumbprint))
        }
        AuditEvent::AccountDeactivated { account } => format!("account {account} deactivated"),
        AuditEvent::OrderCreated { order, account, names, digest } => {
            format!("order {order} of account {account}: {names} names, digest {digest}")
        }
        AuditEvent::VoteCast { authorization, kind, party } => {
            let party = name(config, *party);
            format!("authorization {authorization}: {party} has validated {}", kind.name())
        }
        AuditEvent::Validated { authorization, account, identifier, kind, voters } => format!(
            "authorization {authorization} of account {account}: {} valid by {}, seen by {}",
            identifier.acme_value(),
            kind.name(),
            config.names(*voters)
        ),
        AuditEvent::AuthorizationDeactivated { authorization } => {
            format!("authorization {authorization} deactivated")
        }
        AuditEvent::OfficerSpoke { officer, command: said, is_done } => {
            let done = if *is_done { "; done" } else { "" };
            format!("officer {officer}: {}{done}", command(*said))
        }
        AuditEvent::Issued { serial, order, account, sha256 } => format!(
            "certificate {serial} for order {order} of account {account}, SHA-256 {}",
            hex(sha256)
        ),
        AuditEvent::PolicyChanged { digest, voters } => {
            format!("policy {digest}, wanted by {}", config.names(*voters))
        }
        AuditEvent::Revoked { serial, reason: why, by } => {
            format!("certificate {serial} revoked by {}: {}", revoked_by(*by), reason(*why))
        }
    }
}

fn command(command: OfficerCommand) -> String {
    match command {
        OfficerCommand::Approve { order } => format!("approve order {order}"),
        OfficerCommand::Refuse { order } => format!("refuse order {order}"),
        OfficerCommand::Revoke { serial, reason: why } => {
            format!("revoke certificate {serial}: {}", reason(why))
        }
        OfficerCommand::Suspend { account } => format!("suspend account {account}"),
    }
}

/// Everything about a certificate, and the certificate.
pub(super) fn certificate(
    config: &GroupConfig,
    serial: Serial,
    view: &CertificateView,
) -> Result<String, Failure> {
    let mut text = format!(
        "certificate {serial}, issued {} to account {} for order {} (entry {} of the log)\n",
        time(view.issued),
        view.account,
        view.order,
        view.entry
    );
    for Proof { identifier, authorization, kind, voters, at } in view.proofs.iter() {
        text += &format!(
            "{}: {} at {}, seen by {} (authorization {authorization})\n",
            identifier.acme_value(),
            kind.name(),
            time(*at),
            config.names(*voters),
        );
    }
    if !view.approvals.is_empty() {
        let officers: Vec<String> = view.approvals.iter().map(u8::to_string).collect();
        text += &format!("approved by officers {}\n", officers.join(", "));
    }
    if let Some(Revocation { at, reason: why, by }) = view.revocation {
        text += &format!("revoked {} by {}: {}\n", time(at), revoked_by(by), reason(why));
    }
    let pem = to_pem(&view.certificate).map_err(|error| Failure::because(error.to_string()))?;
    Ok(text + &pem)
}

/// The same for a program.
pub(super) fn certificate_json(
    config: &GroupConfig,
    serial: Serial,
    view: &CertificateView,
) -> Value {
    let proof = |proof: &Proof| {
        json!({
            "identifier": identifier(&proof.identifier),
            "authorization": proof.authorization,
            "challenge": proof.kind.name(),
            "voters": voters(config, proof.voters),
            "at": proof.at,
        })
    };
    let revocation = view.revocation.map(|Revocation { at, reason: why, by }| {
        json!({ "at": at, "reason": reason(why), "by": revoked_by(by) })
    });
    json!({
        "serial": serial.to_string(),
        "account": view.account,
        "order": view.order,
        "issued": view.issued,
        "entry": view.entry,
        "proofs": view.proofs.iter().map(proof).collect::<Vec<_>>(),
        "approvals": view.approvals.to_vec(),
        "revocation": revocation,
        "certificate": to_pem(&view.certificate).ok(),
    })
}

/// The policy that the group goes by, and whether it is this folder's own.
pub(super) fn policy(config: &GroupConfig, view: &PolicyView, own: Option<Digest>) -> String {
    let mut text = format!("the group goes by policy {}\n", view.digest);
    text += match own {
        None => "this folder has none of its own to compare\n",
        Some(own) if own == view.digest => "this folder has the same\n",
        Some(_) => "this folder has another one: its server asks for that when it runs\n",
    };
    for PolicyWish { party, digest } in view.wanted.iter() {
        text += &format!("{} wants {digest}\n", name(config, *party));
    }
    text
}

/// The same for a program.
pub(super) fn policy_json(config: &GroupConfig, view: &PolicyView, own: Option<Digest>) -> Value {
    let wish = |PolicyWish { party, digest }: &PolicyWish| {
        let (server, digest) = (name(config, *party), digest.to_string());
        json!({ "server": server, "digest": digest })
    };
    json!({
        "digest": view.digest.to_string(),
        "own": own.map(|own| own.to_string()),
        "wanted": view.wanted.iter().map(wish).collect::<Vec<_>>(),
        "expires": view.expires,
    })
}

/// An order that waits for officers, on a line.
pub(super) fn pending(order: &PendingOrder) -> String {
    let names: Vec<String> = order.names.iter().map(Identifier::acme_value).collect();
    format!(
        "order {} of account {} (key {}), until {}: {}; {} approve, {} refuse",
        order.order,
        order.account,
        const_hex::encode(order.thumbprint),
        time(order.expires),
        names.join(", "),
        order.approvals.len(),
        order.refusals.len()
    )
}

/// The same for a program.
pub(super) fn pending_json(order: &PendingOrder) -> Value {
    json!({
        "order": order.order,
        "account": order.account,
        "thumbprint": const_hex::encode(order.thumbprint),
        "identifiers": order.names.iter().map(identifier).collect::<Vec<_>>(),
        "expires": order.expires,
        "approvals": order.approvals.to_vec(),
        "refusals": order.refusals.to_vec(),
    })
}

fn identifier(identifier: &Identifier) -> Value {
    json!({ "type": identifier.acme_type(), "value": identifier.acme_value() })
}

fn voters(config: &GroupConfig, voters: PartySet) -> Vec<String> {
    voters.iter().map(|party| name(config, party)).collect()
}

fn name(config: &GroupConfig, party: Party) -> String {
    let server = config.servers.get(party.index());
    server.map_or_else(|| party.to_string(), |server| server.name.clone())
}

fn revoked_by(by: RevokedBy) -> String {
    match by {
        RevokedBy::Account(account) => format!("account {account}"),
        RevokedBy::Key => "its own key".into(),
        RevokedBy::Officers => "officers".into(),
    }
}

/// As RFC 5280 calls them.
fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Unspecified => "unspecified",
        Reason::KeyCompromise => "keyCompromise",
        Reason::AffiliationChanged => "affiliationChanged",
        Reason::Superseded => "superseded",
        Reason::CessationOfOperation => "cessationOfOperation",
        Reason::PrivilegeWithdrawn => "privilegeWithdrawn",
    }
}

/// In UTC, for people.
fn time(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| Asn1Time::from_unix(seconds).ok());
    at.map_or_else(|| format!("second {seconds}"), |at| at.to_string())
}
