//! CREATE TABLE, CREATE INDEX, DROP, TRUNCATE, and the statements on keys.

use sqlparser::ast::{
    ColumnDef, ColumnOption, CreateIndex, CreateTable, Expr, IdentityPropertyFormatKind,
    IdentityPropertyKind, IndexColumn, ObjectType, Statement as SqlStatement, TableConstraint,
    UnaryOperator,
};

use crate::catalogue::{
    ALGORITHM_NAME, Column, Encryption, EncryptionKey, EncryptionKeyValue, EncryptionType,
    MasterKey, Table, store,
};
use crate::error::{Result, SqlError};
use crate::exec::session::Session;
use crate::sql::keys::{self, KeyStatement, KeyValue};
use crate::sql::names;
use crate::types::temporal::now_utc;
use crate::types::{Collation, Family, SqlType, storage};

/// A primary or unique key: ids of its columns.
struct Key {
    primary: bool,
    columns: Vec<i64>,
}

const MAX_CEK_VALUES: usize = 2;

impl Session {
    pub(crate) fn run_ddl(&mut self, statement: &SqlStatement) -> Result<()> {
        // The lock has been taken since the last look.
        self.refresh()?;
        match statement {
            SqlStatement::CreateTable(create) => self.create_table(create),
            SqlStatement::CreateIndex(create) => self.create_index(create),
            SqlStatement::Drop {
                object_type: ObjectType::Table,
                if_exists,
                names,
                ..
            } => {
                for name in names {
                    let name = names::qualified(name)?;
                    match self.catalogue.table(&name.schema, &name.name).cloned() {
                        Some(table) => self.drop_table(&table)?,
                        None if *if_exists => {}
                        None => {
                            return Err(SqlError::new(
                                3701,
                                format!(
                                    "Cannot drop the table '{}', because it does not exist or you do not have \
                                     permission.",
                                    name.name
                                ),
                            )
                            .class(11));
                        }
                    }
                }
                Ok(())
            }
            SqlStatement::Drop { object_type, .. } => {
                Err(SqlError::unsupported(format!("DROP {object_type}")))
            }
            SqlStatement::Truncate(truncate) => {
                for target in &truncate.table_names {
                    let name = names::qualified(&target.name)?;
                    let table = self
                        .catalogue
                        .table(&name.schema, &name.name)
                        .ok_or_else(|| SqlError::invalid_object(&name.name))?;
                    self.connection
                        .execute(&format!("DELETE FROM {}", table.sqlite_name()), [])?;
                    self.connection.execute(
                        "UPDATE columns SET identity_last = NULL WHERE object_id = ?1",
                        [table.object_id],
                    )?;
                }
                Ok(())
            }
            _ => Err(SqlError::unsupported("this statement")),
        }
    }

    fn drop_table(&mut self, table: &Table) -> Result<()> {
        self.connection
            .execute(&format!("DROP TABLE {}", table.sqlite_name()), [])?;
        store::delete_table(&self.connection, table.object_id)
    }

    fn create_table(&mut self, create: &CreateTable) -> Result<()> {
        check_create(create)?;
        let name = names::qualified(&create.name)?;
        if !name.schema.eq_ignore_ascii_case("dbo") {
            return Err(SqlError::new(
                2760,
                format!(
                    "The specified schema name \"{}\" either does not exist or you do not have permission to use it.",
                    name.schema
                ),
            ));
        }
        if self.catalogue.table(&name.schema, &name.name).is_some() {
            return Err(SqlError::new(
                2714,
                format!(
                    "There is already an object named '{}' in the database.",
                    name.name
                ),
            ));
        }
        let mut columns: Vec<Column> = Vec::new();
        let mut keys: Vec<Key> = Vec::new();
        for (id, definition) in (1i64..).zip(&create.columns) {
            let column = self.column(id, definition, &mut keys)?;
            if columns
                .iter()
                .any(|known| known.name.eq_ignore_ascii_case(&column.name))
            {
                return Err(SqlError::new(
                    2705,
                    format!(
                        "Column names in each table must be unique. Column name '{}' in table '{}' is specified more \
                         than once.",
                        column.name, name.name
                    ),
                ));
            }
            columns.push(column);
        }
        for constraint in &create.constraints {
            keys.push(table_key(constraint, &columns)?);
        }
        finish_keys(&keys, &mut columns)?;
        if columns
            .iter()
            .filter(|column| column.identity.is_some())
            .count()
            > 1
        {
            return Err(SqlError::new(
                2744,
                "Multiple identity columns specified for table. Only one identity column per table is allowed.",
            ));
        }
        let object_id = store::next_object_id(&self.connection)?;
        let table = Table {
            object_id,
            schema: "dbo".to_owned(),
            name: name.name,
            columns,
        };
        self.connection.execute_batch(&create_sql(&table, &keys))?;
        store::insert_table(&self.connection, &table, now_utc())
    }

