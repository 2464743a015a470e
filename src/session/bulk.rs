//! Bulk loads on their way to the server: what they announce, and their rows encrypted.
//!
//! A load comes in two messages. INSERT BULK names table and columns with their types; the server is
//! asked which of the columns are encrypted, and those are declared by the type of their ciphertext.
//! Then come metadata and rows, which pass through in bounded memory: a packet's at a time, their
//! cells encrypted together.

use std::sync::Arc;

use super::{SessionError, encrypt::lies_as, scratch::Scratch};
use crate::{
    crypto::{
        CellKey, CellToEncrypt, EncryptionType, MAX_OVERHEAD, PLAINTEXT_OFFSET, encrypted_len,
    },
    metadata::DescribeFault,
    tds::{
        ColMetadata, Column, HEADER_LEN, InsertBulk, Malformed, PacketType, Reader, ReplyToken,
        ReplyTokens, RowScanner, Status, TokenLen, ValueEncoding, ValueRange, WipedBuffer,
        push_packet, token_id, token_len, value_data, value_data_len, value_data_slice, write_null,
        write_value_head, write_value_tail,
    },
    value::{SqlType, normalize, normalized_in_place},
};

/// The server's answer to which columns a load has.
pub(super) enum BulkAnswer {
    Columns(ColMetadata),
    /// Its ERROR and INFO tokens.
    Refused(Vec<u8>),
}

impl BulkAnswer {
    pub(super) fn read(payload: &[u8]) -> Result<Self, DescribeFault> {
        let (mut columns, mut refusal, mut refused) = (None, Vec::new(), false);
        let mut tokens = ReplyTokens::new(payload);
        while let Some(token) = tokens.next_token()? {
            match token {
                ReplyToken::Metadata(metadata) => columns = Some(metadata),
                ReplyToken::Other(id @ (token_id::ERROR | token_id::INFO), bytes) => {
                    refused |= id == token_id::ERROR;
                    refusal.extend_from_slice(bytes);
                }
                ReplyToken::Row(_) | ReplyToken::Other(..) => {}
            }
        }
        match columns {
            _ if refused => Ok(Self::Refused(refusal)),
            Some(columns) => Ok(Self::Columns(columns)),
            None => Err(DescribeFault::Incomplete { what: "the columns of the bulk load" }),
        }
    }
}

/// A load whose announcement the server has been sent.
pub(super) enum Announced {
    /// No column of it is encrypted, or what comes is ciphertext already.
    Plain,
    Encrypted(BulkTarget),
}

/// A load that has been announced: the table's columns and the keys of the encrypted ones.
pub(super) struct BulkTarget {
    pub(super) metadata: ColMetadata,
    pub(super) keys: Vec<Option<Arc<CellKey>>>,
}

impl BulkTarget {
    /// The server answered with the names that it was asked for, in their order.
    fn encrypted_column(&self, name: &str) -> Option<&Column> {
        self.metadata.columns.iter().find(|c| c.crypto.is_some() && c.name == name)
    }

    /// The announcement with ciphertext types.
    pub(super) fn announce(&self, statement: &InsertBulk) -> String {
        statement.with_types(|name| {
            let column = self.encrypted_column(name)?;
            column.type_info.sql_type().map(|t| t.to_string())
        })
    }
}

/// A column of the load.
struct LoadColumn {
    name: String,
    /// How the driver lays out its values.
    encoding: ValueEncoding,
    encrypted: Option<Encrypted>,
}

/// How a column's values are encrypted.
struct Encrypted {
    sql_type: SqlType,
    encryption_type: EncryptionType,
    encoding: ValueEncoding,
    key: Arc<CellKey>,
}

/// A plaintext in the place of its cell: where that begins in the outbox, and how long it is.
#[derive(Clone, Copy)]
struct Draft {
    start: usize,
    plaintext_len: usize,
}

/// The rows of a load as they pass.
#[derive(Default)]
pub(super) struct BulkLoad {
    target: Option<BulkTarget>,
    inbox: WipedBuffer,
    outbox: WipedBuffer,
    columns: Vec<LoadColumn>,
    encodings: Vec<ValueEncoding>,
    scanner: RowScanner,
    /// For a value that is not its own normal form.
    scratch: Scratch,
    /// The plaintexts that stand in the outbox where their cells will be, a list for each column.
    drafts: Vec<Vec<Draft>>,
    begun: bool,
    packets: u8,
}

