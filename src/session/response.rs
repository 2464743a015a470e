//! Rewriting a response: CEK tables vanish, encrypted columns take on the type of their plaintext,
//! cells are decrypted row by row.
//!
//! A response is worked on in units of the server's packets, so that the output depends on what
//! arrived and never on how it was cut on its way. Memory is bounded by one row and one packet.

use std::{collections::VecDeque, sync::Arc};

use zeroize::Zeroizing;

use super::{
    SessionError,
    outputs::Outputs,
    prepared::{Effect, Returned},
    repeat::Repeat,
    scratch::Scratch,
    totals::Totals,
};
use crate::{
    crypto::CellKey,
    keystore::EncryptedCekValue,
    tds::{
        AltMetadata, ColMetadata, CryptoMetadata, Done, EnvChange, Malformed, Reader, ReturnValue,
        RowScanner, ServerError, TokenLen, TypeInfo, ValueEncoding, ValueRange, WipedBuffer,
        alt_row_id, collation_is_utf8, done_status, token_id, token_len, value_data_in_place,
        write_null, write_value,
    },
    value::{Length, SqlType, ValueError, denormalize, denormalized_in_place},
};

/// No token but a row is longer than this in an honest response. A CEK table with 65,535 keys would
/// be, and nobody has one.
const MAX_TOKEN: usize = 16 * 1024 * 1024;

/// The longest padded value of a fixed-length type, and the length fields of a long one.
const MAX_LENGTH_FIELDS: usize = 8000 + 16;

/// What the response needs before it can go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More bytes from the server.
    Bytes,
    /// The key at that index of the current CEK table, for that column.
    Key { cek: usize, column: String },
    /// Nothing of it has been passed on, and the server says that its metadata has changed
    /// (error 33514).
    Stale,
}

/// A change that concerns the whole connection.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) database: Option<String>,
    pub(super) packet_size: Option<usize>,
    pub(super) collation: Option<[u8; 5]>,
    /// Whether a transaction is open now.
    pub(super) transaction: Option<bool>,
}

/// An encrypted column as the application sees it.
struct Shown {
    crypto: CryptoMetadata,
    sql_type: SqlType,
    type_info: TypeInfo,
    /// Text of a UTF-8 collation is shown as nvarchar: not every driver knows such collations.
    transcode: bool,
}

impl Shown {
    fn of(crypto: &CryptoMetadata) -> Result<Self, Malformed> {
        // COLMETADATA with another type has been refused when it was read.
        let sql_type =
            crypto.base_type.sql_type().ok_or(Malformed::of("type of an encrypted column"))?;
        let utf8 = crypto.base_type.collation().is_some_and(collation_is_utf8);
        let transcode = utf8 && matches!(sql_type, SqlType::Char(_) | SqlType::VarChar(_));
        let collation = crypto.base_type.collation().unwrap_or_default();
        let shown_type = match sql_type {
            // A code unit of UTF-16 stands for at least one byte of UTF-8.
            SqlType::Char(n) | SqlType::VarChar(Length::Bounded(n)) if transcode && n <= 4000 => {
                SqlType::NVarChar(Length::Bounded(n))
            }
            SqlType::Char(_) | SqlType::VarChar(_) if transcode => SqlType::NVarChar(Length::Max),
            other => other,
        };
        let type_info = TypeInfo::of(shown_type, collation);
        Ok(Self { crypto: crypto.clone(), sql_type, type_info, transcode })
    }

    /// How much longer than its cell a value of the column can come out.
    fn most_padding(&self) -> usize {
        match self.sql_type {
            SqlType::Char(_) | SqlType::NChar(_) | SqlType::Binary(_) => {
                self.sql_type.max_normal_form_len()
            }
            _ => 0,
        }
    }

