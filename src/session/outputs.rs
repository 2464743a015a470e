//! The encrypted output parameters of the request that is under way.

use std::sync::Arc;

use crate::{crypto::CellKey, keystore::EncryptedCekValue};

/// One of them.
pub(super) struct Output {
    /// Its name in the request; empty if the request goes by places.
    pub(super) name: String,
    /// Its place among the parameters of the request, from 0. Those of sp_executesql and its kin
    /// count, which is how the server counts as well.
    pub(super) index: usize,
    /// The key, if it was to be had.
    pub(super) key: Option<Arc<CellKey>>,
    pub(super) values: Vec<EncryptedCekValue>,
    /// Whether it has come back.
    pub(super) returned: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Outputs(pub(super) Vec<Output>);

impl Outputs {
    /// The encrypted output that comes back under a name and an ordinal: the one of that name,
    /// otherwise the one without a name at that place, whatever the server calls it. Each comes back
    /// once.
    pub(super) fn take(&mut self, name: &str, ordinal: u16) -> Option<&Output> {
        let bare = |n: &str| n.strip_prefix('@').unwrap_or(n).to_owned();
        let is_named = |o: &Output| !o.name.is_empty() && bare(&o.name) == bare(name);
        let is_placed = |o: &Output| o.name.is_empty() && o.index == usize::from(ordinal);
        let found =
            if self.0.iter().any(is_named) { self.only(is_named) } else { self.only(is_placed) };
        let output = self.0.get_mut(found?)?;
        (!std::mem::replace(&mut output.returned, true)).then_some(&*output)
    }

    /// Where the one stands of which something is true; none of several.
    fn only(&self, is: impl Fn(&Output) -> bool) -> Option<usize> {
        let mut found = self.0.iter().enumerate().filter(|(_, output)| is(output));
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Some(at),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(outputs: &[(&str, usize)]) -> Outputs {
        let output = |&(name, index): &(&str, usize)| Output {
            name: name.to_owned(),
            index,
            key: None,
            values: Vec::new(),
            returned: false,
        };
        Outputs(outputs.iter().map(output).collect())
    }

    fn taken(of: &[(&str, usize)], name: &str, ordinal: u16) -> Option<usize> {
        outputs(of).take(name, ordinal).map(|output| output.index)
    }

    #[test]
    fn a_name_goes_before_the_ordinal() {
        let of = [("@a", 2), ("b", 3)];
        assert_eq!(taken(&of, "@a", 3), Some(2));
        assert_eq!(taken(&of, "a", 9), Some(2));
        assert_eq!(taken(&of, "@b", 2), Some(3));
    }

    #[test]
    fn an_ordinal_is_only_for_what_has_no_name() {
        let of = [("", 2), ("", 4), ("@c", 5)];
        assert_eq!(taken(&of, "", 4), Some(4));
        assert_eq!(taken(&of, "@whatever", 2), Some(2));
        assert_eq!(taken(&of, "", 5), None);
        assert_eq!(taken(&of, "", 3), None);
        assert_eq!(taken(&of, "", u16::MAX), None);
    }

    #[test]
    fn what_could_be_two_is_none() {
        assert_eq!(taken(&[("@a", 2), ("a", 3)], "@a", 2), None);
    }

    #[test]
    fn an_output_comes_back_once() {
        let mut of = outputs(&[("", 0), ("@b", 1)]);
        for (name, ordinal) in [("", 0), ("@b", 1)] {
            assert!(of.take(name, ordinal).is_some());
            assert!(of.take(name, ordinal).is_none());
        }
    }
}
