//! A batch, statement by statement.
//!
//! Which of them runs, and how often, makes no difference to where a parameter goes. So control flow
//! is passed over, word by word, and neither its nesting nor a statement that the parser does not know
//! keeps it from those that follow.

use std::rc::Rc;

use sqlparser::{
    ast::Ident,
    keywords::Keyword,
    parser::Parser,
    tokenizer::{Token, TokenWithSpan},
};

use super::{
    Column, ObjectName, Target, Targets,
    dialect::BoundedTsql,
    names::{parts, variable},
    sources::Scope,
    tokens::{is_word, word},
    walk::{Walk, Walked},
};

/// How deep expressions and queries may be nested, as the parser counts. [`super::STACK`] has twice the
/// room, without optimisation.
const DEEPEST_NESTING: usize = 50;

/// Words that a statement begins with. WITH is not among them: it must follow a semicolon.
pub(super) const STATEMENTS: [&str; 38] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "EXEC",
    "EXECUTE",
    "DECLARE",
    "SET",
    "IF",
    "ELSE",
    "WHILE",
    "BEGIN",
    "END",
    "RETURN",
    "PRINT",
    "THROW",
    "RAISERROR",
    "COMMIT",
    "ROLLBACK",
    "SAVE",
    "CREATE",
    "ALTER",
    "DROP",
    "TRUNCATE",
    "USE",
    "GRANT",
    "REVOKE",
    "DENY",
    "WAITFOR",
    "GOTO",
    "BREAK",
    "CONTINUE",
    "OPEN",
    "CLOSE",
    "DEALLOCATE",
    "DBCC",
    "FETCH",
];

/// Those of them that also stand within a statement, so that they begin none after one that could not
/// be parsed.
const ALSO_WITHIN: [&str; 4] = ["SELECT", "SET", "USE", "OPEN"];

/// Words before INSERT, UPDATE and DELETE that make them part of another statement.
const LEAD_ON: [&str; 5] = ["THEN", "FOR", "ON", "AFTER", "OF"];

pub(super) fn starts_a_statement(token: &Token) -> bool {
    is_word(token, &STATEMENTS)
}

/// Follows the parameters of a batch, or `None` if it is out of proportion.
pub(super) fn walk(tokens: Vec<TokenWithSpan>) -> Option<Targets> {
    let dialect = BoundedTsql::new(10_000 + 8 * tokens.len());
    let parser = Parser::new(&dialect)
        .with_recursion_limit(DEEPEST_NESTING)
        .with_tokens_with_locations(tokens);
    let mut batch = Batch { parser, walk: Walk::new() };
    while batch.step().ok()? {}
    batch.walk.variables.targets(batch.walk.work_left())
}

struct Batch<'t> {
    parser: Parser<'t>,
    walk: Walk,
}

