//! The four operations with a column master key: what its public half can do is done here, on the
//! blocking pool, and whoever keeps the private half is asked for the rest.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{BoxFuture, KeyStoreError, local_key::blocking, signature_forms::SignatureForms};
use crate::crypto::{
    Cek, CmkPublicKey, Envelope, InvalidEnvelope, SignatureForm, cmk_metadata_message,
};

/// A column master key: in this process, or in a token, a vault or an operating system's store, which
/// it does not leave.
pub(super) trait MasterKey: Send + Sync {
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
    key: &dyn MasterKey,
    envelope: &[u8],
) -> Result<Cek, KeyStoreError> {
    let (_, forms) = SignatureForms::of(provider).envelope;
    verify_envelope(provider, key, forms, envelope).await?;
    let ciphertext = Envelope::parse(envelope)?.ciphertext();
    Ok(Envelope::cek(&key.oaep_decrypt(ciphertext).await?)?)
}

/// `key_path` goes into the envelope as given: SqlClient 7 does not fold its case either.
pub(super) async fn wrap(
    provider: &str,
    key: &dyn MasterKey,
    key_path: &str,
    cek: &Cek,
) -> Result<Vec<u8>, KeyStoreError> {
    let (public_key, cek, path) = (key.public_key(), cek.clone(), key_path.to_owned());
    let unsigned = move || Ok(Envelope::wrap_unsigned(&cek, &path, &public_key)?);
    let mut envelope = blocking(provider, unsigned).await?;
    let (form, _) = SignatureForms::of(provider).envelope;
    let signature = key.sign(&form.message(&envelope)).await?;
    envelope.extend_from_slice(&signature);
    // A store that signs with another key would leave a CEK that nobody opens.
    verify_envelope(provider, key, &[form], &envelope).await?;
    Ok(envelope)
}

async fn verify_envelope(
    provider: &str,
    key: &dyn MasterKey,
    forms: &[SignatureForm],
    envelope: &[u8],
) -> Result<(), KeyStoreError> {
    let (public_key, envelope, forms) = (key.public_key(), envelope.to_vec(), forms.to_vec());
    blocking(provider, move || Ok(Envelope::parse(&envelope)?.verify_as(&forms, &public_key)?))
        .await
}

pub(super) async fn sign_metadata(
    provider: &str,
    key: &dyn MasterKey,
    key_path: &str,
    allow_enclave_computations: bool,
) -> Result<Vec<u8>, KeyStoreError> {
    let message = cmk_metadata_message(provider, key_path, allow_enclave_computations);
    let (form, _) = SignatureForms::of(provider).metadata;
    let signature = key.sign(&form.message(&message)).await?;
    if verify(provider, key, &[form], message, &signature).await? {
        Ok(signature)
    } else {
        Err(InvalidEnvelope::Signature.into())
    }
}

pub(super) async fn verify_metadata(
    provider: &str,
    key: &dyn MasterKey,
    key_path: &str,
    allow_enclave_computations: bool,
    signature: &[u8],
) -> Result<bool, KeyStoreError> {
    let message = cmk_metadata_message(provider, key_path, allow_enclave_computations);
    let (_, forms) = SignatureForms::of(provider).metadata;
    verify(provider, key, forms, message, signature).await
}

async fn verify(
    provider: &str,
    key: &dyn MasterKey,
    forms: &[SignatureForm],
    message: Vec<u8>,
    signature: &[u8],
) -> Result<bool, KeyStoreError> {
    let (public_key, signature, forms) = (key.public_key(), signature.to_vec(), forms.to_vec());
    let verified =
        move || Ok(forms.iter().any(|form| public_key.verify_as(*form, &message, &signature)));
    blocking(provider, verified).await
}

#[cfg(test)]
mod tests;