    fn column(&self, id: i64, definition: &ColumnDef, keys: &mut Vec<Key>) -> Result<Column> {
        let mut column = Column {
            id,
            name: definition.name.value.clone(),
            ty: SqlType::from_ast(&definition.data_type)?,
            collation: None,
            nullable: true,
            identity: None,
            default: None,
            encryption: None,
        };
        let mut checked = false;
        for option in &definition.options {
            match &option.option {
                ColumnOption::Null => column.nullable = true,
                ColumnOption::NotNull => column.nullable = false,
                ColumnOption::Collation(name) => {
                    if !column.ty.is_text() {
                        return Err(SqlError::new(
                            452,
                            "COLLATE clause cannot be used on this data type.",
                        ));
                    }
                    column.collation = Some(Collation::parse(&names::last(name)?)?);
                }
                ColumnOption::Default(expr) => column.default = Some(constant(expr)?),
                ColumnOption::PrimaryKey(_) => keys.push(Key {
                    primary: true,
                    columns: vec![id],
                }),
                ColumnOption::Unique(_) => keys.push(Key {
                    primary: false,
                    columns: vec![id],
                }),
                ColumnOption::Identity(kind) => column.identity = Some(identity(kind)?),
                ColumnOption::DialectSpecific(tokens) => {
                    column.encryption = Some(self.encryption(tokens)?)
                }
                ColumnOption::Check(_) => checked = true,
                other => return Err(SqlError::unsupported(format!("the column option {other}"))),
            }
        }
        if column.encryption.is_some() {
            check_encrypted(&column, checked)?;
        } else if checked {
            return Err(SqlError::unsupported("CHECK constraints"));
        }
        check_identity(&mut column)?;
        if column.ty.is_text() && column.collation.is_none() {
            column.collation = Some(Collation::default());
        }
        Ok(column)
    }

    /// What ENCRYPTED WITH means.
    fn encryption(&self, tokens: &[sqlparser::tokenizer::Token]) -> Result<Encryption> {
        let with = keys::encrypted_with(tokens)?;
        if !with.algorithm.eq_ignore_ascii_case(ALGORITHM_NAME) {
            return Err(SqlError::new(
                33291,
                format!(
                    "Encryption algorithm '{}' is not valid. Use {ALGORITHM_NAME}.",
                    with.algorithm
                ),
            ));
        }
        let kind = match with.kind.to_ascii_uppercase().as_str() {
            "DETERMINISTIC" => EncryptionType::Deterministic,
            "RANDOMIZED" => EncryptionType::Randomized,
            other => return Err(SqlError::syntax(other)),
        };
        let key = self
            .catalogue
            .encryption_key(&with.key)
            .ok_or_else(|| no_encryption_key(&with.key))?;
        Ok(Encryption {
            kind,
            cek_id: key.id,
        })
    }

    fn create_index(&mut self, create: &CreateIndex) -> Result<()> {
        let odd = create.predicate.is_some()
            || create.if_not_exists
            || create.concurrently
            || create.r#async
            || create.nulls_distinct.is_some();
        if odd {
            return Err(SqlError::unsupported("this form of CREATE INDEX"));
        }
        let name = create
            .name
            .as_ref()
            .ok_or_else(|| SqlError::syntax("INDEX"))
            .and_then(names::last)?;
        let table_name = names::qualified(&create.table_name)?;
        let table = self
            .catalogue
            .table(&table_name.schema, &table_name.name)
            .cloned()
            .ok_or_else(|| SqlError::new(1088, format!("Cannot find the object \"{}\" because it does not exist or you do not have permissions.", table_name.name)))?;
        let ids = key_columns(&create.columns, &table.columns)?;
        check_indexable(&ids, &table.columns)?;
        if !store::insert_index(&self.connection, table.object_id, &name)? {
            return Err(SqlError::new(
                1913,
                format!(
                    "The operation failed because an index or statistics with name '{name}' already exists on table '{}'.",
                    table.name
                ),
            ));
        }
        let columns: Vec<String> = ids.iter().map(|id| format!("c{id}")).collect();
        let id = store::next_id(&self.connection)?;
        let unique = if create.unique { "UNIQUE " } else { "" };
        let sql = format!(
            "CREATE {unique}INDEX i{id} ON {} ({})",
            table.sqlite_name(),
            columns.join(", ")
        );
        self.connection.execute(&sql, []).map_err(|error| {
            if error.to_string().contains("UNIQUE constraint failed") {
                SqlError::new(1505, format!("The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name 'dbo.{}' and the index name '{name}'.", table.name))
            } else {
                error.into()
            }
        })?;
        Ok(())
    }

