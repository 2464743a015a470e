//! The answer to sp_describe_parameter_encryption, read and not yet believed.
//!
//! Result set 1 lists the keys, a row for each encrypted value of each CEK; drivers go by position:
//!
//! | # | column | type |
//! |---|---|---|
//! | 0 | column_encryption_key_ordinal | int |
//! | 1 | database_id | int |
//! | 2 | column_encryption_key_id | int |
//! | 3 | column_encryption_key_version | int |
//! | 4 | column_encryption_key_metadata_version | binary(8) |
//! | 5 | column_encryption_key_encrypted_value | varbinary |
//! | 6 | column_master_key_store_provider_name | nvarchar |
//! | 7 | column_master_key_path | nvarchar |
//! | 8 | column_encryption_key_encryption_algorithm_name | nvarchar |
//!
//! Result set 2 has a row for every parameter, encrypted or not:
//!
//! | # | column | type |
//! |---|---|---|
//! | 0 | parameter_ordinal | int |
//! | 1 | parameter_name | nvarchar |
//! | 2 | column_encryption_algorithm | tinyint; 2, or 0 or NULL for plain |
//! | 3 | column_encryption_type | tinyint; 1, 2, or 0 for plain |
//! | 4 | column_encryption_key_ordinal | int; 0 for plain |
//! | 5 | column_encryption_normalization_rule_version | tinyint; 1 |
//!
//! Source: the documentation of the procedure, and SqlClient's reading of it.

use crate::{
    crypto::EncryptionType,
    tds::{
        CekEntry, CekIdentity, ColMetadata, Column, Done, EncryptedCekValue, Malformed, Reader,
        ReturnValue, RowScanner, TokenLen, ValueEncoding, ValueRange, done_status, token_id,
        token_len,
    },
};

/// How one parameter is to be encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterEncryption {
    /// Deterministic or randomized.
    pub encryption_type: EncryptionType,
    /// The key: an index into [`Description::ceks`].
    pub cek: usize,
}

/// What the server says about a statement's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The keys that its encrypted parameters use.
    pub ceks: Vec<CekEntry>,
    /// One verdict per declared parameter, in the order of declaration; `None` is plain.
    pub parameters: Vec<Option<ParameterEncryption>>,
}

impl Description {
    /// Whether no parameter is to be encrypted.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.parameters.iter().all(Option::is_none)
    }
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub enum DescribeAnswer {
    /// A description that is complete and does not contradict itself.
    Described(Description),
    /// The server refuses the statement: its ERROR and INFO tokens, to be handed on.
    Refused(Vec<u8>),
}

/// An answer that cannot be believed. Nothing may be sent on its strength; the server is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeFault {
    /// The bytes are no answer.
    #[error("the answer is no result set: {0}")]
    Malformed(#[from] Malformed),
    /// There is no row for a parameter, or no result set at all.
    #[error("it says nothing about parameter {name}")]
    ParameterMissing {
        /// The parameter.
        name: String,
    },
    /// There is a row for a parameter that the statement does not have.
    #[error("it speaks of a parameter {name}, which the statement does not have")]
    ParameterInvented {
        /// What the server calls it.
        name: String,
    },
    /// There are two rows for a parameter.
    #[error("it speaks of parameter {name} twice")]
    ParameterRepeated {
        /// The parameter.
        name: String,
    },
    /// A row says "encrypted" in one column and "plain" in another.
    #[error("it contradicts itself about whether parameter {name} is encrypted")]
    Contradiction {
        /// The parameter.
        name: String,
    },
    /// A parameter's key is not among the keys.
    #[error("it names key {ordinal} for parameter {name} and does not list such a key")]
    KeyMissing {
        /// The parameter.
        name: String,
        /// The ordinal of the key.
        ordinal: i64,
    },
    /// The rows of one key disagree on which key it is.
    #[error("it describes key {ordinal} in two ways")]
    KeyContradiction {
        /// The ordinal of the key.
        ordinal: i64,
    },
    /// An algorithm, encryption type or normalization version that does not exist.
    #[error("it wants parameter {name} encrypted in a way that this version does not know")]
    UnknownEncryption {
        /// The parameter.
        name: String,
    },
    /// A result set has too few columns, or a NULL where a value must be.
    #[error("its result sets lack {what}")]
    Incomplete {
        /// What is lacking.
        what: &'static str,
    },
}

