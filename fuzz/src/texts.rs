//! What people type and paste, and names that are shown to them.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};
use unseen_client::browse::resolve;
use unseen_client::cli::escape::{escape_for_terminal, escape_json, escape_lines, insert_name};
use unseen_client::cli::units::parse_size;
use unseen_client::compress::Level;
use unseen_client::crypto::recovery::RecoveryCode;
use unseen_client::enrol::kit::ReadKit;
use unseen_client::maintain::Subset;
use unseen_client::remote::Address;
use unseen_client::repo::KitHead;
use unseen_client::scan::exclude::{Case, Pattern, parse_pattern_file};
use unseen_common::id::{DeviceId, Hash, PackNumber};
use unseen_common::wire::address::{Pin, split_authority};

/// Addresses and invitations.
pub(crate) fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    as_printed::<Address>(text);
    as_printed::<Pin>(text);
    if let Ok((host, port)) = split_authority(text) {
        let shown = unseen_common::wire::address::authority(&host, port);
        assert_eq!(split_authority(&shown), Ok((host, port)));
    }
}

/// As printed, it is the same.
fn as_printed<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let shown = value.to_string();
        let again = shown.parse::<T>().map(|value| value.to_string());
        assert_eq!(again.ok(), Some(shown));
    }
}

/// Recovery codes.
pub(crate) fn recovery_code(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(code) = RecoveryCode::parse(text) {
        let printed = code.to_text();
        let again = RecoveryCode::parse(&printed).expect("it was printed by us");
        assert_eq!(*again.to_text(), *printed);
    }
}

/// Kits, as text or page, and the record that they name.
pub(crate) fn kit(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    drop(ReadKit::parse(text));
    as_printed::<KitHead>(text);
}

/// Patterns of what is left out: files of patterns, and names they meet.
pub(crate) fn exclude_patterns(data: &[u8]) {
    for case in [Case::Sensitive, Case::Ignored] {
        drop(Pattern::parse(data, case));
        drop(parse_pattern_file(data, case, &|name| Some(name.as_bytes().to_vec())));
    }
}

/// Arguments.
pub(crate) fn typed(data: &[u8]) {
    drop(resolve::parse_path(data));
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    drop(resolve::parse(text));
    drop(parse_size(text));
    drop(text.parse::<Subset>());
    drop(text.parse::<Level>());
    as_printed::<Hash>(text);
    as_printed::<DeviceId>(text);
    as_printed::<PackNumber>(text);
}

/// Names from a snapshot on a terminal and in JSON: nothing moves the cursor, nothing is lost.
pub(crate) fn shown(data: &[u8]) {
    let harmless = |text: &str| !text.chars().any(|c| c.is_control() || c == '\u{202e}');
    let shown = escape_for_terminal(data);
    assert!(harmless(&shown));
    assert_eq!(escape_for_terminal(shown.as_bytes()), shown);
    let mut object = Map::new();
    insert_name(&mut object, "name", data);
    let json = Value::Object(object);
    let text = escape_json(json.to_string());
    assert!(harmless(&text));
    assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(json));
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(escape_lines(text).lines().all(harmless));
    }
}
