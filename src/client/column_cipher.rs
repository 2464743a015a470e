//! Values and cells of one column, without a wire in between.
//!
//! For code that holds ciphertext in hand: a service that stores cells elsewhere, a migration that
//! fills tables by other means. Whatever goes through tiberius needs none of this.

mod error;
mod lookup;

use std::{any::type_name, fmt, sync::Arc};

use tiberius::{ColumnData, FromSqlOwned, ToSql};
use zeroize::Zeroizing;

use super::column_data::{Unreadable, Unsendable, column_data, money, typed_data};
use crate::{
    crypto::{CellKey, EncryptionType, encrypted_len},
    value::{
        CodePage, ConversionType, SqlType, ValueError, convert, converted_len, denormalize,
        normalize,
    },
};

pub use error::{ColumnCipherError, ColumnValueError};
pub(super) use lookup::look_up;

/// Encrypts values to cells of a column and decrypts them again.
///
/// [`Connector::column_cipher`](super::Connector::column_cipher) asks the database what the column
/// is; [`ColumnCipher::new`] takes your word for it. Its cells are those that go through tiberius,
/// byte for byte if the column is deterministic. It is cheap to clone, and holds the column's key
/// until it is dropped.
///
/// A cell says neither which column nor which row it is of: one of another column under the same key
/// opens as well, and so does one that the server has moved. Only another type may give it away.
///
/// ```
/// use std::sync::Arc;
///
/// use always_encrypted::{
///     ColumnCipher,
///     crypto::{Cek, CellKey, EncryptionType},
///     value::{ConversionType, SqlType},
/// };
///
/// let cipher = ColumnCipher::new(
///     "Messages.Content",
///     ConversionType { sql_type: SqlType::parse_declaration("nvarchar(36)")?, code_page: None },
///     EncryptionType::Randomized,
///     Arc::new(CellKey::new(&Cek::generate()?)),
/// );
/// let cell = cipher.encrypt(&"meet at dawn")?.expect("NULL alone has no cell");
/// assert_eq!(cipher.decrypt_as::<String>(&cell)?, "meet at dawn");
/// assert_eq!(cipher.encrypt(&None::<String>)?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ColumnCipher {
    column: Arc<str>,
    conversion_type: ConversionType,
    encryption_type: EncryptionType,
    key: Arc<CellKey>,
}

impl ColumnCipher {
    /// The cipher of a column that is known: its name (for errors), its type with the code page of its
    /// text if it is `char` or `varchar`, its encryption type and its key.
    #[must_use]
    pub fn new(
        column: impl Into<Arc<str>>,
        conversion_type: ConversionType,
        encryption_type: EncryptionType,
        key: Arc<CellKey>,
    ) -> Self {
        Self { column: column.into(), conversion_type, encryption_type, key }
    }

    /// The column, as errors name it.
    #[must_use]
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The column's type.
    #[must_use]
    pub fn sql_type(&self) -> SqlType {
        self.conversion_type.sql_type
    }

    /// The code page of the column's text, if it is `char` or `varchar`.
    #[must_use]
    pub fn code_page(&self) -> Option<CodePage> {
        self.conversion_type.code_page
    }

    /// Whether equal values make equal cells.
    #[must_use]
    pub fn encryption_type(&self) -> EncryptionType {
        self.encryption_type
    }

    /// The cell of a value; `None` for NULL, which is not encrypted.
    ///
    /// The value is what tiberius would send, made one of the column's type by
    /// [`convert`](crate::value::convert()).
    ///
    /// # Errors
    ///
    /// The value is not one of its type, or cannot become one of the column's without a loss.
    pub fn encrypt(&self, value: &dyn ToSql) -> Result<Option<Vec<u8>>, ColumnValueError> {
        let value = value.to_sql();
        let typed = typed_data(&value).map_err(|fault| self.unsendable(fault))?;
        let Some(typed) = typed else { return Ok(None) };

        let from = ConversionType { sql_type: typed.sql_type, code_page: None };
        let to = self.conversion_type;
        let len = converted_len(from, typed.data.len(), to);
        let mut data = Zeroizing::new(Vec::with_capacity(len));
        convert(from, &typed.data, to, &mut data).map_err(|source| {
            ColumnValueError::Conversion { column: self.column.to_string(), source }
        })?;
        drop(typed);

        let sql_type = to.sql_type;
        let mut normal_form =
            Zeroizing::new(Vec::with_capacity(sql_type.normal_form_len(data.len())));
        normalize(sql_type, &data, &mut normal_form).map_err(|source| self.value(source))?;
        let mut cell = vec![0; encrypted_len(normal_form.len())];
        self.key.encrypt_into(&normal_form, self.encryption_type, &mut cell).map_err(|source| {
            ColumnValueError::Encrypt { column: self.column.to_string(), source }
        })?;
        Ok(Some(cell))
    }

