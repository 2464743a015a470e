//! PRELOGIN, the first exchange of a TDS connection (MS-TDS 2.2.6.5).
//!
//! The message is a table of options, each a token, an offset and a length (big-endian, the offset
//! counted from the start of the table), ended by `FF`, and the options' data after it.

use tiberius::AuthMethod;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    super::config::{Config, Encrypt},
    error::{ConnectError, Phase, PreloginError},
};

/// Packet types (MS-TDS 2.2.3.1.1).
pub(super) const TABULAR_RESULT: u8 = 0x04;
pub(super) const PRELOGIN: u8 = 0x12;
/// Packet status: end of message.
pub(super) const EOM: u8 = 0x01;
/// Type, status, length (2, big-endian, header included), SPID (2), packet id, window.
pub(super) const HEADER: usize = 8;

/// The most that a packet can hold, and that an answer is allowed to: real ones have 50 bytes.
pub(super) const MAX_PACKET: usize = 32 * 1024;

/// Option tokens.
const VERSION: u8 = 0x00;
const ENCRYPTION: u8 = 0x01;
const INSTOPT: u8 = 0x02;
const THREADID: u8 = 0x03;
const MARS: u8 = 0x04;
const FEDAUTHREQUIRED: u8 = 0x06;
const NONCEOPT: u8 = 0x07;
const TERMINATOR: u8 = 0xff;

/// ENCRYPTION values.
const ENCRYPT_OFF: u8 = 0x00;
const ENCRYPT_ON: u8 = 0x01;
const ENCRYPT_NOT_SUP: u8 = 0x02;
const ENCRYPT_REQ: u8 = 0x03;

/// What a server says of encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// `ENCRYPT_OFF`: the login only.
    Off,
    /// `ENCRYPT_ON`.
    On,
    /// `ENCRYPT_NOT_SUP`: it has no TLS.
    NotSupported,
    /// `ENCRYPT_REQ`.
    Required,
}

/// A server's version, as in `16.0.1000.0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerVersion {
    pub(crate) major: u8,
    pub(crate) minor: u8,
    pub(crate) build: u16,
    pub(crate) sub_build: u16,
}

/// What the server said in PRELOGIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prelogin {
    pub(crate) version: ServerVersion,
    /// Absent only from servers of strict connections, where it means nothing.
    pub(crate) encryption: Option<Encryption>,
    /// Whether the server is the instance that it was asked for; absent if it does not say.
    pub(crate) instance_valid: Option<bool>,
    /// Whether several commands at a time could be run.
    pub(crate) mars: bool,
    /// FEDAUTHREQUIRED as the server echoes it.
    pub(crate) fed_auth_required: Option<u8>,
    /// What a federated login is to be bound to.
    pub(crate) nonce: Option<[u8; 32]>,
}

/// Sends `request` and reads the answer, and not a byte more.
pub(super) async fn exchange<S>(stream: &mut S, request: &Request) -> Result<Prelogin, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |source| ConnectError::Io { phase: Phase::Prelogin, source };
    stream.write_all(&request.packet).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let answer = parse(&message(stream).await?)?;
    match &request.instance {
        Some(instance) if answer.instance_valid == Some(false) => {
            Err(ConnectError::Instance { instance: instance.clone() })
        }
        _ => Ok(answer),
    }
}

/// Our half, as a packet.
pub(super) struct Request {
    pub(super) packet: Vec<u8>,
    instance: Option<String>,
}

/// What we say: who we are, what encryption we want, which instance we think this is.
pub(super) fn request(config: &Config, instance: Option<&str>) -> Request {
    let encryption = match config.encrypt {
        Encrypt::LoginOnly => ENCRYPT_OFF,
        Encrypt::Mandatory => ENCRYPT_ON,
        // TLS is there already, nothing is left to be negotiated; what Microsoft's drivers say.
        Encrypt::Strict => ENCRYPT_NOT_SUP,
    };
    let mut instance_name = instance.unwrap_or_default().as_bytes().to_vec();
    instance_name.push(0);
    let mut options = vec![
        (VERSION, our_version().to_vec()),
        (ENCRYPTION, vec![encryption]),
        (INSTOPT, instance_name),
        (THREADID, vec![0; 4]),
        (MARS, vec![0]),
    ];
    if let Some(AuthMethod::AADToken(_)) = config.authentication {
        options.push((FEDAUTHREQUIRED, vec![1]));
    }
    let mut table = Vec::new();
    let mut data = Vec::new();
    let start = options.len() * 5 + 1;
    for (token, value) in options {
        table.push(token);
        table.extend(be16(start + data.len()));
        table.extend(be16(value.len()));
        data.extend(value);
    }
    table.push(TERMINATOR);
    let mut packet = header(PRELOGIN, EOM, 1, table.len() + data.len()).to_vec();
    packet.extend(table);
    packet.extend(data);
    Request { packet, instance: instance.map(str::to_owned) }
}

/// A packet header. `payload` is what follows it, in bytes.
pub(super) fn header(kind: u8, status: u8, id: u8, payload: usize) -> [u8; HEADER] {
    let [high, low] = be16(HEADER + payload);
    [kind, status, high, low, 0, 0, id, 0]
}

