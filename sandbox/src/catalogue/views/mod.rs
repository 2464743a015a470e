//! The catalogue views that drivers and tools read, as queries over the catalogue's own tables. What they are is in
//! the modules below; here is how they are found, and what of them a session sees.

mod columns;
mod constraints;
mod information;
mod keys;
mod objects;
mod odbc;
mod security;

use crate::catalogue::security::{VIEW_ENCRYPTION_KEYS, VIEW_MASTER_KEYS};
use crate::catalogue::{ALGORITHM_NAME, Catalogue, DATABASE_ID, DATABASE_NAME};
use crate::sql::names::{QualifiedName, TEMPDB_SYS};
use crate::types::{Length, SqlType};

/// Name, type, and the SQLite expression that gives it in the form in which the type is stored.
type ViewColumn = (&'static str, SqlType, &'static str);

/// A catalogue view.
#[derive(Debug)]
pub(crate) struct View {
    schema: &'static str,
    name: &'static str,
    columns: &'static [ViewColumn],
    from: &'static str,
    /// The expression by which its rows belong to an object that a session may see, or not.
    object: Option<&'static str>,
}

impl View {
    const fn new(
        name: &'static str,
        columns: &'static [ViewColumn],
        from: &'static str,
        object: Option<&'static str>,
    ) -> Self {
        Self { schema: "sys", name, columns, from, object }
    }
}

const SYSNAME: SqlType = SqlType::NVarChar(Length::N(128));
const DESC: SqlType = SqlType::NVarChar(Length::N(60));

/// The id of the schema of a row `t`.
const SCHEMA_ID: &str = "coalesce((SELECT s.id FROM schemas AS s WHERE s.name = t.schema_name), 1)";

/// Everything that is made in a database and has an id, constraints included.
const OBJECTS: &str = "(SELECT object_id, schema_name, name, created, 'U ' AS type, 'USER_TABLE' AS description, 0 AS \
     parent FROM tables UNION ALL SELECT object_id, schema_name, name, created, 'P ', 'SQL_STORED_PROCEDURE', 0 FROM \
     procedures UNION ALL SELECT object_id, schema_name, name, created, 'V ', 'VIEW', 0 FROM views UNION ALL SELECT k.id, \
     o.schema_name, k.name, o.created, CASE k.kind WHEN 'CK' THEN 'C ' WHEN 'FK' THEN 'F ' WHEN 'DF' THEN 'D ' ELSE k.kind \
     END, CASE k.kind WHEN 'PK' THEN 'PRIMARY_KEY_CONSTRAINT' WHEN 'UQ' THEN 'UNIQUE_CONSTRAINT' WHEN 'CK' THEN \
     'CHECK_CONSTRAINT' WHEN 'FK' THEN 'FOREIGN_KEY_CONSTRAINT' ELSE 'DEFAULT_CONSTRAINT' END, k.object_id FROM \
     constraints AS k JOIN tables AS o ON o.object_id = k.object_id) AS t";

/// Set against the names that the views below leave open by [`View::sql`].
const ALGORITHM: &str = "$algorithm";
const DATABASE: &str = "$database";

/// The first of the ids that SQL Server gives to its own objects, which count downwards.
const FIRST_OBJECT_ID: i64 = -384;

fn all() -> impl Iterator<Item = (i64, &'static View)> {
    let lists = [
        objects::VIEWS,
        columns::VIEWS,
        constraints::VIEWS,
        keys::VIEWS,
        security::VIEWS,
        information::VIEWS,
        odbc::VIEWS,
    ];
    (0i64..).map(|n| FIRST_OBJECT_ID.saturating_sub(n)).zip(lists.into_iter().flatten())
}

/// A view by name, and whether it is tempdb's.
pub(crate) fn find(name: &QualifiedName) -> Option<(&'static View, bool)> {
    let temporary = name.schema == TEMPDB_SYS;
    let schema = if temporary { "sys" } else { name.schema.as_str() };
    let same = |view: &View| {
        view.schema.eq_ignore_ascii_case(schema) && view.name.eq_ignore_ascii_case(&name.name)
    };
    all().map(|(_, view)| view).find(|view| same(view)).map(|view| (view, temporary))
}

