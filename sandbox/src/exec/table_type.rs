//! CREATE TYPE ... AS TABLE, and parameters of such types: a parameter becomes a table variable that nobody may write to.

use rusqlite::{Connection, params};
use sqlparser::ast::{ColumnDef, TableConstraint};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;

use crate::catalogue::store::{changed, collect};
use crate::error::{Result, SqlError};
use crate::exec::parameters::{Parameters, TableArgument};
use crate::exec::response::{Outcome, Response};
use crate::exec::session::Session;
use crate::sql::batch::peek_word;
use crate::sql::bind::Binder;
use crate::sql::dialect::TransactSql;
use crate::sql::names::{self, QualifiedName};
use crate::sql::syntax_error;
use crate::tds::tvp::WireTable;
use crate::types::{SqlType, Value, storage};

/// A table type of the database.
#[derive(Debug, Clone)]
pub(crate) struct TableType {
    pub(crate) id: i64,
    pub(crate) name: QualifiedName,
    pub(crate) columns: Vec<ColumnDef>,
    pub(crate) constraints: Vec<TableConstraint>,
}

/// The first id that SQL Server gives to a type that somebody makes.
const FIRST_TYPE_ID: i64 = 257;

pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS table_types (
    id INTEGER PRIMARY KEY, schema_name TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE,
    text TEXT NOT NULL, UNIQUE (schema_name, name));
";

#[derive(Debug, Clone)]
pub(crate) enum TypeStatement {
    Create { name: QualifiedName, columns: Vec<ColumnDef>, constraints: Vec<TableConstraint> },
    Drop { name: QualifiedName, if_exists: bool },
}

/// Reads CREATE TYPE or DROP TYPE if the next tokens begin one.
pub(crate) fn parse(parser: &mut Parser<'_>) -> Result<Option<TypeStatement>> {
    let create = match (peek_word(parser, 0).as_deref(), peek_word(parser, 1).as_deref()) {
        (Some("CREATE"), Some("TYPE")) => true,
        (Some("DROP"), Some("TYPE")) => false,
        _ => return Ok(None),
    };
    parser.next_token();
    parser.next_token();
    let if_exists = !create && parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    let name = parser.parse_object_name(false).map_err(|e| syntax_error(&e))?;
    let name = names::qualified(&name)?;
    if !create {
        return Ok(Some(TypeStatement::Drop { name, if_exists }));
    }
    if !parser.parse_keywords(&[Keyword::AS, Keyword::TABLE]) {
        return Err(SqlError::unsupported("types that are not tables"));
    }
    let (columns, constraints) = parser.parse_columns().map_err(|e| syntax_error(&e))?;
    Ok(Some(TypeStatement::Create { name, columns, constraints }))
}

/// What stands between the parentheses, to be read again.
fn definition(columns: &[ColumnDef], constraints: &[TableConstraint]) -> String {
    let columns = columns.iter().map(ToString::to_string);
    let all: Vec<String> = columns.chain(constraints.iter().map(ToString::to_string)).collect();
    format!("({})", all.join(", "))
}

