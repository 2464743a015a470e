//! Keys, CHECK constraints and foreign keys: made, and enforced after each statement that writes. What they say is
//! asked of the whole table, which is slow where tables are large, and simple.

use sqlparser::ast::{Expr, ForeignKeyConstraint, ReferentialAction};

use crate::catalogue::{Catalogue, Constraint, ConstraintKind, OnDelete, Table, store};
use crate::error::{Result, SqlError};
use crate::exec::ddl::check_indexable;
use crate::exec::session::Session;
use crate::exec::stored::{MAX_NESTING, too_deep};
use crate::sql::batch;
use crate::sql::bind::{Bind, Binder};
use crate::sql::names;
use crate::sql::scope::{Scope, ScopeTable, table_columns};

/// A constraint that is about to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewConstraint {
    pub(crate) name: Option<String>,
    pub(crate) kind: NewKind,
}

#[derive(Debug, Clone)]
pub(crate) enum NewKind {
    Key { primary: bool, columns: Vec<i64> },
    Check(Box<Expr>),
    ForeignKey(Box<ForeignKeyConstraint>),
}

impl Session {
    /// Adds it to a table that exists, whose rows must satisfy it.
    pub(crate) fn add_constraint(&mut self, table: &Table, new: &NewConstraint) -> Result<()> {
        let id = store::next_id(&self.connection)?;
        let prefix = match new.kind {
            NewKind::Key { primary: true, .. } => "PK",
            NewKind::Key { .. } => "UQ",
            NewKind::Check(_) => "CK",
            NewKind::ForeignKey(_) => "FK",
        };
        let name =
            new.name.clone().unwrap_or_else(|| format!("{prefix}__{}__{id:08X}", table.name));
        if self.catalogue.constraints.iter().any(|known| known.name.eq_ignore_ascii_case(&name)) {
            return Err(SqlError::new(
                2714,
                format!("There is already an object named '{name}' in the database."),
            ));
        }
        let kind = match &new.kind {
            NewKind::Key { primary, columns } => {
                self.make_key(id, table, &name, *primary, columns)?
            }
            NewKind::Check(expr) => ConstraintKind::Check { text: expr.to_string() },
            NewKind::ForeignKey(key) => self.make_foreign_key(table, &name, key)?,
        };
        let constraint = Constraint { id, object_id: table.object_id, name, kind };
        self.check_constraint(&constraint, table, "ALTER TABLE")?;
        store::insert_constraint(&self.connection, &constraint)?;
        self.refresh()
    }

    fn make_key(
        &self,
        id: i64,
        table: &Table,
        name: &str,
        primary: bool,
        columns: &[i64],
    ) -> Result<ConstraintKind> {
        check_indexable(columns, &table.columns)?;
        let of_table = |known: &&Constraint| known.object_id == table.object_id;
        let is_primary =
            |known: &Constraint| matches!(known.kind, ConstraintKind::Key { primary: true, .. });
        if primary && self.catalogue.constraints.iter().filter(of_table).any(is_primary) {
            return Err(SqlError::new(
                1779,
                format!("Table '{}' already has a primary key defined on it.", table.name),
            ));
        }
        if primary && table.columns.iter().any(|c| columns.contains(&c.id) && c.nullable) {
            return Err(SqlError::new(
                8111,
                format!(
                    "Cannot define PRIMARY KEY constraint on nullable column in table '{}'.",
                    table.name
                ),
            ));
        }
        let list: Vec<String> = columns.iter().map(|id| format!("c{id}")).collect();
        let sql =
            format!("CREATE UNIQUE INDEX i{id} ON {} ({})", table.sqlite_name(), list.join(", "));
        self.connection.execute(&sql, []).map_err(|error| {
            if error.to_string().contains("UNIQUE constraint failed") {
                SqlError::new(1505, format!("The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name 'dbo.{}' and the index name '{name}'.", table.name))
            } else {
                error.into()
            }
        })?;
        Ok(ConstraintKind::Key { primary, columns: columns.to_vec() })
    }

