//! Expressions: what they stand for, and what is compared in them.

use sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    InTarget, UnaryOperator, WindowType,
};

use super::{
    names::{parts, same},
    sources::{Meaning, Scope},
    walk::{Walk, Walked},
};

impl Walk {
    /// Relates whatever is compared in an expression, and says what it stands for itself.
    pub(super) fn value(&mut self, expr: &Expr, scope: &Scope<'_>) -> Walked<Meaning> {
        self.deeper(|walk| walk.value_here(expr, scope))
    }

    /// Relates whatever is compared in expressions that stand for nothing themselves.
    pub(super) fn values<'e>(
        &mut self,
        exprs: impl IntoIterator<Item = &'e Expr>,
        scope: &Scope<'_>,
    ) -> Walked {
        for expr in exprs {
            self.value(expr, scope)?;
        }
        Ok(())
    }

    fn value_here(&mut self, expr: &Expr, scope: &Scope<'_>) -> Walked<Meaning> {
        match expr {
            Expr::Identifier(name) => return self.name(std::slice::from_ref(name), scope),
            Expr::CompoundIdentifier(parts) => return self.name(parts, scope),
            Expr::Nested(inner)
            | Expr::Collate { expr: inner, .. }
            | Expr::UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus, expr: inner } => {
                return self.value(inner, scope);
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                return self.case(operand.as_deref(), conditions, else_result.as_deref(), scope);
            }
            Expr::Function(function) => return self.function(function, scope),
            Expr::Subquery(query) => {
                let relation = self.query(query, Some(scope))?;
                return self.single(&relation);
            }
            Expr::BinaryOp { .. } => self.chain(expr, scope)?,
            Expr::IsDistinctFrom(a, b)
            | Expr::IsNotDistinctFrom(a, b)
            | Expr::AnyOp { left: a, right: b, .. }
            | Expr::AllOp { left: a, right: b, .. } => self.compare(a, [&**b], scope)?,
            Expr::Like { expr, pattern, escape_char, .. } => {
                self.compare(expr, [&**pattern], scope)?;
                self.values(escape_char.as_deref(), scope)?;
            }
            Expr::Between { expr, low, high, .. } => {
                self.compare(expr, [&**low, &**high], scope)?;
            }
            Expr::In { expr, target, .. } => self.one_of(expr, target, scope)?,
            Expr::Exists { subquery, .. } => {
                self.query(subquery, Some(scope))?;
            }
            Expr::UnaryOp { expr: inner, .. }
            | Expr::Cast { expr: inner, .. }
            | Expr::Convert { expr: inner, .. }
            | Expr::AtTimeZone { timestamp: inner, .. }
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::Trim { expr: inner, .. }
            | Expr::Substring { expr: inner, .. }
            | Expr::Ceil { expr: inner, .. }
            | Expr::Floor { expr: inner, .. } => {
                self.value(inner, scope)?;
            }
            Expr::Tuple(items) => self.values(items, scope)?,
            _ => {}
        }
        Ok(Meaning::default())
    }

    /// A chain of operators leans to the left and can be long: `a = 1 OR a = 2 OR …`.
    fn chain(&mut self, expr: &Expr, scope: &Scope<'_>) -> Walked {
        let mut links = Vec::new();
        let mut first = expr;
        while let Expr::BinaryOp { left, op, right } = first {
            links.push((op, &**right));
            first = left;
        }
        let mut left = self.value(first, scope)?;
        for (op, right) in links.into_iter().rev() {
            let right = self.value(right, scope)?;
            if is_comparison(op) {
                self.relate(&left, &right)?;
            }
            left = Meaning::default();
        }
        Ok(())
    }

    fn compare<'e>(
        &mut self,
        expr: &Expr,
        others: impl IntoIterator<Item = &'e Expr>,
        scope: &Scope<'_>,
    ) -> Walked {
        let value = self.value(expr, scope)?;
        for other in others {
            let other = self.value(other, scope)?;
            self.relate(&value, &other)?;
        }
        Ok(())
    }

    fn one_of(&mut self, expr: &Expr, target: &InTarget, scope: &Scope<'_>) -> Walked {
        match target {
            InTarget::List(items) => self.compare(expr, items, scope),
            InTarget::Subquery(query) => {
                let value = self.value(expr, scope)?;
                let relation = self.query(query, Some(scope))?;
                let other = self.single(&relation)?;
                self.relate(&value, &other)
            }
            InTarget::Unnest(_) | InTarget::Table { .. } => self.values([expr], scope),
        }
    }

    /// One of several values, which are of one type.
    fn either<'e>(
        &mut self,
        exprs: impl IntoIterator<Item = &'e Expr>,
        scope: &Scope<'_>,
    ) -> Walked<Meaning> {
        let mut either = Meaning::default();
        for expr in exprs {
            let value = self.value(expr, scope)?;
            self.relate(&either, &value)?;
            either.extend(value);
        }
        Ok(either)
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        else_result: Option<&Expr>,
        scope: &Scope<'_>,
    ) -> Walked<Meaning> {
        let tests = conditions.iter().map(|case| &case.condition);
        match operand {
            Some(operand) => self.compare(operand, tests, scope)?,
            None => self.values(tests, scope)?,
        }
        self.either(conditions.iter().map(|case| &case.result).chain(else_result), scope)
    }

    fn function(&mut self, function: &Function, scope: &Scope<'_>) -> Walked<Meaning> {
        if let Some(WindowType::WindowSpec(window)) = &function.over {
            self.values(&window.partition_by, scope)?;
            self.values(window.order_by.iter().map(|by| &by.expr), scope)?;
        }
        let arguments = match &function.args {
            FunctionArguments::List(list) => list.args.iter().filter_map(argument).collect(),
            FunctionArguments::Subquery(query) => {
                self.query(query, Some(scope))?;
                return Ok(Meaning::default());
            }
            FunctionArguments::None => Vec::new(),
        };
        let names = parts(&function.name);
        let is = |name: &str| matches!(names.as_slice(), [own] if same(&own.value, name));
        match arguments.as_slice() {
            [condition, results @ ..] if is("IIF") => {
                self.value(condition, scope)?;
                self.either(results.iter().copied(), scope)
            }
            [value, other] if is("NULLIF") => {
                let value = self.value(value, scope)?;
                let other = self.value(other, scope)?;
                self.relate(&value, &other)?;
                Ok(value)
            }
            all if is("ISNULL") || is("COALESCE") => self.either(all.iter().copied(), scope),
            all => {
                self.values(all.iter().copied(), scope)?;
                Ok(Meaning::default())
            }
        }
    }
}

pub(super) fn argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
        | FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. }
        | FunctionArg::ExprNamed { arg: FunctionArgExpr::Expr(expr), .. } => Some(expr),
        _ => None,
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::Gt
            | BinaryOperator::LtEq
            | BinaryOperator::GtEq
    )
}
