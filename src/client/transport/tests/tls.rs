//! TLS with the server: which bytes it protects, and which certificates are believed.

use std::{future::poll_fn, io::ErrorKind, pin::Pin, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    net::TcpListener,
};

use super::super::{
    super::{
        config::{Config, Encrypt},
        tls::TlsError,
    },
    ConnectError, Opened, Phase, open, open_over,
};
use super::{
    config,
    server::{Behaviour, OTHERS, OURS, Server},
};

const OFF: u8 = 0;
const ON: u8 = 1;
const NOT_SUP: u8 = 2;
const REQ: u8 = 3;

/// Both ends of a connection, as far as each came.
async fn connect(
    config: &Config,
    how: &Behaviour,
) -> (Result<Opened<DuplexStream>, ConnectError>, Option<Server<DuplexStream>>) {
    let (client, server) = duplex(64 * 1024);
    tokio::join!(open_over(config, client), Server::accept(server, how))
}

fn tls_error(result: Result<Opened<DuplexStream>, ConnectError>) -> TlsError {
    match result {
        Err(ConnectError::Tls(error)) => error,
        other => panic!("not an error of TLS: {other:?}"),
    }
}

fn trusting(encrypt: Encrypt) -> Config {
    config(encrypt).ca_certificate(OURS.authority.clone())
}

/// Sends and receives a few messages inside TLS.
async fn talk(opened: &mut Opened<DuplexStream>, server: &mut Server<DuplexStream>) {
    assert!(opened.transport.is_encrypted());
    for length in [1, 5000, 100_000] {
        let message = vec![0xAE; length];
        let send = async {
            opened.transport.write_all(&message).await.unwrap();
            opened.transport.flush().await.unwrap();
        };
        let (received, ()) = tokio::join!(server.read_tls(length), send);
        assert!(received == message);
        let mut received = vec![0; length];
        let receive = opened.transport.read_exact(&mut received);
        let (_, done) = tokio::join!(server.write_tls(&message), receive);
        done.unwrap();
        assert!(received == message);
    }
}

#[tokio::test]
async fn mandatory_encryption_protects_everything_whatever_the_server_prefers() {
    for answer in [OFF, ON, REQ] {
        let how = Behaviour::answering(answer);
        let (opened, server) = connect(&trusting(Encrypt::Mandatory), &how).await;
        let (mut opened, mut server) = (opened.unwrap(), server.unwrap());
        assert_eq!(server.asked, ON);
        assert!(!opened.transport.is_login_only());
        opened.transport.end_tls().unwrap();
        talk(&mut opened, &mut server).await;
    }
}

#[tokio::test]
async fn a_server_that_demands_encryption_gets_it_for_everything() {
    for answer in [ON, REQ] {
        let how = Behaviour::answering(answer);
        let (opened, server) = connect(&trusting(Encrypt::LoginOnly), &how).await;
        let (mut opened, mut server) = (opened.unwrap(), server.unwrap());
        assert_eq!(server.asked, OFF);
        assert!(!opened.transport.is_login_only());
        talk(&mut opened, &mut server).await;
    }
}

#[tokio::test]
async fn login_only_encryption_ends_after_the_login() {
    let how = Behaviour::answering(OFF);
    let (opened, server) = connect(&trusting(Encrypt::LoginOnly), &how).await;
    let (mut opened, mut server) = (opened.unwrap(), server.unwrap());
    let transport = &mut opened.transport;
    assert!(transport.is_login_only());
    transport.write_all(b"LOGIN7").await.unwrap();
    transport.flush().await.unwrap();
    transport.end_tls().unwrap();
    transport.end_tls().unwrap();
    assert!(!transport.is_encrypted());
    assert_eq!(server.read_tls(6).await, b"LOGIN7");
    server.stream.write_all(b"LOGINACK").await.unwrap();
    let mut clear = [0; 8];
    transport.read_exact(&mut clear).await.unwrap();
    assert_eq!(&clear, b"LOGINACK");
    transport.write_all(b"SELECT 1").await.unwrap();
    transport.flush().await.unwrap();
    server.stream.read_exact(&mut clear).await.unwrap();
    assert_eq!(&clear, b"SELECT 1");
}

