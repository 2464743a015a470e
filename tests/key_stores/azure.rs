//! `AzureKeyVault` over HTTPS, against a stand-in that checks what the service checks.

use always_encrypted::{
    crypto::{Cek, Envelope},
    keystore::{
        AZURE_KEY_VAULT, AzureKeyVault, AzureKeyVaultProblem, EncryptedCekValue, KeyStoreError,
        KeyStoreProvider, KeyStores, RSA_OAEP, VaultOperation,
    },
};

use crate::{
    run::{Case, cases},
    vault::{Answer, VaultStandIn, refuse},
};

const HOST: &str = "contoso.vault.azure.net";

pub fn cases() -> Vec<Case> {
    cases![
        a_column_key_goes_through_the_vault_and_back,
        each_request_is_what_the_service_takes,
        many_that_ask_for_a_key_at_once_make_one_request,
        a_new_key_serves_as_master_key,
        a_metadata_signature_is_checked_without_the_vault,
        an_identity_without_a_permission_is_told_which,
        a_firewall_is_told_from_a_missing_permission,
        a_key_that_is_not_there_is_said_to_be_missing,
        a_disabled_key_opens_nothing_until_it_is_enabled,
        an_expired_key_opens_and_does_not_sign,
        an_operation_that_the_key_does_not_permit_is_named,
        a_key_of_another_kind_or_too_short_is_refused,
        a_rotated_key_fails_with_the_remedy_and_opens_by_version,
        a_busy_vault_is_asked_again_after_the_pause_it_wants,
        a_revoked_token_is_renewed,
        a_vault_with_another_certificate_gets_no_token,
        an_answer_without_end_is_cut_off,
        a_vault_that_is_not_there_is_unavailable,
        the_registry_opens_a_key_of_the_vault,
    ]
}

async fn stand_in() -> VaultStandIn {
    VaultStandIn::start(HOST).await.unwrap()
}

fn store(vault: &VaultStandIn) -> AzureKeyVault {
    AzureKeyVault::builder(vault.credential())
        .root_certificate(vault.root_pem())
        .address(HOST, vault.address())
        .build()
        .unwrap()
}

fn cek() -> Cek {
    Cek::from([7; 32])
}

async fn wrap(store: &AzureKeyVault, path: &str) -> Vec<u8> {
    store.wrap_cek(path, RSA_OAEP, &cek()).await.unwrap()
}

async fn open(store: &AzureKeyVault, path: &str, envelope: &[u8]) -> Result<(), KeyStoreError> {
    let opened = store.unwrap_cek(path, RSA_OAEP, envelope).await?;
    assert_eq!(opened.expose(), cek().expose());
    Ok(())
}

fn problem<T: std::fmt::Debug>(outcome: Result<T, KeyStoreError>) -> AzureKeyVaultProblem {
    match outcome {
        Err(KeyStoreError::AzureKeyVault(error)) => error.problem,
        other => panic!("{other:?}"),
    }
}

async fn a_column_key_goes_through_the_vault_and_back() {
    let vault = stand_in().await;
    let path = vault.create("Cmk-1", 2048);
    let store = store(&vault);
    let envelope = wrap(&store, &path).await;
    assert_eq!(Envelope::parse(&envelope).unwrap().key_path(), path.to_lowercase());
    open(&store, &path, &envelope).await.unwrap();
}

async fn each_request_is_what_the_service_takes() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 3072);
    let (_, version) = path.rsplit_once('/').unwrap();
    let store = store(&vault);
    let envelope = wrap(&store, &path).await;
    let expected = [format!("GET /keys/cmk/{version}"), format!("POST /keys/cmk/{version}/sign")];
    assert_eq!(vault.requests(), expected);
    open(&store, &path, &envelope).await.unwrap();
    open(&store, &path.to_uppercase().replace("HTTPS", "https"), &envelope).await.unwrap();
    let unwrap = format!("POST /keys/cmk/{version}/unwrapkey");
    assert_eq!(vault.requests(), [unwrap.clone(), unwrap]);
    assert_eq!(vault.tokens(), 1);
}

async fn many_that_ask_for_a_key_at_once_make_one_request() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let (_, version) = path.rsplit_once('/').unwrap();
    let signature = store(&vault).sign_cmk_metadata(&path, true).await.unwrap();
    vault.requests();
    let store = store(&vault);
    let asking = (0..200).map(|_| store.verify_cmk_metadata(&path, true, &signature));
    for holds in futures_util::future::join_all(asking).await {
        assert!(holds.unwrap());
    }
    assert_eq!(vault.requests(), [format!("GET /keys/cmk/{version}")]);
}

async fn a_new_key_serves_as_master_key() {
    let vault = stand_in().await;
    let store = store(&vault);
    for hsm in [false, true] {
        let path = store.create_cmk(HOST, "fresh", 2048, hsm).await.unwrap();
        assert!(path.version().is_some(), "{path}");
        let path = path.to_string();
        let envelope = wrap(&store, &path).await;
        open(&store, &path, &envelope).await.unwrap();
    }
    assert!(matches!(
        problem(store.create_cmk(HOST, "fresh", 2056, false).await),
        AzureKeyVaultProblem::Refused { operation: VaultOperation::Create, status: 400, .. }
    ));
    let short = store.create_cmk(HOST, "fresh", 1024, false).await;
    assert!(matches!(short, Err(KeyStoreError::Cmk(_))), "{short:?}");
}

