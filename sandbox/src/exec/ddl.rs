//! CREATE TABLE, CREATE INDEX, DROP and TRUNCATE. Keys are `key_ddl`'s.

use sqlparser::ast::{
    ColumnDef, ColumnOption, CreateIndex, CreateTable, Expr, IdentityPropertyFormatKind,
    IdentityPropertyKind, IndexColumn, ObjectName, ObjectType, SchemaName,
    Statement as SqlStatement, TableConstraint, UnaryOperator,
};
use sqlparser::tokenizer::Token;

use crate::catalogue::{
    ALGORITHM_NAME, Column, Constraint, ConstraintKind, Encryption, EncryptionType, Table, store,
};
use crate::error::{Result, SqlError};
use crate::exec::constraints::{NewConstraint, NewKind};
use crate::exec::key_ddl::no_encryption_key;
use crate::exec::security::no_schema;
use crate::exec::session::Session;
use crate::sql::dialect::is_clustering;
use crate::sql::keys;
use crate::sql::names::{self, QualifiedName};
use crate::types::{Collation, Family, SqlType, storage};

impl Session {
    pub(crate) fn run_ddl(&mut self, statement: &SqlStatement) -> Result<()> {
        // The lock has been taken since the last look.
        self.refresh()?;
        match statement {
            SqlStatement::CreateTable(create) => self.create_table(create),
            SqlStatement::CreateIndex(create) => self.create_index(create),
            SqlStatement::Drop { object_type: ObjectType::Table, if_exists, names, .. } => {
                for name in names {
                    let name = self.name(name)?;
                    let found = self.catalogue.table(&name.schema, &name.name).cloned();
                    let allowed =
                        found.as_ref().is_none_or(|t| self.may_alter(t.object_id, &t.schema));
                    match found.filter(|_| allowed) {
                        Some(table) => self.drop_table(&table)?,
                        None if *if_exists && allowed => {}
                        None => {
                            return Err(SqlError::new(
                                3701,
                                format!(
                                    "Cannot drop the table '{}', because it does not exist or you do not have \
                                     permission.",
                                    name.name
                                ),
                            )
                            .class(11));
                        }
                    }
                }
                Ok(())
            }
            SqlStatement::CreateSchema {
                schema_name: SchemaName::Simple(name) | SchemaName::NamedAuthorization(name, _),
                if_not_exists: false,
                ..
            } => self.create_schema(&names::last(name)?),
            SqlStatement::Drop { object_type: ObjectType::Schema, if_exists, names, .. } => {
                names.iter().try_for_each(|name| self.drop_schema(&names::last(name)?, *if_exists))
            }
            SqlStatement::Drop { object_type: ObjectType::View, if_exists, names, .. } => {
                names.iter().try_for_each(|name| self.drop_view(name, *if_exists))
            }
            SqlStatement::Drop { object_type, .. } => {
                Err(SqlError::unsupported(format!("DROP {object_type}")))
            }
            SqlStatement::Truncate(truncate) => {
                for target in &truncate.table_names {
                    let name = self.name(&target.name)?;
                    let table = self
                        .catalogue
                        .table(&name.schema, &name.name)
                        .ok_or_else(|| SqlError::invalid_object(&name.name))?;
                    if !self.may_alter(table.object_id, &table.schema) {
                        return Err(no_object(&table.name));
                    }
                    self.require_unreferenced(table, || {
                        SqlError::new(4712, format!("Cannot truncate table '{}' because it is being referenced by a FOREIGN KEY constraint.", table.name))
                    })?;
                    self.connection.execute(&format!("DELETE FROM {}", table.sqlite_name()), [])?;
                    self.connection.execute(
                        "UPDATE columns SET identity_last = NULL WHERE object_id = ?1",
                        [table.object_id],
                    )?;
                }
                Ok(())
            }
            _ => Err(SqlError::unsupported("this statement")),
        }
    }

    /// A name of the statement, where the session finds it.
    pub(crate) fn name(&self, name: &ObjectName) -> Result<QualifiedName> {
        names::qualified(name).map(|name| self.values.locate(name))
    }

    fn create_schema(&mut self, name: &str) -> Result<()> {
        if self.catalogue.is_schema(name) {
            return Err(SqlError::new(
                2714,
                format!("There is already an object named '{name}' in the database."),
            ));
        }
        self.access().require_database("CREATE SCHEMA")?;
        store::insert_schema(&self.connection, name)
    }

