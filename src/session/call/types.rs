//! The types that a call's parameters must have: those of their columns, what the statement states,
//! and what the server's complaints teach.

use std::collections::HashMap;

use super::{Call, Statement};
use crate::{
    metadata::{
        Lenders, ObjectKind, ObjectName, Objects, ParameterType, Target, clashing_types,
        objects_of, resolve,
    },
    value::{CodePage, ConversionType},
};

/// How far the types of a call's parameters are known.
#[derive(Default)]
pub(in crate::session) struct CatalogueState {
    targets: Option<Vec<Vec<Target>>>,
    pub(in crate::session) objects: Objects,
    /// Whether some of them were known before.
    pub(in crate::session) from_cache: bool,
    /// Whether the server has been asked for the others.
    pub(in crate::session) asked: bool,
    all_lend: bool,
    learnt: HashMap<usize, ParameterType>,
}

impl CatalogueState {
    /// Of what was prepared: the types are those of that time, and nobody is asked.
    pub(super) fn settled() -> Self {
        Self { asked: true, ..Self::default() }
    }
}

/// What to try after a type clash.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::session) enum Remedy {
    /// Ask the catalogue again: what was known is out of date.
    AskCatalogue,
    /// Describe the statement again, with other types.
    Describe,
}

impl Call {
    /// The objects that the statement's parameters go to, unless there are too many to ask for.
    pub(in crate::session) fn objects(&mut self) -> Vec<(ObjectName, ObjectKind)> {
        /// SQL Server joins at most 256 tables; a statement with as many parameters' targets is rare.
        const MOST: usize = 64;
        let Some(statement) = &self.statement else { return Vec::new() };
        let targets = self.catalogue.targets.get_or_insert_with(|| statement.targets());
        let mut found = Vec::new();
        for target in targets.iter().flatten() {
            for object in objects_of(target) {
                if !found.contains(&object) {
                    found.push(object);
                }
                if found.len() > MOST {
                    return Vec::new();
                }
            }
        }
        found
    }

    /// Works out the types of the parameters from what is known of their columns.
    pub(in crate::session) fn resolve_types(
        &mut self,
        collation: [u8; 5],
    ) -> Vec<Option<ParameterType>> {
        let Some(mut statement) = self.statement.take() else { return Vec::new() };
        let types = self.types_of(&statement, CodePage::of_collation(collation));
        statement.require(&types);
        self.statement = Some(statement);
        types
    }

    pub(super) fn types_of(
        &self,
        statement: &Statement,
        default_code_page: Option<CodePage>,
    ) -> Vec<Option<ParameterType>> {
        let lenders = if self.catalogue.all_lend { Lenders::All } else { Lenders::Encrypted };
        let targets = self.catalogue.targets.as_deref().unwrap_or_default();
        let type_of = |at: usize, name: &str| {
            let lent = targets
                .get(at)
                .and_then(|targets| resolve(targets, &self.catalogue.objects, lenders));
            let stated = self.stated.iter().find(|(stated, _)| stated.eq_ignore_ascii_case(name));
            let required = match stated {
                Some((_, sql_type)) => ParameterType {
                    conversion_type: ConversionType {
                        sql_type: *sql_type,
                        // The column's, if there is one: a type does not tell.
                        code_page: lent.and_then(|lent| lent.conversion_type.code_page),
                    },
                    says: "the type that the statement states".to_owned(),
                    stated: true,
                },
                None => match self.catalogue.learnt.get(&at) {
                    Some(learnt) => learnt.clone(),
                    None => {
                        let mut lent = lent?;
                        // Of a procedure's parameters the catalogue does not say. That of the
                        // database, as SqlClient has it.
                        let code_page = &mut lent.conversion_type.code_page;
                        *code_page = code_page.or(default_code_page);
                        lent
                    }
                },
            };
            Some(required)
        };
        let parameters = statement.parameters.iter().enumerate();
        parameters.map(|(at, declared)| type_of(at, &declared.name)).collect()
    }

    /// What to try after the server has refused to describe the statement because of a type clash.
    /// Nothing has been executed. Each try knows more than the last, so there is an end to them.
    pub(in crate::session) fn after_clash(&mut self, message: &str) -> Option<Remedy> {
        // What has been prepared cannot be declared otherwise any more.
        if self.statement.as_ref().is_some_and(Statement::is_prepared) {
            return None;
        }
        if std::mem::take(&mut self.catalogue.from_cache) {
            self.catalogue.objects.clear();
            self.catalogue.asked = false;
            self.afresh = true;
            return Some(Remedy::AskCatalogue);
        }
        let types = |call: &Self| call.statement.as_ref().map(|s| call.types_of(s, None));
        if !self.catalogue.all_lend {
            let before = types(self);
            self.catalogue.all_lend = true;
            if types(self) != before {
                return Some(Remedy::Describe);
            }
        }
        self.learn(message).then_some(Remedy::Describe)
    }

    /// The error names two types. If one of them is that of a single parameter that nobody has
    /// mapped, the parameter wants the other.
    fn learn(&mut self, message: &str) -> bool {
        let (Some(statement), Some([first, second])) = (&self.statement, clashing_types(message))
        else {
            return false;
        };
        for (own, wanted) in [(first, second), (second, first)] {
            let mut candidates = statement
                .parameters
                .iter()
                .enumerate()
                .filter(|(_, p)| p.required.is_none() && p.sql_type().is_ok_and(|t| t == own));
            if let (Some((at, _)), None) = (candidates.next(), candidates.next()) {
                let learnt = ParameterType {
                    conversion_type: ConversionType { sql_type: wanted, code_page: None },
                    says: "the type that the server asks for".to_owned(),
                    stated: false,
                };
                return self.catalogue.learnt.insert(at, learnt).is_none();
            }
        }
        false
    }
}
