//! The hot path allocates nothing: counted by the allocator itself.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use always_encrypted::crypto::{
    Cek, CellKey, CellToDecrypt, CellToEncrypt, EncryptionType, Implementation, encrypted_len,
    implementation,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more, and nobody who asks.
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_in(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations_in(|| drop(std::hint::black_box(vec![1u8]))), 1);
}

#[test]
fn a_cell_costs_no_allocation() {
    let key = CellKey::new(&Cek::from([7; 32]));
    let plaintext = [9u8; 1000];
    let mut cell = [0; encrypted_len(1000)];
    let mut out = [0; encrypted_len(1000)];
    // The thread's random number generator is made at its first use.
    key.encrypt_into(&plaintext, EncryptionType::Randomized, &mut cell).unwrap();
    let count = allocations_in(|| {
        for encryption_type in [EncryptionType::Deterministic, EncryptionType::Randomized] {
            let len = key.encrypt_into(&plaintext, encryption_type, &mut cell).unwrap();
            assert_eq!(key.decrypt_into(&cell[..len], &mut out), Ok(plaintext.len()));
            assert!(key.decrypt_in_place(&mut cell[..len]).is_ok());
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn a_batch_costs_no_allocation_whatever_its_lengths() {
    for implementation in [Implementation::Portable, implementation()] {
        let key = CellKey::with(&Cek::from([7; 32]), implementation);
        // More than are sorted at a time.
        let plaintexts: Vec<Vec<u8>> = (0..600).map(|n| vec![n as u8; n * 37 % 3000]).collect();
        let mut cells: Vec<Vec<u8>> =
            plaintexts.iter().map(|p| vec![0; encrypted_len(p.len())]).collect();
        let _ = key.encrypt(b"", EncryptionType::Randomized);
        for encryption_type in [EncryptionType::Deterministic, EncryptionType::Randomized] {
            let mut batch: Vec<_> =
                plaintexts.iter().zip(&mut cells).map(|(p, c)| CellToEncrypt::new(p, c)).collect();
            assert_eq!(allocations_in(|| key.encrypt_batch(&mut batch, encryption_type)), 0);
            assert!(batch.iter().all(|cell| cell.written().is_ok_and(|len| len > 0)));
            drop(batch);
            let mut batch: Vec<_> = cells.iter_mut().map(|c| CellToDecrypt::new(c)).collect();
            assert_eq!(allocations_in(|| key.decrypt_batch(&mut batch)), 0);
            assert!(batch.iter().all(|cell| cell.plaintext().is_ok()));
        }
    }
}