#[tokio::test]
async fn tls_does_not_end_while_the_login_is_under_way() {
    // A pipe that holds less than the login.
    let (client, server) = duplex(1000);
    let config = trusting(Encrypt::LoginOnly);
    let how = Behaviour::answering(OFF);
    let (opened, server) = tokio::join!(open_over(&config, client), Server::accept(server, &how));
    let (mut transport, mut server) = (opened.unwrap().transport, server.unwrap());
    let login = [0x10; 4096];
    transport.write_all(&login).await.unwrap();
    transport.end_tls().unwrap_err();
    assert!(transport.is_encrypted());
    let (flushed, received) = tokio::join!(transport.flush(), server.read_tls(login.len()));
    flushed.unwrap();
    assert_eq!(received, login);
    transport.end_tls().unwrap();
    assert!(!transport.is_encrypted());
}

#[tokio::test]
async fn a_server_that_goes_silent_in_the_handshake_is_given_up() {
    let config = trusting(Encrypt::Mandatory).connect_timeout(Duration::from_millis(200));
    let (client, mut server) = duplex(64 * 1024);
    server.write_all(&super::server::answer(ON)).await.unwrap();
    let error = open_over(&config, client).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { phase: Phase::Tls, .. }), "{error}");
}

#[tokio::test]
async fn a_handshake_outside_of_prelogin_packets_is_refused() {
    for bytes in [
        &b"\x16\x03\x03\x00\x05\x02\x00\x00\x00\x00"[..],
        b"\x04\x01\x00\x09\x00\x00\x00\x00\xfd",
        b"\x12\x01\x00\x07\x00\x00\x00\x00",
        b"\x12\x01\xff\xff\x00\x00\x00\x00",
    ] {
        let (client, mut server) = duplex(64 * 1024);
        server.write_all(&super::server::answer(ON)).await.unwrap();
        server.write_all(bytes).await.unwrap();
        let error = tls_error(open_over(&trusting(Encrypt::Mandatory), client).await);
        assert!(matches!(error, TlsError::Io(_)), "{error:?}");
    }
}

#[tokio::test]
async fn what_arrives_before_tls_ends_is_not_lost() {
    let how = Behaviour::answering(OFF);
    let (opened, server) = connect(&trusting(Encrypt::LoginOnly), &how).await;
    let (mut opened, mut server) = (opened.unwrap(), server.unwrap());
    let transport = &mut opened.transport;
    transport.write_all(b"LOGIN7").await.unwrap();
    transport.flush().await.unwrap();
    // Inside TLS, then in clear, and the client looks at it too early.
    server.write_tls(b"still inside, ").await;
    server.stream.write_all(b"\x04LOGINACK and more").await.unwrap();
    let mut early = [0; 5];
    for _ in 0..3 {
        let mut buffer = ReadBuf::new(&mut early);
        let read = poll_fn(|cx| Pin::new(&mut *transport).poll_read(cx, &mut buffer)).await;
        match read {
            Ok(()) => assert_eq!(buffer.filled(), b"still"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidData),
        }
        if early == *b"still" {
            break;
        }
    }
    transport.end_tls().unwrap();
    drop(server);
    let mut rest = String::new();
    transport.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, " inside, \u{4}LOGINACK and more");
}

#[tokio::test]
async fn clear_bytes_that_come_too_early_are_kept() {
    let how = Behaviour::answering(OFF);
    let (opened, server) = connect(&trusting(Encrypt::LoginOnly), &how).await;
    let (mut opened, mut server) = (opened.unwrap(), server.unwrap());
    server.stream.write_all(b"\x04\x01clear").await.unwrap();
    for _ in 0..2 {
        let error = opened.transport.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
    opened.transport.end_tls().unwrap();
    drop(server);
    let mut rest = Vec::new();
    opened.transport.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"\x04\x01clear");
}

