//! Views of what there is: objects, schemas, types, databases, and the texts of modules.

use super::{DESC, OBJECTS, SCHEMA_ID, SYSNAME, View, ViewColumn};
use crate::types::{Length, SqlType};

const OBJECT_COLUMNS: &[ViewColumn] = &[
    ("name", SYSNAME, "t.name"),
    ("object_id", SqlType::Int, "t.object_id"),
    ("principal_id", SqlType::Int, "NULL"),
    ("schema_id", SqlType::Int, SCHEMA_ID),
    ("parent_object_id", SqlType::Int, "t.parent"),
    ("type", SqlType::Char(2), "t.type"),
    ("type_desc", DESC, "t.description"),
    ("create_date", SqlType::DateTime, "t.created"),
    ("modify_date", SqlType::DateTime, "t.created"),
    ("is_ms_shipped", SqlType::Bit, "0"),
    ("is_published", SqlType::Bit, "0"),
    ("is_schema_published", SqlType::Bit, "0"),
];

const TABLE_COLUMNS: &[ViewColumn] = &[
    ("name", SYSNAME, "t.name"),
    ("object_id", SqlType::Int, "t.object_id"),
    ("principal_id", SqlType::Int, "NULL"),
    ("schema_id", SqlType::Int, SCHEMA_ID),
    ("parent_object_id", SqlType::Int, "0"),
    ("type", SqlType::Char(2), "'U '"),
    ("type_desc", DESC, "'USER_TABLE'"),
    ("create_date", SqlType::DateTime, "t.created"),
    ("modify_date", SqlType::DateTime, "t.created"),
    ("is_ms_shipped", SqlType::Bit, "0"),
    ("lob_data_space_id", SqlType::Int, "0"),
    (
        "max_column_id_used",
        SqlType::Int,
        "(SELECT max(c.column_id) FROM columns AS c WHERE c.object_id = t.object_id)",
    ),
    ("uses_ansi_nulls", SqlType::Bit, "1"),
    ("is_replicated", SqlType::Bit, "0"),
    ("is_memory_optimized", SqlType::Bit, "0"),
    ("durability", SqlType::TinyInt, "0"),
    ("durability_desc", DESC, "'SCHEMA_AND_DATA'"),
    ("temporal_type", SqlType::TinyInt, "0"),
    ("temporal_type_desc", DESC, "'NON_TEMPORAL_TABLE'"),
    ("history_table_id", SqlType::Int, "NULL"),
    ("is_external", SqlType::Bit, "0"),
    ("is_node", SqlType::Bit, "0"),
    ("is_edge", SqlType::Bit, "0"),
];

const PROCEDURE_COLUMNS: &[ViewColumn] = &[
    ("name", SYSNAME, "t.name"),
    ("object_id", SqlType::Int, "t.object_id"),
    ("principal_id", SqlType::Int, "NULL"),
    ("schema_id", SqlType::Int, SCHEMA_ID),
    ("parent_object_id", SqlType::Int, "0"),
    ("type", SqlType::Char(2), "'P '"),
    ("type_desc", DESC, "'SQL_STORED_PROCEDURE'"),
    ("create_date", SqlType::DateTime, "t.created"),
    ("modify_date", SqlType::DateTime, "t.created"),
    ("is_ms_shipped", SqlType::Bit, "0"),
    ("is_auto_executed", SqlType::Bit, "0"),
];

const VIEW_OBJECTS: &str = "(SELECT object_id, schema_name, name, created, 'V ' AS type, 'VIEW' AS description, 0 AS \
     parent FROM views) AS t";

const MODULES: &str =
    "(SELECT object_id, text FROM procedures UNION ALL SELECT object_id, text FROM views) AS m";

