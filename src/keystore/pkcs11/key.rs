//! Keys in the token: how they are found, used and made. Works on a session, and blocks.

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cryptoki::{
    error::{Error, RvError},
    mechanism::{
        Mechanism, MechanismType,
        rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource},
    },
    object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, SessionState},
};
use rand::TryRng as _;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    error::{Fault, LISTED, Pkcs11Error, code, not_logged_in},
    key_path::KeyPath,
    module,
    session::Connection,
};
use crate::{
    crypto::{Cek, CmkError, CmkPublicKey, Envelope, InvalidEnvelope},
    keystore::KeyStoreError,
};

/// The DER before a SHA-256 digest in a `DigestInfo`: RFC 8017, section 9.2, note 1.
const SHA256_DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// How many keys are looked at: what a message lists, and one more to tell that there are more.
const LOOKED_AT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(LISTED);

/// The longest attribute that is read, in bytes: a modulus has at most a few thousand.
const MAX_ATTRIBUTE_LEN: usize = 1 << 16;

/// Begins what a key signs to show whose other half it is; nothing else that is signed begins so.
const PROOF: &[u8] = b"always-encrypted: this signature shows which public key belongs to the key";

const GET_ATTRIBUTES: &str = "C_GetAttributeValue";

const DECRYPT: &str = "CKA_DECRYPT";
const SIGN: &str = "CKA_SIGN";

/// A private key in the token.
#[derive(Clone)]
pub(super) struct FoundKey {
    pub public: Arc<CmkPublicKey>,
    handle: ObjectHandle,
    decrypt: bool,
    sign: bool,
    /// The connection that the handle is of.
    connection: u64,
    token: String,
    key_path: Arc<str>,
}

/// What we ask of a private key.
#[derive(Default)]
struct Attributes {
    rsa: bool,
    decrypt: bool,
    sign: bool,
    pin_for_each_use: bool,
    modulus: Option<Vec<u8>>,
    exponent: Option<Vec<u8>>,
    id: Vec<u8>,
    label: Vec<u8>,
}

impl FoundKey {
    /// The one key that `path` means, if it can be a master key.
    pub fn find(
        connection: &Connection,
        session: &Session,
        path: &KeyPath,
        key_path: &Arc<str>,
    ) -> Result<Self, Fault> {
        check_token(connection, path, key_path)?;
        let handle = match private_keys(session, path)?.as_slice() {
            [handle] => *handle,
            [] => return Err(not_found(connection, session, key_path)),
            several => {
                let keys = paths(session, several)?;
                return Err(Pkcs11Error::AmbiguousKey { key_path: text(key_path), keys }.into());
            }
        };
        let attributes = Attributes::of(session, handle)?;
        let (decrypt, sign) = (attributes.decrypt, attributes.sign);
        let whole = attributes.modulus.is_some() && attributes.exponent.is_some();
        let found = Self {
            handle,
            decrypt,
            sign,
            public: Arc::new(attributes.public_key(session, key_path)?),
            connection: connection.number,
            token: connection.token.label().to_owned(),
            key_path: Arc::clone(key_path),
        };
        if whole || found.is_pair(session)? {
            Ok(found)
        } else {
            Err(Pkcs11Error::FalsePublicKey { key_path: text(key_path) }.into())
        }
    }

    /// Whether the public half is this key's, by what the private one does. Anybody who may write to
    /// the token can store a public key under the id of another key, and who has the other half of
    /// what we verify with makes envelopes that hold.
    fn is_pair(&self, session: &Session) -> Result<bool, Fault> {
        let mut message = [PROOF, &[0; 32]].concat();
        if let Some(fresh) = message.last_chunk_mut::<32>() {
            let filled = rand::rngs::SysRng.try_fill_bytes(fresh);
            filled.map_err(|_| KeyStoreError::from(CmkError::Rsa))?;
        }
        match self.sign(session, &message) {
            Ok(signature) => Ok(self.public.verify(&message, &signature)),
            // A key that only decrypts.
            Err(Fault::Refused(KeyStoreError::Pkcs11(
                Pkcs11Error::NotAllowed { .. } | Pkcs11Error::NoMechanism { .. },
            ))) => self.is_pair_by_decryption(session),
            Err(fault) => Err(fault),
        }
    }