#[tokio::test]
async fn a_server_without_encryption_is_spoken_to_in_clear_if_allowed() {
    let how = Behaviour::answering(NOT_SUP);
    let (opened, server) = connect(&config(Encrypt::LoginOnly), &how).await;
    let (mut opened, mut server) = (opened.unwrap(), server.unwrap());
    assert!(!opened.transport.is_encrypted());
    opened.transport.write_all(b"LOGIN7").await.unwrap();
    opened.transport.end_tls().unwrap();
    let mut clear = [0; 6];
    server.stream.read_exact(&mut clear).await.unwrap();
    assert_eq!(&clear, b"LOGIN7");
}

#[tokio::test]
async fn the_handshake_survives_any_division_into_packets() {
    for per_packet in [1, 4, 5, 6, 100, 777, 4088] {
        let how = Behaviour { per_packet, ..Behaviour::answering(ON) };
        let (opened, server) = connect(&trusting(Encrypt::Mandatory), &how).await;
        talk(&mut opened.unwrap(), &mut server.unwrap()).await;
    }
}

#[tokio::test]
async fn a_handshake_cut_anywhere_is_an_error_and_not_a_hang() {
    let config = config(Encrypt::Mandatory).server_certificate(OURS.server_pem.clone());
    let mut cut = 0;
    loop {
        let how = Behaviour { cut, per_packet: 100, ..Behaviour::answering(ON) };
        let (opened, server) = connect(&config, &how).await;
        if server.is_some() {
            opened.unwrap();
            assert!(cut > 500, "the handshake is longer than {cut} bytes");
            break;
        }
        let error = tls_error(opened);
        assert!(matches!(error, TlsError::Closed | TlsError::Io(_)), "cut at {cut}: {error:?}");
        cut += 3;
    }
}

#[tokio::test]
async fn strict_is_tls_first_with_the_protocol_named() {
    let (client, server) = duplex(64 * 1024);
    let config = trusting(Encrypt::Strict);
    let (opened, mut server) =
        tokio::join!(open_over(&config, client), Server::accept_strict(server));
    let mut transport = opened.unwrap().transport;
    assert!(transport.is_encrypted() && !transport.is_login_only());
    transport.write_all(b"LOGIN7").await.unwrap();
    transport.flush().await.unwrap();
    let mut received = [0; 6];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"LOGIN7");
}

#[tokio::test]
async fn a_server_that_does_not_know_strict_is_told_from_a_broken_one() {
    let (client, server) = duplex(1024);
    drop(server);
    let error = tls_error(open_over(&trusting(Encrypt::Strict), client).await);
    assert!(matches!(error, TlsError::Closed | TlsError::Io(_)), "{error:?}");
    let (client, mut server) = duplex(1024);
    server.shutdown().await.unwrap();
    let error = tls_error(open_over(&trusting(Encrypt::Strict), client).await);
    assert!(error.to_string().contains("SQL Server 2022"), "{error}");
}

