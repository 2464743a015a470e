//! The catalogue views that drivers and tools read, as queries over the catalogue's own tables.

use crate::catalogue::security::{VIEW_ENCRYPTION_KEYS, VIEW_MASTER_KEYS};
use crate::catalogue::{ALGORITHM_NAME, Catalogue, DATABASE_ID, DATABASE_NAME};
use crate::sql::names::QualifiedName;
use crate::types::{Length, SqlType};

/// Name, type, and the SQLite expression that gives it in the form in which the type is stored.
type ViewColumn = (&'static str, SqlType, &'static str);

#[derive(Debug)]
pub(crate) struct View {
    name: &'static str,
    object_id: i64,
    columns: &'static [ViewColumn],
    from: &'static str,
}

const SYSNAME: SqlType = SqlType::NVarChar(Length::N(128));
const DESC: SqlType = SqlType::NVarChar(Length::N(60));

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
    ("temporal_type", SqlType::TinyInt, "0"),
];

const SCHEMA_ID: &str = "coalesce((SELECT s.id FROM schemas AS s WHERE s.name = t.schema_name), 1)";

const OBJECTS: &str = "(SELECT object_id, schema_name, name, created, 'U ' AS type, 'USER_TABLE' AS description, 0 AS \
     parent FROM tables UNION ALL SELECT object_id, schema_name, name, created, 'P ', 'SQL_STORED_PROCEDURE', 0 FROM \
     procedures UNION ALL SELECT object_id, schema_name, name, created, 'V ', 'VIEW', 0 FROM views UNION ALL SELECT k.id, \
     o.schema_name, k.name, o.created, CASE k.kind WHEN 'CK' THEN 'C ' WHEN 'FK' THEN 'F ' WHEN 'DF' THEN 'D ' ELSE k.kind \
     END, CASE k.kind WHEN 'PK' THEN 'PRIMARY_KEY_CONSTRAINT' WHEN 'UQ' THEN 'UNIQUE_CONSTRAINT' WHEN 'CK' THEN \
     'CHECK_CONSTRAINT' WHEN 'FK' THEN 'FOREIGN_KEY_CONSTRAINT' ELSE 'DEFAULT_CONSTRAINT' END, k.object_id FROM \
     constraints AS k JOIN tables AS o ON o.object_id = k.object_id) AS t";

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
    ("is_hidden", SqlType::Bit, "0"),
    ("encryption_type", SqlType::Int, "c.encryption_type"),
    (
        "encryption_type_desc",
        SqlType::NVarChar(Length::N(64)),
        "CASE c.encryption_type WHEN 1 THEN 'DETERMINISTIC' WHEN 2 THEN 'RANDOMIZED' END",
    ),
    (
        "encryption_algorithm_name",
        SYSNAME,
        "CASE WHEN c.encryption_type IS NOT NULL THEN '$algorithm' END",
    ),
    ("column_encryption_key_id", SqlType::Int, "c.cek_id"),
    ("column_encryption_key_database_name", SYSNAME, "NULL"),
];

/// Set against the names of `ENCRYPTION` placeholders below by [`View::sql`].
const ALGORITHM: &str = "$algorithm";
const DATABASE: &str = "$database";

