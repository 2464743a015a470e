//! The state of a walk over the trees of a text, and the work that it may be.

use std::rc::Rc;

use sqlparser::ast::Ident;

use super::{
    Column, ObjectName, Target,
    names::variable,
    sources::{Meaning, Relation, Rows, Scope, Source},
    variables::Variables,
};

/// How many sources may be searched, names of tables copied and values related. A statement with 2,100
/// parameters over a join of ten tables takes some 50,000.
const MOST_WORK: usize = 500_000;

/// How deep a tree may be where the parser has no limit of its own.
const DEEPEST: usize = 250;

/// The text is out of proportion: nothing in it is mapped.
#[derive(Debug)]
pub(super) struct OutOfProportion;

pub(super) type Walked<T = ()> = Result<T, OutOfProportion>;

/// A walk over the trees of a text.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) variables: Variables,
    /// The CTEs in scope, the innermost last.
    pub(super) ctes: Vec<(String, Rc<Relation>)>,
    depth: usize,
    work_left: usize,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { variables: Variables::default(), ctes: Vec::new(), depth: 0, work_left: MOST_WORK }
    }

    pub(super) fn work(&mut self, work: usize) -> Walked {
        self.work_left = self.work_left.checked_sub(work).ok_or(OutOfProportion)?;
        Ok(())
    }

    pub(super) fn work_left(&self) -> usize {
        self.work_left
    }

    /// Does something one level further down.
    pub(super) fn deeper<T>(&mut self, walk: impl FnOnce(&mut Self) -> Walked<T>) -> Walked<T> {
        if self.depth >= DEEPEST {
            return Err(OutOfProportion);
        }
        self.depth += 1;
        let walked = walk(self);
        self.depth -= 1;
        walked
    }

    /// A copy of what something stands for.
    pub(super) fn copy(&mut self, meaning: &Meaning) -> Walked<Meaning> {
        self.work(meaning.len() + 1)?;
        Ok(meaning.clone())
    }

    /// Values that must be of one type.
    pub(super) fn relate(&mut self, a: &Meaning, b: &Meaning) -> Walked {
        self.store(a, &b.columns)?;
        self.store(b, &a.columns)
    }

    /// A value that goes to columns.
    pub(super) fn store(&mut self, value: &Meaning, columns: &[Rc<Target>]) -> Walked {
        self.work(value.variables.len() * columns.len())?;
        for name in &value.variables {
            for column in columns {
                self.variables.goes_to(name, column);
            }
        }
        Ok(())
    }

    /// A value that a variable is given.
    pub(super) fn assign(&mut self, to: &Ident, value: &Meaning) -> Walked {
        let Some(to) = variable(to) else { return Ok(()) };
        let to = Rc::from(to);
        self.work(value.len())?;
        for column in &value.columns {
            self.variables.comes_from(&to, column);
        }
        for name in &value.variables {
            self.variables.is_given(&to, name);
        }
        Ok(())
    }

    /// The CTE of that name.
    pub(super) fn cte(&mut self, name: &str) -> Walked<Option<Rc<Relation>>> {
        self.work(self.ctes.len())?;
        let name = name.to_lowercase();
        let found = self.ctes.iter().rev().find(|(other, _)| *other == name);
        Ok(found.map(|(_, relation)| Rc::clone(relation)))
    }

    /// What a name stands for: a variable, a column, or a column of a certain source.
    pub(super) fn name(&mut self, parts: &[Ident], scope: &Scope<'_>) -> Walked<Meaning> {
        match parts {
            [name] if name.quote_style.is_none() && name.value.starts_with('@') => {
                let variables = variable(name).map(Rc::from).into_iter().collect();
                Ok(Meaning { columns: Vec::new(), variables })
            }
            [name] => self.unqualified(&name.value, scope),
            [qualifier @ .., name] => {
                self.work(scope.len())?;
                let qualifier: Vec<&Ident> = qualifier.iter().collect();
                match scope.find(&qualifier) {
                    Some(source) => self.column_of(source, &name.value),
                    None => Ok(Meaning::default()),
                }
            }
            [] => Ok(Meaning::default()),
        }
    }

    /// A column of a source.
    pub(super) fn column_of(&mut self, source: &Source, name: &str) -> Walked<Meaning> {
        match &source.rows {
            Rows::Table(table) => self.column_in(vec![table.clone()], name),
            Rows::Query(relation) => match relation.named(name) {
                Some(meaning) => self.copy(meaning),
                None => {
                    self.work(relation.outputs.len())?;
                    self.column_in(relation.tables().cloned().collect(), name)
                }
            },
            Rows::Unknown => Ok(Meaning::default()),
        }
    }

    fn column_in(&mut self, tables: Vec<ObjectName>, name: &str) -> Walked<Meaning> {
        self.work(tables.len() + 1)?;
        let columns = if tables.is_empty() {
            Vec::new()
        } else {
            vec![Rc::new(Target::Column { tables, column: Column::Named(name.to_owned()) })]
        };
        Ok(Meaning { columns, variables: Vec::new() })
    }

    /// A column of the innermost source that has it.
    ///
    /// A query says what its columns are, a table does not. If a query in scope has the column then
    /// the tables beside it have not, or the name would be ambiguous.
    fn unqualified(&mut self, name: &str, scope: &Scope<'_>) -> Walked<Meaning> {
        let mut tables: Vec<ObjectName> = Vec::new();
        let mut named = None;
        let mut around = Some(scope);
        while let Some(scope) = around {
            self.work(scope.sources.len() + 1)?;
            named = scope.sources.iter().find_map(|source| match &source.rows {
                Rows::Query(relation) => relation.named(name),
                Rows::Table(_) | Rows::Unknown => None,
            });
            if named.is_some() {
                break;
            }
            for source in &scope.sources {
                match &source.rows {
                    Rows::Table(table) => self.add_table(&mut tables, table)?,
                    Rows::Query(relation) => {
                        self.work(relation.outputs.len())?;
                        for table in relation.tables() {
                            self.add_table(&mut tables, table)?;
                        }
                    }
                    Rows::Unknown => {}
                }
            }
            around = scope.outer;
        }
        let mut meaning = self.column_in(tables, name)?;
        if let Some(named) = named {
            meaning.extend(self.copy(named)?);
        }
        Ok(meaning)
    }

    fn add_table(&mut self, tables: &mut Vec<ObjectName>, table: &ObjectName) -> Walked {
        self.work(tables.len() / 8 + 1)?;
        if !tables.contains(table) {
            tables.push(table.clone());
        }
        Ok(())
    }
}
