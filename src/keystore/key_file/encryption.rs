//! Encryption by password: PBES2 (RFC 8018) and PKCS#12's own schemes (RFC 7292, appendix B and C), in
//! PKCS#12 files and in PKCS#8 keys.

use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit, block_padding::Pkcs7};
use pkcs5::pbes2::{self, Kdf, PBES2_OID, Pbkdf2Prf, ScryptParams};
use sha1::Sha1;
use x509_cert::{
    der::{
        self, Decode, ErrorKind, SliceReader,
        asn1::{ObjectIdentifier, OctetStringRef},
    },
    spki::AlgorithmIdentifierRef,
};
use zeroize::Zeroizing;

use super::{
    budget::{self, FileBudget},
    pkcs12::kdf::{self, Purpose},
};
use crate::keystore::KeyFileProblem;

/// What scrypt may take of memory, in bytes, and of parallel lanes. OpenSSL writes 16 MiB in one lane.
const MAX_SCRYPT_MEMORY: u64 = 256 << 20;
const MAX_SCRYPT_LANES: u16 = 16;

/// scrypt mixes about so many bytes in the time of a round.
const SCRYPT_BYTES_PER_ROUND: u64 = 256;

const PBE_SHA1_3DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
const PBE_SHA1_RC2_40: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.6");

/// Schemes that are not read: their ciphers are broken, or nobody exports by them any more.
const UNSUPPORTED: [(&str, &str); 11] = [
    ("1.2.840.113549.1.5.1", "pbeWithMD2AndDES-CBC"),
    ("1.2.840.113549.1.5.3", "pbeWithMD5AndDES-CBC"),
    ("1.2.840.113549.1.5.4", "pbeWithMD2AndRC2-CBC"),
    ("1.2.840.113549.1.5.6", "pbeWithMD5AndRC2-CBC"),
    ("1.2.840.113549.1.5.10", "pbeWithSHA1AndDES-CBC"),
    ("1.2.840.113549.1.5.11", "pbeWithSHA1AndRC2-CBC"),
    ("1.2.840.113549.1.12.1.1", "pbeWithSHAAnd128BitRC4"),
    ("1.2.840.113549.1.12.1.2", "pbeWithSHAAnd40BitRC4"),
    ("1.2.840.113549.1.12.1.4", "pbeWithSHAAnd2-KeyTripleDES-CBC"),
    ("1.2.840.113549.1.12.1.5", "pbeWithSHAAnd128BitRC2-CBC"),
    ("1.3.14.3.2.7", "DES-CBC"),
];

/// A password in the two forms that derivations take it in.
pub(super) struct Password {
    utf8: Zeroizing<String>,
    /// UTF-16 with the high byte first and two bytes of zero behind it, as in PKCS#12.
    utf16: Zeroizing<Vec<u8>>,
}

impl Password {
    pub(super) fn new(password: &str) -> Self {
        let mut utf16 = Zeroizing::new(Vec::with_capacity(2 * password.len() + 2));
        let units = password.encode_utf16().chain([0]);
        units.for_each(|unit| utf16.extend_from_slice(&unit.to_be_bytes()));
        Self { utf8: Zeroizing::new(password.to_owned()), utf16 }
    }

    /// No password, which for PKCS#12's own derivation is another one than the empty: it has no zero
    /// at its end either. .NET and Windows write so when they are given null.
    pub(super) fn null() -> Self {
        Self { utf8: Zeroizing::default(), utf16: Zeroizing::default() }
    }

    pub(super) fn utf8(&self) -> &[u8] {
        self.utf8.as_bytes()
    }

    pub(super) fn utf16(&self) -> &[u8] {
        &self.utf16
    }
}

/// How something is encrypted.
pub(super) enum Scheme<'a> {
    Pbes2(Box<pbes2::Parameters>),
    /// One of PKCS#12's own, with SHA-1.
    Pkcs12 {
        cipher: Pkcs12Cipher,
        salt: &'a [u8],
        rounds: u32,
    },
}

#[derive(Clone, Copy)]
pub(super) enum Pkcs12Cipher {
    TripleDes,
    Rc2With40Bits,
}

