//! Connection strings, good and bad.

use std::time::Duration;

use proptest::prelude::*;

use super::super::config::{CertificateSource, Config, ConfigError, Encrypt};
use crate::policy::ColumnEncryption;

fn read(text: &str) -> Config {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> ConfigError {
    match text.parse::<Config>() {
        Ok(_) => panic!("{text}: accepted"),
        Err(error) => error,
    }
}

#[test]
fn a_string_from_an_appsettings_file_is_understood() {
    let config = read(
        "Server=tcp:db.example.com,1444;Initial Catalog=mce;Persist Security Info=False;\
         User ID=mce;Password=\"a;b\"\"c\";MultipleActiveResultSets=False;Encrypt=True;\
         TrustServerCertificate=False;Connection Timeout=30;Command Timeout=0;\
         Application Name=MCE;Column Encryption Setting=Enabled;Min Pool Size=5;\
         HostNameInCertificate=*.example.com;ApplicationIntent=ReadOnly;Packet Size=8000;\
         MultiSubnetFailover=yes;Workstation ID=app1;Attestation Protocol=None;",
    );
    assert_eq!(config.host.as_deref(), Some("db.example.com"));
    assert_eq!(config.port, Some(1444));
    assert_eq!(config.database.as_deref(), Some("mce"));
    assert_eq!(config.user.as_deref(), Some("mce"));
    assert_eq!(config.password.as_ref().map(|p| p.as_str()), Some("a;b\"c"));
    assert_eq!(config.encrypt, Encrypt::Mandatory);
    assert!(!config.trust_server_certificate);
    assert_eq!(config.connect_timeout, Some(Duration::from_secs(30)));
    assert_eq!(config.command_timeout, None);
    assert_eq!(config.application_name, "MCE");
    assert_eq!(config.host_name_in_certificate.as_deref(), Some("*.example.com"));
    assert_eq!(config.packet_size, Some(8000));
    assert_eq!(config.workstation_id.as_deref(), Some("app1"));
    assert_eq!(config.column_encryption, ColumnEncryption::Enabled);
    assert!(config.read_only && config.multi_subnet_failover);
    config.validate().unwrap();
}

#[test]
fn keywords_are_found_in_any_case_with_any_blanks_by_any_synonym() {
    for name in ["User ID", "USERID", "user  id", "uid", "User"] {
        assert_eq!(read(&format!("{name}=x")).user.as_deref(), Some("x"), "{name}");
    }
    for name in ["Server", "data source", "DataSource", "Address", "ADDR", "Network Address"] {
        assert_eq!(read(&format!("{name}=x")).host.as_deref(), Some("x"), "{name}");
    }
    for name in ["Column Encryption Setting", "ColumnEncryption", "columnEncryptionSetting"] {
        for value in ["Enabled", "enabled", "true"] {
            let setting = read(&format!("{name}={value}")).column_encryption;
            assert_eq!(setting, ColumnEncryption::Enabled, "{name}");
        }
        for setting in [ColumnEncryption::Disabled, ColumnEncryption::ResultSetOnly] {
            assert_eq!(read(&format!("{name}={setting}")).column_encryption, setting, "{name}");
        }
    }
    for name in ["Connect Timeout", "Connection Timeout", "Timeout"] {
        assert_eq!(read(&format!("{name}=0")).connect_timeout, None, "{name}");
    }
}

#[test]
fn values_are_unquoted_as_ado_net_and_odbc_do() {
    for (written, value) in [
        ("plain", "plain"),
        ("  trimmed  ", "trimmed"),
        ("a=b==c", "a=b==c"),
        ("it's", "it's"),
        ("\"  kept  \"", "  kept  "),
        ("'a\"b'", "a\"b"),
        ("'it''s'", "it's"),
        ("\"say \"\"hi\"\"\"", "say \"hi\""),
        ("{a;b}", "a;b"),
        ("{a}}b}", "a}b"),
        ("\"{a}\"", "{a}"),
        ("'a\r\nb'", "a\r\nb"),
        ("\"=;=\"  ", "=;="),
        ("pässword€😀", "pässword€😀"),
    ] {
        let config = read(&format!(" ; Password = {written};;User=u ; "));
        assert_eq!(config.password.as_ref().map(|p| p.as_str()), Some(value), "{written}");
        assert_eq!(config.user.as_deref(), Some("u"), "{written}");
    }
    assert!(read("Password=;User=''").password.is_none());
}

#[test]
fn servers_are_taken_apart() {
    for (address, host, port, instance) in [
        ("db", "db", None, None),
        (" tcp:db , 1500 ", "db", Some(1500), None),
        ("TCP:db\\INST", "db", None, Some("INST")),
        ("db\\INST,1500", "db", Some(1500), Some("INST")),
        ("db\\mssqlserver", "db", None, None),
        (".", "localhost", None, None),
        ("(LOCAL)\\SQLEXPRESS", "localhost", None, Some("SQLEXPRESS")),
        ("localhost,1", "localhost", Some(1), None),
        ("10.0.0.7,1433", "10.0.0.7", Some(1433), None),
        ("tcp:[fe80::1%eth0],1433", "fe80::1%eth0", Some(1433), None),
        ("::1,1433", "::1", Some(1433), None),
        ("[::1]", "::1", None, None),
        ("my_host.example.com", "my_host.example.com", None, None),
    ] {
        let config = read(&format!("Server={address}"));
        assert_eq!(config.host.as_deref(), Some(host), "{address}");
        assert_eq!(config.port, port, "{address}");
        assert_eq!(config.instance.as_deref(), instance, "{address}");
    }
}

#[test]
fn servers_that_cannot_be_reached_over_tcp_are_refused() {
    for address in
        ["np:db", "\\\\db\\pipe\\sql\\query", "lpc:db", "admin:db", "(localdb)\\MSSQLLocalDB"]
    {
        let error = error(&format!("Server={address}"));
        assert!(matches!(error, ConfigError::Unsupported { .. }), "{address}: {error}");
    }
    for address in [
        "db:1433",
        "db,",
        "db,0",
        "db,65536",
        "db,-1",
        "db,x",
        "tcp:",
        "db\\",
        "db\\a\\b",
        "a b",
        "[::1",
        "[db]",
        "::1]",
        ",1433",
        "\\INST",
        "db,1,2",
        "[]",
        "http://db",
    ] {
        let error = error(&format!("Server={address}"));
        assert!(matches!(error, ConfigError::InvalidValue { .. }), "{address}: {error}");
    }
}

#[test]
fn the_last_of_a_keyword_counts_but_synonyms_must_agree() {
    assert_eq!(read("UserId=a;User ID=b").user.as_deref(), Some("b"));
    assert_eq!(read("User ID=a;UID=a").user.as_deref(), Some("a"));
    assert_eq!(read("User ID=a;User ID=").user, None);
    let agreed = read("ColumnEncryption=true;Column Encryption Setting=Enabled");
    assert_eq!(agreed.column_encryption, ColumnEncryption::Enabled);
    for text in [
        "User ID=a;UID=b",
        "Server=a;Data Source=b",
        "Column Encryption Setting=Enabled;ColumnEncryption=Disabled",
        "ColumnEncryption=no;columnEncryptionSetting=enabled",
        "Password=a;PWD=b",
    ] {
        let error = error(text);
        assert!(matches!(error, ConfigError::Contradiction { .. }), "{text}: {error}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for text in [
        "Encrypt=strict;TrustServerCertificate=true",
        "Integrated Security=true;User ID=sa",
        "Trusted_Connection=SSPI;Password=x",
        "ServerCertificate=/a.pem;TrustServerCertificate=yes",
        "TrustServerCertificateCA=/a.pem;TrustServerCertificate=yes",
        "TrustServerCertificateCA=/a.pem;ServerCertificate=/b.pem",
    ] {
        let error = error(text);
        assert!(matches!(error, ConfigError::Contradiction { .. }), "{text}: {error}");
    }
    read("Integrated Security=false;User ID=sa");
    read("Encrypt=strict;ServerCertificate=/a.pem;TrustServerCertificate=false");
}

#[test]
fn an_unknown_keyword_is_named_and_the_closest_known_one_suggested() {
    for (written, known) in [
        ("Sever", Some("Server")),
        ("Pasword", Some("Password")),
        ("Colum Encryption Settings", Some("Column Encryption Setting")),
        ("TrustServerCertificat", Some("Trust Server Certificate")),
        ("frobnicate", None),
        (&"x".repeat(100_000), None),
    ] {
        match error(&format!("{written}=1")) {
            ConfigError::UnknownKeyword { keyword, suggestion } => {
                assert!(keyword.chars().count() <= 41 && keyword.starts_with(&written[..5]));
                assert_eq!(suggestion, known, "{written}");
            }
            other => panic!("{written}: {other}"),
        }
    }
    let message = error("Colum Encryption Setting=Enabled").to_string();
    assert!(message.ends_with("did you mean 'Column Encryption Setting'?"), "{message}");
}

#[test]
fn settings_that_we_do_not_have_are_refused_with_the_reason() {
    for text in [
        "Attestation Protocol=HGS",
        "Enclave Attestation Url=https://x",
        "Column Encryption Setting=VBS-HGS,https://x",
        "MultipleActiveResultSets=true",
        "Authentication=Active Directory Default",
        "Authentication=ActiveDirectoryIntegrated",
        "Failover Partner=b",
        "AttachDBFilename=x.mdf",
        "User Instance=true",
        "Integrated Security=SSPI",
        "Current Language=Deutsch",
        "KeyStoreAuthentication=KeyVaultClientSecret",
        "Driver={ODBC Driver 18 for SQL Server}",
        "Network Library=dbnmpntw",
    ] {
        let error = error(text);
        assert!(matches!(error, ConfigError::Unsupported { .. }), "{text}: {error}");
        assert!(error.to_string().len() > 40, "{error}");
    }
    read("Authentication=SqlPassword;User Instance=false;Network Library=dbmssocn");
}

#[test]
fn values_out_of_range_are_refused() {
    for text in [
        "Encrypt=maybe",
        "Encrypt=1",
        "TrustServerCertificate=strict",
        "Connect Timeout=-1",
        "Connect Timeout=4294967295",
        "Connect Timeout=soon",
        "Packet Size=511",
        "Packet Size=32769",
        "ApplicationIntent=WriteOnly",
        "Column Encryption Setting=On",
        "Integrated Security=perhaps",
    ] {
        let error = error(text);
        assert!(matches!(error, ConfigError::InvalidValue { .. }), "{text}: {error}");
    }
}

#[test]
fn malformed_text_is_refused_with_its_position() {
    for (text, at) in [
        ("Server", 0),
        ("Server=a;Database", 9),
        ("=x", 0),
        ("Server=a; =x", 10),
        ("Password='abc", 9),
        ("Password=\"abc\"\"", 9),
        ("Password='abc'def", 9),
        ("Password={abc", 9),
        ("Password=a\u{1}b", 9),
        ("Pass\u{0}word=a", 0),
        ("Password==hunter2", 0),
    ] {
        match error(text) {
            ConfigError::Syntax { position, .. } => assert_eq!(position, at, "{text}"),
            other => panic!("{text}: {other}"),
        }
    }
}

#[test]
fn a_password_is_never_repeated_in_an_error() {
    for text in [
        "Password=hunter2;hunter2=x;Server=a",
        "Password=x;hunter2",
        "Password==hunter2",
        "Password='x;hunter2",
        "Password='x'hunter2",
        "Password={hunter2",
        "Password=hunter2;PWD=hunter3",
        "Password=hunter2;Integrated Security=true",
        "Password=hunter2;MARS=on",
    ] {
        let error = error(text);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter"), "{shown}");
    }
}

#[test]
fn a_certificate_is_a_path_or_the_certificate_itself() {
    let file = |path: &str| Some(CertificateSource::File(path.into()));
    assert_eq!(read("ServerCertificate=/etc/db.cer").server_certificate, file("/etc/db.cer"));
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let config = read(&format!("Server Certificate=\"{pem}\""));
    assert_eq!(config.server_certificate, Some(CertificateSource::Bytes(pem.into())));
}

proptest! {
    #[test]
    fn any_value_survives_quoting(value in "[^\0]{1,40}", quote in "[\"']") {
        let written = value.replace(&quote, &quote.repeat(2));
        let config = read(&format!("User=u;Password={quote}{written}{quote};Server=s"));
        prop_assert_eq!(config.password.as_ref().map(|p| p.as_str()), Some(value.as_str()));
        prop_assert_eq!(config.host.as_deref(), Some("s"));
    }

    #[test]
    fn no_text_makes_the_parser_panic(
        text in ".{0,80}",
        keyword in "(Server|Password|Encrypt|Timeout)",
    ) {
        let _ = text.parse::<Config>();
        let _ = format!("{keyword}={text}").parse::<Config>();
        let _ = format!("{text}={keyword};").parse::<Config>();
    }
}
