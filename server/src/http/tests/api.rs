//! The API document says what is served, no more and no less.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use unseen_common::wire::endpoint;
use unseen_common::wire::problem::KINDS;

use super::super::{api, routes};
use super::{Limits, send, start};

fn document() -> Value {
    serde_json::from_slice(&api::document(&routes::table())).unwrap()
}

/// Method and path of all that a document describes.
fn described(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| (method.to_ascii_uppercase(), path.clone()))
        })
        .collect()
}

fn refs(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                match inner.as_str() {
                    Some(target) if name == "$ref" => drop(found.insert(target.to_owned())),
                    _ => refs(inner, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| refs(inner, found)),
        _ => {}
    }
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let shared: BTreeSet<(String, String)> =
        endpoint::ALL.iter().map(|e| (e.method.as_str().to_owned(), e.path.to_owned())).collect();
    assert_eq!(shared.len(), endpoint::ALL.len());
    let served: BTreeSet<(String, String)> = routes::table()
        .iter()
        .map(|r| (r.endpoint.method.as_str().to_owned(), r.endpoint.path.to_owned()))
        .collect();
    assert_eq!(served, shared, "the router and the client's endpoints");
    assert_eq!(described(&document()), shared, "the document");
}

#[test]
fn the_document_holds_together() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut wanted = BTreeSet::new();
    refs(&document, &mut wanted);
    assert!(wanted.contains("#/components/schemas/Problem"));
    for target in &wanted {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some_and(Value::is_object), "{target}");
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(operation["summary"].as_str().is_some_and(|s| s.ends_with('.')), "{path}");
            let open = operation["security"][0].as_object().unwrap().is_empty();
            assert_eq!(open, operation["responses"]["401"].is_null() || id.contains("session"));
            assert_eq!(method == "get", operation["requestBody"].is_null(), "{path}");
            let named = path.contains('{');
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            assert_eq!(named, parameters.iter().any(|p| p["in"] == "path"), "{path}");
        }
    }
}

#[test]
fn every_code_is_told_by_some_route_or_by_the_router() {
    let told: BTreeSet<&str> =
        routes::table().iter().flat_map(api::Route::problems).map(|kind| kind.code).collect();
    let by_the_router = ["no-such-route", "wrong-method"];
    for kind in KINDS {
        assert_ne!(told.contains(kind.code), by_the_router.contains(&kind.code), "{}", kind.code);
    }
}

/// `UNSEEN_WRITE_DOCS=1 cargo test -p unseen-server the_copy` writes it anew.
#[test]
fn the_copy_in_docs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let now = api::document(&routes::table());
    if std::env::var_os("UNSEEN_WRITE_DOCS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let copy = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(copy, String::from_utf8(now.to_vec()).unwrap(), "docs/openapi.json");
}

#[tokio::test]
async fn the_document_is_served_to_anybody() {
    let running = start(Limits::default()).await;
    let (head, body) = send(&running, "GET /v1/openapi.json HTTP/1.1", b"").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), document());
}
