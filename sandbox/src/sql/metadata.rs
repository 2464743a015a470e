//! Functions that ask for what the catalogue holds: OBJECT_ID, TYPE_NAME, COLUMNPROPERTY and their kin. Each becomes a
//! query over the catalogue's tables, so that its arguments may be anything, a parameter most of all.

use sqlparser::ast::{Expr, Value as Literal, ValueWithSpan};

use crate::catalogue::{DATABASE_ID, DATABASE_NAME, views};
use crate::error::{Result, SqlError};
use crate::exec::control::Caught;
use crate::sql::bind::{Binder, Operand};
use crate::sql::function::SYSNAME;
use crate::types::{Length, SqlType, Value};

/// Parts of a name in a string, as the SQLite function `tds_name` numbers them.
const NAME: u8 = 1;
const SCHEMA: u8 = 2;
const DATABASE: u8 = 3;

/// Of COLUMNPROPERTY, over a row `c` of sys.all_columns or sys.parameters. What is not here is NULL, as in SQL Server.
const COLUMN_PROPERTIES: &str = "WHEN 'allowsnull' THEN c.is_nullable WHEN 'columnid' THEN c.column_id \
    WHEN 'ordinal' THEN c.column_id WHEN 'isidentity' THEN c.is_identity WHEN 'iscomputed' THEN c.is_computed \
    WHEN 'ishidden' THEN c.is_hidden WHEN 'isrowguidcol' THEN c.is_rowguidcol WHEN 'isoutparam' THEN c.is_output \
    WHEN 'isfulltextindexed' THEN 0 WHEN 'issparse' THEN 0 WHEN 'iscolumnset' THEN 0 WHEN 'isxmlindexable' THEN 0 \
    WHEN 'usesansitrim' THEN c.is_ansi_padded WHEN 'charmaxlen' THEN c.characters \
    WHEN 'precision' THEN coalesce(c.characters, c.precision) \
    WHEN 'scale' THEN CASE WHEN c.characters IS NULL THEN c.scale END";

/// Of OBJECTPROPERTY, over a row `o` of sys.objects.
const OBJECT_PROPERTIES: &str = "WHEN 'istable' THEN o.type = 'U ' WHEN 'isusertable' THEN o.type = 'U ' \
    WHEN 'isview' THEN o.type = 'V ' WHEN 'isprocedure' THEN o.type = 'P ' WHEN 'isprimarykey' THEN o.type = 'PK' \
    WHEN 'isuniquecnst' THEN o.type = 'UQ' WHEN 'isforeignkey' THEN o.type = 'F ' WHEN 'ischeckcnst' THEN o.type = 'C ' \
    WHEN 'isdefaultcnst' THEN o.type = 'D ' WHEN 'isconstraint' THEN o.parent_object_id <> 0 \
    WHEN 'ismsshipped' THEN o.is_ms_shipped WHEN 'schemaid' THEN o.schema_id WHEN 'ownerid' THEN 1 \
    WHEN 'istrigger' THEN 0 WHEN 'istablefunction' THEN 0 WHEN 'isscalarfunction' THEN 0 WHEN 'isinlinefunction' THEN 0 \
    WHEN 'isencrypted' THEN 0 WHEN 'isansinullson' THEN 1 WHEN 'isquotedidenton' THEN 1 \
    WHEN 'tablehasidentity' THEN EXISTS (SELECT 1 FROM columns AS i WHERE i.object_id = o.object_id AND i.identity_seed \
    IS NOT NULL) WHEN 'tablehasprimarykey' THEN EXISTS (SELECT 1 FROM constraints AS k WHERE k.object_id = o.object_id \
    AND k.kind = 'PK') WHEN 'tablehasforeignkey' THEN EXISTS (SELECT 1 FROM constraints AS k WHERE k.object_id = \
    o.object_id AND k.kind = 'FK')";