    fn drop_schema(&mut self, name: &str, if_exists: bool) -> Result<()> {
        let allowed = self.access().on_schema("CONTROL", name);
        if !allowed || !self.catalogue.schemas.iter().any(|known| known.eq_ignore_ascii_case(name))
        {
            return if if_exists && allowed {
                Ok(())
            } else {
                let text = format!(
                    "Cannot drop the schema '{name}', because it does not exist or you do not have permission."
                );
                Err(SqlError::new(15151, text))
            };
        }
        if self.catalogue.is_used(name) {
            return Err(SqlError::new(
                3729,
                format!("Cannot drop schema '{name}' because it is being referenced by an object."),
            ));
        }
        store::delete_schema(&self.connection, name)
    }

    /// 2760, unless the schema exists.
    pub(crate) fn require_schema(&self, schema: &str) -> Result<()> {
        if schema.starts_with(['#', '@']) {
            return Ok(());
        }
        if self.catalogue.is_schema(schema) && !schema.eq_ignore_ascii_case("sys") {
            return Ok(());
        }
        Err(no_schema(schema))
    }

    /// Another table's foreign key to this one is in the way.
    fn require_unreferenced(&self, table: &Table, error: impl FnOnce() -> SqlError) -> Result<()> {
        let refers = |known: &Constraint| {
            known.object_id != table.object_id
                && matches!(known.kind, ConstraintKind::ForeignKey { parent, .. } if parent == table.object_id)
        };
        if self.catalogue.constraints.iter().any(refers) { Err(error()) } else { Ok(()) }
    }

    fn drop_table(&mut self, table: &Table) -> Result<()> {
        self.require_unreferenced(table, || {
            SqlError::new(3726, format!("Could not drop object '{}' because it is referenced by a FOREIGN KEY constraint.", table.name))
        })?;
        self.connection.execute(&format!("DROP TABLE {}", table.sqlite_name()), [])?;
        store::delete_table(&self.connection, table.object_id)
    }

    fn create_table(&mut self, create: &CreateTable) -> Result<()> {
        check_create(create)?;
        let name = self.name(&create.name)?;
        self.make_table(name, &create.columns, &create.constraints)
    }

    /// A table of the database, a temporary one, or a table variable.
    pub(crate) fn make_table(
        &mut self,
        name: QualifiedName,
        definitions: &[ColumnDef],
        more: &[TableConstraint],
    ) -> Result<()> {
        let mut columns: Vec<Column> = Vec::new();
        let mut constraints: Vec<NewConstraint> = Vec::new();
        for (id, definition) in (1i64..).zip(definitions) {
            let column = self.column(id, definition, &mut constraints)?;
            if columns.iter().any(|known| known.name.eq_ignore_ascii_case(&column.name)) {
                return Err(SqlError::new(
                    2705,
                    format!(
                        "Column names in each table must be unique. Column name '{}' in table '{}' is specified more \
                         than once.",
                        column.name, name.name
                    ),
                ));
            }
            columns.push(column);
        }
        for constraint in more {
            constraints.push(new_constraint(constraint, &columns)?);
        }
        finish_keys(&constraints, &mut columns)?;
        let mut versions = columns.iter().filter(|column| column.ty == SqlType::RowVersion);
        if let (Some(_), Some(second)) = (versions.next(), versions.next()) {
            return Err(two_row_versions(&name.name, &second.name));
        }
        if columns.iter().filter(|column| column.identity.is_some()).count() > 1 {
            return Err(SqlError::new(
                2744,
                "Multiple identity columns specified for table. Only one identity column per table is allowed.",
            ));
        }
        let table = self.new_table(name, columns)?;
        constraints.iter().try_for_each(|constraint| self.add_constraint(&table, constraint))
    }

