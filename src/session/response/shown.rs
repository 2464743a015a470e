//! An encrypted column or output as the application sees it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{
    Scratch, SessionError,
    transcode::{Transcoder, utf16_len},
};
use crate::{
    crypto::{CellKey, InvalidCell, VerifiedCell},
    keystore::EncryptedCekValue,
    session::payload::Payload,
    tds::{
        CryptoMetadata, Malformed, TypeInfo, WipedBuffer, collation_is_utf8, push_utf16,
        write_value, write_value_head, write_value_tail,
    },
    value::{Length, SqlType, ValueError, denormalize, denormalized_in_place, is_own_normal_form},
};

/// An encrypted column as the application sees it.
pub(super) struct Shown {
    pub(super) crypto: CryptoMetadata,
    sql_type: SqlType,
    pub(super) type_info: TypeInfo,
    /// Text of a UTF-8 collation is shown as nvarchar: not every driver knows such collations.
    pub(super) transcode: bool,
}

impl Shown {
    pub(super) fn of(crypto: &CryptoMetadata) -> Result<Self, Malformed> {
        // COLMETADATA with another type has been refused when it was read.
        let sql_type =
            crypto.base_type.sql_type().ok_or(Malformed::of("type of an encrypted column"))?;
        let utf8 = crypto.base_type.collation().is_some_and(collation_is_utf8);
        let transcode = utf8 && matches!(sql_type, SqlType::Char(_) | SqlType::VarChar(_));
        let collation = crypto.base_type.collation().unwrap_or_default();
        let shown_type = match sql_type {
            // A code unit of UTF-16 stands for at least one byte of UTF-8.
            SqlType::Char(n) | SqlType::VarChar(Length::Bounded(n)) if transcode && n <= 4000 => {
                SqlType::NVarChar(Length::Bounded(n))
            }
            SqlType::Char(_) | SqlType::VarChar(_) if transcode => SqlType::NVarChar(Length::Max),
            other => other,
        };
        let type_info = TypeInfo::of(shown_type, collation);
        Ok(Self { crypto: crypto.clone(), sql_type, type_info, transcode })
    }

    /// Decrypts a cell where it stands and appends the value as the application's type encodes it.
    /// `clear` is a buffer to work in.
    pub(super) fn decrypt(
        &self,
        key: &CellKey,
        cell: &mut [u8],
        named: Named<'_>,
        clear: &mut Scratch,
        out: &mut WipedBuffer,
    ) -> Result<(), SessionError> {
        let plaintext = key.decrypt_in_place(cell).map_err(|source| named.invalid(source))?;
        self.write(cell.get(plaintext).unwrap_or_default(), named.column, clear, out)
    }

    /// Appends a value, given its normal form, as the application's type encodes it. Room is made for
    /// what it turns out to be, not for what its type could hold.
    pub(super) fn write(
        &self,
        normal_form: &[u8],
        column: &str,
        clear: &mut Scratch,
        out: &mut WipedBuffer,
    ) -> Result<(), SessionError> {
        let no_value = |source| SessionError::CellValue { column: column.to_owned(), source };
        let in_place = denormalized_in_place(self.sql_type, normal_form).map_err(no_value)?;
        let data = match in_place {
            Some(data) => data,
            None => {
                let data = clear.emptied(self.sql_type.data_len(normal_form.len()));
                denormalize(self.sql_type, normal_form, data).map_err(no_value)?;
                data
            }
        };
        let encoding = self.type_info.encoding();
        let written = if self.transcode {
            let text = std::str::from_utf8(data).map_err(|_| no_value(self.no_utf8()))?;
            let len = utf16_len(text);
            let out = out.spare(VALUE_HEAD + len);
            let head = write_value_head(encoding, len, out);
            push_utf16(text, out);
            write_value_tail(encoding, out);
            head
        } else {
            write_value(encoding, Some(data), out.spare(VALUE_HEAD + data.len()))
        };
        written.map_err(SessionError::ServerMalformed)
    }

    /// Appends the value of a cell that came in chunks. If its plaintext is what the application
    /// gets, it is made when that takes it; text that changes its form is made of it piece by piece.
    pub(super) fn write_cell(
        &self,
        mut cell: VerifiedCell<Arc<CellKey>>,
        column: &str,
        clear: &mut Scratch,
        out: &mut Payload,
    ) -> Result<(), SessionError> {
        let no_value = |source| SessionError::CellValue { column: column.to_owned(), source };
        let len = cell.len();
        if is_own_normal_form(self.sql_type, len).map_err(no_value)? {
            let mut value = Payload::default();
            if self.transcode {
                Self::transcode_cell(cell, &mut value).ok_or_else(|| no_value(self.no_utf8()))?;
            } else {
                value.push_cell(cell);
            }
            let encoding = self.type_info.encoding();
            write_value_head(encoding, value.len(), out.tail().spare(VALUE_HEAD))
                .map_err(SessionError::ServerMalformed)?;
            out.append(&mut value);
            write_value_tail(encoding, out.tail().spare(VALUE_HEAD));
            return Ok(());
        }
        let mut normal_form = Zeroizing::new(Vec::with_capacity(len));
        while let Some(piece) = cell.next_piece() {
            normal_form.extend_from_slice(&piece);
        }
        self.write(&normal_form, column, clear, out.tail())
    }

    /// The plaintext goes as its text comes.
    fn transcode_cell(mut cell: VerifiedCell<Arc<CellKey>>, out: &mut Payload) -> Option<()> {
        let mut transcoder = Transcoder::default();
        while let Some(piece) = cell.next_piece() {
            transcoder.update(&piece, out)?;
        }
        transcoder.finish()
    }

    fn no_utf8(&self) -> ValueError {
        ValueError::InvalidUtf8 { sql_type: self.sql_type }
    }
}

/// The most that stands in front of a value and behind it.
const VALUE_HEAD: usize = 16;

/// What an error about a cell says of it.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) column: &'a str,
    /// The encrypted values of its key.
    pub(super) values: &'a [EncryptedCekValue],
}

impl Named<'_> {
    pub(super) fn invalid(self, source: InvalidCell) -> SessionError {
        let first = self.values.first();
        SessionError::Cell {
            column: self.column.to_owned(),
            provider: first.map(|v| v.provider_name.clone()).unwrap_or_default(),
            key_path: first.map(|v| v.key_path.clone()).unwrap_or_default(),
            source,
        }
    }
}
