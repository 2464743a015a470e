//! What is encrypted: many plaintexts that differ, so that nothing is predicted from the last one.

/// The plaintext lengths of a full run, in bytes.
pub const SIZES: [usize; 7] = [8, 32, 64, 256, 1024, 4096, 65536];
/// Those of a quick run.
pub const QUICK_SIZES: [usize; 2] = [64, 65536];

/// Bytes that differ with `n` and look like nothing in particular.
pub fn plaintext(len: usize, n: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ ((n as u64) << 32) ^ len as u64;
    let mut byte = || {
        // xorshift64: fast, and the same in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| byte()).collect()
}

/// Distinct plaintexts of one length: as many as lie in the nearer caches, 8 to 256.
pub fn plaintexts(len: usize) -> Vec<Vec<u8>> {
    let distinct = (128 * 1024 / len.max(1)).clamp(8, 256);
    (0..distinct).map(|n| plaintext(len, n)).collect()
}

/// How a length is written in the tables.
pub fn size_name(len: usize) -> String {
    if len >= 1024 { format!("{} KiB", len / 1024) } else { format!("{len} B") }
}
