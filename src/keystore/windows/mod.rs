//! The key stores of Windows: certificate stores, CNG keys and CSP keys, under the names and with the
//! key paths of SqlClient's providers.
//!
//! Owns the key paths and the way from one to a key; `native` has the calls into Windows.

mod key_path;
#[cfg(all(windows, feature = "windows-key-stores"))]
#[allow(unsafe_code)]
mod native;
#[cfg(all(windows, feature = "windows-key-stores"))]
mod provider;

#[cfg(all(windows, feature = "windows-key-stores"))]
pub use provider::WindowsKeyStore;