#[tokio::test]
async fn an_unknown_issuer_is_refused_at_every_level() {
    let how = Behaviour::answering(OFF);
    for encrypt in [Encrypt::LoginOnly, Encrypt::Mandatory] {
        let stranger = config(encrypt).ca_certificate(OTHERS.authority.clone());
        let error = tls_error(connect(&stranger, &how).await.0);
        assert!(matches!(error, TlsError::UnknownIssuer), "{error:?}");
        for remedy in ["TrustServerCertificate=true", "TrustServerCertificateCA"] {
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }
}

#[tokio::test]
async fn a_wrong_name_is_refused_and_the_right_one_can_be_given() {
    let how = Behaviour::answering(ON);
    for host in ["elsewhere.test", "10.0.0.7", "::1"] {
        let elsewhere = trusting(Encrypt::Mandatory).server(host);
        let error = tls_error(connect(&elsewhere, &how).await.0);
        assert!(matches!(&error, TlsError::NameMismatch { expected, .. } if expected == host));
        let text = error.to_string();
        assert!(text.contains("HostNameInCertificate") && text.contains("db.test"), "{text}");
        let named = elsewhere.host_name_in_certificate("db.test");
        connect(&named, &how).await.0.unwrap();
    }
    let misnamed = trusting(Encrypt::Mandatory).host_name_in_certificate("elsewhere.test");
    let error = tls_error(connect(&misnamed, &how).await.0);
    assert!(matches!(error, TlsError::NameMismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn trusting_any_certificate_still_demands_its_key() {
    let config = config(Encrypt::Mandatory).server("elsewhere.test").trust_server_certificate(true);
    connect(&config, &Behaviour::answering(ON)).await.0.unwrap();
    let impostor = Behaviour { key: &OTHERS, ..Behaviour::answering(ON) };
    let error = tls_error(connect(&config, &impostor).await.0);
    assert!(matches!(error, TlsError::InvalidCertificate(_)), "{error:?}");
}

#[tokio::test]
async fn a_pinned_certificate_is_that_one_and_no_other() {
    let how = Behaviour::answering(ON);
    let folder = tempfile::tempdir().unwrap();
    let der = folder.path().join("server.cer");
    std::fs::write(&der, &OURS.server).unwrap();
    let pem = folder.path().join("server.pem");
    std::fs::write(&pem, &OURS.server_pem).unwrap();
    // A name that it does not have: the certificate itself was named.
    let config = config(Encrypt::Mandatory).server("elsewhere.test");
    for path in [der, pem] {
        connect(&config.clone().server_certificate(path), &how).await.0.unwrap();
    }
    let other = config.clone().server_certificate(OTHERS.server_pem.clone());
    let error = tls_error(connect(&other, &how).await.0);
    assert!(matches!(error, TlsError::NotPinned), "{error:?}");
    let impostor = Behaviour { key: &OTHERS, ..how };
    let pinned = config.server_certificate(OURS.server_pem.clone());
    let error = tls_error(connect(&pinned, &impostor).await.0);
    assert!(matches!(error, TlsError::InvalidCertificate(_)), "{error:?}");
}

#[tokio::test]
async fn a_certificate_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.pem");
    std::fs::write(&path, "no certificate here").unwrap();
    let missing = folder.path().join("missing.pem");
    for path in [path, missing] {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        for config in [
            config(Encrypt::Mandatory).server_certificate(path.clone()),
            config(Encrypt::Mandatory).ca_certificate(path),
        ] {
            let error = tls_error(connect_nowhere(&config).await);
            assert!(matches!(error, TlsError::Certificate { .. }), "{error:?}");
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}

/// A server that answers PRELOGIN and is not spoken to any more.
async fn connect_nowhere(config: &Config) -> Result<Opened<DuplexStream>, ConnectError> {
    let (client, mut server) = duplex(1024);
    server.write_all(&super::server::answer(ON)).await.unwrap();
    open_over(config, client).await
}

#[tokio::test]
async fn a_server_with_tls_1_3_only_is_told_what_it_lacks() {
    let how = Behaviour { tls13: true, ..Behaviour::answering(ON) };
    let error = tls_error(connect(&trusting(Encrypt::Mandatory), &how).await.0);
    assert!(matches!(error, TlsError::NothingInCommon(_)), "{error:?}");
}

#[tokio::test]
async fn the_way_over_tcp_is_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = trusting(Encrypt::Mandatory)
        .server("localhost")
        .port(address.port())
        .host_name_in_certificate("db.test");
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        Server::accept(stream, &Behaviour::answering(ON)).await.unwrap()
    };
    let (opened, mut server) = tokio::join!(open(&config), accept);
    let mut opened = opened.unwrap();
    assert_eq!(opened.peer, Some(address));
    assert_eq!(opened.prelogin.version.major, 16);
    opened.transport.write_all(b"LOGIN7").await.unwrap();
    opened.transport.flush().await.unwrap();
    assert_eq!(server.read_tls(6).await, b"LOGIN7");
}
