//! The bulk load message (MS-TDS 2.2.6.1): COLMETADATA as the client has it, rows, and a DONE that says nothing new.

use crate::tds::cursor::{Cursor, Malformed, Read};
use crate::tds::large;
use crate::tds::rpc::CipherInfo;
use crate::tds::token::{F_ENCRYPTED, TOKEN_COLMETADATA, TOKEN_DONE, TOKEN_ROW};
use crate::tds::type_info::{IMAGETYPE, NTEXTTYPE, TEXTTYPE, TypeInfo};

/// No table has more.
const MAX_COLUMNS: u16 = 1024;
/// The longest value that does not come in chunks.
const MAX_SHORT: u32 = 8000;

#[derive(Debug, Clone)]
pub(crate) struct BulkColumn {
    pub(crate) name: String,
    pub(crate) info: TypeInfo,
    /// Of a column whose values are cells.
    pub(crate) cipher: Option<CipherInfo>,
}

/// The message, read row by row.
#[derive(Debug, Clone)]
pub(crate) struct BulkLoad<'a> {
    pub(crate) columns: Vec<BulkColumn>,
    rows: Cursor<'a>,
}

/// The key of a CekTable entry. A client that loads sends no encrypted values with it.
#[derive(Debug, Clone, Copy)]
struct CekIdentity {
    database_id: u32,
    cek_id: u32,
    version: u32,
    md_version: [u8; 8],
}

impl<'a> BulkLoad<'a> {
    pub(crate) fn read(payload: &'a [u8], column_encryption: bool) -> Read<Self> {
        let mut cursor = Cursor::new(payload);
        if cursor.u8()? != TOKEN_COLMETADATA {
            return Err(Malformed("A bulk load begins with COLMETADATA.".to_owned()));
        }
        let count = cursor.u16()?;
        if count > MAX_COLUMNS {
            return Err(Malformed(format!("A bulk load of {count} columns.")));
        }
        let keys = if column_encryption { read_cek_table(&mut cursor)? } else { Vec::new() };
        let columns = (0..count)
            .map(|_| read_column(&mut cursor, column_encryption, &keys))
            .collect::<Read<_>>()?;
        Ok(Self { columns, rows: cursor })
    }

    /// The values of the next row, None after the last.
    pub(crate) fn next_row(&mut self) -> Read<Option<Vec<Option<Vec<u8>>>>> {
        match self.rows.peek() {
            None | Some(TOKEN_DONE) => return Ok(None),
            Some(TOKEN_ROW) => {
                self.rows.u8()?;
            }
            Some(other) => {
                return Err(Malformed(format!("Token {other:#04x} where a row was expected.")));
            }
        }
        let rows = &mut self.rows;
        self.columns
            .iter()
            .map(|column| match is_legacy(&column.info) {
                true => large::read_value(rows),
                false => column.info.read_value(rows),
            })
            .collect::<Read<_>>()
            .map(Some)
    }
}

fn is_legacy(info: &TypeInfo) -> bool {
    matches!(info.token, IMAGETYPE | TEXTTYPE | NTEXTTYPE)
}

fn read_cek_table(cursor: &mut Cursor<'_>) -> Read<Vec<CekIdentity>> {
    let count = cursor.u16()?;
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(CekIdentity {
            database_id: cursor.u32()?,
            cek_id: cursor.u32()?,
            version: cursor.u32()?,
            md_version: cursor.array()?,
        });
        for _ in 0..cursor.u8()? {
            let length = cursor.u16()?;
            cursor.bytes(usize::from(length))?;
            cursor.b_varchar()?;
            let path = cursor.u16()?;
            cursor.utf16(usize::from(path))?;
            cursor.b_varchar()?;
        }
    }
    Ok(keys)
}