pub(crate) fn load(connection: &Connection) -> Result<Vec<TableType>> {
    type Row = (i64, String, String, String);
    let sql = "SELECT id, schema_name, name, text FROM table_types ORDER BY id";
    let rows: Vec<Row> =
        collect(connection, sql, None, |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    rows.into_iter()
        .map(|(id, schema, name, text)| {
            let parser = Parser::new(&TransactSql).try_with_sql(&text);
            let (columns, constraints) = parser
                .and_then(|mut parser| parser.parse_columns())
                .map_err(|error| syntax_error(&error))?;
            Ok(TableType { id, name: QualifiedName { schema, name }, columns, constraints })
        })
        .collect()
}

impl Session {
    pub(crate) fn run_type_statement(&mut self, statement: &TypeStatement) -> Result<()> {
        self.refresh()?;
        match statement {
            TypeStatement::Create { name, columns, constraints } => {
                self.require_schema(&name.schema)?;
                self.require_create("CREATE TYPE", &name.schema, None)?;
                if self.catalogue.table_type(name).is_some() {
                    let text = format!(
                        "The type '{}.{}' already exists, or you do not have permission to create it.",
                        name.schema, name.name
                    );
                    return Err(SqlError::new(219, text));
                }
                for (id, column) in (1i64..).zip(columns) {
                    if self.column(id, column, &mut Vec::new())?.encryption.is_some() {
                        return Err(SqlError::unsupported("encrypted columns of table types"));
                    }
                }
                self.connection.execute(
                    "INSERT INTO table_types SELECT coalesce(max(id) + 1, ?1), ?2, ?3, ?4 FROM table_types",
                    params![FIRST_TYPE_ID, name.schema, name.name, definition(columns, constraints)],
                )?;
            }
            TypeStatement::Drop { name, if_exists } => {
                let found = self.catalogue.table_type(name).map(|found| found.id);
                let allowed = self.access().on_schema("ALTER", &name.schema);
                let Some(id) = found.filter(|_| allowed) else {
                    return if *if_exists && found.is_none() { Ok(()) } else { Err(no_type(name)) };
                };
                let uses = |declaration: &crate::types::parse::Declaration| {
                    declaration.table.as_ref().is_some_and(|used| same(used, name))
                };
                let mut procedures = self.catalogue.procedures.iter();
                if let Some(user) = procedures.find(|p| p.procedure.parameters.iter().any(uses)) {
                    let text = format!(
                        "Cannot drop type '{}.{}' because it is being referenced by object '{}'. There may be other objects \
                         that reference this type.",
                        name.schema, name.name, user.procedure.name.name
                    );
                    return Err(SqlError::new(3732, text));
                }
                self.connection.execute("DELETE FROM table_types WHERE id = ?1", [id])?;
            }
        }
        changed(&self.connection)
    }

    /// Makes table variables of the parameters that are tables, in the scope that has just begun.
    pub(crate) fn take_tables(
        &mut self,
        parameters: &mut Parameters,
        response: &mut Response,
    ) -> Outcome<()> {
        for TableArgument { name, ty, rows } in parameters.take_tables() {
            self.refresh()?;
            let found = self.catalogue.table_type(&ty).cloned().ok_or_else(|| no_type(&ty))?;
            self.declare_table(&name, &found.columns, &found.constraints, response)?;
            self.refresh()?;
            let located = QualifiedName { schema: "@".to_owned(), name: name.clone() };
            let located = self.values.locate(located);
            let table = self.catalogue.table(&located.schema, &located.name).cloned();
            let table = table.ok_or_else(|| no_type(&ty))?;
            let catalogue = std::sync::Arc::clone(&self.catalogue);
            let values = self.values.clone();
            let plan =
                Binder::new(&catalogue, &[], &values, false).insert_values(&table, &[], &rows)?;
            self.write(response, |session| {
                session.write_plan(&plan, &Parameters::default(), &catalogue)
            })?;
            self.values.read_only.push(table.object_id);
        }
        Ok(())
    }

    /// The rows of a table variable, to be passed on.
    pub(crate) fn rows_of_variable(&self, name: &str) -> Result<Vec<Vec<(Value, SqlType)>>> {
        let located = QualifiedName { schema: "@".to_owned(), name: name.to_owned() };
        let located = self.values.locate(located);
        let table = self
            .catalogue
            .table(&located.schema, &located.name)
            .ok_or_else(|| SqlError::undeclared(name))?;
        let columns: Vec<_> =
            table.columns.iter().filter(|column| column.identity.is_none()).collect();
        let list: Vec<String> = columns.iter().map(|column| column.sqlite_name()).collect();
        let sql = format!("SELECT {} FROM {}", list.join(", "), table.sqlite_name());
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.raw_query();
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let mut values = Vec::new();
            for (i, column) in columns.iter().enumerate() {
                values.push((storage::load(row.get_ref(i)?, column.ty)?, column.ty));
            }
            all.push(values);
        }
        Ok(all)
    }
}

/// The rows that a client has sent, as values.
pub(crate) fn decoded(name: &str, table: &WireTable) -> Result<Vec<Vec<(Value, SqlType)>>> {
    let incorrect = |error: crate::tds::cursor::Malformed| {
        SqlError::rpc_stream(format!("Table-valued parameter \"{name}\": {error}"))
    };
    let sent: Vec<_> = table.columns.iter().filter(|column| !column.default).collect();
    let row = |row: &Vec<Option<Vec<u8>>>| {
        let values = sent.iter().zip(row).map(|(column, bytes)| {
            let ty = column.info.sql_type().map_err(incorrect)?.unwrap_or(SqlType::Int);
            let value = match bytes {
                None => Value::Null,
                Some(bytes) => column.info.decode(ty, bytes).map_err(incorrect)?,
            };
            Ok((value, ty))
        });
        values.collect::<Result<Vec<_>>>()
    };
    table.rows.iter().map(row).collect()
}

pub(crate) fn same(a: &QualifiedName, b: &QualifiedName) -> bool {
    a.name.eq_ignore_ascii_case(&b.name) && a.schema.eq_ignore_ascii_case(&b.schema)
}

fn no_type(name: &QualifiedName) -> SqlError {
    SqlError::new(2715, format!("Cannot find data type {}.", name.name))
}
