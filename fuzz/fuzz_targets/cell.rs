//! No bytes but those that the key made are a cell; every plaintext comes back.
#![no_main]

use always_encrypted::crypto::{Cek, CellKey, EncryptionType};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let key = CellKey::new(&Cek::from([3; 32]));
    let mut cell = data.to_vec();
    assert!(key.decrypt(&cell).is_err());
    assert!(key.decrypt_in_place(&mut cell).is_err());
    for encryption_type in [EncryptionType::Deterministic, EncryptionType::Randomized] {
        let cell = key.encrypt(data, encryption_type).expect("IVs of the thread");
        assert_eq!(key.decrypt(&cell).expect("our own cell").as_slice(), data);
    }
});