    fn is_pair_by_decryption(&self, session: &Session) -> Result<bool, Fault> {
        let mut secret = Zeroizing::new([0; 32]);
        let filled = rand::rngs::SysRng.try_fill_bytes(&mut *secret);
        filled.map_err(|_| KeyStoreError::from(CmkError::Rsa))?;
        let cek = Cek::from(*secret);
        let unsigned = Envelope::wrap_unsigned(&cek, &self.key_path, &self.public)
            .map_err(KeyStoreError::from)?;
        let ciphertext = unsigned.len().checked_sub(self.public.modulus_len());
        let ciphertext = ciphertext.and_then(|at| unsigned.get(at..)).unwrap_or_default();
        match self.oaep_decrypt(session, ciphertext) {
            Ok(decrypted) => Ok(decrypted.as_slice() == cek.expose()),
            Err(Fault::Refused(KeyStoreError::InvalidEnvelope(_))) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// The key itself if its handle is of this connection, or the same key found anew. A key that
    /// has been exchanged in the meantime is not taken for the one that checked the envelope.
    pub fn on(
        &self,
        connection: &Connection,
        session: &Session,
        path: &KeyPath,
    ) -> Result<Self, Fault> {
        if connection.number == self.connection {
            return Ok(self.clone());
        }
        let found = Self::find(connection, session, path, &self.key_path)?;
        if found.public == self.public {
            Ok(found)
        } else {
            Err(KeyStoreError::from(InvalidEnvelope::Signature).into())
        }
    }

    pub fn oaep_decrypt(
        &self,
        session: &Session,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        if !self.decrypt {
            return Err(self.not_allowed(DECRYPT));
        }
        let parameters = PkcsOaepParams::new(
            MechanismType::SHA1,
            PkcsMgfType::MGF1_SHA1,
            PkcsOaepSource::empty(),
        );
        let mechanism = Mechanism::RsaPkcsOaep(parameters);
        let decrypt = || session.decrypt(&mechanism, self.handle, ciphertext);
        let result = possible("C_Decrypt", decrypt)?;
        result.map(Zeroizing::new).map_err(|error| match code(&error) {
            Some(
                RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::DataInvalid
                | RvError::DataLenRange,
            ) => KeyStoreError::from(InvalidEnvelope::Ciphertext).into(),
            _ => self.explained(error, "CKM_RSA_PKCS_OAEP with SHA-1", DECRYPT),
        })
    }

    /// By `CKM_SHA256_RSA_PKCS`; where the token or the key lacks that, by `CKM_RSA_PKCS` over what it
    /// would have made.
    pub fn sign(&self, session: &Session, message: &[u8]) -> Result<Vec<u8>, Fault> {
        if !self.sign {
            return Err(self.not_allowed(SIGN));
        }
        let by = |mechanism: Mechanism, what: &[u8]| {
            possible("C_Sign", || session.sign(&mechanism, self.handle, what))
        };
        let result = match by(Mechanism::Sha256RsaPkcs, message)? {
            Err(error) if is_no_mechanism(&error) => {
                let info = [&SHA256_DIGEST_INFO[..], &Sha256::digest(message)].concat();
                by(Mechanism::RsaPkcs, &info)?
            }
            other => other,
        };
        result
            .map_err(|error| self.explained(error, "CKM_SHA256_RSA_PKCS, nor CKM_RSA_PKCS,", SIGN))
    }

    fn explained(&self, error: Error, mechanism: &'static str, attribute: &'static str) -> Fault {
        match code(&error) {
            _ if is_no_mechanism(&error) => {
                Pkcs11Error::NoMechanism { token: self.token.clone(), mechanism }.into()
            }
            Some(RvError::KeyFunctionNotPermitted) => self.not_allowed(attribute),
            _ => error.into(),
        }
    }

    fn not_allowed(&self, attribute: &'static str) -> Fault {
        Pkcs11Error::NotAllowed { key_path: text(&self.key_path), attribute }.into()
    }
}

/// What the module answers to `ask`. cryptoki panics at a length or a count that cannot be; that is no
/// bug of ours, and the session is to be closed as after any other failure.
pub(super) fn possible<T>(
    function: &'static str,
    ask: impl FnOnce() -> Result<T, Error>,
) -> Result<Result<T, Error>, Pkcs11Error> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(|_| Pkcs11Error::ImpossibleAnswer {
        function,
        message: "it has a length or a count beyond all bounds".into(),
    })
}

fn is_no_mechanism(error: &Error) -> bool {
    use RvError as R;
    matches!(
        code(error),
        Some(R::MechanismInvalid | R::MechanismParamInvalid | R::FunctionNotSupported)
    )
}

/// Makes a pair of keys that stays in the token. `session` must be one that writes.
pub(super) fn create(
    connection: &Connection,
    session: &Session,
    label: &str,
    bits: usize,
) -> Result<KeyPath, Fault> {
    let token = connection.token.label();
    let path = KeyPath::of(token, label);
    let taken = || Pkcs11Error::LabelTaken { token: token.into(), label: label.into() };
    let label_only = [Attribute::Label(label.into())];
    if !some_objects(session, &label_only)?.is_empty() {
        return Err(taken().into());
    }
    let mut id = vec![0; 16];
    rand::rngs::SysRng.try_fill_bytes(&mut id).map_err(|_| KeyStoreError::from(CmkError::Rsa))?;
    let modulus_bits = bits.try_into().map_err(|_| KeyStoreError::KeySize { bits })?;
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Label(label.into()),
        Attribute::Id(id.clone()),
        Attribute::Verify(true),
        Attribute::Encrypt(true),
        Attribute::ModulusBits(modulus_bits),
        Attribute::PublicExponent(vec![1, 0, 1]),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Label(label.into()),
        Attribute::Id(id),
        Attribute::Decrypt(true),
        Attribute::Sign(true),
    ];
    let pair = session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)?;
    // Two programs may have made a key of that label at once, and tokens may change templates.
    let key_path = Arc::from(path.to_string());
    FoundKey::find(connection, session, &path, &key_path).map_err(|fault| {
        for handle in [pair.0, pair.1] {
            // The first error is the one to be told.
            let _ = session.destroy_object(handle);
        }
        match fault {
            Fault::Refused(KeyStoreError::Pkcs11(Pkcs11Error::AmbiguousKey { .. })) => {
                taken().into()
            }
            other => other,
        }
    })?;
    Ok(path)
}

