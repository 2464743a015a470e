//! The procedures that an RPC calls: where those of the system have a statement, its declarations,
//! its values, or the handle of what has been prepared.
//!
//! | ProcID | procedure | parameters |
//! |---|---|---|
//! | 1 | sp_cursor | cursor, optype, rownum, table, values by the names of columns |
//! | 2 | sp_cursoropen | cursor OUT, statement, scrollopt, ccopt, rowcount OUT, declarations, values |
//! | 3 | sp_cursorprepare | handle OUT, declarations, statement, options, scrollopt, ccopt |
//! | 4 | sp_cursorexecute | handle, cursor OUT, scrollopt, ccopt, rowcount OUT, values |
//! | 5 | sp_cursorprepexec | handle OUT, cursor OUT, declarations, statement, scrollopt, ccopt, rowcount OUT, values |
//! | 6 | sp_cursorunprepare | handle |
//! | 7, 8, 9 | sp_cursorfetch, sp_cursoroption, sp_cursorclose | cursor and numbers |
//! | 10 | sp_executesql | statement, declarations, values |
//! | 11 | sp_prepare | handle OUT, declarations, statement, options |
//! | 12 | sp_execute | handle, values |
//! | 13 | sp_prepexec | handle OUT, declarations, statement, values |
//! | 14 | sp_prepexecrpc | handle OUT, call, values |
//! | 15 | sp_unprepare | handle |
//!
//! Source: MS-TDS 2.2.6.6, the documentation of the procedures, and what ODBC and JDBC send. The
//! server goes by position, whatever the names.

use super::SessionError;
use crate::{
    tds::{Malformed, Parameter, Procedure, ProcedureName, RpcRequest},
    value::SqlType,
};

/// What a call is, as far as its parameters matter.
#[derive(Debug)]
pub(super) enum Role {
    /// It has its statement in it. One that prepares returns a handle of that kind.
    Statement { layout: Layout, prepares: Option<HandleKind> },
    /// It executes what has been prepared, with the values from `first_value` on.
    Execute { kind: HandleKind, first_value: usize },
    /// It gives up what has been prepared.
    Unprepare { kind: HandleKind },
    /// It moves or closes a cursor.
    MoveCursor,
    /// It changes the row that a cursor stands on.
    PositionedUpdate,
    /// It takes values of which nothing tells where they go.
    Unknown,
    /// It calls a procedure of that name.
    Call(ProcedureName),
    /// Its name is none.
    Unreadable,
}

/// Handles of statements and those of cursors are two sets of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum HandleKind {
    Statement,
    Cursor,
}

/// Where a statement and what belongs to it stand among the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) text: usize,
    pub(super) declarations: usize,
    /// Every parameter from here on is a value of the statement's.
    pub(super) first_value: usize,
    /// Whether there may be any.
    takes_values: bool,
}

const fn layout(text: usize, declarations: usize, first_value: usize) -> Layout {
    Layout { text, declarations, first_value, takes_values: true }
}

const PREPARE: Layout = Layout { takes_values: false, ..layout(2, 1, 4) };
const CURSORPREPARE: Layout = Layout { takes_values: false, ..layout(2, 1, 6) };
const PREPEXEC: Layout = layout(2, 1, 3);
const CURSORPREPEXEC: Layout = layout(3, 2, 7);

/// By their ProcIDs, from 1 on.
const NAMES: [&str; 15] = [
    "sp_cursor",
    "sp_cursoropen",
    "sp_cursorprepare",
    "sp_cursorexecute",
    "sp_cursorprepexec",
    "sp_cursorunprepare",
    "sp_cursorfetch",
    "sp_cursoroption",
    "sp_cursorclose",
    "sp_executesql",
    "sp_prepare",
    "sp_execute",
    "sp_prepexec",
    "sp_prepexecrpc",
    "sp_unprepare",
];

impl Role {
    pub(super) fn of(procedure: &Procedure) -> Self {
        match procedure {
            Procedure::Id(id) => {
                let name = usize::from(*id).checked_sub(1).and_then(|at| NAMES.get(at));
                name.and_then(|name| Self::of_system(name)).unwrap_or(Self::Unknown)
            }
            // A name that we read otherwise than the server could hide a statement.
            Procedure::Name(name) => match ProcedureName::parse(name) {
                None => Self::Unreadable,
                Some(name) => Self::of_system(&name.last_part()).unwrap_or(Self::Call(name)),
            },
        }
    }

    fn of_system(name: &str) -> Option<Self> {
        use HandleKind::{Cursor, Statement};
        let statement = |layout, prepares| Self::Statement { layout, prepares };
        Some(match name {
            "sp_cursor" => Self::PositionedUpdate,
            "sp_cursoropen" => statement(layout(1, 5, 6), None),
            "sp_cursorprepare" => statement(CURSORPREPARE, Some(Cursor)),
            "sp_cursorexecute" => Self::Execute { kind: Cursor, first_value: 5 },
            "sp_cursorprepexec" => statement(CURSORPREPEXEC, Some(Cursor)),
            "sp_cursorunprepare" => Self::Unprepare { kind: Cursor },
            "sp_cursorfetch" | "sp_cursoroption" | "sp_cursorclose" => Self::MoveCursor,
            "sp_executesql" => statement(layout(0, 1, 2), None),
            "sp_prepare" => statement(PREPARE, Some(Statement)),
            "sp_execute" => Self::Execute { kind: Statement, first_value: 1 },
            "sp_prepexec" => statement(PREPEXEC, Some(Statement)),
            "sp_unprepare" => Self::Unprepare { kind: Statement },
            "sp_prepexecrpc" => Self::Unknown,
            _ if name.starts_with("sp_cursor") => Self::Unknown,
            _ => return None,
        })
    }

