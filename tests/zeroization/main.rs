//! What the library gives back to the allocator holds no key and no plaintext: the allocator looks.
//!
//! The stack and registers are not looked at: what moves leaves copies there that no library can wipe.

mod crypto;
mod session;
mod settings;

#[path = "../support/mod.rs"]
mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::Cell,
    time::Instant,
};

use always_encrypted::{
    Config,
    crypto::{Cek, CellKey, CmkPrivateKey, EncryptionType, Envelope},
    tds::WipedBuffer,
};
use hmac::{Hmac, KeyInit, Mac};
use memchr::memmem;
use rsa::{pkcs8::DecodePrivateKey, traits::PrivateKeyParts};
use sha2::{Sha256, block_api::compress256};
use support::*;

struct Searching;

thread_local! {
    /// What the thread's freed blocks are searched for; nothing outside of `findings_in`.
    static SECRETS: Cell<&'static [Vec<u8>]> = const { Cell::new(&[]) };
    static FINDINGS: Cell<usize> = const { Cell::new(0) };
}

fn search(block: &[u8]) {
    let secrets = SECRETS.try_with(Cell::take).unwrap_or_default();
    if secrets.is_empty() {
        return;
    }
    if let Some(at) = secrets.iter().position(|s| memmem::find(block, s).is_some()) {
        FINDINGS.set(FINDINGS.get() + 1);
        let trace = Backtrace::force_capture();
        println!("secret {at} in a freed block of {} bytes\n{trace}", block.len());
    }
    SECRETS.set(secrets);
}

// SAFETY: everything is handed on to the system's allocator, for memory that is zero to begin with,
// so that all of a block may be read and no block shows what an earlier one held. `realloc` is the
// trait's own, which frees the old block here.
unsafe impl GlobalAlloc for Searching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        search(unsafe { std::slice::from_raw_parts(ptr, layout.size()) });
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Searching = Searching;

/// How many blocks with one of `secrets` in them `work` frees. What it takes by value it frees too.
fn findings_in(secrets: &[&[u8]], work: impl FnOnce()) -> usize {
    // Not freed, so that it is not found itself.
    let secrets: Vec<Vec<u8>> = secrets.iter().map(|s| s.to_vec()).collect();
    FINDINGS.set(0);
    SECRETS.set(secrets.leak());
    work();
    SECRETS.set(&[]);
    FINDINGS.get()
}

const KEY: [u8; 32] = *b"\x9a\x01\xfeKEY-OF-CELLS-31-and-more\x80\x7f\xc3\x05\x11";

/// No two pieces of it are alike, and no buffer holds it by chance.
const PLAINTEXT: &[u8] =
    b"\x01\x99meet at the northern harbour at dawn, alone; bring the second key\xfe";
const PIECE: &[u8] = b"northern harbour";
const TEXT: &str = "meet at the northern harbour at dawn";

fn derived(purpose: &str) -> [u8; 32] {
    let salt = format!(
        "Microsoft SQL Server cell {purpose} key with encryption algorithm:\
         AEAD_AES_256_CBC_HMAC_SHA256 and key length:256"
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(&KEY).unwrap();
    mac.update(&utf16(&salt));
    mac.finalize().into_bytes().into()
}

/// The state of SHA-256 behind the pad of a key, as it lies in memory.
fn hmac_state(key: &[u8; 32], pad: u8) -> Vec<u8> {
    let mut block = [pad; 64];
    block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
    let mut state = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19u32,
    ];
    compress256(&mut state, &[block]);
    state.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The CEK and all that `CellKey` makes of it, in halves.
fn keys() -> Vec<Vec<u8>> {
    let (encryption, mac, iv) = (derived("encryption"), derived("MAC"), derived("IV"));
    let mut all = vec![KEY.to_vec(), encryption.to_vec(), mac.to_vec(), iv.to_vec()];
    for key in [mac, iv] {
        all.extend([hmac_state(&key, 0x36), hmac_state(&key, 0x5c)]);
    }
    all.iter().flat_map(|key| [key[..16].to_vec(), key[16..].to_vec()]).collect()
}

fn key_findings_in(work: impl FnOnce()) -> usize {
    let keys = keys();
    findings_in(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>(), work)
}

#[test]
fn what_is_not_wiped_is_found() {
    let (plain, mut grown) = (PLAINTEXT.to_vec(), PLAINTEXT.to_vec());
    assert_eq!(findings_in(&[PIECE], || drop(plain)), 1);
    assert_eq!(findings_in(&[PIECE], || grown.reserve(1 << 16)), 1);
    let key = Box::new(KEY);
    assert_eq!(key_findings_in(|| drop(key)), 1);
    assert_eq!(key_findings_in(|| drop(Box::new(hmac_state(&derived("MAC"), 0x36)))), 1);
    assert_eq!(findings_in(&[PIECE], || drop(vec![1u8; 100])), 0);
    assert_eq!(grown, PLAINTEXT);
}

/// Two texts: one that fits its packet, one of many packets.
fn texts() -> [String; 2] {
    [TEXT.to_owned(), TEXT.repeat(3000)]
}

/// The text as the driver gives it and in one byte a character, and the number. Not the keys: the
/// harness makes them on the stack, whence they get into the padding of what is moved.
fn session_findings_in(work: impl FnOnce()) -> usize {
    let wide = utf16("northern harbour");
    findings_in(&[&wide[..16], &wide[16..], PIECE, &SECRET_INT.to_le_bytes()], work)
}

/// "northern" in UTF-16.
const PIECE_WIDE: &[u8] = b"n\0o\0r\0t\0h\0e\0r\0n\0";

const SECRET_INT: i32 = 0x7E57_5EC1;
