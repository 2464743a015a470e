//! Queries: what they compare, and what their columns stand for.

use std::rc::Rc;

use sqlparser::ast::{
    Cte, Expr, GroupByExpr, Join, JoinConstraint, JoinOperator, OrderBy, OrderByKind, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor,
    TableFunctionArgs, TableWithJoins, Values,
};

use super::{
    ObjectName,
    expression::argument,
    names::{parts, same, variable},
    sources::{Meaning, Output, Relation, Rows, Scope, Source, table_variable},
    walk::{Walk, Walked},
};

/// Hints that T-SQL lets stand behind a table without WITH.
const BARE_HINTS: [&str; 8] =
    ["NOLOCK", "READUNCOMMITTED", "READPAST", "UPDLOCK", "ROWLOCK", "TABLOCK", "HOLDLOCK", "XLOCK"];

impl Walk {
    /// Walks a query that may name the columns of the queries around it.
    pub(super) fn query(
        &mut self,
        query: &Query,
        outer: Option<&Scope<'_>>,
    ) -> Walked<Rc<Relation>> {
        self.deeper(|walk| {
            let outside = walk.ctes.len();
            for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
                walk.cte_of(cte)?;
            }
            let relation = walk.body(&query.body, query.order_by.as_ref(), outer, None)?;
            walk.ctes.truncate(outside);
            Ok(Rc::new(relation))
        })
    }

    /// The one column of a subquery that stands for a value or a list of them.
    pub(super) fn single(&mut self, relation: &Relation) -> Walked<Meaning> {
        match relation.outputs.as_slice() {
            [Output::Column(_, meaning)] => self.copy(meaning),
            _ => Ok(Meaning::default()),
        }
    }

    fn cte_of(&mut self, cte: &Cte) -> Walked {
        let at = self.ctes.len();
        // Its own name is known in it, and is no table.
        self.ctes.push((cte.alias.name.value.to_lowercase(), Rc::default()));
        let inside = self.ctes.len();
        for cte in cte.query.with.iter().flat_map(|with| &with.cte_tables) {
            self.deeper(|walk| walk.cte_of(cte))?;
        }
        let relation =
            self.body(&cte.query.body, cte.query.order_by.as_ref(), None, Some((at, &cte.alias)))?;
        self.ctes.truncate(inside);
        self.define(at, &cte.alias, relation);
        Ok(())
    }

    fn define(&mut self, at: usize, alias: &TableAlias, relation: Relation) {
        if let Some((_, known)) = self.ctes.get_mut(at) {
            *known = Rc::new(relation.renamed(alias.columns.iter().map(|column| &column.name)));
        }
    }

    /// The branches of UNION, EXCEPT and INTERSECT, which lean to the left. Those of a recursive CTE
    /// see what the first makes of it.
    fn body(
        &mut self,
        body: &SetExpr,
        order_by: Option<&OrderBy>,
        outer: Option<&Scope<'_>>,
        recursive: Option<(usize, &TableAlias)>,
    ) -> Walked<Relation> {
        let mut others = Vec::new();
        let mut first = body;
        while let SetExpr::SetOperation { left, right, .. } = first {
            others.push(&**right);
            first = left;
        }
        let mut relation = self.branch(first, order_by, outer)?;
        if let (Some((at, alias)), false) = (recursive, others.is_empty()) {
            self.work(relation.outputs.len())?;
            self.define(at, alias, Relation::new(relation.outputs.clone()));
        }
        for other in others.into_iter().rev() {
            let other = self.branch(other, None, outer)?;
            relation = self.lined_up(relation, other)?;
        }
        Ok(relation)
    }

    /// Results on top of each other: columns at the same place are of one type.
    fn lined_up(&mut self, upper: Relation, lower: Relation) -> Walked<Relation> {
        self.work(upper.outputs.len() + lower.outputs.len())?;
        let mut outputs = Vec::with_capacity(upper.outputs.len());
        let mut lower = lower.outputs.into_iter();
        let mut certain = true;
        for mut output in upper.outputs {
            let beside = if certain { lower.next() } else { None };
            match (&mut output, beside) {
                (Output::Column(_, meaning), Some(Output::Column(_, other))) => {
                    self.work(other.len())?;
                    self.relate(meaning, &other)?;
                    meaning.extend(other);
                    outputs.push(output);
                }
                (_, beside) => {
                    certain = false;
                    outputs.push(output);
                    outputs.extend(beside.filter(|other| matches!(other, Output::Table(_))));
                }
            }
        }
        outputs.extend(lower.filter(|other| matches!(other, Output::Table(_))));
        Ok(Relation::new(outputs))
    }

    fn branch(
        &mut self,
        branch: &SetExpr,
        order_by: Option<&OrderBy>,
        outer: Option<&Scope<'_>>,
    ) -> Walked<Relation> {
        self.deeper(|walk| match branch {
            SetExpr::Select(select) => walk.select(select, order_by, outer),
            SetExpr::Query(query) => {
                let relation = walk.query(query, outer)?;
                walk.work(relation.outputs.len())?;
                Ok(Relation::new(relation.outputs.clone()))
            }
            SetExpr::SetOperation { .. } => walk.body(branch, None, outer, None),
            SetExpr::Values(values) => walk.rows(values, &Scope::within(outer)),
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => {
                walk.statement(statement)?;
                Ok(Relation::default())
            }
            SetExpr::Table(_) => Ok(Relation::default()),
        })
    }

    /// The columns of VALUES: each stands for what is at its place in any row.
    pub(super) fn rows(&mut self, values: &Values, scope: &Scope<'_>) -> Walked<Relation> {
        let mut columns: Vec<Meaning> = Vec::new();
        for row in &values.rows {
            for (place, expr) in row.content.iter().enumerate() {
                let value = self.value(expr, scope)?;
                match columns.get_mut(place) {
                    Some(column) => column.extend(value),
                    None => columns.push(value),
                }
            }
        }
        Ok(Relation::new(columns.into_iter().map(|column| Output::Column(None, column)).collect()))
    }

    fn select(
        &mut self,
        select: &Select,
        order_by: Option<&OrderBy>,
        outer: Option<&Scope<'_>>,
    ) -> Walked<Relation> {
        let mut scope = Scope::within(outer);
        self.from(&select.from, &mut scope)?;
        self.values(&select.selection, &scope)?;
        if let GroupByExpr::Expressions(by, _) = &select.group_by {
            self.values(by, &scope)?;
        }
        self.values(&select.having, &scope)?;
        if let Some(OrderByKind::Expressions(by)) = order_by.map(|by| &by.kind) {
            self.values(by.iter().map(|by| &by.expr), &scope)?;
        }
        self.projection(&select.projection, &scope)
    }

    /// A select list.
    pub(super) fn projection(
        &mut self,
        items: &[SelectItem],
        scope: &Scope<'_>,
    ) -> Walked<Relation> {
        let mut outputs = Vec::new();
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let value = self.value(expr, scope)?;
                    outputs.push(Output::Column(own_name(expr), value));
                }
                SelectItem::ExprWithAlias { expr, alias } if variable(alias).is_some() => {
                    let value = self.value(expr, scope)?;
                    self.assign(alias, &value)?;
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let value = self.value(expr, scope)?;
                    outputs.push(Output::Column(Some(alias.value.to_lowercase()), value));
                }
                SelectItem::Wildcard(_) => {
                    for source in &scope.sources {
                        self.all_of(source, &mut outputs)?;
                    }
                }
                SelectItem::QualifiedWildcard(kind, _) => {
                    let source = match kind {
                        SelectItemQualifiedWildcardKind::ObjectName(name) => {
                            self.work(scope.len())?;
                            scope.find(&parts(name))
                        }
                        SelectItemQualifiedWildcardKind::Expr(_) => None,
                    };
                    match source {
                        Some(source) => self.all_of(source, &mut outputs)?,
                        None => outputs.push(Output::Unknown),
                    }
                }
                SelectItem::ExprWithAliases { .. } => outputs.push(Output::Unknown),
            }
        }
        Ok(Relation::new(outputs))
    }

    fn all_of(&mut self, source: &Source, outputs: &mut Vec<Output>) -> Walked {
        match &source.rows {
            Rows::Table(table) => outputs.push(Output::Table(table.clone())),
            Rows::Query(relation) => {
                for output in &relation.outputs {
                    self.work(match output {
                        Output::Column(_, meaning) => meaning.len() + 1,
                        Output::Table(_) | Output::Unknown => 1,
                    })?;
                    outputs.push(output.clone());
                }
            }
            Rows::Unknown => outputs.push(Output::Unknown),
        }
        Ok(())
    }

    /// A FROM clause, with the conditions of its joins.
    pub(super) fn from(&mut self, from: &[TableWithJoins], scope: &mut Scope<'_>) -> Walked {
        let mut conditions = Vec::new();
        for tables in from {
            self.joined(tables, scope, &mut conditions)?;
        }
        self.values(conditions, scope)
    }

    fn joined<'q>(
        &mut self,
        tables: &'q TableWithJoins,
        scope: &mut Scope<'_>,
        conditions: &mut Vec<&'q Expr>,
    ) -> Walked {
        self.deeper(|walk| {
            walk.factor(&tables.relation, false, scope, conditions)?;
            for join in &tables.joins {
                let apply = matches!(
                    join.join_operator,
                    JoinOperator::CrossApply | JoinOperator::OuterApply
                );
                walk.factor(&join.relation, apply, scope, conditions)?;
                conditions.extend(condition(join));
            }
            Ok(())
        })
    }

    /// One member of a FROM clause. An applied one sees those before it.
    fn factor<'q>(
        &mut self,
        factor: &'q TableFactor,
        applied: bool,
        scope: &mut Scope<'_>,
        conditions: &mut Vec<&'q Expr>,
    ) -> Walked {
        let source = match factor {
            TableFactor::Table { name, alias, args, .. } if is_table(args.as_ref()) => {
                self.table(&parts(name), alias.as_ref())?
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let around = if applied { Some(&*scope) } else { scope.outer };
                let relation = self.query(subquery, around)?;
                self.work(relation.outputs.len())?;
                let columns = alias.iter().flat_map(|alias| &alias.columns);
                let relation = Relation::new(relation.outputs.clone())
                    .renamed(columns.map(|column| &column.name));
                Source { alias: alias_of(alias.as_ref()), rows: Rows::Query(Rc::new(relation)) }
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                return self.joined(table_with_joins, scope, conditions);
            }
            TableFactor::Table { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::OpenJsonTable { alias, .. }
            | TableFactor::Pivot { alias, .. }
            | TableFactor::Unpivot { alias, .. } => {
                Source { alias: alias_of(alias.as_ref()), rows: Rows::Unknown }
            }
            _ => Source { alias: None, rows: Rows::Unknown },
        };
        scope.sources.push(source);
        Ok(())
    }

    /// A table by its name, which can be a CTE's or a table variable's.
    pub(super) fn table(
        &mut self,
        name: &[&sqlparser::ast::Ident],
        alias: Option<&TableAlias>,
    ) -> Walked<Source> {
        let alias = alias_of(alias);
        if let Some(variable) = table_variable(name) {
            return Ok(Source { alias: alias.or(Some(variable)), rows: Rows::Unknown });
        }
        if let [name] = name
            && let Some(relation) = self.cte(&name.value)?
        {
            let alias = alias.or_else(|| Some(name.value.clone()));
            return Ok(Source { alias, rows: Rows::Query(relation) });
        }
        Ok(Source { alias, rows: ObjectName::of(name).map_or(Rows::Unknown, Rows::Table) })
    }
}

fn alias_of(alias: Option<&TableAlias>) -> Option<String> {
    alias.map(|alias| alias.name.value.clone())
}

/// The name that a column of a select list has without being given one.
fn own_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) if variable(name).is_none() => Some(name.value.to_lowercase()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.to_lowercase()),
        Expr::Collate { expr, .. } | Expr::Nested(expr) => match &**expr {
            Expr::Identifier(name) if variable(name).is_none() => Some(name.value.to_lowercase()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether what stands behind a name leaves it a table: nothing, or hints.
fn is_table(arguments: Option<&TableFunctionArgs>) -> bool {
    let is_hint = |expr: &Expr| match expr {
        Expr::Identifier(name) => BARE_HINTS.iter().any(|hint| same(hint, &name.value)),
        _ => false,
    };
    arguments.is_none_or(|arguments| {
        !arguments.args.is_empty()
            && arguments.args.iter().all(|hint| argument(hint).is_some_and(is_hint))
    })
}

fn condition(join: &Join) -> Option<&Expr> {
    match &join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => match constraint {
            JoinConstraint::On(condition) => Some(condition),
            _ => None,
        },
        _ => None,
    }
}
