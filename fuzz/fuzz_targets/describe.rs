//! Whatever the server answers to a describe, every parameter gets one verdict or none do.
#![no_main]

use always_encrypted::metadata::DescribeAnswer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(DescribeAnswer::Described(description)) = DescribeAnswer::read(data, &["@a", "@b"]) {
        assert_eq!(description.parameters.len(), 2);
        for encryption in description.parameters.iter().flatten() {
            assert!(encryption.cek < description.ceks.len());
        }
    }
});
