//! aws-lc-rs with its keys kept: expanded AES keys, HMAC keys with their pads absorbed, the
//! caller's buffers.

use always_encrypted::crypto::EncryptionType;
use aws_lc_rs::{
    cipher::{
        AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
        UnboundCipherKey,
    },
    constant_time::verify_slices_are_equal,
    hmac::{Context, HMAC_SHA256, Key, Tag},
    iv::FixedLength,
    rand,
};

use crate::{
    contender::Peer,
    layout::{
        BLOCK, CIPHERTEXT, IV, Keys, TAG, VERSION, VERSION_LEN, encrypted_len, pad, unpadded_len,
        well_formed,
    },
};

pub struct AwsLc {
    encrypt: EncryptingKey,
    decrypt: DecryptingKey,
    mac: Key,
    iv: Key,
}

impl AwsLc {
    pub fn new(cek: &[u8; 32]) -> Self {
        let keys = Keys::derive(cek);
        let key = || UnboundCipherKey::new(&AES_256, &keys.encryption).expect("an AES-256 key");
        Self {
            encrypt: EncryptingKey::cbc(key()).expect("CBC"),
            decrypt: DecryptingKey::cbc(key()).expect("CBC"),
            mac: Key::new(HMAC_SHA256, &keys.mac),
            iv: Key::new(HMAC_SHA256, &keys.iv),
        }
    }

    fn tag(&self, iv_and_ciphertext: &[u8]) -> Tag {
        let mut context = Context::with_key(&self.mac);
        context.update(&[VERSION]);
        context.update(iv_and_ciphertext);
        context.update(&[VERSION_LEN]);
        context.sign()
    }
}

impl Peer for AwsLc {
    const NAME: &'static str = "aws-lc-rs, keys kept";
    type Bytes<'a> = &'a [u8];

    fn encrypt<'a>(
        &mut self,
        plaintext: &[u8],
        encryption_type: EncryptionType,
        out: &'a mut [u8],
    ) -> &'a [u8] {
        let mut iv = [0; BLOCK];
        match encryption_type {
            EncryptionType::Deterministic => {
                let mut context = Context::with_key(&self.iv);
                context.update(plaintext);
                iv.copy_from_slice(&context.sign().as_ref()[..BLOCK]);
            }
            EncryptionType::Randomized => rand::fill(&mut iv).expect("random bytes"),
        }
        let cell = &mut out[..encrypted_len(plaintext.len())];
        cell[0] = VERSION;
        cell[IV..CIPHERTEXT].copy_from_slice(&iv);
        let blocks = &mut cell[CIPHERTEXT..];
        blocks[..plaintext.len()].copy_from_slice(plaintext);
        pad(blocks, plaintext.len());
        let iv = EncryptionContext::Iv128(FixedLength::from(iv));
        self.encrypt.less_safe_encrypt(blocks, iv).expect("AES-256-CBC");
        let tag = self.tag(&cell[IV..]);
        cell[TAG..IV].copy_from_slice(tag.as_ref());
        cell
    }

    fn decrypt<'a>(&mut self, cell: &[u8], out: &'a mut [u8]) -> Option<&'a [u8]> {
        if !well_formed(cell) {
            return None;
        }
        verify_slices_are_equal(self.tag(&cell[IV..]).as_ref(), &cell[TAG..IV]).ok()?;
        let (iv, ciphertext) = cell[IV..].split_first_chunk::<BLOCK>()?;
        let blocks = &mut out[..ciphertext.len()];
        blocks.copy_from_slice(ciphertext);
        let iv = DecryptionContext::Iv128(FixedLength::from(iv));
        self.decrypt.decrypt(blocks, iv).ok()?;
        let len = unpadded_len(blocks)?;
        Some(&blocks[..len])
    }
}
