//! What the user is told without having asked.

use serde::{Deserialize, Serialize};
use unseen_common::time::Timestamp;

use super::book::Book;

/// Something the user should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is about: the same as long as it is the same trouble.
    pub key: String,
    /// One sentence.
    pub text: String,
}

/// Decides what is worth telling.
#[derive(Debug, Clone, Default)]
pub struct Watchman {}

impl Watchman {
    /// What is wrong now.
    pub fn current(&self, _book: &Book, _now: Timestamp) -> Vec<Alert> {
        Vec::new()
    }

    /// What is to be told now: each trouble once, until it changes.
    pub fn due(&self, _book: &mut Book, _now: Timestamp) -> Vec<Alert> {
        Vec::new()
    }
}
