//! SELECT.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, ObjectName, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, WildcardAdditionalOptions,
};

use crate::catalogue::Encryption;
use crate::error::{Result, SqlError};
use crate::sql::bind::{Bind, Binder, Grouping, Operand, Source};
use crate::sql::incomparable::{require_distinguishable, require_sortable};
use crate::sql::names;
use crate::sql::scope::{Scope, ScopeColumn};
use crate::tds::token::ResultColumn;
use crate::types::SqlType;

/// A bound SELECT. Its SQLite columns are called r0, r1, ...
#[derive(Debug, Clone)]
pub(crate) struct SelectPlan {
    pub(crate) sql: String,
    pub(crate) columns: Vec<ResultColumn>,
    encryptions: Vec<Option<Encryption>>,
    /// The parameters that a column is, and nothing else.
    parameters: Vec<Vec<usize>>,
    /// Columns that are nothing but NULL, and would take any type.
    untyped: Vec<bool>,
    /// The variables that its columns are assigned to, instead of being a result.
    pub(crate) assigned: Vec<usize>,
    /// What they are assigned, if they are also read: to be evaluated for each row of the query.
    pub(crate) per_row: Option<PerRow>,
}

/// A SELECT of the values of one row, whose columns are its parameters from [`FIRST_ROW_VALUE`] on.
#[derive(Debug, Clone)]
pub(crate) struct PerRow {
    pub(crate) sql: String,
    pub(crate) columns: usize,
}

/// No statement has as many constants and parameters before.
pub(crate) const FIRST_ROW_VALUE: usize = 20_000;

impl SelectPlan {
    pub(crate) fn single_column(&self) -> Result<&ResultColumn> {
        match self.columns.as_slice() {
            [column] => Ok(column),
            _ => Err(SqlError::new(
                116,
                "Only one expression can be specified in the select list when the subquery is not introduced with \
                 EXISTS.",
            )),
        }
    }

    /// What UNION makes of two.
    pub(crate) fn combined(
        sql: String,
        columns: Vec<ResultColumn>,
        left: &Self,
        right: &Self,
    ) -> Self {
        let untyped = left.untyped.iter().zip(&right.untyped).map(|(a, b)| *a && *b).collect();
        let (assigned, per_row) = (Vec::new(), None);
        let encryptions =
            left.encryptions.iter().zip(&right.encryptions).map(|(a, b)| a.or(*b)).collect();
        let parameters =
            left.parameters.iter().zip(&right.parameters).map(|(a, b)| [&a[..], b].concat());
        let parameters = parameters.collect();
        Self { sql, columns, encryptions, parameters, untyped, assigned, per_row }
    }

    /// The same columns out of another statement.
    pub(crate) fn wrapped(self, sql: String) -> Self {
        Self { sql, ..self }
    }

    pub(crate) fn is_untyped(&self, column: usize) -> bool {
        self.untyped.get(column).copied().unwrap_or_default()
    }

    pub(crate) fn encryption_of(&self, column: usize) -> Option<Encryption> {
        self.encryptions.get(column).copied().flatten()
    }

    /// Its columns as operands, for INSERT ... SELECT. They need no names.
    pub(crate) fn scope_operands(&self, alias: &str) -> Vec<Operand> {
        let columns = self.columns.iter().zip(&self.encryptions).enumerate();
        columns
            .map(|(i, (column, encryption))| Operand {
                encryption: *encryption,
                source: if encryption.is_some() {
                    Source::Column(column.name.clone())
                } else {
                    Source::Expression
                },
                parameters: self.parameters.get(i).cloned().unwrap_or_default(),
                ..Operand::expression(format!("{alias}.r{i}"), column.ty)
            })
            .collect()
    }

