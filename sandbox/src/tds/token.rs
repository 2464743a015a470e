//! Tokens of a response.

use crate::error::SqlError;
use crate::tds::type_info::write_type_info;
use crate::types::{Collation, SqlType, text};

const TOKEN_RETURNSTATUS: u8 = 0x79;
pub(crate) const TOKEN_COLMETADATA: u8 = 0x81;
const TOKEN_ERROR: u8 = 0xAA;
const TOKEN_INFO: u8 = 0xAB;
const TOKEN_RETURNVALUE: u8 = 0xAC;
const TOKEN_LOGINACK: u8 = 0xAD;
const TOKEN_FEATUREEXTACK: u8 = 0xAE;
pub(crate) const TOKEN_ROW: u8 = 0xD1;
pub(crate) const TOKEN_NBCROW: u8 = 0xD2;
const TOKEN_ENVCHANGE: u8 = 0xE3;
pub(crate) const TOKEN_DONE: u8 = 0xFD;
pub(crate) const TOKEN_DONEPROC: u8 = 0xFE;
pub(crate) const TOKEN_DONEINPROC: u8 = 0xFF;

/// Status bits of the DONE tokens.
pub(crate) const DONE_MORE: u16 = 0x0001;
pub(crate) const DONE_ERROR: u16 = 0x0002;
pub(crate) const DONE_COUNT: u16 = 0x0010;
pub(crate) const DONE_ATTN: u16 = 0x0020;

/// CurCmd of the DONE tokens.
pub(crate) const CMD_SELECT: u16 = 0xC1;
pub(crate) const CMD_INSERT: u16 = 0xC3;
pub(crate) const CMD_DELETE: u16 = 0xC4;
pub(crate) const CMD_UPDATE: u16 = 0xC5;
pub(crate) const CMD_EXECUTE: u16 = 0xE0;
pub(crate) const CMD_BULK_INSERT: u16 = 0xF0;
pub(crate) const CMD_MERGE: u16 = 0x117;

/// ENVCHANGE types.
pub(crate) const ENV_DATABASE: u8 = 1;
pub(crate) const ENV_LANGUAGE: u8 = 2;
pub(crate) const ENV_PACKET_SIZE: u8 = 4;
pub(crate) const ENV_SQL_COLLATION: u8 = 7;
pub(crate) const ENV_BEGIN_TRANSACTION: u8 = 8;
pub(crate) const ENV_COMMIT_TRANSACTION: u8 = 9;
pub(crate) const ENV_ROLLBACK_TRANSACTION: u8 = 10;
pub(crate) const ENV_RESETCONNECTION_ACK: u8 = 18;

/// UserType of rowversion, which else would be a binary(8).
const TIMESTAMP_USER_TYPE: u32 = 0x50;
/// COLMETADATA flags.
const F_NULLABLE: u16 = 0x0001;
const F_CASE_SEN: u16 = 0x0002;
const F_UPDATEABLE_UNKNOWN: u16 = 0x0008;
const F_IDENTITY: u16 = 0x0010;
pub(crate) const F_ENCRYPTED: u16 = 0x0800;

pub(crate) const AEAD_AES_256_CBC_HMAC_SHA256: u8 = 2;
pub(crate) const NORMALIZATION_RULE_VERSION: u8 = 1;

/// Name that ERROR and INFO give the server.
const SERVER_NAME: &str = "sandbox";

fn u16_len(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes()
}

/// B_VARCHAR; text beyond 255 characters is cut.
pub(crate) fn b_varchar(out: &mut Vec<u8>, value: &str) {
    let mut units = text::to_utf16(value);
    units.truncate(usize::from(u8::MAX));
    out.push(u8::try_from(units.len()).unwrap_or(u8::MAX));
    out.extend(units.into_iter().flat_map(u16::to_le_bytes));
}

/// US_VARCHAR, cut so that a token that holds it stays below 64 KB.
pub(crate) fn us_varchar(out: &mut Vec<u8>, value: &str) {
    let mut units = text::to_utf16(value);
    units.truncate(30_000);
    out.extend_from_slice(&u16_len(units.len()));
    out.extend(units.into_iter().flat_map(u16::to_le_bytes));
}

fn counted(out: &mut Vec<u8>, token: u8, body: &[u8]) {
    out.push(token);
    out.extend_from_slice(&u16_len(body.len()));
    out.extend_from_slice(body);
}

pub(crate) fn done(out: &mut Vec<u8>, token: u8, status: u16, command: u16, count: Option<u64>) {
    let status = if count.is_some() { status | DONE_COUNT } else { status };
    out.push(token);
    out.extend_from_slice(&status.to_le_bytes());
    out.extend_from_slice(&command.to_le_bytes());
    out.extend_from_slice(&count.unwrap_or(0).to_le_bytes());
}

