//! Who may do what: logins with their passwords, users and roles, permissions, and what they come to for one session.
//! Every object belongs to dbo, so a view or a procedure vouches for what it uses.

use std::num::NonZeroU32;

use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, OptionalExtension, params};

use crate::catalogue::DATABASE_NAME;
use crate::catalogue::store::{changed, collect};
use crate::error::{Result, SqlError};

/// Tables of this module. Ids of principals are SQL Server's: public, dbo, then users from 5 on and fixed roles.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS logins (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, salt BLOB, hash BLOB, disabled INTEGER NOT NULL,
    created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS principals (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, kind TEXT NOT NULL, login TEXT COLLATE NOCASE,
    created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS role_members (
    role INTEGER NOT NULL, member INTEGER NOT NULL, PRIMARY KEY (role, member)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS permissions (
    grantee INTEGER NOT NULL, class INTEGER NOT NULL, major INTEGER NOT NULL, permission TEXT NOT NULL,
    state TEXT NOT NULL, PRIMARY KEY (grantee, class, major, permission)) WITHOUT ROWID;
INSERT OR IGNORE INTO principals VALUES (0, 'public', 'R', NULL, 0), (1, 'dbo', 'S', NULL, 0),
    (16384, 'db_owner', 'R', NULL, 0), (16385, 'db_accessadmin', 'R', NULL, 0),
    (16386, 'db_securityadmin', 'R', NULL, 0), (16387, 'db_ddladmin', 'R', NULL, 0),
    (16389, 'db_backupoperator', 'R', NULL, 0), (16390, 'db_datareader', 'R', NULL, 0),
    (16391, 'db_datawriter', 'R', NULL, 0), (16392, 'db_denydatareader', 'R', NULL, 0),
    (16393, 'db_denydatawriter', 'R', NULL, 0);
";

/// Once, when the database is made: afterwards they may be revoked.
pub(super) const FIRST_GRANTS: &str = "
INSERT INTO permissions VALUES (0, 0, 0, 'VIEW ANY COLUMN MASTER KEY DEFINITION', 'G'),
    (0, 0, 0, 'VIEW ANY COLUMN ENCRYPTION KEY DEFINITION', 'G');
";

pub(crate) const PUBLIC: i64 = 0;
/// The user that the administrator is.
pub(crate) const DBO: i64 = 1;
const DB_OWNER: i64 = 16384;
/// Users and roles that somebody has made.
const FIRST_USER: i64 = 5;
const FIRST_FIXED_ROLE: i64 = 16384;
const LAST_FIXED_ROLE: i64 = 16393;

pub(crate) const VIEW_MASTER_KEYS: &str = "VIEW ANY COLUMN MASTER KEY DEFINITION";
pub(crate) const VIEW_ENCRYPTION_KEYS: &str = "VIEW ANY COLUMN ENCRYPTION KEY DEFINITION";
pub(crate) const ALTER_MASTER_KEYS: &str = "ALTER ANY COLUMN MASTER KEY";
pub(crate) const ALTER_ENCRYPTION_KEYS: &str = "ALTER ANY COLUMN ENCRYPTION KEY";

/// A permission that can be granted: its name, its code in sys.database_permissions, whether it can be had on a schema
/// or an object too, and which other one brings it. CONTROL brings all.
pub(crate) type Permission = (&'static str, &'static str, bool, Option<&'static str>);

pub(crate) const PERMISSIONS: &[Permission] = &[
    ("SELECT", "SL", true, None),
    ("INSERT", "IN", true, None),
    ("UPDATE", "UP", true, None),
    ("DELETE", "DL", true, None),
    ("EXECUTE", "EX", true, None),
    ("REFERENCES", "RF", true, None),
    ("VIEW DEFINITION", "VW", true, None),
    ("ALTER", "AL", true, Some("ALTER ANY SCHEMA")),
    ("CONTROL", "CL", true, None),
    ("CONNECT", "CO", false, None),
    ("CREATE TABLE", "CRTB", false, Some("ALTER")),
    ("CREATE VIEW", "CRVW", false, Some("ALTER")),
    ("CREATE PROCEDURE", "CRPR", false, Some("ALTER")),
    ("CREATE SCHEMA", "CRSM", false, Some("ALTER")),
    ("CREATE TYPE", "CRTY", false, Some("ALTER")),
    ("CREATE ROLE", "CRRL", false, Some("ALTER")),
    ("ALTER ANY SCHEMA", "ALSM", false, Some("ALTER")),
    ("ALTER ANY USER", "ALUS", false, Some("ALTER")),
    ("ALTER ANY ROLE", "ALRL", false, Some("ALTER")),
    (ALTER_MASTER_KEYS, "ALCM", false, None),
    (ALTER_ENCRYPTION_KEYS, "ALCK", false, None),
    (VIEW_MASTER_KEYS, "VWCM", false, Some("VIEW DEFINITION")),
    (VIEW_ENCRYPTION_KEYS, "VWCK", false, Some("VIEW DEFINITION")),
];

/// What the fixed roles bring: the role's id, the permission, and whether it is denied.
const FIXED: &[(i64, &str, bool)] = &[
    (16385, "ALTER ANY USER", false),
    (16386, "ALTER ANY ROLE", false),
    (16387, "CREATE TABLE", false),
    (16387, "CREATE VIEW", false),
    (16387, "CREATE PROCEDURE", false),
    (16387, "CREATE SCHEMA", false),
    (16387, "CREATE TYPE", false),
    (16387, "ALTER ANY SCHEMA", false),
    (16387, "REFERENCES", false),
    (16390, "SELECT", false),
    (16391, "INSERT", false),
    (16391, "UPDATE", false),
    (16391, "DELETE", false),
    (16392, "SELECT", true),
    (16393, "INSERT", true),
    (16393, "UPDATE", true),
    (16393, "DELETE", true),
];

/// What a permission is held on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    Database,
    Schema(String),
    Object(i64),
}

#[derive(Debug, Clone)]
struct Right {
    permission: String,
    scope: Scope,
    denied: bool,
}

/// What one session may do.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// sysadmin, dbo, or of db_owner: everything, whatever is denied.
    pub(crate) owner: bool,
    /// The user's name in the database.
    pub(crate) user: String,
    /// Roles that the user is in, itself and public included.
    pub(crate) principals: Vec<i64>,
    rights: Vec<Right>,
}

impl Default for Access {
    fn default() -> Self {
        let principals = vec![DBO, PUBLIC, DB_OWNER];
        Self { owner: true, user: "dbo".to_owned(), principals, rights: Vec::new() }
    }
}

impl Access {
    /// Of a login that is not the administrator's.
    pub(crate) fn of_login(connection: &Connection, login: &str) -> Result<Self> {
        let sql = "SELECT id, name FROM principals WHERE login = ?1 AND kind = 'S'";
        let found: Option<(i64, String)> =
            connection.query_row(sql, [login], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        // A user who was dropped while logged in has what everybody has.
        let (id, user) = found.unwrap_or((PUBLIC, "guest".to_owned()));
        let mut principals = vec![id, PUBLIC];
        let mut at = 0usize;
        while let Some(member) = principals.get(at).copied() {
            let sql = "SELECT role FROM role_members WHERE member = ?1";
            for role in collect(connection, sql, Some(member), |row| row.get::<_, i64>(0))? {
                if !principals.contains(&role) {
                    principals.push(role);
                }
            }
            at = at.saturating_add(1);
        }
        let mut rights = Vec::new();
        for principal in &principals {
            let sql = "SELECT p.permission, p.class, p.major, p.state, CASE WHEN p.major = 1 THEN 'dbo' ELSE s.name END \
                       FROM permissions AS p LEFT JOIN schemas AS s ON s.id = p.major WHERE p.grantee = ?1";
            rights.extend(collect(connection, sql, Some(*principal), |row| {
                let scope = match row.get::<_, i64>(1)? {
                    0 => Scope::Database,
                    3 => Scope::Schema(row.get::<_, Option<String>>(4)?.unwrap_or_default()),
                    _ => Scope::Object(row.get(2)?),
                };
                let denied = row.get::<_, String>(3)? == "D";
                Ok(Right { permission: row.get(0)?, scope, denied })
            })?);
            rights.extend(FIXED.iter().filter(|(role, _, _)| role == principal).map(
                |(_, permission, denied)| Right {
                    permission: (*permission).to_owned(),
                    scope: Scope::Database,
                    denied: *denied,
                },
            ));
        }
        Ok(Self { owner: principals.contains(&DB_OWNER), user, principals, rights })
    }

    fn decide(&self, permission: &str, covers: impl Fn(&Scope) -> bool) -> bool {
        if self.owner {
            return true;
        }
        let mut wanted = vec![permission];
        while let Some(next) = wanted.last().and_then(|last| brings(last))
            && !wanted.contains(&next)
        {
            wanted.push(next);
        }
        wanted.push("CONTROL");
        let mut granted = false;
        for right in &self.rights {
            if wanted.contains(&right.permission.as_str()) && covers(&right.scope) {
                if right.denied {
                    return false;
                }
                granted = true;
            }
        }
        granted
    }

    /// On the whole database.
    pub(crate) fn on_database(&self, permission: &str) -> bool {
        self.decide(permission, |scope| *scope == Scope::Database)
    }

    /// On a schema, if not on the whole database.
    pub(crate) fn on_schema(&self, permission: &str, schema: &str) -> bool {
        self.decide(permission, |scope| match scope {
            Scope::Database => true,
            Scope::Schema(name) => name.eq_ignore_ascii_case(schema),
            Scope::Object(_) => false,
        })
    }

    /// On an object, or on what holds it.
    pub(crate) fn on_object(&self, permission: &str, object_id: i64, schema: &str) -> bool {
        self.decide(permission, |scope| match scope {
            Scope::Database => true,
            Scope::Schema(name) => name.eq_ignore_ascii_case(schema),
            Scope::Object(id) => *id == object_id,
        })
    }

    /// Whether the catalogue shows an object: any permission on it will do.
    pub(crate) fn sees(&self, object_id: i64, schema: &str) -> bool {
        const ON_OBJECTS: &[&str] = &[
            "SELECT",
            "INSERT",
            "UPDATE",
            "DELETE",
            "EXECUTE",
            "REFERENCES",
            "VIEW DEFINITION",
            "ALTER",
        ];
        ON_OBJECTS.iter().any(|permission| self.on_object(permission, object_id, schema))
    }

    /// Both permissions, without which no statement can touch an encrypted column.
    pub(crate) fn sees_keys(&self) -> bool {
        self.on_database(VIEW_MASTER_KEYS) && self.on_database(VIEW_ENCRYPTION_KEYS)
    }

    /// 262, unless the permission is there.
    pub(crate) fn require_database(&self, permission: &str) -> Result<()> {
        if self.on_database(permission) {
            return Ok(());
        }
        let text = format!("{permission} permission denied in database '{DATABASE_NAME}'.");
        Err(SqlError::new(262, text).class(14))
    }

    /// 229, unless the permission is there.
    pub(crate) fn require_object(
        &self,
        permission: &str,
        object_id: i64,
        schema: &str,
        name: &str,
    ) -> Result<()> {
        if self.on_object(permission, object_id, schema) {
            return Ok(());
        }
        Err(denied(permission, schema, name))
    }
}

fn brings(permission: &str) -> Option<&'static str> {
    PERMISSIONS.iter().find(|known| known.0 == permission).and_then(|known| known.3)
}

/// 229.
pub(crate) fn denied(permission: &str, schema: &str, name: &str) -> SqlError {
    let text = format!(
        "The {permission} permission was denied on the object '{name}', database '{DATABASE_NAME}', schema '{schema}'."
    );
    SqlError { state: 5, ..SqlError::new(229, text).class(14) }
}

/// 15247, as of statements that ask for more than the database.
pub(crate) fn not_allowed() -> SqlError {
    SqlError::new(15247, "User does not have permission to perform this action.")
}

/// Rounds of PBKDF2: enough for logins of a database that tests use.
const ROUNDS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
const SALT: usize = 16;
const HASH: usize = 32;

fn hash(password: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let (mut salt, mut hash) = ([0u8; SALT], [0u8; HASH]);
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| SqlError::new(596, "The system gave no random bytes for a password."))?;
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, password.as_bytes(), &mut hash);
    Ok((salt.to_vec(), hash.to_vec()))
}

