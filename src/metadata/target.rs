//! Which columns the parameters of a statement go to, by its text alone.
//!
//! [`targets`] parses T-SQL and follows each parameter to the columns that it is stored in or compared
//! with, and to the parameters of the procedures that it is handed to. It knows nothing of the
//! database: whether a table has the column, and what it is, the caller must ask.
//!
//! # What maps
//!
//! * A value stored: `INSERT` (with and without column list, rows and `SELECT`), `UPDATE … SET`,
//!   `MERGE`, `OUTPUT … INTO`.
//! * A value compared: `=`, `<>`, `<`, `>`, `<=`, `>=`, `LIKE`, `IN`, `BETWEEN`, `IS [NOT] DISTINCT
//!   FROM`, `CASE col WHEN @p`, `NULLIF`, in any clause and any subquery; and a value that a set
//!   operation lines up with a column.
//! * A value handed on: `EXEC`, by position or by name; `DECLARE @x … = @p`, `SET @x = @p` and
//!   `SELECT @x = @p` to where `@x` goes.
//! * A value fetched: `SELECT @p = col`.
//! * Through what keeps the type: parentheses, a sign, `COLLATE`, `ISNULL`, `COALESCE`, `IIF`, the
//!   results of `CASE`, a scalar subquery, a derived table, a CTE.
//!
//! # What does not
//!
//! * Arithmetic, concatenation, `CAST`, `CONVERT` and every other function of a parameter: the type is
//!   the expression's.
//! * `TOP`, `OFFSET`, `FETCH`, arguments of functions in `FROM`.
//! * Columns of table variables, of functions in `FROM`, of `PIVOT`, and of linked servers (names of
//!   four parts).
//! * Dynamic SQL, and the bodies of procedures, functions, triggers and views that a batch creates.
//!
//! # What cannot be parsed
//!
//! A batch is read statement by statement, and control flow is passed over. A statement that the
//! parser cannot follow, or that goes on where the parser thinks that it ends, maps nothing; those
//! beside it still do. A text that has no end of a string, that is larger than
//! [`LONGEST_STATEMENT`], nested too deeply or otherwise out of proportion, maps nothing at all.
//! The time that a text takes depends on no more than its length, and the caller's stack is not
//! touched: the parser runs in a thread of its own.

mod batch;
mod dialect;
mod expression;
mod names;
mod query;
mod sources;
mod statement;
#[cfg(test)]
mod tests;
mod tokens;
mod variables;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

pub use names::ObjectName;

/// Longer texts are not looked at, in bytes.
const LONGEST_STATEMENT: usize = 256 * 1024;

/// The stack that a text is parsed on, in bytes. A level of nesting takes up to 40 KiB, without
/// optimisation four times that, and a worker of tokio's has 2 MiB in all. Only what is used is ever
/// backed by memory.
const STACK: usize = 16 * 1024 * 1024;

/// Which column of a table, or which parameter of a procedure.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    /// By its name, quotes taken off. A procedure's parameter has its `@`.
    Named(String),
    /// By its place, counted from 0. For an INSERT without column list: among the columns that can be
    /// inserted.
    Position(usize),
}

/// Where a parameter goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A column of one of these tables: the first that has it. The innermost scope comes first.
    Column {
        /// Tables and views, never none.
        tables: Vec<ObjectName>,
        /// The column.
        column: Column,
    },
    /// A parameter of a procedure that the text calls.
    ProcedureParameter {
        /// The procedure.
        procedure: ObjectName,
        /// Its parameter.
        parameter: Column,
    },
}

/// What an [`ObjectName`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A table or a view.
    Table,
    /// A procedure.
    Procedure,
}

/// The targets of a statement's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// By the name of the parameter, `@` included, in lower case.
    by_parameter: BTreeMap<String, Vec<Target>>,
}

impl Targets {
    /// Where a parameter goes, in the order of the text. The name has its `@`; case does not matter.
    pub fn of(&self, parameter: &str) -> &[Target] {
        self.by_parameter.get(&parameter.to_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// Every table and procedure that a target names, each once.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectName, ObjectKind)> {
        let mut objects = BTreeSet::new();
        for target in self.by_parameter.values().flatten() {
            match target {
                Target::Column { tables, .. } => {
                    objects.extend(tables.iter().map(|table| (table, ObjectKind::Table)));
                }
                Target::ProcedureParameter { procedure, .. } => {
                    objects.insert((procedure, ObjectKind::Procedure));
                }
            }
        }
        objects.into_iter()
    }

    /// Whether no parameter has a target.
    pub fn is_empty(&self) -> bool {
        self.by_parameter.is_empty()
    }
}

/// Whether a statement of T-SQL begins with this word, in upper or lower case.
pub(crate) fn begins_a_statement(word: &str) -> bool {
    batch::STATEMENTS.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Follows the parameters of a statement, or of a batch, to their columns.
///
/// Variables that the text declares are followed as parameters are, and listed like them. The answer
/// is empty if the text cannot be parsed or nothing maps.
pub fn targets(statement: &str) -> Targets {
    // Nothing to follow, or too much.
    if !statement.contains('@') || statement.len() > LONGEST_STATEMENT {
        return Targets::default();
    }
    thread::scope(|scope| {
        let parser = thread::Builder::new().name("targets".to_owned()).stack_size(STACK);
        let parsing =
            parser.spawn_scoped(scope, || tokens::read(statement).and_then(batch::walk)).ok()?;
        parsing.join().ok()?
    })
    .unwrap_or_default()
}
