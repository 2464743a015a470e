//! What is counted: the calls that a program spends its time in, with all that they need made ready
//! beforehand.

use std::hint::black_box;

use always_encrypted::crypto::{
    Cek, CellKey, CellToDecrypt, CellToEncrypt,
    EncryptionType::{self, Deterministic, Randomized},
    Implementation, encrypted_len,
};

/// Sixteen IVs are what the thread's generator makes at a time. So many calls have its work in them
/// once; of the others, one is as good as many.
const DRAWING: u64 = 16;

const BATCH: usize = 64;

/// The shapes, and over how many calls each is counted.
pub const SHAPES: [(&str, u64); 11] = [
    ("nothing", 1),
    ("encrypt deterministic 8", 1),
    ("encrypt deterministic 64", 1),
    ("encrypt deterministic 4096", 1),
    ("encrypt randomized 64", DRAWING),
    ("decrypt 64", 1),
    ("decrypt 4096", 1),
    ("encrypt deterministic batch 64x64", 1),
    ("encrypt randomized batch 64x64", 1),
    ("decrypt batch 64x64", 1),
    ("cell key", 1),
];

/// Hands each shape to `count`, in the order of [`SHAPES`], once its memory and the thread's generator
/// are warm.
pub fn each(implementation: Implementation, mut count_calls: impl FnMut(&mut dyn FnMut())) {
    let mut calls = SHAPES.iter().map(|(_, calls)| *calls);
    let mut count = |work: &mut dyn FnMut()| {
        let calls = calls.next().expect("as many as there are names");
        work();
        count_calls(&mut || (0..calls).for_each(|_| work()));
    };
    let cek = Cek::from(std::array::from_fn(|i| i as u8));
    let key = &CellKey::with(&cek, implementation);
    count(&mut || {});
    for len in [8, 64, 4096] {
        count(&mut encrypt(key, len, Deterministic));
    }
    count(&mut encrypt(key, 64, Randomized));
    for len in [64, 4096] {
        count(&mut decrypt(key, len));
    }
    for encryption_type in [Deterministic, Randomized] {
        count(&mut encrypt_batch(key, encryption_type));
    }
    count(&mut decrypt_batch(key));
    count(&mut || {
        black_box(CellKey::with(black_box(&cek), implementation));
    });
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|i| i.wrapping_mul(31) as u8).collect()
}

fn encrypt(key: &CellKey, len: usize, encryption_type: EncryptionType) -> impl FnMut() {
    let (plaintext, mut out) = (plaintext(len), vec![0; encrypted_len(len)]);
    move || {
        key.encrypt_into(black_box(&plaintext), encryption_type, black_box(&mut out))
            .expect("there is room");
    }
}

fn decrypt(key: &CellKey, len: usize) -> impl FnMut() {
    let cell = key.encrypt(&plaintext(len), Deterministic).expect("no IV is drawn");
    let mut out = vec![0; cell.len()];
    move || {
        key.decrypt_into(black_box(&cell), black_box(&mut out)).expect("our own cell");
    }
}

fn encrypt_batch(key: &CellKey, encryption_type: EncryptionType) -> impl FnMut() {
    let plaintext = plaintext(64);
    let mut cells = vec![vec![0; encrypted_len(64)]; BATCH];
    move || {
        let mut batch = cells.iter_mut().map(|cell| CellToEncrypt::new(&plaintext, cell));
        let mut batch: [_; BATCH] = std::array::from_fn(|_| batch.next().expect("as many"));
        key.encrypt_batch(black_box(&mut batch), encryption_type);
        assert!(batch.iter().all(|cell| cell.written().is_ok()));
    }
}

/// With what it takes to copy the cells anew, for they become plaintext where they lie.
fn decrypt_batch(key: &CellKey) -> impl FnMut() {
    let cell = key.encrypt(&plaintext(64), Deterministic).expect("no IV is drawn");
    let mut cells = vec![cell.clone(); BATCH];
    move || {
        for copy in &mut cells {
            copy.copy_from_slice(&cell);
        }
        let mut batch = cells.iter_mut().map(|cell| CellToDecrypt::new(cell));
        let mut batch: [_; BATCH] = std::array::from_fn(|_| batch.next().expect("as many"));
        key.decrypt_batch(black_box(&mut batch));
        assert!(batch.iter().all(|cell| cell.range().is_ok()));
    }
}
