//! What OpenSSL, which shares no line with us, says of certificates, chains and revocation lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::tools;

/// How many files one `openssl verify` gets.
const BATCH: usize = 1_000;

/// What `openssl verify` says of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The chain is good and no list names it.
    Valid,
    /// The chain is good and a list names it.
    Revoked,
    /// Anything else, in OpenSSL's words.
    Bad(String),
}

/// A bundle and its revocation lists, kept in files for OpenSSL.
pub struct Believed {
    folder: TempDir,
}

/// A revocation list, as `openssl crl` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// CRL number.
    pub number: u128,
    /// Serials in upper case hexadecimal, without leading zeros.
    pub serials: BTreeSet<String>,
    /// Its issuer, in OpenSSL's one line form.
    pub issuer: String,
}

impl Believed {
    /// Keeps a CA's bundle and lists.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn new(bundle: &str, lists: &str) -> Result<Believed> {
        let folder = TempDir::with_prefix("bunraku-openssl-")?;
        fs::write(folder.path().join("ca.pem"), bundle)?;
        fs::write(folder.path().join("crl.pem"), lists)?;
        Ok(Believed { folder })
    }

    /// What OpenSSL says of each certificate, in order: chain, lifetimes, and the lists of every CA of the chain.
    ///
    /// # Errors
    /// When it cannot be run, or says nothing of one.
    pub fn verify<'a>(&self, certificates: impl IntoIterator<Item = &'a str>) -> Result<Vec<Verdict>> {
        let folder = self.folder.path();
        let mut files = Vec::new();
        for (n, certificate) in certificates.into_iter().enumerate() {
            let file = folder.join(format!("{n}.pem"));
            fs::write(&file, certificate)?;
            files.push(file);
        }
        let mut verdicts = Vec::new();
        for batch in files.chunks(BATCH) {
            let mut command = Command::new("openssl");
            command.args(["verify", "-crl_check_all", "-CAfile"]).arg(folder.join("ca.pem"));
            command.arg("-CRLfile").arg(folder.join("crl.pem")).args(batch);
            let said = tools::text(&command.output().context("cannot start openssl")?);
            let mut found = verdicts_of(&said);
            for file in batch {
                let verdict = found.remove(&file.display().to_string());
                verdicts.push(
                    verdict.with_context(|| format!("openssl says nothing of a certificate:\n{said}"))?,
                );
            }
        }
        Ok(verdicts)
    }

    /// The first list, after a check of its signature by the first CA.
    ///
    /// # Errors
    /// A signature that is wrong, a list that is not in force, or one without a number.
    pub fn list(&self) -> Result<List> {
        let file = self.folder.path().join("crl.pem");
        let mut command = Command::new("openssl");
        command.args(["crl", "-noout", "-text", "-in"]).arg(&file);
        let said = tools::run(command.arg("-CAfile").arg(self.folder.path().join("ca.pem")))?;
        let said = tools::text(&said);
        ensure!(said.contains("verify OK"), "openssl: the list's signature is wrong:\n{said}");
        let mut lines = said.lines().map(str::trim);
        let number = lines.by_ref().skip_while(|line| *line != "X509v3 CRL Number:").nth(1);
        let number = number.and_then(parse_number).context("openssl finds no CRL number")?;
        let serials =
            said.lines().filter_map(|l| l.trim().strip_prefix("Serial Number: ")).map(plain).collect();
        let issuer =
            said.lines().find_map(|l| l.trim().strip_prefix("Issuer: ")).unwrap_or_default().to_owned();
        Ok(List { number, serials, issuer })
    }

    /// The folder with `ca.pem` and `crl.pem`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The serial of a certificate in upper case hexadecimal, without leading zeros.
///
/// # Errors
/// When openssl does not read it.
pub fn serial(certificate: &str) -> Result<String> {
    let mut command = Command::new("openssl");
    let said = tools::output_with_input(command.args(["x509", "-noout", "-serial"]), certificate)?;
    let text = tools::text(&said);
    Ok(plain(text.trim().strip_prefix("serial=").with_context(|| text.clone())?))
}

/// `openssl x509 -text` of a certificate.
///
/// # Errors
/// When openssl does not read it.
pub fn text(certificate: &str) -> Result<String> {
    let mut command = Command::new("openssl");
    let said = tools::output_with_input(command.args(["x509", "-noout", "-text"]), certificate)?;
    ensure!(said.status.success(), "{}", tools::text(&said));
    Ok(tools::text(&said))
}

