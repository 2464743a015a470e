//! RustCrypto as one writes it at first: keys derived once, all else anew per cell.
//!
//! A new HMAC, a new AES schedule and a new vector each time, IVs from the operating system.

use always_encrypted::crypto::EncryptionType;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use hmac::Mac;
use subtle::ConstantTimeEq;

use crate::{
    contender::Peer,
    layout::{BLOCK, CIPHERTEXT, IV, Keys, TAG, VERSION, VERSION_LEN, hmac, well_formed},
};

pub struct Naive(Keys);

impl Naive {
    pub fn new(cek: &[u8; 32]) -> Self {
        Self(Keys::derive(cek))
    }

    fn tag(&self, iv: &[u8], ciphertext: &[u8]) -> [u8; 32] {
        let mut mac = hmac(&self.0.mac);
        mac.update(&[VERSION]);
        mac.update(iv);
        mac.update(ciphertext);
        mac.update(&[VERSION_LEN]);
        mac.finalize().into_bytes().into()
    }
}

impl Peer for Naive {
    const NAME: &'static str = "RustCrypto, naive";
    type Bytes<'a> = Vec<u8>;

    fn encrypt(
        &mut self,
        plaintext: &[u8],
        encryption_type: EncryptionType,
        _out: &mut [u8],
    ) -> Vec<u8> {
        let mut iv = [0; BLOCK];
        match encryption_type {
            EncryptionType::Deterministic => {
                let mut mac = hmac(&self.0.iv);
                mac.update(plaintext);
                iv.copy_from_slice(&mac.finalize().into_bytes()[..BLOCK]);
            }
            EncryptionType::Randomized => getrandom::fill(&mut iv).expect("random bytes"),
        }
        let ciphertext =
            cbc::Encryptor::<aes::Aes256>::new((&self.0.encryption).into(), (&iv).into())
                .encrypt_padded_vec::<Pkcs7>(plaintext);
        let mut cell = Vec::with_capacity(CIPHERTEXT + ciphertext.len());
        cell.push(VERSION);
        cell.extend_from_slice(&self.tag(&iv, &ciphertext));
        cell.extend_from_slice(&iv);
        cell.extend_from_slice(&ciphertext);
        cell
    }

    fn decrypt(&mut self, cell: &[u8], _out: &mut [u8]) -> Option<Vec<u8>> {
        if !well_formed(cell) {
            return None;
        }
        let (iv, ciphertext) = cell[IV..].split_first_chunk::<BLOCK>()?;
        if !bool::from(self.tag(iv, ciphertext).ct_eq(&cell[TAG..IV])) {
            return None;
        }
        cbc::Decryptor::<aes::Aes256>::new((&self.0.encryption).into(), iv.into())
            .decrypt_padded_vec::<Pkcs7>(ciphertext)
            .ok()
    }
}
