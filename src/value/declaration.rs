//! Reads a type as T-SQL declares it.

use super::{
    Length, SqlType,
    sql_type::{MAX_BYTES, MAX_PRECISION, MAX_TIME_SCALE, MAX_UNITS},
};

/// The digits of mantissa up to which `float(n)` is `real`, and those of `float`.
const REAL_DIGITS: u16 = 24;
const FLOAT_DIGITS: u16 = 53;

/// Why a declaration names no type that can be encrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclarationError {
    /// SQL Server has the type but does not encrypt columns of it.
    #[error("type {name} cannot be encrypted")]
    Unencryptable {
        /// The type's name, in lower case.
        name: String,
    },
    /// Not a built-in type. Alias, CLR and table types cannot be encrypted.
    #[error("{name} is not a built-in type of SQL Server, so it cannot be encrypted")]
    Unknown {
        /// The name as it was written.
        name: String,
    },
    /// The text is not a declaration, or the type does not take these arguments.
    #[error("{declaration} is not a declaration of a type")]
    Malformed {
        /// The text as it was written.
        declaration: String,
    },
    /// A length, precision or scale that the type does not have.
    #[error("the length, precision or scale of {declaration} is out of range")]
    OutOfRange {
        /// The text as it was written.
        declaration: String,
    },
}

/// See [`SqlType::parse_declaration`].
pub(super) fn parse(text: &str) -> Result<SqlType, DeclarationError> {
    let text = text.trim();
    let (name, arguments) = match text.split_once('(') {
        Some((name, rest)) => (name.trim_end(), Some(rest)),
        None => (text, None),
    };
    let keyword = keyword(name);
    if is_unencryptable(&keyword) {
        return Err(DeclarationError::Unencryptable { name: keyword });
    }
    Declaration { text, arguments }.into_type(&keyword, name)
}

/// The name in lower case, without brackets, its words one blank apart.
fn keyword(name: &str) -> String {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let mut keyword = String::with_capacity(bare.len());
    for word in bare.split_whitespace() {
        if !keyword.is_empty() {
            keyword.push(' ');
        }
        keyword.extend(word.chars().map(|c| c.to_ascii_lowercase()));
    }
    keyword
}

fn is_unencryptable(keyword: &str) -> bool {
    matches!(
        keyword,
        "xml"
            | "text"
            | "ntext"
            | "national text"
            | "image"
            | "timestamp"
            | "rowversion"
            | "sql_variant"
            | "hierarchyid"
            | "geography"
            | "geometry"
            | "json"
            | "vector"
            | "cursor"
            | "table"
            | "sysname"
    )
}

/// What follows a type's name, and the whole text for the errors.
struct Declaration<'a> {
    text: &'a str,
    /// What comes after the opening parenthesis, the closing one included.
    arguments: Option<&'a str>,
}

