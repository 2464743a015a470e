//! Before anything is timed: do all implementations do the same?
//!
//! Deterministic cells must be equal byte for byte, everybody must decrypt everybody's randomized
//! cells, and nobody may accept a cell with a flipped bit.

use always_encrypted::crypto::EncryptionType;

use crate::{contender::Contender, inputs};

/// Lengths around the block boundaries, and all that are timed.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=80).chain(inputs::SIZES).chain([127, 8000])
}

/// The first disagreement, if there is one.
pub fn check(contenders: &mut [Box<dyn Contender>]) -> Result<usize, String> {
    let mut compared = 0;
    for len in lengths() {
        let plaintext = inputs::plaintext(len, 1);
        let expected = contenders[0].cell(&plaintext, EncryptionType::Deterministic);
        let mut cells = Vec::new();
        for contender in &mut *contenders {
            let name = contender.name();
            if contender.cell(&plaintext, EncryptionType::Deterministic) != expected {
                return Err(format!("{name}: another deterministic cell of {len} bytes"));
            }
            let cell = contender.cell(&plaintext, EncryptionType::Randomized);
            if cell == contender.cell(&plaintext, EncryptionType::Randomized) {
                return Err(format!("{name}: the same randomized cell twice"));
            }
            cells.push((name, cell));
        }
        cells.push(("the deterministic cell", expected));
        for contender in &mut *contenders {
            for (maker, cell) in &cells {
                check_decryption(&mut **contender, maker, cell, &plaintext)?;
                compared += 1;
            }
        }
    }
    Ok(compared)
}

fn check_decryption(
    contender: &mut dyn Contender,
    maker: &str,
    cell: &[u8],
    plaintext: &[u8],
) -> Result<(), String> {
    let name = contender.name();
    let len = plaintext.len();
    if contender.plaintext(cell).as_deref() != Some(plaintext) {
        return Err(format!("{name}: does not decrypt {maker}, {len} bytes"));
    }
    // One bit in the version, the tag, the IV and the ciphertext.
    for at in [0, 1, 32, 33, 48, 49, cell.len() - 1] {
        let mut flipped = cell.to_vec();
        flipped[at] ^= 0x10;
        if contender.plaintext(&flipped).is_some() {
            return Err(format!("{name}: accepts {maker} with a bit flipped in byte {at}"));
        }
    }
    Ok(())
}
