//! Views of column master keys and column encryption keys.

use super::{SYSNAME, View};
use crate::types::{Length, SqlType};

pub(super) const VIEWS: &[View] = &[
    View::new(
        "column_master_keys",
        &[
            ("name", SYSNAME, "k.name"),
            ("column_master_key_id", SqlType::Int, "k.id"),
            ("create_date", SqlType::DateTime, "k.created"),
            ("modify_date", SqlType::DateTime, "k.created"),
            ("key_store_provider_name", SYSNAME, "k.provider"),
            ("key_path", SqlType::NVarChar(Length::N(4000)), "k.path"),
            ("allow_enclave_computations", SqlType::Bit, "k.signature IS NOT NULL"),
            ("signature", SqlType::VarBinary(Length::Max), "k.signature"),
        ],
        "master_keys AS k",
        None,
    ),
    View::new(
        "column_encryption_keys",
        &[
            ("name", SYSNAME, "k.name"),
            ("column_encryption_key_id", SqlType::Int, "k.id"),
            ("create_date", SqlType::DateTime, "k.created"),
            ("modify_date", SqlType::DateTime, "k.created"),
        ],
        "encryption_keys AS k",
        None,
    ),
    View::new(
        "column_encryption_key_values",
        &[
            ("column_encryption_key_id", SqlType::Int, "v.cek_id"),
            ("column_master_key_id", SqlType::Int, "v.cmk_id"),
            ("encrypted_value", SqlType::VarBinary(Length::N(8000)), "v.encrypted"),
            ("encryption_algorithm_name", SYSNAME, "v.algorithm"),
        ],
        "encryption_key_values AS v",
        None,
    ),
];
