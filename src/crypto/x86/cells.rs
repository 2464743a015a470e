//! Whole cells: their IVs, chains and tags, several side by side.
//!
//! Cells that go together need not be of one length. They keep step as far as the shortest goes, and
//! what remains of the others is done one after the other.

use std::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_cvtsi32_si128, _mm_insert_epi8,
    _mm_movemask_epi8, _mm_or_si128, _mm_set_epi8, _mm_set_epi32, _mm_set1_epi8, _mm_setzero_si128,
};

use super::{
    super::{
        CellMacs, EncryptionType,
        hmac::HmacSha256Key,
        layout::{BLOCK, CIPHERTEXT, Draft, IV, Opening, TAG, VERSION, VERSION_LEN, iv_of, unpad},
    },
    LANES,
    aes256::{self, Block, Schedules},
    sha256::{State, Words, compress, compress_beside, swap_bytes, words_of},
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

/// Cells whose blocks are hashed while the next are encrypted. The MAC has 17 bytes before the
/// ciphertext, so its first block is there with the third of the ciphertext, and another with every
/// four more.
#[target_feature(enable = "aes,sha,sse4.1")]
fn seal_together<const N: usize>(
    schedules: &Schedules,
    macs: &CellMacs,
    drafts: &mut [Draft<'_>; N],
    encryption_type: EncryptionType,
) {
    const FIRST: usize = 3;
    if encryption_type == EncryptionType::Deterministic {
        set_ivs(&macs.iv, drafts);
    }
    let mut chains = [_mm_setzero_si128(); N];
    for (chain, draft) in chains.iter_mut().zip(drafts.iter()) {
        *chain = load(&draft.iv());
    }
    let together = drafts.iter().map(|draft| draft.blocks().len()).min().unwrap_or(0);
    let mut states = [State::load(macs.tag.inner()); N];
    let (mut encrypted, mut hashed) = (0, 0);
    while encrypted < together {
        if encrypted < FIRST || together - encrypted < 4 {
            let next = drafts.each_mut().map(|draft| &mut draft.blocks_mut()[encrypted]);
            aes256::encrypt_next(schedules, &mut chains, next);
            encrypted += 1;
        } else {
            let words = message_blocks(drafts.each_ref().map(|draft| &*draft.cell), hashed);
            let mut next = drafts.each_mut().map(|draft| {
                let (fours, _) = draft.blocks_mut()[encrypted..].as_chunks_mut::<4>();
                &mut fours[0]
            });
            compress_beside(&mut states, &words, |step| {
                aes256::encrypt_step(schedules, &mut chains, &mut next, step);
            });
            encrypted += 4;
            hashed += 1;
        }
    }
    for (chain, draft) in chains.iter_mut().zip(drafts.iter_mut()) {
        aes256::encrypt(schedules, chain, &mut draft.blocks_mut()[together..]);
    }
    let cells = drafts.each_ref().map(|draft| &*draft.cell);
    let tags = finish_tags(&macs.tag, states, cells, hashed);
    for (draft, tag) in drafts.iter_mut().zip(tags) {
        set_tag(draft, tag);
    }
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
            let mut last = [0; BLOCK];
            store(&mut last, *chain);
            aes256::decrypt(schedules, &last, &mut blocks[together..]);
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
    let mut bytes = [[0; 16]; 2];
    store(&mut bytes[0], tag[0]);
    store(&mut bytes[1], tag[1]);
    let mut flat = [0; 32];
    flat.copy_from_slice(bytes.as_flattened());
    draft.set_tag(&flat);
}

/// The MACs of cells: HMAC over version, IV, ciphertext and one byte `0x01`.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn tags<const N: usize>(key: &HmacSha256Key, cells: [&[u8]; N]) -> [[__m128i; 2]; N] {
    let states = [State::load(key.inner()); N];
    finish_tags(key, states, cells, 0)
}

/// The MACs of cells of which `hashed` blocks of each message are in the states already.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn finish_tags<const N: usize>(
    key: &HmacSha256Key,
    mut states: [State; N],
    cells: [&[u8]; N],
    hashed: usize,
) -> [[__m128i; 2]; N] {
    let whole = cells.map(|cell| (cell.len() - MESSAGE) / 64);
    let together = whole.iter().copied().min().unwrap_or(0);
    for at in hashed..together {
        compress(&mut states, &message_blocks(cells, at));
    }
    let mut last = [[_mm_setzero_si128(); 4]; N];
    for lane in 0..N {
        for at in together.max(hashed)..whole[lane] {
            let mut alone = [states[lane]];
            compress(&mut alone, &message_blocks([cells[lane]], at));
            [states[lane]] = alone;
        }
        last[lane] = last_of_message(cells[lane]);
    }
    compress(&mut states, &last);
    finish(key, states)
}

