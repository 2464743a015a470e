//! ALTER TABLE.

use rusqlite::types::Value as Stored;
use sqlparser::ast::ColumnDef;

use crate::catalogue::{Column, Constraint, ConstraintKind, Table, store};
use crate::error::{Result, SqlError};
use crate::exec::ddl::{column_sql, constant, new_constraint, two_row_versions};
use crate::exec::parameters::Parameters;
use crate::exec::session::Session;
use crate::sql::alter::{Added, AlterAction, AlterTable};
use crate::sql::batch;
use crate::sql::dml::ROW_VERSION;
use crate::sql::names;
use crate::types::convert::{Excess, convert};
use crate::types::{SqlType, storage};

impl Session {
    pub(crate) fn alter_table(&mut self, alter: &AlterTable) -> Result<()> {
        self.refresh()?;
        let name = self.name(&alter.table)?;
        let find = |session: &Self| {
            session.catalogue.table(&name.schema, &name.name).filter(|t| session.may_alter(t.object_id, &t.schema)).cloned().ok_or_else(|| {
                SqlError::new(4902, format!("Cannot find the object \"{}\" because it does not exist or you do not have permissions.", name.name))
            })
        };
        let table = find(self)?;
        match &alter.action {
            AlterAction::Add(list) => {
                for added in list {
                    let table = find(self)?;
                    self.add(&table, added)?;
                }
                Ok(())
            }
            AlterAction::DropColumns { names, if_exists } => {
                for column in names {
                    let table = find(self)?;
                    match table.column(column).cloned() {
                        Some(column) => self.drop_column(&table, &column)?,
                        None if *if_exists => {}
                        None => {
                            return Err(SqlError::new(
                                4924,
                                format!(
                                    "ALTER TABLE DROP COLUMN failed because column '{column}' does not exist in table '{}'.",
                                    table.name
                                ),
                            ));
                        }
                    }
                }
                Ok(())
            }
            AlterAction::DropConstraints { names, if_exists } => {
                names.iter().try_for_each(|name| self.drop_constraint(&table, name, *if_exists))
            }
            AlterAction::AlterColumn(definition) => self.alter_column(&table, definition),
        }
    }

    fn add(&mut self, table: &Table, added: &Added) -> Result<()> {
        match added {
            Added::Column(definition) => self.add_column(table, definition),
            Added::Constraint(constraint) => {
                let new = new_constraint(constraint, &table.columns)?;
                self.add_constraint(table, &new)
            }
            Added::Default { name, value, column } => {
                let column =
                    table.column(column).ok_or_else(|| SqlError::invalid_column(column))?;
                if column.encryption.is_some() {
                    return Err(SqlError::new(
                        33282,
                        format!(
                            "Cannot add a DEFAULT constraint to encrypted column '{}'.",
                            column.name
                        ),
                    ));
                }
                if column.default.is_some() {
                    return Err(SqlError::new(1781, "Column already has a DEFAULT bound to it."));
                }
                let text = constant(value)?;
                store::set_default(&self.connection, table.object_id, column.id, Some(&text))?;
                let id = store::next_id(&self.connection)?;
                let name = name.clone().unwrap_or_else(|| format!("DF__{}__{id:08X}", table.name));
                let kind = ConstraintKind::Default { column: column.id };
                let constraint = Constraint { id, object_id: table.object_id, name, kind };
                store::insert_constraint(&self.connection, &constraint)?;
                self.refresh()
            }
        }
    }

