//! The key paths of SqlClient's CNG and CSP providers: `<provider>/<key>`, cut at the first slash.

/// What a key path names: a CNG key storage provider and a key, or a CSP and a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProviderAndKey {
    pub(super) provider: String,
    pub(super) key: String,
}

impl ProviderAndKey {
    /// The server wrote the path, so nothing in it may name anything but these two: an empty
    /// container is a user's default one, a zero ends a name early, and a backslash leads to another
    /// key of the registry.
    pub(super) fn parse(key_path: &str) -> Result<Self, &'static str> {
        const FORM: &str = "it has the form <provider>/<key>, both not empty and without control \
                            characters, the provider without backslashes";
        let (provider, key) = key_path.split_once('/').ok_or(FORM)?;
        let clean = |name: &str| !name.trim().is_empty() && !name.chars().any(char::is_control);
        if clean(provider) && clean(key) && !provider.contains('\\') {
            Ok(Self { provider: provider.into(), key: key.into() })
        } else {
            Err(FORM)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cut_at_its_first_slash() {
        let path = ProviderAndKey::parse("Microsoft Software Key Storage Provider/a/b").unwrap();
        assert_eq!(path.provider, "Microsoft Software Key Storage Provider");
        assert_eq!(path.key, "a/b");
    }

    #[test]
    fn a_path_that_would_name_something_else_is_refused() {
        for path in ["", "/", "provider", "provider/", "/key", "p\\q/key", "p/k\0x", "p\0/k", " /k"]
        {
            assert!(ProviderAndKey::parse(path).is_err(), "{path:?}");
        }
    }
}
