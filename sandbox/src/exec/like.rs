//! LIKE: `%`, `_`, `[a-z]`, `[^...]` and ESCAPE.

use crate::types::collation::{Order, folded};

/// One step of a pattern.
#[derive(Debug, PartialEq)]
enum Step {
    Any,
    One,
    Literal(char),
    Set { negated: bool, ranges: Vec<(char, char)> },
}

/// None where the pattern can match nothing, as with an unclosed bracket.
fn steps(pattern: &str, escape: Option<char>) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        steps.push(match c {
            c if Some(c) == escape => Step::Literal(chars.next()?),
            '%' => Step::Any,
            '_' => Step::One,
            '[' => set(&mut chars)?,
            c => Step::Literal(c),
        });
    }
    Some(steps)
}

fn set(chars: &mut std::str::Chars<'_>) -> Option<Step> {
    let mut members: Vec<char> = Vec::new();
    loop {
        match chars.next()? {
            ']' => break,
            c => members.push(c),
        }
    }
    let (negated, members) = match members.split_first() {
        Some(('^', rest)) => (true, rest.to_vec()),
        _ => (false, members),
    };
    let mut ranges = Vec::new();
    let mut rest = members.as_slice();
    loop {
        match rest {
            [from, '-', to, tail @ ..] => {
                ranges.push((*from, *to));
                rest = tail;
            }
            [one, tail @ ..] => {
                ranges.push((*one, *one));
                rest = tail;
            }
            [] => return Some(Step::Set { negated, ranges }),
        }
    }
}

/// Folded, so that the steps can be compared with the value's characters.
pub(crate) fn like(value: &str, pattern: &str, escape: Option<char>, order: Order) -> bool {
    let fold = |text: &str| -> String {
        if order == Order::IgnoreCase { folded(text).collect() } else { text.to_owned() }
    };
    let Some(steps) = steps(
        &fold(pattern),
        escape.map(|c| if order == Order::IgnoreCase { lower(c) } else { c }),
    ) else {
        return false;
    };
    let value: Vec<char> = fold(value).chars().collect();
    matches(&value, &steps)
}

fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// Backtracks only to the last `%`, so the time is at most the product of the lengths.
fn matches(value: &[char], steps: &[Step]) -> bool {
    let (mut v, mut s) = (0usize, 0usize);
    let mut back: Option<(usize, usize)> = None;
    loop {
        let step = steps.get(s);
        let c = value.get(v);
        match (step, c) {
            (Some(Step::Any), _) => {
                s = s.saturating_add(1);
                back = Some((v, s));
                continue;
            }
            (Some(step), Some(c)) if matches_one(step, *c) => {
                v = v.saturating_add(1);
                s = s.saturating_add(1);
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        match back {
            Some((from, step)) if from < value.len() => {
                let from = from.saturating_add(1);
                back = Some((from, step));
                (v, s) = (from, step);
            }
            _ => return false,
        }
    }
}

fn matches_one(step: &Step, c: char) -> bool {
    match step {
        Step::Any => false,
        Step::One => true,
        Step::Literal(literal) => *literal == c,
        Step::Set { negated, ranges } => {
            ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_sql_server() {
        let ci = |value, pattern| like(value, pattern, None, Order::IgnoreCase);
        assert!(ci("Hello", "h%O"));
        assert!(ci("Hello", "_e__o"));
        assert!(ci("Hello", "[f-i]%"));
        assert!(!ci("Hello", "[^f-i]%"));
        assert!(!ci("Hello", "Hell"));
        assert!(ci("50%", "50[%]"));
        assert!(!ci("x", "[x"));
        assert!(like("a_b", "a!_b", Some('!'), Order::Binary));
        assert!(!like("axb", "a!_b", Some('!'), Order::Binary));
        assert!(!like("ABC", "abc", None, Order::Binary));
        assert!(!ci(&"a".repeat(5000), &"%a".repeat(2000).replace("%a%a%a", "%a%b")));
    }
}
