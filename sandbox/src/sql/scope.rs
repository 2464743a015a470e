//! What FROM brings into view: tables, catalogue views and derived tables, with the types of their columns.

use sqlparser::ast::{
    Expr, Join, JoinConstraint, JoinOperator, TableAlias, TableFactor, TableWithJoins,
};

use crate::catalogue::{Encryption, Table, views};
use crate::error::{Result, SqlError};
use crate::sql::bind::{Binder, Operand, Source};
use crate::sql::compound;
use crate::sql::names::QualifiedName;
use crate::types::{Collation, SqlType};

#[derive(Debug, Clone)]
pub(crate) struct ScopeColumn {
    pub(crate) name: String,
    /// Qualified, for SQLite.
    pub(crate) sql: String,
    pub(crate) ty: SqlType,
    pub(crate) collation: Option<Collation>,
    pub(crate) nullable: bool,
    pub(crate) identity: bool,
    pub(crate) encryption: Option<Encryption>,
    /// Of a user's table, not of a view or a subquery.
    pub(crate) stored: bool,
    /// As in [`Operand::parameters`].
    pub(crate) parameters: Vec<usize>,
}

impl ScopeColumn {
    pub(crate) fn operand(&self) -> Operand {
        Operand {
            sql: self.sql.clone(),
            ty: Some(self.ty),
            collation: self.collation.clone(),
            encryption: self.encryption,
            source: Source::Column(self.name.clone()),
            nullable: self.nullable,
            identity: self.identity,
            parameters: self.parameters.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ScopeTable {
    /// The alias, or the table's own name.
    pub(crate) name: String,
    pub(crate) schema: Option<String>,
    pub(crate) columns: Vec<ScopeColumn>,
    /// Of a user's table.
    pub(crate) object_id: Option<i64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) tables: Vec<ScopeTable>,
}

/// A user's table under an alias of SQLite's.
pub(crate) fn table_columns(table: &Table, alias: &str) -> Vec<ScopeColumn> {
    let column = |column: &crate::catalogue::Column| ScopeColumn {
        name: column.name.clone(),
        sql: format!("{alias}.{}", column.sqlite_name()),
        ty: column.ty,
        collation: column.ty.is_text().then(|| column.collation()),
        nullable: column.nullable,
        identity: column.identity.is_some(),
        encryption: column.encryption,
        stored: true,
        parameters: Vec::new(),
    };
    table.columns.iter().map(column).collect()
}

impl Binder<'_> {
    /// `[[schema.]table.]column`, innermost scope first.
    pub(crate) fn column(&self, parts: &[&str]) -> Result<Operand> {
        self.scope_column(parts).map(|column| column.operand())
    }

    pub(crate) fn scope_column(&self, parts: &[&str]) -> Result<&ScopeColumn> {
        let unknown = || match parts {
            [name] => SqlError::invalid_column(name),
            _ => SqlError::new(
                4104,
                format!("The multi-part identifier \"{}\" could not be bound.", parts.join(".")),
            ),
        };
        let (name, qualifier) = parts.split_last().ok_or_else(unknown)?;
        for scope in self.scopes.iter().rev() {
            let tables = scope.tables.iter().filter(|table| match qualifier {
                [] => true,
                [.., table_name] => {
                    let schema = qualifier.len().checked_sub(2).and_then(|at| qualifier.get(at));
                    table.name.eq_ignore_ascii_case(table_name)
                        && schema.is_none_or(|s| {
                            table.schema.as_deref().is_some_and(|t| t.eq_ignore_ascii_case(s))
                        })
                }
            });
            let found: Vec<(Option<i64>, &ScopeColumn)> = tables
                .flat_map(|table| table.columns.iter().map(|column| (table.object_id, column)))
                .filter(|(_, column)| column.name.eq_ignore_ascii_case(name))
                .collect();
            match found.as_slice() {
                [] => {}
                [(object_id, column)] => {
                    self.read.borrow_mut().extend(object_id);
                    return Ok(column);
                }
                _ => {
                    return Err(SqlError::new(209, format!("Ambiguous column name '{name}'.")));
                }
            }
        }
        Err(unknown())
    }

    /// Binds FROM into the innermost scope and gives its SQLite text.
    pub(crate) fn bind_from(&mut self, from: &[TableWithJoins]) -> Result<String> {
        let mut parts = Vec::new();
        for item in from {
            let mut sql = self.table_factor(&item.relation, false)?;
            for join in &item.joins {
                sql.push_str(&self.join(join)?);
            }
            parts.push(sql);
        }
        Ok(parts.join(" CROSS JOIN "))
    }

    fn join(&mut self, join: &Join) -> Result<String> {
        let (kind, constraint) = match &join.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
                ("JOIN", constraint)
            }
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
                ("LEFT JOIN", constraint)
            }
            JoinOperator::CrossJoin(constraint @ JoinConstraint::None) => {
                ("CROSS JOIN", constraint)
            }
            other => {
                let shown = format!("{other:?}");
                let name = shown.split('(').next().unwrap_or_default().to_owned();
                return Err(SqlError::unsupported(format!("a join of the kind {name}")));
            }
        };
        let relation = self.table_factor(&join.relation, kind == "LEFT JOIN")?;
        match constraint {
            JoinConstraint::On(condition) => {
                Ok(format!(" {kind} {relation} ON {}", self.condition(condition)?))
            }
            JoinConstraint::None if kind == "CROSS JOIN" => Ok(format!(" CROSS JOIN {relation}")),
            _ => Err(SqlError::syntax("JOIN")),
        }
    }

    fn table_factor(&mut self, factor: &TableFactor, outer: bool) -> Result<String> {
        let (sql, mut table) = match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_hints,
                version: None,
                partitions,
                sample: None,
                ..
            } if partitions.is_empty() => {
                check_hints(with_hints)?;
                let qualified = self.name(name)?;
                let common =
                    if name.0.len() == 1 { self.common_table(&qualified.name)? } else { None };
                match common {
                    Some((plan, columns, sqlite_alias)) => {
                        let shown = match alias {
                            Some(alias) => check_alias(alias)?,
                            None => qualified.name,
                        };
                        let sql = match compound::is_reference(&plan.sql) {
                            true => format!("{} AS {sqlite_alias}", plan.sql),
                            false => format!("({}) AS {sqlite_alias}", plan.sql),
                        };
                        (sql, compound::derived(shown, columns))
                    }
                    None => self.named_table(&qualified, alias.as_ref())?,
                }
            }
            TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None } => {
                let plan = self.derived_table(subquery, alias)?;
                let sqlite_alias = self.alias();
                let columns = plan.scope_columns(&sqlite_alias)?;
                let table = compound::derived(alias.name.value.clone(), columns);
                (format!("({}) AS {sqlite_alias}", plan.sql), table)
            }
            other => {
                let shown = other.to_string();
                let shown: String = shown.chars().take(60).collect();
                return Err(SqlError::unsupported(format!("FROM {shown}")));
            }
        };
        if outer {
            for column in &mut table.columns {
                column.nullable = true;
            }
        }
        let scope = self.scopes.last_mut().ok_or_else(|| SqlError::syntax("FROM"))?;
        if scope.tables.iter().any(|known| known.name.eq_ignore_ascii_case(&table.name)) {
            let name = table.name;
            return Err(SqlError::new(
                1013,
                format!(
                    "The objects \"{name}\" and \"{name}\" in the FROM clause have the same exposed names. Use \
                     correlation names to distinguish them."
                ),
            ));
        }
        scope.tables.push(table);
        Ok(sql)
    }

    fn named_table(
        &mut self,
        name: &QualifiedName,
        alias: Option<&TableAlias>,
    ) -> Result<(String, ScopeTable)> {
        let sqlite_alias = self.alias();
        let shown = match alias {
            Some(alias) => check_alias(alias)?,
            None => name.name.clone(),
        };
        let schema = alias.is_none().then(|| name.schema.clone());
        if let Some((view, temporary)) = views::find(name) {
            let columns = view.columns().map(|(column, ty)| ScopeColumn {
                name: column.to_owned(),
                sql: format!("{sqlite_alias}.{column}"),
                ty,
                collation: None,
                nullable: true,
                identity: false,
                encryption: None,
                stored: false,
                parameters: Vec::new(),
            });
            let table =
                ScopeTable { name: shown, schema, columns: columns.collect(), object_id: None };
            let sql = view.sql(self.catalogue, temporary);
            return Ok((format!("({sql}) AS {sqlite_alias}"), table));
        }
        if let Some(view) = self.catalogue.view(name) {
            self.require("SELECT", view.object_id, &view.schema, &view.named.name)?;
            let vouched = std::mem::replace(&mut self.vouched, true);
            let bound = self.named_query(&view.named, false);
            self.vouched = vouched;
            let (plan, columns, alias) = bound?;
            let table = ScopeTable { name: shown, schema, columns, object_id: None };
            return Ok((format!("({}) AS {alias}", plan.sql), table));
        }
        let table = self.table(name)?;
        self.require("SELECT", table.object_id, &table.schema, &table.name)?;
        let object_id = Some(table.object_id);
        let sql = format!("{} AS {sqlite_alias}", table.sqlite_name());
        let columns = table_columns(table, &sqlite_alias);
        Ok((sql, ScopeTable { name: shown, schema, columns, object_id }))
    }

    /// 229, unless the login has the permission or somebody vouches for it.
    pub(crate) fn require(
        &self,
        permission: &str,
        object_id: i64,
        schema: &str,
        name: &str,
    ) -> Result<()> {
        // Temporary tables are their session's.
        if self.vouched || object_id < 0 {
            return Ok(());
        }
        self.catalogue.access.require_object(permission, object_id, schema, name)
    }

    /// Of a table that a write is about: SELECT too, if it has read any of its columns.
    pub(crate) fn require_write(&self, permission: &str, table: &Table) -> Result<()> {
        if self.session.read_only.contains(&table.object_id) {
            let text = format!(
                "The table-valued parameter \"{}\" is READONLY and cannot be modified.",
                table.name
            );
            return Err(SqlError::new(10700, text));
        }
        self.require(permission, table.object_id, &table.schema, &table.name)?;
        if self.read.borrow().contains(&table.object_id) {
            self.require("SELECT", table.object_id, &table.schema, &table.name)?;
        }
        Ok(())
    }

    /// A user's table.
    pub(crate) fn table(&self, name: &QualifiedName) -> Result<&Table> {
        if self.catalogue.view(name).is_some() {
            return Err(SqlError::unsupported("writing to a view"));
        }
        self.catalogue.table(&name.schema, &name.name).ok_or_else(|| {
            if name.schema.starts_with('@') {
                let text = format!("Must declare the table variable \"{}\".", name.name);
                return SqlError::new(1087, text).class(15);
            }
            let shown = if name.schema == "dbo" || name.schema.starts_with('#') {
                name.name.clone()
            } else {
                format!("{}.{}", name.schema, name.name)
            };
            SqlError::invalid_object(&shown)
        })
    }
}

fn check_alias(alias: &TableAlias) -> Result<String> {
    if alias.columns.is_empty() {
        Ok(alias.name.value.clone())
    } else {
        Err(SqlError::unsupported("column names in a table alias"))
    }
}

/// Locking hints mean nothing here, where writers take turns.
const HARMLESS_HINTS: &[&str] = &[
    "NOLOCK",
    "HOLDLOCK",
    "UPDLOCK",
    "ROWLOCK",
    "TABLOCK",
    "TABLOCKX",
    "XLOCK",
    "PAGLOCK",
    "READUNCOMMITTED",
    "READCOMMITTED",
    "REPEATABLEREAD",
    "SERIALIZABLE",
    "NOWAIT",
    "READPAST",
];

pub(crate) fn check_hints(hints: &[Expr]) -> Result<()> {
    for hint in hints {
        let shown = hint.to_string().to_ascii_uppercase();
        if !HARMLESS_HINTS.contains(&shown.as_str()) {
            return Err(SqlError::unsupported(format!("the table hint {shown}")));
        }
    }
    Ok(())
}
