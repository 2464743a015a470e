//! Settings made by calls, and what becomes of them.

use std::time::Duration;

use tiberius::AuthMethod;

use super::{Config, ConfigError, Encrypt};

#[test]
fn the_defaults_are_the_safe_ones() {
    let config = Config::new();
    assert_eq!(config.encrypt, Encrypt::Mandatory);
    assert!(!config.trust_server_certificate);
    assert_eq!(config.connect_timeout, Some(Duration::from_secs(15)));
    assert_eq!(config.command_timeout, Some(Duration::from_secs(30)));
    assert_eq!(config.column_encryption, crate::policy::ColumnEncryption::Disabled);
}

#[test]
fn no_secret_is_shown() {
    let config = Config::new().user("sa").password("hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    let config = Config::new().authentication(AuthMethod::aad_token("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn what_is_missing_is_named() {
    let nothing = Config::new();
    assert!(nothing.validate().unwrap_err().to_string().contains("server"));
    let nobody = Config::new().server("db");
    assert!(nobody.validate().unwrap_err().to_string().contains("log in"));
    nobody.clone().user("sa").password("x").validate().unwrap();
    nobody.authentication(AuthMethod::aad_token("x")).validate().unwrap();
}

#[test]
fn what_a_login_cannot_carry_is_refused() {
    let config = Config::new().server("db").user("sa").password("😀".repeat(64));
    config.validate().unwrap();
    let error = config.password("😀".repeat(65)).validate().unwrap_err();
    assert_eq!(error, ConfigError::TooLong { what: "the password", limit: 128 });
    let config = Config::new().server("db").user("sa").packet_size(100);
    assert!(matches!(config.validate(), Err(ConfigError::InvalidValue { .. })));
}

#[test]
fn contradictions_made_by_calls_are_refused_too() {
    let login = || Config::new().server("db").user("sa").password("x");
    for config in [
        login().authentication(AuthMethod::aad_token("x")),
        login().encrypt(Encrypt::Strict).trust_server_certificate(true),
        login().server_certificate("/a.pem").trust_server_certificate(true),
        login().ca_certificate("/a.pem").trust_server_certificate(true),
        login().ca_certificate("/a.pem").server_certificate("/b.pem"),
    ] {
        let result = config.validate();
        assert!(matches!(result, Err(ConfigError::Contradiction { .. })), "{config:?}");
    }
}

#[test]
fn tiberius_is_told_that_there_is_no_tls() {
    let config = Config::new()
        .server("db")
        .port(1444)
        .user("sa")
        .password("hunter2")
        .packet_size(8000)
        .connect_timeout(Duration::from_secs(3))
        .command_timeout(Duration::ZERO)
        .tiberius_config();
    assert_eq!(config.get_addr(), "db:1444");
    assert_eq!(config.get_packet_size(), Some(8000));
    assert_eq!(config.get_handshake_timeout(), Some(Duration::from_secs(3)));
    assert_eq!(config.get_command_timeout(), None);
    let shown = format!("{config:?}");
    assert!(shown.contains("NotSupported"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
