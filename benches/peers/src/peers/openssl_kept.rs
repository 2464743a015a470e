//! OpenSSL at its best: fetched once, keyed once, re-initialised per cell, the caller's buffers.
//!
//! The `Signer` of the `openssl` crate cannot be reused, so the HMAC is called through
//! `openssl-sys`: the `HMAC_CTX` that OpenSSL's own EVP_MAC drives. All unsafe code of this program
//! is here.

use std::ptr;

use always_encrypted::crypto::EncryptionType;
use openssl::{cipher::Cipher, cipher_ctx::CipherCtx, memcmp, rand::rand_bytes};
use openssl_sys as ffi;

use crate::{
    contender::Peer,
    layout::{BLOCK, CIPHERTEXT, IV, Keys, TAG, VERSION, VERSION_LEN, encrypted_len, well_formed},
};

pub struct OpensslKept {
    encrypt: CipherCtx,
    decrypt: CipherCtx,
    mac: KeptHmac,
    iv: KeptHmac,
}

impl OpensslKept {
    pub fn new(cek: &[u8; 32]) -> Self {
        let keys = Keys::derive(cek);
        let (cipher, key) = (Some(Cipher::aes_256_cbc()), Some(&keys.encryption[..]));
        let mut encrypt = CipherCtx::new().expect("a cipher context");
        encrypt.encrypt_init(cipher, key, None).expect("AES-256-CBC");
        let mut decrypt = CipherCtx::new().expect("a cipher context");
        decrypt.decrypt_init(cipher, key, None).expect("AES-256-CBC");
        Self { encrypt, decrypt, mac: KeptHmac::new(&keys.mac), iv: KeptHmac::new(&keys.iv) }
    }
}

impl Peer for OpensslKept {
    const NAME: &'static str = "OpenSSL, EVP objects kept";
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
                iv.copy_from_slice(&self.iv.mac(&[plaintext])[..BLOCK]);
            }
            EncryptionType::Randomized => rand_bytes(&mut iv).expect("random bytes"),
        }
        let len = encrypted_len(plaintext.len());
        let context = &mut self.encrypt;
        context.encrypt_init(None, None, Some(&iv)).expect("an IV");
        let written =
            context.cipher_update(plaintext, Some(&mut out[CIPHERTEXT..])).expect("AES-256-CBC");
        context.cipher_final(&mut out[CIPHERTEXT + written..]).expect("AES-256-CBC");
        out[0] = VERSION;
        out[IV..CIPHERTEXT].copy_from_slice(&iv);
        let tag = self.mac.mac(&[&[VERSION], &out[IV..len], &[VERSION_LEN]]);
        out[TAG..IV].copy_from_slice(&tag);
        &out[..len]
    }

    fn decrypt<'a>(&mut self, cell: &[u8], out: &'a mut [u8]) -> Option<&'a [u8]> {
        if !well_formed(cell) {
            return None;
        }
        let tag = self.mac.mac(&[&[VERSION], &cell[IV..], &[VERSION_LEN]]);
        if !memcmp::eq(&tag, &cell[TAG..IV]) {
            return None;
        }
        let context = &mut self.decrypt;
        context.decrypt_init(None, None, Some(&cell[IV..CIPHERTEXT])).ok()?;
        let written = context.cipher_update(&cell[CIPHERTEXT..], Some(out)).ok()?;
        let last = context.cipher_final(&mut out[written..]).ok()?;
        Some(&out[..written + last])
    }
}

/// An `HMAC_CTX` that keeps its key.
struct KeptHmac(*mut ffi::HMAC_CTX);

impl KeptHmac {
    fn new(key: &[u8; 32]) -> Self {
        // SAFETY: the key is copied, the digest is static, a null engine means none.
        unsafe {
            let context = ffi::HMAC_CTX_new();
            assert!(!context.is_null(), "OpenSSL made no HMAC context");
            let (key, len) = (key.as_ptr().cast(), key.len() as i32);
            let ok = ffi::HMAC_Init_ex(context, key, len, ffi::EVP_sha256(), ptr::null_mut());
            assert_eq!(ok, 1, "OpenSSL took no HMAC key");
            Self(context)
        }
    }

    fn mac(&mut self, parts: &[&[u8]]) -> [u8; 32] {
        let mut tag = [0; 32];
        let mut len = 0;
        // SAFETY: the context is valid and ours alone, null key and digest mean those that it has,
        // lengths are those of the slices, and SHA-256 writes the 32 bytes of `tag`.
        unsafe {
            let mut ok = ffi::HMAC_Init_ex(self.0, ptr::null(), 0, ptr::null(), ptr::null_mut());
            for part in parts {
                ok &= ffi::HMAC_Update(self.0, part.as_ptr(), part.len());
            }
            ok &= ffi::HMAC_Final(self.0, tag.as_mut_ptr(), &raw mut len);
            assert_eq!((ok, len), (1, 32), "HMAC");
        }
        tag
    }
}

impl Drop for KeptHmac {
    fn drop(&mut self) {
        // SAFETY: the context came from HMAC_CTX_new and is freed once.
        unsafe { ffi::HMAC_CTX_free(self.0) }
    }
}
