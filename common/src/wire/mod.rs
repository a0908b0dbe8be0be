//! What goes over the wire: one endpoint a route, its bodies, and the error codes. Client and
//! server share all of it, so that no path and no field is written twice.
//!
//! Control is JSON with bytes in base64url; packs, footers, manifests and packsets are
//! octet-streams. Errors are problem documents (RFC 9457) with a stable `code`.

pub mod address;
pub mod base64;
pub mod body;
pub mod endpoint;
pub mod footers;
pub mod host;
pub mod problem;
#[cfg(feature = "openapi")]
pub mod schema;
pub mod survey;

/// Says that the server knows a pack to be damaged; its value is `1`.
pub const DAMAGED_HEADER: &str = "unseen-damaged";
/// The length of the whole pack, in bytes.
pub const PACK_LENGTH_HEADER: &str = "unseen-pack-length";
/// The type of bodies that carry control.
pub const JSON: &str = "application/json";
/// The type of bodies that are no JSON.
pub const OCTET_STREAM: &str = "application/octet-stream";
/// The type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";
