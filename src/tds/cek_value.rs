//! A wrapped CEK as COLMETADATA and describe hand it over.

use std::fmt;

/// One encrypted value of a column encryption key, as the server names it.
///
/// A key has one value, or two while its master key is being rotated.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EncryptedCekValue {
    /// The envelope: the key itself under its master key.
    pub envelope: Vec<u8>,
    /// The key store that the master key is said to be in.
    pub provider_name: String,
    /// Where in that key store.
    pub key_path: String,
    /// How the key is wrapped; `RSA_OAEP` is all there is.
    pub algorithm: String,
}

impl fmt::Debug for EncryptedCekValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptedCekValue")
            .field("envelope_len", &self.envelope.len())
            .field("provider_name", &self.provider_name)
            .field("key_path", &self.key_path)
            .field("algorithm", &self.algorithm)
            .finish()
    }
}