/// What a view of `sys` that exists selects.
pub(crate) fn query(catalogue: &Catalogue, name: &str) -> String {
    let view = all().map(|(_, view)| view).find(|view| view.schema == "sys" && view.name == name);
    view.map(|view| view.sql(catalogue, false)).unwrap_or_default()
}

/// Everything that has an object id, those views included: object_id, schema_name, name, type, and the database. Tables
/// that are temporary have the schema dbo there.
pub(crate) fn objects(catalogue: &Catalogue) -> String {
    let views: Vec<String> = all()
        .map(|(id, view)| format!("({id}, '{}', '{}', 'V ', NULL)", view.schema, view.name))
        .collect();
    format!(
        "SELECT t.object_id, t.schema_name, t.name, t.type, '{DATABASE_NAME}' AS database_name FROM {OBJECTS}{} UNION \
         ALL SELECT t.object_id, 'dbo', t.name, t.type, 'tempdb' FROM {OBJECTS}{} UNION ALL SELECT column1, column2, \
         column3, column4, column5 FROM (VALUES {})",
        catalogue.visible("t.object_id", false),
        catalogue.visible("t.object_id", true),
        views.join(", ")
    )
}

/// Rows of sys.columns and sys.parameters as one, with the length in characters of what has one.
pub(crate) fn columns_and_parameters(catalogue: &Catalogue) -> String {
    const SHARED: &str = "object_id, name, max_length, precision, scale, is_nullable, CASE WHEN system_type_id IN (165, \
        167, 173, 175) THEN max_length WHEN system_type_id IN (231, 239) THEN CASE max_length WHEN -1 THEN -1 ELSE \
        max_length / 2 END END AS characters";
    format!(
        "SELECT {SHARED}, column_id, is_ansi_padded, is_rowguidcol, is_identity, is_computed, is_hidden, NULL AS is_output \
         FROM ({}) UNION ALL SELECT {SHARED}, parameter_id, NULL, NULL, NULL, NULL, NULL, is_output FROM ({})",
        query(catalogue, "columns"),
        query(catalogue, "parameters")
    )
}

impl View {
    /// Names and types of its columns.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&'static str, SqlType)> {
        self.columns.iter().map(|(name, ty, _)| (*name, *ty))
    }

    /// A SELECT over the catalogue's tables, of what the session may see. Its constants are this program's own.
    pub(crate) fn sql(&self, catalogue: &Catalogue, temporary: bool) -> String {
        let access = &catalogue.access;
        let allowed = match self.name {
            "column_master_keys" => access.on_database(VIEW_MASTER_KEYS),
            "column_encryption_keys" | "column_encryption_key_values" => {
                access.on_database(VIEW_ENCRYPTION_KEYS)
            }
            _ => true,
        };
        let condition = match self.object {
            _ if !allowed => " WHERE false".to_owned(),
            Some(object) => catalogue.visible(object, temporary),
            None => String::new(),
        };
        let columns: Vec<String> =
            self.columns.iter().map(|(name, _, expr)| format!("{expr} AS {name}")).collect();
        format!("SELECT {} FROM {}{condition}", columns.join(", "), self.from)
            .replace("$database_id", &DATABASE_ID.to_string())
            .replace(DATABASE, DATABASE_NAME)
            .replace(ALGORITHM, ALGORITHM_NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_is_a_query_that_sqlite_can_run() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        crate::exec::functions::register(&connection, Default::default(), Default::default())
            .unwrap();
        crate::catalogue::store::initialise(&connection).unwrap();
        let catalogue = Catalogue::default();
        for (id, view) in all() {
            for temporary in [false, true] {
                let sql = view.sql(&catalogue, temporary);
                let prepared = connection.prepare(&sql);
                let count = prepared.map(|statement| statement.column_count());
                assert_eq!(count, Ok(view.columns.len()), "{} {id}: {sql}", view.name);
            }
        }
    }
}
