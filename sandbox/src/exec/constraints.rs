//! Keys, CHECK constraints and foreign keys: made, and enforced after each statement that writes. What they say is
//! asked of the whole table, which is slow where tables are large, and simple.

use sqlparser::ast::{Expr, ForeignKeyConstraint, ReferentialAction};

use crate::catalogue::{Action, Catalogue, Column, Constraint, ConstraintKind, Table, store};
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
    Key {
        primary: bool,
        columns: Vec<i64>,
    },
    Check(Box<Expr>),
    /// Of a column, which has the default already.
    Default(i64),
    ForeignKey(Box<ForeignKeyConstraint>),
}

impl Session {
    /// Adds it to a table that exists, whose rows must satisfy it.
    pub(crate) fn add_constraint(&mut self, table: &Table, new: &NewConstraint) -> Result<()> {
        let id = store::next_id(&self.connection)?;
        let id = if table.object_id < 0 { id.saturating_neg() } else { id };
        let prefix = match new.kind {
            NewKind::Key { primary: true, .. } => "PK",
            NewKind::Key { .. } => "UQ",
            NewKind::Check(_) => "CK",
            NewKind::ForeignKey(_) => "FK",
            NewKind::Default(_) => "DF",
        };
        let name = new
            .name
            .clone()
            .unwrap_or_else(|| format!("{prefix}__{}__{:08X}", table.name, id.unsigned_abs()));
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
            NewKind::Default(column) => ConstraintKind::Default { column: *column },
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
        let sql = format!(
            "CREATE UNIQUE INDEX i{} ON {} ({})",
            id.unsigned_abs(),
            table.sqlite_name(),
            list.join(", ")
        );
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
        let action = |action: Option<ReferentialAction>| {
            Ok(match action {
                None | Some(ReferentialAction::NoAction) => Action::Refuse,
                Some(ReferentialAction::Cascade) => Action::Cascade,
                Some(ReferentialAction::SetNull) => Action::SetNull,
                Some(ReferentialAction::SetDefault) => Action::SetDefault,
                // No word of T-SQL's.
                Some(other) => return Err(SqlError::syntax(&other.to_string())),
            })
        };
        let (on_delete, on_update) = (action(key.on_delete)?, action(key.on_update)?);
        let parent = self.catalogue_table(&self.name(&key.foreign_table)?)?;
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
            on_update,
        })
    }

    fn catalogue_table(&self, name: &names::QualifiedName) -> Result<Table> {
        let table = self.catalogue.table(&name.schema, &name.name);
        table.cloned().ok_or_else(|| {
            SqlError::new(1767, format!("Foreign key references invalid table '{}'.", name.name))
        })
    }

    /// Before a statement updates a table: keeps its rows, if a foreign key will want to know what they were.
    pub(crate) fn before_update(
        &self,
        catalogue: &Catalogue,
        table: &Table,
        depth: usize,
    ) -> Result<()> {
        let follows = |known: &Constraint| matches!(known.kind, ConstraintKind::ForeignKey { parent, on_update: Action::Cascade, .. } if parent == table.object_id);
        if catalogue.constraints.iter().any(follows) {
            let sql = format!(
                "DROP TABLE IF EXISTS temp.before{depth}; CREATE TEMP TABLE before{depth} AS SELECT rowid AS old_row, * \
                 FROM {}",
                table.sqlite_name()
            );
            self.connection.execute_batch(&sql)?;
        }
        Ok(())
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
            let ConstraintKind::ForeignKey { parent, on_delete, on_update, .. } = &constraint.kind
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
            let action = if verb == "DELETE" { on_delete } else { on_update };
            self.follow(catalogue, constraint, (table, child), (verb, *action), depth)?;
        }
        Ok(())
    }

    /// What a foreign key does to the rows of `child` whose rows of `parent` are gone, or have other keys.
    fn follow(
        &self,
        catalogue: &Catalogue,
        constraint: &Constraint,
        (parent, child): (&Table, &Table),
        (verb, action): (&str, Action),
        depth: usize,
    ) -> Result<()> {
        let ConstraintKind::ForeignKey { columns, parent_columns, .. } = &constraint.kind else {
            return Ok(());
        };
        let Some(orphans) = orphans(&constraint.kind) else { return Ok(()) };
        let name = child.sqlite_name();
        let mut binds = Vec::new();
        let sql = match (verb, action) {
            (_, Action::Refuse) => {
                if self.exists(&format!("SELECT 1 FROM {name} AS c WHERE {orphans}"), &[])? {
                    return Err(conflict(verb, "REFERENCE", constraint, child));
                }
                return Ok(());
            }
            ("DELETE", Action::Cascade) => format!("DELETE FROM {name} AS c WHERE {orphans}"),
            (_, Action::Cascade) => {
                let pairs: Vec<(&i64, &i64)> = columns.iter().zip(parent_columns).collect();
                let list = |write: &dyn Fn(&i64, &i64) -> String, between: &str| {
                    pairs
                        .iter()
                        .map(|(own, other)| write(own, other))
                        .collect::<Vec<_>>()
                        .join(between)
                };
                format!(
                    "UPDATE {name} AS c SET {} FROM temp.before{depth} AS o JOIN {} AS n ON n.rowid = o.old_row WHERE {} \
                     AND ({})",
                    list(&|own, other| format!("c{own} = n.c{other}"), ", "),
                    parent.sqlite_name(),
                    list(&|own, other| format!("c.c{own} = o.c{other}"), " AND "),
                    list(
                        &|_, other| format!("n.c{other} COLLATE BINARY IS NOT o.c{other}"),
                        " OR "
                    )
                )
            }
            (_, Action::SetNull) => {
                let sets: Vec<String> = columns.iter().map(|id| format!("c{id} = NULL")).collect();
                format!("UPDATE {name} AS c SET {} WHERE {orphans}", sets.join(", "))
            }
            (_, Action::SetDefault) => {
                let mut binder = Binder::new(catalogue, &[], &self.values, false);
                let own = child.columns.iter().filter(|column| columns.contains(&column.id));
                let sets: Vec<String> = own
                    .map(|column: &Column| {
                        Ok(format!("c{} = {}", column.id, binder.default_of(column)?))
                    })
                    .collect::<Result<_>>()?;
                binds = binder.binds;
                format!("UPDATE {name} AS c SET {} WHERE {orphans}", sets.join(", "))
            }
        };
        let next = if sql.starts_with("DELETE") { "DELETE" } else { "UPDATE" };
        let depth = depth.saturating_add(1);
        if next == "UPDATE" {
            self.before_update(catalogue, child, depth)?;
        }
        let mut statement = self.connection.prepare(&sql)?;
        bind_constants(&mut statement, &binds)?;
        let changed = statement
            .raw_execute()
            .map_err(|error| crate::exec::query::constraint(error, child))?;
        if changed > 0 { self.enforce(catalogue, child, next, depth) } else { Ok(()) }
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
        bind_constants(&mut statement, binds)?;
        let found = statement.raw_query().next()?.is_some();
        Ok(found)
    }
}

fn bind_constants(statement: &mut rusqlite::Statement<'_>, binds: &[Bind]) -> Result<()> {
    for (at, bind) in (1usize..).zip(binds) {
        if let Bind::Constant(value) = bind {
            statement.raw_bind_parameter(at, value)?;
        }
    }
    Ok(())
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
        "{} AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})",
        set.join(" AND "),
        crate::catalogue::sqlite_table(*parent),
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
