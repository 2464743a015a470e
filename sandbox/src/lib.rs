//! A stand-in for SQL Server that plays the server's half of Always Encrypted.
//!
//! It speaks TDS 7.4 (and 8.0 strict), parses T-SQL, keeps tables in SQLite, and does of Always Encrypted what the
//! server does: it keeps the catalogue of keys, tells clients which parameters to encrypt, checks what they send, and
//! returns ciphertext with the metadata that clients need to decrypt it. Like a real server it never sees a key. Any
//! Rust project can embed it in its tests, and any TDS driver can connect to it:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), always_encrypted_sandbox::StartError> {
//! use always_encrypted_sandbox::Sandbox;
//!
//! let sandbox = Sandbox::start().await?;
//! assert!(sandbox.connection_string().starts_with("Server=tcp:127.0.0.1,"));
//! // ... connect a client to sandbox.addr(), as sandbox.user() with sandbox.password() ...
//! assert_eq!(sandbox.statistics().connections, 0);
//! sandbox.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! From a shell, `cargo run -p always-encrypted-sandbox -- --port 1433` prints a connection string and serves until
//! it is interrupted; `--file data.db` keeps the database.
//!
//! # What passes between a client and a server with Always Encrypted
//!
//! ```text
//! client                                            sandbox
//!   LOGIN7 with feature 0x04, version 1  ─────────▶   acknowledges it: every COLMETADATA now has a CEK table
//!   sp_describe_parameter_encryption     ─────────▶   parses the statement, finds the column that each
//!     @tsql, @params                                   parameter meets, and answers with two result sets:
//!                                        ◀─────────   the keys' encrypted values, and a verdict per parameter
//!   sp_executesql, cells for parameters  ─────────▶   checks each trailer and cell, binds the statement again
//!     that are encrypted                               with what was sent, runs it
//!   rows of cells                        ◀─────────   COLMETADATA with CryptoMetadata per encrypted column
//! ```
//!
//! # First use
//!
//! Encrypted columns are declared as in SQL Server. The sandbox takes any bytes for `ENCRYPTED_VALUE`, as SQL Server
//! does: what they mean is between the client and its key store.
//!
//! ```sql
//! CREATE COLUMN MASTER KEY CMK1
//!     WITH (KEY_STORE_PROVIDER_NAME = 'MSSQL_CERTIFICATE_STORE', KEY_PATH = 'CurrentUser/My/<thumbprint>');
//! CREATE COLUMN ENCRYPTION KEY CEK1
//!     WITH VALUES (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x016E...);
//! CREATE TABLE dbo.Patients (
//!     Id int IDENTITY(1,1) PRIMARY KEY,
//!     SSN nvarchar(11) COLLATE Latin1_General_BIN2
//!         ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1, ENCRYPTION_TYPE = DETERMINISTIC,
//!                         ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NOT NULL);
//! ```
//!
//! # Strict where SQL Server is strict
//!
//! | what a client does | what it hears |
//! |---|---|
//! | sends plaintext, or a literal, for an encrypted column | 206 |
//! | declares `nvarchar(4000)` for `nvarchar(36)`; any other type, precision or scale | 206, and 8180 while describing |
//! | encrypts with another key or another encryption type | 206 |
//! | uses `<`, LIKE, ORDER BY, MAX or a function on an encrypted column; `=` on a randomized one | 33277 |
//! | calculates with an encrypted column | 402 |
//! | sends a trailer that is stale or wrong: key id, version, metadata version, normalisation, database | 33514, before anything runs |
//! | sends something that cannot be a cell, or is longer than a cell of its type | 8016 |
//! | encrypts a column without `_BIN2` deterministically | 33289 |
//! | encrypts a column of type xml, sql_variant, text, ntext, image or rowversion | 33280 |
//!
//! A parameter of a string or binary type may be declared shorter than its column, never longer, and `x(n)` may go
//! into `x(max)`. It is lenient only where real drivers are known to differ: in a trailer the length of nvarchar may
//! count bytes or characters, decimal and numeric are one, the collation is not compared.
//!
//! # Logins and permissions
//!
//! The login that [`Builder::login`] names may do everything. [`Builder::add_login`], or CREATE LOGIN and CREATE USER,
//! make others, who may do what GRANT says: SELECT, INSERT, UPDATE, DELETE, EXECUTE, ALTER and CONTROL on objects,
//! schemas or the database, CREATE TABLE and its kin, and the four permissions of Always Encrypted. As in SQL Server
//! `public` has VIEW ANY COLUMN MASTER KEY DEFINITION and VIEW ANY COLUMN ENCRYPTION KEY DEFINITION until they are
//! revoked; who lacks either sees fewer keys in the catalogue, and cannot touch encrypted columns on a connection with
//! Always Encrypted. Everything belongs to dbo, so views and procedures vouch for what they use.
//!
//! # What it does not do
//!
//! The T-SQL is that of applications, not of administrators: schemas, tables, constraints, ALTER TABLE, views, indexes,
//! INSERT, SELECT with joins, subqueries, grouping, UNION, ranking functions and common table expressions, recursive
//! ones too, UPDATE and DELETE with joins, MERGE, OUTPUT, INSERT BULK, INSERT ... EXEC, SELECT INTO, transactions and
//! savepoints, variables, temporary tables, table variables, table-valued parameters, IF, WHILE, TRY, THROW and
//! RAISERROR, stored procedures made of these, the catalogue views of `sys` and INFORMATION_SCHEMA, and the catalogue
//! procedures (`sp_tables`, `sp_columns_100` and their kin). No triggers, writing through views, other window
//! functions, OUTPUT INTO, cursors, MARS, enclaves, or integrated authentication. What is not supported is refused with
//! error 49999, whose text names it; no answer is made up.
//!
//! Where it is known to differ from SQL Server:
//!
//! * One transaction writes at a time; others wait. Readers see the last commit, as under READ_COMMITTED_SNAPSHOT,
//!   whatever isolation level they set.
//! * Strings compare by Unicode's lower case, not by Windows' weights, so punctuation sorts differently. Only the
//!   Latin1_General and SQL_Latin1_General_CP1 collations exist, accent sensitive or binary.
//! * GROUP BY, DISTINCT and unique keys tell `0x01` from `0x0100`; comparisons do not, as in SQL Server.
//! * A few conversions to text (float, datetime) and styles of CONVERT are refused. Texts are read as dates in ISO
//!   forms only.
//! * TRY catches errors that SQL Server finds while it compiles a statement, such as a table that is not there. Lines
//!   are not counted: ERROR_LINE() is 1. XACT_ABORT changes nothing, so XACT_STATE() is never -1.
//! * Temporary tables and table variables take the turn of a writer, and ROLLBACK takes back what was written to a table
//!   variable. A temporary table cannot have the name of one that a caller has made.
//! * A recursion ends after 100 steps. What is a sql_variant in a catalogue view or a function of SQL Server's has the
//!   type of its value here. Columns, parameters and variables may be sql_variant, and are compared by CAST only.
//! * xml is kept as it came but for its declaration, and not parsed: no error says that it is not well formed. It has no
//!   methods and no collections of schemas. CLR types, json and vector are refused.
//! * Under SET ROWCOUNT statements that write are refused. What a request is answered under SET NOEXEC and PARSEONLY,
//!   DONEPROC and nothing else, was not confirmed.
//! * Whether SQL Server encrypts a parameter that reaches a column by way of a derived table (`INSERT ... SELECT @p`, the
//!   source of MERGE) was not confirmed; here it does.
//! * Whether a procedure's parameter has a default is not in the catalogue, as SQL Server does not keep it either.
//! * A bulk load checks constraints whether it is asked to or not. Checks and foreign keys are asked of the whole table
//!   after each statement, so writes to large tables that have them are slow.
//! * Unique keys are checked row by row, so one UPDATE cannot exchange two keys. Cycles and several paths of foreign
//!   keys that follow are not refused.
//! * A primary key is clustered and everything else is not, whatever the statement said.
//! * A view with `*` shows columns that its tables get later; SQL Server does not until it is refreshed.
//! * Without permission to see keys, describing and reading an encrypted column fail with 15151. That SQL Server
//!   refuses them is documented, with which number is not.
//! * Permissions on columns, WITH GRANT OPTION, EXECUTE AS and application roles are refused; any password will do for
//!   CREATE LOGIN.
//! * Numbers of some errors in the DDL of keys (33278 to 33288, but for 33280) are from the right range but were not confirmed.
//!
//! It must not be believed on its own word: a client that works here has been tested against a reading of the
//! protocol, not against SQL Server.
//!
//! # For tests
//!
//! [`Builder::record`] keeps every payload byte of both directions, after TLS, so a test can look for plaintext on
//! the wire; [`Builder::file`] puts the database where a test can look for plaintext at rest; [`Statistics`] counts
//! round trips.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod catalogue;
mod connection;
mod error;
mod exec;
mod server;
mod sql;
mod tds;
mod tls;
mod types;
mod worker;

pub use server::{Builder, Encryption, Recorded, Sandbox, StartError, Statistics};
