//! Views of constraints and indexes. A primary key is clustered, everything else is not: SQLite knows no difference, and
//! what the statement said is not kept.

use super::{DESC, SCHEMA_ID, SYSNAME, View, ViewColumn};
use crate::types::{Length, SqlType};

/// Indexes, those of keys included, and tables that have no clustered one.
macro_rules! indexes {
    () => {
        "(SELECT t.object_id, NULL AS name, 0 AS index_id, 0 AS type, 'HEAP' AS description, 0 AS uniq, 0 AS \
     pk, 0 AS uq, '' AS columns FROM tables AS t WHERE NOT EXISTS (SELECT 1 FROM constraints AS k WHERE k.object_id = \
     t.object_id AND k.kind = 'PK') UNION ALL SELECT object_id, name, 1, 1, 'CLUSTERED', 1, 1, 0, columns FROM constraints \
     WHERE kind = 'PK' UNION ALL SELECT object_id, name, 1 + row_number() OVER (PARTITION BY object_id ORDER BY abs(id)), \
     2, 'NONCLUSTERED', uniq, 0, uq, columns FROM (SELECT id, object_id, name, 1 AS uniq, 1 AS uq, columns FROM constraints \
     WHERE kind = 'UQ' UNION ALL SELECT id, object_id, name, is_unique, 0, columns FROM indexes))"
    };
}

/// What all constraints show first.
macro_rules! constraint_columns {
    ($($more:expr),* $(,)?) => {
        &[
            ("name", SYSNAME, "t.name"),
            ("object_id", SqlType::Int, "t.id"),
            ("principal_id", SqlType::Int, "NULL"),
            ("schema_id", SqlType::Int, SCHEMA_ID),
            ("parent_object_id", SqlType::Int, "t.object_id"),
            ("type", SqlType::Char(2), "CASE t.kind WHEN 'CK' THEN 'C ' WHEN 'FK' THEN 'F ' WHEN 'DF' THEN 'D ' ELSE t.kind END"),
            (
                "type_desc",
                DESC,
                "CASE t.kind WHEN 'PK' THEN 'PRIMARY_KEY_CONSTRAINT' WHEN 'UQ' THEN 'UNIQUE_CONSTRAINT' WHEN 'CK' THEN \
                 'CHECK_CONSTRAINT' WHEN 'FK' THEN 'FOREIGN_KEY_CONSTRAINT' ELSE 'DEFAULT_CONSTRAINT' END",
            ),
            ("create_date", SqlType::DateTime, "t.created"),
            ("modify_date", SqlType::DateTime, "t.created"),
            ("is_ms_shipped", SqlType::Bit, "0"),
            ("is_system_named", SqlType::Bit, "t.system_named"),
            $($more),*
        ]
    };
}

const KEY_COLUMNS: &[ViewColumn] = constraint_columns![
    (
        "unique_index_id",
        SqlType::Int,
        "(SELECT x.index_id FROM (SELECT id, CASE kind WHEN 'PK' THEN 1 ELSE 1 + row_number() OVER (PARTITION BY object_id, \
         kind = 'PK' ORDER BY abs(id)) END AS index_id FROM (SELECT id, object_id, kind FROM constraints WHERE kind IN \
         ('PK', 'UQ') UNION ALL SELECT id, object_id, 'IX' FROM indexes)) AS x WHERE x.id = t.id)",
    ),
    ("is_enforced", SqlType::Bit, "1"),
];

const CHECK_COLUMNS: &[ViewColumn] = constraint_columns![
    ("is_disabled", SqlType::Bit, "0"),
    ("is_not_for_replication", SqlType::Bit, "0"),
    ("is_not_trusted", SqlType::Bit, "0"),
    ("parent_column_id", SqlType::Int, "0"),
    ("definition", SqlType::NVarChar(Length::Max), "'(' || t.text || ')'"),
    ("uses_database_collation", SqlType::Bit, "1"),
];

const DEFAULT_COLUMNS: &[ViewColumn] = constraint_columns![
    ("parent_column_id", SqlType::Int, "CAST(t.columns AS integer)"),
    ("definition", SqlType::NVarChar(Length::Max), "'(' || t.default_value || ')'"),
];