pub(super) const VIEWS: &[View] = &[
    View::new("tables", TABLE_COLUMNS, "tables AS t", Some("t.object_id")),
    View::new("objects", OBJECT_COLUMNS, OBJECTS, Some("t.object_id")),
    View::new("all_objects", OBJECT_COLUMNS, OBJECTS, Some("t.object_id")),
    View::new("views", OBJECT_COLUMNS, VIEW_OBJECTS, Some("t.object_id")),
    View::new("all_views", OBJECT_COLUMNS, VIEW_OBJECTS, Some("t.object_id")),
    View::new("procedures", PROCEDURE_COLUMNS, "procedures AS t", Some("t.object_id")),
    View::new(
        "schemas",
        &[
            ("name", SYSNAME, "column1"),
            ("schema_id", SqlType::Int, "column2"),
            ("principal_id", SqlType::Int, "column3"),
        ],
        "(SELECT 'dbo' AS column1, 1 AS column2, 1 AS column3 UNION ALL SELECT 'INFORMATION_SCHEMA', 3, 3 UNION ALL \
         SELECT 'sys', 4, 4 UNION ALL SELECT name, id, 1 FROM schemas)",
        None,
    ),
    View::new(
        "sql_modules",
        &[
            ("object_id", SqlType::Int, "m.object_id"),
            ("definition", SqlType::NVarChar(Length::Max), "m.text"),
            ("uses_ansi_nulls", SqlType::Bit, "1"),
            ("uses_quoted_identifier", SqlType::Bit, "1"),
            ("is_schema_bound", SqlType::Bit, "0"),
            ("uses_database_collation", SqlType::Bit, "0"),
            ("is_recompiled", SqlType::Bit, "0"),
            ("null_on_null_input", SqlType::Bit, "0"),
            ("execute_as_principal_id", SqlType::Int, "NULL"),
        ],
        MODULES,
        Some("m.object_id"),
    ),
    View::new(
        "types",
        &[
            ("name", SYSNAME, "column1"),
            ("system_type_id", SqlType::TinyInt, "column2"),
            ("user_type_id", SqlType::Int, "column3"),
            ("schema_id", SqlType::Int, "column7"),
            ("principal_id", SqlType::Int, "NULL"),
            ("max_length", SqlType::SmallInt, "column4"),
            ("precision", SqlType::TinyInt, "column5"),
            ("scale", SqlType::TinyInt, "column6"),
            (
                "collation_name",
                SYSNAME,
                "CASE WHEN column2 IN (35, 99, 167, 175, 231, 239) THEN 'SQL_Latin1_General_CP1_CI_AS' END",
            ),
            ("is_nullable", SqlType::Bit, "column3 < 256 AND column2 <> 189"),
            ("is_user_defined", SqlType::Bit, "column3 > 256"),
            ("is_assembly_type", SqlType::Bit, "0"),
            ("default_object_id", SqlType::Int, "0"),
            ("rule_object_id", SqlType::Int, "0"),
            ("is_table_type", SqlType::Bit, "column2 = 243"),
        ],
        "(SELECT column1, column2, column3, column4, column5, column6, 4 AS column7 FROM (VALUES ('image',34,34,16,0,0), ('text',35,35,16,0,0), ('sql_variant',98,98,8016,0,0), \
         ('ntext',99,99,16,0,0), ('timestamp',189,189,8,0,0), ('xml',241,241,-1,0,0), ('uniqueidentifier',36,36,16,0,0), ('date',40,40,3,10,0), ('time',41,41,5,16,7), \
         ('datetime2',42,42,8,27,7), ('datetimeoffset',43,43,10,34,7), ('tinyint',48,48,1,3,0), \
         ('smallint',52,52,2,5,0), ('int',56,56,4,10,0), ('smalldatetime',58,58,4,16,0), ('real',59,59,4,24,0), \
         ('money',60,60,8,19,4), ('datetime',61,61,8,23,3), ('float',62,62,8,53,0), ('bit',104,104,1,1,0), \
         ('decimal',106,106,17,38,38), ('numeric',108,108,17,38,38), ('smallmoney',122,122,4,10,4), \
         ('bigint',127,127,8,19,0), ('varbinary',165,165,8000,0,0), ('varchar',167,167,8000,0,0), \
         ('binary',173,173,8000,0,0), ('char',175,175,8000,0,0), ('nvarchar',231,231,8000,0,0), \
         ('nchar',239,239,8000,0,0), ('sysname',231,256,256,0,0)) UNION ALL SELECT t.name, 243, t.id, -1, 0, 0, \
         coalesce((SELECT s.id FROM schemas AS s WHERE s.name = t.schema_name), 1) FROM table_types AS t)",
        None,
    ),
    View::new(
        "databases",
        &[
            ("name", SYSNAME, "column1"),
            ("database_id", SqlType::Int, "column2"),
            ("source_database_id", SqlType::Int, "NULL"),
            ("owner_sid", SqlType::VarBinary(Length::N(85)), "x'01'"),
            ("create_date", SqlType::DateTime, "(SELECT min(created) FROM logins)"),
            ("compatibility_level", SqlType::TinyInt, "160"),
            ("collation_name", SYSNAME, "'SQL_Latin1_General_CP1_CI_AS'"),
            ("user_access", SqlType::TinyInt, "0"),
            ("user_access_desc", DESC, "'MULTI_USER'"),
            ("is_read_only", SqlType::Bit, "0"),
            ("state", SqlType::TinyInt, "0"),
            ("state_desc", DESC, "'ONLINE'"),
            ("snapshot_isolation_state", SqlType::TinyInt, "1"),
            ("is_read_committed_snapshot_on", SqlType::Bit, "1"),
            ("recovery_model", SqlType::TinyInt, "1"),
            ("recovery_model_desc", DESC, "'FULL'"),
        ],
        "(VALUES ('master', 1), ('tempdb', 2), ('$database', $database_id))",
        None,
    ),
    // There are none of these here; tools ask all the same.
    View::new(
        "extended_properties",
        &[
            ("class", SqlType::TinyInt, "0"),
            ("class_desc", DESC, "''"),
            ("major_id", SqlType::Int, "0"),
            ("minor_id", SqlType::Int, "0"),
            ("name", SYSNAME, "''"),
            ("value", SqlType::NVarChar(Length::N(4000)), "NULL"),
        ],
        "(SELECT 1 WHERE false)",
        None,
    ),
    View::new(
        "triggers",
        &[
            ("name", SYSNAME, "''"),
            ("object_id", SqlType::Int, "0"),
            ("parent_class", SqlType::TinyInt, "1"),
            ("parent_class_desc", DESC, "''"),
            ("parent_id", SqlType::Int, "0"),
            ("type", SqlType::Char(2), "''"),
            ("type_desc", DESC, "''"),
            ("is_disabled", SqlType::Bit, "0"),
            ("is_instead_of_trigger", SqlType::Bit, "0"),
        ],
        "(SELECT 1 WHERE false)",
        None,
    ),
    View::new("synonyms", OBJECT_COLUMNS, EMPTY_OBJECTS, None),
    View::new("sequences", OBJECT_COLUMNS, EMPTY_OBJECTS, None),
];

const EMPTY_OBJECTS: &str = "(SELECT object_id, schema_name, name, created, '' AS type, '' AS description, 0 AS parent FROM \
     tables WHERE false) AS t";