    pub(crate) fn column(
        &self,
        id: i64,
        definition: &ColumnDef,
        constraints: &mut Vec<NewConstraint>,
    ) -> Result<Column> {
        let mut column = Column {
            id,
            name: definition.name.value.clone(),
            ty: SqlType::from_ast(&definition.data_type)?,
            collation: None,
            nullable: true,
            identity: None,
            default: None,
            encryption: None,
        };
        // What is not said to take NULL takes it, but for a row version.
        column.nullable = column.ty != SqlType::RowVersion;
        let mut checked = false;
        for option in &definition.options {
            let name = option.name.as_ref().map(|name| name.value.clone());
            let key = |primary| NewKind::Key { primary, columns: vec![id] };
            match &option.option {
                ColumnOption::Null => column.nullable = true,
                ColumnOption::NotNull => column.nullable = false,
                ColumnOption::Collation(name) => {
                    if !column.ty.is_text() {
                        return Err(SqlError::new(
                            452,
                            "COLLATE clause cannot be used on this data type.",
                        ));
                    }
                    column.collation = Some(Collation::parse(&names::last(name)?)?);
                }
                ColumnOption::Default(expr) => {
                    column.default = Some(constant(expr)?);
                    constraints.push(NewConstraint { name, kind: NewKind::Default(id) });
                }
                ColumnOption::PrimaryKey(_) => {
                    constraints.push(NewConstraint { name, kind: key(true) })
                }
                ColumnOption::Unique(_) => {
                    constraints.push(NewConstraint { name, kind: key(false) })
                }
                ColumnOption::Identity(kind) => column.identity = Some(identity(kind)?),
                ColumnOption::DialectSpecific(tokens) if matches!(tokens.as_slice(), [Token::Word(word)] if is_clustering(&word.value)) =>
                    {}
                ColumnOption::DialectSpecific(tokens) => {
                    column.encryption = Some(self.encryption(tokens)?)
                }
                ColumnOption::Check(check) => {
                    checked = true;
                    let name = name.or_else(|| check.name.as_ref().map(|name| name.value.clone()));
                    let kind = NewKind::Check(check.expr.clone());
                    constraints.push(NewConstraint { name, kind });
                }
                ColumnOption::ForeignKey(key) => {
                    let mut key = key.clone();
                    key.columns = vec![definition.name.clone()];
                    let name = name.or_else(|| key.name.as_ref().map(|name| name.value.clone()));
                    constraints
                        .push(NewConstraint { name, kind: NewKind::ForeignKey(Box::new(key)) });
                }
                other => return Err(SqlError::unsupported(format!("the column option {other}"))),
            }
        }
        if column.encryption.is_some() {
            check_encrypted(&column, checked)?;
        }
        let code_page = matches!(column.ty, SqlType::Char(_) | SqlType::VarChar(_) | SqlType::Text);
        let other = column.collation.as_ref().is_some_and(|collation| !collation.is_latin1());
        if code_page && other && column.encryption.is_none() {
            // Values are converted by way of the default collation.
            return Err(SqlError::unsupported(
                "plaintext char and varchar columns of a code page other than 1252",
            ));
        }
        check_identity(&mut column)?;
        if column.ty.is_text() && column.collation.is_none() {
            column.collation = Some(Collation::default());
        }
        Ok(column)
    }

    /// What ENCRYPTED WITH means.
    fn encryption(&self, tokens: &[Token]) -> Result<Encryption> {
        let with = keys::encrypted_with(tokens)?;
        if !with.algorithm.eq_ignore_ascii_case(ALGORITHM_NAME) {
            return Err(SqlError::new(
                33291,
                format!(
                    "Encryption algorithm '{}' is not valid. Use {ALGORITHM_NAME}.",
                    with.algorithm
                ),
            ));
        }
        let kind = match with.kind.to_ascii_uppercase().as_str() {
            "DETERMINISTIC" => EncryptionType::Deterministic,
            "RANDOMIZED" => EncryptionType::Randomized,
            other => return Err(SqlError::syntax(other)),
        };
        let key =
            self.catalogue.encryption_key(&with.key).ok_or_else(|| no_encryption_key(&with.key))?;
        Ok(Encryption { kind, cek_id: key.id })
    }

