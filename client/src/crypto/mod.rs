//! The only room with secrets: keys, slots, sealing.

pub mod content_id;
