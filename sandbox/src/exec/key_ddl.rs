//! CREATE, ALTER and DROP of column master keys and column encryption keys. What a key's encrypted value means is
//! between clients and their key stores; here it is bytes.

use crate::catalogue::security::{ALTER_ENCRYPTION_KEYS, ALTER_MASTER_KEYS, not_allowed};
use crate::catalogue::{EncryptionKey, EncryptionKeyValue, MasterKey, Table, store};
use crate::error::{Result, SqlError};
use crate::exec::session::Session;
use crate::sql::keys::{KeyStatement, KeyValue};
use crate::types::temporal::now_utc;

/// One more than one, for rotation.
const MAX_CEK_VALUES: usize = 2;

impl Session {
    pub(crate) fn run_key_statement(&mut self, statement: &KeyStatement) -> Result<()> {
        self.refresh()?;
        self.require_key_permission(statement)?;
        match statement {
            KeyStatement::CreateMaster { name, provider, path, signature } => {
                if self.catalogue.master_key(name).is_some() {
                    return Err(duplicate("column master key", name));
                }
                let id = new_key_id(&self.connection, "master_keys")?;
                let (provider, path, signature) =
                    (provider.clone(), path.clone(), signature.clone());
                let key = MasterKey { id, name: name.clone(), provider, path, signature };
                store::insert_master_key(&self.connection, &key, now_utc())
            }
            KeyStatement::CreateEncryption { name, values } => {
                if self.catalogue.encryption_key(name).is_some() {
                    return Err(duplicate("column encryption key", name));
                }
                let id = new_key_id(&self.connection, "encryption_keys")?;
                let mut key = EncryptionKey {
                    id,
                    name: name.clone(),
                    md_version: self.md_version()?,
                    values: Vec::new(),
                };
                for value in values {
                    self.add_value(&mut key, value)?;
                }
                store::insert_encryption_key(&self.connection, &key, now_utc())
            }
            KeyStatement::AddValue { name, value } => {
                let mut key = self
                    .catalogue
                    .encryption_key(name)
                    .cloned()
                    .ok_or_else(|| no_encryption_key(name))?;
                self.add_value(&mut key, value)?;
                key.md_version = self.md_version()?;
                store::update_encryption_key(&self.connection, &key)
            }
            KeyStatement::DropValue { name, master } => self.drop_value(name, master),
            KeyStatement::DropMaster { name } => self.drop_master_key(name),
            KeyStatement::DropEncryption { name } => self.drop_encryption_key(name),
        }
    }

    /// Making keys takes a permission; to those who lack it, keys that they would change are not there.
    fn require_key_permission(&self, statement: &KeyStatement) -> Result<()> {
        use KeyStatement::*;
        let permission = match statement {
            CreateMaster { .. } | DropMaster { .. } => ALTER_MASTER_KEYS,
            _ => ALTER_ENCRYPTION_KEYS,
        };
        if self.access().on_database(permission) {
            return Ok(());
        }
        Err(match statement {
            CreateMaster { .. } | CreateEncryption { .. } => not_allowed(),
            DropMaster { name } => no_master_key(name),
            AddValue { name, .. } | DropValue { name, .. } | DropEncryption { name } => {
                no_encryption_key(name)
            }
        })
    }

    /// Like a rowversion: never the same twice.
    fn md_version(&self) -> Result<[u8; 8]> {
        let count = store::next_id(&self.connection)?;
        let ticks = now_utc().wrapping_add(count);
        Ok(ticks.to_le_bytes())
    }