    /// The text of the statement that the call has in it.
    pub(super) fn text(&self, request: &RpcRequest<'_>) -> Option<String> {
        match self {
            Self::Statement { layout, .. } => request.parameters.get(layout.text)?.text().ok(),
            _ => None,
        }
    }

    /// The handle that the call gives.
    pub(super) fn handle(&self, request: &RpcRequest<'_>) -> Option<(HandleKind, i32)> {
        let kind = match self {
            Self::Execute { kind, .. } | Self::Unprepare { kind } => *kind,
            Self::Statement { prepares: Some(kind), .. } => *kind,
            _ => return None,
        };
        Some((kind, integer(request.parameters.first()?)?))
    }

    /// The kind of handle that the call asks for.
    pub(super) fn asks_for(&self, request: &RpcRequest<'_>) -> Option<HandleKind> {
        let is_output = request.parameters.first().is_some_and(Parameter::is_output);
        match self {
            Self::Statement { prepares, .. } if is_output => *prepares,
            _ => None,
        }
    }

    /// Whether what the given handle stands for is given up: sp_prepexec and its relative replace
    /// it, sp_unprepare says so.
    pub(super) fn gives_up_handle(&self) -> bool {
        match self {
            Self::Unprepare { .. } => true,
            // sp_prepare has no values and takes no handle.
            Self::Statement { layout, .. } => matches!(*layout, PREPEXEC | CURSORPREPEXEC),
            _ => false,
        }
    }
}

impl Layout {
    /// The procedure's own parameters, but for the statement and its declarations, are numbers. A
    /// value in their place would be sent as it is.
    pub(super) fn check_own(self, request: &RpcRequest<'_>) -> Result<(), SessionError> {
        let strange = |(index, parameter): (usize, &Parameter<'_>)| {
            index != self.text && index != self.declarations && !is_number(parameter)
        };
        if !self.takes_values && request.parameters.len() > self.first_value {
            return Err(SessionError::Request(Malformed::of(
                "parameter list: values for a procedure that takes none",
            )));
        }
        check_own(request, self.first_value, strange)
    }
}

/// Likewise for a procedure without a statement.
pub(super) fn check_numbers(
    request: &RpcRequest<'_>,
    first_value: usize,
) -> Result<(), SessionError> {
    check_own(request, first_value, |(_, parameter)| !is_number(parameter))
}

fn check_own(
    request: &RpcRequest<'_>,
    first_value: usize,
    strange: impl Fn((usize, &Parameter<'_>)) -> bool,
) -> Result<(), SessionError> {
    if request.parameters.iter().enumerate().take(first_value).any(strange) {
        return Err(SessionError::Request(Malformed::of(
            "parameter list: the procedure's own parameters are not where they belong",
        )));
    }
    Ok(())
}

/// sp_cursor without values deletes, locks or refreshes rows.
pub(super) fn check_positioned_update(request: &RpcRequest<'_>) -> Result<(), SessionError> {
    const OWN: [&str; 4] = ["cursor", "optype", "rownum", "table"];
    let is_own = |p: &Parameter<'_>| {
        let name = p.name.strip_prefix('@').unwrap_or(&p.name);
        name.is_empty() || OWN.contains(&name)
    };
    if request.parameters.len() <= OWN.len() && request.parameters.iter().all(is_own) {
        return check_numbers(request, 3);
    }
    Err(SessionError::Unsupported {
        what: "a positioned update through a server cursor (sp_cursor)",
        remedy: "nothing tells whether its values go to encrypted columns; update the row by its \
                 key with a statement of its own",
    })
}

fn is_integer(parameter: &Parameter<'_>) -> bool {
    use SqlType::{BigInt, Int, SmallInt, TinyInt};
    matches!(parameter.type_info.sql_type(), Some(TinyInt | SmallInt | Int | BigInt))
}

fn is_number(parameter: &Parameter<'_>) -> bool {
    is_integer(parameter) || parameter.type_info.is_untyped()
}

fn integer(parameter: &Parameter<'_>) -> Option<i32> {
    if !is_integer(parameter) || parameter.is_null() {
        return None;
    }
    let mut data = Vec::new();
    parameter.data(&mut data).ok()?;
    match *data.as_slice() {
        [n] => Some(i32::from(n)),
        [a, b] => Some(i32::from(i16::from_le_bytes([a, b]))),
        [a, b, c, d] => Some(i32::from_le_bytes([a, b, c, d])),
        _ => i32::try_from(i64::from_le_bytes(data.try_into().ok()?)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_the_name_in_any_spelling_are_one_procedure() {
        for (at, name) in NAMES.iter().enumerate() {
            let by_id = format!("{:?}", Role::of(&Procedure::Id(at as u16 + 1)));
            for spelling in [
                (*name).to_owned(),
                format!("SYS.[{}] ;1", name.to_uppercase()),
                format!("master..\"{name}\""),
            ] {
                let role = Role::of(&Procedure::Name(spelling.clone()));
                assert_eq!(format!("{role:?}"), by_id, "{spelling}");
            }
        }
        for id in [0, 16, 17, u16::MAX] {
            assert!(matches!(Role::of(&Procedure::Id(id)), Role::Unknown));
        }
        let of = |name: &str| Role::of(&Procedure::Name(name.to_owned()));
        assert!(matches!(of("sp_cursor_of_tomorrow"), Role::Unknown));
        assert!(matches!(of("sp_who"), Role::Call(_)));
        assert!(matches!(of("a b"), Role::Unreadable));
    }
}
