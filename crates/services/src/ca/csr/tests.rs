use super::*;
use der::asn1::{Any, BitString, Ia5String, OctetString, SetOfVec};
use der::{Encode, Tagged};
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use openssl::stack::Stack;
use openssl::x509::extension::{BasicConstraints as Basic, SubjectAlternativeName};
use openssl::x509::{X509NameBuilder, X509ReqBuilder};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use std::sync::LazyLock;
use x509_cert::attr::{Attribute, AttributeTypeAndValue};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};
use x509_cert::ext::pkix::{KeyUsages, SubjectAltName};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::request::{CertReq, CertReqInfo, Version};

fn ec(nid: Nid) -> PKey<Private> {
    PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(nid).unwrap()).unwrap()).unwrap()
}

static KEY: LazyLock<PKey<Private>> = LazyLock::new(|| ec(Nid::X9_62_PRIME256V1));
static RSA: LazyLock<PKey<Private>> =
    LazyLock::new(|| PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap());

fn names(names: &[&str]) -> BTreeSet<Identifier> {
    let identifier = |name: &&str| match name.parse::<IpAddr>() {
        Ok(_) => Identifier::from_acme("ip", name).unwrap(),
        Err(_) => Identifier::from_acme_internal("dns", name).unwrap(),
    };
    names.iter().map(identifier).collect()
}

/// What OpenSSL makes of a subject and names, with extensions of its own choice besides.
fn by_openssl(
    key: &PKey<Private>,
    digest: MessageDigest,
    common_name: &str,
    san: &[&str],
) -> Vec<u8> {
    let mut builder = X509ReqBuilder::new().unwrap();
    builder.set_version(0).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("C", "AU").unwrap();
    subject.append_entry_by_text("O", "Internet Widgits").unwrap();
    if !common_name.is_empty() {
        subject.append_entry_by_text("CN", common_name).unwrap();
    }
    builder.set_subject_name(&subject.build()).unwrap();
    builder.set_pubkey(key).unwrap();
    let mut extensions = Stack::new().unwrap();
    extensions.push(Basic::new().build().unwrap()).unwrap();
    if !san.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for name in san {
            match name.parse::<IpAddr>() {
                Ok(_) => names.ip(name),
                Err(_) => names.dns(name),
            };
        }
        let cx = builder.x509v3_context(None);
        let names = names.build(&cx).unwrap();
        extensions.push(names).unwrap();
    }
    builder.add_extensions(&extensions).unwrap();
    builder.sign(key, digest).unwrap();
    builder.build().to_der().unwrap()
}

/// A request made by hand.
struct Draft {
    info: CertReqInfo,
    key: PKey<Private>,
}

impl Draft {
    fn new(common_name: &str, extensions: Vec<Extension>) -> Self {
        let subject = match common_name {
            "" => Name::default(),
            name => format!("CN={name}").parse().unwrap(),
        };
        let info = CertReqInfo {
            version: Version::V1,
            subject,
            public_key: spki(&KEY),
            attributes: SetOfVec::try_from(vec![request(&extensions)]).unwrap(),
        };
        Self { info, key: KEY.clone() }
    }

    fn of_names(names: Vec<GeneralName>) -> Self {
        Self::new("", vec![san(names)])
    }

    fn signed(&self) -> Vec<u8> {
        self.signed_over(&self.info.to_der().unwrap())
    }

    fn signed_over(&self, info: &[u8]) -> Vec<u8> {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).unwrap();
        let signature = signer.sign_oneshot_to_vec(info).unwrap();
        let request = CertReq {
            info: self.info.clone(),
            algorithm: AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA_256, parameters: None },
            signature: BitString::from_bytes(&signature).unwrap(),
        };
        request.to_der().unwrap()
    }

    fn parse(&self) -> Result<Csr, Problem> {
        Csr::parse(&self.signed())
    }
}

