//! The four operations of a key store whose keys do not leave it: what the public half can do is done
//! here, and the store is asked for the rest.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    BoxFuture, KeyStoreError,
    local_key::{Signatures, blocking},
};
use crate::crypto::{
    Cek, CmkPublicKey, Envelope, InvalidEnvelope, SignatureForm, cmk_metadata_message,
};

/// A column master key in a token, a vault or an operating system's store.
pub(super) trait RemoteKey: Send + Sync {
    /// The public half.
    fn public_key(&self) -> Arc<CmkPublicKey>;

    /// RSAES-OAEP with SHA-1 over `ciphertext`, whose envelope has been verified.
    fn oaep_decrypt<'a>(
        &'a self,
        ciphertext: &'a [u8],
    ) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, KeyStoreError>>;

    /// RSASSA-PKCS1-v1_5 with SHA-256 over `message`.
    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>>;
}

/// Verifies the envelope here, so that a false one costs the store nothing.
pub(super) async fn unwrap(
    provider: &str,
    key: &dyn RemoteKey,
    envelope: &[u8],
) -> Result<Cek, KeyStoreError> {
    let (_, forms) = Signatures::of(provider).envelope;
    let (public_key, bytes) = (key.public_key(), envelope.to_vec());
    blocking(provider, move || Ok(Envelope::parse(&bytes)?.verify_as(forms, &public_key)?)).await?;
    let ciphertext = Envelope::parse(envelope)?.ciphertext();
    Ok(Envelope::cek(&key.oaep_decrypt(ciphertext).await?)?)
}

/// `key_path` goes into the envelope as given.
pub(super) async fn wrap(
    provider: &str,
    key: &dyn RemoteKey,
    key_path: &str,
    cek: &Cek,
) -> Result<Vec<u8>, KeyStoreError> {
    let (public_key, cek, path) = (key.public_key(), cek.clone(), key_path.to_owned());
    let unsigned = move || Ok(Envelope::wrap_unsigned(&cek, &path, &public_key)?);
    let mut envelope = blocking(provider, unsigned).await?;
    let (form, _) = Signatures::of(provider).envelope;
    let signature = sign_as(key, form, &envelope).await?;
    envelope.extend_from_slice(&signature);
    // A store that signs with another key would leave a CEK that nobody opens.
    let (public_key, bytes) = (key.public_key(), envelope.clone());
    let verify = move || Ok(Envelope::parse(&bytes)?.verify_as(&[form], &public_key)?);
    blocking(provider, verify).await?;
    Ok(envelope)
}

pub(super) async fn sign_metadata(
    provider: &str,
    key: &dyn RemoteKey,
    key_path: &str,
    allow_enclave_computations: bool,
) -> Result<Vec<u8>, KeyStoreError> {
    let message = cmk_metadata_message(provider, key_path, allow_enclave_computations);
    let (form, _) = Signatures::of(provider).metadata;
    let signature = sign_as(key, form, &message).await?;
    if verify(provider, key, message, &signature).await? {
        Ok(signature)
    } else {
        Err(InvalidEnvelope::Signature.into())
    }
}

pub(super) async fn verify_metadata(
    provider: &str,
    key: &dyn RemoteKey,
    key_path: &str,
    allow_enclave_computations: bool,
    signature: &[u8],
) -> Result<bool, KeyStoreError> {
    let message = cmk_metadata_message(provider, key_path, allow_enclave_computations);
    verify(provider, key, message, signature).await
}

async fn sign_as(
    key: &dyn RemoteKey,
    form: SignatureForm,
    message: &[u8],
) -> Result<Vec<u8>, KeyStoreError> {
    match form {
        SignatureForm::OverMessage => key.sign(message).await,
        SignatureForm::OverDigest => key.sign(&Sha256::digest(message)).await,
    }
}

async fn verify(
    provider: &str,
    key: &dyn RemoteKey,
    message: Vec<u8>,
    signature: &[u8],
) -> Result<bool, KeyStoreError> {
    let (_, forms) = Signatures::of(provider).metadata;
    let (public_key, signature) = (key.public_key(), signature.to_vec());
    let any = move || Ok(forms.iter().any(|f| public_key.verify_as(*f, &message, &signature)));
    blocking(provider, any).await
}

#[cfg(test)]
mod tests;
