//! Packs: what is uploaded. Pure: bytes and types; no I/O.

pub mod builder;
pub mod chunk_map;
pub mod ladder;
pub mod manifest;
pub mod reader;
pub mod table;