    fn add_value(&self, key: &mut EncryptionKey, value: &KeyValue) -> Result<()> {
        let master =
            self.catalogue.master_key(&value.master).ok_or_else(|| no_master_key(&value.master))?;
        if !value.algorithm.eq_ignore_ascii_case("RSA_OAEP") {
            return Err(SqlError::unsupported(format!(
                "the key encryption algorithm {}",
                value.algorithm
            )));
        }
        if value.encrypted.is_empty() || value.encrypted.len() > 8000 {
            return Err(SqlError::new(8152, "String or binary data would be truncated."));
        }
        if key.values.iter().any(|known| known.cmk_id == master.id) {
            return Err(SqlError::new(
                33285,
                format!(
                    "The column encryption key '{}' already has a value for the column master key '{}'.",
                    key.name, master.name
                ),
            ));
        }
        if key.values.len() >= MAX_CEK_VALUES {
            return Err(SqlError::new(
                33286,
                format!(
                    "The column encryption key '{}' cannot have more than {MAX_CEK_VALUES} values.",
                    key.name
                ),
            ));
        }
        key.values.push(EncryptionKeyValue {
            cmk_id: master.id,
            algorithm: "RSA_OAEP".to_owned(),
            encrypted: value.encrypted.clone(),
        });
        Ok(())
    }

    fn drop_value(&mut self, name: &str, master: &str) -> Result<()> {
        let mut key =
            self.catalogue.encryption_key(name).cloned().ok_or_else(|| no_encryption_key(name))?;
        let master_id = self.catalogue.master_key(master).ok_or_else(|| no_master_key(master))?.id;
        let at = key.values.iter().position(|value| value.cmk_id == master_id).ok_or_else(|| {
            SqlError::new(
                33287,
                format!("The column encryption key '{}' has no value for the column master key '{master}'.", key.name),
            )
        })?;
        if key.values.len() == 1 {
            return Err(SqlError::new(
                33288,
                format!(
                    "The only value of the column encryption key '{}' cannot be dropped.",
                    key.name
                ),
            ));
        }
        key.values.remove(at);
        key.md_version = self.md_version()?;
        store::update_encryption_key(&self.connection, &key)
    }

    fn drop_master_key(&mut self, name: &str) -> Result<()> {
        let id = self.catalogue.master_key(name).ok_or_else(|| no_master_key(name))?.id;
        let user = self
            .catalogue
            .encryption_keys
            .iter()
            .find(|key| key.values.iter().any(|v| v.cmk_id == id));
        if let Some(user) = user {
            return Err(SqlError::new(
                33280,
                format!(
                    "Cannot drop column master key '{name}' because it encrypts column encryption key '{}'.",
                    user.name
                ),
            ));
        }
        store::delete_master_key(&self.connection, id)
    }

    fn drop_encryption_key(&mut self, name: &str) -> Result<()> {
        let id = self.catalogue.encryption_key(name).ok_or_else(|| no_encryption_key(name))?.id;
        let uses = |table: &&Table| {
            table.columns.iter().any(|c| c.encryption.is_some_and(|e| e.cek_id == id))
        };
        if let Some(table) = self.catalogue.tables.iter().find(uses) {
            return Err(SqlError::new(
                33281,
                format!(
                    "Cannot drop column encryption key '{name}' because it encrypts columns of table '{}'.",
                    table.name
                ),
            ));
        }
        store::delete_encryption_key(&self.connection, id)
    }
}

fn duplicate(what: &str, name: &str) -> SqlError {
    SqlError::new(33278, format!("There is already a {what} named '{name}' in the database."))
}

pub(crate) fn no_encryption_key(name: &str) -> SqlError {
    SqlError::new(
        33283,
        format!(
            "Cannot find column encryption key '{name}', because it does not exist or you do not have permission."
        ),
    )
}

fn no_master_key(name: &str) -> SqlError {
    SqlError::new(
        33279,
        format!(
            "Cannot find column master key '{name}', because it does not exist or you do not have permission."
        ),
    )
}

/// Ids are not used again, so a stale trailer cannot name another key by accident.
fn new_key_id(connection: &rusqlite::Connection, table: &str) -> Result<i32> {
    let next: i64 = connection.query_row(
        &format!("SELECT coalesce(max(id), 0) + 1 FROM {table}"),
        [],
        |row| row.get(0),
    )?;
    let unique = store::next_id(connection)?.max(next);
    i32::try_from(unique).map_err(|_| SqlError::overflow("int"))
}
