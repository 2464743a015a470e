//! Statements that store: INSERT, UPDATE, DELETE, MERGE.

use std::rc::Rc;

use sqlparser::ast::{
    self, Assignment, AssignmentTarget, Delete, Expr, FromTable, Ident, Insert, Merge, MergeAction,
    MergeInsertKind, MergeUpdateKind, OutputClause, SelectInto, Statement, TableFactor,
    TableObject, Update, UpdateTableFromKind,
};

use super::{
    Column, Target,
    expression::argument,
    names::{parts, variable},
    sources::{Output, Relation, Rows, Scope, Source},
    walk::{Walk, Walked},
};

impl Walk {
    /// Walks a statement. One that neither stores nor selects has nothing to find.
    pub(super) fn statement(&mut self, statement: &Statement) -> Walked {
        self.deeper(|walk| match statement {
            Statement::Query(query) => walk.query(query, None).map(drop),
            Statement::Insert(insert) => walk.insert(insert),
            Statement::Update(update) => walk.update(update),
            Statement::Delete(delete) => walk.delete(delete),
            Statement::Merge(merge) => walk.merge(merge),
            _ => Ok(()),
        })
    }

    fn insert(&mut self, insert: &Insert) -> Walked {
        let TableObject::TableName(name) = &insert.table else { return Ok(()) };
        let target = self.table(&parts(name), None)?;
        if let Some(source) = &insert.source {
            let relation = self.query(source, None)?;
            self.fill(&target, &last_parts(&insert.columns), &relation)?;
        }
        self.output(insert.output.as_ref(), &target, Scope::default())
    }

    /// Rows that are stored: column by column, as far as their place is certain.
    fn fill(&mut self, target: &Source, columns: &[&Ident], rows: &Relation) -> Walked {
        for (place, output) in rows.outputs.iter().enumerate() {
            let Output::Column(_, value) = output else { break };
            let to = match (&target.rows, columns) {
                (Rows::Table(table), []) => {
                    let tables = vec![table.clone()];
                    vec![Rc::new(Target::Column { tables, column: Column::Position(place) })]
                }
                (_, []) => break,
                (_, columns) => match columns.get(place) {
                    Some(column) => self.column_of(target, &column.value)?.columns,
                    None => break,
                },
            };
            self.store(value, &to)?;
        }
        Ok(())
    }

    fn update(&mut self, update: &Update) -> Walked {
        let mut scope = Scope::default();
        if let Some(UpdateTableFromKind::AfterSet(from) | UpdateTableFromKind::BeforeSet(from)) =
            &update.from
        {
            self.from(from, &mut scope)?;
        }
        let target = self.target(&update.table.relation, &mut scope)?;
        self.assignments(&update.assignments, &target, &scope)?;
        self.values(&update.selection, &scope)?;
        self.output(update.output.as_ref(), &target, scope)
    }

    fn assignments(
        &mut self,
        assignments: &[Assignment],
        target: &Source,
        scope: &Scope<'_>,
    ) -> Walked {
        for assignment in assignments {
            let value = self.value(&assignment.value, scope)?;
            let AssignmentTarget::ColumnName(name) = &assignment.target else { continue };
            match parts(name).as_slice() {
                [name] if variable(name).is_some() => self.assign(name, &value)?,
                [.., name] => {
                    let columns = self.column_of(target, &name.value)?.columns;
                    self.store(&value, &columns)?;
                }
                [] => {}
            }
        }
        Ok(())
    }

    /// What an UPDATE or DELETE changes: a source of its FROM clause, by its alias or name, or a table
    /// beside them.
    fn target(&mut self, factor: &TableFactor, scope: &mut Scope<'_>) -> Walked<Source> {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                let name = parts(name);
                self.work(scope.len())?;
                if let Some(source) = scope.find(&name) {
                    return Ok(source.clone());
                }
                let source = self.table(&name, alias.as_ref())?;
                scope.sources.insert(0, source.clone());
                Ok(source)
            }
            _ => Ok(Source { alias: None, rows: Rows::Unknown }),
        }
    }

    fn delete(&mut self, delete: &Delete) -> Walked {
        let mut scope = Scope::default();
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        self.from(from, &mut scope)?;
        for name in &delete.tables {
            let name = parts(name);
            self.work(scope.len())?;
            if scope.find(&name).is_none() {
                let source = self.table(&name, None)?;
                scope.sources.insert(0, source);
            }
        }
        self.values(&delete.selection, &scope)
    }

    fn merge(&mut self, merge: &Merge) -> Walked {
        let mut scope = Scope::default();
        let target = self.target(&merge.table, &mut scope)?;
        let source = ast::TableWithJoins { relation: merge.source.clone(), joins: Vec::new() };
        self.from(std::slice::from_ref(&source), &mut scope)?;
        self.value(&merge.on, &scope)?;
        for clause in &merge.clauses {
            self.values(&clause.predicate, &scope)?;
            match &clause.action {
                MergeAction::Update(update) => {
                    if let MergeUpdateKind::Set(assignments) = &update.kind {
                        self.assignments(assignments, &target, &scope)?;
                    }
                }
                MergeAction::Insert(insert) => {
                    if let MergeInsertKind::Values(values) = &insert.kind {
                        let rows = self.rows(values, &scope)?;
                        self.fill(&target, &last_parts(&insert.columns), &rows)?;
                    }
                }
                MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => {}
            }
        }
        self.output(merge.output.as_ref(), &target, scope)
    }

    /// `OUTPUT inserted.Id, @p INTO t (a, b)`.
    fn output(
        &mut self,
        output: Option<&OutputClause>,
        target: &Source,
        mut scope: Scope<'_>,
    ) -> Walked {
        let Some(OutputClause::Output { select_items, into_table, .. }) = output else {
            return Ok(());
        };
        for pseudo in ["inserted", "deleted"] {
            let alias = Some(pseudo.to_owned());
            scope.sources.push(Source { alias, rows: target.rows.clone() });
        }
        let rows = self.projection(select_items, &scope)?;
        match into_table {
            Some(SelectInto { targets, .. }) => match targets.as_slice() {
                [into] => self.output_into(into, &rows),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// The parser takes a table with its columns for a function with its arguments.
    fn output_into(&mut self, into: &Expr, rows: &Relation) -> Walked {
        let (name, columns): (Vec<&Ident>, Vec<&Ident>) = match into {
            Expr::Identifier(name) => (vec![name], Vec::new()),
            Expr::CompoundIdentifier(parts) => (parts.iter().collect(), Vec::new()),
            Expr::Function(function) => {
                let ast::FunctionArguments::List(list) = &function.args else { return Ok(()) };
                let columns = list.args.iter().map(|column| match argument(column) {
                    Some(Expr::Identifier(name)) => Some(name),
                    _ => None,
                });
                (parts(&function.name), columns.collect::<Option<_>>().unwrap_or_default())
            }
            _ => return Ok(()),
        };
        let target = self.table(&name, None)?;
        self.fill(&target, &columns, rows)
    }
}

/// The columns of an INSERT, which may be qualified.
fn last_parts(columns: &[ast::ObjectName]) -> Vec<&Ident> {
    columns.iter().filter_map(|column| parts(column).last().copied()).collect()
}
