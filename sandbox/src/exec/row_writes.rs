//! Runs a [`RowPlan`]: asks which rows, then writes them one after the other and keeps what OUTPUT shows of each.

use std::collections::HashSet;

use rusqlite::types::{Value as Stored, ValueRef};

use crate::catalogue::{Catalogue, Table};
use crate::error::{Result, SqlError};
use crate::exec::parameters::Parameters;
use crate::exec::query::{Written, bind, constraint, write_row};
use crate::exec::session::Session;
use crate::sql::row_plan::{Action, RowOutput, RowPlan, Shown, Verb};

/// What is to be done with one row.
struct Pending<'p> {
    action: &'p Action,
    row: Option<i64>,
    sources: Vec<Stored>,
    values: Vec<Stored>,
}

/// What a row holds, column by column; nothing if there is no such row.
type Image = Vec<Stored>;

impl Session {
    pub(crate) fn write_rows(
        &mut self,
        plan: &RowPlan,
        parameters: &Parameters,
        catalogue: &Catalogue,
    ) -> Result<Written> {
        let lost = || SqlError::new(596, "A table was dropped while it was written to.");
        let table = catalogue.tables.iter().find(|table| table.object_id == plan.object_id);
        let table = table.ok_or_else(lost)?;
        let mut pending = self.pending(plan, parameters)?;
        // Rows that go make room for those that come.
        pending.sort_by_key(|pending| pending.action.verb);
        self.load_identity(table)?;
        if pending.iter().any(|pending| pending.action.verb == Verb::Update) {
            self.before_update(catalogue, table, 0)?;
        }
        let mut written = Written::default();
        for pending in &pending {
            self.write_one(pending, table, plan.output.as_ref(), &mut written)?;
            written.count = written.count.saturating_add(1);
        }
        for verb in [Verb::Delete, Verb::Update, Verb::Insert] {
            if pending.iter().any(|pending| pending.action.verb == verb) {
                self.enforce(catalogue, table, verb.name(), 0)?;
            }
        }
        self.save_row_version(table)?;
        written.identity = self.save_identity(table)?;
        Ok(written)
    }

    fn pending<'p>(&self, plan: &'p RowPlan, parameters: &Parameters) -> Result<Vec<Pending<'p>>> {
        let sources = plan.output.as_ref().map_or(0, RowOutput::sources);
        let mut pending = Vec::new();
        let mut seen = HashSet::new();
        for part in &plan.parts {
            let mut statement = self.connection.prepare_cached(&part.sql)?;
            bind(&mut statement, &plan.binds, parameters)?;
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                let which: Option<i64> = row.get(1)?;
                let which = which.and_then(|which| usize::try_from(which).ok());
                let Some(action) = which.and_then(|which| part.actions.get(which)) else {
                    continue;
                };
                let number: Option<i64> = row.get(0)?;
                if let Some(number) = number
                    && !seen.insert(number)
                {
                    if plan.strict {
                        return Err(twice());
                    }
                    continue;
                }
                let values = |first: usize, count: usize| {
                    let columns = (0..count).map(|i| row.get(first.saturating_add(i)));
                    columns.collect::<rusqlite::Result<Vec<Stored>>>()
                };
                let (sources, values) = (values(2, sources)?, values(action.first, action.values)?);
                pending.push(Pending { action, row: number, sources, values });
            }
        }
        Ok(pending)
    }

    fn write_one(
        &self,
        pending: &Pending<'_>,
        table: &Table,
        output: Option<&RowOutput>,
        written: &mut Written,
    ) -> Result<()> {
        let Pending { action, row, sources, values } = pending;
        let before = self.image(table, output, *row)?;
        let mut statement = self.connection.prepare_cached(&action.sql)?;
        for (at, value) in (1usize..).zip(values) {
            statement.raw_bind_parameter(at, value)?;
        }
        if action.verb != Verb::Insert {
            statement.raw_bind_parameter(values.len().saturating_add(1), row)?;
        }
        statement.raw_execute().map_err(|error| constraint(error, table))?;
        let Some(output) = output else { return Ok(()) };
        let row = match action.verb {
            Verb::Delete => None,
            Verb::Update => *row,
            Verb::Insert => Some(self.connection.last_insert_rowid()),
        };
        let after = self.image(table, Some(output), row)?;
        let verb = Stored::Text(action.verb.name().to_owned());
        let shown = output.shown.iter().map(|shown| {
            let value = match shown {
                Shown::Action => Some(&verb),
                Shown::Inserted(at) => after.get(*at),
                Shown::Deleted(at) => before.get(*at),
                Shown::Source(at) => sources.get(*at),
            };
            value.map_or(ValueRef::Null, ValueRef::from)
        });
        write_row(&mut written.rows, &shown.collect::<Vec<_>>(), &output.columns)
    }

    fn image(&self, table: &Table, output: Option<&RowOutput>, row: Option<i64>) -> Result<Image> {
        let (Some(output), Some(row)) = (output, row) else { return Ok(Image::new()) };
        let (list, name) = (output.names.join(", "), table.sqlite_name());
        let sql = format!("SELECT {list} FROM {name} WHERE rowid = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let columns = output.names.len();
        Ok(statement.query_row([row], |row| (0..columns).map(|i| row.get(i)).collect())?)
    }
}

fn twice() -> SqlError {
    SqlError::new(
        8672,
        "The MERGE statement attempted to UPDATE or DELETE the same row more than once. This happens when a target row \
         matches more than one source row. A MERGE statement cannot UPDATE/DELETE the same row of the target table \
         multiple times. Refine the ON clause to ensure a target row matches at most one source row, or use the GROUP BY \
         clause to group the source rows.",
    )
}
