//! Procedures of SQL Server's that describe the database: those that drivers ask on behalf of ODBC and JDBC, which are
//! T-SQL over the catalogue views, and the one that bulk loaders ask.

use std::sync::{Arc, LazyLock};

use crate::error::SqlError;
use crate::exec::response::{Outcome, Response};
use crate::exec::session::Session;
use crate::exec::stored::{self, StoredProcedure};
use crate::sql::names::{self, QualifiedName};
use crate::tds::token::ResultColumn;
use crate::types::{Length, SqlType, Value};

/// That of SQL Server 2022, whose version LOGINACK tells.
const COMPATIBILITY_LEVEL: i64 = 160;
/// Procedures in T-SQL, one after the other. Parsed once.
static PROCEDURES: LazyLock<Vec<Arc<StoredProcedure>>> = LazyLock::new(|| {
    let texts = include_str!("system_procedures.sql").split("\nGO\n");
    texts.filter_map(|text| stored::read(0, text).ok()).map(Arc::new).collect()
});

/// A procedure of `sys`, which may be called without its schema, from any database.
pub(crate) fn procedure(name: &QualifiedName) -> Option<Arc<StoredProcedure>> {
    let here = ["sys", "dbo"].iter().any(|schema| name.schema.eq_ignore_ascii_case(schema));
    let same = |stored: &&Arc<StoredProcedure>| {
        stored.procedure.name.name.eq_ignore_ascii_case(&name.name)
    };
    PROCEDURES.iter().find(same).filter(|_| here).cloned()
}

const SYSNAME: SqlType = SqlType::NVarChar(Length::N(128));

impl Session {
    /// sp_tablecollations_100: a row per column of the table.
    pub(crate) fn table_collations(&self, table: &str, response: &mut Response) -> Outcome<()> {
        let (_, name) = names::in_text(table).ok_or_else(|| SqlError::invalid_object(table))?;
        let found = self
            .catalogue
            .table(&name.schema, &name.name)
            .ok_or_else(|| SqlError::invalid_object(&name.name))?;
        let columns = [
            ResultColumn::plain("colid", SqlType::Int),
            ResultColumn::plain("name", SYSNAME),
            ResultColumn::plain("tds_collation_100", SqlType::Binary(5)),
            ResultColumn::plain("collation_100", SYSNAME),
        ];
        let row = |column: &crate::catalogue::Column| {
            let mut row = vec![Value::Integer(column.id), Value::Text(column.name.clone())];
            row.extend(match &column.collation {
                Some(collation) => {
                    [Value::Bytes(collation.wire().to_vec()), Value::Text(collation.name.clone())]
                }
                None => [Value::Null, Value::Null],
            });
            row
        };
        let rows: Vec<Vec<Value>> = found.columns.iter().map(row).collect();
        self.rows(&columns, &rows, response)
    }

    /// sp_bcp_dbcmptlevel: the only database's compatibility level, which ODBC asks for before a bulk load.
    pub(crate) fn compatibility_level(&self, response: &mut Response) -> Outcome<()> {
        let columns = [ResultColumn::plain("cmptlevel", SqlType::SmallInt)];
        self.rows(&columns, &[vec![Value::Integer(COMPATIBILITY_LEVEL)]], response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_a_procedure() {
        let texts = include_str!("system_procedures.sql").split("\nGO\n");
        for text in texts {
            assert!(stored::read(0, text).is_ok(), "{text}");
        }
    }
}
