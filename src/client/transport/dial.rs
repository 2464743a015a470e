//! Name resolution and TCP.

use std::{io, net::SocketAddr};

use tiberius::SqlBrowser;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    super::config::{Config, DEFAULT_PORT},
    error::{ConnectError, Phase},
};

/// Connects to the host and port, or the host and instance, of `config`.
pub(super) async fn dial(config: &Config, phase: &mut Phase) -> Result<TcpStream, ConnectError> {
    let host = config.host.as_deref().unwrap_or_default();
    if let (Some(instance), None) = (&config.instance, config.port) {
        *phase = Phase::Browser;
        return instance_of(config, host, instance).await;
    }
    let port = config.port.unwrap_or(DEFAULT_PORT);
    let unresolved = |source| ConnectError::Resolve { host: host.to_owned(), source };
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await.map_err(unresolved)?.collect();
    *phase = Phase::Tcp;
    let tcp = if config.multi_subnet_failover {
        first_of(&addresses).await
    } else {
        one_by_one(config, &addresses).await
    };
    let unreachable = |source| ConnectError::Tcp {
        host: host.to_owned(),
        port,
        addresses: addresses.len(),
        source,
    };
    let tcp = tcp.map_err(unreachable)?;
    // Requests are written whole; waiting to fill a segment only delays their last packet.
    tcp.set_nodelay(true).map_err(|source| ConnectError::Io { phase: Phase::Tcp, source })?;
    Ok(tcp)
}

/// Asks SQL Server Browser for the port, through tiberius, and connects to it.
async fn instance_of(
    config: &Config,
    host: &str,
    instance: &str,
) -> Result<TcpStream, ConnectError> {
    let mut browser = tiberius::Config::new();
    browser.host(host);
    browser.instance_name(instance);
    browser.multi_subnet_failover(config.multi_subnet_failover);
    TcpStream::connect_named(&browser).await.map_err(|source| ConnectError::Browser {
        host: host.to_owned(),
        instance: instance.to_owned(),
        source: Box::new(source),
    })
}

/// Each address gets an equal share of the time that is left, so that a dead one does not take
/// the time of a live one.
async fn one_by_one(config: &Config, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let start = Instant::now();
    let mut last = no_address();
    for (i, &address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(address);
        let left = u32::try_from(addresses.len() - i).unwrap_or(u32::MAX);
        let connected = match config.connect_timeout {
            // The last one may use it all: the timeout of the whole ends it, and says so.
            Some(limit) if left > 1 => {
                let share = limit.saturating_sub(start.elapsed()) / left;
                timeout(share, connecting).await.unwrap_or_else(|late| Err(late.into()))
            }
            _ => connecting.await,
        };
        match connected {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// All addresses at once; the others are given up when one has answered.
async fn first_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut attempts: JoinSet<_> = addresses.iter().map(|&to| TcpStream::connect(to)).collect();
    let mut last = no_address();
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(ended) => last = io::Error::other(ended),
        }
    }
    Err(last)
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
}
