//! Requests: real agents' (recorded on the wire), the `openssl` command's, and forged ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod outside;

use bunraku_pki::{AltName, CertificateRequest, KeyAlgorithm, RequestError, RequestRules};
use outside::{
    Odd, Openssl, attribute, common_name, extension, extension_request, pem, puppet, sequence, tlv, utf8,
};

const STRICT: RequestRules =
    RequestRules { allow_subject_alt_names: false, allow_authorization_extensions: false };
const LOOSE: RequestRules =
    RequestRules { allow_subject_alt_names: true, allow_authorization_extensions: true };

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/vectors/{name}.pem", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn accepted(text: &[u8], rules: &RequestRules) -> CertificateRequest {
    CertificateRequest::parse(text, rules).unwrap()
}

/// Refused with this kind and, in one line, this text.
fn refused(what: &str, text: &[u8], rules: &RequestRules, kind: &str, says: &str) {
    let error = CertificateRequest::parse(text, rules).expect_err(what);
    let said = error.to_string();
    assert_eq!(error.kind(), kind, "{what}: {said}");
    assert!(said.contains(says), "{what}: {said}");
    assert!(!said.contains(|c: char| c.is_control()) && said.len() < 1500, "{what}: {said:?}");
}

#[test]
fn requests_of_real_agents_are_read() {
    let seven = accepted(&vector("agent7"), &STRICT);
    assert_eq!(seven.certname.as_str(), "agent1.peer.test");
    assert_eq!((seven.key.algorithm, seven.key.bits), (KeyAlgorithm::Rsa, 4096));
    assert!(seven.alt_names.is_empty() && seven.extensions.is_empty() && seven.attributes.is_empty());
    // As `openssl req -outform DER | sha256sum` has it.
    assert_eq!(CertificateRequest::parse(seven.to_pem().as_bytes(), &STRICT).unwrap(), seven);

    let eight = accepted(&vector("agent8"), &STRICT);
    assert_eq!(eight.certname.as_str(), "v8agent.peer.test");
    // Renewal-capable agents say so with an *attribute* in the authorisation arc.
    assert_eq!(eight.attributes, [("pp_auth_auto_renew".to_owned(), "true".to_owned())]);
}

#[test]
fn attributes_and_extensions_are_decoded() {
    let request = accepted(&vector("attributes"), &STRICT);
    let attributes: Vec<_> = request.attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(
        attributes,
        [
            ("challengePassword", "challenge-secret"),
            ("pp_preshared_key", "preshared as attribute"),
            ("1.3.6.1.4.1.34380.1.2.1.1", "private custom attribute"),
        ]
    );
    assert_eq!(request.challenge_password(), Some("challenge-secret"));
    let extensions: Vec<_> = request.extensions.iter().map(|e| (e.label(), e.value.as_str())).collect();
    assert_eq!(
        extensions,
        [
            ("pp_uuid", "ED803750-E3C7-44F5-BB08-41A04433FE2E"),
            ("pp_role", "hadoop::worker"),
            ("pp_instance_id", "i-0123"),
            ("pp_preshared_key", "psk in extension"),
            ("1.3.6.1.4.1.34380.1.2.1", "private ext"),
        ]
    );
    assert_eq!(request.extensions[1].der, b"\x0c\x0ehadoop::worker");
}

