//! HTTPS beneath the client of the service: reqwest over rustls and ring, with bounds of its own.

use std::{error::Error as StdError, io, net::SocketAddr, sync::Arc, time::Duration};

use azure_core::{
    Bytes, Error,
    error::ErrorKind,
    http::{
        AsyncRawResponse, Body, HttpClient, Method, Request, StatusCode,
        headers::{HeaderName, HeaderValue, Headers},
    },
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::keystore::KeyStoreError;

/// Answers are keys, results and error texts of a few kilobytes.
const LARGEST_ANSWER: usize = 256 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Https {
    client: reqwest::Client,
}

/// A failure of TLS, which no retry mends.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct TlsFailed(pub(super) String);

impl Https {
    /// Trusts the operating system's certificates and `extra`, in PEM; connects to `addresses` for
    /// the hosts that have one.
    pub(super) fn new(
        extra: &[String],
        addresses: &[(String, SocketAddr)],
    ) -> Result<Self, KeyStoreError> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(KeyStoreError::other)?
            .with_root_certificates(roots(extra)?)
            .with_no_client_auth();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .https_only(true)
            // The token must not follow where an answer points.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        for (host, address) in addresses {
            // A proxy would look the host up itself.
            builder = builder.resolve(host, *address).no_proxy();
        }
        Ok(Self { client: builder.build().map_err(KeyStoreError::other)? })
    }
}

fn roots(extra: &[String]) -> Result<RootCertStore, KeyStoreError> {
    let mut roots = RootCertStore::empty();
    // Some certificates of an operating system are always odd; those that can be used are used.
    let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for pem in extra {
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|e| bad_root(&e.to_string()))?;
            roots.add(certificate).map_err(|e| bad_root(&e.to_string()))?;
            found = true;
        }
        if !found {
            return Err(bad_root("there is no certificate in the PEM"));
        }
    }
    if roots.is_empty() {
        return Err(bad_root("this host has no trusted certificates; install ca-certificates"));
    }
    Ok(roots)
}

fn bad_root(message: &str) -> KeyStoreError {
    KeyStoreError::Certificate { message: message.into() }
}

#[async_trait::async_trait]
impl HttpClient for Https {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let (Some(method), Body::Bytes(body)) = (method(request.method()), request.body()) else {
            return Err(Error::with_message(ErrorKind::Other, "no call has such a request"));
        };
        let mut outgoing = self.client.request(method, request.url().clone()).body(body.clone());
        for (name, value) in request.headers().iter() {
            outgoing = outgoing.header(name.as_str(), value.as_str());
        }
        let mut response = outgoing.send().await.map_err(failed)?;
        let status = StatusCode::from(response.status().as_u16());
        let headers = headers(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                let message = format!("the answer has more than {LARGEST_ANSWER} bytes");
                return Err(Error::with_message(ErrorKind::DataConversion, message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(AsyncRawResponse::from_bytes(status, headers, Bytes::from(body)))
    }
}

/// What the calls of a key store use.
fn method(method: Method) -> Option<reqwest::Method> {
    match method {
        Method::Get => Some(reqwest::Method::GET),
        Method::Post => Some(reqwest::Method::POST),
        _ => None,
    }
}

fn headers(map: &reqwest::header::HeaderMap) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in map {
        if let Ok(value) = value.to_str() {
            let name = HeaderName::from(name.as_str().to_owned());
            headers.insert(name, HeaderValue::from(value.to_owned()));
        }
    }
    headers
}

/// Sorts failures into those that azure_core tries again and the others.
fn failed(error: reqwest::Error) -> Error {
    let error = error.without_url();
    if let Some(tls) = tls_error(&error) {
        return Error::new(ErrorKind::Other, TlsFailed(tls.to_string()));
    }
    let kind = if error.is_connect() { ErrorKind::Connection } else { ErrorKind::Io };
    Error::new(kind, error)
}

/// rustls's error lies inside of I/O errors, where `source` does not lead.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}