    pub(crate) fn run_key_statement(&mut self, statement: &KeyStatement) -> Result<()> {
        self.refresh()?;
        match statement {
            KeyStatement::CreateMaster {
                name,
                provider,
                path,
                signature,
            } => {
                if self.catalogue.master_key(name).is_some() {
                    return Err(duplicate("column master key", name));
                }
                let id = new_key_id(&self.connection, "master_keys")?;
                let (provider, path, signature) =
                    (provider.clone(), path.clone(), signature.clone());
                let key = MasterKey {
                    id,
                    name: name.clone(),
                    provider,
                    path,
                    signature,
                };
                store::insert_master_key(&self.connection, &key, now_utc())
            }
            KeyStatement::CreateEncryption { name, values } => {
                if self.catalogue.encryption_key(name).is_some() {
                    return Err(duplicate("column encryption key", name));
                }
                let id = new_key_id(&self.connection, "encryption_keys")?;
                let mut key = EncryptionKey {
                    id,
                    name: name.clone(),
                    md_version: self.md_version()?,
                    values: Vec::new(),
                };
                for value in values {
                    self.add_value(&mut key, value)?;
                }
                store::insert_encryption_key(&self.connection, &key, now_utc())
            }
            KeyStatement::AddValue { name, value } => {
                let mut key = self
                    .catalogue
                    .encryption_key(name)
                    .cloned()
                    .ok_or_else(|| no_encryption_key(name))?;
                self.add_value(&mut key, value)?;
                key.md_version = self.md_version()?;
                store::update_encryption_key(&self.connection, &key)
            }
            KeyStatement::DropValue { name, master } => self.drop_value(name, master),
            KeyStatement::DropMaster { name } => self.drop_master_key(name),
            KeyStatement::DropEncryption { name } => self.drop_encryption_key(name),
        }
    }

    /// Like a rowversion: never the same twice.
    fn md_version(&self) -> Result<[u8; 8]> {
        let count = store::next_id(&self.connection)?;
        let ticks = now_utc().wrapping_add(count);
        Ok(ticks.to_le_bytes())
    }

    fn add_value(&self, key: &mut EncryptionKey, value: &KeyValue) -> Result<()> {
        let master = self
            .catalogue
            .master_key(&value.master)
            .ok_or_else(|| no_master_key(&value.master))?;
        if !value.algorithm.eq_ignore_ascii_case("RSA_OAEP") {
            return Err(SqlError::unsupported(format!(
                "the key encryption algorithm {}",
                value.algorithm
            )));
        }
        if value.encrypted.is_empty() || value.encrypted.len() > 8000 {
            return Err(SqlError::new(
                8152,
                "String or binary data would be truncated.",
            ));
        }
        if key.values.iter().any(|known| known.cmk_id == master.id) {
            return Err(SqlError::new(
                33285,
                format!(
                    "The column encryption key '{}' already has a value for the column master key '{}'.",
                    key.name, master.name
                ),
            ));
        }
        if key.values.len() >= MAX_CEK_VALUES {
            return Err(SqlError::new(
                33286,
                format!(
                    "The column encryption key '{}' cannot have more than {MAX_CEK_VALUES} values.",
                    key.name
                ),
            ));
        }
        key.values.push(EncryptionKeyValue {
            cmk_id: master.id,
            algorithm: "RSA_OAEP".to_owned(),
            encrypted: value.encrypted.clone(),
        });
        Ok(())
    }

    fn drop_value(&mut self, name: &str, master: &str) -> Result<()> {
        let mut key = self
            .catalogue
            .encryption_key(name)
            .cloned()
            .ok_or_else(|| no_encryption_key(name))?;
        let master_id = self
            .catalogue
            .master_key(master)
            .ok_or_else(|| no_master_key(master))?
            .id;
        let at = key.values.iter().position(|value| value.cmk_id == master_id).ok_or_else(|| {
            SqlError::new(
                33287,
                format!("The column encryption key '{}' has no value for the column master key '{master}'.", key.name),
            )
        })?;
        if key.values.len() == 1 {
            return Err(SqlError::new(
                33288,
                format!(
                    "The only value of the column encryption key '{}' cannot be dropped.",
                    key.name
                ),
            ));
        }
        key.values.remove(at);
        key.md_version = self.md_version()?;
        store::update_encryption_key(&self.connection, &key)
    }

