//! Whole cells: their IVs, chains and tags, several side by side.
//!
//! Cells that go together need not be of one length. They keep step as far as the shortest goes, and
//! what remains of the others is done one after the other.

use std::arch::x86_64::{
    __m128i, _mm_alignr_epi8, _mm_and_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_cvtsi32_si128,
    _mm_insert_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi8, _mm_set_epi32, _mm_set1_epi8,
    _mm_setzero_si128,
};

use zeroize::Zeroize;

use super::{
    super::{
        CellMacs, EncryptionType,
        hmac::HmacSha256Key,
        layout::{BLOCK, CIPHERTEXT, Draft, IV, Opening, TAG, VERSION, VERSION_LEN, iv_of, unpad},
    },
    LANES,
    aes256::{self, Block, Schedules},
    sha256::{Blocks, State, Words, compress, compress_beside, swap_bytes, words_of},
    vector::{load, store},
};

/// From this many blocks on, a cell fills the AES unit when it is decrypted alone.
const WIDE: usize = 8;

/// Where the MAC's message lies in a cell. Its first byte, the version, has the tag's last in its
/// place.
const MESSAGE: usize = IV - 1;

/// Makes cells of drafts, [`LANES`] at a time.
#[target_feature(enable = "aes,sha,sse4.1")]
pub(super) fn seal(
    schedules: &Schedules,
    macs: &CellMacs,
    drafts: &mut [Draft<'_>],
    encryption_type: EncryptionType,
) {
    let (fours, rest) = drafts.as_chunks_mut::<LANES>();
    for drafts in fours {
        seal_together(schedules, macs, drafts, encryption_type);
    }
    let (twos, rest) = rest.as_chunks_mut::<2>();
    for drafts in twos {
        seal_together(schedules, macs, drafts, encryption_type);
    }
    for draft in rest {
        seal_together(schedules, macs, std::array::from_mut(draft), encryption_type);
    }
}

/// Cells whose blocks are hashed while the next are encrypted.
#[target_feature(enable = "aes,sha,sse4.1")]
fn seal_together<const N: usize>(
    schedules: &Schedules,
    macs: &CellMacs,
    drafts: &mut [Draft<'_>; N],
    encryption_type: EncryptionType,
) {
    let mut chains = [_mm_setzero_si128(); N];
    let mut blocks = Blocks::new();
    if encryption_type == EncryptionType::Deterministic {
        chains = ivs(&macs.iv, drafts, &mut blocks);
        for (chain, draft) in chains.iter().zip(drafts.iter_mut()) {
            draft.set_iv(&bytes_of(*chain));
        }
    } else {
        for (chain, draft) in chains.iter_mut().zip(drafts.iter()) {
            *chain = load(&draft.iv());
        }
    }
    let together = drafts.iter().map(|draft| draft.blocks().len()).min().unwrap_or(0);
    let mut sealing = Sealing::of(&macs.tag, chains, blocks);
    let ciphertexts = drafts.each_mut().map(|draft| &mut draft.blocks_mut()[..together]);
    sealing.encrypt(schedules, ciphertexts);
    let Sealing { mut chains, mut states, mut blocks, words } = sealing;
    let mut words = [words; N];
    for (lane, draft) in drafts.iter_mut().enumerate() {
        let rest = &mut draft.blocks_mut()[together..];
        if !rest.is_empty() {
            let mut message = Blocks::new();
            message.set(0, blocks.get(lane));
            let mut alone = Sealing {
                chains: [chains[lane]],
                states: [states[lane]],
                blocks: message,
                words: words[lane],
            };
            alone.encrypt(schedules, [rest]);
            ([chains[lane]], [states[lane]]) = (alone.chains, alone.states);
            blocks.set(lane, alone.blocks.get(0));
            words[lane] = alone.words;
        }
    }
    for (lane, draft) in drafts.iter().enumerate() {
        end_message(&mut blocks, lane, words[lane], chains[lane], draft.cell.len() - MESSAGE);
    }
    compress(&mut states, &mut blocks);
    for (draft, tag) in drafts.iter_mut().zip(finish(&macs.tag, states, &mut blocks)) {
        set_tag(draft, tag);
    }
}

/// Cells under way: the ciphertext is hashed from the registers that it was made in. What has just
/// been written piece by piece is slow to read in other pieces, and the MAC's message begins seventeen
/// bytes before the ciphertext.
struct Sealing<const N: usize> {
    /// The last block of ciphertext, or the IV.
    chains: [__m128i; N],
    /// What has been hashed of the MAC's messages.
    states: [State; N],
    /// What is hashed next: so many fours of its words are there.
    blocks: Blocks<N>,
    words: usize,
}

impl<const N: usize> Sealing<N> {
    /// Before the first block of ciphertext: the message begins with the version and the IV. What
    /// is in `blocks` is of no account.
    #[inline]
    #[target_feature(enable = "aes,sha,sse4.1")]
    fn of(key: &HmacSha256Key, chains: [__m128i; N], mut blocks: Blocks<N>) -> Self {
        let version = _mm_insert_epi8(_mm_setzero_si128(), VERSION as i32, 15);
        for (lane, iv) in chains.into_iter().enumerate() {
            blocks.set_four(lane, 0, behind(version, iv));
        }
        Self { chains, states: [State::load(key.inner()); N], blocks, words: 1 }
    }

    /// Encrypts as many blocks of each cell where they lie, and hashes what fills a block of the
    /// message.
    #[inline]
    #[target_feature(enable = "aes,sha,sse4.1")]
    fn encrypt(&mut self, schedules: &Schedules, mut ciphertexts: [&mut [Block]; N]) {
        // Whatever shares a variable with `blocks` lies in memory, too.
        let (mut chains, mut states) = (self.chains, self.states);
        let Self { blocks, words, .. } = self;
        let count = ciphertexts.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        let mut done = 0;
        for at in 0..4 {
            if at < *words || done == count {
                continue;
            }
            let before = chains;
            let next = ciphertexts.each_mut().map(|blocks| &mut blocks[done]);
            aes256::encrypt_next(schedules, &mut chains, next);
            for lane in 0..N {
                blocks.set_four(lane, at, behind(before[lane], chains[lane]));
            }
            *words = at + 1;
            done += 1;
        }
        let mut next = Blocks::new();
        while *words == 4 {
            let run = (count - done).min(4);
            let mut beside = ciphertexts.each_mut().map(|blocks| &mut blocks[done..done + run]);
            let mut before = chains;
            compress_beside(&mut states, blocks, |step| {
                let (at, quarter) = (step / 4, step % 4);
                if at >= run {
                    return;
                }
                if quarter == 0 {
                    before = chains;
                }
                aes256::encrypt_quarter(schedules, &mut chains, &mut beside, at, quarter);
                if quarter == 3 {
                    for lane in 0..N {
                        next.set_four(lane, at, behind(before[lane], chains[lane]));
                    }
                }
            });
            blocks.clone_from(&next);
            done += run;
            *words = run;
        }
        (self.chains, self.states) = (chains, states);
    }
}

/// Four words of the MAC's message, in which ciphertext lies one byte further on than in its blocks:
/// the last byte of one block and all but the last of the next.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn behind(block: __m128i, next: __m128i) -> __m128i {
    swap_bytes(_mm_alignr_epi8(next, block, 15))
}

/// Ends the message of a lane, which is `len` bytes long without its last and of which `words` fours
/// are there: the last byte of ciphertext, the length of the version, the end mark. There is always
/// room for the length in bits.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn end_message<const N: usize>(
    blocks: &mut Blocks<N>,
    lane: usize,
    words: usize,
    last: __m128i,
    len: usize,
) {
    let end = _mm_cvtsi32_si128(i32::from_le_bytes([VERSION_LEN, 0x80, 0, 0]));
    let (end, bits) = (behind(last, end), bits_of(64 + len + 1));
    for at in 0..3 {
        if at >= words {
            blocks.set_four(lane, at, if at == words { end } else { _mm_setzero_si128() });
        }
    }
    blocks.set_four(lane, 3, if words == 3 { _mm_or_si128(end, bits) } else { bits });
}

