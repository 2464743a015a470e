//! What a test puts between a client and its server, or between a client and its keys, to stop
//! things at a moment of its choice.

use std::sync::{Arc, Mutex};

use always_encrypted::{
    crypto::Cek,
    keystore::{BoxFuture, InMemoryKeyStore, KeyStoreError, KeyStoreProvider},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
};

/// A TCP proxy that holds back the server's messages.
pub struct Gate {
    pub port: u16,
    /// How many of the server's messages may pass, of how many that came.
    allowed: watch::Sender<u64>,
    arrived: watch::Receiver<u64>,
    tampered: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Gate {
    /// An open gate before the server at `port`. It can hold its first connection only.
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (allowed, may_pass) = watch::channel(u64::MAX);
        let (came, arrived) = watch::channel(0);
        let tampered = Arc::<Mutex<Option<Vec<u8>>>>::default();
        let mut held = Some((may_pass, came, tampered.clone()));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                let Some((may_pass, came, tampered)) = held.take() else {
                    tokio::spawn(async move {
                        tokio::io::copy_bidirectional(&mut client, &mut server).await
                    });
                    continue;
                };
                let (mut from_client, to_client) = client.into_split();
                let (from_server, mut to_server) = server.into_split();
                tokio::spawn(
                    async move { tokio::io::copy(&mut from_client, &mut to_server).await },
                );
                tokio::spawn(pass(from_server, to_client, may_pass, came, tampered));
            }
            std::io::Result::Ok(())
        });
        Self { port: own, allowed, arrived, tampered }
    }

    /// Lets so many further messages pass and holds the one after them.
    pub fn hold_after(&self, messages: u64) {
        self.allowed.send_replace(*self.arrived.borrow() + messages);
    }

    pub fn open(&self) {
        self.allowed.send_replace(u64::MAX);
    }

    /// Waits until a message is held.
    pub async fn is_holding(&self) {
        let mut arrived = self.arrived.clone();
        let allowed = *self.allowed.borrow();
        arrived.wait_for(|arrived| *arrived > allowed).await.unwrap();
    }

    /// Flips a bit in these bytes wherever the server sends them.
    pub fn tamper_with(&self, bytes: Vec<u8>) {
        *self.tampered.lock().unwrap() = Some(bytes);
    }
}

/// MS-TDS 2.2.3.1: type, status, length with the header, SPID, packet id, window.
const HEADER: usize = 8;
const END_OF_MESSAGE: u8 = 1;

async fn pass(
    mut server: tcp::OwnedReadHalf,
    mut client: tcp::OwnedWriteHalf,
    mut allowed: watch::Receiver<u64>,
    came: watch::Sender<u64>,
    tampered: Arc<Mutex<Option<Vec<u8>>>>,
) -> std::io::Result<()> {
    let mut begins = true;
    loop {
        let mut packet = vec![0; HEADER];
        server.read_exact(&mut packet).await?;
        let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        packet.resize(length, 0);
        server.read_exact(&mut packet[HEADER..]).await?;
        if begins {
            came.send_modify(|came| *came += 1);
            let number = *came.borrow();
            if allowed.wait_for(|allowed| number <= *allowed).await.is_err() {
                return Ok(());
            }
        }
        begins = packet[1] & END_OF_MESSAGE != 0;
        if let Some(bytes) = tampered.lock().unwrap().as_deref()
            && let Some(at) = memchr::memmem::find(&packet, bytes)
        {
            packet[at + bytes.len() - 1] ^= 1;
        }
        client.write_all(&packet).await?;
    }
}

/// What the key store does when it is asked for a CEK.
#[derive(Clone)]
pub enum Mood {
    Works,
    /// It does not answer until its mood changes.
    Hangs,
    Down,
    /// For this envelope it gives a key that is not the CEK.
    LiesAbout(Vec<u8>),
}

/// A key store with moods.
pub struct MoodyStore {
    inner: InMemoryKeyStore,
    mood: watch::Receiver<Mood>,
    asked: watch::Sender<u64>,
}

/// Sets the mood, and knows how often the store has been asked.
pub struct Moods {
    mood: watch::Sender<Mood>,
    asked: watch::Receiver<u64>,
}

impl MoodyStore {
    pub fn new(inner: InMemoryKeyStore) -> (Self, Moods) {
        let (mood, is) = watch::channel(Mood::Works);
        let (asked, was_asked) = watch::channel(0);
        (Self { inner, mood: is, asked }, Moods { mood, asked: was_asked })
    }
}

impl Moods {
    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Waits until the store is asked for the n-th time.
    pub async fn is_asked(&self, times: u64) {
        self.asked.clone().wait_for(|asked| *asked >= times).await.unwrap();
    }
}

impl KeyStoreProvider for MoodyStore {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn unwrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<Cek, KeyStoreError>> {
        self.asked.send_modify(|asked| *asked += 1);
        Box::pin(async move {
            let mut mood = self.mood.clone();
            let settled = mood.wait_for(|mood| !matches!(mood, Mood::Hangs)).await.unwrap().clone();
            match settled {
                Mood::Down => Err(KeyStoreError::Unavailable {
                    provider: self.name().to_owned(),
                    message: "the vault is sealed".to_owned(),
                }),
                Mood::LiesAbout(about) if about == envelope => Ok(Cek::from([9; 32])),
                _ => self.inner.unwrap_cek(key_path, algorithm, envelope).await,
            }
        })
    }

    fn wrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        cek: &'a Cek,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        self.inner.wrap_cek(key_path, algorithm, cek)
    }

    fn sign_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        self.inner.sign_cmk_metadata(key_path, allow_enclave_computations)
    }

    fn verify_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
        signature: &'a [u8],
    ) -> BoxFuture<'a, Result<bool, KeyStoreError>> {
        self.inner.verify_cmk_metadata(key_path, allow_enclave_computations, signature)
    }
}