    /// Decrypts a cell where it stands and appends the value as the application's type encodes it.
    /// `clear` is a buffer to work in.
    fn decrypt(
        &self,
        key: &CellKey,
        cell: &mut [u8],
        (column, values): (&str, &[EncryptedCekValue]),
        clear: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        let plaintext = key.decrypt_in_place(cell).map_err(|source| {
            let first = values.first();
            SessionError::Cell {
                column: column.to_owned(),
                provider: first.map(|v| v.provider_name.clone()).unwrap_or_default(),
                key_path: first.map(|v| v.key_path.clone()).unwrap_or_default(),
                source,
            }
        })?;
        let normal_form = cell.get(plaintext).unwrap_or_default();
        let no_value = |source| SessionError::CellValue { column: column.to_owned(), source };
        let in_place = denormalized_in_place(self.sql_type, normal_form).map_err(no_value)?;
        let data = match in_place {
            Some(data) => data,
            None => {
                let data = clear.emptied(self.sql_type.data_len(normal_form.len()));
                denormalize(self.sql_type, normal_form, data).map_err(no_value)?;
                data
            }
        };
        let encoding = self.type_info.encoding();
        let written = if self.transcode {
            let text = utf8_to_utf16(data)
                .ok_or_else(|| no_value(ValueError::InvalidUtf8 { sql_type: self.sql_type }))?;
            write_value(encoding, Some(&text), out)
        } else {
            write_value(encoding, Some(data), out)
        };
        written.map_err(SessionError::ServerMalformed)
    }
}

/// SQL Server would not have stored bytes that are no UTF-8; a client may have. They are refused and
/// not replaced.
fn utf8_to_utf16(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut out = Zeroizing::new(Vec::with_capacity(2 * text.len()));
    out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    Some(out)
}

/// A response on its way through.
pub(super) struct Response {
    /// The payload that has arrived and is not worked off.
    inbox: WipedBuffer,
    /// The payload for the application.
    outbox: WipedBuffer,
    metadata: ColMetadata,
    encodings: Vec<ValueEncoding>,
    shown: Vec<Option<Shown>>,
    keys: Vec<Option<Arc<CellKey>>>,
    totals: Totals,
    scanner: RowScanner,
    /// For values that are not their own normal form.
    scratch: Scratch,
    /// Of each call that is still to come.
    outputs: VecDeque<Outputs>,
    /// Values that may be the handles of what the request prepares.
    returned: Returned,
    /// Whether cells are shown as they are stored.
    ciphertext: bool,
    environment: Environment,
    /// Whether anything has been passed on, after which a request is not tried again.
    started: bool,
    /// How long the inbox must be before half a token is looked at again.
    look_again_at: usize,
    /// What may lead to a second try.
    may_retry: Repeat,
    /// Whether the rest is only walked to its end: after a failure, or for a cancelled request.
    discarding: Discard,
    /// Whether the last DONE answers an attention.
    attention_acknowledged: bool,
    /// The server said that a parameter's encryption is not what we took it for.
    metadata_doubted: bool,
}

/// What becomes of tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Discard {
    Nothing,
    /// An error of ours has been written in their place.
    AfterError,
    /// They belong to a request that the application has cancelled.
    Cancelled,
    /// They belong to a request that will be sent again.
    Retry,
    /// They belong to a request that we have called off, and the error is written already.
    CalledOff,
}

impl Response {
    pub(super) fn new(outputs: Vec<Outputs>) -> Self {
        Self {
            inbox: WipedBuffer::default(),
            outbox: WipedBuffer::default(),
            metadata: ColMetadata::default(),
            encodings: Vec::new(),
            shown: Vec::new(),
            keys: Vec::new(),
            totals: Totals::default(),
            scanner: RowScanner::default(),
            scratch: Scratch::default(),
            outputs: outputs.into(),
            returned: Returned::default(),
            ciphertext: false,
            environment: Environment::default(),
            started: false,
            look_again_at: 0,
            may_retry: Repeat::Never,
            discarding: Discard::Nothing,
            attention_acknowledged: false,
            metadata_doubted: false,
        }
    }

    /// A request may be sent again if it turns out to rest on what is out of date.
    pub(super) fn may_retry(&mut self, repeat: Repeat) {
        self.may_retry = repeat;
    }

    /// Something was done after all: what has happened is passed on.
    fn give_up_retry(&mut self) {
        if self.discarding == Discard::Retry {
            self.discarding = Discard::Nothing;
            self.started = true;
        }
    }

    /// Looks out for the handles of what the request prepares.
    pub(super) fn expect_handles(&mut self, effects: &[Effect]) {
        self.returned = Returned::to(effects);
    }

    pub(super) fn take_returned(&mut self) -> Returned {
        std::mem::take(&mut self.returned)
    }

    /// Shows cells as they are stored.
    pub(super) fn show_ciphertext(&mut self) {
        self.ciphertext = true;
    }

    /// Takes the payload of one packet of the server's.
    pub(super) fn receive(&mut self, payload: &[u8]) {
        self.inbox.extend(payload);
    }

