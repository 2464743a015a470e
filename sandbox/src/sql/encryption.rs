//! The rules of encryption schemes: what may be assigned to an encrypted column, what may be compared with it, and
//! what describing makes of a parameter.

use crate::catalogue::{Column, Encryption, EncryptionType};
use crate::error::{Result, SqlError};
use crate::sql::bind::{Binder, Operand, Source, Verdict};
use crate::types::{Collation, SqlType};

/// The column side of an assignment or comparison.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) ty: SqlType,
    pub(crate) encryption: Option<Encryption>,
    pub(crate) collation: Option<Collation>,
}

impl From<&Column> for Target {
    fn from(column: &Column) -> Self {
        let collation = column.ty.is_text().then(|| column.collation());
        Self { ty: column.ty, encryption: column.encryption, collation }
    }
}

impl Binder<'_> {
    /// A value for a column. Errors are 206 whatever the reason, as from SQL Server.
    pub(crate) fn check_assignment(&mut self, target: &Target, operand: &Operand) -> Result<()> {
        let Some(ty) = operand.ty else {
            self.suggest_type(operand, Some(target.ty));
            return Ok(());
        };
        match (target.encryption, operand.encryption, &operand.source) {
            (None, None, Source::Parameter(index)) => self.decide(*index, Verdict::Plain),
            (None, None, _) if !operand.parameters.is_empty() => self.decide_plain(operand),
            (Some(wanted), None, _) if self.describing && is_parameter(operand) => {
                if !ty.may_encrypt_for(target.ty) {
                    return Err(self.clash(operand, Some(wanted), target));
                }
                let mut all = operand.own_parameters().into_iter();
                all.try_for_each(|index| self.decide(index, Verdict::Encrypted(wanted)))
            }
            (None, None, _) => Ok(()),
            (wanted, given, source) => {
                let column = matches!(source, Source::Column(_)) && !is_parameter(operand);
                let fits = if column { ty == target.ty } else { ty.may_encrypt_for(target.ty) };
                if wanted == given && fits {
                    Ok(())
                } else {
                    Err(self.clash(operand, given, target))
                }
            }
        }
    }

    /// `@x = ...` in SELECT. Only a parameter that is encrypted like the value can take it.
    pub(crate) fn check_variable(&mut self, index: usize, operand: &Operand) -> Result<()> {
        let Some(ty) = operand.ty else { return Ok(()) };
        let Some(variable) = self.parameters.get(index) else { return Ok(()) };
        let (wanted, given) = (variable.encryption, operand.encryption);
        let target = Target { ty: variable.ty, encryption: wanted, collation: None };
        match (wanted, given) {
            (None, Some(scheme)) if self.describing => {
                if !ty.may_encrypt_for(target.ty) {
                    return Err(self.clash(operand, given, &target));
                }
                self.decide(index, Verdict::Encrypted(scheme))
            }
            (None, None) => {
                self.decide_plain(operand)?;
                self.decide(index, Verdict::Plain)
            }
            (wanted, given) if wanted == given && ty.may_encrypt_for(target.ty) => Ok(()),
            _ => Err(self.clash(operand, given, &target)),
        }
    }

    /// `=`, `<>` and IN. True if it is ciphertext that is compared.
    pub(crate) fn check_equality(&mut self, left: &Operand, right: &Operand) -> Result<bool> {
        let is_column = |operand: &Operand| matches!(operand.source, Source::Column(_));
        let (column, other) = match (left.encryption, right.encryption) {
            (Some(_), _) if is_column(left) => (left, right),
            (_, Some(_)) if is_column(right) => (right, left),
            (None, None) => {
                self.decide_plain(left)?;
                self.decide_plain(right)?;
                return Ok(false);
            }
            (Some(_), _) => (left, right),
            (_, Some(_)) => (right, left),
        };
        let (Some(ty), Some(encryption)) = (column.ty, column.encryption) else {
            return Ok(false);
        };
        if other.ty.is_none() {
            return Ok(true);
        }
        if encryption.kind == EncryptionType::Randomized {
            return Err(
                self.scheme_mismatch(&[column, other], "(encryption_type = 'DETERMINISTIC')")
            );
        }
        // A parameter of that encryption beside something plain: the plain side is what it must fit.
        if !is_column(column) && is_column(other) {
            let target = Target {
                ty: other.ty.unwrap_or(ty),
                encryption: None,
                collation: other.collation.clone(),
            };
            return Err(self.clash(column, Some(encryption), &target));
        }
        let target =
            Target { ty, encryption: Some(encryption), collation: column.collation.clone() };
        self.check_assignment(&target, other)?;
        Ok(true)
    }

    /// Every use that only plaintext can have: order, LIKE, arithmetic, functions.
    pub(crate) fn require_plain(&mut self, operands: &[&Operand]) -> Result<()> {
        if operands.iter().any(|operand| operand.encryption.is_some()) {
            return Err(self.scheme_mismatch(operands, "(encryption_type = 'PLAINTEXT')"));
        }
        for operand in operands {
            self.decide_plain(operand)?;
        }
        Ok(())
    }

    /// GROUP BY and DISTINCT.
    pub(crate) fn require_groupable(&mut self, operand: &Operand) -> Result<()> {
        match operand.encryption {
            Some(Encryption { kind: EncryptionType::Randomized, .. }) => {
                Err(self.scheme_mismatch(&[operand], "(encryption_type = 'DETERMINISTIC')"))
            }
            _ => Ok(()),
        }
    }

    fn decide_plain(&mut self, operand: &Operand) -> Result<()> {
        if operand.encryption.is_some() {
            return Ok(());
        }
        let mut all = operand.own_parameters().into_iter();
        all.try_for_each(|index| self.decide(index, Verdict::Plain))
    }

    /// A parameter has one encryption scheme, however often it is used.
    fn decide(&mut self, index: usize, verdict: Verdict) -> Result<()> {
        if !self.describing {
            return Ok(());
        }
        let known = self.verdicts.get(index).copied().flatten();
        if let Some(known) = known.filter(|known| *known != verdict) {
            let scheme = |verdict| match verdict {
                Verdict::Plain => self.catalogue.describe_encryption(None),
                Verdict::Encrypted(encryption) => {
                    self.catalogue.describe_encryption(Some(encryption))
                }
            };
            return Err(mismatch(self.parameter_name(index), &scheme(known), &scheme(verdict)));
        }
        if let Some(slot) = self.verdicts.get_mut(index) {
            *slot = Some(verdict);
        }
        Ok(())
    }

    fn clash(&self, operand: &Operand, given: Option<Encryption>, target: &Target) -> SqlError {
        let from = match (operand.ty, given) {
            (Some(ty), Some(_)) => {
                format!("{ty} encrypted with {}", self.catalogue.describe_encryption(given))
            }
            (Some(ty), None) => ty.name().to_owned(),
            (None, _) => "NULL".to_owned(),
        };
        let mut to = match target.encryption {
            Some(_) => {
                format!(
                    "{} encrypted with {}",
                    target.ty,
                    self.catalogue.describe_encryption(target.encryption)
                )
            }
            None => target.ty.name().to_owned(),
        };
        if let (Some(_), Some(collation)) = (target.encryption, &target.collation) {
            to.push_str(&format!(" collation_name = '{}'", collation.name));
        }
        SqlError::type_clash(&from, &to)
    }

    pub(crate) fn scheme_mismatch(&self, operands: &[&Operand], expected: &str) -> SqlError {
        let encrypted = operands.iter().find_map(|operand| operand.encryption);
        let names: Vec<&str> = operands
            .iter()
            .filter_map(|operand| match &operand.source {
                Source::Column(name) => Some(name.as_str()),
                Source::Parameter(index) => Some(self.parameter_name(*index)),
                Source::Literal | Source::Expression => None,
            })
            .collect();
        mismatch(&names.join("', '"), &self.catalogue.describe_encryption(encrypted), expected)
    }
}

/// Whether it is a parameter, itself or by way of a derived table.
fn is_parameter(operand: &Operand) -> bool {
    matches!(operand.source, Source::Parameter(_)) || !operand.parameters.is_empty()
}

pub(crate) fn mismatch(names: &str, actual: &str, expected: &str) -> SqlError {
    SqlError::new(
        33277,
        format!(
            "Encryption scheme mismatch for columns/variables '{names}'. The encryption scheme for the \
             columns/variables is {actual} and the expression near line '1' expects it to be {expected} (or weaker)."
        ),
    )
}