impl Binder<'_> {
    pub(super) fn metadata_function(
        &mut self,
        name: &str,
        arguments: &[&Expr],
    ) -> Result<Option<Operand>> {
        let int = |sql: String| Operand::expression(sql, SqlType::Int);
        let sysname = |sql: String| Operand::expression(sql, SYSNAME);
        Ok(Some(match (name, arguments) {
            ("DB_NAME", []) => self.sysname(DATABASE_NAME),
            ("DB_NAME", [id]) => {
                let id = self.number_argument(id)?;
                let databases = views::query(self.catalogue, "databases");
                sysname(format!(
                    "(SELECT d.name FROM ({databases}) AS d WHERE d.database_id = {id})"
                ))
            }
            ("DB_ID", []) => {
                self.literal(&Value::Integer(i64::from(DATABASE_ID)), SqlType::SmallInt)
            }
            ("DB_ID", [name]) => {
                let name = self.name_argument(name)?;
                let databases = views::query(self.catalogue, "databases");
                let sql = format!(
                    "(SELECT d.database_id FROM ({databases}) AS d WHERE d.name = {name} COLLATE NOCASE)"
                );
                Operand::expression(sql, SqlType::SmallInt)
            }
            ("SCHEMA_NAME", []) => self.sysname("dbo"),
            ("USER_NAME" | "CURRENT_USER" | "SESSION_USER", []) => {
                let user = self.catalogue.access.user.clone();
                self.sysname(&user)
            }
            ("USER_NAME", [id]) => {
                let id = self.number_argument(id)?;
                sysname(format!("(SELECT p.name FROM principals AS p WHERE p.id = {id})"))
            }
            ("IS_MEMBER" | "IS_ROLEMEMBER", [role]) => {
                let role = self.name_argument(role)?;
                let own: Vec<String> =
                    self.catalogue.access.principals.iter().map(i64::to_string).collect();
                int(format!(
                    "(SELECT p.id IN ({}) FROM principals AS p WHERE p.kind = 'R' AND p.name = {role} COLLATE NOCASE)",
                    own.join(", ")
                ))
            }
            ("IS_SRVROLEMEMBER", [role]) => {
                let role = self.name_argument(role)?;
                let administrator = u8::from(self.session.administrator);
                int(format!(
                    "CASE lower({role}) WHEN 'sysadmin' THEN {administrator} WHEN 'public' THEN 1 END"
                ))
            }
            ("SCHEMA_NAME", [id]) => {
                let id = self.number_argument(id)?;
                let schemas = views::query(self.catalogue, "schemas");
                sysname(format!("(SELECT s.name FROM ({schemas}) AS s WHERE s.schema_id = {id})"))
            }
            ("SCHEMA_ID", []) => self.literal(&Value::Integer(1), SqlType::Int),
            ("SCHEMA_ID", [name]) => {
                let name = self.name_argument(name)?;
                let schemas = views::query(self.catalogue, "schemas");
                int(format!(
                    "(SELECT s.schema_id FROM ({schemas}) AS s WHERE s.name = {name} COLLATE NOCASE)"
                ))
            }
            ("SUSER_SNAME" | "SUSER_NAME" | "ORIGINAL_LOGIN" | "SYSTEM_USER", []) => {
                let user = self.session.user.clone();
                self.sysname(&user)
            }
            (
                "ERROR_NUMBER" | "ERROR_MESSAGE" | "ERROR_SEVERITY" | "ERROR_STATE" | "ERROR_LINE"
                | "ERROR_PROCEDURE",
                [],
            ) => self.caught(name),
            ("XACT_STATE", []) => {
                let open = i64::from(self.session.transaction_count > 0);
                self.literal(&Value::Integer(open), SqlType::SmallInt)
            }
            ("SCOPE_IDENTITY", []) => self.scope_identity()?,
            ("OBJECT_ID", [object]) => self.object_id(object, None)?,
            ("OBJECT_ID", [object, kind]) => self.object_id(object, Some(kind))?,
            ("OBJECT_NAME" | "OBJECT_SCHEMA_NAME", [id] | [id, _]) => {
                let id = self.number_argument(id)?;
                let column = if name == "OBJECT_NAME" { "name" } else { "schema_name" };
                let objects = views::objects(self.catalogue);
                sysname(format!(
                    "(SELECT o.{column} FROM ({objects}) AS o WHERE o.object_id = {id})"
                ))
            }
            ("TYPE_NAME", [id]) => {
                let id = self.number_argument(id)?;
                let types = views::query(self.catalogue, "types");
                sysname(format!("(SELECT t.name FROM ({types}) AS t WHERE t.user_type_id = {id})"))
            }
            ("TYPE_ID", [name]) => {
                let name = self.name_argument(name)?;
                let types = views::query(self.catalogue, "types");
                int(format!(
                    "(SELECT t.user_type_id FROM ({types}) AS t WHERE t.name = tds_name({name}, {NAME}) COLLATE NOCASE)"
                ))
            }
            ("COL_NAME", [object, column]) => {
                let (object, column) =
                    (self.number_argument(object)?, self.number_argument(column)?);
                let columns = views::query(self.catalogue, "columns");
                sysname(format!(
                    "(SELECT c.name FROM ({columns}) AS c WHERE c.object_id = {object} AND c.column_id = {column})"
                ))
            }
            ("COL_LENGTH", [table, column]) => {
                let table = self.object_id(table, None)?.sql;
                let column = self.name_argument(column)?;
                let columns = views::query(self.catalogue, "columns");
                let sql = format!(
                    "(SELECT c.max_length FROM ({columns}) AS c WHERE c.object_id = {table} AND c.name = \
                     {column} COLLATE NOCASE)"
                );
                Operand::expression(sql, SqlType::SmallInt)
            }
            ("COLUMNPROPERTY", [object, column, property]) => {
                let object = self.number_argument(object)?;
                let (column, property) =
                    (self.name_argument(column)?, self.name_argument(property)?);
                let columns = views::columns_and_parameters(self.catalogue);
                int(format!(
                    "(SELECT CASE lower({property}) {COLUMN_PROPERTIES} END FROM ({columns}) AS c WHERE c.object_id = \
                     {object} AND c.name = {column} COLLATE NOCASE)"
                ))
            }
            ("OBJECTPROPERTY" | "OBJECTPROPERTYEX", [object, property]) => {
                let (object, property) =
                    (self.number_argument(object)?, self.name_argument(property)?);
                let objects = views::query(self.catalogue, "objects");
                int(format!(
                    "(SELECT CASE lower({property}) {OBJECT_PROPERTIES} END FROM ({objects}) AS o WHERE o.object_id = \
                     {object})"
                ))
            }
            ("COLLATIONPROPERTY", [collation, property]) => {
                let (collation, property) =
                    (self.name_argument(collation)?, self.name_argument(property)?);
                int(format!("tds_collation_property({collation}, {property})"))
            }
            ("PARSENAME", [name, part]) => {
                let (name, part) = (self.name_argument(name)?, self.number_argument(part)?);
                sysname(format!("tds_part({name}, {part})"))
            }
            ("SERVERPROPERTY", [property]) => self.server_property(property)?,
            ("DATABASEPROPERTYEX", [database, property]) => {
                let (database, property) =
                    (self.name_argument(database)?, self.name_argument(property)?);
                let sql = format!(
                    "CASE WHEN {database} = '{DATABASE_NAME}' COLLATE NOCASE THEN CASE lower({property}) WHEN 'collation' \
                     THEN '{}' WHEN 'status' THEN 'ONLINE' WHEN 'updateability' THEN 'READ_WRITE' WHEN 'useraccess' \
                     THEN 'MULTI_USER' WHEN 'recovery' THEN 'FULL' END END",
                    crate::types::collation::DEFAULT
                );
                sysname(sql)
            }
            _ => return Ok(None),
        }))
    }

    /// What is known of the error that a CATCH is about; NULL elsewhere.
    fn caught(&mut self, name: &str) -> Operand {
        let text = matches!(name, "ERROR_MESSAGE" | "ERROR_PROCEDURE");
        let ty = if text { SqlType::NVarChar(Length::N(4000)) } else { SqlType::Int };
        let value = self.session.caught.as_ref().map(|Caught { error, procedure }| match name {
            "ERROR_NUMBER" => Value::Integer(i64::from(error.number)),
            "ERROR_SEVERITY" => Value::Integer(i64::from(error.class)),
            "ERROR_STATE" => Value::Integer(i64::from(error.state)),
            "ERROR_MESSAGE" => Value::Text(error.message.clone()),
            "ERROR_PROCEDURE" => procedure.clone().map_or(Value::Null, Value::Text),
            // As the ERROR token has it: lines are not counted.
            _ => Value::Integer(1),
        });
        self.literal(&value.unwrap_or(Value::Null), ty)
    }

    fn sysname(&mut self, value: &str) -> Operand {
        self.literal(&Value::Text(value.to_owned()), SYSNAME)
    }

    pub(super) fn scope_identity(&mut self) -> Result<Operand> {
        let value = self.session.scope_identity.map_or(Value::Null, Value::Integer);
        let operand = self.literal(&value, SqlType::BigInt);
        let to = SqlType::Decimal { precision: 38, scale: 0, named_numeric: true };
        let sql = self.convert(&operand, to, true)?;
        Ok(Operand::expression(sql, to))
    }

    /// An argument that names something.
    fn name_argument(&mut self, expr: &Expr) -> Result<String> {
        self.argument_as(expr, SqlType::NVarChar(Length::N(4000)))
    }

    fn number_argument(&mut self, expr: &Expr) -> Result<String> {
        self.argument_as(expr, SqlType::Int)
    }

    fn argument_as(&mut self, expr: &Expr, ty: SqlType) -> Result<String> {
        let operand = self.scalar(expr)?;
        self.suggest_type(&operand, Some(ty));
        self.require_plain(&[&operand])?;
        self.convert(&operand, ty, true)
    }

    /// The id of what a string names, whatever it turns out to be when the statement runs.
    fn object_id(&mut self, object: &Expr, kind: Option<&&Expr>) -> Result<Operand> {
        let text = self.name_argument(object)?;
        let objects = views::objects(self.catalogue);
        let mut sql = format!(
            "(SELECT o.object_id FROM ({objects}) AS o WHERE o.name = tds_name({text}, {NAME}) COLLATE NOCASE AND \
             o.schema_name = tds_name({text}, {SCHEMA}) COLLATE NOCASE AND (o.database_name IS NULL OR coalesce(tds_name({text}, {DATABASE}), \
             '{DATABASE_NAME}') = o.database_name COLLATE NOCASE)"
        );
        if let Some(kind) = kind {
            let kind = self.name_argument(kind)?;
            sql.push_str(&format!(" AND rtrim(o.type) = rtrim({kind}) COLLATE NOCASE"));
        }
        sql.push_str(" LIMIT 1)");
        Ok(Operand::expression(sql, SqlType::Int))
    }

    fn server_property(&mut self, property: &Expr) -> Result<Operand> {
        let name = match property {
            Expr::Value(ValueWithSpan {
                value: Literal::SingleQuotedString(text) | Literal::NationalStringLiteral(text),
                ..
            }) => text.to_ascii_lowercase(),
            _ => {
                return Err(SqlError::unsupported(
                    "SERVERPROPERTY of anything but a string constant",
                ));
            }
        };
        let value = match name.as_str() {
            "productversion" => "16.0.4100.0",
            "productmajorversion" => "16",
            "productlevel" => "RTM",
            "edition" => "Developer Edition (64-bit)",
            "engineedition" => "3",
            "servername" | "machinename" => "sandbox",
            "collation" => crate::types::collation::DEFAULT,
            _ => {
                return Ok(Operand { ty: Some(SYSNAME), ..Operand::null() });
            }
        };
        Ok(self.literal(&Value::Text(value.to_owned()), SYSNAME))
    }
}
