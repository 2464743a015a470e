//! The events of the CEK cache: each is there, and none shows a key. With the feature `tracing` only.
#![cfg(feature = "tracing")]

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use always_encrypted::{
    crypto::Cek,
    keystore::{EncryptedCekValue, FnKeyStore, KeyStoreError, KeyStores, RSA_OAEP},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

const CEK: [u8; 32] = *b"\xf0\xf1\xf2\xf3thirty-two bytes of a key..\xff";

/// Keeps every event as text.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<(Level, String)>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("always_encrypted")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push((*event.metadata().level(), text.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn value(path: &str) -> EncryptedCekValue {
    EncryptedCekValue {
        envelope: b"\xe0\xe1\xe2 an envelope \xe3".to_vec(),
        provider_name: "VAULT".into(),
        key_path: path.into(),
        algorithm: RSA_OAEP.into(),
    }
}

#[tokio::test(start_paused = true)]
async fn each_event_is_told_and_none_shows_a_key_or_lets_the_server_forge_a_line() {
    let recorder = Recorder::default();
    let _guard = tracing::subscriber::set_default(recorder.clone());
    let store = FnKeyStore::new("VAULT").unwrap_with(|path, _envelope| async move {
        tokio::time::sleep(Duration::from_millis(3)).await;
        match path.as_str() {
            "good" => Ok(Cek::from(CEK)),
            _ => Err(KeyStoreError::other("403\nINFO all is well")),
        }
    });
    let stores =
        KeyStores::builder().provider(store).cek_cache_ttl(Duration::from_secs(100)).build();
    let stores = stores.unwrap();
    stores.cell_key(&[value("good")]).await.unwrap();
    stores.cell_key(&[value("good")]).await.unwrap();
    tokio::time::advance(Duration::from_secs(95)).await;
    stores.cell_key(&[value("good")]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    stores.cell_key(&[value("bad\nINFO all is well")]).await.unwrap_err();
    stores.purge();

    let events = recorder.0.lock().unwrap();
    for (level, parts) in [
        (Level::DEBUG, ["column encryption key not in the cache", "good"]),
        (Level::DEBUG, ["column encryption key unwrapped", "took=3ms"]),
        (Level::TRACE, ["column encryption key found in the cache", "vault"]),
        (Level::DEBUG, ["column encryption key renewed ahead of its expiry", "good"]),
        (Level::WARN, ["column encryption key not unwrapped", "403"]),
        (Level::DEBUG, ["column encryption keys purged from the cache", "entries=1"]),
    ] {
        let told = |(l, text): &(Level, String)| {
            *l == level && parts.iter().all(|part| text.contains(part))
        };
        assert!(events.iter().any(told), "no {level} event {parts:?} in {events:#?}");
    }
    let all = events.iter().map(|(_, text)| text.as_str()).collect::<String>();
    assert!(!all.contains('\n'), "{all}");
    assert!(all.contains(r"403\nINFO") && all.contains(r"bad\nINFO"), "{all}");
    for secret in shown(&CEK).iter().chain(&shown(&value("good").envelope)) {
        assert!(!all.contains(secret), "{secret:?} is in {all}");
    }
}

/// Bytes as a log may show them.
fn shown(bytes: &[u8]) -> [String; 4] {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bytes:?}");
    let inner = list[1..list.len() - 1].to_owned();
    let text = String::from_utf8_lossy(&bytes[4..bytes.len() - 1]).into_owned();
    [hex.to_uppercase(), hex, inner, text]
}