/// A number in hexadecimal as bunraku, Puppet and OpenSSL write it, made the same.
pub fn plain(serial: &str) -> String {
    let digits = serial.trim().trim_start_matches("0x").trim_start_matches("0X").to_uppercase();
    digits.trim_start_matches('0').to_owned()
}

/// A root in a folder, made by openssl: `root.pem`, `root.key` and an empty `root_crl.pem`.
///
/// # Errors
/// When openssl refuses.
pub fn root(folder: &Path) -> Result<()> {
    fs::write(folder.join("root.cnf"), ROOT)?;
    fs::write(folder.join("index.txt"), "")?;
    fs::write(folder.join("serial"), "1001\n")?;
    fs::write(folder.join("crlnumber"), "01\n")?;
    openssl(
        folder,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout root.key -out root.pem -days 3650 -subj /CN=An-External-Root -config root.cnf -extensions root",
    )?;
    root_list(folder)
}

/// A newer list of that root.
///
/// # Errors
/// When openssl refuses.
pub fn root_list(folder: &Path) -> Result<()> {
    openssl(folder, "ca -config root.cnf -gencrl -crldays 30 -out root_crl.pem")
}

/// Signs the request of a CA below that root; returns the chain, the new CA's certificate first.
///
/// # Errors
/// When openssl refuses.
pub fn sign_authority(folder: &Path, request: &Path) -> Result<String> {
    fs::copy(request, folder.join("ca.csr"))?;
    openssl(
        folder,
        "ca -config root.cnf -batch -notext -extensions authority -days 1825 -in ca.csr -out ca.pem",
    )?;
    Ok(fs::read_to_string(folder.join("ca.pem"))? + &fs::read_to_string(folder.join("root.pem"))?)
}

/// Runs openssl in a folder.
///
/// # Errors
/// An exit code other than 0.
pub fn openssl(folder: &Path, arguments: &str) -> Result<()> {
    tools::run(Command::new("openssl").args(arguments.split(' ')).current_dir(folder)).map(drop)
}

const ROOT: &str = "\
[req]
distinguished_name = dn
[dn]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[ca]
default_ca = this
[this]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = root.pem
private_key = root.key
default_md = sha384
policy = any
unique_subject = no
[any]
commonName = supplied
";

/// Lines of `openssl verify`: `FILE: OK`, or the reason for a subject and then `error FILE: verification failed`.
fn verdicts_of(said: &str) -> BTreeMap<String, Verdict> {
    let mut found = BTreeMap::new();
    let mut reasons = Vec::new();
    for line in said.lines() {
        if let Some(file) = line.strip_suffix(": OK") {
            found.insert(file.to_owned(), Verdict::Valid);
        } else if let Some(file) =
            line.strip_prefix("error ").and_then(|rest| rest.strip_suffix(": verification failed"))
        {
            let reason = reasons.join("; ");
            let revoked = reasons.len() == 1 && reason.contains("certificate revoked");
            found.insert(file.to_owned(), if revoked { Verdict::Revoked } else { Verdict::Bad(reason) });
            reasons.clear();
        } else if line.starts_with("error ") {
            reasons.push(line.to_owned());
        }
    }
    found
}

fn parse_number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, plain, verdicts_of};

    #[test]
    fn the_words_of_openssl_verify_are_read() {
        let said = "/t/0.pem: OK\n/t/2.pem: OK\nCN = x\nerror 23 at 0 depth lookup: certificate revoked\n\
                    error /t/1.pem: verification failed\nCN = y\nerror 10 at 0 depth lookup: certificate has expired\n\
                    error /t/3.pem: verification failed\n";
        let found = verdicts_of(said);
        assert_eq!(found["/t/0.pem"], Verdict::Valid);
        assert_eq!(found["/t/1.pem"], Verdict::Revoked);
        assert!(matches!(&found["/t/3.pem"], Verdict::Bad(why) if why.contains("expired")));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn serials_are_the_same_however_they_are_written() {
        assert_eq!(["0x0A1f", "A1F", "0A1F\n"].map(plain), ["A1F", "A1F", "A1F"]);
    }
}
