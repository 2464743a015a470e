//! ADO.NET connection strings. Owns their grammar; what keywords there are is in [`keywords`],
//! what they do to a [`Config`] in [`settings`], the syntax of a server's address in [`server`].

use zeroize::Zeroizing;

use super::config::{Config, ConfigError};

mod keywords;
mod server;
mod settings;
#[cfg(test)]
mod tests;

/// Reads a whole connection string. Does not look for contradictions between different settings.
pub(super) fn parse(text: &str) -> Result<Config, ConfigError> {
    settings::read(Scanner { text, at: 0 })
}

/// One `keyword=value`. Both are erased on drop: a mistyped string has passwords in odd places.
struct Pair {
    /// Where the keyword begins, in bytes.
    position: usize,
    name: Zeroizing<String>,
    value: Zeroizing<String>,
}

/// Takes a connection string apart, pair by pair.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Scanner<'_> {
    type Item = Result<Pair, ConfigError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next_if(|c| c == ';' || c.is_whitespace()).is_some() {}
        self.peek()?;
        Some(self.pair())
    }
}

impl Scanner<'_> {
    fn pair(&mut self) -> Result<Pair, ConfigError> {
        let position = self.at;
        let name = self.name()?;
        while self.next_if(char::is_whitespace).is_some() {}
        let value = match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote, NO_CLOSING_QUOTE)?,
            Some('{') => self.quoted('}', NO_CLOSING_BRACE)?,
            _ => self.bare()?,
        };
        Ok(Pair { position, name, value })
    }

    /// Up to a single `=`; `==` is an `=` of the keyword itself.
    fn name(&mut self) -> Result<Zeroizing<String>, ConfigError> {
        let position = self.at;
        let malformed = |problem| Err(ConfigError::Syntax { position, problem });
        let end = loop {
            let at = self.at;
            match self.bump() {
                Some('=') if self.next_if(|c| c == '=').is_some() => {}
                Some('=') => break at,
                None | Some(';') => return malformed(NO_VALUE),
                Some(c) if c.is_control() && !c.is_whitespace() => return malformed(CONTROL),
                Some(_) => {}
            }
        };
        match self.slice(position, end).trim_end() {
            "" => malformed("no keyword before '='"),
            name => Ok(undouble(name, '=')),
        }
    }

    /// A value whose closing character is doubled to stand for itself.
    fn quoted(
        &mut self,
        close: char,
        unclosed: &'static str,
    ) -> Result<Zeroizing<String>, ConfigError> {
        let position = self.at;
        let malformed = |problem| Err(ConfigError::Syntax { position, problem });
        self.bump();
        let start = self.at;
        let end = loop {
            let at = self.at;
            match self.bump() {
                Some(c) if c == close && self.next_if(|c| c == close).is_none() => break at,
                Some('\0') => return malformed(CONTROL),
                Some(_) => {}
                None => return malformed(unclosed),
            }
        };
        while self.next_if(char::is_whitespace).is_some() {}
        match self.bump() {
            None | Some(';') => Ok(undouble(self.slice(start, end), close)),
            Some(_) => malformed(AFTER_QUOTE),
        }
    }

    fn bare(&mut self) -> Result<Zeroizing<String>, ConfigError> {
        let position = self.at;
        while self.next_if(|c| c != ';').is_some() {}
        let value = self.slice(position, self.at).trim_end();
        if value.contains(|c: char| c.is_control() && !c.is_whitespace()) {
            return Err(ConfigError::Syntax { position, problem: CONTROL });
        }
        Ok(Zeroizing::new(value.to_owned()))
    }

    fn slice(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        self.next_if(|_| true)
    }

    fn next_if(&mut self, wanted: impl FnOnce(char) -> bool) -> Option<char> {
        let c = self.peek().filter(|&c| wanted(c))?;
        self.at += c.len_utf8();
        Some(c)
    }
}

/// `text` with each doubled `c` made a single one. Allocated once: a buffer that grows would leave
/// pieces of a password behind.
fn undouble(text: &str, c: char) -> Zeroizing<String> {
    let mut single = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        single.push(next);
        if next == c {
            chars.next_if_eq(&c);
        }
    }
    single
}

const AFTER_QUOTE: &str =
    "text after the closing quote or brace; double it if it is part of the value";
const CONTROL: &str = "a control character; put the value in quotes";
const NO_CLOSING_BRACE: &str = "no closing brace; put a value that begins with '{' in quotes";
const NO_CLOSING_QUOTE: &str =
    "no closing quote; put a value that begins with a quote in quotes of the other kind";
const NO_VALUE: &str = "no '=' after the keyword; a value that holds ';' must be in quotes";