    fn drop_master_key(&mut self, name: &str) -> Result<()> {
        let id = self
            .catalogue
            .master_key(name)
            .ok_or_else(|| no_master_key(name))?
            .id;
        let user = self
            .catalogue
            .encryption_keys
            .iter()
            .find(|key| key.values.iter().any(|v| v.cmk_id == id));
        if let Some(user) = user {
            return Err(SqlError::new(
                33280,
                format!(
                    "Cannot drop column master key '{name}' because it encrypts column encryption key '{}'.",
                    user.name
                ),
            ));
        }
        store::delete_master_key(&self.connection, id)
    }

    fn drop_encryption_key(&mut self, name: &str) -> Result<()> {
        let id = self
            .catalogue
            .encryption_key(name)
            .ok_or_else(|| no_encryption_key(name))?
            .id;
        let uses = |table: &&Table| {
            table
                .columns
                .iter()
                .any(|c| c.encryption.is_some_and(|e| e.cek_id == id))
        };
        if let Some(table) = self.catalogue.tables.iter().find(uses) {
            return Err(SqlError::new(
                33281,
                format!(
                    "Cannot drop column encryption key '{name}' because it encrypts columns of table '{}'.",
                    table.name
                ),
            ));
        }
        store::delete_encryption_key(&self.connection, id)
    }
}

fn duplicate(what: &str, name: &str) -> SqlError {
    SqlError::new(
        33278,
        format!("There is already a {what} named '{name}' in the database."),
    )
}

fn no_encryption_key(name: &str) -> SqlError {
    SqlError::new(
        33283,
        format!(
            "Cannot find column encryption key '{name}', because it does not exist or you do not have permission."
        ),
    )
}

fn no_master_key(name: &str) -> SqlError {
    SqlError::new(
        33279,
        format!(
            "Cannot find column master key '{name}', because it does not exist or you do not have permission."
        ),
    )
}

/// Ids are not used again, so a stale trailer cannot name another key by accident.
fn new_key_id(connection: &rusqlite::Connection, table: &str) -> Result<i32> {
    let next: i64 = connection.query_row(
        &format!("SELECT coalesce(max(id), 0) + 1 FROM {table}"),
        [],
        |row| row.get(0),
    )?;
    let unique = store::next_id(connection)?.max(next);
    i32::try_from(unique).map_err(|_| SqlError::overflow("int"))
}

fn check_create(create: &CreateTable) -> Result<()> {
    let odd = create.temporary
        || create.or_replace
        || create.external
        || create.if_not_exists
        || create.query.is_some()
        || create.like.is_some()
        || create.clone.is_some()
        || create.partition_by.is_some()
        || create.inherits.is_some();
    if odd || create.columns.is_empty() {
        Err(SqlError::unsupported("this form of CREATE TABLE"))
    } else {
        Ok(())
    }
}

/// Restrictions on encrypted columns.
fn check_encrypted(column: &Column, checked: bool) -> Result<()> {
    let name = &column.name;
    let deterministic = column
        .encryption
        .is_some_and(|e| e.kind == EncryptionType::Deterministic);
    if deterministic
        && column.ty.is_text()
        && !column
            .collation
            .as_ref()
            .is_some_and(|collation| collation.bin2)
    {
        return Err(SqlError::new(
            33289,
            format!(
                "Cannot create encrypted column '{name}', character strings that do not use a *_BIN2 collation cannot be encrypted."
            ),
        ));
    }
    let what = match (column.identity, &column.default, checked) {
        (Some(_), _, _) => "an IDENTITY property",
        (_, Some(_), _) => "a DEFAULT constraint",
        (_, _, true) => "a CHECK constraint",
        _ => return Ok(()),
    };
    Err(SqlError::new(
        33282,
        format!("Cannot create encrypted column '{name}' with {what}."),
    ))
}

fn check_identity(column: &mut Column) -> Result<()> {
    if column.identity.is_none() {
        return Ok(());
    }
    if column.ty.family() != Family::Integer || column.ty == SqlType::Bit {
        return Err(SqlError::unsupported(format!("IDENTITY on {}", column.ty)));
    }
    column.nullable = false;
    Ok(())
}

