//! Views of columns and of procedures' parameters.

use super::{SYSNAME, View, ViewColumn};
use crate::types::{Length, SqlType};

const ENCRYPTION_DESC: SqlType = SqlType::NVarChar(Length::N(64));

const COLUMN_COLUMNS: &[ViewColumn] = &[
    ("object_id", SqlType::Int, "c.object_id"),
    ("name", SYSNAME, "c.name"),
    ("column_id", SqlType::Int, "c.column_id"),
    ("system_type_id", SqlType::TinyInt, "tds_type('system_type_id', c.type)"),
    ("user_type_id", SqlType::Int, "tds_type('system_type_id', c.type)"),
    ("max_length", SqlType::SmallInt, "tds_type('max_length', c.type)"),
    ("precision", SqlType::TinyInt, "tds_type('precision', c.type)"),
    ("scale", SqlType::TinyInt, "tds_type('scale', c.type)"),
    ("collation_name", SYSNAME, "c.collation"),
    ("is_nullable", SqlType::Bit, "c.nullable"),
    ("is_ansi_padded", SqlType::Bit, "1"),
    ("is_rowguidcol", SqlType::Bit, "0"),
    ("is_identity", SqlType::Bit, "c.identity_seed IS NOT NULL"),
    ("is_computed", SqlType::Bit, "0"),
    ("is_filestream", SqlType::Bit, "0"),
    ("is_replicated", SqlType::Bit, "0"),
    ("is_non_sql_subscribed", SqlType::Bit, "0"),
    ("is_merge_published", SqlType::Bit, "0"),
    ("is_dts_replicated", SqlType::Bit, "0"),
    ("is_xml_document", SqlType::Bit, "0"),
    ("xml_collection_id", SqlType::Int, "0"),
    (
        "default_object_id",
        SqlType::Int,
        "coalesce((SELECT k.id FROM constraints AS k WHERE k.object_id = c.object_id AND k.kind = 'DF' AND k.columns = \
         CAST(c.column_id AS text)), 0)",
    ),
    ("rule_object_id", SqlType::Int, "0"),
    ("is_sparse", SqlType::Bit, "0"),
    ("is_column_set", SqlType::Bit, "0"),
    ("generated_always_type", SqlType::TinyInt, "0"),
    ("generated_always_type_desc", SqlType::NVarChar(Length::N(60)), "'NOT_APPLICABLE'"),
    ("encryption_type", SqlType::Int, "c.encryption_type"),
    (
        "encryption_type_desc",
        ENCRYPTION_DESC,
        "CASE c.encryption_type WHEN 1 THEN 'DETERMINISTIC' WHEN 2 THEN 'RANDOMIZED' END",
    ),
    (
        "encryption_algorithm_name",
        SYSNAME,
        "CASE WHEN c.encryption_type IS NOT NULL THEN '$algorithm' END",
    ),
    ("column_encryption_key_id", SqlType::Int, "c.cek_id"),
    ("column_encryption_key_database_name", SYSNAME, "NULL"),
    ("is_hidden", SqlType::Bit, "0"),
    ("is_masked", SqlType::Bit, "0"),
];

const PARAMETER_COLUMNS: &[ViewColumn] = &[
    ("object_id", SqlType::Int, "p.object_id"),
    ("name", SYSNAME, "p.name"),
    ("parameter_id", SqlType::Int, "p.parameter_id"),
    (
        "system_type_id",
        SqlType::TinyInt,
        "CASE WHEN p.type LIKE 'table:%' THEN 243 ELSE tds_type('system_type_id', p.type) END",
    ),
    (
        "user_type_id",
        SqlType::Int,
        "CASE WHEN p.type LIKE 'table:%' THEN CAST(substr(p.type, 7) AS integer) ELSE tds_type('system_type_id', p.type) END",
    ),
    (
        "max_length",
        SqlType::SmallInt,
        "CASE WHEN p.type LIKE 'table:%' THEN -1 ELSE tds_type('max_length', p.type) END",
    ),
    (
        "precision",
        SqlType::TinyInt,
        "CASE WHEN p.type LIKE 'table:%' THEN 0 ELSE tds_type('precision', p.type) END",
    ),
    (
        "scale",
        SqlType::TinyInt,
        "CASE WHEN p.type LIKE 'table:%' THEN 0 ELSE tds_type('scale', p.type) END",
    ),
    ("is_output", SqlType::Bit, "p.is_output"),
    ("is_cursor_ref", SqlType::Bit, "0"),
    // Only CLR's parameters have defaults that the catalogue knows.
    ("has_default_value", SqlType::Bit, "0"),
    ("is_xml_document", SqlType::Bit, "0"),
    ("default_value", SqlType::NVarChar(Length::N(4000)), "NULL"),
    ("xml_collection_id", SqlType::Int, "0"),
    ("is_readonly", SqlType::Bit, "p.type LIKE 'table:%'"),
    ("is_nullable", SqlType::Bit, "1"),
    ("encryption_type", SqlType::Int, "p.encryption_type"),
    (
        "encryption_type_desc",
        ENCRYPTION_DESC,
        "CASE p.encryption_type WHEN 1 THEN 'DETERMINISTIC' WHEN 2 THEN 'RANDOMIZED' END",
    ),
    (
        "encryption_algorithm_name",
        SYSNAME,
        "CASE WHEN p.encryption_type IS NOT NULL THEN '$algorithm' END",
    ),
    ("column_encryption_key_id", SqlType::Int, "p.cek_id"),
    ("column_encryption_key_database_name", SYSNAME, "NULL"),
];

pub(super) const VIEWS: &[View] = &[
    View::new("columns", COLUMN_COLUMNS, "columns AS c", Some("c.object_id")),
    View::new("all_columns", COLUMN_COLUMNS, "columns AS c", Some("c.object_id")),
    View::new("parameters", PARAMETER_COLUMNS, "parameters AS p", Some("p.object_id")),
    View::new("all_parameters", PARAMETER_COLUMNS, "parameters AS p", Some("p.object_id")),
    View::new(
        "identity_columns",
        &[
            ("object_id", SqlType::Int, "c.object_id"),
            ("name", SYSNAME, "c.name"),
            ("column_id", SqlType::Int, "c.column_id"),
            ("system_type_id", SqlType::TinyInt, "tds_type('system_type_id', c.type)"),
            ("is_identity", SqlType::Bit, "1"),
            // sql_variant in SQL Server.
            ("seed_value", SqlType::BigInt, "c.identity_seed"),
            ("increment_value", SqlType::BigInt, "c.identity_increment"),
            ("last_value", SqlType::BigInt, "c.identity_last"),
            ("is_not_for_replication", SqlType::Bit, "0"),
        ],
        "(SELECT * FROM columns WHERE identity_seed IS NOT NULL) AS c",
        Some("c.object_id"),
    ),
    View::new(
        "computed_columns",
        &[
            ("object_id", SqlType::Int, "0"),
            ("name", SYSNAME, "''"),
            ("column_id", SqlType::Int, "0"),
            ("definition", SqlType::NVarChar(Length::Max), "''"),
            ("is_persisted", SqlType::Bit, "0"),
        ],
        "(SELECT 1 WHERE false)",
        None,
    ),
];
