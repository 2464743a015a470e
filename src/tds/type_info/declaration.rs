//! How a declaration names the types that cannot be encrypted.

use super::{Reader, TypeInfo, id};
use crate::tds::quote;

/// What a vector's value has in front of its numbers, in bytes.
const VECTOR_HEADER: u32 = 8;

impl TypeInfo {
    /// The type as T-SQL declares it, of those that [`Self::sql_type`] does not know. `None` of those
    /// whose names are not here (CLR and table types), of an untyped NULL, and of what is malformed.
    pub(crate) fn unencryptable_declaration(&self) -> Option<String> {
        let len = self.max_len.unwrap_or_default();
        Some(match self.id() {
            id::TEXTTYPE => "text".to_owned(),
            id::NTEXTTYPE => "ntext".to_owned(),
            id::IMAGETYPE => "image".to_owned(),
            id::SSVARIANTTYPE => "sql_variant".to_owned(),
            id::JSONTYPE => "json".to_owned(),
            id::XMLTYPE => self.xml_declaration()?,
            id::VECTORTYPE => self.vector_declaration(len)?,
            // Of the days before SQL Server 7.0, and so never of an encrypted column.
            id::CHARTYPE => format!("char({})", len.max(1)),
            id::VARCHARTYPE => format!("varchar({})", len.max(1)),
            id::BINARYTYPE => format!("binary({})", len.max(1)),
            id::VARBINARYTYPE => format!("varbinary({})", len.max(1)),
            _ => return None,
        })
    }

    /// With its collection of schemas, if it has one (XML_INFO, MS-TDS 2.2.5.5.3).
    fn xml_declaration(&self) -> Option<String> {
        const WHAT: &str = "XML_INFO";
        let mut reader = Reader::new(self.bytes.get(1..)?);
        if reader.u8(WHAT).ok()? == 0 {
            return Some("xml".to_owned());
        }
        let parts = [
            reader.b_varchar(WHAT).ok()?,
            reader.b_varchar(WHAT).ok()?,
            reader.us_varchar(WHAT).ok()?,
        ];
        let given = parts.iter().filter(|part| !part.is_empty()).map(|part| quote(part));
        Some(format!("xml({})", given.collect::<Vec<_>>().join(".")))
    }

    /// Its length is in numbers, of four bytes each or of two.
    fn vector_declaration(&self, len: u32) -> Option<String> {
        let numbers = len.checked_sub(VECTOR_HEADER)?;
        match self.bytes.get(3)? {
            0 => Some(format!("vector({})", numbers / 4)),
            1 => Some(format!("vector({}, float16)", numbers / 2)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(bytes: &[u8]) -> Option<String> {
        let info = TypeInfo::read(&mut Reader::new(bytes)).unwrap();
        assert_eq!(info.sql_type(), None);
        info.unencryptable_declaration()
    }

    #[test]
    fn a_type_that_cannot_be_encrypted_is_declared_as_it_is() {
        let collation = [9, 4, 0xD0, 0, 0x34];
        let with_collation = |head: &[u8]| [head, &collation].concat();
        for (bytes, text) in [
            (with_collation(&[0x23, 0xFF, 0xFF, 0xFF, 0x7F]), "text"),
            (with_collation(&[0x63, 0xFE, 0xFF, 0xFF, 0x7F]), "ntext"),
            (vec![0x22, 0xFF, 0xFF, 0xFF, 0x7F], "image"),
            (vec![0x62, 0x49, 0x1F, 0, 0], "sql_variant"),
            (vec![0xF1, 0], "xml"),
            (vec![0xF1, 1, 0, 1, b'o', 0, 2, 0, b'c', 0, b']', 0], "xml([o].[c]]])"),
            (vec![0xF4], "json"),
            (vec![0xF5, 20, 0, 0], "vector(3)"),
            (vec![0xF5, 14, 0, 1], "vector(3, float16)"),
            (with_collation(&[0x27, 10]), "varchar(10)"),
            (vec![0x25, 4], "varbinary(4)"),
        ] {
            assert_eq!(declared(&bytes).as_deref(), Some(text));
        }
        assert_eq!(declared(&[0xF5, 4, 0, 0]), None);
        assert_eq!(declared(&[0x1F]), None);
    }
}