impl<'a> Scheme<'a> {
    pub(super) fn of(algorithm: AlgorithmIdentifierRef<'a>) -> Result<Self, KeyFileProblem> {
        let cipher = match algorithm.oid {
            PBES2_OID => {
                let parameters = algorithm.parameters.ok_or_else(no_parameters)?;
                return match pbes2::Parameters::try_from(parameters) {
                    Ok(parameters) => {
                        if let Kdf::Scrypt(scrypt) = &parameters.kdf {
                            check_scrypt(scrypt)?;
                        }
                        Ok(Self::Pbes2(Box::new(parameters)))
                    }
                    Err(e) => Err(match e.kind() {
                        ErrorKind::OidUnknown { oid } => unsupported(oid),
                        _ => malformed(&e),
                    }),
                };
            }
            PBE_SHA1_3DES => Pkcs12Cipher::TripleDes,
            PBE_SHA1_RC2_40 => Pkcs12Cipher::Rc2With40Bits,
            other => return Err(unsupported(other)),
        };
        let parameters = algorithm.parameters.ok_or_else(no_parameters)?;
        let read = |parts: &mut SliceReader<'a>| -> der::Result<_> {
            Ok((<&OctetStringRef>::decode(parts)?.as_bytes(), u32::decode(parts)?))
        };
        let (salt, rounds) = parameters.sequence(read).map_err(|e| malformed(&e))?;
        Ok(Self::Pkcs12 { cipher, salt, rounds })
    }

    /// What deriving its key costs.
    pub(super) fn cost(&self) -> Result<u64, KeyFileProblem> {
        match self {
            Self::Pbes2(parameters) => match &parameters.kdf {
                Kdf::Pbkdf2(pbkdf2) => {
                    let blocks = parameters.encryption.key_size().div_ceil(output_size(pbkdf2.prf));
                    budget::cost(pbkdf2.iteration_count, blocks)
                }
                Kdf::Scrypt(scrypt) => scrypt_cost(scrypt),
                // What is not known is not derived either.
                _ => Ok(0),
            },
            Self::Pkcs12 { cipher, rounds, .. } => {
                let blocks = cipher.key_size().div_ceil(SHA1_SIZE) + IV_SIZE.div_ceil(SHA1_SIZE);
                budget::cost(*rounds, blocks)
            }
        }
    }

    /// Takes the cost out of `budget` and decrypts.
    pub(super) fn decrypt(
        &self,
        password: &Password,
        data: &[u8],
        budget: &mut FileBudget<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyFileProblem> {
        budget.spend(self.cost()?)?;
        let mut buffer = Zeroizing::new(data.to_vec());
        let len = match self {
            Self::Pbes2(parameters) => parameters
                .decrypt_in_place(password.utf8(), &mut buffer)
                .map_err(|e| match e {
                    pkcs5::Error::DecryptFailed => KeyFileProblem::WrongPassword,
                    pkcs5::Error::UnsupportedAlgorithm { oid } => unsupported(oid),
                    other => malformed(&other),
                })?
                .len(),
            Self::Pkcs12 { cipher, salt, rounds } => {
                let mut key = Zeroizing::new([0; MAX_KEY_SIZE]);
                let key = &mut key[..cipher.key_size()];
                let mut iv = [0; IV_SIZE];
                kdf::derive::<Sha1>(password.utf16(), salt, Purpose::Key, *rounds, key);
                kdf::derive::<Sha1>(password.utf16(), salt, Purpose::Iv, *rounds, &mut iv);
                match cipher {
                    Pkcs12Cipher::TripleDes => cbc_decrypt::<des::TdesEde3>(key, &iv, &mut buffer),
                    // As many bits are in effect as the key has.
                    Pkcs12Cipher::Rc2With40Bits => cbc_decrypt::<rc2::Rc2>(key, &iv, &mut buffer),
                }
                .ok_or(KeyFileProblem::WrongPassword)?
            }
        };
        buffer.truncate(len);
        Ok(buffer)
    }
}

const SHA1_SIZE: usize = 20;
const IV_SIZE: usize = 8;
const MAX_KEY_SIZE: usize = 24;

impl Pkcs12Cipher {
    fn key_size(self) -> usize {
        match self {
            Self::TripleDes => MAX_KEY_SIZE,
            Self::Rc2With40Bits => 5,
        }
    }
}

/// How long the plaintext is that stands at the buffer's beginning then; `None` if the padding is none.
fn cbc_decrypt<C: KeyInit + BlockCipherDecrypt>(
    key: &[u8],
    iv: &[u8],
    buffer: &mut [u8],
) -> Option<usize> {
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
    cipher.decrypt_padded::<Pkcs7>(buffer).ok().map(<[u8]>::len)
}

fn output_size(prf: Pbkdf2Prf) -> usize {
    match prf {
        Pbkdf2Prf::HmacWithSha224 => 28,
        Pbkdf2Prf::HmacWithSha256 => 32,
        Pbkdf2Prf::HmacWithSha384 => 48,
        Pbkdf2Prf::HmacWithSha512 => 64,
        // The shortest is the dearest.
        _ => SHA1_SIZE,
    }
}

