//! The calls into Windows: certificate stores, CNG keys and CSP keys, all of which become CNG key
//! handles here. The only `unsafe` code outside of the cell cipher's kernels.
//!
//! Each handle has an owner that frees it. Calls are made with the silent flags, so that none waits
//! for a person at a screen that a service does not have.
//!
//! Sources: the documentation of `ncrypt.h`, `wincrypt.h` and `bcrypt.h`.

use std::{
    ffi::c_void,
    ptr::{null, null_mut},
};

use windows_sys::{
    Win32::{
        Foundation::{
            CRYPT_E_NOT_FOUND, ERROR_FILE_NOT_FOUND, ERROR_SUCCESS, GetLastError, NTE_BAD_DATA,
            NTE_BAD_KEYSET, NTE_BAD_LEN, NTE_DECRYPTION_FAILURE, NTE_INVALID_HANDLE, NTE_NO_KEY,
            NTE_NOT_FOUND,
        },
        Security::Cryptography::{
            AT_KEYEXCHANGE, BCRYPT_OAEP_PADDING_INFO, BCRYPT_PKCS1_PADDING_INFO,
            BCRYPT_RSAPUBLIC_BLOB, BCRYPT_SHA1_ALGORITHM, BCRYPT_SHA256_ALGORITHM, CERT_CONTEXT,
            CERT_FIND_SHA1_HASH, CERT_NCRYPT_KEY_SPEC, CERT_STORE_OPEN_EXISTING_FLAG,
            CERT_STORE_PROV_SYSTEM_W, CERT_STORE_READONLY_FLAG, CERT_SYSTEM_STORE_CURRENT_USER,
            CERT_SYSTEM_STORE_LOCAL_MACHINE, CRYPT_ACQUIRE_PREFER_NCRYPT_KEY_FLAG,
            CRYPT_ACQUIRE_SILENT_FLAG, CRYPT_INTEGER_BLOB, CRYPT_SILENT, CertCloseStore,
            CertFindCertificateInStore, CertFreeCertificateContext, CertOpenStore,
            CryptAcquireCertificatePrivateKey, CryptAcquireContextW, CryptDestroyKey,
            CryptGetUserKey, CryptReleaseContext, HCERTSTORE, NCRYPT_PAD_OAEP_FLAG,
            NCRYPT_PAD_PKCS1_FLAG, NCRYPT_SILENT_FLAG, NCryptDecrypt, NCryptExportKey,
            NCryptFreeObject, NCryptOpenKey, NCryptOpenStorageProvider, NCryptSignHash,
            NCryptTranslateHandle, X509_ASN_ENCODING,
        },
        System::Registry::{HKEY_LOCAL_MACHINE, RRF_RT_REG_DWORD, RegGetValueW},
    },
    core::HRESULT,
};
use zeroize::Zeroizing;

use crate::keystore::{StoreLocation, Thumbprint};

/// Where Windows keeps the type of each CSP.
const CSP_TYPES: &str = r"SOFTWARE\Microsoft\Cryptography\Defaults\Provider\";

/// The length of `BCRYPT_RSAKEY_BLOB`: magic, bits, and the lengths of exponent, modulus and primes.
const RSA_BLOB_HEADER: usize = 24;

/// What Windows answered instead of doing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no such certificate, key, container or provider.
    NotFound,
    /// The ciphertext does not decrypt.
    BadCiphertext,
    /// Anything else: the call and its code.
    Code(&'static str, u32),
}

/// A private key, whichever store it came from.
pub(super) struct Key {
    handle: NcryptObject,
    /// What a CSP's key stands on. Nothing says that CNG's handle to it keeps it open.
    _csp: Option<(CspKey, CspContext)>,
}

