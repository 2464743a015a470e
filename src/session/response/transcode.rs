//! Text of a UTF-8 collation as UTF-16, in the pieces that a long cell is decrypted in.
//!
//! SQL Server would not have stored bytes that are no UTF-8; a client may have. They are refused and
//! not replaced.

use zeroize::Zeroizing;

use crate::{session::payload::Payload, tds::push_utf16};

/// Keeps what a character begins with at the end of a piece until it ends in another.
#[derive(Default)]
pub(super) struct Transcoder {
    begun: Zeroizing<[u8; 4]>,
    len: usize,
}

impl Transcoder {
    /// Appends the next piece of the text; `None` if it is no UTF-8.
    pub(super) fn update(&mut self, mut piece: &[u8], out: &mut Payload) -> Option<()> {
        while self.len > 0
            && let Some((byte, rest)) = piece.split_first()
        {
            *self.begun.get_mut(self.len)? = *byte;
            self.len += 1;
            piece = rest;
            let (character, begun) = whole_characters(self.begun.get(..self.len)?)?;
            if begun.is_empty() {
                push(character, out);
                self.len = 0;
            }
        }
        let (text, begun) = whole_characters(piece)?;
        push(text, out);
        if !begun.is_empty() {
            self.begun.get_mut(..begun.len())?.copy_from_slice(begun);
            self.len = begun.len();
        }
        Some(())
    }

    /// The text is whole; `None` if its last character is not.
    pub(super) fn finish(self) -> Option<()> {
        (self.len == 0).then_some(())
    }
}

/// The bytes that a text takes in UTF-16.
pub(super) fn utf16_len(text: &str) -> usize {
    2 * text.encode_utf16().count()
}

fn push(text: &str, out: &mut Payload) {
    push_utf16(text, out.room(utf16_len(text)));
}

/// The characters that are whole, and what another begins with.
fn whole_characters(bytes: &[u8]) -> Option<(&str, &[u8])> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some((text, &[])),
        Err(error) if error.error_len().is_none() => {
            let (text, begun) = bytes.split_at_checked(error.valid_up_to())?;
            Some((std::str::from_utf8(text).ok()?, begun))
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcoded(pieces: &[&[u8]]) -> Option<Vec<u8>> {
        let (mut transcoder, mut out) = (Transcoder::default(), Payload::default());
        for piece in pieces {
            transcoder.update(piece, &mut out)?;
        }
        transcoder.finish()?;
        Some(out.join().as_slice().to_vec())
    }

    #[test]
    fn wherever_a_text_is_cut_its_characters_stay_whole() {
        let text = "aé€🦀\u{FFFD}z🦀🦀";
        let mut expected = Vec::new();
        push_utf16(text, &mut expected);
        assert_eq!(expected.len(), utf16_len(text));
        for size in 1..=text.len() {
            let pieces: Vec<_> = text.as_bytes().chunks(size).collect();
            assert_eq!(transcoded(&pieces).as_ref(), Some(&expected), "pieces of {size}");
        }
        assert_eq!(transcoded(&[]), Some(Vec::new()));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_refused_wherever_they_are_cut() {
        let bad: [&[u8]; 7] = [
            b"a\x80",
            b"a\xC3",
            b"\xC3a",
            b"\xE2\x82",
            b"\xF0\x9F\xA6a",
            b"\xED\xA0\x80",
            b"\xF5\x80\x80\x80",
        ];
        for bad in bad {
            for size in 1..=bad.len() {
                let pieces: Vec<_> = bad.chunks(size).collect();
                assert_eq!(transcoded(&pieces), None, "{bad:x?} in pieces of {size}");
            }
        }
    }
}
