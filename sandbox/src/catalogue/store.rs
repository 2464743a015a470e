//! The catalogue in SQLite, beside the rows, so that one transaction covers both and a file keeps all of it.
//!
//! A user's table `n` is the SQLite table `tN`, with a column `cM` for each of its columns; names live here only.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::{Connection, OptionalExtension, params};

pub(crate) use crate::catalogue::constraints::{
    delete as delete_constraint, insert as insert_constraint,
};
use crate::catalogue::{
    Catalogue, Column, Encryption, EncryptionKey, EncryptionKeyValue, EncryptionType, MasterKey,
    StoredView, Table, sqlite_table,
};
use crate::catalogue::{constraints, security};
use crate::error::{Result, SqlError};
use crate::exec::{stored, table_type, view};
use crate::sql::procedure::Procedure;
use crate::types::{Collation, parse};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tables (
    object_id INTEGER PRIMARY KEY, schema_name TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE,
    created INTEGER NOT NULL, UNIQUE (schema_name, name));
CREATE TABLE IF NOT EXISTS columns (
    object_id INTEGER NOT NULL, column_id INTEGER NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, collation TEXT,
    nullable INTEGER NOT NULL, identity_seed INTEGER, identity_increment INTEGER, identity_last INTEGER,
    default_value TEXT, encryption_type INTEGER, cek_id INTEGER, PRIMARY KEY (object_id, column_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS indexes (
    object_id INTEGER NOT NULL, name TEXT NOT NULL COLLATE NOCASE, id INTEGER NOT NULL DEFAULT 0,
    is_unique INTEGER NOT NULL DEFAULT 0, columns TEXT NOT NULL DEFAULT '', PRIMARY KEY (object_id, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS master_keys (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, provider TEXT NOT NULL, path TEXT NOT NULL,
    signature BLOB, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS encryption_keys (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, md_version BLOB NOT NULL,
    created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS encryption_key_values (
    cek_id INTEGER NOT NULL, cmk_id INTEGER NOT NULL, algorithm TEXT NOT NULL, encrypted BLOB NOT NULL,
    ordinal INTEGER NOT NULL, PRIMARY KEY (cek_id, cmk_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS procedures (
    object_id INTEGER PRIMARY KEY, schema_name TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE,
    text TEXT NOT NULL, created INTEGER NOT NULL, UNIQUE (schema_name, name));
CREATE TABLE IF NOT EXISTS parameters (
    object_id INTEGER NOT NULL, parameter_id INTEGER NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL,
    is_output INTEGER NOT NULL, has_default INTEGER NOT NULL, encryption_type INTEGER, cek_id INTEGER,
    PRIMARY KEY (object_id, parameter_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS views (
    object_id INTEGER PRIMARY KEY, schema_name TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE,
    text TEXT NOT NULL, created INTEGER NOT NULL, UNIQUE (schema_name, name));
CREATE TABLE IF NOT EXISTS constraints (
    id INTEGER PRIMARY KEY, object_id INTEGER NOT NULL, name TEXT NOT NULL UNIQUE COLLATE NOCASE, kind TEXT NOT NULL,
    columns TEXT NOT NULL, text TEXT NOT NULL, parent INTEGER NOT NULL, parent_columns TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS schemas (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE);
INSERT OR IGNORE INTO meta VALUES ('generation', 0), ('next_id', 0), ('row_version', 2000);
";

/// Object ids begin where SQL Server's look like those of user objects.
const FIRST_OBJECT_ID: i64 = 901_578_250;
/// Generations never repeat in one process, so that a rolled-back one cannot be taken for a later one.
static GENERATION: AtomicI64 = AtomicI64::new(1);

pub(crate) fn initialise(connection: &Connection) -> Result<()> {
    let new = !is_table(connection, "permissions")?;
    connection.execute_batch(SCHEMA)?;
    // A file of before indexes had columns.
    if connection.prepare("SELECT columns FROM indexes").is_err() {
        connection.execute_batch(
            "ALTER TABLE indexes ADD COLUMN id INTEGER NOT NULL DEFAULT 0;
             ALTER TABLE indexes ADD COLUMN is_unique INTEGER NOT NULL DEFAULT 0;
             ALTER TABLE indexes ADD COLUMN columns TEXT NOT NULL DEFAULT '';",
        )?;
    }
    connection.execute_batch(security::SCHEMA)?;
    connection.execute_batch(table_type::SCHEMA)?;
    if new {
        connection.execute_batch(security::FIRST_GRANTS)?;
    }
    // What a process that was killed has left behind.
    for id in
        collect(connection, "SELECT object_id FROM tables WHERE object_id < 0", None, |row| {
            row.get::<_, i64>(0)
        })?
    {
        let name = sqlite_table(id);
        connection.execute(&format!("DROP TABLE IF EXISTS {name}"), [])?;
        delete_table(connection, id)?;
    }
    let stored = generation(connection)?;
    GENERATION.fetch_max(stored.saturating_add(1), Ordering::SeqCst);
    Ok(())
}

fn is_table(connection: &Connection, name: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1";
    Ok(connection.query_row(sql, [name], |_| Ok(())).optional()?.is_some())
}

/// The last row version, as far as transactions that were committed have used them.
pub(crate) fn row_version(connection: &Connection) -> Result<i64> {
    let sql = "SELECT value FROM meta WHERE key = 'row_version'";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

pub(crate) fn set_row_version(connection: &Connection, version: i64) -> Result<()> {
    connection.execute("UPDATE meta SET value = ?1 WHERE key = 'row_version'", [version])?;
    Ok(())
}

pub(crate) fn generation(connection: &Connection) -> Result<i64> {
    let mut statement =
        connection.prepare_cached("SELECT value FROM meta WHERE key = 'generation'")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Must follow every change, in the same transaction.
pub(crate) fn changed(connection: &Connection) -> Result<()> {
    let next = GENERATION.fetch_add(1, Ordering::SeqCst);
    connection.execute("UPDATE meta SET value = ?1 WHERE key = 'generation'", [next])?;
    Ok(())
}

pub(crate) fn next_id(connection: &Connection) -> Result<i64> {
    connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'next_id'", [])?;
    Ok(connection
        .query_row("SELECT value FROM meta WHERE key = 'next_id'", [], |row| row.get(0))?)
}

pub(crate) fn next_object_id(connection: &Connection) -> Result<i64> {
    Ok(FIRST_OBJECT_ID.saturating_add(next_id(connection)?))
}

pub(crate) fn collect<T>(
    connection: &Connection,
    sql: &str,
    id: Option<i64>,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = match id {
        Some(id) => statement.query_map([id], read)?.collect::<rusqlite::Result<Vec<T>>>()?,
        None => statement.query_map([], read)?.collect::<rusqlite::Result<Vec<T>>>()?,
    };
    Ok(rows)
}

pub(crate) fn load(connection: &Connection) -> Result<Catalogue> {
    let mut tables = collect(
        connection,
        "SELECT object_id, schema_name, name FROM tables ORDER BY object_id",
        None,
        |row| {
            Ok(Table {
                object_id: row.get(0)?,
                schema: row.get(1)?,
                name: row.get(2)?,
                columns: Vec::new(),
            })
        },
    )?;
    for table in &mut tables {
        table.columns = load_columns(connection, table.object_id)?;
    }
    let master_keys = collect(
        connection,
        "SELECT id, name, provider, path, signature FROM master_keys ORDER BY id",
        None,
        |row| {
            Ok(MasterKey {
                id: row.get(0)?,
                name: row.get(1)?,
                provider: row.get(2)?,
                path: row.get(3)?,
                signature: row.get(4)?,
            })
        },
    )?;
    let mut encryption_keys = collect(
        connection,
        "SELECT id, name, md_version FROM encryption_keys ORDER BY id",
        None,
        |row| {
            Ok(EncryptionKey {
                id: row.get(0)?,
                name: row.get(1)?,
                md_version: row.get(2)?,
                values: Vec::new(),
            })
        },
    )?;
    for key in &mut encryption_keys {
        let sql = "SELECT cmk_id, algorithm, encrypted FROM encryption_key_values WHERE cek_id = ?1 ORDER BY ordinal";
        key.values = collect(connection, sql, Some(i64::from(key.id)), |row| {
            Ok(EncryptionKeyValue {
                cmk_id: row.get(0)?,
                algorithm: row.get(1)?,
                encrypted: row.get(2)?,
            })
        })?;
    }
    let texts = collect(
        connection,
        "SELECT object_id, text FROM procedures ORDER BY object_id",
        None,
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
    )?;
    let procedures = texts
        .iter()
        .map(|(object_id, text)| stored::read(*object_id, text).map(Arc::new))
        .collect::<Result<Vec<_>>>()?;
    let texts =
        collect(connection, "SELECT object_id, text FROM views ORDER BY object_id", None, |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })?;
    let views = texts
        .iter()
        .map(|(object_id, text)| view::read(*object_id, text).map(Arc::new))
        .collect::<Result<Vec<_>>>()?;
    let constraints = constraints::load(connection)?;
    let schemas = collect(connection, "SELECT name FROM schemas", None, |row| row.get(0))?;
    let access = security::Access::default();
    Ok(Catalogue {
        tables,
        master_keys,
        encryption_keys,
        procedures,
        views,
        constraints,
        schemas,
        access,
        table_types: table_type::load(connection)?,
        temporary: Vec::new(),
    })
}

/// A column with its type and collation still as text.
type RawColumn = (Column, String, Option<String>);

fn load_columns(connection: &Connection, object_id: i64) -> Result<Vec<Column>> {
    let sql = "SELECT column_id, name, type, collation, nullable, identity_seed, identity_increment, default_value, \
               encryption_type, cek_id FROM columns WHERE object_id = ?1 ORDER BY column_id";
    let raw: Vec<RawColumn> = collect(connection, sql, Some(object_id), |row| {
        let identity: (Option<i64>, Option<i64>) = (row.get(5)?, row.get(6)?);
        let kind = row.get::<_, Option<i64>>(8)?.and_then(EncryptionType::from_number);
        let column = Column {
            id: row.get(0)?,
            name: row.get(1)?,
            ty: crate::types::SqlType::Bit,
            collation: None,
            nullable: row.get(4)?,
            identity: identity.0.zip(identity.1),
            default: row.get(7)?,
            encryption: kind.zip(row.get(9)?).map(|(kind, cek_id)| Encryption { kind, cek_id }),
        };
        Ok((column, row.get(2)?, row.get(3)?))
    })?;
    raw.into_iter()
        .map(|(mut column, ty, collation)| {
            let lost = || SqlError::new(596, "The sandbox's catalogue is damaged.");
            column.ty = parse::declarations(&format!("@c {ty}"))?.first().ok_or_else(lost)?.ty;
            column.collation = collation.as_deref().map(Collation::parse).transpose()?;
            Ok(column)
        })
        .collect()
}

pub(crate) fn insert_table(connection: &Connection, table: &Table, created: i64) -> Result<()> {
    connection.execute(
        "INSERT INTO tables VALUES (?1, ?2, ?3, ?4)",
        params![table.object_id, table.schema, table.name, created],
    )?;
    for column in &table.columns {
        insert_column(connection, table.object_id, column)?;
    }
    changed(connection)
}

pub(crate) fn insert_column(
    connection: &Connection,
    object_id: i64,
    column: &Column,
) -> Result<()> {
    connection.execute(
        "INSERT INTO columns VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, ?9, ?10, ?11)",
        params![
            object_id,
            column.id,
            column.name,
            column.ty.to_string(),
            column.collation.as_ref().map(|collation| collation.name.as_str()),
            column.nullable,
            column.identity.map(|(seed, _)| seed),
            column.identity.map(|(_, increment)| increment),
            column.default,
            column.encryption.map(|encryption| encryption.kind.number()),
            column.encryption.map(|encryption| encryption.cek_id),
        ],
    )?;
    changed(connection)
}

pub(crate) fn delete_column(connection: &Connection, object_id: i64, id: i64) -> Result<()> {
    connection
        .execute("DELETE FROM columns WHERE object_id = ?1 AND column_id = ?2", [object_id, id])?;
    changed(connection)
}

pub(crate) fn set_default(
    connection: &Connection,
    object_id: i64,
    id: i64,
    default: Option<&str>,
) -> Result<()> {
    connection.execute(
        "UPDATE columns SET default_value = ?3 WHERE object_id = ?1 AND column_id = ?2",
        params![object_id, id, default],
    )?;
    changed(connection)
}

pub(crate) fn delete_table(connection: &Connection, object_id: i64) -> Result<()> {
    for table in ["tables", "columns", "indexes", "constraints"] {
        connection.execute(&format!("DELETE FROM {table} WHERE object_id = ?1"), [object_id])?;
    }
    security::forget_object(connection, object_id)?;
    changed(connection)
}

pub(crate) fn identity_last(connection: &Connection, object_id: i64) -> Result<Option<i64>> {
    let sql =
        "SELECT identity_last FROM columns WHERE object_id = ?1 AND identity_seed IS NOT NULL";
    Ok(connection.query_row(sql, [object_id], |row| row.get(0)).optional()?.flatten())
}

pub(crate) fn set_identity_last(connection: &Connection, object_id: i64, last: i64) -> Result<()> {
    connection.execute(
        "UPDATE columns SET identity_last = ?2 WHERE object_id = ?1 AND identity_seed IS NOT NULL",
        [object_id, last],
    )?;
    Ok(())
}

/// How the type of a parameter that is a table begins, before the id of its table type.
const TABLE_TYPE: &str = "table:";

/// With the encryption of its parameters, as far as its body tells.
pub(crate) fn insert_procedure(
    connection: &Connection,
    object_id: i64,
    procedure: &Procedure,
    schemes: &[Option<Encryption>],
    types: &[table_type::TableType],
    text: &str,
    created: i64,
) -> Result<()> {
    connection.execute(
        "INSERT INTO procedures VALUES (?1, ?2, ?3, ?4, ?5)",
        params![object_id, procedure.name.schema, procedure.name.name, text, created],
    )?;
    for (id, (parameter, scheme)) in (1i64..).zip(procedure.parameters.iter().zip(schemes)) {
        connection.execute(
            "INSERT INTO parameters VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                object_id,
                id,
                parameter.name,
                match parameter.table.as_ref().and_then(|table| types
                    .iter()
                    .find(|known| table_type::same(&known.name, table)))
                {
                    Some(known) => format!("{TABLE_TYPE}{}", known.id),
                    None => parameter.ty.to_string(),
                },
                parameter.output,
                parameter.default.is_some(),
                scheme.map(|scheme| scheme.kind.number()),
                scheme.map(|scheme| scheme.cek_id),
            ],
        )?;
    }
    changed(connection)
}

pub(crate) fn delete_procedure(connection: &Connection, object_id: i64) -> Result<()> {
    for table in ["procedures", "parameters"] {
        connection.execute(&format!("DELETE FROM {table} WHERE object_id = ?1"), [object_id])?;
    }
    changed(connection)
}

/// The first id that SQL Server gives to a user's schema.
const FIRST_SCHEMA_ID: i64 = 5;

pub(crate) fn insert_schema(connection: &Connection, name: &str) -> Result<()> {
    connection.execute(
        "INSERT INTO schemas SELECT coalesce(max(id) + 1, ?1), ?2 FROM schemas",
        params![FIRST_SCHEMA_ID, name],
    )?;
    changed(connection)
}

pub(crate) fn delete_schema(connection: &Connection, name: &str) -> Result<()> {
    connection.execute("DELETE FROM schemas WHERE name = ?1", [name])?;
    changed(connection)
}

pub(crate) fn insert_view(
    connection: &Connection,
    view: &StoredView,
    text: &str,
    created: i64,
) -> Result<()> {
    connection.execute(
        "INSERT INTO views VALUES (?1, ?2, ?3, ?4, ?5)",
        params![view.object_id, view.schema, view.named.name, text, created],
    )?;
    changed(connection)
}

pub(crate) fn delete_view(connection: &Connection, object_id: i64) -> Result<()> {
    for table in ["views", "columns"] {
        connection.execute(&format!("DELETE FROM {table} WHERE object_id = ?1"), [object_id])?;
    }
    changed(connection)
}

/// An index that is not a key's.
#[derive(Debug)]
pub(crate) struct Index<'a> {
    pub(crate) id: i64,
    pub(crate) name: &'a str,
    pub(crate) unique: bool,
    pub(crate) columns: &'a [i64],
}

/// Inserts the index; false if the table has one of that name.
pub(crate) fn insert_index(
    connection: &Connection,
    object_id: i64,
    index: &Index<'_>,
) -> Result<bool> {
    let inserted = connection.execute(
        "INSERT OR IGNORE INTO indexes VALUES (?1, ?2, ?3, ?4, ?5)",
        params![object_id, index.name, index.id, index.unique, constraints::joined(index.columns)],
    )?;
    changed(connection)?;
    Ok(inserted == 1)
}

pub(crate) fn insert_master_key(
    connection: &Connection,
    key: &MasterKey,
    created: i64,
) -> Result<()> {
    connection.execute(
        "INSERT INTO master_keys VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![key.id, key.name, key.provider, key.path, key.signature, created],
    )?;
    changed(connection)
}

pub(crate) fn delete_master_key(connection: &Connection, id: i32) -> Result<()> {
    connection.execute("DELETE FROM master_keys WHERE id = ?1", [id])?;
    changed(connection)
}

pub(crate) fn insert_encryption_key(
    connection: &Connection,
    key: &EncryptionKey,
    created: i64,
) -> Result<()> {
    connection.execute(
        "INSERT INTO encryption_keys VALUES (?1, ?2, ?3, ?4)",
        params![key.id, key.name, key.md_version, created],
    )?;
    replace_values(connection, key)
}

/// After ADD VALUE or DROP VALUE.
pub(crate) fn update_encryption_key(connection: &Connection, key: &EncryptionKey) -> Result<()> {
    connection.execute(
        "UPDATE encryption_keys SET md_version = ?2 WHERE id = ?1",
        params![key.id, key.md_version],
    )?;
    replace_values(connection, key)
}

fn replace_values(connection: &Connection, key: &EncryptionKey) -> Result<()> {
    connection.execute("DELETE FROM encryption_key_values WHERE cek_id = ?1", [key.id])?;
    for (ordinal, value) in (0i64..).zip(&key.values) {
        connection.execute(
            "INSERT INTO encryption_key_values VALUES (?1, ?2, ?3, ?4, ?5)",
            params![key.id, value.cmk_id, value.algorithm, value.encrypted, ordinal],
        )?;
    }
    changed(connection)
}

pub(crate) fn delete_encryption_key(connection: &Connection, id: i32) -> Result<()> {
    connection.execute("DELETE FROM encryption_key_values WHERE cek_id = ?1", [id])?;
    connection.execute("DELETE FROM encryption_keys WHERE id = ?1", [id])?;
    changed(connection)
}
