//! COLMETADATA with its CEK table and the CryptoMetadata of encrypted columns (MS-TDS 2.2.7.4).
//!
//! ```text
//! 0x81 | Count u16 | CekTable | Count × Column
//! CekTable   u16 entries, each: DatabaseId u32 | CekId u32 | CekVersion u32 | CekMDVersion 8 bytes
//!            | u8 values, each: envelope US_VARBYTE | provider B_VARCHAR | path US_VARCHAR
//!            | algorithm B_VARCHAR
//! Column     UserType u32 | Flags u16 | TYPE_INFO | [TableName] | [CryptoMetadata] | Name B_VARCHAR
//! CryptoMetadata  Ordinal u16 | UserType u32 | TYPE_INFO of the plaintext | Algorithm u8
//!            | [name B_VARCHAR if the algorithm is 0] | EncryptionType u8 | NormVersion u8
//! ```
//!
//! The CEK table is there, if only with a count of 0, in every COLMETADATA of a connection whose
//! login acknowledged the feature; a count of columns of 0xFFFF means no metadata and no table.

use super::{CekIdentity, EncryptedCekValue, Malformed, Reader, TypeInfo, reader::push_utf16};
use crate::{
    crypto::EncryptionType,
    value::{Length, SqlType},
};

const COLMETADATA: u8 = 0x81;
const NO_METADATA: u16 = 0xFFFF;
/// SQL Server's own limit for the columns of a SELECT.
pub(super) const MAX_COLUMNS: u16 = 4096;
/// A CEK has one value, or two while its master key is being rotated. More would only make us try
/// them all.
pub(crate) const MAX_CEK_VALUES: usize = 4;
/// Bit fEncrypted of a column's flags.
pub(crate) const F_ENCRYPTED: u16 = 0x0800;
/// AEAD_AES_256_CBC_HMAC_SHA_256, the only algorithm there is.
pub(crate) const AEAD_AES_256_CBC_HMAC_SHA_256: u8 = 0x02;
/// An algorithm given by name.
const CUSTOM_ALGORITHM: u8 = 0x00;
/// The internal name of the same algorithm.
const AEAD_NAME: &str = "AEAD_AES_256_CBC_HMAC_SHA256";
/// The longest types that are not `(max)`: 8000 bytes, or 4000 code units of two bytes.
const MAX_BOUNDED_BYTES: usize = 8000;
/// The only rules for normal forms there are.
pub(crate) const NORMALIZATION_VERSION: u8 = 0x01;

/// A CEK of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CekEntry {
    /// Which key it is.
    pub identity: CekIdentity,
    /// Its encrypted values, one per column master key.
    pub values: Vec<EncryptedCekValue>,
}

/// What an encrypted column is beneath its encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CryptoMetadata {
    /// The column's CEK: an index into the table.
    pub cek_ordinal: u16,
    /// The user type of the plaintext.
    pub user_type: u32,
    /// The type of the plaintext.
    pub base_type: TypeInfo,
    /// How the column is encrypted.
    pub encryption_type: EncryptionType,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    user_type: u32,
    pub(super) flags: u16,
    /// The type on the wire; varbinary for an encrypted column.
    pub type_info: TypeInfo,
    table_name: Vec<u8>,
    /// What it is beneath, if it is encrypted.
    pub crypto: Option<CryptoMetadata>,
    /// Its name.
    pub name: String,
}

/// A COLMETADATA token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColMetadata {
    /// The keys of the encrypted columns.
    pub ceks: Vec<CekEntry>,
    /// The columns; none if the token said "no metadata".
    pub columns: Vec<Column>,
    no_metadata: bool,
}