fn read_column(
    cursor: &mut Cursor<'_>,
    column_encryption: bool,
    keys: &[CekIdentity],
) -> Read<BulkColumn> {
    cursor.u32()?;
    let flags = cursor.u16()?;
    let mut info = TypeInfo::read(cursor)?;
    if is_legacy(&info) {
        // The table's name, which drivers write without its parts.
        let length = cursor.u16()?;
        cursor.utf16(usize::from(length))?;
    }
    let encrypted = column_encryption && flags & F_ENCRYPTED != 0;
    // JDBC says the length of the plaintext.
    if encrypted && info.length < MAX_SHORT {
        info.length = MAX_SHORT;
    }
    let cipher = if encrypted { Some(read_crypto_metadata(cursor, keys)?) } else { None };
    Ok(BulkColumn { name: cursor.b_varchar()?, info, cipher })
}

fn read_crypto_metadata(cursor: &mut Cursor<'_>, keys: &[CekIdentity]) -> Read<CipherInfo> {
    let ordinal = cursor.u16()?;
    let key = keys
        .get(usize::from(ordinal))
        .ok_or_else(|| Malformed(format!("Key {ordinal} is not in the table of keys.")))?;
    cursor.u32()?;
    let base = TypeInfo::read(cursor)?;
    let algorithm = cursor.u8()?;
    if algorithm == 0 {
        cursor.b_varchar()?;
    }
    Ok(CipherInfo {
        base,
        algorithm,
        encryption_type: cursor.u8()?,
        database_id: key.database_id,
        cek_id: key.cek_id,
        cek_version: key.version,
        cek_md_version: key.md_version,
        norm_version: cursor.u8()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An int, and an nvarchar(11) encrypted under key 3 of database 5; one row.
    fn load() -> Vec<u8> {
        let mut out = vec![0x81, 2, 0, 1, 0];
        out.extend([5, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 0]);
        out.extend([0, 0, 0, 0, 8, 0, 0x26, 4, 1, b'i', 0]);
        out.extend([0, 0, 0, 0, 9, 8, 0xA5, 0x51, 0, 0, 0, 0, 0, 0, 0]);
        out.extend([0xE7, 22, 0, 9, 4, 0xD0, 0, 0x34, 2, 1, 1, 1, b's', 0]);
        out.extend([0xD1, 4, 7, 0, 0, 0, 2, 0, 1, 2]);
        out.extend([0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out
    }

    #[test]
    fn a_load_is_read_with_the_keys_of_its_columns() {
        let bytes = load();
        let mut load = BulkLoad::read(&bytes, true).unwrap();
        let cipher = load.columns[1].cipher.clone().unwrap();
        assert_eq!((cipher.database_id, cipher.cek_id, cipher.cek_md_version), (5, 3, [9; 8]));
        assert_eq!((cipher.encryption_type, cipher.norm_version), (1, 1));
        let row = load.next_row().unwrap().unwrap();
        assert_eq!(row, [Some(vec![7, 0, 0, 0]), Some(vec![1, 2])]);
        assert_eq!(load.next_row().unwrap(), None);
    }

    #[test]
    fn a_cell_may_be_longer_than_the_plaintext_that_jdbc_declares() {
        let mut bytes = load();
        let declared = bytes.windows(2).position(|pair| pair == [0xA5, 0x51]).unwrap() + 1;
        bytes[declared] = 1;
        let mut load = BulkLoad::read(&bytes, true).unwrap();
        let row = load.next_row().unwrap().unwrap();
        assert_eq!(row[1], Some(vec![1, 2]));
    }

    #[test]
    fn a_load_cut_or_changed_anywhere_never_panics() {
        let whole = load();
        let read = |bytes: &[u8]| {
            let mut load = BulkLoad::read(bytes, true)?;
            while load.next_row()?.is_some() {}
            Ok::<_, Malformed>(())
        };
        for end in 0..whole.len() {
            let _ = read(&whole[..end]);
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut bytes = whole.clone();
                bytes[end] = value;
                let _ = read(&bytes);
            }
        }
    }
}