impl BulkLoad {
    pub(super) fn new(announced: Announced) -> Self {
        let target = match announced {
            Announced::Plain => None,
            Announced::Encrypted(target) => Some(target),
        };
        Self { target, ..Self::default() }
    }

    /// Takes the payload of one packet of the driver's and passes on what can be. `end` ends the
    /// message.
    pub(super) fn pass(
        &mut self,
        payload: &[u8],
        end: bool,
        room: usize,
        to_server: &mut WipedBuffer,
    ) -> Result<(), SessionError> {
        self.inbox.extend(payload);
        if !self.begun && !self.begin()? {
            return if end { Err(cut()) } else { Ok(()) };
        }
        if self.target.is_none() {
            // Nothing of it is encrypted.
            self.outbox.extend(self.inbox.as_slice());
            self.inbox.clear();
        } else {
            while self.token()? {}
            self.encrypt()?;
            if end && !self.inbox.is_empty() {
                return Err(cut());
            }
        }
        self.send(end, room, to_server);
        Ok(())
    }

    /// The metadata gains the CEK table, and encrypted columns their type on the wire. `false` while
    /// it has not arrived in full.
    fn begin(&mut self) -> Result<bool, SessionError> {
        let bytes = self.inbox.as_slice();
        let mut out = Vec::new();
        let consumed = match &self.target {
            None => {
                const NO_KEYS: [u8; 2] = [0, 0];
                let Some(&head) = bytes.first_chunk::<3>() else { return Ok(false) };
                if head[0] != token_id::COLMETADATA {
                    return Err(SessionError::Request(Malformed::of("bulk load")));
                }
                out.extend_from_slice(&head);
                out.extend_from_slice(&NO_KEYS);
                head.len()
            }
            Some(target) => {
                let mut reader = Reader::new(bytes);
                let metadata = match ColMetadata::read_from_driver(&mut reader) {
                    Ok(metadata) => metadata,
                    Err(error) if error.incomplete => return Ok(false),
                    Err(error) => return Err(SessionError::Request(error)),
                };
                // The server takes the columns by position, so they must be those that it was told.
                let told = target.metadata.columns.iter().map(|c| &c.name);
                if !metadata.columns.iter().map(|c| &c.name).eq(told) {
                    return Err(SessionError::Request(Malformed::of(
                        "bulk load: its columns are not those of its INSERT BULK",
                    )));
                }
                self.columns = metadata
                    .columns
                    .iter()
                    .zip(&target.metadata.columns)
                    .map(|(column, to)| load_column(column, to, target))
                    .collect::<Result<_, _>>()?;
                self.encodings = self.columns.iter().map(|c| c.encoding).collect();
                self.drafts.resize_with(self.columns.len(), Vec::new);
                metadata.write_for_bulk(
                    &target.metadata.ceks,
                    |name| target.encrypted_column(name),
                    &mut out,
                );
                reader.position()
            }
        };
        self.inbox.consume(consumed);
        self.outbox.extend(&out);
        self.begun = true;
        Ok(true)
    }

    /// One token of the load; `false` while it has not arrived in full.
    fn token(&mut self) -> Result<bool, SessionError> {
        let bytes = self.inbox.as_slice();
        let Some(&token) = bytes.first() else { return Ok(false) };
        let len = match token {
            token_id::ROW | token_id::NBCROW => {
                let found = self.scanner.advance(&self.encodings, bytes);
                let Some(len) = found.map_err(SessionError::Request)? else { return Ok(false) };
                self.row(len)?;
                self.scanner.reset();
                len
            }
            _ => match token_len(bytes).map_err(SessionError::Request)? {
                TokenLen::Known(len) if bytes.len() >= len => {
                    self.outbox.extend(bytes.get(..len).unwrap_or_default());
                    len
                }
                TokenLen::Known(_) | TokenLen::Incomplete => return Ok(false),
                TokenLen::Structured => {
                    return Err(SessionError::Request(Malformed::of("token in a bulk load")));
                }
            },
        };
        self.inbox.consume(len);
        Ok(true)
    }

