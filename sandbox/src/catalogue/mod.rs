//! What the database holds besides rows: tables, columns, column master keys, column encryption keys and
//! procedures.
//! `store` keeps it in SQLite; `views` shows it as SQL Server's catalogue views.

pub(crate) mod constraints;
pub(crate) mod security;
pub(crate) mod store;
pub(crate) mod views;

use std::sync::Arc;

use sqlparser::ast::DataType;

use crate::error::{Result, SqlError};
use crate::exec::stored::StoredProcedure;
use crate::exec::table_type::{self, TableType};
use crate::sql::compound::NamedQuery;
use crate::sql::names::{self, QualifiedName};
use crate::tds::token::{CekEntry, CekValue, ColumnCrypto};
use crate::types::{Collation, SqlType};

pub(crate) const DATABASE_NAME: &str = "sandbox";
/// The first id that SQL Server gives to a user's database.
pub(crate) const DATABASE_ID: u32 = 5;
/// CEK versions never change in SQL Server; the metadata version does.
pub(crate) const CEK_VERSION: u32 = 1;
pub(crate) const ALGORITHM_NAME: &str = "AEAD_AES_256_CBC_HMAC_SHA_256";

/// DETERMINISTIC or RANDOMIZED, with the number each has on the wire and in `sys.columns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EncryptionType {
    Deterministic,
    Randomized,
}

impl EncryptionType {
    pub(crate) fn number(self) -> u8 {
        match self {
            EncryptionType::Deterministic => 1,
            EncryptionType::Randomized => 2,
        }
    }

    pub(crate) fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(EncryptionType::Deterministic),
            2 => Some(EncryptionType::Randomized),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            EncryptionType::Deterministic => "DETERMINISTIC",
            EncryptionType::Randomized => "RANDOMIZED",
        }
    }
}

/// How a column, or an encrypted parameter, is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encryption {
    pub(crate) kind: EncryptionType,
    pub(crate) cek_id: i32,
}

impl Encryption {
    pub(crate) fn on_wire(self) -> ColumnCrypto {
        ColumnCrypto { cek_id: self.cek_id, encryption_type: self.kind.number() }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) ty: SqlType,
    pub(crate) collation: Option<Collation>,
    pub(crate) nullable: bool,
    /// Seed and increment.
    pub(crate) identity: Option<(i64, i64)>,
    /// The constant of DEFAULT as T-SQL, to be bound anew by each INSERT.
    pub(crate) default: Option<String>,
    pub(crate) encryption: Option<Encryption>,
}

impl Column {
    pub(crate) fn collation(&self) -> Collation {
        self.collation.clone().unwrap_or_default()
    }

    /// The name under which SQLite knows the column.
    pub(crate) fn sqlite_name(&self) -> String {
        format!("c{}", self.id)
    }
}

/// The name under which SQLite knows a table: ids of temporary ones are negative.
pub(crate) fn sqlite_table(object_id: i64) -> String {
    if object_id < 0 { format!("t_{}", object_id.unsigned_abs()) } else { format!("t{object_id}") }
}

#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) object_id: i64,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
}

