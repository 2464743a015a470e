//! PKCS#12: files of Windows, OpenSSL and Java.

mod encode;
pub(super) mod kdf;
mod mac;
mod structure;
#[cfg(test)]
mod tests;

use std::path::Path;

use zeroize::Zeroizing;

use super::{
    FileBudget, FilePasswords,
    encryption::Password,
    pem::{MAX_ITEMS, too_many_items},
};
use crate::keystore::KeyFileProblem;

use mac::Mac;
use structure::{Bag, Part, Pfx};

#[cfg(test)]
pub(in crate::keystore) use encode::der_value;
pub(in crate::keystore) use encode::encode;
pub(super) use structure::encrypted_key;

/// Reads a PKCS#12 file: PBES2 as OpenSSL 3, Windows and Java write it, 3DES and RC2-40 as older ones
/// do, with a MAC by either derivation or without one.
///
/// Without a password, and with the empty one, the file is tried as one whose password is empty and as
/// one whose password is null: programs write either and mean the same, and OpenSSL, Windows and .NET
/// read both. A file is as one of them throughout, and may cost as much in each attempt as with one.
///
/// A file without MAC is read, as Windows, OpenSSL and Java do: nothing vouches for what it holds then,
/// which [`Opened::unauthenticated`] says.
pub(in crate::keystore) fn open(
    path: &Path,
    bytes: &[u8],
    passwords: &FilePasswords,
    budget: &mut FileBudget<'_>,
) -> Result<Opened, KeyFileProblem> {
    let password = passwords.of(path)?;
    let pfx = Pfx::parse(bytes)?;
    let tried = match password.as_ref().filter(|password| !password.is_empty()) {
        Some(password) => vec![Password::new(password)],
        None => vec![Password::new(""), Password::null()],
    };
    let mut outcome = Err(KeyFileProblem::WrongPassword);
    for password in &tried {
        outcome = pfx.open(password, &mut budget.attempt());
        if !matches!(outcome, Err(KeyFileProblem::WrongPassword)) {
            break;
        }
    }
    match outcome {
        Ok(opened) => {
            let unauthenticated = password.is_some() && pfx.mac.is_none();
            Ok(Opened { unauthenticated, ..opened })
        }
        Err(KeyFileProblem::WrongPassword) if password.is_none() => Err(KeyFileProblem::NoPassword),
        Err(problem) => Err(problem),
    }
}

/// What a PKCS#12 file holds.
#[derive(Default)]
pub(in crate::keystore) struct Opened {
    pub(in crate::keystore) keys: Vec<Key>,
    /// Each in DER.
    pub(in crate::keystore) certificates: Vec<Vec<u8>>,
    /// There is a password and no MAC made with it: whoever wrote the file need not have known it.
    pub(in crate::keystore) unauthenticated: bool,
}

/// A private key of a file.
pub(in crate::keystore) struct Key {
    /// Its friendly name, which for Java is its alias.
    #[cfg_attr(not(feature = "java-keystore"), allow(dead_code, reason = "aliases are Java's"))]
    pub(in crate::keystore) name: Option<String>,
    pub(in crate::keystore) pkcs8: Result<Zeroizing<Vec<u8>>, KeyFileProblem>,
}

