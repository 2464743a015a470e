//! The second table: opening a CEK envelope, the one RSA operation there is per CEK.
//!
//! Opening is what a driver does: check the signature (RSASSA-PKCS1-v1_5, SHA-256) with the public
//! half, then decrypt the CEK (RSAES-OAEP, SHA-1) with the private half. Keys are read before.

use std::hint::black_box;

use always_encrypted::crypto::{Cek, CmkPrivateKey, Envelope};
use aws_lc_rs::{
    rsa::{OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey},
    signature::{KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair},
};
use mssql_auth::RsaKeyUnwrapper;
use openssl::{
    encrypt::Decrypter,
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
    sign::Verifier,
};

use crate::measure::{Effort, Series, Timed, interleaved};

/// Key sizes in bits.
pub const BITS: [u32; 2] = [2048, 3072];
/// Distinct envelopes per key.
const DISTINCT: usize = 8;

type Open = Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>;

/// One key size: name and series of everybody, ours first.
pub struct Opened {
    pub bits: u32,
    pub rows: Vec<(&'static str, Series)>,
}

/// Compares results, then times them.
pub fn measure(bits: u32, effort: Effort) -> Result<Opened, String> {
    let key = PKey::from_rsa(Rsa::generate(bits).expect("an RSA key")).expect("an RSA key");
    let pem = key.private_key_to_pem_pkcs8().expect("PEM");
    let pem = String::from_utf8(pem).expect("PEM");
    let cmk = CmkPrivateKey::from_pem(&pem).expect("an RSA key");
    let ceks: Vec<Cek> = (0..DISTINCT).map(|n| Cek::from([n as u8 + 1; 32])).collect();
    let envelopes: Vec<Vec<u8>> = ceks
        .iter()
        .map(|cek| Envelope::wrap(cek, "CurrentUser/My/peers", &cmk).expect("an envelope"))
        .collect();

    let openers: [(&'static str, Open); 4] = [
        ("always-encrypted", ours(cmk)),
        ("OpenSSL, as mssql-tds calls it", openssl(key.clone())),
        ("aws-lc-rs, keys kept", aws_lc(&key)),
        ("mssql-auth, built once", mssql_auth(&pem)),
    ];
    for (name, open) in &openers {
        for (cek, envelope) in ceks.iter().zip(&envelopes) {
            if open(envelope).as_deref() != Some(cek.expose()) {
                return Err(format!("{name}: does not open an envelope of {bits} bits"));
            }
            let mut forged = envelope.clone();
            forged[5] ^= 1;
            if open(&forged).is_some() {
                return Err(format!("{name}: opens a forged envelope of {bits} bits"));
            }
        }
    }
    let mut timed: Vec<Timed<'_>> = openers
        .iter()
        .map(|(_, open)| {
            let envelopes = &envelopes;
            Box::new(move |count| {
                for envelope in envelopes.iter().cycle().take(count) {
                    black_box(open(black_box(envelope)));
                }
            }) as Timed<'_>
        })
        .collect();
    let series = interleaved(&mut timed, effort);
    drop(timed);
    Ok(Opened { bits, rows: openers.iter().map(|(name, _)| *name).zip(series).collect() })
}

fn ours(cmk: CmkPrivateKey) -> Open {
    Box::new(move |envelope| {
        let cek = Envelope::parse(envelope).ok()?.unwrap_with(&cmk).ok()?;
        Some(cek.expose().to_vec())
    })
}

fn openssl(key: PKey<Private>) -> Open {
    Box::new(move |envelope| {
        let envelope = Envelope::parse(envelope).ok()?;
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key).ok()?;
        verifier.set_rsa_padding(Padding::PKCS1).ok()?;
        verifier.update(envelope.signed_bytes()).ok()?;
        if !verifier.verify(envelope.signature()).ok()? {
            return None;
        }
        let mut decrypter = Decrypter::new(&key).ok()?;
        decrypter.set_rsa_padding(Padding::PKCS1_OAEP).ok()?;
        decrypter.set_rsa_oaep_md(MessageDigest::sha1()).ok()?;
        decrypter.set_rsa_mgf1_md(MessageDigest::sha1()).ok()?;
        let mut cek = vec![0; decrypter.decrypt_len(envelope.ciphertext()).ok()?];
        let len = decrypter.decrypt(envelope.ciphertext(), &mut cek).ok()?;
        cek.truncate(len);
        Some(cek)
    })
}

fn aws_lc(key: &PKey<Private>) -> Open {
    let pkcs8 = key.private_key_to_pkcs8().expect("PKCS#8");
    let private = PrivateDecryptingKey::from_pkcs8(&pkcs8).expect("an RSA key");
    let private = OaepPrivateDecryptingKey::new(private).expect("an RSA key");
    let pair = RsaKeyPair::from_pkcs8(&pkcs8).expect("an RSA key");
    let public =
        ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key()).expect("a public key");
    Box::new(move |envelope| {
        let envelope = Envelope::parse(envelope).ok()?;
        public.verify_sig(envelope.signed_bytes(), envelope.signature()).ok()?;
        let mut cek = vec![0; private.min_output_size()];
        let len =
            private.decrypt(&OAEP_SHA1_MGF1SHA1, envelope.ciphertext(), &mut cek, None).ok()?.len();
        cek.truncate(len);
        Some(cek)
    })
}

fn mssql_auth(pem: &str) -> Open {
    let unwrapper = RsaKeyUnwrapper::from_pem(pem).expect("an RSA key");
    Box::new(move |envelope| unwrapper.decrypt_cek(envelope).ok())
}
