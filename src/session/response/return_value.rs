//! Output parameters on their way back.

use zeroize::Zeroizing;

use super::{Discard, Response, Scratch, SessionError, Shown, shown::Named};
use crate::tds::{ReturnValue, write_value};

/// The longest padded value of a fixed-length type, and the length fields of a long one.
const MAX_LENGTH_FIELDS: usize = 8000 + 16;

impl Response {
    pub(super) fn return_value(&mut self) -> Result<bool, SessionError> {
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
            self.outbox.tail().extend(&out);
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
        shown.decrypt(
            key,
            &mut cell,
            Named { column: &name, values: &output.values },
            &mut clear,
            out,
        )
    }
}
