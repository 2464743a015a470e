//! Whatever is in a Java key store whose digest holds, it is read or refused, and no alias comes out
//! both usable and not.
#![no_main]

use always_encrypted::keystore::JavaKeyStore;
use libfuzzer_sys::fuzz_target;
use sha1::{Digest, Sha1};

const PASSWORD: &str = "s3cret";

fuzz_target!(|data: &[u8]| {
    let mut bytes = [&[0xFE, 0xED, 0xFE, 0xED], data].concat();
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let hash = Sha1::new().chain_update(password).chain_update(b"Mighty Aphrodite");
    let digest = hash.chain_update(&bytes).finalize();
    bytes.extend_from_slice(&digest);
    if let Ok(store) = JavaKeyStore::from_bytes(&bytes, PASSWORD) {
        let usable = store.aliases();
        assert!(store.skipped().iter().all(|(alias, _)| !usable.contains(alias)));
        assert!(usable.len() + store.skipped().len() <= data.len() / 20);
    }
});
