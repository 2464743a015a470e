//! The first exchange: what we say, what we make of the answer, and of what is none.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tiberius::AuthMethod;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpListener,
};

use super::super::{
    super::config::{Config, ConfigError, Encrypt},
    ConnectError, Encryption, Phase, PreloginError, open, open_over, prelogin,
};
use super::{config, server::answer};

/// What `open` makes of a server that sends `bytes` and closes.
async fn outcome(config: &Config, bytes: &[u8]) -> Result<Encryption, ConnectError> {
    let (client, mut server) = duplex(64 * 1024);
    server.write_all(bytes).await.unwrap();
    server.shutdown().await.unwrap();
    // Held, so that writing to it does not fail.
    let opened = open_over(config, client).await?;
    drop(server);
    opened.prelogin.encryption.ok_or(PreloginError::Missing { option: "ENCRYPTION" }.into())
}

#[test]
fn the_request_has_the_layout_of_ms_tds() {
    let request = prelogin::request(&config(Encrypt::Mandatory), None).packet;
    let mut expected = vec![0x12, 0x01, 0, 47, 0, 0, 1, 0];
    expected.extend([0, 0, 26, 0, 6, 1, 0, 32, 0, 1, 2, 0, 33, 0, 1, 3, 0, 34, 0, 4]);
    expected.extend([4, 0, 38, 0, 1, 0xff, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    // The version is the crate's.
    assert_eq!(request[..34], expected[..34]);
    assert_eq!(request[40..], expected[40..]);
    let of = |encrypt| prelogin::request(&config(encrypt), None).packet[40];
    assert_eq!([of(Encrypt::LoginOnly), of(Encrypt::Mandatory), of(Encrypt::Strict)], [0, 1, 2]);
}

#[test]
fn the_request_names_the_instance_and_asks_for_federated_login() {
    let mut config = config(Encrypt::Mandatory);
    config.authentication = Some(AuthMethod::aad_token("x"));
    let request = prelogin::request(&config, Some("INST")).packet;
    assert!(request.windows(5).any(|bytes| bytes == b"INST\0"));
    assert!(request.windows(5).any(|option| option == [6, 0, 48, 0, 1]));
    assert_eq!(request.last(), Some(&1));
}

#[test]
fn the_answer_is_read_option_by_option() {
    let prelogin = prelogin::parse(&answer(3)[8..]).unwrap();
    assert_eq!((prelogin.version.major, prelogin.version.build), (16, 1000));
    assert_eq!(prelogin.encryption, Some(Encryption::Required));
    assert_eq!(prelogin.instance_valid, Some(true));
    assert!(!prelogin.mars);
    // FEDAUTHREQUIRED, NONCEOPT, one that no one knows.
    let mut message = vec![0, 0, 21, 0, 6, 6, 0, 27, 0, 1, 7, 0, 28, 0, 32, 0x44, 0, 0, 0, 0, 0xff];
    message.extend([12, 0, 7, 0xd0, 0, 0, 1]);
    message.extend([7; 32]);
    let prelogin = prelogin::parse(&message).unwrap();
    assert_eq!(prelogin.fed_auth_required, Some(1));
    assert_eq!(prelogin.nonce, Some([7; 32]));
    assert_eq!(prelogin.encryption, None);
}

#[test]
fn an_answer_that_lies_is_refused() {
    let cases: &[&[u8]] = &[
        &[],
        &[0, 0, 6, 0, 6],
        &[0xff],
        &[0, 0, 6, 0, 7, 0xff, 1, 2, 3, 4, 5, 6],
        &[0, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0, 0, 6, 0, 5, 0xff, 1, 2, 3, 4, 5, 6],
        &[0, 0, 0, 0, 6, 0, 0, 0, 0, 6, 0xff],
        &[0, 0, 0, 0, 6, 1, 0, 0, 0, 2, 0xff],
        &[0, 0, 0, 0, 6, 1, 0, 2, 0, 1, 7, 0, 0, 0, 31, 0xff],
    ];
    for message in cases {
        let result = prelogin::parse(message);
        assert!(result.is_err(), "{message:?}: {result:?}");
    }
    let error = prelogin::parse(&answer(0x81)[8..]).unwrap_err();
    assert_eq!(error, PreloginError::UnknownEncryption { value: 0x81 });
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_is_an_error_and_not_a_hang() {
    let config = config(Encrypt::LoginOnly);
    let whole = answer(2);
    for cut in 0..whole.len() {
        let error = outcome(&config, &whole[..cut]).await.unwrap_err();
        assert!(
            matches!(
                error,
                ConnectError::Prelogin(PreloginError::Closed { received }) if received == cut
            ),
            "cut at {cut}: {error}"
        );
    }
    assert_eq!(outcome(&config, &whole).await.unwrap(), Encryption::NotSupported);
}

#[tokio::test]
async fn an_answer_in_several_packets_is_put_together() {
    let payload = &answer(2)[8..];
    let mut bytes = Vec::new();
    for (i, byte) in payload.iter().enumerate() {
        let last = u8::from(i + 1 == payload.len());
        bytes.extend([0x04, last, 0, 9, 0, 0, i as u8, 0, *byte]);
    }
    let encryption = outcome(&config(Encrypt::LoginOnly), &bytes).await.unwrap();
    assert_eq!(encryption, Encryption::NotSupported);
}

#[tokio::test]
async fn bytes_after_the_answer_are_left_in_the_stream() {
    let (client, mut server) = duplex(1024);
    server.write_all(&[&answer(2)[..], b"next"].concat()).await.unwrap();
    let mut opened = open_over(&config(Encrypt::LoginOnly), client).await.unwrap();
    let mut next = [0; 4];
    opened.transport.read_exact(&mut next).await.unwrap();
    assert_eq!(&next, b"next");
}

#[tokio::test]
async fn what_is_not_tds_is_told_apart() {
    let config = config(Encrypt::Mandatory);
    for (bytes, hint) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "something other than SQL Server"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "Encrypt=strict"),
        (b"S", "something other than SQL Server"),
        (b"\x04\x01\x00\x07\x00\x00\x00\x00", "7 bytes"),
        (b"\x04\x01\xff\xff\x00\x00\x00\x00", "65535 bytes"),
    ] {
        let error = outcome(&config, bytes).await.unwrap_err();
        assert!(matches!(error, ConnectError::Prelogin(_)), "{error}");
        assert!(error.to_string().contains(hint), "{error}");
    }
    // Packets without end.
    let error = outcome(&config, &[0x04, 0, 0, 8, 0, 0, 0, 0].repeat(5000)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Prelogin(PreloginError::TooLong { .. })), "{error}");
}

