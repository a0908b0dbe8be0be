//! What the Unseen client and server must agree on, which is exactly what the server may see.
//!
//! Pure: no file system, no clock, no network, no cipher.

pub mod id;