fn spki(key: &PKey<Private>) -> SubjectPublicKeyInfoOwned {
    SubjectPublicKeyInfoOwned::from_der(&key.public_key_to_der().unwrap()).unwrap()
}

fn request(extensions: &Vec<Extension>) -> Attribute {
    let values = SetOfVec::try_from(vec![Any::encode_from(extensions).unwrap()]).unwrap();
    Attribute { oid: ID_EXTENSION_REQ, values }
}

fn extension(oid: ObjectIdentifier, critical: bool, value: &impl Encode) -> Extension {
    let value = OctetString::new(value.to_der().unwrap()).unwrap();
    Extension { extn_id: oid, critical, extn_value: value }
}

fn san(names: Vec<GeneralName>) -> Extension {
    extension(ID_CE_SUBJECT_ALT_NAME, false, &SubjectAltName(names))
}

fn dns(name: &str) -> GeneralName {
    GeneralName::DnsName(Ia5String::new(name).unwrap())
}

fn ip(bytes: &[u8]) -> GeneralName {
    GeneralName::IpAddress(OctetString::new(bytes).unwrap())
}

/// A request for one name and whatever else these extensions ask for.
fn with(extensions: Vec<Extension>) -> Draft {
    let san = vec![san(vec![dns("example.com")])];
    Draft::new("", [san, extensions].concat())
}

fn refused(result: Result<Csr, Problem>, about: &str) {
    let problem = result.expect_err("refused");
    assert_eq!((problem.kind, problem.status), (ProblemType::BadCsr, 400));
    assert!(problem.detail.contains(about), "{problem:?} is not about {about}");
}

#[test]
fn what_a_stock_client_asks_for_is_read_for_each_kind_of_key() {
    let san = ["example.com", "*.example.org", "192.0.2.1", "2001:db8::1"];
    for (key, digest) in [
        (KEY.clone(), MessageDigest::sha256()),
        (KEY.clone(), MessageDigest::sha384()),
        (ec(Nid::SECP384R1), MessageDigest::sha256()),
        (ec(Nid::SECP384R1), MessageDigest::sha384()),
        (RSA.clone(), MessageDigest::sha256()),
        (RSA.clone(), MessageDigest::sha384()),
        (RSA.clone(), MessageDigest::sha512()),
        (PKey::generate_ed25519().unwrap(), MessageDigest::null()),
    ] {
        let csr = Csr::parse(&by_openssl(&key, digest, "example.com", &san)).unwrap();
        assert_eq!(csr.names, names(&san));
        assert_eq!(csr.public_key, key.public_key_to_der().unwrap());
        assert!(!csr.must_staple);
    }
}

#[test]
fn a_common_name_is_one_of_the_names() {
    let parse = |common_name, san: &[&str]| {
        Csr::parse(&by_openssl(&KEY, MessageDigest::sha256(), common_name, san))
    };
    assert_eq!(parse("B.example", &["a.example", "b.example"]).unwrap().names.len(), 2);
    assert_eq!(parse("", &["a.example"]).unwrap().names, names(&["a.example"]));
    assert_eq!(parse("192.0.2.1", &["192.0.2.1"]).unwrap().names, names(&["192.0.2.1"]));
    refused(parse("c.example", &["a.example"]), "common name");
    refused(parse("192.0.2.2", &["192.0.2.1"]), "common name");
    refused(parse("::ffff:192.0.2.1", &["192.0.2.1"]), "common name");
    refused(parse("An example", &["a.example"]), "character");
}

#[test]
fn without_other_names_the_common_name_counts_if_it_is_a_hosts() {
    let parse =
        |common_name| Csr::parse(&by_openssl(&KEY, MessageDigest::sha256(), common_name, &[]));
    assert_eq!(parse("a.example").unwrap().names, names(&["a.example"]));
    refused(parse("192.0.2.1"), "common name");
    refused(parse(""), "names nothing");
    refused(Draft::of_names(vec![]).parse(), "names nothing");
    // Names that are asked for, but none of them: the common name is not one.
    refused(Draft::new("a.example", vec![san(vec![])]).parse(), "common name");
}

