//! Whole cells: their IVs, chains and tags, several side by side.
//!
//! Cells that go together need not be of one length. They keep step as far as the shortest goes, and
//! what remains of the others is done one after the other.
//!
//! Loops where `map` would do: a closure in a function with more instructions than `core` was compiled
//! for is called rather than inlined.

use std::arch::aarch64::{
    uint8x16_t, uint32x4_t, vandq_u8, vceqq_u8, vcltq_u8, vdupq_n_u8, vdupq_n_u32, veorq_u8,
    vmaxvq_u8, vorrq_u8, vorrq_u32, vreinterpretq_u8_u32, vreinterpretq_u32_u8, vsetq_lane_u8,
    vsetq_lane_u32,
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
    sha256::{State, Words, bytes_of, compress, state_of, words_of, words_of_bytes},
    vector::{load, load_words, store},
};

/// From this many blocks on, a cell fills the AES unit when it is decrypted alone.
const WIDE: usize = 8;

/// Where the MAC's message lies in a cell. Its first byte, the version, has the tag's last in its
/// place.
const MESSAGE: usize = IV - 1;

/// Makes cells of drafts, [`LANES`] at a time.
#[target_feature(enable = "aes,sha2")]
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

/// Cells whose blocks are hashed as soon as they are there, so that the processor has hashing to do
/// while the next blocks wait for their chains. The MAC has 17 bytes before the ciphertext, so its
/// first block is there with the third of the ciphertext, and another with every four more.
#[target_feature(enable = "aes,sha2")]
fn seal_together<const N: usize>(
    schedules: &Schedules,
    macs: &CellMacs,
    drafts: &mut [Draft<'_>; N],
    encryption_type: EncryptionType,
) {
    if encryption_type == EncryptionType::Deterministic {
        set_ivs(&macs.iv, drafts);
    }
    let mut chains = [vdupq_n_u8(0); N];
    for (chain, draft) in chains.iter_mut().zip(drafts.iter()) {
        *chain = load(&draft.iv());
    }
    let mut states = [state_of(macs.tag.inner()); N];
    let together = drafts.iter().map(|draft| draft.blocks().len()).min().unwrap_or(0);
    let mut hashed = 0;
    for at in 0..together {
        aes256::encrypt_next(schedules, &mut chains, next_blocks(drafts, at));
        if at % 4 == 2 {
            compress(&mut states, &message_blocks(cells_of(drafts), hashed));
            hashed += 1;
        }
    }
    for (chain, draft) in chains.into_iter().zip(drafts.iter_mut()) {
        let mut chain = [chain];
        for block in &mut draft.blocks_mut()[together..] {
            aes256::encrypt_next(schedules, &mut chain, [block]);
        }
    }
    let tags = finish_tags(&macs.tag, states, cells_of(drafts), hashed);
    for (draft, [low, high]) in drafts.iter_mut().zip(tags) {
        let mut tag = [0; 32];
        if let [to_low, to_high] = tag.as_chunks_mut().0 {
            store(to_low, low);
            store(to_high, high);
        }
        draft.set_tag(&tag);
    }
}

#[inline]
fn cells_of<'a, const N: usize>(drafts: &'a [Draft<'_>; N]) -> [&'a [u8]; N] {
    drafts.each_ref().map(|draft| &*draft.cell)
}

#[inline]
fn next_blocks<'a, const N: usize>(
    drafts: &'a mut [Draft<'_>; N],
    at: usize,
) -> [&'a mut Block; N] {
    drafts.each_mut().map(|draft| &mut draft.blocks_mut()[at])
}

/// Verifies cells and decrypts those that are authentic, [`LANES`] at a time.
#[target_feature(enable = "aes,sha2")]
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

