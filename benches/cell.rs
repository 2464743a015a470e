//! The hot path of every encrypted column: one cell at a time, caller's buffers, one key.
//!
//! ```text
//! cargo bench --bench cell
//! ```
//!
//! Each iteration works on its own plaintext, so that nothing is predicted from the last one.

use always_encrypted::crypto::{Cek, CellKey, EncryptionType, encrypted_len};
use divan::{Bencher, black_box, counter::BytesCount};

fn main() {
    divan::main();
}

const SIZES: [usize; 8] = [8, 32, 64, 128, 256, 1024, 4096, 65536];
/// Distinct plaintexts per size, a power of two.
const DISTINCT: usize = 16;

fn key() -> CellKey {
    CellKey::new(&Cek::from(std::array::from_fn(|i| i as u8)))
}

fn plaintexts(len: usize) -> Vec<Vec<u8>> {
    (0..DISTINCT)
        .map(|n| (0..len).map(|i| (i.wrapping_mul(31) ^ n.wrapping_mul(97)) as u8).collect())
        .collect()
}

fn encrypt(bencher: Bencher, len: usize, encryption_type: EncryptionType) {
    let (key, plaintexts) = (key(), plaintexts(len));
    let mut out = vec![0; encrypted_len(len)];
    let mut n = 0;
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        n = (n + 1) % DISTINCT;
        key.encrypt_into(black_box(&plaintexts[n]), encryption_type, black_box(&mut out))
    });
}

#[divan::bench(args = SIZES)]
fn encrypt_deterministic(bencher: Bencher, len: usize) {
    encrypt(bencher, len, EncryptionType::Deterministic);
}

#[divan::bench(args = SIZES)]
fn encrypt_randomized(bencher: Bencher, len: usize) {
    encrypt(bencher, len, EncryptionType::Randomized);
}

#[divan::bench(args = SIZES)]
fn decrypt_into(bencher: Bencher, len: usize) {
    let key = key();
    let cells: Vec<Vec<u8>> = plaintexts(len)
        .iter()
        .map(|p| key.encrypt(p, EncryptionType::Randomized).unwrap())
        .collect();
    let mut out = vec![0; encrypted_len(len)];
    let mut n = 0;
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        n = (n + 1) % DISTINCT;
        key.decrypt_into(black_box(&cells[n]), black_box(&mut out))
    });
}

/// What a new CEK costs once: three derivations, two AES schedules, four HMAC states.
#[divan::bench]
fn cell_key_new() -> CellKey {
    CellKey::new(black_box(&Cek::from([7; 32])))
}