    /// As the columns of a derived table.
    pub(crate) fn scope_columns(&self, alias: &str) -> Result<Vec<ScopeColumn>> {
        let columns = self.columns.iter().zip(&self.encryptions).enumerate();
        columns
            .map(|(i, (column, encryption))| {
                if column.name.is_empty() {
                    let n = i.saturating_add(1);
                    return Err(SqlError::new(
                        8155,
                        format!("No column name was specified for column {n}."),
                    ));
                }
                Ok(ScopeColumn {
                    name: column.name.clone(),
                    sql: format!("{alias}.r{i}"),
                    ty: column.ty,
                    collation: column.ty.is_text().then(|| column.collation.clone()),
                    nullable: column.nullable,
                    identity: false,
                    encryption: *encryption,
                    stored: false,
                    parameters: self.parameters.get(i).cloned().unwrap_or_default(),
                })
            })
            .collect()
    }
}

/// One item of the select list.
pub(crate) struct Item {
    pub(super) name: String,
    pub(super) operand: Operand,
    stored: bool,
    /// Schema and name of its table, of text, ntext and image only.
    table: Option<[String; 2]>,
    /// `@x = ...`
    assigned: Option<usize>,
}

impl Item {
    pub(crate) fn plain(name: String, operand: Operand) -> Self {
        Self { name, operand, stored: false, table: None, assigned: None }
    }
}

