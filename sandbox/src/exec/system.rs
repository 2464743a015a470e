//! Procedures of SQL Server's that describe the database to bulk loaders.

use crate::error::SqlError;
use crate::exec::response::{Outcome, Response};
use crate::exec::session::Session;
use crate::sql::names;
use crate::tds::token::ResultColumn;
use crate::types::{Length, SqlType, Value};

/// That of SQL Server 2022, whose version LOGINACK tells.
const COMPATIBILITY_LEVEL: i64 = 160;
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