/// Verifies cells and decrypts those that are authentic, [`LANES`] at a time.
#[target_feature(enable = "aes,sha,sse4.1")]
pub(super) fn open(schedules: &Schedules, macs: &CellMacs, cells: &mut [Opening<'_>]) {
    let (fours, rest) = cells.as_chunks_mut::<LANES>();
    for cells in fours {
        open_together(schedules, macs, cells);
    }
    let (twos, rest) = rest.as_chunks_mut::<2>();
    for cells in twos {
        open_together(schedules, macs, cells);
    }
    for cell in rest {
        open_together(schedules, macs, std::array::from_mut(cell));
    }
}

#[target_feature(enable = "aes,sha,sse4.1")]
fn open_together<const N: usize>(
    schedules: &Schedules,
    macs: &CellMacs,
    cells: &mut [Opening<'_>; N],
) {
    let tags = tags(&macs.tag, cells.each_ref().map(|opening| &*opening.cell));
    let mut authentic = [false; N];
    let mut all = true;
    for lane in 0..N {
        authentic[lane] = is_tag_of(cells[lane].cell, tags[lane]);
        all &= authentic[lane];
    }
    let mut blocks = cells.each_mut().map(|opening| {
        let (head, ciphertext) = opening.cell.split_at_mut(CIPHERTEXT);
        (&*head, ciphertext.as_chunks_mut::<BLOCK>().0)
    });
    let together = blocks.iter().map(|(_, blocks)| blocks.len()).min().unwrap_or(0);
    // Not one block of a cell is decrypted that has not been verified.
    if N > 1 && all && together < WIDE {
        let mut chains = [_mm_setzero_si128(); N];
        for (chain, (head, _)) in chains.iter_mut().zip(&blocks) {
            *chain = load(&iv_of(head));
        }
        for at in 0..together {
            let next = blocks.each_mut().map(|(_, b)| &mut b[at]);
            aes256::decrypt_next(schedules, &mut chains, next);
        }
        for (chain, (_, blocks)) in chains.iter().zip(blocks) {
            aes256::decrypt(schedules, &bytes_of(*chain), &mut blocks[together..]);
        }
    } else {
        for (authentic, (head, blocks)) in authentic.iter().zip(blocks) {
            if *authentic {
                aes256::decrypt(schedules, &iv_of(head), blocks);
            }
        }
    }
    for (opening, authentic) in cells.iter_mut().zip(authentic) {
        if authentic {
            let len = unpad(&mut opening.cell[CIPHERTEXT..]);
            opening.result = len.map(|len| CIPHERTEXT..CIPHERTEXT + len);
        }
    }
}

/// Whether the cell has its tag.
#[target_feature(enable = "aes,sha,sse4.1")]
pub(super) fn verify(macs: &CellMacs, cell: &[u8]) -> bool {
    let [tag] = tags(&macs.tag, [cell]);
    is_tag_of(cell, tag)
}

/// All 32 bytes are compared at once, so it takes the same time wherever they differ.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn is_tag_of(cell: &[u8], tag: [__m128i; 2]) -> bool {
    let [low, high, ..] = cell[TAG..IV].as_chunks().0 else { return false };
    let low = _mm_cmpeq_epi8(load(low), tag[0]);
    let high = _mm_cmpeq_epi8(load(high), tag[1]);
    _mm_movemask_epi8(_mm_and_si128(low, high)) == 0xFFFF
}

#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn set_tag(draft: &mut Draft<'_>, tag: [__m128i; 2]) {
    if let [low, high, ..] = draft.cell[TAG..IV].as_chunks_mut().0 {
        store(low, tag[0]);
        store(high, tag[1]);
    }
}

