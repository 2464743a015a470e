//! INFORMATION_SCHEMA.

use super::{SYSNAME, View, ViewColumn};
use crate::types::{Length, SqlType};

const CATALOG: SqlType = SYSNAME;
const WORD: SqlType = SqlType::VarChar(Length::N(20));

const fn view(
    name: &'static str,
    columns: &'static [ViewColumn],
    from: &'static str,
    object: Option<&'static str>,
) -> View {
    View { schema: "INFORMATION_SCHEMA", ..View::new(name, columns, from, object) }
}

/// What COLUMNS and PARAMETERS say of a type `t.type`.
macro_rules! with_type {
    ([$($before:expr),* $(,)?], [$($after:expr),* $(,)?]) => {
        &[
            $($before,)*
            ("DATA_TYPE", SYSNAME, "tds_type('name', t.type)"),
            ("CHARACTER_MAXIMUM_LENGTH", SqlType::Int, "tds_type('characters', t.type)"),
            ("CHARACTER_OCTET_LENGTH", SqlType::Int, "tds_type('octets', t.type)"),
            ("NUMERIC_PRECISION", SqlType::TinyInt, "tds_type('numeric_precision', t.type)"),
            ("NUMERIC_PRECISION_RADIX", SqlType::SmallInt, "tds_type('radix', t.type)"),
            ("NUMERIC_SCALE", SqlType::Int, "tds_type('numeric_scale', t.type)"),
            ("DATETIME_PRECISION", SqlType::SmallInt, "tds_type('fraction', t.type)"),
            $($after,)*
        ]
    };
}

const COLUMNS: &[ViewColumn] = with_type!(
    [
        ("TABLE_CATALOG", CATALOG, "'$database'"),
        ("TABLE_SCHEMA", SYSNAME, "t.schema_name"),
        ("TABLE_NAME", SYSNAME, "t.table_name"),
        ("COLUMN_NAME", SYSNAME, "t.name"),
        ("ORDINAL_POSITION", SqlType::Int, "t.column_id"),
        ("COLUMN_DEFAULT", SqlType::NVarChar(Length::N(4000)), "'(' || t.default_value || ')'"),
        (
            "IS_NULLABLE",
            SqlType::VarChar(Length::N(3)),
            "CASE t.nullable WHEN 0 THEN 'NO' ELSE 'YES' END"
        ),
    ],
    [
        ("CHARACTER_SET_CATALOG", CATALOG, "NULL"),
        ("CHARACTER_SET_SCHEMA", SYSNAME, "NULL"),
        (
            "CHARACTER_SET_NAME",
            SYSNAME,
            "CASE WHEN t.collation IS NULL THEN NULL WHEN t.type LIKE 'n%' THEN 'UNICODE' ELSE 'iso_1' END"
        ),
        ("COLLATION_CATALOG", CATALOG, "NULL"),
        ("COLLATION_SCHEMA", SYSNAME, "NULL"),
        ("COLLATION_NAME", SYSNAME, "t.collation"),
        ("DOMAIN_CATALOG", CATALOG, "NULL"),
        ("DOMAIN_SCHEMA", SYSNAME, "NULL"),
        ("DOMAIN_NAME", SYSNAME, "NULL"),
    ]
);

const PARAMETERS: &[ViewColumn] = with_type!(
    [
        ("SPECIFIC_CATALOG", CATALOG, "'$database'"),
        ("SPECIFIC_SCHEMA", SYSNAME, "t.schema_name"),
        ("SPECIFIC_NAME", SYSNAME, "t.procedure_name"),
        ("ORDINAL_POSITION", SqlType::Int, "t.parameter_id"),
        (
            "PARAMETER_MODE",
            SqlType::NVarChar(Length::N(10)),
            "CASE t.is_output WHEN 0 THEN 'IN' ELSE 'INOUT' END"
        ),
        ("IS_RESULT", SqlType::NVarChar(Length::N(10)), "'NO'"),
        ("AS_LOCATOR", SqlType::NVarChar(Length::N(10)), "'NO'"),
        ("PARAMETER_NAME", SYSNAME, "t.name"),
    ],
    []
);