#[test]
fn a_request_does_not_show_secrets_in_debug_output() {
    let shown = format!("{:?}", accepted(&vector("attributes"), &STRICT));
    assert!(shown.contains("attr1.peer.test") && shown.contains("challengePassword"), "{shown}");
    for secret in ["challenge-secret", "preshared as", "psk in", "private custom"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn keys_of_every_accepted_kind_pass() {
    let openssl = Openssl::new();
    let check = |options: &str, algorithm, bits| {
        let text = openssl.request_with("CN=a.example", "", "", options);
        let request = accepted(&text, &STRICT);
        assert_eq!((request.key.algorithm, request.key.bits), (algorithm, bits), "{options}");
    };
    check("-newkey rsa:2048", KeyAlgorithm::Rsa, 2048);
    check("-newkey rsa:2048 -sha512", KeyAlgorithm::Rsa, 2048);
    check("-newkey rsa:3072 -pkeyopt rsa_keygen_pubexp:3", KeyAlgorithm::Rsa, 3072);
    check("-newkey ec -pkeyopt ec_paramgen_curve:P-256", KeyAlgorithm::EcP256, 256);
    check("-newkey ec -pkeyopt ec_paramgen_curve:P-384 -sha384", KeyAlgorithm::EcP384, 384);
    check("-newkey ec -pkeyopt ec_paramgen_curve:P-521 -sha512", KeyAlgorithm::EcP521, 521);
    check("-newkey ec -pkeyopt ec_paramgen_curve:P-521 -sha256", KeyAlgorithm::EcP521, 521);
    check("-newkey ed25519", KeyAlgorithm::Ed25519, 256);
    assert_eq!(accepted(&vector("ec-p256"), &STRICT).key.algorithm, KeyAlgorithm::EcP256);
    assert_eq!(accepted(&vector("ed25519"), &STRICT).key.algorithm, KeyAlgorithm::Ed25519);
}

#[test]
fn weak_and_strange_keys_are_refused() {
    let openssl = Openssl::new();
    let check = |options: &str, kind: &str, says: &str| {
        let text = openssl.request_with("CN=a.example", "", "", options);
        refused(options, &text, &STRICT, kind, says);
    };
    refused("1024 bits", &vector("rsa1024"), &STRICT, "bad-key", "1024 bits");
    check("-newkey rsa:2047", "bad-key", "2047 bits");
    check("-newkey ec -pkeyopt ec_paramgen_curve:secp256k1", "bad-key", "EC 1.3.132.0.10");
    check("-newkey ec -pkeyopt ec_paramgen_curve:P-224", "bad-key", "EC 1.3.132.0.33");
    check("-newkey ed448", "bad-key", "1.3.101.113");
    check(
        "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
        "bad-key",
        "cannot be read",
    );
    check("-newkey rsa-pss -pkeyopt rsa_keygen_bits:2048", "bad-key", "1.2.840.113549.1.1.10");
    refused("sha-1", &vector("sha1"), &STRICT, "weak-signature", "sha1WithRSAEncryption");
    check("-newkey rsa:2048 -md5", "weak-signature", "md5WithRSAEncryption");
    check("-newkey rsa:2048 -sha224", "weak-signature", "sha224");
    check("-newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha1", "weak-signature", "ecdsa-with-SHA1");
    check("-newkey rsa:2048 -sigopt rsa_padding_mode:pss", "weak-signature", "RSASSA-PSS");
}

// faults row 1
#[test]
fn what_is_no_request_is_refused() {
    let real = vector("agent7");
    let text = String::from_utf8(real.clone()).unwrap();
    let check = |what: &str, text: &[u8], says: &str| refused(what, text, &STRICT, "malformed", says);
    check("empty", b"", "not PEM");
    check("words", b"not a pem", "not PEM");
    check("bytes", &[0, 0xff, 0x30, 0x82], "not PEM");
    check("truncated", &real[..real.len() / 2], "no matching -----END");
    check(
        "short base64",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "DER",
    );
    check(
        "nothing inside",
        b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
        "DER",
    );
    check("two of them", &[real.clone(), real.clone()].concat(), "more than one");
    check("another label", text.replace("CERTIFICATE REQUEST", "CERTIFICATE").as_bytes(), "CERTIFICATE");
    check("a certificate", &vector("peer-certificate"), "CERTIFICATE");
    check(
        "a certificate in disguise",
        String::from_utf8(vector("peer-certificate"))
            .unwrap()
            .replace("CERTIFICATE", "CERTIFICATE REQUEST")
            .as_bytes(),
        "malformed",
    );
    accepted(text.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST").as_bytes(), &STRICT);
    accepted(text.replace('\n', "\r\n").as_bytes(), &STRICT);
    accepted(format!("Subject: CN=x\n{text}\n").as_bytes(), &STRICT);
}

// faults row 2, the part that is not the transport's
#[test]
fn a_request_over_the_cap_is_refused_before_it_is_read() {
    let mut text = vector("agent7");
    text.resize(bunraku_pki::MAX_REQUEST_BYTES, b'\n');
    accepted(&text, &STRICT);
    text.push(b'\n');
    refused("65 KiB", &text, &STRICT, "too-large", "65537 bytes");
}

// faults row 4
#[test]
fn a_request_for_another_name_than_the_path_is_refused() {
    let request = accepted(&vector("agent7"), &STRICT);
    assert_eq!(request.check_name("agent1.peer.test"), Ok(()));
    for other in [
        "agent2.peer.test",
        "AGENT1.peer.test",
        "agent1.peer.test.",
        "",
        "agent1.peer.test\0",
        "agent1.peer.test\n",
    ] {
        let error = request.check_name(other).unwrap_err();
        assert_eq!(error.kind(), "name-mismatch");
        assert!(!error.to_string().contains(|c: char| c.is_control()), "{error}");
        assert!(
            error.to_string().starts_with("instance name \"agent1.peer.test\" does not match requested key")
        );
    }
}

// faults row 5
#[test]
fn a_common_name_that_is_no_certname_is_refused() {
    for name in ["upper-case", "two-dots", "wildcard", "name-ca"] {
        refused(name, &vector(name), &LOOSE, "bad-certname", "");
    }
    for name in ["a/b", "a\0b", "a\u{1b}[31m", "bücher", "10.0.0.1", "-a", "a-", &"a".repeat(256), "", " a"]
    {
        let text = Odd { subject: common_name(&utf8(name)), ..Odd::default() }.pem();
        refused(name, &text, &LOOSE, "bad-certname", "");
    }
    refused("no common name", &vector("no-common-name"), &STRICT, "bad-subject", "no common name");
    let two = [common_name(&utf8("a"))[2..].to_vec(), common_name(&utf8("b"))[2..].to_vec()].concat();
    let text = Odd { subject: sequence(&[&two]), ..Odd::default() }.pem();
    refused("two common names", &text, &STRICT, "bad-subject", "more than one");
    let text = Odd { subject: sequence(&[]), ..Odd::default() }.pem();
    refused("empty subject", &text, &STRICT, "bad-subject", "no common name");
}

#[test]
fn the_common_name_has_one_of_three_string_types_and_the_rest_of_the_subject_is_dropped() {
    let check = |identifier: u8, content: &[u8], fine: bool| {
        let subject = common_name(&tlv(identifier, &[content]));
        let text = Odd { subject, ..Odd::default() }.pem();
        let read = CertificateRequest::parse(&text, &STRICT).map(|r| r.certname.to_string());
        assert_eq!(read.ok().as_deref(), fine.then_some("odd.example"), "{identifier}");
    };
    check(12, b"odd.example", true);
    check(19, b"odd.example", true);
    check(22, b"odd.example", true);
    check(20, b"odd.example", false); // TeletexString
    check(30, "odd.example".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>().as_slice(), false); // BMPString
    check(4, b"odd.example", false);
    assert_eq!(accepted(&vector("organisation-too"), &STRICT).certname.as_str(), "multi.peer.test");
}

// faults row 8
#[test]
fn a_broken_self_signature_is_refused() {
    let says = "does not correspond to the signing key";
    refused("recorded", &vector("bad-signature"), &STRICT, "bad-signature", says);

    // Another's key in an otherwise good request, and a name changed after signing.
    let openssl = Openssl::new();
    openssl.write("csr.pem", vector("agent7"));
    openssl.ok("req -in csr.pem -outform DER -out csr.der");
    let mut der = openssl.read("csr.der");
    let at = der.windows(6).position(|w| w == b"agent1").unwrap();
    der[at + 5] = b'2';
    refused("name changed", &pem("CERTIFICATE REQUEST", &der), &STRICT, "bad-signature", says);
    for bit in [0, 3, 7] {
        let mut der = openssl.read("csr.der");
        let last = der.len() - 100;
        der[last] ^= 1 << bit;
        refused("signature changed", &pem("CERTIFICATE REQUEST", &der), &STRICT, "bad-signature", says);
    }
}

// faults row 10
#[test]
fn extensions_that_would_make_more_of_a_certificate_are_refused() {
    let openssl = Openssl::new();
    let check = |extensions: &str, says: &str| {
        let text = openssl.request("CN=a.example", extensions);
        for rules in [STRICT, LOOSE] {
            refused(extensions, &text, &rules, "disallowed-extension", says);
        }
    };
    check("basicConstraints=CA:TRUE", "2.5.29.19");
    check("basicConstraints=critical,CA:TRUE,pathlen:0", "2.5.29.19");
    check("keyUsage=digitalSignature,keyCertSign", "2.5.29.15");
    check("keyUsage=critical,cRLSign", "2.5.29.15");
    check("1.2.3.4=critical,ASN1:UTF8String:x", "1.2.3.4");
    check("1.2.3.4=ASN1:UTF8String:x", "1.2.3.4");
    check("extendedKeyUsage=codeSigning", "2.5.29.37");
    check("nameConstraints=critical,permitted;DNS:example", "2.5.29.30");
    check("subjectKeyIdentifier=hash", "2.5.29.14");
    check("nsComment=hello", "2.16.840.1.113730.1.13");
    // Beside Puppet's arcs, not below them.
    check("1.3.6.1.4.1.34380.1.1=ASN1:UTF8String:x", "1.3.6.1.4.1.34380.1.1");
    check("1.3.6.1.4.1.34380.1.4.1=ASN1:UTF8String:x", "1.3.6.1.4.1.34380.1.4.1");
    check("1.3.6.1.4.1.34380.1.11.1=ASN1:UTF8String:x", "1.3.6.1.4.1.34380.1.11.1");
    check(
        "1.2.3.4=ASN1:UTF8String:x\n1.2.3.5=ASN1:UTF8String:x\n1.3.6.1.4.1.34380.1.1.13=ASN1:UTF8String:x",
        "1.2.3.4, 1.2.3.5",
    );
    // What every certificate is given anyway may be asked for.
    for harmless in ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature,keyEncipherment"] {
        assert!(accepted(&openssl.request("CN=a.example", harmless), &STRICT).extensions.is_empty());
    }
    accepted(&vector("key-usage"), &STRICT);
}

// faults row 11
#[test]
fn alternative_names_beyond_the_own_one_are_refused() {
    let openssl = Openssl::new();
    let own = AltName::Dns("a.example".into());
    let request =
        |names: &str| openssl.request("CN=a.example", &format!("subjectAltName={names}\n[dir]\nCN=x"));
    let check = |names: &str, says: &str, rules: &[RequestRules]| {
        for rules in rules {
            refused(names, &request(names), rules, "disallowed-alt-name", says);
        }
    };
    assert_eq!(accepted(&request("DNS:a.example"), &STRICT).alt_names, std::slice::from_ref(&own));
    assert_eq!(accepted(&request("DNS:A.example"), &STRICT).alt_names, std::slice::from_ref(&own));
    check("DNS:a.example,DNS:puppet", "DNS:puppet", &[STRICT]);
    check("IP:10.0.0.1", "IP:10.0.0.1", &[STRICT]);
    check("IP:fe80::1", "IP:fe80::1", &[STRICT]);
    for both in [
        ("otherName:1.2.3.4;UTF8:a.example", "another kind"),
        ("dirName:dir", "another kind"),
        ("RID:1.2.3.4", "registered ID"),
        ("email:a@a.example", "email:a@a.example"),
        ("URI:https://a.example", "URI:https://a.example"),
        ("DNS:*.example", "DNS:*.example"),
        ("DNS:a.example,DNS:a..example", "DNS:a..example"),
        ("DNS:10.0.0.1", "DNS:10.0.0.1"),
    ] {
        check(both.0, both.1, &[STRICT, LOOSE]);
    }
    let names = accepted(&request("DNS:b.example,DNS:a.example,IP:10.0.0.1,DNS:B.example"), &LOOSE).alt_names;
    assert_eq!(names, [AltName::Dns("b.example".into()), own, AltName::Ip("10.0.0.1".parse().unwrap())]);

    refused(
        "recorded",
        &vector("alt-names"),
        &STRICT,
        "disallowed-alt-name",
        "(DNS:foo.peer.test, IP:127.0.0.9)",
    );
    assert_eq!(accepted(&vector("alt-names"), &LOOSE).alt_names.len(), 3);
    refused("recorded", &vector("alt-name-email"), &LOOSE, "disallowed-alt-name", "email:a@b.c");
    refused("recorded", &vector("alt-name-wildcard"), &LOOSE, "disallowed-alt-name", "DNS:*.peer.test");
}

#[test]
fn malformed_alternative_names_are_refused() {
    for (what, name) in [
        ("an address of five bytes", tlv(0x87, &[&[1, 2, 3, 4, 5]])),
        ("a constructed name", tlv(0xa2, &[&utf8("odd.example")])),
        ("an X.400 address", tlv(0xa3, &[])),
        ("a NUL in a name", tlv(0x82, &[b"odd.example\0.evil"])),
        ("not even ASCII", tlv(0x82, &[&[0xff, 0xfe]])),
        ("a tag from nowhere", tlv(0x8f, &[b"x"])),
    ] {
        let names = sequence(&[&name]);
        let wanted = extension_request(&[&extension(&[6, 3, 0x55, 0x1d, 0x11], &names)]);
        let text = Odd { attributes: vec![wanted], ..Odd::default() }.pem();
        refused(what, &text, &LOOSE, "disallowed-alt-name", "");
    }
}

// faults row 12
#[test]
fn authorisation_extensions_are_refused_unless_allowed_and_pp_cli_auth_always() {
    refused(
        "recorded",
        &vector("auth-extension"),
        &STRICT,
        "disallowed-extension",
        "1.3.6.1.4.1.34380.1.3.13 (pp_auth_role)",
    );
    let allowed = accepted(&vector("auth-extension"), &LOOSE);
    assert_eq!(allowed.extensions[0].label(), "pp_auth_role");
    for rules in [STRICT, LOOSE] {
        refused("recorded", &vector("pp-cli-auth"), &rules, "disallowed-extension", "(pp_cli_auth)");
    }
    for number in [1, 2, 77] {
        let wanted = extension_request(&[&extension(&puppet(3, number), &utf8("true"))]);
        let text = Odd { attributes: vec![wanted], ..Odd::default() }.pem();
        refused("authorisation", &text, &STRICT, "disallowed-extension", "1.3.6.1.4.1.34380.1.3.");
    }
}

#[test]
fn a_puppet_extension_must_be_a_string() {
    let openssl = Openssl::new();
    let role = |value: &str| openssl.request("CN=a.example", &format!("1.3.6.1.4.1.34380.1.1.13={value}"));
    for fine in [
        "ASN1:UTF8String:worker",
        "ASN1:PRINTABLESTRING:worker",
        "ASN1:IA5STRING:worker",
        "critical,ASN1:UTF8String:worker",
    ] {
        let request = accepted(&role(fine), &STRICT);
        assert_eq!(request.extensions[0].der, b"\x0c\x06worker", "{fine}");
    }
    for bad in [
        "ASN1:BMPSTRING:worker",
        "ASN1:T61STRING:worker",
        "ASN1:INTEGER:1",
        "DER:30:00",
        "DER:77:6f:72:6b",
        "DER:0c:01:77:00",
        "DER:0c:01:ff",
    ] {
        refused(bad, &role(bad), &STRICT, "bad-extension-value", "1.3.6.1.4.1.34380.1.1.13");
    }
}

#[test]
fn odd_shapes_are_refused_or_read_without_a_value() {
    let role = extension(&puppet(1, 13), &utf8("a"));
    let attribute_oid = puppet(1, 4);
    let check = |what: &str, odd: Odd, kind: &str, says: &str| refused(what, &odd.pem(), &STRICT, kind, says);
    let with = |attributes: Vec<Vec<u8>>| Odd { attributes, ..Odd::default() };
    accepted(&Odd::default().pem(), &STRICT);
    check("version 1", Odd { version: vec![2, 1, 1], ..Odd::default() }, "malformed", "version");
    check("a fifth field", Odd { after_attributes: utf8("x"), ..Odd::default() }, "malformed", "not version");
    check(
        "a fourth field outside",
        Odd { after_signature: utf8("x"), ..Odd::default() },
        "malformed",
        "not information",
    );
    check("trailing bytes", Odd { trailing: vec![0], ..Odd::default() }, "malformed", "DER");
    check(
        "the same extension twice",
        with(vec![extension_request(&[&role, &role])]),
        "duplicate",
        "34380.1.1.13",
    );
    check(
        "two extension requests",
        with(vec![extension_request(&[&role]), extension_request(&[])]),
        "duplicate",
        "1.2.840.113549.1.9.14",
    );
    let twice = attribute(
        &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14],
        &[&sequence(&[&role]), &sequence(&[])],
    );
    check("an extension request of two values", with(vec![twice]), "malformed", "not one value");
    let psk = attribute(&attribute_oid, &[&utf8("a")]);
    check("the same attribute twice", with(vec![psk.clone(), psk.clone()]), "duplicate", "34380.1.1.4");
    check(
        "an extension of one field",
        with(vec![extension_request(&[&sequence(&[&puppet(1, 13)])])]),
        "malformed",
        "extension",
    );
    let loose_true = sequence(&[&puppet(1, 13), &[1, 1, 1], &tlv(4, &[&utf8("a")])]);
    check("a BER boolean", with(vec![extension_request(&[&loose_true])]), "malformed", "extension");
    check("an attribute without values", with(vec![sequence(&[&attribute_oid])]), "malformed", "attribute");

    for (what, values, text) in [
        ("one string", vec![utf8("a")], "a"),
        ("a number", vec![vec![2, 1, 1]], ""),
        ("two strings", vec![utf8("a"), utf8("b")], ""),
        ("none", vec![], ""),
    ] {
        let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
        let request = accepted(&with(vec![attribute(&attribute_oid, &values)]).pem(), &STRICT);
        assert_eq!(request.attribute("pp_preshared_key"), Some(text), "{what}");
    }
    assert!(matches!(
        CertificateRequest::parse(&vec![b'x'; 70_000], &STRICT),
        Err(RequestError::TooLarge(70_000))
    ));
}

#[test]
fn no_cut_and_no_flipped_bit_makes_the_reader_fall_over() {
    let text = Odd {
        attributes: vec![extension_request(&[&extension(&puppet(1, 13), &utf8("worker"))])],
        ..Odd::default()
    }
    .pem();
    let body = String::from_utf8(text).unwrap();
    use base64::Engine as _;
    let der = base64::engine::general_purpose::STANDARD.decode(body.lines().nth(1).unwrap()).unwrap();
    for length in 0..der.len() {
        assert!(CertificateRequest::parse(&pem("CERTIFICATE REQUEST", &der[..length]), &LOOSE).is_err());
    }
    for at in 0..der.len() {
        for bit in 0..8 {
            let mut changed = der.clone();
            changed[at] ^= 1 << bit;
            // Nothing that the signature covers, and nothing around it, has a second spelling.
            assert!(
                CertificateRequest::parse(&pem("CERTIFICATE REQUEST", &changed), &LOOSE).is_err(),
                "byte {at}, bit {bit}"
            );
        }
    }
}
