//! CREATE VIEW and DROP VIEW.

use sqlparser::ast::{CreateView, ObjectName, Statement as SqlStatement};

use crate::catalogue::{Column, StoredView, security, store};
use crate::error::{Result, SqlError};
use crate::exec::session::Session;
use crate::sql::batch::{self, Statement};
use crate::sql::bind::Binder;
use crate::sql::compound::NamedQuery;
use crate::sql::names;
use crate::types::temporal::now_utc;

/// From the text of its CREATE VIEW.
pub(crate) fn read(object_id: i64, text: &str) -> Result<StoredView> {
    if let Some(Statement::Sql(statement)) = batch::parse(text)?.into_iter().next()
        && let SqlStatement::CreateView(create) = *statement
    {
        return stored(object_id, &create);
    }
    Err(SqlError::new(596, "The sandbox's catalogue is damaged."))
}

fn stored(object_id: i64, create: &CreateView) -> Result<StoredView> {
    let name = names::qualified(&create.name)?;
    Ok(StoredView {
        object_id,
        schema: name.schema,
        named: NamedQuery {
            name: name.name,
            columns: create.columns.iter().map(|column| column.name.value.clone()).collect(),
            query: (*create.query).clone(),
        },
    })
}

impl Session {
    pub(crate) fn create_view(&mut self, create: &CreateView, text: &str) -> Result<()> {
        self.refresh()?;
        let odd = create.or_replace
            || create.materialized
            || create.if_not_exists
            || create.temporary
            || create.columns.iter().any(|column| column.data_type.is_some());
        if odd {
            return Err(SqlError::unsupported("this form of CREATE VIEW"));
        }
        let mut view = stored(0, create)?;
        let name = names::qualified(&create.name)?;
        self.require_schema(&view.schema)?;
        let old = self.catalogue.view(&name).filter(|_| create.or_alter);
        let replaced = old.as_ref().map(|old| old.object_id);
        self.require_create("CREATE VIEW", &view.schema, replaced)?;
        if old.is_none() && self.catalogue.is_object(&name) {
            return Err(SqlError::new(
                2714,
                format!("There is already an object named '{}' in the database.", name.name),
            ));
        }
        // Every name must be known now, and every column have one. There are no variables to be seen.
        let (_, columns, _) = Binder::new(&self.catalogue, &[], &self.values, false)
            .named_query(&view.named, false)?;
        view.object_id = match &old {
            Some(old) => old.object_id,
            None => store::next_object_id(&self.connection)?,
        };
        if old.is_some() {
            store::delete_view(&self.connection, view.object_id)?;
        }
        store::insert_view(&self.connection, &view, text, now_utc())?;
        // sys.columns shows a view as it was when it was made, as in SQL Server.
        for (id, column) in (1i64..).zip(columns) {
            let column = Column {
                id,
                name: column.name,
                ty: column.ty,
                collation: column.ty.is_text().then(|| column.collation.unwrap_or_default()),
                nullable: column.nullable,
                identity: None,
                default: None,
                encryption: column.encryption,
            };
            store::insert_column(&self.connection, view.object_id, &column)?;
        }
        Ok(())
    }

    pub(crate) fn drop_view(&mut self, name: &ObjectName, if_exists: bool) -> Result<()> {
        let name = names::qualified(name)?;
        let found = self.catalogue.view(&name);
        let allowed =
            found.as_ref().is_none_or(|view| self.may_alter(view.object_id, &view.schema));
        match found.filter(|_| allowed) {
            Some(view) => {
                security::forget_object(&self.connection, view.object_id)?;
                store::delete_view(&self.connection, view.object_id)
            }
            None if if_exists && allowed => Ok(()),
            None => Err(SqlError::new(
                3701,
                format!(
                    "Cannot drop the view '{}', because it does not exist or you do not have permission.",
                    name.name
                ),
            )
            .class(11)),
        }
    }
}