const OF_TABLES: &str = "(SELECT k.*, o.schema_name, o.name AS table_name FROM constraints AS k JOIN tables AS o ON \
     o.object_id = k.object_id WHERE k.kind <> 'DF') AS t";

pub(super) const VIEWS: &[View] = &[
    view(
        "SCHEMATA",
        &[
            ("CATALOG_NAME", CATALOG, "'$database'"),
            ("SCHEMA_NAME", SYSNAME, "column1"),
            ("SCHEMA_OWNER", SYSNAME, "'dbo'"),
        ],
        "(SELECT 'dbo' AS column1 UNION ALL SELECT 'INFORMATION_SCHEMA' UNION ALL SELECT 'sys' UNION ALL SELECT name FROM \
         schemas)",
        None,
    ),
    view(
        "TABLES",
        &[
            ("TABLE_CATALOG", CATALOG, "'$database'"),
            ("TABLE_SCHEMA", SYSNAME, "t.schema_name"),
            ("TABLE_NAME", SYSNAME, "t.name"),
            (
                "TABLE_TYPE",
                SqlType::VarChar(Length::N(10)),
                "CASE t.type WHEN 'V ' THEN 'VIEW' ELSE 'BASE TABLE' END",
            ),
        ],
        "(SELECT object_id, schema_name, name, 'U ' AS type FROM tables UNION ALL SELECT object_id, schema_name, name, 'V ' \
         FROM views) AS t",
        Some("t.object_id"),
    ),
    view(
        "COLUMNS",
        COLUMNS,
        "(SELECT c.*, o.schema_name, o.name AS table_name FROM columns AS c JOIN (SELECT object_id, schema_name, name FROM \
         tables UNION ALL SELECT object_id, schema_name, name FROM views) AS o ON o.object_id = c.object_id) AS t",
        Some("t.object_id"),
    ),
    view(
        "VIEWS",
        &[
            ("TABLE_CATALOG", CATALOG, "'$database'"),
            ("TABLE_SCHEMA", SYSNAME, "t.schema_name"),
            ("TABLE_NAME", SYSNAME, "t.name"),
            ("VIEW_DEFINITION", SqlType::NVarChar(Length::N(4000)), "substr(t.text, 1, 4000)"),
            ("CHECK_OPTION", SqlType::VarChar(Length::N(7)), "'NONE'"),
            ("IS_UPDATABLE", SqlType::VarChar(Length::N(2)), "'NO'"),
        ],
        "views AS t",
        Some("t.object_id"),
    ),
    view(
        "ROUTINES",
        &[
            ("SPECIFIC_CATALOG", CATALOG, "'$database'"),
            ("SPECIFIC_SCHEMA", SYSNAME, "t.schema_name"),
            ("SPECIFIC_NAME", SYSNAME, "t.name"),
            ("ROUTINE_CATALOG", CATALOG, "'$database'"),
            ("ROUTINE_SCHEMA", SYSNAME, "t.schema_name"),
            ("ROUTINE_NAME", SYSNAME, "t.name"),
            ("ROUTINE_TYPE", WORD, "'PROCEDURE'"),
            ("ROUTINE_BODY", WORD, "'SQL'"),
            ("ROUTINE_DEFINITION", SqlType::NVarChar(Length::N(4000)), "substr(t.text, 1, 4000)"),
            ("CREATED", SqlType::DateTime, "t.created"),
            ("LAST_ALTERED", SqlType::DateTime, "t.created"),
        ],
        "procedures AS t",
        Some("t.object_id"),
    ),
    view(
        "PARAMETERS",
        PARAMETERS,
        "(SELECT p.*, o.schema_name, o.name AS procedure_name FROM parameters AS p JOIN procedures AS o ON o.object_id = \
         p.object_id WHERE p.type NOT LIKE 'table:%') AS t",
        Some("t.object_id"),
    ),
    view(
        "TABLE_CONSTRAINTS",
        &[
            ("CONSTRAINT_CATALOG", CATALOG, "'$database'"),
            ("CONSTRAINT_SCHEMA", SYSNAME, "t.schema_name"),
            ("CONSTRAINT_NAME", SYSNAME, "t.name"),
            ("TABLE_CATALOG", CATALOG, "'$database'"),
            ("TABLE_SCHEMA", SYSNAME, "t.schema_name"),
            ("TABLE_NAME", SYSNAME, "t.table_name"),
            (
                "CONSTRAINT_TYPE",
                SqlType::VarChar(Length::N(11)),
                "CASE t.kind WHEN 'PK' THEN 'PRIMARY KEY' WHEN 'UQ' THEN 'UNIQUE' WHEN 'CK' THEN 'CHECK' ELSE 'FOREIGN KEY' END",
            ),
            ("IS_DEFERRABLE", SqlType::VarChar(Length::N(2)), "'NO'"),
            ("INITIALLY_DEFERRED", SqlType::VarChar(Length::N(2)), "'NO'"),
        ],
        OF_TABLES,
        Some("t.object_id"),
    ),
    view(
        "KEY_COLUMN_USAGE",
        &[
            ("CONSTRAINT_CATALOG", CATALOG, "'$database'"),
            ("CONSTRAINT_SCHEMA", SYSNAME, "t.schema_name"),
            ("CONSTRAINT_NAME", SYSNAME, "t.name"),
            ("TABLE_CATALOG", CATALOG, "'$database'"),
            ("TABLE_SCHEMA", SYSNAME, "t.schema_name"),
            ("TABLE_NAME", SYSNAME, "t.table_name"),
            ("COLUMN_NAME", SYSNAME, "t.column_name"),
            ("ORDINAL_POSITION", SqlType::Int, "t.key + 1"),
        ],
        "(SELECT k.object_id, k.name, o.schema_name, o.name AS table_name, j.key, c.name AS column_name FROM constraints AS k \
         JOIN tables AS o ON o.object_id = k.object_id, json_each('[' || k.columns || ']') AS j JOIN columns AS c ON \
         c.object_id = k.object_id AND c.column_id = j.value WHERE k.kind IN ('PK', 'UQ', 'FK')) AS t",
        Some("t.object_id"),
    ),
    view(
        "REFERENTIAL_CONSTRAINTS",
        &[
            ("CONSTRAINT_CATALOG", CATALOG, "'$database'"),
            ("CONSTRAINT_SCHEMA", SYSNAME, "t.schema_name"),
            ("CONSTRAINT_NAME", SYSNAME, "t.name"),
            ("UNIQUE_CONSTRAINT_CATALOG", CATALOG, "'$database'"),
            ("UNIQUE_CONSTRAINT_SCHEMA", SYSNAME, "t.parent_schema"),
            ("UNIQUE_CONSTRAINT_NAME", SYSNAME, "t.parent_key"),
            ("MATCH_OPTION", SqlType::VarChar(Length::N(7)), "'SIMPLE'"),
            ("UPDATE_RULE", SqlType::VarChar(Length::N(11)), "tds_action(t.text, 3)"),
            ("DELETE_RULE", SqlType::VarChar(Length::N(11)), "tds_action(t.text, 2)"),
        ],
        "(SELECT k.*, o.schema_name, p.schema_name AS parent_schema, (SELECT u.name FROM constraints AS u WHERE u.object_id = \
         k.parent AND u.kind IN ('PK', 'UQ') AND u.columns = k.parent_columns) AS parent_key FROM constraints AS k JOIN \
         tables AS o ON o.object_id = k.object_id JOIN tables AS p ON p.object_id = k.parent WHERE k.kind = 'FK') AS t",
        Some("t.object_id"),
    ),
    view(
        "CHECK_CONSTRAINTS",
        &[
            ("CONSTRAINT_CATALOG", CATALOG, "'$database'"),
            ("CONSTRAINT_SCHEMA", SYSNAME, "t.schema_name"),
            ("CONSTRAINT_NAME", SYSNAME, "t.name"),
            ("CHECK_CLAUSE", SqlType::NVarChar(Length::N(4000)), "'(' || t.text || ')'"),
        ],
        "(SELECT k.*, o.schema_name FROM constraints AS k JOIN tables AS o ON o.object_id = k.object_id WHERE k.kind = 'CK') \
         AS t",
        Some("t.object_id"),
    ),
];