impl DescribeAnswer {
    /// Reads the payload of the whole response. `names` are the declared parameters, in order.
    pub fn read(payload: &[u8], names: &[&str]) -> Result<Self, DescribeFault> {
        let mut keys = Keys::default();
        let mut parameters = Parameters::new(names);
        let mut refusal = Vec::new();
        let mut refused = false;
        let mut result_set = 0;
        let mut columns: Vec<Column> = Vec::new();
        // An answer that was cut short may say "plain" where the rest says "encrypted".
        let mut ended = false;
        let mut rest = payload;
        while let Some(&token) = rest.first() {
            let len = match token_len(rest)? {
                TokenLen::Known(len) => len,
                TokenLen::Incomplete => return Err(Malformed::of("end of the answer").into()),
                TokenLen::Structured => match token {
                    token_id::COLMETADATA => {
                        let mut reader = Reader::new(rest);
                        columns = ColMetadata::read(&mut reader)?.columns;
                        result_set += 1;
                        reader.position()
                    }
                    token_id::RETURNVALUE => ReturnValue::read(rest)?
                        .map(|v| v.wire_len())
                        .ok_or(Malformed::of("end of the answer"))?,
                    token_id::ROW | token_id::NBCROW => {
                        let (row, len) = Row::read(&columns, rest)?;
                        match result_set {
                            1 => keys.add(&row)?,
                            2 => parameters.add(&row)?,
                            _ => {}
                        }
                        len
                    }
                    _ => return Err(Malformed::of("token in the answer").into()),
                },
            };
            let bytes = rest.get(..len).ok_or(Malformed::of("end of the answer"))?;
            ended = false;
            match token {
                token_id::ERROR | token_id::INFO => {
                    refused |= token == token_id::ERROR;
                    refusal.extend_from_slice(bytes);
                }
                token_id::DONE | token_id::DONEPROC => {
                    ended =
                        Done::read(bytes)?.status & (done_status::MORE | done_status::ERROR) == 0;
                }
                _ => {}
            }
            rest = &rest[len..];
        }
        if refused {
            return Ok(Self::Refused(refusal));
        }
        if !ended && !payload.is_empty() {
            return Err(DescribeFault::Incomplete { what: "their end" });
        }
        Ok(Self::Described(parameters.into_description(keys)?))
    }
}

/// One row, its values without their length fields.
struct Row(Vec<Option<Vec<u8>>>);

impl Row {
    fn read(columns: &[Column], bytes: &[u8]) -> Result<(Self, usize), DescribeFault> {
        if columns.iter().any(|c| c.crypto.is_some()) {
            return Err(Malformed::of("answer: it is encrypted itself").into());
        }
        let encodings: Vec<ValueEncoding> =
            columns.iter().map(|c| c.type_info.encoding()).collect();
        let mut scanner = RowScanner::default();
        let len = scanner.advance(&encodings, bytes)?.ok_or(Malformed::of("end of the answer"))?;
        let mut values = Vec::new();
        for (range, encoding) in scanner.values().iter().zip(&encodings) {
            values.push(match *range {
                ValueRange::At { start, end } => {
                    let encoded = bytes.get(start..end).unwrap_or_default();
                    Some(crate::tds::value_data_of(*encoding, encoded)?)
                }
                ValueRange::Null | ValueRange::NullByBitmap => None,
            });
        }
        Ok((Self(values), len))
    }

    fn value(&self, index: usize) -> Option<&[u8]> {
        self.0.get(index)?.as_deref()
    }

    fn bytes(&self, index: usize, what: &'static str) -> Result<&[u8], DescribeFault> {
        self.value(index).ok_or(DescribeFault::Incomplete { what })
    }

    fn text(&self, index: usize, what: &'static str) -> Result<String, DescribeFault> {
        Ok(crate::tds::utf16_lossy(self.bytes(index, what)?))
    }

    /// Any width of integer; NULL is 0, as drivers read it.
    fn integer(&self, index: usize) -> i64 {
        let Some(bytes) = self.value(index) else { return 0 };
        let mut wide = [0; 8];
        let len = bytes.len().min(8);
        wide[..len].copy_from_slice(&bytes[..len]);
        // tinyint has no sign.
        if len > 1 && bytes[len - 1] & 0x80 != 0 {
            wide[len..].fill(0xFF);
        }
        i64::from_le_bytes(wide)
    }
}

