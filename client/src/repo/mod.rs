//! A vault as a client has it open: logged in, with the log folded and checked against the pin.

pub mod clocks;
pub mod error;
pub mod footers;
pub mod hold;
pub mod log;
pub mod owner;
pub mod reader;
pub mod session;
pub mod unlock;
pub mod vouch;
pub mod words;

pub use error::RepoError;
pub use owner::OwnerRepo;
pub use reader::{ReaderIndex, ReaderRepo};
pub use session::{Folders, Repository};
pub use vouch::KitHead;
