//! A private CA and a certificate of 127.0.0.1 that it has signed.

use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

pub(crate) struct Certificates {
    /// Whom a worker must trust.
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Written into the directory, as PEM.
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let (ca_key, server_key) = (key(), key());
        let mut ca = begun(&format!("CA {name}"), &ca_key);
        ca.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        ca.append_extension(KeyUsage::new().critical().key_cert_sign().build().unwrap()).unwrap();
        let ca_name = subject(&format!("CA {name}"));
        ca.set_issuer_name(&ca_name).unwrap();
        ca.sign(&ca_key, MessageDigest::sha256()).unwrap();
        let ca = ca.build();

        let mut server = begun("127.0.0.1", &server_key);
        server.set_issuer_name(&ca_name).unwrap();
        let context = server.x509v3_context(Some(&ca), None);
        let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&context).unwrap();
        server.append_extension(names).unwrap();
        server.sign(&ca_key, MessageDigest::sha256()).unwrap();

        let write = |what: &str, pem: Vec<u8>| {
            let path = directory.join(format!("{name}-{what}.pem"));
            std::fs::write(&path, pem).unwrap();
            path
        };
        Self {
            ca: write("ca", ca.to_pem().unwrap()),
            certificate: write("server", server.build().to_pem().unwrap()),
            key: write("key", server_key.private_key_to_pem_pkcs8().unwrap()),
        }
    }
}

fn key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

fn subject(name: &str) -> openssl::x509::X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    builder.append_entry_by_text("CN", name).unwrap();
    builder.build()
}

fn begun(name: &str, key: &PKey<Private>) -> X509Builder {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(rand::random::<u32>() | 1).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject(name)).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder
}
