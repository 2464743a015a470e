use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;
use crate::{
    crypto::EncryptionType,
    keystore::{BoxFuture, FnKeyStore, RSA_OAEP},
};

/// What the provider does at each call.
#[derive(Clone, Copy)]
enum Does {
    Open,
    Fail,
    Panic,
    PanicAtOnce,
    Hang,
    OpenShort,
    /// Opens at the first call and fails from then on.
    OpenOnce,
}

/// Opens envelopes of 32 bytes, which are the key itself, once it is told to go on.
struct Scripted {
    name: &'static str,
    does: Does,
    calls: Arc<AtomicUsize>,
    /// Calls wait for this if it is there.
    gate: Option<Arc<Notify>>,
}

/// Takes its call back when it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    fn new(name: &'static str, does: Does) -> (Self, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        (Self { name, does, calls: Arc::clone(&calls), gate: None }, calls)
    }
}

impl KeyStoreProvider for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn unwrap_cek<'a>(
        &'a self,
        _key_path: &'a str,
        _algorithm: &'a str,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<Cek, KeyStoreError>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(!matches!(self.does, Does::PanicAtOnce), "scripted panic");
        Box::pin(async move {
            if let Some(gate) = &self.gate {
                gate.notified().await;
            }
            match self.does {
                Does::Open => Ok(Cek::try_from(envelope).unwrap()),
                Does::Fail => Err(KeyStoreError::other("vault says 403")),
                Does::Panic | Does::PanicAtOnce => panic!("scripted panic"),
                Does::OpenOnce if self.calls.load(Ordering::SeqCst) == 1 => {
                    Ok(Cek::try_from(envelope).unwrap())
                }
                Does::OpenOnce => Err(KeyStoreError::other("gone")),
                Does::OpenShort => Ok(Cek::try_from(&envelope[..31])?),
                Does::Hang => {
                    let _dropped = Dropped(Arc::clone(&self.calls));
                    std::future::pending().await
                }
            }
        })
    }

    fn wrap_cek<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        cek: &'a Cek,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(async { Ok(cek.expose().to_vec()) })
    }

    fn sign_cmk_metadata<'a>(
        &'a self,
        _: &'a str,
        _: bool,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn verify_cmk_metadata<'a>(
        &'a self,
        _: &'a str,
        _: bool,
        _: &'a [u8],
    ) -> BoxFuture<'a, Result<bool, KeyStoreError>> {
        Box::pin(async { Ok(true) })
    }
}

fn value(provider: &str, n: u8) -> EncryptedCekValue {
    EncryptedCekValue {
        envelope: vec![n; 32],
        provider_name: provider.into(),
        key_path: format!("path/{n}"),
        algorithm: RSA_OAEP.into(),
    }
}

