//! A request that is being prepared: its calls, and what is known of each.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    SessionError, encrypt,
    hint::Hints,
    outputs::{Output, Outputs},
    prepared::{Effect, Handle, Prepared, PreparedStatements},
    procedures::{HandleKind, Role},
    repeat::{Repeat, is_single_statement},
    schema::{Changes, names_temporary},
    statement::Statement,
    upload::Held,
};
use crate::{
    crypto::CellKey,
    metadata::{
        DescribeFault, DescribeKey, Described, Description, Lenders, ObjectKind, ObjectName,
        Objects, ParameterType, Target, Ticket, clashing_types, objects_of, resolve,
    },
    policy::ColumnEncryption,
    tds::{Procedure, RpcFault, RpcMessage, RpcRequest},
    value::{CodePage, ConversionType, SqlType},
};

/// A held request and what is known of it.
pub(super) struct Work {
    pub(super) held: Held,
    pub(super) calls: Vec<Call>,
    /// Whether the results are shown as they are stored.
    pub(super) ciphertext: bool,
    /// What it may change of that on which descriptions rest.
    pub(super) changes: Changes,
    /// What may lead to its being sent again.
    pub(super) repeat: Repeat,
}

/// The state of the cache and the time at which something was found out.
pub(super) type DescribedAt = (u64, Instant);

/// How a request may use what is known from before.
pub(super) struct CacheUse {
    /// What was known has turned out wrong.
    pub(super) afresh: bool,
    /// Whether this connection sees the tables that others see.
    pub(super) shared: bool,
    /// The state of the cache, and the time.
    pub(super) now: DescribedAt,
    /// How long a description is believed.
    pub(super) ttl: Duration,
}

impl CacheUse {
    /// Whether what was found out then still holds.
    fn holds(&self, (generation, at): DescribedAt) -> bool {
        let (now_generation, now) = self.now;
        self.shared && generation == now_generation && now.saturating_duration_since(at) < self.ttl
    }
}

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
    own: bool,
    /// When what is known of it was found out, at the earliest.
    pub(super) described_at: DescribedAt,
    /// Given up when the answer is there, or the request ends.
    pub(super) ticket: Option<Ticket>,
    pub(super) catalogue: CatalogueState,
    stated: Vec<(String, SqlType)>,
    /// Whether its parameters are looked after, if it has any.
    protected: bool,
    handles: HandleUse,
}

/// What a call has to do with handles of what is prepared.
#[derive(Default)]
struct HandleUse {
    outputs: usize,
    asked_for: Option<HandleKind>,
    given_up: Option<Handle>,
    executed: Option<Handle>,
}

/// How far the types of a call's parameters are known.
#[derive(Default)]
pub(super) struct CatalogueState {
    targets: Option<Vec<Vec<Target>>>,
    pub(super) objects: Objects,
    /// Whether some of them were known before.
    pub(super) from_cache: bool,
    /// Whether the server has been asked for the others.
    pub(super) asked: bool,
    all_lend: bool,
    learnt: HashMap<usize, ParameterType>,
}

/// What to try after a type clash.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Ask the catalogue again: what was known is out of date.
    AskCatalogue,
    /// Describe the statement again, with other types.
    Describe,
}

impl Work {
    /// Reads a request. `afresh` takes nothing from the cache.
    pub(super) fn read(
        held: Held,
        database: &str,
        setting: ColumnEncryption,
        prepared: &PreparedStatements,
        cached: &CacheUse,
    ) -> Result<Self, SessionError> {
        let afresh = cached.afresh;
        let message = read_message(held.payload())?;
        let mut calls = Vec::with_capacity(message.requests.len());
        let (mut disabled, mut changes) = (0, Changes::default());
        let mut repeat = Repeat::Never;
        for request in &message.requests {
            let role = Role::of(&request.procedure);
            let protects = setting == ColumnEncryption::Enabled;
            let executed = prepared.executed(&role, request, protects)?;
            let text = match &executed {
                Some((_, prepared)) => prepared.key.statement.clone(),
                None => role.text(request).unwrap_or_default(),
            };
            changes.add(Changes::of(&text));
            if let Procedure::Name(name) = &request.procedure {
                changes.add(Changes::of(name));
            }
            repeat = match role {
                _ if message.requests.len() > 1 => Repeat::Never,
                Role::Call(_) if executed.is_none() => Repeat::Stale,
                _ if is_single_statement(&text) => Repeat::Clash,
                _ => Repeat::Never,
            };
            let hints = Hints::of(&text)?;
            let setting = hints.encryption.unwrap_or(setting);
            disabled += usize::from(setting == ColumnEncryption::Disabled);
            let mut call = match &executed {
                Some((_, prepared)) => {
                    let afresh = afresh || !cached.holds(prepared.described_at);
                    Call::of_prepared(&role, request, prepared, setting, afresh)?
                }
                None => Call::new(&role, request, &hints, setting, afresh, cached.now)?,
            };
            call.handles = HandleUse::of(&role, request, executed.as_ref().map(|(h, _)| *h));
            if call.handles.asked_for.is_some() {
                prepared.check_room()?;
            }
            if executed.is_none() {
                call.key.database = database.to_owned();
            }
            if call.key.statement.is_empty() {
                call.key.statement = text;
            }
            call.own = !cached.shared || names_temporary(&call.key.statement);
            if executed.is_none() || !call.from_cache {
                call.described_at = cached.now;
            }
            calls.push(call);
        }
        let ciphertext = disabled > 0 && disabled == calls.len();
        drop(message);
        Ok(Self { held, calls, ciphertext, changes, repeat })
    }

