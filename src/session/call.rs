//! One call of a request, and what is known of it.

mod types;

use std::sync::Arc;

use self::types::CatalogueState;
pub(super) use self::types::Remedy;
use super::{
    SessionError,
    hint::Hints,
    prepared::{Effect, Handle, Prepared},
    procedures::{HandleKind, Role},
    statement::Statement,
    work::DescribedAt,
};
use crate::{
    metadata::{DescribeKey, Described, Description, Ticket},
    policy::ColumnEncryption,
    tds::RpcRequest,
    value::SqlType,
};

/// One call of a request.
pub(super) struct Call {
    /// `None` if nothing of it could be encrypted.
    pub(super) statement: Option<Statement>,
    pub(super) key: DescribeKey,
    pub(super) described: Option<Arc<Described>>,
    pub(super) from_cache: bool,
    /// What was known before has turned out wrong, so nothing is taken from the cache.
    afresh: bool,
    /// Nobody else's tables are meant, so nothing is taken from the cache nor put into it.
    pub(super) own: bool,
    /// The server may answer less than there is, which is for nobody else.
    pub(super) short_answers: bool,
    /// When what is known of it was found out, at the earliest.
    pub(super) described_at: DescribedAt,
    /// Given up when the answer is there, or the request ends.
    pub(super) ticket: Option<Ticket>,
    pub(super) catalogue: CatalogueState,
    stated: Vec<(String, SqlType)>,
    /// Whether its parameters are looked after, if it has any.
    protected: bool,
    pub(super) handles: HandleUse,
}

/// What a call has to do with handles of what is prepared.
#[derive(Default)]
pub(super) struct HandleUse {
    outputs: usize,
    pub(super) asked_for: Option<HandleKind>,
    given_up: Option<Handle>,
    executed: Option<Handle>,
}

impl HandleUse {
    pub(super) fn of(role: &Role, request: &RpcRequest<'_>, executed: Option<Handle>) -> Self {
        Self {
            outputs: request.parameters.iter().filter(|p| p.is_output()).count(),
            asked_for: role.asks_for(request),
            given_up: role.handle(request).filter(|_| role.gives_up_handle()),
            executed,
        }
    }
}

impl Call {
    pub(super) fn new(
        role: &Role,
        request: &RpcRequest<'_>,
        hints: &Hints<'_>,
        setting: ColumnEncryption,
        afresh: bool,
        described_at: DescribedAt,
    ) -> Result<Self, SessionError> {
        let stated: Vec<(String, SqlType)> =
            hints.types.iter().map(|(name, t)| ((*name).to_owned(), *t)).collect();
        let wanted = setting == ColumnEncryption::Enabled || !stated.is_empty();
        let mut statement = if wanted { Statement::of(role, request)? } else { None };
        let key = DescribeKey {
            database: String::new(),
            statement: statement.as_ref().map(|s| s.text.clone()).unwrap_or_default(),
            declarations: statement.as_ref().map(Statement::declaration_key).unwrap_or_default(),
        };
        let mut call = Self {
            statement: None,
            key,
            described: None,
            from_cache: false,
            afresh,
            own: false,
            short_answers: false,
            described_at,
            ticket: None,
            catalogue: CatalogueState::default(),
            stated,
            protected: wanted,
            handles: HandleUse::default(),
        };
        let is_declared = |name: &str| {
            let parameters = statement.iter().flat_map(|s| &s.parameters);
            parameters.into_iter().any(|p| p.name.eq_ignore_ascii_case(name))
        };
        if let Some((name, _)) = call.stated.iter().find(|(name, _)| !is_declared(name)) {
            return Err(SessionError::Hint {
                hint: format!("type {name}: there is no such parameter"),
            });
        }
        if let (Some(statement), false) = (&mut statement, setting == ColumnEncryption::Enabled) {
            // Nobody is asked; the types hold all the same.
            let types = call.types_of(statement, None);
            statement.require(&types);
            let parameters = vec![None; statement.parameters.len()];
            let description = Description { ceks: Vec::new(), parameters };
            call.described = Some(Arc::new(Described { description, types }));
        }
        call.statement = statement;
        Ok(call)
    }

    /// A call that executes what was prepared: by the description and the types of that time. What
    /// is described afresh keeps the types, since the server has them from the preparation.
    pub(super) fn of_prepared(
        role: &Role,
        request: &RpcRequest<'_>,
        prepared: &Prepared,
        setting: ColumnEncryption,
        afresh: bool,
    ) -> Result<Self, SessionError> {
        let statement = match (role, &prepared.parameters) {
            (Role::Execute { first_value, .. }, Some(parameters)) => {
                let (text, parameters) = (prepared.key.statement.clone(), parameters.clone());
                Some(Statement::of_prepared(text, parameters, request, *first_value)?)
            }
            _ => None,
        };
        // Unless the setting is Enabled, the server has never been asked and is not now.
        let ask = afresh && setting == ColumnEncryption::Enabled;
        let described = prepared.described.clone().filter(|_| !ask);
        Ok(Self {
            // Without parameters there is nothing to describe.
            statement: statement.filter(|_| prepared.described.is_some()),
            key: prepared.key.clone(),
            from_cache: !afresh,
            described,
            afresh: true,
            own: false,
            short_answers: false,
            described_at: prepared.described_at,
            ticket: None,
            catalogue: CatalogueState::settled(),
            stated: Vec::new(),
            protected: prepared.parameters.is_some(),
            handles: HandleUse::default(),
        })
    }

    pub(super) fn effect(&self) -> Effect {
        let HandleUse { outputs, asked_for, given_up, executed } = self.handles;
        let parameters = || match &self.statement {
            Some(statement) => {
                let mut parameters = statement.parameters.clone();
                parameters.iter_mut().for_each(|declared| declared.index = None);
                Some(parameters)
            }
            None => self.protected.then(Vec::new),
        };
        let prepared = || Prepared {
            key: self.key.clone(),
            parameters: parameters(),
            described: self.described.clone(),
            described_at: self.described_at,
        };
        let afresh = self.described.clone().filter(|_| !self.from_cache);
        Effect {
            outputs,
            prepares: asked_for.map(|kind| (kind, prepared())),
            gives_up: given_up,
            described: executed.zip(afresh).map(|(h, d)| (h, d, self.described_at)),
        }
    }

    /// Whether what is known from before may be used.
    pub(super) fn may_use_cache(&self) -> bool {
        !self.afresh && !self.own
    }

    /// Whether what is found out may be put into the cache.
    pub(super) fn may_feed_cache(&self) -> bool {
        !self.own && !self.short_answers
    }

    /// Takes on the description and the types that belong to it.
    pub(super) fn describe_as(&mut self, described: Arc<Described>, from_cache: bool) {
        if let Some(statement) = &mut self.statement {
            statement.require(&described.types);
        }
        self.described = Some(described);
        self.from_cache = from_cache;
        self.ticket = None;
    }

    pub(super) fn forced(&self) -> Result<Vec<&str>, SessionError> {
        Hints::of(&self.key.statement).map(|hints| hints.forced)
    }
}
