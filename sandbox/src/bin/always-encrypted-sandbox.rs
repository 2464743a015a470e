//! Runs a sandbox until it is interrupted.

use std::process::ExitCode;

use always_encrypted_sandbox::{Builder, Encryption, Sandbox};
use lexopt::prelude::*;

const USAGE: &str = "\
A stand-in for SQL Server that plays the server's half of Always Encrypted.

Usage: always-encrypted-sandbox [options]

  --port N            port to listen on (1433)
  --bind IP           address to listen on (127.0.0.1)
  --file PATH         keep the database in this SQLite file (in memory)
  --encryption MODE   off, login (TLS for the login only), on, strict (off)
  --user NAME         administrator's login (sa)
  --password TEXT     its password (Sandbox-1433!)
  --add-login NAME:PASSWORD
                      one more login, with a user that has what public has; may be repeated
  --certificate PATH  write the TLS certificate there, for clients that must trust it
  --no-always-encrypted
                      never acknowledge Always Encrypted
  --help              this text
";

/// Settings, and where the certificate goes; None asks for help.
fn arguments() -> Result<Option<(Builder, Option<String>)>, lexopt::Error> {
    let mut builder = Sandbox::builder().port(1433);
    let mut user = "sa".to_owned();
    let mut password = None;
    let mut certificate = None;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        builder = match argument {
            Long("port") => builder.port(parser.value()?.parse()?),
            Long("bind") => builder.bind(parser.value()?.parse::<std::net::IpAddr>()?),
            Long("file") => builder.file(parser.value()?),
            Long("encryption") => builder.encryption(parser.value()?.parse_with(encryption)?),
            Long("no-always-encrypted") => builder.always_encrypted(false),
            Long("add-login") => {
                let (name, password) = parser.value()?.parse_with(name_and_password)?;
                builder.add_login(name, password)
            }
            Long("user") => {
                user = parser.value()?.string()?;
                builder
            }
            Long("password") => {
                password = Some(parser.value()?.string()?);
                builder
            }
            Long("certificate") => {
                certificate = Some(parser.value()?.string()?);
                builder
            }
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        };
    }
    if let Some(password) = password {
        builder = builder.login(user, password);
    } else if user != "sa" {
        return Err("--user needs --password".into());
    }
    Ok(Some((builder, certificate)))
}

fn name_and_password(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, password)) if !name.is_empty() => Ok((name.to_owned(), password.to_owned())),
        _ => Err("a login is NAME:PASSWORD".to_owned()),
    }
}

fn encryption(text: &str) -> Result<Encryption, String> {
    match text {
        "off" => Ok(Encryption::NotSupported),
        "login" => Ok(Encryption::Off),
        "on" => Ok(Encryption::On),
        "strict" => Ok(Encryption::Strict),
        other => Err(format!("{other} is none of off, login, on, strict")),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let (builder, certificate) = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let sandbox = match builder.start().await {
        Ok(sandbox) => sandbox,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(path) = certificate
        && let Err(error) = std::fs::write(&path, sandbox.certificate_pem())
    {
        eprintln!("{path}: {error}");
        return ExitCode::FAILURE;
    }
    println!("{}", sandbox.connection_string());
    match asked_to_stop().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Until Ctrl-C or, where there is such a thing, SIGTERM.
async fn asked_to_stop() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
