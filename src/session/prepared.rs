//! What a connection has prepared, by handle.
//!
//! The values of `sp_execute` go to a statement that the call does not show. Which it is, only the
//! handle tells, and the handle is the server's to choose. So what is known of a handle is believed
//! as long as it cannot be mistaken: a number that the server gives to a second statement while the
//! first lives stands for neither, and where a response has more handles than were asked for, nothing
//! that has been prepared is executed any more. Otherwise a server could have the values of one
//! statement sent by the description of another.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::{
    SessionError,
    procedures::{HandleKind, Role},
    statement::Declared,
    work::DescribedAt,
};
use crate::{
    metadata::{DescribeKey, Described},
    tds::{ReturnValue, RpcRequest},
};

/// The handles that are kept. A handle cannot be forgotten while the server knows it, so there is
/// nothing but to refuse what would exceed this.
const MOST: usize = 4096;

/// A handle: two sets of numbers.
pub(super) type Handle = (HandleKind, i32);

/// A statement as it was prepared.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What its description is known by; the statement's text is in it.
    pub(super) key: DescribeKey,
    /// Its parameters with the types that were sent. `None` if nothing of it is looked after.
    pub(super) parameters: Option<Vec<Declared>>,
    /// How they are encrypted. `None` if there are none.
    pub(super) described: Option<Arc<Described>>,
    /// Since when that is known.
    pub(super) described_at: DescribedAt,
}

/// What is known of a handle.
enum Known {
    Statement(Arc<Prepared>),
    /// The server gave it to two statements at once.
    Ambiguous,
}

/// All handles of a connection.
#[derive(Default)]
pub(super) struct PreparedStatements {
    known: HashMap<Handle, Known>,
    /// The server returns more handles than it is asked for.
    distrusted: bool,
    /// Something has been prepared whose values are looked after. From then on a handle that nobody
    /// knows may be that.
    protects: bool,
}

/// What a call does to the handles once it has been answered.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// How many values it returns.
    pub(super) outputs: usize,
    /// What it prepares.
    pub(super) prepares: Option<(HandleKind, Prepared)>,
    /// What it gives up.
    pub(super) gives_up: Option<Handle>,
    /// What has been described anew.
    pub(super) described: Option<(Handle, Arc<Described>, DescribedAt)>,
}

impl PreparedStatements {
    /// The statement that a call executes. `protects` says whether a statement without a word on it
    /// would be looked after.
    ///
    /// Fails if the call has values and nobody knows where they go.
    pub(super) fn executed(
        &self,
        role: &Role,
        request: &RpcRequest<'_>,
        protects: bool,
    ) -> Result<Option<(Handle, Arc<Prepared>)>, SessionError> {
        let Role::Execute { first_value, .. } = role else { return Ok(None) };
        let has_values = request.parameters.len() > *first_value;
        let handle = role.handle(request);
        match handle.and_then(|handle| Some((handle, self.known.get(&handle)?))) {
            Some((handle, Known::Statement(prepared))) => Ok(Some((handle, prepared.clone()))),
            _ if !has_values => Ok(None),
            Some(((_, handle), Known::Ambiguous)) => {
                Err(SessionError::AmbiguousHandle { handle: Some(handle) })
            }
            None if self.distrusted => {
                Err(SessionError::AmbiguousHandle { handle: handle.map(|(_, handle)| handle) })
            }
            None if protects || self.protects => {
                Err(SessionError::UnknownHandle { handle: handle.map(|(_, handle)| handle) })
            }
            None => Ok(None),
        }
    }

    /// Whether one more can be prepared.
    pub(super) fn check_room(&self) -> Result<(), SessionError> {
        match self.known.len() < MOST {
            true => Ok(()),
            false => Err(SessionError::TooManyPrepared { limit: MOST }),
        }
    }

    /// RESETCONNECTION: the server forgets all of them.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// A request has been answered.
    pub(super) fn answered(&mut self, effects: Vec<Effect>, returned: Returned) {
        for effect in &effects {
            if let Some(handle) = effect.gives_up
                && let Entry::Occupied(known) = self.known.entry(handle)
                && matches!(known.get(), Known::Statement(_))
            {
                known.remove();
            }
            if let Some((handle, described, described_at)) = &effect.described
                && let Some(Known::Statement(prepared)) = self.known.get_mut(handle)
            {
                *prepared = Arc::new(Prepared {
                    key: prepared.key.clone(),
                    parameters: prepared.parameters.clone(),
                    described: Some(described.clone()),
                    described_at: *described_at,
                });
            }
        }
        if effects.iter().all(|effect| effect.prepares.is_none()) {
            return;
        }
        let outputs = |effect: &Effect| effect.outputs;
        if returned.overflowed || returned.values.len() > effects.iter().map(outputs).sum() {
            self.distrust();
            return;
        }
        // A message of one call needs no telling apart.
        let alone = effects.len() == 1;
        if !alone && returned.calls != effects.len() {
            returned.values.iter().for_each(|value| self.doubt(value.int));
            return;
        }
        for (call, effect) in effects.into_iter().enumerate() {
            let mut values = returned.values.iter().filter(|value| alone || value.call == call);
            if !alone && values.clone().count() > effect.outputs {
                self.distrust();
                return;
            }
            let Some((kind, prepared)) = effect.prepares else { continue };
            let Some(first) = values.next() else { continue };
            // A driver that goes by ordinals must not find another handle than one that takes the
            // first.
            values.filter(|v| v.ordinal <= first.ordinal).for_each(|v| self.doubt(v.int));
            if let Some(handle) = first.int {
                self.learn((kind, handle), prepared);
            }
        }
    }

    fn learn(&mut self, handle: Handle, prepared: Prepared) {
        self.protects |= prepared.parameters.is_some();
        if self.distrusted {
            return;
        }
        self.known
            .entry(handle)
            .and_modify(|known| *known = Known::Ambiguous)
            .or_insert_with(|| Known::Statement(Arc::new(prepared)));
    }

    /// The driver may take that number for another statement's handle than we would.
    fn doubt(&mut self, number: Option<i32>) {
        let Some(number) = number else { return };
        for kind in [HandleKind::Statement, HandleKind::Cursor] {
            self.known.insert((kind, number), Known::Ambiguous);
        }
    }

    fn distrust(&mut self) {
        self.known.clear();
        self.distrusted = true;
    }
}

/// The values that a response returns, as far as they may be handles. Nothing is kept unless a
/// handle is expected.
#[derive(Default)]
pub(super) struct Returned {
    /// How many values there may be; 0 if no handle is expected.
    limit: usize,
    /// The calls that have ended.
    calls: usize,
    values: Vec<ReturnedInt>,
    overflowed: bool,
}

struct ReturnedInt {
    call: usize,
    ordinal: u16,
    int: Option<i32>,
}

impl Returned {
    /// For a response to these calls.
    pub(super) fn to(effects: &[Effect]) -> Self {
        let prepares = effects.iter().any(|effect| effect.prepares.is_some());
        let limit = if prepares { effects.iter().map(|effect| effect.outputs).sum() } else { 0 };
        Self { limit, ..Self::default() }
    }

    /// A RETURNVALUE that the driver gets.
    pub(super) fn value(&mut self, value: &ReturnValue) {
        if self.limit == 0 {
            return;
        }
        if self.values.len() == self.limit {
            self.overflowed = true;
            return;
        }
        let (ordinal, int) = (value.ordinal(), value.int());
        self.values.push(ReturnedInt { call: self.calls, ordinal, int });
    }

    /// A DONEPROC.
    pub(super) fn call_ended(&mut self) {
        self.calls = self.calls.saturating_add(1);
    }
}
