//! What the database's catalogue says of one column and its key, asked through an ordinary client.

use futures_util::TryStreamExt;
use tiberius::{ColumnData, QueryItem, Row};

use super::ColumnCipherError;
use crate::{
    client::Client,
    crypto::EncryptionType,
    keystore::EncryptedCekValue,
    metadata::{ObjectName, catalogue_type, database_of, object_id_argument},
    tds::{MAX_CEK_VALUES, ProcedureName, quote},
    value::{CodePage, ConversionType},
};

const ALGORITHM: &str = "AEAD_AES_256_CBC_HMAC_SHA_256";
/// The limits of the catalogue's own columns, in UTF-16 code units and bytes.
const SYSNAME: usize = 128;
const MAX_KEY_PATH: usize = 4_000;
const MAX_ENVELOPE: usize = 8_000;

/// An encrypted column.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::client) struct Found {
    /// The column with its table, for errors.
    pub(in crate::client) column: String,
    pub(in crate::client) conversion_type: ConversionType,
    pub(in crate::client) encryption_type: EncryptionType,
    /// The values of its key, never none.
    pub(in crate::client) values: Vec<EncryptedCekValue>,
}

/// Asks for a column. Its names come from the application, everything else from the server.
pub(in crate::client) async fn look_up(
    client: &mut Client,
    table: &str,
    column: &str,
) -> Result<Found, ColumnCipherError> {
    let table = table_name(table)?;
    let column = column_name(column)?;
    let asked = format!("{}.{column}", table.name);
    let (query, object) = (query(&table), object_id_argument(&table));
    let mut stream =
        client.query(query, &[&object, &column]).await.map_err(ColumnCipherError::Driver)?;
    let mut rows = Vec::new();
    while let Some(item) = stream.try_next().await.map_err(ColumnCipherError::Driver)? {
        if let QueryItem::Row(row) = item {
            rows.push(row);
        }
        // A server might never stop; so many are refused.
        if rows.len() > MAX_CEK_VALUES {
            break;
        }
    }
    Answer { column: asked }.read(rows.into_iter().map(values))
}

fn values(row: Row) -> Vec<ColumnData<'static>> {
    row.into_iter().collect()
}

/// One row for each value of the column's key, or one without any.
///
/// It runs as it is, whatever the connection's setting: describing it would ask in vain.
fn query(table: &ObjectName) -> String {
    let database = match database_of(table) {
        Some(database) => format!("{}.", quote(database)),
        None => String::new(),
    };
    format!(
        "/* always-encrypted: encryption Disabled */ \
         SELECT t.name, c.max_length, c.precision, c.scale, \
         CONVERT(int, COLLATIONPROPERTY(c.collation_name, 'CodePage')), c.encryption_type, \
         c.encryption_algorithm_name, c.column_encryption_key_database_name, \
         v.encrypted_value, v.encryption_algorithm_name, m.key_store_provider_name, m.key_path \
         FROM {database}sys.columns c \
         LEFT JOIN {database}sys.types t ON t.user_type_id = c.system_type_id \
         LEFT JOIN {database}sys.column_encryption_keys k \
         ON k.column_encryption_key_id = c.column_encryption_key_id \
         LEFT JOIN {database}sys.column_encryption_key_values v \
         ON v.column_encryption_key_id = k.column_encryption_key_id \
         LEFT JOIN {database}sys.column_master_keys m \
         ON m.column_master_key_id = v.column_master_key_id \
         WHERE c.object_id = OBJECT_ID(@P1) AND c.name = @P2 \
         ORDER BY v.column_master_key_id"
    )
}

/// Up to three parts, each of them quoted or not.
fn table_name(table: &str) -> Result<ObjectName, ColumnCipherError> {
    let parsed = ProcedureName::parse(table).filter(|parsed| parsed.number().is_none());
    let parts = parsed.as_ref().map_or(&[][..], ProcedureName::parts);
    let part = |part: &String| (!part.is_empty()).then(|| part.clone());
    let (database, schema, name) = match parts {
        [name] => (None, None, name),
        [schema, name] => (None, part(schema), name),
        [database, schema, name] => (part(database), part(schema), name),
        _ => return Err(ColumnCipherError::Name { what: "table", name: table.to_owned() }),
    };
    Ok(ObjectName { database, schema, name: name.clone() })
}

/// As it is, unless it is quoted.
fn column_name(column: &str) -> Result<String, ColumnCipherError> {
    let name = match column.starts_with(['[', '"']) {
        false => Some(column.to_owned()),
        true => ProcedureName::parse(column).and_then(|parsed| match parsed.parts() {
            [name] if parsed.number().is_none() => Some(name.clone()),
            _ => None,
        }),
    };
    let is_name = |name: &String| !name.is_empty() && name.encode_utf16().count() <= SYSNAME;
    name.filter(is_name)
        .ok_or_else(|| ColumnCipherError::Name { what: "column", name: column.to_owned() })
}