    /// The payload for the application so far.
    pub(super) fn outbox(&mut self) -> &mut WipedBuffer {
        &mut self.outbox
    }

    /// Changes of the environment since the last call.
    pub(super) fn take_environment(&mut self) -> Environment {
        std::mem::take(&mut self.environment)
    }

    /// Whether a token is only half there.
    pub(super) fn has_rest(&self) -> bool {
        !self.inbox.is_empty()
    }

    pub(super) fn attention_acknowledged(&self) -> bool {
        self.attention_acknowledged
    }

    pub(super) fn metadata_doubted(&self) -> bool {
        self.metadata_doubted
    }

    /// The encrypted values of a key of the current result set.
    pub(super) fn cek_values(&self, cek: usize) -> &[EncryptedCekValue] {
        self.metadata.ceks.get(cek).map(|c| c.values.as_slice()).unwrap_or_default()
    }

    /// Gives the response the key that it asked for.
    pub(super) fn set_key(&mut self, cek: usize, key: Arc<CellKey>) {
        if let Some(slot) = self.keys.get_mut(cek) {
            *slot = Some(key);
        }
    }

    /// Walks to the end without passing on what the application has cancelled. What has been worked
    /// off is delivered: there may be changes of the environment in it.
    pub(super) fn cancel(&mut self) {
        self.discarding = Discard::Cancelled;
    }

    /// Whether the rest is walked over because the request is to be sent again, and may be: nothing
    /// but errors has come of it.
    pub(super) fn asks_for_retry(&self) -> bool {
        self.discarding == Discard::Retry
    }

    /// Whether an error of ours stands where the end of the response belongs.
    pub(super) fn lacks_its_end(&self) -> bool {
        matches!(self.discarding, Discard::AfterError | Discard::CalledOff)
            && !self.attention_acknowledged
            || self.discarding == Discard::CalledOff
    }

    /// Walks to the end without passing anything on but an error of ours: we have cancelled.
    pub(super) fn call_off(&mut self, error_token: &[u8]) {
        self.fail(error_token);
        self.discarding = Discard::CalledOff;
    }

    pub(super) fn is_called_off(&self) -> bool {
        self.discarding == Discard::CalledOff
    }

    /// Puts an error of ours in place of the rest. Its DONE comes at the end of the message.
    pub(super) fn fail(&mut self, error_token: &[u8]) {
        self.outbox.extend(error_token);
        self.started = true;
        self.discarding = Discard::AfterError;
    }

    /// Works off what has arrived, as far as possible. `at_end` says that no more will come.
    pub(super) fn process(&mut self, at_end: bool) -> Result<Progress, SessionError> {
        while let Some(&token) = self.inbox.as_slice().first() {
            // Half a structure is read from its beginning each time, so not at every packet.
            if self.inbox.len() < self.look_again_at && !at_end {
                break;
            }
            if matches!(
                token,
                token_id::COLMETADATA
                    | token_id::ALTMETADATA
                    | token_id::ROW
                    | token_id::NBCROW
                    | token_id::ALTROW
                    | token_id::RETURNVALUE
            ) {
                self.give_up_retry();
            }
            let found = token_len(self.inbox.as_slice()).map_err(SessionError::ServerMalformed)?;
            match found {
                TokenLen::Incomplete => break,
                TokenLen::Known(len) if len > MAX_TOKEN => return Err(too_long()),
                TokenLen::Known(len) => {
                    if self.inbox.len() < len {
                        break;
                    }
                    if self.plain_token(token, len)? {
                        return Ok(Progress::Stale);
                    }
                }
                TokenLen::Structured => {
                    let progress = match token {
                        token_id::COLMETADATA => self.col_metadata()?,
                        token_id::ALTMETADATA => self.alt_metadata()?,
                        token_id::ALTROW => self.alt_row()?,
                        token_id::RETURNVALUE => self.return_value()?,
                        token_id::ROW | token_id::NBCROW => match self.row()? {
                            RowProgress::Done => true,
                            RowProgress::Bytes => false,
                            RowProgress::Key(progress) => return Ok(progress),
                        },
                        _ => return Err(malformed("FEATUREEXTACK outside of a login")),
                    };
                    if !progress {
                        // The scanner remembers how far it has come in a row.
                        if !matches!(token, token_id::ROW | token_id::NBCROW | token_id::ALTROW) {
                            self.look_again_at = 2 * self.inbox.len();
                        }
                        break;
                    }
                    self.look_again_at = 0;
                }
            }
        }
        Ok(Progress::Bytes)
    }

