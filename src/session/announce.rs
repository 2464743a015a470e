//! The announcement of a bulk load: the server is asked for the columns, and told of ciphertext.

use super::{
    Session, SessionError, State,
    bulk::{Announced, BulkAnswer, BulkTarget},
    hint::{self, Hints},
    request::{Asking, NeededKey, Purpose, Question},
    respond::Responding,
    schema::Changes,
    upload::Held,
};
use crate::{
    policy::ColumnEncryption,
    tds::{InsertBulk, Malformed, PacketType, push_utf16, utf16_exact, utf16_lossy},
};

impl Session {
    /// A whole batch that may announce a bulk load.
    pub(super) fn begin_batch(&mut self, held: Held) {
        let payload = held.payload();
        let (headers, text) = split_batch(payload);
        let text_read = utf16_lossy(text);
        if !InsertBulk::begins(&text_read) {
            match responding_to(&text_read, self.config.column_encryption) {
                Ok(responding) => self.forward(held, responding),
                Err(error) => self.refuse(error),
            }
            return;
        }
        if self.config.column_encryption != ColumnEncryption::Enabled {
            self.bulk = Some(Announced::Plain);
            self.forward(held, Responding::default());
            return;
        }
        // What is asked about must be what is announced, to the letter.
        let statement = utf16_exact(text).and_then(|text| InsertBulk::parse(&text));
        let Some(statement) = statement else {
            self.refuse(SessionError::Request(Malformed::of("INSERT BULK")));
            return;
        };
        if statement.passes_ciphertext() {
            // Stated in so many words: what comes is ciphertext already.
            self.bulk = Some(Announced::Plain);
            self.forward(held, Responding::default());
            return;
        }
        let mut query = headers.to_vec();
        push_utf16(&statement.columns_query(), &mut query);
        let query_reset = self.take_reset();
        self.push_to_server(PacketType::SqlBatch, query_reset, query.into());
        let question = Question::Columns { held, statement };
        self.state = State::Asking(Asking { question, answer: Vec::new() });
    }

    /// The columns of a bulk load are known; keys may be missing.
    pub(super) fn columns_known(&mut self, held: Held, statement: InsertBulk, answer: &[u8]) {
        let metadata = match BulkAnswer::read(answer) {
            Ok(BulkAnswer::Columns(metadata)) => metadata,
            Ok(BulkAnswer::Refused(tokens)) => {
                self.refused_by_server(tokens);
                return;
            }
            Err(error) => {
                self.refuse(SessionError::Describe(error));
                return;
            }
        };
        // Every column of the load must have its verdict, by its name and in its place.
        let asked = statement.columns.iter().map(|(name, _)| name);
        if !asked.eq(metadata.columns.iter().map(|c| &c.name)) {
            let table = statement.table;
            self.refuse(SessionError::BulkColumns { table });
            return;
        }
        if !metadata.has_encrypted_columns() {
            self.bulk = Some(Announced::Plain);
            self.forward(held, Responding::default());
            return;
        }
        let mut needed: Vec<NeededKey> = Vec::new();
        for column in &metadata.columns {
            let Some(crypto) = &column.crypto else { continue };
            let cek = usize::from(crypto.cek_ordinal);
            if needed.iter().all(|((_, known), ..)| *known != cek) {
                let values = metadata.ceks.get(cek).map(|c| c.values.clone()).unwrap_or_default();
                needed.push(((0, cek), format!("column {}", column.name), values));
            }
        }
        self.fetch_keys(Purpose::Bulk { held, statement, metadata }, needed);
    }

    /// Announces the load with the types of the ciphertext.
    pub(super) fn announce_bulk(&mut self, held: Held, statement: &InsertBulk, target: BulkTarget) {
        let payload = held.payload();
        let mut message = split_batch(payload).0.to_vec();
        push_utf16(&target.announce(statement), &mut message);
        let reset = self.take_reset();
        self.push_to_server(PacketType::SqlBatch, reset, message.into());
        self.bulk = Some(Announced::Encrypted(target));
        self.state = State::Responding(Box::default());
    }
}

/// A batch has no parameters that could be encrypted, but it may have a setting for its results.
fn responding_to(text: &str, setting: ColumnEncryption) -> Result<Responding, SessionError> {
    let hints = Hints::of(text)?;
    if let Some(name) = hints.forced.first() {
        return Err(SessionError::PlainParameter { name: (*name).to_owned() });
    }
    let ciphertext = hints.encryption.unwrap_or(setting) == ColumnEncryption::Disabled;
    Ok(Responding::to_batch(Changes::of(text), ciphertext))
}

/// ALL_HEADERS and the text of a batch.
fn split_batch(payload: &[u8]) -> (&[u8], &[u8]) {
    let len = payload.first_chunk().map_or(0, |&n| u32::from_le_bytes(n) as usize);
    payload.split_at_checked(len).unwrap_or((&[], payload))
}

/// What becomes of a batch whose first packet has been seen.
pub(super) enum FirstLook {
    /// It may announce a bulk load or have something to say about its encryption.
    Hold,
    /// It passes as it comes.
    Pass { changes: Changes },
}

/// A batch of several packets is held until all of it can be read.
pub(super) fn first_look(payload: &[u8], whole: bool) -> FirstLook {
    let text = utf16_lossy(split_batch(payload).1);
    if !whole || InsertBulk::begins(&text) || hint::is_possible(&text) {
        return FirstLook::Hold;
    }
    FirstLook::Pass { changes: Changes::of(&text) }
}