    fn create_index(&mut self, create: &CreateIndex) -> Result<()> {
        let odd = create.predicate.is_some()
            || create.if_not_exists
            || create.concurrently
            || create.r#async
            || create.nulls_distinct.is_some();
        if odd {
            return Err(SqlError::unsupported("this form of CREATE INDEX"));
        }
        let name =
            create.name.as_ref().ok_or_else(|| SqlError::syntax("INDEX")).and_then(names::last)?;
        let table_name = self.name(&create.table_name)?;
        let table = self
            .catalogue
            .table(&table_name.schema, &table_name.name)
            .cloned()
            .filter(|table| self.may_alter(table.object_id, &table.schema))
            .ok_or_else(|| no_object(&table_name.name))?;
        let ids = key_columns(&create.columns, &table.columns)?;
        check_indexable(&ids, &table.columns)?;
        let id = store::next_id(&self.connection)?;
        let index = store::Index { id, name: &name, unique: create.unique, columns: &ids };
        if !store::insert_index(&self.connection, table.object_id, &index)? {
            return Err(SqlError::new(
                1913,
                format!(
                    "The operation failed because an index or statistics with name '{name}' already exists on table '{}'.",
                    table.name
                ),
            ));
        }
        let columns: Vec<String> = ids.iter().map(|id| format!("c{id}")).collect();
        let unique = if create.unique { "UNIQUE " } else { "" };
        let sql = format!(
            "CREATE {unique}INDEX i{id} ON {} ({})",
            table.sqlite_name(),
            columns.join(", ")
        );
        self.connection.execute(&sql, []).map_err(|error| {
            if error.to_string().contains("UNIQUE constraint failed") {
                SqlError::new(1505, format!("The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name 'dbo.{}' and the index name '{name}'.", table.name))
            } else {
                error.into()
            }
        })?;
        Ok(())
    }
}

pub(crate) fn two_row_versions(table: &str, column: &str) -> SqlError {
    SqlError::new(
        2738,
        format!(
            "A table can only have one timestamp column. Because table '{table}' already has one, the column '{column}' \
             cannot be added."
        ),
    )
}

/// 1088.
fn no_object(name: &str) -> SqlError {
    let text = format!(
        "Cannot find the object \"{name}\" because it does not exist or you do not have permissions."
    );
    SqlError::new(1088, text)
}

fn check_create(create: &CreateTable) -> Result<()> {
    let odd = create.temporary
        || create.or_replace
        || create.external
        || create.if_not_exists
        || create.query.is_some()
        || create.like.is_some()
        || create.clone.is_some()
        || create.partition_by.is_some()
        || create.inherits.is_some();
    if odd || create.columns.is_empty() {
        Err(SqlError::unsupported("this form of CREATE TABLE"))
    } else {
        Ok(())
    }
}

/// Restrictions on encrypted columns.
fn check_encrypted(column: &Column, checked: bool) -> Result<()> {
    let name = &column.name;
    if !column.ty.is_encryptable() {
        return Err(SqlError::new(
            33280,
            format!(
                "Cannot create encrypted column '{name}' because type '{}' is not supported for encryption.",
                column.ty.name()
            ),
        ));
    }
    let deterministic = column.encryption.is_some_and(|e| e.kind == EncryptionType::Deterministic);
    if deterministic
        && column.ty.is_text()
        && !column.collation.as_ref().is_some_and(|collation| collation.bin2)
    {
        return Err(SqlError::new(
            33289,
            format!(
                "Cannot create encrypted column '{name}', character strings that do not use a *_BIN2 collation cannot be encrypted."
            ),
        ));
    }
    let what = match (column.identity, &column.default, checked) {
        (Some(_), _, _) => "an IDENTITY property",
        (_, Some(_), _) => "a DEFAULT constraint",
        (_, _, true) => "a CHECK constraint",
        _ => return Ok(()),
    };
    Err(SqlError::new(33282, format!("Cannot create encrypted column '{name}' with {what}.")))
}

fn check_identity(column: &mut Column) -> Result<()> {
    if column.identity.is_none() {
        return Ok(());
    }
    if column.ty.family() != Family::Integer || column.ty == SqlType::Bit {
        return Err(SqlError::unsupported(format!("IDENTITY on {}", column.ty)));
    }
    column.nullable = false;
    Ok(())
}

fn identity(kind: &IdentityPropertyKind) -> Result<(i64, i64)> {
    let IdentityPropertyKind::Identity(property) = kind else {
        return Err(SqlError::syntax("AUTOINCREMENT"));
    };
    let (seed, increment) = match &property.parameters {
        None => (1, 1),
        Some(IdentityPropertyFormatKind::FunctionCall(parameters)) => {
            (integer(&parameters.seed)?, integer(&parameters.increment)?)
        }
        Some(_) => return Err(SqlError::syntax("IDENTITY")),
    };
    if increment == 0 { Err(SqlError::syntax("IDENTITY")) } else { Ok((seed, increment)) }
}

