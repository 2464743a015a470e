//! Text, in UTF-16 or in a code page.

use zeroize::Zeroizing;

use super::{ConversionError, ConversionType, Loss, Pair};
use crate::value::{CodePage, CodePageError};

pub(super) fn convert(pair: Pair, data: &[u8], out: &mut Vec<u8>) -> Result<(), ConversionError> {
    pair.check_source_length(data)?;
    let before = out.len();
    out.reserve(converted_len(pair.from, data.len(), pair.to));
    match encodings(pair)? {
        Encodings::Same => {
            // What is copied is measured first: it may be much, and would be for nothing.
            pair.check_target_length(data.len())?;
            out.extend_from_slice(data);
        }
        Encodings::Encode(to) => {
            to.encode(data, out).map_err(|error| pair.code_page_error(error))?;
        }
        Encodings::Decode(from) => {
            from.decode(data, out).map_err(|error| pair.code_page_error(error))?;
        }
        Encodings::Transcode(from, to) => {
            let mut utf16 = Zeroizing::new(Vec::with_capacity(from.decoded_len(data.len())));
            from.decode(data, &mut utf16).map_err(|error| pair.code_page_error(error))?;
            to.encode(&utf16, out).map_err(|error| pair.code_page_error(error))?;
        }
    }
    pair.check_target_length(out.len().saturating_sub(before))
}

pub(super) fn converted_len(
    source: ConversionType,
    data_len: usize,
    target: ConversionType,
) -> usize {
    match encodings(Pair { from: source, to: target }) {
        Ok(Encodings::Same) => data_len,
        Ok(Encodings::Encode(to)) => to.encoded_len(data_len),
        Ok(Encodings::Decode(from)) => from.decoded_len(data_len),
        Ok(Encodings::Transcode(from, to)) => to.encoded_len(from.decoded_len(data_len)),
        Err(_) => 0,
    }
}

/// What has to be done with the bytes.
enum Encodings {
    Same,
    Encode(CodePage),
    Decode(CodePage),
    Transcode(CodePage, CodePage),
}

/// Two code pages that are both unknown are taken for the same one: there is nothing to tell them
/// apart, and the driver that sent the bytes knows the column.
fn encodings(pair: Pair) -> Result<Encodings, ConversionError> {
    let (from, to) = (pair.from, pair.to);
    let known =
        |code_page: Option<CodePage>| code_page.ok_or_else(|| pair.lossy(Loss::UnknownCodePage));
    Ok(match (from.sql_type.is_unicode(), to.sql_type.is_unicode()) {
        (true, true) => Encodings::Same,
        (true, false) => Encodings::Encode(known(to.code_page)?),
        (false, true) => Encodings::Decode(known(from.code_page)?),
        (false, false) if from.code_page == to.code_page => Encodings::Same,
        (false, false) => Encodings::Transcode(known(from.code_page)?, known(to.code_page)?),
    })
}

impl Pair {
    fn code_page_error(self, error: CodePageError) -> ConversionError {
        match error {
            CodePageError::Unmappable => self.lossy(Loss::Characters),
            CodePageError::Malformed => self.lossy(Loss::MalformedText),
            CodePageError::InvalidUtf16 => self.lossy(Loss::LoneSurrogate),
        }
    }
}