impl ColMetadata {
    /// Reads the token, from its token byte on.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        const WHAT: &str = "COLMETADATA";
        if reader.u8(WHAT)? != COLMETADATA {
            return Err(Malformed::of(WHAT));
        }
        let count = reader.u16(WHAT)?;
        if count == NO_METADATA {
            return Ok(Self { no_metadata: true, ..Self::default() });
        }
        if count > MAX_COLUMNS {
            return Err(Malformed::of("COLMETADATA: more columns than there can be"));
        }
        let ceks = read_cek_table(reader)?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(Column::read(reader, Some(ceks.len()))?);
        }
        Ok(Self { ceks, columns, no_metadata: false })
    }

    /// Reads the token as a driver without Always Encrypted writes it in front of a bulk load: no
    /// CEK table, no encrypted columns whatever the flags say.
    pub fn read_from_driver(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        const WHAT: &str = "COLMETADATA of a bulk load";
        if reader.u8(WHAT)? != COLMETADATA {
            return Err(Malformed::of(WHAT));
        }
        let count = reader.u16(WHAT)?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(Column::read_with(reader, None, true)?);
        }
        Ok(Self { columns, ..Self::default() })
    }

    /// Appends the token in front of a bulk load: the columns that `target` names take its type and
    /// its encryption. Keys are named without their values (SqlClient's form).
    pub fn write_for_bulk<'a>(
        &self,
        ceks: &[CekEntry],
        target: impl Fn(&str) -> Option<&'a Column>,
        out: &mut Vec<u8>,
    ) {
        out.push(COLMETADATA);
        out.extend_from_slice(&(self.columns.len() as u16).to_le_bytes());
        out.extend_from_slice(&(ceks.len() as u16).to_le_bytes());
        for cek in ceks {
            cek.identity.write(out);
            out.push(0);
        }
        for column in &self.columns {
            let encrypted =
                target(&column.name).and_then(|t| Some((&t.type_info, t.crypto.as_ref()?)));
            out.extend_from_slice(&column.user_type.to_le_bytes());
            match encrypted {
                Some((type_info, crypto)) => {
                    out.extend_from_slice(&(column.flags | F_ENCRYPTED).to_le_bytes());
                    out.extend_from_slice(type_info.as_bytes());
                    crypto.write(out);
                }
                None => {
                    out.extend_from_slice(&(column.flags & !F_ENCRYPTED).to_le_bytes());
                    out.extend_from_slice(column.type_info.as_bytes());
                    out.extend_from_slice(&column.table_name);
                }
            }
            out.push(column.name.encode_utf16().count() as u8);
            push_utf16(&column.name, out);
        }
    }

    /// Whether any column is encrypted.
    #[must_use]
    pub fn has_encrypted_columns(&self) -> bool {
        self.columns.iter().any(|c| c.crypto.is_some())
    }

    /// The columns as they are stored: encrypted ones are the `varbinary` of their cells.
    #[must_use]
    pub fn as_stored(mut self) -> Self {
        self.ceks.clear();
        for column in &mut self.columns {
            column.crypto = None;
        }
        self
    }

    /// Appends the token as a connection without Always Encrypted would carry it, each encrypted
    /// column with the type that `shown_as` gives it.
    pub fn write_decrypted(
        &self,
        mut shown_as: impl FnMut(&CryptoMetadata) -> TypeInfo,
        out: &mut Vec<u8>,
    ) {
        out.push(COLMETADATA);
        if self.no_metadata {
            out.extend_from_slice(&NO_METADATA.to_le_bytes());
            return;
        }
        // The count came from a u16.
        out.extend_from_slice(&(self.columns.len() as u16).to_le_bytes());
        for column in &self.columns {
            let user_type = column.crypto.as_ref().map_or(column.user_type, |c| c.user_type);
            out.extend_from_slice(&user_type.to_le_bytes());
            out.extend_from_slice(&(column.flags & !F_ENCRYPTED).to_le_bytes());
            match &column.crypto {
                Some(crypto) => out.extend_from_slice(shown_as(crypto).as_bytes()),
                None => out.extend_from_slice(column.type_info.as_bytes()),
            }
            out.extend_from_slice(&column.table_name);
            // At most 255 units: it was read as a B_VARCHAR, and a replacement for a lone
            // surrogate is one unit as well.
            out.push(column.name.encode_utf16().count() as u8);
            push_utf16(&column.name, out);
        }
    }
}

impl Column {
    /// `ceks` is the length of the CEK table, if the connection has such tables.
    pub(super) fn read(reader: &mut Reader<'_>, ceks: Option<usize>) -> Result<Self, Malformed> {
        Self::read_with(reader, ceks, false)
    }

    fn read_with(
        reader: &mut Reader<'_>,
        ceks: Option<usize>,
        from_driver: bool,
    ) -> Result<Self, Malformed> {
        const WHAT: &str = "column of COLMETADATA";
        let user_type = reader.u32(WHAT)?;
        let flags = reader.u16(WHAT)?;
        let type_info = TypeInfo::read(reader)?;
        if type_info.is_untyped() {
            // Its values have no bytes, so a row could cost work and nothing else.
            return Err(Malformed::of("column without a type"));
        }
        let start = reader.position();
        if type_info.has_table_name() {
            // In front of a bulk load drivers write one name, in a response there are its parts.
            let parts = if from_driver { 1 } else { reader.u8(WHAT)? };
            for _ in 0..parts {
                reader.skip_us_varchar(WHAT)?;
            }
        }
        let table_name = reader.since(start).to_vec();
        let crypto = if let (Some(ceks), true) = (ceks, flags & F_ENCRYPTED != 0) {
            if !type_info.is_varbinary() {
                return Err(Malformed::of("encrypted column: its type is not varbinary"));
            }
            let cek_ordinal = reader.u16(WHAT)?;
            if usize::from(cek_ordinal) >= ceks {
                return Err(Malformed::of("encrypted column: its key is not in the CEK table"));
            }
            Some(CryptoMetadata::read(reader, cek_ordinal)?)
        } else {
            None
        };
        let name = reader.b_varchar(WHAT)?;
        Ok(Self { user_type, flags, type_info, table_name, crypto, name })
    }
}

