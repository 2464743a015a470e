//! HMAC-SHA-256 with its key pads absorbed once.
//!
//! `hmac` would do the same job, but its generic block buffer costs about as much as the hashing of
//! a small cell. This is RFC 2104 on the compression function itself; tests hold it against `hmac`.

use sha2::block_api::compress256;
use zeroize::{Zeroize, ZeroizeOnDrop};

const BLOCK: usize = 64;

/// Messages of up to so many bytes fill three blocks with their padding, or fewer.
const SHORT: usize = 3 * BLOCK - 9;

/// FIPS 180-4, 5.3.3: the initial hash value of SHA-256.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The two states of SHA-256 after the inner and the outer pad.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct HmacSha256Key {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl HmacSha256Key {
    /// `key` is shorter than a block, as every key here is, so it is never hashed first.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { inner: absorb_pad(key, 0x36), outer: absorb_pad(key, 0x5c) }
    }

    /// The state after the inner pad.
    #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn inner(&self) -> &[u32; 8] {
        &self.inner
    }

    /// The state after the outer pad.
    #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn outer(&self) -> &[u32; 8] {
        &self.outer
    }

    /// The MAC of `prefix || body || suffix`. `prefix` and `suffix` are at most a few bytes; the
    /// body is hashed where it lies.
    #[inline]
    pub(super) fn mac<const P: usize, const S: usize>(
        &self,
        prefix: [u8; P],
        body: &[u8],
        suffix: [u8; S],
    ) -> [u8; 32] {
        // What is not short has more than a block before its suffix.
        const { assert!(P < BLOCK && S < SHORT - BLOCK) }
        if P + body.len() + S <= SHORT {
            return self.short_mac(prefix, body, suffix);
        }
        let mut state = self.inner;
        let mut rest = body;
        if P > 0 {
            let (head, tail) = body.split_at(BLOCK - P);
            let mut block = [0; BLOCK];
            block[..P].copy_from_slice(&prefix);
            block[P..].copy_from_slice(head);
            compress256(&mut state, &[block]);
            rest = tail;
        }
        let (blocks, tail) = rest.as_chunks::<BLOCK>();
        compress256(&mut state, blocks);

        let mut last = [0; 2 * BLOCK];
        let mut used = tail.len();
        last[..used].copy_from_slice(tail);
        last[used..used + S].copy_from_slice(&suffix);
        used += S;
        let hashed = BLOCK + P + body.len() + S;
        finish(&mut state, &mut last, used, hashed);
        if P == 0 {
            // Without a prefix it is a plaintext that is hashed, not a ciphertext.
            wipe(&mut last);
        }
        self.outer_mac(&state)
    }

    /// The same for a message that fits into a buffer with its padding: all of its blocks go into one
    /// call, so that what has just been put together is waited for once.
    #[inline]
    fn short_mac<const P: usize, const S: usize>(
        &self,
        prefix: [u8; P],
        body: &[u8],
        suffix: [u8; S],
    ) -> [u8; 32] {
        let mut message = [0; SHORT + 9];
        let end = P + body.len();
        message[..P].copy_from_slice(&prefix);
        message[P..end].copy_from_slice(body);
        message[end..end + S].copy_from_slice(&suffix);
        message[end + S] = 0x80;
        let padded = (end + S + 9).next_multiple_of(BLOCK);
        let bits = ((BLOCK + end + S) as u64) * 8;
        message[padded - 8..padded].copy_from_slice(&bits.to_be_bytes());
        let (blocks, _) = message[..padded].as_chunks::<BLOCK>();
        let mut state = self.inner;
        compress256(&mut state, blocks);
        if P == 0 {
            // Without a prefix it is a plaintext that is hashed, not a ciphertext.
            wipe(&mut message);
        }
        self.outer_mac(&state)
    }

    /// The outer hash over the inner one.
    #[inline]
    fn outer_mac(&self, inner: &[u32; 8]) -> [u8; 32] {
        let mut outer = [0; BLOCK];
        write_state(inner, &mut outer);
        let mut state = self.outer;
        outer[32] = 0x80;
        outer[BLOCK - 8..].copy_from_slice(&(((BLOCK + 32) as u64) * 8).to_be_bytes());
        compress256(&mut state, &[outer]);
        let mut tag = [0; 32];
        write_state(&state, &mut tag);
        tag
    }

    /// A MAC over a message that comes in pieces.
    pub(super) fn stream(&self) -> Stream {
        Stream { state: self.inner, pending: [0; BLOCK], hashed: BLOCK }
    }
}

