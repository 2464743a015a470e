//! Prepared statements, server cursors and table-valued parameters: what is encrypted by what was
//! prepared, and what is not sent because nobody knows what was.

mod cursors;
mod end_to_end;
mod lies;
mod statements;
mod tables;

#[path = "../support/mod.rs"]
mod support;

use always_encrypted::{SessionError, metadata::DescribeFault, policy::TrustedKeyPaths};
use always_encrypted_sandbox::Sandbox;
use support::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const SECRET: &str = "the plan is to meet at dawn";
const INSERT: &str = "INSERT INTO Messages (Id, Content) VALUES (@P1, @P2)";
const DECLARED: &str = "@P1 int,@P2 nvarchar(100)";

const CURSOROPEN: u16 = 2;
const CURSORPREPARE: u16 = 3;
const CURSOREXECUTE: u16 = 4;
const CURSORPREPEXEC: u16 = 5;
const CURSORUNPREPARE: u16 = 6;
const CURSORFETCH: u16 = 7;
const PREPARE: u16 = 11;
const EXECUTE: u16 = 12;
const PREPEXEC: u16 = 13;
const PREPEXECRPC: u16 = 14;
const UNPREPARE: u16 = 15;

/// An int that comes back, NULL on its way there.
fn out() -> Param {
    Param("", 1, INT.to_vec(), vec![0])
}

fn text(text: &str) -> Param {
    Param::text("", text)
}

fn null_text() -> Param {
    Param("", 0, nvarchar(4000), vec![0xFF, 0xFF])
}

fn number(n: i32) -> Param {
    Param::int("", n)
}

fn prepare(statement: &str) -> Vec<u8> {
    call_by_id(PREPARE, &[out(), text(DECLARED), text(statement), number(1)])
}

fn prepexec(handle: Param, statement: &str) -> Vec<u8> {
    let own = [handle, text(DECLARED), text(statement)];
    call_by_id(PREPEXEC, &[&own[..], &[number(7), text(SECRET)]].concat())
}

fn execute(handle: i32) -> Vec<u8> {
    call_by_id(EXECUTE, &[number(handle), number(7), text(SECRET)])
}

fn content_is_encrypted() -> Vec<u8> {
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)];
    message(REPLY, &description(&[(1, TestKey::new(1))], &verdicts))
}

fn nothing_is_encrypted() -> Vec<u8> {
    message(REPLY, &description(&[], &[Verdict::plain(1, "@P1"), Verdict::plain(2, "@P2")]))
}

fn handles(handles: &[i32]) -> Vec<u8> {
    let values = handles.iter().flat_map(|handle| return_int(0, Some(*handle)));
    message(REPLY, &values.chain(done_proc(0)).collect::<Vec<u8>>())
}

/// Prepares a statement whose content is encrypted.
fn prepare_encrypted(harness: &mut Harness, statement: &str, handle: i32) {
    harness.app(&prepare(statement));
    harness.server(&content_is_encrypted());
    assert!(!harness.drain_to_server().is_empty(), "it was not prepared");
    harness.server(&handles(&[handle]));
}

/// Prepares a statement of which nothing is encrypted.
fn prepare_plain(harness: &mut Harness, statement: &str, handle: i32) {
    harness.app(&prepare(statement));
    harness.server(&nothing_is_encrypted());
    assert_eq!(harness.drain_to_server(), prepare(statement), "it does not pass as it came");
    harness.server(&handles(&[handle]));
}

/// The driver writes and keys are provided; returns what is for the server.
fn send(harness: &mut Harness, request: &[u8]) -> Vec<u8> {
    let mut sent = harness.app(request);
    harness.provide_keys();
    sent.extend(harness.drain_to_server());
    sent
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let text = utf16(text);
    bytes.windows(text.len()).any(|w| w == text)
}

/// The plaintext of the encrypted last parameter of a request, and what follows the cell.
fn open_last(request: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (kind, payload) = messages(request).pop().expect("nothing was sent");
    assert_eq!(kind, RPC);
    let head = [0x08, 0xA5, 0xFF, 0xFF];
    let at = payload.windows(4).rposition(|w| w == head).expect("nothing is encrypted") + 4;
    let len = u64::from_le_bytes(payload[at..at + 8].try_into().unwrap()) as usize;
    let cell = &payload[at + 12..at + 12 + len];
    let plaintext = TestKey::new(1).cell_key().decrypt(cell).unwrap().to_vec();
    (plaintext, payload[at + 12 + len + 4..].to_vec())
}

fn assert_encrypted(request: &[u8]) {
    assert_eq!(open_last(request).0, utf16(SECRET));
}

/// The request is refused without a word to the server.
fn refused(harness: &mut Harness, request: &[u8]) -> SessionError {
    assert!(send(harness, request).is_empty(), "something was sent");
    let reply = harness.drain_to_app();
    let error = harness.errors.last().expect("the request was not refused").as_ref().clone();
    assert_eq!(Harness::error_number(&reply), Some(error.number()));
    harness.assert_never_sent(SECRET);
    error
}
