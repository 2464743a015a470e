//! One client: PRELOGIN, TLS, LOGIN7, then requests one after the other. SQL runs on a thread of the session's own;
//! this side moves bytes, and listens for an attention while an answer is on its way.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::catalogue::DATABASE_NAME;
use crate::error::SqlError;
use crate::exec::session::Connected;
use crate::server::{Encryption, Recorder, Shared};
use crate::tds::cursor::Malformed;
use crate::tds::login::{
    self, ENCRYPT_NOT_SUP, ENCRYPT_OFF, ENCRYPT_ON, ENCRYPT_REQ, FEATURE_COLUMNENCRYPTION,
    FEATURE_UTF8_SUPPORT, Login, SERVER_VERSION,
};
use crate::tds::packet::{
    ATTENTION, DEFAULT_PACKET_SIZE, LOGIN7, MAX_MESSAGE, Message, MessageReader, PRELOGIN,
    PacketWriter,
};
use crate::tds::token::{self, DONE_ATTN, DONE_ERROR, TOKEN_DONE};
use crate::tls::Handshake;
use crate::types::Collation;
use crate::worker::{Job, Worker};

/// TDS versions as LOGINACK says them.
const TDS_7_4: u32 = 0x7400_0004;
const TDS_8_0: u32 = 0x0800_0000;
const COLUMNENCRYPTION_VERSION: u8 = 1;

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl From<Malformed> for io::Error {
    fn from(error: Malformed) -> Self {
        invalid(error)
    }
}

/// Whoever has not logged in by then is no client.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves a client until it leaves.
pub(crate) async fn serve(shared: Arc<Shared>, tcp: TcpStream, spid: u16) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let opened = tokio::time::timeout(LOGIN_TIMEOUT, open(&shared, tcp, spid));
    match opened.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        Some(mut client) => client.run().await,
        None => Ok(()),
    }
}

/// PRELOGIN to LOGIN7's answer. None if the client left or was turned away.
async fn open(shared: &Arc<Shared>, tcp: TcpStream, spid: u16) -> io::Result<Option<Client>> {
    let strict = shared.encryption == Encryption::Strict;
    let mut reader = MessageReader::new();
    let mut io: Box<dyn Io> =
        if strict { Box::new(shared.tls.strict.accept(tcp).await?) } else { Box::new(tcp) };
    let Some(first) = reader.next(&mut io).await? else {
        return Ok(None);
    };
    if first.kind != PRELOGIN {
        return Err(invalid("the first message is not PRELOGIN"));
    }
    shared.recorder.client_sent(&first.payload);
    let prelogin = login::read_prelogin(&first.payload)?;
    let answer = shared.encryption.answer(prelogin.encryption);
    let payload = login::write_prelogin(prelogin, answer);
    send_whole(&mut io, &shared.recorder, spid, DEFAULT_PACKET_SIZE, &payload).await?;
    if answer == ENCRYPT_REQ && prelogin.encryption == ENCRYPT_NOT_SUP {
        return Ok(None);
    }
    if !reader.is_drained() {
        return Err(invalid("bytes between PRELOGIN and its answer"));
    }
    let tls = !strict && answer != ENCRYPT_NOT_SUP && prelogin.encryption != ENCRYPT_NOT_SUP;
    let for_login_only = answer == ENCRYPT_OFF && prelogin.encryption == ENCRYPT_OFF;
    let message;
    (io, message) = if tls {
        let mut stream = shared.tls.wrapped.accept(Handshake::new(io)).await?;
        stream.get_mut().0.handshake_is_over();
        let message = reader.next(&mut stream).await?;
        if for_login_only {
            // Nothing but LOGIN7 comes before its answer, so no record is lost with the TLS state.
            (stream.into_inner().0.into_inner(), message)
        } else {
            (Box::new(stream) as Box<dyn Io>, message)
        }
    } else {
        let message = reader.next(&mut io).await?;
        (io, message)
    };
    let Some(message) = message else {
        return Ok(None);
    };
    if message.kind != LOGIN7 {
        return Err(invalid("LOGIN7 was expected"));
    }
    shared.recorder.client_sent(&message.payload);
    let login = login::read_login(&message.payload)?;
    accept_login(shared, io, reader, login, spid).await
}

async fn send_whole(
    io: &mut (impl AsyncWrite + Unpin),
    recorder: &Recorder,
    spid: u16,
    packet_size: usize,
    payload: &[u8],
) -> io::Result<()> {
    recorder.client_gets(payload);
    let mut writer = PacketWriter::new(packet_size, spid);
    let mut out = Vec::new();
    writer.write(payload, &mut out);
    writer.finish(&mut out);
    io.write_all(&out).await?;
    io.flush().await
}