    /// The first call of which nothing is known yet.
    pub(super) fn next_open(&self) -> Option<usize> {
        self.calls.iter().position(|call| call.statement.is_some() && call.described.is_none())
    }

    /// Whether the driver's own bytes are what is to be sent.
    pub(super) fn is_untouched(&self) -> bool {
        self.calls.iter().filter_map(|call| call.described.as_ref()).all(|d| passes_as_it_came(d))
    }

    /// The descriptions that the request rests on, and whether one was known before.
    pub(super) fn rests_on(&self) -> (Vec<DescribeKey>, bool) {
        let described = || self.calls.iter().filter(|call| call.described.is_some());
        (
            described().map(|call| call.key.clone()).collect(),
            described().any(|call| call.from_cache),
        )
    }

    /// What the calls do to the handles, once they are answered.
    pub(super) fn effects(&self) -> Vec<Effect> {
        self.calls.iter().map(Call::effect).collect()
    }

    /// No table is encrypted. Every parameter that a statement forces must be one that the server
    /// says is encrypted. An error comes with the call that it is about.
    pub(super) fn check_verdicts(&self) -> Result<(), (usize, SessionError)> {
        for (at, call) in self.calls.iter().enumerate() {
            let failed = |error| (at, error);
            let Some(statement) = &call.statement else {
                // Nothing of it will be encrypted, whatever the comment wants.
                if let Some(name) = call.forced().map_err(failed)?.first() {
                    return Err(failed(SessionError::PlainParameter { name: (*name).to_owned() }));
                }
                continue;
            };
            let described = call.described.iter().flat_map(|d| &d.description.parameters);
            let mut verdicts = statement.parameters.iter().zip(described);
            if let Some((table, _)) = verdicts.find(|(d, verdict)| d.is_table && verdict.is_some())
            {
                let name = table.name.clone();
                return Err(failed(SessionError::Describe(DescribeFault::TableValued { name })));
            }
            for name in call.forced().map_err(failed)? {
                let declared = statement.parameters.iter().position(|p| p.name == name);
                let described = call.described.as_ref();
                let verdicts = described.map(|d| d.description.parameters.as_slice());
                let encrypted =
                    declared.and_then(|at| verdicts?.get(at)).is_some_and(Option::is_some);
                if !encrypted {
                    return Err(failed(SessionError::PlainParameter { name: name.to_owned() }));
                }
            }
        }
        Ok(())
    }

    /// The keys that the request needs: the call, the index of the key in its description, and what
    /// needs it.
    pub(super) fn needed_keys(&self) -> Result<Vec<(usize, usize, String)>, SessionError> {
        let message = read_message(self.held.payload())?;
        let mut needed = Vec::new();
        for (at, (call, request)) in self.calls.iter().zip(&message.requests).enumerate() {
            let (Some(statement), Some(described)) = (&call.statement, &call.described) else {
                continue;
            };
            let keys = encrypt::needed_keys(request, statement, &described.description);
            needed.extend(keys.into_iter().map(|(cek, target)| (at, cek, target)));
        }
        Ok(needed)
    }