static VIEWS: &[View] = &[
    View { name: "tables", object_id: -384, columns: TABLE_COLUMNS, from: "tables AS t" },
    View { name: "objects", object_id: -385, columns: OBJECT_COLUMNS, from: OBJECTS },
    View {
        name: "views",
        object_id: -396,
        columns: OBJECT_COLUMNS,
        from: "(SELECT object_id, schema_name, name, created, 'V ' AS type, 'VIEW' AS description, 0 AS parent FROM views) AS t",
    },
    View {
        name: "procedures",
        object_id: -393,
        columns: PROCEDURE_COLUMNS,
        from: "procedures AS t",
    },
    View {
        name: "parameters",
        object_id: -394,
        columns: &[
            ("object_id", SqlType::Int, "p.object_id"),
            ("name", SYSNAME, "p.name"),
            ("parameter_id", SqlType::Int, "p.parameter_id"),
            ("system_type_id", SqlType::TinyInt, "tds_type('system_type_id', p.type)"),
            ("user_type_id", SqlType::Int, "tds_type('system_type_id', p.type)"),
            ("max_length", SqlType::SmallInt, "tds_type('max_length', p.type)"),
            ("precision", SqlType::TinyInt, "tds_type('precision', p.type)"),
            ("scale", SqlType::TinyInt, "tds_type('scale', p.type)"),
            ("is_output", SqlType::Bit, "p.is_output"),
            ("has_default_value", SqlType::Bit, "p.has_default"),
            ("is_nullable", SqlType::Bit, "1"),
            ("encryption_type", SqlType::Int, "p.encryption_type"),
            (
                "encryption_type_desc",
                SqlType::NVarChar(Length::N(64)),
                "CASE p.encryption_type WHEN 1 THEN 'DETERMINISTIC' WHEN 2 THEN 'RANDOMIZED' END",
            ),
            (
                "encryption_algorithm_name",
                SYSNAME,
                "CASE WHEN p.encryption_type IS NOT NULL THEN '$algorithm' END",
            ),
            ("column_encryption_key_id", SqlType::Int, "p.cek_id"),
            ("column_encryption_key_database_name", SYSNAME, "NULL"),
        ],
        from: "parameters AS p",
    },
    View {
        name: "schemas",
        object_id: -386,
        columns: &[
            ("name", SYSNAME, "column1"),
            ("schema_id", SqlType::Int, "column2"),
            ("principal_id", SqlType::Int, "column2"),
        ],
        from: "(SELECT 'dbo' AS column1, 1 AS column2 UNION ALL SELECT 'sys', 4 UNION ALL SELECT name, id FROM schemas)",
    },
    View { name: "columns", object_id: -387, columns: COLUMN_COLUMNS, from: "columns AS c" },
    View { name: "all_columns", object_id: -395, columns: COLUMN_COLUMNS, from: "columns AS c" },
    View {
        name: "types",
        object_id: -388,
        columns: &[
            ("name", SYSNAME, "column1"),
            ("system_type_id", SqlType::TinyInt, "column2"),
            ("user_type_id", SqlType::Int, "column3"),
            ("schema_id", SqlType::Int, "4"),
            ("max_length", SqlType::SmallInt, "column4"),
            ("precision", SqlType::TinyInt, "column5"),
            ("scale", SqlType::TinyInt, "column6"),
            ("is_nullable", SqlType::Bit, "1"),
            ("is_user_defined", SqlType::Bit, "0"),
        ],
        from: "(VALUES ('uniqueidentifier',36,36,16,0,0), ('date',40,40,3,10,0), ('time',41,41,5,16,7), \
               ('datetime2',42,42,8,27,7), ('datetimeoffset',43,43,10,34,7), ('tinyint',48,48,1,3,0), \
               ('smallint',52,52,2,5,0), ('int',56,56,4,10,0), ('smalldatetime',58,58,4,16,0), ('real',59,59,4,24,0), \
               ('money',60,60,8,19,4), ('datetime',61,61,8,23,3), ('float',62,62,8,53,0), ('bit',104,104,1,1,0), \
               ('decimal',106,106,17,38,38), ('numeric',108,108,17,38,38), ('smallmoney',122,122,4,10,4), \
               ('bigint',127,127,8,19,0), ('varbinary',165,165,8000,0,0), ('varchar',167,167,8000,0,0), \
               ('binary',173,173,8000,0,0), ('char',175,175,8000,0,0), ('nvarchar',231,231,8000,0,0), \
               ('nchar',239,239,8000,0,0), ('sysname',231,256,256,0,0))",
    },
    View {
        name: "databases",
        object_id: -389,
        columns: &[
            ("name", SYSNAME, "column1"),
            ("database_id", SqlType::Int, "column2"),
            ("collation_name", SYSNAME, "'SQL_Latin1_General_CP1_CI_AS'"),
            ("compatibility_level", SqlType::TinyInt, "160"),
            ("state", SqlType::TinyInt, "0"),
            ("state_desc", DESC, "'ONLINE'"),
            ("is_read_only", SqlType::Bit, "0"),
        ],
        from: "(VALUES ('master', 1), ('$database', $database_id))",
    },
    View {
        name: "column_master_keys",
        object_id: -390,
        columns: &[
            ("name", SYSNAME, "k.name"),
            ("column_master_key_id", SqlType::Int, "k.id"),
            ("create_date", SqlType::DateTime, "k.created"),
            ("modify_date", SqlType::DateTime, "k.created"),
            ("key_store_provider_name", SYSNAME, "k.provider"),
            ("key_path", SqlType::NVarChar(Length::N(4000)), "k.path"),
            ("allow_enclave_computations", SqlType::Bit, "k.signature IS NOT NULL"),
            ("signature", SqlType::VarBinary(Length::Max), "k.signature"),
        ],
        from: "master_keys AS k",
    },
    View {
        name: "column_encryption_keys",
        object_id: -391,
        columns: &[
            ("name", SYSNAME, "k.name"),
            ("column_encryption_key_id", SqlType::Int, "k.id"),
            ("create_date", SqlType::DateTime, "k.created"),
            ("modify_date", SqlType::DateTime, "k.created"),
        ],
        from: "encryption_keys AS k",
    },
    View {
        name: "column_encryption_key_values",
        object_id: -392,
        columns: &[
            ("column_encryption_key_id", SqlType::Int, "v.cek_id"),
            ("column_master_key_id", SqlType::Int, "v.cmk_id"),
            ("encrypted_value", SqlType::VarBinary(Length::N(8000)), "v.encrypted"),
            ("encryption_algorithm_name", SYSNAME, "v.algorithm"),
        ],
        from: "encryption_key_values AS v",
    },
];

