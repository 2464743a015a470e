//! CREATE LOGIN and USER, roles, GRANT, DENY and REVOKE.

use crate::catalogue::security::{self, Access, PERMISSIONS, not_allowed};
use crate::error::{Result, SqlError};
use crate::exec::session::Session;
use crate::sql::security::{LoginChange, Securable, SecurityStatement, Verb};
use crate::types::temporal::now_utc;

impl Session {
    /// What the login may do, as of the last look at the catalogue.
    pub(crate) fn access(&self) -> &Access {
        &self.catalogue.access
    }

    pub(crate) fn run_security(&mut self, statement: &SecurityStatement) -> Result<()> {
        self.refresh()?;
        match statement {
            SecurityStatement::CreateLogin { name, password } => {
                self.require_administrator()?;
                if security::login_exists(&self.connection, name)? {
                    let text = format!("The server principal '{name}' already exists.");
                    return Err(SqlError::new(15025, text));
                }
                security::insert_login(&self.connection, name, password, now_utc())
            }
            SecurityStatement::AlterLogin { name, change } => {
                let own = self.values.user.eq_ignore_ascii_case(name);
                if !(own && matches!(change, LoginChange::Password(_))) {
                    self.require_administrator()?;
                }
                self.require_login(name, "alter")?;
                match change {
                    LoginChange::Password(password) => {
                        security::set_password(&self.connection, name, password)
                    }
                    LoginChange::Enable => security::set_disabled(&self.connection, name, false),
                    LoginChange::Disable => security::set_disabled(&self.connection, name, true),
                }
            }
            SecurityStatement::DropLogin(name) => {
                self.require_administrator()?;
                self.require_login(name, "drop")?;
                security::delete_login(&self.connection, name)
            }
            SecurityStatement::CreateUser { name, login } => {
                self.create_user(name, login.as_deref())
            }
            SecurityStatement::CreateRole(name) => {
                self.access().require_database("CREATE ROLE")?;
                self.require_no_principal(name)?;
                security::insert_principal(&self.connection, name, true, None, now_utc())
            }
            SecurityStatement::DropPrincipal { name, role, if_exists } => {
                self.drop_principal(name, *role, *if_exists)
            }
            SecurityStatement::AlterRole { role, member, add } => {
                self.alter_role(role, member, *add)
            }
            SecurityStatement::Permission { verb, permissions, on, principals } => {
                self.change_permissions(*verb, permissions, on, principals)
            }
        }
    }

    /// Whether the login may change or drop an object.
    pub(crate) fn may_alter(&self, object_id: i64, schema: &str) -> bool {
        object_id < 0 || self.access().on_object("ALTER", object_id, schema)
    }

    /// 262 or 2760, unless the login may make something in a schema; or change it, if it is there already.
    pub(crate) fn require_create(
        &self,
        permission: &str,
        schema: &str,
        replaces: Option<i64>,
    ) -> Result<()> {
        if schema.starts_with(['#', '@']) {
            return Ok(());
        }
        match replaces {
            Some(object_id) if self.may_alter(object_id, schema) => Ok(()),
            _ => {
                self.access().require_database(permission)?;
                if self.access().on_schema("ALTER", schema) {
                    return Ok(());
                }
                Err(no_schema(schema))
            }
        }
    }

    /// 15247, unless this is the login that the sandbox was started with.
    fn require_administrator(&self) -> Result<()> {
        if self.values.administrator { Ok(()) } else { Err(not_allowed()) }
    }

    fn require_login(&self, name: &str, verb: &str) -> Result<()> {
        // The administrator's password is the builder's, not the database's.
        let own = self.values.administrator && self.values.user.eq_ignore_ascii_case(name);
        if own {
            return Err(SqlError::unsupported(
                "changing the login that the sandbox was started with",
            ));
        }
        if security::login_exists(&self.connection, name)? {
            return Ok(());
        }
        Err(missing(verb, "login", name))
    }

    fn require_no_principal(&self, name: &str) -> Result<()> {
        if security::principal(&self.connection, name)?.is_none() {
            return Ok(());
        }
        let text = format!("User, group, or role '{name}' already exists in the current database.");
        Err(SqlError::new(15023, text))
    }

    fn create_user(&mut self, name: &str, login: Option<&str>) -> Result<()> {
        if !self.access().on_database("ALTER ANY USER") {
            return Err(not_allowed());
        }
        self.require_no_principal(name)?;
        if let Some(login) = login {
            if !security::login_exists(&self.connection, login)? {
                let text = format!("'{login}' is not a valid login or you do not have permission.");
                return Err(SqlError::new(15007, text));
            }
            let owner = self.values.administrator && self.values.user.eq_ignore_ascii_case(login);
            if owner || security::user_of_login(&self.connection, login)?.is_some() {
                return Err(SqlError::new(
                    15063,
                    "The login already has an account under a different user name.",
                ));
            }
        }
        security::insert_principal(&self.connection, name, false, login, now_utc())
    }

