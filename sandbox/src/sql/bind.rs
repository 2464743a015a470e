//! The binder: what a statement's names and parameters mean. `expr`, `predicate`, `select` and `dml` extend it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use rusqlite::types::Value as Stored;
use sqlparser::ast::{ObjectName, Statement};

use crate::catalogue::{Catalogue, Encryption};
use crate::error::{Result, SqlError};
use crate::exec::control::Caught;
use crate::exec::select_into;
use crate::sql::compound::{NamedQuery, Recursive};
use crate::sql::names::{self, QualifiedName};
use crate::sql::row_plan;
use crate::sql::scope::Scope;
use crate::types::{Collation, Family, SqlType, Value, storage, variant};

/// A declared parameter or variable, as far as binding is concerned.
#[derive(Debug, Clone)]
pub(crate) struct ParameterType {
    /// With '@'.
    pub(crate) name: String,
    pub(crate) ty: SqlType,
    /// Of an encrypted parameter of a request that is being executed.
    pub(crate) encryption: Option<Encryption>,
}

/// What describing has found out about a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Plain,
    Encrypted(Encryption),
}

/// What a `?N` of the SQLite statement stands for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Bind {
    Parameter(usize),
    Constant(Stored),
}

/// Where an operand comes from; messages and encryption depend on it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    Column(String),
    Parameter(usize),
    Literal,
    Expression,
}

/// A bound scalar expression.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub(crate) sql: String,
    /// None is the untyped NULL.
    pub(crate) ty: Option<SqlType>,
    pub(crate) collation: Option<Collation>,
    pub(crate) encryption: Option<Encryption>,
    pub(crate) source: Source,
    pub(crate) nullable: bool,
    pub(crate) identity: bool,
    /// Of a derived table's column that is nothing but parameters: what it must be, they must.
    pub(crate) parameters: Vec<usize>,
}

impl Operand {
    /// The parameters that it is, itself or by way of a derived table.
    pub(crate) fn own_parameters(&self) -> Vec<usize> {
        match self.source {
            Source::Parameter(index) => vec![index],
            _ => self.parameters.clone(),
        }
    }

    pub(crate) fn expression(sql: String, ty: SqlType) -> Self {
        Self {
            sql,
            ty: Some(ty),
            collation: None,
            encryption: None,
            source: Source::Expression,
            nullable: true,
            identity: false,
            parameters: Vec::new(),
        }
    }

    pub(crate) fn null() -> Self {
        Self {
            ty: None,
            source: Source::Literal,
            ..Self::expression("NULL".to_owned(), SqlType::Int)
        }
    }

    pub(crate) fn with_collation(mut self, collation: Option<Collation>) -> Self {
        self.collation = collation;
        self
    }

    /// The SQLite expression with the collation that its type needs wherever it is compared or ordered.
    pub(crate) fn collated(&self) -> String {
        let Some(ty) = self.ty.filter(|_| self.encryption.is_none()) else {
            return self.sql.clone();
        };
        let name = match ty.family() {
            Family::Text => self.collation.clone().unwrap_or_default().sqlite_name(),
            family => match storage::collation(family) {
                Some(name) => name,
                None => return self.sql.clone(),
            },
        };
        format!("{} COLLATE {name}", self.sql)
    }
}

/// Values of the session that a statement may ask for.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionValues {
    pub(crate) row_count: i64,
    pub(crate) transaction_count: i64,
    pub(crate) scope_identity: Option<i64>,
    pub(crate) spid: i64,
    /// The login's name.
    pub(crate) user: String,
    pub(crate) error: i64,
    /// What its temporary tables are called by, and the batch or procedure that runs.
    pub(crate) session: String,
    pub(crate) scope: u32,
    /// Table variables that are parameters.
    pub(crate) read_only: Vec<i64>,
    /// What a CATCH is about.
    pub(crate) caught: Option<Caught>,
    /// The login is the one that the sandbox was started with.
    pub(crate) administrator: bool,
    /// A procedure is running, whose owner vouches for what it uses.
    pub(crate) vouched: bool,
}

impl SessionValues {
    /// Where a name is to be looked for: temporary tables are in a schema of the session's own, table variables in one of
    /// the batch's or the procedure's.
    pub(crate) fn locate(&self, name: QualifiedName) -> QualifiedName {
        let schema = match name.schema.as_str() {
            "#" => format!("#{}", self.session),
            "@" => format!("@{}.{}", self.session, self.scope),
            _ => return name,
        };
        QualifiedName { schema, name: name.name }
    }
}

