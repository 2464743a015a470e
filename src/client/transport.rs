//! The way to the server: TCP, PRELOGIN and TLS, and the stream of TDS bytes that results. Owns
//! who protects which bytes; certificates are [`super::tls`]'s, the bytes' meaning the session's.
//!
//! ```text
//! LoginOnly   TCP ── PRELOGIN ── TLS in PRELOGIN packets ── LOGIN7 in TLS ── end_tls ── clear
//! Mandatory   TCP ── PRELOGIN ── TLS in PRELOGIN packets ── everything in TLS
//! Strict      TCP ── TLS ── PRELOGIN and everything else in TLS
//! ```

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

mod dial;
mod error;
mod prelogin;
mod stream;
#[cfg(test)]
mod tests;
mod wrapped;

pub use error::{ConnectError, Phase, PreloginError};
pub(crate) use prelogin::{Encryption, Prelogin, ServerVersion};
pub(crate) use stream::Transport;

use super::{
    config::{Config, Encrypt},
    tls::{self, TlsClient, TlsError},
};
use wrapped::Wrapped;

/// A connection on which PRELOGIN is done and LOGIN7 is next.
#[derive(Debug)]
pub(crate) struct Opened<S = TcpStream> {
    /// Where LOGIN7 goes.
    pub(crate) transport: Transport<S>,
    /// What the server said.
    pub(crate) prelogin: Prelogin,
    /// The address that answered, where the stream is a TCP connection of ours.
    pub(crate) peer: Option<SocketAddr>,
}

/// Connects to the server of `config` over TCP. Does not take longer than its connect timeout.
pub(crate) async fn open(config: &Config) -> Result<Opened, ConnectError> {
    within(config, async |phase| {
        let tcp = dial::dial(config, phase).await?;
        let peer = tcp.peer_addr().ok();
        // The server is asked whether it is the instance only if the browser said so: with a
        // port, the port decides.
        let instance = config.instance.as_deref().filter(|_| config.port.is_none());
        let opened = negotiate(config, instance, tcp, phase).await?;
        Ok(Opened { peer, ..opened })
    })
    .await
}

/// The same over a stream that is connected already.
#[cfg(test)]
pub(crate) async fn open_over<S>(config: &Config, stream: S) -> Result<Opened<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    within(config, async |phase| negotiate(config, None, stream, phase).await).await
}

/// Runs `open` under the connect timeout.
async fn within<T>(
    config: &Config,
    open: impl AsyncFnOnce(&mut Phase) -> Result<T, ConnectError>,
) -> Result<T, ConnectError> {
    config.validate()?;
    let mut phase = Phase::Resolve;
    let Some(limit) = config.connect_timeout else {
        return open(&mut phase).await;
    };
    match tokio::time::timeout(limit, open(&mut phase)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Timeout { limit, phase }),
    }
}

/// From a connected stream to one that awaits LOGIN7.
async fn negotiate<S>(
    config: &Config,
    instance: Option<&str>,
    mut stream: S,
    phase: &mut Phase,
) -> Result<Opened<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = prelogin::request(config, instance);
    if config.encrypt == Encrypt::Strict {
        *phase = Phase::Tls;
        let client = tls_client(config).await?;
        let connector = TlsConnector::from(client.config);
        let mut stream = connector
            .connect(client.server_name, stream)
            .await
            .map_err(|error| ConnectError::Tls(tls::handshake_error(error)))?;
        *phase = Phase::Prelogin;
        let prelogin = prelogin::exchange(&mut stream, &request).await?;
        return Ok(Opened { transport: Transport::strict(stream), prelogin, peer: None });
    }
    *phase = Phase::Prelogin;
    let prelogin = prelogin::exchange(&mut stream, &request).await?;
    let answer = prelogin.encryption.ok_or(PreloginError::Missing { option: "ENCRYPTION" })?;
    let transport = match protection(config.encrypt, answer)? {
        Protection::None => Transport::plain(stream),
        Protection::Login => tls_in_prelogin(config, stream, true, phase).await?,
        Protection::All => tls_in_prelogin(config, stream, false, phase).await?,
    };
    Ok(Opened { transport, prelogin, peer: None })
}

/// What TLS protects, on a connection that begins with PRELOGIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    None,
    Login,
    All,
}

/// The outcome of what we asked for and what the server answered (MS-TDS 2.2.6.5).
fn protection(asked: Encrypt, answer: Encryption) -> Result<Protection, ConnectError> {
    match (asked, answer) {
        (Encrypt::LoginOnly, Encryption::NotSupported) => Ok(Protection::None),
        (Encrypt::LoginOnly, Encryption::Off) => Ok(Protection::Login),
        (Encrypt::Mandatory | Encrypt::Strict, Encryption::NotSupported) => {
            Err(ConnectError::EncryptionNotSupported)
        }
        (_, Encryption::Off | Encryption::On | Encryption::Required) => Ok(Protection::All),
    }
}

/// The TLS client of `config`; the files that it needs are read off the executor.
async fn tls_client(config: &Config) -> Result<TlsClient, ConnectError> {
    let config = config.clone();
    let built = tokio::task::spawn_blocking(move || TlsClient::new(&config)).await;
    built
        .map_err(|_| TlsError::Io(std::io::Error::other("the task that reads certificates ended")))
        .and_then(|client| client)
        .map_err(ConnectError::Tls)
}

/// A TLS handshake whose records travel in PRELOGIN packets (MS-TDS 2.2.6.5).
async fn tls_in_prelogin<S>(
    config: &Config,
    stream: S,
    login_only: bool,
    phase: &mut Phase,
) -> Result<Transport<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    *phase = Phase::Tls;
    let failed = |error| ConnectError::Tls(tls::handshake_error(error));
    let client = tls_client(config).await?;
    let connector = TlsConnector::from(client.config);
    let mut stream =
        connector.connect(client.server_name, Wrapped::new(stream)).await.map_err(failed)?;
    // Whatever the handshake still has to say belongs in a packet.
    stream.flush().await.map_err(failed)?;
    stream.get_mut().0.unwrap_from_now_on(login_only);
    Ok(Transport::tls(stream, login_only))
}
