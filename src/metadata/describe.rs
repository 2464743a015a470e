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
//! | 9 | is_requested_by_enclave | bit; from version 2 of the feature on |
//! | 10 | column_master_key_signature | varbinary; likewise |
//!
//! Version 1 is asked for, so the last two do not come from an honest server. A key that is requested
//! for an enclave is refused, whatever its signature: there is no enclave that it could be given to.
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

use std::collections::HashMap;

use super::row::{Row, SYSNAME};
use crate::{
    crypto::EncryptionType,
    tds::{
        CekEntry, CekIdentity, Done, EncryptedCekValue, MAX_CEK_VALUES, Malformed, ReplyToken,
        ReplyTokens, done_status, token_id,
    },
};

/// SqlClient takes paths of up to 32,767 characters, SQL Server stores 4,000.
const MAX_KEY_PATH: usize = 32_767;
/// The column is varbinary(8000); the length fields inside allow for more.
const MAX_ENVELOPE: usize = 65_535;

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
    #[error(
        "it says nothing about parameter {name}; SET ROWCOUNT, FMTONLY, NOEXEC or PARSEONLY cut an \
         answer short like that, until they are switched off"
    )]
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
    #[error(
        "it names key {ordinal} for parameter {name} and does not list such a key; SET ROWCOUNT cuts \
         an answer short like that, until it is switched off"
    )]
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
    /// A table-valued parameter is said to be encrypted.
    #[error("it says that {name} is encrypted, a table-valued parameter, which none can be")]
    TableValued {
        /// The parameter.
        name: String,
    },
    /// An algorithm, encryption type or normalization version that does not exist.
    #[error("it wants parameter {name} encrypted in a way that this version does not know")]
    UnknownEncryption {
        /// The parameter.
        name: String,
    },
    /// A key is to be given to an enclave of the server's. Nobody asked for one.
    #[error(
        "it wants the key under the column master key {key_path:?} of {provider:?} given to a secure \
         enclave; this client has none, and gives no key away"
    )]
    EnclaveRequested {
        /// The key store.
        provider: String,
        /// The path of the master key.
        key_path: String,
    },
    /// A value is longer than SQL Server's own limit for it.
    #[error("{what} in it is longer than any there can be")]
    TooLong {
        /// Which value.
        what: &'static str,
    },
    /// A result set has too few columns, or a NULL where a value must be.
    #[error(
        "its result sets lack {what}; SET ROWCOUNT, FMTONLY, NOEXEC or PARSEONLY cut an answer short \
         like that, until they are switched off"
    )]
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
        // An answer that was cut short may say "plain" where the rest says "encrypted".
        let mut ended = false;
        let mut tokens = ReplyTokens::new(payload);
        while let Some(token) = tokens.next_token()? {
            ended = false;
            match token {
                ReplyToken::Metadata(metadata) if metadata.has_encrypted_columns() => {
                    return Err(Malformed::of("answer: it is encrypted itself").into());
                }
                ReplyToken::Metadata(metadata) => {
                    result_set += 1;
                    // Later versions have added columns at the end, and may again.
                    let known = match result_set {
                        1 => 9,
                        2 => 6,
                        _ => return Err(Malformed::of("answer: a third result set").into()),
                    };
                    if !(known..known + 8).contains(&metadata.columns.len()) {
                        return Err(DescribeFault::Incomplete { what: "their columns" });
                    }
                }
                ReplyToken::Row(values) => match result_set {
                    1 => keys.add(&Row(values))?,
                    2 => parameters.add(&Row(values))?,
                    _ => {}
                },
                ReplyToken::Other(token_id::ERROR, bytes) => {
                    refused = true;
                    refusal.extend_from_slice(bytes);
                }
                ReplyToken::Other(token_id::INFO, bytes) => refusal.extend_from_slice(bytes),
                ReplyToken::Other(token_id::DONE | token_id::DONEPROC, bytes) => {
                    let status = Done::read(bytes)?.status;
                    ended = status & (done_status::MORE | done_status::ERROR) == 0;
                }
                ReplyToken::Other(..) => {}
            }
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

/// The keys of result set 1. Ordinals are the server's: not necessarily dense.
#[derive(Default)]
struct Keys {
    ordinals: HashMap<i64, usize>,
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
        let envelope = row.bytes(5, WHAT)?;
        if envelope.len() > MAX_ENVELOPE {
            return Err(DescribeFault::TooLong { what: "an encrypted key" });
        }
        let value = EncryptedCekValue {
            envelope: envelope.to_vec(),
            provider_name: row.text(6, SYSNAME, "a key store's name")?,
            key_path: row.text(7, MAX_KEY_PATH, "a key path")?,
            algorithm: row.text(8, SYSNAME, "an algorithm's name")?,
        };
        if row.value(9).is_some_and(|flag| flag.iter().any(|byte| *byte != 0)) {
            return Err(DescribeFault::EnclaveRequested {
                provider: value.provider_name,
                key_path: value.key_path,
            });
        }
        match self.ordinals.get(&ordinal).copied() {
            Some(known) => {
                let cek = &mut self.ceks[known];
                if cek.identity != identity {
                    return Err(DescribeFault::KeyContradiction { ordinal });
                }
                if cek.values.len() == MAX_CEK_VALUES {
                    return Err(DescribeFault::TooLong { what: "the list of a key's values" });
                }
                cek.values.push(value);
            }
            None => {
                self.ordinals.insert(ordinal, self.ceks.len());
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
        let name = row.text(1, SYSNAME, "a parameter's name")?;
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

    /// Only keys that a parameter uses are kept: a description is cached for hours.
    fn into_description(self, keys: Keys) -> Result<Description, DescribeFault> {
        let mut parameters = Vec::with_capacity(self.names.len());
        let mut kept: Vec<usize> = Vec::new();
        for (name, verdict) in self.names.iter().zip(self.verdicts) {
            let name = (*name).to_owned();
            parameters.push(match verdict {
                None => return Err(DescribeFault::ParameterMissing { name }),
                Some(Verdict::Plain) => None,
                Some(Verdict::Encrypted { encryption_type, ordinal }) => {
                    let Some(&key) = keys.ordinals.get(&ordinal) else {
                        return Err(DescribeFault::KeyMissing { name, ordinal });
                    };
                    let cek = kept.iter().position(|&k| k == key).unwrap_or_else(|| {
                        kept.push(key);
                        kept.len() - 1
                    });
                    Some(ParameterEncryption { encryption_type, cek })
                }
            });
        }
        let ceks = kept.iter().filter_map(|&key| keys.ceks.get(key).cloned()).collect();
        Ok(Description { ceks, parameters })
    }
}