fn opens_cells_of(key: &CellKey, n: u8) -> bool {
    let cell =
        CellKey::new(&Cek::from([n; 32])).encrypt(b"cell", EncryptionType::Randomized).unwrap();
    key.decrypt(&cell).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_that_miss_at_once_make_one_call() {
    let gate = Arc::new(Notify::new());
    let (mut provider, calls) = Scripted::new("STORE", Does::Open);
    provider.gate = Some(Arc::clone(&gate));
    let stores = Arc::new(KeyStores::builder().provider(provider).build().unwrap());
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let stores = Arc::clone(&stores);
            tokio::spawn(async move { stores.cell_key(&[value("STORE", 1)]).await.unwrap() })
        })
        .collect();
    while stores.statistics().misses < 1000 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    for caller in callers {
        assert!(opens_cells_of(&caller.await.unwrap(), 1));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn when_the_caller_that_calls_is_cancelled_a_waiter_takes_over() {
    let gate = Arc::new(Notify::new());
    let (mut provider, calls) = Scripted::new("STORE", Does::Open);
    provider.gate = Some(Arc::clone(&gate));
    let stores = Arc::new(KeyStores::builder().provider(provider).build().unwrap());
    let spawn = || {
        let stores = Arc::clone(&stores);
        tokio::spawn(async move { stores.cell_key(&[value("STORE", 1)]).await })
    };
    let owner = spawn();
    tokio::task::yield_now().await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let waiter = spawn();
    tokio::task::yield_now().await;
    owner.abort();
    assert!(owner.await.unwrap_err().is_cancelled());
    gate.notify_one();
    assert!(opens_cells_of(&waiter.await.unwrap().unwrap(), 1));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn waiters_share_a_failure_and_without_a_pause_the_next_caller_tries_again() {
    let gate = Arc::new(Notify::new());
    let (mut provider, calls) = Scripted::new("STORE", Does::Fail);
    provider.gate = Some(Arc::clone(&gate));
    let builder = KeyStores::builder().provider(provider).failure_pause(Duration::ZERO);
    let stores = builder.build().unwrap();
    let values = [value("STORE", 1)];
    let all = futures_util::future::join_all((0..10).map(|_| stores.cell_key(&values)));
    let (results, ()) = tokio::join!(all, async { gate.notify_one() });
    assert!(results.iter().all(Result::is_err));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    gate.notify_one();
    assert!(stores.cell_key(&values).await.is_err());
    assert_eq!(calls.load(Ordering::SeqCst), 2, "a failure was cached");
}

#[tokio::test(start_paused = true)]
async fn a_key_store_that_is_down_is_asked_once_a_second_by_a_thousand_queries() {
    let (provider, calls) = Scripted::new("STORE", Does::Fail);
    let stores = KeyStores::builder().provider(provider).build().unwrap();
    let values = [value("STORE", 1)];
    for second in 1..=5 {
        for _ in 0..1000 {
            assert!(stores.cell_key(&values).await.is_err());
        }
        assert_eq!(calls.load(Ordering::SeqCst), second);
        tokio::time::advance(DEFAULT_FAILURE_PAUSE).await;
    }
    stores.purge();
    assert!(stores.cell_key(&values).await.is_err());
    assert_eq!(calls.load(Ordering::SeqCst), 6, "a purge did not end the pause");
    assert_eq!(stores.statistics().held_back, 5 * 999);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_given_up() {
    let (provider, calls) = Scripted::new("STORE", Does::Hang);
    let limit = Duration::from_secs(7);
    let stores = KeyStores::builder().provider(provider).call_time_limit(limit).build().unwrap();
    let begun = tokio::time::Instant::now();
    let values = [value("STORE", 1)];
    let all = futures_util::future::join_all((0..10).map(|_| stores.cell_key(&values)));
    for result in all.await {
        let Err(CekError::NoneOpened { attempts }) = result else { panic!("{result:?}") };
        assert!(
            matches!(attempts[0].error, KeyStoreError::TimedOut { limit: l, .. } if l == limit)
        );
    }
    assert_eq!(begun.elapsed(), limit);
    assert_eq!(calls.load(Ordering::SeqCst), 0, "the call goes on");
    assert_eq!(stores.statistics().failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_of_zero_is_refused_and_the_longest_ends_no_call() {
    let build = |limit| {
        let (provider, _) = Scripted::new("STORE", Does::Hang);
        KeyStores::builder().provider(provider).call_time_limit(limit).build()
    };
    let refused = build(Duration::ZERO).unwrap_err();
    assert_eq!(refused, BuildError::NoTimeForCalls);
    assert!(refused.to_string().contains("call_time_limit is zero"), "{refused}");
    let stores = build(Duration::MAX).unwrap();
    let values = [value("STORE", 1)];
    let day = Duration::from_secs(24 * 60 * 60);
    assert!(tokio::time::timeout(day, stores.cell_key(&values)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_query_that_is_set_aside_while_it_fetches_a_key_does_not_hold_up_the_others() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let store = FnKeyStore::new("STORE").unwrap_with(move |_path, envelope| {
        let call = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            if call == 0 {
                std::future::pending::<()>().await;
            }
            Ok(Cek::try_from(&*envelope)?)
        }
    });
    let stores = KeyStores::builder().provider(store).build().unwrap();
    let values = [value("STORE", 1)];
    let mut set_aside = std::pin::pin!(stores.cell_key(&values));
    assert!(set_aside.as_mut().now_or_never().is_none());
    let begun = tokio::time::Instant::now();
    let other = tokio::time::timeout(Duration::from_secs(3600), stores.cell_key(&values));
    assert!(opens_cells_of(&other.await.expect("it hangs").unwrap(), 1));
    assert_eq!(begun.elapsed(), DEFAULT_CALL_TIME_LIMIT + Duration::from_secs(1));
}

#[tokio::test]
async fn a_key_of_31_bytes_is_an_error_with_its_length() {
    let (provider, _) = Scripted::new("STORE", Does::OpenShort);
    let stores = KeyStores::builder().provider(provider).build().unwrap();
    let Err(CekError::NoneOpened { attempts }) = stores.cell_key(&[value("STORE", 1)]).await else {
        panic!("it was taken");
    };
    assert!(matches!(attempts[0].error, KeyStoreError::InvalidCek(short) if short.found == 31));
}

#[tokio::test(start_paused = true)]
async fn a_key_in_use_is_renewed_in_the_background() {
    let gate = Arc::new(Notify::new());
    let (mut provider, calls) = Scripted::new("STORE", Does::Open);
    provider.gate = Some(Arc::clone(&gate));
    let builder = KeyStores::builder().provider(provider);
    let stores = builder.cek_cache_ttl(Duration::from_secs(100)).build().unwrap();
    let values = [value("STORE", 1)];
    gate.notify_one();
    let old = stores.cell_key(&values).await.unwrap();
    tokio::time::advance(Duration::from_secs(91)).await;
    for _ in 0..100 {
        let found = stores.cell_key(&values).await.unwrap();
        assert!(Arc::ptr_eq(&old, &found), "a use waited for the renewal");
        tokio::task::yield_now().await;
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    gate.notify_one();
    while Arc::ptr_eq(&old, &stores.cell_key(&values).await.unwrap()) {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_secs(50)).await;
    stores.cell_key(&values).await.unwrap();
    assert_eq!(stores.statistics().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_does_not_end_what_works() {
    let (provider, calls) = Scripted::new("STORE", Does::OpenOnce);
    let builder = KeyStores::builder().provider(provider);
    let stores = builder.cek_cache_ttl(Duration::from_secs(100)).build().unwrap();
    let values = [value("STORE", 1)];
    stores.cell_key(&values).await.unwrap();
    tokio::time::advance(Duration::from_secs(95)).await;
    for _ in 0..4 {
        stores.cell_key(&values).await.unwrap();
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(calls.load(Ordering::SeqCst) > 1, "no renewal was tried");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(stores.cell_key(&values).await.is_err(), "the key has outlived its time");
}

#[tokio::test(start_paused = true)]
async fn when_the_key_stores_go_a_renewal_that_hangs_keeps_no_key() {
    let gate = Arc::new(Notify::new());
    let (mut provider, calls) = Scripted::new("STORE", Does::Open);
    provider.gate = Some(Arc::clone(&gate));
    let builder = KeyStores::builder().provider(provider);
    let stores = builder.cek_cache_ttl(Duration::from_secs(100)).build().unwrap();
    let values = [value("STORE", 1)];
    gate.notify_one();
    let key = Arc::downgrade(&stores.cell_key(&values).await.unwrap());
    tokio::time::advance(Duration::from_secs(95)).await;
    stores.cell_key(&values).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    drop(stores);
    tokio::task::yield_now().await;
    assert!(key.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_poisons_nothing() {
    for does in [Does::Panic, Does::PanicAtOnce] {
        let (bad, calls) = Scripted::new("BAD", does);
        let (good, _) = Scripted::new("GOOD", Does::Open);
        let stores = KeyStores::builder().provider(bad).provider(good).build().unwrap();
        for attempt in 1..=2 {
            let Err(CekError::NoneOpened { attempts }) = stores.cell_key(&[value("BAD", 1)]).await
            else {
                panic!("expected a failure");
            };
            assert!(matches!(attempts[0].error, KeyStoreError::Panicked { .. }));
            assert_eq!(calls.load(Ordering::SeqCst), attempt);
            tokio::time::advance(DEFAULT_FAILURE_PAUSE).await;
        }
        assert!(stores.cell_key(&[value("GOOD", 1)]).await.is_ok());
    }
}

#[tokio::test]
async fn during_a_rotation_the_value_that_opens_wins() {
    let (old, old_calls) = Scripted::new("OLD", Does::Fail);
    let (new, new_calls) = Scripted::new("NEW", Does::Open);
    let stores = KeyStores::builder().provider(old).provider(new).build().unwrap();
    let values = [value("OLD", 1), value("NEW", 2)];
    assert!(opens_cells_of(&stores.cell_key(&values).await.unwrap(), 2));
    // The cached value is found before the dead one is tried again.
    stores.cell_key(&values).await.unwrap();
    assert_eq!(old_calls.load(Ordering::SeqCst), 1);
    assert_eq!(new_calls.load(Ordering::SeqCst), 1);
    let statistics = stores.statistics();
    assert_eq!((statistics.hits, statistics.misses, statistics.unwraps), (1, 2, 2));
}

#[tokio::test]
async fn values_are_tried_in_the_servers_order() {
    let (first, _) = Scripted::new("FIRST", Does::Open);
    let (second, calls) = Scripted::new("SECOND", Does::Open);
    let stores = KeyStores::builder().provider(second).provider(first).build().unwrap();
    let key = stores.cell_key(&[value("FIRST", 1), value("SECOND", 2)]).await.unwrap();
    assert!(opens_cells_of(&key, 1));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn when_none_opens_the_error_names_each_and_the_way_out() {
    let (provider, _) = Scripted::new("My_Store", Does::Fail);
    let stores = KeyStores::builder().provider(provider).build().unwrap();
    let error =
        stores.cell_key(&[value("my_store", 1), value("AZURE\nVAULT", 2)]).await.unwrap_err();
    let text = error.to_string();
    for part in ["vault says 403", "path/1", r"AZURE\nVAULT", "path/2", "registered: My_Store"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test]
async fn a_key_without_values_is_an_error() {
    let stores = KeyStores::builder().build().unwrap();
    assert!(matches!(stores.cell_key(&[]).await, Err(CekError::NoValues)));
}

#[tokio::test]
async fn the_case_of_a_providers_name_does_not_count() {
    let (provider, calls) = Scripted::new("MSSQL_Certificate_Store", Does::Open);
    let stores = KeyStores::builder().provider(provider).build().unwrap();
    stores.cell_key(&[value("MSSQL_CERTIFICATE_STORE", 1)]).await.unwrap();
    stores.cell_key(&[value("mssql_certificate_store", 1)]).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1, "two cases, two cache entries");
    assert!(stores.provider("mssql_CERTIFICATE_store").is_some());
}

#[tokio::test]
async fn the_case_of_the_algorithm_does_not_count_and_no_other_reaches_a_provider() {
    let (provider, calls) = Scripted::new("STORE", Does::Open);
    let stores = KeyStores::builder().provider(provider).build().unwrap();
    for spelling in ["RSA_OAEP", "rsa_oaep", "rSA_OAEP", "RsA_OaEp"] {
        let value = EncryptedCekValue { algorithm: spelling.into(), ..value("STORE", 1) };
        stores.cell_key(&[value]).await.unwrap();
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1, "two cases, two cache entries");
    for other in ["RSA_OAEP ", "RSA1_5", "", "R\u{17f}A_OAEP"] {
        let value = EncryptedCekValue { algorithm: other.into(), ..value("STORE", 1) };
        let Err(CekError::NoneOpened { attempts }) = stores.cell_key(&[value]).await else {
            panic!("{other:?} was taken");
        };
        assert!(
            matches!(&attempts[0].error, KeyStoreError::UnsupportedAlgorithm { found } if found == other)
        );
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1, "the provider was asked");
    assert_eq!(stores.statistics().entries, 1);
}

#[tokio::test]
async fn a_key_path_longer_than_sql_server_stores_reaches_no_provider() {
    let (provider, calls) = Scripted::new("STORE", Does::Open);
    let stores = KeyStores::builder().provider(provider).build().unwrap();
    let of = |n| EncryptedCekValue { key_path: "\u{10ffff}".repeat(n), ..value("STORE", 1) };
    stores.cell_key(&[of(2000)]).await.unwrap();
    let Err(CekError::NoneOpened { attempts }) = stores.cell_key(&[of(2001)]).await else {
        panic!("it was taken");
    };
    let error = &attempts[0].error;
    assert!(matches!(error, KeyStoreError::KeyPathTooLong { found: 4002, limit: 4000 }), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let verdict = stores.verify_cmk_metadata("STORE", &of(2001).key_path, true, &[1]).await;
    assert!(matches!(verdict, Err(KeyStoreError::KeyPathTooLong { .. })));
}

#[tokio::test]
async fn two_keys_under_one_master_key_are_two_keys() {
    let (provider, _) = Scripted::new("STORE", Does::Open);
    let stores = KeyStores::builder().provider(provider).build().unwrap();
    let first = value("STORE", 1);
    let second = EncryptedCekValue { envelope: vec![2; 32], ..first.clone() };
    assert!(opens_cells_of(&stores.cell_key(&[first]).await.unwrap(), 1));
    assert!(opens_cells_of(&stores.cell_key(&[second]).await.unwrap(), 2));
}

#[tokio::test]
async fn another_path_does_not_get_the_cached_key() {
    let (provider, calls) = Scripted::new("STORE", Does::Open);
    let stores = KeyStores::builder().provider(provider).build().unwrap();
    let first = value("STORE", 1);
    let second = EncryptedCekValue { key_path: "elsewhere".into(), ..first.clone() };
    stores.cell_key(&[first]).await.unwrap();
    stores.cell_key(&[second]).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn after_a_purge_the_key_is_opened_again() {
    let (provider, calls) = Scripted::new("STORE", Does::Open);
    let stores = KeyStores::builder().provider(provider).build().unwrap();
    stores.cell_key(&[value("STORE", 1)]).await.unwrap();
    stores.purge();
    assert_eq!(stores.statistics().entries, 0);
    stores.cell_key(&[value("STORE", 1)]).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn two_providers_of_one_name_and_one_without_are_refused() {
    let pair = [Scripted::new("STORE", Does::Open).0, Scripted::new("store", Does::Open).0];
    let built = pair.into_iter().fold(KeyStores::builder(), KeyStoresBuilder::provider).build();
    assert_eq!(built.err(), Some(BuildError::DuplicateProvider { name: "store".into() }));
    let built = KeyStores::builder().provider(Scripted::new("", Does::Open).0).build();
    assert_eq!(built.err(), Some(BuildError::NamelessProvider));
}

#[test]
fn debug_shows_the_length_of_an_envelope_and_not_its_bytes() {
    let value = EncryptedCekValue { envelope: vec![0xab; 32], ..value("STORE", 1) };
    let text = format!("{value:?}");
    assert!(text.contains("envelope_len: 32") && !text.contains("171"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_could_not_be_asked_about_is_asked_about_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let store = FnKeyStore::new("STORE").verify_with(move |path, allow, signature| {
        let call = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            match call {
                0 => Err(KeyStoreError::other("down")),
                1 => panic!("scripted panic"),
                2 => std::future::pending().await,
                _ => Ok(path == "k/1" && allow && signature == [1]),
            }
        }
    });
    let stores = KeyStores::builder().provider(store).build().unwrap();
    let ask = |path, allow, signature| {
        let stores = &stores;
        async move { stores.verify_cmk_metadata("store", path, allow, signature).await }
    };
    assert!(ask("k/1", true, &[1]).await.is_err());
    assert!(matches!(ask("k/1", true, &[1]).await, Err(KeyStoreError::Panicked { .. })));
    assert!(matches!(ask("k/1", true, &[1]).await, Err(KeyStoreError::TimedOut { .. })));
    for _ in 0..3 {
        assert!(ask("k/1", true, &[1]).await.unwrap());
    }
    assert_eq!(calls.load(Ordering::SeqCst), 4, "the verdict was not kept");
    // What holds for one question holds for no other.
    assert!(!ask("k/2", true, &[1]).await.unwrap());
    assert!(!ask("k/1", false, &[1]).await.unwrap());
    assert!(!ask("k/1", true, &[2]).await.unwrap());
    assert!(!ask("k/1", true, &[]).await.unwrap());
    assert_eq!(calls.load(Ordering::SeqCst), 7, "an empty signature was asked about");
    let unknown = stores.verify_cmk_metadata("OTHER", "k/1", true, &[1]).await;
    assert!(matches!(unknown, Err(KeyStoreError::UnknownProvider { .. })));
    stores.purge();
    assert!(ask("k/1", true, &[1]).await.unwrap());
    assert_eq!(calls.load(Ordering::SeqCst), 8);
}
