//! What touches the network: settings, TCP, TLS, the PRELOGIN exchange with the server, and the
//! stream that tiberius is given.

mod config;
mod connection_string;
mod connector;
mod stream;
mod tls;
mod transport;

pub use config::{CertificateSource, Config, ConfigError, Encrypt};
pub use connector::{Client, Connector};
pub use stream::Stream;
pub use tls::TlsError;
pub use transport::{ConnectError, Phase, PreloginError};