    /// Writes a row with plaintexts where its cells will be.
    fn row(&mut self, len: usize) -> Result<(), SessionError> {
        let row = self.inbox.as_slice().get(..len).unwrap_or_default();
        let bitmap = match row.first() {
            Some(&token_id::NBCROW) => self.columns.len().div_ceil(8),
            _ => 0,
        };
        let waiting = self.outbox.len();
        // A cell is at most so much longer than the value; other values pass as they are.
        let out = self.outbox.spare(len + (MAX_OVERHEAD + 32) * self.columns.len());
        let consumed = out.len() - waiting;
        out.extend_from_slice(row.get(..1 + bitmap).unwrap_or_default());
        let columns = self.columns.iter().zip(&mut self.drafts);
        for ((column, drafts), value) in columns.zip(self.scanner.values()) {
            match (&column.encrypted, *value) {
                (_, ValueRange::NullByBitmap) => {}
                (None, ValueRange::Null) => write_null(column.encoding, out),
                (None, ValueRange::At { start, end }) => {
                    out.extend_from_slice(row.get(start..end).unwrap_or_default());
                }
                (Some(encrypted), ValueRange::Null) => write_null(encrypted.encoding, out),
                (Some(encrypted), ValueRange::At { start, end }) => {
                    let encoded = row.get(start..end).unwrap_or_default();
                    let mut draft = encrypted.draft(column, encoded, &mut self.scratch, out)?;
                    draft.start -= consumed;
                    drafts.push(draft);
                }
            }
        }
        Ok(())
    }

    /// Makes cells of the plaintexts in the outbox, those of a column together.
    fn encrypt(&mut self) -> Result<(), SessionError> {
        for (column, drafts) in self.columns.iter().zip(&mut self.drafts) {
            let Some(encrypted) = &column.encrypted else { continue };
            let (mut rest, mut before) = (self.outbox.as_mut_slice(), 0);
            let mut cells = Vec::with_capacity(drafts.len());
            for Draft { start, plaintext_len } in drafts.drain(..) {
                let end = start + encrypted_len(plaintext_len);
                let split = std::mem::take(&mut rest).split_at_mut_checked(end - before);
                let (head, tail) = split.unwrap_or_default();
                let cell = head.get_mut(start - before..).unwrap_or_default();
                cells.push(CellToEncrypt::in_place(plaintext_len, cell));
                (rest, before) = (tail, end);
            }
            encrypted.key.encrypt_batch(&mut cells, encrypted.encryption_type);
            for cell in &cells {
                cell.written().map_err(|source| SessionError::Encrypt {
                    target: format!("column {}", column.name),
                    source,
                })?;
            }
        }
        Ok(())
    }

    fn send(&mut self, end: bool, room: usize, to_server: &mut WipedBuffer) {
        to_server.spare(self.outbox.len() + (self.outbox.len() / room + 1) * HEADER_LEN);
        while self.outbox.len() > room || end {
            let len = self.outbox.len().min(room);
            let last = end && len == self.outbox.len();
            let status = if last { Status::END_OF_MESSAGE } else { Status(0) };
            self.packets = self.packets.wrapping_add(1);
            let packet = self.outbox.as_slice().get(..len).unwrap_or_default();
            push_packet(PacketType::BulkLoad, status, self.packets, packet, to_server);
            self.outbox.consume(len);
            if last {
                return;
            }
        }
    }

    /// Ends the message so that the server ignores it.
    pub(super) fn take_back(&mut self, to_server: &mut WipedBuffer) {
        let status = Status(Status::END_OF_MESSAGE.0 | Status::IGNORE);
        self.packets = self.packets.wrapping_add(1);
        push_packet(PacketType::BulkLoad, status, self.packets, &[], to_server);
    }
}

