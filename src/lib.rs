//! SQL Server [Always Encrypted] for [tiberius]: columns are encrypted and decrypted in your process,
//! the server stores and compares ciphertext, and your queries stay as they are.
//!
//! [Always Encrypted]: https://learn.microsoft.com/sql/relational-databases/security/encryption/always-encrypted-database-engine
//!
//! # How it works
//!
//! A database column is declared `ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = …)`. Its key, the *column
//! encryption key* (CEK), lies in the database too, but wrapped by a *column master key* (CMK) that
//! never does: the CMK lives in a key store, and the database knows only its name and path.
//!
//! ```text
//!             your process                                     SQL Server
//!  ┌────────────────────────────────────┐          ┌──────────────────────────────────┐
//!  │ tiberius ──▶ Stream: "hello"       │          │ sp_describe_parameter_encryption │
//!  │                │   ▲               │ ◀──────▶ │   "@P2 is randomized, under      │
//!  │   KeyStores ──▶│   │               │          │    this wrapped key"             │
//!  │  (unwraps CEK) ▼   │               │          │                                  │
//!  │            0x01a3f7…               │ ───────▶ │ Messages.Content = 0x01a3f7…     │
//!  └────────────────────────────────────┘          └──────────────────────────────────┘
//! ```
//!
//! This crate sits in the stream beneath tiberius. It asks the server which parameters of a
//! statement are encrypted and how, has the key unwrapped, and writes the request anew; in results it
//! decrypts cell by cell. What the application binds and reads are ordinary values.
//!
//! # First use
//!
//! ```no_run
//! use always_encrypted::{
//!     Connector,
//!     keystore::{CertificateDirectory, KeyStores},
//! };
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // Certificates with their keys, as PFX or PEM files, found by thumbprint.
//! let keys = KeyStores::builder()
//!     .provider(CertificateDirectory::open("/etc/myapp/keys").await?)
//!     .build()?;
//! let connector = Connector::from_ado_string(
//!     "Server=db.example.com;Database=chat;User Id=app;Password=...;\
//!      Column Encryption Setting=Enabled",
//!     keys,
//! )?;
//!
//! let mut client = connector.connect().await?;
//! client
//!     .execute("INSERT INTO Messages (Sender, Content) VALUES (@P1, @P2)", &[&"alice", &"hello"])
//!     .await?;
//! let stream =
//!     client.query("SELECT Content FROM Messages WHERE Sender = @P1", &[&"alice"]).await?;
//! for row in stream.into_first_result().await? {
//!     println!("{:?}", row.get::<&str, _>("Content"));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Keep one [`Connector`] per server and login: its connections share the keys that have been opened
//! and what is known of statements. `examples/mce_messages.rs` is the whole story in one file: it
//! makes the keys, creates the table, writes and reads, and looks for plaintext where there must be
//! none.
//!
//! # What you can encrypt, and how
//!
//! * *Randomized* columns can be stored and read. Nothing but the length of a value shows.
//! * *Deterministic* columns can also be compared for equality (`=`, `IN`, joins), and so they show
//!   which rows are equal. Strings need a `_BIN2` collation.
//! * A value must go through a parameter. A literal in the text of a statement reaches the server as
//!   it stands, and the server refuses it for an encrypted column.
//!
//! # Types
//!
//! An encrypted parameter must have its column's very type: the server cannot convert what it cannot
//! read. Bind what is natural in Rust; the session finds the column behind each parameter in the text of
//! the statement (or the parameter of the procedure), asks the catalogue for its type, once per table
//! and connector, declares the parameter so and converts the value. [`value::convert()`] has the table
//! of conversions. What would lose something is refused before anything is sent, with the column, the
//! two types and a remedy: [`SessionError::Conversion`].
//!
//! Where the text does not tell, a comment can: `/* always-encrypted: type @P1 decimal(18,4), @P2
//! char(10) */`. It holds for parameters of plain columns, too: the way to a `money` or a typed NULL
//! that tiberius cannot express.
//!
//! # Settings
//!
//! | | parameters | results |
//! |---|---|---|
//! | `Column Encryption Setting=Enabled` | are encrypted | are decrypted |
//! | `ResultSetOnly` | go as they are, and nobody asks about them | are decrypted |
//! | `Disabled`, the default | go as they are | show cells as `varbinary` |
//!
//! A statement on a connection that is not `Disabled` can have a setting of its own:
//! `/* always-encrypted: encryption ResultSetOnly */`. See [`policy::ColumnEncryption`].
//!
//! # Without a statement
//!
//! [`Connector::column_cipher`] looks one column up and gives its [`ColumnCipher`], for code that has
//! ciphertext in hand. A statement with the comment `/* always-encrypted: encryption Disabled */`
//! returns cells as they are stored.
//!
//! # When the server is not to be believed
//!
//! Which parameters are encrypted is the server's word. A statement can hold it to it: with the
//! comment `/* always-encrypted: force @P2, @P3 */` anywhere in its text, the request is refused
//! unless the server says that both go to encrypted columns (SqlClient's `ForceColumnEncryption`).
//! [`policy::TrustedKeyPaths`] does the same for master keys, by server and strictly if wanted: see
//! [`Config::trusted_key_paths`].
//!
//! # Errors
//!
//! [`Error`] says why there is no connection. Later failures come through tiberius: those of Always
//! Encrypted as server errors of the server `always-encrypted`, with a stable number and a text that
//! names cause and remedy. [`Connector::error_behind`] gives the [`SessionError`], whose variants say
//! whose fault it is. The connection goes on, unless the server broke the protocol.
//!
//! # The parts
//!
//! | module | for whom |
//! |---|---|
//! | [`client`] | everyone: settings, [`Connector`] |
//! | [`keystore`] | everyone: where keys come from; the trait for a store of your own |
//! | [`policy`] | those who do not trust the server with the choice of keys |
//! | [`admin`] | those who create and rotate keys |
//! | [`crypto`], [`value`] | those who hold ciphertext in hand: cells, envelopes, normal forms |
//! | [`session`], [`metadata`], [`tds`] | those who carry another driver, or a proxy |
//!
//! The cargo features:
//!
//! | feature | brings |
//! |---|---|
//! | `simd`, on by default | cells encrypted and decrypted by the instructions for AES and SHA-256 of x86-64 and AArch64 processors that have them (for AArch64 tested in an emulator, never measured); without it the bytes are the same, and there is no `unsafe` code. [`crypto::implementation`] says what a process works with |
//! | `java-keystore`, `pkcs11`, `azure-key-vault` | the key stores of those names |
//! | `windows-key-stores` | on Windows its certificate stores, CNG and CSP keys, by calls that are `unsafe` code; elsewhere nothing |
//! | `tracing` | events of what happens to keys: calls to key stores, their time, failures |
//!
//! # How far it has been tried
//!
//! Against its own stand-in server, and through it with Microsoft's ODBC and JDBC drivers, mssql-tds
//! and go-mssqldb, each reading what the others wrote; never against a live SQL Server. The
//! [`manual`] says where those drivers differ, and what none of them can protect.

// The modules that may have it are `crypto::x86`, `crypto::aarch64` and, on Windows,
// `keystore::windows::native`.
#![cfg_attr(any(feature = "simd", feature = "windows-key-stores"), deny(unsafe_code))]
#![cfg_attr(not(any(feature = "simd", feature = "windows-key-stores")), forbid(unsafe_code))]
#![deny(missing_docs)]
#![warn(rustdoc::broken_intra_doc_links)]

pub mod admin;
pub mod client;
pub mod crypto;
mod error;
pub mod keystore;
pub mod manual;
pub mod metadata;
pub mod policy;
pub mod session;
pub mod tds;
pub mod value;

pub use client::{Client, ColumnCipher, Config, Connector, Encrypt};
pub use error::Error;
pub use session::SessionError;

/// The README's examples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