    fn make_foreign_key(
        &self,
        table: &Table,
        name: &str,
        key: &ForeignKeyConstraint,
    ) -> Result<ConstraintKind> {
        let on_delete = match key.on_delete {
            None | Some(ReferentialAction::NoAction) => OnDelete::NoAction,
            Some(ReferentialAction::Cascade) => OnDelete::Cascade,
            Some(ReferentialAction::SetNull) => OnDelete::SetNull,
            Some(other) => return Err(SqlError::unsupported(format!("ON DELETE {other}"))),
        };
        if !matches!(key.on_update, None | Some(ReferentialAction::NoAction)) {
            return Err(SqlError::unsupported("ON UPDATE of foreign keys"));
        }
        let parent = self.catalogue_table(&names::qualified(&key.foreign_table)?)?;
        let ids = |table: &Table, list: &[sqlparser::ast::Ident]| {
            let id = |ident: &sqlparser::ast::Ident| {
                table.column(&ident.value).map(|c| c.id).ok_or_else(|| {
                    SqlError::new(
                        1769,
                        format!(
                            "Foreign key '{name}' references invalid column '{}' in table '{}'.",
                            ident.value, table.name
                        ),
                    )
                })
            };
            list.iter().map(id).collect::<Result<Vec<i64>>>()
        };
        let columns = ids(table, &key.columns)?;
        let mut keys = self.catalogue.constraints.iter().filter_map(|known| match &known.kind {
            ConstraintKind::Key { primary, columns } if known.object_id == parent.object_id => {
                Some((*primary, columns.clone()))
            }
            _ => None,
        });
        let parent_columns = if key.referred_columns.is_empty() {
            keys.find(|(primary, _)| *primary).map(|(_, columns)| columns)
        } else {
            let wanted = ids(&parent, &key.referred_columns)?;
            keys.any(|(_, columns)| columns == wanted).then_some(wanted)
        };
        let parent_columns = parent_columns.filter(|list| list.len() == columns.len()).ok_or_else(|| {
            SqlError::new(1776, format!("There are no primary or candidate keys in the referenced table '{}.{}' that match the referencing column list in the foreign key '{name}'.", parent.schema, parent.name))
        })?;
        for (id, parent_id) in columns.iter().zip(&parent_columns) {
            let find = |table: &Table, id: i64| table.columns.iter().find(|c| c.id == id).cloned();
            if let (Some(a), Some(b)) = (find(table, *id), find(&parent, *parent_id))
                && (a.ty != b.ty || a.encryption != b.encryption || a.collation != b.collation)
            {
                return Err(SqlError::new(
                    1778,
                    format!(
                        "Column '{}.{}' is not the same data type, collation or encryption as referencing column '{}.{}' in foreign key '{name}'.",
                        parent.name, b.name, table.name, a.name
                    ),
                ));
            }
        }
        Ok(ConstraintKind::ForeignKey {
            columns,
            parent: parent.object_id,
            parent_columns,
            on_delete,
        })
    }

    fn catalogue_table(&self, name: &names::QualifiedName) -> Result<Table> {
        let table = self.catalogue.table(&name.schema, &name.name);
        table.cloned().ok_or_else(|| {
            SqlError::new(1767, format!("Foreign key references invalid table '{}'.", name.name))
        })
    }

