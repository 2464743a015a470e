//! The case file as every program of the matrix reads it, and the lines that they print.

use std::{error::Error, fmt::Write as _, fs, path::Path};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One line of the case file.
#[derive(Clone, Debug)]
pub struct Case {
    pub table: String,
    pub sql_type: String,
    pub kind: Kind,
    pub collation: Option<String>,
    pub name: String,
    /// As text; `None` is NULL.
    pub value: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Deterministic,
    Randomized,
}

/// Reads the case file, whose lines are: table, type, encryption type, collation, case, value.
pub fn cases(path: impl AsRef<Path>) -> Result<Vec<Case>> {
    let text = fs::read_to_string(path)?;
    text.lines().map(case).collect()
}

fn case(line: &str) -> Result<Case> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [table, sql_type, kind, collation, name, value] = fields[..] else {
        return Err(format!("not a case: {line}").into());
    };
    Ok(Case {
        table: table.to_owned(),
        sql_type: sql_type.to_owned(),
        kind: match kind {
            "DETERMINISTIC" => Kind::Deterministic,
            "RANDOMIZED" => Kind::Randomized,
            other => return Err(format!("no encryption type: {other}").into()),
        },
        collation: (collation != "-").then(|| collation.to_owned()),
        name: name.to_owned(),
        value: (value != "NULL").then(|| value.to_owned()),
    })
}

/// The tables of the cases, each with its first case.
pub fn tables(cases: &[Case]) -> Vec<&Case> {
    let mut tables: Vec<&Case> = Vec::new();
    for case in cases {
        if tables.last().is_none_or(|last| last.table != case.table) {
            tables.push(case);
        }
    }
    tables
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

pub fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or("not hexadecimal digits")?;
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// A message on one line.
pub fn one_line(text: impl ToString) -> String {
    text.to_string().replace(['\t', '\r', '\n'], " ")
}
