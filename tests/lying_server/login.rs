//! What the server says when it is logged in to.

use super::*;

#[test]
fn a_server_that_does_not_acknowledge_the_feature_is_refused() {
    for features in [&[][..], &[0xAE, 0xFF], &[0xAE, 0x0A, 1, 0, 0, 0, 1, 0xFF]] {
        let mut harness = Harness::new(TrustedKeyPaths::any(), true);
        let reply = harness.log_in(features);
        assert!(harness.session.is_closed());
        assert!(matches!(harness.errors.last().as_deref(), Some(SessionError::NotAcknowledged)));
        assert_eq!(Harness::error_number(&reply), Some(16_040_001));
        assert!(
            harness.app(&insert()).is_empty(),
            "a request went to a server without the feature"
        );
    }
}

#[test]
fn a_server_that_ends_the_login_without_accepting_it_gets_no_request() {
    for reply in [done(0), [&ACKNOWLEDGED[..], &done(0)].concat(), vec![]] {
        let mut harness = Harness::new(TrustedKeyPaths::any(), true);
        harness.app(&prelogin());
        harness.app(&login7());
        harness.server(&message(REPLY, &reply));
        assert!(harness.session.is_closed());
        assert!(harness.app(&insert()).is_empty());
        harness.assert_never_sent(SECRET);
    }
}

#[test]
fn a_request_before_the_login_has_ended_is_not_sent() {
    let mut harness = Harness::new(TrustedKeyPaths::any(), true);
    harness.app(&prelogin());
    harness.app(&login7());
    assert!(harness.app(&insert()).is_empty());
    assert!(harness.session.is_closed());
    harness.assert_never_sent(SECRET);
}

#[test]
fn after_a_refused_login_nothing_more_is_sent() {
    let mut harness = Harness::new(TrustedKeyPaths::any(), true);
    harness.app(&prelogin());
    harness.app(&login7());
    let refusal = [error(18456, "Login failed"), done(2)].concat();
    harness.server(&message(REPLY, &refusal));
    assert!(harness.app(&insert()).is_empty());
    harness.assert_never_sent(SECRET);
}

#[test]
fn an_acknowledgement_of_another_version_is_refused() {
    for version in [0, 2, 3, 9] {
        let mut harness = Harness::new(TrustedKeyPaths::any(), true);
        harness.log_in(&[0xAE, 4, 1, 0, 0, 0, version, 0xFF]);
        let error = harness.errors.last().unwrap();
        assert!(matches!(*error, SessionError::AcknowledgedVersion { version: v } if v == version));
        assert!(harness.session.is_closed());
    }
}

#[test]
fn a_login_that_is_refused_is_the_servers_error_and_not_ours() {
    let mut harness = Harness::new(TrustedKeyPaths::any(), true);
    harness.app(&prelogin());
    harness.app(&login7());
    harness.drain_to_app();
    let refusal = [error(18456, "Login failed for user 'x'."), done(2)].concat();
    let reply = harness.server(&message(REPLY, &refusal));
    assert_eq!(messages(&reply), [(REPLY, refusal)]);
    assert!(harness.errors.last().is_none());
}