#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn bytes_of(vector: __m128i) -> Block {
    let mut bytes = [0; BLOCK];
    store(&mut bytes, vector);
    bytes
}

/// The MACs of cells: HMAC over version, IV, ciphertext and one byte `0x01`.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn tags<const N: usize>(key: &HmacSha256Key, cells: [&[u8]; N]) -> [[__m128i; 2]; N] {
    let mut states = [State::load(key.inner()); N];
    let mut blocks = Blocks::new();
    let whole = cells.map(|cell| (cell.len() - MESSAGE) / 64);
    let together = whole.iter().copied().min().unwrap_or(0);
    for at in 0..together {
        message_blocks(cells, at, &mut blocks);
        compress(&mut states, &mut blocks);
    }
    for lane in 0..N {
        if together < whole[lane] {
            let (mut alone, mut block) = ([states[lane]], Blocks::new());
            for at in together..whole[lane] {
                message_blocks([cells[lane]], at, &mut block);
                compress(&mut alone, &mut block);
            }
            [states[lane]] = alone;
        }
        blocks.set(lane, last_of_message(cells[lane]));
    }
    compress(&mut states, &mut blocks);
    finish(key, states, &mut blocks)
}

/// The block at an index of each message.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn message_blocks<const N: usize>(cells: [&[u8]; N], at: usize, blocks: &mut Blocks<N>) {
    for (lane, cell) in cells.into_iter().enumerate() {
        let (whole, _) = cell[MESSAGE..].as_chunks::<64>();
        let mut words = words_of(&whole[at]);
        if at == 0 {
            // The first byte of the block is the highest of its word.
            words[0] = _mm_insert_epi8(words[0], VERSION as i32, 3);
        }
        blocks.set(lane, words);
    }
}

