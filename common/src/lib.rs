//! What the Unseen client and server must agree on, which is exactly what the server may see.
//!
//! Pure: no file system, no clock, no network, no cipher.

pub mod codec;
pub mod disclosure;
pub mod id;
pub mod limits;
pub mod lock;
pub mod log;
pub mod pack_map;
pub mod packset;
pub mod privacy;
pub mod receipt;
pub mod retention;
pub mod time;
pub mod vault;
pub mod wire;