impl Declaration<'_> {
    fn into_type(self, keyword: &str, name: &str) -> Result<SqlType, DeclarationError> {
        match keyword {
            "bit" => self.alone(SqlType::Bit),
            "tinyint" => self.alone(SqlType::TinyInt),
            "smallint" => self.alone(SqlType::SmallInt),
            "int" | "integer" => self.alone(SqlType::Int),
            "bigint" => self.alone(SqlType::BigInt),
            "real" => self.alone(SqlType::Real),
            "float" => self.float(),
            "double precision" => self.alone(SqlType::Float),
            "decimal" | "dec" => {
                self.digits().map(|(precision, scale)| SqlType::Decimal { precision, scale })
            }
            "numeric" => {
                self.digits().map(|(precision, scale)| SqlType::Numeric { precision, scale })
            }
            "money" => self.alone(SqlType::Money),
            "smallmoney" => self.alone(SqlType::SmallMoney),
            "date" => self.alone(SqlType::Date),
            "time" => self.time_scale().map(|scale| SqlType::Time { scale }),
            "datetime" => self.alone(SqlType::DateTime),
            "smalldatetime" => self.alone(SqlType::SmallDateTime),
            "datetime2" => self.time_scale().map(|scale| SqlType::DateTime2 { scale }),
            "datetimeoffset" => self.time_scale().map(|scale| SqlType::DateTimeOffset { scale }),
            "char" | "character" => self.fixed_length(MAX_BYTES).map(SqlType::Char),
            "varchar" | "char varying" | "character varying" => {
                self.length(MAX_BYTES).map(SqlType::VarChar)
            }
            "nchar" | "national char" | "national character" => {
                self.fixed_length(MAX_UNITS).map(SqlType::NChar)
            }
            "nvarchar" | "national char varying" | "national character varying" => {
                self.length(MAX_UNITS).map(SqlType::NVarChar)
            }
            "binary" => self.fixed_length(MAX_BYTES).map(SqlType::Binary),
            "varbinary" | "binary varying" => self.length(MAX_BYTES).map(SqlType::VarBinary),
            "uniqueidentifier" => self.alone(SqlType::UniqueIdentifier),
            "" => Err(self.malformed()),
            _ => Err(DeclarationError::Unknown { name: name.to_owned() }),
        }
    }

    fn alone(&self, sql_type: SqlType) -> Result<SqlType, DeclarationError> {
        match self.arguments {
            None => Ok(sql_type),
            Some(_) => Err(self.malformed()),
        }
    }

    fn float(&self) -> Result<SqlType, DeclarationError> {
        match self.one()? {
            None => Ok(SqlType::Float),
            Some(digits) => match self.number(digits)? {
                1..=REAL_DIGITS => Ok(SqlType::Real),
                25..=FLOAT_DIGITS => Ok(SqlType::Float),
                _ => Err(self.out_of_range()),
            },
        }
    }

    /// Precision and scale of a decimal: 18 and 0 if not given.
    fn digits(&self) -> Result<(u8, u8), DeclarationError> {
        let (precision, scale) = match self.inside()? {
            None => (18, 0),
            Some(inside) => match inside.split_once(',') {
                None => (self.number(inside)?, 0),
                Some((precision, scale)) => (self.number(precision)?, self.number(scale)?),
            },
        };
        match (u8::try_from(precision), u8::try_from(scale)) {
            (Ok(precision @ 1..=MAX_PRECISION), Ok(scale)) if scale <= precision => {
                Ok((precision, scale))
            }
            _ => Err(self.out_of_range()),
        }
    }

    fn time_scale(&self) -> Result<u8, DeclarationError> {
        match self.one()? {
            None => Ok(MAX_TIME_SCALE),
            Some(scale) => match u8::try_from(self.number(scale)?) {
                Ok(scale @ 0..=MAX_TIME_SCALE) => Ok(scale),
                _ => Err(self.out_of_range()),
            },
        }
    }

    fn fixed_length(&self, limit: u16) -> Result<u16, DeclarationError> {
        match self.one()? {
            // What T-SQL takes in a declaration; in CAST it would be 30.
            None => Ok(1),
            Some(length) => match self.number(length)? {
                length if (1..=limit).contains(&length) => Ok(length),
                _ => Err(self.out_of_range()),
            },
        }
    }

    fn length(&self, limit: u16) -> Result<Length, DeclarationError> {
        match self.one()? {
            Some(length) if length.eq_ignore_ascii_case("max") => Ok(Length::Max),
            _ => self.fixed_length(limit).map(Length::Bounded),
        }
    }

    /// The text between the parentheses, if there are any.
    fn inside(&self) -> Result<Option<&str>, DeclarationError> {
        match self.arguments {
            None => Ok(None),
            Some(rest) => rest.strip_suffix(')').map(Some).ok_or_else(|| self.malformed()),
        }
    }

    fn one(&self) -> Result<Option<&str>, DeclarationError> {
        Ok(self.inside()?.map(str::trim))
    }

    /// An unsigned number. One too big for 16 bits is too big for every use of it.
    fn number(&self, text: &str) -> Result<u16, DeclarationError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.malformed());
        }
        text.parse().map_err(|_| self.out_of_range())
    }

    fn malformed(&self) -> DeclarationError {
        DeclarationError::Malformed { declaration: self.text.to_owned() }
    }

    fn out_of_range(&self) -> DeclarationError {
        DeclarationError::OutOfRange { declaration: self.text.to_owned() }
    }
}

#[cfg(test)]
mod tests;
