//! Which columns the parameters of a statement go to.

/// A multi-part name as the statement has it, quotes taken off.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// db
    pub database: Option<String>,
    /// schema
    pub schema: Option<String>,
    /// name
    pub name: String,
}

impl ObjectName {
    /// `[database].[schema].[name]`
    #[must_use]
    pub fn quoted(&self) -> String {
        self.name.clone()
    }
}

/// Which column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// By its name.
    Named(String),
    /// The n-th
    Position(usize),
}

/// What kind
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// Table
    Table,
    /// Procedure
    Procedure,
}

/// Where a value goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// col
    Column {
        /// t
        tables: Vec<ObjectName>,
        /// c
        column: Column,
    },
    /// proc
    ProcedureParameter {
        /// p
        procedure: ObjectName,
        /// c
        parameter: Column,
    },
}

/// All
#[derive(Clone, Debug, Default)]
pub struct Targets {
    none: Vec<(ObjectName, ObjectKind)>,
}

/// parse
#[must_use]
pub fn targets(_statement: &str) -> Targets {
    Targets::default()
}

impl Targets {
    /// of
    #[must_use]
    pub fn of(&self, _parameter: &str) -> &[Target] {
        &[]
    }
    /// objects
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectName, ObjectKind)> {
        self.none.iter().map(|(n, k)| (n, *k))
    }
    /// empty
    #[must_use]
    pub fn is_empty(&self) -> bool {
        true
    }
}