#[test]
fn each_of_several_common_names_counts() {
    let two = |san_names: Vec<GeneralName>| {
        let mut draft = Draft::new("", vec![san(san_names)]);
        draft.info.subject = "CN=a.example,CN=b.example".parse().unwrap();
        draft.parse()
    };
    assert!(two(vec![dns("a.example"), dns("b.example")]).is_ok());
    refused(two(vec![dns("a.example")]), "common name");
}

#[test]
fn a_common_name_in_another_kind_of_text_is_refused() {
    let parse = |tag, text: &[u8]| {
        let value = Any::new(tag, text).unwrap();
        let attribute = AttributeTypeAndValue { oid: COMMON_NAME, value };
        let mut draft = with(vec![]);
        let set = SetOfVec::try_from(vec![attribute]).unwrap();
        draft.info.subject = RdnSequence(vec![RelativeDistinguishedName(set)]);
        draft.parse()
    };
    for tag in [Tag::Utf8String, Tag::PrintableString, Tag::Ia5String, Tag::TeletexString] {
        assert!(parse(tag, b"example.com").is_ok(), "{tag}");
        refused(parse(tag, b"example.com\xff"), "no text");
    }
    for tag in [Tag::BmpString, Tag::OctetString] {
        refused(parse(tag, b"example.com"), "no text");
    }
}

#[test]
fn a_wrong_signature_is_refused() {
    let draft = with(vec![]);
    assert!(draft.parse().is_ok());
    let stolen = Draft { key: ec(Nid::X9_62_PRIME256V1), ..with(vec![]) };
    refused(stolen.parse(), "signature is wrong");
    let other = Draft::of_names(vec![dns("other.example")]).info.to_der().unwrap();
    refused(Csr::parse(&draft.signed_over(&other)), "signature is wrong");
    let right = draft.signed();
    let mut wrong = right.clone();
    *wrong.last_mut().unwrap() ^= 1;
    refused(Csr::parse(&wrong), "signature is wrong");
}

#[test]
fn every_byte_of_a_request_counts() {
    let right = by_openssl(&KEY, MessageDigest::sha256(), "example.com", &["example.com"]);
    assert!(Csr::parse(&right).is_ok());
    for at in 0..right.len() {
        let mut wrong = right.clone();
        wrong[at] ^= 0x20;
        assert!(Csr::parse(&wrong).is_err(), "byte {at}");
    }
}

#[test]
fn a_signature_of_another_algorithm_is_refused() {
    let sha1 = by_openssl(&RSA, MessageDigest::sha1(), "", &["example.com"]);
    refused(Csr::parse(&sha1), "kind");
    let sha512 = by_openssl(&KEY, MessageDigest::sha512(), "", &["example.com"]);
    refused(Csr::parse(&sha512), "kind");
    let right = CertReq::from_der(&with(vec![]).signed()).unwrap();
    let parse = |oid, parameters| {
        let algorithm = AlgorithmIdentifierOwned { oid, parameters };
        Csr::parse(&CertReq { algorithm, ..right.clone() }.to_der().unwrap())
    };
    assert!(parse(ECDSA_WITH_SHA_256, None).is_ok());
    refused(parse(ECDSA_WITH_SHA_256, Some(Any::null())), "kind");
    refused(parse(ECDSA_WITH_SHA_384, None), "wrong");
    refused(parse(SHA_256_WITH_RSA_ENCRYPTION, None), "kind");
    refused(parse(ID_ED_25519, None), "kind");
}

