//! What touches the network: settings, TCP, TLS, the PRELOGIN exchange with the server, and the
//! stream that tiberius is given; and the cipher of one column, in tiberius' values.

mod column_cipher;
mod column_data;
mod config;
mod connection_string;
mod connector;
mod stream;
mod tls;
mod transport;

pub use column_cipher::{ColumnCipher, ColumnCipherError, ColumnValueError};
pub use config::{CertificateSource, Config, ConfigError, Encrypt};
pub use connector::{Client, Connector};
pub use stream::Stream;
pub use tls::TlsError;
pub use transport::{ConnectError, Phase, PreloginError};
