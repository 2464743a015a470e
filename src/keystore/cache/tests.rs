use std::{pin::pin, sync::Weak};

use futures_util::{FutureExt, future::join_all};
use tokio::runtime::Handle;

use super::*;

fn cache_of(ttl: Duration, capacity: usize) -> CekCache {
    let call_time_limit = Duration::from_secs(60);
    CekCache::new(Measures {
        ttl,
        capacity,
        failure_pause: Duration::from_secs(1),
        call_time_limit,
    })
}

fn key(n: u8) -> CacheKey {
    Arc::new(EncryptedCekValue {
        envelope: vec![n],
        provider_name: "store".into(),
        key_path: "path".into(),
        algorithm: "RSA_OAEP".into(),
    })
}

async fn open(cache: &CekCache, n: u8) -> Arc<CellKey> {
    cache.get_or_open(&key(n), || async move { Ok(Cek::from([n; 32])) }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_used_all_the_time_still_expires() {
    let cache = cache_of(Duration::from_secs(100), 10);
    let opened = open(&cache, 1).await;
    for _ in 0..9 {
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(cache.get(&key(1)).is_some());
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(cache.get(&key(1)).is_none());
    assert_eq!(Arc::strong_count(&opened), 1, "the cache kept an expired key");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_nobody_comes_back_for_is_wiped_when_its_time_is_up() {
    let cache = cache_of(Duration::from_secs(100), 10);
    let opened = Arc::downgrade(&open(&cache, 1).await);
    // The timer begins when its task does.
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_secs(99)).await;
    assert!(opened.upgrade().is_some());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(opened.upgrade().is_none(), "nobody looked, and the key is still there");
}

#[tokio::test(start_paused = true)]
async fn another_keys_insertion_drops_the_expired_ones() {
    let cache = cache_of(Duration::from_secs(100), 10);
    let opened = open(&cache, 1).await;
    tokio::time::advance(Duration::from_secs(100)).await;
    open(&cache, 2).await;
    assert_eq!(Arc::strong_count(&opened), 1);
    assert_eq!(cache.statistics().entries, 1);
}

#[tokio::test]
async fn a_full_cache_lets_the_oldest_go() {
    let cache = cache_of(Duration::MAX, 2);
    for n in 1..=3 {
        open(&cache, n).await;
    }
    assert!(cache.get(&key(1)).is_none());
    assert!(cache.get(&key(2)).is_some() && cache.get(&key(3)).is_some());
}

#[tokio::test]
async fn with_no_time_to_live_nothing_stays() {
    for cache in [cache_of(Duration::ZERO, 10), cache_of(Duration::MAX, 0)] {
        let opened = open(&cache, 1).await;
        assert_eq!(Arc::strong_count(&opened), 1);
        open(&cache, 1).await;
        assert_eq!(cache.statistics().unwraps, 2);
    }
}

#[tokio::test]
async fn a_purge_keeps_a_call_in_flight_from_filling_the_cache_again() {
    let cache = cache_of(Duration::MAX, 10);
    let key = key(1);
    let opened = cache
        .get_or_open(&key, || async {
            cache.purge();
            Ok(Cek::from([1; 32]))
        })
        .await
        .unwrap();
    assert_eq!(Arc::strong_count(&opened), 1);
    assert!(cache.get(&key).is_none());
}

#[tokio::test]
async fn cancelled_callers_leave_no_flight_behind() {
    let cache = cache_of(Duration::MAX, 10);
    for _ in 0..3 {
        let key = key(1);
        let never = cache.get_or_open(&key, std::future::pending);
        let also_never = cache.get_or_open(&key, std::future::pending);
        let both = async { tokio::join!(never, also_never) };
        assert!(tokio::time::timeout(Duration::from_millis(1), both).await.is_err());
        assert!(cache.state().flights.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_not_polled_any_more_holds_up_the_others_no_longer_than_a_call_may_take() {
    let cache = cache_of(Duration::from_secs(100), 10);
    let (begun, key) = (Instant::now(), key(1));
    let mut parked = pin!(cache.get_or_open(&key, std::future::pending));
    assert!(parked.as_mut().now_or_never().is_none());
    tokio::time::advance(Duration::from_secs(50)).await;
    let others = join_all((0..10).map(|_| open(&cache, 1)));
    let others = tokio::time::timeout(Duration::from_secs(3600), others).await.expect("they hang");
    assert!(others.iter().all(|other| Arc::ptr_eq(other, &others[0])), "more than one has called");
    assert_eq!(begun.elapsed(), Duration::from_secs(61));
    assert!(cache.get(&key).is_some() && cache.state().flights.is_empty());
    assert_eq!(cache.statistics().unwraps, 2);
}

#[tokio::test(start_paused = true)]
async fn who_resumes_after_another_has_called_in_its_place_keeps_nothing() {
    let cache = cache_of(Duration::from_secs(100), 10);
    let key = key(1);
    let slow = || async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(Cek::from([2; 32]))
    };
    let mut parked = pin!(cache.get_or_open(&key, slow));
    assert!(parked.as_mut().now_or_never().is_none());
    let other = tokio::time::timeout(Duration::from_secs(3600), open(&cache, 1)).await.unwrap();
    assert!(!Arc::ptr_eq(&other, &parked.await.unwrap()));
    assert!(Arc::ptr_eq(&other, &cache.get(&key).unwrap().key));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_not_polled_any_more_keeps_the_outcome_from_nobody() {
    let cache = cache_of(Duration::from_secs(100), 10);
    let (begun, key) = (Instant::now(), key(1));
    let slow = || async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(Cek::from([1; 32]))
    };
    let mut caller = pin!(cache.get_or_open(&key, slow));
    assert!(caller.as_mut().now_or_never().is_none());
    let mut parked = pin!(open(&cache, 1));
    assert!(parked.as_mut().now_or_never().is_none());
    let (called, other) = tokio::join!(caller, open(&cache, 1));
    assert!(Arc::ptr_eq(&called.unwrap(), &other));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_from_a_cancelled_caller_has_the_whole_time() {
    let cache = cache_of(Duration::from_secs(100), 10);
    let key = key(1);
    let cancelled = tokio::time::timeout(
        Duration::from_secs(40),
        cache.get_or_open(&key, std::future::pending),
    );
    let slow = || async {
        tokio::time::sleep(Duration::from_secs(50)).await;
        Ok(Cek::from([1; 32]))
    };
    let (next, last) = (cache.get_or_open(&key, slow), cache.get_or_open(&key, slow));
    let (cancelled, next, last) = tokio::join!(cancelled, next, last);
    assert!(cancelled.is_err() && Arc::ptr_eq(&next.unwrap(), &last.unwrap()));
    assert_eq!(cache.statistics().unwraps, 2, "a third call");
}

#[tokio::test(start_paused = true)]
async fn one_task_wipes_for_all_keys_and_ends_with_them() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let cache = cache_of(Duration::from_secs(100), 10);
    let mut last = Weak::new();
    for n in 0..=255 {
        last = Arc::downgrade(&open(&cache, n).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(tasks(), 1, "after {n}");
    }
    // Those of different ages go at their own time.
    tokio::time::sleep(Duration::from_millis(99_985)).await;
    assert!(last.upgrade().is_some());
    assert_eq!(cache.state().entries.len(), 1);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(last.upgrade().is_none(), "nobody looked, and the key is still there");
    assert_eq!((tasks(), cache.state().timer.is_some()), (0, false));
    // And begins anew, until a purge or the end of the cache.
    open(&cache, 1).await;
    cache.purge();
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 0, "a timer outlives what it is for");
    open(&cache, 1).await;
    assert_eq!(tasks(), 1);
    drop(cache);
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 0, "a timer outlives what it is for");
}

#[test]
fn a_runtime_that_is_gone_takes_no_timer_with_it() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let cache = cache_of(Duration::from_secs(100), 10);
    let (gone, idle) = (runtime(), runtime());
    gone.block_on(open(&cache, 1));
    drop(gone);
    idle.block_on(open(&cache, 2));
    runtime().block_on(async {
        let opened = Arc::downgrade(&open(&cache, 3).await);
        tokio::time::sleep(Duration::from_secs(101)).await;
        assert!(opened.upgrade().is_none(), "nobody has wiped it");
    });
}

async fn fail(cache: &CekCache, n: u8) -> KeyStoreError {
    let down = || async { Err(KeyStoreError::other("down")) };
    cache.get_or_open(&key(n), down).await.expect_err("a failure")
}

#[tokio::test(start_paused = true)]
async fn in_the_last_tenth_of_its_time_a_key_is_to_be_renewed_by_one_of_its_users() {
    let cache = cache_of(Duration::from_secs(100), 10);
    let old = open(&cache, 1).await;
    tokio::time::advance(Duration::from_secs(89)).await;
    assert!(!cache.get(&key(1)).unwrap().refresh);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(cache.get(&key(1)).unwrap().refresh);
    assert!(!cache.get(&key(1)).unwrap().refresh, "two are to renew it");
    cache.refresh(&key(1), || async { Ok(Cek::from([1; 32])) }).await;
    let new = cache.get(&key(1)).unwrap();
    assert!(!new.refresh && !Arc::ptr_eq(&old, &new.key));
    assert_eq!(Arc::strong_count(&old), 1, "the old key is still in the cache");
    tokio::time::advance(Duration::from_secs(99)).await;
    assert!(cache.get(&key(1)).is_some(), "its time did not begin anew");
    assert_eq!(cache.state().order.len(), 1);
    let statistics = cache.statistics();
    assert_eq!((statistics.refreshes, statistics.unwraps, statistics.misses), (1, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_leaves_the_old_key_until_its_time_is_up() {
    let cache = cache_of(Duration::from_secs(100), 10);
    open(&cache, 1).await;
    tokio::time::advance(Duration::from_secs(95)).await;
    assert!(cache.get(&key(1)).unwrap().refresh);
    cache.refresh(&key(1), || async { Err(KeyStoreError::other("down")) }).await;
    assert!(!cache.get(&key(1)).unwrap().refresh, "without a pause");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(cache.get(&key(1)).unwrap().refresh, "it is not tried again");
    tokio::time::advance(Duration::from_secs(4)).await;
    assert!(cache.get(&key(1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn who_comes_when_the_old_key_has_gone_waits_for_the_renewal() {
    let cache = cache_of(Duration::from_secs(100), 10);
    open(&cache, 1).await;
    tokio::time::advance(Duration::from_secs(99)).await;
    let key = key(1);
    let renewal = cache.refresh(&key, || async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok(Cek::from([1; 32]))
    });
    let late = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(cache.get(&key).is_none());
        cache.get_or_open(&key, || async { panic!("a second call") }).await.unwrap();
    };
    tokio::join!(renewal, late);
    assert_eq!(cache.statistics().unwraps, 2);
}

#[tokio::test]
async fn a_purge_keeps_a_renewal_from_filling_the_cache_again() {
    let cache = cache_of(Duration::MAX, 10);
    open(&cache, 1).await;
    let renewal = || async {
        cache.purge();
        Ok(Cek::from([1; 32]))
    };
    cache.refresh(&key(1), renewal).await;
    assert!(cache.get(&key(1)).is_none());
    assert_eq!(cache.statistics().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_holds_for_its_pause_only_and_for_its_own_value_only() {
    let cache = cache_of(Duration::from_secs(100), 10);
    fail(&cache, 1).await;
    open(&cache, 2).await;
    tokio::time::advance(Duration::from_millis(999)).await;
    let held_back = cache
        .get_or_open(&key(1), || async { panic!("asked in the pause") })
        .await
        .expect_err("the failure");
    assert_eq!(held_back.to_string(), "down");
    tokio::time::advance(Duration::from_millis(1)).await;
    open(&cache, 1).await;
    let statistics = cache.statistics();
    assert_eq!((statistics.failures, statistics.held_back, statistics.unwraps), (1, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_nobody_comes_back_for_is_forgotten_when_its_pause_is_over() {
    let cache = cache_of(Duration::from_secs(100), 10);
    // The timer of a key that stays longer is no reason to keep it.
    let opened = open(&cache, 1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let KeyStoreError::Other(down) = fail(&cache, 2).await else { panic!("another error") };
    tokio::time::sleep(Duration::from_millis(990)).await;
    assert_eq!(Arc::strong_count(&down), 2);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(Arc::strong_count(&down), 1, "the failure is still there");
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(Arc::strong_count(&opened), 1, "the key is still there");
}

#[tokio::test(start_paused = true)]
async fn a_purge_forgets_failures_too() {
    let cache = cache_of(Duration::from_secs(100), 10);
    fail(&cache, 1).await;
    cache.purge();
    open(&cache, 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_time_that_calls_take_is_added_up() {
    let cache = cache_of(Duration::from_secs(100), 10);
    for n in [1, 3] {
        let slow = || async move {
            tokio::time::sleep(Duration::from_secs(n)).await;
            Ok(Cek::from([1; 32]))
        };
        cache.get_or_open(&key(n as u8), slow).await.unwrap();
    }
    let statistics = cache.statistics();
    assert_eq!(statistics.unwrap_time_total, Duration::from_secs(4));
    assert_eq!(statistics.unwrap_time_max, Duration::from_secs(3));
}
