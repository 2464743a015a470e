//! Why there is no connection: whose fault it is and what to do.

use std::{fmt, io, time::Duration};

use super::super::{config::ConfigError, tls::TlsError};

/// How far connecting had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The host's name was being resolved.
    Resolve,
    /// SQL Server Browser was being asked for the port of an instance.
    Browser,
    /// A TCP connection was being made.
    Tcp,
    /// PRELOGIN had been sent, or was about to be.
    Prelogin,
    /// The TLS handshake was under way.
    Tls,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "name resolution",
            Self::Browser => "the query to SQL Server Browser",
            Self::Tcp => "the TCP connection",
            Self::Prelogin => "the PRELOGIN exchange",
            Self::Tls => "the TLS handshake",
        })
    }
}

/// A connection could not be made. Nothing of the login has been sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// SQL Server Browser did not tell the port of an instance.
    #[error(
        "the port of instance '{instance}' on '{host}' is not known: is SQL Server Browser \
         running and UDP port 1434 open? Otherwise give the port: Server=host,port"
    )]
    Browser {
        /// The host.
        host: String,
        /// The instance.
        instance: String,
        /// What tiberius' browser client said.
        #[source]
        source: Box<tiberius::error::Error>,
    },
    /// The configuration cannot be used. The caller's to mend.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server has no TLS and the configuration demands it.
    #[error(
        "the server says that it does not support encryption and Encrypt demands it: give the \
         server a certificate; with Encrypt=false everything, the password too, is sent in clear"
    )]
    EncryptionNotSupported,
    /// The server at this address is another instance.
    #[error(
        "the server that answered is not instance '{instance}': check the name, or give the port"
    )]
    Instance {
        /// The instance that was asked for.
        instance: String,
    },
    /// The connection failed.
    #[error("the connection failed during {phase}")]
    Io {
        /// How far it had come.
        phase: Phase,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The server's answer to PRELOGIN makes no sense.
    #[error(transparent)]
    Prelogin(#[from] PreloginError),
    /// The host's name could not be resolved.
    #[error("the host '{host}' cannot be found: check Server, and the resolver of this machine")]
    Resolve {
        /// The host.
        host: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// No address of the host took a connection.
    #[error(
        "'{host}' takes no TCP connection on port {port} ({addresses} addresses tried): is the \
         server running, TCP enabled for it, and the port right and open?"
    )]
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// How many addresses were tried.
        addresses: usize,
        /// The system's reason, of the last address.
        #[source]
        source: io::Error,
    },
    /// Connecting took too long.
    #[error("no connection within {} s, given up during {phase}: the server may be unreachable or busy; \
             Connect Timeout allows more", limit.as_secs_f32())]
    Timeout {
        /// The time that was allowed.
        limit: Duration,
        /// How far connecting had come.
        phase: Phase,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(TlsError),
}

/// An answer to PRELOGIN that no SQL Server gives: another kind of server, or a broken one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PreloginError {
    /// The answer ends too early.
    #[error(
        "the server closed the connection after {received} bytes of its answer to PRELOGIN: is it \
         a SQL Server? One that forces strict encryption wants Encrypt=strict"
    )]
    Closed {
        /// How many bytes had arrived.
        received: usize,
    },
    /// A packet's length is less than its header or more than a packet can be.
    #[error("the server's answer to PRELOGIN has a packet of {length} bytes")]
    Length {
        /// The length that the header states.
        length: usize,
    },
    /// An option points outside of the answer, or has the wrong length.
    #[error("the server's answer to PRELOGIN is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// Something that every server sends is not there.
    #[error("the server's answer to PRELOGIN has no {option}")]
    Missing {
        /// The option's name in MS-TDS.
        option: &'static str,
    },
    /// The first byte is none that an answer begins with.
    #[error(
        "the server did not answer PRELOGIN in TDS (first byte {first:#04x}){}",
        if super::super::tls::is_record_type(*first) {
            ": it speaks TLS first, so Encrypt=strict may be what it wants"
        } else {
            ": something other than SQL Server listens there"
        }
    )]
    NotTds {
        /// The byte that came first.
        first: u8,
    },
    /// The answer is longer than any server's.
    #[error("the server's answer to PRELOGIN exceeds {limit} bytes")]
    TooLong {
        /// The most that is read.
        limit: usize,
    },
    /// An ENCRYPTION value that MS-TDS does not know, or that asks for a client certificate.
    #[error("the server answers PRELOGIN with ENCRYPTION {value:#04x}, which is not supported")]
    UnknownEncryption {
        /// The value.
        value: u8,
    },
}