pub(crate) fn find(name: &QualifiedName) -> Option<&'static View> {
    if !name.schema.eq_ignore_ascii_case("sys") {
        return None;
    }
    VIEWS.iter().find(|view| view.name.eq_ignore_ascii_case(&name.name))
}

/// What a catalogue view that exists selects.
pub(crate) fn query(catalogue: &Catalogue, name: &str) -> String {
    let view = VIEWS.iter().find(|view| view.name == name);
    view.map(|view| view.sql(catalogue)).unwrap_or_default()
}

/// Everything that has an object id, those views included: object_id, schema_name, name and type.
pub(crate) fn objects(catalogue: &Catalogue) -> String {
    let views: Vec<String> = VIEWS
        .iter()
        .map(|view| format!("({}, 'sys', '{}', 'V ')", view.object_id, view.name))
        .collect();
    format!(
        "SELECT t.object_id, t.schema_name, t.name, t.type FROM {OBJECTS}{} UNION ALL SELECT column1, column2, column3, \
         column4 FROM (VALUES {})",
        catalogue.visible("t.object_id"),
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
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&'static str, SqlType)> {
        self.columns.iter().map(|(name, ty, _)| (*name, *ty))
    }

    /// A SELECT over the catalogue's tables, of what the session may see. Its constants are this program's own.
    pub(crate) fn sql(&self, catalogue: &Catalogue) -> String {
        let access = &catalogue.access;
        let allowed = match self.name {
            "column_master_keys" => access.on_database(VIEW_MASTER_KEYS),
            "column_encryption_keys" | "column_encryption_key_values" => {
                access.on_database(VIEW_ENCRYPTION_KEYS)
            }
            _ => true,
        };
        let by_object = self.columns.iter().find(|(name, _, _)| *name == "object_id");
        let condition = match by_object {
            _ if !allowed => " WHERE false".to_owned(),
            Some((_, _, object_id)) => catalogue.visible(object_id),
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
