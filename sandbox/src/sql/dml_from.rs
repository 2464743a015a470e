//! UPDATE and DELETE whose rows come out of a FROM with joins: by the rows' numbers, as FROM finds them.

use sqlparser::ast::{Delete, ObjectName, TableFactor, TableWithJoins, Update};

use crate::catalogue::Table;
use crate::error::{Result, SqlError};
use crate::sql::bind::Binder;
use crate::sql::dml::WritePlan;
use crate::sql::scope::{Scope, ScopeTable, check_hints, table_columns};

/// The target of an UPDATE with FROM.
pub(crate) fn joined_name(update: &Update) -> Result<&ObjectName> {
    let TableFactor::Table { name, alias: None, with_hints, args: None, .. } =
        &update.table.relation
    else {
        return Err(SqlError::unsupported("this target of UPDATE"));
    };
    check_hints(with_hints)?;
    Ok(name)
}

impl Binder<'_> {
    pub(crate) fn update_from(
        &mut self,
        update: &Update,
        from: &[TableWithJoins],
    ) -> Result<WritePlan> {
        let (table, alias, from) = self.joined_target(joined_name(update)?, from)?;
        let (output, returning) = self.output(&table, update.output.as_ref(), "inserted")?;
        let mut columns = vec![format!("{alias}.rowid AS target_row")];
        let mut sets = Vec::new();
        let source = self.alias();
        for (i, (column, value)) in
            self.assignments(&table, &update.assignments)?.into_iter().enumerate()
        {
            columns.push(format!("{value} AS v{i}"));
            sets.push(format!("{column} = {source}.v{i}"));
        }
        let mut rows = format!("SELECT {} FROM {from}", columns.join(", "));
        if let Some(condition) = &update.selection {
            rows.push_str(&format!(" WHERE {}", self.condition(condition)?));
        }
        self.scopes.pop();
        self.require_write("UPDATE", &table)?;
        let name = table.sqlite_name();
        // If several rows would update one, the first that is found does, where SQL Server leaves it open.
        let sql = format!(
            "UPDATE {name} SET {} FROM (SELECT * FROM ({rows}) GROUP BY target_row) AS {source} WHERE {name}.rowid = \
             {source}.target_row{returning}",
            sets.join(", ")
        );
        let statements = vec![(sql, std::mem::take(&mut self.binds))];
        Ok(WritePlan { object_id: table.object_id, statements, output })
    }

    pub(crate) fn delete_from(
        &mut self,
        delete: &Delete,
        target: &ObjectName,
        from: &[TableWithJoins],
    ) -> Result<WritePlan> {
        let (table, alias, from) = self.joined_target(target, from)?;
        let (output, returning) = self.output(&table, delete.output.as_ref(), "deleted")?;
        let mut rows = format!("SELECT {alias}.rowid FROM {from}");
        if let Some(condition) = &delete.selection {
            rows.push_str(&format!(" WHERE {}", self.condition(condition)?));
        }
        self.scopes.pop();
        self.require_write("DELETE", &table)?;
        let sql = format!("DELETE FROM {} WHERE rowid IN ({rows}){returning}", table.sqlite_name());
        let statements = vec![(sql, std::mem::take(&mut self.binds))];
        Ok(WritePlan { object_id: table.object_id, statements, output })
    }

    /// The table that is written, its alias in FROM, and FROM, in a scope that the caller pops. A target that FROM
    /// does not name is one more table of it.
    pub(crate) fn joined_target(
        &mut self,
        target: &ObjectName,
        from: &[TableWithJoins],
    ) -> Result<(Table, String, String)> {
        let name = self.name(target)?;
        self.scopes.push(Scope::default());
        let mut sql = self.bind_from(from)?;
        let tables = self.scopes.last().map(|scope| scope.tables.clone()).unwrap_or_default();
        let named: Vec<&ScopeTable> =
            tables.iter().filter(|table| table.name.eq_ignore_ascii_case(&name.name)).collect();
        let found = match named.as_slice() {
            [table] => table.object_id.zip(table.columns.first()),
            [] => {
                let mut same = tables.iter().filter(|table| {
                    self.catalogue
                        .table(&name.schema, &name.name)
                        .is_some_and(|known| table.object_id == Some(known.object_id))
                });
                match (same.next(), same.next()) {
                    (Some(table), None) => table.object_id.zip(table.columns.first()),
                    (Some(_), Some(_)) => {
                        return Err(SqlError::new(
                            8154,
                            format!("The table '{}' is ambiguous.", name.name),
                        ));
                    }
                    (None, _) => {
                        let table = self.table(&name)?.clone();
                        let alias = self.alias();
                        sql.push_str(&format!(" CROSS JOIN {} AS {alias}", table.sqlite_name()));
                        if let Some(scope) = self.scopes.last_mut() {
                            scope.tables.push(ScopeTable {
                                name: table.name.clone(),
                                schema: Some(table.schema.clone()),
                                columns: table_columns(&table, &alias),
                                object_id: Some(table.object_id),
                            });
                        }
                        return Ok((table, alias, sql));
                    }
                }
            }
            _ => None,
        };
        let (object_id, column) = found
            .ok_or_else(|| SqlError::unsupported("writing to anything but a table of FROM"))?;
        let table = self.catalogue.tables.iter().find(|table| table.object_id == object_id);
        let table = table.ok_or_else(|| SqlError::invalid_object(&name.name))?.clone();
        let alias = column.sql.split('.').next().unwrap_or_default().to_owned();
        Ok((table, alias, sql))
    }
}
