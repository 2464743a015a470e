//! Table-valued parameters in a request: walked over, never changed (MS-TDS 2.2.5.5.5, 2.2.7.24).
//!
//! ```text
//! 0xF3 | DbName B_VARCHAR | OwningSchema B_VARCHAR | TypeName B_VARCHAR
//!      | 0xFFFF, or Count u16 and as many: UserType u32 | Flags u16 | TYPE_INFO | ColName B_VARCHAR
//!      | [0x10 Count u16 (ColNum u16 | Flags u8)*] | [0x11 Count u16 ColNum u16*] | 0x00
//!      | (0x01 value*)* | 0x00
//! ```

use super::{Malformed, Reader, TypeInfo, rpc::read_value};

/// The type token.
pub(super) const TVPTYPE: u8 = 0xF3;

const WHAT: &str = "table-valued parameter";
const TVP_NULL_TOKEN: u16 = 0xFFFF;
const TVP_END_TOKEN: u8 = 0x00;
const TVP_ROW_TOKEN: u8 = 0x01;
const TVP_ORDER_UNIQUE_TOKEN: u8 = 0x10;
const TVP_COLUMN_ORDERING_TOKEN: u8 = 0x11;
/// The column has its default in every row, and no value in any.
const F_DEFAULT: u16 = 0x0200;
/// The most columns that a table has.
const MAX_COLUMNS: u16 = 1024;

/// The name of a table type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableType {
    /// Its schema; empty for the default one.
    pub schema: String,
    /// Its name. sp_executesql has it in the declaration, so it may be empty there.
    pub name: String,
}

impl TableType {
    /// Reads the whole parameter from its type token on. Its rows follow the order of the columns
    /// in the metadata; TVP_COLUMN_ORDERING says which column of the type each of them is.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.u8(WHAT)?;
        reader.skip_b_varchar(WHAT)?;
        let (schema, name) = (reader.b_varchar(WHAT)?, reader.b_varchar(WHAT)?);
        let columns = read_columns(reader)?;
        loop {
            let width = match reader.u8(WHAT)? {
                TVP_ORDER_UNIQUE_TOKEN => 3,
                TVP_COLUMN_ORDERING_TOKEN => 2,
                TVP_END_TOKEN => break,
                _ => return Err(Malformed::of("table-valued parameter: unknown token")),
            };
            let count = usize::from(reader.u16(WHAT)?);
            reader.take(count * width, WHAT)?;
        }
        loop {
            match reader.u8(WHAT)? {
                TVP_ROW_TOKEN => {
                    for type_info in &columns {
                        read_value(reader, type_info)?;
                    }
                }
                TVP_END_TOKEN => return Ok(Self { schema, name }),
                _ => return Err(Malformed::of("table-valued parameter: unknown token")),
            }
        }
    }
}

/// The types of the columns that have values.
fn read_columns(reader: &mut Reader<'_>) -> Result<Vec<TypeInfo>, Malformed> {
    let count = reader.u16(WHAT)?;
    let mut columns = Vec::new();
    if count == TVP_NULL_TOKEN {
        return Ok(columns);
    }
    if count > MAX_COLUMNS {
        return Err(Malformed::of("table-valued parameter: more columns than a table has"));
    }
    for _ in 0..count {
        reader.u32(WHAT)?;
        let flags = reader.u16(WHAT)?;
        let type_info = TypeInfo::read_in_request(reader)?;
        if type_info.is_untyped() {
            // Its values have no bytes, so a row could cost work and nothing else.
            return Err(Malformed::of("table-valued parameter: column without a type"));
        }
        reader.skip_b_varchar(WHAT)?;
        if flags & F_DEFAULT == 0 {
            columns.push(type_info);
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(flags: u16, type_info: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 4];
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(type_info);
        out.push(0);
        out
    }

    /// `dbo.T (int, defaulted int, nvarchar(10), text)`, two rows.
    fn table() -> Vec<u8> {
        let mut out = vec![TVPTYPE, 0, 3];
        out.extend("dbo".encode_utf16().flat_map(u16::to_le_bytes));
        out.extend([1, b'T', 0, 4, 0]);
        out.extend(column(0, &[0x26, 4]));
        out.extend(column(F_DEFAULT, &[0x26, 4]));
        out.extend(column(0, &[0xE7, 20, 0, 9, 4, 0xD0, 0, 0x34]));
        out.extend(column(0, &[0x23, 0xFF, 0xFF, 0xFF, 0x7F, 9, 4, 0xD0, 0, 0x34]));
        out.extend([TVP_ORDER_UNIQUE_TOKEN, 1, 0, 1, 0, 1]);
        out.extend([TVP_COLUMN_ORDERING_TOKEN, 4, 0, 1, 0, 2, 0, 3, 0, 4, 0, TVP_END_TOKEN]);
        out.extend([TVP_ROW_TOKEN, 4, 1, 0, 0, 0, 2, 0, b'x', 0, 1, 0, 0, 0, b'y']);
        out.extend([TVP_ROW_TOKEN, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, TVP_END_TOKEN]);
        out
    }

    #[test]
    fn a_table_is_walked_to_its_end_and_every_truncation_is_an_error() {
        let table = table();
        let longer = [&table[..], &[0x55]].concat();
        let mut reader = Reader::new(&longer);
        let read = TableType::read(&mut reader).unwrap();
        assert_eq!((read.schema.as_str(), read.name.as_str()), ("dbo", "T"));
        assert_eq!(reader.remaining(), 1);
        for len in 0..table.len() {
            assert!(TableType::read(&mut Reader::new(&table[..len])).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_clr_type_has_its_names_and_nothing_else() {
        let mut table = vec![TVPTYPE, 0, 0, 0, 1, 0];
        table.extend(column(0, &[0xF0, 0, 0, 1, b'P', 0]));
        table.extend([TVP_END_TOKEN, TVP_ROW_TOKEN, 1, 0, 0, 0, 0, 0, 0, 0]);
        table.extend([1, 0, 0, 0, 7, 0, 0, 0, 0, TVP_END_TOKEN]);
        let mut reader = Reader::new(&table);
        TableType::read(&mut reader).unwrap();
        assert_eq!(reader.remaining(), 0);
    }

    #[test]
    fn null_has_no_columns_and_two_ends() {
        let null = [TVPTYPE, 0, 0, 1, b'T', 0, 0xFF, 0xFF, TVP_END_TOKEN, TVP_END_TOKEN];
        let mut reader = Reader::new(&null);
        TableType::read(&mut reader).unwrap();
        assert_eq!(reader.remaining(), 0);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let head = [TVPTYPE, 0, 0, 0];
        let mut untyped = head.to_vec();
        untyped.extend([1, 0]);
        untyped.extend(column(0, &[0x1F]));
        untyped.extend([TVP_END_TOKEN, TVP_END_TOKEN]);
        let many = [&head[..], &[1, 4], &[0; 64]].concat();
        let unknown = [&head[..], &[0xFF, 0xFF, 0x12, 0, 0, 0, 0]].concat();
        let row = [&head[..], &[0xFF, 0xFF, TVP_END_TOKEN, 2, 0]].concat();
        for bytes in [untyped, many, unknown, row] {
            let error = TableType::read(&mut Reader::new(&bytes)).unwrap_err();
            assert!(!error.incomplete, "{error}");
        }
    }
}
