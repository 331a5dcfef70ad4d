//! Files, queries, requests, snapshots, ports, logs, and what workers compute with what came from
//! outside.

use maftia_fuzz::{acme, authority, doors, files, journal, targets, works};

targets! {
    group_keys(4_000) => files::group_keys;
    server_keys(20_000) => files::server_keys;
    group_toml(20_000) => files::group_toml;
    begun_file(400) => files::begun_file;
    lost_file(400) => files::lost_file;
    certificates(5_000) => files::certificates;
    time_stamp_query(40_000) => files::query;
    time_stamp_token(40_000) => files::token;
    issuer_certificate(5_000) => files::issuer_certificate;
    issued_certificate(20_000) => files::issued_certificate;
    ocsp_request(40_000) => files::ocsp_request;
    replica_snapshot(20_000) => files::replica_snapshot;
    hybrid_snapshot(20_000) => files::hybrid_snapshot;
    notary_snapshot(5_000) => files::notary_snapshot;
    ledger_snapshot(5_000) => files::ledger_snapshot;
    acme_identifier(20_000) => acme::identifier;
    acme_json(20_000) => acme::text;
    acme_key(10_000) => acme::key;
    acme_header(10_000) => acme::header;
    acme_request(10_000) => acme::request;
    acme_binding(10_000) => acme::binding;
    certificate_key(10_000) => acme::certificate_key;
    certificate_request(10_000) => acme::certificate_request;
    certificate_wishes(10_000) => acme::certificate_wishes;
    acme_body(2_000) => authority::body;
    acme_payload(2_000) => authority::payload;
    ca_ordered(2_000) => authority::ordered;
    ca_reported(2_000) => authority::reported;
    ca_read(5_000) => authority::read;
    ca_snapshot(2_000) => authority::snapshot;
    ca_settings(5_000) => authority::settings;
    client_port(2_000) => doors::client_port;
    http_port(2_000) => doors::http_port;
    altered_journal(4_000) => journal::altered;
    evidence_against_somebody(5_000) => works::convict;
    coin_shares(2_000) => works::combine_coin;
    signature_shares(400) => works::combine_signature;
    certificate_votes(5_000) => works::verify_certificate;
    coded_fragments(10_000) => works::decode_fragments;
    signed_input(200) => works::sign_input;
}