/// The keys of result set 1. Ordinals are the server's: not necessarily dense.
#[derive(Default)]
struct Keys {
    ordinals: Vec<i64>,
    ceks: Vec<CekEntry>,
}

impl Keys {
    fn add(&mut self, row: &Row) -> Result<(), DescribeFault> {
        const WHAT: &str = "a column of the key result set";
        let ordinal = row.integer(0);
        // Ids are int in the result set and u32 in the trailer: the same four bytes.
        let identity = CekIdentity {
            database_id: row.integer(1) as u32,
            cek_id: row.integer(2) as u32,
            cek_version: row.integer(3) as u32,
            cek_md_version: row
                .bytes(4, WHAT)?
                .try_into()
                .map_err(|_| DescribeFault::Incomplete { what: "eight bytes of key version" })?,
        };
        let value = EncryptedCekValue {
            envelope: row.bytes(5, WHAT)?.to_vec(),
            provider_name: row.text(6, WHAT)?,
            key_path: row.text(7, WHAT)?,
            algorithm: row.text(8, WHAT)?,
        };
        match self.ordinals.iter().position(|&o| o == ordinal) {
            Some(known) => {
                let cek = &mut self.ceks[known];
                if cek.identity != identity {
                    return Err(DescribeFault::KeyContradiction { ordinal });
                }
                cek.values.push(value);
            }
            None => {
                self.ordinals.push(ordinal);
                self.ceks.push(CekEntry { identity, values: vec![value] });
            }
        }
        Ok(())
    }
}

/// What result set 2 says of each declared parameter.
struct Parameters<'a> {
    names: &'a [&'a str],
    verdicts: Vec<Option<Verdict>>,
}

enum Verdict {
    Plain,
    Encrypted { encryption_type: EncryptionType, ordinal: i64 },
}

fn bare(name: &str) -> &str {
    name.strip_prefix('@').unwrap_or(name)
}

impl<'a> Parameters<'a> {
    fn new(names: &'a [&'a str]) -> Self {
        Self { names, verdicts: names.iter().map(|_| None).collect() }
    }

    fn add(&mut self, row: &Row) -> Result<(), DescribeFault> {
        const AEAD_AES_256_CBC_HMAC_SHA_256: i64 = 2;
        let name = row.text(1, "a parameter's name")?;
        let Some(index) = self.names.iter().position(|n| bare(n) == bare(&name)) else {
            return Err(DescribeFault::ParameterInvented { name });
        };
        if row.0.len() < 6 {
            return Err(DescribeFault::Incomplete { what: "columns of the parameter result set" });
        }
        let [algorithm, encryption_type, ordinal, norm] = [2, 3, 4, 5].map(|i| row.integer(i));
        let verdict = if encryption_type == 0 {
            // A plain parameter has neither algorithm nor key. If it has, which half is the lie?
            if algorithm != 0 || ordinal != 0 {
                return Err(DescribeFault::Contradiction { name });
            }
            Verdict::Plain
        } else {
            let encryption_type =
                u8::try_from(encryption_type).ok().and_then(EncryptionType::from_wire_value);
            match (encryption_type, algorithm, norm) {
                (Some(encryption_type), AEAD_AES_256_CBC_HMAC_SHA_256, 1) => {
                    Verdict::Encrypted { encryption_type, ordinal }
                }
                (_, 0, _) => return Err(DescribeFault::Contradiction { name }),
                _ => return Err(DescribeFault::UnknownEncryption { name }),
            }
        };
        let slot = &mut self.verdicts[index];
        if slot.is_some() {
            return Err(DescribeFault::ParameterRepeated { name });
        }
        *slot = Some(verdict);
        Ok(())
    }

    fn into_description(self, keys: Keys) -> Result<Description, DescribeFault> {
        let mut parameters = Vec::with_capacity(self.names.len());
        for (name, verdict) in self.names.iter().zip(self.verdicts) {
            let name = (*name).to_owned();
            parameters.push(match verdict {
                None => return Err(DescribeFault::ParameterMissing { name }),
                Some(Verdict::Plain) => None,
                Some(Verdict::Encrypted { encryption_type, ordinal }) => {
                    match keys.ordinals.iter().position(|&o| o == ordinal) {
                        Some(cek) => Some(ParameterEncryption { encryption_type, cek }),
                        None => return Err(DescribeFault::KeyMissing { name, ordinal }),
                    }
                }
            });
        }
        Ok(Description { ceks: keys.ceks, parameters })
    }
}
