//! Many cells of one key in one call.
//!
//! Cells go through the kernels a few at a time, and those of one length go best, so a batch is
//! sorted by length, a window at a time. What comes of each cell does not depend on its neighbours.

use std::ops::Range;

use zeroize::Zeroize;

use super::{
    CellKey, EncryptError, EncryptionType, InvalidCell,
    layout::{BLOCK, Draft, Opening, blocks_in, encrypted_len, is_shaped, room_for},
};

/// How many cells are sorted at a time; an index into them is a byte.
const WINDOW: usize = 256;

/// For batches of no more than these there is less to prepare.
const SMALL: usize = 16;

/// How many cells are handed to the kernels at a time.
const GROUP: usize = 8;

/// One plaintext of a batch, and room for its cell.
pub struct CellToEncrypt<'a> {
    plaintext: Plaintext<'a>,
    out: &'a mut [u8],
    result: Result<usize, EncryptError>,
}

enum Plaintext<'a> {
    Elsewhere(&'a [u8]),
    /// So many bytes of `out`, where their ciphertext will be.
    InPlace(usize),
}

impl<'a> CellToEncrypt<'a> {
    /// `out` needs room for [`encrypted_len`]`(plaintext.len())` bytes.
    #[must_use]
    pub fn new(plaintext: &'a [u8], out: &'a mut [u8]) -> Self {
        Self { plaintext: Plaintext::Elsewhere(plaintext), out, result: Ok(0) }
    }

    /// The plaintext is in `out` already, from [`PLAINTEXT_OFFSET`](super::PLAINTEXT_OFFSET) on: see
    /// [`CellKey::encrypt_in_place`]. On a failure `out` is wiped.
    #[must_use]
    pub fn in_place(plaintext_len: usize, out: &'a mut [u8]) -> Self {
        Self { plaintext: Plaintext::InPlace(plaintext_len), out, result: Ok(0) }
    }

    fn plaintext_len(&self) -> usize {
        match self.plaintext {
            Plaintext::Elsewhere(bytes) => bytes.len(),
            Plaintext::InPlace(len) => len,
        }
    }

    fn blocks(&self) -> usize {
        blocks_in(encrypted_len(self.plaintext_len()))
    }

    fn fail(&mut self, error: EncryptError) {
        if let Plaintext::InPlace(_) = self.plaintext {
            self.out.zeroize();
        }
        self.result = Err(error);
    }

    fn lay_out(&mut self) -> Draft<'_> {
        match self.plaintext {
            Plaintext::Elsewhere(bytes) => Draft::lay_out(bytes, self.out),
            Plaintext::InPlace(len) => Draft::around(len, self.out),
        }
    }

    /// The cell's length at the front of `out`, or why there is none; 0 before its batch.
    pub fn written(&self) -> Result<usize, EncryptError> {
        self.result
    }
}

/// One cell of a batch, which becomes its plaintext where it lies.
pub struct CellToDecrypt<'a> {
    cell: &'a mut [u8],
    result: Result<Range<usize>, InvalidCell>,
}

impl<'a> CellToDecrypt<'a> {
    /// A cell that is to be decrypted.
    #[must_use]
    pub fn new(cell: &'a mut [u8]) -> Self {
        Self { cell, result: Err(InvalidCell) }
    }

    fn blocks(&self) -> usize {
        blocks_in(self.cell.len())
    }

    /// Where in the cell the plaintext is; an error if it is none of the key's cells, and before its
    /// batch.
    pub fn range(&self) -> Result<Range<usize>, InvalidCell> {
        self.result.clone()
    }

    /// The plaintext; an error if it is none of the key's cells, and before its batch.
    pub fn plaintext(&self) -> Result<&[u8], InvalidCell> {
        self.range().map(|range| &self.cell[range])
    }
}