/// What is left of a message, with its padding: one byte and up to three sixteens, the length of the
/// version, and the end mark. There is always room for the length in bits.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn last_of_message(cell: &[u8]) -> Words {
    let message = &cell[MESSAGE..];
    let (blocks, rest) = message.as_chunks::<64>();
    let (sixteens, last_byte) = rest.as_chunks::<16>();
    let mut bytes = [_mm_setzero_si128(); 4];
    for (vector, sixteen) in bytes.iter_mut().zip(sixteens) {
        *vector = load(sixteen);
    }
    let end = [last_byte.first().copied().unwrap_or(0), VERSION_LEN, 0x80, 0];
    bytes[sixteens.len()] = _mm_cvtsi32_si128(i32::from_le_bytes(end));
    if blocks.is_empty() {
        bytes[0] = _mm_insert_epi8(bytes[0], VERSION as i32, 0);
    }
    let mut words = bytes;
    for vector in &mut words {
        *vector = swap_bytes(*vector);
    }
    words[3] = _mm_or_si128(words[3], bits_of(64 + message.len() + 1));
    words
}

/// The number of bits in the last two words of a block.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn bits_of(bytes: usize) -> __m128i {
    let bits = (bytes as u64) << 3;
    _mm_set_epi32(bits as i32, (bits >> 32) as i32, 0, 0)
}

/// The outer hash, as bytes.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn finish<const N: usize>(
    key: &HmacSha256Key,
    states: [State; N],
    blocks: &mut Blocks<N>,
) -> [[__m128i; 2]; N] {
    let end = _mm_set_epi32(0, 0, 0, i32::MIN);
    for (lane, state) in states.into_iter().enumerate() {
        let [low, high] = state.digest();
        blocks.set(lane, [low, high, end, bits_of(64 + 32)]);
    }
    let mut states = [State::load(key.outer()); N];
    compress(&mut states, blocks);
    let mut macs = [[_mm_setzero_si128(); 2]; N];
    for (mac, state) in macs.iter_mut().zip(states) {
        let [low, high] = state.digest();
        *mac = [swap_bytes(low), swap_bytes(high)];
    }
    macs
}

/// The IVs of deterministic cells: the first half of HMAC over the plaintext, which lies in the
/// draft with its padding.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn ivs<const N: usize>(
    key: &HmacSha256Key,
    drafts: &[Draft<'_>; N],
    blocks: &mut Blocks<N>,
) -> [__m128i; N] {
    let mut states = [State::load(key.inner()); N];
    let plaintexts = drafts.each_ref().map(|draft| draft.plaintext().as_chunks::<64>().0);
    let together = plaintexts.iter().map(|whole| whole.len()).min().unwrap_or(0);
    for at in 0..together {
        for (lane, whole) in plaintexts.iter().enumerate() {
            blocks.set(lane, words_of(&whole[at]));
        }
        compress(&mut states, blocks);
    }
    for lane in 0..N {
        let draft = &drafts[lane];
        let len = draft.plaintext_len;
        let bits = bits_of(64 + len);
        let mut last = last_of_plaintext(&draft.blocks()[len / 64 * 4..], len % 64);
        let has_room = len % 64 < 56;
        if has_room {
            last[3] = _mm_or_si128(last[3], bits);
        }
        if !has_room || together < plaintexts[lane].len() {
            let (mut alone, mut block) = ([states[lane]], Blocks::new());
            for whole in &plaintexts[lane][together..] {
                block.set(0, words_of(whole));
                compress(&mut alone, &mut block);
            }
            if !has_room {
                // The length has a block of its own.
                block.set(0, last);
                compress(&mut alone, &mut block);
                let zero = _mm_setzero_si128();
                last = [zero, zero, zero, bits];
            }
            block.wipe();
            [states[lane]] = alone;
        }
        blocks.set(lane, last);
        last.zeroize();
    }
    compress(&mut states, blocks);
    let mut ivs = [_mm_setzero_si128(); N];
    for (iv, [low, _]) in ivs.iter_mut().zip(finish(key, states, blocks)) {
        *iv = low;
    }
    ivs
}

/// The last `len` bytes of a plaintext and the end mark. `padded` has the cell's padding after them,
/// which is masked away.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn last_of_plaintext(padded: &[Block], len: usize) -> Words {
    let mut words = [_mm_setzero_si128(); 4];
    let (whole, part) = (len / 16, (len % 16) as i8);
    for (vector, block) in words.iter_mut().zip(&padded[..whole]) {
        *vector = swap_bytes(load(block));
    }
    if part == 0 {
        words[whole] = _mm_set_epi32(0, 0, 0, i32::MIN);
        return words;
    }
    let index = _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let part = _mm_set1_epi8(part);
    let data = _mm_and_si128(load(&padded[whole]), _mm_cmpgt_epi8(part, index));
    let end = _mm_and_si128(_mm_cmpeq_epi8(part, index), _mm_set1_epi8(i8::MIN));
    words[whole] = swap_bytes(_mm_or_si128(data, end));
    words
}
