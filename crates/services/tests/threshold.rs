//! A notary whose key no server holds, verified by a client who knows nothing of that.

use maftia_activity::{AgreedTime, ApplyContext, Caller, Reply, StateMachine};
use maftia_base::time::Reading;
use maftia_base::{AdversaryStructure, Digest, Formula, Party, ServiceId};
use maftia_crypto::{
    Done, GroupKeys, KeyId, RealKeyring, RealSuite, SigningInput, Suite, Work, fixture,
};
use maftia_services::notary::{CertificateTemplate, Notary, Profile};
use maftia_services::x509::{rsa_public_key, to_pem};
use std::process::Command;

const POLICY: &str = "1.3.6.1.4.1.32473.1";

/// Shares of `parties`, combined; `None` if they do not make a signature.
fn sign(keyrings: &[RealKeyring], parties: &[usize], input: &SigningInput) -> Option<Vec<u8>> {
    let share = |index: usize| {
        let input = input.clone();
        let work = Work::SignatureShare { key: KeyId(0), input, with_proof: false };
        let done = RealSuite::run_many(vec![work], &keyrings[index], Reading(0)).remove(0);
        let Done::SignatureShare(share) = done else { panic!("a share was asked for") };
        (Party::new(index), share)
    };
    let shares = parties.iter().copied().map(share).collect();
    let work = Work::CombineSignature { key: KeyId(0), input: input.clone(), shares };
    let done = RealSuite::run_many(vec![work], &keyrings[0], Reading(0)).remove(0);
    let Done::Signature { signature, .. } = done else { panic!("a signature was asked for") };
    signature.map(|signature| signature.to_vec())
}

fn profile(public: &GroupKeys, keyrings: &[RealKeyring]) -> Profile {
    let (modulus, exponent) = public.rsa(KeyId(0)).expect("dealt");
    let template = CertificateTemplate {
        common_name: "Four servers",
        organization: "An example",
        not_before: 1_700_000_000,
        not_after: 2_200_000_000,
        serial: [1; 16],
        public_key: &rsa_public_key(&modulus, &exponent).expect("a key"),
    };
    let unsigned = template.self_signed().expect("well-formed");
    let signature = sign(keyrings, &[0, 1], &unsigned.signing_input()).expect("enough shares");
    let certificate = unsigned.finish(&signature);
    let policy = POLICY.parse().expect("an object identifier");
    Profile::new(KeyId(0), policy, 1_000_000, vec![certificate]).expect("for time stamping")
}

#[test]
fn two_of_four_servers_make_a_token_that_stock_openssl_verifies_and_one_cannot() {
    let structure = AdversaryStructure::optimal(4).unwrap();
    let (public, servers) = fixture::dealt(&structure, &Formula::exact(&structure), 1);
    let keyrings: Vec<_> = (servers.into_iter())
        .map(|server| RealKeyring::new(public.clone(), server).unwrap())
        .collect();
    let profile = profile(&public, &keyrings);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let openssl = |arguments: &[&str]| {
        let run = Command::new("openssl").args(arguments).current_dir(directory.path()).output();
        let run = run.expect("this test needs the system's openssl");
        (run.status.success(), String::from_utf8_lossy(&run.stdout).into_owned())
    };
    std::fs::write(path("file"), "a file").unwrap();
    std::fs::write(path("tsa.pem"), to_pem(&profile.certificates()[0]).unwrap()).unwrap();
    assert!(openssl(&["ts", "-query", "-data", "file", "-cert", "-out", "query"]).0);
    let query = std::fs::read(path("query")).unwrap();
    let cx = ApplyContext {
        time: AgreedTime(1_795_264_496_078_900),
        batch_seed: Digest([9; 32]),
        service: ServiceId(1),
        caller: Caller::FrontEnd(Party::new(2)),
        position: 1,
        structure: &structure,
    };
    let Reply::Sign { input, body, .. } = Notary::new(profile.clone()).apply(&query, &cx) else {
        panic!("it is granted");
    };
    assert_eq!(sign(&keyrings, &[2], &input), None, "one server alone");
    for pair in [[0, 3], [1, 2]] {
        let signature = sign(&keyrings, &pair, &input).unwrap();
        let response = profile.respond(body.clone(), &signature).unwrap();
        std::fs::write(path("reply"), response).unwrap();
        let arguments = ["ts", "-verify", "-data", "file", "-in", "reply", "-CAfile", "tsa.pem"];
        let (is_good, said) = openssl(&arguments);
        assert!(is_good && said.contains("Verification: OK"), "{said}");
    }
}
