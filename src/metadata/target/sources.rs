//! What a FROM clause offers, and what its columns stand for.

use std::{collections::HashMap, rc::Rc};

use sqlparser::ast::Ident;

use super::{
    ObjectName, Target,
    names::{same, variable},
};

/// What an expression stands for without a change of its type: columns, parameters, or nothing that
/// we know of.
#[derive(Clone, Debug, Default)]
pub(super) struct Meaning {
    pub(super) columns: Vec<Rc<Target>>,
    pub(super) variables: Vec<Rc<str>>,
}

impl Meaning {
    pub(super) fn len(&self) -> usize {
        self.columns.len() + self.variables.len()
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.columns.extend(other.columns);
        self.variables.extend(other.variables);
    }
}

/// A column of a query's result.
#[derive(Clone, Debug)]
pub(super) enum Output {
    /// A column of its own, with its name in lower case.
    Column(Option<String>, Meaning),
    /// All columns of a table, however many they are.
    Table(ObjectName),
    /// Columns that we know nothing of, however many they are.
    Unknown,
}

/// The result of a query.
#[derive(Debug, Default)]
pub(super) struct Relation {
    pub(super) outputs: Vec<Output>,
    by_name: HashMap<String, usize>,
}

impl Relation {
    pub(super) fn new(outputs: Vec<Output>) -> Self {
        let mut by_name = HashMap::new();
        for (at, output) in outputs.iter().enumerate() {
            if let Output::Column(Some(name), _) = output {
                by_name.entry(name.clone()).or_insert(at);
            }
        }
        Self { outputs, by_name }
    }

    /// The same result under other names: `AS t (a, b)`. Columns whose place is uncertain stand for
    /// nothing.
    pub(super) fn renamed<'a>(self, names: impl Iterator<Item = &'a Ident>) -> Self {
        let mut names = names.peekable();
        if names.peek().is_none() {
            return self;
        }
        let mut known = self
            .outputs
            .into_iter()
            .map_while(|output| match output {
                Output::Column(_, meaning) => Some(meaning),
                Output::Table(_) | Output::Unknown => None,
            })
            .fuse();
        let outputs = names.map(|name| {
            Output::Column(Some(name.value.to_lowercase()), known.next().unwrap_or_default())
        });
        Self::new(outputs.collect())
    }

    /// A column that the query itself names.
    pub(super) fn named(&self, name: &str) -> Option<&Meaning> {
        match self.outputs.get(*self.by_name.get(&name.to_lowercase())?)? {
            Output::Column(_, meaning) => Some(meaning),
            Output::Table(_) | Output::Unknown => None,
        }
    }

    /// The tables that the other columns come from.
    pub(super) fn tables(&self) -> impl Iterator<Item = &ObjectName> {
        self.outputs.iter().filter_map(|output| match output {
            Output::Table(table) => Some(table),
            Output::Column(..) | Output::Unknown => None,
        })
    }
}

/// The rows of a source.
#[derive(Clone, Debug)]
pub(super) enum Rows {
    /// A table or a view of the database's.
    Table(ObjectName),
    /// The result of a query: a derived table or a CTE.
    Query(Rc<Relation>),
    /// A table variable, a function, a table on another server.
    Unknown,
}

/// A member of a FROM clause.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The name that qualifies its columns, if it is not the table's own.
    pub(super) alias: Option<String>,
    pub(super) rows: Rows,
}

impl Source {
    /// Whether a column's qualifier means this source.
    pub(super) fn answers_to(&self, qualifier: &[&Ident]) -> bool {
        match (&self.alias, &self.rows) {
            (Some(alias), _) => {
                matches!(qualifier, [name] if same(&name.value, alias))
            }
            (None, Rows::Table(table)) => table.answers_to(qualifier),
            (None, _) => false,
        }
    }
}

/// The sources that an expression can name: those of its query, then those of the queries around.
#[derive(Debug, Default)]
pub(super) struct Scope<'s> {
    pub(super) sources: Vec<Source>,
    pub(super) outer: Option<&'s Scope<'s>>,
}

impl Scope<'_> {
    pub(super) fn within<'s>(outer: Option<&'s Scope<'s>>) -> Scope<'s> {
        Scope { sources: Vec::new(), outer }
    }

    /// How many sources there are to search.
    pub(super) fn len(&self) -> usize {
        self.sources.len() + self.outer.map_or(0, Scope::len) + 1
    }

    /// The innermost source that a qualifier means.
    pub(super) fn find(&self, qualifier: &[&Ident]) -> Option<&Source> {
        let found = self.sources.iter().find(|source| source.answers_to(qualifier));
        found.or_else(|| self.outer.and_then(|outer| outer.find(qualifier)))
    }
}

/// The name of a table variable, which is its alias too.
pub(super) fn table_variable(parts: &[&Ident]) -> Option<String> {
    match parts {
        [name] => variable(name),
        _ => None,
    }
}
