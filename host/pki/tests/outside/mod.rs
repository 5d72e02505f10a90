//! The outside world: the `openssl` command in a folder of its own, and a maker of odd requests.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::path::PathBuf;
use std::process::Command;

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use tempfile::TempDir;

pub struct Openssl {
    dir: TempDir,
}

impl Openssl {
    pub fn new() -> Openssl {
        Openssl { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs it; success and everything it said.
    pub fn run(&self, args: &str) -> (bool, String) {
        let out =
            Command::new("openssl").current_dir(self.dir.path()).args(args.split(' ')).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        (out.status.success(), said)
    }

    pub fn ok(&self, args: &str) -> String {
        let (fine, said) = self.run(args);
        assert!(fine, "openssl {args}: {said}");
        said
    }

    /// A request with an EC key whose configuration has these lines for the subject and for the
    /// extensions; further sections may follow the extensions.
    pub fn request(&self, subject: &str, extensions: &str) -> Vec<u8> {
        self.request_with(subject, extensions, "", "-newkey ec -pkeyopt ec_paramgen_curve:P-256")
    }

    pub fn request_with(&self, subject: &str, extensions: &str, req: &str, key: &str) -> Vec<u8> {
        let wanted = if extensions.is_empty() { "" } else { "req_extensions=ext\n" };
        self.write(
            "req.cnf",
            format!("[req]\nprompt=no\ndistinguished_name=dn\n{wanted}{req}\n[dn]\n{subject}\n[ext]\n{extensions}\n"),
        );
        self.ok(&format!("req -new -config req.cnf -nodes -keyout key.pem -out csr.pem {key}"));
        self.read("csr.pem")
    }
}

/// A CA of the outside world's, which `openssl` keeps in the folder under a name.
pub struct Foreign<'a> {
    pub openssl: &'a Openssl,
    pub name: &'static str,
}

impl Openssl {
    /// A CA with this subject, self-signed or signed by another, whose key `genpkey` makes with `key`.
    pub fn foreign(
        &self,
        name: &'static str,
        subject: &str,
        above: Option<&Foreign<'_>>,
        key: &str,
    ) -> Foreign<'_> {
        self.ok(&format!("genpkey {key} -out {name}.key"));
        self.certify_ca(name, subject, above, "");
        self.write(&format!("{name}.index"), "");
        self.write(&format!("{name}.number"), "0A\n");
        Foreign { openssl: self, name }
    }

    /// A CA's certificate as `name.pem` for the key in `name.key`.
    pub fn certify_ca(&self, name: &str, subject: &str, above: Option<&Foreign<'_>>, basic: &str) {
        self.write(
            &format!("{name}.cnf"),
            format!(
                "[req]\ndistinguished_name=dn\nprompt=no\nstring_mask=nombstr\n[dn]\n{subject}\n[v3]\nbasicConstraints=critical,CA:TRUE{basic}\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
            ),
        );
        let by = above.map_or(String::new(), |above| format!("-CA {0}.pem -CAkey {0}.key ", above.name));
        self.ok(&format!(
            "req -new -x509 -days 3650 {by}-key {name}.key -config {name}.cnf -extensions v3 -out {name}.pem"
        ));
    }
}

impl Foreign<'_> {
    pub fn pem(&self) -> Vec<u8> {
        self.openssl.read(&format!("{}.pem", self.name))
    }

    /// A revocation list with the next number, from lines of `openssl ca`'s index, with more lines in the
    /// section of its extensions.
    pub fn list(&self, index: &str, extensions: &str) -> Vec<u8> {
        let Foreign { openssl, name } = self;
        openssl.write(&format!("{name}.index"), index);
        openssl.write(
            "ca.cnf",
            format!(
                "[ca]\ndefault_ca=me\n[me]\ndatabase={name}.index\ncrlnumber={name}.number\ndefault_md=sha256\ndefault_crl_days=30\ncrl_extensions=crl\n[crl]\nauthorityKeyIdentifier=keyid\n{extensions}\n"
            ),
        );
        openssl
            .ok(&format!("ca -gencrl -config ca.cnf -keyfile {name}.key -cert {name}.pem -out {name}.crl"));
        openssl.read(&format!("{name}.crl"))
    }
}

/// A DER value.
pub fn tlv(identifier: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut value = vec![identifier];
    match content.len() {
        short @ 0..0x80 => value.push(short as u8),
        middle @ 0x80..0x100 => value.extend([0x81, middle as u8]),
        long => value.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    value.extend(content);
    value
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

pub fn set(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x31, parts)
}

pub fn utf8(text: &str) -> Vec<u8> {
    tlv(12, &[text.as_bytes()])
}

/// Object identifier of a Puppet extension: `puppet(1, 13)` is `pp_role`.
pub fn puppet(kind: u8, number: u8) -> Vec<u8> {
    tlv(6, &[&[0x2b, 6, 1, 4, 1, 0x82, 0x8c, 0x4c, 1, kind, number]])
}

pub fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    sequence(&[oid, &tlv(4, &[value])])
}

pub fn attribute(oid: &[u8], values: &[&[u8]]) -> Vec<u8> {
    sequence(&[oid, &set(values)])
}

/// The attribute that asks for extensions.
pub fn extension_request(extensions: &[&[u8]]) -> Vec<u8> {
    let oid = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
    attribute(&oid, &[&sequence(extensions)])
}

pub fn common_name(value: &[u8]) -> Vec<u8> {
    sequence(&[&set(&[&sequence(&[&[6, 3, 0x55, 4, 3], value])])])
}

/// What may be odd about a request; the rest is as it should be, the signature included.
pub struct Odd {
    pub version: Vec<u8>,
    pub subject: Vec<u8>,
    pub attributes: Vec<Vec<u8>>,
    pub after_attributes: Vec<u8>,
    pub after_signature: Vec<u8>,
    pub trailing: Vec<u8>,
}

impl Default for Odd {
    fn default() -> Odd {
        Odd {
            version: vec![2, 1, 0],
            subject: common_name(&utf8("odd.example")),
            attributes: Vec::new(),
            after_attributes: Vec::new(),
            after_signature: Vec::new(),
            trailing: Vec::new(),
        }
    }
}

impl Odd {
    pub fn pem(self) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let attributes = tlv(0xa0, &[&self.attributes.concat()]);
        let info = sequence(&[
            &self.version,
            &self.subject,
            &key.subject_public_key_info(),
            &attributes,
            &self.after_attributes,
        ]);
        let signature = key.sign(&info).unwrap();
        let ecdsa_with_sha256 = sequence(&[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
        let mut der =
            sequence(&[&info, &ecdsa_with_sha256, &tlv(3, &[&[0], &signature]), &self.after_signature]);
        der.extend(self.trailing);
        pem("CERTIFICATE REQUEST", &der)
    }
}

pub fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes()
}
