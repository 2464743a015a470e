//! A key store of your own, made of two closures: here an agent in this process that keeps a master key
//! and logs who asks for what.
//!
//! ```text
//! cargo run --example custom_key_store
//! ```

mod support;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
};

use always_encrypted::{
    crypto::{Cek, CmkPrivateKey, Envelope},
    keystore::{FnKeyStore, KeyStoreError},
};
use support::{Database, Result, conclude};

const SECRET: &str = "meet at the northern harbour at dawn";
const KEY_PATH: &str = "agent/messages";

#[tokio::main]
async fn main() -> ExitCode {
    conclude(run().await)
}

/// What would be another process, a vault or a card.
struct Agent {
    master_key: CmkPrivateKey,
    log: Mutex<Vec<String>>,
}

impl Agent {
    fn unwrap(&self, path: &str, envelope: &[u8]) -> std::result::Result<Cek, KeyStoreError> {
        self.note(format!("open a key with {path:?}"));
        self.check(path)?;
        // Checks the envelope's lengths and signature before the private key touches it.
        Ok(Envelope::parse(envelope)?.unwrap_with(&self.master_key)?)
    }

    fn wrap(&self, path: &str, cek: &Cek) -> std::result::Result<Vec<u8>, KeyStoreError> {
        self.note(format!("wrap a key with {path:?}"));
        self.check(path)?;
        Ok(Envelope::wrap(cek, path, &self.master_key)?)
    }

    /// The server names the path, so it may be anything.
    fn check(&self, path: &str) -> std::result::Result<(), KeyStoreError> {
        if path == KEY_PATH {
            return Ok(());
        }
        Err(KeyStoreError::InvalidKeyPath {
            key_path: path.into(),
            reason: format!("the agent has one key, {KEY_PATH:?}"),
        })
    }

    fn note(&self, line: String) {
        if let Ok(mut log) = self.log.lock() {
            log.push(line);
        }
    }
}

async fn run() -> Result<String> {
    println!("1. An agent with a master key, and a key store that asks it.");
    let agent =
        Arc::new(Agent { master_key: CmkPrivateKey::generate(2048)?, log: Mutex::default() });
    let (opens, wraps) = (agent.clone(), agent.clone());
    let store = FnKeyStore::new("KEY_AGENT")
        .unwrap_with(move |path, envelope| {
            let agent = opens.clone();
            // RSA takes milliseconds: not on the executor's threads.
            async move {
                let work = tokio::task::spawn_blocking(move || agent.unwrap(&path, &envelope));
                work.await.map_err(KeyStoreError::other)?
            }
        })
        .wrap_with(move |path, cek| {
            let agent = wraps.clone();
            async move {
                let work = tokio::task::spawn_blocking(move || agent.wrap(&path, &cek));
                work.await.map_err(KeyStoreError::other)?
            }
        });

    println!("2. A database whose column master key names it:");
    let mut database = Database::start_with(store, KEY_PATH).await?;
    database.write_and_read(&[SECRET; 3]).await?;

    println!("3. What the agent was asked:");
    let log = agent.log.lock().map_err(|_| "the agent's log is broken")?.clone();
    for line in &log {
        println!("   {line}");
    }
    let opened = log.iter().filter(|line| line.starts_with("open")).count();
    if opened != 1 {
        return Err(format!("the key was opened {opened} times, not once").into());
    }
    Ok("3 rows under a key that the agent opened once".to_owned())
}