/// The block at an index of each message.
#[inline]
#[target_feature(enable = "aes,sha,sse4.1")]
fn message_blocks<const N: usize>(cells: [&[u8]; N], at: usize) -> [Words; N] {
    let mut words = [[_mm_setzero_si128(); 4]; N];
    for (words, cell) in words.iter_mut().zip(cells) {
        let (blocks, _) = cell[MESSAGE..].as_chunks::<64>();
        *words = words_of(&blocks[at]);
        if at == 0 {
            // The first byte of the block is the highest of its word.
            words[0] = _mm_insert_epi8(words[0], VERSION as i32, 3);
        }
    }
    words
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
fn finish<const N: usize>(key: &HmacSha256Key, states: [State; N]) -> [[__m128i; 2]; N] {
    let end = _mm_set_epi32(0, 0, 0, i32::MIN);
    let mut blocks = [[_mm_setzero_si128(); 4]; N];
    for (block, state) in blocks.iter_mut().zip(states) {
        let [low, high] = state.digest();
        *block = [low, high, end, bits_of(64 + 32)];
    }
    let mut states = [State::load(key.outer()); N];
    compress(&mut states, &blocks);
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
fn set_ivs<const N: usize>(key: &HmacSha256Key, drafts: &mut [Draft<'_>; N]) {
    let mut states = [State::load(key.inner()); N];
    let plaintexts = drafts.each_ref().map(|draft| draft.plaintext().as_chunks::<64>().0);
    let together = plaintexts.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    for at in 0..together {
        let mut words = [[_mm_setzero_si128(); 4]; N];
        for (words, blocks) in words.iter_mut().zip(plaintexts) {
            *words = words_of(&blocks[at]);
        }
        compress(&mut states, &words);
    }
    let mut last = [[_mm_setzero_si128(); 4]; N];
    for lane in 0..N {
        let mut alone = [states[lane]];
        for block in &plaintexts[lane][together..] {
            compress(&mut alone, &[words_of(block)]);
        }
        let draft = &drafts[lane];
        let len = draft.plaintext_len;
        last[lane] = last_of_plaintext(&draft.blocks()[len / 64 * 4..], len % 64);
        let bits = bits_of(64 + len);
        if len % 64 < 56 {
            last[lane][3] = _mm_or_si128(last[lane][3], bits);
        } else {
            // No room: the length has a block of its own.
            compress(&mut alone, &[last[lane]]);
            let zero = _mm_setzero_si128();
            last[lane] = [zero, zero, zero, bits];
        }
        [states[lane]] = alone;
    }
    compress(&mut states, &last);
    for (draft, iv) in drafts.iter_mut().zip(finish(key, states)) {
        let mut bytes = [0; BLOCK];
        store(&mut bytes, iv[0]);
        draft.set_iv(&bytes);
    }
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
    let index = _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let part = _mm_set1_epi8(part);
    let data = _mm_and_si128(load(&padded[whole]), _mm_cmpgt_epi8(part, index));
    let end = _mm_and_si128(_mm_cmpeq_epi8(part, index), _mm_set1_epi8(i8::MIN));
    words[whole] = swap_bytes(_mm_or_si128(data, end));
    words
}