fn integer(expr: &Expr) -> Result<i64> {
    expr.to_string().replace(' ', "").parse().map_err(|_| SqlError::syntax("IDENTITY"))
}

/// The text of a DEFAULT, which must be a constant or a function of the clock.
pub(crate) fn constant(expr: &Expr) -> Result<String> {
    match expr {
        Expr::Value(_) | Expr::Function(_) => Ok(expr.to_string()),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: inner } => {
            constant(inner)?;
            Ok(expr.to_string())
        }
        Expr::Nested(inner) => constant(inner),
        other => Err(SqlError::unsupported(format!("DEFAULT {other}"))),
    }
}

fn key_columns(list: &[IndexColumn], columns: &[Column]) -> Result<Vec<i64>> {
    let mut ids = Vec::new();
    for index_column in list {
        let Expr::Identifier(ident) = &index_column.column.expr else {
            return Err(SqlError::unsupported("indexes on expressions"));
        };
        let column = columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(&ident.value))
            .ok_or_else(|| {
            SqlError::new(
                1911,
                format!(
                    "Column name '{}' does not exist in the target table or view.",
                    ident.value
                ),
            )
        })?;
        ids.push(column.id);
    }
    Ok(ids)
}

pub(crate) fn new_constraint(
    constraint: &TableConstraint,
    columns: &[Column],
) -> Result<NewConstraint> {
    let (name, kind) = match constraint {
        TableConstraint::PrimaryKey(key) => {
            let columns = key_columns(&key.columns, columns)?;
            (&key.name, NewKind::Key { primary: true, columns })
        }
        TableConstraint::Unique(key) => {
            let columns = key_columns(&key.columns, columns)?;
            (&key.name, NewKind::Key { primary: false, columns })
        }
        TableConstraint::ForeignKey(key) => (&key.name, NewKind::ForeignKey(Box::new(key.clone()))),
        TableConstraint::Check(check) => (&check.name, NewKind::Check(check.expr.clone())),
        other => return Err(SqlError::unsupported(format!("the constraint {other}"))),
    };
    Ok(NewConstraint { name: name.as_ref().map(|name| name.value.clone()), kind })
}

pub(crate) fn check_indexable(ids: &[i64], columns: &[Column]) -> Result<()> {
    for column in columns.iter().filter(|column| ids.contains(&column.id)) {
        if column.encryption.is_some_and(|e| e.kind == EncryptionType::Randomized) {
            return Err(SqlError::new(
                33284,
                format!(
                    "Cannot create a key or an index on column '{}', which is encrypted with randomized encryption.",
                    column.name
                ),
            ));
        }
        if column.ty.max_length() < 0 || column.ty.is_legacy() {
            return Err(SqlError::new(
                1919,
                format!(
                    "Column '{}' in table is of a type that is invalid for use as a key column in an index.",
                    column.name
                ),
            ));
        }
    }
    Ok(())
}

/// The columns of a primary key take no NULL.
fn finish_keys(constraints: &[NewConstraint], columns: &mut [Column]) -> Result<()> {
    let mut primary = 0usize;
    for constraint in constraints {
        let NewKind::Key { primary: is_primary, columns: ids } = &constraint.kind else { continue };
        check_indexable(ids, columns)?;
        if *is_primary {
            primary = primary.saturating_add(1);
            for column in columns.iter_mut().filter(|column| ids.contains(&column.id)) {
                column.nullable = false;
            }
        }
    }
    if primary > 1 {
        return Err(SqlError::new(8110, "Cannot add multiple PRIMARY KEY constraints to table."));
    }
    Ok(())
}

/// A column as SQLite keeps it.
pub(crate) fn column_sql(column: &Column) -> String {
    let mut sql = column.sqlite_name();
    if column.encryption.is_none() {
        let collation = match column.ty.family() {
            Family::Text => Some(column.collation().sqlite_name()),
            family => storage::collation(family),
        };
        if let Some(collation) = collation {
            sql.push_str(&format!(" COLLATE {collation}"));
        }
    }
    if !column.nullable {
        sql.push_str(" NOT NULL");
    }
    sql
}

/// The table as SQLite keeps it. Keys are unique indexes of their own: they take the columns' collations.
pub(crate) fn create_sql(table: &Table) -> String {
    let columns: Vec<String> = table.columns.iter().map(column_sql).collect();
    format!("CREATE TABLE {} ({})", table.sqlite_name(), columns.join(", "))
}
