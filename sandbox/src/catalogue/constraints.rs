//! Constraints in SQLite.

use rusqlite::{Connection, params};

use crate::catalogue::store::{changed, collect};
use crate::catalogue::{Action, Constraint, ConstraintKind};
use crate::error::{Result, SqlError};

/// `1,2,3`.
pub(super) fn joined(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

fn split(text: &str) -> Vec<i64> {
    text.split(',').filter_map(|id| id.parse().ok()).collect()
}

pub(super) fn load(connection: &Connection) -> Result<Vec<Constraint>> {
    type Row = (i64, i64, String, String, String, String, i64, String);
    let sql = "SELECT id, object_id, name, kind, columns, text, parent, parent_columns FROM constraints ORDER BY id";
    let rows: Vec<Row> = collect(connection, sql, None, |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
            row.get(6)?,
            row.get(7)?,
        ))
    })?;
    rows.into_iter()
        .map(|(id, object_id, name, kind, columns, text, parent, parent_columns)| {
            let columns = split(&columns);
            let kind = match kind.as_str() {
                "PK" => ConstraintKind::Key { primary: true, columns },
                "UQ" => ConstraintKind::Key { primary: false, columns },
                "CK" => ConstraintKind::Check { text },
                "FK" => {
                    let parent_columns = split(&parent_columns);
                    let (on_delete, on_update) = Action::pair(&text);
                    ConstraintKind::ForeignKey {
                        columns,
                        parent,
                        parent_columns,
                        on_delete,
                        on_update,
                    }
                }
                _ => {
                    ConstraintKind::Default { column: columns.first().copied().unwrap_or_default() }
                }
            };
            Ok::<_, SqlError>(Constraint { id, object_id, name, kind })
        })
        .collect()
}

pub(crate) fn insert(connection: &Connection, constraint: &Constraint) -> Result<()> {
    let (kind, columns, text, parent, parent_columns) = match &constraint.kind {
        ConstraintKind::Key { primary, columns } => {
            (if *primary { "PK" } else { "UQ" }, joined(columns), String::new(), 0, String::new())
        }
        ConstraintKind::Check { text } => ("CK", String::new(), text.clone(), 0, String::new()),
        ConstraintKind::ForeignKey { columns, parent, parent_columns, on_delete, on_update } => {
            let actions = format!("{}/{}", on_delete.name(), on_update.name());
            ("FK", joined(columns), actions, *parent, joined(parent_columns))
        }
        ConstraintKind::Default { column } => {
            ("DF", joined(&[*column]), String::new(), 0, String::new())
        }
    };
    connection.execute(
        "INSERT INTO constraints VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            constraint.id,
            constraint.object_id,
            constraint.name,
            kind,
            columns,
            text,
            parent,
            parent_columns
        ],
    )?;
    changed(connection)
}

pub(crate) fn delete(connection: &Connection, id: i64) -> Result<()> {
    connection.execute("DELETE FROM constraints WHERE id = ?1", [id])?;
    changed(connection)
}
