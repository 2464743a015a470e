//! Connection strings and logins.

use super::*;

#[test]
fn settings_leave_no_password() {
    const GOOD: &str = "Server=h;User Id=sa;Password=\"northern harbour\"\"s\";Encrypt=no";
    const ODD: &str = "Server=h;Password=northern harbour at dawn;Pasword=1";
    let count = findings_in(&[PIECE, PIECE_WIDE], || {
        let config = Config::from_ado_string(GOOD).unwrap();
        println!("{config:?}");
        drop(config.clone().password(TEXT).password("x"));
        drop(config);
        assert!(Config::from_ado_string(ODD).is_err());
    });
    assert_eq!(count, 0);
}

#[test]
fn a_password_in_the_login_leaves_nothing() {
    let mut login = vec![0; 94];
    login.extend(utf16(TEXT));
    let len = login.len() as u32;
    login[..4].copy_from_slice(&len.to_le_bytes());
    let login = message(LOGIN7, &login);
    let mut harness = Harness::new(always_encrypted::policy::TrustedKeyPaths::any(), true);
    harness.app(&prelogin());
    let reply = message(REPLY, &login_reply(&ACKNOWLEDGED));
    let count = session_findings_in(|| {
        harness.session.receive_from_app(&login, Instant::now());
        let len = harness.session.to_server().len();
        assert!(len > login.len());
        harness.session.sent_to_server(len);
        harness.session.receive_from_server(&reply, Instant::now());
        drop(harness);
    });
    assert_eq!(count, 0);
}