async fn a_metadata_signature_is_checked_without_the_vault() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let store = store(&vault);
    let signature = store.sign_cmk_metadata(&path, true).await.unwrap();
    vault.requests();
    assert!(store.verify_cmk_metadata(&path, true, &signature).await.unwrap());
    assert!(!store.verify_cmk_metadata(&path, false, &signature).await.unwrap());
    assert!(!store.verify_cmk_metadata(&path, true, &signature[1..]).await.unwrap());
    assert_eq!(vault.requests(), [""; 0]);
}

async fn an_identity_without_a_permission_is_told_which() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let envelope = wrap(&store(&vault), &path).await;
    for (permissions, lacks) in [
        (vec!["unwrapKey", "sign"], VaultOperation::Get),
        (vec!["get", "sign"], VaultOperation::UnwrapKey),
    ] {
        vault.permit(&permissions);
        let Err(error) = open(&store(&vault), &path, &envelope).await else { panic!("{lacks}") };
        let text = error.to_string();
        for word in [&*lacks.to_string(), "ForbiddenByRbac", "Key Vault Crypto User"] {
            assert!(text.contains(word), "{text}");
        }
        assert!(!text.contains(['\r', '\n', '{']), "{text:?}");
        let code = match problem::<()>(Err(error)) {
            AzureKeyVaultProblem::Forbidden { operation, code, .. } if operation == lacks => code,
            other => panic!("{other}"),
        };
        assert_eq!(code.as_deref(), Some("ForbiddenByRbac"));
    }
    vault.permit(&["get", "unwrapKey"]);
    let store = store(&vault);
    open(&store, &path, &envelope).await.unwrap();
    let sign = problem(store.wrap_cek(&path, RSA_OAEP, &cek()).await);
    let operation = VaultOperation::Sign;
    assert!(matches!(sign, AzureKeyVaultProblem::Forbidden { operation: o, .. } if o == operation));
}

async fn a_firewall_is_told_from_a_missing_permission() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let store = store(&vault);
    let envelope = wrap(&store, &path).await;
    let message = "Client address is not authorized and caller is not a trusted service.";
    vault.answer_next(refuse(403, "Forbidden", Some("ForbiddenByFirewall"), message));
    let firewall = problem(open(&store, &path, &envelope).await);
    assert!(matches!(firewall, AzureKeyVaultProblem::Firewall { .. }), "{firewall}");
}

async fn a_key_that_is_not_there_is_said_to_be_missing() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let store = store(&vault);
    let envelope = wrap(&store, &path).await;
    for missing in [
        format!("https://{HOST}/keys/other"),
        format!("https://{HOST}/keys/cmk/00000000000000000000000000000000"),
    ] {
        let found = problem(open(&store, &missing, &envelope).await);
        assert!(matches!(found, AzureKeyVaultProblem::NotFound { .. }), "{found}");
    }
    vault.delete("cmk");
    let found = problem(open(&store, &path, &envelope).await);
    assert!(found.to_string().contains("az keyvault key recover"), "{found}");
}

async fn a_disabled_key_opens_nothing_until_it_is_enabled() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let known = store(&vault);
    let envelope = wrap(&known, &path).await;
    vault.set_enabled(&path, false);
    for store in [&known, &store(&vault)] {
        let found = problem(open(store, &path, &envelope).await);
        assert_eq!(found, AzureKeyVaultProblem::Disabled);
    }
    vault.set_enabled(&path, true);
    open(&known, &path, &envelope).await.unwrap();
}

async fn an_expired_key_opens_and_does_not_sign() {
    let vault = stand_in().await;
    for set in [VaultStandIn::set_expired as fn(&_, &_), VaultStandIn::set_not_yet_valid] {
        let path = vault.create("cmk", 2048);
        let store = store(&vault);
        let envelope = wrap(&store, &path).await;
        set(&vault, &path);
        open(&store, &path, &envelope).await.unwrap();
        let found = problem(store.wrap_cek(&path, RSA_OAEP, &cek()).await);
        let operation = VaultOperation::Sign;
        assert_eq!(found, AzureKeyVaultProblem::OutsideValidity { operation });
    }
}

async fn an_operation_that_the_key_does_not_permit_is_named() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let store = store(&vault);
    let envelope = wrap(&store, &path).await;
    vault.set_ops(&path, &["sign", "verify"]);
    let operation = VaultOperation::UnwrapKey;
    assert_eq!(
        problem(open(&store, &path, &envelope).await),
        AzureKeyVaultProblem::OperationNotPermitted { operation }
    );
    vault.set_ops(&path, &["unwrapKey"]);
    open(&store, &path, &envelope).await.unwrap();
    let operation = VaultOperation::Sign;
    assert_eq!(
        problem(store.sign_cmk_metadata(&path, true).await),
        AzureKeyVaultProblem::OperationNotPermitted { operation }
    );
}

