//! Table-valued parameters (MS-TDS 2.2.5.5.5.3): a type by name, columns, and rows.

use crate::tds::cursor::{Cursor, Malformed, Read};
use crate::tds::type_info::TypeInfo;

const TVP_NULL_TOKEN: u16 = 0xFFFF;
const TVP_END_TOKEN: u8 = 0x00;
const TVP_ROW_TOKEN: u8 = 0x01;
const TVP_ORDER_UNIQUE_TOKEN: u8 = 0x10;
const TVP_COLUMN_ORDERING_TOKEN: u8 = 0x11;
/// The column is not sent, and has its default.
const F_DEFAULT: u16 = 0x0200;

/// What a client has sent for a parameter of a table type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireTable {
    /// Database, schema and name of the type, each of which may be empty.
    pub(crate) name: [String; 3],
    pub(crate) columns: Vec<WireColumn>,
    pub(crate) rows: Vec<Vec<Option<Vec<u8>>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireColumn {
    pub(crate) info: TypeInfo,
    /// Rows have no value for it.
    pub(crate) default: bool,
}

/// Reads what follows the type token.
pub(crate) fn read(cursor: &mut Cursor<'_>) -> Read<WireTable> {
    let name = [cursor.b_varchar()?, cursor.b_varchar()?, cursor.b_varchar()?];
    let mut table = WireTable { name, columns: Vec::new(), rows: Vec::new() };
    let count = cursor.u16()?;
    if count != TVP_NULL_TOKEN {
        for _ in 0..count {
            cursor.u32()?;
            let default = cursor.u16()? & F_DEFAULT != 0;
            let info = TypeInfo::read(cursor)?;
            cursor.b_varchar()?;
            table.columns.push(WireColumn { info, default });
        }
    }
    loop {
        match cursor.u8()? {
            TVP_END_TOKEN => break,
            // How the rows are ordered, and in what order the columns were: each entry has a number of two bytes.
            TVP_ORDER_UNIQUE_TOKEN => {
                for _ in 0..cursor.u16()? {
                    cursor.bytes(3)?;
                }
            }
            TVP_COLUMN_ORDERING_TOKEN => {
                return Err(Malformed(
                    "The sandbox does not support table-valued parameters whose columns are in another order."
                        .to_owned(),
                ));
            }
            other => {
                return Err(Malformed(format!(
                    "{other:#04x} is no token of a table-valued parameter."
                )));
            }
        }
    }
    loop {
        match cursor.u8()? {
            TVP_END_TOKEN => return Ok(table),
            TVP_ROW_TOKEN if !table.columns.is_empty() => {
                let sent = table.columns.iter().filter(|column| !column.default);
                let row = sent.map(|column| column.info.read_value(cursor)).collect::<Read<_>>()?;
                table.rows.push(row);
            }
            other => {
                return Err(Malformed(format!(
                    "{other:#04x} is no row of a table-valued parameter."
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Vec<u8> {
        let mut bytes = vec![0, 0, 1, b'T', 0, 2, 0];
        bytes.extend([0, 0, 0, 0, 0, 0, 0x26, 4, 0]);
        bytes.extend([0, 0, 0, 0, 0, 2, 0x26, 4, 0]);
        bytes.extend([0x10, 1, 0, 0, 0, 1, 0]);
        bytes.extend([1, 4, 7, 0, 0, 0, 1, 0, 0]);
        bytes
    }

    #[test]
    fn a_table_is_read_with_its_rows() {
        let table = read(&mut Cursor::new(&whole())).unwrap();
        assert_eq!(table.name[2], "T");
        assert_eq!(table.rows, [vec![Some(vec![7, 0, 0, 0])], vec![None]]);
        let null = [0, 0, 1, b'T', 0, 0xFF, 0xFF, 0, 0];
        assert!(read(&mut Cursor::new(&null)).unwrap().columns.is_empty());
    }

    #[test]
    fn a_table_cut_or_changed_anywhere_never_panics() {
        let whole = whole();
        for end in 0..whole.len() {
            assert!(read(&mut Cursor::new(&whole[..end])).is_err(), "{end}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x10, 0x7F, 0xF3, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = read(&mut Cursor::new(&bytes));
            }
        }
    }
}
