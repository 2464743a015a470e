//! The hot path of every encrypted column: caller's buffers, one key, cells one at a time and in
//! batches, in safe Rust and by the kernels of this machine.
//!
//! ```text
//! cargo bench --bench cell
//! ```
//!
//! Each iteration works on its own plaintext, so that nothing is predicted from the last one.

use always_encrypted::crypto::{
    Cek, CellKey, CellToDecrypt, CellToEncrypt, EncryptionType, Implementation, encrypted_len,
};
use divan::{
    Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};

fn main() {
    divan::main();
}

const SIZES: [usize; 8] = [8, 32, 64, 128, 256, 1024, 4096, 65536];
/// Distinct plaintexts per size, a power of two.
const DISTINCT: usize = 16;
const BATCHES: [(usize, usize); 12] = [
    (4, 8),
    (8, 8),
    (64, 8),
    (4, 64),
    (8, 64),
    (64, 64),
    (4, 1024),
    (8, 1024),
    (64, 1024),
    (4, 65536),
    (8, 65536),
    (64, 65536),
];

/// Where the processor has no kernels, both are the same.
trait Tier {
    const IMPLEMENTATION: Implementation;

    fn key() -> CellKey {
        CellKey::with(&Cek::from(std::array::from_fn(|i| i as u8)), Self::IMPLEMENTATION)
    }
}

struct Portable;
struct Kernels;

impl Tier for Portable {
    const IMPLEMENTATION: Implementation = Implementation::Portable;
}

impl Tier for Kernels {
    const IMPLEMENTATION: Implementation =
        if cfg!(target_arch = "aarch64") { Implementation::Aarch64 } else { Implementation::X86 };
}

fn plaintexts(count: usize, len: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| (0..len).map(|i| (i.wrapping_mul(31) ^ n.wrapping_mul(97)) as u8).collect())
        .collect()
}

fn cells(key: &CellKey, count: usize, len: usize) -> Vec<Vec<u8>> {
    let cell = |p: &Vec<u8>| key.encrypt(p, EncryptionType::Randomized).unwrap();
    plaintexts(count, len).iter().map(cell).collect()
}

fn encrypt(bencher: Bencher, key: &CellKey, len: usize, encryption_type: EncryptionType) {
    let plaintexts = plaintexts(DISTINCT, len);
    let mut out = vec![0; encrypted_len(len)];
    let mut n = 0;
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        n = (n + 1) % DISTINCT;
        key.encrypt_into(black_box(&plaintexts[n]), encryption_type, black_box(&mut out))
    });
}

#[divan::bench(types = [Portable, Kernels], args = SIZES)]
fn encrypt_deterministic<T: Tier>(bencher: Bencher, len: usize) {
    encrypt(bencher, &T::key(), len, EncryptionType::Deterministic);
}

#[divan::bench(types = [Portable, Kernels], args = SIZES)]
fn encrypt_randomized<T: Tier>(bencher: Bencher, len: usize) {
    encrypt(bencher, &T::key(), len, EncryptionType::Randomized);
}

#[divan::bench(types = [Portable, Kernels], args = SIZES)]
fn decrypt_into<T: Tier>(bencher: Bencher, len: usize) {
    let key = T::key();
    let cells = cells(&key, DISTINCT, len);
    let mut out = vec![0; encrypted_len(len)];
    let mut n = 0;
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        n = (n + 1) % DISTINCT;
        key.decrypt_into(black_box(&cells[n]), black_box(&mut out))
    });
}

fn encrypt_batch(
    bencher: Bencher,
    key: &CellKey,
    (count, len): (usize, usize),
    encryption_type: EncryptionType,
) {
    let plaintexts = plaintexts(count, len);
    let mut cells = vec![vec![0; encrypted_len(len)]; count];
    let mut batch: Vec<_> =
        plaintexts.iter().zip(&mut cells).map(|(p, c)| CellToEncrypt::new(p, c)).collect();
    bencher
        .counter(ItemsCount::new(count))
        .bench_local(|| key.encrypt_batch(black_box(&mut batch), encryption_type));
}

/// Of so many cells, of so many bytes of plaintext.
#[divan::bench(types = [Portable, Kernels], args = BATCHES)]
fn encrypt_deterministic_batch<T: Tier>(bencher: Bencher, shape: (usize, usize)) {
    encrypt_batch(bencher, &T::key(), shape, EncryptionType::Deterministic);
}

#[divan::bench(types = [Portable, Kernels], args = BATCHES)]
fn encrypt_randomized_batch<T: Tier>(bencher: Bencher, shape: (usize, usize)) {
    encrypt_batch(bencher, &T::key(), shape, EncryptionType::Randomized);
}

/// The cells are copied anew for each round, outside of the time that is taken.
#[divan::bench(types = [Portable, Kernels], args = BATCHES)]
fn decrypt_batch<T: Tier>(bencher: Bencher, (count, len): (usize, usize)) {
    let key = T::key();
    let cells = cells(&key, count, len);
    bencher.counter(ItemsCount::new(count)).with_inputs(|| cells.clone()).bench_local_values(
        |mut cells| {
            let mut batch: Vec<_> = cells.iter_mut().map(|c| CellToDecrypt::new(c)).collect();
            key.decrypt_batch(black_box(&mut batch));
            drop(batch);
            cells
        },
    );
}

/// What a new CEK costs once: three derivations, two AES schedules, four HMAC states.
#[divan::bench]
fn cell_key_new() -> CellKey {
    CellKey::new(black_box(&Cek::from([7; 32])))
}
