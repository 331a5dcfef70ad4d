use super::*;
use crate::{HashAlgorithm, fixture};
use maftia_base::wire::Wire;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::sign::Verifier;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::io::Write as _;

struct Dealt {
    file: RsaKeyFile,
    public: RsaPublic,
    secrets: Vec<Vec<SecretNumber>>,
}

fn deal(formula: &Formula, n: usize, bits: usize, seed: u64) -> Dealt {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let (file, shares) = keygen::deal(formula, &fixture::safe_primes(bits), &mut rng);
    let mut secrets: Vec<Vec<SecretNumber>> = (0..n).map(|_| Vec::new()).collect();
    for (party, share) in formula.leaves().into_iter().zip(shares) {
        secrets[party.index()].push(share);
    }
    let public = RsaPublic::new(formula.clone(), n, &file).unwrap();
    Dealt { file, public, secrets }
}

fn message_digest(hash: HashAlgorithm) -> MessageDigest {
    match hash {
        HashAlgorithm::Sha256 => MessageDigest::sha256(),
        HashAlgorithm::Sha384 => MessageDigest::sha384(),
        HashAlgorithm::Sha512 => MessageDigest::sha512(),
    }
}

fn input(hash: HashAlgorithm, message: &[u8]) -> SigningInput {
    let digest = openssl::hash::hash(message_digest(hash), message).unwrap();
    SigningInput { hash, digest: Blob::new(digest.to_vec()).unwrap() }
}

impl Dealt {
    fn share(&self, party: usize, input: &SigningInput, with_proof: bool) -> RsaShare {
        self.public.share(input, Party::new(party), &self.secrets[party], with_proof).unwrap()
    }

    fn sign(&self, parties: &[usize], input: &SigningInput) -> Option<Bytes> {
        let shares: Vec<_> = parties.iter().map(|p| (*p, self.share(*p, input, false))).collect();
        let shares: Vec<_> = shares.iter().map(|(p, share)| (Party::new(*p), share)).collect();
        self.public.combine(input, &shares).signature
    }

    fn key(&self) -> PKey<openssl::pkey::Public> {
        let modulus = BigNum::from_slice(&self.file.modulus).unwrap();
        let exponent = BigNum::from_u32(self.file.exponent).unwrap();
        PKey::from_rsa(Rsa::from_public_components(modulus, exponent).unwrap()).unwrap()
    }
}

#[test]
fn openssl_verifies_what_any_two_of_four_sign_with_each_hash() {
    let dealt = deal(&Formula::threshold(2, 4), 4, 2048, 1);
    let key = dealt.key();
    for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
        for parties in [[0, 1], [0, 3], [3, 1], [2, 3]] {
            let signature = dealt.sign(&parties, &input(hash, b"a message")).unwrap();
            let mut verifier = Verifier::new(message_digest(hash), &key).unwrap();
            verifier.update(b"a message").unwrap();
            assert!(verifier.verify(&signature).unwrap(), "{hash:?} by {parties:?}");
        }
    }
}

#[test]
fn the_openssl_command_verifies_what_a_group_signs_under_keys_of_every_size() {
    [2048, 3072, 4096].into_iter().for_each(the_openssl_command_verifies);
}