/// Reads the answer and believes none of it unseen.
struct Answer {
    column: String,
}

/// What each row repeats.
type Head = (ConversionType, EncryptionType);

impl Answer {
    fn read(
        self,
        rows: impl Iterator<Item = Vec<ColumnData<'static>>>,
    ) -> Result<Found, ColumnCipherError> {
        let mut head: Option<Head> = None;
        let mut values = Vec::new();
        for row in rows {
            let Ok(
                [
                    name,
                    max_length,
                    precision,
                    scale,
                    code_page,
                    kind,
                    algorithm,
                    database,
                    key @ ..,
                ],
            ) = <[_; 12]>::try_from(row)
            else {
                return Err(self.fault("its answer has other columns than were asked for"));
            };
            let kind = self.integer(&kind)?;
            if kind == 0 {
                return Err(ColumnCipherError::NotEncrypted { column: self.column });
            }
            let algorithm = self.text(algorithm, SYSNAME)?.unwrap_or_default();
            let encryption_type = u8::try_from(kind).ok().and_then(EncryptionType::from_wire_value);
            let (Some(encryption_type), true) =
                (encryption_type, algorithm.eq_ignore_ascii_case(ALGORITHM))
            else {
                return Err(ColumnCipherError::UnknownEncryption {
                    column: self.column,
                    algorithm,
                    encryption_type: kind,
                });
            };
            if let Some(database) = self.text(database, SYSNAME)? {
                return Err(ColumnCipherError::KeyElsewhere { column: self.column, database });
            }
            let name = self.text(name, SYSNAME)?.unwrap_or_default();
            let [max_length, precision, scale, code_page] =
                [max_length, precision, scale, code_page].each_ref().map(|v| self.integer(v));
            let sql_type = catalogue_type(&name, max_length?, precision?, scale?);
            let Some(sql_type) = sql_type else {
                return Err(self.fault("it is said to be encrypted, and its type cannot be"));
            };
            let code_page = u16::try_from(code_page?).ok().and_then(CodePage::from_number);
            let this = (ConversionType { sql_type, code_page }, encryption_type);
            if *head.get_or_insert(this) != this {
                return Err(self.fault("it is described in two ways"));
            }
            if values.len() == MAX_CEK_VALUES {
                return Err(self.fault("its key has more values than there can be"));
            }
            values.push(self.value(key)?);
        }
        match head {
            None => Err(ColumnCipherError::UnknownColumn { column: self.column }),
            Some((conversion_type, encryption_type)) => {
                Ok(Found { column: self.column, conversion_type, encryption_type, values })
            }
        }
    }

    fn value(
        &self,
        [envelope, algorithm, provider_name, key_path]: [ColumnData<'static>; 4],
    ) -> Result<EncryptedCekValue, ColumnCipherError> {
        let envelope = match envelope {
            ColumnData::Binary(envelope) => envelope,
            _ => return Err(self.fault("the value of its key is not binary")),
        };
        let (Some(envelope), Some(algorithm), Some(provider_name), Some(key_path)) = (
            envelope,
            self.text(algorithm, SYSNAME)?,
            self.text(provider_name, SYSNAME)?,
            self.text(key_path, MAX_KEY_PATH)?,
        ) else {
            return Err(ColumnCipherError::HiddenKey { column: self.column.clone() });
        };
        if envelope.len() > MAX_ENVELOPE {
            return Err(self.fault("the value of its key is longer than any there can be"));
        }
        Ok(EncryptedCekValue {
            envelope: envelope.into_owned(),
            provider_name,
            key_path,
            algorithm,
        })
    }

    fn text(
        &self,
        value: ColumnData<'static>,
        limit: usize,
    ) -> Result<Option<String>, ColumnCipherError> {
        match value {
            ColumnData::String(None) => Ok(None),
            ColumnData::String(Some(text)) if text.encode_utf16().count() <= limit => {
                Ok(Some(text.into_owned()))
            }
            ColumnData::String(Some(_)) => {
                Err(self.fault("a name is longer than any there can be"))
            }
            _ => Err(self.fault("a name is not text")),
        }
    }

    /// NULL is 0.
    fn integer(&self, value: &ColumnData<'static>) -> Result<i64, ColumnCipherError> {
        match value {
            ColumnData::U8(v) => Ok(v.unwrap_or(0).into()),
            ColumnData::I16(v) => Ok(v.unwrap_or(0).into()),
            ColumnData::I32(v) => Ok(v.unwrap_or(0).into()),
            ColumnData::I64(v) => Ok(v.unwrap_or(0)),
            _ => Err(self.fault("a number is not one")),
        }
    }

    fn fault(&self, what: &'static str) -> ColumnCipherError {
        ColumnCipherError::Catalogue { column: self.column.clone(), what }
    }
}

#[cfg(test)]
mod tests;
