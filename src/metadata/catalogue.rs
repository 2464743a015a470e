//! The columns of tables and the parameters of procedures, as the catalogue views have them.
//!
//! A driver that declares every string `nvarchar(4000)` would never meet the type of an encrypted
//! column, and SQL Server converts nothing that it cannot read. So the session asks `sys.columns` (or
//! `sys.parameters`) for the types, one round trip for all the tables of a statement that are not
//! known yet. What the server says here decides how a value is converted before it is encrypted;
//! whether it is encrypted is [`Description`](super::Description)'s to say.

use super::{
    DescribeFault,
    row::{Row, SYSNAME},
    target::{Column, ObjectKind, ObjectName},
};
use crate::{
    crypto::EncryptionType,
    tds::{Done, Malformed, ReplyToken, ReplyTokens, done_status, token_id},
    value::{CodePage, ConversionType, SqlType},
};

/// SQL Server allows 1,024 columns in a table, 30,000 in a wide one, 2,100 parameters of a procedure.
const MAX_COLUMNS: usize = 30_000;

/// A column of a table or view, or a parameter of a procedure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueColumn {
    /// Its name; a parameter's begins with `@`.
    pub name: String,
    /// Its type, unless it is one that cannot be encrypted.
    pub conversion_type: Option<ConversionType>,
    /// How it is encrypted. Of a procedure's parameter the catalogue does not say.
    pub encryption_type: Option<EncryptionType>,
    /// Whether an INSERT without a list of columns has a value for it.
    insertable: bool,
}

/// The columns of one table, or the parameters of one procedure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogueObject {
    columns: Vec<CatalogueColumn>,
}

impl CatalogueObject {
    /// Whether the server knows of no such object, or does not let this login see it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.columns.is_empty()
    }

    /// One of its columns. Names are compared without regard to case; where the database is
    /// sensitive to it, the column of the very name goes first.
    #[must_use]
    pub fn column(&self, column: &Column) -> Option<&CatalogueColumn> {
        match column {
            Column::Named(name) => {
                let exact = self.columns.iter().find(|c| c.name == *name);
                exact.or_else(|| {
                    let lower = name.to_lowercase();
                    self.columns.iter().find(|c| c.name.to_lowercase() == lower)
                })
            }
            Column::Position(n) => self.columns.iter().filter(|c| c.insertable).nth(*n),
        }
    }
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub enum CatalogueAnswer {
    /// One entry for each object, in the order in which they were asked for.
    Known(Vec<CatalogueObject>),
    /// The server does not answer: its ERROR and INFO tokens. The statement goes its way without the
    /// types.
    Refused(Vec<u8>),
}

