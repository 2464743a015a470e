//! A master key in a PKCS#11 token, made there and never seen outside, and a table under it.
//!
//! ```text
//! cargo run --features pkcs11 --example pkcs11
//! ```
//!
//! Makes a token of SoftHSM in a directory of its own (`apt-get install softhsm2`). For a token of
//! yours, set three variables; it gets a key pair that stays there:
//!
//! ```text
//! PKCS11_MODULE=/opt/vendor/lib/pkcs11.so PKCS11_TOKEN=orders PKCS11_PIN=... \
//!     cargo run --features pkcs11 --example pkcs11
//! ```

mod support;

use std::{
    env, fs,
    path::Path,
    process::{Command, ExitCode},
    time::{SystemTime, UNIX_EPOCH},
};

use always_encrypted::{
    crypto::Cek,
    keystore::{KeyStoreProvider, Pkcs11KeyStore, RSA_OAEP, TokenPin},
};
use support::{Database, Result, conclude, hex_head};

const SOFT_HSM: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];
const CONTENT: &str = "meet at the northern harbour at dawn";

fn main() -> ExitCode {
    if env::var_os("PKCS11_MODULE").is_none() {
        return match with_soft_hsm() {
            Ok(code) => code,
            Err(error) => conclude(Err(error)),
        };
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => conclude(runtime.block_on(run())),
        Err(error) => conclude(Err(error.into())),
    }
}

/// Makes a token and runs this program again with the variables that lead to it. Modules read their
/// configuration from the environment, which a process cannot safely change for itself.
fn with_soft_hsm() -> Result<ExitCode> {
    let module = SOFT_HSM.into_iter().find(|module| Path::new(module).exists());
    let module = module.ok_or("SoftHSM is not installed; try `apt-get install softhsm2`")?;
    let dir = tempfile::tempdir()?;
    let (conf, tokens) = (dir.path().join("softhsm2.conf"), dir.path().join("tokens"));
    fs::create_dir(&tokens)?;
    fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display()))?;
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "orders", "--so-pin", "12345678"])
        .args(["--pin", "1234"])
        .env("SOFTHSM2_CONF", &conf)
        .output()?;
    if !made.status.success() {
        return Err(format!("softhsm2-util: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    let status = Command::new(env::current_exe()?)
        .env("SOFTHSM2_CONF", &conf)
        .env("PKCS11_MODULE", module)
        .env("PKCS11_TOKEN", "orders")
        .env("PKCS11_PIN", "1234")
        .status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The key store as each process that uses it makes it.
fn store() -> Result<Pkcs11KeyStore> {
    Ok(Pkcs11KeyStore::builder(env::var("PKCS11_MODULE")?)
        .token_label(env::var("PKCS11_TOKEN")?)
        .pin(TokenPin::in_variable("PKCS11_PIN"))
        .build())
}

async fn run() -> Result<String> {
    println!("1. The security administrator makes a master key in the token, and a column key.");
    let administrator = store()?;
    administrator.connect().await?;
    let label = format!("cmk-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let key_path = administrator.create_cmk(&label, 2048).await?;
    println!("   {key_path}");
    let envelope = administrator.wrap_cek(&key_path, RSA_OAEP, &Cek::generate()?).await?;
    println!("   {}", hex_head(&envelope));

    println!("2. A database that has it, and an application with its own session of the token:");
    let mut database = Database::start_with(store()?, &key_path).await?;
    database.write_and_read(&[CONTENT]).await?;

    println!("3. Another token in the key path, as a server that lies would have it:");
    let elsewhere = format!("pkcs11:token=elsewhere;object={label}");
    match administrator.unwrap_cek(&elsewhere, RSA_OAEP, &envelope).await {
        Ok(_) => return Err("it was taken for ours".into()),
        Err(error) => println!("   {error}"),
    }
    Ok("a row written and read under a master key that never left its token".to_owned())
}
