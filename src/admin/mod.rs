//! Keys as an operator sees them: made, wrapped anew, and the T-SQL that tells a database of them.
//!
//! This layer owns the statements; running them is the caller's business, so that a security
//! administrator can write them where no database is, and a DBA run them where no key is. Making the
//! RSA key of a master key is its key store's business.
//!
//! # New keys
//!
//! ```
//! use always_encrypted::{
//!     admin::{MasterKey, create_column_encryption_key, create_column_master_key, wrap_new_cek},
//!     crypto::CmkPrivateKey,
//!     keystore::InMemoryKeyStore,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = InMemoryKeyStore::new("MY_STORE").with_key("keys/1", CmkPrivateKey::generate(2048)?);
//! let envelope = wrap_new_cek(MasterKey::new(&store, "keys/1")).await?;
//!
//! assert_eq!(
//!     create_column_master_key("MessagesCmk", "MY_STORE", "keys/1"),
//!     "CREATE COLUMN MASTER KEY [MessagesCmk] WITH (\
//!      KEY_STORE_PROVIDER_NAME = N'MY_STORE', KEY_PATH = N'keys/1')"
//! );
//! assert!(
//!     create_column_encryption_key("MessagesCek", "MessagesCmk", &envelope).starts_with(
//!         "CREATE COLUMN ENCRYPTION KEY [MessagesCek] WITH VALUES (\
//!          COLUMN_MASTER_KEY = [MessagesCmk], ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x01"
//!     )
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # Another master key
//!
//! A master key is rotated by giving each CEK that it wraps a second value under the new one. The
//! cells stay as they are, and nothing stops: clients take whichever value they can open.
//!
//! 1. Install the new key beside the old one wherever clients run, and add its path to their
//!    [trusted key paths](crate::policy::TrustedKeyPaths).
//! 2. `CREATE COLUMN MASTER KEY` for it; for each CEK [`rewrap_cek`] and
//!    [`add_column_encryption_key_value`].
//! 3. When every client can open the new value, [`drop_column_encryption_key_value`] of the old one,
//!    and [`drop_column_master_key`].
//! 4. Keep the old key somewhere safe: backups from before step 3 open with nothing else.
//!
//! ```
//! # use always_encrypted::{admin::*, crypto::CmkPrivateKey, keystore::InMemoryKeyStore};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let store = InMemoryKeyStore::new("MY_STORE")
//! #     .with_key("keys/1", CmkPrivateKey::generate(2048)?)
//! #     .with_key("keys/2", CmkPrivateKey::generate(2048)?);
//! let (old, new) = (MasterKey::new(&store, "keys/1"), MasterKey::new(&store, "keys/2"));
//! # let envelope = wrap_new_cek(old).await?;
//! // `envelope` is encrypted_value in sys.column_encryption_key_values.
//! let second = rewrap_cek(&envelope, old, new).await?;
//! let begin = add_column_encryption_key_value("MessagesCek", "MessagesCmk2", &second);
//! assert!(begin.starts_with("ALTER COLUMN ENCRYPTION KEY [MessagesCek] ADD VALUE ("));
//! assert_eq!(
//!     drop_column_encryption_key_value("MessagesCek", "MessagesCmk"),
//!     "ALTER COLUMN ENCRYPTION KEY [MessagesCek] DROP VALUE (COLUMN_MASTER_KEY = [MessagesCmk])"
//! );
//! assert_eq!(drop_column_master_key("MessagesCmk"), "DROP COLUMN MASTER KEY [MessagesCmk]");
//! assert_eq!(drop_column_encryption_key("Old"), "DROP COLUMN ENCRYPTION KEY [Old]");
//!
//! // For clients that have enclaves; this crate has none.
//! let signature = sign_master_key(new).await?;
//! let sql =
//!     create_column_master_key_for_enclaves("MessagesCmk2", "MY_STORE", "keys/2", &signature);
//! assert!(sql.contains(", ENCLAVE_COMPUTATIONS (SIGNATURE = 0x"));
//! # Ok(())
//! # }
//! ```

mod keys;
mod statements;

pub use keys::{KeyMakingError, MasterKey, rewrap_cek, sign_master_key, wrap_new_cek};
pub use statements::{
    add_column_encryption_key_value, create_column_encryption_key, create_column_master_key,
    create_column_master_key_for_enclaves, drop_column_encryption_key,
    drop_column_encryption_key_value, drop_column_master_key,
};
