//! PRELOGIN and LOGIN7.

use crate::tds::cursor::{Cursor, Malformed, Read};
use crate::types::text;

/// PRELOGIN options (MS-TDS 2.2.6.5).
const VERSION: u8 = 0x00;
const ENCRYPTION: u8 = 0x01;
const INSTOPT: u8 = 0x02;
const THREADID: u8 = 0x03;
const MARS: u8 = 0x04;
const FEDAUTHREQUIRED: u8 = 0x06;
const TERMINATOR: u8 = 0xFF;

/// Values of the ENCRYPTION option.
pub(crate) const ENCRYPT_OFF: u8 = 0x00;
pub(crate) const ENCRYPT_ON: u8 = 0x01;
pub(crate) const ENCRYPT_NOT_SUP: u8 = 0x02;
pub(crate) const ENCRYPT_REQ: u8 = 0x03;

/// What this server says it is: SQL Server 2022.
pub(crate) const SERVER_VERSION: [u8; 4] = [16, 0, 0x10, 0x04];

/// Feature ids of FEATUREEXT (MS-TDS 2.2.6.4).
pub(crate) const FEATURE_COLUMNENCRYPTION: u8 = 0x04;
pub(crate) const FEATURE_UTF8_SUPPORT: u8 = 0x0A;
/// OptionFlags3: a feature extension block follows.
const F_EXTENSION: u8 = 0x10;
/// OptionFlags2: integrated authentication.
const F_INT_SECURITY: u8 = 0x80;

/// What a client's PRELOGIN asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prelogin {
    pub(crate) encryption: u8,
    thread_id: bool,
    fed_auth: bool,
}

pub(crate) fn read_prelogin(payload: &[u8]) -> Read<Prelogin> {
    let mut found = Prelogin { encryption: ENCRYPT_NOT_SUP, thread_id: false, fed_auth: false };
    let mut cursor = Cursor::new(payload);
    loop {
        let option = cursor.u8()?;
        if option == TERMINATOR {
            return Ok(found);
        }
        let offset = usize::from(u16::from_be_bytes(cursor.array()?));
        let length = usize::from(u16::from_be_bytes(cursor.array()?));
        let data = payload
            .get(offset..offset.saturating_add(length))
            .ok_or_else(|| Malformed("a PRELOGIN option lies outside its message".to_owned()))?;
        match option {
            ENCRYPTION => {
                found.encryption = *data
                    .first()
                    .ok_or_else(|| Malformed("an empty ENCRYPTION option".to_owned()))?;
            }
            THREADID => found.thread_id = true,
            FEDAUTHREQUIRED => found.fed_auth = true,
            _ => {}
        }
    }
}

/// The answer, with the encryption that has been decided.
pub(crate) fn write_prelogin(client: Prelogin, encryption: u8) -> Vec<u8> {
    let [major, minor, build_high, build_low] = SERVER_VERSION;
    let mut options: Vec<(u8, Vec<u8>)> = vec![
        (VERSION, vec![major, minor, build_high, build_low, 0, 0]),
        (ENCRYPTION, vec![encryption]),
        (INSTOPT, vec![0]),
    ];
    // Empty, and not the last, as from SQL Server: go-mssqldb takes no option that begins where the message ends.
    if client.thread_id {
        options.push((THREADID, Vec::new()));
    }
    options.push((MARS, vec![0]));
    if client.fed_auth {
        options.push((FEDAUTHREQUIRED, vec![0]));
    }
    let mut offset = options.len() * 5 + 1;
    let (mut head, mut data) = (Vec::new(), Vec::new());
    for (option, value) in options {
        head.push(option);
        head.extend_from_slice(&u16::try_from(offset).unwrap_or(u16::MAX).to_be_bytes());
        head.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        offset += value.len();
        data.extend_from_slice(&value);
    }
    head.push(TERMINATOR);
    head.extend_from_slice(&data);
    head
}

/// What this server reads of LOGIN7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) tds_version: u32,
    pub(crate) packet_size: u32,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) application: String,
    pub(crate) database: String,
    pub(crate) integrated: bool,
    /// Feature ids with their data, in the order of the client.
    pub(crate) features: Vec<(u8, Vec<u8>)>,
}

