//! The address of a server as ADO.NET writes it: `[tcp:]host[\instance][,port]`.

use std::net::Ipv6Addr;

use super::super::config::{Config, ConfigError};

/// The name of the default instance: naming it is naming none.
const DEFAULT_INSTANCE: &str = "MSSQLSERVER";

/// Puts an address into `config`.
pub(super) fn read(config: Config, address: &str) -> Result<Config, ConfigError> {
    let wrong = |expected| {
        Err(ConfigError::InvalidValue {
            keyword: "Data Source",
            value: super::settings::shortened(address),
            expected,
        })
    };
    let rest = without_protocol(address)?;
    let (rest, port) = match rest.rsplit_once(',') {
        Some((rest, port)) => match port.trim().parse::<u16>() {
            Ok(port) if port != 0 => (rest, Some(port)),
            _ => return wrong("a port from 1 to 65535 after the comma"),
        },
        None => (rest, None),
    };
    let (host, instance) = match rest.split_once('\\') {
        Some((host, instance)) => (host.trim(), Some(instance.trim())),
        None => (rest.trim(), None),
    };
    if host.eq_ignore_ascii_case("(localdb)") {
        return Err(unsupported("LocalDB is reached through named pipes; enable TCP on a server"));
    }
    let Some(host) = host_name(host) else {
        return wrong(
            "host, host,port or host\\instance; a port follows a comma, not a colon, \
             and an IPv6 address may be in brackets",
        );
    };
    let mut config = config.server(host);
    config.port = port;
    config.instance = None;
    match instance {
        None => {}
        Some(name) if name.eq_ignore_ascii_case(DEFAULT_INSTANCE) => {}
        Some(name) if is_instance_name(name) => config.instance = Some(name.to_owned()),
        Some(_) => return wrong("an instance name after the backslash"),
    }
    Ok(config)
}

fn without_protocol(address: &str) -> Result<&str, ConfigError> {
    let address = address.trim();
    let Some((protocol, rest)) = address.split_once(':') else {
        // What named pipes look like when the protocol is left out.
        if address.starts_with("\\\\") {
            return Err(unsupported("named pipes are not; enable TCP on the server"));
        }
        return Ok(address);
    };
    match protocol.trim().to_ascii_lowercase().as_str() {
        "tcp" => Ok(rest),
        "np" => Err(unsupported("named pipes are not; enable TCP on the server")),
        "lpc" => Err(unsupported("shared memory is not; enable TCP on the server")),
        "admin" => Err(unsupported("the dedicated administrator connection is not")),
        _ => Ok(address),
    }
}

/// The host to connect to, if `host` can be one.
fn host_name(host: &str) -> Option<&str> {
    if matches!(host, "." | "(local)") || host.eq_ignore_ascii_case("(local)") {
        return Some("localhost");
    }
    if let Some(inside) = host.strip_prefix('[') {
        return inside.strip_suffix(']').filter(|address| is_ipv6(address));
    }
    if host.contains(':') {
        return is_ipv6(host).then_some(host);
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || "()[]{}/\\,;".contains(c);
    (!host.is_empty() && !host.contains(odd)).then_some(host)
}

/// An IPv6 address, perhaps with the name of an interface after `%`.
fn is_ipv6(text: &str) -> bool {
    text.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// SQL Server allows 16 characters; leave room, but not for a packet to be filled with.
fn is_instance_name(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\\:;,".contains(c);
    !name.is_empty() && name.len() <= 64 && !name.contains(odd)
}

fn unsupported(reason: &'static str) -> ConfigError {
    ConfigError::Unsupported { keyword: "Data Source", reason }
}