const FOREIGN_COLUMNS: &[ViewColumn] = constraint_columns![
    ("referenced_object_id", SqlType::Int, "t.parent"),
    (
        "key_index_id",
        SqlType::Int,
        "(SELECT x.index_id FROM (SELECT object_id, columns, CASE kind WHEN 'PK' THEN 1 ELSE 1 + row_number() OVER \
         (PARTITION BY object_id, kind = 'PK' ORDER BY abs(id)) END AS index_id FROM (SELECT id, object_id, kind, columns \
         FROM constraints WHERE kind IN ('PK', 'UQ') UNION ALL SELECT id, object_id, 'IX', '' FROM indexes)) AS x WHERE \
         x.object_id = t.parent AND x.columns = t.parent_columns)",
    ),
    ("is_disabled", SqlType::Bit, "0"),
    ("is_not_for_replication", SqlType::Bit, "0"),
    ("is_not_trusted", SqlType::Bit, "0"),
    ("delete_referential_action", SqlType::TinyInt, "tds_action(t.text, 0)"),
    ("delete_referential_action_desc", DESC, "replace(tds_action(t.text, 2), ' ', '_')"),
    ("update_referential_action", SqlType::TinyInt, "tds_action(t.text, 1)"),
    ("update_referential_action_desc", DESC, "replace(tds_action(t.text, 3), ' ', '_')"),
];

/// Constraints of some kinds, each with its columns as the text `1,2`, which is a list to JSON.
macro_rules! constraints_of {
    ($kinds:literal) => {
        concat!(
            "(SELECT k.*, o.schema_name, o.created, d.default_value, k.name GLOB k.kind || '__*' AS system_named FROM \
             constraints AS k JOIN tables AS o ON o.object_id = k.object_id LEFT JOIN columns AS d ON k.kind = 'DF' AND \
             d.object_id = k.object_id AND d.column_id = CAST(k.columns AS integer) WHERE k.kind IN (",
            $kinds,
            ")) AS t"
        )
    };
}

pub(super) const VIEWS: &[View] = &[
    View::new("key_constraints", KEY_COLUMNS, constraints_of!("'PK', 'UQ'"), Some("t.object_id")),
    View::new("check_constraints", CHECK_COLUMNS, constraints_of!("'CK'"), Some("t.object_id")),
    View::new("default_constraints", DEFAULT_COLUMNS, constraints_of!("'DF'"), Some("t.object_id")),
    View::new("foreign_keys", FOREIGN_COLUMNS, constraints_of!("'FK'"), Some("t.object_id")),
    View::new(
        "foreign_key_columns",
        &[
            ("constraint_object_id", SqlType::Int, "t.id"),
            ("constraint_column_id", SqlType::Int, "t.key + 1"),
            ("parent_object_id", SqlType::Int, "t.object_id"),
            ("parent_column_id", SqlType::Int, "t.own"),
            ("referenced_object_id", SqlType::Int, "t.parent"),
            ("referenced_column_id", SqlType::Int, "t.other"),
        ],
        "(SELECT k.id, k.object_id, k.parent, a.key, a.value AS own, b.value AS other FROM constraints AS k, json_each('[' \
         || k.columns || ']') AS a JOIN json_each('[' || k.parent_columns || ']') AS b ON b.key = a.key WHERE k.kind = \
         'FK') AS t",
        Some("t.object_id"),
    ),
    View::new(
        "indexes",
        &[
            ("object_id", SqlType::Int, "t.object_id"),
            ("name", SYSNAME, "t.name"),
            ("index_id", SqlType::Int, "t.index_id"),
            ("type", SqlType::TinyInt, "t.type"),
            ("type_desc", DESC, "t.description"),
            ("is_unique", SqlType::Bit, "t.uniq"),
            ("data_space_id", SqlType::Int, "1"),
            ("ignore_dup_key", SqlType::Bit, "0"),
            ("is_primary_key", SqlType::Bit, "t.pk"),
            ("is_unique_constraint", SqlType::Bit, "t.uq"),
            ("fill_factor", SqlType::TinyInt, "0"),
            ("is_padded", SqlType::Bit, "0"),
            ("is_disabled", SqlType::Bit, "0"),
            ("is_hypothetical", SqlType::Bit, "0"),
            ("allow_row_locks", SqlType::Bit, "1"),
            ("allow_page_locks", SqlType::Bit, "1"),
            ("has_filter", SqlType::Bit, "0"),
            ("filter_definition", SqlType::NVarChar(Length::Max), "NULL"),
        ],
        concat!(indexes!(), " AS t"),
        Some("t.object_id"),
    ),
    View::new(
        "index_columns",
        &[
            ("object_id", SqlType::Int, "t.object_id"),
            ("index_id", SqlType::Int, "t.index_id"),
            ("index_column_id", SqlType::Int, "t.key + 1"),
            ("column_id", SqlType::Int, "t.value"),
            ("key_ordinal", SqlType::TinyInt, "t.key + 1"),
            ("partition_ordinal", SqlType::TinyInt, "0"),
            ("is_descending_key", SqlType::Bit, "0"),
            ("is_included_column", SqlType::Bit, "0"),
        ],
        concat!(
            "(SELECT x.object_id, x.index_id, j.key, j.value FROM ",
            indexes!(),
            " AS x, json_each('[' || x.columns || ']') AS j) AS t"
        ),
        Some("t.object_id"),
    ),
];
