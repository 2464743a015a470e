//! What has been found out of each parameter and variable.

use std::{
    collections::{BTreeMap, HashSet},
    rc::Rc,
};

use super::{Target, Targets};

/// How many variables a value is followed through.
const LONGEST_JOURNEY: usize = 16;

#[derive(Debug, Default)]
struct Variable {
    /// Where its value goes.
    goes_to: Found,
    /// Where its value comes from.
    comes_from: Found,
    /// The variables that are given its value.
    gives: Vec<Rc<str>>,
    /// The variables whose value it is given.
    takes: Vec<Rc<str>>,
}

/// Targets in the order in which they were found, each once.
#[derive(Debug, Default)]
struct Found {
    in_order: Vec<Rc<Target>>,
    seen: HashSet<Rc<Target>>,
}

impl Found {
    fn add(&mut self, target: &Rc<Target>) {
        if self.seen.insert(Rc::clone(target)) {
            self.in_order.push(Rc::clone(target));
        }
    }
}

/// Parameters and local variables, which the text does not tell apart.
#[derive(Debug, Default)]
pub(super) struct Variables {
    by_name: BTreeMap<Rc<str>, Variable>,
}

impl Variables {
    fn entry(&mut self, name: &Rc<str>) -> &mut Variable {
        self.by_name.entry(Rc::clone(name)).or_default()
    }

    /// The value of a variable is stored in a column or compared with it.
    pub(super) fn goes_to(&mut self, variable: &Rc<str>, target: &Rc<Target>) {
        self.entry(variable).goes_to.add(target);
    }

    /// A variable is given the value of a column.
    pub(super) fn comes_from(&mut self, variable: &Rc<str>, target: &Rc<Target>) {
        self.entry(variable).comes_from.add(target);
    }

    /// A variable is given the value of another.
    pub(super) fn is_given(&mut self, variable: &Rc<str>, value: &Rc<str>) {
        self.entry(value).gives.push(Rc::clone(variable));
        self.entry(variable).takes.push(Rc::clone(value));
    }

    /// The other variables that one leads to.
    fn journey(&self, from: &Rc<str>, next: impl Fn(&Variable) -> &Vec<Rc<str>>) -> Vec<&Variable> {
        let mut known: Vec<&Rc<str>> = vec![from];
        let mut at = 0;
        while let Some(variable) = known.get(at).and_then(|name| self.by_name.get(*name)) {
            at += 1;
            for name in next(variable).iter().take(LONGEST_JOURNEY) {
                if known.len() <= LONGEST_JOURNEY && !known.contains(&name) {
                    known.push(name);
                }
            }
        }
        known.into_iter().skip(1).filter_map(|name| self.by_name.get(name)).collect()
    }

    /// The targets of each, or `None` if they are more than `limit` names of tables together.
    pub(super) fn targets(&self, limit: usize) -> Option<Targets> {
        let mut left = limit;
        let mut targets = Targets::default();
        for (name, variable) in &self.by_name {
            let mut found = Found::default();
            let ahead = self.journey(name, |variable| &variable.gives);
            let behind = self.journey(name, |variable| &variable.takes);
            let all = std::iter::once(&variable.goes_to)
                .chain(ahead.iter().map(|other| &other.goes_to))
                .chain(std::iter::once(&variable.comes_from))
                .chain(behind.iter().map(|other| &other.comes_from));
            for target in all.flat_map(|found| &found.in_order) {
                left = left.checked_sub(weight(target))?;
                found.add(target);
            }
            if !found.in_order.is_empty() {
                let in_order = found.in_order.iter().map(|target| (**target).clone()).collect();
                targets.by_parameter.insert(name.to_string(), in_order);
            }
        }
        Some(targets)
    }
}

fn weight(target: &Target) -> usize {
    match target {
        Target::Column { tables, .. } => tables.len(),
        Target::ProcedureParameter { .. } => 1,
    }
}