/// What can be known of a new key before the token is asked.
pub(super) fn check_new_key(label: &str, bits: usize) -> Result<(), KeyStoreError> {
    if label.trim().is_empty() || label.contains(char::is_control) {
        return Err(Pkcs11Error::InvalidLabel { label: label.into() }.into());
    }
    if ![2048, 3072, 4096].contains(&bits) {
        return Err(KeyStoreError::KeySize { bits });
    }
    Ok(())
}

fn check_token(
    connection: &Connection,
    path: &KeyPath,
    key_path: &Arc<str>,
) -> Result<(), Pkcs11Error> {
    let token = &connection.token;
    let same = [
        (&path.token, token.label()),
        (&path.serial, token.serial_number()),
        (&path.manufacturer, token.manufacturer_id()),
        (&path.model, token.model()),
    ]
    .into_iter()
    .all(|(wanted, has)| wanted.as_ref().is_none_or(|wanted| wanted == has));
    if same {
        Ok(())
    } else {
        Err(Pkcs11Error::AnotherToken { key_path: text(key_path), token: module::name(token) })
    }
}

fn private_keys(session: &Session, path: &KeyPath) -> Result<Vec<ObjectHandle>, Fault> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    template.extend(path.object.as_ref().map(|label| Attribute::Label(label.as_bytes().into())));
    template.extend(path.id.as_ref().map(|id| Attribute::Id(id.clone())));
    some_objects(session, &template)
}

/// At most [`LOOKED_AT`]. A token may hold thousands, and who asks for a key that is not there must not
/// have them all read.
fn some_objects(session: &Session, template: &[Attribute]) -> Result<Vec<ObjectHandle>, Fault> {
    let objects = session.iter_objects_with_cache_size(template, LOOKED_AT)?;
    Ok(objects.take(LOOKED_AT.get()).collect::<Result<_, _>>()?)
}

/// To a session that is not logged in any more, private keys are not there.
fn not_found(connection: &Connection, session: &Session, key_path: &Arc<str>) -> Fault {
    let found = || {
        let state = session.get_session_info()?.session_state();
        if connection.token.login_required()
            && !matches!(state, SessionState::RoUser | SessionState::RwUser)
        {
            return Err(not_logged_in());
        }
        paths(session, &private_keys(session, &KeyPath::default())?)
    };
    match found() {
        Err(fault) => fault,
        Ok(keys) => Pkcs11Error::KeyNotFound {
            key_path: text(key_path),
            token: module::name(&connection.token),
            keys,
        }
        .into(),
    }
}

/// How these keys are named, each so that it is told from the others.
fn paths(session: &Session, keys: &[ObjectHandle]) -> Result<Vec<String>, Fault> {
    keys.iter()
        .map(|&key| {
            let Attributes { label, id, .. } = Attributes::of(session, key)?;
            let object = Some(String::from_utf8_lossy(&label).into_owned());
            let path = KeyPath {
                object: object.filter(|label| !label.is_empty()),
                id: Some(id).filter(|id| !id.is_empty()),
                ..KeyPath::default()
            };
            Ok(path.to_string())
        })
        .collect()
}

