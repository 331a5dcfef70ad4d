//! The dealer, and the files that it makes.
#![allow(clippy::unwrap_used)]

use maftia_base::{AdversaryStructure, Digest, Epoch, Formula, FormulaError, Party};
use maftia_crypto::{
    DealError, DealSpec, GroupKeys, KeyId, KeysError, RealKeyring, RsaSpec, ServerKeys,
    ShareFileError, deal, fixture,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fn spec(rsa: Vec<RsaSpec>) -> DealSpec {
    let structure = AdversaryStructure::optimal(4).unwrap();
    let sharing = Formula::exact(&structure);
    DealSpec { structure, sharing, epoch: Epoch(5), context: Digest([7; 32]), rsa }
}

fn rsa(key: u16) -> RsaSpec {
    RsaSpec { key: KeyId(key), bits: 2048, primes: Some(fixture::safe_primes(2048)) }
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn dealt(seed: u64) -> (GroupKeys, Vec<ServerKeys>) {
    deal(&spec(vec![rsa(3), rsa(9)]), &mut rng(seed), &mut |_| {}).unwrap()
}

#[test]
fn public_keys_and_shares_survive_their_files() {
    let (public, servers) = dealt(1);
    let copy = GroupKeys::from_file(&public.to_file()).unwrap();
    assert_eq!((&copy, copy.digest()), (&public, public.digest()));
    assert_eq!((copy.epoch(), copy.context()), (Epoch(5), Digest([7; 32])));
    assert_eq!(copy.signature_keys().collect::<Vec<_>>(), [KeyId(3), KeyId(9)]);
    assert_eq!(copy.rsa(KeyId(3)).unwrap().1, [1, 0, 1]);
    for server in &servers {
        let file = server.to_file(None, &mut rng(2));
        assert_eq!(ServerKeys::is_encrypted(&file), Some(false));
        let copy = ServerKeys::from_file(&file, None).unwrap();
        assert_eq!(copy.party(), server.party());
        let keyring = RealKeyring::new(public.clone(), copy).unwrap();
        assert_eq!(keyring.me(), Some(server.party()));
    }
}

#[test]
fn an_encrypted_share_opens_with_its_passphrase_only() {
    let (public, servers) = dealt(1);
    let file = servers[2].to_file(Some(b"correct horse"), &mut rng(2));
    assert_eq!(ServerKeys::is_encrypted(&file), Some(true));
    let open = |file: &[u8], passphrase: Option<&[u8]>| ServerKeys::from_file(file, passphrase);
    let copy = open(&file, Some(b"correct horse")).unwrap();
    assert!(RealKeyring::new(public, copy).is_ok());
    assert!(matches!(open(&file, None), Err(ShareFileError::PassphraseNeeded)));
    let refused = open(&file, Some(b"battery staple"));
    assert!(matches!(refused, Err(ShareFileError::WrongPassphrase)));
    for position in [17, 40, 60, file.len() - 1] {
        let mut altered = file.to_vec();
        altered[position] ^= 1;
        let refused = open(&altered, Some(b"correct horse"));
        assert!(matches!(refused, Err(ShareFileError::WrongPassphrase)), "byte {position}");
    }
    assert!(open(&file[..50], Some(b"correct horse")).is_err());
}

#[test]
fn damaged_files_are_refused_and_never_panic() {
    let (public, servers) = dealt(1);
    assert!(matches!(GroupKeys::from_file(b"hello"), Err(KeysError::NotPublicKeys)));
    assert!(matches!(ServerKeys::from_file(b"hello", None), Err(ShareFileError::NotAShare)));
    let file = servers[0].to_file(None, &mut rng(2));
    for len in (0..file.len()).step_by(13) {
        assert!(ServerKeys::from_file(&file[..len], None).is_err());
    }
    let mut longer = file.to_vec();
    longer.push(0);
    assert!(ServerKeys::from_file(&longer, None).is_err());
    let public = public.to_file();
    for len in (0..public.len()).step_by(97) {
        assert!(GroupKeys::from_file(&public[..len]).is_err());
    }
}

#[test]
fn a_share_of_another_ceremony_or_server_is_refused_by_name() {
    let ((public, servers), (other, strangers)) = (dealt(1), dealt(2));
    let share = |server: &ServerKeys| {
        ServerKeys::from_file(&server.to_file(None, &mut rng(3)), None).unwrap()
    };
    let refused = RealKeyring::new(public.clone(), share(&strangers[0]));
    assert!(matches!(refused, Err(KeysError::OtherGroup { .. })));
    assert_ne!(public.digest(), other.digest());
    // A share file whose owner was altered by hand: the byte after magic and kind.
    let mut file = servers[0].to_file(None, &mut rng(3)).to_vec();
    file[17] = 1;
    let swapped = ServerKeys::from_file(&file, None).unwrap();
    let refused = RealKeyring::new(public.clone(), swapped);
    assert!(
        matches!(refused, Err(KeysError::Mismatch { party, .. }) if party == Party::new(1)),
        "{refused:?}"
    );
    // Each secret in turn is altered in its last byte: it is named.
    let file = servers[0].to_file(None, &mut rng(3)).to_vec();
    let identity = 16 + 1 + 1 + 8 + 32;
    for (position, name) in [
        (identity, "identity key"),
        (identity + 32, "link key"),
        (identity + 64 + 4, "coin share"),
        (file.len() - 1, "share of a threshold-signature key"),
    ] {
        let mut altered = file.clone();
        altered[position] ^= 1;
        let altered = ServerKeys::from_file(&altered, None).unwrap();
        match RealKeyring::new(public.clone(), altered) {
            Err(KeysError::Mismatch { what, .. }) => assert_eq!(what, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn secrets_are_never_printed() {
    let (public, servers) = dealt(1);
    assert!(format!("{:?}", servers[0]).contains("Secret(..)"));
    let keyring = RealKeyring::new(public, dealt(1).1.swap_remove(0)).unwrap();
    let printed = format!("{keyring:?} {:?}", rsa(1));
    assert!(printed.len() < 300, "{printed}");
}

#[test]
fn an_observer_holds_no_secret() {
    let (public, _) = dealt(1);
    assert_eq!(RealKeyring::observer(public).unwrap().me(), None);
}

#[test]
fn what_cannot_be_dealt_is_refused() {
    let refuse = |spec: DealSpec| deal(&spec, &mut rng(1), &mut |_| {}).unwrap_err();
    assert_eq!(refuse(spec(vec![rsa(1), rsa(1)])), DealError::Keys);
    let short = RsaSpec { key: KeyId(0), bits: 1024, primes: None };
    assert_eq!(refuse(spec(vec![short])), DealError::Bits(1024));
    let other = RsaSpec { bits: 4096, ..rsa(0) };
    assert_eq!(refuse(spec(vec![other])), DealError::Primes(2048));
    let mut loose = spec(vec![]);
    loose.sharing = Formula::threshold(1, 4);
    assert!(matches!(refuse(loose), DealError::Sharing(FormulaError::CorruptQualified(_))));
    let mut deep = spec(vec![]);
    for _ in 0..50 {
        deep.sharing = Formula::Gate { threshold: 1, children: vec![deep.sharing] };
    }
    assert_eq!(refuse(deep), DealError::TooDeep);
}