    /// The value of a cell, as tiberius would have read it: `char(n)` and its kin are padded to `n`,
    /// and `money` is an `f64`, which does not have all of its digits ([`decrypt_as`] can do better).
    ///
    /// [`decrypt_as`]: Self::decrypt_as
    ///
    /// # Errors
    ///
    /// The cell was changed or made with another key, or holds no value of the column's type.
    pub fn decrypt(&self, cell: &[u8]) -> Result<ColumnData<'static>, ColumnValueError> {
        self.value_of(&self.data(cell)?)
    }

    /// The value of a cell as a Rust type that tiberius reads it as. A `money` is a `Numeric` too,
    /// with all of its digits.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt`](Self::decrypt), and [`ColumnValueError::OtherType`] if the Rust type is
    /// none for the column.
    pub fn decrypt_as<T: FromSqlOwned>(&self, cell: &[u8]) -> Result<T, ColumnValueError> {
        let data = self.data(cell)?;
        let mut read = T::from_sql_owned(self.value_of(&data)?);
        if let (Err(_), SqlType::Money | SqlType::SmallMoney) = (&read, self.sql_type()) {
            let exact = money(self.sql_type(), &data).map_err(|source| self.cell_value(source))?;
            read = T::from_sql_owned(exact);
        }
        // What tiberius says shows the value.
        read.ok().flatten().ok_or_else(|| ColumnValueError::OtherType {
            column: self.column.to_string(),
            sql_type: self.sql_type(),
            wanted: type_name::<T>(),
        })
    }

    /// The data of the value in a cell.
    fn data(&self, cell: &[u8]) -> Result<Zeroizing<Vec<u8>>, ColumnValueError> {
        let normal_form = self
            .key
            .decrypt(cell)
            .map_err(|source| ColumnValueError::Cell { column: self.column.to_string(), source })?;
        let sql_type = self.sql_type();
        let mut data = Zeroizing::new(Vec::with_capacity(sql_type.data_len(normal_form.len())));
        denormalize(sql_type, &normal_form, &mut data).map_err(|source| self.cell_value(source))?;
        Ok(data)
    }

    fn value_of(&self, data: &[u8]) -> Result<ColumnData<'static>, ColumnValueError> {
        column_data(self.conversion_type, data).map_err(|fault| match fault {
            Unreadable::Value(source) => self.cell_value(source),
            Unreadable::Text(source) => {
                ColumnValueError::CellText { column: self.column.to_string(), source }
            }
            Unreadable::LoneSurrogate => {
                ColumnValueError::LoneSurrogate { column: self.column.to_string() }
            }
        })
    }

    fn unsendable(&self, fault: Unsendable) -> ColumnValueError {
        match fault {
            Unsendable::Xml => ColumnValueError::Xml { column: self.column.to_string() },
            Unsendable::Value(source) => self.value(source),
        }
    }

    fn value(&self, source: ValueError) -> ColumnValueError {
        ColumnValueError::Value { column: self.column.to_string(), source }
    }

    fn cell_value(&self, source: ValueError) -> ColumnValueError {
        ColumnValueError::CellValue { column: self.column.to_string(), source }
    }
}

impl fmt::Debug for ColumnCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnCipher")
            .field("column", &self.column)
            .field("conversion_type", &self.conversion_type)
            .field("encryption_type", &self.encryption_type)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
