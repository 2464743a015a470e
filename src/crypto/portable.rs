//! Cells in safe Rust, on any machine.
//!
//! A CBC chain waits for its last block, so one chain leaves most of an AES unit idle. Up to
//! [`LANES`] cells go through it side by side. Hashes are computed one after the other.

use aes::{
    Aes256Dec, Aes256Enc, Block,
    cipher::{
        Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockModeDecrypt,
        BlockSizeUser, InnerIvInit, KeyInit, consts::U16,
    },
};
use subtle::ConstantTimeEq;

use super::{
    CellMacs, EncryptionType,
    layout::{BLOCK, CIPHERTEXT, Draft, IV, Opening, TAG, VERSION, VERSION_LEN, iv_of, unpad},
};

/// How many cells are encrypted side by side.
pub(super) const LANES: usize = 8;

/// The AES schedules of a key.
pub(super) struct Kernels {
    encrypt: Aes256Enc,
    decrypt: Aes256Dec,
}

impl Kernels {
    pub(super) fn new(encryption_key: &[u8; 32]) -> Self {
        Self {
            encrypt: Aes256Enc::new(encryption_key.into()),
            decrypt: Aes256Dec::new(encryption_key.into()),
        }
    }

    pub(super) fn seal(
        &self,
        macs: &CellMacs,
        drafts: &mut [Draft<'_>],
        encryption_type: EncryptionType,
    ) {
        if encryption_type == EncryptionType::Deterministic {
            for draft in drafts.iter_mut() {
                let mac = macs.iv.mac([], draft.plaintext(), []);
                draft.set_iv(&mac[..BLOCK]);
            }
        }
        for drafts in drafts.chunks_mut(LANES) {
            match drafts {
                [draft] => self.encrypt_alone(draft),
                _ => self.encrypt.encrypt_with_backend(Chains(drafts)),
            }
        }
        for draft in drafts {
            draft.set_tag(&macs.tag.mac([VERSION], &draft.cell[IV..], [VERSION_LEN]));
        }
    }

    fn encrypt_alone(&self, draft: &mut Draft<'_>) {
        self.encrypt.encrypt_with_backend(Chain { iv: draft.iv(), blocks: draft.blocks_mut() });
    }

    /// Whether the tag is that of the cell. All its 32 bytes are compared, and the comparison takes
    /// the same time wherever they differ.
    pub(super) fn verify(&self, macs: &CellMacs, cell: &[u8]) -> bool {
        let tag = macs.tag.mac([VERSION], &cell[IV..], [VERSION_LEN]);
        tag.ct_eq(&cell[TAG..IV]).into()
    }

    pub(super) fn decrypt(&self, iv: &[u8; BLOCK], ciphertext: &mut [u8]) {
        let (blocks, _) = ciphertext.as_chunks_mut::<BLOCK>();
        cbc::Decryptor::inner_iv_init(&self.decrypt, iv.into())
            .decrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    }

    pub(super) fn open(&self, macs: &CellMacs, cells: &mut [Opening<'_>]) {
        for Opening { cell, result } in cells {
            if self.verify(macs, cell) {
                let iv = iv_of(cell);
                let ciphertext = &mut cell[CIPHERTEXT..];
                self.decrypt(&iv, ciphertext);
                *result = unpad(ciphertext).map(|len| CIPHERTEXT..CIPHERTEXT + len);
            }
        }
    }
}

/// The CBC chains of up to [`LANES`] cells.
struct Chains<'a, 'b>(&'a mut [Draft<'b>]);

impl BlockSizeUser for Chains<'_, '_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Chains<'_, '_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut chains = [Block::default(); LANES];
        for (chain, draft) in chains.iter_mut().zip(&*self.0) {
            *chain = draft.iv().into();
        }
        let chains = &mut chains[..self.0.len()];
        let together = self.0.iter().map(|draft| draft.blocks().len()).min().unwrap_or(0);
        for at in 0..together {
            for (chain, draft) in chains.iter_mut().zip(&*self.0) {
                xor(chain, &draft.blocks()[at]);
            }
            let (whole, rest) = Array::slice_as_chunks_mut(chains);
            for blocks in whole {
                backend.encrypt_par_blocks_inplace(blocks);
            }
            backend.encrypt_tail_blocks_inplace(rest);
            for (chain, draft) in chains.iter().zip(self.0.iter_mut()) {
                draft.blocks_mut()[at] = (*chain).into();
            }
        }
        for (chain, draft) in chains.iter_mut().zip(self.0.iter_mut()) {
            for block in &mut draft.blocks_mut()[together..] {
                xor(chain, block);
                backend.encrypt_block_inplace(chain);
                *block = (*chain).into();
            }
        }
    }
}

/// One CBC chain. It stays in a register from block to block, which `cbc` does not see to.
struct Chain<'a> {
    iv: [u8; BLOCK],
    blocks: &'a mut [[u8; BLOCK]],
}

impl BlockSizeUser for Chain<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Chain<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut chain = Block::from(self.iv);
        for block in self.blocks {
            xor(&mut chain, block);
            backend.encrypt_block_inplace(&mut chain);
            *block = chain.into();
        }
    }
}

/// Byte by byte, which compilers make one instruction of.
#[inline(always)]
fn xor(chain: &mut Block, block: &[u8; BLOCK]) {
    for (sum, byte) in chain.iter_mut().zip(block) {
        *sum ^= byte;
    }
}
