//! A key store made of closures.

use std::{fmt, sync::Arc};

use super::{BoxFuture, KeyStoreError, KeyStoreProvider, key_finder::check_algorithm};
use crate::crypto::Cek;

type Unwrap =
    dyn Fn(String, Vec<u8>) -> BoxFuture<'static, Result<Cek, KeyStoreError>> + Send + Sync;
type Wrap = dyn Fn(String, Cek) -> BoxFuture<'static, Result<Vec<u8>, KeyStoreError>> + Send + Sync;
type Sign =
    dyn Fn(String, bool) -> BoxFuture<'static, Result<Vec<u8>, KeyStoreError>> + Send + Sync;
type Verify =
    dyn Fn(String, bool, Vec<u8>) -> BoxFuture<'static, Result<bool, KeyStoreError>> + Send + Sync;

/// A key store whose operations are closures: for a store that a dozen lines reach, and for tests.
///
/// An application needs [`unwrap_with`](Self::unwrap_with) only; making keys needs
/// [`wrap_with`](Self::wrap_with) too. What has no closure is refused with
/// [`KeyStoreError::NotOffered`]. Each closure gets the key path first. That the algorithm is
/// `RSA_OAEP` has been checked; that the envelope's signature is right has not, unless the closure
/// does so: [`Envelope`](crate::crypto::Envelope) is there for it.
///
/// ```
/// use always_encrypted::{
///     crypto::Cek,
///     keystore::{FnKeyStore, KeyStoreError, KeyStores},
/// };
/// # async fn ask_the_agent(path: &str, envelope: &[u8]) -> std::io::Result<Vec<u8>> {
/// #     Ok(vec![7; 32])
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = FnKeyStore::new("KEY_AGENT").unwrap_with(|path, envelope| async move {
///     let bytes = ask_the_agent(&path, &envelope).await.map_err(KeyStoreError::other)?;
///     Ok(Cek::try_from(bytes.as_slice())?)
/// });
/// let key_stores = KeyStores::builder().provider(store).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FnKeyStore {
    name: String,
    unwrap: Option<Arc<Unwrap>>,
    wrap: Option<Arc<Wrap>>,
    sign: Option<Arc<Sign>>,
    verify: Option<Arc<Verify>>,
}

impl FnKeyStore {
    /// A key store of that name that does nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), unwrap: None, wrap: None, sign: None, verify: None }
    }

    /// Opens the envelope (second argument) with the master key at the path.
    #[must_use]
    pub fn unwrap_with<F>(
        mut self,
        open: impl Fn(String, Vec<u8>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Cek, KeyStoreError>> + Send + 'static,
    {
        self.unwrap = Some(Arc::new(move |path, envelope| Box::pin(open(path, envelope))));
        self
    }

    /// Wraps the key with the master key at the path, and returns the envelope.
    #[must_use]
    pub fn wrap_with<F>(mut self, wrap: impl Fn(String, Cek) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<u8>, KeyStoreError>> + Send + 'static,
    {
        self.wrap = Some(Arc::new(move |path, cek| Box::pin(wrap(path, cek))));
        self
    }

    /// Signs the definition of the master key at the path, with or without leave for enclaves: see
    /// [`cmk_metadata_message`](crate::crypto::cmk_metadata_message).
    #[must_use]
    pub fn sign_with<F>(mut self, sign: impl Fn(String, bool) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<u8>, KeyStoreError>> + Send + 'static,
    {
        self.sign = Some(Arc::new(move |path, allow| Box::pin(sign(path, allow))));
        self
    }

    /// Says whether the third argument is that signature.
    #[must_use]
    pub fn verify_with<F>(
        mut self,
        verify: impl Fn(String, bool, Vec<u8>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<bool, KeyStoreError>> + Send + 'static,
    {
        self.verify =
            Some(Arc::new(move |path, allow, signature| Box::pin(verify(path, allow, signature))));
        self
    }

    fn not_offered<T>(&self, operation: &'static str) -> Result<T, KeyStoreError> {
        Err(KeyStoreError::NotOffered { provider: self.name.clone(), operation })
    }
}

impl KeyStoreProvider for FnKeyStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn unwrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<Cek, KeyStoreError>> {
        Box::pin(async move {
            check_algorithm(algorithm)?;
            match &self.unwrap {
                Some(open) => open(key_path.to_owned(), envelope.to_vec()).await,
                None => self.not_offered("unwrap column encryption keys"),
            }
        })
    }

    fn wrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        cek: &'a Cek,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(async move {
            check_algorithm(algorithm)?;
            match &self.wrap {
                Some(wrap) => wrap(key_path.to_owned(), cek.clone()).await,
                None => self.not_offered("wrap column encryption keys"),
            }
        })
    }

    fn sign_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(async move {
            match &self.sign {
                Some(sign) => sign(key_path.to_owned(), allow_enclave_computations).await,
                None => self.not_offered("sign master keys"),
            }
        })
    }

    fn verify_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
        signature: &'a [u8],
    ) -> BoxFuture<'a, Result<bool, KeyStoreError>> {
        Box::pin(async move {
            let (path, allow) = (key_path.to_owned(), allow_enclave_computations);
            match &self.verify {
                Some(verify) => verify(path, allow, signature.to_vec()).await,
                None => self.not_offered("verify signatures of master keys"),
            }
        })
    }
}

impl fmt::Debug for FnKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnKeyStore").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keystore::RSA_OAEP;

    #[tokio::test]
    async fn what_has_no_closure_is_refused_by_name() {
        let store = FnKeyStore::new("AGENT");
        let error = store.unwrap_cek("k", RSA_OAEP, &[]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the key store provider \"AGENT\" cannot unwrap column encryption keys"
        );
        for error in [
            store.wrap_cek("k", RSA_OAEP, &Cek::from([1; 32])).await.err(),
            store.sign_cmk_metadata("k", true).await.err(),
            store.verify_cmk_metadata("k", true, &[]).await.err(),
        ] {
            assert!(matches!(error, Some(KeyStoreError::NotOffered { .. })), "{error:?}");
        }
    }

    #[tokio::test]
    async fn another_algorithm_does_not_reach_the_closure() {
        let store = FnKeyStore::new("AGENT")
            .unwrap_with(|_, _| async { panic!("it was asked") })
            .wrap_with(|_, _| async { panic!("it was asked") });
        let cek = Cek::from([1; 32]);
        assert!(store.unwrap_cek("k", "RSA1_5", &[]).await.is_err());
        assert!(store.wrap_cek("k", "RSA1_5", &cek).await.is_err());
    }
}
