//! From the driver's PRELOGIN to the server's LOGINACK: the feature is asked for, and without its
//! acknowledgement there is no connection.

use zeroize::Zeroizing;

use super::{Session, SessionError, State};
use crate::policy::ColumnEncryption;
use crate::tds::{
    self, EnvChange, Malformed, PacketHeader, PacketType, Reader, TokenLen,
    add_column_encryption_feature, token_id, token_len,
};

/// A login is a few hundred bytes; with a federated token some thousands.
const MAX_LOGIN: usize = 1024 * 1024;

/// The messages of a login as they arrive.
#[derive(Default)]
pub(super) struct Login {
    from_driver: Zeroizing<Vec<u8>>,
    from_server: Vec<u8>,
}

/// What the server's reply says.
#[derive(Default)]
struct Reply {
    /// The tokens for the driver.
    tokens: Vec<u8>,
    logged_in: bool,
    routed: bool,
    /// ERROR: the server refuses the login.
    refused: bool,
    /// SSPI or FEDAUTHINFO: it wants to hear more.
    goes_on: bool,
    acknowledged: Option<u8>,
}

impl Session {
    /// The server's PRELOGIN is done with; the driver gets the reply that was made of it.
    pub(super) fn answer_prelogin(&mut self, header: PacketHeader) {
        self.app_in.consume(header.len);
        if header.packet_type != PacketType::Prelogin {
            self.close(SessionError::Request(Malformed::of("PRELOGIN")));
            return;
        }
        if header.status.ends_message() {
            let reply = std::mem::take(&mut self.config.prelogin_reply);
            self.push_to_app(reply.into(), true);
            self.state = State::Login(Login::default());
        }
    }

    /// LOGIN7 gains the feature; other legs of a login pass.
    pub(super) fn login_packet(&mut self, header: PacketHeader) {
        let belongs = matches!(
            header.packet_type,
            PacketType::Login7 | PacketType::Sspi | PacketType::FedAuthToken
        );
        if !belongs {
            // A server that ends the login without accepting it makes drivers believe they are in.
            self.close(SessionError::Request(Malformed::of("login: a request before its end")));
            return;
        }
        let State::Login(login) = &mut self.state else { return };
        let payload = Session::payload(&self.app_in, header);
        if login.from_driver.len() + payload.len() > MAX_LOGIN {
            self.close(SessionError::Request(Malformed::of("LOGIN7: too long")));
            return;
        }
        let mut grown = Zeroizing::new(Vec::with_capacity(login.from_driver.len() + payload.len()));
        grown.extend_from_slice(&login.from_driver);
        grown.extend_from_slice(payload);
        login.from_driver = grown;
        self.app_in.consume(header.len);
        if !header.status.ends_message() {
            return;
        }
        let message = std::mem::take(&mut login.from_driver);
        let is_login = header.packet_type == PacketType::Login7;
        let wanted = self.config.column_encryption != ColumnEncryption::Disabled;
        let mut message = if is_login && wanted {
            match add_column_encryption_feature(&message) {
                Ok(message) => message,
                Err(error) => {
                    self.close(SessionError::Request(error));
                    return;
                }
            }
        } else {
            message
        };
        self.push_to_server(header.packet_type, 0, std::mem::take(&mut *message).into());
        if is_login {
            self.login_tls_ends = true;
            if !wanted {
                self.state = State::Transparent;
            }
        }
    }

    /// Collects the server's reply and, at its end, decides.
    pub(super) fn login_reply(&mut self, header: PacketHeader) {
        let State::Login(login) = &mut self.state else { return };
        let payload = Session::payload(&self.server_in, header);
        if login.from_server.len() + payload.len() > MAX_LOGIN {
            self.close(SessionError::ServerMalformed(Malformed::of("login reply: too long")));
            return;
        }
        login.from_server.extend_from_slice(payload);
        self.server_in.consume(header.len);
        if !header.status.ends_message() {
            return;
        }
        let message = std::mem::take(&mut login.from_server);
        match self.read_login_reply(&message) {
            Err(error) => self.close(SessionError::ServerMalformed(error)),
            Ok(reply) if reply.logged_in && !reply.routed => match reply.acknowledged {
                Some(tds::COLUMNENCRYPTION_VERSION) => {
                    self.push_to_app(reply.tokens.into(), true);
                    self.at_login = (self.database.clone(), self.collation);
                    self.state = State::Idle;
                }
                Some(version) => self.close(SessionError::AcknowledgedVersion { version }),
                None => self.close(SessionError::NotAcknowledged),
            },
            // The driver is to try elsewhere, or knows why not. Nothing more is taken from it.
            Ok(reply) if reply.routed || reply.refused => {
                self.push_to_app(reply.tokens.into(), true);
                self.state = State::Closed;
            }
            Ok(reply) if reply.goes_on => self.push_to_app(reply.tokens.into(), true),
            Ok(_) => self.close(SessionError::ServerMalformed(Malformed::of(
                "login reply: neither accepted nor refused",
            ))),
        }
    }

    fn read_login_reply(&mut self, message: &[u8]) -> Result<Reply, Malformed> {
        let mut reply = Reply::default();
        let mut rest = message;
        while let Some(&token) = rest.first() {
            let len = match token_len(rest)? {
                TokenLen::Known(len) => len,
                TokenLen::Structured if token == token_id::FEATUREEXTACK => {
                    let (kept, acknowledged, len) = read_feature_ext_ack(rest)?;
                    reply.tokens.extend_from_slice(&kept);
                    reply.acknowledged = acknowledged;
                    rest = rest.get(len..).ok_or(Malformed::of("login reply"))?;
                    continue;
                }
                TokenLen::Structured => return Err(Malformed::of("token in a login reply")),
                TokenLen::Incomplete => return Err(Malformed::of("end of the login reply")),
            };
            let bytes = rest.get(..len).ok_or(Malformed::of("end of the login reply"))?;
            match token {
                token_id::LOGINACK => reply.logged_in = true,
                token_id::ERROR => reply.refused = true,
                token_id::SSPI | token_id::FEDAUTHINFO => reply.goes_on = true,
                token_id::ENVCHANGE => match EnvChange::read(bytes)? {
                    EnvChange::Routing => reply.routed = true,
                    change => self.follow(change),
                },
                _ => {}
            }
            reply.tokens.extend_from_slice(bytes);
            rest = &rest[len..];
        }
        Ok(reply)
    }
}

/// FEATUREEXTACK without the feature that the driver has not asked for (MS-TDS 2.2.7.11): the token
/// to pass on, the version acknowledged, and the length of the original.
fn read_feature_ext_ack(token: &[u8]) -> Result<(Vec<u8>, Option<u8>, usize), Malformed> {
    const WHAT: &str = "FEATUREEXTACK";
    const TERMINATOR: u8 = 0xFF;
    let mut reader = Reader::new(token);
    let mut kept = vec![reader.u8(WHAT)?];
    let mut acknowledged = None;
    loop {
        let start = reader.position();
        let feature = reader.u8(WHAT)?;
        if feature == TERMINATOR {
            kept.push(TERMINATOR);
            return Ok((kept, acknowledged, reader.position()));
        }
        let len = reader.u32(WHAT)? as usize;
        let data = reader.take(len, WHAT)?;
        if feature == tds::COLUMNENCRYPTION {
            acknowledged = Some(data.first().copied().ok_or(Malformed::of(WHAT))?);
        } else {
            kept.extend_from_slice(reader.since(start));
        }
    }
}
