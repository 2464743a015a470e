//! Quoted identifiers of T-SQL.

/// The identifier whose opening quote has been read, and what follows its closing quote. A doubled
/// closing quote stands for itself.
pub(super) fn quoted_identifier(text: &str, close: char) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == close && chars.next_if(|(_, next)| *next == close).is_none() {
            return Some((name, text.get(at + c.len_utf8()..)?));
        }
        name.push(c);
    }
    None
}

/// The identifier in brackets.
pub(crate) fn quote(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}
