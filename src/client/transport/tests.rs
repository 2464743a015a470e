//! The way to a server, against one of our own that is played byte by byte.

use std::time::Duration;

use super::super::config::{Config, Encrypt};

mod prelogin;
mod server;
mod tls;

/// What every test begins with; no system certificate would vouch for the server.
fn config(encrypt: Encrypt) -> Config {
    Config::new()
        .server("db.test")
        .user("sa")
        .password("x")
        .encrypt(encrypt)
        .connect_timeout(Duration::from_secs(20))
}