#[target_feature(enable = "aes,sha2")]
fn open_together<const N: usize>(
    schedules: &Schedules,
    macs: &CellMacs,
    cells: &mut [Opening<'_>; N],
) {
    let tags = tags(&macs.tag, cells.each_ref().map(|opening| &*opening.cell));
    let mut authentic = [false; N];
    for (lane, authentic) in authentic.iter_mut().enumerate() {
        *authentic = is_tag_of(cells[lane].cell, tags[lane]);
    }
    let mut blocks = cells.each_mut().map(|opening| {
        let (head, ciphertext) = opening.cell.split_at_mut(CIPHERTEXT);
        (iv_of(head), ciphertext.as_chunks_mut::<BLOCK>().0)
    });
    let together = blocks.iter().map(|(_, blocks)| blocks.len()).min().unwrap_or(0);
    // Not one block of a cell is decrypted that has not been verified.
    if N > 1 && authentic == [true; N] && together < WIDE {
        let mut chains = blocks.each_ref().map(|(iv, _)| load(iv));
        for at in 0..together {
            let next = blocks.each_mut().map(|(_, blocks)| &mut blocks[at]);
            aes256::decrypt_next(schedules, &mut chains, next);
        }
        for (chain, (iv, blocks)) in chains.into_iter().zip(&mut blocks) {
            store(iv, chain);
            aes256::decrypt(schedules, iv, &mut blocks[together..]);
        }
    } else {
        for (authentic, (iv, blocks)) in authentic.iter().zip(&mut blocks) {
            if *authentic {
                aes256::decrypt(schedules, iv, blocks);
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
#[target_feature(enable = "aes,sha2")]
pub(super) fn verify(macs: &CellMacs, cell: &[u8]) -> bool {
    let [tag] = tags(&macs.tag, [cell]);
    is_tag_of(cell, tag)
}

/// All 32 bytes are compared at once, so it takes the same time wherever they differ.
#[inline]
#[target_feature(enable = "aes,sha2")]
fn is_tag_of(cell: &[u8], tag: [uint8x16_t; 2]) -> bool {
    let [low, high, ..] = cell[TAG..IV].as_chunks().0 else { return false };
    let low = veorq_u8(load(low), tag[0]);
    let high = veorq_u8(load(high), tag[1]);
    vmaxvq_u8(vorrq_u8(low, high)) == 0
}

/// The MACs of cells: HMAC over version, IV, ciphertext and one byte `0x01`.
#[inline]
#[target_feature(enable = "aes,sha2")]
fn tags<const N: usize>(key: &HmacSha256Key, cells: [&[u8]; N]) -> [[uint8x16_t; 2]; N] {
    finish_tags(key, [state_of(key.inner()); N], cells, 0)
}

/// The MACs of cells of which `hashed` blocks of each message are in the states already.
#[inline]
#[target_feature(enable = "aes,sha2")]
fn finish_tags<const N: usize>(
    key: &HmacSha256Key,
    mut states: [State; N],
    cells: [&[u8]; N],
    hashed: usize,
) -> [[uint8x16_t; 2]; N] {
    let whole = cells.map(|cell| (cell.len() - MESSAGE) / 64);
    let together = whole.iter().copied().min().unwrap_or(0);
    for at in hashed..together {
        compress(&mut states, &message_blocks(cells, at));
    }
    let mut last = [[vdupq_n_u32(0); 4]; N];
    for lane in 0..N {
        let mut alone = [states[lane]];
        for at in together.max(hashed)..whole[lane] {
            compress(&mut alone, &message_blocks([cells[lane]], at));
        }
        [states[lane]] = alone;
        last[lane] = last_of_message(cells[lane]);
    }
    compress(&mut states, &last);
    finish(key, states)
}

/// The block at an index of each message.
#[inline]
#[target_feature(enable = "aes,sha2")]
fn message_blocks<const N: usize>(cells: [&[u8]; N], at: usize) -> [Words; N] {
    let mut blocks = [[vdupq_n_u32(0); 4]; N];
    for (words, cell) in blocks.iter_mut().zip(cells) {
        *words = words_of(&cell[MESSAGE..].as_chunks().0[at]);
        if at == 0 {
            // The first byte of the block is the highest of its word.
            let bytes = vsetq_lane_u8::<3>(VERSION, vreinterpretq_u8_u32(words[0]));
            words[0] = vreinterpretq_u32_u8(bytes);
        }
    }
    blocks
}

/// What is left of a message, with its padding: one byte and up to three sixteens, the length of the
/// version, and the end mark. There is always room for the length in bits.
#[inline]
#[target_feature(enable = "aes,sha2")]
fn last_of_message(cell: &[u8]) -> Words {
    let message = &cell[MESSAGE..];
    let (blocks, rest) = message.as_chunks::<64>();
    let (sixteens, last_byte) = rest.as_chunks::<16>();
    let mut bytes = [vdupq_n_u8(0); 4];
    for (vector, sixteen) in bytes.iter_mut().zip(sixteens) {
        *vector = load(sixteen);
    }
    let end = [last_byte.first().copied().unwrap_or(0), VERSION_LEN, 0x80, 0];
    let end = vsetq_lane_u32::<0>(u32::from_le_bytes(end), vdupq_n_u32(0));
    bytes[sixteens.len()] = vreinterpretq_u8_u32(end);
    if blocks.is_empty() {
        bytes[0] = vsetq_lane_u8::<0>(VERSION, bytes[0]);
    }
    let mut words = [vdupq_n_u32(0); 4];
    for (words, bytes) in words.iter_mut().zip(bytes) {
        *words = words_of_bytes(bytes);
    }
    words[3] = vorrq_u32(words[3], bits_of(64 + message.len() + 1));
    words
}

/// The number of bits in the last two words of a block.
#[inline]
#[target_feature(enable = "aes,sha2")]
fn bits_of(bytes: usize) -> uint32x4_t {
    let bits = (bytes as u64) << 3;
    load_words(&[0, 0, (bits >> 32) as u32, bits as u32])
}

/// The outer hash, as bytes.
#[inline]
#[target_feature(enable = "aes,sha2")]
fn finish<const N: usize>(key: &HmacSha256Key, states: [State; N]) -> [[uint8x16_t; 2]; N] {
    let end = load_words(&[0x8000_0000, 0, 0, 0]);
    let bits = bits_of(64 + 32);
    let mut blocks = [[bits; 4]; N];
    for (block, [low, high]) in blocks.iter_mut().zip(states) {
        *block = [low, high, end, bits];
    }
    let mut states = [state_of(key.outer()); N];
    compress(&mut states, &blocks);
    let mut macs = [[vdupq_n_u8(0); 2]; N];
    for (mac, state) in macs.iter_mut().zip(states) {
        *mac = bytes_of(state);
    }
    macs
}

/// The IVs of deterministic cells: the first half of HMAC over the plaintext, which lies in the
/// draft with its padding.
#[inline]
#[target_feature(enable = "aes,sha2")]
fn set_ivs<const N: usize>(key: &HmacSha256Key, drafts: &mut [Draft<'_>; N]) {
    let mut states = [state_of(key.inner()); N];
    let plaintexts = drafts.each_ref().map(|draft| draft.plaintext().as_chunks::<64>().0);
    let together = plaintexts.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    for at in 0..together {
        let mut words = [[vdupq_n_u32(0); 4]; N];
        for (words, blocks) in words.iter_mut().zip(plaintexts) {
            *words = words_of(&blocks[at]);
        }
        compress(&mut states, &words);
        words.zeroize();
    }
    let mut last = [[vdupq_n_u32(0); 4]; N];
    for lane in 0..N {
        let mut alone = [states[lane]];
        for block in &plaintexts[lane][together..] {
            compress(&mut alone, &[words_of(block)]);
        }
        let draft = &drafts[lane];
        let len = draft.plaintext_len;
        last[lane] = last_of_plaintext(&draft.blocks()[len / 64 * 4..], len % 64);
        if len % 64 >= 56 {
            // No room: the length has a block of its own.
            compress(&mut alone, &[last[lane]]);
            last[lane] = [vdupq_n_u32(0); 4];
        }
        last[lane][3] = vorrq_u32(last[lane][3], bits_of(64 + len));
        [states[lane]] = alone;
    }
    compress(&mut states, &last);
    last.zeroize();
    for (draft, [iv, _]) in drafts.iter_mut().zip(finish(key, states)) {
        let mut bytes = [0; BLOCK];
        store(&mut bytes, iv);
        draft.set_iv(&bytes);
    }
}

/// The last `len` bytes of a plaintext and the end mark. `padded` has the cell's padding after them,
/// which is masked away.
#[inline]
#[target_feature(enable = "aes,sha2")]
fn last_of_plaintext(padded: &[Block], len: usize) -> Words {
    let mut words = [vdupq_n_u32(0); 4];
    let (whole, part) = (len / 16, (len % 16) as u8);
    for (words, block) in words.iter_mut().zip(&padded[..whole]) {
        *words = words_of_bytes(load(block));
    }
    let index = load(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let part = vdupq_n_u8(part);
    let data = vandq_u8(load(&padded[whole]), vcltq_u8(index, part));
    let end = vandq_u8(vceqq_u8(index, part), vdupq_n_u8(0x80));
    words[whole] = words_of_bytes(vorrq_u8(data, end));
    words
}
