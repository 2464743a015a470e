//! AWS KMS and HashiCorp Vault: what of them can serve as key store, and how to write it.
//!
//! A column master key does two things with one RSA key (the [`Envelope`](crate::crypto::Envelope)):
//! RSAES-OAEP with SHA-1 for hash and mask, and RSASSA-PKCS1-v1_5 with SHA-256. Not all of it is needed
//! everywhere:
//!
//! | who | needs of the key store |
//! |---|---|
//! | an application, which opens CEKs | decryption. The signature is verified with the public key, here |
//! | an administrator, who makes CEKs | a signature. The CEK is encrypted with the public key, here |
//!
//! Neither store below was at hand when this was written: what stands here is from their
//! documentation and sources, as of 2025, and has not been run against them.
//!
//! # AWS KMS
//!
//! `Decrypt` has `RSAES_OAEP_SHA_1`, and `Sign` has `RSASSA_PKCS1_V1_5_SHA_256`, but a KMS key has one
//! usage, `ENCRYPT_DECRYPT` or `SIGN_VERIFY`, chosen when it is made and not to be changed. So an RSA
//! key that KMS has generated cannot serve: of usage `ENCRYPT_DECRYPT` it signs no envelope, of usage
//! `SIGN_VERIFY` it opens none, and two keys of one usage each are two keys, of which the other drivers
//! that read the database know nothing.
//!
//! An RSA key that was made elsewhere can, for applications. Make the master key and the envelopes
//! where security administrators work ([`wrap_new_cek`](crate::admin::wrap_new_cek)), then import the
//! private key into a KMS key of origin `EXTERNAL` and usage `ENCRYPT_DECRYPT` (KMS wants it under
//! `RSA_AES_KEY_WRAP_SHA_256`), and put the original away offline: new CEKs need it. Applications ask
//! `GetPublicKey` once and `Decrypt` for each CEK:
//!
//! ```
//! use std::sync::Arc;
//!
//! use always_encrypted::{
//!     crypto::{CmkPublicKey, Envelope},
//!     keystore::{FnKeyStore, KeyStoreError, KeyStores},
//! };
//!
//! # struct Kms;
//! # impl Kms {
//! #     async fn decrypt(
//! #         &self, _key_id: &str, _algorithm: &str, _ciphertext: Vec<u8>,
//! #     ) -> std::io::Result<Vec<u8>> { Ok(vec![7; 32]) }
//! # }
//! /// `key_id` is the KMS key that holds the master key of `cmk_path`, `public_key` its public half:
//! /// modulus and exponent from the SubjectPublicKeyInfo that `GetPublicKey` returns.
//! fn aws_kms(kms: Kms, key_id: String, cmk_path: String, public_key: CmkPublicKey) -> FnKeyStore {
//!     let shared = Arc::new((kms, key_id, cmk_path, public_key));
//!     FnKeyStore::new("AWS_KMS").unwrap_with(move |path, envelope| {
//!         let shared = Arc::clone(&shared);
//!         async move {
//!             let (kms, key_id, cmk_path, public_key) = &*shared;
//!             // The path is the server's word: it chooses among keys that are known, and names none.
//!             if path != *cmk_path {
//!                 return Err(KeyStoreError::other(format!("there is no master key {path:?}")));
//!             }
//!             let envelope = Envelope::parse(&envelope)?;
//!             // Before the private key touches anything, and before anything is billed.
//!             envelope.verify(public_key)?;
//!             let ciphertext = envelope.ciphertext().to_vec();
//!             let cek = kms
//!                 .decrypt(key_id, "RSAES_OAEP_SHA_1", ciphertext)
//!                 .await
//!                 .map_err(KeyStoreError::other)?;
//!             Ok(Envelope::cek(&cek)?)
//!         }
//!     })
//! }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let key = always_encrypted::crypto::CmkPrivateKey::generate(2048)?.public_key();
//! # let keys = KeyStores::builder().provider(aws_kms(Kms, "k".into(), "p".into(), key)).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! The buffer in which the SDK hands over the key is the SDK's: it is not wiped.
//!
//! # HashiCorp Vault
//!
//! The transit engine signs with RSASSA-PKCS1-v1_5 and SHA-256 (`signature_algorithm=pkcs1v15`,
//! `hash_algorithm=sha2-256`), and one `rsa-2048` key may both sign and decrypt. But its OAEP has SHA-256
//! written into it (`sdk/helper/keysutil/policy.go`; hashicorp/vault issue 8045 asks for SHA-1), and the
//! `padding_scheme` that came with 1.19 chooses between that OAEP and PKCS #1 v1.5. Neither opens an
//! envelope, so transit cannot serve, as long as there is no parameter for OAEP's hash.
//!
//! What Vault can do is keep the key: as PEM in the KV engine, or as an exportable transit key
//! (`transit/export/encryption-key/…`), read at the start and handed to
//! [`InMemoryKeyStore`](super::InMemoryKeyStore). The private key is then in the application's memory,
//! and what Vault audits is who fetched it, not each use.