fn identity(kind: &IdentityPropertyKind) -> Result<(i64, i64)> {
    let IdentityPropertyKind::Identity(property) = kind else {
        return Err(SqlError::syntax("AUTOINCREMENT"));
    };
    let (seed, increment) = match &property.parameters {
        None => (1, 1),
        Some(IdentityPropertyFormatKind::FunctionCall(parameters)) => {
            (integer(&parameters.seed)?, integer(&parameters.increment)?)
        }
        Some(_) => return Err(SqlError::syntax("IDENTITY")),
    };
    if increment == 0 {
        Err(SqlError::syntax("IDENTITY"))
    } else {
        Ok((seed, increment))
    }
}

fn integer(expr: &Expr) -> Result<i64> {
    expr.to_string()
        .replace(' ', "")
        .parse()
        .map_err(|_| SqlError::syntax("IDENTITY"))
}

/// The text of a DEFAULT, which must be a constant or a function of the clock.
fn constant(expr: &Expr) -> Result<String> {
    match expr {
        Expr::Value(_) | Expr::Function(_) => Ok(expr.to_string()),
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr: inner,
        } => {
            constant(inner)?;
            Ok(expr.to_string())
        }
        Expr::Nested(inner) => constant(inner),
        other => Err(SqlError::unsupported(format!("DEFAULT {other}"))),
    }
}

fn key_columns(list: &[IndexColumn], columns: &[Column]) -> Result<Vec<i64>> {
    let mut ids = Vec::new();
    for index_column in list {
        let Expr::Identifier(ident) = &index_column.column.expr else {
            return Err(SqlError::unsupported("indexes on expressions"));
        };
        let column = columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(&ident.value))
            .ok_or_else(|| {
                SqlError::new(
                    1911,
                    format!(
                        "Column name '{}' does not exist in the target table or view.",
                        ident.value
                    ),
                )
            })?;
        ids.push(column.id);
    }
    Ok(ids)
}

fn table_key(constraint: &TableConstraint, columns: &[Column]) -> Result<Key> {
    match constraint {
        TableConstraint::PrimaryKey(key) => Ok(Key {
            primary: true,
            columns: key_columns(&key.columns, columns)?,
        }),
        TableConstraint::Unique(key) => Ok(Key {
            primary: false,
            columns: key_columns(&key.columns, columns)?,
        }),
        TableConstraint::ForeignKey(_) => Err(SqlError::unsupported("foreign keys")),
        TableConstraint::Check(_) => Err(SqlError::unsupported("CHECK constraints")),
        other => Err(SqlError::unsupported(format!("the constraint {other}"))),
    }
}

fn check_indexable(ids: &[i64], columns: &[Column]) -> Result<()> {
    for column in columns.iter().filter(|column| ids.contains(&column.id)) {
        if column
            .encryption
            .is_some_and(|e| e.kind == EncryptionType::Randomized)
        {
            return Err(SqlError::new(
                33284,
                format!(
                    "Cannot create a key or an index on column '{}', which is encrypted with randomized encryption.",
                    column.name
                ),
            ));
        }
        if column.ty.max_length() < 0 {
            return Err(SqlError::new(
                1919,
                format!(
                    "Column '{}' in table is of a type that is invalid for use as a key column in an index.",
                    column.name
                ),
            ));
        }
    }
    Ok(())
}

fn finish_keys(keys: &[Key], columns: &mut [Column]) -> Result<()> {
    if keys.iter().filter(|key| key.primary).count() > 1 {
        return Err(SqlError::new(
            8110,
            "Cannot add multiple PRIMARY KEY constraints to table.",
        ));
    }
    for key in keys {
        check_indexable(&key.columns, columns)?;
        if key.primary {
            for column in columns
                .iter_mut()
                .filter(|column| key.columns.contains(&column.id))
            {
                column.nullable = false;
            }
        }
    }
    Ok(())
}

/// The table as SQLite keeps it. Keys are unique indexes: they take the columns' collations.
fn create_sql(table: &Table, keys: &[Key]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for column in &table.columns {
        let mut sql = column.sqlite_name();
        if column.encryption.is_none() {
            let collation = match column.ty.family() {
                Family::Text => Some(column.collation().sqlite_name()),
                family => storage::collation(family),
            };
            if let Some(collation) = collation {
                sql.push_str(&format!(" COLLATE {collation}"));
            }
        }
        if !column.nullable {
            sql.push_str(" NOT NULL");
        }
        parts.push(sql);
    }
    for key in keys {
        let columns: Vec<String> = key.columns.iter().map(|id| format!("c{id}")).collect();
        parts.push(format!("UNIQUE ({})", columns.join(", ")));
    }
    format!(
        "CREATE TABLE {} ({})",
        table.sqlite_name(),
        parts.join(", ")
    )
}