impl CryptoMetadata {
    /// Reads what follows the ordinal (which RETURNVALUE does not have).
    pub(crate) fn read(reader: &mut Reader<'_>, cek_ordinal: u16) -> Result<Self, Malformed> {
        const WHAT: &str = "CryptoMetadata";
        let user_type = reader.u32(WHAT)?;
        let base_type = TypeInfo::read(reader)?;
        let algorithm = reader.u8(WHAT)?;
        let known = match algorithm {
            AEAD_AES_256_CBC_HMAC_SHA_256 => true,
            CUSTOM_ALGORITHM => reader.b_varchar(WHAT)?.eq_ignore_ascii_case(AEAD_NAME),
            _ => false,
        };
        if !known {
            return Err(Malformed::of("CryptoMetadata: unknown encryption algorithm"));
        }
        let encryption_type = EncryptionType::from_wire_value(reader.u8(WHAT)?)
            .ok_or(Malformed::of("CryptoMetadata: unknown encryption type"))?;
        if reader.u8(WHAT)? != NORMALIZATION_VERSION {
            return Err(Malformed::of("CryptoMetadata: unknown normalization version"));
        }
        let sql_type = base_type
            .sql_type()
            .ok_or(Malformed::of("CryptoMetadata: a type that cannot be encrypted"))?;
        // A short value of a fixed type is padded to the type's length, whatever that is.
        if !is_max(sql_type) && sql_type.max_normal_form_len() > MAX_BOUNDED_BYTES {
            return Err(Malformed::of("CryptoMetadata: a type longer than any"));
        }
        Ok(Self { cek_ordinal, user_type, base_type, encryption_type })
    }
}

impl CryptoMetadata {
    /// Appends all of it. The user type is 0, as SqlClient writes it.
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cek_ordinal.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.base_type.as_bytes());
        out.push(AEAD_AES_256_CBC_HMAC_SHA_256);
        out.push(self.encryption_type.wire_value());
        out.push(NORMALIZATION_VERSION);
    }
}

fn is_max(sql_type: SqlType) -> bool {
    use SqlType as T;
    matches!(
        sql_type,
        T::VarChar(Length::Max) | T::NVarChar(Length::Max) | T::VarBinary(Length::Max)
    )
}