impl Table {
    pub(crate) fn sqlite_name(&self) -> String {
        sqlite_table(self.object_id)
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

/// A view, bound anew by each statement that uses it.
#[derive(Debug, Clone)]
pub(crate) struct StoredView {
    pub(crate) object_id: i64,
    pub(crate) schema: String,
    pub(crate) named: NamedQuery,
}

/// A constraint of a table. Columns are ids.
#[derive(Debug, Clone)]
pub(crate) struct Constraint {
    pub(crate) id: i64,
    pub(crate) object_id: i64,
    pub(crate) name: String,
    pub(crate) kind: ConstraintKind,
}

#[derive(Debug, Clone)]
pub(crate) enum ConstraintKind {
    /// PRIMARY KEY or UNIQUE, in SQLite the unique index `iN`.
    Key {
        primary: bool,
        columns: Vec<i64>,
    },
    Check {
        text: String,
    },
    ForeignKey {
        columns: Vec<i64>,
        parent: i64,
        parent_columns: Vec<i64>,
        on_delete: Action,
        on_update: Action,
    },
    /// A default that ALTER TABLE has added; the column has its value.
    Default {
        column: i64,
    },
}

/// What a foreign key does when the row that it refers to goes, or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Refuse,
    Cascade,
    SetNull,
    SetDefault,
}

impl Action {
    /// Number and name, as in sys.foreign_keys.
    const ALL: [(Action, &'static str); 4] = [
        (Action::Refuse, "NO ACTION"),
        (Action::Cascade, "CASCADE"),
        (Action::SetNull, "SET NULL"),
        (Action::SetDefault, "SET DEFAULT"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|known| known.0 == self).map_or("", |known| known.1)
    }

    pub(crate) fn number(self) -> i64 {
        (0i64..).zip(Self::ALL).find(|(_, known)| known.0 == self).map_or(0, |(n, _)| n)
    }

    /// On delete and on update, as the catalogue keeps them: `CASCADE/NO ACTION`.
    pub(crate) fn pair(text: &str) -> (Action, Action) {
        let (delete, update) = text.split_once('/').unwrap_or((text, ""));
        let read = |name: &str| {
            Self::ALL.iter().find(|known| known.1 == name).map_or(Action::Refuse, |known| known.0)
        };
        (read(delete), read(update))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct MasterKey {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) path: String,
    /// Of ENCLAVE_COMPUTATIONS.
    pub(crate) signature: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
pub(crate) struct EncryptionKeyValue {
    pub(crate) cmk_id: i32,
    pub(crate) algorithm: String,
    pub(crate) encrypted: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(crate) struct EncryptionKey {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) md_version: [u8; 8],
    pub(crate) values: Vec<EncryptionKeyValue>,
}

/// All of it, as one session sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue {
    pub(crate) tables: Vec<Table>,
    pub(crate) master_keys: Vec<MasterKey>,
    pub(crate) encryption_keys: Vec<EncryptionKey>,
    pub(crate) procedures: Vec<Arc<StoredProcedure>>,
    pub(crate) views: Vec<Arc<StoredView>>,
    pub(crate) constraints: Vec<Constraint>,
    /// Besides dbo and sys.
    pub(crate) schemas: Vec<String>,
    pub(crate) table_types: Vec<TableType>,
    /// Temporary tables of the session, and their constraints.
    pub(crate) temporary: Vec<i64>,
    /// What whoever looks may do.
    pub(crate) access: security::Access,
}

impl Catalogue {
    pub(crate) fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.tables
            .iter()
            .find(|t| t.name.eq_ignore_ascii_case(name) && t.schema.eq_ignore_ascii_case(schema))
    }

    pub(crate) fn procedure(&self, name: &QualifiedName) -> Option<&Arc<StoredProcedure>> {
        self.procedures.iter().find(|stored| {
            let known = &stored.procedure.name;
            known.name.eq_ignore_ascii_case(&name.name)
                && known.schema.eq_ignore_ascii_case(&name.schema)
        })
    }

    /// Whether anything has that name: tables and procedures share one space of names.
    pub(crate) fn is_object(&self, name: &QualifiedName) -> bool {
        self.table(&name.schema, &name.name).is_some()
            || self.procedure(name).is_some()
            || self.view(name).is_some()
    }

    /// The table type that DECLARE names, if it is one.
    pub(crate) fn variable_type(&self, data_type: &DataType) -> Option<&TableType> {
        match data_type {
            DataType::Custom(name, _) => {
                names::qualified(name).ok().and_then(|n| self.table_type(&n))
            }
            _ => None,
        }
    }

    pub(crate) fn table_type(&self, name: &QualifiedName) -> Option<&TableType> {
        self.table_types.iter().find(|known| table_type::same(&known.name, name))
    }

    /// The id and the schema's true name of what has an id and can be given permissions on.
    pub(crate) fn object(&self, name: &QualifiedName) -> Option<(i64, &str)> {
        if let Some(table) = self.table(&name.schema, &name.name) {
            return Some((table.object_id, &table.schema));
        }
        if let Some(procedure) = self.procedure(name) {
            return Some((procedure.object_id, &procedure.procedure.name.schema));
        }
        let view = self.views.iter().find(|view| {
            view.named.name.eq_ignore_ascii_case(&name.name)
                && view.schema.eq_ignore_ascii_case(&name.schema)
        });
        view.map(|view| (view.object_id, view.schema.as_str()))
    }

    /// ` WHERE ...`: which objects the session may see, by the SQLite expression of their ids: its temporary tables, or
    /// else those of the database, all of them or not.
    pub(crate) fn visible(&self, object_id: &str, temporary: bool) -> String {
        if temporary {
            let own: Vec<String> = self.temporary.iter().map(i64::to_string).collect();
            return format!(" WHERE {object_id} IN ({})", own.join(", "));
        }
        if self.access.owner {
            return format!(" WHERE {object_id} >= 0");
        }
        let tables = self.tables.iter().map(|table| (table.object_id, table.schema.as_str()));
        let views = self.views.iter().map(|view| (view.object_id, view.schema.as_str()));
        let procedures = self
            .procedures
            .iter()
            .map(|stored| (stored.object_id, stored.procedure.name.schema.as_str()));
        let mut seen: Vec<i64> = tables
            .chain(views)
            .chain(procedures)
            .filter(|(id, schema)| self.access.sees(*id, schema))
            .map(|(id, _)| id)
            .collect();
        let of_seen =
            self.constraints.iter().filter(|constraint| seen.contains(&constraint.object_id));
        let constraints: Vec<i64> = of_seen.map(|constraint| constraint.id).collect();
        seen.extend(constraints);
        let seen: Vec<String> = seen.iter().map(i64::to_string).collect();
        format!(" WHERE {object_id} IN ({})", seen.join(", "))
    }

    pub(crate) fn is_schema(&self, name: &str) -> bool {
        ["dbo", "sys"]
            .into_iter()
            .chain(self.schemas.iter().map(String::as_str))
            .any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Whether anything lives in the schema.
    pub(crate) fn is_used(&self, schema: &str) -> bool {
        let tables = self.tables.iter().map(|table| &table.schema);
        let views = self.views.iter().map(|view| &view.schema);
        let procedures = self.procedures.iter().map(|stored| &stored.procedure.name.schema);
        tables.chain(views).chain(procedures).any(|used| used.eq_ignore_ascii_case(schema))
    }

    pub(crate) fn view(&self, name: &QualifiedName) -> Option<Arc<StoredView>> {
        let same = |view: &&Arc<StoredView>| {
            view.named.name.eq_ignore_ascii_case(&name.name)
                && view.schema.eq_ignore_ascii_case(&name.schema)
        };
        self.views.iter().find(same).cloned()
    }

    pub(crate) fn master_key(&self, name: &str) -> Option<&MasterKey> {
        self.master_keys.iter().find(|key| key.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn encryption_key(&self, name: &str) -> Option<&EncryptionKey> {
        self.encryption_keys.iter().find(|key| key.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn encryption_key_by_id(&self, id: i32) -> Option<&EncryptionKey> {
        self.encryption_keys.iter().find(|key| key.id == id)
    }

    /// A CEK with the master key of each of its values, as describe and COLMETADATA carry it.
    pub(crate) fn cek_entry(&self, cek_id: i32) -> Result<CekEntry> {
        let lost = || SqlError::new(596, format!("The column encryption key {cek_id} is missing."));
        let key = self.encryption_key_by_id(cek_id).ok_or_else(lost)?;
        if !self.access.sees_keys() {
            return Err(SqlError::new(
                15151,
                format!(
                    "Cannot find the column encryption key '{}', because it does not exist or you do not have \
                     permission.",
                    key.name
                ),
            ));
        }
        let values = key.values.iter().map(|value| {
            let master = self
                .master_keys
                .iter()
                .find(|master| master.id == value.cmk_id)
                .ok_or_else(lost)?;
            Ok(CekValue {
                encrypted: value.encrypted.clone(),
                provider: master.provider.clone(),
                path: master.path.clone(),
                algorithm: value.algorithm.clone(),
            })
        });
        Ok(CekEntry {
            database_id: DATABASE_ID,
            cek_id,
            version: CEK_VERSION,
            md_version: key.md_version,
            values: values.collect::<Result<_>>()?,
        })
    }

    /// `(encryption_type = ...)` as the messages of SQL Server have it.
    pub(crate) fn describe_encryption(&self, encryption: Option<Encryption>) -> String {
        let Some(encryption) = encryption else {
            return "(encryption_type = 'PLAINTEXT')".to_owned();
        };
        let key = self.encryption_key_by_id(encryption.cek_id).map_or("?", |key| key.name.as_str());
        format!(
            "(encryption_type = '{}', encryption_algorithm_name = '{ALGORITHM_NAME}', column_encryption_key_name = \
             '{key}', column_encryption_key_database_name = '{DATABASE_NAME}')",
            encryption.kind.name()
        )
    }
}
