//! T-SQL cut into code, names, strings and comments, as SQL Server cuts it. Nothing that an application
//! puts into a string may be taken for code, nor for a comment.

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// What is none of the others.
    Code(&'a str),
    /// In brackets or double quotes, these not included. (With QUOTED_IDENTIFIER off, the latter are
    /// strings.)
    Name(&'a str),
    /// In single quotes, these not included.
    String(&'a str),
    /// `/* … */`, with the comments in it, or as far as the text goes.
    Comment { body: &'a str, ends: bool },
    /// `-- …`, up to the end of the line. A carriage return alone does not end it.
    LineComment(&'a str),
}

/// The pieces of a text. A doubled quote ends a string and begins the next.
pub(super) struct Pieces<'a>(pub(super) &'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let (piece, rest) = match self.0.as_bytes() {
            [b'/', b'*', ..] => comment(&self.0[2..]),
            [b'-', b'-', ..] => {
                let end = self.0.find('\n').unwrap_or(self.0.len());
                (Piece::LineComment(&self.0[2..end]), &self.0[end..])
            }
            [b'\'', ..] => until(&self.0[1..], '\'', Piece::String),
            [b'"', ..] => until(&self.0[1..], '"', Piece::Name),
            [b'[', ..] => bracketed(&self.0[1..]),
            _ => {
                let (code, rest) = self.0.split_at(end_of_code(self.0));
                (Piece::Code(code), rest)
            }
        };
        self.0 = rest;
        Some(piece)
    }
}

/// Where the next piece of another kind begins. The text does not begin with one.
fn end_of_code(text: &str) -> usize {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find(['\'', '"', '[', '-', '/'])) {
        at += found;
        let begins = match text.as_bytes().get(at..) {
            Some([b'-', next, ..]) => *next == b'-',
            Some([b'/', next, ..]) => *next == b'*',
            Some([b'-' | b'/']) => false,
            _ => true,
        };
        if begins && at > 0 {
            return at;
        }
        at += 1;
    }
    text.len()
}

fn until<'a>(
    text: &'a str,
    close: char,
    piece: impl FnOnce(&'a str) -> Piece<'a>,
) -> (Piece<'a>, &'a str) {
    match text.split_once(close) {
        Some((inside, rest)) => (piece(inside), rest),
        None => (piece(text), ""),
    }
}

/// A doubled closing bracket stands for itself, and no name begins with one.
fn bracketed(text: &str) -> (Piece<'_>, &str) {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find(']')) {
        at += found;
        if !text[at + 1..].starts_with(']') {
            return (Piece::Name(&text[..at]), &text[at + 1..]);
        }
        at += 2;
    }
    (Piece::Name(text), "")
}

/// Comments nest.
fn comment(text: &str) -> (Piece<'_>, &str) {
    let (mut depth, mut at) = (1, 0);
    while let Some(found) = text.get(at..).and_then(|rest| rest.find(['/', '*'])) {
        at += found;
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => depth += 1,
            Some(b"*/") => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return (Piece::Comment { body: &text[..at - 2], ends: true }, &text[at..]);
        }
    }
    (Piece::Comment { body: text, ends: false }, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_piece_is_what_it_looks_like_to_the_server() {
        use Piece::*;
        let whole = |body| Comment { body, ends: true };
        for (text, expected) in [
            ("SELECT 4/2*1-1", vec![Code("SELECT 4/2*1-1")]),
            ("a'b'c", vec![Code("a"), String("b"), Code("c")]),
            ("'it''s'", vec![String("it"), String("s")]),
            ("[a]]b]c", vec![Name("a]]b"), Code("c")]),
            ("[a]]]]b", vec![Name("a]]]]b")]),
            ("\"n\"", vec![Name("n")]),
            ("a--b'\nc", vec![Code("a"), LineComment("b'"), Code("\nc")]),
            ("a--b\rc", vec![Code("a"), LineComment("b\rc")]),
            ("/*a/*b*/c*/d", vec![whole("a/*b*/c"), Code("d")]),
            ("/*a/*b*/", vec![Comment { body: "a/*b*/", ends: false }]),
            ("'/*'*/", vec![String("/*"), Code("*/")]),
            ("-", vec![Code("-")]),
            ("a/", vec![Code("a/")]),
            ("'open", vec![String("open")]),
            ("", vec![]),
        ] {
            assert_eq!(Pieces(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_to_an_end_and_none_of_its_letters_is_lost(text in "[a-c'\"\\[\\]/*\n\r é-]{0,40}") {
            let letters = |s: &str| s.chars().filter(char::is_ascii_lowercase).count();
            let found: usize = Pieces(&text)
                .map(|piece| match piece {
                    Piece::Code(s) | Piece::Name(s) | Piece::String(s) | Piece::LineComment(s) => letters(s),
                    Piece::Comment { body, .. } => letters(body),
                })
                .sum();
            prop_assert_eq!(found, letters(&text));
        }
    }
}