    /// The length of the encrypted request, at most: large values cost the growth of no buffer.
    fn encrypted_len(&self) -> usize {
        /// A parameter's name, types and trailer, and what a cell has beyond its plaintext.
        const PER_PARAMETER: usize = 800;
        let parameters = self.calls.iter().filter_map(|c| c.statement.as_ref());
        let parameters: usize = parameters.map(|s| s.parameters.len()).sum();
        self.held.payload().len() + PER_PARAMETER * parameters + 8192
    }

    /// The request with its parameters encrypted, and the outputs to expect of each call.
    pub(super) fn encrypt(
        &self,
        keys: &HashMap<(usize, usize), Arc<CellKey>>,
        collation: [u8; 5],
    ) -> Result<(Vec<u8>, Vec<Outputs>), SessionError> {
        let message = read_message(self.held.payload())?;
        let mut out = Vec::with_capacity(self.encrypted_len());
        let mut outputs = Vec::with_capacity(self.calls.len());
        for (at, (call, request)) in self.calls.iter().zip(&message.requests).enumerate() {
            match (&call.statement, &call.described) {
                (Some(statement), Some(described)) if !passes_as_it_came(described) => {
                    let keys: HashMap<usize, Arc<CellKey>> = keys
                        .iter()
                        .filter(|((of, _), _)| *of == at)
                        .map(|((_, cek), key)| (*cek, key.clone()))
                        .collect();
                    let description = &described.description;
                    encrypt::encrypt_request(
                        request,
                        statement,
                        description,
                        &keys,
                        collation,
                        &mut out,
                    )?;
                    outputs.push(expected_outputs(request, statement, description, &keys));
                }
                _ => {
                    request.write(&mut out);
                    outputs.push(Outputs::default());
                }
            }
            out.extend(message.separators.get(at));
        }
        Ok((out, outputs))
    }
}

impl HandleUse {
    fn of(role: &Role, request: &RpcRequest<'_>, executed: Option<Handle>) -> Self {
        Self {
            outputs: request.parameters.iter().filter(|p| p.is_output()).count(),
            asked_for: role.asks_for(request),
            given_up: role.handle(request).filter(|_| role.gives_up_handle()),
            executed,
        }
    }
}