impl Encrypted {
    /// Appends a value with its plaintext where its cell will be. `out` has room for all of it.
    fn draft(
        &self,
        column: &LoadColumn,
        encoded: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<Draft, SessionError> {
        let no_value = |source| SessionError::Parameter {
            name: format!("for column {}", column.name),
            source,
        };
        let is_its_own = self.sql_type.is_variable_length();
        let normal_form = scratch.emptied(self.sql_type.normal_form_len(0));
        let plaintext_len = if is_its_own {
            value_data_len(column.encoding, encoded)
        } else {
            let data = value_data_slice(column.encoding, encoded);
            let data = data.ok_or(SessionError::Request(Malformed::of("value")))?;
            normalize(self.sql_type, data, normal_form).map_err(no_value)?;
            normal_form.len()
        };
        let len = encrypted_len(plaintext_len);
        write_value_head(self.encoding, len, out).map_err(SessionError::Request)?;
        let start = out.len();
        out.resize(start + PLAINTEXT_OFFSET, 0);
        if is_its_own {
            value_data(column.encoding, encoded, out).map_err(SessionError::Request)?;
            let data = out.get(start + PLAINTEXT_OFFSET..).unwrap_or_default();
            normalized_in_place(self.sql_type, data).map_err(no_value)?;
        } else {
            out.extend_from_slice(normal_form);
        }
        out.resize(start + len, 0);
        write_value_tail(self.encoding, out);
        Ok(Draft { start, plaintext_len })
    }
}

fn load_column(
    column: &Column,
    to: &Column,
    target: &BulkTarget,
) -> Result<LoadColumn, SessionError> {
    let encrypted = match &to.crypto {
        None => None,
        Some(crypto) => {
            let malformed = || SessionError::ServerMalformed(Malformed::of("encrypted column"));
            let sql_type = crypto.base_type.sql_type().ok_or_else(malformed)?;
            let sent = column.type_info.sql_type();
            if !lies_as(sent, sql_type) {
                return Err(SessionError::ParameterMismatch {
                    name: format!("for column {}", column.name),
                    declared: sql_type,
                    sent: sent.map_or_else(|| "another type".to_owned(), |t| t.to_string()),
                });
            }
            let key = target.keys.get(usize::from(crypto.cek_ordinal)).cloned().flatten();
            Some(Encrypted {
                sql_type,
                encryption_type: crypto.encryption_type,
                encoding: to.type_info.encoding(),
                key: key.ok_or_else(malformed)?,
            })
        }
    };
    Ok(LoadColumn { name: column.name.clone(), encoding: column.type_info.encoding(), encrypted })
}

fn cut() -> SessionError {
    SessionError::Request(Malformed::of("bulk load: it ends too early"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::{Cek, IvSource, RandomFailed, random::faults::after},
        value::Length,
    };

    const ROOM: usize = 4096 - HEADER_LEN;
    const NO_METADATA: [u8; 3] = [token_id::COLMETADATA, 0xFF, 0xFF];

    /// A load that has begun, of one randomized column.
    fn load() -> BulkLoad {
        let key = CellKey::new(&Cek::from([7; 32])).with_ivs_from(IvSource::OperatingSystem);
        let encrypted = Encrypted {
            sql_type: SqlType::VarBinary(Length::Bounded(100)),
            encryption_type: EncryptionType::Randomized,
            encoding: ValueEncoding::UShortLen,
            key: Arc::new(key),
        };
        BulkLoad {
            target: Some(BulkTarget {
                metadata: ColMetadata::read(&mut Reader::new(&NO_METADATA)).unwrap(),
                keys: Vec::new(),
            }),
            columns: vec![LoadColumn {
                name: "Content".into(),
                encoding: ValueEncoding::UShortLen,
                encrypted: Some(encrypted),
            }],
            encodings: vec![ValueEncoding::UShortLen],
            drafts: vec![Vec::new()],
            begun: true,
            ..BulkLoad::default()
        }
    }

    fn rows(secret: &[u8], count: usize) -> Vec<u8> {
        let row = [&[token_id::ROW, secret.len() as u8, 0], secret].concat();
        row.repeat(count)
    }

    #[test]
    fn without_randomness_in_the_middle_of_a_load_nothing_more_of_it_is_sent() {
        const SECRET: &[u8] = b"the plan is to meet at dawn";
        let (mut load, mut to_server) = (load(), WipedBuffer::default());
        // The generator answers once a packet.
        let (second, asked) = after(1, || {
            load.pass(&rows(SECRET, 50), false, ROOM, &mut to_server).unwrap();
            let sent = to_server.len();
            assert!(sent > 0, "the first rows are sent");
            let second = load.pass(&rows(SECRET, 50), true, ROOM, &mut to_server);
            assert_eq!(to_server.len(), sent, "something was sent without an IV");
            second
        });
        assert!(asked);
        match second {
            Err(SessionError::Encrypt { target, source }) => {
                assert_eq!((target.as_str(), source), ("column Content", RandomFailed.into()));
            }
            other => panic!("{other:?}"),
        }
        load.take_back(&mut to_server);
        let sent = to_server.as_slice();
        assert!(!sent.windows(SECRET.len()).any(|bytes| bytes == SECRET));
        assert_eq!(sent.len() % 4096, HEADER_LEN, "whole packets of cells and one that takes back");
    }
}
