//! The tokens of a response: how long each is, and the few that are read (MS-TDS 2.2.7).

use super::{Malformed, Reader};

/// Token bytes by their MS-TDS names.
pub mod id {
    #![allow(missing_docs)]
    pub const OFFSET: u8 = 0x78;
    pub const RETURNSTATUS: u8 = 0x79;
    pub const COLMETADATA: u8 = 0x81;
    pub const ALTMETADATA: u8 = 0x88;
    pub const TABNAME: u8 = 0xA4;
    pub const COLINFO: u8 = 0xA5;
    pub const ORDER: u8 = 0xA9;
    pub const ERROR: u8 = 0xAA;
    pub const INFO: u8 = 0xAB;
    pub const RETURNVALUE: u8 = 0xAC;
    pub const LOGINACK: u8 = 0xAD;
    pub const FEATUREEXTACK: u8 = 0xAE;
    pub const ROW: u8 = 0xD1;
    pub const NBCROW: u8 = 0xD2;
    pub const ALTROW: u8 = 0xD3;
    pub const ENVCHANGE: u8 = 0xE3;
    pub const SESSIONSTATE: u8 = 0xE4;
    pub const SSPI: u8 = 0xED;
    pub const FEDAUTHINFO: u8 = 0xEE;
    pub const DONE: u8 = 0xFD;
    pub const DONEPROC: u8 = 0xFE;
    pub const DONEINPROC: u8 = 0xFF;
}

/// Status bits of DONE, DONEPROC and DONEINPROC.
pub mod done_status {
    #![allow(missing_docs)]
    pub const MORE: u16 = 0x0001;
    pub const ERROR: u16 = 0x0002;
    pub const COUNT: u16 = 0x0010;
    pub const ATTENTION: u16 = 0x0020;
}

/// How the end of a token is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenLen {
    /// The token is that many bytes long, its token byte included.
    Known(usize),
    /// More bytes are needed before the length shows.
    Incomplete,
    /// The structure must be read: COLMETADATA, ALTMETADATA, ROW, NBCROW, ALTROW, RETURNVALUE,
    /// FEATUREEXTACK.
    Structured,
}

/// Finds the length of the token at the front of `bytes`.
pub fn token_len(bytes: &[u8]) -> Result<TokenLen, Malformed> {
    let Some((&token, rest)) = bytes.split_first() else { return Ok(TokenLen::Incomplete) };
    Ok(match token {
        id::COLMETADATA
        | id::ALTMETADATA
        | id::ROW
        | id::NBCROW
        | id::ALTROW
        | id::RETURNVALUE
        | id::FEATUREEXTACK => TokenLen::Structured,
        id::RETURNSTATUS | id::OFFSET => TokenLen::Known(1 + 4),
        id::DONE | id::DONEPROC | id::DONEINPROC => TokenLen::Known(1 + 12),
        id::TABNAME
        | id::COLINFO
        | id::ORDER
        | id::ERROR
        | id::INFO
        | id::LOGINACK
        | id::ENVCHANGE
        | id::SSPI => match rest.first_chunk() {
            Some(&len) => TokenLen::Known(1 + 2 + usize::from(u16::from_le_bytes(len))),
            None => TokenLen::Incomplete,
        },
        id::SESSIONSTATE | id::FEDAUTHINFO => match rest.first_chunk() {
            Some(&len) => {
                let len = u32::from_le_bytes(len) as usize;
                TokenLen::Known(len.checked_add(1 + 4).ok_or(Malformed::of("token length"))?)
            }
            None => TokenLen::Incomplete,
        },
        _ => return Err(Malformed::of("token: unknown or never asked for")),
    })
}

/// A DONE, DONEPROC or DONEINPROC token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Bits of [`done_status`].
    pub status: u16,
}

impl Done {
    /// Reads the token, from its token byte on.
    pub fn read(token: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(token);
        reader.u8("DONE")?;
        Ok(Self { status: reader.u16("DONE")? })
    }

    /// Whether it answers an attention.
    #[must_use]
    pub fn acknowledges_attention(self) -> bool {
        self.status & done_status::ATTENTION != 0
    }
}

/// The environment changes that we follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvChange {
    /// Type 1: the current database.
    Database(String),
    /// Type 4: the packet size in bytes.
    PacketSize(usize),
    /// Type 7: the collation of the database.
    Collation([u8; 5]),
    /// Types 8 to 11 and 17: a transaction began or was joined, or ended.
    Transaction {
        /// Whether one is open now.
        open: bool,
    },
    /// Type 20: the login is to be repeated elsewhere.
    Routing,
    /// Anything else.
    Other,
}

impl EnvChange {
    /// Reads the token, from its token byte on.
    pub fn read(token: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "ENVCHANGE";
        let mut reader = Reader::new(token);
        reader.take(3, WHAT)?;
        Ok(match reader.u8(WHAT)? {
            0x01 => Self::Database(reader.b_varchar(WHAT)?),
            0x04 => {
                let size = reader.b_varchar(WHAT)?;
                let size = size.parse().ok().filter(|n| (512..=32767).contains(n));
                Self::PacketSize(size.ok_or(Malformed::of("ENVCHANGE: packet size"))?)
            }
            0x07 => match reader.u8(WHAT)? {
                5 => Self::Collation(reader.bytes(WHAT)?),
                _ => Self::Other,
            },
            0x08 | 0x0B => Self::Transaction { open: true },
            0x09 | 0x0A | 0x0C | 0x11 => Self::Transaction { open: false },
            0x14 => Self::Routing,
            _ => Self::Other,
        })
    }
}