impl Pfx<'_> {
    /// Opens all of it with one password.
    fn open(
        &self,
        password: &Password,
        budget: &mut FileBudget<'_>,
    ) -> Result<Opened, KeyFileProblem> {
        let parts = self.parts()?;
        budget.check(self.visible_cost(&parts)?)?;
        if let Some(mac) = &self.mac {
            mac.verify(password, self.safe, budget)?;
        }
        let mut opened = Opened::default();
        for part in parts {
            match part {
                Part::Plain(bags) => opened.add(bags, password, budget)?,
                Part::Encrypted { scheme, data } => {
                    let bytes =
                        scheme.decrypt(password, data, budget).map_err(|e| self.blame(e))?;
                    // What comes out under a wrong password may happen to be padded well.
                    let bags = structure::bags(&bytes)
                        .map_err(|problem| self.mac.as_ref().map_or(WRONG, |_| problem))?;
                    opened.add(bags, password, budget)?;
                }
            }
        }
        self.check_keys(&mut opened)?;
        Ok(opened)
    }

    /// What the derivations cost of which the file tells before any of them is done.
    fn visible_cost(&self, parts: &[Part<'_>]) -> Result<u64, KeyFileProblem> {
        let mut cost = self.mac.as_ref().map_or(Ok(0), Mac::cost)?;
        for part in parts {
            cost = cost.saturating_add(match part {
                Part::Plain(bags) => cost_of(bags)?,
                Part::Encrypted { scheme, .. } => scheme.cost()?,
            });
        }
        Ok(cost)
    }

    /// What a failure to decrypt means. A password that has made the MAC is the file's: what it does
    /// not open has another.
    fn blame(&self, problem: KeyFileProblem) -> KeyFileProblem {
        if problem == WRONG && self.mac.is_some() { KeyFileProblem::KeyPassword } else { problem }
    }

    /// Without a MAC a key tells whether the password is right, which one that decrypts to something
    /// else than a key does not; with one, a key may have a password of its own.
    fn check_keys(&self, opened: &mut Opened) -> Result<(), KeyFileProblem> {
        use x509_cert::der::Decode as _;
        if self.mac.is_some() {
            for key in &mut opened.keys {
                let pkcs8 = std::mem::replace(&mut key.pkcs8, Err(WRONG));
                key.pkcs8 = pkcs8.map_err(|e| self.blame(e));
            }
            return Ok(());
        }
        let fails = |key: &Key| match &key.pkcs8 {
            Ok(pkcs8) => rsa::pkcs8::PrivateKeyInfoRef::from_der(pkcs8).is_err(),
            Err(problem) => *problem == WRONG,
        };
        if opened.keys.iter().any(fails) { Err(WRONG) } else { Ok(()) }
    }
}

const WRONG: KeyFileProblem = KeyFileProblem::WrongPassword;

impl Opened {
    /// Decrypts the keys of a part, if together they may be.
    fn add(
        &mut self,
        bags: Vec<Bag<'_>>,
        password: &Password,
        budget: &mut FileBudget<'_>,
    ) -> Result<(), KeyFileProblem> {
        if self.keys.len() + self.certificates.len() + bags.len() > MAX_ITEMS {
            return Err(too_many_items());
        }
        budget.check(cost_of(&bags)?)?;
        for bag in bags {
            match bag {
                Bag::Certificate(der) => self.certificates.push(der.to_vec()),
                Bag::Key { name, pkcs8 } => {
                    self.keys.push(Key { name, pkcs8: Ok(Zeroizing::new(pkcs8.to_vec())) });
                }
                Bag::ShroudedKey { name, scheme, data } => {
                    let pkcs8 = scheme.and_then(|scheme| scheme.decrypt(password, data, budget));
                    self.keys.push(Key { name, pkcs8 });
                }
            }
        }
        Ok(())
    }
}

/// What opening the keys among them costs.
fn cost_of(bags: &[Bag<'_>]) -> Result<u64, KeyFileProblem> {
    let mut cost = 0u64;
    for bag in bags {
        if let Bag::ShroudedKey { scheme: Ok(scheme), .. } = bag {
            cost = cost.saturating_add(scheme.cost()?);
        }
    }
    Ok(cost)
}

/// The same file without its MAC.
#[cfg(test)]
pub(in crate::keystore) fn without_mac(bytes: &[u8]) -> Vec<u8> {
    use x509_cert::der::{Decode as _, Encode as _, SliceReader, asn1::AnyRef};
    let mut parts = SliceReader::new(AnyRef::from_der(bytes).unwrap().value()).unwrap();
    let version = AnyRef::decode(&mut parts).unwrap().to_der().unwrap();
    let safes = AnyRef::decode(&mut parts).unwrap().to_der().unwrap();
    der_value(0x30, &[&version, &safes])
}
