//! Keys for tests: dealt from fixed safe primes, since finding them takes long.
//!
//! Everybody can read these primes. No binary that serves turns this feature on.

use crate::{DealSpec, GroupKeys, KeyId, RealKeyring, RsaSpec, SafePrimes, ServerKeys, deal};
use maftia_base::{AdversaryStructure, Digest, Epoch, Formula};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Fixed safe primes for a modulus of 2048 or 3072 bits.
pub fn safe_primes(bits: usize) -> SafePrimes {
    let (p, q) = match bits {
        2048 => (P_1024, Q_1024),
        3072 => (P_1536, Q_1536),
        _ => panic!("there are fixed primes for 2048 and 3072 bits only"),
    };
    SafePrimes::trusted(&bytes_of(p), &bytes_of(q))
}

/// The keys of a group with one RSA key of 2048 bits, called 0; the same `seed`, the same keys.
pub fn dealt(
    structure: &AdversaryStructure,
    sharing: &Formula,
    seed: u64,
) -> (GroupKeys, Vec<ServerKeys>) {
    let spec = DealSpec {
        structure: structure.clone(),
        sharing: sharing.clone(),
        epoch: Epoch(0),
        context: Digest::default(),
        rsa: vec![RsaSpec { key: KeyId(0), bits: 2048, primes: Some(safe_primes(2048)) }],
    };
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    deal(&spec, &mut rng, &mut |_| {}).expect("the structure and its formula fit")
}

/// A keyring for each server of such a group.
pub fn keyrings(structure: &AdversaryStructure, sharing: &Formula, seed: u64) -> Vec<RealKeyring> {
    let (public, servers) = dealt(structure, sharing, seed);
    servers
        .into_iter()
        .map(|server| RealKeyring::new(public.clone(), server).expect("dealt together"))
        .collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("written in hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

const P_1024: &str = "\
     C1C67E63B182A70A98D11A0C0794E593EE66C4BEA5A78A11FC1BC556C42C1318\
     2D4E3784AD38F5BE5E6ADB3B4B0C98CF98C2FE69932A14184A879F2945ACE9F4\
     1D242FF78A30C512DD3119FA13E4DEE1B5535424AEC7EB6E2038EE80AFB5C203\
     B6D8759C59768ED82406501B9631746C25C91143C01F5D170D7E447022E52E43";

const Q_1024: &str = "\
     D6A47CD715A6B57C01A7DBFDD8F8B80567E90F07C052528EEB8E434B7A6EC95C\
     9C187C9E6B133F5CD9F41CB80B713B503ABEE1AAE53319DB8DE83C9E1CBB7F34\
     29909A393328456D88FE520483997D0F08E9F8AFE48629DA4957B1808E861D70\
     CB5D8EE65C383519FF40F00E8D06302F8A475B3079550E0A5C3A7C5AF890D02F";

const P_1536: &str = "\
     C3D6DDFF4104B46FE2945ADD24CEE95A4E555E982130A5CC84F809CD676D85A9\
     FE03D26342E6EB5F7102687770F92AD12A18204C02ABA0031A7C2F71DAA98532\
     849662A5DAA47035B54F504AB20BBD34682B6F568933835045B24085E6AEFE0C\
     33FC91157588E596E08270F1F5CBB921D4EECBF69EA06A1B827A7F62DB491B1B\
     E456EE5B208D9E21281E09E01EBFAFEAC100A6063C8B053A163ADEF806E0ACA8\
     9A66F7E8E36965768C17E171BAC5E8C4F9D1A23E8BDB5B027B0B4A433C3B0B93";

const Q_1536: &str = "\
     D772076586118FF0610463A5FFFE554473DE485FED904143239440F368806743\
     48D96C4D3DA7D8FD53EF377D4E9461C6ED8F369D49A32836945F4D7BD5211027\
     34F2590B912CFD96ACB5BCF1BA27512EC9D208E01D1A714EE244F8C986F176B2\
     58E59AA3FF8A84FF32AD7DFC8C319ED589C4370AEE82A1C1DA50F57081506FDF\
     B8752D9950282D9A7D85EAA5CAC744CC390E85B16BA40D7ECCAE7B8FA2523140\
     D73EE164EB1CF385B676D5391F060645869DB44D35575250145F6CCB06AE9937";