impl Batch<'_> {
    fn token(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    fn depth(&self) -> u64 {
        self.parser.peek_token_ref().span.start.line
    }

    fn nth(&self, n: usize) -> &Token {
        &self.parser.peek_nth_token_ref(n).token
    }

    fn is_word(&self, words: &[&str]) -> bool {
        is_word(self.token(), words)
    }

    fn take_word(&mut self, words: &[&str]) -> bool {
        let is = self.is_word(words);
        if is {
            self.parser.advance_token();
        }
        is
    }

    /// Whether the statement is over here.
    fn is_over(&self) -> bool {
        matches!(self.token(), Token::EOF | Token::SemiColon) || starts_a_statement(self.token())
    }

    /// One statement, or one word of control flow. False at the end.
    fn step(&mut self) -> Walked<bool> {
        let start = self.parser.index();
        let first = word(self.token()).unwrap_or_default().to_ascii_uppercase();
        match first.as_str() {
            _ if *self.token() == Token::EOF => return Ok(false),
            "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "WITH" => {
                self.parsed(first == "WITH")?;
            }
            "EXEC" | "EXECUTE" => {
                self.parser.advance_token();
                self.call()?;
            }
            "DECLARE" => self.declare()?,
            "SET" => self.set()?,
            "IF" | "WHILE" => {
                self.parser.advance_token();
                self.expression(None)?;
            }
            "BEGIN" | "END" => {
                self.parser.advance_token();
                if !self.take_word(&["TRY", "CATCH"])
                    && self.is_word(&["TRAN", "TRANSACTION", "DISTRIBUTED"])
                {
                    self.skip_to(starts_a_statement);
                }
            }
            "CREATE" | "ALTER" if self.creates_a_module() => return Ok(false),
            "ALTER" | "GRANT" | "REVOKE" | "DENY" => self.skip_to_semicolon(),
            // DDL and whatever else takes no parameters that are of interest.
            _ if starts_a_statement(self.token()) => {
                self.parser.advance_token();
                self.skip_to(starts_a_statement);
            }
            // A label.
            _ if *self.nth(1) == Token::Colon => self.advance_by(2),
            // A batch may begin with a procedure without EXEC.
            _ if start == 0 && self.is_plain_name() => self.call()?,
            _ => self.skip(),
        }
        if self.parser.index() <= start {
            self.parser.advance_token();
        }
        Ok(true)
    }

    fn advance_by(&mut self, count: usize) {
        for _ in 0..count {
            self.parser.advance_token();
        }
    }

    /// To the end of the statement, or to a statement that begins beyond doubt.
    fn skip(&mut self) {
        let mut leads_on = false;
        self.skip_to(|token| {
            let begins = starts_a_statement(token) && !is_word(token, &ALSO_WITHIN) && !leads_on;
            leads_on = is_word(token, &LEAD_ON);
            begins
        });
    }

    fn skip_to_semicolon(&mut self) {
        self.skip_to(|_| false);
    }

    fn skip_to(&mut self, mut begins: impl FnMut(&Token) -> bool) {
        while !matches!(self.token(), Token::EOF | Token::SemiColon) {
            if begins(self.token()) && self.depth() == 0 {
                return;
            }
            self.parser.advance_token();
        }
    }

    /// After something that cannot be parsed: the parser may have taken the word that it stumbled over.
    fn give_up(&mut self, start: usize, to_semicolon: bool) {
        if self.parser.index() > start + 1 {
            self.parser.prev_token();
        }
        if to_semicolon { self.skip_to_semicolon() } else { self.skip() }
    }

    /// A statement for the parser. One that goes on behind its end was not understood.
    fn parsed(&mut self, with: bool) -> Walked {
        let start = self.parser.index();
        match self.parser.parse_statement() {
            Ok(statement) if self.is_over() => self.walk.statement(&statement),
            // A CTE's name could be taken for a table's.
            _ => {
                self.give_up(start, with);
                Ok(())
            }
        }
    }

    /// A condition, or the value of a variable.
    fn expression(&mut self, variable: Option<&Ident>) -> Walked {
        let start = self.parser.index();
        match self.parser.parse_expr() {
            Ok(expr) if self.is_over() || *self.token() == Token::Comma => {
                let value = self.walk.value(&expr, &Scope::default())?;
                match variable {
                    Some(variable) => self.walk.assign(variable, &value),
                    None => Ok(()),
                }
            }
            _ => {
                self.give_up(start, false);
                Ok(())
            }
        }
    }

    /// The variable that is here.
    fn variable(&self) -> Option<Ident> {
        match self.token() {
            Token::Word(word) => {
                let ident = Ident { quote_style: word.quote_style, ..Ident::new(&word.value) };
                variable(&ident).is_some().then_some(ident)
            }
            _ => None,
        }
    }

    /// `SET @x = …`, or an option of the session's.
    fn set(&mut self) -> Walked {
        self.parser.advance_token();
        let Some(variable) = self.variable() else {
            self.skip_to(starts_a_statement);
            return Ok(());
        };
        self.parser.advance_token();
        if !self.parser.consume_token(&Token::Eq) {
            self.skip();
            return Ok(());
        }
        self.expression(Some(&variable))
    }

    fn is_behind_the_type(&self) -> bool {
        self.is_over() || (self.depth() == 0 && matches!(self.token(), Token::Eq | Token::Comma))
    }

    /// `DECLARE @x int = …, @y TABLE (…)`, or a cursor, whose query is a statement that follows.
    fn declare(&mut self) -> Walked {
        self.parser.advance_token();
        loop {
            let Some(variable) = self.variable() else {
                self.skip_to(|token| is_word(token, &["FOR"]) || starts_a_statement(token));
                self.take_word(&["FOR"]);
                return Ok(());
            };
            self.parser.advance_token();
            while !self.is_behind_the_type() {
                self.parser.advance_token();
            }
            if self.parser.consume_token(&Token::Eq) {
                self.expression(Some(&variable))?;
            }
            if !self.parser.consume_token(&Token::Comma) {
                return Ok(());
            }
        }
    }

    /// Whether a word is here that can only be the name of a procedure.
    fn is_plain_name(&self) -> bool {
        match self.token() {
            Token::Word(word) => {
                let is_name = word.quote_style.is_some() || !word.value.starts_with('@');
                is_name && (word.keyword == Keyword::NoKeyword || *self.nth(1) == Token::Period)
            }
            _ => false,
        }
    }

    /// The arguments of a procedure: `EXEC @r = p @a, @b OUTPUT` or `EXEC p @x = @a`.
    fn call(&mut self) -> Walked {
        if self.variable().is_some() && *self.nth(1) == Token::Eq {
            self.advance_by(2);
        }
        let start = self.parser.index();
        // Dynamic SQL, or the name of the procedure in a variable.
        if *self.token() == Token::LParen || self.variable().is_some() {
            self.skip();
            return Ok(());
        }
        let procedure = self.parser.parse_object_name(false).ok();
        let procedure = procedure.and_then(|name| ObjectName::of(&parts(&name)));
        let arguments = self.arguments();
        let is_over = self.is_over() || self.is_word(&["WITH"]);
        let (Some(procedure), true) = (procedure, is_over) else {
            self.give_up(start, false);
            return Ok(());
        };
        for (value, parameter) in arguments {
            let target = Target::ProcedureParameter { procedure: procedure.clone(), parameter };
            self.walk.work(1)?;
            self.walk.variables.goes_to(&value, &Rc::new(target));
        }
        if self.is_word(&["WITH"]) {
            self.skip_to(starts_a_statement);
        }
        Ok(())
    }

    /// The arguments that are variables. An argument is a variable or a constant, never an expression.
    fn arguments(&mut self) -> Vec<(Rc<str>, Column)> {
        let mut arguments = Vec::new();
        let mut place = 0;
        while !self.is_over() && !self.is_word(&["WITH"]) {
            let name = if *self.nth(1) == Token::Eq { self.variable() } else { None };
            if name.is_some() {
                self.advance_by(2);
            }
            let _sign = self.parser.consume_token(&Token::Minus);
            if let Some(value) = self.variable().as_ref().and_then(variable) {
                let column = name.map_or(Column::Position(place), |name| Column::Named(name.value));
                arguments.push((Rc::from(value), column));
            }
            self.parser.advance_token();
            self.take_word(&["OUT", "OUTPUT"]);
            place += 1;
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        arguments
    }

    /// Whether CREATE or ALTER is here for something that has a body of its own.
    fn creates_a_module(&self) -> bool {
        (1..4).any(|n| is_word(self.nth(n), &["PROC", "PROCEDURE", "FUNCTION", "TRIGGER", "VIEW"]))
    }
}