#[tokio::test]
async fn a_server_without_encryption_gets_nothing_where_encryption_is_demanded() {
    let error = outcome(&config(Encrypt::Mandatory), &answer(2)).await.unwrap_err();
    assert!(matches!(error, ConnectError::EncryptionNotSupported), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_mention_encryption_gets_no_password_in_clear() {
    let mut bytes = answer(2);
    bytes[8 + 5] = 0x44;
    let error = outcome(&config(Encrypt::LoginOnly), &bytes).await.unwrap_err();
    assert!(matches!(error, ConnectError::Prelogin(PreloginError::Missing { .. })), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_after_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(Encrypt::Mandatory)
        .server("127.0.0.1")
        .port(listener.local_addr().unwrap().port())
        .connect_timeout(Duration::from_millis(100));
    let start = Instant::now();
    let error = open(&config).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { phase: Phase::Prelogin, .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_port_that_no_one_listens_on_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for at_once in [false, true] {
        let config = config(Encrypt::Mandatory)
            .server("127.0.0.1")
            .port(port)
            .multi_subnet_failover(at_once);
        let error = open(&config).await.unwrap_err();
        assert!(matches!(error, ConnectError::Tcp { addresses: 1, .. }), "{error}");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_configuration_that_contradicts_itself_opens_nothing() {
    let config = config(Encrypt::Strict).trust_server_certificate(true);
    let error = open(&config).await.unwrap_err();
    assert!(matches!(error, ConnectError::Config(ConfigError::Contradiction { .. })), "{error}");
}

proptest! {
    #[test]
    fn no_answer_makes_the_parser_panic(message in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = prelogin::parse(&message);
    }
}