/// Who has logged in: the login's name, and whether it is the administrator's. Or why nobody has.
fn authenticate(shared: &Shared, login: &Login) -> Result<(String, bool), Vec<SqlError>> {
    let failed =
        || SqlError::new(18456, format!("Login failed for user '{}'.", login.user)).class(14);
    if login.integrated {
        return Err(vec![
            SqlError::new(
                18452,
                "Login failed. The sandbox does not support integrated authentication.",
            )
            .class(14),
        ]);
    }
    let administrator = login.user.eq_ignore_ascii_case(&shared.user);
    let known = if administrator {
        (login.password == shared.password).then(|| shared.user.clone())
    } else {
        shared
            .database
            .authenticate(&login.user, &login.password)
            .map_err(|error| vec![error, failed()])?
    };
    let name = known.ok_or_else(|| vec![failed()])?;
    let elsewhere =
        !login.database.is_empty() && !login.database.eq_ignore_ascii_case(DATABASE_NAME);
    let may_connect = administrator
        || shared.database.may_connect(&name).map_err(|error| vec![error, failed()])?;
    if elsewhere || !may_connect {
        let closed = if login.database.is_empty() {
            SqlError::new(4064, "Cannot open user default database. Login failed.")
        } else {
            SqlError::new(
                4060,
                format!(
                    "Cannot open database \"{}\" requested by the login. The login failed.",
                    login.database
                ),
            )
        };
        return Err(vec![closed.class(11), failed()]);
    }
    Ok((name, administrator))
}

async fn accept_login(
    shared: &Arc<Shared>,
    mut io: Box<dyn Io>,
    mut reader: MessageReader,
    login: Login,
    spid: u16,
) -> io::Result<Option<Client>> {
    // Passwords are slow to check on purpose.
    let (asking, login) = (Arc::clone(shared), Arc::new(login));
    let asked = Arc::clone(&login);
    let checked = tokio::task::spawn_blocking(move || authenticate(&asking, &asked)).await;
    let (user, administrator) = match checked.map_err(io::Error::other)? {
        Ok(authenticated) => authenticated,
        Err(errors) => {
            let mut payload = Vec::new();
            for error in &errors {
                token::error(&mut payload, error);
            }
            token::done(&mut payload, TOKEN_DONE, DONE_ERROR, 0, None);
            send_whole(&mut io, &shared.recorder, spid, DEFAULT_PACKET_SIZE, &payload).await?;
            return Ok(None);
        }
    };
    let packet_size = match login.packet_size {
        0 => DEFAULT_PACKET_SIZE,
        wanted => usize::try_from(wanted).unwrap_or(DEFAULT_PACKET_SIZE).clamp(512, 32767),
    };
    let requested = |id: u8| login.features.iter().any(|(known, _)| *known == id);
    let versioned = login.features.iter().any(|(id, data)| {
        *id == FEATURE_COLUMNENCRYPTION
            && data.first().is_some_and(|version| *version >= COLUMNENCRYPTION_VERSION)
    });
    let column_encryption = shared.always_encrypted && versioned;
    let mut features = Vec::new();
    if column_encryption {
        features.push((FEATURE_COLUMNENCRYPTION, vec![COLUMNENCRYPTION_VERSION]));
    }
    if requested(FEATURE_UTF8_SUPPORT) {
        features.push((FEATURE_UTF8_SUPPORT, vec![1]));
    }
    let ack = (!login.features.is_empty()).then_some(features.as_slice());
    let payload = login_answer(packet_size, login.tds_version, ack);
    let worker = Worker::spawn(shared, spid, Connected { column_encryption, user, administrator })?;
    send_whole(&mut io, &shared.recorder, spid, DEFAULT_PACKET_SIZE, &payload).await?;
    reader.set_limit(MAX_MESSAGE);
    let (read_half, write_half) = tokio::io::split(io);
    Ok(Some(Client {
        shared: Arc::clone(shared),
        read_half,
        write_half,
        reader,
        writer: PacketWriter::new(packet_size, spid),
        worker,
        waiting: None,
    }))
}

fn login_answer(
    packet_size: usize,
    client_version: u32,
    features: Option<&[(u8, Vec<u8>)]>,
) -> Vec<u8> {
    let mut out = Vec::new();
    token::env_text(&mut out, token::ENV_DATABASE, DATABASE_NAME, "master");
    token::info(&mut out, 5701, &format!("Changed database context to '{DATABASE_NAME}'."));
    token::env_bytes(&mut out, token::ENV_SQL_COLLATION, &Collation::default().wire(), &[]);
    token::env_text(&mut out, token::ENV_LANGUAGE, "us_english", "");
    token::info(&mut out, 5703, "Changed language setting to us_english.");
    // Inside strict TLS some clients still say 7.4, and expect to hear it.
    let version = if client_version == TDS_8_0 { TDS_8_0 } else { TDS_7_4 };
    token::login_ack(&mut out, version, SERVER_VERSION);
    let size = packet_size.to_string();
    token::env_text(&mut out, token::ENV_PACKET_SIZE, &size, &DEFAULT_PACKET_SIZE.to_string());
    if let Some(features) = features {
        token::feature_ext_ack(&mut out, features);
    }
    token::done(&mut out, TOKEN_DONE, 0, 0, None);
    out
}

