//! A request that is being prepared, from its reading to its encryption.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use super::{
    SessionError,
    call::{Call, HandleUse},
    encrypt,
    hint::Hints,
    outputs::Outputs,
    prepared::{Effect, PreparedStatements},
    procedures::Role,
    repeat::{Repeat, is_single_statement},
    schema::{Changes, names_temporary},
    upload::Held,
};
use crate::{
    crypto::CellKey,
    metadata::{DescribeFault, DescribeKey, Described},
    policy::ColumnEncryption,
    tds::{Procedure, RpcFault, RpcMessage, WipedBuffer},
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
    /// Whether the server may answer less than there is.
    pub(super) short_answers: bool,
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
            call.short_answers = cached.short_answers;
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
    ) -> Result<(WipedBuffer, Vec<Outputs>), SessionError> {
        let message = read_message(self.held.payload())?;
        let mut out = Zeroizing::new(Vec::with_capacity(self.encrypted_len()));
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
                    outputs.push(Outputs::expected(request, statement, description, &keys));
                }
                _ => {
                    request.write(&mut out);
                    outputs.push(Outputs::default());
                }
            }
            out.extend(message.separators.get(at));
        }
        Ok((std::mem::take(&mut *out).into(), outputs))
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
