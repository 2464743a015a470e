//! Many that ask for a key at once: one request, whatever becomes of who makes it.

use super::*;

/// The next request for a key is answered after seven seconds, by this or the truth.
fn answer_late(fake: &Fake, reply: Option<(u16, &'static str)>) {
    let mut first = true;
    fake.fail(move |_| {
        if std::mem::take(&mut first) {
            return Some(Reply::Answer(429, vec![("retry-after", "7")], String::new()));
        }
        reply.map(|(status, body)| Reply::Answer(status, Vec::new(), body.into()))
    });
}

/// How many of a thousand that ask at once are told that the signature holds, and the others' errors.
async fn thousand(store: &AzureKeyVault, signature: &[u8]) -> (usize, Vec<KeyStoreError>) {
    let path = versioned();
    let asking = (0..1000).map(|_| store.verify_cmk_metadata(&path, true, signature));
    let (mut held, mut errors) = (0, Vec::new());
    for outcome in futures_util::future::join_all(asking).await {
        match outcome {
            Ok(holds) => held += usize::from(holds),
            Err(error) => errors.push(error),
        }
    }
    (held, errors)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_that_ask_for_a_key_at_once_make_one_request() {
    let fake = Fake::new();
    let signature = fake.store().sign_cmk_metadata(&versioned(), true).await.unwrap();
    for ttl in [DEFAULT_VAULT_KEY_TTL, Duration::ZERO] {
        let store = fake.builder().key_ttl(ttl).build().unwrap();
        let gets = fake.counts().0;
        answer_late(&fake, None);
        let (held, errors) = thousand(&store, &signature).await;
        assert!(held == 1000 && errors.is_empty(), "{held}, {errors:?}");
        // One that is told to come later, and comes.
        assert_eq!(fake.counts().0, gets + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_goes_to_those_who_wait_for_it_and_to_nobody_after() {
    let fake = Fake::new();
    let store = fake.store();
    let signature = fake.store().sign_cmk_metadata(&versioned(), true).await.unwrap();
    let gets = fake.counts().0;
    answer_late(&fake, Some((403, "{}")));
    let (_, errors) = thousand(&store, &signature).await;
    assert_eq!((errors.len(), fake.counts().0), (1000, gets + 2));
    for error in errors {
        assert!(matches!(problem(error), AzureKeyVaultProblem::Forbidden { .. }));
    }
    assert!(store.verify_cmk_metadata(&versioned(), true, &signature).await.is_err());
    assert_eq!(fake.counts().0, gets + 3);
    fake.heal();
    assert!(store.verify_cmk_metadata(&versioned(), true, &signature).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_one_has_no_time_for_is_no_failure_of_those_who_have() {
    let fake = Fake::new();
    let store = fake.store();
    let signature = fake.store().sign_cmk_metadata(&versioned(), true).await.unwrap();
    let gets = fake.counts().0;
    // The second pause ends after 21 of the 20 seconds that those have who came first.
    let mut pauses = ["6", "15"].into_iter();
    fake.fail(move |_| {
        let pause = pauses.next()?;
        Some(Reply::Answer(429, vec![("retry-after", pause)], String::new()))
    });
    let path = versioned();
    let late = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        store.verify_cmk_metadata(&path, true, &signature).await
    };
    let ((held, errors), late) =
        futures_util::future::join(thousand(&store, &signature), late).await;
    assert!(late.unwrap());
    assert_eq!((held, errors.len()), (0, 1000));
    for error in errors {
        assert!(error.to_string().contains("429, retry after 15s"), "{error}");
    }
    // Of those who came first one asked, twice, and of those who have time left one, once.
    assert_eq!(fake.counts().0, gets + 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_not_shared_with_another_credential() {
    let fake = Fake::new();
    let (one, other) = (fake.store(), fake.store());
    let signature = one.sign_cmk_metadata(&versioned(), true).await.unwrap();
    let strangers = fake.store();
    let (gets, tokens) = (fake.counts().0, fake.tokens.load(Ordering::Relaxed));
    answer_late(&fake, None);
    let path = versioned();
    let (first, second) = futures_util::future::join(
        other.verify_cmk_metadata(&path, true, &signature),
        strangers.verify_cmk_metadata(&path, true, &signature),
    )
    .await;
    assert!(first.unwrap() && second.unwrap());
    // Of each its own, and one that is told to come later.
    assert_eq!(fake.counts().0, gets + 3);
    assert_eq!(fake.tokens.load(Ordering::Relaxed), tokens + 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_makes_the_request_may_give_up_or_be_set_aside() {
    let fake = Fake::new();
    let signature = fake.store().sign_cmk_metadata(&versioned(), true).await.unwrap();
    let path = versioned();
    for gives_up in [true, false] {
        let store = fake.store();
        answer_late(&fake, None);
        let mut first = store.verify_cmk_metadata(&path, true, &signature);
        assert!(futures_util::poll!(&mut first).is_pending());
        let gets = fake.counts().0;
        let first = (!gives_up).then_some(first);
        let (held, errors) = thousand(&store, &signature).await;
        assert!(held == 1000 && errors.is_empty(), "{held}, {errors:?}");
        assert_eq!(fake.counts().0, gets + 1);
        if let Some(first) = first {
            assert!(first.await.unwrap());
        }
    }
}