/// A client that has logged in.
struct Client {
    shared: Arc<Shared>,
    read_half: ReadHalf<Box<dyn Io>>,
    write_half: WriteHalf<Box<dyn Io>>,
    reader: MessageReader,
    writer: PacketWriter,
    worker: Worker,
    /// A request that came while another one was being answered.
    waiting: Option<Message>,
}

/// How an answer ended.
#[derive(PartialEq)]
enum Answered {
    Whole,
    Attention,
    ClientLeft,
}

impl Client {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let message = match self.waiting.take() {
                Some(message) => message,
                None => match self.reader.next(&mut self.read_half).await? {
                    Some(message) => message,
                    None => return Ok(()),
                },
            };
            self.shared.recorder.client_sent(&message.payload);
            if message.kind == ATTENTION {
                // It came after the answer was whole.
                self.acknowledge_attention().await?;
                continue;
            }
            match self.answer(message).await? {
                Answered::Whole => {}
                Answered::Attention => self.acknowledge_attention().await?,
                Answered::ClientLeft => return Ok(()),
            }
        }
    }

    async fn acknowledge_attention(&mut self) -> io::Result<()> {
        let mut payload = Vec::new();
        token::done(&mut payload, TOKEN_DONE, DONE_ATTN, 0, None);
        self.shared.recorder.client_gets(&payload);
        let mut out = Vec::new();
        self.writer.write(&payload, &mut out);
        self.writer.finish(&mut out);
        self.write_half.write_all(&out).await?;
        self.write_half.flush().await
    }

    /// Runs a request and sends what it gives. On an attention what has been made so far ends between two tokens,
    /// and the caller ends the message.
    async fn answer(&mut self, message: Message) -> io::Result<Answered> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (chunks, mut incoming) = mpsc::channel::<Vec<u8>>(512);
        self.worker.start(Job { message, chunks, cancelled: Arc::clone(&cancelled) })?;
        let mut out: Vec<u8> = Vec::new();
        let mut sent = 0usize;
        let mut over = false;
        let mut answered = Answered::Whole;
        loop {
            if sent >= out.len() {
                out.clear();
                sent = 0;
                if over {
                    self.write_half.flush().await?;
                    return Ok(answered);
                }
            }
            let listening = self.waiting.is_none() && answered == Answered::Whole;
            tokio::select! {
                written = self.write_half.write(out.get(sent..).unwrap_or_default()), if sent < out.len() => {
                    let written = written?;
                    if written == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    sent = sent.saturating_add(written);
                }
                chunk = incoming.recv(), if out.is_empty() && !over => match chunk {
                    Some(chunk) if answered == Answered::Whole => {
                        self.shared.recorder.client_gets(&chunk);
                        self.writer.write(&chunk, &mut out);
                    }
                    Some(_) => {}
                    None => {
                        over = true;
                        if answered == Answered::Whole {
                            self.writer.finish(&mut out);
                        }
                    }
                },
                message = self.reader.next(&mut self.read_half), if listening => match message? {
                    Some(message) if message.kind == ATTENTION => {
                        self.shared.recorder.client_sent(&message.payload);
                        cancelled.store(true, Ordering::SeqCst);
                        answered = Answered::Attention;
                    }
                    Some(message) => self.waiting = Some(message),
                    None => {
                        cancelled.store(true, Ordering::SeqCst);
                        answered = Answered::ClientLeft;
                    }
                },
            }
        }
    }
}

impl Encryption {
    /// The ENCRYPTION that is answered to a client's.
    fn answer(self, client: u8) -> u8 {
        match self {
            Encryption::NotSupported => ENCRYPT_NOT_SUP,
            Encryption::Off if matches!(client, ENCRYPT_ON | ENCRYPT_REQ) => ENCRYPT_ON,
            Encryption::Off if client == ENCRYPT_NOT_SUP => ENCRYPT_NOT_SUP,
            Encryption::Off => ENCRYPT_OFF,
            Encryption::On if client == ENCRYPT_NOT_SUP => ENCRYPT_REQ,
            Encryption::On => ENCRYPT_ON,
            // TLS is there already, and there will be no other.
            Encryption::Strict => ENCRYPT_NOT_SUP,
        }
    }
}
