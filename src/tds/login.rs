//! PRELOGIN as the driver sees it, and the feature that LOGIN7 is given on its way (MS-TDS 2.2.6.4,
//! 2.2.6.5).

use zeroize::Zeroizing;

use super::{Malformed, Reader};

/// FEATUREEXT id of Always Encrypted.
pub(crate) const COLUMNENCRYPTION: u8 = 0x04;
/// Version 1 of the feature: encryption without secure enclaves. Whoever asks for 2 or more owes
/// the server an enclave package in every request.
pub(crate) const COLUMNENCRYPTION_VERSION: u8 = 0x01;
const TERMINATOR: u8 = 0xFF;

/// Where the fields lie in the fixed part of LOGIN7.
const OPTION_FLAGS_3: usize = 27;
const F_EXTENSION: u8 = 0x10;
const IB_EXTENSION: usize = 56;
const FIXED_LEN: usize = 94;

/// The reply to a driver's PRELOGIN: the server's version, and "encryption: not supported", because
/// the encryption of the connection is our side's business and has been done.
///
/// `version` is the server's VERSION option; `fed_auth_required` and `nonce` are passed on if the
/// server sent them.
#[must_use]
pub fn prelogin_reply(
    version: [u8; 6],
    fed_auth_required: Option<u8>,
    nonce: Option<[u8; 32]>,
) -> Vec<u8> {
    const ENCRYPT_NOT_SUP: u8 = 0x02;
    let mut options: Vec<(u8, Vec<u8>)> = vec![
        (0x00, version.to_vec()),
        (0x01, vec![ENCRYPT_NOT_SUP]),
        (0x02, vec![0x00]),
        (0x03, vec![]),
        (0x04, vec![0x00]),
    ];
    options.extend(fed_auth_required.map(|b| (0x06, vec![b])));
    options.extend(nonce.map(|n| (0x07, n.to_vec())));

    let mut offset = options.len() * 5 + 1;
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (token, value) in options {
        index.push(token);
        // At most 7 options with 32 bytes each.
        index.extend_from_slice(&(offset as u16).to_be_bytes());
        index.extend_from_slice(&(value.len() as u16).to_be_bytes());
        offset += value.len();
        data.extend_from_slice(&value);
    }
    index.push(TERMINATOR);
    index.extend_from_slice(&data);
    index
}

/// Returns LOGIN7 with the COLUMNENCRYPTION feature added to whatever features it has.
///
/// A login without features gets a feature block at its end and a pointer to it; one with a block
/// gets the feature in front of the block's terminator. The result holds the password; it is wiped
/// on drop.
pub fn add_column_encryption_feature(login: &[u8]) -> Result<Zeroizing<Vec<u8>>, Malformed> {
    const WHAT: &str = "LOGIN7";
    let malformed = Malformed::of(WHAT);
    if login.len() < FIXED_LEN {
        return Err(malformed);
    }
    let mut out = Zeroizing::new(Vec::with_capacity(login.len() + 16));
    out.extend_from_slice(login);
    let feature = [COLUMNENCRYPTION, 1, 0, 0, 0, COLUMNENCRYPTION_VERSION];

    if login[OPTION_FLAGS_3] & F_EXTENSION == 0 {
        let pointer_at = u16::try_from(login.len()).map_err(|_| malformed)?;
        let block_at = login.len() as u32 + 4;
        out.extend_from_slice(&block_at.to_le_bytes());
        out.extend_from_slice(&feature);
        out.push(TERMINATOR);
        out[IB_EXTENSION..IB_EXTENSION + 2].copy_from_slice(&pointer_at.to_le_bytes());
        out[IB_EXTENSION + 2..IB_EXTENSION + 4].copy_from_slice(&4u16.to_le_bytes());
        out[OPTION_FLAGS_3] |= F_EXTENSION;
    } else {
        let mut fixed = Reader::new(&login[IB_EXTENSION..]);
        let pointer_at = usize::from(fixed.u16(WHAT)?);
        let mut pointer = Reader::new(login.get(pointer_at..).ok_or(malformed)?);
        let block_at = pointer.u32(WHAT)? as usize;
        let mut block = Reader::new(login.get(block_at..).ok_or(malformed)?);
        loop {
            match block.u8(WHAT)? {
                TERMINATOR => break,
                // The driver brings Always Encrypted of its own. Two of us would encrypt twice.
                COLUMNENCRYPTION => return Err(Malformed::of("LOGIN7: column encryption")),
                _ => {
                    let len = block.u32(WHAT)? as usize;
                    block.take(len, WHAT)?;
                }
            }
        }
        let terminator_at = block_at + block.position() - 1;
        out.splice(terminator_at..terminator_at, feature);
        if block_at < pointer_at {
            // The block lies in front of its pointer, so the pointer itself has moved.
            return Err(malformed);
        }
    }
    let len = u32::try_from(out.len()).map_err(|_| malformed)?;
    out[..4].copy_from_slice(&len.to_le_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login_without_features() -> Vec<u8> {
        let mut login = vec![0; FIXED_LEN];
        login.extend_from_slice(b"names and such");
        let len = login.len() as u32;
        login[..4].copy_from_slice(&len.to_le_bytes());
        login
    }

    #[test]
    fn a_login_without_features_gets_a_block_with_ours() {
        let login = login_without_features();
        let out = add_column_encryption_feature(&login).unwrap();
        assert_eq!(u32::from_le_bytes(out[..4].try_into().unwrap()) as usize, out.len());
        assert_eq!(out[OPTION_FLAGS_3] & F_EXTENSION, F_EXTENSION);
        let pointer = u16::from_le_bytes([out[IB_EXTENSION], out[IB_EXTENSION + 1]]) as usize;
        let block = u32::from_le_bytes(out[pointer..pointer + 4].try_into().unwrap()) as usize;
        assert_eq!(out[block..], [0x04, 1, 0, 0, 0, 1, 0xFF]);
    }

    #[test]
    fn a_login_with_features_keeps_them_and_gains_ours() {
        let mut login = login_without_features();
        let pointer = login.len();
        login.extend_from_slice(&(pointer as u32 + 4).to_le_bytes());
        login.extend_from_slice(&[0x02, 3, 0, 0, 0, 7, 8, 9, 0xFF]);
        login.extend_from_slice(b"trailing");
        login[OPTION_FLAGS_3] |= F_EXTENSION;
        login[IB_EXTENSION..IB_EXTENSION + 2].copy_from_slice(&(pointer as u16).to_le_bytes());
        let out = add_column_encryption_feature(&login).unwrap();
        let block = [0x02, 3, 0, 0, 0, 7, 8, 9, 0x04, 1, 0, 0, 0, 1, 0xFF];
        assert_eq!(out[pointer + 4..pointer + 4 + block.len()], block);
        assert!(out.ends_with(b"trailing"));
    }

    #[test]
    fn a_login_cut_anywhere_is_an_error_not_a_panic() {
        let mut login = login_without_features();
        login[OPTION_FLAGS_3] |= F_EXTENSION;
        login[IB_EXTENSION] = 0xF0;
        for len in 0..login.len() {
            assert!(add_column_encryption_feature(&login[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn the_prelogin_reply_says_that_encryption_is_not_supported() {
        let reply = prelogin_reply([16, 0, 0, 0, 0, 0], Some(1), Some([7; 32]));
        let at = u16::from_be_bytes([reply[6], reply[7]]) as usize;
        assert_eq!((reply[5], reply[at]), (0x01, 0x02));
        assert!(reply.ends_with(&[7; 32]));
    }
}