/// Parameters that nobody has declared: those from `first` on, with the types found for them so far.
#[derive(Debug, Clone)]
pub(crate) struct Undeclared {
    pub(crate) first: usize,
    pub(crate) types: Vec<Option<SqlType>>,
}

/// Deeper expressions would exhaust the stack of whoever walks them.
const MAX_DEPTH: usize = 2000;

#[derive(Debug)]
pub(crate) struct Binder<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) parameters: &'a [ParameterType],
    pub(crate) session: &'a SessionValues,
    /// For sp_describe_parameter_encryption: parameters have no encryption yet, and are given one.
    pub(crate) describing: bool,
    pub(crate) verdicts: Vec<Option<Verdict>>,
    pub(crate) undeclared: Option<Undeclared>,
    pub(crate) binds: Vec<Bind>,
    /// Innermost last; subqueries see outwards.
    pub(crate) scopes: Vec<Scope>,
    /// Of WITH, the later ones hiding the earlier.
    pub(crate) named: Vec<NamedQuery>,
    /// Those whose second part is being bound, and so refers to itself.
    pub(crate) recursive: Vec<Recursive>,
    /// Those that are being bound.
    pub(crate) being_named: Vec<String>,
    pub(crate) next_alias: usize,
    depth: usize,
    /// Inside an aggregate, or where there is no grouping to mind.
    pub(crate) grouping: Option<Grouping>,
    /// Aggregates may stand here.
    pub(crate) aggregates_allowed: bool,
    pub(crate) saw_aggregate: bool,
    /// A view or a procedure vouches for what is used here.
    pub(crate) vouched: bool,
    /// Tables whose columns have been read, and not only written.
    pub(crate) read: RefCell<BTreeSet<i64>>,
}

/// Columns that may be used outside of aggregates, as SQLite text.
#[derive(Debug, Clone)]
pub(crate) struct Grouping {
    pub(crate) keys: Vec<String>,
}

impl<'a> Binder<'a> {
    pub(crate) fn new(
        catalogue: &'a Catalogue,
        parameters: &'a [ParameterType],
        session: &'a SessionValues,
        describing: bool,
    ) -> Self {
        Self {
            catalogue,
            parameters,
            session,
            describing,
            verdicts: vec![None; parameters.len()],
            undeclared: None,
            binds: Vec::new(),
            scopes: Vec::new(),
            named: Vec::new(),
            recursive: Vec::new(),
            being_named: Vec::new(),
            next_alias: 0,
            depth: 0,
            grouping: None,
            aggregates_allowed: false,
            saw_aggregate: false,
            vouched: session.vouched,
            read: RefCell::default(),
        }
    }

    /// Runs `inner` one level deeper, or refuses.
    pub(crate) fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(SqlError::new(
                8631,
                "Internal error: Server stack limit has been reached. Please look for potentially deep nesting in \
                 your query, and try to simplify it.",
            )
            .class(17));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// A name of the statement, as [`SessionValues::locate`] finds it.
    pub(crate) fn name(&self, name: &ObjectName) -> Result<QualifiedName> {
        names::qualified(name).map(|name| self.session.locate(name))
    }

    pub(crate) fn alias(&mut self) -> String {
        self.next_alias += 1;
        format!("a{}", self.next_alias)
    }

    /// `?N` for a constant.
    pub(crate) fn constant(&mut self, value: &Value) -> String {
        self.binds.push(Bind::Constant(storage::store(value)));
        format!("?{}", self.binds.len())
    }

    pub(crate) fn literal(&mut self, value: &Value, ty: SqlType) -> Operand {
        let sql = self.constant(value);
        Operand {
            source: Source::Literal,
            nullable: value.is_null(),
            ..Operand::expression(sql, ty)
        }
    }

    pub(crate) fn parameter(&mut self, name: &str) -> Result<Operand> {
        let index = self.parameter_index(name)?;
        let parameter = self.parameters.get(index).ok_or_else(|| SqlError::undeclared(name))?;
        let bind = Bind::Parameter(index);
        let at = match self.binds.iter().position(|known| *known == bind) {
            Some(at) => at,
            None => {
                self.binds.push(bind);
                self.binds.len() - 1
            }
        };
        let (ty, encryption) = (parameter.ty, parameter.encryption);
        let declared = self.undeclared.as_ref().is_none_or(|undeclared| index < undeclared.first);
        Ok(Operand {
            ty: declared.then_some(ty),
            encryption,
            source: Source::Parameter(index),
            ..Operand::expression(format!("?{}", at + 1), ty)
        })
    }

