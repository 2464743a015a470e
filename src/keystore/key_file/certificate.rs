//! Certificates of column master keys: reading the public key of one, writing a self-signed one.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rand::TryRng;
use rsa::{
    pkcs1::EncodeRsaPublicKey,
    pkcs1v15::SigningKey,
    pkcs8::spki::{AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier},
    signature::Keypair,
};
use sha2::Sha256;
use x509_cert::{
    Certificate, TbsCertificate,
    attr::AttributeTypeAndValue,
    builder::{self, Builder, CertificateBuilder, profile::BuilderProfile},
    der::{
        self, Decode, Encode,
        asn1::{Any, BitString, Utf8StringRef},
        oid::db::{rfc4519::COMMON_NAME, rfc5912::RSA_ENCRYPTION},
        pem::{self, LineEnding},
    },
    ext::{
        Extension, ToExtension,
        pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier},
    },
    name::{Name, RdnSequence, RelativeDistinguishedName},
    serial_number::SerialNumber,
    spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef},
    time::{Time, Validity},
};

use crate::{
    crypto::CmkPrivateKey,
    keystore::{KeyStoreError, Thumbprint},
};

/// RFC 5280, appendix A.1: `ub-common-name`.
const MAX_COMMON_NAME: usize = 64;

/// The certificate's clock and its reader's may differ.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// What stands under a certificate as its key.
#[derive(PartialEq, Eq)]
pub(in crate::keystore) enum CertifiedKey {
    /// An RSA key: its PKCS#1 form.
    Rsa(Vec<u8>),
    /// Some other key.
    Other,
}

impl CertifiedKey {
    /// Reads the certificate only as far as its key. Validity, chain and usages are not looked at,
    /// as in Microsoft's drivers: an expired certificate must go on opening old data.
    pub(in crate::keystore) fn of(certificate_der: &[u8]) -> Result<Self, der::Error> {
        let certificate = Certificate::from_der(certificate_der)?;
        let info = certificate.tbs_certificate().subject_public_key_info();
        if info.algorithm.oid != RSA_ENCRYPTION {
            return Ok(Self::Other);
        }
        Ok(Self::Rsa(info.subject_public_key.raw_bytes().to_vec()))
    }

    /// Whether `key` is the private half.
    pub(in crate::keystore) fn matches(&self, key: &CmkPrivateKey) -> bool {
        let public = key.rsa().as_public_key().to_pkcs1_der();
        matches!((self, public), (Self::Rsa(own), Ok(public)) if own == public.as_bytes())
    }
}

/// The last moment at which a certificate is valid.
pub(in crate::keystore) fn expiry(certificate_der: &[u8]) -> Option<SystemTime> {
    let certificate = Certificate::from_der(certificate_der).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_system_time())
}

/// The self-signed certificate of a column master key.
///
/// Only its thumbprint matters to Always Encrypted; certificates are how Windows keeps keys.
#[derive(Clone, PartialEq, Eq)]
pub struct CmkCertificate {
    der: Vec<u8>,
}

impl CmkCertificate {
    /// Makes a certificate for `key`, signed by itself, that begins an hour ago and ends after
    /// `valid_for`. Drivers for Always Encrypted never check the end.
    ///
    /// `common_name` has 1 to 64 characters. Key usages are keyEncipherment, which SQL Server's
    /// documentation asks for, and digitalSignature, which the key does as well.
    ///
    /// Does RSA: a few milliseconds that do not belong on an executor's thread.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError::Certificate`] for a name or a time that a certificate cannot hold;
    /// [`KeyStoreError::Cmk`] if signing fails.
    pub fn self_signed(
        key: &CmkPrivateKey,
        common_name: &str,
        valid_for: Duration,
    ) -> Result<Self, KeyStoreError> {
        let name = subject(common_name)?;
        let signer = SigningKey::<Sha256>::new(key.rsa().clone());
        let public = SubjectPublicKeyInfo::from_key(&signer.verifying_key()).map_err(failed)?;
        let mut builder =
            CertificateBuilder::new(SelfIssued(name), serial()?, validity(valid_for)?, public)
                .map_err(failed)?;
        let signer = IdentityOf(&signer);
        let signed = builder.finalize(&signer).map_err(failed)?;
        // Our own signature: with blinding, and with an error if there is no randomness for it.
        let signature = BitString::from_bytes(&key.sign(&signed)?).map_err(failed)?;
        let certificate = builder.assemble(signature, &signer).map_err(failed)?;
        Ok(Self { der: certificate.to_der().map_err(failed)? })
    }

    /// The certificate in DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate in PEM.
    pub fn to_pem(&self) -> Result<String, KeyStoreError> {
        pem::encode_string("CERTIFICATE", LineEnding::LF, &self.der).map_err(failed)
    }

    /// What key paths name it by.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of(&self.der)
    }
}

impl fmt::Debug for CmkCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CmkCertificate({})", self.thumbprint())
    }
}

/// What the builder needs to know of the signer, without letting it sign.
struct IdentityOf<'a>(&'a SigningKey<Sha256>);

impl Keypair for IdentityOf<'_> {
    type VerifyingKey = <SigningKey<Sha256> as Keypair>::VerifyingKey;

    fn verifying_key(&self) -> Self::VerifyingKey {
        self.0.verifying_key()
    }
}

