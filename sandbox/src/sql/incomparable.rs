//! text, ntext, image, xml and sql_variant where values are compared, ordered or grouped: what SQL Server refuses.

use sqlparser::ast::BinaryOperator;

use crate::error::{Result, SqlError};
use crate::sql::bind::Operand;
use crate::types::SqlType;

/// Of `=` and its kin.
pub(crate) fn require_comparable(
    op: &BinaryOperator,
    left: &Operand,
    right: &Operand,
) -> Result<()> {
    let (Some(a), Some(b)) = (left.ty, right.ty) else { return Ok(()) };
    if a == SqlType::Xml || b == SqlType::Xml {
        return Err(xml());
    }
    if a.is_legacy() || b.is_legacy() {
        let name = match op {
            BinaryOperator::Eq => "equal to",
            BinaryOperator::NotEq => "not equal to",
            BinaryOperator::Lt => "less than",
            BinaryOperator::LtEq => "less than or equal to",
            BinaryOperator::Gt => "greater than",
            _ => "greater than or equal to",
        };
        let (a, b) = (a.name(), b.name());
        return Err(SqlError::new(
            402,
            format!("The data types {a} and {b} are incompatible in the {name} operator."),
        ));
    }
    if a == SqlType::Variant || b == SqlType::Variant {
        return Err(SqlError::unsupported(
            "comparisons of sql_variant, unless it is converted to another type first",
        ));
    }
    Ok(())
}

/// Of ORDER BY and GROUP BY.
pub(crate) fn require_sortable(operand: &Operand) -> Result<()> {
    match operand.ty {
        Some(SqlType::Xml) => Err(xml()),
        Some(ty) if ty.is_legacy() => Err(SqlError::new(
            306,
            "The text, ntext, and image data types cannot be compared or sorted, except when using IS NULL or LIKE \
             operator.",
        )),
        Some(SqlType::Variant) => Err(SqlError::unsupported("the order of sql_variant")),
        _ => Ok(()),
    }
}

/// Of DISTINCT, UNION and COUNT(DISTINCT).
pub(crate) fn require_distinguishable(operand: &Operand) -> Result<()> {
    match operand.ty {
        Some(ty) if ty.is_legacy() || ty == SqlType::Xml => Err(SqlError::new(
            421,
            format!(
                "The {} data type cannot be selected as DISTINCT because it is not comparable.",
                ty.name()
            ),
        )),
        Some(SqlType::Variant) => Err(SqlError::unsupported("DISTINCT of sql_variant")),
        _ => Ok(()),
    }
}

/// Of arguments of functions of strings.
pub(crate) fn require_string(name: &str, position: usize, operand: &Operand) -> Result<()> {
    let refused = |ty: &SqlType| {
        matches!(ty, SqlType::Xml | SqlType::Image | SqlType::Variant)
            || (ty.is_legacy() && !name.eq_ignore_ascii_case("like"))
    };
    match operand.ty.filter(refused) {
        None => Ok(()),
        Some(ty) => Err(SqlError::new(
            8116,
            format!(
                "Argument data type {} is invalid for argument {position} of {} function.",
                ty.name(),
                name.to_ascii_lowercase()
            ),
        )),
    }
}

fn xml() -> SqlError {
    SqlError::new(
        305,
        "The xml data type cannot be compared or sorted, except when using the IS NULL operator.",
    )
}