/// The statement that asks for objects; its parameters `@n0`, `@n1`, … are their names, as
/// [`object_id_argument`] writes them. COLLATIONPROPERTY alone would be a `sql_variant`.
#[must_use]
pub fn catalogue_query(objects: &[(ObjectName, ObjectKind)]) -> String {
    use std::fmt::Write as _;
    let mut query = String::new();
    for (n, (name, kind)) in objects.iter().enumerate() {
        let database = match database_of(name) {
            Some(database) => format!("{}.", crate::tds::quote(database)),
            None => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = match kind {
            ObjectKind::Table => write!(
                query,
                "SELECT c.name, t.name, c.max_length, c.precision, c.scale, \
                 CONVERT(int, COLLATIONPROPERTY(c.collation_name, 'CodePage')), c.encryption_type, \
                 c.is_identity, CASE WHEN c.is_computed = 1 OR c.is_hidden = 1 THEN 1 ELSE 0 END \
                 FROM {database}sys.columns c \
                 LEFT JOIN {database}sys.types t ON t.user_type_id = c.system_type_id \
                 WHERE c.object_id = OBJECT_ID(@n{n}) ORDER BY c.column_id;"
            ),
            ObjectKind::Procedure => write!(
                query,
                "SELECT p.name, t.name, p.max_length, p.precision, p.scale, NULL, NULL, 0, 0 \
                 FROM {database}sys.parameters p \
                 LEFT JOIN {database}sys.types t ON t.user_type_id = p.system_type_id \
                 WHERE p.object_id = OBJECT_ID(@n{n}) AND p.parameter_id > 0 \
                 ORDER BY p.parameter_id;"
            ),
        };
    }
    query
}

/// The declarations of that statement's parameters.
#[must_use]
pub fn catalogue_declarations(objects: usize) -> String {
    let declared: Vec<String> = (0..objects).map(|n| format!("@n{n} nvarchar(517)")).collect();
    declared.join(",")
}

/// The name as OBJECT_ID takes it.
#[must_use]
pub fn object_id_argument(name: &ObjectName) -> String {
    match database_of(name) {
        Some(database) => {
            ObjectName { database: Some(database.to_owned()), ..name.clone() }.quoted()
        }
        None => name.quoted(),
    }
}

/// Temporary tables live in a database of their own, whatever the current one is.
pub(crate) fn database_of(name: &ObjectName) -> Option<&str> {
    if name.name.starts_with('#') { Some("tempdb") } else { name.database.as_deref() }
}

impl CatalogueAnswer {
    /// Reads the payload of the whole response to [`catalogue_query`].
    pub fn read(payload: &[u8], kinds: &[ObjectKind]) -> Result<Self, DescribeFault> {
        let mut found: Vec<CatalogueObject> = Vec::new();
        let (mut refused, mut ended, mut refusal) = (false, false, Vec::new());
        let mut tokens = ReplyTokens::new(payload);
        while let Some(token) = tokens.next_token()? {
            ended = false;
            match token {
                ReplyToken::Metadata(metadata) if metadata.has_encrypted_columns() => {
                    return Err(Malformed::of("answer: it is encrypted itself").into());
                }
                ReplyToken::Metadata(metadata) => {
                    if metadata.columns.len() != 9 || found.len() == kinds.len() {
                        return Err(DescribeFault::Incomplete { what: "their columns" });
                    }
                    found.push(CatalogueObject::default());
                }
                ReplyToken::Row(values) => {
                    let kind = found.len().checked_sub(1).and_then(|at| kinds.get(at));
                    let (Some(object), Some(&kind)) = (found.last_mut(), kind) else { continue };
                    if object.columns.len() == MAX_COLUMNS {
                        return Err(DescribeFault::TooLong { what: "a table" });
                    }
                    object.columns.push(read_column(&Row(values), kind)?);
                }
                ReplyToken::Other(token_id::ERROR, bytes) => {
                    refused = true;
                    refusal.extend_from_slice(bytes);
                }
                ReplyToken::Other(token_id::INFO, bytes) => refusal.extend_from_slice(bytes),
                ReplyToken::Other(token_id::DONE | token_id::DONEPROC, bytes) => {
                    let status = Done::read(bytes)?.status;
                    ended = status & (done_status::MORE | done_status::ERROR) == 0;
                }
                ReplyToken::Other(..) => {}
            }
        }
        if refused {
            return Ok(Self::Refused(refusal));
        }
        if !ended || found.len() != kinds.len() {
            return Err(DescribeFault::Incomplete { what: "their end" });
        }
        Ok(Self::Known(found))
    }
}

fn read_column(row: &Row, kind: ObjectKind) -> Result<CatalogueColumn, DescribeFault> {
    let name = row.text(0, SYSNAME, "a column's name")?;
    // CLR types have no base type.
    let type_name = match row.value(1) {
        Some(_) => row.text(1, SYSNAME, "a type's name")?,
        None => String::new(),
    };
    let [max_length, precision, scale, code_page, encryption, identity, computed] =
        [2, 3, 4, 5, 6, 7, 8].map(|i| row.integer(i));
    let sql_type = catalogue_type(&type_name, max_length, precision, scale);
    let code_page = u16::try_from(code_page).ok().and_then(CodePage::from_number);
    Ok(CatalogueColumn {
        name,
        conversion_type: sql_type.map(|sql_type| ConversionType { sql_type, code_page }),
        encryption_type: u8::try_from(encryption).ok().and_then(EncryptionType::from_wire_value),
        insertable: kind == ObjectKind::Procedure
            || identity == 0 && computed == 0 && type_name != "timestamp",
    })
}

/// The type behind the columns of `sys.columns`: lengths are in bytes, −1 is `max`.
pub(crate) fn catalogue_type(
    name: &str,
    max_length: i64,
    precision: i64,
    scale: i64,
) -> Option<SqlType> {
    let length = |unit: i64| match max_length {
        -1 => "max".to_owned(),
        bytes => (bytes / unit).to_string(),
    };
    let declaration = match name {
        "char" | "varchar" | "binary" | "varbinary" => format!("{name}({})", length(1)),
        "nchar" | "nvarchar" => format!("{name}({})", length(2)),
        "decimal" | "numeric" => format!("{name}({precision},{scale})"),
        "time" | "datetime2" | "datetimeoffset" => format!("{name}({scale})"),
        _ => name.to_owned(),
    };
    SqlType::parse_declaration(&declaration).ok()
}

#[cfg(test)]
mod tests;
