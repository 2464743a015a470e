//! What the catalogue procedures need and no view of SQL Server's shows: columns and parameters in ODBC's terms.

use super::{SYSNAME, View};
use crate::types::{Length, SqlType};

pub(super) const VIEWS: &[View] = &[View::new(
    "spt_columns",
    &[
        ("object_id", SqlType::Int, "t.object_id"),
        ("name", SYSNAME, "t.name"),
        ("ordinal", SqlType::Int, "t.ordinal"),
        ("is_parameter", SqlType::Bit, "t.is_parameter"),
        ("is_output", SqlType::Bit, "t.is_output"),
        ("is_nullable", SqlType::Bit, "t.nullable"),
        ("is_identity", SqlType::Bit, "t.is_identity"),
        (
            "TYPE_NAME",
            SYSNAME,
            "tds_type('name', t.type) || CASE WHEN t.is_identity THEN ' identity' ELSE '' END",
        ),
        ("DATA_TYPE", SqlType::SmallInt, "tds_odbc('DATA_TYPE', t.type, 1)"),
        ("DATA_TYPE2", SqlType::SmallInt, "tds_odbc('DATA_TYPE2', t.type, 1)"),
        ("PRECISION", SqlType::Int, "tds_odbc('PRECISION', t.type, 1)"),
        ("LENGTH", SqlType::Int, "tds_odbc('LENGTH', t.type, 1)"),
        ("SCALE", SqlType::SmallInt, "tds_odbc('SCALE', t.type, 1)"),
        ("RADIX", SqlType::SmallInt, "tds_odbc('RADIX', t.type, 1)"),
        ("COLUMN_DEF", SqlType::NVarChar(Length::N(4000)), "'(' || t.default_value || ')'"),
        ("SQL_DATA_TYPE", SqlType::SmallInt, "tds_odbc('SQL_DATA_TYPE', t.type, 1)"),
        ("SQL_DATETIME_SUB", SqlType::SmallInt, "tds_odbc('SQL_DATETIME_SUB', t.type, 1)"),
        ("CHAR_OCTET_LENGTH", SqlType::Int, "tds_odbc('CHAR_OCTET_LENGTH', t.type, 1)"),
        ("SS_DATA_TYPE", SqlType::TinyInt, "tds_odbc('SS_DATA_TYPE', t.type, t.nullable)"),
    ],
    "(SELECT object_id, name, column_id AS ordinal, 0 AS is_parameter, 0 AS is_output, type, nullable, identity_seed IS NOT \
     NULL AS is_identity, default_value FROM columns UNION ALL SELECT object_id, name, parameter_id, 1, is_output, type, 1, 0, \
     NULL FROM parameters WHERE type NOT LIKE 'table:%') AS t",
    Some("t.object_id"),
)];
