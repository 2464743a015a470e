//! Output parameters on their way back.

use zeroize::Zeroizing;

use super::{Discard, Response, Scratch, SessionError, Shown, shown::Named};
use crate::tds::{ReturnValue, WipedBuffer, write_value};

/// More than stands in front of a value: its name has at most 255 code units.
const MOST_OF_HEAD: usize = 600;

impl Response {
    pub(super) fn return_value(&mut self) -> Result<bool, SessionError> {
        let read = ReturnValue::read(self.inbox.as_slice());
        let Some(value) = read.map_err(SessionError::ServerMalformed)? else {
            return Ok(false);
        };
        let len = value.wire_len();
        if self.discarding == Discard::Nothing {
            let mut out = WipedBuffer::default();
            match &value.crypto {
                None => out.extend(self.inbox.as_slice().get(..len).unwrap_or_default()),
                Some(_) if self.ciphertext => {
                    let out = out.spare(MOST_OF_HEAD + len);
                    value.write_stored(out).map_err(SessionError::ServerMalformed)?;
                }
                Some(crypto) => {
                    let shown = Shown::of(crypto).map_err(SessionError::ServerMalformed)?;
                    self.decrypt_output(&value, &shown, &mut out)?;
                }
            }
            self.returned.value(&value);
            self.outbox.tail().extend(out.as_slice());
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
        out: &mut WipedBuffer,
    ) -> Result<(), SessionError> {
        let name = match value.name.as_str() {
            "" => format!("number {}", value.ordinal()),
            name => name.to_owned(),
        };
        let unknown = || SessionError::UnknownOutput { name: name.clone() };
        let outputs = self.outputs.front_mut();
        let output = outputs.and_then(|o| o.take(&value.name, value.ordinal()));
        let output = output.ok_or_else(unknown)?;
        let head = out.spare(MOST_OF_HEAD);
        value.write_decrypted_head(&shown.type_info, head);
        let Some(cell) = &value.data else {
            return write_value(shown.type_info.encoding(), None, head)
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
