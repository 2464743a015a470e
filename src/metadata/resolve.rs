//! From the places that a parameter's value goes to, to the type that it must have there.

use std::{collections::HashMap, sync::Arc};

use super::{
    CatalogueObject, Description,
    target::{ObjectKind, ObjectName, Target},
};
use crate::value::ConversionType;

/// The objects of the catalogue that a statement names.
pub type Objects = HashMap<(ObjectName, ObjectKind), Arc<CatalogueObject>>;

/// The type that a parameter must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterType {
    /// The type, and the code page of its text.
    pub conversion_type: ConversionType,
    /// Who says so, for errors: `column Messages.Content`.
    pub says: String,
    /// Whether the application has stated it. Then it holds for a plain parameter too.
    pub stated: bool,
}

/// What is known of a statement: how its parameters are encrypted, and the types that they must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// The server's verdict on each parameter.
    pub description: Description,
    /// The type of each parameter, in the same order; `None` leaves it as the driver declared it.
    pub types: Vec<Option<ParameterType>>,
}

/// Which columns may lend a parameter their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lenders {
    /// Encrypted columns, and the parameters of procedures, of which the catalogue does not say
    /// whether they are.
    Encrypted,
    /// All: the columns of a view may be encrypted without the catalogue's saying so.
    All,
}

/// The objects that a target is to be looked for in.
#[must_use]
pub fn objects_of(target: &Target) -> Vec<(ObjectName, ObjectKind)> {
    match target {
        Target::Column { tables, .. } => {
            tables.iter().map(|table| (table.clone(), ObjectKind::Table)).collect()
        }
        Target::ProcedureParameter { procedure, .. } => {
            vec![(procedure.clone(), ObjectKind::Procedure)]
        }
    }
}

/// The type that a parameter must have, if one of its targets is known and says so. An encrypted
/// target goes before a plain one.
#[must_use]
pub fn resolve(targets: &[Target], objects: &Objects, lenders: Lenders) -> Option<ParameterType> {
    let mut plain = None;
    for target in targets {
        let found = match target {
            Target::Column { tables, column } => tables.iter().find_map(|table| {
                let object = objects.get(&(table.clone(), ObjectKind::Table))?;
                Some((table, object.column(column)?, "column"))
            }),
            Target::ProcedureParameter { procedure, parameter } => {
                let object = objects.get(&(procedure.clone(), ObjectKind::Procedure));
                let found = object.and_then(|o| o.column(parameter));
                found.map(|found| (procedure, found, "parameter"))
            }
        };
        let Some((owner, column, what)) = found else { continue };
        let Some(conversion_type) = column.conversion_type else { continue };
        let lent = ParameterType {
            conversion_type,
            says: format!("{what} {}.{}", owner.name, column.name),
            stated: false,
        };
        if column.encryption_type.is_some() {
            return Some(lent);
        }
        if lenders == Lenders::All || what == "parameter" {
            plain.get_or_insert(lent);
        }
    }
    plain
}
