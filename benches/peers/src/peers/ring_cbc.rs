//! ring's HMAC with RustCrypto's CBC, everything keyed once: ring has no CBC of its own.

use aes::{
    Aes256Dec, Aes256Enc,
    cipher::{
        Array, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit, block_padding::NoPadding,
    },
};
use always_encrypted::crypto::EncryptionType;
use rand::Rng;
use ring::hmac::{Context, HMAC_SHA256, Key, Tag};
use subtle::ConstantTimeEq;

use crate::{
    contender::Peer,
    layout::{
        BLOCK, CIPHERTEXT, IV, Keys, TAG, VERSION, VERSION_LEN, encrypted_len, pad, unpadded_len,
        well_formed,
    },
};

pub struct RingCbc {
    encrypt: Aes256Enc,
    decrypt: Aes256Dec,
    mac: Key,
    iv: Key,
}

impl RingCbc {
    pub fn new(cek: &[u8; 32]) -> Self {
        let keys = Keys::derive(cek);
        Self {
            encrypt: Aes256Enc::new((&keys.encryption).into()),
            decrypt: Aes256Dec::new((&keys.encryption).into()),
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

impl Peer for RingCbc {
    const NAME: &'static str = "ring HMAC, RustCrypto CBC, keys kept";
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
            EncryptionType::Randomized => rand::rng().fill_bytes(&mut iv),
        }
        let cell = &mut out[..encrypted_len(plaintext.len())];
        cell[0] = VERSION;
        cell[IV..CIPHERTEXT].copy_from_slice(&iv);
        let padded = &mut cell[CIPHERTEXT..];
        padded[..plaintext.len()].copy_from_slice(plaintext);
        pad(padded, plaintext.len());
        let (blocks, _) = padded.as_chunks_mut::<BLOCK>();
        cbc::Encryptor::inner_iv_init(&self.encrypt, (&iv).into())
            .encrypt_blocks(Array::cast_slice_from_core_mut(blocks));
        let tag = self.tag(&cell[IV..]);
        cell[TAG..IV].copy_from_slice(tag.as_ref());
        cell
    }

    fn decrypt<'a>(&mut self, cell: &[u8], out: &'a mut [u8]) -> Option<&'a [u8]> {
        if !well_formed(cell) {
            return None;
        }
        let tag = self.tag(&cell[IV..]);
        if !bool::from(tag.as_ref().ct_eq(&cell[TAG..IV])) {
            return None;
        }
        let (iv, ciphertext) = cell[IV..].split_first_chunk::<BLOCK>()?;
        let blocks = &mut out[..ciphertext.len()];
        cbc::Decryptor::inner_iv_init(&self.decrypt, iv.into())
            .decrypt_padded_b2b::<NoPadding>(ciphertext, blocks)
            .ok()?;
        let len = unpadded_len(blocks)?;
        Some(&blocks[..len])
    }
}
