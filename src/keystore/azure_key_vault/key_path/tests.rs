use azure_core::http::Url;
use proptest::prelude::*;

use super::*;

fn all_clouds() -> TrustedVaults {
    TrustedVaults::Beneath(AZURE_KEY_VAULT_DOMAINS.map(str::to_owned).to_vec())
}

/// The host that a token would go to.
fn asked(path: &str) -> Option<String> {
    let path: AzureKeyPath = path.parse().ok()?;
    all_clouds().check(path.host()).ok().map(|()| path.host().to_owned())
}

#[test]
fn paths_with_and_without_a_version_are_read_in_any_case() {
    let path: AzureKeyPath =
        "https://contoso.vault.azure.net/keys/cmk-1/0123456789abcdef0123456789abcdef"
            .parse()
            .unwrap();
    assert_eq!(path.host(), "contoso.vault.azure.net");
    assert_eq!(path.name(), "cmk-1");
    assert_eq!(path.version(), Some("0123456789abcdef0123456789abcdef"));
    let same = "HTTPS://Contoso.Vault.Azure.Net/Keys/CMK-1/0123456789ABCDEF0123456789ABCDEF/";
    assert_eq!(same.parse(), Ok(path));
    let versionless: AzureKeyPath = "https://contoso.vault.azure.net/keys/cmk".parse().unwrap();
    assert_eq!(versionless.version(), None);
    assert_eq!(versionless.to_string(), "https://contoso.vault.azure.net/keys/cmk");
}

#[test]
fn every_cloud_has_its_vaults() {
    for domain in AZURE_KEY_VAULT_DOMAINS {
        let host = format!("contoso.{domain}");
        assert_eq!(asked(&format!("https://{host}/keys/cmk")), Some(host));
        assert_eq!(asked(&format!("https://{domain}/keys/cmk")), None, "the domain itself");
        assert_eq!(asked(&format!("https://evil{domain}/keys/cmk")), None, "no dot between");
        assert_eq!(asked(&format!("https://contoso.{domain}.evil.example/keys/cmk")), None);
    }
}

#[test]
fn no_spelling_of_a_url_leads_a_token_elsewhere() {
    for path in [
        "http://contoso.vault.azure.net/keys/cmk",
        "//contoso.vault.azure.net/keys/cmk",
        "https:/contoso.vault.azure.net/keys/cmk",
        "https:\\\\contoso.vault.azure.net\\keys\\cmk",
        " https://contoso.vault.azure.net/keys/cmk",
        "https://contoso.vault.azure.net/keys/cmk ",
        "https://evil.example/keys/cmk",
        "https://evil.example/.vault.azure.net/keys/cmk",
        "https://evil.example\\.vault.azure.net/keys/cmk",
        "https://evil.example#.vault.azure.net/keys/cmk",
        "https://evil.example?.vault.azure.net/keys/cmk",
        "https://evil.example%2f.vault.azure.net/keys/cmk",
        "https://evil.example:443.vault.azure.net/keys/cmk",
        "https://evil.example\t.vault.azure.net/keys/cmk",
        "https://evil.example\0.vault.azure.net/keys/cmk",
        "https://contoso.vault.azure.net@evil.example/keys/cmk",
        "https://contoso.vault.azure.net:secret@evil.example/keys/cmk",
        "https://user@contoso.vault.azure.net/keys/cmk",
        "https://contoso.vault.azure.net:443/keys/cmk",
        "https://contoso.vault.azure.net:8443/keys/cmk",
        "https://contoso.vault.azure.net./keys/cmk",
        "https://.vault.azure.net/keys/cmk",
        "https://contoso..vault.azure.net/keys/cmk",
        "https://-.vault.azure.net/keys/cmk",
        "https://contoso.vault.azure.net",
        "https://contoso.vault.azure.net/",
        "https://contoso.vault.azure.net//keys/cmk",
        "https://contoso.vault.azure.net/keys",
        "https://contoso.vault.azure.net/keys/",
        "https://contoso.vault.azure.net/keys//",
        "https://contoso.vault.azure.net/secrets/cmk",
        "https://contoso.vault.azure.net/keys/cmk/1/2",
        "https://contoso.vault.azure.net/keys/cmk//",
        "https://contoso.vault.azure.net/keys/../secrets/cmk",
        "https://contoso.vault.azure.net/keys/cmk/..",
        "https://contoso.vault.azure.net/keys/%2e%2e/cmk",
        "https://contoso.vault.azure.net/keys/cmk?api-version=1",
        "https://contoso.vault.azure.net/keys/cmk#1",
        "https://contoso.vault.azure.net/keys/cmk;1",
        "https://contoso.vault.azure\u{3002}net/keys/cmk",
        "https://contoso.vault.\u{430}zure.net/keys/cmk",
        "https://contoso.vault.azure.\u{ff4e}et/keys/cmk",
        "https://contoso\u{ad}.vault.azure.net/keys/cmk",
        "https://contoso.vault.azure.net/keys/\u{212a}ey",
        "https://xn--80a.vault.azure.net/keys/cmk",
        "https://[::1]/keys/cmk",
        "https://127.0.0.1/keys/cmk",
        "https://localhost/keys/cmk",
        "",
        "https://",
        "cmk",
    ] {
        assert_eq!(asked(path), None, "{path}");
    }
    let long = "a".repeat(MAX_NAME);
    assert!(asked(&format!("https://contoso.vault.azure.net/keys/{long}")).is_some());
    assert!(asked(&format!("https://contoso.vault.azure.net/keys/{long}a")).is_none());
    let long = "a.".repeat(120);
    assert!(asked(&format!("https://{long}vault.azure.net/keys/cmk")).is_none());
}