impl Call {
    fn new(
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
    fn of_prepared(
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
            described_at: prepared.described_at,
            ticket: None,
            catalogue: CatalogueState { asked: true, ..CatalogueState::default() },
            stated: Vec::new(),
            protected: prepared.parameters.is_some(),
            handles: HandleUse::default(),
        })
    }

    fn effect(&self) -> Effect {
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
        !self.own
    }

    /// The objects that the statement's parameters go to, unless there are too many to ask for.
    pub(super) fn objects(&mut self) -> Vec<(ObjectName, ObjectKind)> {
        /// SQL Server joins at most 256 tables; a statement with as many parameters' targets is rare.
        const MOST: usize = 64;
        let Some(statement) = &self.statement else { return Vec::new() };
        let targets = self.catalogue.targets.get_or_insert_with(|| statement.targets());
        let mut found = Vec::new();
        for target in targets.iter().flatten() {
            for object in objects_of(target) {
                if !found.contains(&object) {
                    found.push(object);
                }
                if found.len() > MOST {
                    return Vec::new();
                }
            }
        }
        found
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

    /// Works out the types of the parameters from what is known of their columns.
    pub(super) fn resolve_types(&mut self, collation: [u8; 5]) -> Vec<Option<ParameterType>> {
        let Some(mut statement) = self.statement.take() else { return Vec::new() };
        let types = self.types_of(&statement, CodePage::of_collation(collation));
        statement.require(&types);
        self.statement = Some(statement);
        types
    }

    fn types_of(
        &self,
        statement: &Statement,
        default_code_page: Option<CodePage>,
    ) -> Vec<Option<ParameterType>> {
        let lenders = if self.catalogue.all_lend { Lenders::All } else { Lenders::Encrypted };
        let targets = self.catalogue.targets.as_deref().unwrap_or_default();
        let type_of = |at: usize, name: &str| {
            let lent = targets
                .get(at)
                .and_then(|targets| resolve(targets, &self.catalogue.objects, lenders));
            let stated = self.stated.iter().find(|(stated, _)| stated.eq_ignore_ascii_case(name));
            let required = match stated {
                Some((_, sql_type)) => ParameterType {
                    conversion_type: ConversionType {
                        sql_type: *sql_type,
                        // The column's, if there is one: a type does not tell.
                        code_page: lent.and_then(|lent| lent.conversion_type.code_page),
                    },
                    says: "the type that the statement states".to_owned(),
                    stated: true,
                },
                None => match self.catalogue.learnt.get(&at) {
                    Some(learnt) => learnt.clone(),
                    None => {
                        let mut lent = lent?;
                        // Of a procedure's parameters the catalogue does not say. That of the
                        // database, as SqlClient has it.
                        let code_page = &mut lent.conversion_type.code_page;
                        *code_page = code_page.or(default_code_page);
                        lent
                    }
                },
            };
            Some(required)
        };
        let parameters = statement.parameters.iter().enumerate();
        parameters.map(|(at, declared)| type_of(at, &declared.name)).collect()
    }

    /// What to try after the server has refused to describe the statement because of a type clash.
    /// Nothing has been executed. Each try knows more than the last, so there is an end to them.
    pub(super) fn after_clash(&mut self, message: &str) -> Option<Remedy> {
        // What has been prepared cannot be declared otherwise any more.
        if self.statement.as_ref().is_some_and(Statement::is_prepared) {
            return None;
        }
        if std::mem::take(&mut self.catalogue.from_cache) {
            self.catalogue.objects.clear();
            self.catalogue.asked = false;
            self.afresh = true;
            return Some(Remedy::AskCatalogue);
        }
        let types = |call: &Self| call.statement.as_ref().map(|s| call.types_of(s, None));
        if !self.catalogue.all_lend {
            let before = types(self);
            self.catalogue.all_lend = true;
            if types(self) != before {
                return Some(Remedy::Describe);
            }
        }
        self.learn(message).then_some(Remedy::Describe)
    }

    /// The error names two types. If one of them is that of a single parameter that nobody has
    /// mapped, the parameter wants the other.
    fn learn(&mut self, message: &str) -> bool {
        let (Some(statement), Some([first, second])) = (&self.statement, clashing_types(message))
        else {
            return false;
        };
        for (own, wanted) in [(first, second), (second, first)] {
            let mut candidates = statement
                .parameters
                .iter()
                .enumerate()
                .filter(|(_, p)| p.required.is_none() && p.sql_type().is_ok_and(|t| t == own));
            if let (Some((at, _)), None) = (candidates.next(), candidates.next()) {
                let learnt = ParameterType {
                    conversion_type: ConversionType { sql_type: wanted, code_page: None },
                    says: "the type that the server asks for".to_owned(),
                    stated: false,
                };
                return self.catalogue.learnt.insert(at, learnt).is_none();
            }
        }
        false
    }

    fn forced(&self) -> Result<Vec<&str>, SessionError> {
        Hints::of(&self.key.statement).map(|hints| hints.forced)
    }
}

/// Whether nothing of a call is encrypted or has a type that the application has stated.
fn passes_as_it_came(described: &Described) -> bool {
    described.description.is_plain() && !described.types.iter().flatten().any(|t| t.stated)
}

/// The requests of a message.
fn read_message(payload: &[u8]) -> Result<RpcMessage<'_>, SessionError> {
    RpcMessage::read(payload).map_err(|fault| match fault {
        RpcFault::Malformed(malformed) => SessionError::Request(malformed),
        RpcFault::AlreadyEncrypted => SessionError::Unsupported {
            what: "a driver that encrypts by itself",
            remedy: "switch Always Encrypted off on one of the two sides",
        },
    })
}

/// ALL_HEADERS of a message, which say to which transaction it belongs.
pub(super) fn all_headers(payload: &[u8]) -> &[u8] {
    RpcMessage::read(payload)
        .ok()
        .and_then(|message| message.requests.first().map(|r| r.all_headers))
        .unwrap_or_default()
}

/// The output parameters that will come back encrypted.
fn expected_outputs(
    request: &RpcRequest<'_>,
    statement: &Statement,
    description: &Description,
    keys: &HashMap<usize, Arc<CellKey>>,
) -> Outputs {
    let mut outputs = Outputs::default();
    for (declared, encryption) in statement.parameters.iter().zip(&description.parameters) {
        let (Some(encryption), Some(index)) = (encryption, declared.index) else { continue };
        let Some(parameter) = request.parameters.get(index).filter(|p| p.is_output()) else {
            continue;
        };
        outputs.0.push(Output {
            name: parameter.name.clone(),
            index,
            returned: false,
            key: keys.get(&encryption.cek).cloned(),
            values: description
                .ceks
                .get(encryption.cek)
                .map(|c| c.values.clone())
                .unwrap_or_default(),
        });
    }
    outputs
}
