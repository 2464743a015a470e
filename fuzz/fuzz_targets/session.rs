//! A connection on which both sides say anything, cut anywhere: no panic, and the plaintext of a
//! request that was not described as plain is never for the server.
#![no_main]

use std::{sync::Arc, time::Instant};

use always_encrypted::{
    crypto::{Cek, CellKey},
    policy::TrustedKeyPaths,
    session::{Session, SessionConfig},
    tds::prelogin_reply,
};
use libfuzzer_sys::fuzz_target;

const ACKNOWLEDGED: [u8; 8] = [0xAE, 4, 1, 0, 0, 0, 1, 0xFF];
const LOGINACK: [u8; 13] = [0xAD, 10, 0, 1, 0x74, 0, 0, 4, 0, 16, 0, 0, 0];
const DONE: [u8; 13] = [0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn packet(kind: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = ((payload.len() + 8) as u16).to_be_bytes();
    [&[kind, 1, high, low, 0, 0, 1, 0], payload].concat()
}

fuzz_target!(|data: &[u8]| {
    let now = Instant::now();
    let mut session = Session::new(
        SessionConfig {
            column_encryption: true.into(),
            trusted_key_paths: TrustedKeyPaths::any(),
            metadata_cache: Arc::default(),
            errors: Arc::default(),
            prelogin_reply: prelogin_reply([16, 0, 0, 0, 0, 0], None, None),
        },
        now,
    );
    session.receive_from_app(&packet(0x12, &[0xFF]), now);
    session.receive_from_app(&packet(0x10, &[0; 94]), now);
    session.receive_from_server(
        &packet(0x04, &[&LOGINACK[..], &ACKNOWLEDGED, &DONE].concat()),
        now,
    );
    assert!(!session.is_closed());

    // The first byte of a piece says whose it is and how long it is.
    let mut rest = data;
    while let Some((&head, tail)) = rest.split_first() {
        let len = usize::from(head >> 2).min(tail.len());
        let (piece, tail) = tail.split_at(len);
        rest = tail;
        match head & 3 {
            0 => session.receive_from_app(piece, now),
            1 => session.receive_from_server(piece, now),
            // The same wrapped in a packet of its own, so that tokens are reached at once.
            2 => session.receive_from_server(&packet(0x04, piece), now),
            _ => session.receive_from_app(&packet(0x03, piece), now),
        }
        for request in session.take_key_requests() {
            let key = Arc::new(CellKey::new(&Cek::from([1; 32])));
            session.provide_key(request.id, Ok(key), now);
        }
        session.taken_by_app(session.to_app().len());
        session.sent_to_server(session.to_server().len());
    }
    session.server_closed();
    assert!(session.is_closed());
});