pub(crate) fn return_status(out: &mut Vec<u8>, status: i32) {
    out.push(TOKEN_RETURNSTATUS);
    out.extend_from_slice(&status.to_le_bytes());
}

/// A RETURNVALUE of type int: the handles of prepared statements.
pub(crate) fn return_int(out: &mut Vec<u8>, name: &str, value: i32) {
    return_head(out, 0, name, &ResultColumn::plain(name, SqlType::Int), false);
    out.push(4);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A RETURNVALUE up to its value: `column` is the parameter as if it were a column, `acknowledged` whether the
/// connection has Always Encrypted.
pub(crate) fn return_head(
    out: &mut Vec<u8>,
    ordinal: u16,
    name: &str,
    column: &ResultColumn,
    acknowledged: bool,
) {
    let crypto = column.crypto.filter(|_| acknowledged);
    out.push(TOKEN_RETURNVALUE);
    out.extend_from_slice(&ordinal.to_le_bytes());
    b_varchar(out, name);
    // An output parameter, not the value of a function.
    out.push(0x01);
    out.extend_from_slice(&0u32.to_le_bytes());
    let flags = if crypto.is_some() { F_ENCRYPTED } else { 0 };
    out.extend_from_slice(&flags.to_le_bytes());
    write_type_info(out, column.wire_type(), &column.collation);
    if let Some(crypto) = crypto {
        write_crypto(out, column, crypto);
    }
}

fn message(out: &mut Vec<u8>, token: u8, error: &SqlError) {
    let mut body = Vec::new();
    body.extend_from_slice(&error.number.to_le_bytes());
    body.extend_from_slice(&[error.state, error.class]);
    us_varchar(&mut body, &error.message);
    b_varchar(&mut body, SERVER_NAME);
    b_varchar(&mut body, "");
    body.extend_from_slice(&1u32.to_le_bytes());
    counted(out, token, &body);
}

pub(crate) fn error(out: &mut Vec<u8>, error: &SqlError) {
    message(out, TOKEN_ERROR, error);
}

pub(crate) fn info(out: &mut Vec<u8>, number: i32, text: &str) {
    message(out, TOKEN_INFO, &SqlError::new(number, text).class(10));
}

/// INFO of any number and class: PRINT, and RAISERROR that is not serious.
pub(crate) fn message_info(out: &mut Vec<u8>, info: &SqlError) {
    message(out, TOKEN_INFO, info);
}

pub(crate) fn env_text(out: &mut Vec<u8>, kind: u8, new: &str, old: &str) {
    let mut body = vec![kind];
    b_varchar(&mut body, new);
    b_varchar(&mut body, old);
    counted(out, TOKEN_ENVCHANGE, &body);
}

pub(crate) fn env_bytes(out: &mut Vec<u8>, kind: u8, new: &[u8], old: &[u8]) {
    let mut body = vec![kind];
    for value in [new, old] {
        body.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        body.extend_from_slice(value);
    }
    counted(out, TOKEN_ENVCHANGE, &body);
}

pub(crate) fn login_ack(out: &mut Vec<u8>, tds_version: u32, server_version: [u8; 4]) {
    const INTERFACE_SQL_TSQL: u8 = 1;
    let mut body = vec![INTERFACE_SQL_TSQL];
    body.extend_from_slice(&tds_version.to_be_bytes());
    b_varchar(&mut body, "Microsoft SQL Server");
    body.extend_from_slice(&server_version);
    counted(out, TOKEN_LOGINACK, &body);
}

/// Acknowledged features with their data.
pub(crate) fn feature_ext_ack(out: &mut Vec<u8>, features: &[(u8, Vec<u8>)]) {
    out.push(TOKEN_FEATUREEXTACK);
    for (id, data) in features {
        out.push(*id);
        out.extend_from_slice(&u32::try_from(data.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(data);
    }
    out.push(0xFF);
}

/// A column of a result.
#[derive(Debug, Clone)]
pub(crate) struct ResultColumn {
    pub(crate) name: String,
    /// The plaintext type, also of an encrypted column.
    pub(crate) ty: SqlType,
    pub(crate) collation: Collation,
    pub(crate) nullable: bool,
    pub(crate) identity: bool,
    /// Comes straight from a table, so bulk loaders may write it.
    pub(crate) updateable: bool,
    pub(crate) crypto: Option<ColumnCrypto>,
    /// Schema and name of its table, of text, ntext and image only.
    pub(crate) table: Option<[String; 2]>,
}

/// What CryptoMetadata says of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnCrypto {
    pub(crate) cek_id: i32,
    /// 1 deterministic, 2 randomized.
    pub(crate) encryption_type: u8,
}

impl ResultColumn {
    pub(crate) fn plain(name: &str, ty: SqlType) -> Self {
        Self {
            name: name.to_owned(),
            ty,
            collation: Collation::default(),
            nullable: true,
            identity: false,
            updateable: false,
            crypto: None,
            table: None,
        }
    }

    /// The type that values have on the wire.
    pub(crate) fn wire_type(&self) -> SqlType {
        if self.crypto.is_some() { self.ty.cell_type() } else { self.ty }
    }
}

/// A CEK as the CekTable carries it.
#[derive(Debug, Clone)]
pub(crate) struct CekEntry {
    pub(crate) database_id: u32,
    pub(crate) cek_id: i32,
    pub(crate) version: u32,
    pub(crate) md_version: [u8; 8],
    pub(crate) values: Vec<CekValue>,
}

#[derive(Debug, Clone)]
pub(crate) struct CekValue {
    pub(crate) encrypted: Vec<u8>,
    pub(crate) provider: String,
    pub(crate) path: String,
    pub(crate) algorithm: String,
}

/// COLMETADATA. `cek_table` is Some exactly when Always Encrypted was acknowledged.
pub(crate) fn col_metadata(
    out: &mut Vec<u8>,
    columns: &[ResultColumn],
    cek_table: Option<&[CekEntry]>,
) {
    out.push(TOKEN_COLMETADATA);
    out.extend_from_slice(&u16_len(columns.len()));
    if let Some(table) = cek_table {
        write_cek_table(out, table);
    }
    for column in columns {
        write_column(out, column, cek_table);
    }
}

fn write_cek_table(out: &mut Vec<u8>, table: &[CekEntry]) {
    out.extend_from_slice(&u16_len(table.len()));
    for entry in table {
        out.extend_from_slice(&entry.database_id.to_le_bytes());
        out.extend_from_slice(&entry.cek_id.to_le_bytes());
        out.extend_from_slice(&entry.version.to_le_bytes());
        out.extend_from_slice(&entry.md_version);
        out.push(u8::try_from(entry.values.len()).unwrap_or(u8::MAX));
        for value in &entry.values {
            out.extend_from_slice(&u16_len(value.encrypted.len()));
            out.extend_from_slice(&value.encrypted);
            b_varchar(out, &value.provider);
            us_varchar(out, &value.path);
            b_varchar(out, &value.algorithm);
        }
    }
}

fn write_column(out: &mut Vec<u8>, column: &ResultColumn, cek_table: Option<&[CekEntry]>) {
    let ordinal = column.crypto.and_then(|crypto| {
        cek_table?
            .iter()
            .position(|entry| entry.cek_id == crypto.cek_id)
            .map(|ordinal| (crypto, ordinal))
    });
    let mut flags = if column.nullable { F_NULLABLE } else { 0 };
    // "Unknown" is what SQL Server says of a table's columns.
    flags |= match (column.updateable, column.identity) {
        (_, true) => F_IDENTITY,
        (true, _) => F_UPDATEABLE_UNKNOWN,
        _ => 0,
    };
    if column.ty.is_text() && column.collation.order != crate::types::collation::Order::IgnoreCase {
        flags |= F_CASE_SEN;
    }
    if ordinal.is_some() {
        flags |= F_ENCRYPTED;
    }
    let user_type = if column.ty == SqlType::RowVersion { TIMESTAMP_USER_TYPE } else { 0 };
    out.extend_from_slice(&user_type.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    write_type_info(out, column.wire_type(), &column.collation);
    if column.ty.is_legacy() {
        let parts = column.table.as_ref().map(<[String; 2]>::as_slice).unwrap_or_default();
        out.push(u8::try_from(parts.len()).unwrap_or_default());
        parts.iter().for_each(|part| us_varchar(out, part));
    }
    if let Some((crypto, ordinal)) = ordinal {
        out.extend_from_slice(&u16_len(ordinal));
        write_crypto(out, column, crypto);
    }
    b_varchar(out, &column.name);
}

/// CryptoMetadata behind its ordinal, which RETURNVALUE does not have.
fn write_crypto(out: &mut Vec<u8>, column: &ResultColumn, crypto: ColumnCrypto) {
    out.extend_from_slice(&0u32.to_le_bytes());
    write_type_info(out, column.ty, &column.collation);
    out.extend_from_slice(&[
        AEAD_AES_256_CBC_HMAC_SHA256,
        crypto.encryption_type,
        NORMALIZATION_RULE_VERSION,
    ]);
}
