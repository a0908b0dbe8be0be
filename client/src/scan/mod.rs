//! Reading the source: directories, metadata and contents as the file system has them.
//!
//! Everything is read relative to an open directory, one path component at a time, so neither the
//! length of a path nor a directory that is swapped for a symbolic link meanwhile matters.

pub mod exclude;
pub mod holes;
pub mod listing;
pub mod names;
pub mod os;
pub mod sorted;
#[cfg_attr(target_os = "linux", path = "os_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "os_other.rs")]
mod sys;
pub mod xattrs;
