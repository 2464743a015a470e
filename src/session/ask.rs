//! What the server is asked about a request before it is sent: the types of the columns that its
//! parameters go to, and how these are encrypted. Both in the request's own transaction.

use std::sync::Arc;

use super::{
    Session, SessionError, State,
    call::Remedy,
    request::{Asking, Question},
    work::{Work, all_headers},
};
use crate::{
    metadata::{
        CatalogueAnswer, DescribeAnswer, Described, ObjectKind, ObjectName, catalogue_declarations,
        catalogue_query, object_id_argument,
    },
    tds::{PacketType, ReplyToken, ReplyTokens, RpcRequest, ServerError, token_id},
};

impl Session {
    /// Asks what is not known about one of the calls.
    pub(super) fn ask(&mut self, mut work: Box<Work>, at: usize) {
        let Some(call) = work.calls.get_mut(at) else { return };
        let mut missing = Vec::new();
        if !call.catalogue.asked {
            for (name, kind) in call.objects() {
                let known = match call.may_use_cache() {
                    true => {
                        self.config.metadata_cache.object(&self.database, &name, kind, self.now)
                    }
                    false => None,
                };
                match known {
                    Some(object) => {
                        call.catalogue.from_cache = true;
                        call.catalogue.objects.insert((name, kind), object);
                    }
                    None => missing.push((name, kind)),
                }
            }
        }
        if missing.is_empty() {
            self.ask_parameters(work, at);
        } else {
            self.ask_objects(work, at, missing);
        }
    }

    fn ask_objects(&mut self, work: Box<Work>, at: usize, objects: Vec<(ObjectName, ObjectKind)>) {
        let query = catalogue_query(&objects);
        let declarations = catalogue_declarations(objects.len());
        let names: Vec<String> = objects.iter().map(|(name, _)| object_id_argument(name)).collect();
        let mut texts = vec![query.as_str(), declarations.as_str()];
        texts.extend(names.iter().map(String::as_str));
        if let Err(error) = self.call(&work, "sp_executesql", &texts) {
            self.refuse(error);
            return;
        }
        let question = Question::Objects { work, call: at, objects };
        self.state = State::Asking(Asking { question, answer: Vec::new() });
    }

    /// The server has said what the columns are, or that it does not.
    pub(super) fn objects_known(
        &mut self,
        mut work: Box<Work>,
        at: usize,
        objects: &[(ObjectName, ObjectKind)],
        answer: &[u8],
        transaction_changed: bool,
    ) {
        let kinds: Vec<ObjectKind> = objects.iter().map(|(_, kind)| *kind).collect();
        let Some(call) = work.calls.get_mut(at) else { return };
        call.catalogue.asked = true;
        match CatalogueAnswer::read(answer, &kinds) {
            Ok(CatalogueAnswer::Known(found)) => {
                for ((name, kind), object) in objects.iter().zip(found) {
                    let object = Arc::new(object);
                    if call.may_feed_cache() {
                        self.config.metadata_cache.insert_object(
                            &self.database,
                            name,
                            *kind,
                            object.clone(),
                            (call.described_at.0, self.now),
                        );
                    }
                    call.catalogue.objects.insert((name.clone(), *kind), object);
                }
            }
            // What has ended the transaction must not be lost, and the request not go on without it.
            Ok(CatalogueAnswer::Refused(tokens)) if transaction_changed => {
                self.refused_by_server(tokens);
                return;
            }
            // Without the types the declarations are as short as their values; describe has the
            // last word in any case.
            Ok(CatalogueAnswer::Refused(_)) => {}
            Err(fault) => {
                self.refuse(SessionError::Describe(fault));
                return;
            }
        }
        self.ask_parameters(work, at);
    }

    fn ask_parameters(&mut self, mut work: Box<Work>, at: usize) {
        let Some(call) = work.calls.get_mut(at) else { return };
        call.resolve_types(self.collation);
        let Some(statement) = &call.statement else { return };
        let (text, declarations) = (statement.text.clone(), statement.declarations_to_describe());
        let asked = self.call(&work, "sp_describe_parameter_encryption", &[&text, &declarations]);
        if let Err(error) = asked {
            self.refuse(error);
            return;
        }
        let question = Question::Parameters { work, call: at };
        self.state = State::Asking(Asking { question, answer: Vec::new() });
    }

    /// The server has said how the parameters are encrypted, or why it does not.
    pub(super) fn parameters_known(
        &mut self,
        mut work: Box<Work>,
        at: usize,
        answer: &[u8],
        transaction_changed: bool,
    ) {
        let Some(call) = work.calls.get_mut(at) else { return };
        let Some(statement) = &call.statement else { return };
        let names: Vec<&str> = statement.parameters.iter().map(|p| p.name.as_str()).collect();
        match DescribeAnswer::read(answer, &names) {
            Ok(DescribeAnswer::Described(description)) => {
                let types = statement.parameters.iter().map(|p| p.required.clone()).collect();
                let described = Arc::new(Described { description, types });
                // The types of what was prepared are its own.
                if call.may_feed_cache() && !statement.is_prepared() {
                    let cache = &self.config.metadata_cache;
                    let when = (call.described_at.0, self.now);
                    cache.insert(call.key.clone(), described.clone(), when);
                }
                call.describe_as(described, false);
                self.go_on(work);
            }
            Ok(DescribeAnswer::Refused(tokens)) => {
                // A transaction that the refusal has ended must not go on without what was in it.
                let message = if transaction_changed { None } else { type_clash(&tokens) };
                match message.and_then(|message| call.after_clash(&message)) {
                    Some(Remedy::AskCatalogue) => {
                        let objects = call.objects();
                        for (name, kind) in &objects {
                            self.config.metadata_cache.remove_object(&self.database, name, *kind);
                        }
                        self.ask(work, at);
                    }
                    Some(Remedy::Describe) => self.ask_parameters(work, at),
                    None => self.refused_by_server(tokens),
                }
            }
            Err(fault) => self.refuse(SessionError::Describe(fault)),
        }
    }

    /// Calls a procedure in the request's transaction.
    fn call(&mut self, work: &Work, procedure: &str, texts: &[&str]) -> Result<(), SessionError> {
        let mut message = Vec::new();
        RpcRequest::write_text_call(
            all_headers(work.held.payload()),
            procedure,
            texts,
            self.collation,
            &mut message,
        )
        .map_err(SessionError::Request)?;
        let reset = self.take_reset();
        self.push_to_server(PacketType::Rpc, reset, message.into());
        Ok(())
    }
}

/// The text of an operand type clash among error tokens.
fn type_clash(tokens: &[u8]) -> Option<String> {
    const OPERAND_TYPE_CLASH: u32 = 206;
    let mut tokens = ReplyTokens::new(tokens);
    while let Ok(Some(token)) = tokens.next_token() {
        if let ReplyToken::Other(token_id::ERROR, bytes) = token
            && let Ok(error) = ServerError::read(bytes)
            && error.number == OPERAND_TYPE_CLASH
        {
            return Some(error.message);
        }
    }
    None
}