    fn add_column(&mut self, table: &Table, definition: &ColumnDef) -> Result<()> {
        let id = table.columns.iter().map(|column| column.id).max().unwrap_or(0).saturating_add(1);
        let mut constraints = Vec::new();
        let column = self.column(id, definition, &mut constraints)?;
        if table.column(&column.name).is_some() {
            return Err(SqlError::new(
                2705,
                format!(
                    "Column names in each table must be unique. Column name '{}' in table '{}' is specified more than once.",
                    column.name, table.name
                ),
            ));
        }
        let rows = self.exists(&format!("SELECT 1 FROM {}", table.sqlite_name()), &[])?;
        if rows && column.identity.is_some() {
            return Err(SqlError::unsupported("adding an IDENTITY column to a table with rows"));
        }
        let version = column.ty == SqlType::RowVersion;
        if version && table.columns.iter().any(|known| known.ty == SqlType::RowVersion) {
            return Err(two_row_versions(&table.name, &column.name));
        }
        if rows && !column.nullable && column.default.is_none() && !version {
            return Err(SqlError::new(
                4901,
                format!(
                    "ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT definition specified. Column '{}' cannot be added to non-empty table '{}' because it does not satisfy these conditions.",
                    column.name, table.name
                ),
            ));
        }
        let mut sql =
            format!("ALTER TABLE {} ADD COLUMN {}", table.sqlite_name(), column_sql(&column));
        if !column.nullable {
            // SQLite wants a default; no INSERT here leaves a column out, so only the rows that are there take it.
            sql.push_str(&format!(" DEFAULT {}", self.first_value(&column)?));
        }
        self.connection.execute(&sql, [])?;
        if version {
            let (name, column) = (table.sqlite_name(), column.sqlite_name());
            self.connection.execute(&format!("UPDATE {name} SET {column} = {ROW_VERSION}"), [])?;
        }
        store::insert_column(&self.connection, table.object_id, &column)?;
        self.refresh()?;
        let name = names::QualifiedName { schema: table.schema.clone(), name: table.name.clone() };
        let table = self.catalogue.table(&name.schema, &name.name).cloned();
        let table = table.ok_or_else(|| SqlError::invalid_object(&name.name))?;
        constraints.iter().try_for_each(|constraint| self.add_constraint(&table, constraint))
    }

    /// The default as a literal of SQLite's.
    fn first_value(&mut self, column: &Column) -> Result<String> {
        let Some(default) = &column.default else { return Ok("0".to_owned()) };
        let (value, from) =
            self.evaluate(&batch::parse_expression(default)?, &Parameters::default())?;
        let value = convert(value, from, column.ty, Excess::Refuse)?;
        Ok(match storage::store(&value) {
            Stored::Null => {
                return Err(SqlError::new(
                    515,
                    format!(
                        "Cannot insert the value NULL into column '{}'; column does not allow nulls.",
                        column.name
                    ),
                ));
            }
            Stored::Integer(n) => n.to_string(),
            Stored::Real(x) => format!("{x:?}"),
            Stored::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Stored::Blob(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("x'{digits}'")
            }
        })
    }

    /// 5074 if a constraint uses the column.
    fn require_free(&self, table: &Table, column: &Column, defaults_too: bool) -> Result<()> {
        let uses = |constraint: &&Constraint| match &constraint.kind {
            ConstraintKind::Key { columns, .. } | ConstraintKind::ForeignKey { columns, .. } => {
                columns.contains(&column.id)
            }
            ConstraintKind::Default { column: id } => defaults_too && *id == column.id,
            ConstraintKind::Check { text } => {
                text.to_ascii_lowercase().contains(&column.name.to_ascii_lowercase())
            }
        };
        let mut own =
            self.catalogue.constraints.iter().filter(|known| known.object_id == table.object_id);
        match own.find(uses) {
            None => Ok(()),
            Some(constraint) => Err(dependent(&constraint.name, &column.name)),
        }
    }

    fn drop_column(&mut self, table: &Table, column: &Column) -> Result<()> {
        self.require_free(table, column, true)?;
        if table.columns.len() == 1 {
            return Err(SqlError::new(
                4923,
                format!(
                    "ALTER TABLE DROP COLUMN failed because '{}' is the only data column in table '{}'.",
                    column.name, table.name
                ),
            ));
        }
        let sql =
            format!("ALTER TABLE {} DROP COLUMN {}", table.sqlite_name(), column.sqlite_name());
        // All that is left to depend on it are indexes.
        self.connection.execute(&sql, []).map_err(|_| dependent("an index", &column.name))?;
        store::delete_column(&self.connection, table.object_id, column.id)?;
        self.refresh()
    }

