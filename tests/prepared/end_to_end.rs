//! Against the stand-in.

use super::*;

/// A driver of bytes, the session, and the stand-in server behind it.
struct EndToEnd {
    sandbox: Sandbox,
    harness: Harness,
    tcp: TcpStream,
}

impl EndToEnd {
    async fn log_in() -> Self {
        let sandbox = Sandbox::builder().record(true).start().await.unwrap();
        let tcp = TcpStream::connect(sandbox.addr()).await.unwrap();
        let mut harness = Harness::new(TrustedKeyPaths::any(), true);
        harness.has_catalogue = true;
        let login = login7_of(sandbox.user(), sandbox.password());
        let mut server = Self { sandbox, harness, tcp };
        // The runner's own PRELOGIN, and the driver's, which the session answers.
        let ours = [0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 16, 0, 0, 0, 0, 0, 2];
        server.tcp.write_all(&message(PRELOGIN, &ours)).await.unwrap();
        server.tcp.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
        server.harness.app(&prelogin());
        server.harness.drain_to_app();
        server.ask(&login).await;
        assert!(!server.harness.session.is_closed());
        server
    }

    /// A request of the driver's, and the answer that it gets.
    async fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        let mut for_server = self.harness.app(request);
        let mut reply = self.harness.drain_to_app();
        loop {
            self.harness.provide_keys();
            for_server.extend(self.harness.drain_to_server());
            reply.extend(self.harness.drain_to_app());
            self.tcp.write_all(&for_server).await.unwrap();
            for_server.clear();
            if ends_message(&reply) {
                return messages(&reply).pop().unwrap().1;
            }
            let mut bytes = Vec::with_capacity(4096);
            assert!(self.tcp.read_buf(&mut bytes).await.unwrap() > 0, "the server hung up");
            reply.extend(self.harness.server(&bytes));
        }
    }

    async fn batch(&mut self, sql: &str) -> Vec<u8> {
        let reply = self.ask(&message(BATCH, &[headers(), utf16(sql)].concat())).await;
        assert!(!has_error(&reply), "{sql}: {}", lossy(&reply));
        reply
    }

    async fn call(&mut self, id: u16, params: &[Param]) -> Vec<u8> {
        let reply =
            self.ask(&message(RPC, &[headers(), call_in_message(id, params)].concat())).await;
        assert!(!has_error(&reply), "ProcID {id}: {}", lossy(&reply));
        reply
    }
}

/// ALL_HEADERS outside of a transaction.
fn headers() -> Vec<u8> {
    let mut out = all_headers();
    out[10..18].fill(0);
    out
}

fn ends_message(mut packets: &[u8]) -> bool {
    while packets.len() >= 8 {
        let len = usize::from(u16::from_be_bytes([packets[2], packets[3]]));
        if packets[1] & 1 == 1 {
            return true;
        }
        packets = &packets[len..];
    }
    false
}

/// Whether the last DONE of a response says so.
fn has_error(reply: &[u8]) -> bool {
    reply[reply.len() - 12] & 0x02 != 0
}

fn lossy(reply: &[u8]) -> String {
    reply.iter().filter(|b| (32..127).contains(*b)).map(|b| char::from(*b)).collect()
}

/// The int that a response returns first.
fn handle_of(reply: &[u8]) -> i32 {
    let at = reply.windows(2).rposition(|w| w == INT).expect("no int is returned");
    i32::from_le_bytes(reply[at + 3..at + 7].try_into().unwrap())
}

fn login7_of(user: &str, password: &str) -> Vec<u8> {
    let scrambled: Vec<u8> = utf16(password).iter().map(|b| b.rotate_left(4) ^ 0xA5).collect();
    let fields = [utf16("host"), utf16(user), scrambled, utf16("wire"), utf16("server")];
    let rest = [vec![], utf16("lib"), vec![], utf16("sandbox")];
    let (mut table, mut data) = (Vec::new(), Vec::new());
    for field in fields.into_iter().chain(rest) {
        table.extend((94 + data.len() as u16).to_le_bytes());
        table.extend((field.len() as u16 / 2).to_le_bytes());
        data.extend(field);
    }
    table.extend([0; 22]);
    let mut out = ((94 + data.len()) as u32).to_le_bytes().to_vec();
    out.extend(0x7400_0004u32.to_le_bytes());
    out.extend(4096u32.to_le_bytes());
    out.extend([0; 12]);
    out.extend([0xE0, 0x03, 0, 0]);
    out.extend([0; 8]);
    out.extend(table);
    out.extend(data);
    message(LOGIN7, &out)
}

const SCHEMA: &str = "
CREATE COLUMN MASTER KEY Cmk WITH (KEY_STORE_PROVIDER_NAME = 'TEST_STORE', KEY_PATH = 'test/key');
CREATE COLUMN ENCRYPTION KEY Cek WITH VALUES
    (COLUMN_MASTER_KEY = Cmk, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x01010707);
CREATE TABLE Messages (Id int NOT NULL PRIMARY KEY, Content nvarchar(100)
    COLLATE Latin1_General_BIN2 ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = Cek,
    ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL)";

#[tokio::test]
async fn a_raw_driver_prepares_executes_and_gives_up_against_the_stand_in() {
    let mut server = EndToEnd::log_in().await;
    server.batch(SCHEMA).await;
    let own = [text(DECLARED), text(INSERT)];
    let prepared = server.call(PREPARE, &[&[out()], &own[..], &[number(1)]].concat()).await;
    let first = handle_of(&prepared);
    let values = [number(1), text(SECRET)];
    let prepexec = server.call(PREPEXEC, &[&[out()], &own[..], &values].concat()).await;
    let second = handle_of(&prepexec);
    assert_ne!(first, second);
    server.call(EXECUTE, &[number(first), number(2), text(SECRET)]).await;
    server.call(EXECUTE, &[number(second), number(3), text("something else")]).await;
    // What is deterministic is found by its value, and decrypted on its way back.
    let own = [
        out(),
        text("@P1 nvarchar(100)"),
        text("SELECT Id, Content FROM Messages WHERE Content = @P1"),
    ];
    let found = server.call(PREPEXEC, &[&own[..], &[text(SECRET)]].concat()).await;
    let secret = utf16(SECRET);
    assert_eq!(found.windows(secret.len()).filter(|w| *w == secret).count(), 2);
    server.call(UNPREPARE, &[number(first)]).await;
    let refused = call_by_id(EXECUTE, &[number(first), number(4), text(SECRET)]);
    let reply = message_in(REPLY, &server.ask(&refused).await, 30_000);
    assert_eq!(Harness::error_number(&reply), Some(16_040_053));
    server.harness.assert_never_sent(SECRET);
    let recorded = server.sandbox.recorded().from_clients;
    assert!(!recorded.windows(secret.len()).any(|w| w == secret));
}
