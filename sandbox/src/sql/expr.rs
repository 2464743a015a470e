//! Scalar expressions: names, literals, arithmetic, CAST, CASE and subqueries.

use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, Expr, Ident, UnaryOperator, Value as Literal,
    ValueWithSpan,
};

use crate::error::{Result, SqlError};
use crate::sql::bind::{Binder, Operand};
use crate::sql::keys::hex;
use crate::sql::names;
use crate::types::decimal::{Decimal, MAX_DIGITS};
use crate::types::text::utf16_len;
use crate::types::{Collation, Family, Length, SqlType, Value};

impl Binder<'_> {
    pub(crate) fn scalar(&mut self, expr: &Expr) -> Result<Operand> {
        self.deeper(|binder| binder.scalar_here(expr))
    }

    fn scalar_here(&mut self, expr: &Expr) -> Result<Operand> {
        match expr {
            Expr::Identifier(ident) => self.identifier(ident),
            Expr::CompoundIdentifier(parts) => {
                let parts: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
                let operand = self.column(&parts)?;
                self.check_grouped(&operand, parts.last().copied().unwrap_or_default())?;
                Ok(operand)
            }
            Expr::Value(ValueWithSpan { value, .. }) => self.literal_value(value),
            Expr::Nested(inner) => self.scalar(inner),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::BinaryOp { left, op, right } => {
                let left = self.scalar(left)?;
                let right = self.scalar(right)?;
                self.arithmetic(op, &left, &right)
            }
            Expr::Cast { kind: CastKind::Cast, expr, data_type, format: None, .. } => {
                self.cast(expr, data_type)
            }
            Expr::Convert {
                is_try: false,
                expr,
                data_type: Some(data_type),
                charset: None,
                styles,
                ..
            } if styles.is_empty() => self.cast(expr, data_type),
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Collate { expr, collation } => {
                let operand = self.scalar(expr)?;
                self.require_plain(&[&operand])?;
                Ok(operand.with_collation(Some(Collation::parse(&names::last(collation)?)?)))
            }
            Expr::Function(function) => self.function(function),
            Expr::Subquery(query) => {
                let plan = self.subquery(query)?;
                let column = plan.single_column()?;
                Ok(Operand {
                    encryption: plan.encryption_of(0),
                    collation: column.ty.is_text().then(|| column.collation.clone()),
                    ..Operand::expression(format!("({})", plan.sql), column.ty)
                })
            }
            other => Err(unsupported(other)),
        }
    }

    fn identifier(&mut self, ident: &Ident) -> Result<Operand> {
        if ident.quote_style.is_none() && ident.value.starts_with("@@") {
            return self.global(&ident.value);
        }
        if ident.quote_style.is_none() && ident.value.starts_with('@') {
            return self.parameter(&ident.value);
        }
        let operand = self.column(&[ident.value.as_str()])?;
        self.check_grouped(&operand, &ident.value)?;
        Ok(operand)
    }

    fn check_grouped(&self, operand: &Operand, name: &str) -> Result<()> {
        match &self.grouping {
            Some(grouping) if !grouping.keys.contains(&operand.sql) => Err(SqlError::new(
                8120,
                format!(
                    "Column '{name}' is invalid in the select list because it is not contained in either an \
                     aggregate function or the GROUP BY clause."
                ),
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn literal_value(&mut self, literal: &Literal) -> Result<Operand> {
        Ok(match literal {
            Literal::Null => Operand::null(),
            Literal::Number(text, _) => return self.number(text),
            Literal::SingleQuotedString(text) => {
                let length = utf16_len(text).max(1);
                let ty = u16::try_from(length)
                    .ok()
                    .filter(|n| *n <= 8000)
                    .map_or(Length::Max, Length::N);
                let page = Collation::default();
                let text = page.decode(&page.encode(text));
                self.literal(&Value::Text(text), SqlType::VarChar(ty))
            }
            Literal::NationalStringLiteral(text) => {
                let length = utf16_len(text).max(1);
                let ty = u16::try_from(length)
                    .ok()
                    .filter(|n| *n <= 4000)
                    .map_or(Length::Max, Length::N);
                self.literal(&Value::Text(text.clone()), SqlType::NVarChar(ty))
            }
            Literal::HexStringLiteral(digits) => {
                let bytes = hex(digits)?;
                let ty = u16::try_from(bytes.len().max(1))
                    .ok()
                    .filter(|n| *n <= 8000)
                    .map_or(Length::Max, Length::N);
                self.literal(&Value::Bytes(bytes), SqlType::VarBinary(ty))
            }
            Literal::Placeholder(text) if text.starts_with("@@") => return self.global(text),
            Literal::Placeholder(text) if text.starts_with('@') => return self.parameter(text),
            other => return Err(SqlError::unsupported(format!("the literal {other}"))),
        })
    }

    fn number(&mut self, text: &str) -> Result<Operand> {
        if text.contains(['e', 'E']) {
            let x: f64 = text.parse().map_err(|_| SqlError::syntax(text))?;
            return if x.is_finite() {
                Ok(self.literal(&Value::Float(x), SqlType::Float))
            } else {
                Err(SqlError::new(
                    168,
                    format!(
                        "The floating point value '{text}' is out of the range of computer representation."
                    ),
                ))
            };
        }
        if let Ok(n) = text.parse::<i32>() {
            return Ok(self.literal(&Value::Integer(i64::from(n)), SqlType::Int));
        }
        let d = Decimal::parse(text).ok_or_else(|| {
            SqlError::new(
                1007,
                format!("The number '{text}' is out of the range for numeric representation."),
            )
        })?;
        let ty = SqlType::Decimal { precision: d.precision(), scale: d.scale, named_numeric: true };
        Ok(self.literal(&Value::Decimal(d), ty))
    }

    fn unary(&mut self, op: UnaryOperator, expr: &Expr) -> Result<Operand> {
        match (op, expr) {
            (
                UnaryOperator::Minus,
                Expr::Value(ValueWithSpan { value: Literal::Number(text, _), .. }),
            ) => self.number(&format!("-{text}")),
            (UnaryOperator::Minus, _) => {
                let zero = self.literal(&Value::Integer(0), SqlType::Int);
                let operand = self.scalar(expr)?;
                self.arithmetic(&BinaryOperator::Minus, &zero, &operand)
            }
            (UnaryOperator::Plus, _) => self.scalar(expr),
            _ => Err(SqlError::unsupported(format!("the operator {op}"))),
        }
    }

    fn cast(&mut self, expr: &Expr, data_type: &DataType) -> Result<Operand> {
        let operand = self.scalar(expr)?;
        let to = match SqlType::from_ast(data_type)? {
            // CAST to a string without a length means 30.
            SqlType::VarChar(Length::N(1)) if !data_type.to_string().contains('(') => {
                SqlType::VarChar(Length::N(30))
            }
            SqlType::NVarChar(Length::N(1)) if !data_type.to_string().contains('(') => {
                SqlType::NVarChar(Length::N(30))
            }
            to => to,
        };
        if operand.encryption.is_some() {
            return Err(SqlError::type_clash(
                &format!(
                    "{} encrypted with {}",
                    operand.ty.map_or("NULL", SqlType::name),
                    self.catalogue.describe_encryption(operand.encryption)
                ),
                to.name(),
            ));
        }
        self.require_plain(&[&operand])?;
        let sql = self.convert(&operand, to, true)?;
        Ok(Operand::expression(sql, to).with_collation(operand.collation))
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Result<Operand> {
        let mut results = Vec::new();
        let mut whens = Vec::new();
        for CaseWhen { condition, result } in conditions {
            let condition = match operand {
                Some(operand) => {
                    let left = self.scalar(operand)?;
                    let right = self.scalar(condition)?;
                    self.comparison(&BinaryOperator::Eq, &left, &right)?
                }
                None => self.condition(condition)?,
            };
            whens.push(condition);
            results.push(self.scalar(result)?);
        }
        results.push(match otherwise {
            Some(expr) => self.scalar(expr)?,
            None => Operand::null(),
        });
        let (ty, collation) = self.common_type(&results)?;
        let mut sql = "CASE".to_owned();
        for (when, result) in whens.iter().zip(&results) {
            sql.push_str(&format!(" WHEN {when} THEN {}", self.convert(result, ty, true)?));
        }
        if let Some(last) = results.last() {
            sql.push_str(&format!(" ELSE {} END", self.convert(last, ty, true)?));
        }
        Ok(Operand::expression(sql, ty).with_collation(collation))
    }

    /// The type that several alternatives have in common. All must be plaintext.
    pub(crate) fn common_type(
        &mut self,
        operands: &[Operand],
    ) -> Result<(SqlType, Option<Collation>)> {
        let all: Vec<&Operand> = operands.iter().collect();
        self.require_plain(&all)?;
        let mut common: Option<SqlType> = None;
        for ty in operands.iter().filter_map(|operand| operand.ty) {
            common = Some(common.map_or(ty, |common| higher(common, ty)));
        }
        let ty = common.ok_or_else(|| {
            SqlError::new(
                8133,
                "None of the result expressions in a CASE specification can be the NULL constant.",
            )
        })?;
        Ok((ty, operands.iter().find_map(|operand| operand.collation.clone())))
    }

    pub(crate) fn arithmetic(
        &mut self,
        op: &BinaryOperator,
        left: &Operand,
        right: &Operand,
    ) -> Result<Operand> {
        let symbol = match op {
            BinaryOperator::Plus => "+",
            BinaryOperator::Minus => "-",
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::Modulo => "%",
            _ => {
                return Err(SqlError::unsupported(format!("the operator {op} in this place")));
            }
        };
        if left.encryption.is_some() || right.encryption.is_some() {
            let show = |operand: &Operand| match (operand.ty, operand.encryption) {
                (Some(ty), Some(_)) => {
                    format!(
                        "{ty} encrypted with {}",
                        self.catalogue.describe_encryption(operand.encryption)
                    )
                }
                (ty, _) => ty.map_or("NULL", SqlType::name).to_owned(),
            };
            return Err(incompatible(&show(left), &show(right), symbol));
        }
        self.suggest_type(left, right.ty);
        self.suggest_type(right, left.ty);
        self.require_plain(&[left, right])?;
        let (Some(a), Some(b)) = (left.ty.or(right.ty), right.ty.or(left.ty)) else {
            return Ok(Operand::null());
        };
        let result = arithmetic_type(symbol, a, b)?;
        let collation = left.collation.clone().or_else(|| right.collation.clone());
        let sql = format!(
            "tds_arithmetic('{symbol}', {}, '{a}', {}, '{b}', '{result}')",
            left.sql, right.sql
        );
        Ok(Operand::expression(sql, result).with_collation(collation))
    }
}

pub(crate) fn unsupported(expr: &Expr) -> SqlError {
    let shown: String = expr.to_string().chars().take(80).collect();
    SqlError::unsupported(format!("the expression {shown}"))
}

fn incompatible(left: &str, right: &str, symbol: &str) -> SqlError {
    let name = match symbol {
        "+" => "add",
        "-" => "subtract",
        "*" => "multiply",
        "/" => "divide",
        _ => "modulo",
    };
    SqlError::new(
        402,
        format!("The data types {left} and {right} are incompatible in the {name} operator."),
    )
}

/// Data type precedence, among those that are here.
fn rank(ty: SqlType) -> u8 {
    use SqlType::*;
    match ty {
        Binary(_) => 0,
        VarBinary(_) => 1,
        Char(_) => 2,
        VarChar(_) => 3,
        NChar(_) => 4,
        NVarChar(_) => 5,
        UniqueIdentifier => 6,
        RowVersion => 7,
        Image => 8,
        Text => 9,
        NText => 10,
        Bit => 11,
        TinyInt => 12,
        SmallInt => 13,
        Int => 14,
        BigInt => 15,
        SmallMoney => 16,
        Money => 17,
        Decimal { .. } => 18,
        Real => 19,
        Float => 20,
        Time(_) => 21,
        Date => 22,
        SmallDateTime => 23,
        DateTime => 24,
        DateTime2(_) => 25,
        DateTimeOffset(_) => 26,
        Xml => 27,
        Variant => 28,
    }
}

/// The type that both are converted to, wide enough for both.
pub(crate) fn higher(a: SqlType, b: SqlType) -> SqlType {
    use SqlType::*;
    let (low, high) = if rank(a) <= rank(b) { (a, b) } else { (b, a) };
    match (low, high) {
        (Decimal { precision: p, scale: s, .. }, Decimal { precision: q, scale: t, .. }) => {
            let scale = s.max(t);
            let whole = p.saturating_sub(s).max(q.saturating_sub(t));
            let precision = whole.saturating_add(scale).min(MAX_DIGITS);
            let scale = scale.min(precision.saturating_sub(whole));
            Decimal { precision, scale, named_numeric: true }
        }
        (other, Decimal { .. }) if matches!(other.family(), Family::Integer | Family::Decimal) => {
            higher(as_decimal(other), high)
        }
        (Time(a), Time(b)) => Time(a.max(b)),
        (DateTime2(a), DateTime2(b)) => DateTime2(a.max(b)),
        (DateTimeOffset(a), DateTimeOffset(b)) => DateTimeOffset(a.max(b)),
        (low, DateTime2(scale)) => DateTime2(scale.max(low.precision_scale().1).max(3)),
        (low, DateTimeOffset(scale)) => DateTimeOffset(scale.max(low.precision_scale().1).max(3)),
        (low, high) => match (length(low), length(high)) {
            (Some(a), Some(b)) => with_length(high, longer(a, b)),
            _ => high,
        },
    }
}

fn length(ty: SqlType) -> Option<Length> {
    use SqlType::*;
    match ty {
        Char(n) | NChar(n) | Binary(n) => Some(Length::N(n)),
        VarChar(n) | NVarChar(n) | VarBinary(n) => Some(n),
        _ => None,
    }
}

fn longer(a: Length, b: Length) -> Length {
    match (a, b) {
        (Length::N(a), Length::N(b)) => Length::N(a.max(b)),
        _ => Length::Max,
    }
}

fn with_length(ty: SqlType, n: Length) -> SqlType {
    use SqlType::*;
    match (ty, n) {
        (Char(_), Length::N(n)) => Char(n),
        (NChar(_), Length::N(n)) => NChar(n.min(4000)),
        (Binary(_), Length::N(n)) => Binary(n),
        (Char(_) | VarChar(_), n) => VarChar(n),
        (NVarChar(_), Length::N(n)) if n <= 4000 => NVarChar(Length::N(n)),
        (NChar(_) | NVarChar(_), _) => NVarChar(Length::Max),
        (_, n) => VarBinary(n),
    }
}

/// The decimal that holds every value of an exact type.
fn as_decimal(ty: SqlType) -> SqlType {
    let (precision, scale) = ty.precision_scale();
    SqlType::Decimal { precision, scale, named_numeric: true }
}

fn arithmetic_type(symbol: &str, a: SqlType, b: SqlType) -> Result<SqlType> {
    use SqlType::*;
    let high = higher(a, b);
    if [a, b].into_iter().any(|ty| !ty.is_encryptable() && ty != RowVersion) {
        return Err(incompatible(a.name(), b.name(), symbol));
    }
    if symbol == "+" && a.is_text() && b.is_text() {
        let sum = match (length(a), length(b)) {
            (Some(Length::N(a)), Some(Length::N(b))) => {
                let limit = if matches!(high, NChar(_) | NVarChar(_)) { 4000 } else { 8000 };
                Length::N(a.saturating_add(b).min(limit))
            }
            _ => Length::Max,
        };
        return Ok(if matches!(high, NChar(_) | NVarChar(_)) {
            NVarChar(sum)
        } else {
            VarChar(sum)
        });
    }
    let numeric = |ty: SqlType| ty.is_numeric() || ty.is_text();
    if !numeric(a) || !numeric(b) || high.is_text() || high == Bit {
        return Err(incompatible(a.name(), b.name(), symbol));
    }
    let Decimal { .. } = high else {
        return Ok(high);
    };
    let side = |ty: SqlType| {
        if ty.is_text() { as_decimal(high) } else { as_decimal(ty) }.precision_scale()
    };
    let ((p1, s1), (p2, s2)) = (side(a), side(b));
    let wide = |n: u8| u16::from(n);
    let (precision, scale) = match symbol {
        "+" | "-" => {
            let scale = s1.max(s2);
            (wide(p1.saturating_sub(s1).max(p2.saturating_sub(s2))) + wide(scale) + 1, wide(scale))
        }
        "*" => (wide(p1) + wide(p2) + 1, wide(s1) + wide(s2)),
        "/" => {
            let scale = (wide(s1) + wide(p2) + 1).max(6);
            (wide(p1).saturating_sub(wide(s1)) + wide(s2) + scale, scale)
        }
        _ => {
            let scale = s1.max(s2);
            (wide(p1.saturating_sub(s1).min(p2.saturating_sub(s2))) + wide(scale), wide(scale))
        }
    };
    Ok(squeeze(precision, scale, matches!(symbol, "*" | "/")))
}

/// What SQL Server does with a result wider than 38 digits.
fn squeeze(precision: u16, scale: u16, product: bool) -> SqlType {
    let limit = u16::from(MAX_DIGITS);
    let whole = precision.saturating_sub(scale);
    let scale = if precision <= limit {
        scale
    } else if product {
        scale.min(limit.saturating_sub(whole).max(scale.min(6)))
    } else {
        scale.min(limit.saturating_sub(whole.min(limit)))
    };
    let narrow = |n: u16| u8::try_from(n.min(limit)).unwrap_or(MAX_DIGITS);
    SqlType::Decimal {
        precision: narrow(precision).max(1),
        scale: narrow(scale),
        named_numeric: true,
    }
}
