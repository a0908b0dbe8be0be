//! The server has nothing to open a backup with: its programs link no cipher and no KDF.

use std::path::Path;
use std::process::Command;

/// Crates that seal, open or derive keys; and the client, which does.
const OPENERS: [&str; 14] = [
    "chacha20poly1305",
    "chacha20",
    "aes-gcm",
    "aes-gcm-siv",
    "aes",
    "aead",
    "argon2",
    "scrypt",
    "pbkdf2",
    "hkdf",
    "hpke",
    "x25519-dalek",
    "ml-kem",
    "unseen-client",
];

/// What the crate links besides the standard library.
fn linked(package: &str, features: &[&str]) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .args(["tree", "--offline", "-p", package, "-e", "normal", "--prefix", "none"])
        .args(features)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let mut names: Vec<_> =
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

fn openers(names: &[String]) -> Vec<&String> {
    names.iter().filter(|name| OPENERS.contains(&name.as_str())).collect()
}

#[test]
fn the_core_and_the_shared_crate_link_no_cipher_and_no_kdf() {
    for package in ["unseen-server", "unseen-common"] {
        let names = linked(package, &["--no-default-features"]);
        assert!(names.contains(&"blake3".to_owned()), "{names:?}");
        assert_eq!(openers(&names), [""; 0], "{package}");
        assert!(!names.contains(&"ring".to_owned()), "{package}");
    }
}

/// TLS needs ciphers: `rustls` brings those of `ring`, and nothing else does.
#[test]
fn with_http_only_tls_brings_ciphers() {
    let names = linked("unseen-server", &[]);
    assert!(names.contains(&"rustls".to_owned()) && names.contains(&"ring".to_owned()));
    assert_eq!(openers(&names), [""; 0]);
}

#[test]
fn the_client_shows_that_the_check_sees_something() {
    let names = linked("unseen-client", &[]);
    for needed in ["argon2", "chacha20poly1305", "hpke"] {
        assert!(names.contains(&needed.to_owned()), "{needed} in {names:?}");
    }
}