    fn drop_principal(&mut self, name: &str, role: bool, if_exists: bool) -> Result<()> {
        let (kind, permission) =
            if role { ("role", "ALTER ANY ROLE") } else { ("user", "ALTER ANY USER") };
        let found = security::principal(&self.connection, name)?.filter(|found| found.1 == role);
        let allowed = self.access().on_database(permission);
        let Some((id, _)) = found.filter(|_| allowed) else {
            let absent = found.is_none() && if_exists;
            return if absent { Ok(()) } else { Err(missing("drop", kind, name)) };
        };
        if security::is_fixed(id) {
            let text = format!("Cannot drop the {kind} '{name}'.");
            return Err(SqlError::new(15150, text));
        }
        if role && security::has_members(&self.connection, id)? {
            let text = "The role has members. It must be empty before it can be dropped.";
            return Err(SqlError::new(15144, text));
        }
        security::delete_principal(&self.connection, id)
    }

    fn alter_role(&mut self, role: &str, member: &str, add: bool) -> Result<()> {
        let found = security::principal(&self.connection, role)?.filter(|found| found.1);
        let allowed = self.access().on_database("ALTER ANY ROLE");
        // Only an owner adds to the fixed roles.
        let allowed =
            allowed && (self.access().owner || found.is_none_or(|f| !security::is_fixed(f.0)));
        let Some((role_id, _)) = found.filter(|_| allowed) else {
            return Err(missing("alter", "role", role));
        };
        if role_id == security::PUBLIC {
            let text = "Membership of the public role cannot be changed.";
            return Err(SqlError::new(15081, text));
        }
        let Some((member_id, _)) = security::principal(&self.connection, member)? else {
            let text = format!(
                "Cannot add the principal '{member}', because it does not exist or you do not have permission."
            );
            return Err(SqlError::new(15151, text));
        };
        if matches!(member_id, security::DBO | security::PUBLIC) || member_id == role_id {
            let text = format!("Cannot use the special principal '{member}'.");
            return Err(SqlError::new(15405, text));
        }
        security::set_member(&self.connection, role_id, member_id, add)
    }

    fn change_permissions(
        &mut self,
        verb: Verb,
        permissions: &[&'static str],
        on: &Securable,
        principals: &[String],
    ) -> Result<()> {
        let on_parts = match on {
            Securable::Database => (0, 0),
            Securable::Schema(name) => {
                let id = security::schema_id(&self.connection, name)?;
                (3, id.ok_or_else(|| missing("find", "schema", name))?)
            }
            Securable::Object(name) => {
                let name = self.name(name)?;
                let (id, _) = self
                    .catalogue
                    .object(&name)
                    .ok_or_else(|| missing("find", "object", &name.name))?;
                (1, id)
            }
        };
        for permission in permissions {
            let partial = PERMISSIONS.iter().any(|known| known.0 == *permission && known.2);
            if !partial && !matches!(on, Securable::Database) {
                let text =
                    format!("The permission '{permission}' is not compatible with the securable.");
                return Err(SqlError::new(102, text).class(15));
            }
        }
        if !self.access().on_database("CONTROL") {
            let text = "Grantor does not have GRANT permission.";
            return Err(SqlError::new(4613, text));
        }
        let state = match verb {
            Verb::Grant => Some("G"),
            Verb::Deny => Some("D"),
            Verb::Revoke => None,
        };
        for name in principals {
            let (id, _) = security::principal(&self.connection, name)?
                .ok_or_else(|| missing("find", "user", name))?;
            if id == security::DBO || (security::is_fixed(id) && id != security::PUBLIC) {
                let text = "Cannot grant, deny, or revoke permissions to sa, dbo, entity owner, information_schema, sys, or \
                            yourself.";
                return Err(SqlError::new(4617, text));
            }
            for permission in permissions {
                security::set_permission(&self.connection, id, &on_parts, permission, state)?;
            }
        }
        Ok(())
    }
}

/// 2760.
pub(crate) fn no_schema(schema: &str) -> SqlError {
    SqlError::new(
        2760,
        format!(
            "The specified schema name \"{schema}\" either does not exist or you do not have permission to use it."
        ),
    )
}

fn missing(verb: &str, what: &str, name: &str) -> SqlError {
    SqlError::new(
        15151,
        format!(
            "Cannot {verb} the {what} '{name}', because it does not exist or you do not have permission."
        ),
    )
}
