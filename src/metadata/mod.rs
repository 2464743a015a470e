//! The resolver: what the database says about the encryption and the types of parameters, and for
//! how long we believe it.
//!
//! This layer reads the answer to `sp_describe_parameter_encryption`, maps the parameters of a
//! statement to columns, reads the types of these from the catalogue, and keeps all of it. Asking is
//! the session's business.

mod cache;
mod catalogue;
mod clash;
mod describe;
mod expiring;
mod resolve;
mod row;
mod target;

pub use cache::{Claim, DescribeKey, MetadataCache, Ticket};
pub use catalogue::{
    CatalogueAnswer, CatalogueColumn, CatalogueObject, catalogue_declarations, catalogue_query,
    object_id_argument,
};
pub(crate) use catalogue::{catalogue_type, database_of};
pub use clash::clashing_types;
pub use describe::{DescribeAnswer, DescribeFault, Description, ParameterEncryption};
pub use resolve::{Described, Lenders, Objects, ParameterType, objects_of, resolve};
pub(crate) use target::begins_a_statement;
pub use target::{Column, ObjectKind, ObjectName, Target, Targets, targets};