#[test]
fn a_key_that_is_not_accepted_is_refused() {
    let parse = |key: PKey<Private>| {
        Csr::parse(&by_openssl(&key, MessageDigest::sha256(), "", &["example.com"]))
    };
    let rsa = |bits, exponent: u32| {
        let exponent = openssl::bn::BigNum::from_u32(exponent).unwrap();
        PKey::from_rsa(Rsa::generate_with_e(bits, &exponent).unwrap()).unwrap()
    };
    refused(parse(rsa(1024, 65537)), "2048");
    refused(parse(rsa(2040, 65537)), "2048");
    assert!(parse(rsa(2048, 3)).is_ok());
    refused(parse(ec(Nid::SECP256K1)), "kind that is not accepted");
    refused(parse(ec(Nid::SECP521R1)), "kind that is not accepted");
    let ed448 = PKey::generate_ed448().unwrap();
    let ed448 = by_openssl(&ed448, MessageDigest::null(), "", &["example.com"]);
    refused(Csr::parse(&ed448), "kind that is not accepted");
}

#[test]
fn a_key_in_another_encoding_is_refused() {
    for nid in [Nid::X9_62_PRIME256V1, Nid::SECP384R1] {
        let key = ec(nid);
        let mut draft = with(vec![]);
        draft.info.public_key = spki(&key);
        draft.key = key.clone();
        assert!(draft.parse().is_ok());
        let (point, group) = (key.ec_key().unwrap(), EcGroup::from_curve_name(nid).unwrap());
        let mut cx = openssl::bn::BigNumContext::new().unwrap();
        let form = PointConversionForm::COMPRESSED;
        let compressed = point.public_key().to_bytes(&group, form, &mut cx).unwrap();
        draft.info.public_key.subject_public_key = BitString::from_bytes(&compressed).unwrap();
        refused(draft.parse(), "uncompressed");
    }
}

#[test]
fn names_of_other_forms_are_refused() {
    let uri = Ia5String::new("https://example.com").unwrap();
    let mail = Ia5String::new("somebody@example.com").unwrap();
    let other = OtherName {
        type_id: COMMON_NAME,
        value: Any::new(Tag::Utf8String, &b"example.com"[..]).unwrap(),
    };
    for name in [
        GeneralName::Rfc822Name(mail),
        GeneralName::UniformResourceIdentifier(uri),
        GeneralName::RegisteredId(COMMON_NAME),
        GeneralName::DirectoryName("CN=example.com".parse().unwrap()),
        GeneralName::OtherName(other),
    ] {
        refused(Draft::of_names(vec![dns("example.com"), name]).parse(), "neither");
    }
}

#[test]
fn names_that_are_no_hosts_are_refused() {
    for (name, about) in [
        ("", "empty label"),
        ("example.com.", "empty label"),
        ("a_b.example.com", "character"),
        ("www.*.example.com", "character"),
        ("example.com\0.example.org", "character"),
        ("somebody@example.com", "character"),
        (" example.com", "character"),
        ("192.0.2.1", "number"),
    ] {
        refused(Draft::of_names(vec![dns("example.com"), dns(name)]).parse(), about);
    }
    assert_eq!(
        Draft::of_names(vec![dns("Example.COM"), dns("example.com")]).parse().unwrap().names,
        names(&["example.com"])
    );
}

#[test]
fn addresses_of_no_host_and_of_no_length_are_refused() {
    let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1]].concat();
    for address in [&mapped[..], &[0; 4], &[0; 16], &[192, 0, 2], &[192, 0, 2, 0, 255, 255, 255, 0]]
    {
        refused(Draft::of_names(vec![ip(address)]).parse(), "address");
    }
    let parsed = Draft::of_names(vec![ip(&[192, 0, 2, 1])]).parse().unwrap();
    assert_eq!(parsed.names, names(&["192.0.2.1"]));
}