    fn drop_constraint(&mut self, table: &Table, name: &str, if_exists: bool) -> Result<()> {
        let own = |known: &&Constraint| {
            known.object_id == table.object_id && known.name.eq_ignore_ascii_case(name)
        };
        let Some(constraint) = self.catalogue.constraints.iter().find(own).cloned() else {
            return if if_exists {
                Ok(())
            } else {
                Err(SqlError::new(3728, format!("'{name}' is not a constraint.")))
            };
        };
        match &constraint.kind {
            ConstraintKind::Key { columns, .. } => {
                let refers = |known: &Constraint| matches!(&known.kind, ConstraintKind::ForeignKey { parent, parent_columns, .. } if *parent == table.object_id && parent_columns == columns);
                if let Some(known) = self.catalogue.constraints.iter().find(|known| refers(known)) {
                    return Err(SqlError::new(
                        3725,
                        format!(
                            "The constraint '{name}' is being referenced by table, foreign key constraint '{}'.",
                            known.name
                        ),
                    ));
                }
                self.connection
                    .execute(&format!("DROP INDEX i{}", constraint.id.unsigned_abs()), [])?;
            }
            ConstraintKind::Default { column } => {
                store::set_default(&self.connection, table.object_id, *column, None)?;
            }
            ConstraintKind::Check { .. } | ConstraintKind::ForeignKey { .. } => {}
        }
        store::delete_constraint(&self.connection, constraint.id)?;
        self.refresh()
    }

    fn alter_column(&mut self, table: &Table, definition: &ColumnDef) -> Result<()> {
        let name = &definition.name.value;
        let old = table.column(name).cloned().ok_or_else(|| {
            SqlError::new(4924, format!("ALTER TABLE ALTER COLUMN failed because column '{name}' does not exist in table '{}'.", table.name))
        })?;
        let mut constraints = Vec::new();
        let mut column = self.column(old.id, definition, &mut constraints)?;
        if old.encryption.is_some() || column.encryption.is_some() {
            return Err(SqlError::new(
                33543,
                format!(
                    "Cannot alter column '{name}'. The statement attempts to encrypt, decrypt or re-encrypt the column in-place using a secure enclave, but the current and/or the target column encryption key for the column is not enclave-enabled."
                ),
            ));
        }
        if !constraints.is_empty()
            || column.default.is_some()
            || column.identity.is_some()
            || old.identity.is_some()
        {
            return Err(SqlError::unsupported("this form of ALTER COLUMN"));
        }
        let fixed = |ty: SqlType| ty.is_legacy() || ty == SqlType::RowVersion;
        if let Some(ty) = [old.ty, column.ty].into_iter().find(|ty| fixed(*ty)) {
            let text = format!("Cannot alter column '{name}' because it is '{}'.", ty.name());
            return Err(SqlError::new(4928, text));
        }
        self.require_free(table, &old, false)?;
        column.default.clone_from(&old.default);
        let (name, old_name) = (table.sqlite_name(), old.sqlite_name());
        let nulls = format!("SELECT 1 FROM {name} WHERE {old_name} IS NULL");
        if !column.nullable && self.exists(&nulls, &[])? {
            return Err(SqlError::new(
                515,
                format!(
                    "Cannot insert the value NULL into column '{}', table '{}'; column does not allow nulls. UPDATE fails.",
                    column.name, table.name
                ),
            ));
        }
        let new = Column { id: i64::MAX, ..column.clone() };
        let default = if new.nullable { "" } else { " DEFAULT 0" };
        let new_name = new.sqlite_name();
        let sql = format!("ALTER TABLE {name} ADD COLUMN {}{default}", column_sql(&new));
        self.connection.execute(&sql, [])?;
        let (from, to) = (old.ty, new.ty);
        let converted = format!("tds_convert({old_name}, '{from}', '{to}', 0)");
        self.connection.execute(&format!("UPDATE {name} SET {new_name} = {converted}"), [])?;
        self.connection
            .execute(&format!("ALTER TABLE {name} DROP COLUMN {old_name}"), [])
            .map_err(|_| dependent("an index", &column.name))?;
        let sql = format!("ALTER TABLE {name} RENAME COLUMN {new_name} TO {old_name}");
        self.connection.execute(&sql, [])?;
        store::delete_column(&self.connection, table.object_id, column.id)?;
        store::insert_column(&self.connection, table.object_id, &column)?;
        self.refresh()
    }
}

fn dependent(object: &str, column: &str) -> SqlError {
    SqlError::new(5074, format!("The object '{object}' is dependent on column '{column}'."))
}
