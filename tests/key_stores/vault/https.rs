//! HTTP/1.1 over TLS, as much of it as a REST client needs.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{Answer, Request};

type Handler = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// Answers requests to `host` on a port of this machine, until the runtime ends. Returns where, and
/// the certificate of the authority.
pub async fn serve(host: &str, handler: Handler) -> io::Result<(SocketAddr, String)> {
    let (root_pem, config) = certificates(host).map_err(io::Error::other)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
            tokio::spawn(async move {
                // A client that does not trust the certificate, or goes away, ends its connection.
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = converse(BufReader::new(stream), &handler).await;
                }
            });
        }
    });
    Ok((address, root_pem))
}

fn certificates(
    host: &str,
) -> Result<(String, ServerConfig), Box<dyn std::error::Error + Send + Sync>> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate()?;
    let root = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec![host.to_owned()])?.signed_by(&key, &issuer)?;
    let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der())?)?;
    Ok((root.pem(), config))
}

async fn converse<S>(mut stream: BufReader<S>, handler: &Handler) -> io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(request) = read(&mut stream).await? {
        let answer = handler(&request);
        let mut head = format!("HTTP/1.1 {} -\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("Content-Type: application/json; charset=utf-8\r\n");
        head.push_str(&format!("Content-Length: {}\r\n\r\n", answer.body.len()));
        stream.get_mut().write_all(head.as_bytes()).await?;
        stream.get_mut().write_all(&answer.body).await?;
        stream.get_mut().flush().await?;
    }
    Ok(())
}

async fn read<S>(stream: &mut BufReader<S>) -> io::Result<Option<Request>>
where
    S: tokio::io::AsyncRead + Unpin,
{
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = words.next().zip(words.next()).ok_or_else(malformed)?;
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if line.trim_end().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(Ok(0), |v| v.parse::<usize>());
    let mut body = vec![0; length.map_err(|_| malformed())?];
    stream.read_exact(&mut body).await?;
    Ok(Some(Request { method, target, headers, body }))
}
