//! Trees: what a snapshot says about files and directories. Bytes to types and back, strictly.

pub mod codec;
pub mod entry;
pub mod manifest;
pub mod object;
pub mod reader;
pub mod run_rules;
pub mod writer;