/// A login that has been let in, by its name as it was made.
pub(crate) fn authenticate(
    connection: &Connection,
    name: &str,
    password: &str,
) -> Result<Option<String>> {
    type Found = (String, Option<Vec<u8>>, Option<Vec<u8>>);
    let sql = "SELECT name, salt, hash FROM logins WHERE name = ?1 AND disabled = 0";
    let found: Option<Found> = connection
        .query_row(sql, [name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((name, Some(salt), Some(hash))) = found else { return Ok(None) };
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    let same = pbkdf2::verify(algorithm, ROUNDS, &salt, password.as_bytes(), &hash);
    Ok(same.is_ok().then_some(name))
}

/// Whether a login has a user in the database that may connect.
pub(crate) fn may_connect(connection: &Connection, login: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM principals WHERE login = ?1";
    let known = connection.query_row(sql, [login], |_| Ok(())).optional()?.is_some();
    Ok(known && Access::of_login(connection, login)?.on_database("CONNECT"))
}

/// The administrator, who is known by name only: whoever starts the sandbox holds the password.
pub(crate) fn set_administrator(connection: &Connection, name: &str, now: i64) -> Result<()> {
    connection.execute("DELETE FROM logins WHERE id = 1 OR name = ?1", [name])?;
    connection
        .execute("INSERT INTO logins VALUES (1, ?1, NULL, NULL, 0, ?2)", params![name, now])?;
    Ok(())
}

pub(crate) fn login_exists(connection: &Connection, name: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM logins WHERE name = ?1";
    Ok(connection.query_row(sql, [name], |_| Ok(())).optional()?.is_some())
}

pub(crate) fn insert_login(
    connection: &Connection,
    name: &str,
    password: &str,
    now: i64,
) -> Result<()> {
    let (salt, hash) = hash(password)?;
    // SQL Server's own logins have the ids below.
    connection.execute(
        "INSERT INTO logins SELECT max(max(id) + 1, 259), ?1, ?2, ?3, 0, ?4 FROM logins",
        params![name, salt, hash, now],
    )?;
    changed(connection)
}

pub(crate) fn set_password(connection: &Connection, name: &str, password: &str) -> Result<()> {
    let (salt, hash) = hash(password)?;
    let sql = "UPDATE logins SET salt = ?2, hash = ?3 WHERE name = ?1";
    connection.execute(sql, params![name, salt, hash])?;
    Ok(())
}

pub(crate) fn set_disabled(connection: &Connection, name: &str, disabled: bool) -> Result<()> {
    connection
        .execute("UPDATE logins SET disabled = ?2 WHERE name = ?1", params![name, disabled])?;
    Ok(())
}

pub(crate) fn delete_login(connection: &Connection, name: &str) -> Result<()> {
    connection.execute("DELETE FROM logins WHERE name = ?1", [name])?;
    changed(connection)
}

/// The id, and whether it is a role.
pub(crate) fn principal(connection: &Connection, name: &str) -> Result<Option<(i64, bool)>> {
    let sql = "SELECT id, kind = 'R' FROM principals WHERE name = ?1";
    Ok(connection.query_row(sql, [name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

pub(crate) fn is_fixed(principal: i64) -> bool {
    principal < FIRST_USER || (FIRST_FIXED_ROLE..=LAST_FIXED_ROLE).contains(&principal)
}

/// A user of a login, a user without one, or a role. Users may connect.
pub(crate) fn insert_principal(
    connection: &Connection,
    name: &str,
    role: bool,
    login: Option<&str>,
    now: i64,
) -> Result<()> {
    connection.execute(
        "INSERT INTO principals SELECT coalesce(max(id) + 1, ?1), ?2, ?3, ?4, ?5 FROM principals WHERE id >= ?1 AND id < ?6",
        params![FIRST_USER, name, if role { "R" } else { "S" }, login, now, FIRST_FIXED_ROLE],
    )?;
    if !role {
        let id = connection.last_insert_rowid();
        set_permission(connection, id, &(0, 0), "CONNECT", Some("G"))?;
    }
    changed(connection)
}

/// Whether a login has a user already.
pub(crate) fn user_of_login(connection: &Connection, login: &str) -> Result<Option<String>> {
    let sql = "SELECT name FROM principals WHERE login = ?1";
    Ok(connection.query_row(sql, [login], |row| row.get(0)).optional()?)
}

pub(crate) fn delete_principal(connection: &Connection, id: i64) -> Result<()> {
    connection.execute("DELETE FROM permissions WHERE grantee = ?1", [id])?;
    connection.execute("DELETE FROM role_members WHERE role = ?1 OR member = ?1", [id])?;
    connection.execute("DELETE FROM principals WHERE id = ?1", [id])?;
    changed(connection)
}

pub(crate) fn has_members(connection: &Connection, role: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM role_members WHERE role = ?1";
    Ok(connection.query_row(sql, [role], |_| Ok(())).optional()?.is_some())
}

pub(crate) fn set_member(connection: &Connection, role: i64, member: i64, add: bool) -> Result<()> {
    let sql = if add {
        "INSERT OR IGNORE INTO role_members VALUES (?1, ?2)"
    } else {
        "DELETE FROM role_members WHERE role = ?1 AND member = ?2"
    };
    connection.execute(sql, [role, member])?;
    changed(connection)
}

/// GRANT, DENY, and REVOKE, which is no state at all. `on` is the class and the id.
pub(crate) fn set_permission(
    connection: &Connection,
    grantee: i64,
    on: &(i64, i64),
    permission: &str,
    state: Option<&str>,
) -> Result<()> {
    let (class, major) = on;
    connection.execute(
        "DELETE FROM permissions WHERE grantee = ?1 AND class = ?2 AND major = ?3 AND permission = ?4",
        params![grantee, class, major, permission],
    )?;
    if let Some(state) = state {
        connection.execute(
            "INSERT INTO permissions VALUES (?1, ?2, ?3, ?4, ?5)",
            params![grantee, class, major, permission, state],
        )?;
    }
    changed(connection)
}

/// With the object that they are about.
pub(crate) fn forget_object(connection: &Connection, object_id: i64) -> Result<()> {
    connection.execute("DELETE FROM permissions WHERE class = 1 AND major = ?1", [object_id])?;
    Ok(())
}

pub(crate) fn schema_id(connection: &Connection, name: &str) -> Result<Option<i64>> {
    if name.eq_ignore_ascii_case("dbo") {
        return Ok(Some(1));
    }
    let sql = "SELECT id FROM schemas WHERE name = ?1";
    Ok(connection.query_row(sql, [name], |row| row.get(0)).optional()?)
}