impl Key {
    /// The private key of a certificate in the store `My` of a location.
    pub(super) fn of_certificate(
        location: StoreLocation,
        thumbprint: &Thumbprint,
    ) -> Result<Self, Failure> {
        let store = Store::open(location)?;
        let certificate = store.find(thumbprint)?;
        let (mut handle, mut spec, mut ours) = (0, 0, 0);
        // SAFETY: the context is alive, and the three results are valid for writes. Without a window
        // handle the fourth argument, the parameters, is null.
        let acquired = unsafe {
            CryptAcquireCertificatePrivateKey(
                certificate.0,
                CRYPT_ACQUIRE_PREFER_NCRYPT_KEY_FLAG | CRYPT_ACQUIRE_SILENT_FLAG,
                null(),
                &mut handle,
                &mut spec,
                &mut ours,
            )
        };
        if acquired == 0 {
            return Err(last_failure("CryptAcquireCertificatePrivateKey"));
        }
        if ours == 0 {
            // It would be the certificate's, and go with it. The flags above ask for one of ours.
            return Err(Failure::Code(
                "CryptAcquireCertificatePrivateKey",
                NTE_INVALID_HANDLE as u32,
            ));
        }
        if spec == CERT_NCRYPT_KEY_SPEC {
            return Ok(Self { handle: NcryptObject(handle), _csp: None });
        }
        Self::of_csp_context(CspContext(handle), spec)
    }

    /// A key that a CNG key storage provider keeps under a name.
    pub(super) fn of_cng(provider: &str, name: &str) -> Result<Self, Failure> {
        let (provider, name) = (wide(provider), wide(name));
        let mut storage = 0;
        // SAFETY: the name ends with a zero and the result is valid for writes.
        let code = unsafe { NCryptOpenStorageProvider(&mut storage, provider.as_ptr(), 0) };
        checked("NCryptOpenStorageProvider", code)?;
        let storage = NcryptObject(storage);
        let (mut key, silent) = (0, NCRYPT_SILENT_FLAG);
        // SAFETY: the storage provider is open until this function ends, the name ends with a zero,
        // the result is valid for writes.
        let code = unsafe { NCryptOpenKey(storage.0, &mut key, name.as_ptr(), 0, silent) };
        checked("NCryptOpenKey", code)?;
        Ok(Self { handle: NcryptObject(key), _csp: None })
    }

    /// The exchange key in a container of a CSP.
    pub(super) fn of_csp(provider: &str, container: &str) -> Result<Self, Failure> {
        let kind = csp_type(provider)?;
        let (provider, container) = (wide(provider), wide(container));
        let mut context = 0;
        // SAFETY: both names end with a zero and the result is valid for writes.
        let acquired = unsafe {
            CryptAcquireContextW(
                &mut context,
                container.as_ptr(),
                provider.as_ptr(),
                kind,
                CRYPT_SILENT,
            )
        };
        if acquired == 0 {
            return Err(last_failure("CryptAcquireContextW"));
        }
        Self::of_csp_context(CspContext(context), AT_KEYEXCHANGE)
    }

    /// CNG's handle to a CSP's key.
    fn of_csp_context(context: CspContext, spec: u32) -> Result<Self, Failure> {
        let mut key = 0;
        // SAFETY: the context is alive and the result is valid for writes.
        if unsafe { CryptGetUserKey(context.0, spec, &mut key) } == 0 {
            return Err(last_failure("CryptGetUserKey"));
        }
        let key = CspKey(key);
        let (mut provider, mut translated) = (0, 0);
        // SAFETY: context and key are alive and the results are valid for writes.
        let code = unsafe {
            NCryptTranslateHandle(&mut provider, &mut translated, context.0, key.0, spec, 0)
        };
        checked("NCryptTranslateHandle", code)?;
        drop(NcryptObject(provider));
        Ok(Self { handle: NcryptObject(translated), _csp: Some((key, context)) })
    }