/// The payload of one message, however many packets it takes.
async fn message<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, ConnectError> {
    let mut payload = Vec::new();
    let mut received = 0;
    loop {
        let mut header = Vec::with_capacity(HEADER);
        arrived(stream, HEADER, &mut header, &mut received).await?;
        let &[kind, status, high, low, ..] = header.as_slice() else {
            return Err(PreloginError::Closed { received }.into());
        };
        if kind != TABULAR_RESULT {
            return Err(PreloginError::NotTds { first: kind }.into());
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(HEADER..=MAX_PACKET).contains(&length) {
            return Err(PreloginError::Length { length }.into());
        }
        if received - HEADER + length > MAX_PACKET {
            return Err(PreloginError::TooLong { limit: MAX_PACKET }.into());
        }
        arrived(stream, length - HEADER, &mut payload, &mut received).await?;
        if status & EOM != 0 {
            return Ok(payload);
        }
    }
}

/// Appends exactly `wanted` bytes of the stream to `to`.
async fn arrived<S: AsyncRead + Unpin>(
    stream: &mut S,
    wanted: usize,
    to: &mut Vec<u8>,
    received: &mut usize,
) -> Result<(), ConnectError> {
    let got = match stream.take(wanted as u64).read_to_end(to).await {
        Ok(got) => got,
        Err(source) => return Err(ConnectError::Io { phase: Phase::Prelogin, source }),
    };
    *received += got;
    if got < wanted {
        // A first byte that is not TDS says more than that too few followed it.
        return Err(match to.first() {
            Some(&first) if *received == got && first != TABULAR_RESULT => {
                PreloginError::NotTds { first }.into()
            }
            _ => PreloginError::Closed { received: *received }.into(),
        });
    }
    Ok(())
}

/// Reads the server's options. Unknown ones are passed over, as MS-TDS demands.
pub(super) fn parse(message: &[u8]) -> Result<Prelogin, PreloginError> {
    let malformed = |reason| PreloginError::Malformed { reason };
    let mut table = message;
    let mut seen = [false; 256];
    let mut version = None;
    let mut answer = Prelogin {
        version: ServerVersion::default(),
        encryption: None,
        instance_valid: None,
        mars: false,
        fed_auth_required: None,
        nonce: None,
    };
    loop {
        let (token, offset, length, rest) = match *table {
            [TERMINATOR, ..] => break,
            [token, o1, o2, l1, l2, ref rest @ ..] => {
                (token, u16::from_be_bytes([o1, o2]), u16::from_be_bytes([l1, l2]), rest)
            }
            _ => return Err(malformed("the table of options has no end")),
        };
        table = rest;
        let start = usize::from(offset);
        let data = message
            .get(start..start + usize::from(length))
            .ok_or(malformed("an option lies outside of the message"))?;
        if std::mem::replace(&mut seen[usize::from(token)], true) {
            return Err(malformed("an option is there twice"));
        }
        match token {
            VERSION => version = Some(parse_version(data)?),
            ENCRYPTION => answer.encryption = Some(parse_encryption(data)?),
            INSTOPT => answer.instance_valid = data.first().map(|&failed| failed == 0),
            MARS => answer.mars = data.first() == Some(&1),
            FEDAUTHREQUIRED => answer.fed_auth_required = data.first().copied(),
            NONCEOPT => {
                let nonce = data.try_into().map_err(|_| malformed("NONCE has not 32 bytes"))?;
                answer.nonce = Some(nonce);
            }
            _ => {}
        }
    }
    answer.version = version.ok_or(PreloginError::Missing { option: "VERSION" })?;
    Ok(answer)
}

fn parse_version(data: &[u8]) -> Result<ServerVersion, PreloginError> {
    match *data {
        [major, minor, b1, b2, s1, s2] => Ok(ServerVersion {
            major,
            minor,
            build: u16::from_be_bytes([b1, b2]),
            sub_build: u16::from_be_bytes([s1, s2]),
        }),
        _ => Err(PreloginError::Malformed { reason: "VERSION has not 6 bytes" }),
    }
}

fn parse_encryption(data: &[u8]) -> Result<Encryption, PreloginError> {
    match *data {
        [ENCRYPT_OFF] => Ok(Encryption::Off),
        [ENCRYPT_ON] => Ok(Encryption::On),
        [ENCRYPT_NOT_SUP] => Ok(Encryption::NotSupported),
        [ENCRYPT_REQ] => Ok(Encryption::Required),
        [value] => Err(PreloginError::UnknownEncryption { value }),
        _ => Err(PreloginError::Malformed { reason: "ENCRYPTION has not 1 byte" }),
    }
}

/// This crate's version, in the form of a client's: major, minor, build (2), sub-build (2).
fn our_version() -> [u8; 6] {
    let number = |text: &str| text.parse::<u8>().unwrap_or(0);
    [
        number(env!("CARGO_PKG_VERSION_MAJOR")),
        number(env!("CARGO_PKG_VERSION_MINOR")),
        0,
        number(env!("CARGO_PKG_VERSION_PATCH")),
        0,
        0,
    ]
}

/// Lengths here are of our own making and below 32 KiB.
fn be16(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes()
}
