//! MERGE: its clauses, each over the rows that it can see.
//!
//! Whether SQL Server takes an encrypted parameter that reaches the table by way of the source is not confirmed. Here
//! it does, if the parameter has the column's type.

use sqlparser::ast::{
    Merge, MergeAction, MergeClause, MergeClauseKind, MergeInsertKind, MergeUpdateKind,
    TableWithJoins,
};

use crate::catalogue::Table;
use crate::error::{Result, SqlError};
use crate::sql::bind::Binder;
use crate::sql::dml::insert_columns;
use crate::sql::row_plan::{Clause, RowPlan, Verb, part};
use crate::sql::scope::Scope;

/// The three kinds of WHEN.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Matched,
    NotMatched,
    NotMatchedBySource,
}

impl When {
    fn of(clause: &MergeClause) -> Self {
        match clause.clause_kind {
            MergeClauseKind::Matched => When::Matched,
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => When::NotMatched,
            MergeClauseKind::NotMatchedBySource => When::NotMatchedBySource,
        }
    }

    fn name(self) -> &'static str {
        match self {
            When::Matched => "WHEN MATCHED",
            When::NotMatched => "WHEN NOT MATCHED",
            When::NotMatchedBySource => "WHEN NOT MATCHED BY SOURCE",
        }
    }
}

impl Binder<'_> {
    pub(crate) fn merge(&mut self, merge: &Merge) -> Result<RowPlan> {
        check_clauses(&merge.clauses)?;
        if !merge.optimizer_hints.is_empty() {
            return Err(SqlError::unsupported("MERGE with hints"));
        }
        let (table, alias) = self.write_target(&merge.table)?;
        let target = self.scopes.pop().unwrap_or_default();
        let source = TableWithJoins { relation: merge.source.clone(), joins: Vec::new() };
        self.scopes.push(Scope::default());
        let source_sql = self.bind_from(std::slice::from_ref(&source))?;
        let source = self.scopes.pop().unwrap_or_default();
        let name = |scope: &Scope| scope.tables.first().map(|table| table.name.to_lowercase());
        if name(&target) == name(&source) {
            return Err(same_names(&name(&target).unwrap_or_default()));
        }
        let both = Scope { tables: [target.tables.clone(), source.tables.clone()].concat() };
        self.scopes.push(both.clone());
        let on = self.condition(&merge.on)?;
        let output = self.row_output(&table, merge.output.as_ref())?;
        self.scopes.pop();
        let target_sql = format!("{} AS {alias}", table.sqlite_name());
        let row = format!("{alias}.rowid");
        let mut parts = Vec::new();
        for (when, scope) in
            [(When::Matched, both), (When::NotMatched, source), (When::NotMatchedBySource, target)]
        {
            let clauses: Vec<&MergeClause> =
                merge.clauses.iter().filter(|clause| When::of(clause) == when).collect();
            if clauses.is_empty() {
                continue;
            }
            self.scopes.push(scope);
            let bound = clauses.into_iter().map(|clause| self.merge_clause(&table, clause));
            let bound = bound.collect::<Result<Vec<_>>>()?;
            self.scopes.pop();
            let from = match when {
                When::Matched => format!("{target_sql} JOIN {source_sql} ON {on}"),
                When::NotMatched => {
                    format!("{source_sql} WHERE NOT EXISTS (SELECT 1 FROM {target_sql} WHERE {on})")
                }
                When::NotMatchedBySource => {
                    format!("{target_sql} WHERE NOT EXISTS (SELECT 1 FROM {source_sql} WHERE {on})")
                }
            };
            let row = if when == When::NotMatched { "NULL" } else { row.as_str() };
            let in_view = when != When::NotMatchedBySource;
            parts.push(part(&table, (row, &from), bound, output.as_ref(), in_view));
        }
        for verb in [Verb::Delete, Verb::Update, Verb::Insert] {
            if parts.iter().flat_map(|part| &part.actions).any(|action| action.verb == verb) {
                self.require_write(verb.name(), &table)?;
            }
        }
        let binds = std::mem::take(&mut self.binds);
        Ok(RowPlan { object_id: table.object_id, parts, binds, output, strict: true })
    }

    fn merge_clause(&mut self, table: &Table, clause: &MergeClause) -> Result<Clause> {
        let condition =
            clause.predicate.as_ref().map(|condition| self.condition(condition)).transpose()?;
        let (verb, values) = match &clause.action {
            MergeAction::Delete { .. } => (Verb::Delete, Vec::new()),
            MergeAction::Update(update)
                if update.update_predicate.is_none() && update.delete_predicate.is_none() =>
            {
                let MergeUpdateKind::Set(assignments) = &update.kind else {
                    return Err(SqlError::syntax("*"));
                };
                (Verb::Update, self.assignments(table, assignments)?)
            }
            MergeAction::Insert(insert) if insert.insert_predicate.is_none() => {
                let MergeInsertKind::Values(values) = &insert.kind else {
                    return Err(SqlError::syntax("INSERT"));
                };
                let [row] = values.rows.as_slice() else { return Err(SqlError::syntax(",")) };
                let columns = insert_columns(table, &insert.columns, false)?;
                let values = self.row(&columns, &row.content)?;
                (Verb::Insert, self.completed(table, &columns, values)?)
            }
            _ => return Err(SqlError::syntax("WHERE")),
        };
        Ok(Clause { condition, verb, values })
    }
}

/// What SQL Server says of the clauses before it looks at what is in them.
fn check_clauses(clauses: &[MergeClause]) -> Result<()> {
    for when in [When::Matched, When::NotMatched, When::NotMatchedBySource] {
        let name = when.name();
        let mut seen: Vec<&str> = Vec::new();
        let mut unconditional = false;
        for clause in clauses.iter().filter(|clause| When::of(clause) == when) {
            let verb = match &clause.action {
                MergeAction::Insert(_) => "INSERT",
                MergeAction::Update(_) => "UPDATE",
                MergeAction::Delete { .. } => "DELETE",
                MergeAction::DoNothing { .. } => return Err(SqlError::syntax("DO")),
            };
            if seen.contains(&verb) {
                let text = format!(
                    "An action of type '{verb}' cannot appear more than once in a '{name}' clause of a MERGE statement."
                );
                return Err(SqlError::new(10714, text).class(15));
            }
            if unconditional {
                let text = format!(
                    "In a MERGE statement, a '{name}' clause with a search condition cannot appear after a '{name}' \
                     clause with no search condition."
                );
                return Err(SqlError::new(5324, text).class(15));
            }
            seen.push(verb);
            unconditional = clause.predicate.is_none();
        }
    }
    Ok(())
}

fn same_names(name: &str) -> SqlError {
    SqlError::new(
        5318,
        format!(
            "In a MERGE statement, the source and target cannot have the same name or alias. Use different aliases for \
             the source and target to ensure that they have unique names in the MERGE statement: '{name}'."
        ),
    )
    .class(15)
}

/// 10713.
pub(crate) fn not_terminated() -> SqlError {
    SqlError::new(10713, "A MERGE statement must be terminated by a semi-colon (;).").class(15)
}