    /// After a statement has written to a table: 547 for what it may not leave behind.
    pub(crate) fn enforce(
        &self,
        catalogue: &Catalogue,
        table: &Table,
        verb: &str,
        depth: usize,
    ) -> Result<()> {
        if depth > MAX_NESTING {
            return Err(too_deep());
        }
        for constraint in &catalogue.constraints {
            if constraint.object_id == table.object_id && verb != "DELETE" {
                self.check_constraint(constraint, table, verb)?;
            }
            let ConstraintKind::ForeignKey { columns, parent, on_delete, .. } = &constraint.kind
            else {
                continue;
            };
            if *parent != table.object_id || verb == "INSERT" {
                continue;
            }
            let Some(child) = catalogue.tables.iter().find(|t| t.object_id == constraint.object_id)
            else {
                continue;
            };
            let Some(orphans) = orphans(&constraint.kind) else { continue };
            let name = child.sqlite_name();
            let sets: Vec<String> = columns.iter().map(|id| format!("c{id} = NULL")).collect();
            let (sql, next) = match on_delete {
                OnDelete::Cascade if verb == "DELETE" => {
                    (format!("DELETE FROM {name} AS c WHERE {orphans}"), "DELETE")
                }
                OnDelete::SetNull if verb == "DELETE" => (
                    format!("UPDATE {name} AS c SET {} WHERE {orphans}", sets.join(", ")),
                    "UPDATE",
                ),
                _ if self.exists(&format!("SELECT 1 FROM {name} AS c WHERE {orphans}"), &[])? => {
                    return Err(conflict(verb, "REFERENCE", constraint, child));
                }
                _ => continue,
            };
            let changed = self
                .connection
                .execute(&sql, [])
                .map_err(|error| crate::exec::query::constraint(error, child))?;
            if changed > 0 {
                self.enforce(catalogue, child, next, depth.saturating_add(1))?;
            }
        }
        Ok(())
    }

    fn check_constraint(&self, constraint: &Constraint, table: &Table, verb: &str) -> Result<()> {
        match &constraint.kind {
            ConstraintKind::Check { text } => {
                let expr = batch::parse_expression(text)?;
                let mut binder = Binder::new(&self.catalogue, &[], &self.values, false);
                let columns = table_columns(table, "a0");
                let object_id = Some(table.object_id);
                let scope =
                    ScopeTable { name: table.name.clone(), schema: None, columns, object_id };
                binder.scopes.push(Scope { tables: vec![scope] });
                let condition = binder.condition(&expr)?;
                let sql =
                    format!("SELECT 1 FROM {} AS a0 WHERE NOT ({condition})", table.sqlite_name());
                if self.exists(&sql, &binder.binds)? {
                    return Err(conflict(verb, "CHECK", constraint, table));
                }
            }
            kind => {
                if let Some(orphans) = orphans(kind) {
                    let sql = format!("SELECT 1 FROM {} AS c WHERE {orphans}", table.sqlite_name());
                    if self.exists(&sql, &[])? {
                        return Err(conflict(verb, "FOREIGN KEY", constraint, table));
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn exists(&self, sql: &str, binds: &[Bind]) -> Result<bool> {
        let mut statement = self.connection.prepare_cached(sql)?;
        for (at, bind) in (1usize..).zip(binds) {
            if let Bind::Constant(value) = bind {
                statement.raw_bind_parameter(at, value)?;
            }
        }
        let found = statement.raw_query().next()?.is_some();
        Ok(found)
    }
}

/// The condition under which a row `c` of the referencing table has nothing to refer to.
fn orphans(kind: &ConstraintKind) -> Option<String> {
    let ConstraintKind::ForeignKey { columns, parent, parent_columns, .. } = kind else {
        return None;
    };
    let set: Vec<String> = columns.iter().map(|id| format!("c.c{id} IS NOT NULL")).collect();
    let pairs = columns.iter().zip(parent_columns);
    let same: Vec<String> = pairs.map(|(id, parent)| format!("p.c{parent} = c.c{id}")).collect();
    Some(format!(
        "{} AND NOT EXISTS (SELECT 1 FROM t{parent} AS p WHERE {})",
        set.join(" AND "),
        same.join(" AND ")
    ))
}

fn conflict(verb: &str, what: &str, constraint: &Constraint, table: &Table) -> SqlError {
    SqlError::new(
        547,
        format!(
            "The {verb} statement conflicted with the {what} constraint \"{}\". The conflict occurred in database \
             \"{}\", table \"{}.{}\".",
            constraint.name,
            crate::catalogue::DATABASE_NAME,
            table.schema,
            table.name
        ),
    )
}