#[test]
fn a_program_that_names_its_vaults_asks_no_other() {
    let one = TrustedVaults::Named(vec!["contoso.vault.azure.net".into()]);
    assert_eq!(one.check("contoso.vault.azure.net"), Ok(()));
    assert!(one.check("fabrikam.vault.azure.net").unwrap_err().contains("fabrikam"));
    assert!(one.check("x.contoso.vault.azure.net").is_err());
}

/// Pieces that URL parsers treat specially, and whole hosts, to be put together at random.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "https://", "HTTPS://", "http://", "contoso", "vault.azure.net", ".vault.azure.net",
            "managedhsm.azure.cn", "evil.example", "/keys/", "/", "//", "\\", "@", ":", "#", "?", "%",
            "%2f", ".", "..", "-", "[", "]", "cmk", "0123456789abcdef", "\t", "\n", " ", "\0",
            "\u{3002}", "\u{ff0f}", "\u{ad}", "xn--", "127.0.0.1", "0x7f",
        ])
        .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever is let through is, to the parser that the HTTP client uses, the same host, beneath one
    /// of Azure's domains, with nothing else to it.
    #[test]
    fn a_path_that_passes_is_the_same_vault_to_every_parser(
        prefix in prop_oneof![Just(""), Just("https://contoso.vault.azure.net"), Just("https://")],
        rest in pieces(),
    ) {
        let path = format!("{prefix}{rest}");
        if let Some(host) = asked(&path) {
            let url = Url::parse(&path).unwrap();
            prop_assert_eq!(url.scheme(), "https");
            prop_assert_eq!(url.host_str(), Some(host.as_str()));
            prop_assert_eq!(url.port(), None);
            prop_assert_eq!((url.username(), url.password()), ("", None));
            prop_assert_eq!((url.query(), url.fragment()), (None, None));
            let beneath = AZURE_KEY_VAULT_DOMAINS.iter().any(|d| host.ends_with(&format!(".{d}")));
            prop_assert!(beneath, "{}", host);
            prop_assert!(!url.path().contains("..") && !url.path().contains('%'));
        }
    }

    #[test]
    fn a_path_reads_back_as_itself(
        name in "[a-zA-Z0-9-]{1,127}",
        version in prop::option::of("[0-9a-f]{32}"),
    ) {
        let tail = version.map(|v| format!("/{v}")).unwrap_or_default();
        let text = format!("https://contoso.vault.azure.net/keys/{name}{tail}");
        let path: AzureKeyPath = text.parse().unwrap();
        prop_assert_eq!(path.to_string(), text.to_ascii_lowercase());
        prop_assert_eq!(path.to_string().parse(), Ok(path));
    }
}
