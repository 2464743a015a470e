//! SET options that bear on whether statements run and on how much of their answers is sent: FMTONLY, NOEXEC,
//! PARSEONLY and ROWCOUNT.

use crate::error::{Result, SqlError};
use crate::exec::session::Session;

/// Of a session; what sp_executesql or a procedure sets holds until it returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Metadata without rows, and nothing is done.
    pub(crate) format_only: bool,
    /// Statements are compiled.
    no_exec: bool,
    /// Statements are parsed.
    parse_only: bool,
    /// Of every result.
    row_limit: Option<u64>,
}

/// One of them as SET has it. ROWCOUNT 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOption {
    FormatOnly(bool),
    NoExec(bool),
    ParseOnly(bool),
    RowLimit(u64),
}

impl SetOption {
    pub(crate) fn of(name: &str, value: &str) -> Option<Self> {
        let on = match value {
            "ON" => Some(true),
            "OFF" => Some(false),
            _ => None,
        };
        match name {
            "FMTONLY" => on.map(SetOption::FormatOnly),
            "NOEXEC" => on.map(SetOption::NoExec),
            "PARSEONLY" => on.map(SetOption::ParseOnly),
            "ROWCOUNT" => value.parse().ok().map(SetOption::RowLimit),
            _ => None,
        }
    }
}

impl Options {
    pub(crate) fn set(&mut self, option: SetOption) {
        match option {
            SetOption::FormatOnly(on) => self.format_only = on,
            SetOption::NoExec(on) => self.no_exec = on,
            SetOption::ParseOnly(on) => self.parse_only = on,
            SetOption::RowLimit(rows) => self.row_limit = Some(rows).filter(|rows| *rows != 0),
        }
    }

    /// Whether nothing but SET does anything.
    pub(crate) fn idle(self) -> bool {
        self.no_exec || self.parse_only
    }

    pub(crate) fn compiles(self) -> bool {
        self.no_exec && !self.parse_only
    }

    /// Whether a result that has this many rows may have another.
    pub(crate) fn takes_row(self, count: u64) -> bool {
        !self.format_only && self.row_limit.is_none_or(|limit| count < limit)
    }
}

impl Session {
    /// A query whose rows are not sent one by one, with no more of them than ROWCOUNT says.
    pub(crate) fn limited(&self, sql: &str) -> String {
        match self.options.row_limit {
            None => sql.to_owned(),
            Some(limit) => format!("SELECT * FROM ({sql}) LIMIT {limit}"),
        }
    }

    /// SQL Server would write no more rows than that.
    pub(crate) fn require_no_row_limit(&self) -> Result<()> {
        match self.options.row_limit {
            None => Ok(()),
            Some(_) => Err(SqlError::unsupported("statements that write under SET ROWCOUNT")),
        }
    }
}