impl Binder<'_> {
    /// A query that is not the statement itself.
    pub(crate) fn subquery(&mut self, query: &Query) -> Result<SelectPlan> {
        let grouping = self.grouping.take();
        let (allowed, saw) = (self.aggregates_allowed, self.saw_aggregate);
        let plan = self.deeper(|binder| binder.query(query));
        (self.aggregates_allowed, self.saw_aggregate) = (allowed, saw);
        self.grouping = grouping;
        match plan {
            Ok(plan) if !plan.assigned.is_empty() => Err(SqlError::syntax("=")),
            plan => plan,
        }
    }

    pub(crate) fn query(&mut self, query: &Query) -> Result<SelectPlan> {
        let named = self.named.len();
        if let Some(with) = &query.with {
            self.with(with)?;
        }
        let plan = self.query_body(query);
        self.named.truncate(named);
        plan
    }

    fn query_body(&mut self, query: &Query) -> Result<SelectPlan> {
        let odd = !query.locks.is_empty()
            || query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        if odd {
            return Err(SqlError::unsupported("the FOR clause"));
        }
        let select = match query.body.as_ref() {
            SetExpr::Select(select) => select,
            SetExpr::Query(inner) if query.order_by.is_none() && query.limit_clause.is_none() => {
                return self.deeper(|binder| binder.query(inner));
            }
            body @ SetExpr::SetOperation { .. } => return self.set_operation(body, query),
            _ => return Err(SqlError::unsupported("this kind of query")),
        };
        self.in_new_scope(|binder| binder.select(select, Some(query)))
    }

    pub(crate) fn in_new_scope<T>(
        &mut self,
        bind: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.scopes.push(Scope::default());
        let result = bind(self);
        self.scopes.pop();
        result
    }

    /// `query` has its ORDER BY and OFFSET, if it is not an operand of UNION.
    pub(crate) fn select(&mut self, select: &Select, query: Option<&Query>) -> Result<SelectPlan> {
        check_select(select)?;
        self.aggregates_allowed = false;
        self.grouping = None;
        let from = if select.from.is_empty() { None } else { Some(self.bind_from(&select.from)?) };
        let selection =
            select.selection.as_ref().map(|condition| self.condition(condition)).transpose()?;
        let keys = self.group_by(&select.group_by)?;
        let binds = self.binds.len();
        let verdicts = self.verdicts.clone();
        self.aggregates_allowed = true;
        self.saw_aggregate = false;
        self.grouping = (!keys.is_empty())
            .then(|| Grouping { keys: keys.iter().map(|key| key.sql.clone()).collect() });
        let mut items = self.projection(&select.projection)?;
        let mut having =
            select.having.as_ref().map(|condition| self.condition(condition)).transpose()?;
        if self.saw_aggregate && keys.is_empty() {
            // An aggregate makes the whole result one group, in which columns may not stand alone.
            self.binds.truncate(binds);
            self.verdicts = verdicts;
            self.grouping = Some(Grouping { keys: Vec::new() });
            items = self.projection(&select.projection)?;
            having =
                select.having.as_ref().map(|condition| self.condition(condition)).transpose()?;
        }
        let distinct = matches!(select.distinct, Some(Distinct::Distinct));
        let assigned = self.assignment_targets(&items)?;
        let reads = assigned.iter().any(|target| self.binds.contains(&Bind::Parameter(*target)));
        let per_row = if reads && from.is_some() {
            let grouped = distinct || !keys.is_empty() || having.is_some() || self.saw_aggregate;
            let encrypted = items.iter().any(|item| item.operand.encryption.is_some());
            if grouped || encrypted || self.binds.len() >= FIRST_ROW_VALUE {
                let what = "this SELECT that assigns a variable and reads it";
                return Err(SqlError::unsupported(what));
            }
            Some(self.per_row(&items))
        } else {
            None
        };
        let mut sql = if distinct { "SELECT DISTINCT ".to_owned() } else { "SELECT ".to_owned() };
        match &per_row {
            None => sql.push_str(&self.select_list(&items, distinct)?),
            Some((_, columns)) => sql.push_str(columns),
        }
        if let Some(from) = from {
            sql.push_str(&format!(" FROM {from}"));
        }
        if let Some(condition) = selection {
            sql.push_str(&format!(" WHERE {condition}"));
        }
        if !keys.is_empty() {
            let keys: Vec<String> = keys.iter().map(Operand::collated).collect();
            sql.push_str(&format!(" GROUP BY {}", keys.join(", ")));
        }
        if let Some(condition) = having {
            sql.push_str(&format!(" HAVING {condition}"));
        }
        if let Some(order) = query.and_then(|query| query.order_by.as_ref()) {
            sql.push_str(&self.order_by(order, &items)?);
        }
        sql.push_str(&self.limit(select.top.as_ref(), query)?);
        Ok(SelectPlan {
            sql,
            assigned,
            per_row: per_row.map(|(per_row, _)| per_row),
            ..of_items(String::new(), items)
        })
    }

    /// One row of a table value constructor, under those names.
    pub(super) fn values_row(&mut self, row: &[Expr], names: &[String]) -> Result<SelectPlan> {
        let mut items = Vec::new();
        for (expr, name) in row.iter().zip(names) {
            let operand = self.scalar(expr)?;
            items.push(Item::plain(name.clone(), operand));
        }
        let sql = format!("SELECT {}", self.select_list(&items, false)?);
        Ok(of_items(sql, items))
    }

    fn group_by(&mut self, group_by: &GroupByExpr) -> Result<Vec<Operand>> {
        let GroupByExpr::Expressions(exprs, modifiers) = group_by else {
            return Err(SqlError::unsupported("GROUP BY ALL"));
        };
        if !modifiers.is_empty() {
            return Err(SqlError::unsupported("GROUP BY with modifiers"));
        }
        let mut keys = Vec::new();
        for expr in exprs {
            let key = self.scalar(expr)?;
            if !matches!(key.source, Source::Column(_)) {
                return Err(SqlError::unsupported("GROUP BY of anything but columns"));
            }
            self.require_groupable(&key)?;
            require_sortable(&key)?;
            keys.push(key);
        }
        Ok(keys)
    }

    fn select_list(&mut self, items: &[Item], distinct: bool) -> Result<String> {
        let mut parts = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let sql = if distinct {
                self.require_groupable(&item.operand)?;
                require_distinguishable(&item.operand)?;
                item.operand.collated()
            } else {
                item.operand.sql.clone()
            };
            parts.push(format!("{sql} AS r{i}"));
        }
        Ok(parts.join(", "))
    }

    fn projection(&mut self, projection: &[SelectItem]) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for item in projection {
            match item {
                SelectItem::UnnamedExpr(expr) => items.push(self.item(expr, None)?),
                SelectItem::ExprWithAlias { expr, alias } => {
                    items.push(self.item(expr, Some(alias))?)
                }
                SelectItem::Wildcard(options) => {
                    check_wildcard(options)?;
                    items.extend(self.all_columns(None)?);
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) => {
                    check_wildcard(options)?;
                    items.extend(self.all_columns(Some(name))?);
                }
                other => return Err(SqlError::unsupported(format!("the select item {other}"))),
            }
        }
        Ok(items)
    }

    fn item(&mut self, expr: &Expr, alias: Option<&Ident>) -> Result<Item> {
        if let Some(variable) = alias.filter(|alias| alias.value.starts_with('@')) {
            return self.assignment(expr, &variable.value);
        }
        let operand = self.scalar(expr)?;
        let column = matches!(operand.source, Source::Column(_));
        let stored = column && self.is_stored(&operand.sql);
        let name = match (alias, &operand.source) {
            (Some(alias), _) => alias.value.clone(),
            (None, Source::Column(name)) => name.clone(),
            _ => String::new(),
        };
        let table = self.table_of(&operand);
        Ok(Item { name, operand, stored, table, assigned: None })
    }

    /// `@x = expr`: the value is what the variable will hold.
    fn assignment(&mut self, expr: &Expr, variable: &str) -> Result<Item> {
        let operand = self.scalar(expr)?;
        let target = self.parameter_index(variable)?;
        self.check_variable(target, &operand)?;
        let ty = self.parameters.get(target).map_or(SqlType::Int, |parameter| parameter.ty);
        let sql = if operand.encryption.is_some() {
            operand.sql.clone()
        } else {
            self.convert(&operand, ty, true)?
        };
        let operand = Operand { encryption: operand.encryption, ..Operand::expression(sql, ty) };
        Ok(Item { assigned: Some(target), ..Item::plain(String::new(), operand) })
    }

    /// Each row sees what the row before it has assigned, so the values are not evaluated with the rows but one after
    /// the other: the SELECT of the values of one row, and the columns that rows must have for it.
    fn per_row(&self, items: &[Item]) -> (PerRow, String) {
        let mut columns = Vec::new();
        let mut tables = Vec::new();
        for table in self.scopes.last().map(|scope| scope.tables.as_slice()).unwrap_or_default() {
            let mut names = Vec::new();
            let mut alias = "";
            for column in &table.columns {
                if let Some((qualifier, name)) = column.sql.split_once('.')
                    && items.iter().any(|item| item.operand.sql.contains(&column.sql))
                {
                    alias = qualifier;
                    let at = FIRST_ROW_VALUE.saturating_add(columns.len());
                    names.push(format!("?{at} AS {name}"));
                    columns.push(column.sql.clone());
                }
            }
            if !names.is_empty() {
                tables.push(format!("(SELECT {}) AS {alias}", names.join(", ")));
            }
        }
        let values: Vec<&str> = items.iter().map(|item| item.operand.sql.as_str()).collect();
        let mut sql = format!("SELECT {}", values.join(", "));
        if !tables.is_empty() {
            sql.push_str(&format!(" FROM {}", tables.join(", ")));
        }
        let count = columns.len();
        let columns = if columns.is_empty() { "NULL".to_owned() } else { columns.join(", ") };
        (PerRow { sql, columns: count }, columns)
    }

    /// The targets of a SELECT that assigns, all of whose items must.
    fn assignment_targets(&self, items: &[Item]) -> Result<Vec<usize>> {
        let targets: Vec<usize> = items.iter().filter_map(|item| item.assigned).collect();
        if !targets.is_empty() && targets.len() != items.len() {
            return Err(SqlError::new(
                141,
                "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval \
                 operations.",
            )
            .class(15));
        }
        Ok(targets)
    }

    fn is_stored(&self, sql: &str) -> bool {
        let columns =
            self.scopes.iter().flat_map(|scope| &scope.tables).flat_map(|table| &table.columns);
        columns.filter(|column| column.stored).any(|column| column.sql == sql)
    }

    fn table_of(&self, operand: &Operand) -> Option<[String; 2]> {
        operand.ty.filter(|ty| ty.is_legacy())?;
        let mut tables = self.scopes.iter().flat_map(|scope| &scope.tables);
        let table =
            tables.find(|table| table.columns.iter().any(|c| c.stored && c.sql == operand.sql))?;
        let known = self.catalogue.tables.iter().find(|t| Some(t.object_id) == table.object_id)?;
        Some([known.schema.clone(), known.name.clone()])
    }

    fn all_columns(&mut self, table: Option<&ObjectName>) -> Result<Vec<Item>> {
        let wanted = table.map(names::last).transpose()?;
        let scope = self.scopes.last().cloned().unwrap_or_default();
        let mut items = Vec::new();
        for table in &scope.tables {
            if wanted.as_ref().is_some_and(|wanted| !table.name.eq_ignore_ascii_case(wanted)) {
                continue;
            }
            for column in &table.columns {
                let operand = column.operand();
                if let Some(grouping) = &self.grouping
                    && !grouping.keys.contains(&operand.sql)
                {
                    return Err(SqlError::unsupported("* together with GROUP BY or aggregates"));
                }
                items.push(Item {
                    name: column.name.clone(),
                    table: self.table_of(&operand),
                    operand,
                    stored: column.stored,
                    assigned: None,
                });
            }
        }
        match (items.is_empty(), wanted) {
            (true, Some(wanted)) => Err(SqlError::new(
                107,
                format!(
                    "The column prefix '{wanted}' does not match with a table name or alias name used in the query."
                ),
            )),
            (true, None) => Err(SqlError::new(263, "Must specify table to select from.")),
            _ => Ok(items),
        }
    }
}

