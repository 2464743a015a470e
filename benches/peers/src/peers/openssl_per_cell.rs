//! OpenSSL with every EVP object built for every cell: the calls that mssql-tds 0.3.0 makes.
//!
//! Its cipher is private to that crate, so its sequence of OpenSSL calls is made here anew. A cell
//! there costs the three key derivations, one HMAC for the tag, another for a deterministic IV, and
//! one cipher call, each with objects of its own and its result in a new vector.

use always_encrypted::crypto::EncryptionType;
use openssl::{
    hash::MessageDigest,
    memcmp,
    pkey::PKey,
    rand::rand_bytes,
    sign::Signer,
    symm::{self, Cipher},
};

use crate::{
    contender::Peer,
    layout::{BLOCK, CIPHERTEXT, IV, Keys, TAG, VERSION, VERSION_LEN, utf16, well_formed},
};

pub struct OpensslPerCell {
    cek: [u8; 32],
}

impl OpensslPerCell {
    pub fn new(cek: &[u8; 32]) -> Self {
        Self { cek: *cek }
    }

    fn keys(&self) -> Keys {
        Keys::derive_with(|salt| hmac_sha256(&self.cek, &utf16(salt)))
    }
}

impl Peer for OpensslPerCell {
    const NAME: &'static str = "OpenSSL, EVP objects built per cell";
    type Bytes<'a> = Vec<u8>;

    fn encrypt(
        &mut self,
        plaintext: &[u8],
        encryption_type: EncryptionType,
        _out: &mut [u8],
    ) -> Vec<u8> {
        let keys = self.keys();
        let mut iv = [0; BLOCK];
        match encryption_type {
            EncryptionType::Deterministic => {
                iv.copy_from_slice(&hmac_sha256(&keys.iv, plaintext)[..BLOCK]);
            }
            EncryptionType::Randomized => rand_bytes(&mut iv).expect("random bytes"),
        }
        let ciphertext =
            symm::encrypt(Cipher::aes_256_cbc(), &keys.encryption, Some(&iv), plaintext)
                .expect("AES-256-CBC");
        let tag = tag(&keys.mac, &iv, &ciphertext);
        let mut cell = Vec::with_capacity(CIPHERTEXT + ciphertext.len());
        cell.push(VERSION);
        cell.extend_from_slice(&tag);
        cell.extend_from_slice(&iv);
        cell.extend_from_slice(&ciphertext);
        cell
    }

    fn decrypt(&mut self, cell: &[u8], _out: &mut [u8]) -> Option<Vec<u8>> {
        let keys = self.keys();
        if !well_formed(cell) {
            return None;
        }
        let (iv, ciphertext) = (&cell[IV..CIPHERTEXT], &cell[CIPHERTEXT..]);
        if !memcmp::eq(&tag(&keys.mac, iv, ciphertext), &cell[TAG..IV]) {
            return None;
        }
        symm::decrypt(Cipher::aes_256_cbc(), &keys.encryption, Some(iv), ciphertext).ok()
    }
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let key = PKey::hmac(key).expect("an HMAC key");
    let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("a signer");
    signer.update(data).expect("HMAC");
    let tag = signer.sign_to_vec().expect("HMAC");
    tag.try_into().expect("32 bytes")
}

fn tag(mac_key: &[u8], iv: &[u8], ciphertext: &[u8]) -> [u8; 32] {
    let mut message = Vec::with_capacity(2 + iv.len() + ciphertext.len());
    message.push(VERSION);
    message.extend_from_slice(iv);
    message.extend_from_slice(ciphertext);
    message.push(VERSION_LEN);
    hmac_sha256(mac_key, &message)
}