#[test]
fn no_request_has_more_names_than_a_certificate_or_more_bytes_than_are_read() {
    let many = |count: usize| {
        Draft::of_names((0..count).map(|number| dns(&format!("host{number}.example"))).collect())
    };
    assert_eq!(many(NAMES_MAX).parse().unwrap().names.len(), NAMES_MAX);
    refused(many(NAMES_MAX + 1).parse(), "more than 100 names");
    let unknown = |bytes: usize| {
        let oid = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1");
        with(vec![extension(oid, false, &OctetString::new(vec![0; bytes]).unwrap())]).signed()
    };
    let long = unknown(CSR_BYTES_MAX - 600);
    assert!(long.len() > CSR_BYTES_MAX - 500 && Csr::parse(&long).is_ok());
    refused(Csr::parse(&unknown(CSR_BYTES_MAX)), "bytes");
}

#[test]
fn a_request_for_the_rights_of_an_authority_is_refused() {
    let constraints = |ca, path_len_constraint| {
        let constraints = BasicConstraints { ca, path_len_constraint };
        with(vec![extension(ID_CE_BASIC_CONSTRAINTS, true, &constraints)])
    };
    assert!(constraints(false, None).parse().is_ok());
    refused(constraints(true, None).parse(), "authority");
    refused(constraints(true, Some(0)).parse(), "authority");
    let usage = |usage: der::flagset::FlagSet<KeyUsages>| {
        with(vec![extension(ID_CE_KEY_USAGE, true, &KeyUsage(usage))]).parse()
    };
    assert!(usage(KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment).is_ok());
    refused(usage(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign), "authority");
    refused(usage(KeyUsages::CRLSign.into()), "authority");
}

#[test]
fn an_unknown_extension_is_ignored_unless_it_is_critical() {
    let oid = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1");
    let parse = |critical| with(vec![extension(oid, critical, &Any::null())]).parse();
    assert_eq!(parse(false).unwrap().names, names(&["example.com"]));
    refused(parse(true), "1.3.6.1.4.1.32473.1");
    let constraints = ObjectIdentifier::new_unwrap("2.5.29.30");
    refused(with(vec![extension(constraints, true, &Any::null())]).parse(), "2.5.29.30");
}

#[test]
fn an_extension_has_two_or_three_parts_of_the_right_types() {
    let parse = |extension: &[u8]| {
        let request = Any::new(Tag::Sequence, extension).unwrap();
        let extensions = Any::new(Tag::Sequence, request.to_der().unwrap()).unwrap();
        let mut draft = Draft::new("example.com", vec![]);
        let values = SetOfVec::try_from(vec![extensions]).unwrap();
        let attribute = Attribute { oid: ID_EXTENSION_REQ, values };
        draft.info.attributes = SetOfVec::try_from(vec![attribute]).unwrap();
        draft.parse()
    };
    let oid = [6, 3, 0x55, 0x1d, 0x0e];
    assert!(parse(&[&oid[..], &[4, 0]].concat()).is_ok());
    assert!(parse(&[&oid[..], &[1, 1, 0xff, 4, 0]].concat()).is_ok());
    for wrong in [&[][..], &[5, 0], &[4, 0, 4, 0], &[1, 1, 1, 4, 0], &[1, 1, 0xff, 5, 0]] {
        refused(parse(&[&oid, wrong].concat()), "malformed");
    }
    refused(parse(&[&oid[..], &[4, 0x83, 0xff, 0xff, 0xff]].concat()), "malformed");
}

#[test]
fn must_staple_is_the_only_feature_of_tls() {
    // A sequence of numbers.
    let parse = |features: Vec<u16>| with(vec![extension(TLS_FEATURE, false, &features)]).parse();
    assert!(parse(vec![5]).unwrap().must_staple);
    for features in [vec![], vec![17], vec![5, 17], vec![5, 5], vec![0x105]] {
        refused(parse(features), "features");
    }
}