    /// A token that passes as it is, once it has been looked at. `true` is a stale description.
    fn plain_token(&mut self, token: u8, len: usize) -> Result<bool, SessionError> {
        let bytes = self.inbox.as_slice().get(..len).unwrap_or_default();
        match token {
            token_id::ENVCHANGE => {
                match EnvChange::read(bytes).map_err(SessionError::ServerMalformed)? {
                    EnvChange::Database(name) => self.environment.database = Some(name),
                    EnvChange::PacketSize(size) => self.environment.packet_size = Some(size),
                    EnvChange::Collation(c) => self.environment.collation = Some(c),
                    EnvChange::Transaction { open } => {
                        self.environment.transaction = Some(open);
                        self.give_up_retry();
                    }
                    EnvChange::Routing | EnvChange::Other => {}
                }
            }
            token_id::ERROR => {
                const OPERAND_TYPE_CLASH: u32 = 206;
                const STALE_METADATA: u32 = 33514;
                let error = ServerError::read(bytes).map_err(SessionError::ServerMalformed)?;
                let untouched = self.discarding == Discard::Nothing && !self.started;
                let stale = match self.may_retry {
                    Repeat::Never => false,
                    Repeat::Stale => error.number == STALE_METADATA,
                    Repeat::Clash => matches!(error.number, OPERAND_TYPE_CLASH | STALE_METADATA),
                };
                // What a procedure's body or a trigger says, it says after it has begun.
                if stale && untouched && error.procedure.is_empty() {
                    self.discarding = Discard::Retry;
                    // It stays where it is and is walked over next.
                    return Ok(true);
                }
                self.metadata_doubted |=
                    matches!(error.number, OPERAND_TYPE_CLASH | STALE_METADATA);
            }
            token_id::DONE | token_id::DONEPROC | token_id::DONEINPROC => {
                let done = Done::read(bytes).map_err(SessionError::ServerMalformed)?;
                self.attention_acknowledged = done.acknowledges_attention();
                if done.status & done_status::COUNT != 0 {
                    self.give_up_retry();
                }
                if token == token_id::DONEPROC {
                    self.returned.call_ended();
                    if self.outputs.len() > 1 {
                        self.outputs.pop_front();
                    }
                }
            }
            _ => {}
        }
        let passes = match self.discarding {
            Discard::Nothing => true,
            // The application waits for this one whatever else happened.
            Discard::AfterError | Discard::Cancelled => self.attention_acknowledged,
            // Kept until the end: if the request cannot be sent again, they are what happened.
            Discard::Retry => true,
            Discard::CalledOff => false,
        };
        // Changes of the environment must reach the driver even then: its transaction descriptor
        // and packet size depend on them.
        let passes = passes || token == token_id::ENVCHANGE;
        if passes {
            self.outbox.extend(self.inbox.as_slice().get(..len).unwrap_or_default());
            self.started |= self.discarding != Discard::Retry;
        }
        self.inbox.consume(len);
        Ok(false)
    }

    fn col_metadata(&mut self) -> Result<bool, SessionError> {
        let mut reader = Reader::new(self.inbox.as_slice());
        let read = ColMetadata::read(&mut reader);
        let Some(metadata) = self.arrived(read)? else { return Ok(false) };
        let len = reader.position();
        let metadata = if self.ciphertext { metadata.as_stored() } else { metadata };
        self.encodings.clear();
        self.encodings.extend(metadata.columns.iter().map(|c| c.type_info.encoding()));
        self.shown = metadata
            .columns
            .iter()
            .map(|c| c.crypto.as_ref().map(Shown::of).transpose())
            .collect::<Result<_, _>>()
            .map_err(SessionError::ServerMalformed)?;
        self.keys = vec![None; metadata.ceks.len()];
        self.metadata = metadata;
        self.totals.clear();
        self.scanner.reset();
        if self.discarding == Discard::Nothing {
            let mut out = Vec::new();
            let mut shown = self.shown.iter().flatten();
            self.metadata.write_decrypted(
                |crypto| {
                    let of = shown.next();
                    of.map_or_else(|| crypto.base_type.clone(), |s| s.type_info.clone())
                },
                &mut out,
            );
            self.outbox.extend(&out);
            self.started = true;
        }
        self.inbox.consume(len);
        Ok(true)
    }