    /// Modulus and public exponent, big-endian.
    pub(super) fn public(&self) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        let blob = filled("NCryptExportKey", |out, len, written| {
            // SAFETY: the key is alive; `out` is null with a length of zero, or valid for writes of
            // `len` bytes; `written` is valid for writes.
            unsafe {
                NCryptExportKey(
                    self.handle.0,
                    0,
                    BCRYPT_RSAPUBLIC_BLOB,
                    null(),
                    out,
                    len,
                    written,
                    NCRYPT_SILENT_FLAG,
                )
            }
        })?;
        public_blob(&blob).ok_or(Failure::Code("NCryptExportKey", NTE_BAD_LEN as u32))
    }

    /// RSAES-OAEP with SHA-1 and no label.
    pub(super) fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let padding = BCRYPT_OAEP_PADDING_INFO {
            pszAlgId: BCRYPT_SHA1_ALGORITHM,
            pbLabel: null_mut(),
            cbLabel: 0,
        };
        let plaintext = filled("NCryptDecrypt", |out, len, written| {
            // SAFETY: as for the export; the padding is the one that the flag announces.
            unsafe {
                NCryptDecrypt(
                    self.handle.0,
                    ciphertext.as_ptr(),
                    ciphertext.len() as u32,
                    (&raw const padding).cast(),
                    out,
                    len,
                    written,
                    NCRYPT_PAD_OAEP_FLAG | NCRYPT_SILENT_FLAG,
                )
            }
        });
        const BAD: [u32; 2] = [NTE_BAD_DATA as u32, NTE_DECRYPTION_FAILURE as u32];
        match plaintext {
            Err(Failure::Code(_, code)) if BAD.contains(&code) => Err(Failure::BadCiphertext),
            other => other,
        }
    }

    /// RSASSA-PKCS1-v1_5 over a SHA-256 digest.
    pub(super) fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, Failure> {
        let padding = BCRYPT_PKCS1_PADDING_INFO { pszAlgId: BCRYPT_SHA256_ALGORITHM };
        let signature = filled("NCryptSignHash", |out, len, written| {
            // SAFETY: as for the export; the padding is the one that the flag announces.
            unsafe {
                NCryptSignHash(
                    self.handle.0,
                    (&raw const padding).cast(),
                    digest.as_ptr(),
                    digest.len() as u32,
                    out,
                    len,
                    written,
                    NCRYPT_PAD_PKCS1_FLAG | NCRYPT_SILENT_FLAG,
                )
            }
        })?;
        Ok(signature.to_vec())
    }
}

/// Asks a CNG function for the length, then for the bytes. The buffer is wiped when it goes.
fn filled(
    call: &'static str,
    mut function: impl FnMut(*mut u8, u32, &mut u32) -> HRESULT,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut len = 0;
    checked(call, function(null_mut(), 0, &mut len))?;
    let mut bytes = Zeroizing::new(vec![0; len as usize]);
    let mut written = 0;
    checked(call, function(bytes.as_mut_ptr(), len, &mut written))?;
    bytes.truncate(written as usize);
    Ok(bytes)
}

/// `BCRYPT_RSAPUBLIC_BLOB`: the header, the exponent, the modulus.
fn public_blob(blob: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (header, rest) = blob.split_at_checked(RSA_BLOB_HEADER)?;
    let field = |at: usize| {
        let bytes = header.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let (exponent, rest) = rest.split_at_checked(field(8)?)?;
    let modulus = rest.get(..field(12)?)?;
    Some((modulus.to_vec(), exponent.to_vec()))
}

/// The number that `CryptAcquireContextW` wants beside a CSP's name.
fn csp_type(provider: &str) -> Result<u32, Failure> {
    let path = wide(&format!("{CSP_TYPES}{provider}"));
    let name = wide("Type");
    let mut kind = 0u32;
    let mut len = size_of::<u32>() as u32;
    // SAFETY: both names end with a zero, and the result is valid for writes of `len` bytes.
    let code = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            path.as_ptr(),
            name.as_ptr(),
            RRF_RT_REG_DWORD,
            null_mut(),
            (&raw mut kind).cast(),
            &mut len,
        )
    };
    match code {
        ERROR_SUCCESS => Ok(kind),
        ERROR_FILE_NOT_FOUND => Err(Failure::NotFound),
        code => Err(Failure::Code("RegGetValueW", code)),
    }
}