impl DynSignatureAlgorithmIdentifier for IdentityOf<'_> {
    fn signature_algorithm_identifier(&self) -> rsa::pkcs8::spki::Result<AlgorithmIdentifierOwned> {
        self.0.signature_algorithm_identifier()
    }
}

/// A certificate whose subject issued it and that issues no others.
struct SelfIssued(Name);

impl BuilderProfile for SelfIssued {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        self.0.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        _issuer_key: SubjectPublicKeyInfoRef<'_>,
        certificate: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let subject = certificate.subject();
        let usages = KeyUsage(KeyUsages::KeyEncipherment | KeyUsages::DigitalSignature);
        Ok(vec![
            BasicConstraints { ca: false, path_len_constraint: None }.to_extension(subject, &[])?,
            usages.to_extension(subject, &[])?,
            SubjectKeyIdentifier::try_from(key)?.to_extension(subject, &[])?,
        ])
    }
}

fn subject(common_name: &str) -> Result<Name, KeyStoreError> {
    let length = common_name.chars().count();
    if length == 0 || length > MAX_COMMON_NAME || common_name.chars().any(char::is_control) {
        return Err(KeyStoreError::Certificate {
            message: format!(
                "its common name must have 1 to {MAX_COMMON_NAME} characters, none of them a \
                 control character"
            ),
        });
    }
    let value = Utf8StringRef::new(common_name).map_err(failed)?;
    let attribute = AttributeTypeAndValue { oid: COMMON_NAME, value: Any::from(value) };
    let mut names = RdnSequence::default();
    names.push(RelativeDistinguishedName::try_from(vec![attribute]).map_err(failed)?);
    // The builder takes a `Name`, which is the same bytes under another type.
    names.to_der().and_then(|bytes| Name::from_der(&bytes)).map_err(failed)
}

/// 16 random bytes, made positive and never zero.
fn serial() -> Result<SerialNumber, KeyStoreError> {
    let mut bytes = [0; 16];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(failed)?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    SerialNumber::new(&bytes).map_err(failed)
}

fn validity(valid_for: Duration) -> Result<Validity, KeyStoreError> {
    let now = SystemTime::now();
    let (Some(begin), Some(end)) = (now.checked_sub(CLOCK_SKEW), now.checked_add(valid_for)) else {
        return Err(KeyStoreError::Certificate {
            message: "it would be valid for too long".into(),
        });
    };
    Ok(Validity::new(Time::try_from(begin).map_err(failed)?, Time::try_from(end).map_err(failed)?))
}

fn failed(error: impl fmt::Display) -> KeyStoreError {
    KeyStoreError::Certificate { message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../../tests/fixtures/keystore/pair.key");

    #[test]
    fn a_certificate_holds_the_public_half_of_its_key_and_verifies_under_it() {
        let key = CmkPrivateKey::from_pem(KEY).unwrap();
        let made = CmkCertificate::self_signed(&key, "CMK, of \"Müller\"", CLOCK_SKEW).unwrap();
        let read = Certificate::from_der(made.as_der()).unwrap();
        assert!(CertifiedKey::of(made.as_der()).unwrap().matches(&key));
        let signed = read.tbs_certificate().to_der().unwrap();
        assert!(key.verify(&signed, read.signature().raw_bytes()));
        let subject = read.tbs_certificate().subject();
        assert_eq!(subject, read.tbs_certificate().issuer());
        assert_eq!(subject.common_name().unwrap().unwrap().value(), "CMK, of \"Müller\"");
        let (critical, usage) =
            read.tbs_certificate().get_extension::<KeyUsage>().unwrap().unwrap();
        assert!(critical && usage.key_encipherment() && usage.digital_signature());
        assert!(!usage.key_cert_sign());
    }

    #[test]
    fn no_two_certificates_have_the_same_thumbprint() {
        let key = CmkPrivateKey::from_pem(KEY).unwrap();
        let make = || CmkCertificate::self_signed(&key, "CMK", CLOCK_SKEW).unwrap().thumbprint();
        assert_ne!(make(), make());
    }

    #[test]
    fn a_name_or_a_time_that_does_not_fit_is_an_error() {
        let key = CmkPrivateKey::from_pem(KEY).unwrap();
        let long = "x".repeat(MAX_COMMON_NAME + 1);
        for (name, time) in [
            ("", CLOCK_SKEW),
            ("a\nb", CLOCK_SKEW),
            (long.as_str(), CLOCK_SKEW),
            ("CMK", Duration::MAX),
            ("CMK", Duration::from_secs(10_000 * 366 * 24 * 60 * 60)),
        ] {
            let error = CmkCertificate::self_signed(&key, name, time).unwrap_err();
            assert!(matches!(error, KeyStoreError::Certificate { .. }), "{name:?} {time:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_an_error_and_no_panic() {
        let pem = include_str!("../../../tests/fixtures/keystore/pair.crt");
        let (_, der) = pem::decode_vec(pem.as_bytes()).unwrap();
        for len in 0..der.len() {
            assert!(CertifiedKey::of(&der[..len]).is_err());
        }
        for i in 0..der.len() {
            let mut damaged = der.clone();
            damaged[i] ^= 0xff;
            let _ = CertifiedKey::of(&damaged);
        }
    }
}
