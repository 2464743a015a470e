//! Views of logins, users and permissions. Everybody sees all of them, where SQL Server shows what concerns them.

use super::{DESC, SYSNAME, View};
use crate::types::SqlType;

pub(super) const VIEWS: &[View] = &[
    View::new(
        "server_principals",
        &[
            ("name", SYSNAME, "l.name"),
            ("principal_id", SqlType::Int, "l.id"),
            ("type", SqlType::Char(1), "'S'"),
            ("type_desc", DESC, "'SQL_LOGIN'"),
            ("is_disabled", SqlType::Bit, "l.disabled"),
            ("create_date", SqlType::DateTime, "l.created"),
            ("modify_date", SqlType::DateTime, "l.created"),
            ("default_database_name", SYSNAME, "'$database'"),
            ("default_language_name", SYSNAME, "'us_english'"),
        ],
        "logins AS l",
        None,
    ),
    View::new(
        "database_principals",
        &[
            ("name", SYSNAME, "p.name"),
            ("principal_id", SqlType::Int, "p.id"),
            ("type", SqlType::Char(1), "p.kind"),
            ("type_desc", DESC, "CASE p.kind WHEN 'R' THEN 'DATABASE_ROLE' ELSE 'SQL_USER' END"),
            ("default_schema_name", SYSNAME, "CASE p.kind WHEN 'S' THEN 'dbo' END"),
            ("create_date", SqlType::DateTime, "p.created"),
            ("modify_date", SqlType::DateTime, "p.created"),
            ("owning_principal_id", SqlType::Int, "CASE p.kind WHEN 'R' THEN 1 END"),
            ("is_fixed_role", SqlType::Bit, "p.id >= 16384"),
            ("authentication_type", SqlType::Int, "CASE WHEN p.login IS NULL THEN 0 ELSE 1 END"),
            (
                "authentication_type_desc",
                DESC,
                "CASE WHEN p.login IS NULL THEN 'NONE' ELSE 'INSTANCE' END",
            ),
        ],
        "principals AS p",
        None,
    ),
    View::new(
        "database_role_members",
        &[
            ("role_principal_id", SqlType::Int, "m.role"),
            ("member_principal_id", SqlType::Int, "m.member"),
        ],
        "role_members AS m",
        None,
    ),
    View::new(
        "database_permissions",
        &[
            ("class", SqlType::TinyInt, "p.class"),
            (
                "class_desc",
                DESC,
                "CASE p.class WHEN 0 THEN 'DATABASE' WHEN 1 THEN 'OBJECT_OR_COLUMN' ELSE 'SCHEMA' END",
            ),
            ("major_id", SqlType::Int, "p.major"),
            ("minor_id", SqlType::Int, "0"),
            ("grantee_principal_id", SqlType::Int, "p.grantee"),
            ("grantor_principal_id", SqlType::Int, "1"),
            ("type", SqlType::Char(4), "tds_permission(p.permission)"),
            ("permission_name", SYSNAME, "p.permission"),
            ("state", SqlType::Char(1), "p.state"),
            ("state_desc", DESC, "CASE p.state WHEN 'D' THEN 'DENY' ELSE 'GRANT' END"),
        ],
        "permissions AS p",
        None,
    ),
];