    /// Binds a statement for the errors in it, and for what is found out by the way.
    pub(crate) fn statement(&mut self, statement: &Statement) -> Result<()> {
        match statement {
            Statement::Query(query) => match select_into::split(query)? {
                None => drop(self.query(query)?),
                Some((query, _)) => drop(self.query(&query)?),
            },
            Statement::Insert(insert) => drop(self.insert(insert)?),
            statement if row_plan::by_rows(statement) => drop(self.rows(statement)?),
            Statement::Update(update) => drop(self.update(update)?),
            Statement::Delete(delete) => drop(self.delete(delete)?),
            _ => {}
        }
        Ok(())
    }

    /// A parameter that nobody has declared takes the type of what it meets first.
    pub(crate) fn suggest_type(&mut self, operand: &Operand, ty: Option<SqlType>) {
        if let (Some(undeclared), Source::Parameter(index)) =
            (&mut self.undeclared, &operand.source)
            && let Some(at) = index.checked_sub(undeclared.first)
            && let Some(slot) = undeclared.types.get_mut(at)
        {
            *slot = slot.or(ty);
        }
    }

    pub(crate) fn parameter_index(&self, name: &str) -> Result<usize> {
        self.parameters
            .iter()
            .position(|parameter| parameter.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| SqlError::undeclared(name))
    }

    pub(crate) fn parameter_name(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("?", |parameter| parameter.name.as_str())
    }

    /// `operand` as `to`, by a conversion at run time where the representations differ.
    pub(crate) fn convert(&self, operand: &Operand, to: SqlType, cut_off: bool) -> Result<String> {
        match operand.ty {
            None => Ok("NULL".to_owned()),
            Some(from) if from == to => Ok(operand.sql.clone()),
            Some(from) => {
                allowed(from, to)?;
                Ok(format!("tds_convert({}, '{from}', '{to}', {})", operand.sql, u8::from(cut_off)))
            }
        }
    }
}

/// Pairs that no value can be converted between.
fn allowed(from: SqlType, to: SqlType) -> Result<()> {
    use Family::*;
    let clash = match (from.family(), to.family()) {
        (Family::Variant, _) => !(variant::holds(to) || to == SqlType::Variant),
        (_, Family::Variant) => !variant::holds(from),
        (Xml, Text | Bytes) => to.is_legacy() || to == SqlType::RowVersion,
        (Text | Bytes | Xml, Xml) => from == SqlType::Image,
        (Xml, _) | (_, Xml) => true,
        (a, b) if from.is_legacy() || to.is_legacy() => a != b,
        (Guid, Guid | Text | Bytes) | (Text | Bytes, Guid) => false,
        (Guid, _) | (_, Guid) => true,
        (Date | Time | DateTime | Offset, Integer | Float | Decimal | Bytes) => true,
        (Integer | Float | Decimal | Bytes, Date | Time | DateTime | Offset) => true,
        (Date, Time) | (Time, Date) => true,
        (Float, Bytes) | (Decimal, Bytes) | (Bytes, Float | Decimal) => true,
        _ => false,
    };
    if clash { Err(SqlError::type_clash(from.name(), to.name())) } else { Ok(()) }
}

/// 257: what is converted by CAST alone, and not because a value is needed in that place.
pub(crate) fn require_implicit(operand: &Operand, to: SqlType) -> Result<()> {
    let explicit = |from: SqlType| match (from, to) {
        (SqlType::Variant, to) => to != SqlType::Variant,
        (SqlType::Xml, to) => to != SqlType::Xml,
        _ => false,
    };
    match operand.ty.filter(|from| explicit(*from)) {
        None => Ok(()),
        Some(from) => {
            allowed(from, to)?;
            Err(SqlError::new(
                257,
                format!(
                    "Implicit conversion from data type {} to {} is not allowed. Use the CONVERT function to run this \
                     query.",
                    from.name(),
                    to.name()
                ),
            ))
        }
    }
}

/// A statement that this server does not know, by its first words.
pub(crate) fn unsupported(statement: &Statement) -> SqlError {
    let shown = statement.to_string();
    let words: Vec<&str> = shown.split_whitespace().take(3).collect();
    SqlError::unsupported(format!("the statement {}", words.join(" ")))
}
