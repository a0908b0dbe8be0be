//! Trees: what a snapshot says about files and directories. Bytes to types and back, strictly.

pub mod entry;
