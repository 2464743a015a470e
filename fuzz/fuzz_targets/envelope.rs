//! Taking an envelope apart never reads past its end, and its parts add up to it.
#![no_main]

use always_encrypted::crypto::Envelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(envelope) = Envelope::parse(data) {
        assert_eq!([envelope.signed_bytes(), envelope.signature()].concat(), data);
        assert!(envelope.ciphertext().len() < data.len());
        let _ = (envelope.key_path(), envelope.check_lengths(256));
    }
});