#[test]
fn nothing_is_asked_for_twice() {
    refused(with(vec![san(vec![dns("example.org")])]).parse(), "twice");
    let mut twice = with(vec![]);
    twice.info.attributes.insert(request(&vec![san(vec![dns("example.org")])])).unwrap();
    refused(twice.parse(), "twice");
    let mut values = with(vec![]);
    let mut attribute = request(&vec![san(vec![dns("example.org")])]);
    attribute.values.insert(Any::encode_from(&vec![san(vec![dns("a.b")])]).unwrap()).unwrap();
    values.info.attributes = SetOfVec::try_from(vec![attribute]).unwrap();
    refused(values.parse(), "malformed");
}

#[test]
fn attributes_that_ask_for_nothing_are_ignored() {
    let mut draft = with(vec![]);
    let password = Any::new(Tag::Utf8String, &b"password"[..]).unwrap();
    assert_eq!(password.tag(), Tag::Utf8String);
    let challenge = Attribute {
        oid: ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7"),
        values: SetOfVec::try_from(vec![password]).unwrap(),
    };
    draft.info.attributes.insert(challenge).unwrap();
    assert_eq!(draft.parse().unwrap().names, names(&["example.com"]));
    draft.info.attributes = SetOfVec::new();
    refused(draft.parse(), "names nothing");
}

#[test]
fn attributes_in_another_order_than_that_of_der_are_verified_as_they_came() {
    // What sorts them and encodes them anew would find the signature wrong.
    let mut draft = with(vec![]);
    let password = Any::new(Tag::Utf8String, &b"password"[..]).unwrap();
    let oid = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");
    let challenge = Attribute { oid, values: SetOfVec::try_from(vec![password]).unwrap() };
    let sorted = {
        draft.info.attributes.insert(challenge).unwrap();
        draft.info.to_der().unwrap()
    };
    let [version, subject, key, attributes] = parts(&sorted, Tag::Sequence).unwrap();
    let mut swapped = elements(attributes, ATTRIBUTES).unwrap();
    swapped.reverse();
    let attributes = [&attributes[..2], &swapped.concat()].concat();
    let body = [version, subject, key, &attributes].concat();
    let info = [&sorted[..sorted.len() - body.len()], &body].concat();
    assert_ne!(info, sorted);
    let mut signer = Signer::new(MessageDigest::sha256(), &KEY).unwrap();
    let signature = signer.sign_oneshot_to_vec(&info).unwrap();
    let algorithm = AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA_256, parameters: None };
    let request = [
        info,
        algorithm.to_der().unwrap(),
        BitString::from_bytes(&signature).unwrap().to_der().unwrap(),
    ];
    let request = Any::new(Tag::Sequence, request.concat()).unwrap().to_der().unwrap();
    assert_eq!(Csr::parse(&request).unwrap().names, names(&["example.com"]));
}

#[test]
fn what_is_no_request_is_refused() {
    let right = with(vec![]).signed();
    refused(Csr::parse(&[&right[..], &[0]].concat()), "PKCS #10");
    for cut in 0..right.len() {
        refused(Csr::parse(&right[..cut]), "PKCS #10");
    }
    // Of indefinite length, which is not DER.
    let [info, algorithm, signature] = parts(&right, Tag::Sequence).unwrap();
    let ber = [&[0x30, 0x80][..], info, algorithm, signature, &[0, 0]].concat();
    refused(Csr::parse(&ber), "PKCS #10");
    let pem = openssl::x509::X509Req::from_der(&right).unwrap().to_pem().unwrap();
    refused(Csr::parse(&pem), "PKCS #10");
    let certificate = "a certificate, or anything else";
    refused(Csr::parse(certificate.as_bytes()), "PKCS #10");
}

#[test]
fn only_version_1_is_read() {
    let draft = with(vec![]);
    let right = draft.signed();
    let at = right.windows(3).position(|window| window == [2, 1, 0]).unwrap();
    let mut wrong = right.clone();
    wrong[at + 2] = 1;
    refused(Csr::parse(&wrong), "PKCS #10");
}