    /// Metadata, or `None` while they have not arrived in full.
    fn arrived<T>(&self, read: Result<T, Malformed>) -> Result<Option<T>, SessionError> {
        match read {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.incomplete && self.inbox.len() <= MAX_TOKEN => Ok(None),
            Err(error) if error.incomplete => Err(too_long()),
            Err(error) => Err(SessionError::ServerMalformed(error)),
        }
    }

    fn alt_metadata(&mut self) -> Result<bool, SessionError> {
        let mut reader = Reader::new(self.inbox.as_slice());
        let read = AltMetadata::read(&mut reader);
        let Some(metadata) = self.arrived(read)? else { return Ok(false) };
        let len = reader.position();
        self.totals.expect(metadata)?;
        self.pass(len);
        Ok(true)
    }

    fn alt_row(&mut self) -> Result<bool, SessionError> {
        let row = self.inbox.as_slice();
        let Some(id) = alt_row_id(row) else { return Ok(false) };
        let scanned = self.scanner.advance(self.totals.of(id)?, row);
        let Some(len) = scanned.map_err(SessionError::ServerMalformed)? else { return Ok(false) };
        self.pass(len);
        self.scanner.reset();
        Ok(true)
    }

    /// A structure in which nothing is encrypted.
    fn pass(&mut self, len: usize) {
        if self.discarding == Discard::Nothing {
            self.outbox.extend(self.inbox.as_slice().get(..len).unwrap_or_default());
            self.started = true;
        }
        self.inbox.consume(len);
    }

    fn row(&mut self) -> Result<RowProgress, SessionError> {
        if self.metadata.columns.is_empty() {
            return Err(malformed("row without columns"));
        }
        let row = self.inbox.as_slice();
        let scanned = self.scanner.advance(&self.encodings, row);
        let Some(len) = scanned.map_err(SessionError::ServerMalformed)? else {
            return Ok(RowProgress::Bytes);
        };
        if self.discarding == Discard::Nothing {
            if let Some(progress) = self.missing_key() {
                return Ok(RowProgress::Key(progress));
            }
            if self.shown.iter().any(Option::is_some) {
                self.decrypt_row(len)?;
            } else {
                self.outbox.extend(self.inbox.as_slice().get(..len).unwrap_or_default());
            }
            self.started = true;
        }
        self.inbox.consume(len);
        self.scanner.reset();
        Ok(RowProgress::Done)
    }

    /// A key that the row needs and that nobody has asked for. Columns that are NULL need none, so
    /// one key that is not to be had does not take other columns with it.
    fn missing_key(&self) -> Option<Progress> {
        let columns = self.metadata.columns.iter().zip(&self.shown).zip(self.scanner.values());
        for ((column, shown), value) in columns {
            let (Some(shown), ValueRange::At { .. }) = (shown, value) else { continue };
            let cek = usize::from(shown.crypto.cek_ordinal);
            if !self.keys.get(cek).is_some_and(Option::is_some) {
                return Some(Progress::Key { cek, column: column.name.clone() });
            }
        }
        None
    }

    /// Writes the row with its cells decrypted, or nothing of it. The cells are decrypted where they
    /// have arrived.
    fn decrypt_row(&mut self, len: usize) -> Result<(), SessionError> {
        let written = self.outbox.len();
        let decrypted = self.write_decrypted_row(len);
        if decrypted.is_err() {
            self.outbox.truncate(written);
        }
        decrypted
    }

