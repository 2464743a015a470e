//! mssql-auth, the cipher of mssql-client: its public `AeadEncryptor`, built once.

use always_encrypted::crypto::EncryptionType;
use mssql_auth::{AeadEncryptor, EncryptionType as Theirs};

use crate::contender::Peer;

pub struct MssqlAuth(AeadEncryptor);

impl MssqlAuth {
    pub fn new(cek: &[u8; 32]) -> Self {
        Self(AeadEncryptor::new(cek).expect("a CEK of 32 bytes"))
    }
}

impl Peer for MssqlAuth {
    const NAME: &'static str = "mssql-auth, built once";
    type Bytes<'a> = Vec<u8>;

    fn encrypt(
        &mut self,
        plaintext: &[u8],
        encryption_type: EncryptionType,
        _out: &mut [u8],
    ) -> Vec<u8> {
        let encryption_type = match encryption_type {
            EncryptionType::Deterministic => Theirs::Deterministic,
            EncryptionType::Randomized => Theirs::Randomized,
        };
        self.0.encrypt(plaintext, encryption_type).expect("a cell")
    }

    fn decrypt(&mut self, cell: &[u8], _out: &mut [u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cell).ok()
    }
}
