//! The layers of ARCHITECTURE.md, held to by reading the sources.

use std::{fs, path::Path};

/// From the top down: a layer may use those that follow it.
const LAYERS: [&str; 9] =
    ["client", "admin", "session", "policy", "metadata", "keystore", "tds", "value", "crypto"];

fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

fn crate_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 30);
    found
}

/// The layers that a source names after `crate::`, also inside of braces.
fn uses(text: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    let code: Vec<&str> =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => &group[..group.find(';').unwrap_or(group.len())],
            None => &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0)],
        };
        for layer in LAYERS {
            let named = names == layer
                || names
                    .match_indices(&format!("{layer}::"))
                    .any(|(at, _)| at == 0 || !names.as_bytes()[at - 1].is_ascii_alphanumeric());
            if named {
                found.push(layer);
            }
        }
    }
    found
}

#[test]
fn no_layer_uses_one_above_it() {
    for (rank, layer) in LAYERS.iter().enumerate() {
        let inside = format!("/src/{layer}/");
        let root = format!("/src/{layer}.rs");
        let mut files = 0;
        for (path, text) in crate_sources() {
            if !path.contains(&inside) && !path.ends_with(&root) {
                continue;
            }
            files += 1;
            for used in uses(&text) {
                let used_rank = LAYERS.iter().position(|l| *l == used).unwrap();
                assert!(used_rank >= rank, "{path} is in `{layer}` and uses `{used}` above it");
            }
        }
        assert!(files > 0, "no sources of {layer}");
    }
}

#[test]
fn only_the_client_and_the_key_stores_touch_tokio_and_only_the_client_tiberius() {
    for (path, text) in crate_sources() {
        let in_client = path.contains("/src/client/") || path.ends_with("/src/error.rs");
        let in_keystore = path.contains("/src/keystore/");
        let code: String = text
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(in_client || !code.contains("tiberius::"), "{path} uses tiberius");
        assert!(in_client || in_keystore || !code.contains("tokio::"), "{path} uses tokio");
        assert!(in_client || in_keystore || !code.contains("Instant::now"), "{path} reads a clock");
    }
}

#[test]
fn only_the_kernels_and_the_calls_into_windows_have_unsafe_code() {
    for (path, text) in crate_sources() {
        let kernels = ["x86", "aarch64"].iter().any(|processor| {
            path.ends_with(&format!("/src/crypto/{processor}.rs"))
                || path.contains(&format!("/src/crypto/{processor}/"))
        });
        let kernels = kernels || path.ends_with("/src/keystore/windows/native.rs");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let blocks = code.filter(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
        assert!(kernels || blocks.count() == 0, "{path} has unsafe code");
    }
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    for (path, text) in crate_sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if !line.contains("unsafe {") || line.trim_start().starts_with("//") {
                continue;
            }
            let mut comment =
                lines[..at].iter().rev().take_while(|l| l.trim_start().starts_with("//"));
            assert!(comment.any(|l| l.contains("SAFETY:")), "{path}:{}", at + 1);
        }
    }
}