fn the_openssl_command_verifies(bits: usize) {
    let dealt = deal(&Formula::threshold(2, 4), 4, bits, 1);
    let signature = dealt.sign(&[1, 2], &input(HashAlgorithm::Sha256, b"a message")).unwrap();
    let folder = std::env::temp_dir().join(format!("maftia-rsa-{bits}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    };
    let key = write("key.pem", &dealt.key().public_key_to_pem().unwrap());
    let signed = write("signature", &signature);
    let message = write("message", b"a message");
    let mut command = std::process::Command::new("openssl");
    command.args(["dgst", "-sha256", "-verify"]).arg(key).arg("-signature").arg(signed);
    let output = command.arg(message).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "Verified OK");
}

#[test]
fn too_few_make_nothing_and_every_qualified_set_the_same_signature() {
    let dealt = deal(&Formula::threshold(3, 7), 7, 2048, 2);
    let input = input(HashAlgorithm::Sha256, b"m");
    let signature = dealt.sign(&[0, 1, 2], &input);
    assert!(signature.is_some());
    assert_eq!(dealt.sign(&[6, 2, 4], &input), signature);
    assert_eq!(dealt.sign(&[6, 5, 4, 3, 2], &input), signature);
    assert_eq!(dealt.sign(&[0, 6], &input), None);
}

#[test]
fn a_group_of_one_signs_alone() {
    let dealt = deal(&Formula::threshold(1, 1), 1, 2048, 3);
    assert!(dealt.sign(&[0], &input(HashAlgorithm::Sha512, b"m")).is_some());
}

#[test]
fn a_proof_is_good_for_its_share_owner_message_and_key_only() {
    let formula = Formula::threshold(2, 4);
    let (dealt, other_epoch) = (deal(&formula, 4, 2048, 1), deal(&formula, 4, 2048, 2));
    let (one, two) = (input(HashAlgorithm::Sha256, b"1"), input(HashAlgorithm::Sha256, b"2"));
    let share = dealt.share(0, &one, true);
    let is_good = |dealt: &Dealt, party, input, share: &RsaShare| {
        dealt.public.is_good(input, Party::new(party), share)
    };
    assert_eq!(is_good(&dealt, 0, &one, &share), Some(true));
    assert_eq!(is_good(&dealt, 1, &one, &share), Some(false), "another party");
    assert_eq!(is_good(&dealt, 63, &one, &share), Some(false), "no party");
    assert_eq!(is_good(&dealt, 0, &two, &share), Some(false), "another message");
    assert_eq!(is_good(&other_epoch, 0, &one, &share), Some(false), "other keys");
    assert_eq!(is_good(&dealt, 0, &one, &dealt.share(0, &one, false)), None, "no proof");
    assert_eq!(share, dealt.share(0, &one, true), "the same bytes each time");
}

#[test]
fn altered_and_malformed_shares_fail_their_proof() {
    let dealt = deal(&Formula::threshold(2, 4), 4, 2048, 1);
    let input = input(HashAlgorithm::Sha256, b"m");
    let honest = dealt.share(0, &input, true);
    let with_part = |part: Vec<u8>| RsaShare {
        parts: List::new(vec![Blob::new(part).unwrap()]).unwrap(),
        ..honest.clone()
    };
    let longer = [vec![0], honest.parts[0].to_vec()].concat();
    let modulus = dealt.file.modulus.to_vec();
    let proof = honest.proofs[0].clone();
    let altered = [
        honest.clone().spoiled(),
        with_part(vec![0; 256]),
        with_part(modulus),
        with_part(longer),
        with_part(Vec::new()),
        RsaShare { parts: List::default(), ..honest.clone() },
        RsaShare { proofs: List::new(vec![proof.clone(), proof]).unwrap(), ..honest.clone() },
        RsaShare { proofs: dealt.share(1, &input, true).proofs, ..honest.clone() },
    ];
    for share in altered {
        assert_eq!(dealt.public.is_good(&input, Party::new(0), &share), Some(false));
    }
    // Every bit of the proof counts.
    let bytes = honest.to_wire();
    for position in (bytes.len() - 300..bytes.len()).step_by(37) {
        let mut copy = bytes.to_vec();
        copy[position] ^= 1;
        let Ok(share) = RsaShare::from_wire(copy.into()) else { continue };
        assert_ne!(dealt.public.is_good(&input, Party::new(0), &share), Some(true));
    }
}

#[test]
fn the_sign_of_a_share_does_not_matter() {
    // The proof is about squares: a share and its negative both pass, and both combine.
    let dealt = deal(&Formula::threshold(2, 4), 4, 2048, 1);
    let input = input(HashAlgorithm::Sha256, b"m");
    let honest = dealt.share(0, &input, true);
    let negative = dealt.public.modulus.minus(&Number::from_bytes(&honest.parts[0]));
    let parts = List::new(vec![dealt.public.blob(&negative)]).unwrap();
    let share = RsaShare { parts, ..honest };
    assert_eq!(dealt.public.is_good(&input, Party::new(0), &share), Some(true));
    let other = dealt.share(1, &input, false);
    let combined =
        dealt.public.combine(&input, &[(Party::new(0), &share), (Party::new(1), &other)]);
    assert!(combined.signature.is_some());
}

#[test]
fn a_digest_of_the_wrong_length_is_not_signed() {
    let dealt = deal(&Formula::threshold(2, 4), 4, 2048, 1);
    let mut wrong = input(HashAlgorithm::Sha256, b"m");
    wrong.hash = HashAlgorithm::Sha512;
    assert!(dealt.public.share(&wrong, Party::new(0), &dealt.secrets[0], false).is_none());
    assert!(dealt.public.combine(&wrong, &[]).signature.is_none());
}

#[test]
fn keys_that_do_not_fit_are_refused() {
    let formula = Formula::threshold(2, 4);
    let dealt = deal(&formula, 4, 2048, 1);
    let refused = |change: &dyn Fn(&mut RsaKeyFile)| {
        let mut file = dealt.file.clone();
        change(&mut file);
        RsaPublic::new(formula.clone(), 4, &file).is_none()
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|file| file.exponent = 0));
    assert!(refused(&|file| file.exponent = 1));
    assert!(refused(&|file| file.exponent = 3), "shares a factor with 4 D^2");
    assert!(refused(&|file| file.base = Blob::default()));
    assert!(refused(&|file| file.share_bits = 100));
    assert!(refused(&|file| file.share_bits = 1 << 30));
    assert!(refused(&|file| file.modulus = Blob::new(vec![0xff; 64]).unwrap()));
    assert!(refused(&|file| file.verification = List::default()));
    assert!(dealt.public.matches(Party::new(2), &dealt.secrets[2]));
    assert!(!dealt.public.matches(Party::new(1), &dealt.secrets[2]));
}

#[test]
fn safe_primes_are_recognized() {
    let bytes = |value: u32| value.to_be_bytes();
    assert!(SafePrimes::new(&bytes(23), &bytes(17)).is_none(), "17 is not 2p + 1");
    assert!(SafePrimes::new(&bytes(23), &bytes(23)).is_none(), "the same twice");
    assert!(SafePrimes::new(&bytes(47), &bytes(59)).is_some());
    assert!(SafePrimes::new(&bytes(47), &bytes(23)).is_none(), "of other lengths");
}

#[test]
fn the_search_finds_safe_primes_of_exact_length() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut candidates = 0;
    let primes = SafePrimes::find(512, &mut rng, &mut || candidates += 1);
    assert!(candidates > 0);
    assert_eq!(primes.modulus_bits(), 512);
    let bytes = |prime: &SecretNumber| prime.expose().to_bytes(32);
    assert!(SafePrimes::new(&bytes(&primes.p), &bytes(&primes.q)).is_some());
}

use keygen::SafePrimes;