impl CellKey {
    /// Encrypts a batch; each cell keeps what came of it.
    ///
    /// The cells are those of [`CellKey::encrypt_into`], and may be of any lengths in any order.
    /// Nothing is allocated.
    ///
    /// ```
    /// # use always_encrypted::crypto::{Cek, CellKey, CellToDecrypt, CellToEncrypt, EncryptionType};
    /// let key = CellKey::new(&Cek::generate()?);
    /// let mut buffers = [[0; 65]; 2];
    /// let [hello, world] = &mut buffers;
    /// let mut batch = [CellToEncrypt::new(b"hello", hello), CellToEncrypt::new(b"world", world)];
    /// key.encrypt_batch(&mut batch, EncryptionType::Randomized);
    /// assert!(batch.iter().all(|cell| cell.written() == Ok(65)));
    ///
    /// let mut batch = buffers.each_mut().map(|cell| CellToDecrypt::new(cell));
    /// key.decrypt_batch(&mut batch);
    /// assert_eq!(batch[1].plaintext()?, b"world");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn encrypt_batch(&self, batch: &mut [CellToEncrypt<'_>], encryption_type: EncryptionType) {
        if batch.len() <= SMALL {
            return self.encrypt_window::<SMALL>(batch, encryption_type);
        }
        for cells in batch.chunks_mut(WINDOW) {
            self.encrypt_window::<WINDOW>(cells, encryption_type);
        }
    }

    /// Decrypts a batch, each cell where it lies.
    ///
    /// A cell that fails does so alone, and as in [`CellKey::decrypt_in_place`]: its buffer holds no
    /// plaintext. Nothing is allocated.
    pub fn decrypt_batch(&self, batch: &mut [CellToDecrypt<'_>]) {
        if batch.len() <= SMALL {
            return self.decrypt_window::<SMALL>(batch);
        }
        for cells in batch.chunks_mut(WINDOW) {
            self.decrypt_window::<WINDOW>(cells);
        }
    }

    fn decrypt_window<const W: usize>(&self, cells: &mut [CellToDecrypt<'_>]) {
        let mut order = Order::<W>::of(cells, |cell| {
            cell.result = Err(InvalidCell);
            is_shaped(cell.cell).then(|| cell.blocks())
        });
        while let Some(group) = order.next_group(cells, CellToDecrypt::blocks) {
            match group.len() {
                8 => self.open_at::<8>(cells, group),
                4 => self.open_at::<4>(cells, group),
                2 => self.open_at::<2>(cells, group),
                _ => self.open_at::<1>(cells, group),
            }
        }
    }

    fn encrypt_window<const W: usize>(
        &self,
        cells: &mut [CellToEncrypt<'_>],
        encryption_type: EncryptionType,
    ) {
        let mut ivs = [[0; BLOCK]; W];
        let ivs = &mut ivs[..cells.len()];
        if encryption_type == EncryptionType::Randomized
            && let Err(error) = self.fill_ivs(ivs)
        {
            for cell in cells {
                cell.fail(error.into());
            }
            return;
        }
        let mut order = Order::<W>::of(cells, |cell| {
            match room_for(cell.plaintext_len(), cell.out) {
                Ok(len) => cell.result = Ok(len),
                Err(error) => cell.fail(error.into()),
            }
            cell.result.is_ok().then(|| cell.blocks())
        });
        while let Some(group) = order.next_group(cells, CellToEncrypt::blocks) {
            match group.len() {
                8 => self.seal_at::<8>(cells, group, ivs, encryption_type),
                4 => self.seal_at::<4>(cells, group, ivs, encryption_type),
                2 => self.seal_at::<2>(cells, group, ivs, encryption_type),
                _ => self.seal_at::<1>(cells, group, ivs, encryption_type),
            }
        }
    }

    fn seal_at<const N: usize>(
        &self,
        cells: &mut [CellToEncrypt<'_>],
        group: &[u8],
        ivs: &[[u8; BLOCK]],
        encryption_type: EncryptionType,
    ) {
        let Some((at, cells)) = disjoint::<_, N>(cells, group) else { return };
        let mut drafts = cells.map(CellToEncrypt::lay_out);
        for (draft, at) in drafts.iter_mut().zip(at) {
            draft.set_iv(&ivs[at]);
        }
        self.seal(&mut drafts, encryption_type);
    }

    fn open_at<const N: usize>(&self, cells: &mut [CellToDecrypt<'_>], group: &[u8]) {
        let Some((_, mut cells)) = disjoint::<_, N>(cells, group) else { return };
        let mut openings = cells
            .each_mut()
            .map(|cell| Opening { cell: &mut *cell.cell, result: Err(InvalidCell) });
        self.open(&mut openings);
        let results = openings.map(|opening| opening.result);
        for (cell, result) in cells.into_iter().zip(results) {
            cell.result = result;
        }
    }
}

/// The cells of a group and where they are. There is none twice in it.
fn disjoint<'c, T, const N: usize>(
    cells: &'c mut [T],
    group: &[u8],
) -> Option<([usize; N], [&'c mut T; N])> {
    let at = group.first_chunk::<N>()?.map(usize::from);
    Some((at, cells.get_disjoint_mut(at).ok()?))
}

/// The cells of a window by their lengths: a counting sort by the number of blocks.
struct Order<const W: usize> {
    at: [u8; W],
    len: usize,
    done: usize,
}

impl<const W: usize> Order<W> {
    /// `blocks` says how many a cell has, or that it has no part in the batch.
    fn of<T>(cells: &mut [T], mut blocks: impl FnMut(&mut T) -> Option<usize>) -> Self {
        const NO_PART: u8 = u8::MAX;
        debug_assert!(cells.len() <= W);
        let mut classes = [NO_PART; W];
        for (class, cell) in classes.iter_mut().zip(cells.iter_mut()) {
            *class = blocks(cell).map_or(NO_PART, class_of);
        }
        let classes = &classes[..cells.len()];
        let mut order = Self { at: std::array::from_fn(|at| at as u8), len: 0, done: 0 };
        match classes.first() {
            // In order already, as the values of many a column are.
            Some(&first) if first != NO_PART && classes.iter().all(|class| *class == first) => {
                order.len = classes.len();
                return order;
            }
            _ => {}
        }
        let mut next = [0u16; CLASSES];
        for class in classes.iter().filter(|class| **class != NO_PART) {
            next[usize::from(*class)] += 1;
        }
        let mut sum = 0;
        for count in &mut next {
            (*count, sum) = (sum, sum + *count);
        }
        order.len = usize::from(sum);
        for (at, class) in classes.iter().enumerate().filter(|(_, class)| **class != NO_PART) {
            let next = &mut next[usize::from(*class)];
            order.at[usize::from(*next)] = at as u8;
            *next += 1;
        }
        order
    }

    /// The next 8, 4, 2 or 1 cells. Neighbours whose lengths are far apart gain nothing from each
    /// other.
    fn next_group<T>(&mut self, cells: &[T], blocks: impl Fn(&T) -> usize) -> Option<&[u8]> {
        let rest = self.at.get(self.done..self.len)?;
        let blocks = |at: u8| cells.get(usize::from(at)).map_or(0, &blocks);
        let shortest = blocks(*rest.first()?);
        let alike = shortest + shortest / 4 + 1;
        let alike = rest.iter().take(GROUP).take_while(|&&at| blocks(at) <= alike).count();
        let group = if alike == 0 { 1 } else { 1 << alike.ilog2() };
        self.done += group;
        rest.get(..group)
    }
}

const CLASSES: usize = 192;

/// Below 64 blocks each number is a class, above there are eight to a power of two. The last takes
/// what is longer than any column.
fn class_of(blocks: usize) -> u8 {
    if blocks < 64 {
        return blocks as u8;
    }
    let octave = blocks.ilog2() as usize;
    let eighth = (blocks >> (octave - 3)) % 8;
    (64 + (octave - 6) * 8 + eighth).min(CLASSES - 1) as u8
}

#[cfg(test)]
mod tests;