/// A MAC under way. For ciphertext only: what it holds is not secret.
pub(super) struct Stream {
    state: [u32; 8],
    /// The beginning of a block that is not full yet.
    pending: [u8; BLOCK],
    /// How many bytes came, the pad's included.
    hashed: usize,
}

impl Stream {
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        let used = self.hashed % BLOCK;
        self.hashed += bytes.len();
        if used > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - used));
            self.pending[used..used + head.len()].copy_from_slice(head);
            if used + head.len() < BLOCK {
                return;
            }
            compress256(&mut self.state, &[self.pending]);
            bytes = rest;
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        compress256(&mut self.state, blocks);
        self.pending[..rest.len()].copy_from_slice(rest);
    }

    /// The MAC; `key` is the one that the stream is of.
    pub(super) fn finish(mut self, key: &HmacSha256Key) -> [u8; 32] {
        let used = self.hashed % BLOCK;
        let mut last = [0; 2 * BLOCK];
        last[..used].copy_from_slice(&self.pending[..used]);
        finish(&mut self.state, &mut last, used, self.hashed);
        key.outer_mac(&self.state)
    }
}

fn absorb_pad(key: &[u8; 32], pad: u8) -> [u32; 8] {
    let mut block = [pad; BLOCK];
    for (b, k) in block.iter_mut().zip(key) {
        *b ^= k;
    }
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    block.zeroize();
    state
}

/// Pads and absorbs the last `used` bytes of a message of `hashed` bytes (FIPS 180-4, 5.1.1).
#[inline]
fn finish(state: &mut [u32; 8], last: &mut [u8; 2 * BLOCK], used: usize, hashed: usize) {
    last[used] = 0x80;
    let end = if used + 1 + 8 <= BLOCK { BLOCK } else { 2 * BLOCK };
    last[end - 8..end].copy_from_slice(&((hashed as u64) * 8).to_be_bytes());
    let (blocks, _) = last[..end].as_chunks::<BLOCK>();
    compress256(state, blocks);
}

/// Wipes what is left of a plaintext. Byte by byte, as `zeroize` does it with an array, takes as long
/// as hashing a block.
#[inline]
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

#[inline]
fn write_state(state: &[u32; 8], out: &mut [u8]) {
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    use super::*;

    fn reference(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    #[test]
    fn every_length_agrees_with_the_hmac_crate() {
        let key: [u8; 32] = std::array::from_fn(|i| (i * 7) as u8);
        let ours = HmacSha256Key::new(&key);
        let body: Vec<u8> = (0..700u32).map(|i| ((i * 31) >> 2) as u8).collect();
        for len in (0..body.len()).step_by(if cfg!(miri) { 55 } else { 1 }) {
            let body = &body[..len];
            assert_eq!(ours.mac([], body, []), reference(&key, &[body]), "{len} bytes");
            assert_eq!(ours.mac([9], body, [1]), reference(&key, &[&[9], body, &[1]]), "{len}");
        }
    }

    #[test]
    fn a_stream_agrees_however_it_is_cut() {
        let ours = HmacSha256Key::new(&[7; 32]);
        let body: Vec<u8> = (0..300u32).map(|i| ((i * 31) >> 2) as u8).collect();
        for len in (0..body.len()).step_by(if cfg!(miri) { 119 } else { 1 }) {
            for size in [1, 3, 63, 64, 65, 128, 300] {
                let mut stream = ours.stream();
                body[..len].chunks(size).for_each(|chunk| stream.update(chunk));
                assert_eq!(stream.finish(&ours), ours.mac([], &body[..len], []), "{len}, {size}");
            }
        }
    }
}