/// A text for a Windows function. What stands behind a zero would be cut off and name another
/// object, so a text that holds one names none.
fn wide(text: &str) -> Vec<u16> {
    let text = if text.contains('\0') { "" } else { text };
    text.encode_utf16().chain([0]).collect()
}

fn checked(call: &'static str, code: HRESULT) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(failure(call, code as u32)) }
}

fn last_failure(call: &'static str) -> Failure {
    // SAFETY: reads a number of this thread.
    failure(call, unsafe { GetLastError() })
}

fn failure(call: &'static str, code: u32) -> Failure {
    const NOT_FOUND: [u32; 4] =
        [CRYPT_E_NOT_FOUND as u32, NTE_BAD_KEYSET as u32, NTE_NOT_FOUND as u32, NTE_NO_KEY as u32];
    if NOT_FOUND.contains(&code) { Failure::NotFound } else { Failure::Code(call, code) }
}

/// A key or a storage provider of CNG.
struct NcryptObject(usize);

impl Drop for NcryptObject {
    fn drop(&mut self) {
        if self.0 != 0 {
            // SAFETY: the handle came from a function that says that it is to be freed, once.
            unsafe { NCryptFreeObject(self.0) };
        }
    }
}

/// A CSP with a container.
struct CspContext(usize);

impl Drop for CspContext {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { CryptReleaseContext(self.0, 0) };
    }
}

/// A key in a container of a CSP.
struct CspKey(usize);

impl Drop for CspKey {
    fn drop(&mut self) {
        // SAFETY: the handle came from `CryptGetUserKey`.
        unsafe { CryptDestroyKey(self.0) };
    }
}

/// A certificate store, open for reading.
struct Store(HCERTSTORE);

impl Store {
    fn open(location: StoreLocation) -> Result<Self, Failure> {
        let location = match location {
            StoreLocation::CurrentUser => CERT_SYSTEM_STORE_CURRENT_USER,
            StoreLocation::LocalMachine => CERT_SYSTEM_STORE_LOCAL_MACHINE,
        };
        let name = wide("My");
        // SAFETY: for this kind of store the last argument is the name, which ends with a zero.
        let store = unsafe {
            CertOpenStore(
                CERT_STORE_PROV_SYSTEM_W,
                0,
                0,
                location | CERT_STORE_READONLY_FLAG | CERT_STORE_OPEN_EXISTING_FLAG,
                name.as_ptr().cast::<c_void>(),
            )
        };
        if store.is_null() { Err(last_failure("CertOpenStore")) } else { Ok(Self(store)) }
    }

    fn find(&self, thumbprint: &Thumbprint) -> Result<Certificate, Failure> {
        let mut bytes = *thumbprint.as_bytes();
        let hash = CRYPT_INTEGER_BLOB { cbData: bytes.len() as u32, pbData: bytes.as_mut_ptr() };
        // SAFETY: the store is open; for this kind of search the argument is a blob with the hash,
        // which is only read; there is no earlier certificate to go on from.
        let found = unsafe {
            CertFindCertificateInStore(
                self.0,
                X509_ASN_ENCODING,
                0,
                CERT_FIND_SHA1_HASH,
                (&raw const hash).cast(),
                null(),
            )
        };
        if found.is_null() {
            Err(last_failure("CertFindCertificateInStore"))
        } else {
            Ok(Certificate(found))
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the store is open, and closed once. Certificates from it keep what they need.
        unsafe { CertCloseStore(self.0, 0) };
    }
}

/// A certificate of a store.
struct Certificate(*mut CERT_CONTEXT);

impl Drop for Certificate {
    fn drop(&mut self) {
        // SAFETY: the context came from a search and is freed once.
        unsafe { CertFreeCertificateContext(self.0) };
    }
}