    fn write_decrypted_row(&mut self, len: usize) -> Result<(), SessionError> {
        let row = self.inbox.as_mut_slice().get_mut(..len).unwrap_or_default();
        let bitmap = match row.first() {
            Some(&token_id::NBCROW) => self.encodings.len().div_ceil(8),
            _ => 0,
        };
        // A decrypted row is shorter than the encrypted one: every cell has 49 bytes and more to
        // lose, and only fixed-length strings and the length fields to gain. UTF-8 becomes UTF-16.
        let shown = || self.shown.iter().flatten();
        let padding: usize = shown().map(Shown::most_padding).sum();
        let doubled = 1 + usize::from(shown().any(|s| s.transcode));
        let out = self.outbox.spare(doubled * (len + padding));
        out.extend_from_slice(row.get(..1 + bitmap).unwrap_or_default());
        for (index, value) in self.scanner.values().iter().enumerate() {
            let shown = self.shown.get(index).and_then(Option::as_ref);
            match (shown, *value) {
                (_, ValueRange::NullByBitmap) => {}
                (Some(shown), ValueRange::Null) => {
                    write_value(shown.type_info.encoding(), None, out)
                        .map_err(SessionError::ServerMalformed)?;
                }
                (None, ValueRange::Null) => {
                    let encoding = self.encodings.get(index).copied();
                    let encoding = encoding.unwrap_or(ValueEncoding::ByteLen);
                    write_null(encoding, out);
                }
                (None, ValueRange::At { start, end }) => {
                    out.extend_from_slice(row.get(start..end).unwrap_or_default());
                }
                (Some(shown), ValueRange::At { start, end }) => {
                    let encoded = row.get_mut(start..end).unwrap_or_default();
                    let encoding = self.encodings.get(index).copied();
                    let encoding = encoding.unwrap_or(ValueEncoding::UShortLen);
                    let cell = value_data_in_place(encoding, encoded)
                        .map_err(SessionError::ServerMalformed)?;
                    let cek = usize::from(shown.crypto.cek_ordinal);
                    let Some(Some(key)) = self.keys.get(cek) else {
                        return Err(malformed("row: its key was not asked for"));
                    };
                    let name = self.metadata.columns.get(index).map(|c| c.name.as_str());
                    let values = self.metadata.ceks.get(cek).map(|c| c.values.as_slice());
                    let named = (name.unwrap_or_default(), values.unwrap_or_default());
                    shown.decrypt(key, cell, named, &mut self.scratch, out)?;
                }
            }
        }
        Ok(())
    }

    fn return_value(&mut self) -> Result<bool, SessionError> {
        let read = ReturnValue::read(self.inbox.as_slice());
        let Some(value) = read.map_err(SessionError::ServerMalformed)? else {
            return Ok(false);
        };
        let len = value.wire_len();
        if self.discarding == Discard::Nothing {
            // A head of at most 600 bytes, and what the value can grow to.
            let room = 600 + 2 * (len + MAX_LENGTH_FIELDS);
            let mut out = Zeroizing::new(Vec::with_capacity(room));
            match &value.crypto {
                None => out.extend_from_slice(self.inbox.as_slice().get(..len).unwrap_or_default()),
                Some(_) if self.ciphertext => {
                    value.write_stored(&mut out).map_err(SessionError::ServerMalformed)?;
                }
                Some(crypto) => {
                    let shown = Shown::of(crypto).map_err(SessionError::ServerMalformed)?;
                    self.decrypt_output(&value, &shown, &mut out)?;
                }
            }
            self.returned.value(&value);
            self.outbox.extend(&out);
            self.started = true;
        }
        self.inbox.consume(len);
        Ok(true)
    }

    /// There is no CEK table for output parameters: the key is that of the request's parameter.
    fn decrypt_output(
        &mut self,
        value: &ReturnValue,
        shown: &Shown,
        out: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        let name = match value.name.as_str() {
            "" => format!("number {}", value.ordinal()),
            name => name.to_owned(),
        };
        let unknown = || SessionError::UnknownOutput { name: name.clone() };
        let outputs = self.outputs.front_mut();
        let output = outputs.and_then(|o| o.take(&value.name, value.ordinal()));
        let output = output.ok_or_else(unknown)?;
        value.write_decrypted_head(&shown.type_info, out);
        let Some(cell) = &value.data else {
            return write_value(shown.type_info.encoding(), None, out)
                .map_err(SessionError::ServerMalformed);
        };
        let key = output.key.as_ref().ok_or_else(unknown)?;
        let mut cell = Zeroizing::new(cell.clone());
        let mut clear = Scratch::default();
        shown.decrypt(key, &mut cell, (&name, &output.values), &mut clear, out)
    }
}

enum RowProgress {
    Done,
    Bytes,
    Key(Progress),
}

fn malformed(what: &'static str) -> SessionError {
    SessionError::ServerMalformed(Malformed::of(what))
}

fn too_long() -> SessionError {
    malformed("token: longer than any honest one")
}

/// The token that tells the driver of an error of ours. A DONE must follow it.
pub(super) fn error_token(error: &SessionError, line: u32) -> Vec<u8> {
    let mut out = Vec::new();
    crate::tds::write_error(
        error.number(),
        &error.to_string(),
        SessionError::SERVER_NAME,
        line,
        &mut out,
    );
    out
}