/// Refuses numbers for which scrypt is not defined (RFC 7914, section 6). They stand in the file, and
/// the crates below panic at some of them.
fn check_scrypt(scrypt: &ScryptParams) -> Result<(), KeyFileProblem> {
    let n = scrypt.cost_parameter;
    if n < 2 || !n.is_power_of_two() {
        return Err(malformed(&"scrypt's N is no power of two above 1"));
    }
    if scrypt.block_size == 0 || scrypt.parallelization == 0 {
        return Err(malformed(&"scrypt's r or p is 0"));
    }
    Ok(())
}

fn scrypt_cost(scrypt: &ScryptParams) -> Result<u64, KeyFileProblem> {
    let memory = u64::from(scrypt.block_size)
        .checked_mul(128)
        .and_then(|block| block.checked_mul(scrypt.cost_parameter))
        .filter(|memory| *memory <= MAX_SCRYPT_MEMORY);
    let lanes = scrypt.parallelization;
    match memory {
        Some(memory) if lanes <= MAX_SCRYPT_LANES => {
            Ok(memory * u64::from(lanes) / SCRYPT_BYTES_PER_ROUND)
        }
        _ => Err(KeyFileProblem::TooCostly),
    }
}

/// Names what is not supported, by its name if it has one here.
pub(super) fn unsupported(oid: ObjectIdentifier) -> KeyFileProblem {
    let oid = oid.to_string();
    let name = UNSUPPORTED.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name);
    KeyFileProblem::UnsupportedEncryption { algorithm: name.map_or(oid, str::to_owned) }
}

fn no_parameters() -> KeyFileProblem {
    malformed(&"its encryption has no parameters")
}

fn malformed(error: &impl std::fmt::Display) -> KeyFileProblem {
    KeyFileProblem::Malformed { expected: "an encrypted key or file", message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keystore::key_file::{ReadingBudget, pkcs12::der_value};

    /// PBES2 by AES-256 and scrypt of these numbers, as an AlgorithmIdentifier.
    fn scrypt(n: u64, r: u16, p: u16) -> Vec<u8> {
        // Numbers in DER are as short as can be, and positive.
        let integer = |number: u64| {
            let bytes = u128::from(number).to_be_bytes();
            let skipped = bytes.windows(2).take_while(|w| w[0] == 0 && w[1] < 0x80).count();
            der_value(0x02, &[&bytes[skipped..]])
        };
        let oid = |text: &str| der_value(0x06, &[ObjectIdentifier::new_unwrap(text).as_bytes()]);
        let salt = der_value(0x04, &[&[7; 16]]);
        let numbers =
            der_value(0x30, &[&salt, &integer(n), &integer(r.into()), &integer(p.into())]);
        let kdf = der_value(0x30, &[&oid("1.3.6.1.4.1.11591.4.11"), &numbers]);
        let iv = der_value(0x04, &[&[7; 16]]);
        let cipher = der_value(0x30, &[&oid("2.16.840.1.101.3.4.1.42"), &iv]);
        der_value(0x30, &[&oid("1.2.840.113549.1.5.13"), &der_value(0x30, &[&kdf, &cipher])])
    }

    #[test]
    fn scrypt_of_numbers_that_it_is_not_defined_for_is_refused_before_it_begins() {
        let decrypt = |n, r, p| {
            let algorithm = scrypt(n, r, p);
            let algorithm = AlgorithmIdentifierRef::from_der(&algorithm).unwrap();
            let mut reading = ReadingBudget::default();
            let budget = &mut reading.file();
            let decrypted = Scheme::of(algorithm)
                .and_then(|scheme| scheme.decrypt(&Password::new("a"), &[0; 16], budget));
            decrypted.map(drop)
        };
        for (n, r, p) in [(0, 8, 1), (1, 8, 1), (3, 8, 1), (16, 0, 1), (16, 8, 0), (1 << 63, 0, 0)]
        {
            let refused = decrypt(n, r, p);
            assert!(matches!(refused, Err(KeyFileProblem::Malformed { .. })), "{n}, {r}, {p}");
        }
        for (n, r, p) in [(1 << 63, 8, 1), (1 << 63, 1, 1), (16, 8, u16::MAX), (16, u16::MAX, 17)] {
            assert_eq!(decrypt(n, r, p), Err(KeyFileProblem::TooCostly), "{n}, {r}, {p}");
        }
        assert_eq!(decrypt(16, 8, 1), Err(KeyFileProblem::WrongPassword));
    }
}