/// Before the table of offsets: length, TDS version, packet size, program version, PID, connection id, four bytes of
/// flags, time zone and LCID.
const FIXED_BEFORE_OFFSETS: usize = 36;

pub(crate) fn read_login(payload: &[u8]) -> Read<Login> {
    let mut cursor = Cursor::new(payload);
    cursor.bytes(4)?;
    let tds_version = cursor.u32()?;
    let packet_size = cursor.u32()?;
    cursor.bytes(13)?;
    let flags2 = cursor.u8()?;
    cursor.u8()?;
    let flags3 = cursor.u8()?;
    let mut table = Cursor::new(payload);
    table.bytes(FIXED_BEFORE_OFFSETS)?;
    let mut field =
        || -> Read<(usize, usize)> { Ok((usize::from(table.u16()?), usize::from(table.u16()?))) };
    let _host = field()?;
    let user = field()?;
    let password = field()?;
    let application = field()?;
    let _server = field()?;
    let extension = field()?;
    let _library = field()?;
    let _language = field()?;
    let database = field()?;
    let features =
        if flags3 & F_EXTENSION != 0 { read_features(payload, extension.0)? } else { Vec::new() };
    Ok(Login {
        tds_version,
        packet_size,
        user: text_at(payload, user)?,
        password: password_at(payload, password)?,
        application: text_at(payload, application)?,
        database: text_at(payload, database)?,
        integrated: flags2 & F_INT_SECURITY != 0,
        features,
    })
}

fn slice_at(payload: &[u8], (offset, units): (usize, usize)) -> Read<&[u8]> {
    payload
        .get(offset..offset.saturating_add(units.saturating_mul(2)))
        .ok_or_else(|| Malformed("a LOGIN7 field lies outside its message".to_owned()))
}

fn text_at(payload: &[u8], field: (usize, usize)) -> Read<String> {
    slice_at(payload, field).map(text::from_utf16le)
}

/// Each byte has been nibble-swapped and then combined with 0xA5.
fn password_at(payload: &[u8], field: (usize, usize)) -> Read<String> {
    let plain: Vec<u8> =
        slice_at(payload, field)?.iter().map(|byte| (byte ^ 0xA5).rotate_left(4)).collect();
    Ok(text::from_utf16le(&plain))
}

fn read_features(payload: &[u8], pointer: usize) -> Read<Vec<(u8, Vec<u8>)>> {
    let outside = || Malformed("the feature extension lies outside its message".to_owned());
    let offset = Cursor::new(payload.get(pointer..).ok_or_else(outside)?).u32()?;
    let offset = usize::try_from(offset).map_err(|_| outside())?;
    let mut cursor = Cursor::new(payload.get(offset..).ok_or_else(outside)?);
    let mut features = Vec::new();
    loop {
        let id = cursor.u8()?;
        if id == TERMINATOR {
            return Ok(features);
        }
        let length = cursor.u32()?;
        features.push((id, cursor.bytes_u32(length)?.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prelogin_that_points_outside_is_refused() {
        assert!(read_prelogin(&[1, 0, 6, 0, 1, 0xFF, 0]).is_ok());
        assert!(read_prelogin(&[1, 0, 7, 0, 1, 0xFF, 0]).is_err());
        assert!(read_prelogin(&[1, 0, 6]).is_err());
        assert!(read_prelogin(&[]).is_err());
    }

    #[test]
    fn the_answer_can_be_read_as_a_prelogin() {
        let client = Prelogin { encryption: ENCRYPT_OFF, thread_id: true, fed_auth: true };
        assert_eq!(
            read_prelogin(&write_prelogin(client, ENCRYPT_ON)).unwrap().encryption,
            ENCRYPT_ON
        );
    }

    #[test]
    fn a_cut_login_is_refused_at_every_byte() {
        let whole = vec![0u8; 94];
        assert!(read_login(&whole).is_ok());
        for end in 0..72 {
            assert!(read_login(&whole[..end]).is_err(), "{end}");
        }
    }
}