async fn a_key_of_another_kind_or_too_short_is_refused() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let envelope = wrap(&store(&vault), &path).await;
    vault.set_kty(&path, "EC-HSM");
    let found = problem(open(&store(&vault), &path, &envelope).await);
    assert_eq!(found, AzureKeyVaultProblem::NotRsa { kty: "EC-HSM".into() });
    let short = vault.create("short", 1024);
    let found = open(&store(&vault), &short, &envelope).await;
    assert!(matches!(found, Err(KeyStoreError::Cmk(_))), "{found:?}");
}

async fn a_rotated_key_fails_with_the_remedy_and_opens_by_version() {
    let vault = stand_in().await;
    let first = vault.create("cmk", 2048);
    let versionless = format!("https://{HOST}/keys/cmk");
    let envelope = wrap(&store(&vault), &versionless).await;
    let second = vault.create("cmk", 3072);
    let (_, current) = second.rsplit_once('/').unwrap();
    let found = problem(open(&store(&vault), &versionless, &envelope).await);
    assert_eq!(found, AzureKeyVaultProblem::Rotated { current: current.into() });
    assert!(found.to_string().contains("rotated"), "{found}");
    open(&store(&vault), &first, &envelope).await.unwrap();
}

async fn a_busy_vault_is_asked_again_after_the_pause_it_wants() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let store = store(&vault);
    let envelope = wrap(&store, &path).await;
    vault.requests();
    let mut busy = refuse(429, "Throttled", None, "Request was not processed.");
    busy.headers.push(("Retry-After", "0".into()));
    vault.answer_next(busy.clone());
    open(&store, &path, &envelope).await.unwrap();
    assert_eq!(vault.requests().len(), 2);
    busy.headers[0].1 = "600".into();
    vault.answer_next(busy);
    let error = open(&store, &path, &envelope).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::Unavailable { .. }), "{error}");
    assert_eq!(vault.requests().len(), 1);
}

async fn a_revoked_token_is_renewed() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let store = store(&vault);
    let envelope = wrap(&store, &path).await;
    vault.revoke_token();
    open(&store, &path, &envelope).await.unwrap();
    assert_eq!(vault.tokens(), 2);
}

async fn a_vault_with_another_certificate_gets_no_token() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let envelope = wrap(&store(&vault), &path).await;
    let tokens = vault.tokens();
    // Nobody vouches for its certificate; or somebody does, for another vault.
    let unknown = AzureKeyVault::builder(vault.credential()).address(HOST, vault.address());
    let found = problem(open(&unknown.build().unwrap(), &path, &envelope).await);
    assert!(matches!(found, AzureKeyVaultProblem::Tls { .. }), "{found}");
    let other = "fabrikam.vault.azure.net";
    let wrong_name = AzureKeyVault::builder(vault.credential())
        .root_certificate(vault.root_pem())
        .address(other, vault.address());
    let path = format!("https://{other}/keys/cmk");
    let found = problem(open(&wrong_name.build().unwrap(), &path, &envelope).await);
    assert!(matches!(found, AzureKeyVaultProblem::Tls { .. }), "{found}");
    assert_eq!(vault.tokens(), tokens);
}

async fn an_answer_without_end_is_cut_off() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let store = store(&vault);
    let envelope = wrap(&store, &path).await;
    vault.answer_next(Answer { status: 200, headers: Vec::new(), body: vec![b' '; 1 << 20] });
    let found = problem(open(&store, &path, &envelope).await);
    assert!(found.to_string().contains("more than"), "{found}");
    // Neither does a redirection lead away.
    let location = vec![("Location", "https://evil.example/".to_owned())];
    vault.answer_next(Answer { status: 307, headers: location, body: Vec::new() });
    let found = problem(open(&store, &path, &envelope).await);
    assert!(matches!(found, AzureKeyVaultProblem::Refused { status: 307, .. }), "{found}");
}

async fn a_vault_that_is_not_there_is_unavailable() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let envelope = wrap(&store(&vault), &path).await;
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = AzureKeyVault::builder(vault.credential())
        .address(HOST, address)
        .call_timeout(std::time::Duration::from_millis(300))
        .build()
        .unwrap();
    let error = open(&store, &path, &envelope).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

async fn the_registry_opens_a_key_of_the_vault() {
    let vault = stand_in().await;
    let path = vault.create("cmk", 2048);
    let store = store(&vault);
    let envelope = wrap(&store, &path).await;
    let keys = KeyStores::builder().provider(store).build().unwrap();
    let value = EncryptedCekValue {
        envelope,
        provider_name: AZURE_KEY_VAULT.to_lowercase(),
        key_path: path,
        algorithm: "RSA-OAEP".into(),
    };
    vault.requests();
    for _ in 0..3 {
        keys.cell_key(std::slice::from_ref(&value)).await.unwrap();
    }
    assert_eq!(vault.requests().len(), 1);
}