fn read_cek_table(reader: &mut Reader<'_>) -> Result<Vec<CekEntry>, Malformed> {
    const WHAT: &str = "CEK table";
    let count = reader.u16(WHAT)?;
    let mut ceks = Vec::new();
    for _ in 0..count {
        let identity = CekIdentity {
            database_id: reader.u32(WHAT)?,
            cek_id: reader.u32(WHAT)?,
            cek_version: reader.u32(WHAT)?,
            cek_md_version: reader.bytes(WHAT)?,
        };
        let value_count = reader.u8(WHAT)?;
        if usize::from(value_count) > MAX_CEK_VALUES {
            return Err(Malformed::of("CEK table: more values of a key than there can be"));
        }
        let mut values = Vec::new();
        for _ in 0..value_count {
            values.push(EncryptedCekValue {
                envelope: reader.us_varbyte(WHAT)?.to_vec(),
                provider_name: reader.b_varchar(WHAT)?,
                key_path: reader.us_varchar(WHAT)?,
                algorithm: reader.b_varchar(WHAT)?,
            });
        }
        ceks.push(CekEntry { identity, values });
    }
    Ok(ceks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        digits
            .chunks(2)
            .map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap())
            .collect()
    }

    /// The metadata of `SELECT Name` as a server sent it for a varchar(512) column under a Java
    /// key store, the envelope shortened.
    fn captured() -> Vec<u8> {
        unhex(
            "81 0100 0100
             05000000 31000000 01000000 f1086001e8aa0000 01
             0300 01aabb
             13 4d005300530051004c005f004a004100560041005f004b0045005900530054004f0052004500
             0400 7400650073007400
             08 5200530041005f004f00410045005000
             00000000 0b08 a5 4102
             0000 00000000 a7 0002 0904000200 02 01 01
             04 4e0061006d006500",
        )
    }

    #[test]
    fn a_table_name_has_parts_in_a_response_and_none_in_front_of_a_load() {
        let column = "00000000 0900 22 ffffff7f";
        let name = "0200 74003100 01 6300";
        let load = unhex(&format!("81 0100 {column} {name}"));
        let mut reader = Reader::new(&load);
        let read = ColMetadata::read_from_driver(&mut reader).unwrap();
        assert_eq!((read.columns[0].name.as_str(), reader.remaining()), ("c", 0));
        let mut written = Vec::new();
        read.write_for_bulk(&[], |_| None, &mut written);
        assert_eq!(written, unhex(&format!("81 0100 0000 {column} {name}")));
        let response = unhex(&format!("81 0100 0000 {column} 02 0100 6400 {name}"));
        let mut reader = Reader::new(&response);
        let read = ColMetadata::read(&mut reader).unwrap();
        assert_eq!((read.columns[0].name.as_str(), reader.remaining()), ("c", 0));
    }

    #[test]
    fn a_captured_token_reads_and_is_shown_without_its_encryption() {
        let bytes = captured();
        let mut reader = Reader::new(&bytes);
        let metadata = ColMetadata::read(&mut reader).unwrap();
        assert_eq!(reader.remaining(), 0);
        let cek = &metadata.ceks[0];
        assert_eq!((cek.identity.database_id, cek.identity.cek_id), (5, 49));
        assert_eq!(cek.values[0].provider_name, "MSSQL_JAVA_KEYSTORE");
        assert_eq!(cek.values[0].key_path, "test");
        assert_eq!(cek.values[0].algorithm, "RSA_OAEP");
        let mut shown = Vec::new();
        metadata.write_decrypted(|c| c.base_type.clone(), &mut shown);
        let expected = unhex("81 0100 00000000 0b00 a7 0002 0904000200 04 4e0061006d006500");
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_token_cut_at_any_byte_is_an_error() {
        let bytes = captured();
        for len in 0..bytes.len() {
            assert!(ColMetadata::read(&mut Reader::new(&bytes[..len])).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn an_ordinal_outside_of_the_table_is_refused() {
        let mut bytes = captured();
        let at = bytes.len() - (2 + 4 + 8 + 3 + 9);
        assert_eq!(bytes[at..at + 2], [0, 0]);
        bytes[at] = 1;
        let error = ColMetadata::read(&mut Reader::new(&bytes)).unwrap_err();
        assert_eq!(error.what, "encrypted column: its key is not in the CEK table");
    }

    #[test]
    fn a_plaintext_type_longer_than_any_is_refused() {
        let bytes = captured();
        let at = bytes.len() - (9 + 3 + 8);
        assert_eq!(bytes[at..at + 3], [0xA7, 0, 2]);
        let read = |id: u8, len: u16| {
            let mut bytes = bytes.clone();
            bytes[at] = id;
            bytes[at + 1..at + 3].copy_from_slice(&len.to_le_bytes());
            if matches!(id, 0xA5 | 0xAD) {
                bytes.drain(at + 3..at + 8);
            }
            ColMetadata::read(&mut Reader::new(&bytes)).map(drop)
        };
        let longer = Err(Malformed::of("CryptoMetadata: a type longer than any"));
        let varying = [0xA5, 0xA7, 0xE7];
        for id in [0xAD, 0xAF, 0xEF].into_iter().chain(varying) {
            assert_eq!(read(id, 8000), Ok(()), "{id:#x}");
            for len in [8002, 0xFFFE] {
                assert_eq!(read(id, len), longer, "{id:#x} {len}");
            }
            // The other types have no (max).
            let max = if varying.contains(&id) { Ok(()) } else { longer };
            assert_eq!(read(id, 0xFFFF), max, "{id:#x}");
        }
    }

    #[test]
    fn a_claim_of_many_keys_and_columns_allocates_nothing_for_them() {
        let bytes = [0x81, 0xFE, 0xFF, 0xFF, 0xFF];
        assert!(ColMetadata::read(&mut Reader::new(&bytes)).is_err());
    }

    #[test]
    fn no_metadata_has_no_table() {
        let bytes = [0x81, 0xFF, 0xFF];
        let metadata = ColMetadata::read(&mut Reader::new(&bytes)).unwrap();
        let mut out = Vec::new();
        metadata.write_decrypted(|c| c.base_type.clone(), &mut out);
        assert_eq!(out, bytes);
    }
}