impl Attributes {
    fn of(session: &Session, key: ObjectHandle) -> Result<Self, Fault> {
        let wanted = [
            AttributeType::KeyType,
            AttributeType::Decrypt,
            AttributeType::Sign,
            AttributeType::AlwaysAuthenticate,
            AttributeType::Modulus,
            AttributeType::PublicExponent,
            AttributeType::Id,
            AttributeType::Label,
        ];
        check_lengths(session, key, &wanted)?;
        let mut found = Self::default();
        for attribute in possible(GET_ATTRIBUTES, || session.get_attributes(key, &wanted))?? {
            match attribute {
                Attribute::KeyType(kind) => found.rsa = kind == KeyType::RSA,
                Attribute::Decrypt(allowed) => found.decrypt = allowed,
                Attribute::Sign(allowed) => found.sign = allowed,
                Attribute::AlwaysAuthenticate(always) => found.pin_for_each_use = always,
                // Some tokens give an attribute that they do not have as an empty one.
                Attribute::Modulus(value) => found.modulus = Some(value).filter(|v| !v.is_empty()),
                Attribute::PublicExponent(value) => {
                    found.exponent = Some(value).filter(|v| !v.is_empty());
                }
                Attribute::Id(id) => found.id = id,
                Attribute::Label(label) => found.label = label,
                _ => {}
            }
        }
        Ok(found)
    }

    /// The public half of a key that can be a master key.
    fn public_key(mut self, session: &Session, key_path: &Arc<str>) -> Result<CmkPublicKey, Fault> {
        let key_path = || text(key_path);
        if !self.rsa {
            return Err(Pkcs11Error::NotRsa { key_path: key_path() }.into());
        }
        if self.pin_for_each_use {
            return Err(Pkcs11Error::PinForEachUse { key_path: key_path() }.into());
        }
        self.complete_from_public_key(session, key_path())?;
        let (Some(modulus), Some(exponent)) = (self.modulus, self.exponent) else {
            return Err(Pkcs11Error::NoPublicKey { key_path: key_path() }.into());
        };
        CmkPublicKey::from_components(&modulus, &exponent).map_err(|error| match error {
            CmkError::ModulusTooSmall { bits } => {
                Pkcs11Error::KeyTooShort { key_path: key_path(), bits }.into()
            }
            other => KeyStoreError::from(other).into(),
        })
    }

    /// Takes from the public key object what the private one lacks. Which belongs to which the token
    /// says by their ids, and for want of one by their labels. Both are for anybody to choose, so what
    /// is taken must be shown to belong to the key: [`FoundKey::is_pair`].
    fn complete_from_public_key(
        &mut self,
        session: &Session,
        key_path: String,
    ) -> Result<(), Fault> {
        if self.modulus.is_some() && self.exponent.is_some() {
            return Ok(());
        }
        let name = if self.id.is_empty() {
            Attribute::Label(self.label.clone())
        } else {
            Attribute::Id(self.id.clone())
        };
        let template =
            [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::KeyType(KeyType::RSA), name];
        let objects = some_objects(session, &template)?;
        if objects.len() >= LOOKED_AT.get() {
            return Err(Pkcs11Error::AmbiguousPublicKey { key_path }.into());
        }
        let mut only = None;
        for object in objects {
            let public = Self::of(session, object)?;
            let half = (public.modulus, public.exponent);
            let same = self.modulus.is_none() || self.modulus == half.0;
            if !same || half.0.is_none() || half.1.is_none() || only.as_ref() == Some(&half) {
                continue;
            }
            if only.replace(half).is_some() {
                return Err(Pkcs11Error::AmbiguousPublicKey { key_path }.into());
            }
        }
        if let Some(half) = only {
            (self.modulus, self.exponent) = half;
        }
        Ok(())
    }
}

/// Refuses lengths that nobody should set memory aside for: modules of 32 bits call what is not there
/// four gigabytes long.
fn check_lengths(
    session: &Session,
    key: ObjectHandle,
    wanted: &[AttributeType],
) -> Result<(), Fault> {
    let of_any_length: Vec<_> =
        wanted.iter().copied().filter(|kind| kind.fixed_size().is_none()).collect();
    for info in session.get_attribute_info(key, &of_any_length)? {
        match info {
            AttributeInfo::Available(len) if len > MAX_ATTRIBUTE_LEN => {
                let message = format!("an attribute of {len} bytes");
                return Err(
                    Pkcs11Error::ImpossibleAnswer { function: GET_ATTRIBUTES, message }.into()
                );
            }
            _ => {}
        }
    }
    Ok(())
}

fn text(key_path: &Arc<str>) -> String {
    String::from(&**key_path)
}
