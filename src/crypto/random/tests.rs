//! What becomes of everything that needs random bytes when there are none.

use EncryptionType::{Deterministic, Randomized};

use super::{super::*, faults::after};

/// No cell, and nothing of the plaintext: the buffers of these tests are full of it beforehand.
const UNTOUCHED: u8 = 0xEE;

fn keys() -> impl Iterator<Item = CellKey> {
    let implementations = [Implementation::Portable, Implementation::detect()];
    let sources = [IvSource::Thread, IvSource::OperatingSystem];
    implementations.into_iter().flat_map(move |implementation| {
        sources
            .map(|source| CellKey::with(&Cek::from([7; 32]), implementation).with_ivs_from(source))
    })
}

/// On a thread whose generator of IVs has not been seeded.
fn on_a_new_thread(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(test).join().unwrap());
}

#[test]
fn without_randomness_no_randomized_cell_is_made() {
    for key in keys() {
        on_a_new_thread(|| {
            let mut out = [UNTOUCHED; 100];
            let (result, _) = after(0, || key.encrypt_into(b"value", Randomized, &mut out));
            assert_eq!(result, Err(RandomFailed.into()));
            assert_eq!(out, [UNTOUCHED; 100]);
            assert_eq!(after(0, || key.encrypt(b"value", Randomized)).0, Err(RandomFailed));
            // It comes back with the randomness.
            let cell = key.encrypt(b"value", Randomized).unwrap();
            assert_ne!(cell[33..49], [0; 16]);
        });
    }
}

#[test]
fn without_randomness_no_cell_of_a_randomized_batch_is_made() {
    for key in keys() {
        for size in [1, 16, 17, 600] {
            on_a_new_thread(|| {
                let mut buffers = vec![[UNTOUCHED; 65]; size];
                let mut batch: Vec<_> =
                    buffers.iter_mut().map(|out| CellToEncrypt::new(b"value", out)).collect();
                after(0, || key.encrypt_batch(&mut batch, Randomized));
                assert!(batch.iter().all(|cell| cell.written() == Err(RandomFailed.into())));
                drop(batch);
                assert!(buffers.iter().all(|out| *out == [UNTOUCHED; 65]));
            });
        }
    }
}

#[test]
fn a_batch_whose_randomness_ends_half_way_has_whole_cells_or_none() {
    let key = CellKey::new(&Cek::from([7; 32])).with_ivs_from(IvSource::OperatingSystem);
    let mut buffers = vec![[UNTOUCHED; 65]; 600];
    let mut batch: Vec<_> =
        buffers.iter_mut().map(|out| CellToEncrypt::new(b"value", out)).collect();
    let (_, failed) = after(1, || key.encrypt_batch(&mut batch, Randomized));
    assert!(failed);
    let written: Vec<_> = batch.iter().map(CellToEncrypt::written).collect();
    drop(batch);
    for (result, out) in written.iter().zip(&buffers) {
        match result {
            Ok(_) => assert_eq!(key.decrypt(out).unwrap().as_slice(), b"value"),
            Err(error) => assert_eq!((*error, *out), (RandomFailed.into(), [UNTOUCHED; 65])),
        }
    }
    assert!(written.first().unwrap().is_ok() && written.last().unwrap().is_err());
}

#[test]
fn a_generator_that_cannot_be_seeded_again_stops() {
    let key = CellKey::new(&Cek::from([7; 32]));
    on_a_new_thread(|| {
        // One answer is the seed.
        let (made, failed) =
            after(1, || (0..10_000).take_while(|_| key.encrypt(b"", Randomized).is_ok()).count());
        assert!(failed);
        assert_eq!(made, 64 * 1024 / 16);
        assert_eq!(after(0, reseed_ivs).0, Err(RandomFailed));
        assert_eq!(reseed_ivs(), Ok(()));
    });
}

#[test]
fn deterministic_cells_and_decryption_need_no_randomness() {
    for key in keys() {
        let cell = after(0, || key.encrypt(b"value", Deterministic)).0.unwrap();
        let plaintext = after(0, || key.decrypt(&cell)).0.unwrap();
        assert_eq!(plaintext.as_slice(), b"value");
    }
}

#[test]
fn without_randomness_there_is_no_new_key() {
    assert_eq!(after(0, Cek::generate).0.err(), Some(RandomFailed));
}

#[test]
fn without_randomness_a_master_key_does_nothing_that_needs_it() {
    let cmk = CmkPrivateKey::generate(2048).unwrap();
    let cek = Cek::from([5; 32]);
    let envelope = Envelope::wrap(&cek, "path", &cmk).unwrap();
    assert_eq!(after(0, || CmkPrivateKey::generate(2048)).0.err(), Some(CmkError::Rsa));
    assert_eq!(after(0, || cmk.sign(b"message")).0, Err(CmkError::Rsa));
    assert_eq!(after(0, || Envelope::wrap(&cek, "path", &cmk)).0, Err(CmkError::Rsa));
    let open = || Envelope::parse(&envelope).unwrap().unwrap_with(&cmk);
    assert!(after(0, open).0.is_err());
    assert_eq!(open().unwrap().expose(), cek.expose());
}

/// Whichever of its questions to the generator is not answered.
#[test]
fn a_master_key_fails_whenever_its_randomness_does() {
    let cmk = CmkPrivateKey::generate(2048).unwrap();
    let cek = Cek::from([5; 32]);
    for answers in 0.. {
        let (result, failed) = after(answers, || Envelope::wrap(&cek, "path", &cmk));
        if !failed {
            assert!(result.is_ok());
            assert!(answers > 1, "OAEP takes a seed and the signature is blinded");
            return;
        }
        assert_eq!(result, Err(CmkError::Rsa), "after {answers} answers");
    }
}