fn of_items(sql: String, items: Vec<Item>) -> SelectPlan {
    SelectPlan {
        sql,
        assigned: Vec::new(),
        per_row: None,
        untyped: items.iter().map(|item| item.operand.ty.is_none()).collect(),
        encryptions: items.iter().map(|item| item.operand.encryption).collect(),
        parameters: items.iter().map(|item| item.operand.own_parameters()).collect(),
        columns: items.into_iter().map(result_column).collect(),
    }
}

fn result_column(item: Item) -> ResultColumn {
    let Item { name, operand, stored, table, assigned: _ } = item;
    ResultColumn {
        name,
        // An untyped NULL is an int.
        ty: operand.ty.unwrap_or(SqlType::Int),
        collation: operand.collation.unwrap_or_default(),
        nullable: operand.nullable,
        identity: operand.identity,
        updateable: stored,
        crypto: operand.encryption.map(Encryption::on_wire),
        table,
    }
}

fn check_wildcard(options: &WildcardAdditionalOptions) -> Result<()> {
    if *options == WildcardAdditionalOptions::default() {
        Ok(())
    } else {
        Err(SqlError::syntax("*"))
    }
}

fn check_select(select: &Select) -> Result<()> {
    let odd = select.into.is_some()
        || !select.lateral_views.is_empty()
        || select.prewhere.is_some()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
        || !select.named_window.is_empty()
        || select.qualify.is_some()
        || select.value_table_mode.is_some()
        || !select.connect_by.is_empty()
        || select.exclude.is_some()
        || select.select_modifiers.is_some()
        || select.flavor != SelectFlavor::Standard
        || matches!(select.distinct, Some(Distinct::On(_)));
    if odd {
        Err(SqlError::unsupported("SELECT with INTO or clauses of other dialects"))
    } else {
        Ok(())
    }
}
